"""
A few rows of the boot matrix; script/test-long runs all of them.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.lab.cloud import Cloud, make_machines
from tests.lab.matrix import ROWS
from tests.lab.matrix_run import Matrix
from tests.lab.world import require

#: How many VMs boot here at the same instant.
VMS = 4


class MatrixTests(SynchronousTestCase):
    """
    VMs boot with all their data, and Nova is asked no more often than it takes, though
    something is wrong.
    """

    def setUp(self) -> None:
        """
        Make the cloud.
        """
        require()
        cloud = Cloud(make_machines(VMS + 1))
        cloud.__enter__()
        self.addCleanup(cloud.__exit__, None, None, None)
        self.matrix = Matrix(cloud)

    def check(self, name: str, *sources: str) -> None:
        """
        Run a row of the matrix, once for each data source.

        @param name: The row's name.
        """
        [row] = [row for row in ROWS if row.name == name]
        row = evolve(row, vms=VMS, seeds=row.seeds[:1])
        for source in sources:
            [outcome] = self.matrix.run(row, source)
            self.assertEqual(outcome.verdict.faults, (), outcome.logs["mdproxy"])
            self.assertEqual(outcome.verdict.complete, VMS)

    def test_nova_down(self) -> None:
        """
        Nova is down for the first three seconds.
        """
        self.check("Nova down 3 s", "OpenStack")

    def test_not_in_the_database(self) -> None:
        """
        Nova does not know the instance for the first three seconds.
        """
        self.check("404 for 3 s", "OpenStack")

    def test_resets(self) -> None:
        """
        One in ten of Nova's answers is reset, before its head or behind it.
        """
        self.check("10 % reset", "OpenStack")

    def test_late_port(self) -> None:
        """
        The ports are learnt two seconds late.
        """
        self.check("port learnt 2 s late", "Ec2")

    def test_silent_nova(self) -> None:
        """
        The first of two Novas takes requests and never answers.
        """
        self.check("two Novas, first stalls", "OpenStack")

    def test_reload(self) -> None:
        """
        Another Nova with another secret is put in force while VMs boot.
        """
        self.check("good reload", "OpenStack")
