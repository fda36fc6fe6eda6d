"""
A proxy whole but for its sockets, and several instances that talk to it in memory.
"""

from __future__ import annotations

import hashlib
import hmac
from random import Random

from attrs import define, field, frozen
from twisted.internet.error import ConnectionLost

from mdproxy.http.front import ChannelBounds, Front
from mdproxy.http.server import Channel
from mdproxy.interfaces import IExchange
from mdproxy.limits import Rates, Shares
from mdproxy.model import Caller, Port
from mdproxy.proxy import Hold, ReverseProxyResource
from mdproxy.signing import Signer
from mdproxy.sweep import PERIOD, Sweep
from mdproxy.testing import FakeUpstream
from tests.outside import World
from tests.playbook import Wire
from tests.secrecy import SECRET, SecrecyTestCase

#: The fields by which Nova knows who asks.
IDENTITY = (
    "x-forwarded-for",
    "x-instance-id",
    "x-instance-id-signature",
    "x-tenant-id",
)


@frozen
class Guest:
    """
    An instance.

    @ivar number: Which one of its network.
    @ivar network: Its network; they all use the same addresses.
    @ivar prefix: What its address begins with.
    """

    number: int
    network: str = "red"
    prefix: str = "10.0"

    @property
    def name(self) -> str:
        """
        Its instance id.
        """
        return f"i-{self.network}-{self.number}"

    @property
    def address(self) -> str:
        """
        Its address.
        """
        return f"{self.prefix}.{self.number >> 8}.{self.number & 255}"

    @property
    def mac(self) -> str:
        """
        Its MAC address.
        """
        kind = "01" if self.network == "red" else "02"
        return f"fa:16:3e:{kind}:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def caller(self) -> Caller:
        """
        How a listener sees it.
        """
        return Caller(self.network, self.address, self.mac)

    @property
    def port(self) -> Port:
        """
        How an inventory knows it.
        """
        return Port(
            self.network,
            self.mac,
            self.name,
            f"p-{self.network}",
            frozenset({self.address}),
            inventory="memory",
        )

    def target(self, path: str = "meta-data") -> str:
        """
        Name something to ask for, by which a request shows who sent it.
        """
        return f"/latest/{self.name}/{path}"

    def get(self, path: str = "meta-data", *fields: str) -> bytes:
        """
        Write a request.
        """
        lines = [f"GET {self.target(path)} HTTP/1.1", "Host: 169.254.169.254", *fields]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def identity(self) -> list[tuple[str, str]]:
        """
        Tell what Nova must see of it, sorted.
        """
        signed = hmac.new(SECRET, self.name.encode(), hashlib.sha256).hexdigest()
        values = (self.address, self.name, signed, f"p-{self.network}")
        return list(zip(IDENTITY, values, strict=True))


def identity_in(head: bytes) -> list[tuple[str, str]]:
    """
    Find the identity fields in a request's head, however they are spelt.

    @return: Names, in lower case with hyphens, and values; sorted.
    """
    fields = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
    named = [(name.lower().replace("_", "-"), value) for name, _, value in fields]
    return sorted(
        (name, value.strip()) for name, value in named if name.strip() in IDENTITY
    )


def answered(name: str) -> bytes:
    """
    Write what Nova's stand-in says to an instance.
    """
    return f"yours, {name}".encode()


@define(eq=False)
class Nova(FakeUpstream):
    """
    A Nova that says to each instance who it is; it answers when the host settles.

    @ivar deaf_to: The instances that it does not answer by itself.
    """

    deaf_to: set[str] = field(factory=set)

    def speak(self) -> bool:
        """
        Answer the eldest request that it is not deaf to.

        @return: Whether there was one.
        """
        for exchange in self.in_flight:
            name = dict(identity_in(exchange.wire))["x-instance-id"]
            if name not in self.deaf_to:
                self.in_flight.remove(exchange)
                self.in_flight.insert(0, exchange)
                self.answer(200, answered(name))
                return True
        return False


class Host:
    """
    A hypervisor: front, proxy and Nova, and whoever talks to them.

    @ivar nova: Nova.
    @ivar front: The front.
    @ivar proxy: The proxy.
    @ivar canary: An instance that asks every second, if there is one.
    """

    def __init__(
        self,
        guests: list[Guest],
        bounds: ChannelBounds | None = None,
        connections: Shares | None = None,
        rates: Rates | None = None,
    ) -> None:
        """
        Begin with everything known and nobody connected.
        """
        self.world = World()
        self.clock = self.world.clock
        self.world.know(*(guest.port for guest in guests))
        for guest in guests:
            self.world.point(guest.mac, guest.network, guest.address)
        self.nova = Nova()
        self.sweep = Sweep(self.clock)
        self.proxy = ReverseProxyResource(
            self.world.lookup,
            self.nova,
            Signer(SECRET),
            self.clock,
            Random(1),
            Shares(4, 64, 4096),
            Shares(8),
            Hold(),
            rates=rates or Rates(1e6, 1000),
        )
        self.front = Front(
            self.proxy,
            self.clock,
            self.sweep,
            bounds or ChannelBounds(),
            connections or Shares(64, 2048, 4096),
        )
        self.wires: list[Wire] = []
        self.canary: Guest | None = None

    def connect(self, guest: Guest) -> Wire:
        """
        Let an instance connect.
        """
        caller = guest.caller
        wire = Wire(Channel(self.front, lambda _transport: caller))
        self.wires.append(wire)
        wire.protocol.makeConnection(wire)
        self.settle()
        return wire

    def say(self, wire: Wire, data: bytes) -> None:
        """
        Let an instance send, and everything happen that follows at once.
        """
        assert wire.reading and not wire.closed
        wire.protocol.dataReceived(data)
        self.settle()

    def hear(self, wire: Wire) -> bytes:
        """
        Let an instance read.

        @return: What it had not read before.
        """
        self.settle()
        heard, wire.seen = wire.seen, b""
        return heard

    def ask(self, guest: Guest, path: str = "meta-data") -> bytes:
        """
        Let an instance ask on a connection of its own, and leave.

        @return: All that it hears.
        """
        wire = self.connect(guest)
        if not wire.closed:
            self.say(wire, guest.get(path))
        heard = self.hear(wire)
        self.leave(wire)
        return heard

    def leave(self, wire: Wire) -> None:
        """
        Let an instance go away.
        """
        if not wire.closed:
            wire.lose(ConnectionLost())
        self.settle()

    def settle(self) -> None:
        """
        Let everything happen that does not take time.
        """
        going = True
        while going:
            for wire in self.wires:
                wire.settle()
            self.wires = [wire for wire in self.wires if not wire.closed]
            self.clock.advance(0)
            going = self.nova.speak()

    def wait(self, seconds: float) -> None:
        """
        Let time go by; the canary sings every second.
        """
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 1e-9:
            before = self.clock.seconds()
            self.clock.advance(min(PERIOD, left))
            self.sweep.tick()
            self.settle()
            if self.canary is not None and int(before) != int(self.clock.seconds()):
                self.sing(self.canary)

    def sing(self, canary: Guest) -> None:
        """
        Let the canary ask: it is answered at once, with what is its own.
        """
        heard = self.ask(canary)
        assert heard.startswith(b"HTTP/1.1 200 OK\r\n"), heard
        assert heard.endswith(b"\r\n\r\n" + answered(canary.name)), heard

    @property
    def asked(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """
        List what Nova was asked: each target, and who it was told that asks.
        """
        return [
            (_target(exchange), identity_in(head)) for exchange, head in self.nova.asked
        ]


def _target(exchange: IExchange) -> str:
    """
    Tell what was asked for.
    """
    return exchange.request.target.decode("latin-1")


class GuestsTestCase(SecrecyTestCase):
    """
    A test with a host: whatever happened, Nova was told of every request whose it is,
    and nothing is left when everybody has gone.

    @ivar host: The host.
    @ivar guests: Its instances, by instance id.
    """

    def make_host(
        self,
        *guests: Guest,
        bounds: ChannelBounds | None = None,
        connections: Shares | None = None,
        rates: Rates | None = None,
    ) -> Host:
        """
        Make the host.
        """
        self.guests = {guest.name: guest for guest in guests}
        self.host = Host(list(guests), bounds, connections, rates)
        self.addCleanup(self.check_host)
        return self.host

    def check_host(self) -> None:
        """
        See whose requests they were, and that nothing is left.
        """
        for target, identity in self.host.asked:
            owner = self.guests[target.split("/")[2]]
            self.assertEqual(identity, owner.identity(), target)
        for wire in list(self.host.wires):
            self.host.leave(wire)
        self.assertEqual(self.host.nova.in_flight, [])
        self.assertEqual(self.host.front.describe()["connections"], 0)
        self.assertEqual(self.host.front.shares.taken, 0)
        self.assertEqual(self.host.clock.getDelayedCalls(), [])
        described = dict(self.host.proxy.describe())
        del described["counts"]
        self.assertEqual(described, dict.fromkeys(described, 0))
