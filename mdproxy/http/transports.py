# -*- test-case-name: tests.test_http_transports -*-
"""
TCP transports that send at once, or together.

Twisted's own keep what is written until the reactor says that the socket takes it,
though it nearly always does: two changes of the epoll set and a turn of the loop for
each message (U{https://github.com/twisted/twisted/issues/5303}).  These try the socket
first: at once, or, where many connections have something to send, one after the other
at the end of this turn of the loop, which connections that we opened always wait for.
Whatever is out of the ordinary is left to
Twisted's own code: bytes that wait already, a socket that takes no more, an error, a
connection that is being closed.

The server side is put in by the documented C{transport} of C{tcp.Port}.  Beyond that
this module knows names of Twisted that are not public, in one place (L{_NAMES}); where
one of them is missing connections have the stock transports and the log says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import ENOBUFS, EWOULDBLOCK
from functools import cache, partial
from socket import socket
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from twisted.internet import main, tcp, unix
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConnector,
    IListeningPort,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
)
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

_log = Logger()

#: What a C{send} says that could not take anything now (as in C{writeSomeData}).
_LATER: Final = frozenset({EWOULDBLOCK, ENOBUFS})

#: After a turn in which only one connection had something to send, so many writes are
#: not kept.
_ALONE: Final = 15

#: So many connections send between two looks at what the kernel has told.
_UNSEEN: Final = 16

#: More than so many bytes do not wait for the end of the turn.
_LARGE: Final = 16384

#: What is used here and is not public.
_NAMES: Final = (
    "_tempDataBuffer",
    "_writeDisconnecting",
    "_writeDisconnected",
    "_closeWriteConnection",
    "_shouldShutdown",
    "_aborting",
    "_makeTransport",
)


class Outbox:
    """
    The connections of a reactor that have something to send in this turn of its loop.

    Sending wakes whoever sleeps at the other end.  What is sent together wakes it once,
    and it reads all of it: two thirds of the work of sending each by itself (measured
    with 32 connections).  Where only one connection has something to send nothing is
    gained, so that the next few are not kept until the end of their turn.

    @ivar look: Is called before anything is sent, and again after a few connections, so
        that what the kernel has told meanwhile can still break them.
    """

    def __init__(self, at_turn_end: Callable[[Callable[[], None]], object]) -> None:
        """
        Begin empty.

        @param at_turn_end: Has something called once at the end of this turn.
        """
        self._at_turn_end = at_turn_end
        self.look: Callable[[], object] = lambda: None
        self._waiting: list[_AtOnce] = []
        self._at_once = 0

    def takes(self, connection: _AtOnce) -> bool:
        """
        Have a connection send at the end of this turn.

        @return: Whether it will be told to; if not, it is to send at once.
        """
        if self._at_once and not connection.patient:
            self._at_once -= 1
            return False
        if not self._waiting:
            self._at_turn_end(self._send)
        self._waiting.append(connection)
        return True

    def _send(self) -> None:
        """
        Have all of them send.
        """
        waiting, self._waiting = self._waiting, []
        if len(waiting) == 1 and not self._at_once:
            self._at_once = _ALONE
        unseen = _UNSEEN
        for connection in waiting:
            try:
                if unseen == _UNSEEN:
                    self.look()
                    unseen = 0
                unseen += 1
                connection.flush()
            except Exception:
                # As where the reactor calls: the fault costs this connection alone.
                _log.failure("a connection failed as it sent")
                connection.abortConnection()


class _AtOnce(tcp.Connection):
    """
    A connection that sends what it can in this turn of the loop.

    @ivar outbox: Where it waits for the end of the turn.
    @ivar patient: Whether it always does.
    @ivar _outgoing: What it sends then; C{None}: it does not wait.
    @ivar _then_ends: Whether its write side is to be closed after that.
    @ivar _may_end: Whether both sides are closed and the protocol is being told.
    """

    reactor: Any

    #: Closing the only descriptor of a connection says all that C{shutdown} would.
    _shouldShutdown = False

    outbox: Outbox
    patient = False
    _outgoing: bytes | None = None
    _then_ends = False
    _may_end = False

    def write(self, data: bytes) -> None:
        """
        Provide C{ITransport.write}.
        """
        if self._outgoing is not None:
            self._outgoing += data
            if len(self._outgoing) > _LARGE:
                self.flush()
        elif type(data) is not bytes or not data or self._must_wait():
            super().write(data)
        elif (len(data) > _LARGE and not self.patient) or not self.outbox.takes(self):
            self._send(data)
        else:
            self._outgoing = data

    @property
    def unsent(self) -> bool:
        """
        Whether something waits for the end of the turn.
        """
        return self._outgoing is not None

    @property
    def is_sent(self) -> bool:
        """
        Whether the kernel has been given everything that was written.
        """
        return not (self._outgoing or self._tempDataBuffer or self.dataBuffer)

    def flush(self) -> None:
        """
        Send what waits for the end of the turn.
        """
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is None:
            return
        # Nothing has come between: whatever would have has flushed it first.
        self._send(outgoing)
        if self._then_ends:
            self._then_ends = False
            self.loseWriteConnection()

    def _send(self, data: bytes) -> None:
        """
        Send what the socket takes, and leave the rest to Twisted.
        """
        try:
            sent = self.socket.send(data)
        except OSError as error:
            sent = 0
            if error.errno not in _LATER:
                self._be_broken()
        if sent != len(data):
            super().write(data[sent:])

    def writeSequence(self, iovec: Any) -> None:
        """
        Provide C{ITransport.writeSequence}.
        """
        self.write(b"".join(iovec))

    def loseWriteConnection(self) -> None:
        """
        Provide C{ITCPTransport.loseWriteConnection}; the protocol may be told of it
        before this returns.
        """
        if self._outgoing is not None:
            self._then_ends = True
            return
        if self._must_wait():
            super().loseWriteConnection()
            return
        self._writeDisconnecting = self._writeDisconnected = True
        self._closeWriteConnection()

    def loseConnection(self) -> None:
        """
        Provide C{ITransport.loseConnection}.
        """
        self.flush()
        if self._must_wait() and not self._may_end:
            super().loseConnection()
            return
        self.disconnecting = True
        if self._may_end:
            return
        self.stopReading()
        # Never before this returns: the caller may be in the middle of something.
        self.reactor.callLater(0, self._lose)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Provide C{IConsumer.registerProducer}.
        """
        self.flush()
        super().registerProducer(producer, streaming)

    def doRead(  # type: ignore[override]
        self,
    ) -> ConnectionLost | ConnectionDone | None:
        """
        Provide C{IReadDescriptor.doRead}, as C{tcp.Connection} does in two steps.
        """
        try:
            data = self.socket.recv(self.bufferSize)
        except OSError as error:
            return None if error.errno == EWOULDBLOCK else main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def abortConnection(self) -> None:
        """
        Provide C{ITCPTransport.abortConnection}; nothing that waits is sent.
        """
        self._outgoing = None
        super().abortConnection()

    def readConnectionLost(self, reason: Failure) -> None:
        """
        Provide C{IHalfCloseableDescriptor.readConnectionLost}; a protocol that closes
        its own side already, and now says so, is not left for another turn.
        """
        self._may_end = self._writeDisconnected
        super().readConnectionLost(reason)
        ends = self._may_end and self.disconnecting and not self._aborting
        self._may_end = False
        if ends:
            self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """
        Provide C{IReadDescriptor.connectionLost}.
        """
        self._outgoing = None
        super().connectionLost(reason)

    def _lose(self) -> None:
        """
        Close, unless there is more to send since, or it happened already.
        """
        if not self.connected or self._aborting:
            return
        if self._tempDataBuffer or self.dataBuffer or self.producer is not None:
            self.startWriting()
        else:
            self.connectionLost(Failure(main.CONNECTION_DONE))

    def _must_wait(self) -> bool:
        """
        Tell whether a write is Twisted's business.

        What a producer that is asked for each piece writes must be: the next piece is
        asked for when the buffer has been sent.
        """
        return bool(
            self._tempDataBuffer
            or self.dataBuffer
            or not self.connected
            or self.disconnecting
            or self._writeDisconnecting
            or self._aborting
            or self.TLS
            or (self.producer is not None and not self.streamingProducer)
        )

    def _be_broken(self) -> None:
        """
        Have the reactor find out what C{send} said.

        The kernel tells an error once, and it was told here: a connection that was
        reset would read like one that was ended.
        """

        def read() -> ConnectionLost | ConnectionDone | None:
            why = tcp.Connection.doRead(self)
            return main.CONNECTION_LOST if why is main.CONNECTION_DONE else why

        self.doRead = read  # type: ignore[method-assign]
        self.doWrite = lambda: main.CONNECTION_LOST  # type: ignore[method-assign]


class _Server(_AtOnce, tcp.Server):
    """
    The server side of a connection.
    """


class _UnixServer(_AtOnce, unix.Server):
    """
    The server side of a connection on a UNIX socket.
    """


class _Client(_AtOnce, tcp.Client):
    """
    The client side of a connection.

    It always waits: what the other side has sent before the end of the turn can be no
    answer to what is written in it.
    """

    patient = True


class _Connector(tcp.Connector):
    """
    Makes client sides.
    """

    def _makeTransport(self) -> _Client:
        """
        Make the transport of one attempt.
        """
        client = _Client(self.host, self.port, self.bindAddress, self, self.reactor)
        client.outbox = _outbox_of(self.reactor)
        return client


class _AtOnceReactor:
    """
    A reactor whose outgoing TCP connections send at once; all else is its own.
    """

    def __init__(self, reactor: PosixReactorBase) -> None:
        """
        Stand in for a reactor.
        """
        self._reactor = reactor
        directlyProvides(self, providedBy(reactor))

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: Any = None,
    ) -> IConnector:
        """
        Provide C{IReactorTCP.connectTCP}.
        """
        connector = _Connector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.connect()
        return connector

    def __getattr__(self, name: str) -> Any:
        """
        Be the reactor otherwise.
        """
        return getattr(self._reactor, name)


#: By reactor, where its connections wait for the end of a turn.
_outboxes: WeakKeyDictionary[Any, Outbox] = WeakKeyDictionary()


def _outbox_of(reactor: Any) -> Outbox:
    """
    Find the outbox of a reactor, or make it.
    """
    if reactor not in _outboxes:
        later = getattr(reactor, "callAtTurnEnd", partial(reactor.callLater, 0))
        _outboxes[reactor] = Outbox(later)
    return _outboxes[reactor]


def _accepted(outbox: Outbox, *args: Any) -> _Server:
    """
    Make the transport of an accepted connection, as C{tcp.Server} is made.
    """
    server = _Server(*args)
    server.outbox = outbox
    return server


def look_before_sending(reactor: Any, look: Callable[[], object]) -> None:
    """
    Have something looked at before bytes that were kept until the end of a turn leave.

    @param look: May break connections, of which then nothing is sent; must not raise.
    """
    _outbox_of(reactor).look = look


def accept_at_once(port: IListeningPort) -> None:
    """
    Have the connections that a port accepts send at once, if it is a stock TCP port.

    @param port: What the reactor listens with, before it has accepted anything.
    """
    if type(port) is not tcp.Port or getattr(port, "transport", None) is not tcp.Server:
        _say_once(f"{type(port).__name__} is not Twisted's own TCP port")
    elif _is_known():
        # It is called as the class is.
        port.transport = cast(Any, partial(_accepted, _outbox_of(port.reactor)))


def serve_at_once(accepted: socket, protocol: IProtocol, reactor: Any) -> None:
    """
    Serve a connection that was accepted on a UNIX socket.

    @param accepted: The connection; it must not block, and is the transport's from now
        on.
    @param protocol: Who is connected to it.
    """
    kind = _UnixServer if _is_known() else unix.Server
    # As the reactor's adoptStreamConnection makes one.
    server = kind(accepted, protocol, "", None, 0, reactor)
    server.repstr = server.logstr = f"<{type(protocol).__name__} on a UNIX socket>"
    if isinstance(server, _UnixServer):
        server.outbox = _outbox_of(reactor)
    protocol.makeConnection(server)


def connect_at_once(reactor: Any) -> Any:
    """
    Have the connections that a reactor opens send at once, if its TCP is the stock one.

    @param reactor: The reactor, as endpoints need it.

    @return: What endpoints are to be made with in its place; perhaps the reactor.
    """
    connects = getattr(type(reactor), "connectTCP", None)
    if connects is not PosixReactorBase.connectTCP:
        _say_once(f"{type(reactor).__name__} does not have Twisted's own TCP")
    elif _is_known():
        return _AtOnceReactor(reactor)
    return reactor


class CountingTls(TLSMemoryBIOProtocol):
    """
    TLS that counts how often it was given bytes.

    What is read may hold more than one record, so more than one call of the protocol's
    C{dataReceived} can come of it.

    @ivar reads: How often it was given bytes so far.
    """

    reads = 0

    def dataReceived(self, data: bytes) -> None:
        """
        Provide C{IProtocol.dataReceived}.
        """
        self.reads += 1
        super().dataReceived(data)


def encrypt_at_once(
    creator: IOpenSSLClientConnectionCreator, factory: IProtocolFactory
) -> TLSMemoryBIOFactory:
    """
    Put TLS around the protocols of a factory, without Twisted's gathering of small
    writes for the next turn of the loop.

    @param creator: Makes the client side of TLS.
    @param factory: Makes the protocols.

    @return: A factory for the connections of an endpoint.
    """
    encrypted = TLSMemoryBIOFactory(creator, True, factory)
    encrypted.protocol = CountingTls
    return encrypted


def _is_known(names: Sequence[str] = _NAMES) -> bool:
    """
    Tell whether this Twisted has the names that are used here.
    """
    places = (
        FileDescriptor(reactor=cast(Any, object())),
        tcp.Connection,
        tcp.Connector,
    )
    missing = [n for n in names if not any(hasattr(place, n) for place in places)]
    if missing:
        _say_once(f"Twisted has no {', '.join(missing)}")
    return not missing


@cache
def _say_once(why: str) -> None:
    """
    Tell the operator, once, why connections are slower than they could be.
    """
    _log.warn("connections have Twisted's own transports: {why}", why=why)
