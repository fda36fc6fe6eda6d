"""
Tests for L{mdproxy.lookup.watchers}.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from errno import ENOSPC
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inotify import IN_Q_OVERFLOW
from mdproxy.interfaces import SourceState
from mdproxy.lookup.books import LeaseBook
from mdproxy.lookup.epoch import Epoch
from mdproxy.lookup.kinds import Naming
from mdproxy.lookup.watchers import LeaseWatcher
from mdproxy.model import Lease
from tests.contracts import SourceContract
from tests.inotify_reactor import WatchingReactor
from tests.test_lookup_formats_dhcpd import block
from tests.test_lookup_formats_kea import HEADER, row

MAC = "fa:16:3e:77:00:01"


def _line(last: int, expiry: int = 0) -> bytes:
    """
    Write a lease.
    """
    return f"{expiry} {MAC} 10.0.0.{last} * *\n".encode()


def watcher_of(
    reactor: MemoryReactorClock,
    book: LeaseBook,
    path: str,
    naming: Naming,
    kind: str = "dnsmasq",
) -> LeaseWatcher:
    """
    Make a watcher by whose time it is 0 when the reactor's clock says so.
    """
    epoch = Epoch(reactor.seconds, reactor.seconds)
    return LeaseWatcher(reactor, reactor, book, "dm", kind, path, naming, epoch)


class LeaseWatcherContractTests(SourceContract, SynchronousTestCase):
    """
    The contract of sources, on L{LeaseWatcher}.
    """

    def make_source(self, reactor: MemoryReactorClock) -> LeaseWatcher:
        """
        Make a watcher of a good file.
        """
        path = self.mktemp()
        os.mkdir(path)
        Path(path, "leases").write_bytes(_line(1))
        return watcher_of(reactor, LeaseBook(), f"{path}/leases", Naming("red"))


class LeaseWatcherTests(SynchronousTestCase):
    """
    Tests for L{LeaseWatcher} on one file, with the kernel's own events.
    """

    def setUp(self) -> None:
        """
        Name a file in a directory of its own.
        """
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "leases"
        self.reactor = WatchingReactor()
        self.book = LeaseBook()

    def start(self, path: str | None = None) -> LeaseWatcher:
        """
        Start a watcher.
        """
        watcher = watcher_of(
            self.reactor, self.book, path or str(self.path), Naming("red")
        )
        watcher.startService()
        self.addCleanup(watcher.stopService)
        return watcher

    def held(self) -> list[int]:
        """
        List the last numbers of the addresses that have a lease.
        """
        return [
            last
            for last in range(256)
            if self.book.holder("red", f"10.0.0.{last}", 0.0) is not None
        ]

    def test_start(self) -> None:
        """
        A file that is there counts at once; absences do when it is known to be at rest.
        """
        self.path.write_bytes(f"50 {MAC} 10.0.0.1 web *\n".encode())
        watcher = self.start()
        self.assertEqual(
            self.book.holder("red", "10.0.0.1", 49.0),
            Lease("red", "10.0.0.1", MAC, 50.0, "web"),
        )
        self.assertEqual(watcher.state, SourceState.STARTING)
        self.reactor.advance(1)
        self.assertEqual(watcher.state, SourceState.LIVE)

    def test_rewritten_in_place(self) -> None:
        """
        While dnsmasq writes its file anew nothing is forgotten; afterwards what has
        gone is, and what is new was there at once (scenario D7).
        """
        self.path.write_bytes(_line(1) + _line(2))
        self.start()
        self.reactor.advance(5)
        with self.path.open("r+b", buffering=0) as file:
            file.truncate()
            self.reactor.settle()
            self.assertEqual(self.held(), [1, 2])
            file.write(_line(3) + _line(1)[:7])
            self.reactor.settle()
            self.assertEqual(self.held(), [1, 2, 3])
            file.write(_line(1)[7:])
            self.reactor.settle()
            self.reactor.advance(0.9)
            self.assertEqual(self.held(), [1, 2, 3])
        self.reactor.settle()
        self.reactor.advance(1)
        self.assertEqual(self.held(), [1, 3])

    def test_emptied(self) -> None:
        """
        A file that was emptied, and stays so, has no leases.
        """
        self.path.write_bytes(_line(1))
        watcher = self.start()
        self.reactor.advance(5)
        self.path.write_bytes(b"")
        self.reactor.settle()
        self.assertEqual(self.held(), [1])
        self.reactor.advance(1)
        self.assertEqual(self.held(), [])
        self.assertEqual(watcher.state, SourceState.LIVE)

    def test_missing_at_start(self) -> None:
        """
        A file that isn't there yet is waited for, directory and all.
        """
        watcher = self.start(str(self.directory / "later" / "leases"))
        self.assertEqual(watcher.state, SourceState.STARTING)
        self.assertIn("does not exist", watcher.describe()["problem"])
        (self.directory / "later").mkdir()
        (self.directory / "later" / "leases").write_bytes(_line(1))
        self.reactor.pump([1, 1])
        self.assertEqual(self.held(), [1])
        self.assertEqual(watcher.state, SourceState.LIVE)
        self.assertIsNone(watcher.describe()["problem"])

    def test_vanished(self) -> None:
        """
        A file that vanishes leaves what it said, out of date, until it is back.
        """
        self.path.write_bytes(_line(1))
        watcher = self.start()
        self.reactor.advance(1)
        self.path.unlink()
        self.reactor.settle()
        self.assertEqual(watcher.state, SourceState.STALE)
        self.assertIn("does not exist", watcher.describe()["problem"])
        self.reactor.pump([30] * 3)
        self.assertEqual(self.held(), [1])
        self.path.write_bytes(_line(2))
        self.reactor.settle()
        self.assertEqual(self.held(), [1, 2])
        self.assertEqual(watcher.state, SourceState.LIVE)
        self.reactor.advance(1)
        self.assertEqual(self.held(), [2])

    def test_vanished_directory(self) -> None:
        """
        The same with the directory (scenario D8).
        """
        self.path.write_bytes(_line(1))
        watcher = self.start()
        self.reactor.advance(1)
        shutil.rmtree(self.directory)
        self.reactor.settle()
        self.assertEqual(watcher.state, SourceState.STALE)
        self.directory.mkdir()
        self.path.write_bytes(_line(2))
        self.reactor.pump([1, 1])
        self.assertEqual(self.held(), [2])
        self.assertEqual(watcher.state, SourceState.LIVE)

    def test_renamed_over(self) -> None:
        """
        A file that was put in the old one's place counts (scenario D8).
        """
        self.path.write_bytes(_line(1))
        self.start()
        self.reactor.advance(1)
        new = self.directory / "new"
        new.write_bytes(_line(2))
        new.rename(self.path)
        self.reactor.settle()
        self.reactor.advance(1)
        self.assertEqual(self.held(), [2])

    def test_unreadable(self) -> None:
        """
        A file that can't be read at the start is a failure, until it can.
        """
        self.path.mkdir()
        watcher = self.start()
        self.assertEqual(watcher.state, SourceState.FAILED)
        self.assertIn("is no plain file", watcher.describe()["problem"])
        self.path.rmdir()
        self.path.write_bytes(_line(1))
        self.reactor.settle()
        self.reactor.advance(1)
        self.assertEqual(watcher.state, SourceState.LIVE)

    def test_torn_for_good(self) -> None:
        """
        A file that ends within a line, and stays so, is out of date.
        """
        self.path.write_bytes(_line(1) + _line(2))
        watcher = self.start()
        self.reactor.advance(1)
        self.path.write_bytes((_line(3) + _line(1))[:-1])
        self.reactor.settle()
        self.reactor.advance(1)
        self.assertEqual(self.held(), [1, 2, 3])
        self.assertEqual(watcher.state, SourceState.STALE)
        self.assertIn("ends within a line", watcher.describe()["problem"])
        with self.path.open("ab") as file:
            file.write(b"\n")
        self.reactor.settle()
        self.reactor.advance(1)
        self.assertEqual(self.held(), [1, 3])
        self.assertEqual(watcher.state, SourceState.LIVE)

    def test_bad_lines(self) -> None:
        """
        Lines that can't be read are counted, and the others count.
        """
        self.path.write_bytes(b"\xff\n" + _line(1) + b"nonsense\n")
        watcher = self.start()
        self.assertEqual(self.held(), [1])
        self.assertEqual(watcher.describe()["refused_lines"], 2)

    def test_unheard_change(self) -> None:
        """
        A change that nobody told of is found by the rescan.
        """
        self.path.write_bytes(_line(1))
        self.start()
        self.path.write_bytes(_line(2))
        self.reactor.advance(30)
        self.assertEqual(self.held(), [1, 2])

    def test_link(self) -> None:
        """
        Of a file that is a link to one elsewhere the changes are heard.
        """
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "target").write_bytes(_line(1))
        self.path.symlink_to(elsewhere / "target")
        self.start()
        (elsewhere / "target").write_bytes(_line(1) + _line(2))
        self.reactor.take_events()
        self.assertEqual(self.held(), [1, 2])
        (elsewhere / "other").write_bytes(_line(3))
        self.path.unlink()
        self.path.symlink_to(elsewhere / "other")
        self.reactor.settle()
        self.assertEqual(self.held(), [1, 2, 3])

    def test_no_news(self) -> None:
        """
        Where there are no news to be had the file is looked at every second, by the
        same rules (scenario D9).
        """

        def refuse(*args: object) -> NoReturn:
            raise OSError(ENOSPC, "No space left on device")

        self.path.write_bytes(_line(1) + _line(2))
        watcher = watcher_of(self.reactor, self.book, str(self.path), Naming("red"))
        watcher._watch._open_notifier = refuse
        watcher.startService()
        self.addCleanup(watcher.stopService)
        self.reactor.pump([1] * 5)
        self.assertTrue(watcher.describe()["polling"])
        self.path.write_bytes(_line(3))
        self.reactor.advance(1)
        self.assertEqual(self.held(), [1, 2, 3])
        self.reactor.advance(1)
        self.assertEqual(self.held(), [3])

    def test_other_files(self) -> None:
        """
        Other files of the directory are none of its business.
        """
        self.path.write_bytes(_line(1))
        watcher = self.start()
        (self.directory / "leases2").write_bytes(_line(2))
        self.reactor.settle()
        self.assertEqual(self.held(), [1])
        self.assertEqual(watcher.describe()["files"], 1)

    def test_each_change_of_state_is_logged_once(self) -> None:
        """
        The log has a line for each change of state, not for each event.
        """
        with capturedLogs() as events:
            self.path.write_bytes(_line(1))
            self.start()
            for last in range(2, 10):
                self.path.write_bytes(_line(last))
                self.reactor.settle()
                self.reactor.advance(1)
            self.path.unlink()
            self.reactor.settle()
            self.reactor.pump([30] * 5)
        self.assertEqual([e.get("state") for e in events], ["live", "stale"])

    def test_describe(self) -> None:
        """
        The operator is told what is known and how fresh it is.
        """
        self.path.write_bytes(_line(1))
        watcher = self.start()
        self.reactor.advance(1)
        self.reactor.advance(2)
        self.assertEqual(
            watcher.describe(),
            {
                "name": "dm",
                "kind": "dnsmasq",
                "state": "live",
                "problem": None,
                "path": str(self.path),
                "network": "red",
                "networks": 1,
                "files": 1,
                "leases": 1,
                "leases_elsewhere": 0,
                "refused_lines": 0,
                "polling": False,
                "overflows": 0,
                "last_read_age": 2.0,
                "stores": [
                    {
                        "path": str(self.path),
                        "networks": ["red"],
                        "problem": None,
                        "leases": 1,
                        "leases_elsewhere": 0,
                        "refused_lines": 0,
                        "settled": True,
                        "last_read_age": 2.0,
                    }
                ],
            },
        )

    def test_stop_while_waiting(self) -> None:
        """
        A watcher that is stopped while it waits for a file to rest waits no more.
        """
        self.path.write_bytes(_line(1))
        watcher = self.start()
        watcher.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        watcher.startService()
        self.reactor.advance(1)
        self.assertEqual(self.held(), [1])


class PatternTests(SynchronousTestCase):
    """
    Tests for L{LeaseWatcher} where the path is a pattern.
    """

    def setUp(self) -> None:
        """
        Start a watcher of files in several directories, of which one is there.
        """
        self.parent = Path(self.mktemp()).absolute()
        (self.parent / "one").mkdir(parents=True)
        (self.parent / "one" / "leases").write_bytes(_line(1))
        self.reactor = WatchingReactor()
        self.book = LeaseBook()
        self.watcher = watcher_of(
            self.reactor, self.book, str(self.parent / "*" / "lease[s]"), Naming("red")
        )
        self.watcher.startService()
        self.addCleanup(self.watcher.stopService)
        self.reactor.advance(1)

    def test_new_directory(self) -> None:
        """
        A file in a directory that comes later counts, and so do its changes.
        """
        self.assertEqual(self.watcher.state, SourceState.LIVE)
        two = self.parent / "two"
        two.mkdir()
        (two / "leases").write_bytes(_line(2))
        self.reactor.settle()
        self.assertEqual(len(self.book), 2)
        (two / "leases").write_bytes(_line(3))
        (two / "others").write_bytes(_line(4))
        self.reactor.settle()
        self.reactor.advance(1)
        self.assertEqual(len(self.book), 2)
        self.assertIsNotNone(self.book.holder("red", "10.0.0.3", 0.0))

    def test_same_address_in_two_files(self) -> None:
        """
        A file's removal takes back what it said, and not what another one says.
        """
        two = self.parent / "two"
        two.mkdir()
        (two / "leases").write_bytes(_line(1) + _line(2))
        self.reactor.settle()
        shutil.rmtree(two)
        self.reactor.settle()
        self.assertIsNotNone(self.book.holder("red", "10.0.0.1", 0.0))
        self.assertIsNone(self.book.holder("red", "10.0.0.2", 0.0))
        self.assertEqual(self.watcher.state, SourceState.LIVE)
        self.assertEqual(self.watcher.describe()["files"], 1)

    def test_all_gone(self) -> None:
        """
        The last directory that goes takes its leases with it, too, for a host may have
        no network; not so where the one that they were in has gone.
        """
        two = self.parent / "two"
        two.mkdir()
        (two / "leases").write_bytes(_line(2))
        self.reactor.settle()
        shutil.rmtree(self.parent / "one")
        self.reactor.settle()
        self.assertEqual(len(self.book), 1)
        self.assertEqual(self.watcher.state, SourceState.LIVE)
        shutil.rmtree(self.parent / "two")
        self.reactor.settle()
        self.assertEqual(len(self.book), 0)
        self.assertEqual(self.watcher.state, SourceState.LIVE)

    def test_parent_gone(self) -> None:
        """
        Where the directory is gone that all had theirs in, what they said is kept, out
        of date, until it is there again.
        """
        self.parent.rename(self.parent.with_name("away"))
        self.reactor.settle()
        self.reactor.pump([1] * 3)
        self.assertEqual(len(self.book), 1)
        self.assertEqual(self.watcher.state, SourceState.STALE)
        self.parent.with_name("away").rename(self.parent)
        self.reactor.pump([1] * 3)
        self.assertEqual(len(self.book), 1)
        self.assertEqual(self.watcher.state, SourceState.LIVE)

    def test_nothing_matches(self) -> None:
        """
        A pattern that nothing matches yet is waited for.
        """
        watcher = watcher_of(
            self.reactor, self.book, str(self.parent / "?"), Naming("red")
        )
        watcher.startService()
        self.addCleanup(watcher.stopService)
        self.assertEqual(watcher.state, SourceState.STARTING)
        self.assertIn("nothing matches", watcher.describe()["problem"])

    def test_file_in_the_name(self) -> None:
        """
        Where the files' names are the pattern a file that goes takes its leases with it
        when it has not come back for a second; the last one does not.
        """
        for last in (1, 2):
            (self.parent / f"dnsmasq.{last}").write_bytes(_line(last))
        book = LeaseBook()
        watcher = watcher_of(
            self.reactor, book, str(self.parent / "dnsmasq.*"), Naming("red")
        )
        watcher.startService()
        self.addCleanup(watcher.stopService)
        self.reactor.advance(1)
        (self.parent / "dnsmasq.1").unlink()
        self.reactor.settle()
        self.assertEqual(watcher.state, SourceState.LIVE)
        self.reactor.advance(0.9)
        self.assertEqual(len(book), 2)
        self.reactor.advance(0.1)
        self.assertEqual(len(book), 1)
        self.assertEqual(watcher.state, SourceState.LIVE)
        (self.parent / "dnsmasq.2").unlink()
        self.reactor.settle()
        self.reactor.advance(1)
        self.assertEqual(len(book), 1)
        self.assertEqual(watcher.state, SourceState.STALE)

    def test_other_directories(self) -> None:
        """
        Directories that the pattern does not mean are none of its business, nor are
        files in their place.
        """
        (self.parent / "file").write_bytes(_line(7))
        (self.parent / ".hidden").mkdir()
        (self.parent / ".hidden" / "leases").write_bytes(_line(8))
        self.reactor.pump([30, 30])
        self.assertEqual(len(self.book), 1)
        self.assertEqual(self.watcher.state, SourceState.LIVE)
        self.assertFalse(self.watcher.describe()["polling"])

    def test_deep_pattern(self) -> None:
        """
        Directories of several levels may be patterns; new ones are found in time.
        """
        book = LeaseBook()
        path = self.parent.parent / "*" / "*" / "leases"
        watcher = watcher_of(self.reactor, book, str(path), Naming("red"))
        watcher.startService()
        self.addCleanup(watcher.stopService)
        self.assertEqual(len(book), 1)
        (self.parent / "two").mkdir()
        (self.parent / "two" / "leases").write_bytes(_line(2))
        self.reactor.advance(30)
        self.assertEqual(len(book), 2)


class NeutronTests(SynchronousTestCase):
    """
    Tests for L{LeaseWatcher} on Neutron's directory: networks come and go as a whole.
    """

    def setUp(self) -> None:
        """
        Start a watcher of two networks that use the same addresses.
        """
        self.parent = Path(self.mktemp()).absolute()
        self.reactor = WatchingReactor()
        self.book = LeaseBook()
        self.add("red", _line(1))
        self.add("blue", _line(1) + _line(2))
        self.watcher = watcher_of(
            self.reactor, self.book, str(self.parent / "*" / "leases"), Naming()
        )
        self.assertTrue(self.watcher.knows("any"))
        self.watcher.startService()
        self.addCleanup(self.watcher.stopService)
        self.reactor.advance(1)

    def add(self, network: str, data: bytes) -> Path:
        """
        Make a network's directory as Neutron does: the lease file takes its place whole
        (neutron/agent/linux/dhcp.py, C{Dnsmasq._output_init_lease_file}).
        """
        directory = self.parent / network
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("host", "opts"):
            (directory / name).write_bytes(b"x")
        (directory / "tmpx").write_bytes(data)
        (directory / "tmpx").rename(directory / "leases")
        return directory / "leases"

    def held(self, network: str) -> list[int]:
        """
        List the last numbers of the addresses that have a lease.
        """
        return [
            last
            for last in range(256)
            if self.book.holder(network, f"10.0.0.{last}", 0.0) is not None
        ]

    def test_networks(self) -> None:
        """
        Each network's leases are its own, and it is known that it is here.
        """
        self.assertEqual((self.held("red"), self.held("blue")), ([1], [1, 2]))
        self.assertTrue(self.watcher.knows("red"))
        self.assertFalse(self.watcher.knows("green"))
        described = self.watcher.describe()
        self.assertEqual((described["networks"], described["leases"]), (2, 3))
        self.assertIsNone(described["network"])
        self.assertEqual(
            [s["networks"] for s in described["stores"]], [["blue"], ["red"]]
        )

    def test_network_comes(self) -> None:
        """
        A network that comes is there as soon as its file is.
        """
        self.add("green", _line(5))
        self.reactor.take_events()
        self.assertEqual(self.held("green"), [5])
        self.assertTrue(self.watcher.knows("green"))
        self.reactor.settle()
        path = self.parent / "green" / "leases"
        path.write_bytes(_line(5) + _line(6))
        self.reactor.take_events()
        self.assertEqual(self.held("green"), [5, 6])

    def test_network_goes(self) -> None:
        """
        A network that is removed takes its leases with it at once and nothing of the
        others, whose changes are heard as before.
        """
        with capturedLogs() as events:
            shutil.rmtree(self.parent / "red")
            self.reactor.settle()
        self.assertEqual((self.held("red"), self.held("blue")), ([], [1, 2]))
        self.assertFalse(self.watcher.knows("red"))
        self.assertEqual(events, [])
        self.reactor.settle()
        with (self.parent / "blue" / "leases").open("ab") as file:
            file.write(_line(3))
        self.reactor.take_events()
        self.assertEqual(self.held("blue"), [1, 2, 3])

    def test_network_moved_away(self) -> None:
        """
        The same where its directory was moved elsewhere.
        """
        (self.parent / "red").rename(self.parent.with_name(self.parent.name + "x"))
        self.reactor.settle()
        self.assertEqual((self.held("red"), self.held("blue")), ([], [1, 2]))

    def test_network_comes_back(self) -> None:
        """
        A network that was removed and made anew has what it has now.
        """
        shutil.rmtree(self.parent / "red")
        self.add("red", _line(9))
        self.reactor.settle()
        self.reactor.settle()
        self.reactor.advance(1)
        self.assertEqual(self.held("red"), [9])
        self.assertEqual(self.watcher.state, SourceState.LIVE)

    def test_network_without_leases(self) -> None:
        """
        A directory without a lease file is no trouble: Neutron makes it before.
        """
        (self.parent / "green").mkdir()
        self.reactor.settle()
        self.reactor.advance(30)
        self.assertEqual(self.watcher.state, SourceState.LIVE)
        self.assertFalse(self.watcher.knows("green"))
        self.add("green", _line(1))
        self.reactor.take_events()
        self.assertEqual(self.held("green"), [1])

    def test_torn_file_of_one_network(self) -> None:
        """
        Trouble with one network's file is said, and is no other's.
        """
        (self.parent / "red" / "leases").write_bytes(_line(1)[:-1])
        self.reactor.settle()
        self.reactor.advance(1)
        self.assertEqual(self.watcher.state, SourceState.STALE)
        self.assertEqual(self.held("red"), [1])
        first = self.watcher.describe()["stores"][0]
        self.assertEqual(first["networks"], ["red"])
        self.assertIn("ends within a line", first["problem"])

    def test_a_thousand_networks(self) -> None:
        """
        A thousand networks come at once, and go at once.
        """
        names = [f"n{number}" for number in range(1000)]
        for name in names:
            self.add(name, _line(1))
        for _ in range(20):
            self.reactor.settle()
        self.assertEqual(len(self.book), 1003)
        self.reactor.advance(1)
        self.assertEqual(self.watcher.state, SourceState.LIVE)
        self.assertFalse(self.watcher.describe()["polling"])
        self.assertEqual(len(self.watcher.describe()["stores"]), 100)
        for name in names:
            shutil.rmtree(self.parent / name)
        for _ in range(20):
            self.reactor.settle()
        self.assertEqual(len(self.book), 3)

    def test_lost_news(self) -> None:
        """
        What the kernel could not tell is found by the rescan that follows (scenario
        D9).
        """
        (notifier,) = self.reactor.getReaders()
        self.add("green", _line(5))
        shutil.rmtree(self.parent / "red")
        (self.parent / "blue" / "leases").write_bytes(_line(3))
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.write(write, struct.pack("=iIII", -1, IN_Q_OVERFLOW, 0, 0))
        os.dup2(read, notifier.fileno())
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        self.reactor.settle()
        self.assertEqual(self.held("green"), [5])
        self.assertEqual(self.held("red"), [])
        self.assertEqual(self.held("blue"), [1, 2, 3])
        self.assertEqual(self.watcher.describe()["overflows"], 1)

    def test_withdraw(self) -> None:
        """
        A watcher that is withdrawn leaves nothing in the book.
        """
        self.watcher.stopService()
        self.watcher.withdraw()
        self.assertEqual(len(self.book), 0)
        self.assertEqual(self.watcher.describe()["networks"], 0)
        self.watcher.startService()


class KindsTests(SynchronousTestCase):
    """
    Tests for L{LeaseWatcher} on the other kinds of stores.
    """

    def setUp(self) -> None:
        """
        Make a directory.
        """
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.reactor = WatchingReactor()
        self.book = LeaseBook()

    def start(self, kind: str, name: str, naming: Naming) -> LeaseWatcher:
        """
        Start a watcher.
        """
        watcher = watcher_of(
            self.reactor, self.book, str(self.directory / name), naming, kind
        )
        watcher.startService()
        self.addCleanup(watcher.stopService)
        return watcher

    def mac(self, network: str, address: str) -> str | None:
        """
        Tell who has an address.
        """
        lease = self.book.holder(network, address, 0.0)
        return None if lease is None else lease.mac

    def test_kea(self) -> None:
        """
        Each lease is of its subnet's network; one of another subnet is counted, and one
        that moves to another network is of that alone.
        """
        path = self.directory / "leases.csv"
        path.write_bytes(HEADER + row() + row("10.0.0.9").replace(b",42,", b",7,"))
        watcher = self.start("kea", "leases.csv", Naming(None, {42: "red", 5: "blue"}))
        self.assertIsNotNone(self.mac("red", "10.78.0.11"))
        self.assertEqual(len(self.book), 1)
        self.assertEqual(watcher.describe()["leases_elsewhere"], 1)
        self.assertTrue(watcher.knows("blue"))
        self.assertFalse(watcher.knows("green"))
        with path.open("ab") as file:
            file.write(row().replace(b",42,", b",5,"))
            file.write(row("10.0.0.9"))
        self.reactor.take_events()
        self.assertIsNone(self.mac("red", "10.78.0.11"))
        self.assertIsNotNone(self.mac("blue", "10.78.0.11"))
        self.assertIsNotNone(self.mac("red", "10.0.0.9"))
        self.assertEqual(watcher.describe()["leases_elsewhere"], 0)

    def test_kea_cleaning_up(self) -> None:
        """
        Events of every file of a store are its own.
        """
        (self.directory / "leases.csv").write_bytes(HEADER)
        self.start("kea", "leases.csv", Naming("red"))
        draft = self.directory / "leases.csv.output"
        draft.write_bytes(HEADER + row())
        self.reactor.settle()
        self.assertEqual(len(self.book), 0)
        draft.rename(self.directory / "leases.csv.2")
        self.reactor.settle()
        self.assertEqual(len(self.book), 1)

    def test_dhcpd(self) -> None:
        """
        dhcpd's leases come and end as they are written.
        """
        path = self.directory / "dhcpd.leases"
        path.write_bytes(block())
        watcher = self.start("dhcpd", "dhcpd.leases", Naming("red"))
        self.assertIsNotNone(self.mac("red", "10.0.0.1"))
        self.assertTrue(watcher.knows("red"))
        with path.open("ab") as file:
            file.write(block().replace(b"active", b"free"))
        self.reactor.take_events()
        self.assertIsNone(self.mac("red", "10.0.0.1"))

    def test_libvirt(self) -> None:
        """
        The leases of libvirt's networks are of their bridges' networks.
        """
        sample = Path(__file__).parent / "data" / "libvirt" / "virbr0.status.1-add"
        for bridge in ("virbr0", "virbr1"):
            shutil.copy(sample, self.directory / f"{bridge}.status")
        (self.directory / "virbr0.macs").write_bytes(b"[]")
        watcher = self.start("libvirt", "*.status", Naming(bridges={"virbr0": "red"}))
        for network in ("red", "virbr1"):
            self.assertIsNotNone(self.mac(network, "192.168.122.23"))
            self.assertTrue(watcher.knows(network))
        self.assertFalse(watcher.knows("virbr0"))
        one = self.start("libvirt", "virbr0.status", Naming(bridges={"virbr0": "red"}))
        self.assertTrue(one.knows("red"))

    def test_wall_clock_set(self) -> None:
        """
        A lease that is written after the wall clock was set a day on ends as soon as
        its server meant (scenario D11).
        """
        path = self.directory / "leases"
        path.write_bytes(f"1100 {MAC} 10.0.0.1 * *\n".encode())
        wall = 1000.0
        epoch = Epoch(lambda: wall + self.reactor.seconds(), self.reactor.seconds)
        watcher = LeaseWatcher(
            self.reactor,
            self.reactor,
            self.book,
            "dm",
            "dnsmasq",
            str(path),
            Naming("red"),
            epoch,
        )
        watcher.startService()
        self.addCleanup(watcher.stopService)
        wall += 86400
        self.reactor.advance(50)
        path.write_bytes(f"{1150 + 86400} {MAC} 10.0.0.2 * *\n".encode())
        self.reactor.take_events()
        for address, left in (("10.0.0.1", 50), ("10.0.0.2", 100)):
            now = epoch.now()
            self.assertIsNotNone(self.book.holder("red", address, now + left - 0.1))
            self.assertIsNone(self.book.holder("red", address, now + left))


class _BusyReactor(WatchingReactor):
    """
    A reactor whose clock goes on a little each time that somebody looks at it.

    @ivar book: What is filled.
    @ivar turns: How many leases it had each time that work was left for the next turn.
    """

    step = 0.0005

    def __init__(self, book: LeaseBook) -> None:
        """
        Begin with no turn.
        """
        super().__init__()
        self.book = book
        self.turns: list[int] = []

    def seconds(self) -> float:
        """
        Tell the time.
        """
        self.rightNow += self.step
        return super().seconds()

    def callLater(  # noqa: N802
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        """
        Count the turns.
        """
        if delay == 0:
            self.turns.append(len(self.book))
        return super().callLater(delay, callable, *args, **kw)


class PaceTests(SynchronousTestCase):
    """
    How much time L{LeaseWatcher} takes at once.
    """

    def setUp(self) -> None:
        """
        Start a watcher of a large file.
        """
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.path = directory / "leases"
        lines = (f"0 {MAC} 10.1.{n >> 8}.{n & 255} * *\n" for n in range(3000))
        self.data = "".join(lines).encode()
        self.path.write_bytes(self.data)
        self.book = LeaseBook()
        self.reactor = _BusyReactor(self.book)
        self.watcher = watcher_of(
            self.reactor, self.book, str(self.path), Naming("red")
        )
        self.addCleanup(self.watcher.stopService)

    def work(self) -> None:
        """
        Have everything done that is due.
        """
        for _ in range(5000):
            calls = self.reactor.getDelayedCalls()
            due = min((call.getTime() for call in calls), default=float("inf"))
            if due > self.reactor.rightNow + 0.5:
                break
            self.reactor.advance(0.001)

    def test_slices(self) -> None:
        """
        A large file is read in many turns, each of which enters some of it.
        """
        self.watcher.startService()
        self.work()
        self.assertEqual(len(self.book), 3000)
        turns = [*self.reactor.turns, 3000]
        self.assertLess(max(b - a for a, b in pairwise(turns)), 20)

    def test_rests(self) -> None:
        """
        A file that took long to read is left alone for a while, and then read once for
        all that happened.
        """
        self.watcher.startService()
        self.work()
        (store,) = self.watcher._stores.values()
        reads = []
        self.path.write_bytes(self.data + _line(1))
        for _ in range(100):
            os.utime(self.path)
            self.reactor.take_events()
            self.reactor.advance(0.016)
            reads.append(store.read_at)
        self.assertLess(len(set(reads)), 40)
        self.work()
        self.assertIsNotNone(self.book.holder("red", "10.0.0.1", 0.0))

    def test_stopped_in_the_middle(self) -> None:
        """
        A watcher that is stopped while it reads lets go of everything.
        """
        before = os.listdir("/proc/self/fd")
        self.watcher.startService()
        self.assertLess(len(self.book), 3000)
        self.watcher.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(os.listdir("/proc/self/fd"), before)
        self.watcher.startService()
        self.work()
        self.assertEqual(len(self.book), 3000)

    def test_unforeseen_trouble(self) -> None:
        """
        Whatever goes wrong with a store is logged, and no other's affair.
        """
        self.watcher.startService()
        self.work()
        (store,) = self.watcher._stores.values()
        store.table.records = None  # type: ignore[assignment]
        self.path.write_bytes(_line(1))
        self.reactor.take_events()
        self.work()
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
