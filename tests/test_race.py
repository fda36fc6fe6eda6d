"""
Tests for L{mdproxy.race}.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.http.client import UpstreamBroken, UpstreamUnavailable
from tests.playbook import Ask, ask
from tests.pooling import OK, Nova


class RaceTests(SynchronousTestCase):
    """
    An endpoint that is silent, and another that may answer.
    """

    def setUp(self) -> None:
        """
        Make a pool with two endpoints.
        """
        self.nova = Nova(["a", "b"])

    def ask(self, method: bytes = b"GET") -> Ask:
        """
        Send a request that has 8 seconds.
        """
        exchange = ask(method)
        exchange.until = self.nova.clock.seconds() + 8
        return self.nova.send(exchange)

    def say(self, host: str, data: bytes = OK) -> None:
        """
        Let an endpoint say something to all that is in flight there.
        """
        for attempt in self.nova.attempts:
            if attempt.is_busy and attempt.endpoint.host == host:
                attempt.say(data)

    def arrived(self) -> tuple[int, int]:
        """
        Count the requests that arrived at each endpoint.
        """
        return self.nova.arrived("a"), self.nova.arrived("b")

    def test_second(self) -> None:
        """
        What the first endpoint has said nothing to for 3 seconds is sent to another,
        and its answer counts; the first is left alone then, with every connection.
        """
        self.ask()
        self.nova.answer()
        exchange = self.ask()
        self.nova.wait(2.75)
        self.assertEqual(self.arrived(), (2, 0))
        self.nova.wait(0.75)
        self.assertEqual(self.arrived(), (2, 1))
        self.say("b")
        self.assertEqual(exchange.summary, [200, b"ok", "done"])
        self.assertEqual(self.nova.states(), [(False, 0, 0, 0), (True, 1, 0, 0)])
        self.nova.attempts[0].wire.settle()
        self.assertEqual(self.nova.attempts[0].wire.closed, "ConnectionAborted")
        self.ask()
        self.assertEqual(self.arrived(), (2, 2))

    def test_first(self) -> None:
        """
        If the first answers after all, that counts, and the second is forgotten; no
        endpoint is found bad for being slow.
        """
        exchange = self.ask()
        self.nova.wait(3.5)
        self.say("a", OK[:-1])
        self.assertEqual(exchange.summary, [200, b"o"])
        self.nova.attempts[1].wire.settle()
        self.assertEqual(self.nova.attempts[1].wire.closed, "ConnectionAborted")
        self.nova.pool.pause(exchange)
        self.assertFalse(self.nova.attempts[0].wire.reading)
        self.nova.pool.resume(exchange)
        self.assertTrue(self.nova.attempts[0].wire.reading)
        self.say("a", OK[-1:])
        self.assertEqual(exchange.summary, [200, b"o", b"k", "done"])
        self.assertEqual(self.nova.states(), [(True, 1, 0, 0), (True, 0, 0, 0)])

    def test_begun(self) -> None:
        """
        An answer that has begun is never begun again, however long the rest takes.
        """
        exchange = self.ask()
        self.say("a", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\no")
        self.nova.wait(20)
        self.assertEqual((exchange.summary, self.arrived()), ([200, b"o"], (1, 0)))

    def test_post_never(self) -> None:
        """
        What can't be repeated is not.
        """
        self.ask(b"POST")
        self.nova.wait(20)
        self.assertEqual(self.arrived(), (1, 0))

    def test_no_other(self) -> None:
        """
        Where no other endpoint is sound the wait goes on.
        """
        self.nova.refusing = {"b"}
        exchange = self.ask()
        self.nova.wait(7)
        self.assertEqual(self.arrived(), (1, 0))
        self.say("a")
        self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_away_does_not_count(self) -> None:
        """
        A 503 of the other does not count as long as the first may answer; a 404 does.
        """
        exchange = self.ask()
        self.nova.wait(3.5)
        self.say("b", b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(exchange.told, [])
        self.nova.wait(0.5)
        self.assertEqual(self.arrived(), (1, 2))
        self.say("b", b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(exchange.summary, [404, "done"])

    def test_one_breaks_off(self) -> None:
        """
        That one of the two breaks off is no failure; that both do is one.
        """
        for hosts in ("ab", "ba"):
            nova = self.nova = Nova(["a", "b"])
            exchange = self.ask()
            nova.wait(3.5)
            for host in hosts:
                self.assertEqual(exchange.told, [])
                for attempt in nova.attempts:
                    if attempt.endpoint.host == host and attempt.is_busy:
                        attempt.lose(ConnectionLost())
            self.assertEqual(exchange.summary, [UpstreamUnavailable])

    def test_breaks_off_midway(self) -> None:
        """
        An answer of the second that breaks off is a failure, told once.
        """
        exchange = self.ask()
        self.nova.wait(3.5)
        self.say("b", OK[:-1])
        self.nova.attempts[1].lose(ConnectionLost())
        self.nova.wait(60)
        self.assertEqual(exchange.summary, [200, b"o", UpstreamBroken])

    def test_cancelled(self) -> None:
        """
        When nobody wants the answer any more both are forgotten.
        """
        exchange = self.ask()
        self.nova.wait(3.5)
        self.nova.pool.cancel(exchange)
        self.nova.wait(60)
        self.assertEqual(exchange.told, [])
        self.assertEqual(self.nova.states(), [(True, 0, 0, 0), (True, 0, 0, 0)])

    def test_cancelled_by_the_head(self) -> None:
        """
        So they are where the head itself is the reason.
        """
        exchange = self.ask()
        exchange.then = lambda _told: self.nova.pool.cancel(exchange)
        self.nova.wait(3.5)
        self.say("b")
        self.nova.wait(60)
        self.assertEqual(exchange.summary, [200])

    def test_all_follow(self) -> None:
        """
        Of what an endpoint is silent on one request is raced first; when that pays the
        others follow at once.
        """
        for _ in range(6):
            self.ask()
        self.nova.wait(3.5)
        self.assertEqual(self.arrived(), (6, 1))
        self.say("b")
        self.nova.wait(0.5)
        self.assertEqual(self.arrived(), (6, 6))

    def test_only_slow(self) -> None:
        """
        Where both endpoints take long, hardly anything is asked twice.
        """
        for number in range(8):
            exchange = self.ask()
            exchange.holder = ("red", f"{number}")
            begin = self.nova.clock.seconds()
            while self.nova.clock.seconds() < begin + 3.5:
                self.nova.wait(0.25)
            self.nova.attempts[0].say(OK)
            for attempt in self.nova.attempts:
                if attempt.is_busy:
                    attempt.say(OK)
            self.assertEqual(exchange.summary, [200, b"ok", "done"])
        self.assertLessEqual(sum(self.arrived()), 10)

    def test_no_place(self) -> None:
        """
        Where all connections wait in vain, one gives its place to the second.
        """
        self.nova = Nova(["a", "b"], connections=2)
        exchanges = [self.ask() for _ in range(4)]
        self.nova.wait(3.5)
        for _ in range(4):
            self.say("b")
            self.nova.wait(0.5)
        self.assertEqual([e.summary[-1] for e in exchanges], ["done"] * 4)

    def test_third(self) -> None:
        """
        With three endpoints, of which two are silent, the third is asked in the end.
        """
        self.nova = Nova(["a", "b", "c"])
        exchange = self.ask()
        self.nova.wait(7.25)
        self.assertEqual((self.arrived(), self.nova.arrived("c")), ((1, 1), 1))
        self.say("c")
        self.assertEqual(exchange.summary, [200, b"ok", "done"])
        self.assertEqual([state[0] for state in self.nova.states()], [0, 0, 1])

    def test_while_tried(self) -> None:
        """
        One that was silent and is tried again holds a request up for half a second.
        """
        self.nova.pool.keep_ready()
        self.ask()
        self.nova.wait(3.5)
        self.assertEqual(self.arrived(), (1, 1))
        self.say("b")
        self.nova.wait(1)
        exchange = self.ask()
        self.assertEqual(self.arrived(), (2, 1))
        self.nova.wait(0.5)
        self.say("b")
        self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_black_hole(self) -> None:
        """
        A boot of 28 requests on a first endpoint that takes connections and is silent
        loses few seconds, not three for each.
        """
        self.nova.pool.keep_ready()
        begin = self.nova.clock.seconds()
        for _ in range(28):
            exchange = self.ask()
            while not exchange.told:
                self.say("b")
                self.nova.wait(0.125)
            self.assertEqual(exchange.summary, [200, b"ok", "done"])
        self.assertLess(self.nova.clock.seconds() - begin, 10)
