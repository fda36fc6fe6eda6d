"""
Tests for L{mdproxy.sources}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock

from mdproxy.config import ConfigError, LeaseSourceConfig, ListenerConfig
from mdproxy.interfaces import SourceState
from mdproxy.lookup import InstanceLookup
from mdproxy.lookup.decision import Policy
from mdproxy.measures import policy_of
from mdproxy.model import Caller, Identity
from mdproxy.ovn_config import OvnConfig
from mdproxy.ovsdb import Remote
from mdproxy.reload import Change
from mdproxy.sources import make_sources
from tests.inotify_reactor import WatchingReactor
from tests.secrecy import SecrecyTestCase
from tests.test_config import PLAIN
from tests.test_inventory_domains import interface_xml, plain_xml
from tests.test_inventory_libvirt import _xml as domain

MAC = "fa:16:3e:00:00:0{}"


def port(last: int, instance: str = "") -> str:
    """
    Write a port for the static inventory.
    """
    return (
        f"- {{network: red, mac: '{MAC.format(last)}', addresses: [10.0.0.{last}], "
        f"instance: {instance or f'i-{last}'}, project: p-1}}\n"
    )


class SourcesTests(SecrecyTestCase):
    """
    Tests for L{Sources}: what a reload does with them, one step at a time.
    """

    def setUp(self) -> None:
        """
        Have sources in use: a file with one port, and one of leases.
        """
        super().setUp()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.first = self.listing("first", port(1))
        self.domains = self.directory / "qemu"
        self.domains.mkdir()
        self.leases = self.directory / "leases"
        self.leases.write_text(f"0 {MAC.format(1)} 10.0.0.1 web *\n")
        self.config = evolve(
            PLAIN,
            static_path=self.first,
            libvirt_path=str(self.domains),
            lease_sources=(LeaseSourceConfig("dnsmasq", str(self.leases), "red"),),
            listeners=(
                ListenerConfig(
                    "red", "address", None, "127.0.0.1", 80, "red", "address"
                ),
                ListenerConfig("blue", "device", "br-red", None, 80, "blue", "mac"),
            ),
        )
        self.reactor = WatchingReactor()
        self.sources = make_sources(self.config, self.reactor)
        # The kernel's own table is no part of this.
        self.sources.neighbours.disownServiceParent()
        self.sources.service.startService()
        self.addCleanup(self.sources.service.stopService)
        self.lookup = InstanceLookup(
            self.sources.books,
            self.sources.inventories,
            self.sources.leases,
            self.sources.neighbours,
            policy_of(self.config),
            Clock(),
            lambda: 0.0,
        )

    def listing(self, name: str, *ports: str) -> str:
        """
        Write a file for the static inventory.
        """
        path = self.directory / f"{name}.yaml"
        path.write_text("ports:\n" + "".join(ports))
        return str(path)

    def prepare(self, **changes: Any) -> Change:
        """
        Make ready for a configuration that differs.
        """
        self.wanted = evolve(self.config, **changes)
        return self.sources.prepare(self.lookup, self.config, self.wanted)

    def take(self, **changes: Any) -> None:
        """
        Change over to a configuration that differs.
        """
        change = self.prepare(**changes)
        change.apply()
        change.finish()
        self.config = self.wanted

    def instance(self, last: int) -> str | None:
        """
        Look up whose an address is.
        """
        caller = Caller("red", f"10.0.0.{last}", None, "address")
        verdict = self.lookup.verdict(caller)
        return verdict.port.instance_id if isinstance(verdict, Identity) else None

    def describe(self) -> list[tuple[str, str]]:
        """
        Name the sources that are shown to the operator, and where they read.
        """
        return [
            (each["name"], Path(each["path"]).name)
            for each in (source.describe() for source in self.sources.all[1:])
        ]

    def watching(self) -> int:
        """
        Count what is watched: one descriptor for each source that runs.
        """
        return len(self.reactor.getReaders())

    def test_another_path(self) -> None:
        """
        Another file takes the place of the first; a port that both know is the same
        instance's at every moment.
        """
        second = self.listing("second", port(1), port(2))
        change = self.prepare(static_path=second)
        self.assertEqual((self.instance(1), self.instance(2)), ("i-1", None))
        self.assertEqual(self.watching(), 3)
        change.apply()
        self.assertEqual((self.instance(1), self.instance(2)), ("i-1", "i-2"))
        change.finish()
        self.assertEqual((self.instance(1), self.instance(2)), ("i-1", "i-2"))
        self.assertEqual(self.watching(), 2)
        name = "dnsmasq:" + str(self.leases) + "@red"
        self.assertEqual(self.describe(), [("static", "second.yaml"), (name, "leases")])

    def test_the_new_file_counts(self) -> None:
        """
        After that the new file alone is followed: what it does not have is not known.
        """
        second = self.listing("second", port(2))
        self.take(static_path=second)
        self.assertEqual((self.instance(1), self.instance(2)), (None, "i-2"))
        self.listing("first", port(1), port(3))
        self.listing("second", port(2, "i-other"), port(4))
        self.reactor.settle()
        self.assertEqual(
            [self.instance(last) for last in (1, 2, 3, 4)],
            [None, "i-other", None, "i-4"],
        )

    def test_the_same_file_by_another_name(self) -> None:
        """
        Where the same file is named in another way nobody is forgotten.
        """
        for _ in range(2):
            parent, _, name = self.config.static_path.rpartition("/")
            self.take(static_path=f"{parent}/./{name}")
            self.assertEqual(self.instance(1), "i-1")

    def test_nobody_known(self) -> None:
        """
        A file of which every entry is refused is not taken.
        """
        path = self.listing("wrong", port(1).replace("fa:16", "nonsense"))
        with self.assertRaises(ConfigError) as raised:
            self.prepare(static_path=path)
        self.assertIn("knows no port", raised.exception.faults[0])
        self.assertEqual(self.instance(1), "i-1")

    def test_undone(self) -> None:
        """
        Undone, before it has changed over or after, all is as it was.
        """
        second = self.listing("second", port(1, "i-other"), port(2))
        for applied in (False, True):
            both = ("static", "libvirt")
            change = self.prepare(static_path=second, inventories=both)
            if applied:
                change.apply()
                self.assertEqual(self.instance(1), "i-other")
            change.undo()
            self.assertEqual((self.instance(1), self.instance(2)), ("i-1", None))
            self.assertEqual(self.watching(), 2)
            self.assertEqual(self.describe()[0], ("static", "first.yaml"))
        self.listing("first", port(3))
        self.reactor.settle()
        self.assertEqual((self.instance(1), self.instance(3)), (None, "i-3"))

    def test_unreadable(self) -> None:
        """
        Sources that can't read anything are faults, all at once; what was there stays.
        """
        missing = str(self.directory / "missing.yaml")
        folder = self.directory / "folder"
        folder.mkdir()
        error = self.assertRaises(
            ConfigError,
            self.prepare,
            static_path=missing,
            lease_sources=(LeaseSourceConfig("dnsmasq", str(folder), "red"),),
        )
        self.assertEqual(
            error.faults,
            (
                f"static: {missing} does not exist",
                f"dnsmasq:{folder}@red: {folder} is no plain file",
            ),
        )
        self.assertEqual(self.instance(1), "i-1")
        self.assertEqual(self.watching(), 2)
        self.assertEqual(self.describe()[0], ("static", "first.yaml"))

    def test_kept(self) -> None:
        """
        What does not change is not made anew; it reads what it may have missed.
        """
        before = self.sources.all
        self.reactor.advance(2)
        self.listing("first", port(2))
        self.take()
        self.assertEqual(self.sources.all, before)
        self.assertEqual((self.instance(1), self.instance(2)), (None, "i-2"))

    def test_more_and_fewer(self) -> None:
        """
        An inventory may come and go; whoever only the one that is gone knew is unknown,
        and the lookup asks those that there are, in their order.
        """
        mac = MAC.format(5)
        (self.domains / "five.xml").write_bytes(domain(mac, "10.0.0.5").encode())
        self.take(inventories=("libvirt", "static"))
        self.assertEqual(
            [name for name, _ in self.describe()][:2], ["libvirt", "static"]
        )
        self.assertIs(self.lookup._inventories[0], self.sources.inventories[0])
        self.assertEqual(len(self.sources.books.ports.by_mac("blue", mac)), 1)
        self.take(inventories=("static",))
        self.assertEqual(self.sources.books.ports.by_mac("blue", mac), ())
        self.assertEqual(self.instance(1), "i-1")
        self.assertEqual(self.watching(), 2)

    def test_projects(self) -> None:
        """
        Whose an instance is that Nova did not make the static file says, or else the
        configuration; a change of either counts at once.
        """
        mac = MAC.format(5)
        (self.domains / "five.xml").write_bytes(plain_xml(interface_xml(mac)).encode())

        def project() -> str | None:
            """
            Tell whose it is.
            """
            ports = self.sources.books.ports.by_mac("blue", mac)
            return ports[0].project_id if ports else None

        both = ("static", "libvirt")
        self.take(inventories=both)
        self.assertIsNone(project())
        self.reactor.advance(2)
        self.take(inventories=both, libvirt_project="by-default")
        self.assertEqual(project(), "by-default")
        self.reactor.advance(2)
        with open(self.first, "a") as file:
            file.write("projects: {i-plain: by-the-file}\n")
        self.reactor.settle()
        self.assertEqual(project(), "by-the-file")
        self.reactor.advance(2)
        self.take(inventories=both, static_path=self.listing("second", port(1)))
        self.assertEqual(project(), "by-default")
        self.reactor.advance(2)
        self.take(inventories=both, libvirt_project=None)
        self.assertIsNone(project())

    def test_inventories_elsewhere(self) -> None:
        """
        An inventory that is not there yet when the configuration is read again is no
        fault: it connects when it can.
        """
        ovn = OvnConfig(
            (Remote("unix", str(self.directory / "none")),), None, None, None, "", "h"
        )
        self.take(inventories=("ovn", "static"), ovn=ovn)
        self.assertEqual(
            [source.name for source in self.sources.inventories], ["ovn", "static"]
        )
        self.assertEqual(self.instance(1), "i-1")
        first: Any = self.sources.inventories[0]
        self.take(inventories=("ovn", "static"), ovn=evolve(ovn, chassis="c"))
        self.assertIsNot(self.sources.inventories[0], first)
        self.assertFalse(first.running)
        self.take(inventories=("static",), ovn=None)

    def test_other_directory(self) -> None:
        """
        Of two directories with domains of the same name the one in use counts.
        """
        mac = MAC.format(5)
        for name, address in (("one", "10.0.0.5"), ("two", "10.0.0.6")):
            directory = self.directory / name
            directory.mkdir()
            (directory / "vm.xml").write_bytes(domain(mac, address).encode())
        both = ("static", "libvirt")
        for name, address in (("one", "10.0.0.5"), ("two", "10.0.0.6")):
            path = str(self.directory / name)
            self.take(inventories=both, libvirt_path=path)
            [known] = self.sources.books.ports.by_mac("blue", mac)
            self.assertEqual(known.addresses, {address})

    def test_leases(self) -> None:
        """
        Another lease file takes the place of the first, and what only the first had is
        forgotten.
        """
        other = self.directory / "other"
        other.write_text(f"0 {MAC.format(2)} 10.0.0.2 db *\n")
        book = self.sources.books.leases
        self.take(lease_sources=(LeaseSourceConfig("dnsmasq", str(other), "red"),))
        self.assertIsNone(book.holder("red", "10.0.0.1", 0))
        self.assertIsNotNone(book.holder("red", "10.0.0.2", 0))
        self.assertEqual(self.lookup._lease_sources, self.sources.leases)
        self.assertEqual(self.watching(), 2)
        # One whose file is not there yet is no fault: no lease was given.
        missing = str(self.directory / "missing")
        self.take(lease_sources=(LeaseSourceConfig("dnsmasq", missing, "red"),))
        [source] = self.sources.leases
        self.assertTrue(source.knows("red"))
        self.assertEqual(source.state, SourceState.STARTING)
        self.assertEqual(len(book), 0)

    def test_policy(self) -> None:
        """
        The policy goes with the sources.
        """
        change = self.prepare(lease_conflict="refuse")
        change.apply()
        self.assertEqual(self.lookup._policy, Policy(False, True))
        change.undo()
        self.assertEqual(self.lookup._policy, Policy(False, False))
