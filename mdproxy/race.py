# -*- test-case-name: tests.test_race -*-
"""
One request that is asked twice, of two endpoints: the first answer counts.

Only what may be repeated races (GET, HEAD), and only when the first endpoint has been
silent for long; the common case never comes here.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from zope.interface import implementer

from mdproxy.endpoints import AWAY, Reach
from mdproxy.http.client import UpstreamError
from mdproxy.interfaces import IExchange
from mdproxy.model import Request, ResponseHead


@define(eq=False)
class Race:
    """
    An exchange and those who run for it.

    @ivar exchange: Who learns the answer, as if there had been one request.
    @ivar _cancel: Takes a runner's request back.
    @ivar _won: Is told who won, before the exchange is.
    @ivar _over: Is told that nothing more comes, before the exchange is.
    @ivar runners: Those that still run.
    @ivar suspects: The endpoints that were silent for so long that another was asked.
    @ivar winner: Whose answer has begun.
    """

    exchange: IExchange
    _cancel: Callable[[IExchange], None] = field(repr=False)
    _won: Callable[[Runner], None] = field(repr=False)
    _over: Callable[[Race], None] = field(repr=False)
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
            self._cancel(runner)

    def head(self, runner: Runner, head: ResponseHead) -> None:
        """
        Let the first answer count; one that may pass only if no other can come.
        """
        others = [other for other in self.runners if other is not runner]
        if others and head.status in AWAY:
            self.runners.remove(runner)
            self._cancel(runner)
            return
        self.winner, self.runners = runner, [runner]
        for other in others:
            self._cancel(other)
        self._won(runner)
        self.exchange.head(head)

    def done(self) -> None:
        """
        Pass on that the answer is complete.
        """
        self._over(self)
        self.exchange.done()

    def failed(self, runner: Runner, error: UpstreamError, sent: bool) -> None:
        """
        Pass on a failure if nobody runs any more.
        """
        self.runners.remove(runner)
        if not self.runners:
            self._over(self)
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
