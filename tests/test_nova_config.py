"""
Tests for L{mdproxy.nova_config}.
"""

from __future__ import annotations

from pathlib import Path

from mdproxy.nova_config import Endpoint, TlsFiles
from tests.lab import certs
from tests.test_config import ConfigCase


class UpstreamTests(ConfigCase):
    """
    Tests for the way to Nova.
    """

    def test_endpoints_read_well(self) -> None:
        """
        An endpoint is written as in a URL.
        """
        self.assertEqual(str(Endpoint("nova", 8775)), "nova:8775")
        self.assertEqual(str(Endpoint("fd00::1", 8775)), "[fd00::1]:8775")

    def test_wrong_hosts(self) -> None:
        """
        Every host that is none is a fault, and so are none at all and one twice.
        """
        for value, words in (
            ("", "is empty"),
            ("http://a", "'http://a' is not a host"),
            ("a, b:80", "'b:80' is not a host: the port belongs into"),
            ("a, b, a", "a stands there twice"),
            ("::1, [::1]", "[::1] stands there twice"),
        ):
            [fault] = self.faults(f"nova_metadata_host = {value}\n")
            self.assertTrue(fault.startswith("[DEFAULT] nova_metadata_host: "), fault)
            self.assertIn(words, fault)
        self.assertEqual(len(self.faults("nova_metadata_host = a:1, b:1\n")), 2)


class TlsTests(ConfigCase):
    """
    Tests for the TLS files.
    """

    def setUp(self) -> None:
        """
        Make certificates.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        self.certificates = certs.make(directory)
        self.ca = f"auth_ca_cert = {self.certificates.ca}\n"
        self.certificate = (
            f"nova_client_cert = {self.certificates.client.certificate}\n"
        )
        self.key = f"nova_client_priv_key = {self.certificates.client.key}\n"

    def https(self, *lines: str) -> str:
        """
        Write the options of TLS.
        """
        return "".join(["nova_metadata_protocol = https\n", *lines])

    def test_files(self) -> None:
        """
        All files, only the CA, or none make a way with TLS.
        """
        client = self.certificates.client
        for lines, files in (
            ((), TlsFiles(None, None, None, False)),
            ((self.ca,), TlsFiles(str(self.certificates.ca), None, None, False)),
            (
                (self.ca, self.certificate, self.key),
                TlsFiles(
                    str(self.certificates.ca),
                    str(client.certificate),
                    str(client.key),
                    False,
                ),
            ),
        ):
            config = self.load(self.https(*lines))
            self.assertEqual((config.upstream.tls, config.notes), (files, ()))

    def test_insecure_is_noted(self) -> None:
        """
        To do without the check of Nova's certificate is possible, and noted.
        """
        config = self.load(self.https("nova_metadata_insecure = true\n"))
        self.assertEqual(config.upstream.tls, TlsFiles(None, None, None, True))
        [note] = config.notes
        self.assertIn("nova_metadata_insecure: Nova's certificate is not checked", note)

    def test_certificate_and_key_belong_together(self) -> None:
        """
        One of them alone is a fault at the other one's option.
        """
        [fault] = self.faults(self.https(self.certificate))
        self.assertIn("[DEFAULT] nova_client_priv_key: is empty", fault)
        [fault] = self.faults(self.https(self.key))
        self.assertIn("[DEFAULT] nova_client_cert: is empty", fault)

    def test_unfit_files_are_faults(self) -> None:
        """
        What is missing, open to others, or not what it should be, is a fault.
        """
        rogue = self.certificates.rogue_client
        text = self.file("no PEM\n")
        for lines, option, words in (
            (("auth_ca_cert = /none\n",), "auth_ca_cert", "No such file"),
            ((f"auth_ca_cert = {text}\n",), "auth_ca_cert", "no readable PEM"),
            (
                (f"nova_client_cert = {text}\n", self.key),
                "nova_client_cert",
                "no readable PEM",
            ),
            (
                (self.certificate, f"nova_client_priv_key = {text}\n"),
                "nova_client_priv_key",
                "no readable PEM",
            ),
            (
                (self.certificate, f"nova_client_priv_key = {rogue.key}\n"),
                "nova_client_priv_key",
                "is not the key of",
            ),
        ):
            [fault] = self.faults(self.https(*lines))
            self.assertTrue(fault.startswith(f"[DEFAULT] {option}: "), fault)
            self.assertIn(words, fault)

    def test_the_key_is_private(self) -> None:
        """
        A key that others may read is a fault; certificates are for everybody.
        """
        self.certificates.client.key.chmod(0o640)
        self.certificates.client.certificate.chmod(0o644)
        [fault] = self.faults(self.https(self.certificate, self.key))
        self.assertIn("[DEFAULT] nova_client_priv_key: ", fault)
        self.assertIn("is open to others than its owner (mode 0640)", fault)

    def test_files_without_tls_are_noted(self) -> None:
        """
        A Neutron file that names TLS files and speaks plain HTTP is accepted as it is,
        with a line for each of them that says what becomes of the requests.
        """
        config = self.load(self.ca + self.certificate + self.key)
        self.assertIsNone(config.upstream.tls)
        self.assertEqual(len(config.notes), 3)
        for option, note in zip(
            ("nova_client_cert", "nova_client_priv_key", "auth_ca_cert"),
            config.notes,
            strict=True,
        ):
            self.assertIn(f"[DEFAULT] {option}: has no meaning with", note)
            self.assertIn(
                "nova_metadata_protocol = http: requests go out in clear", note
            )

    def test_files_without_tls_are_not_read(self) -> None:
        """
        What is wrong with files that are not used is nobody's trouble.
        """
        config = self.load("nova_client_priv_key = /none\n")
        self.assertEqual(len(config.notes), 1)

    def test_insecure_without_tls_is_noted(self) -> None:
        """
        What only weakens TLS does no harm without it.
        """
        config = self.load("nova_metadata_insecure = true\n")
        self.assertIsNone(config.upstream.tls)
        [note] = config.notes
        self.assertIn("has no meaning", note)
