"""
Tests for L{mdproxy.judge} and L{mdproxy.endpoints}.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from tests.playbook import ask
from tests.pooling import OK, Nova, asked_by


class HealthTests(SynchronousTestCase):
    """
    Endpoints that answer badly.
    """

    def healths(self, nova: Nova) -> list[str]:
        """
        Tell how far each endpoint is trusted.
        """
        return [each["health"] for each in nova.pool.describe()["endpoints"]]

    def test_ejected(self) -> None:
        """
        An endpoint that answers 503 three times in a row is left alone, and requests
        go to the sound one; two times, or with a good answer in between, do not count.
        """
        nova = Nova(["a", "b"])
        for status in (503, 502, 200, 504, 503):
            nova.send()
            nova.answer(status)
        self.assertEqual(self.healths(nova), ["sound", "sound"])
        nova.send()
        nova.answer(503)
        self.assertEqual(self.healths(nova), ["resting", "sound"])
        nova.send()
        self.assertEqual((nova.arrived("a"), nova.arrived("b")), (6, 1))
        problem = nova.pool.describe()["endpoints"][0]["problem"]
        self.assertEqual(problem, "it answers 503")

    def test_ejected_for_resets(self) -> None:
        """
        So is one that breaks connections before it answers, or breaks the protocol.
        """
        for break_off in (
            lambda attempt: attempt.lose(ConnectionLost()),
            lambda attempt: attempt.say(b"garbage\r\n"),
            lambda attempt: attempt.say(OK[:-1]) or attempt.lose(ConnectionLost()),
        ):
            nova = Nova(["a", "b"])
            for _ in range(3):
                nova.send()
                break_off(nova.attempts[-1])
            self.assertEqual(self.healths(nova), ["resting", "sound"])

    def test_ejected_for_silence(self) -> None:
        """
        So is one that does not answer in time.
        """
        nova = Nova()
        for _ in range(3):
            nova.send()
        nova.wait(30.25)
        self.assertEqual(self.healths(nova), ["resting"])

    def test_kept_connections_close(self) -> None:
        """
        That Nova closes a kept connection at the wrong moment says nothing of it.
        """
        nova = Nova()
        for _ in range(5):
            nova.send()
            nova.answer()
            nova.send()
            nova.attempts[-1].lose(ConnectionDone())
        self.assertEqual(self.healths(nova), ["sound"])

    def test_closes_after_each_answer(self) -> None:
        """
        Nor that it keeps none.
        """
        nova = Nova()
        for _ in range(5):
            exchange = nova.send()
            nova.attempts[-1].say(
                OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
            self.assertEqual(exchange.summary[-1], "done")
        self.assertEqual(self.healths(nova), ["sound"])

    def test_cancelled(self) -> None:
        """
        Nor that instances do not wait for its answers.
        """
        nova = Nova()
        for _ in range(5):
            nova.pool.cancel(nova.send())
        self.assertEqual(self.healths(nova), ["sound"])

    def test_faults_are_no_proof(self) -> None:
        """
        A 500, which anybody can cause by asking for nonsense, closes an endpoint to
        nobody, whoever meets it and how often; but with several instances that meet it
        the others come first.
        """
        nova = Nova(["a", "b"])
        for _ in range(10):
            nova.send(asked_by("a"))
            nova.answer(500)
        self.assertEqual(self.healths(nova), ["sound", "sound"])
        for number in range(30):
            nova.send(asked_by(f"{number}"))
            nova.answer(500)
        self.assertEqual(self.healths(nova), ["slow", "slow"])
        exchange = nova.send(asked_by("b"))
        self.assertEqual(nova.answer(), 1)
        self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_one_instance_is_no_proof(self) -> None:
        """
        What one instance alone meets (it may know a question that Nova dies of) closes
        an endpoint to nobody; but another comes first.
        """
        for break_off in (
            lambda nova: nova.answer(503),
            lambda nova: nova.attempts[-1].lose(ConnectionLost()),
        ):
            nova = Nova(["a", "b"])
            for _ in range(3):
                nova.send(asked_by("a"))
                break_off(nova)
            self.assertEqual(self.healths(nova), ["slow", "sound"])
            nova.send(asked_by("b"))
            self.assertEqual(nova.arrived("b"), 1)
            alone = Nova()
            for _ in range(10):
                alone.send(asked_by("a"))
                break_off(alone)
            exchange = alone.send(asked_by("b"))
            self.assertEqual(alone.answer(), 1)
            self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_who_is_no_accuser_is_asked_for(self) -> None:
        """
        While an endpoint rests for what some instances met, whoever met nothing bad is
        asked for at once, and before them: it may be their questions that are bad.
        """
        for break_off in (
            lambda nova: nova.answer(503),
            lambda nova: [a.lose(ConnectionLost()) for a in nova.attempts if a.is_busy],
        ):
            nova = Nova()
            for number in range(30):
                nova.send(asked_by(f"{number % 4}", until=60))
                break_off(nova)
                nova.wait(0.25)
                break_off(nova)
            self.assertEqual(self.healths(nova), ["resting"])
            for number in range(4):
                nova.send(asked_by(f"{number}", until=60))
            exchange = nova.send(asked_by("other", until=60))
            self.assertEqual(nova.answer(), 1)
            self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_missing_is_an_answer(self) -> None:
        """
        A 404 is a good answer: nothing is wrong with who gives it.
        """
        nova = Nova()
        for _ in range(10):
            nova.send()
            nova.answer(404)
        self.assertEqual(self.healths(nova), ["sound"])

    def test_breaker(self) -> None:
        """
        While the only endpoint answers 503, requests go to it one at a time, one of
        each instance and then at most one a second after a while, and the others wait;
        with the first good answer they follow.
        """
        nova = Nova()
        for _ in range(3):
            nova.send()
        nova.answer(503)
        exchanges = [nova.send(asked_by(f"{n % 4}", until=20)) for n in range(20)]
        for _ in range(40):
            nova.wait(0.25)
            self.assertLess(nova.answer(503), 2)
        self.assertLess(nova.arrived("a"), 3 + 4 + 14)
        self.assertGreater(nova.arrived("a"), 3 + 8)
        asked = []
        while nova.clock.seconds() < 14:
            asked.append(nova.answer())
            nova.wait(0.25)
        self.assertEqual({e.summary[-1] for e in exchanges}, {"done"})
        self.assertEqual([n for n in asked if n][:2], [1, 4])

    def test_back_within_five_seconds(self) -> None:
        """
        Both endpoints are asked again within five seconds after they were bad for long
        (B18), and by one request at first.
        """
        nova = Nova(["a", "b"])
        nova.pool.keep_ready()
        nova.refusing = {"a", "b"}
        nova.wait(60)
        nova.refusing = set()
        exchanges = [nova.send(asked_by(f"{n}", until=68)) for n in range(8)]
        nova.wait(5)
        while nova.answer():
            pass
        self.assertEqual({e.summary[-1] for e in exchanges}, {"done"})

    def test_one_of_three(self) -> None:
        """
        With one of three endpoints down, nobody but who was there first notices; it is
        looked after ever more seldom, up to every five seconds, and used again when it
        is back (B17).
        """
        nova = Nova(["a", "b", "c"])
        nova.pool.keep_ready()
        nova.refusing = {"a"}
        for _ in range(120):
            exchange = nova.send()
            nova.answer()
            self.assertEqual(exchange.summary, [200, b"ok", "done"])
            nova.wait(0.5)
        probes = [a for a in nova.attempts if a.endpoint.host == "a"]
        self.assertLess(len(probes), 24)
        self.assertGreater(len(probes), 12)
        nova.refusing = set()
        nova.wait(6)
        nova.send()
        self.assertEqual(nova.arrived("a"), 1)

    def test_black_hole(self) -> None:
        """
        An endpoint that does not react is not waited for once that is known, though it
        is looked after.
        """
        nova = Nova(["a", "b"])
        nova.pool.keep_ready()
        nova.accepting = False
        nova.send(asked_by("a", until=4))
        nova.wait(0.5)
        nova.attempts[-1].accept()
        nova.wait(5)
        nova.answer()
        for _ in range(20):
            exchange = nova.send(asked_by("a", until=nova.clock.seconds() + 4))
            for attempt in nova.attempts:
                if attempt.endpoint.host == "b" and not attempt.opening.called:
                    attempt.accept()
            nova.answer()
            self.assertEqual(exchange.summary, [200, b"ok", "done"])
            nova.wait(1)

    def test_slow(self) -> None:
        """
        An endpoint that takes more than a second comes behind one that does not, for
        half a minute; where all do, their order counts.
        """
        nova = Nova(["a", "b"])
        nova.send()
        nova.wait(1.5)
        nova.answer()
        self.assertEqual(self.healths(nova), ["slow", "sound"])
        for _ in range(2):
            nova.send()
            nova.answer()
        self.assertEqual((nova.arrived("a"), nova.arrived("b")), (1, 2))
        nova.send()
        nova.wait(1.5)
        nova.answer()
        self.assertEqual(self.healths(nova), ["slow", "slow"])
        nova.send()
        nova.answer()
        self.assertEqual((nova.arrived("a"), nova.arrived("b")), (2, 3))
        nova.wait(32)
        self.assertEqual(self.healths(nova), ["sound", "sound"])

    def test_post_is_not_for_trying(self) -> None:
        """
        What can't be repeated is not sent to an endpoint that is only being tried.
        """
        nova = Nova(["a", "b"])
        for _ in range(3):
            nova.send()
        nova.answer(503)
        nova.wait(0.5)
        self.assertEqual(self.healths(nova), ["tried", "sound"])
        nova.send(ask(b"POST"))
        self.assertEqual(nova.arrived("b"), 1)
        nova.send()
        self.assertEqual(nova.arrived("a"), 4)

    def test_trial_fails(self) -> None:
        """
        One bad answer ends a trial, and the next rest is longer.
        """
        nova = Nova(["a", "b"])
        for _ in range(3):
            nova.send()
        nova.answer(503)
        rests = []
        for _ in range(8):
            begin = nova.clock.seconds()
            while self.healths(nova)[0] == "resting":
                nova.wait(0.25)
            rests.append(nova.clock.seconds() - begin)
            nova.send()
            nova.answer(503)
        self.assertEqual(sorted(rests), rests)
        self.assertGreaterEqual(rests[-1], 4)
        self.assertLessEqual(rests[-1], 5.25)
