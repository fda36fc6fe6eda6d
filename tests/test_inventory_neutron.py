"""
Tests for L{mdproxy.inventory.neutron}.
"""

from __future__ import annotations

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.neutron import NeutronInventory
from mdproxy.lookup.books import PortBook
from tests.contracts import InventoryContract
from tests.neutron_stub import NETWORK, Stub, inventory_of, port_json, with_body


class NeutronInventoryContractTests(InventoryContract, SynchronousTestCase):
    """
    The contract of inventories, on L{NeutronInventory}.
    """

    network = NETWORK

    def setUp(self) -> None:
        """
        Begin with a Neutron without ports.
        """
        self.stub = Stub(MemoryReactorClock())

    def make_inventory(
        self, reactor: MemoryReactorClock, book: PortBook
    ) -> NeutronInventory:
        """
        Make an inventory that asks the stub.
        """
        self.stub.clock = reactor
        return inventory_of(self.stub, reactor, book, max_age=100.0)

    def put(self, mac: str, address: str) -> None:
        """
        Have Neutron know a port.
        """
        self.stub.fault = None
        number = int(mac[-2:], 16)
        fixed = [{"subnet_id": "s", "ip_address": address}]
        self.stub.put(port_json(number, mac_address=mac, fixed_ips=fixed))

    def remove(self, mac: str) -> None:
        """
        Delete a port.
        """
        for port_id, port in list(self.stub.ports.items()):
            if port["mac_address"] == mac:
                del self.stub.ports[port_id]

    def spoil(self) -> None:
        """
        Have a load balancer answer.
        """
        self.stub.fault = with_body(b"<html>down for maintenance</html>")
