"""
The faults that Nova can have, B1 to B16 and B20 to B23, each by its number.

In memory and at a time that stands still, but for what only a process can show.
Throughout, whatever reaches Nova is signed for whoever sent it, as
L{tests.relaying.Nova} sees to, and another instance that asks once a second gets its
own data within that second.
"""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from tests import running
from tests.relaying import (
    CANARY,
    CROWD,
    VICTIM,
    Arrived,
    Chain,
    Guest,
    Heard,
    Instance,
    Line,
)
from tests.responses import CASES
from tests.secrecy import SecrecyTestCase
from tests.test_http_responses import Run, Warmth

USER_DATA = b"/latest/user-data"
PASSWORD = b"/openstack/latest/password"
#: A target under /openstack that is held for 8 seconds, and one that is for 4.
HELD = ((b"/openstack/latest/user_data", 8.0), (USER_DATA, 4.0))
RETRY_AFTER = (b"Retry-After", b"1")

_MEBIBYTE = 1 << 20
_BLOCK = 1 << 16
_SIZE = 64 * _MEBIBYTE


class ScenarioTestCase(SecrecyTestCase):
    """
    A scenario: what Nova does to the victim, and what becomes of it.

    @ivar chain: All that takes part.
    """

    def setUp(self) -> None:
        """
        Begin with an honest Nova that has served both instances.
        """
        super().setUp()
        self.begin()

    def begin(self, *hosts: str, connections: int = 8) -> None:
        """
        Begin anew.

        @param hosts: Nova's endpoints.
        @param connections: How many connections the pool may open.
        """
        self.chain = Chain(hosts or ("a",), connections)
        self.nova = self.chain.nova

    def tearDown(self) -> None:
        """
        See that nothing is left of it but free connections.
        """
        for endpoint in self.chain.pool.describe()["endpoints"]:
            self.assertEqual((endpoint["busy"], endpoint["connecting"]), (0, 0))
        self.assertEqual(self.chain.pool.describe()["waiting"], 0)
        self.assertEqual(self.chain.clock.getDelayedCalls(), [])

    def do_to_victim(self, does: Callable[[Arrived], object]) -> None:
        """
        Have Nova do something to whatever the victim asks, and to nobody else.
        """
        self.nova.does = lambda arrived: (
            does(arrived) if arrived.instance == VICTIM.name else arrived.answer()
        )

    def pass_time(self, seconds: int) -> None:
        """
        Let time go by, while another instance asks once a second.
        """
        for _ in range(seconds):
            canary = self.chain.ask(instance=CANARY)
            self.chain.wait(1)
            self.assert_own_data(canary)
            canary.wire.lose(ConnectionLost())
            self.chain.settle()

    def arrived_of(self, instance: Instance = VICTIM) -> list[Arrived]:
        """
        List what Nova got from an instance.
        """
        return [each for each in self.nova.arrived if each.instance == instance.name]

    def assert_own_data(self, guest: Guest) -> None:
        """
        A guest has its own data.
        """
        (*_, latest) = self.arrived_of(guest.instance)
        heard = guest.hear()
        self.assertEqual((heard.status, heard.body), (200, latest.truth))

    def assert_own_error(self, guest: Guest, *statuses: int) -> None:
        """
        A guest has an error of the proxy's own, that tells it to come back.
        """
        heard = guest.hear()
        self.assertTrue(heard.whole, heard)
        self.assertIn(heard.status, statuses)
        self.assertEqual(heard.fields, ((b"Content-Type", b"text/plain"), RETRY_AFTER))

    def assert_broken_off(self, guest: Guest, body: bytes) -> None:
        """
        A guest has a beginning, and can tell that it is no more.
        """
        heard = guest.hear()
        self.assertTrue(heard.broken_off, heard)
        self.assertTrue(body.startswith(heard.body), heard)

    def assert_free(self) -> None:
        """
        The victim is served again, with its own data.
        """
        self.nova.does = Arrived.answer
        self.assert_own_data(self.chain.ask())
        self.assert_own_data(self.chain.ask(instance=CANARY))


class UnreachableTests(ScenarioTestCase):
    """
    Nova can't be reached, or says nothing.
    """

    def test_b3_one_of_two(self) -> None:
        """
        B3: where another endpoint answers, it is asked when the first has said nothing
        for 3 seconds, and nobody waits for longer.
        """
        self.begin("a", "b")
        self.nova.does = lambda arrived: (
            arrived.answer() if arrived.line.host == "b" else None
        )
        guest = self.chain.ask(USER_DATA)
        self.chain.wait(3.9)
        self.assert_own_data(guest)

    def test_b1_down(self) -> None:
        """
        B1: while Nova refuses connections a request is held; when the hold is used up
        it is 503 and the advice to come back, for POST too; connects are few.
        """
        for (target, hold), method in product(HELD, (b"GET", b"HEAD", b"POST")):
            self.begin()
            self.nova.refusing = {"a"}
            guest = self.chain.ask(target, method, b"x" if method == b"POST" else None)
            self.chain.wait(hold - 1.2)
            self.assertTrue(guest.hear().silent, (target, method))
            self.chain.wait(1.7)
            self.assert_own_error(guest, 503)
            self.assertEqual(self.nova.arrived, [])
            self.assertLess(self.nova.wanted, 5 + 2 * hold)
            self.nova.refusing = set()
            self.chain.wait(2)
            self.assert_free()

    def test_b1_down_for_a_moment(self) -> None:
        """
        B1: when Nova comes back within the hold, all who wait get their own data, and
        Nova gets what each asked once.
        """
        self.nova.refusing = {"a"}
        guests = [
            self.chain.ask(HELD[0][0], instance=instance) for instance in CROWD[:20]
        ]
        guests.append(self.chain.ask(HELD[0][0], b"POST", b"x"))
        self.chain.wait(6)
        self.assertTrue(all(guest.hear().silent for guest in guests))
        self.nova.refusing = set()
        self.chain.wait(1.9)
        for guest in guests:
            self.assert_own_data(guest)
            self.assertEqual(len(self.arrived_of(guest.instance)), 1)

    def test_b2_black_hole(self) -> None:
        """
        B2: where no handshake is answered the connect timeout ends the wait, and the
        end is 503 or 504; while it lasts connections are few.
        """
        for target, hold in HELD:
            self.begin()
            self.nova.deaf = {"a"}
            guest = self.chain.ask(target)
            self.chain.wait(hold - 0.5)
            self.assertTrue(guest.hear().silent)
            self.chain.wait(4.5)
            self.assert_own_error(guest, 503, 504)
            self.assertLess(self.nova.wanted, 10)
            self.chain.wait(4)

    def test_b2_one_of_two(self) -> None:
        """
        B2: where only the first of two endpoints is a black hole the other answers,
        and the canaries after the first of them wait no more.
        """
        self.begin("a", "b")
        self.nova.deaf = {"a"}
        guest = self.chain.ask(USER_DATA)
        self.chain.wait(3.9)
        self.assert_own_data(guest)
        self.pass_time(5)

    def test_b3_silent(self) -> None:
        """
        B3: where Nova takes a request and never answers, the end is 504 when the first
        byte is overdue, and the connection goes; whom no connection is left for is told
        to come back.
        """
        self.nova.does = lambda arrived: None
        first, *others = [
            self.chain.ask(USER_DATA, instance=instance)
            for instance in (VICTIM, *CROWD[:20])
        ]
        self.chain.wait(29)
        self.assertTrue(first.hear().silent)
        self.assertEqual(len(self.nova.lines), 8)
        self.chain.wait(2)
        self.assert_own_error(first, 504)
        self.chain.wait(31)
        for guest in others:
            self.assert_own_error(guest, 503, 504)
        self.chain.wait(31)
        self.assertTrue(all(line.closed for line in self.nova.lines))
        self.assert_free()

    def test_b3_silent_to_posts(self) -> None:
        """
        B3: what was sent and can't be repeated is not sent again.
        """
        self.do_to_victim(lambda arrived: None)
        guest = self.chain.ask(PASSWORD, b"POST", b"secret")
        self.pass_time(31)
        self.assert_own_error(guest, 504)
        self.assertEqual(len(self.arrived_of()), 1)
        self.assert_free()

    def test_b4_slow(self) -> None:
        """
        B4: an answer that takes 20 seconds is relayed; Nova is asked once, whatever the
        method.
        """
        for method in (b"GET", b"HEAD", b"POST"):
            self.begin()
            self.do_to_victim(lambda arrived: None)
            body = b"x" if method == b"POST" else None
            guest = self.chain.ask(USER_DATA, method, body)
            self.pass_time(20)
            self.assertTrue(guest.hear().silent)
            (arrived,) = self.arrived_of()
            arrived.answer()
            self.chain.settle()
            heard = guest.hear()
            self.assertEqual(heard.status, 200)
            self.assertEqual(heard.body, b"" if method == b"HEAD" else arrived.truth)
            self.assertEqual(len(self.arrived_of()), 1)


class LostTests(ScenarioTestCase):
    """
    Nova breaks connections off.
    """

    def lose_first(self, how: Callable[[Line], None]) -> None:
        """
        Have the victim's first request lost, and all others answered.
        """

        def does(arrived: Arrived) -> None:
            if len(self.arrived_of()) == 1:
                how(arrived.line)
            else:
                arrived.answer()

        self.do_to_victim(does)

    def test_b5_reset_before_the_answer(self) -> None:
        """
        B5: GET and HEAD are asked again on another connection when Nova resets the one
        they were sent on; the instance notices nothing.
        """
        for how, method in product((Line.reset, Line.end), (b"GET", b"HEAD")):
            self.begin()
            self.lose_first(how)
            guest = self.chain.ask(USER_DATA, method)
            self.pass_time(1)
            heard = guest.hear()
            first, second = self.arrived_of()
            self.assertEqual(heard.status, 200)
            self.assertEqual(heard.body, b"" if method == b"HEAD" else second.truth)
            self.assertIsNot(first.line, second.line)
            self.assertIsNotNone(first.line.closed)

    def test_b5_post(self) -> None:
        """
        B5: POST and PUT are never sent again once a byte of them was.
        """
        for how, method in product((Line.reset, Line.end), (b"POST", b"PUT")):
            self.begin()
            self.lose_first(how)
            guest = self.chain.ask(PASSWORD, method, b"secret")
            self.pass_time(10)
            self.assert_own_error(guest, 502, 503)
            self.assertEqual(len(self.arrived_of()), 1)

    def test_b6_stale(self) -> None:
        """
        B6: a kept connection that Nova closes at the moment that it is used costs GET
        and HEAD nothing but another connection; Nova answers once.
        """
        for how, method in product((Line.reset, Line.end), (b"GET", b"HEAD")):
            self.begin()
            self.assert_own_data(self.chain.ask(instance=CANARY))
            (line,) = self.nova.lines
            line.stalled = True
            how(line)
            guest = self.chain.ask(USER_DATA, method)
            self.pass_time(1)
            self.assertEqual(guest.hear().status, 200)
            (arrived,) = self.arrived_of()
            self.assertIsNot(arrived.line, line)

    def test_b6_post(self) -> None:
        """
        B6: POST and PUT go on no connection that was used before, so that none of them
        is lost so; each arrives once.
        """
        for method in (b"POST", b"PUT"):
            self.begin()
            self.assert_own_data(self.chain.ask(instance=CANARY))
            (line,) = self.nova.lines
            line.stalled = True
            line.reset()
            guest = self.chain.ask(PASSWORD, method, b"secret")
            self.pass_time(1)
            (arrived,) = self.arrived_of()
            self.assertIsNot(arrived.line, line)
            self.assertEqual(arrived.body, b"secret")
            self.assert_own_data(guest)

    def break_off(self, how: Callable[[Line], None], head: bytes, part: bytes) -> None:
        """
        Have Nova say half an answer to the victim, so much that nobody keeps it back.
        """

        def does(arrived: Arrived) -> None:
            arrived.line.say(head, part)
            how(arrived.line)

        self.do_to_victim(does)

    def assert_cut(self, head: bytes, part: bytes, meant: bytes) -> None:
        """
        Half an answer is never whole to the instance, whatever version it speaks and
        however Nova broke it off; nothing follows it, and nobody asks again.
        """
        for how, version in product((Line.reset, Line.end), (b"1.0", b"1.1")):
            self.begin()
            self.break_off(how, head, part)
            guest = self.chain.connect()
            guest.ask(USER_DATA, version=version)
            guest.ask(USER_DATA, version=version)
            self.chain.settle()
            self.pass_time(5)
            self.assert_broken_off(guest, meant)
            self.assertEqual(len(self.arrived_of()), 1)
            self.assert_free()

    def test_b7_half_a_body(self) -> None:
        """
        B7: half of the declared body is broken off, never ended, never followed by
        another answer.
        """
        half = b"half" * 25_000
        self.assert_cut(
            b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", half, half
        )

    def dribble(self, seconds: int) -> Guest:
        """
        Have Nova give the victim one byte of an answer a second, and then reset.
        """
        guest = self.chain.ask(USER_DATA)
        (first,) = self.arrived_of()
        first.line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        for _ in range(seconds):
            first.line.say(b"x")
            self.pass_time(1)
        self.do_to_victim(Arrived.answer)
        first.line.reset()
        self.pass_time(1)
        return guest

    def test_b7_slowly_and_early(self) -> None:
        """
        B7: half of a short answer that breaks off within the hold is not begun: Nova is
        asked again, and the instance notices nothing.
        """
        self.do_to_victim(lambda arrived: None)
        self.assert_own_data(self.dribble(2))
        self.assertEqual(len(self.arrived_of()), 2)

    def test_b7_slowly_and_late(self) -> None:
        """
        B7: what has taken longer than the hold is begun, and so not asked for again.
        """
        self.do_to_victim(lambda arrived: None)
        self.assert_broken_off(self.dribble(7), b"x" * 7)
        self.assertEqual(len(self.arrived_of()), 1)

    def test_b8_half_the_chunks(self) -> None:
        """
        B8: so are chunks without the last one: the proxy does not write it.
        """
        half = b"half" * 25_000
        chunks = b"%x\r\n%b\r\n" % (len(half), half)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assert_cut(head, chunks, half)

    def test_b8_until_reset(self) -> None:
        """
        B8: so is a body that only the connection's end could end, if that is a reset.
        """
        half = b"half" * 25_000
        self.break_off(Line.reset, b"HTTP/1.1 200 OK\r\n\r\n", half)
        guest = self.chain.ask(USER_DATA)
        self.pass_time(5)
        self.assert_broken_off(guest, half)


class MalformedTests(ScenarioTestCase):
    """
    Nova says what it may not; L{tests.test_http_responses} has many more of these.
    """

    def assert_cases(self, *names: str) -> None:
        """
        These cases of L{tests.responses} end as they have to, also where Nova answers
        well when it is asked again, and where the head was seen before.
        """
        cases = {case.name: case for case in CASES}
        for name, again, warmth in product(names, (False, True), Warmth):
            run = Run(cases[name], warmth=warmth, again=again)
            self.assertEqual(list(run.faults()), [], (name, again, warmth))

    def test_b9_malformed(self) -> None:
        """
        B9: what is no response is 502 when Nova says it again and again; its connection
        is dropped; not a byte of it reaches an instance.
        """
        self.assert_cases(
            "garbage",
            "no status",
            "two lengths",
            "length and chunks",
            "NUL in a value",
            "NUL in a name",
            "field of 1 MiB",
            "folded",
            "flood of interim",
        )

    def test_b9_response_before_request(self) -> None:
        """
        B9: a connection on which Nova speaks before it was asked is dropped, and the
        next request goes on another.
        """
        leaving = self.chain.connect()
        self.nova.deaf = {"a"}
        leaving.ask()
        leaving.wire.lose(ConnectionLost())
        self.chain.settle()
        self.nova.deaf = set()
        self.nova.accept()
        (line,) = self.nova.lines
        line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        self.chain.settle()
        self.assertEqual(line.closed, "ConnectionAborted")
        self.assert_free()

    def test_b10_excess(self) -> None:
        """
        B10: bytes behind a response cost it nothing, and its connection is not used
        again.
        """
        self.assert_cases("excess", "two answers", "excess behind chunks")

    def test_b11_unsolicited(self) -> None:
        """
        B11: a response on a connection at rest reaches nobody: the connection is
        dropped, and whoever asks next gets its own answer.
        """
        self.assert_cases("unsolicited answer", "unsolicited bytes", "unsolicited 408")

    def test_b22_head(self) -> None:
        """
        B22: the answer to HEAD has the length and no body, and the connection is in
        step afterwards; a body that comes all the same is thrown away with the
        connection.
        """
        self.assert_cases("HEAD", "HEAD, long", "HEAD with a body")
        guest = self.chain.ask(USER_DATA, b"HEAD")
        (arrived,) = self.nova.arrived
        heard = guest.hear()
        self.assertEqual((heard.status, heard.body, guest.wire.seen), (200, b"", b""))
        self.assertEqual(heard.length, b"%d" % len(arrived.truth))

    def test_b23_bodiless(self) -> None:
        """
        B23: what follows a 204 or a 304 reaches nobody.
        """
        self.assert_cases("204", "304", "204 with a body", "304 with length and body")


class StatusTests(ScenarioTestCase):
    """
    Nova says something else than 200.
    """

    def say(self, status: bytes, fields: bytes = b"", body: bytes = b"said") -> None:
        """
        Have Nova say so to whatever the victim asks.
        """
        self.do_to_victim(lambda arrived: arrived.answer(status, fields, body))

    def assert_said(
        self, guest: Guest, status: int, *fields: tuple[bytes, bytes]
    ) -> None:
        """
        A guest has what Nova said.
        """
        heard = guest.hear()
        self.assertEqual(
            (heard.status, heard.phrase, heard.fields, heard.body),
            (status, b"Nova's Words", fields, b"said"),
        )

    def test_b12_away(self) -> None:
        """
        B12: 500, 502, 503 and 504 may pass: Nova is asked again, seldom, within the
        hold, and at its end its last word is relayed with its own Retry-After.
        """
        for status, (target, hold) in product((500, 502, 503, 504), HELD):
            self.begin()
            self.say(b"%d Nova's Words" % status, b"Retry-After: 7\r\n")
            guest = self.chain.ask(target)
            self.pass_time(int(hold) + 1)
            self.assert_said(guest, status, (b"Retry-After", b"7"))
            self.assertIn(len(self.arrived_of()), range(3, 15))

    def test_b12_passed(self) -> None:
        """
        B12: the first good answer is the one that is relayed.
        """
        self.say(b"503 Nova's Words")
        guest = self.chain.ask(USER_DATA)
        self.pass_time(2)
        self.assertTrue(guest.hear().silent)
        self.nova.does = Arrived.answer
        self.pass_time(1)
        self.assert_own_data(guest)

    def test_b12_post(self) -> None:
        """
        B12: nothing of that holds for POST: Nova has had it.
        """
        for status in (500, 502, 503, 504):
            self.begin()
            self.say(b"%d Nova's Words" % status)
            guest = self.chain.ask(PASSWORD, b"POST", b"secret")
            self.pass_time(9)
            self.assert_said(guest, status)
            self.assertEqual(len(self.arrived_of()), 1)

    def test_b13_signature_refused(self) -> None:
        """
        B13: where Nova refuses the signature (403) the instance is told to come back,
        for it did nothing wrong, and the operator what is the matter; what can be asked
        again is held before, for we may be told another secret.
        """
        self.say(b"403 Forbidden")
        for method in (b"GET", b"POST"):
            guest = self.chain.ask(
                USER_DATA, method, b"x" if method == b"POST" else None
            )
            self.chain.wait(9)
            self.assert_own_error(guest, 503)
        methods = [each.method for each in self.arrived_of()]
        self.assertEqual(methods.count(b"POST"), 1)
        errors = [line for level, line in self.logged() if level == "error"]
        self.assertEqual(len(errors), 1)
        self.assertIn("metadata_proxy_shared_secret", errors[0])
        counts = self.chain.proxy.describe()["counts"]
        self.assertEqual(counts["status-503"], 2)
        self.assertEqual(counts["signature-refused"], len(self.arrived_of()))

    def test_b13_unauthorized(self) -> None:
        """
        B13: 401 says nothing of the signature, to Nova: it is relayed.
        """
        self.say(b"401 Nova's Words")
        self.assert_said(self.chain.ask(USER_DATA), 401)

    def test_b14_not_there(self) -> None:
        """
        B14: a 404 for what not every instance has is relayed at once.
        """
        self.say(b"404 Nova's Words")
        self.assert_said(self.chain.ask(USER_DATA), 404)
        self.assertEqual(len(self.arrived_of()), 1)

    def test_b14_not_there_yet(self) -> None:
        """
        B14: a 404 for what every instance has may be a database that lags: Nova is
        asked again within the hold, and at its end the 404 is relayed.
        """
        for target, hold in (
            (b"/openstack", 8),
            (b"/openstack/latest/meta_data.json", 8),
            (b"/latest/meta-data/instance-id", 4),
        ):
            self.begin()
            self.say(b"404 Nova's Words")
            guest = self.chain.ask(target)
            self.pass_time(hold + 1)
            self.assert_said(guest, 404)
            self.assertIn(len(self.arrived_of()), range(3, 15))

    def test_b14_there_at_last(self) -> None:
        """
        B14: the moment that Nova knows the instance, the instance knows; from then on a
        404 is a 404.
        """
        self.say(b"404 Nova's Words")
        guest = self.chain.ask(b"/openstack")
        self.pass_time(3)
        self.assertTrue(guest.hear().silent)
        self.nova.does = Arrived.answer
        self.pass_time(1)
        self.assert_own_data(guest)
        self.say(b"404 Nova's Words")
        self.assert_said(self.chain.ask(b"/openstack"), 404)

    def test_b14_another_identity(self) -> None:
        """
        B14: who asks is looked up anew before Nova is asked again: a port that became
        another instance's is asked for as that, and gets no 404 of the former.
        """
        heir = CROWD[0]
        self.say(b"404 Nova's Words")
        guest = self.chain.ask(b"/openstack")
        self.assertEqual(len(self.arrived_of()), 1)
        self.nova.give(VICTIM, heir)
        self.chain.world.know(VICTIM.port_as(heir), CANARY.port)
        self.nova.does = Arrived.answer
        self.pass_time(1)
        heard = guest.hear()
        (latest,) = self.arrived_of(heir)
        self.assertEqual((heard.status, heard.body), (200, latest.truth))

    def test_b14_the_answer_of_another(self) -> None:
        """
        B14: what Nova said of the former instance is not relayed to the later one, even
        where nothing better comes.
        """
        heir = CROWD[0]
        self.say(b"404 Nova's Words")
        guest = self.chain.ask(b"/openstack")
        self.chain.wait(1)
        self.nova.give(VICTIM, heir)
        self.chain.world.know(VICTIM.port_as(heir), CANARY.port)
        self.nova.does = lambda arrived: arrived.line.reset()
        self.chain.wait(8)
        self.assert_own_error(guest, 502, 503)
        self.assertGreater(len(self.arrived_of(heir)), 0)

    def test_b15_conflict(self) -> None:
        """
        B15: the 409 for a password that is set already is relayed.
        """
        self.say(b"409 Nova's Words")
        guest = self.chain.ask(PASSWORD, b"POST", b"secret")
        self.assert_said(guest, 409)
        self.assertEqual(len(self.arrived_of()), 1)

    def test_b16_redirect(self) -> None:
        """
        B16: a redirect is the instance's to follow: it is relayed, and nobody is asked
        anything else, be it on the same host or on another.
        """
        for status, place, method in product(
            (300, 301, 302, 303, 307, 308),
            (b"http://elsewhere.example:80/x", b"//a:8775/openstack", b"/openstack"),
            (b"GET", b"POST"),
        ):
            self.begin()
            self.say(b"%d Nova's Words" % status, b"Location: %b\r\n" % place)
            guest = self.chain.ask(
                USER_DATA, method, b"x" if method == b"POST" else None
            )
            self.pass_time(1)
            self.assert_said(guest, status, (b"Location", place))
            (arrived,) = self.arrived_of()
            self.assertEqual(arrived.target, USER_DATA)

    def test_b20_compressed(self) -> None:
        """
        B20: bytes that are compressed are bytes: they arrive as they are, whether Nova
        says that they are a coding of something or not.
        """
        data = gzip.compress(b"#cloud-config\n" * 1000)
        for fields in (
            (),
            ((b"Content-Encoding", b"gzip"),),
            ((b"Content-Type", b"application/gzip"), (b"Content-Encoding", b"x-gzip")),
        ):
            self.begin()
            lines = b"".join(b"%b: %b\r\n" % each for each in fields)
            self.say(b"200 OK", lines, data)
            heard = self.chain.ask(USER_DATA).hear()
            self.assertEqual((heard.body, heard.fields), (data, fields))
            self.assertEqual(heard.length, b"%d" % len(data))


@define(eq=False)
class Flood:
    """
    A Nova that answers with 64 MiB, and tells when it can't go on.

    @ivar chunked: Whether it sends them in chunks.
    @ivar sent: How many bytes of the body it has sent.
    @ivar stalled: Is set when nobody has taken anything for a second.
    """

    chunked: bool
    sent: int = 0
    stalled: threading.Event = field(factory=threading.Event)

    def __call__(self, asked: running.Question) -> bool:
        """
        Answer.
        """
        if asked.target != USER_DATA:
            return asked.answer()
        asked.line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BLOCK)
        asked.line.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            if self.chunked
            else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _SIZE
        )
        for number in range(_SIZE // _BLOCK):
            block = _block(number)
            frame = b"%x\r\n%b\r\n" % (_BLOCK, block) if self.chunked else block
            self._send(asked.line, frame)
            self.sent += _BLOCK
        if self.chunked:
            asked.line.sendall(b"0\r\n\r\n")
        return True

    def _send(self, line: socket.socket, data: bytes) -> None:
        """
        Send, for as long as it takes, and tell if that is long.
        """
        view = memoryview(data)
        line.settimeout(1)
        while view:
            try:
                view = view[line.send(view) :]
            except TimeoutError:
                self.stalled.set()
                line.settimeout(60)


def _block(number: int) -> bytes:
    """
    Make a piece of a body that is nowhere like another.
    """
    return b"%08d" % number * (_BLOCK // 8)


@define(eq=False)
class Sink:
    """
    Takes a long answer, and looks at the proxy's memory meanwhile.

    @ivar _connection: Where from.
    @ivar _memory: Tells how much memory the proxy has.
    @ivar taken: How many bytes of the body came.
    @ivar digest: What they add up to.
    @ivar most: The most memory that the proxy had.
    """

    _connection: socket.socket
    _memory: Callable[[], int]
    taken: int = 0
    digest: Any = field(factory=hashlib.sha256)
    most: int = 0

    def take_head(self) -> bytes:
        """
        Take the head and nothing of the body.
        """
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._connection.recv(1)
        return head

    def take(self, size: int) -> None:
        """
        Take so many bytes of the body.
        """
        until = self.taken + size
        while self.taken < until:
            data = self._connection.recv(min(_BLOCK, until - self.taken))
            assert data, "cut off"
            if self.taken // _MEBIBYTE != (self.taken + len(data)) // _MEBIBYTE:
                self.most = max(self.most, self._memory())
            self.taken += len(data)
            self.digest.update(data)


class ProcessTests(SynchronousTestCase):
    """
    What only a process can show.
    """

    def setUp(self) -> None:
        """
        Start a Nova.
        """
        self.nova = running.ThreadedNova()
        self.addCleanup(self.nova.stop)

    def start(self, **options: Mapping[str, object]) -> running.Running:
        """
        Start the proxy before it.

        @param options: What differs from the defaults, by section.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        proxy = running.Running.before(directory, self.nova.port, options)
        self.addCleanup(self.judge, proxy)
        return proxy

    def judge(self, proxy: running.Running) -> None:
        """
        Stop the proxy; nothing went wrong that nobody thought of.
        """
        self.assertNotIn("Traceback", proxy.stop())
        self.assertEqual(self.nova.faults, [])

    def at_once(
        self, proxy: running.Running, method: bytes, nova_does: Callable[[], object]
    ) -> Heard:
        """
        Have an instance ask, and Nova do something behind its back, in the same moment.
        """
        with proxy.connect(running.VICTIM) as connection:
            connection.sendall(running.question(b"/", b"GET", running.VICTIM))
            self.assertEqual(running.read_from(connection).status, 200)
            with proxy.asleep():
                body = b"secret" if method == b"POST" else None
                connection.sendall(
                    running.question(PASSWORD, method, running.VICTIM, body)
                )
                nova_does()
            return running.read_from(connection, method)

    def end_lines(self) -> None:
        """
        Have Nova close the connections on which anything was asked.
        """
        for asked in self.nova.questions:
            asked.end()

    def test_b6_stale_sockets(self) -> None:
        """
        B6: a connection that Nova closes in the same moment in which an instance asks
        costs it nothing, whatever the method, and Nova is asked once.
        """
        proxy = self.start()
        for method in (b"GET", b"HEAD", b"POST") * 5:
            self.nova.questions.clear()
            heard = self.at_once(proxy, method, self.end_lines)
            self.assertEqual(heard.status, 200, method)
            asked = [each for each in self.nova.questions if each.target == PASSWORD]
            self.assertEqual(len(asked), 1, method)

    def test_b11_unsolicited_sockets(self) -> None:
        """
        B11: what Nova says before an instance asks is no answer to it, be it ever so
        close.
        """
        proxy = self.start()
        for _ in range(10):
            self.assertEqual(proxy.ask().status, 200)
            (*_, latest) = self.nova.questions
            with proxy.connect(running.CANARY) as connection:
                with proxy.asleep():
                    latest.line.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
                    )
                    connection.sendall(
                        running.question(PASSWORD, b"GET", running.CANARY)
                    )
                heard = running.read_from(connection)
            (*_, latest) = self.nova.questions
            self.assertEqual(heard.body, latest.truth)

    def assert_streams(self, chunked: bool, slow: bool) -> None:
        """
        An answer of 64 MiB arrives whole and costs less than 4 MiB; Nova sends no more
        than fits into the kernel's buffers before the instance takes it.
        """
        flood = Flood(chunked)
        self.nova.does = flood
        proxy = self.start()
        self.assertEqual(proxy.ask().status, 200)
        before = proxy.memory
        # Chunks are for those who can read them.
        version = b"HTTP/1.0" if chunked else b"HTTP/1.1"
        asked = running.question(USER_DATA, b"GET", running.VICTIM)
        with proxy.connect(running.VICTIM, _BLOCK if slow else None) as connection:
            connection.sendall(asked.replace(b"HTTP/1.1", version))
            sink = Sink(connection, lambda: proxy.memory)
            self.assertTrue(sink.take_head().startswith(b"HTTP/1.1 200 OK\r\n"))
            if slow:
                sink.take(_MEBIBYTE)
                self.assertTrue(flood.stalled.wait(60))
                self.assertLess(flood.sent, 16 * _MEBIBYTE)
                canary = proxy.ask(instance=running.CANARY)
                self.assertEqual(canary.body, self.nova.questions[-1].truth)
            sink.take(_SIZE - sink.taken)
        whole = hashlib.sha256()
        for number in range(_SIZE // _BLOCK):
            whole.update(_block(number))
        self.assertEqual(sink.digest.digest(), whole.digest())
        self.assertLess(sink.most - before, 4 * _MEBIBYTE)
        self.assertEqual(len(self.nova.questions), 3 if slow else 2)

    def test_b21_big(self) -> None:
        """
        B21: 64 MiB go through to an instance that reads as fast as it can.
        """
        self.assert_streams(chunked=False, slow=False)

    def test_b21_big_chunks(self) -> None:
        """
        B21: so they do in chunks.
        """
        self.assert_streams(chunked=True, slow=False)

    def test_b21_slow_reader(self) -> None:
        """
        B21, A7: for an instance that stops reading Nova has to wait.
        """
        self.assert_streams(chunked=False, slow=True)

    def test_b21_slow_reader_of_chunks(self) -> None:
        """
        B21, A7: so it has to with chunks.
        """
        self.assert_streams(chunked=True, slow=True)
