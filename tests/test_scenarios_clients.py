"""
The fault scenarios A1 to A16: slow, greedy and vanishing instances.

Each test carries the id of its scenario.  In each of them Nova's stand-in sees that
every request has the identity of whoever sent it, and where time goes by another
instance asks once a second and is answered at once, with what is its own.
"""

from __future__ import annotations

from mdproxy.http.front import ChannelBounds
from mdproxy.limits import Rates, Shares
from tests.corpus.cases import load
from tests.corpus.client import Mode
from tests.guests import Guest, GuestsTestCase, Host, answered
from tests.playbook import Wire

_SLOW, _CANARY, _ELSEWHERE = Guest(1), Guest(2), Guest(1, "blue")

_BOUNDS = ChannelBounds(head=10, body=10, idle=75, write=30, pipeline=8)


def _cut(data: bytes, size: int = 1) -> list[bytes]:
    """
    Cut bytes into pieces.
    """
    return [data[at : at + size] for at in range(0, len(data), size)]


class _Scenario(GuestsTestCase):
    """
    A host with an instance that misbehaves, a canary, and a double on another network.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        super().setUp()
        self.host: Host = self.make_host(_SLOW, _CANARY, _ELSEWHERE, bounds=_BOUNDS)
        self.host.canary = _CANARY
        self.wire = self.host.connect(_SLOW)

    def drip(self, pieces: list[bytes], period: float) -> float:
        """
        Send pieces until the connection is closed.

        @param pieces: More of them than will be taken.
        @param period: The time between two.

        @return: When it was closed, counted from the first piece.
        """
        start = self.host.clock.seconds()
        for piece in pieces:
            if self.wire.closed or self.wire.peer_ended:
                return self.host.clock.seconds() - start
            self.host.say(self.wire, piece)
            self.host.wait(period)
        self.fail("it was all taken")

    def asked_by(self, guest: Guest) -> list[str]:
        """
        List what an instance has asked Nova.
        """
        return [
            target
            for target, _identity in self.host.asked
            if target.split("/")[2] == guest.name
        ]


class SlowSenderTests(_Scenario):
    """
    A1 to A4: those who send little by little, or nothing.
    """

    def test_a1_slow_head(self) -> None:
        """
        A1: a head that comes by bytes is given up ten seconds after its first byte.
        """
        closed = self.drip(_cut(_SLOW.get()), 5)
        self.assertEqual(closed, 10)
        self.assertTrue(self.host.hear(self.wire).startswith(b"HTTP/1.1 408 "))
        self.assertEqual(self.asked_by(_SLOW), [])

    def test_a1_slow_head_after_a_good_request(self) -> None:
        """
        A1: so is the head of a later request on a kept connection.
        """
        self.host.say(self.wire, _SLOW.get())
        self.host.wait(60)
        self.assertTrue(self.host.hear(self.wire).endswith(answered(_SLOW.name)))
        closed = self.drip(_cut(_SLOW.get()), 5)
        self.assertEqual(closed, 10)
        self.assertEqual(len(self.asked_by(_SLOW)), 1)

    def test_a2_slow_lines(self) -> None:
        """
        A2: whole lines gain it no time.
        """
        lines = [b"GET / HTTP/1.1\r\n", b"Host: a\r\n", *[b"X-n: v\r\n"] * 20]
        self.assertEqual(self.drip(lines, 5), 10)
        self.assertTrue(self.host.hear(self.wire).startswith(b"HTTP/1.1 408 "))
        self.assertEqual(self.asked_by(_SLOW), [])

    def test_a3_slow_body(self) -> None:
        """
        A3: a body that comes by bytes is given up ten seconds after its head, and Nova
        gets nothing of it, whether its length is told or it comes in chunks.
        """
        for framing, byte in (
            (b"Content-Length: 100", b"x"),
            (b"Transfer-Encoding: chunked", b"1\r\nx\r\n"),
        ):
            self.wire = self.host.connect(_SLOW)
            head = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing
            self.assertEqual(self.drip([head, *[byte] * 50], 5), 10)
            self.assertTrue(self.host.hear(self.wire).startswith(b"HTTP/1.1 408 "))
        self.assertEqual(self.asked_by(_SLOW), [])

    def test_a4_idle(self) -> None:
        """
        A4: a kept connection that is silent is closed after its time, without a byte.
        """
        self.host.say(self.wire, _SLOW.get())
        self.assertTrue(self.host.hear(self.wire).endswith(answered(_SLOW.name)))
        self.host.wait(74)
        self.assertIsNone(self.wire.closed)
        self.host.wait(1.5)
        self.assertEqual(self.wire.closed, "ConnectionDone")
        self.assertEqual(self.wire.seen, b"")


class GreedyTests(GuestsTestCase):
    """
    A5 and A6: those who open many connections.
    """

    def open(self, guest: Guest, count: int) -> list[Wire]:
        """
        Open idle connections.

        @return: Those that were not refused.
        """
        wires = [self.host.connect(guest) for _ in range(count)]
        return [wire for wire in wires if wire.closed != "ConnectionAborted"]

    def evicted(self, wires: list[Wire]) -> list[int]:
        """
        Tell which connections were closed, by their place in the list.
        """
        return [number for number, wire in enumerate(wires) if wire.closed]

    def test_a5_connect_only(self) -> None:
        """
        A5: an instance gets its share of connections, the next are closed at once and
        those it has stay; others are served meanwhile.
        """
        host = self.make_host(_SLOW, _CANARY, _ELSEWHERE)
        host.canary = _CANARY
        held = self.open(_SLOW, 2000)
        self.assertEqual(len(held), 64)
        self.assertEqual(self.evicted(held), [])
        host.wait(3)
        self.assertTrue(host.ask(_ELSEWHERE).endswith(answered(_ELSEWHERE.name)))
        refused = host.front.describe()["refused"]
        self.assertEqual(refused, {"too-many-connections": 2000 - 64})

    def test_a6_flood(self) -> None:
        """
        A6: fifty instances with 64 idle connections each fill all there is, and no
        more; the longest idle make room for the others, who are served.
        """
        flood = [
            Guest(number, net) for net in ("red", "blue") for number in range(100, 125)
        ]
        late = Guest(500, "blue")
        host = self.make_host(*flood, _CANARY, late, connections=Shares(64, 512, 1024))
        for guest in flood:
            self.assertEqual(len(self.open(guest, 64)), 64)
            self.assertLessEqual(host.front.describe()["connections"], 1024)
            host.wait(0.25)
        self.assertEqual(host.front.describe()["connections"], 1024)
        host.canary = _CANARY
        host.wait(5)
        self.assertTrue(host.ask(late).endswith(answered(late.name)))

    def test_a6_oldest_first(self) -> None:
        """
        A6: who has been idle for longest makes room first, counted from its last
        answer.
        """
        others = [Guest(number) for number in range(1, 5)]
        host = self.make_host(*others, _CANARY, connections=Shares(9, 9, 4))
        wires = []
        for guest in others:
            wires.append(host.connect(guest))
            host.wait(1)
        host.say(wires[0], others[0].get())
        host.canary = Guest(2)
        self.assertEqual(self.evicted(wires), [])
        host.connect(Guest(300))
        self.assertEqual(self.evicted(wires), [1])
        host.connect(Guest(301))
        self.assertEqual(self.evicted(wires), [1, 2])
        self.assertEqual(host.front.describe()["refused"], {"idle-made-room": 2})

    def test_a6_requests_stay(self) -> None:
        """
        A6: a connection with a request, or with the beginning of one, or with an answer
        that is not read yet, never makes room; where there is no other the newcomer is
        refused.
        """
        guests = [Guest(number) for number in range(1, 6)]
        host = self.make_host(*guests, connections=Shares(9, 9, 4))
        reading, asking, waiting, unread = (host.connect(one) for one in guests[:4])
        host.say(reading, b"GET / HT")
        unread.stalled = True
        host.say(unread, guests[3].get() * 3000)
        host.nova.deaf_to |= {guests[1].name, guests[2].name}
        host.say(asking, guests[1].get())
        host.say(waiting, guests[2].get() * 2)
        newcomer = host.connect(guests[4])
        self.assertEqual(newcomer.closed, "ConnectionAborted")
        self.assertEqual(self.evicted([reading, asking, waiting, unread]), [])
        host.nova.deaf_to.remove(guests[1].name)
        host.wait(0.25)
        self.assertIsNone(host.connect(guests[4]).closed)
        self.assertEqual(self.evicted([reading, asking, waiting, unread]), [1])

    def test_a6_own_first(self) -> None:
        """
        A6: where all is taken a flood of one instance costs its own idle connections,
        and never one of another that has no more than it.
        """
        host = self.make_host(_SLOW, _CANARY, connections=Shares(9, 9, 8))
        quiet = self.open(_CANARY, 4)
        host.wait(10)
        flood = self.open(_SLOW, 50)
        self.assertEqual(self.evicted(quiet), [])
        self.assertEqual(self.evicted(flood), list(range(46)))
        host.nova.deaf_to.add(_SLOW.name)
        for wire in flood[46:]:
            host.say(wire, _SLOW.get())
        self.assertEqual(self.open(_SLOW, 5), [])
        self.assertEqual(self.evicted(quiet), [])

    def test_a6_unread(self) -> None:
        """
        A6: who made room gets what was written to it, within its time, and counts for
        nothing meanwhile.
        """
        host = self.make_host(
            *[Guest(n) for n in range(1, 4)], connections=Shares(9, 9, 2)
        )
        slow, dead = host.connect(Guest(1)), host.connect(Guest(2))
        for wire, number in ((slow, 1), (dead, 2)):
            wire.stalled = True
            host.say(wire, Guest(number).get())
        for number in (3, 4):
            host.wait(1)
            self.assertIsNone(host.connect(Guest(number)).closed)
        self.assertEqual(self.evicted([slow, dead]), [])
        self.assertEqual(host.front.shares.taken, 2)
        slow.stalled = False
        self.assertTrue(host.hear(slow).endswith(answered("i-red-1")))
        self.assertEqual(slow.closed, "ConnectionDone")
        host.wait(31)
        self.assertEqual(dead.closed, "ConnectionAborted")

    def test_a6_networks(self) -> None:
        """
        A6: no network gets more than half, and what it has makes room for its own; the
        network that has more makes room for one that has less, not the other way round.
        """
        red = [Guest(number) for number in range(20)]
        blue = [Guest(number, "blue") for number in range(20)]
        host = self.make_host(*red, *blue, connections=Shares(4, 4, 6))
        first = [host.connect(guest) for guest in red[:6]]
        self.assertEqual(self.evicted(first), [0, 1])
        second = [host.connect(guest) for guest in blue[:3]]
        self.assertEqual(self.evicted(first), [0, 1, 2])
        self.assertEqual(self.evicted(second), [])
        self.assertEqual(host.front.describe()["connections"], 6)
        third = []
        for guest in red[10:14]:
            host.wait(0.25)
            third.append(host.connect(guest))
        self.assertEqual(self.evicted(second), [])
        self.assertEqual(self.evicted([*first, *third]), [0, 1, 2, 3, 4, 5, 6])


class SlowReaderTests(_Scenario):
    """
    A7 to A9 as far as they need no sockets: those who read slowly or only read.
    """

    def test_a7_never_reads(self) -> None:
        """
        A7: Nova is not read on while an instance does not read; after its time the
        connection is aborted and Nova's is given up.
        """
        self.wire.stalled = True
        self.host.nova.deaf_to.add(_SLOW.name)
        self.host.say(self.wire, _SLOW.get("big"))
        exchange = self.host.nova.begin(length=8 << 20)
        sent = 0
        while exchange not in self.host.nova.paused:
            exchange.body(b"x" * 65536)
            sent += 65536
        self.assertLessEqual(sent, 3 * 65536)
        self.host.wait(29)
        self.assertIsNone(self.wire.closed)
        self.host.wait(1.5)
        self.assertEqual(self.wire.closed, "ConnectionAborted")
        self.assertEqual(self.host.nova.cancelled, [exchange])

    def test_a8_pipeline_unread(self) -> None:
        """
        A8: of five hundred pipelined requests whose answers nobody reads only so many
        are asked as the transport takes answers of; the rest is not even read.
        """
        self.wire.stalled = True
        self.host.nova.deaf_to.add(_SLOW.name)
        requests = _SLOW.get() * 500
        pieces = iter(_cut(requests, 1000))
        while self.wire.reading:
            self.host.say(self.wire, next(pieces))
        self.assertEqual(len(self.asked_by(_SLOW)), 1)
        for _ in range(8):
            if self.host.nova.in_flight:
                self.host.nova.answer(200, b"x" * 30000)
                self.host.clock.advance(0)
        self.assertLessEqual(len(self.asked_by(_SLOW)), 3)
        self.assertFalse(self.wire.reading)
        self.host.wait(31)
        self.assertEqual(self.wire.closed, "ConnectionAborted")
        self.assertLessEqual(len(self.asked_by(_SLOW)), 3)

    def test_a8_pipeline_read_late(self) -> None:
        """
        A8: when it reads they are all answered, in order.
        """
        self.wire.stalled = True
        for number in range(9):
            self.host.say(self.wire, _SLOW.get(f"{number}/" + "y" * 50))
        self.wire.stalled = False
        heard = self.host.hear(self.wire)
        self.assertEqual(heard.count(answered(_SLOW.name)), 9)
        numbers = [target.split("/")[3] for target in self.asked_by(_SLOW)]
        self.assertEqual(numbers, [str(number) for number in range(9)])

    def test_a9_half_close(self) -> None:
        """
        A9: an instance that has sent all it will send gets its whole answers, however
        late Nova gives them.
        """
        self.host.nova.deaf_to.add(_SLOW.name)
        self.host.say(self.wire, _SLOW.get("a") + _SLOW.get("b"))
        self.wire.end_by_peer()
        self.host.wait(20)
        self.host.nova.deaf_to.clear()
        heard = self.host.hear(self.wire)
        self.assertEqual(heard.count(answered(_SLOW.name)), 2)
        self.assertTrue(heard.endswith(answered(_SLOW.name)))
        self.assertEqual(self.wire.closed, "ConnectionDone")


class GoneTests(_Scenario):
    """
    A10 as far as it needs no sockets: those who break off.
    """

    def test_a10_gone_at_any_byte(self) -> None:
        """
        A10: wherever an instance breaks off, Nova's answer is given up and nothing is
        left; what is given up is never answered to somebody else.
        """
        request = _SLOW.get()
        self.host.nova.deaf_to.add(_SLOW.name)
        for sent in range(len(request) + 1):
            wire = self.host.connect(_SLOW)
            self.host.say(wire, request[:sent])
            self.host.leave(wire)
        self.assertEqual(len(self.asked_by(_SLOW)), 1)
        for answered_bytes in range(3):
            wire = self.host.connect(_SLOW)
            self.host.say(wire, request)
            exchange = self.host.nova.begin(length=3)
            if answered_bytes:
                exchange.body(b"x" * answered_bytes)
            self.host.leave(wire)
        self.assertEqual(self.host.nova.in_flight, [])
        self.assertEqual(len(self.host.nova.cancelled), 4)


class RateTests(GuestsTestCase):
    """
    A12: those who ask often.
    """

    def statuses(self, guest: Guest, count: int, pace: float) -> list[bytes]:
        """
        Ask again and again on one connection.

        @param pace: Seconds between two requests.

        @return: The statuses.
        """
        wire = self.host.connect(guest)
        statuses = []
        for _ in range(count):
            self.host.say(wire, guest.get())
            heard = self.host.hear(wire)
            statuses.append(heard[9:12])
            if heard[9:12] == b"429":
                self.assertIn(b"\r\nRetry-After: 1\r\n", heard)
            self.host.clock.advance(pace)
        self.assertIsNone(wire.closed)
        return statuses

    def test_a12_rate(self) -> None:
        """
        A12: who asks 200 times a second is answered as often as its rate allows, and
        told to come back otherwise, on the same connection; nobody else notices.
        """
        host = self.make_host(_SLOW, _CANARY, _ELSEWHERE, rates=Rates(50, 300))
        host.canary = _CANARY
        statuses = self.statuses(_SLOW, 2000, 0.005)
        self.assertEqual(set(statuses), {b"200", b"429"})
        self.assertIn(statuses.count(b"200"), range(798, 803))
        self.assertEqual(len(host.asked), statuses.count(b"200"))
        for other in (_CANARY, _ELSEWHERE):
            self.assertEqual(set(self.statuses(other, 60, 0)), {b"200"})
        host.wait(2)
        self.assertEqual(set(self.statuses(_SLOW, 80, 0)), {b"200"})
        counts = host.proxy.describe()["counts"]
        self.assertEqual(counts["status-429"], statuses.count(b"429"))

    def test_a12_all_addresses_of_an_instance(self) -> None:
        """
        A12: what is counted is the instance, not the connection.
        """
        host = self.make_host(_SLOW, rates=Rates(1, 10))
        statuses = [host.ask(_SLOW)[9:12] for _ in range(12)]
        self.assertEqual(statuses, [b"200"] * 10 + [b"429"] * 2)


class SegmentationTests(GuestsTestCase):
    """
    A13: requests in pieces.
    """

    def verdict(self, raw: bytes, mode: Mode, half_close: bool) -> object:
        """
        Send something.

        @return: What was asked, what was answered, and whether it was closed.
        """
        host = Host([_SLOW])
        wire = host.connect(_SLOW)
        for piece in mode.cut(raw):
            if wire.closed or not wire.reading:
                break
            host.say(wire, piece)
        if half_close and not wire.closed:
            wire.end_by_peer()
        heard = host.hear(wire)
        verdict = (
            [(exchange.request, head) for exchange, head in host.nova.asked],
            # Leave to go on is given where it is waited for.
            heard.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""),
            wire.peer_ended,
        )
        host.leave(wire)
        return verdict

    def test_a13_segmentation(self) -> None:
        """
        A13: every request of the corpus has the same fate whole, token by token and
        byte by byte: the same reaches Nova, the same is answered.
        """
        for case in load():
            whole = self.verdict(case.raw, Mode.WHOLE, case.half_close)
            for mode in (Mode.TOKENS, Mode.BYTES):
                again = self.verdict(case.raw, mode, case.half_close)
                self.assertEqual(again, whole, f"{case.name} {mode.value}")


class ContinueTests(_Scenario):
    """
    A14: those who wait for leave to send.
    """

    def test_a14_continue(self) -> None:
        """
        A14: an instance that expects 100 is told to go on, once; its body reaches Nova
        whole and its answer comes once.
        """
        head = _SLOW.get("password", "Expect: 100-continue", "Content-Length: 6")
        self.host.say(self.wire, head.replace(b"GET", b"POST", 1))
        self.assertEqual(self.host.hear(self.wire), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.asked_by(_SLOW), [])
        for piece in (b"sec", b"ret"):
            self.host.say(self.wire, piece)
            self.host.wait(2)
        heard = self.host.hear(self.wire)
        self.assertTrue(heard.startswith(b"HTTP/1.1 200 OK\r\n"), heard)
        self.assertEqual(heard.count(b"HTTP/1.1"), 1)
        [body] = [
            exchange.request.body
            for exchange, _head in self.host.nova.asked
            if exchange.request.method == b"POST"
        ]
        self.assertEqual(body, b"secret")


class RecordTests(_Scenario):
    """
    A16 as far as it needs no process: what is written down of requests.
    """

    def test_a16_transactions(self) -> None:
        """
        A16: of each request there is one record for the operator, with nothing of its
        fields or body and no more of its target than its beginning.
        """
        self.host.canary = None
        agent = "User-Agent: SECRET" + "x" * 8000
        token = "X-aws-ec2-metadata-token: SECRET"
        for path in ("x%0aEVIL%1b[2J", "y" * 8000):
            self.host.say(self.wire, _SLOW.get(path, agent, token))
            self.assertTrue(self.host.hear(self.wire).startswith(b"HTTP/1.1 200 "))
        self.host.say(self.wire, b"GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n")
        long, short = self.host.proxy.transactions.describe()
        self.assertEqual(short["target"], _SLOW.target("x%0aEVIL%1b[2J"))
        self.assertLessEqual(len(long["target"]), 256)
        for record in (long, short):
            self.assertEqual(record["instance"], _SLOW.name)
            self.assertNotIn("SECRET", str(record))
            self.assertTrue(str(record).isprintable())
