"""
Tests for L{mdproxy.inventory.neutron_ports}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.api import Garbled
from mdproxy.inventory.neutron_ports import (
    FIELDS,
    MOST,
    is_uuid,
    ports_of,
    read_marker,
    read_ports,
    read_router_ports,
    read_trunks,
)
from mdproxy.model import Port
from tests.neutron_stub import HOST, NETWORK, PROJECT, Json, mac_of, port_json

#: A port as the API of Neutron 29.0.0 writes it.
SAMPLE = Path(__file__).parent / "data" / "neutron" / "ports.json"
MAC = "fa:16:3e:00:00:01"
OTHER_MAC = "fa:16:3e:00:00:99"

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def read(*entries: Any) -> tuple[list[Port], list[str]]:
    """
    Read entries of a page, and make ports of them.

    @return: The ports, and what is wrong with others.
    """
    found, problems = read_ports({"ports": list(entries)})
    ports, wrong = ports_of(found, {}, HOST, "neutron")
    return ports, [*problems, *wrong]


def pair(address: Any, mac: Any = MAC) -> Json:
    """
    Write an allowed address pair.
    """
    return {"ip_address": address, "mac_address": mac}


class ReadPortsTests(SynchronousTestCase):
    """
    Tests for L{read_ports} and L{ports_of}.
    """

    def test_sample(self) -> None:
        """
        A port is read as Neutron writes it.
        """
        [port], problems = read(*json.loads(SAMPLE.read_text())["ports"])
        self.assertEqual(problems, [])
        self.assertEqual(
            port,
            Port(
                "023809de-4180-46a0-8779-f5a6fdd89a3d",
                "fa:16:3e:00:00:0a",
                "0000000a-314d-4594-b3a3-607e3f2354f8",
                PROJECT,
                frozenset({"10.0.0.10"}),
                frozenset({"10.0.0.200"}),
                inventory="neutron",
                port_id="47146142-d370-46cb-a3d8-6b036954af23",
            ),
        )

    def test_addresses(self) -> None:
        """
        All fixed addresses are the port's, in the form in which they are compared.
        """
        fixed = [
            {"ip_address": "10.0.0.5", "subnet_id": "s"},
            {"ip_address": "2001:DB8:0::5", "subnet_id": "t"},
        ]
        [port], _ = read(port_json(1, fixed_ips=fixed))
        self.assertEqual(port.addresses, {"10.0.0.5", "2001:db8::5"})

    def test_no_address(self) -> None:
        """
        A port without addresses has none; they are not unknown.
        """
        [port], _ = read(port_json(1, fixed_ips=[]))
        self.assertEqual(port.addresses, frozenset())

    def test_status(self) -> None:
        """
        Neutron says late that a port is active; it identifies before.
        """
        for status in ("ACTIVE", "DOWN", "BUILD", ...):
            self.assertEqual(len(read(port_json(1, status=status))[0]), 1)
        self.assertNotIn("status", FIELDS)

    def test_project_unchanged(self) -> None:
        """
        The project is passed on as it is written, by either name.
        """
        for project in (PROJECT, "28A490a0-f8b2-8800", "p"):
            for names in (
                {"project_id": project, "tenant_id": ...},
                {"project_id": ..., "tenant_id": project},
                {"project_id": project, "tenant_id": project},
            ):
                [port], _ = read(port_json(1, **names))
                self.assertEqual(port.project_id, project)

    def test_others_ports(self) -> None:
        """
        What belongs to no instance is no instance's port, and no trouble.
        """
        for changes in (
            {"device_owner": "network:dhcp"},
            {"device_owner": "network:router_interface"},
            {"device_owner": "baremetal:none"},
            {"device_owner": ""},
            {"device_owner": "compute"},
            {"device_owner": "xcompute:nova"},
            {"device_owner": "trunk:subport"},
            {"device_id": ""},
        ):
            self.assertEqual(read(port_json(1, **changes)), ([], []))

    def test_pairs(self) -> None:
        """
        Of allowed address pairs those with the port's own MAC and one address count.
        """
        pairs = [
            pair("10.0.0.200"),
            pair("10.0.0.201/32", "FA-16-3E-00-00-01"),
            pair("2001:DB8::9/128"),
            pair("10.0.0.202", OTHER_MAC),
            pair("10.0.1.0/24"),
            pair("::/0"),
        ]
        page = {"ports": [port_json(1, allowed_address_pairs=pairs)]}
        found, _ = read_ports(page)
        entry = found[0]
        self.assertEqual(entry.pairs, {"10.0.0.200", "10.0.0.201", "2001:db8::9"})
        self.assertEqual(entry.wide_pairs, 2)
        [port], _ = ports_of(found, {}, HOST, "neutron")
        self.assertEqual(port.pairs, entry.pairs)

    def test_device(self) -> None:
        """
        The host's end is known where the port is plugged in here, by a device that is
        called after it.
        """
        tap = "tap00000001-b0"
        for changes, device in (
            ({}, tap),
            ({"binding__vif_type": "bridge"}, tap),
            ({"binding__vif_type": "vhostuser"}, None),
            ({"binding__vif_type": ...}, None),
            ({"binding__host_id": "compute-2"}, None),
            ({"binding__host_id": ...}, None),
            ({"binding__host_id": 7}, None),
        ):
            [port], _ = read(port_json(1, **changes))
            self.assertEqual(port.device, device)

    def test_bad_ports(self) -> None:
        """
        A bad port costs itself alone, and is told of without what it says.
        """
        injected = "x\r\nX-Tenant-ID: evil"
        bads: list[Any] = [
            None,
            7,
            [],
            {},
            port_json(2, id=...),
            port_json(2, id="../../etc"),
            port_json(2, network_id=["a"]),
            port_json(2, network_id="red"),
            port_json(2, mac_address="fa:16"),
            port_json(2, mac_address=None),
            port_json(2, device_id=injected),
            port_json(2, device_id={}),
            port_json(2, device_owner=None),
            port_json(2, project_id=injected, tenant_id=injected),
            port_json(2, project_id=..., tenant_id=...),
            port_json(2, project_id="a", tenant_id="b"),
            port_json(2, project_id=["a"], tenant_id=...),
            port_json(2, fixed_ips=...),
            port_json(2, fixed_ips={}),
            port_json(2, fixed_ips=[7]),
            port_json(2, fixed_ips=[{"ip_address": "10.0.0.256"}]),
            port_json(2, fixed_ips=[{"ip_address": 7}]),
            port_json(2, fixed_ips=[{"ip_address": "10.0.0.0/24"}]),
            port_json(2, allowed_address_pairs="a"),
            port_json(2, allowed_address_pairs=[pair("10.0.0.999", mac_of(2))]),
            port_json(2, allowed_address_pairs=[pair(None, mac_of(2))]),
            port_json(2, allowed_address_pairs=[pair("10.0.0.9", None)]),
        ]
        for bad in bads:
            ports, problems = read(port_json(1), bad, port_json(3))
            self.assertEqual([port.mac[-2:] for port in ports], ["01", "03"], bad)
            self.assertEqual(len(problems), 1, bad)
            self.assertNotIn("\n", problems[0])

    def test_no_list(self) -> None:
        """
        What is no list of ports is told of, and one that is too long.
        """
        values: list[Any] = [None, [], {}, {"ports": None}, {"ports": {}}, "ports"]
        for value in values:
            self.assertRaises(Garbled, read_ports, value)
        many = {"ports": [port_json(1)] * (MOST + 1)}
        self.assertRaises(Garbled, read_ports, many)

    @given(st.data())
    def test_garbage(self, data: st.DataObject) -> None:
        """
        Whatever stands in one attribute, the other ports are read, and nothing comes
        out that can't stand in a header.
        """
        name = data.draw(st.sampled_from(FIELDS))
        bad = {**port_json(2), name: data.draw(_JSON)}
        ports, problems = read(port_json(1), bad, port_json(3))
        whole = [port for port in ports if port.mac[-2:] in ("01", "03")]
        self.assertGreaterEqual(len(whole), 2)
        self.assertLessEqual(len(ports), 3)
        for text in (*(p.instance_id for p in ports), *problems):
            self.assertTrue(text.isprintable(), text)


class ReadMarkerTests(SynchronousTestCase):
    """
    Tests for L{read_marker}.
    """

    def page(self, *entries: Any, rel: str = "next") -> Json:
        """
        Write a page with a link.
        """
        link = {"rel": rel, "href": "http://elsewhere/v2.0/ports?marker=evil"}
        return {"ports": list(entries), "ports_links": [link]}

    def test_last(self) -> None:
        """
        A page without a link to a next one is the last.
        """
        for page in (
            {"ports": [port_json(1)]},
            {"ports": [port_json(1)], "ports_links": None},
            {"ports": [port_json(1)], "ports_links": [None, "next"]},
            self.page(port_json(1), rel="previous"),
        ):
            self.assertIsNone(read_marker(page, "ports"))

    def test_next(self) -> None:
        """
        The next one begins behind the last port, wherever the link leads.
        """
        page = self.page(port_json(1), port_json(2))
        self.assertEqual(read_marker(page, "ports"), port_json(2)["id"])

    def test_nowhere(self) -> None:
        """
        A next page that begins behind nothing can't be asked for.
        """
        for entries in ((), (None,), (port_json(1, id="x&limit=0"),)):
            self.assertRaises(Garbled, read_marker, self.page(*entries), "ports")


class TrunkTests(SynchronousTestCase):
    """
    Tests for trunks: L{read_trunks} and what L{ports_of} makes of subports.
    """

    def subport(self, **changes: Any) -> tuple[list[Port], list[str]]:
        """
        Read a subport (number 2) whose parent is a port (number 1).

        @param changes: What is different about the parent.
        """
        child = port_json(
            2,
            device_owner="trunk:subport",
            device_id="",
            project_id="p2",
            tenant_id=...,
        )
        found, _ = read_ports({"ports": [port_json(1, **changes), child]})
        parents = {found[1].port_id: found[0]}
        return ports_of(found[1:], parents, HOST, "neutron")

    def test_trunks(self) -> None:
        """
        A subport's parent is the port of its trunk.
        """
        trunks = [
            {"id": "t", "port_id": "a", "sub_ports": [{"port_id": "b"}]},
            {"id": "u", "port_id": "c", "sub_ports": [{"port_id": "d"}, None, {}]},
            {"id": "v", "port_id": "e", "sub_ports": []},
            {"id": "w", "port_id": None, "sub_ports": [{"port_id": "f"}]},
            {"id": "x", "port_id": "g", "sub_ports": None},
            None,
        ]
        self.assertEqual(read_trunks({"trunks": trunks}), {"b": "a", "d": "c"})

    def test_two_trunks(self) -> None:
        """
        A subport that is said to be of two trunks is of none.
        """
        trunks = [
            {"id": i, "port_id": i, "sub_ports": [{"port_id": "b"}]} for i in "tu"
        ]
        self.assertEqual(read_trunks({"trunks": trunks}), {})

    def test_subport(self) -> None:
        """
        A subport has its parent's instance and project, and addresses of its own
        (row 14).
        """
        [port], _ = self.subport()
        self.assertEqual(port.mac, "fa:16:3e:00:00:02")
        self.assertEqual(port.addresses, {"10.0.0.2"})
        self.assertEqual(port.instance_id, port_json(1)["device_id"])
        self.assertEqual(port.project_id, PROJECT)
        self.assertEqual(port.parent, port_json(1)["id"])
        self.assertIsNone(port.device)

    def test_parent_without_instance(self) -> None:
        """
        Where the parent is no instance's the subport isn't either.
        """
        for changes in ({"device_id": ""}, {"device_owner": "trunk:subport"}):
            self.assertEqual(self.subport(**changes), ([], []))


class RouterPortsTests(SynchronousTestCase):
    """
    Tests for L{read_router_ports}.
    """

    def test_router_ports(self) -> None:
        """
        A router's ports tell their networks; what a tenant can call so doesn't count.
        """
        page = {
            "ports": [
                port_json(1, device_owner="network:router_interface"),
                port_json(2, device_owner="network:ha_router_replicated_interface"),
                port_json(3, device_owner="compute:nova"),
                port_json(4, device_owner="network:router_interface", id="x"),
                port_json(5, device_owner=None),
                None,
            ]
        }
        found = {port_json(n)["id"]: NETWORK for n in (1, 2)}
        self.assertEqual(read_router_ports(page), found)


class UuidTests(SynchronousTestCase):
    """
    Tests for L{is_uuid}.
    """

    def test_uuids(self) -> None:
        """
        Neutron's ids are told from other names.
        """
        self.assertTrue(is_uuid(NETWORK))
        for text in ("", "br-tenant1", NETWORK + "\n", f"qrouter-{NETWORK}/qr-1"):
            self.assertFalse(is_uuid(text), text)
