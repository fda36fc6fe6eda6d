# -*- test-case-name: tests.test_logs_journald -*-
"""
From a log event to systemd's journal, by its native protocol: a datagram of fields
(systemd, docs/JOURNAL_NATIVE_PROTOCOL.md).
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field
from twisted.logger import LogEvent

from mdproxy.logs.plain import failure_of, fields_of, text_of

#: Where the journal listens (systemd-journald.service(8)).
SOCKET: Final = "/run/systemd/journal/socket"

#: Levels as syslog(3) numbers them.
_PRIORITIES: Final = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}

#: What a field's name can't hold (systemd.journal-fields(7)).
_NOT_IN_NAMES: Final = re.compile("[^A-Z0-9_]")


def named(name: str) -> str:
    """
    Name a field of ours in the journal's way.
    """
    return f"MDPROXY_{_NOT_IN_NAMES.sub('_', name.upper())}"[:64]


def datagram(fields: Mapping[str, str]) -> bytes:
    """
    Write fields for the journal.

    @param fields: Values by their names in the journal.

    @return: A datagram.
    """
    parts: list[bytes] = []
    for name, text in fields.items():
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            size = len(value).to_bytes(8, "little")
            parts += [name.encode("ascii"), b"\n", size, value, b"\n"]
        else:
            parts += [name.encode("ascii"), b"=", value, b"\n"]
    return b"".join(parts)


def event_fields(event: LogEvent) -> dict[str, str] | None:
    """
    Put an event into fields.

    @return: Values by their names in the journal; C{None} for an event that says
        nothing.
    """
    text, failure = text_of(event), failure_of(event)
    if not text and failure is None:
        return None
    level = getattr(event.get("log_level"), "name", "info")
    told = {
        "MESSAGE": text if failure is None else f"{text}\n{failure[2]}".strip(),
        "PRIORITY": str(_PRIORITIES.get(level, 6)),
        "SYSLOG_IDENTIFIER": "mdproxy",
        "MDPROXY_LOGGER": str(event.get("log_namespace", "-")),
    }
    for name, value in fields_of(event).items():
        told.setdefault(named(name), _text(value))
    if failure is not None:
        told["MDPROXY_FAILURE"] = f"{failure[0]}: {failure[1]}"
    return told


def _text(value: Any) -> str:
    """
    Write a plain value as text: a text as it is, all else as JSON.
    """
    return value if isinstance(value, str) else json.dumps(value)


@define(eq=False)
class Journal:
    """
    The way to the journal.

    It is asked for anew with each datagram, so it may come and go.

    @ivar _path: Where the journal listens.
    @ivar _socket: Sends.
    """

    _path: str = SOCKET
    _socket: socket.socket = field(init=False)

    @_socket.default
    def _(self) -> socket.socket:
        """
        Have a socket that waits for nobody.
        """
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        made.setblocking(False)
        return made

    def send(self, fields: Mapping[str, str]) -> None:
        """
        Send fields.

        @raise BlockingIOError: If the journal does not read.
        @raise OSError: If there is none.
        """
        self._socket.sendto(datagram(fields), self._path)

    def close(self) -> None:
        """
        Send no more.
        """
        self._socket.close()
