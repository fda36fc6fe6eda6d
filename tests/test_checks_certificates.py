"""
Tests for L{mdproxy.checks.certificates}.
"""

from __future__ import annotations

import calendar
import time
from pathlib import Path

from OpenSSL import crypto
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.certificates import (
    NoCertificate,
    Validity,
    judge_chain,
    judge_validity,
    read_chain,
    validity_of,
)
from tests.lab import certs

DAY = 86400.0
#: 2026-11-22 00:00 UTC.
NOW = 1795305600.0


class ReadingTests(SynchronousTestCase):
    """
    Tests for L{read_chain} and L{validity_of}.
    """

    def setUp(self) -> None:
        """
        Make certificates.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        self.made = certs.make(directory)

    def test_a_chain(self) -> None:
        """
        All certificates of a file are read, in their order, whatever stands between.
        """
        server, ca = self.made.server, self.made.ca
        pieces = [b"# ours\n", server.certificate.read_bytes(), server.key.read_bytes()]
        chain = read_chain(b"".join([*pieces, ca.read_bytes()]))
        names = [certificate.get_subject().CN for certificate in chain]
        self.assertEqual(names, ["server", "ca"])

    def test_when_it_is_good(self) -> None:
        """
        Beginning and end are what the certificate says, in seconds since the epoch.
        """
        (certificate,) = read_chain(self.made.expired.certificate.read_bytes())
        validity = validity_of(certificate)
        self.assertEqual(validity.ends - validity.begins, 6 * DAY)
        said = (certificate.get_notAfter() or b"").decode()
        ends = calendar.timegm(time.strptime(said, "%Y%m%d%H%M%SZ"))
        self.assertEqual(validity.ends, ends)

    def test_whether_it_is_a_chain(self) -> None:
        """
        Each certificate must be signed by the next one of the file.
        """
        ours, theirs, other = (
            read_chain(path.read_bytes())[0]
            for path in (self.made.client.certificate, self.made.ca, self.made.rogue_ca)
        )
        for chain in ([ours], [ours, theirs]):
            self.assertEqual(judge_chain("ours", chain), [])
        for chain in ([theirs, ours], [ours, other], [ours, theirs, other]):
            (finding,) = judge_chain("ours", chain)
            self.assertEqual(finding.verdict, "note")

    def test_nothing_to_read(self) -> None:
        """
        A file without a certificate, or with half of one, is told as such.
        """
        whole = self.made.server.certificate.read_bytes()
        for data in (b"", self.made.server.key.read_bytes(), whole[:200], b"\xff" * 50):
            with self.assertRaises(NoCertificate):
                read_chain(data)

    def test_a_time_that_is_none(self) -> None:
        """
        A certificate that does not say when it is good is none that can be judged.
        """
        with self.assertRaises(NoCertificate):
            validity_of(crypto.X509())


class JudgeTests(SynchronousTestCase):
    """
    Tests for L{judge_validity}.
    """

    def test_the_table(self) -> None:
        """
        What has ended or not begun is wrong, what ends soon is told in time, and a
        certificate that lives for a day is good for most of it.
        """
        for begins, ends, verdict, words in (
            (-300, 65, "ok", "65 days more"),
            (-300, 29, "note", "29 days more"),
            (-300, 6, "wrong", "6 days more"),
            (-300, 0, "wrong", "It has expired: it was good until 2026-11-22 00:00"),
            (-300, -1, "wrong", "until 2026-11-21 00:00 UTC"),
            (1, 300, "wrong", "good only from 2026-11-23 00:00 UTC on"),
            (-0.25, 0.75, "ok", "18 hours more"),
            (-0.75, 0.25, "note", "6 hours more"),
            (-0.95, 0.05, "wrong", "1 hours more"),
            (-1, 28, "ok", "28 days more"),
        ):
            validity = Validity(NOW + begins * DAY, NOW + ends * DAY)
            finding = judge_validity("ours", validity, NOW)
            self.assertEqual((finding.name, finding.verdict), ("ours", verdict), ends)
            self.assertIn(words, finding.text)
            self.assertEqual(bool(finding.advice), verdict != "ok")
