"""
Tests for L{mdproxy.introspection.status}.
"""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from mdproxy.introspection.status import (
    Status,
    introspection,
)
from tests.secrecy import SecrecyTestCase


class StatusTests(SecrecyTestCase):
    """
    Tests for L{Status} and the page that shows it.
    """

    def setUp(self) -> None:
        """
        Have two parts, of which one counts how often it was asked.
        """
        super().setUp()
        self.asked = 0
        self.fault: Exception | None = None
        self.site = introspection(
            Status({"counter": self.count, "words": lambda: ["a", "<b>", "\u00e9"]}),
            Clock(),
        )

    def count(self) -> dict[str, int]:
        """
        Describe the first part.
        """
        if self.fault is not None:
            raise self.fault
        self.asked += 1
        return {"asked": self.asked}

    def ask(self, line: bytes) -> tuple[int, dict[str, str], bytes]:
        """
        Ask the site.

        @return: Status, header fields by lower-case name, and body.
        """
        transport = StringTransport()
        self.site.timeOut = None
        protocol: Any = self.site.buildProtocol(cast(Any, None))
        protocol.makeConnection(transport)
        protocol.dataReceived(line + b" HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        head, _empty, body = transport.value().partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = (line.partition(": ") for line in lines)
        return (
            int(first.split()[1]),
            {name.lower(): value for name, _colon, value in fields},
            body,
        )

    def test_json(self) -> None:
        """
        It is JSON of what every part says now, for nobody to keep or to take for
        anything else.
        """
        for number in (1, 2):
            status, fields, body = self.ask(b"GET /status")
            self.assertEqual(status, 200)
            self.assertEqual(
                json.loads(body),
                {"counter": {"asked": number}, "words": ["a", "<b>", "\u00e9"]},
            )
            self.assertEqual(fields["content-type"], "application/json")
            self.assertEqual(fields["cache-control"], "no-store")
            self.assertEqual(fields["x-content-type-options"], "nosniff")

    def test_head(self) -> None:
        """
        HEAD is GET without the body.
        """
        status, fields, body = self.ask(b"HEAD /status")
        self.assertEqual((status, body), (200, b""))
        self.assertEqual(fields["content-type"], "application/json")

    def test_reads_only(self) -> None:
        """
        Any other method is refused, and asks no part.
        """
        for method in (b"POST", b"PUT", b"DELETE", b"PATCH"):
            status, _fields, _body = self.ask(method + b" /status")
            self.assertIn(status, (405, 501), method)
        self.assertEqual(self.asked, 0)

    def test_nothing_else(self) -> None:
        """
        There is no other page.
        """
        for target in (b"/", b"/x", b"/Status", b"/../etc/passwd", b"/status.json"):
            self.assertEqual(self.ask(b"GET " + target)[0], 404, target)
        self.assertEqual(self.asked, 0)

    def test_trouble(self) -> None:
        """
        A part that can't describe itself is our fault, and the page tells nothing of
        how it came about.
        """
        self.fault = RuntimeError("inner workings")
        status, _fields, body = self.ask(b"GET /status")
        self.assertEqual(status, 500)
        self.assertNotIn(b"inner workings", body)
        self.assertNotIn(b"Traceback", body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_no_access_log(self) -> None:
        """
        Reading it leaves no line in the log.
        """
        for _ in range(3):
            self.ask(b"GET /status")
        self.assertEqual([e for e in self.events if not e.get("isError")], [])
