# -*- test-case-name: tests.test_lookup_formats_dnsmasq -*-
"""
The lease file of dnsmasq.

A line each: C{expiry mac address hostname client-id}; behind the line C{duid SERVER}
those of IPv6, which have the association's number (IAID) in place of a MAC (dnsmasq,
src/lease.c, C{lease_update_file}).  It writes the whole file anew at each change, so
most lines are old ones and are not read again.

Neutron writes one before it starts dnsmasq, with a line that never ends for every port
of the network, whether or not its instance has asked (neutron/agent/linux/dhcp.py,
C{Dnsmasq._output_init_lease_file}).
"""

from __future__ import annotations

import re

from mdproxy.lookup.formats import MAX_LINE, Lines, Memory, Record, moment, name_or_none
from mdproxy.model import Malformed, canonical_address, canonical_mac

_PRINTABLE = re.compile(rb"[\x20-\x7e]*\Z")
#: Before the MAC where the hardware isn't plain Ethernet: the ARP hardware type.
_HARDWARE_TYPE = re.compile(r"[0-9A-Fa-f]{2}-(?=[0-9A-Fa-f]{2}:)")


def read_line(line: bytes) -> Record | None:
    """
    Read one line.

    @param line: A line without its end.

    @return: C{None} for a line that is no lease: the server's own C{duid}, or an empty
        one.

    @raise Malformed: If it is anything else.
    """
    line = line.removesuffix(b"\r")
    if len(line) > MAX_LINE or _PRINTABLE.match(line) is None:
        raise Malformed("a very long line, or one with unprintable bytes")
    fields = line.decode("ascii").split(" ")
    if line == b"" or (fields[0] == "duid" and len(fields) == 2):
        return None
    if len(fields) != 5:
        raise Malformed(f"a line of {len(fields)} fields")
    expiry, holder, where, hostname, _ = fields
    address, mac = _seat(where, holder)
    name = None if hostname == "*" else name_or_none(hostname)
    return Record(address, mac, moment(expiry), name)


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


class DnsmasqReader:
    """
    Reads dnsmasq's file, and remembers what its lines said.

    @ivar refused: How many lines could not be read since the beginning of the file.
    """

    def __init__(self) -> None:
        """
        Know no lines.
        """
        self.refused = 0
        self._memory: Memory[bytes] = Memory()
        self._lines = Lines()

    def begin(self) -> None:
        """
        Provide C{Reader.begin}.
        """
        self._memory.turn(self._lines.is_whole)
        self._lines = Lines()
        self.refused = 0

    def feed(self, data: bytes) -> list[Record]:
        """
        Provide C{Reader.feed}.
        """
        before = self._lines.too_long
        recall, seen = self._memory.recall, self._memory.seen
        said: list[Record] = []
        for line in self._lines.cut(data):
            try:
                what = recall(line)
            except KeyError:
                what = seen[line] = _read(line)
            if isinstance(what, Record):
                said.append(what)
            elif what is not None:
                self.refused += 1
        self.refused += self._lines.too_long - before
        return said

    def problem(self) -> str | None:
        """
        Provide C{Reader.problem}.
        """
        return None if self._lines.is_whole else "ends within a line"


def _read(line: bytes) -> Record | Malformed | None:
    """
    Read a line.

    @return: What it says, or what is wrong with it.
    """
    try:
        return read_line(line)
    except Malformed as error:
        return error.with_traceback(None)
