"""
Hostile answers of Nova, as data: raw bytes, and the right outcome.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen


class Outcome(Enum):
    """
    What has to become of an answer.
    """

    #: The instance gets it as Nova meant it, and the connection is used again.
    RELAYED = "relayed"
    #: The instance gets it as Nova meant it; the connection is never used again.
    LAST = "relayed, connection not used again"
    #: The instance gets nothing of it, but an error of the proxy's own.
    REFUSED = "refused"
    #: As far as its head goes it can be relayed, so that a part of it may have reached
    #: the instance before the fault was seen: an error of the proxy's own, or a
    #: beginning that is broken off, and never a whole answer.
    CUT = "refused or cut off"


class Ending(Enum):
    """
    What Nova does after its last byte.
    """

    #: It waits for the next request.
    KEPT = "kept"
    #: It closes the connection in order.
    CLOSED = "closed"
    #: It resets the connection.
    RESET = "reset"


#: Stands in each head for something that tells runs apart: where it is replaced, nobody
#: has ever seen that head.
_RUN = b"X-Run: 0"


@frozen
class Case:
    """
    One answer.

    @ivar name: What the case is called.
    @ivar outcome: What has to become of it.
    @ivar raw: What Nova sends when it is asked.
    @ivar method: What it is asked with.
    @ivar body: The body that the instance has to get, where it gets the answer.
    @ivar status: The status of the answer; of the proxy's own error if it is refused.
    @ivar fields: The fields that the instance has to get beside C{X-Run}.
    @ivar ending: What Nova does next.
    @ivar later: What Nova sends next, after the answer is through.
    """

    name: str
    outcome: Outcome
    raw: bytes
    method: bytes = b"GET"
    body: bytes = b"ok"
    status: int = 200
    fields: tuple[tuple[bytes, bytes], ...] = ()
    ending: Ending = Ending.KEPT
    later: bytes = b""

    @property
    def relayed(self) -> bool:
        """
        Whether the instance gets the answer.
        """
        return self.outcome not in (Outcome.REFUSED, Outcome.CUT)

    @property
    def head(self) -> bytes:
        """
        The answer up to its first empty line; nothing where it has none.
        """
        head, end, _ = self.raw.partition(b"\r\n\r\n")
        return head + end if end else b""

    def in_run(self, number: int) -> bytes:
        """
        Write the answer with a head that no other run has.
        """
        return self.raw.replace(_RUN, b"X-Run: %d" % number, 1)


def _answer(
    *lines: bytes, body: bytes = b"", status: bytes = b"200 OK", version: bytes = b"1.1"
) -> bytes:
    """
    Write an answer.
    """
    return b"\r\n".join(
        [b"HTTP/" + version + b" " + status, _RUN, *lines, b"", b""]
    ) + (body)


#: What has no body only because of its method or status is the last on its connection:
#: a body that came all the same, and late, would begin the next instance's answer.
_BODILESS = Outcome.LAST

_TWO = b"Content-Length: 2"
_CHUNKED = b"Transfer-Encoding: chunked"
_OK = _answer(_TWO, body=b"ok")
_NO = _answer(_TWO, body=b"no")
_END = b"0\r\n\r\n"


def _relayed() -> list[Case]:
    """
    List answers that are unusual and good.
    """
    good = Outcome.RELAYED
    return [
        Case("length", good, _OK),
        Case("empty", good, _answer(b"Content-Length: 0"), body=b""),
        Case("zeros before the length", good, _answer(b"Content-Length: 002") + b"ok"),
        Case("space around the length", good, _answer(b"Content-Length: \t2 ") + b"ok"),
        Case("no space after the colon", good, _answer(b"Content-Length:2") + b"ok"),
        Case("other case", good, _answer(b"cOnTeNt-LeNgTh: 2", body=b"ok")),
        Case("chunks", good, _answer(_CHUNKED, body=b"1\r\no\r\n1\r\nk\r\n" + _END)),
        Case("no chunks", good, _answer(_CHUNKED, body=_END), body=b""),
        Case(
            "coding in other case",
            good,
            _answer(b"transfer-encoding: CHUNKED", body=b"2\r\nok\r\n" + _END),
        ),
        Case(
            "zeros before a chunk's size",
            good,
            _answer(_CHUNKED, body=b"0002\r\nok\r\n000\r\n\r\n"),
        ),
        Case(
            "hexadecimal chunk sizes",
            good,
            _answer(_CHUNKED, body=b"A\r\n0123456789\r\nb\r\nabcdefghijk\r\n" + _END),
            body=b"0123456789abcdefghijk",
        ),
        Case(
            "chunk extension",
            good,
            _answer(_CHUNKED, body=b'2;a=b;c="d"\r\nok\r\n0;x\r\n\r\n'),
        ),
        Case(
            "trailers",
            good,
            _answer(
                _CHUNKED,
                b"Trailer: X-T",
                body=b"2\r\nok\r\n0\r\nX-T: t\r\nSet-Cookie: late\r\n\r\n",
            ),
        ),
        Case(
            "chunks that look like an end",
            good,
            _answer(_CHUNKED, body=b"5\r\n0\r\n\r\n\r\n" + _END),
            body=_END,
        ),
        Case(
            "body that looks like an answer",
            good,
            _answer(b"Content-Length: %d" % len(_NO), body=_NO),
            body=_NO,
        ),
        Case("no phrase", good, _answer(_TWO, body=b"ok", status=b"200 ")),
        Case("no phrase, no space", good, _answer(_TWO, body=b"ok", status=b"200")),
        Case("odd phrase", good, _answer(_TWO, body=b"ok", status=b"200 \xe9 a\tb  c")),
        Case(
            "kept 1.0",
            good,
            _answer(_TWO, b"Connection: keep-alive", body=b"ok", version=b"1.0"),
        ),
        Case("HEAD", _BODILESS, _answer(_TWO), b"HEAD", b""),
        Case("HEAD, long", _BODILESS, _answer(b"Content-Length: 99999"), b"HEAD", b""),
        Case("HEAD, chunks", _BODILESS, _answer(_CHUNKED), b"HEAD", b""),
        Case("HEAD, no length", Outcome.LAST, _answer(), b"HEAD", b""),
        Case("204", _BODILESS, _answer(status=b"204 X"), body=b"", status=204),
        Case("304", _BODILESS, _answer(status=b"304 X"), body=b"", status=304),
        Case(
            "304 with length",
            _BODILESS,
            _answer(_TWO, status=b"304 X"),
            b"GET",
            b"",
            304,
        ),
        Case(
            "304 with chunks",
            _BODILESS,
            _answer(_CHUNKED, status=b"304 X"),
            b"GET",
            b"",
            304,
        ),
        Case("HEAD 304", _BODILESS, _answer(_TWO, status=b"304 X"), b"HEAD", b"", 304),
        Case("206", good, _answer(_TWO, body=b"ok", status=b"206 X"), status=206),
        Case("302", good, _answer(_TWO, body=b"ok", status=b"302 X"), status=302),
        Case("501", good, _answer(_TWO, body=b"ok", status=b"501 X"), status=501),
        Case("599", good, _answer(_TWO, body=b"ok", status=b"599 X"), status=599),
        Case("100", good, b"HTTP/1.1 100 Continue\r\n\r\n" + _OK),
        Case("102", good, b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" + _OK),
        Case("103", good, b"HTTP/1.1 103 Hints\r\nSet-Cookie: early\r\n\r\n" + _OK),
        Case("eight interim", good, b"HTTP/1.1 100 Continue\r\n\r\n" * 8 + _OK),
        Case(
            "interim to HEAD",
            _BODILESS,
            b"HTTP/1.1 100 C\r\n\r\n" + _answer(_TWO),
            b"HEAD",
            b"",
        ),
        Case(
            "empty values and spaces",
            good,
            _answer(b"X-A:", b"X-B: \t ", b"X-C:\t c  c \t", _TWO, body=b"ok"),
            fields=((b"X-A", b""), (b"X-B", b""), (b"X-C", b"c  c")),
        ),
        Case(
            "every octet that a value may have",
            good,
            _answer(b"X-A: !" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100)))[
                :-2
            ]
            + _TWO
            + b"\r\n\r\nok",
            fields=(
                (b"X-A", b"!" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))),
            ),
        ),
        Case(
            "cookies",
            good,
            _answer(b"Set-Cookie: a=1", b"Set-Cookie: b=2; Path=/", _TWO, body=b"ok"),
            fields=((b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2; Path=/")),
        ),
        Case(
            "hop by hop",
            good,
            _answer(
                b"Keep-Alive: timeout=5",
                b"Proxy-Authenticate: Basic",
                b"Proxy-Connection: keep-alive",
                b"Connection: keep-alive",
                b"TE: trailers",
                b"Trailer: X-T",
                b"Upgrade: h2c",
                b"X-Stays: yes",
                _TWO,
                body=b"ok",
            ),
            fields=((b"X-Stays", b"yes"),),
        ),
        Case(
            "nominated",
            good,
            _answer(
                b"X-One: 1",
                b"Connection: x-one, X-TWO ,,keep-alive",
                b"x-two: 2",
                b"X-Three: 3",
                _TWO,
                body=b"ok",
            ),
            fields=((b"X-Three", b"3"),),
        ),
        Case(
            "nominated twice",
            good,
            _answer(
                b"Connection: X-One",
                b"X-One: 1",
                b"connection: X-Two",
                b"X-Two: 2",
                _TWO,
                body=b"ok",
            ),
        ),
        Case(
            "framing nominated",
            good,
            _answer(b"Connection: Content-Length", _TWO, body=b"ok"),
        ),
        Case(
            "chunks nominated",
            good,
            _answer(
                b"Connection: Transfer-Encoding",
                _CHUNKED,
                body=b"2\r\nok\r\n" + _END,
            ),
        ),
        Case(
            "coded content",
            good,
            _answer(b"Content-Encoding: gzip", _TWO, body=b"\x1f\x8b"),
            body=b"\x1f\x8b",
            fields=((b"Content-Encoding", b"gzip"),),
        ),
        Case(
            "200 fields",
            good,
            _answer(*[b"X-A: b"] * 198, _TWO, body=b"ok"),
            fields=((b"X-A", b"b"),) * 198,
        ),
        Case(
            "head of 60 kB",
            good,
            _answer(b"X-A: " + b"a" * 60_000, _TWO, body=b"ok"),
            fields=((b"X-A", b"a" * 60_000),),
        ),
        *(
            case
            for size in (65535, 65536, 65537)
            for case in (
                Case(
                    f"{size} bytes",
                    good,
                    _answer(b"Content-Length: %d" % size, body=b"x" * size),
                    body=b"x" * size,
                ),
                Case(
                    f"{size} bytes in a chunk",
                    good,
                    _answer(
                        _CHUNKED, body=b"%x\r\n%b\r\n" % (size, b"x" * size) + _END
                    ),
                    body=b"x" * size,
                ),
            )
        ),
        Case(
            "half a megabyte",
            good,
            _answer(b"Content-Length: 524288", body=b"\0\r\n\xff" * 131072),
            body=b"\0\r\n\xff" * 131072,
        ),
    ]


def _last() -> list[Case]:
    """
    List answers that are good, on connections that are not any more.
    """
    last, closed = Outcome.LAST, Ending.CLOSED
    return [
        Case("close", last, _answer(_TWO, b"Connection: close", body=b"ok")),
        Case(
            "close among others", last, _answer(_TWO, b"Connection: x, Close") + b"ok"
        ),
        Case(
            "close, chunks",
            last,
            _answer(_CHUNKED, b"Connection: close") + _END,
            body=b"",
        ),
        Case("1.0", last, _answer(_TWO, body=b"ok", version=b"1.0")),
        Case("until close", last, _answer(body=b"ok"), ending=closed),
        Case("until close, empty", last, _answer(), body=b"", ending=closed),
        Case("until close, 1.0", last, _answer(version=b"1.0") + b"ok", ending=closed),
        Case(
            "until close, like chunks", last, _answer() + _END, body=_END, ending=closed
        ),
        Case(
            "until close, like an answer",
            last,
            _answer() + _NO,
            body=_NO,
            ending=closed,
        ),
        Case(
            "until close, long",
            last,
            _answer() + b"ok" * 90000,
            body=b"ok" * 90000,
            ending=closed,
        ),
        Case("closed after it", last, _OK, ending=closed),
        Case("reset after it", last, _OK, ending=Ending.RESET),
        Case(
            "204, close",
            last,
            _answer(b"Connection: close", status=b"204 X"),
            body=b"",
            status=204,
        ),
        Case("excess", last, _OK + b"EXTRA"),
        Case("one byte too many", last, _OK + b"\0"),
        Case("line end too many", last, _OK + b"\r\n"),
        Case("many line ends too many", last, _OK + b"\r\n" * 9),
        Case("line feed too many", last, _OK + b"\n"),
        Case("two answers", last, _OK + _NO),
        Case("twice the same answer", last, _OK + _OK),
        Case("many answers", last, _OK + _NO * 20),
        Case("answer and interim", last, _OK + b"HTTP/1.1 100 Continue\r\n\r\n"),
        Case("answer and half of one", last, _OK + _NO[:20]),
        Case("answer and garbage of a line", last, _OK + b"garbage\r\n\r\n"),
        Case("empty and excess", last, _answer(b"Content-Length: 0") + b"no", body=b""),
        Case(
            "empty and an answer", last, _answer(b"Content-Length: 0") + _NO, body=b""
        ),
        Case(
            "excess behind chunks",
            last,
            _answer(_CHUNKED) + b"2\r\nok\r\n" + _END + b"X",
        ),
        Case(
            "answer behind chunks",
            last,
            _answer(_CHUNKED) + b"2\r\nok\r\n" + _END + _NO,
        ),
        Case(
            "chunks behind chunks", last, _answer(_CHUNKED) + b"2\r\nok\r\n" + _END * 2
        ),
        Case("chunks behind a body", last, _OK + b"2\r\nno\r\n" + _END),
        Case("excess behind close", last, _answer(_TWO, b"Connection: close") + b"okX"),
        Case(
            "answer behind close",
            last,
            _answer(_TWO, b"Connection: close") + b"ok" + _NO,
        ),
        Case("excess behind 1.0", last, _answer(_TWO, version=b"1.0") + b"okX"),
        Case("answer behind 1.0", last, _answer(_TWO, version=b"1.0") + b"ok" + _NO),
        Case("HEAD with a body", last, _answer(_TWO) + b"ok", b"HEAD", b""),
        Case(
            "HEAD with an end of chunks", last, _answer(_CHUNKED) + _END, b"HEAD", b""
        ),
        Case("line end behind HEAD", last, _answer(_TWO) + b"\r\n", b"HEAD", b""),
        Case(
            "line end behind chunks",
            last,
            _answer(_CHUNKED) + b"2\r\nok\r\n" + _END + b"\r\n",
        ),
        Case(
            "line end behind 304",
            last,
            _answer(status=b"304 X") + b"\r\n",
            body=b"",
            status=304,
        ),
        Case("HEAD with half a body", last, _answer(_TWO) + b"o", b"HEAD", b""),
        Case(
            "HEAD with chunks",
            last,
            _answer(_CHUNKED) + b"2\r\nok\r\n" + _END,
            b"HEAD",
            b"",
        ),
        Case(
            "HEAD with a body of an answer",
            last,
            _answer(b"Content-Length: %d" % len(_NO)) + _NO,
            b"HEAD",
            b"",
        ),
        Case("HEAD with no length and a body", last, _answer() + b"ok", b"HEAD", b""),
        Case(
            "204 with a body",
            last,
            _answer(status=b"204 X") + b"no",
            body=b"",
            status=204,
        ),
        Case(
            "204 with length and body",
            last,
            _answer(_TWO, status=b"204 X") + b"no",
            body=b"",
            status=204,
        ),
        Case(
            "204 with chunks",
            last,
            _answer(_CHUNKED, status=b"204 X") + _END,
            body=b"",
            status=204,
        ),
        Case(
            "204 with an answer",
            last,
            _answer(status=b"204 X") + _NO,
            body=b"",
            status=204,
        ),
        Case(
            "304 with a body",
            last,
            _answer(status=b"304 X") + b"no",
            body=b"",
            status=304,
        ),
        Case(
            "304 with length and body",
            last,
            _answer(_TWO, status=b"304 X") + b"no",
            body=b"",
            status=304,
        ),
        Case(
            "304 with chunks of a body",
            last,
            _answer(_CHUNKED, status=b"304 X") + b"2\r\nno\r\n" + _END,
            body=b"",
            status=304,
        ),
        Case(
            "304 with an answer",
            last,
            _answer(_TWO, status=b"304 X") + _NO,
            body=b"",
            status=304,
        ),
        Case("unsolicited answer", last, _OK, later=_NO),
        Case("unsolicited bytes", last, _OK, later=b"\0"),
        Case("unsolicited line end", last, _OK, later=b"\r\n"),
        Case("unsolicited interim", last, _OK, later=b"HTTP/1.1 100 Continue\r\n\r\n"),
        Case(
            "unsolicited 408",
            last,
            _OK,
            later=_answer(b"Connection: close", b"Content-Length: 0", status=b"408 X"),
        ),
        Case("unsolicited after HEAD", last, _answer(_TWO), b"HEAD", b"", later=b"ok"),
        Case(
            "unsolicited after chunks",
            last,
            _answer(_CHUNKED) + _END,
            body=b"",
            later=_NO,
        ),
        Case(
            "unsolicited after 304",
            last,
            _answer(_TWO, status=b"304 X"),
            b"GET",
            b"",
            304,
            later=b"no",
        ),
    ]


def _refused() -> list[Case]:
    """
    List what is no head.
    """
    refused = Outcome.REFUSED

    def case(name: str, raw: bytes, method: bytes = b"GET") -> Case:
        return Case(name, refused, raw, method, b"", 502)

    def fields(
        name: str,
        *lines: bytes,
        status: bytes = b"200 OK",
        version: bytes = b"1.1",
        body: bytes = b"ok",
    ) -> Case:
        return case(name, _answer(*lines, status=status, version=version, body=body))

    lengths = {
        "two lengths": (_TWO, b"Content-Length: 3"),
        "equal lengths": (_TWO, _TWO),
        "two lengths in other case": (_TWO, b"CONTENT-LENGTH: 2"),
        "list of lengths": (b"Content-Length: 2, 2",),
        "list of different lengths": (b"Content-Length: 2,3",),
        "length with a plus": (b"Content-Length: +2",),
        "length with a minus": (b"Content-Length: -2",),
        "minus nothing": (b"Content-Length: -0",),
        "empty length": (b"Content-Length:",),
        "length of spaces": (b"Content-Length: \t ",),
        "hexadecimal length": (b"Content-Length: 0x2",),
        "length in letters": (b"Content-Length: two",),
        "length with a point": (b"Content-Length: 2.0",),
        "length with an exponent": (b"Content-Length: 2e0",),
        "length with an underscore": (b"Content-Length: 0_2",),
        "length with a space in it": (b"Content-Length: 2 2",),
        "length with a quote": (b'Content-Length: "2"',),
        "length with a semicolon": (b"Content-Length: 2;",),
        "Arabic length": (b"Content-Length: \xd9\xa2",),
        "2^64": (b"Content-Length: 18446744073709551616",),
        "2^64 + 2": (b"Content-Length: 18446744073709551618",),
        "2^63": (b"Content-Length: 9223372036854775808",),
        "endless length": (b"Content-Length: " + b"9" * 400,),
        "length and chunks": (_TWO, _CHUNKED),
        "chunks and length": (_CHUNKED, _TWO),
        "chunks and no length": (_CHUNKED, b"Content-Length: 0"),
        "chunks and bad length": (_CHUNKED, b"Content-Length: x"),
    }
    codings = {
        "chunked twice": b"chunked, chunked",
        "gzip": b"gzip",
        "gzip and chunked": b"gzip, chunked",
        "chunked and gzip": b"chunked, gzip",
        "chunked, identity": b"chunked, identity",
        "identity": b"identity",
        "no coding": b"",
        "coding and comma": b"chunked,",
        "comma and coding": b",chunked",
        "quoted coding": b'"chunked"',
        "coding with a parameter": b"chunked;q=1",
        "coding with a letter more": b"xchunked",
        "coding with a letter less": b"chunke",
        "coding and vertical tab": b"\x0bchunked",
        "coding and no-break space": b"chunked\xa0",
        "coding of spaces": b" \t",
    }
    codings_cases = [
        fields(name, b"Transfer-Encoding: " + value, body=_END)
        for name, value in codings.items()
    ]
    return [
        *(fields(name, *lines) for name, lines in lengths.items()),
        *codings_cases,
        fields("chunked in two fields", _CHUNKED, _CHUNKED, body=_END),
        fields(
            "gzip and chunked in two fields",
            b"Transfer-Encoding: gzip",
            _CHUNKED,
            body=_END,
        ),
        fields("chunks in 1.0", _CHUNKED, version=b"1.0", body=_END),
        fields(
            "chunks in 1.0, kept",
            _CHUNKED,
            b"Connection: keep-alive",
            version=b"1.0",
            body=_END,
        ),
        fields("2.0", _TWO, version=b"2.0"),
        fields("0.9", _TWO, version=b"0.9"),
        fields("1.2", _TWO, version=b"1.2"),
        fields("version of one digit", _TWO, version=b"1"),
        fields("version of three digits", _TWO, version=b"1.10"),
        fields("version of zeros", _TWO, version=b"01.1"),
        fields("99", _TWO, status=b"99 X"),
        fields("099", _TWO, status=b"099 X"),
        fields("000", _TWO, status=b"000 X"),
        fields("600", _TWO, status=b"600 X"),
        fields("999", _TWO, status=b"999 X"),
        fields("2000", _TWO, status=b"2000 X"),
        fields("20", _TWO, status=b"20 X"),
        fields("-200", _TWO, status=b"-200 X"),
        fields("2x0", _TWO, status=b"2x0 X"),
        fields("no status", _TWO, status=b""),
        fields("status in letters", _TWO, status=b"OK 200"),
        fields("two spaces before the status", _TWO, status=b" 200 OK"),
        fields("tab before the status", _TWO, status=b"\t200 OK"),
        fields("tab after the status", _TWO, status=b"200\tOK"),
        fields("escape in the phrase", _TWO, status=b"200 \x1b[2J"),
        fields("NUL in the phrase", _TWO, status=b"200 O\0K"),
        fields("CR in the phrase", _TWO, status=b"200 O\rK"),
        fields("DEL in the phrase", _TWO, status=b"200 O\x7fK"),
        fields("101", b"Upgrade: x", b"Connection: upgrade", status=b"101 X"),
        fields("101 with nothing", status=b"101 X"),
        fields("101 with length", _TWO, status=b"101 X"),
        fields("100 with length", _TWO, status=b"100 X"),
        fields("100 with chunks", _CHUNKED, status=b"100 X", body=_END + _OK),
        fields("100 with a body", status=b"100 X", body=b"ok" + _OK),
        fields("103 with length", _TWO, status=b"103 X", body=b"ok" + _OK),
        case("nine interim", b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + _OK),
        case("flood of interim", b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000),
        case(
            "interim of 70 kB",
            (b"HTTP/1.1 103 X\r\nA: " + b"a" * 30_000 + b"\r\n\r\n") * 3 + _OK,
        ),
        fields("folded", b"A: b", b" c", _TWO),
        fields("folded by a tab", b"A: b", b"\tc", _TWO),
        fields("folded length", b"Content-Length:", b" 2"),
        fields("folded coding", b"Transfer-Encoding:", b" chunked", body=_END),
        fields("folded at once", b" A: b", _TWO),
        case(
            "folded status line",
            b"HTTP/1.1 200 OK\r\n Content-Length: 9\r\nContent-Length: 2\r\n\r\nok",
        ),
        fields("NUL in a value", b"A: b\0c", _TWO),
        fields("CR in a value", b"A: b\rSet-Cookie: c", _TWO),
        fields("CR at the end of a value", b"A: b\r", _TWO),
        fields("LF in a value", b"A: b\nSet-Cookie: c", _TWO),
        fields("escape in a value", b"A: b\x1bc", _TWO),
        fields("DEL in a value", b"A: b\x7fc", _TWO),
        fields("vertical tab in a value", b"A: b\x0bc", _TWO),
        fields("NUL in a name", b"A\0: b", _TWO),
        fields("CR in a name", b"A\rB: b", _TWO),
        fields("octet above 127 in a name", b"A\xe9: b", _TWO),
        fields("space before the colon", b"A : b", _TWO),
        fields("tab before the colon", b"A\t: b", _TWO),
        fields("space before the length's colon", b"Content-Length : 2"),
        fields(
            "space before the coding's colon", b"Transfer-Encoding : chunked", body=_END
        ),
        fields("space in a name", b"A B: c", _TWO),
        fields("no name", b": b", _TWO),
        fields("no colon", b"A", _TWO),
        fields("parenthesis in a name", b"A(B): c", _TWO),
        case("LF for line ends", _OK.replace(b"\r\n", b"\n")),
        case("LF after the status line", _OK.replace(b"\r\n", b"\n", 1)),
        case("LF after a field", _OK.replace(b": 2\r\n", b": 2\n")),
        case("LF before the body", _OK.replace(b"\r\n\r\n", b"\r\n\n")),
        case("CR before the body", _OK.replace(b"\r\n\r\n", b"\r\n\r")),
        case("CR for line ends", _OK.replace(b"\r\n", b"\r")),
        case("two CR before LF", _OK.replace(b"\r\n", b"\r\r\n", 1)),
        case("lower case", _OK.replace(b"HTTP", b"http")),
        case("space before the version", b" " + _OK),
        case("space in the version", _OK.replace(b"/1.1", b"/ 1.1")),
        case("no slash", _OK.replace(b"/", b"", 1)),
        case("RTSP", _OK.replace(b"HTTP", b"RTSP")),
        case("ICE", _OK.replace(b"HTTP", b"ICE")),
        case(
            "RTSP behind interim",
            b"HTTP/1.1 100 X\r\n\r\n" + _OK.replace(b"HTTP", b"RTSP"),
        ),
        case("line end first", b"\r\n" + _OK),
        case("line feed first", b"\n" + _OK),
        case("line ends first", b"\r\n\r\n" + _OK),
        case("line end behind interim", b"HTTP/1.1 100 X\r\n\r\n\r\n" + _OK),
        case("ICY", _OK.replace(b"HTTP/1.1", b"ICY")),
        case("garbage", b"garbage\r\n\r\n"),
        case("page without a head", b"<html>no</html>"),
        case("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        case("TLS alert", b"\x15\x03\x01\x00\x02\x02\x46"),
        case("HTTP/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)),
        case("request", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
        case("NUL first", b"\0" + _OK),
        case("byte order mark", b"\xef\xbb\xbf" + _OK),
        case("chunk first", b"2\r\nok\r\n" + _END + _OK),
        case("excess of an answer first", b"EXTRA" + _OK),
        fields("201 fields", *[b"A: b"] * 200, _TWO),
        fields("field of 1 MiB", b"A: " + b"a" * (1 << 20), _TWO),
        fields("name of 1 MiB", b"a" * (1 << 20) + b": b", _TWO),
        fields("1 MiB of fields", *[b"A: " + b"b" * 9000] * 120, _TWO),
        fields("phrase of 1 MiB", _TWO, status=b"200 " + b"a" * (1 << 20)),
        case("1 MiB of no line", b"HTTP/1.1 200 OK" + b"a" * (1 << 20)),
        fields("1 MiB to HEAD", b"A: " + b"a" * (1 << 20), _TWO, body=b""),
        case("two lengths to HEAD", _answer(_TWO, b"Content-Length: 3"), b"HEAD"),
        case("length and chunks to HEAD", _answer(_TWO, _CHUNKED), b"HEAD"),
        fields(
            "two lengths in 304", _TWO, b"Content-Length: 3", status=b"304 X", body=b""
        ),
        fields("bad length in 204", b"Content-Length: x", status=b"204 X", body=b""),
    ]


def _cut() -> list[Case]:
    """
    List answers that do not come to their end.
    """
    closed, reset = Ending.CLOSED, Ending.RESET
    # So much that nobody keeps it back until it is whole.
    long = b"half" * 50_000
    long_chunk = b"%x\r\n%b\r\n" % (len(long), long)

    def case(name: str, raw: bytes, ending: Ending = Ending.KEPT) -> Case:
        return Case(name, Outcome.CUT, raw, ending=ending, status=502)

    def chunks(name: str, body: bytes, ending: Ending = Ending.KEPT) -> Case:
        return case(name, _answer(_CHUNKED, body=body), ending)

    nine = _answer(b"Content-Length: 9") + b"ok"
    return [
        case("half a body", nine, closed),
        case("half a body, reset", nine, reset),
        case("no body", _answer(_TWO), closed),
        case("no body, reset", _answer(_TWO), reset),
        case(
            "half a body, close",
            _answer(b"Connection: close", b"Content-Length: 9") + b"ok",
            closed,
        ),
        case(
            "half a body, 1.0",
            _answer(b"Content-Length: 9", version=b"1.0") + b"ok",
            closed,
        ),
        case("until reset", _answer() + b"ok", reset),
        case("until reset, 1.0", _answer(version=b"1.0") + b"ok", reset),
        case(
            "largest length",
            _answer(b"Content-Length: 999999999999999") + b"ok",
            closed,
        ),
        *(
            case(
                f"{size} bytes but one, {ending.value}",
                _answer(b"Content-Length: %d" % size, body=b"x" * (size - 1)),
                ending,
            )
            for size in (65535, 65536, 65537)
            for ending in (closed, reset)
        ),
        case("half a long body", _answer(b"Content-Length: 400000") + long, closed),
        case(
            "half a long body, reset", _answer(b"Content-Length: 400000") + long, reset
        ),
        case("long until reset", _answer() + long, reset),
        chunks("long, no last chunk", long_chunk, closed),
        chunks("long, no last chunk, reset", long_chunk, reset),
        chunks("long, then a bad size", long_chunk + b"xyz\r\nok\r\n" + _END),
        chunks("long, then an answer", long_chunk + _NO),
        chunks("no chunk", b"", closed),
        chunks("half a size", b"1", closed),
        chunks("half a line", b"2\r", closed),
        chunks("half a chunk", b"2\r\no", closed),
        chunks("chunk without its line end", b"2\r\nok", closed),
        chunks("no last chunk", b"2\r\nok\r\n", closed),
        chunks("no last chunk, reset", b"2\r\nok\r\n", reset),
        chunks("half a last chunk", b"2\r\nok\r\n0", closed),
        chunks("no end of trailers", b"2\r\nok\r\n0\r\n", closed),
        chunks("half an end of trailers", b"2\r\nok\r\n0\r\n\r", closed),
        chunks("half a trailer", b"2\r\nok\r\n0\r\nA: b", closed),
        chunks("size in letters", b"xyz\r\nok\r\n" + _END),
        chunks("size in hexadecimal C", b"0x2\r\nok\r\n" + _END),
        chunks("size with a plus", b"+2\r\nok\r\n" + _END),
        chunks("size with a minus", b"-2\r\nok\r\n" + _END),
        chunks("no size", b"\r\nok\r\n" + _END),
        chunks("size after a space", b" 2\r\nok\r\n" + _END),
        chunks("size with a point", b"2.0\r\nok\r\n" + _END),
        chunks("size with an underscore", b"0_2\r\nok\r\n" + _END),
        chunks("size of 2^64", b"10000000000000000\r\nok\r\n" + _END),
        chunks("size of 2^64 + 2", b"10000000000000002\r\nok\r\n" + _END),
        chunks("endless size", b"0" * 20 + b"f" * 60 + b"\r\nok\r\n" + _END),
        chunks("NUL behind the size", b"2\0\r\nok\r\n" + _END),
        chunks("chunk too long", b"2\r\noka\r\n" + _END),
        chunks("chunk too short", b"3\r\nok\r\n" + _END),
        chunks("LF behind the size", b"2\nok\r\n" + _END),
        chunks("CR behind the size", b"2\rok\r\n" + _END),
        chunks("LF behind the chunk", b"2\r\nok\n" + _END),
        chunks("LF behind the last chunk", b"2\r\nok\r\n0\n\r\n"),
        chunks("LF behind the trailers", b"2\r\nok\r\n0\r\n\n"),
        chunks("LF in an extension", b"2;a\nb\r\nok\r\n" + _END),
        chunks("NUL in an extension", b"2;a\0\r\nok\r\n" + _END),
        chunks("CR in an extension", b"2;a\rb\r\nok\r\n" + _END),
        chunks("NUL in a trailer", b"2\r\nok\r\n0\r\nA: \0\r\n\r\n"),
        chunks("folded trailer", b"2\r\nok\r\n0\r\nA: b\r\n c\r\n\r\n"),
        chunks("space in a trailer's name", b"2\r\nok\r\n0\r\nA : b\r\n\r\n"),
        chunks("garbage for a trailer", b"2\r\nok\r\n0\r\ngarbage\r\n\r\n"),
        chunks("an answer for a trailer", b"2\r\nok\r\n0\r\n" + _NO),
    ]


def _stopped() -> list[Case]:
    """
    List heads that do not come to their end.
    """
    return [
        Case(
            f"{name}, {ending.value}",
            Outcome.REFUSED,
            raw,
            body=b"",
            status=503,
            ending=ending,
        )
        for name, raw in (
            ("nothing", b""),
            ("one byte", b"H"),
            ("half a version", _OK[:7]),
            ("half a status", _OK[:11]),
            ("half a status line", _OK[:14]),
            ("a status line", _OK[:17]),
            ("half a name", _OK[:20]),
            ("half a head", _OK[: _OK.index(b": 2")]),
            ("all but the empty line", _OK[:-4]),
            ("all but its line feed", _OK[:-3]),
            ("an interim one", b"HTTP/1.1 100 Continue\r\n\r\n"),
            ("half an interim one", b"HTTP/1.1 100 Cont"),
        )
        for ending in (Ending.CLOSED, Ending.RESET)
    ]


CASES = (*_relayed(), *_last(), *_refused(), *_cut(), *_stopped())
