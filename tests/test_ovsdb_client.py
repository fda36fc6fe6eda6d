"""
Tests for L{mdproxy.ovsdb_client}.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    getConnectError,
)
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.ovsdb import Garbled, Remote
from mdproxy.ovsdb_client import (
    Client,
    Connector,
    Refused,
    Session,
    SessionEnded,
)
from mdproxy.tls import TlsMisconfigured
from tests.lab.certs import make

A, B = Remote("tcp", "10.0.0.1", 6642), Remote("tcp", "10.0.0.2", 6642)


class _Transport(StringTransport):
    """
    A transport that remembers how it was closed.
    """

    aborted = False

    def abortConnection(self) -> None:
        """
        Close it at once.
        """
        self.aborted = True


class _Owner:
    """
    Who asks; remembers what it is told.

    @ivar trap: What it raises when it is told something.
    """

    def __init__(self) -> None:
        """
        Begin.
        """
        self.events: list[Any] = []
        self.trap: Exception | None = None

    def began(self, session: Session) -> None:
        """
        Provide L{Owner.began}.
        """
        self.events.append("began")

    def told(self, session: Session, method: str, params: list[Any]) -> None:
        """
        Provide L{Owner.told}.
        """
        if self.trap is not None:
            raise self.trap
        self.events.append((method, params))

    def ended(self, session: Session | None, problem: str) -> None:
        """
        Provide L{Owner.ended}.
        """
        self.events.append(problem)


class SessionTests(SynchronousTestCase):
    """
    Tests for L{Session}.
    """

    def setUp(self) -> None:
        """
        Connect.
        """
        self.clock = Clock()
        self.owner = _Owner()
        self.session = Session(self.owner, self.clock, A)
        self.transport = _Transport()
        self.session.makeConnection(self.transport)

    def hear(self, **message: Any) -> None:
        """
        Have the server say something.
        """
        self.session.dataReceived(json.dumps(message).encode())

    def said(self) -> Any:
        """
        Take what was said to the server, one message.
        """
        said = json.loads(self.transport.value())
        self.transport.clear()
        return said

    def lose(self, reason: Exception | None = None) -> None:
        """
        End the connection.
        """
        self.session.connectionLost(Failure(reason or ConnectionDone()))

    def test_producer(self) -> None:
        """
        It is told when the server does not read.
        """
        self.assertTrue(verifyObject(IPushProducer, self.session))
        self.assertIs(self.transport.producer, self.session)

    def test_calls(self) -> None:
        """
        Each answer goes to the call that it names, in any order.
        """
        first = self.session.call("get_schema", "x")
        self.assertEqual(
            self.said(), {"id": 1, "method": "get_schema", "params": ["x"]}
        )
        second = self.session.call("echo")
        self.hear(id=2, result=[], error=None)
        self.hear(id=1, error={"error": "unknown database", "details": "secret"})
        self.assertEqual(self.successResultOf(second), [])
        refusal = self.failureResultOf(first, Refused)
        self.assertEqual(str(refusal.value), "unknown database")

    def test_word_of_an_error(self) -> None:
        """
        Of an error nothing but a short word is kept, in plain characters.
        """
        for error, word in (
            ("unknown method", "unknown method"),
            ({"error": "a\r\nb\x1b\u202e" + "c" * 500}, "a??b??" + "c" * 94),
            ({"details": "x"}, "no reason given"),
            (7, "no reason given"),
        ):
            answer = self.session.call("m")
            self.hear(id=self.said()["id"], error=error)
            refusal = self.failureResultOf(answer, Refused)
            self.assertEqual(str(refusal.value), word)

    def test_notifications(self) -> None:
        """
        What the server tells goes to the owner.
        """
        self.hear(method="update2", params=["x", {}], id=None)
        self.assertEqual(self.owner.events, ["began", ("update2", ["x", {}])])

    def test_questions(self) -> None:
        """
        An echo is answered, and what nobody knows is refused.
        """
        self.hear(method="echo", params=["x"], id="echo")
        self.assertEqual(self.said(), {"id": "echo", "result": ["x"], "error": None})
        self.hear(method="steal", params=[], id=1)
        self.assertEqual(self.said()["error"], "unknown method")

    def test_server_that_does_not_read(self) -> None:
        """
        A server that asks and reads no answers is left before they pile up.
        """
        self.session.pauseProducing()
        self.hear(method="update2", params=[], id=None)
        self.assertFalse(self.transport.aborted)
        self.session.resumeProducing()
        self.hear(method="echo", params=[], id="echo")
        self.assertFalse(self.transport.aborted)
        self.session.pauseProducing()
        self.hear(method="echo", params=[], id="echo")
        self.assertTrue(self.transport.aborted)
        self.session.stopProducing()

    def test_garbled(self) -> None:
        """
        What makes no sense costs the connection, and nothing behind it counts.
        """
        answer = self.session.call("m")
        self.session.dataReceived(b'{"id":9,"result":1}{"id":1,"result":1}')
        self.assertTrue(self.transport.aborted)
        self.session.dataReceived(b'{"id":1,"result":1}')
        self.assertNoResult(answer)
        self.lose()
        self.failureResultOf(answer, SessionEnded)
        [_began, problem] = self.owner.events
        self.assertIn("says what is no OVSDB: an answer to none", problem)
        self.failureResultOf(self.session.call("m"), SessionEnded)

    def test_owner_finds_it_garbled(self) -> None:
        """
        What the owner can't make sense of costs the connection, too.
        """
        self.owner.trap = Garbled("nonsense")
        self.hear(method="update2", params=[], id=None)
        self.assertTrue(self.transport.aborted)

    def test_accident(self) -> None:
        """
        An accident of ours costs the connection and no more, and is logged.
        """
        self.owner.trap = RuntimeError("accident")
        with capturedLogs() as logs:
            self.hear(method="update2", params=[], id=None)
        self.assertTrue(self.transport.aborted)
        self.assertEqual(len(logs), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_lost(self) -> None:
        """
        Whoever waits for an answer is told when the connection is lost.
        """
        answer = self.session.call("m")
        self.lose(ConnectionLost())
        self.failureResultOf(answer, SessionEnded)
        self.assertEqual(
            self.owner.events[-1], "tcp:10.0.0.1:6642: the connection was closed"
        )

    def test_lost_with_words(self) -> None:
        """
        Any other end is told by its kind.
        """
        self.lose(RuntimeError("secret"))
        self.assertIn("RuntimeError", self.owner.events[-1])
        self.assertNotIn("secret", self.owner.events[-1])

    def test_silence(self) -> None:
        """
        A silent server is asked for an echo, counts as one that does not answer until
        it does, and is left in the end.
        """
        self.hear(method="update2", params=[], id=None)
        self.clock.advance(4)
        self.session.watch()
        self.assertEqual(self.transport.value(), b"")
        self.clock.advance(1)
        self.session.watch()
        self.assertEqual(self.said()["method"], "echo")
        self.clock.advance(4)
        self.session.watch()
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(self.session.unanswered(), 4)
        self.hear(id=1, result=[], error=None)
        self.assertEqual(self.session.unanswered(), 0)
        self.clock.advance(30)
        self.session.watch()
        self.assertFalse(self.transport.aborted)
        self.clock.advance(1)
        self.session.watch()
        self.assertTrue(self.transport.aborted)
        self.lose()
        self.assertEqual(self.owner.events[-1], "tcp:10.0.0.1:6642 is silent")

    def test_never_a_word(self) -> None:
        """
        A server that says nothing at all is left sooner.
        """
        self.clock.advance(11)
        self.session.watch()
        self.assertTrue(self.transport.aborted)


class ClientTests(SynchronousTestCase):
    """
    Tests for L{Client}.
    """

    def setUp(self) -> None:
        """
        Have connections made by hand.
        """
        self.clock = Clock()
        self.owner = _Owner()
        self.attempts: list[tuple[Remote, Any, Deferred[Any]]] = []
        self.random = 1.0
        self.client = self.make(A)

    def make(self, *remotes: Remote) -> Client:
        """
        Make a client.
        """
        return Client(
            self.clock, remotes, self._connect, lambda: self.random, self.owner
        )

    def _connect(self, remote: Remote, factory: Any) -> Deferred[Any]:
        """
        Provide L{Connect<mdproxy.ovsdb_client.Connect>}.
        """
        self.attempts.append((remote, factory, Deferred()))
        return self.attempts[-1][2]

    def accept(self) -> tuple[Session, _Transport]:
        """
        Let the latest attempt succeed.
        """
        _remote, factory, attempt = self.attempts[-1]
        session, transport = factory.buildProtocol(None), _Transport()
        session.makeConnection(transport)
        attempt.callback(session)
        return session, transport

    def refuse(self) -> None:
        """
        Let the latest attempt fail.
        """
        self.attempts[-1][2].errback(ConnectionRefusedError())

    def pauses(self, client: Client, number: int) -> list[float]:
        """
        Let attempts fail, and take the time between them.
        """
        client.begin()
        found = []
        for _ in range(number):
            self.refuse()
            assert client._pause is not None
            found.append(round(client._pause.getTime() - self.clock.seconds(), 6))
            self.clock.advance(found[-1] + 0.001)
        client.end()
        return found

    def test_pauses(self) -> None:
        """
        The pauses double up to eight seconds, and chance takes half of them at most.
        """
        self.assertEqual(self.pauses(self.client, 6), [1, 2, 4, 8, 8, 8])
        self.random = 0.0
        self.assertEqual(self.pauses(self.make(A), 4), [0.5, 1, 2, 4])

    def test_several(self) -> None:
        """
        Of several servers each is tried before there is a pause, in their order.
        """
        self.assertEqual(self.pauses(self.make(A, B), 4), [0.2, 1, 0.2, 2])
        self.assertEqual([remote for remote, _f, _d in self.attempts], [A, B, A, B, A])
        first, *others = self.owner.events
        self.assertIn("tcp:10.0.0.1:6642 can't be reached", first)
        # The same words, so that they are logged once.
        self.assertEqual(others, [others[0]] * 3)
        self.assertIn("tcp:10.0.0.1:6642 can't be reached", others[0])
        self.assertIn("tcp:10.0.0.2:6642 can't be reached", others[0])

    def test_what_the_kernel_said(self) -> None:
        """
        Of a socket that is not there, or may not be used, that is said.
        """
        for number, words in (
            (errno.ENOENT, "No such file or directory"),
            (errno.EACCES, "Permission denied"),
        ):
            client = self.make(A)
            client.begin()
            self.attempts[-1][2].errback(getConnectError((number, "")))
            client.end()
            self.assertEqual(self.owner.events.pop(), f"{A} can't be reached: {words}")

    def test_proven(self) -> None:
        """
        Once a connection was of use the pauses begin anew; before it was they do not.
        """
        self.client.begin()
        for proven, pause in ((False, 1), (False, 2), (True, 1), (False, 2)):
            session, _transport = self.accept()
            if proven:
                self.client.proven()
            session.connectionLost(Failure(ConnectionDone()))
            self.clock.advance(pause - 0.1)
            attempts = len(self.attempts)
            self.clock.advance(0.1)
            self.assertEqual(len(self.attempts), attempts + 1)
        self.client.end()

    def test_session(self) -> None:
        """
        The connection is there while it lasts, and watched.
        """
        self.client.begin()
        self.assertIsNone(self.client.session)
        session, transport = self.accept()
        self.assertIs(self.client.session, session)
        session.dataReceived(b'{"method":"update2","params":[],"id":null}')
        self.assertEqual(self.owner.events, ["began", ("update2", [])])
        self.clock.pump([1.0] * 5)
        self.assertIn(b"echo", transport.value())
        session.connectionLost(Failure(ConnectionDone()))
        self.assertIsNone(self.client.session)
        self.client.end()

    def test_end(self) -> None:
        """
        At the end there is no connection, no attempt and no timer, and what comes late
        is nobody's affair.
        """
        self.client.begin()
        session, transport = self.accept()
        self.client.end()
        self.assertTrue(transport.aborted)
        session.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.owner.events, ["began"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.client.begin()
        self.client.end()
        self.assertEqual(self.owner.events, ["began"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.client.begin()
        self.refuse()
        self.client.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.client.end()

    def test_connected_at_the_end(self) -> None:
        """
        A connection that is made when nobody wants it any more is closed.
        """
        self.client.begin()
        factory = self.attempts[-1][1]
        self.client.end()
        session, transport = factory.buildProtocol(None), _Transport()
        session.makeConnection(transport)
        self.assertTrue(transport.aborted)
        self.assertIsNone(self.client.session)


class ConnectorTests(SynchronousTestCase):
    """
    Tests for L{Connector}.
    """

    def setUp(self) -> None:
        """
        Have certificates.
        """
        self.reactor = MemoryReactorClock()
        directory = Path(self.mktemp())
        directory.mkdir()
        self.certificates = make(directory)
        client = self.certificates.client
        self.files = (
            str(self.certificates.ca),
            str(client.certificate),
            str(client.key),
        )

    def connect(self, remote: Remote, *files: str) -> Deferred[Any]:
        """
        Begin to connect.
        """
        connector = Connector(self.reactor, *files)
        return connector.connect(remote, Factory.forProtocol(Protocol))

    def test_plain(self) -> None:
        """
        TCP and UNIX sockets are connected to as they are named.
        """
        self.connect(A)
        self.connect(Remote("tcp", "fd00::1", 6642))
        self.connect(Remote("unix", "/run/sb.sock"))
        hosts = [(host, port) for host, port, *_ in self.reactor.tcpClients]
        self.assertEqual(hosts, [("10.0.0.1", 6642), ("fd00::1", 6642)])
        self.assertEqual(self.reactor.unixClients[0][0], "/run/sb.sock")

    def test_tls(self) -> None:
        """
        TLS is connected to with the files.
        """
        remote = Remote("ssl", "10.0.0.1", 6642)
        self.connect(remote, *self.files)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_no_way_back(self) -> None:
        """
        Without what TLS needs nothing is connected to at all.
        """
        remote = Remote("ssl", "10.0.0.1", 6642)
        for files in ((), (self.files[0], self.files[1], "/missing")):
            self.failureResultOf(self.connect(remote, *files), TlsMisconfigured)
        self.assertEqual(self.reactor.tcpClients, [])

    def test_files_are_read_anew(self) -> None:
        """
        Files that are replaced are used by the next connection; files that were not are
        not read into another context.
        """
        remote = Remote("ssl", "10.0.0.1", 6642)
        connector = Connector(self.reactor, *self.files)
        first = connector._tls(remote)
        self.assertIs(connector._tls(remote), first)
        Path(self.files[0]).write_bytes(self.certificates.rogue_ca.read_bytes())
        self.assertIsNot(connector._tls(remote), first)
