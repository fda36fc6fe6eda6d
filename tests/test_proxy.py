"""
Tests for L{mdproxy.proxy}: what all requests share, and whole conversations on both
fronts, our own channel and a stock C{twisted.web} site.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http.client import HTTPResponse
from io import BytesIO
from math import inf
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve
from twisted.internet.protocol import Protocol
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from mdproxy.exchange import (
    InstanceInDoubt,
    NoSuchInstance,
    OurFault,
    RateExceeded,
    SecretRefused,
)
from mdproxy.http.client import (
    UpstreamBroken,
    UpstreamTimedOut,
    UpstreamTlsFailed,
    UpstreamUnavailable,
)
from mdproxy.http.front import ChannelBounds, Front
from mdproxy.http.server import Channel
from mdproxy.limits import Shares
from mdproxy.model import Caller
from mdproxy.proxy import STATUSES
from mdproxy.sweep import Sweep
from mdproxy.transactions import TARGET
from tests.asking import ProxyTestCase, RecordingReply
from tests.outside import ADDRESS, CALLER, MAC, OTHER_MAC, port_of
from tests.playbook import Wire
from tests.secrecy import BODY

STRANGER = Caller("red", "10.0.0.9", "fa:16:3e:00:00:09")


class StatusesTests(ProxyTestCase):
    """
    Tests for L{STATUSES}, against the table in DESIGN section 8.
    """

    def test_table(self) -> None:
        """
        Each cause has its status, its phrase, and the advice to come back where that
        may help.
        """
        expected: dict[type[Exception], int] = {
            NoSuchInstance: 404,
            InstanceInDoubt: 503,
            SecretRefused: 503,
            RateExceeded: 429,
            UpstreamUnavailable: 503,
            UpstreamTlsFailed: 503,
            UpstreamTimedOut: 504,
            UpstreamBroken: 502,
            OurFault: 500,
        }
        self.assertEqual(STATUSES.keys(), expected.keys())
        for cause, status in expected.items():
            reply = RecordingReply()
            self.proxy.answer_failure(cause(BODY.decode()), reply)
            self.assert_own_answer(reply, status)


class TellTests(ProxyTestCase):
    """
    What the log and the counters say.
    """

    def refuse(self, caller: Caller = STRANGER) -> None:
        """
        Have a caller refused at the end of its hold.
        """
        self.ask(caller=caller)
        self.advance(8.25, 0.25)

    def name_of(self, number: int) -> str:
        """
        Name a request.
        """
        return self.proxy.transactions.ids.of(number)

    def test_refusals(self) -> None:
        """
        A refused caller is logged once a minute, with the evidence; another caller, or
        another reason, has a line of its own.
        """
        self.world.point(STRANGER.mac, "red", STRANGER.address)
        for _ in range(3):
            self.refuse()
        line = (
            "warn",
            "refused 10.0.0.9 (fa:16:3e:00:00:09) on red: unknown (row 7; neighbour "
            f"fa:16:3e:00:00:09; {self.name_of(1)}; 0 more like it)",
        )
        self.assertEqual(self.logged(), [line])
        self.world.point(OTHER_MAC, "red", STRANGER.address)
        self.refuse()
        self.refuse(Caller("red", "10.0.0.8", None))
        self.assertEqual(len(self.logged()), 3)
        self.assertIn("frame-mismatch (row 13; neighbour", self.logged()[1][1])
        self.assertIn("10.0.0.8 (None) on red: no-neighbour", self.logged()[2][1])
        self.world.point(STRANGER.mac, "red", STRANGER.address)
        self.advance(60, 1)
        self.refuse(evolve(STRANGER, since=self.proxy.clock.seconds() + 1))
        again = line[1].replace("0 more", "2 more")
        again = again.replace(self.name_of(1), self.name_of(6))
        self.assertEqual(self.logged()[3][1], again)

    def test_refusals_of_many(self) -> None:
        """
        Whoever makes up one MAC after the other fills no log: of a network there are so
        many lines and then few; another network has its own.
        """
        for number in range(200):
            mac = f"fa:16:3e:01:00:{number:02x}"
            self.ask(caller=Caller("red", f"10.1.0.{number}", mac))
        self.advance(8.25, 0.25)
        self.assertEqual(self.proxy.counts["refused-no-neighbour"], 200)
        self.assertLess(len(self.logged()), 50)
        before = len(self.logged())
        self.refuse(Caller("blue", "10.1.0.1", "fa:16:3e:01:00:01"))
        self.assertEqual(len(self.logged()), before + 1)

    def test_nova_away(self) -> None:
        """
        Why Nova gives no answer is logged once a minute for each cause; a caller that
        is refused is no trouble of Nova's.
        """
        for problem in ("refused", "refused", "unreachable"):
            self.upstream.down = UpstreamUnavailable(problem)
            self.ask()
            self.advance(8)
        self.assertEqual(
            self.logged(),
            [
                ("error", f"no answer from Nova: {problem} ({name}; 0 more like it)")
                for problem, name in (
                    ("refused", self.name_of(1)),
                    ("unreachable", self.name_of(3)),
                )
            ],
        )

    def test_counts(self) -> None:
        """
        What happened is counted, in plain words.
        """
        self.ask()
        self.upstream.answer(503)
        self.advance(0.1)
        self.upstream.answer(200, BODY)
        self.world.know()
        waiting, _reply = self.ask()
        self.ask()
        self.assertEqual(
            self.proxy.describe(),
            {
                "counts": {
                    "asked-again": 1,
                    "held": 2,
                    "requests": 3,
                    "status-200": 1,
                },
                "asking": 0,
                "in_line": 0,
                "pausing": 0,
                "waiting_for_facts": 2,
            },
        )
        waiting.cancel()
        self.advance(8.1)
        counts = self.proxy.describe()["counts"]
        self.assertEqual(
            counts,
            {
                "asked-again": 1,
                "client-gone": 1,
                "held": 2,
                "refused-unknown": 1,
                "requests": 3,
                "status-200": 1,
                "status-404": 1,
            },
        )
        json.dumps(self.proxy.describe())

    def test_transactions(self) -> None:
        """
        What was asked and what came of it is written down once, when it is over; of a
        long target only its beginning is.
        """
        self.ask(b"/openstack/latest/user_data" + b"/" * 8000)
        self.assertEqual(self.proxy.transactions.describe(), [])
        self.advance(0.5)
        self.upstream.answer(200, BODY)
        self.ask(method=b"POST", body=BODY)
        self.upstream.answer(403)
        exchange, _reply = self.ask()
        exchange.cancel()
        self.refuse()
        told = [
            (each["instance"], each["status"], each["outcome"], each["tries"])
            for each in self.proxy.transactions.describe()
        ]
        self.assertEqual(
            told,
            [
                (None, 503, "InstanceInDoubt", 0),
                ("i-1", 0, "client-gone", 1),
                ("i-1", 503, "SecretRefused", 1),
                ("i-1", 200, "relayed", 1),
            ],
        )
        first = self.proxy.transactions.describe()[-1]
        self.assertTrue(first["target"].startswith("/openstack/latest/user_data/"))
        self.assertEqual(len(first["target"]), TARGET)
        self.assertAlmostEqual(first["seconds"], 0.5)
        self.assertAlmostEqual(first["lookup_seconds"], 0.0)
        self.assertAlmostEqual(first["upstream_seconds"], 0.5)

    def test_tallies(self) -> None:
        """
        All requests are counted by the kind of the listener, the status and what came
        of them, refusals by their reason.
        """
        self.ask()
        self.advance(0.5)
        self.upstream.answer(200, BODY)
        self.refuse()
        told = self.proxy.transactions
        kind = "address"
        answers = {(kind, 200, "relayed"): 1, (kind, 503, "InstanceInDoubt"): 1}
        self.assertEqual(told.tally, answers)
        self.assertEqual(told.refusals, {(kind, "no-neighbour"): 1})
        self.assertEqual((told.total.count, told.upstream.count), (2, 1))
        self.assertAlmostEqual(told.upstream.sum, 0.5)

    def test_every_request_has_its_name(self) -> None:
        """
        Nova is told the name of each request, which one that is asked again keeps, and
        the operator finds it by that.
        """
        self.ask()
        self.upstream.fail(UpstreamUnavailable("refused"), sent=False)
        self.advance(1)
        self.upstream.answer(200, BODY)
        self.ask()
        self.upstream.answer(200, BODY)
        names = [
            wire.split(b"Request-Id: ")[1].split()[0].decode("ascii")
            for _exchange, wire in self.upstream.asked
        ]
        second, first = (
            each["request_id"] for each in self.proxy.transactions.describe()
        )
        self.assertEqual(names, [first, first, second])

    def test_steps(self) -> None:
        """
        How the requests of one who is watched go is written down step by step.
        """
        self.ask()[0].cancel()
        self.proxy.steps.watch("i-1", 60)
        self.ask()
        self.upstream.fail(UpstreamUnavailable("refused"), sent=False)
        self.advance(1)
        self.upstream.answer(200, BODY)
        told = [each["step"] for each in self.proxy.steps.describe()["steps"]]
        self.assertEqual(
            told,
            [
                *("asks Nova", "Nova failed", "will ask again"),
                *("asks Nova", "ends"),
            ],
        )

    def test_under_way(self) -> None:
        """
        It tells how many are being asked for and how many pause.
        """
        asked = [self.ask()[0] for _ in range(3)]
        self.upstream.fail(UpstreamUnavailable("refused"), sent=False)
        described = self.proxy.describe()
        self.assertEqual((described["asking"], described["pausing"]), (2, 1))
        for exchange in asked:
            exchange.cancel()

    def test_memory_of_served_ports_is_bounded(self) -> None:
        """
        Only so many ports are remembered as served; the eldest are forgotten.
        """
        ports = [port_of(instance_id=f"i-{number}") for number in range(5000)]
        for port in ports:
            self.proxy.note_served(port)
        since = [self.proxy.since_served(port) for port in ports]
        self.assertEqual(since, [inf] * 904 + [0.0] * 4096)


class SiteWire(Wire):
    """
    A wire with what a Site's protocol uses beside.
    """

    disconnecting = False

    def loseConnection(self) -> None:
        """
        Provide C{ITransport.loseConnection}; Twisted's own transports tell of it.
        """
        self.disconnecting = True
        super().loseConnection()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Provide C{ITransport.writeSequence}.
        """
        self.write(b"".join(data))


if TYPE_CHECKING:
    _Case = ProxyTestCase
else:
    _Case = object


class Conversations(_Case):
    """
    What is said on the wire, whichever front reads and writes it.
    """

    caller: Caller | None = CALLER

    def make_protocol(self) -> Protocol:
        """
        Make the protocol of one accepted connection.
        """
        raise NotImplementedError

    def connect(self) -> Wire:
        """
        Let somebody connect.
        """
        protocol = self.make_protocol()
        wire = SiteWire(protocol)
        protocol.makeConnection(wire)
        wire.settle()
        return wire

    def say(self, wire: Wire, head: bytes, body: bytes = b"") -> None:
        """
        Let the instance send a request: its lines, without the line ends.
        """
        lines = (line.strip() for line in head.strip().split(b"\n"))
        wire.protocol.dataReceived(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        wire.settle()

    def hear(self, wire: Wire, method: str = "GET") -> HTTPResponse:
        """
        Let the instance read one response, by a parser that is not ours.
        """
        wire.settle()
        heard, wire.seen = wire.seen, b""

        class Heard:
            """
            What C{http.client} reads of a socket.
            """

            def makefile(self, mode: str) -> BytesIO:
                """
                Provide what was heard.
                """
                return BytesIO(heard)

        response = HTTPResponse(cast(Any, Heard()), method=method)
        response.begin()
        return response

    def assert_heard(self, wire: Wire, status: int, body: bytes) -> HTTPResponse:
        """
        The instance reads one whole response, and nothing after it.
        """
        response = self.hear(wire)
        source = response.fp
        self.assertEqual((response.status, response.read()), (status, body))
        self.assertEqual(source.closed or source.read(), source.closed or b"")
        return response

    def asked(self) -> tuple[list[bytes], bytes | None]:
        """
        Say what Nova was asked last: head lines and body.
        """
        exchange, wire = self.upstream.asked[-1]
        return wire.split(b"\r\n")[:-1], exchange.request.body

    def test_get(self) -> None:
        """
        A GET is answered with what Nova says, its fields in order and repeated.
        """
        wire = self.connect()
        self.say(
            wire, b"GET /openstack?a=%2F HTTP/1.1\nHost: 169.254.169.254\nAccept: x"
        )
        lines, body = self.asked()
        self.assertEqual(lines[:2], [b"GET /openstack?a=%2F HTTP/1.1", b"accept: x"])
        self.assertIsNone(body)
        fields = (
            (b"Content-Type", b"application/json"),
            (b"Set-Cookie", b"a=1"),
            (b"X-Other", b"x"),
            (b"Set-Cookie", b"b=2"),
            (b"Date", b"Sat, 21 Nov 2026 22:00:00 GMT"),
            (b"Server", b"nova"),
        )
        self.upstream.answer(200, BODY, fields)
        response = self.assert_heard(wire, 200, BODY)
        for name in ("Content-Type", "Date", "Server", "Set-Cookie"):
            self.assertEqual(
                response.headers.get_all(name),
                [v.decode() for n, v in fields if n.decode() == name],
            )
        self.assertEqual(response.headers.get_all("Content-Length"), [str(len(BODY))])

    def test_kept_connection(self) -> None:
        """
        One connection carries many requests, each with its own answer.
        """
        wire = self.connect()
        for number in range(3):
            self.say(wire, b"GET /%d HTTP/1.1\nHost: a" % number)
            self.upstream.answer(200, b"answer %d" % number)
            self.assert_heard(wire, 200, b"answer %d" % number)

    def test_head(self) -> None:
        """
        A HEAD has no body in its answer, be it Nova's or our own; the connection goes
        on right behind it.
        """
        wire = self.connect()
        self.say(wire, b"HEAD /latest/user-data HTTP/1.1\nHost: a")
        self.upstream.begin(200, length=100)
        self.upstream.end(self.upstream.in_flight[0])
        response = self.hear(wire, "HEAD")
        self.assertEqual(response.headers["Content-Length"], "100")
        self.assertEqual(response.read(), b"")
        self.world.know()
        self.say(wire, b"HEAD /latest/user-data HTTP/1.1\nHost: a")
        self.advance(4.1)
        wire.settle()
        self.assertTrue(wire.seen.startswith(b"HTTP/1.1 404 "))
        self.assertTrue(wire.seen.endswith(b"\r\n\r\n"))
        self.assertEqual(self.hear(wire, "HEAD").status, 404)
        self.world.know(port_of())
        self.say(wire, b"GET / HTTP/1.1\nHost: a")
        self.upstream.answer(200, BODY)
        self.assert_heard(wire, 200, BODY)

    def test_post(self) -> None:
        """
        A POST arrives whole, with its length, whatever its octets are.
        """
        octets = bytes(range(256)) * 3
        wire = self.connect()
        self.say(
            wire,
            b"POST /openstack/latest/password HTTP/1.1\nHost: a\nContent-Length: 768",
            octets,
        )
        lines, body = self.asked()
        self.assertEqual(body, octets)
        self.assertEqual(lines[-1], b"Content-Length: 768")
        self.upstream.answer(200, b"")
        self.assert_heard(wire, 200, b"")

    def test_post_in_chunks(self) -> None:
        """
        A POST in chunks arrives without them, with its length.
        """
        wire = self.connect()
        self.say(
            wire,
            b"POST /p HTTP/1.1\nHost: a\nTransfer-Encoding: chunked",
            b"4\r\nwiki\r\n1;x=y\r\n\x00\r\n0\r\n\r\n",
        )
        lines, body = self.asked()
        self.assertEqual(body, b"wiki\x00")
        self.assertEqual(lines[-1], b"Content-Length: 5")
        self.assertNotIn(b"chunked", b"".join(lines))
        self.upstream.answer(200, b"")
        self.assert_heard(wire, 200, b"")

    def test_post_without_body(self) -> None:
        """
        A POST without any body has the length 0, said or not.
        """
        wire = self.connect()
        for said in (b"", b"\nContent-Length: 0"):
            self.say(wire, b"POST /p HTTP/1.1\nHost: a" + said)
            self.assertEqual(self.asked()[0][-1], b"Content-Length: 0")
            self.upstream.answer(200, b"")
            self.assert_heard(wire, 200, b"")

    def test_forms_are_nothing_special(self) -> None:
        """
        The body of a form, well made or not, goes on as it is.
        """
        wire = self.connect()
        for kind in (b"application/x-www-form-urlencoded", b"text/plain"):
            form = b"a=1&b=%zz&c"
            self.say(
                wire,
                b"POST /p HTTP/1.1\nHost: a\nContent-Length: 11\nContent-Type: " + kind,
                form,
            )
            lines, body = self.asked()
            self.assertEqual(body, form)
            self.assertIn(b"content-type: " + kind, lines)
            self.upstream.answer(200, b"")
            self.assert_heard(wire, 200, b"")

    def test_forged(self) -> None:
        """
        Nothing that the instance says of identity reaches Nova.
        """
        wire = self.connect()
        self.say(
            wire,
            b"""GET / HTTP/1.1
            Host: evil
            X-Instance-ID: evil
            x-instance-id: evil
            X_Instance_ID: evil
            X-Tenant-ID: evil
            X-Instance-ID-Signature: evil
            X-Forwarded-For: evil
            X-Forwarded-Host: evil
            Forwarded: for=evil
            X-Metadata-Provider: evil
            X-Metadata-Provider-Signature: evil
            X-Neutron-Network-ID: evil
            X-Openstack-Request-Id: evil""",
        )
        lines, _body = self.asked()
        self.assertNotIn(b"evil", b"".join(lines))
        names = [line.partition(b":")[0] for line in lines[1:]]
        self.assertEqual(
            names,
            [
                b"X-Forwarded-For",
                b"X-Instance-ID",
                b"X-Tenant-ID",
                b"X-Instance-ID-Signature",
                b"X-Openstack-Request-Id",
            ],
        )
        self.upstream.answer(200, BODY)
        self.assert_heard(wire, 200, BODY)

    def test_unknown(self) -> None:
        """
        Whoever is unknown hears 404 after the hold, and 503 with the advice to come
        back where a source is not live; nothing before.
        """
        self.world.know()
        wire = self.connect()
        for problem, status in ((None, 404), ("it is broken", 503)):
            self.world.inventory.problem = problem
            self.say(wire, b"GET /openstack HTTP/1.1\nHost: a")
            self.advance(7.9)
            self.assertEqual(wire.seen, b"")
            self.advance(0.2)
            response = self.hear(wire)
            self.assertEqual(response.status, status)
            again = response.headers["Retry-After"]
            self.assertEqual(again, None if status == 404 else "1")
            self.assertEqual(response.headers.get_all("Content-Type"), ["text/plain"])
        self.assertEqual(self.upstream.asked, [])

    def test_learnt_while_held(self) -> None:
        """
        Whoever becomes known while it is held hears Nova's answer.
        """
        self.world.know()
        wire = self.connect()
        self.say(wire, b"GET /openstack HTTP/1.1\nHost: a")
        self.advance(2)
        self.world.know(port_of())
        self.world.clock.advance(0)
        self.upstream.answer(200, BODY)
        self.assert_heard(wire, 200, BODY)

    def test_stream(self) -> None:
        """
        A large body of unknown length goes on piece by piece and has an end.
        """
        wire = self.connect()
        self.say(wire, b"GET / HTTP/1.1\nHost: a")
        nova = self.upstream.begin(200, length=None)
        nova.body(b"y" * 65_537)
        for piece in (b"\x00\xff", b"0\r\n\r\n", b"x" * 10_000):
            nova.body(piece)
            wire.settle()
            self.assertIn(piece, wire.seen)
        self.upstream.end(nova)
        body = b"y" * 65_537 + b"\x00\xff0\r\n\r\n" + b"x" * 10_000
        response = self.assert_heard(wire, 200, body)
        self.assertIsNone(response.headers["Content-Length"])

    def test_slow_reader(self) -> None:
        """
        While an instance doesn't read, Nova is not read either; then all goes on.
        """
        wire = self.connect()
        self.say(wire, b"GET / HTTP/1.1\nHost: a")
        nova = self.upstream.begin(200, length=200_000)
        wire.stalled = True
        for paused in ([], [nova]):
            nova.body(b"x" * 50_000)
            self.assertEqual(self.upstream.paused, paused)
        wire.stalled = False
        wire.settle()
        self.assertEqual(self.upstream.paused, [])
        nova.body(b"x" * 100_000)
        self.upstream.end(nova)
        self.assert_heard(wire, 200, b"x" * 200_000)

    def test_no_content(self) -> None:
        """
        Answers that have no body by their status have none.
        """
        wire = self.connect()
        for status in (204, 304):
            self.say(wire, b"GET / HTTP/1.1\nHost: a")
            self.upstream.answer(status, phrase=b"Nothing")
            self.assert_heard(wire, status, b"")

    def test_client_gone(self) -> None:
        """
        When the instance leaves, Nova's answer is cancelled; when it leaves while it is
        held nothing is left of it.
        """
        wire = self.connect()
        self.say(wire, b"GET / HTTP/1.1\nHost: a")
        wire.lose(ConnectionResetError())
        wire.settle()
        self.assertEqual(len(self.upstream.cancelled), 1)
        self.assert_nothing_left()
        self.world.know()
        wire = self.connect()
        self.say(wire, b"GET / HTTP/1.1\nHost: a")
        wire.lose(ConnectionResetError())
        wire.settle()
        self.assert_nothing_left()

    def test_broken_off(self) -> None:
        """
        When Nova breaks off in the midst of what has been begun, the instance is cut
        off: it can't take what it got for the whole.
        """
        for length in (200_000, None):
            wire = self.connect()
            self.say(wire, b"GET / HTTP/1.1\nHost: a")
            self.upstream.begin(200, length=length).body(b"half" * 20_000)
            wire.settle()
            self.upstream.fail(UpstreamBroken("cut off"))
            wire.settle()
            self.assertEqual(wire.closed, "ConnectionAborted")
            self.assertEqual(wire.seen.count(b"HTTP/1.1"), 1)
            self.assertFalse(wire.seen.endswith(b"0\r\n\r\n"), wire.seen)

    def test_path_lost(self) -> None:
        """
        When the answer would go to somebody else not one byte of it does.
        """
        wire = self.connect()
        self.say(wire, b"GET / HTTP/1.1\nHost: a")
        self.world.point(OTHER_MAC)
        self.upstream.answer(200, BODY)
        wire.settle()
        self.assertEqual((wire.closed, wire.seen), ("ConnectionAborted", b""))

    def test_bad(self) -> None:
        """
        What is not served is refused, and nothing of it reaches Nova.
        """
        large = b"Content-Length: %d" % 70_000
        for head, status in (
            (b"DELETE / HTTP/1.1\nHost: a", 405),
            (b"GET http://nova/ HTTP/1.1\nHost: a", 400),
            (b"GET /\xff HTTP/1.1\nHost: a", 400),
            (b"OPTIONS / HTTP/1.1\nHost: a", 405),
            (b"POST / HTTP/1.1\nHost: a\n" + large, 413),
            (b"GET / HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2", 400),
            (b"GET / HTTP/1.1\nHost: a\nContent-Length: -1", 400),
        ):
            wire = self.connect()
            self.say(wire, head, b"x" * 70_000 if large in head else b"")
            response = self.hear(wire)
            self.assertEqual(response.status, status, head)
            allowed = "GET, HEAD, POST, PUT" if status == 405 else None
            self.assertEqual(response.headers["Allow"], allowed)
            self.assertEqual(self.upstream.asked, [])

    def test_no_caller(self) -> None:
        """
        A connection whose peer nobody knows is broken without a word.
        """
        self.caller = None
        wire = self.connect()
        if not wire.closed:
            self.say(wire, b"GET / HTTP/1.1\nHost: a")
        self.assertEqual((wire.closed, wire.seen), ("ConnectionAborted", b""))
        self.assertEqual(self.upstream.asked, [])


class ChannelConversationTests(Conversations, ProxyTestCase):
    """
    The conversations on our own front.
    """

    def make_protocol(self) -> Protocol:
        """
        Make a channel.
        """
        clock = self.world.clock
        front = Front(self.proxy, clock, Sweep(clock), ChannelBounds(), Shares(9, 9, 9))
        return Channel(front, lambda _transport: self.caller)


class SiteConversationTests(Conversations, ProxyTestCase):
    """
    The conversations with the resource mounted in a stock site.
    """

    def make_protocol(self) -> Protocol:
        """
        Make what a site makes.
        """
        self.proxy._find_caller = lambda _transport: self.caller
        site = Site(self.proxy, timeout=None, reactor=self.world.clock)
        site.noisy = False
        protocol: Any = site.buildProtocol(None)
        return cast(Protocol, protocol)

    def test_is_a_resource(self) -> None:
        """
        The proxy is a leaf: whatever the path, it answers itself.
        """
        self.assertTrue(verifyObject(IResource, self.proxy))
        child = self.proxy.getChildWithDefault(b"x", cast(Any, None))
        self.assertIs(child, self.proxy)
        self.assertRaises(NotImplementedError, self.proxy.putChild, b"x", self.proxy)

    def test_finds_the_caller_by_the_transport(self) -> None:
        """
        The network and MAC of a Site's connections come from whatever its transport
        shows, as with our own front.
        """
        found = []

        def find(transport: object) -> Caller:
            found.append(transport)
            return Caller("red", ADDRESS, MAC)

        wire = self.connect()
        self.proxy._find_caller = find
        self.say(wire, b"GET / HTTP/1.1\nHost: a")
        self.assertEqual(found, [wire])
        self.upstream.answer()
