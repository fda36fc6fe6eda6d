"""
Tests for L{mdproxy.http.transports}.

What a transport promises is tested on Twisted's own as well: ours differ in when, and
in nothing else.
"""

from __future__ import annotations

import socket
from errno import ENOBUFS, ENOMEM, EWOULDBLOCK
from os import strerror
from typing import Any

from twisted.internet import tcp
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import ClientFactory, Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.http.transports import (
    CountingTls,
    _is_known,
    accept_at_once,
    connect_at_once,
    encrypt_at_once,
    look_before_sending,
)
from mdproxy.tls import client_tls
from tests.turning import (
    HalfCloseable,
    Noting,
    read_now,
    reset,
    settle,
    turn_until,
    turning,
)

#: What the kernel is to keep of a connection at most, at either end (it takes double).
KEPT = 32768
#: More than that, and than a transport keeps before it pauses its producer.
MUCH = b"0123456789abcdef" * (1 << 15)
#: More than a transport keeps before it pauses its producer.
SOME = b"x" * 200_000


class PullProducer:
    """
    A producer that is asked for each piece.
    """

    def __init__(self, transport: Any, pieces: int, thinks: bool = False) -> None:
        """
        Be able to give so many pieces.

        @param thinks: Whether to give nothing when asked for the first time.
        """
        self._transport = transport
        self._thinks = thinks
        self.left = pieces

    def resumeProducing(self) -> None:
        """
        Give the next piece.
        """
        if self._thinks:
            self._thinks = False
        elif self.left:
            self.left -= 1
            self._transport.write(b"piece")
        else:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """
        Give nothing more.
        """


class FailingOnce:
    """
    A socket that fails to send once.
    """

    def __init__(self, real: socket.socket, code: int) -> None:
        """
        Stand in for a socket.
        """
        self._real = real
        self._codes = [code]

    def send(self, data: bytes) -> int:
        """
        Fail, then send.
        """
        if self._codes:
            code = self._codes.pop()
            raise OSError(code, strerror(code))
        return self._real.send(data)

    def __getattr__(self, name: str) -> Any:
        """
        Be the socket otherwise.
        """
        return getattr(self._real, name)


class TransportCase(SynchronousTestCase):
    """
    Has one connection, with the protocol on our side and a plain socket on the other.

    @ivar reactor: Turned by hand.
    @ivar peer: The other side's socket.
    """

    at_once = False
    client = False

    def setUp(self) -> None:
        """
        Make a reactor.
        """
        reactor = turning(EPollReactor)
        self.reactor = reactor.__enter__()
        self.addCleanup(reactor.__exit__, None, None, None)

    def connect(self, protocol: Noting) -> Any:
        """
        Connect a protocol with the peer.

        @return: The protocol's transport.
        """
        make = self._connect_client if self.client else self._accept
        make(protocol)
        self.addCleanup(self.peer.close)
        self.peer.settimeout(10)
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT)
        ours = protocol.transport.getHandle()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KEPT)
        return protocol.transport

    def _accept(self, protocol: Noting) -> None:
        """
        Be the server.
        """
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        port = tcp.Port(0, factory, interface="127.0.0.1", reactor=self.reactor)
        port.startListening()
        if self.at_once:
            accept_at_once(port)
        self.peer = socket.create_connection(("127.0.0.1", port.getHost().port))
        turn_until(self.reactor, lambda: protocol.transport)
        port.stopListening()
        settle(self.reactor)

    def _connect_client(self, protocol: Noting) -> None:
        """
        Be the client.
        """
        factory: Any = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda _address: protocol
        with socket.create_server(("127.0.0.1", 0)) as listening:
            reactor = connect_at_once(self.reactor) if self.at_once else self.reactor
            reactor.connectTCP("127.0.0.1", listening.getsockname()[1], factory)
            turn_until(self.reactor, lambda: protocol.transport)
            self.peer, _address = listening.accept()

    def hear(self, protocol: Noting, count: int) -> None:
        """
        Turn until a protocol was told so much.
        """
        turn_until(self.reactor, lambda: len(protocol.told) >= count)

    def read_all(self, size: int) -> bytes:
        """
        Read so many bytes at the other side, or until the end.
        """
        found: list[bytes] = []

        def read() -> bool:
            while (piece := read_now(self.peer)) is not None:
                found.append(piece)
                if not piece:
                    return True
            return sum(map(len, found)) >= size

        turn_until(self.reactor, read)
        return b"".join(found)


class TransportTests(TransportCase):
    """
    Tests for what any transport promises, on Twisted's own.
    """

    def test_order(self) -> None:
        """
        What is written arrives whole and in order, however slowly it is read.
        """
        transport = self.connect(Noting())
        expected = b""
        for piece in (b"one", MUCH, b"two", SOME, b"", b"three"):
            transport.write(piece)
            expected += piece
        transport.writeSequence([b"four", b"", b"five"])
        transport.writeSequence([])
        expected += b"fourfive"
        self.assertTrue(self.read_all(len(expected)) == expected)

    def test_bytes_alone(self) -> None:
        """
        Text is refused.
        """
        transport = self.connect(Noting())
        self.assertRaises(TypeError, transport.write, "text")
        self.assertRaises(TypeError, transport.writeSequence, ["text"])

    def test_push_producer(self) -> None:
        """
        A producer is paused when too much waits, and goes on when all is sent.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        transport.registerProducer(protocol, True)
        transport.write(MUCH)
        self.reactor.runUntilCurrent()
        self.assertEqual(protocol.told, ["made", "pause"])
        self.read_all(len(MUCH))
        self.hear(protocol, 3)
        self.assertEqual(protocol.told, ["made", "pause", "resume"])

    def test_pull_producer(self) -> None:
        """
        A producer that is asked for pieces is asked for all of them.
        """
        transport = self.connect(Noting())
        producer = PullProducer(transport, 5)
        transport.registerProducer(producer, False)
        self.assertEqual(producer.left, 4)
        self.assertEqual(self.read_all(25), b"piece" * 5)

    def test_lose(self) -> None:
        """
        Closing sends what waits first; the protocol learns of it afterwards.
        """
        for data in (b"", b"little", MUCH):
            protocol = Noting()
            transport = self.connect(protocol)
            transport.write(data)
            transport.loseConnection()
            transport.loseConnection()
            self.assertEqual(protocol.told, ["made"])
            self.assertTrue(self.read_all(len(data) + 1) == data)
            self.hear(protocol, 2)
            self.assertEqual(protocol.told, ["made", "ConnectionDone"])

    def test_written_while_closing(self) -> None:
        """
        What is written before the connection is closed is sent.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        transport.loseConnection()
        transport.write(b"late")
        self.assertEqual(self.read_all(5), b"late")
        self.hear(protocol, 2)
        self.assertEqual(protocol.told, ["made", "ConnectionDone"])

    def test_producer_while_closing(self) -> None:
        """
        A producer that is registered while the connection closes may give its pieces.
        """
        for thinks in (False, True):
            protocol = Noting()
            transport = self.connect(protocol)
            transport.loseConnection()
            transport.registerProducer(PullProducer(transport, 3, thinks), False)
            self.assertEqual(self.read_all(16), b"piece" * 3)
            self.hear(protocol, 2)
            self.assertEqual(protocol.told, ["made", "ConnectionDone"])

    def test_read_nothing_while_closing(self) -> None:
        """
        A protocol that closes is told nothing that comes afterwards.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        self.peer.sendall(b"too late")
        transport.loseConnection()
        transport.write(MUCH)
        transport.resumeProducing()
        settle(self.reactor)
        self.assertEqual((protocol.received, protocol.told), (b"", ["made"]))

    def test_abort(self) -> None:
        """
        Aborting throws away what waits, and what is written from then on.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        transport.write(MUCH)
        transport.abortConnection()
        transport.write(b"afterwards")
        transport.loseConnection()
        transport.loseWriteConnection()
        self.assertEqual(protocol.told, ["made"])
        self.hear(protocol, 2)
        self.assertEqual(protocol.told, ["made", "ConnectionAborted"])
        with self.assertRaises(ConnectionResetError):
            while self.peer.recv(1 << 20):
                pass

    def test_nothing_after_abort(self) -> None:
        """
        After an abort not a byte leaves.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        transport.abortConnection()
        transport.write(b"afterwards")
        self.hear(protocol, 2)
        self.assertRaises(ConnectionResetError, self.peer.recv, 1)

    def test_lose_then_abort(self) -> None:
        """
        A connection that is being closed may still be aborted.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        transport.loseConnection()
        transport.abortConnection()
        settle(self.reactor)
        self.assertEqual(protocol.told, ["made", "ConnectionAborted"])

    def test_half_close(self) -> None:
        """
        The peer sees the end of what is written, and is still read from; the protocol
        is told of either end once.
        """
        for data in (b"", b"little", MUCH):
            protocol = HalfCloseable()
            transport = self.connect(protocol)
            transport.write(data)
            transport.loseWriteConnection()
            self.assertTrue(self.read_all(len(data) + 1) == data)
            transport.write(b"not any more")
            settle(self.reactor)
            self.peer.sendall(b"still here")
            settle(self.reactor)
            self.assertEqual(protocol.received, b"still here")
            self.peer.shutdown(socket.SHUT_WR)
            self.hear(protocol, 3)
            transport.loseConnection()
            self.hear(protocol, 4)
            self.assertEqual(
                protocol.told, ["made", "write-lost", "read-lost", "ConnectionDone"]
            )

    def test_half_close_untold(self) -> None:
        """
        A protocol that knows no half closed connections may half close one.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        transport.loseWriteConnection()
        self.assertEqual(self.read_all(1), b"")
        self.peer.close()
        self.hear(protocol, 2)
        self.assertEqual(protocol.told, ["made", "ConnectionDone"])

    def test_lost(self) -> None:
        """
        A transport that has lost its connection takes everything and does nothing.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        self.peer.close()
        self.hear(protocol, 2)
        transport.write(b"nobody")
        transport.writeSequence([b"no", b"body"])
        transport.loseConnection()
        transport.abortConnection()
        settle(self.reactor)
        self.assertEqual(protocol.told, ["made", "ConnectionDone"])

    def test_reset(self) -> None:
        """
        A write to a peer that has gone tells nothing at once; then the protocol learns,
        once, that the connection was lost, and never that it ended in order.
        """
        for protocol in (Noting(), HalfCloseable()):
            transport = self.connect(protocol)
            reset(self.peer)
            transport.write(b"who is there?")
            transport.write(b"anybody?")
            self.assertEqual(protocol.told, ["made"])
            self.hear(protocol, 2)
            self.assertEqual(protocol.told, ["made", "ConnectionLost"])

    def test_reset_after_bytes(self) -> None:
        """
        What came before a reset is read, even if the reset was met by a write first.
        """
        protocol = HalfCloseable()
        transport = self.connect(protocol)
        self.peer.sendall(b"last words")
        reset(self.peer)
        transport.write(b"who is there?")
        self.hear(protocol, 2)
        self.assertEqual(protocol.told, ["made", "ConnectionLost"])
        self.assertEqual(protocol.received, b"last words")

    def test_reset_unread(self) -> None:
        """
        A reset is met by a write where nothing is read.
        """
        protocol = HalfCloseable()
        transport = self.connect(protocol)
        transport.pauseProducing()
        reset(self.peer)
        transport.write(b"who is there?")
        self.hear(protocol, 2)
        self.assertEqual(protocol.told, ["made", "ConnectionLost"])

    def test_send_fails(self) -> None:
        """
        A socket that can't send is a lost connection, even if it fails only once.
        """
        protocol = HalfCloseable()
        transport = self.connect(protocol)
        transport.socket = FailingOnce(transport.socket, ENOMEM)
        transport.write(b"lost")
        self.assertEqual(protocol.told, ["made"])
        self.hear(protocol, 2)
        self.assertEqual(protocol.told, ["made", "ConnectionLost"])

    def test_no_room(self) -> None:
        """
        A socket that can't send for want of room sends later.
        """
        for code in (ENOBUFS, EWOULDBLOCK):
            transport = self.connect(Noting())
            transport.socket = FailingOnce(transport.socket, code)
            transport.write(b"a little later")
            self.assertEqual(self.read_all(14), b"a little later")

    def test_reset_while_closing(self) -> None:
        """
        A connection that is reset while it closes is lost once.
        """
        protocol = HalfCloseable()
        transport = self.connect(protocol)
        transport.write(MUCH)
        transport.loseConnection()
        reset(self.peer)
        self.hear(protocol, 2)
        settle(self.reactor)
        self.assertEqual(protocol.told, ["made", "ConnectionLost"])


class ClientTransportTests(TransportTests):
    """
    The same for the side that connects.
    """

    client = True


class AtOnceTests(TransportTests):
    """
    Tests for transports that send at once.
    """

    at_once = True

    def test_sent(self) -> None:
        """
        What is written is at the other side when the turn ends; what was joined, or
        written in the same turn, is there together.
        """
        transport = self.connect(Noting())
        transport.write(b"head")
        transport.write(b"body")
        self.assertIsNone(read_now(self.peer))
        self.reactor.runUntilCurrent()
        self.assertEqual(read_now(self.peer), b"headbody")
        transport.writeSequence([b"more", b" of it"])
        self.reactor.runUntilCurrent()
        self.assertEqual(read_now(self.peer), b"more of it")
        self.assertEqual(self.reactor.getWriters(), [])

    def test_alone(self) -> None:
        """
        After a turn in which only one connection wrote, the next few writes go out
        before theirs ends; then it is tried again.  The side that connects always waits
        for its end, and can be asked whether it does.
        """
        transport = self.connect(Noting())
        kept = []
        for _ in range(50):
            transport.write(b"x")
            kept.append(read_now(self.peer) is None)
            self.assertEqual(transport.unsent, kept[-1])
            self.reactor.runUntilCurrent()
            if kept[-1]:
                self.assertEqual(read_now(self.peer), b"x")
        self.assertEqual(kept, [self.client or n % 16 == 0 for n in range(50)])

    def test_large(self) -> None:
        """
        What is large does not wait, but on the side that connects even that does.
        """
        transport = self.connect(Noting())
        transport.write(b"x" * 20_000)
        self.assertEqual(transport.unsent, self.client)
        self.assertEqual(read_now(self.peer) is None, self.client)

    def test_together(self) -> None:
        """
        Where several connections write in each turn, all of them send when it ends.
        """
        first = self.connect(Noting())
        peers = [self.peer]
        second = self.connect(Noting())
        peers.append(self.peer)
        self.addCleanup(peers[0].close)
        for _ in range(5):
            first.write(b"one")
            second.write(b"two")
            self.assertEqual([read_now(peer) for peer in peers], [None, None])
            self.reactor.runUntilCurrent()
            self.assertEqual([read_now(peer) for peer in peers], [b"one", b"two"])

    def test_aborted(self) -> None:
        """
        Of a connection that is broken before the turn ends nothing is sent.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        transport.write(b"for somebody else")
        transport.abortConnection()
        settle(self.reactor)
        self.assertRaises(ConnectionResetError, self.peer.recv, 100)
        self.assertEqual(protocol.told, ["made", "ConnectionAborted"])

    def test_broken_at_the_end(self) -> None:
        """
        Before the bytes of a turn leave it is looked whether they still should: what is
        broken then sends nothing, and the others do.
        """
        bad = self.connect(Noting())
        stranger = self.peer
        self.addCleanup(stranger.close)
        good = self.connect(Noting())
        look_before_sending(self.reactor, bad.abortConnection)
        good.write(b"for whom it was asked")
        bad.write(b"for somebody else")
        self.reactor.runUntilCurrent()
        self.assertEqual(read_now(self.peer), b"for whom it was asked")
        settle(self.reactor)
        self.assertRaises(ConnectionResetError, stranger.recv, 100)

    def test_blind(self) -> None:
        """
        Where it can't be looked nothing is sent, and no connection is left waiting.
        """
        protocols = [Noting(), Noting()]
        look_before_sending(self.reactor, lambda: 1 // 0)
        for protocol in protocols:
            self.connect(protocol)
            self.addCleanup(self.peer.close)
        for protocol in protocols:
            protocol.transport.write(b"for whom")
        self.reactor.runUntilCurrent()
        settle(self.reactor)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        for protocol in protocols:
            self.assertEqual(protocol.told, ["made", "ConnectionAborted"])

    def test_looks(self) -> None:
        """
        Where many connections send it is looked again after every few.
        """
        looks: list[int] = []
        look_before_sending(self.reactor, lambda: looks.append(1))
        transports = []
        for _ in range(40):
            transports.append(self.connect(Noting()))
            self.addCleanup(self.peer.close)
        for transport in transports:
            transport.write(b"more")
        self.reactor.runUntilCurrent()
        self.assertEqual(len(looks), 3)

    def test_lost(self) -> None:
        """
        A connection that is lost before the turn ends does not keep the others from
        sending.
        """
        lost = self.connect(Noting())
        ended = self.peer
        self.addCleanup(ended.close)
        other = self.connect(Noting())
        lost.write(b"nobody reads it")
        other.write(b"somebody does")
        reset(ended)
        lost.doRead()
        lost.connectionLost(Failure(ConnectionLost()))
        self.reactor.runUntilCurrent()
        self.assertEqual(read_now(self.peer), b"somebody does")

    def test_fault(self) -> None:
        """
        A protocol that fails when its connection sends costs only that connection.
        """

        class Failing(Noting):
            """
            Can't pause.
            """

            def pauseProducing(self) -> None:
                """
                Fail.
                """
                raise ZeroDivisionError

        bad = Failing()
        transport = self.connect(bad)
        self.addCleanup(self.peer.close)
        transport.registerProducer(bad, True)
        good = self.connect(Noting())
        transport.bufferSize = 10
        transport.socket = FailingOnce(transport.socket, EWOULDBLOCK)
        transport.write(b"more than ten bytes")
        good.write(b"here")
        self.reactor.runUntilCurrent()
        self.assertEqual(read_now(self.peer), b"here")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        settle(self.reactor)
        self.assertEqual(bad.told, ["made", "stop", "ConnectionAborted"])

    def test_behind(self) -> None:
        """
        What is written behind something that waits waits too.
        """
        transport = self.connect(Noting())
        transport.write(MUCH)
        self.reactor.runUntilCurrent()
        self.assertIn(transport, self.reactor.getWriters())
        begun = self.peer.recv(1000)
        while (piece := read_now(self.peer)) is not None:
            begun += piece
        # There is room now.
        transport.write(b"last")
        rest = self.read_all(len(MUCH) + 4 - len(begun))
        self.assertTrue(begun + rest == MUCH + b"last")

    def test_asked_behind(self) -> None:
        """
        A producer that is asked for each piece comes behind what waits for the end of
        the turn, and is asked for all of its pieces.
        """
        transport = self.connect(Noting())
        transport.write(b"before ")
        transport.registerProducer(PullProducer(transport, 3), False)
        self.assertEqual(self.read_all(22), b"before piecepiecepiece")

    def test_ended(self) -> None:
        """
        The other side sees the end of what is written when the turn ends.
        """
        protocol = HalfCloseable()
        transport = self.connect(protocol)
        transport.write(b"all")
        transport.loseWriteConnection()
        self.reactor.runUntilCurrent()
        self.assertEqual([self.peer.recv(100), self.peer.recv(100)], [b"all", b""])
        self.assertEqual(protocol.told, ["made", "write-lost"])
        self.assertEqual(self.reactor.getWriters(), [])

    def test_closed(self) -> None:
        """
        A connection on which nothing waits is closed in the next turn, without asking
        whether the socket takes anything.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        transport.loseConnection()
        self.assertEqual(self.reactor.getWriters(), [])
        self.reactor.runUntilCurrent()
        self.assertEqual(protocol.told, ["made", "ConnectionDone"])
        self.assertEqual(self.peer.recv(1), b"")


class ClientAtOnceTests(AtOnceTests):
    """
    The same for the side that connects.
    """

    client = True


class ForeignPort:
    """
    A port of some other reactor.
    """

    transport = "its own"


class ForeignReactor(MemoryReactorClock):
    """
    A reactor with a TCP of its own.
    """


class StockTests(SynchronousTestCase):
    """
    Tests for what is not Twisted's own, and is left alone.
    """

    def setUp(self) -> None:
        """
        Read the log.
        """
        self.logged: list[Any] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def assert_said(self, *reasons: str) -> None:
        """
        The operator was told this and no more.
        """
        self.assertEqual([event["why"] for event in self.logged], list(reasons))

    def test_foreign_port(self) -> None:
        """
        A port that is not a TCP port of Twisted's is left as it is, which is said once.
        """
        for _ in range(2):
            port: Any = ForeignPort()
            accept_at_once(port)
            self.assertEqual(port.transport, "its own")
        self.assert_said("ForeignPort is not Twisted's own TCP port")

    def test_foreign_transport(self) -> None:
        """
        A port whose transport somebody has chosen keeps it.
        """

        class Chosen(tcp.Server):
            """
            Somebody's.
            """

        port = tcp.Port(0, Factory(), reactor=MemoryReactorClock())
        port.transport = Chosen
        accept_at_once(port)
        self.assertIs(port.transport, Chosen)

    def test_foreign_reactor(self) -> None:
        """
        A reactor with a TCP of its own is used as it is, which is said once.
        """
        for _ in range(2):
            reactor = ForeignReactor()
            self.assertIs(connect_at_once(reactor), reactor)
        self.assert_said("ForeignReactor does not have Twisted's own TCP")

    def test_other_twisted(self) -> None:
        """
        A Twisted without a name that we use is one that we don't know, which is said.
        """
        self.assertTrue(_is_known())
        self.assertFalse(_is_known(["_tempDataBuffer", "_gone"]))
        self.assert_said("Twisted has no _gone")

    def test_encrypted(self) -> None:
        """
        With TLS nothing is gathered for the next turn either.
        """
        creator = client_tls("nova", None, None, None, insecure=True)
        factory = encrypt_at_once(creator, Factory.forProtocol(Noting))
        self.assertIs(factory.protocol, CountingTls)
