"""
All that stands between instances and Nova, in memory, with both of them at its ends.

The channel, the proxy, the pool and the connections to Nova are the real ones; wires
and time are those of L{tests.playbook}.  Whatever Nova gets is read by h11, and so is
whatever an instance gets: neither end is read by what is under test.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import h11
from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.protocol import Factory, Protocol

from mdproxy.http.client import NovaConnection, Patience
from mdproxy.http.front import ChannelBounds, Front
from mdproxy.http.server import Channel
from mdproxy.limits import Shares
from mdproxy.model import Caller, Port
from mdproxy.proxy import Hold, ReverseProxyResource
from mdproxy.signing import Signer
from mdproxy.sweep import PERIOD, Sweep
from mdproxy.upstream import Endpoint, Extent, Upstream
from tests.outside import World
from tests.playbook import Wire
from tests.secrecy import SECRET

#: What h11 may be given at once; the bounds are ours to keep.
_NO_BOUND = 1 << 24

#: The name of a request.
_NAME = re.compile(rb"req-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

#: Fields of one connection; everything else of a response is for the instance.
_CONNECTION = frozenset({b"connection", b"content-length", b"transfer-encoding"})

#: What an instance asks for if nothing else is said.
TARGET = b"/latest/meta-data/instance-id"


@frozen
class Instance:
    """
    An instance with one port.

    @ivar number: Which.
    """

    number: int

    @property
    def address(self) -> str:
        """
        Its address.
        """
        return f"10.0.{self.number >> 8}.{self.number & 255}"

    @property
    def mac(self) -> str:
        """
        Its MAC address.
        """
        return f"fa:16:3e:00:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def name(self) -> bytes:
        """
        The id that Nova knows it by; it names itself so in its User-Agent.
        """
        return b"i-%d" % self.number

    @property
    def port(self) -> Port:
        """
        Its port.
        """
        return self.port_as(self)

    def port_as(self, owner: Instance) -> Port:
        """
        Its port, as another instance's.
        """
        return Port(
            "red",
            self.mac,
            owner.name.decode(),
            f"p-{owner.number}",
            frozenset({self.address}),
            inventory="memory",
        )

    @property
    def caller(self) -> Caller:
        """
        How it shows at accept.
        """
        return Caller("red", self.address, self.mac)

    def signs(self) -> dict[bytes, bytes]:
        """
        Write the fields by which Nova has to know it, and no others like them.
        """
        return {
            b"x-forwarded-for": self.address.encode(),
            b"x-instance-id": self.name,
            b"x-instance-id-signature": hmac.new(SECRET, self.name, hashlib.sha256)
            .hexdigest()
            .encode(),
            b"x-tenant-id": b"p-%d" % self.number,
        }


VICTIM, CANARY, *CROWD = (Instance(number) for number in range(5, 35))


@frozen
class Heard:
    """
    What an instance got in answer to one request.

    @ivar status: The status; C{None}: no head came.
    @ivar phrase: The reason phrase.
    @ivar all_fields: The fields in order.
    @ivar length: Its Content-Length.
    @ivar body: As much of the body as came.
    @ivar whole: Whether the answer came to its end.
    @ivar closed: Why the connection is gone; C{None} where it is not.
    """

    status: int | None = None
    phrase: bytes = b""
    all_fields: tuple[tuple[bytes, bytes], ...] = ()
    length: bytes | None = None
    body: bytes = b""
    whole: bool = False
    closed: str | None = None

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """
        The fields without those of the connection.
        """
        return tuple(
            each for each in self.all_fields if each[0].lower() not in _CONNECTION
        )

    @property
    def silent(self) -> bool:
        """
        Whether the instance still waits for the first byte.
        """
        return self.status is None and self.closed is None

    @property
    def broken_off(self) -> bool:
        """
        Whether it can tell that the answer is not whole: the connection was reset.
        """
        return not self.whole and self.closed == "ConnectionAborted"


class Unreadable(Exception):
    """
    No reader of responses could make sense of the bytes.
    """


def read_response(
    data: bytes, method: bytes = b"GET", ended: bool = False, closed: str | None = None
) -> tuple[Heard, bytes]:
    """
    Read the first response in some bytes, as h11 does.

    @param method: What was asked.
    @param ended: Whether the bytes end because the connection was closed in order.

    @return: As much of the response as there is, and what comes after it.

    @raise Unreadable: If they are none; with what was read before the fault.
    """
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=_NO_BOUND)
    reader.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"x")]))
    reader.send(h11.EndOfMessage())
    heard = Heard(closed=closed)
    try:
        # To h11 no bytes are the end.
        for piece in [data] * bool(data) + [b""] * ended:
            reader.receive_data(piece)
        while not heard.whole:
            event = reader.next_event()
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return heard, b""
            heard = _and(heard, event)
    except h11.RemoteProtocolError as error:
        raise Unreadable(str(error), heard) from None
    return heard, reader.trailing_data[0]


def _and(heard: Heard, event: Any) -> Heard:
    """
    Have heard one thing more.
    """
    if isinstance(event, h11.Response):
        return evolve(
            heard,
            status=event.status_code,
            phrase=event.reason,
            all_fields=tuple(event.headers.raw_items()),
            length=dict(event.headers).get(b"content-length"),
        )
    if isinstance(event, h11.Data):
        return evolve(heard, body=heard.body + event.data)
    return evolve(heard, whole=isinstance(event, h11.EndOfMessage))


@define(eq=False)
class Guest:
    """
    A connection of an instance.

    @ivar instance: Whose it is.
    @ivar wire: The connection.
    @ivar asked: The methods of what was asked and not heard yet.
    """

    instance: Instance
    wire: Wire
    asked: deque[bytes] = field(factory=deque)

    def ask(
        self,
        target: bytes = TARGET,
        method: bytes = b"GET",
        body: bytes | None = None,
        version: bytes = b"1.1",
    ) -> None:
        """
        Send a request, in one piece.
        """
        assert self.wire.reading and not self.wire.closed
        self.asked.append(method)
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
        self.wire.protocol.dataReceived(
            b"%b %b HTTP/%b\r\nHost: 169.254.169.254\r\nUser-Agent: %b\r\n%b\r\n%b"
            % (method, target, version, self.instance.name, length, body or b"")
        )

    def hear(self) -> Heard:
        """
        Read the answer to the eldest request that was not answered yet.

        @return: The answer, or what has come of it; the next call starts behind it.
        """
        closed = self.wire.closed
        ended = self.wire.peer_ended or closed == "ConnectionDone"
        heard, rest = read_response(
            self.wire.seen, self.asked[0], ended=ended, closed=closed
        )
        if heard.whole:
            self.asked.popleft()
            self.wire.seen = rest
        return heard


class Line(Wire):
    """
    Nova's end of a connection: it says things in its own time.

    What it says waits, as in the kernel, until our side reads.
    """

    def __init__(self, protocol: Protocol, host: str) -> None:
        """
        Be connected.
        """
        super().__init__(protocol)
        self.host = host
        self.said: deque[bytes | Exception] = deque()
        #: How many of the bytes that came were read as requests.
        self.judged = 0

    def say(self, *pieces: bytes) -> None:
        """
        Send pieces, each in a segment of its own.
        """
        self.said.extend(pieces)

    def end(self) -> None:
        """
        Close the connection in order, behind what was said.
        """
        self.said.append(ConnectionDone())

    def reset(self) -> None:
        """
        Reset it: what our side has not read by then is lost.
        """
        self.said.append(ConnectionLost())

    def deliver(self) -> bool:
        """
        Let our side read one piece.

        @return: Whether it did.
        """
        if self.closed or not self.said:
            return False
        if isinstance(self.said[0], ConnectionLost):
            self.lose(ConnectionLost())
        elif not self.reading:
            return False
        elif isinstance(self.said[0], bytes):
            self.protocol.dataReceived(self.said[0])
        else:
            self.end_by_peer()
        self.said.popleft()
        return True


@define(eq=False)
class Arrived:
    """
    A request that Nova has got whole.

    @ivar line: On which connection.
    @ivar instance: Who asked, by its signed fields.
    @ivar method: The method.
    @ivar target: The target.
    @ivar body: The body.
    """

    line: Line
    instance: bytes
    method: bytes
    target: bytes
    body: bytes

    @property
    def truth(self) -> bytes:
        """
        What Nova would say to this instance, and to no other.
        """
        return b"data of %b at %b" % (self.instance, self.target)

    def answer(
        self, status: bytes = b"200 OK", fields: bytes = b"", body: bytes | None = None
    ) -> None:
        """
        Answer as an honest Nova does, in one piece.
        """
        body = self.truth if body is None else body
        self.line.say(
            b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b"
            % (
                status,
                fields,
                len(body),
                b"" if self.method == b"HEAD" else body,
            )
        )


#: What Nova does with a request.
Behaviour = Callable[[Arrived], object]


class Nova:
    """
    One or more endpoints that the pool opens connections to.

    @ivar lines: All connections that were ever made, in order.
    @ivar wanted: How many were asked for.
    @ivar arrived: All requests that arrived whole, in order.
    @ivar does: What becomes of the next ones.
    @ivar signs: By what an instance calls itself, the fields that must come with it.
    @ivar refusing: The hosts that refuse connections.
    @ivar deaf: The hosts that answer no handshake.
    """

    def __init__(self, instances: Sequence[Instance]) -> None:
        """
        Answer everything truthfully.
        """
        self.lines: list[Line] = []
        self.wanted = 0
        self.arrived: list[Arrived] = []
        self.does: Behaviour = Arrived.answer
        self.refusing: set[str] = set()
        self.deaf: set[str] = set()
        self._unheard: list[tuple[str, Factory[NovaConnection], Deferred[Any]]] = []
        self.signs = {instance.name: instance.signs() for instance in instances}

    def connect(
        self, endpoint: Endpoint, factory: Factory[NovaConnection], _seconds: float
    ) -> Deferred[Any]:
        """
        Provide C{Connector}.
        """
        self.wanted += 1
        opening: Deferred[Any] = Deferred()
        if endpoint.host in self.refusing:
            return fail(ConnectionRefusedError())
        self._unheard.append((endpoint.host, factory, opening))
        self.accept()
        return opening

    def accept(self) -> None:
        """
        Answer the handshakes that came, where anybody hears them.
        """
        unheard, self._unheard = self._unheard, []
        for host, factory, opening in unheard:
            if host in self.deaf:
                self._unheard.append((host, factory, opening))
                continue
            protocol = factory.buildProtocol(None)
            assert protocol is not None
            line = Line(protocol, host)
            self.lines.append(line)
            protocol.makeConnection(line)
            opening.callback(protocol)

    def give(self, instance: Instance, heir: Instance) -> None:
        """
        Have an instance's port be another's, which it signs for from now on.
        """
        self.expect(instance, heir, instance.address)

    def expect(self, sender: Instance, owner: Instance, address: str) -> None:
        """
        Have whoever names itself as an instance be signed for as another from now on.

        @param address: The address that it asks from.
        """
        self.signs[sender.name] = {
            **owner.signs(),
            b"x-forwarded-for": address.encode(),
        }

    def read(self, line: Line) -> bool:
        """
        Read what has come on a connection, as strictly as h11 does.

        @return: Whether a request became whole.
        """
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=_NO_BOUND)
        reader.receive_data(line.seen[line.judged :])
        request, body = None, b""
        while True:
            event = reader.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        assert request is not None
        assert reader.trailing_data == (b"", False), "two requests at a time"
        line.judged = len(line.seen)
        arrived = Arrived(
            line, self._judge(request), request.method, request.target, body
        )
        self.arrived.append(arrived)
        self.does(arrived)
        return True

    def _judge(self, request: h11.Request) -> bytes:
        """
        Assert that a request is signed for whoever sent it, once and in one way.

        @return: Who that is.
        """
        fields = [
            (name.lower().replace(b"_", b"-"), value) for name, value in request.headers
        ]
        (sender,) = (value for name, value in fields if name == b"user-agent")
        (name,) = (each for each in fields if each[0] == b"x-openstack-request-id")
        assert _NAME.match(name[1]), name
        fields.remove(name)
        signs = sorted(each for each in fields if each[0].startswith(b"x-"))
        signs_of = self.signs[sender]
        assert signs == sorted(signs_of.items()), signs
        return signs_of[b"x-instance-id"]


class Chain:
    """
    Instances, everything between, and Nova.

    @ivar clock: The time.
    @ivar world: Who the instances are.
    @ivar nova: Nova.
    @ivar pool: The pool of connections to it.
    @ivar proxy: The proxy.
    @ivar front: The front.
    @ivar guests: All connections of instances.
    """

    def __init__(
        self,
        hosts: Sequence[str] = ("a",),
        connections: int = 8,
        instances: Sequence[Instance] = (VICTIM, CANARY, *CROWD),
        waiting: int = 64,
    ) -> None:
        """
        Begin with an honest Nova, and nobody connected.

        @param waiting: How many of a network may wait without being identified.
        """
        self.world = World()
        self.clock = self.world.clock
        self.world.know(*(instance.port for instance in instances))
        for instance in instances:
            self.world.point(instance.mac, address=instance.address)
        self.world.neighbours.drain()
        self.nova = Nova(instances)
        self.sweep = Sweep(self.clock)
        self.pool = Upstream(
            [Endpoint(host, 8775) for host in hosts],
            self.nova.connect,
            self.clock,
            self.sweep,
            Random(1),
            Patience(connect=3, first_byte=30, idle=40),
            Extent(connections, 100),
        )
        self.proxy = ReverseProxyResource(
            self.world.lookup,
            self.pool,
            Signer(SECRET),
            self.clock,
            Random(1),
            Shares(4, waiting, 1000),
            Shares(8),
            Hold(),
        )
        self.pool.observe_recovery(self.proxy.nova_recovered)
        self.world.books.neighbours.observe_flips(self.proxy.path_changed)
        self.front = Front(
            self.proxy, self.clock, self.sweep, ChannelBounds(), Shares(99, 999, 999)
        )
        self.guests: list[Guest] = []

    def connect(self, instance: Instance = VICTIM) -> Guest:
        """
        Let an instance connect.
        """
        channel = Channel(self.front, lambda _transport: instance.caller)
        wire = Wire(channel)
        channel.makeConnection(wire)
        guest = Guest(instance, wire)
        self.guests.append(guest)
        return guest

    def ask(
        self,
        target: bytes = TARGET,
        method: bytes = b"GET",
        body: bytes | None = None,
        instance: Instance = VICTIM,
        version: bytes = b"1.1",
    ) -> Guest:
        """
        Let an instance connect and ask; everything happens that can at once.
        """
        guest = self.connect(instance)
        guest.ask(target, method, body, version)
        self.settle()
        return guest

    def settle(self) -> None:
        """
        Let everything happen that needs no time.
        """
        while self._turn():
            pass

    def wait(self, seconds: float) -> None:
        """
        Let time go by, with the sweep looking at the deadlines as it does.
        """
        end = self.clock.seconds() + seconds
        while (now := self.clock.seconds()) < end - 1e-9:
            # To whatever comes next: a timer, or the sweep.
            timers = [call.getTime() for call in self.clock.getDelayedCalls()]
            self.clock.advance(min(end, now + PERIOD, *timers) - now)
            self.sweep.tick()
            self.settle()

    def _turn(self) -> bool:
        """
        Let everything happen once.

        @return: Whether anything did.
        """
        moved = False
        for guest in self.guests:
            wire = guest.wire
            if not wire.closed:
                before = len(wire.seen)
                wire.settle()
                moved |= before != len(wire.seen) or wire.closed is not None
        for line in list(self.nova.lines):
            line.settle()
            moved |= len(line.seen) > line.judged and self.nova.read(line)
            moved |= line.deliver()
            line.settle()
        now = self.clock.seconds()
        if any(call.getTime() <= now for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
            moved = True
        return moved
