# -*- test-case-name: tests.test_lease_config -*-
"""
The part of the configuration that is about DHCP servers' stores of leases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from mdproxy.ini import printable
from mdproxy.listener_config import AnyListener, ListenerConfig
from mdproxy.listener_options import LISTENER
from mdproxy.places import NETWORK
from mdproxy.settings import Settings, closest

_KINDS: Final = ("dnsmasq", "dhcpd", "kea", "libvirt")
_SHAPE: Final = "KIND:PATH@NETWORK"
#: The largest id of a subnet of Kea's (C{SUBNET_ID_MAX}).
_MAX_SUBNET: Final = (1 << 32) - 2

#: The networks of Kea's subnets, by their ids.
Subnets = tuple[tuple[int, str], ...]


@frozen
class LeaseSourceConfig:
    """
    Where a DHCP server keeps its leases.

    @ivar kind: The kind of server: C{dnsmasq}, C{dhcpd}, C{kea} or C{libvirt}.
    @ivar path: The file, perhaps as a glob.
    @ivar network: The network of all its leases; C{None}: for C{dnsmasq} it is the
        name of the directory that a file is in, for C{libvirt} that of the bridge in
        the file's name, for C{kea} that of the subnet.
    @ivar subnets: For C{kea}: the networks of subnets.
    """

    kind: str
    path: str
    network: str | None
    subnets: Subnets = ()

    @property
    def name(self) -> str:
        """
        The word for this source in logs and pages.
        """
        return f"{self.kind}:{self.path}" + (f"@{self.network}" if self.network else "")

    def may_serve(self, network: str) -> bool:
        """
        Tell whether leases of a network may be found here.
        """
        if self.network is not None:
            return self.network == network
        return self.kind != "kea" or any(network == name for _, name in self.subnets)


def read_lease_sources(
    settings: Settings, listeners: Sequence[AnyListener]
) -> tuple[LeaseSourceConfig, ...]:
    """
    Find the lease stores, and see that those listeners have one that need one.

    @param settings: What is set; told what is wrong with it.
    @param listeners: The listeners without faults.
    """
    networks = _networks(settings)
    subnets = _subnets(settings, networks)
    sources: list[LeaseSourceConfig] = []
    for text in settings.value("leases", "sources"):
        source = _lease_source(settings, text, subnets)
        if source is not None and _is_somebodys(settings, text, source, networks):
            sources.append(source)
    if subnets and not any(source.subnets for source in sources):
        text = "has no meaning: no kea in sources goes without @NETWORK"
        settings.note("leases", "kea_subnets", text)
    for listener in listeners:
        if isinstance(listener, ListenerConfig) and listener.identify_by == "lease":
            _need_source(settings, listener, sources)
    return tuple(dict.fromkeys(sources))


def _networks(settings: Settings) -> list[str] | None:
    """
    List the networks of all listeners, also of broken ones.

    @return: C{None} where any network may have a listener, or nobody knows.
    """
    kinds = {settings.value(LISTENER + name, "kind") for name in settings.listeners}
    if not settings.listeners or kinds & {"namespaces", "socket"}:
        return None
    return [
        settings.value(LISTENER + name, "network") or name
        for name in settings.listeners
    ]


def _is_listened_to(
    settings: Settings, network: str, networks: Sequence[str] | None
) -> bool:
    """
    Tell whether a network has a listener, or may have one.
    """
    return networks is None or network in networks or not settings.is_whole


def _lease_source(
    settings: Settings, text: str, subnets: Subnets
) -> LeaseSourceConfig | None:
    """
    Read one C{KIND:PATH@NETWORK}.
    """
    kind, colon, rest = text.partition(":")
    path, at, network = rest.rpartition("@")
    if not at:
        path = rest
    if not colon or not rest:
        problem = f"is not {_SHAPE}"
    elif not settings.exists("leases", "sources", kind, _KINDS):
        return None
    elif not path or (at and not network):
        problem = f"needs its network: {_SHAPE}"
    elif at:
        return LeaseSourceConfig(kind, path, network)
    elif kind == "kea" and subnets:
        return LeaseSourceConfig(kind, path, None, subnets)
    elif kind == "libvirt" or (kind == "dnsmasq" and _is_neutrons(path)):
        return LeaseSourceConfig(kind, path, None)
    else:
        more = ", or kea_subnets" if kind == "kea" else ""
        problem = f"needs its network: {_SHAPE}{more}"
    settings.fault("leases", "sources", f"'{printable(text)}' {problem}")
    return None


def _is_neutrons(path: str) -> bool:
    """
    Tell whether a path is C{DIR/*/FILE}, as Neutron's DHCP agent has them: a
    directory for each network (neutron/agent/linux/dhcp.py, C{get_conf_file_name}).
    """
    directories, _, _name = path.rpartition("/")
    return directories.rpartition("/")[2] == "*"


def _is_somebodys(
    settings: Settings,
    text: str,
    source: LeaseSourceConfig,
    networks: Sequence[str] | None,
) -> bool:
    """
    Tell whether a source's network has a listener; if not, that is a fault.
    """
    network = source.network
    if network is None or _is_listened_to(settings, network, networks):
        return True
    guess = closest(network, networks or ())
    problem = f"'{printable(text)}' names a network that no listener has; {guess}"
    settings.fault("leases", "sources", problem)
    return False


def _subnets(settings: Settings, networks: Sequence[str] | None) -> Subnets:
    """
    Find the networks of Kea's subnets.
    """
    option = "kea_subnets"
    subnets: dict[int, str] = {}
    for text in settings.value("leases", option):
        number, _, network = (part.strip() for part in text.partition(":"))
        problem = None
        if not number.isdecimal() or not 0 < int(number[:20]) <= _MAX_SUBNET:
            problem = "is not ID:NETWORK"
        elif NETWORK.match(network) is None:
            problem = "names no network: ID:NETWORK"
        elif not _is_listened_to(settings, network, networks):
            guess = closest(network, networks or ())
            problem = f"names a network that no listener has; {guess}"
        elif int(number) in subnets:
            problem = "stands there twice"
        if problem is None:
            subnets[int(number)] = network
        else:
            settings.fault("leases", option, f"'{printable(text)}' {problem}")
    return tuple(sorted(subnets.items()))


def _need_source(
    settings: Settings, listener: ListenerConfig, sources: Sequence[LeaseSourceConfig]
) -> None:
    """
    See that there is a source for a listener that identifies by leases.
    """
    if not any(source.may_serve(listener.network) for source in sources):
        settings.lack(
            LISTENER + listener.name,
            "identify_by",
            f"lease needs a source for {listener.network} in [leases] sources",
        )
