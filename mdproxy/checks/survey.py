# -*- test-case-name: tests.test_checks_survey -*-
"""
What the doctor looks at on this host, for a configuration: files, certificates, the
kernel, devices, namespaces and ports, and what inventories and lease sources read.
"""

from __future__ import annotations

import glob
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from attrs import evolve, frozen

from mdproxy.checks import kernel
from mdproxy.checks.access import (
    User,
    judge_place,
    judge_trust,
    judge_way,
    look_at,
)
from mdproxy.checks.certificates import (
    NoCertificate,
    judge_chain,
    judge_validity,
    read_chain,
    validity_of,
)
from mdproxy.checks.finding import Finding
from mdproxy.checks.host import (
    Links,
    files_of,
    holders,
    is_synchronised,
    look_around,
    namespaces_like,
    number_in,
    status_of,
    watches_of,
    within,
)
from mdproxy.checks.ports import Process, judge_port
from mdproxy.checks.stores import (
    judge_leases,
    judge_libvirt,
    judge_static,
    read,
)
from mdproxy.config import (
    Config,
    ListenerConfig,
    NamespacesConfig,
    SocketConfig,
)
from mdproxy.lookup.kinds import KINDS
from mdproxy.settings import Settings

#: So many namespaces are looked into at most, and so many files of leases.
_MOST: Final = 64

#: The files that the configuration may name: for what, section and option, whether they
#: are private.
_FILES: Final = (
    ("the secret", "DEFAULT", "metadata_proxy_shared_secret_file", True),
    ("whom we trust as Nova", "DEFAULT", "auth_ca_cert", False),
    ("our certificate for Nova", "DEFAULT", "nova_client_cert", False),
    ("our key for Nova", "DEFAULT", "nova_client_priv_key", True),
    ("the pages' certificate", "introspection", "certificate", False),
    ("the pages' key", "introspection", "private_key", True),
    ("whom the pages trust", "introspection", "client_ca", False),
    ("whom we trust as OVN", "ovn", "ovn_sb_ca_cert", False),
    ("our certificate for OVN", "ovn", "ovn_sb_certificate", False),
    ("our key for OVN", "ovn", "ovn_sb_private_key", True),
    ("whom we trust as Keystone", "neutron", "cafile", False),
    ("the file of clouds", "neutron", "clouds_file", True),
)
_CERTIFICATES: Final = frozenset(
    {
        *("auth_ca_cert", "nova_client_cert", "certificate", "client_ca"),
        *("ovn_sb_ca_cert", "ovn_sb_certificate", "cafile"),
    }
)
#: Of these those that we show.
_CHAINS: Final = frozenset({"nova_client_cert", "certificate", "ovn_sb_certificate"})


@frozen
class Service:
    """
    The running service, as far as the doctor can see it.

    @ivar pid: Its process; C{None}: it does not run, or nobody may know.
    @ivar user: Who reads its files.
    """

    pid: int | None
    user: User


def survey_files(settings: Settings, service: Service) -> list[Finding]:
    """
    Look at the files that the configuration is made of, and those that it names.
    """
    findings = [
        judge_way("configuration", look_at(path), service.user)
        for path in settings.files
    ]
    findings += [
        judge_way(name, look_at(path), service.user, private)
        for name, path, _, private in _named(settings)
    ]
    if settings.value("manhole", "endpoint"):
        keys = look_at(settings.value("manhole", "authorized_keys"))
        findings.append(judge_trust("who may log in", keys, service.user))
        key = settings.value("manhole", "host_key")
        findings.append(_judge_made("the manhole's key", key, service, private=True))
    log = settings.value("log", "access_log")
    if log.startswith("/"):
        findings.append(_judge_made("the access log", log, service))
    return findings


def _named(settings: Settings) -> Iterator[tuple[str, str, str, bool]]:
    """
    List the files that the configuration names, and that are in use.

    @return: For what, the path, the option, and whether it is private.
    """
    inventories = settings.value("DEFAULT", "inventories")
    unused = {"ovn", "neutron"} - set(inventories)
    for name, section, option, private in _FILES:
        path = settings.value(section, option)
        if not path or section in unused:
            continue
        if option != "clouds_file" or settings.value("neutron", "os_cloud"):
            yield name, path, option, private


def _judge_made(
    name: str, path: str, service: Service, private: bool = False
) -> Finding:
    """
    Judge a file that the service makes, and then writes or reads.

    @param private: Whether nobody else may have access to it.
    """
    way = look_at(path)
    if private and way.found is not None:
        return judge_way(name, way, service.user, private)
    directory = look_at(os.path.dirname(path))
    return judge_place(name, way, directory, service.user)


def survey_certificates(settings: Settings, now: float) -> list[Finding]:
    """
    Look how long the certificates in files are good for.

    @param now: Seconds since the epoch.
    """
    findings: list[Finding] = []
    for name, path, option, _ in _named(settings):
        if option in _CERTIFICATES:
            findings += certificates_in(name, path, now, option in _CHAINS)
    return findings


def certificates_in(
    name: str, path: str, now: float, is_chain: bool = False
) -> list[Finding]:
    """
    Judge each certificate of a file.

    @param name: What they are for.
    @param is_chain: Whether they are to be a chain, and not those whom we trust.
    """
    try:
        chain = read_chain(read(path, 1 << 20).data or b"")
        validities = [validity_of(certificate) for certificate in chain]
    except NoCertificate as error:
        return [Finding(name, "wrong", f"{path}: {error}.")]
    numbers = [""] if len(chain) == 1 else [f" {i}" for i in range(1, len(chain) + 1)]
    judged = [
        (f"{name}{number}", judge_validity(name, validity, now))
        for number, validity in zip(numbers, validities, strict=True)
    ]
    judged += [(name, finding) for finding in judge_chain(name, chain) if is_chain]
    return [
        evolve(finding, name=named, text=f"{path}: {finding.text}")
        for named, finding in judged
    ]


def ends_in(paths: Sequence[str]) -> Mapping[str, float]:
    """
    Tell when the first certificate of each of some files ends.

    @return: Seconds since the epoch; of those that can be read.
    """
    ends = {}
    for path in paths:
        data = read(path, 1 << 20).data
        if data is not None:
            try:
                ends[path] = validity_of(read_chain(data)[0]).ends
            except NoCertificate:
                continue
    return ends


def survey_host(config: Config, service: Service) -> list[Finding]:
    """
    Look at the kernel's limits, at the clock, and at the running process.
    """
    bounds, pid = config.bounds, service.pid
    kinds = (NamespacesConfig, SocketConfig)
    many = any(isinstance(listener, kinds) for listener in config.listeners)
    wanted = len(config.lease_sources) + len(config.inventories)
    findings = [
        kernel.judge_clock(time.time(), is_synchronised()),
        kernel.judge_watches(
            number_in("sys/fs/inotify/max_user_watches"),
            number_in("sys/fs/inotify/max_user_instances"),
            None if pid is None else watches_of(pid),
            wanted,
        ),
    ]
    for family in ("ipv4", "ipv6"):
        most = number_in(f"sys/net/{family}/neigh/default/gc_thresh3")
        # The kernel shows it in the first network namespace alone.
        if most is not None:
            findings.append(kernel.judge_neighbours(family, most, many))
    if pid is None:
        # A unit's own limit counts for the service; this is all that is known.
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        findings.append(
            kernel.judge_files("open files here", limit, None, bounds.max_connections)
        )
        return findings
    limit_of, used = files_of(pid)
    findings.append(
        kernel.judge_files(
            "open files of the service", limit_of, used, bounds.max_connections
        )
    )
    effective = status_of(pid).get("CapEff")
    has = None if effective is None else int(effective, 16)
    findings.append(kernel.judge_capabilities(has, _wanted(config, service)))
    return findings


def _wanted(config: Config, service: Service) -> frozenset[str]:
    """
    Tell which capabilities the running process needs.
    """
    wanted = set()
    if any(
        isinstance(listener, ListenerConfig) and listener.port < 1024
        for listener in config.listeners
    ):
        wanted.add("CAP_NET_BIND_SERVICE")
    if "libvirt" in config.inventories and service.user.uid != 0:
        wanted.add("CAP_DAC_READ_SEARCH")
    return frozenset(wanted)


def survey_listeners(config: Config, service: Service) -> list[Finding]:
    """
    Look at the devices, namespaces and ports of all listeners.
    """
    known, here = holders(), look_around()
    findings: list[Finding] = []
    for listener in config.listeners:
        if isinstance(listener, ListenerConfig):
            findings += _on_host(listener, here, known, service.pid)
        elif isinstance(listener, NamespacesConfig):
            findings += _in_namespaces(listener, known, service.pid)
    return findings


def _on_host(
    listener: ListenerConfig,
    here: Links,
    known: Mapping[int, Sequence[Process]],
    ours: int | None,
) -> list[Finding]:
    """
    Look at the device or the address of a listener.
    """
    device, findings = listener.device, []
    if device is not None:
        there = here.addresses.get(device)
        elsewhere = frozenset[str]().union(*here.addresses.values())
        findings.append(kernel.judge_addresses(device, there, elsewhere))
        if there is not None:
            all_, own = (
                number_in(f"sys/net/ipv4/conf/{name}/rp_filter")
                for name in ("all", device)
            )
            findings.append(kernel.judge_reverse_path(device, all_, own))
    place = (listener.address or kernel.IPV4, listener.port)
    name = f"port of {listener.name}"
    index = None if device is None else here.indexes.get(device)
    if device is None or index is not None:
        judged = judge_port(name, place, index, here.listening, known, ours)
        findings.append(judged)
    return findings


def _in_namespaces(
    listener: NamespacesConfig, known: Mapping[int, Sequence[Process]], ours: int | None
) -> list[Finding]:
    """
    Look into the namespaces of a listener, as far as we may.
    """
    names = namespaces_like(listener.namespaces)
    lacking, looked, held = [], 0, []
    for namespace in names[:_MOST]:
        try:
            links = within(namespace, look_around)
        except OSError:
            continue
        looked += 1
        is_router = namespace.startswith("qrouter-")
        port = listener.router_port if is_router else listener.port
        if not is_router and kernel.IPV4 not in frozenset[str]().union(
            *links.addresses.values()
        ):
            lacking.append(namespace)
        name, place = f"port in {namespace}", (kernel.IPV4, port)
        finding = judge_port(name, place, None, links.listening, known, ours)
        if finding.verdict == "wrong" and any(
            each.port == port for each in links.listening
        ):
            held.append(finding)
    judged = kernel.judge_namespaces(listener.name, lacking, looked, len(names))
    return [judged, *held]


def survey_stores(config: Config, service: Service) -> list[Finding]:
    """
    Look at what inventories and lease sources read, and whether the service may.
    """
    findings: list[Finding] = []
    if "static" in config.inventories:
        findings.append(judge_static(read(config.static_path)))
        findings += _closed("inventory static", [config.static_path], service)
    if "libvirt" in config.inventories:
        path = config.libvirt_path
        findings.append(judge_libvirt(path, _count(path, ".xml")))
    for name in {"ovn", "neutron"} & set(config.inventories):
        text = "What it knows only the running service can tell."
        findings.append(Finding(f"inventory {name}", "ok", text))
    for source in config.lease_sources:
        paths = sorted(glob.glob(source.path)) or (
            [] if glob.has_magic(source.path) else [source.path]
        )
        contents = [read(path) for path in paths[:_MOST]]
        findings.append(judge_leases(source.name, KINDS[source.kind], contents))
        findings += _closed(f"leases {source.name}", paths[:_MOST], service)
    return findings


def _closed(name: str, paths: Sequence[str], service: Service) -> list[Finding]:
    """
    Find files that are there, and that the service may not read.

    @return: The first of them, if there is one.
    """
    for path in paths:
        way = look_at(path)
        finding = judge_way(name, way, service.user)
        if way.found is not None and finding.verdict == "wrong":
            return [finding]
    return []


def _count(directory: str, suffix: str) -> int | None:
    """
    Count the files of a directory.

    @return: C{None} if it can't be read.
    """
    try:
        return sum(name.endswith(suffix) for name in os.listdir(directory))
    except OSError:
        return None


#: The subjects of a survey that need a whole configuration.
SUBJECTS: Final[Sequence[tuple[str, Callable[[Config, Service], list[Finding]]]]] = (
    ("This host", survey_host),
    ("Listeners", survey_listeners),
    ("Inventories and leases", survey_stores),
)
