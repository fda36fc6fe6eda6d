"""
Tests for L{mdproxy.inventory.static}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.inventory.static import StaticInventory
from mdproxy.lookup.books import PortBook
from tests.contracts import InventoryContract
from tests.inotify_reactor import WatchingReactor
from tests.test_inventory_listing import MAC, entry_yaml


class StaticInventoryContractTests(InventoryContract, SynchronousTestCase):
    """
    The contract of inventories, on L{StaticInventory}.
    """

    def setUp(self) -> None:
        """
        Begin with an empty file.
        """
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir()
        self.path = self.path / "instances.yaml"
        self.entries: dict[str, str] = {}
        self.path.write_text("ports: []\n")

    def make_inventory(
        self, reactor: MemoryReactorClock, book: PortBook
    ) -> StaticInventory:
        """
        Make an inventory of the file.
        """
        return StaticInventory(reactor, reactor, book, str(self.path))

    def put(self, mac: str, address: str) -> None:
        """
        Write a port into the file.
        """
        self.entries[mac] = entry_yaml(mac=mac, addresses=f"[{address}]")
        self.path.write_text("ports:\n" + "".join(self.entries.values()))

    def remove(self, mac: str) -> None:
        """
        Take a port out of the file.
        """
        del self.entries[mac]
        self.path.write_text("ports:\n" + "".join(self.entries.values()))

    def spoil(self) -> None:
        """
        Break the file.
        """
        self.path.write_text("ports: [")


class StaticInventoryTests(SynchronousTestCase):
    """
    Tests for L{StaticInventory}, with the kernel's own events.
    """

    def setUp(self) -> None:
        """
        Name a file in a directory of its own.
        """
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "instances.yaml"
        self.reactor = WatchingReactor()
        self.book = PortBook()

    def start(self) -> StaticInventory:
        """
        Start an inventory.
        """
        inventory = StaticInventory(
            self.reactor, self.reactor, self.book, str(self.path)
        )
        inventory.startService()
        self.addCleanup(inventory.stopService)
        return inventory

    def write(self, *entries: str) -> None:
        """
        Write the file anew, in place.
        """
        self.path.write_text("ports:\n" + "".join(entries))

    def test_changes(self) -> None:
        """
        The file counts anew when it is written, renamed over, or deleted and made
        again.
        """
        self.write(entry_yaml())
        self.start()
        self.assertEqual(len(self.book), 1)
        self.write()
        self.reactor.settle()
        self.assertEqual(len(self.book), 0)
        new = self.directory / "new"
        new.write_text("ports:\n" + entry_yaml())
        new.rename(self.path)
        self.reactor.settle()
        self.assertEqual(len(self.book), 1)
        self.path.unlink()
        self.write(entry_yaml(), entry_yaml(mac="fa:16:3e:00:00:02"))
        self.reactor.settle()
        self.assertEqual(len(self.book), 2)

    def test_link(self) -> None:
        """
        A link that is made to point elsewhere counts, wherever in the path it is
        (Kubernetes replaces mounted files like that).
        """
        for name, entries in (("v1", ""), ("v2", entry_yaml())):
            (self.directory / name).mkdir()
            file = self.directory / name / "instances.yaml"
            file.write_text("ports:\n" + entries)
        (self.directory / "data").symlink_to("v1")
        self.path.symlink_to("data/instances.yaml")
        self.start()
        self.assertEqual(len(self.book), 0)
        (self.directory / "new").symlink_to("v2")
        (self.directory / "new").rename(self.directory / "data")
        self.reactor.settle()
        self.assertEqual(len(self.book), 1)

    def test_missing(self) -> None:
        """
        A missing file is a failure at the start, and out of date afterwards.
        """
        inventory = self.start()
        self.assertEqual(inventory.state, SourceState.FAILED)
        self.assertIn("does not exist", inventory.describe()["problem"])
        self.write(entry_yaml())
        self.reactor.settle()
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.path.unlink()
        self.reactor.settle()
        self.assertEqual(inventory.state, SourceState.STALE)
        self.assertEqual(len(self.book), 1)

    def test_broken(self) -> None:
        """
        A file that can't be understood changes nothing but the state, and is read again
        when it changes and not before.
        """
        self.write(entry_yaml())
        inventory = self.start()
        self.path.write_text("ports: [\n")
        self.reactor.settle()
        self.assertEqual(inventory.state, SourceState.STALE)
        self.assertIn(f"{self.path}: line 2", inventory.describe()["problem"])
        self.assertEqual(len(self.book), 1)
        self.write()
        self.reactor.settle()
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.assertEqual(len(self.book), 0)

    def test_too_large(self) -> None:
        """
        A file without bounds is not read.
        """
        self.write()
        os.truncate(self.path, 5 << 20)
        inventory = self.start()
        self.assertEqual(inventory.state, SourceState.FAILED)
        self.assertIn("larger than", inventory.describe()["problem"])

    def test_refused_entries(self) -> None:
        """
        A refused entry shows with its file, number and reason; the source is live.
        """
        self.write(entry_yaml(), entry_yaml(mac="x"), entry_yaml(mac="y"))
        inventory = self.start()
        described = inventory.describe()
        self.assertEqual(described["state"], "live")
        self.assertEqual(
            described["problem"],
            f"{self.path}: port 2: 'x' is no MAC address; "
            "port 3: 'y' is no MAC address",
        )
        self.assertEqual((described["ports"], described["refused_ports"]), (1, 2))

    def test_twice_the_same(self) -> None:
        """
        A MAC that is listed twice is known twice, so that it identifies nobody.
        """
        self.write(entry_yaml(), entry_yaml(), entry_yaml(instance="i-2"))
        self.start()
        self.assertEqual(len(self.book.by_mac("red", MAC)), 3)

    def test_projects(self) -> None:
        """
        It tells whose other instances are, as long as the file last said so, and that
        this has changed.
        """
        told: list[str | None] = []
        self.path.write_text("projects: {i-9: p-9}")
        inventory = StaticInventory(
            self.reactor,
            self.reactor,
            self.book,
            str(self.path),
            projects_changed=lambda: told.append(inventory.project_of("i-9")),
        )
        self.assertIsNone(inventory.project_of("i-9"))
        inventory.startService()
        self.addCleanup(inventory.stopService)
        self.assertEqual((told, len(self.book)), (["p-9"], 0))
        self.assertIsNone(inventory.project_of("i-8"))
        self.assertEqual(inventory.describe()["projects"], 1)
        for text in ("projects: [", "ports: []\nprojects: {i-9: p-9}"):
            self.path.write_text(text)
            self.reactor.settle()
            self.assertEqual((told, inventory.project_of("i-9")), (["p-9"], "p-9"))
        self.path.write_text("projects: {i-8: p-8}")
        self.reactor.settle()
        self.assertEqual(told, ["p-9", None])

    def test_knows_every_network(self) -> None:
        """
        What the file does not list does not exist, on any network.
        """
        self.write()
        self.assertTrue(self.start().knows("blue"))

    def test_describe(self) -> None:
        """
        The operator is told what is known and how fresh it is.
        """
        self.write(entry_yaml())
        inventory = self.start()
        self.reactor.advance(2)
        self.assertEqual(
            inventory.describe(),
            {
                "name": "static",
                "kind": "static",
                "state": "live",
                "problem": None,
                "path": str(self.path),
                "ports": 1,
                "projects": 0,
                "refused_ports": 0,
                "polling": False,
                "last_read_age": 2.0,
            },
        )
