# -*- test-case-name: tests.test_inventory_belief -*-
"""
For how long what an API has said is believed.

An API tells of no change; it must be asked.  Between two questions a port may go to
another instance with its network, MAC and address: whoever deletes an instance and
boots the next with the same port does just that (scenario D1).  So an answer is
believed for C{max_age} seconds, counted from when the question was I{sent}, and then
leaves the book: the next caller waits for a fresh answer, some 50 ms.  This goes for
what was learnt by the slow refresh too, or it would be believed for minutes.

Whenever a network is asked about, some of what is believed of it is confirmed in the
same question, so that where an address has gone from a deleted instance to a new one
the old port leaves the book as the new one enters it.

What somebody asked for a short while ago is asked for again before it lapses, because
instances ask often while they boot, and a lapse between question and answer would break
the answer off.

While the API is away (no connection, no answer in time, 429, 5xx) the ports of I{this
host} that are believed at that moment stay.  Another instance can come to this host
only when Nova's compute service here binds its port and plugs it in, and for that it
needs the same API.  This argument holds neither for the ports of other hosts (whom a
network node serves), nor where the API works and refuses I{us} (401, 403, a bad
certificate): there answers lapse as ever.  What had lapsed before the API went away
stays out, for it may have changed while the API still worked.  When the API is back
everything that is too old lapses at once.

What remains: a port that is moved to another instance, which asks within C{max_age}
seconds of the last time that Neutron confirmed the old one.  The old one's boot and the
new one's make that unlikely; C{max_age} bounds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from attrs import define, field

from mdproxy.model import Port

#: For how many seconds after somebody asked for a port it is kept from lapsing.
FOLLOWED: Final = 30.0
#: At what share of its life an answer is asked for again.
_RENEWED: Final = 0.6
#: How often the answers' ages are looked at, as a share of their life.
TICK: Final = 0.1

#: A network's id and a MAC.
Seat = tuple[str, str]


@define(eq=False)
class _Answer:
    """
    What was said of a seat.

    @ivar ports: The ports that are there.
    @ivar asked: When the question was sent, in monotonic seconds.
    @ivar is_here: Whether they are all plugged in on this host.
    """

    ports: tuple[Port, ...]
    asked: float
    is_here: bool


@define(eq=False)
class Beliefs:
    """
    What is believed, and so is in the book.

    @ivar _enter: Takes what is believed of a seat now.
    @ivar _max_age: For how many seconds an answer is believed.
    @ivar _answers: What is believed.
    @ivar _wanted: When somebody last asked for a seat.
    """

    _enter: Callable[[Seat, tuple[Port, ...]], None]
    _max_age: float
    _answers: dict[Seat, _Answer] = field(factory=dict, init=False)
    _wanted: dict[Seat, float] = field(factory=dict, init=False)

    def learn(
        self, seat: Seat, ports: Iterable[Port], asked: float, is_here: bool
    ) -> None:
        """
        Take an answer, unless a later question has been answered before.

        @param seat: Where.
        @param ports: All ports that are there.
        @param asked: When the question was sent, in monotonic seconds.
        @param is_here: Whether they are all plugged in on this host.
        """
        known = self._answers.get(seat)
        if known is not None and known.asked > asked:
            return
        listed = tuple(ports)
        if listed:
            self._answers[seat] = _Answer(listed, asked, is_here)
        else:
            self._answers.pop(seat, None)
        if listed != (() if known is None else known.ports):
            self._enter(seat, listed)

    def withdraw_here(self, seen: set[Seat], asked: float, network: str | None) -> None:
        """
        Take it that this host has no other ports than those.

        @param seen: The seats of all ports on this host.
        @param asked: When the question was sent.
        @param network: The network that the question was about; C{None}: all.
        """
        for seat, answer in list(self._answers.items()):
            if answer.is_here and seat not in seen and network in (None, seat[0]):
                self.learn(seat, (), asked, True)

    def note_wanted(self, seat: Seat, now: float) -> None:
        """
        Remember that somebody asks for a seat.
        """
        self._wanted.pop(seat, None)
        self._wanted[seat] = now

    def lapse(self, now: float, is_away: bool) -> list[Seat]:
        """
        Drop what will be too old before the next look.

        @param is_away: Whether the API is, so that nothing changes on this host.

        @return: What should be asked for again, before it lapses.
        """
        self._forget_wishes(now)
        renewed: list[Seat] = []
        for seat, answer in list(self._answers.items()):
            age = now - answer.asked
            if age > self._max_age * (1 - TICK):
                if not (is_away and answer.is_here):
                    del self._answers[seat]
                    self._enter(seat, ())
            elif age >= self._max_age * _RENEWED and seat in self._wanted:
                renewed.append(seat)
        return renewed

    def eldest(self, network: str, most: int) -> list[str]:
        """
        Name MACs whose ports on a network are believed, the longest ago confirmed
        first.

        @param most: So many of them.
        """
        ages = {
            mac: answer.asked
            for (where, mac), answer in self._answers.items()
            if where == network
        }
        return sorted(ages, key=ages.__getitem__)[:most]

    def __len__(self) -> int:
        """
        Count the ports.
        """
        return sum(len(answer.ports) for answer in self._answers.values())

    def _forget_wishes(self, now: float) -> None:
        """
        Forget who asked long ago, the longest ago first.
        """
        for seat, wanted in list(self._wanted.items()):
            if now - wanted <= FOLLOWED:
                return
            del self._wanted[seat]
