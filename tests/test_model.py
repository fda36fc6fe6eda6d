"""
Tests for L{mdproxy.model}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.model import (
    Malformed,
    Port,
    canonical_address,
    canonical_mac,
    checked_id,
)

MAC = "fa:16:3e:00:00:01"


class CanonicalAddressTests(SynchronousTestCase):
    """
    Tests for L{canonical_address}.
    """

    def test_forms(self) -> None:
        """
        Every way to write an address ends in one.
        """
        for text, canonical in (
            ("10.0.0.5", "10.0.0.5"),
            ("::ffff:10.0.0.5", "10.0.0.5"),
            ("::FFFF:a00:5", "10.0.0.5"),
            ("::ffff:10.0.0.5%eth0", "10.0.0.5"),
            ("FE80:0:0::1%br-tenant1", "fe80::1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ):
            self.assertEqual(canonical_address(text), canonical, text)

    def test_refuses(self) -> None:
        """
        What is no address is refused, however close it comes.
        """
        for text in (
            "",
            "%eth0",
            "10.0.0",
            "10.0.0.256",
            "010.0.0.1",
            "10.0.0.5 ",
            "10.0.0.5\n",
            "10.0.0.5/24",
            "10.0.0.5:80",
            "[fe80::1]",
            "fe80::1\r\nX-Tenant-ID: evil",
            "\u0661\u0660.0.0.5",
            "x" * 100_000,
        ):
            self.assertRaises(Malformed, canonical_address, text)

    @given(st.ip_addresses())
    def test_is_idempotent(self, address: IPv4Address | IPv6Address) -> None:
        """
        A canonical address stays as it is, and is still the same address.
        """
        once = canonical_address(str(address))
        self.assertEqual(canonical_address(once), once)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        self.assertEqual(ip_address(once), mapped or address)

    def test_fault_is_short(self) -> None:
        """
        The fault shows no more than the beginning of a long text.
        """
        fault = self.assertRaises(Malformed, canonical_address, "x" * 100_000)
        self.assertLess(len(str(fault)), 100)


class CanonicalMacTests(SynchronousTestCase):
    """
    Tests for L{canonical_mac}.
    """

    def test_forms(self) -> None:
        """
        Case and separators do not matter.
        """
        for text in (MAC, MAC.upper(), MAC.replace(":", "-"), "FA-16-3e-00-00-01"):
            self.assertEqual(canonical_mac(text), MAC)

    def test_refuses(self) -> None:
        """
        What is no MAC address is refused.
        """
        for text in (
            "",
            MAC[:-1],
            MAC + "0",
            MAC + "\n",
            " " + MAC,
            "fa163e000001",
            "fa16.3e00.0001",
            "ga:16:3e:00:00:01",
            "20-" + MAC,
            "x" * 100_000,
        ):
            fault = self.assertRaises(Malformed, canonical_mac, text)
            self.assertLess(len(str(fault)), 100)


class CheckedIdTests(SynchronousTestCase):
    """
    Tests for L{checked_id}.
    """

    def test_unchanged(self) -> None:
        """
        An id goes through as it is: Nova compares to the letter.
        """
        for text in (
            "32d0524b-314d-4594-b3a3-607e3f2354f8",
            "32D0524B-314D-4594-B3A3-607E3F2354F8",
            "a",
            "i-0123_x.y",
            "x" * 255,
        ):
            self.assertEqual(checked_id(text), text)

    def test_refuses(self) -> None:
        """
        What could be anything else in a header is refused.
        """
        for text in (
            "",
            "-x",
            ".",
            "a b",
            "a\r\nX-Tenant-ID: evil",
            "a\n",
            "a\0",
            "a,b",
            "a/b",
            "caf\xe9",
            "\u0661",
            "x" * 256,
        ):
            fault = self.assertRaises(Malformed, checked_id, text)
            self.assertLess(len(str(fault)), 500)


class PortTests(SynchronousTestCase):
    """
    Tests for L{Port}.
    """

    def test_is_checked_where_it_is_made(self) -> None:
        """
        A port with a bad MAC, instance or project id can't exist; a MAC is brought into
        its canonical form.
        """
        port = Port("red", MAC.upper(), "i-1", "p-1", None)
        self.assertEqual(port.mac, MAC)
        for mac, instance, project in (
            ("nothing", "i-1", "p-1"),
            (MAC, "i-1\r\nX: y", "p-1"),
            (MAC, "i-1", ""),
        ):
            self.assertRaises(Malformed, Port, "red", mac, instance, project, None)
