# -*- test-case-name: tests.test_http_server -*-
"""
What all connections of instances share, and how they meet whoever answers them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from typing import Protocol as Shape

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mdproxy.http.parsing import RequestBounds
from mdproxy.http.room import MayBeIdle, Room
from mdproxy.limits import Rates, Seat, Seldom, Shares, lines_of_network
from mdproxy.model import Caller, Request
from mdproxy.sweep import Sweep, Timed


class Reply(Shape):
    """
    Where an answer goes.
    """

    def begin(
        self, status: int, phrase: bytes, fields: bytes, length: int | None
    ) -> None:
        """
        Begin the response.

        @param fields: All header lines but those of framing and of the connection,
            each with its end.
        @param length: The length of the body; C{None} where nobody knows it yet.
        """

    def write(self, data: bytes) -> None:
        """
        Send a piece of the body.
        """

    def finish(self) -> None:
        """
        End the response.
        """

    def mistrust(self) -> None:
        """
        Learn that the answer goes to somebody of whom nobody has looked who it is, or
        can be certain where he is.  Only before C{begin}.
        """

    def abort(self) -> None:
        """
        Break the connection, for the response can't be completed or must not be.
        """


class Answering(Shape):
    """
    A request that is being answered.
    """

    def cancel(self) -> None:
        """
        Forget it, for the client is gone; its reply is not touched again.
        """

    def pause(self) -> None:
        """
        Write no more for now, for the client reads slowly.
        """

    def resume(self) -> None:
        """
        Go on writing.
        """


class Answerer(Shape):
    """
    Whoever answers requests.
    """

    def answer(self, request: Request, caller: Caller, reply: Reply) -> Answering:
        """
        Answer a request, now or later.

        @param caller: Who asks.
        @param reply: Where the answer goes; perhaps all of it before this returns.
        """


class Connection(Timed, MayBeIdle, Shape):
    """
    A connection, as far as its front knows it.
    """

    def abort(self) -> None:
        """
        Break it.
        """

    def path_lost(self, seat: Seat) -> None:
        """
        Break it, if what would be sent on it to this seat might go to somebody else.
        """

    def close_when_idle(self) -> None:
        """
        Serve what is being answered and nothing after it.
        """


@frozen
class ChannelBounds:
    """
    How long and how much a connection may take; times in seconds.

    @ivar request: Bounds of one request.
    @ivar head: From a request's first byte to the end of its head, whatever comes.
    @ivar body: From there to the end of its body.
    @ivar idle: How long a connection may wait for its next request.
    @ivar write: How long a client may take no byte of its answer.
    @ivar pipeline: How many requests may wait behind the one being answered.
    @ivar look: When to look for the first time whether an idle client is still there.
    """

    request: RequestBounds = field(factory=RequestBounds)
    head: float = 10.0
    body: float = 10.0
    idle: float = 75.0
    write: float = 30.0
    pipeline: int = 8
    look: float = field(init=False)

    @look.default
    def _(self) -> float:
        """
        Tell when nothing more should be on its way.
        """
        return min(self.idle, self.write)


@define(eq=False)
class Front:
    """
    What all channels of a service share, and their only owner.

    @ivar answerer: Who answers.
    @ivar clock: What time it is.
    @ivar sweep: Where deadlines are kept.
    @ivar bounds: What a connection may take.
    @ivar shares: Which connections are held, by L{Caller.holder}.
    @ivar refused: Counts the requests answered here, by status, and what was closed.
    @ivar channels: The open connections.
    @ivar _by_seat: By network and address, those that hear when a path changes.
    @ivar _room: Who makes room where all places are taken.
    @ivar _leaving: Connections whose places others have already.
    """

    answerer: Answerer
    clock: IReactorTime
    sweep: Sweep
    bounds: ChannelBounds
    shares: Shares
    refused: Counter[str] = field(factory=Counter, init=False)
    channels: set[Connection] = field(factory=set, init=False)
    _by_seat: dict[tuple[str, str], set[Connection]] = field(factory=dict, init=False)
    _room: Room[Connection] = field(init=False)
    _leaving: set[Connection] = field(factory=set, init=False)
    _drained: Callable[[], None] | None = field(default=None, init=False)
    _seldom: Seldom = field(factory=Seldom, init=False)
    _told: Rates = field(factory=lines_of_network, init=False)
    _log: Logger = field(factory=Logger, init=False)

    @_room.default
    def _(self) -> Room[Connection]:
        """
        Have whoever has a share make room.
        """
        return Room(self.shares)

    def drain(self, drained: Callable[[], None]) -> None:
        """
        Finish what is in flight and close every connection.

        @param drained: Is called once when the last one is closed.
        """
        self._drained = drained
        for channel in list(self.channels):
            channel.close_when_idle()
        self.note_closed()

    def abort(self) -> None:
        """
        Break every connection.
        """
        for channel in list(self.channels):
            channel.abort()

    def admit(self, channel: Connection, caller: Caller) -> bool:
        """
        Take a connection in, if there is room for one more of its caller.

        Where all places are taken the longest idle connection makes room; one that has
        a request never does.

        @return: Whether there was room, so that it must be let go of later.
        """
        holder = caller.holder
        if not self.shares.take(holder) and not self._make_room(caller):
            self.refused["too-many-connections"] += 1
            self._tell(caller, "refused a connection")
            return False
        self.welcome(channel)
        self.expose(channel, (caller.network, caller.address))
        self._room.add(channel, holder)
        return True

    def welcome(self, channel: Connection) -> None:
        """
        Take in a connection that is counted elsewhere.
        """
        self.channels.add(channel)
        self.sweep.add(channel)

    def expose(self, channel: Connection, seat: Seat) -> None:
        """
        Note that a connection is to hear when a seat's path changes.

        @param seat: A network and an address.
        """
        same = self._by_seat.get(seat)
        if same is None:
            self._by_seat[seat] = {channel}
        else:
            same.add(channel)

    def conceal(self, channel: Connection, seat: Seat) -> None:
        """
        Note that it is not to hear of it any more.
        """
        same = self._by_seat[seat]
        same.discard(channel)
        if not same:
            del self._by_seat[seat]

    def admit_request(self, caller: Caller) -> bool:
        """
        Let a caller have a place for a request that comes on a connection of others, as
        it would for a connection of its own.

        @return: Whether there was one, so that it must be given back to its holder.
        """
        if self.shares.take(caller.holder) or self._make_room(caller):
            return True
        self.refused["too-many-requests"] += 1
        self._tell(caller, "refused a request")
        return False

    def give_back(self, holder: Seat) -> None:
        """
        Let others have the place of a request.
        """
        self.shares.give_back(holder)

    def let_go(self, channel: Connection, caller: Caller) -> None:
        """
        Let go of a connection that was taken in.
        """
        if channel in self._leaving:
            self._leaving.discard(channel)
        else:
            self._give_back(channel, caller.holder)
        self.conceal(channel, (caller.network, caller.address))
        self.part_from(channel)

    def part_from(self, channel: Connection) -> None:
        """
        Let go of a connection that is counted elsewhere.
        """
        self.sweep.discard(channel)
        self.channels.discard(channel)
        self.note_closed()

    def _give_back(self, channel: Connection, holder: Seat) -> None:
        """
        Let others have a connection's place.
        """
        self.shares.give_back(holder)
        self._room.discard(channel, holder)

    def _make_room(self, newcomer: Caller) -> bool:
        """
        Close an idle connection and take its place, if there is one that must yield.

        @return: Whether the place was taken.
        """
        yielding = self._room.find(newcomer.holder, self.clock.seconds())
        if yielding is None:
            return False
        channel, holder = yielding
        self._tell(newcomer, "closed an idle connection for one")
        self.refused["idle-made-room"] += 1
        # Its place is free at once; it is gone, and let go of, a moment later.
        self._leaving.add(channel)
        self._give_back(channel, holder)
        channel.close_when_idle()
        return self.shares.take(newcomer.holder)

    def path_changed(self, network: str, address: str) -> None:
        """
        Learn that a neighbour entry points to another MAC: break its connections.

        What was written and not acknowledged would be sent again, to the other MAC.
        """
        seat = (network, address)
        for channel in list(self._by_seat.get(seat, ())):
            channel.path_lost(seat)

    def network_gone(self, network: str) -> None:
        """
        Learn that a network is no longer there: break its connections.

        @param network: As in L{Caller.network}.
        """
        for seat in [seat for seat in self._by_seat if seat[0] == network]:
            self.path_changed(*seat)

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator how many connections there are and what was refused here.

        @return: Plain values, ready for JSON.
        """
        return {
            "connections": len(self.channels),
            "refused": dict(sorted(self.refused.items())),
        }

    def _tell(self, caller: Caller, what: str) -> None:
        """
        Log that there are too many connections, once in a while for each caller.
        """
        bound = self.shares.reached(caller.holder)
        assert bound is not None
        now = self.clock.seconds()
        quiet = self._seldom.passes((what, caller.holder), now)
        if quiet is not None and self._told.allows((caller.network, what), now):
            self._log.warn(
                "{what} of {address} ({mac}) on {network}: too many are open {bound} "
                "({quiet} more like it)",
                what=what,
                bound=bound.value,
                address=caller.address,
                mac=caller.mac,
                network=caller.network,
                quiet=quiet,
            )

    def note_closed(self) -> None:
        """
        See whether the last connection is closed.
        """
        if not self.channels and self._drained is not None:
            drained, self._drained = self._drained, None
            drained()
