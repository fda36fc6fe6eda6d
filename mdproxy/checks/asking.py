# -*- test-case-name: tests.test_checks_asking -*-
"""
One question to one endpoint of Nova, on a connection of its own.

It is opened as the pool's are (the same TLS, the same deadlines), but the pool knows
nothing of it: what a check meets says nothing of what instances meet, takes no place of
theirs, and is never tried twice.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from mdproxy.checks.certificates import NoCertificate, Validity, validity_of
from mdproxy.endpoints import Endpoint
from mdproxy.fetch import Fetch
from mdproxy.fleet import Connector
from mdproxy.http.client import (
    NovaConnection,
    Patience,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from mdproxy.interfaces import IExchange
from mdproxy.sweep import Sweep

#: A question has come to its end after so many seconds, whatever trickles in.
LONGEST: Final = 20.0


@define(eq=False)
class Asking:
    """
    One question, from the connection to the answer.

    @ivar fetch: The question, which learns the answer; its C{finished} always fires.
    @ivar _connector: How connections are opened.
    @ivar _clock: What time it is.
    @ivar _sweep: Where deadlines are kept.
    @ivar _patience: How long Nova may take.
    @ivar validity: When Nova's certificate is good, once that was seen.
    @ivar _connection: The connection.
    @ivar _end: Ends the question after a while.
    """

    fetch: Fetch
    _connector: Connector
    _clock: IReactorTime
    _sweep: Sweep
    _patience: Patience
    validity: Validity | None = field(default=None, init=False)
    _connection: NovaConnection | None = field(default=None, init=False)
    _end: IDelayedCall | None = field(default=None, init=False)

    def begin(self, endpoint: Endpoint) -> Deferred[None]:
        """
        Ask.

        @return: Fires when the answer is complete; fails with L{UpstreamError}.
        """
        connection = self._connection = NovaConnection(
            self, self._clock, self._patience, endpoint.host_field, endpoint.tls
        )
        self._sweep.add(connection)
        self._end = self._clock.callLater(LONGEST, self.give_up)
        factory: Factory[NovaConnection] = Factory.forProtocol(lambda: connection)
        factory.noisy = False
        opening = self._connector(endpoint, factory, self._patience.connect)
        opening.addErrback(self._refused)
        return self.fetch.finished.addBoth(self._over)

    def give_up(self) -> None:
        """
        Wait no longer.
        """
        self._fail(UpstreamTimedOut("no whole answer in time"))

    def ready(self, connection: NovaConnection) -> None:
        """
        Provide C{Owner.ready}.
        """
        handle = connection.transport.getHandle()
        certificate = getattr(handle, "get_peer_certificate", lambda: None)()
        if certificate is not None:
            try:
                self.validity = validity_of(certificate)
            except NoCertificate:
                self.validity = None
        connection.start(self.fetch)

    def released(self, connection: NovaConnection, exchange: IExchange) -> None:
        """
        Provide C{Owner.released}.
        """
        connection.drop()

    def lost(
        self,
        connection: NovaConnection,
        exchange: IExchange | None,
        error: UpstreamError,
    ) -> None:
        """
        Provide C{Owner.lost}.
        """
        self._sweep.discard(connection)
        if exchange is None and not self.fetch.status:
            self._fail(error)

    def _refused(self, failure: Failure) -> None:
        """
        There is no connection.
        """
        problem = f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
        self._fail(UpstreamUnavailable(problem))

    def _fail(self, error: UpstreamError) -> None:
        """
        End without an answer.
        """
        if not self.fetch.finished.called:
            self.fetch.failed(error, False)

    def _over(self, result: Any) -> Any:
        """
        It is over: leave nothing behind.
        """
        if self._end is not None and self._end.active():
            self._end.cancel()
        if self._connection is not None:
            self._connection.drop()
            self._sweep.discard(self._connection)
        return result
