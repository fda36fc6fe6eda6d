"""
The hostile instance's side: send raw bytes in one of three ways, take what comes.
"""

from __future__ import annotations

import re
import select
import socket
import time
from contextlib import suppress
from enum import Enum

from attrs import define, field, frozen

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n")
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r\n")
#: Between two pieces, so that the proxy reads them one by one.
_GAP = 0.0002
_TICK = 0.02


class Mode(Enum):
    """
    How a request is cut into writes.  The verdict must be the same in all of them.
    """

    WHOLE = "whole"
    TOKENS = "tokens"
    BYTES = "bytes"

    def cut(self, raw: bytes) -> list[bytes]:
        """
        Cut a request.  Very long ones are sent whole, for the sake of time.

        @param raw: The request.

        @return: The pieces.
        """
        if self is Mode.BYTES and len(raw) <= 3_000:
            return [raw[i : i + 1] for i in range(len(raw))]
        if self is Mode.TOKENS and len(raw) <= 20_000:
            return [piece for piece in re.split(rb"(?<=[\r\n: ])", raw) if piece]
        return [raw]


@frozen
class Answer:
    """
    One response.

    @ivar status: Its status.
    @ivar headers: Its header fields, names in lower case.
    @ivar body: Its body, as far as it came.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def _unchunk(data: bytes) -> tuple[bytes, bytes]:
    """
    Take chunks apart, as far as they came.

    @param data: What follows a head.

    @return: The body, and what follows it.
    """
    body = b""
    while match := _CHUNK_LINE.match(data):
        size = int(match[1], 16)
        data = data[match.end() :]
        body += data[:size]
        data = data[size + 2 :]
        if size == 0:
            break
    return body, data


def read_answers(data: bytes, bodiless: bool = False) -> list[Answer]:
    """
    Find the responses in what a client received.

    @param data: The bytes.
    @param bodiless: Whether they answer a HEAD, and so have no body.

    @return: The final responses whose heads are whole.
    """
    answers = []
    while (match := _STATUS_LINE.match(data)) and b"\r\n\r\n" in data:
        head, data = data.split(b"\r\n\r\n", 1)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (
                line.partition(b":") for line in head.split(b"\r\n")[1:]
            )
        }
        status, body = int(match[1]), b""
        if status == 100:
            continue
        if bodiless:
            pass
        elif b"chunked" in headers.get(b"transfer-encoding", b"").lower():
            body, data = _unchunk(data)
        else:
            size = int(headers.get(b"content-length", b"%d" % len(data)))
            body, data = data[:size], data[size:]
        answers.append(Answer(status, headers, body))
    return answers


@frozen
class Patience:
    """
    How long to wait, in seconds.

    @ivar longest: For anything at all.
    @ivar settle: After the last byte, when all answers came, in case more comes.
    @ivar missing: After the last byte, while an answer or the close is missing.
    """

    longest: float = 5.0
    settle: float = 0.05
    missing: float = 1.0


@frozen
class Outcome:
    """
    What the client saw.

    @ivar received: All bytes.
    @ivar closed: Whether the proxy ended the connection.
    @ivar answers: The responses in the bytes.
    """

    received: bytes
    closed: bool
    answers: list[Answer]


@define
class Conversation:
    """
    One connection, from its first byte to the moment nothing more is expected.

    @ivar _address: The proxy.
    @ivar _pieces: What to send, write by write.
    @ivar _wanted: How many answers are expected.
    @ivar _patience: How long to wait for them.
    @ivar _half_close: Whether to end the sending side behind the last piece.
    @ivar _expect_close: Whether to wait for the proxy to close.
    @ivar _bodiless: Whether the request is a HEAD.
    @ivar _heard: When the last byte came.
    """

    _address: tuple[str, int]
    _pieces: list[bytes]
    _wanted: int = 1
    _patience: Patience = field(factory=Patience)
    _half_close: bool = False
    _expect_close: bool = False
    _bodiless: bool = False
    _received: bytes = field(default=b"", init=False)
    _closed: bool = field(default=False, init=False)
    _heard: float | None = field(default=None, init=False)

    def hold(self) -> Outcome:
        """
        Send and receive.

        @return: What came.

        @raise OSError: If there is no connection.
        """
        with socket.create_connection(self._address, 3) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            deadline = time.monotonic() + self._patience.longest
            try:
                self._send(connection, deadline)
                while not self._is_over() and time.monotonic() < deadline:
                    self._receive(connection, _TICK)
            except (ConnectionResetError, BrokenPipeError):
                self._closed = True
                self._drain(connection)
        answers = read_answers(self._received, self._bodiless)
        return Outcome(self._received, self._closed, answers)

    def _send(self, connection: socket.socket, deadline: float) -> None:
        """
        Send the pieces, and take what comes meanwhile.
        """
        for piece in self._pieces:
            rest = piece
            while rest and not self._closed and time.monotonic() < deadline:
                select.select([connection], [connection], [], _TICK)
                self._receive(connection, 0)
                with suppress(BlockingIOError):
                    rest = rest[connection.send(rest) :]
            self._receive(connection, _GAP if len(self._pieces) > 1 else 0)
        if self._half_close and not self._closed:
            connection.shutdown(socket.SHUT_WR)

    def _receive(self, connection: socket.socket, wait: float) -> None:
        """
        Take what comes, if anything comes.
        """
        if self._closed or not select.select([connection], [], [], wait)[0]:
            return
        data = connection.recv(65536)
        self._closed = not data
        self._received += data
        self._heard = time.monotonic()

    def _drain(self, connection: socket.socket) -> None:
        """
        Take what came before a reset.
        """
        connection.settimeout(0.2)
        try:
            while data := connection.recv(65536):
                self._received += data
        except OSError:
            return

    def _is_over(self) -> bool:
        """
        Tell whether there is nothing to wait for.
        """
        if self._closed:
            return True
        if self._heard is None:
            return False
        answers = len(read_answers(self._received, self._bodiless))
        complete = answers >= self._wanted and not self._expect_close
        quiet = time.monotonic() - self._heard
        return quiet > (self._patience.settle if complete else self._patience.missing)
