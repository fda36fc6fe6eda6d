# -*- test-case-name: tests.test_tap -*-
"""
The pool of connections with Nova: how it is made of the configuration, and follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python import usage

from mdproxy.config import Config, ConfigError, UpstreamConfig
from mdproxy.http.client import NovaConnection
from mdproxy.http.transports import connect_at_once, encrypt_at_once
from mdproxy.measures import extent_of, patience_of
from mdproxy.reload import Change
from mdproxy.sweep import Sweep
from mdproxy.tls import TlsMisconfigured, client_tls
from mdproxy.upstream import Connector, Endpoint, Upstream


def make_upstream(
    config: UpstreamConfig, reactor: Any, sweep: Sweep, random: Random
) -> Upstream:
    """
    Make the pool of connections to Nova.

    @raise usage.UsageError: If the TLS files can't be used.
    """
    try:
        endpoints = make_endpoints(config)
    except TlsMisconfigured as error:
        raise usage.UsageError(str(error)) from None

    return Upstream(
        endpoints,
        make_connector(reactor),
        reactor,
        sweep,
        random,
        patience_of(config),
        extent_of(config),
    )


def make_connector(reactor: Any) -> Connector:
    """
    Tell how connections with Nova are opened.
    """
    opening = connect_at_once(reactor)

    def connect(
        endpoint: Endpoint, factory: Factory[NovaConnection], seconds: float
    ) -> Deferred[Any]:
        tcp = _tcp(opening, endpoint, seconds)
        if endpoint.tls is None:
            return tcp.connect(factory)
        return tcp.connect(encrypt_at_once(endpoint.tls, factory))

    return connect


def make_endpoints(
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


def prepare_upstream(upstream: Upstream, old: Config, new: Config) -> Change:
    """
    Read the TLS files again, and be ready to follow the configuration.

    @param upstream: The pool in use.
    @param old: The configuration in force.
    @param new: The one that may be.

    @raise ConfigError: If the TLS files can't be used.
    """
    before = upstream.endpoints
    try:
        after = make_endpoints(new.upstream, before)
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
