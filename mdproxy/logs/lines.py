# -*- test-case-name: tests.test_logs_lines -*-
"""
From a log event to the line that is written for it.  Pure.

No value can begin a line of its own: a newline is followed by a tab in text, and is
C{\\n} in JSON; other control characters, and those that change the direction of
writing, are shown as escapes.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Final

from twisted.logger import LogEvent, formatTime

from mdproxy.logs.plain import cut, failure_of, fields_of, text_of

#: What a terminal might obey, or what a reader would be misled by: control characters
#: but the newline and the tab, separators of lines, and marks of direction (Unicode
#: Standard Annex #9).
_ODD: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (
        *(code for code in range(32) if chr(code) not in "\n\t"),
        *range(127, 160),
        *(0x61C, 0x200E, 0x200F, 0x2028, 0x2029),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0xFEFF,
    )
}


def text_line(event: LogEvent) -> str | None:
    """
    Write an event as Twisted does (C{twisted.logger.formatEventAsClassicLogText}).

    @return: A line with its end, and further ones that begin with a tab; C{None} for
        an event that says nothing.
    """
    text = text_of(event)
    if (failure := failure_of(event)) is not None:
        text += ("\n" if text else "") + failure[2]
    if not text:
        return None
    when = formatTime(event.get("log_time"))
    text = text.translate(_ODD).replace("\n", "\n\t")
    return f"{when} [{_origin(event)}] {text}\n"


def _origin(event: LogEvent) -> str:
    """
    Name who logged an event, and how much it matters.
    """
    system = event.get("log_system")
    if system is None:
        level = getattr(event.get("log_level"), "name", "-")
        system = f"{event.get('log_namespace', '-')}#{level}"
    return cut(str(system), 128).translate(_ODD).replace("\n", " ")


def json_line(event: LogEvent) -> str | None:
    """
    Write an event as a JSON object.

    Its members are C{time} (ISO 8601, UTC), C{epoch} (seconds), C{level}, C{namespace},
    C{text}, and where there is something in them C{fields} (what the event is about)
    and C{failure} (C{type}, C{text}, C{traceback}).

    @return: A line with its end, of ASCII characters; C{None} for an event that says
        nothing.
    """
    told = {**head_of(event), "text": text_of(event)}
    if fields := fields_of(event):
        told["fields"] = fields
    failure = failure_of(event)
    if failure is not None:
        told["failure"] = dict(zip(("type", "text", "traceback"), failure, strict=True))
    if not told["text"] and failure is None:
        return None
    return json.dumps(told, allow_nan=False) + "\n"


def head_of(event: LogEvent) -> dict[str, Any]:
    """
    Tell when an event was logged, how much it matters, and by whom.
    """
    seconds = float(event.get("log_time") or 0.0)
    when = datetime.fromtimestamp(seconds, timezone.utc)
    return {
        "time": when.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "epoch": round(seconds, 6),
        "level": getattr(event.get("log_level"), "name", "info"),
        "namespace": cut(str(event.get("log_namespace", "-")), 128),
    }
