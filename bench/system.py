"""
A system under test.
"""

from __future__ import annotations

from attrs import frozen

from tests.lab.stage import Running


@frozen
class System:
    """
    A system that runs.

    @ivar name: What it is called in the output.
    @ivar port: Where it listens.
    @ivar processes: What it was started as.
    """

    name: str
    port: int
    processes: tuple[Running, ...]

    @property
    def roots(self) -> list[int]:
        """
        The ids of its processes, without those that they started.
        """
        return [each.process.pid for each in self.processes]

    def said(self) -> str:
        """
        Read the end of what it logged.
        """
        return "".join(f"\n{each.said()[-2000:]}" for each in self.processes)

    def stop(self) -> None:
        """
        End it.
        """
        for each in self.processes:
            each.stop(40)
