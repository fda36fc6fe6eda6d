# -*- test-case-name: tests.test_ctl_text -*-
"""
What the service says, as lines for a terminal.

Host names, targets and all else that instances and networks choose are shown so that no
terminal obeys them (L{visible}).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from mdproxy.introspection.words import duration, iso, visible

WIDTH: Final = 88

#: So long may a sentence of the service's be.
_SENTENCE: Final = 4000

#: What stands for what is not known.
NOTHING: Final = "-"


def sentence(value: Any) -> str:
    """
    Write a sentence of the service's own in one line that any terminal can be given:
    whole, for what others wrote is cut where it stands in it.
    """
    return visible(str(value or ""), _SENTENCE) or NOTHING


def shown(value: Any) -> str:
    """
    Write a plain value in one line that any terminal can be given.

    @param value: A text, a number, C{None}, or a list of such.
    """
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value)) or NOTHING
    return visible(value if isinstance(value, str) else json.dumps(value))


def wrapped(text: str, indent: str = "") -> list[str]:
    """
    Wrap a sentence, which may hold what others wrote.

    @param indent: What the first line begins with; the others have as many blanks.
    """
    return textwrap.wrap(
        visible(text, _SENTENCE),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )


def pairs(
    rows: Iterable[tuple[str, str | None]], indent: str = "  ", width: int = 12
) -> list[str]:
    """
    Put words beside what they stand for, wrapped.

    @param rows: Names, each with a text of ours whose foreign parts are L{shown}; those
        without a text are left out.
    @param width: How many columns the names take.
    """
    lines: list[str] = []
    for name, text in rows:
        if text:
            head, rest = f"{indent}{name:<{width}}", indent + " " * width
            lines += textwrap.wrap(
                text,
                WIDTH,
                initial_indent=head,
                subsequent_indent=rest,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines


def columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """
    Put cells into columns as wide as their widest; the last one is as long as it is.

    @param rows: Each with as many cells as the others, ready to be shown.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return [
        indent
        + "  ".join(
            [
                *(c.ljust(w) for c, w in zip(row, widths, strict=False)),
                row[-1],
            ]
        ).rstrip()
        for row in rows
    ]


def clock(at: Any) -> str:
    """
    Write a time so that a line of the log with it is found.

    @param at: Seconds since the epoch.

    @return: UTC, with milliseconds.
    """
    if not isinstance(at, (int, float)):
        return NOTHING
    try:
        moment = datetime.fromtimestamp(at, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return iso(at)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"


def lasted(seconds: Any) -> str:
    """
    Write a duration; C{-} for none.
    """
    return duration(seconds) if isinstance(seconds, (int, float)) else NOTHING


def ago(seconds: Any) -> str:
    """
    Write how long ago something was; empty where nobody knows.
    """
    return f"{duration(seconds)} ago" if isinstance(seconds, (int, float)) else ""


def transaction(it: Mapping[str, Any]) -> str:
    """
    Write a request and what came of it in one line.

    @param it: As C{/api/v1/transactions} has it.
    """
    status = it.get("status") or NOTHING
    times = lasted(it.get("seconds"))
    if it.get("upstream_seconds"):
        times += f" (Nova {lasted(it.get('upstream_seconds'))})"
    who = shown(it.get("instance"))
    verdict = ""
    if it.get("verdict") == "refused":
        verdict = f" refused: {shown(it.get('reason'))}, row {shown(it.get('row'))}"
    tries = f" {it.get('tries')} tries" if int(it.get("tries") or 0) > 1 else ""
    return (
        f"{clock(it.get('at'))} {status} {shown(it.get('method'))} "
        f"{shown(it.get('target'))} {shown(it.get('address'))} "
        f"{shown(it.get('network'))} {who} {times}{tries} "
        f"{shown(it.get('outcome'))}{verdict} {shown(it.get('request_id'))}"
    )
