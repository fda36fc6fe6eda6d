"""
Tests for L{mdproxy.agent_callers}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.agent_callers import DOUBT, RelayedCallers
from mdproxy.agent_headers import Forwarded
from mdproxy.lookup.books import PREFIX
from mdproxy.lookup.decision import eui64
from mdproxy.model import Caller, Port, Reason
from tests.outside import ADDRESS, MAC, OTHER_MAC, World, port_of

NETWORK = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
ROUTER = "99999999-4e5f-6071-8293-a4b5c6d7e8f9"
DHCP = f"qdhcp-{NETWORK}"
LINK = f"{DHCP}/tap01234567-89"
GATE = f"qrouter-{ROUTER}"
PORTS = ("c0ffee00-1234-4fd3-9a62-5d8e1c1d0003", "beef0000-1234-4fd3-9a62-5d8e1c1d0003")
DOORS = tuple(f"{GATE}/qr-{port[:PREFIX]}" for port in PORTS)
OTHER_NETWORK = "0b0b0b0b-4e5f-6071-8293-a4b5c6d7e8f9"

#: A haproxy.
PROCESS = ("agent", "process 12")

FROM_NETWORK = Forwarded(DHCP, NETWORK, ADDRESS)
FROM_ROUTER = Forwarded(GATE, None, ADDRESS)


class _Callers(SynchronousTestCase):
    """
    A world with a namespace of a network and one of a router.
    """

    identify_by = "mac"

    def setUp(self) -> None:
        """
        Let everything be watched, and the router's networks be known.
        """
        self.world = World()
        networks = self.world.books.networks
        networks.attach(LINK, NETWORK)
        names = (NETWORK, OTHER_NETWORK)
        for door, port, name in zip(DOORS, PORTS, names, strict=True):
            networks.attach_port(door, port[:PREFIX])
            networks.enter("memory", port, name)
        self.world.know(port_of(network=NETWORK))
        self.callers = RelayedCallers(
            self.world.books, self.world.neighbours, self.world.clock, self.identify_by
        )

    def find(self, forwarded: Forwarded = FROM_NETWORK) -> Caller:
        """
        Find a caller.
        """
        return self.callers.find(forwarded, PROCESS)

    def point(self, mac: str | None, link: str = LINK, address: str = ADDRESS) -> None:
        """
        Have the kernel point an address of a link to a MAC, as we have read.
        """
        self.world.point(mac, link, address)
        self.world.neighbours.drain()


class FindTests(_Callers):
    """
    Whom the MAC in the namespace identifies.
    """

    def test_neighbour(self) -> None:
        """
        The MAC is that of the neighbour entry in the namespace of the network; it is
        known to be a table's and not a frame's.
        """
        self.point(MAC)
        caller = self.find()
        self.assertEqual(caller, Caller(LINK, ADDRESS, MAC, probed=True))
        self.assertIsNone(caller.seek)
        self.assertEqual(self.world.identified(caller), "i-1")

    def test_news(self) -> None:
        """
        What the kernel has told and nobody has read counts.
        """
        self.world.point(MAC, LINK)
        self.assertEqual(self.find().mac, MAC)

    def test_probed(self) -> None:
        """
        An entry that nobody told of is asked for.
        """
        self.world.neighbours.silent = True
        self.world.point(MAC, LINK)
        self.assertEqual(self.find().mac, MAC)

    def test_other_namespace(self) -> None:
        """
        An entry on another end of the network says nothing of whom haproxy would
        answer.
        """
        self.point(MAC, DOORS[0])
        self.assertIsNone(self.find().mac)

    def test_no_entry(self) -> None:
        """
        Without an entry nobody is identified, in doubt; and it is looked for again.
        """
        caller = self.find()
        self.assertEqual(caller, Caller(NETWORK, ADDRESS, None, probed=True))
        self.assertEqual(self.world.refusal(caller), (Reason.NO_NEIGHBOUR, True))
        self.point(MAC)
        assert caller.seek is not None
        self.assertEqual(caller.seek(), Caller(LINK, ADDRESS, MAC, probed=True))

    def test_no_namespace(self) -> None:
        """
        Nor where the namespace is not watched, whatever else has that name.
        """
        stranger = Forwarded(f"ovnmeta-{NETWORK}", NETWORK, ADDRESS)
        self.point(MAC, NETWORK)
        caller = self.find(stranger)
        self.assertIsNone(caller.mac)
        self.assertEqual(self.world.refusal(caller), (Reason.NO_NEIGHBOUR, True))

    def test_router(self) -> None:
        """
        Of a router the network is that of the device where the address is known.
        """
        self.point(MAC, DOORS[0])
        caller = self.find(FROM_ROUTER)
        self.assertEqual(caller.network, DOORS[0])
        self.assertEqual(self.world.identified(caller), "i-1")

    def test_router_elsewhere(self) -> None:
        """
        The same address and MAC on another of its networks are another's, or nobody's.
        """
        self.point(MAC, DOORS[1])
        caller = self.find(FROM_ROUTER)
        self.assertEqual(caller.network, DOORS[1])
        self.assertIsNone(self.world.identified(caller))

    def test_on_two_devices(self) -> None:
        """
        An address on two devices of a router may be two instances': none is named.
        """
        for door in DOORS:
            self.point(MAC, door)
        caller = self.find(FROM_ROUTER)
        self.assertEqual(caller, Caller(GATE, ADDRESS, None, probed=True))
        self.assertEqual(self.world.refusal(caller), (Reason.NO_NEIGHBOUR, True))

    def test_link_local(self) -> None:
        """
        A link-local address must be the one that its MAC makes, or the port's own.
        """
        for address, instance in ((eui64(MAC), "i-1"), (eui64(OTHER_MAC), None)):
            self.point(MAC, address=address)
            caller = self.find(Forwarded(DHCP, NETWORK, address))
            self.assertEqual(self.world.identified(caller), instance)

    def test_foreign_address(self) -> None:
        """
        Whoever takes another's address is known by his MAC.
        """
        self.point(OTHER_MAC)
        self.assertEqual(self.world.refusal(self.find())[0], Reason.MAC_MISMATCH)


class DoubtTests(_Callers):
    """
    Entries that were turned.
    """

    def turn(self) -> None:
        """
        Let somebody turn the entry to himself and back.
        """
        for mac in (MAC, OTHER_MAC, MAC):
            self.point(mac)

    def test_turned(self) -> None:
        """
        After a turn nobody is identified for as long as a connection of before may live
        at haproxy.
        """
        self.world.clock.advance(1000)
        self.turn()
        for waited in (0, 30, 44.9):
            self.world.clock.advance(waited)
            reason, _doubt = self.world.refusal(self.find())
            self.assertEqual(reason, Reason.FRAME_MISMATCH)
        self.world.clock.advance(0.2)
        self.assertEqual(self.world.identified(self.find()), "i-1")

    def test_haproxy_is_outlasted(self) -> None:
        """
        Which is longer than our hold and both of haproxy's time-outs together.
        """
        self.assertGreater(DOUBT, 8 + 30 + 30)

    def test_later_turn(self) -> None:
        """
        A caller who is being served is refused after a turn.
        """
        self.point(MAC)
        caller = self.find()
        self.assertEqual(self.world.identified(caller), "i-1")
        self.turn()
        self.assertEqual(self.world.refusal(caller)[0], Reason.FRAME_MISMATCH)

    def test_reused_address(self) -> None:
        """
        The turn from a port that is gone to the one that has its address is no reason
        for doubt.
        """
        self.point(MAC)
        self.world.know(port_of(OTHER_MAC, "i-2", NETWORK))
        self.point(OTHER_MAC)
        self.assertEqual(self.world.identified(self.find()), "i-2")

    def test_unbroken(self) -> None:
        """
        As long as there are connections that could not be broken the doubt goes on; it
        ends with them.
        """
        self.turn()
        for _ in range(5):
            self.world.clock.advance(DOUBT - 1)
            self.callers.note_unbroken(PROCESS)
            self.assertEqual(self.world.refusal(self.find())[0], Reason.FRAME_MISMATCH)
        self.world.clock.advance(DOUBT + 1)
        self.assertEqual(self.world.identified(self.find()), "i-1")

    def test_unbroken_elsewhere(self) -> None:
        """
        What lives on at another haproxy is nothing to those behind this one; and of
        haproxies that are gone nothing is remembered.
        """
        self.turn()
        for number in range(5):
            self.world.clock.advance(DOUBT / 4)
            self.callers.note_unbroken(("agent", str(number)))
        self.assertEqual(self.world.identified(self.find()), "i-1")
        self.assertEqual(len(self.callers._unbroken), 4)

    def test_unbroken_later(self) -> None:
        """
        One that lives on when no doubt was left is no reason for a new one.
        """
        self.turn()
        self.world.clock.advance(DOUBT + 1)
        for _ in range(5):
            self.callers.note_unbroken(PROCESS)
            self.assertEqual(self.world.identified(self.find()), "i-1")
            self.world.clock.advance(DOUBT - 1)

    def test_other_address(self) -> None:
        """
        A turn of another's entry is nothing to an instance.
        """
        self.turn()
        self.point(MAC, address="10.0.0.6")
        port = port_of(network=NETWORK, addresses=frozenset({"10.0.0.6"}))
        self.world.know(port)
        caller = self.find(Forwarded(DHCP, NETWORK, "10.0.0.6"))
        self.assertEqual(self.world.identified(caller), "i-1")


class ByAddressTests(_Callers):
    """
    Whom the address alone identifies, as Neutron's agent does it.
    """

    identify_by = "address"

    def test_network(self) -> None:
        """
        One port of the network has the address; nothing need be watched.
        """
        forwarded = Forwarded(f"ovnmeta-{NETWORK}", NETWORK, ADDRESS)
        self.assertEqual(self.world.identified(self.find(forwarded)), "i-1")

    def test_ambiguous(self) -> None:
        """
        Two ports of the network with the address are no instance.
        """
        self.world.know(port_of(network=NETWORK), port_of(OTHER_MAC, "i-2", NETWORK))
        self.assertEqual(self.world.refusal(self.find())[0], Reason.AMBIGUOUS)

    def test_router(self) -> None:
        """
        Of a router's networks exactly one must have it.
        """
        self.assertEqual(self.world.identified(self.find(FROM_ROUTER)), "i-1")

    def test_router_with_two(self) -> None:
        """
        If two have it, or none, nobody is named: nobody knows where to look.
        """
        twins: tuple[tuple[Port, ...], ...] = (
            (port_of(network=NETWORK), port_of(OTHER_MAC, "i-2", OTHER_NETWORK)),
            (),
        )
        for ports in twins:
            self.world.know(*ports)
            caller = self.find(FROM_ROUTER)
            self.assertIsNone(self.world.identified(caller))
            self.assertIsNotNone(caller.seek)

    def test_link_local(self) -> None:
        """
        A link-local address is nobody's by itself; its MAC is needed even here.
        """
        address = eui64(MAC)
        forwarded = Forwarded(DHCP, NETWORK, address)
        self.assertEqual(
            self.world.refusal(self.find(forwarded)), (Reason.NO_NEIGHBOUR, True)
        )
        self.point(MAC, address=address)
        self.assertEqual(self.world.identified(self.find(forwarded)), "i-1")
