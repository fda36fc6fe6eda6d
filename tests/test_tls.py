"""
Tests for L{mdproxy.tls}, and for L{mdproxy.http.client} on top of it.

Both ends are real OpenSSL; what they say to each other goes through memory.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mdproxy.http.client import (
    NovaConnection,
    Patience,
    UpstreamTlsFailed,
    UpstreamUnavailable,
)
from mdproxy.http.transports import CountingTls
from mdproxy.nova_config import Endpoint as NovaEndpoint
from mdproxy.nova_config import TlsFiles, UpstreamConfig
from mdproxy.pool import make_upstream
from mdproxy.sweep import PERIOD, Sweep
from mdproxy.tls import ClientTls, TlsMisconfigured, client_tls
from mdproxy.upstream import Endpoint, Extent, Upstream
from tests.lab.certs import Certificates, KeyPair, make
from tests.playbook import Ask, ask

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class _ServerTls:
    """
    Nova's side of TLS.

    @ivar context: What it shows and wants.
    """

    context: SSL.Context

    def serverConnectionForTLS(self, tls_protocol: object) -> SSL.Connection:
        """
        Provide C{IOpenSSLServerConnectionCreator.serverConnectionForTLS}.
        """
        return SSL.Connection(self.context, None)


def _server_tls(
    pair: KeyPair, client_ca: Path | None = None, newest: int | None = None
) -> _ServerTls:
    """
    Make Nova's side of TLS.

    @param client_ca: By whom clients' certificates must be; C{None}: none is needed.
    @param newest: The newest version of TLS that it speaks.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(pair.certificate))
    context.use_privatekey_file(str(pair.key))
    if client_ca is not None:
        context.load_verify_locations(str(client_ca))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    if newest is not None:
        # OpenSSL 3 speaks nothing older than TLS 1.2 at its default level.
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(newest)
    return _ServerTls(context)


class _Nova(Protocol):
    """
    A Nova that answers whatever comes.
    """

    def __init__(self, received: list[bytes], answer: bytes) -> None:
        """
        Be a Nova.

        @param received: Takes all that comes to it.
        """
        self._received = received
        self._answer = answer

    def dataReceived(self, data: bytes) -> None:
        """
        Answer.
        """
        self._received.append(data)
        assert self.transport is not None
        self.transport.write(self._answer)


@define(eq=False)
class _World:
    """
    A pool and a Nova that it connects to.

    @ivar tls: Our side of TLS.
    @ivar server: Nova's; C{None}: it speaks plain HTTP.
    @ivar answer: What Nova answers.
    @ivar deaf: Whether nothing that we send arrives.
    @ivar received: What Nova's application received.
    """

    tls: ClientTls
    server: _ServerTls | None
    answer: bytes = _OK
    deaf: bool = False
    received: list[bytes] = field(factory=list)
    clock: MemoryReactorClock = field(factory=MemoryReactorClock)
    pumps: list[IOPump] = field(factory=list)
    sweep: Sweep = field(init=False)
    pool: Upstream = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Make the pool.
        """
        self.sweep = Sweep(self.clock)
        self.pool = Upstream(
            [Endpoint("localhost", 8775, self.tls)],
            self._connect,
            self.clock,
            self.sweep,
            Random(1),
            Patience(),
            Extent(),
        )

    def _connect(
        self, endpoint: Endpoint, factory: Factory[NovaConnection], seconds: float
    ) -> Deferred[Any]:
        """
        Provide C{Connector}.
        """
        nova: Any = Factory.forProtocol(lambda: _Nova(self.received, self.answer))
        if self.server is not None:
            nova = TLSMemoryBIOFactory(self.server, False, nova, self.clock)
        tls = TLSMemoryBIOFactory(self.tls, True, factory, self.clock)
        tls.protocol = CountingTls
        ours: Any = tls.buildProtocol(None)
        theirs: Any = nova.buildProtocol(None)
        self.pumps.append(
            connect(
                theirs,
                FakeTransport(theirs, True),
                ours,
                FakeTransport(ours, False),
                greet=not self.deaf,
                clock=self.clock,
            )
        )
        return succeed(ours)

    def ask(self, method: bytes = b"GET") -> Ask:
        """
        Send a request and let everything be said.
        """
        exchange = ask(method)
        self.pool.send(exchange)
        if not self.deaf:
            for pump in self.pumps:
                pump.flush()
        return exchange


class _Certified:
    """
    Certificates, made once for all tests of a class.
    """

    certificates: Certificates
    mktemp: Callable[[], str]

    def setUp(self) -> None:
        """
        Make them.
        """
        if not hasattr(type(self), "certificates"):
            directory = Path(self.mktemp())
            directory.mkdir()
            type(self).certificates = make(directory)

    def client(
        self,
        host: str = "localhost",
        pair: KeyPair | None = None,
        insecure: bool = False,
    ) -> ClientTls:
        """
        Make our side of TLS, which trusts the CA.
        """
        return client_tls(
            host,
            str(self.certificates.ca),
            None if pair is None else str(pair.certificate),
            None if pair is None else str(pair.key),
            insecure,
        )


class HandshakeTests(_Certified, SynchronousTestCase):
    """
    Who is talked to, and what is said before that is known.
    """

    def expect_answer(self, world: _World) -> None:
        """
        A request is answered.
        """
        exchange = world.ask()
        self.assertEqual(exchange.summary, [200, b"ok", "done"])
        self.assertEqual(len(world.received), 1)
        self.assertIn(b"X-Instance-ID-Signature: 5ec2e7", world.received[0])

    def expect_failure(self, world: _World, *reasons: str) -> Ask:
        """
        A request fails with one of some reasons, and nothing of it reaches Nova.
        """
        exchange = world.ask()
        self.assertEqual(exchange.summary, [UpstreamTlsFailed])
        text = str(exchange.told[0])
        self.assertTrue(any(reason in text for reason in reasons), text)
        self.assertNotIn("5ec2e7", text)
        self.assertNotIn(b"5ec2e7", b"".join(world.received))
        self.assertNotIn(b"Host", b"".join(world.received))
        return exchange

    def test_names(self) -> None:
        """
        A certificate counts for each name and IP address that stands in it.
        """
        server = _server_tls(self.certificates.server)
        for host in ("localhost", "nova-md", "NOVA-MD", "127.0.0.1"):
            self.expect_answer(_World(self.client(host), server))

    def test_kept(self) -> None:
        """
        A verified connection is kept.
        """
        world = _World(self.client(), _server_tls(self.certificates.server))
        for _ in range(3):
            self.assertEqual(world.ask().summary, [200, b"ok", "done"])
        self.assertEqual(len(world.pumps), 1)

    def test_mutual(self) -> None:
        """
        Nova gets our certificate where it wants one, in each version of TLS.
        """
        for newest in (SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
            server = _server_tls(self.certificates.server, self.certificates.ca, newest)
            self.expect_answer(
                _World(self.client(pair=self.certificates.client), server)
            )

    def test_no_client_certificate(self) -> None:
        """
        A Nova that misses our certificate gets nothing.
        """
        for newest in (SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
            server = _server_tls(self.certificates.server, self.certificates.ca, newest)
            self.expect_failure(
                _World(self.client(), server),
                "alert certificate required",
                "alert handshake failure",
            )

    def test_refused_client_certificate(self) -> None:
        """
        Nor does one that doesn't trust it.  With TLS 1.3 this shows at the first read.
        """
        for newest in (SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
            server = _server_tls(self.certificates.server, self.certificates.ca, newest)
            self.expect_failure(
                _World(self.client(pair=self.certificates.rogue_client), server),
                "alert unknown ca",
            )

    def test_refused_client_certificate_and_post(self) -> None:
        """
        So it is for a request that can't be sent twice.
        """
        server = _server_tls(self.certificates.server, self.certificates.ca)
        world = _World(self.client(pair=self.certificates.rogue_client), server)
        exchange = world.ask(b"POST")
        self.assertEqual(exchange.summary, [UpstreamTlsFailed])
        self.assertEqual(world.received, [])

    def test_who_refuses_us_is_down(self) -> None:
        """
        A Nova that refuses our certificate is down for the pool, with the reason, also
        where it does so after the handshake (TLS 1.3), and whether somebody asks or a
        connection is only kept for later.
        """
        server = _server_tls(self.certificates.server, self.certificates.ca)
        pair = self.certificates.rogue_client
        for asks in (True, False):
            world = _World(self.client(pair=pair), server)
            if asks:
                world.ask()
            else:
                world.pool.keep_ready()
                world.sweep.tick()
                for pump in world.pumps:
                    pump.flush()
            (described,) = world.pool.describe()["endpoints"]
            self.assertEqual((described["up"], described["idle"]), (False, 0))
            self.assertIn("TLS failed", described["problem"])
            for _ in range(8):
                world.clock.advance(1)
                world.sweep.tick()
                for pump in world.pumps:
                    pump.flush()
                (described,) = world.pool.describe()["endpoints"]
                self.assertEqual(described["up"], False)

    def test_refused_server_certificates(self) -> None:
        """
        A Nova that can't prove that it is Nova is told nothing, and the reason is
        told in words.
        """
        files = self.certificates
        for pair, host, reason in (
            (files.wrong_name, "localhost", "not for localhost"),
            (files.wrong_name, "127.0.0.1", "not for 127.0.0.1"),
            (files.server, "other.example", "not for other.example"),
            (files.server, "127.0.0.2", "not for 127.0.0.2"),
            (files.server, "::1", "not for ::1"),
            (files.expired, "localhost", "it has expired"),
            (files.rogue_server, "localhost", "its issuer is not one that we trust"),
            (files.client, "mdproxy", "it is not meant for this purpose"),
        ):
            for newest in (SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
                world = _World(self.client(host), _server_tls(pair, newest=newest))
                exchange = self.expect_failure(world, reason)
                self.assertEqual(exchange.sent, False)
                self.assertEqual(world.received, [])

    def test_refused_ones_are_left_alone(self) -> None:
        """
        An endpoint that can't be verified is down for the pool, with the reason.
        """
        world = _World(self.client(), _server_tls(self.certificates.expired))
        self.expect_failure(world, "it has expired")
        self.expect_failure(world, "it has expired")
        self.assertEqual(len(world.pumps), 1)
        (described,) = world.pool.describe()["endpoints"]
        self.assertEqual((described["up"], described["tls"]), (False, True))
        self.assertIn("it has expired", described["problem"])

    def test_plain_server(self) -> None:
        """
        A Nova that speaks no TLS gets a greeting of TLS and nothing else.
        """
        for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"SSH-2.0-x\r\n"):
            world = _World(self.client(), None, answer=answer)
            exchange = world.ask()
            if answer:
                self.assertEqual(exchange.summary, [UpstreamTlsFailed])
                self.assertEqual(exchange.sent, False)
            self.assertNotIn(b"5ec2e7", b"".join(world.received))
            self.assertEqual(b"".join(world.received)[:2], b"\x16\x03")

    def test_old_server(self) -> None:
        """
        TLS 1.1 is not spoken.
        """
        server = _server_tls(self.certificates.server, newest=SSL.TLS1_1_VERSION)
        exchange = self.expect_failure(_World(self.client(), server), "alert protocol")
        self.assertEqual(exchange.sent, False)

    def test_no_handshake_in_time(self) -> None:
        """
        A handshake that doesn't end is given up in time.
        """
        world = _World(self.client(), _server_tls(self.certificates.server), deaf=True)
        exchange = world.ask()
        self.assertEqual(exchange.told, [])
        for _ in range(int(3.25 / PERIOD)):
            world.clock.advance(PERIOD)
            world.sweep.tick()
        self.assertIsInstance(exchange.told[0], UpstreamUnavailable)
        self.assertEqual(exchange.sent, False)
        world.pumps[0].flush()
        self.assertEqual((world.received, len(exchange.told)), ([], 1))

    def test_closed_in_the_handshake(self) -> None:
        """
        A Nova that hangs up in the handshake has failed at TLS.
        """
        world = _World(self.client(), _server_tls(self.certificates.server), deaf=True)
        exchange = world.ask()
        (pump,) = world.pumps
        pump.server.transport.loseConnection()
        pump.flush()
        self.assertEqual(exchange.summary, [UpstreamTlsFailed])
        self.assertEqual(exchange.sent, False)

    def test_insecure(self) -> None:
        """
        Where the operator says so, anybody may be Nova.
        """
        files = self.certificates
        for pair in (files.wrong_name, files.expired, files.rogue_server, files.server):
            for host in ("localhost", "127.0.0.1"):
                tls = self.client(host, insecure=True)
                self.expect_answer(_World(tls, _server_tls(pair)))

    def test_bytes_to_nobody(self) -> None:
        """
        What a verified Nova sends behind its answer reaches nobody.
        """
        world = _World(
            self.client(),
            _server_tls(self.certificates.server),
            answer=_OK + _OK.replace(b"ok", b"no"),
        )
        for _ in range(3):
            self.assertEqual(world.ask().summary, [200, b"ok", "done"])
        self.assertEqual(len(world.pumps), 3)


class FilesTests(_Certified, SynchronousTestCase):
    """
    Tests for L{client_tls}.
    """

    def write(self, text: bytes) -> str:
        """
        Write a file.
        """
        path = Path(self.mktemp())
        path.write_bytes(text)
        return str(path)

    def locked_key(self) -> str:
        """
        Write the client's key, locked with a passphrase.
        """
        key = serialization.load_pem_private_key(
            self.certificates.client.key.read_bytes(), None
        )
        return self.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"open sesame"),
            )
        )

    def test_unusable(self) -> None:
        """
        A file that can't be used is named, whichever it is.
        """
        files = self.certificates
        ca, certificate = str(files.ca), str(files.client.certificate)
        key, other = str(files.client.key), str(files.server.key)
        missing = self.mktemp()
        folder = self.mktemp()
        Path(folder).mkdir()
        bad = [missing, folder, self.write(b""), self.write(b"S3CRET\n")]
        bad.append(self.write(b"-----BEGIN CERTIFICATE-----\nS3CRET\n"))
        cases: list[tuple[str, tuple[str, str | None, str | None]]] = [
            *((path, (path, None, None)) for path in bad),
            *((path, (ca, path, key)) for path in bad),
            *((path, (ca, certificate, path)) for path in bad),
            (other, (ca, certificate, other)),
            (certificate, (ca, certificate, None)),
            (key, (key, None, None)),
            (key, (ca, key, key)),
            (certificate, (ca, certificate, certificate)),
        ]
        cases.append((locked := self.locked_key(), (ca, certificate, locked)))
        for path, arguments in cases:
            error = self.assertRaises(
                TlsMisconfigured, client_tls, "localhost", *arguments, False
            )
            self.assertIn(path, str(error))
            self.assertNotIn("S3CRET", str(error))

    def pair(self) -> tuple[KeyPair, Callable[[KeyPair], None]]:
        """
        Have a pair of files of one's own, with the client's certificate in them.

        @return: The pair, and what puts the contents of another in its place.
        """
        own = KeyPair(Path(self.write(b"")), Path(self.write(b"")))

        def put(other: KeyPair) -> None:
            own.certificate.write_bytes(other.certificate.read_bytes())
            own.key.write_bytes(other.key.read_bytes())

        put(self.certificates.client)
        return own, put

    def test_same_contents(self) -> None:
        """
        From the same contents comes the same, wherever they stand; from any other
        contents, for another host or with other rules comes another.
        """
        files = self.certificates
        own, put = self.pair()
        ca, certificate, key = map(str, (files.ca, own.certificate, own.key))
        known = client_tls("localhost", ca, certificate, key, False)

        def again(
            host: str = "localhost", trusted: str = ca, insecure: bool = False
        ) -> bool:
            made = client_tls(host, trusted, certificate, key, insecure, [known])
            return made is known

        self.assertTrue(again())
        self.assertTrue(again(trusted=self.write(files.ca.read_bytes())))
        self.assertFalse(again(host="127.0.0.1"))
        self.assertFalse(again(insecure=True))
        self.assertFalse(again(trusted=str(files.rogue_ca)))
        put(files.rogue_client)
        self.assertFalse(again())
        put(files.client)
        self.assertTrue(again())

    def test_system_trust_may_change(self) -> None:
        """
        Where the system's CAs are trusted nobody can tell whether they are the same.
        """
        known = client_tls("localhost", None, None, None, False)
        again = client_tls("localhost", None, None, None, False, [known])
        self.assertIsNot(again, known)

    def test_changed_while_read(self) -> None:
        """
        Files that change while they are read are refused, although each of the pairs
        fits: nobody knows which of them was loaded.
        """
        own, put = self.pair()

        def meddle() -> Iterator[ClientTls]:
            put(self.certificates.rogue_client)
            yield from ()

        error = self.assertRaises(
            TlsMisconfigured,
            client_tls,
            "localhost",
            str(self.certificates.ca),
            str(own.certificate),
            str(own.key),
            False,
            meddle(),
        )
        self.assertIn("changed while they were read", str(error))
        self.assertIn(str(own.key), str(error))

    def test_never_prompts(self) -> None:
        """
        A locked key is an error and no question on the terminal.
        """
        certificate = str(self.certificates.client.certificate)
        program = (
            "import sys; from mdproxy.tls import client_tls, TlsMisconfigured\n"
            "try: client_tls('a', None, sys.argv[1], sys.argv[2], False)\n"
            "except TlsMisconfigured as error: print('said:', error)"
        )
        locked = self.locked_key()
        run = subprocess.run(
            [sys.executable, "-c", program, certificate, locked],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            timeout=60,
            check=True,
        )
        self.assertEqual(run.stderr, b"")
        self.assertEqual(run.stdout.count(b"\n"), 1)
        self.assertTrue(run.stdout.startswith(b"said: " + locked.encode()), run.stdout)

    def test_one_file_for_both(self) -> None:
        """
        Certificate and key may stand in one file.
        """
        pair = self.certificates.client
        path = self.write(pair.key.read_bytes() + pair.certificate.read_bytes())
        tls = client_tls("localhost", str(self.certificates.ca), path, None, False)
        server = _server_tls(self.certificates.server, self.certificates.ca)
        self.assertEqual(_World(tls, server).ask().summary, [200, b"ok", "done"])

    def test_system_trust(self) -> None:
        """
        Without a CA the system's are trusted, and not ours.
        """
        tls = client_tls("localhost", None, None, None, False)
        world = _World(tls, _server_tls(self.certificates.server))
        exchange = world.ask()
        self.assertEqual(exchange.summary, [UpstreamTlsFailed])
        self.assertIn("its issuer is not one that we trust", str(exchange.told[0]))

    def test_describes_itself(self) -> None:
        """
        It is what Twisted wants, and its description holds no context.
        """
        tls = self.client()
        self.assertTrue(verifyObject(IOpenSSLClientConnectionCreator, tls))
        self.assertEqual(repr(tls), "ClientTls(_host='localhost', _insecure=False)")


class _Leaving(_Nova):
    """
    A Nova that tells when it is left.
    """

    def __init__(self, received: list[bytes]) -> None:
        """
        Be a Nova.
        """
        super().__init__(received, _OK)
        self.left: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It was left.
        """
        self.left.callback(None)


class RealConnectionTests(_Certified, TestCase):
    """
    The pool as the service makes it, on loopback.
    """

    def serve(self, server: _ServerTls) -> int:
        """
        Listen on loopback.

        @return: The port.
        """
        reactor: Any = global_reactor
        self.received: list[bytes] = []
        self.connections: list[_Leaving] = []

        def build() -> _Leaving:
            self.connections.append(_Leaving(self.received))
            return self.connections[-1]

        nova: Any = Factory.forProtocol(build)
        port = reactor.listenTCP(
            0, TLSMemoryBIOFactory(server, False, nova), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def ask(self, host: str, port: int, pair: KeyPair) -> Deferred[Ask]:
        """
        Make a pool and send a request on it.

        @return: Fires when the request has come to its end.
        """
        files = TlsFiles(
            str(self.certificates.ca), str(pair.certificate), str(pair.key), False
        )
        config = UpstreamConfig(
            (NovaEndpoint(host, port),), files, 2, 2, 30, 30, 30, 300, 0
        )
        reactor: Any = global_reactor
        pool = make_upstream(config, reactor, Sweep(reactor), Random(1))

        async def leave() -> None:
            pool.close()
            for connection in self.connections:
                await connection.left

        self.addCleanup(lambda: Deferred.fromCoroutine(leave()))
        ended: Deferred[Ask] = Deferred()
        exchange = ask()

        def then(told: object) -> None:
            if told == "done" or isinstance(told, Exception):
                ended.callback(exchange)

        exchange.then = then
        pool.send(exchange)
        return ended

    async def test_mutual(self) -> None:
        """
        A request is answered over mutual TLS, by name and by address.
        """
        files = self.certificates
        for host in ("localhost", "127.0.0.1"):
            port = self.serve(_server_tls(files.server, files.ca))
            exchange = await self.ask(host, port, files.client)
            self.assertEqual(exchange.summary, [200, b"ok", "done"])
            self.assertIn(b"Host: %b:%d\r\n" % (host.encode(), port), self.received[0])

    async def test_refused(self) -> None:
        """
        Whoever is refused on either side is told nothing.
        """
        files = self.certificates
        for server, pair, reason in (
            (_server_tls(files.server, files.ca), files.rogue_client, "unknown ca"),
            (_server_tls(files.wrong_name), files.client, "not for localhost"),
            (_server_tls(files.expired), files.client, "it has expired"),
        ):
            port = self.serve(server)
            exchange = await self.ask("localhost", port, pair)
            self.assertEqual(exchange.summary, [UpstreamTlsFailed])
            self.assertIn(reason, str(exchange.told[0]))
            self.assertEqual(self.received, [])
