# -*- test-case-name: tests.test_inventory_api -*-
"""
Asking an OpenStack API over HTTP: small questions, bounded answers, in JSON.

Redirects are never followed, the environment's proxies never used, no cookie is kept,
and no certificate is believed that can't be verified, unless the operator said so.
What goes wrong is told in words of our own: no header, no body and no token is in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field, frozen
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.error import TimeoutError as ConnectionTimedOut
from twisted.internet.interfaces import (
    IConsumer,
    IOpenSSLClientConnectionCreator,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    ResponseDone,
    _HTTP11ClientFactory,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from mdproxy.tls import TlsMisconfigured, client_tls

#: How many bytes of an answer are not too many.
MOST: Final = 4 << 20
#: How a connection ends, or doesn't begin.
_BROKEN: Final = (ConnectionClosed, ConnectError, OSError)
#: How long one is ever told to stay away, in seconds.
_LONGEST_REST: Final = 60.0
_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)


class Trouble(Exception):
    """
    A question has no answer; the text says why.

    @ivar kind: The word that it is counted by.
    @ivar is_away: Whether the API does not work now; if not, it is there, and things
        may change in it that we are not told of.
    @ivar rest: For how many seconds it asked to be left alone.
    """

    kind = "trouble"
    is_away = True
    rest = 0.0


class Unreachable(Trouble):
    """
    There was no connection, or it broke before the answer.
    """

    kind = "unreachable"


class Silent(Trouble):
    """
    The answer did not come in time.
    """

    kind = "timeout"


class Garbled(Trouble):
    """
    The answer is not what the API is documented to say.
    """

    kind = "garbled"


class TooLarge(Trouble):
    """
    The answer is larger than any that we asked for.
    """

    kind = "too-large"


class Untrusted(Trouble):
    """
    The TLS handshake failed: it may be anybody.
    """

    kind = "tls"
    is_away = False


class Refused(Trouble):
    """
    The API answered, with a status that is none of success.

    @ivar status: The status.
    """

    def __init__(self, what: str, status: int, rest: float = 0.0) -> None:
        """
        Say which.

        @param what: Who answered.
        """
        super().__init__(f"{what} answered with status {status}")
        self.status = status
        self.rest = rest

    @property
    def kind(self) -> str:  # type: ignore[override]
        """
        Tell the word that it is counted by.
        """
        return f"status-{self.status}"

    @property
    def is_away(self) -> bool:  # type: ignore[override]
        """
        Tell whether the API does not work: it is overloaded or broken.
        """
        return self.status == 429 or self.status >= 500


@frozen
class Answer:
    """
    What an API said.

    @ivar value: The JSON.
    @ivar token: What stood in C{X-Subject-Token}, where Keystone puts tokens.
    """

    value: Any = field(repr=False)
    token: str | None = field(repr=False)


class _Body(Protocol):
    """
    Collects a body, up to a bound.

    @ivar done: Fires with the body.
    """

    def __init__(self, most: int) -> None:
        """
        Begin with nothing.
        """
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._most = most
        self._pieces: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        """
        Take a piece.
        """
        self._size += len(data)
        if self._size <= self._most:
            self._pieces.append(data)
        elif not self.done.called:
            self._pieces.clear()
            self._abort()
            self.done.errback(TooLarge(f"an answer is larger than {self._most} bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See whether the body is whole: without a length nobody can tell.
        """
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(Unreachable("the connection broke in an answer"))

    def _abort(self) -> None:
        """
        Close the connection now: a peer that is silent would not close TLS in order.
        """
        # Twisted's proxy of the transport (26.10, TransportProxyProducer) passes only
        # loseConnection on, which waits for the peer.
        transport = getattr(self.transport, "_producer", None) or self.transport
        abort = getattr(transport, "abortConnection", None)
        if abort is not None:
            abort()
        elif self.transport is not None:
            self.transport.loseConnection()


@implementer(IAgent)
@define(eq=False)
class _Uncompressed:
    """
    An agent that asks for plain bodies and takes no others.

    treq unpacks what is packed, however large it may get.
    """

    _agent: IAgent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: Any = None,
    ) -> Deferred[IResponse]:
        """
        Provide C{IAgent.request}.
        """
        headers = Headers() if headers is None else headers.copy()
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        asked = self._agent.request(method, uri, headers, bodyProducer)
        return asked.addCallback(self._check)

    def _check(self, response: IResponse) -> IResponse:
        """
        Refuse a packed body.

        @raise Garbled: If it is packed.
        """
        packed = response.headers.getRawHeaders(b"Content-Encoding", [])
        if any(name.strip().lower() not in (b"", b"identity") for name in packed):
            _drop(response)
            raise Garbled("an answer is compressed though we asked for plain ones")
        return response


@implementer(IBodyProducer)
class _Whole:
    """
    A body that is sent at once.

    treq's own would be sent by the global reactor, piece by piece.

    @ivar length: How many bytes it has.
    """

    def __init__(self, body: bytes) -> None:
        """
        Take the body.
        """
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """
        Provide C{IBodyProducer.startProducing}.
        """
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """
        Provide C{IBodyProducer.pauseProducing}: it is done already.
        """

    def resumeProducing(self) -> None:
        """
        Provide C{IBodyProducer.resumeProducing}.
        """

    def stopProducing(self) -> None:
        """
        Provide C{IBodyProducer.stopProducing}.
        """


def _drop(response: IResponse) -> None:
    """
    Close a connection whose body nobody wants.
    """
    body = _Body(0)
    response.deliverBody(body)
    body.done.addErrback(lambda _: None)
    body.done.cancel()


@define(eq=False)
class Api:
    """
    Asks questions of APIs.

    @ivar _agent: Makes the requests.
    @ivar _pool: The connections that the agent keeps.
    @ivar _clock: Measures the time that an answer takes.
    @ivar _timeout: The longest wait for a whole answer, in seconds.
    @ivar _most: How many bytes of an answer are not too many.
    """

    _agent: IAgent
    _clock: IReactorTime
    _timeout: float
    _pool: HTTPConnectionPool | None = None
    _most: int = MOST

    def ask(
        self,
        what: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: object = None,
    ) -> Deferred[Answer]:
        """
        Ask a question.

        @param what: Whom, for the words of an error.
        @param method: C{GET} or C{POST}.
        @param url: The address, with the query.
        @param headers: Fields beside the usual ones.
        @param body: What goes into the body, as JSON; C{None}: no body.

        @return: The answer, whose status was 200 or 201; fails with a L{Trouble}, and
            with C{CancelledError} when it is cancelled.
        """
        fields = Headers()
        usual = {"User-Agent": "mdproxy", "Accept": "application/json"}
        for name, value in {**usual, **headers}.items():
            fields.setRawHeaders(name, [value])
        more = {} if body is None else {"json": body}
        # A client for one request: there is no cookie from any other.
        client = HTTPClient(_Uncompressed(self._agent), data_to_body_producer=_Whole)
        asked = client.request(
            method,
            url,
            headers=fields,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,  # type: ignore[arg-type]
            **more,  # type: ignore[arg-type]
        )
        answer: Deferred[Answer] = asked.addCallback(self._read, what)
        late = Silent(f"{what} did not answer in time")
        answer.addTimeout(self._timeout, self._clock, lambda *_: Failure(late))
        return answer.addErrback(_name_trouble, what)

    def close(self) -> Deferred[None]:
        """
        Let go of the connections that are kept.
        """
        return (
            succeed(None) if self._pool is None else self._pool.closeCachedConnections()
        )

    def _read(self, response: Any, what: str) -> Deferred[Answer]:
        """
        Read the whole answer, if it is one.

        @raise Refused: If the status says that it is none.
        """
        status = response.code
        if status not in (200, 201):
            _drop(response)
            raise Refused(what, status, _rest_in(response.headers))
        token = (response.headers.getRawHeaders("X-Subject-Token") or [None])[0]
        body = _Body(self._most)
        response.deliverBody(body)
        return body.done.addCallback(lambda data: Answer(_value_of(data, what), token))


def _rest_in(headers: Headers) -> float:
    """
    Read for how long the API wants to be left alone (RFC 9110, section 10.2.3).

    @return: Seconds; 0 where it doesn't say, or says a date.
    """
    [text] = (headers.getRawHeaders(b"Retry-After") or [b""])[:1]
    is_number = text.isdigit() and len(text) < 9
    return min(float(text), _LONGEST_REST) if is_number else 0.0


def _value_of(data: bytes, what: str) -> Any:
    """
    Read JSON.

    @raise Garbled: If it is none, or nested without end.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Garbled(f"what {what} answers is no JSON") from None


def _name_trouble(failure: Failure, what: str) -> Failure:
    """
    Say in our words what went wrong.
    """
    error = failure.value
    if isinstance(error, Trouble):
        return failure
    # The agent wraps why there is no answer.
    reasons = [error, *(r.value for r in getattr(error, "reasons", ()))]
    if any(isinstance(reason, CancelledError) for reason in reasons):
        return Failure(CancelledError())
    if any(isinstance(reason, (SSL.Error, VerificationError)) for reason in reasons):
        return Failure(Untrusted(f"the certificate of {what} was refused"))
    if isinstance(error, ConnectionTimedOut):
        return Failure(Silent(f"{what} did not answer in time"))
    if any(isinstance(reason, _BROKEN) for reason in reasons):
        return Failure(Unreachable(f"{what} can't be reached"))
    kind = type(reasons[-1]).__name__
    return Failure(Unreachable(f"{what} can't be asked: {kind}"))


class _Quiet(_HTTP11ClientFactory):
    """
    Makes connections without two lines in the log for each.
    """

    noisy = False


@implementer(IPolicyForHTTPS)
@define(eq=False)
class _Policy:
    """
    Who is believed to be who.

    @ivar _root: Who may sign certificates; C{None}: anybody may be anybody.
    """

    _root: Any

    def creatorForNetloc(
        self, hostname: bytes, port: int
    ) -> IOpenSSLClientConnectionCreator:
        """
        Provide C{IPolicyForHTTPS.creatorForNetloc}: Twisted's own checks the name in
        the certificate before a byte of the request leaves.
        """
        name = hostname.decode("ascii").strip("[]")
        if self._root is None:
            return client_tls(name, None, None, None, insecure=True)
        least = {"raiseMinimumTo": TLSVersion.TLSv1_2}
        return optionsForClientTLS(name, self._root, extraCertificateOptions=least)


def make_api(reactor: Any, cafile: str, insecure: bool, timeout: float) -> Api:
    """
    Make what asks over the network.

    @param reactor: Connects, and measures time.
    @param cafile: The PEM file of those who may sign certificates; empty: those whom
        the system trusts.
    @param insecure: Whether to verify no certificate at all.
    @param timeout: The longest wait for a whole answer, in seconds.

    @raise TlsMisconfigured: If the file can't be used.
    """
    root = None if insecure else _trusted(cafile)
    pool = HTTPConnectionPool(reactor)
    # Twisted (26.10) has no other way to say so.
    pool._factory = _Quiet
    agent = Agent(reactor, _Policy(root), connectTimeout=timeout, pool=pool)
    return Api(agent, reactor, timeout, pool)


def _trusted(cafile: str) -> Any:
    """
    Read whom we trust.
    """
    if not cafile:
        return platformTrust()
    try:
        with open(cafile, "rb") as file:
            pieces = _PEM.findall(file.read())
        if not pieces:
            raise ValueError(cafile)
        return trustRootFromCertificates([Certificate.loadPEM(p) for p in pieces])
    except (OSError, ValueError, crypto.Error):
        raise TlsMisconfigured(f"{cafile}: no readable PEM certificates") from None
