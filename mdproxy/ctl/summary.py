# -*- test-case-name: tests.test_ctl_summary -*-
"""
C{mdproxyctl check-config}: a configuration without faults, summed up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mdproxy.config import (
    AnyListener,
    Config,
    LeaseSourceConfig,
    ListenerConfig,
    NamespacesConfig,
    SocketConfig,
)

#: What is to be minded in all files of the configuration.
RULES: Final = """\
Mind in all these files: a comment needs a line of its own, what follows a value is a
part of it; and $ is written $$, a single one refers to another option.\
"""

#: As many neighbours, in all namespaces, make some hundred networks comfortable.
NEIGHBOURS: Final = 4096


def summary(config: Config) -> list[str]:
    """
    Sum up a configuration.

    @param config: The configuration.

    @return: Lines for the operator, without anything secret.
    """
    upstream = config.upstream
    endpoints = ", then ".join(str(endpoint) for endpoint in upstream.endpoints)
    lines = ["The configuration has no faults.", "", "Listeners:"]
    lines += [f"  {_listener(listener)}" for listener in config.listeners]
    lines += ["Inventories, asked in this order:"]
    lines += [f"  {name}: {_inventory(config, name)}" for name in config.inventories]
    lines += ["Leases:"] if config.lease_sources else ["Leases: none are read"]
    lines += [f"  {_leases(source)}" for source in config.lease_sources]
    lines += [f"Nova: {endpoints}", f"  {_tls(config)}"]
    lines += [
        "  the secret is known"
        if config.secret
        else "  NO SECRET: Nova believes anybody"
    ]
    lines += _operators(config)
    if notes := [*config.notes, *notes_of_host(config)]:
        lines += ["", "Worth knowing:", *(f"  {note}" for note in notes)]
    return [*lines, "", *RULES.splitlines()]


def _operators(config: Config) -> list[str]:
    """
    Describe what only operators see.
    """
    pages, log = config.introspection, config.log
    lines = [f"Operator's pages: {pages.endpoint}"]
    if pages.certificate is not None:
        who = "that shows a certificate" if pages.client_ca else "without a certificate"
        lines += [f"  by TLS, to anybody {who}"]
    if config.manhole is not None:
        place = config.manhole.place
        where = place if isinstance(place, str) else f"{place[0]} port {place[1]}"
        lines += [f"Manhole: {where}, for {config.manhole.authorized_keys}"]
    access = f", requests to {log.access_log}" if log.access_log else ""
    return [*lines, f"Log: {log.format}{access}"]


def notes_of_host(config: Config, directory: str = "/proc/sys/net") -> list[str]:
    """
    Tell where the host is not made for what is wanted of it.

    @param directory: Where the kernel's settings are.

    @return: One sentence for each.
    """
    kinds = (NamespacesConfig, SocketConfig)
    if not any(isinstance(listener, kinds) for listener in config.listeners):
        return []
    notes: list[str] = []
    for family in ("ipv4", "ipv6"):
        name = f"{family}/neigh/default/gc_thresh3"
        try:
            most = int(Path(directory, name).read_text())
        except (OSError, ValueError):
            continue
        if most < NEIGHBOURS:
            notes.append(
                f"net.{name.replace('/', '.')} is {most}: no more neighbours than that "
                "are known in all namespaces together, and whoever is not known waits; "
                "etc/sysctl.d/mdproxy.conf has more"
            )
    return notes


def _listener(listener: AnyListener) -> str:
    """
    Describe a listener.
    """
    if isinstance(listener, NamespacesConfig):
        return (
            f"{listener.name}: namespaces {', '.join(listener.namespaces)} port "
            f"{listener.port}, of routers {listener.router_port}, identifies by mac"
        )
    how = listener.identify_by
    by = f"identifies by {how}" + ("" if how == "mac" else ": WEAKER than mac")
    if isinstance(listener, ListenerConfig):
        where = listener.device or listener.address
        return (
            f"{listener.name}: {listener.kind} {where} port {listener.port}, network "
            f"{listener.network}, {by}"
        )
    users = ", ".join(map(str, listener.allowed_uids)) or "root and its own user"
    return (
        f"{listener.name}: socket {listener.path} (mode {listener.mode}) for {users}, "
        f"namespaces {', '.join(listener.namespaces)}, {by}"
    )


def _inventory(config: Config, name: str) -> str:
    """
    Tell where an inventory's knowledge is from.
    """
    if name == "ovn" and config.ovn is not None:
        return ", then ".join(str(endpoint) for endpoint in config.ovn.endpoints)
    if name == "neutron" and config.neutron is not None:
        neutron = config.neutron
        where = neutron.endpoint_override or f"what {neutron.auth_url} names"
        return f"{where} ({neutron.auth_type}); never tried with a Neutron in use"
    return config.static_path if name == "static" else config.libvirt_path


def _leases(source: LeaseSourceConfig) -> str:
    """
    Describe a source of leases.
    """
    networks = [f"{network} (subnet {number})" for number, network in source.subnets]
    if source.network is not None:
        networks = [source.network]
    told = ", ".join(networks) or "told by the path"
    return f"{source.kind} on network {told}: {source.path}"


def _tls(config: Config) -> str:
    """
    Describe how sure we are of Nova, and Nova of us.
    """
    tls = config.upstream.tls
    if tls is None:
        return "plain HTTP: whoever is on the way can read all metadata"
    trust = tls.ca or "the system's authorities"
    nova = "NOT VERIFIED" if tls.insecure else f"verified by {trust}"
    ours = (
        f"our certificate is {tls.certificate}" if tls.certificate else "we show none"
    )
    return f"TLS: Nova's certificate is {nova}; {ours}"
