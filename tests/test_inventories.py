"""
Tests for L{mdproxy.inventories}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.config import Config, ConfigError
from mdproxy.interfaces import IInventory
from mdproxy.inventories import Maker, key_of
from mdproxy.lookup import Books
from mdproxy.lookup.books import LeaseBook, NeighbourBook, PortBook
from mdproxy.model import Port
from mdproxy.ovn_config import OvnConfig
from mdproxy.ovsdb import Remote
from tests.test_config import NEUTRON, PLAIN

OVN = OvnConfig((Remote("tcp", "127.0.0.1", 6642),), None, None, None, "", "host")
FULL = evolve(PLAIN, ovn=OVN, neutron=NEUTRON)
NAMES = ("static", "libvirt", "ovn", "neutron")
PORT_ID = "0123456789a-bcd-efgh"


class InventoriesTests(SynchronousTestCase):
    """
    Tests for L{Maker} and L{key_of}.
    """

    def setUp(self) -> None:
        """
        Have books.
        """
        self.books = Books(PortBook(), LeaseBook(), NeighbourBook())
        reactor: Any = MemoryReactorClock()
        self.maker = Maker(self.books, {}, reactor, lambda _id: None, lambda: None)

    def test_each(self) -> None:
        """
        Each inventory is made under its name, and does nothing yet.
        """
        for name in NAMES:
            inventory = self.maker.make(name, FULL)
            self.assertTrue(verifyObject(IInventory, inventory.source))
            self.assertEqual(inventory.source.name, name)
            self.assertEqual(inventory.source.describe()["kind"], name)
            self.assertEqual(inventory.source.state.value, "starting")

    def test_shown(self) -> None:
        """
        What it says of ports and of routers is in the books while it is shown.
        """
        inventory = self.maker.make("static", FULL)
        mac = "fa:16:3e:00:00:01"
        port = Port("net", mac, "i-1", "p-1", None)
        inventory.page.enter("static", "x", [port])
        inventory.routers.enter("static", PORT_ID, "net")
        self.books.networks.attach_port("link", PORT_ID[:11])
        for known in (False, True, False):
            self.assertEqual(
                (len(self.books.ports), self.books.networks.name_of("link")),
                (1, "net") if known else (0, "link"),
            )
            (inventory.hide if known else inventory.show)()

    def test_wrong_files(self) -> None:
        """
        An inventory that can't be made is a fault with its name.
        """
        path = Path(self.mktemp())
        path.write_text("x")
        config = evolve(FULL, neutron=evolve(NEUTRON, cafile=str(path)))
        error = self.assertRaises(ConfigError, self.maker.make, "neutron", config)
        self.assertEqual(len(error.faults), 1)
        self.assertTrue(error.faults[0].startswith(f"neutron: {path}"), error)

    def test_keys(self) -> None:
        """
        An inventory need not be made anew unless something differs that it goes by.
        """
        path = Path(self.mktemp())
        path.write_text("one")
        with_file = evolve(FULL, neutron=evolve(NEUTRON, cafile=str(path)))
        before = key_of("neutron", with_file)
        path.write_text("two")
        self.assertNotEqual(before, key_of("neutron", with_file))
        self.assertEqual(len({key_of(name, FULL) for name in NAMES}), 4)
        other = evolve(FULL, drain_timeout=1.0, libvirt_project="p")
        for name in NAMES:
            self.assertEqual(key_of(name, FULL), key_of(name, other))
        changes: dict[str, Config] = {
            "static": evolve(FULL, static_path="/x"),
            "libvirt": evolve(FULL, libvirt_path="/x"),
            "ovn": evolve(FULL, ovn=evolve(OVN, chassis="x")),
            "neutron": evolve(FULL, neutron=evolve(NEUTRON, password="x")),
        }
        for name, config in changes.items():
            self.assertNotEqual(key_of(name, FULL), key_of(name, config))
