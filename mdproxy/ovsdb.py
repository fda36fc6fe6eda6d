# -*- test-case-name: tests.test_ovsdb -*-
"""
OVSDB's wire protocol: bytes to messages and back, and the names of servers.

Pure.  OVSDB speaks JSON-RPC 1.0 on a stream, one JSON text behind the other with
nothing between them (RFC 7047 section 4; ovsdb-server(7), section 4).  The server is no
friend here: size, depth and form are bounded before anything is built from its bytes.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from attrs import define, field, frozen

from mdproxy.model import Malformed

#: The largest message, in bytes; a chassis with 50 ports takes some 40,000.
MAX_SIZE: Final = 4 << 20
#: The deepest nesting; what OVSDB defines does not reach half of it.
MAX_DEPTH: Final = 32
#: The longest number.
_MAX_DIGITS: Final = 32

#: The bytes that matter outside of strings, and inside.
_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'["\\]')
_QUOTE, _BACKSLASH = b'"\\'
_OPENING = b"{["

_REMOTE = re.compile(
    r"(?P<kind>tcp|ssl):(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]\s/]+))"
    r":(?P<port>[0-9]{1,5})\Z"
)


class Garbled(Exception):
    """
    A server said what is no OVSDB; the text says in which way, and repeats none of it.
    """


@frozen
class Remote:
    """
    A server of a database.

    @ivar kind: C{tcp}, C{ssl} or C{unix}.
    @ivar host: Its name or address; the path of the socket where the kind is C{unix}.
    @ivar port: Its port; 0 where the kind is C{unix}.
    """

    kind: str
    host: str
    port: int = 0

    def __str__(self) -> str:
        """
        Write it as in OVSDB's own options.
        """
        if self.kind == "unix":
            return f"unix:{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}:{host}:{self.port}"


def read_remote(text: str) -> Remote:
    """
    Read the name of a server as in Neutron's C{ovn_sb_connection} (ovsdb(7),
    "Connection Methods").

    @param text: C{ssl:HOST:PORT}, C{tcp:HOST:PORT} or C{unix:FILE}; IPv6 in brackets.

    @raise Malformed: If it is none of these.
    """
    if text.startswith("unix:/"):
        return Remote("unix", text[len("unix:") :])
    match = _REMOTE.match(text)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise Malformed(
            f"{text[:200]!r} is none of ssl:HOST:PORT, tcp:HOST:PORT, unix:/FILE"
        )
    return Remote(match["kind"], match["six"] or match["host"], int(match["port"]))


@frozen
class Call:
    """
    What the server asks, or tells.

    @ivar id: What an answer must carry; C{None}: it wants none.
    """

    method: str
    params: list[Any]
    id: Any = None


@frozen
class Reply:
    """
    What the server answers.

    @ivar id: Of which call of ours.
    @ivar error: What it refuses it with; C{None}: it does not.
    """

    id: int
    result: Any = None
    error: Any = None


@define
class Framing:
    """
    Cuts a stream into messages, wherever it was cut on its way.

    Every byte is looked at once.

    @ivar _buffer: What has come of the message that is not complete.
    @ivar _at: How much of it was looked at.
    @ivar _depth: How many brackets are open there.
    @ivar _in_string: Whether a string is open there.
    """

    _buffer: bytearray = field(factory=bytearray, init=False)
    _at: int = field(default=0, init=False)
    _depth: int = field(default=0, init=False)
    _in_string: bool = field(default=False, init=False)

    def feed(self, data: bytes) -> list[Call | Reply]:
        """
        Take bytes.

        @return: The messages that are complete with them.

        @raise Garbled: If there is one that is none; nothing more may be fed.
        """
        self._buffer += data
        messages = []
        while self._is_complete():
            messages.append(read_message(_parse(bytes(self._buffer[: self._at]))))
            del self._buffer[: self._at]
            self._at = 0
        if len(self._buffer) > MAX_SIZE:
            raise Garbled(f"a message is larger than {MAX_SIZE} bytes")
        return messages

    def _is_complete(self) -> bool:
        """
        Look on until the end of a message, or of what has come.
        """
        buffer = self._buffer
        if not self._depth and not self._begins():
            return False
        while True:
            found = (_INSIDE if self._in_string else _OUTSIDE).search(buffer, self._at)
            if found is None:
                # A backslash may have skipped a byte that has not come yet.
                self._at = max(self._at, len(buffer))
                return False
            self._at = found.end()
            byte = buffer[found.start()]
            if byte == _QUOTE:
                self._in_string = not self._in_string
            elif byte == _BACKSLASH:
                self._at += 1
            elif self._turn(byte):
                return True

    def _begins(self) -> bool:
        """
        Skip white space between messages.

        @return: Whether a message begins.
        """
        space = len(self._buffer) - len(self._buffer.lstrip(b" \t\r\n"))
        del self._buffer[:space]
        if self._buffer and self._buffer[0] != _OPENING[0]:
            raise Garbled("a message is no JSON object")
        return bool(self._buffer)

    def _turn(self, byte: int) -> bool:
        """
        Take a bracket.

        @return: Whether it closes the message.
        """
        if byte not in _OPENING:
            self._depth -= 1
            return self._depth == 0
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Garbled(f"a message is nested deeper than {MAX_DEPTH}")
        return False


def _integer(text: str) -> int:
    """
    Read a whole number; the time that it takes grows with the square of its length.
    """
    if len(text) > _MAX_DIGITS:
        raise ValueError
    return int(text)


def _real(text: str) -> float:
    """
    Read any other number.
    """
    if len(text) > _MAX_DIGITS:
        raise ValueError
    return float(text)


def _refuse(_constant: str) -> NoReturn:
    """
    Refuse NaN and infinity, which JSON does not have.
    """
    raise ValueError


_decoder = json.JSONDecoder(
    parse_int=_integer, parse_float=_real, parse_constant=_refuse
)


def _parse(data: bytes) -> Any:
    """
    Read the JSON of a message whose depth and size are known to be small.
    """
    try:
        return _decoder.decode(data.decode("utf-8"))
    except ValueError:
        raise Garbled("a message is no JSON") from None


def read_message(value: Any) -> Call | Reply:
    """
    Tell what a message is (RFC 7047 section 4).

    @param value: Its JSON.

    @raise Garbled: If it is neither call nor reply.
    """
    if not isinstance(value, dict):
        raise Garbled("a message is no JSON object")
    if "method" in value:
        method, params = value["method"], value.get("params")
        if not isinstance(method, str) or not isinstance(params, list):
            raise Garbled("a call without a method and its parameters")
        return Call(method, params, value.get("id"))
    number = value.get("id")
    # A truth value is a number to Python.
    if type(number) is not int:
        raise Garbled("an answer to none of our calls")
    return Reply(number, value.get("result"), value.get("error"))


def write_call(number: int, method: str, params: list[Any]) -> bytes:
    """
    Write a call.
    """
    return _write({"method": method, "params": params, "id": number})


def write_reply(number: Any, result: Any, error: Any = None) -> bytes:
    """
    Write the answer to a call of the server's.
    """
    return _write({"id": number, "result": result, "error": error})


def _write(message: dict[str, Any]) -> bytes:
    """
    Write a message.
    """
    return json.dumps(message, separators=(",", ":")).encode()
