"""
Tests for L{mdproxy.inventory.ovn_rows}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.ovn_rows import (
    WANTED,
    Meaning,
    conditions,
    is_network,
    meaning_of,
    own_seat,
    pairs_of,
    sights_of,
    where_chassis,
)
from mdproxy.model import Malformed, Port
from mdproxy.ovsdb_replica import Replica, columns_of
from tests.southbound import (
    ADDRESS,
    DATAPATH,
    ELSEWHERE,
    HERE,
    MAC,
    NETWORK,
    PORT,
    PROJECT,
    SCHEMA,
    WireRow,
    chassis_row,
    datapath_row,
    neutron_ids,
    port_row,
    uuid_of,
    wire_map,
    wire_set,
    wire_uuid,
)

PAIR = "00:00:5e:00:01:01"
OTHER = uuid_of(2, 3)
PARENT = uuid_of(1, 4)


def replica_of(**ports: WireRow) -> Replica:
    """
    Make a replica of our chassis with these ports, by their rows' UUIDs.
    """
    replica = Replica(columns_of(SCHEMA, WANTED))
    rows = {
        "Chassis": {HERE: chassis_row("here")},
        "Datapath_Binding": {DATAPATH: datapath_row()},
        "Port_Binding": ports,
    }
    replica.apply(
        {
            table: {uuid: {"initial": row} for uuid, row in each.items()}
            for table, each in rows.items()
        }
    )
    return replica


def meant(row: WireRow, **others: WireRow) -> Meaning:
    """
    Say what a row means.

    @param others: Other rows.
    """
    replica = replica_of(**{PORT: row}, **others)
    return meaning_of(sights_of(replica.rows)[PORT], "ovn")


class MeaningTests(SynchronousTestCase):
    """
    Tests for L{meaning_of}.
    """

    def test_instance(self) -> None:
        """
        A plain port is its instance's, with all that is known of it.
        """
        expected = Port(
            NETWORK,
            MAC,
            "i-1",
            PROJECT,
            frozenset({ADDRESS}),
            inventory="ovn",
            port_id=PARENT,
            device="tap" + PARENT[:11],
        )
        self.assertEqual(meant(port_row()), Meaning(expected, frozenset({NETWORK})))

    def test_not_ours(self) -> None:
        """
        Ports of others, of other chassis, unbound ones, and what is no instance's port
        mean nothing, and leave no doubt.
        """
        vip = neutron_ids("Octavia", "lb-1")
        for row in (
            port_row(chassis=None),
            port_row(chassis=ELSEWHERE),
            port_row(chassis=None, additional_chassis=wire_uuid(ELSEWHERE)),
            port_row(type="virtual"),
            port_row(type="localport", ids=neutron_ids("network:distributed")),
            port_row(type="localport"),
            port_row(type="chassisredirect", ids={}),
            port_row(type="patch"),
            port_row(type="vtep"),
            port_row(ids={}),
            port_row(ids=vip),
            port_row(ids=neutron_ids("")),
            port_row(ids=neutron_ids("network:dhcp")),
        ):
            self.assertEqual(meant(row), Meaning())

    def test_ours(self) -> None:
        """
        A port on two chassis, one of Ironic's and one of a card that bypasses the host
        are ours; the last has no device.
        """
        migrating = wire_set(wire_uuid(HERE), wire_uuid(uuid_of(7, 1)))
        for row in (
            port_row(chassis=ELSEWHERE, additional_chassis=migrating),
            port_row(ids=neutron_ids("baremetal:none")),
            port_row(type="external"),
        ):
            port = meant(row).port
            assert port is not None
            self.assertEqual(port.instance_id, "i-1")
            self.assertEqual(port.device is None, row["type"] == "external")

    def test_pair_that_sorts_first(self) -> None:
        """
        The MAC of an allowed address pair is never a port's own, wherever it sorts.
        """
        for other in (PAIR, "fe:ff:ff:ff:ff:ff"):
            port = meant(port_row(mac=wire_set(other, f"{MAC} {ADDRESS}"))).port
            assert port is not None
            self.assertEqual((port.mac, port.addresses), (MAC, {ADDRESS}))

    def test_doubtful_macs(self) -> None:
        """
        Where a port's own MAC can't be told there is no port, and a doubt.
        """
        doubt = Meaning(None, frozenset({NETWORK}), True)
        none = neutron_ids(addresses=())
        for row in (
            port_row(mac="unknown"),
            port_row(mac=wire_set()),
            port_row(mac="router"),
            port_row(mac=PAIR),
            port_row(mac=wire_set(PAIR, MAC), ids=none),
            port_row(mac=f"{MAC} 10.0.0.99"),
            port_row(mac=wire_set(f"{PAIR} {ADDRESS}", f"{MAC} {ADDRESS}")),
        ):
            self.assertEqual(meant(row), doubt, row["mac"])

    def test_without_addresses(self) -> None:
        """
        A port without fixed addresses has none.
        """
        port = meant(port_row(mac=MAC, ids=neutron_ids(addresses=()))).port
        assert port is not None
        self.assertEqual(port.addresses, frozenset())

    def test_several_addresses(self) -> None:
        """
        All fixed addresses count, IPv6 too, in their canonical form.
        """
        both = ("10.0.0.1", "FD77:0::11")
        row = port_row(mac=f"{MAC.upper()} 10.0.0.1 fd77:0:0::11")
        row["external_ids"] = wire_map(neutron_ids(addresses=both))
        port = meant(row).port
        assert port is not None
        self.assertEqual((port.mac, port.addresses), (MAC, {"10.0.0.1", "fd77::11"}))

    def test_pairs(self) -> None:
        """
        Allowed address pairs with the own MAC count, those with another do not, and
        neither do whole networks.
        """
        security = wire_set(
            f"{MAC} {ADDRESS} 10.0.0.50 10.1.0.0/24",
            f"{PAIR} 10.0.0.60",
            f"VRRPv3 {MAC} {PAIR} 10.0.0.61",
        )
        port = meant(port_row(port_security=security)).port
        assert port is not None
        self.assertEqual(port.pairs, {"10.0.0.50"})

    def test_network(self) -> None:
        """
        The network is the datapath's; until that is told, and where the port says
        another, there is a doubt; one that is not Neutron's is nobody's affair.
        """
        other = uuid_of(4)
        self.assertEqual(
            meant(port_row(datapath=uuid_of(9, 2))),
            Meaning(None, frozenset({NETWORK}), True),
        )
        said = meant(port_row(ids=neutron_ids(network=other)))
        self.assertEqual(said.networks, {NETWORK, other})
        self.assertTrue(said.is_doubtful)
        self.assertIsNotNone(said.problem)
        replica = replica_of(**{PORT: port_row()})
        for name in ("private", ""):
            ids = {"external_ids": wire_map({"name": name})}
            replica.apply({"Datapath_Binding": {DATAPATH: {"insert": ids}}})
            meaning = meaning_of(sights_of(replica.rows)[PORT], "ovn")
            self.assertIsNone(meaning.port)
            self.assertEqual(meaning.networks, frozenset())

    def test_network_that_only_the_datapath_names(self) -> None:
        """
        Neutron did not always say the network of a port.
        """
        ids = neutron_ids()
        del ids["neutron:network_name"]
        self.assertIsNotNone(meant(port_row(ids=ids)).port)

    def test_project_unchanged(self) -> None:
        """
        The project's id is passed on as it is written, with its hyphens or without.
        """
        for project in (PROJECT, "28A490A0-f8b2-8800-181c-e490a74df8d2"):
            port = meant(port_row(ids=neutron_ids(project_id=project))).port
            assert port is not None
            self.assertEqual(port.project_id, project)

    def test_subport(self) -> None:
        """
        A subport is its parent's instance, and comes by its parent's device; without a
        parent here that is an instance's, there is a doubt.
        """
        ids = neutron_ids("trunk:subport", "", project_id="p-2")
        row = port_row(uuid_of(2, 4), ids=ids, parent_port=PARENT)
        port = meant(row, **{OTHER: port_row()}).port
        assert port is not None
        self.assertEqual((port.instance_id, port.project_id), ("i-1", PROJECT))
        self.assertEqual((port.parent, port.port_id), (PARENT, uuid_of(2, 4)))
        self.assertEqual(port.device, "tap" + PARENT[:11])
        for parent in (
            port_row(uuid_of(9, 4)),
            port_row(chassis=ELSEWHERE),
            port_row(ids=neutron_ids("network:dhcp")),
            port_row(ids=ids, parent_port=uuid_of(2, 4)),
        ):
            meaning = meant(row, **{OTHER: parent})
            self.assertEqual(meaning, Meaning(None, frozenset({NETWORK}), True))
        alone = port_row(uuid_of(2, 4), ids=ids)
        self.assertTrue(meant(alone).is_doubtful)

    def test_router(self) -> None:
        """
        A router's port tells its network, once its datapath is known.
        """
        ids = neutron_ids("network:router_interface", "router")
        row = port_row(ids=ids, type="l3gateway")
        self.assertEqual(meant(row).router, PARENT)
        self.assertEqual(meant(row).networks, {NETWORK})
        row["datapath"] = wire_uuid(uuid_of(9, 2))
        self.assertIsNone(meant(row).router)
        self.assertFalse(meant(row).is_doubtful)

    def test_nonsense(self) -> None:
        """
        What can't be costs the port, and leaves a doubt that is told.
        """
        for row in (
            port_row(port_id="a port"),
            port_row(port_id=""),
            port_row(mac="fa:16:3e 10.0.0.1"),
            port_row(mac=f"{MAC} 10.0.0.256"),
            port_row(port_security=f"{MAC} x"),
            port_row(ids=neutron_ids(instance="")),
            port_row(ids=neutron_ids(instance="a b")),
            port_row(ids=neutron_ids(project_id="")),
            port_row(ids=neutron_ids(project_id="p\r\nX-Tenant-ID: q")),
            port_row(ids=neutron_ids(addresses=("x",))),
        ):
            meaning = meant(row)
            self.assertIsNone(meaning.port, row)
            self.assertTrue(meaning.is_doubtful)
            self.assertIsInstance(meaning.problem, str)

    @given(
        st.sets(
            st.tuples(
                st.sampled_from([MAC, PAIR, "02:00:00:00:00:02"]),
                st.frozensets(st.sampled_from(["10.0.0.1", "10.0.0.2"]), max_size=2),
            ),
            max_size=4,
        ),
        st.frozensets(st.sampled_from(["10.0.0.1", "10.0.0.2"]), max_size=2),
    )
    def test_never_a_pairs_mac(self, others: Any, fixed: frozenset[str]) -> None:
        """
        Whatever stands beside it, a seat that is found is the one of all that has the
        fixed addresses.
        """
        elements = [" ".join([mac, *addresses]) for mac, addresses in others]
        own = own_seat(elements, " ".join(f"{each}/24" for each in fixed))
        fitting = [
            (mac, each)
            for mac, each in others
            if each >= fixed and bool(each) == bool(fixed)
        ]
        self.assertEqual(own, fitting[0] if len(fitting) == 1 else None)

    @given(st.data())
    def test_any_row(self, data: st.DataObject) -> None:
        """
        Any row means something or nothing; a port is only ever that of the row's own
        words.
        """
        words = st.sampled_from(
            [MAC, PAIR, ADDRESS, "unknown", "", "x", HERE, DATAPATH, PARENT, "neutron-"]
        ) | st.text(max_size=5)
        keys = st.sampled_from([*neutron_ids(), "x"])
        column = words | st.lists(words, max_size=3).map(lambda each: ["set", each])
        row = {
            **port_row(),
            **data.draw(
                st.dictionaries(
                    st.sampled_from(["logical_port", "type", "datapath", "chassis"])
                    | st.sampled_from(["mac", "port_security", "parent_port"]),
                    column,
                    max_size=3,
                )
            ),
        }
        ids = {**neutron_ids(), **data.draw(st.dictionaries(keys, words, max_size=2))}
        row["external_ids"] = wire_map(ids)
        meaning = meant(row)
        if meaning.port is not None:
            self.assertEqual(meaning.port.instance_id, ids["neutron:device_id"])
            self.assertEqual(meaning.port.project_id, ids["neutron:project_id"])
            self.assertIn(meaning.port.mac, str(row["mac"]).lower())


class SeatTests(SynchronousTestCase):
    """
    Tests for L{own_seat} and L{pairs_of}.
    """

    def test_without_cidrs(self) -> None:
        """
        Where Neutron did not say the addresses, one MAC alone is the port's own.
        """
        seat = (MAC, frozenset({ADDRESS}))
        self.assertEqual(own_seat([f"{MAC} {ADDRESS}", "unknown"], None), seat)
        self.assertIsNone(own_seat([f"{MAC} {ADDRESS}", PAIR], None))

    def test_malformed(self) -> None:
        """
        An element that is none is refused, and so is an address.
        """
        self.assertRaises(Malformed, own_seat, ["x"], None)
        self.assertRaises(Malformed, own_seat, [MAC], "x/24")
        self.assertRaises(Malformed, pairs_of, MAC, [f"{MAC} x"])

    def test_own_addresses(self) -> None:
        """
        Fixed addresses are the port's own by their MAC, so they are among what it may
        use.
        """
        self.assertEqual(pairs_of(MAC, [f"{MAC} {ADDRESS}", "", "unknown"]), {ADDRESS})


class SightTests(SynchronousTestCase):
    """
    Tests for L{sights_of}.
    """

    def test_same(self) -> None:
        """
        A sight is another once its row, its datapath, its parent or the chassis is.
        """
        sub = port_row(uuid_of(2, 4), parent_port=PARENT)
        replica = replica_of(**{PORT: sub, OTHER: port_row(), uuid_of(3, 3): sub})
        before = sights_of(replica.rows)[PORT]
        self.assertFalse(before.is_same(None))
        for table, uuid, change in (
            ("Port_Binding", uuid_of(3, 3), {"delete": None}),
            ("Port_Binding", PORT, {"modify": {}}),
            ("Port_Binding", OTHER, {"modify": {"type": "external"}}),
            ("Datapath_Binding", DATAPATH, {"insert": datapath_row()}),
            ("Chassis", uuid_of(5, 1), {"insert": chassis_row("twin")}),
        ):
            replica.apply({table: {uuid: change}})
            after = sights_of(replica.rows)[PORT]
            self.assertEqual(
                after.is_same(before), uuid == uuid_of(3, 3), (table, uuid)
            )
            before = after


class ConditionTests(SynchronousTestCase):
    """
    Tests for L{conditions} and L{where_chassis}.
    """

    def test_chassis(self) -> None:
        """
        The chassis is asked for by its name, or by the host's, whole or short.
        """
        self.assertEqual(where_chassis("c", "h.example"), [["name", "==", "c"]])
        by_host = [["hostname", "==", "h.example"], ["hostname", "==", "h"]]
        self.assertEqual(where_chassis("", "h.example"), by_host)
        self.assertEqual(where_chassis("", "h"), [["hostname", "==", "h"]])

    def test_nothing(self) -> None:
        """
        Where nothing is known nothing is asked for: an empty list would be all.
        """
        replica = Replica(columns_of(SCHEMA, WANTED))
        nothing = {"Port_Binding": [False], "Datapath_Binding": [False]}
        self.assertEqual(conditions(replica.rows, True), nothing)

    def test_here(self) -> None:
        """
        The chassis' ports are asked for, and their datapaths, each once.
        """
        replica = replica_of(**{PORT: port_row(), OTHER: port_row(uuid_of(2, 4))})
        here = wire_uuid(HERE)
        asked = conditions(replica.rows, True)
        self.assertEqual(
            asked["Datapath_Binding"], [["_uuid", "==", wire_uuid(DATAPATH)]]
        )
        self.assertEqual(
            asked["Port_Binding"],
            [
                ["chassis", "==", here],
                ["additional_chassis", "includes", ["set", [here]]],
            ],
        )
        asked = conditions(replica.rows, False)
        self.assertEqual(asked["Port_Binding"], [["chassis", "==", here]])

    def test_networks(self) -> None:
        """
        Neutron's names of networks are UUIDs.
        """
        self.assertTrue(is_network(NETWORK))
        for name in ("red", "", f"{NETWORK}/x", f"qdhcp-{NETWORK}", NETWORK.upper()):
            self.assertFalse(is_network(name))
