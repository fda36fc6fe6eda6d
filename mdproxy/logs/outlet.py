# -*- test-case-name: tests.test_logs_outlet -*-
"""
Where lines go, without ever waiting for whoever reads them.

A pipe whose reader has stopped, a terminal that was paused and a full disk take lines
from the log, not time from the service.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

#: After so many seconds what was not taken is offered again.
_AGAIN: Final = 1.0

#: So many bytes wait for a reader; what does not fit is dropped.
MOST: Final = 1 << 18


class Sink(Protocol):
    """
    Takes bytes.
    """

    def write(self, data: bytes) -> int:
        """
        Take as many bytes as can be taken at once.

        @return: How many.

        @raise OSError: If none can be taken, for now or ever.
        """


@define(eq=False)
class Descriptor:
    """
    A descriptor that somebody else has opened: what a shell or systemd made of standard
    output.

    It can't be made non-blocking, for others may have the same open file.

    @ivar _number: The descriptor.
    @ivar _write: Writes without waiting.
    """

    _number: int
    _write: Callable[[bytes], int] = field(init=False)

    @_write.default
    def _(self) -> Callable[[bytes], int]:
        """
        Choose by what it is.
        """
        mode = os.fstat(self._number).st_mode
        if stat.S_ISREG(mode):
            return self._to_file
        return self._to_socket if stat.S_ISSOCK(mode) else self._to_pipe

    def write(self, data: bytes) -> int:
        """
        Provide L{Sink.write}.
        """
        return self._write(data)

    def _to_file(self, data: bytes) -> int:
        """
        Write to a file.
        """
        return os.write(self._number, data)

    def _to_pipe(self, data: bytes) -> int:
        """
        Write as much as the kernel promises to take at once (pipe(7), C{PIPE_BUF}).
        """
        ready = select.poll()
        ready.register(self._number, select.POLLOUT)
        if not ready.poll(0):
            raise BlockingIOError
        return os.write(self._number, data[: select.PIPE_BUF])

    def _to_socket(self, data: bytes) -> int:
        """
        Write to a socket, as systemd's standard output is.
        """
        with socket.socket(fileno=os.dup(self._number)) as copy:
            return copy.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


@define(eq=False)
class LogFileSink:
    """
    A log file of Twisted's, with its own ways of rotating.

    @ivar _file: The file (C{twisted.python.logfile.LogFile}).
    """

    _file: Any

    def write(self, data: bytes) -> int:
        """
        Provide L{Sink.write}.
        """
        self._file.write(data)
        return len(data)


@define(eq=False)
class Outlet:
    """
    Hands lines to a sink, as far as that takes them.

    @ivar _sink: Takes them.
    @ivar _clock: When to offer again what was not taken.
    @ivar _recovered: Called with the number of lines that were dropped, when the sink
        has taken all that waited.
    @ivar dropped: How many lines were dropped in all.
    @ivar _untold: How many nobody was told of yet.
    @ivar _waiting: What the sink has not taken yet.
    @ivar _is_due: Whether it will be offered again.
    """

    _sink: Sink
    _clock: IReactorTime
    _recovered: Callable[[int], None]
    dropped: int = field(default=0, init=False)
    _untold: int = field(default=0, init=False)
    _waiting: bytearray = field(factory=bytearray, init=False)
    _is_due: bool = field(default=False, init=False)

    def write(self, line: bytes) -> None:
        """
        Write a line; nothing is raised, and nobody waits.

        @param line: One with its end.
        """
        if len(self._waiting) + len(line) > MOST and not self.flush():
            self.dropped += 1
            self._untold += 1
            return
        self._waiting += line
        self.flush()

    def flush(self) -> bool:
        """
        Try to be rid of what waits.

        @return: Whether nothing waits any more.
        """
        with suppress(OSError):
            while self._waiting:
                taken = self._sink.write(bytes(self._waiting[:65536]))
                del self._waiting[:taken]
        if self._waiting:
            self._offer_again()
        elif self._untold:
            untold, self._untold = self._untold, 0
            self._recovered(untold)
        return not self._waiting

    def _offer_again(self) -> None:
        """
        Have what waits offered again before long.
        """
        if not self._is_due:
            self._is_due = True
            self._clock.callLater(_AGAIN, self._offer)

    def _offer(self) -> None:
        """
        Offer it again.
        """
        self._is_due = False
        self.flush()
