"""
Tests for L{mdproxy.manhole}.
"""

from __future__ import annotations

import gc
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any, cast

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock

from mdproxy.introspection.parts import Parts
from mdproxy.manhole import Manhole, banner_of, make_manhole, namespace_of
from mdproxy.manhole.trust import Untrusted
from mdproxy.operator_config import ManholeConfig
from mdproxy.tap import Options, makeService
from tests.secrecy import SECRET, SecrecyTestCase
from tests.twistd import write_config

#: Parts of which each is its own name.
PARTS = Parts(
    *cast(Any, ("lookup", "proxy", "upstream", "front", "listening", "sources")),
    *cast(Any, ("reload", "checks", "history", "clock", "wall", "1.2.3")),
)
#: Stands in for the view.
VIEW: Any = SimpleNamespace(
    why=lambda address, network=None: {"address": address, "network": network},
    status=lambda: {"sources": [{"name": "static", "state": "live"}]},
    networks=dict,
    instances=dict,
    instance=dict,
    transactions=dict,
    steps=list,
)


class NamespaceTests(SecrecyTestCase):
    """
    Tests for L{namespace_of} and L{banner_of}.
    """

    def test_parts(self) -> None:
        """
        Every part is there by its name, also where something else is called so.
        """
        names = namespace_of(PARTS, VIEW)
        for name in ("lookup", "proxy", "upstream", "front", "listening", "reload"):
            self.assertEqual(names[name], name)
        self.assertEqual(names["parts"].sources, "sources")
        self.assertIs(names["view"], VIEW)

    def test_words(self) -> None:
        """
        What operators ask for is there as a function.
        """
        names = namespace_of(PARTS, VIEW)
        said = names["why"]("10.0.0.5", network="red")
        self.assertEqual(said, {"address": "10.0.0.5", "network": "red"})
        self.assertEqual(names["sources"](), [{"name": "static", "state": "live"}])

    def test_banner(self) -> None:
        """
        The banner names nothing that is not there, and every part.
        """
        banner, names = banner_of(PARTS), namespace_of(PARTS, VIEW)
        self.assertIn("mdproxy 1.2.3", banner)
        for part in set(names) - {"parts", "view", "instance"}:
            self.assertIn(part, banner)
        for line in banner.splitlines():
            self.assertLess(len(line), 100)


class _Reactor(MemoryReactorClock):
    """
    A reactor whose ports may be taken, and that adopts connections.
    """

    taken = False

    def __init__(self) -> None:
        """
        Begin.
        """
        super().__init__()
        self.adopted: list[Any] = []
        self.closed = 0

    def listenTCP(self, port: int, factory: Any, *args: Any, **more: Any) -> Any:
        """
        Provide C{IReactorTCP.listenTCP}.
        """
        if self.taken:
            raise CannotListenError("127.0.0.1", port, "taken")
        listening = super().listenTCP(port, factory, *args, **more)
        listening.stopListening = self._close
        return listening

    def _close(self) -> None:
        """
        Provide C{IListeningPort.stopListening}.
        """
        self.closed += 1

    def adoptStreamConnection(self, descriptor: int, family: Any, factory: Any) -> None:
        """
        Provide C{IReactorSocket.adoptStreamConnection}.
        """
        self.adopted.append((family, factory))

    def turn(self) -> None:
        """
        Let everything happen that can.
        """
        for reader in list(self.getReaders()):
            cast(Any, reader).doRead()


class _Door:
    """
    Stands in for what talks SSH.
    """

    closed = False

    def close(self) -> None:
        """
        Put everybody out.
        """
        self.closed = True


class ManholeCase(SecrecyTestCase):
    """
    A manhole in a reactor in memory.
    """

    place: tuple[str, int] | str = ("127.0.0.1", 2222)

    def setUp(self) -> None:
        """
        Make it; it is not started.
        """
        super().setUp()
        self.reactor = _Reactor()
        self.door = _Door()
        self.fault: Exception | None = None
        self.manhole = Manhole(self.place, self.make, self.reactor)

    def make(self) -> Any:
        """
        Make what talks SSH.
        """
        if self.fault is not None:
            raise self.fault
        return self.door

    def start(self) -> None:
        """
        Start it, until the test is over.
        """
        self.manhole.startService()
        self.addCleanup(self.manhole.stopService)

    def problem(self) -> str:
        """
        Tell why it does not listen: the log says so once, and whoever asks is told.
        """
        ((level, line),) = self.logged()
        self.assertEqual(level, "error")
        problem = str(self.manhole.describe()["problem"])
        self.assertTrue(line.endswith(problem), line)
        return problem


class TcpTests(ManholeCase):
    """
    A manhole at a port of loopback.
    """

    def test_listens(self) -> None:
        """
        It listens there and nowhere else, and says so once.
        """
        self.start()
        self.reactor.pump([5, 5])
        ((port, factory, _backlog, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (2222, "127.0.0.1"))
        self.assertIs(factory, self.door)
        said = [("info", "manhole: listens at 127.0.0.1 port 2222")]
        self.assertEqual(self.logged(), said)
        described = {"place": ["127.0.0.1", 2222], "problem": None}
        self.assertEqual(self.manhole.describe(), described)

    def test_taken(self) -> None:
        """
        A port that somebody has is tried again, and told of once.
        """
        self.reactor.taken = True
        self.start()
        self.reactor.pump([5, 5])
        self.assertIn("Couldn't listen", self.problem())
        self.reactor.taken = False
        self.reactor.advance(5)
        self.assertEqual(len(self.reactor.tcpServers), 1)
        self.assertEqual(len(self.logged()), 2)

    def test_no_key(self) -> None:
        """
        Without a key of its own that can be relied upon it does not listen.
        """
        self.fault = Untrusted("/k is open to others: chmod 0600")
        self.start()
        self.reactor.pump([5, 5])
        self.assertEqual(self.problem(), "/k is open to others: chmod 0600")
        self.assertEqual(self.reactor.tcpServers, [])

    def test_no_conch(self) -> None:
        """
        Where conch is not there it is said what to install.
        """
        self.fault = ImportError("No module named 'bcrypt'")
        self.start()
        self.assertIn("pip install mdproxy[manhole]", self.problem())

    def test_stops(self) -> None:
        """
        When it stops everybody is put out, and nothing is left.
        """
        self.start()
        self.successResultOf(self.manhole.stopService())
        self.assertTrue(self.door.closed)
        self.assertEqual(self.reactor.closed, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class UnixTests(ManholeCase):
    """
    A manhole at a UNIX socket.
    """

    def setUp(self) -> None:
        """
        Make a directory for it.
        """
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = self.directory / "manhole.sock"
        self.place = str(self.path)
        super().setUp()

    def connect(self) -> socket.socket:
        """
        Connect.
        """
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(self.place)
        self.reactor.turn()
        return client

    def test_listens(self) -> None:
        """
        Only its owner may connect, whatever the umask, and is talked to.
        """
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.start()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.connect()
        self.assertEqual(self.reactor.adopted, [(socket.AF_UNIX, self.door)])
        self.assertEqual(os.listdir(self.directory), ["manhole.sock"])

    def test_open_directory(self) -> None:
        """
        G4: where others could put a socket of theirs there is none of ours.
        """
        self.directory.chmod(0o777)
        self.start()
        self.assertIn("is writable by others: chmod 0755", self.problem())
        self.assertEqual(os.listdir(self.directory), [])

    def test_no_directory(self) -> None:
        """
        A directory that comes later is waited for.
        """
        self.directory.rmdir()
        self.start()
        self.assertIn("No such file", self.problem())
        self.directory.mkdir(0o700)
        self.reactor.advance(5)
        self.connect()
        self.assertEqual(len(self.reactor.adopted), 1)

    def test_taken(self) -> None:
        """
        Another process's socket is left alone.
        """
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.place)
            other.listen()
            self.start()
            self.assertIn("another process listens", self.problem())

    def test_removed(self) -> None:
        """
        A socket that somebody has removed is made again.
        """
        self.start()
        self.path.unlink()
        self.reactor.pump([5, 5])
        self.connect()
        self.assertEqual(len(self.reactor.adopted), 1)

    def test_no_descriptor(self) -> None:
        """
        Where nobody can be accepted that is tried again after a while.
        """
        self.start()
        self.manhole._not_accepted(OSError(24, "Too many open files"))
        self.assertIn("Too many open files", self.manhole.describe()["problem"])
        self.reactor.removeAll()
        self.reactor.advance(5)
        self.connect()
        self.assertEqual(len(self.reactor.adopted), 1)
        self.assertIsNone(self.manhole.describe()["problem"])

    def test_stops(self) -> None:
        """
        When it stops the socket is gone, but not one that another has made there.
        """
        self.start()
        self.successResultOf(self.manhole.stopService())
        self.assertEqual(os.listdir(self.directory), [])
        self.manhole.startService()
        self.path.unlink()
        self.path.write_text("another's")
        self.successResultOf(self.manhole.stopService())
        self.assertEqual(self.path.read_text(), "another's")


def reachable_from(root: Any) -> list[Any]:
    """
    Find all objects of ours that can be come by from one.
    """
    found: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        each = waiting.pop()
        is_code = isinstance(each, (type, ModuleType))
        is_module = isinstance(each, dict) and "__builtins__" in each
        if id(each) in found or is_code or is_module:
            continue
        found[id(each)] = each
        waiting += gc.get_referents(each)
    return [
        each
        for each in found.values()
        if str(type(each).__module__).startswith("mdproxy")
    ]


class MakeTests(SecrecyTestCase):
    """
    Tests for L{make_manhole}.
    """

    def test_made(self) -> None:
        """
        It makes its key and knows who may come in; both only when it starts.
        """
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        directory.chmod(0o700)
        key = directory / "key"
        config = ManholeConfig(("127.0.0.1", 1), "/none", str(key))
        reactor = _Reactor()
        manhole = make_manhole(config, PARTS, VIEW, reactor)
        self.assertFalse(key.exists())
        manhole.startService()
        self.addCleanup(manhole.stopService)
        factory: Any = reactor.tcpServers[0][1]
        self.assertTrue(key.exists())
        self.assertIsNone(factory.keys.find(b"any"))
        console = factory.make_console(80)
        self.assertEqual(console.namespace["lookup"], "lookup")

    def test_secret(self) -> None:
        """
        No part of the real service shows the secret when its name is typed, and
        neither does anything else of ours that can be come by from there.
        """
        directory = Path(self.mktemp()).resolve()
        says = write_config(directory)
        options = Options()
        options.parseOptions(["--config-file", str(says["config"])])
        service = makeService(options, MemoryReactorClock())
        seen = reachable_from(service)
        for each in seen:
            self.assertNotIn(SECRET.decode(), repr(each), type(each))
        kinds = {type(each).__name__ for each in seen}
        self.assertLess({"Signer", "Upstream", "Config", "InstanceLookup"}, kinds)

    def test_light(self) -> None:
        """
        Who has none does not have conch in memory, and neither has who goes in by
        C{mdproxyctl}.
        """
        program = (
            "import sys, mdproxy.manhole, mdproxy.manhole.relay\n"
            "print([name for name in sys.modules if 'conch' in name])"
        )
        found = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, check=True
        )
        self.assertEqual(found.stdout, b"[]\n")
