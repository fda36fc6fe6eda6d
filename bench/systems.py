"""
All systems that can be measured, by their names.
"""

from __future__ import annotations

from collections.abc import Callable

from bench import peers, product
from bench.backend import Backend
from bench.places import Place
from bench.product import REACTOR, WATCHED
from bench.system import System

#: Starts a system, and waits until it listens.
Starter = Callable[[Place, Backend], System]

STARTERS: dict[str, Starter] = {
    "nginx": peers.start_nginx,
    "haproxy": peers.start_haproxy,
    "mdproxy": product.start_mdproxy,
    REACTOR: product.start_mdproxy_epoll,
    WATCHED: product.start_mdproxy_watched,
    "neutron": peers.start_neutron,
    "neutron-shipped": peers.start_neutron_shipped,
}


def missing(name: str, source: str) -> str:
    """
    Tell what keeps a system from being measured.

    @param source: As in L{Place}.

    @return: A sentence; empty if it can be.
    """
    if name.startswith("neutron") and not peers.NEUTRON.exists():
        return "Neutron is not installed: bench/setup"
    if name == REACTOR and not product.has_reactor(source):
        return "this mdproxy has no such reactor"
    return ""
