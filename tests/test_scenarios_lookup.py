"""
Who is served what while instances, addresses and sources come and go: the scenarios D1
to D17, each by its number, on all that stands between instances and Nova.

Nova says to each instance what it would say to no other, and every request that gets to
it is held to whom it should have been signed for (L{tests.relaying}).  D5 (a source
address without a way back makes no handshake) is in L{tests.lab.test_scenarios}.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.files import RESCAN
from mdproxy.http.server import Channel
from mdproxy.interfaces import SourceState
from mdproxy.inventory.libvirt import LibvirtInventory
from mdproxy.inventory.static import StaticInventory
from mdproxy.lookup.decision import Policy, eui64
from mdproxy.lookup.epoch import Epoch
from mdproxy.lookup.kinds import Naming
from mdproxy.lookup.watchers import LeaseWatcher
from mdproxy.model import Identity, Lease, Port, Reason, Refusal
from mdproxy.testing import MemoryInventory
from tests.inotify_reactor import WatchingReactor
from tests.outside import EPOCH
from tests.playbook import Wire
from tests.relaying import (
    CANARY,
    CROWD,
    TARGET,
    VICTIM,
    Arrived,
    Chain,
    Guest,
    Instance,
)
from tests.test_inventory_domains import domain_xml, interface_xml

#: Who comes after the victim.
HEIR = Instance(40)
MACS = (VICTIM.mac, CANARY.mac)
#: What only some instances have, so that Nova's 404 for it is relayed.
ABSENT = b"/latest/user-data"


class ScenarioTestCase(SynchronousTestCase):
    """
    Instances that ask, and somebody who changes the world.
    """

    def setUp(self) -> None:
        """
        Know the victim and the canary.
        """
        self.use(Chain(instances=(VICTIM, CANARY, HEIR)))
        self.know(VICTIM.port, CANARY.port)

    def use(self, chain: Chain) -> None:
        """
        Take a chain for the one of this test.
        """
        self.chain = chain
        self.world = chain.world

    def know(self, *ports: Port) -> None:
        """
        Have the inventory know these ports and no others.
        """
        self.world.know(*ports)
        self.chain.settle()

    def add_inventory(self, inventory: Any) -> None:
        """
        Ask another inventory, too.
        """
        self.world.inventories.append(inventory)
        inventory.startService()
        self.addCleanup(inventory.stopService)

    def connect(self, instance: Instance = VICTIM, **seen: Any) -> Guest:
        """
        Let an instance connect now.

        @param seen: What is seen of it at accept and is not as the instance is.
        """
        seen = {"since": self.chain.clock.seconds(), **seen}
        caller = evolve(instance.caller, **seen)
        channel = Channel(self.chain.front, lambda _transport: caller)
        guest = Guest(instance, Wire(channel))
        channel.makeConnection(guest.wire)
        self.chain.guests.append(guest)
        return guest

    def ask(
        self, instance: Instance = VICTIM, target: bytes = TARGET, **seen: Any
    ) -> Guest:
        """
        Let an instance connect and ask; everything happens that can at once.
        """
        guest = self.connect(instance, **seen)
        self.ask_again(guest, target)
        return guest

    def ask_again(self, guest: Guest, target: bytes = TARGET) -> None:
        """
        Let an instance ask on a connection that it has.
        """
        guest.ask(target)
        self.chain.settle()

    def assert_served(
        self, guest: Guest, owner: Instance | None = None, target: bytes = TARGET
    ) -> None:
        """
        A guest has got the data of an instance, its own if not said otherwise.
        """
        heard = guest.hear()
        self.assertTrue(heard.whole, heard)
        owner = owner or guest.instance
        truth = b"data of %b at %b" % (owner.name, target)
        self.assertEqual((heard.status, heard.body), (200, truth))

    def assert_refused(self, guest: Guest, status: int = 404) -> None:
        """
        A guest has been told in our own words that it gets nothing.
        """
        heard = guest.hear()
        self.assertTrue(heard.whole, heard)
        self.assertEqual(heard.status, status)
        self.assertNotIn(b"data of", heard.body)
        names = [name.lower() for name, _value in heard.all_fields]
        self.assertEqual(b"retry-after" in names, status == 503)

    def assert_waits(self, guest: Guest) -> None:
        """
        A guest has not been told anything.
        """
        self.assertTrue(guest.hear().silent, guest.hear())

    def pass_on(self, new: Instance = HEIR, old: Instance = VICTIM) -> None:
        """
        Give an instance's address to another, which has a MAC of its own.
        """
        port = evolve(new.port, addresses=frozenset({old.address}))
        self.chain.nova.expect(new, new, old.address)
        self.know(port, CANARY.port)

    def turn(self, mac: str | None, address: str = VICTIM.address) -> None:
        """
        Have the kernel point an address to a MAC.
        """
        self.world.point(mac, address=address)
        self.world.neighbours.drain()
        self.chain.settle()


class ReuseTests(ScenarioTestCase):
    """
    D1: an instance is deleted and another gets its address.
    """

    def test_d1_address_reused(self) -> None:
        """
        The first request after the change is the new instance's, without any time going
        by; between the two nobody is served.
        """
        self.world.lease(VICTIM.mac)
        self.assert_served(self.ask())
        self.know(CANARY.port)
        between = self.ask()
        self.assert_waits(between)
        early = self.ask(HEIR, address=VICTIM.address)
        self.assert_waits(early)
        self.pass_on()
        self.turn(HEIR.mac)
        self.assert_served(self.ask(HEIR, address=VICTIM.address))
        self.assert_waits(between)
        self.chain.wait(8.1)
        self.assert_refused(between)

    def test_d1_its_first_packet_turns_the_entry(self) -> None:
        """
        So it is where the new instance's handshake itself tells the kernel of its MAC.
        """
        self.assert_served(self.ask())
        self.pass_on()
        self.chain.wait(1)
        guest = self.connect(HEIR, address=VICTIM.address)
        self.turn(HEIR.mac)
        self.ask_again(guest)
        self.assert_served(guest)

    def test_d1_kept_connection(self) -> None:
        """
        A connection that the old instance opened gets nothing any more, and certainly
        not the new one's data.
        """
        kept = self.ask()
        self.assert_served(kept)
        self.pass_on()
        self.ask_again(kept)
        self.assert_waits(kept)
        self.chain.wait(4.1)
        self.assert_refused(kept)
        self.turn(HEIR.mac)
        self.assert_served(self.ask(HEIR, address=VICTIM.address))
        if not kept.wire.closed:
            self.ask_again(kept)
            self.chain.wait(4.1)
            self.assert_refused(kept)

    def test_d1_port_reused(self) -> None:
        """
        Where the new instance has the very port, MAC and all, its data come at once, on
        a kept connection too: the verdict, the signed fields and the parsed request
        that are remembered are not the old one's.
        """
        kept = self.ask()
        self.assert_served(kept)
        self.ask_again(kept)
        self.assert_served(kept)
        self.chain.nova.give(VICTIM, HEIR)
        self.know(VICTIM.port_as(HEIR), CANARY.port)
        for guest in (kept, self.connect()):
            self.ask_again(guest)
            self.assert_served(guest, HEIR)

    def test_d1_project_changed(self) -> None:
        """
        So it is where only the project is another one.
        """
        self.assert_served(self.ask())
        moved = evolve(VICTIM.port, project_id=f"p-{HEIR.number}")
        signs = self.chain.nova.signs[VICTIM.name]
        signs[b"x-tenant-id"] = moved.project_id.encode()
        self.know(moved, CANARY.port)
        self.assert_served(self.ask())

    def test_d1_while_nova_works(self) -> None:
        """
        What Nova says to the old instance after its port is another's reaches nobody.
        """
        slow: list[Arrived] = []
        self.chain.nova.does = slow.append
        guest = self.ask()
        (first,) = slow
        self.chain.nova.give(VICTIM, HEIR)
        self.chain.nova.does = Arrived.answer
        self.know(VICTIM.port_as(HEIR), CANARY.port)
        self.assertEqual(first.instance, VICTIM.name)
        first.answer()
        self.chain.settle()
        self.chain.wait(8.1)
        self.assertNotIn(first.truth, guest.wire.seen)
        self.assertFalse(guest.hear().silent)

    def test_d1_kept_answer(self) -> None:
        """
        An answer to the old instance that was kept back, for a better one may come, is
        not the new one's.
        """
        secret = b"nothing for %b" % VICTIM.name
        self.chain.nova.does = lambda arrived: arrived.answer(b"404 X", body=secret)
        guest = self.ask()
        self.assert_waits(guest)
        self.chain.nova.give(VICTIM, HEIR)
        self.chain.nova.does = lambda arrived: arrived.line.reset()
        self.know(VICTIM.port_as(HEIR), CANARY.port)
        self.chain.wait(8.1)
        self.assertNotIn(secret, guest.wire.seen)
        self.assertTrue(guest.hear().whole or guest.hear().broken_off)

    def test_d1_with_the_old_lease(self) -> None:
        """
        On a routed network the new lease names the new instance at once, and in between
        the old lease names nobody.
        """
        seen: dict[str, Any] = {"identify_by": "lease", "mac": None}
        self.world.lease(VICTIM.mac)
        self.assert_served(self.ask(**seen))
        self.know(CANARY.port)
        between = self.ask(**seen)
        self.chain.wait(4.1)
        self.assert_refused(between)
        self.pass_on()
        still = self.ask(**seen)
        self.assert_waits(still)
        self.chain.nova.expect(VICTIM, HEIR, VICTIM.address)
        self.world.lease(HEIR.mac)
        self.chain.settle()
        self.assert_served(still, HEIR)


class TwoOfOneTests(ScenarioTestCase):
    """
    D2 to D4: addresses and MACs that two have, or claim to have.
    """

    def test_d2_networks(self) -> None:
        """
        The same MAC and address on two networks are two instances, and each gets its
        own, by turns on kept connections.
        """
        other = evolve(
            HEIR.port,
            network="blue",
            mac=VICTIM.mac,
            addresses=frozenset({VICTIM.address}),
        )
        self.know(VICTIM.port, other)
        self.world.point(VICTIM.mac, "blue", VICTIM.address)
        self.chain.nova.expect(HEIR, HEIR, VICTIM.address)
        guests = [
            self.connect(),
            self.connect(HEIR, network="blue", address=VICTIM.address, mac=VICTIM.mac),
        ]
        for _ in range(3):
            for guest in guests:
                self.ask_again(guest)
                self.assert_served(guest)

    def test_d2_cannot_be_told_apart(self) -> None:
        """
        Two ports with the same MAC on one network are nobody's, whichever comes first.
        """
        twin = evolve(HEIR.port, mac=VICTIM.mac, addresses=VICTIM.port.addresses)
        for ports in ((VICTIM.port, twin), (twin, VICTIM.port)):
            self.know(*ports)
            guest = self.ask()
            self.chain.wait(4.1)
            self.assert_refused(guest)
        self.assertEqual(self.chain.nova.arrived, [])

    def test_d2_inventories_disagree(self) -> None:
        """
        Nor is a port of which two inventories name different instances, until they
        agree; meanwhile nothing is asked of Nova.
        """
        second = MemoryInventory(self.world.books.ports, ("red",), "ovn")
        second.ports = [evolve(VICTIM.port_as(HEIR), inventory="ovn")]
        self.add_inventory(second)
        guest = self.ask()
        self.chain.wait(1)
        self.assert_waits(guest)
        self.assertEqual(self.chain.nova.arrived, [])
        second.ports = [evolve(VICTIM.port, inventory="ovn")]
        self.chain.wait(1.1)
        self.assert_served(guest)

    def test_d3_two_answer_for_one_address(self) -> None:
        """
        While the entry flips, connections that began before get nothing any more; what
        was asked and not answered is broken off; the next one is served once the entry
        is the instance's again.
        """
        kept = self.ask()
        self.assert_served(kept)
        self.chain.nova.does = lambda arrived: None
        asked = self.ask()
        self.turn(CANARY.mac)
        self.assertTrue(asked.hear().broken_off)
        blocked = self.ask()
        self.chain.nova.does = Arrived.answer
        self.assert_waits(blocked)
        self.turn(VICTIM.mac)
        self.ask_again(kept)
        self.assert_waits(kept)
        self.chain.wait(1)
        self.assert_served(self.ask())
        self.chain.wait(8.1)
        self.assert_refused(kept)
        self.assert_refused(blocked)

    def test_d4_spoofed_neighbour(self) -> None:
        """
        Whoever turns the entry of another's address to himself gets nothing by it, and
        neither does the other; the verdict names both MACs.
        """
        self.world.lease(VICTIM.mac)
        self.turn(CANARY.mac)
        self.chain.wait(1)
        spoofer = self.ask(CANARY, address=VICTIM.address)
        victim = self.ask()
        for caller in (spoofer, victim):
            self.assert_waits(caller)
        verdict = self.world.lookup.verdict(VICTIM.caller)
        assert isinstance(verdict, Refusal)
        evidence = verdict.evidence
        self.assertEqual(evidence.reason, Reason.FRAME_MISMATCH)
        self.assertEqual((evidence.caller.mac, evidence.neighbour), MACS)
        self.chain.wait(4.1)
        self.assert_refused(spoofer)
        self.assert_refused(victim)
        self.assertEqual(self.chain.nova.arrived, [])

    def test_d4_conflicting_lease(self) -> None:
        """
        A lease that names another MAC is a remark; where the operator wants it so, a
        refusal.  Either way both MACs are in the evidence.
        """
        self.world.lease(CANARY.mac)
        self.assert_served(self.ask())
        verdict = self.world.lookup.verdict(VICTIM.caller)
        assert isinstance(verdict, Identity)
        lease = verdict.evidence.lease
        assert lease is not None
        self.assertEqual((verdict.evidence.neighbour, lease.mac), MACS)
        self.world.lookup.renew(self.world.inventories, [], Policy(False, True))
        guest = self.ask()
        self.chain.wait(4.1)
        self.assert_refused(guest)


class NeighbourTests(ScenarioTestCase):
    """
    D6 and D16: the kernel's neighbour entry, and what it is needed for.
    """

    def test_d6_absent(self) -> None:
        """
        Without an entry a request waits, and is told to come back where none comes.
        """
        self.turn(None)
        guest = self.ask()
        self.chain.wait(3.9)
        self.assert_waits(guest)
        self.chain.wait(0.2)
        self.assert_refused(guest, 503)

    def test_d6_comes_back(self) -> None:
        """
        An entry that comes back in time lets it go on: at once where the kernel's event
        is seen, within a second where it is lost.
        """
        for silent, seconds in ((False, 0.0), (True, 1.0)):
            self.turn(None)
            guest = self.ask()
            self.chain.wait(0.6)
            self.assert_waits(guest)
            self.world.neighbours.silent = silent
            self.turn(VICTIM.mac)
            self.chain.wait(seconds)
            self.assert_served(guest)
            self.world.neighbours.silent = False

    def test_d16_link_local(self) -> None:
        """
        From fe80:: the MAC of the frame tells who asks, whatever the address is made
        of; the address goes to Nova as it is.
        """
        for address in (eui64(VICTIM.mac), "fe80::1234", eui64(CANARY.mac)):
            self.turn(VICTIM.mac, address)
            self.chain.wait(1)
            self.chain.nova.expect(VICTIM, VICTIM, address)
            self.assert_served(self.ask(address=address))
            stranger = self.ask(CANARY, address=address)
            self.chain.wait(4.1)
            self.assert_refused(stranger)

    def test_d16_probed(self) -> None:
        """
        Where only the kernel's table tells the MAC the address must be made of it.
        """
        for address, good in ((eui64(VICTIM.mac), True), (eui64(CANARY.mac), False)):
            self.turn(VICTIM.mac, address)
            self.chain.wait(1)
            self.chain.nova.expect(VICTIM, VICTIM, address)
            guest = self.ask(address=address, probed=True)
            self.chain.wait(4.1)
            if good:
                self.assert_served(guest)
            else:
                self.assert_refused(guest)


class ForeignTests(ScenarioTestCase):
    """
    D13 and D17: ids that are none, and callers that are no instances.
    """

    def test_d13_ids(self) -> None:
        """
        What can't be an id in a header makes no port, in whatever file it stands, and
        costs its neighbours nothing.
        """
        path = Path(self.mktemp()).absolute()
        path.mkdir()
        listing = path / "instances.yaml"
        listing.write_text(
            "ports:\n"
            f'- {{network: red, mac: "{HEIR.mac}", instance: "a\\r\\nX-Tenant-ID: p",'
            f" project: p-1, addresses: [{HEIR.address}]}}\n"
            f'- {{network: red, mac: "{VICTIM.mac}", instance: i-5, project: p-5,'
            f" addresses: [{VICTIM.address}]}}\n"
        )
        evil = domain_xml(interface_xml(HEIR.mac), uuid="a&#13;&#10;X-Tenant-ID: p")
        (path / "evil.xml").write_text(evil)
        self.know()
        reactor, clock, book = WatchingReactor(), self.chain.clock, self.world.books
        for inventory in (
            StaticInventory(reactor, clock, book.ports, str(listing)),
            LibvirtInventory(
                reactor, clock, book.ports, {"br-red": "red"}, str(path), "libvirt"
            ),
        ):
            self.add_inventory(inventory)
            self.assertIn("is no id", inventory.describe()["problem"])
        self.turn(HEIR.mac, HEIR.address)
        self.assert_served(self.ask())
        guest = self.ask(HEIR)
        self.chain.wait(4.1)
        self.assert_refused(guest)

    def test_d13_host_names(self) -> None:
        """
        A lease's host name gets nowhere, whatever it holds.
        """
        name = "x\r\nX-Tenant-ID: evil"
        lease = Lease("red", VICTIM.address, VICTIM.mac, None, name)
        self.world.books.leases.learn("leases", lease)
        self.assert_served(self.ask())

    def test_d17_management(self) -> None:
        """
        A caller that is no instance of the network is none, though it have an address
        of one; on a network that nobody knows, nobody can say.
        """
        self.turn("02:00:00:00:00:99", "10.0.0.99")
        for seen, status in (
            ({"address": "10.0.0.99", "mac": "02:00:00:00:00:99"}, 404),
            ({"address": "127.0.0.1", "mac": None}, 503),
            ({"network": "management"}, 503),
        ):
            self.world.point(VICTIM.mac, "management", VICTIM.address)
            guest = self.ask(**seen)
            self.chain.wait(4.1)
            self.assert_refused(guest, status)
        self.assertEqual(self.chain.nova.arrived, [])


class MigrationTests(ScenarioTestCase):
    """
    D12: instances leave the host, and come to it.
    """

    def setUp(self) -> None:
        """
        Have libvirt be the only one who knows.
        """
        super().setUp()
        self.know()
        self.world.inventories.clear()
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir()
        self.file = self.path / "instance-1.xml"
        self.reactor = WatchingReactor()
        self.inventory = LibvirtInventory(
            self.reactor,
            self.chain.clock,
            self.world.books.ports,
            {"br-red": "red"},
            str(self.path),
        )
        self.add_inventory(self.inventory)

    def arrive(self) -> None:
        """
        Have the victim run on this host, as libvirt says it.
        """
        ports = (
            '<n:ports><n:port uuid="567a4527-b0e4-4d0a-bcc2-71fda37897f7">'
            f'<n:ip type="fixed" address="{VICTIM.address}"/></n:port></n:ports>'
        )
        xml = domain_xml(interface_xml(VICTIM.mac), ports, VICTIM.name.decode(), "p-5")
        draft = self.path / "instance-1.xml.new"
        draft.write_text(xml)
        draft.rename(self.file)

    def look(self) -> None:
        """
        Have the kernel's events be read, and as long go by as they are collected for.
        """
        self.reactor.take_events()
        self.chain.wait(0.02)

    def test_d12_away(self) -> None:
        """
        An instance that leaves the host is not answered any more, from when its file is
        gone, on kept connections and new ones.
        """
        self.arrive()
        self.look()
        kept = self.ask()
        self.assert_served(kept)
        self.file.unlink()
        self.look()
        self.assertEqual(len(self.world.books.ports), 0)
        self.ask_again(kept)
        fresh = self.ask()
        for guest in (kept, fresh):
            self.assert_waits(guest)
        self.chain.wait(4.1)
        for guest in (kept, fresh):
            self.assert_refused(guest)
        self.assertEqual(len(self.chain.nova.arrived), 1)

    def test_d12_in(self) -> None:
        """
        One that comes is answered from when its file is there; if it asks before, then.
        """
        guest = self.ask()
        self.chain.wait(1)
        self.assert_waits(guest)
        self.arrive()
        self.look()
        self.assert_served(guest)

    def test_d12_events_are_lost(self) -> None:
        """
        Without any event of the kernel's, whoever waits has the files looked at.
        """
        guest = self.ask()
        self.arrive()
        self.chain.wait(1.1)
        self.assert_served(guest)


class Counting(StaticInventory):
    """
    A static inventory that counts how often it is read.
    """

    looks = 0

    def _look(self) -> None:
        """
        Provide C{WatchedInventory._look}.
        """
        self.looks += 1
        super()._look()


class FileTests(ScenarioTestCase):
    """
    D7, D14 and D15: inventories that are half written, dead, slow, or asked by all.
    """

    def setUp(self) -> None:
        """
        Have a file be all that is known.
        """
        super().setUp()
        self.begin(Chain(instances=(VICTIM, CANARY, *CROWD)))

    def begin(self, chain: Chain) -> None:
        """
        Begin without the file.
        """
        self.use(chain)
        self.know()
        self.world.inventories.clear()
        self.path = Path(self.mktemp()).absolute()
        self.reactor = WatchingReactor()

    def start(self) -> Counting:
        """
        Start the inventory.
        """
        inventory = Counting(
            self.reactor, self.chain.clock, self.world.books.ports, str(self.path)
        )
        self.add_inventory(inventory)
        return inventory

    def write(self, *instances: Instance, cut: int = 0) -> None:
        """
        Write the file.

        @param cut: How many bytes at the end are not written yet.
        """
        lines = [
            f'- {{network: red, mac: "{each.mac}", addresses: [{each.address}],'
            f" instance: i-{each.number}, project: p-{each.number}}}\n"
            for each in instances
        ]
        text = "".join(["ports:\n", *lines])
        self.path.write_text(text[: len(text) - cut])

    def look(self) -> None:
        """
        Have the kernel's events be read, and as long go by as they are collected for.
        """
        self.reactor.take_events()
        self.chain.wait(0.02)

    def test_d7_half_written(self) -> None:
        """
        While the file is half written whoever is known is served as before, and whoever
        is not is told to come back and not that it does not exist.
        """
        self.write(VICTIM)
        inventory = self.start()
        self.write(VICTIM, CANARY, cut=20)
        self.look()
        self.assertEqual(inventory.state, SourceState.STALE)
        self.assert_served(self.ask())
        guest = self.ask(CANARY)
        self.chain.wait(4.1)
        self.assert_refused(guest, 503)
        guest = self.ask(CANARY)
        self.write(VICTIM, CANARY)
        self.look()
        self.assert_served(guest)
        self.assertEqual(inventory.state, SourceState.LIVE)

    def test_d14_dead_at_the_start(self) -> None:
        """
        A source that is dead at the start makes a 503 of every refusal; once it is back
        whoever waits is served, and nothing has to be restarted.
        """
        inventory = self.start()
        self.assertEqual(inventory.state, SourceState.FAILED)
        guest = self.ask()
        self.chain.wait(4.1)
        self.assert_refused(guest, 503)
        guest = self.ask()
        self.chain.wait(1)
        self.write(VICTIM)
        self.look()
        self.assert_served(guest)
        stranger = self.ask(CANARY)
        self.chain.wait(4.1)
        self.assert_refused(stranger)

    def test_d14_slow(self) -> None:
        """
        A source that takes its time is waited for as long as the hold lasts, not for
        ever; whoever another source knows does not wait for it.
        """
        self.write(CANARY)
        self.start()
        slow = MemoryInventory(self.world.books.ports, ("red",), "slow")
        slow.problem = "it takes its time"
        self.add_inventory(slow)
        never: Deferred[None] = Deferred()
        self.patch(slow, "refresh", lambda network, mac: never)
        self.assert_served(self.ask(CANARY))
        guest = self.ask()
        self.chain.wait(3.9)
        self.assert_waits(guest)
        self.chain.wait(0.2)
        self.assert_refused(guest, 503)
        guest = self.ask()
        self.chain.wait(2)
        self.world.books.ports.enter("slow", "all", [VICTIM.port])
        self.chain.settle()
        self.assert_served(guest)

    def test_d14_forgets_refusals(self) -> None:
        """
        That somebody was not known is not remembered: the next request may be served.
        """
        self.write(CANARY)
        self.start()
        guest = self.ask()
        self.chain.wait(4.1)
        self.assert_refused(guest)
        self.write(VICTIM)
        self.look()
        self.ask_again(guest)
        self.assert_served(guest)

    def test_d15_everybody_at_once(self) -> None:
        """
        500 instances that nobody knows ask at once: the file is looked at once for all
        of them, and then once a second; when it names them all are served within the
        hold, and Nova is asked once by each.
        """
        herd = [Instance(number) for number in range(100, 600)]
        self.begin(Chain(("a", "b"), 32, herd, waiting=1024))
        for instance in herd:
            self.world.point(instance.mac, address=instance.address)
        self.write(CANARY)
        inventory = self.start()
        os.utime(self.path, (1, 1))
        before = inventory.looks
        guests = [self.connect(instance) for instance in herd]
        for guest in guests:
            guest.ask(TARGET)
        self.chain.settle()
        self.assertEqual(inventory.looks, before + 1)
        self.chain.wait(2.5)
        self.assertLessEqual(inventory.looks, before + 4)
        for guest in guests:
            self.assert_waits(guest)
        self.write(*herd)
        self.chain.wait(1.1)
        for guest in guests:
            self.assert_served(guest)
        self.assertEqual(len(self.chain.nova.arrived), len(herd))


class LeaseTests(ScenarioTestCase):
    """
    D7 to D11: leases in a file that is rewritten, rotated, lost sight of, run out, and
    judged by a clock that somebody sets.  They tell the MAC of a routed instance.

    @ivar set_to: What the wall clock says beyond the time that has gone by.
    """

    def setUp(self) -> None:
        """
        Have a lease file in a directory of its own, with a lease of the victim.
        """
        super().setUp()
        self.set_to = EPOCH
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "leases"
        self.reactor = WatchingReactor()
        self.write(self.line(VICTIM))
        clock = self.chain.clock
        self.epoch = Epoch(lambda: self.set_to + clock.seconds(), clock.seconds)
        self.watcher = LeaseWatcher(
            self.reactor,
            clock,
            self.world.books.leases,
            "dnsmasq",
            "dnsmasq",
            str(self.path),
            Naming("red"),
            self.epoch,
        )
        self.world.lookup.renew(self.world.inventories, [self.watcher], Policy())
        self.watcher.startService()
        self.addCleanup(self.watcher.stopService)
        self.chain.settle()

    def line(self, instance: Instance, seconds: float | None = None) -> str:
        """
        Write a lease as dnsmasq does.

        @param seconds: When it ends; C{None}: never.
        """
        now = self.set_to + self.chain.clock.seconds()
        end = 0 if seconds is None else round(now + seconds)
        return f"{end} {instance.mac} {instance.address} * *\n"

    def write(self, text: str) -> None:
        """
        Write the file anew, in place.
        """
        self.path.write_text(text)

    def look(self, seconds: float = 0.02) -> None:
        """
        Have the kernel's events be read, and some time go by.
        """
        self.reactor.take_events()
        self.chain.wait(seconds)
        self.reactor.take_events()

    def ask(
        self, instance: Instance = VICTIM, target: bytes = TARGET, **seen: Any
    ) -> Guest:
        """
        Let an instance ask from behind a router.
        """
        self.world.wall = self.epoch.now()
        return super().ask(instance, target, identify_by="lease", mac=None, **seen)

    def end_hold(self, guest: Guest, status: int) -> None:
        """
        Wait until a guest is told that it gets nothing.
        """
        self.assert_waits(guest)
        self.chain.wait(4.1)
        self.assert_refused(guest, status)

    def test_d7_half_written(self) -> None:
        """
        While the file is rewritten in place, at whatever byte it stands, whoever had a
        lease is served, and whoever has a new one as soon as its line is whole; in a
        file that stays half written nothing is believed to be gone, and whoever is not
        in it is told to come back.
        """
        whole = self.line(CANARY) + self.line(VICTIM)
        for length in (0, 5, len(self.line(CANARY)), len(whole) - 9):
            self.write(whole[:length])
            self.look()
            self.assert_served(self.ask())
            if length >= len(self.line(CANARY)):
                self.assert_served(self.ask(CANARY))
        self.look(5)
        self.assert_served(self.ask())
        self.know(VICTIM.port, CANARY.port, HEIR.port)
        self.end_hold(self.ask(HEIR), 503)
        self.write(whole)
        self.look()
        self.end_hold(self.ask(HEIR), 404)

    def test_d7_bad_lines(self) -> None:
        """
        What is no lease costs its own line, whatever it is.
        """
        bad = "\r\n\0 x\n9 y 10.0.0.300 * *\n" + "z" * (1 << 20) + "\n"
        self.path.write_bytes(
            b"\xff\xfe\n" + bad.encode() + self.line(CANARY).encode() * 2
        )
        self.look()
        self.assert_served(self.ask(CANARY))

    def test_d8_rotated(self) -> None:
        """
        A file that is renamed over, or deleted and written anew, and one whose whole
        directory is moved and made anew, is followed within a second.
        """

        def rename() -> None:
            draft = self.directory / "draft"
            draft.write_text(self.line(CANARY))
            draft.rename(self.path)

        def delete() -> None:
            self.path.unlink()
            self.look()
            self.write(self.line(CANARY))

        def move() -> None:
            self.directory.rename(self.directory.with_suffix(".old"))
            self.look()
            self.directory.mkdir()
            self.write(self.line(CANARY))

        for rotate in (rename, delete, move):
            self.write(self.line(VICTIM))
            self.look(2)
            self.end_hold(self.ask(CANARY), 404)
            rotate()
            for _ in range(10):
                self.look(0.1)
            self.assert_served(self.ask(CANARY))

    def test_d9_events_are_lost(self) -> None:
        """
        What no event tells is found when everything is looked at anyway.
        """
        self.write(self.line(CANARY) + self.line(VICTIM))
        self.chain.wait(RESCAN + 0.1)
        self.assert_served(self.ask(CANARY))

    def test_d10_runs_out(self) -> None:
        """
        A lease that has run out names nobody, though it stands in the file; renewed it
        does again, and nothing has to be restarted.
        """
        self.write(self.line(VICTIM, 60))
        self.look(58)
        self.assert_served(self.ask())
        self.chain.wait(3)
        guest = self.ask()
        self.assert_waits(guest)
        self.write(self.line(VICTIM, 60))
        self.look()
        self.assert_served(guest)

    def test_d11_clock_is_set(self) -> None:
        """
        A wall clock that is set a day on ends no lease, and one that is set a day back
        makes none last: each ends when its server meant, also one that is written
        afterwards.
        """
        for jump in (86400.0, -86400.0):
            self.write(self.line(VICTIM, 60) + self.line(CANARY, 600))
            self.look()
            self.set_to += jump
            self.chain.wait(50)
            self.assert_served(self.ask())
            self.chain.wait(15)
            self.end_hold(self.ask(), 404)
            self.assert_served(self.ask(CANARY))
            self.write(self.line(VICTIM, 60) + self.line(CANARY, 600))
            self.look(50)
            self.assert_served(self.ask())
            self.chain.wait(15)
            self.end_hold(self.ask(), 404)


class NovaSaysNoTests(ScenarioTestCase):
    """
    Nova's 404 for an instance that an inventory names.
    """

    def test_d1_nova_knows_it_no_more(self) -> None:
        """
        The inventory looks again; where another has the port by now, that one's data
        come, and nobody hears of the 404.
        """
        inventory = self.world.inventory
        self.chain.nova.does = lambda arrived: arrived.answer(b"404 X", body=b"none")
        inventory.refreshes.clear()
        guest = self.ask(target=ABSENT)
        self.assertEqual(guest.hear().status, 404)
        self.assertEqual(inventory.refreshes, [("red", VICTIM.mac)])
        self.chain.wait(1.1)
        inventory.ports = [VICTIM.port_as(HEIR), CANARY.port]

        def answer(arrived: Arrived) -> None:
            if arrived.instance == VICTIM.name:
                self.chain.nova.give(VICTIM, HEIR)
                arrived.answer(b"404 X", body=b"none")
            else:
                arrived.answer()

        self.chain.nova.does = answer
        guest = self.ask(target=ABSENT)
        self.assert_served(guest, HEIR, ABSENT)
        self.assertEqual(len(inventory.refreshes), 2)
