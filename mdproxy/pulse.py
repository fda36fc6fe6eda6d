# -*- test-case-name: tests.test_pulse -*-
"""
How late the reactor is: for how long everybody waits while one thing is done.

A clock call each half second, and by how much it comes too late.  Whatever keeps the
reactor busy for longer shows in it, or in the worst of a few beats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mdproxy.histogram import Histogram

#: Between two beats, in seconds.
PERIOD: Final = 0.5

#: Is told how late a beat was, in seconds.
Beat = Callable[[float], None]


@define(eq=False)
class Pulse(Service):
    """
    Beats while it is started, and measures how late each beat is.

    @ivar _clock: What time it is, and when to beat.
    @ivar lag: How late the beats were.
    @ivar latest: How late the latest was, in seconds.
    @ivar worst: How late the worst was since the start, in seconds.
    @ivar _due: When the next beat should be.
    @ivar _next: Beats then.
    @ivar _observers: Who is told of each beat.
    """

    _clock: IReactorTime
    lag: Histogram = field(factory=Histogram, init=False)
    latest: float = field(default=0.0, init=False)
    worst: float = field(default=0.0, init=False)
    _due: float = field(default=0.0, init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _observers: list[Beat] = field(factory=list, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def observe(self, beat: Beat) -> None:
        """
        Have somebody told of each beat, beginning with the next.

        @param beat: Is told how late it was, in seconds.
        """
        self._observers.append(beat)

    def startService(self) -> None:
        """
        Begin with the reactor's first turn: what the start itself took is no lag.
        """
        super().startService()
        self._next = self._clock.callLater(0, self._schedule)

    def stopService(self) -> Deferred[None] | None:
        """
        Beat no more.
        """
        super().stopService()
        following, self._next = self._next, None
        if following is not None:
            following.cancel()
        return None

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator how late the reactor is.

        @return: Plain values, ready for JSON; seconds, C{None} before the first beat.
        """
        return {
            "latest": self.latest,
            "worst": self.worst,
            "median": self.lag.quantile(0.5),
            "p99": self.lag.quantile(0.99),
        }

    def _schedule(self) -> None:
        """
        Have the next beat come in time.
        """
        self._due = self._clock.seconds() + PERIOD
        self._next = self._clock.callLater(PERIOD, self._beat)

    def _beat(self) -> None:
        """
        See how late it is, and tell everybody.
        """
        late = max(0.0, self._clock.seconds() - self._due)
        self.latest = late
        self.worst = max(self.worst, late)
        self.lag.add(late)
        self._schedule()
        for beat in self._observers:
            self._tell(beat, late)

    def _tell(self, beat: Beat, late: float) -> None:
        """
        Tell one; its fault must not cost the others their beat.
        """
        try:
            beat(late)
        except Exception:
            self._log.failure("what should be done with each beat failed")
