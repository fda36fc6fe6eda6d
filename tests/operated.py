"""
A host in memory for the operator to look at: real books, lookup, records and listeners'
words, made-up kernel, inventory and Nova.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from attrs import define, evolve, field
from twisted.internet.task import Clock

from mdproxy.checks.finding import Finding
from mdproxy.heard import HeardLink
from mdproxy.interfaces import SourceState
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.view import View
from mdproxy.listening import Listening
from mdproxy.lookup import Books, InstanceLookup
from mdproxy.lookup.books import LeaseBook, NeighbourBook, PortBook
from mdproxy.lookup.decision import Policy
from mdproxy.model import Caller, Identity, Lease, Port, Refusal
from mdproxy.steps import Steps
from mdproxy.testing import FakeNeighbours, MemoryInventory
from mdproxy.transactions import RequestIds, Transactions

RED, BLUE = "red", "blue"
A, B = "fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b"
ADDRESS = "10.0.0.5"
#: When the tests begin, in seconds since the epoch.
EPOCH = 1_700_000_000.0


def a_link(name: str = RED, **differs: Any) -> HeardLink:
    """
    Make a link with a listener on a device.
    """
    return evolve(HeardLink(name, f"l-{name}", "device", "mac", name, True), **differs)


def a_port(instance: str = "i-a", mac: str = A, **differs: Any) -> Port:
    """
    Make a port on the red network.
    """
    port = Port(RED, mac, instance, "p-1", frozenset({ADDRESS}), inventory="memory")
    return evolve(port, **differs)


@define(eq=False)
class Listened:
    """
    A listener that says what a test has it say.

    @ivar heard_links: What it hears.
    @ivar problem: What is wrong with it.
    """

    heard_links: list[HeardLink]
    name: str = "listener"
    problem: str | None = None

    def links(self) -> list[str]:
        """
        Name what it hears.
        """
        return [each.link for each in self.heard_links]

    def heard(self, links: Container[str]) -> list[HeardLink]:
        """
        Tell what it hears.
        """
        return [each for each in self.heard_links if each.link in links]

    def describe(self) -> Mapping[str, Any]:
        """
        Tell of itself.
        """
        return {
            "name": self.name,
            "kind": "device",
            "network": self.name,
            "device": self.name,
            "identify_by": "mac",
            "listening": ["169.254.169.254 port 80"],
            "accepted": 0,
            "problem": self.problem,
        }


@define(eq=False)
class Described:
    """
    A part that says what a test has it say, and has what a test gives it.

    @ivar says: What it says.
    """

    says: dict[str, Any] = field(factory=dict)

    def describe(self) -> dict[str, Any]:
        """
        Say it.
        """
        return self.says


@define(eq=False)
class Host:
    """
    A host with one listener, and what operators may see of it.

    @ivar links: What is listened on; red and blue at first.
    """

    clock: Clock = field(factory=Clock)
    books: Books = field(
        factory=lambda: Books(PortBook(), LeaseBook(), NeighbourBook())
    )
    links: list[HeardLink] = field(factory=lambda: [a_link(RED), a_link(BLUE)])
    policy: Policy = field(factory=Policy)
    findings: list[Finding] = field(factory=list)
    secret: str = "right"
    neighbours: FakeNeighbours = field(init=False)
    inventory: MemoryInventory = field(init=False)
    lookup: InstanceLookup = field(init=False)
    transactions: Transactions = field(init=False)
    steps: Steps = field(init=False)
    listener: Listened = field(init=False)
    upstream: Described = field(init=False)
    parts: Parts = field(init=False)
    view: View = field(init=False)
    _count: int = 0

    def __attrs_post_init__(self) -> None:
        """
        Put it together; the inventory knows both networks, and is live.
        """
        self.clock.advance(1000)
        self.neighbours = FakeNeighbours(self.books.neighbours, self.clock)
        self.inventory = MemoryInventory(self.books.ports, (RED, BLUE))
        self.inventory.state = SourceState.LIVE
        self.lookup = InstanceLookup(
            self.books,
            [self.inventory],
            [],
            self.neighbours,
            self.policy,
            self.clock,
            self.wall,
        )
        ids = RequestIds.draw(Random(1))
        now = self.clock.seconds
        self.transactions = Transactions(ids, now, self.wall)
        self.steps = Steps(ids, now, self.wall)
        self.listener = Listened(self.links)
        endpoint = {"host": "nova", "port": 8775, "up": True, "problem": None}
        self.upstream = Described({"endpoints": [endpoint]})
        self.parts = self._assemble()
        self.view = View(self.parts)

    def wall(self) -> float:
        """
        Tell the time, in seconds since the epoch.
        """
        return EPOCH + self.clock.seconds() - 1000

    def _assemble(self) -> Parts:
        """
        Make the parts.
        """
        proxy = SimpleNamespace(
            transactions=self.transactions,
            steps=self.steps,
            describe=lambda: {"counts": {}},
        )
        sources = SimpleNamespace(
            books=self.books,
            neighbours=self.neighbours,
            inventories=[self.inventory],
            leases=[],
            all=[self.inventory],
            epoch=SimpleNamespace(now=self.wall),
        )
        checks = SimpleNamespace(
            findings=self.findings,
            secret=self.secret,
            describe=lambda: {"secret": self.secret},
        )
        return Parts(
            lookup=self.lookup,
            proxy=cast(Any, proxy),
            upstream=cast(Any, self.upstream),
            front=cast(Any, Described({"connections": 0, "refused": {}})),
            listening=Listening(cast(Any, None), cast(Any, None), [self.listener]),
            sources=cast(Any, sources),
            reload=cast(Any, Described({"since": "then"})),
            checks=checks,
            history=Described({"step": 10.0, "samples": []}),
            clock=self.clock,
            wall=self.wall,
            version="1.2.3",
        )

    def know(self, *ports: Port) -> None:
        """
        Have the inventory know ports.
        """
        for port in ports:
            record = f"{port.network} {port.mac} {port.instance_id}"
            self.books.ports.enter("memory", record, [port])

    def see(self, mac: str, address: str = ADDRESS, network: str = RED) -> None:
        """
        Have the kernel know a neighbour.
        """
        self.neighbours.kernel[network, address] = mac
        self.neighbours.drain()

    def lease(
        self,
        mac: str | None,
        expires: float | None = None,
        hostname: str | None = None,
        address: str = ADDRESS,
    ) -> None:
        """
        Have the DHCP server's store say something.

        @param expires: In how many seconds.
        """
        until = None if expires is None else self.wall() + expires
        self.books.leases.learn("store", Lease(RED, address, mac, until, hostname))

    def ask(
        self,
        mac: str | None = A,
        address: str = ADDRESS,
        network: str = RED,
        status: int = 200,
        target: bytes = b"/openstack",
        outcome: str | None = None,
    ) -> Identity | Refusal:
        """
        Have somebody ask, and the proxy answer.

        @param outcome: What came of it; C{None}: what fits the status.

        @return: What the lookup said.
        """
        self._count += 1
        now = self.clock.seconds()
        caller = Caller(network, address, mac, since=now, kind="device")
        verdict = self.lookup.verdict(caller)
        self.transactions.note(
            (
                *(self._count, now, 0.25, 0.125, 0.1),
                *(caller, verdict, b"GET", target, status, int(status == 200)),
                outcome or ("relayed" if status == 200 else "refused"),
            )
        )
        return verdict
