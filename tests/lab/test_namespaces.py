"""
Namespaces as Neutron makes them, served by the real proxy as they come and go.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.guest import Guest, Talk, request
from tests.lab.machines import Machine
from tests.lab.neutron_host import (
    ROUTER_PORT,
    NeutronHost,
    ask_all,
    haproxy_config,
    require_neutron,
)
from tests.lab.proxy import Proxy
from tests.lab.stage import Namespace, wait_for
from tests.lab.world import METADATA_ADDRESS, METADATA_ADDRESS6

TARGET = "/openstack/latest/meta_data.json"
#: Nobody is another user on every Debian; so many namespaces are made where many are.
NOBODY = ("--uid", "nobody", "--gid", "nogroup")
MANY = int(os.environ.get("MDPROXY_NAMESPACES", "1000"))
#: What the service needs where it opens its sockets itself and is not root.
AMBIENT = ("sys_admin", "net_bind_service", "net_raw")


class NeutronCase(SynchronousTestCase):
    """
    A host of Neutron's with the proxy on it.

    @ivar host: The host.
    @ivar proxy: The proxy.
    """

    def setUp(self) -> None:
        """
        Make a host without networks.
        """
        require_neutron()
        self.host = NeutronHost()
        self.host.__enter__()
        self.addCleanup(self.host.__exit__, None, None, None)

    def start(self, **details: Any) -> None:
        """
        Start the stand-in for Nova and the proxy, for the VMs that there are.

        @param details: Of the proxy.
        """
        self.host.start_nova()
        patterns = {"kind": "namespaces", "namespaces": self.host.patterns}
        self.proxy = Proxy(
            self.host,
            known=self.host.machines.values(),
            networks=(),
            options={"listener:neutron": patterns},
            **details,
        )
        self.proxy.start()
        self.addCleanup(self.check_log)

    def check_log(self) -> None:
        """
        Fail if anything went wrong inside the proxy that it did not expect.
        """
        said = self.proxy.running.said()
        for accident in ("Traceback", "Unhandled", "Exception ignored"):
            self.assertNotIn(accident, said)

    def described(self) -> Any:
        """
        Read what the proxy says of its namespaces.
        """
        [described] = self.proxy.status()["listeners"]
        return described

    def wait_listening(self, sockets: int) -> Any:
        """
        Wait until so many sockets listen.

        @return: What the proxy says then.
        """

        def find() -> Any:
            described = self.described()
            return described if described["listening"] == sockets else None

        return wait_for(f"{sockets} sockets that listen", find)

    def ask(self, hostname: str, host: str = METADATA_ADDRESS) -> str:
        """
        Ask from inside a VM who it is.

        @return: The instance's id, by Nova's word; else how the question ended.
        """
        answer = Guest(self.host.vms[hostname]).ask(TARGET, host=host, timeout=5.0)
        if answer.status != 200:
            return f"{answer.status} {answer.end}"
        return str(answer.json()["uuid"])

    def assert_served(self, *hostnames: str) -> None:
        """
        Each of these VMs is answered as itself, by IPv4 and IPv6.
        """
        for hostname in hostnames:
            instance = self.host.machines[hostname].instance
            for host in (METADATA_ADDRESS, f"{METADATA_ADDRESS6}%eth0"):
                self.assertEqual(self.ask(hostname, host), instance, (hostname, host))

    def has_device(self, hostname: str) -> bool:
        """
        Tell whether a VM has a network device.
        """
        vm = self.host.vms[hostname]
        shown = vm.run("ip", "-o", "link", "show", "dev", "eth0", check=False)
        return shown.returncode == 0

    def pid(self) -> int:
        """
        Find the process of the service itself.
        """
        return self.proxy.running.process.pid

    def status_of(self, pid: int, name: str) -> list[str]:
        """
        Read a line of what the kernel says of a process.
        """
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        [line] = [line for line in lines if line.startswith(f"{name}:")]
        return line.split()[1:]

    def children(self) -> list[int]:
        """
        List the processes that the service started.
        """
        pid = self.pid()
        said = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in said.split()]


class ServingTests(NeutronCase):
    """
    Every kind of namespace, whoever opens the sockets.
    """

    def serve_everything(self, **details: Any) -> None:
        """
        Have all that happens to namespaces happen, and see that each VM gets its own.

        @param details: Of the proxy.
        """
        host = self.host
        red, blue = host.add_network("red"), host.add_network("blue")
        host.add_network("green", "ovnmeta")
        router = host.add_router("one", "two")
        # Known to Nova from the start, made later.
        late = host.know("late", host.network_id(90))
        later = host.know("later", host.machines["blue"].network)
        self.start(**details)
        self.wait_listening(10)
        self.assert_served("red", "blue", "green", "one", "two")
        self.come_and_go(red, late)
        self.plug_later(blue, later)
        self.turn_strays_away(router)
        described = self.described()
        self.assertEqual(described["problem"], None)
        self.assertEqual((described["opened"], described["closed"]), (6, 1))

    def come_and_go(self, red: Namespace, late: Machine) -> None:
        """
        A namespace that comes is served; one that goes takes the VM's device with it,
        though a connection was open; made anew it is served again.
        """
        host = self.host
        namespace = Namespace(f"qdhcp-{late.network}")
        host.make(namespace)
        host.plug(late, namespace)
        self.wait_listening(12)
        self.assert_served(late.hostname)
        held = Guest(host.vms["red"]).begin(
            Talk(((0, request(TARGET, close=False)),), timeout=20.0)
        )
        held.wait_until_asked()
        wait_for("connection", lambda: self.proxy.status()["front"]["connections"])
        host.remove(red)
        wait_for("end of the VM's device", lambda: not self.has_device("red"))
        [answer] = held.answers()
        self.assertIn(answer.end, ("reset", "error: [Errno 19] No such device"))
        self.wait_listening(10)
        host.make(red)
        host.plug(host.machines["red"], red)
        self.wait_listening(12)
        self.assert_served("red")

    def plug_later(self, blue: Namespace, later: Machine) -> None:
        """
        A device that is plugged in later is served; one that is unplugged is not.
        """
        tap = self.host.plug(later, blue)
        self.wait_listening(14)
        blue.ip("link", "del", tap)
        self.wait_listening(12)
        self.assert_served("blue")

    def turn_strays_away(self, router: Namespace) -> None:
        """
        Who goes to the router's port by himself gets nothing, even where Neutron's own
        rule does not keep him away.
        """
        drop = f"INPUT -p tcp -m tcp --dport {ROUTER_PORT} -j DROP".split()
        router.run("iptables", "-w", "-D", *drop)
        talk = Talk(((0, request(TARGET)),), host="10.1.1.1", port=ROUTER_PORT)
        [answer] = Guest(self.host.vms["one"]).talk(talk)
        self.assertEqual((answer.raw, answer.end), (b"", "reset"))
        self.assertEqual(self.described()["strays"], 1)

    def test_broker(self) -> None:
        """
        Started as root the service becomes nobody, without any capability, and what it
        needs it gets from a broker that can do little else.
        """
        self.serve_everything(twistd=NOBODY)
        self.assertNotIn("0", self.status_of(self.pid(), "Uid"))
        self.assertEqual(int(self.status_of(self.pid(), "CapPrm")[0], 16), 0)
        [broker] = self.children()
        may = (1 << 21) | (1 << 10) | (1 << 13)
        for name in ("CapPrm", "CapEff", "CapBnd"):
            self.assertEqual(int(self.status_of(broker, name)[0], 16) & ~may, 0, name)
        self.assertEqual(self.status_of(broker, "NoNewPrivs"), ["1"])
        self.lose_broker(broker)

    def lose_broker(self, broker: int) -> None:
        """
        Without the broker what listens goes on, and the operator is told.
        """
        os.kill(broker, signal.SIGKILL)
        problem = wait_for("word of it", lambda: self.described()["problem"])
        self.assertIn("the broker has ended: what listens goes on", problem)
        self.assert_served("red", "one")
        self.assertEqual(self.proxy.stop(), 0)

    def test_in_place(self) -> None:
        """
        As root it opens them itself, without any other process.
        """
        self.serve_everything()
        self.assertEqual(self.children(), [])
        self.assertEqual(self.proxy.stop(), 0)

    def test_ambient(self) -> None:
        """
        Without root, ambient capabilities do.
        """
        kept = ",".join(f"+{name}" for name in AMBIENT)
        sets = [f"--{each}={kept}" for each in ("inh-caps", "ambient-caps")]
        user = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
        # The files belong to whoever reads them, as they do where systemd starts it.
        self.host.add_network("red")
        owner = ("chown", "-R", "nobody", str(self.host.directory))
        wrapper = ("sh", "-c", f'{" ".join(owner)}; exec "$@"', "sh")
        self.start(wrapper=(*wrapper, "setpriv", *user, *sets))
        self.wait_listening(2)
        self.assert_served("red")
        self.assertNotIn("0", self.status_of(self.pid(), "Uid"))
        self.assertEqual(self.children(), [])

    def test_forbidden(self) -> None:
        """
        Without any of these the operator is told what is needed, and nothing dies.
        """
        self.host.add_network("red")
        self.start(wrapper=("setpriv", "--bounding-set", "-sys_admin"))
        problem = wait_for("word of it", lambda: self.described()["problem"])
        self.assertIn("entering namespaces is not allowed: start mdproxy as", problem)


class TroubleTests(NeutronCase):
    """
    Ports and descriptors that somebody else has.
    """

    def start_haproxy(self, namespace: Namespace, machine: Machine) -> Any:
        """
        Start haproxy as Neutron's agent does.
        """
        directory = self.host.directory
        config = directory / "haproxy.conf"
        config.write_text(haproxy_config(directory / "agent.sock", machine.network))
        running = self.host.start(
            namespace, "haproxy", "haproxy", "-db", "-f", str(config)
        )

        def is_up() -> bool:
            listening = namespace.run("ss", "-Hltn", "sport = 80").stdout
            return METADATA_ADDRESS.encode() in listening

        wait_for("haproxy", is_up)
        return running

    def test_haproxy(self) -> None:
        """
        While Neutron's haproxy has the port the operator is told which and what to do;
        all else is served, and when haproxy ends the VM is, too.
        """
        red = self.host.add_network("red")
        self.host.add_network("blue")
        haproxy = self.start_haproxy(red, self.host.machines["red"])
        self.start(twistd=NOBODY)
        described = self.wait_listening(3)
        self.assertIn(
            f"{red.name}: {METADATA_ADDRESS} port 80 is taken by another "
            "process (Neutron's haproxy?)",
            described["problem"],
        )
        self.assert_served("blue")
        self.assertEqual(self.ask("red"), "503 closed")
        haproxy.stop()
        described = self.wait_listening(4)
        self.assertIsNone(described["problem"])
        self.assert_served("red", "blue")

    def test_no_descriptor_left(self) -> None:
        """
        With fewer descriptors than namespaces want, some are served and the operator is
        told; the others are served when there are more.
        """
        ends = [self.host.add_network(f"vm-{number:02}") for number in range(16)]
        self.start(wrapper=("prlimit", "--nofile=48:48"), twistd=NOBODY)
        problem = wait_for("word of it", lambda: self.described()["problem"])
        self.assertIn("no file descriptor is left: raise LimitNOFILE", problem)
        self.assertLess(self.described()["listening"], 32)
        for end in ends[:8]:
            self.host.remove(end)
        described = self.wait_listening(16)
        self.assertIsNone(described["problem"])
        self.assert_served("vm-08", "vm-15")


class ManyTests(NeutronCase):
    """
    As many networks as the largest network node has.
    """

    def test_many(self) -> None:
        """
        Each of a thousand VMs, all with the same address, is answered as itself.
        """
        vms = self.host.add_many(MANY)
        self.start(twistd=NOBODY)
        self.wait_listening(2 * MANY)
        instances = [machine.instance for machine in self.host.machines.values()]
        self.assertEqual(ask_all(vms, self.host.machines), instances)
        self.assertIsNone(self.described()["problem"])
        self.check_why(next(reversed(self.host.machines.values())))

    def check_why(self, machine: Machine) -> None:
        """
        Of the address of them all the operator is told that it is everywhere, and on
        which network it is whose.
        """
        target = f"/api/v1/why?address={machine.ipv4}"
        everywhere = self.proxy.ask_operator(target).json()
        self.assertEqual(everywhere["total"], MANY)
        self.assertLess(len(everywhere["candidates"]), 20)
        answer = self.proxy.ask_operator(f"{target}&network={machine.network}").json()
        (found,) = answer["candidates"]
        self.assertEqual(found["port"]["instance"], machine.instance)
        self.assertEqual(
            (found["reason"], found["last"][0]["status"]), ("lease-missing", 200)
        )
        self.assertIn(
            f"of namespace {found['network'].partition('/')[0]}", found["bound"]
        )
