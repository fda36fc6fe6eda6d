"""
Tests for L{mdproxy.pulse}.
"""

from __future__ import annotations

from twisted.internet.task import Clock

from mdproxy.pulse import PERIOD, Pulse
from tests.secrecy import SecrecyTestCase


class PulseTests(SecrecyTestCase):
    """
    Tests for L{Pulse}.
    """

    def setUp(self) -> None:
        """
        Make a pulse that has begun.
        """
        super().setUp()
        self.clock = Clock()
        self.pulse = Pulse(self.clock)
        self.beats: list[float] = []
        self.pulse.startService()
        self.addCleanup(lambda: self.pulse.running and self.pulse.stopService())

    def begin(self) -> None:
        """
        Have the reactor's first turn, and note each beat.
        """
        self.clock.advance(0)
        self.pulse.observe(self.beats.append)

    def test_regular(self) -> None:
        """
        A reactor that has nothing else to do is never late.
        """
        self.begin()
        self.clock.pump([PERIOD] * 4)
        self.assertEqual(self.beats, [0.0] * 4)
        self.assertEqual(self.pulse.lag.count, 4)
        self.assertEqual((self.pulse.latest, self.pulse.worst), (0.0, 0.0))

    def test_late(self) -> None:
        """
        How much later a beat comes than it should is its lag, and the next is due half
        a second after it.
        """
        self.begin()
        self.clock.advance(PERIOD + 2)
        self.clock.advance(PERIOD)
        self.assertEqual(self.beats, [2.0, 0.0])
        self.assertEqual((self.pulse.latest, self.pulse.worst), (0.0, 2.0))
        self.assertEqual(self.pulse.lag.sum, 2.0)

    def test_starting_is_no_lag(self) -> None:
        """
        What happens between the service's start and the reactor's first turn is not
        measured.
        """
        self.clock.advance(60)
        self.begin()
        self.clock.advance(PERIOD)
        self.assertEqual(self.pulse.worst, 0.0)
        self.assertEqual(self.pulse.lag.count, 1)

    def test_clock_is_imprecise(self) -> None:
        """
        A beat that comes too early by a rounding error is in time.
        """
        self.begin()
        self.clock.rightNow -= 1e-9
        self.clock.calls[0].time -= 2e-9
        self.clock.advance(PERIOD)
        self.assertEqual(self.beats, [0.0])

    def test_stops(self) -> None:
        """
        It beats no more when it is stopped, before the first turn and after, and may
        start again.
        """
        self.pulse.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pulse.startService()
        self.begin()
        self.pulse.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pulse.startService()
        self.clock.pump([0, PERIOD])
        self.assertEqual(self.beats, [0.0])

    def test_fault(self) -> None:
        """
        One who fails at a beat keeps neither the others nor the next beat from coming.
        """

        def fail(_late: float) -> None:
            raise ValueError("not today")

        self.pulse.observe(fail)
        self.begin()
        self.clock.pump([PERIOD] * 2)
        self.assertEqual(len(self.beats), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_described(self) -> None:
        """
        The operator is told how late it is now, mostly and at worst.
        """
        self.assertEqual(
            self.pulse.describe(),
            {"latest": 0.0, "worst": 0.0, "median": None, "p99": None},
        )
        self.begin()
        self.clock.pump([PERIOD + 4, PERIOD, PERIOD])
        said = self.pulse.describe()
        self.assertEqual((said["latest"], said["worst"]), (0.0, 4.0))
        self.assertLess(said["median"], 0.001)
        self.assertGreater(said["p99"], 2.5)
