"""
A host of Neutron's: every network has a namespace, which the proxy listens in.

As L{tests.lab.world}, with the bridges in the hypervisor, but the host's end of each
network is a device in C{qdhcp-ID}.  VMs have their addresses from the start, there is
no DHCP server.  Names of namespaces carry this process's id, so that labs that run at
the same time don't see each other's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import IPv6Address

from attrs import define, evolve, field

from tests.lab.machines import Machine
from tests.lab.proxy import Proxy, Sections
from tests.lab.stage import Namespace, run, wait_for
from tests.lab.world import GATEWAY, METADATA_ADDRESS, METADATA_ADDRESS6, World

#: The second address of every VM is in this network, which they all share.
GLOBAL = "2001:db8::"
GLOBAL_GATEWAY = f"{GLOBAL}1"


def link_local(mac: str) -> str:
    """
    Derive the address that a MAC gives itself (RFC 4291, appendix A).
    """
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    identifier = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def on_network(machine: Machine, network: str) -> Machine:
    """
    Put a VM of the lab onto one of Neutron's networks.

    @return: The same VM, with an IPv6 address beside the other.
    """
    ending = machine.ipv4.rpartition(".")[2]
    addresses = (machine.ipv4, f"{GLOBAL}{ending}")
    return evolve(machine, network=network, addresses=addresses)


@define
class Tenants(World):
    """
    The hypervisor, a namespace for each network, and the VMs.

    @ivar ends: The namespaces of the networks, by the network's id.
    """

    ends: dict[str, Namespace] = field(factory=dict, init=False)

    @staticmethod
    def network_id(number: int) -> str:
        """
        Name a network as Neutron does, so that nobody else has it.
        """
        return f"{os.getpid():08x}-{number:04x}-4000-8000-000000000000"

    @property
    def pattern(self) -> str:
        """
        Tell which namespaces are this lab's.
        """
        return f"qdhcp-{os.getpid():08x}-*"

    def bridge(self, network: str) -> str:
        """
        Name the bridge of a network, which shows its number.
        """
        return f"brq{network[8:13]}"

    def end(self, network: str) -> str:
        """
        Name the host's device on a network.
        """
        return f"tap{network[:11]}"

    def tap(self, machine: Machine) -> str:
        """
        Name a VM's device on the hypervisor; VMs on different networks may well have
        the same MAC.
        """
        return f"t{machine.network[9:13]}{machine.mac.replace(':', '')[-8:]}"

    def mac_of(self, network: str) -> str:
        """
        Look up the MAC address of the host's device on a network.
        """
        path = f"/sys/class/net/{self.end(network)}/address"
        return self.ends[network].run("cat", path).stdout.decode().strip()

    def add_network(self, network: str) -> None:
        """
        Make a bridge, and the namespace with the host's end of the network.
        """
        bridge = self.bridge(network)
        self.hypervisor.ip("link", "add", bridge, "type", "bridge")
        self.hypervisor.ip("link", "set", bridge, "up")
        end = self.ends[network] = Namespace(f"qdhcp-{network}")
        run(["ip", "netns", "add", end.name])
        self._cleanup.callback(run, ["ip", "netns", "del", end.name])
        end.ip("link", "set", "lo", "up")
        port = f"p{network[8:13]}"
        link = ("type", "veth", "peer", "name", self.end(network), "netns", end.name)
        self.hypervisor.ip("link", "add", port, *link)
        self.hypervisor.ip("link", "set", port, "master", bridge, "up")
        device = ("dev", self.end(network))
        end.ip("link", "set", *device, "up")
        end.ip("addr", "add", f"{GATEWAY}/24", *device)
        end.ip("addr", "add", f"{METADATA_ADDRESS}/32", *device, "scope", "link")
        for address in (METADATA_ADDRESS6, GLOBAL_GATEWAY):
            end.ip("addr", "add", f"{address}/64", *device, "nodad")
        self.networks.append(network)

    def boot(self, machines: Iterable[Machine]) -> None:
        """
        Plug VMs into their bridges and give them their addresses.
        """
        for machine in machines:
            vm = self.vms[machine.hostname] = self._namespace(machine.hostname)
            vm.sysctl("ipv6/conf/default/accept_dad", 0)
            tap, bridge = self.tap(machine), self.bridge(machine.network)
            link = ("type", "veth", "peer", "name", "eth0", "address", machine.mac)
            self.hypervisor.ip("link", "add", tap, *link, "netns", vm.name)
            self.hypervisor.ip("link", "set", tap, "master", bridge, "up")
            vm.ip("link", "set", "eth0", "up")
            for address in machine.addresses:
                length = 64 if ":" in address else 24
                vm.ip("addr", "add", f"{address}/{length}", "dev", "eth0")
            vm.ip("route", "add", METADATA_ADDRESS, "dev", "eth0")

    def settle(self) -> None:
        """
        Wait until every bridge passes on what comes in.
        """
        count = len(self.networks) + len(self.vms)
        wait_for(
            "bridges",
            lambda: (
                self.hypervisor.run("bridge", "link").stdout.count(b"forwarding")
                == count
            ),
        )


def neutron_proxy(
    world: Tenants, known: Iterable[Machine], options: Sections | None = None
) -> Proxy:
    """
    Prepare the proxy as it is on a host of Neutron's.

    @param options: More sections of its configuration.
    """
    listener = {"kind": "namespaces", "namespaces": world.pattern}
    return Proxy(
        world,
        known=known,
        networks=(),
        options={"listener:neutron": listener, **(options or {})},
    )
