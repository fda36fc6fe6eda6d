# -*- test-case-name: tests.test_inventory_barrier -*-
"""
Making sure that a server has told everything, but not more often than it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two questions whether there is anything new.
PAUSE: Final = 0.1
#: For so many seconds somebody waits for an answer at most.
PATIENCE: Final = 2.0


@define(eq=False)
class Barrier:
    """
    Asks the server whether it has told everything, for all who want to know.

    @ivar _clock: Schedules.
    @ivar _ask: Asks; the answer comes behind all that the server knew when it was
        asked.  C{None}: nobody is there to be asked.
    @ivar _is_done: Whether nothing is missing that was told.
    @ivar _waiting: Who waits for the answer that is under way.
    @ivar _next: Who waits for the next one, for they came after the question.
    @ivar _latest: When was asked last.
    @ivar _number: Which question is under way.
    @ivar _is_answered: Whether the server has answered it.
    @ivar _calls: Ask the next time, and lose patience.
    """

    _clock: IReactorTime
    _ask: Callable[[], Deferred[Any] | None]
    _is_done: Callable[[], bool]
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    _next: list[Deferred[None]] = field(factory=list, init=False)
    _latest: float = field(default=float("-inf"), init=False)
    _number: int = field(default=0, init=False)
    _is_answered: bool = field(default=False, init=False)
    _calls: dict[str, IDelayedCall] = field(factory=dict, init=False)

    def wait(self) -> Deferred[None]:
        """
        Wait until all has come that the server knows at this moment.
        """
        done: Deferred[None] = Deferred()
        self._next.append(done)
        self._go_on()
        return done

    def look(self) -> None:
        """
        Let those go who waited, if that is all.
        """
        if self._waiting and self._is_answered and self._is_done():
            self._release()

    def stop(self) -> None:
        """
        Let everybody go.
        """
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()
        waiting, self._waiting, self._next = [*self._waiting, *self._next], [], []
        for done in waiting:
            done.callback(None)

    def _go_on(self) -> None:
        """
        Ask for those who wait for the next question, as soon as that is not too often.
        """
        if self._waiting or not self._next or "ask" in self._calls:
            return
        due = self._latest + PAUSE - self._clock.seconds()
        if due > 0:
            self._calls["ask"] = self._clock.callLater(due, self._ask_again)
            return
        self._latest = self._clock.seconds()
        self._waiting, self._next = self._next, []
        self._is_answered = False
        self._number += 1
        answer = self._ask()
        if answer is None:
            self._release()
            return
        self._calls["give up"] = self._clock.callLater(PATIENCE, self._give_up)
        # Who loses the connection lets everybody go.
        number = self._number
        answer.addCallbacks(lambda _: self._answered(number), lambda _: None)

    def _ask_again(self) -> None:
        """
        It is not too often any more.
        """
        del self._calls["ask"]
        self._go_on()

    def _give_up(self) -> None:
        """
        Nobody waits longer than this.
        """
        del self._calls["give up"]
        self._release()

    def _answered(self, number: int) -> None:
        """
        All has come but for what must be asked for besides; the answer to an earlier
        question, which nobody waits for any more, says nothing.
        """
        if number == self._number:
            self._is_answered = True
            self.look()

    def _release(self) -> None:
        """
        Let those go who wait.
        """
        giving_up = self._calls.pop("give up", None)
        if giving_up is not None:
            giving_up.cancel()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)
        self._go_on()
