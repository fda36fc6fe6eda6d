"""
Tests for L{mdproxy.checks.service}.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import cast

from attrs import evolve
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.asking import Asking
from mdproxy.checks.service import Checked, Checks, checked_of, place_of
from mdproxy.config import TlsFiles
from mdproxy.fetch import Fetch
from mdproxy.http.client import Patience
from mdproxy.reload import Change
from mdproxy.signing import Signer
from mdproxy.upstream import Endpoint
from tests.lab import certs
from tests.pooling import Nova
from tests.test_config import PLAIN

SECRET = b"s3cret"
REFUSAL = b"Invalid proxy request signature."


class ChecksCase(SynchronousTestCase):
    """
    A case with checks of a Nova in memory.
    """

    checks: Checks

    def setUp(self) -> None:
        """
        Make them, with two endpoints.
        """
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.nova = Nova()
        self.endpoints = [Endpoint("a", 8775), Endpoint("fd00::1", 8775)]
        self.signer = Signer(SECRET)
        self.refusals = 0
        self.make(Checked(60.0))

    def make(self, checked: Checked) -> None:
        """
        Make the checks.
        """
        self.checks = Checks(
            checked,
            lambda: self.endpoints,
            lambda: self.signer,
            lambda: self.refusals,
            self.ask,
            self.nova.sweep,
            self.nova.clock,
            Random(1),
            lambda: 1000.0 + self.nova.clock.seconds(),
        )

    def ask(self, question: Fetch) -> Asking:
        """
        Provide C{Ask}.
        """
        clock, sweep = self.nova.clock, self.nova.sweep
        return Asking(question, self.nova.connect, clock, sweep, Patience(3, 30))

    def start(self) -> None:
        """
        Start them, and have the first check begin.
        """
        self.checks.startService()
        self.nova.wait(4)

    def asked(self) -> int:
        """
        Count the questions that were ever asked.
        """
        return len(self.nova.attempts)

    def reload(self, interval: float, certificate: str | None = None) -> Change:
        """
        Reload the configuration.

        @param certificate: The one that the pages show.

        @return: What was done.
        """
        pages = evolve(PLAIN.introspection, certificate=certificate)
        upstream = evolve(PLAIN.upstream, check_interval=interval)
        config = evolve(PLAIN, upstream=upstream, introspection=pages)
        change = self.checks.prepare(config, config)
        change.apply()
        return change

    def logged(self, text: str) -> list[str]:
        """
        List the lines of the log that hold a text.
        """
        lines = [formatEvent(event) for event in self.events]
        return [line for line in lines if text in line]

    def answer(self, *statuses: int) -> None:
        """
        Answer the endpoints in turn.
        """
        for status in statuses:
            (busy,) = (attempt for attempt in self.nova.attempts if attempt.is_busy)
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(REFUSAL)}\r\n\r\n"
            busy.say(head.encode() + REFUSAL)

    def wait_for_question(self, seconds: float) -> float:
        """
        Wait until one more is asked.

        @param seconds: How long that may take.

        @return: How long it took.
        """
        before, asked = self.nova.clock.seconds(), self.asked()
        while self.asked() == asked:
            self.assertLess(self.nova.clock.seconds() - before, seconds)
            self.nova.wait(0.25)
        return self.nova.clock.seconds() - before


class SecretTests(ChecksCase):
    """
    Tests for the check of the secret.
    """

    def test_all_in_turn(self) -> None:
        """
        Soon after the start each endpoint is asked, one after the other, and what they
        say is there to be seen.
        """
        self.assertEqual(self.checks.secret, "unknown")
        self.start()
        self.assertEqual([a.endpoint.host for a in self.nova.attempts], ["a"])
        self.answer(404)
        self.assertEqual(self.checks.secret, "right")
        self.assertEqual([f.verdict for f in self.checks.findings], ["ok", "note"])
        self.answer(404)
        described = json.loads(json.dumps(self.checks.describe()))
        self.assertEqual(described["secret"], "right")
        self.assertEqual(
            [(e["endpoint"], e["secret"]) for e in described["endpoints"]],
            [("a:8775", "right"), ("[fd00::1]:8775", "right")],
        )
        self.assertEqual(described["endpoints"][0]["checked"], 1004.0)
        self.assertEqual([f["verdict"] for f in described["findings"]], ["ok", "ok"])
        self.assertEqual(len(self.logged("Nova at a:8775 accepts our signature")), 1)

    def test_again_and_again(self) -> None:
        """
        It is done again after the interval, more or less, and a question that takes
        long is not joined by another.
        """
        self.start()
        self.answer(404, 404)
        for _ in range(3):
            self.assertGreater(self.wait_for_question(75), 45)
            asked = self.asked()
            self.nova.wait(15)
            self.assertEqual(self.asked(), asked)
            self.answer(404, 404)

    def test_a_wrong_secret(self) -> None:
        """
        One endpoint that refuses our signature is enough to be wrong; it is logged
        once, with what to do, and so is that it is right again.
        """
        self.start()
        self.answer(404, 403)
        self.assertEqual(self.checks.secret, "wrong")
        finding = self.checks.findings[1]
        self.assertEqual(finding.name, "Nova at [fd00::1]:8775")
        self.assertEqual(finding.verdict, "wrong")
        self.assertIn("metadata_proxy_shared_secret", finding.advice)
        (line,) = self.logged("[fd00::1]")
        self.assertIn("refuses our signature", line)
        self.wait_for_question(75)
        self.answer(404, 403)
        self.assertEqual(len(self.logged("[fd00::1]")), 1)
        self.wait_for_question(75)
        self.answer(404, 404)
        self.assertEqual(self.checks.secret, "right")
        self.assertEqual(len(self.logged("[fd00::1]")), 2)

    def test_trouble_of_novas(self) -> None:
        """
        What says nothing of the secret makes it unknown, and no line in the log.
        """
        self.start()
        self.answer(404, 500)
        self.wait_for_question(75)
        self.answer(503, 400)
        self.assertEqual(self.checks.secret, "mangled")
        self.assertEqual(self.checks.findings[0].verdict, "wrong")
        self.wait_for_question(75)
        self.answer(500, 500)
        self.assertEqual(self.checks.secret, "unknown")
        self.assertEqual(len(self.logged("Nova at")), 2)

    def test_who_is_not_reached_is_asked_sooner(self) -> None:
        """
        Where nobody answers it is tried again in some seconds, without a storm.
        """
        self.nova.refusing = {"a", "fd00::1"}
        self.start()
        self.assertEqual(self.asked(), 2)
        self.assertIn("No connection", self.checks.findings[0].text)
        self.nova.wait(40)
        self.assertIn(self.asked(), range(6, 12))
        self.nova.refusing = set()
        self.wait_for_question(13)
        self.answer(404, 404)
        self.assertEqual(self.checks.secret, "right")

    def test_what_is_wrong_is_asked_sooner(self) -> None:
        """
        However long the interval is, that a secret was mended shows in half a minute;
        what is right is left alone for the interval.
        """
        self.make(Checked(600.0))
        self.start()
        self.answer(404, 403)
        self.wait_for_question(37)
        self.answer(404, 404)
        self.assertEqual(self.checks.secret, "right")
        self.assertGreater(self.wait_for_question(721), 479)

    def test_an_instance_was_refused(self) -> None:
        """
        Where an instance's question was refused for its signature it is checked at
        once, but not more often than every few seconds, however many were refused.
        """
        self.start()
        self.answer(404, 404)
        self.nova.wait(20)
        self.refusals = 1
        self.nova.wait(2)
        self.answer(403, 403)
        self.assertEqual(self.checks.secret, "wrong")
        for _ in range(20):
            self.refusals += 100
            self.nova.wait(1)
            self.nova.answer(403)
            self.nova.answer(403)
        self.assertLess(self.asked(), 2 + 2 + 2 * 5)

    def test_hurried(self) -> None:
        """
        It can be hurried, as when Nova has come back.
        """
        self.start()
        self.answer(404, 404)
        self.nova.wait(10)
        self.checks.hurry()
        self.nova.wait(1)
        self.answer(404, 404)

    def test_never(self) -> None:
        """
        With an interval of 0 nobody is ever asked, and that is told.
        """
        self.make(Checked(0.0))
        self.checks.startService()
        self.refusals = 7
        self.checks.hurry()
        self.nova.wait(200)
        self.assertEqual(self.asked(), 0)
        self.assertEqual(self.checks.secret, "unknown")
        self.assertIn("check_interval", self.checks.findings[0].advice)

    def test_another_configuration(self) -> None:
        """
        After a reload it is checked soon, with the secret and the endpoints that are
        now in use; what is gone is forgotten.
        """
        self.start()
        self.answer(403, 403)
        self.signer, self.endpoints = Signer(b"other"), [Endpoint("c", 8775)]
        self.assertEqual(self.checks.secret, "unknown")
        self.reload(30.0)
        self.wait_for_question(6)
        self.answer(404)
        self.assertEqual(self.checks.secret, "right")
        (seen,) = (a.wire.seen for a in self.nova.attempts if a.endpoint.host == "c")
        instance = seen.partition(b"X-Instance-ID: ")[2].partition(b"\r\n")[0]
        self.assertIn(Signer(b"other").sign(instance.decode()).encode(), seen)
        self.reload(0.0)
        self.nova.wait(200)
        self.assertEqual(self.asked(), 3)

    def test_stopped(self) -> None:
        """
        When it is stopped what is under way is given up, and nothing is left.
        """
        self.start()
        self.checks.stopService()
        self.nova.wait(200)
        self.assertEqual(self.asked(), 1)
        self.nova.attempts[0].wire.settle()
        self.assertFalse(self.nova.attempts[0].is_open)
        self.assertEqual(self.nova.clock.getDelayedCalls(), [])

    def test_a_fault_of_ours(self) -> None:
        """
        A fault of ours ends one check, and not all.
        """
        faults = [ZeroDivisionError(), None]

        def ask(question: Fetch) -> Asking:
            fault = faults.pop(0) if faults else None
            if fault is not None:
                raise fault
            return self.ask(question)

        self.checks._ask = ask
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.wait_for_question(75)
        self.answer(404, 404)

    def test_nothing_secret(self) -> None:
        """
        Neither the secret nor a signature is in what is told.
        """
        self.start()
        self.answer(403, 403)
        said = repr(self.checks) + json.dumps(self.checks.describe())
        said += "".join(self.logged(""))
        self.assertNotIn(SECRET.decode(), said)
        for attempt in self.nova.attempts:
            head = attempt.wire.seen.decode()
            signature = head.partition("-Signature: ")[2].partition("\r\n")[0]
            self.assertEqual(len(signature), 64)
            self.assertNotIn(signature, said)


class CertificateTests(ChecksCase):
    """
    Tests for what is told of certificates.
    """

    def test_ours(self) -> None:
        """
        Of each certificate that we show it is told when it ends, as it was when it was
        put into use; one that can't be read is wrong.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        made = certs.make(directory)
        path, missing = str(made.client.certificate), str(directory / "none")
        self.make(Checked(60.0, (("one", path), ("other", missing))))
        self.assertEqual(list(self.checks.certificates), [path])
        one, other = self.checks.findings[-2:]
        # It is 1970 here.
        self.assertIn(f"{path}: It is good only from", one.text)
        self.assertEqual((other.name, other.verdict), ("other", "wrong"))
        before = dict(self.checks.certificates)
        made.client.certificate.write_bytes(made.expired.certificate.read_bytes())
        self.assertEqual(self.checks.certificates, before)

    def test_renewed(self) -> None:
        """
        After a reload it is the new ones of the same files that are told, and the
        former ones again where the reload is undone.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        made = certs.make(directory)
        path = str(made.client.certificate)
        self.make(Checked(60.0, (("one", path),)))
        before = dict(self.checks.certificates)
        made.client.certificate.write_bytes(made.expired.certificate.read_bytes())
        change = self.reload(60.0, path)
        self.assertLess(self.checks.certificates[path], before[path])
        change.undo()
        self.assertEqual(self.checks.certificates, before)

    def test_of_the_configuration(self) -> None:
        """
        What is checked is what the configuration names.
        """
        self.assertEqual(checked_of(PLAIN).certificates, ())
        tls = TlsFiles("/ca", "/ours", "/key", False)
        upstream = evolve(PLAIN.upstream, tls=tls, check_interval=7.0)
        pages = evolve(PLAIN.introspection, certificate="/pages")
        checked = checked_of(evolve(PLAIN, upstream=upstream, introspection=pages))
        self.assertEqual(checked.interval, 7.0)
        self.assertEqual(
            [path for _, path in checked.certificates], ["/ours", "/pages"]
        )


class PlaceTests(SynchronousTestCase):
    """
    Tests for L{place_of}.
    """

    def test_as_in_a_url(self) -> None:
        """
        An address of IPv6 has brackets.
        """
        self.assertEqual(place_of(Endpoint("nova", 80)), "nova:80")
        self.assertEqual(place_of(Endpoint("::1", 80)), "[::1]:80")
