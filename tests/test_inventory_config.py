"""
Tests for L{mdproxy.inventory_config}.
"""

from __future__ import annotations

import socket
from pathlib import Path

from attrs import evolve

from mdproxy.config import Config, NeutronConfig, OvnConfig
from mdproxy.ovsdb import Remote
from tests.lab import certs
from tests.test_config import NEUTRON, PASSWORD, ConfigCase

LISTENER = "[listener:br0]\n"


class InventoriesTests(ConfigCase):
    """
    Tests for the inventories.
    """

    def test_inventories(self) -> None:
        """
        There must be one, of those that this version has, and none twice.
        """
        for value, words in (
            ("", "is empty, so nobody could be recognised"),
            ("static, static", "static stands there twice"),
            ("keystone", "there is no 'keystone': there is static, libvirt, ovn, "),
            ("statc", "there is no 'statc': did you mean static?"),
        ):
            [fault] = self.faults(f"inventories = {value}\n")
            self.assertTrue(fault.startswith("[DEFAULT] inventories: "), fault)
            self.assertIn(words, fault)

    def test_default_project(self) -> None:
        """
        The project of domains that Nova did not make is an id that can be sent.
        """
        rest = f"{LISTENER}[libvirt]\ndefault_project ="
        self.assertIsNone(self.load(rest=f"{rest}\n").libvirt_project)
        self.assertEqual(self.load(rest=f"{rest} p-1\n").libvirt_project, "p-1")
        [fault] = self.faults(rest=f"{rest} a b\n")
        self.assertIn("[libvirt] default_project: 'a b' can't be the id", fault)


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


class NeutronTests(ConfigCase):
    """
    Tests for C{[neutron]}.
    """

    def neutron(self, lines: str, more: str = PASSWORD) -> NeutronConfig:
        """
        Load a configuration with this inventory.
        """
        config = self.load(
            "inventories = neutron\n", f"{LISTENER}[neutron]\n{more}{lines}"
        )
        assert config.neutron is not None
        self.assertNotIn("s3cret", repr(config))
        return config.neutron

    def neutron_faults(self, lines: str, more: str = PASSWORD) -> list[str]:
        """
        Load a configuration with this inventory that is wrong.
        """
        return self.faults(
            "inventories = neutron\n", f"{LISTENER}[neutron]\n{more}{lines}"
        )

    def without(self, name: str) -> str:
        """
        Write all that is needed for a password but one option.
        """
        lines = PASSWORD.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(f"{name} ="))

    def test_password(self) -> None:
        """
        A user's and a project's names, with their domains, and a password are enough.
        """
        self.assertEqual(self.neutron(""), NEUTRON)
        self.assertEqual(self.neutron("auth_type = v3password\n"), NEUTRON)

    def test_everything(self) -> None:
        """
        Every option reaches its place.
        """
        self.assertEqual(
            self.neutron(
                "user_id = a\nuser_domain_id = b\nproject_id = c\n"
                "project_domain_id = d\napplication_credential_id = e\n"
                "application_credential_name = f\n"
                "application_credential_secret = s3cret\nregion_name = g\n"
                "valid_interfaces = admin, public\n"
                "endpoint_override = https://n:9696/x\ninsecure = true\ntimeout = 1\n"
                "refresh_interval = 2\nmax_age = 3\n"
            ),
            evolve(
                NEUTRON,
                user_id="a",
                user_domain_id="b",
                project_id="c",
                project_domain_id="d",
                application_credential_id="e",
                application_credential_name="f",
                application_credential_secret="s3cret",
                region_name="g",
                valid_interfaces=("admin", "public"),
                endpoint_override="https://n:9696/x",
                insecure=True,
                timeout=1.0,
                refresh_interval=2.0,
                max_age=3.0,
            ),
        )

    def test_what_is_missing(self) -> None:
        """
        All that Keystone needs and is not there is told at once.
        """
        for option in ("auth_url", "username", "password", "project_name"):
            [fault] = self.neutron_faults("", self.without(option))
            self.assertTrue(fault.startswith(f"[neutron] {option}: is empty"), fault)
        for what in ("user", "project"):
            option = f"{what}_domain_name"
            [fault] = self.neutron_faults("", self.without(option))
            self.assertIn(f"[neutron] {option}: is empty: name the domain", fault)
            self.neutron(f"{what}_domain_id = x\n", self.without(option))
            self.neutron(f"{what}_id = x\n", self.without(option))
        self.assertEqual(len(self.neutron_faults("", "")), 6)

    def test_application_credential(self) -> None:
        """
        An application credential has a secret, and an id, or a name and a user.
        """
        start = "auth_type = v3applicationcredential\nauth_url = https://k\n"
        secret = "application_credential_secret = s3cret\n"
        by_id = "application_credential_id = x\n"
        by_name = "application_credential_name = x\n"
        self.neutron("", f"{start}{secret}{by_id}")
        self.neutron("user_id = y\n", f"{start}{secret}{by_name}")
        self.neutron("username = y\nuser_domain_id = z\n", f"{start}{secret}{by_name}")
        for lines, options in (
            (by_id, ["application_credential_secret"]),
            (secret, ["application_credential_id"]),
            (secret + by_name, ["username", "user_domain_name"]),
        ):
            faults = self.neutron_faults("", f"{start}{lines}")
            self.assertEqual(
                [fault.partition(":")[0] for fault in faults],
                [f"[neutron] {option}" for option in options],
            )

    def test_addresses(self) -> None:
        """
        Keystone's and Neutron's address are URLs with nothing secret in them; those
        without TLS are noted.
        """
        for option in ("auth_url", "endpoint_override"):
            for value in (
                *("keystone", "https://", "ftp://k", "https://k:x", "https://k:99999"),
                *("https://u:s3cret@k", "https://k/?s3cret", "https://k/#s3cret"),
                *("https://[::1", "https://a b"),
            ):
                [fault] = self.neutron_faults(f"{option} = {value}\n")
                self.assertTrue(fault.startswith(f"[neutron] {option}: is no address"))
            text = f"{LISTENER}[neutron]\n{PASSWORD}{option} = http://[fd00::1]:5000\n"
            note = self.load("inventories = neutron\n", text).notes[-1]
            self.assertIn(f"[neutron] {option}: is http: whoever is on the way", note)

    def test_wrong_values(self) -> None:
        """
        What else can't be is a fault at its option, and shows nothing secret.
        """
        for lines, words in (
            ("auth_type = token\n", "[neutron] auth_type: 'token' is not one of"),
            ("valid_interfaces = intern\n", "valid_interfaces: there is no 'intern'"),
            ("valid_interfaces =\n", "[neutron] valid_interfaces: is empty"),
            ("interface = public\n", "interface: is called valid_interfaces now"),
            ("cafile = /none/x\n", "[neutron] cafile: /none/x cannot be read"),
            ("cafile = /etc/passwd\n", "[neutron] cafile: /etc/passwd"),
            ("region_name = $password\n", "must not refer to password"),
            ("region_name = ${neutron.password}x\n", "must not refer to password"),
        ):
            [fault] = self.neutron_faults(lines)
            self.assertIn(words, fault)

    def test_any_certificate(self) -> None:
        """
        That certificates are not checked is noted.
        """
        text = f"{LISTENER}[neutron]\n{PASSWORD}insecure = true\n"
        [note] = self.load("inventories = neutron\n", text).notes
        self.assertIn("[neutron] insecure: certificates of Keystone", note)

    def test_readable_passwords_are_noted(self) -> None:
        """
        A password in a file that others can read is noted.
        """
        path = Path(self.file(f"[neutron]\n{PASSWORD}", 0o640))
        default = Path(self.file(""))
        default.write_text(
            "[DEFAULT]\nmetadata_proxy_shared_secret = s3cret\n"
            f"inventories = neutron\n{LISTENER}"
        )
        from mdproxy.config import load

        [note] = load([str(default), str(path)]).notes
        self.assertIn("[neutron] password: holds the secret in a file that", note)
        self.assertIn("clouds_file keeps it apart", note)


class CloudTests(ConfigCase):
    """
    Tests for C{os_cloud}.
    """

    CLOUD = """\
clouds:
  one:
    auth:
      auth_url: https://keystone/v3
      username: u
      user_domain_name: d
      password: s3cret
      project_name: p
      project_domain_name: e
    region_name: north
    interface: admin
"""

    def cloud(self, lines: str = "", content: str = CLOUD, mode: int = 0o600) -> str:
        """
        Write clouds, and a section that names one.
        """
        path = self.file(content, mode)
        return f"{LISTENER}[neutron]\nos_cloud = one\nclouds_file = {path}\n{lines}"

    def test_a_cloud(self) -> None:
        """
        What a cloud says counts where the configuration says nothing.
        """
        default = "inventories = neutron\n"
        said = evolve(NEUTRON, region_name="north", valid_interfaces=("admin",))
        self.assertEqual(self.load(default, self.cloud()).neutron, said)
        rest = self.cloud("region_name = south\nusername = v\n")
        said = evolve(said, region_name="south", username="v")
        self.assertEqual(self.load(default, rest).neutron, said)

    def test_wrong_clouds(self) -> None:
        """
        A cloud that can't be used is one fault, without a word of what its file holds.
        """
        for content, mode, words in (
            (self.CLOUD, 0o640, "is open to others than its owner"),
            (self.CLOUD.replace("one:", "two:"), 0o600, "'one': has no such cloud"),
            ("clouds: [s3cret", 0o600, "is not YAML in line"),
            (self.CLOUD + "    auth_type: s3cret\n", 0o600, "auth_type is none of"),
            ("", 0o600, "is empty"),
        ):
            [fault] = self.faults(
                "inventories = neutron\n", self.cloud("", content, mode)
            )
            self.assertTrue(fault.startswith("[neutron] clouds_file: "), fault)
            self.assertIn(words, fault)

    def test_a_cloud_with_gaps(self) -> None:
        """
        What neither the cloud nor the configuration says is a fault.
        """
        content = self.CLOUD.replace("      password: s3cret\n", "")
        [fault] = self.faults("inventories = neutron\n", self.cloud("", content))
        self.assertIn("[neutron] password: is empty", fault)
