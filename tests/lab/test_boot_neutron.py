"""
One cheap row of the boot matrix on a host of Neutron's; script/test-long runs all.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.lab import neutron_matrix_run
from tests.lab.neutron_host import require_neutron
from tests.lab.neutron_matrix import NEUTRON_ROWS

#: How many VMs boot here at the same instant, on two networks.
VMS = 4


class NeutronMatrixTests(SynchronousTestCase):
    """
    VMs boot with all their data, and Nova is asked no more often than it takes.
    """

    def test_late_port(self) -> None:
        """
        Neutron learns the ports two seconds late; the networks use the same addresses.
        """
        require_neutron()
        [row] = [row for row in NEUTRON_ROWS if row.name == "qdhcp, Neutron, 2 s late"]
        [outcome] = neutron_matrix_run.run(evolve(row, vms=VMS), "Ec2")
        self.assertEqual(outcome.verdict.faults, (), outcome.logs["mdproxy"])
        self.assertEqual(outcome.verdict.complete, VMS)
