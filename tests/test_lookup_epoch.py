"""
Tests for L{mdproxy.lookup.epoch}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.epoch import Epoch

DAY = 86400.0


class EpochTests(SynchronousTestCase):
    """
    Tests for L{Epoch} (scenarios D10 and D11).
    """

    def setUp(self) -> None:
        """
        Make clocks that agree.
        """
        self.wall, self.monotonic = 1_795_000_000.0, 5_000.0
        self.epoch = Epoch(lambda: self.wall, lambda: self.monotonic)

    def advance(self, seconds: float) -> None:
        """
        Let time go by.
        """
        self.wall += seconds
        self.monotonic += seconds

    def test_agrees(self) -> None:
        """
        While nobody sets the wall clock it is the same.
        """
        self.advance(3600.25)
        self.assertEqual(self.epoch.now(), self.wall)
        self.assertEqual(self.epoch.read(1_795_003_700.0), 1_795_003_700.0)
        self.assertIsNone(self.epoch.read(None))

    def test_a_day_on(self) -> None:
        """
        When the wall clock is set a day on no lease ends sooner, neither one that was
        read before nor one that is read then.
        """
        before = self.epoch.read(self.wall + 60)
        self.wall += DAY
        after = self.epoch.read(self.wall + 60)
        self.advance(59)
        for expires in (before, after):
            assert expires is not None
            self.assertGreater(expires, self.epoch.now())
        self.advance(1)
        for expires in (before, after):
            assert expires is not None
            self.assertLessEqual(expires, self.epoch.now())

    def test_a_day_back(self) -> None:
        """
        When it is set a day back no lease lasts longer.
        """
        before = self.epoch.read(self.wall + 60)
        self.wall -= DAY
        after = self.epoch.read(self.wall + 60)
        self.assertEqual(before, after)
        self.advance(60)
        assert after is not None
        self.assertLessEqual(after, self.epoch.now())

    def test_slight_differences(self) -> None:
        """
        What is read is the same though the clocks are not read at the same moment.
        """
        self.wall += 0.3
        self.assertEqual(self.epoch.read(1_795_003_700.0), 1_795_003_700.0)
