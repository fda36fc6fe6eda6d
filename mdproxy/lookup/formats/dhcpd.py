# -*- test-case-name: tests.test_lookup_formats_dhcpd -*-
"""
The lease file of ISC dhcpd, IPv4 (dhcpd.leases(5)).

A block for each lease; one is added at each change, and the last one of an address
counts.  A block begins and ends where a line begins, and what clients say stands in
quotes, in which dhcpd writes neither quotes nor line ends as they are (ISC DHCP,
server/db.c, C{write_lease}, and common/print.c, C{quotify_string}); so whatever is
wrong with a block, the next one is found.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final

from mdproxy.lookup.formats import Record, moment, name_or_none
from mdproxy.model import Malformed, canonical_address, canonical_mac

#: The longest block that is read.
_MAX_BLOCK: Final = 65536
_END: Final = b"\n}"
#: Where a block begins.
_START = re.compile(rb"^lease[ \t]+([0-9A-Fa-f.:]{1,64})[ \t]*\{[ \t\r]*$", re.M)
#: What a block is made of: text in quotes, comments, signs, words.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|[{};"]|[^\s"#{};]+')
_DATE = re.compile(r"\d (\d{4})/(\d\d?)/(\d\d?) (\d\d?):(\d\d):(\d\d)\Z", re.A)
#: The statements that matter, and of how many words they are; 0: of any number.
_LENGTHS: Final = {
    "binding state": 3,
    "hardware ethernet": 3,
    "client-hostname": 2,
    "ends": 0,
}
#: The same by their first words.
_KEYS: Final = {key.partition(" ")[0]: key for key in _LENGTHS}
#: The states of an address that nobody has (server/mdb.c); an abandoned one answered a
#: ping though nobody had leased it.
_STATES: Final = frozenset(
    {"active", "free", "expired", "released", "abandoned", "reset", "backup"}
)


class DhcpdReader:
    """
    Reads dhcpd's file.

    @ivar refused: How many blocks could not be read since the beginning of the file.
    """

    def __init__(self) -> None:
        """
        Begin a file.
        """
        self.begin()

    def begin(self) -> None:
        """
        Provide C{Reader.begin}.
        """
        self.refused = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[Record]:
        """
        Provide C{Reader.feed}.
        """
        pieces = (self._rest + data).split(_END)
        self._rest = pieces.pop()
        said: list[Record] = []
        for piece in pieces:
            try:
                record = self._read(piece)
            except Malformed:
                self.refused += 1
            else:
                if record is not None:
                    said.append(record)
        if len(self._rest) > _MAX_BLOCK:
            self.refused += 1
            # The end of a block may be cut in two, too.
            self._rest = self._rest[-1:]
        return said

    def problem(self) -> str | None:
        """
        Provide C{Reader.problem}.
        """
        ends_well = self._rest == b"" or self._rest.endswith(b"\n")
        if ends_well and _START.search(self._rest) is None:
            return None
        return "ends within a lease"

    def _read(self, piece: bytes) -> Record | None:
        """
        Read what stands between the ends of two blocks.

        @return: C{None} where no lease began.
        """
        starts = list(_START.finditer(piece))
        if not starts:
            return None
        # One that was never finished is followed by another one.
        self.refused += len(starts) - 1
        start = starts[-1]
        if len(piece) - start.start() > _MAX_BLOCK:
            raise Malformed("a very long lease")
        address = canonical_address(start[1].decode("ascii"))
        return _record(address, _statements(piece[start.end() :]))


def _statements(body: bytes) -> list[list[str]]:
    """
    Cut a block into its own statements, without those of blocks within it.

    @raise Malformed: If quotes or braces do not match.
    """
    statements: list[list[str]] = []
    words: list[str] = []
    depth = 0
    for token in _TOKEN.findall(body.decode("latin-1")):
        if token == '"':
            raise Malformed("a quote without its other one")
        if token in ("{", "}"):
            depth += 1 if token == "{" else -1
            words = []
        elif token == ";" and depth == 0:
            statements.append(words)
            words = []
        elif depth == 0 and token[0] != "#":
            words.append(token)
    if depth or words:
        raise Malformed("a block within it is not finished, or a statement")
    return statements


def _record(address: str, statements: list[list[str]]) -> Record:
    """
    Read the statements of a lease.
    """
    said = {
        _KEYS[words[0]]: words
        for words in statements
        if words and words[0] in _KEYS and _matters(words)
    }
    state = said.get("binding state", ["active"])[-1]
    if state not in _STATES:
        raise Malformed(f"{state[:64]!r} is no state")
    if state != "active":
        return Record(address, None, None, is_held=False)
    if "ends" not in said:
        raise Malformed("a lease without an end")
    hardware, name = said.get("hardware ethernet"), said.get("client-hostname")
    return Record(
        address,
        None if hardware is None else canonical_mac(hardware[-1]),
        _ends(said["ends"][1:]),
        None if name is None else name_or_none(name[-1].strip('"')),
    )


def _matters(words: list[str]) -> bool:
    """
    Tell whether a statement that begins like one that matters is one.
    """
    key = _KEYS[words[0]]
    return " ".join(words).startswith(key) and _LENGTHS[key] in (len(words), 0)


def _ends(words: list[str]) -> float | None:
    """
    Read when a lease ends.

    @param words: C{never}, C{epoch SECONDS}, or C{WEEKDAY YEAR/MONTH/DAY
        HOUR:MINUTE:SECOND} in UTC.

    @return: C{None} where it never does.
    """
    if words == ["never"]:
        return None
    if len(words) == 2 and words[0] == "epoch":
        return moment(words[1]) or 0.0
    found = _DATE.match(" ".join(words))
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = map(int, found.groups())
        when = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        raise Malformed("an end that is no time") from None
    return when.timestamp()
