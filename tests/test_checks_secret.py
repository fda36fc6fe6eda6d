"""
Tests for L{mdproxy.checks.secret}.
"""

from __future__ import annotations

from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.secret import (
    NOBODY,
    Told,
    bogus,
    judge_answer,
    judge_failure,
    summed_up,
)
from mdproxy.fetch import Fetch
from mdproxy.http.client import UpstreamTlsFailed, UpstreamUnavailable
from mdproxy.model import ResponseHead
from mdproxy.signing import Signer

SECRET = "deadbeef2eb84d8d"
FORBIDDEN = b"<html>Invalid proxy request signature.</html>"


def answered(status: int, body: bytes = b"") -> Fetch:
    """
    Make a question with its answer.
    """
    question = bogus(Signer(SECRET.encode()))
    question.head(ResponseHead(status, b"X", b"", len(body)))
    if body:
        question.body(body)
    question.done()
    return question


class BogusTests(SynchronousTestCase):
    """
    Tests for L{bogus}.
    """

    def test_nobody_is_asked_for(self) -> None:
        """
        Each question is for another instance of another project, whose id is one and
        shows that it is nobody's; it is rightly signed, and says who asks.
        """
        signer = Signer(SECRET.encode())
        one, other = bogus(signer, b"mdproxy"), bogus(signer, b"mdproxy")
        self.assertNotEqual(one.instance, other.instance)
        self.assertNotEqual(one.project, other.project)
        self.assertEqual(str(UUID(one.instance)), one.instance)
        self.assertTrue(one.instance.startswith(NOBODY))
        wire = one.wire.decode()
        self.assertTrue(wire.startswith("GET /openstack/latest/meta_data.json HTTP/1"))
        self.assertIn(f"X-Instance-ID: {one.instance}\r\n", wire)
        self.assertIn(f"-Signature: {signer.sign(one.instance)}\r\n", wire)
        self.assertIn("user-agent: mdproxy\r\n", wire)
        self.assertNotIn(SECRET, wire + repr(one))


class JudgeTests(SynchronousTestCase):
    """
    Tests for L{judge_answer}, L{judge_failure} and L{summed_up}.
    """

    def test_the_table(self) -> None:
        """
        Only Nova's own words decide: 404 is right, 403 wrong, 400 mangled, and anything
        else tells nothing.
        """
        for status, body, secret, words, advice in (
            (404, b"", "right", "accepts our signature", ""),
            (403, FORBIDDEN, "wrong", "refuses our signature", "nova.conf"),
            (403, b"go away", "wrong", "not in Nova's words", "something before Nova"),
            (
                400,
                b"X-Tenant-ID header is missing from request.",
                "mangled",
                "mangles headers",
                "misses the header X-Tenant-ID",
            ),
            (400, b"plain HTTP request to HTTPS port", "unknown", "400", "= https"),
            (
                400,
                b"<center>No required SSL certificate was sent</center>",
                "unknown",
                "400",
                "nova_client_cert",
            ),
            (
                400,
                b"<h1>The SSL certificate error</h1>",
                "unknown",
                "400",
                "nova_client_cert",
            ),
            (200, b"{}", "unknown", "not Nova's metadata API", "nova_metadata_host"),
            (301, b"", "unknown", "301", "redirect"),
            (500, b"", "unknown", "500", "log of Nova's"),
            (503, b"", "unknown", "503", "load balancer"),
        ):
            told = judge_answer(answered(status, body))
            self.assertEqual(told.secret, secret, status)
            self.assertTrue(told.reached)
            self.assertIn(words, told.text)
            self.assertIn(advice, told.advice)
            finding = told.finding("Nova")
            verdict = "ok" if status == 404 else "wrong"
            self.assertEqual((finding.name, finding.verdict), ("Nova", verdict))

    def test_no_answer(self) -> None:
        """
        Without an answer nothing is known of the secret, and it is told what to see to.
        """
        for error, words in (
            (UpstreamUnavailable("refused."), "No connection to Nova: refused."),
            (UpstreamTlsFailed("odd"), "No TLS connection with Nova: odd."),
        ):
            told = judge_failure(error)
            self.assertEqual((told.secret, told.reached), ("unknown", False))
            self.assertIn(words, told.text)
            self.assertTrue(told.advice.startswith("See "), told.advice)

    def test_certificates(self) -> None:
        """
        Where Nova's certificate is to blame it is told what has to change, and where.
        """
        for why, advice in (
            ("Nova's certificate was refused: it has expired", "Renew the certificate"),
            ("Nova's certificate was refused: it is not valid yet", "clocks"),
            ("TLS failed: sslv3 alert certificate expired", "nova_client_cert"),
            ("Nova's certificate was refused: it is self-signed", "auth_ca_cert"),
            (
                "Nova's certificate was refused: the certificate is not for nova",
                "subjectAltName",
            ),
        ):
            told = judge_failure(UpstreamTlsFailed(why))
            self.assertIn(why, told.text)
            self.assertIn(advice, told.advice)

    def test_several(self) -> None:
        """
        One endpoint that refuses us is enough; one that is silent is not.
        """
        self.assertEqual(summed_up([]), "unknown")
        self.assertEqual(summed_up(["right", "unknown"]), "right")
        self.assertEqual(summed_up(["right", "mangled"]), "mangled")
        self.assertEqual(summed_up(["mangled", "wrong", "right"]), "wrong")
        self.assertEqual(summed_up(["unknown"]), "unknown")
        self.assertEqual(Told("right", "a").finding("b").advice, "")
