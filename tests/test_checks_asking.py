"""
Tests for L{mdproxy.checks.asking}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site

from mdproxy.checks.asking import LONGEST, Asking
from mdproxy.checks.certificates import read_chain, validity_of
from mdproxy.checks.secret import bogus
from mdproxy.devnova import DevNova
from mdproxy.http.client import (
    Patience,
    UpstreamBroken,
    UpstreamTimedOut,
    UpstreamTlsFailed,
    UpstreamUnavailable,
)
from mdproxy.pool import make_connector
from mdproxy.signing import Signer
from mdproxy.sweep import Sweep
from mdproxy.tls import client_tls
from mdproxy.upstream import Endpoint
from tests.lab import certs
from tests.pooling import Attempt, Nova
from tests.test_fetch import number_of

SIGNER = Signer(b"s3cret")
WHERE = Endpoint("a", 8775)


class AskingTests(SynchronousTestCase):
    """
    Tests for L{Asking}.
    """

    def setUp(self) -> None:
        """
        Ask a Nova that waits.
        """
        self.nova = Nova()
        self.asking = Asking(
            bogus(SIGNER),
            self.nova.connect,
            self.nova.clock,
            self.nova.sweep,
            Patience(connect=3, first_byte=10),
        )

    def begin(self) -> Deferred[None]:
        """
        Begin to ask.
        """
        return self.asking.begin(WHERE)

    @property
    def attempt(self) -> Attempt:
        """
        The connection.
        """
        (attempt,) = self.nova.attempts
        return attempt

    def expect_nothing_left(self) -> None:
        """
        See that neither timers nor connections are left.
        """
        self.assertEqual(self.nova.clock.getDelayedCalls(), [])
        self.attempt.wire.settle()
        self.assertFalse(self.attempt.is_open)

    def test_an_answer(self) -> None:
        """
        The question goes out on a connection of its own, which is closed when the
        answer is complete; the pool knows nothing of it.
        """
        asking = self.begin()
        self.assertNoResult(asking)
        self.assertEqual(self.nova.arrived("a"), 1)
        self.attempt.say(b"HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\n")
        self.assertNoResult(asking)
        self.attempt.say(b"no")
        self.successResultOf(asking)
        self.assertEqual(self.asking.fetch.status, 404)
        self.assertEqual(self.nova.pool.describe()["requests"], 0)
        self.expect_nothing_left()

    def test_a_connection_that_is_not_kept(self) -> None:
        """
        An answer that ends with its connection is as good.
        """
        asking = self.begin()
        self.attempt.say(b"HTTP/1.0 403 X\r\n\r\nno")
        self.attempt.lose(ConnectionDone())
        self.successResultOf(asking)
        self.assertEqual(self.asking.fetch.status, 403)
        self.assertEqual(self.asking.fetch.beginning, b"no")
        self.expect_nothing_left()

    def test_nobody_there(self) -> None:
        """
        A connection that is refused is a failure, and not tried again.
        """
        self.nova.refusing.add("a")
        failure = self.failureResultOf(self.begin(), UpstreamUnavailable)
        self.assertIn("ConnectionRefusedError", str(failure.value))
        self.expect_nothing_left()

    def test_no_connection_in_time(self) -> None:
        """
        A connection that does not come is given up like one of the pool's.
        """
        self.nova.accepting = False
        asking = self.begin()
        self.nova.wait(3)
        self.failureResultOf(asking, UpstreamUnavailable)
        self.assertEqual(self.nova.clock.getDelayedCalls(), [])
        # It comes after all.
        self.attempt.accept()
        self.expect_nothing_left()

    def test_broken_answers(self) -> None:
        """
        What is no HTTP is a failure.
        """
        asking = self.begin()
        self.attempt.say(b"SSH-2.0-OpenSSH\r\n")
        self.failureResultOf(asking, UpstreamBroken)
        self.expect_nothing_left()

    def test_an_answer_without_an_end(self) -> None:
        """
        Of an answer no more is read than says what it means.
        """
        asking = self.begin()
        self.attempt.say(b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.attempt.say(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        self.assertNoResult(asking)
        self.attempt.say(b"1\r\nx\r\n" * 1000)
        self.successResultOf(asking)
        self.assertEqual(self.asking.fetch.status, 404)
        self.expect_nothing_left()

    def test_an_answer_that_trickles(self) -> None:
        """
        Whoever sends without end is given up after a while.
        """
        asking = self.begin()
        self.attempt.say(b"HTTP/1.1 404 X\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(int(LONGEST)):
            self.assertNoResult(asking)
            self.attempt.say(b"x" * 100)
            self.nova.wait(1)
        self.failureResultOf(asking, UpstreamTimedOut)
        self.expect_nothing_left()

    def test_given_up(self) -> None:
        """
        A question can be given up at any time.
        """
        asking = self.begin()
        self.asking.give_up()
        self.failureResultOf(asking, UpstreamTimedOut)
        self.asking.give_up()
        self.expect_nothing_left()


class TlsTests(TestCase):
    """
    Tests for L{Asking} on real TLS.
    """

    async def ask(self, ca: Path, pair: certs.KeyPair) -> Asking:
        """
        Ask a Nova that shows a certificate.
        """
        endpoint = serverFromString(
            global_reactor,
            f"ssl:0:interface=127.0.0.1:privateKey={pair.key}:"
            f"certKey={pair.certificate}",
        )
        port = await endpoint.listen(Site(DevNova([], b"s3cret")))
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        reactor: Any = global_reactor
        sweep = Sweep(reactor)
        asking = Asking(
            bogus(SIGNER), make_connector(reactor), reactor, sweep, Patience()
        )
        tls = client_tls("localhost", str(ca), None, None, False)
        self.asking = asking
        await asking.begin(Endpoint("127.0.0.1", number_of(port), tls))
        return asking

    async def test_the_certificate_is_seen(self) -> None:
        """
        When Nova's certificate ends is learnt from the handshake; one that has ended
        already is refused, with the reason.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        made = certs.make(directory)
        asking = await self.ask(made.ca, made.server)
        self.assertEqual(asking.fetch.status, 404)
        (certificate,) = read_chain(made.server.certificate.read_bytes())
        self.assertEqual(asking.validity, validity_of(certificate))
        with self.assertRaises(UpstreamTlsFailed) as caught:
            await self.ask(made.ca, made.expired)
        self.assertIn("expired", str(caught.exception))
        self.assertIsNone(self.asking.validity)
