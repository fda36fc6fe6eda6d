# -*- test-case-name: tests.test_model -*-
"""
The values that cross the seams: frozen, and checked where they are made.

Addresses are text in their one canonical form (IPv6 compressed, lower case, no
zone; IPv4-mapped IPv6 as IPv4), MAC addresses are lower case with colons, so that
equality of text is equality of the thing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from attrs import field, frozen

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
#: What may stand in an identity header: an id as Nova writes them.
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,254}\Z")
#: The forms of so many addresses are remembered, for the same ones come again.
_REMEMBERED = 1024


class Malformed(ValueError):
    """
    A text from outside is not what it claims to be.
    """


@lru_cache(_REMEMBERED)
def canonical_address(text: str) -> str:
    """
    Bring an address into the one form in which addresses are compared.

    @param text: An IPv4 or IPv6 address, perhaps with a zone (C{fe80::1%eth0}).

    @return: The address without its zone, IPv4-mapped IPv6 as IPv4.

    @raise Malformed: If it is no address.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        raise Malformed(f"{text[:64]!r} is no IP address") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def canonical_mac(text: str) -> str:
    """
    Bring a MAC address into the one form in which they are compared.

    @param text: Six octets in hexadecimal, joined by colons or hyphens.

    @return: The same in lower case, with colons.

    @raise Malformed: If it is no MAC address.
    """
    mac = text.lower().replace("-", ":")
    if _MAC.match(mac) is None:
        raise Malformed(f"{text[:64]!r} is no MAC address")
    return mac


def checked_id(text: str) -> str:
    """
    Check that an instance or project id can stand in a header as it is.

    Nova compares the project id to the letter (nova/api/metadata/handler.py,
    C{MetadataRequestHandler._get_meta_by_instance_id}), so nothing is changed here.

    @param text: The id as the inventory gave it.

    @return: The same text.

    @raise Malformed: If it is empty, longer than 255 characters, or holds anything
        but letters, digits, dot, underscore and hyphen.
    """
    if _ID.match(text) is None:
        raise Malformed(f"{text[:64]!r} is no id")
    return text


@frozen
class Port:
    """
    An instance's interface, as an inventory knows it.

    @ivar network: The network it is plugged into.
    @ivar mac: Its MAC address.
    @ivar instance_id: The id that Nova knows the instance by.
    @ivar project_id: The id of the project that owns the instance.
    @ivar addresses: Its fixed addresses; C{None} where the inventory does not know.
    @ivar pairs: Addresses that Neutron's allowed address pairs add, with the port's
        own MAC.
    @ivar inventory: The name of the inventory that said so.
    @ivar port_id: The port's id in Neutron; C{None} where the inventory does not know.
    @ivar device: The host's end of it, as the host calls that device; C{None} where
        the inventory does not know.
    @ivar parent: The id of the trunk's parent port, where the port itself has no
        instance and C{instance_id} and C{project_id} are its parent's.
    """

    network: str
    mac: str = field(converter=canonical_mac)
    instance_id: str = field(converter=checked_id)
    project_id: str = field(converter=checked_id)
    addresses: frozenset[str] | None
    pairs: frozenset[str] = frozenset()
    inventory: str = ""
    port_id: str | None = None
    device: str | None = None
    parent: str | None = None


@frozen
class Neighbour:
    """
    The kernel's entry for an address on a network: where answers would go.

    @ivar network: The network.
    @ivar address: The address.
    @ivar mac: The MAC address that the kernel would send to.
    """

    network: str
    address: str
    mac: str


@frozen
class Lease:
    """
    What a DHCP server's store says of an address.

    @ivar network: The network.
    @ivar address: The leased address.
    @ivar mac: Who holds it; C{None} where the store doesn't tell (dnsmasq, IPv6).
    @ivar expires: When it ends, in seconds since the epoch; C{None}: never.
    @ivar hostname: The client's name, for the operator's eyes only.
    """

    network: str
    address: str
    mac: str | None
    expires: float | None
    hostname: str | None = None


@frozen(cache_hash=True)
class Caller:
    """
    Who opened a connection, as far as the host saw it; taken at accept, never changed.

    @ivar network: The listener's network, as the host sees it: as configured, or
        C{NAMESPACE/DEVICE}; its name in inventories and leases is that of L{NetworkBook
        <mdproxy.lookup.books.NetworkBook>}.
    @ivar address: The peer's address.
    @ivar mac: The source of the frame that opened the connection, or what the
        neighbour probe said; C{None} where neither knew.
    @ivar identify_by: How the listener identifies: C{mac}, C{lease} or C{address}.
    @ivar probed: Whether C{mac} comes from the probe and not from the frame.
    @ivar since: When its handshake began at the earliest, in monotonic seconds; the
        neighbour entry must not have changed hands since then.
    @ivar kind: Of which kind its listener is: C{device}, C{namespaces}, C{address} or
        C{socket}.
    @ivar seek: Finds out anew who it is, where its MAC is not known but may be in a
        moment; C{None}: it is taken as it is.
    @ivar holder: What a caller's share of anything is counted by: a network and the MAC
        on it, for one interface can have any number of addresses; the address where the
        MAC is not known.
    """

    network: str
    address: str
    mac: str | None
    identify_by: str = "mac"
    probed: bool = False
    since: float = field(default=float("-inf"), eq=False)
    kind: str = field(default="address", eq=False)
    seek: Callable[[], Caller] | None = field(default=None, eq=False, repr=False)
    holder: tuple[str, str] = field(init=False, eq=False, repr=False)

    @holder.default
    def _(self) -> tuple[str, str]:
        """
        Find the holder.
        """
        return self.network, self.mac or self.address


class Reason(Enum):
    """
    Why a caller is refused, or with what remark it is allowed.
    """

    #: No remark: frame, neighbour and port agree, and so does the lease.
    AGREED = "agreed"
    #: Allowed without a lease.
    LEASE_MISSING = "lease-missing"
    #: A lease names another MAC.
    LEASE_CONFLICT = "lease-conflict"
    #: The inventory does not know the port's addresses.
    ADDRESS_UNVERIFIED = "address-unverified"
    #: The address belongs to an allowed address pair of the caller's own port.
    AAP = "aap"
    #: The caller uses an address that is not its port's.
    FOREIGN_ADDRESS = "foreign-address"
    #: The address belongs to a port, the caller's MAC to none.
    MAC_MISMATCH = "mac-mismatch"
    #: Neither MAC nor address belong to a port.
    UNKNOWN = "unknown"
    #: More than one port of one inventory fits.
    AMBIGUOUS = "ambiguous"
    #: Inventories disagree on the instance or the project.
    DISAGREEMENT = "disagreement"
    #: Link-local IPv6: the MAC alone identifies.
    LINK_LOCAL = "link-local"
    #: The kernel has no neighbour entry, so nobody knows where the answer would go.
    NO_NEIGHBOUR = "no-neighbour"
    #: The opening frame and the neighbour entry name different MACs.
    FRAME_MISMATCH = "frame-mismatch"
    #: The caller's frames come in by another port of the bridge than its own.
    PORT_MISMATCH = "port-mismatch"
    #: The port has no instance; its trunk's parent port has.
    TRUNK_PARENT = "trunk-parent"
    #: No lease gave the MAC that C{identify_by = lease} needs.
    NO_LEASE = "no-lease"
    #: Identified by its address alone, because the listener says so.
    ADDRESS_ONLY = "address-only"


@frozen
class Evidence:
    """
    All that a verdict rests on, for the operator to see.

    @ivar caller: Who asked.
    @ivar neighbour: The MAC in the kernel's neighbour entry.
    @ivar lease: The unexpired lease of the caller's address.
    @ivar row: The row of the decision table that decided.
    @ivar reason: That row's reason.
    """

    caller: Caller
    neighbour: str | None
    lease: Lease | None
    row: int
    reason: Reason


@frozen
class Identity:
    """
    The verdict that an instance was recognised.

    @ivar port: The port that it asks through.
    @ivar evidence: Why we believe so.
    """

    port: Port
    evidence: Evidence


@frozen
class Refusal:
    """
    The verdict that a caller was not recognised.

    @ivar evidence: Why not.
    @ivar doubtful: Whether a source that would know is not live, so that the refusal
        proves nothing (503 rather than 404).
    """

    evidence: Evidence
    doubtful: bool


@frozen
class Request:
    """
    One whole request of an instance.

    @ivar method: The method, in upper case.
    @ivar target: The request target as it stood on the wire.
    @ivar headers: The header fields in order; names in lower case.
    @ivar body: The body without any chunk framing; C{None} where the request had
        none (no length and no chunks), empty where it said that it is empty.
    @ivar keep_alive: Whether the client lets us keep the connection.
    @ivar http_1_0: Whether the client speaks HTTP/1.0 and so can't read chunks.
    """

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    keep_alive: bool = True
    http_1_0: bool = False


@frozen
class ResponseHead:
    """
    Nova's response up to the body.

    @ivar status: The status code, 200 to 599.
    @ivar phrase: The reason phrase.
    @ivar fields: The header lines that concern the instance, in Nova's order, as they
        go on the wire (L{mdproxy.headers.for_instance}).
    @ivar length: The length of the body that follows, in bytes; C{None} where only
        the end of the chunks or of the connection tells.
    """

    status: int
    phrase: bytes
    fields: bytes
    length: int | None
