"""
Tests for L{mdproxy.life}.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from mdproxy.http.front import ChannelBounds, Front
from mdproxy.http.server import Channel
from mdproxy.life import (
    FrontService,
    InOrder,
    Signals,
    raise_file_limit,
    settle_memory,
)
from mdproxy.limits import Shares
from mdproxy.model import Caller
from mdproxy.sweep import Sweep
from tests.playbook import Script, Wire
from tests.secrecy import SecrecyTestCase

#: A process whose wall clock is set after a timer for a moment and one for an hour
#: were started; it ends with the first, and says whether the second went off.
CLOCK = """
import sys
import time

wall, shift = time.time, [0.0]
time.time = lambda: wall() + shift[0]
from twisted.internet import reactor
from mdproxy.life import go_by_steady_time

went_off = []
go_by_steady_time(reactor)
reactor.callLater(0.1, reactor.stop)
reactor.callLater(3600, went_off.append, "late")
reactor.callWhenRunning(shift.__setitem__, 0, float(sys.argv[1]))
reactor.run()
print(went_off)
"""


class SteadyTimeTests(SecrecyTestCase):
    """
    Tests for L{go_by_steady_time<mdproxy.life.go_by_steady_time>}.
    """

    def test_the_clock_is_set(self) -> None:
        """
        D11: Where the wall clock is set by a day, back or forward, timers go off when
        their time has passed, and no others do.
        """
        for days in (-1, 1):
            found = subprocess.run(
                [sys.executable, "-c", CLOCK, str(days * 86400)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=subprocess.PIPE,
                timeout=60,
                check=True,
            )
            self.assertEqual(found.stdout, b"[]\n")


class FileLimitTests(SecrecyTestCase):
    """
    Tests for L{raise_file_limit}.
    """

    def raised(self, soft: int, hard: int, fault: Exception | None = None) -> Any:
        """
        Raise a limit.

        @return: What it is then, and what was asked for.
        """
        asked: list[tuple[int, int]] = []

        def put(_which: int, limits: tuple[int, int]) -> None:
            asked.append(limits)
            if fault is not None:
                raise fault

        return raise_file_limit(lambda _which: (soft, hard), put), asked

    def test_raised(self) -> None:
        """
        The limit that counts becomes the highest that there may be.
        """
        self.assertEqual(self.raised(1024, 65536), (65536, [(65536, 65536)]))

    def test_high_already(self) -> None:
        """
        Where it is that nothing is done.
        """
        self.assertEqual(self.raised(65536, 65536), (65536, []))

    def test_not_to_be_raised(self) -> None:
        """
        Where it can't be raised it stays.
        """
        for fault in (OSError(), ValueError()):
            self.assertEqual(self.raised(1024, 65536, fault), (1024, [(65536, 65536)]))


class SettleMemoryTests(SecrecyTestCase):
    """
    Tests for L{settle_memory}.
    """

    def tearDown(self) -> None:
        """
        Let the collector look at everything again.
        """
        gc.unfreeze()

    def test_settled(self) -> None:
        """
        The C library is told to give back what is free, and what is there is frozen.
        """
        trimmed: list[int] = []

        class Libc:
            """
            A C library that can.
            """

            def malloc_trim(self, keep: int) -> None:
                """
                Give back what is free, but so many bytes.
                """
                trimmed.append(keep)

        settle_memory(Libc())
        self.assertEqual(trimmed, [0])
        self.assertGreater(gc.get_freeze_count(), 0)

    def test_another_library(self) -> None:
        """
        One that can't keeps nothing else from being done; the real one is asked, too.
        """
        for libc in (object(), None):
            gc.unfreeze()
            settle_memory(libc)
            self.assertGreater(gc.get_freeze_count(), 0)


class Part(Service):
    """
    A service that notes when it starts and stops, and may take its time.
    """

    def __init__(self, name: str, told: list[str], slow: bool = False) -> None:
        """
        Be told of.
        """
        self.word = name
        self._told = told
        self.stopped: Deferred[None] | None = Deferred() if slow else None
        self.fault: Exception | None = None

    def startService(self) -> None:
        """
        Start.
        """
        super().startService()
        self._told.append(f"start {self.word}")

    def stopService(self) -> Deferred[None] | None:
        """
        Stop, at once or later.
        """
        super().stopService()
        self._told.append(f"stop {self.word}")
        if self.fault is not None:
            raise self.fault
        return self.stopped


class InOrderTests(SecrecyTestCase):
    """
    Tests for L{InOrder}.
    """

    def make(self, *slow: str) -> InOrder:
        """
        Make three parts of which some are slow to stop, and start them.
        """
        self.told: list[str] = []
        service = InOrder()
        self.parts = {
            name: Part(name, self.told, name in slow) for name in ("a", "b", "c")
        }
        for part in self.parts.values():
            part.setServiceParent(service)
        service.startService()
        return service

    def test_order(self) -> None:
        """
        The first is started first and stopped last.
        """
        service = self.make()
        self.assertEqual(self.told, ["start a", "start b", "start c"])
        self.told.clear()
        self.successResultOf(service.stopService())
        self.assertEqual(self.told, ["stop c", "stop b", "stop a"])
        self.assertEqual([p.running for p in self.parts.values()], [0, 0, 0])
        self.assertFalse(service.running)

    def test_waits(self) -> None:
        """
        None is stopped before those after it have stopped; the end is that of the
        first.
        """
        service = self.make("a", "c")
        self.told.clear()
        stopped = service.stopService()
        self.assertEqual(self.told, ["stop c"])
        first, last = self.parts["a"].stopped, self.parts["c"].stopped
        assert first is not None and last is not None
        last.callback(None)
        self.assertEqual(self.told, ["stop c", "stop b", "stop a"])
        self.assertNoResult(stopped)
        first.callback(None)
        self.successResultOf(stopped)

    def test_one_fails(self) -> None:
        """
        One that can't be stopped is told of, and does not keep the others running.
        """
        service = self.make("c")
        self.parts["b"].fault = ValueError("broken")
        self.told.clear()
        stopped = service.stopService()
        last = self.parts["c"].stopped
        assert last is not None
        last.errback(Failure(KeyError("broken too")))
        self.assertEqual(self.told, ["stop c", "stop b", "stop a"])
        self.successResultOf(stopped)
        faults = self.flushLoggedErrors(ValueError, KeyError)
        self.assertEqual([f.type for f in faults], [KeyError, ValueError])

    def test_inside_another(self) -> None:
        """
        It is a service among others: whoever holds it waits for it.
        """
        service = self.make("a")
        outer = MultiService()
        service.setServiceParent(outer)
        stopped = outer.stopService()
        self.assertNoResult(stopped)
        first = self.parts["a"].stopped
        assert first is not None
        first.callback(None)
        self.successResultOf(stopped)


class Pool:
    """
    An upstream as far as its end goes.
    """

    closed = 0

    def close(self) -> None:
        """
        Provide C{Upstream.close}.
        """
        self.closed += 1


class FrontServiceTests(SecrecyTestCase):
    """
    Tests for L{FrontService}.
    """

    def setUp(self) -> None:
        """
        Have a front of which one connection rests and one is being answered.
        """
        super().setUp()
        self.clock = Clock()
        self.script = Script()
        self.front = Front(
            self.script, self.clock, Sweep(self.clock), ChannelBounds(), Shares(9, 9, 9)
        )
        self.pool = Pool()
        self.service = FrontService(self.front, cast(Any, self.pool), self.clock, 30)
        self.service.startService()

    def connect(self, asks: bool) -> Wire:
        """
        Have somebody connect, and perhaps ask.
        """
        channel = Channel(self.front, lambda _: Caller("red", "10.0.0.5", None))
        wire = Wire(channel)
        channel.makeConnection(wire)
        if asks:
            channel.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return wire

    def test_nothing_in_flight(self) -> None:
        """
        Without any connection it ends at once, and closes the connections to Nova.
        """
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.pool.closed, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_drains(self) -> None:
        """
        Connections at rest are closed; what is in flight is finished, and said to be
        the last; only then is Nova let go.
        """
        resting, asking = self.connect(False), self.connect(True)
        stopped = self.service.stopService()
        resting.settle()
        self.assertEqual(resting.closed, "ConnectionDone")
        self.clock.advance(29)
        self.assertNoResult(stopped)
        self.assertEqual(self.pool.closed, 0)
        self.script.asked[0].answer(b"whole")
        asking.settle()
        self.assertIn(b"\r\nConnection: close\r\n", asking.seen)
        self.assertTrue(asking.seen.endswith(b"\r\n\r\nwhole"))
        asking.lose(ConnectionResetError())
        asking.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.pool.closed, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.logged(), [])

    def test_gives_up(self) -> None:
        """
        What has not ended in time is broken, with a line in the log that says how much.
        """
        resting = self.connect(False)
        asking = [self.connect(True) for _ in range(3)]
        stopped = self.service.stopService()
        resting.settle()
        self.clock.advance(30)
        self.assertEqual(
            self.logged(),
            [("warn", "3 connections did not end in 30 seconds and are broken")],
        )
        for wire in asking:
            self.assertNoResult(stopped)
            wire.settle()
            self.assertEqual((wire.closed, wire.seen), ("ConnectionAborted", b""))
        self.successResultOf(stopped)
        self.assertEqual(self.pool.closed, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hurries(self) -> None:
        """
        When told to hurry everything is broken at once.
        """
        asking = self.connect(True)
        stopped = self.service.stopService()
        self.service.hurry()
        asking.settle()
        self.assertEqual(asking.closed, "ConnectionAborted")
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StoppableReactor(MemoryReactorClock):
    """
    A reactor that is running, notes that it is stopped, and calls from threads later.
    """

    def __init__(self) -> None:
        """
        Run.
        """
        super().__init__()
        self.stops = 0
        self.turn: list[Callable[[], None]] = []

    def stop(self) -> None:
        """
        Provide C{IReactorCore.stop}.
        """
        self.stops += 1

    def callFromThread(self, callable: Any, *args: object, **kwargs: object) -> None:
        """
        Provide C{IReactorFromThreads.callFromThread}.
        """
        self.turn.append(lambda: callable(*args, **kwargs))

    def go_on(self) -> None:
        """
        Do what was called from elsewhere.
        """
        turn, self.turn = self.turn, []
        for call in turn:
            call()


class SignalsTests(SecrecyTestCase):
    """
    Tests for L{Signals}; the handlers are called as Python would call them.
    """

    def setUp(self) -> None:
        """
        Take the signals, until the test is over.
        """
        super().setUp()
        self.told: list[str] = []
        self.renewing: Callable[[], None] = lambda: None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            before = signal.getsignal(number)
            self.addCleanup(signal.signal, number, before)
            signal.signal(number, signal.SIG_DFL)
        self.reactor = StoppableReactor()
        self.service = Signals(
            self.reactor,
            lambda: self.told.append("hurry"),
            self.renew,
        )

    def renew(self) -> None:
        """
        Be told to renew.
        """
        self.told.append("renew")
        self.renewing()

    def catch(self, number: signal.Signals) -> None:
        """
        Have a signal arrive.
        """
        handler = signal.getsignal(number)
        assert callable(handler), handler
        handler(number, None)

    def test_taken_when_running(self) -> None:
        """
        They are taken when the reactor runs, for it takes them itself when it starts.
        """
        self.service.startService()
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)
        self.reactor.run()
        self.assertNotEqual(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)

    def test_early_hangup(self) -> None:
        """
        SIGHUP is taken at the start, for the reactor leaves it alone; what comes before
        it runs is done when it does.
        """
        self.service.startService()
        self.catch(signal.SIGHUP)
        self.assertEqual(self.told, [])
        self.reactor.run()
        self.reactor.go_on()
        self.assertEqual(self.told, ["renew"])

    def start(self) -> None:
        """
        Start, and run.
        """
        self.service.startService()
        self.reactor.run()
        # That of memory stops when it has begun.
        self.reactor.stops = 0

    def test_stop(self) -> None:
        """
        SIGTERM and SIGINT stop the reactor, which is no error; in its own turn, not
        between two bytecodes.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self.setUp()
            self.start()
            self.catch(number)
            self.assertEqual((self.reactor.stops, self.told), (0, []))
            self.reactor.go_on()
            self.assertEqual((self.reactor.stops, self.told), (1, []))
            self.assertEqual(
                self.logged(),
                [("info", "stopping: what is in flight is finished first")],
            )

    def test_twice(self) -> None:
        """
        Told a second time it hurries, whichever signal it is; the reactor is stopped
        once.
        """
        self.start()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            self.catch(number)
            self.reactor.go_on()
        self.assertEqual((self.reactor.stops, self.told), (1, ["hurry", "hurry"]))

    def test_hangup(self) -> None:
        """
        SIGHUP renews and stops nothing, as often as it comes.
        """
        self.start()
        for _ in range(3):
            self.catch(signal.SIGHUP)
            self.assertNotEqual(self.reactor.turn, [])
            self.reactor.go_on()
        self.assertEqual((self.reactor.stops, self.told), (0, ["renew"] * 3))

    def test_many_hangups(self) -> None:
        """
        Many SIGHUPs before the reactor's turn renew once; one that comes while that is
        done renews once more, for it may tell of something newer.
        """
        self.start()
        for _ in range(3):
            self.catch(signal.SIGHUP)
        self.renewing = lambda: self.catch(signal.SIGHUP)
        self.reactor.go_on()
        self.assertEqual(self.told, ["renew"])
        self.renewing = lambda: None
        self.reactor.go_on()
        self.assertEqual(self.told, ["renew"] * 2)
        self.reactor.go_on()
        self.assertEqual(self.told, ["renew"] * 2)

    def test_hangup_at_the_end(self) -> None:
        """
        Nothing is renewed any more when it stops.
        """
        self.start()
        self.catch(signal.SIGTERM)
        self.catch(signal.SIGHUP)
        self.reactor.go_on()
        self.assertEqual((self.reactor.stops, self.told), (1, []))
        self.assertEqual(
            self.logged()[-1], ("info", "SIGHUP: nothing is read again while we stop")
        )
