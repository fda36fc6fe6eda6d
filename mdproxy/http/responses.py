# -*- test-case-name: tests.test_http_responses -*-
"""
Turn bytes into responses of Nova, without any I/O.

A response is as hostile as a request: what could be read in two ways is refused before
a byte of it reaches an instance, and what it leaves behind ends its connection.
"""

from __future__ import annotations

import re
from typing import Final

import httptools
from attrs import define, field, frozen

from mdproxy.headers import for_instance
from mdproxy.http.rules import (
    END,
    MAX_FIELDS,
    is_field,
    is_length,
    is_text,
    says_close,
    trim,
)
from mdproxy.model import ResponseHead

#: The last lines of chunks, from their last octet: no trailer field, or one.
_LAST_LINES: Final = re.compile(rb"[^\r\n]\r\n\r\n\Z")

#: How a response begins.
_NAME: Final = b"HTTP/"


class BadResponse(Exception):
    """
    The bytes are not a response that may reach an instance.
    """


@frozen
class End:
    """
    A response is complete.

    @ivar reusable: Whether the connection may carry another request.
    """

    reusable: bool


#: What a response reader yields: the head, pieces of the body, then the end.
ResponseEvent = ResponseHead | bytes | End


@define(repr=False)
class ResponseReader:
    """
    Bytes of one response in, its parts out.

    One reader reads one final response, and the interim ones before it.

    @ivar _head_request: Whether the response answers HEAD, and so has no body.
    @ivar _max_head: How many bytes its head may take, interim ones included.
    @ivar _raw: How many bytes it took before its head was complete.
    @ivar _start: The first few bytes of a head.
    @ivar _tail: The latest few bytes of a head, or of chunks.
    @ivar _left: How many bytes of the body are still to come, if that was told.
    @ivar _chunked: Whether the body comes in chunks.
    @ivar _head_size: How many of them were fields.
    """

    _head_request: bool = False
    _max_head: int = 65536
    _parser: httptools.HttpResponseParser = field(init=False)
    _events: list[ResponseEvent] = field(init=False, factory=list)
    _headers: list[tuple[bytes, bytes]] = field(init=False, factory=list)
    _phrase: bytes = field(init=False, default=b"")
    _raw: int = field(init=False, default=0)
    _start: bytes = field(init=False, default=b"")
    _tail: bytes = field(init=False, default=b"")
    _left: int | None = field(init=False, default=None)
    _chunked: bool = field(init=False, default=False)
    _head_size: int = field(init=False, default=0)
    _interim: int = field(init=False, default=0)
    _headed: bool = field(init=False, default=False)
    _bodiless: bool = field(init=False, default=False)
    _until_close: bool = field(init=False, default=False)
    _ended: bool = field(init=False, default=False)
    _excess: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        """
        Start a parser that calls back to this reader.
        """
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> list[ResponseEvent]:
        """
        Read some bytes.

        @param data: What came off the wire, cut anywhere.

        @return: What these bytes hold of the response, in order.

        @raise BadResponse: If the bytes are no response that may be relayed.  Events
            of the same bytes before the fault are dropped.
        """
        if self._ended:
            raise BadResponse("bytes after the response")
        while data and not self._ended:
            end = len(data)
            if not self._headed:
                end = self._find_cut(data)
                self._check_start(data)
            elif self._left is not None:
                end = self._left
            self._parse(data[:end])
            data = data[end:]
        # The response was whole before it: a body where none may be (RFC 9110 section
        # 6.4.1), or a response to nobody.
        self._excess = self._excess or bool(data)
        events, self._events = self._events, []
        if self._ended and self._excess:
            events = [End(False) if isinstance(e, End) else e for e in events]
        return events

    def _find_cut(self, data: bytes) -> int:
        """
        Find up to where to give data to the parser: no further than to a head's end.

        @return: How many bytes.
        """
        tail = self._tail[-3:]
        end = (tail + data).find(END)
        return len(data) if end < 0 else end + len(END) - len(tail)

    def _check_start(self, data: bytes) -> None:
        """
        Demand that each head begins with the protocol's name: llhttp passes over line
        ends before it, and takes others for HTTP.
        """
        self._start = (self._start + data[: len(_NAME)])[: len(_NAME)]
        if not _NAME.startswith(self._start):
            raise BadResponse("not HTTP")

    def _parse(self, data: bytes) -> None:
        """
        Give bytes to the parser.
        """
        in_head = not self._headed
        if in_head or self._chunked:
            self._tail = (self._tail + data)[-5:]
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise BadResponse("switching protocols") from None
        except httptools.HttpParserError as error:
            if not self._ended:
                raise self._cause(error) from None
            self._excess = True
        if in_head:
            self._raw += len(data)
            if self._raw > self._max_head:
                raise BadResponse("head too large")
        elif self._chunked and self._ended:
            # llhttp passes over line ends behind a response, too.
            self._excess |= _LAST_LINES.match(self._tail) is None

    def close(self) -> list[ResponseEvent]:
        """
        Learn that Nova closed the connection.

        @return: The end, if only the end of the connection could tell it.

        @raise BadResponse: If the response is not complete.
        """
        if self._headed and self._until_close and not self._ended:
            self._ended = True
            return [End(False)]
        raise BadResponse("connection closed before the end of the response")

    def on_message_begin(self) -> None:
        """
        A response begins (the parser calls this).
        """
        if self._ended:
            self._excess = True
            raise BadResponse("bytes after the response")
        self._headers, self._phrase = [], b""

    def on_status(self, part: bytes) -> None:
        """
        A piece of the reason phrase (the parser calls this).
        """
        self._phrase += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """
        A header field, or a trailer field (the parser calls this).
        """
        value = trim(name, value)
        if not is_field(name, value):
            raise BadResponse("bad octets in a header field")
        if not self._headed:
            self._headers.append((name, value))
            self._head_size += len(name) + len(value) + 4
            if len(self._headers) > MAX_FIELDS * 2:
                raise BadResponse("too many header fields")
            if self._head_size > self._max_head:
                raise BadResponse("head too large")

    def on_headers_complete(self) -> None:
        """
        A head is complete: an interim one, or the one that counts.
        """
        status = self._parser.get_status_code()
        if status == 101 or not 100 <= status <= 599:
            raise BadResponse("status out of range")
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise BadResponse("not HTTP/1.0 or 1.1")
        if not is_text(self._phrase):
            raise BadResponse("bad octets in the reason phrase")
        length = self._framing()
        if status < 200:
            if length or self._chunked:
                raise BadResponse("body of an interim response")
            self._interim += 1
            if self._interim > 8:
                raise BadResponse("too many interim responses")
            return
        self._headed, self._left, self._tail = True, length, b""
        self._bodiless = self._head_request or status in (204, 304)
        self._events.append(
            ResponseHead(
                status, self._phrase, for_instance(tuple(self._headers)), length
            )
        )
        if self._bodiless:
            self._end()

    def _framing(self) -> int | None:
        """
        Read how long the body is; refuse what could be read in two ways.

        @return: The length, or C{None} where chunks or the connection's end tell.
        """
        codings = [v for n, v in self._headers if n.lower() == b"transfer-encoding"]
        lengths = [v for n, v in self._headers if n.lower() == b"content-length"]
        if codings and (lengths or [c.lower() for c in codings] != [b"chunked"]):
            raise BadResponse("ambiguous framing")
        if codings and self._parser.get_http_version() == "1.0":
            raise BadResponse("chunks in HTTP/1.0")
        if len(lengths) > 1 or any(not is_length(n) for n in lengths):
            raise BadResponse("bad Content-Length")
        self._chunked = bool(codings)
        self._until_close = not codings and not lengths
        return int(lengths[0]) if lengths else None

    def on_body(self, part: bytes) -> None:
        """
        A piece of the body, without chunk framing (the parser calls this).
        """
        if self._ended:
            self._excess = True
        else:
            self._events.append(part)
            if self._left is not None:
                self._left -= len(part)

    def on_message_complete(self) -> None:
        """
        A response is complete (the parser calls this).
        """
        if not self._headed:
            self._start = self._tail = b""
        elif not self._ended:
            self._end()

    def _end(self) -> None:
        """
        Note the end of the response.

        Nothing follows an answer that has no body only because of its method or status:
        a body that comes all the same, and late, would begin the answer to whoever asks
        next, and what it says may be an instance's own choice.
        """
        self._ended = True
        keeps = self._parser.should_keep_alive() and not says_close(self._headers)
        self._events.append(End(keeps and not self._bodiless))

    def _cause(self, error: httptools.HttpParserError) -> BadResponse:
        """
        Find what a callback raised, for the C parser wraps it.
        """
        if isinstance(error.__context__, BadResponse):
            return error.__context__
        return BadResponse("malformed")
