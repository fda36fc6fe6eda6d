"""
Tests for L{mdproxy.lookup.books.NetworkBook}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.books import PREFIX, NetworkBook

NETWORK = "8ae3a6d4-2f0a-4fd3-9a62-5d8e1c1d0001"
OTHER = "8ae3a6d4-2f0a-4fd3-9a62-5d8e1c1d0002"
PORT = "c0ffee00-1234-4fd3-9a62-5d8e1c1d0003"
#: Another port whose id begins like that one's.
TWIN = "c0ffee00-1299-4fd3-9a62-5d8e1c1d0004"
DHCP = f"qdhcp-{NETWORK}/tap01234567-89"
OVN = f"ovnmeta-{NETWORK}/tap01234567-80"
ROUTER = "qrouter-r1/qr-c0ffee00-12"


class NetworkBookTests(SynchronousTestCase):
    """
    Tests for L{NetworkBook}.
    """

    def setUp(self) -> None:
        """
        Open a book and hear of its changes.
        """
        self.book = NetworkBook()
        self.changed: list[str] = []
        self.book.observe(self.changed.append)

    def test_configured(self) -> None:
        """
        A network that nobody attached is called what the listener calls it.
        """
        self.assertEqual(self.book.name_of("br-red"), "br-red")
        self.assertEqual(self.book.links_of("br-red"), [])

    def test_two_ends(self) -> None:
        """
        Two namespaces may be ends of one network.
        """
        self.book.attach(DHCP, NETWORK)
        self.book.attach(OVN, NETWORK)
        self.assertEqual(self.book.name_of(DHCP), NETWORK)
        self.assertEqual(self.book.name_of(OVN), NETWORK)
        self.assertEqual(set(self.book.links_of(NETWORK)), {DHCP, OVN})
        self.assertEqual(self.changed, [DHCP, OVN])

    def test_detach(self) -> None:
        """
        A link that is gone is no end of anything, which is told; the other stays.
        """
        self.book.attach(DHCP, NETWORK)
        self.book.attach(OVN, NETWORK)
        for _ in range(2):
            self.book.detach(DHCP)
        self.assertEqual(self.changed, [DHCP, OVN, DHCP])
        self.assertEqual(self.book.links_of(NETWORK), [OVN])
        self.assertEqual(self.book.name_of(DHCP), DHCP)
        self.book.detach(OVN)
        self.assertEqual(self.book.links_of(NETWORK), [])
        self.assertEqual(self.changed, [DHCP, OVN, DHCP, OVN])

    def test_another_name(self) -> None:
        """
        A link whose device was given to another network has that one's name alone.
        """
        self.book.attach(DHCP, NETWORK)
        self.book.attach(DHCP, OTHER)
        self.book.attach_port(ROUTER, PORT[:PREFIX])
        self.book.attach(ROUTER, OTHER)
        self.assertEqual(self.book.links_of(NETWORK), [])
        self.assertEqual(set(self.book.links_of(OTHER)), {DHCP, ROUTER})

    def test_router(self) -> None:
        """
        A router's link has the network of the port that its name begins, from when an
        inventory says so, for as long as one does; whoever waits is told each time.
        """
        self.book.attach_port(ROUTER, PORT[:PREFIX])
        self.assertEqual(self.book.name_of(ROUTER), ROUTER)
        self.book.enter("neutron", PORT, NETWORK)
        self.assertEqual(self.book.name_of(ROUTER), NETWORK)
        self.assertEqual(self.book.links_of(NETWORK), [ROUTER])
        self.book.enter("neutron", PORT, OTHER)
        self.assertEqual(self.book.name_of(ROUTER), OTHER)
        self.book.enter("neutron", PORT, None)
        self.assertEqual(self.book.name_of(ROUTER), ROUTER)
        self.assertEqual(self.changed, [ROUTER] * 4)

    def test_known_before(self) -> None:
        """
        What an inventory said before the link came counts.
        """
        self.book.enter("neutron", PORT, NETWORK)
        self.book.attach_port(ROUTER, PORT[:PREFIX])
        self.assertEqual(self.book.name_of(ROUTER), NETWORK)

    def test_doubt(self) -> None:
        """
        Where inventories disagree, or two ports begin alike, nobody can say.
        """
        self.book.attach_port(ROUTER, PORT[:PREFIX])
        for inventory, port in (("ovn", PORT), ("neutron", TWIN)):
            self.book.enter("neutron", PORT, NETWORK)
            self.book.enter(inventory, port, OTHER)
            self.assertEqual(self.book.name_of(ROUTER), ROUTER)
            self.assertEqual(self.book.links_of(OTHER), [])
            self.book.enter(inventory, port, None)
            self.assertEqual(self.book.name_of(ROUTER), NETWORK)

    def test_nothing_new(self) -> None:
        """
        Saying the same again, or forgetting what was not known, tells nobody.
        """
        self.book.attach_port(ROUTER, PORT[:PREFIX])
        self.book.enter("neutron", PORT, NETWORK)
        self.changed.clear()
        self.book.enter("neutron", PORT, NETWORK)
        self.book.enter("neutron", TWIN, None)
        self.assertEqual(self.changed, [])

    def test_within(self) -> None:
        """
        The links of a namespace are found by its name, whatever tells their networks.
        """
        self.book.attach(DHCP, NETWORK)
        self.book.attach_port(ROUTER, PORT[:PREFIX])
        self.book.attach_port("qrouter-r1/qr-00000000-00", "00000000-00")
        self.assertEqual(self.book.links_in(f"qdhcp-{NETWORK}"), [DHCP])
        self.assertEqual(
            self.book.links_in("qrouter-r1"), ["qrouter-r1/qr-00000000-00", ROUTER]
        )
        self.assertEqual(self.book.links_in("qrouter-r"), [])
        self.assertEqual(
            sorted(self.book.links()), [DHCP, "qrouter-r1/qr-00000000-00", ROUTER]
        )
        self.book.detach(ROUTER)
        self.book.detach(DHCP)
        self.assertEqual(self.book.links_in(f"qdhcp-{NETWORK}"), [])
        self.assertEqual(
            self.book.links_in("qrouter-r1"), ["qrouter-r1/qr-00000000-00"]
        )
