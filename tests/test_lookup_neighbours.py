"""
Tests for L{mdproxy.lookup.neighbours}.
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EIO, EMFILE
from select import epoll
from socket import SO_RCVBUF
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.interfaces import SourceState
from mdproxy.lookup.books import Flip, NeighbourBook
from mdproxy.lookup.kernel_table import SO_RCVBUFFORCE, NetlinkSocket
from mdproxy.lookup.neighbours import NeighbourSource, Poll
from tests.contracts import SourceContract
from tests.netlink_kernel import (
    MemoryKernel,
    MemoryPoll,
    link_message,
    neighbour_message,
)

A = "fa:16:3e:00:00:0a"
B = "fa:16:3e:00:00:0b"

if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object


class KernelContract(_Case):
    """
    What the source does with a kernel's table; real and imitated kernels must agree.
    """

    #: Two devices of the kernel, which are bridges called C{br7} and C{br8}.
    first = 7
    second = 8

    def setUp(self) -> None:
        """
        Attach the first device and start.
        """
        self.clock = MemoryReactorClock()
        self.clock.advance(1000)
        self.book = NeighbourBook()
        self.source = NeighbourSource(
            self.clock, self.clock, self.book, self.open_socket, make_poll=self.poll
        )
        self.source.attach(self.first, "red")

    def start(self) -> None:
        """
        Start the source, and stop it when the test ends.
        """
        self.source.startService()
        self.addCleanup(self.source.stopService)

    def open_socket(self) -> NetlinkSocket:
        """
        Open a socket to this kernel.
        """
        raise NotImplementedError

    def poll(self) -> Poll:
        """
        Make what watches sockets of this kernel.
        """
        return epoll()

    def replace(
        self, ifindex: int, address: str, mac: str | None, state: str = "stale"
    ) -> None:
        """
        Make or change an entry.
        """
        raise NotImplementedError

    def delete(self, ifindex: int, address: str) -> None:
        """
        Delete an entry.
        """
        raise NotImplementedError

    def add_port(self, ifindex: int, name: str) -> None:
        """
        Make a device, or give it another name, and plug it into the first bridge.
        """
        raise NotImplementedError

    def delete_port(self, ifindex: int) -> None:
        """
        Delete a device.
        """
        raise NotImplementedError

    def put_behind(self, ifindex: int, mac: str, is_own: bool = False) -> None:
        """
        Have the first bridge reach a MAC by a port.

        @param is_own: Whether it is the host's own address there.
        """
        raise NotImplementedError

    def watch(self) -> list[dict[str, int]]:
        """
        Watch the kernel as a namespace.

        @return: What was told of its devices, indexes by name, C{lo} left out.
        """
        told: list[dict[str, int]] = []

        def note(links: Mapping[int, str]) -> None:
            told.append({name: at for at, name in links.items() if name != "lo"})

        self.source.watch("ns", self.open_socket, note)
        return told

    def overrun(self, address: str) -> None:
        """
        Have so much news about an address that some are lost, and delete it unheard.
        """
        raise NotImplementedError

    def test_start_reads_table(self) -> None:
        """
        What stands in the table when the source starts is in the book at once.
        """
        self.replace(self.first, "10.0.0.5", A)
        self.replace(self.first, "fe80::5", B, "permanent")
        self.start()
        self.assertEqual(self.source.state, SourceState.LIVE)
        self.assertEqual(self.book.mac_of("red", "10.0.0.5"), A)
        self.assertEqual(self.book.mac_of("red", "fe80::5"), B)

    def test_begins_while_privileged(self) -> None:
        """
        It begins before listeners do, which is while we are privileged: a turn from
        then on is seen, and the start proper changes nothing.
        """
        self.replace(self.first, "10.0.0.5", A)
        self.source.privilegedStartService()
        self.replace(self.first, "10.0.0.5", B)
        self.clock.advance(1)
        self.start()
        self.source.drain()
        self.assertEqual(self.book.flips("red", "10.0.0.5", 0), (Flip(1001, A),))
        self.assertEqual(self.source.describe()["resyncs"], 1)

    def test_long_table(self) -> None:
        """
        A table that comes in many pieces is read whole.
        """
        addresses = [f"10.0.0.{last}" for last in range(5, 105)]
        for address in addresses:
            self.replace(self.first, address, A)
        self.start()
        self.assertEqual(sorted(self.book.addresses("red")), sorted(addresses))

    def test_flip(self) -> None:
        """
        An entry that was changed and changed back has been seen to change.
        """
        self.replace(self.first, "10.0.0.5", A)
        self.start()
        self.assertEqual(self.book.flips("red", "10.0.0.5", 0), ())
        self.replace(self.first, "10.0.0.5", B)
        self.replace(self.first, "10.0.0.5", A)
        self.clock.advance(1)
        self.source.drain()
        self.assertEqual(self.book.mac_of("red", "10.0.0.5"), A)
        turns = (Flip(1001, A), Flip(1001, B))
        self.assertEqual(self.book.flips("red", "10.0.0.5", 0), turns)

    def test_invalid_states(self) -> None:
        """
        An entry that turns into one the kernel does not send to is forgotten.
        """
        self.start()
        for state in ("failed", "noarp"):
            self.replace(self.first, "10.0.0.5", A)
            self.source.drain()
            self.assertEqual(self.book.mac_of("red", "10.0.0.5"), A)
            self.replace(self.first, "10.0.0.5", A, state)
            self.source.drain()
            self.assertIsNone(self.book.mac_of("red", "10.0.0.5"))

    def test_valid_states(self) -> None:
        """
        Every state in which the kernel sends is entered.
        """
        self.start()
        for last, state in enumerate(("reachable", "stale", "delay", "permanent"), 5):
            self.replace(self.first, f"10.0.0.{last}", A, state)
        self.source.drain()
        self.assertEqual(len(self.book), 4)

    def test_delete(self) -> None:
        """
        A deleted entry is forgotten.
        """
        self.replace(self.first, "10.0.0.5", A)
        self.replace(self.first, "fe80::5", A)
        self.start()
        self.delete(self.first, "10.0.0.5")
        self.delete(self.first, "fe80::5")
        self.source.drain()
        self.assertEqual(len(self.book), 0)

    def test_overrun(self) -> None:
        """
        After lost news the book is as the table is, deletions included, and any entry
        may have been turned and turned back.
        """
        self.replace(self.first, "10.0.0.5", A)
        self.replace(self.first, "10.0.0.6", A)
        self.start()
        self.assertEqual(self.book.flips("red", "10.0.0.6", 0), ())
        self.overrun("10.0.0.5")
        self.source.drain()
        missed = Flip(self.clock.seconds(), None)
        self.assertEqual(self.book.flips("red", "10.0.0.6", 0), (missed,))
        self.assertEqual(self.book.addresses("red"), ["10.0.0.6"])
        self.assertEqual(self.source.describe()["overruns"], 1)
        self.assertEqual(self.source.state, SourceState.LIVE)
        self.replace(self.first, "10.0.0.7", B)
        self.source.drain()
        self.assertEqual(self.book.mac_of("red", "10.0.0.7"), B)

    def test_unattached(self) -> None:
        """
        Devices without a listener are not entered.
        """
        self.replace(self.second, "10.0.0.5", A)
        self.start()
        self.replace(self.second, "10.0.0.6", A)
        self.source.drain()
        self.assertEqual(len(self.book), 0)

    def test_attach_later(self) -> None:
        """
        A device that comes later brings its table along, and only its own.
        """
        self.replace(self.first, "10.0.0.5", A)
        self.replace(self.second, "10.0.0.5", B)
        self.start()
        self.source.attach(self.second, "blue")
        self.source.drain()
        self.assertEqual(self.book.mac_of("red", "10.0.0.5"), A)
        self.assertEqual(self.book.mac_of("blue", "10.0.0.5"), B)

    def test_probe(self) -> None:
        """
        A probe tells and enters the entry of that very device, IPv4 or IPv6.
        """
        self.start()
        self.source.attach(self.second, "blue")
        for address in ("10.0.0.5", "fe80::5", "2001:db8::5"):
            self.replace(self.first, address, A)
            self.replace(self.second, address, B)
            self.assertEqual(self.source.probe("red", address), A)
            self.assertEqual(self.source.probe("blue", address), B)
            self.assertEqual(self.book.mac_of("blue", address), B)

    def test_look(self) -> None:
        """
        A look tells the entry of that very device as the kernel has it, one that is of
        no use included, and enters nothing.
        """
        self.start()
        self.source.attach(self.second, "blue")
        self.source.drain()
        self.replace(self.first, "10.0.0.5", A, "reachable")
        self.replace(self.second, "10.0.0.5", B, "permanent")
        self.replace(self.first, "10.0.0.6", None, "failed")
        seen = [
            None if entry is None else (entry.mac, entry.condition)
            for entry in (
                self.source.look("red", "10.0.0.5"),
                self.source.look("blue", "10.0.0.5"),
                self.source.look("red", "10.0.0.6"),
                self.source.look("red", "10.0.0.7"),
                self.source.look("green", "10.0.0.5"),
            )
        ]
        self.assertEqual(
            seen,
            [(A, "reachable"), (B, "permanent"), (None, "failed"), None, None],
        )
        self.assertEqual(len(self.book), 0)

    def test_probe_nothing(self) -> None:
        """
        A probe for an entry that isn't there, or isn't valid, says so.
        """
        self.start()
        self.assertIsNone(self.source.probe("red", "10.0.0.5"))
        self.replace(self.first, "10.0.0.6", A)
        self.source.drain()
        self.replace(self.first, "10.0.0.6", A, "failed")
        self.assertIsNone(self.source.probe("red", "10.0.0.6"))
        self.assertIsNone(self.book.mac_of("red", "10.0.0.6"))
        self.assertEqual(self.source.describe()["failed_probes"], 0)

    def test_devices(self) -> None:
        """
        Whoever watches a namespace is told of its devices, and of all that changes, in
        a turn of its own.
        """
        self.start()
        told = self.watch()
        self.assertEqual(told, [])
        self.clock.advance(0)
        bridges = {"br7": 7, "br8": 8}
        self.assertEqual(told, [bridges])
        for name in ("tap1", "tap2"):
            self.add_port(11, name)
            self.source.doRead()
            self.clock.advance(0)
            self.assertEqual(told[-1], {**bridges, name: 11})
        self.delete_port(11)
        self.source.doRead()
        self.clock.advance(0)
        self.assertEqual(told[-1], bridges)
        before = len(told)
        self.replace(self.first, "10.0.0.5", A)
        self.source.doRead()
        self.clock.advance(0)
        self.assertEqual(len(told), before)

    def test_devices_after_overrun(self) -> None:
        """
        After lost news the devices are read again too, at once or after a while.
        """
        self.source.attach(self.second, "blue")
        self.start()
        told = self.watch()
        self.clock.advance(0)
        self.add_port(11, "tap1")
        self.overrun("10.0.0.5")
        self.source.drain()
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertEqual(told[-1], {"br7": 7, "br8": 8, "tap1": 11})

    def test_namespace(self) -> None:
        """
        The neighbours of a watched namespace's device are entered, when they were there
        and when they come.
        """
        self.start()
        self.replace(self.second, "10.0.0.5", B)
        self.watch()
        self.source.attach(self.second, "ns/br8", "ns")
        self.clock.advance(0)
        self.assertEqual(self.book.mac_of("ns/br8", "10.0.0.5"), B)
        self.assertIsNone(self.book.mac_of("red", "10.0.0.5"))
        self.replace(self.second, "10.0.0.6", A)
        self.source.drain()
        self.assertEqual(self.book.mac_of("ns/br8", "10.0.0.6"), A)
        self.assertEqual(self.source.probe("ns/br8", "10.0.0.5"), B)

    def test_bridge_port(self) -> None:
        """
        A bridge tells by which port it reaches a MAC, also after that moved; nothing of
        a MAC that it has not learnt or that is the host's own, and nothing where the
        device is no bridge.
        """
        self.start()
        self.add_port(11, "tap1")
        self.add_port(12, "tap2")
        self.assertIsNone(self.source.bridge_port("red", A))
        for ifindex, name in ((11, "tap1"), (12, "tap2"), (11, "tap1")):
            self.put_behind(ifindex, A)
            self.assertEqual(self.source.bridge_port("red", A), name)
        self.put_behind(12, B, is_own=True)
        self.assertIsNone(self.source.bridge_port("red", B))
        self.source.attach(11, "tap")
        self.source.attach(self.second, "blue")
        for network in ("tap", "blue", "green"):
            self.assertIsNone(self.source.bridge_port(network, A))
        self.assertEqual(self.source.describe()["failed_probes"], 0)


class MemoryKernelTests(KernelContract, SynchronousTestCase):
    """
    Tests for L{NeighbourSource} on L{MemoryKernel}.
    """

    def setUp(self) -> None:
        """
        Make a kernel.
        """
        self.kernel = MemoryKernel()
        self.kernel.links = {1: "lo", 7: "br7", 8: "br8"}
        super().setUp()

    def open_socket(self) -> NetlinkSocket:
        """
        Open a socket to this kernel.
        """
        return self.kernel.open()

    def poll(self) -> Poll:
        """
        Make what watches sockets of this kernel.
        """
        return MemoryPoll((self.kernel,))

    def replace(
        self, ifindex: int, address: str, mac: str | None, state: str = "stale"
    ) -> None:
        """
        Make or change an entry.
        """
        self.kernel.replace(ifindex, address, mac, state)

    def delete(self, ifindex: int, address: str) -> None:
        """
        Delete an entry.
        """
        self.kernel.delete(ifindex, address)

    def add_port(self, ifindex: int, name: str) -> None:
        """
        Make a device, or give it another name.
        """
        self.kernel.add_link(ifindex, name)
        # As a bridge does where a port is unplugged and plugged in again.
        self.kernel.tell(link_message(17, ifindex, name, family=7), group=1)

    def delete_port(self, ifindex: int) -> None:
        """
        Delete a device.
        """
        self.kernel.delete_link(ifindex)

    def put_behind(self, ifindex: int, mac: str, is_own: bool = False) -> None:
        """
        Have the first bridge reach a MAC by a port.
        """
        self.kernel.ports[self.first, mac] = (ifindex, is_own)

    def overrun(self, address: str) -> None:
        """
        Lose the news of a deletion.
        """
        self.kernel.delete(self.first, address)
        self.kernel.overrun()


class NeighbourSourceContractTests(SourceContract, SynchronousTestCase):
    """
    The contract of sources, on L{NeighbourSource}.
    """

    def make_source(self, reactor: MemoryReactorClock) -> NeighbourSource:
        """
        Make a source on a kernel in memory.
        """
        book = NeighbourBook()
        kernel = MemoryKernel()
        return NeighbourSource(
            reactor,
            reactor,
            book,
            kernel.open,
            make_poll=lambda: MemoryPoll((kernel,)),
        )


class NeighbourSourceTests(SynchronousTestCase):
    """
    Tests for what L{NeighbourSource} does when the kernel does not behave.
    """

    def setUp(self) -> None:
        """
        Start a source with one device and one neighbour.
        """
        self.kernel = MemoryKernel()
        self.clock = MemoryReactorClock()
        self.book = NeighbourBook()
        self.source = NeighbourSource(
            self.clock,
            self.clock,
            self.book,
            self.kernel.open,
            make_poll=lambda: MemoryPoll((self.kernel,)),
        )
        self.kernel.replace(7, "10.0.0.5", A)
        self.source.attach(7, "red")
        self.source.startService()
        self.addCleanup(self.source.stopService)
        self.news = self.kernel.sockets[0]

    def assert_failed(self, problem: str) -> None:
        """
        Assert that the source gave up for now, forgot everything, and comes back.
        """
        self.assertEqual(self.source.state, SourceState.FAILED)
        self.assertIn(problem, self.source.describe()["problem"])
        self.assertEqual(len(self.book), 0)
        self.assertEqual(self.clock.getReaders(), [])
        self.assertTrue(self.news.closed)
        self.kernel.refusals = 0
        self.clock.advance(1)
        self.assertEqual(self.source.state, SourceState.LIVE)
        self.assertIsNone(self.source.describe()["problem"])
        self.assertEqual(self.book.mac_of("red", "10.0.0.5"), A)
        self.assertEqual(self.clock.getReaders(), [self.source])

    def test_interfaces(self) -> None:
        """
        The reactor can read it.
        """
        self.assertTrue(verifyObject(IReadDescriptor, self.source))
        self.assertEqual(self.source.logPrefix(), "neighbours")

    def test_quiet_drain(self) -> None:
        """
        Where there is no news a drain takes nothing from the socket.
        """
        before = self.news.received
        self.source.drain()
        self.assertEqual(self.news.received, before)

    def test_reactor_reads(self) -> None:
        """
        News are read when the reactor says that there are some.
        """
        self.assertEqual(self.clock.getReaders(), [self.source])
        self.assertEqual(self.source.fileno(), 999)
        self.kernel.replace(7, "10.0.0.6", B)
        self.source.doRead()
        self.assertEqual(self.book.mac_of("red", "10.0.0.6"), B)

    def test_buffer(self) -> None:
        """
        The buffer is made large, as far as the host's limits and our rights allow.
        """
        self.assertEqual([o for _, o, _ in self.kernel.options], [SO_RCVBUFFORCE])
        self.kernel.forbidden.add(SO_RCVBUFFORCE)
        self.source.connectionLost(Failure(ConnectionLost()))
        self.clock.advance(1)
        self.assertEqual(self.kernel.options[-1][1], SO_RCVBUF)
        self.assertEqual(self.source.state, SourceState.LIVE)

    def test_interrupted_dump(self) -> None:
        """
        A dump during which the table changed is asked for again.
        """
        self.kernel.table.clear()
        self.kernel.interruptions = 2
        before = self.kernel.dumps
        self.kernel.overrun()
        self.source.drain()
        self.assertEqual(self.kernel.dumps, before + 3)
        self.assertEqual(len(self.book), 0)
        self.assertEqual(self.source.state, SourceState.LIVE)

    def test_overrun_during_dump(self) -> None:
        """
        News lost while a dump is read make it be asked for again.
        """
        for last in range(10, 20):
            self.kernel.replace(7, f"10.0.0.{last}", B)
        self.source.drain()
        del self.kernel.table[7, "10.0.0.15"]
        before = self.kernel.dumps
        self.kernel.overrun()
        calls: list[str] = []

        def overrun_once(network: str) -> None:
            calls.append(network)
            if len(calls) == 1:
                self.news.incoming.insert(0, OSError(105, "No buffer space"))

        self.book.observe(overrun_once)
        self.kernel.table[7, "10.0.0.30"] = ("stale", B)
        self.source.drain()
        self.assertEqual(self.kernel.dumps, before + 2)
        self.assertIsNone(self.book.mac_of("red", "10.0.0.15"))
        self.assertEqual(self.book.mac_of("red", "10.0.0.30"), B)

    def test_endless_doubt(self) -> None:
        """
        A table that can't be read to its end is given up for now.
        """
        self.kernel.refusals = 100
        self.kernel.overrun()
        self.source.drain()
        self.assertEqual(self.kernel.refusals, 97)
        self.assert_failed("to its end")

    def test_lost_end_of_dump(self) -> None:
        """
        A dump that ends without its end is asked for again.
        """
        self.kernel.table.clear()
        self.kernel.endless = 2
        before = self.kernel.dumps
        self.kernel.overrun()
        self.source.drain()
        self.assertEqual(self.kernel.dumps, before + 3)
        self.assertEqual(len(self.book), 0)
        self.assertEqual(self.source.state, SourceState.LIVE)

    def test_garbled(self) -> None:
        """
        Bytes that are no messages are logged and the table is read again.
        """
        before = self.kernel.dumps
        for garbage in (b"", b"abc", b"\xff" * 64, bytes(64), b"\x10\0\0\0\x1c\0" * 9):
            self.kernel.tell(garbage)
            self.source.drain()
            self.assertEqual(self.source.state, SourceState.LIVE)
            self.assertEqual(self.book.mac_of("red", "10.0.0.5"), A)
        self.assertEqual(self.kernel.dumps, before + 5)

    def test_unreadable(self) -> None:
        """
        A socket that can't be read is opened again.
        """
        self.kernel.tell(OSError(EIO, "Input/output error"))
        self.source.drain()
        self.assert_failed("can't read from netlink: Input/output error")

    def test_unwritable(self) -> None:
        """
        A socket that takes no request is opened again.
        """
        self.kernel.overrun()
        self.kernel.failures["send"] = [OSError(EIO, "x")]
        self.source.drain()
        self.assert_failed("can't ask for the neighbour table")

    def test_dropped_by_reactor(self) -> None:
        """
        A socket that the reactor drops is opened again.
        """
        self.source.connectionLost(Failure(ConnectionLost()))
        self.assert_failed("the reactor dropped the socket")

    def test_not_opened(self) -> None:
        """
        Where no socket can be opened or bound, it is tried again until one can.
        """
        self.source.connectionLost(Failure(ConnectionLost()))
        self.kernel.failures = {
            "open": [OSError(EMFILE, "x")],
            "bind": [OSError(EIO, "x")],
        }
        self.clock.advance(1)
        self.assertIn("can't open a netlink", self.source.describe()["problem"])
        self.clock.advance(1)
        self.assert_failed("can't join")

    def test_doubt_outlives_flood(self) -> None:
        """
        Where there is more news than one drain reads, any entry may have changed; the
        next drain asks for what may have been missed, though there is no more then.
        """
        del self.kernel.table[7, "10.0.0.5"]
        self.kernel.overrun()
        news = neighbour_message(28, (7, "10.0.0.6"), A, "stale")
        self.news.incoming.extend([news] * 4095)
        self.source.drain()
        self.assertEqual(self.news.incoming, [])
        self.assertEqual(self.book.mac_of("red", "10.0.0.5"), A)
        self.assertFalse(self.book.is_calm("red", self.clock.seconds()))
        self.source.drain()
        self.assertIsNone(self.book.mac_of("red", "10.0.0.5"))

    def test_drain_without_socket(self) -> None:
        """
        While nobody watches, what a probe entered is good until the next drain only.
        """
        self.source.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.source.probe("red", "10.0.0.5"), A)
        self.assertEqual(self.book.mac_of("red", "10.0.0.5"), A)
        self.source.drain()
        self.assertIsNone(self.book.mac_of("red", "10.0.0.5"))
        self.assertEqual(self.source.fileno(), -1)

    def test_drain_within_drain(self) -> None:
        """
        An observer of the book may drain without harm.
        """
        seen: list[int] = []

        def observe(network: str) -> None:
            self.source.drain()
            seen.append(len(self.book))

        self.book.observe(observe)
        self.kernel.replace(7, "10.0.0.6", B)
        self.kernel.replace(7, "10.0.0.7", B)
        self.source.drain()
        self.assertEqual(seen, [2, 3])

    def test_detach(self) -> None:
        """
        A device that goes takes its neighbours along, and probes for it end.
        """
        self.source.detach(7)
        self.source.detach(7)
        self.assertEqual(len(self.book), 0)
        self.assertIsNone(self.source.probe("red", "10.0.0.5"))
        self.kernel.replace(7, "10.0.0.6", B)
        self.source.drain()
        self.assertEqual(len(self.book), 0)

    def test_device_made_again(self) -> None:
        """
        Another device for the same network takes the first one's place.
        """
        self.kernel.replace(9, "10.0.0.9", B)
        self.source.attach(9, "red")
        self.source.drain()
        self.assertEqual(self.book.addresses("red"), ["10.0.0.9"])
        self.source.detach(7)
        self.assertEqual(self.source.probe("red", "10.0.0.9"), B)

    def test_device_renamed(self) -> None:
        """
        A device attached for another network leaves the first one empty.
        """
        self.source.attach(7, "blue")
        self.source.drain()
        self.assertEqual(self.book.addresses("red"), [])
        self.assertEqual(self.book.addresses("blue"), ["10.0.0.5"])

    def test_attaches_share_dump(self) -> None:
        """
        Devices that come in one turn of the reactor cost one dump.
        """
        before = self.kernel.dumps
        for ifindex in range(10, 20):
            self.kernel.replace(ifindex, "10.0.0.5", B)
            self.source.attach(ifindex, f"net{ifindex}")
        self.clock.advance(0)
        self.assertEqual(self.kernel.dumps, before + 1)
        self.assertEqual(len(self.book), 11)

    def test_failed_probes_are_told_seldom(self) -> None:
        """
        However often instances have a question asked that gets no answer, the log has
        one line a minute, with the number of the others.
        """
        self.kernel.failures["send"] = [OSError(EIO, "x") for _ in range(51)]
        with capturedLogs() as events:
            for number in range(50):
                self.source.probe("red", f"10.0.1.{number}")
            self.clock.advance(61)
            self.source.probe("red", "10.0.0.5")
        self.assertEqual([event["quiet"] for event in events], [0, 49])

    def test_failed_probe(self) -> None:
        """
        A question that gets no answer is counted, and the next has a fresh socket.
        """
        self.kernel.failures["send"] = [OSError(EIO, "x")]
        self.assertIsNone(self.source.probe("red", "10.0.0.5"))
        self.assertTrue(self.kernel.sockets[1].closed)
        self.assertEqual(self.source.probe("red", "10.0.0.5"), A)
        described = self.source.describe()
        self.assertEqual((described["probes"], described["failed_probes"]), (2, 1))
        self.assertEqual(self.source.state, SourceState.LIVE)

    def test_late_answers(self) -> None:
        """
        An answer to a former question is not taken for this one's.
        """
        self.kernel.replace(7, "10.0.0.6", B)
        self.source.probe("red", "10.0.0.6")
        questions = self.kernel.sockets[1]
        questions.send(
            b"\x24\0\0\0\x1e\0\x01\0\x63\0\0\0\0\0\0\0"
            b"\x02\0\0\0\x07\0\0\0\0\0\0\0\x08\0\x01\0\x0a\0\0\x06"
        )
        self.assertEqual(len(questions.incoming), 1)
        self.assertEqual(self.source.probe("red", "10.0.0.5"), A)

    def test_only_late_answers(self) -> None:
        """
        A question never waits, however many wrong answers there are.
        """
        self.source.probe("red", "10.0.0.5")
        questions = self.kernel.sockets[1]
        questions.incoming.extend(self.kernel.answer(99, bytes(16)) * 100)
        self.assertIsNone(self.source.probe("red", "10.0.0.5"))
        self.assertTrue(questions.closed)

    def test_probe_when_stopped(self) -> None:
        """
        A stopped source opens nothing.
        """
        source = NeighbourSource(
            self.clock, self.clock, self.book, self.kernel.open, make_poll=self.fail
        )
        source.attach(7, "green")
        self.assertIsNone(source.probe("green", "10.0.0.5"))
        self.assertEqual(len(self.kernel.sockets), 1)

    def test_stop(self) -> None:
        """
        A stopped source holds no socket, reader or timer, lost socket or not.
        """
        self.source.probe("red", "10.0.0.5")
        self.source.attach(8, "blue")
        self.source.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.clock.getReaders(), [])
        self.assertTrue(all(socket.closed for socket in self.kernel.sockets))
        self.kernel.failures["open"] = [OSError(EMFILE, "x")]
        self.source.startService()
        self.assertEqual(self.source.state, SourceState.FAILED)
        self.source.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.source.startService()
        self.assertEqual(self.source.state, SourceState.LIVE)

    def test_describe(self) -> None:
        """
        The operator is told what is known and how fresh it is.
        """
        self.clock.advance(2.5)
        self.assertEqual(
            self.source.describe(),
            {
                "name": "neighbours",
                "kind": "neighbours",
                "state": "live",
                "problem": None,
                "namespaces": 1,
                "networks": ["red"],
                "entries": 1,
                "last_event_age": 2.5,
                "resyncs": 1,
                "overruns": 0,
                "probes": 0,
                "failed_probes": 0,
            },
        )


class NamespacesTests(SynchronousTestCase):
    """
    Tests for L{NeighbourSource} with more namespaces than one.
    """

    #: How many namespaces there are beside the process's own.
    count = 3

    def setUp(self) -> None:
        """
        Start a source that watches namespaces with a device and a neighbour each.
        """
        self.clock = MemoryReactorClock()
        self.book = NeighbourBook()
        self.own = MemoryKernel()
        self.kernels = [MemoryKernel(1100 + 10 * at) for at in range(self.count)]
        for kernel in self.kernels:
            kernel.links = {1: "lo", 2: "tap"}
            kernel.replace(2, "10.0.0.5", A)
        self.poll = MemoryPoll((self.own, *self.kernels))
        self.has_poll = True
        self.source = NeighbourSource(
            self.clock,
            self.clock,
            self.book,
            self.own.open,
            make_poll=self.make_poll,
        )
        self.source.startService()
        self.addCleanup(self.source.stopService)
        self.told: list[tuple[str, dict[int, str]]] = []
        for at in range(self.count):
            self.watch(at)
        self.clock.advance(0)
        self.clock.advance(0)

    def make_poll(self) -> Poll:
        """
        Give the source what it watches all sockets with, if there is one.
        """
        if not self.has_poll:
            raise OSError(EMFILE, "Too many open files")
        return self.poll

    def watch(self, at: int) -> None:
        """
        Watch a kernel as a namespace, and attach its device when told of it.
        """

        def note(links: Mapping[int, str]) -> None:
            self.told.append((f"ns{at}", dict(links)))
            if 2 in links:
                self.source.attach(2, f"ns{at}/{links[2]}", f"ns{at}")

        self.source.watch(f"ns{at}", self.kernels[at].open, note)

    def macs(self, address: str = "10.0.0.5") -> list[str | None]:
        """
        Tell where each namespace's address is.
        """
        return [
            self.book.mac_of(f"ns{at}/tap", address) for at in range(len(self.kernels))
        ]

    def test_each_by_itself(self) -> None:
        """
        The same device and address in several namespaces are several neighbours.
        """
        self.assertEqual(self.macs(), [A, A, A])
        self.kernels[1].replace(2, "10.0.0.5", B)
        self.source.drain()
        self.assertEqual(self.macs(), [A, B, A])
        self.assertTrue(self.book.is_calm("ns0/tap", 0.0))
        self.assertFalse(self.book.is_calm("ns1/tap", 0.0))
        self.assertEqual(self.source.probe("ns1/tap", "10.0.0.5"), B)
        self.assertEqual(self.source.probe("ns2/tap", "10.0.0.5"), A)
        described = self.source.describe()
        told = (described["namespaces"], described["entries"])
        self.assertEqual(told, (self.count + 1, self.count))
        self.assertEqual(self.clock.getReaders(), [self.source])

    def test_quiet(self) -> None:
        """
        Where there is no news one look tells so for all of them.
        """
        before = self.poll.polled
        received = [s.received for k in self.kernels for s in k.sockets]
        self.source.drain()
        self.assertEqual(self.poll.polled, before + 1)
        self.assertEqual(
            [s.received for k in self.kernels for s in k.sockets], received
        )

    def test_nobody_attached(self) -> None:
        """
        Where no device is attached not even that is needed.
        """
        for at in range(self.count):
            self.source.detach(2, f"ns{at}")
        self.source.detach(2, "unheard-of")
        before = self.poll.polled
        self.source.drain()
        self.assertEqual(self.poll.polled, before)

    def test_no_neighbours_read_for_nobody(self) -> None:
        """
        Where no device is attached the neighbours are not read.
        """
        self.assertEqual(self.own.dumps, 0)
        self.assertEqual({kernel.dumps for kernel in self.kernels}, {1})

    def test_overrun(self) -> None:
        """
        News lost in one namespace say nothing against the entries of another.
        """
        del self.kernels[1].table[2, "10.0.0.5"]
        self.kernels[1].overrun()
        self.source.drain()
        self.assertEqual(self.macs(), [A, None, A])
        self.assertFalse(self.book.is_calm("ns1/tap", 0.0))
        for network in ("ns0/tap", "ns2/tap"):
            self.assertEqual(self.book.flips(network, "10.0.0.5", 0), ())
        self.assertEqual(self.source.describe()["overruns"], 1)

    def test_lost(self) -> None:
        """
        A socket that can't be read costs its own namespace, until it is open again;
        nothing that a probe learns there meanwhile outlives the next drain.
        """
        self.kernels[1].tell(OSError(EIO, "x"))
        self.source.drain()
        self.assertEqual(self.macs(), [A, None, A])
        self.assertEqual(self.source.state, SourceState.STALE)
        problem = "can't read from netlink: Input/output error (ns1)"
        self.assertEqual(self.source.describe()["problem"], problem)
        self.assertEqual(self.source.probe("ns1/tap", "10.0.0.5"), A)
        self.source.drain()
        self.assertEqual(self.macs(), [A, None, A])
        self.clock.advance(1)
        self.assertEqual(self.macs(), [A, A, A])
        self.assertEqual(self.source.state, SourceState.LIVE)
        self.assertEqual(len(self.book.flips("ns1/tap", "10.0.0.5", 0)), 1)
        self.assertEqual(self.book.flips("ns2/tap", "10.0.0.5", 0), ())

    def test_flood(self) -> None:
        """
        A namespace that has more news than others could wait for is given up for a
        while, in which nobody of its own is believed.
        """
        news = neighbour_message(28, (2, "10.0.0.6"), A, "stale")
        for _ in range(2000):
            self.kernels[1].tell(news)
        first = self.kernels[1].sockets[0]
        before = first.received
        self.source.drain()
        self.assertEqual(first.received, before + 1024)
        self.assertTrue(first.closed)
        self.assertEqual(self.macs(), [A, None, A])
        self.assertEqual(
            self.source.describe()["problem"], "more news than can be read (ns1)"
        )
        for _ in range(2):
            self.clock.advance(0.25)
            self.source.drain()
            self.assertFalse(self.book.is_calm("ns1/tap", self.clock.seconds()))
        self.assertTrue(self.book.is_calm("ns2/tap", 0.0))
        self.clock.advance(0.5)
        self.assertEqual(self.macs(), [A, A, A])
        self.assertEqual(self.source.state, SourceState.LIVE)

    def test_all_lost(self) -> None:
        """
        Where every socket is lost the source has failed, and says why once.
        """
        self.source.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.source.state, SourceState.FAILED)
        problem = "the reactor dropped the socket, and more of the kind"
        self.assertEqual(self.source.describe()["problem"], problem)
        self.assertEqual(self.macs(), [None, None, None])
        self.assertTrue(self.poll.closed)
        self.poll = MemoryPoll((self.own, *self.kernels))
        self.clock.advance(1)
        self.assertEqual(self.macs(), [A, A, A])
        self.assertEqual(self.source.state, SourceState.LIVE)

    def test_devices_outlive_loss(self) -> None:
        """
        Nobody is told of devices that were there before and after a loss; what has
        changed meanwhile is told.
        """
        before = len(self.told)
        for kernel in self.kernels:
            kernel.tell(OSError(EIO, "x"))
        self.source.drain()
        self.kernels[2].links[3] = "new"
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertEqual(self.told[before:], [("ns2", {1: "lo", 2: "tap", 3: "new"})])

    def test_not_watched(self) -> None:
        """
        What can't be watched for want of descriptors is tried again.
        """
        self.poll.is_full = True
        self.kernels[1].tell(OSError(EIO, "x"))
        self.source.drain()
        for _ in range(2):
            self.clock.advance(1)
            problem = "can't watch a netlink socket: No space left on device (ns1)"
            self.assertEqual(self.source.describe()["problem"], problem)
            self.assertTrue(self.kernels[1].sockets[-1].closed)
        self.poll.is_full = False
        self.clock.advance(1)
        self.assertEqual(self.macs(), [A, A, A])

    def test_no_poll(self) -> None:
        """
        The same where there is no descriptor for watching at all.
        """
        self.source.connectionLost(Failure(ConnectionLost()))
        self.has_poll = False
        self.clock.advance(1)
        self.assertEqual(self.source.state, SourceState.FAILED)
        self.assertEqual(self.clock.getReaders(), [])
        self.has_poll, self.poll = True, MemoryPoll(self.poll.kernels)
        for _ in range(8):
            self.clock.advance(1)
        self.assertEqual(self.macs(), [A, A, A])
        self.assertEqual(self.source.state, SourceState.LIVE)

    def test_unwatch(self) -> None:
        """
        A namespace that goes has no socket any more and leaves nothing behind; whoever
        observes the book is told.
        """
        self.source.probe("ns1/tap", "10.0.0.5")
        self.kernels[1].replace(2, "10.0.0.5", B)
        self.source.drain()
        changed: list[str] = []
        self.book.observe(changed.append)
        self.source.unwatch("ns1")
        self.source.unwatch("ns1")
        self.assertEqual(changed, ["ns1/tap"])
        self.assertTrue(all(socket.closed for socket in self.kernels[1].sockets))
        self.assertEqual(self.macs(), [A, None, A])
        self.assertTrue(self.book.is_calm("ns1/tap", 0.0))
        self.assertIsNone(self.source.probe("ns1/tap", "10.0.0.5"))
        self.assertEqual(len(self.poll.watched), self.count)
        self.assertNotIn("ns1/tap", self.source.describe()["networks"])
        with self.assertRaises(KeyError):
            self.source.attach(2, "ns1/tap", "ns1")

    def test_unwatch_lost(self) -> None:
        """
        A namespace that can't be opened is not tried again when it is gone.
        """
        self.kernels[1].tell(OSError(EIO, "x"))
        self.source.drain()
        self.source.unwatch("ns1")
        self.assertEqual(self.source.state, SourceState.LIVE)
        opened = len(self.kernels[1].sockets)
        self.clock.advance(1)
        self.assertEqual(len(self.kernels[1].sockets), opened)

    def test_made_anew(self) -> None:
        """
        A namespace that is watched again is another one.
        """
        self.kernels[1] = MemoryKernel(5000)
        self.kernels[1].links = {2: "tap"}
        self.poll.kernels = (*self.poll.kernels, self.kernels[1])
        self.watch(1)
        self.assertEqual(self.macs(), [A, None, A])
        self.kernels[1].replace(2, "10.0.0.5", B)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.macs(), [A, B, A])
        self.assertEqual(self.book.flips("ns1/tap", "10.0.0.5", 0)[1:], ())

    def test_unwatched_by_another(self) -> None:
        """
        Nobody is told of the devices of a namespace that is watched no more.
        """
        before = len(self.told)

        def end(links: Mapping[int, str]) -> None:
            self.source.unwatch("ns1")

        self.source.watch("ns0", self.kernels[0].open, end)
        self.watch(1)
        self.clock.advance(0)
        self.assertEqual(self.told[before:], [])

    def test_watch_before_start(self) -> None:
        """
        What is watched before the source is started is opened then.
        """
        self.source.stopService()
        self.kernels.append(MemoryKernel(5000))
        self.poll = MemoryPoll((self.own, *self.kernels))
        self.watch(self.count)
        self.assertEqual(self.kernels[-1].sockets, [])
        self.source.startService()
        self.assertEqual(len(self.kernels[-1].sockets), 1)
        self.assertEqual(self.macs(), [A, A, A, None])

    def test_network_moves(self) -> None:
        """
        A network that another namespace's device stands for now is that one's.
        """
        self.kernels[0].replace(9, "10.0.0.9", B)
        self.source.attach(9, "ns1/tap", "ns0")
        self.source.drain()
        self.assertEqual(self.book.addresses("ns1/tap"), ["10.0.0.9"])
        self.source.detach(2, "ns1")
        self.assertEqual(self.source.probe("ns1/tap", "10.0.0.9"), B)

    def test_large_buffer_stays(self) -> None:
        """
        A buffer that somebody who may made larger than we may is left so.
        """
        kernel = MemoryKernel(5000)
        kernel.forbidden.add(SO_RCVBUFFORCE)
        kernel.buffer = 1 << 21
        self.poll.kernels = (*self.poll.kernels, kernel)
        self.source.watch("large", kernel.open, self.fail)
        self.assertEqual([o for _, o, _ in kernel.options], [SO_RCVBUFFORCE])


class ManyNamespacesTests(NamespacesTests):
    """
    The same where there are more than one look can tell of.
    """

    count = 100

    def macs(self, address: str = "10.0.0.5") -> list[str | None]:
        """
        Tell where the first three are, after looking at the others.
        """
        macs = super().macs(address)
        rest = set(macs[3 : self.count])
        self.assertIn(rest, ({A}, {None}))
        return [*macs[:3], *macs[self.count :]]

    def test_all_at_once(self) -> None:
        """
        News of all of them are read at once.
        """
        for kernel in self.kernels:
            kernel.replace(2, "10.0.0.6", B)
        self.source.drain()
        self.assertEqual(
            {self.book.mac_of(f"ns{at}/tap", "10.0.0.6") for at in range(self.count)},
            {B},
        )

    def test_few_are_tried(self) -> None:
        """
        Where sockets can't be opened only some are tried each second, and in the end
        all.
        """
        self.source.connectionLost(Failure(ConnectionLost()))
        self.poll = MemoryPoll((self.own, *self.kernels))
        for kernel in self.kernels:
            kernel.failures["open"] = [OSError(EMFILE, "x")]
        tried = []
        for _ in range(8):
            self.clock.advance(1)
            left = sum(bool(kernel.failures["open"]) for kernel in self.kernels)
            tried.append(self.count - left)
        self.assertEqual(tried, [16, 32, 48, 64, 80, 96, 100, 100])
        self.assertEqual(self.source.state, SourceState.LIVE)
