# -*- test-case-name: tests.test_listeners -*-
"""
Sockets that accept instances: each knows its network, and who opened a connection.

The network of a request is that of its listener, never of anything the instance says.
The MAC is the source of the Ethernet frame that opened the connection, which the kernel
saves for us (C{TCP_SAVE_SYN = 2}, tcp(7)): it is the frame itself, not a table that
neighbours can write to.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Container, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IReactorSocket,
    IReactorTime,
)
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from mdproxy import broker
from mdproxy.http.front import Front
from mdproxy.http.server import Channel
from mdproxy.http.transports import accept_at_once
from mdproxy.model import Caller, canonical_address

if TYPE_CHECKING:
    from mdproxy.heard import HeardLink

#: Where instances ask (Nova's documentation, metadata service).
IPV4: Final = broker.IPV4
IPV6: Final = broker.IPV6

_TCP_SAVED_SYN: Final = 28

#: EtherTypes of IPv4 and IPv6 (RFC 894, RFC 2464).
_IP_FRAMES: Final = frozenset({b"\x08\x00", b"\x86\xdd"})
_FRAME_HEAD: Final = 14

#: Where C{tcpi_last_data_sent} (milliseconds; of a fresh connection its age),
#: C{tcpi_rtt} (microseconds) and C{tcpi_total_retrans} (of a fresh connection how often
#: its SYN-ACK was sent again) lie in C{struct tcp_info} (linux/tcp.h).
_IDLE_RTT_RETRANS: Final = (44, 68, 100)
#: What the kernel's ticks hide: a hundred a second at least.
_TICKS: Final = 0.02
#: A SYN cookie counts for two minutes at most (C{MAX_SYNCOOKIE_AGE}); and for no longer
#: is a SYN-ACK sent again and its ACK waited for: 63 seconds by default, 127 with
#: C{net.ipv4.tcp_synack_retries = 6} (net/ipv4/inet_connection_sock.c,
#: C{reqsk_timer_handler}).
_LONGEST: Final = 130.0

#: A device that is not there yet is looked for again after so many seconds.
_LOOK: Final = 1.0


class NeighbourDevices(Protocol):
    """
    What listeners ask of a neighbour source.
    """

    def attach(self, ifindex: int, network: str, namespace: str = "") -> None:
        """
        Begin to enter the neighbours of a device.
        """

    def detach(self, ifindex: int, namespace: str = "") -> None:
        """
        Forget a device.
        """

    def drain(self) -> None:
        """
        Enter what the kernel has told and nobody has read yet.
        """

    def probe(self, network: str, address: str) -> str | None:
        """
        Ask the kernel for one neighbour.
        """


@frozen
class Place:
    """
    Where a listening socket is to be bound.

    @ivar address: The IP address.
    @ivar port: The TCP port.
    @ivar device: The device that connections must come in by; C{None}: any.
    """

    address: str
    port: int
    device: str | None = None

    @property
    def family(self) -> socket.AddressFamily:
        """
        The address family.
        """
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


def open_listening(place: Place) -> socket.socket:
    """
    Open a socket that listens, keeps the opening frames, and needs no address yet.

    @param place: Where.

    @raise OSError: If the port is taken, the device is gone, or we may not.
    """
    return broker.listen(place.address, place.port, place.device)


def frame_source(accepted: socket.socket) -> str | None:
    """
    Read the source of the frame that opened a connection; it can be read once.

    @param accepted: The accepted socket.

    @return: The MAC; C{None} where the kernel kept no Ethernet frame (SYN cookies in
        use, a device without MAC addresses).
    """
    try:
        saved = accepted.getsockopt(socket.IPPROTO_TCP, _TCP_SAVED_SYN, 256)
    except OSError:
        return None
    if len(saved) <= _FRAME_HEAD or saved[12:14] not in _IP_FRAMES:
        return None
    mac = saved[6:12]
    return mac.hex(":") if any(mac) else None


def handshake_age(accepted: socket.socket, has_frame: bool) -> float:
    """
    Tell how long ago the SYN of a connection came, at most.

    The kernel's first measure of the way is the time from its SYN-ACK to the peer's
    ACK, by its own clock (net/ipv4/tcp_input.c, C{tcp_synack_rtt_meas}).  Where it sent
    the SYN-ACK again, or made it a SYN cookie, there is none, or one by the time stamp
    that the peer echoes, who may choose it: that one counts for nothing, and it took as
    long as it can take.

    @param accepted: The accepted socket, before anything was sent on it.
    @param has_frame: Whether the kernel kept the opening frame, as it does but for SYN
        cookies.

    @return: Seconds; infinity where nobody knows.
    """
    try:
        info = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        idle, rtt, resent = (
            struct.unpack_from("=I", info, at)[0] for at in _IDLE_RTT_RETRANS
        )
    except (OSError, struct.error):
        return inf
    if resent or not has_frame:
        return float(idle / 1e3 + _LONGEST)
    return idle / 1e3 + rtt / 1e6 + _TICKS if rtt else inf


class Door(ServerFactory):
    """
    Where the connections of one network come in: it finds out who opened each.

    @ivar network: The network, as the host sees it (L{Caller.network}).
    @ivar accepted: How many connections came in.
    """

    noisy = False

    def __init__(
        self,
        network: str,
        front: Front,
        neighbours: NeighbourDevices,
        clock: IReactorTime,
        identify_by: str = "mac",
        kind: str = "namespaces",
    ) -> None:
        """
        Be a door.

        @param front: What the channels share.
        @param neighbours: The neighbour source of its namespace.
        @param clock: Dates handshakes.
        @param identify_by: How callers are identified.
        @param kind: The kind of the listener (L{Caller.kind}).
        """
        self.network = network
        self.accepted = 0
        self._front = front
        self._neighbours = neighbours
        self._clock = clock
        self._identify_by = identify_by
        self._kind = kind

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        """
        Provide C{IProtocolFactory.buildProtocol}.
        """
        return Channel(self._front, self.find_caller)

    def logPrefix(self) -> str:
        """
        Provide C{ILoggingContext.logPrefix}: Twisted logs that it listens, and so can
        say for which network.
        """
        return self.network

    def find_caller(self, transport: Any) -> Caller | None:
        """
        Say who opened a connection, as far as this host can see.

        @param transport: An accepted connection's.

        @return: The caller; C{None} where the connection has no peer any more, or did
            not come as it must.
        """
        self.accepted += 1
        try:
            # Without the zone: Twisted writes it as the devices of our own namespace
            # are called, whichever namespace the connection is in.
            address = canonical_address(transport.getPeer().host)
        except ValueError:
            return None
        if self._identify_by != "mac":
            return Caller(
                self.network, address, None, self._identify_by, kind=self._kind
            )
        # What happened before the handshake must not look as if it came after.
        self._neighbours.drain()
        accepted = transport.getHandle()
        mac = frame_source(accepted)
        age = handshake_age(accepted, mac is not None)
        since = self._clock.seconds() - age
        if mac is not None:
            return Caller(self.network, address, mac, since=since, kind=self._kind)
        mac = self._neighbours.probe(self.network, address)
        return Caller(
            self.network, address, mac, probed=True, since=since, kind=self._kind
        )


@define(eq=False)
class Listener(Service):
    """
    One listener: its sockets, as its device and its addresses come and go.

    @ivar name: Its name in the configuration.
    @ivar network: The network that its connections come from.
    @ivar _identify_by: How its callers are identified.
    @ivar _places: Where its sockets are bound.
    @ivar _device: Its device; C{None} for a plain address.
    @ivar _front: What its channels share.
    @ivar _neighbours: The neighbour source of its namespace.
    @ivar _open: Opens its sockets.
    @ivar _index: Finds a device's index.
    @ivar _ports: What listens now.
    @ivar _ifindex: The index of the device that is listened on now.
    @ivar _problem: Why something does not listen.
    @ivar _door: Where its connections come in.
    """

    name: str
    network: str
    _identify_by: str
    _places: tuple[Place, ...]
    _device: str | None
    _front: Front
    _neighbours: NeighbourDevices
    _reactor: IReactorSocket
    _clock: IReactorTime
    _open: Callable[[Place], socket.socket] = open_listening
    _index: Callable[[str], int] = socket.if_nametoindex
    _ports: dict[Place, IListeningPort] = field(factory=dict, init=False)
    _ifindex: int | None = field(default=None, init=False)
    _problem: str | None = field(default=None, init=False)
    _door: Door = field(init=False)
    _looking: IDelayedCall | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)

    @property
    def _kind(self) -> str:
        """
        Name the kind that the operator knows it by.
        """
        return "address" if self._device is None else "device"

    @_door.default
    def _(self) -> Door:
        """
        Make the door.
        """
        return Door(
            self.network,
            self._front,
            self._neighbours,
            self._clock,
            self._identify_by,
            self._kind,
        )

    def privilegedStartService(self) -> None:
        """
        Open what can be opened now, while we may.
        """
        self._look()

    def startService(self) -> None:
        """
        Go on looking for the device.
        """
        super().startService()
        self._look_again()

    def stopService(self) -> Deferred[Any]:
        """
        Accept no more; connections are closed by whoever drains the front.

        The neighbours are watched on: what is in flight is checked against them.

        @return: Fires when the sockets are closed.
        """
        super().stopService()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        return self._close()

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator where it listens and for whom.

        @return: Plain values, ready for JSON.
        """
        return {
            "name": self.name,
            "kind": self._kind,
            "network": self.network,
            "device": self._device,
            "identify_by": self._identify_by,
            "listening": sorted(f"{p.address} port {p.port}" for p in self._ports),
            "accepted": self._door.accepted,
            "problem": self._problem,
        }

    @property
    def problem(self) -> str | None:
        """
        Tell why it does not listen as it should; C{None}: it does.
        """
        return self._problem

    def links(self) -> Iterator[str]:
        """
        Name its link.
        """
        yield self.network

    def heard(self, links: Container[str]) -> Iterator[HeardLink]:
        """
        Tell the operator of its link.

        @param links: Which links are asked for.
        """
        if self.network not in links:
            return
        # Nobody needs it before an operator asks.
        from mdproxy.heard import HeardLink

        place = self._places[0]
        yield HeardLink(
            link=self.network,
            listener=self.name,
            kind=self._kind,
            identify_by=self._identify_by,
            device=self._device or f"{place.address} port {place.port}",
            is_open=bool(self._ports),
            problem=self._problem,
        )

    def _look_again(self) -> None:
        """
        Look now and from now on.
        """
        self._look()
        self._looking = self._clock.callLater(_LOOK, self._look_again)

    def _look(self) -> None:
        """
        Open what should listen, and close what listens on a device that is gone.
        """
        ifindex = self._find_device()
        if ifindex != self._ifindex:
            self._close()
            if self._ifindex is not None:
                self._neighbours.detach(self._ifindex)
            self._ifindex = ifindex
            if ifindex is not None:
                self._neighbours.attach(ifindex, self.network)
                # Before anybody can connect, or a turn of an entry could go unseen.
                self._neighbours.drain()
        if self._device is not None and ifindex is None:
            self._tell(f"device {self._device} is not there")
            return
        problems = [
            problem
            for place in self._places
            if place not in self._ports and (problem := self._listen(place)) is not None
        ]
        self._tell("; ".join(problems) or None)

    def _find_device(self) -> int | None:
        """
        Find the index of the device, which changes when it is made anew.
        """
        if self._device is None:
            return None
        try:
            return self._index(self._device)
        except OSError:
            return None

    def _listen(self, place: Place) -> str | None:
        """
        Listen at a place.

        @return: Why not; C{None}: it does.
        """
        try:
            # The reactor takes a descriptor of its own.
            with self._open(place) as opened:
                port = self._reactor.adoptStreamPort(
                    opened.fileno(), place.family, self._door
                )
            accept_at_once(port)
            self._ports[place] = port
        except OSError as error:
            return f"{place.address} port {place.port}: {error.strerror or error}"
        return None

    def _close(self) -> Deferred[Any]:
        """
        Close the sockets.

        @return: Fires when the sockets are closed.
        """
        ports, self._ports = self._ports, {}
        return gatherResults(
            [maybeDeferred(port.stopListening) for port in ports.values()]
        )

    def _tell(self, problem: str | None) -> None:
        """
        Log when a problem comes, changes or goes.
        """
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            self._log.info("listener {name} listens", name=self.name)
        else:
            self._log.error(
                "listener {name} does not listen as it should: {problem}",
                name=self.name,
                problem=problem,
            )
