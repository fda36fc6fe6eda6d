"""
Tests for L{mdproxy.ovn_config}.
"""

from __future__ import annotations

import socket
from pathlib import Path

from mdproxy.config import Config
from mdproxy.ovn_config import OvnConfig
from mdproxy.ovsdb import Remote
from tests.lab import certs
from tests.test_config import ConfigCase

LISTENER = "[listener:br0]\n"


class OvnTests(ConfigCase):
    """
    Tests for C{[ovn]}.
    """

    def ovn(self, lines: str, default: str = "") -> Config:
        """
        Load a configuration with this inventory.
        """
        return self.load(f"inventories = ovn\n{default}", f"{LISTENER}[ovn]\n{lines}")

    def ovn_faults(self, lines: str, default: str = "") -> list[str]:
        """
        Load a configuration with this inventory that is wrong.
        """
        return self.faults(f"inventories = ovn\n{default}", f"{LISTENER}[ovn]\n{lines}")

    def setUp(self) -> None:
        """
        Make certificates.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        made = certs.make(directory)
        self.files = {
            "ovn_sb_ca_cert": str(made.ca),
            "ovn_sb_certificate": str(made.client.certificate),
            "ovn_sb_private_key": str(made.client.key),
        }
        self.other = str(made.server.key)

    def tls(self, **changes: str) -> str:
        """
        Write the options of TLS, and of an endpoint that needs them.
        """
        files = self.files | changes
        lines = "".join(f"{name} = {path}\n" for name, path in files.items())
        return f"ovn_sb_connection = ssl:ovn:6642\n{lines}"

    def test_nothing_set(self) -> None:
        """
        By default the database is where Neutron has it by default, and we are known by
        the name of the host.
        """
        self.assertEqual(
            self.ovn("").ovn,
            OvnConfig(
                (Remote("tcp", "127.0.0.1", 6642),),
                None,
                None,
                None,
                "",
                socket.gethostname(),
            ),
        )

    def test_endpoints(self) -> None:
        """
        Any number of endpoints of any kind are read, and written as they were.
        """
        text = "unix:/run/ovn/sb.sock, tcp:10.0.0.1:1, ssl:[fd00::1]:2, tcp:sb-1.x:3"
        files = self.tls().partition("\n")[2]
        config = self.ovn(f"ovn_sb_connection = {text}\nchassis = c\n{files}").ovn
        assert config is not None
        self.assertEqual(
            config.endpoints,
            (
                Remote("unix", "/run/ovn/sb.sock"),
                Remote("tcp", "10.0.0.1", 1),
                Remote("ssl", "fd00::1", 2),
                Remote("tcp", "sb-1.x", 3),
            ),
        )
        self.assertEqual(", ".join(map(str, config.endpoints)), text)
        self.assertEqual(config.chassis, "c")
        self.assertEqual((config.ca, config.certificate, config.key), (*self.paths(),))

    def paths(self) -> list[str]:
        """
        List the files: CA, certificate, key.
        """
        return list(self.files.values())

    def test_wrong_endpoints(self) -> None:
        """
        An endpoint that OVSDB does not have is a fault, as is one twice or none.
        """
        for text, words in (
            ("", "is empty: write tcp:HOST:PORT"),
            ("tcp:a", "'tcp:a' is none of ssl:HOST:PORT, tcp:HOST:PORT, unix:/FILE"),
            ("tcp::1", "is none of"),
            ("tcp:a:0", "is none of"),
            ("tcp:a:65536", "is none of"),
            ("tcp:fd00::1:1", "is none of"),
            ("tcp:a/b:1", "is none of"),
            ("tcp:a_b%:1", "'tcp:a_b%:1' is "),
            ("unix:x", "is none of"),
            ("ptcp:6642", "is none of"),
            ("10.0.0.1:6642", "is none of"),
            ("tcp:a:1, tcp:a:1", "tcp:a:1 stands there twice"),
        ):
            [fault] = self.ovn_faults(f"ovn_sb_connection = {text}\n")
            self.assertTrue(fault.startswith("[ovn] ovn_sb_connection: "), fault)
            self.assertIn(words, fault)

    def test_tls(self) -> None:
        """
        For ssl each of the three files is needed and must be good; the key is private.
        """
        for name in self.files:
            [fault] = self.ovn_faults(self.tls(**{name: ""}))
            self.assertIn(f"[ovn] {name}: is empty: ssl needs", fault)
            [fault] = self.ovn_faults(self.tls(**{name: "/none/x"}))
            self.assertIn(f"[ovn] {name}: /none/x cannot be read", fault)
        self.assertEqual(len(self.ovn_faults("ovn_sb_connection = ssl:ovn:6642\n")), 3)
        [fault] = self.ovn_faults(self.tls(ovn_sb_private_key=self.other))
        self.assertIn("[ovn] ovn_sb_private_key: ", fault)
        Path(self.files["ovn_sb_private_key"]).chmod(0o640)
        [fault] = self.ovn_faults(self.tls())
        self.assertIn("[ovn] ovn_sb_private_key: ", fault)
        self.assertIn("chmod 0600", fault)

    def test_files_without_ssl(self) -> None:
        """
        Where no endpoint is ssl its files don't matter.
        """
        config = self.ovn("ovn_sb_private_key = /none/x\n").ovn
        assert config is not None
        self.assertIsNone(config.key)

    def test_the_host(self) -> None:
        """
        What Neutron calls this host is Neutron's own option.
        """
        config = self.ovn("", "host = compute-1\n").ovn
        assert config is not None
        self.assertEqual(config.host, "compute-1")
        [fault] = self.ovn_faults("", "host = a b\n")
        self.assertIn("[DEFAULT] host: 'a b' can't be the name of a host", fault)

    def test_elsewhere_it_does_not_matter(self) -> None:
        """
        Where OVN is no inventory its section may say what it likes: it is Neutron's.
        """
        config = self.load(
            rest=f"{LISTENER}[ovn]\novn_sb_connection = x\novn_l3_scheduler = y\n"
        )
        self.assertIsNone(config.ovn)
        [note] = config.notes
        self.assertIn("without a meaning here: ovn_l3_scheduler", note)
