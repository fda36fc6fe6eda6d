"""
An SSH client in memory, which says what it is told to say.
"""

from __future__ import annotations

import struct
from typing import Any

from attrs import define, field
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.logger import Logger

#: Numbers of messages (RFC 4250, section 4.1).
DISCONNECT, ACCEPT = 1, 6
FAILURE, SUCCESS, GOOD_KEY = 51, 52, 60
GLOBAL_FAILURE = 82
OPENED, NOT_OPENED, DATA, CLOSE, GRANTED, REFUSED = 91, 92, 94, 97, 99, 100


class _Quiet(Logger):
    """
    Logs nothing.
    """

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        """
        Drop an event.
        """


class Wire(StringTransport):
    """
    One end of a connection.
    """

    broken = False

    def abortConnection(self) -> None:
        """
        Break it.
        """
        self.broken = self.disconnecting = True


class Client(SSHClientTransport):
    """
    A client that exchanges keys by itself, and nothing beyond.

    @ivar heard: The messages that came since, by number and with what is in them.
    """

    _log = _Quiet()

    def __init__(self) -> None:
        """
        Begin.
        """
        self.heard: list[tuple[int, bytes]] = []
        self.secure = False

    def verifyHostKey(self, key: bytes, fingerprint: str) -> Deferred[int]:
        """
        Believe that it is who it says it is.
        """
        return succeed(1)

    def connectionSecure(self) -> None:
        """
        Take note that keys are exchanged.
        """
        self.secure = True

    def dispatchMessage(self, number: int, payload: bytes) -> None:
        """
        Take a message.
        """
        if number in (DISCONNECT, ACCEPT) or number >= 50:
            self.heard.append((number, payload))
        else:
            super().dispatchMessage(number, payload)


@define(eq=False)
class Conversation:
    """
    A client and a server, and what is between them.

    @ivar server: The server's protocol.
    @ivar client: The client.
    """

    server: Any
    client: Client = field(factory=Client)
    near: Wire = field(init=False)
    far: Wire = field(init=False)
    over: bool = field(default=False, init=False)

    @classmethod
    def with_(cls, factory: Any, port: int = 4711) -> Conversation:
        """
        Connect to a server, and exchange keys.
        """
        conversation = cls(factory.buildProtocol(None))
        peer = IPv4Address("TCP", "127.0.0.1", port)
        conversation.far = Wire(peerAddress=peer)
        conversation.near = Wire()
        conversation.client.makeConnection(conversation.near)
        conversation.server.makeConnection(conversation.far)
        conversation.pump()
        return conversation

    def pump(self) -> None:
        """
        Carry what was sent, until nobody has anything to say.
        """
        while not self.over:
            there, back = self.near.value(), self.far.value()
            self.near.clear()
            self.far.clear()
            if there:
                self.server.dataReceived(there)
            if back and not self.far.broken:
                self.client.dataReceived(back)
            if self.far.disconnecting and not self.far.value():
                self.close()
            elif not there and not back:
                return

    def close(self) -> None:
        """
        End the connection, if that has not been done.
        """
        if not self.over:
            self.over = True
            self.server.connectionLost(None)

    def say(self, number: int, *parts: bytes) -> list[tuple[int, bytes]]:
        """
        Send a message.

        @return: What is said to it.
        """
        self.client.heard.clear()
        self.client.sendPacket(number, b"".join(parts))
        self.pump()
        return list(self.client.heard)

    def numbers(self, number: int, *parts: bytes) -> list[int]:
        """
        Send a message.

        @return: The numbers of what is said to it.
        """
        return [each for each, _ in self.say(number, *parts)]

    def ask_for_login(self) -> list[int]:
        """
        Ask to be let log in (RFC 4253, section 10).
        """
        return self.numbers(5, NS(b"ssh-userauth"))

    def log_in(
        self,
        key: Key,
        algorithm: bytes | None = None,
        user: bytes = b"op",
        signed: bytes | None = None,
    ) -> list[int]:
        """
        Try to log in with a key.

        @param algorithm: By which it signs.
        @param signed: What is signed beside the number of the session; if nothing else
            is said, what should be.
        """
        algorithm = algorithm or key.sshType()
        blob = key.public().blob()
        request = NS(user) + NS(b"ssh-connection") + NS(b"publickey")
        request += b"\1" + NS(algorithm) + NS(blob)
        session = self.client.sessionID
        assert session is not None
        data = NS(session) + b"\x32" + (request if signed is None else signed)
        signature = key.sign(data, signatureType=algorithm)
        return self.numbers(50, request, NS(signature))

    def offer(self, key: Key, algorithm: bytes | None = None) -> list[int]:
        """
        Ask whether a key would do.
        """
        request = NS(b"op") + NS(b"ssh-connection") + NS(b"publickey") + b"\0"
        named = NS(algorithm or key.sshType())
        return self.numbers(50, request, named, NS(key.public().blob()))

    def open(self, kind: bytes = b"session", number: int = 0) -> list[int]:
        """
        Open a channel (RFC 4254, section 5.1).
        """
        return self.numbers(90, NS(kind), struct.pack(">3L", number, 1 << 20, 1 << 15))

    def request(self, kind: bytes, data: bytes = b"", channel: int = 0) -> list[int]:
        """
        Ask something of a channel (RFC 4254, section 5.4).
        """
        head = struct.pack(">L", channel) + NS(kind) + b"\1"
        return self.numbers(98, head, data)

    def ask_for_terminal(self, width: int = 80) -> list[int]:
        """
        Ask for a terminal (RFC 4254, section 6.2).
        """
        size = struct.pack(">4L", width, 24, 0, 0)
        return self.request(b"pty-req", NS(b"xterm") + size + NS(b"\0"))

    def type(self, line: bytes) -> str:
        """
        Type a line.

        @return: What is shown.
        """
        heard = self.say(DATA, struct.pack(">L", 0), NS(line))
        shown = b"".join(getNS(each[4:])[0] for kind, each in heard if kind == DATA)
        return shown.decode()
