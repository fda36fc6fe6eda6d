"""
The proxy between instances and Nova, all in this process, on the global reactor.

Nobody waits for time to pass: every event at either end is a reason to look again
whether what a test waits for has come true.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, cast

from attrs import define, field
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    connectProtocol,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mdproxy.exchange import Exchange
from mdproxy.http.front import ChannelBounds, Front, Reply
from mdproxy.http.transports import _AtOnce
from mdproxy.limits import Rates, Shares
from mdproxy.listeners import Listener, Place
from mdproxy.model import Caller, Port, Request
from mdproxy.nova_config import Endpoint, TlsFiles, UpstreamConfig
from mdproxy.pool import make_upstream
from mdproxy.proxy import Hold, ReverseProxyResource
from mdproxy.signing import Signer
from mdproxy.sweep import Sweep
from tests.outside import World
from tests.relaying import Heard, read_response
from tests.secrecy import SECRET

reactor: Any = global_reactor

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_FIELD = re.compile(rb"\r\nx-instance-id(-signature)?: *([^\r]*)", re.IGNORECASE)

#: How much either end asks its kernel to keep of what nobody reads.
_KEPT = 65536
#: How much Nova writes at a time.
_PIECE = 65536


class OwnFault(Exception):
    """
    What the faulty answerer raises.
    """


def body_of(instance: str, target: str, size: int = 0) -> bytes:
    """
    Make what Nova says to an instance and to no other.

    @param size: How much, if it is more than a line.
    """
    line = f"{instance} asked {target}\n".encode()
    return (line * (size // len(line) + 1))[: size or len(line)]


class Talker(Protocol):
    """
    One end of a connection.

    @ivar received: What has come.
    @ivar closed: The name of the error that the connection is gone with.
    """

    transport: Any

    def __init__(self, changed: Callable[[], None]) -> None:
        """
        Begin unconnected.

        @param changed: To be called when something has happened.
        """
        self._changed = changed
        self.received = bytearray()
        self.closed: str | None = None

    def connectionMade(self) -> None:
        """
        The connection is there.
        """
        handle = getattr(self.transport, "socket", None)
        if handle is not None:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                handle.setsockopt(socket.SOL_SOCKET, option, _KEPT)
        self._changed()

    def dataReceived(self, data: bytes) -> None:
        """
        Something has come.
        """
        self.received += data
        self._changed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        self.closed = type(reason.value).__name__
        self._changed()


class Guest(Talker):
    """
    An instance's end of a connection.
    """

    def send(self, data: bytes) -> None:
        """
        Send bytes.
        """
        self.transport.write(data)

    def get(self, target: str, fields: str = "", method: str = "GET") -> None:
        """
        Send a request without a body.
        """
        self.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())

    @property
    def is_answered(self) -> bool:
        """
        Whether an answer has come whole.
        """
        end = self.received.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(self.received, 0, end) if end > 3 else None
        return length is not None and len(self.received) >= end + int(length[1])

    def take(self) -> Heard:
        """
        Read the first answer, which has come whole, and be ready for the next.
        """
        heard, rest = read_response(bytes(self.received))
        assert heard.whole, heard
        self.received[:] = rest
        return heard


class PieceProducer:
    """
    A body that Nova writes as fast as it is read.

    @ivar sent: How much of it the kernel has taken.
    """

    def __init__(self, transport: Any, body: bytes) -> None:
        """
        Begin.
        """
        self._transport = transport
        self._body = body
        self.sent = 0

    def resumeProducing(self) -> None:
        """
        Write the next piece.
        """
        piece = self._body[self.sent : self.sent + _PIECE]
        if piece:
            self.sent += len(piece)
            self._transport.write(piece)
        else:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """
        The connection is gone.
        """


class Conversation(Talker):
    """
    Nova's end of a connection.

    @ivar producer: What it is sending.
    """

    def __init__(self, nova: Nova) -> None:
        """
        Be Nova.
        """
        super().__init__(nova.changed)
        self._nova = nova
        self.producer: PieceProducer | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Read a request, of which the proxy sends one at a time.
        """
        self.received += data
        head, end, body = bytes(self.received).partition(b"\r\n\r\n")
        length = _LENGTH.search(head + end)
        if end and len(body) >= (int(length[1]) if length else 0):
            self.received.clear()
            self._nova.take(self, head, body)
        self._changed()

    def answer(self, body: bytes, fields: bytes = b"") -> None:
        """
        Answer in one piece.
        """
        self.transport.write(
            b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b"
            % (fields, len(body), body)
        )

    def pour(self, body: bytes) -> None:
        """
        Answer as fast as the proxy reads.
        """
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        self.producer = PieceProducer(self.transport, body)
        self.transport.registerProducer(self.producer, False)


@define(eq=False)
class Asked:
    """
    A request as Nova got it.

    @ivar talk: On which connection.
    @ivar instance: Who asked, by the signed fields.
    @ivar method: The method.
    @ivar target: The target.
    @ivar body: The body.
    """

    talk: Conversation
    instance: str
    method: str
    target: str
    body: bytes


def answer(asked: Asked) -> None:
    """
    Do what Nova does.
    """
    asked.talk.answer(body_of(asked.instance, asked.target))


@define(eq=False)
class Nova:
    """
    Nova, as the test says.

    @ivar changed: To be called when something has happened.
    @ivar asked: All that it was asked.
    @ivar talks: All connections that were made to it.
    @ivar script: What it does with the next requests, one after the other.
    @ivar does: What it does with all others.
    """

    changed: Callable[[], None]
    asked: list[Asked] = field(factory=list)
    talks: list[Conversation] = field(factory=list)
    script: deque[Callable[[Asked], object]] = field(factory=deque)
    does: Callable[[Asked], object] = answer

    def connect(self) -> Conversation:
        """
        Take a connection.
        """
        self.talks.append(Conversation(self))
        return self.talks[-1]

    def take(self, talk: Conversation, head: bytes, body: bytes) -> None:
        """
        Take a request, which must be signed for one instance.
        """
        fields = {bool(each[1]): each[2] for each in _FIELD.finditer(head)}
        signs = hmac.new(SECRET, fields[False], hashlib.sha256).hexdigest()
        assert fields[True] == signs.encode(), "the signature is wrong"
        method, target, _version = head.partition(b"\r\n")[0].decode().split(" ")
        asked = Asked(talk, fields[False].decode(), method, target, body)
        self.asked.append(asked)
        (self.script.popleft() if self.script else self.does)(asked)


@define(eq=False)
class FaultyAnswerer:
    """
    The proxy, with a fault at C{/fault}.
    """

    proxy: ReverseProxyResource

    def answer(self, request: Request, caller: Caller, reply: Reply) -> Exchange:
        """
        Provide C{Answerer.answer}.
        """
        if request.target == b"/fault":
            raise OwnFault
        return self.proxy.answer(request, caller, reply)


class DataPathCase(TestCase):
    """
    Has a proxy, a Nova and instances i-1 to i-9, at 127.0.0.1 to
    127.0.0.9, and i-10 at ::1.

    @ivar nova: Nova.
    @ivar front: What all channels share.
    @ivar port: Where instances connect to.
    """

    #: Nobody waits longer for anything.
    timeout = 60
    bounds = ChannelBounds()
    patience = 30.0

    def setUp(self) -> None:
        """
        Begin with nobody.
        """
        self._waiting: list[Deferred[None]] = []
        self._guests: list[Guest] = []
        self.nova = Nova(self.changed)

    def changed(self) -> None:
        """
        Something has happened: those who wait may look again, in the next turn.
        """
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            reactor.callLater(0, each.callback, None)

    async def until(self, happened: Callable[[], object]) -> None:
        """
        Wait until something has come true at either end.
        """
        while not happened():
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn

    async def closed(self, *ends: Talker) -> None:
        """
        Wait until connections are gone.
        """
        await self.until(lambda: all(each.closed for each in ends))

    async def received(self, end: Talker, size: int) -> None:
        """
        Wait until so many bytes have come.
        """
        await self.until(lambda: len(end.received) >= size)

    def start(
        self,
        nova: str = "127.0.0.1",
        listens: str = "127.0.0.1",
        server: Any = None,
        tls: TlsFiles | None = None,
        named: str | None = None,
    ) -> None:
        """
        Start Nova and the proxy.

        @param nova: The address at which Nova listens.
        @param listens: The address at which instances ask.
        @param server: Nova's side of TLS.
        @param tls: Our side of TLS.
        @param named: How Nova is called in the configuration.
        """
        at = self._listen_as_nova(nova, server)
        sweep = Sweep(reactor)
        config = UpstreamConfig(
            (Endpoint(named or nova, at),),
            tls,
            *(8, 1000, 10.0, self.patience, 30.0, 300.0, 0.0),
        )
        self.pool = make_upstream(config, reactor, sweep, Random(1))
        world = World()
        self.proxy = ReverseProxyResource(
            world.lookup,
            self.pool,
            Signer(SECRET),
            reactor,
            Random(1),
            Shares(99, 99, 999),
            Shares(99),
            Hold(),
            Rates(1_000_000, 1_000_000),
        )
        answerer = FaultyAnswerer(self.proxy)
        shares = Shares(99, 999, 999)
        self.front = Front(answerer, reactor, sweep, self.bounds, shares)
        self._listen(world, listens)
        ticking = sweep.service()
        ticking.startService()
        self.addCleanup(ticking.stopService)
        self.addCleanup(lambda: Deferred.fromCoroutine(self._stop()))

    def _listen_as_nova(self, address: str, server: Any) -> int:
        """
        Let Nova listen.

        @return: The port.
        """
        talks: Any = Factory.forProtocol(self.nova.connect)
        if server is not None:
            talks = TLSMemoryBIOFactory(server, False, talks)
        listening = reactor.listenTCP(0, talks, interface=address)
        self.addCleanup(listening.stopListening)
        return int(listening.getHost().port)

    def _listen(self, world: World, address: str) -> None:
        """
        Let the proxy listen, and know those who may ask.
        """
        world.know(
            *(
                Port(
                    "red",
                    f"fa:16:3e:00:00:{number:02x}",
                    f"i-{number}",
                    "p-1",
                    frozenset({"::1" if number == 10 else f"127.0.0.{number}"}),
                    inventory="memory",
                )
                for number in range(1, 11)
            )
        )
        listener = Listener(
            "red",
            "red",
            "address",
            (Place(address, 0),),
            None,
            self.front,
            world.neighbours,
            reactor,
            reactor,
        )
        listener.privilegedStartService()
        self.addCleanup(listener.stopService)
        (found,) = listener._ports.values()
        port: Any = found
        self.port: int = port.getHost().port

    async def _stop(self) -> None:
        """
        Let everybody leave, and see that nothing is left.
        """
        for each in [*self.front.channels, *self.pool._where]:
            transport: Any = cast(Any, each).transport
            if transport is not None:
                # Below TLS, where there is any.
                below = getattr(transport, "transport", transport)
                self.assertIsInstance(below, _AtOnce)
        self.front.drain(self.changed)
        self.front.abort()
        await self.until(lambda: not self.front.channels)
        self.pool.close()
        for guest in self._guests:
            guest.transport.abortConnection()
        await self.closed(*self._guests, *self.nova.talks)

    async def guest(self, number: int = 1, to: str = "127.0.0.1") -> Guest:
        """
        Connect an instance.
        """
        guest = Guest(self.changed)
        endpoint: Any = TCP6ClientEndpoint(reactor, to, self.port)
        if ":" not in to:
            source = (f"127.0.0.{number}", 0)
            endpoint = TCP4ClientEndpoint(reactor, to, self.port, bindAddress=source)
        await connectProtocol(endpoint, guest)
        self._guests.append(guest)
        return guest

    async def hear(self, guest: Guest) -> Heard:
        """
        Wait for an answer to be whole.
        """
        await self.until(lambda: guest.is_answered)
        return guest.take()

    async def ask(
        self, target: str, guest: Guest | None = None, fields: str = ""
    ) -> bytes:
        """
        Ask, perhaps on a connection of its own.

        @return: The body of the answer, whose status was 200.
        """
        asking = guest or await self.guest()
        asking.get(target, fields)
        heard = await self.hear(asking)
        self.assertEqual(heard.status, 200, heard)
        return heard.body
