"""
Tests for L{mdproxy.lookup.formats.kea}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.formats import Record
from mdproxy.lookup.formats.kea import KeaReader
from tests.reading import ResilientContract, held, read_all

SAMPLES = Path(__file__).parent / "data" / "kea"
MAC = "fa:16:3e:78:00:01"
HEADER = (SAMPLES / "0-start.kea-leases4.csv").read_bytes()
HEADER6 = (
    b"address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,"
    b"prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,"
    b"hwaddr_source\n"
)


def row(
    address: str = "10.78.0.11",
    mac: str = MAC,
    lifetime: int = 12,
    expires: int = 1795292788,
    state: str = "0",
    hostname: str = "web1",
) -> bytes:
    """
    Write a row.
    """
    return (
        f"{address},{mac},01:{mac},{lifetime},{expires},42,0,0,{hostname},{state},\n"
    ).encode()


class KeaReaderTests(ResilientContract, SynchronousTestCase):
    """
    Tests for L{KeaReader}.
    """

    whole = (SAMPLES / "3-release.kea-leases4.csv").read_bytes()

    def make_reader(self) -> KeaReader:
        """
        Make a reader.
        """
        return KeaReader()

    def files(self, bad: bytes) -> tuple[bytes, bytes]:
        """
        Put something bad between two lines.
        """
        one, two = row("10.1.0.1"), row("10.1.0.2")
        return HEADER + one + bad + b"\n" + two, HEADER + one + two

    def read(self, *rows: bytes) -> dict[str, Record]:
        """
        Read a file of these rows.
        """
        return read_all(self.make_reader(), HEADER, *rows)

    def test_real_day(self) -> None:
        """
        A real server's files give its leases: a lease is renewed by another row, and
        ended by one with a lifetime of 0 (released) or state 2 (reclaimed).
        """
        day = {
            "0-start": {},
            "1-add": {"10.78.0.11": MAC},
            "2-renew": {"10.78.0.11": MAC},
            "3-release": {},
            "4-expired": {},
        }
        for step, leases in day.items():
            data = (SAMPLES / f"{step}.kea-leases4.csv").read_bytes()
            self.assertEqual(held(read_all(self.make_reader(), data)), leases, step)
        data = (SAMPLES / "4-expired.kea-leases4.csv.2").read_bytes()
        (record,) = read_all(self.make_reader(), data).values()
        self.assertFalse(record.is_held)

    def test_row(self) -> None:
        """
        A row says all that it should.
        """
        self.assertEqual(
            self.read(row()),
            {"10.78.0.11": Record("10.78.0.11", MAC, 1795292788.0, "web1", "42")},
        )

    def test_states(self) -> None:
        """
        Only a lease in use is held: not one that was declined, reclaimed, released or
        registered, nor one in a state that nobody knows.
        """
        for state in ("1", "2", "3", "4", "77", "", "x"):
            (record,) = self.read(row(), row(state=state)).values()
            self.assertFalse(record.is_held, state)

    def test_forever(self) -> None:
        """
        An infinite lifetime never ends, and one that ended in 1970 has.
        """
        (record,) = self.read(row(lifetime=4294967295, expires=6090259283)).values()
        self.assertIsNone(record.expires)
        (record,) = self.read(row(expires=0)).values()
        self.assertEqual(record.expires, 0.0)

    def test_columns_by_name(self) -> None:
        """
        Columns are found by their names, wherever they stand; more of them, and less of
        those that are not needed, do no harm.
        """
        data = b"pool_id,expire,valid_lifetime,address\n7,1795292788,12,10.0.0.1\r\n"
        self.assertEqual(
            read_all(self.make_reader(), data),
            {"10.0.0.1": Record("10.0.0.1", None, 1795292788.0)},
        )

    def test_no_columns(self) -> None:
        """
        A file without the columns that are needed says nothing, and is no whole file.
        """
        reader = self.make_reader()
        self.assertEqual(read_all(reader, b"address,hwaddr\n" + row()), {})
        self.assertEqual(reader.problem(), "has no columns that are known")

    def test_ipv6(self) -> None:
        """
        IPv6 leases are read from the columns of their own file; prefixes are not.
        """
        data = (
            HEADER6 + b"fd00::1,00:01,3600,1795292788,7,3000,0,5,128,0,0,,"
            b"fa:16:3e:78:00:01,0,,1,1\n"
            b"fd00::2,00:01,3600,1795292788,7,3000,0,5,128,0,0,,,0,,,\n"
            b"fd00:1::,00:01,3600,1795292788,7,3000,2,5,64,0,0,,,0,,,\n"
        )
        self.assertEqual(
            held(read_all(self.make_reader(), data)), {"fd00::1": MAC, "fd00::2": None}
        )

    def test_bad_rows(self) -> None:
        """
        Bad rows are counted, and what they say of an address is not taken for its end.
        """
        bad = [
            row(mac="fa:16"),
            row(address="10.0.0"),
            row(lifetime=-1),
            row(expires=-1),
            row(expires=int("9" * 40)),
            row(hostname="a,b"),
            row(hostname="\x7f"),
            b"\xff\xfe\n",
            b"x" * 1_000_000 + b"\n",
        ]
        reader = self.make_reader()
        self.assertEqual(
            held(read_all(reader, HEADER, row(), *bad)), {"10.78.0.11": MAC}
        )
        self.assertEqual(reader.refused, len(bad))
