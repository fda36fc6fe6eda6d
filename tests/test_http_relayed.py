"""
Tests for L{mdproxy.http.relayed}: conversations with a haproxy.
"""

from __future__ import annotations

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.agent_headers import Forwarded
from mdproxy.http.front import ChannelBounds
from mdproxy.http.parsing import RequestBounds
from mdproxy.http.relayed import RelayedChannel
from mdproxy.limits import Seat, Shares
from mdproxy.model import Caller
from tests.playbook import Asked, Playbook, Wire

NETWORK = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
LINK = f"qdhcp-{NETWORK}/tap0"
PROCESS = Caller("the socket", "process 12", None)
RED, BLUE = "10.0.0.5", "10.0.0.6"
_BOUNDS = ChannelBounds(RequestBounds(1000, 1000), pipeline=4)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def asking(address: str, target: bytes = b"/", method: bytes = b"GET") -> bytes:
    """
    Write a request as haproxy passes it on.
    """
    return (
        b"%b %b HTTP/1.1\r\nhost: 169.254.169.254\r\nx-neutron-network-id: %b\r\n"
        b"x-forwarded-for: %b\r\n\r\n"
    ) % (method, target, NETWORK.encode(), address.encode())


@define
class Callers:
    """
    Who is known by what haproxy wrote.

    @ivar macs: The MACs of addresses.
    @ivar unbroken: How many connections live on though they should not.
    @ivar processes: Whom all that came from.
    """

    macs: dict[str, str] = field(
        factory=lambda: {RED: "02:00:00:00:00:05", BLUE: "02:00:00:00:00:06"}
    )
    unbroken: int = 0
    processes: set[Seat] = field(factory=set)

    def find(self, forwarded: Forwarded, process: Seat) -> Caller:
        """
        Provide C{Callers.find}.
        """
        self.processes.add(process)
        mac = self.macs.get(forwarded.address)
        if mac is None:
            return Caller(
                forwarded.place,
                forwarded.address,
                None,
                seek=lambda: self.find(forwarded, process),
            )
        return Caller(LINK, forwarded.address, mac, probed=True)

    def note_unbroken(self, process: Seat) -> None:
        """
        Provide C{Callers.note_unbroken}.
        """
        self.processes.add(process)
        self.unbroken += 1


class _Conversation(SynchronousTestCase):
    """
    A front, and connections of a haproxy.
    """

    def setUp(self) -> None:
        """
        Connect once.
        """
        self.book = Playbook(_BOUNDS, Shares(2, 9, 9))
        self.front = self.book.front
        self.callers = Callers()
        self.connections = Shares(4)
        self.process: Caller | None = PROCESS
        self.wire = self.connect()

    def connect(self) -> Wire:
        """
        Let haproxy connect.
        """
        process = self.process
        channel = RelayedChannel(
            self.front, lambda _transport: process, self.callers, self.connections
        )
        wire = Wire(channel)
        self.book.wires.append(wire)
        channel.makeConnection(wire)
        wire.settle()
        return wire

    def say(self, data: bytes, wire: Wire | None = None) -> None:
        """
        Let haproxy send.
        """
        self.book.say(wire or self.wire, data)

    def hear(self, wire: Wire | None = None) -> bytes:
        """
        Let haproxy read.
        """
        return self.book.hear(wire or self.wire)

    def turn(self, address: str, network: str = LINK) -> None:
        """
        Let a neighbour entry be turned.
        """
        self.front.path_changed(network, address)
        for wire in self.book.wires:
            wire.settle()

    def asked(self) -> list[tuple[str, bytes]]:
        """
        List who asked what.
        """
        return [(a.caller.address, a.request.target) for a in self.book.script.asked]

    @property
    def latest(self) -> Asked:
        """
        What was asked last.
        """
        return self.book.script.asked[-1]

    def assert_nothing_left(self) -> None:
        """
        Of connections that are gone nothing is remembered.
        """
        self.assertEqual(self.front.shares.taken, 0)
        self.assertEqual(self.front._by_seat, {})
        self.assertEqual(len(self.front.channels), self.connections.taken)

    def assert_cut_short(
        self, status: int, data: bytes | None = None, wire: Wire | None = None
    ) -> None:
        """
        Haproxy reads an answer that ends before its length, and the end.
        """
        wire = wire or self.wire
        head, _, body = (data or self.hear(wire)).partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 %d " % status), head)
        [length] = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        self.assertLess(len(body), length)
        self.assertTrue(wire.peer_ended)


class PerRequestTests(_Conversation):
    """
    Many instances on one connection.
    """

    def test_each_is_its_own(self) -> None:
        """
        Each request is its own instance's, whoever asked before it on the connection.
        """
        for number in range(6):
            self.say(asking((RED, BLUE)[number % 2], b"/%d" % number))
            self.latest.answer()
            self.assertEqual(self.hear(), _OK)
        self.assertEqual(
            self.asked(), [((RED, BLUE)[n % 2], b"/%d" % n) for n in range(6)]
        )
        self.assertEqual({a.caller.network for a in self.book.script.asked}, {LINK})
        self.assertEqual(self.callers.processes, {PROCESS.holder})

    def test_pipelined(self) -> None:
        """
        So it is with requests that wait for each other.
        """
        self.say(asking(RED) + asking(BLUE) + asking(RED))
        for address in (RED, BLUE, RED):
            self.assertEqual(self.latest.caller.address, address)
            self.latest.answer()
        self.assertEqual(self.hear(), _OK * 3)

    def test_answered_at_once(self) -> None:
        """
        And with those that are answered before anybody can look.
        """
        self.book.script.at_once = b"ok"
        self.say(asking(RED) + asking(BLUE))
        self.assertEqual([address for address, _ in self.asked()], [RED, BLUE])
        self.assertEqual(self.hear(), _OK * 2)

    def test_identity_is_not_kept(self) -> None:
        """
        What an address is taken for is looked up each time.
        """
        self.say(asking(RED))
        self.latest.answer()
        self.callers.macs[RED] = "02:00:00:00:00:07"
        self.say(asking(RED))
        self.assertEqual(self.latest.caller.mac, "02:00:00:00:00:07")

    def test_forged(self) -> None:
        """
        A request with two words on who it is is refused; nothing after it is served.
        """
        forged = b"GET / HTTP/1.1\r\nX-Forwarded-For: %b\r\n" % BLUE.encode()
        self.say(asking(RED).replace(b"GET / HTTP/1.1\r\n", forged) + asking(RED))
        self.assert_cut_short(400)
        self.assertEqual(self.asked(), [])
        self.assertEqual(self.front.refused["400"], 1)
        self.assertEqual(self.callers.unbroken, 1)

    def test_malformed(self) -> None:
        """
        So is what is no request at all, or none in time: nobody has looked who asks, so
        the instance's connection is broken; it may be HEAD, which can't be.
        """
        self.say(b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
        self.assert_cut_short(400)
        self.wire = self.connect()
        self.say(asking(RED)[:20])
        self.book.wait(11)
        self.assert_cut_short(408)
        self.assertEqual(self.callers.unbroken, 2)

    def test_too_large(self) -> None:
        """
        What is still being sent after a refusal is thrown away, so that the refusal is
        read.
        """
        head = asking(RED, method=b"POST")[:-2] + b"content-length: 5000\r\n\r\n"
        self.say(head + bytes(100))
        self.assert_cut_short(413)
        self.say(bytes(4900))
        self.assertIsNone(self.wire.closed)

    def test_forged_behind_another(self) -> None:
        """
        It is refused in its turn, when what was asked before it has been answered.
        """
        self.say(asking(RED) + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        self.assertEqual(self.hear(), b"")
        self.latest.answer()
        heard = self.hear()
        self.assertTrue(heard.startswith(_OK))
        self.assert_cut_short(400, heard[len(_OK) :])

    def test_body(self) -> None:
        """
        A body goes with its request.
        """
        head = asking(RED, b"/openstack/2013-04-04/password", b"POST")
        self.say(head[:-2] + b"content-length: 6\r\n\r\nsecr")
        self.assertEqual(self.asked(), [])
        self.say(b"et")
        self.assertEqual(self.latest.request.body, b"secret")


class PlacesTests(_Conversation):
    """
    Who may have how much.
    """

    def test_requests_of_an_instance(self) -> None:
        """
        An instance has as many requests as it might have connections; others have
        theirs.
        """
        wires = [self.wire, self.connect(), self.connect()]
        for wire in wires:
            self.say(asking(RED), wire)
        self.assert_cut_short(503, wire=wires[2])
        self.assertEqual(self.front.refused["too-many-requests"], 1)
        self.wire = self.connect()
        self.say(asking(BLUE))
        self.assertEqual(self.asked()[-1], (BLUE, b"/"))

    def test_come_back(self) -> None:
        """
        One that asks too much at a time is told to come back.
        """
        for wire in (self.wire, self.connect()):
            self.say(asking(RED), wire)
        last = self.connect()
        self.say(asking(RED), last)
        self.assertIn(b"\r\nRetry-After: 1\r\n", self.hear(last))

    def test_given_back(self) -> None:
        """
        A place is free again when the answer is written, or the connection is gone.
        """
        self.say(asking(RED))
        self.assertEqual(self.front.shares.taken, 1)
        self.latest.answer()
        self.assertEqual(self.front.shares.taken, 0)
        self.say(asking(RED))
        self.wire.lose(ConnectionError())
        self.wire.settle()
        self.assertEqual(self.latest.cancelled, 1)
        self.assert_nothing_left()

    def test_connections_of_a_process(self) -> None:
        """
        A process has as many connections as it may, whoever asks on them.
        """
        for _ in range(3):
            self.connect()
        self.assertEqual(self.connect().closed, "ConnectionAborted")
        self.assertEqual(self.front.refused["too-many-connections"], 1)
        self.book.end(self.wire)
        self.assertIsNone(self.connect().closed)

    def test_nobody(self) -> None:
        """
        Of a process that may not ask nothing is read.
        """
        self.process = None
        self.assertEqual(self.connect().closed, "ConnectionAborted")
        self.assertEqual(self.connections.taken, 1)

    def test_idle(self) -> None:
        """
        A connection that nobody uses is closed in the end, and leaves nothing.
        """
        self.say(asking(RED))
        self.latest.answer()
        self.book.wait(80)
        self.assertEqual(self.wire.closed, "ConnectionDone")
        self.assertEqual(self.connections.taken, 0)
        self.assert_nothing_left()

    def test_drained(self) -> None:
        """
        They are waited for when everything stops.
        """
        done: list[bool] = []
        self.say(asking(RED))
        self.front.drain(lambda: done.append(True))
        self.assertEqual(done, [])
        self.latest.answer()
        self.hear()
        self.book.end(self.wire)
        self.assertEqual(done, [True])


class TurnedTests(_Conversation):
    """
    A neighbour entry is turned.
    """

    def test_asking(self) -> None:
        """
        Whose request is being answered gets nothing, and haproxy is made to break its
        connection.
        """
        self.say(asking(RED))
        self.turn(RED)
        self.assertEqual(self.latest.cancelled, 1)
        self.assert_cut_short(503)
        self.book.end(self.wire)
        self.assert_nothing_left()

    def test_other_instance(self) -> None:
        """
        Another instance's answer on the connection goes on.
        """
        self.say(asking(BLUE))
        self.latest.answer()
        self.say(asking(RED))
        self.turn(BLUE)
        self.latest.answer()
        self.assertEqual(self.hear(), _OK * 2)
        self.assertIsNone(self.wire.closed)

    def test_answered(self) -> None:
        """
        An idle connection is not broken for an instance whose answer is haproxy's
        already.
        """
        self.say(asking(RED))
        self.latest.answer()
        self.hear()
        self.turn(RED)
        self.assertIsNone(self.wire.closed)
        self.assertEqual(self.front._by_seat, {})

    def test_answer_not_sent_yet(self) -> None:
        """
        An answer that haproxy has not taken is not sent any more.
        """
        self.wire.stalled = True
        self.say(asking(RED))
        self.latest.answer(b"secret")
        self.turn(RED)
        self.assertNotIn(b"secret", self.wire.seen)
        self.assertEqual(self.wire.closed, "ConnectionAborted")
        self.assert_nothing_left()

    def test_behind_anothers_answer(self) -> None:
        """
        Nor where another's request is being answered behind it: their bytes can't be
        told apart.
        """
        self.wire.stalled = True
        self.say(asking(RED) + asking(BLUE))
        self.latest.answer(b"secret")
        self.assertEqual(self.latest.caller.address, BLUE)
        self.turn(RED)
        self.assertNotIn(b"secret", self.wire.seen)
        self.assertEqual(self.wire.closed, "ConnectionAborted")
        self.assertEqual(self.latest.cancelled, 1)

    def test_in_the_middle(self) -> None:
        """
        An answer that is being written ends where it is.
        """
        self.say(asking(RED))
        self.latest.reply.begin(200, b"OK", b"", 100)
        self.latest.reply.write(b"some of it")
        self.hear()
        self.turn(RED)
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_other_network(self) -> None:
        """
        The same address of another network is another's.
        """
        self.say(asking(RED))
        self.turn(RED, "qdhcp-x/tap0")
        self.latest.answer()
        self.assertEqual(self.hear(), _OK)

    def test_head(self) -> None:
        """
        An answer to HEAD can't be cut short: it is noted that haproxy keeps the
        connection.
        """
        self.say(asking(RED, method=b"HEAD"))
        self.turn(RED)
        self.assertEqual(self.hear(), b"")
        self.assertEqual(self.wire.closed, "ConnectionAborted")
        self.assertEqual(self.callers.unbroken, 1)

    def test_found_later(self) -> None:
        """
        One whose place is found while it waits hears of turns there.
        """
        macs, self.callers.macs = self.callers.macs, {}
        self.say(asking(RED))
        seek = self.latest.caller.seek
        assert seek is not None
        self.callers.macs = macs
        self.assertEqual(seek().network, LINK)
        self.turn(RED)
        self.assert_cut_short(503)
        self.book.end(self.wire)
        self.assert_nothing_left()


class MistrustTests(_Conversation):
    """
    An answer to somebody whom nobody knows.
    """

    def test_cut_short(self) -> None:
        """
        It is haproxy's connection with the instance that must not go on; so the answer
        breaks off.
        """
        self.say(asking(RED))
        self.latest.reply.mistrust()
        self.latest.answer(b"Not Found\n", 404)
        self.assert_cut_short(404)
        self.book.end(self.wire)
        self.assert_nothing_left()

    def test_head(self) -> None:
        """
        Of HEAD nothing can break off, which is noted.
        """
        self.say(asking(RED, method=b"HEAD"))
        self.latest.reply.mistrust()
        self.latest.answer(b"Not Found\n", 404)
        self.assertTrue(self.hear().startswith(b"HTTP/1.1 404 "))
        self.assertEqual(self.callers.unbroken, 1)
        self.assertTrue(self.wire.peer_ended)

    def test_next_request(self) -> None:
        """
        On another connection the same instance is heard as ever.
        """
        self.test_cut_short()
        self.wire = self.connect()
        self.say(asking(RED))
        self.latest.answer()
        self.assertEqual(self.hear(), _OK)
