"""
Tests for L{mdproxy.http.server}: conversations.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from mdproxy.http.front import ChannelBounds, Front
from mdproxy.http.parsing import RequestBounds
from mdproxy.http.server import Channel
from mdproxy.limits import Shares
from mdproxy.model import Caller
from mdproxy.sweep import Sweep
from tests.playbook import CALLER, Playbook, Script, Wire

_BOUNDS = ChannelBounds(
    RequestBounds(1000, 1000), head=10, body=20, idle=75, write=30, pipeline=4
)
_GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_OK_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_EXPECTING = (
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
)


class _Conversation(SynchronousTestCase):
    """
    A playbook with one connection.
    """

    def setUp(self) -> None:
        """
        Connect.
        """
        self.book = Playbook(_BOUNDS)
        self.wire = self.book.connect()

    def say(self, data: bytes) -> None:
        """
        Let the client send.
        """
        self.book.say(self.wire, data)

    def expect(self, data: bytes) -> None:
        """
        The client reads exactly this.
        """
        self.assertEqual(self.book.hear(self.wire), data)

    def targets(self) -> list[bytes]:
        """
        List what was asked.
        """
        return [asked.request.target for asked in self.book.script.asked]

    def answer(self, body: bytes = b"ok", **options: Any) -> None:
        """
        Answer what was asked last.
        """
        self.book.script.asked[-1].answer(body, **options)

    def expect_refusal(self, status: int, phrase: bytes) -> None:
        """
        The client reads an error that holds nothing but its phrase, and the end.
        """
        head, _, body = self.book.hear(self.wire).partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[0], b"HTTP/1.1 %d %b" % (status, phrase))
        self.assertIn(b"Connection: close", lines)
        self.assertIn(b"Content-Length: %d" % len(body), lines)
        self.assertEqual(body, phrase + b"\n")
        self.assertTrue(self.wire.peer_ended)


class KeptConnectionTests(_Conversation):
    """
    One request after another.
    """

    def test_one_after_another(self) -> None:
        """
        A connection is kept, and each request is answered.
        """
        for number in range(3):
            self.say(_GET % number)
            self.expect(b"")
            self.answer()
            self.expect(_OK)
        self.assertEqual(self.targets(), [b"/0", b"/1", b"/2"])
        self.assertIsNone(self.wire.closed)

    def test_caller(self) -> None:
        """
        The answerer learns who opened the connection.
        """
        self.say(_GET % 0)
        self.assertEqual(self.book.script.asked[0].caller, CALLER)

    def test_head_and_body_go_out_together(self) -> None:
        """
        Nothing is written before there is something of the body.
        """
        self.say(_GET % 0)
        reply = self.book.script.asked[0].reply
        reply.begin(200, b"OK", b"", 4)
        self.expect(b"")
        reply.write(b"ab")
        self.expect(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        reply.write(b"cd")
        self.expect(b"cd")
        reply.finish()
        self.expect(b"")

    def test_fields(self) -> None:
        """
        The answerer's fields go out as they are, before those of framing.
        """
        self.say(_GET % 0)
        self.answer(b"", fields=((b"X-a", b"b"), (b"X-a", b"c")))
        self.expect(b"HTTP/1.1 200 OK\r\nX-a: b\r\nX-a: c\r\nContent-Length: 0\r\n\r\n")

    def test_mistrust(self) -> None:
        """
        That nobody knows who is answered changes nothing here: the next request is
        judged anew.
        """
        self.say(_GET % 0 + _GET % 1)
        self.book.script.asked[0].reply.mistrust()
        for number in (0, 1):
            self.book.script.asked[number].answer()
        self.expect(_OK * 2)

    def test_pipelined(self) -> None:
        """
        Requests that come together are asked one at a time and answered in order.
        """
        self.say(b"".join(_GET % number for number in range(3)))
        for number in range(3):
            self.assertEqual(len(self.book.script.asked), number + 1)
            self.answer(b"%d" % number)
            self.expect(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        self.assertEqual(self.targets(), [b"/0", b"/1", b"/2"])

    def test_pipeline_is_bounded(self) -> None:
        """
        While too many wait nothing more is read; later reading goes on.
        """
        self.say(_GET % 0 + b"".join(_GET % number for number in range(1, 5)))
        self.assertTrue(self.wire.reading)
        self.say(_GET % 5)
        self.assertFalse(self.wire.reading)
        for _ in range(2):
            self.answer()
            self.assertFalse(self.wire.reading)
        self.answer()
        self.assertTrue(self.wire.reading)
        for _ in range(3):
            self.answer()
        self.expect(_OK * 6)
        self.assertEqual(self.targets(), [b"/%d" % number for number in range(6)])

    def test_many_at_once(self) -> None:
        """
        Any number of requests that are answered at once don't nest.
        """
        self.book.script.at_once = b"ok"
        self.say(b"".join(_GET % number for number in range(3000)))
        self.expect(_OK * 3000)
        self.assertTrue(self.wire.reading)

    def test_many_after_one(self) -> None:
        """
        Neither do those that waited for one that took its time.
        """
        self.say(b"".join(_GET % number for number in range(3000)))
        self.book.script.at_once = b"ok"
        self.answer()
        self.expect(_OK * 3000)


class ClosingTests(_Conversation):
    """
    Who keeps the connection and who doesn't.
    """

    def test_connection_close(self) -> None:
        """
        A client that asks for it gets the end behind its answer, and no second one.
        """
        self.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + _GET % 2)
        self.answer()
        self.expect(_OK_CLOSE)
        self.assertTrue(self.wire.peer_ended)
        self.assertEqual(self.targets(), [b"/"])
        self.book.end(self.wire)
        self.assertEqual(self.wire.closed, "ConnectionDone")

    def test_http_1_0(self) -> None:
        """
        HTTP/1.0 is closed after one answer.
        """
        self.say(b"GET / HTTP/1.0\r\n\r\n")
        self.answer()
        self.expect(_OK_CLOSE)
        self.assertTrue(self.wire.peer_ended)

    def test_http_1_0_kept(self) -> None:
        """
        HTTP/1.0 is kept where the client asks for it, and told so.
        """
        for _ in range(2):
            self.say(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            self.answer()
            self.expect(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                b"Connection: keep-alive\r\n\r\nok"
            )

    def test_unknown_length(self) -> None:
        """
        A body of unknown length goes out in chunks, and the connection is kept.
        """
        self.say(_GET % 0)
        self.answer(b"x" * 26, known=False)
        self.expect(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n"
        )
        self.say(_GET % 1)
        self.answer(b"", known=False)
        self.expect(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    def test_unknown_length_in_http_1_0(self) -> None:
        """
        HTTP/1.0 knows no chunks: there the end of the connection ends the body.
        """
        self.say(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.answer(known=False)
        self.expect(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
        self.assertTrue(self.wire.peer_ended)

    def test_head(self) -> None:
        """
        HEAD gets the length and no body, even if the answerer writes one.
        """
        head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
        for known, framing in ((True, b"Content-Length: 2\r\n"), (False, b"")):
            self.say(head)
            self.answer(known=known)
            self.expect(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
        self.assertFalse(self.wire.peer_ended)

    def test_no_content(self) -> None:
        """
        204 has neither length nor body, 304 no body.
        """
        self.say(_GET % 0)
        self.answer(b"", status=204)
        self.expect(b"HTTP/1.1 204 OK\r\n\r\n")
        self.say(_GET % 1)
        self.answer(b"", status=304, known=False)
        self.expect(b"HTTP/1.1 304 OK\r\n\r\n")
        self.say(_GET % 2)
        self.answer(b"ok", status=304)
        self.expect(b"HTTP/1.1 304 OK\r\nContent-Length: 2\r\n\r\n")
        self.assertFalse(self.wire.peer_ended)

    def test_half_close(self) -> None:
        """
        A client that sends no more still gets all its answers, then the end.
        """
        self.say(_GET % 0 + _GET % 1)
        self.book.end(self.wire)
        for number in range(2):
            self.assertIsNone(self.wire.closed)
            self.assertEqual(len(self.targets()), number + 1)
            self.answer()
            self.expect(_OK)
        self.assertEqual(self.wire.closed, "ConnectionDone")

    def test_half_close_after_connection_close(self) -> None:
        """
        So does one that asked for the end.
        """
        self.say(b"GET / HTTP/1.0\r\n\r\n")
        self.book.end(self.wire)
        self.answer()
        self.expect(_OK_CLOSE)
        self.assertEqual(self.wire.closed, "ConnectionDone")

    def test_half_close_cuts_a_request(self) -> None:
        """
        A request that is cut off is refused and never asked.
        """
        self.say(b"GET / HTTP/1.1\r\nHo")
        self.book.end(self.wire)
        head = self.book.hear(self.wire)
        self.assertTrue(head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), head)
        self.assertEqual(self.targets(), [])
        self.assertEqual(self.wire.closed, "ConnectionDone")

    def test_half_close_at_rest(self) -> None:
        """
        A client that has no request is simply left.
        """
        self.book.end(self.wire)
        self.expect(b"")
        self.assertEqual(self.wire.closed, "ConnectionDone")


class RefusalTests(_Conversation):
    """
    What is no request.
    """

    def test_bad(self) -> None:
        """
        Each fault has its answer, which holds nothing of what was sent.
        """
        for data, status, phrase in (
            (b"\x00SECRET\r\n\r\n", 400, b"Bad Request"),
            (b"DELETE /SECRET HTTP/1.1\r\nHost: a\r\n\r\n", 405, b"Method Not Allowed"),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n",
                413,
                b"Request Entity Too Large",
            ),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nExpect: SECRET\r\n\r\n",
                417,
                b"Expectation Failed",
            ),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 1000 + b"\r\n\r\n",
                431,
                b"Request Header Fields Too Large",
            ),
            (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501, b"Not Implemented"),
            (b"GET / HTTP/2.0\r\n\r\n", 505, b"HTTP Version Not Supported"),
        ):
            self.wire = self.book.connect()
            self.say(data)
            self.expect_refusal(status, phrase)
            self.wire.lose(ConnectionLost())
            self.wire.settle()
        self.assertEqual(self.targets(), [])
        self.assertEqual(
            self.book.front.describe()["refused"],
            {str(status): 1 for status in (400, 405, 413, 417, 431, 501, 505)},
        )

    def test_allow(self) -> None:
        """
        405 says which methods there are (RFC 9110 section 15.5.6).
        """
        self.say(b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertIn(b"\r\nAllow: GET, HEAD, POST, PUT\r\n", self.book.hear(self.wire))

    def test_garbage_after_a_good_request(self) -> None:
        """
        The request is answered first; then the garbage is refused.
        """
        self.say(_GET % 0 + b"\x00\x01")
        self.expect(b"")
        self.answer()
        heard = self.book.hear(self.wire)
        self.assertTrue(heard.startswith(_OK + b"HTTP/1.1 400 Bad Request\r\n"), heard)
        self.assertTrue(self.wire.peer_ended)
        self.say(_GET % 1)
        self.assertEqual(self.targets(), [b"/0"])

    def test_garbage_while_answering(self) -> None:
        """
        Garbage that comes during an answer does not disturb it.
        """
        self.say(_GET % 0)
        self.say(b"\x00\x01")
        self.say(_GET % 1)
        self.answer()
        self.assertTrue(self.book.hear(self.wire).startswith(_OK + b"HTTP/1.1 400 "))
        self.assertEqual(self.targets(), [b"/0"])

    def test_lingering(self) -> None:
        """
        A client that still sends can read why it is refused; then it is left.
        """
        self.say(b"\x00")
        self.expect_refusal(400, b"Bad Request")
        self.say(b"x" * 1000)
        self.assertIsNone(self.wire.closed)
        self.book.wait(3)
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_lingering_is_bounded(self) -> None:
        """
        One that sends a lot is left at once.
        """
        self.say(b"\x00")
        for _ in range(16):
            self.say(b"x" * 65536)
        self.assertIsNone(self.wire.closed)
        self.say(b"x")
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_lingering_ends_with_the_client(self) -> None:
        """
        When the client has read it and leaves, all is over.
        """
        self.say(b"\x00")
        self.book.end(self.wire)
        self.assertEqual(self.wire.closed, "ConnectionDone")

    def test_lingering_reads(self) -> None:
        """
        Also where too many requests had stopped the reading.
        """
        self.say(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 9)
        self.assertFalse(self.wire.reading)
        self.answer(known=False)
        self.expect(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
        self.assertTrue(self.wire.peer_ended)
        self.assertTrue(self.wire.reading)


class ContinueTests(_Conversation):
    """
    Clients that wait for leave to send their body.
    """

    def test_sent_once(self) -> None:
        """
        The client is told to go on, once, and its request is asked whole.
        """
        self.say(_EXPECTING[:20])
        self.expect(b"")
        self.say(_EXPECTING[20:])
        self.expect(_CONTINUE)
        self.say(b"o")
        self.say(b"k")
        self.expect(b"")
        self.assertEqual(self.book.script.asked[0].request.body, b"ok")
        self.answer()
        self.expect(_OK)

    def test_body_is_there(self) -> None:
        """
        Nobody is told to send what has come.
        """
        self.say(_EXPECTING + b"ok")
        self.answer()
        self.expect(_OK)

    def test_in_turn(self) -> None:
        """
        It is not sent into the answer to an earlier request.
        """
        self.say(_GET % 0 + _EXPECTING)
        self.expect(b"")
        self.answer()
        self.expect(_OK + _CONTINUE)
        self.say(b"ok")
        self.answer()
        self.expect(_OK)

    def test_again(self) -> None:
        """
        Each request that expects it gets its own.
        """
        for _ in range(2):
            self.say(_EXPECTING)
            self.expect(_CONTINUE)
            self.say(b"ok")
            self.answer()
            self.expect(_OK)

    def test_refused(self) -> None:
        """
        A body that would be refused is not asked for.
        """
        self.say(_EXPECTING.replace(b"Length: 2", b"Length: 2000"))
        self.expect_refusal(413, b"Request Entity Too Large")


class DeadlineTests(_Conversation):
    """
    Slow and silent clients.
    """

    def test_slow_head(self) -> None:
        """
        Bytes that drip in do not extend the time for a head.
        """
        self.say(b"GET / HTTP/1.1\r\n")
        for _ in range(9):
            self.book.wait(1)
            self.say(b"A: b\r\n")
        self.expect(b"")
        self.book.wait(1.5)
        self.expect_refusal(408, b"Request Timeout")
        self.assertEqual(self.targets(), [])

    def test_slow_head_after_idling(self) -> None:
        """
        The time for a head begins with its first byte.
        """
        self.book.wait(60)
        self.say(b"G")
        self.book.wait(9)
        self.expect(b"")
        self.book.wait(1.5)
        self.expect_refusal(408, b"Request Timeout")

    def test_slow_body(self) -> None:
        """
        Bytes that drip in do not extend the time for a body.
        """
        self.say(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        for _ in range(19):
            self.book.wait(1)
            self.say(b"a")
        self.expect(b"")
        self.book.wait(1.5)
        self.expect_refusal(408, b"Request Timeout")
        self.assertEqual(self.targets(), [])

    def test_heads_have_their_own_time(self) -> None:
        """
        A head that is slow but in time leaves the next one as much.
        """
        for number in range(4):
            self.say(b"G")
            self.book.wait(9)
            self.say((_GET % number)[1:])
            self.answer()
            self.expect(_OK)

    def test_behind_an_answer(self) -> None:
        """
        A head that began during an answer has its time from the answer's end.
        """
        self.say(_GET % 0 + b"G")
        self.book.wait(60)
        self.answer()
        self.expect(_OK)
        self.book.wait(9)
        self.expect(b"")
        self.book.wait(1.5)
        self.expect_refusal(408, b"Request Timeout")

    def test_idle(self) -> None:
        """
        A connection at rest is closed after a while, without a word.
        """
        self.say(_GET % 0)
        self.answer()
        self.expect(_OK)
        self.book.wait(74)
        self.assertIsNone(self.wire.closed)
        self.book.wait(1.5)
        self.assertEqual(self.wire.closed, "ConnectionDone")
        self.expect(b"")

    def test_silent(self) -> None:
        """
        So is one that never said anything, or nothing but line ends.
        """
        other = self.book.connect()
        self.book.wait(70)
        self.book.say(other, b"\r\n")
        self.book.wait(5.5)
        self.assertEqual(self.wire.closed, "ConnectionDone")
        self.assertEqual(other.closed, "ConnectionDone")

    def test_slow_answer(self) -> None:
        """
        However long the answer takes, the client is not at fault.
        """
        self.say(_GET % 0)
        self.book.wait(1000)
        self.answer()
        self.expect(_OK)


class SlowReaderTests(_Conversation):
    """
    Clients that read slowly, or not at all.
    """

    def setUp(self) -> None:
        """
        Connect a client that reads nothing for now.
        """
        super().setUp()
        self.wire.stalled = True

    def test_back_pressure(self) -> None:
        """
        The answerer is paused, and goes on when the client has read.
        """
        self.say(_GET % 0)
        (asked,) = self.book.script.asked
        asked.reply.begin(200, b"OK", b"", 200000)
        asked.reply.write(b"x" * 60000)
        self.assertFalse(asked.paused)
        asked.reply.write(b"x" * 60000)
        self.assertTrue(asked.paused)
        self.wire.stalled = False
        self.wire.settle()
        self.assertFalse(asked.paused)
        self.book.wait(100)
        self.assertIsNone(self.wire.closed)
        asked.reply.write(b"x" * 80000)
        asked.reply.finish()
        self.assertTrue(self.book.hear(self.wire).endswith(b"\r\n\r\n" + b"x" * 200000))

    def test_never_read(self) -> None:
        """
        A client that takes no byte for long is aborted, and the answer cancelled.
        """
        self.say(_GET % 0)
        (asked,) = self.book.script.asked
        asked.reply.begin(200, b"OK", b"", 200000)
        asked.reply.write(b"x" * 100000)
        self.book.wait(29)
        self.assertIsNone(self.wire.closed)
        self.book.wait(1.5)
        self.assertEqual(self.wire.closed, "ConnectionAborted")
        self.assertEqual(asked.cancelled, 1)

    def test_read_slowly(self) -> None:
        """
        One that takes a few bytes now and then is left in peace, until it stops.
        """
        self.say(_GET % 0)
        self.answer(b"x" * 100000)
        for _ in range(9):
            self.book.wait(20)
            self.wire.take(10)
        self.book.wait(29)
        self.assertIsNone(self.wire.closed)
        self.book.wait(31)
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_last_answer_read_slowly(self) -> None:
        """
        So is one that asked for the end: it gets that behind its whole answer.
        """
        self.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        self.answer(b"x" * 1000)
        for _ in range(9):
            self.wire.take(100)
            self.book.wait(20)
        self.assertIsNone(self.wire.closed)
        self.wire.stalled = False
        self.assertTrue(self.book.hear(self.wire).endswith(b"\r\n\r\n" + b"x" * 1000))
        self.assertTrue(self.wire.peer_ended)

    def test_last_answer_in_the_kernel(self) -> None:
        """
        What the kernel was given is not taken from it while the client reads on.
        """
        self.wire.stalled = False
        self.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        self.answer(b"x" * 1000)
        self.assertTrue(self.book.hear(self.wire).endswith(b"\r\n\r\n" + b"x" * 1000))
        self.assertTrue(self.wire.peer_ended)
        self.wire.unread = 1000
        for _ in range(9):
            self.wire.unread -= 100
            self.book.wait(20)
            self.assertIsNone(self.wire.closed)
        self.wire.unread = 0
        self.book.wait(31)
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_gone_without_a_word(self) -> None:
        """
        A client that acknowledges nothing of its answer for so long is given up, though
        it was written whole; one that is only slow may be idle for as long as others.
        """
        for silence, closed in ((30.0, "ConnectionAborted"), (3.0, None)):
            self.wire = self.book.connect()
            self.say(_GET % 0)
            self.answer()
            self.expect(_OK)
            self.wire.unread, self.wire.silence = 38, silence
            self.book.wait(30.5)
            self.assertEqual(self.wire.closed, closed)
        self.wire.silence = 29.0
        self.book.wait(44)
        self.assertEqual(self.wire.closed, None)

    def test_answered_and_never_read(self) -> None:
        """
        So is one whose answer is complete.
        """
        self.say(_GET % 0)
        self.answer(b"x" * 100000)
        self.book.wait(31)
        self.assertEqual(self.wire.closed, "ConnectionAborted")

    def test_pipeline_waits_for_the_reader(self) -> None:
        """
        While a client does not read, none of its further requests is asked.
        """
        self.book.script.at_once = b"x" * 100000
        self.say(b"".join(_GET % number for number in range(9)))
        self.assertEqual(self.targets(), [b"/0"])
        self.assertFalse(self.wire.reading)
        self.book.wait(31)
        self.assertEqual(self.wire.closed, "ConnectionAborted")
        self.assertEqual(self.targets(), [b"/0"])

    def test_pipeline_goes_on_with_the_reader(self) -> None:
        """
        When it reads, they are.
        """
        self.book.script.at_once = b"x" * 100000
        self.say(b"".join(_GET % number for number in range(9)))
        self.wire.stalled = False
        self.wire.settle()
        self.assertEqual(len(self.targets()), 9)
        self.assertTrue(self.wire.reading)
        self.book.wait(74)
        self.assertIsNone(self.wire.closed)
        self.book.wait(1.5)
        self.assertEqual(self.wire.closed, "ConnectionDone")

    def test_asked_while_not_reading(self) -> None:
        """
        A request that comes while an answer is not yet read waits, and is answered.
        """
        self.say(_GET % 0)
        self.answer(b"x" * 100000)
        self.say(_GET % 1)
        self.assertEqual(self.targets(), [b"/0"])
        self.book.wait(20)
        self.wire.stalled = False
        self.wire.settle()
        self.assertEqual(self.targets(), [b"/0", b"/1"])
        self.book.wait(100)
        self.answer()
        self.assertTrue(self.book.hear(self.wire).endswith(_OK))

    def test_half_close_while_not_reading(self) -> None:
        """
        A client that sends no more and reads late gets everything.
        """
        self.say(_GET % 0)
        self.answer(b"x" * 100000)
        self.say(_GET % 1)
        self.book.end(self.wire)
        self.wire.stalled = False
        self.wire.settle()
        self.answer()
        self.assertTrue(self.book.hear(self.wire).endswith(_OK))
        self.assertEqual(self.wire.closed, "ConnectionDone")

    def test_refused_and_never_read(self) -> None:
        """
        A client that doesn't read why it is refused is aborted too.
        """
        self.say(b"\x00")
        self.assertIsNone(self.wire.closed)
        self.book.wait(31)
        self.assertEqual(self.wire.closed, "ConnectionAborted")


class GoneTests(_Conversation):
    """
    Clients and answers that break off.
    """

    def test_client_gone(self) -> None:
        """
        When the client is gone its answer is cancelled, once, and nothing is left.
        """
        self.say(_GET % 0 + _GET % 1)
        (asked,) = self.book.script.asked
        asked.reply.begin(200, b"OK", b"", 10)
        asked.reply.write(b"abc")
        self.wire.lose(ConnectionLost())
        self.wire.settle()
        self.book.wait(200)
        self.assertEqual(asked.cancelled, 1)
        self.assertEqual(self.targets(), [b"/0"])
        self.assertEqual(self.book.front.channels, set())

    def test_client_gone_after_its_answer(self) -> None:
        """
        What is answered is not cancelled.
        """
        self.say(_GET % 0)
        self.answer()
        self.wire.lose(ConnectionLost())
        self.wire.settle()
        self.assertEqual(self.book.script.asked[0].cancelled, 0)

    def test_abort(self) -> None:
        """
        An answer that can't be completed ends without any end that looks like one.
        """
        self.say(_GET % 0 + _GET % 1)
        reply = self.book.script.asked[0].reply
        reply.begin(200, b"OK", b"", None)
        reply.write(b"abc")
        self.expect(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        )
        reply.abort()
        self.expect(b"")
        self.assertEqual(self.wire.closed, "ConnectionAborted")
        self.assertEqual(self.targets(), [b"/0"])


class FrontTests(SynchronousTestCase):
    """
    Tests for L{Front} and for who may connect.
    """

    def test_unknown_caller(self) -> None:
        """
        A connection of which nobody knows who opened it is aborted and counted.
        """
        book = Playbook(_BOUNDS)
        book.caller = None
        wire = book.connect()
        self.assertEqual(wire.closed, "ConnectionAborted")
        self.assertEqual(book.front.describe()["refused"], {"no-caller": 1})
        self.assertEqual(book.front.channels, set())

    def test_too_many(self) -> None:
        """
        Whoever has its share is aborted and counted; others are not; places come back.
        """
        shares = Shares(2, 5, 9)
        book = Playbook(_BOUNDS, shares)
        first = book.connect()
        book.connect()
        self.assertEqual(book.connect().closed, "ConnectionAborted")
        self.assertEqual(
            book.front.describe(),
            {"connections": 2, "refused": {"too-many-connections": 1}},
        )
        book.caller = Caller("net", "10.0.0.6", None)
        other = book.connect()
        self.assertIsNone(other.closed)
        book.caller = CALLER
        first.lose(ConnectionLost())
        first.settle()
        self.assertIsNone(book.connect().closed)
        for wire in book.wires:
            wire.lose(ConnectionLost())
            wire.settle()
        self.assertEqual(shares.taken, 0)

    def test_one_share_for_all_addresses(self) -> None:
        """
        An interface has one share, whatever number of addresses it uses: it is counted
        by its MAC, and by its address only where that is not known.
        """
        book = Playbook(_BOUNDS, Shares(2, 9, 9))
        closed = []
        for number in range(3):
            book.caller = Caller("net", f"fe80::{number}", CALLER.mac)
            closed.append(book.connect().closed)
        self.assertEqual(closed, [None, None, "ConnectionAborted"])
        for number in range(3):
            book.caller = Caller("net", f"10.0.1.{number}", None, "address")
            self.assertIsNone(book.connect().closed)

    def test_nothing_is_served_to_the_refused(self) -> None:
        """
        Bytes of a connection that is being aborted are not looked at.
        """
        book = Playbook(_BOUNDS, Shares(0, 0, 0))
        channel = Channel(book.front, lambda _transport: CALLER)
        wire = Wire(channel)
        channel.makeConnection(wire)
        channel.dataReceived(_GET % 0)
        channel.readConnectionLost()
        wire.settle()
        self.assertEqual((book.script.asked, wire.seen), ([], b""))

    def test_path_changed(self) -> None:
        """
        When a neighbour entry changes every connection of its address is broken, also
        one that is answered and lingers; those of other callers are not.
        """
        book = Playbook(_BOUNDS)
        idle, lingering = book.connect(), book.connect()
        book.say(lingering, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        book.script.asked[0].answer()
        book.caller = Caller("blue", CALLER.address, CALLER.mac)
        other = book.connect()
        book.front.path_changed(CALLER.network, CALLER.address)
        for wire in book.wires:
            wire.settle()
        self.assertEqual((idle.closed, lingering.closed), ("ConnectionAborted",) * 2)
        self.assertIsNone(other.closed)
        book.front.path_changed(CALLER.network, CALLER.address)
        self.assertEqual(book.front.describe()["connections"], 1)

    def test_drain(self) -> None:
        """
        What is in flight is finished, the rest is closed; the last one is told of.
        """
        book = Playbook(_BOUNDS)
        drained: list[None] = []
        idle, reading, busy = book.connect(), book.connect(), book.connect()
        book.say(reading, b"GET")
        book.say(busy, _GET % 0 + _GET % 1)
        book.front.drain(lambda: drained.append(None))
        for wire in book.wires:
            wire.settle()
        self.assertEqual((idle.closed, reading.closed), ("ConnectionDone",) * 2)
        self.assertIsNone(busy.closed)
        self.assertEqual(drained, [])
        book.script.asked[0].answer()
        self.assertEqual(book.hear(busy), _OK_CLOSE)
        book.end(busy)
        self.assertEqual(drained, [None])
        self.assertEqual([a.request.target for a in book.script.asked], [b"/0"])

    def test_drain_of_nothing(self) -> None:
        """
        Where nobody is connected it is over at once, and once only.
        """
        book = Playbook(_BOUNDS)
        drained: list[None] = []
        book.front.drain(lambda: drained.append(None))
        self.assertEqual(drained, [None])
        wire = book.connect()
        wire.lose(ConnectionLost())
        wire.settle()
        self.assertEqual(drained, [None])

    def test_abort(self) -> None:
        """
        All connections can be broken, and what is in flight is cancelled.
        """
        book = Playbook(_BOUNDS)
        wires = [book.connect(), book.connect()]
        book.say(wires[0], _GET % 0)
        book.front.abort()
        for wire in wires:
            wire.settle()
        self.assertEqual([wire.closed for wire in wires], ["ConnectionAborted"] * 2)
        self.assertEqual(book.script.asked[0].cancelled, 1)

    def test_bounded_memory_of_counters(self) -> None:
        """
        Counters are by what was wrong, never by who it was.
        """
        book = Playbook(_BOUNDS)
        for number in range(5):
            book.caller = Caller("net", f"10.0.0.{number}", None)
            book.say(book.connect(), b"\x00")
        self.assertEqual(book.front.describe()["refused"], {"400": 5})


class RealConnectionTests(TestCase):
    """
    The conversations that the wire in memory imitates, on loopback.
    """

    def _serve(self, script: Script) -> int:
        """
        Listen on loopback.

        @return: The port.
        """
        reactor: Any = global_reactor
        sweep = Sweep(reactor)
        front = Front(script, reactor, sweep, _BOUNDS, Shares(9, 9, 9))
        factory: Factory[Channel] = Factory.forProtocol(
            lambda: Channel(front, lambda _transport: CALLER)
        )
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        closed: Deferred[None] = Deferred()

        def drain() -> Deferred[None]:
            front.drain(lambda: closed.callback(None))
            return closed

        self.addCleanup(drain)
        host = port.getHost()
        return int(host.port)

    def _ask(self, port: int, data: bytes) -> Deferred[bytes]:
        """
        Send all, say that it is all, and read to the end, in a thread.
        """

        def ask() -> bytes:
            with socket.create_connection(("127.0.0.1", port), 30) as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                heard = b""
                while piece := client.recv(65536):
                    heard += piece
                return heard

        return deferToThread(ask)

    async def test_half_close(self) -> None:
        """
        A client that sends no more gets every answer, also a large one, then the end.
        """
        script = Script(at_once=b"x" * 300000)
        heard = await self._ask(self._serve(script), _GET % 0 + _GET % 1 + _GET % 2)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
        self.assertEqual(heard, (head + b"x" * 300000) * 3)

    async def test_refusal(self) -> None:
        """
        A client that is refused while it sends can read why.
        """
        port = self._serve(Script())
        heard = await self._ask(port, b"\x00" + b"x" * 200000)
        self.assertTrue(heard.startswith(b"HTTP/1.1 400 Bad Request\r\n"), heard[:80])
        self.assertTrue(heard.endswith(b"\r\n\r\nBad Request\n"), heard)


class WireTests(SynchronousTestCase):
    """
    The channel is what Twisted wants of it.
    """

    def test_interfaces(self) -> None:
        """
        The wire in memory is a TCP transport in full.
        """
        book = Playbook(_BOUNDS)
        wire = book.connect()
        self.assertTrue(verifyObject(ITCPTransport, wire))
        self.assertTrue(verifyObject(IHalfCloseableProtocol, wire.protocol))
        self.assertTrue(verifyObject(IPushProducer, wire.protocol))
