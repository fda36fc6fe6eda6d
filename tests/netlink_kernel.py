"""
A neighbour table in memory that speaks netlink as the kernel does.

Held to the real kernel by L{tests.test_lookup_neighbours.KernelContract}, which
C{tests.lab.test_neighbours_kernel} runs in a network namespace.
"""

from __future__ import annotations

import struct
from errno import EAGAIN, ENOBUFS, ENODEV, ENOENT, ENOSPC
from socket import AF_INET, AF_INET6, inet_pton

from attrs import define, field

STATES = {
    "incomplete": 0x01,
    "reachable": 0x02,
    "stale": 0x04,
    "delay": 0x08,
    "probe": 0x10,
    "failed": 0x20,
    "noarp": 0x40,
    "permanent": 0x80,
}

_Row = tuple[int, str]


def neighbour_message(
    kind: int,
    row: _Row,
    mac: str | None,
    state: str,
    sequence: int = 0,
    flags: int = 0,
) -> bytes:
    """
    Write a neighbour message as the kernel does.

    @param kind: 28 for a new or changed entry, 29 for a deleted one.
    @param row: The device's index and the address.
    @param mac: The link-layer address, if the message carries one.
    @param state: The name of the entry's state.
    """
    ifindex, address = row
    family = AF_INET6 if ":" in address else AF_INET
    attributes = _attribute(1, inet_pton(family, address))
    if mac is not None:
        attributes += _attribute(2, bytes.fromhex(mac.replace(":", "")))
    # NDA_CACHEINFO, which nobody reads, is always there.
    attributes += _attribute(3, bytes(16))
    body = struct.pack("=BBHiHBB", family, 0, 0, ifindex, STATES[state], 0, 1)
    return packed_message(kind, body + attributes, sequence, flags)


def packed_message(kind: int, body: bytes, sequence: int = 0, flags: int = 0) -> bytes:
    """
    Put a netlink header before a body, and padding behind it.
    """
    length = 16 + len(body)
    header = struct.pack("=IHHII", length, kind, flags, sequence, 0)
    return header + body + bytes(-length % 4)


def _attribute(kind: int, value: bytes) -> bytes:
    """
    Write an attribute.
    """
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def link_message(
    kind: int,
    ifindex: int,
    name: str,
    sequence: int = 0,
    flags: int = 0,
    family: int = 0,
) -> bytes:
    """
    Write a device's message as the kernel does.

    @param kind: 16 for a new or changed device, 17 for a deleted one.
    @param family: 7 where a bridge tells of its port.
    """
    body = struct.pack("=BxHiII", family, 1, ifindex, 0x1003, 0)
    body += _attribute(3, name.encode() + b"\0")
    # IFLA_MTU, which nobody reads.
    return packed_message(kind, body + _attribute(4, bytes(4)), sequence, flags)


@define(eq=False)
class MemoryPoll:
    """
    An C{epoll} descriptor for sockets of L{MemoryKernel}s.

    @ivar kernels: Whose sockets it can watch.
    @ivar watched: The numbers that it watches.
    @ivar closed: Whether it was closed.
    @ivar polled: How many times somebody asked.
    @ivar is_full: Whether it can watch no more.
    """

    kernels: tuple[MemoryKernel, ...]
    watched: dict[int, int] = field(factory=dict, init=False)
    closed: bool = field(default=False, init=False)
    polled: int = field(default=0, init=False)
    is_full: bool = field(default=False, init=False)

    def register(self, fd: int, eventmask: int, /) -> None:
        """
        Watch a descriptor.
        """
        assert eventmask == 1, "not for reading"
        assert fd not in self.watched, "watched already"
        if self.is_full:
            raise OSError(ENOSPC, "No space left on device")
        self.watched[fd] = eventmask

    def unregister(self, fd: int, /) -> None:
        """
        Watch a descriptor no more.
        """
        del self.watched[fd]

    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, int]]:
        """
        Tell who has something; who was told goes to the end.
        """
        assert timeout == 0, "this would wait"
        assert not self.closed, "asked when closed"
        self.polled += 1
        ready = [s.number for k in self.kernels for s in k.sockets if s.is_ready()]
        found = [fd for fd in self.watched if fd in ready][:maxevents]
        for fd in found:
            self.watched[fd] = self.watched.pop(fd)
        return [(fd, 1) for fd in found]

    def fileno(self) -> int:
        """
        Tell its number.
        """
        return 999

    def close(self) -> None:
        """
        Watch nothing more.
        """
        self.closed = True


@define(eq=False)
class MemoryNetlinkSocket:
    """
    A socket of L{MemoryKernel}.

    @ivar kernel: Whose it is.
    @ivar number: Its descriptor's number.
    @ivar incoming: What can be received: datagrams and errors.
    @ivar pending: The pieces of a dump that is under way; the kernel queues the next
        one when one is received.
    @ivar groups: The groups that it is in.
    @ivar closed: Whether it was closed.
    @ivar received: How many times somebody tried to receive.
    """

    kernel: MemoryKernel
    number: int
    incoming: list[bytes | OSError] = field(factory=list, init=False)
    pending: list[bytes] = field(factory=list, init=False)
    groups: int = field(default=0, init=False)
    closed: bool = field(default=False, init=False)
    received: int = field(default=0, init=False)

    def bind(self, address: tuple[int, int], /) -> None:
        """
        Join groups.
        """
        self.kernel.fail("bind")
        self.groups = address[1]

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """
        Take an option.
        """
        self.kernel.options.append((level, option, value))
        if option in self.kernel.forbidden:
            raise PermissionError(1, "Operation not permitted")

    def getsockopt(self, level: int, option: int, /) -> int:
        """
        Tell how large the buffer is.
        """
        return self.kernel.buffer

    def send(self, data: bytes, /) -> int:
        """
        Answer a request; the answer is there when this returns.
        """
        self.kernel.fail("send")
        kind, flags, sequence = struct.unpack_from("=HHI", data, 4)
        if flags & 0x300:
            assert not self.pending, "one dump at a time"
            dump = self.kernel.dump_links if kind == 18 else self.kernel.dump
            self.pending = dump(sequence)
            self.incoming.append(self.pending.pop(0))
        else:
            answer = self.kernel.answer_link if kind == 18 else self.kernel.answer
            self.incoming.extend(answer(sequence, data[16:]))
        return len(data)

    def recv(self, size: int, /) -> bytes:
        """
        Take what is first in the queue.
        """
        assert not self.closed, "read from a closed socket"
        self.received += 1
        if not self.incoming:
            raise BlockingIOError(EAGAIN, "Resource temporarily unavailable")
        item = self.incoming.pop(0)
        if isinstance(item, OSError):
            raise item
        if self.pending:
            self.incoming.append(self.pending.pop(0))
        return item

    def is_ready(self) -> bool:
        """
        Tell whether there is anything to take.
        """
        return bool(self.incoming) and not self.closed

    def fileno(self) -> int:
        """
        Tell the number.
        """
        return self.number

    def close(self) -> None:
        """
        Take no more news.
        """
        self.closed = True


@define
class MemoryKernel:
    """
    A neighbour table, and the sockets that ask for it.

    @ivar first: The number of its first socket's descriptor.
    @ivar table: State and MAC by device and address.
    @ivar links: Devices, names by index.
    @ivar ports: Which device a bridge has a MAC behind, and whether the MAC is that
        device's own, by bridge and MAC.
    @ivar buffer: How large the buffer of its sockets is.
    @ivar sockets: All sockets that were opened.
    @ivar failures: What the next calls of a kind (C{open}, C{bind}, C{send}) raise.
    @ivar forbidden: The socket options that may not be set.
    @ivar options: The options that somebody tried to set.
    @ivar interruptions: In how many dumps the table changes under way.
    @ivar refusals: How many dumps fail.
    @ivar endless: How many dumps lack their end.
    @ivar dumps: How many dumps were asked for.
    """

    first: int = 1000
    table: dict[_Row, tuple[str, str | None]] = field(factory=dict, init=False)
    links: dict[int, str] = field(factory=dict, init=False)
    ports: dict[_Row, tuple[int, bool]] = field(factory=dict, init=False)
    buffer: int = field(default=212992, init=False)
    sockets: list[MemoryNetlinkSocket] = field(factory=list, init=False)
    failures: dict[str, list[OSError]] = field(factory=dict, init=False)
    forbidden: set[int] = field(factory=set, init=False)
    options: list[tuple[int, int, int]] = field(factory=list, init=False)
    interruptions: int = field(default=0, init=False)
    refusals: int = field(default=0, init=False)
    endless: int = field(default=0, init=False)
    dumps: int = field(default=0, init=False)

    def open(self) -> MemoryNetlinkSocket:
        """
        Open a socket.
        """
        self.fail("open")
        socket = MemoryNetlinkSocket(self, self.first + len(self.sockets))
        self.sockets.append(socket)
        return socket

    def fail(self, call: str) -> None:
        """
        Raise what a call was told to raise.
        """
        if self.failures.get(call):
            raise self.failures[call].pop(0)

    def replace(
        self, ifindex: int, address: str, mac: str | None, state: str = "stale"
    ) -> None:
        """
        Make or change an entry.
        """
        self.table[ifindex, address] = (state, mac)
        self.tell(neighbour_message(28, (ifindex, address), mac, state))

    def delete(self, ifindex: int, address: str) -> None:
        """
        Delete an entry: news show it C{failed} first, then deleted.
        """
        self.replace(ifindex, address, None, "failed")
        del self.table[ifindex, address]
        self.tell(neighbour_message(29, (ifindex, address), None, "failed"))

    def add_link(self, ifindex: int, name: str) -> None:
        """
        Make or rename a device.
        """
        self.links[ifindex] = name
        self.tell(link_message(16, ifindex, name), group=1)

    def delete_link(self, ifindex: int) -> None:
        """
        Delete a device, and its entries.
        """
        for index, address in list(self.table):
            if index == ifindex:
                self.delete(index, address)
        self.tell(link_message(17, ifindex, self.links.pop(ifindex)), group=1)

    def overrun(self) -> None:
        """
        Lose all unread news of every listening socket.
        """
        for socket in self.listening():
            socket.incoming[:] = [OSError(ENOBUFS, "No buffer space available")]

    def tell(self, news: bytes | OSError, group: int = 4) -> None:
        """
        Queue something on every listening socket.
        """
        for socket in self.listening(group):
            socket.incoming.append(news)

    def listening(self, group: int = 4) -> list[MemoryNetlinkSocket]:
        """
        List the open sockets that joined the group of neighbours, or that of devices.
        """
        return [s for s in self.sockets if s.groups & group and not s.closed]

    def dump_links(self, sequence: int) -> list[bytes]:
        """
        Write all devices, one a piece.
        """
        rows = [
            link_message(16, ifindex, name, sequence, 2)
            for ifindex, name in self.links.items()
        ]
        return [*rows, packed_message(3, bytes(4), sequence, 2)]

    def answer_link(self, sequence: int, body: bytes) -> list[bytes]:
        """
        Answer a request for one device.
        """
        (ifindex,) = struct.unpack_from("=i", body, 4)
        if ifindex not in self.links:
            return [_error(sequence, ENODEV)]
        return [link_message(16, ifindex, self.links[ifindex], sequence)]

    def answer_bridge(self, sequence: int, body: bytes) -> list[bytes]:
        """
        Answer a request for a bridge's entry.
        """
        mac, bridge = body[16:22].hex(":"), struct.unpack_from("=i", body, 28)[0]
        if (bridge, mac) not in self.ports:
            return [_error(sequence, ENOENT)]
        port, is_own = self.ports[bridge, mac]
        state = STATES["permanent" if is_own else "reachable"]
        head = struct.pack("=BBHiHBB", 7, 0, 0, port, state, 0x80, 0)
        return [packed_message(28, head + _attribute(2, body[16:22]), sequence)]

    def dump(self, sequence: int) -> list[bytes]:
        """
        Write the whole table, two entries a piece.
        """
        self.dumps += 1
        if self.refusals:
            self.refusals -= 1
            return [_error(sequence, 16)]
        flags = 2
        if self.interruptions:
            self.interruptions -= 1
            flags |= 0x10
        rows = [
            neighbour_message(28, row, mac, state, sequence, flags)
            for row, (state, mac) in self.table.items()
        ]
        pieces = [b"".join(rows[at : at + 2]) for at in range(0, len(rows), 2)]
        if self.endless:
            self.endless -= 1
            return pieces or [b"\x10" + bytes(15)]
        return [*pieces, packed_message(3, bytes(4), sequence, flags)]

    def answer(self, sequence: int, body: bytes) -> list[bytes]:
        """
        Answer a request for one entry.
        """
        family, ifindex = struct.unpack_from("=Bxxxi", body)
        if family == 7:
            return self.answer_bridge(sequence, body)
        length, _ = struct.unpack_from("=HH", body, 12)
        wanted = body[16 : 12 + length]
        for (index, address), (state, mac) in self.table.items():
            is_wanted = (":" in address) == (family == AF_INET6)
            if is_wanted and index == ifindex and inet_pton(family, address) == wanted:
                return [neighbour_message(28, (index, address), mac, state, sequence)]
        return [_error(sequence, ENOENT)]


def _error(sequence: int, number: int) -> bytes:
    """
    Write an error message.
    """
    return packed_message(2, struct.pack("=i", -number) + bytes(16), sequence)
