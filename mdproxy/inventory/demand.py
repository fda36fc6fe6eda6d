# -*- test-case-name: tests.test_inventory_demand -*-
"""
Questions to somewhere outside, for many who ask at once: together, not too often, and
none is lost.

Questions are of I{subjects} (networks), each about I{items} (MACs).  Those that come
within a moment are asked together; a subject's next question begins a second after its
last one at the earliest, and what comes meanwhile waits for it.  So 500 instances that
appear at once cost two or three questions, and whoever makes up MACs slows down his own
network alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: For how many seconds others may join a question before it is asked.
WINDOW: Final = 0.01
#: For how many seconds after a question about a subject the next one waits.
PAUSE: Final = 1.0


@define(eq=False)
class _Wish:
    """
    An item that somebody wants to be asked about.

    @ivar since: Since when.
    @ivar waiting: Who is to be told of the answer.
    """

    since: float
    waiting: list[Deferred[None]] = field(factory=list)


@define(eq=False)
class _Line:
    """
    What is to be asked about one subject.

    @ivar wishes: What is not asked yet, the eldest first.
    @ivar asking: What is being asked.
    @ivar earliest: When the next question may begin.
    @ivar call: Begins it, or forgets the subject.
    """

    wishes: dict[str, _Wish] = field(factory=dict)
    asking: dict[str, _Wish] = field(factory=dict)
    earliest: float = float("-inf")
    call: IDelayedCall | None = None


@define(eq=False)
class Demand:
    """
    Who wants to know what.

    @ivar _clock: Schedules.
    @ivar _ask: Asks about some items of a subject; what it returns fires when the
        answer has been taken, and never fails.
    @ivar most: How many items fit into one question.
    @ivar _lines: By subject, what is to be asked.
    @ivar _is_paused: Whether nothing is asked now.
    """

    _clock: IReactorTime
    _ask: Callable[[str, Sequence[str]], Deferred[None]]
    most: int
    _lines: dict[str, _Line] = field(factory=dict, init=False)
    _is_paused: bool = field(default=False, init=False)

    def want(self, subject: str, item: str) -> Deferred[None]:
        """
        Have something asked, before long.

        What is being asked at this moment doesn't count: its answer may have been
        made before what one wants to know became true.

        @return: Fires when it has been answered, or when nobody waits for it any more
            (L{release}).
        """
        line = self._lines.setdefault(subject, _Line())
        if not line.wishes:
            # Whatever was planned was to forget the subject.
            _stop(line)
        wish = line.wishes.get(item)
        if wish is None:
            wish = line.wishes[item] = _Wish(self._clock.seconds())
        done: Deferred[None] = Deferred()
        wish.waiting.append(done)
        self._plan(subject, line)
        return done

    def waited(self, subject: str) -> float:
        """
        Tell for how long the eldest question about a subject has had no answer.

        @return: Seconds; 0 where there is no question.
        """
        line = self._lines.get(subject)
        if line is None:
            return 0.0
        # The eldest comes first in each; there may be a thousand, and as many ask.
        eldest = [
            next(iter(wishes.values())).since
            for wishes in (line.asking, line.wishes)
            if wishes
        ]
        return self._clock.seconds() - min(eldest) if eldest else 0.0

    def pause(self) -> None:
        """
        Ask nothing until L{resume}; what is wanted is kept.
        """
        self._is_paused = True
        for line in self._lines.values():
            _stop(line)

    def resume(self) -> None:
        """
        Ask again, and what has been wanted since.
        """
        self._is_paused = False
        for subject, line in self._lines.items():
            self._plan(subject, line)

    def release(self) -> None:
        """
        Forget what is wanted and not being asked, and let all go who wait for it.
        """
        released: list[Deferred[None]] = []
        for subject, line in list(self._lines.items()):
            _stop(line)
            released += _waiting_in(line.wishes)
            if not line.asking:
                del self._lines[subject]
        _fire(released)

    def __len__(self) -> int:
        """
        Count the items that are wanted and have no answer.
        """
        return sum(len(line.wishes) + len(line.asking) for line in self._lines.values())

    def _plan(self, subject: str, line: _Line) -> None:
        """
        Schedule a subject's next question, or that it is forgotten.
        """
        if self._is_paused or line.asking:
            return
        now = self._clock.seconds()
        due = max(line.earliest, now + WINDOW) if line.wishes else line.earliest
        if line.call is None:
            delay = max(0.0, due - now)
            line.call = self._clock.callLater(delay, self._begin, subject, line)

    def _begin(self, subject: str, line: _Line) -> None:
        """
        Ask about as many items as fit into one question.
        """
        line.call = None
        if not line.wishes:
            del self._lines[subject]
            return
        items = list(line.wishes)[: self.most]
        line.asking = {item: line.wishes.pop(item) for item in items}
        line.earliest = self._clock.seconds() + PAUSE
        self._ask(subject, items).addBoth(self._end, subject, line)

    def _end(self, _: object, subject: str, line: _Line) -> None:
        """
        Tell those who wait for an answer, and go on with the rest.
        """
        answered = _waiting_in(line.asking)
        if self._lines.get(subject) is line:
            self._plan(subject, line)
        _fire(answered)


def _stop(line: _Line) -> None:
    """
    Call a subject's next question off.
    """
    if line.call is not None:
        line.call.cancel()
        line.call = None


def _waiting_in(wishes: dict[str, _Wish]) -> list[Deferred[None]]:
    """
    Take everybody who waits.
    """
    waiting = [done for wish in wishes.values() for done in wish.waiting]
    wishes.clear()
    return waiting


def _fire(waiting: Sequence[Deferred[None]]) -> None:
    """
    Let somebody go, when everything else is in order.
    """
    for done in waiting:
        done.callback(None)
