"""
Tests for L{mdproxy.http.transports} on UNIX sockets: the same promises.
"""

from __future__ import annotations

import socket

from twisted.internet import unix

from mdproxy.http.transports import serve_at_once
from tests import test_http_transports as contract
from tests.turning import Noting, settle


class UnixTransportTests(contract.TransportTests):
    """
    What any transport promises, on a UNIX socket.
    """

    def _accept(self, protocol: Noting) -> None:
        """
        Be the server.
        """
        self.peer, ours = socket.socketpair()
        ours.setblocking(False)
        serve_at_once(ours, protocol, self.reactor)

    def test_abort(self) -> None:
        """
        A connection that is broken ends without what was not sent; on a UNIX socket the
        other side is told no more than that.
        """
        protocol = Noting()
        transport = self.connect(protocol)
        transport.write(contract.MUCH)
        self.reactor.runUntilCurrent()
        transport.abortConnection()
        self.assertEqual(protocol.told, ["made"])
        self.hear(protocol, 2)
        self.assertEqual(protocol.told[1:], ["ConnectionAborted"])
        self.assertLess(len(self.read_all(len(contract.MUCH))), len(contract.MUCH))

    def test_nothing_after_abort(self) -> None:
        """
        What is written after that is not sent.
        """
        transport = self.connect(Noting())
        transport.abortConnection()
        transport.write(b"late")
        settle(self.reactor)
        self.assertEqual(self.peer.recv(1), b"")


class SentTests(contract.TransportCase):
    """
    When the kernel has been given what was written.
    """

    def setUp(self) -> None:
        """
        Connect.
        """
        super().setUp()
        self.peer, self.ours = socket.socketpair()
        self.addCleanup(self.peer.close)
        self.ours.setblocking(False)
        self.protocol = Noting()
        serve_at_once(self.ours, self.protocol, self.reactor)
        self.transport = self.protocol.transport

    def test_is_sent(self) -> None:
        """
        It has at the end of the turn; not before, for what waits can be dropped.
        """
        self.assertTrue(self.transport.is_sent)
        self.transport.write(b"data")
        self.assertFalse(self.transport.is_sent)
        self.reactor.runUntilCurrent()
        self.assertTrue(self.transport.is_sent)
        self.assertEqual(self.peer.recv(9), b"data")

    def test_is_not_sent(self) -> None:
        """
        It has not where the socket takes no more.
        """
        self.transport.write(contract.MUCH)
        settle(self.reactor)
        self.assertFalse(self.transport.is_sent)
        self.assertEqual(len(self.read_all(len(contract.MUCH))), len(contract.MUCH))
        settle(self.reactor)
        self.assertTrue(self.transport.is_sent)

    def test_aborted(self) -> None:
        """
        What waits when a connection is broken is never sent.
        """
        self.transport.write(b"data")
        self.transport.abortConnection()
        settle(self.reactor)
        self.assertEqual(self.peer.recv(9), b"")

    def test_name(self) -> None:
        """
        It is called something in logs.
        """
        self.assertIsInstance(self.transport, unix.Server)
        self.assertEqual(repr(self.transport), "<Noting on a UNIX socket>")
