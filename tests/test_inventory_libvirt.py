"""
Tests for L{mdproxy.inventory.libvirt}.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.inventory.libvirt import LibvirtInventory
from mdproxy.lookup.books import PortBook
from tests.contracts import InventoryContract
from tests.inotify_reactor import WatchingReactor
from tests.test_inventory_domains import (
    LIVE,
    PORTS,
    domain_xml,
    interface_xml,
    plain_xml,
)

MAC = "fa:16:3e:00:00:01"


def _xml(mac: str, address: str) -> str:
    """
    Write a domain with one port.
    """
    ports = (
        '<n:ports><n:port uuid="567a4527-b0e4-4d0a-bcc2-71fda37897f7">'
        f'<n:ip type="fixed" address="{address}"/></n:port></n:ports>'
    )
    return domain_xml(interface_xml(mac), ports)


class _Trap(dict[str, str]):
    """
    Networks by device, with one device that nobody was prepared for.
    """

    def get(self, device: str, default: Any = None) -> Any:
        """
        Look up a network.

        @raise RuntimeError: For C{trap}.
        """
        if device == "trap":
            raise RuntimeError(device)
        return super().get(device, default)


class LibvirtInventoryContractTests(InventoryContract, SynchronousTestCase):
    """
    The contract of inventories, on L{LibvirtInventory}.
    """

    def setUp(self) -> None:
        """
        Begin with an empty directory.
        """
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir()

    def make_inventory(
        self, reactor: MemoryReactorClock, book: PortBook
    ) -> LibvirtInventory:
        """
        Make an inventory of the directory.
        """
        networks = {"br-red": "red"}
        return LibvirtInventory(reactor, reactor, book, networks, str(self.path))

    def file(self, mac: str) -> Path:
        """
        Name the file of a port's domain.
        """
        return self.path / f"instance-{mac.replace(':', '')}.xml"

    def put(self, mac: str, address: str) -> None:
        """
        Write a domain.
        """
        self.file(mac).write_text(_xml(mac, address))

    def remove(self, mac: str) -> None:
        """
        Delete a domain.
        """
        self.file(mac).unlink()

    def spoil(self) -> None:
        """
        Tear the file.
        """
        self.file(MAC).write_text(_xml(MAC, "10.0.0.9")[:-20])


class LibvirtInventoryTests(SynchronousTestCase):
    """
    Tests for L{LibvirtInventory}, with the kernel's own events.
    """

    def setUp(self) -> None:
        """
        Name a directory.
        """
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir()
        self.file = self.path / "instance-1.xml"
        self.reactor = WatchingReactor()
        self.book = PortBook()
        self.networks = {"br-red": "red"}
        self.projects: dict[str, str] = {}
        self.project_of: Callable[[str], str | None] = self.projects.get

    def start(self) -> LibvirtInventory:
        """
        Start an inventory.
        """
        inventory = LibvirtInventory(
            self.reactor,
            self.reactor,
            self.book,
            self.networks,
            str(self.path),
            project_of=self.project_of,
        )
        inventory.startService()
        self.addCleanup(inventory.stopService)
        return inventory

    def replace(self, text: str) -> None:
        """
        Write the file as libvirt does: a new one is put in its place.
        """
        new = self.path / "instance-1.xml.new"
        new.write_text(text)
        new.rename(self.file)

    def test_life_of_a_domain(self) -> None:
        """
        A domain that starts, changes and ends is followed.
        """
        inventory = self.start()
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.replace(_xml(MAC, "10.0.0.1"))
        self.reactor.settle()
        self.assertEqual(len(self.book.by_address("red", "10.0.0.1")), 1)
        self.replace(_xml(MAC, "10.0.0.2"))
        self.reactor.settle()
        self.assertEqual(self.book.by_address("red", "10.0.0.1"), ())
        self.assertEqual(len(self.book.by_address("red", "10.0.0.2")), 1)
        self.file.unlink()
        self.reactor.settle()
        self.assertEqual(len(self.book), 0)
        self.assertEqual(self.book.records("libvirt"), [])
        self.assertEqual(inventory.state, SourceState.LIVE)

    def test_real_file(self) -> None:
        """
        The file that libvirt really wrote gives the instance that Nova made.
        """
        self.networks = {"virbr0": "default"}
        shutil.copy(LIVE, self.file)
        self.start()
        (port,) = self.book.by_mac("default", "fa:16:3e:99:00:01")
        self.assertEqual(port.instance_id, "32d0524b-314d-4594-b3a3-607e3f2354f8")

    def test_other_files(self) -> None:
        """
        Half-written files and all else that lies there is left alone.
        """
        for name in ("instance-1.xml.new", "instance-1.pid", ".hidden.xml"):
            (self.path / name).write_text(_xml(MAC, "10.0.0.1"))
        (self.path / "autostart").mkdir()
        inventory = self.start()
        (self.path / "instance-2.xml.new").write_text(_xml(MAC, "10.0.0.1"))
        self.reactor.settle()
        self.assertEqual(inventory.describe()["domains"], 0)
        self.assertEqual(inventory.state, SourceState.LIVE)

    def test_torn_file(self) -> None:
        """
        A torn file leaves its own domain as it was and the others alone.
        """
        self.replace(_xml(MAC, "10.0.0.1"))
        (self.path / "instance-2.xml").write_text(_xml(MAC, "10.0.0.2"))
        inventory = self.start()
        self.replace(_xml(MAC, "10.0.0.3")[:-30])
        (self.path / "instance-2.xml").unlink()
        self.reactor.settle()
        self.assertEqual(len(self.book.by_address("red", "10.0.0.1")), 1)
        self.assertEqual(len(self.book), 1)
        self.assertEqual(inventory.state, SourceState.STALE)
        self.assertIn(str(self.file), inventory.describe()["problem"])
        self.replace(_xml(MAC, "10.0.0.3"))
        self.reactor.settle()
        self.assertEqual(len(self.book.by_address("red", "10.0.0.3")), 1)
        self.assertEqual(inventory.state, SourceState.LIVE)

    def test_unreadable_files(self) -> None:
        """
        A file that is too large, or none at all, is a problem that says its name.
        """
        self.file.write_bytes(b" " * ((1 << 20) + 1))
        (self.path / "instance-2.xml").mkdir()
        inventory = self.start()
        self.assertEqual(inventory.state, SourceState.STALE)
        problem = inventory.describe()["problem"]
        self.assertIn(f"{self.file} is larger than", problem)
        self.assertIn("instance-2.xml is no plain file", problem)

    def test_strange_encodings(self) -> None:
        """
        A file whose encoding can't be read costs itself: at the start, and later.
        """
        strange = '<?xml version="1.0" encoding="utf-7"?><domstatus/>'
        self.file.write_text(strange)
        (self.path / "instance-2.xml").write_text(_xml(MAC, "10.0.0.2"))
        inventory = self.start()
        self.assertEqual(len(self.book.by_address("red", "10.0.0.2")), 1)
        self.assertEqual(inventory.state, SourceState.STALE)
        self.replace(_xml("fa:16:3e:00:00:02", "10.0.0.1"))
        self.reactor.settle()
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.replace(strange)
        self.reactor.settle()
        self.assertEqual(len(self.book.by_address("red", "10.0.0.1")), 1)
        self.assertEqual(inventory.state, SourceState.STALE)
        self.assertIn(str(self.file), inventory.describe()["problem"])

    def test_unforeseen_trouble(self) -> None:
        """
        Whatever goes wrong with a file costs that file only, and is logged once.
        """
        self.networks = _Trap({"br-red": "red"})
        bad = _xml(MAC, "10.0.0.1").replace("br-red", "trap")
        for name in ("instance-0.xml", "instance-2.xml"):
            (self.path / name).write_text(bad)
        self.replace(_xml(MAC, "10.0.0.1"))
        inventory = self.start()
        self.reactor.advance(30)
        self.assertEqual(len(self.book.by_address("red", "10.0.0.1")), 1)
        self.assertEqual(inventory.state, SourceState.STALE)
        problem = inventory.describe()["problem"]
        self.assertIn("instance-2.xml can't be understood: RuntimeError", problem)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.replace(_xml(MAC, "10.0.0.3"))
        self.reactor.settle()
        self.assertEqual(len(self.book.by_address("red", "10.0.0.3")), 1)
        (self.path / "instance-0.xml").write_text(_xml(MAC, "10.0.0.4"))
        (self.path / "instance-2.xml").unlink()
        self.reactor.settle()
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.assertEqual(len(self.book), 2)

    def test_unreadable_directory(self) -> None:
        """
        Where the directory can't be read nothing is known, and the reason is told.
        """
        self.path.rmdir()
        self.path.write_text("")
        inventory = self.start()
        self.assertEqual(inventory.state, SourceState.FAILED)
        self.assertEqual(
            inventory.describe()["problem"],
            f"{self.path} can't be read: Not a directory",
        )

    def test_directory_comes_and_goes(self) -> None:
        """
        A directory that comes later is read; one that goes leaves what it said, out of
        date.
        """
        self.path.rmdir()
        inventory = self.start()
        self.assertEqual(inventory.state, SourceState.FAILED)
        self.path.mkdir()
        self.replace(_xml(MAC, "10.0.0.1"))
        self.reactor.advance(1)
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.assertEqual(len(self.book), 1)
        shutil.rmtree(self.path)
        self.reactor.settle()
        self.reactor.pump([1, 30, 30])
        self.assertEqual(inventory.state, SourceState.STALE)
        self.assertEqual(len(self.book), 1)
        self.path.mkdir()
        self.reactor.advance(1)
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.assertEqual(len(self.book), 0)

    def test_bad_port(self) -> None:
        """
        A port that can't be is told of, and the source is live.
        """
        self.replace(_xml("fa:16", "10.0.0.1"))
        inventory = self.start()
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.assertEqual(
            inventory.describe()["problem"],
            f"{self.file}: 'fa:16' is no MAC address",
        )

    def test_interfaces_come_and_go(self) -> None:
        """
        An interface that is plugged in later is a port; its addresses are its own once
        Nova has listed them; without the interface there is no port.
        """
        second = interface_xml("fa:16:3e:00:00:02", device="tap99999999-b0")
        first = PORTS[: PORTS.index('  <n:port uuid="9999')] + "</n:ports>"
        self.replace(domain_xml(interface_xml(), first))
        self.start()
        self.replace(domain_xml(interface_xml() + second, first))
        self.reactor.settle()
        (port,) = self.book.by_mac("red", "fa:16:3e:00:00:02")
        self.assertNotIn("10.0.0.2", port.addresses or ())
        self.replace(domain_xml(interface_xml() + second))
        self.reactor.settle()
        (port,) = self.book.by_mac("red", "fa:16:3e:00:00:02")
        self.assertEqual(port.addresses, frozenset({"10.0.0.2"}))
        self.replace(domain_xml(interface_xml(), first))
        self.reactor.settle()
        self.assertEqual(self.book.by_mac("red", "fa:16:3e:00:00:02"), ())
        self.assertEqual(len(self.book), 1)

    def test_plain_domains(self) -> None:
        """
        A domain that Nova did not make is a port once somebody says whose it is, and
        for as long; until then it is counted.
        """
        self.replace(plain_xml())
        inventory = self.start()
        figures = inventory.describe()
        self.assertEqual((figures["ports"], figures["domains_of_nova"]), (0, 0))
        self.assertEqual(figures["interfaces_without_project"], 1)
        self.projects["i-plain"] = "p-1"
        self.successResultOf(inventory.refresh("red", None))
        (port,) = self.book.by_mac("red", MAC)
        self.assertEqual((port.instance_id, port.project_id), ("i-plain", "p-1"))
        self.assertEqual(inventory.describe()["interfaces_without_project"], 0)
        self.projects.clear()
        self.reactor.advance(30)
        self.assertEqual(len(self.book), 0)

    def test_many_at_once(self) -> None:
        """
        Where all files are written anew at once the reactor has time for others
        between them; and when it is stopped meanwhile, the rest is left.
        """
        told: list[str] = []

        def read(instance: str) -> str:
            told.append("read")
            self.reactor.rightNow += 0.001
            return "p-1"

        def tick() -> None:
            told.append("tick")
            self.reactor.callLater(0.0005, tick)

        def rewrite() -> None:
            for number in range(20):
                mac = f"fa:16:3e:00:00:{number:02x}"
                xml = plain_xml(interface_xml(mac))
                (self.path / f"instance-{number}.xml").write_text(xml)

        self.project_of = read
        inventory = self.start()
        rewrite()
        self.reactor.take_events()
        tick()
        for _ in range(10):
            self.reactor.advance(0.02)
        self.assertEqual(len(self.book), 20)
        runs = "".join(word[0] for word in told).split("t")
        self.assertLessEqual(max(map(len, runs)), 4)
        rewrite()
        self.reactor.take_events()
        inventory.stopService()
        told.clear()
        self.reactor.advance(1)
        self.assertNotIn("read", told)

    def test_bridge_of_a_libvirt_network(self) -> None:
        """
        Where a domain's file tells only the name of a libvirt network, that network's
        file beside the directory tells the bridge; a strange name leads nowhere.
        """
        folder = self.path.parent / "network"
        folder.mkdir()
        text = "<networkstatus><network><bridge name='br-red'/></network></{}>"
        (folder / "good.xml").write_text(text.format("networkstatus"))
        (folder / "torn.xml").write_text(text.format("torn"))
        (self.path.parent / "out.xml").write_text(text.format("networkstatus"))
        inventory = self.start()
        for number, name in enumerate(("none", "torn", "../out", "x" * 300, "good")):
            source = f"<source network='{name}'/>"
            self.replace(domain_xml(interface_xml(source=source)))
            self.reactor.settle()
            found = int(number == 4)
            self.assertEqual(len(self.book.by_mac("red", MAC)), found, name)
            self.assertEqual(inventory.describe()["interfaces_anywhere"], 1 - found)
            self.assertEqual(inventory.state, SourceState.LIVE)

    def test_nobody_knows_where(self) -> None:
        """
        While an interface may be on any network, none is known for sure.
        """
        self.replace(domain_xml(interface_xml(source="")))
        inventory = self.start()
        self.assertFalse(inventory.knows("red"))
        self.replace(domain_xml())
        self.reactor.settle()
        self.assertTrue(inventory.knows("red"))

    def test_knows(self) -> None:
        """
        It knows the networks of listeners on devices, and no others.
        """
        inventory = self.start()
        self.assertTrue(inventory.knows("red"))
        self.assertFalse(inventory.knows("br-red"))
        self.assertFalse(inventory.knows("blue"))

    def test_listeners_come_and_go(self) -> None:
        """
        A listener on a domain's bridge makes its ports known, and takes them along.
        """
        self.replace(_xml(MAC, "10.0.0.1"))
        self.networks.clear()
        inventory = self.start()
        self.assertEqual(len(self.book), 0)
        self.assertEqual(inventory.describe()["interfaces_elsewhere"], 1)
        self.networks["br-red"] = "blue"
        self.successResultOf(inventory.refresh("blue", None))
        self.assertEqual(len(self.book.by_mac("blue", MAC)), 1)
        self.networks.clear()
        self.reactor.advance(30)
        self.assertEqual(len(self.book), 0)

    def test_each_change_of_state_is_logged_once(self) -> None:
        """
        The log has a line for each change of state, not for each event.
        """
        self.replace(_xml(MAC, "10.0.0.1"))
        with capturedLogs() as events:
            self.start()
            for _ in range(5):
                self.replace("<torn")
                self.reactor.settle()
                self.reactor.advance(30)
        self.assertEqual([e.get("state") for e in events], ["live", "stale"])

    def test_describe(self) -> None:
        """
        The operator is told what is known and how fresh it is.
        """
        self.replace(_xml(MAC, "10.0.0.1"))
        (self.path / "plain.xml").write_text("<domstatus><domain/></domstatus>")
        inventory = self.start()
        self.reactor.advance(2)
        self.assertEqual(
            inventory.describe(),
            {
                "name": "libvirt",
                "kind": "libvirt",
                "state": "live",
                "problem": None,
                "path": str(self.path),
                "domains": 2,
                "domains_of_nova": 1,
                "ports": 1,
                "interfaces_elsewhere": 0,
                "interfaces_anywhere": 0,
                "interfaces_without_project": 0,
                "polling": False,
                "last_read_age": 2.0,
            },
        )
