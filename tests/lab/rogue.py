"""
A VM that wants what another VM on its bridge would get: the tests' side.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from tests.lab.machines import Machine
from tests.lab.world import GATEWAY, METADATA_ADDRESS, METADATA_ADDRESS6, World

_ATTACKS = "tests/lab/attacks.py"


@frozen
class Attacker:
    """
    The attacker and its victim.

    @ivar world: The lab they are in.
    @ivar rogue: The attacker.
    @ivar victim: The other, on the same network.
    @ivar address: The victim's address that is to be stolen; C{None}: its IPv4 one.
    """

    world: World
    rogue: Machine
    victim: Machine
    address: str | None = None

    @property
    def target(self) -> str:
        """
        The address that is to be stolen.
        """
        return self.address or self.victim.ipv4

    def attack(self, act: str, rounds: int, **details: Any) -> dict[str, Any]:
        """
        Attack, and say what came of it.

        @param act: C{hurry}, C{besiege} or C{flood}, of L{tests.lab.attacks}; for the
            last one C{rounds} are seconds.
        @param details: More of the order: C{port}, C{seed}, and the ways to besiege.

        @return: What L{tests.lab.attacks} reports.
        """
        learns = [base64.b64encode(s).decode() for s in self.victim.secrets]
        order = {"rounds": rounds, "learns": learns, "port": 80, "seed": 1, **details}
        report: dict[str, Any] = json.loads(self._do(self.rogue, act, order))
        return report

    @contextmanager
    def having_the_address(self) -> Iterator[None]:
        """
        Use the victim's address, and tell everybody; in the end the victim has it back.
        """
        thief = self.world.vms[self.rogue.hostname]
        length = 64 if ":" in self.target else 32
        address = ("dev", "eth0", f"{self.target}/{length}")
        thief.ip("addr", "add", *address)
        self._do(self.rogue, "claim", {})
        try:
            yield
        finally:
            thief.ip("addr", "del", *address)
            self.give_back()

    def give_back(self) -> None:
        """
        Have the victim tell everybody where it is.
        """
        self._do(self.victim, "claim", {})

    def _do(self, actor: Machine, act: str, order: dict[str, Any]) -> bytes:
        """
        Have a VM act.
        """
        server = METADATA_ADDRESS6 if ":" in self.target else METADATA_ADDRESS
        who = {
            "act": act,
            "own_mac": actor.mac,
            "victim_mac": self.victim.mac,
            "router_mac": self.world.mac_of(self.victim.network),
            "victim": self.target,
            "gateway": server if ":" in self.target else GATEWAY,
            "server": server,
        }
        vm = self.world.vms[actor.hostname]
        python = (sys.executable, "-I", "-S", _ATTACKS)
        return vm.run(
            *python, stdin=json.dumps({**who, **order}).encode(), timeout=400
        ).stdout
