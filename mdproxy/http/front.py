# -*- test-case-name: tests.test_http_server -*-
"""
What all connections of instances share, and how they meet whoever answers them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from typing import Protocol as Shape

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mdproxy.http.parsing import RequestBounds
from mdproxy.limits import Bound, Seat, Seldom, Shares
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

        @param caller: Who opened the connection.
        @param reply: Where the answer goes; perhaps all of it before this returns.
        """


class Connection(Timed, Shape):
    """
    A connection, as far as its front knows it.
    """

    @property
    def idle_since(self) -> float | None:
        """
        Tell since when it waits for a request, in the clock's seconds; C{None}: part of
        one has come, or one is being answered, or its answer is not taken yet.
        """

    def abort(self) -> None:
        """
        Break it.
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
    @ivar _by_seat: The same by network and address.
    @ivar _by_holder: The same by L{Caller.holder}, each with its caller.
    """

    answerer: Answerer
    clock: IReactorTime
    sweep: Sweep
    bounds: ChannelBounds
    shares: Shares
    refused: Counter[str] = field(factory=Counter, init=False)
    channels: set[Connection] = field(factory=set, init=False)
    _by_seat: dict[tuple[str, str], set[Connection]] = field(factory=dict, init=False)
    _by_holder: dict[Seat, dict[Connection, Caller]] = field(factory=dict, init=False)
    _drained: Callable[[], None] | None = field(default=None, init=False)
    _seldom: Seldom = field(factory=Seldom, init=False)
    _log: Logger = field(factory=Logger, init=False)

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
        self.channels.add(channel)
        seat = (caller.network, caller.address)
        self._by_seat.setdefault(seat, set()).add(channel)
        self._by_holder.setdefault(holder, {})[channel] = caller
        self.sweep.add(channel)
        return True

    def let_go(self, channel: Connection, caller: Caller) -> None:
        """
        Let go of a connection that was taken in, unless it has made room already.
        """
        if channel not in self.channels:
            return
        self.shares.give_back(caller.holder)
        self.sweep.discard(channel)
        self.channels.discard(channel)
        seat = (caller.network, caller.address)
        self._by_seat[seat].discard(channel)
        if not self._by_seat[seat]:
            del self._by_seat[seat]
        del self._by_holder[caller.holder][channel]
        if not self._by_holder[caller.holder]:
            del self._by_holder[caller.holder]
        self.note_closed()

    def _make_room(self, newcomer: Caller) -> bool:
        """
        Close an idle connection and take its place, where that is just.

        @return: Whether the place was taken.
        """
        bound = self.shares.reached(newcomer.holder)
        if bound is Bound.OF_SEAT:
            return False
        own = self._by_holder.get(newcomer.holder, {})
        yielding = _longest_idle([own]) or _longest_idle(
            channels
            for holder, channels in self._by_holder.items()
            if self._must_yield(holder, newcomer.holder, bound)
        )
        if yielding is None:
            return False
        channel, caller = yielding
        self._tell(caller, "closed an idle connection")
        self.refused["idle-made-room"] += 1
        channel.close_when_idle()
        # Its place is free at once; the transport closes it a moment later.
        self.let_go(channel, caller)
        return self.shares.take(newcomer.holder)

    def _must_yield(self, holder: Seat, newcomer: Seat, bound: Bound | None) -> bool:
        """
        Tell whether idle connections of one make room for those of another: only where
        that one holds more, or its network does, so that nobody gains by asking for
        more than the others.
        """
        network = newcomer[0]
        if holder[0] == network:
            mine = self._by_holder.get(newcomer, ())
            return len(self._by_holder[holder]) > len(mine)
        return bound is Bound.OF_ALL and (
            self.shares.held_on(holder[0]) > self.shares.held_on(network)
        )

    def path_changed(self, network: str, address: str) -> None:
        """
        Learn that a neighbour entry points to another MAC: break its connections.

        What was written and not acknowledged would be sent again, to the other MAC.
        """
        for channel in list(self._by_seat.get((network, address), ())):
            channel.abort()

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
        quiet = self._seldom.passes((what, caller.holder), self.clock.seconds())
        if quiet is not None:
            self._log.warn(
                "{what} of {address} ({mac}) on {network}: too many are open, of it, "
                "of its network or of all ({quiet} more like it)",
                what=what,
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


def _longest_idle(
    groups: Iterable[Mapping[Connection, Caller]],
) -> tuple[Connection, Caller] | None:
    """
    Find the connection that has been idle for longest.

    Looking at them all costs less than keeping them in order with every request, for
    this is asked only where there is no place left.

    @return: It, and who opened it; C{None} where none is idle.
    """
    idle = (
        (since, item)
        for group in groups
        for item in group.items()
        if (since := item[0].idle_since) is not None
    )
    longest = min(idle, key=lambda one: one[0], default=None)
    return None if longest is None else longest[1]
