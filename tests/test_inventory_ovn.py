"""
Tests for L{mdproxy.inventory.ovn} and L{mdproxy.inventory.ovn_watch}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.inventory.ovn import OvnInventory, OvnPlace
from mdproxy.inventory.ovn_rows import WANTED, meaning_of, sights_of
from mdproxy.lookup.books import NetworkBook, PortBook
from mdproxy.model import Caller, Port, Reason
from mdproxy.ovsdb import Remote
from mdproxy.ovsdb_replica import Replica, columns_of
from tests.contracts import InventoryContract
from tests.outside import World
from tests.southbound import (
    ADDRESS,
    DATAPATH,
    ELSEWHERE,
    HERE,
    MAC,
    NETWORK,
    PORT,
    SCHEMA,
    Southbound,
    SouthboundContract,
    chassis_row,
    datapath_row,
    make_inventory,
    neutron_ids,
    port_row,
    uuid_of,
    wire_map,
    wire_set,
    wire_uuid,
)


class OvnInventoryContractTests(InventoryContract, SynchronousTestCase):
    """
    The contract of inventories, on L{OvnInventory}.
    """

    def setUp(self) -> None:
        """
        Begin with a database without ports.
        """
        self.outside = Southbound(Clock())
        self.outside.put("Chassis", HERE, chassis_row("here"))
        self.outside.put("Datapath_Binding", DATAPATH, datapath_row("red"))

    def make_inventory(
        self, reactor: MemoryReactorClock, book: PortBook
    ) -> OvnInventory:
        """
        Make an inventory of the chassis.
        """
        self.outside.clock = reactor
        return make_inventory(reactor, book, self.outside.connect)

    def start(self) -> None:
        """
        Start an inventory that knows one port, and let it hear of it.
        """
        super().start()
        self.settle(self.reactor)

    def uuid(self, mac: str) -> str:
        """
        Name the row of a port.
        """
        return uuid_of(int(mac[-2:], 16), 3)

    def put(self, mac: str, address: str) -> None:
        """
        Write a port, and say things that make sense again.
        """
        self.outside.is_garbled = False
        ids = neutron_ids(addresses=(address,), network="red")
        port_id = uuid_of(int(mac[-2:], 16), 4)
        row = port_row(port_id, f"{mac} {address}", HERE, DATAPATH, ids)
        self.outside.put("Port_Binding", self.uuid(mac), row)

    def remove(self, mac: str) -> None:
        """
        Delete a port.
        """
        self.outside.erase("Port_Binding", self.uuid(mac))

    def spoil(self) -> None:
        """
        Say nothing but nonsense.
        """
        self.outside.is_garbled = True
        self.outside.shout(b"?")


class _TrapBook(PortBook):
    """
    A book that nobody can write into for the first time.

    @ivar is_set: Whether nobody has tried yet.
    """

    is_set = True

    def enter(self, inventory: str, record: str, ports: Iterable[Port]) -> None:
        """
        Provide L{PortBook.enter}.
        """
        if self.is_set:
            self.is_set = False
            raise RuntimeError
        super().enter(inventory, record, ports)


class _Case(SynchronousTestCase):
    """
    An inventory and a database in memory.
    """

    def setUp(self) -> None:
        """
        Make them.
        """
        self.clock = Clock()
        self.server = Southbound(self.clock)
        self.book = PortBook()
        self.networks = NetworkBook()
        self.inventory = make_inventory(
            self.clock, self.book, self.server.connect, None, self.networks
        )

    def start(self, place: OvnPlace | None = None) -> None:
        """
        Start the inventory.
        """
        if place is not None:
            self.inventory = make_inventory(
                self.clock, self.book, self.server.connect, place, self.networks
            )
        self.inventory.startService()
        self.addCleanup(self.inventory.stopService)
        self.clock.advance(0)

    @property
    def described(self) -> Any:
        """
        What the inventory says of itself.
        """
        return json.loads(json.dumps(self.inventory.describe()))


class SouthboundTests(SouthboundContract, _Case):
    """
    What is promised of an inventory and a database, with the one in memory.
    """

    def setUp(self) -> None:
        """
        Start.
        """
        super().setUp()
        self.outside = self.server
        self.furnish()
        self.start()

    def perform(self, scenario: Coroutine[Any, Any, None]) -> Any:
        """
        Carry out a scenario.
        """
        self.successResultOf(ensureDeferred(scenario))

    async def until(self, probe: Callable[[], object]) -> None:
        """
        Advance the clock.
        """
        for _ in range(20):
            self.clock.advance(0.1)
            if probe():
                return
        self.fail("it never was so")


_WORDS = [PORT, HERE, DATAPATH, MAC, "set", "map", "uuid", "x", "neutron-x", ""]
_NAMES = [*WANTED, *WANTED["Port_Binding"], "modify", "insert", "delete", PORT, HERE]
_nonsense: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([*_WORDS, None, True, 0, 1.5]) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3)
    ),
    max_leaves=8,
)
_rows = st.dictionaries(st.sampled_from([*WANTED["Port_Binding"]]), _nonsense)
_changes = st.dictionaries(
    st.sampled_from([PORT, HERE, DATAPATH, "x", uuid_of(7)]),
    st.dictionaries(
        st.sampled_from(["modify", "insert", "delete"]),
        _rows | _nonsense,
        min_size=1,
        max_size=1,
    ),
    max_size=2,
)
_updates = st.dictionaries(st.sampled_from([*WANTED]), _changes, max_size=2)
_messages = st.fixed_dictionaries(
    {"method": st.just("update2"), "id": st.none()},
    optional={"x": _nonsense},
).flatmap(
    lambda message: st.tuples(
        st.sampled_from(["OVN_Southbound", "_Server", "x"]), _updates | _nonsense
    ).map(lambda params: {**message, "params": list(params)})
) | st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 9) | _nonsense,
        "method": st.sampled_from(["echo", "update2", "monitor_canceled"]),
        "params": _nonsense,
        "result": _nonsense | _updates,
        "error": _nonsense,
    },
)


class HostileServerTests(SynchronousTestCase):
    """
    A server that says anything at all.
    """

    @given(st.lists(_messages, max_size=6), st.binary(max_size=5))
    def test_any_words(self, messages: list[Any], data: bytes) -> None:
        """
        Whatever a server says costs the connection at most: there is no accident, and
        what the next one tells is known.
        """
        clock, book = Clock(), PortBook()
        server = Southbound(clock)
        server.put("Chassis", HERE, chassis_row("here"))
        server.put("Datapath_Binding", DATAPATH, datapath_row())
        server.put("Port_Binding", PORT, port_row())
        inventory = make_inventory(clock, book, server.connect)
        inventory.startService()
        clock.advance(0)
        for message in messages:
            server.shout(json.dumps(message).encode())
            clock.advance(0)
            json.dumps(inventory.describe())
        server.shout(data)
        clock.advance(0)
        server.break_off()
        clock.pump([1.0] * 9)
        self.assertEqual(inventory.state, SourceState.LIVE)
        [port] = book.by_mac(NETWORK, MAC)
        self.assertEqual((port.instance_id, len(book)), ("i-1", 1))
        inventory.stopService()
        self.assertEqual(self.flushLoggedErrors(), [])


class LookupTests(SynchronousTestCase):
    """
    Who asks, by what this inventory alone knows.
    """

    def setUp(self) -> None:
        """
        Have an instance that is known.
        """
        self.world = World()
        self.clock = self.world.clock
        self.server = Southbound(self.clock)
        self.server.put("Chassis", HERE, chassis_row("here"))
        self.server.put("Datapath_Binding", DATAPATH, datapath_row())
        self.server.put("Port_Binding", PORT, port_row())
        inventory = make_inventory(
            self.clock, self.world.books.ports, self.server.connect
        )
        self.world.inventories[:] = [inventory]  # type: ignore[list-item]
        inventory.startService()
        self.addCleanup(inventory.stopService)
        self.clock.advance(0)

    def caller(self, mac: str) -> Caller:
        """
        Be somebody who has had the address for a moment.
        """
        self.world.point(mac, NETWORK, ADDRESS)
        self.world.neighbours.drain()
        self.clock.advance(0.01)
        return Caller(NETWORK, ADDRESS, mac, since=self.clock.seconds())

    def who(self, mac: str = MAC) -> str | None:
        """
        Name the instance that asks with a MAC.
        """
        return self.world.identified(self.caller(mac))

    def refusal(self, mac: str) -> tuple[Reason, bool]:
        """
        Say why a MAC is refused, and whether in doubt.
        """
        return self.world.refusal(self.caller(mac))

    def test_reused_address(self) -> None:
        """
        An address that another instance gets is the other's at once, and the former
        holder nobody's (D1).
        """
        self.assertEqual(self.who(), "i-1")
        self.server.erase("Port_Binding", PORT)
        mac, ids = "fa:16:3e:00:00:02", neutron_ids(instance="i-2")
        row = port_row(uuid_of(2, 4), f"{mac} {ADDRESS}", ids=ids)
        self.server.put("Port_Binding", uuid_of(2, 3), row)
        self.clock.advance(0)
        self.assertIsNone(self.who())
        self.assertEqual(self.who(mac), "i-2")

    def test_pair_with_a_strangers_mac(self) -> None:
        """
        An instance whose MAC another port has in an allowed address pair is not taken
        for that port's, before its own port is known and afterwards.
        """
        self.server.erase("Port_Binding", PORT)
        thief, ids = "fa:16:3e:ff:00:02", neutron_ids("compute:nova", "i-2")
        row = port_row(
            uuid_of(2, 4), wire_set(MAC, f"{thief} {ADDRESS}"), HERE, DATAPATH, ids
        )
        self.server.put("Port_Binding", uuid_of(2, 3), row)
        self.clock.advance(0)
        self.assertIsNone(self.who())
        self.assertEqual(self.who(thief), "i-2")
        self.server.put("Port_Binding", PORT, port_row())
        self.clock.advance(0)
        self.assertEqual(self.who(), "i-1")

    def test_two_ports_with_a_mac(self) -> None:
        """
        Of two ports with one MAC none is it.
        """
        ids = neutron_ids(instance="i-2")
        self.server.put("Port_Binding", uuid_of(2, 3), port_row(uuid_of(2, 4), ids=ids))
        self.clock.advance(0)
        self.assertEqual(self.refusal(MAC), (Reason.AMBIGUOUS, False))

    def test_doubt(self) -> None:
        """
        A stranger is surely none while the database tells all; where it is away, or
        does not tell a MAC of that network, nobody can know.
        """
        stranger = "fa:16:3e:00:00:09"
        self.assertEqual(self.refusal(stranger), (Reason.MAC_MISMATCH, False))
        row = port_row(uuid_of(2, 4), "unknown")
        self.server.put("Port_Binding", uuid_of(2, 3), row)
        self.clock.advance(0)
        self.assertEqual(self.refusal(stranger), (Reason.MAC_MISMATCH, True))
        self.server.erase("Port_Binding", uuid_of(2, 3))
        self.clock.advance(0)
        self.assertEqual(self.refusal(stranger), (Reason.MAC_MISMATCH, False))
        self.server.is_down = True
        self.server.break_off()
        self.assertEqual(self.refusal(stranger), (Reason.MAC_MISMATCH, True))
        self.assertEqual(self.who(), "i-1")


class OvnInventoryTests(_Case):
    """
    Tests for L{OvnInventory}.
    """

    def setUp(self) -> None:
        """
        Have one port here.
        """
        super().setUp()
        self.server.put("Chassis", HERE, chassis_row("here"))
        self.server.put("Datapath_Binding", DATAPATH, datapath_row())
        self.server.put("Port_Binding", PORT, port_row())

    def known(self) -> list[str]:
        """
        Name the addresses that are known.
        """
        return [
            address
            for number in range(1, 9)
            for address in [f"10.0.0.{number}"]
            if self.book.by_address(NETWORK, address)
        ]

    def test_away_and_back(self) -> None:
        """
        While the server is away what was known is kept, and called stale; when it is
        back all that changed is known at once, and what is gone is gone.
        """
        self.start()
        self.server.is_down = True
        self.server.break_off()
        self.assertEqual(self.inventory.state, SourceState.STALE)
        self.clock.pump([1.0] * 20)
        self.assertEqual(self.known(), [ADDRESS])
        ids = neutron_ids(addresses=("10.0.0.2",))
        row = port_row(uuid_of(2, 4), "fa:16:3e:00:00:02 10.0.0.2", ids=ids)
        self.server.put("Port_Binding", uuid_of(2, 3), row)
        self.server.erase("Port_Binding", PORT)
        self.server.is_down = False
        self.clock.pump([1.0] * 9)
        self.assertEqual(self.known(), ["10.0.0.2"])
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_dead_at_start(self) -> None:
        """
        A server that is away at the start makes it failed, with words, and is found
        when it is there.
        """
        self.server.is_down = True
        self.start()
        self.assertEqual(self.inventory.state, SourceState.FAILED)
        self.assertIn("/sb.sock can't be reached", self.described["problem"])
        self.server.is_down = False
        self.clock.pump([1.0] * 9)
        self.assertEqual(self.known(), [ADDRESS])
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_broken_off_while_it_tells(self) -> None:
        """
        A connection that breaks before everything was told changes nothing.
        """
        self.start()
        self.server.break_off()
        self.server.erase("Port_Binding", PORT)
        self.server.deaf_to = "monitor_cond_change"
        self.clock.advance(1)
        self.assertEqual(self.server.said[-1]["method"], "monitor_cond_change")
        self.server.break_off()
        self.assertEqual(self.known(), [ADDRESS])
        self.assertEqual(self.inventory.state, SourceState.STALE)

    def test_other_servers(self) -> None:
        """
        Of several servers the next is tried at once, and all again after a pause.
        """
        remotes = (Remote("tcp", "10.0.0.1", 6642), Remote("ssl", "10.0.0.2", 6642))
        self.server.is_down = True
        self.start(OvnPlace(remotes, "here"))
        self.clock.advance(0.2)
        self.assertEqual(self.server.tried, [*remotes])
        self.clock.advance(0.2)
        self.assertEqual(self.server.tried, [*remotes])
        self.clock.pump([1.0, 0.2])
        self.assertEqual(self.server.tried, [*remotes] * 2)

    def test_lost_its_cluster(self) -> None:
        """
        A member of a cluster that says that it has lost the others is left, for it may
        know old things only.
        """
        self.start()
        self.server.put("Database", uuid_of(7), {"connected": False})
        self.clock.advance(0)
        self.assertEqual(self.inventory.state, SourceState.STALE)
        self.assertIn("has lost its cluster", self.described["problem"])
        self.clock.pump([1.0] * 9)
        self.assertIn("has lost its cluster", self.described["problem"])
        self.server.put("Database", uuid_of(7), {"connected": True})
        self.clock.pump([1.0] * 9)
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_old_server(self) -> None:
        """
        A server and a database that are too old for some of what is asked will do.
        """
        self.server.is_old = True
        old = json.loads(json.dumps(SCHEMA))
        columns = old["tables"]["Port_Binding"]["columns"]
        del columns["additional_chassis"], columns["port_security"]
        self.server.schema = old
        self.start()
        self.assertEqual(self.known(), [ADDRESS])
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_strange_database(self) -> None:
        """
        A database without what is needed is said to be one.
        """
        strange = json.loads(json.dumps(SCHEMA))
        del strange["tables"]["Port_Binding"]["columns"]["mac"]
        self.server.schema = strange
        self.start()
        self.assertEqual(self.inventory.state, SourceState.FAILED)
        self.assertIn("Port_Binding lacks what is needed", self.described["problem"])

    def test_refusing_server(self) -> None:
        """
        A server that refuses what is needed is left, and its word is told.
        """
        self.server.refuses = "monitor_cond_change"
        self.start()
        self.assertEqual(self.inventory.state, SourceState.FAILED)
        self.assertIn("refuses: unknown database", self.described["problem"])
        self.assertEqual(self.server.conversations, [])

    def test_accident(self) -> None:
        """
        An accident of ours is logged and costs the connection, and the next one finds
        all as it is.
        """
        self.book = _TrapBook()
        self.start(OvnPlace((Remote("unix", "/sb.sock"),), "here"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.inventory.state, SourceState.FAILED)
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.known(), [ADDRESS])
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_schema_of_other_types(self) -> None:
        """
        A database whose columns have other types gives no ports, and no accident.
        """
        columns = SCHEMA["tables"]["Port_Binding"]["columns"]
        for name, other in (("external_ids", "mac"), ("mac", "external_ids")):
            strange = json.loads(json.dumps(SCHEMA))
            strange["tables"]["Port_Binding"]["columns"][name] = columns[other]
            replica = Replica(columns_of(strange, WANTED))
            replica.apply(
                {
                    "Chassis": {HERE: {"initial": chassis_row("here")}},
                    "Port_Binding": {
                        PORT: {
                            "initial": {
                                **port_row(),
                                name: wire_map({}) if other != "mac" else "x",
                            }
                        }
                    },
                }
            )
            [sight] = sights_of(replica.rows).values()
            self.assertIsNone(meaning_of(sight, "ovn").port)

    def test_silent_server(self) -> None:
        """
        A server that does not answer an echo makes what is known stale within ten
        seconds, and is left after some time.
        """
        self.start()
        self.clock.pump([1.0] * 30)
        self.assertEqual(self.inventory.state, SourceState.LIVE)
        self.server.is_mute = True
        self.clock.pump([1.0] * 10)
        self.assertEqual(self.inventory.state, SourceState.STALE)
        self.assertIn("does not answer", self.described["problem"])
        self.assertEqual(len(self.server.conversations), 1)
        self.clock.pump([1.0] * 22)
        self.assertIn("is silent", self.described["problem"])
        self.clock.pump([1.0] * 30)
        self.server.is_mute = False
        self.clock.pump([1.0] * 50)
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_server_that_tells_nothing(self) -> None:
        """
        A server that answers echoes, but not what it is asked for, is left.
        """
        self.server.deaf_to = "monitor_cond"
        self.start()
        self.clock.pump([1.0] * 33)
        self.assertEqual(self.inventory.state, SourceState.FAILED)
        self.assertIn("does not tell", self.described["problem"])

    def test_refresh_of_a_silent_server(self) -> None:
        """
        Nobody waits for a silent server for long.
        """
        self.start()
        self.server.is_mute = True
        done = self.inventory.refresh(NETWORK, MAC)
        self.clock.pump([0.1] * 15)
        self.assertNoResult(done)
        self.clock.pump([0.1] * 10)
        self.assertIsNone(self.successResultOf(done))

    def test_refresh_without_a_server(self) -> None:
        """
        Nobody waits where there is no connection.
        """
        self.server.is_down = True
        self.start()
        self.assertIsNone(self.successResultOf(self.inventory.refresh(NETWORK, MAC)))

    def test_echo(self) -> None:
        """
        The server's echo is answered.
        """
        self.start()
        self.server.shout(b'{"method":"echo","params":["x"],"id":"echo"}')
        self.clock.advance(0)
        self.assertEqual(
            self.server.said[-1], {"id": "echo", "result": ["x"], "error": None}
        )

    def test_another_port_with_the_mac(self) -> None:
        """
        Two ports of a network with one MAC are both in the book, where they are seen to
        be ambiguous, as Neutron refuses whoever matches more than one row.
        """
        self.server.put("Port_Binding", uuid_of(2, 3), port_row(uuid_of(2, 4)))
        self.start()
        self.assertEqual(len(self.book.by_mac(NETWORK, MAC)), 2)

    def test_knows(self) -> None:
        """
        It can know networks of Neutron's names only, not those of routers' links, and
        none with a port whose MAC Neutron does not tell: another inventory may say more
        of that one, so this is no doubt that goes by.
        """
        self.start()
        other = uuid_of(5)
        self.assertTrue(self.inventory.knows(NETWORK))
        self.assertTrue(self.inventory.knows(other))
        self.assertFalse(self.inventory.knows("red"))
        self.assertFalse(self.inventory.knows("qrouter-x/qr-y"))
        self.server.put("Port_Binding", PORT, {"mac": "unknown"})
        self.clock.advance(0)
        self.assertFalse(self.inventory.knows(NETWORK))
        self.assertTrue(self.inventory.knows(other))
        self.assertFalse(self.inventory.is_in_doubt(NETWORK))
        self.assertEqual(self.described["networks_in_doubt"], [NETWORK])
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_while_conditions_change(self) -> None:
        """
        Nothing is sure while the server has been asked for more and not answered.
        """
        self.start()
        row = port_row(uuid_of(2, 4), datapath=uuid_of(2, 2))
        self.server.put("Port_Binding", uuid_of(2, 3), row)
        self.server.is_mute = True
        self.clock.advance(0)
        self.assertFalse(self.inventory.knows(uuid_of(5)))
        self.assertTrue(self.inventory.is_in_doubt(uuid_of(5)))
        self.assertFalse(self.inventory.is_in_doubt("red"))
        self.assertEqual(self.known(), [ADDRESS])

    def test_removed_while_conditions_change(self) -> None:
        """
        What is gone is gone, also while the server has been asked for more.
        """
        self.start()
        row = port_row(uuid_of(2, 4), datapath=uuid_of(2, 2))
        self.server.put("Port_Binding", uuid_of(2, 3), row)
        self.server.erase("Port_Binding", PORT)
        self.server.is_mute = True
        self.clock.advance(0)
        self.assertEqual(self.known(), [])

    def test_bad_row(self) -> None:
        """
        A row with nonsense costs its own port and the certainty about its network, and
        is told; the others are as they were.
        """
        row = port_row(uuid_of(2, 4), "fa:16:3e:00:00:02 10.0.0.x")
        self.server.put("Port_Binding", uuid_of(2, 3), row)
        self.start()
        self.assertEqual(self.known(), [ADDRESS])
        self.assertEqual(self.inventory.state, SourceState.LIVE)
        self.assertIn("10.0.0.x", self.described["problem"])
        self.assertFalse(self.inventory.knows(NETWORK))

    def test_found_by_hostname(self) -> None:
        """
        Without a name the chassis is found by the host's; of two nobody knows which.
        """
        remotes = (Remote("unix", "/sb.sock"),)
        self.start(OvnPlace(remotes))
        self.assertEqual(self.known(), [ADDRESS])
        twin = {"name": "twin", "hostname": "here"}
        self.server.put("Chassis", uuid_of(8, 1), twin)
        self.clock.advance(0)
        self.assertEqual(self.known(), [])
        self.assertIn("2 chassis", self.described["problem"])
        self.server.erase("Chassis", uuid_of(8, 1))
        self.clock.advance(0)
        self.assertEqual(self.known(), [ADDRESS])
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_no_chassis(self) -> None:
        """
        A host that the database does not know knows nothing.
        """
        self.server.erase("Chassis", HERE)
        self.start()
        self.assertEqual(self.inventory.state, SourceState.FAILED)
        self.assertIn("no chassis with name here", self.described["problem"])

    def test_router_port(self) -> None:
        """
        The network of a router's port that is bound here is told while it is.
        """
        self.networks.attach_port("qrouter-x/qr-y", uuid_of(2, 4)[:11])
        ids = neutron_ids("network:router_interface", uuid_of(6))
        row = port_row(uuid_of(2, 4), ids=ids, type="l3gateway")
        self.server.put("Port_Binding", uuid_of(2, 3), row)
        self.start()
        self.assertEqual(self.networks.name_of("qrouter-x/qr-y"), NETWORK)
        self.server.erase("Port_Binding", uuid_of(2, 3))
        self.clock.advance(0)
        self.assertEqual(self.networks.name_of("qrouter-x/qr-y"), "qrouter-x/qr-y")

    def test_started_again(self) -> None:
        """
        After a stop, whatever the old connection does is nobody's affair.
        """
        self.start()
        self.inventory.stopService()
        self.assertEqual(self.server.conversations, [])
        self.inventory.startService()
        self.clock.advance(0)
        self.assertEqual(len(self.server.conversations), 1)
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_notifications_that_nobody_asked_for(self) -> None:
        """
        Updates of other monitors, tables and methods cost the connection and nothing
        else.
        """
        self.start()
        for method, params in (
            ("update", ["OVN_Southbound", {}]),
            ("update2", ["other", {}]),
            ("update2", ["OVN_Southbound", {"Other": {}}]),
            ("update2", ["OVN_Southbound", []]),
            ("update2", ["OVN_Southbound"]),
            ("update2", ["_Server", {"Database": {"x": {"modify": {}}}}]),
        ):
            message = {"method": method, "params": params, "id": None}
            self.server.shout(json.dumps(message).encode())
            self.clock.advance(0)
            self.assertEqual(self.server.conversations, [])
            self.assertEqual(self.known(), [ADDRESS])
            self.assertEqual(self.inventory.state, SourceState.STALE)
            self.clock.pump([1.0] * 9)
            self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_elsewhere_all_the_same(self) -> None:
        """
        A row of another chassis counts for nothing, though the server sends it.
        """
        self.start()
        self.server.conversations[0].monitors["OVN_Southbound"]["Port_Binding"][1] = []
        row = port_row(
            uuid_of(2, 4),
            "fa:16:3e:00:00:02 10.0.0.2",
            ELSEWHERE,
            ids=neutron_ids(addresses=("10.0.0.2",)),
        )
        self.server.put("Port_Binding", uuid_of(2, 3), row)
        self.clock.advance(0)
        self.assertEqual(self.described["rows"], 2)
        self.assertEqual(self.known(), [ADDRESS])

    def test_describes_what_it_sees(self) -> None:
        """
        The operator is told where it is connected and how much it knows.
        """
        self.start()
        self.clock.advance(2)
        described = self.described
        self.assertEqual(described["server"], "unix:/sb.sock")
        self.assertEqual(
            [described[key] for key in ("rows", "ports", "networks", "connections")],
            [1, 1, 1, 1],
        )
        self.assertEqual(described["told_age"], 2)

    def test_renamed_network(self) -> None:
        """
        What rests on another row follows it.
        """
        self.start()
        other = uuid_of(5)
        self.server.put("Datapath_Binding", DATAPATH, datapath_row(other))
        self.clock.advance(0)
        self.assertEqual(len(self.book), 0)
        ids = neutron_ids(network=other)
        self.server.put("Port_Binding", PORT, {"external_ids": wire_map(ids)})
        self.clock.advance(0)
        self.assertEqual(len(self.book.by_mac(other, MAC)), 1)
        self.server.put("Port_Binding", PORT, {"chassis": wire_set()})
        self.server.put("Port_Binding", PORT, {"chassis": wire_uuid(HERE)})
        self.clock.advance(0)
        self.assertEqual(len(self.book.by_mac(other, MAC)), 1)
