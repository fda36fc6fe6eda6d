"""
Tests for L{mdproxy.tap}: the wiring in memory, and one real process.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve
from twisted.application.service import IService
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from mdproxy.life import FrontService, InOrder, Signals
from mdproxy.lookup.decision import Policy
from mdproxy.model import Caller, Neighbour, Request
from mdproxy.nova_config import TlsFiles
from mdproxy.openers import BrokerOpener, InPlaceOpener, Opening
from mdproxy.proxy import Hold, ReverseProxyResource
from mdproxy.sweep import PERIOD
from mdproxy.tap import Options, makeService
from tests.asking import RecordingReply
from tests.playbook import Wire
from tests.secrecy import BODY, SECRET, SecrecyTestCase, find_secret
from tests.twistd import Twistd, write_config
from tests.visiting import Line, Said


class OptionsTests(SynchronousTestCase):
    """
    Tests for L{Options}.
    """

    def setUp(self) -> None:
        """
        Write a configuration.
        """
        self.says = write_config(Path(self.mktemp()))
        self.path = str(self.says["config"])

    def parse(self, *arguments: str) -> Options:
        """
        Read a command line.
        """
        options = Options()
        options.parseOptions(arguments)
        return options

    def test_one_file(self) -> None:
        """
        The configuration is read with the command line.
        """
        config = self.parse("--config-file", self.path)["config"]
        self.assertEqual(config.secret, SECRET)
        self.assertEqual(config.listeners[0].port, self.says["port"])

    def test_more_files(self) -> None:
        """
        Of several files the last wins, and directories come after files.
        """
        later = self.says["directory"] / "later.conf"
        later.write_text("[DEFAULT]\ndrain_timeout = 7\n")
        both = ("--config-file", self.path, "--config-file", str(later))
        self.assertEqual(self.parse(*both)["config"].drain_timeout, 7)
        directory = self.says["directory"] / "conf.d"
        directory.mkdir()
        (directory / "x.conf").write_text("[DEFAULT]\ndrain_timeout = 8\n")
        config = self.parse("--config-dir", str(directory), *both)["config"]
        self.assertEqual(config.drain_timeout, 8)

    def test_faults(self) -> None:
        """
        What is wrong with the configuration is a wrong use of the command: all faults
        at once, each with its place, and without the secret.
        """
        with open(self.path, "a") as file:
            file.write("[hold]\nopenstak = 9\n[listener:two]\nkind = pigeon\n")
        error = self.assertRaises(UsageError, self.parse, "--config-file", self.path)
        lines = str(error).split("\n")
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("[hold] openstak", str(error))
        self.assertIn("[listener:two] kind", str(error))
        self.assertIsNone(find_secret(str(error)))

    def test_missing_file(self) -> None:
        """
        A file that is not there is named.
        """
        error = self.assertRaises(
            UsageError, self.parse, "--config-file", "/nowhere/at-all.conf"
        )
        self.assertIn("/nowhere/at-all.conf", str(error))

    def test_no_secret_shown(self) -> None:
        """
        The text of the options, and so of the configuration, shows no secret.
        """
        options = self.parse("--config-file", self.path)
        self.assertIsNone(find_secret(repr(options)))
        self.assertIsNone(find_secret(repr(options["config"])))


class AdoptingReactor(MemoryReactorClock):
    """
    A reactor that remembers where what it adopts listens.
    """

    def __init__(self) -> None:
        """
        Begin with nothing.
        """
        super().__init__()
        self.adopted: dict[tuple[str, int], Any] = {}

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> Any:
        """
        Provide C{IReactorSocket.adoptStreamPort}.
        """
        with socket.socket(fileno=os.dup(descriptor)) as listening:
            host, port = listening.getsockname()[:2]
        self.adopted[host, port] = factory
        return super().adoptStreamPort(descriptor, cast(Any, family), factory)


class MakeServiceTests(SecrecyTestCase):
    """
    Tests for L{makeService}.
    """

    def make(self, more: str = "") -> Any:
        """
        Make the service on a reactor in memory.
        """
        self.says = write_config(Path(self.mktemp()), more)
        return self.make_of(self.says["config"])

    def make_of(self, config: Path, parent: Any = None) -> Any:
        """
        Make the service of a configuration file.

        @param parent: The options of C{twistd}.
        """
        options = Options()
        options.parent = parent
        options.parseOptions(["--config-file", str(config)])
        self.reactor = AdoptingReactor()
        return makeService(options, self.reactor)

    def start(self, service: Any) -> None:
        """
        Start it, until the test is over.
        """
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        service.privilegedStartService()
        service.startService()

    def test_makes_a_service(self) -> None:
        """
        It is a service; until it is started it listens nowhere and reads nothing.
        """
        service = self.make()
        self.assertTrue(verifyObject(IService, service))
        self.assertEqual(self.reactor.tcpServers, [])
        self.assertEqual(self.reactor.adopted, {})
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_listens(self) -> None:
        """
        Instances are listened to at the listener's place and operators at the
        introspection's; nowhere else.
        """
        service = self.make()
        self.start(service)
        self.assertEqual(list(self.reactor.adopted), [("127.0.0.1", self.says["port"])])
        ((port, _factory, _backlog, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (self.says["introspection"], "127.0.0.1"))
        self.assertEqual(self.reactor.unixServers, [])
        self.successResultOf(service.stopService())

    def test_broker(self) -> None:
        """
        Root that becomes another user has a broker open sockets in namespaces, which
        is started before all sources; whoever stays what he is opens them himself.
        """
        root = os.geteuid() == 0
        listener = "[listener:ns]\nkind = namespaces\n"
        for uid, kind in (
            (None, InPlaceOpener),
            (0, InPlaceOpener),
            (65534, BrokerOpener if root else InPlaceOpener),
        ):
            config = write_config(Path(self.mktemp()), listener)["config"]
            parent: Any = ServerOptions()
            parent["uid"] = uid
            service = self.make_of(config, parent)
            (opening,) = (part for part in service if isinstance(part, Opening))
            self.assertIsInstance(opening.opener, kind)
            self.assertEqual(list(service).index(opening), len(list(service)) - 5)

    def test_stops(self) -> None:
        """
        When it is stopped nothing is left: no reader, no timer.
        """
        service = self.make()
        self.start(service)
        self.reactor.pump([0.25] * 8)
        self.assertNotEqual(self.reactor.getReaders(), [])
        self.successResultOf(service.stopService())
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_order(self) -> None:
        """
        Listeners are the last part but for what tells systemd of them, so that they are
        stopped first; and what is in flight is finished before any source stops.
        """
        service = self.make()
        self.assertIsInstance(service, InOrder)
        parts = list(service)
        names = [type(part).__name__ for part in parts]
        last = ["MultiService", "FrontService", "MultiService", "Notify"]
        self.assertEqual(names[-4:], last)
        sources, _front, listeners, _notify = parts[-4:]
        self.assertEqual(
            [type(each).__name__ for each in sources],
            ["NeighbourSource", "MultiService", "MultiService"],
        )
        self.assertEqual([type(each).__name__ for each in listeners], ["Listener"])

    def test_status(self) -> None:
        """
        Operators read of every part, as JSON, without any secret; instances can't, for
        their port is another factory.
        """
        service = self.make()
        self.start(service)
        self.reactor.pump([0.25] * 8)
        status = self.read_page(b"/api/v1/status")
        self.assertEqual(
            list(status),
            [
                *("version", "since", "now", "ready"),
                *("configuration", "listeners", "sources", "lookup", "upstream"),
                *("proxy", "front", "checks", "transactions", "operators"),
            ],
        )
        kinds = [source["kind"] for source in status["sources"]]
        self.assertEqual(kinds, ["neighbours", "static", "dnsmasq"])
        self.assertEqual([s["state"] for s in status["sources"]], ["live"] * 3)
        caller = Caller("loop", "127.0.0.1", None, "address")
        request = Request(b"GET", b"/openstack", ())
        self.proxy_of(service).answer(request, caller, RecordingReply()).cancel()
        (transaction,) = self.read_page(b"/api/v1/transactions")["items"]
        self.assertEqual(transaction["outcome"], "client-gone")
        facts = self.read_page(b"/api/v1/facts")
        self.assertEqual(sorted(facts), ["leases", "neighbours", "ports", "total"])
        self.successResultOf(service.stopService())

    def read_page(self, path: bytes) -> Any:
        """
        Read one of the operator's pages, which must hold no secret.
        """
        ((_port, factory, _backlog, _interface),) = self.reactor.tcpServers
        line = Line.to(cast(Any, factory))
        asked = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path
        said = Said.read(line.say(asked))
        self.assertEqual(said.status, 200, said)
        self.assertIsNone(find_secret(said.body.decode()))
        return json.loads(said.body)

    def ask(self, proxy: ReverseProxyResource) -> RecordingReply:
        """
        Ask as the instance that the inventory knows.
        """
        reply = RecordingReply()
        caller = Caller("loop", "127.0.0.1", None, "address")
        proxy.answer(Request(b"GET", b"/openstack", ()), caller, reply)
        return reply

    def proxy_of(self, service: Any) -> ReverseProxyResource:
        """
        Find the proxy in a service.
        """
        (front_service,) = (p for p in service if isinstance(p, FrontService))
        proxy = front_service._front.answerer
        assert isinstance(proxy, ReverseProxyResource)
        return proxy

    def test_asks_nova(self) -> None:
        """
        An instance that the inventory knows has Nova asked at the configured place; a
        neighbour entry that changes hands meanwhile breaks its connection.
        """
        service = self.make()
        self.start(service)
        proxy = self.proxy_of(service)
        reply = self.ask(proxy)
        places = {client[:2] for client in self.reactor.tcpClients}
        self.assertEqual(places, {("127.0.0.1", 8775)})
        neighbours = proxy.lookup._books.neighbours
        for mac in ("fa:16:3e:00:00:01", "fa:16:3e:00:00:02"):
            neighbours.learn(Neighbour("loop", "127.0.0.1", mac), 0)
        self.assertEqual((reply.over, reply.status), ("aborted", None))
        self.successResultOf(service.stopService())

    def test_nova_on_ipv6(self) -> None:
        """
        Nova may be at an IPv6 address.
        """
        config = write_config(Path(self.mktemp()))["config"]
        host = "nova_metadata_host = "
        text = config.read_text().replace(host + "127.0.0.1", host + "::1")
        config.write_text(text)
        service = self.make_of(config)
        self.start(service)
        self.ask(self.proxy_of(service))
        self.assertEqual(self.reactor.tcpClients[0][:2], ("::1", 8775))
        self.reactor.advance(9)
        self.successResultOf(service.stopService())

    def test_recovery(self) -> None:
        """
        Whoever waits while Nova takes no connections is asked for when it does, and
        who pauses learns that it answers again.
        """
        woken: list[str] = []

        class Pausing:
            """
            An exchange that pauses before it asks again.
            """

            holder = ("loop", "127.0.0.1")

            def wake(self) -> None:
                """
                Provide C{Exchange.wake}.
                """
                woken.append("woken")

        service = self.make()
        self.start(service)
        proxy = self.proxy_of(service)
        for _ in range(3):
            self.ask(proxy)
        for _host, _port, factory, *_more in list(self.reactor.tcpClients):
            refused = Failure(ConnectionRefusedError())
            factory.clientConnectionFailed(cast(Any, None), refused)
        proxy.await_recovery(cast(Any, Pausing()))
        self.assertEqual(proxy.upstream.describe()["waiting"], 3)
        count = len(self.reactor.tcpClients)
        self.reactor.pump([PERIOD] * 2)
        protocol = cast(Any, self.reactor.tcpClients[count][2]).buildProtocol(None)
        wire = Wire(protocol)
        protocol.makeConnection(wire)
        self.assertEqual(proxy.upstream.describe()["waiting"], 2)
        self.assertEqual(woken, [])
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(woken, ["woken"])
        self.successResultOf(service.stopService())

    def test_policy(self) -> None:
        """
        What the operator decided about doubtful evidence reaches the lookup.
        """
        for more, policy in (
            ("", Policy(False, False)),
            (
                "[DEFAULT]\nlease_conflict = refuse\nallow_unverified_address = true\n",
                Policy(True, True),
            ),
        ):
            proxy = self.proxy_of(self.make(more))
            self.assertEqual(proxy.lookup._policy, policy)

    def test_requests_of_one_instance(self) -> None:
        """
        The operator decides how many requests of one instance Nova is asked at a time.
        """
        for more, most in (("", 8), ("[limits]\nmax_requests_per_instance = 2\n", 2)):
            questions = self.proxy_of(self.make(more))._questions
            taken = [questions.take(("net", "mac")) for _ in range(most + 1)]
            self.assertEqual(taken, [True] * most + [False])

    def reload(self, service: Any, *changes: tuple[str, str]) -> None:
        """
        Change the configuration file, and have SIGHUP come.
        """
        text = self.says["config"].read_text()
        for before, after in changes:
            self.assertIn(before, text)
            text = text.replace(before, after)
        self.says["config"].write_text(text)
        (signals,) = (part for part in service if isinstance(part, Signals))
        signals.hang_up()

    def test_reload_numbers(self) -> None:
        """
        SIGHUP changes all that can be changed in use, in the parts that go by it.
        """
        service = self.make()
        self.start(service)
        proxy = self.proxy_of(service)
        (front_service,) = (p for p in service if isinstance(p, FrontService))
        front, upstream = front_service._front, cast(Any, front_service._upstream)
        new = """
            [DEFAULT]
            drain_timeout = 7
            lease_conflict = refuse
            [hold]
            openstack = 3
            max_unidentified_per_mac = 1
            [limits]
            head_timeout = 5
            max_body = 100
            max_connections_per_instance = 2
            max_requests_per_instance = 3
            max_request_rate = 1
            request_burst = 4
            [upstream]
            connect_timeout = 2
            max_queue = 9
            [listener:loop]
            """
        self.reload(service, ("[listener:loop]\n", dedent(new)))
        self.assertEqual(front_service.patience, 7)
        self.assertEqual(proxy.lookup._policy, Policy(False, True))
        self.assertEqual(proxy._hold, Hold(3, 4))
        self.assertEqual((front.bounds.head, front.bounds.request.max_body), (5, 100))
        self.assertEqual(
            (upstream._fleet.patience.connect, upstream._fleet.extent.queue), (2, 9)
        )
        seat = ("loop", "mac")
        for shares, most in (
            (proxy.holds, 1),
            (front.shares, 2),
            (proxy._questions, 3),
        ):
            taken = [shares.take(seat) for _ in range(most + 1)]
            self.assertEqual(taken, [True] * most + [False])
        allowed = [proxy.rates.allows(seat, 100.0) for _ in range(5)]
        self.assertEqual(allowed, [True] * 4 + [False])
        self.successResultOf(service.stopService())

    def test_reload_secret(self) -> None:
        """
        SIGHUP takes a new secret, also for what waits for a connection with Nova.
        """
        service = self.make()
        self.start(service)
        proxy = self.proxy_of(service)
        self.ask(proxy)
        (self.says["directory"] / "secret").write_text("second")
        self.reload(service)
        protocol = cast(Any, self.reactor.tcpClients[0][2]).buildProtocol(None)
        wire = Wire(protocol)
        protocol.makeConnection(wire)
        wire.settle()
        signature = hmac.new(b"second", b"i-1", hashlib.sha256).hexdigest()
        self.assertIn(signature.encode(), wire.seen)
        self.successResultOf(service.stopService())

    def test_reload_elsewhere(self) -> None:
        """
        The files are found although the directory is another one than at the start.
        """
        config = write_config(Path(self.mktemp()))["config"]
        options = Options()
        options.parseOptions(["--config-file", os.path.relpath(config)])
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir("/")
        self.assertEqual(options["load"](), options["config"])

    def test_reload_refused(self) -> None:
        """
        SIGHUP changes nothing where the configuration has faults, and says which.
        """
        service = self.make()
        self.start(service)
        proxy = self.proxy_of(service)
        signer = proxy.signer
        (self.says["directory"] / "secret").write_text("second")
        self.reload(service, ("[listener:loop]", "[listener:loop]\nprot = 80"))
        self.assertIs(proxy.signer, signer)
        errors = [line for level, line in self.logged() if level == "error"]
        self.assertEqual(len(errors), 2, errors)
        self.assertIn("[listener:loop] prot", errors[0])
        self.successResultOf(service.stopService())

    def test_reload_vanished_file(self) -> None:
        """
        TLS files that vanish after the configuration was found good are a fault, too.
        """
        self.says = write_config(Path(self.mktemp()))
        options = Options()
        options.parseOptions(["--config-file", str(self.says["config"])])
        config = options["config"]
        tls = TlsFiles("/nowhere/ca.pem", None, None, False)
        options["load"] = lambda: evolve(
            config, upstream=evolve(config.upstream, tls=tls)
        )
        self.reactor = AdoptingReactor()
        service = makeService(options, self.reactor)
        self.start(service)
        self.reload(service)
        errors = [line for level, line in self.logged() if level == "error"]
        self.assertEqual(errors[0], "/nowhere/ca.pem: no readable PEM certificates")
        self.assertIn("the configuration is refused (faults: 1)", errors[1])
        self.successResultOf(service.stopService())

    def test_notes(self) -> None:
        """
        What is right but worth a line is logged.
        """
        self.make()
        self.assertEqual(
            [line for level, line in self.logged() if "identify_by" in line],
            [line for level, line in self.logged() if level == "warn"],
        )
        self.assertEqual(len(self.logged()), 1)


class HeldNova(Protocol):
    """
    A Nova that takes requests and answers when it is told to.
    """

    def __init__(self) -> None:
        """
        Be asked nothing yet.
        """
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:
        """
        Take a request.
        """
        self.heard += data
        if self.heard.endswith(b"\r\n\r\n"):
            cast(NovaFactory, self.factory).asked(self)

    def answer(self) -> None:
        """
        Answer.
        """
        assert self.transport is not None
        self.heard = b""
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
        )


if TYPE_CHECKING:
    _NovaFactory = Factory[HeldNova]
else:
    # Twisted 24.7 has the type, but not when it runs.
    _NovaFactory = Factory


class NovaFactory(_NovaFactory):
    """
    Fires when Nova is asked.
    """

    protocol = HeldNova
    noisy = False

    def __init__(self) -> None:
        """
        Wait.
        """
        self._waiting: Deferred[HeldNova] = Deferred()

    def next(self) -> Deferred[HeldNova]:
        """
        Wait for the next request.
        """
        self._waiting = Deferred()
        return self._waiting

    def asked(self, nova: HeldNova) -> None:
        """
        Take a request.
        """
        self._waiting.callback(nova)


class Guest(Protocol):
    """
    Asks once and reads to the end.
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


#: Tells which modules of ours, and which others, the service has that it is to do
#: without.
LOADED = """
import sys
from twisted.internet.testing import MemoryReactorClock
from mdproxy.tap import Options, makeService
options = Options()
options.parseOptions(["--config-file", sys.argv[1]])
makeService(options, MemoryReactorClock())
print(sorted(sys.modules.keys() & set(sys.argv[2:])))
"""
#: What only some hosts have a use for.
SELDOM = (
    *("mdproxy.agent_callers", "mdproxy.agent_socket", "mdproxy.clouds"),
    *("mdproxy.inventory.libvirt", "mdproxy.inventory.neutron"),
    *("mdproxy.inventory.ovn", "mdproxy.lookup.kinds", "mdproxy.lookup.watchers"),
    *("mdproxy.namespaces", "mdproxy.neutron_config", "mdproxy.openers"),
    *("mdproxy.ovn_config", "mdproxy.ovsdb", "mdproxy.ovsdb_client", "treq"),
    *("mdproxy.introspection.site", "twisted.web.http", "twisted.web.server"),
    *("mdproxy.introspection.markup", "mdproxy.introspection.metrics", "jinja2"),
    *("mdproxy.manhole", "mdproxy.logs.journald", "mdproxy.logs.observers"),
    *("prometheus_client", "twisted.conch"),
)


class MemoryTests(SynchronousTestCase):
    """
    Tests for what the service has in memory.
    """

    def test_nothing_in_vain(self) -> None:
        """
        What a host does not use it does not load; all of that is there, though.
        """
        config = write_config(Path(self.mktemp()))["config"]
        text = config.read_text()
        config.write_text(re.sub("(?m)^sources = .*$", "", text))
        loaded = subprocess.run(
            [sys.executable, "-c", LOADED, str(config), *SELDOM],
            stdout=subprocess.PIPE,
            check=True,
        )
        self.assertEqual(loaded.stdout, b"[]\n")
        for name in SELDOM:
            self.assertIsNotNone(find_spec(name), name)


class ProcessTests(TestCase):
    """
    C{twistd -n mdproxy} as a process, over loopback.
    """

    timeout = 60

    async def start(self) -> None:
        """
        Start Nova and the process, and wait until it says that it is ready.
        """
        self.spawn()
        await self.twistd.says("static is live")

    def spawn(self, *options: str, output: int | None = None, more: str = "") -> None:
        """
        Start Nova and the process.

        @param options: More of C{twistd}'s.
        @param more: More of the configuration.
        @param output: The descriptor that it writes to; C{None}: we read it.
        """
        self.prepare(more)
        self.process = self.twistd.spawn(self.says["config"], *options, output=output)

    def prepare(self, more: str = "") -> None:
        """
        Start Nova, and be ready to start the process.

        @param more: More of the configuration.
        """
        self.nova = NovaFactory()
        listening: IListeningPort = cast(Any, reactor).listenTCP(
            0, self.nova, interface="127.0.0.1"
        )
        self.addCleanup(listening.stopListening)
        nova_port = cast(Any, listening.getHost()).port
        self.says = write_config(Path(self.mktemp()), more, nova=nova_port)
        self.twistd = Twistd()
        self.addCleanup(self.twistd.kill)

    async def ask(self) -> tuple[Guest, HeldNova]:
        """
        Ask as an instance.

        @return: Who asked, and whom: Nova, which has not answered.
        """
        asked = self.nova.next()
        where: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", self.says["port"])
        while True:
            try:
                guest = await connectProtocol(where, Guest())
                return guest, await asked
            except ConnectionRefusedError:
                await deferLater(cast(Any, reactor), 0.05)

    async def refuses(self) -> None:
        """
        Wait until nobody can connect any more.
        """
        where: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", self.says["port"])
        while True:
            try:
                late = await connectProtocol(where, Protocol())
            except ConnectionRefusedError:
                return
            except ConnectError:
                # The kernel took it just before the listener closed.
                continue
            cast(Any, late.transport).abortConnection()

    async def assert_ended_well(self) -> None:
        """
        It ends with status 0, and its log holds nothing secret.
        """
        self.assertEqual(await self.twistd.ended, 0, self.twistd.said)
        self.assertIsNone(find_secret(self.twistd.said), self.twistd.said)

    def assert_whole(self, heard: bytes) -> None:
        """
        An instance has got its whole answer.
        """
        self.assertTrue(heard.startswith(b"HTTP/1.1 200 OK\r\n"), heard)
        self.assertTrue(heard.endswith(b"\r\n\r\n" + BODY), heard)

    async def test_life(self) -> None:
        """
        SIGHUP does not end it; SIGTERM finishes what is in flight, takes nothing more,
        and ends it with status 0.
        """
        await self.start()
        guest, nova = await self.ask()
        self.assertIn(b"\r\nX-Instance-ID: i-1\r\n", nova.heard)
        self.assertIn(b"\r\nX-Forwarded-For: 127.0.0.1\r\n", nova.heard)
        self.process.signalProcess("HUP")
        await self.twistd.says("the configuration that was read is in force")
        nova.answer()
        self.assert_whole(await guest.ended)
        guest, nova = await self.ask()
        self.process.signalProcess("TERM")
        await self.twistd.says("stopping: what is in flight is finished first")
        await self.refuses()
        nova.answer()
        self.assert_whole(await guest.ended)
        await self.assert_ended_well()

    async def test_hurry(self) -> None:
        """
        A second SIGTERM breaks what is in flight; that is status 0, too.
        """
        await self.start()
        guest, _nova = await self.ask()
        self.process.signalProcess("TERM")
        await self.twistd.says("stopping: what is in flight is finished first")
        self.process.signalProcess(signal.SIGTERM)
        self.assertEqual(await guest.ended, b"")
        await self.assert_ended_well()

    async def assert_lives(self) -> None:
        """
        It serves, also after SIGHUP, and ends well at SIGTERM.
        """
        for number in (signal.SIGHUP, signal.SIGTERM):
            guest, nova = await self.ask()
            nova.answer()
            self.assert_whole(await guest.ended)
            self.process.signalProcess(number)
        await self.assert_ended_well()

    async def test_output_on_a_full_disk(self) -> None:
        """
        Where nothing that it says can be written it lives on.
        """
        with open("/dev/full", "wb") as full:
            self.spawn(output=full.fileno())
        await self.assert_lives()

    async def test_log_file_on_a_full_disk(self) -> None:
        """
        The same where that goes to a log file.
        """
        self.spawn("--logfile=/dev/full")
        await self.assert_lives()
        self.assertEqual(self.twistd.said, "")

    async def test_output_that_nobody_reads(self) -> None:
        """
        The same where that goes to a pipe whose reader has stopped (E8).
        """
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"\n" * 4096)
        os.set_blocking(writing, True)
        self.spawn(output=writing)
        os.close(writing)
        await self.assert_lives()

    async def test_no_output(self) -> None:
        """
        The same where there is no standard output at all.
        """
        self.prepare()
        argv = self.twistd.argv(self.says["config"])
        shell = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh"]
        self.process = self.twistd.execute([*shell, *argv])
        await self.assert_lives()
        self.assertEqual(self.twistd.said, "")

    async def test_json(self) -> None:
        """
        Where the configuration wants it so each line of the log is a JSON object, to
        the end; what Twisted says of each socket is not in it.
        """
        self.spawn(more="[log]\nformat = json\n")
        await self.assert_lives()
        told = [json.loads(line) for line in self.twistd.said.splitlines()]
        texts = [each["text"] for each in told]
        self.assertIn("static is live", texts)
        self.assertIn("stopping: what is in flight is finished first", texts)
        twisted = [each for each in told if not each["namespace"].startswith("mdproxy")]
        self.assertEqual(twisted, [])

    async def test_activated(self) -> None:
        """
        A socket that systemd has opened for a listener is taken: what connects to it
        before the process is there is answered, and nothing else is opened.
        """
        self.prepare()
        opened = socket.create_server(("127.0.0.1", self.says["port"]))
        with opened:
            asking = ensureDeferred(self.ask())
            config = self.says["config"]
            self.process = self.twistd.activate(config, "loop", opened.fileno())
        guest, nova = await asking
        nova.answer()
        self.assert_whole(await guest.ended)
        self.process.signalProcess("TERM")
        await self.assert_ended_well()
        self.assertNotIn("does not listen", self.twistd.said)

    async def test_limits(self) -> None:
        """
        It may have as many files open as the host lets it.
        """
        await self.start()
        limits = Path(f"/proc/{self.process.pid}/limits").read_text()
        (line,) = (x for x in limits.splitlines() if x.startswith("Max open files"))
        _max, _open, _files, soft, hard, _unit = line.split()
        self.assertEqual(soft, hard)

    async def test_usage(self) -> None:
        """
        C{python -m twisted mdproxy --help} shows the options; a broken configuration
        ends it with a status that is not 0, and a line that says why.
        """
        broken = Path(self.mktemp())
        broken.write_text("[DEFAULT]\nnova_metadata_prot = 1\n")
        for arguments, said, status in (
            (["--help"], "--config-file=", os.EX_OK),
            (["--config-file", str(broken)], "nova_metadata_prot", os.EX_USAGE),
        ):
            twistd = Twistd()
            cast(Any, reactor).spawnProcess(
                twistd,
                sys.executable,
                [sys.executable, "-m", "twisted", "mdproxy", *arguments],
                env=os.environ,
            )
            self.assertEqual(await twistd.ended, status)
            self.assertIn(said, twistd.said)
            self.assertNotIn("Traceback", twistd.said)
