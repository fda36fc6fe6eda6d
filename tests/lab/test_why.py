"""
What the operator is told of a refusal is the evidence that it rested on.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.lab.case import LabTestCase
from tests.lab.machines import Machine
from tests.lab.proxy import Proxy
from tests.lab.stage import wait_for

NETWORK = "br-tenant1"
#: An address of the network that nobody has.
NOBODY = "10.0.0.77"
STRANGE = "02:00:00:00:00:99"
OPTIONS: dict[str, dict[str, object]] = {"hold": {"openstack": 0.5, "other": 0.5}}


class WhyTests(LabTestCase):
    """
    VMs on a network whose evidence is made wrong in one way after the other.
    """

    booted = ("red-one", "red-two")

    def setUp(self) -> None:
        """
        Start the proxy; of two VMs it knows one.
        """
        super().setUp()
        self.vm, self.stranger = self.machine("red-one"), self.machine("red-two")
        self.lease(self.vm.mac)
        self.proxy: Proxy = self.start_devnova(
            networks=(NETWORK,), known=[self.vm], options=OPTIONS
        )

    def lease(self, mac: str) -> None:
        """
        Have the DHCP server give the VM's address to a MAC.
        """
        line = f"0 {mac} {self.vm.ipv4} vm *\n"
        self.world.leases(NETWORK).write_text(line)

    def why(self, address: str) -> Any:
        """
        Ask why.
        """
        answer = self.proxy.ask_operator(f"/api/v1/why?address={address}")
        self.assertEqual(answer.status, 200, answer)
        (candidate,) = answer.json()["candidates"]
        return candidate

    def expect(self, address: str, reason: str) -> None:
        """
        Wait until a change of the facts is known.
        """
        wait_for(reason, lambda: self.why(address)["reason"] == reason)

    def agree(self, machine: Machine, status: int, reason: str, row: int) -> Any:
        """
        Have a VM ask; what is told of it is what was used, with the frame's MAC.

        @return: What is told.
        """
        answer = self.guest(machine.hostname).ask("/latest/meta-data/hostname")
        self.assertEqual(answer.status, status, answer)
        found = self.why(machine.ipv4)
        used = found["last"][0]
        self.assertEqual((used["status"], used["mac"]), (status, machine.mac))
        for verdict in (used, found):
            self.assertEqual((verdict["reason"], verdict["row"]), (reason, row))
        self.assertEqual(found["verdict"], used["verdict"])
        self.assertEqual(found["neighbour"]["mac"], machine.mac)
        self.assertIn(
            found["neighbour"]["state"], ("reachable", "stale", "delay", "probe")
        )
        if used["verdict"] == "refused":
            whom = f"refused {machine.ipv4} ({machine.mac}) on {NETWORK}"
            self.assertIn(
                f"{whom}: {reason} (row {row}; neighbour {machine.mac}; "
                f"{used['request_id']};",
                self.proxy.running.said(),
            )
        return found

    def test_evidence(self) -> None:
        """
        Of a VM that is served, one whose lease is another's, one that uses a foreign
        address, one that nobody knows, and an address that nobody has.
        """
        found = self.agree(self.vm, 200, "agreed", 1)
        self.assertEqual(found["port"]["instance"], self.vm.instance)
        self.assertEqual(
            (found["lease"]["mac"], found["lease"]["in_force"]), (self.vm.mac, True)
        )
        self.lease(STRANGE)
        self.expect(self.vm.ipv4, "lease-conflict")
        found = self.agree(self.vm, 200, "lease-conflict", 3)
        self.assertIn(STRANGE, found["sentence"])
        self.proxy.know([evolve(self.vm, addresses=(NOBODY,))])
        self.expect(self.vm.ipv4, "foreign-address")
        found = self.agree(self.vm, 404, "foreign-address", 5)
        self.assertIn(f"whose port has {NOBODY}, not {self.vm.ipv4}", found["sentence"])
        found = self.agree(self.stranger, 404, "unknown", 7)
        self.assertIn(self.stranger.mac, found["sentence"])
        found = self.why(NOBODY)
        self.assertEqual((found["reason"], found["row"]), ("no-neighbour", 10))
        self.assertEqual((found["mac"], found["last"]), (None, []))
