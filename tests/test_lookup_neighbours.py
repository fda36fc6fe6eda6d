"""
Tests for L{mdproxy.lookup.neighbours}.
"""

from __future__ import annotations

from errno import EIO, EMFILE
from select import epoll
from socket import SO_RCVBUF
from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.interfaces import SourceState
from mdproxy.lookup.books import Flip, NeighbourBook
from mdproxy.lookup.kernel_table import SO_RCVBUFFORCE, NetlinkSocket
from mdproxy.lookup.neighbours import NeighbourSource, Poll
from tests.contracts import SourceContract
from tests.netlink_kernel import MemoryKernel, MemoryPoll

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

    #: Two devices of the kernel.
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


class MemoryKernelTests(KernelContract, SynchronousTestCase):
    """
    Tests for L{NeighbourSource} on L{MemoryKernel}.
    """

    def setUp(self) -> None:
        """
        Make a kernel.
        """
        self.kernel = MemoryKernel()
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
