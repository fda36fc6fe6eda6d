"""
Requests and responses as h11 reads them: an independent reader, written in Python.

h11 is strict about most of what makes two servers disagree.  Where our readers are the
laxer ones is listed in L{LENIENCIES}, each with the rule that allows it; nothing else
may be served that h11 refuses.  The other direction needs no list: we may refuse
anything (h11 takes folded lines, bare LF, equal lengths twice, any method, any target).
"""

from __future__ import annotations

import re
from typing import Final

import h11
from attrs import field, frozen

#: h11 bounds heads by itself; ours are bounded by L{RequestReader}.
_UNBOUNDED: Final = 1 << 24

#: What we serve and h11 does not, by what h11 says of it.
LENIENCIES: Final = {
    # RFC 9110 section 6.5.1: a recipient may ignore trailer fields, and we do; h11
    # judges Content-Length and Transfer-Encoding there as if they framed something.
    "framing fields in a trailer": re.compile(
        r"in the trailer: (bad Content-Length|conflicting Content-Length headers"
        r"|multiple Transfer-Encoding headers|Only Transfer-Encoding: chunked is)"
    ),
    # RFC 9112 section 7.1: chunk-size = 1*HEXDIG; h11 takes 20 digits at most.
    "leading zeros of a chunk's size": re.compile(
        r"in the body: illegal chunk header: bytearray\(b'0{5}"
    ),
}

#: RFC 9112 section 2.2: a server SHOULD pass over at least one empty line before a
#: request; h11 passes over none.
_EMPTY_LINE: Final = b"\r\n"


@frozen
class Heard:
    """
    One request, as h11 reads it.

    @ivar method: Its method.
    @ivar target: Its target.
    @ivar headers: Its fields, names in lower case.
    @ivar body: Its body, without chunk framing.
    @ivar keep_alive: Whether the connection may be kept.
    @ivar version: The HTTP version.
    """

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    keep_alive: bool
    version: bytes


@frozen
class Hearing:
    """
    What h11 makes of all that an instance sent.

    @ivar requests: The requests that are whole.
    @ivar ends: Where each of them ends, in bytes from the beginning.
    @ivar fault: What h11 says of what follows them; empty: nothing, or it waits.
    """

    requests: tuple[Heard, ...]
    ends: tuple[int, ...]
    fault: str = field(default="")


def leniency(fault: str) -> str | None:
    """
    Find the entry of L{LENIENCIES} that a fault is one of.

    @param fault: What h11 says.

    @return: Its name.
    """
    for name, said in LENIENCIES.items():
        if said.match(fault):
            return name
    return None


def _where(error: h11.RemoteProtocolError) -> str:
    """
    Say of a fault behind a head whether it is in the body or the trailer.
    """
    in_body = str(error).startswith(("illegal chunk", "malformed chunk"))
    return f"in the {'body' if in_body else 'trailer'}: {error}"


def hear(data: bytes) -> Hearing:
    """
    Read requests.

    @param data: All bytes of a connection.

    @return: The requests, up to the first fault or the end of the bytes.
    """
    requests: list[Heard] = []
    ends: list[int] = []
    rest = data
    while rest:
        try:
            heard = _one(rest.removeprefix(_EMPTY_LINE))
        except h11.RemoteProtocolError as error:
            return Hearing(tuple(requests), tuple(ends), str(error))
        if heard is None:
            break
        requests.append(heard[0])
        rest = rest[len(rest) - heard[1] :] if heard[1] else b""
        ends.append(len(data) - len(rest))
    return Hearing(tuple(requests), tuple(ends))


def hear_strictly(data: bytes) -> Heard:
    """
    Read bytes that must be one request and nothing else, with no leniency.

    @param data: The bytes.

    @return: The request.

    @raise AssertionError: If they are not.
    """
    try:
        heard = _one(data)
    except h11.RemoteProtocolError as error:
        raise AssertionError(f"h11: {error}") from error
    assert heard is not None, "h11 waits for more"
    assert heard[1] == 0, "h11 leaves bytes over"
    return heard[0]


def _one(data: bytes) -> tuple[Heard, int] | None:
    """
    Read one request.

    @return: It, and how many bytes are left; C{None} where it is not whole.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_UNBOUNDED)
    connection.receive_data(data)
    request = connection.next_event()
    if not isinstance(request, h11.Request):
        return None
    body = bytearray()
    try:
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError as error:
        raise h11.RemoteProtocolError(_where(error)) from error
    if not isinstance(event, h11.EndOfMessage):
        return None
    if connection.their_state not in (h11.DONE, h11.MUST_CLOSE):
        # It might switch protocols: an answer that does not, tells whether it is kept.
        connection.send(h11.Response(status_code=200, headers=[]))
    heard = Heard(
        request.method,
        request.target,
        tuple((name, value) for name, value in request.headers),
        bytes(body),
        connection.their_state is not h11.MUST_CLOSE,
        request.http_version,
    )
    return heard, len(connection.trailing_data[0])


_OF_A_RESPONSE: Final = (h11.InformationalResponse, h11.Response, h11.Data)


@frozen
class HeardResponse:
    """
    A final response, as h11 reads it.

    @ivar status: Its status.
    @ivar phrase: Its reason phrase.
    @ivar headers: Its fields, names as they stood on the wire.
    @ivar body: Its body, as far as it came.
    @ivar whole: Whether it ended where it should.
    @ivar reusable: Whether the connection may carry another request.
    @ivar version: The HTTP version.
    @ivar fault: What h11 says of the body; empty: nothing.
    """

    status: int
    phrase: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    whole: bool
    reusable: bool
    version: bytes
    fault: str


def hear_response(data: bytes, head_request: bool) -> HeardResponse | str:
    """
    Read one response, of a connection that then closes.

    @param data: The bytes.
    @param head_request: Whether they answer a HEAD.

    @return: The final response, or what h11 says is wrong before its head is whole.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_UNBOUNDED)
    method = b"HEAD" if head_request else b"GET"
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"n")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    if data:
        connection.receive_data(b"")
    head: h11.Response | None = None
    body = bytearray()
    fault, whole = "", False
    try:
        while isinstance(event := connection.next_event(), _OF_A_RESPONSE):
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
        whole = isinstance(event, h11.EndOfMessage)
    except h11.RemoteProtocolError as error:
        fault = _where(error) if head is not None else str(error)
    if head is None:
        return fault or "no response"
    return HeardResponse(
        head.status_code,
        head.reason,
        tuple(head.headers.raw_items()),
        bytes(body),
        whole,
        connection.their_state is h11.DONE and not connection.trailing_data[0],
        head.http_version,
        fault,
    )
