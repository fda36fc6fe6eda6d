# -*- test-case-name: tests.test_listening -*-
"""
Everything that accepts instances, as the configuration has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from twisted.application.service import MultiService, Service

from mdproxy.broker import Rule
from mdproxy.config import AnyListener, ListenerConfig, NamespacesConfig, SocketConfig
from mdproxy.http.front import Front
from mdproxy.listeners import IPV4, IPV6, Listener, Place
from mdproxy.openers import BrokerOpener, InPlaceOpener, Opener, Opening
from mdproxy.sources import Sources


@frozen
class Listening:
    """
    What accepts instances.

    @ivar opening: Opens sockets in namespaces, and is to be started before all that
        asks it.
    @ivar accepting: All listeners, as one service.
    @ivar parts: What tells the operator of them.
    """

    opening: Service
    accepting: MultiService
    parts: Sequence[Any]

    def describe(self) -> list[Any]:
        """
        Tell the operator of every listener.

        @return: Plain values, ready for JSON.
        """
        return [part.describe() for part in self.parts]


def make_listening(
    configs: Sequence[AnyListener],
    front: Front,
    sources: Sources,
    reactor: Any,
    sheds_root: bool,
) -> Listening:
    """
    Make the listeners.

    @param configs: What the operator wants.
    @param front: What their channels share.
    @param sources: Who knows neighbours, and the books.
    @param sheds_root: Whether we are root, and another user when all has started: then
        sockets in namespaces are opened by a broker that stays root.
    """
    parts: list[Service] = [
        _listener(config, front, sources, reactor)
        for config in configs
        if isinstance(config, ListenerConfig)
    ]
    opening: Service = MultiService()
    if rules := rules_of(configs):
        opener: Opener = (
            BrokerOpener(rules, reactor) if sheds_root else InPlaceOpener(rules)
        )
        opening = Opening(opener)
        parts.append(_namespaces(rules, opener, front, sources, reactor))
    parts += [
        _agent_socket(config, front, sources, reactor)
        for config in configs
        if isinstance(config, SocketConfig)
    ]
    accepting = MultiService()
    for part in parts:
        part.setServiceParent(accepting)
    return Listening(opening, accepting, parts)


def rules_of(configs: Sequence[AnyListener]) -> list[Rule]:
    """
    Tell what is to be opened in which namespaces.
    """
    rules: list[Rule] = []
    for config in configs:
        if isinstance(config, NamespacesConfig):
            ports = (config.port, config.router_port)
            rules.append(Rule(config.name, config.namespaces, *ports))
        elif isinstance(config, SocketConfig):
            # Neighbours and routers' networks are looked for there, but nobody is
            # listened to.
            rules.append(Rule(config.name, config.namespaces))
    return rules


def _listener(
    config: ListenerConfig, front: Front, sources: Sources, reactor: Any
) -> Listener:
    """
    Make a listener on a device or an address.
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
        sources.neighbours,
        reactor,
        reactor,
    )


def _namespaces(
    rules: Sequence[Rule],
    opener: Opener,
    front: Front,
    sources: Sources,
    reactor: Any,
) -> Service:
    """
    Make what listens in namespaces.
    """
    # Who has none need not have it in memory.
    from mdproxy.namespaces import Namespaces

    neighbours, networks = sources.neighbours, sources.books.networks
    return Namespaces(rules, opener, front, neighbours, networks, reactor)


def _agent_socket(
    config: SocketConfig, front: Front, sources: Sources, reactor: Any
) -> Service:
    """
    Make what stands in the place of Neutron's agent.
    """
    from mdproxy.agent_callers import RelayedCallers
    from mdproxy.agent_socket import AgentSocket

    callers = RelayedCallers(
        sources.books, sources.neighbours, reactor, config.identify_by
    )
    return AgentSocket(config, front, callers, reactor)
