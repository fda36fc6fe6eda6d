# -*- test-case-name: tests.test_reactor -*-
"""
C{twistd --reactor=mdproxy-epoll}: Twisted's epoll reactor with a shorter way to reads.

The stock reactor pushes a log context for every event, though it is hardly ever looked
at (U{https://github.com/twisted/twisted/issues/12338}).  This one does so only where
something goes wrong or something other than a plain read is to be done; what happens to
a selectable is the same in every case.

What it costs the operator: the prefix of lines that go through Twisted's old C{log.msg}
while a connection is read from to its end, such as C{[Channel,3,10.0.0.5]}, is C{[-]}.
mdproxy's own lines never have it, as they go through C{Logger} and begin with the name
of their module; an exception that a protocol raises keeps it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from errno import EINTR
from select import EPOLLIN, EPOLLOUT
from typing import Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.logger import Logger
from twisted.python import log

_log = Logger()

_EITHER: Final = EPOLLIN | EPOLLOUT

#: What is used here of the stock reactor and is not public.
_NAMES: Final = ("_poller", "_selectables", "_doReadOrWrite", "_disconnectSelectable")


class PlainReadsReactor(EPollReactor):
    """
    An epoll reactor for which reading is the rule.
    """

    def __init__(self, names: Sequence[str] = _NAMES) -> None:
        """
        Take the shorter way, if this Twisted has the names that it needs.
        """
        super().__init__()
        self._at_turn_end: list[Callable[[], object]] = []
        missing = [name for name in names if not hasattr(self, name)]
        if missing:
            _log.warn(
                "mdproxy-epoll is Twisted's own epoll reactor: it has no {names}",
                names=", ".join(missing),
            )
        else:
            self.doPoll = self.doIteration = self._poll  # type: ignore[method-assign]
        self._polls = not missing

    def callAtTurnEnd(self, call: Callable[[], object]) -> None:
        """
        Have something called once, behind all events of the present turn.

        Outside of a turn's events, such as in a delayed call, that is before the
        reactor waits for the next ones.

        @param call: What to call; an exception that it raises is logged.
        """
        if self._polls:
            self._at_turn_end.append(call)
        else:
            self.callLater(0, call)

    def _end_turn(self) -> None:
        """
        Call what was to be called at the end.
        """
        calls, self._at_turn_end = self._at_turn_end, []
        for call in calls:
            try:
                call()
            except Exception:
                _log.failure("at the end of a turn")

    def _poll(self, timeout: float | None) -> None:
        """
        Wait for events and do what they are for (C{EPollReactor.doPoll}).

        @param timeout: How long to wait at most, in seconds; C{None}: as long as it
            takes.
        """
        selectables = self._selectables
        if self._at_turn_end:
            self._end_turn()
            # There may be delayed calls now that the time to wait was not made for.
            timeout = 0
        try:
            events = self._poller.poll(
                -1 if timeout is None else timeout, len(selectables)
            )
        except OSError as error:
            if error.errno == EINTR:
                return
            raise
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:
                # An earlier event of this turn has ended it.
                continue
            # With a hang-up or an error beside it, it is a read all the same.
            if event & _EITHER != EPOLLIN or not self._read(selectable):
                log.callWithLogger(
                    selectable, self._doReadOrWrite, selectable, fd, event
                )
        if self._at_turn_end:
            self._end_turn()

    def _read(self, selectable: Any) -> bool:
        """
        Have something read, and disconnect it if it says so or fails.

        @return: Whether there was something to read from.
        """
        try:
            if selectable.fileno() == -1:
                return False
            why = selectable.doRead()
        except BaseException:
            log.callWithLogger(selectable, self._fail, selectable)
        else:
            if why:
                self._end(selectable, why)
        return True

    def _end(self, selectable: Any, why: object) -> None:
        """
        Disconnect what has said that it has ended, or lost its connection.
        """
        try:
            self._disconnectSelectable(selectable, why, True)
        except KeyboardInterrupt:
            raise
        except BaseException:
            # What callWithLogger does with exceptions, and without.
            log.callWithLogger(selectable, log.err)

    def _fail(self, selectable: Any) -> None:
        """
        Log the exception that is being handled, and disconnect with it.
        """
        why = sys.exc_info()[1]
        log.err()
        self._disconnectSelectable(selectable, why, False)


def install() -> None:
    """
    Make this the reactor of the process.
    """
    installReactor(PlainReadsReactor())
