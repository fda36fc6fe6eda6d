"""
Tests for L{mdproxy.agent_socket}.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from mdproxy.agent_socket import AgentSocket
from mdproxy.http.front import ChannelBounds
from mdproxy.limits import Shares
from mdproxy.listener_config import SocketConfig
from mdproxy.unix_sockets import Permissions, listen_at
from tests.playbook import Playbook
from tests.secrecy import SecrecyTestCase
from tests.test_http_relayed import BLUE, RED, Callers, asking

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class _Reactor(MemoryReactorClock):
    """
    A reactor whose loop turns when it is told to.
    """

    def turn(self) -> None:
        """
        Let everything happen that can.
        """
        for _ in range(4):
            for reader in list(self.getReaders()):
                why = reader.doRead()
                if why is not None:
                    self.removeReader(reader)
                    reader.connectionLost(Failure(why))
            self.advance(0)


class _Listening(SecrecyTestCase):
    """
    A listener.
    """

    allowed: tuple[int, ...] = ()

    def setUp(self) -> None:
        """
        Make the listener; it is not started.
        """
        super().setUp()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.reactor = _Reactor()
        self.book = Playbook(ChannelBounds(), Shares(9))
        self.book.script.at_once = b"ok"
        self.listener = self.make()

    def make(
        self, mode: str = "deduce", opened: socket.socket | None = None
    ) -> AgentSocket:
        """
        Make a listener.

        @param opened: What systemd made.
        """
        # Short, for a path of a socket can't be long.
        descriptor = os.open(self.directory, os.O_PATH)
        self.addCleanup(os.close, descriptor)
        self.path = f"/proc/self/fd/{descriptor}/metadata_proxy"
        config = SocketConfig("agent", self.path, mode, self.allowed, (), "mac")
        return AgentSocket(
            config, self.book.front, Callers(), self.reactor, opened=opened
        )

    def start(self) -> None:
        """
        Start it as C{twistd} does.
        """
        self.listener.privilegedStartService()
        self.listener.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """
        Stop it, and drop all connections.
        """
        if self.listener.running:
            self.listener.stopService()
        self.book.front.abort()
        self.reactor.turn()

    def connect(self) -> socket.socket:
        """
        Connect as a haproxy does.
        """
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(10)
        client.connect(self.path)
        self.reactor.turn()
        return client

    def problem(self) -> str:
        """
        Tell what is wrong with it.
        """
        return str(self.listener.describe()["problem"])

    def told(self, words: str) -> int:
        """
        Count the lines of the log that speak of something.
        """
        return sum(words in line for _level, line in self.logged())


class AgentSocketTests(_Listening):
    """
    What haproxies do with a listener.
    """

    def test_conversation(self) -> None:
        """
        Requests of several instances come on one connection, and each is answered.
        """
        self.start()
        client = self.connect()
        for address in (RED, BLUE, RED):
            client.sendall(asking(address))
            self.reactor.turn()
            self.assertEqual(client.recv(999), _ANSWER)
        self.assertEqual(
            [asked.caller.address for asked in self.book.script.asked], [RED, BLUE, RED]
        )

    def test_connection_ends(self) -> None:
        """
        A haproxy that closes its connection gives its place back.
        """
        self.start()
        client = self.connect()
        self.assertEqual(self.listener.describe()["connections"], 1)
        client.close()
        self.reactor.turn()
        self.assertEqual(self.listener.describe()["connections"], 0)

    def test_no_descriptors_are_taken(self) -> None:
        """
        Descriptors that come with a request are not kept.
        """
        self.start()
        client = self.connect()
        before = len(os.listdir("/proc/self/fd"))
        socket.send_fds(client, [asking(RED)], [0, 0, 0])
        self.reactor.turn()
        self.assertEqual(client.recv(999), _ANSWER)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_describe(self) -> None:
        """
        The operator sees where it listens and who may ask.
        """
        self.start()
        self.assertEqual(
            self.listener.describe(),
            {
                "name": "agent",
                "kind": "socket",
                "path": self.path,
                "allowed_uids": sorted({0, os.geteuid()}),
                "identify_by": "mac",
                "listening": [self.path],
                "connections": 0,
                "accepted": 0,
                "strangers": 0,
                "problem": None,
            },
        )

    def test_mode(self) -> None:
        """
        Its file has the mode that Neutron's would have.
        """
        self.listener = self.make("group")
        self.start()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o664)

    def test_stopped(self) -> None:
        """
        When it is stopped nobody can connect, and no file is left.
        """
        self.start()
        self.stop()
        self.assertEqual(os.listdir(self.directory), [])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_other_process(self) -> None:
        """
        While Neutron's agent listens there the operator is told; when it goes its place
        is taken.
        """
        other = listen_at(self.path, Permissions(0o666))
        self.start()
        self.assertIn("another process listens there", self.problem())
        self.assertEqual(self.told("does not listen"), 1)
        other.opened.close()
        self.reactor.advance(1)
        self.assertEqual(self.problem(), "None")
        client = self.connect()
        client.sendall(asking(RED))
        self.reactor.turn()
        self.assertEqual(client.recv(999), _ANSWER)

    def test_other_process_comes(self) -> None:
        """
        Whoever takes the place while it listens has it: it listens no more, and leaves
        the other's file when it is stopped.
        """
        self.start()
        os.unlink(self.path)
        other = listen_at(self.path, Permissions(0o666))
        self.addCleanup(other.opened.close)
        self.reactor.advance(1)
        self.assertIn("another process listens there", self.problem())
        self.assertEqual(self.listener.describe()["listening"], [])
        self.stop()
        self.assertEqual(os.listdir(self.directory), ["metadata_proxy"])

    def test_removed(self) -> None:
        """
        If its file is removed it is made again.
        """
        self.start()
        os.unlink(self.path)
        self.reactor.advance(1)
        self.connect()
        self.assertEqual(self.listener.describe()["accepted"], 1)

    def test_inherited(self) -> None:
        """
        A socket that systemd made is used as it is, and its file is systemd's.
        """
        made = listen_at(self.path, Permissions(0o600))
        made.opened.setblocking(True)
        self.listener = self.make(opened=made.opened)
        self.start()
        client = self.connect()
        client.sendall(asking(RED))
        self.reactor.turn()
        self.assertEqual(client.recv(999), _ANSWER)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.stop()
        self.assertEqual(os.listdir(self.directory), ["metadata_proxy"])

    def test_no_directory(self) -> None:
        """
        A directory that is not there yet is waited for.
        """
        self.directory.rename(self.directory.with_name("elsewhere"))
        config = SocketConfig("agent", f"{self.directory}/s", "user", (), (), "mac")
        self.listener = AgentSocket(config, self.book.front, Callers(), self.reactor)
        self.start()
        self.assertIn("No such file or directory", self.problem())


class StrangerTests(_Listening):
    """
    A listener for another user alone.
    """

    allowed = (4_000_000_000,)

    def test_stranger(self) -> None:
        """
        Whoever may not ask is not heard, which is logged once in a while.
        """
        self.listener = self.make("all")
        self.start()
        for _ in range(3):
            client = self.connect()
            self.assertEqual(client.recv(99), b"")
        self.assertEqual(self.listener.describe()["strangers"], 3)
        self.assertEqual(self.told("does not hear user"), 1)
        self.assertEqual(self.book.script.asked, [])
