# -*- test-case-name: tests.test_lookup_neighbours -*-
"""
One network namespace's neighbour table, as its kernel tells it.

One socket is told of every change; a second one, opened when it is first needed, asks
for single entries.  Both stay in the namespace they were opened in.  There may be a
thousand of these in a process, so each is small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from errno import EAGAIN, ENOBUFS
from functools import partial
from os import strerror
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
from typing import Final, Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mdproxy.lookup.books import NeighbourBook
from mdproxy.lookup.netlink import (
    LINK_GROUP,
    NEIGHBOUR_GROUP,
    Entry,
    Garbled,
    Link,
    Message,
    bridge_request,
    dump_request,
    entry_request,
    link_request,
    links_request,
    read_messages,
)
from mdproxy.model import Neighbour

#: C{SO_RCVBUFFORCE} of C{asm-generic/socket.h}; Python has no name for it.
SO_RCVBUFFORCE: Final = 33
#: How much unread news the kernel keeps for us, in bytes.
_BUFFER: Final = 1 << 20
#: The kernel's largest piece of a dump is 32 KiB.
_PIECE: Final = 1 << 16
#: How many pieces are read at once; more than the buffer can hold.
_PIECES: Final = 4096
#: How many of a namespace, for whose news all others wait (some 10 ms).
_PIECES_EACH: Final = 1024
#: How many dumps of a kind one turn of the reactor asks for.
_DUMPS: Final = 3
#: How many late answers to former questions a question reads past.
_LATE: Final = 16
#: The VLANs in which a bridge may know those that reach its own device: none where it
#: does not tell VLANs apart, else that of frames without a tag, which is 1 if nobody
#: has changed it (net/bridge/br_vlan.c, C{br_vlan_init}).
_VLANS: Final = (0, 1)
#: What there is to be in doubt of.
_NEIGHBOURS: Final = 1
_LINKS: Final = 2

#: Told all devices of a namespace, names by index.
DevicesChanged = Callable[[Mapping[int, str]], None]


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

    def getsockopt(self, level: int, option: int, /) -> int:
        """
        Tell an option.
        """

    def send(self, data: bytes, /) -> int:
        """
        Send a request.
        """

    def recv(self, size: int, /) -> bytes:
        """
        Take one datagram.
        """

    def fileno(self) -> int:
        """
        Tell the descriptor's number.
        """

    def close(self) -> None:
        """
        Let the descriptor go.
        """


#: Opens a routing netlink socket in one namespace; raises C{OSError} if it can't.
Opener = Callable[[], NetlinkSocket]


def open_netlink() -> NetlinkSocket:
    """
    Open a routing netlink socket in the namespace that this thread is in.
    """
    return socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE)


class Lost(Exception):
    """
    A table can't be followed any more; its text says why.
    """


@define(eq=False)
class Ledger:
    """
    What the tables of all namespaces enter into.

    @ivar source: The name of the source they belong to.
    @ivar book: Where every entry goes.
    @ivar clock: Dates what is learnt.
    @ivar log: The source's own log.
    @ivar counts: How often what happened.
    @ivar latest: When anything was last heard.
    """

    source: str
    book: NeighbourBook
    clock: IReactorTime
    log: Logger
    counts: dict[str, int]
    latest: float | None = None


@define
class _Device:
    """
    A device that a listener is bound to.

    @ivar network: The name of the listener's network.
    @ivar addresses: The addresses that we entered for it and have not forgotten.
    """

    network: str
    addresses: set[str] = field(factory=set)


@define(eq=False)
class KernelTable:
    """
    The neighbour table of one namespace, and the names of its devices.

    @ivar namespace: The namespace's name.
    @ivar devices_changed: Whom to tell of its devices; C{None}: nobody asks.
    @ivar news: The socket that is told of changes; C{None}: it is lost or not open yet.
    @ivar links: All devices, where somebody asks and they were read.
    @ivar is_told: Whether C{devices_changed} was called since they last changed.
    @ivar _devices: Those that listeners use, by index.
    @ivar _doubt: What has to be read anew.
    @ivar _dump: The running dump's sequence number.
    @ivar _dumped: What the running dump is of.
    @ivar _seen: The entries that were valid since the dump of neighbours began.
    @ivar _found: The devices that were there since the dump of devices began.
    """

    namespace: str
    _ledger: Ledger
    _open_socket: Opener
    devices_changed: DevicesChanged | None = None
    news: NetlinkSocket | None = field(default=None, init=False)
    links: dict[int, str] | None = field(default=None, init=False)
    is_told: bool = field(default=True, init=False)
    _questions: NetlinkSocket | None = field(default=None, init=False)
    _devices: dict[int, _Device] = field(factory=dict, init=False)
    _sequence: int = field(default=0, init=False)
    _doubt: int = field(default=0, init=False)
    _dump: int | None = field(default=None, init=False)
    _dumped: int = field(default=0, init=False)
    _seen: set[tuple[int, str]] | None = field(default=None, init=False)
    _found: dict[int, str] | None = field(default=None, init=False)

    def __len__(self) -> int:
        """
        Count the entries.
        """
        return sum(len(device.addresses) for device in self._devices.values())

    def __bool__(self) -> bool:
        """
        Be true, with entries or without.
        """
        return True

    @property
    def is_in_doubt(self) -> bool:
        """
        Whether it must be read though there may be no news.
        """
        return self._doubt != 0 or self._dump is not None

    @property
    def networks(self) -> list[str]:
        """
        Name the networks of the attached devices.
        """
        return [device.network for device in self._devices.values()]

    def open(self) -> NetlinkSocket:
        """
        Join the groups; what there is must be read then.

        @return: The socket that is told of changes.

        @raise Lost: If that can't be.
        """
        try:
            news = self._open_socket()
        except OSError as error:
            raise Lost(f"can't open a netlink socket: {text_of(error)}") from error
        groups = NEIGHBOUR_GROUP
        if self.devices_changed is not None:
            groups |= LINK_GROUP
        try:
            _enlarge(news)
            # Membership by bind: a group joined before it is left again by bind
            # (measured).  And before the dump, so that no change falls between.
            news.bind((0, groups))
        except OSError as error:
            news.close()
            raise Lost(f"can't join the neighbour group: {text_of(error)}") from error
        self.news = news
        self._doubt = self._everything()
        return news

    def close(self) -> None:
        """
        Let go of both sockets; the book keeps what it has.
        """
        self._close_questions()
        if self.news is not None:
            self.news.close()
            self.news = None
        self._dump = self._seen = self._found = None

    def attach(self, ifindex: int, network: str) -> None:
        """
        Begin to enter the neighbours of a device; they must be read then.
        """
        self._devices[ifindex] = _Device(network)
        self._doubt |= _NEIGHBOURS

    def detach(self, ifindex: int) -> str | None:
        """
        Forget a device and all its neighbours.

        @return: Its network; C{None} where it isn't attached.
        """
        device = self._devices.pop(ifindex, None)
        if device is None:
            return None
        self._forget_all(device)
        return device.network

    def forget_everything(self) -> None:
        """
        Forget every neighbour that was entered.
        """
        for device in list(self._devices.values()):
            self._forget_all(device)

    def miss(self) -> None:
        """
        Enter that news were missed: any entry may have been turned and turned back.
        """
        now = self._ledger.clock.seconds()
        for network in self.networks:
            self._ledger.book.miss(network, now)

    def read(self) -> None:
        """
        Read until there is nothing more and no doubt is left.

        Whoever has the kernel tell more than can be read, by turning an entry without
        end, is not to keep those of other namespaces waiting: nothing is read of its
        own for a while.

        @raise Lost: If that can't be.
        """
        dumps, news = 0, self.news
        for _ in range(_PIECES_EACH if self.namespace else _PIECES):
            if news is None or news is not self.news:
                return
            if self._read_piece(news):
                continue
            if self._is_certain(news, dumps):
                return
            dumps += 1
        if self.namespace:
            raise Lost("more news than can be read")
        # What is true now may be among those that are left.
        self.miss()

    def _read_piece(self, news: NetlinkSocket) -> bool:
        """
        Read one datagram.

        @return: Whether there may be more.

        @raise Lost: If that can't be.
        """
        try:
            self._take(news.recv(_PIECE))
        except Garbled as error:
            self._warn(str(error))
            self._doubt = self._everything()
        except OSError as error:
            if error.errno == EAGAIN:
                return False
            if error.errno != ENOBUFS:
                raise Lost(f"can't read from netlink: {text_of(error)}") from error
            # The kernel had more to tell than fits: something is missing.
            self._ledger.counts["overruns"] += 1
            self.miss()
            self._doubt = self._everything()
        return True

    def ask(self, ifindex: int, address: str) -> str | None:
        """
        Ask for one neighbour, and enter the answer.

        @return: Where the kernel would send; C{None} where it would not.

        @raise OSError: If there is no answer.
        @raise Garbled: If it can't be read.
        """
        answer = self._answer(lambda n: entry_request(n, ifindex, address))
        # Where it has none it mostly says ENOENT; or ENODEV: it has no such device.
        entry = answer.entry or Entry(ifindex, address, None)
        self._enter(entry)
        return entry.mac

    def look(self, ifindex: int, address: str) -> Entry | None:
        """
        Ask for one neighbour, for the operator: nothing is entered.

        @return: What the kernel has, as it is; C{None}: nothing.

        @raise OSError: If there is no answer.
        @raise Garbled: If it can't be read.
        """
        return self._answer(lambda n: entry_request(n, ifindex, address)).entry

    def find_port(self, bridge: int, mac: str) -> str | None:
        """
        Ask by which of its ports a bridge reaches a MAC.

        @param bridge: The index of a device, which may be no bridge.

        @return: The port's name; C{None} where there is none.

        @raise OSError: If there is no answer.
        @raise Garbled: If it can't be read.
        """
        for vlan in _VLANS:
            port = self._answer(
                partial(bridge_request, bridge=bridge, mac=mac, vlan=vlan)
            ).port
            if port is not None:
                break
        if port is None or port == bridge:
            return None
        link = self._answer(lambda n: link_request(n, port)).link
        return None if link is None else link.name

    def _everything(self) -> int:
        """
        Say what there is to be in doubt of.
        """
        return _NEIGHBOURS if self.devices_changed is None else _NEIGHBOURS | _LINKS

    def _is_certain(self, news: NetlinkSocket, dumps: int) -> bool:
        """
        Ask for what may have been missed, now that all was read.

        @param dumps: How many times this was needed since the reading began.

        @return: Whether there is nothing more to read.
        """
        # The kernel writes a dump on as it is read: where there is nothing to read,
        # none is under way, and one whose end did not come has failed.
        if self._dump is not None:
            self._doubt |= self._dumped
        if not self._devices:
            self._doubt &= ~_NEIGHBOURS
        if not self._doubt:
            return True
        if dumps == _DUMPS * self._everything().bit_count():
            raise Lost("the neighbour table can't be read to its end")
        # Devices first: whoever hears of them attaches some.
        self._dumped = self._doubt & _LINKS or _NEIGHBOURS
        self._doubt &= ~self._dumped
        self._dump = self._next()
        try:
            news.send(self._begin_dump(self._dump))
        except OSError as error:
            text = f"can't ask for the neighbour table: {text_of(error)}"
            raise Lost(text) from error
        return False

    def _begin_dump(self, sequence: int) -> bytes:
        """
        Begin with empty hands.

        @return: The request.
        """
        if self._dumped == _LINKS:
            self._found = {}
            return links_request(sequence)
        self._seen = set()
        self._ledger.counts["resyncs"] += 1
        return dump_request(sequence)

    def _take(self, data: bytes) -> None:
        """
        Take one datagram.
        """
        self._ledger.latest = self._ledger.clock.seconds()
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
        elif message.link is not None:
            self._note(message.link)
        if message.sequence == 0 or message.sequence != self._dump:
            return
        if message.error or message.interrupted:
            self._doubt |= self._dumped
        if message.error or message.done:
            self._dump = None
        if message.done and not self._doubt & self._dumped:
            self._finish_dump()

    def _finish_dump(self) -> None:
        """
        Forget what the table no longer shows.
        """
        if self._dumped == _LINKS:
            if self._found != self.links:
                self.links, self.is_told = self._found, False
            self._found = None
            return
        seen, self._seen = self._seen, None
        for ifindex, device in list(self._devices.items()):
            for address in list(device.addresses):
                if seen is not None and (ifindex, address) not in seen:
                    self._enter(Entry(ifindex, address, None))

    def _enter(self, entry: Entry) -> None:
        """
        Enter what the kernel says of an address, if a listener uses its device.
        """
        device = self._devices.get(entry.ifindex)
        if device is None:
            return
        book, now = self._ledger.book, self._ledger.clock.seconds()
        if entry.mac is None:
            device.addresses.discard(entry.address)
            if self._seen is not None:
                self._seen.discard((entry.ifindex, entry.address))
            book.forget(device.network, entry.address, now)
            return
        device.addresses.add(entry.address)
        if self._seen is not None:
            self._seen.add((entry.ifindex, entry.address))
        book.learn(Neighbour(device.network, entry.address, entry.mac), now)

    def _note(self, link: Link) -> None:
        """
        Note what the kernel says of a device, if anybody asks.
        """
        for links in (self.links, self._found):
            if links is None or links.get(link.ifindex) == link.name:
                continue
            if links is self.links:
                self.is_told = False
            if link.name is None:
                del links[link.ifindex]
            else:
                links[link.ifindex] = link.name

    def _forget_all(self, device: _Device) -> None:
        """
        Forget every neighbour of a device.
        """
        addresses, device.addresses = device.addresses, set()
        for address in addresses:
            now = self._ledger.clock.seconds()
            self._ledger.book.forget(device.network, address, now)

    def _answer(self, write: Callable[[int], bytes]) -> Message:
        """
        Put one question and take its answer, which is there when it has been sent.

        @param write: Writes the question, with this sequence number.

        @raise OSError: If there is none.
        @raise Garbled: If it can't be read.
        """
        try:
            if self._questions is None:
                self._questions = self._open_socket()
            sequence = self._next()
            self._questions.send(write(sequence))
            for _ in range(_LATE):
                for message in read_messages(self._questions.recv(_PIECE)):
                    if message.sequence == sequence:
                        return message
            raise Garbled("only answers to other questions came")
        except BaseException:
            self._close_questions()
            raise

    def _close_questions(self) -> None:
        """
        Let go of the socket for single questions.
        """
        if self._questions is not None:
            self._questions.close()
            self._questions = None

    def _next(self) -> int:
        """
        Number a request; 0 is for news.
        """
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        return self._sequence

    def _warn(self, problem: str) -> None:
        """
        Log what was wrong with the news.
        """
        self._ledger.log.warn(
            "{source}: {problem}", source=self._ledger.source, problem=problem
        )


def _enlarge(news: NetlinkSocket) -> None:
    """
    Ask for a large buffer, beyond the host's limit where we may (C{CAP_NET_ADMIN}).
    """
    try:
        news.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:
        # Whoever opened it for us may have been allowed to.
        if news.getsockopt(SOL_SOCKET, SO_RCVBUF) < _BUFFER:
            news.setsockopt(SOL_SOCKET, SO_RCVBUF, _BUFFER)


def text_of(error: OSError) -> str:
    """
    Say in words what the kernel refused.
    """
    return str(error) if error.errno is None else strerror(error.errno)
