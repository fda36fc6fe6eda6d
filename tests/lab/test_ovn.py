"""
L{mdproxy.inventory.ovn} on the real ovsdb-server, with OVN's own schema.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mdproxy.interfaces import SourceState
from mdproxy.inventory.ovn import OvnPlace
from mdproxy.lookup.books import PortBook
from mdproxy.ovsdb import Remote
from mdproxy.ovsdb_client import Connector
from tests.lab.certs import Certificates, make
from tests.lab.ovn import Database, RealOutside, insert, start_northd
from tests.lab.stage import Stage
from tests.southbound import (
    ADDRESS,
    ELSEWHERE,
    HERE,
    MAC,
    NETWORK,
    PORT,
    Scenarios,
    SouthboundContract,
    datapath_row,
    make_inventory,
    neutron_ids,
    port_row,
    uuid_of,
    wire_map,
    wire_set,
    wire_uuid,
)

_SECONDS = 15.0


def _free_port() -> int:
    """
    Find a port of loopback that nobody listens on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class _Case(Scenarios, TestCase):
    """
    A real database and an inventory of it.
    """

    timeout = 60

    def setUp(self) -> None:
        """
        Make a place for it.
        """
        self.stage = Stage()
        self.stage.__enter__()
        self.addCleanup(self.stage.__exit__, None, None, None)
        self.database = Database(self.stage)
        self.book = PortBook()

    def serve(self) -> None:
        """
        Start the server, and connect to it to write.
        """
        self.database.start()
        wire = self.database.wire()
        self.addCleanup(wire.close)
        self.outside = RealOutside(wire)

    def follow(self, place: OvnPlace | None = None) -> None:
        """
        Start the inventory.
        """
        if place is None:
            place = OvnPlace((Remote("unix", self.database.socket),), "here")
        files = place.ca, place.certificate, place.key
        connect = Connector(reactor, *files).connect
        clock: Any = reactor
        self.inventory = make_inventory(clock, self.book, connect, place, chance=0.0)
        self.inventory.startService()
        self.addCleanup(self._leave)

    def perform(self, scenario: Coroutine[Any, Any, None]) -> Deferred[None]:
        """
        Carry out a scenario.
        """
        return ensureDeferred(scenario)

    async def until(self, probe: Callable[[], object]) -> None:
        """
        Give the server time.
        """
        clock: Any = reactor
        deadline = clock.seconds() + _SECONDS
        while not probe():
            if clock.seconds() > deadline:
                self.fail(f"it never was so: {self.inventory.describe()}")
            await deferLater(clock, 0.005)

    def state_is(self, state: SourceState) -> Callable[[], bool]:
        """
        Make a probe of the inventory's state.
        """
        return lambda: self.inventory.state is state

    async def _leave(self) -> None:
        """
        Stop the inventory, and let the reactor close what it had.
        """
        self.inventory.stopService()
        await deferLater(reactor, 0)
        await deferLater(reactor, 0)


class RealSouthboundTests(_Case, SouthboundContract):
    """
    What is promised of an inventory and a database, with the real one.
    """

    def setUp(self) -> None:
        """
        Start, on a UNIX socket.
        """
        super().setUp()
        self.serve()
        self.furnish()
        self.follow()


class AwayTests(_Case):
    """
    The server comes and goes.
    """

    def setUp(self) -> None:
        """
        Have a port here.
        """
        super().setUp()
        self.serve()
        self.furnish()
        self.outside.put("Port_Binding", PORT, port_row())
        self.follow()

    def test_restarted(self) -> Any:
        """
        A server that is restarted, or killed and comes back, is found again; what was
        known is kept, and what changed meanwhile is known.
        """
        return self.perform(self._restart())

    async def _restart(self) -> None:
        """
        Stop it politely, start it, kill it, start it.
        """
        await self.until(self.known)
        for end in (self.database.stop, self.database.kill):
            end()
            await self.until(self.state_is(SourceState.STALE))
            self.assertIsNotNone(self.known())
            self.serve()
            await self.until(self.state_is(SourceState.LIVE))
            self.assertIsNotNone(self.known())
        self.database.stop()
        await self.until(self.state_is(SourceState.STALE))
        self.inventory.stopService()
        self.serve()
        self.outside.erase("Port_Binding", PORT)
        self.inventory.startService()
        await self.until(lambda: self.known() is None)
        await self.until(self.state_is(SourceState.LIVE))


class NetworkTests(_Case):
    """
    Servers that are asked over TCP and TLS.
    """

    def setUp(self) -> None:
        """
        Have a server that listens on loopback, by TLS and without.
        """
        super().setUp()
        self.certificates: Certificates = make(self.stage.directory)
        self.plain, self.tls = _free_port(), _free_port()
        self.database.certificates = self.certificates
        self.database.remotes = (
            f"ptcp:{self.plain}:127.0.0.1",
            f"pssl:{self.tls}:127.0.0.1",
        )
        self.serve()
        self.furnish()
        self.outside.put("Port_Binding", PORT, port_row())

    def place(self, *remotes: Remote, client: str = "client", ca: str = "ca") -> None:
        """
        Start an inventory with certificates.
        """
        pair = getattr(self.certificates, client)
        trusted = str(getattr(self.certificates, ca))
        files = (trusted, str(pair.certificate), str(pair.key))
        self.follow(OvnPlace(remotes, "here", *files))

    def test_tls(self) -> Any:
        """
        Over TLS both sides show certificates of the same CA; the name in the server's
        is of no account, as in Open vSwitch.
        """
        self.place(Remote("ssl", "127.0.0.1", self.tls))
        return self.perform(self.until(self.known))

    def test_next_server(self) -> Any:
        """
        A server that is not there leads to the next one.
        """
        nobody = Remote("tcp", "127.0.0.1", _free_port())
        self.follow(OvnPlace((nobody, Remote("tcp", "localhost", self.plain)), "here"))
        return self.perform(self.until(self.known))

    def test_server_of_another_ca(self) -> Any:
        """
        A server whose certificate another CA signed learns nothing and tells nothing;
        there is no way back to plain TCP.
        """
        self.place(Remote("ssl", "127.0.0.1", self.tls), ca="rogue_ca")
        return self.perform(self._refused("the server's certificate was refused"))

    def test_client_of_another_ca(self) -> Any:
        """
        A server that refuses our certificate is told as such.
        """
        self.place(Remote("ssl", "127.0.0.1", self.tls), client="rogue_client")
        return self.perform(self._refused("ssl:127.0.0.1"))

    def test_plain_server(self) -> Any:
        """
        A server that speaks no TLS is not spoken to without.
        """
        self.place(Remote("ssl", "127.0.0.1", self.plain))
        return self.perform(self._refused("ssl:127.0.0.1"))

    async def _refused(self, words: str) -> None:
        """
        Wait for a problem.
        """
        await self.until(self.state_is(SourceState.FAILED))
        self.assertIn(words, str(self.inventory.describe()["problem"]))
        self.assertIsNone(self.known())


class ClusterTests(_Case):
    """
    A database that three servers have together.
    """

    def test_others_are_lost(self) -> Any:
        """
        Where the server that is asked dies the next one is asked; one that has lost the
        others is left, and what was known is stale until they are back.
        """
        first = f"tcp:127.0.0.1:{_free_port()}"
        self.members = [Database(self.stage, "sb1", member_at=first)]
        for name in ("sb2", "sb3"):
            where = f"tcp:127.0.0.1:{_free_port()}"
            member = Database(self.stage, name, member_at=where, joins=first)
            self.members.append(member)
        for member in self.members:
            member.start()
        wire = self.members[0].wire()
        self.addCleanup(wire.close)
        self.outside = RealOutside(wire)
        self.furnish()
        self.outside.put("Port_Binding", PORT, port_row())
        remotes = [Remote("unix", member.socket) for member in self.members]
        self.follow(OvnPlace(tuple(remotes), "here"))
        return self.perform(self._lose())

    async def _lose(self) -> None:
        """
        Kill the first, then the second, and have the first back.
        """
        first, second, _third = self.members
        await self.until(self.known)
        first.kill()
        await self.until(lambda: self._server() == f"unix:{second.socket}")
        await self.until(self.state_is(SourceState.LIVE))
        second.kill()
        await self.until(
            lambda: "lost its cluster" in str(self.inventory.describe()["problem"])
        )
        self.assertIs(self.inventory.state, SourceState.STALE)
        self.assertIsNotNone(self.known())
        first.start()
        await self.until(self.state_is(SourceState.LIVE))
        self.assertIsNotNone(self.known())

    def _server(self) -> Any:
        """
        Tell which server is asked.
        """
        return self.inventory.describe()["server"]


class CloudTests(_Case):
    """
    A cloud in which this host is one of many.
    """

    def test_ten_thousand_ports(self) -> Any:
        """
        Of 10,000 ports in 500 networks a host with 50 of them is told its own and their
        networks, and nothing when others change.
        """
        self.serve()
        self.furnish()
        return self.perform(self._cloud())

    async def _cloud(self) -> None:
        """
        Fill the database, and look at what comes.
        """
        assert isinstance(self.outside, RealOutside)
        operations = []
        for number in range(2, 502):
            row = datapath_row(uuid_of(number, 5))
            operations += insert("Datapath_Binding", uuid_of(number, 2), row)
        for number in range(2, 10_002):
            chassis = HERE if number % 200 == 7 else ELSEWHERE
            operations += insert(
                "Port_Binding", uuid_of(number, 3), _row(number, chassis)
            )
        self.outside.wire.transact("OVN_Southbound", *operations)
        self.follow()
        await self.until(self.state_is(SourceState.LIVE))
        described = self.inventory.describe()
        self.assertEqual(described["ports"], 50)
        self.assertLess(described["received"], 100_000)
        elsewhere = [n for n in range(2, 2000) if n % 200 != 7]
        self.outside.erase("Port_Binding", *[uuid_of(n, 3) for n in elsewhere])
        await self.refresh()
        after = self.inventory.describe()
        self.assertLess(after["received"] - described["received"], 100)
        self.assertEqual(after["ports"], 50)


def _row(number: int, chassis: str) -> Any:
    """
    Write a port of a large cloud.
    """
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    network = number % 500 + 2
    mac = f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"
    ids = neutron_ids(addresses=(address,), network=uuid_of(network, 5))
    datapath = uuid_of(network, 2)
    return port_row(uuid_of(number, 4), f"{mac} {address}", chassis, datapath, ids)


class NorthdTests(_Case):
    """
    Rows that northd itself makes of what Neutron writes into the northbound database.
    """

    def setUp(self) -> None:
        """
        Start both databases and northd.
        """
        super().setUp()
        self.serve()
        self.northbound = Database(self.stage, "nb")
        self.northbound.start()
        start_northd(self.stage, self.northbound, self.database)
        self.outside.put("Chassis", HERE, {"name": "here", "hostname": "here"})
        self.follow()

    def test_what_neutron_writes(self) -> Any:
        """
        A port with an allowed address pair of a MAC that sorts before its own, one
        without port security, a subport and a router's port: each is what it is.
        """
        return self.perform(self._write())

    async def _write(self) -> None:
        """
        Write what Neutron writes, and bind the ports as ovn-controller does.
        """
        victim, sub = "02:00:00:00:00:01", "fa:16:3e:00:00:02"
        pairs = f"{MAC} {ADDRESS} 10.0.0.50"
        plain = uuid_of(1, 4)
        ids = wire_map(
            neutron_ids(addresses=("10.0.0.2",), instance="", owner="trunk:subport")
        )
        ports = [
            {
                "name": plain,
                "addresses": wire_set(f"{MAC} {ADDRESS}", victim),
                "port_security": wire_set(pairs, f"{victim} 10.0.0.9"),
                "external_ids": wire_map(neutron_ids()),
            },
            {
                "name": uuid_of(2, 4),
                "addresses": f"{sub} 10.0.0.2",
                "parent_name": plain,
                "tag": 100,
                "external_ids": ids,
            },
            {
                "name": uuid_of(3, 4),
                "addresses": wire_set("unknown", "fa:16:3e:00:00:03 10.0.0.3"),
                "external_ids": wire_map(
                    neutron_ids(addresses=("10.0.0.3",), instance="i-3")
                ),
            },
        ]
        wire = self.northbound.wire()
        self.addCleanup(wire.close)
        names = [f"port{number}" for number in range(len(ports))]
        wire.transact(
            "OVN_Northbound",
            *[
                {
                    "op": "insert",
                    "table": "Logical_Switch_Port",
                    "uuid-name": n,
                    "row": p,
                }
                for n, p in zip(names, ports, strict=True)
            ],
            {
                "op": "insert",
                "table": "Logical_Switch",
                "row": {
                    "name": f"neutron-{NETWORK}",
                    "ports": ["set", [["named-uuid", name] for name in names]],
                    "external_ids": wire_map({"neutron:network_name": "private"}),
                },
            },
        )
        await self.until(lambda: self._bind() == len(ports))
        await self.until(lambda: len(self.book) == len(ports))
        port, subport = self.known(), self.known(sub)
        assert port is not None and subport is not None
        self.assertEqual((port.instance_id, port.port_id), ("i-1", plain))
        self.assertEqual(port.addresses, {ADDRESS})
        self.assertEqual(port.pairs, {"10.0.0.50"})
        self.assertIsNone(self.known(victim))
        self.assertEqual((subport.instance_id, subport.parent), ("i-1", plain))
        other = self.known("fa:16:3e:00:00:03")
        assert other is not None
        self.assertEqual(other.instance_id, "i-3")
        self.assertEqual(self.inventory.describe()["problem"], None)

    def _bind(self) -> int:
        """
        Bind all ports to our chassis.

        @return: How many there are.
        """
        assert isinstance(self.outside, RealOutside)
        row = {"chassis": wire_uuid(HERE)}
        change = {"op": "update", "table": "Port_Binding", "where": [], "row": row}
        [result] = self.outside.wire.transact("OVN_Southbound", change)
        return int(result["count"])
