# -*- test-case-name: tests.test_inventory_neutron_ports -*-
"""
From what Neutron's API says of ports to ports.

Pure.  One bad port costs itself.  The attributes are those of the Networking API v2.0
reference ("Ports", "Trunk networking").

A port's C{status} is not asked for: Neutron says C{ACTIVE} only when an agent or OVN
has told it that the port is wired (neutron/plugins/ml2/rpc.py, C{update_device_up}),
which may be after the instance has sent its first request.  Whose port it is does not
depend on it.

Of allowed address pairs those count that have the port's own MAC and one address.  A
pair may also be a whole network, C{10.0.0.0/24}: a set of addresses can't hold that, so
an instance that asks from within it is refused, and C{wide_pairs} counts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Final

from attrs import frozen

from mdproxy.inventory.api import Garbled
from mdproxy.lookup.books import PREFIX
from mdproxy.model import Malformed, Port, canonical_address, canonical_mac, checked_id

#: What is asked for of each port.
FIELDS: Final = (
    "id",
    "network_id",
    "mac_address",
    "fixed_ips",
    "allowed_address_pairs",
    "device_id",
    "device_owner",
    "project_id",
    "tenant_id",
    "binding:host_id",
    "binding:vif_type",
)
#: What is asked for of each trunk.
TRUNK_FIELDS: Final = ("id", "port_id", "sub_ports")
#: What is asked for of each port of a router.
ROUTER_FIELDS: Final = ("id", "network_id", "device_owner")
#: Of how many entries an answer may consist.
MOST: Final = 4096
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
#: Of whose ports the host's end is a device named after the port
#: (nova/network/model.py, C{VIF.devname}; nova/virt/libvirt/vif.py).
_TAPPED: Final = frozenset({"ovs", "bridge", "tap"})
_INSTANCE: Final = "compute:"
_SUBPORT: Final = "trunk:subport"
#: What instances' owners may not call their ports (Neutron's policy).
_NETWORKS_OWN: Final = "network:"


@frozen
class NeutronPort:
    """
    A port as Neutron describes it.

    @ivar port_id: Its id.
    @ivar network: The id of its network.
    @ivar mac: Its MAC address.
    @ivar owner: What kind of thing it belongs to.
    @ivar device_id: What it belongs to.
    @ivar project_id: Whose it is.
    @ivar addresses: Its fixed addresses.
    @ivar pairs: The addresses of its pairs that count.
    @ivar wide_pairs: How many pairs with its MAC are networks.
    @ivar host: Where it is plugged in; C{None} where we may not know.
    @ivar vif_type: How it is plugged in.
    """

    port_id: str
    network: str
    mac: str
    owner: str
    device_id: str
    project_id: str
    addresses: frozenset[str]
    pairs: frozenset[str]
    wide_pairs: int
    host: str | None
    vif_type: str

    @property
    def is_instance(self) -> bool:
        """
        Tell whether it is an instance's.
        """
        return self.owner.startswith(_INSTANCE) and bool(self.device_id)

    @property
    def is_subport(self) -> bool:
        """
        Tell whether it has what it belongs to from a trunk.
        """
        return self.owner == _SUBPORT


def is_uuid(text: str) -> bool:
    """
    Tell whether a text has the form of all of Neutron's ids.
    """
    return _UUID.match(text) is not None


def read_ports(value: Any) -> tuple[list[NeutronPort], list[str]]:
    """
    Read a page of ports.

    @param value: The JSON of C{GET /v2.0/ports}.

    @return: The ports, and what is wrong with those that were left out.

    @raise Garbled: If it is no list of ports.
    """
    ports: list[NeutronPort] = []
    problems: list[str] = []
    for entry in _entries(value, "ports"):
        try:
            ports.append(_read_port(entry))
        except Malformed as error:
            problems.append(f"port {_name_of(entry)}: {error}")
    return ports, problems


def read_marker(value: Any, name: str) -> str | None:
    """
    Read behind what the next page begins.

    Where to ask for it is not for the answer to say: the link only tells that there is
    one more page, and the last entry where it begins ("Pagination", C{marker}).

    @param value: The JSON of a list.
    @param name: What is listed.

    @return: An id; C{None}: this page is the last.

    @raise Garbled: If there is another page and nobody knows behind what.
    """
    entries = _entries(value, name)
    links = value.get(f"{name}_links")
    listed = links if isinstance(links, list) else []
    if not any(_is_mapping(link) and link.get("rel") == "next" for link in listed):
        return None
    marker = entries[-1].get("id") if entries and _is_mapping(entries[-1]) else None
    if not isinstance(marker, str) or not is_uuid(marker):
        raise Garbled(f"Neutron has more {name}, but does not say behind which")
    return marker


def read_trunks(value: Any) -> dict[str, str]:
    """
    Read to which parents subports belong.

    @param value: The JSON of C{GET /v2.0/trunks}.

    @return: The id of the parent port, by the id of the subport; a subport that is
        said to have several has none.

    @raise Garbled: If it is no list of trunks.
    """
    parents: dict[str, set[str]] = {}
    for trunk in _entries(value, "trunks"):
        if not _is_mapping(trunk) or not isinstance(trunk.get("port_id"), str):
            continue
        subports = trunk.get("sub_ports")
        for subport in subports if isinstance(subports, list) else ():
            if _is_mapping(subport) and isinstance(subport.get("port_id"), str):
                parents.setdefault(subport["port_id"], set()).add(trunk["port_id"])
    return {port: found.pop() for port, found in parents.items() if len(found) == 1}


def read_router_ports(value: Any) -> dict[str, str]:
    """
    Read which networks a router's ports are on.

    @param value: The JSON of C{GET /v2.0/ports}.

    @return: The ids of networks, by those of ports.

    @raise Garbled: If it is no list of ports.
    """
    found: dict[str, str] = {}
    for entry in _entries(value, "ports"):
        if not _is_mapping(entry):
            continue
        port_id, network = entry.get("id"), entry.get("network_id")
        is_routers = str(entry.get("device_owner")).startswith(_NETWORKS_OWN)
        if is_routers and _is_id(port_id) and _is_id(network):
            found[port_id] = network
    return found


def ports_of(
    found: Iterable[NeutronPort],
    parents: Mapping[str, NeutronPort],
    host: str,
    inventory: str,
) -> tuple[list[Port], list[str]]:
    """
    Make ports of those that have an instance.

    @param found: What Neutron says of them.
    @param parents: The parents of trunks, by the ids of their subports.
    @param host: What Neutron calls this host.
    @param inventory: The name of the inventory, for the ports.

    @return: The ports, and what is wrong with those that can't be.
    """
    ports: list[Port] = []
    problems: list[str] = []
    for each in found:
        owner = parents.get(each.port_id) if each.is_subport else each
        if owner is None or not owner.is_instance:
            continue
        try:
            ports.append(_port(each, owner, host, inventory))
        except Malformed as error:
            problems.append(f"port {each.port_id}: {error}")
    return ports, problems


def _port(each: NeutronPort, owner: NeutronPort, host: str, inventory: str) -> Port:
    """
    Make a port with its own addresses and its owner's instance.
    """
    is_own = owner is each
    is_tapped = is_own and each.host == host and each.vif_type in _TAPPED
    return Port(
        each.network,
        each.mac,
        owner.device_id,
        owner.project_id,
        each.addresses,
        each.pairs,
        inventory,
        each.port_id,
        f"tap{each.port_id[:PREFIX]}" if is_tapped else None,
        None if is_own else owner.port_id,
    )


def _read_port(entry: Any) -> NeutronPort:
    """
    Read one entry.
    """
    if not _is_mapping(entry):
        raise Malformed("it is no mapping")
    for name in ("id", "network_id"):
        if not _is_id(entry.get(name)):
            raise Malformed(f"{name!r} is no id")
    mac = canonical_mac(_text(entry, "mac_address"))
    pairs, wide = _pairs(entry.get("allowed_address_pairs") or [], mac)
    host = entry.get("binding:host_id")
    return NeutronPort(
        entry["id"],
        entry["network_id"],
        mac,
        _text(entry, "device_owner"),
        _text(entry, "device_id"),
        _project(entry),
        _addresses(entry.get("fixed_ips")),
        pairs,
        wide,
        host if isinstance(host, str) else None,
        str(entry.get("binding:vif_type"))[:64],
    )


def _project(entry: Mapping[str, Any]) -> str:
    """
    Read whose it is, by either name of the attribute.
    """
    names = {
        entry[name] for name in ("project_id", "tenant_id") if _is_text(entry.get(name))
    }
    if len(names) > 1:
        raise Malformed("'project_id' and 'tenant_id' differ")
    return names.pop() if names else ""


def _addresses(listed: Any) -> frozenset[str]:
    """
    Read the fixed addresses.
    """
    found = [item.get("ip_address") for item in _mappings(listed, "fixed_ips")]
    for address in found:
        if not isinstance(address, str):
            raise Malformed("a fixed address is no text")
    return frozenset(map(canonical_address, found))


def _pairs(listed: Any, mac: str) -> tuple[frozenset[str], int]:
    """
    Read the pairs with the port's own MAC.

    @return: The addresses, and how many are networks.
    """
    addresses: set[str] = set()
    wide = 0
    for pair in _mappings(listed, "allowed_address_pairs"):
        if canonical_mac(_text(pair, "mac_address")) != mac:
            continue
        text = _text(pair, "ip_address")
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            raise Malformed(f"{text[:64]!r} is no IP address") from None
        if network.num_addresses == 1:
            addresses.add(canonical_address(text.partition("/")[0]))
        else:
            wide += 1
    return frozenset(addresses), wide


def _entries(value: Any, name: str) -> Sequence[Any]:
    """
    Find the list in an answer.
    """
    entries = value.get(name) if _is_mapping(value) else None
    if not isinstance(entries, list):
        raise Garbled(f"Neutron's answer has no list of {name}")
    if len(entries) > MOST:
        raise Garbled(f"Neutron's answer has more than {MOST} {name}")
    return entries


def _mappings(listed: Any, name: str) -> list[Mapping[str, Any]]:
    """
    Check that something is a list of mappings.
    """
    if not isinstance(listed, list) or not all(map(_is_mapping, listed)):
        raise Malformed(f"{name!r} is no list of mappings")
    return listed


def _text(entry: Mapping[str, Any], name: str) -> str:
    """
    Read an attribute that is text.
    """
    value = entry.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name!r} is no text")
    return value


def _is_text(value: Any) -> bool:
    """
    Tell whether something is text with anything in it.
    """
    return isinstance(value, str) and value != ""


def _is_id(value: Any) -> bool:
    """
    Tell whether something is one of Neutron's ids.
    """
    return isinstance(value, str) and is_uuid(value)


def _is_mapping(value: Any) -> bool:
    """
    Tell whether something is a mapping.
    """
    return isinstance(value, dict)


def _name_of(entry: Any) -> str:
    """
    Name a bad entry by its id, if that at least is good.
    """
    value = entry.get("id") if _is_mapping(entry) else None
    try:
        return checked_id(value) if isinstance(value, str) else "?"
    except Malformed:
        return "?"
