"""
Tests for L{mdproxy.introspection.plots}.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.introspection.plots import HEIGHT, WIDTH, Line, plot, plots_of
from mdproxy.introspection.words import duration

_SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> dict[str, list[list[tuple[float, float]]]]:
    """
    Read where the lines of a drawing go.

    @return: By class, the pieces of each line, as points.
    """
    root = ElementTree.fromstring(svg)
    lines = {}
    for path in root.iter("path"):
        name = path.attrib["class"].removeprefix("line ")
        pieces = re.findall(r"M[^M]+", path.attrib["d"])
        lines[name] = [
            [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", piece)]
            for piece in pieces
        ]
    return lines


def sample(at: float, **values: float | None) -> dict[str, Any]:
    """
    Make a sample of the history.
    """
    return {
        "at": at,
        **{"requests": 0.0, "refused": 0.0, "failed": 0.0},
        **{"median": None, "p99": None, "upstream_median": None},
        **values,
    }


class PlotTests(SynchronousTestCase):
    """
    Tests for L{plot}.
    """

    def test_points(self) -> None:
        """
        Times go from left to right, values from the bottom to a round number on top.
        """
        made = plot("r", "R", [0, 10, 20], [Line("a", [0, 8, 4])], 10, str)
        self.assertEqual(made.top, "10.0")
        self.assertEqual(made.middle, "5.0")
        self.assertEqual(
            drawn(made.svg)["first"],
            [[(0, HEIGHT), (WIDTH / 2, HEIGHT * 0.2), (WIDTH, HEIGHT * 0.6)]],
        )

    def test_gaps(self) -> None:
        """
        A line is broken where a value is missing, and where no sample was taken.
        """
        times = [0, 10, 20, 30, 100, 110]
        made = plot("r", "R", times, [Line("a", [1, None, 1, 1, 1, 1])], 10, str)
        self.assertEqual([len(p) for p in drawn(made.svg)["first"]], [1, 2, 2])

    def test_lines_differ(self) -> None:
        """
        Each line has a class of its own, by which it is drawn in its own dashes, and
        the legend names it.
        """
        lines = [Line(name, [1, 2]) for name in "abc"]
        made = plot("r", "R", [0, 10], lines, 10, duration)
        self.assertEqual(
            [(mark.name, mark.style, mark.latest) for mark in made.marks],
            [
                ("a", "first", "2 s"),
                ("b", "second", "2 s"),
                ("c", "third", "2 s"),
            ],
        )
        self.assertEqual(set(drawn(made.svg)), {"grid", "first", "second", "third"})

    def test_said(self) -> None:
        """
        What is drawn is said, too: title and description belong to the drawing.
        """
        lines = [
            Line("all", [1, 5, 2]),
            Line("even", [3, 3, 3]),
            Line("no", [None] * 3),
        ]
        made = plot("r", "A & B", [0, 10, 20], lines, 10, str)
        self.assertEqual(
            made.sentence,
            "All: 2 at the end, between 1 and 5 (at 1970-01-01T00:00:10Z). "
            "Even: 3 all the time. No: none.",
        )
        root = ElementTree.fromstring(made.svg)
        self.assertEqual(root.attrib["role"], "img")
        said = {e.attrib["id"]: e.text for e in root if e.tag in ("title", "desc")}
        self.assertEqual(said, {"r-title": "A & B", "r-desc": made.sentence})
        self.assertEqual(root.attrib["aria-labelledby"].split(), list(said))

    def test_no_style(self) -> None:
        """
        Nothing in it needs what the pages' policy forbids: no style, no script.
        """
        made = plot("r", "R", [0, 10], [Line("a", [1, 2])], 10, str)
        for word in ("style=", "<style", "<script", "onload", "href"):
            self.assertNotIn(word, made.svg)

    @given(
        st.lists(
            st.none() | st.floats(0, 1e12, allow_subnormal=False),
            min_size=1,
            max_size=50,
        )
    )
    def test_any(self, values: list[float | None]) -> None:
        """
        Whatever the values, all known ones are within the drawing.
        """
        times = [10.0 * i for i in range(len(values))]
        made = plot("r", "R", times, [Line("a", values)], 10, str)
        points = [point for piece in drawn(made.svg)["first"] for point in piece]
        self.assertEqual(len(points), sum(value is not None for value in values))
        for x, y in points:
            self.assertTrue(0 <= x <= WIDTH and 0 <= y <= HEIGHT, (x, y))


class HistoryTests(SynchronousTestCase):
    """
    Tests for L{plots_of}.
    """

    def test_both(self) -> None:
        """
        Rates and latencies are drawn.
        """
        samples = [sample(10.0 * i, requests=i, median=i / 1000) for i in range(5)]
        rate, latency = plots_of({"step": 10.0, "samples": samples})
        self.assertEqual(rate.top, "5/s")
        self.assertEqual(latency.top, "5 ms")
        self.assertEqual((rate.start, rate.end), (0, 40))
        self.assertEqual([mark.latest for mark in rate.marks], ["4/s", "0/s", "0/s"])
        self.assertEqual(
            [mark.latest for mark in latency.marks], ["none", "4 ms", "none"]
        )

    def test_too_early(self) -> None:
        """
        One sample is no line.
        """
        for samples in ([], [sample(1.0)]):
            self.assertEqual(plots_of({"step": 10.0, "samples": samples}), ())
