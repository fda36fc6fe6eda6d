"""
A host of Neutron's with the haproxies that its agents start, and several VMs on a
network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.lab.machines import Machine
from tests.lab.neutron_host import HOST_ADDRESS, NeutronHost
from tests.lab.proxy import NOVA_PORT
from tests.lab.stage import Namespace, Running, wait_for
from tests.lab.world import METADATA_ADDRESS, METADATA_ADDRESS6

#: Whom haproxy runs as, and a stranger.
USER, GROUP = "nobody", "nogroup"
STRANGER = "daemon"

#: What Neutron's agents write for all (neutron/common/metadata.py,
#: C{METADATA_HAPROXY_GLOBAL}, and neutron/agent/metadata/driver_base.py,
#: C{_UNLIMITED_CONFIG_TEMPLATE}), with the defaults of C{[metadata_haproxy]}.
_CONFIG = """
global
    log         /dev/log local0 info
    log-tag     haproxy-metadata-proxy-{uuid}
    user        {user}
    group       {group}
    maxconn     1024
    nbthread    {threads}
    pidfile     {pidfile}
    daemon

defaults
    log global
    mode http
    option httplog
    option dontlognull
    {connections}
    option forwardfor
    retries                 3
    timeout http-request    30s
    timeout connect         30s
    timeout client          32s
    timeout server          32s
    timeout http-keep-alive 30s

listen listener
    bind {host}:{port}
    {bind_v6}
    server metadata {socket}
{header}
"""

#: What each agent adds: those of DHCP and routers (neutron/agent/metadata/driver.py),
#: and OVN's (neutron/agent/ovn/metadata/driver.py).
_NETWORK = """
    http-request del-header X-Neutron-Router-ID
    http-request set-header X-Neutron-Network-ID {uuid}
"""
_ROUTER = """
    http-request del-header X-Neutron-Network-ID
    http-request set-header X-Neutron-Router-ID {uuid}
"""
_OVN = """
    http-request add-header X-OVN-Network-ID {uuid}
"""
_HEADERS = {"qdhcp": _NETWORK, "qrouter": _ROUTER, "ovnmeta": _OVN}


@frozen
class Haproxy:
    """
    A haproxy as Neutron configures it.

    @ivar namespace: Where it runs; its name tells which network or router it serves.
    @ivar host: Where it listens.
    @ivar port: Where it listens.
    @ivar device: Where it listens at the IPv6 metadata address, too; empty: nowhere.
    @ivar user: Whom it runs as.
    @ivar is_shared: Whether, unlike Neutron's, it keeps its connections to the agent
        and sends on each whatever comes.
    """

    namespace: Namespace
    host: str = METADATA_ADDRESS
    port: int = 80
    device: str = ""
    user: str = USER
    is_shared: bool = False

    def config(self, socket: Path, pidfile: Path) -> str:
        """
        Write its configuration.

        @param socket: The agent's.
        """
        kind, _, uuid = self.namespace.name.partition("-")
        connections = "option http-server-close"
        if self.is_shared:
            connections = "option http-keep-alive\n    http-reuse always"
        bind_v6 = ""
        if self.device:
            bind_v6 = f"bind [{METADATA_ADDRESS6}]:{self.port} interface {self.device}"
        return _CONFIG.format(
            uuid=uuid,
            user=self.user,
            group=GROUP,
            threads=1 if self.is_shared else 2,
            pidfile=pidfile,
            connections=connections,
            host=self.host,
            port=self.port,
            bind_v6=bind_v6,
            socket=socket,
            header=_HEADERS[kind].format(uuid=uuid),
        )


@define
class HaproxyHost(NeutronHost):
    """
    The host.

    @ivar socket: The agent's.
    """

    _switches: int = field(default=0, init=False)
    _haproxies: int = field(default=0, init=False)

    @property
    def socket(self) -> Path:
        """
        Say where haproxies look for the agent.
        """
        return self.directory / "metadata_proxy"

    @property
    def listener(self) -> dict[str, Any]:
        """
        Configure the proxy to stand in for the agent.
        """
        return {
            "kind": "socket",
            "path": self.socket,
            # The file lets everybody in, so that only their user keeps strangers out.
            "mode": "all",
            "allowed_uids": USER,
            "namespaces": self.patterns,
        }

    def add_segment(self, kind: str, *hostnames: str) -> Namespace:
        """
        Make a network with a namespace and several VMs on it, which have the same
        addresses on every network.

        @param kind: C{qdhcp} or C{ovnmeta}.

        @return: The namespace.
        """
        self._switches += 1
        network = self.network_id(0x1000 + self._switches)
        namespace = Namespace(f"{kind}-{network}")
        switch = Namespace(f"{self._prefix}sw{self._switches}")
        for each in (namespace, switch):
            self.make(each)
            each.sysctl("ipv6/conf/default/accept_dad", 0)
        switch.ip("link", "add", "br0", "type", "bridge")
        switch.ip("link", "set", "br0", "up")
        namespace.ip("link", "set", "lo", "up")
        self._lay(namespace, "tap0", "fa:16:3e:ff:00:01", switch)
        addresses = (f"{HOST_ADDRESS}/24", f"{METADATA_ADDRESS}/32")
        for address in (*addresses, f"{METADATA_ADDRESS6}/64"):
            nodad = ("nodad",) if ":" in address else ()
            namespace.ip("addr", "add", address, "dev", "tap0", *nodad)
        for number, hostname in enumerate(hostnames, 5):
            self._add_vm(self.know(hostname, network, f"10.0.0.{number}"), switch)
        return namespace

    def start_haproxy(self, haproxy: Haproxy) -> Running:
        """
        Start a haproxy, and wait until it listens.
        """
        self._haproxies += 1
        name = f"haproxy{self._haproxies}"
        config = self.directory / f"{name}.conf"
        config.write_text(haproxy.config(self.socket, self.directory / f"{name}.pid"))
        # In the foreground, so that it can be ended by its process.
        command = ("haproxy", "-db", "-f", str(config))
        running = self.start(haproxy.namespace, name, *command)
        where = f":{haproxy.port} "
        wait_for(
            f"haproxy ({running.said()})",
            lambda: where in haproxy.namespace.run("ss", "-Hltn").stdout.decode(),
        )
        return running

    def start_mirror(self) -> None:
        """
        Start a Nova that answers with what it was asked.
        """
        script = ("tests/lab/mirror.py", str(NOVA_PORT))
        running = self.start_python(self.hypervisor, "mirror", *script)
        wait_for("mirror", lambda: "listening" in running.said())

    def _add_vm(self, machine: Machine, switch: Namespace) -> None:
        """
        Make a VM and plug it in.
        """
        self._make_vm(machine)
        self._plug_in(machine, switch)

    def _make_vm(self, machine: Machine) -> None:
        """
        Make a VM.
        """
        vm = self.vms[machine.hostname] = Namespace(self._prefix + machine.hostname)
        self.make(vm)
        vm.sysctl("ipv6/conf/default/accept_dad", 0)

    def _plug_in(self, machine: Machine, switch: Namespace) -> None:
        """
        Plug a VM in.
        """
        vm = self.vms[machine.hostname]
        self._lay(vm, "eth0", machine.mac, switch)
        vm.ip("addr", "add", f"{machine.ipv4}/24", "dev", "eth0")
        vm.ip("route", "add", METADATA_ADDRESS, "via", HOST_ADDRESS, "dev", "eth0")

    def _lay(self, end: Namespace, device: str, mac: str, switch: Namespace) -> None:
        """
        Lay a cable from a device to a switch.
        """
        port = f"p{mac.replace(':', '')[-8:]}"
        link = ("link", "add", device, "address", mac, "type", "veth")
        end.ip(*link, "peer", "name", port, "netns", switch.name)
        switch.ip("link", "set", port, "master", "br0", "up")
        end.ip("link", "set", device, "up")
