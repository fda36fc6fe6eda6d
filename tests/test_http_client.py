"""
Tests for L{mdproxy.http.client}, on plain HTTP; L{tests.test_tls} has the rest.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.http.client import (
    NovaConnection,
    Patience,
    UpstreamBroken,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from mdproxy.interfaces import IExchange
from mdproxy.model import ResponseHead
from mdproxy.sweep import NEVER
from tests.playbook import Ask, Wire, ask

_PATIENCE = Patience(connect=3, first_byte=30, idle=40)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@define(eq=False)
class _Owner:
    """
    A pool of one, that notes what it is told.

    @ivar told: What it was told, in order.
    @ivar error: Why the connection was lost.
    """

    told: list[str] = field(factory=list)
    error: UpstreamError | None = None

    def ready(self, connection: NovaConnection) -> None:
        """
        Provide C{Owner.ready}.
        """
        assert connection.exchange is None
        self.told.append("ready")

    def released(self, connection: NovaConnection, exchange: IExchange) -> None:
        """
        Provide C{Owner.released}.
        """
        assert connection.exchange is None
        self.told.append("released")

    def lost(
        self,
        connection: NovaConnection,
        exchange: IExchange | None,
        error: UpstreamError,
    ) -> None:
        """
        Provide C{Owner.lost}.
        """
        self.told.append("lost" if exchange is None else "lost in flight")
        self.error = error


class NovaConnectionTests(SynchronousTestCase):
    """
    Tests for L{NovaConnection}.
    """

    def setUp(self) -> None:
        """
        Connect to Nova.
        """
        self.clock = Clock()
        self.owner = _Owner()
        self.connection = NovaConnection(
            self.owner, self.clock, _PATIENCE, b"nova:8775"
        )
        self.wire = Wire(self.connection)
        self.connection.makeConnection(self.wire)

    def start(self, exchange: Ask) -> Ask:
        """
        Send a request; what it is told is noted together with what the pool is.
        """
        exchange.then = lambda told: self.owner.told.append(
            told if isinstance(told, str) else type(told).__name__
        )
        self.connection.start(exchange)
        self.wire.settle()
        return exchange

    def say(self, data: bytes) -> None:
        """
        Let Nova send.
        """
        self.connection.dataReceived(data)
        self.wire.settle()

    def test_ready(self) -> None:
        """
        A plain connection is of use at once, and sends small pieces at once.
        """
        self.assertEqual(self.owner.told, ["ready"])
        self.assertTrue(self.wire.no_delay)
        self.assertEqual(self.wire.seen, b"")
        self.assertTrue(verifyObject(IHandshakeListener, self.connection))

    def test_request(self) -> None:
        """
        The signed head goes out with this endpoint's Host, and the body behind it.
        """
        exchange = self.start(ask(b"POST", b"p\r\n"))
        self.assertEqual(
            self.wire.seen, exchange.wire + b"Host: nova:8775\r\n\r\np\r\n"
        )

    def test_response(self) -> None:
        """
        Head, body and end are told; the connection is free before the end is.
        """
        exchange = self.start(ask())
        self.say(_OK[:-1])
        self.say(_OK[-1:])
        self.assertEqual(
            exchange.told, [ResponseHead(200, b"OK", b"", 2), b"o", b"k", "done"]
        )
        self.assertEqual(
            self.owner.told,
            ["ready", "ResponseHead", "bytes", "bytes", "released", "done"],
        )
        self.assertEqual(self.connection.served, 1)

    def test_answer_before_the_request(self) -> None:
        """
        What comes while the request waits to go out is no answer to it: the request is
        told that it was not sent, and the connection is gone.
        """
        exchange = self.start(ask())
        self.wire.unsent = True
        self.say(_OK)
        self.assertEqual([type(each) for each in exchange.told], [UpstreamBroken])
        self.assertIs(exchange.sent, False)
        self.assertIsNotNone(self.wire.closed)

    def test_more_behind(self) -> None:
        """
        An answer whose last piece is as large as one can be is the last on its
        connection: what Nova may have sent behind it would be the next answer.
        """
        for size, is_kept in ((65535, True), (65536, False)):
            self.setUp()
            exchange = self.start(ask())
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
            length = size - len(head % size)
            self.say(head % length + b"x" * length)
            self.assertEqual(exchange.told[-1], "done")
            self.assertEqual(self.wire.closed is None, is_kept)

    def test_kept(self) -> None:
        """
        One request after another is answered on it.
        """
        for _ in range(3):
            exchange = self.start(ask())
            self.say(b"HTTP/1.1 100 Continue\r\n\r\n" + _OK)
            self.assertEqual(exchange.summary, [200, b"ok", "done"])
        self.assertIsNone(self.wire.closed)

    def test_head(self) -> None:
        """
        The answer to HEAD has no body, and the next answer is not taken for one.
        """
        exchange = self.start(ask(b"HEAD"))
        self.say(_OK[:-2])
        self.assertEqual(exchange.summary, [200, "done"])
        exchange = self.start(ask())
        self.say(_OK)
        self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_not_kept(self) -> None:
        """
        An answer that leaves the connection in doubt is relayed, and the connection
        dropped before anybody could use it.
        """
        for answer, summary in (
            (_OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), [200, b"ok"]),
            (_OK.replace(b"1.1", b"1.0"), [200, b"ok"]),
            (_OK + b"EXTRA", [200, b"ok"]),
            (_OK + _OK, [200, b"ok"]),
            (b"HTTP/1.1 204 No Content\r\n\r\nbody", [204]),
        ):
            self.setUp()
            exchange = self.start(ask())
            self.say(answer)
            self.assertEqual(exchange.summary, [*summary, "done"])
            self.assertEqual(self.owner.told[-2:], ["lost in flight", "done"])
            self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_until_close(self) -> None:
        """
        Where only the end of the connection ends the answer, a clean end does.
        """
        exchange = self.start(ask())
        self.say(b"HTTP/1.1 200 OK\r\n\r\nok")
        self.wire.lose(ConnectionDone())
        self.wire.settle()
        self.assertEqual(exchange.summary, [200, b"ok", "done"])
        self.assertEqual(self.owner.told[-2:], ["lost in flight", "done"])

    def test_closed_without_an_answer(self) -> None:
        """
        A first request that is answered by nothing may have met a port of TLS; on a
        connection that was used before that can't be.
        """
        first = self.start(ask())
        self.wire.lose(ConnectionDone())
        self.wire.settle()
        self.assertIn("expect https", str(first.told[0]))
        self.setUp()
        self.start(ask())
        self.say(_OK)
        second = self.start(ask())
        self.wire.lose(ConnectionDone())
        self.wire.settle()
        self.assertEqual(str(second.told[0]), "connection lost: ConnectionDone")

    def test_broken_off(self) -> None:
        """
        Whatever Nova breaks off with fails the exchange, by what had come till then.
        """
        unavailable, broken = UpstreamUnavailable, UpstreamBroken
        chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n"
        for said, end, kind in (
            (b"", ConnectionDone(), unavailable),
            (b"", ConnectionLost(), unavailable),
            (b"HTTP/1.1 200 OK\r\nA:", ConnectionDone(), unavailable),
            (b"HTTP/1.1 100 Continue\r\n\r\n", ConnectionDone(), unavailable),
            (_OK[:-1], ConnectionDone(), broken),
            (_OK[:-1], ConnectionLost(), broken),
            (chunks, ConnectionDone(), broken),
            (chunks, ConnectionLost(), broken),
            (b"HTTP/1.1 200 OK\r\n\r\nok", ConnectionLost(), broken),
            (b"garbage\r\n\r\n", None, broken),
            (chunks + b"garbage", None, broken),
            (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", None, broken),
            (b"HTTP/1.1 200 OK\r\nA: " + b"a" * (1 << 20), None, broken),
        ):
            self.setUp()
            exchange = self.start(ask())
            self.say(said)
            if end is not None:
                self.wire.lose(end)
                self.wire.settle()
            error = exchange.told[-1]
            self.assertIsInstance(error, kind, said[:80])
            self.assertEqual(exchange.sent, True)
            self.assertIsNotNone(self.wire.closed)
            self.assertEqual(
                [told for told in self.owner.told if told.startswith("lost")],
                ["lost in flight"],
            )
            self.assertNotIn("5ec2e7", str(error))

    def test_no_answer(self) -> None:
        """
        Nova has so long for the head, in however many pieces it comes, and as long
        again for each further piece; a small body that can be asked for again has less.
        """
        large = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        self.start(ask())
        self.clock.advance(10)
        self.say(large[:9])
        self.assertEqual(self.connection.deadline, 30)
        self.clock.advance(10)
        self.say(large[9:])
        self.assertEqual(self.connection.deadline, 50)
        self.clock.advance(10)
        self.say(b"x")
        self.assertEqual(self.connection.deadline, 60)
        self.setUp()
        exchange = self.start(ask())
        self.clock.advance(20)
        self.say(_OK[:-2])
        self.assertEqual(self.connection.deadline, 23)
        self.clock.advance(2)
        self.say(_OK[-2:-1])
        self.assertEqual(self.connection.deadline, 25)
        self.connection.timed_out()
        self.assertEqual(exchange.summary, [200, b"o", UpstreamTimedOut])
        self.assertEqual(exchange.sent, True)
        self.wire.settle()
        self.assertEqual(self.wire.closed, "ConnectionAborted")
        self.assertEqual(self.connection.deadline, NEVER)

    def test_bytes_to_nobody(self) -> None:
        """
        A connection that sends without being asked is dropped.
        """
        self.say(_OK)
        self.assertEqual(self.owner.told, ["ready", "lost"])
        self.assertIsInstance(self.owner.error, UpstreamBroken)
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_bytes_to_nobody_after_an_answer(self) -> None:
        """
        So is one that does it after its answer.
        """
        self.start(ask())
        self.say(_OK)
        self.say(b"\r\n")
        self.assertEqual(self.owner.told[-1], "lost")
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_closed_at_rest(self) -> None:
        """
        Nova may close a connection that rests.
        """
        self.start(ask())
        self.say(_OK)
        self.wire.lose(ConnectionDone())
        self.wire.settle()
        self.assertEqual(self.owner.told[-2:], ["done", "lost"])
        self.assertIsInstance(self.owner.error, UpstreamUnavailable)

    def test_rests_long(self) -> None:
        """
        A connection that rests for long is closed.
        """
        self.assertEqual(self.connection.deadline, 40)
        self.clock.advance(5)
        self.start(ask())
        self.say(_OK)
        self.assertEqual(self.connection.deadline, 45)
        self.connection.timed_out()
        self.wire.settle()
        self.assertEqual(self.owner.told[-1], "lost")
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_not_connected_in_time(self) -> None:
        """
        A connection that comes too late is dropped, and never of use.
        """
        owner = _Owner()
        connection = NovaConnection(owner, self.clock, _PATIENCE, b"nova")
        self.assertEqual(connection.deadline, 3)
        connection.timed_out()
        self.assertEqual(owner.told, ["lost"])
        self.assertIsInstance(owner.error, UpstreamUnavailable)
        wire = Wire(connection)
        connection.makeConnection(wire)
        wire.settle()
        self.assertEqual(wire.closed, "ConnectionAborted")
        self.assertEqual(owner.told, ["lost"])

    def test_drop(self) -> None:
        """
        Whoever's request is dropped is told nothing any more, nor anybody twice.
        """
        exchange = self.start(ask())
        self.connection.drop()
        self.connection.drop()
        self.connection.dataReceived(_OK)
        self.wire.settle()
        self.assertEqual(exchange.told, [])
        self.assertEqual(self.owner.told, ["ready", "lost in flight"])
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_drop_from_within(self) -> None:
        """
        Also when it is dropped while it is being told.
        """
        for after in (1, 2):
            self.setUp()
            exchange = ask()

            def drop(
                _told: object, exchange: Ask = exchange, after: int = after
            ) -> None:
                if len(exchange.told) == after:
                    self.connection.drop()

            exchange.then = drop
            self.connection.start(exchange)
            self.say(_OK)
            self.assertEqual(exchange.summary, [200, b"ok"][:after])
            self.assertEqual(self.owner.told, ["ready", "lost in flight"])

    def test_pause(self) -> None:
        """
        While it is paused nothing is read, and Nova is not to blame for the time.
        """
        exchange = self.start(ask())
        self.say(_OK[:-1])
        self.connection.pause()
        self.assertFalse(self.wire.reading)
        self.assertEqual(self.connection.deadline, NEVER)
        self.clock.advance(100)
        self.connection.resume()
        self.assertTrue(self.wire.reading)
        self.assertEqual(self.connection.deadline, 130)
        self.say(_OK[-1:])
        self.assertEqual(exchange.summary, [200, b"o", b"k", "done"])

    def test_bytes_while_paused(self) -> None:
        """
        Bytes that were read already don't start the clock again (TLS hands out all it
        has decrypted).
        """
        self.start(ask())
        self.say(_OK[:-2])
        self.connection.pause()
        self.say(b"o")
        self.assertEqual(self.connection.deadline, NEVER)

    def test_end_while_paused(self) -> None:
        """
        A connection whose answer ended while it was paused reads the next one.
        """
        exchange = ask()

        def pause(told: object) -> None:
            if isinstance(told, bytes):
                self.connection.pause()

        exchange.then = pause
        self.connection.start(exchange)
        self.say(_OK)
        self.assertEqual(exchange.summary, [200, b"ok", "done"])
        self.assertTrue(self.wire.reading)
        self.assertEqual(self.connection.deadline, 40)
        exchange = self.start(ask())
        self.assertEqual(self.connection.deadline, 30)
        self.say(_OK)
        self.assertEqual(exchange.summary, [200, b"ok", "done"])
