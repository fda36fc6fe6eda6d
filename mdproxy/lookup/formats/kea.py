# -*- test-case-name: tests.test_lookup_formats_kea -*-
"""
The lease files of Kea's memfile backend, IPv4 and IPv6.

Comma-separated values under a line that names the columns; commas within a value are
written C{&#x2c} (Kea, src/lib/util/csv_file.cc, C{CSVRow.escapeCharacters}).  A line is
added at each change and the last one of an address counts.
"""

from __future__ import annotations

import re
from typing import Final

from mdproxy.lookup.formats import Lines, Record, moment, name_or_none
from mdproxy.model import Malformed, canonical_address, canonical_mac

#: A lease in use; the others are declined, expired and reclaimed, released, registered
#: (Kea, src/lib/dhcpsrv/lease.h, C{STATE_DEFAULT}).
_DEFAULT: Final = "0"
#: A lifetime without end (src/lib/dhcpsrv/lease.h, C{INFINITY_LFT}).
_FOREVER: Final = "4294967295"
#: A single address, as against a delegated prefix (C{Lease.TYPE_NA}).
_SINGLE: Final = "0"
_REQUIRED: Final = frozenset({"address", "valid_lifetime", "expire"})
_PRINTABLE = re.compile(rb"[\x20-\x7e]*\Z")


class KeaReader:
    """
    Reads one of Kea's files.

    @ivar refused: How many lines could not be read since the beginning of the file.
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
        self._lines = Lines()
        self._columns: list[str] | None = None
        self._is_known = True

    def feed(self, data: bytes) -> list[Record]:
        """
        Provide C{Reader.feed}.
        """
        before = self._lines.too_long
        said: list[Record] = []
        for line in self._lines.cut(data):
            try:
                record = self._read(line.removesuffix(b"\r"))
            except Malformed:
                self.refused += 1
            else:
                if record is not None:
                    said.append(record)
        self.refused += self._lines.too_long - before
        return said

    def problem(self) -> str | None:
        """
        Provide C{Reader.problem}.
        """
        if not self._is_known:
            return "has no columns that are known"
        return None if self._lines.is_whole else "ends within a line"

    def _read(self, line: bytes) -> Record | None:
        """
        Read a line.

        @return: C{None} where it is no lease of an address.
        """
        if not line:
            return None
        if _PRINTABLE.match(line) is None:
            raise Malformed("a line with unprintable bytes")
        values = line.decode("ascii").split(",")
        if self._columns is None:
            self._columns = values
            self._is_known = set(values) >= _REQUIRED
            return None
        if not self._is_known or len(values) != len(self._columns):
            raise Malformed(f"a line of {len(values)} values")
        return _record(dict(zip(self._columns, values, strict=True)))


def _record(row: dict[str, str]) -> Record | None:
    """
    Read a row by the names of its columns.
    """
    if row.get("lease_type", _SINGLE) != _SINGLE:
        return None
    address = canonical_address(row["address"])
    subnet = row.get("subnet_id")
    lifetime, expires = row["valid_lifetime"], moment(row["expire"])
    moment(lifetime)
    if row.get("state", _DEFAULT) != _DEFAULT or lifetime == "0":
        return Record(address, None, None, None, subnet, is_held=False)
    hardware = row.get("hwaddr", "")
    return Record(
        address,
        canonical_mac(hardware) if hardware else None,
        None if lifetime == _FOREVER else expires or 0.0,
        name_or_none(row.get("hostname", "")),
        subnet,
    )
