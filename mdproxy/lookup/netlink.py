# -*- test-case-name: tests.test_lookup_netlink -*-
"""
Messages of the kernel's routing netlink about neighbours, devices and bridges: bytes to
values and back.

Pure.  Layouts are those of C{linux/netlink.h}, C{linux/rtnetlink.h},
C{linux/neighbour.h} and C{linux/if_link.h}; numbers are in the host's own byte order.
Read by hand because a general parser costs twenty times as much, and a table may hold
thousands of entries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, AF_UNSPEC, inet_ntop, inet_pton

from attrs import field, frozen

from mdproxy.model import canonical_address

NLMSG_ERROR = 2
NLMSG_DONE = 3
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_NEWNEIGH = 28
RTM_DELNEIGH = 29
RTM_GETNEIGH = 30
NLM_F_REQUEST = 0x1
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NDA_DST = 1
NDA_LLADDR = 2
NDA_VLAN = 5
NDA_MASTER = 9
NTF_PROXY = 0x8
IFLA_IFNAME = 3
IFLA_EXT_MASK = 29
RTEXT_FILTER_SKIP_STATS = 0x8
#: The family of what is about a bridge; Python has no name for it.
AF_BRIDGE = 7

#: What C{bind} takes to be told of neighbours (C{1 << RTNLGRP_NEIGH - 1}).
NEIGHBOUR_GROUP = 1 << 2
#: What C{bind} takes to be told of devices (C{1 << RTNLGRP_LINK - 1}).
LINK_GROUP = 1 << 0

#: C{NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT}: the states in
#: which the kernel sends to the entry's link-layer address.  C{NUD_NOARP} would too,
#: but stands on multicast and loopback only; C{NUD_FAILED} keeps an old address.
_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
#: What C{ip neighbour} calls the states (iproute2, ip/ipneigh.c).
_CONDITIONS = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
#: C{NUD_PERMANENT}; in a bridge's table: the address is the host's own.
_PERMANENT = 0x80

_HEADER = struct.Struct("=IHHII")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_LINK = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_SHORT = struct.Struct("=H")
_ERROR = struct.Struct("=i")
#: The upper bits of an attribute's type are flags.
_TYPE_MASK = 0x3FFF
_ADDRESS_LENGTH: dict[int, int] = {AF_INET: 4, AF_INET6: 16}
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
    @ivar state: How sure it is of that, for the operator to see: the bits of C{NUD_}.
    """

    ifindex: int
    address: str
    mac: str | None
    state: int = field(default=0, eq=False)

    @property
    def condition(self) -> str:
        """
        Tell how sure the kernel is, as C{ip neighbour} calls it.
        """
        return _CONDITIONS.get(self.state, "none")


@frozen
class Link:
    """
    What the kernel says of one device.

    @ivar ifindex: Its index.
    @ivar name: Its name; C{None} where it is gone.
    """

    ifindex: int
    name: str | None


@frozen
class Message:
    """
    One message of the kernel.

    @ivar sequence: Of the request that it answers; 0 for news.
    @ivar entry: What it says of an address, if it is about one that concerns us.
    @ivar link: What it says of a device.
    @ivar port: The index of the device behind which a bridge has a MAC, where it is not
        one of the host's own.
    @ivar done: Whether it ends a dump.
    @ivar error: The C{errno} that a request failed with; 0: none.
    @ivar interrupted: Whether the table changed under the dump, so that entries may be
        missing from it.
    """

    sequence: int
    entry: Entry | None = None
    link: Link | None = None
    port: int | None = None
    done: bool = False
    error: int = 0
    interrupted: bool = False


def dump_request(sequence: int) -> bytes:
    """
    Ask for the whole neighbour table, IPv4 and IPv6.

    @param sequence: Comes back in the answers.
    """
    body = _NEIGHBOUR.pack(0, 0, 0, 0, 0)
    return _request(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)


def entry_request(sequence: int, ifindex: int, address: str) -> bytes:
    """
    Ask for a single entry.

    @param sequence: Comes back in the answer.
    @param ifindex: The device's index.
    @param address: The address in canonical form.
    """
    family = AF_INET6 if ":" in address else AF_INET
    body = _NEIGHBOUR.pack(family, ifindex, 0, 0, 0)
    body += _attribute(NDA_DST, inet_pton(family, address))
    return _request(RTM_GETNEIGH, NLM_F_REQUEST, sequence, body)


def bridge_request(sequence: int, bridge: int, mac: str, vlan: int = 0) -> bytes:
    """
    Ask a bridge by which of its ports it reaches a MAC, as C{bridge fdb get} does
    (net/core/rtnetlink.c, C{rtnl_fdb_get}; since Linux 5.0).

    @param sequence: Comes back in the answer.
    @param bridge: The bridge's index.
    @param mac: The MAC address.
    @param vlan: The VLAN in which the bridge knows it; 0 where it tells none apart.
    """
    body = _NEIGHBOUR.pack(AF_BRIDGE, 0, 0, 0, 0)
    body += _attribute(NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
    body += _attribute(NDA_MASTER, _NUMBER.pack(bridge))
    if vlan:
        body += _attribute(NDA_VLAN, _SHORT.pack(vlan))
    return _request(RTM_GETNEIGH, NLM_F_REQUEST, sequence, body)


def links_request(sequence: int) -> bytes:
    """
    Ask for all devices, without their counters where the kernel can leave them out.

    @param sequence: Comes back in the answers.
    """
    return _links_request(NLM_F_REQUEST | NLM_F_DUMP, sequence, 0)


def link_request(sequence: int, ifindex: int) -> bytes:
    """
    Ask for one device.

    @param sequence: Comes back in the answer.
    @param ifindex: Its index.
    """
    return _links_request(NLM_F_REQUEST, sequence, ifindex)


def _links_request(flags: int, sequence: int, ifindex: int) -> bytes:
    """
    Ask for one device or all.
    """
    body = _LINK.pack(0, 0, ifindex, 0, 0)
    body += _attribute(IFLA_EXT_MASK, _NUMBER.pack(RTEXT_FILTER_SKIP_STATS))
    return _request(RTM_GETLINK, flags, sequence, body)


def _attribute(kind: int, value: bytes) -> bytes:
    """
    Write an attribute, and padding behind it.
    """
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind)
    return head + value + bytes(-len(value) % 4)


def _request(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """
    Put a header before a request's body.
    """
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


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
        entry, port = _neighbour(kind, body)
        return Message(sequence, entry=entry, port=port, interrupted=interrupted)
    if kind in (RTM_NEWLINK, RTM_DELLINK):
        return Message(sequence, link=_link(kind, body), interrupted=interrupted)
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


def _neighbour(kind: int, body: bytes) -> tuple[Entry | None, int | None]:
    """
    Read what a neighbour message says.

    @return: The entry; and for what is none, but a bridge's, which come by the same
        group, the index of the port.
    """
    if len(body) < _NEIGHBOUR.size:
        raise Garbled("a neighbour message is cut off")
    family, ifindex, state, ntf, _ = _NEIGHBOUR.unpack_from(body)
    if family == AF_BRIDGE:
        is_learnt = kind == RTM_NEWNEIGH and not state & _PERMANENT
        return None, ifindex if is_learnt else None
    if family not in _ADDRESS_LENGTH or ntf & NTF_PROXY:
        return None, None
    if kind != RTM_NEWNEIGH:
        state = 0
    return _entry(family, ifindex, state, body), None


def _entry(family: int, ifindex: int, state: int, body: bytes) -> Entry | None:
    """
    Read which address a neighbour message is about, and where it is.

    @param state: How sure the kernel is of that; 0: it is gone.

    @return: C{None} for IPv4-mapped IPv6 addresses, which would pass for IPv4
        neighbours here.
    """
    length = _ADDRESS_LENGTH[family]
    attributes = _attributes(body, _NEIGHBOUR.size)
    packed = attributes.get(NDA_DST, b"")
    if len(packed) != length:
        raise Garbled(f"a neighbour has an address of {len(packed)} bytes")
    address = inet_ntop(family, packed)
    if family == AF_INET6:
        address = canonical_address(address)
        if ":" not in address:
            return None
    hardware = attributes.get(NDA_LLADDR, b"")
    valid = state & _VALID and len(hardware) == _MAC_LENGTH
    return Entry(ifindex, address, hardware.hex(":") if valid else None, state)


def _link(kind: int, body: bytes) -> Link | None:
    """
    Read what a device's message says.

    @return: C{None} for what is of another family: a bridge tells of its ports by the
        same messages, and a port that leaves it is not gone (net/bridge/br_netlink.c,
        C{br_ifinfo_notify}).
    """
    if len(body) < _LINK.size:
        raise Garbled("a device's message is cut off")
    family, _, ifindex, _, _ = _LINK.unpack_from(body)
    if family != AF_UNSPEC:
        return None
    if kind == RTM_DELLINK:
        return Link(ifindex, None)
    name = _attributes(body, _LINK.size).get(IFLA_IFNAME, b"").rstrip(b"\0")
    if not name:
        raise Garbled("a device has no name")
    return Link(ifindex, name.decode("utf-8", "backslashreplace"))


def _attributes(body: bytes, offset: int) -> dict[int, bytes]:
    """
    Read the attributes that follow a message's fixed part.

    @param offset: Where they begin.
    """
    attributes: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size or offset + length > len(body):
            raise Garbled(f"an attribute claims {length} bytes")
        start = offset + _ATTRIBUTE.size
        attributes[kind & _TYPE_MASK] = body[start : offset + length]
        offset = _aligned(offset + length)
    return attributes


def _aligned(offset: int) -> int:
    """
    Round up to where the next message or attribute may start.
    """
    return (offset + 3) & ~3
