"""
Tests for L{mdproxy.checks.nova}.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mdproxy.checks.asking import Asking
from mdproxy.checks.finding import Finding
from mdproxy.checks.nova import examine, examine_name, names_of
from mdproxy.fetch import Fetch
from mdproxy.http.client import Patience
from mdproxy.signing import Signer
from mdproxy.upstream import Endpoint
from tests.pooling import Nova

SECRET = b"s3cret"


class ExamineTests(SynchronousTestCase):
    """
    Tests for L{examine}.
    """

    def setUp(self) -> None:
        """
        Have a Nova.
        """
        self.nova = Nova()

    def ask(self, question: Fetch) -> Asking:
        """
        Provide C{Ask}.
        """
        clock, sweep = self.nova.clock, self.nova.sweep
        return Asking(question, self.nova.connect, clock, sweep, Patience(3, 10))

    def examine(self, *statuses: int) -> list[Finding]:
        """
        Examine it.

        @param statuses: What it answers.
        """
        where = Endpoint("a", 8775)
        examining = Deferred.fromCoroutine(
            examine(where, Signer(SECRET), self.ask, time.time())
        )
        for status in statuses:
            self.assertEqual(self.nova.answer(status), 1)
        return self.successResultOf(examining)

    def test_all_well(self) -> None:
        """
        Nova takes our signature, and refuses one that is not ours.
        """
        found = self.examine(404, 403)
        self.assertEqual([f.verdict for f in found], ["ok", "ok"])
        one, other = (
            attempt.wire.seen.partition(b"-Signature: ")[2][:64]
            for attempt in self.nova.attempts
        )
        instance = self.nova.attempts[0].wire.seen.partition(b"X-Instance-ID: ")[2]
        ours = Signer(SECRET).sign(instance.partition(b"\r")[0].decode())
        self.assertEqual(one, ours.encode())
        self.assertNotEqual(other, ours.encode())

    def test_whoever_says_404_to_all(self) -> None:
        """
        What takes any signature is not safe, or not Nova.
        """
        _, control = self.examine(404, 404)
        self.assertEqual(control.verdict, "wrong")
        self.assertIn("service_metadata_proxy", control.advice)
        _, control = self.examine(404, 500)
        self.assertEqual(control.verdict, "note")

    def test_wrong_secret(self) -> None:
        """
        Where ours is refused nothing more is asked.
        """
        (finding,) = self.examine(403)
        self.assertEqual((finding.name, finding.verdict), ("Nova at a:8775", "wrong"))

    def test_nobody(self) -> None:
        """
        A Nova that can't be reached is wrong.
        """
        self.nova.refusing.add("a")
        (finding,) = self.examine()
        self.assertEqual(finding.verdict, "wrong")
        self.assertIn("No connection to Nova", finding.text)


class NamesTests(TestCase):
    """
    Tests for L{examine_name} and L{names_of}.
    """

    def test_which(self) -> None:
        """
        Addresses are no names.
        """
        hosts = ["nova", "10.0.0.1", "::1", "n.example"]
        endpoints = [Endpoint(host, 1) for host in hosts]
        self.assertEqual(names_of(endpoints), ["nova", "n.example"])

    async def test_where_they_lead(self) -> None:
        """
        A name leads somewhere or nowhere, and is not waited for without end.
        """
        end = Event()
        self.addCleanup(end.set)

        def hang(host: str, port: int) -> Sequence[Any]:
            end.wait(60)
            return ()

        def fail(host: str, port: int) -> Sequence[Any]:
            raise OSError(2, "no such name")

        def nonsense(host: str, port: int) -> Sequence[Any]:
            raise UnicodeError("label too long")

        def find(host: str, port: int) -> Sequence[Any]:
            return [(2, 1, 6, "", ("10.0.0.1", 0)), (2, 2, 17, "", ("10.0.0.1", 0))]

        for look_up, verdict, words in (
            (find, "ok", "It leads to 10.0.0.1;"),
            (fail, "wrong", "no such name"),
            (nonsense, "wrong", "it is no name"),
            (hang, "wrong", "no answer in 0.05 s"),
        ):
            finding = await examine_name(global_reactor, "nova", look_up, 0.05)
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, finding.text)
