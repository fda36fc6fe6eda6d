"""
A host of Neutron's on which VMs boot, with a scripted Nova.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from attrs import define, evolve, field

from tests.lab.cloud import Nova, keys_of, user_data_of
from tests.lab.faults import Phase, Script
from tests.lab.haproxies import Haproxy, HaproxyHost
from tests.lab.machines import Machine
from tests.lab.neutron_host import ADDRESS
from tests.lab.neutron_inventories import router_port
from tests.lab.nova import SECRET
from tests.lab.proxy import NOVA_PORT
from tests.lab.stage import Namespace, wait_for
from tests.lab.world import METADATA_ADDRESS
from tests.neutron_stub import Json

#: How many networks with the same addresses there are.
NETWORKS = 2
_LOOPBACK = "127.0.0.1"


@define
class NeutronCloud(HaproxyHost):
    """
    The host.

    @ivar ends: The namespaces of the networks, or the router's.
    @ivar router_ports: The ports of the router, as Neutron's API has them.
    @ivar _switch_of: Where each network's VMs are plugged in.
    """

    ends: list[Namespace] = field(factory=list, init=False)
    router_ports: list[Json] = field(factory=list, init=False)
    _switch_of: dict[str, Namespace] = field(factory=dict, init=False)

    def know(self, hostname: str, network: str, address: str = ADDRESS) -> Machine:
        """
        Make up a VM with all that a VM can have.
        """
        machine = super().know(hostname, network, address)
        return self._amend(
            machine, keys=keys_of(hostname), user_data=user_data_of(hostname)
        )

    def add_vms(self, kind: str, count: int) -> list[Machine]:
        """
        Make VMs.

        @param kind: The kind of namespace that they ask in.
        """
        names = [f"vm-{number:02}" for number in range(1, count + 1)]
        if kind == "qrouter":
            self._add_routed(names)
        else:
            for number in range(NETWORKS):
                self._add_network(kind, names[number::NETWORKS])
            self._settle()
        return [self.machines[name] for name in names]

    def add_successor(self, machine: Machine) -> Machine:
        """
        Make a VM that is to have another's address, and is not plugged in yet.
        """
        name = f"{machine.hostname}-next"
        successor = self.know(name, machine.network, machine.ipv4)
        self._make_vm(successor)
        return successor

    def replace(self, old: Sequence[Machine], new: Sequence[Machine]) -> None:
        """
        Delete VMs, and plug others in.
        """
        for machine in old:
            self.remove(self.vms[machine.hostname])
        for machine in new:
            self._plug_in(machine, self._switch_of[machine.network])
        self._settle()

    def start_haproxies(self) -> None:
        """
        Start the haproxy of each network.
        """
        for end in self.ends:
            self.start_haproxy(Haproxy(end))

    def start_scripted_nova(self, phases: Sequence[Phase], vms: int, seed: int) -> Nova:
        """
        Start a Nova that knows all VMs there are.

        @param phases: What will be wrong with it.
        @param vms: How many VMs boot.
        @param seed: Decides which answers are reset.
        """
        instances = self.directory / "cloud.yaml"
        instances.write_text(yaml.safe_dump({"instances": [*self._described()]}))
        file = self.directory / "nova.record"
        script = Script(
            tuple(phases), vms, SECRET, _LOOPBACK, NOVA_PORT, _LOOPBACK, seed
        )
        program = ("-m", "tests.lab.scripted_nova", str(instances))
        arguments = (*program, script.dump(), str(file))
        running = self.start_python(self.hypervisor, "nova", *arguments)
        wait_for(f"nova: {running.log}", lambda: "running" in running.said(), 30)
        return Nova(running, file)

    def _add_network(self, kind: str, names: Sequence[str]) -> None:
        """
        Make a network with VMs on it.
        """
        end = self.add_segment(kind, *names)
        self.ends.append(end)
        switch = Namespace(f"{self._prefix}sw{self._switches}")
        self._switch_of[self.machines[names[0]].network] = switch

    def _add_routed(self, names: Sequence[str]) -> None:
        """
        Make a router, and behind it a network for each VM.
        """
        end = self.add_router(*names)
        self.ends.append(end)
        router = end.name.partition("-")[2]
        for number, name in enumerate(names, 1):
            address = f"10.1.{number}.1"
            network = self.network_id(0x2000 + number)
            self._amend(self.machines[name], network=network)
            self.router_ports.append(router_port(number, router, network, address))
            # Nothing else is beyond the router: without this, looking up names, which
            # cloud-init does, would take its time.
            vm = self.vms[name]
            vm.ip("route", "del", "default")
            vm.ip("route", "add", METADATA_ADDRESS, "via", address)

    def _amend(self, machine: Machine, **changes: Any) -> Machine:
        """
        Describe a VM otherwise.
        """
        amended = evolve(machine, **changes)
        self.machines[machine.hostname] = amended
        return amended

    def _settle(self) -> None:
        """
        Wait until every switch passes on what comes in.
        """

        def is_settled(switch: Namespace) -> bool:
            lines = switch.run("bridge", "link").stdout.splitlines()
            return all(b"state forwarding" in line for line in lines)

        for switch in self._switch_of.values():
            wait_for("bridge", lambda: is_settled(switch))  # noqa: B023
