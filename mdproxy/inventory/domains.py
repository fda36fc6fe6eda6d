# -*- test-case-name: tests.test_inventory_domains -*-
"""
libvirt's XML of running domains, with Nova's metadata, to values.

Pure.  libvirt writes the file, but names and images in it are the tenant's words, so it
is read as if an enemy had written it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import define, field, frozen

from mdproxy.inventory.elements import read_elements
from mdproxy.lookup.books import PREFIX
from mdproxy.model import Malformed, Port, canonical_address

_MAX_INTERFACES = 256
_MAX_ADDRESSES = 4096
_MAX_TEXT = 256

_DOMAIN = "domstatus/domain"
_INSTANCE = f"{_DOMAIN}/metadata/nova:instance"
_INTERFACE = f"{_DOMAIN}/devices/interface"
_NETWORK = "networkstatus/network"
#: How the name begins of a bridge between one instance and Open vSwitch
#: (nova/network/os_vif_util.py, C{_get_hybrid_bridge_name}).
_HYBRID = "qbr"


@define
class Interface:
    """
    One network interface of a domain.

    @ivar mac: Its MAC address, as written.
    @ivar bridge: The bridge it is plugged into, or (C{type='direct'}) the device that
        it is a macvtap of; C{None}: the file does not say.
    @ivar libvirt_network: The name of the libvirt network it is plugged into; C{None}:
        into none, or the file says more about it.
    @ivar device: The host's end of it.
    @ivar is_tagged: Whether its frames carry a tag on that bridge.
    @ivar is_switched: Whether that bridge is an Open vSwitch.
    @ivar is_direct: Whether it is a macvtap.
    @ivar is_resolved: Whether libvirt has said what the network came down to.
    """

    mac: str | None = None
    bridge: str | None = None
    libvirt_network: str | None = None
    device: str | None = None
    is_tagged: bool = False
    is_switched: bool = False
    is_direct: bool = False
    is_resolved: bool = False

    def take(self, path: str, attributes: Mapping[str, str]) -> None:
        """
        Take the start of an element.

        @param path: Its path from the interface's own element.
        """
        if path in ("", "/actual"):
            # The actual connection comes after what was asked for, and counts.
            self.is_direct = attributes.get("type") == "direct"
            if path:
                self.bridge = self.libvirt_network = None
                self.is_resolved = True
        elif path == "/mac":
            self.mac = attributes.get("address")
        elif path == "/target":
            self.device = attributes.get("dev")
        elif path == "/actual/source" or (path == "/source" and not self.is_resolved):
            lower = attributes.get("dev") if self.is_direct else None
            self.bridge = attributes.get("bridge") or lower
            self.libvirt_network = attributes.get("network")
        elif path in ("/vlan", "/actual/vlan"):
            self.is_tagged = True
        elif path in ("/virtualport", "/actual/virtualport"):
            self.is_switched |= attributes.get("type") == "openvswitch"


@define
class Domain:
    """
    What one file says of a domain.

    @ivar is_live: Whether it is the state of a running domain, and not a definition.
    @ivar uuid: Its id, which is Nova's id of the instance.
    @ivar is_nova: Whether Nova left its metadata there.
    @ivar project: The project's id; C{None}: not said.
    @ivar fixed: The fixed addresses by port; C{None}: Nova did not list ports (before
        its version 21 it did not), or it is not Nova's.
    @ivar interfaces: The interfaces.
    """

    is_live: bool = False
    uuid: str = ""
    is_nova: bool = False
    project: str | None = None
    fixed: dict[str, set[str]] | None = None
    interfaces: list[Interface] = field(factory=list)

    def port_of(self, interface: Interface) -> str | None:
        """
        Find the id of an interface's port: its device is named after it.

        @return: C{None} where the name says nothing (other kinds of devices).
        """
        for port in self.fixed or ():
            if interface.device == "tap" + port[:PREFIX] and len(port) > PREFIX:
                return port
        return None

    def addresses_of(self, port: str | None) -> frozenset[str] | None:
        """
        Find the fixed addresses of a port.

        @param port: Its id; where it is C{None} all of the instance's addresses count,
            for the order in which ports are listed tells nothing.

        @return: C{None} where Nova did not say.

        @raise Malformed: If an address is none.
        """
        if self.fixed is None:
            return None
        listed = self.fixed.values() if port is None else [self.fixed[port]]
        return frozenset(
            canonical_address(address) for addresses in listed for address in addresses
        )


def read_domain(data: bytes) -> Domain:
    """
    Read a domain's file.

    @raise Malformed: If it is no XML, or XML of a kind that libvirt doesn't write.
    """
    reader = _Reader()
    read_elements(data, reader.start, reader.text)
    return reader.domain


@define
class _Reader:
    """
    What hears of the elements of a domain's file.

    @ivar domain: What was read so far.
    @ivar _port: The addresses of the Nova port that is being read.
    """

    domain: Domain = field(factory=Domain)
    _port: set[str] = field(factory=set)

    def start(self, path: str, attributes: Mapping[str, str]) -> None:
        """
        Take the start of an element.
        """
        if path == _DOMAIN:
            if self.domain.is_live:
                raise Malformed("it holds more than one domain")
            self.domain.is_live = True
        elif path.startswith(_INSTANCE):
            self._start_metadata(path[len(_INSTANCE) :], attributes)
        elif path.startswith(_INTERFACE):
            self._start_interface(path[len(_INTERFACE) :], attributes)

    def _start_metadata(self, path: str, attributes: Mapping[str, str]) -> None:
        """
        Take an element of Nova's.
        """
        domain = self.domain
        if path == "":
            if domain.is_nova:
                raise Malformed("it holds more than one instance of Nova's")
            domain.is_nova = True
        elif path == "/nova:owner/nova:project":
            domain.project = attributes.get("uuid")
        elif path.startswith("/nova:ports"):
            self._start_ports(path[len("/nova:ports") :], attributes)

    def _start_ports(self, path: str, attributes: Mapping[str, str]) -> None:
        """
        Take an element of Nova's list of ports.
        """
        if path == "":
            self.domain.fixed = {}
        elif path == "/nova:port" and self.domain.fixed is not None:
            port = attributes.get("uuid", "")
            self._port = self.domain.fixed.setdefault(port, set())
        elif path == "/nova:port/nova:ip" and attributes.get("type") == "fixed":
            self._port.add(attributes.get("address", ""))
            if len(self._port) > _MAX_ADDRESSES:
                raise Malformed("a port has too many addresses")

    def _start_interface(self, path: str, attributes: Mapping[str, str]) -> None:
        """
        Take an element of an interface.
        """
        interfaces = self.domain.interfaces
        if path == "":
            if len(interfaces) == _MAX_INTERFACES:
                raise Malformed("it has too many interfaces")
            interfaces.append(Interface())
        if path == "" or path.startswith("/"):
            interfaces[-1].take(path, attributes)

    def text(self, path: str, text: str) -> None:
        """
        Take text.
        """
        if path == f"{_DOMAIN}/uuid":
            self.domain.uuid = (self.domain.uuid + text)[:_MAX_TEXT]


def read_bridge(data: bytes) -> str | None:
    """
    Read from the file of a libvirt network that is active which bridge it has.

    @return: C{None} where it has none.

    @raise Malformed: If it is no XML, or XML of a kind that libvirt doesn't write.
    """
    bridges: list[str] = []

    def start(path: str, attributes: Mapping[str, str]) -> None:
        if path == f"{_NETWORK}/bridge" and "name" in attributes:
            bridges.append(attributes["name"])

    read_elements(data, start, lambda path, text: None)
    return bridges[0] if len(bridges) == 1 else None


@frozen
class Ports:
    """
    What a domain gives an inventory.

    @ivar ports: The ports.
    @ivar strangers: How many interfaces are on no listener's network.
    @ivar lost: How many may be on any network, for the file does not tell.
    @ivar unowned: How many are on a listener's network, but are of nobody's project.
    @ivar problem: What is wrong with the others; C{None}: nothing.
    """

    ports: tuple[Port, ...] = ()
    strangers: int = 0
    lost: int = 0
    unowned: int = 0
    problem: str | None = None


@frozen
class Surroundings:
    """
    What is to be known beside a domain's own file.

    @ivar networks: The networks by the device of their listener.
    @ivar bridge_of: Tells the bridge of a libvirt network by its name, if there is one.
    @ivar project_of: Tells the project of an instance that Nova did not make, if
        anybody said.
    """

    networks: Mapping[str, str]
    bridge_of: Callable[[str], str | None] = lambda _network: None
    project_of: Callable[[str], str | None] = lambda _instance: None


def ports_of(domain: Domain, around: Surroundings, inventory: str) -> Ports:
    """
    Find the ports of a domain.

    @param inventory: The name of the inventory, for the ports.
    """
    if not domain.is_live:
        return Ports()
    instance = domain.uuid.strip()
    project = domain.project if domain.is_nova else around.project_of(instance)
    ports: list[Port] = []
    strangers = lost = unowned = 0
    problem = None
    for interface in domain.interfaces:
        bridge = _bridge_of(interface, around)
        network = None if bridge is None else around.networks.get(bridge)
        if bridge is None or _may_be_anywhere(interface, domain, network):
            lost += 1
        elif network is None:
            strangers += 1
        elif project is None and not domain.is_nova:
            unowned += 1
        else:
            try:
                ports.append(_port(interface, domain, network, project, inventory))
            except Malformed as error:
                problem = str(error)
    return Ports(tuple(ports), strangers, lost, unowned, problem)


def _bridge_of(interface: Interface, around: Surroundings) -> str | None:
    """
    Find the bridge that an interface is plugged into.
    """
    if interface.bridge is None and interface.libvirt_network is not None:
        return around.bridge_of(interface.libvirt_network)
    return interface.bridge


def _may_be_anywhere(interface: Interface, domain: Domain, network: str | None) -> bool:
    """
    Tell whether an interface may be on another network than its bridge's own.

    A tag makes it another one.  The bridge that Nova's instances share in Open vSwitch
    carries all networks of the host, kept apart by tags that the file does not tell; a
    hybrid bridge, unless somebody listens on that very one, is only the way there.

    @param network: The network of the bridge's listener.
    """
    if interface.is_tagged or (interface.is_switched and domain.is_nova):
        return True
    return network is None and (interface.bridge or "").startswith(_HYBRID)


def _port(
    interface: Interface,
    domain: Domain,
    network: str,
    project: str | None,
    inventory: str,
) -> Port:
    """
    Make the port of an interface.

    @raise Malformed: If it can't be one.
    """
    port_id = domain.port_of(interface)
    return Port(
        network,
        interface.mac or "",
        domain.uuid.strip(),
        project or "",
        domain.addresses_of(port_id),
        inventory=inventory,
        port_id=port_id,
        device=interface.device,
    )
