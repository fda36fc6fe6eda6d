"""
Tests for L{mdproxy.cli}.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.cli import main

INSTANCE = "32d0524b-314d-4594-b3a3-607e3f2354f8"
#: The signature of the example that the world knows (Nova, Neutron and we agree).
SIGNATURE = "6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605"
SECRET = "deadbeef2eb84d8d"


class CliCase(SynchronousTestCase):
    """
    A case that runs the command.
    """

    def run_with(self, config: str, *argv: str) -> tuple[int, str, str]:
        """
        Run C{mdproxyctl} with one configuration file.

        @param config: What the file says; it may hold C{SECRET}, which must not show.
        @param argv: The command and its arguments.

        @return: Exit status, output, errors.
        """
        path = Path(self.mktemp())
        path.touch(0o600)
        path.write_text(config.replace("SECRET", SECRET), "utf-8")
        status, out, err = self.run_command(
            argv[0], "--config-file", str(path), *argv[1:]
        )
        self.assertNotIn(SECRET, out + err)
        return status, out, err.replace(str(path), "FILE")

    def run_command(self, *argv: str) -> tuple[int, str, str]:
        """
        Run C{mdproxyctl}.

        @return: Exit status, output, errors.
        """
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = main(argv)
            except SystemExit as end:
                # argparse leaves in this way.
                status = int(end.code or 0)
        return status, out.getvalue(), err.getvalue()


PLAIN = "[DEFAULT]\nmetadata_proxy_shared_secret = SECRET\n[listener:br0]\n"


class CheckConfigTests(CliCase):
    """
    Tests for C{check-config}.
    """

    def test_faults(self) -> None:
        """
        Every fault is one line on the error output, and the status is 1.
        """
        status, out, err = self.run_with(
            "[DEFAULT]\nmetadata_proxy_shared_secret = SECRET\nnova_metadata_port = 0\n"
            "[lease]\n",
            "check-config",
        )
        self.assertEqual((status, out), (1, ""))
        lines = err.splitlines()
        self.assertEqual(
            lines[:2],
            [
                "FILE line 4: [lease]: no such section; did you mean leases?",
                "FILE line 3: [DEFAULT] nova_metadata_port: '0' is not a whole number "
                "from 1 to 65535",
            ],
        )
        self.assertTrue(lines[2].startswith("FILE: there is no [listener:NAME]"))
        self.assertIn("$ is written $$", err)
        self.assertIn("a comment needs a line of its own", err)

    def test_summary(self) -> None:
        """
        Without faults it says in short what was decided, and what is weak.
        """
        status, out, err = self.run_with(
            "[DEFAULT]\nmetadata_proxy_shared_secret = SECRET\n"
            "nova_metadata_host = nova-a, fd00::1\ninventories = libvirt, static\n"
            "metadata_workers = 2\n"
            "[listener:br0]\n"
            "[listener:nat]\nkind = address\naddress = ::1\nport = 8080\n"
            "network = net-1\nidentify_by = address\n"
            "[leases]\nsources = dnsmasq:/var/*.leases@br0\n",
            "check-config",
        )
        self.assertEqual((status, err), (0, ""))
        for line in (
            "The configuration has no faults.",
            "  br0: device br0 port 80, network br0, identifies by mac",
            "  nat: address ::1 port 8080, network net-1, identifies by address: "
            "WEAKER than mac",
            "  libvirt: /run/libvirt/qemu",
            "  static: /etc/mdproxy/instances.yaml",
            "  dnsmasq on network br0: /var/*.leases",
            "Nova: nova-a:8775, then [fd00::1]:8775",
            "  plain HTTP: whoever is on the way can read all metadata",
            "  the secret is known",
            "Operator's pages: tcp:8085:interface=127.0.0.1",
        ):
            self.assertIn(line, out.splitlines())
        self.assertIn("Neutron's, without a meaning here: metadata_workers", out)
        self.assertIn("address is weaker than mac: ", out)
        self.assertIn("$ is written $$", out)
        self.assertLess(out.index("libvirt: "), out.index("static: "))

    def test_summary_on_a_neutron_host(self) -> None:
        """
        Namespaces, the agent's socket, OVN, Neutron and leases of every kind are summed
        up, too, and no password shows.
        """
        status, out, err = self.run_with(
            "[DEFAULT]\nmetadata_proxy_shared_secret = SECRET\n"
            "inventories = ovn, neutron\n"
            "[ovn]\novn_sb_connection = unix:/run/a, tcp:[fd00::1]:6642\n"
            "[neutron]\nauth_url = https://k/v3\nuser_id = u\nproject_id = p\n"
            "password = SECRET\n"
            "[listener:all]\nkind = namespaces\n"
            "[listener:agent]\nkind = socket\npath = /s\nidentify_by = address\n"
            "namespaces = ovnmeta-*\nallowed_uids = 0, 7\n"
            "[leases]\nsources = dnsmasq:/d/*/leases, kea:/k, dhcpd:/i@net\n"
            "kea_subnets = 1:one, 2:two\n",
            "check-config",
        )
        self.assertEqual((status, err), (0, ""))
        for line in (
            "  all: namespaces qdhcp-*, qrouter-*, ovnmeta-* port 80, of routers 9697, "
            "identifies by mac",
            "  agent: socket /s (mode deduce) for 0, 7, namespaces ovnmeta-*, "
            "identifies by address: WEAKER than mac",
            "  ovn: unix:/run/a, then tcp:[fd00::1]:6642",
            "  neutron: what https://k/v3 names (password); never tried with a Neutron "
            "in use",
            "  dnsmasq on network told by the path: /d/*/leases",
            "  kea on network one (subnet 1), two (subnet 2): /k",
            "  dhcpd on network net: /i",
        ):
            self.assertIn(line, out.splitlines())

    def test_weak_spots(self) -> None:
        """
        No secret, and a Nova that is not verified, stand out.
        """
        _, out, _ = self.run_with(
            "[DEFAULT]\nallow_empty_secret = true\nnova_metadata_protocol = https\n"
            "nova_metadata_insecure = true\n[listener:br0]\n",
            "check-config",
        )
        self.assertIn("NO SECRET", out)
        self.assertIn("TLS: Nova's certificate is NOT VERIFIED; we show none", out)

    def test_directories(self) -> None:
        """
        The files of a directory count, after the files that are named.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "a.conf").write_text("[listener:br7]\n", "utf-8")
        status, out, _ = self.run_with(
            PLAIN, "check-config", "--config-dir", str(directory)
        )
        self.assertEqual(status, 0)
        self.assertIn("br7: device br7", out)

    def test_the_default_file(self) -> None:
        """
        Without any file or directory a default one counts, which the help names.
        """
        missing = self.mktemp()
        err = io.StringIO()
        with redirect_stderr(err):
            self.assertEqual(main(["check-config"], missing), 1)
        self.assertIn(f"{missing}: cannot be read: No such file", err.getvalue())
        status, out, _ = self.run_command("check-config", "--help")
        self.assertEqual(status, 0)
        self.assertIn("/etc/mdproxy/mdproxy.conf", out)


class SignTests(CliCase):
    """
    Tests for C{sign}.
    """

    def test_it_prints_just_the_signature(self) -> None:
        """
        The signature is all there is, ready for a shell.
        """
        self.assertEqual(
            self.run_with(PLAIN, "sign", INSTANCE), (0, f"{SIGNATURE}\n", "")
        )

    def test_broken_configurations_sign_nothing(self) -> None:
        """
        With a faulty configuration there is no signature but the faults.
        """
        status, out, err = self.run_with("[DEFAULT]\n", "sign", INSTANCE)
        self.assertEqual((status, out), (1, ""))
        self.assertIn("metadata_proxy_shared_secret: is empty", err)

    def test_only_ids_are_signed(self) -> None:
        """
        What is no id could not stand in a header, so it gets no signature.
        """
        for text in ("", "a b", "a\r\nX-Tenant-ID: b", "é", "-"):
            status, out, err = self.run_with(PLAIN, "sign", "--", text)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("INSTANCE_ID", err)


class FetchTests(CliCase):
    """
    Tests for the command line of C{fetch}; what it does is L{mdproxy.fetch}'s.
    """

    def test_targets_are_checked(self) -> None:
        """
        A path that could not stand in a request line is refused.
        """
        for path in ("latest", "/a b", "/a\r\nX: y", "/é"):
            status, out, err = self.run_with(
                PLAIN, "fetch", INSTANCE, path, "--project", "p"
            )
            self.assertEqual((status, out), (2, ""))
            self.assertIn("PATH", err)

    def test_projects_are_checked(self) -> None:
        """
        A project that is no id is refused.
        """
        status, _, err = self.run_with(
            PLAIN, "fetch", INSTANCE, "/", "--project", "a b"
        )
        self.assertEqual(status, 2)
        self.assertIn("--project", err)
