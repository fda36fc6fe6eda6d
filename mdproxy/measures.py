# -*- test-case-name: tests.test_measures -*-
"""
From the configuration to the measures that the parts go by.

Pure; what a reload of the configuration compares, and hands to the parts anew.
"""

from __future__ import annotations

from mdproxy.config import Config, UpstreamConfig
from mdproxy.http.client import Patience
from mdproxy.http.front import ChannelBounds
from mdproxy.http.parsing import RequestBounds
from mdproxy.lookup.decision import Policy
from mdproxy.proxy import Hold
from mdproxy.signing import Signer
from mdproxy.upstream import Extent


def signer_of(config: Config) -> Signer:
    """
    Make the holder of the secret.
    """
    return Signer(config.secret)


def policy_of(config: Config) -> Policy:
    """
    Tell what the operator decided about doubtful evidence.
    """
    return Policy(
        config.allow_unverified_address,
        config.lease_conflict == "refuse",
        config.check_bridge_port,
    )


def hold_of(config: Config) -> Hold:
    """
    Tell how long requests may wait for what passes by itself.
    """
    return Hold(config.hold.openstack, config.hold.other)


def levels_of(config: Config) -> tuple[tuple[str, str], ...]:
    """
    Tell which events are worth a line.

    @return: By the beginning of a namespace, the name of the least level.
    """
    return config.log.levels


def access_log_of(config: Config) -> str:
    """
    Tell where requests are written to.

    @return: A file's path, C{journal}, or nothing.
    """
    return config.log.access_log


def drain_timeout_of(config: Config) -> float:
    """
    Tell how long requests in flight are waited for at the end.

    @return: Seconds.
    """
    return config.drain_timeout


def unidentified_of(config: Config) -> tuple[int, int, int]:
    """
    Tell how many callers may wait that are not identified yet.

    @return: Of one MAC, of one network, and in all.
    """
    return (
        config.hold.max_unidentified_per_mac,
        config.hold.max_unidentified_per_network,
        config.bounds.max_connections,
    )


def questions_of(config: Config) -> tuple[int]:
    """
    Tell how many requests Nova is asked at a time.

    @return: Of one instance.
    """
    return (config.bounds.max_requests_per_instance,)


def rates_of(config: Config) -> tuple[float, int]:
    """
    Tell how often an instance may ask.

    @return: So many requests a second, and so many at once.
    """
    return config.bounds.max_request_rate, config.bounds.request_burst


def connections_of(config: Config) -> tuple[int, int, int]:
    """
    Tell how many connections instances may have.

    No network gets more than half of them, so that none can shut out the others.

    @return: One instance, one network, and all.
    """
    bounds = config.bounds
    return (
        bounds.max_connections_per_instance,
        max(1, bounds.max_connections // 2),
        bounds.max_connections,
    )


def channel_bounds_of(config: Config) -> ChannelBounds:
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


def patience_of(config: UpstreamConfig) -> Patience:
    """
    Tell how long Nova is waited for.
    """
    return Patience(
        config.connect_timeout, config.first_byte_timeout, config.idle_timeout
    )


def extent_of(config: UpstreamConfig) -> Extent:
    """
    Tell how large the pool may grow.
    """
    return Extent(config.max_connections, config.max_queue, config.max_age)
