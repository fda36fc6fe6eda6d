"""
Tests for L{mdproxy.inventory.refresh}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.refresh import TOGETHER, Refreshes


class RefreshesTests(SynchronousTestCase):
    """
    Tests for L{Refreshes}.
    """

    def setUp(self) -> None:
        """
        Count the readings.
        """
        self.clock = Clock()
        self.readings: list[float] = []
        self.refreshes = Refreshes(
            self.clock, lambda: self.readings.append(self.clock.seconds())
        )

    def test_first_is_at_once(self) -> None:
        """
        The first refresh reads before it returns.
        """
        self.successResultOf(self.refreshes.refresh("red"))
        self.assertEqual(self.readings, [0])

    def test_others_share_the_next(self) -> None:
        """
        Those that come too soon share one reading, a second after the first.
        """
        self.refreshes.refresh("red")
        self.clock.advance(0.25)
        waiting = [self.refreshes.refresh("red") for _ in range(3)]
        for done in waiting:
            self.assertNoResult(done)
        self.clock.advance(0.75)
        for done in waiting:
            self.successResultOf(done)
        self.assertEqual(self.readings, [0, 1])
        self.assertNoResult(self.refreshes.refresh("red"))
        self.clock.advance(1)
        self.assertEqual(self.readings, [0, 1, 2])
        self.clock.advance(1)
        self.successResultOf(self.refreshes.refresh("red"))

    def test_networks_do_not_wait_for_each_other(self) -> None:
        """
        Each network has its own pace.
        """
        self.refreshes.refresh("red")
        self.clock.advance(TOGETHER)
        self.successResultOf(self.refreshes.refresh("blue"))
        self.assertEqual(self.readings, [0, TOGETHER])

    def test_stop(self) -> None:
        """
        Who waits when it is stopped is let go, without a reading.
        """
        self.refreshes.refresh("red")
        done = self.refreshes.refresh("red")
        self.refreshes.stop()
        self.successResultOf(done)
        self.assertEqual(self.readings, [0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_networks(self) -> None:
        """
        All networks that are missed within a moment share one reading, which begins
        after they were missed.
        """
        waiting = [self.refreshes.refresh(f"net{number}") for number in range(100)]
        self.assertEqual(self.readings, [0])
        self.successResultOf(waiting[0])
        self.assertNoResult(waiting[1])
        self.clock.advance(TOGETHER)
        self.assertEqual(self.readings, [0, TOGETHER])
        for done in waiting[1:]:
            self.successResultOf(done)
