"""
Tests for L{mdproxy.inventory.api}: in memory, and over TLS on loopback.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseFailed
from twisted.web.iweb import IAgent
from twisted.web.server import Site
from zope.interface import implementer

from mdproxy.inventory.api import (
    Api,
    Garbled,
    Refused,
    Silent,
    TooLarge,
    Trouble,
    Unreachable,
    Untrusted,
    make_api,
)
from mdproxy.tls import TlsMisconfigured
from tests.lab import certs
from tests.neutron_stub import (
    MemoryAgent,
    Stub,
    dawdling,
    packed,
    silent,
    torn,
    with_body,
    with_status,
)

reactor: Any = _reactor
URL = "http://neutron:9696/v2.0/ports?network_id=n"


def noted(seen: list[Any], fault: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """
    Make a fault that takes note of requests.
    """

    def noting(request: Any) -> Any:
        seen.append(request)
        return fault(request)

    return noting


@implementer(IAgent)
class _Failing:
    """
    An agent whose connections fail.
    """

    def __init__(self, error: Exception) -> None:
        """
        Take the error.
        """
        self._error = error

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Deferred[Any]:
        """
        Provide C{IAgent.request}.
        """
        failed: Deferred[Any] = Deferred()
        failed.errback(self._error)
        return failed


class ApiTests(SynchronousTestCase):
    """
    Tests for L{Api}, with a server in memory.
    """

    def setUp(self) -> None:
        """
        Make a server.
        """
        self.clock = Clock()
        self.stub = Stub(self.clock)
        self.agent = MemoryAgent(self.stub)
        self.api = Api(self.agent, self.clock, 5.0, most=10_000)

    def ask(self, fault: Callable[[Any], Any]) -> Deferred[Any]:
        """
        Ask a server with a fault.
        """
        self.stub.fault = fault
        return self.api.ask("Neutron", "GET", URL, {"X-Auth-Token": "t"})

    def trouble(self, fault: Callable[[Any], Any], kind: type[Trouble]) -> str:
        """
        Ask a server with a fault, and read what is wrong.
        """
        return str(self.failureResultOf(self.ask(fault), kind).value)

    def test_answer(self) -> None:
        """
        An answer's JSON and token are given; the token shows in no text of it.
        """
        fault = with_body(b'{"ports": []}', X_Subject_Token="t0p")
        answer = self.successResultOf(self.ask(fault))
        self.assertEqual(answer.value, {"ports": []})
        self.assertEqual(answer.token, "t0p")
        self.assertNotIn("t0p", repr(answer))

    def test_request(self) -> None:
        """
        The address goes out as it is written, with our fields, and asks for a plain
        body.
        """
        seen: list[Any] = []
        url = "http://n:9696/v2.0/ports?mac_address=fa:16:3e:00:00:01&fields=binding:x"
        self.stub.fault = noted(seen, with_body(b"{}"))
        asked = self.api.ask("Neutron", "GET", url, {"X-Auth-Token": "t"})
        self.successResultOf(asked)
        [request] = seen
        self.assertEqual(request.uri.decode(), url.removeprefix("http://n:9696"))
        self.assertEqual(request.getHeader("X-Auth-Token"), "t")
        self.assertEqual(request.getHeader("Accept-Encoding"), "identity")
        self.assertIsNone(request.getHeader("Cookie"))

    def test_no_cookie_is_kept(self) -> None:
        """
        A cookie that an answer sets is in no later question.
        """
        cookies: list[object] = []

        def fault(request: Any) -> bytes:
            cookies.append(request.getHeader("Cookie"))
            request.addCookie("a", "b", path="/")
            return b"{}"

        for _ in range(2):
            self.successResultOf(self.ask(fault))
        self.assertEqual(cookies, [None, None])

    def test_statuses(self) -> None:
        """
        A status that is none of success is told, and whether the API is away with it.
        """
        for status, is_away in (
            (204, False),
            (400, False),
            (401, False),
            (403, False),
            (404, False),
            (429, True),
            (500, True),
            (503, True),
        ):
            failure = self.failureResultOf(self.ask(with_status(status)), Refused)
            error = failure.value
            self.assertEqual((error.status, error.is_away), (status, is_away))
            self.assertEqual(str(error), f"Neutron answered with status {status}")
            self.assertEqual(error.kind, f"status-{status}")

    def test_redirects(self) -> None:
        """
        No redirect is followed: a token would go where the answer says.
        """
        for status in (301, 302, 303, 307, 308):
            seen: list[Any] = []
            away = with_status(status, Location="http://elsewhere/v2.0/ports")
            self.trouble(noted(seen, away), Refused)
            self.assertEqual(len(seen), 1)

    def test_rest(self) -> None:
        """
        How long an API wants to be left alone is read where it is a number, up to a
        bound.
        """
        for text, rest in (("7", 7), ("86400", 60), ("soon", 0), ("-1", 0), ("", 0)):
            fault = with_status(503, Retry_After=text)
            failure = self.failureResultOf(self.ask(fault), Refused)
            self.assertEqual(failure.value.rest, rest)

    def test_garbage(self) -> None:
        """
        What is no JSON is none, however it is not.
        """
        for body in (
            b"",
            b"<html>",
            b"\xff\xfe\x00",
            b'{"ports": [',
            b"[" * 9000,
            b"1" * 9000,
        ):
            text = self.trouble(with_body(body), Garbled)
            self.assertEqual(text, "what Neutron answers is no JSON")

    def test_too_large(self) -> None:
        """
        Of an answer that is too large no more is kept than was allowed.
        """
        text = self.trouble(with_body(b" " * 10_001), TooLarge)
        self.assertEqual(text, "an answer is larger than 10000 bytes")
        self.successResultOf(self.ask(with_body(b" " * 9_998 + b"{}")))

    def test_packed(self) -> None:
        """
        A compressed answer is not unpacked.
        """
        self.trouble(packed, Garbled)

    def test_torn(self) -> None:
        """
        Half an answer is none.
        """
        asked = self.ask(torn)
        self.agent.flush()
        self.failureResultOf(asked, Unreachable)

    def test_in_time(self) -> None:
        """
        The head and the whole body must be there in time; then the connection is
        closed.
        """
        for fault in (silent, dawdling):
            asked = self.ask(fault)
            self.clock.advance(4.9)
            self.assertNoResult(asked)
            self.clock.advance(0.1)
            error = self.failureResultOf(asked, Silent).value
            self.assertEqual(str(error), "Neutron did not answer in time")
            self.agent.flush()
            self.assertEqual(self.agent.connections(), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """
        A question that is cancelled leaves nothing.
        """
        for fault in (silent, dawdling):
            asked = self.ask(fault)
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
            self.agent.flush()
            self.assertEqual(self.agent.connections(), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unreachable(self) -> None:
        """
        Where there is no connection the words are ours.
        """
        for error in (
            ConnectionRefusedError("10.0.0.1 secret"),
            ResponseFailed([]),
            RuntimeError("secret"),
        ):
            api = Api(_Failing(error), self.clock, 5.0)
            asked = api.ask("Neutron", "GET", URL, {})
            failure = self.failureResultOf(asked, Unreachable)
            self.assertNotIn("secret", str(failure.value))


class NetworkTests(TestCase):
    """
    Tests for L{make_api}, over TLS on loopback.
    """

    def setUp(self) -> None:
        """
        Serve with a certificate.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        self.files = certs.make(directory)
        self.stub = Stub(reactor, fault=with_body(b'{"ports": []}'))

    def serve(self, pair: certs.KeyPair) -> int:
        """
        Serve with a certificate.

        @return: The port.
        """
        context = DefaultOpenSSLContextFactory(str(pair.key), str(pair.certificate))
        site = Site(self.stub)
        site.displayTracebacks = False
        port = reactor.listenSSL(0, site, context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def api(self, cafile: str, insecure: bool = False) -> Api:
        """
        Make what asks.
        """
        api = make_api(reactor, cafile, insecure, 20.0)
        self.addCleanup(api.close)
        return api

    def ask(self, api: Api, port: int, host: str = "127.0.0.1") -> Deferred[Any]:
        """
        Ask the server.
        """
        return api.ask("Neutron", "GET", f"https://{host}:{port}/v2.0/ports", {})

    async def test_verified(self) -> None:
        """
        Who shows a certificate of our CA for the name or address is asked, and again
        on the same connection.
        """
        port = self.serve(self.files.server)
        api = self.api(str(self.files.ca))
        for host in ("127.0.0.1", "localhost", "localhost"):
            answer = await self.ask(api, port, host)
            self.assertEqual(answer.value, {"ports": []})

    async def test_quiet(self) -> None:
        """
        Connections are not logged.
        """
        port = self.serve(self.files.server)
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await self.ask(self.api(str(self.files.ca)), port)
        ours = [event for event in events if "HTTP11Client" in str(event)]
        self.assertEqual(ours, [])

    async def test_refused(self) -> None:
        """
        Whoever shows another certificate is told nothing: an expired one, one for
        another host, one of another CA.
        """
        for pair in (
            self.files.expired,
            self.files.wrong_name,
            self.files.rogue_server,
        ):
            port = self.serve(pair)
            failing = self.ask(self.api(str(self.files.ca)), port)
            error = await self.assertFailure(failing, Untrusted)
            self.assertEqual(str(error), "the certificate of Neutron was refused")
        port = self.serve(self.files.server)
        await self.assertFailure(self.ask(self.api(""), port), Untrusted)
        self.assertEqual(self.stub.asked, [])

    async def test_insecure(self) -> None:
        """
        Only where the operator said so any certificate will do.
        """
        port = self.serve(self.files.rogue_server)
        answer = await self.ask(self.api("", insecure=True), port)
        self.assertEqual(answer.value, {"ports": []})

    async def test_no_proxy(self) -> None:
        """
        The environment's proxies are not used.
        """
        port = self.serve(self.files.server)
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            self.patch(os, "environ", {**os.environ, name: "http://127.0.0.1:1/"})
        answer = await self.ask(self.api(str(self.files.ca)), port)
        self.assertEqual(answer.value, {"ports": []})

    async def test_nobody_there(self) -> None:
        """
        Where nobody listens that is told.
        """
        port = reactor.listenTCP(0, Site(self.stub), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        failing = self.ask(self.api(str(self.files.ca)), number)
        error = await self.assertFailure(failing, Unreachable)
        self.assertEqual(str(error), "Neutron can't be reached")

    def test_bad_file(self) -> None:
        """
        A file of certificates that can't be used is told of at once.
        """
        empty = self.mktemp()
        with open(empty, "w") as file:
            file.write("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
        for path in ("/nonexistent", empty, os.devnull):
            error = self.assertRaises(
                TlsMisconfigured, make_api, reactor, path, False, 1.0
            )
            self.assertIn(path, str(error))
