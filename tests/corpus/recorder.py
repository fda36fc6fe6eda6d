"""
A stand-in for Nova that takes nothing but perfect HTTP and remembers all it got.

It is stricter than any real server, so that whatever some server might misread shows.
"""

from __future__ import annotations

import re
from io import BufferedReader
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import cast

from attrs import define, frozen

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+\Z")
_LENGTH = re.compile(rb"[0-9]{1,15}\Z")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}\Z")
_LONGEST_LINE = 1 << 22


class Flawed(Exception):
    """
    What came is not perfect HTTP.
    """


class Torn(Exception):
    """
    The connection ended within a request.
    """


@frozen
class Arrived:
    """
    A request that arrived whole.

    @ivar method: Its method.
    @ivar target: Its target.
    @ivar headers: Its header fields, in order, as they stood on the wire.
    @ivar body: Its body, without any chunk framing.
    @ivar trailers: The lines behind the last chunk.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    trailers: tuple[str, ...]


@frozen
class Malformed:
    """
    Bytes that are no request.

    @ivar why: What is wrong with them.
    """

    why: str


@frozen
class Incomplete:
    """
    The beginning of a request whose rest never came.
    """


#: What the recorder may have seen.
Event = Arrived | Malformed | Incomplete


@define
class _Reader:
    """
    A strict reader of one connection.

    @ivar _stream: Where the bytes come from.
    """

    _stream: BufferedReader

    def ended(self) -> bool:
        """
        Wait for the next request.

        @return: Whether the connection ended instead.
        """
        try:
            return not self._stream.peek(1)
        except OSError:
            return True

    def exactly(self, size: int) -> bytes:
        """
        Read so many bytes.
        """
        data = self._stream.read(size)
        if len(data) < size:
            raise Torn
        return data

    def line(self) -> bytes:
        """
        Read a line that ends in CR LF and has neither of them elsewhere.
        """
        line = self._stream.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise Flawed("endless line") if len(line) == _LONGEST_LINE else Torn
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Flawed(f"bare CR or LF in {line[:80]!r}")
        return line[:-2]

    def lines(self) -> list[bytes]:
        """
        Read lines up to an empty one.
        """
        lines = []
        while line := self.line():
            lines.append(line)
        return lines

    def request_line(self) -> tuple[bytes, bytes, bytes]:
        """
        Read the first line of a request.

        @return: Method, target and version.
        """
        line = self.line()
        parts = line.split(b" ")
        if len(parts) == 3:
            method, target, version = parts
            if (
                _TOKEN.match(method)
                and _TARGET.match(target)
                and version in (b"HTTP/1.0", b"HTTP/1.1")
            ):
                return method, target, version
        raise Flawed(f"request line {line[:120]!r}")

    def chunks(self) -> bytes:
        """
        Read chunks, up to the line of the last one.  Extensions are not for us.
        """
        body = b""
        while True:
            line = self.line()
            if _CHUNK.match(line) is None:
                raise Flawed(f"chunk line {line[:60]!r}")
            size = int(line, 16)
            if size == 0:
                return body
            body += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise Flawed("no CR LF behind a chunk")


def _field(line: bytes) -> tuple[bytes, bytes]:
    """
    Split a header line.

    @param line: The line.

    @return: Name and value.
    """
    name, colon, value = line.partition(b":")
    if not colon or _TOKEN.match(name) is None:
        raise Flawed(f"field {line[:80]!r}")
    if b"\0" in value:
        raise Flawed(f"NUL in {line[:80]!r}")
    return name, value.strip(b" \t")


@frozen
class _Framing:
    """
    What the header says about where a request ends.

    @ivar version: The request's HTTP version.
    @ivar fields: The header fields, names in lower case.
    """

    version: bytes
    fields: list[tuple[bytes, bytes]]

    def values(self, name: bytes) -> list[bytes]:
        """
        Collect a field's values.
        """
        return [value for known, value in self.fields if known == name]

    def check(self) -> None:
        """
        Refuse what two servers could understand in two ways.
        """
        lengths = self.values(b"content-length")
        codings = self.values(b"transfer-encoding")
        if codings and (
            lengths
            or [coding.lower() for coding in codings] != [b"chunked"]
            or self.version == b"HTTP/1.0"
        ):
            raise Flawed(f"transfer codings {codings} with lengths {lengths}")
        if len(lengths) > 1 or any(_LENGTH.match(one) is None for one in lengths):
            raise Flawed(f"lengths {lengths}")
        if self.version == b"HTTP/1.1" and len(self.values(b"host")) != 1:
            raise Flawed("not just one Host")

    @property
    def last(self) -> bool:
        """
        Tell whether the client wants the connection closed.
        """
        return any(b"close" in one.lower() for one in self.values(b"connection"))


class _Connection(StreamRequestHandler):
    """
    One connection of the proxy.
    """

    server: Recorder

    def handle(self) -> None:
        """
        Answer requests until the connection ends or one is flawed.
        """
        reader = _Reader(cast(BufferedReader, self.rfile))
        try:
            while not reader.ended():
                if self._one(reader):
                    return
        except Flawed as flaw:
            self.server.events.append(Malformed(str(flaw)))
            self.wfile.write(
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n"
            )
        except (Torn, OSError):
            self.server.events.append(Incomplete())

    def _one(self, reader: _Reader) -> bool:
        """
        Read a request, note it and answer with its target.

        @param reader: The connection.

        @return: Whether it was the last.
        """
        method, target, version = reader.request_line()
        headers = [_field(line) for line in reader.lines()]
        framing = _Framing(version, [(name.lower(), value) for name, value in headers])
        framing.check()
        if framing.values(b"expect"):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, trailers = b"", []
        if framing.values(b"transfer-encoding"):
            body, trailers = reader.chunks(), reader.lines()
        elif lengths := framing.values(b"content-length"):
            body = reader.exactly(int(lengths[0]))
        self.server.events.append(
            Arrived(
                method.decode("latin-1"),
                target.decode("latin-1"),
                tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in headers),
                body,
                tuple(line.decode("latin-1") for line in trailers),
            )
        )
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Echo-Target: %s\r\n"
            b"Content-Length: %d\r\n\r\n%s"
            % (target[:200], len(target), b"" if method == b"HEAD" else target)
        )
        return framing.last


class Recorder(ThreadingTCPServer):
    """
    The server: one thread for each connection of the proxy.

    @ivar events: All that came, in order; threads only ever append.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        """
        Listen on loopback.

        @param port: The port; 0 lets the kernel choose.
        """
        self.events: list[Event] = []
        super().__init__(("127.0.0.1", port), _Connection)
