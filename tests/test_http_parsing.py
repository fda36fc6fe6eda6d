"""
Tests for L{mdproxy.http.parsing}.

h11 is the oracle: an independent, strict reader written in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.http.parsing import (
    BadRequest,
    RequestBounds,
    RequestReader,
    check_request,
)
from mdproxy.http.responses import (
    BadResponse,
    End,
    ResponseEvent,
    ResponseReader,
)
from mdproxy.model import Request, ResponseHead

_HOST = b"Host: 169.254.169.254\r\n"
_GET = b"GET /latest/ HTTP/1.1\r\n" + _HOST + b"\r\n"
_BOUNDS = RequestBounds(max_head=10000, max_body=1000)


def _get(*lines: bytes, target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    """
    Write a GET with a Host and further header lines.
    """
    line = b"GET " + target + b" HTTP/" + version + b"\r\n"
    return line + _HOST + b"".join(each + b"\r\n" for each in lines) + b"\r\n"


def _post(*lines: bytes, body: bytes = b"") -> bytes:
    """
    Write a POST with a Host, further header lines, and whatever follows them.
    """
    head = b"POST / HTTP/1.1\r\n" + _HOST
    return head + b"".join(each + b"\r\n" for each in lines) + b"\r\n" + body


def _chunked(body: bytes) -> bytes:
    """
    Write a POST with a chunked body of these very bytes.
    """
    return _post(b"Transfer-Encoding: chunked", body=body)


def _read(
    pieces: Iterable[bytes], bounds: RequestBounds = _BOUNDS
) -> list[Request | BadRequest]:
    """
    Feed a reader until it goes wrong.
    """
    reader = RequestReader(bounds)
    read: list[Request | BadRequest] = []
    for piece in pieces:
        read += reader.feed(piece)
        if read and isinstance(read[-1], BadRequest):
            break
    return read


def _plain(read: Sequence[Request | BadRequest]) -> list[Request | str]:
    """
    Replace errors, which have no equality, by a word.
    """
    return [each if isinstance(each, Request) else "refused" for each in read]


def _cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """
    Cut bytes at some places.
    """
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


def _bytewise(data: bytes) -> list[bytes]:
    """
    Cut bytes everywhere.
    """
    return [data[at : at + 1] for at in range(len(data))]


#: Requests that are served: name, bytes, what of the request matters.
_GOOD: list[tuple[str, bytes, dict[str, object]]] = [
    ("get", _get(), {"method": b"GET", "target": b"/", "body": None}),
    ("query", _get(target=b"/a?b=%20&c"), {"target": b"/a?b=%20&c"}),
    ("dots", _get(target=b"/../%2e//./x"), {"target": b"/../%2e//./x"}),
    ("marks", _get(target=b"/a|b{c}\"<>`^'"), {"target": b"/a|b{c}\"<>`^'"}),
    ("keep-alive", _get(), {"keep_alive": True, "http_1_0": False}),
    ("close", _get(b"Connection: close"), {"keep_alive": False}),
    (
        "close among others",
        _get(b"Connection: x-tenant-id, Close"),
        {"keep_alive": False},
    ),
    ("close and a tab", _get(b"Connection: a, close\t"), {"keep_alive": False}),
    (
        "close wins",
        _get(b"Connection: close", b"Connection: keep-alive"),
        {"keep_alive": False},
    ),
    (
        "http/1.0",
        b"GET / HTTP/1.0\r\n\r\n",
        {"http_1_0": True, "keep_alive": False, "headers": ()},
    ),
    (
        "http/1.0 kept",
        _get(b"Connection: keep-alive", version=b"1.0"),
        {"http_1_0": True, "keep_alive": True},
    ),
    (
        "white space",
        _get(b"A:\t x y\t ", b"B:", b"c:d"),
        {
            "headers": (
                (b"host", b"169.254.169.254"),
                (b"a", b"x y"),
                (b"b", b""),
                (b"c", b"d"),
            )
        },
    ),
    ("high octets", _get(b"A: \xe9\xff"), {}),
    ("empty line first", b"\r\n" + _get(), {"target": b"/"}),
    ("ipv6 host", b"GET / HTTP/1.1\r\nHost: [fe80::a9fe:a9fe%25e]:80\r\n\r\n", {}),
    ("empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", {}),
    ("head", b"HEAD / HTTP/1.1\r\n" + _HOST + b"\r\n", {"method": b"HEAD"}),
    ("put", b"PUT / HTTP/1.1\r\n" + _HOST + b"\r\n", {"method": b"PUT"}),
    ("no body", _post(), {"method": b"POST", "body": None}),
    ("empty body", _post(b"Content-Length: 0"), {"body": b""}),
    ("length", _post(b"Content-Length: 5", body=b"a\r\nbc"), {"body": b"a\r\nbc"}),
    ("zeros", _post(b"Content-Length: 0005", body=b"abcde"), {"body": b"abcde"}),
    ("chunks", _chunked(b"3\r\nabc\r\n1\r\n\n\r\n0\r\n\r\n"), {"body": b"abc\n"}),
    (
        "zeros before a size",
        _chunked(b"0000000000000001\r\nZ\r\n0\r\n\r\n"),
        {"body": b"Z"},
    ),
    ("longest chunk", _chunked(b"3e8;a\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n"), {}),
    ("hex chunks", _chunked(b"000A\r\n0123456789\r\n00\r\n\r\n"), {}),
    ("no chunks", _chunked(b"0\r\n\r\n"), {"body": b""}),
    ("chunk extension", _chunked(b'1;a="b c"\r\nZ\r\n0;d\r\n\r\n'), {"body": b"Z"}),
    (
        "trailers are dropped",
        _chunked(b"1\r\nZ\r\n0\r\nX-Tenant-ID: e\r\n\r\n"),
        {
            "headers": (
                (b"host", b"169.254.169.254"),
                (b"transfer-encoding", b"chunked"),
            )
        },
    ),
    (
        "coding in any case",
        _post(b"Transfer-Encoding: ChUnKeD", body=b"0\r\n\r\n"),
        {},
    ),
    ("get with a body", _get(b"Content-Length: 2") + b"ok", {"body": b"ok"}),
    ("upgrade", _get(b"Upgrade: h2c", b"Connection: Upgrade"), {"keep_alive": True}),
    (
        # Java's own client says so with every GET.
        "upgrade with a body of nothing",
        _get(b"Upgrade: h2c", b"Connection: Upgrade", b"Content-Length: 0"),
        {"body": b""},
    ),
    ("space behind a length", _post(b"Content-Length: 2 ", body=b"ok"), {}),
    ("100-continue", _post(b"Expect: 100-Continue", b"Content-Length: 0"), {}),
    ("longest body", _post(b"Content-Length: 1000", body=b"x" * 1000), {}),
    ("many fields", _get(*[b"a: b"] * 99), {}),
]

#: What is refused: name, status, bytes.  What follows the fault is there to be read by
#: a reader that does not see it.
_BAD: list[tuple[str, int, bytes]] = [
    # The request line.
    ("garbage", 400, b"\x00\x01\x02\r\n\r\n"),
    ("tls", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("http/2", 400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("proxy protocol", 400, b"PROXY TCP4 6.6.6.6 127.0.0.1 1 80\r\n" + _GET),
    ("http/0.9", 505, b"GET /\r\n\r\n"),
    ("http/0.9 named", 505, b"GET / HTTP/0.9\r\n\r\n"),
    ("http/2.0", 505, b"GET / HTTP/2.0\r\n" + _HOST + b"\r\n"),
    ("http/1.2", 400, b"GET / HTTP/1.2\r\n" + _HOST + b"\r\n"),
    ("version in lower case", 400, b"GET / http/1.1\r\n" + _HOST + b"\r\n"),
    ("version runs on", 400, b"GET / HTTP/1.1x\r\n" + _HOST + b"\r\n"),
    ("version overflows", 400, b"GET / HTTP/4294967297.1\r\n" + _HOST + b"\r\n"),
    ("method in lower case", 400, b"get / HTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("made-up method", 400, b"FROB / HTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("delete", 405, b"DELETE / HTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("trace", 405, b"TRACE / HTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("options", 405, b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("connect", 501, b"CONNECT a:80 HTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("no target", 400, b"GET  HTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("extra word", 400, _get(target=b"/ x")),
    ("spaces before the target", 400, _get(target=b" /a")),
    ("spaces behind the target", 400, _get(target=b"/a ")),
    # AirPlay asks so, and llhttp knows it.
    ("rtsp", 400, b"GET / RTSP/1.1\r\n" + _HOST + b"\r\n"),
    ("rtsp 1.0", 400, b"POST / RTSP/1.0\r\n\r\n"),
    ("tabs", 400, b"GET\t/\tHTTP/1.1\r\n" + _HOST + b"\r\n"),
    ("asterisk", 400, _get(target=b"*")),
    ("relative", 400, _get(target=b"a")),
    ("absolute", 400, _get(target=b"http://10.0.0.1:8774/v2.1")),
    ("absolute, own name", 400, _get(target=b"http://169.254.169.254/")),
    ("fragment", 400, _get(target=b"/a#b")),
    ("control byte in target", 400, _get(target=b"/a\x01b")),
    ("delete in target", 400, _get(target=b"/a\x7fb")),
    ("high octet in target", 400, _get(target=b"/\xc3\xa9")),
    ("long target", 414, _get(target=b"/" + b"a" * 8192)),
    ("long head", 431, _get(b"A: " + b"a" * 10000)),
    # Lines.
    ("bare lf", 400, b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare cr", 400, b"GET / HTTP/1.1\rHost: a\r\r"),
    ("lf hides a field", 400, _get(b"A: a\nX-Tenant-ID: e")),
    ("cr hides a field", 400, _get(b"A: a\rX-Tenant-ID: e")),
    ("folded", 400, _get(b"A: a", b" X-Tenant-ID: e")),
    ("folded by a tab", 400, _get(b"A: a", b"\tb")),
    ("first line folded", 400, b"GET / HTTP/1.1\r\n " + _HOST + b"\r\n"),
    ("two empty lines first", 400, b"\r\n\r\n" + _GET),
    ("cr first", 400, b"\r" + _GET),
    ("lf first", 400, b"\n" + _GET),
    # Header fields.
    ("space before the colon", 400, _get(b"X-Tenant-ID : e")),
    ("tab before the colon", 400, _get(b"X-Tenant-ID\t: e")),
    ("empty name", 400, _get(b": v")),
    ("no colon", 400, _get(b"abc")),
    *(
        (f"name with {octet!r}", 400, _get(b"X" + octet + b"A: v"))
        for octet in (b" ", b"(", b"@", b'"', b"\x00", b"\x01", b"\x7f", b"\x85")
    ),
    *(
        (f"value with {octet!r}", 400, _get(b"X-A: a" + octet + b"b"))
        for octet in (b"\x00", b"\x01", b"\x07", b"\x0b", b"\x1b", b"\x7f")
    ),
    ("too many fields", 431, _get(*[b"a: b"] * 100)),
    ("no host", 400, b"GET / HTTP/1.1\r\n\r\n"),
    ("two hosts", 400, _get(b"Host: b")),
    ("two equal hosts", 400, _get(_HOST.strip())),
    ("two hosts in 1.0", 400, _get(b"Host: b", version=b"1.0")),
    ("markup in host", 400, b"GET / HTTP/1.1\r\nHost: <b>\r\n\r\n"),
    ("list of hosts", 400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("expectation", 417, _post(b"Expect: a", b"Content-Length: 0")),
    ("two expectations", 417, _get(b"Expect: 100-continue, a")),
    # Framing.
    (
        "length and chunks",
        400,
        _post(
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
            body=b"0\r\n\r\n" + _GET,
        ),
    ),
    (
        "chunks and length",
        400,
        _post(
            b"Transfer-Encoding: chunked",
            b"Content-Length: 5",
            body=b"0\r\n\r\n" + _GET,
        ),
    ),
    ("two lengths", 400, _post(b"Content-Length: 1", b"Content-Length: 2", body=b"ab")),
    ("equal lengths", 400, _post(b"Content-Length: 1", b"Content-Length: 1")),
    *(
        (f"length {text!r}", 400, _post(b"Content-Length: " + text, body=b"hello"))
        for text in (
            b"5, 5",
            b"+5",
            b"-5",
            b"5 5",
            b"0x5",
            b"5_0",
            b"",
            b"5.0",
            b"\xb2",
            b"18446744073709551621",
            b"9" * 400,
        )
    ),
    ("long body", 413, _post(b"Content-Length: 1001")),
    ("longer body", 413, _post(b"Content-Length: 100000000000000")),
    ("long chunk", 413, _chunked(b"3E9\r\n" + b"x" * 1001)),
    ("long chunk by its word", 413, _chunked(b"3E9\r\n")),
    ("longest chunk by its word", 413, _chunked(b"FFFFFFFFFFFFFFFF\r\nhello")),
    ("second chunk too long", 413, _chunked(b"1\r\nZ\r\n3E8;a=b\r\n")),
    ("many zeros", 400, _chunked(b"0" * 16 + b"1\r\nZ\r\n0\r\n\r\n")),
    ("many chunks", 413, _chunked(b"1\r\nx\r\n" * 1001)),
    *(
        (
            f"coding {text!r}",
            status,
            _post(b"Transfer-Encoding: " + text, body=b"1\r\nZ\r\n0\r\n\r\n"),
        )
        for text, status in (
            (b"gzip", 501),
            (b"gzip, chunked", 501),
            (b"chunked, chunked", 400),
            (b"chunked, gzip", 400),
            (b"identity", 501),
            (b"xchunked", 501),
            (b"chunked;q=1", 501),
            (b"chunked\t", 501),
            (b",chunked", 501),
            (b'"chunked"', 501),
            (b"", 400),
            (b"\x0bchunked", 400),
            (b"chunked\x00", 400),
            (b"chun\xe2\x84\xaaed", 501),
        )
    ),
    (
        "two codings",
        400,
        _post(
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: identity",
            body=b"0\r\n\r\n",
        ),
    ),
    (
        "chunks in 1.0",
        400,
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    *(
        (f"chunk {text!r}", 400, _chunked(text + b"0\r\n\r\n"))
        for text in (
            b"0x1\r\nZ\r\n",
            b"0_1\r\nZ\r\n",
            b" 1\r\nZ\r\n",
            b"+1\r\nZ\r\n",
            b"-1\r\nZ\r\n",
            b"g\r\nZ\r\n",
            b"\r\nZ\r\n",
            b"1 \r\nZ\r\n",
            b"10000000000000001\r\nZ\r\n",
            b"1\nZ\r\n",
            b"1\r\nZ\n",
            b"1\rZ\r\n",
            b"1\r\nZXX",
            b"1\r\nZZ\r\n",
            b"1;a\nZ\r\n",
            b"1;a\rb\r\nZ\r\n",
            b"1;\x00\r\nZ\r\n",
        )
    ),
    ("bad end of chunks", 400, _chunked(b"0\r\nXX" + _GET)),
    ("bad trailer", 400, _chunked(b"0\r\nX Y: z\r\n\r\n")),
    ("folded trailer", 400, _chunked(b"0\r\nA: b\r\n c\r\n\r\n")),
    (
        "upgrade with a body",
        501,
        _post(
            b"Upgrade: h2c", b"Connection: upgrade", b"Content-Length: 5", body=b"GET /"
        ),
    ),
]


class RequestReaderTests(SynchronousTestCase):
    """
    Tests for L{RequestReader}.
    """

    def test_good(self) -> None:
        """
        Each of these is one request, whole or byte by byte, with these values.
        """
        for name, data, values in _GOOD:
            whole = _read([data])
            self.assertEqual(len(whole), 1, name)
            request = whole[0]
            assert isinstance(request, Request), (name, request)
            for field, value in values.items():
                self.assertEqual(getattr(request, field), value, name)
            self.assertEqual(_read(_bytewise(data)), whole, name)

    def test_bad(self) -> None:
        """
        None of these is a request, whole or byte by byte, and each has its status.
        """
        for name, status, data in _BAD:
            for pieces in ([data], _bytewise(data)):
                read = _read(pieces)
                self.assertEqual(_plain(read), ["refused"], name)
                self.assertEqual(getattr(read[0], "status", None), status, name)

    def test_reasons_hold_nothing_of_the_request(self) -> None:
        """
        What an instance sent does not reach the log by way of the error.
        """
        for data in (_get(target=b"/\xe9S3CRET"), _get(b"S3CRET : S3CRET")):
            self.assertNotIn("S3CRET", repr(_read([data])))

    def test_pipelined(self) -> None:
        """
        Requests that come together are told apart, in order.
        """
        data = _get(target=b"/1") + _chunked(b"2\r\nok\r\n0\r\n\r\n")
        data += b"\r\n" + _post(b"Content-Length: 2", body=b"by") + _get(target=b"/4")
        for pieces in ([data], _bytewise(data)):
            read = _read(pieces)
            self.assertEqual(
                [
                    (each.target, each.body)
                    for each in read
                    if isinstance(each, Request)
                ],
                [(b"/1", None), (b"/", b"ok"), (b"/", b"by"), (b"/4", None)],
            )

    def test_good_then_bad(self) -> None:
        """
        A fault does not take away the requests before it.
        """
        for bad in (b"\x00\x01", b"GET\r\n", _get(b"a : b")):
            self.assertEqual(
                _plain(_read([_GET + bad])), [*_plain(_read([_GET])), "refused"]
            )

    def test_nothing_after_close(self) -> None:
        """
        What stands behind the last request that the client announced is refused.
        """
        read = _read([_get(b"Connection: close") + _GET])
        self.assertEqual(_plain(read)[1:], ["refused"])

    def test_after_an_upgrade_comes_a_request(self) -> None:
        """
        Nobody is upgraded: the bytes behind an offer are the next request.
        """
        data = _get(b"Upgrade: h2c", b"Connection: upgrade") + _get(target=b"/2")
        for pieces in ([data], _bytewise(data)):
            read = _read(pieces)
            self.assertEqual(
                [each.target for each in read if isinstance(each, Request)],
                [b"/", b"/2"],
            )

    def test_progress(self) -> None:
        """
        It tells how far a request has come.
        """
        reader = RequestReader()
        self.assertEqual((reader.mid_request, reader.mid_body), (False, False))
        reader.feed(b"\r\n")
        self.assertFalse(reader.mid_request)
        reader.feed(b"POST")
        self.assertEqual((reader.mid_request, reader.mid_body), (True, False))
        reader.feed(_post(b"Content-Length: 2", body=b"o")[4:])
        self.assertEqual((reader.mid_request, reader.mid_body), (True, True))
        reader.feed(b"k")
        self.assertEqual((reader.mid_request, reader.mid_body), (False, False))

    def test_expectation(self) -> None:
        """
        A client that waits for leave to send its body is told of once.
        """
        expect = b"Expect: 100-continue"
        reader = RequestReader()
        reader.feed(_post(expect, b"Content-Length: 2"))
        self.assertTrue(reader.take_expectation())
        self.assertFalse(reader.take_expectation())
        reader.feed(b"ok")
        self.assertFalse(reader.take_expectation())

    def test_no_expectation(self) -> None:
        """
        Nobody waits whose body is there, who has none, or who speaks HTTP/1.0.
        """
        expect = b"Expect: 100-continue"
        old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        for data in (
            _post(expect, b"Content-Length: 2", body=b"ok"),
            _get(expect),
            _post(b"Content-Length: 2"),
            old,
        ):
            reader = RequestReader()
            reader.feed(data)
            self.assertFalse(reader.take_expectation(), data)

    def test_unfinished_head_is_bounded(self) -> None:
        """
        A head that never ends is refused near its bound, in any form.
        """
        for data in (
            b"GET / HTTP/1.1\r\n" + _HOST + b"a: " + b"x" * 20000,
            b"GET / HTTP/1.1\r\n" + _HOST + b"x" * 20000,
            b"GET / HTTP/1.1\r\n" + _HOST + b"a:" + b" " * 20000,
            b"GET / HTTP/1.1\r\n" + _HOST + b"a: b\r\n" * 4000,
        ):
            for size in (1, 1000, 20000):
                reader = RequestReader(_BOUNDS)
                taken = 0
                statuses: list[int] = []
                for start in range(0, len(data), size):
                    read = reader.feed(data[start : start + size])
                    statuses += [e.status for e in read if isinstance(e, BadRequest)]
                    if statuses:
                        break
                    taken += size
                self.assertEqual(statuses, [431])
                self.assertLessEqual(taken, _BOUNDS.max_head + 4096)

    def test_chunk_framing_is_bounded(self) -> None:
        """
        A small body in endless framing is refused.
        """
        for framing in (b"1;" + b"e" * 100 + b"\r\nx\r\n", b"0\r\n" + b"t: v\r\n" * 50):
            data = _chunked(framing * 500)
            for size in (100, len(data)):
                read = _read(data[i : i + size] for i in range(0, len(data), size))
                self.assertEqual(_plain(read), ["refused"])

    def test_check_request(self) -> None:
        """
        A request that another reader has read is held to the same rules.
        """
        good = Request(b"GET", b"/", ())
        check_request(good, _BOUNDS)
        for status, bad in (
            (405, Request(b"DELETE", b"/", ())),
            (501, Request(b"CONNECT", b"/", ())),
            (400, Request(b"GET", b"http://a/", ())),
            (400, Request(b"GET", b"/\xe9", ())),
            (413, Request(b"POST", b"/", (), b"x" * 1001)),
        ):
            error = self.assertRaises(BadRequest, check_request, bad, _BOUNDS)
            self.assertEqual(error.status, status)


_token = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=8).map(str.encode)
_text = st.binary(max_size=12)
_fields = st.lists(
    st.one_of(
        st.tuples(_token, _text).map(lambda pair: b": ".join(pair)),
        st.sampled_from(
            [
                b"Connection: close",
                b"Connection: keep-alive, TE",
                b"Connection: upgrade",
                b"Upgrade: h2c",
                b"Content-Length: 3",
                b"Content-Length: 0",
                b"Transfer-Encoding: chunked",
                b"Expect: 100-continue",
                b"Host: b",
                b"X_Tenant_ID: e",
            ]
        ),
    ),
    max_size=4,
)
_bodies = st.one_of(
    st.sampled_from(
        [
            b"",
            b"abc",
            b"0\r\n\r\n",
            b"3\r\nabc\r\n0\r\n\r\n",
            b"1;x=y\r\nZ\r\n0\r\nA: b\r\n\r\n",
            b"\r\n",
        ]
    ),
    st.binary(max_size=6),
)


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    """
    Make something like a request, with any octets in its target and values.
    """
    line = b" ".join(
        [
            draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"DELETE"])),
            b"/" + draw(_text),
            draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"])),
        ]
    )
    fields = [draw(st.sampled_from([b"Host: a", b"host:a:80", b"Host: [::1]"]))]
    return b"\r\n".join([line, *fields, *draw(_fields), b"", draw(_bodies)])


_conversations = st.lists(_requests(), min_size=1, max_size=3).map(b"".join)
_places = st.lists(st.integers(0, 1 << 16), max_size=6)


def _oracle(data: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]:
    """
    Read one request with h11.

    It does not pass over an empty line before it.
    """
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data.removeprefix(b"\r\n"))
    request = connection.next_event()
    assert isinstance(request, h11.Request), request
    body = bytearray()
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage), event
    return request.method, request.target, list(request.headers), bytes(body)


class SecrecyTests(SynchronousTestCase):
    """
    Whoever shows a reader, in a shell or a trace, shows nothing of what it reads.
    """

    def test_requests(self) -> None:
        """
        Neither fields nor bodies of requests, however far they have come.
        """
        reader = RequestReader(_BOUNDS)
        told = _post(b"Cookie: s3cret", b"Content-Length: 100", body=b"s3cret")
        for octet in told:
            reader.feed(bytes((octet,)))
            self.assertNotIn("s3cret", repr(reader))

    def test_responses(self) -> None:
        """
        Nor of responses.
        """
        reader = ResponseReader(False)
        reader.feed(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: s3cret\r\nContent-Length: 9\r\n\r\n"
        )
        reader.feed(b"s3cret")
        self.assertNotIn("s3cret", repr(reader))


class RequestPropertyTests(SynchronousTestCase):
    """
    What L{RequestReader} promises for any bytes.
    """

    @settings(deadline=None)
    @given(_conversations, _places)
    @example(_GET + _GET, [len(_GET) - 1])
    def test_cut_anywhere(self, data: bytes, places: list[int]) -> None:
        """
        However the bytes are cut, the same requests come out and the same goes wrong.
        """
        whole = _plain(_read([data]))
        self.assertEqual(_plain(_read(_cut(data, places))), whole)
        self.assertEqual(_plain(_read(_bytewise(data))), whole)

    @settings(deadline=None)
    @given(st.one_of(st.binary(max_size=200), _conversations), _places)
    def test_any_bytes(self, data: bytes, places: list[int]) -> None:
        """
        Any bytes give requests, within their bounds, and at most one error at the end.
        """
        read = _read(_cut(data, places))
        for each in read[:-1]:
            self.assertIsInstance(each, Request)
        for each in read:
            if isinstance(each, Request):
                size = sum(len(n) + len(v) for n, v in each.headers)
                self.assertLessEqual(size + len(each.target), _BOUNDS.max_head)
                self.assertLessEqual(len(each.body or b""), _BOUNDS.max_body)

    @settings(deadline=None, max_examples=300)
    @given(_requests())
    @example(b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n")
    def test_oracle(self, data: bytes) -> None:
        """
        h11 accepts every request that is accepted here, and reads the same out of it.

        Our reader is the stricter one in all that differs: it wants a path as target,
        one Host also in HTTP/1.0, one Content-Length, C{chunked} alone, no folded
        lines and no bare LF, all of which h11 takes in more forms.
        """
        read = _read([data])
        if isinstance(read[0] if read else None, Request):
            request = read[0]
            assert isinstance(request, Request)
            method, target, headers, body = _oracle(data)
            self.assertEqual((request.method, request.target), (method, target))
            self.assertEqual(list(request.headers), headers)
            self.assertEqual(request.body or b"", body)

    def test_oracle_on_the_table(self) -> None:
        """
        h11 accepts every good request of the table, and reads the same out of it.
        """
        for name, data, _values in _GOOD:
            (request,) = _read([data])
            assert isinstance(request, Request)
            method, target, headers, body = _oracle(data)
            self.assertEqual(
                (method, target, body),
                (request.method, request.target, request.body or b""),
                name,
            )
            # h11 writes a coding in lower case.
            self.assertEqual(
                [(n, v.lower()) for n, v in headers],
                [(n, v.lower()) for n, v in request.headers],
                name,
            )


def _respond(
    pieces: Iterable[bytes], head_request: bool = False, closed: bool = False
) -> list[ResponseEvent]:
    """
    Feed a response reader; pieces of the body are joined.
    """
    reader = ResponseReader(head_request)
    events: list[ResponseEvent] = []
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
                events[-1] += event
            else:
                events.append(event)
    return events + (reader.close() if closed else [])


def _response(
    *lines: bytes, body: bytes = b"", status: bytes = b"200 OK", version: bytes = b"1.1"
) -> bytes:
    """
    Write a response.
    """
    return b"\r\n".join([b"HTTP/" + version + b" " + status, *lines, b"", body])


_LENGTH_2 = b"Content-Length: 2"
_CHUNKS = b"Transfer-Encoding: chunked"

#: Responses: name, bytes, whether to HEAD, whether closed after it, body, reusable.
_RELAYED: list[tuple[str, bytes, bool, bool, bytes, bool]] = [
    ("length", _response(_LENGTH_2, body=b"ok"), False, False, b"ok", True),
    ("empty", _response(b"Content-Length: 0"), False, False, b"", True),
    (
        "chunks",
        _response(_CHUNKS, body=b"1\r\no\r\n1;x\r\nk\r\n0\r\nT: t\r\n\r\n"),
        False,
        False,
        b"ok",
        True,
    ),
    ("until close", _response(body=b"ok"), False, True, b"ok", False),
    ("until close, empty", _response(), False, True, b"", False),
    (
        "close and a tab",
        _response(_LENGTH_2, b"Connection: close\t", body=b"ok"),
        False,
        False,
        b"ok",
        False,
    ),
    (
        "close",
        _response(_LENGTH_2, b"Connection: close", body=b"ok"),
        False,
        False,
        b"ok",
        False,
    ),
    (
        "1.0",
        _response(_LENGTH_2, body=b"ok", version=b"1.0"),
        False,
        False,
        b"ok",
        False,
    ),
    (
        "1.0 kept",
        _response(_LENGTH_2, b"Connection: keep-alive", body=b"ok", version=b"1.0"),
        False,
        False,
        b"ok",
        True,
    ),
    ("head", _response(_LENGTH_2), True, False, b"", False),
    ("head, chunks", _response(_CHUNKS), True, False, b"", False),
    (
        "empty line behind",
        _response(_LENGTH_2, body=b"ok\r\n"),
        False,
        False,
        b"ok",
        False,
    ),
    ("line end behind", _response(_LENGTH_2, body=b"ok\n"), False, False, b"ok", False),
    (
        "empty line behind chunks",
        _response(_CHUNKS, body=b"1\r\nZ\r\n0\r\n\r\n\r\n"),
        False,
        False,
        b"Z",
        False,
    ),
    (
        "line end behind a trailer",
        _response(_CHUNKS, body=b"1\r\nZ\r\n0\r\nA: b\r\n\r\n\n"),
        False,
        False,
        b"Z",
        False,
    ),
    (
        "head, chunks in it",
        _response(_CHUNKS, body=b"0\r\n\r\n"),
        True,
        False,
        b"",
        False,
    ),
    ("head, body", _response(_LENGTH_2, body=b"ok"), True, False, b"", False),
    ("204", _response(status=b"204 No Content"), False, False, b"", False),
    ("304", _response(_LENGTH_2, status=b"304 X"), False, False, b"", False),
    (
        "204, body",
        _response(_LENGTH_2, body=b"ok", status=b"204 X"),
        False,
        False,
        b"",
        False,
    ),
    (
        "304, body",
        _response(_LENGTH_2, body=b"ok", status=b"304 X"),
        False,
        False,
        b"",
        False,
    ),
    ("excess", _response(_LENGTH_2, body=b"okEXTRA"), False, False, b"ok", False),
    (
        "second response",
        _response(_LENGTH_2, body=b"ok" + _response(_LENGTH_2, body=b"no")),
        False,
        False,
        b"ok",
        False,
    ),
    (
        "excess after chunks",
        _response(_CHUNKS, body=b"2\r\nok\r\n0\r\n\r\nHTTP/1.1"),
        False,
        False,
        b"ok",
        False,
    ),
    (
        "excess after close",
        _response(_LENGTH_2, b"Connection: close", body=b"okX"),
        False,
        False,
        b"ok",
        False,
    ),
    (
        "interim",
        _response(status=b"100 Continue")
        + _response(b"Link: a", status=b"103 X")
        + _response(_LENGTH_2, body=b"ok"),
        False,
        False,
        b"ok",
        True,
    ),
    (
        "no phrase",
        _response(_LENGTH_2, body=b"ok", status=b"200"),
        False,
        False,
        b"ok",
        True,
    ),
]

#: What no response may be: name, bytes.
_BROKEN: list[tuple[str, bytes]] = [
    ("garbage", b"garbage\r\n\r\n"),
    ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("http/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
    ("http/0.9", b"<html>"),
    ("rtsp", b"RTSP" + _response(_LENGTH_2, body=b"ok")[4:]),
    ("ice", b"ICE" + _response(_LENGTH_2, body=b"ok")[4:]),
    ("empty line first", b"\r\n" + _response(_LENGTH_2, body=b"ok")),
    ("line end first", b"\n" + _response(_LENGTH_2, body=b"ok")),
    (
        "empty line behind an interim response",
        _response(status=b"100 Continue") + b"\r\n" + _response(_LENGTH_2, body=b"ok"),
    ),
    (
        "body of an interim response",
        _response(_LENGTH_2, body=b"no", status=b"100 Continue")
        + _response(_LENGTH_2, body=b"ok"),
    ),
    ("version", _response(_LENGTH_2, body=b"ok", version=b"2.0")),
    ("status 99", _response(_LENGTH_2, body=b"ok", status=b"099 X")),
    ("status 600", _response(_LENGTH_2, body=b"ok", status=b"600 X")),
    ("long status", _response(_LENGTH_2, body=b"ok", status=b"2000 X")),
    ("switching", _response(b"Upgrade: x", b"Connection: upgrade", status=b"101 X")),
    ("two lengths", _response(_LENGTH_2, b"Content-Length: 3", body=b"oka")),
    ("equal lengths", _response(_LENGTH_2, _LENGTH_2, body=b"ok")),
    ("length list", _response(b"Content-Length: 2, 2", body=b"ok")),
    ("negative length", _response(b"Content-Length: -2", body=b"ok")),
    ("empty length", _response(b"Content-Length:", body=b"ok")),
    ("length and chunks", _response(_LENGTH_2, _CHUNKS, body=b"0\r\n\r\n")),
    ("chunks and length", _response(_CHUNKS, _LENGTH_2, body=b"0\r\n\r\n")),
    ("chunks twice", _response(b"Transfer-Encoding: chunked, chunked")),
    ("gzip", _response(b"Transfer-Encoding: gzip")),
    ("gzip and chunks", _response(b"Transfer-Encoding: gzip, chunked")),
    ("chunks in 1.0", _response(_CHUNKS, body=b"0\r\n\r\n", version=b"1.0")),
    ("bad chunk", _response(_CHUNKS, body=b"xyz\r\n")),
    ("bad end of chunk", _response(_CHUNKS, body=b"1\r\nab\r\n")),
    ("huge chunk", _response(_CHUNKS, body=b"10000000000000001\r\n")),
    ("bare lf", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("folded", _response(b"A: b", b" c", _LENGTH_2, body=b"ok")),
    ("nul in a value", _response(b"A: b\x00c", _LENGTH_2, body=b"ok")),
    ("cr in a value", _response(b"A: b\rSet-Cookie: c", _LENGTH_2, body=b"ok")),
    ("escape in a value", _response(b"A: b\x1bc", _LENGTH_2, body=b"ok")),
    ("space in a name", _response(b"A : b", _LENGTH_2, body=b"ok")),
    ("escape in the phrase", _response(_LENGTH_2, body=b"ok", status=b"200 \x1b")),
    ("too many fields", _response(*[b"a: b"] * 201, _LENGTH_2, body=b"ok")),
    (
        "length in an interim response",
        _response(_LENGTH_2, status=b"100 X", body=b"ok"),
    ),
    ("chunks in an interim response", _response(_CHUNKS, status=b"103 X")),
]


class ResponseReaderTests(SynchronousTestCase):
    """
    Tests for L{ResponseReader}.
    """

    def test_relayed(self) -> None:
        """
        Each of these is one response with this body; the connection is kept or not.
        """
        for name, data, head_request, closed, body, reusable in _RELAYED:
            events = _respond([data], head_request, closed)
            self.assertIsInstance(events[0], ResponseHead, name)
            self.assertEqual(
                events[1:], [*([body] if body else []), End(reusable)], name
            )

    def test_relayed_byte_by_byte(self) -> None:
        """
        Cutting changes nothing but that bytes too many are seen later, as a fault.
        """
        for name, data, head_request, closed, _body, _reusable in _RELAYED:
            whole = _respond([data], head_request, closed)
            reader = ResponseReader(head_request)
            events: list[ResponseEvent] = []
            fault = False
            for piece in _bytewise(data):
                try:
                    events += reader.feed(piece)
                except BadResponse:
                    fault = True
                    break
            events += reader.close() if closed else []
            self.assertEqual(events[0], whole[0], name)
            self.assertEqual(
                b"".join(each for each in events if isinstance(each, bytes)),
                b"".join(each for each in whole if isinstance(each, bytes)),
                name,
            )
            self.assertEqual(
                whole[-1], End(events[-1] == End(True) and not fault), name
            )

    def test_broken(self) -> None:
        """
        None of these reaches an instance, whole or byte by byte.
        """
        for name, data in _BROKEN:
            for pieces in ([data], _bytewise(data)):
                with self.assertRaises(BadResponse, msg=name):
                    _respond(pieces, closed=True)

    def test_coding_that_is_not_seen(self) -> None:
        """
        Where the C parser sees no chunks, for a tab, their framing is not handed on.
        """
        for coding in (b"chunked\t", b"chunked \t"):
            head = _response(b"Transfer-Encoding: " + coding)
            self.assertRaises(BadResponse, ResponseReader().feed, head)

    def test_head(self) -> None:
        """
        The head holds status, phrase, what concerns the instance, and the length.
        """
        data = _response(b"Content-Length: 2", b"X-a:\t b ", status=b"404 N\xe9")
        self.assertEqual(
            _respond([data]),
            [
                ResponseHead(404, b"N\xe9", b"X-a: b\r\n", 2),
            ],
        )
        for data in (_response(_CHUNKS), _response()):
            (head,) = _respond([data])
            assert isinstance(head, ResponseHead)
            self.assertIsNone(head.length)

    def test_cut_off(self) -> None:
        """
        A response that the connection's end cuts short is a fault.
        """
        for data in (
            b"",
            b"HTTP/1.1 200 OK\r\n",
            _response(_LENGTH_2),
            _response(_LENGTH_2, body=b"o"),
            _response(_CHUNKS, body=b"2\r\nok\r\n"),
            _response(_CHUNKS, body=b"2\r\nok\r\n0\r\n"),
            _response(status=b"100 Continue"),
        ):
            self.assertRaises(BadResponse, _respond, [data], closed=True)

    def test_interim_flood(self) -> None:
        """
        Interim responses come to an end.
        """
        data = _response(status=b"100 Continue") * 9
        self.assertRaises(BadResponse, _respond, [data])

    def test_head_is_bounded(self) -> None:
        """
        A head of a mebibyte is refused, whether it comes at once or in pieces.
        """
        huge = _response(b"A: " + b"a" * (1 << 20), _LENGTH_2, body=b"ok")
        interim = _response(b"A: " + b"a" * 30000, status=b"103 X") * 3
        for data in (huge, interim, b"HTTP/1.1 200 " + b"a" * (1 << 20)):
            for size in (1000, len(data)):
                pieces = [data[i : i + size] for i in range(0, len(data), size)]
                self.assertRaises(BadResponse, _respond, pieces)

    def test_bytes_after_the_end(self) -> None:
        """
        Whatever comes after the response is a fault.
        """
        reader = ResponseReader()
        self.assertEqual(
            reader.feed(_response(_LENGTH_2, body=b"ok"))[1:], [b"ok", End(True)]
        )
        self.assertRaises(BadResponse, reader.feed, b"\r\n")

    @settings(deadline=None)
    @given(
        st.sampled_from([each for each in _RELAYED if each[-1]]),
        st.binary(max_size=30),
        _places,
    )
    def test_cut_anywhere(
        self,
        row: tuple[str, bytes, bool, bool, bytes, bool],
        inserted: bytes,
        places: list[int],
    ) -> None:
        """
        However a good response is cut, its parts are the same.
        """
        _name, data, head_request, closed, _body, _reusable = row
        value = b"X: " + bytes(b for b in inserted if b >= 32 and b != 127) + b"\r\n"
        data = data.replace(b"\r\n", b"\r\n" + value, 1)
        self.assertEqual(
            _respond(_cut(data, places), head_request, closed),
            _respond([data], head_request, closed),
        )

    @settings(deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=60),
            st.tuples(
                st.sampled_from([data for _name, data in _BROKEN])
                | st.sampled_from([row[1] for row in _RELAYED]),
                st.integers(0, 60),
                st.binary(max_size=4),
            ).map(lambda t: t[0][: t[1]] + t[2] + t[0][t[1] :]),
        ),
        _places,
        st.booleans(),
    )
    def test_any_bytes(self, data: bytes, places: list[int], head: bool) -> None:
        """
        Any bytes give a head, then a body, then an end, or the one documented error.
        """
        reader = ResponseReader(head)
        events: list[ResponseEvent] = []
        try:
            for piece in _cut(data, places):
                events += reader.feed(piece)
            events += reader.close()
        except BadResponse:
            pass
        for at, event in enumerate(events):
            self.assertEqual(isinstance(event, ResponseHead), at == 0)
            if isinstance(event, End):
                self.assertEqual(at, len(events) - 1)
