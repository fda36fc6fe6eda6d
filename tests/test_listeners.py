"""
Tests for L{mdproxy.listeners}.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from collections.abc import Iterable
from math import inf
from typing import Any, cast

from attrs import define, evolve
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import ILoggingContext
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mdproxy.heard import HeardLink
from mdproxy.http.front import ChannelBounds, Front
from mdproxy.limits import Shares
from mdproxy.listeners import (
    IPV4,
    IPV6,
    Listener,
    Place,
    frame_source,
    handshake_age,
    open_listening,
)
from mdproxy.lookup.books import NeighbourBook
from mdproxy.model import Caller
from mdproxy.sweep import Sweep
from mdproxy.testing import FakeNeighbours
from tests.playbook import Script
from tests.secrecy import SecrecyTestCase

MAC = "fa:16:3e:00:00:01"
#: An Ethernet head from L{MAC}, without its EtherType.
_HEAD = bytes.fromhex("fa163e0000ff" + MAC.replace(":", ""))
#: A minimal IPv4 header and SYN, as far as anybody looks at them.
_SYN = bytes(40)


class Accepted:
    """
    An accepted socket as far as its saved SYN and its C{tcp_info} go.
    """

    def __init__(
        self, saved: bytes | OSError, info: bytes | OSError = bytes(104)
    ) -> None:
        """
        Save a frame, or fail.
        """
        self._options = {28: saved, socket.TCP_INFO: info}

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """
        Provide C{socket.getsockopt} for C{TCP_SAVED_SYN} and C{TCP_INFO}.
        """
        assert level == socket.IPPROTO_TCP
        value = self._options[option]
        if isinstance(value, OSError):
            raise value
        return value[:size]


def tcp_info(idle: int, rtt: int, resent: int = 0) -> bytes:
    """
    Write as much of C{struct tcp_info} as is looked at.
    """
    numbers = {44: idle, 68: rtt, 100: resent}
    return b"".join(struct.pack("=I", numbers.get(at, 0)) for at in range(0, 104, 4))


class HandshakeAgeTests(SynchronousTestCase):
    """
    Tests for L{handshake_age}.
    """

    def age(self, info: bytes | OSError, has_frame: bool = True) -> float:
        """
        Tell the age of a connection.
        """
        accepted: Any = Accepted(b"", info)
        return handshake_age(accepted, has_frame)

    def test_measured(self) -> None:
        """
        The age is the time since it was opened, the time that its handshake took, and
        what the kernel's ticks hide.
        """
        self.assertAlmostEqual(self.age(tcp_info(30, 905437)), 0.03 + 0.905437 + 0.02)

    def test_sent_again(self) -> None:
        """
        Where the SYN-ACK was sent again what was measured is the peer's word: the
        handshake took as long as the kernel may have waited.
        """
        for rtt in (0, 905437):
            for has_frame in (True, False):
                self.assertEqual(self.age(tcp_info(30, rtt, 1), has_frame), 130.03)

    def test_cookie(self) -> None:
        """
        Of a SYN cookie, too, it is the peer's word; but it does not keep for ever.
        """
        for rtt in (0, 905437):
            self.assertEqual(self.age(tcp_info(30, rtt), has_frame=False), 130.03)

    def test_unknown(self) -> None:
        """
        Where the kernel tells nothing it may be of any age.
        """
        for info in (bytes(104), bytes(103), b"", OSError(errno.EINVAL, "no")):
            self.assertEqual(self.age(info), inf)

    def test_real(self) -> None:
        """
        The kernel measures a handshake on loopback, where it takes no time.
        """
        server = socket.create_server(("127.0.0.1", 0))
        with server, socket.create_connection(server.getsockname()):
            accepted, _ = server.accept()
            with accepted:
                self.assertLess(handshake_age(accepted, True), inf)


class FrameSourceTests(SynchronousTestCase):
    """
    Tests for L{frame_source}.
    """

    def assert_source(self, saved: bytes | OSError, mac: str | None) -> None:
        """
        A saved SYN has this source.
        """
        accepted: Any = Accepted(saved)
        self.assertEqual(frame_source(accepted), mac)

    def test_ethernet(self) -> None:
        """
        An Ethernet frame with IPv4 or IPv6 in it tells its source.
        """
        for kind in (b"\x08\x00", b"\x86\xdd"):
            self.assert_source(_HEAD + kind + _SYN, MAC)
            self.assert_source(_HEAD + kind + bytes(500), MAC)

    def test_none(self) -> None:
        """
        Without a saved frame, or with one that is no such Ethernet frame, or cut short,
        or without any source, there is no MAC.
        """
        ip = b"\x08\x00"
        for saved in (
            b"",
            _SYN,
            OSError(errno.EINVAL, "no"),
            OSError(errno.ENOTSUP, "no"),
            _HEAD,
            _HEAD + ip,
            (_HEAD + ip + _SYN)[:13],
            _HEAD + b"\x08\x06" + _SYN,
            _HEAD + b"\x81\x00\x00\x05" + ip + _SYN,
            bytes(12) + ip + _SYN,
            b"\xff" * 6 + bytes(6) + ip + _SYN,
        ):
            self.assert_source(saved, None)


@define(eq=False)
class Port:
    """
    A listening port of the reactor.
    """

    descriptor: int
    listening: bool = True

    def stopListening(self) -> None:
        """
        Provide C{IListeningPort.stopListening}.
        """
        assert self.listening
        self.listening = False


class PortsReactor(MemoryReactorClock):
    """
    A reactor that remembers what it adopted.
    """

    def __init__(self) -> None:
        """
        Begin with no port.
        """
        super().__init__()
        self.ports: list[Port] = []
        self.full = False

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> Any:
        """
        Provide C{IReactorSocket.adoptStreamPort}.
        """
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        # It must be open now, and is ours to duplicate.
        os.fstat(descriptor)
        port = Port(descriptor)
        self.ports.append(port)
        return port


class Machine:
    """
    A machine's devices and ports.

    @ivar devices: The index of each device.
    @ivar taken: The addresses that somebody else listens at.
    @ivar opened: What was opened.
    """

    def __init__(self) -> None:
        """
        Begin with one device.
        """
        self.devices = {"br-red": 7}
        self.taken: set[str] = set()
        self.opened: list[tuple[str, int | None]] = []
        self.sockets: list[socket.socket] = []

    def index(self, name: str) -> int:
        """
        Provide C{socket.if_nametoindex}.
        """
        if name not in self.devices:
            raise OSError(errno.ENODEV, "No such device")
        return self.devices[name]

    def open(self, place: Place) -> socket.socket:
        """
        Provide L{open_listening}, without listening.
        """
        if place.address in self.taken:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        index = None if place.device is None else self.index(place.device)
        self.opened.append((place.address, index))
        opened = socket.socket()
        self.sockets.append(opened)
        return opened


def make_front(clock: Any) -> tuple[Front, Script]:
    """
    Make a front that answers by script.
    """
    script = Script()
    bounds = ChannelBounds()
    return Front(script, clock, Sweep(clock), bounds, Shares(9, 9, 9)), script


class ListenerTestCase(SecrecyTestCase):
    """
    A listener on a machine in memory.
    """

    def make_listener(
        self, device: str | None = "br-red", identify_by: str = "mac"
    ) -> Listener:
        """
        Make a listener, on two addresses of a device or on one address.
        """
        self.machine = Machine()
        self.reactor = PortsReactor()
        self.neighbours = FakeNeighbours(NeighbourBook(), Clock())
        addresses = ("127.0.0.1",) if device is None else (IPV4, IPV6)
        front, _script = make_front(self.reactor)
        self.listener = Listener(
            "one",
            "red",
            identify_by,
            tuple(Place(address, 80, device) for address in addresses),
            device,
            front,
            self.neighbours,
            cast(Any, self.reactor),
            self.reactor,
            self.machine.open,
            self.machine.index,
        )
        return self.listener

    def listening(self) -> list[str]:
        """
        Say where it listens, by its own word, which must be true.
        """
        described = self.listener.describe()
        listening: list[str] = described["listening"]
        open_ports = [port for port in self.reactor.ports if port.listening]
        self.assertEqual(len(open_ports), len(listening))
        return listening

    def problem(self) -> str | None:
        """
        Say what is wrong, by its own word.
        """
        problem: str | None = self.listener.describe()["problem"]
        return problem


BOTH = [f"{IPV4} port 80", f"{IPV6} port 80"]


class ListenerTests(ListenerTestCase):
    """
    Tests for L{Listener}.
    """

    def start(self, listener: Listener) -> None:
        """
        Start it as C{twistd} does.
        """
        listener.privilegedStartService()
        listener.startService()

    def test_listens(self) -> None:
        """
        It opens each place once, while it is privileged, and has the device's
        neighbours watched.
        """
        listener = self.make_listener()
        listener.privilegedStartService()
        self.assertEqual(self.machine.opened, [(IPV4, 7), (IPV6, 7)])
        self.assertEqual(self.neighbours.attached, {7: "red"})
        listener.startService()
        self.reactor.pump([1.0] * 5)
        self.assertEqual(self.machine.opened, [(IPV4, 7), (IPV6, 7)])
        self.assertEqual(self.listening(), BOTH)
        self.assertEqual((self.problem(), self.logged()), (None, []))

    def test_neighbours_are_known_first(self) -> None:
        """
        What the kernel has of neighbours is read before it listens, so that each turn
        of an entry since then is seen.
        """
        listener, mac = self.make_listener(), "fa:16:3e:00:00:01"
        self.machine.taken.update((IPV4, IPV6))
        self.neighbours.kernel["red", "10.0.0.5"] = mac
        listener.privilegedStartService()
        self.assertEqual(self.neighbours.book.mac_of("red", "10.0.0.5"), mac)

    def test_without_privilege(self) -> None:
        """
        Started without its privileged part it listens all the same.
        """
        self.make_listener().startService()
        self.assertEqual(self.listening(), BOTH)

    def test_keeps_no_descriptor(self) -> None:
        """
        The reactor has descriptors of its own: those that were opened are closed.
        """
        self.start(self.make_listener())
        self.assertEqual([s.fileno() for s in self.machine.sockets], [-1, -1])

    def test_stops(self) -> None:
        """
        When it is stopped nothing listens or runs, but what is in flight can still be
        checked against the device's neighbours; it can start again.
        """
        listener = self.make_listener()
        for _ in range(2):
            self.start(listener)
            self.assertEqual(self.listening(), BOTH)
            self.successResultOf(listener.stopService())
            self.assertEqual(self.listening(), [])
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.assertEqual(self.neighbours.attached, {7: "red"})

    def test_device_comes_later(self) -> None:
        """
        A device that is not there is waited for, with one line in the log when it is
        missed and one when it is there.
        """
        listener = self.make_listener()
        self.machine.devices.clear()
        self.start(listener)
        self.reactor.pump([1.0] * 5)
        self.assertEqual(self.listening(), [])
        self.assertEqual(self.problem(), "device br-red is not there")
        self.assertEqual(self.neighbours.attached, {})
        self.machine.devices["br-red"] = 9
        self.reactor.advance(1)
        self.assertEqual(self.listening(), BOTH)
        self.assertEqual(self.neighbours.attached, {9: "red"})
        self.assertEqual(
            self.logged(),
            [
                (
                    "error",
                    "listener one does not listen as it should: device br-red is not "
                    "there",
                ),
                ("info", "listener one listens"),
            ],
        )

    def test_device_goes(self) -> None:
        """
        A device that goes takes its sockets and neighbours with it.
        """
        self.start(self.make_listener())
        del self.machine.devices["br-red"]
        self.reactor.advance(1)
        self.assertEqual(self.listening(), [])
        self.assertEqual(self.neighbours.attached, {})
        self.assertEqual(self.problem(), "device br-red is not there")

    def test_device_made_anew(self) -> None:
        """
        A device that was made anew has another index, and gets sockets of its own: the
        old ones would hear nothing.
        """
        self.start(self.make_listener())
        self.machine.devices["br-red"] = 8
        self.reactor.advance(1)
        self.assertEqual(self.machine.opened[2:], [(IPV4, 8), (IPV6, 8)])
        self.assertEqual(self.listening(), BOTH)
        self.assertEqual(self.neighbours.attached, {8: "red"})
        self.assertEqual(self.logged(), [])

    def test_port_taken(self) -> None:
        """
        An address that somebody else listens at is tried again each second; the others
        are listened at meanwhile; the log says so once.
        """
        listener = self.make_listener()
        self.machine.taken.add(IPV4)
        self.start(listener)
        self.reactor.pump([1.0] * 5)
        self.assertEqual(self.listening(), BOTH[1:])
        self.assertEqual(self.problem(), f"{IPV4} port 80: Address already in use")
        self.machine.taken.add(IPV6)
        self.reactor.advance(1)
        self.assertEqual(self.listening(), BOTH[1:])
        self.machine.taken.clear()
        self.reactor.advance(1)
        self.assertEqual(self.listening(), BOTH)
        self.assertIsNone(self.problem())
        self.assertEqual([level for level, _ in self.logged()], ["error", "info"])

    def test_every_problem_is_told(self) -> None:
        """
        Several problems are told together, and again when they change.
        """
        listener = self.make_listener()
        self.machine.taken.update((IPV4, IPV6))
        self.start(listener)
        problem = self.problem()
        assert problem is not None
        self.assertIn(IPV4, problem)
        self.assertIn(IPV6, problem)
        self.machine.taken.remove(IPV6)
        self.reactor.advance(1)
        self.assertEqual(self.problem(), f"{IPV4} port 80: Address already in use")
        self.assertEqual([level for level, _ in self.logged()], ["error", "error"])

    def test_no_descriptors_left(self) -> None:
        """
        Where the process has no descriptor left it is tried again, and the one that was
        opened is closed.
        """
        listener = self.make_listener()
        self.reactor.full = True
        self.start(listener)
        self.assertEqual(self.listening(), [])
        self.assertIn("Too many open files", self.problem() or "")
        self.assertEqual({s.fileno() for s in self.machine.sockets}, {-1})
        self.reactor.full = False
        self.reactor.advance(1)
        self.assertEqual(self.listening(), BOTH)

    def test_address(self) -> None:
        """
        A listener on an address has no device to look for and no neighbours.
        """
        listener = self.make_listener(None, "address")
        self.start(listener)
        self.assertEqual(self.listening(), ["127.0.0.1 port 80"])
        self.assertEqual(self.machine.opened, [("127.0.0.1", None)])
        self.assertEqual(self.neighbours.attached, {})
        self.successResultOf(listener.stopService())
        self.assertEqual(self.listening(), [])

    def test_describe(self) -> None:
        """
        It tells the operator where it listens and for whom, in plain values.
        """
        self.start(self.make_listener())
        self.assertEqual(
            json.loads(json.dumps(self.listener.describe())),
            {
                "name": "one",
                "kind": "device",
                "network": "red",
                "device": "br-red",
                "identify_by": "mac",
                "listening": BOTH,
                "accepted": 0,
                "problem": None,
            },
        )

    def test_heard(self) -> None:
        """
        It tells the operator which link it hears, and whether it does now.
        """
        listener = self.make_listener()
        link = HeardLink("red", "one", "device", "mac", "br-red", False)
        self.assertEqual(list(listener.links()), ["red"])
        self.assertEqual(list(listener.heard({"blue"})), [])
        self.assertEqual(list(listener.heard({"red"})), [link])
        self.start(listener)
        self.assertEqual(list(listener.heard({"red"})), [evolve(link, is_open=True)])


@define
class Transport:
    """
    An accepted connection as far as its caller goes.
    """

    peer: Any
    saved: bytes = b""
    info: bytes = bytes(104)

    def getPeer(self) -> Any:
        """
        Provide C{ITransport.getPeer}.
        """
        return self.peer

    def getHandle(self) -> Accepted:
        """
        Provide C{ISystemHandle.getHandle}.
        """
        return Accepted(self.saved, self.info)


class FindCallerTests(ListenerTestCase):
    """
    Tests for L{Door<mdproxy.listeners.Door>}: who opened a connection.
    """

    def find(
        self, host: str, saved: bytes = b"", info: bytes = bytes(104)
    ) -> Caller | None:
        """
        Find who opened a connection.
        """
        kind = IPv6Address if ":" in host else IPv4Address
        peer = kind("TCP", host, 4711)
        return self.listener._door.find_caller(Transport(peer, saved, info))

    def test_by_frame(self) -> None:
        """
        The MAC is the frame's; nobody is asked.
        """
        self.make_listener().startService()
        frame = _HEAD + b"\x08\x00" + _SYN
        self.neighbours.kernel["red", "10.0.0.5"] = "fa:16:3e:00:00:02"
        self.assertEqual(self.find("10.0.0.5", frame), Caller("red", "10.0.0.5", MAC))
        self.assertEqual(self.neighbours.probes, [])

    def test_by_probe(self) -> None:
        """
        Without a frame the kernel is asked, and the caller is marked so; also where the
        kernel does not know.
        """
        self.make_listener().startService()
        self.neighbours.kernel["red", "10.0.0.5"] = MAC
        self.assertEqual(
            self.find("10.0.0.5"), Caller("red", "10.0.0.5", MAC, probed=True)
        )
        self.assertEqual(
            self.find("10.0.0.6"), Caller("red", "10.0.0.6", None, probed=True)
        )
        self.assertEqual(
            self.neighbours.probes, [("red", "10.0.0.5"), ("red", "10.0.0.6")]
        )

    def test_since(self) -> None:
        """
        The caller's handshake began before the connection was accepted, by how much the
        frame decides too; and what the kernel told until then is dated earlier.
        """
        self.make_listener().startService()
        self.neighbours.kernel["red", "10.0.0.5"] = MAC
        for saved, age in ((_HEAD + b"\x08\x00" + _SYN, 2.02), (b"", 131.5)):
            caller = self.find("10.0.0.5", saved, tcp_info(1500, 500000))
            assert caller is not None
            self.assertAlmostEqual(caller.since, self.reactor.seconds() - age)
        self.assertEqual(self.neighbours.book.mac_of("red", "10.0.0.5"), MAC)

    def test_addresses_are_canonical(self) -> None:
        """
        Mapped IPv4 is IPv4, and a zone is no part of an address.
        """
        self.make_listener().startService()
        frame = _HEAD + b"\x86\xdd" + _SYN
        for host, address in (
            ("::ffff:10.0.0.5", "10.0.0.5"),
            ("fe80::f816:3eff:fe00:1%br-red", "fe80::f816:3eff:fe00:1"),
        ):
            self.assertEqual(self.find(host, frame), Caller("red", address, MAC))

    def test_routed(self) -> None:
        """
        Where the listener identifies otherwise no MAC is looked for: it would be the
        router's.
        """
        for identify_by in ("lease", "address"):
            self.make_listener(None, identify_by).startService()
            frame = _HEAD + b"\x08\x00" + _SYN
            self.assertEqual(
                self.find("10.0.0.5", frame),
                Caller("red", "10.0.0.5", None, identify_by),
            )
            self.assertEqual(self.neighbours.probes, [])

    def test_log_names_network(self) -> None:
        """
        Where Twisted logs that something listens it says for which network.
        """
        self.make_listener()
        self.assertTrue(ILoggingContext.providedBy(self.listener._door))
        self.assertEqual(self.listener._door.logPrefix(), "red")

    def test_no_peer(self) -> None:
        """
        A connection without an IP address has no caller.
        """
        self.make_listener().startService()
        self.assertIsNone(self.find(""))
        self.assertIsNone(
            self.listener._door.find_caller(Transport(IPv4Address("TCP", "unknown", 1)))
        )

    def test_counts(self) -> None:
        """
        Every accepted connection is counted.
        """
        self.make_listener().startService()
        for number in range(5):
            self.find(f"10.0.0.{number}")
        self.assertEqual(self.listener.describe()["accepted"], 5)


class OpenListeningTests(SynchronousTestCase):
    """
    Tests for L{open_listening}, on the loopback device of the real kernel.
    """

    def opened(self, place: Place) -> socket.socket:
        """
        Open, until the test is over.
        """
        opened = open_listening(place)
        self.addCleanup(opened.close)
        return opened

    def test_options(self) -> None:
        """
        It listens, does not block, is not inherited, and keeps opening frames.
        """
        for address in ("127.0.0.1", "::1"):
            for device in (None, "lo"):
                opened = self.opened(Place(address, 0, device))
                listens = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                self.assertEqual(listens, 1)
                self.assertEqual(opened.getsockopt(socket.IPPROTO_TCP, 27), 2)
                self.assertFalse(opened.getblocking())
                self.assertFalse(opened.get_inheritable())
                bound = opened.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
                self.assertEqual(bound.strip(b"\0"), (device or "").encode())

    def test_address_of_later(self) -> None:
        """
        It needs no address to be there yet (documentation addresses never are).
        """
        for address in ("192.0.2.1", "2001:db8::1"):
            opened = self.opened(Place(address, 0))
            self.assertEqual(opened.getsockname()[0], address)

    def test_faults(self) -> None:
        """
        A taken port and a missing device are told as such, and nothing is left open.
        """
        taken = self.opened(Place("127.0.0.1", 0)).getsockname()[1]
        before = set(os.listdir("/proc/self/fd"))
        for place, number in (
            (Place("127.0.0.1", taken), errno.EADDRINUSE),
            (Place("127.0.0.1", 0, "no-such-device"), errno.ENODEV),
        ):
            error = self.assertRaises(OSError, open_listening, place)
            self.assertEqual(error.errno, number)
        self.assertEqual(set(os.listdir("/proc/self/fd")), before)

    def test_unread_is_bounded(self) -> None:
        """
        Of accepted connections the kernel takes no more than a little that the peer
        doesn't read.
        """
        opened = self.opened(Place("127.0.0.1", 0))
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(opened.getsockname())
            accepted, _peer = opened.accept()
            with accepted:
                accepted.setblocking(False)
                taken = 0
                with self.assertRaises(BlockingIOError):
                    while True:
                        taken += accepted.send(b"x" * 65536)
                self.assertLess(taken, 400_000)

    def test_sends_without_delay(self) -> None:
        """
        What is accepted need not be told to send at once (TCP_NODELAY).
        """
        for address in ("127.0.0.1", "::1"):
            opened = self.opened(Place(address, 0))
            with socket.create_connection(opened.getsockname()[:2]):
                accepted, _peer = opened.accept()
                with accepted:
                    self.assertTrue(
                        accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    )

    def test_loopback_has_no_source(self) -> None:
        """
        A connection over loopback has a frame without a source, and so no MAC.
        """
        opened = self.opened(Place("127.0.0.1", 0))
        with socket.create_connection(opened.getsockname()):
            accepted, _peer = opened.accept()
            with accepted:
                self.assertIsNone(frame_source(accepted))


class Client(Protocol):
    """
    Sends one request and reads to the end.
    """

    def __init__(self) -> None:
        """
        Begin.
        """
        self.heard = b""
        self.ended: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """
        Ask.
        """
        assert self.transport is not None
        self.transport.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        """
        Read.
        """
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        That was all.
        """
        self.ended.callback(self.heard)


class RealListenerTests(TestCase):
    """
    Listeners on the real kernel, over loopback.
    """

    def setUp(self) -> None:
        """
        Answer everything at once.
        """
        self.front, self.script = make_front(reactor)
        self.script.at_once = b"hello"

    def make_listener(self, places: Iterable[Place]) -> Listener:
        """
        Make a listener that identifies by address.
        """
        clock = Clock()
        return Listener(
            "one",
            "red",
            "address",
            tuple(places),
            None,
            self.front,
            FakeNeighbours(NeighbourBook(), clock),
            cast(Any, reactor),
            clock,
        )

    async def test_serves(self) -> None:
        """
        Who connects is answered, as the caller that it is; after it stopped nobody can
        connect.
        """
        for address, endpoint in (
            ("127.0.0.1", TCP4ClientEndpoint),
            ("::1", TCP6ClientEndpoint),
        ):
            place = Place(address, 0)
            listener = self.make_listener([place])
            listener.startService()
            port: Any = listener._ports[place]
            where: Any = endpoint(reactor, address, port.getHost().port)
            client = await connectProtocol(where, Client())
            heard = await client.ended
            self.assertTrue(heard.startswith(b"HTTP/1.1 200 "), heard)
            self.assertTrue(heard.endswith(b"\r\n\r\nhello"), heard)
            caller = self.script.asked[-1].caller
            self.assertEqual(caller, Caller("red", address, None, "address"))
            self.assertEqual(listener.describe()["accepted"], 1)
            await listener.stopService()
            again = connectProtocol(where, Client())
            await self.assertFailure(again, ConnectionRefusedError)

    async def test_port_taken(self) -> None:
        """
        A port that is taken is listened at once it is free.
        """
        taken = socket.create_server(("127.0.0.1", 0))
        place = Place("127.0.0.1", taken.getsockname()[1])
        listener = self.make_listener([place])
        listener.startService()
        self.addCleanup(listener.stopService)
        self.assertIn("Address already in use", listener.describe()["problem"])
        taken.close()
        cast(Clock, listener._clock).advance(1)
        described = listener.describe()
        self.assertIsNone(described["problem"])
        self.assertEqual(described["listening"], [f"127.0.0.1 port {place.port}"])
