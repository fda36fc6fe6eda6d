"""
Tests for L{mdproxy.lease_config}.
"""

from __future__ import annotations

from mdproxy.config import LeaseSourceConfig
from tests.test_config import ConfigCase


class LeaseSourceTests(ConfigCase):
    """
    Tests for C{[leases]}.
    """

    def sources(
        self, value: str, subnets: str = "", listener: str = "[listener:br0]\n"
    ) -> tuple[LeaseSourceConfig, ...]:
        """
        Read lease sources.
        """
        return self.load(
            rest=f"{listener}[leases]\nsources = {value}\nkea_subnets = {subnets}\n"
        ).lease_sources

    def test_lease_sources(self) -> None:
        """
        A source has a kind that this version has, a path, and a listener's network.
        """
        for value, words in (
            ("x", "'x' is not KIND:PATH@NETWORK"),
            ("dnsmasq:", "'dnsmasq:' is not KIND:PATH@NETWORK"),
            ("dnsmasq:/x", "'dnsmasq:/x' needs its network"),
            ("dnsmasq:/x@", "'dnsmasq:/x@' needs its network"),
            ("dnsmasq:@br0", "'dnsmasq:@br0' needs its network"),
            (
                "dnsmasq:/x@br1",
                "names a network that no listener has; did you mean br0",
            ),
            ("dnsmasq:/x@zz", "names a network that no listener has; there is br0"),
            ("dnsmask:/x@br0", "there is no 'dnsmask': did you mean dnsmasq?"),
            ("dhcpd:/x", "'dhcpd:/x' needs its network: KIND:PATH@NETWORK"),
            ("dhcpd:/*/x", "'dhcpd:/*/x' needs its network"),
            ("dnsmasq:/a*/x", "'dnsmasq:/a*/x' needs its network"),
            ("kea:/x", "KIND:PATH@NETWORK, or kea_subnets"),
            ("libvirt:/x@", "'libvirt:/x@' needs its network"),
        ):
            [fault] = self.faults(rest=f"[listener:br0]\n[leases]\nsources = {value}\n")
            self.assertTrue(fault.startswith("[leases] sources: "), fault)
            self.assertIn(words, fault)

    def test_kinds(self) -> None:
        """
        Every kind of source is read, with the network that it names.
        """
        for kind in ("dnsmasq", "dhcpd", "kea", "libvirt"):
            [source] = self.sources(f"{kind}:/x@br0")
            self.assertEqual(source, LeaseSourceConfig(kind, "/x", "br0"))
            self.assertEqual(source.name, f"{kind}:/x@br0")

    def test_networks_that_the_path_tells(self) -> None:
        """
        No network is named where a directory, a bridge or Kea's subnets tell it.
        """
        for text in (
            "dnsmasq:/var/lib/neutron/dhcp/*/leases",
            "libvirt:/var/lib/libvirt/dnsmasq/*.status",
            "libvirt:/x/virbr0.status",
        ):
            [source] = self.sources(text)
            kind, _, path = text.partition(":")
            self.assertEqual(source, LeaseSourceConfig(kind, path, None))
            self.assertEqual(source.name, text)
        both = "[listener:br0]\n[listener:br1]\n"
        self.assertEqual(
            self.sources("kea:/x, kea:/y@br1", "20:br0, 3 : br1", both),
            (
                LeaseSourceConfig("kea", "/x", None, ((3, "br1"), (20, "br0"))),
                LeaseSourceConfig("kea", "/y", "br1"),
            ),
        )

    def test_wrong_subnets(self) -> None:
        """
        Each of Kea's subnets has an id, once, and a listener's network.
        """
        for value, words in (
            ("br0", "'br0' is not ID:NETWORK"),
            ("0:br0", "'0:br0' is not ID:NETWORK"),
            ("-1:br0", "is not ID:NETWORK"),
            (f"{'9' * 30}:br0", "is not ID:NETWORK"),
            ("1:", "'1:' names no network"),
            ("1:a b", "names no network"),
            ("1:br1", "names a network that no listener has; did you mean br0?"),
            ("1:br0, 01:br0", "'01:br0' stands there twice"),
        ):
            [fault] = self.faults(
                rest="[listener:br0]\n[leases]\nsources = kea:/x@br0\n"
                f"kea_subnets = {value}\n"
            )[:1]
            self.assertTrue(fault.startswith("[leases] kea_subnets: "), fault)
            self.assertIn(words, fault)

    def test_subnets_for_nobody(self) -> None:
        """
        Subnets that no source goes by are noted.
        """
        [note] = self.load(
            rest="[listener:br0]\n[leases]\nsources = kea:/x@br0\nkea_subnets = 1:br0\n"
        ).notes
        self.assertIn("[leases] kea_subnets: has no meaning", note)

    def test_networks_of_namespaces(self) -> None:
        """
        Where a listener is in namespaces, or behind Neutron's haproxies, a source may
        be of any network: which there are nobody knows beforehand.
        """
        for kind in ("namespaces", "socket\npath = /x"):
            listener = f"[listener:a]\nkind = {kind}\n[listener:br0]\n"
            [source] = self.sources("dhcpd:/x@elsewhere", "", listener)
            self.assertEqual(source.network, "elsewhere")
            [source] = self.sources("kea:/x", "1:elsewhere", listener)
            self.assertEqual(source.subnets, ((1, "elsewhere"),))

    def test_the_same_twice(self) -> None:
        """
        A source that is named twice is one.
        """
        self.assertEqual(len(self.sources("dhcpd:/x@br0, dhcpd:/x@br0")), 1)

    def test_a_broken_listener_has_its_network(self) -> None:
        """
        What is wrong with a listener is not told again at its lease sources.
        """
        [fault] = self.faults(
            rest="[listener:br0]\nport = x\n[leases]\nsources = dnsmasq:/x@br0\n"
        )
        self.assertIn("[listener:br0] port", fault)

    def test_leases_that_identify_need_a_source(self) -> None:
        """
        A listener that identifies by lease needs a source for its network.
        """
        rest = (
            "[listener:br0]\nidentify_by = lease\n[listener:br1]\n[leases]\nsources = "
        )
        [fault] = self.faults(rest=f"{rest}dnsmasq:/x@br1\n")
        self.assertIn("[listener:br0] identify_by: lease needs a source for br0", fault)
        for good in (
            "dnsmasq:/x@br0",
            "dnsmasq:/x/*/leases",
            "libvirt:/x",
            "kea:/x\nkea_subnets = 1:br0",
        ):
            self.assertEqual(len(self.load(rest=f"{rest}{good}\n").listeners), 2)
        [fault] = self.faults(rest=f"{rest}kea:/x\nkea_subnets = 1:br1\n")
        self.assertIn("lease needs a source for br0", fault)
