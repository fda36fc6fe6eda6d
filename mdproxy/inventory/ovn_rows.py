# -*- test-case-name: tests.test_inventory_ovn_rows -*-
"""
Rows of OVN's southbound database, as Neutron and northd write them, to ports.

Pure.  northd copies a port's C{external_ids} and addresses from the northbound
database, where Neutron wrote them (C{_get_port_options} and
C{get_external_ids_from_port} in neutron/plugins/ml2/drivers/ovn/mech_driver/ovsdb/
ovn_client.py).

B{Which MAC is the port's own?}  The column C{mac} holds the port's MAC with its fixed
addresses, and beside it each MAC of its allowed address pairs, or C{unknown} without
port security.  It is a set, so the server sorts it, and what comes first may be a
pair's MAC, which a tenant chooses.  The own one is therefore that with the fixed
addresses of C{neutron:cidrs}; where that leaves a doubt there is no port, and no
refusal either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from mdproxy.model import (
    Malformed,
    Port,
    canonical_address,
    canonical_mac,
    checked_id,
)
from mdproxy.ovsdb_replica import Row, Wanted

DATABASE: Final = "OVN_Southbound"

_INSTANCE = "neutron:device_id"
_PROJECT = "neutron:project_id"
_OWNER = "neutron:device_owner"
_NETWORK = "neutron:network_name"
_CIDRS = "neutron:cidrs"

#: What is asked of the server, and nothing else: of a port's C{external_ids}, too, only
#: a few are kept.  Old databases lack C{additional_chassis} (before OVN 22.06) and
#: C{port_security}.  Whether a port is C{up} is not asked: Neutron's agent looks at the
#: chassis alone, and a port that is not up yet can't ask.
WANTED: Final[Wanted] = {
    "Chassis": {"name": None, "hostname": None},
    "Port_Binding": {
        "logical_port": None,
        "type": None,
        "datapath": None,
        "chassis": None,
        "additional_chassis": None,
        "mac": None,
        "port_security": None,
        "parent_port": None,
        "external_ids": frozenset({_INSTANCE, _PROJECT, _OWNER, _NETWORK, _CIDRS}),
    },
    "Datapath_Binding": {"external_ids": frozenset({"name"})},
}
#: Without these nothing can be known.
REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    "Chassis": frozenset({"name", "hostname"}),
    "Port_Binding": frozenset(
        {"logical_port", "type", "datapath", "chassis", "mac", "external_ids"}
    ),
    "Datapath_Binding": frozenset({"external_ids"}),
}

#: The types of ports that are an instance's (neutron/agent/ovn/metadata/agent.py,
#: C{OVN_VIF_PORT_TYPES}): plain ones, and those of network cards that bypass the host.
_OF_INSTANCES = ("", "external")
_EXTERNAL = "external"
#: Who owns ports that instances ask through: Nova, and Ironic for it.  Neutron's agent
#: asks for no owner; other owners' C{device_id} is no instance.
_COMPUTE = ("compute:", "baremetal:")
_SUBPORT = "trunk:subport"
_ROUTER = "network:router_"

#: How Neutron names a logical switch (neutron/common/ovn/utils.py, C{ovn_name}).
_PREFIX = "neutron-"
#: Words that are no MAC (ovn-nb(5), Logical_Switch_Port, C{addresses}).
_WORDS = frozenset({"unknown", "router", "dynamic", "VRRPv3"})
_TAP = "tap"
_PIECE = 11
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

Rows = Mapping[str, Mapping[str, Row]]
#: A <condition> of OVSDB, or a truth value (ovsdb-server(7), section 5.1).
Where = list[Any]


def where_chassis(name: str, hostname: str) -> Where:
    """
    Say which chassis may be this host.

    @param name: Its name, which is the C{system-id} of Open vSwitch; empty: the chassis
        whose host has our name.
    @param hostname: Our name, whole or up to the first dot.
    """
    if name:
        return [["name", "==", name]]
    names = dict.fromkeys((hostname, hostname.partition(".")[0]))
    return [["hostname", "==", each] for each in names]


def conditions(rows: Rows, has_additional: bool) -> dict[str, Where]:
    """
    Say which rows we need, as far as that is known by now: the ports of our chassis,
    and the datapaths of these.

    An empty list would mean all rows, so there is always something in it.

    @param rows: What is known.
    @param has_additional: Whether the database knows ports on several chassis.
    """
    ports: Where = []
    for uuid in chassis_of(rows):
        ports.append(["chassis", "==", ["uuid", uuid]])
        if has_additional:
            here = ["set", [["uuid", uuid]]]
            ports.append(["additional_chassis", "includes", here])
    datapaths = sorted(
        {_text(row, "datapath") for row in rows["Port_Binding"].values()}
    )
    return {
        "Port_Binding": ports or [False],
        "Datapath_Binding": [["_uuid", "==", ["uuid", each]] for each in datapaths]
        or [False],
    }


def chassis_of(rows: Rows) -> frozenset[str]:
    """
    Find our chassis; where several have our name nobody knows which it is, so none.
    """
    found = frozenset(rows["Chassis"])
    return found if len(found) == 1 else frozenset()


def is_network(name: str) -> bool:
    """
    Tell whether a network has a name that Neutron gives: only those can be known.
    """
    return _UUID.match(name) is not None


@frozen
class Sight:
    """
    What a row of a port rests on.

    @ivar row: The row.
    @ivar datapath: The row of its datapath; C{None}: not told yet.
    @ivar parent: The row of the port that carries it; C{None}: there is none here.
    @ivar chassis: Our chassis.
    """

    row: Row
    datapath: Row | None
    parent: Row | None
    chassis: frozenset[str]

    def is_same(self, other: Sight | None) -> bool:
        """
        Tell whether nothing was replaced since.
        """
        return (
            other is not None
            and self.row is other.row
            and self.datapath is other.datapath
            and self.parent is other.parent
            and self.chassis == other.chassis
        )


@frozen
class Meaning:
    """
    What a row of a port means.

    @ivar port: The instance's port; C{None}: it is none, or in doubt.
    @ivar networks: The network that it is on, or may be on.
    @ivar is_doubtful: Whether it is a port of an instance that can't be told, so that
        silence on its networks proves nothing.
    @ivar router: The id of the router's port that it is.
    @ivar problem: What is wrong with the row.
    """

    port: Port | None = None
    networks: frozenset[str] = frozenset()
    is_doubtful: bool = False
    router: str | None = None
    problem: str | None = None


def sights_of(rows: Rows) -> dict[str, Sight]:
    """
    Lay beside each port's row what it rests on, by the row's UUID.
    """
    ports, datapaths = rows["Port_Binding"], rows["Datapath_Binding"]
    chassis = chassis_of(rows)
    by_name = {_text(row, "logical_port"): row for row in ports.values()}
    return {
        uuid: Sight(
            row,
            datapaths.get(_text(row, "datapath")),
            by_name.get(_text(row, "parent_port")),
            chassis,
        )
        for uuid, row in ports.items()
    }


def meaning_of(sight: Sight, inventory: str) -> Meaning:
    """
    Say what a row means.

    @param inventory: The inventory's name, for the port.
    """
    row, said = sight.row, _ids(sight.row)
    if not _is_on(row, sight.chassis):
        return Meaning()
    owner = said.get(_OWNER, "")
    is_instance = owner.startswith((*_COMPUTE, _SUBPORT)) and (
        _text(row, "type") in _OF_INSTANCES
    )
    if not is_instance and not owner.startswith(_ROUTER):
        return Meaning()
    networks = _networks(sight)
    if len(networks) != 1 or sight.datapath is None:
        # Not told yet, not Neutron's, or two names for one network.
        problem = "its network has two names" if len(networks) > 1 else None
        return Meaning(None, networks, is_instance, problem=problem)
    if not is_instance:
        return Meaning(networks=networks, router=_text(row, "logical_port"))
    try:
        [network] = networks
        port = _port(sight, network, inventory)
    except Malformed as error:
        return Meaning(None, networks, True, problem=str(error))
    return Meaning(port, networks, port is None)


def _networks(sight: Sight) -> frozenset[str]:
    """
    Find the names of a port's network: the datapath's, which is Neutron's own rule
    (neutron/common/ovn/utils.py, C{get_network_name_from_datapath}), and the port's.
    """
    names = [_ids(sight.row).get(_NETWORK, "")]
    if sight.datapath is not None:
        named = _ids(sight.datapath).get("name", "")
        if not named.startswith(_PREFIX):
            return frozenset()
        names.append(named)
    return frozenset(n[len(_PREFIX) :] for n in names if n.startswith(_PREFIX))


def _port(sight: Sight, network: str, inventory: str) -> Port | None:
    """
    Make the port.

    @return: C{None} where its MAC can't be told, or its instance.

    @raise Malformed: If the row says what can't be.
    """
    row, said = sight.row, _ids(sight.row)
    port_id = checked_id(_text(row, "logical_port"))
    own = own_seat(_set(row, "mac"), said.get(_CIDRS))
    carrier, parent, tap = said, None, port_id
    if said[_OWNER].startswith(_SUBPORT):
        # A trunk's subport has no instance of its own (DESIGN section 3.6, row 14).
        if sight.parent is None or not _carries(sight):
            return None
        carrier = _ids(sight.parent)
        tap = parent = checked_id(_text(sight.parent, "logical_port"))
    if own is None:
        return None
    mac, addresses = own
    is_tapped = _text(row, "type") != _EXTERNAL
    return Port(
        checked_id(network),
        mac,
        carrier.get(_INSTANCE, ""),
        carrier.get(_PROJECT, ""),
        addresses,
        pairs_of(mac, (*_set(row, "mac"), *_set(row, "port_security"))) - addresses,
        inventory,
        port_id,
        _TAP + tap[:_PIECE] if is_tapped else None,
        parent,
    )


def _carries(sight: Sight) -> bool:
    """
    Tell whether a subport's parent is an instance's port, and here.
    """
    parent = sight.parent
    return (
        parent is not None
        and _is_on(parent, sight.chassis)
        and _ids(parent).get(_OWNER, "").startswith(_COMPUTE)
    )


def own_seat(
    macs: Iterable[str], cidrs: str | None
) -> tuple[str, frozenset[str]] | None:
    """
    Find the MAC of a port's own, and its fixed addresses.

    @param macs: The elements of C{mac}: each a MAC, perhaps with addresses, or a word.
    @param cidrs: C{neutron:cidrs}: the fixed addresses with their prefixes' lengths;
        C{None}: not said.

    @return: C{None} where none, or more than one, may be it.

    @raise Malformed: If an element is of no such form.
    """
    seats = [seat for seat in map(_seat, macs) if seat is not None]
    if cidrs is not None:
        fixed = frozenset(
            canonical_address(cidr.partition("/")[0]) for cidr in cidrs.split()
        )
        seats = [
            seat for seat in seats if seat[1] >= fixed and bool(seat[1]) == bool(fixed)
        ]
    return seats[0] if len(seats) == 1 else None


def _seat(element: str) -> tuple[str, frozenset[str]] | None:
    """
    Read an element of C{mac}.
    """
    words = element.split()
    if not words or words[0] in _WORDS:
        return None
    return canonical_mac(words[0]), frozenset(map(canonical_address, words[1:]))


def pairs_of(mac: str, elements: Iterable[str]) -> frozenset[str]:
    """
    Find the addresses that a port may use with its own MAC: its fixed ones, and those
    of its allowed address pairs.

    Neutron writes the latter into C{port_security} only (ovn_client.py,
    C{_get_allowed_addresses_from_port}).  Whole networks are left out: nobody is let in
    on the strength of a pair that names more than one address.
    """
    found: set[str] = set()
    for element in elements:
        words = element.split()
        if words and words[0].lower() == mac:
            found.update(word for word in words[1:] if "/" not in word)
    return frozenset(map(canonical_address, found))


def _is_on(row: Row, chassis: frozenset[str]) -> bool:
    """
    Tell whether a port is on our chassis, or moving to it (live migration: OVN knows
    both chassis then, and the instance may ask on either).
    """
    here = (*_set(row, "chassis"), *_set(row, "additional_chassis"))
    return not chassis.isdisjoint(here)


def _set(row: Row, column: str) -> list[str]:
    """
    Read a set of strings; a column that the database lacks is empty.
    """
    value = row.get(column, ())
    return sorted(each for each in value if isinstance(each, str))


def _text(row: Row, column: str) -> str:
    """
    Read a string; empty where there is none.
    """
    value = _set(row, column)
    return value[0] if len(value) == 1 else ""


def _ids(row: Row) -> dict[str, str]:
    """
    Read what Neutron said of a row.
    """
    value = row.get("external_ids", {})
    if not isinstance(value, Mapping):
        return {}
    return {str(key): word for key, word in value.items() if isinstance(word, str)}
