"""
Tests for L{mdproxy.inventory.neutron} with the real Keystone and the real Neutron.

It is what says that the stub of the other tests (L{tests.neutron_stub}) tells the
truth.
"""

from __future__ import annotations

import atexit
from functools import cache
from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from mdproxy.interfaces import SourceState
from mdproxy.inventory import neutron_questions
from mdproxy.inventory.neutron import NeutronInventory, neutron_inventory
from mdproxy.inventory.neutron_ports import FIELDS
from mdproxy.lookup.books import NetworkBook, PortBook
from mdproxy.model import Port
from tests.neutron_stub import config_of, mac_of, port_json
from tests.openstack.cloud import PASSWORD, Cloud

reactor: Any = _reactor
PROJECT = "28a490a0f8b28800181ce490a74df8d2"
HOST = "compute-1"


@cache
def the_cloud() -> Cloud:
    """
    Start Keystone and Neutron, once for all tests.
    """
    cloud = Cloud.start()
    atexit.register(cloud.stop)
    return cloud


class NeutronApiTests(TestCase):
    """
    Tests for L{NeutronInventory} with a Neutron that has a few ports.
    """

    timeout = 300

    def setUp(self) -> None:
        """
        Have a network of one's own.
        """
        self.cloud = the_cloud()
        network = self.cloud.make("network", project_id=PROJECT)
        self.network = network["id"]
        url = f"/v2.0/networks/{self.network}"
        self.addCleanup(self.cloud.call, "DELETE", url)
        self.cloud.make(
            "subnet",
            network_id=self.network,
            ip_version=4,
            cidr="10.0.0.0/16",
            project_id=PROJECT,
        )

    def port(self, number: int, **changes: Any) -> Any:
        """
        Have Neutron make a port, and delete it afterwards.
        """
        attributes = {
            "network_id": self.network,
            "project_id": PROJECT,
            "mac_address": mac_of(number),
            "fixed_ips": [{"ip_address": f"10.0.{number // 256}.{number % 256}"}],
            "device_id": port_json(number)["device_id"],
            "device_owner": "compute:nova",
            "binding__host_id": HOST,
            **changes,
        }
        port = self.cloud.make("port", **attributes)
        self.addCleanup(self.cloud.call, "DELETE", f"/v2.0/ports/{port['id']}")
        return port

    def start(self, **changes: Any) -> NeutronInventory:
        """
        Start an inventory.
        """
        self.book, self.networks = PortBook(), NetworkBook()
        account = {
            "auth_url": self.cloud.keystone,
            "password": PASSWORD,
            "timeout": 60.0,
        }
        config = config_of(**{**account, **changes})
        inventory = neutron_inventory(
            reactor, self.book, self.networks, config, Random(7)
        )
        inventory.startService()
        self.addCleanup(inventory.stopService)
        return inventory

    async def started(self, **changes: Any) -> NeutronInventory:
        """
        Start an inventory, and wait for the first answer.
        """
        inventory = self.start(**changes)
        while inventory.state is SourceState.STARTING:
            await deferLater(reactor, 0.05)
        return inventory

    def found(self, number: int) -> Port:
        """
        Take a number's port out of the book.
        """
        [port] = self.book.by_mac(self.network, mac_of(number))
        return port

    def moved(self, port: Any, instance_id: str) -> None:
        """
        Give a port to another instance.
        """
        body = {"port": {"device_id": instance_id}}
        self.cloud.call("PUT", f"/v2.0/ports/{port['id']}", body)

    async def test_host(self) -> None:
        """
        The host's ports are known from the start, as they were made; those of other
        hosts and of others than instances are not.
        """
        pairs = [
            {"ip_address": "10.0.0.200"},
            {"ip_address": "10.9.0.0/24"},
            {"ip_address": "10.0.0.201", "mac_address": mac_of(9)},
        ]
        made = self.port(1, allowed_address_pairs=pairs)
        self.port(2, binding__host_id="compute-2")
        self.port(3, device_owner="network:dhcp")
        inventory = await self.started()
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.assertIsNone(inventory.describe()["problem"])
        self.assertEqual(len(self.book), 1)
        expected = Port(
            self.network,
            mac_of(1),
            made["device_id"],
            PROJECT,
            frozenset({"10.0.0.1"}),
            frozenset({"10.0.0.200"}),
            "neutron",
            made["id"],
        )
        self.assertEqual(self.found(1), expected)
        self.assertEqual(inventory.describe()["wide_pairs"], 1)

    async def test_stub(self) -> None:
        """
        A port of the stub's has no attribute that Neutron's don't have.
        """
        made = self.port(1)
        self.assertLessEqual(set(port_json(1)), set(made))
        self.assertLessEqual(set(FIELDS), set(made))

    async def test_on_demand(self) -> None:
        """
        A port of another host is found by its MAC, followed to another instance, and
        gone when it is deleted.
        """
        inventory = await self.started()
        made = self.port(1, binding__host_id="compute-2")
        await inventory.refresh(self.network, mac_of(1))
        self.assertEqual(self.found(1).instance_id, made["device_id"])
        another = port_json(5)["device_id"]
        self.moved(made, another)
        await inventory.refresh(self.network, mac_of(1))
        self.assertEqual(self.found(1).instance_id, another)
        self.moved(made, "")
        await inventory.refresh(self.network, mac_of(1))
        self.assertEqual(len(self.book), 0)

    async def test_many(self) -> None:
        """
        As many MACs as fit into one question are taken, colons and all.
        """
        numbers = range(1000, 1600)
        for number in (1000, 1100, 1599):
            self.port(number, binding__host_id="compute-2")
        inventory = await self.started()
        before = inventory.describe()["queries"]
        waiting = [inventory.refresh(self.network, mac_of(n)) for n in numbers]
        for done in waiting:
            await done
        self.assertEqual(len(self.book), 3)
        self.assertEqual(inventory.describe()["queries"] - before, 3)
        self.assertEqual(inventory.describe()["failures"], {})

    async def test_pages(self) -> None:
        """
        A list in pages is read to its end.
        """
        self.patch(neutron_questions, "_PAGE", 2)
        for number in range(1, 6):
            self.port(number)
        inventory = await self.started()
        self.assertEqual(len(self.book), 5)
        self.assertEqual(inventory.describe()["queries"], 3)

    async def test_subport(self) -> None:
        """
        A trunk's subport is its parent's instance's.
        """
        loose = {"device_id": "", "device_owner": "", "binding__host_id": ""}
        parent, child = self.port(1, **loose), self.port(2, **loose)
        subport = {
            "port_id": child["id"],
            "segmentation_type": "vlan",
            "segmentation_id": 7,
        }
        trunk = self.cloud.make(
            "trunk", port_id=parent["id"], project_id=PROJECT, sub_ports=[subport]
        )
        self.addCleanup(self.cloud.call, "DELETE", f"/v2.0/trunks/{trunk['id']}")
        url = f"/v2.0/ports/{parent['id']}"
        instance = port_json(1)["device_id"]
        owner = {"device_id": instance, "device_owner": "compute:nova"}
        self.cloud.call("PUT", url, {"port": owner})
        self.addCleanup(self.cloud.call, "PUT", url, {"port": dict.fromkeys(owner, "")})
        # What the trunk's driver does when the parent is plugged in.
        self.cloud.call(
            "PUT",
            f"/v2.0/ports/{child['id']}",
            {"port": {"device_owner": "trunk:subport", "binding:host_id": HOST}},
        )
        inventory = await self.started()
        await inventory.refresh(self.network, mac_of(2))
        port = self.found(2)
        self.assertEqual(port.instance_id, instance)
        self.assertEqual(port.parent, parent["id"])
        self.assertEqual(port.addresses, {"10.0.0.2"})

    async def test_router(self) -> None:
        """
        The device of a router's port tells its network.
        """
        router = self.cloud.make("router", name="r", project_id=PROJECT)
        url = f"/v2.0/routers/{router['id']}"
        self.addCleanup(self.cloud.call, "DELETE", url)
        port = self.cloud.make("port", network_id=self.network, project_id=PROJECT)
        interface = {"port_id": port["id"]}
        self.cloud.call("PUT", f"{url}/add_router_interface", interface)
        self.addCleanup(
            self.cloud.call, "PUT", f"{url}/remove_router_interface", interface
        )
        self.port(1, binding__host_id="compute-2")
        inventory = await self.started()
        link = f"qrouter-{router['id']}/qr-{port['id'][:11]}"
        self.networks.attach_port(link, port["id"][:11])
        await inventory.refresh(link, mac_of(1))
        self.assertEqual(self.networks.name_of(link), self.network)
        self.assertEqual(self.found(1).instance_id, port_json(1)["device_id"])

    async def test_revoked(self) -> None:
        """
        When our token is revoked we get another, and no question is lost.
        """
        inventory = await self.started()
        session: Any = inventory._session
        self.cloud.revoke(session._token.value)
        made = self.port(1, binding__host_id="compute-2")
        await inventory.refresh(self.network, mac_of(1))
        self.assertEqual(self.found(1).instance_id, made["device_id"])
        self.assertEqual(inventory.describe()["tokens"], 2)

    async def test_application_credential(self) -> None:
        """
        An application credential, by its id or by its name, opens the door.
        """
        keystone = self.cloud.keystone
        user = self.cloud.call("GET", f"{keystone}/users?name=mdproxy")["users"][0]
        url = f"{keystone}/users/{user['id']}/application_credentials"
        credential = {"name": "proxy", "secret": "of-the-application"}
        body = {"application_credential": credential}
        made = self.cloud.call("POST", url, body)["application_credential"]
        self.addCleanup(self.cloud.call, "DELETE", f"{url}/{made['id']}")
        self.port(1)
        for who in (
            {"application_credential_id": made["id"]},
            {"application_credential_name": "proxy"},
        ):
            inventory = await self.started(
                auth_type="v3applicationcredential",
                password="",
                application_credential_secret=credential["secret"],
                **who,
            )
            self.assertEqual(inventory.state, SourceState.LIVE)
            self.assertEqual(len(self.book), 1)

    def account(self, role: str) -> dict[str, str]:
        """
        Have Keystone make a user with a role in the project C{service}.

        @return: How to be that user.
        """
        keystone, name = self.cloud.keystone, f"with-role-{role}"
        user = {"name": name, "password": "w4tcher", "domain_id": "default"}
        made = self.cloud.call("POST", f"{keystone}/users", {"user": user})["user"]
        self.addCleanup(self.cloud.call, "DELETE", f"{keystone}/users/{made['id']}")
        project = self.cloud.call("GET", f"{keystone}/projects?name=service")
        roles = self.cloud.call("GET", f"{keystone}/roles?name={role}")["roles"]
        place = f"{keystone}/projects/{project['projects'][0]['id']}"
        self.cloud.call("PUT", f"{place}/users/{made['id']}/roles/{roles[0]['id']}")
        return {"username": name, "password": user["password"]}

    async def test_role_service(self) -> None:
        """
        The role C{service} is enough to see where ports are plugged in.
        """
        self.port(1)
        inventory = await self.started(**self.account("service"))
        self.assertEqual(inventory.state, SourceState.LIVE)
        self.assertIsNone(inventory.describe()["problem"])
        self.assertEqual(len(self.book), 1)

    async def test_role_reader(self) -> None:
        """
        A mere reader sees nobody's ports, which is told.
        """
        self.port(1)
        inventory = await self.started(**self.account("reader"))
        self.assertIn("neither the role", inventory.describe()["problem"])
        await inventory.refresh(self.network, mac_of(1))
        self.assertEqual(len(self.book), 0)

    async def test_wrong_password(self) -> None:
        """
        Who has the wrong password is told so.
        """
        inventory = await self.started(password="wrong")
        self.assertEqual(inventory.state, SourceState.FAILED)
        self.assertEqual(
            inventory.describe()["problem"],
            "Keystone does not accept who we say we are",
        )
        self.assertEqual(inventory.describe()["failures"], {"credentials": 1})

    async def test_region(self) -> None:
        """
        A region that has no Neutron is told of.
        """
        inventory = await self.started(region_name="RegionNine")
        self.assertEqual(inventory.state, SourceState.FAILED)
        self.assertEqual(inventory.describe()["failures"], {"no-endpoint": 1})
