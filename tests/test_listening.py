"""
Tests for L{mdproxy.listening}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.broker import Rule
from mdproxy.config import AnyListener, ListenerConfig, NamespacesConfig, SocketConfig
from mdproxy.http.front import ChannelBounds, Front
from mdproxy.inherited import Inherited
from mdproxy.limits import Shares
from mdproxy.listeners import IPV4, IPV6, Place
from mdproxy.listening import Maker, make_listening, rules_of
from mdproxy.openers import BrokerOpener, InPlaceOpener, Opening
from mdproxy.sources import make_sources
from mdproxy.sweep import Sweep
from tests.playbook import Script
from tests.test_config import PLAIN

DEVICE = ListenerConfig("a", "device", "br0", None, 80, "net", "mac")
ADDRESS = ListenerConfig("b", "address", None, "127.0.0.1", 81, "b", "address")
NAMESPACES = NamespacesConfig("c", ("qdhcp-*", "qrouter-*"), 80, 9697)


class ListeningTests(SynchronousTestCase):
    """
    Tests for L{make_listening}.
    """

    def make(
        self,
        *configs: AnyListener,
        sheds_root: bool = False,
        inherited: Inherited | None = None,
    ) -> Any:
        """
        Make listeners.
        """
        reactor: Any = MemoryReactorClock()
        front = Front(
            Script(), reactor, Sweep(reactor), ChannelBounds(), Shares(4, 8, 16)
        )
        self.sources = make_sources(PLAIN, reactor)
        maker = Maker(front, self.sources, reactor, sheds_root)
        return make_listening(configs, maker, inherited or Inherited())

    def test_devices_and_addresses(self) -> None:
        """
        A listener on a device has the link-local address of both families there, one
        on an address that address; neither needs anything opened elsewhere.
        """
        listening = self.make(DEVICE, ADDRESS)
        one, other = listening.parts
        self.assertEqual(
            (one.name, one.network, one._identify_by, one._device, one._places),
            (
                "a",
                "net",
                "mac",
                "br0",
                (Place(IPV4, 80, "br0"), Place(IPV6, 80, "br0")),
            ),
        )
        self.assertEqual(
            (other.network, other._identify_by, other._device, other._places),
            ("b", "address", None, (Place("127.0.0.1", 81),)),
        )
        self.assertEqual(list(listening.accepting), [one, other])
        self.assertNotIsInstance(listening.opening, Opening)
        self.assertEqual([d["name"] for d in listening.describe()], ["a", "b"])

    def test_namespaces(self) -> None:
        """
        All that is wanted of namespaces is one part, which has us open sockets there.
        """
        other = NamespacesConfig("d", ("ovnmeta-*",), 81, 82)
        listening = self.make(NAMESPACES, DEVICE, other)
        self.assertEqual(len(listening.parts), 2)
        self.assertEqual(len(listening.describe()), 2)
        namespaces, device = listening.summaries()
        self.assertEqual((namespaces["namespaces"], "each" in namespaces), (0, False))
        self.assertEqual(device, listening.parts[1].describe())
        opener = listening.opening.opener
        self.assertIsInstance(opener, InPlaceOpener)
        self.assertEqual(opener._rules, rules_of([NAMESPACES, other]))

    def test_a_broker(self) -> None:
        """
        Where root is shed they are opened by the broker, which may open the same.
        """
        listening = self.make(NAMESPACES, sheds_root=True)
        opener = listening.opening.opener
        self.assertIsInstance(opener, BrokerOpener)
        self.assertEqual(opener._rules, rules_of([NAMESPACES]))

    def test_sockets(self) -> None:
        """
        A UNIX socket in the agent's place is a part of its own, with the neighbours of
        its namespaces watched.
        """
        config = SocketConfig("s", "/s", "user", (), ("ovnmeta-*",), "mac")
        listening = self.make(config)
        namespaces, socket = listening.parts
        self.assertEqual(listening.opening.opener._rules, rules_of([config]))
        self.assertEqual(type(namespaces).__name__, "Namespaces")
        self.assertEqual(socket.describe()["name"], "s")

    def test_heard(self) -> None:
        """
        All links of all listeners can be seen; behind haproxies they are those of the
        namespaces that instances are looked for in.
        """
        socket = SocketConfig("s", "/s", "user", (), ("ovnmeta-*",), "address")
        listening = self.make(DEVICE, ADDRESS, socket)
        self.sources.books.networks.attach("ovnmeta-1/tap1", "1")
        self.sources.books.networks.attach("qdhcp-2/tap2", "2")
        links = listening.links()
        self.assertEqual(links, {"net", "b", "ovnmeta-1/tap1"})
        heard = list(listening.heard(links))
        self.assertEqual(
            [(x.listener, x.kind, x.link, x.device) for x in heard],
            [
                ("a", "device", "net", "br0"),
                ("b", "address", "b", "127.0.0.1 port 81"),
                ("s", "socket", "ovnmeta-1/tap1", "tap1"),
            ],
        )
        self.assertEqual([x.is_open for x in heard], [False] * 3)
        self.assertEqual([x.link for x in listening.heard({"b"})], ["b"])

    def inherit(self, name: str, kind: int, at: Any) -> Inherited:
        """
        Have systemd hand over a listening socket.
        """
        opened = socket.socket(kind, socket.SOCK_STREAM)
        self.addCleanup(opened.close)
        opened.bind(at)
        opened.listen()
        return Inherited({name: [opened]})

    def test_handed_over(self) -> None:
        """
        A listener, and a UNIX socket, take what systemd has opened for them.
        """
        inherited = self.inherit("b", socket.AF_INET, ("127.0.0.1", 0))
        port = inherited._sockets["b"][0].getsockname()[1]
        (listener,) = self.make(ADDRESS, inherited=inherited).parts
        with listener._open(Place("127.0.0.1", port)) as taken:
            self.assertEqual(taken.getsockname()[1], port)
        config = SocketConfig("s", "/s", "user", (), ("ovnmeta-*",), "mac")
        path = self.mktemp()
        inherited = self.inherit("s", socket.AF_UNIX, path)
        agent = self.make(config, inherited=inherited).parts[-1]
        with agent._opened as taken:
            self.assertEqual(taken.getsockname(), path)

    def test_handed_over_to_nobody(self) -> None:
        """
        Sockets that systemd has opened for a listener that there is not are told of.
        """
        inherited = self.inherit("x", socket.AF_INET, ("127.0.0.1", 0))
        with capturedLogs() as events:
            self.make(ADDRESS, inherited=inherited)
        [event] = (e for e in events if e["log_namespace"] == "mdproxy.listening")
        self.assertEqual(event["name"], "x")


class RulesTests(SynchronousTestCase):
    """
    Tests for L{rules_of}.
    """

    def test_rules(self) -> None:
        """
        A listener in namespaces listens there; a UNIX socket has neighbours looked for
        there, however it identifies; nothing else is opened in any.
        """
        by_mac = SocketConfig("s", "/s", "user", (), ("ovnmeta-*",), "mac")
        by_address = SocketConfig("t", "/t", "user", (), ("qdhcp-*",), "address")
        self.assertEqual(
            rules_of([DEVICE, by_mac, NAMESPACES, by_address]),
            [
                Rule("s", ("ovnmeta-*",), None, None),
                Rule("c", ("qdhcp-*", "qrouter-*"), 80, 9697),
                Rule("t", ("qdhcp-*",), None, None),
            ],
        )
