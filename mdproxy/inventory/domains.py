# -*- test-case-name: tests.test_inventory_domains -*-
"""
libvirt's live domain XML, with Nova's metadata, to values.

Pure.  libvirt writes the file, but names and images in it are the tenant's words, so it
is read as if an enemy had written it: no document type, no entities, no depth, and
nothing is built from elements that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.parsers import expat

from attrs import define, field, frozen

from mdproxy.model import Malformed, Port, canonical_address

#: Nova's namespaces (nova/virt/libvirt/config.py, C{NOVA_NS}); what they call the
#: elements' prefix is libvirt's affair.
_NOVA = (
    "http://openstack.org/xmlns/libvirt/nova/1.1",
    "http://openstack.org/xmlns/libvirt/nova/1.0",
)
_MAX_DEPTH = 64
_MAX_TAG = 256
_MAX_INTERFACES = 256
_MAX_ADDRESSES = 4096

_DOMAIN = "domstatus/domain"
_INSTANCE = f"{_DOMAIN}/metadata/nova:instance"
_INTERFACE = f"{_DOMAIN}/devices/interface"
#: The length of the piece of a port's id in the name of its device
#: (nova/network/model.py, C{NIC_NAME_LEN}, with the prefix C{tap}).
_PIECE = 11


@define
class Interface:
    """
    One network interface of a domain.

    @ivar mac: Its MAC address, as written.
    @ivar bridge: The bridge it is plugged into; C{None}: into none.
    @ivar device: The host's end of it.
    """

    mac: str | None = None
    bridge: str | None = None
    device: str | None = None


@define
class Domain:
    """
    What one file says of a domain.

    @ivar is_live: Whether it is the state of a running domain, and not a definition.
    @ivar uuid: Its id, which is Nova's id of the instance.
    @ivar is_nova: Whether Nova left its metadata there.
    @ivar project: The project's id; C{None}: not said.
    @ivar fixed: The fixed addresses by port; C{None}: Nova did not list ports (before
        its version 21 it did not).
    @ivar interfaces: The interfaces.
    """

    is_live: bool = False
    uuid: str = ""
    is_nova: bool = False
    project: str | None = None
    fixed: dict[str, set[str]] | None = None
    interfaces: list[Interface] = field(factory=list)

    def addresses_of(self, interface: Interface) -> frozenset[str] | None:
        """
        Find the fixed addresses of an interface.

        Its port is known by the device's name.  Where that says nothing (other kinds of
        devices) all of the instance's addresses count, for the order tells nothing.

        @return: C{None} where Nova did not say.

        @raise Malformed: If an address is none.
        """
        if self.fixed is None:
            return None
        for port, addresses in self.fixed.items():
            if interface.device == "tap" + port[:_PIECE] and len(port) > _PIECE:
                return frozenset(canonical_address(address) for address in addresses)
        return frozenset(
            canonical_address(address)
            for addresses in self.fixed.values()
            for address in addresses
        )


def read_domain(data: bytes) -> Domain:
    """
    Read a file.

    @raise Malformed: If it is no XML, or XML of a kind that libvirt doesn't write.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except Malformed:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        # The last two are about the encoding that the file declares.
        raise Malformed(f"it is no XML: {str(error)[:100]}") from None
    return reader.domain


def _refuse(*args: object) -> None:
    """
    Refuse a document type, and with it all entities.
    """
    raise Malformed("it declares a document type")


@define
class _Reader:
    """
    What the parser calls.

    @ivar domain: What was read so far.
    @ivar _path: The paths of the open elements, from the root.
    @ivar _port: The addresses of the Nova port that is being read.
    """

    domain: Domain = field(factory=Domain)
    _path: list[str] = field(factory=list)
    _port: set[str] = field(factory=set)

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """
        Take the start of an element.
        """
        if len(self._path) >= _MAX_DEPTH or len(tag) > _MAX_TAG:
            raise Malformed("it is nested too deeply, or has too long a tag")
        name = _short(tag)
        path = f"{self._path[-1]}/{name}" if self._path else name
        self._path.append(path)
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
        elif path == "/mac":
            interfaces[-1].mac = attributes.get("address")
        elif path == "/target":
            interfaces[-1].device = attributes.get("dev")
        elif path in ("/source", "/actual/source") and "bridge" in attributes:
            # What is said of the actual connection comes later, and counts.
            interfaces[-1].bridge = attributes["bridge"]

    def end(self, tag: str) -> None:
        """
        Take the end of an element.
        """
        self._path.pop()

    def text(self, text: str) -> None:
        """
        Take text; it may come in pieces.
        """
        if self._path[-1] == f"{_DOMAIN}/uuid":
            self.domain.uuid = (self.domain.uuid + text)[:256]


def _short(tag: str) -> str:
    """
    Write a qualified name short; names in strange namespaces match nothing.
    """
    namespace, _, name = tag.rpartition(" ")
    if not namespace:
        return name
    return f"nova:{name}" if namespace in _NOVA else f"?:{name}"


@frozen
class Ports:
    """
    What a domain gives an inventory.

    @ivar ports: The ports.
    @ivar strangers: How many interfaces are on no listener's network.
    @ivar problem: What is wrong with the others; C{None}: nothing.
    """

    ports: tuple[Port, ...] = ()
    strangers: int = 0
    problem: str | None = None


def ports_of(domain: Domain, networks: Mapping[str, str], inventory: str) -> Ports:
    """
    Find the ports of a domain.

    @param networks: The networks by the device of their listener.
    @param inventory: The name of the inventory, for the ports.
    """
    if not domain.is_live or not domain.is_nova:
        return Ports()
    ports: list[Port] = []
    strangers = 0
    problem = None
    for interface in domain.interfaces:
        network = networks.get(interface.bridge or "")
        if network is None:
            strangers += 1
            continue
        try:
            port = Port(
                network,
                interface.mac or "",
                domain.uuid.strip(),
                domain.project or "",
                domain.addresses_of(interface),
                inventory=inventory,
            )
        except Malformed as error:
            problem = str(error)
        else:
            ports.append(port)
    return Ports(tuple(ports), strangers, problem)
