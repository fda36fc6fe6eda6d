"""
A pool, and endpoints in memory that do as the test says.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from mdproxy.http.client import NovaConnection, Patience
from mdproxy.sweep import PERIOD, Sweep
from mdproxy.upstream import Endpoint, Extent, Upstream
from tests.playbook import Ask, Wire, ask

#: A whole answer.
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@define(eq=False)
class Attempt:
    """
    A connection that the pool wants opened.

    @ivar endpoint: Where to.
    @ivar factory: What makes our side.
    @ivar seconds: How long it may take.
    @ivar at: When it was wanted.
    @ivar opening: What the pool waits for.
    @ivar wire: The connection, once it is there.
    """

    endpoint: Endpoint
    factory: Factory[NovaConnection]
    seconds: float
    at: float
    opening: Deferred[Any] = field(factory=Deferred)
    wire: Wire = field(factory=lambda: Wire(Protocol()))

    def accept(self) -> None:
        """
        Take the connection.
        """
        protocol = self.factory.buildProtocol(None)
        assert isinstance(protocol, NovaConnection)
        self.wire = Wire(protocol)
        protocol.makeConnection(self.wire)
        self.wire.settle()
        self.opening.callback(protocol)

    def refuse(self, error: Exception | None = None) -> None:
        """
        Don't.
        """
        self.opening.errback(error or ConnectionRefusedError())

    def say(self, data: bytes) -> None:
        """
        Let Nova send bytes, after it has read what there is.
        """
        self.wire.settle()
        self.wire.protocol.dataReceived(data)
        self.wire.settle()

    def lose(self, error: Exception) -> None:
        """
        Let the connection break.
        """
        self.wire.lose(error)
        self.wire.settle()

    @property
    def is_open(self) -> bool:
        """
        Tell whether it is there.
        """
        return isinstance(self.wire.protocol, NovaConnection) and not self.wire.closed

    @property
    def is_busy(self) -> bool:
        """
        Tell whether a request is in flight on it.
        """
        protocol = self.wire.protocol
        return (
            isinstance(protocol, NovaConnection)
            and self.is_open
            and protocol.exchange is not None
        )

    @property
    def arrived(self) -> int:
        """
        Count the requests that arrived.
        """
        self.wire.settle()
        return self.wire.seen.count(b"Host: ")


class Nova:
    """
    Some endpoints, and what the pool opens to them.

    @ivar attempts: All connections that were ever wanted, in order.
    @ivar refusing: The hosts that refuse at once.
    @ivar accepting: Whether all others accept at once.
    """

    def __init__(
        self, hosts: Sequence[str] = ("a",), connections: int = 8, queue: int = 100
    ) -> None:
        """
        Make the pool.
        """
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.attempts: list[Attempt] = []
        self.refusing: set[str] = set()
        self.accepting = True
        self._strangers = 0
        self.pool = Upstream(
            [Endpoint(host, 8775) for host in hosts],
            self.connect,
            self.clock,
            self.sweep,
            Random(1),
            Patience(connect=3, first_byte=30, idle=40),
            Extent(connections, queue),
        )

    def connect(
        self, endpoint: Endpoint, factory: Factory[NovaConnection], seconds: float
    ) -> Deferred[Any]:
        """
        Provide C{Connector}.
        """
        attempt = Attempt(endpoint, factory, seconds, self.clock.seconds())
        self.attempts.append(attempt)
        if endpoint.host in self.refusing:
            return fail(ConnectionRefusedError())
        if self.accepting:
            attempt.accept()
        return attempt.opening

    def send(self, exchange: Ask | None = None) -> Ask:
        """
        Send a request; one that is not given is of an instance that asks nothing else.
        """
        if exchange is None:
            self._strangers += 1
            exchange = asked_by(f"stranger {self._strangers}")
        self.pool.send(exchange)
        return exchange

    def wait(self, seconds: float) -> None:
        """
        Let time go by, with the sweep looking at the deadlines as it does.
        """
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(PERIOD, end - self.clock.seconds()))
            self.sweep.tick()

    def arrived(self, host: str) -> int:
        """
        Count the requests that arrived at an endpoint.
        """
        return sum(a.arrived for a in self.attempts if a.endpoint.host == host)

    def answer(self, status: int = 200) -> int:
        """
        Answer everything that is in flight at this moment.

        @return: How many requests that were.
        """
        answer = b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status
        busy = [attempt for attempt in self.attempts if attempt.is_busy]
        for attempt in busy:
            attempt.say(answer)
        return len(busy)

    def states(self) -> list[tuple[bool, int, int, int]]:
        """
        Tell of each endpoint whether it is up, and its idle, busy and new connections.
        """
        return [
            (each["up"], each["idle"], each["busy"], each["connecting"])
            for each in self.pool.describe()["endpoints"]
        ]


def asked_by(mac: str, until: float = 0.0) -> Ask:
    """
    Make a request of an instance.
    """
    exchange = ask()
    exchange.holder = ("red", mac)
    exchange.until = until
    return exchange
