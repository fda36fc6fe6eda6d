"""
VMs that pretend to be their neighbours never get a byte of their data.

The bridges know where each MAC is (L{World.pin}), as on most clouds, but let a VM send
whatever it likes.  Where a bridge moves a MAC to whoever sends with it, a VM that
forges MAC and address I{is} its neighbour to everybody on the wire, and only port
security helps, or asking the bridge.

C{MDPROXY_ATTACKS=long} in the environment makes them try three times as often, as
C{script/test-long} does.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.lab.case import LabTestCase
from tests.lab.guest import Answer, Talk, request
from tests.lab.machines import Machine
from tests.lab.proxy import Proxy
from tests.lab.rogue import Attacker
from tests.lab.stage import wait_for
from tests.test_inventory_domains import domain_xml, interface_xml

#: Whether there is time for all attempts.
IS_LONG = os.environ.get("MDPROXY_ATTACKS") == "long"

#: The ways to besiege, of which each must fail and, against the naive, succeed.
SIEGES: tuple[dict[str, bool], ...] = (
    {},
    {"late": True},
    {"fin": True},
    {"late": True, "stamped": True},
    {"late": True, "fin": True, "stamped": True},
)


class TakeoverTests(LabTestCase):
    """
    Two attackers at work: red-rogue on red-one, blue-rogue on blue-two.
    """

    booted = ("red-one", "red-rogue", "blue-two", "blue-rogue")

    def setUp(self) -> None:
        """
        Take away what would slow an attacker down.
        """
        super().setUp()
        for network in self.world.networks:
            self.world.pin(network)
            # The kernel would keep an entry for a second before it is overwritten.
            self.world.hypervisor.sysctl(f"ipv4/neigh/{network}/locktime", 0)
        self.red = Attacker(
            self.world, self.machine("red-rogue"), self.machine("red-one")
        )
        self.blue = Attacker(
            self.world, self.machine("blue-rogue"), self.machine("blue-two")
        )

    def silence(self, machine: Machine) -> None:
        """
        Cut a VM off, so that it can't reset the connections opened in its name.
        """
        self.world.hypervisor.ip("link", "set", self.world.tap(machine), "down")

    def attack_both(
        self, act: str, rounds: int, seed: int = 0, **way: bool
    ) -> list[dict[str, Any]]:
        """
        Attack a VM that defends itself and one that is silent, at the same time.

        @return: Both reports.
        """
        self.silence(self.blue.victim)
        with ThreadPoolExecutor(2) as pool:
            attacks: list[Future[dict[str, Any]]] = [
                pool.submit(attacker.attack, act, rounds, seed=2 * seed + side, **way)
                for side, attacker in enumerate((self.red, self.blue))
            ]
            return [attack.result() for attack in attacks]

    def check(self, reports: list[dict[str, Any]]) -> None:
        """
        Check that attackers got connections, but no more than refusals.
        """
        for report in reports:
            self.assertGreater(report["counts"]["handshakes"], 0, report)
            self.assertEqual(report["leaks"], 0, report)
            self.assertLessEqual(set(report["statuses"]), {"404", "503"}, report)

    def assert_never_served(self, proxy: Proxy) -> None:
        """
        No attack came so far that the proxy took it for its victim.
        """
        counts = proxy.status()["proxy"]["counts"]
        self.assertGreater(counts["requests"], 0)
        self.assertNotIn("status-200", counts)

    def serve_naively(self, mode: str, port: int) -> None:
        """
        Start a server in front of blue-two's data that trusts too much.
        """
        victim = self.blue.victim
        data = Path(self.world.directory / "data")
        data.write_bytes(b"\n".join(victim.secrets))
        where = (victim.network, str(port), victim.ipv4, victim.mac, str(data))
        naive = self.world.start_python(
            self.world.hypervisor, f"naive-{mode}", "tests/lab/naive.py", mode, *where
        )
        wait_for("naive server", lambda: "listening" in naive.said())

    def test_attackers_beat_naive_servers(self) -> None:
        """
        The attackers do get the data of a server that trusts the source address, or
        the frame and the neighbour entry at one moment: so the other tests can fail.
        """
        self.silence(self.blue.victim)
        for port, mode in enumerate(("address", "accept"), 8000):
            self.serve_naively(mode, port)
            report = self.blue.attack("hurry", 40, port=port)
            self.assertGreater(report["leaks"], 0, (mode, report))
        self.serve_naively("always", 8002)
        for seed, way in enumerate(SIEGES):
            report = self.blue.attack("besiege", 1, port=8002, seed=seed, **way)
            self.assertGreater(report["leaks"], 0, (way, report))

    def test_stealing_an_address_gets_nothing(self) -> None:
        """
        A VM that takes another's address and tells everybody gets a 404 or nothing,
        and its victim, once it has its address back, is served as before.
        """
        self.start_devnova()
        victim, rogue = self.red.victim, self.red.rogue
        targets = ("/openstack/latest/meta_data.json", "/latest/user-data")
        asks = [
            Talk(((0, request(target)),), source=victim.ipv4)
            for target in targets
            for _ in range(4)
        ]
        with self.red.having_the_address():
            answers = self.guest(rogue.hostname).talk(*asks, parallel=len(asks))
        for answer in answers:
            self.assertIn(answer.status, (0, 404, 503), answer)
            for secret in victim.secrets:
                self.assertNotIn(secret, answer.raw)
        self.assertIn(404, {answer.status for answer in answers})
        answer = self.guest(victim.hostname).ask(targets[0])
        self.assertEqual(answer.json()["uuid"], victim.instance)

    def test_no_timing_gets_anything(self) -> None:
        """
        Turning the neighbour entry back and forth around a handshake, at 300 timings
        (1,000 in the long run), ends with refusals and broken connections.
        """
        rounds = 500 if IS_LONG else 150
        bounds = {"max_unidentified_per_mac": 64}
        self.start_devnova(options={"hold": bounds})
        reports = self.attack_both("hurry", rounds)
        self.assertEqual(sum(r["counts"]["attempts"] for r in reports), 2 * rounds)
        self.check(reports)

    def test_patience_gets_nothing(self) -> None:
        """
        Shaking hands and asking when the turned entry is forgotten, to catch the answer
        when the kernel sends it again, gets nothing, in whatever way it is done; and
        Nova is never asked for it, so there is nothing that the kernel could hold.
        """
        proxy = self.start_devnova()
        for seed, way in enumerate(SIEGES):
            self.check(self.attack_both("besiege", 1, seed, **way))
        self.assert_never_served(proxy)

    def test_syn_cookies_help_nobody(self) -> None:
        """
        Where the kernel keeps no opening frame, because it answers with SYN cookies,
        attackers get no further.
        """
        self.world.hypervisor.sysctl("ipv4/tcp_syncookies", 2)
        proxy = self.start_devnova()
        self.check(self.attack_both("hurry", 60 if IS_LONG else 20))
        for seed, way in enumerate(({}, {"late": True, "stamped": True})):
            self.check(self.attack_both("besiege", 1, seed, **way))
        self.assert_never_served(proxy)


class OneWireTests(LabTestCase):
    """
    A bridge that believes whoever sends, and a VM that has taken its neighbour's MAC as
    well as its address: the same on the wire, but behind another port.
    """

    booted = ("red-one", "red-rogue")

    def test_bridge_port(self) -> None:
        """
        Where the inventory knows the ports' devices and the bridge is asked, the thief
        gets refusals; and its victim, when the bridge has learnt where it is, its data.
        """
        victim, rogue = (self.machine(name) for name in self.booted)
        domains = self.world.directory / "domains"
        domains.mkdir()
        interface = interface_xml(
            victim.mac, f"<source bridge='{victim.network}'/>", self.world.tap(victim)
        )
        address = f'<n:ip type="fixed" address="{victim.ipv4}" ipVersion="4"/>'
        ports = (
            f"<n:ports><n:port uuid='{victim.instance}'>{address}</n:port></n:ports>"
        )
        xml = domain_xml(interface, ports, victim.instance, victim.project)
        (domains / "victim.xml").write_text(xml)
        options: dict[str, dict[str, object]] = {
            "DEFAULT": {"inventories": "libvirt", "check_bridge_port": "true"},
            "libvirt": {"path": domains},
            "hold": {"openstack": 0.3, "other": 0.3},
        }
        proxy = self.start_devnova(known=(), networks=("br-tenant1",), options=options)
        target = "/openstack/latest/meta_data.json"
        owner, thief = (self.guest(machine.hostname) for machine in (victim, rogue))
        self.assertEqual(owner.ask(target).status, 200)
        self.world.hypervisor.ip("link", "set", self.world.tap(victim), "down")
        disguise = ("addr", "add", f"{victim.ipv4}/32", "dev", "eth0")
        thief.namespace.ip("link", "set", "eth0", "address", victim.mac)
        thief.namespace.ip(*disguise)
        for _ in range(5):
            answer = thief.ask(target, source=victim.ipv4)
            self.assertEqual(answer.status, 404, answer)
        counts = proxy.status()["lookup"]["judgements"]
        self.assertGreaterEqual(counts["refused-port-mismatch"], 5)
        self.world.hypervisor.ip("link", "set", self.world.tap(rogue), "down")
        self.world.hypervisor.ip("link", "set", self.world.tap(victim), "up")
        answer = wait_for("answer", lambda: self.served(owner.ask(target)))
        self.assertEqual(answer.json()["uuid"], victim.instance)

    def served(self, answer: Answer) -> Answer | None:
        """
        Take an answer if it is one.
        """
        return answer if answer.status == 200 else None
