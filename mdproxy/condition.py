# -*- test-case-name: tests.test_condition -*-
"""
The condition of a source: how much its silence is worth, and what is wrong.
"""

from __future__ import annotations

from attrs import define, field
from twisted.logger import Logger

from mdproxy.interfaces import SourceState


@define
class Condition:
    """
    The state of one source, logged when it changes and at no other time.

    @ivar name: The source's name.
    @ivar log: The source's own log.
    @ivar state: How much the source's silence is worth.
    @ivar problem: What is wrong, as a sentence; C{None}: nothing.
    """

    name: str
    log: Logger
    state: SourceState = field(default=SourceState.STARTING, init=False)
    problem: str | None = field(default=None, init=False)

    def become(self, state: SourceState, problem: str | None = None) -> None:
        """
        Take on a condition; saying the same again changes nothing.

        @param state: How much the source's silence is worth from now on.
        @param problem: What is wrong; it should read the same for as long as the
            trouble is the same.
        """
        if (state, problem) == (self.state, self.problem):
            return
        self.state = state
        self.problem = problem
        if problem is None:
            self.log.info("{source} is {state}", source=self.name, state=state.value)
        else:
            self.log.warn(
                "{source} is {state}: {problem}",
                source=self.name,
                state=state.value,
                problem=problem,
            )
