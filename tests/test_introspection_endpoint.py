"""
Tests for L{mdproxy.introspection.endpoint}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from mdproxy.introspection.endpoint import IntrospectionService
from tests.secrecy import SecrecyTestCase


class ServiceTests(SecrecyTestCase):
    """
    Tests for L{IntrospectionService}.
    """

    def setUp(self) -> None:
        """
        Make the service, on a port that may be taken.
        """
        super().setUp()
        self.reactor = MemoryReactorClock()
        self.taken = True
        self.service = IntrospectionService(
            cast(IStreamServerEndpoint, self),
            Factory(),
            self.reactor,
        )

    def listen(self, factory: Any) -> Deferred[IListeningPort]:
        """
        Provide C{IStreamServerEndpoint.listen}.
        """
        if self.taken:
            return fail(CannotListenError("127.0.0.1", 8085, "taken"))
        return succeed(self.reactor.listenTCP(8085, factory, interface="127.0.0.1"))

    def test_taken(self) -> None:
        """
        A port that somebody has is told of once, tried again, and told of when it is
        ours.
        """
        self.service.startService()
        self.reactor.pump([5, 5])
        self.assertEqual(self.reactor.tcpServers, [])
        self.taken = False
        self.reactor.advance(5)
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8085])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        said = [event["log_format"] for event in self.events]
        self.assertEqual(len(said), 2, said)
        self.assertIn("does not listen", said[0])

    def test_stops(self) -> None:
        """
        When it is stopped it neither listens nor tries to, and it may start again.
        """
        for taken in (True, False, True):
            self.taken = taken
            self.service.startService()
            stopped = maybeDeferred(self.service.stopService)
            self.successResultOf(stopped)
            self.assertEqual(self.reactor.getDelayedCalls(), [])
