"""
Tests for L{mdproxy.testing}: the fakes keep the promises of what they stand for.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.interfaces import IUpstream
from mdproxy.lookup.books import NeighbourBook, PortBook
from mdproxy.model import Port
from mdproxy.testing import FakeNeighbours, FakeUpstream, MemoryInventory
from tests.contracts import InventoryContract


class MemoryInventoryContractTests(InventoryContract, SynchronousTestCase):
    """
    The contract of inventories, on L{MemoryInventory}.
    """

    def setUp(self) -> None:
        """
        Begin with an outside that knows nothing.
        """
        self.known: dict[str, Port] = {}
        self.made: list[MemoryInventory] = []

    def make_inventory(
        self, reactor: MemoryReactorClock, book: PortBook
    ) -> MemoryInventory:
        """
        Make an inventory of what the outside knows.
        """
        inventory = MemoryInventory(book, ("red",))
        self.made.append(inventory)
        self.tell(None)
        return inventory

    def tell(self, problem: str | None) -> None:
        """
        Have every inventory that was made see the outside as it is.
        """
        for inventory in self.made:
            inventory.ports = list(self.known.values())
            inventory.problem = problem

    def put(self, mac: str, address: str) -> None:
        """
        Have the outside know a port.
        """
        self.known[mac] = Port(
            "red", mac, "i-1", "p-1", frozenset({address}), inventory="memory"
        )
        self.tell(None)

    def remove(self, mac: str) -> None:
        """
        Have the outside know a port no more.
        """
        del self.known[mac]
        self.tell(None)

    def spoil(self) -> None:
        """
        Have the outside say nothing that can be understood.
        """
        self.tell("it is spoilt")


class FakeUpstreamTests(SynchronousTestCase):
    """
    Tests for L{FakeUpstream}.
    """

    def test_provides_upstream(self) -> None:
        """
        It has all that an upstream has.
        """
        self.assertTrue(verifyObject(IUpstream, FakeUpstream()))


class FakeNeighboursTests(SynchronousTestCase):
    """
    Tests for L{FakeNeighbours}.
    """

    def test_tells(self) -> None:
        """
        What its kernel knows is in the book when it is drained, or asked for; what it
        forgets is forgotten.
        """
        neighbours = FakeNeighbours(NeighbourBook(), Clock())
        neighbours.kernel["red", "10.0.0.5"] = "fa:16:3e:00:00:01"
        neighbours.kernel["red", "10.0.0.6"] = "fa:16:3e:00:00:02"
        probed = neighbours.probe("red", "10.0.0.5")
        self.assertEqual(probed, "fa:16:3e:00:00:01")
        self.assertEqual(neighbours.book.addresses("red"), ["10.0.0.5"])
        neighbours.kernel["red", "10.0.0.5"] = None
        neighbours.silent = True
        neighbours.drain()
        self.assertEqual(neighbours.book.addresses("red"), ["10.0.0.5"])
        neighbours.silent = False
        neighbours.drain()
        self.assertEqual(neighbours.book.addresses("red"), ["10.0.0.6"])
        self.assertIsNone(neighbours.probe("red", "10.0.0.7"))

    def test_namespaces(self) -> None:
        """
        What is attached in a namespace goes with it, and nothing can be attached in
        one that is not watched.
        """
        neighbours = FakeNeighbours(NeighbourBook(), Clock())
        opener, told = (lambda: self.fail("opened")), (lambda links: None)
        neighbours.attach(2, "red")
        neighbours.watch("ns", opener, told)
        self.assertEqual(neighbours.watched, {"ns": (opener, told)})
        neighbours.attach(2, "ns/tap", "ns")
        neighbours.attach(3, "ns/tap2", "ns")
        neighbours.detach(3, "ns")
        self.assertEqual(neighbours.attached_in, {"ns": {2: "ns/tap"}})
        neighbours.unwatch("ns")
        neighbours.detach(2, "ns")
        self.assertEqual((neighbours.watched, neighbours.attached_in), ({}, {}))
        with self.assertRaises(KeyError):
            neighbours.attach(2, "ns/tap", "ns")
        self.assertEqual(neighbours.attached, {2: "red"})

    def test_bridge(self) -> None:
        """
        It tells the ports of bridges that it was told.
        """
        neighbours = FakeNeighbours(NeighbourBook(), Clock())
        neighbours.ports["red", "fa:16:3e:00:00:01"] = "tap1"
        told = neighbours.bridge_port("red", "fa:16:3e:00:00:01")
        self.assertEqual(told, "tap1")
        self.assertIsNone(neighbours.bridge_port("red", "fa:16:3e:00:00:02"))
