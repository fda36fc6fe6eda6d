"""
Tests for L{mdproxy.neutron_config}.
"""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from mdproxy.config import load
from mdproxy.neutron_config import NeutronConfig
from tests.test_config import NEUTRON, PASSWORD, ConfigCase

LISTENER = "[listener:br0]\n"


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
