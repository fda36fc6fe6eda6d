# -*- test-case-name: tests.test_lookup_neighbours -*-
"""
The source of the neighbour book: the kernel's own tables, followed by netlink.

A namespace has a table of its own, so each that listeners are in is followed by itself
(L{mdproxy.lookup.kernel_table}).  One C{epoll} descriptor watches all their sockets,
for the reactor and for whoever must know what is true at this moment: one system call
says that nothing has changed on any of a thousand networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from select import EPOLLIN, epoll
from typing import Any, Final, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFDSet,
    IReactorTime,
    IReadDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mdproxy.condition import Condition
from mdproxy.interfaces import ISource, SourceState
from mdproxy.limits import Seldom
from mdproxy.lookup.books import NeighbourBook
from mdproxy.lookup.kernel_table import (
    DevicesChanged,
    KernelTable,
    Ledger,
    Lost,
    Opener,
    open_netlink,
    text_of,
)
from mdproxy.lookup.netlink import Entry, Garbled

Answer = TypeVar("Answer")

#: After how many seconds a lost socket is opened again.
_PAUSE: Final = 1.0
#: After so many that could not be opened the others wait for the next time.
_TRIES: Final = 16
#: Of how many sockets one system call tells.
_READY: Final = 64


class Poll(Protocol):
    """
    What is used of an C{epoll} descriptor.
    """

    def register(self, fd: int, eventmask: int, /) -> None:
        """
        Begin to watch a descriptor.
        """

    def unregister(self, fd: int, /) -> None:
        """
        Watch a descriptor no more.
        """

    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, int]]:
        """
        Tell which descriptors have something to read, or an error.
        """

    def fileno(self) -> int:
        """
        Tell the number of the descriptor that is readable where one of them is.
        """

    def close(self) -> None:
        """
        Let go of it.
        """


@implementer(ISource, IReadDescriptor)
class NeighbourSource(Service):
    """
    Keeps the neighbour book as the kernel has it, for the devices that listeners use.

    While a socket is lost nothing of its namespace is remembered, since an entry that
    nobody watches may point anywhere: whoever needs one must probe.

    The namespace that the process is in is called C{""} and always watched.

    @ivar condition: How the source is.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        book: NeighbourBook,
        open_socket: Opener = open_netlink,
        name: str = "neighbours",
        make_poll: Callable[[], Poll] = epoll,
    ) -> None:
        """
        Prepare a source; it reads nothing before it is started.

        @param reactor: Watches the sockets.
        @param clock: Dates what is learnt; usually the reactor too.
        @param book: Where everything is entered.
        @param open_socket: Opens a netlink socket in the process's own namespace.
        @param name: The word for this source.
        @param make_poll: Makes what watches all sockets at once.
        """
        self.name = name
        self.condition = Condition(name, self.log)
        self._reactor = reactor
        self._clock = clock
        self._book = book
        self._make_poll = make_poll
        self._seldom = Seldom()
        counts = dict.fromkeys(("resyncs", "overruns", "probes", "failed_probes"), 0)
        self._ledger = Ledger(name, book, clock, self.log, counts)
        self._tables = {"": KernelTable("", self._ledger, open_socket)}
        # Where each network's neighbours are.
        self._seats: dict[str, tuple[KernelTable, int]] = {}
        # The open tables, by the number of the descriptor that has their news; those
        # that must be read although there may be no news; and why others are lost.
        self._open: dict[int, KernelTable] = {}
        self._doubtful: dict[KernelTable, None] = {}
        self._lost: dict[KernelTable, str] = {}
        self._poll: Poll | None = None
        self._retry: IDelayedCall | None = None
        self._soon: IDelayedCall | None = None
        self._draining = False

    @property
    def state(self) -> SourceState:
        """
        Provide L{ISource.state<mdproxy.interfaces.ISource>}.
        """
        return self.condition.state

    def privilegedStartService(self) -> None:
        """
        Begin before any listener: what happens before this reads is never known.
        """
        self.startService()

    def startService(self) -> None:
        """
        Open the sockets and read the whole tables, before this returns; unless that was
        done while we were privileged.
        """
        if self.running:
            return
        super().startService()
        for table in self._tables.values():
            self._begin(table)
        self._drain()

    def stopService(self) -> None:
        """
        Let go of the sockets and timers; the book keeps what it has.
        """
        super().stopService()
        for table in self._tables.values():
            self._end(table)
        for call in (self._retry, self._soon):
            if call is not None:
                call.cancel()
        self._retry = self._soon = None
        self._lost.clear()

    def watch(
        self, namespace: str, open_socket: Opener, devices_changed: DevicesChanged
    ) -> None:
        """
        Begin to follow a namespace; if one of the same name is followed, that one is
        unwatched first.

        @param namespace: Its name.
        @param open_socket: Opens a netlink socket in it: once now, again whenever it
            was lost, and once more for questions.
        @param devices_changed: Is told of all devices of the namespace, names by index,
            when they have been read and whenever any comes, goes or is renamed; in a
            turn of the reactor of its own, never within a call of this source.  It
            may attach, detach, watch and unwatch, and must not raise.
        """
        self.unwatch(namespace)
        table = KernelTable(namespace, self._ledger, open_socket, devices_changed)
        self._tables[namespace] = table
        if self.running:
            self._begin(table)
            self._drain()

    def unwatch(self, namespace: str) -> None:
        """
        Let go of a namespace at once, and forget all that was learnt there; one that
        isn't watched is no trouble.

        Its connections must be closed: when its entries were turned is forgotten too.

        @param namespace: Its name.
        """
        table = self._tables.pop(namespace, None)
        if table is None:
            return
        self._end(table)
        self._lost.pop(table, None)
        for network in table.networks:
            self._detach(*self._seats[network])
            self._book.leave(network)
        if self.running:
            self._judge()

    def attach(self, ifindex: int, network: str, namespace: str = "") -> None:
        """
        Begin to enter the neighbours of a device.

        @param ifindex: The device's index.
        @param network: The network that it stands for; if another device stood for it
            so far, that one is detached.
        @param namespace: The watched namespace that the device is in.
        """
        table = self._tables[namespace]
        former = self._seats.get(network)
        if former is not None:
            self._detach(*former)
        self._detach(table, ifindex)
        table.attach(ifindex, network)
        self._seats[network] = (table, ifindex)
        # Many devices may come in one turn; they share a dump.
        if table.news is not None:
            self._doubtful[table] = None
            self._read_soon()

    def detach(self, ifindex: int, namespace: str = "") -> None:
        """
        Forget a device and all its neighbours; one that isn't attached is no trouble.

        @param ifindex: The device's index.
        @param namespace: The namespace that it is in.
        """
        table = self._tables.get(namespace)
        if table is not None:
            self._detach(table, ifindex)

    def drain(self) -> None:
        """
        Bring the book up to what the kernel knows now.

        One system call where there is no news, and none where no device is watched.  A
        call from within an observer of the book does nothing: the call that told the
        observer is still at work.
        """
        if self._seats:
            self._drain()

    def probe(self, network: str, address: str) -> str | None:
        """
        Ask the kernel for one neighbour, and enter the answer.

        The answer is there when the question has been sent (17 to 55 microseconds), so
        this never waits.

        @param network: The network, of an attached device.
        @param address: The neighbour's address, in canonical form.

        @return: Where the kernel would send; C{None} where it would not, or can't say.
        """
        return self._ask(network, address, KernelTable.ask)

    def bridge_port(self, network: str, mac: str) -> str | None:
        """
        Ask the kernel by which port of the network's bridge a MAC is reached.

        @param network: The network, of an attached device.
        @param mac: The MAC address.

        @return: The port's device name; C{None} where the network's device is no
            bridge, has not learnt the MAC, or the kernel can't say.
        """
        return self._ask(network, mac, KernelTable.find_port)

    def look(self, network: str, address: str) -> Entry | None:
        """
        Ask the kernel for one neighbour as it is, for the operator: nothing is entered.

        @param network: The network, of an attached device.
        @param address: The neighbour's address, in canonical form.

        @return: The entry, one that is of no use included; C{None} where there is none,
            or the kernel can't say.
        """
        return self._ask(network, address, KernelTable.look)

    def knows(self, network: str) -> bool:
        """
        Provide L{ISource.knows<mdproxy.interfaces.ISource.knows>}: the networks of
        attached devices.
        """
        return network in self._seats

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{ISource.describe<mdproxy.interfaces.ISource.describe>}.
        """
        age = None
        if self._ledger.latest is not None:
            age = round(self._clock.seconds() - self._ledger.latest, 3)
        return {
            "name": self.name,
            "kind": "neighbours",
            "state": self.state.value,
            "problem": self.condition.problem,
            "namespaces": len(self._tables),
            "networks": sorted(self._seats),
            "entries": sum(len(table) for table in self._tables.values()),
            "last_event_age": age,
            **self._ledger.counts,
        }

    def fileno(self) -> int:
        """
        Tell the reactor which descriptor to watch.

        @return: -1 where there is none.
        """
        return -1 if self._poll is None else self._poll.fileno()

    def doRead(self) -> None:
        """
        Read the news that have come.
        """
        self._drain()

    def logPrefix(self) -> str:
        """
        Name this source in Twisted's log.
        """
        return "neighbours"

    def connectionLost(self, reason: Failure) -> None:
        """
        Take the sockets' loss from the reactor, which also ends every reader this way
        when it stops.
        """
        for table in list(self._open.values()):
            self._lose(table, "the reactor dropped the socket")
        self._judge()

    def _drain(self) -> None:
        """
        Read what the kernel has told, whomever it is about.
        """
        if self._draining:
            return
        ready = [] if self._poll is None else self._poll.poll(0, _READY)
        if not ready and not self._doubtful and self._open and not self._lost:
            return
        self._draining = True
        try:
            self._read_all(ready)
        finally:
            self._draining = False
        self._judge()

    def _read_all(self, ready: list[tuple[int, int]]) -> None:
        """
        Read every table that may have changed.

        @param ready: The first of those that have news.
        """
        doubtful, self._doubtful = self._doubtful, {}
        self._read_ready(ready)
        for table in doubtful:
            self._read(table)
        for table in list(self._lost if self.running else self._tables.values()):
            table.forget_everything()
            table.miss()

    def _read_ready(self, ready: list[tuple[int, int]]) -> None:
        """
        Read the tables that have news; those that were read go to the end of the
        kernel's list.
        """
        for _ in range(len(self._open) // _READY + 1):
            for descriptor, _ in ready:
                if descriptor in self._open:
                    self._read(self._open[descriptor])
            if len(ready) < _READY or self._poll is None:
                return
            ready = self._poll.poll(0, _READY)

    def _read(self, table: KernelTable) -> None:
        """
        Read one table.
        """
        try:
            table.read()
        except Lost as lost:
            self._lose(table, str(lost))
            return
        if table.is_in_doubt and table.news is not None:
            # There was more than it reads at once.
            self._doubtful[table] = None
        if not table.is_told:
            self._read_soon()

    def _begin(self, table: KernelTable) -> None:
        """
        Open a table, to be read with the next drain.
        """
        try:
            descriptor = table.open().fileno()
            if self._poll is None:
                self._poll = self._make_poll()
                self._reactor.addReader(self)
            self._poll.register(descriptor, EPOLLIN)
        except Lost as lost:
            self._lose(table, str(lost))
        except OSError as error:
            self._lose(table, f"can't watch a netlink socket: {text_of(error)}")
        else:
            self._open[descriptor] = table
            self._doubtful[table] = None

    def _end(self, table: KernelTable) -> None:
        """
        Close a table.
        """
        if table.news is not None and self._poll is not None:
            descriptor = table.news.fileno()
            if self._open.pop(descriptor, None) is not None:
                self._poll.unregister(descriptor)
            if not self._open:
                self._reactor.removeReader(self)
                self._poll.close()
                self._poll = None
        table.close()
        self._doubtful.pop(table, None)

    def _lose(self, table: KernelTable, problem: str) -> None:
        """
        Give a table up for now, and everything that was learnt from it.
        """
        self._end(table)
        table.forget_everything()
        if self.running:
            self._lost[table] = problem
            if self._retry is None:
                self._retry = self._clock.callLater(_PAUSE, self._begin_again)

    def _begin_again(self) -> None:
        """
        Open what is lost, after news have been missed.
        """
        self._retry = None
        lost, self._lost = self._lost, {}
        waiting = {}
        for table, problem in lost.items():
            if len(self._lost) < _TRIES:
                table.miss()
                self._begin(table)
            else:
                waiting[table] = problem
        # Those that had no turn come first the next time.
        self._lost = {**waiting, **self._lost}
        self._drain()

    def _judge(self) -> None:
        """
        Say how the source is.
        """
        if not self._lost:
            if self.running:
                self.condition.become(SourceState.LIVE)
            return
        # By name, so that it reads the same for as long as the trouble is the same.
        table = min(self._lost, key=lambda table: table.namespace)
        problem = self._lost[table]
        if table.namespace:
            problem = f"{problem} ({table.namespace})"
        if len(self._lost) > 1:
            problem += ", and more of the kind"
        state = SourceState.STALE if self._open else SourceState.FAILED
        self.condition.become(state, problem)

    def _read_soon(self) -> None:
        """
        Go on with what was put off in a turn of its own.
        """
        if self._soon is None:
            self._soon = self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """
        Read the tables for devices that have come, and tell of those that have changed.
        """
        self._soon = None
        self._drain()
        for table in list(self._tables.values()):
            tell, links = table.devices_changed, table.links
            if not table.is_told and tell is not None and links is not None:
                table.is_told = True
                # It may have been unwatched by one that was told before.
                if self._tables.get(table.namespace) is table:
                    tell(dict(links))

    def _detach(self, table: KernelTable, ifindex: int) -> None:
        """
        Forget a device of a table.
        """
        network = table.detach(ifindex)
        if network is not None:
            del self._seats[network]

    def _ask(
        self,
        network: str,
        what: str,
        ask: Callable[[KernelTable, int, str], Answer | None],
    ) -> Answer | None:
        """
        Put a question about a device.

        @param what: What it is about.
        @param ask: Puts it.

        @return: The answer; C{None} where there is none.
        """
        seat = self._seats.get(network)
        if seat is None or not self.running:
            return None
        counts = self._ledger.counts
        counts["probes"] += 1
        try:
            return ask(*seat, what)
        except (OSError, Garbled) as error:
            counts["failed_probes"] += 1
            self._tell_failed(network, what, str(error))
            return None

    def _tell_failed(self, network: str, what: str, error: str) -> None:
        """
        Log that a question got no answer, once in a while for each network: any
        instance can have them asked.
        """
        quiet = self._seldom.passes((network, error), self._clock.seconds())
        if quiet is not None:
            self.log.warn(
                "{source}: no answer about {what} on {network}: {error} ({quiet} more "
                "like it)",
                source=self.name,
                what=what,
                network=network,
                error=error,
                quiet=quiet,
            )
