"""
Tests for L{mdproxy.lookup}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.lookup.decision import Policy
from mdproxy.model import Caller, Identity, Lease, Neighbour, Reason, Refusal
from mdproxy.testing import MemoryInventory
from tests.outside import (
    ADDRESS,
    CALLER,
    EPOCH,
    MAC,
    OTHER_MAC,
    ROUTED,
    World,
    port_of,
    settled,
)


class VerdictTests(SynchronousTestCase):
    """
    Tests for L{InstanceLookup.verdict}.
    """

    def test_known(self) -> None:
        """
        A caller whose frame, neighbour and port agree is that port's instance, with the
        evidence.
        """
        world = settled()
        world.lease(MAC)
        verdict = world.lookup.verdict(CALLER)
        assert isinstance(verdict, Identity)
        self.assertEqual(verdict.port, port_of())
        evidence = verdict.evidence
        self.assertEqual((evidence.caller, evidence.neighbour), (CALLER, MAC))
        self.assertEqual(evidence.lease, Lease("red", ADDRESS, MAC, None))
        self.assertEqual((evidence.row, evidence.reason), (1, Reason.AGREED))

    def test_networks_are_apart(self) -> None:
        """
        The same MAC and address on two networks are two instances; facts of one network
        are nothing on the other (scenario D2).
        """
        world = settled()
        blue = Caller("blue", ADDRESS, MAC)
        self.assertEqual(world.refusal(blue), (Reason.NO_NEIGHBOUR, True))
        world.point(MAC, "blue")
        self.assertEqual(world.refusal(blue), (Reason.UNKNOWN, False))
        world.know(port_of(), port_of(instance_id="i-2", network="blue"))
        self.assertEqual(world.identified(), "i-1")
        self.assertEqual(world.identified(blue), "i-2")
        world.point(OTHER_MAC, "blue")
        self.assertEqual(world.identified(), "i-1")
        self.assertEqual(world.refusal(blue), (Reason.FRAME_MISMATCH, False))

    def test_neighbour_as_of_now(self) -> None:
        """
        What the kernel has told and nobody has read yet counts.
        """
        world = settled()
        self.assertEqual(world.identified(), "i-1")
        world.point(OTHER_MAC)
        self.assertEqual(world.refusal(), (Reason.FRAME_MISMATCH, False))
        world.point(None)
        self.assertEqual(world.refusal(), (Reason.NO_NEIGHBOUR, True))

    def test_probe_on_a_miss(self) -> None:
        """
        Where the book knows no neighbour the kernel is asked for that one, and for no
        other; where it knows one it is not asked.
        """
        world = settled()
        world.neighbours.silent = True
        self.assertEqual(world.identified(), "i-1")
        self.assertEqual(world.neighbours.probes, [("red", ADDRESS)])
        self.assertEqual(world.identified(), "i-1")
        self.assertEqual(world.neighbours.probes, [("red", ADDRESS)])

    def turn(self, world: World, *macs: str) -> float:
        """
        Turn the entry, a second apart.

        @return: When it was turned for the first time.
        """
        world.neighbours.drain()
        start = world.clock.seconds() + 1
        for mac in macs:
            world.clock.advance(1)
            world.point(mac)
            world.neighbours.drain()
        world.clock.advance(100)
        return start

    def test_turned_since_the_handshake(self) -> None:
        """
        An entry that was turned and turned back after a connection's handshake began
        never identifies its caller, however long ago that is; turned before, it does.
        """
        world = settled()
        self.assertEqual(world.identified(), "i-1")
        turned = self.turn(world, OTHER_MAC, MAC)
        for since in (turned - 0.001, turned + 1):
            early = evolve(CALLER, since=since)
            self.assertEqual(world.refusal(early), (Reason.FRAME_MISMATCH, False))
        late = evolve(CALLER, since=turned + 1.001)
        self.assertEqual(world.identified(late), "i-1")

    def test_missed_news_are_a_doubt(self) -> None:
        """
        Where news were missed nobody knows whether the entry was turned: a caller from
        before then is refused, and nothing is proven; a turn that was seen is proof.
        """
        world = settled()
        self.assertEqual(world.identified(), "i-1")
        early = evolve(CALLER, since=world.clock.seconds())
        world.clock.advance(1)
        world.books.neighbours.miss("red", world.clock.seconds())
        self.assertEqual(world.refusal(early), (Reason.FRAME_MISMATCH, True))
        world.clock.advance(1)
        late = evolve(CALLER, since=world.clock.seconds())
        self.assertEqual(world.identified(late), "i-1")
        self.turn(world, OTHER_MAC, MAC)
        self.assertEqual(world.refusal(late), (Reason.FRAME_MISMATCH, False))

    def test_turned_from_a_port_that_is_gone(self) -> None:
        """
        An entry that was turned once, from a port that is gone to the one that has its
        address now, identifies the latter, for its first packets often turn it.
        """
        world = settled()
        world.know(port_of(OTHER_MAC, "i-2"))
        new = evolve(CALLER, mac=OTHER_MAC)
        self.turn(world, OTHER_MAC)
        self.assertEqual(world.identified(new), "i-2")

    def test_turned_on_a_link(self) -> None:
        """
        The same excuse counts on a link, whose ports go by the network's name.
        """
        world, link = World(), "qdhcp-red/tap0"
        world.books.networks.attach(link, "red")
        world.know(port_of(OTHER_MAC, "i-2"))
        world.know(port_of())
        caller = evolve(CALLER, network=link, since=world.clock.seconds())
        world.point(OTHER_MAC, link)
        world.neighbours.drain()
        world.point(MAC, link)
        verdict = world.lookup.verdict(caller)
        assert isinstance(verdict, Identity)
        self.assertEqual(verdict.port.instance_id, "i-1")

    def test_turned_from_somebody_else(self) -> None:
        """
        It does not where it was turned more often, or from a MAC that has a port, or
        never had one with this address, or where nobody knows.
        """
        new = evolve(CALLER, mac=OTHER_MAC)
        third = "fa:16:3e:00:00:03"
        heir = port_of(OTHER_MAC, "i-2")
        for ports, first, turns in (
            ((port_of(),), MAC, (OTHER_MAC, MAC, OTHER_MAC)),
            ((port_of(), port_of(instance_id="i-3"), heir), MAC, (OTHER_MAC,)),
            (
                (port_of(third, addresses=frozenset({"10.0.0.77"})),),
                third,
                (OTHER_MAC,),
            ),
            ((port_of(third, addresses=None),), third, (OTHER_MAC,)),
            ((), third, (OTHER_MAC,)),
        ):
            world = World()
            world.know(*ports)
            world.know(heir, *ports[1:2])
            world.point(first)
            self.turn(world, *turns)
            self.assertEqual(world.refusal(new)[0], Reason.FRAME_MISMATCH, turns)
        world = settled()
        world.know(heir)
        self.turn(world, OTHER_MAC)
        self.assertEqual(world.identified(new), "i-2")
        world.books.neighbours.miss("red", world.clock.seconds())
        self.assertEqual(world.refusal(new), (Reason.FRAME_MISMATCH, True))

    def test_turned_by_way_of_nothing(self) -> None:
        """
        An entry that was deleted between two MACs changed hands all the same.
        """
        world = settled()
        world.point(OTHER_MAC)
        world.neighbours.drain()
        world.point(None)
        world.neighbours.drain()
        world.point(MAC)
        self.assertEqual(world.refusal()[0], Reason.FRAME_MISMATCH)

    def test_turned_probe(self) -> None:
        """
        A change that only a probe shows counts as one.
        """
        world = settled()
        world.point(OTHER_MAC)
        world.neighbours.drain()
        world.point(None)
        world.neighbours.drain()
        world.neighbours.silent = True
        world.point(MAC)
        self.assertEqual(world.refusal()[0], Reason.FRAME_MISMATCH)

    def test_coming_and_going_is_no_turn(self) -> None:
        """
        An entry that goes and comes back with the same MAC was not turned.
        """
        world = settled()
        for mac in (MAC, None, MAC):
            world.point(mac)
            world.neighbours.drain()
        self.assertEqual(world.identified(), "i-1")

    def test_policy(self) -> None:
        """
        The operator's decisions are obeyed.
        """
        world = settled(Policy(refuse_lease_conflict=True))
        world.lease(OTHER_MAC)
        self.assertEqual(world.refusal(), (Reason.LEASE_CONFLICT, False))
        world = settled()
        world.lease(OTHER_MAC)
        self.assertEqual(world.identified(), "i-1")

    def test_lease_expires_by_the_wall(self) -> None:
        """
        A lease counts until the wall clock says that it ended, whatever the monotonic
        clock says (scenarios D10 and D11).
        """
        world = World()
        world.know(port_of())
        world.lease(MAC, EPOCH + 60)
        self.assertEqual(world.identified(ROUTED), "i-1")
        world.clock.advance(1_000_000)
        self.assertEqual(world.identified(ROUTED), "i-1")
        world.wall += 59.9
        self.assertEqual(world.identified(ROUTED), "i-1")
        world.wall += 0.1
        self.assertEqual(world.refusal(ROUTED), (Reason.NO_LEASE, False))
        world.lease(MAC, EPOCH + 120)
        self.assertEqual(world.identified(ROUTED), "i-1")

    def test_routed_callers_need_no_neighbour(self) -> None:
        """
        By lease or by address nobody asks the kernel for neighbours; a MAC that a
        caller were said to have is not used.
        """
        world = World()
        world.know(port_of())
        self.assertEqual(world.refusal(ROUTED), (Reason.NO_LEASE, False))
        world.lease(MAC)
        self.assertEqual(world.identified(ROUTED), "i-1")
        self.assertEqual(
            world.identified(Caller("red", ADDRESS, None, "address")), "i-1"
        )
        world.lease(OTHER_MAC)
        claimed = Caller("red", ADDRESS, MAC, "lease")
        self.assertEqual(world.refusal(claimed), (Reason.UNKNOWN, False))
        self.assertEqual(world.neighbours.probes, [])


class DoubtTests(SynchronousTestCase):
    """
    When a refusal proves something, and when it does not.
    """

    def test_live_is_sure(self) -> None:
        """
        Where all that can know the network are live a refusal is sure.
        """
        world = World()
        world.point(MAC)
        self.assertEqual(world.refusal(), (Reason.UNKNOWN, False))

    def test_not_live_is_doubtful(self) -> None:
        """
        Where one that can know the network is not live it is doubtful, even if another
        is.
        """
        world = World()
        world.point(MAC)
        second = MemoryInventory(world.books.ports, ("red",), "second")
        world.inventories.append(second)
        for state in SourceState:
            second.state = state
            doubtful = state is not SourceState.LIVE
            self.assertEqual(world.refusal(), (Reason.UNKNOWN, doubtful), state)

    def test_whoever_cannot_know_does_not_count(self) -> None:
        """
        An inventory that can't know the network neither makes a refusal sure, being
        live, nor doubtful, being not.
        """
        world = World()
        world.point(MAC, "green")
        green = Caller("green", ADDRESS, MAC)
        self.assertEqual(world.refusal(green), (Reason.UNKNOWN, True))
        world.point(MAC)
        second = MemoryInventory(world.books.ports, ("green",), "second")
        world.inventories.append(second)
        self.assertEqual(world.refusal(), (Reason.UNKNOWN, False))
        self.assertEqual(world.refusal(green), (Reason.UNKNOWN, True))
        second.startService()
        self.addCleanup(second.stopService)
        self.assertEqual(world.refusal(green), (Reason.UNKNOWN, False))

    def test_one_in_doubt(self) -> None:
        """
        Where one that would know the network can't at this moment it is doubtful, even
        if another one that is live knows nobody; of other networks it is not.
        """
        world = World()
        world.point(MAC)
        world.point(MAC, "blue")
        second = MemoryInventory(world.books.ports, (), "second")
        second.startService()
        self.addCleanup(second.stopService)
        second.in_doubt = frozenset({"red"})
        world.inventories.append(second)
        self.assertEqual(world.refusal(), (Reason.UNKNOWN, True))
        blue = Caller("blue", ADDRESS, MAC)
        self.assertEqual(world.refusal(blue), (Reason.UNKNOWN, False))
        second.in_doubt = frozenset()
        self.assertEqual(world.refusal(), (Reason.UNKNOWN, False))

    def test_nameless_link(self) -> None:
        """
        Of a router's link whose network nobody has told yet nothing is sure, though an
        inventory says that it knows all networks.
        """
        world, link = World(), "qrouter-r/qr-c0ffee00-12"
        knowing = MemoryInventory(world.books.ports, ("blue", link), "all")
        knowing.startService()
        self.addCleanup(knowing.stopService)
        world.inventories[:] = [knowing]
        world.books.networks.attach_port(link, "c0ffee00-12")
        world.point(MAC, link)
        caller = Caller(link, ADDRESS, MAC)
        self.assertEqual(world.refusal(caller), (Reason.UNKNOWN, True))
        world.books.networks.enter("neutron", "c0ffee00-1234", "blue")
        self.assertEqual(world.refusal(caller), (Reason.UNKNOWN, False))

    def test_doubt_does_not_stop_the_known(self) -> None:
        """
        A port that is known identifies though its source is not live.
        """
        world = settled()
        for state in SourceState:
            world.inventory.state = state
            self.assertEqual(world.identified(), "i-1")

    def test_lease_sources_of_routed_callers(self) -> None:
        """
        By lease, a lease source of that network that is not live makes doubtful.
        """
        world = World()
        world.know(port_of())
        blue = Caller("blue", ADDRESS, None, "lease")
        for state in SourceState:
            world.leases.state = state
            doubtful = state is not SourceState.LIVE
            self.assertEqual(world.refusal(ROUTED), (Reason.NO_LEASE, doubtful), state)
            self.assertEqual(world.refusal(blue), (Reason.NO_LEASE, False), state)

    def test_lease_sources_of_unverified_addresses(self) -> None:
        """
        Where a lease could have told the address that the inventory does not know, so
        does one that is not live; where it could not, it does not matter.
        """
        world = settled()
        world.leases.state = SourceState.FAILED
        stranger = Caller("red", ADDRESS, OTHER_MAC)
        world.know(port_of(addresses=None))
        self.assertEqual(world.refusal(), (Reason.ADDRESS_UNVERIFIED, True))
        world.point(OTHER_MAC)
        world.neighbours.drain()
        stranger = evolve(stranger, since=world.clock.seconds() + 1)
        self.assertEqual(world.refusal(stranger), (Reason.UNKNOWN, False))


class StillHoldsTests(SynchronousTestCase):
    """
    Tests for L{InstanceLookup.still_holds}.
    """

    def identity(self, world: World, caller: Caller = CALLER) -> Identity:
        """
        Identify a caller.
        """
        verdict = world.lookup.verdict(caller)
        assert isinstance(verdict, Identity), verdict
        return verdict

    def test_unchanged(self) -> None:
        """
        It holds as long as nothing has changed, and when what changed is of others.
        """
        world = settled()
        identity = self.identity(world)
        self.assertTrue(world.lookup.still_holds(identity, CALLER))
        world.know(port_of(), port_of(OTHER_MAC, "i-2", addresses=None))
        world.point(OTHER_MAC, "blue")
        world.point(OTHER_MAC, "red", "10.0.0.6")
        self.assertTrue(world.lookup.still_holds(identity, CALLER))

    def test_clock_set_back(self) -> None:
        """
        A lease that had ended counts again where the wall clock is set back.
        """
        world = settled(Policy(refuse_lease_conflict=True))
        world.lease(OTHER_MAC, EPOCH + 60)
        world.wall += 60
        self.assertIsInstance(world.lookup.verdict(CALLER), Identity)
        world.wall -= 60
        self.assertIsInstance(world.lookup.verdict(CALLER), Refusal)

    def test_neighbour(self) -> None:
        """
        It does not hold when the neighbour entry points elsewhere, nowhere, or did so
        since the handshake.
        """
        for mac in (OTHER_MAC, None):
            world = settled()
            identity = self.identity(world)
            world.point(mac)
            self.assertFalse(world.lookup.still_holds(identity, CALLER))
        world = settled()
        identity = self.identity(world)
        world.point(OTHER_MAC)
        world.neighbours.drain()
        world.point(MAC)
        world.clock.advance(1000)
        self.assertFalse(world.lookup.still_holds(identity, CALLER))

    def test_port(self) -> None:
        """
        It does not hold when the port is gone or is another instance's.
        """
        for left in (
            (),
            (port_of(instance_id="i-2"),),
            (evolve(port_of(), project_id="p-2"),),
            (port_of(network="blue"),),
        ):
            world = settled()
            identity = self.identity(world)
            world.know(*left)
            self.assertFalse(world.lookup.still_holds(identity, CALLER))

    def test_lease(self) -> None:
        """
        By lease, it does not hold when the address is leased to another, or its lease
        has ended.
        """
        world = World()
        world.know(port_of())
        world.lease(MAC, EPOCH + 60)
        identity = self.identity(world, ROUTED)
        self.assertTrue(world.lookup.still_holds(identity, ROUTED))
        world.lease(OTHER_MAC, EPOCH + 60)
        self.assertFalse(world.lookup.still_holds(identity, ROUTED))
        world.lease(MAC, EPOCH + 60)
        self.assertTrue(world.lookup.still_holds(identity, ROUTED))
        world.wall += 60
        self.assertFalse(world.lookup.still_holds(identity, ROUTED))

    def test_routed(self) -> None:
        """
        A routed caller has no neighbour entry that could point elsewhere.
        """
        world = World()
        world.know(port_of())
        caller = Caller("red", ADDRESS, None, "address")
        identity = self.identity(world, caller)
        self.assertTrue(world.lookup.still_holds(identity, caller))
        self.assertEqual(world.neighbours.probes, [])
        world.know()
        self.assertFalse(world.lookup.still_holds(identity, caller))


class WaitTests(SynchronousTestCase):
    """
    Tests for L{InstanceLookup.wait}.
    """

    def setUp(self) -> None:
        """
        Have somebody wait on each of two networks.
        """
        self.world = World()
        self.woken: list[str] = []
        self.ends = [
            self.world.lookup.wait(
                evolve(CALLER, network=network),
                partial(self.woken.append, network),
            )
            for network in ("red", "blue")
        ]

    def test_each_book_wakes(self) -> None:
        """
        A changed port, lease or neighbour wakes who waits on that network at once, and
        nobody on another.
        """
        world = self.world
        neighbour = Neighbour("red", ADDRESS, MAC)
        for change in (
            lambda: world.know(port_of()),
            lambda: world.know(),
            lambda: world.lease(MAC),
            lambda: world.books.leases.forget("leases", "red", ADDRESS),
            lambda: world.books.neighbours.learn(neighbour, 0),
            lambda: world.books.neighbours.forget("red", ADDRESS, 0),
        ):
            self.woken.clear()
            change()
            world.clock.advance(0)
            self.assertEqual(self.woken, ["red"])

    def test_rests(self) -> None:
        """
        A network whose waking takes long is left asleep twenty times as long, whatever
        changes there; another one is not.
        """
        world = self.world
        clock, times = world.clock, []

        def work() -> None:
            clock.rightNow += 0.01
            times.append(clock.seconds())

        end = world.lookup.wait(evolve(CALLER, network="red"), work)
        for number in range(40):
            neighbour = Neighbour("red", ADDRESS, (MAC, OTHER_MAC)[number % 2])
            world.books.neighbours.learn(neighbour, clock.seconds())
            clock.advance(0.01)
        pauses = [after - before for before, after in pairwise(times)]
        self.assertGreaterEqual(len(pauses), 1)
        self.assertGreaterEqual(min(pauses), 0.2)
        self.woken.clear()
        neighbour = Neighbour("blue", ADDRESS, MAC)
        world.books.neighbours.learn(neighbour, clock.seconds())
        clock.advance(0)
        self.assertEqual(self.woken, ["blue"])
        end()

    def test_changes_of_one_turn_wake_once(self) -> None:
        """
        Many changes of one turn wake once, and not while they are being entered.
        """
        for number in range(100):
            self.world.know(port_of(instance_id=f"i-{number}"))
            self.world.lease(MAC, number)
        self.assertEqual(self.woken, [])
        self.world.clock.advance(0)
        self.assertEqual(self.woken, ["red"])
        self.world.clock.advance(0)
        self.assertEqual(self.woken, ["red"])

    def test_a_new_wait_delays_nobody(self) -> None:
        """
        A wait that begins after a change does not put off those who wait already.
        """
        self.world.know(port_of())
        self.addCleanup(self.world.lookup.wait(CALLER, lambda: None))
        self.world.clock.advance(0)
        self.assertEqual(self.woken, ["red"])

    def test_everybody_wakes(self) -> None:
        """
        All who wait on a network are woken.
        """
        for number in range(3):
            wake = lambda n=number: self.woken.append(str(n))  # noqa: E731
            self.addCleanup(self.world.lookup.wait(CALLER, wake))
        self.world.know(port_of())
        self.world.clock.advance(0)
        self.assertEqual(sorted(self.woken), ["0", "1", "2", "red"])

    def test_judged_again_without_a_changed_fact(self) -> None:
        """
        What changes by time alone is judged again twice a second, as long as somebody
        waits.
        """
        self.world.clock.pump([0.25] * 8)
        self.assertEqual(self.woken.count("red"), 4)
        self.assertEqual(self.woken.count("blue"), 4)
        self.ends[0]()
        self.world.clock.pump([0.25] * 8)
        self.assertEqual(self.woken.count("red"), 4)
        self.assertEqual(self.woken.count("blue"), 8)

    def test_end(self) -> None:
        """
        Whoever does not wait any more is not woken, and nothing is left behind.
        """
        self.ends[0]()
        self.world.know(port_of())
        self.world.clock.advance(10)
        self.assertNotIn("red", self.woken)
        self.ends[1]()
        self.ends[1]()
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_end_after_a_change(self) -> None:
        """
        A wait that ends between the change and the wake leaves nothing behind either.
        """
        self.world.know(port_of())
        for end in self.ends:
            end()
        self.assertEqual(self.world.clock.getDelayedCalls(), [])
        self.world.clock.advance(1)
        self.assertEqual(self.woken, [])

    def test_end_while_woken(self) -> None:
        """
        A wake may end waits, its own and others': those others are not woken, and the
        next change wakes only who is left.
        """
        lookup = self.world.lookup
        ends: list[Callable[[], None]] = []

        def end_all() -> None:
            self.woken.append("ender")
            for end in ends:
                end()

        ends.append(lookup.wait(evolve(CALLER, network="green"), end_all))
        ends.append(lookup.wait(evolve(CALLER, network="green"), end_all))
        self.world.know(port_of(network="green"))
        self.world.clock.advance(0)
        self.assertEqual(self.woken.count("ender"), 1)
        for end in self.ends:
            end()
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_wait_while_woken(self) -> None:
        """
        A wake may begin a wait: it is woken by the next change.
        """
        lookup = self.world.lookup

        def again() -> None:
            self.ends[0]()
            self.ends[0] = lookup.wait(CALLER, lambda: self.woken.append("again"))

        self.ends[0]()
        self.ends[0] = lookup.wait(CALLER, again)
        self.world.know(port_of())
        self.world.clock.advance(0)
        self.assertEqual(self.woken, [])
        self.world.know()
        self.world.clock.advance(0)
        self.assertEqual(self.woken, ["again"])

    def test_change_while_woken(self) -> None:
        """
        A wake that looks at neighbours, and so changes the book, is woken again for the
        change and then rests.
        """
        self.ends[0]()
        self.world.neighbours.silent = True

        def look() -> None:
            self.woken.append("look")
            self.world.lookup.verdict(CALLER)

        self.ends[0] = self.world.lookup.wait(CALLER, look)
        self.world.point(MAC)
        self.world.know(port_of())
        for _ in range(5):
            self.world.clock.advance(0)
        self.assertEqual(self.woken, ["look", "look"])


class RefreshTests(SynchronousTestCase):
    """
    Tests for L{InstanceLookup.refresh}, and for when those who wait have it done.
    """

    def test_every_inventory(self) -> None:
        """
        Every inventory is asked, for the caller's network and MAC.
        """
        world = World()
        second = MemoryInventory(world.books.ports, (), "second")
        world.inventories.append(second)
        self.successResultOf(world.lookup.refresh(CALLER))
        self.assertEqual(world.inventory.refreshes, [("red", MAC)])
        self.assertEqual(second.refreshes, [("red", MAC)])

    def test_found(self) -> None:
        """
        What the inventory finds counts at once.
        """
        world = World()
        world.inventory.ports = [port_of()]
        world.point(MAC)
        self.assertEqual(world.refusal()[0], Reason.UNKNOWN)
        world.lookup.refresh(CALLER)
        self.assertEqual(world.identified(), "i-1")

    def test_while_waiting(self) -> None:
        """
        While somebody waits the inventories are asked every second, once for each MAC;
        and no longer.
        """
        world = World()
        ends = [world.lookup.wait(CALLER, lambda: None) for _ in range(3)]
        self.assertEqual(world.inventory.refreshes, [("red", MAC)] * 3)
        world.inventory.refreshes.clear()
        world.clock.pump([0.25] * 3)
        self.assertEqual(world.inventory.refreshes, [])
        world.clock.pump([0.25] * 5)
        self.assertEqual(world.inventory.refreshes, [("red", MAC)] * 2)
        for end in ends:
            end()
        world.clock.pump([0.5] * 10)
        self.assertEqual(world.inventory.refreshes, [("red", MAC)] * 2)
