"""
Requests as the grammar has them (RFC 9112), and requests as nobody should send them.

L{conversations} makes well-formed ones of every kind, allowed here or not; L{hostile}
breaks them: at any place, in all the ways by which two servers have been made to
disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from hypothesis import strategies as st

_METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT")
_OTHER_METHODS: Final = (b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"get", b"M-X")

#: What stands in paths that some server reads in its own way.
_SEGMENTS: Final = (
    *(b"openstack", b"latest", b"meta_data.json", b"2018-08-27", b"user_data", b""),
    *(b"..", b".", b"%2e%2e", b"%252e", b"%2f", b"%00", b"%0d%0a", b"%c3%a9", b"%zz"),
    *(
        b";a=b",
        b"..;",
        b"a:b@c",
        b"*",
        b"a,b",
        b"~",
        b"'()",
        b"|{}",
        b"\\..\\",
        b"a%20b",
    ),
)
_QUERIES: Final = (
    b"",
    b"",
    b"",
    b"?",
    b"?a=b&c=%0d%0aX-A:1",
    b"?/../",
    b"??",
    b"?a[]=1",
)
_OTHER_TARGETS: Final = (
    *(b"*", b"http://169.254.169.254/", b"https://x@y:80/", b"a:80", b"//x/y", b"/#f"),
    *(b"/\xc3\xa9", b"http:/x", b"/a\tb"),
)

#: What says who asks, where, and how the message is framed.
_LOUD: Final = (
    *(b"X-Instance-ID", b"X-Tenant-ID", b"X-Forwarded-For", b"X-Instance-ID-Signature"),
    *(b"X-Metadata-Provider", b"Forwarded", b"Host", b"Content-Length", b"Cookie"),
    *(b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade", b"Trailer", b"TE"),
)
_QUIET: Final = (
    *(b"Accept", b"User-Agent", b"Accept-Encoding", b"If-None-Match", b"Range", b"A"),
    *(b"Content-Type", b"Cache-Control", b"x-aws-ec2-metadata-token"),
)
_VALUES: Final = (
    *(b"*/*", b"curl/7.88.1", b"", b"a, b", b'"q\\"uoted"', b"chunked", b"0", b"5"),
    *(b"close", b"keep-alive", b"x, close", b"100-continue", b"h2c", b"bytes=0-1,-5"),
    *(b"10.0.0.9", b"\xe9\xff", b"a\tb", b"identity", b"evil.example:80", b"x" * 1025),
)
_SPACE: Final = (b" ", b" ", b" ", b"", b"\t", b"  \t ")

#: What is put in, or put in another's place.
_SPOKES: Final = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b"\x0b",
        b"\x85",
        b"\xa0",
    ),
    *(
        b"\r\n ",
        b"\r\n\t",
        b"\n\n",
        b":",
        b": ",
        b",",
        b";",
        b"_",
        b"-",
        b"0",
        b"9" * 20,
    ),
    *(b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked", b"\r\nHost: b"),
    *(b"\r\nContent_Length: 5", b"\r\nX_Instance_ID: e", b"\nX-Tenant-ID: e\n"),
    *(b"0\r\n\r\n", b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n", b"\xef\xbb\xbf", b"\x7f"),
    *(b';a="\n"', b';a="b\\"c"', b"0x", b"+", b"%", b"#", b"\xff", b"HTTP/1.1", b'"'),
)


def _sometimes(
    usual: st.SearchStrategy[bytes], other: st.SearchStrategy[bytes], one_in: int
) -> st.SearchStrategy[bytes]:
    """
    Choose the other now and then.
    """
    return st.integers(1, one_in).flatmap(lambda n: other if n == one_in else usual)


_paths = st.builds(
    lambda parts, query: b"/" + b"/".join(parts) + query,
    st.lists(st.sampled_from(_SEGMENTS), max_size=4),
    st.sampled_from(_QUERIES),
)
_targets = _sometimes(_paths, st.sampled_from(_OTHER_TARGETS), 20)
_methods = _sometimes(st.sampled_from(_METHODS), st.sampled_from(_OTHER_METHODS), 20)
_versions = _sometimes(
    st.just(b"HTTP/1.1"),
    st.sampled_from((b"HTTP/1.0", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1")),
    8,
)
_hosts = st.sampled_from(
    (b"Host: 169.254.169.254", b"host:a", b"HOST:\t[fe80::a9fe:a9fe]:80 ", b"Host: ")
)


@st.composite
def _spelt(draw: st.DrawFn, name: bytes) -> bytes:
    """
    Spell a name in some way.
    """
    way = draw(st.sampled_from((bytes.lower, bytes.upper, bytes.swapcase, bytes.title)))
    return draw(st.sampled_from((name, way(name), name.replace(b"-", b"_"))))


@st.composite
def _fields(draw: st.DrawFn) -> bytes:
    """
    Make a field that frames nothing.
    """
    spelt = draw(st.sampled_from(_QUIET + _LOUD[:5]).flatmap(_spelt))
    before, after = draw(st.sampled_from(_SPACE)), draw(st.sampled_from(_SPACE))
    return b"%b:%b%b%b" % (spelt, before, draw(st.sampled_from(_VALUES)), after)


_loud_fields = st.builds(
    b"%b: %b".__mod__, st.tuples(st.sampled_from(_LOUD), st.sampled_from(_VALUES))
)
_connections = st.sampled_from(
    (
        *(
            b"Connection: keep-alive",
            b"Connection: close",
            b"connection: TE, x-tenant-id",
        ),
        *(b"Connection: Upgrade\r\nUpgrade: h2c", b"Expect: 100-continue"),
    )
)


@st.composite
def _chunks(draw: st.DrawFn) -> bytes:
    """
    Make a chunked body, with extensions and trailers.
    """
    sizes = st.sampled_from((b"%x", b"%X", b"0%x", b"00000%X"))
    extensions = st.sampled_from((b"", b"", b";a", b";a=b", b';a="b c"', b";a;b=c"))
    body = b""
    for chunk in draw(
        st.lists(st.sampled_from((b"a", b"\r\n", b"0" * 17)), max_size=3)
    ):
        size = draw(sizes) % len(chunk)
        body += b"%b%b\r\n%b\r\n" % (size, draw(extensions), chunk)
    body += draw(st.sampled_from((b"0", b"0", b"000"))) + draw(extensions) + b"\r\n"
    for trailer in draw(st.lists(_fields(), max_size=2)):
        body += trailer + b"\r\n"
    return body + b"\r\n"


@st.composite
def _framings(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """
    Make framing fields and the body they frame.
    """
    kind = draw(st.sampled_from(("none", "none", "length", "chunked")))
    if kind == "none":
        return [], b""
    if kind == "length":
        body = draw(st.sampled_from((b"", b"ok", b"\r\n\r\n", b"GET / HTTP/1.1\r\n")))
        zeros = draw(st.sampled_from((b"", b"", b"00")))
        return [b"Content-Length: %b%d" % (zeros, len(body))], body
    coding = draw(st.sampled_from((b"chunked", b"Chunked", b"chunked ", b"chunked\t")))
    return [b"Transfer-Encoding: " + coding], draw(_chunks())


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """
    Make one request.
    """
    line = b" ".join((draw(_methods), draw(_targets), draw(_versions)))
    framing, body = draw(_framings())
    fields = [draw(_hosts), *framing, *draw(st.lists(_fields(), max_size=4))]
    fields += draw(_sometimes_one(_connections, 3))
    fields += draw(_sometimes_one(_loud_fields, 6))
    fields = draw(st.permutations(fields))
    return b"".join(each + b"\r\n" for each in (line, *fields, b"")) + body


def _sometimes_one(
    strategy: st.SearchStrategy[bytes], one_in: int
) -> st.SearchStrategy[list[bytes]]:
    """
    Make one of these now and then, none otherwise.
    """
    return st.integers(1, one_in).flatmap(
        lambda n: strategy.map(lambda each: [each]) if n == one_in else st.just([])
    )


def _joined(parts: Sequence[bytes], between: bytes) -> bytes:
    """
    Put requests behind each other.
    """
    return between.join(parts)


#: What one instance sends on one connection.
conversations = st.builds(
    _joined,
    st.lists(requests(), min_size=1, max_size=3),
    st.sampled_from((b"", b"", b"", b"\r\n")),
)

Mutation = Callable[[bytes], bytes]


@st.composite
def _mutations(draw: st.DrawFn) -> Mutation:
    """
    Make one way to break some bytes.
    """
    place, span = draw(st.integers(0, 1 << 12)), draw(st.integers(1, 24))
    spoke = draw(st.sampled_from(_SPOKES))
    kind = draw(st.sampled_from(tuple(_WAYS)))
    return lambda data: _WAYS[kind](data, place % (len(data) + 1), span, spoke)


def _at_line_end(data: bytes, place: int) -> int:
    """
    Find the line end at or before a place: most of what matters happens there.
    """
    return max(data.rfind(b"\r\n", 0, place + 2), 0)


def _twice(data: bytes, place: int, _span: int, _spoke: bytes) -> bytes:
    """
    Repeat a line.
    """
    lines = data.split(b"\r\n")
    at = data.count(b"\r\n", 0, place) % len(lines)
    return b"\r\n".join((*lines[: at + 1], *lines[at:]))


def _without(data: bytes, place: int, _span: int, _spoke: bytes) -> bytes:
    """
    Leave a line out.
    """
    lines = data.split(b"\r\n")
    at = data.count(b"\r\n", 0, place) % len(lines)
    return b"\r\n".join((*lines[:at], *lines[at + 1 :]))


_WAYS: Final[dict[str, Callable[[bytes, int, int, bytes], bytes]]] = {
    "flip": lambda d, p, n, _s: (
        d[:p] + bytes(b ^ 1 << n % 8 for b in d[p : p + 1]) + d[p + 1 :]
    ),
    "insert": lambda d, p, _n, s: d[:p] + s + d[p:],
    "insert at a line's end": lambda d, p, _n, s: (
        d[: _at_line_end(d, p)] + s + d[_at_line_end(d, p) :]
    ),
    "insert behind a line's end": lambda d, p, _n, s: (
        d[: _at_line_end(d, p) + 2] + s + d[_at_line_end(d, p) + 2 :]
    ),
    "end a line otherwise": lambda d, p, _n, s: (
        d[: _at_line_end(d, p)] + s + d[_at_line_end(d, p) + 2 :]
    ),
    "insert behind a colon": lambda d, p, _n, s: (
        d[: d.find(b":", p) + 1] + s + d[d.find(b":", p) + 1 :]
    ),
    "insert before a colon": lambda d, p, _n, s: (
        d[: max(d.find(b":", p), 0)] + s + d[max(d.find(b":", p), 0) :]
    ),
    "replace": lambda d, p, n, s: d[:p] + s + d[p + n :],
    "delete": lambda d, p, n, _s: d[:p] + d[p + n :],
    "delete one": lambda d, p, _n, _s: d[:p] + d[p + 1 :],
    "double": lambda d, p, n, _s: d[: p + n] + d[p:],
    "double one": lambda d, p, _n, _s: d[: p + 1] + d[p:],
    "truncate": lambda d, p, _n, _s: d[:p],
    "swap case": lambda d, p, n, _s: d[:p] + d[p : p + n].swapcase() + d[p + n :],
    "underscores": lambda d, p, n, _s: (
        d[:p] + d[p : p + n].replace(b"-", b"_") + d[p + n :]
    ),
    "another digit": lambda d, p, n, _s: (
        d[:p] + d[p:].replace(b"%d" % (n % 10), b"%d" % (n // 2), 1)
    ),
    "a line twice": _twice,
    "a line less": _without,
}


def _broken(data: bytes, ways: Sequence[Mutation]) -> bytes:
    """
    Break bytes in some ways, one after the other.
    """
    for way in ways:
        data = way(data)
    return data


#: The same, broken in up to three ways.
hostile = st.builds(_broken, conversations, st.lists(_mutations(), max_size=3))

#: The same request with another line, other fields, or more behind it.
variants = st.builds(_broken, requests(), st.lists(_mutations(), max_size=1))

#: Where to cut; numbers beyond the end wrap around.
places = st.lists(st.integers(0, 1 << 12), max_size=6)

_STATUS_LINES: Final = (
    *(
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 404 Not Found",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 200",
    ),
    *(b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 500 \xe9 x"),
    *(
        b"HTTP/1.1 101 Switching",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.1 99 x",
        b"HTTP/1.1 600 x",
    ),
)
_RESPONSE_FIELDS: Final = (
    *(
        b"Content-Type: text/plain",
        b"X-A:\t b ",
        b"Connection: close",
        b"Date:",
        b"B: \xe9",
    ),
    *(b"Connection: keep-alive, X-A", b"Transfer-Encoding: gzip", b"Content-Length: 3"),
    *(b"Upgrade: h2c", b"Keep-Alive: timeout=5", b"Set-Cookie: a=1", b"Trailer: x"),
)


@st.composite
def _responses(draw: st.DrawFn) -> bytes:
    """
    Make a response, perhaps with interim ones before it.
    """
    interim = draw(
        st.sampled_from(
            (
                b"",
                b"",
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 103 E\r\nA: b\r\n\r\n",
            )
        )
    )
    framing, body = draw(_framings())
    some = st.lists(st.sampled_from(_RESPONSE_FIELDS), max_size=3)
    fields = draw(st.permutations([*framing, *draw(some)]))
    line = draw(st.sampled_from(_STATUS_LINES[:4]) | st.sampled_from(_STATUS_LINES))
    return interim + b"".join(each + b"\r\n" for each in (line, *fields, b"")) + body


#: What Nova, or what is in its place, sends on one connection.
responses = st.builds(_broken, _responses(), st.lists(_mutations(), max_size=2))
