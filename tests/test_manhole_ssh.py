"""
Tests for L{mdproxy.manhole.ssh}; C{tests.pages} has OpenSSH's client.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.internet.task import Clock

from mdproxy.manhole.keys import AuthorizedKeys, fingerprint
from mdproxy.manhole.shell import Console
from mdproxy.manhole.ssh import (
    ARRIVALS,
    LOGIN,
    MOST_IN,
    MOST_TRYING,
    ManholeFactory,
)
from tests.secrecy import SecrecyTestCase
from tests.ssh_client import (
    ACCEPT,
    DISCONNECT,
    FAILURE,
    GOOD_KEY,
    OPENED,
    SUCCESS,
    Conversation,
    Wire,
)

HOST = Key(Ed25519PrivateKey.generate())
RIGHT, WRONG = (Key(Ed25519PrivateKey.generate()) for _ in range(2))
RSA = Key(generate_private_key(65537, 2048))

#: Ways to exchange keys; older releases of conch have but the second.
EXCHANGES = (b"mlkem768x25519-sha256", b"curve25519-sha256")


class ManholeCase(SecrecyTestCase):
    """
    A manhole in memory that two keys open.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        super().setUp()
        directory = Path(self.mktemp())
        directory.mkdir()
        directory.chmod(0o700)
        path = directory / "authorized"
        lines = [key.public().toString("OPENSSH") for key in (RIGHT, RSA)]
        path.write_bytes(b"\n".join(lines))
        path.chmod(0o600)
        self.clock = Clock()
        self.factory = ManholeFactory(
            HOST,
            AuthorizedKeys(str(path)),
            self.clock,
            lambda width: Console({"answer": 42}, "Welcome.", width),
        )

    def connect(self) -> Conversation:
        """
        Connect, and exchange keys.
        """
        conversation = Conversation.with_(self.factory)
        self.addCleanup(conversation.close)
        return conversation

    def ready(self) -> Conversation:
        """
        Connect, and be asked for a key.
        """
        conversation = self.connect()
        self.assertEqual(conversation.ask_for_login(), [ACCEPT])
        return conversation

    def inside(self) -> Conversation:
        """
        Connect, and log in.
        """
        conversation = self.ready()
        self.assertEqual(conversation.log_in(RIGHT), [SUCCESS])
        return conversation

    def said(self, level: str) -> list[str]:
        """
        List what was logged at a level.
        """
        return [line for each, line in self.logged() if each == level]


class ExchangeTests(ManholeCase):
    """
    What comes before the login.
    """

    def test_sound(self) -> None:
        """
        Only what is sound is agreed upon: no group of SHA-1, no cipher in chained
        blocks, no MAC of MD5 or SHA-1, no compression, one host key.
        """
        server = self.connect().server
        for kex in server.supportedKeyExchanges:
            self.assertIn(kex.partition(b"@")[0], EXCHANGES)
        self.assertEqual({x[-4:] for x in server.supportedCiphers}, {b"-ctr"})
        self.assertEqual({x[:9] for x in server.supportedMACs}, {b"hmac-sha2"})
        self.assertEqual(server.supportedCompressions, [b"none"])
        self.assertEqual(server.supportedPublicKeys, [b"ssh-ed25519"])
        self.assertNotIn(b"Twisted", server.ourVersionString)

    def test_signatures(self) -> None:
        """
        A client is told by which algorithms its keys may sign, RSA's among them, or it
        would not offer them (RFC 8308).
        """
        server, said = self.connect().server, []
        server.sendPacket = lambda number, payload: said.append((number, payload))
        server._peerSupportsExtensions = True
        server.sendExtInfo([])
        ((number, payload),) = said
        self.assertEqual(number, 7)
        self.assertIn(b"rsa-sha2-512", payload)
        self.assertNotIn(b"ssh-rsa", payload)

    def test_nothing_in_clear(self) -> None:
        """
        Before the keys are exchanged nothing can be asked for.
        """
        server = self.factory.buildProtocol(None)
        wire = Wire()
        server.makeConnection(wire)
        for number in (5, 50, 80, 90, 98):
            server._over = wire.disconnecting = False
            server.dispatchMessage(number, NS(b"ssh-userauth"))
            self.assertTrue(wire.disconnecting)
            self.assertIsNone(server.service)
        server.connectionLost(None)

    def test_time(self) -> None:
        """
        Whoever does not log in in time is put out, how far ever he has come.
        """
        conversations = [self.connect(), self.ready()]
        self.clock.advance(LOGIN - 1)
        self.assertFalse(any(each.far.broken for each in conversations))
        self.clock.advance(1)
        self.assertTrue(all(each.far.broken for each in conversations))

    def test_crowd(self) -> None:
        """
        Of too many who try the eldest is put out, and the youngest can log in.
        """
        conversations = [self.connect() for _ in range(MOST_TRYING + 1)]
        self.assertEqual(
            [each.far.broken for each in conversations],
            [True] + [False] * MOST_TRYING,
        )
        youngest = conversations[-1]
        youngest.ask_for_login()
        self.assertEqual(youngest.log_in(RIGHT), [SUCCESS])

    def test_rush(self) -> None:
        """
        Where too many come within a second the late ones are put out before that costs
        anything, and the next can come soon.
        """
        for _ in range(ARRIVALS[1]):
            self.connect().close()
        wire = Wire()
        late = self.factory.buildProtocol(None)
        late.makeConnection(wire)
        self.assertTrue(wire.broken)
        self.assertEqual(wire.value(), b"")
        late.connectionLost(None)
        self.assertIn("when too many others do", self.said("warn")[0])
        self.clock.advance(1)
        self.assertTrue(self.connect().client.secure)

    def test_keys_once(self) -> None:
        """
        Before the login keys are exchanged once; after it as often as anybody likes.
        """
        conversation = self.ready()
        conversation.client.sendKexInit()
        conversation.pump()
        self.assertEqual(conversation.client.heard[-1][0], DISCONNECT)
        conversation = self.inside()
        for _ in range(2):
            conversation.client.sendKexInit()
            conversation.pump()
        self.assertEqual(conversation.open(), [OPENED])

    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.binary(max_size=60), max_size=4), st.booleans())
    def test_anything(self, pieces: list[bytes], versed: bool) -> None:
        """
        Whatever is sent, nothing is raised, and no fault is logged.
        """
        self.clock.advance(1)
        server = self.factory.buildProtocol(None)
        wire = Wire()
        server.makeConnection(wire)
        if versed:
            server.dataReceived(b"SSH-2.0-x\r\n")
        for piece in pieces:
            server.dataReceived(piece)
        server.connectionLost(None)
        self.assertEqual(self.flushLoggedErrors(), [])


class LoginTests(ManholeCase):
    """
    Who is let in.
    """

    def test_right_key(self) -> None:
        """
        Whoever has a key is let in, under any name; that is logged with its
        fingerprint, and so is that he leaves.
        """
        conversation = self.ready()
        self.assertEqual(conversation.offer(RIGHT), [GOOD_KEY])
        self.assertEqual(conversation.log_in(RIGHT, user=b"who\x1b[2Jever"), [SUCCESS])
        conversation.close()
        came, left = self.said("info")
        name = fingerprint(RIGHT.public().blob())
        who = f"who\\x1b[2Jever from 127.0.0.1 port 4711 with {name}"
        self.assertEqual(came, f"manhole: {who} has logged in")
        self.assertEqual(left, f"manhole: {who} has left")

    def test_rsa(self) -> None:
        """
        An RSA key signs with SHA-2, and not with SHA-1.
        """
        conversation = self.ready()
        self.assertEqual(conversation.log_in(RSA, b"ssh-rsa"), [FAILURE])
        self.assertEqual(conversation.offer(RSA, b"ssh-rsa"), [FAILURE])
        self.assertEqual(conversation.offer(RSA, b"rsa-sha2-256"), [GOOD_KEY])
        self.assertEqual(conversation.log_in(RSA, b"rsa-sha2-256"), [SUCCESS])

    def test_wrong_key(self) -> None:
        """
        G5: any other key is refused, offered or used, and logged with its fingerprint.
        """
        conversation = self.ready()
        self.assertEqual(conversation.offer(WRONG), [FAILURE])
        self.assertEqual(conversation.log_in(WRONG), [FAILURE])
        name = fingerprint(WRONG.public().blob())
        refused = f"op from 127.0.0.1 port 4711 has no key that opens: {name}"
        self.assertEqual(
            self.said("warn"), [f"manhole: {refused} (0 more were refused)"] * 2
        )

    def test_wrong_signature(self) -> None:
        """
        So is who has only seen a key that opens, whatever he has it sign.
        """
        conversation = self.ready()
        self.assertEqual(conversation.log_in(RIGHT, signed=b""), [FAILURE])
        request = NS(b"op") + NS(b"ssh-connection") + NS(b"publickey") + b"\1"
        parts = (NS(b"ssh-ed25519"), NS(RIGHT.public().blob()))
        for signature in (b"", NS(b"ssh-ed25519"), NS(b"ssh-ed25519") + NS(b"x" * 64)):
            heard = conversation.numbers(50, request, *parts, NS(signature))
            self.assertEqual(heard, [FAILURE])
        self.assertIn("did not sign with", self.said("warn")[0])

    def test_other_session(self) -> None:
        """
        Nor is a signature for another session any good.
        """
        one, other = self.ready(), self.ready()
        one.client.sessionID = other.client.sessionID
        self.assertEqual(one.log_in(RIGHT), [FAILURE])

    def test_other_ways(self) -> None:
        """
        There is no other way in: C{none} is told which there is, all others are
        refused and logged.
        """
        conversation = self.ready()
        head = NS(b"op") + NS(b"ssh-connection")
        heard = conversation.say(50, head, NS(b"none"))
        self.assertEqual(heard, [(FAILURE, NS(b"publickey") + b"\0")])
        self.assertEqual(self.said("warn"), [])
        for method in (b"password", b"keyboard-interactive", b"hostbased"):
            heard = conversation.say(50, head, NS(method), b"\0", NS(b"hunter2"))
            self.assertEqual(heard, [(FAILURE, NS(b"publickey") + b"\0")])
        self.assertEqual(len(self.said("warn")), 3)
        self.assertNotIn("hunter2", str(self.events))

    def test_other_service(self) -> None:
        """
        There is nothing else to log in for.
        """
        heard = self.ready().numbers(50, NS(b"op"), NS(b"ssh-x"), NS(b"none"))
        self.assertEqual(heard, [DISCONNECT])

    def test_too_many_attempts(self) -> None:
        """
        After some attempts it is over, also for who begins the login again.
        """
        conversation = self.ready()
        heard: list[int] = []
        while DISCONNECT not in heard and len(heard) < 100:
            heard += conversation.offer(WRONG) or [DISCONNECT]
            if not conversation.over:
                conversation.ask_for_login()
        self.assertEqual(heard, [FAILURE] * 11 + [DISCONNECT])
        self.assertTrue(conversation.over)

    def test_over_is_over(self) -> None:
        """
        What was sent behind an end is not taken, were it the right key.
        """
        conversation = self.ready()
        request = (NS(b"op"), NS(b"ssh-x"), NS(b"none"))
        conversation.client.sendPacket(50, b"".join(request))
        self.assertEqual(conversation.log_in(RIGHT), [DISCONNECT])
        self.assertEqual(self.factory._in, set())

    def test_nothing_before(self) -> None:
        """
        Nothing of what follows the login can be had before.
        """
        for number, parts in (
            (5, NS(b"ssh-connection")),
            (90, NS(b"session") + bytes(12)),
            (80, NS(b"tcpip-forward") + b"\1"),
            (94, bytes(8)),
        ):
            conversation = self.ready()
            self.assertEqual(conversation.numbers(number, parts), [DISCONNECT])
            self.assertEqual(self.factory._in, set())

    def test_not_again(self) -> None:
        """
        Who is in does not log in again.
        """
        self.assertEqual(self.inside().ask_for_login(), [DISCONNECT])

    def test_full(self) -> None:
        """
        Where so many are in nobody else is let in until one has left.
        """
        those = [self.inside() for _ in range(MOST_IN)]
        late = self.ready()
        self.assertEqual(late.log_in(RIGHT), [DISCONNECT])
        self.assertIn(f"finds {MOST_IN} in already", self.said("warn")[0])
        those[0].close()
        self.inside()

    def test_flood(self) -> None:
        """
        Whoever tries again and again does not fill the log, but is counted in it.
        """
        for _ in range(10):
            conversation = self.ready()
            for _ in range(11):
                conversation.offer(WRONG)
            conversation.close()
        self.assertEqual(len(self.said("warn")), 30)
        self.clock.advance(1)
        self.ready().offer(WRONG)
        self.assertIn("(80 more were refused)", self.said("warn")[-1])

    def test_broken(self) -> None:
        """
        A login that can't be understood ends the connection, and is no fault.
        """
        conversation = self.ready()
        conversation.say(50, b"\0\0\0\x04")
        self.assertTrue(conversation.far.broken)
        self.assertIn("sent what is no SSH", self.said("warn")[0])

    def test_put_out(self) -> None:
        """
        When the service stops everybody is put out.
        """
        conversations = [self.connect(), self.inside()]
        self.factory.close()
        self.assertTrue(all(each.far.broken for each in conversations))
