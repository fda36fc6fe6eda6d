# -*- test-case-name: tests.test_http_parsing -*-
"""
Turn bytes into requests, without any I/O (into responses: L{mdproxy.http.responses}).

The C parser (llhttp, by httptools) calls back while it reads; the readers turn the
callbacks around, so that their callers feed bytes and get values.  llhttp is strict
about line ends, chunks and numbers; what it leaves to its user is checked here: bounds,
octets, Host, framing that two parsers could read in two ways (RFC 9112 section 6.3 and
11.2).  Nothing but these two readers knows httptools.
"""

from __future__ import annotations

import re
from typing import Final

import httptools
from attrs import define, field, frozen

from mdproxy.http.rules import END, MAX_FIELDS, is_field, is_length, says_close, trim
from mdproxy.model import Request

#: As many bytes are given to the C parser at once.
_SLICE: Final = 4096

_LINE_ENDS = re.compile(rb"[\r\n]*")

#: Octets of a request target: visible ASCII without "#" (RFC 9112 section 3.2).
_TARGET = re.compile(rb"/[!-\"$-~]*\Z")

#: A Host: what a name, an IPv4 or bracketed IPv6 address and a port may hold.
_HOST = re.compile(rb"[0-9A-Za-z._~:\[\]%-]*\Z")

#: The digits of a chunk's size, and how many of them make sense.
_DIGITS: Final = re.compile(rb"[0-9A-Fa-f]+")
_MAX_DIGITS: Final = 16

#: What Nova's metadata API is asked with; everything else it would treat as GET.
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT"})

_MAX_TARGET: Final = 8192
_MAX_CHUNKS: Final = 4096


class BadRequest(Exception):
    """
    The bytes are not a request that we serve.

    @ivar status: The HTTP status that says so.
    """

    def __init__(self, status: int, reason: str) -> None:
        """
        Remember the status.

        @param reason: For the log; holds nothing of what the instance sent.
        """
        super().__init__(reason)
        self.status = status


@frozen
class RequestBounds:
    """
    How much one request may be.

    @ivar max_head: Bytes of request line and header lines.
    @ivar max_body: Bytes of the body, without chunk framing.
    """

    max_head: int = 16384
    max_body: int = 65536


@define(repr=False)
class RequestReader:
    """
    Bytes of one connection in, requests out.

    After a L{BadRequest} the reader is of no use: where one request ends wrongly
    nobody can tell where the next begins.

    @ivar _begun: Whether a request's first byte has been read.
    @ivar _headed: Whether its head is complete.
    @ivar _raw: How many bytes it has taken so far.
    @ivar _line: Its first line, as far as it came.
    @ivar _leading: The part of an empty line that stood before it.
    @ivar _tail: The latest three bytes of it, which may begin an L{END}.
    @ivar _left: How many bytes of its body, or of a chunk and what ends it, are still
        to come, if that was told.
    @ivar _size: The beginning of the line that tells a chunk's size, as far as it came;
        C{None} where no chunk may follow.
    @ivar _chunks: How many chunks of its body have begun.
    @ivar _over: Whether a request was the client's last, by its own word.
    """

    _bounds: RequestBounds = RequestBounds()
    _parser: httptools.HttpRequestParser = field(init=False)
    _done: list[Request | BadRequest] = field(init=False, factory=list)
    _headers: list[tuple[bytes, bytes]] = field(init=False, factory=list)
    _target: bytes = field(init=False, default=b"")
    _body: list[bytes] = field(init=False, factory=list)
    _framed: bool = field(init=False, default=False)
    _body_size: int = field(init=False, default=0)
    _begun: bool = field(init=False, default=False)
    _headed: bool = field(init=False, default=False)
    _expecting: bool = field(init=False, default=False)
    _raw: int = field(init=False, default=0)
    _line: bytes = field(init=False, default=b"")
    _leading: bytes = field(init=False, default=b"")
    _tail: bytes = field(init=False, default=b"")
    _left: int = field(init=False, default=0)
    _size: bytes | None = field(init=False, default=None)
    _chunks: int = field(init=False, default=0)
    _over: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        """
        Start a parser that calls back to this reader.
        """
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> list[Request | BadRequest]:
        """
        Read some bytes.

        @param data: What came off the wire, cut anywhere.

        @return: The requests that these bytes completed, oldest first; if the bytes
            went wrong after them, the error is the last item.
        """
        start, size = 0, len(data)
        while start < size:
            if not self._begun:
                start = self._skip_empty_line(data, start)
                if start == size:
                    break
            end = self._find_cut(data, start)
            if not self._feed_slice(data[start:end]):
                break
            start = end
        done, self._done = self._done, []
        return done

    @property
    def at_boundary(self) -> bool:
        """
        Whether nothing of a request, nor what may stand before one, has been read.
        """
        return not self._begun and not self._leading

    @property
    def mid_request(self) -> bool:
        """
        Whether a request has begun and is not complete.
        """
        return self._begun

    @property
    def mid_body(self) -> bool:
        """
        Whether a request's head is complete and its body is not.
        """
        return self._headed

    def take_expectation(self) -> bool:
        """
        Tell, once, whether the client waits for C{100 Continue} before its body.
        """
        expecting, self._expecting = self._expecting, False
        return expecting

    def _skip_empty_line(self, data: bytes, start: int) -> int:
        """
        Pass over one empty line before a request (RFC 9112 section 2.2).

        @return: Where the request begins; the end of the data after more than one empty
            line, half a one, or the client's last request.
        """
        end, size = _LINE_ENDS.match(data, start).end(), len(data)  # type: ignore
        self._leading += data[start:end]
        if self._over:
            bad = BadRequest(400, "bytes after the last request")
        elif self._leading in (b"", b"\r\n") or (
            self._leading == b"\r" and end == size
        ):
            return end
        else:
            bad = BadRequest(400, "no single empty line before the request")
        self._done.append(bad)
        return size

    def _find_cut(self, data: bytes, start: int) -> int:
        """
        Find up to where to give data to the parser: never past the end of a request.

        Between two requests of one piece it would pass over any number of line ends,
        and between two pieces over none.
        """
        # One byte past a bound is enough to see that it is past.
        limit = min(len(data), start + _SLICE, start + self._most() + 1 - self._raw)
        if self._left:
            return min(limit, start + self._left)
        if self._size is not None:
            return data.find(b"\n", start, limit) + 1 or limit
        seam = (self._tail + data[start : start + 3]).find(END)
        if seam >= 0:
            return start + seam + len(END) - len(self._tail)
        end = data.find(END, start, limit)
        return limit if end < 0 else end + len(END)

    def _feed_slice(self, data: bytes) -> bool:
        """
        Give a slice to the parser.

        @return: Whether to go on.
        """
        self._raw += len(data)
        if not self._line.endswith(b"\n"):
            self._line += data[: data.find(b"\n") + 1] or data
        in_body = self._headed
        try:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                # No upgrade is ever made; what follows is the next request.
                self._parser = httptools.HttpRequestParser(self)
            self._check_raw()
            if in_body:
                self._follow(data)
            self._tail = (self._tail + data)[-3:] if self._begun else b""
        except BadRequest as bad:
            self._done.append(bad)
        except httptools.HttpParserError as error:
            self._done.append(_cause(error))
        else:
            return True
        return False

    def _follow(self, data: bytes) -> None:
        """
        Find out how much of a body may follow these bytes of it, so that a chunk which
        is too long is refused by its word.
        """
        if self._left:
            self._left -= len(data)
        elif self._size is not None:
            self._size = (self._size + data)[: _MAX_DIGITS + 1]
            if data.endswith(b"\n"):
                self._begin_chunk(self._size)

    def _begin_chunk(self, line: bytes) -> None:
        """
        Read the beginning of a line that the parser took for the size of a chunk.
        """
        digits = _DIGITS.match(line)
        if digits is None or digits.end() > _MAX_DIGITS:
            raise BadRequest(400, "size of a chunk")
        size = int(digits[0], 16)
        if not size:
            # Behind the last chunk there may be trailer fields.
            self._size = None
            return
        self._chunks += 1
        if self._chunks > _MAX_CHUNKS or self._body_size + size > self._bounds.max_body:
            raise BadRequest(413, "body too large, or in too many chunks")
        self._left, self._size = size + 2, b""

    def _check_raw(self) -> None:
        """
        Bound what an unfinished request takes, framing and all.
        """
        if self._raw > self._most():
            if self._headed:
                raise BadRequest(413, "chunk framing too large")
            raise BadRequest(431, "head too large")

    def _most(self) -> int:
        """
        Tell how many bytes a request may take by now.
        """
        if not self._headed:
            return self._bounds.max_head
        # Small chunks, extensions and trailers take more than what they carry.
        return self._bounds.max_head + 8 * self._bounds.max_body

    def on_message_begin(self) -> None:
        """
        A request begins (the parser calls this).
        """
        self._begun = True
        self._headed = self._framed = self._expecting = False
        self._headers, self._body = [], []
        self._target = self._leading = b""
        self._body_size = self._left = self._chunks = 0
        self._size = None

    def on_url(self, part: bytes) -> None:
        """
        A piece of the target (the parser calls this).
        """
        self._target += part
        if len(self._target) > _MAX_TARGET:
            raise BadRequest(414, "target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """
        A header field, or a trailer field (the parser calls this).
        """
        value = trim(name, value)
        if not is_field(name, value):
            raise BadRequest(400, "bad octets in a header field")
        # Trailers are checked and dropped: RFC 9110 section 6.5.1 lets nobody merge
        # them into the head.
        if not self._headed:
            self._headers.append((name.lower(), value))
            if len(self._headers) > MAX_FIELDS:
                raise BadRequest(431, "too many header fields")

    def on_headers_complete(self) -> None:
        """
        The head is complete: judge it before any byte of a body is read.
        """
        self._check_raw()
        self._headed = True
        method = self._parser.get_method()
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise BadRequest(505, "not HTTP/1.0 or 1.1")
        _check_line(method, self._target)
        # llhttp takes any number of spaces, and RTSP for HTTP.
        words = method, self._target, version.encode()
        if self._line != b"%b %b HTTP/%b\r\n" % words:
            raise BadRequest(400, "request line")
        self._check_host(version)
        self._check_framing(version)
        self._check_expectation(version)

    def on_body(self, part: bytes) -> None:
        """
        A piece of the body, without chunk framing (the parser calls this).
        """
        self._body.append(part)
        self._body_size += len(part)
        if self._body_size > self._bounds.max_body:
            raise BadRequest(413, "body too large")

    def on_message_complete(self) -> None:
        """
        The request is whole (the parser calls this).
        """
        self._begun = self._headed = self._expecting = False
        self._raw, self._line = 0, b""
        keep_alive = self._parser.should_keep_alive() and not says_close(self._headers)
        self._over = not keep_alive
        self._done.append(
            Request(
                self._parser.get_method(),
                self._target,
                tuple(self._headers),
                b"".join(self._body) if self._framed else None,
                keep_alive,
                self._parser.get_http_version() == "1.0",
            )
        )

    def _values(self, wanted: bytes) -> list[bytes]:
        """
        Collect the values of a field.
        """
        return [value for name, value in self._headers if name == wanted]

    def _check_host(self, version: str) -> None:
        """
        Demand exactly one Host of HTTP/1.1, at most one of HTTP/1.0.

        RFC 9112 section 3.2: 400 otherwise.
        """
        hosts = self._values(b"host")
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            raise BadRequest(400, "not exactly one Host")
        if hosts and _HOST.match(hosts[0]) is None:
            raise BadRequest(400, "bad octets in Host")

    def _check_framing(self, version: str) -> None:
        """
        Refuse every framing that two readers could take in two ways.

        RFC 9112 section 6.1 to 6.3.
        """
        codings = self._values(b"transfer-encoding")
        lengths = self._values(b"content-length")
        if codings:
            # httptools 0.6 passes on an empty coding, which newer ones refuse.
            if lengths or version == "1.0" or len(codings) > 1 or not codings[0]:
                raise BadRequest(400, "ambiguous framing")
            if codings[0].lower() != b"chunked":
                raise BadRequest(501, "transfer coding")
        if len(lengths) > 1 or any(not is_length(n) for n in lengths):
            raise BadRequest(400, "bad Content-Length")
        if lengths and int(lengths[0]) > self._bounds.max_body:
            raise BadRequest(413, "body too large")
        self._framed = bool(codings or lengths)
        self._left = int(lengths[0]) if lengths else 0
        self._size = b"" if codings else None
        empty = not codings and all(not int(n) for n in lengths)
        if not empty and self._parser.should_upgrade():
            # llhttp would take the body for the other protocol's first bytes.
            raise BadRequest(501, "upgrade with a body")

    def _check_expectation(self, version: str) -> None:
        """
        Note C{Expect: 100-continue}; refuse any other (RFC 9110 section 10.1.1).
        """
        for value in self._values(b"expect"):
            if value.lower() != b"100-continue":
                raise BadRequest(417, "expectation")
            self._expecting = version == "1.1" and self._framed


def check_request(request: Request, bounds: RequestBounds) -> None:
    """
    Hold a request that another parser has read to the same rules.

    @raise BadRequest: If L{RequestReader} would have refused it for its method, its
        target or its size.
    """
    _check_line(request.method, request.target)
    if len(request.body or b"") > bounds.max_body:
        raise BadRequest(413, "body too large")


def _check_line(method: bytes, target: bytes) -> None:
    """
    Check a request line.
    """
    if method not in METHODS:
        raise BadRequest(501 if method == b"CONNECT" else 405, "method")
    # The absolute form is for proxies that forward anywhere; we never do.
    if _TARGET.match(target) is None:
        raise BadRequest(400, "target is no path")


def _cause(error: httptools.HttpParserError) -> BadRequest:
    """
    Find what a callback raised, for the C parser wraps it.
    """
    if isinstance(error.__context__, BadRequest):
        return error.__context__
    return BadRequest(400, "malformed")
