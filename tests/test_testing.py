"""
Tests for L{mdproxy.testing}: the fakes keep the promises of what they stand for.
"""

from __future__ import annotations

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.books import PortBook
from mdproxy.model import Port
from mdproxy.testing import MemoryInventory
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
