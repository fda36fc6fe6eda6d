# -*- test-case-name: tests.test_logs_plain -*-
"""
From a log event to plain values of bounded size, whatever anybody has put into it.

Pure.  Nothing here fails, for a log that fails takes with it what it should have told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from attrs import define
from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure

#: How many characters of a text, of a traceback, of one value, and of all values of an
#: event are kept.
_TEXT: Final = 8192
_TRACEBACK: Final = 16384
_VALUE: Final = 1024
_VALUES: Final = 8192
#: How many things of a collection are kept, and how deep one may stand in another.
_ITEMS: Final = 32
_DEPTH: Final = 3

#: What stands where there was more.
_MORE: Final = "…"

#: What an event has that was logged in Twisted's old way: its parts are no fields.
_LEGACY: Final = "log_legacy"


def cut(text: str, most: int) -> str:
    """
    Cut a text where it is too long.

    @param most: How many characters are kept.
    """
    return text if len(text) <= most else text[:most] + _MORE


def text_of(event: LogEvent) -> str:
    """
    Write what an event says.

    @return: Perhaps several lines; empty where it says nothing.
    """
    return cut(formatEvent(event), _TEXT)


def failure_of(event: LogEvent) -> tuple[str, str, str] | None:
    """
    Find what went wrong.

    @return: The exception's type, its text, and the traceback, which shows lines of the
        program but no values; C{None} where nothing did.
    """
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return None
    kind = getattr(failure.type, "__qualname__", None) or repr(failure.type)
    module = getattr(failure.type, "__module__", "")
    name = kind if module in ("", "builtins") else f"{module}.{kind}"
    try:
        traceback = failure.getTraceback()
    except Exception as error:  # Whatever an exception's own __str__ may do.
        traceback = f"it can't be shown: {type(error).__name__}"
    return (
        name,
        cut(_written(failure.value), _VALUE),
        # What happened last stands at the end.
        traceback if len(traceback) <= _TRACEBACK else _MORE + traceback[-_TRACEBACK:],
    )


def fields_of(event: LogEvent) -> dict[str, Any]:
    """
    Find what an event is about, beside its text.

    @return: Plain values, ready for JSON, by their names.
    """
    if event.get("log_namespace") == _LEGACY:
        return {}
    room = _Room(_VALUES)
    return {
        cut(str(name), 64): room.plain(value)
        for name, value in list(event.items())[:_ITEMS]
        if not str(name).startswith("log_")
    }


def _written(value: object) -> str:
    """
    Write something as text; what can't be is named by its type.
    """
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that can't be shown>"


@define
class _Room:
    """
    The room that is left for the values of an event.

    @ivar _left: So many characters.
    """

    _left: int

    def plain(self, value: object, depth: int = _DEPTH) -> Any:
        """
        Make a value plain.

        @param depth: How deep it may have others in it.

        @return: What JSON knows: text, numbers, truth values, C{None}, lists and
            mappings of these.
        """
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return _number(value)
        if isinstance(value, Mapping | list | tuple | set | frozenset) and depth:
            return self._many(value, depth - 1)
        return self._text(value)

    def _many(self, values: Any, depth: int) -> Any:
        """
        Make a collection plain.
        """
        items = list(values.items() if isinstance(values, Mapping) else values)
        more = [_MORE] if len(items) > _ITEMS else []
        if isinstance(values, Mapping):
            return {
                self._text(name): self.plain(value, depth)
                for name, value in items[:_ITEMS]
            } | dict.fromkeys(more)
        return [self.plain(value, depth) for value in items[:_ITEMS]] + more

    def _text(self, value: object) -> str:
        """
        Make text of anything.
        """
        if isinstance(value, bytes):
            value = value[: _VALUE + 1].decode("utf-8", "backslashreplace")
        elif isinstance(value, Failure):
            value = value.value
        text = cut(value if isinstance(value, str) else _shown(value), _VALUE)
        text = cut(text, max(0, self._left))
        self._left -= len(text)
        return text


def _shown(value: object) -> str:
    """
    Show an object as it shows itself.
    """
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__} that can't be shown>"


def _number(value: float) -> Any:
    """
    Write a number that JSON does not know, or that others can't hold, as text.
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    return int(value) if abs(value) < 1 << 63 else _MORE
