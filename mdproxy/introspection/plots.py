# -*- test-case-name: tests.test_introspection_plots -*-
"""
Plots of the last hour: from samples to SVG that stands in a page.  Pure.

A plot holds lines only; what is written on its axes is HTML beside it, so that it can
be read at any width.  Lines differ in their dashes as well as in their colour
(C{static/style.css}), and all that a plot shows is also said in a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from math import floor, log10
from typing import Any, Final

from attrs import frozen

from mdproxy.introspection.words import duration, iso, number

#: The size of the drawing, in units of its own; it is stretched to the page's width.
WIDTH: Final = 600
HEIGHT: Final = 120

#: Lines at the bottom, half way up and at the top.
_GRID: Final = "".join(f"M0 {y}H{WIDTH}" for y in (HEIGHT, HEIGHT // 2, 0))

#: A line is broken where no sample came for so many steps.
_GAP: Final = 2.5

#: The classes of lines, in the order in which they are drawn.
_CLASSES: Final = ("first", "second", "third")

#: Writes a value with its unit.
Write = Callable[[float], str]


@frozen
class Line:
    """
    One line of a plot.

    @ivar name: What it shows.
    @ivar values: One for each sample; C{None} where there is none.
    """

    name: str
    values: Sequence[float | None]


@frozen
class Mark:
    """
    What the legend says of a line.

    @ivar name: What it shows.
    @ivar style: The class that it is drawn in.
    @ivar latest: Its last value, with the unit.
    """

    name: str
    style: str
    latest: str


@frozen
class Plot:
    """
    A plot, and what is written around it.

    @ivar name: The word for it in ids.
    @ivar title: What it shows.
    @ivar svg: The drawing.
    @ivar sentence: What it shows, for whoever does not see it.
    @ivar top: The value at its upper edge.
    @ivar middle: The value at half its height.
    @ivar start: When it begins, in seconds since the epoch.
    @ivar end: When it ends.
    @ivar marks: Its legend.
    """

    name: str
    title: str
    svg: str
    sentence: str
    top: str
    middle: str
    start: float
    end: float
    marks: tuple[Mark, ...]


def plots_of(history: Mapping[str, Any]) -> tuple[Plot, ...]:
    """
    Draw the rate and the latency of requests.

    @param history: What L{View.history<mdproxy.introspection.view.View.history>} says.

    @return: The plots; none where there are too few samples for a line.
    """
    samples, step = history["samples"], history["step"]
    if len(samples) < 2:
        return ()
    times = [sample["at"] for sample in samples]

    def line(name: str, field: str) -> Line:
        return Line(name, [sample[field] for sample in samples])

    rates = (
        line("all requests", "requests"),
        line("refused", "refused"),
        line("failed", "failed"),
    )
    latencies = (
        line("99th percentile", "p99"),
        line("median", "median"),
        line("median of Nova's part", "upstream_median"),
    )
    return (
        plot("rate", "Requests per second", times, rates, step, _rate),
        plot("latency", "Time to answer", times, latencies, step, duration),
    )


def plot(
    name: str,
    title: str,
    times: Sequence[float],
    lines: Sequence[Line],
    step: float,
    write: Write,
) -> Plot:
    """
    Draw lines over time.

    @param name: The word for it in ids; nothing from outside.
    @param title: What it shows.
    @param times: When the samples were taken, rising, at least one, in seconds since
        the epoch.
    @param lines: At most three, each with a value for every time.
    @param step: How far apart samples are, in seconds.
    @param write: Writes values.
    """
    known = [value for line in lines for value in line.values if value is not None]
    top = _round_up(max(known, default=0.0))
    marks, paths = [], []
    for style, line in zip(_CLASSES, lines, strict=False):
        latest = line.values[-1]
        said = "none" if latest is None else write(latest)
        marks.append(Mark(line.name, style, said))
        paths.append(
            f'<path class="line {style}" d="{_path(times, line, step, top)}"/>'
        )
    sentence = " ".join(_said(times, line, write) for line in lines)
    drawing = (
        f'<svg class="plot" viewBox="0 -2 {WIDTH} {HEIGHT + 4}" role="img"'
        f' preserveAspectRatio="none" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(sentence)}</desc>'
        f'<path class="grid" d="{_GRID}"/>'
        # The first line is the most important one, so it is drawn last.
        f"{''.join(reversed(paths))}</svg>"
    )
    return Plot(
        *(name, title, drawing, sentence, write(top), write(top / 2)),
        *(times[0], times[-1], tuple(marks)),
    )


def _rate(value: float) -> str:
    """
    Write a rate.
    """
    return f"{number(float(value))}/s"


def _round_up(value: float) -> float:
    """
    Find the next of 1, 2, 5, 10, 20 ... for the top of an axis.
    """
    if value <= 0:
        return 1.0
    size = 10.0 ** floor(log10(value))
    return next(each * size for each in (1, 2, 5, 10) if each * size >= value * 0.9999)


def _path(times: Sequence[float], line: Line, step: float, top: float) -> str:
    """
    Draw a line, with gaps where values are missing.
    """
    return "".join(_moves(times, line, step, top))


def _moves(
    times: Sequence[float], line: Line, step: float, top: float
) -> Iterator[str]:
    """
    Go from value to value: pieces of SVG's path data.
    """
    start, span = times[0], max(times[-1] - times[0], 1.0)
    before: float | None = None
    for at, value in zip(times, line.values, strict=True):
        if value is None:
            before = None
            continue
        x, y = WIDTH * (at - start) / span, HEIGHT * (1 - min(value / top, 1))
        if before is None or at - before > _GAP * step:
            # A point alone is a line of no length, which round ends make a dot.
            yield f"M{x:.1f} {y:.1f}h0"
        else:
            yield f"L{x:.1f} {y:.1f}"
        before = at


def _said(times: Sequence[float], line: Line, write: Write) -> str:
    """
    Say in a sentence what a line shows.
    """
    known = [(v, at) for v, at in zip(line.values, times, strict=True) if v is not None]
    name = line.name[:1].upper() + line.name[1:]
    if not known:
        return f"{name}: none."
    most, when = max(known)
    least = min(known)[0]
    if most == least:
        return f"{name}: {write(most)} all the time."
    last = line.values[-1]
    now = "none" if last is None else write(last)
    return (
        f"{name}: {now} at the end, between {write(least)} and {write(most)} "
        f"(at {iso(when)})."
    )
