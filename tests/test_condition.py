"""
Tests for L{mdproxy.condition}.
"""

from __future__ import annotations

from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.condition import Condition
from mdproxy.interfaces import SourceState


class ConditionTests(SynchronousTestCase):
    """
    Tests for L{Condition}.
    """

    def test_changes_are_logged_once(self) -> None:
        """
        Each change of state or problem is one line in the log; saying it again is none.
        """
        condition = Condition("leases", Logger())
        self.assertEqual(condition.state, SourceState.STARTING)
        with capturedLogs() as events:
            for state, problem in (
                (SourceState.LIVE, None),
                (SourceState.STALE, "it is gone"),
                (SourceState.STALE, "it is locked"),
                (SourceState.LIVE, None),
            ):
                for _ in range(3):
                    condition.become(state, problem)
                self.assertEqual((condition.state, condition.problem), (state, problem))
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in events],
            [
                (LogLevel.info, "leases is live"),
                (LogLevel.warn, "leases is stale: it is gone"),
                (LogLevel.warn, "leases is stale: it is locked"),
                (LogLevel.info, "leases is live"),
            ],
        )
