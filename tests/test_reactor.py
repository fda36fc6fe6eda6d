"""
Tests for L{mdproxy.reactor}.

What becomes of a selectable is tested on Twisted's own epoll reactor as well.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.reactors import IReactorInstaller
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import globalLogPublisher
from twisted.plugin import getPlugins
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mdproxy.reactor import PlainReadsReactor
from tests.turning import reset, settle, turning


class OwnError(Exception):
    """
    An error of the protocol's.
    """


class Selectable:
    """
    One end of a connection, as the reactor sees it.

    @ivar told: What the reactor did, in order: C{read}, C{write}, C{read-lost} and the
        names of errors that it was lost with.
    """

    def __init__(self, end: socket.socket, read: Callable[[], Any]) -> None:
        """
        Do this when there is something to read.
        """
        self._end = end
        self._read = read
        self.told: list[str] = []

    def fileno(self) -> int:
        """
        Provide C{IFileDescriptor.fileno}.
        """
        return self._end.fileno()

    def doRead(self) -> Any:
        """
        Provide C{IReadDescriptor.doRead}.
        """
        self.told.append("read")
        return self._read()

    def doWrite(self) -> Any:
        """
        Provide C{IWriteDescriptor.doWrite}.
        """
        self.told.append("write")

    def connectionLost(self, reason: Failure) -> None:
        """
        Provide C{IFileDescriptor.connectionLost}.
        """
        self.told.append(type(reason.value).__name__)

    def logPrefix(self) -> str:
        """
        Provide C{ILoggingContext.logPrefix}.
        """
        return "selectable,1"


@implementer(IHalfCloseableDescriptor)
class HalfCloseable(Selectable):
    """
    One that is told of each direction's end.
    """

    def readConnectionLost(self, reason: Failure) -> None:
        """
        Provide C{IHalfCloseableDescriptor.readConnectionLost}.
        """
        self.told.append("read-lost")

    def writeConnectionLost(self, reason: Failure) -> None:
        """
        Provide C{IHalfCloseableDescriptor.writeConnectionLost}.
        """


class Poller:
    """
    A poller that fails.
    """

    def __init__(self, code: int) -> None:
        """
        Fail with this.
        """
        self._code = code

    def poll(self, timeout: float, most: int) -> Any:
        """
        Provide C{epoll.poll}.
        """
        raise OSError(self._code, os.strerror(self._code))


def fail() -> None:
    """
    Be a protocol with a fault.
    """
    raise OwnError


class ReactorTests(SynchronousTestCase):
    """
    Tests for what the epoll reactor does, on Twisted's own.
    """

    kind: Callable[[], EPollReactor] = EPollReactor

    def setUp(self) -> None:
        """
        Make a reactor, and read the log.
        """
        reactor = turning(type(self).kind)
        self.reactor: Any = reactor.__enter__()
        self.addCleanup(reactor.__exit__, None, None, None)
        self.logged: list[Any] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def ends(self) -> tuple[socket.socket, socket.socket]:
        """
        Make a connection.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = socket.create_connection(listening.getsockname())
            theirs, _address = listening.accept()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return ours, theirs

    def readable(
        self,
        read: Callable[[], Any] = lambda: None,
        kind: type[Selectable] = Selectable,
    ) -> Selectable:
        """
        Have a selectable with something to read.
        """
        ours, theirs = self.ends()
        selectable = kind(ours, read)
        self.reactor.addReader(selectable)
        theirs.send(b"x")
        return selectable

    def prefixes(self) -> list[str]:
        """
        List the prefixes of what was logged.
        """
        return [event.get("log_system") or event["system"] for event in self.logged]

    def test_read(self) -> None:
        """
        What can be read is read, once in a turn, and stays.
        """
        selectable = self.readable()
        self.reactor.iterate(0)
        self.assertEqual(selectable.told, ["read"])
        self.reactor.iterate(0)
        self.assertEqual(selectable.told, ["read", "read"])
        self.assertIn(selectable, self.reactor.getReaders())

    def test_written(self) -> None:
        """
        What can be written to is written to, behind reading.
        """
        selectable = self.readable()
        self.reactor.addWriter(selectable)
        self.reactor.iterate(0)
        self.assertEqual(selectable.told, ["read", "write"])

    def test_read_raises(self) -> None:
        """
        An exception is logged as the selectable's, which is lost with it.
        """
        for kind in (Selectable, HalfCloseable):
            selectable = self.readable(fail, kind)
            self.reactor.addWriter(selectable)
            settle(self.reactor)
            self.assertEqual(selectable.told, ["read", "OwnError"])
            self.assertNotIn(selectable, self.reactor.getReaders())
            self.assertNotIn(selectable, self.reactor.getWriters())
            self.assertEqual(len(self.flushLoggedErrors(OwnError)), 1)
        self.assertEqual(self.prefixes(), ["selectable,1"] * 2)

    def test_read_raises_alone(self) -> None:
        """
        The same where nothing else is to be done.
        """
        selectable = self.readable(fail)
        settle(self.reactor)
        self.assertEqual(selectable.told, ["read", "OwnError"])
        self.assertEqual(self.reactor.getReaders(), [self.reactor.waker])
        self.assertEqual(len(self.flushLoggedErrors(OwnError)), 1)
        self.assertEqual(self.prefixes(), ["selectable,1"])

    def test_done_raised(self) -> None:
        """
        An end of the connection that is raised is an error like any other.
        """

        def done() -> None:
            raise ConnectionDone

        selectable = self.readable(done, HalfCloseable)
        settle(self.reactor)
        self.assertEqual(selectable.told, ["read", "ConnectionDone"])
        self.assertEqual(len(self.flushLoggedErrors(ConnectionDone)), 1)

    def test_exit_raised(self) -> None:
        """
        Not even a wish to end the process does more than lose the selectable.
        """

        def leave() -> None:
            raise SystemExit

        selectable = self.readable(leave)
        settle(self.reactor)
        self.assertEqual(selectable.told, ["read", "SystemExit"])
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_read_says_lost(self) -> None:
        """
        A selectable that says what it is lost with is lost with that.
        """
        for why in (CONNECTION_DONE, CONNECTION_LOST, OwnError()):
            selectable = self.readable(lambda why=why: why)  # type: ignore[misc]
            self.reactor.addWriter(selectable)
            settle(self.reactor)
            self.assertEqual(selectable.told, ["read", type(why).__name__])
        self.assertEqual(self.reactor.getReaders(), [self.reactor.waker])
        self.assertEqual(self.reactor.getWriters(), [])
        self.assertEqual(self.logged, [])

    def test_read_ended(self) -> None:
        """
        One that has its directions apart goes on writing after the end of reading.
        """
        for writes in (False, True):
            selectable = self.readable(lambda: CONNECTION_DONE, HalfCloseable)
            if writes:
                self.reactor.addWriter(selectable)
            self.reactor.iterate(0)
            self.assertEqual(selectable.told, ["read", "read-lost"])
            self.assertEqual(self.reactor.getReaders(), [self.reactor.waker])
            self.assertEqual(self.reactor.getWriters(), [selectable] * writes)

    def test_half_closeable_lost(self) -> None:
        """
        One that has its directions apart loses both at once with anything else.
        """
        selectable = self.readable(lambda: CONNECTION_LOST, HalfCloseable)
        settle(self.reactor)
        self.assertEqual(selectable.told, ["read", "ConnectionLost"])

    def test_loss_raises(self) -> None:
        """
        A selectable that fails at being lost is logged, and the others are served.
        """

        class Stubborn(Selectable):
            """
            One that fails at being lost.
            """

            def connectionLost(self, reason: Failure) -> None:
                """
                Fail.
                """
                raise OwnError

        reads: list[Callable[[], Any]] = [fail, lambda: CONNECTION_LOST, lambda: None]
        for read in reads:
            self.readable(read, Stubborn)
        others = [self.readable() for _ in range(3)]
        self.reactor.iterate(0)
        self.assertEqual([each.told for each in others], [["read"]] * 3)
        # One failed at reading too.
        self.assertEqual(len(self.flushLoggedErrors(OwnError)), 3)
        self.assertEqual(self.prefixes(), ["selectable,1"] * 3)

    def test_loss_interrupted(self) -> None:
        """
        An interruption from the keyboard is not swallowed where a connection is lost.
        """

        class Interrupting(Selectable):
            """
            One that is interrupted as it is lost.
            """

            def connectionLost(self, reason: Failure) -> None:
                """
                Be interrupted.
                """
                raise KeyboardInterrupt

        for read in (lambda: CONNECTION_LOST, fail):
            self.readable(read, Interrupting)
            self.assertRaises(KeyboardInterrupt, self.reactor.doIteration, 0)
        self.assertEqual(len(self.flushLoggedErrors(OwnError)), 1)

    def test_gone_in_the_same_turn(self) -> None:
        """
        What another selectable has taken out of the reactor is left alone.
        """
        both: list[Selectable] = []

        def take_the_other() -> None:
            for each in both:
                if not each.told:
                    self.reactor.removeReader(each)

        both += [self.readable(take_the_other) for _ in range(2)]
        settle(self.reactor)
        self.assertEqual(sorted(len(each.told) > 0 for each in both), [False, True])

    def test_closed(self) -> None:
        """
        What has lost its descriptor is not read, but lost.
        """

        class Closed(Selectable):
            """
            One whose descriptor goes, and which forgets to say so.
            """

            gone = False

            def fileno(self) -> int:
                """
                Tell, as long as there is one.
                """
                return -1 if self.gone else super().fileno()

        for writes in (False, True):
            selectable = self.readable(kind=Closed)
            if writes:
                self.reactor.addWriter(selectable)
            Closed.gone = True
            self.addCleanup(setattr, Closed, "gone", False)
            settle(self.reactor)
            self.assertEqual(selectable.told, ["ConnectionFdescWentAway"])
            Closed.gone = False

    def test_fileno_raises(self) -> None:
        """
        What can't tell its descriptor is logged and lost.
        """

        class Broken(Selectable):
            """
            One that does not know its descriptor any more.
            """

            asked = 0

            def fileno(self) -> int:
                """
                Tell, but fail when the reactor is about to read.
                """
                self.asked += 1
                if self.asked == 2:
                    raise OwnError
                return super().fileno()

        selectable = self.readable(kind=Broken)
        settle(self.reactor)
        self.assertEqual(selectable.told, ["OwnError"])
        self.assertEqual(len(self.flushLoggedErrors(OwnError)), 1)
        self.assertEqual(self.prefixes(), ["selectable,1"])

    def test_reset(self) -> None:
        """
        A connection that is reset is lost, whatever it waits for.
        """
        for reads, writes, told in (
            (True, False, ["read", "ConnectionLost"]),
            (True, True, ["read", "ConnectionLost"]),
            (False, True, ["ConnectionLost"]),
        ):
            ours, theirs = self.ends()
            selectable = Selectable(ours, lambda: CONNECTION_LOST)
            if reads:
                self.reactor.addReader(selectable)
            if writes:
                self.reactor.addWriter(selectable)
            reset(theirs)
            settle(self.reactor)
            self.assertEqual(selectable.told, told)

    def test_hung_up(self) -> None:
        """
        A pipe whose other end is closed has ended.
        """
        read, write = os.pipe()
        os.close(write)
        with os.fdopen(read) as pipe:
            end: Any = pipe
            selectable = HalfCloseable(end, lambda: None)
            self.reactor.addReader(selectable)
            settle(self.reactor)
            self.assertEqual(selectable.told, ["read-lost"])

    def test_interrupted(self) -> None:
        """
        A signal that interrupts waiting does no harm; another error is told.
        """
        real = self.reactor._poller
        try:
            self.reactor._poller = Poller(errno.EINTR)
            self.reactor.doIteration(0)
            self.reactor._poller = Poller(errno.EBADF)
            self.assertRaises(OSError, self.reactor.doIteration, 0)
        finally:
            self.reactor._poller = real

    def test_calls(self) -> None:
        """
        Delayed calls and calls from threads come between events.
        """
        called: list[str] = []
        self.reactor.callLater(0, called.append, "later")
        self.reactor.callFromThread(called.append, "from a thread")
        self.reactor.iterate(0)
        self.assertEqual(sorted(called), ["from a thread", "later"])

    def test_waits(self) -> None:
        """
        Without anything to do it waits, until a thread wakes it.
        """
        self.reactor.callFromThread(lambda: None)
        self.reactor.doIteration(None)
        self.assertEqual(self.reactor.getReaders(), [self.reactor.waker])


class PlainReadsReactorTests(ReactorTests):
    """
    Tests for C{mdproxy-epoll}.
    """

    kind = PlainReadsReactor

    def test_end_of_turn(self) -> None:
        """
        What events ask for is called once, behind all of them.
        """
        called: list[str] = []

        def read() -> None:
            called.append("read")
            self.reactor.callAtTurnEnd(lambda: called.append("end"))

        both = [self.readable(read) for _ in range(2)]
        self.reactor.iterate(0)
        self.assertEqual(called, ["read", "read", "end", "end"])
        for each in both:
            self.reactor.removeReader(each)
        settle(self.reactor)
        self.assertEqual(len(called), 4)

    def test_context(self) -> None:
        """
        What a plain read logs in the old way has no prefix, nor has that of a
        connection that both sides have closed; in a write it has.
        """
        selectable = self.readable(lambda: log.msg("read"))
        self.reactor.iterate(0)
        self.reactor.addWriter(selectable)
        self.reactor.iterate(0)
        self.reactor.removeReader(selectable)
        self.reactor.removeWriter(selectable)
        ours, theirs = self.ends()
        for end in (ours, theirs):
            end.shutdown(socket.SHUT_WR)
        self.reactor.addReader(Selectable(ours, lambda: log.msg("read the end")))
        self.reactor.iterate(0)
        self.assertEqual(self.prefixes(), ["-", "selectable,1", "-"])

    def test_between_turns(self) -> None:
        """
        What a delayed call asks for is called before anything is waited for, and so is
        what that asks for in turn.
        """
        called: list[str] = []

        def end() -> None:
            called.append("end")
            self.reactor.callAtTurnEnd(lambda: called.append("end again"))
            self.reactor.callLater(0, called.append, "later")

        self.reactor.callAtTurnEnd(end)
        # It would wait for ever.
        self.reactor.doIteration(None)
        self.assertEqual(called, ["end", "end again"])
        self.reactor.iterate(0)
        self.assertEqual(called, ["end", "end again", "later"])

    def test_end_of_turn_fails(self) -> None:
        """
        One that fails is logged, and the others are called.
        """
        called: list[str] = []
        for call in (fail, lambda: called.append("end")):
            self.reactor.callAtTurnEnd(call)
        self.reactor.doIteration(0)
        self.assertEqual(called, ["end"])
        self.assertEqual(len(self.flushLoggedErrors(OwnError)), 1)


class OtherTwistedTests(ReactorTests):
    """
    Tests for C{mdproxy-epoll} where Twisted lacks a name that it needs.
    """

    kind = staticmethod(lambda: PlainReadsReactor(["_poller", "_gone"]))

    def test_end_of_turn(self) -> None:
        """
        What is to be called at the end of a turn is called with the next one.
        """
        called: list[str] = []
        self.reactor.callAtTurnEnd(lambda: called.append("end"))
        self.reactor.iterate(0)
        self.assertEqual(called, ["end"])

    def test_said(self) -> None:
        """
        The operator is told that it is the stock reactor.
        """
        with turning(type(self).kind):
            ((_, names),) = [(e["log_level"], e["names"]) for e in self.logged]
        self.assertEqual(names, "_gone")


class PluginTests(SynchronousTestCase):
    """
    Tests for choosing the reactor by its name.
    """

    def test_listed(self) -> None:
        """
        C{twistd} knows it.
        """
        names = [plugin.shortName for plugin in getPlugins(IReactorInstaller)]
        self.assertEqual(names.count("mdproxy-epoll"), 1)

    def test_installed(self) -> None:
        """
        Choosing it makes it the reactor, which runs.
        """
        self.run_with("reactor.callLater(0, reactor.stop)")

    def test_signals(self) -> None:
        """
        A signal that comes while it waits ends it in order.
        """
        self.run_with(
            "import os, signal, threading\n"
            "me = os.getpid(), signal.SIGTERM\n"
            "reactor.callWhenRunning(threading.Thread(target=os.kill, args=me).start)"
        )

    def run_with(self, what: str) -> None:
        """
        Run it in a process of its own until it stops.
        """
        program = (
            "from twisted.application.reactors import installReactor\n"
            "chosen = installReactor('mdproxy-epoll')\n"
            "from twisted.internet import reactor\n"
            "assert reactor is chosen\n"
            f"{what}\n"
            "reactor.run()\n"
            "print(type(reactor).__name__)\n"
        )
        said = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        self.assertEqual((said.stdout, said.stderr), ("PlainReadsReactor\n", ""))
