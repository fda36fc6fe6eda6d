"""
VMs that pretend to be their neighbours never get a byte of their data.

The bridges know where each MAC is (L{World.pin}), as on most clouds, but let a VM send
whatever it likes.  Where a bridge moves a MAC to whoever sends with it, a VM that
forges MAC and address I{is} its neighbour to everybody on the wire, and only port
security helps.
"""

from __future__ import annotations

import base64
import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.lab.case import LabTestCase
from tests.lab.guest import Talk, request
from tests.lab.machines import Machine
from tests.lab.world import GATEWAY, METADATA_ADDRESS, World, wait_for

_ATTACKS = "tests/lab/attacks.py"


@frozen
class Attacker:
    """
    A VM that wants what another VM on its bridge would get.

    @ivar rogue: The attacker.
    @ivar victim: The other.
    """

    world: World
    rogue: Machine
    victim: Machine

    def attack(
        self, rounds: int, patient: bool = False, port: int = 80, seed: int = 1
    ) -> dict[str, Any]:
        """
        Attack, and say what came of it.

        @return: What L{tests.lab.attacks} reports.
        """
        order = {
            "own_mac": self.rogue.mac,
            "victim_mac": self.victim.mac,
            "router_mac": self.world.mac_of(self.victim.network),
            "victim": self.victim.ipv4,
            "gateway": GATEWAY,
            "server": METADATA_ADDRESS,
            "port": port,
            "seed": seed,
            "rounds": rounds,
            "patient": patient,
            "learns": [base64.b64encode(s).decode() for s in self.victim.secrets],
        }
        python = (sys.executable, "-I", "-S", _ATTACKS)
        vm = self.world.vms[self.rogue.hostname]
        done = vm.run(*python, stdin=json.dumps(order).encode(), timeout=400)
        report: dict[str, Any] = json.loads(done.stdout)
        return report


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

    def attack_both(self, **details: Any) -> list[dict[str, Any]]:
        """
        Attack a VM that defends itself and one that is silent, at the same time.

        @return: Both reports.
        """
        self.silence(self.blue.victim)
        with ThreadPoolExecutor(2) as pool:
            attacks: list[Future[dict[str, Any]]] = [
                pool.submit(attacker.attack, seed=seed, **details)
                for seed, attacker in enumerate((self.red, self.blue))
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
        modes = (("address", False), ("accept", False), ("always", True))
        for port, (mode, patient) in enumerate(modes, 8000):
            self.serve_naively(mode, port)
            rounds = 2 if patient else 40
            report = self.blue.attack(rounds, patient=patient, port=port)
            self.assertGreater(report["leaks"], 0, (mode, report))

    def test_stealing_an_address_gets_nothing(self) -> None:
        """
        A VM that takes another's address and tells everybody gets a 404 or nothing,
        and its victim, once it has its address back, is served as before.
        """
        self.start_devnova()
        victim, rogue = self.red.victim, self.red.rogue
        thief = self.world.vms[rogue.hostname]
        thief.ip("addr", "add", f"{victim.ipv4}/32", "dev", "eth0")
        self.announce(rogue, victim)
        targets = ("/openstack/latest/meta_data.json", "/latest/user-data")
        asks = [
            Talk(((0, request(target)),), source=victim.ipv4)
            for target in targets
            for _ in range(4)
        ]
        for answer in self.guest(rogue.hostname).talk(*asks, parallel=len(asks)):
            self.assertIn(answer.status, (0, 404, 503), answer)
            for secret in victim.secrets:
                self.assertNotIn(secret, answer.raw)
        thief.ip("addr", "del", f"{victim.ipv4}/32", "dev", "eth0")
        self.announce(victim, victim)
        [answer] = self.guest(victim.hostname).talk(Talk(((0, request(targets[0])),)))
        self.assertEqual(answer.json()["uuid"], victim.instance)

    def announce(self, speaker: Machine, owner: Machine) -> None:
        """
        Have a VM tell the hypervisor that it has an address now.
        """
        claim = (
            "import socket, sys; sys.path.insert(0, 'tests/lab'); import attacks;"
            "own, address, gateway = sys.argv[1:];"
            "order = dict(own_mac=own, victim_mac=own, router_mac='ff:ff:ff:ff:ff:ff',"
            " victim=address, gateway=gateway, server='0.0.0.0');"
            "attacks.Wire(order).claim(attacks.octets(own), loudly=True)"
        )
        vm = self.world.vms[speaker.hostname]
        vm.run(sys.executable, "-S", "-c", claim, speaker.mac, owner.ipv4, GATEWAY)

    def test_a_thousand_timings_get_nothing(self) -> None:
        """
        Turning the neighbour entry back and forth around a handshake, at 1,000
        timings, ends with refusals and broken connections.
        """
        bounds = {"max_unidentified_per_mac": 64}
        self.start_devnova(options={"hold": bounds})
        reports = self.attack_both(rounds=500)
        self.assertEqual(sum(r["counts"]["attempts"] for r in reports), 1000)
        self.check(reports)

    def test_patience_gets_nothing(self) -> None:
        """
        Shaking hands early and asking when the turned entry is forgotten, to catch the
        answer when the kernel sends it again, gets nothing.
        """
        self.start_devnova()
        self.check(self.attack_both(rounds=6, patient=True))

    def test_syn_cookies_help_nobody(self) -> None:
        """
        Where the kernel keeps no opening frame, because it answers with SYN cookies,
        attackers get no further.
        """
        self.world.hypervisor.sysctl("ipv4/tcp_syncookies", 2)
        self.start_devnova()
        self.check(self.attack_both(rounds=60))
        self.check(self.attack_both(rounds=2, patient=True))
