# -*- test-case-name: tests.test_race -*-
"""
One request that is asked twice, of two endpoints: the first answer counts.

Only what may be repeated races (GET, HEAD), and only when an endpoint has been silent
for long; the common case never comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mdproxy.endpoints import AWAY, Reach
from mdproxy.http.client import UpstreamError
from mdproxy.interfaces import IExchange
from mdproxy.model import Request, ResponseHead
from mdproxy.sweep import PERIOD

if TYPE_CHECKING:
    from mdproxy.fleet import Fleet
    from mdproxy.http.client import NovaConnection
    from mdproxy.judge import Judge
    from mdproxy.turns import Turns

#: Methods that may be sent on a connection that Nova may be closing at this moment,
#: because sending them again does no harm (RFC 9110 section 9.2.2).
SAFE: Final = frozenset({b"GET", b"HEAD"})

#: A GET or HEAD that no head of an answer has come for in so many seconds is sent to
#: another endpoint too (DESIGN section 4a).
_SILENCE: Final = 3.0

#: An endpoint that takes so many seconds for one is slow.
_SLOWNESS: Final = 1.0


@define(eq=False)
class Races:
    """
    All requests that are asked more than once at a time.

    @ivar _reaches: The endpoints; this and the next two are the pool's own.
    @ivar _flights: By exchange, the connection that it is in flight on.
    @ivar _turns: Requests that wait for a connection.
    @ivar _judge: Finds endpoints good or bad.
    @ivar _fleet: All connections.
    @ivar _clock: What time it is.
    @ivar _forget: Forgets a request.
    @ivar _silent: What is in flight and no head had come for at the tick before: on
        which connection, the how manieth request of that it is, and since when.
    @ivar running: By exchange, who runs for it.
    """

    _reaches: list[Reach]
    _flights: dict[IExchange, NovaConnection]
    _turns: Turns
    _judge: Judge
    _fleet: Fleet
    _clock: IReactorTime
    _forget: Callable[[IExchange], None]
    _silent: dict[IExchange, tuple[NovaConnection, int, float]] = field(
        factory=dict, init=False
    )
    running: dict[IExchange, Race] = field(factory=dict, init=False)

    def look_around(self, now: float) -> None:
        """
        Ask another endpoint for what one has been silent on for long; one that is only
        being tried is not given long.
        """
        before, self._silent = self._silent, {}
        for exchange, connection in list(self._flights.items()):
            if connection.status or exchange.request.method not in SAFE:
                continue
            former, count, since = before.get(exchange, (None, 0, now))
            if former is not connection or count != connection.served:
                since = now
            self._silent[exchange] = (connection, connection.served, since)
            reach = self._fleet.where[connection]
            if now - since >= _SLOWNESS:
                reach.be_slow(now)
            patience = _SILENCE if reach.sound else PERIOD
            if now - since >= patience and now < exchange.until:
                self._ask_another(exchange, reach, now)

    def cancel(self, exchange: IExchange) -> bool:
        """
        Forget an exchange, if it races.

        @return: Whether it does.
        """
        race = self.running.pop(exchange, None)
        if race is not None:
            race.cancel()
        return race is not None

    def clear(self) -> None:
        """
        Forget everything.
        """
        self._silent.clear()
        self.running.clear()

    def front_runner(self, exchange: IExchange) -> IExchange | None:
        """
        Find out whose answer is the exchange's: its own, unless it races.

        @return: C{None} if that is not known yet.
        """
        race = self.running.get(exchange)
        return exchange if race is None else race.winner

    def withdraw(self, runner: IExchange) -> None:
        """
        Take back the request of one that is out of a race.
        """
        connection = self._flights.get(runner)
        if connection is not None and connection.status in AWAY:
            self._judge.answered(
                self._fleet.where[connection], runner, connection.status
            )
        self._forget(runner)

    def win(self, runner: Runner) -> None:
        """
        Have those left alone that were silent on what another endpoint answers; who
        wins himself after all is only slow.
        """
        winner = self._fleet.where[self._flights[runner]]
        for reach in runner.race.suspects:
            if reach is winner:
                reach.win_race(self._clock.seconds())
            elif reach.up and not reach.retired:
                self._judge.outrun(reach)
                # They may lead nowhere just as well.
                self._fleet.drop_all(list(reach.idle))

    def end(self, race: Race) -> None:
        """
        Forget a race that is over.
        """
        del self.running[race.exchange]

    def _ask_another(self, exchange: IExchange, reach: Reach, now: float) -> None:
        """
        Ask another endpoint too, if there is a sound one that is not asked yet.

        @param exchange: What is in flight, and no head has come for.
        @param reach: The endpoint that is silent.
        """
        if isinstance(exchange, Runner):
            race, runner = exchange.race, exchange
        else:
            race = Race(exchange, self)
            runner = race.enter()
        others = [
            other
            for other in self._reaches
            if other.sound and other is not reach and other not in race.suspects
        ]
        if race.runners[-1] is not runner or not others:
            # Another is asked already, or there is none.
            return
        if exchange is not runner:
            if not reach.may_race(now):
                return
            reach.begin_race(now)
            connection = self._flights.pop(exchange)
            self._flights[runner] = connection
            self._silent[runner] = self._silent.pop(exchange)
            connection.exchange = runner
            self.running[exchange] = race
        if reach not in race.suspects:
            race.suspects.append(reach)
        self._turns.add(race.enter(), now, first=True)
        if not reach.up or not (others[0].idle or self._fleet.has_place()):
            # It waits in vain, as others have; or perhaps all places are taken by what
            # does.
            race.runners.remove(runner)
            self.withdraw(runner)


@define(eq=False)
class Race:
    """
    An exchange and those who run for it.

    @ivar exchange: Who learns the answer, as if there had been one request.
    @ivar _races: Where it is run.
    @ivar runners: Those that still run.
    @ivar suspects: The endpoints that were silent for so long that another was asked.
    @ivar winner: Whose answer has begun.
    """

    exchange: IExchange
    _races: Races = field(repr=False)
    runners: list[Runner] = field(factory=list, init=False, repr=False)
    suspects: list[Reach] = field(factory=list, init=False, repr=False)
    winner: Runner | None = field(default=None, init=False, repr=False)

    def enter(self) -> Runner:
        """
        Let one more run.
        """
        runner = Runner(self)
        self.runners.append(runner)
        return runner

    def cancel(self) -> None:
        """
        Forget everything; the exchange hears nothing more.
        """
        runners, self.runners = self.runners, []
        for runner in runners:
            self._races.withdraw(runner)

    def head(self, runner: Runner, head: ResponseHead) -> None:
        """
        Let the first answer count; one that may pass only if no other can come.
        """
        others = [other for other in self.runners if other is not runner]
        if others and head.status in AWAY:
            self.runners.remove(runner)
            self._races.withdraw(runner)
            return
        self.winner, self.runners = runner, [runner]
        for other in others:
            self._races.withdraw(other)
        self._races.win(runner)
        self.exchange.head(head)

    def done(self) -> None:
        """
        Pass on that the answer is complete.
        """
        self._races.end(self)
        self.exchange.done()

    def failed(self, runner: Runner, error: UpstreamError, sent: bool) -> None:
        """
        Pass on a failure if nobody runs any more.
        """
        self.runners.remove(runner)
        if not self.runners:
            self._races.end(self)
            self.exchange.failed(error, sent)


@implementer(IExchange)
@define(eq=False)
class Runner:
    """
    One of the requests of a race.

    @ivar race: Its race.
    """

    race: Race

    @property
    def tries(self) -> int:
        """
        Provide L{IExchange.tries}; never the first.
        """
        return self.race.exchange.tries + 1

    @property
    def request(self) -> Request:
        """
        Provide L{IExchange.request}.
        """
        return self.race.exchange.request

    @property
    def holder(self) -> tuple[str, str]:
        """
        Provide L{IExchange.holder}.
        """
        return self.race.exchange.holder

    @property
    def wire(self) -> bytes:
        """
        Provide L{IExchange.wire}.
        """
        return self.race.exchange.wire

    @property
    def until(self) -> float:
        """
        Provide L{IExchange.until}.
        """
        return self.race.exchange.until

    def head(self, head: ResponseHead) -> None:
        """
        Provide L{IExchange.head}.
        """
        self.race.head(self, head)

    def body(self, data: bytes) -> None:
        """
        Provide L{IExchange.body}.
        """
        self.race.exchange.body(data)

    def done(self) -> None:
        """
        Provide L{IExchange.done}.
        """
        self.race.done()

    def failed(self, error: Exception, sent: bool) -> None:
        """
        Provide L{IExchange.failed}.
        """
        assert isinstance(error, UpstreamError)
        self.race.failed(self, error, sent)
