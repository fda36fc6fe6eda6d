"""
Tests for L{mdproxy.lookup.kinds}.
"""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.kinds import KINDS, Naming

UUID = "9d83c053-b0a4-4682-ae80-c00df269ce0a"


class KindTests(SynchronousTestCase):
    """
    Tests for L{Kind<mdproxy.lookup.kinds.Kind>}.
    """

    def test_store_of(self) -> None:
        """
        The files of Kea's cleaning up belong to the store that they are of, and no
        others do.
        """
        kea = KINDS["kea"]
        for suffix in ("", ".1", ".2", ".completed"):
            self.assertEqual(kea.store_of("/x/l.csv" + suffix), "/x/l.csv")
        for suffix in (".output", ".pid", ".3", ".1.2x"):
            self.assertEqual(kea.store_of("/x/l.csv" + suffix), "/x/l.csv" + suffix)
        self.assertEqual(KINDS["dnsmasq"].store_of("/x/leases.1"), "/x/leases.1")

    def test_names(self) -> None:
        """
        The kinds are known by their names.
        """
        self.assertEqual(set(KINDS), {"dnsmasq", "dhcpd", "kea", "libvirt"})
        for name, kind in KINDS.items():
            self.assertEqual(kind.name, name)
            self.assertEqual(kind.reader().feed(b""), [])

    def test_only_what_is_used_is_loaded(self) -> None:
        """
        The reader of one kind of file does not bring those of the others into memory.
        """
        script = (
            "import sys; from mdproxy.lookup.kinds import KINDS;"
            "KINDS['dnsmasq'].reader(); formats = 'mdproxy.lookup.formats.';"
            "print(*(m for m in sys.modules if m.startswith(formats)))"
        )
        loaded = subprocess.run([sys.executable, "-c", script], capture_output=True)
        self.assertEqual(loaded.stdout.split(), [b"mdproxy.lookup.formats.dnsmasq"])


class NamingTests(SynchronousTestCase):
    """
    Tests for L{Naming}.
    """

    def test_given(self) -> None:
        """
        A network that is given is that of all leases, whatever the kind.
        """
        naming = Naming("red", {42: "blue"}, {"virbr0": "blue"})
        for kind in KINDS.values():
            self.assertEqual(naming.network_of(kind, "/x/virbr0.status"), "red")
            self.assertEqual(naming.networks(kind, "/x/y"), {"red"})

    def test_directory(self) -> None:
        """
        Neutron's directories are called by the networks' ids.
        """
        path = f"/var/lib/neutron/dhcp/{UUID}/leases"
        kind = KINDS["dnsmasq"]
        self.assertEqual(Naming().network_of(kind, path), UUID)
        self.assertEqual(Naming().networks(kind, path), {UUID})

    def test_subnets(self) -> None:
        """
        Kea's subnets have a network each; another one has none.
        """
        naming, kind = Naming(None, {42: "red", 7: "blue"}), KINDS["kea"]
        self.assertIsNone(naming.network_of(kind, "/x"))
        self.assertEqual(naming.subnets, {"42": "red", "7": "blue"})
        self.assertEqual(naming.networks(kind, "/x"), {"red", "blue"})

    def test_bridges(self) -> None:
        """
        libvirt's files are called after bridges, whose network is that of the listener
        there, or called like the bridge.
        """
        naming, kind = Naming(bridges={"virbr0": "red"}), KINDS["libvirt"]
        path = "/var/lib/libvirt/dnsmasq/virbr0.status"
        self.assertEqual(naming.network_of(kind, path), "red")
        other = path.replace("0", "1")
        self.assertEqual(naming.network_of(kind, other), "virbr1")
        self.assertEqual(naming.networks(kind, other), {"virbr1"})
