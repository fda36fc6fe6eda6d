"""
Tests for L{mdproxy.introspection.endpoint}.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, cast

from attrs import define, evolve
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from twisted.test.iosim import FakeTransport, connect
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mdproxy.config import ConfigError
from mdproxy.introspection.endpoint import (
    IntrospectionService,
    Papers,
    ServerTls,
    make_introspection,
    papers_of,
)
from mdproxy.introspection.guard import Guard
from mdproxy.introspection.site import MOST, OperatorsSite, make_site
from mdproxy.tls import TlsMisconfigured
from tests.lab.certs import Certificates, KeyPair, make
from tests.secrecy import SecrecyTestCase
from tests.test_introspection_tree import CONFIG

_GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class ServiceTests(SecrecyTestCase):
    """
    Tests for L{IntrospectionService}.
    """

    def setUp(self) -> None:
        """
        Make the service, on a port that may be taken.
        """
        super().setUp()
        self.reactor = MemoryReactorClock()
        self.taken = True
        self.service = IntrospectionService(
            cast(IStreamServerEndpoint, self),
            Factory(),
            self.reactor,
        )

    def listen(self, factory: Any) -> Deferred[IListeningPort]:
        """
        Provide C{IStreamServerEndpoint.listen}.
        """
        if self.taken:
            return fail(CannotListenError("127.0.0.1", 8085, "taken"))
        return succeed(self.reactor.listenTCP(8085, factory, interface="127.0.0.1"))

    def test_taken(self) -> None:
        """
        A port that somebody has is told of once, tried again, and told of when it is
        ours.
        """
        self.service.startService()
        self.reactor.pump([5, 5])
        self.assertEqual(self.reactor.tcpServers, [])
        self.taken = False
        self.reactor.advance(5)
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8085])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        said = [event["log_format"] for event in self.events]
        self.assertEqual(len(said), 2, said)
        self.assertIn("does not listen", said[0])

    def test_stops(self) -> None:
        """
        When it is stopped it neither listens nor tries to, and it may start again.
        """
        for taken in (True, False, True):
            self.taken = taken
            self.service.startService()
            stopped = maybeDeferred(self.service.stopService)
            self.successResultOf(stopped)
            self.assertEqual(self.reactor.getDelayedCalls(), [])


@implementer(IOpenSSLClientConnectionCreator)
@define(eq=False)
class _ClientTls:
    """
    An operator's side of TLS; it trusts anybody.

    @ivar pair: What it shows; C{None}: nothing.
    @ivar newest: The newest version of TLS that it speaks; C{None}: any.
    """

    pair: KeyPair | None
    newest: int | None = None

    def clientConnectionForTLS(self, tls_protocol: object) -> SSL.Connection:
        """
        Provide C{IOpenSSLClientConnectionCreator.clientConnectionForTLS}.
        """
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if self.pair is not None:
            context.use_certificate_file(str(self.pair.certificate))
            context.use_privatekey_file(str(self.pair.key))
        if self.newest is not None:
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            context.set_min_proto_version(SSL.TLS1_VERSION)
            context.set_max_proto_version(self.newest)
        return SSL.Connection(context, None)


@define(eq=False)
class _Operator(Protocol):
    """
    An operator who asks for the front page.

    @ivar says: What is sent.
    @ivar came: What came back.
    @ivar lost: How the connection ended; C{None}: it has not.
    """

    says: bytes = _GET
    came: bytes = b""
    lost: Failure | None = None

    def connectionMade(self) -> None:
        """
        Ask.
        """
        assert self.transport is not None
        self.transport.write(self.says)

    def dataReceived(self, data: bytes) -> None:
        """
        Take what comes.
        """
        self.came += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Note the end.
        """
        self.lost = reason


class _Certified(SecrecyTestCase):
    """
    Certificates, made once for all tests of a class; and a site.
    """

    certificates: Certificates

    def setUp(self) -> None:
        """
        Make them.
        """
        super().setUp()
        if "certificates" not in vars(type(self)):
            directory = Path(self.mktemp())
            directory.mkdir()
            type(self).certificates = make(directory)
        self.reactor = MemoryReactorClock()
        self.site: OperatorsSite = make_site({}, Guard(), self.reactor)
        own = Path(self.mktemp()).resolve()
        shutil.copytree(self.certificates.ca.parent, own)
        pair = self.certificates.server
        self.config = evolve(
            CONFIG,
            endpoint="tcp:8085:interface=192.0.2.7",
            certificate=str(own / pair.certificate.name),
            private_key=str(own / pair.key.name),
            client_ca=str(own / self.certificates.ca.name),
        )

    def copy(self, source: Path, target: str | None) -> None:
        """
        Put another file in the place of one.
        """
        assert target is not None
        os.replace(shutil.copy(source, target + ".new"), target)


class TlsTests(_Certified):
    """
    Tests for the endpoint by TLS.
    """

    def setUp(self) -> None:
        """
        Listen.
        """
        super().setUp()
        service, self.tls = make_introspection(self.config, self.site, self.reactor)
        service.startService()
        ((port, self.factory, _backlog, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (8085, "192.0.2.7"))

    def visit(
        self, pair: KeyPair | None, newest: int | None = None, says: bytes = _GET
    ) -> _Operator:
        """
        Ask as an operator.

        @param pair: The certificate to show.
        @param newest: The newest version of TLS that is spoken.
        """
        operator = _Operator(says)
        tls = TLSMemoryBIOFactory(
            _ClientTls(pair, newest),
            True,
            cast(Any, Factory.forProtocol(lambda: operator)),
            self.reactor,
        )
        ours: Any = self.factory.buildProtocol(cast(Any, None))
        theirs: Any = tls.buildProtocol(None)
        self.pump = connect(
            ours,
            FakeTransport(ours, True),
            theirs,
            FakeTransport(theirs, False),
            clock=self.reactor,
        )
        self.pump.flush()
        return operator

    def expect_answer(self, operator: _Operator) -> None:
        """
        An operator got an answer.
        """
        self.assertTrue(operator.came.startswith(b"HTTP/1.1 404"), operator.came)

    def expect_nothing(self, operator: _Operator) -> None:
        """
        An operator got none, and none is connected.
        """
        self.assertEqual(operator.came, b"")
        self.assertIsNotNone(operator.lost)
        self.assertEqual(self.site.connections, set())

    def test_interface(self) -> None:
        """
        It is what Twisted asks for.
        """
        verifyObject(IOpenSSLServerConnectionCreator, self.tls)

    def test_certified(self) -> None:
        """
        Who shows a certificate that the CA signed gets an answer, by either version.
        """
        for newest in (None, SSL.TLS1_2_VERSION):
            self.expect_answer(self.visit(self.certificates.client, newest))
        self.assertEqual(self.logged(), [])

    def test_same_origin(self) -> None:
        """
        A page that came by TLS may change something; one in clear may not, though its
        name is the same.
        """
        for scheme, status in ((b"https", b"404"), (b"http", b"403")):
            says = _GET.replace(b"GET", b"POST").replace(
                b"\r\n\r\n", b"\r\nOrigin: %b://localhost\r\n\r\n" % scheme
            )
            operator = self.visit(self.certificates.client, says=says)
            self.assertTrue(operator.came.startswith(b"HTTP/1.1 " + status), scheme)

    def test_others(self) -> None:
        """
        Who shows none, or another's, gets nothing, by either version; and the log says
        why, once.
        """
        for newest in (None, SSL.TLS1_2_VERSION):
            for pair in (None, self.certificates.rogue_client):
                self.expect_nothing(self.visit(pair, newest))
        none, rogue = (text for _level, text in self.logged())
        self.assertIn("TLS failed: peer did not return a certificate", none)
        self.assertIn("its client's certificate was refused: its issuer is not", rogue)

    def test_old(self) -> None:
        """
        Nothing older than TLS 1.2 is spoken.
        """
        self.expect_nothing(self.visit(self.certificates.client, SSL.TLS1_1_VERSION))

    def test_expired(self) -> None:
        """
        A certificate that has ended opens nothing.
        """
        self.expect_nothing(self.visit(self.certificates.expired))

    def test_purpose(self) -> None:
        """
        A server's certificate opens nothing, though the same CA signed it.
        """
        self.expect_nothing(self.visit(self.certificates.server))

    def test_full(self) -> None:
        """
        Where there is no room a connection by TLS is ended, too.
        """
        for _ in range(MOST):
            self.visit(self.certificates.client)
        for channel in self.site.connections:
            # As if it were still being answered.
            channel.idle_since = None
        operator = self.visit(self.certificates.client)
        self.pump.flush()
        self.assertEqual(operator.came, b"")
        self.assertIsNotNone(operator.lost)

    def test_silent(self) -> None:
        """
        Who does not even shake hands is not waited for.
        """
        protocol: Any = self.factory.buildProtocol(cast(Any, None))
        transport = FakeTransport(protocol, True)
        protocol.makeConnection(transport)
        self.reactor.advance(30)
        self.assertTrue(transport.disconnected or transport.disconnecting)

    def test_renewed(self) -> None:
        """
        When the files are read again they count for those who come after; until then,
        and where the reload is undone, the old ones do.
        """
        assert self.tls is not None
        rogue = self.certificates.rogue_client
        self.copy(self.certificates.rogue_ca, self.config.client_ca)
        self.expect_nothing(self.visit(rogue))
        change = self.tls.prepare(cast(Any, None), cast(Any, None))
        self.expect_nothing(self.visit(rogue))
        change.apply()
        self.expect_answer(self.visit(rogue))
        change.undo()
        self.expect_answer(self.visit(self.certificates.client))

    def test_not_renewed(self) -> None:
        """
        Files that can't be used are refused, and what was read before stays.
        """
        assert self.tls is not None
        Path(str(self.config.certificate)).write_text("no certificate")
        error = self.assertRaises(
            ConfigError, self.tls.prepare, cast(Any, None), cast(Any, None)
        )
        (fault,) = error.faults
        self.assertIn(str(self.config.certificate), fault)
        self.expect_answer(self.visit(self.certificates.client))


class PapersTests(_Certified):
    """
    Tests for L{Papers} and what a configuration makes of them.
    """

    def test_none(self) -> None:
        """
        Where no files are named there is no TLS.
        """
        self.assertIsNone(papers_of(CONFIG))
        service, tls = make_introspection(CONFIG, self.site, self.reactor)
        self.assertIsNone(tls)
        service.startService()
        self.assertIs(self.reactor.tcpServers[0][1], self.site)

    def test_no_client_ca(self) -> None:
        """
        Without a CA for them operators need no certificate.
        """
        papers = papers_of(evolve(self.config, client_ca=None))
        assert papers is not None
        self.assertEqual(papers.read().get_verify_mode(), SSL.VERIFY_NONE)

    def test_misconfigured(self) -> None:
        """
        Files that can't be used are refused at the start, by their names; and nothing
        of a key is in what is said.
        """
        rogue = self.certificates.rogue_server
        for option, path in (
            ("certificate", "/nonexistent"),
            ("private_key", "/nonexistent"),
            ("private_key", str(rogue.key)),
            ("client_ca", "/nonexistent"),
            ("client_ca", str(rogue.key)),
        ):
            named: dict[str, Any] = {option: path}
            config = evolve(self.config, **named)
            error = self.assertRaises(
                UsageError, make_introspection, config, self.site, self.reactor
            )
            self.assertIn(path, str(error))
            self.assertNotIn("PRIVATE", str(error))

    def test_nothing_secret_shown(self) -> None:
        """
        What is made of them shows nothing but paths.
        """
        papers = papers_of(self.config)
        assert papers is not None
        self.assertNotIn("BEGIN", repr(ServerTls(papers)))
        self.assertRaises(TlsMisconfigured, Papers("/x", "/x", None).read)
