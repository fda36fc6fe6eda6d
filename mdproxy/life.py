# -*- test-case-name: tests.test_life -*-
"""
Starting, stopping and signals.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mdproxy.http.front import Front
from mdproxy.upstream import Upstream


def go_by_steady_time(reactor: Any) -> None:
    """
    Have a reactor's timers go by a clock that nobody sets.

    Twisted's go by the wall clock (twisted/python/runtime.py, C{seconds}): where that
    is set back by a day every timer waits for a day more, and where it is set forward
    all go off at once.

    @param reactor: A real one, before anything is scheduled on it.
    """
    reactor.seconds = time.monotonic


def raise_file_limit(
    get: Callable[[int], tuple[int, int]] = resource.getrlimit,
    put: Callable[[int, tuple[int, int]], None] = resource.setrlimit,
) -> int:
    """
    Let the process have as many files open as it may.

    The limit that counts is low by default, for the sake of programs that use
    C{select}: 1024 would not do for the sockets of a thousand networks.

    @return: How many files may be open.
    """
    soft, hard = get(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        put(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # Nobody else can raise it, either: it stays, and is shown.
        return soft
    return hard


def settle_memory(libc: Any = None) -> None:
    """
    Give back what only the start took, and have the collector look no more at what
    lives as long as the process.

    Reading the configuration and importing leave holes in the heap, more than half a
    megabyte, that the allocator keeps unless it is told (malloc_trim(3)).

    @param libc: The C library; not every one can.
    """
    gc.collect()
    with suppress(AttributeError, OSError):
        (ctypes.CDLL(None) if libc is None else libc).malloc_trim(0)
    gc.freeze()


class InOrder(MultiService):
    """
    Services of which each is stopped only when those after it are.

    Listeners stand last, so that nothing is asked of a part that has stopped.
    """

    _log = Logger()

    async def _stop_children(self) -> None:
        """
        Stop the children, the last first; one that can't be stopped keeps no other.
        """
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except Exception:
                part = type(child).__name__
                self._log.failure("{part} can't be stopped", part=part)

    def stopService(self) -> Deferred[None]:
        """
        Stop, the last child first.

        @return: Fires when the first has stopped.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_children())


@define(eq=False)
class FrontService(Service):
    """
    Finishes what is in flight before the rest stops.

    @ivar _front: The open connections.
    @ivar _upstream: What answers them.
    @ivar _clock: What time it is.
    @ivar patience: For how many seconds requests in flight are waited for.
    """

    _front: Front
    _upstream: Upstream
    _clock: IReactorTime
    patience: float
    _log: Logger = field(factory=Logger, init=False)

    def stopService(self) -> Deferred[None]:
        """
        Let what is in flight end, then close everything.

        @return: Fires when all connections are closed.
        """
        super().stopService()
        drained: Deferred[None] = Deferred()
        limit = self._clock.callLater(self.patience, self._give_up)
        drained.addCallback(lambda _: self._finish(limit))
        self._front.drain(lambda: drained.callback(None))
        return drained

    def hurry(self) -> None:
        """
        Wait no longer for what is in flight.
        """
        self._front.abort()

    def _give_up(self) -> None:
        """
        Break what has not ended in time.
        """
        self._log.warn(
            "{count} connections did not end in {seconds} seconds and are broken",
            count=len(self._front.channels),
            seconds=self.patience,
        )
        self._front.abort()

    def _finish(self, limit: IDelayedCall) -> None:
        """
        Nothing is in flight any more.
        """
        if limit.active():
            limit.cancel()
        self._upstream.close()


@define(eq=False)
class Signals(Service):
    """
    Turns SIGTERM and SIGINT into a clean end with status 0, SIGHUP into a call.

    Twisted's own handler of SIGTERM ends the process by that signal, and SIGHUP, which
    it does not handle, would kill it.

    @ivar _reactor: What is stopped.
    @ivar _hurry: Called when told to stop a second time.
    @ivar _renew: Called on SIGHUP.
    @ivar _hung_up: Whether a SIGHUP has come that nobody was told of yet.
    """

    _reactor: Any
    _hurry: Callable[[], None]
    _renew: Callable[[], None]
    _stopping: bool = field(default=False, init=False)
    _hung_up: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def startService(self) -> None:
        """
        Take SIGHUP now, the others as soon as the reactor has taken them.
        """
        super().startService()
        signal.signal(signal.SIGHUP, self._hang_up_soon)
        self._reactor.callWhenRunning(self._take)

    def stop(self) -> None:
        """
        Begin to stop, or hurry.
        """
        if self._stopping:
            self._hurry()
        else:
            self._stopping = True
            self._log.info("stopping: what is in flight is finished first")
            self._reactor.stop()

    def hang_up(self) -> None:
        """
        Have everything read again, once for all SIGHUPs that came until now.
        """
        self._hung_up = False
        if self._stopping:
            self._log.info("SIGHUP: nothing is read again while we stop")
        else:
            self._renew()

    def _take(self) -> None:
        """
        Handle the others from now on.
        """
        signal.signal(signal.SIGTERM, self._stop_soon)
        signal.signal(signal.SIGINT, self._stop_soon)

    def _stop_soon(self, _number: int, _frame: Any) -> None:
        """
        Stop in the reactor's turn, not between two bytecodes.
        """
        self._reactor.callFromThread(self.stop)

    def _hang_up_soon(self, _number: int, _frame: Any) -> None:
        """
        Have everything read again in the reactor's turn.
        """
        if not self._hung_up:
            self._hung_up = True
            self._reactor.callFromThread(self.hang_up)
