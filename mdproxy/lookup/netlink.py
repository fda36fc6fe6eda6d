# -*- test-case-name: tests.test_lookup_netlink -*-
"""
Neighbour messages of the kernel's routing netlink: bytes to values and back.

Pure.  Layouts are those of C{linux/netlink.h}, C{linux/rtnetlink.h} and
C{linux/neighbour.h}; numbers are in the host's own byte order.  Read by hand because
a general parser costs twenty times as much, and a table may hold thousands of entries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from attrs import frozen

from mdproxy.model import canonical_address

NLMSG_ERROR = 2
NLMSG_DONE = 3
RTM_NEWNEIGH = 28
RTM_DELNEIGH = 29
RTM_GETNEIGH = 30
NLM_F_REQUEST = 0x1
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NDA_DST = 1
NDA_LLADDR = 2
NTF_PROXY = 0x8

#: What C{bind} takes to be told of neighbours (C{1 << RTNLGRP_NEIGH - 1}).
NEIGHBOUR_GROUP = 1 << 2

#: C{NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT}: the states in
#: which the kernel sends to the entry's link-layer address.  C{NUD_NOARP} would too,
#: but stands on multicast and loopback only; C{NUD_FAILED} keeps an old address.
_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x80

_HEADER = struct.Struct("=IHHII")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
#: The upper bits of an attribute's type are flags.
_TYPE_MASK = 0x3FFF
_ADDRESS_LENGTH = {AF_INET: 4, AF_INET6: 16}
_MAC_LENGTH = 6


class Garbled(Exception):
    """
    Bytes that are no sequence of netlink messages.
    """


@frozen
class Entry:
    """
    What the kernel says of one address on one device.

    @ivar ifindex: The device's index.
    @ivar address: The address.
    @ivar mac: Where the kernel would send; C{None} where it would not send at all.
    """

    ifindex: int
    address: str
    mac: str | None


@frozen
class Message:
    """
    One message of the kernel.

    @ivar sequence: Of the request that it answers; 0 for news.
    @ivar entry: What it says of an address, if it is about one that concerns us.
    @ivar done: Whether it ends a dump.
    @ivar error: The C{errno} that a request failed with; 0: none.
    @ivar interrupted: Whether the table changed under the dump, so that entries may be
        missing from it.
    """

    sequence: int
    entry: Entry | None = None
    done: bool = False
    error: int = 0
    interrupted: bool = False


def dump_request(sequence: int) -> bytes:
    """
    Ask for the whole neighbour table, IPv4 and IPv6.

    @param sequence: Comes back in the answers.
    """
    return _request(
        NLM_F_REQUEST | NLM_F_DUMP, sequence, _NEIGHBOUR.pack(0, 0, 0, 0, 0)
    )


def entry_request(sequence: int, ifindex: int, address: str) -> bytes:
    """
    Ask for a single entry.

    @param sequence: Comes back in the answer.
    @param ifindex: The device's index.
    @param address: The address in canonical form.
    """
    family = AF_INET6 if ":" in address else AF_INET
    packed = inet_pton(family, address)
    return _request(
        NLM_F_REQUEST,
        sequence,
        _NEIGHBOUR.pack(family, ifindex, 0, 0, 0)
        + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), NDA_DST)
        + packed,
    )


def _request(flags: int, sequence: int, body: bytes) -> bytes:
    """
    Put a header before a request's body.
    """
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, RTM_GETNEIGH, flags, sequence, 0) + body


def read_messages(data: bytes) -> Iterator[Message]:
    """
    Read all messages of one datagram.

    @param data: As the socket gave it.

    @raise Garbled: If some length in it cannot be; the messages before that have been
        yielded by then.
    """
    offset = 0
    while offset < len(data):
        if offset + _HEADER.size > len(data):
            raise Garbled("a netlink header is cut off")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        end = offset + length
        if length < _HEADER.size or end > len(data):
            raise Garbled(f"a netlink message claims {length} bytes")
        yield _message(kind, flags, sequence, data[offset + _HEADER.size : end])
        offset = _aligned(end)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> Message:
    """
    Read one message.
    """
    interrupted = bool(flags & NLM_F_DUMP_INTR)
    if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
        entry = _entry(kind, body)
        return Message(sequence, entry=entry, interrupted=interrupted)
    if kind == NLMSG_DONE:
        # A dump that failed half-way ends with the negative errno; old kernels put
        # nothing there.
        error = _errno(body) if body else 0
        return Message(sequence, done=True, error=error, interrupted=interrupted)
    if kind == NLMSG_ERROR:
        return Message(sequence, error=_errno(body))
    return Message(sequence, interrupted=interrupted)


def _errno(body: bytes) -> int:
    """
    Read the error number, which the kernel writes negated.
    """
    if len(body) < _ERROR.size:
        raise Garbled("a netlink error is cut off")
    number: int = _ERROR.unpack_from(body)[0]
    return abs(number)


def _entry(kind: int, body: bytes) -> Entry | None:
    """
    Read what a neighbour message says.

    @return: C{None} for what is no neighbour of ours: bridge forwarding entries, which
        come by the same group, addresses that this host answers for (C{NTF_PROXY}), and
        IPv4-mapped IPv6 addresses, which would pass for IPv4 neighbours here.
    """
    if len(body) < _NEIGHBOUR.size:
        raise Garbled("a neighbour message is cut off")
    family, ifindex, state, ntf, _ = _NEIGHBOUR.unpack_from(body)
    length = _ADDRESS_LENGTH.get(family)
    if length is None or ntf & NTF_PROXY:
        return None
    attributes = _attributes(body)
    packed = attributes.get(NDA_DST, b"")
    if len(packed) != length:
        raise Garbled(f"a neighbour has an address of {len(packed)} bytes")
    address = inet_ntop(family, packed)
    if family == AF_INET6:
        address = canonical_address(address)
        if ":" not in address:
            return None
    hardware = attributes.get(NDA_LLADDR, b"")
    valid = kind == RTM_NEWNEIGH and state & _VALID and len(hardware) == _MAC_LENGTH
    return Entry(ifindex, address, hardware.hex(":") if valid else None)


def _attributes(body: bytes) -> dict[int, bytes]:
    """
    Read the attributes that follow a neighbour message's fixed part.
    """
    attributes: dict[int, bytes] = {}
    offset = _NEIGHBOUR.size
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size or offset + length > len(body):
            raise Garbled(f"a neighbour's attribute claims {length} bytes")
        start = offset + _ATTRIBUTE.size
        attributes[kind & _TYPE_MASK] = body[start : offset + length]
        offset = _aligned(offset + length)
    return attributes


def _aligned(offset: int) -> int:
    """
    Round up to where the next message or attribute may start.
    """
    return (offset + 3) & ~3
