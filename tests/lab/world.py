"""
A hypervisor and its VMs, in network namespaces of their own.

One hypervisor namespace has two bridges whose networks use the same addresses; each
VM is a namespace with a veth into its bridge and gets its address from a real DHCP
client, which asks the real dnsmasq of its bridge.  Nothing here touches the machine's
own network, and all that was made is taken down again: processes by their ids,
namespaces by their names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from unittest import SkipTest

from attrs import define, field

from tests.lab.machines import Machine
from tests.lab.stage import LabError, Namespace, Running, Stage, run, wait_for

#: Where instances look for their metadata.
METADATA_ADDRESS = "169.254.169.254"
METADATA_ADDRESS6 = "fe80::a9fe:a9fe"
#: The hypervisor's address on every tenant network: they overlap.
GATEWAY = "10.0.0.1"
#: The tools and the Debian packages they are in.
TOOLS = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "dnsmasq": "dnsmasq-base",
    "udhcpc": "udhcpc",
    "curl": "curl",
}

#: The two ways operators tell VMs the way to the metadata address (DHCP option 121):
#: Neutron names a next hop, others say that it is on the link.  There is no default
#: route, so that looking up names, which cloud-init does, fails at once.
ROUTES = (f"{METADATA_ADDRESS}/32,{GATEWAY}", f"{METADATA_ADDRESS}/32,0.0.0.0")

#: What the DHCP client calls when it has a lease.  Debian's own script would write
#: /etc/resolv.conf, which all namespaces share.
_BOUND = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr replace "$ip/$mask" dev "$interface" || exit 1
set -- $staticroutes
while [ $# -ge 2 ]; do
    if [ "$2" = 0.0.0.0 ]; then
        ip route replace "$1" dev "$interface" || exit 1
    else
        ip route replace "$1" via "$2" dev "$interface" || exit 1
    fi
    shift 2
done
"""


def missing() -> list[str]:
    """
    Tell what keeps the lab from running on this machine.

    @return: Sentences; empty where it can run.
    """
    reasons = [
        f"{tool} is not installed (Debian package {package})"
        for tool, package in TOOLS.items()
        if shutil.which(tool) is None
    ]
    if os.geteuid() != 0:
        reasons.insert(0, "the lab makes network namespaces, which needs root")
    return reasons


def require() -> None:
    """
    Skip the test where the lab can't run; fail on CI, where nothing may be skipped.
    """
    reasons = missing()
    if not reasons:
        return
    if os.environ.get("CI") == "true":
        raise LabError("; ".join(reasons))
    raise SkipTest("; ".join(reasons))


@define
class World(Stage):
    """
    The hypervisor, its bridges and its VMs, from C{with} to the end of the block.

    @ivar machines: The VMs to start.
    @ivar vms: Each VM's namespace, by host name.
    @ivar networks: The bridges that exist, in the order they were made.
    """

    machines: tuple[Machine, ...]
    vms: dict[str, Namespace] = field(factory=dict, init=False)
    networks: list[str] = field(factory=list, init=False)

    def furnish(self) -> None:
        """
        Make the hypervisor and its networks, and wait until every VM has its address.
        """
        self.hypervisor = self._namespace("hv")
        # Strict filtering would drop one of two overlapping networks.
        for device in ("all", "default"):
            self.hypervisor.sysctl(f"ipv4/conf/{device}/rp_filter", 2)
        for network in dict.fromkeys(m.network for m in self.machines):
            self.add_network(network)
        self.boot(self.machines)

    def add_network(self, network: str) -> None:
        """
        Make a bridge with the metadata addresses and a DHCP server on it.

        @param network: The bridge's name.
        """
        ip = self.hypervisor.ip
        index = len(self.networks) + 1
        # An address of its own, or the bridge changes it with every port.
        mac = f"fe:16:3e:00:ff:{index:02x}"
        ip("link", "add", network, "address", mac, "type", "bridge")
        ip("link", "set", network, "up")
        ip("addr", "add", f"{GATEWAY}/24", "dev", network)
        self.add_metadata_address(network)
        self.networks.append(network)
        self._serve_dhcp(network, ROUTES[index % len(ROUTES)])

    def add_metadata_address(self, network: str) -> None:
        """
        Give a bridge the addresses at which instances look for their metadata.
        """
        ip = self.hypervisor.ip
        ip("addr", "add", f"{METADATA_ADDRESS}/32", "dev", network, "scope", "link")
        ip("addr", "add", f"{METADATA_ADDRESS6}/64", "dev", network, "nodad")

    def tap(self, machine: Machine) -> str:
        """
        Name a VM's device on the hypervisor.
        """
        return f"tap{machine.mac.replace(':', '')[-11:]}"

    def mac_of(self, network: str) -> str:
        """
        Look up the MAC address of a bridge.
        """
        path = f"/sys/class/net/{network}/address"
        return self.hypervisor.run("cat", path).stdout.decode().strip()

    def boot(self, machines: Iterable[Machine]) -> None:
        """
        Plug VMs into their bridges and let each of them get its lease.
        """
        clients = []
        for machine in machines:
            clients.append((machine, self._plug(machine)))
        for machine, client in clients:
            if client.process.wait(30) != 0:
                raise LabError(f"{machine.hostname} got no lease: {client.said()}")
            wait_for(
                f"lease of {machine.hostname}",
                lambda: machine.mac in self.leases(machine.network).read_text(),  # noqa: B023
            )

    def pin(self, network: str) -> None:
        """
        Have a bridge send frames only where each MAC was plugged in.

        As on most clouds: a VM that sends with another's MAC doesn't draw that
        machine's frames to itself.
        """
        for machine in self.machines:
            if machine.network != network:
                continue
            tap = self.tap(machine)
            self.hypervisor.run(
                "bridge", "link", "set", "dev", tap, "learning", "off", "flood", "off"
            )
            entry = ("fdb", "replace", machine.mac, "dev", tap, "master", "static")
            self.hypervisor.run("bridge", *entry)

    def _namespace(self, name: str) -> Namespace:
        """
        Make a namespace that goes with the world.
        """
        namespace = Namespace(self._prefix + name)
        run(["ip", "netns", "add", namespace.name])
        self._cleanup.callback(run, ["ip", "netns", "del", namespace.name])
        namespace.ip("link", "set", "lo", "up")
        return namespace

    def _serve_dhcp(self, network: str, routes: str) -> None:
        """
        Start the DHCP server of a network: it knows its machines and nobody else.
        """
        hosts = self.directory / f"{network}.hosts"
        hosts.write_text(
            "".join(
                f"{m.mac},{m.ipv4},{m.hostname}\n"
                for m in self.machines
                if m.network == network
            )
        )
        self.leases(network).touch()
        self.start(
            self.hypervisor,
            f"dnsmasq-{network}",
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
            "--port=0",
            "--log-facility=-",
            "--bind-dynamic",
            f"--interface={network}",
            "--except-interface=lo",
            "--pid-file=",
            "--no-hosts",
            "--no-resolv",
            "--no-ping",
            "--dhcp-authoritative",
            "--dhcp-range=10.0.0.0,static,12h",
            f"--dhcp-hostsfile={hosts}",
            f"--dhcp-leasefile={self.leases(network)}",
            f"--dhcp-option=121,{routes}",
        )

    def _plug(self, machine: Machine) -> Running:
        """
        Make a VM, plug it in and start its DHCP client.
        """
        vm = self.vms[machine.hostname] = self._namespace(machine.hostname)
        # Nobody else has its link-local address, so there is no need to wait for DAD.
        vm.sysctl("ipv6/conf/default/accept_dad", 0)
        tap = self.tap(machine)
        link = ("type", "veth", "peer", "name", "eth0", "address", machine.mac)
        self.hypervisor.ip("link", "add", tap, *link, "netns", vm.name)
        self.hypervisor.ip("link", "set", tap, "master", machine.network, "up")
        vm.ip("link", "set", "eth0", "up")
        script = self.directory / "bound.sh"
        if not script.exists():
            script.write_text(_BOUND)
            script.chmod(0o755)
        options = ("-f", "-q", "-n", "-t", "20", "-T", "1", "-O", "staticroutes")
        name = ("-x", f"hostname:{machine.hostname}")
        client = ("udhcpc", "-i", "eth0", *options, *name, "-s", str(script))
        return self.start(vm, f"udhcpc-{machine.hostname}", *client)
