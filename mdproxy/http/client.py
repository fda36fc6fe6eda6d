# -*- test-case-name: tests.test_http_client -*-
"""
One kept connection to Nova, one request in flight on it.

The connection is of use only after L{NovaConnection.connectionMade}, or with TLS after
the handshake and the check of Nova's name: nothing is written before.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final
from typing import Protocol as Shape

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mdproxy.headers import host_line
from mdproxy.http.known import KnownResponse, known_response
from mdproxy.http.responses import (
    BadResponse,
    ResponseEvent,
    ResponseReader,
)
from mdproxy.interfaces import IExchange
from mdproxy.model import ResponseHead
from mdproxy.sweep import NEVER
from mdproxy.tls import CertificateRefused, ClientTls, describe_failure

#: A body of so many bytes at most comes without pauses of more than so many seconds.
_SMALL: Final = 65536
_SMALL_PAUSE: Final = 3.0

#: How much is read from a socket at once (C{bufferSize} of Twisted's transports).
_READ: Final = 65536


class UpstreamError(Exception):
    """
    Nova gave no complete response; the text says why, without anything secret.
    """


class UpstreamUnavailable(UpstreamError):
    """
    No connection could be had, or it was lost before a response began.
    """


class UpstreamTlsFailed(UpstreamUnavailable):
    """
    Nova could not be verified, or did not accept our certificate.
    """


class UpstreamTimedOut(UpstreamError):
    """
    Nova took a request and did not answer in time.
    """


class UpstreamBroken(UpstreamError):
    """
    Nova's answer breaks the protocol.
    """


@frozen
class Patience:
    """
    How long Nova may take, in seconds.

    @ivar connect: For a connection with its TLS handshake.
    @ivar first_byte: From a sent request to the next byte of the answer.
    @ivar idle: How long an unused connection is kept.
    """

    connect: float = 3.0
    first_byte: float = 30.0
    idle: float = 30.0


class Owner(Shape):
    """
    What a connection tells its pool.
    """

    def ready(self, connection: NovaConnection) -> None:
        """
        The connection may carry its first request.
        """

    def released(self, connection: NovaConnection, exchange: IExchange) -> None:
        """
        The connection has answered an exchange and may carry the next request.
        """

    def lost(
        self,
        connection: NovaConnection,
        exchange: IExchange | None,
        error: UpstreamError,
    ) -> None:
        """
        The connection is gone, or must not be used any more.

        @param exchange: Whose request was in flight on it.
        """


@implementer(IHandshakeListener)
class NovaConnection(Protocol):
    """
    A connection to one endpoint.

    @ivar _owner: The pool.
    @ivar _clock: What time it is.
    @ivar _patience: How long Nova may take.
    @ivar _host: What ends every head (L{host_line}).
    @ivar _tls: How to verify Nova; C{None} on plain HTTP.
    @ivar exchange: Whose request is in flight.
    @ivar served: How many requests it has carried to their end.
    @ivar status: The status that Nova gave the request in flight, or the last one; 0
        before there is one.
    @ivar deadline: When it times out, for the sweep.
    @ivar _asked_in: With TLS, how often its transport had been given bytes when the
        request in flight was sent.
    @ivar _between: For how many seconds nothing of a body may come.
    @ivar _filled: Whether the latest piece was as large as one can be, so that more may
        be behind it.
    @ivar _reader: Reads the answer; C{None} as long as nothing of it has come that is
        not read at once.
    """

    transport: Any

    def __init__(
        self,
        owner: Owner,
        clock: IReactorTime,
        patience: Patience,
        host: bytes,
        tls: ClientTls | None = None,
    ) -> None:
        """
        Be a connection that is not there yet.
        """
        self._owner = owner
        self._clock = clock
        self._patience = patience
        self._host = host_line(host)
        self._tls = tls
        self.exchange: IExchange | None = None
        self.served = 0
        self.status = 0
        self.deadline = clock.seconds() + patience.connect
        self._reader: ResponseReader | None = None
        self._headed = False
        self._filled = False
        self._asked_in = -1
        self._between = patience.first_byte
        self._paused = False
        self._usable = False
        self._gone = False
        self._refusal: CertificateRefused | None = None

    def connectionMade(self) -> None:
        """
        TCP is there; with TLS the handshake begins.
        """
        if self._gone:
            self.transport.abortConnection()
            return
        self.transport.setTcpNoDelay(True)
        if self._tls is None:
            # Twisted's endpoint stands between only to learn that we are connected.
            self.transport.protocol = self
            self._become_ready()

    def handshakeCompleted(self) -> None:
        """
        The chain is verified; check the name, and only then be of use.
        """
        assert self._tls is not None
        try:
            self._tls.verify(self.transport.getHandle())
        except CertificateRefused as refused:
            self._refusal = refused
            self.transport.abortConnection()
        else:
            self._become_ready()

    def start(self, exchange: IExchange) -> None:
        """
        Send a request.

        @param exchange: Whose request it is; the connection must be free.
        """
        assert self.exchange is None
        request = exchange.request
        self.exchange = exchange
        self.status = 0
        if self._tls is not None:
            self._asked_in = self.transport.reads
        self.deadline = self._clock.seconds() + self._patience.first_byte
        self.transport.write(exchange.wire + self._host + (request.body or b""))

    def drop(self) -> None:
        """
        Close at once and tell nobody: whatever is in flight belongs to nobody now.
        """
        self._leave(UpstreamUnavailable("dropped"))

    def pause(self) -> None:
        """
        Stop reading, for the instance reads slower than Nova writes.
        """
        self._paused = True
        self.transport.pauseProducing()
        self.deadline = NEVER

    def resume(self) -> None:
        """
        Go on reading.
        """
        self._read_on()
        self.deadline = self._clock.seconds() + self._patience.first_byte

    def timed_out(self) -> None:
        """
        Provide C{Timed.timed_out}.
        """
        if not self._usable:
            self._give_up(UpstreamUnavailable("no connection in time"))
        elif self.exchange is not None:
            self._give_up(UpstreamTimedOut("no answer in time"))
        else:
            self._give_up(UpstreamUnavailable("idle for long"))

    def dataReceived(self, data: bytes) -> None:
        """
        Read a piece of the answer.
        """
        self._filled = len(data) >= _READ
        exchange = self.exchange
        if self._is_early():
            self._give_up(UpstreamBroken("bytes before the request"), sent=False)
            return
        if exchange is None:
            # A response to nobody must not become the next instance's.
            self._give_up(UpstreamBroken("bytes without a request"))
            return
        if self._reader is None:
            head_request = exchange.request.method == b"HEAD"
            known = None if head_request else known_response(data)
            if known is not None:
                self._tell_whole(exchange, known, data)
                return
            self._reader = ResponseReader(head_request)
        self._read(self._reader, data)

    def _is_early(self) -> bool:
        """
        Tell whether what comes now had come before the request in flight went out: the
        request waits for the end of the turn still, or what comes was read, with TLS,
        before it was sent.
        """
        if self._tls is None:
            return getattr(self.transport, "unsent", False)
        return self.transport.reads == self._asked_in or getattr(
            self.transport.transport, "unsent", False
        )

    def _read(self, reader: ResponseReader, data: bytes) -> None:
        """
        Read a piece of an answer that is not known.
        """
        # The head has one deadline, however many bytes it comes in.
        if self._headed and not self._paused:
            self.deadline = self._clock.seconds() + self._between
        try:
            events = reader.feed(data)
        except BadResponse as bad:
            self._give_up(UpstreamBroken(str(bad)))
        else:
            self._tell(events)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        if self._gone:
            return
        if self._reader is not None and reason.check(ConnectionDone) is not None:
            with suppress(BadResponse):
                self._tell(self._reader.close())
        if not self._gone:
            self._give_up(self._cause(reason))

    def _tell_whole(
        self, exchange: IExchange, known: KnownResponse, data: bytes
    ) -> None:
        """
        Pass on an answer that came in one piece, as long as the exchange is ours.
        """
        self.status = known.head.status
        exchange.head(known.head)
        if self.exchange is exchange and known.head.length:
            exchange.body(data[known.size :])
        if self.exchange is exchange:
            self._end(exchange, known.reusable)

    def _tell(self, events: list[ResponseEvent]) -> None:
        """
        Pass on what was read, as long as the exchange is still ours.
        """
        exchange = self.exchange
        for event in events:
            if exchange is None or self.exchange is not exchange:
                return
            if isinstance(event, bytes):
                exchange.body(event)
            elif isinstance(event, ResponseHead):
                self._headed = True
                self.status = event.status
                self._bound_body(exchange, event)
                exchange.head(event)
            else:
                self._end(exchange, event.reusable)

    def _bound_body(self, exchange: IExchange, head: ResponseHead) -> None:
        """
        Give the body its time: little where little is to come, for whoever asked hears
        nothing before all of it is there, and it can be asked for again.
        """
        self._between = self._patience.first_byte
        is_small = head.length is not None and head.length <= _SMALL
        if is_small and exchange.request.method == b"GET":
            self._between = min(self._between, _SMALL_PAUSE)
        self.deadline = self._clock.seconds() + self._between

    def _end(self, exchange: IExchange, reusable: bool) -> None:
        """
        The response is complete: be free before anybody asks for a connection.
        """
        self.served += 1
        # Where more may have come than was read it would be taken for the next answer.
        if reusable and not self._filled:
            self.exchange = self._reader = None
            self._headed = False
            self._read_on()
            self.deadline = self._clock.seconds() + self._patience.idle
            self._owner.released(self, exchange)
        else:
            self._leave(UpstreamUnavailable("Nova does not keep the connection"))
        exchange.done()

    def _read_on(self) -> None:
        """
        Read again, if the instance was too slow for what there was.
        """
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _become_ready(self) -> None:
        """
        Be of use from now on.
        """
        self._usable = True
        self.deadline = self._clock.seconds() + self._patience.idle
        self._owner.ready(self)

    def _give_up(self, error: UpstreamError, *, sent: bool = True) -> None:
        """
        Be gone, and let the exchange know.

        @param sent: Whether any byte of its request may have reached Nova.
        """
        exchange = self._leave(error)
        if exchange is not None:
            exchange.failed(error, sent)

    def _leave(self, error: UpstreamError) -> IExchange | None:
        """
        Be gone, and let only the pool know.

        @return: Whose request was in flight.
        """
        if self._gone:
            return None
        self._gone = True
        self.deadline = NEVER
        exchange, self.exchange, self._reader = self.exchange, None, None
        if self.transport is not None:
            self.transport.abortConnection()
        self._owner.lost(self, exchange, error)
        return exchange

    def _cause(self, reason: Failure) -> UpstreamError:
        """
        Name why the connection was lost.
        """
        if self._tls is not None:
            cause = self._refusal or reason.value
            if isinstance(cause, CertificateRefused | SSL.Error) or not self._usable:
                return UpstreamTlsFailed(
                    describe_failure(cause, self.transport.getHandle())
                )
        if self._headed:
            return UpstreamBroken(f"connection lost: {type(reason.value).__name__}")
        if self._tls is None and not self.served and self.exchange is not None:
            # So does a port where TLS is spoken (gunicorn, measured).
            return UpstreamUnavailable(
                "connection closed without an answer; does that port expect https?"
            )
        return UpstreamUnavailable(f"connection lost: {type(reason.value).__name__}")
