# -*- test-case-name: tests.test_http_room -*-
"""
Who makes room for a newcomer where every place for a connection is taken.

The longest idle connection does.  Nothing is kept in order for that while connections
are used: only when a place is wanted are they all looked at, once in a while, and what
that found is used up first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from operator import itemgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from attrs import define, field

from mdproxy.limits import Bound, Seat, Shares

#: Between two looks at all connections lie so many seconds for each of them, which is
#: about a hundred times what a look takes.
_PERIOD: Final = 1e-4

#: So many of the longest idle connections are asked for their place.
_TRIES: Final = 64


class MayBeIdle(Protocol):
    """
    A connection, as far as it is to know here.
    """

    @property
    def idle_since(self) -> float | None:
        """
        Tell since when it waits for a request, in seconds; C{None} where it does not.
        """


_Idle = TypeVar("_Idle", bound=MayBeIdle)


@define(eq=False)
class Room(Generic[_Idle]):
    """
    All connections by their holders, and those that were idle when somebody looked.

    @ivar _shares: Who holds how many places.
    @ivar _held: The connections by holder, in the order in which they came.
    @ivar _idle: By network, those that were idle, the longest idle first, each with its
        holder.
    @ivar _looked: When that was.
    @ivar _many: How many places were taken then.
    """

    _shares: Shares
    _held: dict[Seat, dict[_Idle, None]] = field(factory=dict, init=False)
    _idle: dict[str, deque[tuple[_Idle, Seat]]] = field(factory=dict, init=False)
    _looked: float = field(default=float("-inf"), init=False)
    _many: int = field(default=0, init=False)

    def add(self, connection: _Idle, holder: Seat) -> None:
        """
        Learn of a connection.
        """
        held = self._held.get(holder)
        if held is None:
            self._held[holder] = {connection: None}
        else:
            held[connection] = None

    def discard(self, connection: _Idle, holder: Seat) -> None:
        """
        Forget one.
        """
        held = self._held[holder]
        del held[connection]
        if not held:
            del self._held[holder]
        if self._idle and self._shares.taken * 2 < self._many:
            # The rush is over: nothing is kept of it.
            self._idle.clear()

    def find(self, newcomer: Seat, now: float) -> tuple[_Idle, Seat] | None:
        """
        Find the connection that is to make room for another.

        It is one of the newcomer's own, or else of somebody on its network who holds
        more than it, or of a network that holds more than its own: nobody gains by
        asking for more than the others.

        @param now: Seconds, as those of C{idle_since}.

        @return: It and its holder; C{None}: nobody's.
        """
        bound = self._shares.reached(newcomer)
        if bound is Bound.OF_SEAT:
            return None
        own = _longest_idle((one, newcomer) for one in self._held.get(newcomer, ()))
        if own is not None:
            return own
        found = self._among_others(newcomer, bound)
        if found is None and now - self._looked >= _PERIOD * self._shares.taken:
            self._look(now)
            found = self._among_others(newcomer, bound)
        return found

    def _look(self, now: float) -> None:
        """
        Look at all connections.
        """
        self._looked, self._many = now, self._shares.taken
        found: dict[str, list[tuple[float, _Idle, Seat]]] = {}
        for holder, held in self._held.items():
            for connection in held:
                since = connection.idle_since
                if since is not None:
                    idle = found.setdefault(holder[0], [])
                    idle.append((since, connection, holder))
        for idle in found.values():
            idle.sort(key=itemgetter(0))
        self._idle = {
            network: deque((connection, holder) for _since, connection, holder in idle)
            for network, idle in found.items()
        }

    def _among_others(
        self, newcomer: Seat, bound: Bound | None
    ) -> tuple[_Idle, Seat] | None:
        """
        Find one of another's among those that were found idle.
        """
        network, shares = newcomer[0], self._shares
        others: Iterable[str] = ()
        if bound is Bound.OF_ALL:
            mine = shares.held_on(network)
            others = (name for name in self._idle if shares.held_on(name) > mine)
        found = (self._first(name, newcomer) for name in (network, *others))
        return _longest_idle(one for one in found if one is not None)

    def _first(self, network: str, newcomer: Seat) -> tuple[_Idle, Seat] | None:
        """
        Find the longest idle connection of a network that must make room.
        """
        idle = self._idle.get(network, deque())
        while idle and not self._is_still_idle(*idle[0]):
            idle.popleft()
        mine = len(self._held.get(newcomer, ()))
        for connection, holder in islice(idle, _TRIES):
            if self._is_still_idle(connection, holder) and (
                network != newcomer[0] or len(self._held[holder]) > mine
            ):
                return connection, holder
        return None

    def _is_still_idle(self, connection: _Idle, holder: Seat) -> bool:
        """
        Tell whether a connection that was idle is there and has been so ever since.
        """
        if connection not in self._held.get(holder, ()):
            return False
        since = connection.idle_since
        return since is not None and since <= self._looked


def _longest_idle(
    connections: Iterable[tuple[_Idle, Seat]],
) -> tuple[_Idle, Seat] | None:
    """
    Choose the connection that has been idle for longest.
    """
    idle: list[tuple[float, Any]] = [
        (since, one) for one in connections if (since := one[0].idle_since) is not None
    ]
    return min(idle, key=itemgetter(0))[1] if idle else None
