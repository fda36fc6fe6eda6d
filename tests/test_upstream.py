"""
Tests for L{mdproxy.upstream}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.interfaces import IProtocol
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.http.client import (
    Patience,
    UpstreamBroken,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from mdproxy.interfaces import IExchange, IUpstream
from mdproxy.testing import FakeUpstream
from mdproxy.tls import client_tls
from mdproxy.upstream import Endpoint, Extent, Upstream
from tests.playbook import Ask, ask
from tests.pooling import OK, Attempt, Nova, asked_by

if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object

_Thing = TypeVar("_Thing")


class KeptConnectionTests(SynchronousTestCase):
    """
    Which connection a request goes on.
    """

    def setUp(self) -> None:
        """
        Make a pool on a Nova that accepts.
        """
        self.nova = Nova()

    def answered(self, method: bytes = b"GET") -> Attempt:
        """
        Send a request and have it answered.

        @return: On which connection.
        """
        before = [attempt.arrived for attempt in self.nova.attempts]
        exchange = self.nova.send(ask(method))
        after = [attempt.arrived for attempt in self.nova.attempts]
        before += [0] * (len(after) - len(before))
        (used,) = [
            attempt
            for attempt, old, new in zip(self.nova.attempts, before, after, strict=True)
            if new > old
        ]
        used.say(OK[:-2] if method == b"HEAD" else OK)
        body = [] if method == b"HEAD" else [b"ok"]
        self.assertEqual(exchange.summary, [200, *body, "done"])
        return used

    def test_reused(self) -> None:
        """
        A free connection is used again.
        """
        self.assertIs(self.answered(), self.answered())
        self.assertIs(self.answered(b"HEAD"), self.nova.attempts[0])
        self.assertEqual(len(self.nova.attempts), 1)

    def test_latest_used_first(self) -> None:
        """
        Of several free ones the latest used is, so that the others can go to rest.
        """
        for _ in range(3):
            self.nova.send()
        for attempt in (self.nova.attempts[i] for i in (2, 0, 1)):
            attempt.say(OK)
        self.assertIs(self.answered(), self.nova.attempts[1])
        self.assertIs(self.answered(), self.nova.attempts[1])

    def test_post_takes_a_fresh_one(self) -> None:
        """
        A request that can't be sent twice goes on a connection that was never used;
        its connection is then kept for those that can.
        """
        first = self.answered()
        second = self.answered(b"POST")
        third = self.answered(b"PUT")
        self.assertEqual(self.nova.attempts, [first, second, third])
        self.assertIs(self.answered(), third)

    def test_post_takes_one_that_was_left_over(self) -> None:
        """
        A connection that nobody came to use is fresh.
        """
        self.nova.accepting = False
        exchange = self.nova.send()
        self.nova.pool.cancel(exchange)
        self.nova.attempts[0].accept()
        self.assertIs(self.answered(b"POST"), self.nova.attempts[0])

    def test_one_request_at_a_time(self) -> None:
        """
        No connection has two requests in flight.
        """
        for _ in range(3):
            self.nova.send()
        self.assertEqual([a.arrived for a in self.nova.attempts], [1, 1, 1])
        self.assertEqual(self.nova.states(), [(True, 0, 3, 0)])

    def test_closed_by_nova(self) -> None:
        """
        One that Nova has closed is not used.
        """
        self.answered().lose(ConnectionDone())
        self.assertEqual(self.nova.states(), [(True, 0, 0, 0)])
        self.assertIs(self.answered(), self.nova.attempts[1])

    def test_closed_just_now(self) -> None:
        """
        A request that is lost because Nova closed the connection just then may have
        arrived, and no more.
        """
        used = self.answered()
        exchange = self.nova.send()
        used.lose(ConnectionDone())
        self.assertEqual(exchange.summary, [UpstreamUnavailable])
        self.assertEqual(exchange.sent, True)
        self.assertEqual(len(self.nova.attempts), 1)

    def test_stale(self) -> None:
        """
        When one that was kept turns out to lead nowhere, the others that were kept are
        closed, for who asks again shall not try them one by one.
        """
        for _ in range(5):
            self.nova.send()
        self.nova.answer()
        self.nova.send()
        self.nova.attempts[-1].lose(ConnectionLost())
        self.assertEqual(self.nova.states(), [(True, 0, 0, 0)])
        again = ask()
        again.tries = 2
        self.nova.send(again)
        self.assertEqual(self.nova.attempts[5].arrived, 1)

    def test_unsolicited(self) -> None:
        """
        A connection that says something at rest is dropped: the next request gets its
        own answer.
        """
        used = self.answered()
        used.say(OK.replace(b"ok", b"no"))
        self.assertEqual(used.wire.closed, "ConnectionAborted")
        self.assertIsNot(self.answered(), used)

    def test_excess(self) -> None:
        """
        One that says more than its answer is not used again.
        """
        exchange = self.nova.send()
        self.nova.attempts[0].say(OK + b"EXTRA")
        self.assertEqual(exchange.summary, [200, b"ok", "done"])
        self.assertIsNot(self.answered(), self.nova.attempts[0])

    def test_broken_answer(self) -> None:
        """
        One that breaks the protocol is not used again.
        """
        exchange = self.nova.send()
        self.nova.attempts[0].say(b"garbage\r\n")
        self.assertEqual(exchange.summary, [UpstreamBroken])
        self.assertIsNot(self.answered(), self.nova.attempts[0])

    def test_rest(self) -> None:
        """
        One that rests for long is closed.
        """
        used = self.answered()
        self.nova.wait(39)
        self.assertEqual(self.nova.states(), [(True, 1, 0, 0)])
        self.nova.wait(2)
        used.wire.settle()
        self.assertEqual(used.wire.closed, "ConnectionAborted")
        self.assertEqual(self.nova.states(), [(True, 0, 0, 0)])

    def test_no_answer(self) -> None:
        """
        A request without an answer fails in time, and its connection goes.
        """
        exchange = self.nova.send()
        self.nova.wait(29)
        self.assertEqual(exchange.told, [])
        self.nova.wait(2)
        self.assertEqual(exchange.summary, [UpstreamTimedOut])
        self.assertEqual(exchange.sent, True)
        self.assertEqual(self.nova.states(), [(True, 0, 0, 0)])

    def test_cancel(self) -> None:
        """
        What is in flight and belongs to nobody goes with its connection.
        """
        exchange = self.nova.send()
        self.nova.pool.cancel(exchange)
        attempt = self.nova.attempts[0]
        attempt.wire.settle()
        self.assertEqual(attempt.wire.closed, "ConnectionAborted")
        attempt.wire.protocol.dataReceived(OK)
        self.nova.wait(100)
        self.assertEqual(exchange.told, [])
        self.assertEqual(self.nova.states(), [(True, 0, 0, 0)])

    def test_cancel_in_the_queue(self) -> None:
        """
        What was not sent when it is cancelled never is; others keep their turn.
        """
        self.nova.accepting = False
        exchanges = [self.nova.send() for _ in range(3)]
        self.nova.pool.cancel(exchanges[1])
        self.nova.pool.cancel(exchanges[1])
        for attempt in self.nova.attempts:
            attempt.accept()
        self.assertEqual([a.arrived for a in self.nova.attempts], [1, 1, 0])
        for attempt in self.nova.attempts[:2]:
            attempt.say(OK)
        self.assertEqual([bool(exchange.told) for exchange in exchanges], [1, 0, 1])

    def test_pause(self) -> None:
        """
        A slow instance stops the reading of its own answer only, for as long as it
        wants, and leaves nothing behind.
        """
        slow, other = self.nova.send(), self.nova.send()
        first, second = self.nova.attempts
        first.say(OK[:-1])
        self.nova.pool.pause(slow)
        self.assertEqual((first.wire.reading, second.wire.reading), (False, True))
        second.say(OK)
        self.nova.wait(100)
        self.nova.pool.resume(slow)
        self.assertTrue(first.wire.reading)
        first.say(OK[-1:])
        self.assertEqual(slow.summary, [200, b"o", b"k", "done"])
        self.nova.pool.pause(slow)
        self.nova.pool.resume(other)
        self.assertTrue(first.wire.reading)


class ExtentTests(SynchronousTestCase):
    """
    How large the pool may grow.
    """

    def test_connections(self) -> None:
        """
        There are no more connections than allowed; what waits is sent in order.
        """
        nova = Nova(connections=2)
        exchanges = [nova.send() for _ in range(5)]
        first, second = nova.attempts
        self.assertEqual(nova.pool.describe()["waiting"], 3)
        second.say(OK)
        self.assertEqual(nova.pool.describe()["waiting"], 2)
        second.say(OK)
        second.say(OK)
        first.say(OK)
        second.say(OK)
        self.assertEqual([exchange.summary[-1] for exchange in exchanges], ["done"] * 5)
        self.assertEqual(len(nova.attempts), 2)

    def test_over_all_endpoints(self) -> None:
        """
        They are counted over all endpoints.
        """
        nova = Nova(["a", "b"], connections=2)
        nova.send()
        nova.attempts[0].say(OK)
        nova.send(ask(b"POST"))
        nova.refusing = {"a"}
        for _ in range(3):
            nova.send()
        open_ = [sum(state[1:]) for state in nova.states()]
        self.assertLessEqual(sum(open_), 2)

    def test_queue(self) -> None:
        """
        What finds too many waiting fails at once, unsent.
        """
        nova = Nova(connections=1, queue=2)
        exchanges = [nova.send() for _ in range(4)]
        self.assertEqual([e.summary for e in exchanges[:3]], [[], [], []])
        self.assertEqual(exchanges[3].summary, [UpstreamUnavailable])
        self.assertEqual(exchanges[3].sent, False)

    def test_waiting_in_vain(self) -> None:
        """
        What waits for as long as an answer may take fails, unsent.
        """
        nova = Nova(connections=1)
        first = nova.send()
        nova.attempts[0].say(OK[:-1])
        nova.pool.pause(first)
        nova.wait(5)
        second = nova.send()
        nova.wait(28)
        third = nova.send()
        self.assertEqual(second.told, [])
        nova.wait(3)
        self.assertEqual(second.summary, [UpstreamUnavailable])
        self.assertEqual(second.sent, False)
        nova.wait(26)
        self.assertEqual(third.told, [])
        nova.wait(2)
        self.assertEqual(third.summary, [UpstreamUnavailable])
        nova.wait(100)
        self.assertEqual(nova.pool.describe()["waiting"], 0)

    def test_room_for_another_endpoint(self) -> None:
        """
        Where another endpoint is needed and there is no place, a free one goes too,
        though it was kept for later.
        """
        nova = Nova(["a", "b"], connections=2)
        nova.pool.keep_ready()
        nova.wait(0.25)
        self.assertEqual(nova.states(), [(True, 2, 0, 0), (True, 0, 0, 0)])
        again = ask()
        again.tries = 2
        nova.send(again)
        self.assertEqual(nova.arrived("b"), 1)
        self.assertEqual(nova.states(), [(True, 1, 0, 0), (True, 0, 1, 0)])

    def test_room_for_a_fresh_one(self) -> None:
        """
        Where a fresh connection is needed and there is no place, a free one goes.
        """
        nova = Nova(connections=2)
        for _ in range(2):
            nova.send()
        for attempt in nova.attempts:
            attempt.say(OK)
        exchange = nova.send(ask(b"POST"))
        self.assertEqual(len(nova.attempts), 3)
        self.assertEqual(nova.attempts[2].arrived, 1)
        nova.attempts[2].say(OK)
        self.assertEqual(exchange.summary, [200, b"ok", "done"])
        nova.attempts[0].wire.settle()
        self.assertEqual(nova.attempts[0].wire.closed, "ConnectionAborted")

    def test_post_is_not_overtaken_for_ever(self) -> None:
        """
        However many that may use any connection wait behind it, a request that needs a
        fresh one gets the next place.
        """
        nova = Nova(connections=2)
        for _ in range(2):
            nova.send()
        post = nova.send(ask(b"POST"))
        others = [nova.send() for _ in range(5)]
        nova.attempts[0].say(OK)
        self.assertEqual(len(nova.attempts), 3)
        nova.attempts[2].say(OK)
        self.assertEqual(post.summary, [200, b"ok", "done"])
        for _ in range(5):
            nova.attempts[2].say(OK)
        self.assertEqual([other.summary[-1] for other in others], ["done"] * 5)


class TroubleTests(SynchronousTestCase):
    """
    Endpoints that take no connections.
    """

    def test_refused(self) -> None:
        """
        What waits for the only endpoint fails at once when it refuses, unsent, and
        says why; so does what comes right after, without asking again.
        """
        nova = Nova()
        nova.accepting = False
        exchanges = [nova.send() for _ in range(3)]
        for attempt in list(nova.attempts):
            attempt.refuse()
        exchanges.append(nova.send())
        for exchange in exchanges:
            self.assertEqual(exchange.summary, [UpstreamUnavailable])
            self.assertEqual(exchange.sent, False)
            self.assertIn("ConnectionRefusedError", str(exchange.told[0]))
        self.assertEqual(len(nova.attempts), 3)
        self.assertEqual(nova.states(), [(False, 0, 0, 0)])

    def test_refused_at_once(self) -> None:
        """
        Also where the refusal comes before the connector returns.
        """
        nova = Nova(["a", "b"])
        nova.refusing = {"a", "b"}
        exchange = nova.send()
        self.assertEqual(exchange.summary, [UpstreamUnavailable])
        self.assertEqual([a.endpoint.host for a in nova.attempts], ["a", "b"])

    def test_name_not_found(self) -> None:
        """
        A name that can't be resolved is such trouble, and named.
        """
        nova = Nova()
        nova.accepting = False
        exchange = nova.send()
        nova.attempts[0].refuse(DNSLookupError("no such name"))
        self.assertIn("no such name", str(exchange.told[0]))

    def test_no_connection_in_time(self) -> None:
        """
        An endpoint that does not react is given up after a while; if it reacts later
        nothing happens.
        """
        nova = Nova()
        nova.accepting = False
        exchange = nova.send()
        self.assertEqual(nova.attempts[0].seconds, 3)
        nova.wait(2.75)
        self.assertEqual(exchange.told, [])
        nova.wait(0.5)
        self.assertEqual(exchange.summary, [UpstreamUnavailable])
        self.assertEqual(exchange.sent, False)
        nova.attempts[0].accept()
        self.assertEqual(nova.attempts[0].wire.closed, "ConnectionAborted")
        self.assertEqual(nova.states()[0][:3], (False, 0, 0))

    def test_insists(self) -> None:
        """
        Where it does not react, it is tried again each second, for TCP repeats its
        handshake ever more seldom; whichever connection comes first is taken.
        """
        nova = Nova()
        nova.accepting = False
        exchange = nova.send(asked_by("a", until=8))
        nova.wait(2.9)
        self.assertEqual([attempt.at for attempt in nova.attempts], [0, 1, 2])
        nova.attempts[2].accept()
        nova.answer()
        self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def rest(self, nova: Nova) -> float:
        """
        Ask again and again until the endpoint is asked.

        @return: How long that took.
        """
        begin, before = nova.clock.seconds(), len(nova.attempts)
        while len(nova.attempts) == before:
            nova.clock.advance(0.005)
            nova.send()
        return nova.clock.seconds() - begin

    def test_rests_double(self) -> None:
        """
        An endpoint is left alone for a moment that doubles, up to a second, unevenly.
        """
        nova = Nova()
        nova.refusing = {"a"}
        nova.send()
        rests = [self.rest(nova) for _ in range(8)]
        for rest, longest in zip(rests, (0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1), strict=True):
            self.assertGreaterEqual(rest, longest * 0.8 - 1e-6)
            self.assertLessEqual(rest, longest + 0.006)
        self.assertGreater(len({round(rest, 2) for rest in rests[4:]}), 1)

    def test_failures_together_count_once(self) -> None:
        """
        Connections that fail at the same time make no longer rest than one.
        """
        nova = Nova()
        nova.accepting = False
        for _ in range(8):
            nova.send()
        for attempt in list(nova.attempts):
            attempt.refuse()
        self.assertLessEqual(self.rest(nova), 0.106)

    def test_one_probe(self) -> None:
        """
        While an endpoint is in doubt one connection asks it, whoever waits; when it
        takes that, one request is sent, and with its answer more and more.
        """
        nova = Nova()
        nova.refusing = {"a"}
        nova.send()
        nova.clock.advance(0.2)
        nova.refusing, nova.accepting = set(), False
        exchanges = [nova.send() for _ in range(5)]
        self.assertEqual(len(nova.attempts), 2)
        nova.accepting = True
        nova.attempts[1].accept()
        self.assertEqual(nova.states(), [(False, 0, 1, 0)])
        nova.attempts[1].say(OK)
        self.assertEqual(nova.states(), [(True, 0, 2, 0)])
        nova.attempts[1].say(OK)
        self.assertEqual(nova.states(), [(True, 0, 3, 0)])
        for attempt in nova.attempts[1:]:
            attempt.say(OK)
        self.assertEqual([e.summary[-1] for e in exchanges], ["done"] * 5)

    def test_probe_fails(self) -> None:
        """
        When it does not, all fail together.
        """
        nova = Nova()
        nova.refusing = {"a"}
        nova.send()
        nova.clock.advance(0.2)
        nova.refusing, nova.accepting = set(), False
        exchanges = [nova.send() for _ in range(5)]
        nova.attempts[1].refuse()
        self.assertEqual([e.summary for e in exchanges], [[UpstreamUnavailable]] * 5)

    def test_failover(self) -> None:
        """
        What the first endpoint refuses goes to the second, and nobody notices.
        """
        nova = Nova(["a", "b"])
        nova.refusing = {"a"}
        exchanges = [nova.send() for _ in range(3)]
        for attempt in nova.attempts[1:]:
            self.assertEqual(attempt.endpoint.host, "b")
            attempt.say(OK)
        self.assertEqual([e.summary for e in exchanges], [[200, b"ok", "done"]] * 3)
        self.assertEqual(nova.states(), [(False, 0, 0, 0), (True, 3, 0, 0)])

    def test_failover_in_time(self) -> None:
        """
        So does, after half a second, what the first does not react to.
        """
        nova = Nova(["a", "b"])
        nova.accepting = False
        exchange = nova.send()
        nova.wait(0.5)
        self.assertEqual([a.endpoint.host for a in nova.attempts], ["a", "b"])
        nova.attempts[1].accept()
        nova.attempts[1].say(OK)
        self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_first_is_used_again(self) -> None:
        """
        The pool looks by itself whether the first is back, and then asks it again.
        """
        nova = Nova(["a", "b"])
        nova.pool.keep_ready()
        nova.refusing = {"a"}
        nova.send()
        nova.refusing = set()
        nova.wait(0.5)
        nova.send()
        self.assertEqual(nova.arrived("a"), 1)

    def test_asked_again_elsewhere(self) -> None:
        """
        A request that is asked again goes to the next endpoint that is not in doubt,
        though the former one has a free connection; where that is the only one, to it.
        """
        nova = Nova(["a", "b"])
        again = nova.send()
        arrived = []
        for tries in (2, 3, 4):
            nova.attempts[(tries - 2) % 2].say(OK)
            again.tries = tries
            again.told.clear()
            nova.pool.send(again)
            arrived.append([attempt.arrived for attempt in nova.attempts])
        self.assertEqual(arrived, [[1, 1], [2, 1], [2, 2]])
        nova.refusing = {"b"}
        nova.attempts[1].lose(ConnectionLost())
        again.tries = 6
        nova.pool.send(again)
        self.assertEqual(nova.attempts[0].arrived, 3)

    def test_others_pass_who_waits_for_another(self) -> None:
        """
        Who waits for another endpoint holds nobody up who would take any.
        """
        nova = Nova(["a", "b"])
        nova.send()
        nova.accepting = False
        again = ask()
        again.tries = 2
        nova.send(again)
        other = nova.send()
        nova.attempts[0].say(OK)
        self.assertEqual(nova.attempts[0].arrived, 2)
        nova.attempts[0].say(OK)
        self.assertEqual((other.summary[-1], again.told), ("done", []))

    def test_recovery(self) -> None:
        """
        Observers learn of an endpoint that was down and answers, and of no other
        answer.
        """
        nova = Nova()
        seen: list[int] = []
        for number in range(2):

            def observe(number: int = number) -> None:
                seen.append(number)

            nova.pool.observe_recovery(observe)
        nova.send()
        self.assertEqual(seen, [])
        nova.attempts[0].lose(ConnectionLost())
        nova.refusing = {"a"}
        nova.send()
        nova.clock.advance(0.2)
        nova.refusing = set()
        nova.send()
        self.assertEqual(seen, [])
        nova.attempts[-1].say(OK)
        self.assertEqual(seen, [0, 1])
        nova.send()
        nova.attempts[-1].say(OK)
        self.assertEqual(seen, [0, 1])

    def test_recovery_sends(self) -> None:
        """
        An observer may send at once.
        """
        nova = Nova()
        sent: list[Ask] = []
        nova.pool.observe_recovery(lambda: sent.append(nova.send()))
        nova.refusing = {"a"}
        nova.send()
        nova.clock.advance(0.2)
        nova.refusing = set()
        nova.send()
        nova.attempts[1].say(OK)
        self.assertEqual([a.arrived for a in nova.attempts], [0, 2])
        self.assertEqual(len(sent), 1)

    def test_log(self) -> None:
        """
        The log tells once that an endpoint is down, with the reason, and once that it
        is back.
        """
        nova = Nova()
        nova.refusing = {"a"}
        with capturedLogs() as events:
            for _ in range(5):
                nova.send()
                nova.clock.advance(2)
            nova.refusing = set()
            for _ in range(2):
                nova.send()
                nova.attempts[-1].say(OK)
        self.assertEqual(
            [event["log_level"] for event in events], [LogLevel.error, LogLevel.info]
        )
        self.assertEqual((events[0]["host"], events[0]["port"]), ("a", 8775))
        self.assertIn("ConnectionRefusedError", events[0]["problem"])

    def test_close(self) -> None:
        """
        A pool that is closed leaves no connection, no deadline and no complaint.
        """
        nova = Nova()
        idle, busy, late = nova.send(), nova.send(), ask(b"POST")
        nova.attempts[0].say(OK)
        nova.accepting = False
        nova.send(late)
        nova.pool.cancel(late)
        self.assertEqual(nova.states(), [(True, 1, 1, 1)])
        with capturedLogs() as events:
            nova.pool.close()
        for attempt in nova.attempts[:2]:
            attempt.wire.settle()
            self.assertEqual(attempt.wire.closed, "ConnectionAborted")
        attempts = len(nova.attempts)
        nova.attempts[-1].accept()
        self.assertEqual(nova.attempts[-1].wire.closed, "ConnectionAborted")
        nova.wait(100)
        self.assertEqual(len(nova.attempts), attempts)
        self.assertEqual(nova.states(), [(True, 0, 0, 0)])
        self.assertEqual(events, [])
        self.assertEqual((idle.summary, busy.summary), ([200, b"ok", "done"], []))


class WaitingTests(SynchronousTestCase):
    """
    Requests that wait for a connection, or for Nova.
    """

    def test_fair(self) -> None:
        """
        One instance's burst does not starve another, which is next but one.
        """
        nova = Nova(connections=1)
        burst = [nova.send(asked_by("a")) for _ in range(50)]
        single = nova.send(asked_by("b"))
        for _ in range(3):
            nova.answer()
        self.assertEqual(single.summary, [200, b"ok", "done"])
        self.assertEqual([bool(e.told) for e in burst], [True] * 2 + [False] * 48)

    def test_waits_for_nova(self) -> None:
        """
        A request with time left waits while Nova is away, and is sent once it is back.
        """
        nova = Nova()
        nova.refusing = {"a"}
        exchange = nova.send(asked_by("a", until=8))
        nova.wait(6)
        self.assertEqual(exchange.told, [])
        nova.refusing = set()
        nova.wait(1.25)
        nova.answer()
        self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_until(self) -> None:
        """
        When its time is up it fails, unsent, with what is wrong; not before, and
        whatever is still under way.
        """
        nova = Nova()
        nova.accepting = False
        exchange = nova.send(asked_by("a", until=4))
        nova.wait(3.75)
        self.assertEqual(exchange.told, [])
        nova.wait(0.5)
        self.assertEqual(exchange.summary, [UpstreamUnavailable])
        self.assertEqual(exchange.sent, False)
        self.assertIn("no connection in time", str(exchange.told[0]))

    def test_until_while_nova_is_busy(self) -> None:
        """
        So does one that finds no free connection in its time.
        """
        nova = Nova(connections=1)
        nova.send()
        exchange = nova.send(asked_by("a", until=2))
        nova.wait(2.25)
        self.assertEqual(exchange.summary, [UpstreamUnavailable])
        self.assertIn("no free connection", str(exchange.told[0]))

    def test_who_cancels_another(self) -> None:
        """
        One that is told that its time is up may cancel others, which then hear nothing.
        """
        nova = Nova(connections=1)
        nova.send()
        first, second = asked_by("a", until=2), asked_by("b", until=2)
        first.then = lambda _told: nova.pool.cancel(second)
        nova.send(first)
        nova.send(second)
        nova.wait(2.25)
        self.assertEqual(first.summary, [UpstreamUnavailable])
        self.assertEqual(second.told, [])

    def test_no_storm(self) -> None:
        """
        When Nova comes back after 6 seconds, one of the requests that wait is sent
        first; the others follow, twice as many each time as were answered.
        """
        nova = Nova(connections=32)
        nova.refusing = {"a"}
        exchanges = [nova.send(asked_by(f"{n % 24}", until=8)) for n in range(72)]
        nova.wait(6)
        nova.refusing = set()
        while not nova.attempts[-1].is_busy:
            nova.wait(0.25)
        asked = []
        while answered := nova.answer():
            asked.append(answered)
        self.assertEqual(asked[:5], [1, 2, 4, 8, 16])
        self.assertEqual(sum(asked), 72)
        self.assertEqual({e.summary[-1] for e in exchanges}, {"done"})

    def test_slow_is_not_bad(self) -> None:
        """
        Where the first answers take long, the others follow all the same.
        """
        nova = Nova(connections=32)
        nova.refusing = {"a"}
        for number in range(24):
            nova.send(asked_by(f"{number}", until=12))
        nova.wait(3)
        nova.refusing = set()
        nova.wait(5)
        self.assertGreater(nova.arrived("a"), 12)


class ReadyTests(SynchronousTestCase):
    """
    Connections that are opened for later.
    """

    def setUp(self) -> None:
        """
        Make a pool that opens them.
        """
        self.nova = Nova(["a", "b"])
        self.nova.pool.keep_ready()

    def test_from_the_start(self) -> None:
        """
        Two are there before anybody asks, to the endpoint that would be asked.
        """
        self.assertEqual(self.nova.attempts, [])
        self.nova.wait(0.25)
        self.assertEqual(self.nova.states(), [(True, 2, 0, 0), (True, 0, 0, 0)])
        self.nova.send()
        self.assertEqual(len(self.nova.attempts), 2)

    def test_while_asked(self) -> None:
        """
        As long as somebody asks there are two more than are in use.
        """
        self.nova.wait(0.25)
        for _ in range(3):
            self.nova.send()
        self.nova.wait(0.25)
        self.assertEqual(self.nova.states()[0], (True, 2, 3, 0))
        self.nova.wait(0.5)
        self.assertEqual(len(self.nova.attempts), 5)

    def test_not_beyond_the_extent(self) -> None:
        """
        They take no place that the pool does not have.
        """
        for _ in range(8):
            self.nova.send()
        self.nova.wait(0.25)
        self.assertEqual(self.nova.states()[0], (True, 0, 8, 0))

    def test_after_recovery(self) -> None:
        """
        They are there again after Nova was away, though nobody asks.
        """
        self.nova.refusing = {"a", "b"}
        self.nova.wait(3)
        self.nova.refusing = set()
        self.nova.wait(3)
        self.assertEqual(self.nova.states()[0][:3], (True, 2, 0))

    def test_closed_unused(self) -> None:
        """
        Where Nova closes them unused they are not opened again and again: not at all
        while nobody asks, and ever more seldom where somebody does.
        """
        self.nova.wait(0.25)
        counts = []
        for _ in range(8):
            for attempt in self.nova.attempts:
                if not attempt.wire.closed:
                    attempt.lose(ConnectionDone())
            before = len(self.nova.attempts)
            self.nova.wait(30)
            counts.append(len(self.nova.attempts) - before)
        self.assertEqual(counts, [0] * 8)
        before = len(self.nova.attempts)
        for _ in range(480):
            self.nova.send()
            self.nova.answer()
            for attempt in self.nova.attempts:
                if not attempt.wire.closed:
                    attempt.lose(ConnectionDone())
            self.nova.wait(0.25)
        opened = len(self.nova.attempts) - before - 480
        self.assertLess(opened, 24)
        self.assertEqual(self.nova.states()[0][0], True)

    def test_handshakes(self) -> None:
        """
        With TLS no more than four handshakes are under way at a time.
        """
        tls = client_tls("a", None, None, None, insecure=True)
        nova = Nova(connections=32)
        nova.pool.renew([Endpoint("a", 8775, tls)], Patience(), Extent(32, 100))
        nova.accepting = False
        for _ in range(20):
            nova.send()
        self.assertEqual(nova.states(), [(True, 0, 0, 4)])


class AgeTests(SynchronousTestCase):
    """
    Connections don't live for ever.
    """

    def lifetime(self, nova: Nova, attempt: Attempt, ask_now: bool) -> float:
        """
        Let time go by until a connection is closed.

        @param ask_now: Whether it is used all the time.

        @return: How long that took.
        """
        begin = nova.clock.seconds()
        while not attempt.wire.closed:
            nova.wait(0.25)
            if ask_now:
                nova.answer()
                nova.send()
            attempt.wire.settle()
        return nova.clock.seconds() - begin

    def test_age(self) -> None:
        """
        A connection that is used all the time is closed after about five minutes, when
        its request is answered; the next one goes where the name points to now.
        """
        nova = Nova()
        last = nova.send()
        self.assertGreater(self.lifetime(nova, nova.attempts[0], True), 240)
        self.assertLess(nova.clock.seconds(), 361)
        self.assertEqual(last.summary, [200, b"ok", "done"])
        self.assertEqual(len(nova.attempts), 2)

    def test_jitter(self) -> None:
        """
        Connections that were opened together are not closed together.
        """
        nova = Nova()
        for _ in range(5):
            nova.send()
        ages: list[int] = []
        while len(ages) < 5:
            nova.wait(1)
            nova.answer()
            for _ in range(5):
                nova.send()
            closed = sum(bool(attempt.wire.closed) for attempt in nova.attempts[:5])
            ages += [int(nova.clock.seconds())] * (closed - len(ages))
        self.assertGreater(len(set(ages)), 3)


class RenewTests(SynchronousTestCase):
    """
    A new configuration while requests are in flight.
    """

    patience = Patience(connect=2, first_byte=20, idle=10)

    def renew(self, nova: Nova, *hosts: str, connections: int = 8) -> None:
        """
        Name the endpoints anew.
        """
        nova.pool.renew(
            [Endpoint(host, 8775) for host in hosts],
            self.patience,
            Extent(connections, 100),
        )

    def test_new_requests_go_to_the_new(self) -> None:
        """
        What is sent from now on goes to the new endpoints, with the new patience.
        """
        nova = Nova(["a"])
        nova.send()
        nova.attempts[0].say(OK)
        self.renew(nova, "b")
        exchange = nova.send()
        self.assertEqual([a.endpoint.host for a in nova.attempts], ["a", "b"])
        self.assertEqual(nova.attempts[1].seconds, 2)
        nova.attempts[1].say(OK)
        self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_in_flight_ends_where_it_is(self) -> None:
        """
        What is in flight is answered by the endpoint that is gone, and its connection
        is closed then; a free one and one that is being opened are closed at once.
        """
        nova = Nova(["a"])
        busy, idle = nova.send(), nova.send()
        nova.accepting = False
        nova.send(ask(b"POST"))
        nova.attempts[1].say(OK)
        self.renew(nova, "b")
        nova.attempts[1].wire.settle()
        self.assertEqual(nova.attempts[1].wire.closed, "ConnectionAborted")
        nova.attempts[2].accept()
        self.assertEqual(nova.attempts[2].wire.closed, "ConnectionAborted")
        self.assertIsNone(nova.attempts[0].wire.closed)
        nova.attempts[0].say(OK)
        nova.attempts[0].wire.settle()
        self.assertEqual(busy.summary, [200, b"ok", "done"])
        self.assertEqual(nova.attempts[0].wire.closed, "ConnectionAborted")
        self.assertEqual(idle.summary[-1], "done")

    def test_waiting_goes_to_the_new(self) -> None:
        """
        What waits for an endpoint that is gone is sent to the new one.
        """
        nova = Nova(["a"])
        nova.accepting = False
        exchange = nova.send()
        nova.accepting = True
        with capturedLogs() as events:
            self.renew(nova, "b")
        self.assertEqual(nova.attempts[1].arrived, 1)
        self.assertEqual((exchange.told, events), ([], []))

    def test_equal_is_kept(self) -> None:
        """
        An endpoint that stays keeps its connections and what is known of it, though its
        place is another; one whose TLS is another is another.
        """
        nova = Nova(["a", "b"])
        nova.refusing = {"a"}
        nova.send()
        nova.attempts[1].say(OK)
        self.renew(nova, "b", "a")
        self.assertEqual(nova.states(), [(True, 1, 0, 0), (False, 0, 0, 0)])
        tls = client_tls("b", None, None, None, insecure=True)
        nova.pool.renew([Endpoint("b", 8775, tls)], self.patience, Extent())
        self.assertEqual(nova.states(), [(True, 0, 0, 0)])

    def test_back_again(self) -> None:
        """
        The former list may come back while something of it is in flight.
        """
        nova = Nova(["a"])
        exchange = nova.send()
        self.renew(nova, "b")
        self.renew(nova, "a")
        nova.send()
        self.assertEqual([a.endpoint.host for a in nova.attempts], ["a", "a"])
        nova.attempts[0].say(OK)
        self.assertEqual(exchange.summary[-1], "done")

    def test_fewer_connections(self) -> None:
        """
        Where fewer connections are allowed, free ones close at once and others when
        they become free; those that finish their request count until then.
        """
        nova = Nova(["a"])
        for _ in range(4):
            nova.send()
        nova.attempts[0].say(OK)
        self.renew(nova, "a", connections=2)
        late = nova.send()
        self.assertEqual(nova.states(), [(True, 0, 3, 0)])
        nova.attempts[1].say(OK)
        self.assertEqual(nova.states(), [(True, 0, 2, 0)])
        self.assertEqual(len(nova.attempts), 4)
        nova.attempts[2].say(OK)
        nova.attempts[2].say(OK)
        self.assertEqual(late.summary[-1], "done")


class _Life:
    """
    A pool to which anything may happen.

    @ivar nova: The endpoints.
    @ivar asked: What was asked.
    @ivar most: The most connections there may be now.
    """

    def __init__(self, endpoints: int, connections: int) -> None:
        """
        Make the pool; Nova does nothing by itself.
        """
        self.hosts = ["a", "b", "c"][:endpoints]
        self.nova = Nova(self.hosts, connections)
        self.nova.accepting = False
        self.nova.pool.keep_ready()
        self.asked: list[Ask] = []
        self.most = connections

    def ask(self, method: bytes, which: int) -> None:
        """
        Send a request of one of four instances, with 0, 4 or 8 seconds to wait.
        """
        exchange = ask(method)
        exchange.holder = ("red", f"{which % 4}")
        exchange.until = self.nova.clock.seconds() + which % 3 * 4
        self.asked.append(self.nova.send(exchange))

    def ask_again(self, which: int) -> None:
        """
        Send a request that is asked again.
        """
        exchange = ask()
        exchange.tries = 2 + which % 3
        self.asked.append(self.nova.send(exchange))

    def cancel(self, which: int) -> None:
        """
        Cancel a request.
        """
        for exchange in self._some(self.waiting, which):
            self.nova.pool.cancel(exchange)
            exchange.gone = True

    def pause(self, which: int) -> None:
        """
        Read an answer no more, or again.
        """
        for exchange in self._some(self.waiting, which):
            (self.nova.pool.pause if which % 2 else self.nova.pool.resume)(exchange)

    def connect(self, accept: bool, which: int) -> None:
        """
        Let a connection be there, or not.
        """
        opening = [a for a in self.nova.attempts if not a.opening.called]
        for attempt in self._some(opening, which):
            (attempt.accept if accept else attempt.refuse)()

    def say(self, data: bytes, which: int) -> None:
        """
        Let Nova say something to a request.
        """
        busy = [attempt for attempt in self.nova.attempts if attempt.is_busy]
        for attempt in self._some(busy, which):
            attempt.say(data)

    def lose(self, which: int) -> None:
        """
        Let a connection break.
        """
        for attempt in self._some([a for a in self.nova.attempts if a.is_open], which):
            attempt.lose(ConnectionLost())

    def renew(self, which: int) -> None:
        """
        Configure the pool anew; what is in use may stay for a while.
        """
        bound = 1 + which % 5
        self.most = max(len(self.nova.pool._where), bound)
        self.nova.pool.renew(
            [Endpoint(host, 8775) for host in self.hosts[which % len(self.hosts) :]],
            Patience(connect=3, first_byte=30, idle=40),
            Extent(bound, 100),
        )

    @property
    def waiting(self) -> list[Ask]:
        """
        All requests that have not ended.
        """
        return [e for e in self.asked if not e.is_over and not e.gone]

    @property
    def acts(self) -> dict[str, Callable[[int], object]]:
        """
        What may happen.
        """
        bad = OK.replace(b"200", b"503")
        return {
            "GET": partial(self.ask, b"GET"),
            "HEAD": partial(self.ask, b"HEAD"),
            "POST": partial(self.ask, b"POST"),
            "again": self.ask_again,
            "cancel": self.cancel,
            "pause": self.pause,
            "accept": partial(self.connect, True),
            "refuse": partial(self.connect, False),
            "good": partial(self.say, OK),
            "bad": partial(self.say, bad),
            "half": partial(self.say, OK[:-1]),
            "lose": self.lose,
            "wait": lambda which: self.nova.wait(which % 8 / 4),
            "wait-long": lambda which: self.nova.wait(3 + which % 8),
            "renew": self.renew,
        }

    def finish(self) -> None:
        """
        Let everything come to its end.
        """
        for exchange in self.waiting:
            self.nova.pool.resume(exchange)
        self.nova.accepting = True
        for attempt in self.nova.attempts:
            if not attempt.opening.called:
                attempt.accept()
        for _ in range(4):
            for _ in range(200):
                if not self.nova.answer():
                    break
            self.nova.wait(10)

    def _some(self, things: Sequence[_Thing], which: int) -> Sequence[_Thing]:
        """
        Choose one of some things, if there is any.
        """
        return [things[which % len(things)]] if things else []


class WhateverTests(SynchronousTestCase):
    """
    Whatever happens in whatever order.
    """

    STEP = st.tuples(
        st.sampled_from(
            [
                "GET",
                "GET",
                "GET",
                "HEAD",
                "POST",
                "again",
                "cancel",
                "pause",
                "accept",
                "accept",
                "accept",
                "refuse",
                "good",
                "good",
                "bad",
                "half",
                "lose",
                "wait",
                "wait-long",
                "renew",
            ]
        ),
        st.integers(0, 99),
    )

    def assert_sane(self, life: _Life) -> None:
        """
        What is counted is there, and there is not too much of it.
        """
        pool = life.nova.pool
        for attempt in life.nova.attempts:
            attempt.wire.settle()
        self.assertLessEqual(len(pool._where), life.most)
        busy = [attempt for attempt in life.nova.attempts if attempt.is_busy]
        self.assertEqual(len(busy), len(pool._flights))
        for each in pool.describe()["endpoints"]:
            for count in ("idle", "busy", "connecting"):
                self.assertGreaterEqual(each[count], 0)

    def assert_over(self, life: _Life) -> None:
        """
        Everything has ended once, and nothing is left.
        """
        for exchange in life.asked:
            self.assertNotEqual(exchange.is_over, exchange.gone, exchange)
        pool = life.nova.pool
        self.assertEqual((pool._flights, pool._races.running), ({}, {}))
        self.assertEqual(pool._turns.count, 0)
        self.assertEqual({state[2] for state in life.nova.states()}, {0})

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(st.integers(1, 3), st.integers(1, 5), st.lists(STEP, max_size=80))
    def test_whatever(
        self, endpoints: int, connections: int, steps: list[tuple[str, int]]
    ) -> None:
        """
        There are never more connections than allowed; no connection has two requests;
        every request ends once, unless it was cancelled, and then never; what can't be
        repeated arrives at most once; and in the end nothing is left.
        """
        life = _Life(endpoints, connections)
        acts = life.acts
        for what, which in steps:
            acts[what](which)
            self.assert_sane(life)
        life.finish()
        arrived = sum(a.wire.seen.count(b"POST ") for a in life.nova.attempts)
        posts = [e for e in life.asked if e.request.method == b"POST"]
        self.assertLessEqual(arrived, len(posts))
        self.assert_over(life)


class DescribeTests(SynchronousTestCase):
    """
    What the operator sees.
    """

    def test_counts(self) -> None:
        """
        Endpoints, connections and requests are counted, and trouble is named.
        """
        nova = Nova(["a", "b"], connections=1)
        nova.refusing = {"a"}
        for _ in range(2):
            nova.send()
        self.assertEqual(
            nova.pool.describe(),
            {
                "endpoints": [
                    {
                        "host": "a",
                        "port": 8775,
                        "tls": False,
                        "up": False,
                        "health": "resting",
                        "problem": "ConnectionRefusedError: Connection was refused by"
                        " other side.",
                        "idle": 0,
                        "busy": 0,
                        "connecting": 0,
                    },
                    {
                        "host": "b",
                        "port": 8775,
                        "tls": False,
                        "up": True,
                        "health": "sound",
                        "problem": None,
                        "idle": 0,
                        "busy": 1,
                        "connecting": 0,
                    },
                ],
                "waiting": 1,
                "requests": 1,
                "connections": 2,
            },
        )

    def test_host_field(self) -> None:
        """
        Host holds the endpoint's name, and its port where that is not the scheme's own.
        """
        tls = client_tls("nova", None, None, None, insecure=True)
        for endpoint, expected in (
            (Endpoint("nova", 8775), b"nova:8775"),
            (Endpoint("nova", 80), b"nova"),
            (Endpoint("nova", 443), b"nova:443"),
            (Endpoint("nova", 443, tls), b"nova"),
            (Endpoint("nova", 80, tls), b"nova:80"),
            (Endpoint("10.0.0.1", 8775), b"10.0.0.1:8775"),
            (Endpoint("fe80::1", 8775), b"[fe80::1]:8775"),
            (Endpoint("::1", 80), b"[::1]"),
            (Endpoint("n\xf6va.example", 80), b"xn--nva-sna.example"),
        ):
            self.assertEqual(endpoint.host_field, expected)


class UpstreamContract(_Case):
    """
    What every L{IUpstream} promises.
    """

    def make_upstream(self) -> Any:
        """
        Make an upstream.
        """
        raise NotImplementedError

    def answer(self) -> None:
        """
        Let Nova answer the eldest request with C{ok}, as far as somebody listens.
        """
        raise NotImplementedError

    def answer_half(self) -> None:
        """
        Let Nova begin to answer it.
        """
        raise NotImplementedError

    def break_off(self) -> None:
        """
        Let Nova break off with it.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """
        Make the upstream.
        """
        self.upstream = self.make_upstream()

    def test_provides_upstream(self) -> None:
        """
        It has all that an upstream has, and so has what it calls back.
        """
        self.assertTrue(verifyObject(IUpstream, self.upstream))
        self.assertTrue(verifyObject(IExchange, ask()))

    def test_answered(self) -> None:
        """
        An exchange learns the head, the body, the end, and nothing else.
        """
        exchange = ask()
        self.upstream.send(exchange)
        self.answer()
        self.assertEqual(exchange.summary, [200, b"ok", "done"])

    def test_failed(self) -> None:
        """
        An exchange that was sent and broke off fails, once.
        """
        exchange = ask()
        self.upstream.send(exchange)
        self.answer_half()
        self.break_off()
        self.assertEqual(exchange.summary[:1], [200])
        self.assertIsInstance(exchange.told[-1], UpstreamBroken)
        self.assertEqual(exchange.sent, True)

    def test_cancelled(self) -> None:
        """
        Nothing is called back to an exchange that was forgotten, in flight or midway.
        """
        early, midway = ask(), ask()
        self.upstream.send(early)
        self.upstream.cancel(early)
        self.upstream.send(midway)
        self.answer_half()
        self.upstream.cancel(midway)
        self.assertEqual((early.summary, midway.summary), ([], [200]))

    def test_cancelled_from_within(self) -> None:
        """
        Nor to one that is forgotten while it is being told.
        """
        exchange = ask()
        exchange.then = lambda _told: self.upstream.cancel(exchange)
        self.upstream.send(exchange)
        self.answer()
        self.assertEqual(exchange.summary, [200])

    def test_again_from_within(self) -> None:
        """
        Whoever learns the end may send at once, also the same exchange.
        """
        second = ask()

        def again(told: object) -> None:
            if told == "done":
                self.upstream.send(second)

        first = ask()
        first.then = again
        self.upstream.send(first)
        self.answer()
        self.answer()
        self.assertEqual(second.summary, [200, b"ok", "done"])

    def test_paused(self) -> None:
        """
        An exchange that is paused and resumed misses nothing.
        """
        exchange = ask()
        self.upstream.send(exchange)
        self.answer_half()
        self.upstream.pause(exchange)
        self.upstream.resume(exchange)
        self.upstream.resume(exchange)
        self.break_off()
        self.assertIsInstance(exchange.told[-1], UpstreamBroken)

    def test_describe(self) -> None:
        """
        What it tells the operator is plain, and without any secret.
        """
        self.upstream.send(ask())
        self.assertNotIn("5ec2e7", json.dumps(self.upstream.describe()))


class PoolContractTests(UpstreamContract, SynchronousTestCase):
    """
    The pool, on a Nova in memory.
    """

    def make_upstream(self) -> Upstream:
        """
        Make a pool on a Nova that accepts.
        """
        self.nova = Nova()
        return self.nova.pool

    def eldest(self) -> Attempt:
        """
        Find the connection with a request in flight.
        """
        return next(a for a in self.nova.attempts if not a.wire.closed)

    def answer(self) -> None:
        """
        Answer on it.
        """
        self.eldest().say(OK)

    def answer_half(self) -> None:
        """
        Begin to answer on it, where it was not dropped.
        """
        for attempt in self.nova.attempts:
            attempt.wire.settle()
        self.eldest().say(OK[:-2])

    def break_off(self) -> None:
        """
        Let it break.
        """
        self.eldest().lose(ConnectionLost())


class FakeContractTests(UpstreamContract, SynchronousTestCase):
    """
    L{FakeUpstream}, which is held to what the pool does.
    """

    def make_upstream(self) -> FakeUpstream:
        """
        Make a fake.
        """
        self.fake = FakeUpstream()
        return self.fake

    def answer(self) -> None:
        """
        Answer by hand.
        """
        self.fake.answer(body=b"ok")

    def answer_half(self) -> None:
        """
        Begin to answer.
        """
        self.fake.begin(length=2)

    def break_off(self) -> None:
        """
        Fail as a connection does that broke.
        """
        self.fake.fail(UpstreamBroken("connection lost: ConnectionLost"))


class ReentrancyTests(SynchronousTestCase):
    """
    Exchanges that do something while they are being told.
    """

    def chain(self, nova: Nova, act: Callable[[Ask], object], count: int) -> list[Ask]:
        """
        Send a request whose end makes the next one be sent, and so on.

        @param act: What each does when it is told of its end.
        """
        asked: list[Ask] = []

        def begin() -> None:
            exchange = ask()
            asked.append(exchange)

            def then(told: object) -> None:
                if (told == "done" or isinstance(told, Exception)) and (
                    len(asked) < count
                ):
                    act(exchange)
                    begin()

            exchange.then = then
            nova.send(exchange)

        begin()
        return asked

    def test_next_on_the_same_connection(self) -> None:
        """
        The next request goes on the connection that has just become free.
        """
        nova = Nova()
        asked = self.chain(nova, lambda _e: None, 50)
        for _ in range(50):
            nova.attempts[0].say(OK)
        self.assertEqual([e.summary[-1] for e in asked], ["done"] * 50)
        self.assertEqual(len(nova.attempts), 1)

    def test_failures_do_not_nest(self) -> None:
        """
        Whoever sends again as soon as it fails, fails as often, and nothing nests.
        """
        nova = Nova()
        nova.refusing = {"a"}
        asked = self.chain(nova, lambda _e: None, 3000)
        self.assertEqual(len(asked), 3000)
        self.assertEqual({type(e.told[-1]) for e in asked}, {UpstreamUnavailable})
        self.assertEqual(len(nova.attempts), 1)

    def test_cancels_others(self) -> None:
        """
        An exchange may forget others while it is told of its own failure.
        """
        nova = Nova()
        nova.accepting = False
        second = ask()
        first = ask()
        first.then = lambda _told: nova.pool.cancel(second)
        nova.send(first)
        nova.send(second)
        for attempt in list(nova.attempts):
            attempt.refuse()
        self.assertEqual(first.summary, [UpstreamUnavailable])
        self.assertEqual(second.told, [])

    def test_protocol(self) -> None:
        """
        What the pool makes is a protocol.
        """
        nova = Nova()
        nova.send()
        self.assertTrue(verifyObject(IProtocol, nova.attempts[0].wire.protocol))
