"""
Tests for L{mdproxy.introspection.site}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from mdproxy.introspection.guard import FIELDS, MOST_BODY, Guard
from mdproxy.introspection.site import (
    ARRIVALS,
    HEAD,
    LONGEST_REST,
    MOST,
    MOST_REMOTE,
    PATIENCE,
    BadForm,
    form_of,
    make_site,
)
from tests.secrecy import SecrecyTestCase
from tests.visiting import Line, Said

_JSON = b"Content-Type: application/json\r\n"
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
_MARK = b"X-Mdproxy: 1\r\n"

#: How long a slow page takes, in seconds.
_SLOW = 0.125


class _Page(Resource):
    """
    A page that can be had in different ways.
    """

    isLeaf = True

    def __init__(self, does: Any) -> None:
        """
        Remember what is to happen.
        """
        super().__init__()
        self._does = does

    def render_GET(self, request: HttpRequest) -> Any:
        """
        Have it happen.
        """
        return self._does(request)


class _Form(Resource):
    """
    A page that takes forms.
    """

    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        """
        Say what was in it.
        """
        try:
            return repr(sorted(form_of(request).items())).encode()
        except BadForm as error:
            request.setResponseCode(400)
            return str(error).encode()


class _SiteTestCase(SecrecyTestCase):
    """
    A site with some pages.
    """

    def setUp(self) -> None:
        """
        Make it, and count how often its pages are made.
        """
        super().setUp()
        self.clock = Clock()
        self.made = 0
        self.live: list[Any] = []
        self.slow = 0
        self.slowness = _SLOW
        self.site = make_site(
            {
                frozenset({b"", b"page", b"bad", b"odd", b"live", b"slow"}): self.make,
                frozenset({b"form"}): lambda: {b"form": _Form()},
            },
            Guard(),
            self.clock,
        )

    def make(self) -> Mapping[bytes, IResource]:
        """
        Make pages.
        """
        self.made += 1

        def fail(_request: Any) -> bytes:
            raise RuntimeError("inner workings")

        def live(request: Any) -> int:
            request.write(b"first")
            self.live.append(request)
            return NOT_DONE_YET

        def slow(_request: Any) -> bytes:
            self.slow += 1
            self.clock.rightNow += self.slowness
            return b"slow"

        return {
            b"": _Page(lambda _: b"front"),
            b"page": _Page(lambda _: b"a page"),
            b"bad": _Page(fail),
            b"odd": _Page(lambda _: None),
            b"live": _Page(live),
            b"slow": _Page(slow),
        }

    def ask(
        self,
        target: bytes = b"/page",
        method: bytes = b"GET",
        fields: bytes = b"",
        body: bytes = b"",
    ) -> Said:
        """
        Ask on a connection of its own.
        """
        if body:
            fields += b"Content-Length: %d\r\n" % len(body)
        head = b"%b %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (method, target, fields)
        return Said.read(Line.to(self.site).say(head + body))

    def check_fields(self, said: Said) -> None:
        """
        Look for what goes with every answer, and what goes with none.
        """
        for name, value in FIELDS.items():
            self.assertEqual(said.fields.get(name), value, name)
        self.assertNotIn(b"server", said.fields)


class AnswerTests(_SiteTestCase):
    """
    Tests for what holds for every answer.
    """

    def test_page(self) -> None:
        """
        A page is answered whole, with the security fields.
        """
        said = self.ask()
        self.assertEqual((said.status, said.body), (200, b"a page"))
        self.assertEqual(said.fields[b"content-length"], b"6")
        self.check_fields(said)
        self.assertEqual(self.ask(b"/").body, b"front")

    def test_head(self) -> None:
        """
        HEAD is GET without the body.
        """
        said = self.ask(method=b"HEAD")
        self.assertEqual((said.status, said.body), (200, b""))
        self.assertEqual(said.fields[b"content-length"], b"6")

    def test_errors(self) -> None:
        """
        What is refused or missing or broken has the same fields, and is plain text that
        repeats nothing.
        """
        for status, target, method, fields in (
            (404, b"/<b>", b"GET", b""),
            (404, b"/form2", b"GET", b""),
            (405, b"/page", b"PUT", b""),
            (405, b"/page", b"POST", _MARK),
            (403, b"/form", b"POST", b"Origin: http://<b>\r\n"),
            (400, b"http://<b>/", b"GET", b""),
            (500, b"/bad?<b>", b"GET", b""),
            (500, b"/odd", b"GET", b""),
        ):
            said = self.ask(target, method, fields)
            self.assertEqual(said.status, status, target)
            self.check_fields(said)
            self.assertEqual(said.fields[b"content-type"], b"text/plain; charset=utf-8")
            self.assertNotIn(b"<", said.body)
            self.assertNotIn(b"inner", said.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError, TypeError)), 2)

    def test_methods_named(self) -> None:
        """
        Where a method is wrong the answer names those that a page has.
        """
        for target, method, allowed in (
            (b"/page", b"POST", b"GET, HEAD"),
            (b"/page", b"PUT", b"GET, HEAD, POST"),
            (b"/form", b"GET", b"POST"),
            (b"/form", b"HEAD", b"POST"),
        ):
            said = self.ask(target, method, _MARK)
            self.assertEqual((said.status, said.fields[b"allow"]), (405, allowed))

    def test_foreign_host(self) -> None:
        """
        No page is even made for somebody who means another site.
        """
        data = b"GET /page HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        said = Said.read(Line.to(self.site).say(data))
        self.assertEqual(said.status, 421)
        self.check_fields(said)
        self.assertNotIn(b"evil", said.body)
        self.assertEqual(self.made, 0)

    def test_fault_is_told_once(self) -> None:
        """
        A fault that comes again and again is logged once in a while.
        """
        for _ in range(3):
            self.assertEqual(self.ask(b"/bad").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.clock.advance(60)
        self.ask(b"/bad")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_no_access_log(self) -> None:
        """
        Who asks leaves no line in the log.
        """
        for target in (b"/page", b"/nothing", b"/live"):
            self.ask(target)
        self.assertEqual(self.events, [])

    @given(
        target=st.binary(max_size=60),
        host=st.sampled_from([b"localhost", b"evil.example", b"<b>", b"\xff"]),
        more=st.binary(max_size=60),
    )
    def test_any_bytes(self, target: bytes, host: bytes, more: bytes) -> None:
        """
        Whatever comes, nothing breaks and no answer holds a byte that could be markup.
        """
        data = b"GET /%b HTTP/1.1\r\nHost: %b\r\nX: %b\r\n\r\n" % (target, host, more)
        came = Line.to(self.site).say(data)
        for said in came.split(b"HTTP/1.1 ")[1:]:
            self.assertIn(said[:3], (b"200", b"400", b"404", b"405", b"421"), data)
            self.assertNotIn(b"<", said)


class LazilyTests(_SiteTestCase):
    """
    Tests for L{Lazily<mdproxy.introspection.site.Lazily>}.
    """

    def test_made_when_asked_for(self) -> None:
        """
        Pages are made when one of them is asked for, all together and once.
        """
        self.ask(b"/nothing")
        self.assertEqual(self.made, 0)
        for target in (b"/page", b"/", b"/page"):
            self.assertEqual(self.ask(target).status, 200)
            self.assertEqual(self.made, 1)

    def test_fault_while_made(self) -> None:
        """
        Pages that could not be made are our fault, and are tried again.
        """
        site = make_site(
            {frozenset({b"page"}): lambda: {b"page": [][0]}}, Guard(), self.clock
        )
        for _ in range(2):
            data = b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n"
            self.assertEqual(Said.read(Line.to(site).say(data)).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)

    def test_made_elsewhere(self) -> None:
        """
        While pages are being made others are answered; all who asked meanwhile get
        their page when it is there, and whoever has gone is forgotten.
        """
        making: list[Deferred[Any]] = []

        def elsewhere(call: Any) -> Deferred[Any]:
            making.append(Deferred())
            return making[-1].addCallback(lambda _: call())

        group = frozenset({b"", b"page", b"bad", b"odd", b"live", b"slow"})
        pages = {
            group: self.make,
            frozenset({b"form"}): lambda: {b"form": _Form()},
        }
        site = make_site(pages, Guard(), self.clock, elsewhere)
        ask = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
        first, gone, second, other = (Line.to(site) for _ in range(4))
        for line, name in ((first, b"page"), (gone, b""), (second, b"")):
            self.assertEqual(line.say(ask % name), b"")
        gone.lose()
        self.assertIn(b" 404 ", other.say(ask % b"nothing"))
        (made,) = making
        made.callback(None)
        self.assertEqual(self.made, 1)
        self.assertEqual(Said.read(first.transport.value()).body, b"a page")
        self.assertEqual(Said.read(second.transport.value()).body, b"front")
        self.assertEqual(Said.read(first.say(ask % b"page")).body, b"a page")

    def test_fault_elsewhere(self) -> None:
        """
        Who has gone while pages could not be made is not answered.
        """
        making: Deferred[Any] = Deferred()
        pages = {frozenset({b"page"}): dict[bytes, IResource]}
        site = make_site(pages, Guard(), self.clock, lambda _: making)
        gone, there = Line.to(site), Line.to(site)
        for line in (gone, there):
            line.say(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        gone.lose()
        making.errback(RuntimeError("inner workings"))
        self.assertEqual(Said.read(there.transport.value()).status, 500)
        self.assertEqual(gone.transport.value(), b"")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class FormTests(_SiteTestCase):
    """
    Tests for L{form_of} and what may be in a body.
    """

    def post(self, body: bytes, kind: bytes) -> Said:
        """
        Post a body.
        """
        return self.ask(b"/form", b"POST", _MARK + kind, body)

    def test_forms(self) -> None:
        """
        A form and JSON say the same; the last value counts, and there may be none.
        """
        for body, kind, values in (
            (b"a=1&b=x%20y&a=2", _FORM, b"[('a', '2'), ('b', 'x y')]"),
            (b'{"a": 2, "b": "x y"}', _JSON, b"[('a', '2'), ('b', 'x y')]"),
            (b"", b"", b"[]"),
            (b"{}", _JSON, b"[]"),
        ):
            said = self.post(body, kind)
            self.assertEqual((said.status, said.body), (200, values), body)

    def test_bad(self) -> None:
        """
        What can't be understood is refused, and not repeated.
        """
        for body, kind in (
            (b"[1]", _JSON),
            (b'{"a": [1]}', _JSON),
            (b'{"a": null}', _JSON),
            (b"<b>", _JSON),
            (b"[" * 10_000, _JSON),
            (b"\xff", _JSON),
            (b"\xff=1", _FORM),
            (b"a&" * 200, _FORM),
        ):
            said = self.post(body, kind)
            self.assertEqual(said.status, 400, body)
            self.assertNotIn(b"<", said.body)

    def test_type(self) -> None:
        """
        A body of another kind is not read.
        """
        self.assertEqual(self.post(b"a=1", b"Content-Type: text/plain\r\n").status, 415)

    def test_too_long(self) -> None:
        """
        A body that is too long is refused before any of it is read, and nothing of it
        is taken for another request.
        """
        line = Line.to(self.site)
        length = b"Content-Length: %d\r\n" % (MOST_BODY + 1)
        said = Said.read(line.say(self.head(length + b"Expect: 100-continue\r\n")))
        self.assertEqual((said.status, line.is_open), (413, False))
        self.assertEqual(
            line.say(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n"), b""
        )

    def test_unknown_length(self) -> None:
        """
        Nor is one read whose length is not said before: to divide it into its pieces
        would take as long as whoever sends it likes.
        """
        line = Line.to(self.site)
        said = Said.read(line.say(self.head(b"Transfer-Encoding: chunked\r\n")))
        self.assertEqual((said.status, line.is_open), (413, False))
        self.assertEqual(said.fields[b"connection"], b"close")

    def head(self, fields: bytes) -> bytes:
        """
        Write the head of a form that may be sent.
        """
        return b"".join(
            (
                b"POST /form HTTP/1.1\r\nHost: localhost\r\n",
                _MARK,
                _FORM,
                fields,
                b"\r\n",
            )
        )


class LimitTests(_SiteTestCase):
    """
    Tests for what one who asks may take.
    """

    def follow(self, peer: str = "127.0.0.1") -> Line:
        """
        Connect, and have an answer that does not end.
        """
        line = Line.to(self.site, "192.0.2.7", peer)
        line.say(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return line

    def test_connections(self) -> None:
        """
        So many connections are served; one more is ended and told of once, and there
        is room again when one is gone.
        """
        lines = [self.follow() for _ in range(MOST)]
        for _ in range(2):
            self.assertFalse(Line.to(self.site).is_open)
        self.assertEqual(len(self.logged()), 1)
        self.assertIn("127.0.0.1 has too many", self.logged()[0][1])
        self.assertTrue(all(line.is_open for line in lines))
        lines[0].lose()
        self.assertTrue(Line.to(self.site).is_open)

    def test_idle_makes_room(self) -> None:
        """
        Whoever holds connections and asks nothing, or never comes to an end of it,
        keeps nobody out: the longest idle one makes room.
        """
        lines = []
        for number in range(MOST):
            lines.append(Line.to(self.site))
            lines[-1].say(b"GET /page HTTP/1.1\r\n" if number % 2 else b"")
            self.clock.advance(0.1)
        # The eldest has just asked.
        lines[0].say(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        new = Line.to(self.site)
        self.assertEqual([line.is_open for line in lines[:3]], [True, False, True])
        self.assertTrue(new.is_open)
        self.assertEqual(len(self.site.connections), MOST)
        lines[1].lose()
        self.assertEqual(len(self.site.connections), MOST)
        self.assertEqual(self.logged(), [])

    def test_remote_connections(self) -> None:
        """
        One who is on another host can't take all of them, and makes room for himself
        alone.
        """
        for address in ("192.0.2.9", "2001:db8::9"):
            for number in range(MOST_REMOTE + 2):
                line = self.follow(address)
                self.assertEqual(line.is_open, number < MOST_REMOTE)
        idle = Line.to(self.site, "192.0.2.7", "192.0.2.10")
        for _ in range(MOST_REMOTE):
            Line.to(self.site, "192.0.2.7", "192.0.2.11")
        self.assertTrue(Line.to(self.site, "192.0.2.7", "192.0.2.11").is_open)
        self.assertTrue(idle.is_open)
        self.assertTrue(Line.to(self.site).is_open)

    def test_remote_arrivals(self) -> None:
        """
        Another host that comes again and again is turned away before any handshake, for
        a while.
        """
        rate, most = ARRIVALS
        for number in range(most + 1):
            line = Line.to(self.site, "192.0.2.7", "192.0.2.9")
            self.assertEqual(line.is_open, number < most)
            line.lose()
        self.assertTrue(Line.to(self.site, "192.0.2.7", "192.0.2.10").is_open)
        self.clock.advance(1 / rate)
        self.assertTrue(Line.to(self.site, "192.0.2.7", "192.0.2.9").is_open)

    def test_many_remote_hosts_fill_no_log(self) -> None:
        """
        However many addresses come too often, the log has few lines of it.
        """
        for number in range(200):
            for _ in range(MOST_REMOTE + 1):
                self.follow(f"2001:db8::{number:x}")
        self.assertLess(len(self.logged()), 50)
        self.assertGreater(len(self.logged()), 0)

    def test_who_is_here_comes_as_often_as_he_likes(self) -> None:
        """
        Nobody on this host is turned away for coming too often.
        """
        for _ in range(ARRIVALS[1] * 3):
            line = Line.to(self.site)
            line.lose()
        self.assertTrue(Line.to(self.site).is_open)

    def test_where_instances_ask(self) -> None:
        """
        An endpoint on every address of the host is at those that instances ask, too:
        there it answers nobody, and is open to operators all the same.
        """
        for address in (
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::a9fe:a9fe%br-1",
        ):
            line = Line.to(self.site, address)
            self.assertFalse(line.is_open, address)
            self.assertEqual(line.transport.value(), b"")
            line.lose()
        self.assertEqual(self.site.connections, set())
        for address in ("192.0.2.7", "::1", "fe80::7%br-1"):
            self.assertTrue(Line.to(self.site, address).is_open, address)
        self.assertEqual(len(self.logged()), 1)

    def test_own_address(self) -> None:
        """
        It may be asked by the address that was asked, and by no other of that kind.
        """
        for address, host, status in (
            ("192.0.2.7", "192.0.2.7:8085", b" 200 "),
            ("::ffff:192.0.2.7", "192.0.2.7:8085", b" 200 "),
            ("192.0.2.7", "192.0.2.8:8085", b" 421 "),
        ):
            line = Line.to(self.site, address)
            said = line.say(f"GET /page HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            self.assertIn(status, said[:20], host)

    def test_unix_socket(self) -> None:
        """
        By a UNIX socket, where no browser asks, nobody need say whom he means.
        """
        for fields, status in (
            (b"", b" 200 "),
            (b"Host:\r\n", b" 200 "),
            (b"Host: localhost\r\n", b" 200 "),
            (b"Host: evil.example\r\n", b" 421 "),
        ):
            line = Line.to(self.site, None, None)
            said = line.say(b"GET /page HTTP/1.1\r\n%b\r\n" % fields)
            self.assertIn(status, said[:20], fields)

    def test_slow_request(self) -> None:
        """
        Who sends byte after byte has no more time than who sends nothing.
        """
        line = Line.to(self.site)
        for byte in b"GET /page HTTP/1.1\r\nHost: local":
            line.say(bytes([byte]))
            self.clock.advance(0.9)
        self.assertTrue(line.is_open)
        self.clock.advance(PATIENCE)
        self.assertFalse(line.is_open)
        self.assertEqual(self.logged(), [])

    def test_turns(self) -> None:
        """
        While answers take long, others wait for as long as the one before took; whoever
        goes away meanwhile is not answered at all.
        """
        ask = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
        lines = [Line.to(self.site) for _ in range(4)]
        for line in lines:
            line.say(ask)

        def answered() -> list[bool]:
            return [bool(line.transport.value()) for line in lines]

        self.assertEqual(answered(), [True, False, False, False])
        lines[1].lose()
        self.clock.advance(_SLOW * 0.9)
        self.assertEqual(self.slow, 1)
        self.clock.advance(_SLOW * 0.2)
        self.assertEqual(answered(), [True, False, True, False])
        self.clock.advance(_SLOW)
        self.assertEqual(answered(), [True, False, True, True])
        self.assertEqual(self.slow, 3)
        self.clock.advance(_SLOW)
        self.assertEqual(self.ask().status, 200)

    def test_longest_rest(self) -> None:
        """
        An answer that took very long keeps nobody waiting for as long.
        """
        self.slowness = 100 * LONGEST_REST
        line, other = Line.to(self.site), Line.to(self.site)
        line.say(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        other.say(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.clock.advance(LONGEST_REST)
        self.assertIn(b"a page", other.transport.value())

    def test_many_in_one(self) -> None:
        """
        Many requests on one connection are answered in their order, and others' are
        answered between them.
        """
        ask = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
        many, other = Line.to(self.site), Line.to(self.site)
        many.say(ask * 500)
        other.say(ask)
        self.clock.pump([_SLOW * 1.1] * 3)
        self.assertIn(b"slow", other.transport.value())
        self.clock.pump([_SLOW * 1.1] * 1000)
        self.assertEqual(many.transport.value().count(b"slow"), 500)

    def test_idle(self) -> None:
        """
        A connection may be used again, for a while.
        """
        line = Line.to(self.site)
        for _ in range(3):
            self.clock.advance(PATIENCE - 1)
            said = line.say(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual(Said.read(said).body, b"a page")
        self.clock.advance(PATIENCE)
        self.assertFalse(line.is_open)

    def test_live(self) -> None:
        """
        An answer that goes on is not timed; one that meets a fault is broken off, so
        that nobody takes it for whole.
        """
        line = Line.to(self.site)
        said = line.say(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertTrue(said.endswith(b"5\r\nfirst\r\n"))
        self.clock.advance(10 * PATIENCE)
        self.assertTrue(line.is_open)
        self.live[0].processingFailed(Failure(RuntimeError("inner workings")))
        self.assertFalse(line.is_open)
        self.assertNotIn(b"inner", line.transport.value())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_long_head(self) -> None:
        """
        A head that is too long, in one line, in many, or in too many, is refused.
        """
        for head in (
            b"GET /" + b"a" * HEAD,
            b"GET / HTTP/1.1\r\n" + b"A: %b\r\n" % (b"a" * 1000) * 9,
            b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 66,
        ):
            line = Line.to(self.site)
            line.say(head + b"\r\n\r\n")
            self.assertFalse(line.is_open, head[:40])

    def test_no_timer_at_rest(self) -> None:
        """
        A site that nobody asks costs nothing.
        """
        self.site.doStart()
        line = Line.to(self.site)
        line.say(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        line.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.site.doStop()
