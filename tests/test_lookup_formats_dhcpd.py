"""
Tests for L{mdproxy.lookup.formats.dhcpd}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.formats import Record
from mdproxy.lookup.formats.dhcpd import DhcpdReader
from tests.reading import ResilientContract, held, read_all

SAMPLES = Path(__file__).parent / "data" / "dhcpd"
MAC2 = "fa:16:3e:77:00:02"
MAC3 = "fa:16:3e:77:00:03"


def block(*statements: str, address: str = "10.0.0.1", ends: str = "never") -> bytes:
    """
    Write a lease.
    """
    lines = [
        f"lease {address} {{",
        f"  ends {ends};",
        "  binding state active;",
        f"  hardware ethernet {MAC2};",
        *(f"  {statement}" for statement in statements),
        "}\n",
    ]
    return "\n".join(lines).encode()


class DhcpdReaderTests(ResilientContract, SynchronousTestCase):
    """
    Tests for L{DhcpdReader}.
    """

    whole = (SAMPLES / "dhcpd.leases.5-vm2-release").read_bytes()

    def make_reader(self) -> DhcpdReader:
        """
        Make a reader.
        """
        return DhcpdReader()

    def files(self, bad: bytes) -> tuple[bytes, bytes]:
        """
        Put a bad block between two.
        """
        one, two = block(address="10.1.0.1"), block(address="10.1.0.2")
        return one + b"lease 10.1.0.3 {\n" + bad + b"\n}\n" + two, one + two

    def read(self, *blocks: bytes) -> dict[str, Record]:
        """
        Read a file of these blocks.
        """
        return read_all(self.make_reader(), *blocks)

    def test_real_day(self) -> None:
        """
        A real server's files, one after the other, give exactly its leases.
        """
        day = {
            "0-start": {},
            "1-vm1-fixed": {},
            "2-vm3-add": {"10.77.0.100": MAC3},
            "3-vm3-renew": {"10.77.0.100": MAC3},
            "4-vm2-add": {"10.77.0.100": MAC3, "10.77.0.101": MAC2},
            "5-vm2-release": {"10.77.0.100": MAC3},
            "6-restart": {"10.77.0.100": MAC3},
            "7-expired": {},
        }
        for step, leases in day.items():
            data = (SAMPLES / f"dhcpd.leases.{step}").read_bytes()
            reader = self.make_reader()
            self.assertEqual(held(read_all(reader, data)), leases, step)
            self.assertEqual((reader.refused, reader.problem()), (0, None))

    def test_block(self) -> None:
        """
        A block says all that it should; its time is UTC.
        """
        data = (SAMPLES / "dhcpd.leases.2-vm3-add").read_bytes()
        self.assertEqual(
            self.read(data),
            {"10.77.0.100": Record("10.77.0.100", MAC3, 1795292807.0, "app3")},
        )

    def test_ends(self) -> None:
        """
        A lease ends at a date, at a number of seconds (C{db-time-format local}), or
        never.
        """
        cases = {
            "6 2026/11/21 20:26:47": 1795292807.0,
            "epoch 1795292807; # Sat Nov 21 20:26:47 2026\n": 1795292807.0,
            "epoch 0": 0.0,
            "never": None,
        }
        for text, expires in cases.items():
            (record,) = self.read(block(ends=text)).values()
            self.assertEqual(record.expires, expires, text)

    def test_no_ends(self) -> None:
        """
        A lease whose end can't be read is refused.
        """
        for text in (
            "",
            "soon",
            "6 2026/13/21 20:26:47",
            "6 2026/11/21 25:26:47",
            "6 0000/11/21 20:26:47",
            "6 99999/11/21 20:26:47",
            "epoch " + "9" * 400,
            "epoch -1",
            "6 2026/11/21",
        ):
            reader = self.make_reader()
            self.assertEqual(read_all(reader, block(ends=text)), {}, text)
            self.assertEqual(reader.refused, 1, text)

    def test_states(self) -> None:
        """
        A lease in any state but active has ended.
        """
        for state in ("free", "expired", "released", "abandoned", "reset", "backup"):
            other = block().replace(b"state active", b"state " + state.encode())
            (record,) = self.read(block(), other).values()
            self.assertFalse(record.is_held, state)
        odd = block().replace(b"state active", b"state odd")
        self.assertEqual(held(self.read(block(), odd)), {"10.0.0.1": MAC2})

    def test_names_with_signs(self) -> None:
        """
        Braces, semicolons, hashes and whole statements in quotes are a client's name
        and nothing else (scenario D13).
        """
        for name in (
            "a}b{",
            "} lease 10.0.0.2 {",
            "a;b#c",
            "; binding state free; ",
            "; hardware ethernet fa:16:3e:66:66:66; ",
            r"\"; binding state free; \"",
            r"a\\",
        ):
            records = self.read(block(f'client-hostname "{name}";'))
            self.assertEqual(held(records), {"10.0.0.1": MAC2}, name)
        (record,) = self.read(block('client-hostname "a}b{";')).values()
        self.assertEqual(record.hostname, "a}b{")
        (record,) = self.read(block('client-hostname "a b";')).values()
        self.assertIsNone(record.hostname)

    def test_blocks_within(self) -> None:
        """
        What stands in a block within is not the lease's.
        """
        within = block(
            "on expiry {",
            '    set x = "}";',
            "    binding state free;",
            "  }",
            "on release { binding state free; }",
        )
        self.assertEqual(held(self.read(within)), {"10.0.0.1": MAC2})

    def test_others(self) -> None:
        """
        What are no leases says nothing, and is no trouble.
        """
        reader = self.make_reader()
        others = (
            b'server-duid "\\000";\r\n'
            b'failover peer "x" state {\n  my state normal at 6 2026/11/21 20:26:47;\n'
            b"}\n"
            b"host web {\n  dynamic;\n  hardware ethernet fa:16:3e:66:66:66;\n}\n"
        )
        found = read_all(reader, others, block(), others)
        self.assertEqual(held(found), {"10.0.0.1": MAC2})
        self.assertEqual((reader.refused, reader.problem()), (0, None))

    def test_carriage_returns(self) -> None:
        """
        A file that went through somebody's editor is read.
        """
        self.assertEqual(
            self.read(block('client-hostname "a";').replace(b"\n", b"\r\n")),
            self.read(block('client-hostname "a";')),
        )

    def test_never_finished(self) -> None:
        """
        A block that was never finished costs itself only.
        """
        for cut in (20, 40, 70, 90):
            torn = block('client-hostname "web', address="10.0.0.9")[:cut] + b"\n"
            reader = self.make_reader()
            self.assertEqual(held(read_all(reader, torn, block())), {"10.0.0.1": MAC2})
            self.assertEqual(reader.refused, 1)
        self.assertIsNone(reader.problem())

    def test_torn(self) -> None:
        """
        A file that ends within a block or a line is no whole one.
        """
        whole = block()
        for end in range(1, len(whole) - 2):
            reader = self.make_reader()
            self.assertEqual(read_all(reader, whole[:end]), {}, end)
            self.assertEqual(reader.problem(), "ends within a lease")
        for end in (len(whole) - 1, len(whole)):
            reader = self.make_reader()
            self.assertEqual(len(read_all(reader, whole[:end])), 1)
            self.assertIsNone(reader.problem())

    def test_bad_blocks(self) -> None:
        """
        Bad blocks are counted, and what they say of an address is not taken for its
        end.
        """
        bad = [
            block('client-hostname "a;'),
            block("on expiry {"),
            block("half a statement"),
            block("hardware ethernet fa:16;"),
            block(address="10.0.0.300"),
            block("x" * 70_000),
            block("x { } }"),
        ]
        reader = self.make_reader()
        found = read_all(reader, block(), *bad)
        self.assertEqual(held(found), {"10.0.0.1": MAC2})
        self.assertEqual(reader.refused, len(bad))
