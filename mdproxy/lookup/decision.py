# -*- test-case-name: tests.test_lookup_decision -*-
"""
The decision table: from evidence to a verdict, without any side.

The rows are those of DESIGN section 3.6.  M is the frame's MAC, P the ports on the
listener's network with it, S the source address, Q the ports with that address, N the
kernel's neighbour entry for S, Z the unexpired lease of S::

    row  M    P    S in P.addresses  Z          verdict
    1    yes  1    yes               MAC = M    allow
    2    yes  1    yes               none       allow, lease-missing
    3    yes  1    yes               MAC != M   allow, lease-conflict (option: deny)
    4    yes  1    unknown           MAC = M    allow; without lease only if enabled
    5    yes  1    no                any        deny foreign-address
    6    yes  0    Q exists          any        deny mac-mismatch
    7    yes  0    Q none            any        deny unknown
    8    yes  >1   -                 any        deny ambiguous
    9    yes  1    S is link-local   any        allow, link-local
    10   none or N none              any        deny no-neighbour (503)
    11   routed: identify_by = lease or address
    12   what rows 1 to 9 allow, but the bridge has M on a device that is not P's
                                                deny port-mismatch (option)
    13   N != M, or N turned         any        deny frame-mismatch
    14   what rows 1 to 9 allow, P's instance being that of its trunk's parent port
                                                allow, trunk-parent

Where several inventories know P they must agree on its instance and project.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final

from attrs import evolve, frozen

from mdproxy.lookup.books import PREFIX
from mdproxy.model import (
    Caller,
    Evidence,
    Identity,
    Lease,
    Port,
    Reason,
    Refusal,
)

#: The inventories whose word on addresses counts before that of others: the others
#: have what Nova wrote down when it last looked.
_AUTHORITIES: Final = ("ovn", "neutron")


@frozen
class Policy:
    """
    What the operator decided about doubtful evidence.

    @ivar allow_unverified_address: Whether a port whose addresses no source knows may
        ask without a lease for its address (row 4).
    @ivar refuse_lease_conflict: Whether a lease that names another MAC denies (row 3).
    @ivar check_bridge_port: Whether the bridge must have the MAC on the port's own
        device (row 12).
    """

    allow_unverified_address: bool = False
    refuse_lease_conflict: bool = False
    check_bridge_port: bool = False


@frozen
class Facts:
    """
    What the books say of a caller at one moment.

    @ivar caller: Who asks.
    @ivar neighbour: The MAC in the kernel's entry for the caller's address.
    @ivar turned: Whether that entry was turned from one MAC to another since the
        caller's handshake began, so that another may have made the handshake.
    @ivar lease: The lease in force of the caller's address.
    @ivar by_mac: The ports on the caller's network with the MAC that identifies.
    @ivar by_address: The ports on the caller's network with the caller's address.
    @ivar bridge_port: The device by which the bridge would send to the caller's MAC;
        C{None} where there is no bridge, or nobody asked it.
    """

    caller: Caller
    neighbour: str | None
    turned: bool
    lease: Lease | None
    by_mac: tuple[Port, ...]
    by_address: tuple[Port, ...]
    bridge_port: str | None = None


@frozen
class _Row:
    """
    A row that matched, and the port that it allows.
    """

    number: int
    reason: Reason
    port: Port | None = None


def decide(facts: Facts, policy: Policy, doubtful: bool) -> Identity | Refusal:
    """
    Judge a caller.

    @param facts: What is known.
    @param policy: What the operator decided.
    @param doubtful: Whether a source that would know is not live.

    @return: The instance, or the refusal with its reason.
    """
    row = _row(facts, policy)
    evidence = Evidence(
        facts.caller, facts.neighbour, facts.lease, row.number, row.reason
    )
    if row.port is not None:
        return Identity(row.port, evidence)
    # Without a neighbour entry nobody knows where the answer would go: it may come
    # in a moment, so it is never "no such instance" (scenario D6).
    return Refusal(evidence, doubtful or row.reason is Reason.NO_NEIGHBOUR)


def is_link_local(address: str) -> bool:
    """
    Tell whether an address is a link-local one of IPv6.
    """
    return ":" in address and ip_address(address).is_link_local


def eui64(mac: str) -> str:
    """
    Make the link-local address that belongs to a MAC (RFC 4291, appendix A).

    @param mac: A canonical MAC address.

    @return: The canonical address.
    """
    octets = bytes.fromhex(mac.replace(":", ""))
    tail = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + tail))


def _row(facts: Facts, policy: Policy) -> _Row:
    """
    Find the row that applies.
    """
    caller = facts.caller
    if caller.identify_by == "address":
        return _by_address(facts)
    if caller.identify_by == "lease":
        return _by_lease(facts, policy)
    if caller.mac is None or facts.neighbour is None:
        return _Row(10, Reason.NO_NEIGHBOUR)
    if facts.neighbour != caller.mac or facts.turned:
        return _Row(13, Reason.FRAME_MISMATCH)
    return _by_port(facts, policy)


def _by_port(facts: Facts, policy: Policy) -> _Row:
    """
    Rows 1 to 9, 12 and 14: the caller's MAC is certain.
    """
    if not facts.by_mac:
        if facts.by_address:
            return _Row(6, Reason.MAC_MISMATCH)
        return _Row(7, Reason.UNKNOWN)
    port = _agreed(facts.by_mac)
    if isinstance(port, Reason):
        return _Row(8, port)
    row = _by_source_address(facts, policy, port)
    if row.port is None:
        return row
    if policy.check_bridge_port and not _is_plugged_in_there(port, facts.bridge_port):
        return _Row(12, Reason.PORT_MISMATCH)
    if port.parent is not None:
        return _Row(14, Reason.TRUNK_PARENT, port)
    return row


def _is_plugged_in_there(port: Port, device: str | None) -> bool:
    """
    Tell whether frames of a port come in by a device; if nobody knows, they do.

    @param device: Where the bridge learnt the port's MAC.
    """
    own = port.device
    if own is None and port.port_id is not None:
        own = "tap" + port.port_id[:PREFIX]
    return own is None or device is None or own == device


def _by_source_address(facts: Facts, policy: Policy, port: Port) -> _Row:
    """
    Rows 1 to 5 and 9: the port is certain, its address is to be checked.
    """
    address = facts.caller.address
    if is_link_local(address):
        # A probed MAC came from a table that neighbours can write to, so there the
        # address must be one that belongs to it (DESIGN section 3.2).
        own = not facts.caller.probed or address in {
            eui64(port.mac),
            *(port.addresses or ()),
        }
        if own:
            return _Row(9, Reason.LINK_LOCAL, port)
        return _Row(5, Reason.FOREIGN_ADDRESS)
    if port.addresses is None:
        return _unverified(facts, policy, port)
    if address in port.addresses:
        return _leased(facts, policy, port)
    if address in port.pairs:
        return _Row(1, Reason.AAP, port)
    return _Row(5, Reason.FOREIGN_ADDRESS)


def _leased(facts: Facts, policy: Policy, port: Port) -> _Row:
    """
    Rows 1 to 3: what the lease says beside port and address that agree.
    """
    if facts.lease is None or facts.lease.mac is None:
        return _Row(2, Reason.LEASE_MISSING, port)
    if facts.lease.mac == port.mac:
        return _Row(1, Reason.AGREED, port)
    if policy.refuse_lease_conflict:
        return _Row(3, Reason.LEASE_CONFLICT)
    return _Row(3, Reason.LEASE_CONFLICT, port)


def _unverified(facts: Facts, policy: Policy, port: Port) -> _Row:
    """
    Row 4: no inventory knows the port's addresses, so a lease may say it.
    """
    if facts.lease is not None and facts.lease.mac == port.mac:
        return _Row(4, Reason.AGREED, port)
    if facts.lease is not None and facts.lease.mac is not None:
        return _Row(4, Reason.LEASE_CONFLICT)
    if policy.allow_unverified_address:
        return _Row(4, Reason.ADDRESS_UNVERIFIED, port)
    return _Row(4, Reason.ADDRESS_UNVERIFIED)


def _by_lease(facts: Facts, policy: Policy) -> _Row:
    """
    Row 11 where a lease supplies the MAC of a routed caller.
    """
    if facts.lease is None or facts.lease.mac is None:
        return _Row(11, Reason.NO_LEASE)
    if not facts.by_mac:
        return _Row(11, Reason.UNKNOWN)
    port = _agreed(facts.by_mac)
    if isinstance(port, Reason):
        return _Row(11, port)
    if port.addresses is None or facts.caller.address in port.addresses:
        return _Row(11, Reason.AGREED, port)
    return _Row(11, Reason.FOREIGN_ADDRESS)


def _by_address(facts: Facts) -> _Row:
    """
    Row 11 where the operator said that the address alone identifies.
    """
    if not facts.by_address:
        return _Row(11, Reason.UNKNOWN)
    port = _agreed(facts.by_address)
    if isinstance(port, Reason):
        return _Row(11, port)
    return _Row(11, Reason.ADDRESS_ONLY, port)


def _agreed(ports: tuple[Port, ...]) -> Port | Reason:
    """
    Make one port of what several inventories say, if they agree.

    @param ports: At least one.

    @return: The port, with the addresses of whom they count of; or why there is none:
        one inventory has two, or two differ in MAC, instance or project.
    """
    if len(ports) == 1:
        return ports[0]
    if len({port.inventory for port in ports}) < len(ports):
        return Reason.AMBIGUOUS
    if len({(p.mac, p.instance_id, p.project_id) for p in ports}) > 1:
        return Reason.DISAGREEMENT
    chosen = min(ports, key=_remoteness)
    return evolve(
        chosen,
        device=next((p.device for p in ports if p.device is not None), None),
        port_id=next((p.port_id for p in ports if p.port_id is not None), None),
    )


def _remoteness(port: Port) -> tuple[bool, bool]:
    """
    Tell how far what an inventory says of a port's addresses is from the truth.
    """
    return port.addresses is None, port.inventory not in _AUTHORITIES
