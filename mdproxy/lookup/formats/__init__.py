# -*- test-case-name: tests.test_lookup_formats -*-
"""
The formats in which DHCP servers keep their leases: bytes in, values out.

Pure.  Each format has a reader that is fed a file piece by piece, cut anywhere, and
tells what each record says; a record that can't be read costs itself only and is
counted.  What may be believed of a file that somebody is writing is decided elsewhere
(L{mdproxy.lookup.leases}), for all formats alike.
"""

from __future__ import annotations

import re
from typing import Final, Generic, Protocol, TypeVar

from attrs import frozen

from mdproxy.model import Malformed

#: The longest line that is read.  dnsmasq's longest has a name and a client id of 255
#: bytes each, the latter in hexadecimal with colons; Kea's a user context besides.
MAX_LINE: Final = 16384

#: A record as it stands in the file.
Raw = TypeVar("Raw", bytes, str)

_NUMBER = re.compile(r"[0-9]{1,15}\Z")
_NAME = re.compile(r"[\x21-\x7e]{1,255}\Z")


@frozen
class Record:
    """
    What a lease store says of an address.

    @ivar address: The leased address.
    @ivar mac: Who holds it; C{None} where the store doesn't tell (IPv6).
    @ivar expires: When it ends, in seconds since the epoch as the server's clock is
        set; C{None}: never.
    @ivar hostname: The client's name, if any.
    @ivar subnet: The server's own id of the subnet, where it has one (Kea).
    @ivar is_held: C{False} where the record says that nobody has the address now.
    """

    address: str
    mac: str | None
    expires: float | None
    hostname: str | None = None
    subnet: str | None = None
    is_held: bool = True


class Reader(Protocol):
    """
    Reads one file of a format, any number of times.

    @ivar refused: How many records could not be read since L{begin}.
    """

    refused: int

    def begin(self) -> None:
        """
        Prepare for the first byte of the file.
        """

    def feed(self, data: bytes) -> list[Record]:
        """
        Take the next bytes of the file.

        @param data: Any number of them.

        @return: What the records say that are complete now, in the file's order; the
            last one of an address counts.
        """

    def problem(self) -> str | None:
        """
        Tell whether the file could be all there is, if it ended here.

        @return: What is wrong with that, as a phrase; C{None}: nothing.
        """


def moment(text: str) -> float | None:
    """
    Read a number of seconds since the epoch.

    @return: C{None} for 0, by which servers mean never.

    @raise Malformed: If it is no such number.
    """
    if _NUMBER.match(text) is None:
        raise Malformed(f"{text[:64]!r} is no time")
    return float(text) or None


def name_or_none(text: str) -> str | None:
    """
    Take a client's name, which is for the operator's eyes only.

    @return: C{None} where it holds anything but printable ASCII, for it comes from the
        client.
    """
    return text if _NAME.match(text) is not None else None


class Memory(Generic[Raw]):
    """
    What the records of a file said when it was read before: most of them are old, where
    a server writes all of them at each change.

    @ivar known: What records are known to say; C{None} for one that says nothing, and
        the error for one that can't be read.
    @ivar seen: The same of those that were seen in this reading.
    """

    def __init__(self) -> None:
        """
        Know nothing.
        """
        self.known: dict[Raw, Record | Malformed | None] = {}
        self.seen: dict[Raw, Record | Malformed | None] = {}
        self._whole = 0

    def turn(self, is_whole: bool) -> None:
        """
        Prepare for another reading.

        @param is_whole: Whether all of the file was seen in the last one; a torn file
            must not make all others be read anew.
        """
        if is_whole:
            self._whole = len(self.seen)
        if is_whole or len(self.known) > 2 * self._whole + 1000:
            self.known = self.seen
        else:
            self.known.update(self.seen)
        self.seen = {}

    def recall(self, raw: Raw) -> Record | Malformed | None:
        """
        Remember what a record said, which is seen again.

        @raise KeyError: If it is not known.
        """
        if raw in self.known:
            # It is kept once: there may be a thousand files.
            said = self.seen[raw] = self.known.pop(raw)
            return said
        return self.seen[raw]


class Lines:
    """
    Cuts a file into lines.

    @ivar too_long: How many were longer than L{MAX_LINE}; they are left out.
    """

    def __init__(self) -> None:
        """
        Begin a file.
        """
        self.too_long = 0
        self._rest = b""
        self._is_skipping = False

    def cut(self, data: bytes) -> list[bytes]:
        """
        Take the next bytes.

        @return: The lines that are complete now, without their ends.
        """
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if lines and self._is_skipping:
            del lines[0]
            self._is_skipping = False
        if max(map(len, lines), default=0) > MAX_LINE:
            short = [line for line in lines if len(line) <= MAX_LINE]
            self.too_long += len(lines) - len(short)
            lines = short
        if self._is_skipping or len(self._rest) > MAX_LINE:
            if not self._is_skipping:
                self.too_long += 1
            self._is_skipping = True
            self._rest = b""
        return lines

    @property
    def is_whole(self) -> bool:
        """
        Whether the file ends where a line ends.
        """
        return not self._rest and not self._is_skipping
