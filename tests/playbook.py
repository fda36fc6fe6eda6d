"""
Conversations with a channel or with Nova: bytes in, bytes out, time goes by.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from mdproxy.headers import Fields, for_instance
from mdproxy.http.front import ChannelBounds, Front, Reply
from mdproxy.http.server import Channel
from mdproxy.interfaces import IExchange
from mdproxy.limits import Shares
from mdproxy.model import Caller, Request, ResponseHead
from mdproxy.sweep import PERIOD, Sweep

CALLER = Caller("net", "10.0.0.5", "fa:16:3e:00:00:05")


@implementer(ITCPTransport)
class Wire(StringTransport):
    """
    A TCP transport in memory, and the peer at its other end.

    As with Twisted's own transports nothing is called back before the caller has
    returned: L{settle} is the reactor's next turn.

    @ivar seen: What the peer has read.
    @ivar taken: How many bytes that was, in all.
    @ivar unread: How many of them are only on their way to it, in truth.
    @ivar silence: How long ago it last acknowledged anything, in seconds.
    @ivar stalled: Whether the peer reads nothing.
    @ivar peer_ended: Whether the peer was told that no more comes.
    @ivar closed: Why the connection is gone; C{None} where it is not.
    @ivar no_delay: Whether small pieces go out at once.
    @ivar unsent: Whether what was written waits for the end of the turn.
    """

    unsent = False

    #: As in L{twisted.internet.abstract.FileDescriptor}.
    buffer_size = 65536

    def __init__(self, protocol: Protocol) -> None:
        """
        Be connected to nobody yet.
        """
        super().__init__()
        self.protocol = protocol
        self.seen = b""
        self.taken = self.unread = 0
        self.silence = 0.0
        self.stalled = False
        self.peer_ended = False
        self.closed: str | None = None
        self.no_delay = False
        self._out = b""
        self._producer: Any = None
        self._paused = False
        self._half_closing = False
        self._losing = False
        self._lost_for: Exception | None = None

    def take(self, size: int) -> None:
        """
        Let a peer that is stalled read a little.
        """
        self.seen, self._out = self.seen + self._out[:size], self._out[size:]
        self.taken += size

    @property
    def is_sent(self) -> bool:
        """
        Whether nothing waits to be sent.
        """
        return not self._out

    def getHandle(self) -> Wire:
        """
        Provide C{ISystemHandle.getHandle}: the socket is we.
        """
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """
        Tell what C{TCP_INFO} does of what the peer has read (linux/tcp.h).
        """
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        taken = self.taken - self.unread
        left, silence = len(self._out) + self.unread, round(self.silence * 1000)
        return struct.pack("=56xI60xQ16xI", silence, taken, left)[:size]

    def getTcpNoDelay(self) -> bool:
        """
        Provide L{ITCPTransport.getTcpNoDelay}.
        """
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Provide L{ITCPTransport.setTcpNoDelay}.
        """
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        """
        Provide L{ITCPTransport.getTcpKeepAlive}.
        """
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Provide L{ITCPTransport.setTcpKeepAlive}.
        """

    def write(self, data: bytes) -> None:
        """
        Provide L{ITCPTransport.write}.
        """
        assert type(data) is bytes
        if self.closed or self._lost_for or self._half_closing:
            return
        self._out += data
        if self._producer is not None and len(self._out) > self.buffer_size:
            self._paused = True
            self._producer.pauseProducing()

    def loseWriteConnection(self) -> None:
        """
        Provide L{ITCPTransport.loseWriteConnection}.
        """
        self._half_closing = True

    def loseConnection(self) -> None:
        """
        Provide L{ITCPTransport.loseConnection}.
        """
        self._losing = True

    def abortConnection(self) -> None:
        """
        Provide L{ITCPTransport.abortConnection}.
        """
        self._out = b""
        self._lost_for = ConnectionAborted()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Provide L{ITCPTransport.registerProducer}.
        """
        assert self._producer is None and streaming
        assert IPushProducer.providedBy(producer)
        self._producer = producer

    def unregisterProducer(self) -> None:
        """
        Provide L{ITCPTransport.unregisterProducer}.
        """
        self._producer = None

    @property
    def reading(self) -> bool:
        """
        Whether our side reads.
        """
        return self.producerState == "producing"

    def pauseProducing(self) -> None:
        """
        Provide L{IPushProducer.pauseProducing}.
        """
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        """
        Provide L{IPushProducer.resumeProducing}.
        """
        self.producerState = "producing"

    def end_by_peer(self) -> None:
        """
        Let the peer say that it sends no more.
        """
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self._lost_for = ConnectionDone()

    def lose(self, error: Exception) -> None:
        """
        Let the connection break.
        """
        self._lost_for = error

    def settle(self) -> None:
        """
        Let everything happen that the reactor would do by itself.
        """
        while not self.closed and self._turn():
            pass

    def _turn(self) -> bool:
        """
        Do one thing, as one pass of the reactor does.

        @return: Whether there was one.
        """
        if self._lost_for is not None:
            self._lose(self._lost_for)
        elif self._out and not self.stalled:
            self.take(len(self._out))
        elif self._out:
            return False
        elif self._paused:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()
        elif self._losing:
            self._lose(ConnectionDone())
        elif self._half_closing and not self.peer_ended:
            self.peer_ended = True
            assert IHalfCloseableProtocol.providedBy(self.protocol)
            self.protocol.writeConnectionLost()
        else:
            return False
        return True

    def _lose(self, error: Exception) -> None:
        """
        Be gone.
        """
        self.closed = type(error).__name__
        self.connected = False
        self.protocol.connectionLost(Failure(error))


@define(eq=False)
class Asked:
    """
    A request that was handed to the answerer, and what has become of it.

    @ivar request: The request.
    @ivar caller: Who asked.
    @ivar reply: Where its answer goes.
    @ivar cancelled: How often it was told to forget it.
    @ivar paused: Whether it may not write now.
    """

    request: Request
    caller: Caller
    reply: Reply
    cancelled: int = 0
    paused: bool = False

    def cancel(self) -> None:
        """
        Provide C{Answering.cancel}.
        """
        self.cancelled += 1

    def pause(self) -> None:
        """
        Provide C{Answering.pause}.
        """
        self.paused = True

    def resume(self) -> None:
        """
        Provide C{Answering.resume}.
        """
        self.paused = False

    def answer(
        self,
        body: bytes = b"ok",
        status: int = 200,
        fields: Fields = (),
        known: bool = True,
    ) -> None:
        """
        Answer all at once.

        @param known: Whether the length is told beforehand.
        """
        lines = for_instance(fields)
        self.reply.begin(status, b"OK", lines, len(body) if known else None)
        if body:
            self.reply.write(body)
        self.reply.finish()


@define(eq=False)
class Script:
    """
    An answerer that does as the test says.

    @ivar asked: What was asked, in order.
    @ivar at_once: The body with which everything is answered before
        C{answer} returns; C{None}: nothing is.
    """

    asked: list[Asked] = field(factory=list)
    at_once: bytes | None = None

    def answer(self, request: Request, caller: Caller, reply: Reply) -> Asked:
        """
        Provide C{Answerer.answer}.
        """
        asked = Asked(request, caller, reply)
        self.asked.append(asked)
        if self.at_once is not None:
            asked.answer(self.at_once)
        return asked


class Playbook:
    """
    A front with channels on wires, at a time that stands still.

    @ivar clock: The time.
    @ivar script: Who answers.
    @ivar front: The front.
    @ivar caller: Who every further connection comes from; C{None}: nobody knows.
    """

    def __init__(self, bounds: ChannelBounds, shares: Shares | None = None) -> None:
        """
        Begin without any connection.
        """
        self.clock = Clock()
        self.script = Script()
        self.sweep = Sweep(self.clock)
        self.front = Front(
            self.script, self.clock, self.sweep, bounds, shares or Shares(9, 9, 9)
        )
        self.caller: Caller | None = CALLER
        self.wires: list[Wire] = []

    def connect(self) -> Wire:
        """
        Let somebody connect.
        """
        caller = self.caller
        channel = Channel(self.front, lambda _transport: caller)
        wire = Wire(channel)
        self.wires.append(wire)
        channel.makeConnection(wire)
        wire.settle()
        return wire

    def say(self, wire: Wire, data: bytes) -> None:
        """
        Let the peer send bytes, as long as our side reads.
        """
        assert wire.reading and not wire.closed
        wire.protocol.dataReceived(data)
        wire.settle()

    def end(self, wire: Wire) -> None:
        """
        Let the peer say that it sends no more.
        """
        assert wire.reading and not wire.closed
        wire.end_by_peer()
        wire.settle()

    def hear(self, wire: Wire) -> bytes:
        """
        Let the peer read.

        @return: What it had not read before.
        """
        wire.settle()
        heard, wire.seen = wire.seen, b""
        return heard

    def wait(self, seconds: float) -> None:
        """
        Let time go by, with the sweep looking at the deadlines as it does.
        """
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(PERIOD, end - self.clock.seconds()))
            self.sweep.tick()
            for wire in self.wires:
                wire.settle()


@implementer(IExchange)
@define(eq=False)
class Ask:
    """
    A request on its way to Nova, and all that it was told.

    @ivar request: What is asked.
    @ivar wire: The signed head.
    @ivar holder: Whose it is.
    @ivar until: When waiting is no use.
    @ivar tries: How often it was sent.
    @ivar told: What it was told, in order: heads, pieces of the body, then C{"done"}
        or the error.
    @ivar sent: Whether it may have reached Nova, where it failed.
    @ivar then: Is called with each thing that it is told.
    @ivar gone: Whether it was cancelled.
    """

    request: Request = field(factory=lambda: Request(b"GET", b"/", ()))
    wire: bytes = b"GET / HTTP/1.1\r\nX-Instance-ID-Signature: 5ec2e7\r\n"
    holder: tuple[str, str] = ("red", "02:00:00:00:00:01")
    until: float = 0.0
    tries: int = 1
    told: list[ResponseHead | bytes | str | Exception] = field(factory=list)
    sent: bool | None = None
    then: Callable[[object], object] = field(default=lambda _told: None)
    gone: bool = False

    @property
    def is_over(self) -> bool:
        """
        Tell whether it was told its end.
        """
        return bool(self.told) and not isinstance(self.told[-1], ResponseHead | bytes)

    def head(self, head: ResponseHead) -> None:
        """
        Provide L{IExchange.head}.
        """
        self._note(head)

    def body(self, data: bytes) -> None:
        """
        Provide L{IExchange.body}.
        """
        assert data
        self._note(data)

    def done(self) -> None:
        """
        Provide L{IExchange.done}.
        """
        self._note("done")

    def failed(self, error: Exception, sent: bool) -> None:
        """
        Provide L{IExchange.failed}.
        """
        self.sent = sent
        self._note(error)

    @property
    def summary(self) -> list[object]:
        """
        Shorten what it was told: statuses, bodies, C{"done"} or the kind of error.
        """
        return [
            told.status
            if isinstance(told, ResponseHead)
            else type(told)
            if isinstance(told, Exception)
            else told
            for told in self.told
        ]

    def _note(self, told: ResponseHead | bytes | str | Exception) -> None:
        """
        Note what it was told; nothing may come after the end.
        """
        assert not self.told or isinstance(self.told[-1], ResponseHead | bytes)
        self.told.append(told)
        self.then(told)


def ask(method: bytes = b"GET", body: bytes | None = None) -> Ask:
    """
    Make a request with a method.
    """
    return Ask(Request(method, b"/", (), body))
