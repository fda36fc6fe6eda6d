"""
Tests for L{mdproxy.lookup.watchers}.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.lookup.books import LeaseBook
from mdproxy.lookup.watchers import LeaseWatcher
from mdproxy.model import Lease
from tests.contracts import SourceContract
from tests.inotify_reactor import WatchingReactor

MAC = "fa:16:3e:77:00:01"


def _line(last: int, expiry: int = 0) -> bytes:
    """
    Write a lease.
    """
    return f"{expiry} {MAC} 10.0.0.{last} * *\n".encode()


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
        return LeaseWatcher(
            reactor, reactor, LeaseBook(), "leases", f"{path}/leases", "red"
        )


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
        watcher = LeaseWatcher(
            self.reactor, self.reactor, self.book, "dm", path or str(self.path), "red"
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
        gone is, and what is new was there at once.
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
        The same with the directory.
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
        A file that was put in the old one's place counts.
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
                "files": 1,
                "leases": 1,
                "refused_lines": 0,
                "polling": False,
                "last_read_age": 2.0,
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
        self.watcher = LeaseWatcher(
            self.reactor,
            self.reactor,
            self.book,
            "dm",
            str(self.parent / "*" / "lease[s]"),
            "red",
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
        When no file is left the last one's word is kept, out of date.
        """
        shutil.rmtree(self.parent / "one")
        self.reactor.settle()
        self.assertEqual(len(self.book), 1)
        self.assertEqual(self.watcher.state, SourceState.STALE)

    def test_nothing_matches(self) -> None:
        """
        A pattern that nothing matches yet is waited for.
        """
        watcher = LeaseWatcher(
            self.reactor, self.reactor, self.book, "x", str(self.parent / "?"), "red"
        )
        watcher.startService()
        self.addCleanup(watcher.stopService)
        self.assertEqual(watcher.state, SourceState.STARTING)
        self.assertIn("nothing matches", watcher.describe()["problem"])
