# -*- test-case-name: tests.test_tap -*-
"""
C{twistd mdproxy}: the parts list, and the only module that knows all parts.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from random import Random, SystemRandom
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    serverFromString,
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
from mdproxy.http.client import NovaConnection
from mdproxy.http.front import Front
from mdproxy.http.transports import (
    connect_at_once,
    encrypt_at_once,
    look_before_sending,
)
from mdproxy.introspection.status import (
    IntrospectionService,
    Status,
    introspection,
)
from mdproxy.life import FrontService, InOrder, Signals
from mdproxy.limits import Rates, Shares
from mdproxy.listeners import IPV4, IPV6, Listener, Place
from mdproxy.lookup import InstanceLookup
from mdproxy.lookup.neighbours import NeighbourSource
from mdproxy.measures import (
    channel_bounds_of,
    connections_of,
    drain_timeout_of,
    extent_of,
    hold_of,
    patience_of,
    policy_of,
    questions_of,
    rates_of,
    signer_of,
    unidentified_of,
)
from mdproxy.proxy import ReverseProxyResource
from mdproxy.reload import Change, Reload, exchanged
from mdproxy.sources import make_sources
from mdproxy.sweep import Sweep
from mdproxy.tls import TlsMisconfigured, client_tls
from mdproxy.upstream import Endpoint, Upstream

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
        # They are read again on SIGHUP, when twistd has changed the directory.
        files, dirs = map(_absolute, (files, self["config-dirs"]))
        self["load"] = partial(load, files, dirs)
        try:
            self["config"] = self["load"]()
        except ConfigError as error:
            raise usage.UsageError("\n".join(error.faults)) from None


def _absolute(paths: Sequence[str]) -> list[str]:
    """
    Name files so that they are found from any directory.
    """
    return [os.path.abspath(path) for path in paths]


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
        policy_of(config),
        reactor,
        time.time,
    )
    holds, questions = Shares(*unidentified_of(config)), Shares(*questions_of(config))
    rates, connections = Rates(*rates_of(config)), Shares(*connections_of(config))
    proxy = ReverseProxyResource(
        lookup,
        upstream,
        signer_of(config),
        reactor,
        SystemRandom(),
        holds,
        questions,
        hold_of(config),
        rates,
    )
    sources.books.neighbours.observe_flips(proxy.path_changed)
    upstream.observe_recovery(proxy.nova_recovered)
    upstream.keep_ready()
    front = Front(proxy, reactor, sweep, channel_bounds_of(config), connections)
    sources.books.neighbours.observe_flips(front.path_changed)
    look_before_sending(reactor, sources.neighbours.drain)
    listeners = [
        _listener(listener, front, sources.neighbours, reactor)
        for listener in config.listeners
        if isinstance(listener, ListenerConfig)
    ]
    front_service = FrontService(front, upstream, reactor, config.drain_timeout)
    reload = Reload(
        config,
        options["load"],
        [
            partial(_prepare_upstream, upstream),
            exchanged(signer_of, proxy.sign_with),
            exchanged(hold_of, proxy.hold_for),
            exchanged(unidentified_of, lambda most: holds.resize(*most)),
            exchanged(questions_of, lambda most: questions.resize(*most)),
            exchanged(rates_of, lambda most: rates.resize(*most)),
            exchanged(connections_of, lambda most: connections.resize(*most)),
            exchanged(channel_bounds_of, partial(setattr, front, "bounds")),
            exchanged(drain_timeout_of, partial(setattr, front_service, "patience")),
            partial(sources.prepare, lookup),
        ],
        time.time,
    )
    status = Status(
        {
            "configuration": reload.describe,
            "listeners": lambda: [listener.describe() for listener in listeners],
            "sources": lambda: [source.describe() for source in sources.all],
            "upstream": upstream.describe,
            "proxy": proxy.describe,
            "front": front.describe,
        }
    )

    service = InOrder()
    Signals(reactor, front_service.hurry, reload.renew).setServiceParent(service)
    sweep.service().setServiceParent(service)
    IntrospectionService(
        serverFromString(reactor, config.introspection),
        introspection(status, reactor, transactions=proxy.transactions.describe),
        reactor,
    ).setServiceParent(service)
    sources.service.setServiceParent(service)
    front_service.setServiceParent(service)
    _together(listeners).setServiceParent(service)
    # What is made until here lives as long as the process: the collector need not
    # look at it again.
    reactor.callWhenRunning(gc.freeze)
    return service


def _together(listeners: Iterable[Listener]) -> MultiService:
    """
    Make one service of all listeners.
    """
    accepting = MultiService()
    for listener in listeners:
        listener.setServiceParent(accepting)
    return accepting


def make_upstream(
    config: UpstreamConfig, reactor: Any, sweep: Sweep, random: Random
) -> Upstream:
    """
    Make the pool of connections to Nova.

    @raise usage.UsageError: If the TLS files can't be used.
    """
    try:
        endpoints = _endpoints(config)
    except TlsMisconfigured as error:
        raise usage.UsageError(str(error)) from None

    opening = connect_at_once(reactor)

    def connect(
        endpoint: Endpoint, factory: Factory[NovaConnection], seconds: float
    ) -> Deferred[Any]:
        tcp = _tcp(opening, endpoint, seconds)
        if endpoint.tls is None:
            return tcp.connect(factory)
        return tcp.connect(encrypt_at_once(endpoint.tls, factory))

    return Upstream(
        endpoints,
        connect,
        reactor,
        sweep,
        random,
        patience_of(config),
        extent_of(config),
    )


def _endpoints(
    config: UpstreamConfig, known: Sequence[Endpoint] = ()
) -> list[Endpoint]:
    """
    Make the endpoints of Nova.

    @param known: Those in use: one with the same place and the same contents of the TLS
        files is equal to it.

    @raise TlsMisconfigured: If the TLS files can't be used.
    """
    used = [endpoint.tls for endpoint in known if endpoint.tls is not None]
    return [
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
                used,
            ),
        )
        for where in config.endpoints
    ]


def _prepare_upstream(upstream: Upstream, old: Config, new: Config) -> Change:
    """
    Read the TLS files again, and be ready to follow the configuration.
    """
    before = upstream.endpoints
    try:
        after = _endpoints(new.upstream, before)
    except TlsMisconfigured as error:
        raise ConfigError([str(error)]) from None

    def follow(endpoints: Sequence[Endpoint], config: UpstreamConfig) -> None:
        upstream.renew(endpoints, patience_of(config), extent_of(config))

    return Change(
        partial(follow, after, new.upstream), partial(follow, before, old.upstream)
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
