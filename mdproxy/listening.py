# -*- test-case-name: tests.test_listening -*-
"""
Everything that accepts instances, as the configuration has it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Container, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.application.service import MultiService, Service
from twisted.logger import Logger

from mdproxy.config import AnyListener, ListenerConfig, NamespacesConfig, SocketConfig
from mdproxy.http.front import Front
from mdproxy.inherited import Inherited
from mdproxy.listeners import IPV4, IPV6, Listener, Place
from mdproxy.sources import Sources

if TYPE_CHECKING:
    from mdproxy.broker import Rule
    from mdproxy.heard import HeardLink

_log = Logger()


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

    def summaries(self) -> list[Any]:
        """
        Tell the operator of every listener, but nothing of any one namespace.

        @return: Plain values, ready for JSON.
        """
        return [getattr(part, "summary", part.describe)() for part in self.parts]

    def problems(self) -> Iterator[tuple[str, str]]:
        """
        Tell of every listener that does not listen as it should why, by its name.
        """
        for part in self.parts:
            if part.problem is not None:
                yield part.name, part.problem

    def links(self) -> set[str]:
        """
        Name every link that instances may come in by.
        """
        return {link for part in self.parts for link in part.links()}

    def heard(self, links: Container[str]) -> Iterator[HeardLink]:
        """
        Tell the operator of links that instances may come in by, each with its
        listener; a link may have two.

        @param links: Which.
        """
        for part in self.parts:
            yield from part.heard(links)


def make_listening(
    configs: Sequence[AnyListener],
    maker: Maker,
    inherited: Inherited,
) -> Listening:
    """
    Make the listeners.

    @param configs: What the operator wants.
    @param maker: Makes each.
    @param inherited: The sockets that systemd handed to us.
    """
    parts: list[Service] = []
    opening: Service = MultiService()
    rules = rules_of(configs)
    if rules:
        opening, namespaces = maker.namespaces(rules)
        parts.append(namespaces)
    for config in configs:
        if isinstance(config, ListenerConfig):
            parts.append(maker.listener(config, inherited.open_for(config.name)))
        elif isinstance(config, SocketConfig):
            parts.append(maker.agent(config, inherited.unix_for(config.name)))
    accepting = MultiService()
    for part in parts:
        part.setServiceParent(accepting)
    strange = set(inherited.names) - {config.name for config in configs}
    for name in sorted(strange):
        _log.warn("systemd handed over sockets for {name}: no such listener", name=name)
    return Listening(opening, accepting, parts)


def rules_of(configs: Sequence[AnyListener]) -> list[Rule]:
    """
    Tell what is to be opened in which namespaces.
    """
    if all(isinstance(config, ListenerConfig) for config in configs):
        return []
    from mdproxy.broker import Rule

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


@frozen
class Maker:
    """
    Makes listeners.

    What only some hosts use is imported when it is made, so that others don't have it
    in memory.

    @ivar _front: What their channels share.
    @ivar _sources: Who knows neighbours, and the books.
    @ivar _reactor: The reactor.
    @ivar _sheds_root: Whether we are root, and another user when all has started: then
        sockets in namespaces are opened by a broker that stays root.
    """

    _front: Front
    _sources: Sources
    _reactor: Any
    _sheds_root: bool = False

    def listener(
        self, config: ListenerConfig, opens: Callable[[Place], socket.socket]
    ) -> Service:
        """
        Make a listener on a device or an address.

        @param opens: Opens its sockets.
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
            self._front,
            self._sources.neighbours,
            self._reactor,
            self._reactor,
            opens,
        )

    def namespaces(self, rules: Sequence[Rule]) -> tuple[Service, Service]:
        """
        Make what listens, or just looks for neighbours, in namespaces.

        @return: What opens sockets there, and what asks it to.
        """
        from mdproxy.namespaces import Namespaces
        from mdproxy.openers import BrokerOpener, InPlaceOpener, Opener, Opening

        opener: Opener = InPlaceOpener(rules)
        if self._sheds_root:
            opener = BrokerOpener(rules, self._reactor)
        namespaces = Namespaces(
            rules,
            opener,
            self._front,
            self._sources.neighbours,
            self._sources.books.networks,
            self._reactor,
        )
        return Opening(opener), namespaces

    def agent(self, config: SocketConfig, opened: socket.socket | None) -> Service:
        """
        Make what stands in the place of Neutron's agent.

        @param opened: The UNIX socket, if it is there already.
        """
        from mdproxy.agent_callers import RelayedCallers
        from mdproxy.agent_socket import AgentSocket

        callers = RelayedCallers(
            self._sources.books,
            self._sources.neighbours,
            self._reactor,
            config.identify_by,
        )
        links = self._sources.books.networks.links
        return AgentSocket(config, self._front, callers, self._reactor, opened, links)
