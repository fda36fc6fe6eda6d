"""
OVN's southbound database for tests: rows as Neutron writes them, a server in memory,
and what is promised with it and with a real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from typing import Protocol as Shape

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.inventory.ovn import OvnInventory, OvnPlace
from mdproxy.inventory.ovn_rows import WANTED
from mdproxy.lookup.books import NetworkBook, PortBook
from mdproxy.model import Port
from mdproxy.ovsdb import Remote
from mdproxy.ovsdb_client import Connect
from mdproxy.ovsdb_replica import Column, Value, columns_of, read_value

_STRINGS: dict[str, Any] = {"key": "string", "min": 0, "max": "unlimited"}
_MAP = {**_STRINGS, "value": "string"}
_OPTIONAL = {"key": "string", "min": 0, "max": 1}
_CHASSIS = {"type": "uuid", "refTable": "Chassis", "refType": "weak"}
#: What matters of the schema of OVN 23.03 (ovn-sb.ovsschema, version 20.27.0).
SCHEMA: Any = {
    "name": "OVN_Southbound",
    "tables": {
        "Chassis": {
            "columns": {"name": {"type": "string"}, "hostname": {"type": "string"}}
        },
        "Datapath_Binding": {"columns": {"external_ids": {"type": _MAP}}},
        "Port_Binding": {
            "columns": {
                "logical_port": {"type": "string"},
                "type": {"type": "string"},
                "datapath": {"type": {"key": {"type": "uuid"}}},
                "chassis": {"type": {"key": _CHASSIS, "min": 0, "max": 1}},
                "additional_chassis": {
                    "type": {"key": _CHASSIS, "min": 0, "max": "unlimited"}
                },
                "mac": {"type": _STRINGS},
                "port_security": {"type": _STRINGS},
                "parent_port": {"type": _OPTIONAL},
                "external_ids": {"type": _MAP},
            }
        },
    },
}
SERVER_SCHEMA: Any = {
    "name": "_Server",
    "tables": {
        "Database": {
            "columns": {"name": {"type": "string"}, "connected": {"type": "boolean"}}
        }
    },
}

#: A row as it stands on the wire: column to <value>.
WireRow = dict[str, Any]

MAC = "fa:16:3e:00:00:01"
ADDRESS = "10.0.0.1"
NETWORK = "9d83c053-b0a4-4682-ae80-c00df269ce0a"
PROJECT = "28a490a0f8b28800181ce490a74df8d2"


def uuid_of(number: int, kind: int = 0) -> str:
    """
    Make a UUID.

    @param kind: Numbers of different kinds have different ones.
    """
    return f"{kind:08x}-0000-4000-8000-{number:012x}"


HERE, ELSEWHERE = uuid_of(1, 1), uuid_of(2, 1)
DATAPATH = uuid_of(1, 2)
PORT = uuid_of(1, 3)


def wire_uuid(uuid: str) -> list[str]:
    """
    Write a UUID.
    """
    return ["uuid", uuid]


def wire_set(*elements: Any) -> Any:
    """
    Write a set.
    """
    return elements[0] if len(elements) == 1 else ["set", [*elements]]


def wire_map(pairs: dict[str, str]) -> Any:
    """
    Write a map.
    """
    return ["map", [[key, value] for key, value in pairs.items()]]


def chassis_row(name: str) -> WireRow:
    """
    Write a chassis as ovn-controller does.
    """
    return {"name": name, "hostname": f"{name}.example"}


def datapath_row(network: str = NETWORK) -> WireRow:
    """
    Write a network's datapath as northd does.
    """
    names = {"logical-switch": uuid_of(9), "name": f"neutron-{network}", "name2": "net"}
    return {"external_ids": wire_map(names)}


def neutron_ids(
    owner: str = "compute:nova",
    instance: str = "i-1",
    addresses: tuple[str, ...] = (ADDRESS,),
    network: str = NETWORK,
    **others: str,
) -> dict[str, str]:
    """
    Say of a port what Neutron says (C{get_external_ids_from_port}).

    @param others: Other keys, without C{neutron:}.
    """
    said = {
        "cidrs": " ".join(f"{address}/24" for address in addresses),
        "device_id": instance,
        "device_owner": owner,
        "host_id": "here.example",
        "mtu": "",
        "network_name": f"neutron-{network}",
        "port_capabilities": "",
        "port_name": "",
        "project_id": PROJECT,
        "revision_number": "4",
        "security_group_ids": uuid_of(8),
        "subnet_pool_addr_scope4": "",
        "subnet_pool_addr_scope6": "",
        "vnic_type": "normal",
        **others,
    }
    return {f"neutron:{key}": value for key, value in said.items()}


def port_row(
    port_id: str = uuid_of(1, 4),
    mac: Any = f"{MAC} {ADDRESS}",
    chassis: str | None = HERE,
    datapath: str = DATAPATH,
    ids: dict[str, str] | None = None,
    **columns: Any,
) -> WireRow:
    """
    Write a port as northd does of what Neutron wrote.

    @param columns: Others.
    """
    return {
        "logical_port": port_id,
        "type": "",
        "mac": mac,
        "port_security": mac,
        "chassis": wire_set() if chassis is None else wire_uuid(chassis),
        "additional_chassis": wire_set(),
        "datapath": wire_uuid(datapath),
        "parent_port": wire_set(),
        "external_ids": wire_map(neutron_ids() if ids is None else ids),
        **columns,
    }


class Outside(Shape):
    """
    A southbound database that can be written.
    """

    def put(self, table: str, uuid: str, row: WireRow) -> None:
        """
        Insert a row, or change columns of one.
        """

    def erase(self, table: str, *uuids: str) -> None:
        """
        Delete rows, together.
        """


def _wire(value: Value) -> Any:
    """
    Write a value as the server does: sorted, and a set of one as its element.
    """
    if isinstance(value, frozenset):
        return wire_set(*map(_wire_atom, sorted(value, key=str)))
    return ["map", sorted([key, each] for key, each in value.items())]


def _wire_atom(atom: Any) -> Any:
    """
    Write an atom; whatever looks like a UUID of ours is one.
    """
    is_uuid = isinstance(atom, str) and atom[8:24] == "-0000-4000-8000-"
    return wire_uuid(atom) if is_uuid else atom


def column_of(table: str, name: str) -> Column:
    """
    Find the type of a column.
    """
    schema = SERVER_SCHEMA if table == "Database" else SCHEMA
    return columns_of(schema, {table: {name: None}})[table][name]


def difference(old: Value, new: Value, column: Column) -> Value:
    """
    Find the difference between two values (ovsdb-server(7), section 4.1.14).
    """
    if not column.is_composite:
        return new
    if isinstance(old, frozenset):
        assert isinstance(new, frozenset)
        return old ^ new
    assert not isinstance(new, frozenset)
    gone = {key: value for key, value in old.items() if key not in new}
    come = {key: value for key, value in new.items() if old.get(key) != value}
    return {**gone, **come}


@define(eq=False)
class _Conversation:
    """
    The server's end of a connection, and the client's transport.

    @ivar _server: The server.
    @ivar protocol: The client.
    @ivar monitors: What it is told of, by database and table: columns and conditions.
    """

    _server: Southbound
    protocol: Any
    monitors: dict[str, dict[str, list[Any]]] = field(factory=dict)
    _heard: str = ""
    _queue: list[bytes] = field(factory=list)
    _delivery: IDelayedCall | None = None
    _is_over: bool = False

    def write(self, data: bytes) -> None:
        """
        Take what the client says.
        """
        self._heard += data.decode()
        while self._heard:
            message, end = json.JSONDecoder().raw_decode(self._heard)
            self._heard = self._heard[end:]
            self._server.said.append(message)
            method = message.get("method", self._server.deaf_to)
            if method != self._server.deaf_to and not self._server.is_mute:
                self._answer(message)

    def send(self, message: Any) -> None:
        """
        Say something.
        """
        self.send_bytes(json.dumps(message).encode())

    def send_bytes(self, data: bytes) -> None:
        """
        Say something when the client has finished what it does now.
        """
        if self._is_over:
            return
        self._queue.append(b"\xff{" if self._server.is_garbled else data)
        if self._delivery is None:
            self._delivery = self._server.clock.callLater(0, self._deliver)

    def lose(self, reason: Exception) -> None:
        """
        End the connection.
        """
        if not self._is_over:
            self._is_over = True
            self._server.conversations.remove(self)
            if self._delivery is not None:
                self._delivery.cancel()
                self._delivery = None
            self.protocol.connectionLost(Failure(reason))

    def abortConnection(self) -> None:
        """
        Be a transport that is closed.
        """
        self.lose(ConnectionLost())

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """
        Be a transport that is never full.
        """

    def tell(self, table: str, uuid: str, old: Any, new: Any) -> None:
        """
        Tell of a change, if it was asked for.
        """
        for name, tables in self.monitors.items():
            change = self._change(table, uuid, old, new, tables)
            if change is not None and not self._server.is_mute:
                update = [name, {table: {uuid: change}}]
                self.send({"method": "update2", "params": update, "id": None})

    def _deliver(self) -> None:
        """
        Have the client hear what was said.
        """
        self._delivery = None
        queue, self._queue = self._queue, []
        self.protocol.dataReceived(b"".join(queue))

    def _answer(self, message: Any) -> None:
        """
        Answer a call.
        """
        method, params = message["method"], message["params"]
        answers: dict[str, Callable[..., Any]] = {
            "echo": lambda *params: list(params),
            "get_schema": self._schema,
            "monitor_cond": self._monitor,
            "monitor_cond_change": self._monitor_change,
        }
        is_strange = params[:1] == ["_Server"] and self._server.is_old
        if is_strange or method == self._server.refuses:
            error = {"error": "unknown database", "details": "it is an old server"}
            self.send({"id": message["id"], "error": error})
            return
        self.send({"id": message["id"], "result": answers[method](*params)})

    def _schema(self, database: str) -> Any:
        """
        Answer C{get_schema}.
        """
        return SERVER_SCHEMA if database == "_Server" else self._server.schema

    def _monitor(self, _database: str, name: str, requests: Any) -> Any:
        """
        Answer C{monitor_cond}.
        """
        monitor = {
            table: [each["columns"], each["where"]]
            for table, [each] in requests.items()
        }
        self.monitors[name] = monitor
        return self._rows(monitor, "initial", {})

    def _monitor_change(self, name: str, _name: str, changes: Any) -> Any:
        """
        Answer C{monitor_cond_change}, after what follows from it.
        """
        before = {table: list(each) for table, each in self.monitors[name].items()}
        for table, [change] in changes.items():
            self.monitors[name][table][1] = change["where"]
        update = self._rows(self.monitors[name], "insert", before)
        for table, rows in self._rows(before, "insert", self.monitors[name]).items():
            update.setdefault(table, {}).update({u: {"delete": None} for u in rows})
        if update:
            self.send({"method": "update2", "params": [name, update], "id": None})
        return {}

    def _rows(self, monitor: Any, kind: str, others: Any) -> dict[str, Any]:
        """
        Collect the rows that a monitor shows and others do not.
        """
        return {
            table: found
            for table, (names, where) in monitor.items()
            if (
                found := {
                    uuid: {kind: self._server.wire(table, row, names)}
                    for uuid, row in self._server.tables[table].items()
                    if _matches(uuid, row, where)
                    and not (table in others and _matches(uuid, row, others[table][1]))
                }
            )
        }

    def _change(self, table: str, uuid: str, old: Any, new: Any, monitor: Any) -> Any:
        """
        Find the <row-update2> of a change; C{None}: there is none.
        """
        if table not in monitor:
            return None
        names, where = monitor[table]
        was = old is not None and _matches(uuid, old, where)
        if new is None or not _matches(uuid, new, where):
            return {"delete": None} if was else None
        if not was:
            return {"insert": self._server.wire(table, new, names)}
        changed = {
            name: _wire(difference(old[name], new[name], column_of(table, name)))
            for name in names
            if old[name] != new[name]
        }
        return {"modify": changed} if changed else None


def _matches(uuid: str, row: Any, where: list[Any]) -> bool:
    """
    Tell whether any condition holds for a row.
    """
    return not where or any(_holds(uuid, row, condition) for condition in where)


def _holds(uuid: str, row: Any, condition: Any) -> bool:
    """
    Tell whether a condition holds for a row.
    """
    if isinstance(condition, bool):
        return condition
    name, function, wire = condition
    if name == "_uuid":
        return bool(wire == wire_uuid(uuid))
    value = read_value(wire, Column(frozenset(), True))
    assert isinstance(value, frozenset)
    return bool(row[name] >= value if function == "includes" else row[name] == value)


@define(eq=False)
class Southbound:
    """
    A southbound server in memory.

    @ivar clock: Says when what it says is heard.
    @ivar tables: The rows by table and UUID, as values.
    @ivar conversations: Who is connected.
    @ivar said: All that any client has said.
    @ivar is_down: Whether nobody can connect.
    @ivar is_mute: Whether it says nothing any more.
    @ivar deaf_to: A method that it does not answer.
    @ivar refuses: A method that it refuses.
    @ivar is_garbled: Whether it says only nonsense.
    @ivar is_old: Whether it has no database of its own.
    @ivar schema: Its schema.
    """

    clock: Any = None
    tables: dict[str, dict[str, dict[str, Value]]] = field(init=False)
    conversations: list[_Conversation] = field(factory=list)
    said: list[Any] = field(factory=list)
    tried: list[Remote] = field(factory=list)
    is_down: bool = False
    is_mute: bool = False
    deaf_to: str = ""
    refuses: str = ""
    is_garbled: bool = False
    is_old: bool = False
    schema: Any = field(factory=lambda: SCHEMA)

    @tables.default
    def _(self) -> dict[str, dict[str, dict[str, Value]]]:
        """
        Begin without rows but for that of the database itself.
        """
        itself: dict[str, Value] = {
            "name": frozenset({"OVN_Southbound"}),
            "connected": frozenset({True}),
        }
        return {**{table: {} for table in WANTED}, "Database": {uuid_of(7): itself}}

    def wire(self, table: str, row: Any, names: list[str]) -> WireRow:
        """
        Write a row; what is as by default is left out.
        """
        return {
            name: _wire(row[name])
            for name in names
            if row[name] != column_of(table, name).default
        }

    def connect(self, remote: Remote, factory: Any) -> Deferred[Any]:
        """
        Provide L{Connect<mdproxy.ovsdb_client.Connect>}.
        """
        self.tried.append(remote)
        if self.is_down:
            return fail(ConnectionRefusedError())
        assert isinstance(factory, Factory)
        protocol: Any = factory.buildProtocol(None)
        conversation = _Conversation(self, protocol)
        self.conversations.append(conversation)
        protocol.makeConnection(conversation)
        return succeed(protocol)

    def put(self, table: str, uuid: str, row: WireRow) -> None:
        """
        Provide L{Outside.put}.
        """
        names = (SERVER_SCHEMA if table == "Database" else SCHEMA)["tables"]
        old = self.tables[table].get(uuid)
        new: dict[str, Value] = {
            name: column_of(table, name).default for name in names[table]["columns"]
        }
        new.update(old or {})
        for name, value in row.items():
            new[name] = read_value(value, column_of(table, name))
        self.tables[table][uuid] = new
        self._tell(table, uuid, old, new)

    def erase(self, table: str, *uuids: str) -> None:
        """
        Provide L{Outside.erase}.
        """
        for uuid in uuids:
            self._tell(table, uuid, self.tables[table].pop(uuid), None)

    def break_off(self) -> None:
        """
        Close all connections.
        """
        for conversation in list(self.conversations):
            conversation.lose(ConnectionLost())

    def shout(self, data: bytes) -> None:
        """
        Say something to everybody.
        """
        for conversation in list(self.conversations):
            conversation.send_bytes(data)

    def _tell(self, table: str, uuid: str, old: Any, new: Any) -> None:
        """
        Tell everybody of a change.
        """
        for conversation in list(self.conversations):
            conversation.tell(table, uuid, old, new)


def make_inventory(
    clock: IReactorTime,
    book: PortBook,
    connect: Connect,
    place: OvnPlace | None = None,
    networks: NetworkBook | None = None,
    chance: float = 0.5,
) -> OvnInventory:
    """
    Make an inventory of the chassis C{here}.

    @param chance: What decides about pauses, between 0 and 1.
    """
    return OvnInventory(
        clock,
        book,
        NetworkBook() if networks is None else networks,
        OvnPlace((Remote("unix", "/sb.sock"),), "here") if place is None else place,
        connect,
        "here.example",
        lambda: chance,
    )


if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object


class Scenarios(_Case):
    """
    What tests of an inventory and a database have, be it the one in memory or a real
    one.

    @ivar outside: The database, with the chassis C{here} and C{elsewhere}.
    @ivar inventory: An inventory of C{here}, started.
    @ivar book: Where its ports are.
    """

    outside: Outside
    inventory: OvnInventory
    book: PortBook

    def perform(self, scenario: Coroutine[Any, Any, None]) -> Any:
        """
        Carry out a scenario.
        """
        raise NotImplementedError

    async def until(self, probe: Callable[[], object]) -> None:
        """
        Give the database time until something is so; fail if it never is.
        """
        raise NotImplementedError

    def known(self, mac: str = MAC) -> Port | None:
        """
        Find the port with a MAC.
        """
        found = self.book.by_mac(NETWORK, mac)
        return found[0] if found else None

    def furnish(self) -> None:
        """
        Write what is in every southbound database.
        """
        self.outside.put("Chassis", HERE, chassis_row("here"))
        self.outside.put("Chassis", ELSEWHERE, chassis_row("elsewhere"))
        self.outside.put("Datapath_Binding", DATAPATH, datapath_row())

    async def refresh(self) -> None:
        """
        Have the inventory look again.
        """
        done: list[None] = []
        self.inventory.refresh(NETWORK, None).addCallback(done.append)
        await self.until(lambda: done)


class SouthboundContract(Scenarios):
    """
    What is promised of an inventory and a database together: the one in memory behaves
    as the real one does.
    """

    def test_life_of_a_port(self) -> Any:
        """
        A port is known from when it is bound here until it is not, however often.
        """
        return self.perform(self._life())

    async def _life(self) -> None:
        """
        Bind, unbind, bind again, elsewhere, here, delete.
        """
        outside = self.outside
        outside.put("Port_Binding", PORT, port_row(chassis=None))
        outside.put("Port_Binding", PORT, {"chassis": wire_uuid(HERE)})
        await self.until(self.known)
        port = self.known()
        assert port is not None
        self.assertEqual((port.instance_id, port.project_id), ("i-1", PROJECT))
        self.assertEqual(port.addresses, {ADDRESS})
        for chassis in (wire_set(), wire_uuid(ELSEWHERE)):
            outside.put("Port_Binding", PORT, {"chassis": chassis})
            await self.until(lambda: self.known() is None)
            outside.put("Port_Binding", PORT, {"chassis": wire_uuid(HERE)})
            await self.until(self.known)
        outside.erase("Port_Binding", PORT)
        await self.until(lambda: self.known() is None)
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_live_migration(self) -> Any:
        """
        A port that moves is known on both chassis while it does.
        """
        return self.perform(self._migration())

    async def _migration(self) -> None:
        """
        Come and go as nova and ovn-controller have it.
        """
        outside = self.outside
        outside.put("Port_Binding", PORT, port_row(chassis=ELSEWHERE))
        here, elsewhere = wire_uuid(HERE), wire_uuid(ELSEWHERE)
        outside.put("Port_Binding", PORT, {"additional_chassis": here})
        await self.until(self.known)
        arrived = {"chassis": here, "additional_chassis": wire_set()}
        outside.put("Port_Binding", PORT, arrived)
        await self.refresh()
        self.assertIsNotNone(self.known())
        outside.put("Port_Binding", PORT, {"additional_chassis": elsewhere})
        await self.refresh()
        self.assertIsNotNone(self.known())
        gone = {"chassis": elsewhere, "additional_chassis": wire_set()}
        outside.put("Port_Binding", PORT, gone)
        await self.until(lambda: self.known() is None)

    def test_changes_of_every_kind(self) -> Any:
        """
        Changed sets, maps and single values are known as they are, not as they differ.
        """
        return self.perform(self._changes())

    async def _changes(self) -> None:
        """
        Change a row in many steps, and compare it with a port of the last state.
        """
        outside, both = self.outside, ("10.0.0.1", "10.0.0.2")
        outside.put("Port_Binding", PORT, port_row())
        await self.until(self.known)
        own = f"{MAC} {' '.join(both)}"
        steps: list[WireRow] = [
            {"mac": wire_set("00:00:5e:00:01:01", f"{MAC} {ADDRESS}")},
            {
                "port_security": wire_set(
                    f"{MAC} {ADDRESS} 10.0.0.77", "02:00:00:00:00:01"
                )
            },
            {"mac": own, "external_ids": wire_map(neutron_ids(addresses=both))},
            {"mac": wire_set(own, "unknown"), "port_security": wire_set()},
            {"port_security": f"{MAC} 10.0.0.78", "type": "external"},
            {"external_ids": wire_map(neutron_ids(instance="i-2", addresses=both))},
            {
                "type": "",
                "external_ids": wire_map(neutron_ids("compute:a", "i-3", both)),
            },
        ]
        for step in steps:
            outside.put("Port_Binding", PORT, step)
        await self.refresh()
        port = self.known()
        assert port is not None
        self.assertEqual(port.instance_id, "i-3")
        self.assertEqual(port.addresses, frozenset(both))
        self.assertEqual(port.pairs, {"10.0.0.78"})
        self.assertEqual(port.device, "tap" + uuid_of(1, 4)[:11])

    def test_subport(self) -> Any:
        """
        A trunk's subport is its parent's instance, for as long as it is a subport.
        """
        return self.perform(self._subport())

    async def _subport(self) -> None:
        """
        Join a port to a trunk, and take it away.
        """
        outside, mac = self.outside, "fa:16:3e:00:00:02"
        outside.put("Port_Binding", PORT, port_row())
        ids = neutron_ids("trunk:subport", "", ("10.0.0.2",))
        sub = port_row(uuid_of(2, 4), f"{mac} 10.0.0.2", HERE, DATAPATH, ids)
        other = uuid_of(2, 3)
        outside.put("Port_Binding", other, {**sub, "parent_port": uuid_of(1, 4)})
        await self.until(lambda: self.known(mac))
        port = self.known(mac)
        assert port is not None
        self.assertEqual((port.instance_id, port.parent), ("i-1", uuid_of(1, 4)))
        outside.put("Port_Binding", other, {"parent_port": wire_set()})
        await self.until(lambda: self.known(mac) is None)
        self.assertFalse(self.inventory.knows(NETWORK))

    def test_another_chassis(self) -> Any:
        """
        A chassis that is deleted takes its ports along, and leaves a doubt; one that
        comes in its place, by another UUID, brings its own.
        """
        return self.perform(self._chassis())

    async def _chassis(self) -> None:
        """
        Restart ovn-controller.
        """
        outside, again = self.outside, uuid_of(3, 1)
        outside.put("Port_Binding", PORT, port_row())
        await self.until(self.known)
        outside.erase("Chassis", HERE)
        await self.until(lambda: self.known() is None)
        self.assertEqual(self.inventory.state, SourceState.STALE)
        self.assertIn("no chassis", str(self.inventory.describe()["problem"]))
        outside.put("Chassis", again, chassis_row("here"))
        outside.put("Port_Binding", PORT, port_row(chassis=again))
        await self.until(self.known)
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_what_was_committed_is_known(self) -> Any:
        """
        What was in the database before a refresh began is in the book after it.
        """
        return self.perform(self._barriers())

    async def _barriers(self) -> None:
        """
        Write and refresh, with a network that was not known before each time.
        """
        await self.until(lambda: self.inventory.state is SourceState.LIVE)
        for number in range(10, 20):
            network, datapath = uuid_of(number, 5), uuid_of(number, 2)
            mac = f"fa:16:3e:00:01:{number}"
            ids = neutron_ids(addresses=("10.0.0.3",), network=network)
            row = port_row(uuid_of(number, 4), f"{mac} 10.0.0.3", HERE, datapath, ids)
            self.outside.put("Datapath_Binding", datapath, datapath_row(network))
            self.outside.put("Port_Binding", uuid_of(number, 3), row)
            await self.refresh()
            self.assertEqual(len(self.book.by_mac(network, mac)), 1, network)
            self.assertTrue(self.inventory.knows(network))
        self.outside.erase("Port_Binding", *[uuid_of(n, 3) for n in range(10, 20)])
        await self.refresh()
        self.assertEqual(len(self.book), 0)

    def test_only_what_is_here(self) -> Any:
        """
        Of what is elsewhere nothing is sent.
        """
        return self.perform(self._elsewhere())

    async def _elsewhere(self) -> None:
        """
        Fill another chassis.
        """
        await self.until(lambda: self.inventory.state is SourceState.LIVE)
        before = self.inventory.describe()["received"]
        for number in range(1, 21):
            row = port_row(uuid_of(number, 4), chassis=ELSEWHERE)
            self.outside.put("Port_Binding", uuid_of(number, 3), row)
        await self.refresh()
        self.assertLess(self.inventory.describe()["received"] - before, 100)
