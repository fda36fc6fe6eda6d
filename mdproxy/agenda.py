# -*- test-case-name: tests.test_agenda -*-
"""
What is to be done again, and when: one timer for any number of things.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: After so many seconds of work the reactor has its turn.
SLICE: Final = 0.01
#: What failed by a fault of ours is done again after so many seconds.
_PAUSE: Final = 10.0


@define(eq=False)
class Agenda:
    """
    Names, each with the moment when something is to be done about it.

    @ivar _clock: What time it is.
    @ivar _act: Does it; may put the name, and others, onto the agenda again.
    @ivar _due: When it is each name's turn, in seconds.
    """

    _clock: IReactorTime
    _act: Callable[[str], None]
    _due: dict[str, float] = field(factory=dict, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _working: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __len__(self) -> int:
        """
        Count the names.
        """
        return len(self._due)

    def put(self, name: str, delay: float = 0.0) -> None:
        """
        Have something done about a name, in place of what was planned for it.

        @param delay: In so many seconds.
        """
        self._due[name] = at = self._clock.seconds() + delay
        if not self._working and (self._timer is None or at < self._timer.getTime()):
            self._set(at)

    def drop(self, name: str) -> None:
        """
        Plan nothing for a name any more.
        """
        self._due.pop(name, None)

    def clear(self) -> None:
        """
        Plan nothing at all.
        """
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def work(self, patience: float = SLICE) -> None:
        """
        Do what is due; what is too much for a turn is done in the next ones.

        @param patience: For how many seconds the reactor may wait.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        start = self._clock.seconds()
        due = sorted((at, name) for name, at in self._due.items() if at <= start)
        self._working = True
        try:
            for _at, name in due:
                if self._clock.seconds() - start > patience:
                    break
                # What was done before may have changed the plan.
                if self._due.get(name, start + 1) <= start:
                    del self._due[name]
                    self._try(name)
        finally:
            self._working = False
        if self._due:
            self._set(min(self._due.values()))

    def _try(self, name: str) -> None:
        """
        Do one thing; a fault in it must not cost the others their turn.
        """
        try:
            self._act(name)
        except Exception:
            self._log.failure("what was planned for {name} failed", name=name)
            self.put(name, _PAUSE)

    def _set(self, at: float) -> None:
        """
        Set the timer.
        """
        delay = max(0.0, at - self._clock.seconds())
        if self._timer is not None:
            self._timer.reset(delay)
        else:
            self._timer = self._clock.callLater(delay, self._wake)

    def _wake(self) -> None:
        """
        Work, for it is time.
        """
        self._timer = None
        self.work()
