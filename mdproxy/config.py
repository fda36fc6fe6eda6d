# -*- test-case-name: tests.test_config -*-
"""
Settings to one frozen L{Config}, or one L{ConfigError} that names every fault.

L{mdproxy.settings} reads the files; what the options mean, and which of them fit
together, is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import TypeVar

from attrs import field, fields_dict, frozen

from mdproxy.credentials import find_secret
from mdproxy.model import Malformed, canonical_address
from mdproxy.nova_config import Endpoint, TlsFiles, UpstreamConfig, read_upstream
from mdproxy.options import LISTENER
from mdproxy.places import DEVICE, NETWORK, bare, completed, place_of
from mdproxy.settings import Settings, closest, printable

__all__ = [
    "Bounds",
    "Config",
    "ConfigError",
    "Endpoint",
    "HoldConfig",
    "LeaseSourceConfig",
    "ListenerConfig",
    "TlsFiles",
    "UpstreamConfig",
    "load",
]

_WEAKER = {
    "lease": "an instance that takes another's address on its network passes for it",
    "address": "whoever can send from an instance's address passes for it",
}


@frozen
class _Kinds:
    """
    The kinds of something.

    @ivar now: Those that this version has.
    @ivar later: Those that the design has, too.
    """

    now: tuple[str, ...]
    later: tuple[str, ...]


_INVENTORIES = _Kinds(("static", "libvirt"), ("ovn", "neutron"))
_LISTENERS = _Kinds(("device", "address"), ("namespaces", "socket"))
_LEASES = _Kinds(("dnsmasq",), ("dhcpd", "kea", "libvirt"))


_Plain = TypeVar("_Plain", "Bounds", "HoldConfig")


class ConfigError(Exception):
    """
    The configuration can't be used.

    @ivar faults: Every fault, one sentence each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        """
        Keep the faults.
        """
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


@frozen
class ListenerConfig:
    """
    A socket that accepts instances of one network.

    @ivar name: The listener's name.
    @ivar kind: C{device} or C{address}.
    @ivar device: The network device; C{None} for the other kind.
    @ivar address: The address; C{None} for the other kind.
    @ivar port: The TCP port.
    @ivar network: The network.
    @ivar identify_by: C{mac}, C{lease} or C{address}.
    """

    name: str
    kind: str
    device: str | None
    address: str | None
    port: int
    network: str
    identify_by: str


@frozen
class LeaseSourceConfig:
    """
    Where a DHCP server keeps its leases.

    @ivar kind: The kind of server: C{dnsmasq}.
    @ivar path: The file, perhaps as a glob.
    @ivar network: The network that it serves.
    """

    kind: str
    path: str
    network: str


@frozen
class Bounds:
    """
    What an instance may use; times in seconds, sizes in bytes.

    @ivar head_timeout: The longest time for a request's head.
    @ivar body_timeout: The longest time for a request's body.
    @ivar idle_timeout: How long an unused connection is kept.
    @ivar write_timeout: How long it may take no byte of an answer.
    @ivar max_head: The largest head.
    @ivar max_body: The largest body.
    @ivar max_connections: The most connections, in all.
    @ivar max_connections_per_instance: The most connections of one MAC on one network,
        or of one address where no MAC is known.
    @ivar max_requests_per_instance: The most requests that Nova is asked at a time.
    @ivar max_request_rate: The most requests of an instance in a second, on average.
    @ivar request_burst: How many may come at once before that.
    @ivar max_pipeline: The most requests that wait behind the one being answered.
    """

    head_timeout: float
    body_timeout: float
    idle_timeout: float
    write_timeout: float
    max_head: int
    max_body: int
    max_connections: int
    max_connections_per_instance: int
    max_requests_per_instance: int
    max_request_rate: int
    request_burst: int
    max_pipeline: int


@frozen
class HoldConfig:
    """
    How long requests may wait for what may pass by itself, and how many.

    @ivar openstack: Seconds for targets under /openstack.
    @ivar other: Seconds for all other targets.
    @ivar max_unidentified_per_mac: The most unrecognised requests of one MAC.
    @ivar max_unidentified_per_network: The most of one network.
    """

    openstack: float
    other: float
    max_unidentified_per_mac: int
    max_unidentified_per_network: int


@frozen
class Config:
    """
    All that the operator has decided.

    @ivar secret: The secret shared with Nova.
    @ivar upstream: The way to Nova.
    @ivar inventories: The inventories, in the order of asking.
    @ivar static_path: The static inventory's file.
    @ivar libvirt_path: The directory of the XML of libvirt's running domains.
    @ivar lease_sources: The lease stores.
    @ivar lease_conflict: C{warn} or C{refuse}.
    @ivar allow_unverified_address: Whether a MAC will do where nobody knows addresses.
    @ivar listeners: The listeners.
    @ivar introspection: The endpoint of the operator's pages.
    @ivar drain_timeout: Seconds for requests in flight when we are told to stop.
    @ivar bounds: What an instance may use.
    @ivar hold: How long requests may wait.
    @ivar notes: What is right, but worth a line in the log.
    """

    secret: bytes = field(repr=False)
    upstream: UpstreamConfig
    inventories: tuple[str, ...]
    static_path: str
    libvirt_path: str
    lease_sources: tuple[LeaseSourceConfig, ...]
    lease_conflict: str
    allow_unverified_address: bool
    listeners: tuple[ListenerConfig, ...]
    introspection: str
    drain_timeout: float
    bounds: Bounds
    hold: HoldConfig
    notes: tuple[str, ...] = ()


def load(files: Sequence[str], dirs: Sequence[str] = ()) -> Config:
    """
    Read the configuration.

    @param files: Configuration files; of what several set, the last counts.
    @param dirs: Directories whose C{*.conf} are read after them.

    @return: The whole configuration.

    @raise ConfigError: If anything is wrong, with all that is.
    """
    settings = Settings.load(files, dirs)
    listeners = _listeners(settings)
    config = Config(
        secret=find_secret(settings),
        upstream=read_upstream(settings),
        inventories=_inventories(settings),
        static_path=_filled(settings, "static", "path"),
        libvirt_path=_filled(settings, "libvirt", "path"),
        lease_sources=_lease_sources(settings, listeners),
        lease_conflict=settings.value("DEFAULT", "lease_conflict"),
        allow_unverified_address=settings.value("DEFAULT", "allow_unverified_address"),
        listeners=listeners,
        introspection=_introspection(settings, listeners),
        drain_timeout=settings.value("DEFAULT", "drain_timeout"),
        bounds=_plain(settings, "limits", Bounds),
        hold=_plain(settings, "hold", HoldConfig),
        notes=tuple(settings.notes),
    )
    if settings.faults:
        raise ConfigError(settings.faults)
    return config


def _plain(settings: Settings, section: str, kind: type[_Plain]) -> _Plain:
    """
    Fill a value whose fields are the options of a section.
    """
    return kind(**{name: settings.value(section, name) for name in fields_dict(kind)})


def _filled(settings: Settings, section: str, option: str) -> str:
    """
    Look up a path that must not be empty.
    """
    path: str = settings.value(section, option)
    if not path and not settings.is_faulty(section, option):
        settings.fault(section, option, "is empty: name a path")
    return path


def _built(
    settings: Settings, section: str, option: str, word: str, kinds: _Kinds
) -> bool:
    """
    Tell whether this version has a kind of something; if not, that is a fault.
    """
    if word in kinds.now:
        return True
    has = f"this version has {' and '.join(kinds.now)}"
    if word in kinds.later:
        settings.fault(section, option, f"{word} is not there yet: {has}")
    else:
        guess = closest(word, kinds.now)
        settings.fault(section, option, f"there is no '{printable(word)}': {guess}")
    return False


def _inventories(settings: Settings) -> tuple[str, ...]:
    """
    Find out who knows the ports.
    """
    option = "inventories"
    names: list[str] = settings.value("DEFAULT", option)
    for number, name in enumerate(names):
        _built(settings, "DEFAULT", option, name, _INVENTORIES)
        if name in names[:number]:
            settings.fault("DEFAULT", option, f"{printable(name)} stands there twice")
    if not names and not settings.is_faulty("DEFAULT", option):
        text = "is empty, so nobody could be recognised: name at least one"
        settings.fault("DEFAULT", option, text)
    return tuple(names)


def _listeners(settings: Settings) -> tuple[ListenerConfig, ...]:
    """
    Find the listeners, and see that they don't get into each other's way.
    """
    listeners: list[ListenerConfig] = []
    for name in settings.listeners:
        section = LISTENER + name
        listener = _listener(settings, section, name)
        if settings.is_faulty(section):
            continue
        for other in listeners:
            if problem := _clash(listener, other):
                settings.fault(section, "", problem)
        listeners.append(listener)
    if not settings.listeners and settings.is_whole:
        settings.faults.append(
            f"{settings.where}: there is no [{LISTENER}NAME]: nobody could ask; add "
            "one for each network"
        )
    return tuple(listeners)


def _listener(settings: Settings, section: str, name: str) -> ListenerConfig:
    """
    Read the section of one listener.
    """
    kind: str = settings.value(section, "kind")
    network: str = settings.value(section, "network") or name
    identify_by: str = settings.value(section, "identify_by")
    device = address = None
    if _built(settings, section, "kind", kind, _LISTENERS):
        _refuse_other(settings, section, kind)
        if kind == "device":
            device = _device(settings, section, name)
        else:
            address = _address(settings, section)
    if NETWORK.match(network) is None:
        settings.fault(
            section,
            "network",
            f"'{printable(network)}' can't name a network: up to 255 letters, digits "
            "and . _ : - can",
        )
    _judge_identification(settings, section, kind, identify_by)
    port: int = settings.value(section, "port")
    return ListenerConfig(name, kind, device, address, port, network, identify_by)


def _judge_identification(
    settings: Settings, section: str, kind: str, identify_by: str
) -> None:
    """
    Refuse what would identify wrongly, and note what identifies less surely.
    """
    option = "identify_by"
    if identify_by != "mac":
        text = f"{identify_by} is weaker than mac: {_WEAKER[identify_by]}"
        settings.note(section, option, text)
    elif kind == "address" and not settings.is_faulty(section, option):
        settings.fault(
            section,
            option,
            "mac can't identify on an address, where connections come in from every "
            "device, so nothing ties a frame's MAC to the network: set identify_by = "
            "lease or address, or kind = device",
        )


def _refuse_other(settings: Settings, section: str, kind: str) -> None:
    """
    Refuse an option that is for the other kind of listener.
    """
    other = "address" if kind == "device" else "device"
    if settings.value(section, other):
        settings.fault(
            section, other, f"is for kind = {other}, and this listener's is {kind}"
        )


def _device(settings: Settings, section: str, name: str) -> str:
    """
    Find the network device of a listener; it need not exist yet.
    """
    device: str = settings.value(section, "device") or name
    if DEVICE.match(device) is None:
        settings.fault(
            section,
            "device",
            f"'{printable(device)}' can't name a network device: up to 15 characters "
            "without space, / and : can",
        )
    return device


def _address(settings: Settings, section: str) -> str:
    """
    Find the address of a listener.
    """
    text: str = settings.value(section, "address")
    try:
        address = canonical_address(bare(text))
    except Malformed:
        problem = f"'{printable(text)}' is no IP address" if text else "is empty"
        settings.fault(
            section, "address", f"{problem}: kind = address needs one to listen on"
        )
        return text
    if "%" in text or ip_address(address).is_multicast:
        text = f"{printable(text)} is no plain address of the host"
        settings.fault(section, "address", text)
    return address


def _clash(one: ListenerConfig, other: ListenerConfig) -> str | None:
    """
    Say why two listeners can't both be.
    """
    same_port = one.port == other.port
    if same_port and (one.device, one.address) == (other.device, other.address):
        where = one.device or one.address
        return f"listens on {where} port {one.port}, as [{LISTENER}{other.name}] does"
    if same_port and {one.address, other.address} & {"0.0.0.0", "::"}:
        return (
            f"can't have port {one.port} beside [{LISTENER}{other.name}]: one of them "
            "takes it on every address"
        )
    devices = {one.device, other.device} - {None}
    if one.network == other.network and len(devices) > 1:
        return (
            f"serves network {one.network} on device {one.device}, and "
            f"[{LISTENER}{other.name}] on {other.device}: a network is one device"
        )
    return None


def _lease_sources(
    settings: Settings, listeners: Sequence[ListenerConfig]
) -> tuple[LeaseSourceConfig, ...]:
    """
    Find the lease stores, and see that those listeners have one that need one.
    """
    sources: list[LeaseSourceConfig] = []
    networks = [
        settings.value(LISTENER + name, "network") or name
        for name in settings.listeners
    ]
    for text in settings.value("leases", "sources"):
        source = _lease_source(settings, text, networks)
        if source is not None:
            sources.append(source)
    served = {source.network for source in sources}
    for listener in listeners:
        if listener.identify_by == "lease" and listener.network not in served:
            settings.lack(
                LISTENER + listener.name,
                "identify_by",
                f"lease needs a source for {listener.network} in [leases] sources",
            )
    return tuple(sources)


def _lease_source(
    settings: Settings, text: str, networks: Sequence[str]
) -> LeaseSourceConfig | None:
    """
    Read one C{KIND:PATH@NETWORK}.
    """
    kind, colon, rest = text.partition(":")
    path, at, network = rest.rpartition("@")
    if not colon or not rest:
        problem = "is not KIND:PATH@NETWORK"
    elif not _built(settings, "leases", "sources", kind, _LEASES):
        return None
    elif not at or not path or not network:
        problem = "needs its network: KIND:PATH@NETWORK"
    elif network not in networks and networks and settings.is_whole:
        guess = closest(network, networks)
        problem = f"names a network that no listener has; {guess}"
    else:
        return LeaseSourceConfig(kind, path, network)
    settings.fault("leases", "sources", f"'{printable(text)}' {problem}")
    return None


def _introspection(settings: Settings, listeners: Sequence[ListenerConfig]) -> str:
    """
    Find where the operator's pages go, and see that no instance can reach them.
    """
    text = completed(settings.value("introspection", "endpoint"))
    if settings.value("manhole", "endpoint"):
        problem = "this version has no manhole: leave it empty"
        settings.fault("manhole", "endpoint", problem)
    if settings.is_faulty("introspection", "endpoint"):
        return text
    try:
        place = place_of(text)
    except ValueError as error:
        settings.fault("introspection", "endpoint", f"'{printable(text)}' {error}")
        return text
    for listener in listeners:
        if place is not None and _takes(listener, *place):
            problem = f"is where [{LISTENER}{listener.name}] listens"
            settings.fault("introspection", "endpoint", problem)
    return text


def _takes(listener: ListenerConfig, address: str, port: int) -> bool:
    """
    Tell whether a listener takes what comes to an address and port of the host.
    """
    return listener.port == port and listener.address in (address, "0.0.0.0", "::")
