"""
Tests for the judge, the recorder and the client: a suite that can't fail proves
nothing.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.corpus.cases import Case, Expect, load
from tests.corpus.client import Answer, Mode, Outcome, read_answers
from tests.corpus.judge import Observation, Verdict, faults_of, verdict_of
from tests.corpus.recorder import Arrived, Event, Incomplete, Malformed, Recorder
from tests.corpus.runner import Instance, Runner

OWN = Instance().headers()
NAME = ("X-Openstack-Request-Id", "req-01234567-89ab-4cde-8000-000000000001")
CANARY = "/canary/0"


def case(expect: Expect, **details: Any) -> Case:
    """
    Make a case.

    @param expect: What has to become of it.
    @param details: What is not as usual.

    @return: The case.
    """
    usual: dict[str, Any] = {
        "name": "a case",
        "category": "framing",
        "severity": "critical",
        "raw": b"",
        "count": 1,
        "half_close": False,
        "must_close": False,
        "close_always": False,
        "targets": (),
        "body": None,
        "absent": (),
        "statuses": (),
    }
    return Case(expect=expect, **(usual | details))


def arrived(target: str = "/", *more: tuple[str, str], body: bytes = b"") -> Arrived:
    """
    Make a request as a good proxy sends it.

    @param target: Its target.
    @param more: Header fields beside the identity.
    @param body: Its body.

    @return: The request.
    """
    return Arrived("GET", target, (*OWN.items(), NAME, *more), body, ())


def answers(*pairs: tuple[int, str], closed: bool = False) -> Outcome:
    """
    Make what a client sees.

    @param pairs: Status and echoed target of each answer.
    @param closed: Whether the connection ended.

    @return: The outcome.
    """
    return Outcome(
        b"",
        closed,
        [Answer(s, {b"x-echo-target": t.encode()}, t.encode()) for s, t in pairs],
    )


def judge(
    of: Case,
    outcome: Outcome,
    *events: Event,
    late: tuple[Event, ...] = (),
    canary: Outcome | None = None,
) -> Verdict:
    """
    Judge an observation.

    @param of: The case.
    @param outcome: What its client saw.
    @param events: What Nova saw.
    @param late: What Nova saw beside the canary, afterwards.
    @param canary: What the next client saw, if not the right thing.

    @return: The verdict.
    """
    seen = Observation(
        case=of,
        identity=OWN,
        outcome=outcome,
        events=list(events),
        canary=CANARY,
        canary_outcome=canary or answers((200, CANARY)),
        late=[*late, arrived(CANARY)],
    )
    return verdict_of(faults_of(seen))


class JudgeTests(SynchronousTestCase):
    """
    Tests for the rules.
    """

    def test_good(self) -> None:
        """
        A good request that is forwarded, and a bad one that is refused, pass.
        """
        served = judge(case(Expect.FORWARD_ONE), answers((200, "/")), arrived())
        refused = judge(case(Expect.REJECT), answers((400, "")))
        self.assertEqual({served, refused}, {Verdict.PASS})

    def test_identity(self) -> None:
        """
        A request without our identity, with somebody else's, with two, or with a twin
        in underscores is unsafe.
        """
        forged = [
            Arrived("GET", "/", (), b"", ()),
            Arrived("GET", "/", (*(OWN | {"x-tenant-id": "evil"}).items(),), b"", ()),
            arrived("/", ("X-Instance-ID", "evil")),
            arrived("/", ("X_Instance_ID", "evil")),
            arrived("/", ("X-Metadata-Provider", "evil")),
        ]
        verdicts = {
            judge(case(Expect.EITHER), answers((200, "/")), request)
            for request in forged
        }
        self.assertEqual(verdicts, {Verdict.UNSAFE})

    def test_named(self) -> None:
        """
        A request without a name of ours, with two, with one of another form, or with
        one that its sender chose is unsafe.
        """
        name, value = NAME
        named: list[tuple[tuple[str, str], ...]] = [
            (),
            (NAME, NAME),
            ((name.replace("-", "_"), value),),
            ((name, "EVIL"),),
        ]
        sent = [Arrived("GET", "/", (*OWN.items(), *each), b"", ()) for each in named]
        verdicts = {
            judge(case(Expect.EITHER), answers((200, "/")), request) for request in sent
        }
        chosen = case(Expect.EITHER, raw=value.encode())
        verdicts.add(judge(chosen, answers((200, "/")), arrived()))
        self.assertEqual(verdicts, {Verdict.UNSAFE})

    def test_absent(self) -> None:
        """
        A header that must not come through is unsafe in a grave case, lenient else.
        """
        request = arrived("/", ("TE", "trailers"))
        verdicts = [
            judge(
                case(Expect.EITHER, absent=("te",), severity=severity),
                answers((200, "/")),
                request,
            )
            for severity in ("high", "medium")
        ]
        self.assertEqual(verdicts, [Verdict.UNSAFE, Verdict.LENIENT])

    def test_malformed(self) -> None:
        """
        Bytes upstream that are no request are unsafe, also when they come late.
        """
        refused = answers((400, ""))
        self.assertEqual(
            [
                judge(case(Expect.REJECT), refused, Malformed("it")),
                judge(case(Expect.REJECT), refused, late=(Malformed("it"),)),
            ],
            [Verdict.UNSAFE] * 2,
        )

    def test_smuggled(self) -> None:
        """
        A second request upstream, at once or late, does not pass.
        """
        one, served = case(Expect.FORWARD_ONE), answers((200, "/"))
        self.assertEqual(
            [
                judge(one, served, arrived(), arrived("/evil")),
                judge(one, served, arrived(), late=(arrived("/evil"),)),
                judge(case(Expect.REJECT), answers((400, "")), late=(arrived(),)),
            ],
            [Verdict.LENIENT] * 3,
        )

    def test_not_refused(self) -> None:
        """
        A bad request that is forwarded, sent in part, left waiting, answered with
        success or with the wrong error does not pass.
        """
        bad = case(Expect.REJECT, statuses=(400,))
        self.assertEqual(
            [
                judge(bad, answers((400, "")), arrived()),
                judge(bad, answers((400, "")), Incomplete()),
                judge(bad, answers()),
                judge(case(Expect.REJECT), answers((200, ""))),
                judge(bad, answers((503, ""))),
                judge(case(Expect.EITHER), answers()),
            ],
            [Verdict.LENIENT] * 6,
        )

    def test_broken(self) -> None:
        """
        A good request that is refused, altered in its target or not answered is
        broken.
        """
        good = case(Expect.FORWARD_ONE, targets=("/a//b",))
        self.assertEqual(
            [
                judge(good, answers((400, ""))),
                judge(good, answers((200, "/a/b")), arrived("/a/b")),
                judge(good, answers(closed=True), arrived("/a//b")),
            ],
            [Verdict.BROKEN] * 3,
        )

    def test_altered(self) -> None:
        """
        An altered body, requests or answers out of order, our signature in an answer
        are unsafe.
        """
        two = case(Expect.FORWARD_N, count=2, targets=("/1", "/2"))
        leak = Outcome(OWN["x-instance-id-signature"].encode(), True, [])
        self.assertEqual(
            [
                judge(
                    case(Expect.EITHER, body=b"ok"),
                    answers((200, "/")),
                    arrived(body=b"k"),
                ),
                judge(two, answers((200, "/1")), arrived("/2"), arrived("/1")),
                judge(
                    two, answers((200, "/2"), (200, "/1")), arrived("/1"), arrived("/2")
                ),
                judge(case(Expect.REJECT), leak),
            ],
            [Verdict.UNSAFE] * 4,
        )

    def test_kept(self) -> None:
        """
        A connection that is kept behind a framing fault does not pass; a closed one
        does.
        """
        fault = case(Expect.REJECT, must_close=True)
        self.assertEqual(
            [
                judge(fault, answers((400, ""), closed=closed))
                for closed in (False, True)
            ],
            [Verdict.LENIENT, Verdict.PASS],
        )

    def test_canary(self) -> None:
        """
        A next client with somebody else's answer, or none, makes a case unsafe.
        """
        served = case(Expect.EITHER), answers((400, ""))
        wrong = [answers((200, "/evil")), answers((400, "")), answers(closed=True)]
        self.assertEqual(
            {judge(*served, canary=canary) for canary in wrong}, {Verdict.UNSAFE}
        )


class ClientTests(SynchronousTestCase):
    """
    Tests for the client's side.
    """

    def test_cut(self) -> None:
        """
        However a request is cut, the pieces make up the request.
        """
        raws = [one.raw for one in load()]
        for mode in Mode:
            self.assertEqual([b"".join(mode.cut(raw)) for raw in raws], raws)

    def test_answers(self) -> None:
        """
        Answers with a length, in chunks, up to the end, and behind an interim one are
        told apart.
        """
        data = (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ncd\r\n0\r\n\r\n"
            b"HTTP/1.0 400 Bad Request\r\n\r\nef"
        )
        seen = [(answer.status, answer.body) for answer in read_answers(data)]
        self.assertEqual(seen, [(200, b"ab"), (200, b"cd"), (400, b"ef")])

    def test_head(self) -> None:
        """
        The answer to a HEAD has no body, whatever length it tells.
        """
        data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        [answer] = read_answers(data, bodiless=True)
        self.assertEqual(answer.body, b"")


class RecorderTests(SynchronousTestCase):
    """
    Tests for Nova's stand-in, without any proxy before it.
    """

    def setUp(self) -> None:
        """
        Start one.
        """
        self.nova = Recorder()
        self.addCleanup(self.nova.server_close)
        threading.Thread(target=self.nova.serve_forever, daemon=True).start()
        self.addCleanup(self.nova.shutdown)

    def events_of(self, raw: bytes) -> list[Event]:
        """
        Send bytes, and wait until the recorder is done with them.

        @param raw: The bytes.

        @return: What it noted.
        """
        self.nova.events.clear()
        port: int = self.nova.server_address[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        return list(self.nova.events)

    def test_perfect(self) -> None:
        """
        Perfect requests are noted as they are.
        """
        [first, second] = self.events_of(
            b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
            b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\nX: y\r\n\r\n"
        )
        self.assertEqual(
            first,
            Arrived(
                "POST", "/a?b", (("Host", "x"), ("Content-Length", "2")), b"ok", ()
            ),
        )
        assert isinstance(second, Arrived)
        self.assertEqual((second.body, second.trailers), (b"ok", ("X: y",)))

    def test_malformed(self) -> None:
        """
        Whatever some server might read in another way is malformed.
        """
        host = b"Host: x\r\n"
        for raw in (
            b"GET  / HTTP/1.1\r\n" + host + b"\r\n",
            b"GET / HTTP/1.1\n" + host + b"\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
            b"GET / HTTP/1.1\r\n" + host + b" folded\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + host + b"X : y\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + host + b"X: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + host + b"X: a\0b\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + host + b"Content-Length: +1\r\n\r\nx",
            b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 1\r\n" * 2 + b"\r\nx",
            b"GET / HTTP/1.1\r\n"
            + host
            + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + host + b"Transfer-Encoding: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n"
            + host
            + b"Transfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
        ):
            [event] = self.events_of(raw)
            self.assertIsInstance(event, Malformed, raw)

    def test_incomplete(self) -> None:
        """
        A request that ends too early is incomplete.
        """
        for raw in (
            b"GET /",
            b"GET / HTTP/1.1\r\nHost: x\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx",
        ):
            self.assertEqual(self.events_of(raw), [Incomplete()])

    def test_no_proxy(self) -> None:
        """
        No case passes where there is no proxy at all, only Nova's stand-in itself.
        """
        port: int = self.nova.server_address[1]
        runner = Runner(port, self.nova, Mode.WHOLE, Instance())
        cases = [one for one in load() if one.category == "baseline"]
        verdicts = {result.verdict for result in runner.run(cases)}
        self.assertEqual(verdicts, {Verdict.UNSAFE})
