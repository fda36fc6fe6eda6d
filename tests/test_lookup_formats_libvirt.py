"""
Tests for L{mdproxy.lookup.formats.libvirt}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.formats import Record
from mdproxy.lookup.formats.libvirt import LibvirtReader
from tests.reading import ReaderContract, held, read_all

SAMPLES = Path(__file__).parent / "data" / "libvirt"
MAC1 = "fa:16:3e:99:00:01"
MAC7 = "fa:16:3e:99:00:07"


def lease(**changes: Any) -> dict[str, Any]:
    """
    Make an object; C{None} leaves a key out.
    """
    found = {
        "ip_address": "10.0.0.1",
        "mac_address": MAC1,
        "expiry_time": 1795296794,
        **changes,
    }
    return {k.replace("_", "-"): v for k, v in found.items() if v is not None}


class LibvirtReaderTests(ReaderContract, SynchronousTestCase):
    """
    Tests for L{LibvirtReader}.
    """

    whole = (SAMPLES / "virbr0.status.1-add").read_bytes()

    def make_reader(self) -> LibvirtReader:
        """
        Make a reader.
        """
        return LibvirtReader()

    def read(self, *leases: Any) -> dict[str, Record]:
        """
        Read a file of these leases.
        """
        return read_all(self.make_reader(), json.dumps(leases).encode())

    def test_real_files(self) -> None:
        """
        A real network's files give its leases.
        """
        self.assertEqual(
            read_all(self.make_reader(), self.whole),
            {
                "192.168.122.23": Record("192.168.122.23", MAC1, 1795296794.0),
                "192.168.122.29": Record("192.168.122.29", MAC7, 1795296794.0, "lv1"),
            },
        )
        data = (SAMPLES / "virbr0.status.2-release").read_bytes()
        self.assertEqual(
            held(read_all(self.make_reader(), data)), {"192.168.122.23": MAC1}
        )

    def test_empty(self) -> None:
        """
        An empty file, or list, has no leases and is whole.
        """
        for data in (b"", b"\n", b"[]", b" [ ] \r\n"):
            reader = self.make_reader()
            self.assertEqual(read_all(reader, data), {})
            self.assertIsNone(reader.problem(), data)

    def test_others(self) -> None:
        """
        What libvirt says besides does no harm; 0 never ends; a lease of IPv6 has a MAC
        too, or none.
        """
        found = self.read(
            lease(iaid="5", server_duid="00:01", client_id={"a": [1, 2.5, None]}),
            lease(ip_address="fd00::1", expiry_time=0),
            lease(ip_address="fd00::2", mac_address=None, hostname="a]}{["),
            lease(ip_address="10.0.0.2", hostname="x\r\nX-Tenant-ID: evil"),
        )
        self.assertEqual(
            held(found),
            {"10.0.0.1": MAC1, "fd00::1": MAC1, "fd00::2": None, "10.0.0.2": MAC1},
        )
        self.assertIsNone(found["fd00::1"].expires)
        self.assertEqual(found["fd00::2"].hostname, "a]}{[")
        self.assertIsNone(found["10.0.0.2"].hostname)

    def test_bad_objects(self) -> None:
        """
        An object that is no lease costs itself only.
        """
        bad = [
            lease(ip_address="10.0.0"),
            lease(ip_address=None),
            lease(ip_address=["10.0.0.1"]),
            lease(mac_address="fa:16"),
            lease(expiry_time=None),
            lease(expiry_time=-1),
            lease(expiry_time=1.5),
            lease(expiry_time=int("9" * 4000)),
            lease(expiry_time=float("inf")),
            None,
            0,
            "",
            [lease()],
        ]
        reader = self.make_reader()
        data = json.dumps([*bad, lease(ip_address="10.0.0.2")]).encode()
        self.assertEqual(held(read_all(reader, data)), {"10.0.0.2": MAC1})
        self.assertEqual(reader.refused, len(bad))
        self.assertIsNone(reader.problem())

    def test_old_objects_are_remembered(self) -> None:
        """
        An object that was read before is not read again, whatever is new beside it; a
        bad one is counted each time.
        """
        reader = self.make_reader()
        old = [lease(ip_address=f"10.0.0.{n}", hostname='a}"{') for n in range(9)]
        bad = lease(mac_address="fa:16")
        first = read_all(reader, json.dumps([*old, bad]).encode())
        read_all(reader, json.dumps(old).encode()[:300])
        again = read_all(
            reader, json.dumps([lease(ip_address="10.0.1.0"), bad, *old]).encode()
        )
        self.assertEqual(len(again), 10)
        self.assertEqual(reader.refused, 1)
        for address, record in first.items():
            self.assertIs(again[address], record)

    def test_no_list(self) -> None:
        """
        What is no list of leases as a whole is said to be none.
        """
        good = json.dumps([lease()]).encode()
        for data in (
            b"{}",
            b"[,]",
            b"[{},]",
            b"[{} {}]",
            b"[{}}]",
            good + b"x",
            good + good,
            good[:-1],
            b"[",
            b"\xff\xfe",
            b"null",
            b"<xml/>",
            b"[" * 100_000,
            b'[{"a":' * 100_000,
            b'["' + b"x" * 100_000,
        ):
            reader = self.make_reader()
            read_all(reader, data)
            self.assertIsNotNone(reader.problem(), data[:20])
