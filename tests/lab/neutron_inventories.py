"""
Those who know the ports of a lab's VMs: a file, Neutron's API or OVN's database.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field

from tests.lab.machines import Machine
from tests.lab.ovn import Database, insert
from tests.lab.proxy import Proxy, Sections
from tests.lab.stage import Stage, wait_for
from tests.neutron_stub import HOST, PASSWORD, Json, port_json
from tests.southbound import (
    HERE,
    chassis_row,
    datapath_row,
    neutron_ids,
    port_row,
    uuid_of,
    wire_uuid,
)

NEUTRON_PORT = 9696
SOUTHBOUND_PORT = 6642
#: How long OVN's database is away when it is restarted, in seconds.
_AWAY = 1.0


class Inventory(Protocol):
    """
    Somebody who knows ports.

    @ivar options: How the proxy is to ask.
    """

    options: Sections

    def start(self) -> None:
        """
        Be there, and know nobody.
        """

    def tell(self, machines: Sequence[Machine]) -> None:
        """
        Know the ports of these VMs, and of nobody else.
        """


@define
class File:
    """
    The static inventory's file.
    """

    proxy: Proxy
    options: Sections = field(factory=dict, init=False)

    def start(self) -> None:
        """
        Provide L{Inventory.start}: the proxy's own first step.
        """

    def tell(self, machines: Sequence[Machine]) -> None:
        """
        Provide L{Inventory.tell}.
        """
        self.proxy.know(machines)


@define
class Neutron:
    """
    The stand-in for Keystone and Neutron.

    @ivar routers: The ports of routers, which are always there.
    """

    stage: Stage
    routers: Sequence[Json] = ()
    options: Sections = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Say how it is asked.
        """
        account = {
            "auth_url": f"http://127.0.0.1:{NEUTRON_PORT}/v3",
            "username": "mdproxy",
            "user_domain_name": "Default",
            "password": PASSWORD,
            "project_name": "service",
            "project_domain_name": "Default",
        }
        self.options = {
            "DEFAULT": {"inventories": "neutron", "host": HOST},
            "neutron": account,
        }

    @property
    def _file(self) -> Path:
        """
        Name the file with its ports.
        """
        return self.stage.directory / "neutron.json"

    def start(self) -> None:
        """
        Provide L{Inventory.start}.
        """
        self.tell(())
        program = ("-m", "tests.lab.neutron_server", str(self._file), str(NEUTRON_PORT))
        running = self.stage.start_python(self.stage.hypervisor, "neutron", *program)
        wait_for("Neutron", lambda: "running" in running.said(), 30)

    def tell(self, machines: Sequence[Machine]) -> None:
        """
        Provide L{Inventory.tell}.
        """
        ports = [*self.routers, *map(_port, machines)]
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps(ports))
        os.replace(draft, self._file)


def _port(machine: Machine) -> Json:
    """
    Write a VM's port as Neutron does.
    """
    return port_json(
        _number(machine),
        network_id=machine.network,
        mac_address=machine.mac,
        fixed_ips=[{"subnet_id": machine.network, "ip_address": machine.ipv4}],
        device_id=machine.instance,
        project_id=machine.project,
        tenant_id=machine.project,
    )


def router_port(number: int, router: str, network: str, address: str) -> Json:
    """
    Write a router's port, whose device is C{qr-} and the first eleven characters of the
    port's id.
    """
    return port_json(
        number,
        id=f"{number:08x}-0000-4000-8000-000000000000",
        network_id=network,
        mac_address=f"fa:16:3e:fe:00:{number:02x}",
        fixed_ips=[{"subnet_id": network, "ip_address": address}],
        device_id=router,
        device_owner="network:router_interface",
    )


def _number(machine: Machine) -> int:
    """
    Tell a VM's number, which is the end of its MAC.
    """
    return int(machine.mac.replace(":", "")[-4:], 16)


@define
class Ovn:
    """
    OVN's southbound database, by the real server.

    @ivar machines: The VMs whose ports are there from the start, bound nowhere.
    @ivar _bound: Those of whom it was told.
    @ivar _networks: The networks that are there.
    """

    stage: Stage
    machines: Sequence[Machine]
    options: Sections = field(init=False)
    _database: Database = field(init=False)
    _there: set[str] = field(factory=set, init=False)
    _networks: list[str] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Say how it is asked.
        """
        remote = f"ptcp:{SOUTHBOUND_PORT}:127.0.0.1"
        self._database = Database(self.stage, remotes=(remote,))
        self.options = {
            "DEFAULT": {"inventories": "ovn"},
            "ovn": {
                "ovn_sb_connection": f"tcp:127.0.0.1:{SOUTHBOUND_PORT}",
                "chassis": "here",
            },
        }

    def start(self) -> None:
        """
        Provide L{Inventory.start}.
        """
        self._database.start()
        networks = dict.fromkeys(machine.network for machine in self.machines)
        self._networks.extend(networks)
        operations = insert("Chassis", HERE, chassis_row("here"))
        for number, network in enumerate(networks, 1):
            row = datapath_row(network)
            operations += insert("Datapath_Binding", uuid_of(number, 2), row)
        for machine in self.machines:
            operations += self._insert(machine, None)
        self._write(*operations)

    def tell(self, machines: Sequence[Machine]) -> None:
        """
        Provide L{Inventory.tell}: bind their ports here.
        """
        told = {_uuid(machine): machine for machine in machines}
        operations: list[Any] = []
        for uuid in self._there - set(told):
            operations.append({"op": "delete", **_where(uuid)})
        self._there &= set(told)
        for uuid, machine in told.items():
            if uuid in self._there:
                change = {"row": {"chassis": wire_uuid(HERE)}}
                operations.append({"op": "update", **_where(uuid), **change})
            else:
                operations += self._insert(machine, HERE)
        self._write(*operations)

    def restart(self) -> None:
        """
        Be away for a while.
        """
        self._database.stop()
        time.sleep(_AWAY)
        self._database.start()

    def _insert(self, machine: Machine, chassis: str | None) -> list[Any]:
        """
        Write what inserts a port.
        """
        ids = neutron_ids(
            instance=machine.instance,
            addresses=machine.addresses,
            network=machine.network,
            project_id=machine.project,
        )
        uuid = _uuid(machine)
        self._there.add(uuid)
        datapath = uuid_of(self._networks.index(machine.network) + 1, 2)
        mac = f"{machine.mac} {machine.ipv4}"
        port_id = uuid_of(_number(machine), 4)
        row = port_row(port_id, mac, chassis, datapath, ids)
        return insert("Port_Binding", uuid, row)

    def _write(self, *operations: Any) -> None:
        """
        Carry out a transaction.
        """
        wire = self._database.wire()
        wire.transact("OVN_Southbound", *operations)
        wire.close()


def _uuid(machine: Machine) -> str:
    """
    Name the row of a VM's port.
    """
    return uuid_of(_number(machine), 3)


def _where(uuid: str) -> dict[str, Any]:
    """
    Say which port an operation is about.
    """
    return {"table": "Port_Binding", "where": [["_uuid", "==", ["uuid", uuid]]]}
