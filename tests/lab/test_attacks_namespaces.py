"""
The attackers of L{tests.lab.test_takeover} on a host of Neutron's: the proxy listens in
the namespaces of networks, and instances ask by IPv6 too.

C{MDPROXY_ATTACKS=long} in the environment makes them try ten times as often, and in all
ways; C{script/test-long} does.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.lab.case import LabTestCase
from tests.lab.guest import Answer, Talk, request
from tests.lab.machines import Machine, load_machines
from tests.lab.proxy import Proxy
from tests.lab.rogue import Attacker
from tests.lab.stage import wait_for
from tests.lab.tenants import Tenants, link_local, neutron_proxy, on_network
from tests.lab.test_takeover import IS_LONG, SIEGES
from tests.lab.world import METADATA_ADDRESS, METADATA_ADDRESS6, require

_TARGET = "/openstack/latest/meta_data.json"


@frozen
class Pair:
    """
    A victim and an attacker on a network of their own.

    @ivar victim: The victim.
    @ivar rogue: The attacker.
    @ivar address: The address that is to be stolen.
    @ivar learns: What only the victim may see.
    @ivar knows: What is the attacker's own.
    @ivar cookies: Whether its network answers with SYN cookies.
    @ivar is_silent: Whether the victim is cut off, so that it can't reset what is
        opened in its name.
    """

    victim: Machine
    rogue: Machine
    address: str
    learns: tuple[bytes, ...]
    knows: tuple[bytes, ...]
    cookies: bool
    is_silent: bool


def pairs() -> Iterator[Pair]:
    """
    Make a pair for each kind of address, with and without SYN cookies.
    """
    machines = {m.hostname: m for m in load_machines()}
    names = ("red-one", "blue-two", "red-one", "blue-two", "red-one", "blue-two")
    for number, name in enumerate(names, 1):
        network = Tenants.network_id(number)
        original, other = machines[name], machines[name.split("-")[0] + "-rogue"]
        victim, rogue = (
            evolve(
                on_network(machine, network), hostname=f"{machine.hostname}-{number}"
            )
            for machine in (original, other)
        )
        kinds = (victim.addresses[0], link_local(victim.mac), victim.addresses[1])
        yield Pair(
            victim,
            rogue,
            address=kinds[number % 3],
            learns=tuple(original.secrets),
            knows=tuple(other.secrets),
            cookies=number > 3,
            is_silent=number % 2 == 0,
        )


class NamespaceAttackTests(LabTestCase):
    """
    Attackers on networks with a namespace each.
    """

    world: Tenants

    def setUp(self) -> None:
        """
        Make the networks, and take away what would slow an attacker down.
        """
        SynchronousTestCase.setUp(self)
        require()
        self.pairs = list(pairs())
        machines = [m for pair in self.pairs for m in (pair.victim, pair.rogue)]
        self.world = Tenants(tuple(machines))
        self.world.__enter__()
        self.addCleanup(self.world.__exit__, None, None, None)
        for pair in self.pairs:
            network = pair.victim.network
            self.world.pin(network)
            end, device = self.world.ends[network], self.world.end(network)
            end.sysctl(f"ipv4/neigh/{device}/locktime", 0)
            if pair.cookies:
                end.sysctl("ipv4/tcp_syncookies", 2)

    def start_proxy(self, **details: Any) -> Proxy:
        """
        Start the proxy, and wait until every victim is served.
        """
        details.setdefault("known", list(self.world.machines))
        proxy = neutron_proxy(self.world, **details)
        proxy.start()
        self.addCleanup(self.check_log, proxy)
        self.world.settle()
        for pair in self.pairs:
            wait_for("answer", lambda: self.ask(pair).status == 200)  # noqa: B023
        return proxy

    def attacker(self, pair: Pair) -> Attacker:
        """
        Make the attacker of a pair.
        """
        return Attacker(self.world, pair.rogue, pair.victim, pair.address)

    def ask(self, pair: Pair, by: Machine | None = None) -> Answer:
        """
        Ask from the address that is to be stolen.

        @param by: Who asks; C{None}: whose it is.
        """
        host = METADATA_ADDRESS
        if ":" in pair.address:
            host = f"{METADATA_ADDRESS6}%eth0"
        # There is but one link-local address that could be the source.
        source = None if pair.address.startswith("fe80:") else pair.address
        talk = Talk(((0, request(_TARGET)),), host=host, source=source, timeout=10.0)
        [answer] = self.guest((by or pair.victim).hostname).talk(talk)
        return answer

    def plug(self, pair: Pair, state: str) -> None:
        """
        Cut a silent victim off, or plug it in again.
        """
        if pair.is_silent:
            tap = self.world.tap(pair.victim)
            self.world.hypervisor.ip("link", "set", tap, state)

    def attack_all(
        self, act: str, rounds: int, ways: tuple[dict[str, bool], ...] = ({},)
    ) -> list[dict[str, Any]]:
        """
        Attack every victim at the same time.

        @param ways: What to add to the order, for one pair after the other.

        @return: What the attackers report.
        """

        def attack(seed: int, pair: Pair) -> dict[str, Any]:
            learns, knows = (
                [base64.b64encode(secret).decode() for secret in secrets]
                for secrets in (pair.learns, pair.knows)
            )
            way = {"learns": learns, "knows": knows, **ways[seed % len(ways)]}
            attacker = self.attacker(pair)
            return attacker.attack(act, rounds, seed=seed, calm=0.5, **way)

        for pair in self.pairs:
            self.plug(pair, "down")
        with ThreadPoolExecutor(len(self.pairs)) as pool:
            reports = list(pool.map(attack, range(len(self.pairs)), self.pairs))
        for pair in self.pairs:
            self.plug(pair, "up")
        return reports

    def check(self, reports: list[dict[str, Any]]) -> None:
        """
        Check that attackers got connections, but no more than refusals.

        A link-local address belongs to nobody: whoever uses the victim's with its own
        MAC is taken for itself, and gets what is its own.
        """
        for pair, report in zip(self.pairs, reports, strict=True):
            about = (pair.address, pair.cookies, pair.is_silent, report)
            self.assertGreater(report["counts"]["handshakes"], 0, about)
            self.assertEqual(report["leaks"], 0, about)
            served = report["statuses"].pop("200", 0)
            self.assertLessEqual(set(report["statuses"]), {"404", "503"}, about)
            is_own = pair.address.startswith("fe80:")
            self.assertEqual(served, report["own"] if is_own else 0, about)

    def check_victims(self) -> None:
        """
        Check that every victim is answered, with what is its own.
        """
        for pair in self.pairs:
            # With cookies nobody knows when a handshake began, so that all who were
            # turned are refused for two minutes.
            end = self.world.ends[pair.victim.network]
            end.sysctl("ipv4/tcp_syncookies", 1)
            self.attacker(pair).give_back()
            answer = wait_for("answer", lambda: self.served(pair))  # noqa: B023
            self.assertEqual(answer.json()["uuid"], pair.victim.instance)

    def served(self, pair: Pair) -> Answer | None:
        """
        Ask as the victim.

        @return: The answer, if it has one.
        """
        answer = self.ask(pair)
        return answer if answer.status == 200 else None

    def test_attackers_beat_naive_servers(self) -> None:
        """
        The attackers do get the data of a server that believes frame and neighbour
        entry, or the latter alone, at one moment: so the other tests can fail.
        """
        data = Path(self.world.directory / "data")
        for pair in self.pairs:
            data.write_bytes(b"\n".join(m for p in self.pairs for m in p.learns))
            network = pair.victim.network
            end = self.world.ends[network]
            arguments = (self.world.end(network), "80", pair.address, pair.victim.mac)
            naive = self.world.start_python(
                end, f"naive-{network}", "tests/lab/naive.py", "accept", *arguments,
                str(data),
            )  # fmt: skip
            wait_for("naive server", lambda: "listening" in naive.said())  # noqa: B023
        self.world.settle()
        for pair, report in zip(self.pairs, self.attack_all("hurry", 20), strict=True):
            # Those whose victims defend themselves need more luck.
            if pair.is_silent:
                self.assertGreater(report["leaks"], 0, (pair.address, report))

    def test_attackers_get_nothing(self) -> None:
        """
        No timing and no patience gets anything but refusals; victims are served as
        before.
        """
        proxy = self.start_devnova()
        self.check(self.attack_all("hurry", 400 if IS_LONG else 25))
        # Those that wait for what the kernel sends again much later are for the long
        # run.
        ways = SIEGES if IS_LONG else [way for way in SIEGES if "late" not in way]
        for at in range(len(SIEGES) if IS_LONG else 1):
            self.check(self.attack_all("besiege", 1, (*ways[at:], *ways[:at])))
        self.assertGreater(proxy.status()["proxy"]["counts"]["requests"], 100)
        self.check_victims()


class OverlapTests(LabTestCase):
    """
    Networks on which somebody has the very addresses of another network's VM, MAC and
    all; and somebody who takes them on that network itself.
    """

    world: Tenants

    def setUp(self) -> None:
        """
        Make the victim and its neighbour, and on two networks of their own a VM that
        Nova knows and one that it does not, both with the victim's addresses.
        """
        SynchronousTestCase.setUp(self)
        require()
        machines = {m.hostname: m for m in load_machines()}
        networks = [Tenants.network_id(number) for number in (1, 2, 3)]
        self.victim = on_network(machines["red-one"], networks[0])
        self.rogue = on_network(machines["red-rogue"], networks[0])
        self.twin, self.stranger = (
            evolve(
                self.victim,
                network=network,
                instance=machines["blue-rogue"].instance,
                project=machines["blue-rogue"].project,
                hostname=hostname,
            )
            for network, hostname in zip(
                networks[1:], ("twin", "stranger"), strict=True
            )
        )
        self.known = (self.victim, self.rogue, self.twin)
        self.world = Tenants((*self.known, self.stranger))
        self.world.__enter__()
        self.addCleanup(self.world.__exit__, None, None, None)
        self.world.pin(networks[0])
        self.addresses = (*self.victim.addresses, link_local(self.victim.mac))

    def start_proxy(self, **details: Any) -> Proxy:
        """
        Start a proxy that doesn't let anybody wait for long.
        """
        hold = {"openstack": 0.3, "other": 0.3}
        proxy = neutron_proxy(self.world, self.known, {"hold": hold})
        proxy.start()
        self.addCleanup(self.check_log, proxy)
        self.world.settle()
        [answers] = wait_for("answer", self.served)
        self.check_own(answers, self.victim)
        return proxy

    def served(self) -> list[list[Answer]] | None:
        """
        Ask as the victim.

        @return: The answers, if the listeners are there.
        """
        asked = self.ask(self.victim, times=1)
        return asked if {answer.status for answer in asked[0]} == {200} else None

    def talks(self, address: str, times: int) -> list[Talk]:
        """
        Write questions for all that an instance has, from an address.
        """
        is_link_local = address.startswith("fe80:")
        host = f"{METADATA_ADDRESS6}%eth0" if ":" in address else METADATA_ADDRESS
        source = None if is_link_local else address
        return [
            Talk(((0, request(target)),), host=host, source=source, timeout=10.0)
            for target in (_TARGET, "/latest/meta-data/hostname")
            for _ in range(times)
        ]

    def ask(self, *machines: Machine, times: int = 3) -> list[list[Answer]]:
        """
        Have VMs ask at the same time, from each of the victim's addresses.
        """
        talks = [talk for a in self.addresses for talk in self.talks(a, times)]
        asking = [
            self.guest(machine.hostname).begin(*talks, parallel=4)
            for machine in machines
        ]
        return [pending.answers() for pending in asking]

    def check_own(self, answers: list[Answer], machine: Machine) -> None:
        """
        Check that a VM got what is its own, and all of it.
        """
        for answer in answers:
            self.assertEqual(answer.status, 200, answer)
            if "json" in answer.fields.get("content-type", ""):
                self.assertEqual(answer.json()["uuid"], machine.instance)

    def check_nothing(self, answers: list[Answer]) -> None:
        """
        Check that nothing of the victim's is in any answer.
        """
        for answer in answers:
            for secret in self.victim.secrets:
                self.assertNotIn(secret, answer.raw)

    def test_same_addresses_elsewhere(self) -> None:
        """
        Whoever has a victim's MAC and addresses on a network of its own gets its own
        data, or none where nobody knows it; the victim gets its own at the same time.
        """
        self.start_devnova()
        victim, twin, stranger = self.ask(self.victim, self.twin, self.stranger)
        self.check_own(victim, self.victim)
        self.check_own(twin, self.twin)
        self.check_nothing(twin)
        self.assertEqual({answer.status for answer in stranger}, {404})
        self.check_nothing(stranger)

    def test_flood(self) -> None:
        """
        While a VM turns its neighbour's entry as fast as it can, whoever is on another
        network is served; and when it ends, so is the neighbour.
        """
        proxy = self.start_devnova()
        attacker = Attacker(self.world, self.rogue, self.victim)
        with ThreadPoolExecutor(1) as pool:
            flood = pool.submit(attacker.attack, "flood", 1)
            while not flood.done():
                [twin] = self.ask(self.twin)
                self.check_own(twin, self.twin)
            self.assertGreater(flood.result()["counts"]["turns"], 1000)
        attacker.give_back()
        [answers] = wait_for("answer", self.served)
        self.check_own(answers, self.victim)
        self.assertIsNone(proxy.status()["sources"][0]["problem"])

    def test_duplicate_address(self) -> None:
        """
        A VM that gives itself its neighbour's addresses, having asked or not whether
        they are free, gets a refusal, or by the link-local one what is its own; the
        neighbour is served again when that is over.
        """
        self.start_devnova()
        seen = [{answer.status for answer in self.steal(a)} for a in self.addresses]
        for statuses in seen[:2]:
            # Four may wait at a time, and the others are told to come back.
            self.assertIn(404, statuses)
            self.assertLessEqual(statuses, {404, 503})
        self.assertEqual(seen[2], {200})
        thief = self.world.vms[self.rogue.hostname]
        thief.sysctl("ipv6/conf/eth0/accept_dad", 1)
        for address in self.addresses:
            self.steal(address)
        [answers] = self.ask(self.victim, times=1)
        self.check_own(answers, self.victim)

    def steal(self, address: str) -> list[Answer]:
        """
        Have the neighbour use one of the victim's addresses.

        @return: What it was answered, which is nothing of the victim's.
        """
        thief, own = self.world.vms[self.rogue.hostname], link_local(self.rogue.mac)
        is_link_local = address.startswith("fe80:")
        attacker = Attacker(self.world, self.rogue, self.victim, address)
        with attacker.having_the_address():
            if is_link_local:
                thief.ip("addr", "del", f"{own}/64", "dev", "eth0")
            talks = self.talks(address, 4)
            answers = self.guest(self.rogue.hostname).talk(*talks, parallel=8)
            if is_link_local:
                thief.ip("addr", "add", f"{own}/64", "dev", "eth0", "nodad")
        self.check_nothing(answers)
        return answers
