"""
Tests for L{mdproxy.checks.survey}: that what is read comes to be judged; how, is told
by the tests of the judgements.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.access import User
from mdproxy.checks.finding import Finding
from mdproxy.checks.survey import (
    Service,
    certificates_in,
    ends_in,
    survey_certificates,
    survey_files,
    survey_host,
    survey_listeners,
    survey_stores,
)
from mdproxy.config import LeaseSourceConfig, ListenerConfig, NamespacesConfig
from mdproxy.settings import Settings
from tests.lab import certs
from tests.test_config import PLAIN

US = Service(os.getpid(), User.of(os.geteuid()))


def verdicts(findings: list[Finding]) -> dict[str, str]:
    """
    Tell the verdict of each finding by its name.
    """
    return {finding.name: finding.verdict for finding in findings}


class FilesTests(SynchronousTestCase):
    """
    Tests for files and certificates.
    """

    def setUp(self) -> None:
        """
        Make certificates, and a configuration that names them.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        self.made = certs.make(directory)
        self.config = directory / "mdproxy.conf"
        self.config.write_text(
            f"[DEFAULT]\nauth_ca_cert = {self.made.ca}\n"
            f"nova_client_cert = {self.made.client.certificate}\n"
            f"nova_client_priv_key = {self.made.client.key}\n"
            "metadata_proxy_shared_secret_file = /none\n"
            f"[introspection]\ncertificate = {self.made.expired.certificate}\n"
        )
        self.settings = Settings.load([str(self.config)], [])

    def test_permissions(self) -> None:
        """
        The configuration and each file that it names are looked at, the keys as secret.
        """
        self.made.client.key.chmod(0o644)
        found = verdicts(survey_files(self.settings, US))
        self.assertEqual(
            found,
            {
                "configuration": "ok",
                "the secret": "wrong",
                "whom we trust as Nova": "ok",
                "our certificate for Nova": "ok",
                "our key for Nova": "wrong",
                "the pages' certificate": "ok",
            },
        )

    def test_other_parts(self) -> None:
        """
        The files of OVN, Neutron, the manhole and the access log are looked at where
        they are in use, and only there.
        """
        made, directory = self.made, self.config.parent.absolute()
        text = (
            f"[ovn]\novn_sb_certificate = {made.expired.certificate}\n"
            f"ovn_sb_private_key = {made.client.key}\novn_sb_ca_cert = {made.ca}\n"
            f"[neutron]\ncafile = {made.ca}\nclouds_file = /none\n"
            "[manhole]\nauthorized_keys = /none/keys\nhost_key = /none/key\n"
            f"[log]\naccess_log = {directory}/access.log\n"
        )
        self.config.write_text(text)
        settings = Settings.load([str(self.config)], [])
        found = verdicts(survey_files(settings, US))
        self.assertEqual(found, {"configuration": "ok", "the access log": "ok"})
        text = text.replace("[manhole]", "[manhole]\nendpoint = unix:/m")
        text = text.replace("[neutron]", "[neutron]\nos_cloud = c")
        text += "[DEFAULT]\ninventories = ovn, neutron\n"
        self.config.write_text(text)
        settings = Settings.load([str(self.config)], [])
        found = verdicts(survey_files(settings, US))
        self.assertEqual(
            found,
            {
                "configuration": "ok",
                "whom we trust as OVN": "ok",
                "our certificate for OVN": "ok",
                "our key for OVN": "ok",
                "whom we trust as Keystone": "ok",
                "the file of clouds": "wrong",
                "who may log in": "wrong",
                "the manhole's key": "wrong",
                "the access log": "ok",
            },
        )
        ends = verdicts(survey_certificates(settings, time.time()))
        self.assertEqual(ends["our certificate for OVN"], "wrong")

    def test_certificates(self) -> None:
        """
        Each certificate that is named is judged, those of a chain one by one; a file
        without any is wrong.
        """
        now = time.time()
        found = survey_certificates(self.settings, now)
        self.assertEqual(
            verdicts(found),
            {
                "whom we trust as Nova": "ok",
                "our certificate for Nova": "ok",
                "the pages' certificate": "wrong",
            },
        )
        self.assertIn(f"{self.made.expired.certificate}: It has expired", found[2].text)
        chain = self.made.client.certificate
        chain.write_bytes(
            chain.read_bytes() + self.made.expired.certificate.read_bytes()
        )
        found = certificates_in("ours", str(chain), now)
        self.assertEqual(verdicts(found), {"ours 1": "ok", "ours 2": "wrong"})
        found = certificates_in("ours", str(chain), now, is_chain=True)
        self.assertEqual(verdicts(found)["ours"], "note")
        (finding,) = certificates_in("ours", str(self.made.client.key), now)
        self.assertEqual(finding.verdict, "wrong")

    def test_ends(self) -> None:
        """
        When certificates in files end is told of those that can be read.
        """
        good, key = str(self.made.ca), str(self.made.client.key)
        self.assertEqual(list(ends_in([good, key, "/none"])), [good])


class HostTests(SynchronousTestCase):
    """
    Tests for the kernel, listeners and stores.
    """

    def test_the_kernel(self) -> None:
        """
        Clock, inotify and neighbours are looked at, and the running process where it is
        known.
        """
        with_us = verdicts(survey_host(PLAIN, US))
        without = verdicts(survey_host(PLAIN, evolve(US, pid=None)))
        for found in (with_us, without):
            self.assertLessEqual({"clock", "inotify"}, found.keys())
            self.assertIn("net.ipv4.neigh.default.gc_thresh3", found)
        self.assertIn("open files of the service", with_us)
        self.assertIn("capabilities", with_us)
        self.assertIn("open files here", without)

    def test_listeners(self) -> None:
        """
        Devices, addresses and ports are looked at: our own port is ours.
        """
        with socket.create_server(("127.0.0.1", 0)) as opened:
            port = opened.getsockname()[1]
            plain = ("n", "address")
            listeners = (
                ListenerConfig("a", "address", None, "127.0.0.1", port, *plain),
                ListenerConfig("d", "device", "nosuchdev0", None, 80, "n", "mac"),
                ListenerConfig("l", "device", "lo", None, 80, "n", "mac"),
                NamespacesConfig("s", ("nosuchnamespace-*",), 80, 9697),
            )
            config = evolve(PLAIN, listeners=listeners)
            found = verdicts(survey_listeners(config, US))
        self.assertEqual(found["port of a"], "ok")
        self.assertEqual(found["address on nosuchdev0"], "wrong")
        self.assertIn("rp_filter of lo", found)
        self.assertEqual(found["address in the namespaces of s"], "note")

    def test_stores(self) -> None:
        """
        What inventories and lease sources read is looked at.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "instances.yaml").write_text("ports: []\n")
        (directory / "1.leases").write_text("")
        sources = [
            LeaseSourceConfig("dnsmasq", f"{directory}/*.leases", "br0"),
            LeaseSourceConfig("kea", f"{directory}/none", "br0"),
        ]
        config = evolve(
            PLAIN,
            inventories=("static", "libvirt", "ovn"),
            static_path=str(directory / "instances.yaml"),
            libvirt_path=str(directory),
            lease_sources=tuple(sources),
        )
        found = survey_stores(config, US)
        verdict = ["note", "ok", "ok", "ok", "wrong"]
        self.assertEqual([finding.verdict for finding in found], verdict, found)
        (directory / "1.leases").chmod(0o600)
        stranger = User("stranger", 3_999_999, frozenset())
        found = survey_stores(config, Service(None, stranger))
        closed = [f for f in found if "1.leases can't be" in f.text]
        self.assertEqual([finding.verdict for finding in closed], ["wrong"], found)
