"""
Tests for L{mdproxy.openers}.

That sockets are opened in the right namespace is tested where there are some, in
L{tests.lab.test_openers}.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from typing import Any, cast

from attrs import define, field
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mdproxy import broker
from mdproxy.broker import ROUTE, Want
from mdproxy.openers import (
    BrokerOpener,
    InPlaceOpener,
    Opened,
    Opener,
    Opening,
    broker_command,
    cookie_of,
    identity_of,
)
from mdproxy.testing import FakeOpener
from tests.opening import RULES, OpenerContract
from tests.secrecy import SecrecyTestCase


class IdentityTests(SynchronousTestCase):
    """
    Tests for L{identity_of} and L{cookie_of}.
    """

    def test_namespace(self) -> None:
        """
        A namespace is told by device and inode, whatever name it goes by.
        """
        own = identity_of("/proc/self/ns/net")
        assert own is not None
        self.assertEqual(own[1], os.stat("/proc/self/ns/net").st_ino)
        self.assertEqual(identity_of("/proc/thread-self/ns/net"), own)

    def test_none(self) -> None:
        """
        A plain file, a folder and a pipe are none; to look at them takes no time.
        """
        pipe = self.mktemp()
        os.mkfifo(pipe)
        for path in (__file__, "/", pipe):
            self.assertIsNone(identity_of(path))

    def test_missing(self) -> None:
        """
        What is not there is told as such.
        """
        self.assertRaises(FileNotFoundError, identity_of, "/nowhere/at/all")

    def test_cookie(self) -> None:
        """
        Sockets of one namespace have the same cookie, of whatever kind they are.
        """
        kinds: Any = (
            (socket.AF_INET, socket.SOCK_STREAM),
            (socket.AF_INET6, socket.SOCK_STREAM),
            (socket.AF_NETLINK, socket.SOCK_RAW),
        )
        cookies = set()
        for kind in kinds:
            with socket.socket(*kind) as opened:
                cookies.add(cookie_of(opened))
        self.assertEqual(len(cookies), 1)

    def test_no_cookie(self) -> None:
        """
        A kernel that does not tell has none.
        """

        class Old:
            def getsockopt(self, *_: int) -> bytes:
                raise OSError(errno.ENOPROTOOPT, "Protocol not available")

        self.assertIsNone(cookie_of(cast(Any, Old())))


class InPlaceOpenerTests(OpenerContract, SynchronousTestCase):
    """
    Tests for L{InPlaceOpener}, on a directory without namespaces.
    """

    def make_opener(self) -> Opener:
        """
        Provide L{OpenerContract.make_opener}.
        """
        return InPlaceOpener(RULES, self.directory)


class FakeOpenerTests(OpenerContract, SynchronousTestCase):
    """
    Tests for L{FakeOpener<mdproxy.testing.FakeOpener>}.
    """

    def make_opener(self) -> Opener:
        """
        Provide L{OpenerContract.make_opener}.
        """
        return FakeOpener(RULES, {"qdhcp-plain": (0, 0)})


class BrokerOpenerTests(OpenerContract, SecrecyTestCase):
    """
    Tests for L{BrokerOpener}, with the real broker, which needs no privilege as long as
    there is nothing to enter.
    """

    def setUp(self) -> None:
        """
        Have a reactor that remembers whom it tells.
        """
        super().setUp()
        self.reactor = MemoryReactor()

    def make_opener(self) -> BrokerOpener:
        """
        Provide L{OpenerContract.make_opener}.
        """
        reactor: Any = self.reactor
        return BrokerOpener(RULES, reactor, self.directory)

    def started(self) -> tuple[BrokerOpener, int]:
        """
        Start one.

        @return: It, and the broker's process id.
        """
        opener = self.make_opener()
        opener.start()
        self.addCleanup(opener.stop)
        assert opener._process is not None
        return opener, opener._process.pid

    def ask(self, opener: Opener) -> int:
        """
        Ask for something that isn't there.

        @return: The error's number.
        """
        try:
            (error,) = opener.open("qdhcp-none", (1, 2), [Want(ROUTE)])
        except OSError as raised:
            error = raised
        assert isinstance(error, OSError)
        return error.errno or 0

    def test_command(self) -> None:
        """
        The broker is started without anything that the environment, the working
        directory or installed packages could bring along.
        """
        command = broker_command(7, "/run/netns", RULES)
        self.assertEqual(command[1:4], ["-I", "-S", "-B"])
        self.assertEqual(command[4:7], [broker.__file__, "7", "/run/netns"])

    def test_ends_with_us(self) -> None:
        """
        When it is stopped the broker ends, with status 0, and the reactor watches
        nothing any more.
        """
        opener, _pid = self.started()
        self.assertEqual(self.reactor.getReaders(), [opener])
        process = opener._process
        assert process is not None
        opener.stop()
        self.assertEqual(process.wait(10), 0)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.logged(), [])

    def test_signals(self) -> None:
        """
        What ends us does not end the broker, for we may have work left.
        """
        opener, pid = self.started()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
            self.assertEqual(self.ask(opener), errno.ENOENT)

    def test_died(self) -> None:
        """
        Where the broker has ended that is a problem, told once, and nothing is opened;
        the reactor tells of it, or else the next question.
        """
        for find_out in (BrokerOpener.doRead, self.ask):
            opener, pid = self.started()
            os.kill(pid, signal.SIGKILL)
            assert opener._process is not None
            opener._process.wait(10)
            cast(Any, find_out)(opener)
            problem = opener.problem
            assert problem is not None
            self.assertIn("the broker has ended: what listens goes on", problem)
            self.assertEqual(self.ask(opener), errno.EPIPE)
            opener.doRead()
            self.assertEqual(self.logged(), [("error", problem)])
            self.events.clear()
            self.assertEqual((opener.fileno(), self.reactor.getReaders()), (-1, []))
            self.assertEqual(opener.logPrefix(), "broker")

    def test_hangs(self) -> None:
        """
        A broker that does not answer is waited for once, and not asked again before it
        has answered; what it opened too late is closed.
        """
        opener, pid = self.started()
        opener._patience = 0.05
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        self.assertEqual(self.ask(opener), errno.ETIMEDOUT)
        opener._patience = 1000
        self.assertEqual(self.ask(opener), errno.ETIMEDOUT)
        self.assertEqual(opener.problem, "the broker did not answer within 0.05 s")
        opener.doRead()
        self.assertIsNotNone(opener.problem)
        os.kill(pid, signal.SIGCONT)
        channel = opener._channel
        assert channel is not None
        channel.settimeout(10)
        channel.recv(1, socket.MSG_PEEK)
        opener.doRead()
        self.assertIsNone(opener.problem)
        self.assertEqual(self.ask(opener), errno.ENOENT)
        self.assertEqual(
            self.logged(),
            [
                ("error", "the broker did not answer within 0.05 s"),
                ("info", "the broker answers again"),
            ],
        )

    def test_never_started(self) -> None:
        """
        A broker that can't be started, or ends as it starts, is a problem.
        """
        opener = self.make_opener()
        opener._rules = cast(Any, "no rules")
        opener.start()
        self.assertIn("the broker ended as it started", opener.problem or "")
        self.assertEqual(self.ask(opener), errno.EPIPE)
        self.patch(sys, "executable", "/nowhere/at/all")
        opener = self.make_opener()
        opener.start()
        self.assertIn("can't be started (No such file", opener.problem or "")
        self.assertEqual(self.ask(opener), errno.EPIPE)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_reactor_stops(self) -> None:
        """
        When the reactor stops the broker is let go, without a word.
        """
        opener, _pid = self.started()
        opener.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.ask(opener), errno.EPIPE)
        self.assertEqual(self.logged(), [])


@define
class Counted:
    """
    An opener that counts.

    @ivar calls: What was called.
    """

    problem: str | None = None
    calls: list[str] = field(factory=list)

    def start(self) -> None:
        """
        Provide L{Opener.start}.
        """
        self.calls.append("start")

    def stop(self) -> None:
        """
        Provide L{Opener.stop}.
        """
        self.calls.append("stop")

    def open(self, namespace: str, identity: Any, wanted: Any) -> Opened:
        """
        Provide L{Opener.open}.
        """
        raise NotImplementedError


class OpeningTests(SynchronousTestCase):
    """
    Tests for L{Opening}.
    """

    def test_life(self) -> None:
        """
        The opener is started while we are privileged, and stopped with the service.
        """
        opener = Counted()
        opening = Opening(opener)
        opening.privilegedStartService()
        self.assertEqual(opener.calls, ["start"])
        opening.startService()
        opening.stopService()
        self.assertEqual(opener.calls, ["start", "start", "stop"])
