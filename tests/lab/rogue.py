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
from tests.lab.world import GATEWAY, METADATA_ADDRESS, World

_ATTACKS = "tests/lab/attacks.py"


@frozen
class Attacker:
    """
    The attacker and its victim.

    @ivar world: The lab they are in.
    @ivar rogue: The attacker.
    @ivar victim: The other, on the same network.
    """

    world: World
    rogue: Machine
    victim: Machine

    def attack(self, act: str, rounds: int, **details: Any) -> dict[str, Any]:
        """
        Attack, and say what came of it.

        @param act: C{hurry} or C{besiege}, of L{tests.lab.attacks}.
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
        address = ("dev", "eth0", f"{self.victim.ipv4}/32")
        thief.ip("addr", "add", *address)
        self._do(self.rogue, "claim", {})
        try:
            yield
        finally:
            thief.ip("addr", "del", *address)
            self._do(self.victim, "claim", {})

    def _do(self, actor: Machine, act: str, order: dict[str, Any]) -> bytes:
        """
        Have a VM act.
        """
        who = {
            "act": act,
            "own_mac": actor.mac,
            "victim_mac": self.victim.mac,
            "router_mac": self.world.mac_of(self.victim.network),
            "victim": self.victim.ipv4,
            "gateway": GATEWAY,
            "server": METADATA_ADDRESS,
        }
        vm = self.world.vms[actor.hostname]
        python = (sys.executable, "-I", "-S", _ATTACKS)
        return vm.run(
            *python, stdin=json.dumps({**who, **order}).encode(), timeout=400
        ).stdout
