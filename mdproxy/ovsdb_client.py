# -*- test-case-name: tests.test_ovsdb_client -*-
"""
Connections to OVSDB servers: one at a time, to the first of several that will do.

A connection that is lost, silent or garbled is closed and the next server is tried;
when all were tried there is a pause that doubles.  Nothing here knows what is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final
from typing import Protocol as Shape

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mdproxy.ovsdb import (
    Call,
    Framing,
    Garbled,
    Remote,
    Reply,
    write_call,
    write_reply,
)
from mdproxy.tls import ClientTls, TlsMisconfigured, client_tls, describe_failure

#: Seconds for TCP to connect.
_CONNECT: Final = 5
#: After so many seconds of silence the server is asked for an echo.
_IDLE: Final = 5.0
#: After so many seconds without an answer a server counts as silent.
UNANSWERED: Final = 3.0
#: After so many seconds of silence a connection is closed, and before the first byte.
#: A southbound server that compacts its database may be silent for many seconds.
_DEAD: Final = 30.0
_DEAF: Final = 10.0
#: The first pause when all servers were tried, and the longest; Open vSwitch has the
#: same (lib/reconnect.c, C{RECONNECT_DEFAULT_MIN_BACKOFF}, C{_MAX_BACKOFF}).
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 8.0
#: The longest pause between two servers that are tried one after the other.
_NEXT: Final = 0.2

#: Opens a connection; the Deferred fires with the protocol that the factory built.
Connect = Callable[[Remote, IProtocolFactory], Deferred[Any]]


class Refused(Exception):
    """
    The server refuses a call; the text is its word for the reason.
    """


class SessionEnded(Exception):
    """
    There is no connection to answer a call any more.
    """


class Owner(Shape):
    """
    Who asks, and is told.
    """

    def began(self, session: Session) -> None:
        """
        A connection is there.
        """

    def told(self, session: Session, method: str, params: list[Any]) -> None:
        """
        The server tells something that nobody asked for at this moment.

        @raise Garbled: If it makes no sense; the connection is closed.
        """

    def ended(self, session: Session | None, problem: str) -> None:
        """
        A connection is gone, or one could not be made.

        @param problem: Why, for each server that was tried since one was of use: the
            same words for as long as they fail for the same reasons.
        """


@implementer(IPushProducer)
class Session(Protocol):
    """
    One connection to a server.

    @ivar remote: The server.
    @ivar heard: When its last byte came, in the clock's seconds.
    @ivar received: How many bytes have come.
    """

    transport: Any
    log = Logger()

    def __init__(self, owner: Owner, clock: IReactorTime, remote: Remote) -> None:
        """
        Be a connection that is not there yet.
        """
        self.remote = remote
        self.heard = clock.seconds()
        self.received = 0
        self._owner = owner
        self._clock = clock
        self._framing = Framing()
        self._number = 0
        self._calls: dict[int, Deferred[Any]] = {}
        self._echoed: float | None = None
        self._problem: str | None = None
        self._is_stuck = False

    def connectionMade(self) -> None:
        """
        Begin; with TLS what is written waits for the end of the handshake.
        """
        # Not to produce, but to be told when the server does not read.
        self.transport.registerProducer(self, True)
        self._owner.began(self)

    def pauseProducing(self) -> None:
        """
        Learn that what was written lies here: the server does not read, or TLS has not
        begun.
        """
        self._is_stuck = True

    def resumeProducing(self) -> None:
        """
        Learn that it has left.
        """
        self._is_stuck = False

    def stopProducing(self) -> None:
        """
        Learn that nothing leaves any more: the connection is lost.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        Take what the server says; what can't be understood costs the connection.
        """
        if self._problem is not None:
            return
        self.heard = self._clock.seconds()
        self.received += len(data)
        try:
            for message in self._framing.feed(data):
                self._take(message)
        except Garbled as error:
            self.abandon(f"{self.remote} says what is no OVSDB: {error}")
        except Exception:
            self.log.failure("{remote}: an accident", remote=str(self.remote))
            self.abandon(f"{self.remote} says what nobody was prepared for")

    def call(self, method: str, *params: Any) -> Deferred[Any]:
        """
        Call a method.

        @return: Fires with the result, or fails with L{Refused} or L{SessionEnded}.
        """
        if self._problem is not None:
            return fail(SessionEnded(self._problem))
        self._number += 1
        answer: Deferred[Any] = Deferred()
        self._calls[self._number] = answer
        self.transport.write(write_call(self._number, method, list(params)))
        return answer

    def abandon(self, problem: str) -> None:
        """
        Close the connection; nothing that it says counts any more.
        """
        if self._problem is None:
            self._problem = problem
            self.transport.abortConnection()

    def unanswered(self) -> float:
        """
        Tell for how many seconds the server has not answered an echo.
        """
        return 0.0 if self._echoed is None else self._clock.seconds() - self._echoed

    def watch(self) -> None:
        """
        See whether the server is there; to be called every second.
        """
        silence = self._clock.seconds() - self.heard
        if silence > (_DEAD if self.received else _DEAF):
            self.abandon(f"{self.remote} is silent")
        elif silence >= _IDLE and self._echoed is None:
            # Its fate shows in what is heard, and in the end of the session.
            self.echo().addErrback(lambda reason: reason.trap(Refused, SessionEnded))

    def echo(self) -> Deferred[Any]:
        """
        Ask for an echo: what the server tells comes in the order in which it came to
        know it, and before the answer (Open vSwitch, ovsdb/jsonrpc-server.c,
        C{ovsdb_jsonrpc_session_run}).

        @return: As L{call}.
        """
        if self._echoed is None:
            self._echoed = self._clock.seconds()
        return self.call("echo").addBoth(self._answered)

    def _answered(self, result: Any) -> Any:
        """
        An echo was answered.
        """
        self._echoed = None
        return result

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Let everybody go who waits, and say why.
        """
        if self._problem is None:
            self._problem = f"{self.remote}: {self._cause(reason)}"
        calls, self._calls = self._calls, {}
        for answer in calls.values():
            answer.errback(SessionEnded(self._problem))
        self._owner.ended(self, self._problem)

    def _cause(self, reason: Failure) -> str:
        """
        Say why the connection was lost.
        """
        if reason.check(ConnectionClosed) is not None:
            return "the connection was closed"
        handle = self.transport.getHandle() if self.remote.kind == "ssl" else None
        return describe_failure(reason.value, handle, "the server")

    def _take(self, message: Call | Reply) -> None:
        """
        Take a message.
        """
        if self._problem is not None:
            return
        if isinstance(message, Call):
            self._serve(message)
            return
        answer = self._calls.pop(message.id, None)
        if answer is None:
            raise Garbled("an answer to none of our calls")
        if message.error is None:
            answer.callback(message.result)
        else:
            answer.errback(Refused(_word(message.error)))

    def _serve(self, call: Call) -> None:
        """
        Take what the server asks or tells.
        """
        if call.id is None:
            self._owner.told(self, call.method, call.params)
        elif self._is_stuck:
            # Else it would have us keep any number of answers.
            raise Garbled("questions, but it does not read the answers")
        elif call.method == "echo":
            self.transport.write(write_reply(call.id, call.params))
        else:
            self.transport.write(write_reply(call.id, None, "unknown method"))


def _word(error: Any) -> str:
    """
    Find the word for an error (RFC 7047 section 3.1, <error>), as plain text.
    """
    word = error.get("error") if isinstance(error, dict) else error
    text = word if isinstance(word, str) else "no reason given"
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text[:100])


@define(eq=False)
class Client:
    """
    Keeps a connection to one of several servers.

    @ivar _clock: What time it is.
    @ivar _remotes: The servers, in the order in which they are tried.
    @ivar _connect: Opens a connection.
    @ivar _random: Between 0 and 1.
    @ivar _owner: Who asks.
    @ivar session: The connection; C{None}: there is none.
    @ivar _next: Which server is tried next.
    @ivar _failures: How many were tried in vain since one was of use.
    @ivar _problems: Why, by server.
    """

    _clock: IReactorTime
    _remotes: tuple[Remote, ...]
    _connect: Connect
    _random: Callable[[], float]
    _owner: Owner
    session: Session | None = field(default=None, init=False)
    _next: int = field(default=0, init=False)
    _failures: int = field(default=0, init=False)
    _problems: dict[Remote, str] = field(factory=dict, init=False)
    _attempt: Deferred[Any] | None = field(default=None, init=False)
    _pause: IDelayedCall | None = field(default=None, init=False)
    _sweep: LoopingCall | None = field(default=None, init=False)

    def begin(self) -> None:
        """
        Connect, and connect again whenever a connection ends.
        """
        self._sweep = LoopingCall(self._watch)
        self._sweep.clock = self._clock
        self._sweep.start(1.0, now=False)
        self._try()

    def end(self) -> None:
        """
        Let go of the connection and of every timer.
        """
        sweep, self._sweep = self._sweep, None
        if sweep is not None:
            sweep.stop()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._attempt is not None:
            self._attempt.cancel()
        session, self.session = self.session, None
        if session is not None:
            session.abandon("we end")

    def proven(self) -> None:
        """
        Learn that the connection is of use: who ends it begins a new round.
        """
        self._failures = 0
        self._problems.clear()

    def began(self, session: Session) -> None:
        """
        Provide L{Owner.began}.
        """
        if self._sweep is None:
            session.abandon("we end")
            return
        self.session = session
        self._owner.began(session)

    def told(self, session: Session, method: str, params: list[Any]) -> None:
        """
        Provide L{Owner.told}.
        """
        self._owner.told(session, method, params)

    def ended(self, session: Session | None, problem: str) -> None:
        """
        Provide L{Owner.ended}.
        """
        if session is None or session is not self.session:
            # One that was let go of before.
            return
        self.session = None
        self._end_one(session, session.remote, problem)

    def _end_one(self, session: Session | None, remote: Remote, problem: str) -> None:
        """
        Tell the owner, and try the next server.
        """
        self._problems[remote] = problem
        self._owner.ended(session, "; ".join(self._problems.values()))
        if self._sweep is not None and self._pause is None:
            self._failures += 1
            self._pause = self._clock.callLater(self._delay(), self._try)

    def _delay(self) -> float:
        """
        Choose how long to wait: not at all for a server that was not tried in this
        round, but for what keeps a thousand hosts from coming at the same moment.
        """
        rounds, tried = divmod(self._failures, len(self._remotes))
        if tried:
            return _NEXT * self._random()
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(rounds - 1, 8))
        return pause * (0.5 + 0.5 * self._random())

    def _try(self) -> None:
        """
        Connect to the next server.
        """
        self._pause = None
        remote = self._remotes[self._next % len(self._remotes)]
        self._next += 1
        factory = Factory.forProtocol(lambda: Session(self, self._clock, remote))
        # Twisted would log every connection.
        factory.noisy = False
        self._attempt = attempt = self._connect(remote, factory)
        attempt.addErrback(self._failed, remote).addBoth(self._tried)

    def _failed(self, reason: Failure, remote: Remote) -> None:
        """
        A server could not be reached.
        """
        if reason.check(CancelledError) is not None and self._sweep is None:
            return
        if reason.check(TlsMisconfigured) is not None:
            problem = str(reason.value)
        else:
            problem = f"{remote} can't be reached: {_why(reason.value)}"
        self._end_one(None, remote, problem)

    def _tried(self, _result: Any) -> None:
        """
        An attempt is over.
        """
        self._attempt = None

    def _watch(self) -> None:
        """
        See whether the server is there.
        """
        if self.session is not None:
            self.session.watch()


def _why(error: BaseException | None) -> str:
    """
    Say why a connection could not be made, the same words for the same reason.
    """
    if type(error) is ConnectError and error.osError is not None:
        # Twisted has no class for it, such as a UNIX socket that is not there.
        return os.strerror(error.osError)
    if isinstance(error, ConnectError):
        return type(error).__doc__ or type(error).__name__
    return type(error).__name__


@define(eq=False)
class Connector:
    """
    Opens connections with Twisted's endpoints.

    @ivar _reactor: The reactor.
    @ivar _ca: The file of the CA that signed the servers' certificates.  As in Open
        vSwitch that is all that is verified: names in certificates mean nothing there.
    @ivar _certificate: The file of our certificate.
    @ivar _key: The file of its key.
    """

    _reactor: Any
    _ca: str | None = None
    _certificate: str | None = None
    _key: str | None = None
    _known: dict[Remote, ClientTls] = field(factory=dict, init=False)

    def connect(self, remote: Remote, factory: IProtocolFactory) -> Deferred[Any]:
        """
        Provide L{Connect}.  The TLS files are read anew for every connection.
        """
        endpoint = self._endpoint(remote)
        if remote.kind == "ssl":
            try:
                endpoint = wrapClientTLS(self._tls(remote), endpoint)
            except TlsMisconfigured:
                return fail()
        connected: Deferred[Any] = endpoint.connect(factory)
        return connected

    def _tls(self, remote: Remote) -> ClientTls:
        """
        Read the TLS files, unless they are what they were.

        @raise TlsMisconfigured: If they can't be used.
        """
        if self._ca is None:
            raise TlsMisconfigured(f"{remote}: no CA to verify it with")
        files = (self._ca, self._certificate, self._key)
        known = [self._known[remote]] if remote in self._known else []
        tls = client_tls(remote.host, *files, False, known)
        self._known[remote] = tls
        return tls

    def _endpoint(self, remote: Remote) -> Any:
        """
        Choose the endpoint for a server.
        """
        if remote.kind == "unix":
            return UNIXClientEndpoint(self._reactor, remote.host, _CONNECT)
        kind: Any = HostnameEndpoint
        if ":" in remote.host:
            kind = TCP6ClientEndpoint
        elif remote.host.replace(".", "").isdigit():
            kind = TCP4ClientEndpoint
        return kind(self._reactor, remote.host, remote.port, _CONNECT)
