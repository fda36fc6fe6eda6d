"""
Sockets opened in real namespaces, by both openers.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Any

from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.broker import ROUTE, TCP4, TCP6, Rule, Want
from mdproxy.lookup.netlink import links_request, read_messages
from mdproxy.openers import BrokerOpener, InPlaceOpener, Opener, cookie_of
from tests.lab.neutron_host import NeutronHost
from tests.lab.stage import Namespace
from tests.lab.world import METADATA_ADDRESS, METADATA_ADDRESS6, require
from tests.opening import identity

if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object

TAP, QR = "tap0a1b2c3d-4e", "qr-0a1b2c3d-4e"


def own_cookie() -> int | None:
    """
    Tell in which namespace this thread makes sockets.
    """
    with socket.socket() as own:
        return cookie_of(own)


class NamespaceContract(_Case):
    """
    What every opener promises where there are namespaces.
    """

    def make_opener(self, rules: list[Rule]) -> Opener:
        """
        Make an opener.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """
        Make the namespaces of a network and of a router.
        """
        require()
        self.host = NeutronHost()
        self.host.__enter__()
        self.addCleanup(self.host.__exit__, None, None, None)
        self.network = self.make("qdhcp", TAP)
        self.router = self.make("qrouter", QR)
        globs = tuple(self.host.patterns.split(", "))
        self.opener = self.make_opener([Rule("one", globs, 80, 9697)])
        self.opener.start()
        self.addCleanup(self.opener.stop)
        self.assertIsNone(self.opener.problem)

    def make(self, kind: str, device: str) -> Namespace:
        """
        Make a namespace with a device in it.
        """
        namespace = Namespace(f"{kind}-{self.host.network_id(1)}")
        self.host.make(namespace)
        namespace.ip("link", "add", device, "type", "veth", "peer", "other")
        namespace.ip("link", "set", device, "up")
        return namespace

    def open(self, namespace: Namespace, *wanted: Want) -> list[Any]:
        """
        Open sockets, until the test is over.
        """
        which = identity(f"/run/netns/{namespace.name}")
        opened = self.opener.open(namespace.name, which, wanted)
        for each in opened:
            if isinstance(each, socket.socket):
                self.addCleanup(each.close)
        return opened

    def test_network(self) -> None:
        """
        What listens in a network's namespace does so there, at the metadata addresses,
        for one device; and this thread is where it was.
        """
        before = own_cookie()
        wanted = (Want(TCP4, TAP), Want(TCP6, TAP), Want(ROUTE))
        four, six, route = self.open(self.network, *wanted)
        self.assertEqual(own_cookie(), before)
        [cookie] = {cookie_of(each) for each in (four, six, route)}
        self.assertNotIn(cookie, (before, None))
        self.assertEqual(four.getsockname(), (METADATA_ADDRESS, 80))
        self.assertEqual(six.getsockname()[1], 80)
        self.assertTrue(six.getsockname()[0].startswith(METADATA_ADDRESS6))
        for each in (four, six):
            listens = each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            self.assertTrue(listens)
            self.assertEqual(each.getsockopt(socket.IPPROTO_TCP, 27), 2)
            self.assertRaises(BlockingIOError, each.accept)
            self.assertFalse(each.get_inheritable())

    def test_router(self) -> None:
        """
        In a router's namespace it is the router's port, at any address of the device.
        """
        four, six = self.open(self.router, Want(TCP4, QR), Want(TCP6, QR))
        self.assertEqual(four.getsockname(), ("0.0.0.0", 9697))
        self.assertEqual(six.getsockname()[:2], ("::", 9697))
        self.assertNotEqual(cookie_of(four), own_cookie())
        [outside] = self.open(self.router, Want(TCP4, "other"))
        self.assertEqual(outside.errno, errno.EACCES)

    def test_netlink(self) -> None:
        """
        A netlink socket tells of the namespace that it was opened in.
        """
        [route] = self.open(self.network, Want(ROUTE))
        route.send(links_request(1))
        messages = list(read_messages(route.recv(65536)))
        names = {each.link.name for each in messages if each.link is not None}
        self.assertIn(TAP, names)

    def test_each_for_itself(self) -> None:
        """
        What can't be opened is told, and costs the others nothing.
        """
        [first] = self.open(self.network, Want(TCP4, TAP))
        self.assertIsInstance(first, socket.socket)
        wanted = (Want(TCP4, TAP), Want(TCP6, "none"), Want(TCP6, TAP))
        taken, missing, six = self.open(self.network, *wanted)
        self.assertEqual(taken.errno, errno.EADDRINUSE)
        self.assertEqual(missing.errno, errno.ENODEV)
        self.assertIsInstance(six, socket.socket)

    def test_another(self) -> None:
        """
        A namespace is not taken for another that had its name.
        """
        former = identity(f"/run/netns/{self.network.name}")
        [kept] = self.open(self.network, Want(ROUTE))
        self.assertIsInstance(kept, socket.socket)
        self.host.remove(self.network)
        self.make("qdhcp", TAP)
        for which in (former, identity(f"/run/netns/{self.router.name}")):
            try:
                opened: list[Any] = self.opener.open(
                    self.network.name, which, [Want(ROUTE)]
                )
            except OSError as error:
                opened = [error]
            self.assertEqual([each.errno for each in opened], [errno.ESTALE])


class InPlaceOpenerTests(NamespaceContract, SynchronousTestCase):
    """
    Tests for L{InPlaceOpener}.
    """

    def make_opener(self, rules: list[Rule]) -> Opener:
        """
        Provide L{NamespaceContract.make_opener}.
        """
        return InPlaceOpener(rules)


class BrokerOpenerTests(NamespaceContract, SynchronousTestCase):
    """
    Tests for L{BrokerOpener}.
    """

    def make_opener(self, rules: list[Rule]) -> Opener:
        """
        Provide L{NamespaceContract.make_opener}.
        """
        reactor: Any = MemoryReactor()
        return BrokerOpener(rules, reactor)

    def test_read_only(self) -> None:
        """
        With a netlink socket of the broker's nobody can change anything, not even who
        could with one of his own: the kernel wants it of both.
        """
        [route] = self.open(self.network, Want(ROUTE))
        route.send(links_request(1))
        [index] = [
            each.link.ifindex
            for each in read_messages(route.recv(65536))
            if each.link is not None and each.link.name == TAP
        ]
        route.recv(65536)
        # RTM_SETLINK with NLM_F_REQUEST | NLM_F_ACK: take the device down.
        body = struct.pack("=BxHiII", 0, 0, index, 0, 1)
        route.send(struct.pack("=IHHII", 16 + len(body), 19, 5, 2, 0) + body)
        [answer] = read_messages(route.recv(65536))
        self.assertEqual(answer.error, errno.EPERM)
