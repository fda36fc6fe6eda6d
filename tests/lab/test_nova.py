"""
Tests for L{tests.lab.nova}: what the lab relies on.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.lab.certs import KeyPair, make
from tests.lab.nova import (
    BrokenNova,
    CannotInstall,
    NovaProcess,
    NovaTree,
    build,
    free_port,
    made_once,
)


def built() -> NovaTree:
    """
    Build Nova, or skip the test where it can't be had; on CI that is an error.
    """
    try:
        return build()
    except CannotInstall as error:
        if os.environ.get("CI") == "true":
            raise
        raise SkipTest(str(error)) from error


class MadeOnceTests(SynchronousTestCase):
    """
    Tests for L{made_once}.
    """

    def setUp(self) -> None:
        """
        Name a directory, and make something in it.
        """
        self.directory = Path(self.mktemp())
        self.assertTrue(self._make("old"))

    def _make(self, key: str) -> bool:
        """
        Make what is missing.

        @return: Whether it was missing.
        """
        with made_once(self.directory, key) as missing:
            if missing:
                self.assertFalse(self.directory.exists())
                self.directory.mkdir()
        return missing

    def test_same_ingredients(self) -> None:
        """
        What was made of the same ingredients is kept.
        """
        self.assertFalse(self._make("old"))

    def test_other_ingredients(self) -> None:
        """
        What was made of others is made anew, once.
        """
        self.assertTrue(self._make("new"))
        self.assertFalse(self._make("new"))

    def test_interrupted(self) -> None:
        """
        What was not made to the end is made anew.
        """

        def interrupted() -> None:
            """
            Begin, and do not come to the end.
            """
            with made_once(self.directory, "new"):
                self.directory.mkdir()
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, interrupted)
        self.assertTrue(self._make("new"))


class NovaProcessTests(SynchronousTestCase):
    """
    Tests for L{NovaProcess}.
    """

    def setUp(self) -> None:
        """
        Build Nova.
        """
        self.tree = built()
        directory = Path(self.mktemp())
        directory.mkdir()
        self.certificates = make(directory)

    def _get(self, nova: NovaProcess, client: KeyPair | None) -> int:
        """
        Ask for the one page that everybody may see, over TLS.
        """
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        connection = http.client.HTTPSConnection(
            nova.host, nova.port, timeout=60, context=context
        )
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        finally:
            connection.close()

    def test_http_and_tls_side_by_side(self) -> None:
        """
        One tree serves HTTP and mutual TLS at once; only the right client gets in.
        """
        plain = NovaProcess(self.tree, port=free_port())
        safe = NovaProcess(self.tree, port=free_port(), tls=self.certificates)
        with plain, safe:
            connection = http.client.HTTPConnection(plain.host, plain.port, timeout=60)
            self.addCleanup(connection.close)
            connection.request("GET", "/")
            self.assertEqual(200, connection.getresponse().status)
            self.assertEqual(200, self._get(safe, self.certificates.client))
            for client in (None, self.certificates.rogue_client):
                self.assertRaises(ssl.SSLError, self._get, safe, client)
        # Nobody is left behind.
        for nova in (plain, safe):
            self.assertRaises(
                ConnectionRefusedError,
                socket.create_connection,
                (nova.host, nova.port),
            )

    def test_shows_the_certificate_it_is_given(self) -> None:
        """
        It can be made to show a certificate that nobody should accept.
        """
        nova = NovaProcess(
            self.tree,
            port=free_port(),
            tls=self.certificates,
            server=self.certificates.expired,
        )
        with nova:
            error = self.assertRaises(
                ssl.SSLCertVerificationError, self._get, nova, self.certificates.client
            )
        self.assertIn("expired", str(error))

    def test_says_why_it_does_not_start(self) -> None:
        """
        On a port that is taken it raises, with what gunicorn said.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            nova = NovaProcess(self.tree, port=taken.getsockname()[1])
            error = self.assertRaises(BrokenNova, nova.start)
        self.assertIn("in use", str(error))
