"""
What holds for any bytes, whoever made them up.

Each function takes bytes and raises C{AssertionError} where a promise is broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from attrs import frozen

from mdproxy.headers import IdentityFields, for_nova, host_line
from mdproxy.http import known
from mdproxy.http.parsing import (
    BadRequest,
    RequestBounds,
    RequestReader,
)
from mdproxy.http.responses import (
    BadResponse,
    End,
    ResponseEvent,
    ResponseReader,
)
from mdproxy.model import Request, ResponseHead
from tests.fuzz import oracle

#: The fields that say who asks, as Nova must see them, once each.
IDENTITY: Final = (
    (b"x-forwarded-for", b"10.0.0.5"),
    (b"x-instance-id", b"32d0524b-314d-4594-b3a3-607e3f2354f8"),
    (b"x-tenant-id", b"project-1"),
    (b"x-instance-id-signature", b"6bcbe3885ae7efc49cef35b438efe29c"),
)
_FIELDS: Final = IdentityFields(b"".join(b"%b: %b\r\n" % pair for pair in IDENTITY))
_NOVA: Final = b"nova:8775"

#: What an instance may tell Nova beside its request line and body (the allow-list of
#: the design, written down a second time on purpose).
ALLOWED: Final = frozenset(
    b"accept accept-encoding user-agent content-type range if-match if-none-match"
    b" if-modified-since if-unmodified-since if-range".split()
)

#: What a response says to us alone (RFC 9110 section 7.6.1), framing included.
_OURS: Final = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate te trailer"
    b" transfer-encoding upgrade content-length".split()
)

_BOUNDS: Final = RequestBounds()

#: Any of these ends a line, or a string, for some server.
_LINE_ENDS: Final = re.compile(rb"\r\n|[\r\n\0]")


@frozen
class Verdict:
    """
    What becomes of the bytes of one connection.

    @ivar requests: What is served, in order.
    @ivar status: The status of the refusal behind them; C{None}: more may come, or
        the last request said that none will.
    """

    requests: tuple[Request, ...]
    status: int | None

    @property
    def over(self) -> bool:
        """
        Whether nothing that follows is served.
        """
        last = self.requests[-1:]
        return self.status is not None or (bool(last) and not last[0].keep_alive)


def judge(pieces: Iterable[bytes]) -> Verdict:
    """
    Read until the connection is over, as the channel does: what is known is not read
    again.

    @param pieces: What comes, piece by piece.

    @return: The verdict.
    """
    reader = RequestReader(_BOUNDS)
    served: list[Request] = []
    for piece in pieces:
        whole = None
        if reader.at_boundary:
            whole = known.known_request(piece, _BOUNDS.max_head)
        for each in reader.feed(piece) if whole is None else [whole]:
            if isinstance(each, BadRequest):
                return Verdict(tuple(served), each.status)
            served.append(each)
            if not each.keep_alive:
                # What a client sends behind its last request is thrown away unread.
                return Verdict(tuple(served), None)
    return Verdict(tuple(served), None)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """
    Cut bytes.

    @param data: The bytes.
    @param places: Where; numbers beyond the end wrap around.

    @return: The pieces, none of them empty.
    """
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


def bytewise(data: bytes) -> list[bytes]:
    """
    Cut bytes everywhere: so no head ever comes whole, and none is recognised.

    @param data: The bytes.

    @return: One piece for each.
    """
    return [data[at : at + 1] for at in range(len(data))]


def check_requests(
    data: bytes, places: Sequence[int] = (), earlier: Sequence[bytes] = ()
) -> Verdict:
    """
    Hold the reader of requests to all that it promises.

    @param data: What an instance sends on one connection.
    @param places: Where to cut it.
    @param earlier: What instances sent before, on connections of their own.

    @return: What becomes of it.
    """
    strict = judge(bytewise(data))
    heard = oracle.hear(data)
    check_oracle(strict, heard)
    one_by_one = cut(data, heard.ends)
    forget()
    for before in ((), (*earlier, data, *one_by_one)):
        for piece in before:
            judge([piece])
        for pieces in ([data], cut(data, places), one_by_one):
            verdict = judge(pieces)
            assert verdict == strict, (pieces, before, verdict, strict)
    for request in strict.requests:
        check_wire(request)
    return strict


def forget() -> None:
    """
    Start as cold as a new process.
    """
    known._request.cache_clear()
    known._request_with.cache_clear()
    known._response_with.cache_clear()


def check_oracle(verdict: Verdict, heard: oracle.Hearing) -> None:
    """
    Hold a verdict to what h11 reads in the same bytes.

    @param verdict: Ours.
    @param heard: What h11 hears.
    """
    for at, ours in enumerate(verdict.requests):
        if at == len(heard.requests):
            assert oracle.leniency(heard.fault) is not None, (
                "h11 refuses",
                heard.fault,
                ours,
            )
            return
        theirs = heard.requests[at]
        assert (ours.method, ours.target) == (theirs.method, theirs.target)
        assert _folded(ours.headers) == _folded(theirs.headers), (ours, theirs)
        assert (ours.body or b"") == theirs.body
        assert ours.http_1_0 == (theirs.version == b"1.0")
        # h11 never keeps a connection of HTTP/1.0; RFC 9112 section 9.3 lets us.  And
        # we may close where h11 wouldn't: llhttp heeds a trailer's "Connection: close".
        kept = ours.keep_alive and not ours.http_1_0
        assert theirs.keep_alive or not kept, (ours, theirs)
    more = heard.requests[len(verdict.requests) :]
    # One that h11 has whole and we wait for would hang.  HTTP/2's preface, that begins
    # like a request, is read to its end; then it is refused.
    waits = not more or more[0].method == b"PRI"
    assert verdict.over or waits, ("h11 reads more", heard)


def _folded(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """
    Fold what h11 folds: the name of a coding.
    """
    return [
        (name, value.lower() if name == b"transfer-encoding" else value)
        for name, value in fields
    ]


def check_wire(request: Request) -> None:
    """
    Hold what goes to Nova to the allow-list and to exactly one of each identity field.

    @param request: What is asked.
    """
    wire = for_nova(request, _FIELDS) + host_line(_NOVA) + (request.body or b"")
    allowed = [
        (name, value)
        for name, value in request.headers
        if name in ALLOWED and len(value) <= 1024 and value.isascii()
        # str.isprintable knows the space and no control character.
        if value.decode("ascii").isprintable()
    ]
    has_length = request.body is not None or request.method in (b"POST", b"PUT")
    length = [(b"content-length", b"%d" % len(request.body or b""))]
    wanted = [*allowed, *IDENTITY, *(length if has_length else []), (b"host", _NOVA)]
    heard = oracle.hear_strictly(wire)
    assert list(heard.headers) == wanted, (heard.headers, wanted)
    assert (heard.method, heard.target) == (request.method, request.target)
    assert heard.body == (request.body or b"")
    assert heard.version == b"1.1"
    # The same lines, to a server that ends a line anywhere and folds "_" into "-".
    head = wire[: len(wire) - len(request.body or b"")]
    names = [
        line.partition(b":")[0].strip().lower().replace(b"_", b"-")
        for line in _LINE_ENDS.split(head)[1:]
    ]
    assert names == [*(name for name, _ in wanted), b"", b""], names


@frozen
class Relayed:
    """
    What an instance gets of a response.

    @ivar head: Its head; C{None}: it went wrong before.
    @ivar body: The body, as far as it came.
    @ivar end: The end; C{None}: it went wrong before.
    """

    head: ResponseHead | None
    body: bytes
    end: End | None


def relay(pieces: Iterable[bytes], head_request: bool) -> Relayed:
    """
    Feed a new reader of responses, then close the connection.

    @param pieces: What comes, piece by piece.
    @param head_request: Whether it answers a HEAD.

    @return: What goes to the instance.
    """
    reader = ResponseReader(head_request)
    events: list[ResponseEvent] = []
    try:
        for piece in pieces:
            events += reader.feed(piece)
        events += reader.close()
    except BadResponse:
        pass
    head = events[0] if events else None
    assert head is None or isinstance(head, ResponseHead), head
    end = events[-1] if events and isinstance(events[-1], End) else None
    body = b""
    for event in events[1:] if end is None else events[1:-1]:
        assert isinstance(event, bytes), event
        body += event
    return Relayed(head, body, end)


def check_response(
    data: bytes, places: Sequence[int] = (), head_request: bool = False
) -> Relayed:
    """
    Hold the reader of responses to all that it promises.

    @param data: What Nova sends on one connection, before it closes it.
    @param places: Where to cut it.
    @param head_request: Whether it answers a HEAD.

    @return: What goes to the instance.
    """
    strict = relay(bytewise(data), head_request)
    whole = relay([data], head_request)
    for relayed in (whole, relay(cut(data, places), head_request)):
        _check_same(relayed, strict)
    if not head_request:
        _check_known(data, strict)
    if strict.head is not None:
        heard = oracle.hear_response(data, head_request)
        _check_response_oracle(strict, strict.head, whole.end, heard)
    return strict


def _check_known(data: bytes, strict: Relayed) -> None:
    """
    Hold a response that is recognised to the strict reader.
    """
    forget()
    for _time in ("cold", "warm"):
        whole = known.known_response(data)
        if whole is not None:
            relayed = Relayed(whole.head, data[whole.size :], End(whole.reusable))
            assert relayed == strict, (relayed, strict)


def _check_same(relayed: Relayed, strict: Relayed) -> None:
    """
    Compare two ways of one response.

    A fault takes with it what came in the same piece, so that a response that goes
    wrong may have gone less far; what did go is the same.  Whether more came behind the
    end may be told by the end, or by the pool when it comes.
    """
    assert (relayed.end is None) == (strict.end is None), (relayed, strict)
    if strict.end is None:
        assert relayed.head in (None, strict.head), (relayed, strict)
        assert strict.body.startswith(relayed.body), (relayed, strict)
    else:
        same = (relayed.head, relayed.body) == (strict.head, strict.body)
        assert same, (relayed, strict)


def _check_response_oracle(
    relayed: Relayed,
    head: ResponseHead,
    end: End | None,
    heard: oracle.HeardResponse | str,
) -> None:
    """
    Hold what an instance gets to what h11 reads in the same bytes.

    @param end: How it ended where all bytes came in one piece, so that those behind the
        response were seen with it.
    """
    assert isinstance(heard, oracle.HeardResponse), (heard, head)
    assert (head.status, head.phrase) == (heard.status, heard.phrase), (head, heard)
    ours = {
        word.strip().lower()
        for name, value in heard.headers
        if name.lower() == b"connection"
        for word in value.split(b",")
    } | _OURS
    lines = [
        b"%b: %b\r\n" % pair for pair in heard.headers if pair[0].lower() not in ours
    ]
    assert head.fields == b"".join(lines), (head, heard)
    if oracle.leniency(heard.fault) is not None:
        return
    if relayed.end is not None:
        assert heard.whole, (relayed, heard)
        assert relayed.body == heard.body, (relayed, heard)
    else:
        assert heard.body.startswith(relayed.body), (relayed, heard)
    # h11 never keeps a connection of HTTP/1.0; RFC 9112 section 9.3 lets us.
    if end is not None and heard.version != b"1.0":
        assert heard.reusable or not end.reusable, (end, heard)
