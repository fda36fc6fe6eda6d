"""
Tests for L{mdproxy.introspection.live}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.introspection.api import make_api
from mdproxy.introspection.guard import Guard
from mdproxy.introspection.live import BURST, MOST, POLL
from mdproxy.introspection.site import make_site
from tests.operated import A, B, Host, a_port
from tests.visiting import Line, Said

LIVE = "/api/v1/transactions/live"


class LiveTests(SynchronousTestCase):
    """
    Tests for L{Live} and L{Tail}.
    """

    def setUp(self) -> None:
        """
        Have a host with an instance, and the site.
        """
        self.host = Host()
        self.host.know(a_port())
        self.host.see(A)
        self.site = make_site(
            {
                frozenset({b"api", b"livez", b"readyz"}): lambda: make_api(
                    self.host.parts, self.host.view
                )
            },
            Guard(),
            self.host.clock,
        )

    def listen(self, query: str = "", last: str | None = None) -> Line:
        """
        Begin to listen.

        @param last: The id of the last event that was heard.
        """
        line = Line.to(self.site)
        more = "" if last is None else f"Last-Event-ID: {last}\r\n"
        head = f"GET {LIVE}{query} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"
        line.protocol.dataReceived(head.encode("latin-1", "replace"))
        return line

    def text(self, line: Line) -> str:
        """
        Take what was written since the last time, without the framing.
        """
        data = line.transport.value()
        line.transport.clear()
        body = data.partition(b"\r\n\r\n")[2]
        if not data.startswith(b"HTTP/"):
            body = data
        text = b""
        while body:
            size, _line, rest = body.partition(b"\r\n")
            text += rest[: int(size, 16)]
            body = rest[int(size, 16) + 2 :]
        return text.decode()

    def numbers(self, line: Line) -> list[int]:
        """
        Tell the numbers of the transactions that were written since the last time.
        """
        return [
            json.loads(row.removeprefix("data: "))["number"]
            for row in self.text(line).split("\n")
            if row.startswith('data: {"')
        ]

    def pass_time(self, polls: int = 1) -> None:
        """
        Let time pass.
        """
        self.host.clock.pump([POLL] * polls)

    def test_begins(self) -> None:
        """
        The answer begins at once, as a stream of events that nobody keeps; what was
        before is not told.
        """
        self.host.ask()
        line = self.listen()
        said = Said.read(line.transport.value())
        self.assertEqual(said.status, 200)
        self.assertEqual(said.fields[b"content-type"], b"text/event-stream")
        self.assertEqual(said.fields[b"cache-control"], b"no-store")
        self.assertEqual(self.text(line), "retry: 2000\n\n")
        self.pass_time(3)
        self.assertEqual(self.text(line), "")

    def test_event(self) -> None:
        """
        An event is named after the request, and is the transaction as JSON in a line.
        """
        line = self.listen()
        self.text(line)
        self.host.ask(target=b"/a\nb\r\n\xff")
        self.pass_time()
        name, kind, data, *rest = self.text(line).split("\n")
        (words,) = self.host.view.transactions()["items"]
        self.assertEqual(name, f"id: {words['request_id']}")
        self.assertEqual(kind, "event: transaction")
        self.assertEqual(json.loads(data.removeprefix("data: ")), words)
        self.assertEqual(rest, ["", ""])

    def test_in_order(self) -> None:
        """
        Each is told once, the earliest first.
        """
        line = self.listen()
        for _ in range(3):
            self.host.ask()
        self.pass_time()
        self.assertEqual(self.numbers(line), [1, 2, 3])
        self.host.ask()
        self.pass_time(2)
        self.assertEqual(self.numbers(line), [4])

    def test_filters(self) -> None:
        """
        Everybody is told what he wants and nothing else.
        """
        every, refused, mine = (
            self.listen(query) for query in ("", "?status=404", "?instance=i-a&status=")
        )
        self.host.ask()
        self.host.see(B, "10.0.0.9")
        self.host.ask(B, "10.0.0.9", status=404)
        self.pass_time()
        self.assertEqual(
            [self.numbers(line) for line in (every, refused, mine)], [[1, 2], [2], [1]]
        )

    def test_later(self) -> None:
        """
        Who comes later is told what comes later; the others miss nothing for it.
        """
        first = self.listen()
        self.host.ask()
        second = self.listen()
        self.host.ask()
        self.pass_time()
        self.assertEqual(self.numbers(first), [1, 2])
        self.assertEqual(self.numbers(second), [2])

    def test_resumes(self) -> None:
        """
        Who was cut off is told what he missed, and then goes on.
        """
        for _ in range(4):
            self.host.ask()
        last = self.host.transactions.ids.of(2)
        line = self.listen("?instance=i-a", last)
        self.assertEqual(self.numbers(line), [3, 4])
        self.host.ask()
        self.pass_time()
        self.assertEqual(self.numbers(line), [5])

    def test_resumes_after_a_gap(self) -> None:
        """
        Where his last event was forgotten he is told of all there is, and that
        something is missing; an id of another process or of nobody is none.
        """
        for _ in range(3):
            self.host.ask()
        line = self.listen(last=self.host.transactions.ids.of(77))
        text = self.text(line)
        self.assertEqual(text.count("event: transaction"), 3)
        self.assertEqual(text.count("event: missed"), 1)
        for last in (
            *("req-00000000-0000-0000-0000-000000000002", "", "x", "2" * 500),
            *("\u0664" * 12, "caf\xe9", "-00000000001"),
        ):
            self.assertEqual(self.text(self.listen(last=last)), "retry: 2000\n\n")

    def test_burst(self) -> None:
        """
        Of very many the latest are told, and that there were more.
        """
        line = self.listen()
        for _ in range(BURST + 50):
            self.host.ask()
        self.pass_time()
        text = self.text(line)
        self.assertEqual(text.count("event: transaction"), BURST)
        self.assertEqual(text.count("event: missed"), 1)
        self.assertIn(f'"number": {BURST + 50},', text)
        self.host.ask()
        self.pass_time()
        self.assertNotIn("missed", self.text(line))

    def test_alive(self) -> None:
        """
        Where there is nothing to tell a comment shows every 15 seconds that the
        connection is alive.
        """
        line = self.listen()
        self.text(line)
        self.pass_time(29)
        self.assertEqual(self.text(line), "")
        self.pass_time()
        self.assertEqual(self.text(line), ": alive\n\n")

    def test_slow(self) -> None:
        """
        To who does not read nothing is written; if he reads again he hears that he
        missed something, and if he does not he is dropped.
        """
        line = self.listen()
        producer: Any = line.transport.producer
        producer.pauseProducing()
        self.text(line)
        for _ in range(5):
            self.host.ask()
            self.pass_time()
        self.assertEqual(self.text(line), "")
        producer.resumeProducing()
        self.host.ask()
        self.pass_time()
        text = self.text(line)
        self.assertEqual(text.count("event: missed"), 1)
        self.assertEqual(text.count("event: transaction"), 1)
        producer.pauseProducing()
        self.pass_time(20)
        self.assertTrue(line.is_open)
        self.pass_time()
        self.assertFalse(line.is_open)
        self.assertEqual(self.host.clock.getDelayedCalls(), [])

    def test_nobody(self) -> None:
        """
        While nobody listens nothing is looked at; nor after the last one has gone.
        """
        self.listen().lose()
        self.assertEqual(self.host.clock.getDelayedCalls(), [])
        one, two = self.listen(), self.listen()
        one.lose()
        self.host.ask()
        self.pass_time()
        self.assertEqual(self.numbers(two), [1])
        two.lose()
        self.assertEqual(self.host.clock.getDelayedCalls(), [])

    def test_too_many(self) -> None:
        """
        So many may listen; one more is told to come again, and may when one has gone.
        """
        lines = [self.listen() for _ in range(MOST)]
        said = Said.read(self.listen().transport.value())
        self.assertEqual(said.status, 503)
        self.assertEqual(said.fields[b"retry-after"], b"10")
        self.assertEqual(json.loads(said.body)["error"], "too many listen already")
        lines[3].lose()
        self.assertEqual(Said.read(self.listen().transport.value()).status, 200)

    def test_bad_filters(self) -> None:
        """
        A filter that can't be one is refused by name.
        """
        for query, name in (
            ("?status=x", "status"),
            ("?address=x", "address"),
            ("?limit=5", None),
        ):
            said = Said.read(self.listen(query).transport.value())
            self.assertEqual(said.status, 400)
            self.assertEqual(json.loads(said.body)["parameter"], name)

    def test_head(self) -> None:
        """
        HEAD tells what GET would begin with, and nobody listens then.
        """
        line = Line.to(self.site)
        head = f"HEAD {LIVE} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        said = Said.read(line.say(head.encode()))
        self.assertEqual((said.status, said.body), (200, b""))
        self.assertEqual(said.fields[b"content-type"], b"text/event-stream")

    def test_forgotten(self) -> None:
        """
        If the ring is emptied meanwhile the rest is told.
        """
        self.host.ask()
        line = self.listen()
        self.host.view.clear()
        self.host.ask()
        self.pass_time()
        self.assertEqual(self.numbers(line), [2])
