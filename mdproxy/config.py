# -*- test-case-name: tests.test_config -*-
"""
Settings to one frozen L{Config}, or one L{ConfigError} that names every fault.

L{mdproxy.settings} reads the files; what the options mean, and which of them fit
together, is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from attrs import field, fields_dict, frozen

from mdproxy.credentials import find_secret
from mdproxy.inventory_config import read_inventories, read_project
from mdproxy.lease_config import LeaseSourceConfig, read_lease_sources
from mdproxy.listener_config import (
    AnyListener,
    ListenerConfig,
    NamespacesConfig,
    SocketConfig,
    read_listeners,
)
from mdproxy.nova_config import Endpoint, TlsFiles, UpstreamConfig, read_upstream
from mdproxy.operator_config import (
    IntrospectionConfig,
    LogConfig,
    ManholeConfig,
    read_introspection,
    read_log,
    read_manhole,
)
from mdproxy.options import LISTENER
from mdproxy.settings import Settings

if TYPE_CHECKING:
    from mdproxy.neutron_config import NeutronConfig
    from mdproxy.ovn_config import OvnConfig

__all__ = [
    "AnyListener",
    "Bounds",
    "Config",
    "ConfigError",
    "Endpoint",
    "HoldConfig",
    "IntrospectionConfig",
    "LeaseSourceConfig",
    "ListenerConfig",
    "LogConfig",
    "ManholeConfig",
    "NamespacesConfig",
    "SocketConfig",
    "TlsFiles",
    "UpstreamConfig",
    "load",
]

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
    @ivar libvirt_project: The project of domains that Nova did not make; C{None}: none.
    @ivar ovn: OVN's southbound database; C{None} where that is no inventory.
    @ivar neutron: Neutron's API; C{None} where that is no inventory.
    @ivar lease_sources: The lease stores.
    @ivar lease_conflict: C{warn} or C{refuse}.
    @ivar allow_unverified_address: Whether a MAC will do where nobody knows addresses.
    @ivar check_bridge_port: Whether a bridge must have a MAC on its port's device.
    @ivar listeners: The listeners.
    @ivar introspection: The operator's pages.
    @ivar log: What is written down.
    @ivar manhole: The shell in the process; C{None}: there is none.
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
    libvirt_project: str | None
    ovn: OvnConfig | None
    neutron: NeutronConfig | None
    lease_sources: tuple[LeaseSourceConfig, ...]
    lease_conflict: str
    allow_unverified_address: bool
    check_bridge_port: bool
    listeners: tuple[AnyListener, ...]
    introspection: IntrospectionConfig
    log: LogConfig
    manhole: ManholeConfig | None
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
    listeners = read_listeners(settings)
    secret, upstream = find_secret(settings), read_upstream(settings)
    inventories = read_inventories(settings)
    _note_strangers(settings, listeners, inventories)
    pages = read_introspection(settings, listeners)
    config = Config(
        secret=secret,
        upstream=upstream,
        inventories=inventories,
        static_path=_filled(settings, "static", "path"),
        libvirt_path=_filled(settings, "libvirt", "path"),
        libvirt_project=read_project(settings),
        ovn=_ovn(settings) if "ovn" in inventories else None,
        neutron=_neutron(settings) if "neutron" in inventories else None,
        lease_sources=read_lease_sources(settings, listeners),
        lease_conflict=settings.value("DEFAULT", "lease_conflict"),
        allow_unverified_address=settings.value("DEFAULT", "allow_unverified_address"),
        check_bridge_port=settings.value("DEFAULT", "check_bridge_port"),
        listeners=listeners,
        introspection=pages,
        log=read_log(settings),
        manhole=read_manhole(settings, listeners, pages.endpoint),
        drain_timeout=settings.value("DEFAULT", "drain_timeout"),
        bounds=_plain(settings, "limits", Bounds),
        hold=_plain(settings, "hold", HoldConfig),
        notes=tuple(settings.notes),
    )
    if settings.faults:
        raise ConfigError(settings.faults)
    return config


def _ovn(settings: Settings) -> OvnConfig:
    """
    Find OVN's database; who has nothing to do with OVN need not have it in memory.
    """
    from mdproxy.ovn_config import read_ovn

    return read_ovn(settings)


def _neutron(settings: Settings) -> NeutronConfig:
    """
    Find Neutron's API, as above.
    """
    from mdproxy.neutron_config import read_neutron

    return read_neutron(settings)


def _plain(settings: Settings, section: str, kind: type[_Plain]) -> _Plain:
    """
    Fill a value whose fields are the options of a section.
    """
    return kind(**{name: settings.value(section, name) for name in fields_dict(kind)})


def _note_strangers(
    settings: Settings, listeners: Sequence[AnyListener], inventories: Sequence[str]
) -> None:
    """
    Point out namespaces in which no inventory knows anybody.
    """
    for listener in listeners:
        if isinstance(listener, ListenerConfig):
            continue
        section = LISTENER + listener.name
        if isinstance(listener, SocketConfig):
            _note_unheard(settings, section, listener)
        if set(inventories) <= {"libvirt"}:
            text = (
                "in namespaces nobody is known: libvirt knows the ports on bridges of "
                "listeners alone; inventories = ovn or neutron know these"
            )
            settings.note(section, "namespaces", text)
        elif not {"ovn", "neutron"} & set(inventories) and any(
            pattern.startswith("qrouter-") for pattern in listener.namespaces
        ):
            text = (
                "in namespaces of routers (qrouter-) nobody is known: inventories = "
                "ovn or neutron know which networks a router is on"
            )
            settings.note(section, "namespaces", text)


def _note_unheard(settings: Settings, section: str, listener: SocketConfig) -> None:
    """
    Point out namespaces that no haproxy of Neutron's can speak of
    (L{mdproxy.agent_headers}).
    """
    for pattern in listener.namespaces:
        if not pattern.startswith(("qdhcp-", "qrouter-", "ovnmeta-")):
            text = (
                f"'{pattern}' is never looked into: Neutron's haproxies speak of "
                "namespaces qdhcp-, qrouter- and ovnmeta- alone"
            )
            settings.note(section, "namespaces", text)


def _filled(settings: Settings, section: str, option: str) -> str:
    """
    Look up a path that must not be empty.
    """
    path: str = settings.value(section, option)
    if not path and not settings.is_faulty(section, option):
        settings.fault(section, option, "is empty: name a path")
    return path
