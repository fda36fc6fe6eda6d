"""
Mutual TLS with the real Nova: who may ask, who is asked, and what an operator reads.

Over loopback, without namespaces: the listener is at an address.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.lab.certs import KeyPair, make
from tests.lab.guest import Answer, Guest, Talk, request
from tests.lab.machines import load_machines
from tests.lab.nova import NovaProcess, free_port
from tests.lab.proxy import Proxy
from tests.lab.stage import Stage
from tests.lab.test_nova import built

TARGET = "/openstack/latest/meta_data.json"


class TlsNovaTests(SynchronousTestCase):
    """
    One instance at 127.0.0.1, and Nova with and without TLS.
    """

    def setUp(self) -> None:
        """
        Build Nova and make the certificates.
        """
        self.tree = built()
        self.stage = Stage()
        self.stage.__enter__()
        self.addCleanup(self.stage.__exit__, None, None, None)
        certificates = self.stage.directory / "tls"
        certificates.mkdir()
        self.tls = make(certificates)
        self.machine = evolve(
            load_machines()[0], network="loop", addresses=("127.0.0.1",)
        )
        self.right = {
            "nova_metadata_protocol": "https",
            "auth_ca_cert": self.tls.ca,
            "nova_client_cert": self.tls.client.certificate,
            "nova_client_priv_key": self.tls.client.key,
        }

    def start_nova(
        self, server: KeyPair | None = None, *, is_safe: bool = True
    ) -> NovaProcess:
        """
        Start Nova.

        @param server: The certificate that it shows, instead of the right one.
        @param is_safe: Whether it speaks TLS.
        """
        tls = self.tls if is_safe else None
        nova = NovaProcess(self.tree, port=free_port(), tls=tls, server=server)
        nova.start()
        self.addCleanup(nova.stop)
        return nova

    def ask(self, nova: NovaProcess, options: dict[str, Any]) -> tuple[Answer, str]:
        """
        Have the instance ask through a proxy of its own.

        @param options: How the proxy is to reach Nova.

        @return: What the instance got, and what the proxy logged.
        """
        port = free_port()
        listener = {
            "kind": "address",
            "address": "127.0.0.1",
            "port": port,
            "identify_by": "address",
        }
        proxy = Proxy(
            self.stage,
            [self.machine],
            {
                "DEFAULT": options,
                "hold": {"openstack": 1},
                "listener:loop": listener,
            },
            networks=(),
            nova_port=nova.port,
            introspection_port=free_port(),
        )
        proxy.start()
        talk = Talk(((0, request(TARGET)),), host="127.0.0.1", port=port)
        [answer] = Guest(self.stage.hypervisor).talk(talk)
        log = proxy.running.log
        self.assertEqual(proxy.stop(), 0, proxy.running.said())
        said = proxy.running.said()
        log.unlink()
        self.assertNotIn("Traceback", said)
        return answer, said

    def assert_served(self, nova: NovaProcess, options: dict[str, Any]) -> str:
        """
        The instance gets its data, and Nova has logged the request.

        @return: What the proxy logged.
        """
        answer, said = self.ask(nova, options)
        self.assertEqual(answer.status, 200, said)
        self.assertEqual(answer.json()["uuid"], self.machine.instance)
        self.assertIn(f"GET {TARGET}", nova.accesses)
        return said

    def assert_refused(
        self, nova: NovaProcess, reason: str, **options: Path | str | None
    ) -> None:
        """
        The instance gets a 503, the log says why, and Nova was asked nothing.

        @param reason: Stands in the log, as an error.
        @param options: What is not right about the options; C{None}: it is missing.
        """
        before = nova.accesses
        both = {**self.right, **options}
        given = {name: value for name, value in both.items() if value is not None}
        answer, said = self.ask(nova, given)
        self.assertEqual(answer.status, 503, said)
        self.assertIn("retry-after", answer.fields)
        errors = [line for line in said.splitlines() if "#error]" in line]
        self.assertTrue([line for line in errors if reason in line], said)
        self.assertEqual(nova.accesses, before)

    def test_who_may_ask(self) -> None:
        """
        With the right certificates the instance is served.  With no certificate or
        another CA's, and in plain HTTP, Nova is asked nothing.
        """
        nova = self.start_nova()
        self.assert_served(nova, self.right)
        self.assert_refused(
            nova,
            "TLS failed: tlsv13 alert certificate required",
            nova_client_cert=None,
            nova_client_priv_key=None,
        )
        rogue = self.tls.rogue_client
        self.assert_refused(
            nova,
            "TLS failed: tlsv1 alert unknown ca",
            nova_client_cert=rogue.certificate,
            nova_client_priv_key=rogue.key,
        )
        self.assert_refused(
            nova,
            "does that port expect https?",
            nova_metadata_protocol="http",
            auth_ca_cert=None,
            nova_client_cert=None,
            nova_client_priv_key=None,
        )

    def test_who_is_asked(self) -> None:
        """
        A Nova whose certificate has expired, is for another name, or is from a CA that
        we don't trust is asked nothing; unless the operator wants it so, and is warned.
        """
        for server, reason in (
            (self.tls.expired, "it has expired"),
            (self.tls.wrong_name, "the certificate is not for 127.0.0.1"),
            (self.tls.rogue_server, "its issuer is not one that we trust"),
        ):
            nova = self.start_nova(server)
            self.assert_refused(nova, f"Nova's certificate was refused: {reason}")
            nova.stop()
        nova = self.start_nova()
        for ca in (self.tls.rogue_ca, None):
            reason = "its chain ends in a self-signed certificate that we don't trust"
            self.assert_refused(nova, reason, auth_ca_cert=ca)
        insecure = {**self.right, "nova_metadata_insecure": "true"}
        del insecure["auth_ca_cert"]
        said = self.assert_served(nova, insecure)
        self.assertRegex(said, r"#warn\].*nova_metadata_insecure")

    def test_plain_port(self) -> None:
        """
        A Nova that speaks no TLS is asked nothing where TLS is demanded.
        """
        self.assert_refused(
            self.start_nova(is_safe=False), "TLS failed: wrong version number"
        )
