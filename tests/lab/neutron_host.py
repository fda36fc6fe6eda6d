"""
A host with the namespaces that Neutron's agents make, and one VM behind each device.

A VM's device is a veth straight into the namespace, so that it vanishes when that is
really gone.  Names carry this process's id and a number, so that labs that run at the
same time don't see each other's namespaces.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from collections.abc import Iterable
from fcntl import ioctl
from itertools import count
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, inet_aton, socket
from struct import pack
from unittest import SkipTest
from uuid import NAMESPACE_DNS, uuid5

import yaml
from attrs import define, field

from mdproxy.broker import in_namespace, open_home
from mdproxy.openers import identity_of
from tests.lab.machines import Machine
from tests.lab.nova import SECRET
from tests.lab.proxy import NOVA_PORT, write_private
from tests.lab.stage import LabError, Namespace, Running, Stage, run, wait_for
from tests.lab.world import METADATA_ADDRESS, METADATA_ADDRESS6, require

#: The tools beside those of every lab, and the Debian packages they are in.
TOOLS = {
    "iptables": "iptables",
    "ip6tables": "iptables",
    "haproxy": "haproxy",
    "setpriv": "util-linux",
    "prlimit": "util-linux",
}
#: The port to which the L3 agent redirects (neutron/conf/agent/l3/config.py).
ROUTER_PORT = 9697
#: Every VM behind a C{qdhcp-} or C{ovnmeta-} namespace has the same address.
ADDRESS = "10.0.0.5"
HOST_ADDRESS = "10.0.0.2"

#: linux/sockios.h and linux/if.h.
_SIOCSIFADDR, _SIOCSIFFLAGS, _IFF_UP = 0x8916, 0x8914, 1

_serial = count(1)

#: What the L3 agent puts into a router's namespace, for both families
#: (neutron/agent/metadata/driver.py, C{metadata_filter_rules} and
#: C{metadata_nat_rules}; neutron/agent/l3/router_info.py,
#: C{mark_metadata_for_internal_interfaces}).
_ROUTER_RULES = (
    "-t mangle -A PREROUTING -d {address} -i qr-+ -p tcp -m tcp --dport 80"
    " -j MARK --set-xmark 0x1/0xffff",
    "-t nat -A PREROUTING -d {address} -i qr-+ -p tcp -m tcp --dport 80"
    " -j REDIRECT --to-ports {port}",
    "-t filter -A INPUT -m mark --mark 0x1/0xffff -j ACCEPT",
    "-t filter -A INPUT -p tcp -m tcp --dport {port} -j DROP",
)


def require_neutron() -> None:
    """
    Skip the test where this lab can't run; fail on CI, where nothing may be skipped.
    """
    require()
    for tool, package in TOOLS.items():
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            reason = f"{tool} is not installed (Debian package {package})"
            if os.environ.get("CI") == "true":
                raise LabError(reason)
            raise SkipTest(reason)


@define
class NeutronHost(Stage):
    """
    The hypervisor, whose own namespace has nothing but loopback, and Neutron's.

    @ivar machines: Every VM that was made, by host name.
    @ivar vms: Its namespace.
    @ivar mark: What all network and router ids here begin with.
    """

    machines: dict[str, Machine] = field(factory=dict, init=False)
    vms: dict[str, Namespace] = field(factory=dict, init=False)
    mark: str = field(init=False)
    _made: set[str] = field(factory=set, init=False)

    def furnish(self) -> None:
        """
        Make the hypervisor.
        """
        # Whoever the proxy becomes must be able to read its files.
        self.directory.chmod(0o755)
        self.mark = f"{os.getpid():08x}-{next(_serial):04x}"
        self.hypervisor = Namespace(self._prefix + "hv")
        self.make(self.hypervisor)
        self._cleanup.callback(self._remove_all)
        self.hypervisor.ip("link", "set", "lo", "up")

    @property
    def patterns(self) -> str:
        """
        Tell which namespaces are this host's.
        """
        kinds = ("qdhcp", "qrouter", "ovnmeta")
        return ", ".join(f"{kind}-{self.mark}-*" for kind in kinds)

    def network_id(self, number: int) -> str:
        """
        Make up a network's or router's id.
        """
        return f"{self.mark}-4000-8000-{number:012x}"

    def make(self, namespace: Namespace) -> None:
        """
        Make a namespace, as C{ip netns} does; it goes with the host at the latest.
        """
        run(["ip", "netns", "add", namespace.name])
        self._made.add(namespace.name)

    def remove(self, namespace: Namespace) -> None:
        """
        Remove a namespace.
        """
        run(["ip", "netns", "del", namespace.name])
        self._made.discard(namespace.name)

    def batch(self, *lines: str, namespace: Namespace | None = None) -> None:
        """
        Have C{ip} do many things.

        @param namespace: Where; C{None}: where we are, which is for namespaces alone.
        """
        where = () if namespace is None else ("-n", namespace.name)
        text = "\n".join([*lines, ""]).encode()
        run(["ip", *where, "-batch", "-"], text)

    def know(self, hostname: str, network: str, address: str = ADDRESS) -> Machine:
        """
        Make up a VM.
        """
        number = len(self.machines) + 1
        machine = Machine(
            instance=str(uuid5(NAMESPACE_DNS, f"{self.mark}-{hostname}")),
            project=f"{number:032x}",
            hostname=hostname,
            network=network,
            mac=f"fa:16:3e:02:{number >> 8:02x}:{number & 255:02x}",
            addresses=(address,),
            keys={},
            user_data=f"#cloud-config\n# {hostname}\n".encode(),
        )
        self.machines[hostname] = machine
        return machine

    def add_network(self, hostname: str, kind: str = "qdhcp") -> Namespace:
        """
        Make a network's namespace, and a VM on the network.

        @param hostname: The VM's name.
        @param kind: C{qdhcp} or C{ovnmeta}.

        @return: The network's namespace.
        """
        network = self.network_id(len(self.machines) + 1)
        machine = self.know(hostname, network)
        namespace = Namespace(f"{kind}-{network}")
        self.make(namespace)
        self.plug(machine, namespace)
        return namespace

    def plug(self, machine: Machine, namespace: Namespace) -> str:
        """
        Make a VM, or what is left of it, and plug it into a network's namespace.

        @return: The host's device.
        """
        tap = f"tap{machine.mac.replace(':', '')[-10:]}"
        self._wire(machine, namespace, tap, f"{HOST_ADDRESS}/24")
        for address in (f"{METADATA_ADDRESS}/32", f"{METADATA_ADDRESS6}/128"):
            nodad = ("nodad",) if ":" in address else ()
            namespace.ip("addr", "add", address, "dev", tap, *nodad)
        vm = self.vms[machine.hostname]
        vm.ip("route", "add", METADATA_ADDRESS, "via", HOST_ADDRESS, "dev", "eth0")
        return tap

    def add_many(self, count: int) -> Namespace:
        """
        Make networks that all use the same addresses, with a VM each; the VMs' devices
        are in one namespace, since each question names its own.

        @return: The VMs' namespace.
        """
        vms = Namespace(self._prefix + "vms")
        self.make(vms)
        machines = [self.know(f"vm{n}", self.network_id(n)) for n in range(count)]
        names = [f"qdhcp-{machine.network}" for machine in machines]
        self.batch(*(f"netns add {name}" for name in names))
        self._made.update(names)
        lines: list[str] = []
        for number, (machine, name) in enumerate(zip(machines, names, strict=True)):
            vm = machine.hostname
            mac = f"fa:16:3e:03:{number >> 8:02x}:{number & 255:02x}"
            peer = f"peer name tap0 address {mac} netns {name}"
            lines += [
                f"link add {vm} address {machine.mac} type veth {peer}",
                f"link set {vm} up",
                f"addr add {machine.ipv4}/32 dev {vm}",
                # All namespaces of a kernel share one bound on what neighbours they
                # learn (gc_thresh3, arp(7)): these here need not be learnt.
                f"neigh add {METADATA_ADDRESS} lladdr {mac} dev {vm} nud permanent",
            ]
        self.batch(*lines, namespace=vms)
        home = open_home()
        try:
            for name in names:
                path = f"/run/netns/{name}"
                identity = identity_of(path)
                assert identity is not None
                in_namespace(path, identity, home, _bring_up)
        finally:
            os.close(home)
        return vms

    def add_router(self, *hostnames: str) -> Namespace:
        """
        Make a router's namespace with a network, and a VM on it, for each name; and the
        device that leads outside.

        The VMs' networks are called as the links are, for nobody here knows Neutron's
        ports.
        """
        namespace = Namespace(f"qrouter-{self.network_id(len(self.machines) + 1)}")
        self.make(namespace)
        for family, address in (
            ("iptables", METADATA_ADDRESS),
            ("ip6tables", METADATA_ADDRESS6),
        ):
            for rule in _ROUTER_RULES:
                words = rule.format(address=address, port=ROUTER_PORT).split()
                namespace.run(family, "-w", *words)
        namespace.ip(
            *("link", "add", "qg-12345678-9a", "type", "veth", "peer", "outside")
        )
        for number, hostname in enumerate(hostnames, 1):
            device = f"qr-{number:08x}-00"
            link = f"{namespace.name}/{device}"
            machine = self.know(hostname, link, f"10.1.{number}.5")
            router = f"10.1.{number}.1"
            self._wire(machine, namespace, device, f"{router}/24")
            vm = self.vms[hostname]
            vm.ip("route", "add", "default", "via", router)
            local = self._link_local(namespace, device)
            vm.ip("route", "add", METADATA_ADDRESS6, "via", local, "dev", "eth0")
        return namespace

    def start_nova(self) -> Running:
        """
        Start the stand-in for Nova, which knows all VMs that there are.
        """
        instances, secret = self.directory / "vms.yaml", self.directory / "nova.secret"
        instances.write_text(yaml.safe_dump({"instances": self._described()}))
        write_private(secret, SECRET)
        options = ("--secret-file", str(secret))
        listen = ("--listen", f"tcp:{NOVA_PORT}:interface=127.0.0.1")
        program = ("-m", "mdproxy.devnova", str(instances), *options, *listen)
        running = self.start_python(self.hypervisor, "devnova", *program)
        wait_for("devnova", lambda: "instances on" in running.said())
        return running

    def _wire(
        self, machine: Machine, namespace: Namespace, device: str, address: str
    ) -> None:
        """
        Lay a cable between a VM and a device of a namespace.
        """
        vm = self.vms.get(machine.hostname)
        if vm is None:
            vm = self.vms[machine.hostname] = Namespace(self._prefix + machine.hostname)
            self.make(vm)
        for end in (vm, namespace):
            end.sysctl("ipv6/conf/default/accept_dad", 0)
        peer = ("peer", "name", device, "netns", namespace.name)
        link = ("link", "add", "eth0", "address", machine.mac, "type", "veth")
        vm.ip(*link, *peer)
        namespace.ip("link", "set", device, "up")
        namespace.ip("addr", "add", address, "dev", device)
        vm.ip("link", "set", "eth0", "up")
        vm.ip("addr", "add", f"{machine.ipv4}/24", "dev", "eth0")

    def _link_local(self, namespace: Namespace, device: str) -> str:
        """
        Find the link-local address of a device.
        """

        def find() -> str | None:
            shown = ("ip", "-6", "-o", "addr", "show", "dev", device, "scope", "link")
            words = namespace.run(*shown).stdout.decode().split()
            return words[3].partition("/")[0] if len(words) > 3 else None

        return wait_for(f"address of {device}", find)

    def _described(self) -> Iterable[dict[str, object]]:
        """
        Describe the VMs as devnova reads them.
        """
        return [
            {
                **each.port(),
                "hostname": each.hostname,
                "keys": each.keys,
                "user_data_base64": base64.b64encode(each.user_data or b"").decode(),
            }
            for each in self.machines.values()
        ]

    def _remove_all(self) -> None:
        """
        Remove every namespace that is left.
        """
        if self._made:
            lines = [f"netns del {name}" for name in sorted(self._made)]
            run(["ip", "-force", "-batch", "-"], "\n".join([*lines, ""]).encode())
            self._made.clear()


def haproxy_config(agent: Path, network: str) -> str:
    """
    Write what Neutron's agent writes for the haproxy of a network: what matters for the
    port (neutron/agent/metadata/driver_base.py, neutron/common/metadata.py).

    @param agent: The metadata agent's socket.
    """
    return f"""
global
    maxconn     1024
defaults
    mode http
    option httplog
    option http-server-close
    option forwardfor
    timeout http-request    30s
    timeout connect         30s
    timeout client          32s
    timeout server          32s
listen listener
    bind {METADATA_ADDRESS}:80
    server metadata {agent}
    http-request del-header X-Neutron-Router-ID
    http-request set-header X-Neutron-Network-ID {network}
"""


def ask_all(vms: Namespace, devices: Iterable[str]) -> list[str]:
    """
    Ask from every VM's device.

    @param vms: Their namespace.

    @return: The instances' ids, by Nova's word.
    """
    order = json.dumps({"devices": list(devices), "host": METADATA_ADDRESS})
    script = str(Path(__file__).with_name("many.py"))
    command = (sys.executable, "-I", "-S", script)
    answers: list[str] = json.loads(vms.run(*command, stdin=order.encode()).stdout)
    return answers


def _bring_up() -> None:
    """
    Give the device of a network's namespace the metadata address (netdevice(7)); to run
    C{ip} for each of so many would take most of a test's time.
    """
    address = pack("16sH2x4s8x", b"tap0", AF_INET, inet_aton(METADATA_ADDRESS))
    flags = pack("16sH14x", b"tap0", _IFF_UP)
    with socket(AF_INET, SOCK_DGRAM) as control:
        ioctl(control, _SIOCSIFADDR, address)
        ioctl(control, _SIOCSIFFLAGS, flags)
