# -*- test-case-name: tests.test_http_known -*-
"""
Heads that were read before, so that they need not be read again.

Instances ask the same questions, each kind of client with the same header fields each
time, and are answered with the same few heads.  What a block of fields means is found
out once, by the strict readers of L{mdproxy.http.parsing}, and remembered; there is no
second grammar here.  Only what came whole and alone in one piece is looked for: a
request without a body, a response with a length.  Everything else the strict readers
read, as ever.

Pure: what is remembered is what would be found again, whoever asks.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from attrs import frozen

from mdproxy.http.parsing import (
    RequestReader,
)
from mdproxy.http.responses import (
    BadResponse,
    End,
    ResponseReader,
)
from mdproxy.model import Request, ResponseHead

#: How many requests, blocks of fields and response heads are remembered.
_REMEMBERED: Final = 256

#: The longest head, in bytes, that is looked for: a bound of what is remembered.
LONGEST: Final = 1024

#: The longest body, in bytes, of a response that is looked for.
_LONGEST_BODY: Final = 65536

#: A request line that the strict reader takes, whatever fields follow.  The target's
#: octets are those of RFC 3986 (path and query), fewer than it would take.
_LINE = re.compile(rb"(GET|HEAD) (/[!$%&'()*+,\-./0-9:;=?@A-Z_a-z~]*) HTTP/1\.1\r\n")

_END: Final = b"\r\n\r\n"


@frozen
class KnownResponse:
    """
    A response of which only the body is news.

    @ivar head: Its head.
    @ivar size: How many bytes the head takes on the wire.
    @ivar reusable: Whether the connection may carry another request.
    """

    head: ResponseHead
    size: int
    reusable: bool


def known_request(data: bytes, max_head: int) -> Request | None:
    """
    Read a request that is whole and alone in what came.

    @param data: What came off the wire where a request may begin.
    @param max_head: The most bytes that a head may take.

    @return: The request; C{None} where the strict reader has to see the bytes.
    """
    size = len(data)
    return _request(data) if size <= LONGEST and size <= max_head else None


def known_response(data: bytes) -> KnownResponse | None:
    """
    Read the head of a response to GET that is whole and alone in what came.

    @param data: What came off the wire after a request was sent.

    @return: The head; C{None} where the strict reader has to see the bytes.
    """
    size = data.find(_END) + 4
    if not 4 <= size <= LONGEST:
        return None
    known = _response_with(data[:size])
    if known is None or len(data) - size != known.head.length:
        return None
    return known


@lru_cache(_REMEMBERED)
def _request(data: bytes) -> Request | None:
    """
    Read a request with fields that the strict reader knows.
    """
    if data.find(_END) != len(data) - 4:
        return None
    line = _LINE.match(data)
    if line is None:
        return None
    like = _request_with(data[line.end() :])
    if like is None:
        return None
    return Request(line[1], line[2], like.headers, None, like.keep_alive)


@lru_cache(_REMEMBERED)
def _request_with(fields: bytes) -> Request | None:
    """
    Have the strict reader read a request with these fields.

    @return: What it read, if the fields make a whole request without a body.
    """
    reader = RequestReader()
    read = reader.feed(b"GET / HTTP/1.1\r\n" + fields)
    if len(read) != 1 or not reader.at_boundary:
        return None
    request = read[0]
    return request if isinstance(request, Request) and request.body is None else None


@lru_cache(_REMEMBERED)
def _response_with(head: bytes) -> KnownResponse | None:
    """
    Have the strict reader read a response with this head and any body that fits it.

    @return: What it read, if the head tells how long the body is.
    """
    reader = ResponseReader()
    try:
        events = reader.feed(head)
        first = events[0] if events else None
        if not isinstance(first, ResponseHead) or first.status in (204, 304):
            return None
        if first.length is None or first.length > _LONGEST_BODY:
            return None
        if first.length:
            events = reader.feed(bytes(first.length))
    except BadResponse:
        return None
    end = events[-1]
    return KnownResponse(first, len(head), isinstance(end, End) and end.reusable)
