"""
All that a lookup hears of, in memory.
"""

from __future__ import annotations

from twisted.internet.task import Clock

from mdproxy.interfaces import ISource
from mdproxy.lookup import Books, InstanceLookup
from mdproxy.lookup.books import LeaseBook, NeighbourBook, PortBook
from mdproxy.lookup.decision import Policy
from mdproxy.model import Caller, Identity, Lease, Port, Reason, Refusal
from mdproxy.testing import FakeNeighbours, MemoryInventory

MAC = "fa:16:3e:00:00:01"
OTHER_MAC = "fa:16:3e:00:00:02"
ADDRESS = "10.0.0.5"
CALLER = Caller("red", ADDRESS, MAC)
ROUTED = Caller("red", ADDRESS, None, "lease")
#: A wall clock that is far from the monotonic one.
EPOCH = 1_795_000_000.0


def port_of(
    mac: str = MAC,
    instance_id: str = "i-1",
    network: str = "red",
    addresses: frozenset[str] | None = frozenset({ADDRESS}),
) -> Port:
    """
    Make a port.
    """
    return Port(network, mac, instance_id, "p-1", addresses, inventory="memory")


class World:
    """
    A lookup on real books, with an outside that is all in memory.

    @ivar wall: Seconds since the epoch.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        """
        Begin with a live inventory of networks red and blue, and nothing known.
        """
        self.clock = Clock()
        self.wall = EPOCH
        self.books = Books(PortBook(), LeaseBook(), NeighbourBook())
        self.neighbours = FakeNeighbours(self.books.neighbours, self.clock)
        self.inventory = MemoryInventory(self.books.ports, ("red", "blue"))
        self.inventory.startService()
        self.leases = MemoryInventory(PortBook(), ("red",), "leases")
        self.leases.startService()
        self.inventories = [self.inventory]
        lease_sources: list[ISource] = [self.leases]
        self.lookup = InstanceLookup(
            self.books,
            self.inventories,
            lease_sources,
            self.neighbours,
            policy or Policy(),
            self.clock,
            lambda: self.wall,
        )

    def know(self, *ports: Port) -> None:
        """
        Have the inventory's book hold these ports and no others.
        """
        self.inventory.ports = list(ports)
        self.books.ports.enter(self.inventory.name, "all", ports)

    def point(
        self, mac: str | None, network: str = "red", address: str = ADDRESS
    ) -> None:
        """
        Have the kernel point an address to a MAC, or to none.
        """
        self.neighbours.kernel[network, address] = mac

    def lease(self, mac: str | None, expires: float | None = None) -> None:
        """
        Lease the address.
        """
        self.books.leases.learn("leases", Lease("red", ADDRESS, mac, expires))

    def identified(self, caller: Caller = CALLER) -> str | None:
        """
        Name the instance that a caller is now.
        """
        verdict = self.lookup.verdict(caller)
        return verdict.port.instance_id if isinstance(verdict, Identity) else None

    def refusal(self, caller: Caller = CALLER) -> tuple[Reason, bool]:
        """
        Say why a caller is refused now, and whether in doubt.
        """
        verdict = self.lookup.verdict(caller)
        assert isinstance(verdict, Refusal), verdict
        return verdict.evidence.reason, verdict.doubtful


def settled(policy: Policy | None = None) -> World:
    """
    Make a world that knows everything of one instance.
    """
    world = World(policy)
    world.know(port_of())
    world.point(MAC)
    return world
