"""
Tests for L{mdproxy.lookup.formats.dnsmasq}.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.formats import Record
from mdproxy.lookup.formats.dnsmasq import DnsmasqReader, read_line
from mdproxy.model import Malformed
from tests.reading import ResilientContract, held, read_all

SAMPLES = Path(__file__).parent / "data" / "dnsmasq"
MAC1 = "fa:16:3e:77:00:01"
MAC2 = "fa:16:3e:77:00:02"
MAC3 = "fa:16:3e:77:00:03"


class ReadLineTests(SynchronousTestCase):
    """
    Tests for L{read_line}.
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
                "10.77.0.107", MAC2, 1795292546.0
            ),
            f"0 {MAC1.upper()} 10.77.0.11 * *\r": Record("10.77.0.11", MAC1, None),
            f"0 06-{MAC1} 10.77.0.11 * *": Record("10.77.0.11", MAC1, None),
            "1795292548 1047986178 fd77::14f * 00:01:00:01": Record(
                "fd77::14f", None, 1795292548.0
            ),
            "0 T1047986178 [FD77:0::14f] vm 00:01": Record(
                "fd77::14f", None, None, "vm"
            ),
        }
        for line, record in cases.items():
            self.assertEqual(read_line(line.encode()), record, line)

    def test_no_lease(self) -> None:
        """
        The server's own line and an empty one say nothing.
        """
        self.assertIsNone(read_line(b"duid 00:01:00:01:32:94:b9:85"))
        self.assertIsNone(read_line(b""))

    def test_bad_lines(self) -> None:
        """
        Everything else is refused.
        """
        good = f"0 {MAC1} 10.77.0.11 web1 *".encode()
        cases = {
            "not UTF-8": good.replace(b"web1", b"\xff\xfe"),
            "carriage return": good.replace(b"web1", b"web\r"),
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
                read_line(line)

    @given(st.binary(max_size=100))
    def test_any_bytes(self, line: bytes) -> None:
        """
        Any bytes say something or are refused; nothing else happens.
        """
        try:
            record = read_line(line)
        except Malformed:
            return
        self.assertIn(type(record), (Record, type(None)))


class DnsmasqReaderTests(ResilientContract, SynchronousTestCase):
    """
    Tests for L{DnsmasqReader}.
    """

    whole = (SAMPLES / "leases.10-vm2-add").read_bytes()

    def make_reader(self) -> DnsmasqReader:
        """
        Make a reader.
        """
        return DnsmasqReader()

    def files(self, bad: bytes) -> tuple[bytes, bytes]:
        """
        Put something bad between two lines.
        """
        one, two = (f"9 {MAC1} 10.1.0.{n} * *\n".encode() for n in (1, 2))
        return one + bad + b"\n" + two, one + two

    def test_real_day(self) -> None:
        """
        A real server's files, one after the other, give exactly its leases.
        """
        day: dict[str, dict[str, str | None]] = {
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
        reader = self.make_reader()
        for step, leases in day.items():
            data = (SAMPLES / f"leases.{step}").read_bytes()
            self.assertEqual(held(read_all(reader, data)), leases, step)
            self.assertEqual(reader.refused, 0)

    def test_old_lines_are_remembered(self) -> None:
        """
        A line that was read before is not read again, though the file was torn between.
        """
        reader = self.make_reader()
        first = read_all(reader, self.whole)
        read_all(reader, self.whole[:100])
        again = read_all(reader, b"7 fa:16:3e:00:00:09 10.0.0.9 * *\n" + self.whole)
        for address, record in first.items():
            self.assertIs(again[address], record)

    def test_refused_are_counted(self) -> None:
        """
        Bad lines are counted for the file that has them, each time that it is read.
        """
        reader = self.make_reader()
        for _ in range(2):
            read_all(reader, b"\xff\xfe\n" + b"x" * 1_000_000 + b"\nduid 00\n\nbad\n")
            self.assertEqual(reader.refused, 3)
        read_all(reader, self.whole)
        self.assertEqual(reader.refused, 0)

    def test_memory_is_bounded(self) -> None:
        """
        A file that never comes to rest does not pile up its old lines.
        """
        reader = self.make_reader()
        big = b"".join(
            b"1 %s 10.0.%d.%d * *\n" % (MAC1.encode(), n >> 8, n & 255)
            for n in range(2000)
        )
        read_all(reader, big)
        for expiry in range(200):
            read_all(
                reader,
                b"".join(
                    b"%d %s 10.0.0.%d * *\n" % (expiry, MAC1.encode(), n)
                    for n in range(200)
                ),
            )
        self.assertLess(len(reader._memory.known), 6000)
