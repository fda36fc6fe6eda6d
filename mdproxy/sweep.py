# -*- test-case-name: tests.test_sweep -*-
"""
Coarse timers: one timer looks at all deadlines, four times a second.

A connection moves its deadline with every request; a timer of the reactor for each
would cost more than the request's parsing.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from attrs import define, field
from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

#: Deadlines are kept to within so many seconds.
PERIOD: Final = 0.25

#: The deadline of something that waits for nothing.
NEVER: Final = float("inf")


class Timed(Protocol):
    """
    Something with a deadline.

    @ivar deadline: When it times out, in the reactor's seconds; L{NEVER} for never.
    """

    deadline: float

    def timed_out(self) -> None:
        """
        Act on the deadline having passed; the deadline has been set to L{NEVER}.
        """


@define(eq=False)
class Sweep:
    """
    The owner of all coarse deadlines.

    @ivar _clock: What time it is.
    @ivar now: What time it was lately: good for a deadline that need not be exact, and
        costs nothing.
    """

    _clock: IReactorTime
    now: float = field(init=False)
    _members: set[Timed] = field(factory=set, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Know the time.
        """
        self.now = self._clock.seconds()

    def add(self, member: Timed) -> None:
        """
        Watch a member's deadline from now on.
        """
        self._members.add(member)

    def discard(self, member: Timed) -> None:
        """
        Watch it no longer.
        """
        self._members.discard(member)

    def tick(self) -> None:
        """
        Tell every member whose deadline has passed.
        """
        now = self.now = self._clock.seconds()
        for member in [m for m in self._members if m.deadline <= now]:
            # One that was told before it may have ended it, or given it time.
            if member.deadline <= now and member in self._members:
                member.deadline = NEVER
                self._tell(member)

    def _tell(self, member: Timed) -> None:
        """
        Tell a member; its fault must not cost the others their deadlines.
        """
        try:
            member.timed_out()
        except Exception:
            # By its kind: a member may hold what no log may.
            self._log.failure(
                "{kind} failed when it timed out", kind=type(member).__name__
            )

    def service(self) -> TimerService:
        """
        Make the service that ticks.
        """
        ticker: Any = TimerService(PERIOD, self.tick)
        ticker.clock = self._clock
        service: TimerService = ticker
        return service
