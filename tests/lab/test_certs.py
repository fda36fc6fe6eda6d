"""
Tests for L{tests.lab.certs}: the certificates are as good and as bad as they say.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.certs import Certificates, KeyPair, make


def handshake(
    certificates: Certificates, server: KeyPair, client: KeyPair | None, name: str
) -> str:
    """
    Let a client and a server that demands a certificate meet in memory.

    @param name: Whom the client wants to speak with.

    @return: Nothing, or why one of them refused.
    """
    near = ssl.create_default_context(cafile=str(certificates.ca))
    if client is not None:
        near.load_cert_chain(client.certificate, client.key)
    far = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca)
    )
    far.verify_mode = ssl.CERT_REQUIRED
    far.load_cert_chain(server.certificate, server.key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        near.wrap_bio(back, there, server_hostname=name),
        far.wrap_bio(there, back, server_side=True),
    ]
    # Each end speaks twice at most; one round more shows a late refusal.
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return str(error)
    return ""


class CertificatesTests(SynchronousTestCase):
    """
    Tests for L{make}.
    """

    def setUp(self) -> None:
        """
        Make a set.
        """
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.made = make(self.directory)

    def test_right_ones(self) -> None:
        """
        The server's and the client's work together under all the server's names.
        """
        for name in ("localhost", "nova-md", "127.0.0.1"):
            why = handshake(self.made, self.made.server, self.made.client, name)
            self.assertEqual("", why)

    def test_wrong_servers(self) -> None:
        """
        A client refuses each of the wrong servers for its own fault.
        """
        for server, fault in (
            (self.made.expired, "certificate has expired"),
            (self.made.wrong_name, "Hostname mismatch"),
            (self.made.rogue_server, "unable to get local issuer"),
        ):
            why = handshake(self.made, server, self.made.client, "localhost")
            self.assertIn(fault, why)

    def test_wrong_clients(self) -> None:
        """
        A server refuses who shows no certificate, a rogue one, or a server's.
        """
        for client, fault in (
            (None, "peer did not return a certificate"),
            (self.made.rogue_client, "unable to get local issuer"),
            (self.made.server, "unsuitable certificate purpose"),
        ):
            why = handshake(self.made, self.made.server, client, "localhost")
            self.assertIn(fault, why)

    def test_keys_are_private(self) -> None:
        """
        Only the owner can read a key.
        """
        keys = list(self.directory.glob("*.key"))
        self.assertEqual(6, len(keys))
        self.assertEqual({0o600}, {key.stat().st_mode & 0o777 for key in keys})

    def test_again(self) -> None:
        """
        A second set replaces the first.
        """
        old = self.made.ca.read_bytes()
        again = make(self.directory)
        self.assertEqual(self.made, again)
        self.assertNotEqual(old, again.ca.read_bytes())
        self.assertEqual("", handshake(again, again.server, again.client, "nova-md"))
