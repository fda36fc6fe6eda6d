# -*- test-case-name: tests.test_upstream -*-
"""
The pool of connections to Nova.

What happens next is decided in one synchronous method, L{Upstream._assign}; all else
only reports to it.  Endpoints are a list for failover: the first that may be asked is
used (L{mdproxy.endpoints}).  What can't be sent at once waits, everybody in turn
(L{mdproxy.turns}), until its exchange's C{until}.

The common cases do not come there: the first endpoint is trusted and has a free
connection, or a connection becomes free and whoever is next may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final

from attrs import define
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mdproxy.endpoints import Endpoint, Reach
from mdproxy.fleet import Connector, Extent, Fleet
from mdproxy.http.client import (
    NovaConnection,
    Patience,
    UpstreamError,
    UpstreamUnavailable,
)
from mdproxy.interfaces import IExchange, IUpstream
from mdproxy.judge import Judge
from mdproxy.race import SAFE, Races, Runner
from mdproxy.sweep import PERIOD, Sweep
from mdproxy.turns import Turns

__all__ = ["SAFE", "Connector", "Endpoint", "Extent", "Upstream"]

#: So many free connections are kept for what comes next.
_READY: Final = 2


@implementer(IUpstream)
@define(eq=False, init=False)
class Upstream:
    """
    The pool.

    @ivar _clock: What time it is.
    @ivar _sweep: Where deadlines are kept; the pool looks around at each of its ticks.
    @ivar _fleet: All connections.
    @ivar _reaches: The endpoints, and what is known of them.
    @ivar _order: The endpoints that are asked, in order: not those that are slow, as
        long as there is a sound one that is not.
    @ivar _easy: The endpoint that a request is sent to without any thought; C{None}
        where some is needed, and while that is going on.
    @ivar _turns: Requests that wait for a connection.
    @ivar _flights: By exchange, the connection that it is in flight on.
    @ivar _judge: Finds endpoints good or bad.
    @ivar _races: Asks twice where an endpoint is silent.
    @ivar _where: By connection, the endpoint that it leads to; the fleet's own.
    @ivar _leaving: Connections that are closed as soon as they are free; the fleet's.
    @ivar _ready: How many free connections are kept.
    @ivar _sent_before: How many requests had been sent at the tick before.
    """

    deadline: float
    _clock: IReactorTime
    _sweep: Sweep
    _fleet: Fleet
    _judge: Judge
    _races: Races
    _reaches: list[Reach]
    _order: list[Reach]
    _easy: Reach | None
    _turns: Turns
    _flights: dict[IExchange, NovaConnection]
    _where: dict[NovaConnection, Reach]
    _leaving: set[NovaConnection]
    _ready: int
    _deciding: bool
    _again: bool
    _sent: int
    _sent_before: int

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        connector: Connector,
        clock: IReactorTime,
        sweep: Sweep,
        random: Random,
        patience: Patience,
        extent: Extent,
    ) -> None:
        """
        Know the endpoints.

        @param endpoints: In order of preference.
        @param connector: How connections are opened.
        @param clock: What time it is.
        @param sweep: Where deadlines are kept.
        @param random: Makes rests and ages uneven.
        @param patience: How long Nova may take.
        @param extent: How large the pool may grow.
        """
        self.deadline = 0.0
        self._clock, self._sweep = clock, sweep
        self._reaches = [Reach(endpoint) for endpoint in endpoints]
        self._order, self._easy = self._reaches, None
        self._turns, self._flights = Turns(), {}
        self._fleet = Fleet(
            self, self._reaches, connector, clock, sweep, random, patience, extent
        )
        self._where, self._leaving = self._fleet.where, self._fleet.leaving
        self._judge = Judge(self._reaches, extent.connections, clock, random)
        self._races = Races(
            self._reaches,
            self._flights,
            self._turns,
            self._judge,
            self._fleet,
            clock,
            self.cancel,
        )
        self._ready = self._sent = self._sent_before = 0
        self._deciding = self._again = False
        sweep.add(self)
        self._assign()

    def observe_recovery(self, observer: Callable[[], None]) -> None:
        """
        Have an observer called when an endpoint that was found bad is good again.
        """
        self._judge.observe(observer)

    def keep_ready(self) -> None:
        """
        Keep a few free connections from now on, also where nobody asks yet.
        """
        self._ready = _READY

    def send(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.send}.
        """
        reach = self._easy
        if (
            reach is not None
            and reach.idle
            and not self._turns.count
            and exchange.tries == 1
            and exchange.request.method in SAFE
        ):
            self._begin(exchange, reach, reach.idle.pop())
        elif self._turns.count >= self._fleet.extent.queue:
            exchange.failed(UpstreamUnavailable("too many requests wait"), False)
        else:
            self._turns.add(exchange, self._clock.seconds())
            if len(self._flights) < self._fleet.extent.connections:
                self._assign()

    def cancel(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.cancel}.
        """
        connection = self._flights.pop(exchange, None)
        if connection is not None:
            connection.drop()
        elif not self._races.cancel(exchange):
            self._turns.discard(exchange)

    def pause(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.pause}.
        """
        connection = self._carrier(exchange)
        if connection is not None:
            connection.pause()

    def resume(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.resume}.
        """
        connection = self._carrier(exchange)
        if connection is not None:
            connection.resume()

    def _carrier(self, exchange: IExchange) -> NovaConnection | None:
        """
        Find the connection that an answer comes on.
        """
        runner = self._races.front_runner(exchange)
        return None if runner is None else self._flights.get(runner)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """
        The endpoints, in order of preference.
        """
        return [reach.endpoint for reach in self._reaches]

    def renew(
        self, endpoints: Sequence[Endpoint], patience: Patience, extent: Extent
    ) -> None:
        """
        Follow a new configuration; what is in flight ends where it is.

        An endpoint that is equal to a former one keeps its connections and what is
        known of it.  Of those that are gone the free connections are closed at once,
        and the others as soon as they are free.

        @param endpoints: In order of preference.
        @param patience: For connections that are opened from now on.
        @param extent: How large the pool may be from now on.
        """
        self._fleet.patience, self._fleet.extent = patience, extent
        former = {reach.endpoint: reach for reach in self._reaches}
        self._reaches[:] = [
            former.pop(e) if e in former else Reach(e) for e in endpoints
        ]
        self._judge.most = extent.connections
        for reach in former.values():
            reach.retired = True
            self._fleet.drop_all([*reach.idle, *reach.connecting])
        self._fleet.shrink()
        self._assign()

    def close(self) -> None:
        """
        Drop every connection; nothing may be in flight that anybody waits for.
        """
        self._flights.clear()
        self._races.clear()
        self._fleet.drop_all(list(self._where))
        self._sweep.discard(self)

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{IUpstream.describe}.
        """
        return {
            "endpoints": [
                {
                    "host": reach.endpoint.host,
                    "port": reach.endpoint.port,
                    "tls": reach.endpoint.tls is not None,
                    "up": reach.sound,
                    "health": reach.health(self._clock.seconds()),
                    "problem": None if reach.problem is None else str(reach.problem),
                    "idle": len(reach.idle),
                    "busy": reach.busy,
                    "connecting": len(reach.connecting),
                }
                for reach in self._reaches
            ],
            "waiting": self._turns.count,
            "requests": self._sent,
            "connections": self._fleet.opened,
        }

    def ready(self, connection: NovaConnection) -> None:
        """
        Provide C{Owner.ready}.
        """
        self._fleet.note_ready(connection)
        self._assign()

    def released(self, connection: NovaConnection, exchange: IExchange) -> None:
        """
        Provide C{Owner.released}.
        """
        reach = self._where[connection]
        del self._flights[exchange]
        reach.busy -= 1
        if (
            reach is self._easy
            and connection.status < 500
            and not (self._leaving and connection in self._leaving)
        ):
            if not self._turns.count:
                reach.idle.append(connection)
                return
            following = self._turns.first()
            if following.tries == 1 and following.request.method in SAFE:
                self._turns.take(following)
                self._begin(following, reach, connection)
                return
        reach.idle.append(connection)
        if reach.retired or connection in self._leaving:
            self._fleet.drop(connection)
        self._judge.answered(reach, exchange, connection.status)
        self._assign()

    def lost(
        self,
        connection: NovaConnection,
        exchange: IExchange | None,
        error: UpstreamError,
    ) -> None:
        """
        Provide C{Owner.lost}.
        """
        reach = self._where.get(connection)
        if reach is None:
            # We dropped it.
            return
        begun = reach.connecting.get(connection)
        was_idle = connection in reach.idle
        self._fleet.forget(connection)
        if begun is not None:
            self._judge.refused(reach, begun, error)
        elif was_idle:
            is_wanted = self._turns.count > 0
            self._judge.lost_idle(reach, connection, error, is_wanted)
        elif exchange is not None and self._flights.pop(exchange, None) is not None:
            # Else it was cancelled, which is nobody's fault.
            self._judge.lost_busy(reach, connection, exchange, error)
            if connection.served and not connection.status:
                # The others that were kept may lead nowhere just as well, and who asks
                # again should not have to find that out one by one.
                self._fleet.drop_all(list(reach.idle))
        self._assign()

    def timed_out(self) -> None:
        """
        Look around, at each tick of the sweep.
        """
        now = self._clock.seconds()
        self.deadline = now
        self._expire(now)
        self._fleet.retire_old(now)
        for reach in self._reaches:
            reach.tardy = any(
                now - since >= PERIOD for since in reach.connecting.values()
            )
            reach.widen(now, self._fleet.extent.connections)
            if reach.is_meant(now):
                self._judge.praise(reach)
        self._races.look_around(now)
        self._assign()
        self._prepare(now)
        self._sent_before = self._sent

    def _expire(self, now: float) -> None:
        """
        Give up what waited in vain for as long as it may.
        """
        late = [
            exchange
            for exchange, since in self._turns.waiting()
            if now >= exchange.until
            and (
                exchange.until > since or now >= since + self._fleet.patience.first_byte
            )
        ]
        self._give_up(late)

    def _give_up(self, exchanges: Sequence[IExchange]) -> None:
        """
        Tell some that wait that they do so in vain.

        One may cancel others when it is told.
        """
        problems = [reach.problem for reach in self._reaches if reach.problem]
        error = (
            UpstreamUnavailable("no free connection in time")
            if any(reach.sound for reach in self._reaches) or not problems
            else problems[0]
        )
        for exchange in exchanges:
            if self._turns.discard(exchange):
                exchange.failed(error, False)

    def _prepare(self, now: float) -> None:
        """
        Ask who has rested for a connection, and open some for later.
        """
        if not self._ready:
            return
        for reach in self._reaches:
            if not reach.up and reach.may_connect(now) and self._fleet.make_place():
                self._fleet.open(reach, now)
        first = next((reach for reach in self._order if reach.sound), None)
        if first is not None and (first.cold or self._sent > self._sent_before):
            first.cold = False
            for _ in range(first.lacks(self._ready, now)):
                if first.may_connect(now) and self._fleet.has_place():
                    self._fleet.open(first, now)

    def _assign(self) -> None:
        """
        Decide what happens next: reuse, open, wait or give up.

        In order: give waiting requests to free connections, or open connections for
        them, as far as the pool may grow and an endpoint may be asked; where all
        endpoints rest, give those up that would not wait for that to change.
        """
        self._easy = None
        if self._deciding:
            # Something called back while we decide: decide again afterwards.
            self._again = True
            return
        self._deciding = True
        try:
            while True:
                self._again = False
                now = self._clock.seconds()
                self._put_in_order(now)
                while self._turns.count and self._step(now):
                    pass
                self._surrender(now)
                if not self._again:
                    break
        finally:
            self._deciding = False
        first = next((reach for reach in self._order if reach.up), None)
        if first is not None and first.trusted:
            self._easy = first

    def _put_in_order(self, now: float) -> None:
        """
        Find out which endpoints may be asked now, in which order.
        """
        if not any(reach.sound for reach in self._reaches):
            for exchange in self._turns:
                for reach in self._reaches:
                    reach.end_rest_for(exchange.holder, now)
        for reach in self._reaches:
            if reach.idle and now >= reach.rests_until:
                reach.begin_trial(now)
        fast = [reach for reach in self._reaches if now >= reach.slow_until]
        has_sound = any(reach.sound for reach in fast)
        self._order = fast if has_sound else self._reaches

    def _step(self, now: float) -> bool:
        """
        Do the next thing for what waits, everybody in turn.

        What needs a fresh connection, or another endpoint than before, is passed over
        where a connection is being opened for it; for one that is not, a place is
        made, which the others could take for ever.

        @return: Whether there was anything to do.
        """
        if not self._can_do_anything(now):
            return False
        coming = sum(len(r.connecting) for r in self._reaches if not r.tardy)
        for exchange in self._line():
            choices = self._choices(exchange)
            if self._start(exchange, choices):
                return True
            if coming:
                coming -= 1
                continue
            way = next((r for r in choices if r.may_connect(now)), None)
            if way is not None and self._fleet.make_place():
                self._fleet.open(way, now)
                return True
        return False

    def _line(self) -> Iterable[IExchange]:
        """
        Put what waits in line: everybody in turn; but where all endpoints are in doubt
        those last who met bad answers, for their questions may be the reason.
        """
        if any(reach.sound for reach in self._reaches):
            return self._turns
        return sorted(
            self._turns,
            key=lambda exchange: any(
                reach.is_accused_by(exchange.holder) for reach in self._reaches
            ),
        )

    def _can_do_anything(self, now: float) -> bool:
        """
        Tell whether any request could be sent, or any connection be opened.
        """
        place = self._fleet.has_place()
        return any(
            (reach.idle and (reach.has_room() or not place))
            or (place and reach.may_connect(now))
            for reach in self._reaches
        )

    def _choices(self, exchange: IExchange) -> Sequence[Reach]:
        """
        List the endpoints that a request may go to, the best first.

        A request that is asked again goes to the next endpoint that is not in doubt:
        one that answers badly, or breaks off, would do so again.  It goes to no other,
        so that it is not the former one's free connection that it gets.  What can't be
        repeated is not sent to one that is being tried, unless all are.  What races
        with an endpoint that is silent goes to a sound one or waits.
        """
        sound = [reach for reach in self._reaches if reach.sound]
        if isinstance(exchange, Runner):
            return [reach for reach in sound if reach not in exchange.race.suspects]
        if not sound:
            return self._order
        if exchange.tries > 1:
            return [sound[(exchange.tries - 1) % len(sound)]]
        if exchange.request.method not in SAFE:
            return [reach for reach in self._order if reach.sound]
        return [reach for reach in self._order if reach.up]

    def _start(self, exchange: IExchange, choices: Sequence[Reach]) -> bool:
        """
        Send a request on a free connection, if there is one for it.

        What can't be repeated takes only a connection that was never used: Nova may be
        closing a used one just now, and a request lost in that moment could not be sent
        again.
        """
        fresh = exchange.request.method not in SAFE
        for reach in choices:
            connection = reach.take(fresh) if reach.has_room() else None
            if connection is not None:
                self._turns.take(exchange)
                self._begin(exchange, reach, connection)
                return True
        return False

    def _begin(
        self, exchange: IExchange, reach: Reach, connection: NovaConnection
    ) -> None:
        """
        Send a request on a connection that is free.
        """
        reach.busy += 1
        self._flights[exchange] = connection
        self._sent += 1
        connection.start(exchange)

    def _surrender(self, now: float) -> None:
        """
        Give up what would not wait for endpoints that all rest.
        """
        if not self._turns.count or any(
            reach.up or now >= reach.rests_until for reach in self._reaches
        ):
            return
        self._give_up([e for e, since in self._turns.waiting() if e.until <= since])
