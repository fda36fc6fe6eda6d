"""
A real C{twistd mdproxy} whose configuration is reloaded under a stream of requests.

The fault scenarios C7, E3, E4 and E11: a good configuration takes effect with no
connection closed and no request failed; a bad one is refused with all its faults.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import pwd
import re
import shlex
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any, cast

from attrs import define, field
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from twisted.web.client import Agent, readBody
from zope.interface import implementer

from tests.lab.certs import Certificates, KeyPair, make
from tests.secrecy import SECRET, find_secret
from tests.twistd import PORTS, Twistd, write_config

_IN_FORCE = "the configuration that was read is in force"
_REFUSED = "the configuration is refused"
_UNIT = Path(__file__).parent.parent / "etc" / "mdproxy.service"
#: Not to be held back for asking so often.
_MORE = "[limits]\nmax_request_rate = 1000000\n"
_SIGNED = re.compile(rb"X-Instance-ID: (\S+)\r\n.*X-Instance-ID-Signature: (\S+)", re.S)


@define
class Asked:
    """
    A request as Nova got it.

    @ivar nova: Which Nova.
    @ivar secret: By which secret it is signed; C{None}: by none that we know.
    @ivar instance: For whom it is.
    @ivar serial: The number of the certificate that came with it; 0: none.
    """

    nova: str
    secret: bytes | None
    instance: str
    serial: int


class NovaConnection(Protocol):
    """
    A connection with Nova, who answers at once unless told to hold.
    """

    nova: Nova

    def connectionMade(self) -> None:
        """
        Be open.
        """
        self.heard = b""
        self.nova.open.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Be closed.
        """
        self.nova.open.discard(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Take a request.
        """
        self.heard += data
        if not self.heard.endswith(b"\r\n\r\n"):
            return
        head, self.heard = self.heard, b""
        self.nova.note(head, self.serial())
        if b" /held " in head:
            self.nova.held.callback(self)
        else:
            self.answer()

    def serial(self) -> int:
        """
        Look at the certificate of whoever asks.
        """
        transport: Any = self.transport
        if not hasattr(transport, "getPeerCertificate"):
            return 0
        return int(transport.getPeerCertificate().get_serial_number())

    def answer(self) -> None:
        """
        Answer.
        """
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@define(eq=False)
class Nova:
    """
    A Nova on loopback.

    @ivar name: Its name.
    @ivar asked: What every Nova of the test was asked, in order.
    @ivar secrets: All secrets that may sign.
    @ivar open: Its connections.
    @ivar held: Fires with the connection that asked to be held.
    """

    name: str
    asked: list[Asked]
    secrets: list[bytes]
    open: set[NovaConnection] = field(factory=set)
    held: Deferred[NovaConnection] = field(factory=Deferred)

    def factory(self) -> Any:
        """
        Make its connections.
        """

        def build() -> NovaConnection:
            connection = NovaConnection()
            connection.nova = self
            return connection

        factory: Any = Factory.forProtocol(build)
        factory.noisy = False
        return factory

    def note(self, head: bytes, serial: int) -> None:
        """
        Note a request.
        """
        match = _SIGNED.search(head)
        assert match is not None, head
        instance, signature = match.groups()
        signers = [
            secret
            for secret in self.secrets
            if hmac.new(secret, instance, hashlib.sha256).hexdigest().encode()
            == signature
        ]
        secret = signers[0] if signers else None
        self.asked.append(Asked(self.name, secret, instance.decode(), serial))


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class MutualTls:
    """
    Nova's side of TLS.
    """

    context: SSL.Context

    def serverConnectionForTLS(self, tls_protocol: object) -> SSL.Connection:
        """
        Provide C{IOpenSSLServerConnectionCreator.serverConnectionForTLS}.
        """
        return SSL.Connection(self.context, None)


class Guest(Protocol):
    """
    An instance that asks again and again on one connection.

    @ivar answers: How many good answers it got.
    @ivar trouble: What was no good answer.
    @ivar is_lost: Whether its connection is closed.
    """

    def __init__(self, target: bytes = b"/", most: int = -1) -> None:
        """
        Ask for a target.

        @param most: So often; below 0: until it is told to stop.
        """
        self.answers = 0
        self.trouble = b""
        self.is_lost = False
        self.left = most
        self._target = target
        self._heard = b""
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def connectionMade(self) -> None:
        """
        Begin.
        """
        self._ask()

    def dataReceived(self, data: bytes) -> None:
        """
        Take an answer, and ask again.
        """
        self._heard += data
        if not self._heard.endswith(b"\r\n\r\nok"):
            return
        if not self._heard.startswith(b"HTTP/1.1 200 OK\r\n"):
            return
        self._heard = b""
        self.answers += 1
        for count, waiting in list(self._waiting):
            if self.answers >= count:
                self._waiting.remove((count, waiting))
                waiting.callback(None)
        self._ask()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Note it; whoever waits for answers waits no longer.
        """
        self.is_lost = True
        self.trouble = self._heard
        waiting, self._waiting = self._waiting, []
        for _count, each in waiting:
            each.callback(None)

    def more(self, count: int) -> Deferred[None]:
        """
        Wait for so many further answers, or the end of the connection.
        """
        waiting: Deferred[None] = Deferred()
        if self.is_lost:
            waiting.callback(None)
        else:
            self._waiting.append((self.answers + count, waiting))
        return waiting

    def _ask(self) -> None:
        """
        Ask, if it is to.
        """
        if self.left:
            self.left -= 1
            assert self.transport is not None
            self.transport.write(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % self._target)


class ReloadCase(TestCase):
    """
    A process, four instances that never stop asking, and one Nova or two.
    """

    timeout = 120

    def setUp(self) -> None:
        """
        Begin with nothing.
        """
        self.asked: list[Asked] = []
        self.secrets = [SECRET]
        self.guests: list[Guest] = []
        self.twistd = Twistd()

    def serve(self, name: str, tls: MutualTls | None = None) -> tuple[Nova, int]:
        """
        Start a Nova.

        @return: It, and its port.
        """
        nova = Nova(name, self.asked, self.secrets)
        factory = nova.factory()
        if tls is not None:
            factory = TLSMemoryBIOFactory(tls, False, factory)
        port = cast(Any, reactor).listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return nova, port.getHost().port

    async def start(
        self, nova: int, default: Mapping[str, object] | None = None, *options: str
    ) -> None:
        """
        Start the process, and have four instances ask.

        @param nova: The port of Nova.
        @param default: More of C{[DEFAULT]}.
        @param options: More of C{twistd}'s.
        """
        lines = "".join(
            f"{name} = {value}\n" for name, value in (default or {}).items()
        )
        directory = Path(self.mktemp())
        self.says = write_config(directory, f"{_MORE}[DEFAULT]\n{lines}", nova)
        self.directory: Path = self.says["directory"]
        await self.begin(self.twistd.spawn(self.says["config"], *options))

    async def begin(self, process: Any, hang_up: bool = False) -> int:
        """
        Wait until the process is up, and have four instances ask.

        @param hang_up: Whether it gets SIGHUP all the while, from the moment that its
            shell ignores that.

        @return: How many it got before it took them itself.
        """
        early = 0
        self.process = process
        self.addCleanup(self.twistd.kill)
        up = self.twistd.says("static is live")
        while hang_up and not up.called:
            ignored, caught = (
                int(self.state()[name], 16) & 1 for name in ("SigIgn", "SigCgt")
            )
            if ignored or caught:
                self.process.signalProcess("HUP")
                early += ignored
            await deferLater(cast(Any, reactor), 0.01)
        await up
        for _ in range(4):
            self.guests.append(await self.join(Guest()))
        await self.go_on()
        return early

    def state(self) -> dict[str, str]:
        """
        Read what the kernel says of the process.
        """
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in status.splitlines())

    async def join(self, guest: Guest, source: str = "127.0.0.1") -> Guest:
        """
        Have an instance connect.

        @param source: Its address.
        """
        where: Any = TCP4ClientEndpoint(
            reactor, "127.0.0.1", self.says["port"], bindAddress=(source, 0)
        )
        while True:
            try:
                await connectProtocol(where, guest)
                return guest
            except ConnectionRefusedError:
                await deferLater(cast(Any, reactor), 0.05)

    async def go_on(self, count: int = 5) -> int:
        """
        Wait until every instance has got more answers.

        @return: How many requests Nova had got by then.
        """
        for guest in self.guests:
            await guest.more(count)
        self.assert_served()
        return len(self.asked)

    def assert_served(self) -> None:
        """
        No connection was closed, and every request was answered.
        """
        for guest in self.guests:
            self.assertFalse(guest.is_lost, (guest.trouble, self.twistd.said))

    async def hang_up(self, says: str = _IN_FORCE) -> list[Asked]:
        """
        Send SIGHUP, and wait for what comes of it.

        @param says: What the log says at last.

        @return: What Nova was asked after that.
        """
        told = len(self.twistd.said)
        self.process.signalProcess("HUP")
        await self.twistd.says(says, told)
        # What is under way was sent before; after it comes what is sent now.
        start = await self.go_on(2)
        await self.go_on()
        self.log = self.twistd.said[told:]
        self.assertIsNone(find_secret(self.log), self.log)
        return self.asked[start:]

    def rewrite(self, *changes: tuple[str, str]) -> None:
        """
        Change the configuration file.
        """
        text = self.says["config"].read_text()
        for before, after in changes:
            self.assertIn(before, text)
            text = text.replace(before, after)
        self.put("mdproxy.conf", text)

    def put(self, name: str, text: str) -> None:
        """
        Write a file, whole or not at all, for its owner alone.
        """
        draft = self.directory / "draft"
        draft.touch(0o600)
        draft.write_text(text)
        os.replace(draft, self.directory / name)

    async def status(self) -> Any:
        """
        Read what it says of its configuration.
        """
        url = f"http://127.0.0.1:{self.says['introspection']}/api/v1/status".encode()
        response = await Agent(cast(Any, reactor)).request(b"GET", url)
        return json.loads(await readBody(response))


class SettingsTests(ReloadCase):
    """
    Settings that change under load (E3).
    """

    async def test_secret(self) -> None:
        """
        E4: what is sent after the reload is signed by the new secret, on the same
        connections with Nova; the latest of two quick changes counts.
        """
        nova, port = self.serve("one")
        await self.start(port)
        self.assertEqual({each.secret for each in self.asked}, {SECRET})
        self.secrets += [b"second", b"third"]
        opened = set(nova.open)
        self.put("secret", "second\n")
        asked = await self.hang_up()
        self.assertEqual({each.secret for each in asked}, {b"second"})
        self.process.signalProcess("HUP")
        self.put("secret", "third\n")
        asked = await self.hang_up()
        self.assertEqual({each.secret for each in asked}, {b"third"})
        self.assertLessEqual(opened, nova.open)

    async def test_upstream(self) -> None:
        """
        E3: what is asked after the reload goes to the new Nova; what is in flight at
        the old one is answered by it, and then nothing is kept open there.
        """
        old, old_port = self.serve("old")
        _new, new_port = self.serve("new")
        await self.start(old_port)
        waiting = await self.join(Guest(b"/held", 1))
        held = await old.held
        self.rewrite((f"_port = {old_port}", f"_port = {new_port}"))
        asked = await self.hang_up()
        self.assertEqual({each.nova for each in asked}, {"new"})
        self.assertEqual(old.open, {held})
        answered = waiting.more(1)
        held.answer()
        await answered
        self.assertEqual((waiting.answers, waiting.is_lost), (1, False))
        await self.go_on()
        self.assertEqual(old.open, set())

    async def test_inventory(self) -> None:
        """
        E3: another inventory file takes the place of the first: whom both know is
        served throughout, whom only the new one knows from then on.
        """
        _nova, port = self.serve("one")
        await self.start(port)
        other = PORTS.replace("127.0.0.1", "127.0.0.2").replace("i-1", "i-2")
        both = PORTS + other.replace("\nports:\n", "").replace(":01", ":02")
        self.put("other.yaml", both)
        self.rewrite(("/ports.yaml", "/other.yaml"))
        asked = await self.hang_up()
        self.assertEqual({each.instance for each in asked}, {"i-1"})
        self.guests.append(await self.join(Guest(), "127.0.0.2"))
        start = await self.go_on()
        await self.go_on()
        self.assertEqual({e.instance for e in self.asked[start:]}, {"i-1", "i-2"})

    async def test_refused(self) -> None:
        """
        E3: a bad configuration is refused with all its faults, in the log as errors and
        in the status, and nothing of it counts; when it is repaired it is taken.
        """
        nova, port = self.serve("one")
        await self.start(port)
        opened = set(nova.open)
        self.put("secret", "second\n")
        self.secrets.append(b"second")
        self.rewrite(
            ("max_request_rate = 1000000", "max_request_rate = often"),
            ("/ports.yaml", "/ports.yaml\npaht = elsewhere"),
        )
        asked = await self.hang_up(_REFUSED)
        self.assertEqual({each.secret for each in asked}, {SECRET})
        self.assertLessEqual(opened, nova.open)
        faults = (await self.status())["configuration"]["last_reload"]["faults"]
        self.assertEqual(len(faults), 2, faults)
        text = "\n".join(faults)
        for place in ("[static] paht", "[limits] max_request_rate"):
            self.assertIn(place, text)
        for fault in faults:
            self.assertEqual(self.log.count(fault), 1, self.log)
        # What can be read, but not what it names, is no better.
        self.rewrite(("= often", "= 1000000"), ("/ports.yaml\npaht", "/none.yaml\n#"))
        asked = await self.hang_up(_REFUSED)
        self.assertEqual({each.secret for each in asked}, {SECRET})
        self.assertIn(f"{self.directory}/none.yaml does not exist", self.log)
        self.rewrite(("/none.yaml", "/ports.yaml"))
        asked = await self.hang_up()
        self.assertEqual({each.secret for each in asked}, {b"second"})
        last = (await self.status())["configuration"]["last_reload"]
        self.assertEqual((last["result"], last["faults"]), ("taken", []))

    async def test_needs_a_restart(self) -> None:
        """
        E3: what only a restart can change is named; all else takes effect.
        """
        _nova, port = self.serve("one")
        await self.start(port)
        self.put("secret", "second\n")
        self.secrets.append(b"second")
        text = self.says["config"].read_text()
        self.put("mdproxy.conf", text + "[listener:more]\nkind = device\n")
        asked = await self.hang_up()
        self.assertIn("needs a restart: [listener:more]\n", self.log)
        self.assertEqual({each.secret for each in asked}, {b"second"})


class UnitTests(ReloadCase):
    """
    The service as systemd starts it.
    """

    async def test_reloaded_while_it_starts(self) -> None:
        """
        E3: SIGHUP does not end it however early it comes, for systemd would take that
        for an end that was wanted; when it is up it reloads.
        """
        parser = ConfigParser(strict=False, interpolation=None)
        parser.read_string(_UNIT.read_text())
        argv = shlex.split(parser["Service"]["ExecStart"])
        _nova, port = self.serve("one")
        self.says = write_config(Path(self.mktemp()), _MORE, port)
        self.directory = self.says["directory"]
        for ours, theirs in (
            (Path(sys.executable).with_name("twistd"), "/opt/mdproxy/bin/twistd"),
            (self.says["config"], "/etc/mdproxy/mdproxy.conf"),
        ):
            self.assertIn(theirs, argv[-1])
            argv[-1] = argv[-1].replace(theirs, str(ours))
        early = await self.begin(self.twistd.execute(argv), hang_up=True)
        self.assertGreater(early, 0)
        self.put("secret", "second\n")
        self.secrets.append(b"second")
        asked = await self.hang_up()
        self.assertEqual({each.secret for each in asked}, {b"second"})


class CertificateTests(ReloadCase):
    """
    Certificates that are replaced under load.
    """

    def setUp(self) -> None:
        """
        Make two sets of certificates, of which Nova trusts both.
        """
        super().setUp()
        self.sets: list[Certificates] = []
        for _ in range(2):
            directory = Path(self.mktemp())
            directory.mkdir()
            self.sets.append(make(directory))
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate_chain_file(str(self.sets[0].server.certificate))
        context.use_privatekey_file(str(self.sets[0].server.key))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        for each in self.sets:
            context.load_verify_locations(str(each.ca))
        self.nova, self.port = self.serve("one", MutualTls(context))
        self.own = KeyPair(Path(self.mktemp()), Path(self.mktemp()))
        self.write(self.sets[0].client.certificate, self.own.certificate)
        self.write(self.sets[0].client.key, self.own.key)

    def write(self, source: Path, target: Path) -> None:
        """
        Write a file over another.
        """
        target.touch(0o600)
        target.write_bytes(source.read_bytes())

    async def test_rotated(self) -> None:
        """
        C7: while only one of the two files is new they are refused, and the old pair
        stays in use; with both, new connections show the new certificate, and the old
        ones are closed without a request lost.
        """
        await self.start(
            self.port,
            {
                "nova_metadata_protocol": "https",
                "auth_ca_cert": self.sets[0].ca.absolute(),
                "nova_client_cert": self.own.certificate.absolute(),
                "nova_client_priv_key": self.own.key.absolute(),
            },
        )
        [old] = {each.serial for each in self.asked}
        before = set(self.nova.open)
        self.write(self.sets[1].client.certificate, self.own.certificate)
        asked = await self.hang_up(_REFUSED)
        self.assertEqual({each.serial for each in asked}, {old})
        self.assertLessEqual(before, self.nova.open)
        self.assertIn(
            f"{self.own.key.absolute()} is not the key of "
            f"{self.own.certificate.absolute()}",
            self.log,
        )
        self.write(self.sets[1].client.key, self.own.key)
        asked = await self.hang_up()
        [new] = {each.serial for each in asked}
        self.assertNotEqual(new, old)
        self.assertEqual(before & self.nova.open, set())
        # Nothing has changed since, so nothing is closed.
        before = set(self.nova.open)
        await self.hang_up()
        self.assertLessEqual(before, self.nova.open)


class UnprivilegedTests(ReloadCase):
    """
    A process that has put off its privileges.
    """

    def mktemp(self) -> str:
        """
        Name a directory that everybody may enter.
        """
        path: str = super().mktemp()
        Path(path).parent.chmod(0o755)
        return path

    async def test_without_root(self) -> None:
        """
        E11: it reloads what its user may read; what only root may read is a fault in a
        plain sentence, and the old secret stays.
        """
        if os.getuid() != 0:
            raise SkipTest("only root can put off privileges")
        user = pwd.getpwnam("nobody")
        self.addCleanup(os.umask, os.umask(0o022))
        _nova, port = self.serve("one")
        await self.start(port, {}, "--uid", str(user.pw_uid), "--gid", str(user.pw_gid))
        held = self.state()
        self.assertEqual(held["Uid"].split(), [str(user.pw_uid)] * 4)
        self.assertEqual(held["Gid"].split(), [str(user.pw_gid)] * 4)
        self.assertEqual(int(held["CapEff"], 16), 0)
        secret = self.directory / "secret"
        self.put("secret", "second\n")
        self.secrets.append(b"second")
        asked = await self.hang_up(_REFUSED)
        self.assertIn(f"{secret} cannot be read: Permission denied", self.log)
        self.assertEqual({each.secret for each in asked}, {SECRET})
        os.chown(secret, user.pw_uid, user.pw_gid)
        os.chown(self.says["config"], user.pw_uid, user.pw_gid)
        asked = await self.hang_up()
        self.assertEqual({each.secret for each in asked}, {b"second"})
