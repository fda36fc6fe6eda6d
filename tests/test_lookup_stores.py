"""
Tests for L{mdproxy.lookup.stores}.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.kinds import KINDS
from mdproxy.lookup.stores import LeaseStore
from tests.test_lookup_formats_dhcpd import block
from tests.test_lookup_formats_kea import HEADER, row

MAC1 = "fa:16:3e:77:00:01"
MAC2 = "fa:16:3e:77:00:02"


def line(last: int, mac: str = MAC1) -> bytes:
    """
    Write a lease of dnsmasq's.
    """
    return f"0 {mac} 10.0.0.{last} * *\n".encode()


class StoreTestCase(SynchronousTestCase):
    """
    A store in a directory of its own.
    """

    kind = "dnsmasq"

    def setUp(self) -> None:
        """
        Name a file.
        """
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.path = directory / "leases"
        self.store = LeaseStore(str(self.path), KINDS[self.kind])
        self.descriptors = os.listdir("/proc/self/fd")
        self.addCleanup(self.check_descriptors)

    def check_descriptors(self) -> None:
        """
        No descriptor is left open.
        """
        self.assertEqual(os.listdir("/proc/self/fd"), self.descriptors)

    def load(self, now: float, meanwhile: Callable[[], object] | None = None) -> None:
        """
        Read the store.

        @param meanwhile: Is done after the first step.
        """
        for _ in self.store.load(now):
            if meanwhile is not None:
                meanwhile()
                meanwhile = None

    def held(self) -> list[int]:
        """
        List the last numbers of the addresses that count.
        """
        return sorted(int(a.rpartition(".")[2]) for a in self.store.table.records)

    def replace(self, data: bytes) -> None:
        """
        Put another file in the place of the store's.
        """
        new = self.path.with_name("new")
        new.write_bytes(data)
        new.rename(self.path)

    def append(self, data: bytes) -> None:
        """
        Add to the store's file.
        """
        with self.path.open("ab") as file:
            file.write(data)


class RewrittenTests(StoreTestCase):
    """
    Tests for L{LeaseStore} on a file that is written anew in place.
    """

    def test_two_speeds(self) -> None:
        """
        What is there counts at once, what is not when the file is quiet.
        """
        self.path.write_bytes(line(1) + line(2))
        self.load(0)
        self.assertEqual(self.held(), [1, 2])
        self.path.write_bytes(line(3))
        self.load(5)
        self.assertEqual(self.held(), [1, 2, 3])
        self.assertFalse(self.store.is_settled)
        self.load(5.9)
        self.assertEqual(self.held(), [1, 2, 3])
        self.load(6)
        self.assertEqual(self.held(), [3])
        self.assertTrue(self.store.is_settled)

    def test_torn(self) -> None:
        """
        A file that ends within a line never settles, and is a problem once it is quiet.
        """
        self.path.write_bytes(line(1) + line(2))
        self.load(0)
        self.path.write_bytes((line(3) + line(1))[:-1])
        self.load(5)
        self.assertIsNone(self.store.problem)
        self.load(60)
        self.assertEqual(self.held(), [1, 2, 3])
        self.assertIn("ends within a line", self.store.problem or "")
        self.assertFalse(self.store.is_settled)

    def test_changed_while_it_is_read(self) -> None:
        """
        A file that changes between two steps is read no further: the half of a line
        that was read and half of one that was written then would make a lease of
        nobody's.
        """
        comment = b"duid %s\n" % (b"0" * 16000)
        head = comment * 15
        whole = head + b"\n" * (262144 - 8 - len(head)) + line(1)
        self.assertGreater(len(whole), 262144)
        self.path.write_bytes(whole)

        def rewrite() -> None:
            data = bytearray(whole)
            data[262144 - 8 :] = b"\n" * 9 + line(2, MAC2)
            self.path.write_bytes(bytes(data))

        self.load(0, rewrite)
        self.assertEqual(self.held(), [])
        self.assertIsNone(self.store.problem)
        self.assertFalse(self.store.is_settled)
        self.load(1)
        self.assertEqual(self.held(), [2])

    def test_missing(self) -> None:
        """
        A file that is not there is missed, and what it said is kept.
        """
        self.load(1)
        self.assertIn("does not exist", self.store.problem or "")
        self.assertEqual(self.store.missing_since, 1)
        self.path.write_bytes(line(1))
        self.load(2)
        self.assertIsNone(self.store.missing_since)
        self.path.unlink()
        self.load(3)
        self.load(4)
        self.assertEqual(self.store.missing_since, 3)
        self.assertEqual(self.held(), [1])
        self.assertEqual(self.store.read_at, 2)

    def test_unreadable(self) -> None:
        """
        What is no plain file, or is too large, or can't be opened is a problem.
        """

        def hole() -> None:
            self.path.touch()
            os.truncate(self.path, 1 << 40)

        makings: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            "is no plain file": (self.path.mkdir, self.path.rmdir),
            "is no plain file ": (lambda: os.mkfifo(self.path), self.path.unlink),
            "is larger than": (hole, self.path.unlink),
            "can't be read": (
                lambda: self.path.symlink_to(self.path),
                self.path.unlink,
            ),
        }
        for said, (make, unmake) in makings.items():
            make()
            self.load(0)
            self.assertIn(said.strip(), self.store.problem or "")
            self.assertIsNone(self.store.missing_since)
            unmake()
        self.path.write_bytes(line(1))
        self.load(1)
        self.assertIsNone(self.store.problem)

    def test_may_differ(self) -> None:
        """
        A file need not be read that looks as it did, once it has done so for longer
        than a file system's clock may lag (scenario D7: the same second).
        """
        self.assertTrue(self.store.may_differ(0))
        self.path.write_bytes(line(1))
        self.load(0)
        self.assertTrue(self.store.may_differ(2.9))
        self.load(2.9)
        self.assertFalse(self.store.may_differ(3))
        self.path.write_bytes(line(2))
        self.assertTrue(self.store.may_differ(3))
        self.load(3)
        self.assertFalse(self.store.may_differ(9))
        self.path.unlink()
        self.assertTrue(self.store.may_differ(9))

    def test_abandoned(self) -> None:
        """
        Reading that is given up leaves nothing open, and is begun anew.
        """
        self.path.write_bytes(line(1) + line(2))
        steps = iter(self.store.load(0))
        next(steps)
        self.assertGreater(len(os.listdir("/proc/self/fd")), len(self.descriptors))
        getattr(steps, "close")()  # noqa: B009
        self.check_descriptors()
        self.load(1)
        self.assertEqual(self.held(), [1, 2])

    def test_short_steps(self) -> None:
        """
        A large file is read in many steps.
        """
        self.path.write_bytes(
            b"".join(
                b"0 %s 10.1.%d.%d * *\n" % (MAC1.encode(), n >> 8, n & 255)
                for n in range(10_000)
            )
        )
        self.assertGreater(sum(1 for _ in self.store.load(0)), 10_040)


class IndivisibleTests(StoreTestCase):
    """
    Tests for L{LeaseStore} on a file that says nothing unless it is whole.
    """

    kind = "libvirt"

    def write(self, *lasts: int) -> bytes:
        """
        Write leases of libvirt's.
        """
        leases = [
            f'{{"ip-address": "10.0.0.{last}", "mac-address": "{MAC1}",'
            f' "expiry-time": 0}}'
            for last in lasts
        ]
        return f"[{','.join(leases)}]".encode()

    def test_replaced(self) -> None:
        """
        A new file in the old one's place counts: additions at once, absences later.
        """
        self.replace(b"")
        self.load(0)
        self.load(1)
        self.assertTrue(self.store.is_settled)
        self.replace(self.write(1, 2))
        self.load(2)
        self.assertEqual(self.held(), [1, 2])
        self.replace(self.write(3))
        self.load(3)
        self.assertEqual(self.held(), [1, 2, 3])
        self.load(4)
        self.assertEqual(self.held(), [3])
        self.replace(b"")
        self.load(5)
        self.load(6)
        self.assertEqual(self.held(), [])

    def test_torn(self) -> None:
        """
        Of a file that is not whole nothing counts, and what was known is kept.
        """
        self.replace(self.write(1))
        self.load(0)
        whole = self.write(2, 3)
        for cut in range(1, len(whole)):
            self.replace(whole[:cut])
            self.load(cut * 10)
            self.load(cut * 10 + 5)
            self.assertEqual(self.held(), [1], cut)
            self.assertIn("no whole list", self.store.problem or "")


class GrownTests(StoreTestCase):
    """
    Tests for L{LeaseStore} on a file that is only added to, or replaced.
    """

    kind = "dhcpd"

    def block(self, last: int, state: str = "active") -> bytes:
        """
        Write a lease of dhcpd's.
        """
        text = block(address=f"10.0.0.{last}")
        return text.replace(b"active", state.encode())

    def test_added(self) -> None:
        """
        What is added counts at once, the end of a lease included.
        """
        self.path.write_bytes(self.block(1))
        self.load(0)
        self.append(self.block(2))
        self.load(0.1)
        self.assertEqual(self.held(), [1, 2])
        self.append(self.block(1, "free"))
        self.load(0.2)
        self.assertEqual(self.held(), [2])
        self.append(self.block(1))
        self.load(0.3)
        self.assertEqual(self.held(), [1, 2])

    def test_only_what_was_added_is_read(self) -> None:
        """
        A file that was read is not read again.
        """
        self.path.write_bytes(b"# \n" * 1_000_000 + self.block(1))
        self.assertGreater(sum(1 for _ in self.store.load(0)), 300)
        self.append(self.block(2))
        self.assertLess(sum(1 for _ in self.store.load(0.1)), 5)
        self.assertEqual(self.held(), [1, 2])
        self.assertLess(sum(1 for _ in self.store.load(2)), 5)

    def test_added_in_pieces(self) -> None:
        """
        A block that comes byte by byte counts when it is whole.
        """
        self.path.write_bytes(self.block(1))
        self.load(0)
        whole = self.block(2)
        for number, byte in enumerate(whole):
            self.assertEqual(self.held(), [1])
            self.append(bytes([byte]))
            self.load(number)
            if number == len(whole) - 2:
                break
        self.assertEqual(self.held(), [1, 2])

    def test_torn(self) -> None:
        """
        A file that ends within a block is a problem once it is quiet, until it goes on.
        """
        self.path.write_bytes(self.block(1) + self.block(2)[:40])
        self.load(0)
        self.load(1)
        self.assertEqual(self.held(), [1])
        self.assertIn("ends within a lease", self.store.problem or "")
        self.append(self.block(2)[40:])
        self.load(2)
        self.load(3)
        self.assertEqual(self.held(), [1, 2])
        self.assertIsNone(self.store.problem)
        self.assertTrue(self.store.is_settled)

    def test_restarted(self) -> None:
        """
        A new file in the old one's place is read whole; what it does not have is
        forgotten when it is quiet, and not what it has got meanwhile.
        """
        self.path.write_bytes(self.block(1) + self.block(2) + self.block(3))
        self.load(0)
        self.replace(self.block(1) + self.block(3, "free"))
        self.load(5)
        self.assertEqual(self.held(), [1, 2])
        self.append(self.block(4))
        self.load(5.5)
        self.load(6)
        self.assertEqual(self.held(), [1, 2, 4])
        self.load(6.5)
        self.assertEqual(self.held(), [1, 4])

    def test_deleted_and_created(self) -> None:
        """
        The same where there is none for a moment (scenario D8).
        """
        self.path.write_bytes(self.block(1) + self.block(2))
        self.load(0)
        self.path.unlink()
        self.load(1)
        self.assertEqual(self.held(), [1, 2])
        self.path.write_bytes(self.block(2))
        self.load(2)
        self.assertEqual(self.held(), [1, 2])
        self.load(3)
        self.assertEqual(self.held(), [2])

    def test_written_anew_in_place(self) -> None:
        """
        What no server does, somebody may: a file that is written anew in place counts
        when it is quiet, for its first half alone says what the second half takes back.
        """
        self.path.write_bytes(self.block(1) + self.block(1, "free") + self.block(2))
        self.load(0)
        with self.path.open("r+b", buffering=0) as file:
            file.truncate()
            self.load(5)
            file.write(self.block(1))
            self.load(6)
            file.write(self.block(3))
            self.load(6.5)
            self.assertEqual(self.held(), [2])
            file.write(self.block(1, "free"))
            self.load(7)
            self.load(7.9)
        self.assertEqual(self.held(), [2])
        self.load(8)
        self.assertEqual(self.held(), [3])
        self.append(self.block(4))
        self.load(8.1)
        self.assertEqual(self.held(), [3, 4])

    def test_other_start(self) -> None:
        """
        The same where it has become longer.
        """
        self.path.write_bytes(self.block(1))
        self.load(0)
        self.path.write_bytes(self.block(2) + self.block(3))
        self.load(5)
        self.assertEqual(self.held(), [1])
        self.load(6)
        self.assertEqual(self.held(), [2, 3])
        self.assertTrue(self.store.is_settled)

    def test_replaced_after_that(self) -> None:
        """
        A new file counts at once, though the old one was tampered with.
        """
        self.path.write_bytes(self.block(1) + self.block(2))
        self.load(0)
        self.path.write_bytes(b"")
        self.load(5)
        self.replace(self.block(3))
        self.load(5.1)
        self.assertEqual(self.held(), [1, 2, 3])

    def test_replaced_while_it_is_read(self) -> None:
        """
        A file that is replaced while it is read says what it said.
        """
        self.path.write_bytes(self.block(1))
        self.load(0, lambda: self.replace(self.block(2)))
        self.assertEqual(self.held(), [1])
        self.load(0.1)
        self.assertEqual(self.held(), [1, 2])
        self.load(1.1)
        self.assertEqual(self.held(), [2])


class KeaTests(StoreTestCase):
    """
    Tests for L{LeaseStore} on Kea's set of files.
    """

    kind = "kea"

    def write(self, suffix: str, *rows: bytes) -> None:
        """
        Write one of the files.
        """
        self.path.with_name("leases" + suffix).write_bytes(HEADER + b"".join(rows))

    def move(self, suffix: str, to: str) -> None:
        """
        Call one of the files otherwise.
        """
        self.path.with_name("leases" + suffix).rename(
            self.path.with_name("leases" + to)
        )

    def test_order(self) -> None:
        """
        The cleaned file comes first, then what is being cleaned, then the newest.
        """
        self.write(".2", row("10.0.0.1"), row("10.0.0.2"), row("10.0.0.3"))
        self.write(".1", row("10.0.0.1", lifetime=0), row("10.0.0.2", lifetime=0))
        self.write("", row("10.0.0.2"))
        self.load(0)
        self.assertEqual(self.held(), [2, 3])

    def test_completed(self) -> None:
        """
        A cleaned file that has not got its name yet counts in place of the old one.
        """
        self.write(".2", row("10.0.0.1"))
        self.write(".completed", row("10.0.0.2"))
        self.write("")
        self.load(0)
        self.assertEqual(self.held(), [2])

    def test_cleaning_up(self) -> None:
        """
        At no moment of the cleaning up a lease is forgotten, nor does one that has
        ended come back.
        """
        self.write("", row("10.0.0.1"), row("10.0.0.2"), row("10.0.0.2", lifetime=0))
        self.load(0)
        steps: list[Callable[[], object]] = [
            lambda: self.move("", ".1"),
            lambda: self.write(""),
            lambda: self.write("", row("10.0.0.3")),
            lambda: self.write(".output", row("10.0.0.1")),
            lambda: self.move(".output", ".completed"),
            lambda: self.move(".completed", ".2"),
            lambda: self.path.with_name("leases.1").unlink(),
        ]
        expected = [1]
        for number, step in enumerate(steps, 1):
            step()
            if number == 3:
                expected = [1, 3]
            self.load(number * 10)
            self.assertEqual(self.held(), expected, number)
            self.load(number * 10 + 1)
            self.assertEqual(self.held(), expected, number)
        self.assertTrue(self.store.is_settled)

    def test_added(self) -> None:
        """
        Rows that are added to the newest file count, without reading the others again.
        """
        self.write(".2", *[row(f"10.1.{n >> 8}.{n & 255}") for n in range(5000)])
        self.write("")
        self.load(0)
        self.append(row("10.0.0.1"))
        self.assertLess(sum(1 for _ in self.store.load(0.1)), 5)
        self.assertEqual(len(self.store.table.records), 5001)

    def test_no_file(self) -> None:
        """
        Where there is none of the files the store is missing.
        """
        self.load(0)
        self.assertEqual(self.store.missing_since, 0)
        self.assertIn("leases does not exist", self.store.problem or "")

    def test_one_can_not_be_read(self) -> None:
        """
        Where one of the files can't be read nothing is believed of the others, for it
        may take back what they say.
        """
        self.write(".2", row("10.0.0.1"))
        self.path.with_name("leases.1").mkdir()
        self.write("")
        self.load(0)
        self.assertEqual(self.held(), [])
        self.assertIn("leases.1 is no plain file", self.store.problem or "")

    def test_replaced_all_the_time(self) -> None:
        """
        Files that never belong together are a problem.
        """
        self.write("")
        store = _Restless(str(self.path), KINDS["kea"])
        self.assertEqual(list(store.load(0)), [])
        self.assertIn("being replaced all the time", store.problem or "")


class _Restless(LeaseStore):
    """
    A store whose files are always others when they are looked at again.
    """

    def _looks_now(self) -> tuple[()]:
        """
        See no file at all.
        """
        return ()
