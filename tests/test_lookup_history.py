"""
Tests for L{mdproxy.lookup}: what holds after anything that may happen.

The outside is a model beside the lookup, as plain as can be.  What happens there gets
to the books in its own time: each inventory reads when it does, the kernel's events may
be lost, and networks of namespaces are called what somebody says at the moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from attrs import define, evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup import Books, InstanceLookup
from mdproxy.lookup.books import PREFIX, LeaseBook, NeighbourBook, PortBook
from mdproxy.lookup.decision import Policy, is_link_local
from mdproxy.model import Caller, Identity, Lease, Port, Reason, Refusal
from mdproxy.testing import FakeNeighbours, MemoryInventory
from tests.outside import ADDRESS, EPOCH, MAC, OTHER_MAC, settled

#: A listener on a device, one in a namespace that names its network, one in a router's.
PLAIN, DHCP, ROUTER = "red", "qdhcp-blue/tap0", "qrouter-r/qr-567a4527-b0"
LINKS = (PLAIN, DHCP, ROUTER)
ROUTER_PORT = "567a4527-b0e4-4d0a-bcc2-71fda37897f7"
NETWORKS = ("red", "blue", "green")
#: The inventories, and which networks they can know.
COVERED = {"memory": NETWORKS, "ovn": ("blue", "green")}
MACS = (MAC, OTHER_MAC)
DEVICES = {MAC: "tap0", OTHER_MAC: "tap1"}
ADDRESSES = (ADDRESS, "10.0.0.6", "fe80::f816:3eff:fe00:1")
#: How many connections are open at most.
_OPEN = 6

links = st.sampled_from(LINKS)
networks = st.sampled_from(NETWORKS)
inventories = st.sampled_from(tuple(COVERED))
macs = st.sampled_from(MACS)
addresses = st.sampled_from(ADDRESSES)
instances = st.sampled_from(("i-1", "i-2", "i-3"))
projects = st.sampled_from(("p-1", "p-2"))
listed = st.none() | st.frozensets(addresses, max_size=2)
sources = st.sampled_from(("leases", "other"))
#: One thing that happens outside.
steps = st.one_of(
    st.tuples(st.just("plug"), networks, macs, instances, listed),
    st.tuples(st.just("unplug"), networks, macs),
    st.tuples(st.just("move"), networks, macs, instances),
    st.tuples(
        st.just("claim"), inventories, networks, macs, instances, projects, listed
    ),
    st.tuples(st.just("read"), inventories),
    st.tuples(st.just("spoil"), inventories, st.booleans()),
    st.tuples(st.just("miss"), links, macs),
    st.tuples(st.just("attach"), st.none() | networks),
    st.tuples(st.just("name"), inventories, st.none() | networks),
    st.tuples(st.just("point"), links, addresses, st.none() | macs),
    st.tuples(st.just("bridge"), links, macs, st.sampled_from(("tap0", "tap1"))),
    st.tuples(st.just("silence"), st.booleans()),
    st.tuples(st.just("overflow"), links),
    st.tuples(st.just("connect"), links, addresses),
    st.tuples(st.just("greet"), links, addresses, macs),
    st.tuples(st.just("turn"), st.integers(0, _OPEN - 1), st.integers(1, 2)),
    st.tuples(
        st.just("lease"),
        sources,
        networks,
        addresses,
        st.none() | macs,
        st.integers(1, 5),
    ),
    st.tuples(st.just("forget"), sources, networks, addresses),
    st.tuples(st.just("pass"), st.sampled_from((0.1, 1.0, 2.5))),
    st.tuples(st.just("jump"), st.sampled_from((-86400.0, 86400.0))),
)
histories = st.lists(steps, min_size=12, max_size=30)
policies = st.builds(Policy, st.booleans(), st.booleans(), st.booleans())

#: What an inventory says: all ports with a MAC on a network.
Said = dict[tuple[str, str], list[Port]]


@frozen(eq=False)
class Connection:
    """
    A connection that somebody opened.

    @ivar caller: Who, as seen at accept.
    @ivar origins: From which MACs its neighbour entry was turned since.
    """

    caller: Caller
    origins: list[str] = field(factory=list)


@define(eq=False)
class Kernel(FakeNeighbours):
    """
    A neighbour source that enters only what is new.

    @ivar news: Which entries were changed and nobody has read it yet.
    """

    news: set[tuple[str, str]] = field(factory=set)

    def drain(self) -> None:
        """
        Enter all that the kernel has told.
        """
        if self.news and not self.silent:
            for link, address in self.news:
                self._enter(link, address)
            self.news.clear()


class History:
    """
    The outside as it is, beside a lookup that hears of it.

    @ivar truth: Which ports there are now, by network and MAC.
    @ivar claims: What an inventory says beside the truth, by its name.
    @ivar told: What each inventory said when it last read.
    @ivar ever: Which MAC ever had which address, by network, as far as one said.
    @ivar open: The open connections.
    @ivar lost: Whether an event of the kernel may be missing.
    """

    def __init__(self, policy: Policy) -> None:
        """
        Begin with one instance on each network, which is known and reachable and has a
        lease.
        """
        self.policy = policy
        self.clock = Clock()
        self.wall = EPOCH
        self.books = Books(PortBook(), LeaseBook(), NeighbourBook())
        self.neighbours = Kernel(self.books.neighbours, self.clock)
        self.inventories = {
            name: MemoryInventory(self.books.ports, covered, name)
            for name, covered in COVERED.items()
        }
        self.lookup = self.make_lookup()
        #: The same without a memory.
        self.forgetful = self.make_lookup()
        self.truth: dict[tuple[str, str], Port] = {}
        self.claims: dict[str, list[Port]] = {name: [] for name in COVERED}
        self.told: dict[str, Said] = {name: {} for name in COVERED}
        self.names: dict[str, str | None] = dict.fromkeys(COVERED)
        self.attached: str | None = None
        self.leases: dict[tuple[str, str], dict[str, Lease]] = {}
        self.ever: set[tuple[str, str, str]] = set()
        self.open: list[Connection] = []
        self.last: dict[tuple[str, str], str] = {}
        self.lost = False
        self.books.networks.attach_port(ROUTER, ROUTER_PORT[:PREFIX])
        self.settle()
        for network in NETWORKS:
            self.go("lease", "leases", network, ADDRESS, MAC, 3)

    def make_lookup(self) -> InstanceLookup:
        """
        Make a lookup on the books.
        """
        return InstanceLookup(
            self.books,
            list(self.inventories.values()),
            [],
            self.neighbours,
            self.policy,
            self.clock,
            lambda: self.wall,
        )

    def settle(self) -> None:
        """
        Have everything told, named and in order, with an instance on each network.
        """
        self.go("silence", False)
        self.go("attach", "blue")
        for name, inventory in self.inventories.items():
            self.go("name", name, "green")
            self.claims[name].clear()
            inventory.problem = None
        for (network, address), of_sources in self.leases.items():
            for source in list(of_sources):
                self.go("forget", source, network, address)
        for network in NETWORKS:
            self.go("plug", network, MAC, f"i-{network}", frozenset(ADDRESSES[:1]))
        for name in self.inventories:
            self.go("read", name)
        for link, mac in product(LINKS, MACS):
            self.go("bridge", link, mac, DEVICES[mac])
        for link in LINKS:
            self.go("point", link, ADDRESS, MAC)

    def go(self, kind: str, *facts: Any) -> None:
        """
        Have one thing happen, a little later than the one before.
        """
        self.clock.advance(0.001)
        getattr(self, f"_{kind}")(*facts)

    def name_of(self, link: str) -> str:
        """
        Tell what a link's network is called now.
        """
        if link == DHCP:
            return self.attached or link
        said = {name for name in self.names.values() if name is not None}
        return said.pop() if link == ROUTER and len(said) == 1 else link

    def said_of(self, network: str, mac: str) -> list[list[Port]]:
        """
        List what the inventories last said of a MAC, as far as they said anything.
        """
        said = [told.get((network, mac), []) for told in self.told.values()]
        return [ports for ports in said if ports]

    def said_of_address(self, network: str, address: str) -> list[list[Port]]:
        """
        List the same of an address.
        """
        ports = [
            [
                port
                for (where, _mac), listed in told.items()
                for port in listed
                if where == network and address in (port.addresses or ())
            ]
            for told in self.told.values()
        ]
        return [listed for listed in ports if listed]

    def lease_of(self, network: str, address: str) -> Lease | None:
        """
        Find the lease in force, of several the one that lasts longest.
        """
        of_all = self.leases.get((network, address), {}).values()
        running = [lease for lease in of_all if (lease.expires or 0) > self.wall]
        return max(running, key=lambda lease: lease.expires or 0, default=None)

    def callers(self) -> Iterator[Caller]:
        """
        List whoever could ask, or asks on a connection of before.
        """
        for link in LINKS:
            for address in ADDRESSES:
                for mac in MACS:
                    yield Caller(link, address, mac)
                    if self.neighbours.kernel.get((link, address)) == mac:
                        since = self.clock.seconds() + 1
                        yield Caller(link, address, mac, since=since)
                for identify_by in ("lease", "address"):
                    yield Caller(link, address, None, identify_by)
        for connection in self.open:
            yield connection.caller

    def _plug(
        self, network: str, mac: str, instance: str, known: frozenset[str] | None
    ) -> None:
        """
        Plug an instance in.
        """
        self.truth[network, mac] = Port(
            network, mac, instance, "p-1", known, device=DEVICES[mac]
        )

    def _unplug(self, network: str, mac: str) -> None:
        """
        Unplug whatever has a MAC.
        """
        self.truth.pop((network, mac), None)

    def _move(self, network: str, mac: str, instance: str) -> None:
        """
        Have a port be another instance's, as it is.
        """
        port = self.truth.get((network, mac))
        if port is not None:
            self.truth[network, mac] = evolve(port, instance_id=instance)

    def _claim(
        self,
        inventory: str,
        network: str,
        mac: str,
        instance: str,
        project: str,
        known: frozenset[str] | None,
    ) -> None:
        """
        Have an inventory say what is not so, or say it twice.
        """
        self.claims[inventory].append(Port(network, mac, instance, project, known))

    def _read(self, name: str) -> None:
        """
        Have an inventory read what there is now, if it can.
        """
        inventory = self.inventories[name]
        ports = [
            evolve(port, inventory=name)
            for port in (*self.truth.values(), *self.claims[name])
            if port.network in COVERED[name]
        ]
        inventory.ports = ports
        if inventory.problem is None:
            said = self.told[name] = {}
            for port in ports:
                said.setdefault((port.network, port.mac), []).append(port)
                for address in port.addresses or ():
                    self.ever.add((port.network, port.mac, address))
        inventory.startService()

    def _spoil(self, name: str, spoilt: bool) -> None:
        """
        Have an inventory's outside be unreadable, or readable again.
        """
        self.inventories[name].problem = "spoilt" if spoilt else None

    def _miss(self, link: str, mac: str) -> None:
        """
        Have everybody look again, for somebody was missed.
        """
        for name in self.inventories:
            self._read(name)
        self.lookup.refresh(Caller(link, ADDRESS, mac))

    def _attach(self, network: str | None) -> None:
        """
        Have a namespace's link be an end of another network, or of none.
        """
        self.attached = network
        if network is None:
            self.books.networks.detach(DHCP)
        else:
            self.books.networks.attach(DHCP, network)

    def _name(self, inventory: str, network: str | None) -> None:
        """
        Have an inventory say which network a router's port is on.
        """
        self.names[inventory] = network
        self.books.networks.enter(inventory, ROUTER_PORT, network)

    def _point(self, link: str, address: str, mac: str | None) -> None:
        """
        Have the kernel point an address to a MAC.
        """
        self.neighbours.kernel[link, address] = mac
        self.neighbours.news.add((link, address))
        self.neighbours.drain()
        last = self.last.get((link, address))
        if mac is None or mac == last:
            return
        self.last[link, address] = mac
        for connection in self.open:
            caller = connection.caller
            if last is not None and (caller.network, caller.address) == (link, address):
                connection.origins.append(last)

    def _bridge(self, link: str, mac: str, device: str) -> None:
        """
        Have a bridge learn a MAC.
        """
        self.neighbours.ports[link, mac] = device

    def _silence(self, silent: bool) -> None:
        """
        Have the kernel's events be lost, or arrive again.
        """
        self.neighbours.silent = silent
        self.lost |= silent
        self.neighbours.drain()

    def _overflow(self, link: str) -> None:
        """
        Have it be noticed that events were lost.
        """
        self.books.neighbours.miss(link, self.clock.seconds())
        for connection in self.open:
            if connection.caller.network == link:
                connection.origins.extend(["nobody knows"] * 2)

    def _connect(self, link: str, address: str) -> None:
        """
        Have whoever the kernel would answer at an address open a connection.
        """
        mac = self.neighbours.kernel.get((link, address))
        if mac is not None:
            since = self.clock.seconds() + 0.0005
            caller = Caller(link, address, mac, since=since)
            self.open = [*self.open[1 - _OPEN :], Connection(caller)]

    def _greet(self, link: str, address: str, mac: str) -> None:
        """
        Have somebody open a connection whose first packet tells the kernel its MAC.
        """
        caller = Caller(link, address, mac, since=self.clock.seconds())
        self.open = [*self.open[1 - _OPEN :], Connection(caller)]
        self.go("point", link, address, mac)

    def _turn(self, number: int, times: int) -> None:
        """
        Have somebody turn the entry of an open connection, and perhaps back.
        """
        if number >= len(self.open):
            return
        caller = self.open[number].caller
        link, address = caller.network, caller.address
        for _ in range(times):
            now = self.neighbours.kernel.get((link, address))
            self.go("point", link, address, OTHER_MAC if now == MAC else MAC)

    def _lease(
        self, source: str, network: str, address: str, mac: str | None, seconds: int
    ) -> None:
        """
        Lease an address for some seconds.
        """
        # No two end at one time, so that the one that lasts longest is one.
        end = self.wall + seconds + (source == "other") / 2
        lease = Lease(network, address, mac, end)
        self.leases.setdefault((network, address), {})[source] = lease
        self.books.leases.learn(source, lease)

    def _forget(self, source: str, network: str, address: str) -> None:
        """
        Have a lease vanish.
        """
        self.leases.get((network, address), {}).pop(source, None)
        self.books.leases.forget(source, network, address)

    def _pass(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.clock.advance(seconds)
        self.wall += seconds

    def _jump(self, seconds: float) -> None:
        """
        Have the wall clock be set.
        """
        self.wall += seconds


class HistoryTests(SynchronousTestCase):
    """
    What holds after any history (scenarios D1, D2, D3, D4, D10, D11 and D12).
    """

    @settings(deadline=None, max_examples=200)
    @given(policies, histories)
    def test_never_another_instance(
        self, policy: Policy, happened: list[tuple[Any, ...]]
    ) -> None:
        """
        At every moment each caller is nobody, or the one instance that every inventory
        names that says anything of that MAC on the network that the link is an end of;
        and what is remembered makes no difference.
        """
        history = History(policy)
        held: list[Identity] = []
        for step in happened:
            history.go(*step)
            self.check(history, held)

    def check(self, history: History, held: list[Identity]) -> None:
        """
        Try every caller.

        @param held: Who was recognised before; those who are now are added.
        """
        lookup, forgetful = history.lookup, history.forgetful
        forgetful.renew(list(history.inventories.values()), [], history.policy)
        for identity in held:
            caller = identity.evidence.caller
            if lookup.still_holds(identity, caller):
                self.assertEqual(self.owner_of(history, identity), self.owner(identity))
        held[:] = held[-20:]
        for caller in list(history.callers()):
            verdict = lookup.verdict(caller)
            self.assertEqual(verdict, forgetful.verdict(caller))
            if isinstance(verdict, Identity):
                self.check_identity(history, verdict)
                held.append(verdict)

    def owner(self, identity: Identity) -> tuple[str, str]:
        """
        Name whom an identity is.
        """
        return identity.port.instance_id, identity.port.project_id

    def owner_of(self, history: History, identity: Identity) -> tuple[str, str]:
        """
        Name the only one that has the port of an identity now.
        """
        caller = identity.evidence.caller
        network = history.name_of(caller.network)
        said = history.said_of(network, identity.port.mac)
        if caller.identify_by == "address":
            said = history.said_of_address(network, caller.address)
        for ports in said:
            self.assertEqual(len(ports), 1, "an inventory has two of them")
        (owner,) = {(p.instance_id, p.project_id) for ports in said for p in ports}
        return owner

    def check_identity(self, history: History, identity: Identity) -> None:
        """
        Hold an identity to the model.
        """
        caller, port = identity.evidence.caller, identity.port
        network = history.name_of(caller.network)
        self.assertEqual(port.network, network)
        self.assertEqual(self.owner_of(history, identity), self.owner(identity))
        known = [
            None if p.addresses is None else p.addresses | p.pairs
            for ports in history.said_of(network, port.mac)
            for p in ports
        ]
        lease = history.lease_of(network, caller.address)
        if caller.identify_by == "lease":
            assert lease is not None
            self.assertEqual(lease.mac, port.mac)
        elif caller.identify_by == "mac":
            self.assertEqual(port.mac, caller.mac)
            self.check_path(history, caller, port)
            if known == [None] * len(known) and not is_link_local(caller.address):
                may = history.policy.allow_unverified_address
                self.assertTrue(may or (lease and lease.mac == port.mac))
        if not is_link_local(caller.address):
            self.assertTrue(any(k is None or caller.address in k for k in known))

    def check_path(self, history: History, caller: Caller, port: Port) -> None:
        """
        Hold the way to a caller to the model, as far as we were told.
        """
        link, address, mac = caller.network, caller.address, caller.mac
        device = history.neighbours.ports.get((link, port.mac))
        if history.policy.check_bridge_port and port.device is not None:
            self.assertEqual(device, port.device)
        if not history.neighbours.silent:
            self.assertEqual(history.neighbours.kernel[link, address], mac)
        for connection in history.open:
            if connection.caller is not caller or history.lost:
                continue
            network = history.name_of(link)
            self.assertLessEqual(len(connection.origins), 1)
            for origin in connection.origins:
                self.assertIn((network, origin, address), history.ever)
                self.assertEqual(history.said_of(network, origin), [])

    @settings(deadline=None)
    @given(policies, histories)
    def test_honest_callers_are_served(
        self, policy: Policy, happened: list[tuple[Any, ...]]
    ) -> None:
        """
        Whatever has happened, once everything has been told and is in order, every port
        with an address that the kernel points to it is recognised on every link of its
        network, on a connection that is opened then.
        """
        history = History(policy)
        for step in happened:
            history.go(*step)
        history.settle()
        served = 0
        for (network, mac), port in history.truth.items():
            for link in LINKS:
                if history.name_of(link) != network:
                    continue
                for address in sorted(port.addresses or ()):
                    history.go("point", link, address, mac)
                    history.go("pass", 0.1)
                    caller = Caller(link, address, mac, since=history.clock.seconds())
                    verdict = history.lookup.verdict(caller)
                    assert isinstance(verdict, Identity), verdict
                    self.assertEqual(verdict.port.instance_id, port.instance_id)
                    served += 1
        self.assertGreaterEqual(served, len(LINKS))

    def test_reused_address(self) -> None:
        """
        An instance goes and another gets its address: between the two nobody is
        identified, and after it only the new one, whatever leases and entries linger
        (scenario D1).
        """
        world = settled()
        world.lease(MAC)
        self.assertEqual(world.identified(), "i-1")
        world.know()
        self.assertEqual(world.refusal(), (Reason.UNKNOWN, False))
        new = Caller("red", ADDRESS, OTHER_MAC)
        self.assertEqual(world.refusal(new)[0], Reason.FRAME_MISMATCH)
        world.know(Port("red", OTHER_MAC, "i-2", "p-1", frozenset({ADDRESS})))
        world.point(OTHER_MAC)
        self.assertEqual(world.refusal()[0], Reason.FRAME_MISMATCH)
        self.assertEqual(world.identified(new), "i-2")

    def test_reused_address_in_a_namespace(self) -> None:
        """
        So it is where the link is not called what its network is: the turn of the entry
        from the old instance to the new one is none of an attacker's.
        """
        history = History(Policy())
        history.go("unplug", "blue", MAC)
        history.go("plug", "blue", OTHER_MAC, "i-2", frozenset({ADDRESS}))
        history.go("read", "memory")
        history.go("read", "ovn")
        since = history.clock.seconds()
        history.go("point", DHCP, ADDRESS, OTHER_MAC)
        verdict = history.lookup.verdict(Caller(DHCP, ADDRESS, OTHER_MAC, since=since))
        assert isinstance(verdict, Identity), verdict
        self.assertEqual(verdict.port.instance_id, "i-2")

    def test_detached_link(self) -> None:
        """
        Who was recognised on a link that is no end of its network any more is nobody.
        """
        history = History(Policy())
        caller = Caller(DHCP, ADDRESS, MAC)
        self.assertIsInstance(history.lookup.verdict(caller), Identity)
        history.go("attach", None)
        self.assertIsInstance(history.lookup.verdict(caller), Refusal)

    def test_bridge_is_asked_each_time(self) -> None:
        """
        Where the bridge is to be looked at, whoever was recognised is not any more when
        the bridge has his MAC elsewhere, though no book has changed.
        """
        history = History(Policy(check_bridge_port=True))
        caller = Caller(PLAIN, ADDRESS, MAC)
        self.assertIsInstance(history.lookup.verdict(caller), Identity)
        history.go("bridge", PLAIN, MAC, "tap1")
        verdict = history.lookup.verdict(caller)
        assert isinstance(verdict, Refusal)
        self.assertEqual(verdict.evidence.reason, Reason.PORT_MISMATCH)
        history.go("bridge", PLAIN, MAC, "tap0")
        self.assertIsInstance(history.lookup.verdict(caller), Identity)

    def test_turned_by_way_of_nothing(self) -> None:
        """
        An entry that was turned away, forgotten and turned back was turned twice: that
        it came back from the MAC of a port that is gone excuses nothing.
        """
        history = History(Policy())
        history.go("plug", "red", OTHER_MAC, "i-old", frozenset({ADDRESS}))
        history.go("read", "memory")
        history.go("unplug", "red", OTHER_MAC)
        history.go("read", "memory")
        caller = Caller(PLAIN, ADDRESS, MAC, since=history.clock.seconds())
        self.assertIsInstance(history.lookup.verdict(caller), Identity)
        for mac in (OTHER_MAC, None, MAC):
            history.go("point", PLAIN, ADDRESS, mac)
        verdict = history.lookup.verdict(caller)
        assert isinstance(verdict, Refusal)
        self.assertEqual(verdict.evidence.reason, Reason.FRAME_MISMATCH)
