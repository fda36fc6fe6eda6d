"""
Tests for L{mdproxy.introspection.waking}.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mdproxy.introspection.waking import Waking, thread_of
from tests.secrecy import SecrecyTestCase

PEER = IPv4Address("TCP", "127.0.0.1", 4711)


class Heard(Protocol):
    """
    What a site has for a connection; it notes what it hears.
    """

    def __init__(self, where: object) -> None:
        """
        Have heard nothing.
        """
        self.where = where
        self.heard: list[object] = []

    def connectionMade(self) -> None:
        """
        It begins.
        """
        self.heard.append(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Hear something.
        """
        self.heard.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It is over.
        """
        self.heard.append("lost")


class HeardSite(Factory):
    """
    A site.
    """

    def __init__(self) -> None:
        """
        Have no connections.
        """
        self.channels: list[Heard] = []

    def buildProtocol(self, addr: object) -> Heard:
        """
        Take a connection.
        """
        channel = Heard(addr)
        self.channels.append(channel)
        return channel


class WakingTests(SecrecyTestCase):
    """
    Tests for L{Waking}.
    """

    def setUp(self) -> None:
        """
        Have a site that is made elsewhere.
        """
        super().setUp()
        self.site = HeardSite()
        self.done: list[str] = []
        self.loading: list[Deferred[object]] = []
        self.waking = Waking(self.load, self.make, self.elsewhere)

    def load(self) -> None:
        """
        Import everything.
        """
        self.done.append("loaded")

    def make(self) -> Any:
        """
        Make the site.
        """
        self.done.append("made")
        return self.site

    def elsewhere(self, call: Callable[[], object]) -> Deferred[object]:
        """
        Do something, which is over when it is said so.
        """
        call()
        self.loading.append(Deferred())
        return self.loading[-1]

    def arrive(self) -> tuple[Any, StringTransport]:
        """
        Connect.
        """
        protocol = self.waking.buildProtocol(PEER)
        transport = StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def test_nobody(self) -> None:
        """
        Where nobody comes nothing is imported and nothing made.
        """
        self.assertEqual(self.done, [])

    def test_first(self) -> None:
        """
        Those who come first wait, unread, and then have the site, as if they came now;
        everything is made once.
        """
        arrivals = [self.arrive() for _ in range(3)]
        self.assertEqual(self.done, ["loaded"])
        for protocol, transport in arrivals:
            self.assertEqual(transport.producerState, "paused")
            protocol.dataReceived(b"lost in the air")
        self.loading[0].callback(None)
        self.assertEqual(self.done, ["loaded", "made"])
        for (protocol, transport), channel in zip(
            arrivals, self.site.channels, strict=True
        ):
            self.assertEqual(transport.producerState, "producing")
            protocol.dataReceived(b"hello")
            protocol.connectionLost(Failure(connectionDone.value))
            self.assertEqual(channel.where, PEER)
            self.assertEqual(channel.heard, [transport, b"hello", "lost"])

    def test_later(self) -> None:
        """
        Those who come later are the site's own.
        """
        self.arrive()
        self.loading[0].callback(None)
        protocol, _transport = self.arrive()
        self.assertIs(protocol, self.site.channels[-1])

    def test_gone(self) -> None:
        """
        Who leaves before that is not handed over; the next one waits like the first.
        """
        protocol, _transport = self.arrive()
        protocol.connectionLost(Failure(connectionDone.value))
        self.arrive()
        for loading in self.loading:
            loading.callback(None)
        self.assertEqual(len(self.site.channels), 1)
        self.assertEqual(self.done.count("made"), 1)

    def test_too_many(self) -> None:
        """
        A bounded number waits; the others are sent away.
        """
        transports = [self.arrive()[1] for _ in range(70)]
        left = [transport.disconnecting for transport in transports]
        self.assertEqual(left, [False] * 64 + [True] * 6)
        self.loading[0].callback(None)
        self.assertEqual(len(self.site.channels), 64)

    def test_failed(self) -> None:
        """
        Where the site can't be made that is logged, those who wait are sent away, and
        it is tried again with the next one.
        """
        _protocol, transport = self.arrive()
        self.loading[0].errback(Failure(ImportError("no such module")))
        self.assertTrue(transport.disconnecting)
        self.assertEqual(len(self.flushLoggedErrors(ImportError)), 1)
        self.arrive()
        self.loading[1].callback(None)
        self.assertEqual(len(self.site.channels), 1)


class ThreadTests(TestCase):
    """
    Tests for L{thread_of}.
    """

    async def test_threads(self) -> None:
        """
        A reactor with threads has it done in one; one without does it at once.
        """
        there = await thread_of(reactor)(get_ident)
        self.assertNotEqual(there, get_ident())
        at_once = thread_of(Clock())(get_ident)
        self.assertEqual(self.successResultOf(at_once), get_ident())
