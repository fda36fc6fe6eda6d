# -*- test-case-name: tests.test_lookup_neighbours -*-
"""
The source of the neighbour book: the kernel's own table, followed by netlink.

One socket is told of every change; a second one asks for single entries.  Both stay in
the network namespace they were opened in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import EAGAIN, ENOBUFS
from os import strerror
from select import POLLIN, poll
from socket import (
    AF_NETLINK,
    NETLINK_ROUTE,
    SO_RCVBUF,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_RAW,
    SOL_SOCKET,
    socket,
)
from typing import Any, Protocol

from attrs import define, field
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
from mdproxy.lookup.books import NeighbourBook
from mdproxy.lookup.netlink import (
    NEIGHBOUR_GROUP,
    Entry,
    Garbled,
    Message,
    dump_request,
    entry_request,
    read_messages,
)
from mdproxy.model import Neighbour

#: C{SO_RCVBUFFORCE} of C{asm-generic/socket.h}; Python has no name for it.
SO_RCVBUFFORCE = 33
#: How much unread news the kernel keeps for us, in bytes.
_BUFFER = 1 << 20
#: The kernel's largest piece of a dump is 32 KiB.
_PIECE = 1 << 16
#: How many pieces one turn of the reactor reads; more than the buffer can hold.
_PIECES = 4096
#: How many dumps one turn of the reactor asks for.
_DUMPS = 3
#: After how many seconds a lost socket is opened again.
_PAUSE = 1.0
#: How many late answers to former questions a question reads past.
_LATE = 16


class NetlinkSocket(Protocol):
    """
    What is used of a C{socket}; it does not block.
    """

    def bind(self, address: tuple[int, int], /) -> None:
        """
        Join the groups whose bits are set in the second number.
        """

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """
        Set an option.
        """

    def send(self, data: bytes, /) -> int:
        """
        Send a request.
        """

    def recv(self, size: int, /) -> bytes:
        """
        Take one datagram.
        """

    def has_news(self) -> bool:
        """
        Tell whether there is anything to take: a datagram, or an error.
        """

    def fileno(self) -> int:
        """
        Tell the descriptor's number.
        """

    def close(self) -> None:
        """
        Let the descriptor go.
        """


class _RoutingSocket(socket):
    """
    A routing netlink socket.
    """

    def __init__(self) -> None:
        """
        Open one in the namespace that this thread is in.
        """
        kind = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC
        super().__init__(AF_NETLINK, kind, NETLINK_ROUTE)
        self._poll = poll()
        self._poll.register(self.fileno(), POLLIN)

    def has_news(self) -> bool:
        """
        Provide C{NetlinkSocket.has_news}; a quarter of what it costs to have C{recv}
        raise an exception.
        """
        return bool(self._poll.poll(0))


def open_netlink() -> NetlinkSocket:
    """
    Open a routing netlink socket in the namespace that this thread is in.
    """
    return _RoutingSocket()


@define
class _Device:
    """
    A device that a listener is bound to.

    @ivar network: The name of the listener's network.
    @ivar addresses: The addresses that we entered for it and have not forgotten.
    """

    network: str
    addresses: set[str] = field(factory=set)


@implementer(ISource, IReadDescriptor)
class NeighbourSource(Service):
    """
    Keeps the neighbour book as the kernel has it, for the devices that listeners use.

    While the socket is lost nothing is remembered, since an entry that nobody watches
    may point anywhere: whoever needs one must probe.

    @ivar condition: How the source is.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        book: NeighbourBook,
        open_socket: Callable[[], NetlinkSocket] = open_netlink,
        name: str = "neighbours",
    ) -> None:
        """
        Prepare a source; it reads nothing before it is started.

        @param reactor: Watches the socket.
        @param clock: Dates what is learnt; usually the reactor too.
        @param book: Where everything is entered.
        @param open_socket: Opens a netlink socket in the namespace to be watched.
        @param name: The word for this source.
        """
        self.name = name
        self.condition = Condition(name, self.log)
        self._reactor = reactor
        self._clock = clock
        self._book = book
        self._open_socket = open_socket
        self._news: NetlinkSocket | None = None
        self._questions: NetlinkSocket | None = None
        self._retry: IDelayedCall | None = None
        self._soon: IDelayedCall | None = None
        self._devices: dict[int, _Device] = {}
        self._indexes: dict[str, int] = {}
        self._sequence = 0
        # The running dump's sequence number, and what was valid since it began.
        self._dump: int | None = None
        self._seen: set[tuple[int, str]] = set()
        self._doubt = False
        self._draining = False
        self._latest: float | None = None
        self._counts = {"resyncs": 0, "overruns": 0, "probes": 0, "failed_probes": 0}

    @property
    def state(self) -> SourceState:
        """
        Provide L{ISource.state<mdproxy.interfaces.ISource>}.
        """
        return self.condition.state

    def startService(self) -> None:
        """
        Open the socket and read the whole table, before this returns.
        """
        super().startService()
        self._open()

    def stopService(self) -> None:
        """
        Let go of the sockets and timers; the book keeps what it has.
        """
        super().stopService()
        self._close()
        for call in (self._retry, self._soon):
            if call is not None:
                call.cancel()
        self._retry = self._soon = None

    def attach(self, ifindex: int, network: str) -> None:
        """
        Begin to enter the neighbours of a device.

        @param ifindex: The device's index.
        @param network: The network that it stands for; if another device stood for it
            so far, that one is detached.
        """
        former = self._indexes.get(network)
        if former is not None:
            self.detach(former)
        self.detach(ifindex)
        self._devices[ifindex] = _Device(network)
        self._indexes[network] = ifindex
        # Many devices may come in one turn; they share a dump.
        self._doubt = True
        if self._news is not None and self._soon is None:
            self._soon = self._clock.callLater(0, self._read_soon)

    def detach(self, ifindex: int) -> None:
        """
        Forget a device and all its neighbours; one that isn't attached is no trouble.

        @param ifindex: The device's index.
        """
        device = self._devices.pop(ifindex, None)
        if device is not None:
            del self._indexes[device.network]
            self._forget_all(device)

    def drain(self) -> None:
        """
        Bring the book up to what the kernel knows now.

        One system call where there is no news, and none where no device is watched.  A
        call from within an observer of the book does nothing: the call that told the
        observer is still at work.
        """
        if self._devices:
            self._drain()

    def _drain(self) -> None:
        """
        Read what the kernel has told, whomever it is about.
        """
        news = self._news
        certain = not self._doubt and self._dump is None
        if self._draining or (news is not None and certain and not news.has_news()):
            return
        self._draining = True
        try:
            if self._news is None:
                self._forget_everything()
                self._book.miss(self._clock.seconds())
            else:
                self._read(self._news)
        finally:
            self._draining = False

    def probe(self, network: str, address: str) -> str | None:
        """
        Ask the kernel for one neighbour, and enter the answer.

        The answer is there when the question has been sent (17 to 55 microseconds), so
        this never waits.

        @param network: The network, of an attached device.
        @param address: The neighbour's address, in canonical form.

        @return: Where the kernel would send; C{None} where it would not, or can't say.
        """
        ifindex = self._indexes.get(network)
        if ifindex is None or not self.running:
            return None
        self._counts["probes"] += 1
        try:
            entry = self._ask(ifindex, address)
        except (OSError, Garbled) as error:
            self._counts["failed_probes"] += 1
            self.log.warn(
                "{source}: no answer about {address} on {network}: {error}",
                source=self.name,
                address=address,
                network=network,
                error=str(error),
            )
            self._close_questions()
            return None
        self._enter(entry)
        return entry.mac

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{ISource.describe<mdproxy.interfaces.ISource.describe>}.
        """
        age = None
        if self._latest is not None:
            age = round(self._clock.seconds() - self._latest, 3)
        return {
            "name": self.name,
            "kind": "neighbours",
            "state": self.state.value,
            "problem": self.condition.problem,
            "networks": sorted(self._indexes),
            "entries": sum(len(device.addresses) for device in self._devices.values()),
            "last_event_age": age,
            **self._counts,
        }

    def fileno(self) -> int:
        """
        Tell the reactor which descriptor to watch.

        @return: -1 where there is none.
        """
        return -1 if self._news is None else self._news.fileno()

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
        Take the socket's loss from the reactor, which also ends every reader this way
        when it stops.
        """
        if self._news is not None:
            self._lose("the reactor dropped the socket")

    def _open_again(self) -> None:
        """
        Join the group again, after news have been missed.
        """
        self._retry = None
        self._book.miss(self._clock.seconds())
        self._open()

    def _open(self) -> None:
        """
        Join the group and ask for the table.
        """
        try:
            news = self._open_socket()
        except OSError as error:
            self._fail(f"can't open a netlink socket: {_text(error)}")
            return
        self._news = news
        try:
            _enlarge(news)
            # Membership by bind: a group joined before it is left again by bind
            # (measured).  And before the dump, so that no change falls between.
            news.bind((0, NEIGHBOUR_GROUP))
        except OSError as error:
            self._lose(f"can't join the neighbour group: {_text(error)}")
            return
        self._reactor.addReader(self)
        self._doubt = True
        self._drain()

    def _close(self) -> None:
        """
        Let go of both sockets.
        """
        self._close_questions()
        if self._news is not None:
            self._reactor.removeReader(self)
            self._news.close()
            self._news = None
        self._dump = None
        self._seen = set()

    def _close_questions(self) -> None:
        """
        Let go of the socket for single questions.
        """
        if self._questions is not None:
            self._questions.close()
            self._questions = None

    def _lose(self, problem: str) -> None:
        """
        Give the socket up, and everything that was learnt from it.
        """
        self._close()
        self._forget_everything()
        if self.running:
            self._fail(problem)

    def _fail(self, problem: str) -> None:
        """
        Say what is wrong, and try again later.
        """
        self.condition.become(SourceState.FAILED, problem)
        self._retry = self._clock.callLater(_PAUSE, self._open_again)

    def _read_soon(self) -> None:
        """
        Read the table for devices that have come.
        """
        self._soon = None
        self._drain()

    def _read(self, news: NetlinkSocket) -> None:
        """
        Read until there is nothing more and no doubt is left.
        """
        dumps = 0
        for _ in range(_PIECES):
            try:
                self._take(news.recv(_PIECE))
            except Garbled as error:
                self.log.warn("{source}: {error}", source=self.name, error=str(error))
                self._doubt = True
            except OSError as error:
                if error.errno == ENOBUFS:
                    # The kernel had more to tell than fits: something is missing.
                    self._counts["overruns"] += 1
                    self._book.miss(self._clock.seconds())
                    self._doubt = True
                elif error.errno != EAGAIN:
                    self._lose(f"can't read from netlink: {_text(error)}")
                    return
                elif not self._is_certain(news, dumps):
                    dumps += 1
                else:
                    return
            if self._news is not news:
                return

    def _is_certain(self, news: NetlinkSocket, dumps: int) -> bool:
        """
        Ask for the table if something may have been missed, now that all was read.

        @param dumps: How many times this was needed since the reading began.

        @return: Whether there is nothing more to read.
        """
        # The kernel writes a dump on as it is read: where there is nothing to read,
        # none is under way, and one whose end did not come has failed.
        if not self._doubt and self._dump is None:
            return True
        if dumps == _DUMPS:
            self._lose("the neighbour table can't be read to its end")
            return False
        self._counts["resyncs"] += 1
        self._doubt = False
        self._seen = set()
        self._dump = self._next()
        try:
            news.send(dump_request(self._dump))
        except OSError as error:
            self._lose(f"can't ask for the neighbour table: {_text(error)}")
        return False

    def _take(self, data: bytes) -> None:
        """
        Take one datagram.
        """
        self._latest = self._clock.seconds()
        if not data:
            raise Garbled("an empty netlink datagram")
        for message in read_messages(data):
            self._take_message(message)

    def _take_message(self, message: Message) -> None:
        """
        Take one message: news, a piece of the dump, or the dump's end.
        """
        if message.entry is not None:
            self._enter(message.entry)
        if message.sequence == 0 or message.sequence != self._dump:
            return
        if message.error or message.interrupted:
            self._doubt = True
        if message.error or message.done:
            self._dump = None
        if message.done and not self._doubt:
            self._finish_dump()

    def _finish_dump(self) -> None:
        """
        Forget what the table no longer shows.
        """
        for ifindex, device in list(self._devices.items()):
            for address in list(device.addresses):
                if (ifindex, address) not in self._seen:
                    self._enter(Entry(ifindex, address, None))
        self._seen = set()
        self.condition.become(SourceState.LIVE)

    def _enter(self, entry: Entry) -> None:
        """
        Enter what the kernel says of an address, if a listener uses its device.
        """
        device = self._devices.get(entry.ifindex)
        if device is None:
            return
        now = self._clock.seconds()
        if entry.mac is None:
            device.addresses.discard(entry.address)
            self._seen.discard((entry.ifindex, entry.address))
            self._book.forget(device.network, entry.address, now)
            return
        device.addresses.add(entry.address)
        if self._dump is not None:
            self._seen.add((entry.ifindex, entry.address))
        self._book.learn(Neighbour(device.network, entry.address, entry.mac), now)

    def _forget_all(self, device: _Device) -> None:
        """
        Forget every neighbour of a device.
        """
        addresses, device.addresses = device.addresses, set()
        for address in addresses:
            self._book.forget(device.network, address, self._clock.seconds())

    def _forget_everything(self) -> None:
        """
        Forget every neighbour that this source entered.
        """
        for device in list(self._devices.values()):
            self._forget_all(device)

    def _ask(self, ifindex: int, address: str) -> Entry:
        """
        Put one question and take its answer.

        @raise OSError: If there is none.
        @raise Garbled: If it can't be read.
        """
        if self._questions is None:
            self._questions = self._open_socket()
        sequence = self._next()
        self._questions.send(entry_request(sequence, ifindex, address))
        for _ in range(_LATE):
            for message in read_messages(self._questions.recv(_PIECE)):
                if message.sequence != sequence:
                    continue
                if message.error:
                    # Mostly ENOENT: it has no entry; or ENODEV: it has no such device.
                    return Entry(ifindex, address, None)
                if message.entry is not None:
                    return message.entry
        raise Garbled("only answers to other questions came")

    def _next(self) -> int:
        """
        Number a request; 0 is for news.
        """
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        return self._sequence


def _enlarge(news: NetlinkSocket) -> None:
    """
    Ask for a large buffer, beyond the host's limit where we may (C{CAP_NET_ADMIN}).
    """
    try:
        news.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:
        news.setsockopt(SOL_SOCKET, SO_RCVBUF, _BUFFER)


def _text(error: OSError) -> str:
    """
    Say in words what the kernel refused.
    """
    return str(error) if error.errno is None else strerror(error.errno)
