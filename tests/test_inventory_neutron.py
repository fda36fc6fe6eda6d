"""
Tests for L{mdproxy.inventory.neutron}.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.inventory.demand import WINDOW
from mdproxy.inventory.neutron import NeutronInventory
from mdproxy.lookup import Books, InstanceLookup
from mdproxy.lookup.books import LeaseBook, NeighbourBook, NetworkBook, PortBook
from mdproxy.lookup.decision import Policy
from mdproxy.model import Caller, Identity, Refusal
from mdproxy.testing import FakeNeighbours
from tests.contracts import InventoryContract
from tests.neutron_stub import (
    HOST,
    NETWORK,
    OTHER_NETWORK,
    PASSWORD,
    TOKEN,
    Stub,
    inventory_of,
    mac_of,
    only_keystone,
    only_neutron,
    packed,
    port_json,
    silent,
    torn,
    with_body,
    with_status,
)

ROUTER = "7d83c053-b0a4-4682-ae80-c00df269ce0a"
LINK = f"qrouter-{ROUTER}/qr-00000007-b0"


class NeutronInventoryContractTests(InventoryContract, SynchronousTestCase):
    """
    The contract of inventories, on L{NeutronInventory}.
    """

    network = NETWORK

    def setUp(self) -> None:
        """
        Begin with a Neutron without ports.
        """
        self.stub = Stub(MemoryReactorClock())

    def make_inventory(
        self, reactor: MemoryReactorClock, book: PortBook
    ) -> NeutronInventory:
        """
        Make an inventory that asks the stub.
        """
        self.stub.clock = reactor
        return inventory_of(self.stub, reactor, book, max_age=100.0)

    def put(self, mac: str, address: str) -> None:
        """
        Have Neutron know a port.
        """
        self.stub.fault = None
        number = int(mac[-2:], 16)
        fixed = [{"subnet_id": "s", "ip_address": address}]
        self.stub.put(port_json(number, mac_address=mac, fixed_ips=fixed))

    def remove(self, mac: str) -> None:
        """
        Delete a port.
        """
        for port_id, port in list(self.stub.ports.items()):
            if port["mac_address"] == mac:
                del self.stub.ports[port_id]

    def spoil(self) -> None:
        """
        Have a load balancer answer.
        """
        self.stub.fault = with_body(b"<html>down for maintenance</html>")


class NeutronInventoryTests(SynchronousTestCase):
    """
    Tests for L{NeutronInventory}.
    """

    def setUp(self) -> None:
        """
        Have a Neutron.
        """
        self.reactor = MemoryReactorClock()
        self.stub = Stub(self.reactor)
        self.book = PortBook()
        self.networks = NetworkBook()

    def start(self, **changes: Any) -> NeutronInventory:
        """
        Start an inventory.
        """
        inventory = inventory_of(
            self.stub, self.reactor, self.book, self.networks, **changes
        )
        inventory.startService()
        self.addCleanup(inventory.stopService)
        self.inventory = inventory
        return inventory

    def pass_time(self, seconds: float) -> None:
        """
        Let time pass, a tenth of a second at a time.
        """
        self.reactor.pump([0.1] * round(seconds * 10))

    def instance(self, number: int = 1, network: str = NETWORK) -> str | None:
        """
        Tell whose port the book says that a number is.
        """
        ports = self.book.by_mac(network, mac_of(number))
        return ports[0].instance_id if ports else None

    def refresh(self, number: int = 1, network: str = NETWORK) -> Deferred[None]:
        """
        Miss a number's port.
        """
        return self.inventory.refresh(network, mac_of(number))

    def move(self, number: int, instance_id: str) -> None:
        """
        Give a port to another instance: same network, MAC and address.
        """
        self.stub.ports[port_json(number)["id"]]["device_id"] = instance_id

    def test_on_demand(self) -> None:
        """
        A port of another host is found when it is missed, in a hundredth of a second.
        """
        self.start()
        self.stub.put(port_json(1, binding__host_id="compute-2"))
        done = self.refresh()
        self.assertNoResult(done)
        self.reactor.advance(WINDOW)
        self.successResultOf(done)
        self.assertEqual(self.instance(), port_json(1)["device_id"])

    def test_500_at_once(self) -> None:
        """
        500 instances that ask at once cost two questions, the second a second later,
        and all are served (D15).
        """
        self.start()
        self.stub.put(*(port_json(n, binding__host_id="c") for n in range(1, 501)))
        before = len(self.stub.questions())
        waiting = [self.refresh(number) for number in range(1, 501)]
        self.pass_time(1.2)
        for done in waiting:
            self.successResultOf(done)
        self.assertEqual(len(self.stub.questions()) - before, 2)
        self.assertEqual(len(self.book), 500)
        self.assertLess(max(len(path) for path, _ in self.stub.asked), 8192)

    def test_server_that_takes_less(self) -> None:
        """
        Where a server takes no long addresses the questions become shorter, and all are
        served all the same.
        """
        for status in (400, 414, 431):
            self.setUp()
            self.start()
            self.stub.put(*(port_json(n, binding__host_id="c") for n in range(1, 501)))

            def short(request: Any, status: int = status) -> Any:
                long = len(request.uri) > 4000
                return with_status(status)(request) if long else None

            self.stub.fault = short
            for number in range(1, 501):
                self.refresh(number)
            self.pass_time(8)
            self.assertEqual(len(self.book), 500)
            self.assertEqual(self.inventory.describe()["failures"], {})

    def test_bad_question(self) -> None:
        """
        A server that refuses every question is not asked for ever shorter ones without
        end.
        """
        self.start()
        seen: list[Any] = []

        def bad(request: Any) -> Any:
            if b"mac_address=" not in request.uri:
                return None
            seen.append(request)
            return with_status(400)(request)

        self.stub.fault = bad
        for number in range(1, 251):
            self.refresh(number)
        self.reactor.advance(WINDOW)
        self.assertLess(len(seen), 10)

    def test_well_and_ill_in_turn(self) -> None:
        """
        Where some questions are answered and others never, that is not logged without
        end.
        """
        self.start()

        def half(request: Any) -> Any:
            is_list = b"mac_address=" not in request.uri
            return None if is_list else with_status(500)(request)

        self.stub.fault = half
        with capturedLogs() as events:
            for _ in range(300):
                self.refresh()
                self.pass_time(1)
        self.assertLess(len(events), 80)

    def test_rate(self) -> None:
        """
        However often strangers are missed, a network is asked about once a second.
        """
        self.start()
        before = len(self.stub.questions())
        for step in range(100):
            self.refresh(1000 + step)
            self.pass_time(0.1)
        self.assertLessEqual(len(self.stub.questions()) - before, 11)

    def test_never_everything(self) -> None:
        """
        No question is for all ports there are.
        """
        self.start()
        self.stub.put(*(port_json(n) for n in range(1, 10)))
        self.refresh()
        self.inventory.refresh(NETWORK, None)
        self.inventory.refresh(LINK, mac_of(1))
        self.pass_time(200)
        for args in self.stub.questions():
            by_host = args.get("binding:host_id") == [HOST]
            by_seat = "network_id" in args and "mac_address" in args
            self.assertTrue(by_host or by_seat or args.get("device_id") == [ROUTER])

    def test_slow_refresh(self) -> None:
        """
        The host's ports are read about every interval, and not all hosts at once.
        """
        self.start(refresh_interval=100.0)
        times: list[float] = []

        def note(request: Any) -> None:
            times.append(self.reactor.seconds())

        self.stub.fault = note
        self.pass_time(1000)
        gaps = [b - a for a, b in pairwise(times)]
        self.assertIn(len(gaps), range(7, 12))
        self.assertGreater(min(gaps), 79)
        self.assertLess(max(gaps), 121)
        self.assertGreater(max(gaps) - min(gaps), 5)

    def test_failures_together(self) -> None:
        """
        Questions that fail together are one failure: a second later it is tried again.
        """
        self.start()
        self.stub.fault = only_neutron(silent)
        self.refresh(1)
        self.refresh(1, OTHER_NETWORK)
        self.pass_time(5.2)
        self.assertEqual(self.inventory.describe()["failures"], {"timeout": 2})
        self.stub.fault = None
        self.pass_time(1)
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_moved_port(self) -> None:
        """
        A port that is given to another instance with its network, MAC and address is
        the old one's for ten seconds at most; who asks then is looked up anew (D1).
        """
        self.stub.put(port_json(1))
        self.start()
        self.move(1, "another")
        self.pass_time(8)
        self.assertEqual(self.instance(), port_json(1)["device_id"])
        self.pass_time(2)
        self.assertIsNone(self.instance())
        done = self.refresh()
        self.pass_time(0.1)
        self.successResultOf(done)
        self.assertEqual(self.instance(), "another")

    def test_confirmed_at_once(self) -> None:
        """
        A port that is missed though it is known is asked for all the same: so it is
        after a 404 of Nova.
        """
        self.stub.put(port_json(1))
        self.start()
        self.move(1, "another")
        self.refresh()
        self.pass_time(0.1)
        self.assertEqual(self.instance(), "another")

    def test_followed(self) -> None:
        """
        Who asked a short while ago does not lapse, and is never older than ten seconds;
        half a minute later it lapses.
        """
        self.start()
        self.stub.put(port_json(1, binding__host_id="c"))
        self.refresh()
        self.pass_time(0.1)
        for _ in range(29):
            self.pass_time(1)
            self.assertIsNotNone(self.instance())
        self.assertLess(len(self.stub.questions()), 8)
        self.move(1, "another")
        self.pass_time(10)
        self.assertNotEqual(self.instance(), port_json(1)["device_id"])
        self.pass_time(20)
        self.assertIsNone(self.instance())

    def test_followed_and_moved(self) -> None:
        """
        A port that is followed is another's within ten seconds of its move.
        """
        self.start()
        self.stub.put(port_json(1, binding__host_id="c"))
        self.refresh()
        self.pass_time(3)
        self.move(1, "another")
        self.pass_time(10)
        self.assertEqual(self.instance(), "another")

    def test_deleted_port(self) -> None:
        """
        A port that was deleted is gone with the next answer.
        """
        self.stub.put(port_json(1))
        self.start()
        self.stub.ports.clear()
        self.refresh()
        self.pass_time(0.1)
        self.assertIsNone(self.instance())

    def test_away(self) -> None:
        """
        While the API is away the ports of this host that were believed stay, for Nova
        can plug in nobody else without it; those of other hosts lapse, and so does
        everything that is too old when it is back.
        """
        self.stub.put(port_json(1), port_json(2, binding__host_id="c"))
        self.start()
        self.refresh(2)
        self.pass_time(1)
        self.stub.fault = only_neutron(with_status(503))
        self.refresh(3)
        self.pass_time(60)
        self.assertEqual(self.inventory.state, SourceState.STALE)
        self.assertIsNotNone(self.instance(1))
        self.assertIsNone(self.instance(2))
        self.stub.fault = None
        self.move(1, "another")
        self.pass_time(20)
        self.assertEqual(self.inventory.state, SourceState.LIVE)
        self.assertNotEqual(self.instance(1), port_json(1)["device_id"])

    def test_away_for_us_alone(self) -> None:
        """
        Where the API works and refuses us things may change: what is known lapses.
        """
        for status in (401, 403):
            self.setUp()
            self.stub.put(port_json(1))
            self.start()
            self.stub.fault = only_neutron(with_status(status))
            self.refresh(3)
            self.pass_time(9.9)
            self.assertIsNone(self.instance(1))
            self.assertEqual(self.inventory.state, SourceState.FAILED)

    def test_lapsed_before_it_went_away(self) -> None:
        """
        What had lapsed when the API went away does not come back: it may have changed
        while the API worked.
        """
        self.stub.put(port_json(1))
        self.start()
        self.pass_time(20)
        self.stub.fault = silent
        self.refresh()
        self.pass_time(30)
        self.assertIsNone(self.instance())
        self.assertEqual(self.inventory.state, SourceState.FAILED)

    def test_starts_without_neutron(self) -> None:
        """
        An inventory that is started before Neutron knows nothing, and everything when
        Neutron is there; who waits meanwhile is let go.
        """
        self.stub.fault = with_status(503)
        self.start()
        self.assertEqual(self.inventory.state, SourceState.FAILED)
        done = self.refresh()
        self.pass_time(1)
        self.successResultOf(done)
        self.stub.put(port_json(1))
        self.stub.fault = None
        self.pass_time(15)
        self.assertEqual(self.inventory.state, SourceState.LIVE)
        self.assertIsNotNone(self.instance())

    def test_waits_for_the_first_answer(self) -> None:
        """
        What is missed before there is a first answer is asked for after it.
        """
        self.stub.fault = only_keystone(silent)
        self.start()
        self.assertEqual(self.inventory.state, SourceState.STARTING)
        self.stub.put(port_json(1, binding__host_id="c"))
        self.refresh()
        self.pass_time(1)
        self.assertEqual(self.stub.asked, [])

    def test_backoff(self) -> None:
        """
        An API that is away is asked ever more rarely, whoever is missed, and after
        15 seconds at most.
        """
        self.start()
        self.stub.fault = only_neutron(with_status(500))
        tries: list[float] = []
        for _ in range(1200):
            before = self.inventory.describe()["failures"].get("status-500", 0)
            self.refresh(5)
            self.pass_time(0.1)
            after = self.inventory.describe()["failures"].get("status-500", 0)
            tries += [self.reactor.seconds()] * (after - before)
        gaps = [b - a for a, b in pairwise(tries)]
        self.assertLess(len(tries), 20)
        self.assertLess(gaps[0], 1.3)
        self.assertLess(max(gaps), 15.3)
        self.assertGreater(min(gaps[6:]), 7.0)

    def test_rest(self) -> None:
        """
        An API that wants to be left alone is left alone.
        """
        self.start()
        before = len(self.stub.asked)
        seen: list[float] = []

        def busy(request: Any) -> Any:
            seen.append(self.reactor.seconds())
            return with_status(429, Retry_After="20")(request)

        self.stub.fault = only_neutron(busy)
        self.refresh()
        self.pass_time(60)
        self.assertEqual(len(self.stub.asked), before)
        self.assertTrue(all(b - a >= 20 for a, b in pairwise(seen)), seen)

    def test_wrong_password(self) -> None:
        """
        An account that is not accepted is not tried so often that it gets locked.
        """
        self.start(password="wrong")
        self.pass_time(3600)
        self.assertLess(len(self.stub.logins), 26)
        self.assertEqual(
            self.inventory.describe()["problem"],
            "Keystone does not accept who we say we are",
        )

    def test_knows(self) -> None:
        """
        It knows the networks that have an id for a name; not what lies behind a link
        that is not known yet.
        """
        self.start()
        self.assertTrue(self.inventory.knows(NETWORK))
        for name in ("br-tenant1", "", LINK, f"qdhcp-{NETWORK}/tap1"):
            self.assertFalse(self.inventory.knows(name))

    def test_knows_only_in_time(self) -> None:
        """
        Of a network about which a question has had no answer for two seconds it can't
        know; of another it can.
        """
        self.start()
        self.stub.fault = silent
        self.refresh()
        self.pass_time(1.9)
        self.assertTrue(self.inventory.knows(NETWORK))
        self.pass_time(0.3)
        self.assertFalse(self.inventory.knows(NETWORK))
        self.assertTrue(self.inventory.knows(OTHER_NETWORK))

    def test_in_doubt(self) -> None:
        """
        It is in doubt about a network while a question about it has had no answer in
        time, and for some seconds after a failure, for what was asked before is asked
        anew by whoever still waits; not about networks that it can never know.
        """
        self.start()
        self.assertFalse(self.inventory.is_in_doubt(NETWORK))
        self.stub.fault = silent
        self.refresh()
        self.pass_time(2.2)
        self.assertTrue(self.inventory.is_in_doubt(NETWORK))
        self.assertFalse(self.inventory.is_in_doubt("br-red"))
        self.pass_time(10)
        self.stub.fault = None
        while self.inventory.state is not SourceState.LIVE:
            self.assertTrue(self.inventory.is_in_doubt(NETWORK))
            self.pass_time(0.1)
        self.assertTrue(self.inventory.is_in_doubt(NETWORK))
        self.assertFalse(self.inventory.is_in_doubt("br-red"))
        self.pass_time(3)
        self.assertFalse(self.inventory.is_in_doubt(NETWORK))

    def test_router_link(self) -> None:
        """
        A caller behind a router's device is found: first the network of the device,
        then the port.
        """
        self.start()
        self.networks.attach_port(LINK, port_json(7)["id"][:11])
        router = port_json(7, device_owner="network:router_interface", device_id=ROUTER)
        self.stub.put(router, port_json(1, binding__host_id="c"))
        done = self.inventory.refresh(LINK, mac_of(1))
        self.pass_time(0.2)
        self.successResultOf(done)
        self.assertEqual(self.networks.name_of(LINK), NETWORK)
        self.assertIsNotNone(self.instance())

    def test_router_port_is_gone(self) -> None:
        """
        A device whose port the router has no more has no network; nobody is found
        there.
        """
        self.test_router_link()
        del self.stub.ports[port_json(7)["id"]]
        done = self.inventory.refresh(LINK, mac_of(1))
        self.pass_time(2)
        self.successResultOf(done)
        self.assertEqual(self.networks.name_of(LINK), LINK)

    def test_without_mac(self) -> None:
        """
        Without a MAC the host's ports on the network are read, and those that are gone
        are withdrawn.
        """
        self.stub.put(
            port_json(1), port_json(2), port_json(3, network_id=OTHER_NETWORK)
        )
        self.start()
        del self.stub.ports[port_json(1)["id"]]
        del self.stub.ports[port_json(3)["id"]]
        self.stub.put(port_json(4))
        self.inventory.refresh(NETWORK, None)
        self.pass_time(0.1)
        self.assertEqual(
            [self.instance(n) is None for n in (1, 2, 4)], [True, False, False]
        )
        self.assertIsNotNone(self.instance(3, OTHER_NETWORK))

    def test_bad_port(self) -> None:
        """
        A port that can't be costs itself, is told of without a line for each answer,
        and forgotten when it does not show again.
        """
        self.stub.put(port_json(1), port_json(2, mac_address="fa:16"))
        with capturedLogs() as events:
            self.start()
            for _ in range(10):
                self.refresh(3)
                self.pass_time(1)
        port_id = port_json(2)["id"]
        problem = f"port {port_id}: 'fa:16' is no MAC address"
        self.assertEqual(self.inventory.describe()["problem"], problem)
        self.assertEqual(self.inventory.state, SourceState.LIVE)
        self.assertEqual(len(events), 1)
        del self.stub.ports[port_id]
        self.pass_time(250)
        self.assertIsNone(self.inventory.describe()["problem"])

    def test_blind_account(self) -> None:
        """
        An account that is not likely to see ports is told of.
        """
        self.stub.roles = ("reader", "member")
        inventory = self.start()
        self.assertEqual(inventory.state, SourceState.LIVE)
        problem = inventory.describe()["problem"]
        self.assertIn("neither the role admin nor service", problem)

    def test_fault_of_ours(self) -> None:
        """
        An answer that makes us stumble is logged and costs that answer.
        """
        self.start()
        self.stub.put(port_json(1))
        self.book.observe(self.stumble)
        done = self.refresh()
        self.pass_time(0.1)
        self.successResultOf(done)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.pass_time(20)
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def stumble(self, network: str) -> None:
        """
        Stumble once.

        @raise RuntimeError: The first time.
        """
        if not self.stumbled:
            self.stumbled = True
            raise RuntimeError(network)

    stumbled = False

    def test_stop_in_the_middle(self) -> None:
        """
        An inventory that is stopped while it asks lets everybody go, and enters
        nothing more.
        """
        self.start()
        self.stub.put(port_json(1))
        self.stub.fault = silent
        waiting = [self.refresh(1), self.inventory.refresh(LINK, mac_of(1))]
        self.pass_time(1)
        waiting.append(self.refresh(2))
        self.successResultOf(self.inventory.stopService())
        for done in waiting:
            self.successResultOf(done)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.successResultOf(self.refresh())
        self.inventory.startService()

    def test_describe(self) -> None:
        """
        The operator is told what is known, how fresh it is, and what went wrong.
        """
        self.stub.put(port_json(1))
        self.start()
        self.pass_time(1)
        self.stub.fault = only_neutron(with_status(502))
        self.refresh(2)
        self.pass_time(0.2)
        self.assertEqual(
            self.inventory.describe(),
            {
                "name": "neutron",
                "kind": "neutron",
                "state": "stale",
                "problem": "Neutron answered with status 502",
                "host": HOST,
                "keystone": "http://keystone:5000/v3",
                "endpoint": "http://neutron:9696",
                "token_renewed_in": 3478.8,
                "roles": ["service"],
                "tokens": 1,
                "queries": 2,
                "ports": 1,
                "problems": 0,
                "wide_pairs": 0,
                "waiting": 0,
                "failures": {"status-502": 1},
                "last_read_age": 1.2,
            },
        )

    def test_nothing_secret_is_told(self) -> None:
        """
        Whatever goes wrong, neither log nor description has password or token.
        """
        self.stub.put(port_json(1))
        with capturedLogs() as events:
            self.start()
            told = []
            for fault in (
                with_status(401),
                with_status(500),
                with_body(PASSWORD.encode()),
                only_neutron(with_body(TOKEN.encode())),
                silent,
                torn,
                packed,
            ):
                self.stub.fault = fault
                self.refresh()
                self.pass_time(20)
                told.append(json.dumps(self.inventory.describe()))
        told += [str(event) + (formatEvent(event) or "") for event in events]
        self.assertGreater(len(events), 4)
        for text in told:
            self.assertNotIn(PASSWORD, text)
            self.assertNotIn(TOKEN, text)


class LookupTests(SynchronousTestCase):
    """
    Tests for what a lookup makes of L{NeutronInventory}.
    """

    def setUp(self) -> None:
        """
        Have a caller on a network of Neutron, with a neighbour entry.
        """
        self.reactor = MemoryReactorClock()
        self.stub = Stub(self.reactor)
        self.books = Books(PortBook(), LeaseBook(), NeighbourBook())
        self.neighbours = FakeNeighbours(self.books.neighbours, self.reactor)
        self.neighbours.kernel[NETWORK, "10.0.0.1"] = mac_of(1)
        inventory = inventory_of(self.stub, self.reactor, self.books.ports)
        inventory.startService()
        self.addCleanup(inventory.stopService)
        self.lookup = InstanceLookup(
            self.books,
            [inventory],
            [],
            self.neighbours,
            Policy(),
            self.reactor,
            lambda: 1_795_000_000.0,
        )
        self.caller = Caller(NETWORK, "10.0.0.1", mac_of(1))

    def verdict(self, seconds: float) -> Identity | Refusal:
        """
        Judge the caller when he has waited for some time.
        """
        end = self.lookup.wait(self.caller, lambda: None)
        self.reactor.pump([0.1] * round(seconds * 10))
        verdict = self.lookup.verdict(self.caller)
        end()
        return verdict

    def test_unknown_port(self) -> None:
        """
        A caller whose port was not known is recognised a moment later.
        """
        self.stub.put(port_json(1, binding__host_id="c"))
        self.assertIsInstance(self.lookup.verdict(self.caller), Refusal)
        verdict = self.verdict(0.2)
        assert isinstance(verdict, Identity)
        self.assertEqual(verdict.port.instance_id, port_json(1)["device_id"])

    def test_no_port(self) -> None:
        """
        A caller whom Neutron does not know is surely none.
        """
        verdict = self.verdict(4)
        assert isinstance(verdict, Refusal)
        self.assertFalse(verdict.doubtful)

    def test_no_answer(self) -> None:
        """
        Where Neutron does not answer nobody can know, from the first hold on, and long
        before its time is up (D14).
        """
        self.stub.fault = silent
        verdict = self.verdict(4)
        assert isinstance(verdict, Refusal)
        self.assertTrue(verdict.doubtful)

    def test_address_given_to_another(self) -> None:
        """
        Where an address has gone to another instance's new port, the old one is never
        named once Neutron has been asked for the new MAC (D1).
        """
        self.stub.put(port_json(1))
        self.assertIsInstance(self.verdict(0.2), Identity)
        self.stub.ports.clear()
        fixed = [{"subnet_id": "s", "ip_address": "10.0.0.1"}]
        self.stub.put(port_json(2, fixed_ips=fixed))
        self.caller = Caller(NETWORK, "10.0.0.1", mac_of(2))
        self.neighbours.kernel[NETWORK, "10.0.0.1"] = mac_of(2)
        verdict = self.verdict(2)
        assert isinstance(verdict, Identity), verdict
        self.assertEqual(verdict.port.instance_id, port_json(2)["device_id"])
