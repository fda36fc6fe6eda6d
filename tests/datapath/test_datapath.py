"""
Tests of the data path: what instances get of what Nova says, whatever becomes of the
connections.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from mdproxy.http.client import Patience
from mdproxy.http.front import ChannelBounds
from mdproxy.nova_config import TlsFiles
from mdproxy.upstream import Extent
from tests.datapath.scene import (
    Asked,
    DataPathCase,
    OwnFault,
    answer,
    body_of,
)
from tests.lab.certs import Certificates, make
from tests.test_tls import _server_tls

#: An answer to nobody.
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

#: More than all kernels on the way keep, by far.
_BIG = 24 << 20
#: More than the proxy keeps to begin with.
_MIDDLE = 1 << 20


def hold(asked: Asked) -> None:
    """
    Say nothing.
    """


def reset(asked: Asked) -> None:
    """
    Reset the connection.
    """
    asked.talk.transport.abortConnection()


def close(asked: Asked) -> None:
    """
    Close the connection in order.
    """
    asked.talk.transport.loseConnection()


def pour(size: int = _BIG) -> Callable[[Asked], object]:
    """
    Answer much, as fast as it is read.
    """
    return lambda asked: asked.talk.pour(body_of(asked.instance, asked.target, size))


def begin(asked: Asked) -> None:
    """
    Begin a large answer, and say no more.
    """
    asked.talk.transport.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (_BIG, b"x" * 100_000)
    )


class ConversationTests(DataPathCase):
    """
    What goes well.
    """

    async def test_kept(self) -> None:
        """
        Requests on one connection are answered one after the other, over one connection
        to Nova.
        """
        self.start()
        guest = await self.guest()
        for number in range(50):
            target = f"/latest/{number}"
            self.assertEqual(await self.ask(target, guest), body_of("i-1", target))
        self.assertEqual(len(self.nova.talks), 1)
        self.assertIsNone(guest.closed)

    async def test_new(self) -> None:
        """
        A request on a connection of its own is answered, and the connection closed in
        order; Nova's is kept.
        """
        self.start()
        for number in range(20):
            guest = await self.guest()
            target = f"/latest/{number}"
            body = await self.ask(target, guest, "Connection: close\r\n")
            self.assertEqual(body, body_of("i-1", target))
            await self.closed(guest)
            self.assertEqual((guest.closed, guest.received), ("ConnectionDone", b""))
        self.assertEqual(len(self.nova.talks), 1)

    async def test_left(self) -> None:
        """
        An instance that leaves after its answer leaves nothing behind.
        """
        self.start()
        for _ in range(20):
            guest = await self.guest()
            await self.ask("/latest", guest)
            guest.transport.loseConnection()
            await self.closed(guest)
        await self.ask("/latest")
        self.assertEqual(len(self.front.channels), 1)

    async def test_many(self) -> None:
        """
        Many instances at once get each its own answers, in its own order.
        """
        self.start()

        async def converse(number: int) -> None:
            guest = await self.guest(number % 9 + 1)
            for turn in range(20):
                target = f"/latest/{number}/{turn}"
                body = await self.ask(target, guest)
                self.assertEqual(body, body_of(f"i-{number % 9 + 1}", target))

        await gatherResults(
            [Deferred.fromCoroutine(converse(number)) for number in range(60)],
            consumeErrors=True,
        )
        self.assertEqual(len(self.nova.asked), 1200)

    async def test_pipelined(self) -> None:
        """
        Requests that come together are answered in order.
        """
        self.start()
        guest = await self.guest()
        targets = [f"/latest/{number}" for number in range(6)]
        guest.send(
            b"".join(
                b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target.encode()
                for target in targets
            )
        )
        for target in targets:
            heard = await self.hear(guest)
            self.assertEqual(heard.body, body_of("i-1", target))

    async def test_in_pieces(self) -> None:
        """
        A request may come byte by byte, each in a segment of its own.
        """
        self.start()
        guest = await self.guest()
        guest.transport.setTcpNoDelay(True)
        for byte in b"GET /latest HTTP/1.1\r\nHost: x\r\n\r\n":
            guest.send(bytes([byte]))
            # One turn for the instance to send, and one for the proxy to read.
            for _ in range(2):
                await self.turn()
        self.assertEqual((await self.hear(guest)).body, body_of("i-1", "/latest"))

    async def turn(self) -> None:
        """
        Let the loop turn once.
        """
        turned: Deferred[None] = Deferred()
        self._waiting.append(turned)
        self.changed()
        await turned

    async def test_post(self) -> None:
        """
        A body goes to Nova whole, and once.
        """
        self.start()
        guest = await self.guest()
        body = b"p" * 5000
        guest.send(
            b"POST /openstack HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
        )
        guest.send(body)
        self.assertEqual((await self.hear(guest)).status, 200)
        self.assertEqual([each.body for each in self.nova.asked], [body])

    async def test_ipv6(self) -> None:
        """
        Both instances and Nova may be at IPv6 addresses.
        """
        self.start(nova="::1", listens="::1")
        guest = await self.guest(to="::1")
        self.assertEqual(await self.ask("/latest", guest), body_of("i-10", "/latest"))

    async def test_named(self) -> None:
        """
        Nova may have a name.
        """
        self.start(named="localhost")
        self.assertEqual(await self.ask("/latest"), body_of("i-1", "/latest"))

    async def test_early(self) -> None:
        """
        What Nova says unasked in the turn in which an instance asks is no answer, in
        whichever order the two come (B11).
        """
        self.start()
        guest, other = await self.guest(1), await self.guest(2)
        for number in range(6):
            target = f"/latest/{number}"
            await self.ask("/warm", guest)
            # Straight into the sockets, so that the next look finds both.
            said = [
                (guest, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()),
                (self.nova.asked[-1].talk, _EVIL),
            ]
            for end, data in reversed(said) if number % 2 else said:
                end.transport.setTcpNoDelay(True)
                end.transport.getHandle().send(data)
            heard = await self.hear(guest)
            self.assertEqual(heard.body, body_of("i-1", target))
            self.assertEqual(await self.ask("/b", other), body_of("i-2", "/b"))


class SlowReaderTests(DataPathCase):
    """
    Who reads slowly is sent no more than is read.
    """

    async def test_large(self) -> None:
        """
        A large answer arrives whole.
        """
        self.start()
        self.nova.does = pour()
        body = await self.ask("/latest")
        self.assertTrue(body == body_of("i-1", "/latest", _BIG))

    async def test_unread(self) -> None:
        """
        Of an answer that is not read Nova can send no more than the kernel keeps, while
        others are served; in the end it arrives whole.
        """
        self.start()
        self.nova.script.append(pour())
        slow, quick = await self.guest(1), await self.guest(2)
        slow.transport.pauseProducing()
        slow.get("/slow")
        await self.until(lambda: self.nova.asked)
        for _ in range(300):
            await self.ask("/quick", quick)
        producer = self.nova.talks[0].producer
        assert producer is not None
        self.assertLess(producer.sent, _BIG // 2)
        slow.transport.resumeProducing()
        heard = await self.hear(slow)
        self.assertTrue(heard.body == body_of("i-1", "/slow", _BIG))
        self.assertTrue(await self.ask("/again", slow))

    async def test_pipelined_unread(self) -> None:
        """
        Who doesn't read the first answer has nothing more asked for it.
        """
        self.start()
        self.nova.script.append(pour())
        slow, quick = await self.guest(1), await self.guest(2)
        slow.transport.pauseProducing()
        for target in ("/first", "/second"):
            slow.get(target)
        for _ in range(300):
            await self.ask("/quick", quick)
        asked = [each.target for each in self.nova.asked if each.instance == "i-1"]
        self.assertEqual(asked, ["/first"])
        slow.transport.resumeProducing()
        self.assertEqual(len((await self.hear(slow)).body), _BIG)
        self.assertEqual((await self.hear(slow)).body, body_of("i-1", "/second"))

    async def test_reader_leaves(self) -> None:
        """
        Who leaves without reading costs Nova's connection alone.
        """
        self.start()
        self.nova.script.append(pour())
        slow = await self.guest()
        slow.transport.pauseProducing()
        slow.get("/slow")
        await self.until(lambda: self.nova.asked)
        slow.transport.abortConnection()
        await self.closed(self.nova.talks[0])
        self.assertEqual(await self.ask("/next"), body_of("i-1", "/next"))


class EndTests(DataPathCase):
    """
    Connections that end, in order or not.
    """

    async def test_half_closed(self) -> None:
        """
        Who sends no more gets the whole answer, and the end of the connection.
        """
        self.start()
        for size in (10, _MIDDLE):
            self.nova.script.append(pour(size))
            guest = await self.guest()
            guest.get("/latest")
            guest.transport.loseWriteConnection()
            await self.closed(guest)
            self.assertEqual(guest.closed, "ConnectionDone")
            self.assertTrue(guest.take().body == body_of("i-1", "/latest", size))

    async def test_half_closed_in_a_request(self) -> None:
        """
        Who sends no more in the middle of a request is told so.
        """
        self.start()
        guest = await self.guest()
        guest.send(b"GET /latest HTTP/1.1\r\nHo")
        guest.transport.loseWriteConnection()
        await self.closed(guest)
        self.assertEqual((guest.closed, guest.take().status), ("ConnectionDone", 400))

    async def test_instance_resets(self) -> None:
        """
        An instance that resets its connection, before or in its answer, costs Nova's
        connection alone; nothing is logged.
        """
        self.start()
        for does in (hold, begin):
            self.nova.script.append(does)
            guest = await self.guest()
            guest.get("/gone")
            await self.until(lambda: not self.nova.script)
            if does is begin:
                await self.received(guest, 1)
            guest.transport.abortConnection()
            await self.closed(self.nova.asked[-1].talk)
            self.assertEqual(await self.ask("/next"), body_of("i-1", "/next"))

    async def test_instance_resets_first(self) -> None:
        """
        An instance that is gone before its answer is written takes nothing with it.
        """
        self.start()
        guests = [await self.guest(number) for number in (1, 2, 3)]
        self.nova.does = hold
        for guest in guests:
            guest.get("/latest")
        await self.until(lambda: len(self.nova.asked) == 3)
        # The reset comes to the proxy in the same turn as Nova's answers, or before.
        guests[1].transport.abortConnection()
        for asked in self.nova.asked:
            answer(asked)
        for number in (0, 2):
            heard = await self.hear(guests[number])
            self.assertEqual(heard.body, body_of(f"i-{number + 1}", "/latest"))
        self.nova.does = answer
        await self.ask("/next", guests[0])

    async def test_nova_resets_before_the_head(self) -> None:
        """
        A request that Nova has not begun to answer is asked again.
        """
        self.start()
        for does in (reset, close):
            self.nova.script.append(does)
            self.assertEqual(await self.ask("/latest"), body_of("i-1", "/latest"))

    async def test_nova_resets_kept_connections(self) -> None:
        """
        A connection that Nova ends between two requests is not used any more.
        """
        self.start()
        guest = await self.guest()
        for lose in ("loseConnection", "abortConnection"):
            await self.ask("/first", guest)
            talk = self.nova.talks[-1]
            getattr(talk.transport, lose)()
            await self.closed(talk)
            self.assertEqual(await self.ask("/then", guest), body_of("i-1", "/then"))
            self.assertIsNot(self.nova.asked[-1].talk, talk)

    async def test_nova_resets_post(self) -> None:
        """
        A POST that Nova may have got is not sent again.
        """
        self.start()
        self.nova.script.append(reset)
        guest = await self.guest()
        guest.send(
            b"POST /openstack HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
        )
        self.assertEqual((await self.hear(guest)).status, 503)
        self.assertEqual(len(self.nova.asked), 1)

    async def test_nova_resets_in_the_body(self) -> None:
        """
        An answer that breaks off is seen to have broken off: the connection is reset.
        """
        self.start()
        for lose in ("loseConnection", "abortConnection"):
            self.nova.script.append(begin)
            guest = await self.guest()
            guest.get("/cut")
            await self.received(guest, 100_000)
            getattr(self.nova.asked[-1].talk.transport, lose)()
            await self.closed(guest)
            self.assertEqual(guest.closed, "ConnectionLost")

    async def test_aborted(self) -> None:
        """
        All that is in flight can be broken at once, on both sides.
        """
        self.start()
        self.nova.script += [hold, begin, pour()]
        guests = [await self.guest(number) for number in (1, 2, 3)]
        for guest in guests:
            guest.transport.pauseProducing()
            guest.get("/latest")
        await self.until(lambda: len(self.nova.asked) == 3)
        self.front.abort()
        for guest in guests:
            guest.transport.resumeProducing()
        talks = [each.talk for each in self.nova.asked]
        await self.closed(*guests, *talks)
        self.assertEqual({each.closed for each in guests}, {"ConnectionLost"})
        self.assertEqual(await self.ask("/next"), body_of("i-1", "/next"))

    async def test_drained(self) -> None:
        """
        What is in flight can be finished while nothing new is served.
        """
        self.start()
        self.nova.does = hold
        busy, idle = await self.guest(1), await self.guest(2)
        busy.get("/last")
        await self.until(lambda: self.nova.asked)
        drained: Deferred[None] = Deferred()
        self.front.drain(lambda: drained.callback(None))
        await self.closed(idle)
        answer(self.nova.asked[0])
        self.assertEqual((await self.hear(busy)).body, body_of("i-1", "/last"))
        await self.closed(busy)
        await drained
        self.assertEqual((idle.closed, busy.closed), ("ConnectionDone",) * 2)

    async def test_fault(self) -> None:
        """
        A fault that shows while a connection is read is logged, and costs that
        connection alone.
        """
        self.start()
        others = [await self.guest(number) for number in (1, 2)]
        faulty = await self.guest(3)
        faulty.get("/fault")
        for other in others:
            other.get("/latest")
        await self.closed(faulty)
        for other in others:
            self.assertEqual((await self.hear(other)).status, 200)
        self.assertEqual(len(self.flushLoggedErrors(OwnFault)), 1)
        self.assertEqual((bytes(faulty.received), len(self.front.channels)), (b"", 2))


class TimeTests(DataPathCase):
    """
    Deadlines, made short.
    """

    bounds = ChannelBounds(head=0.1, idle=0.2)
    patience = 0.2

    async def test_head(self) -> None:
        """
        A head that doesn't end is refused.
        """
        self.start()
        guest = await self.guest()
        guest.send(b"GET /latest HTTP/1.1\r\nHo")
        await self.closed(guest)
        self.assertEqual((guest.closed, guest.take().status), ("ConnectionDone", 408))

    async def test_idle(self) -> None:
        """
        A connection that is not used is closed.
        """
        self.start()
        guest = await self.guest()
        await self.ask("/latest", guest)
        await self.closed(guest)
        self.assertEqual((guest.closed, guest.received), ("ConnectionDone", b""))

    async def test_silent_nova(self) -> None:
        """
        A POST that Nova does not answer is answered in its stead.
        """
        self.start()
        self.nova.does = hold
        guest = await self.guest()
        guest.send(
            b"POST /openstack HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
        )
        self.assertEqual((await self.hear(guest)).status, 504)
        await self.closed(self.nova.asked[0].talk)


class TlsTests(DataPathCase):
    """
    The same over TLS, with certificates on both sides.
    """

    certificates: Certificates

    def setUp(self) -> None:
        """
        Start, with a Nova that demands our certificate.
        """
        super().setUp()
        if not hasattr(type(self), "certificates"):
            directory = Path(self.mktemp())
            directory.mkdir()
            type(self).certificates = make(directory)
        files = self.certificates
        self.start(
            server=_server_tls(files.server, files.ca),
            tls=TlsFiles(
                str(files.ca),
                str(files.client.certificate),
                str(files.client.key),
                False,
            ),
        )

    async def test_kept(self) -> None:
        """
        Requests are answered one after the other, over one connection.
        """
        guest = await self.guest()
        for number in range(20):
            target = f"/latest/{number}"
            self.assertEqual(await self.ask(target, guest), body_of("i-1", target))
        self.assertEqual(len(self.nova.talks), 1)

    async def test_excess(self) -> None:
        """
        What Nova sends behind an answer, in a record of its own, is not what the next
        instance gets, though that waited for just this connection.
        """
        self.pool.renew(self.pool.endpoints, Patience(), Extent(1, 1000))
        held: list[Asked] = []
        self.nova.script.append(held.append)
        first, second = await self.guest(1), await self.guest(2)
        first.get("/a")
        await self.until(lambda: self.nova.asked)
        second.get("/b")
        while not self.pool.describe()["waiting"]:
            await deferLater(reactor, 0, lambda: None)
        # A record holds 16 KiB at most.
        size = 16384 - len(b"HTTP/1.1 200 OK\r\nContent-Length: 16300\r\n\r\n")
        held[0].talk.answer(body_of("i-1", "/a", size))
        held[0].talk.answer(b"of nobody")
        self.assertEqual((await self.hear(first)).body, body_of("i-1", "/a", size))
        self.assertEqual((await self.hear(second)).body, body_of("i-2", "/b"))

    async def test_unread(self) -> None:
        """
        An answer that is not read is not sent by Nova, and arrives whole in the end.
        """
        self.nova.script.append(pour())
        slow, quick = await self.guest(1), await self.guest(2)
        slow.transport.pauseProducing()
        slow.get("/slow")
        await self.until(lambda: self.nova.asked)
        for _ in range(100):
            await self.ask("/quick", quick)
        producer = self.nova.talks[0].producer
        assert producer is not None
        self.assertLess(producer.sent, _BIG // 2)
        slow.transport.resumeProducing()
        heard = await self.hear(slow)
        self.assertTrue(heard.body == body_of("i-1", "/slow", _BIG))

    async def test_post(self) -> None:
        """
        A large body goes to Nova whole.
        """
        guest = await self.guest()
        body = b"p" * 60_000
        guest.send(
            b"POST /openstack HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n%b"
            % body
        )
        self.assertEqual((await self.hear(guest)).status, 200)
        self.assertTrue([each.body for each in self.nova.asked] == [body])

    async def test_nova_resets(self) -> None:
        """
        A request that Nova has not begun to answer is asked again; an answer that
        breaks off is seen to have broken off.
        """
        self.nova.script.append(reset)
        self.assertEqual(await self.ask("/latest"), body_of("i-1", "/latest"))
        for lose in ("loseConnection", "abortConnection"):
            self.nova.script.append(begin)
            guest = await self.guest()
            guest.get("/cut")
            await self.received(guest, 100_000)
            getattr(self.nova.asked[-1].talk.transport, lose)()
            await self.closed(guest)
            self.assertEqual(guest.closed, "ConnectionLost")
