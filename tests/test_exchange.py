"""
Tests for L{mdproxy.exchange}.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from mdproxy.exchange import Exchange
from mdproxy.http.client import (
    UpstreamBroken,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamTlsFailed,
    UpstreamUnavailable,
)
from mdproxy.interfaces import IExchange, SourceState
from mdproxy.model import Caller
from mdproxy.signing import Signer
from tests.asking import ProxyTestCase, RecordingReply
from tests.outside import (
    ADDRESS,
    MAC,
    OTHER_MAC,
    ROUTED,
    World,
    port_of,
)
from tests.secrecy import BODY, find_secret

STRANGER = Caller("red", "10.0.0.9", "fa:16:3e:00:00:09")
REFUSED = UpstreamUnavailable("connection refused")

#: What every instance has, and so can't be missing for long.
EVERYONE_HAS = (
    b"/openstack",
    b"/openstack/",
    b"/openstack/latest/meta_data.json",
    b"/openstack/2018-08-27/meta_data.json",
    b"/latest/meta-data/instance-id",
    b"/2009-04-04/meta-data/instance-id",
    b"/2009-04-04/meta-data/",
    b"/latest/meta-data",
)
#: What an instance may well not have.
NOT_EVERYONE_HAS = (
    b"/openstack/latest/user_data",
    b"/openstack/latest/vendor_data2.json",
    b"/openstack/latest/password",
    b"/openstack/latest/meta_data.json/x",
    b"/openstack/latest/../meta_data.json",
    b"/latest/user-data",
    b"/latest/meta-data/public-keys/",
    b"/latest/meta-data/instance-id/x",
    b"/latest/meta-data/instance-id?x",
    b"/x/openstack",
    b"/",
)


class KnownTests(ProxyTestCase):
    """
    A caller that is known when it asks.
    """

    def test_one_signed_request(self) -> None:
        """
        Nova gets one request, signed for the caller's instance, before anything else
        happens; its answer reaches the instance.
        """
        exchange, reply = self.ask(headers=((b"user-agent", b"curl"), (b"host", b"x")))
        self.assertTrue(verifyObject(IExchange, exchange))
        ((asked, wire),) = self.upstream.asked
        self.assertIs(asked, exchange)
        *lines, signature, name, end = wire.split(b"\r\n")
        self.assertEqual(end, b"")
        ids = self.proxy.transactions.ids
        self.assertEqual(name, b"X-Openstack-Request-Id: " + ids.of(1).encode("ascii"))
        self.assertEqual(
            lines,
            [
                b"GET /openstack HTTP/1.1",
                b"user-agent: curl",
                b"X-Forwarded-For: 10.0.0.5",
                b"X-Instance-ID: i-1",
                b"X-Tenant-ID: p-1",
            ],
        )
        self.assertEqual(
            signature,
            b"X-Instance-ID-Signature: "
            + self.proxy.signer.sign("i-1").encode("ascii"),
        )
        self.assertTrue(reply.silent)
        self.upstream.answer(
            200, BODY, ((b"X-A", b"1"), (b"Connection", b"x-b"), (b"X-B", b"2"))
        )
        self.assert_answer(reply, 200, BODY)
        self.assertEqual(reply.fields, ((b"X-A", b"1"),))
        self.assertEqual((reply.phrase, reply.length), (b"OK", len(BODY)))

    def test_asks_too_often(self) -> None:
        """
        Who asks more often than it may is told so, and Nova is not asked; the others
        are served, and so is it a moment later (scenario A12).
        """
        self.proxy.rates.resize(1, 2)
        for _ in range(2):
            _exchange, reply = self.ask()
            self.upstream.answer(200, BODY)
            self.assert_answer(reply, 200, BODY)
        _exchange, reply = self.ask()
        self.assert_own_answer(reply, 429)
        self.world.know(
            port_of(), port_of(OTHER_MAC, "i-2", addresses=frozenset({"10.0.0.6"}))
        )
        self.world.point(OTHER_MAC, "red", "10.0.0.6")
        _exchange, reply = self.ask(caller=Caller("red", "10.0.0.6", OTHER_MAC))
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)
        self.world.clock.advance(1)
        _exchange, reply = self.ask()
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def test_answer_at_once(self) -> None:
        """
        An upstream may answer before C{send} returns.
        """
        upstream = self.upstream
        send = upstream.send

        class Quick:
            """
            Answers at once.
            """

            def send(self, exchange: IExchange) -> None:
                """
                Send and answer.
                """
                send(exchange)
                upstream.answer(200, BODY)

        self.proxy.upstream = Quick()  # type: ignore[assignment]
        _exchange, reply = self.ask()
        self.assert_answer(reply, 200, BODY)

    def test_streams(self) -> None:
        """
        Each piece of a large body goes on as it comes, and the end as it comes; so it
        is with every answer to what can't be asked again.
        """
        for method, length in ((b"GET", 65537), (b"POST", None), (b"POST", 15)):
            _exchange, reply = self.ask(method=method)
            nova = self.upstream.begin(200, length=length)
            self.assertEqual((reply.status, reply.length), (200, length))
            for number in range(1, 4):
                nova.body(b"piece")
                self.assertEqual(reply.body, b"piece" * number)
            self.assertIsNone(reply.over)
            if length == 65537:
                nova.body(b"x" * (65537 - 15))
            self.upstream.end(nova)
            self.assertEqual(reply.over, "finished")

    def test_large_without_length(self) -> None:
        """
        An answer whose length is not known goes on as it comes once it is too large to
        keep, or the hold is used up.
        """
        _exchange, reply = self.ask()
        nova = self.upstream.begin(200, length=None)
        nova.body(b"x" * 65536)
        self.assertTrue(reply.silent)
        nova.body(b"y")
        self.assertEqual((reply.status, len(reply.body)), (200, 65537))
        nova.body(b"z")
        self.assertEqual(len(reply.body), 65538)
        self.upstream.end(nova)
        self.assertEqual(reply.over, "finished")
        _exchange, reply = self.ask()
        nova = self.upstream.begin(200, length=3)
        nova.body(b"a")
        self.advance(8.1)
        self.assertTrue(reply.silent)
        nova.body(b"b")
        self.assertEqual((reply.status, reply.body), (200, b"ab"))
        nova.body(b"c")
        self.upstream.end(nova)
        self.assert_answer(reply, 200, b"abc")

    def test_binary(self) -> None:
        """
        Every octet of a body arrives, in both directions.
        """
        octets = bytes(range(256)) * 5
        exchange, reply = self.ask(b"/openstack/latest/password", b"POST", octets)
        self.assertEqual(exchange.request.body, octets)
        self.upstream.answer(200, octets)
        self.assert_answer(reply, 200, octets)

    def test_any_other_answer_is_relayed(self) -> None:
        """
        Whatever Nova says that can't pass by itself is relayed at once, as it is.
        """
        for status in (200, 204, 206, 301, 304, 400, 401, 404, 405, 409, 416, 429, 501):
            for method in (b"GET", b"HEAD", b"POST", b"PUT"):
                asked = len(self.upstream.asked)
                _exchange, reply = self.ask(b"/latest/user-data", method)
                self.upstream.answer(status, b"", phrase=b"Said By Nova")
                self.assert_answer(reply, status, b"")
                self.assertEqual(reply.phrase, b"Said By Nova")
                self.assertEqual(len(self.upstream.asked), asked + 1)
                self.assert_nothing_left()

    def test_judged_for_each_request(self) -> None:
        """
        The second request of the same caller is judged by the facts of its own time.
        """
        self.ask()
        self.upstream.answer()
        self.world.know(port_of(instance_id="i-2"))
        self.ask()
        self.assertIn(b"\r\nX-Instance-ID: i-2\r\n", self.upstream.asked[1][1])
        self.upstream.answer()
        self.world.know()
        exchange, reply = self.ask()
        self.assertEqual(len(self.upstream.asked), 2)
        self.assertTrue(reply.silent)
        exchange.cancel()

    def test_many_at_once(self) -> None:
        """
        Answers come in any order, each to whoever asked.
        """
        asked = [self.ask(b"/%d" % number) for number in range(5)]
        for number in (3, 0, 4, 1, 2):
            exchange, reply = asked[number]
            self.upstream.in_flight.remove(exchange)
            self.upstream.in_flight.insert(0, exchange)
            self.upstream.answer(200, exchange.request.target)
            self.assert_answer(reply, 200, b"/%d" % number)


class HoldTests(ProxyTestCase):
    """
    A caller that is not known when it asks.
    """

    def setUp(self) -> None:
        """
        Know nothing.
        """
        super().setUp()
        self.world.know()
        self.advance(1)

    def test_port_learnt(self) -> None:
        """
        The moment that the port is learnt Nova is asked, once; nothing was said before.
        """
        for seconds in (0.0, 0.1, 3.7, 7.9):
            self.world.know()
            asked = len(self.upstream.asked)
            _exchange, reply = self.ask()
            self.advance(seconds)
            self.assertEqual(len(self.upstream.asked), asked)
            self.assertTrue(reply.silent)
            self.world.know(port_of())
            self.world.clock.advance(0)
            self.assertEqual(len(self.upstream.asked), asked + 1)
            self.upstream.answer(200, BODY)
            self.assert_answer(reply, 200, BODY)
            self.assert_nothing_left()

    def test_inventory_is_refreshed(self) -> None:
        """
        Whoever is missed has the inventory read again, and goes on if that finds it.
        """
        self.world.inventory.ports = [port_of()]
        _exchange, reply = self.ask()
        self.assertEqual(self.world.inventory.refreshes, [("red", MAC)])
        self.world.clock.advance(0)
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def test_known_callers_refresh_nothing(self) -> None:
        """
        Whoever is known costs the inventory nothing and needs no place to wait.
        """
        self.world.know(port_of())
        for _ in range(8):
            self.ask()
        self.assertEqual(len(self.upstream.asked), 8)
        self.assertEqual(self.world.inventory.refreshes, [])
        for _ in range(8):
            self.upstream.answer()

    def test_neighbour_learnt(self) -> None:
        """
        A neighbour entry that comes late wakes as a port does.
        """
        self.world.know(port_of())
        self.world.point(None)
        self.world.neighbours.drain()
        _exchange, reply = self.ask()
        self.advance(2)
        self.assertEqual(self.upstream.asked, [])
        self.world.point(MAC)
        self.world.neighbours.drain()
        self.world.clock.advance(0)
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def test_lease_learnt(self) -> None:
        """
        So does a lease, where it is needed.
        """
        self.world.know(port_of())
        _exchange, reply = self.ask(caller=ROUTED)
        self.advance(2)
        self.world.lease(MAC)
        self.world.clock.advance(0)
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def test_refusals_wait_too(self) -> None:
        """
        A refusal waits as well, for a port made anew with the same address looks like
        one for a moment.
        """
        self.world.know(port_of(OTHER_MAC, "i-old"))
        _exchange, reply = self.ask()
        self.advance(1)
        self.assertTrue(reply.silent)
        self.world.know(port_of())
        self.world.clock.advance(0)
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def assert_held(self, target: bytes, seconds: float) -> RecordingReply:
        """
        A target is held for so many seconds and no more.

        @return: The answer.
        """
        _exchange, reply = self.ask(target)
        self.advance(seconds - 0.01)
        self.assertTrue(reply.silent, target)
        self.advance(0.02)
        self.assertFalse(reply.silent, target)
        self.assert_nothing_left()
        return reply

    def test_used_up(self) -> None:
        """
        Where every source is live, the end is 404.
        """
        self.assert_own_answer(self.assert_held(b"/openstack", 8), 404)
        self.assertEqual(self.upstream.asked, [])

    def test_used_up_in_doubt(self) -> None:
        """
        Where one is not, the end is 503 and the advice to come back.
        """
        self.world.inventory.state = SourceState.STALE
        self.world.inventory.problem = "gone"
        self.assert_own_answer(self.assert_held(b"/openstack", 8), 503)

    def test_doubt_is_judged_at_the_end(self) -> None:
        """
        What counts is how the sources are when the hold is used up.
        """
        inventory = self.world.inventory
        for at_first, at_last, status in (("gone", None, 404), (None, "gone", 503)):
            self.advance(1)
            inventory.problem = at_first
            _exchange, reply = self.ask()
            self.advance(6.5)
            inventory.problem = at_last
            self.advance(1.6)
            self.assert_own_answer(reply, status)

    def test_no_neighbour_is_always_doubtful(self) -> None:
        """
        Without a neighbour entry the end is 503, however live the sources (D6).
        """
        self.world.know(port_of())
        self.world.point(None)
        self.assert_own_answer(self.assert_held(b"/openstack", 8), 503)

    def test_how_long(self) -> None:
        """
        Targets under /openstack are held for 8 seconds, all others for 4: the reader of
        the EC2 tree gives up after 5.
        """
        for target in (b"/openstack/latest/user_data", b"/openstack?x"):
            self.assert_held(target, 8)
        for target in (b"/", b"/latest/meta-data/instance-id", b"/Openstack", b"/x"):
            self.assert_held(target, 4)

    def test_no_place(self) -> None:
        """
        A MAC that holds 4 places gets no fifth: it is told at once to come back, for
        nobody has waited for what may be learnt of it; others have places still; places
        that are given back are free again.
        """
        self.world.point(STRANGER.mac, "red", STRANGER.address)
        waiting = [self.ask(caller=STRANGER) for _ in range(4)]
        _exchange, fifth = self.ask(caller=STRANGER)
        self.assert_own_answer(fifth, 503)
        _exchange, other = self.ask()
        self.assertTrue(other.silent)
        self.assertEqual(self.proxy.describe()["waiting_for_facts"], 5)
        waiting[0][0].cancel()
        _exchange, sixth = self.ask(caller=STRANGER)
        self.assertTrue(sixth.silent)
        self.advance(8.1)
        for reply in (*(reply for _, reply in waiting[1:]), other, sixth):
            self.assert_own_answer(reply, 404)
        self.assertTrue(waiting[0][1].silent)

    def test_many_addresses_of_one_mac(self) -> None:
        """
        Taking other addresses gives a MAC no more places.
        """
        asked = [
            self.ask(caller=Caller("red", f"10.0.0.{number}", STRANGER.mac))
            for number in range(20, 25)
        ]
        self.assertEqual([r.silent for _, r in asked], [True] * 4 + [False])
        self.advance(8.1)

    def test_network_is_full(self) -> None:
        """
        On one network 64 wait and no more; on another there is place.
        """
        for number in range(64):
            mac = f"fa:16:3e:01:00:{number:02x}"
            _exchange, reply = self.ask(caller=Caller("red", f"10.1.0.{number}", mac))
            self.assertTrue(reply.silent)
        _exchange, reply = self.ask()
        self.assert_own_answer(reply, 503)
        _exchange, reply = self.ask(caller=Caller("blue", ADDRESS, MAC))
        self.assertTrue(reply.silent)
        self.advance(8.1)
        self.assertEqual(self.upstream.asked, [])

    def test_macless_share_by_address(self) -> None:
        """
        Callers whose MAC nobody knows are counted by their address.
        """
        for _ in range(4):
            self.ask(caller=ROUTED)
        _exchange, reply = self.ask(caller=ROUTED)
        self.assertFalse(reply.silent)
        _exchange, reply = self.ask(caller=Caller("red", "10.0.0.6", None, "lease"))
        self.assertTrue(reply.silent)
        self.advance(8.1)

    def test_client_gone(self) -> None:
        """
        Whoever leaves while it waits leaves nothing behind, and a port that is learnt
        then asks Nova nothing.
        """
        exchange, reply = self.ask()
        self.advance(1)
        exchange.cancel()
        self.assert_nothing_left()
        self.world.know(port_of())
        self.advance(10)
        self.assertEqual(self.upstream.asked, [])
        self.assertTrue(reply.silent)
        exchange.cancel()

    def test_learnt_and_gone_in_one_turn(self) -> None:
        """
        A client that leaves after the port is learnt and before the wait is woken is
        not asked for.
        """
        exchange, _reply = self.ask()
        self.world.know(port_of())
        exchange.cancel()
        self.advance(1)
        self.assertEqual(self.upstream.asked, [])

    def test_no_pausing(self) -> None:
        """
        A slow reader has nothing to pause while nothing comes.
        """
        exchange, _reply = self.ask()
        exchange.pause()
        exchange.resume()
        self.assertEqual(self.upstream.paused, [])
        exchange.cancel()


class AskingTests(ProxyTestCase):
    """
    While Nova is being asked, and while it answers.
    """

    def test_client_gone(self) -> None:
        """
        Whoever leaves has Nova's answer cancelled, before and after it began.
        """
        for begun in (False, True):
            exchange, reply = self.ask()
            if begun:
                self.upstream.begin(200, length=100).body(b"x")
            exchange.cancel()
            self.assertIs(self.upstream.cancelled[-1], exchange)
            self.assert_nothing_left()
            self.assertIsNone(reply.over)
            exchange.cancel()
            self.assertEqual(self.upstream.cancelled.count(exchange), 1)

    def test_client_gone_afterwards(self) -> None:
        """
        Whoever leaves after its answer cancels nothing.
        """
        exchange, _reply = self.ask()
        self.upstream.answer()
        exchange.cancel()
        self.assertEqual(self.upstream.cancelled, [])

    def test_slow_reader(self) -> None:
        """
        As long as the instance does not read, Nova's answer is not read either.
        """
        exchange, _reply = self.ask()
        self.upstream.begin(200, length=2).body(b"x")
        exchange.pause()
        self.assertEqual(self.upstream.paused, [exchange])
        exchange.resume()
        self.assertEqual(self.upstream.paused, [])
        exchange.body(b"x")
        self.upstream.end(exchange)
        exchange.pause()
        self.assertEqual(self.upstream.paused, [])

    def assert_broken(self, exchange: Exchange, reply: RecordingReply) -> None:
        """
        A connection was broken, without one more byte, and nothing is left.
        """
        self.assertEqual(reply.over, "aborted")
        self.assertIn(self.upstream.cancelled, ([exchange], []))
        self.assert_nothing_left()
        self.assertEqual(self.proxy.counts["path-lost"], 1)
        ((level, line),) = self.logged()
        self.assertEqual(level, "warn")
        self.assertIn(f"broke the connection of {ADDRESS} ({MAC}) on red", line)

    def test_flip_before_the_answer(self) -> None:
        """
        When the neighbour entry changes hands while Nova is asked, the connection is
        broken at that moment, though the entry may be changed back before the answer.
        """
        exchange, reply = self.ask()
        self.world.point(OTHER_MAC)
        self.world.neighbours.drain()
        self.assert_broken(exchange, reply)
        self.assertIsNone(reply.status)

    def test_flip_found_by_the_answer(self) -> None:
        """
        So it is when nobody has read the change before the answer comes: not one byte
        is written.
        """
        for mac in (OTHER_MAC, None):
            self.setUp()
            exchange, reply = self.ask()
            self.world.point(mac)
            self.upstream.answer(200, BODY)
            self.assert_broken(exchange, reply)
            self.assertIsNone(reply.status)

    def test_flip_and_back_found_by_the_answer(self) -> None:
        """
        An entry that changed and changed back breaks it too.
        """
        exchange, reply = self.ask()
        for mac in (OTHER_MAC, MAC):
            self.world.point(mac)
            self.world.neighbours.drain()
        self.assert_broken(exchange, reply)
        self.assertIsNone(reply.status)

    def test_flip_while_relaying(self) -> None:
        """
        When the entry changes hands in the midst of an answer, no more of it is sent.
        """
        for length, seen in ((10, b""), (100_000, b"12345")):
            self.setUp()
            exchange, reply = self.ask()
            self.upstream.begin(200, length=length).body(b"12345")
            self.world.point(OTHER_MAC)
            self.world.neighbours.drain()
            self.assert_broken(exchange, reply)
            self.assertEqual(reply.body, seen)

    def test_port_withdrawn(self) -> None:
        """
        When the port is another instance's at the time of the answer, not one byte is
        written; whatever the answer is.
        """
        for status, large in product((200, 403, 404, 503), (b"", b"x" * 65536)):
            self.setUp()
            exchange, reply = self.ask()
            self.world.know(port_of(instance_id="i-2"))
            self.upstream.answer(status, BODY + large)
            self.assert_broken(exchange, reply)
            self.assertIsNone(reply.status)

    def test_port_gone(self) -> None:
        """
        When the port is gone by then, and nobody has its address, a whole answer is
        thrown away and the caller waits as one that is not known: for its port, or for
        the end of the hold.
        """
        for status, known in product((200, 403, 404, 503), (True, False)):
            self.setUp()
            _exchange, reply = self.ask()
            self.world.know()
            self.upstream.answer(status, b"thrown away")
            self.advance(1.2)
            self.assertTrue(reply.silent)
            if known:
                self.world.know(port_of())
                self.advance(0.01)
                self.upstream.answer(200, BODY)
                self.assert_answer(reply, 200, BODY)
            else:
                self.advance(7)
                self.assert_own_answer(reply, 404)

    def test_port_gone_at_large(self) -> None:
        """
        An answer that is not kept back, or not to be asked for again, breaks off.
        """
        for method, size in ((b"GET", 65537), (b"POST", 1)):
            self.setUp()
            exchange, reply = self.ask(method=method)
            self.world.know()
            self.upstream.answer(200, b"x" * size)
            self.assert_broken(exchange, reply)
            self.assertIsNone(reply.status)

    def test_facts_of_others(self) -> None:
        """
        Changes of other addresses and networks break nothing.
        """
        _exchange, reply = self.ask()
        for network, address in (("red", "10.0.0.6"), ("blue", ADDRESS)):
            for mac in (MAC, OTHER_MAC):
                self.world.point(mac, network, address)
                self.world.neighbours.drain()
        self.world.know(port_of(), port_of(OTHER_MAC, "i-2", addresses=None))
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def test_broken_off(self) -> None:
        """
        When Nova breaks off in the midst of an answer that was begun the connection is
        broken: no second response, no clean end, no second try.
        """
        for error in (
            UpstreamBroken("x"),
            UpstreamUnavailable("y"),
            UpstreamTimedOut("z"),
        ):
            _exchange, reply = self.ask()
            self.upstream.begin(200, length=100_000).body(b"12345")
            self.upstream.fail(error)
            self.assertEqual((reply.status, reply.body), (200, b"12345"))
            self.assertEqual(reply.over, "aborted")
            self.assert_nothing_left()
        self.assertEqual(len(self.upstream.asked), 3)

    def test_signature_refused(self) -> None:
        """
        Nova's 403 is our fault: the instance is told to come back and not that it is
        forbidden, and the operator is told so, once a minute, as an error.
        """
        for method, body in ((b"POST", BODY), (b"GET", b"x" * 100_000)):
            exchange, reply = self.ask(method=method)
            self.upstream.answer(403, body)
            self.assert_own_answer(reply, 503)
            self.assertIn(exchange, self.upstream.cancelled)
            self.assert_nothing_left()
        self.assertEqual(self.proxy.counts["signature-refused"], 2)
        ((level, line),) = self.logged()
        self.assertEqual(level, "error")
        self.assertIn("metadata_proxy_shared_secret", line)
        self.world.clock.advance(60)
        self.ask(method=b"POST")
        self.upstream.answer(403, BODY)
        self.assertIn("; 1 more like it)", self.logged()[1][1])

    def test_signature_refused_for_a_moment(self) -> None:
        """
        What can be asked again is held while Nova refuses the signature, for another
        secret may come, and is signed anew; the operator learns of it at once.
        """
        _exchange, reply = self.ask()
        self.upstream.answer(403, BODY)
        ((level, _line),) = self.logged()
        self.assertEqual((level, reply.silent), ("error", True))
        former = self.upstream.asked[-1][1]
        self.proxy.sign_with(Signer(b"another secret, which is a long one"))
        self.advance(0.06)
        self.assertNotEqual(self.upstream.asked[-1][1], former)
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def test_signature_refused_for_good(self) -> None:
        """
        When the hold is used up it is told to come back, and is told nothing of what
        Nova said.
        """
        _exchange, reply = self.ask()
        for status in (503, 403):
            self.upstream.answer(status, BODY)
            self.advance(0.11)
        self.advance(9)
        self.upstream.answer(403, BODY)
        self.assert_own_answer(reply, 503)


class FaultTests(ProxyTestCase):
    """
    What a fault of ours costs (scenario E15).
    """

    def test_costs_one_request(self) -> None:
        """
        A fault in the lookup is a 500 for the request that met it, at once or while it
        waited, and is told with its traceback; the next request is served.
        """
        self.world.know()
        _exchange, waiting = self.ask()
        self.world.inventories.append(cast(Any, None))
        _exchange, reply = self.ask()
        self.world.clock.advance(1)
        for each in (reply, waiting):
            self.assert_own_answer(each, 500)
        faults = self.flushLoggedErrors(AttributeError)
        self.assertEqual(len(faults), 1)
        self.world.inventories.pop()
        self.world.know(port_of())
        _exchange, reply = self.ask()
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)


class LineTests(ProxyTestCase):
    """
    How many questions of one caller Nova is asked at a time.
    """

    def test_share(self) -> None:
        """
        Nova is asked eight at a time, the others in the order they came, each as soon
        as one is answered; another caller does not wait for them.
        """
        replies = [self.ask(b"/%d" % number)[1] for number in range(10)]
        self.assertEqual(len(self.upstream.asked), 8)
        self.assertEqual(self.proxy.describe()["in_line"], 2)
        other = Caller("red", "10.0.0.6", OTHER_MAC)
        addresses = frozenset({other.address})
        self.world.know(port_of(), port_of(OTHER_MAC, "i-2", addresses=addresses))
        self.world.point(OTHER_MAC, "red", other.address)
        _exchange, others = self.ask(caller=other)
        self.assertEqual(len(self.upstream.asked), 9)
        for reply in (*replies[:8], others, *replies[8:]):
            self.upstream.answer(200, BODY)
            self.world.clock.advance(0)
            self.assert_answer(reply, 200, BODY)

    def test_gone_from_the_line(self) -> None:
        """
        Who is gone does not take its turn, whether it was called already or not.
        """
        for _ in range(8):
            self.ask()
        called, waiting, last = (self.ask(b"/last")[0] for _ in range(3))
        waiting.cancel()
        self.upstream.answer()
        called.cancel()
        self.upstream.answer()
        self.world.clock.advance(0)
        targets = [asked.request.target for asked, _wire in self.upstream.asked]
        self.assertEqual(targets[8:], [b"/last"])
        self.assertIn(last, self.upstream.in_flight)
        while self.upstream.in_flight:
            self.upstream.answer()

    def test_turn_is_passed_on_by_who_is_gone(self) -> None:
        """
        Who was called and is gone before it asks leaves its turn to the next in line,
        though no other answer comes that could call it.
        """
        exchanges = [self.ask()[0] for _ in range(17)]
        for _ in range(8):
            self.upstream.answer()
        for called in exchanges[8:16]:
            called.cancel()
        self.world.clock.advance(0)
        self.assertEqual(self.upstream.in_flight, exchanges[16:])
        self.upstream.answer()

    def test_turn_is_passed_on_by_who_is_refused(self) -> None:
        """
        Who was called and is not recognised any more leaves its turn to the next in
        line, so that everybody is answered; who finds no place to wait is told to come
        back.
        """
        replies = [self.ask()[1] for _ in range(17)]
        self.world.know()
        for _ in range(8):
            self.upstream.answer()
        self.advance(8.25, 0.25)
        statuses = [reply.status for reply in replies]
        self.assertEqual(sorted(statuses), [404] * 4 + [503] * 13)

    def test_turn_is_passed_on_by_a_fault(self) -> None:
        """
        Who was called and meets a fault of ours leaves its turn to the next in line.
        """
        replies = [self.ask()[1] for _ in range(17)]
        for _ in range(8):
            self.upstream.answer()
        self.world.inventories.append(cast(Any, None))
        self.world.know(port_of(addresses=frozenset({ADDRESS, "10.0.0.9"})))
        self.advance(0.03)
        self.flushLoggedErrors(AttributeError)
        for reply in replies[8:]:
            self.assert_own_answer(reply, 500)

    def test_judged_in_its_turn(self) -> None:
        """
        Who is asked for is found out when it is one's turn.
        """
        for _ in range(8):
            self.ask()
        _exchange, reply = self.ask()
        self.world.know(port_of(instance_id="i-2"))
        while self.upstream.in_flight[1:]:
            self.upstream.answer()
        self.upstream.answer()
        self.world.clock.advance(0)
        self.assertIn(b"X-Instance-ID: i-2\r\n", self.upstream.asked[-1][1])
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)


class AgainTests(ProxyTestCase):
    """
    What may pass by itself is tried again, within the hold.
    """

    def times_of(self, what: Callable[[], None], seconds: float = 10) -> list[float]:
        """
        Note when Nova is asked.

        @param what: What Nova does each time.
        """
        began, times = self.world.clock.seconds(), []
        until = began + seconds
        while True:
            if self.upstream.in_flight:
                times.append(round(self.world.clock.seconds() - began, 2))
                what()
            if self.world.clock.seconds() >= until:
                return times
            self.world.clock.advance(0.01)

    def refuse(self) -> None:
        """
        Refuse the connection.
        """
        self.upstream.fail(REFUSED, sent=False)

    def test_pauses(self) -> None:
        """
        Pauses begin at 50 milliseconds and double to a second, each up to a quarter
        shorter; no try begins after the hold.
        """
        _exchange, reply = self.ask()
        times = self.times_of(self.refuse)
        self.assertEqual(times[0], 0)
        for number, (before, after) in enumerate(pairwise(times)):
            pause = min(0.05 * 2**number, 1)
            self.assertGreaterEqual(after - before, 0.75 * pause - 0.02)
            self.assertLessEqual(after - before, pause + 0.02)
        self.assertLess(times[-1], 8)
        self.assertGreater(times[-1], 6.9)
        self.assert_own_answer(reply, 503)

    def test_pauses_are_uneven(self) -> None:
        """
        Two that fail together do not come back together.
        """
        self.ask()
        self.ask()
        self.refuse()
        self.refuse()
        first, second = sorted(c.getTime() for c in self.world.clock.getDelayedCalls())
        self.assertNotEqual(first, second)
        for exchange, _wire in self.upstream.asked:
            assert isinstance(exchange, Exchange)
            exchange.cancel()

    def test_shorter_for_others(self) -> None:
        """
        Outside of /openstack no try begins after 4 seconds.
        """
        _exchange, reply = self.ask(b"/latest/user-data")
        times = self.times_of(self.refuse)
        self.assertLess(times[-1], 4)
        self.assertGreater(times[-1], 2.9)
        self.assert_own_answer(reply, 503)

    def test_nova_comes_back(self) -> None:
        """
        Whatever may pass is forgotten when Nova answers: refused and lost connections,
        broken answers, 502, 503 and 504; for GET and HEAD.
        """
        troubles: list[Callable[[], None]] = [
            self.refuse,
            lambda: self.upstream.fail(UpstreamUnavailable("reset"), sent=True),
            lambda: self.upstream.fail(UpstreamTlsFailed("expired"), sent=False),
            lambda: self.upstream.fail(UpstreamBroken("no HTTP"), sent=True),
            lambda: self.upstream.answer(502, b"bad"),
            lambda: self.upstream.answer(503, b"down", ((b"Retry-After", b"120"),)),
            lambda: self.upstream.answer(504, b"slow"),
        ]
        for method in (b"GET", b"HEAD"):
            for trouble in troubles:
                _exchange, reply = self.ask(b"/latest/user-data", method)
                trouble()
                self.assertTrue(reply.silent)
                self.advance(0.06)
                trouble()
                self.advance(0.11)
                self.upstream.answer(200, BODY)
                self.assert_answer(reply, 200, BODY)
                self.assertEqual(reply.fields, ())
                self.assert_nothing_left()

    def test_body_broken_off(self) -> None:
        """
        An answer that might pass and broke off before its end is no answer: neither is
        it relayed cut off, nor what came of it before the next.
        """
        _exchange, reply = self.ask()
        for _ in range(2):
            self.upstream.begin(503, b"Down", length=100).body(b"half of the body")
            self.upstream.fail(UpstreamBroken("cut off"))
            self.advance(0.11)
        self.upstream.begin(503, b"Down", length=100).body(b"half of the body")
        self.advance(9)
        self.upstream.fail(UpstreamBroken("cut off"))
        self.assert_own_answer(reply, 502)

    def test_whole_after_broken_off(self) -> None:
        """
        An answer that breaks off before it is whole is asked for again, whatever it
        is; what comes after it is relayed without anything of it.
        """
        for status in (200, 404, 503):
            for length in (100, None):
                _exchange, reply = self.ask(method=b"GET")
                self.upstream.begin(status, length=length).body(b"half of the body")
                self.upstream.fail(UpstreamBroken("cut off"))
                self.assertTrue(reply.silent)
                self.advance(0.06)
                self.upstream.answer(200, BODY)
                self.assert_answer(reply, 200, BODY)

    def test_half_a_head_answer(self) -> None:
        """
        So is the answer to a HEAD, whose length says nothing of what comes.
        """
        _exchange, reply = self.ask(method=b"HEAD")
        self.upstream.begin(200, length=100)
        self.upstream.fail(UpstreamBroken("cut off"))
        self.advance(0.06)
        exchange = self.upstream.begin(200, length=0)
        self.upstream.end(exchange)
        self.assertEqual((reply.status, reply.over), (200, "finished"))

    def test_broken_off_to_the_end(self) -> None:
        """
        When each answer breaks off until the hold is used up, the instance is told to
        come back, in a whole answer of our own.
        """
        _exchange, reply = self.ask()

        def half() -> None:
            self.upstream.begin(200, length=100).body(b"half")
            self.upstream.fail(UpstreamBroken("cut off"))

        self.times_of(half)
        self.assert_own_answer(reply, 502)

    def test_no_place_to_pause(self) -> None:
        """
        Of one instance no more than eight requests wait to be asked again at a time;
        what finds no place makes do with the answer that there is.
        """
        asked = [self.ask() for _ in range(10)]
        for count in (8, 2):
            for _ in range(count):
                self.upstream.answer(503, BODY)
            self.world.clock.advance(0)
        ended = [reply for _exchange, reply in asked if reply.over]
        self.assertEqual(len(ended), 2)
        for reply in ended:
            self.assert_answer(reply, 503, BODY)
        self.advance(0.06)
        for _ in range(8):
            self.upstream.answer(200, BODY)
        self.assertEqual(self.proxy.counts["no-place-to-pause"], 2)

    def test_last_answer_is_relayed(self) -> None:
        """
        When the hold is used up Nova's last whole answer is relayed as it is, even if
        Nova could not be reached any more after it.
        """
        fields = ((b"Content-Type", b"text/html"), (b"Retry-After", b"120"))

        def answer() -> None:
            tried = len(self.upstream.asked)
            if tried < 6:
                self.upstream.answer(503, b"number %d" % tried, fields, b"Maintenance")
            else:
                self.refuse()

        _exchange, reply = self.ask()
        self.times_of(answer)
        self.assertGreater(len(self.upstream.asked), 6)
        self.assert_answer(reply, 503, b"number 5")
        self.assertEqual((reply.phrase, reply.fields), (b"Maintenance", fields))
        self.assertEqual(reply.length, len(b"number 5"))

    def test_used_up(self) -> None:
        """
        Without any answer of Nova it is the last cause that counts.
        """
        for error, status in (
            (REFUSED, 503),
            (UpstreamTlsFailed("name"), 503),
            (UpstreamBroken("no HTTP"), 502),
            (UpstreamTimedOut("30 s"), 504),
        ):
            _exchange, reply = self.ask()
            self.refuse()
            self.advance(0.06)
            self.advance(8)
            self.upstream.fail(error)
            self.assert_own_answer(reply, status)
            self.assert_nothing_left()

    def test_sent_may_outlive_the_hold(self) -> None:
        """
        A request that was sent is waited for beyond the hold.
        """
        _exchange, reply = self.ask()
        self.advance(20)
        self.upstream.answer(503, b"slow", phrase=b"Slow")
        self.assert_answer(reply, 503, b"slow")
        _exchange, reply = self.ask()
        self.advance(20)
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def test_large_answer(self) -> None:
        """
        An answer that might pass but is too large to keep is relayed as it comes.
        """
        _exchange, reply = self.ask()
        nova = self.upstream.begin(503, b"Down", length=None)
        sent = b""
        while reply.silent:
            nova.body(b"x" * 10_000)
            sent += b"x" * 10_000
            self.assertLess(len(sent), 200_000)
        self.assertEqual((reply.status, reply.body), (503, sent))
        nova.body(b"end")
        self.upstream.end(nova)
        self.assert_answer(reply, 503, sent + b"end")

    def test_large_answer_breaks_off(self) -> None:
        """
        Once it is being relayed its breaking off is the end.
        """
        _exchange, reply = self.ask()
        self.upstream.begin(503, length=None).body(b"x" * 100_000)
        self.upstream.fail(UpstreamBroken("cut off"))
        self.assertEqual((reply.status, reply.over), (503, "aborted"))

    def test_large_answer_to_another(self) -> None:
        """
        Before an answer that was kept back is relayed its way is looked at again.
        """
        exchange, reply = self.ask()
        nova = self.upstream.begin(503, length=None)
        self.world.know()
        nova.body(b"x" * 100_000)
        self.assertEqual((reply.status, reply.over), (None, "aborted"))
        self.assertEqual(self.upstream.cancelled, [exchange])

    def test_kept_answer_to_another(self) -> None:
        """
        So it is when it was kept to its end.
        """
        _exchange, reply = self.ask()
        nova = self.upstream.begin(503, length=4)
        nova.body(b"down")
        self.advance(9)
        self.world.know(port_of(instance_id="i-2"))
        self.upstream.end(nova)
        self.assertEqual((reply.status, reply.over), (None, "aborted"))

    def test_recovery(self) -> None:
        """
        When Nova takes connections again, those who pause ask at once, and no others.
        """
        paused = [self.ask(b"/openstack/%d" % number) for number in range(3)]
        for _ in range(3):
            self.refuse()
        _asking, reply = self.ask()
        held, _reply = self.ask(caller=STRANGER)
        self.assertEqual(len(self.upstream.in_flight), 1)
        self.proxy.nova_recovered()
        self.assertEqual(len(self.upstream.asked), 7)
        self.proxy.nova_recovered()
        self.assertEqual(len(self.upstream.asked), 7)
        for _ in range(4):
            self.upstream.answer(200, BODY)
        for each in (reply, *(reply for _exchange, reply in paused)):
            self.assert_answer(each, 200, BODY)
        held.cancel()

    def test_recovery_of_the_gone(self) -> None:
        """
        Whoever leaves while others are woken is not asked for.
        """
        (first, _), (second, _) = self.ask(), self.ask()
        self.refuse()
        self.refuse()
        send = self.upstream.send

        class Breaking:
            """
            An upstream with which every other client leaves.
            """

            cancel = staticmethod(self.upstream.cancel)

            def send(self, exchange: IExchange) -> None:
                """
                Send.
                """
                send(exchange)
                (second if exchange is first else first).cancel()

        self.proxy.upstream = cast(Any, Breaking())
        self.proxy.nova_recovered()
        self.assertEqual(len(self.upstream.asked), 3)
        self.upstream.answer()

    def test_client_gone(self) -> None:
        """
        Whoever leaves in a pause leaves nothing behind; recovery asks for nobody then.
        """
        exchange, reply = self.ask()
        self.refuse()
        exchange.cancel()
        self.assert_nothing_left()
        self.proxy.nova_recovered()
        self.advance(10)
        self.assertEqual(len(self.upstream.asked), 1)
        self.assertTrue(reply.silent)

    def test_identified_anew(self) -> None:
        """
        Each try is for whoever the caller is by then; an answer that was kept for
        another instance is forgotten.
        """
        _exchange, reply = self.ask()
        self.upstream.answer(503, b"for i-1")
        self.world.know(port_of(instance_id="i-2"))
        self.advance(0.06)
        self.assertIn(b"\r\nX-Instance-ID: i-2\r\n", self.upstream.asked[1][1])
        self.advance(9)
        self.refuse()
        self.assert_own_answer(reply, 503)

    def test_unknown_by_then(self) -> None:
        """
        Whoever is not known any more by then waits like a stranger, in what is left of
        the same hold.
        """
        _exchange, reply = self.ask()
        self.upstream.answer(503, b"for i-1")
        self.world.know()
        self.advance(7.9)
        self.assertEqual(len(self.upstream.asked), 1)
        self.assertTrue(reply.silent)
        self.advance(0.2)
        self.assert_own_answer(reply, 404)

    def test_unknown_for_a_moment(self) -> None:
        """
        And if it becomes known again Nova is asked again.
        """
        _exchange, reply = self.ask()
        self.refuse()
        self.world.know()
        self.advance(1)
        self.world.know(port_of())
        self.world.clock.advance(0)
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def test_missing_for_now(self) -> None:
        """
        A 404 for what every instance has means that Nova's database lags.
        """
        for target in EVERYONE_HAS:
            self.proxy = self.make_proxy(self.world)
            _exchange, reply = self.ask(target)
            self.upstream.answer(404, b"not yet")
            self.assertTrue(reply.silent, target)
            self.advance(0.06)
            self.upstream.answer(200, BODY)
            self.assert_answer(reply, 200, BODY)
            self.assert_nothing_left()

    def test_missing_after_all(self) -> None:
        """
        A 404 that stays is relayed as Nova said it when the hold is used up.
        """
        _exchange, reply = self.ask()
        self.times_of(lambda: self.upstream.answer(404, b"no such"))
        self.assert_answer(reply, 404, b"no such")
        self.assertGreater(len(self.upstream.asked), 3)

    def test_missing_for_good(self) -> None:
        """
        A 404 for anything else is relayed at once.
        """
        for target in NOT_EVERYONE_HAS:
            _exchange, reply = self.ask(target)
            self.upstream.answer(404, b"none")
            self.assert_answer(reply, 404, b"none")

    def test_missing_once_served(self) -> None:
        """
        Once Nova has answered for a port, a 404 is what it says; another instance on
        the same port is another matter.
        """
        self.ask(b"/latest/meta-data/")
        self.upstream.answer(200)
        _exchange, reply = self.ask()
        self.upstream.answer(404, b"deleted")
        self.assert_answer(reply, 404, b"deleted")
        self.world.know(port_of(instance_id="i-2"))
        _exchange, reply = self.ask()
        self.upstream.answer(404, b"not yet")
        self.assertTrue(reply.silent)
        self.advance(0.06)
        self.upstream.answer(200, BODY)
        self.assert_answer(reply, 200, BODY)

    def test_failures_do_not_count_as_served(self) -> None:
        """
        Only an answer of success shows that Nova knows the instance.
        """
        for status in (400, 404, 501):
            self.ask(b"/latest/user-data")
            self.upstream.answer(status)
        exchange, reply = self.ask()
        self.upstream.answer(404, b"not yet")
        self.assertTrue(reply.silent)
        exchange.cancel()

    def test_what_shows_nothing(self) -> None:
        """
        Nor does what Nova may say without looking for the instance.
        """
        for target in (b"/", b"/openstack/latest/user_data"):
            self.ask(target)
            self.upstream.answer(200)
        exchange, reply = self.ask()
        self.upstream.answer(404, b"not yet")
        self.assertTrue(reply.silent)
        exchange.cancel()

    def test_post_is_sent_once(self) -> None:
        """
        What changes something is not sent again once any byte of it may have reached
        Nova; whatever Nova answers is relayed.
        """
        for method in (b"POST", b"PUT"):
            for error, status in (
                (UpstreamUnavailable("reset"), 503),
                (UpstreamBroken("no HTTP"), 502),
                (UpstreamTimedOut("30 s"), 504),
            ):
                asked = len(self.upstream.asked)
                _exchange, reply = self.ask(b"/openstack", method, BODY)
                self.upstream.fail(error, sent=True)
                self.assert_own_answer(reply, status)
                self.assertEqual(len(self.upstream.asked), asked + 1)
            for code in (404, 500, 502, 503, 504):
                _exchange, reply = self.ask(b"/openstack", method, BODY)
                self.upstream.answer(code, b"said")
                self.assert_answer(reply, code, b"said")

    def test_post_that_was_not_sent(self) -> None:
        """
        Where no byte of it was sent it is tried again.
        """
        _exchange, reply = self.ask(b"/openstack/latest/password", b"POST", BODY)
        for _ in range(3):
            self.refuse()
            self.advance(0.3)
        self.upstream.answer(200, b"")
        self.assert_answer(reply, 200, b"")
        self.assertEqual(len({wire for _exchange, wire in self.upstream.asked}), 1)


#: What Nova, the outside and the client may do next.
acts = st.one_of(
    st.tuples(
        st.just("answer"),
        st.sampled_from((200, 204, 403, 404, 500, 502, 503, 504)),
        st.sampled_from((b"", b"body", b"x" * 70_000)),
    ),
    st.tuples(st.just("begin"), st.sampled_from((200, 404, 503))),
    st.tuples(st.just("piece"), st.sampled_from((b"body", b"x" * 70_000))),
    st.tuples(st.just("end")),
    st.tuples(
        st.just("fail"),
        st.sampled_from((REFUSED, UpstreamBroken("x"), UpstreamTimedOut("y"))),
        st.booleans(),
    ),
    st.tuples(st.just("pass"), st.sampled_from((0.0, 0.05, 0.6, 3.0))),
    st.tuples(st.just("know"), st.sampled_from((None, "i-1", "i-2"))),
    st.tuples(st.just("point"), st.sampled_from((None, MAC, OTHER_MAC))),
    st.tuples(st.just("recover")),
    st.tuples(st.just("pause")),
    st.tuples(st.just("resume")),
)


class Script:
    """
    Lets things happen to one exchange, as far as they can.
    """

    def __init__(self, case: ProxyTestCase, method: bytes) -> None:
        """
        Ask.
        """
        self.case = case
        self.world: World = case.world
        self.upstream = case.upstream
        self.began: set[int] = set()
        self.sent = 0
        body = BODY if method == b"POST" else None
        self.exchange, self.reply = case.ask(b"/openstack", method, body)

    def act(self, kind: str, *how: Any) -> None:
        """
        Let one thing happen.
        """
        getattr(self, f"_{kind}")(*how)

    @property
    def _try(self) -> int | None:
        """
        Name the try that is in flight.
        """
        return len(self.upstream.asked) if self.upstream.in_flight else None

    def _answer(self, status: int, body: bytes) -> None:
        """
        Answer in full.
        """
        if self._try is not None and self._try not in self.began:
            self.sent += 1
            self.upstream.answer(status, b"" if status == 204 else body)

    def _begin(self, status: int) -> None:
        """
        Begin to answer.
        """
        if self._try is not None and self._try not in self.began:
            self.began.add(self._try)
            self.sent += 1
            self.upstream.begin(status, length=None)

    def _piece(self, data: bytes) -> None:
        """
        Send a piece of the body.
        """
        if self._try in self.began:
            self.upstream.in_flight[0].body(data)

    def _end(self) -> None:
        """
        End the answer.
        """
        if self._try in self.began:
            self.upstream.end(self.upstream.in_flight[0])

    def _fail(self, error: UpstreamError, sent: bool) -> None:
        """
        Break off.
        """
        if self._try is not None:
            begun = self._try in self.began
            self.sent += sent and not begun
            self.upstream.fail(error, sent or begun)

    def _pass(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.world.clock.advance(seconds)

    def _know(self, instance: str | None) -> None:
        """
        Change the inventory.
        """
        ports = [] if instance is None else [port_of(instance_id=instance)]
        self.world.know(*ports)

    def _point(self, mac: str | None) -> None:
        """
        Change the neighbour entry.
        """
        self.world.point(mac)

    def _recover(self) -> None:
        """
        Have Nova recover.
        """
        self.case.proxy.nova_recovered()

    def _pause(self) -> None:
        """
        Have the client read slowly.
        """
        if self.reply.over is None:
            self.exchange.pause()

    def _resume(self) -> None:
        """
        Have the client read again.
        """
        if self.reply.over is None:
            self.exchange.resume()


class ScriptTests(ProxyTestCase):
    """
    What holds whatever happens.
    """

    @given(
        st.lists(acts, max_size=12), st.sampled_from((b"GET", b"POST")), st.booleans()
    )
    @settings(max_examples=300)
    def test_one_clean_end(
        self, happens: list[tuple[Any, ...]], method: bytes, leaves: bool
    ) -> None:
        """
        Whatever Nova, the outside and the client do, in any order: there is one
        response or none, a response that is not whole is broken off, nothing is left,
        no POST is sent twice, each try is for the instance that is plugged in, and
        neither answer nor text shows a secret.
        """
        super().setUp()
        script = Script(self, method)
        for act in happens:
            asked = len(self.upstream.asked)
            script.act(*act)
            for _exchange, wire in self.upstream.asked[asked:]:
                instance = self.world.identified()
                assert instance is not None
                self.assertIn(f"X-Instance-ID: {instance}\r\n".encode(), wire)
        self.assertIsNone(find_secret(repr(script.exchange)))
        if leaves:
            script.exchange.cancel()
        elif script.reply.over is None:
            # Nova says no more: whoever is asking it gives up in the end.
            self.world.clock.pump([0.25] * 40)
            while self.upstream.in_flight:
                self.upstream.fail(UpstreamTimedOut("30 s"))
            self.assertIsNotNone(script.reply.over)
        self.assert_nothing_left()
        if method == b"POST":
            self.assertLessEqual(script.sent, 1)
        heard = repr((script.reply.phrase, script.reply.fields, script.reply.body))
        self.assertIsNone(re.search("[0-9a-f]{64}", heard))
        self.doCleanups()


class TextTests(ProxyTestCase):
    """
    What the text of an exchange shows.
    """

    def test_secrets(self) -> None:
        """
        While it is under way, neither its text nor that of anything that it holds shows
        the signature, the secret, or a body.
        """
        exchange, _reply = self.ask(
            b"/openstack/latest/password", b"POST", BODY, headers=((b"x", BODY),)
        )
        self.assertIsNotNone(find_secret(exchange.wire.decode()))
        self.assertIsNone(find_secret(repr(exchange)))
        self.assertIsNone(find_secret(str(exchange)))
        exchange.cancel()
        exchange, _reply = self.ask()
        self.upstream.answer(503, BODY)
        self.assertIsNone(find_secret(repr(exchange)))
        exchange.cancel()
