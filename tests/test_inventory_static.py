"""
Tests for L{mdproxy.inventory.static}.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.inventory.static import Listing, StaticInventory, read_listing
from mdproxy.lookup.books import PortBook
from mdproxy.model import Malformed, Port
from tests.contracts import InventoryContract
from tests.inotify_reactor import WatchingReactor

MAC = "fa:16:3e:00:00:01"


def _entry(**changes: str | None) -> str:
    """
    Write one entry of the file.

    @param changes: Keys to change, add, or (C{None}) leave out.
    """
    entry: dict[str, str | None] = {
        "network": "red",
        "mac": MAC,
        "addresses": "[10.0.0.1]",
        "instance": "i-1",
        "project": "p-1",
        **changes,
    }
    pairs = [f"{key}: {value}" for key, value in entry.items() if value is not None]
    return "- " + "\n  ".join(pairs) + "\n"


def _read(*entries: str) -> Listing:
    """
    Read a file of some entries.
    """
    return read_listing(("ports:\n" + "".join(entries)).encode(), "static")


class ReadListingTests(SynchronousTestCase):
    """
    Tests for L{read_listing}.
    """

    def test_port(self) -> None:
        """
        An entry is a port, its MAC and addresses in canonical form.
        """
        listing = _read(
            _entry(mac="FA-16-3E-00-00-01", addresses='[10.0.0.1, "FE80::0:1"]')
        )
        port = Port(
            "red",
            MAC,
            "i-1",
            "p-1",
            frozenset({"10.0.0.1", "fe80::1"}),
            inventory="static",
        )
        self.assertEqual(listing, Listing((port,), ()))

    def test_addresses(self) -> None:
        """
        No addresses, or none known: that is not the same.
        """
        for text, addresses in (
            (None, None),
            ("", None),
            ("~", None),
            ("[]", frozenset[str]()),
            ("['10.0.0.1', 10.0.0.1]", frozenset({"10.0.0.1"})),
        ):
            (port,) = _read(_entry(addresses=text)).ports
            self.assertEqual(port.addresses, addresses, text)

    def test_text_as_written(self) -> None:
        """
        What YAML would take for numbers, dates or truths is text.
        """
        for text in ("1234e567", "0x10", "2026-11-21", "yes", "0123", "12_34"):
            (port,) = _read(_entry(project=text, instance=text)).ports
            self.assertEqual((port.project_id, port.instance_id), (text, text))
        (port,) = _read(_entry(mac="12:34:56:12:34:56")).ports
        self.assertEqual(port.mac, "12:34:56:12:34:56")

    def test_nothing_listed(self) -> None:
        """
        An empty list is a good file.
        """
        for text in (b"ports:", b"ports: []", b"# x\nports: ~\n", b'{"ports": []}'):
            self.assertEqual(read_listing(text, "static"), Listing((), ()))

    def test_bad_entries(self) -> None:
        """
        A bad entry is refused with its number and the reason; the others count.
        """
        cases = {
            "no MAC": _entry(mac="fa:16"),
            "no IP address": _entry(addresses="[10.0.0.1, 10.0.0.300]"),
            "no id": _entry(instance='"a b"'),
            "no id ": _entry(project='"a\\nX-Evil: 1"'),
            "'addresses' is no list": _entry(addresses="10.0.0.1"),
            "an address is no text": _entry(addresses="[[]]"),
            "'network' is missing": _entry(network=None),
            "'mac' is missing": _entry(mac="~"),
            "'instance' is missing": _entry(instance="{}"),
            "'project' is missing": _entry(project='""'),
            "no key 'adresses'": _entry(adresses="[10.0.0.1]"),
            "no mapping": "- x\n",
            "is no mapping": "- [x]\n",
        }
        for reason, entry in cases.items():
            listing = _read(_entry(), entry, _entry(mac="fa:16:3e:00:00:02"))
            self.assertEqual(len(listing.ports), 2, reason)
            (problem,) = listing.problems
            self.assertTrue(problem.startswith("port 2: "), problem)
            self.assertIn(reason.strip(), problem)

    def test_bad_files(self) -> None:
        """
        What is no such file at all is refused as a whole, saying where.
        """
        bomb = "a: &a [x, x]\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(9))
        cases = {
            "no list 'ports'": "",
            "has no list 'ports'": "port: []",
            "it has no list": "- ports",
            "'ports' is no list": "ports: {a: b}",
            "line 1: anchors and aliases": bomb,
            "line 2: anchors and aliases": "ports:\n- *a",
            "line 1: tags": "ports: !!python/object/apply:os.system [id]",
            "nested too deeply": "ports: " + "[" * 1000,
            "line 3": "ports:\n- mac: x\n  mac: y",
            "line 1: the key None": "~: x",
            "line 1: the key []": "[]: x",
            "more than one document": "ports: []\n---\nports: []",
            "line 2": "ports:\n\t- x",
            "line ": "ports: [",
            "control characters": "ports: \0",
        }
        for reason, text in cases.items():
            with self.assertRaises(Malformed, msg=reason) as caught:
                read_listing(text.encode(), "static")
            self.assertIn(reason, str(caught.exception))
        with self.assertRaises(Malformed):
            read_listing(b"ports: \xff\xfe", "static")

    def test_file_is_not_quoted(self) -> None:
        """
        The reason of a refusal does not hold a long piece of the file.
        """
        with self.assertRaises(Malformed) as caught:
            read_listing(b"ports: [" + b"x" * 10000 + b"\n}", "static")
        self.assertLess(len(str(caught.exception)), 200)

    @given(
        st.one_of(
            st.binary(max_size=60), st.text("pors:-[]{}&*!?|>'\"\n a", max_size=40)
        )
    )
    def test_any_bytes(self, data: bytes | str) -> None:
        """
        Any file is a listing or refused; nothing else happens.
        """
        content = data if isinstance(data, bytes) else b"ports:\n" + data.encode()
        try:
            listing = read_listing(content, "static")
        except Malformed:
            return
        self.assertEqual(listing.ports, ())


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
        self.entries[mac] = _entry(mac=mac, addresses=f"[{address}]")
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
        self.write(_entry())
        self.start()
        self.assertEqual(len(self.book), 1)
        self.write()
        self.reactor.settle()
        self.assertEqual(len(self.book), 0)
        new = self.directory / "new"
        new.write_text("ports:\n" + _entry())
        new.rename(self.path)
        self.reactor.settle()
        self.assertEqual(len(self.book), 1)
        self.path.unlink()
        self.write(_entry(), _entry(mac="fa:16:3e:00:00:02"))
        self.reactor.settle()
        self.assertEqual(len(self.book), 2)

    def test_link(self) -> None:
        """
        A link that is made to point elsewhere counts, wherever in the path it is
        (Kubernetes replaces mounted files like that).
        """
        for name, entries in (("v1", ""), ("v2", _entry())):
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
        self.write(_entry())
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
        self.write(_entry())
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
        self.write(_entry(), _entry(mac="x"), _entry(mac="y"))
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
        self.write(_entry(), _entry(), _entry(instance="i-2"))
        self.start()
        self.assertEqual(len(self.book.by_mac("red", MAC)), 3)

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
        self.write(_entry())
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
                "refused_ports": 0,
                "polling": False,
                "last_read_age": 2.0,
            },
        )
