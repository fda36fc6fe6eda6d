# -*- test-case-name: tests.test_testing -*-
"""
Verified fakes of the seams, for our tests and for those of whoever builds on mdproxy.

Each provides its interface in full and keeps it in memory; nothing here waits, opens
or reads anything.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mdproxy.broker import ROUTE, Identity, Rule, Want, check_name, place_of
from mdproxy.headers import Fields, for_instance
from mdproxy.interfaces import (
    IExchange,
    IInventory,
    IUpstream,
    SourceState,
)
from mdproxy.lookup.books import NeighbourBook, PortBook
from mdproxy.lookup.kernel_table import DevicesChanged, Opener
from mdproxy.lookup.netlink import Entry
from mdproxy.model import Neighbour, Port, ResponseHead


@implementer(IUpstream)
@define(eq=False)
class FakeUpstream:
    """
    An upstream whose answers are given by hand.

    @ivar asked: Every exchange that was ever sent, with its head as it was then.
    @ivar in_flight: Those that have not ended, the eldest first.
    @ivar cancelled: Those that were forgotten.
    @ivar paused: Those in flight that are not read at this moment.
    @ivar down: Fails every exchange at once, as long as it is set.
    """

    asked: list[tuple[IExchange, bytes]] = field(factory=list, repr=False)
    in_flight: list[IExchange] = field(factory=list)
    cancelled: list[IExchange] = field(factory=list)
    paused: list[IExchange] = field(factory=list)
    down: Exception | None = None

    def send(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.send}.
        """
        self.asked.append((exchange, exchange.wire))
        if self.down is not None:
            exchange.failed(self.down, False)
        else:
            self.in_flight.append(exchange)

    def cancel(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.cancel}.
        """
        self._end(exchange)
        self.cancelled.append(exchange)

    def pause(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.pause}.
        """
        self.paused.append(exchange)

    def resume(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.resume}.
        """
        if exchange in self.paused:
            self.paused.remove(exchange)

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{IUpstream.describe}.
        """
        return {"in_flight": len(self.in_flight), "requests": len(self.asked)}

    def begin(
        self,
        status: int = 200,
        phrase: bytes = b"OK",
        headers: Fields = (),
        length: int | None = None,
    ) -> IExchange:
        """
        Begin to answer the eldest exchange in flight.

        @param length: The length of the body to come, where it is told.

        @return: The exchange.
        """
        exchange = self.in_flight[0]
        exchange.head(ResponseHead(status, phrase, for_instance(headers), length))
        return exchange

    def answer(
        self,
        status: int = 200,
        body: bytes = b"",
        headers: Fields = (),
        phrase: bytes = b"OK",
    ) -> None:
        """
        Answer the eldest exchange in flight, as long as it listens.
        """
        exchange = self.begin(status, phrase, headers, len(body))
        if body and exchange in self.in_flight:
            exchange.body(body)
        if exchange in self.in_flight:
            self.end(exchange)

    def end(self, exchange: IExchange) -> None:
        """
        Complete an answer.
        """
        self._end(exchange)
        exchange.done()

    def fail(self, error: Exception, sent: bool = True) -> None:
        """
        Break off with the eldest exchange in flight.
        """
        exchange = self.in_flight[0]
        self._end(exchange)
        exchange.failed(error, sent)

    def _end(self, exchange: IExchange) -> None:
        """
        An exchange has ended.
        """
        self.in_flight.remove(exchange)
        self.resume(exchange)


@define(eq=False)
class FakeNeighbours:
    """
    A neighbour source on a kernel in memory.

    What the kernel knows is told when L{drain} is called, one address when L{probe} is.

    @ivar book: What it enters into.
    @ivar clock: What time it is.
    @ivar kernel: By network and address, where the kernel would send; C{None}: it has
        no entry any more.
    @ivar silent: Whether L{drain} enters nothing, for events were lost.
    @ivar attached: The devices of its own namespace that stand for networks, by index.
    @ivar attached_in: Those of watched namespaces, by namespace and index.
    @ivar watched: By namespace, what opens its sockets and whom to tell of its devices.
    @ivar probes: What was asked with L{probe}.
    @ivar ports: By network and MAC, by which device the network's bridge reaches it.
    """

    book: NeighbourBook
    clock: IReactorTime
    kernel: dict[tuple[str, str], str | None] = field(factory=dict)
    silent: bool = False
    attached: dict[int, str] = field(factory=dict)
    attached_in: dict[str, dict[int, str]] = field(factory=dict)
    watched: dict[str, tuple[Opener, DevicesChanged]] = field(factory=dict)
    probes: list[tuple[str, str]] = field(factory=list)
    ports: dict[tuple[str, str], str] = field(factory=dict)

    def watch(
        self, namespace: str, open_socket: Opener, devices_changed: DevicesChanged
    ) -> None:
        """
        Begin to follow a namespace; tests call what is in L{watched}.
        """
        self.unwatch(namespace)
        self.watched[namespace] = (open_socket, devices_changed)
        self.attached_in[namespace] = {}

    def unwatch(self, namespace: str) -> None:
        """
        Let go of a namespace and its devices.
        """
        self.watched.pop(namespace, None)
        for ifindex in list(self.attached_in.get(namespace, ())):
            self.detach(ifindex, namespace)
        self.attached_in.pop(namespace, None)

    def attach(self, ifindex: int, network: str, namespace: str = "") -> None:
        """
        Begin to enter the neighbours of a device.
        """
        (self.attached_in[namespace] if namespace else self.attached)[ifindex] = network

    def detach(self, ifindex: int, namespace: str = "") -> None:
        """
        Forget a device.
        """
        there = self.attached_in.get(namespace, {}) if namespace else self.attached
        there.pop(ifindex, None)

    def bridge_port(self, network: str, mac: str) -> str | None:
        """
        Tell by which port of the network's bridge a MAC is reached.
        """
        return self.ports.get((network, mac))

    def drain(self) -> None:
        """
        Enter all that the kernel has told.
        """
        if not self.silent:
            for network, address in self.kernel:
                self._enter(network, address)

    def probe(self, network: str, address: str) -> str | None:
        """
        Enter what the kernel knows of one address.

        @return: The MAC; C{None} where it has no entry.
        """
        self.probes.append((network, address))
        self._enter(network, address)
        return self.kernel.get((network, address))

    def look(self, network: str, address: str) -> Entry | None:
        """
        Tell what the kernel knows of one address; all that it knows is fresh.
        """
        mac = self.kernel.get((network, address))
        if mac is not None:
            return Entry(2, address, mac, 0x02)
        if (network, address) in self.kernel:
            return Entry(2, address, None, 0x20)
        return None

    def _enter(self, network: str, address: str) -> None:
        """
        Enter what the kernel knows of one address.
        """
        mac, now = self.kernel.get((network, address)), self.clock.seconds()
        if mac is None:
            self.book.forget(network, address, now)
        else:
            self.book.learn(Neighbour(network, address, mac), now)


@define(eq=False)
class FakeOpener:
    """
    An opener of namespaces in memory; what it opens are plain sockets.

    @ivar rules: What may be opened.
    @ivar there: The namespaces that there are, by name.
    @ivar taken: By namespace and kind of socket, why it can't be opened.
    @ivar error: Why nothing can be opened at all.
    @ivar opened: What was opened, by namespace.
    @ivar sockets: All that was opened.
    """

    rules: Sequence[Rule]
    there: dict[str, Identity] = field(factory=dict)
    taken: dict[tuple[str, str], int] = field(factory=dict)
    error: int | None = None
    problem: str | None = None
    opened: list[tuple[str, Want]] = field(factory=list)
    sockets: list[socket.socket] = field(factory=list)
    _started: bool = False

    def start(self) -> None:
        """
        Provide L{Opener.start<mdproxy.openers.Opener.start>}.
        """
        self._started = True

    def stop(self) -> None:
        """
        Provide L{Opener.stop<mdproxy.openers.Opener.stop>}.
        """
        self._started = False

    def open(
        self, namespace: str, identity: Identity, wanted: Sequence[Want]
    ) -> list[socket.socket | OSError]:
        """
        Provide L{Opener.open<mdproxy.openers.Opener.open>}.
        """
        number = self.error if self._started else errno.EPIPE
        if number is None:
            check_name(self.rules, namespace)
            there = self.there.get(namespace)
            if there != identity:
                number = errno.ENOENT if there is None else errno.ESTALE
        if number is not None:
            raise OSError(number, os.strerror(number))
        return [self._open(namespace, want) for want in wanted]

    def _open(self, namespace: str, want: Want) -> socket.socket | OSError:
        """
        Open a socket.
        """
        number = self.taken.get((namespace, want.kind))
        if number is not None:
            return OSError(number, os.strerror(number))
        try:
            if want.kind != ROUTE:
                place_of(self.rules, namespace, want)
        except OSError as error:
            return error
        self.opened.append((namespace, want))
        opened = socket.socket()
        self.sockets.append(opened)
        return opened


@implementer(IInventory)
class MemoryInventory(Service):
    """
    An inventory of the ports that it was told of, read when it starts or is refreshed.

    @ivar name: Its name.
    @ivar state: How much its silence is worth.
    @ivar ports: What the outside knows.
    @ivar problem: What is wrong with the outside; nothing can be read while it is set.
    @ivar in_doubt: The networks that it can't know at this moment.
    @ivar refreshes: The networks and MACs that it was asked to read again for.
    """

    name = "memory"

    def __init__(
        self, book: PortBook, networks: tuple[str, ...] = (), name: str = "memory"
    ) -> None:
        """
        Begin without ports.

        @param book: What it enters ports into.
        @param networks: The networks that it can know.
        """
        self.name = name
        self.state = SourceState.STARTING
        self.problem: str | None = None
        self.ports: list[Port] = []
        self.in_doubt: frozenset[str] = frozenset()
        self.refreshes: list[tuple[str, str | None]] = []
        self._book = book
        self._networks = networks

    def startService(self) -> None:
        """
        Read for the first time.
        """
        super().startService()
        self._read()

    def knows(self, network: str) -> bool:
        """
        Provide L{IInventory.knows}.
        """
        return network in self._networks

    def is_in_doubt(self, network: str) -> bool:
        """
        Provide L{IInventory.is_in_doubt}.
        """
        return network in self.in_doubt

    def refresh(self, network: str, mac: str | None) -> Deferred[None]:
        """
        Provide L{IInventory.refresh}.
        """
        self.refreshes.append((network, mac))
        self._read()
        return succeed(None)

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{ISource.describe<mdproxy.interfaces.ISource.describe>}.
        """
        return {
            "name": self.name,
            "kind": "memory",
            "state": self.state.value,
            "problem": self.problem,
            "ports": len(self.ports),
        }

    def _read(self) -> None:
        """
        Enter what the outside knows, if it can be understood.
        """
        if self.problem is not None:
            known = self._book.records(self.name)
            self.state = SourceState.STALE if known else SourceState.FAILED
            return
        self._book.enter(self.name, "all", self.ports)
        self.state = SourceState.LIVE
