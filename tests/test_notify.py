"""
Tests for L{mdproxy.notify}.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from mdproxy.notify import Asked, Notify, asked_by, make_notify, sentence_of
from tests.secrecy import SecrecyTestCase
from tests.twistd import Twistd, write_config


class AskedTests(SecrecyTestCase):
    """
    Tests for L{asked_by}.
    """

    def assert_asked(
        self, environ: Mapping[str, str], address: str | None, beat: float | None
    ) -> None:
        """
        An environment asks for this.
        """
        self.assertEqual(asked_by(environ, 7), Asked(address, beat), environ)

    def test_nobody(self) -> None:
        """
        Without a socket nothing is wanted, a watchdog neither.
        """
        for environ in ({}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "30000000"}):
            self.assert_asked(environ, None, None)
        self.assertEqual(self.events, [])

    def test_places(self) -> None:
        """
        The socket has a path, or it is abstract.
        """
        self.assert_asked({"NOTIFY_SOCKET": "/run/n"}, "/run/n", None)
        self.assert_asked({"NOTIFY_SOCKET": "@/org/n"}, "\0/org/n", None)

    def test_strange_place(self) -> None:
        """
        Any other socket is none of ours, and that is said.
        """
        for place in ("vsock:2:1234", "run/n"):
            self.assert_asked({"NOTIFY_SOCKET": place}, None, None)
        self.assertEqual([level for level, _ in self.logged()], ["warn", "warn"])

    def test_watchdog(self) -> None:
        """
        Twice in the time that systemd waits we say that we live; if we are meant.
        """
        for more, beat in (
            ({}, 15.0),
            ({"WATCHDOG_PID": "7"}, 15.0),
            ({"WATCHDOG_PID": "8"}, None),
        ):
            environ = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "30000000", **more}
            self.assert_asked(environ, "/n", beat)
        self.assertEqual(self.events, [])

    def test_broken_watchdog(self) -> None:
        """
        What is no time is no watchdog, and that is said.
        """
        for after in ("", "0", "-1", "1.5", "soon", "\N{SUPERSCRIPT TWO}"):
            environ = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": after}
            self.assert_asked(environ, "/n", None)
        self.assertEqual({level for level, _ in self.logged()}, {"warn"})
        self.assertEqual(len(self.logged()), 6)


@define
class _Readiness:
    """
    Stands in for the view.
    """

    reasons: list[str]

    def readiness(self) -> Mapping[str, Any]:
        """
        Say what is in the way.
        """
        return {"ready": not self.reasons, "reasons": self.reasons, "checks": []}


class SentenceTests(SecrecyTestCase):
    """
    Tests for L{sentence_of}.
    """

    def test_sentences(self) -> None:
        """
        One reason is told, and how many more there are.
        """
        view = _Readiness([])
        sentence = sentence_of(cast(Any, view))
        said = []
        for reasons in ([], ["no Nova"], ["no Nova", "no port", "no fun"]):
            view.reasons = reasons
            said.append(sentence())
        self.assertEqual(
            said, ["instances are served", "no Nova", "no Nova (and 2 more)"]
        )


class NotifyTests(SecrecyTestCase):
    """
    Tests for L{Notify}, with a socket that hears it.
    """

    def setUp(self) -> None:
        """
        Listen as systemd does.
        """
        super().setUp()
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        # A path from the root may not fit into a socket's name.
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)
        self.listen("n")
        self.reactor = MemoryReactorClock()
        self.how = "all is well"
        self.fault: Exception | None = None

    def listen(self, place: str) -> None:
        """
        Listen somewhere.
        """
        self.hearing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.hearing.close)
        self.hearing.setblocking(False)
        self.hearing.bind(place)

    def sentence(self) -> str:
        """
        Say how things are.
        """
        if self.fault is not None:
            raise self.fault
        return self.how

    def start(self, beat: float | None = None, address: str | None = "n") -> Notify:
        """
        Start it, without the reactor.
        """
        notify = Notify(Asked(address, beat), self.reactor, self.sentence)
        notify.startService()
        self.addCleanup(notify.stopService)
        return notify

    def run_reactor(self) -> None:
        """
        Do what is to be done when the reactor runs.
        """
        for call, args, kwargs in self.reactor.whenRunningHooks:
            call(*args, **kwargs)

    def heard(self) -> list[str]:
        """
        Read what was told since the last time.
        """
        heard = []
        try:
            while True:
                heard.append(self.hearing.recv(4096).decode())
        except BlockingIOError:
            return heard

    def test_ready(self) -> None:
        """
        That we are ready is told when the reactor runs and not before, with how things
        are.
        """
        self.start()
        self.assertEqual(self.heard(), [])
        self.run_reactor()
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=all is well"])

    def test_abstract(self) -> None:
        """
        The same at a socket without a file.
        """
        place = f"\0mdproxy-test-{os.getpid()}"
        self.listen(place)
        self.start(address=place)
        self.run_reactor()
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=all is well"])

    def test_status(self) -> None:
        """
        How things are is told again when that has changed, and at no other time.
        """
        self.start()
        self.run_reactor()
        self.heard()
        self.reactor.advance(5)
        self.assertEqual(self.heard(), [])
        self.how = "Nova is away\nREADY=1"
        self.reactor.pump([5, 5])
        self.assertEqual(self.heard(), ["STATUS=Nova is away\\nREADY=1"])

    def test_lives(self) -> None:
        """
        A watchdog is told again and again that the loop turns.
        """
        self.start(beat=4)
        self.run_reactor()
        self.assertEqual(len(self.heard()), 1)
        self.reactor.pump([3.9, 0.1, 4])
        self.assertEqual(self.heard(), ["WATCHDOG=1"] * 2)

    def test_speechless(self) -> None:
        """
        Where it can't be said how things are the watchdog is told that we live all the
        same; the fault is logged once.
        """
        self.fault = RuntimeError("oops")
        self.start(beat=4)
        self.run_reactor()
        self.reactor.pump([4, 4])
        self.assertEqual(
            self.heard(), ["READY=1\nWATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
        )
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_reload(self) -> None:
        """
        That the configuration is read again is told before and after.
        """
        notify = self.start()
        self.run_reactor()
        self.heard()
        seen: list[str] = []
        notify.around(lambda: seen.extend(self.heard()))
        self.assertEqual(seen, ["RELOADING=1"])
        self.assertEqual(self.heard(), ["READY=1"])

    def test_broken_reload(self) -> None:
        """
        Also after one that breaks.
        """

        def breaks() -> None:
            """
            Break.
            """
            raise RuntimeError("oops")

        notify = self.start()
        self.run_reactor()
        self.heard()
        self.assertRaises(RuntimeError, notify.around, breaks)
        self.assertEqual(self.heard(), ["RELOADING=1", "READY=1"])

    def test_early_reload(self) -> None:
        """
        A reload before we are ready does not make us so.
        """
        notify = self.start()
        read: list[int] = []
        notify.around(lambda: read.append(1))
        self.assertEqual((read, self.heard()), ([1], []))

    def test_stops(self) -> None:
        """
        That we stop is told, and then nothing more.
        """
        notify = self.start(beat=4)
        self.run_reactor()
        self.heard()
        notify.stopService()
        self.assertEqual(
            self.heard(), ["STOPPING=1\nSTATUS=finishing what is in flight"]
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        notify.around(lambda: None)
        self.assertEqual(self.heard(), [])

    def test_stops_at_once(self) -> None:
        """
        Stopped before the reactor runs, it never was ready.
        """
        notify = self.start()
        notify.stopService()
        self.heard()
        self.run_reactor()
        self.assertEqual(self.heard(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_starts_again(self) -> None:
        """
        Stopped and started before the reactor runs, it says everything once.
        """
        notify = self.start()
        notify.stopService()
        notify.startService()
        self.heard()
        self.run_reactor()
        self.assertEqual(len(self.heard()), 1)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_nobody(self) -> None:
        """
        Where nobody listens nothing is done.
        """
        notify = self.start(address=None)
        self.assertEqual(self.reactor.whenRunningHooks, [])
        read: list[int] = []
        notify.around(lambda: read.append(1))
        notify.stopService()
        self.assertEqual((read, self.heard(), self.events), ([1], [], []))

    def test_deaf(self) -> None:
        """
        What systemd did not hear it is told again; that is logged once.
        """
        os.rename("n", "m")
        self.start(beat=4)
        self.run_reactor()
        self.reactor.advance(4)
        self.assertEqual([level for level, _ in self.logged()], ["warn"])
        os.rename("m", "n")
        self.reactor.advance(4)
        self.assertEqual(self.heard(), ["READY=1\nWATCHDOG=1\nSTATUS=all is well"])

    def test_full(self) -> None:
        """
        A systemd that is too busy to listen holds nothing up.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as busy:
            busy.setblocking(False)
            self.fill(busy)
        notify = self.start(beat=4)
        self.run_reactor()
        self.assertIn("does not hear us", self.logged()[0][1])
        self.assertNotIn("READY=1", "".join(self.heard()))
        self.reactor.advance(4)
        self.assertIn("READY=1", "".join(self.heard()))
        notify.stopService()

    def fill(self, busy: socket.socket) -> None:
        """
        Send until no more is taken.
        """
        try:
            while True:
                busy.sendto(b"x", "n")
        except BlockingIOError:
            return

    def test_made(self) -> None:
        """
        It is made from the environment, and is for this very process.
        """
        environ = {
            "NOTIFY_SOCKET": str(Path("n").resolve()),
            "WATCHDOG_USEC": "8000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        made = make_notify(environ, self.reactor, self.sentence)
        self.assertEqual(made._asked, Asked(environ["NOTIFY_SOCKET"], 4.0))


class Hearing(DatagramProtocol):
    """
    Hears what systemd would be told.

    @ivar heard: All of it.
    """

    def __init__(self) -> None:
        """
        Begin.
        """
        self.heard = ""
        self._waiting: list[tuple[str, Deferred[None]]] = []

    def datagramReceived(self, datagram: bytes, _address: Any) -> None:
        """
        Hear something.
        """
        self.heard += datagram.decode() + "\n"
        waiting, self._waiting = self._waiting, []
        for text, each in waiting:
            if text in self.heard:
                each.callback(None)
            else:
                self._waiting.append((text, each))

    def hears(self, text: str) -> Deferred[None]:
        """
        Wait until something was told.
        """
        waiting: Deferred[None] = Deferred()
        self._waiting.append((text, waiting))
        return waiting


class ProcessTests(TestCase):
    """
    The service as systemd starts it.
    """

    timeout = 60

    async def test_told(self) -> None:
        """
        It is ready when its listeners are open and not before, says that it lives, and
        tells of a reload and of its end.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        place = f"{directory.name}/notify"
        hearing = Hearing()
        listening = cast(Any, reactor).listenUNIXDatagram(place, hearing)
        self.addCleanup(listening.stopListening)
        says = write_config(Path(self.mktemp()))
        twistd = Twistd()
        self.addCleanup(twistd.kill)
        ready = hearing.hears("READY=1\nWATCHDOG=1\nSTATUS=")
        process = twistd.execute(
            [
                *("/usr/bin/env", f"NOTIFY_SOCKET={place}", "WATCHDOG_USEC=100000"),
                *(sys.executable, "-m", "twisted", "mdproxy"),
                *("--config-file", str(says["config"])),
            ]
        )
        await ready
        socket.create_connection(("127.0.0.1", says["port"])).close()
        await hearing.hears("\nWATCHDOG=1\nWATCHDOG=1\n")
        process.signalProcess("HUP")
        await hearing.hears("RELOADING=1\nREADY=1\n")
        process.signalProcess("TERM")
        await hearing.hears("STOPPING=1\n")
        self.assertEqual(await twistd.ended, 0, twistd.said)
