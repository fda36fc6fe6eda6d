# -*- test-case-name: tests.test_tap -*-
"""
C{twistd mdproxy}: the parts list, and the only module that knows all parts.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from random import Random, SystemRandom
from typing import Any

from attrs import frozen
from twisted.application.service import IService, MultiService
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python import usage

from mdproxy.config import (
    Config,
    ConfigError,
    ListenerConfig,
    UpstreamConfig,
    load,
)
from mdproxy.http.client import NovaConnection, Patience
from mdproxy.http.front import ChannelBounds, Front
from mdproxy.http.parsing import RequestBounds
from mdproxy.interfaces import IInventory, ISource
from mdproxy.introspection.status import (
    IntrospectionService,
    Status,
    introspection,
)
from mdproxy.inventory.libvirt import LibvirtInventory
from mdproxy.inventory.static import StaticInventory
from mdproxy.life import FrontService, InOrder, Signals
from mdproxy.limits import Shares
from mdproxy.listeners import IPV4, IPV6, Listener, Place
from mdproxy.lookup import Books, InstanceLookup
from mdproxy.lookup.books import LeaseBook, NeighbourBook, PortBook
from mdproxy.lookup.decision import Policy
from mdproxy.lookup.neighbours import NeighbourSource
from mdproxy.lookup.watchers import LeaseWatcher
from mdproxy.proxy import Hold, ReverseProxyResource
from mdproxy.signing import Signer
from mdproxy.sweep import Sweep
from mdproxy.tls import TlsMisconfigured, client_tls
from mdproxy.upstream import Endpoint, Extent, Upstream

_log = Logger()


class Options(usage.Options):
    """
    The command line of C{twistd mdproxy}.
    """

    synopsis = "[--config-file FILE ...] [--config-dir DIR ...]"

    def __init__(self) -> None:
        """
        Begin without files.
        """
        super().__init__()
        self["config-files"] = []
        self["config-dirs"] = []

    def opt_config_file(self, path: str) -> None:
        """
        A configuration file; the last wins. Default: /etc/mdproxy/mdproxy.conf
        """
        self["config-files"].append(path)

    def opt_config_dir(self, path: str) -> None:
        """
        A directory whose *.conf files are read after them; may be given again
        """
        self["config-dirs"].append(path)

    def postOptions(self) -> None:
        """
        Read the configuration, so that a fault ends C{twistd} with a clear line.

        @raise usage.UsageError: If the configuration can't be used.
        """
        files = self["config-files"]
        if not files and not self["config-dirs"]:
            files = ["/etc/mdproxy/mdproxy.conf"]
        try:
            self["config"] = load(files, self["config-dirs"])
        except ConfigError as error:
            raise usage.UsageError("\n".join(error.faults)) from None


def makeService(options: Options, reactor: Any = None) -> IService:
    """
    Wire the service from its parts.

    @param options: What the operator asked for.
    @param reactor: The reactor; the global one unless a test gives another.

    @return: The service, not yet started.
    """
    if reactor is None:
        from twisted.internet import reactor
    config: Config = options["config"]
    for note in config.notes:
        _log.warn("{note}", note=note)

    sweep = Sweep(reactor)
    upstream = make_upstream(config.upstream, reactor, sweep, SystemRandom())
    sources = make_sources(config, reactor)
    lookup = InstanceLookup(
        sources.books,
        sources.inventories,
        sources.leases,
        sources.neighbours,
        Policy(config.allow_unverified_address, config.lease_conflict == "refuse"),
        reactor,
        time.time,
    )
    proxy = ReverseProxyResource(
        lookup,
        upstream,
        Signer(config.secret),
        reactor,
        SystemRandom(),
        _holds(config),
        Shares(config.bounds.max_requests_per_instance),
        Hold(config.hold.openstack, config.hold.other),
    )
    sources.books.neighbours.observe_flips(proxy.path_changed)
    upstream.observe_recovery(proxy.nova_recovered)
    front = Front(proxy, reactor, sweep, _channel_bounds(config), _connections(config))
    sources.books.neighbours.observe_flips(front.path_changed)
    listeners = [
        _listener(listener, front, sources.neighbours, reactor)
        for listener in config.listeners
    ]
    status = Status(
        {
            "listeners": lambda: [listener.describe() for listener in listeners],
            "sources": lambda: [source.describe() for source in sources.all],
            "upstream": upstream.describe,
            "proxy": proxy.describe,
            "front": front.describe,
        }
    )
    front_service = FrontService(front, upstream, reactor, config.drain_timeout)

    service = InOrder()
    Signals(reactor, front_service.hurry, sources.renew).setServiceParent(service)
    sweep.service().setServiceParent(service)
    IntrospectionService(
        serverFromString(reactor, config.introspection),
        introspection(status, reactor),
        reactor,
    ).setServiceParent(service)
    for source in sources.all:
        IService(source).setServiceParent(service)
    front_service.setServiceParent(service)
    accepting = MultiService()
    for listener in listeners:
        listener.setServiceParent(accepting)
    accepting.setServiceParent(service)
    # What is made until here lives as long as the process: the collector need not
    # look at it again.
    reactor.callWhenRunning(gc.freeze)
    return service


@frozen
class Sources:
    """
    Everything that keeps a book current.

    @ivar books: What they enter facts into.
    @ivar neighbours: The kernel's neighbour table.
    @ivar inventories: Who knows ports, in the order of the configuration.
    @ivar leases: Who knows leases, with the network of each.
    """

    books: Books
    neighbours: NeighbourSource
    inventories: Sequence[IInventory]
    leases: Sequence[tuple[str, ISource]]

    @property
    def all(self) -> Sequence[ISource]:
        """
        All sources.
        """
        return [
            self.neighbours,
            *self.inventories,
            *(source for _network, source in self.leases),
        ]

    def renew(self) -> None:
        """
        Read the inventories again (SIGHUP).
        """
        _log.info(
            "SIGHUP: reading the inventories again; other settings need a restart"
        )
        for inventory in self.inventories:
            inventory.refresh("")


def make_sources(config: Config, reactor: Any) -> Sources:
    """
    Make the books and whatever fills them.
    """
    books = Books(PortBook(), LeaseBook(), NeighbourBook())
    networks = {
        listener.device: listener.network
        for listener in config.listeners
        if listener.device is not None
    }
    makers = {
        "static": lambda: StaticInventory(
            reactor, reactor, books.ports, config.static_path
        ),
        "libvirt": lambda: LibvirtInventory(
            reactor, reactor, books.ports, networks, config.libvirt_path
        ),
    }
    leases: list[tuple[str, ISource]] = [
        (
            source.network,
            LeaseWatcher(
                reactor,
                reactor,
                books.leases,
                f"{source.kind}:{source.path}@{source.network}",
                source.path,
                source.network,
            ),
        )
        for source in config.lease_sources
    ]
    return Sources(
        books,
        NeighbourSource(reactor, reactor, books.neighbours),
        [makers[name]() for name in config.inventories],
        leases,
    )


def make_upstream(
    config: UpstreamConfig, reactor: Any, sweep: Sweep, random: Random
) -> Upstream:
    """
    Make the pool of connections to Nova.

    @raise usage.UsageError: If the TLS files can't be used.
    """
    try:
        endpoints = [
            Endpoint(
                where.host,
                where.port,
                None
                if config.tls is None
                else client_tls(
                    where.host,
                    config.tls.ca,
                    config.tls.certificate,
                    config.tls.key,
                    config.tls.insecure,
                ),
            )
            for where in config.endpoints
        ]
    except TlsMisconfigured as error:
        raise usage.UsageError(str(error)) from None

    def connect(
        endpoint: Endpoint, factory: Factory[NovaConnection], seconds: float
    ) -> Deferred[Any]:
        tcp = _tcp(reactor, endpoint, seconds)
        if endpoint.tls is None:
            return tcp.connect(factory)
        return wrapClientTLS(endpoint.tls, tcp).connect(factory)

    return Upstream(
        endpoints,
        connect,
        reactor,
        sweep,
        random,
        Patience(
            config.connect_timeout, config.first_byte_timeout, config.idle_timeout
        ),
        Extent(config.max_connections, config.max_queue),
    )


def _tcp(reactor: Any, endpoint: Endpoint, seconds: float) -> IStreamClientEndpoint:
    """
    Tell how to open TCP to an endpoint.
    """
    kind: type[HostnameEndpoint | TCP4ClientEndpoint | TCP6ClientEndpoint]
    if isIPAddress(endpoint.host):
        kind = TCP4ClientEndpoint
    elif isIPv6Address(endpoint.host):
        kind = TCP6ClientEndpoint
    else:
        # It tells of a refused connection only 0.3 seconds later, when it has looked
        # for another address; so it is for names alone.
        kind = HostnameEndpoint
    return kind(reactor, endpoint.host, endpoint.port, timeout=seconds)


def _holds(config: Config) -> Shares:
    """
    Make the places for callers that are not identified yet.
    """
    hold = config.hold
    return Shares(
        hold.max_unidentified_per_mac,
        hold.max_unidentified_per_network,
        config.bounds.max_connections,
    )


def _connections(config: Config) -> Shares:
    """
    Make the places for connections of instances.

    No network gets more than half of them, so that none can shut out the others.
    """
    bounds = config.bounds
    return Shares(
        bounds.max_connections_per_instance,
        max(1, bounds.max_connections // 2),
        bounds.max_connections,
    )


def _channel_bounds(config: Config) -> ChannelBounds:
    """
    Tell the channels what a connection may take.
    """
    bounds = config.bounds
    return ChannelBounds(
        RequestBounds(bounds.max_head, bounds.max_body),
        bounds.head_timeout,
        bounds.body_timeout,
        bounds.idle_timeout,
        bounds.write_timeout,
        bounds.max_pipeline,
    )


def _listener(
    config: ListenerConfig, front: Front, neighbours: NeighbourSource, reactor: Any
) -> Listener:
    """
    Make a listener.
    """
    if config.device is not None:
        places = tuple(
            Place(address, config.port, config.device) for address in (IPV4, IPV6)
        )
    else:
        places = (Place(config.address or "", config.port),)
    return Listener(
        config.name,
        config.network,
        config.identify_by,
        places,
        config.device,
        front,
        neighbours,
        reactor,
        reactor,
    )
