# -*- test-case-name: tests.test_judge -*-
"""
What happens on connections, and what that says of their endpoint.

An answer of 502, 503 or 504, a reset, silence and bytes that are no HTTP count against
it, if more than one instance meets them: one alone may know a question that Nova dies
of.  A kept connection that Nova closes at the wrong moment does not count, nor does a
request that nobody wants the answer of any more; nor a 500, which anybody can cause.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mdproxy.endpoints import AWAY, Reach
from mdproxy.http.client import (
    UpstreamError,
    UpstreamTimedOut,
    UpstreamTlsFailed,
    UpstreamUnavailable,
)

if TYPE_CHECKING:
    from mdproxy.http.client import NovaConnection
    from mdproxy.interfaces import IExchange


@define(eq=False)
class Judge:
    """
    Judges endpoints by what happens, and tells of it.

    @ivar _reaches: The endpoints, in order of preference; the pool's own list.
    @ivar most: The most connections there can be.
    @ivar _clock: What time it is.
    @ivar _random: Makes rests uneven.
    @ivar _observers: Are called when an endpoint that was bad is good again.
    """

    _reaches: list[Reach]
    most: int
    _clock: IReactorTime
    _random: Random
    _observers: list[Callable[[], None]] = field(factory=list, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def observe(self, observer: Callable[[], None]) -> None:
        """
        Have an observer called when an endpoint that was found bad is good again.
        """
        self._observers.append(observer)

    def answered(self, reach: Reach, exchange: IExchange, status: int) -> None:
        """
        An endpoint has answered.
        """
        if status in AWAY:
            error = UpstreamUnavailable(f"it answers {status}")
            self._blame(reach, exchange, error)
        elif status != 500:
            self.praise(reach)
        elif reach.answer_faultily(exchange.holder):
            reach.be_slow(self._clock.seconds())

    def refused(self, reach: Reach, begun: float, error: UpstreamError) -> None:
        """
        A connection could not be opened.

        @param begun: Since when that was tried.
        """
        if not reach.failed_since(begun):
            self._rest(reach, error, unreachable=True)

    def lost_idle(
        self,
        reach: Reach,
        connection: NovaConnection,
        error: UpstreamError,
        is_wanted: bool,
    ) -> None:
        """
        A free connection was lost.

        @param is_wanted: Whether somebody waits for one.
        """
        if connection.served:
            return
        if isinstance(error, UpstreamTlsFailed) or not reach.sound or is_wanted:
            # It takes connections and does not mean it.
            self._rest(reach, error, unreachable=True)
        else:
            reach.close_unused(self._clock.seconds())

    def lost_busy(
        self,
        reach: Reach,
        connection: NovaConnection,
        exchange: IExchange,
        error: UpstreamError,
    ) -> None:
        """
        A connection in use was lost.
        """
        if isinstance(error, UpstreamTlsFailed) and not connection.served:
            self._rest(reach, error, unreachable=True)
        elif not isinstance(error, UpstreamUnavailable):
            self._blame(reach, exchange, error)
        elif connection.status:
            # It answered in full, and does not keep connections.
            self.answered(reach, exchange, connection.status)
        elif not connection.served:
            self._blame(reach, exchange, error)
        # Else Nova closed a kept connection just then, as it may.

    def outrun(self, reach: Reach) -> None:
        """
        An endpoint was silent on what another has answered meanwhile.
        """
        silence = UpstreamTimedOut("no answer while another endpoint answers")
        self._rest(reach, silence, unreachable=False)

    def praise(self, reach: Reach) -> None:
        """
        An endpoint has done well.
        """
        if reach.answer_well(self._clock.seconds(), self.most):
            self._log.info(
                "Nova at {host}:{port} serves again",
                host=reach.endpoint.host,
                port=reach.endpoint.port,
            )
            for observer in self._observers:
                observer()

    def _blame(self, reach: Reach, exchange: IExchange, error: UpstreamError) -> None:
        """
        Note a bad answer; what one instance alone meets costs an endpoint no more than
        its place before others.
        """
        if not reach.answer_badly(exchange.holder):
            return
        if reach.is_proven_bad:
            self._rest(reach, error, unreachable=False)
        else:
            reach.be_slow(self._clock.seconds())

    def _rest(self, reach: Reach, error: UpstreamError, *, unreachable: bool) -> None:
        """
        Have an endpoint left alone for a moment.
        """
        now = self._clock.seconds()
        alone = not any(r.up for r in self._reaches if r is not reach)
        is_news = reach.fail(
            error, now, self._random, alone=alone, unreachable=unreachable
        )
        if alone:
            for other in self._reaches:
                other.hasten(now)
        if is_news:
            self._log.error(
                "Nova at {host}:{port} does not serve: {problem}",
                host=reach.endpoint.host,
                port=reach.endpoint.port,
                problem=str(error),
            )
