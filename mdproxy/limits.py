# -*- test-case-name: tests.test_limits -*-
"""
How much one instance may take, so that the others get theirs.

Pure: plain counting, with C{now} as an argument where time matters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from enum import Enum

from attrs import define, field

#: What is counted by: a network and, on it, an address or MAC.
Seat = tuple[str, str]


class Bound(Enum):
    """
    What may be in the way of one place more.
    """

    OF_SEAT = "of it"
    OF_NETWORK = "of its network"
    OF_ALL = "of all"


@define
class Shares:
    """
    Places in a common pool, of which no seat gets more than its share.

    @ivar _of_seat: The most that one seat may hold.
    @ivar _of_network: The most that one network may hold.
    @ivar _of_all: The most that may be held together.
    @ivar taken: How many are held.
    """

    _of_seat: int
    _of_network: float = float("inf")
    _of_all: float = float("inf")
    _held: dict[Seat, int] = field(factory=dict, init=False)
    _by_network: dict[str, int] = field(factory=dict, init=False)
    taken: int = field(default=0, init=False)

    def take(self, seat: Seat) -> bool:
        """
        Take a place, if there is one.

        @return: Whether it was taken, and so must be given back.
        """
        network = seat[0]
        of_seat = self._held.get(seat, 0)
        of_network = self._by_network.get(network, 0)
        if (
            of_seat >= self._of_seat
            or of_network >= self._of_network
            or self.taken >= self._of_all
        ):
            return False
        self._held[seat] = of_seat + 1
        self._by_network[network] = of_network + 1
        self.taken += 1
        return True

    def reached(self, seat: Seat) -> Bound | None:
        """
        Tell which bound a seat's next place would break, the narrowest first.
        """
        if self._held.get(seat, 0) >= self._of_seat:
            return Bound.OF_SEAT
        if self.held_on(seat[0]) >= self._of_network:
            return Bound.OF_NETWORK
        return Bound.OF_ALL if self.taken >= self._of_all else None

    def held_on(self, network: str) -> int:
        """
        Count the places that a network holds.
        """
        return self._by_network.get(network, 0)

    def give_back(self, seat: Seat) -> None:
        """
        Give back a place that was taken.
        """
        network = seat[0]
        # Nothing is kept of a seat or network that holds none.
        if (of_seat := self._held[seat]) == 1:
            del self._held[seat]
        else:
            self._held[seat] = of_seat - 1
        if (of_network := self._by_network[network]) == 1:
            del self._by_network[network]
        else:
            self._by_network[network] = of_network - 1
        self.taken -= 1

    def resize(
        self,
        of_seat: int,
        of_network: float = float("inf"),
        of_all: float = float("inf"),
    ) -> None:
        """
        Change how much may be held; what is held already stays so, however much.
        """
        self._of_seat = of_seat
        self._of_network = of_network
        self._of_all = of_all


class Rates:
    """
    How often each seat may ask: a token bucket for each.

    A bucket is one number, the time at which it will be full again (the generic cell
    rate algorithm, ITU-T I.371).  A full one need not be remembered; the others are
    kept in two generations, of which the elder is dropped whole.

    @ivar _interval: Seconds in which a bucket gains a token.
    @ivar _slack: How long before it is full again a bucket still has a token.
    @ivar _most: How many buckets a generation has, at most.
    @ivar _turn: When the young generation began.
    @ivar _young: By seat, when its bucket is full: the buckets used since.
    @ivar _old: The same of those used before.
    """

    def __init__(self, rate: float, burst: int, most: int = 4096) -> None:
        """
        Begin with all buckets full.

        @param rate: How many tokens a bucket gains in a second.
        @param burst: How many it holds.
        @param most: Of how many seats count is kept, even where more of them ask; the
            eldest are forgotten.
        """
        self._most = most
        self._turn = 0.0
        self._young: dict[Seat, float] = {}
        self._old: dict[Seat, float] = {}
        self.resize(rate, burst)

    def resize(self, rate: float, burst: int) -> None:
        """
        Set other bounds, from now on.

        @param rate: How many tokens a bucket gains in a second; 0: no bucket is ever
            empty.
        @param burst: How many it holds.
        """
        self._interval = 1.0 / rate if rate else 0.0
        # A thousandth of a token more than there are, for sums are not exact.
        self._slack = (burst - 0.999) * self._interval

    def allows(self, seat: Seat, now: float) -> bool:
        """
        Take a token, if there is one.

        @param now: Seconds, monotonic.

        @return: Whether there was.
        """
        if not self._interval:
            return True
        full = self._young.get(seat)
        if full is None:
            full = self._recall(seat, now)
        if full < now:
            full = now
        elif full - now > self._slack:
            return False
        self._young[seat] = full + self._interval
        return True

    @property
    def kept(self) -> int:
        """
        Count the buckets that are remembered.
        """
        return len(self._young) + len(self._old)

    def _recall(self, seat: Seat, now: float) -> float:
        """
        Look up a bucket that was not used lately, and forget what need not be known.

        @return: When it is full.
        """
        full = self._old.get(seat, now)
        # What was used before the turn has filled up since.
        filled = now - self._turn > self._slack + self._interval
        if filled or len(self._young) >= self._most:
            self._old, self._young, self._turn = self._young, {}, now
        return full


def lines_of_network() -> Rates:
    """
    Bound how often a log tells something of whoever is on a network, for each may have
    any number of names: some lines at once, and one every two seconds.
    """
    return Rates(0.5, 32)


@define
class Seldom:
    """
    Lets an event through once in a while, so that a log can't be flooded.

    @ivar _period: For so many seconds an event is not let through again.
    @ivar _most: Of how many events it keeps count; the eldest are forgotten.
    """

    _period: float = 60.0
    _most: int = 4096
    _seen: OrderedDict[Hashable, tuple[float, int]] = field(
        factory=OrderedDict, init=False
    )

    def passes(self, event: Hashable, now: float) -> int | None:
        """
        Ask whether to tell of an event.

        @param now: Seconds, monotonic.

        @return: C{None}: not now.  Otherwise how many times it was kept quiet since it
            was last told.
        """
        since, quiet = self._seen.get(event, (None, 0))
        if since is not None and now - since < self._period:
            self._seen[event] = (since, quiet + 1)
            return None
        self._seen[event] = (now, 0)
        self._seen.move_to_end(event)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return quiet
