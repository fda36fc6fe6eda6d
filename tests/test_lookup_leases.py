"""
Tests for L{mdproxy.lookup.leases}.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.leases import (
    Changes,
    LeaseTable,
    Record,
    read_dnsmasq_line,
)
from mdproxy.model import Malformed

SAMPLES = Path(__file__).parent / "data" / "dnsmasq"
MAC1 = "fa:16:3e:77:00:01"
MAC2 = "fa:16:3e:77:00:02"
MAC3 = "fa:16:3e:77:00:03"


class ReadDnsmasqLineTests(SynchronousTestCase):
    """
    Tests for L{read_dnsmasq_line}.
    """

    def test_good_lines(self) -> None:
        """
        Each kind of line says what it should.
        """
        cases = {
            f"1795292542 {MAC1} 10.77.0.11 web1 01:{MAC1}": Record(
                "10.77.0.11", MAC1, 1795292542.0, "web1"
            ),
            f"1795292546 {MAC2} 10.77.0.107 * *": Record(
                "10.77.0.107", MAC2, 1795292546.0, None
            ),
            f"0 {MAC1.upper()} 10.77.0.11 * *": Record("10.77.0.11", MAC1, None, None),
            f"0 06-{MAC1} 10.77.0.11 * *": Record("10.77.0.11", MAC1, None, None),
            "1795292548 1047986178 fd77::14f * 00:01:00:01": Record(
                "fd77::14f", None, 1795292548.0, None
            ),
            "0 T1047986178 [FD77:0::14f] vm 00:01": Record(
                "fd77::14f", None, None, "vm"
            ),
        }
        for line, record in cases.items():
            self.assertEqual(read_dnsmasq_line(line.encode()), record, line)

    def test_no_lease(self) -> None:
        """
        The server's own line and an empty one say nothing.
        """
        self.assertIsNone(read_dnsmasq_line(b"duid 00:01:00:01:32:94:b9:85"))
        self.assertIsNone(read_dnsmasq_line(b""))

    def test_bad_lines(self) -> None:
        """
        Everything else is refused.
        """
        good = f"0 {MAC1} 10.77.0.11 web1 *".encode()
        cases = {
            "not UTF-8": good.replace(b"web1", b"\xff\xfe"),
            "carriage return": good + b"\r",
            "null byte": good.replace(b"web1", b"\0"),
            "very long": good + b"x" * 1_000_000,
            "too few fields": good[:-2],
            "too many fields": good + b" more",
            "no time": good.replace(b"0 fa", b"soon fa"),
            "negative time": good.replace(b"0 fa", b"-1 fa"),
            "endless time": good.replace(b"0 fa", b"9" * 400 + b" fa"),
            "no MAC": good.replace(MAC1.encode(), b"*"),
            "short MAC": good.replace(b":01 ", b" "),
            "long MAC": good.replace(b"fa:", b"20-fa:16:"),
            "no address": good.replace(b"10.77.0.11", b"10.77.0.300"),
            "mapped address": good.replace(b"10.77.0.11", b"::ffff:10.77.0.11"),
            "a number": b"1",
            "duid and more": b"duid 00:01 more",
        }
        for name, line in cases.items():
            with self.assertRaises(Malformed, msg=name):
                read_dnsmasq_line(line)

    @given(st.binary(max_size=100))
    def test_any_bytes(self, line: bytes) -> None:
        """
        Any bytes say something or are refused; nothing else happens.
        """
        try:
            record = read_dnsmasq_line(line)
        except Malformed:
            return
        self.assertIn(type(record), (Record, type(None)))


def _file(*records: tuple[int, str, str]) -> bytes:
    """
    Write a lease file.
    """
    lines = [f"{expiry} {mac} {address} * *\n" for expiry, mac, address in records]
    return "".join(lines).encode()


ONE = (100, MAC1, "10.0.0.1")
TWO = (100, MAC2, "10.0.0.2")
THREE = (100, MAC3, "10.0.0.3")


class LeaseTableTests(SynchronousTestCase):
    """
    Tests for L{LeaseTable}.
    """

    def setUp(self) -> None:
        """
        Make a table.
        """
        self.table = LeaseTable()
        self.stamp = 0

    def load(self, data: bytes, now: float) -> Changes:
        """
        Load a file that has just changed.
        """
        self.stamp += 1
        return self.table.load(data, self.stamp, now)

    def again(self, data: bytes, now: float) -> Changes:
        """
        Load a file that has not changed since.
        """
        return self.table.load(data, self.stamp, now)

    def test_real_day(self) -> None:
        """
        A real server's files, one after the other, give exactly its leases.
        """
        day = {
            "0-start": {},
            "1-vm1-add": {"10.77.0.11": MAC1},
            "2-vm2-add": {"10.77.0.11": MAC1, "10.77.0.107": MAC2},
            "10-vm2-add": {
                "10.77.0.107": MAC2,
                "10.77.0.11": MAC1,
                "10.77.0.108": MAC3,
                "fd77::14f": None,
            },
            "11-vm2-release": {
                "10.77.0.11": MAC1,
                "10.77.0.108": MAC3,
                "fd77::14f": None,
            },
        }
        for now, (step, leases) in enumerate(day.items()):
            data = (SAMPLES / f"leases.{step}").read_bytes()
            self.load(data, now * 10)
            changes = self.again(data, now * 10 + 1)
            self.assertTrue(changes.settled)
            held = {r.address: r.mac for r in self.table.records.values()}
            self.assertEqual(held, leases, step)
            self.assertEqual(self.table.refused, 0)

    def test_additions_at_once(self) -> None:
        """
        A new line and a changed one count at once, and only they are told.
        """
        self.load(_file(ONE, TWO), 0)
        changed = (200, MAC3, "10.0.0.2")
        changes = self.load(_file(THREE, ONE, changed), 5)
        self.assertEqual(
            {r.address: r.mac for r in changes.learnt},
            {"10.0.0.3": MAC3, "10.0.0.2": MAC3},
        )
        self.assertEqual(changes.forgotten, ())
        self.assertFalse(changes.settled)

    def test_change_there_and_back(self) -> None:
        """
        A line that changes and changes back before the file is quiet counts each time.
        """
        self.load(_file(ONE), 0)
        self.load(_file((100, MAC2, "10.0.0.1")), 0.1)
        self.assertEqual(self.table.records["10.0.0.1"].mac, MAC2)
        self.load(_file(ONE), 0.2)
        self.assertEqual(self.table.records["10.0.0.1"].mac, MAC1)

    def test_removal_waits(self) -> None:
        """
        What is missing is forgotten only when the file has been the same for a second.
        """
        self.load(_file(ONE, TWO), 0)
        self.assertEqual(self.load(_file(ONE), 5).forgotten, ())
        self.assertEqual(self.again(_file(ONE), 5.9).forgotten, ())
        changes = self.again(_file(ONE), 6)
        self.assertEqual(changes.forgotten, ("10.0.0.2",))
        self.assertTrue(changes.settled)
        self.assertEqual(list(self.table.records), ["10.0.0.1"])
        self.assertEqual(self.again(_file(ONE), 7).forgotten, ())

    def test_changing_file_is_never_quiet(self) -> None:
        """
        A file that changes again, or changed while it was read, is waited for again.
        """
        self.load(_file(ONE, TWO), 0)
        self.load(_file(ONE), 5)
        self.assertFalse(self.load(_file(ONE), 6).settled)
        self.assertFalse(self.table.load(_file(ONE), None, 8).settled)
        self.assertFalse(self.table.load(_file(ONE), None, 10).settled)
        self.assertIn("10.0.0.2", self.table.records)

    def test_torn_line_waits(self) -> None:
        """
        The unfinished last line does not count, nor does anything's absence, however
        long the file stays like that.
        """
        self.load(_file(ONE, TWO), 0)
        torn = _file(THREE, ONE)[:-1]
        changes = self.load(torn, 5)
        self.assertEqual([r.address for r in changes.learnt], ["10.0.0.3"])
        changes = self.again(torn, 60)
        self.assertEqual(changes, Changes((), (), settled=False, torn=True))
        self.assertEqual(len(self.table.records), 3)

    def test_truly_empty(self) -> None:
        """
        An empty file that stays empty holds no leases.
        """
        self.load(_file(ONE, TWO), 0)
        self.assertEqual(self.load(b"", 5).forgotten, ())
        changes = self.again(b"", 6)
        self.assertEqual(changes.forgotten, ("10.0.0.1", "10.0.0.2"))
        self.assertTrue(changes.settled)

    def test_bad_lines_cost_themselves(self) -> None:
        """
        Garbage between good lines is counted, and the good lines count.
        """
        good = _file(ONE)
        data = good + b"\xff\xfe\n" + b"x" * 1_000_000 + b"\nduid 00\n\n" + _file(TWO)
        self.load(data, 0)
        self.assertEqual(sorted(self.table.records), ["10.0.0.1", "10.0.0.2"])
        self.assertEqual(self.table.refused, 2)
        self.load(good, 5)
        self.assertEqual(self.table.refused, 0)

    def test_same_address_twice(self) -> None:
        """
        Of two lines for one address the last counts, and the first when it is gone.
        """
        other = (100, MAC2, "10.0.0.1")
        self.load(_file(ONE, other), 0)
        self.assertEqual(self.table.records["10.0.0.1"].mac, MAC2)
        self.load(_file(ONE), 5)
        self.assertEqual(self.table.records["10.0.0.1"].mac, MAC1)

    def test_memory_is_bounded(self) -> None:
        """
        A file that never comes to rest does not pile up its old lines.
        """
        big = _file(*((100, MAC1, f"10.0.{n >> 8}.{n & 255}") for n in range(2000)))
        self.load(big, 0)
        for expiry in range(200):
            self.load(_file(*((expiry, MAC1, f"10.0.0.{n}") for n in range(200))), 0.1)
        self.assertEqual(len(self.table.records), 2000)
        self.assertLess(len(self.table._parsed), 6000)

    @given(
        st.lists(st.sampled_from([ONE, TWO, THREE]), unique=True),
        st.lists(
            st.tuples(st.integers(0, 120), st.floats(0, 3, allow_nan=False)),
            max_size=8,
        ),
    )
    def test_torn_anywhere(
        self, leases: list[tuple[int, str, str]], cuts: list[tuple[int, float]]
    ) -> None:
        """
        However a file is cut while it is written, nothing that it holds is forgotten,
        and what is read in the end is what it holds.
        """
        table = LeaseTable()
        data = _file(*leases)
        table.load(data, "before", 0.0)
        now = 10.0
        for number, (cut, pause) in enumerate(cuts):
            changes = table.load(data[:cut], number, now)
            self.assertEqual(changes.forgotten, ())
            now += pause
        table.load(data, "after", now)
        changes = table.load(data, "after", now + 1)
        self.assertEqual(changes.learnt, ())
        self.assertEqual(sorted(table.records), sorted(a for _, _, a in leases))

    @given(st.lists(st.binary(max_size=60), max_size=5))
    def test_garbage(self, files: list[bytes]) -> None:
        """
        Any bytes, between good lines or without, never raise and cost no good line.
        """
        table = LeaseTable()
        for number, garbage in enumerate(files):
            table.load(garbage, number, number * 2.0)
            data = _file(ONE) + garbage + b"\n" + _file(TWO)
            table.load(data, (number, "mixed"), number * 2.0 + 1)
            self.assertLessEqual({"10.0.0.1", "10.0.0.2"}, set(table.records))
