# -*- test-case-name: tests.test_lookup_leases -*-
"""
Lease files, read by the two-speed rule.

Pure.  dnsmasq keeps its file open and writes it anew in place at each change: the file
is first empty, then grows by 4,096 bytes at a time, for 100 ms with 10,000 leases
(measured).  Whoever reads at such a moment and believes what isn't there removes
thousands of leases.  So what a complete line says counts at once, and a line's absence
counts only when the file has not changed for a while and ends where a line ends.
"""

from __future__ import annotations

import re
from collections.abc import Hashable

from attrs import define, field, frozen

from mdproxy.model import Malformed, canonical_address, canonical_mac

#: The longest line that is read.  dnsmasq's longest has a name and a client id of 255
#: bytes each, the latter in hexadecimal with colons.
_MAX_LINE = 4096
#: For how many seconds a file must not change before absences count.
QUIET = 1.0

_PRINTABLE = re.compile(rb"[\x20-\x7e]*\Z")
_EXPIRY = re.compile(r"[0-9]{1,15}\Z")
#: Before the MAC where the hardware isn't plain Ethernet: the ARP hardware type
#: (dnsmasq, src/lease.c, C{lease_update_file}).
_HARDWARE_TYPE = re.compile(r"[0-9A-Fa-f]{2}-(?=[0-9A-Fa-f]{2}:)")


@frozen
class Record:
    """
    What one line of a lease file says.

    @ivar address: The leased address.
    @ivar mac: Who holds it; C{None} where the line doesn't tell (IPv6).
    @ivar expires: When it ends, in seconds since the epoch; C{None}: never.
    @ivar hostname: The client's name, if any.
    """

    address: str
    mac: str | None
    expires: float | None
    hostname: str | None


def read_dnsmasq_line(line: bytes) -> Record | None:
    """
    Read one line of dnsmasq's lease file.

    @param line: A line without its end.

    @return: C{None} for a line that is no lease: the server's own C{duid}, or an empty
        one.

    @raise Malformed: If it is anything else.
    """
    if len(line) > _MAX_LINE:
        raise Malformed(f"a line of {len(line)} bytes")
    if _PRINTABLE.match(line) is None:
        raise Malformed("a line with unprintable bytes")
    fields = line.decode("ascii").split(" ")
    if line == b"" or (fields[0] == "duid" and len(fields) == 2):
        return None
    if len(fields) != 5:
        raise Malformed(f"a line of {len(fields)} fields")
    expiry, holder, where, hostname, _ = fields
    if _EXPIRY.match(expiry) is None:
        raise Malformed(f"{expiry[:64]!r} is no time")
    address, mac = _seat(where, holder)
    return Record(
        address,
        mac,
        float(expiry) if int(expiry) else None,
        None if hostname == "*" else hostname[:255],
    )


def _seat(where: str, holder: str) -> tuple[str, str | None]:
    """
    Read the address and who has it.

    An IPv6 lease names an association (IAID) instead of a MAC.
    """
    if ":" not in where:
        return canonical_address(where), canonical_mac(_HARDWARE_TYPE.sub("", holder))
    address = canonical_address(where.removeprefix("[").removesuffix("]"))
    if ":" not in address:
        raise Malformed(f"{where[:64]!r} passes for IPv4")
    return address, None


@frozen
class Changes:
    """
    What is new after a file was read.

    @ivar learnt: What is new or says something new.
    @ivar forgotten: The addresses that have no lease any more.
    @ivar settled: Whether the file has not changed for long enough, so that what it
        does not show does not exist; otherwise it should be read again when L{QUIET}
        has passed.
    @ivar torn: Whether it ends in the middle of a line although it does not change.
    """

    learnt: tuple[Record, ...]
    forgotten: tuple[str, ...]
    settled: bool
    torn: bool


@define
class LeaseTable:
    """
    What one lease file says, as far as it may be believed.

    @ivar records: What counts now, by address.
    @ivar refused: How many lines could not be read, the last time.
    @ivar _parsed: Lines that were read before; most lines of a file are old.
    @ivar _signature: What the file looked like the last time.
    @ivar _since: Since when it has looked like that.
    """

    records: dict[str, Record] = field(factory=dict, init=False)
    refused: int = field(default=0, init=False)
    _parsed: dict[bytes, Record | Malformed | None] = field(factory=dict, init=False)
    _signature: Hashable = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)

    def load(self, data: bytes, signature: Hashable, now: float) -> Changes:
        """
        Take what a file holds now.

        @param data: All of it.
        @param signature: What differs whenever the file does: inode, time of the last
            change, size; C{None} where it changed while it was read.
        @param now: Seconds, monotonic.
        """
        if signature is None or signature != self._signature:
            self._signature = signature
            self._since = now
        quiet = now - self._since >= QUIET
        view = self._view(data)
        learnt = tuple(
            record
            for address, record in view.items()
            if self.records.get(address) != record
        )
        torn = data != b"" and not data.endswith(b"\n")
        gone: tuple[str, ...] = ()
        if quiet and not torn:
            gone = tuple(address for address in self.records if address not in view)
        for record in learnt:
            self.records[record.address] = record
        for address in gone:
            del self.records[address]
        return Changes(learnt, gone, quiet and not torn, quiet and torn)

    def _view(self, data: bytes) -> dict[str, Record]:
        """
        Read all complete lines, by address; only new ones cost.
        """
        lines = data.split(b"\n")
        # What stands behind the last line end is no line yet.
        lines.pop()
        parsed = {line: self._read(line) for line in lines}
        # A torn file must not make all its other lines be read anew.
        self._parsed.update(parsed)
        if len(self._parsed) > 2 * max(len(parsed), len(self.records)) + 1000:
            self._parsed = parsed
        self.refused = sum(isinstance(read, Malformed) for read in parsed.values())
        return {r.address: r for r in parsed.values() if isinstance(r, Record)}

    def _read(self, line: bytes) -> Record | Malformed | None:
        """
        Read a line, unless that was done before.

        @return: What it says, or what is wrong with it.
        """
        if line in self._parsed:
            return self._parsed[line]
        try:
            return read_dnsmasq_line(line)
        except Malformed as error:
            return error.with_traceback(None)
