"""
Tests for L{mdproxy.histogram}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.histogram import BOUNDS, Histogram

_DURATIONS = st.lists(st.floats(0, 100), max_size=50)


def of(*durations: float) -> Histogram:
    """
    Count durations.
    """
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    return histogram


class HistogramTests(SynchronousTestCase):
    """
    Tests for L{Histogram}.
    """

    def test_bounds_belong_to_what_they_end(self) -> None:
        """
        A duration that is a bound lies below it, as C{le} says in Prometheus.
        """
        for place, bound in enumerate(BOUNDS):
            self.assertEqual(of(bound).counts[place], 1)
        self.assertEqual(of(BOUNDS[-1] + 1).counts[-1], 1)

    @given(_DURATIONS, _DURATIONS)
    def test_since(self, before: list[float], after: list[float]) -> None:
        """
        What came after a copy was taken is what it is told to be.
        """
        histogram = of(*before)
        copy = histogram.copy()
        for seconds in after:
            histogram.add(seconds)
        later = histogram.since(copy)
        self.assertEqual(later.counts, of(*after).counts)
        self.assertEqual(later.count, len(after))
        self.assertAlmostEqual(later.sum, sum(after), places=6)
        self.assertEqual(copy.counts, of(*before).counts)

    @given(st.lists(st.floats(0, 29), min_size=1), st.floats(0, 1))
    def test_quantile(self, durations: list[float], share: float) -> None:
        """
        An estimate lies in the bucket of the duration that it stands for.
        """
        place = max(0, -int(-share * len(durations) // 1) - 1)
        meant = sorted(durations)[place]
        estimate = of(*durations).quantile(share)
        assert estimate is not None
        upper = next(bound for bound in BOUNDS if meant <= bound)
        lower = max((bound for bound in BOUNDS if bound < meant), default=0.0)
        self.assertLessEqual(lower, estimate + 1e-9)
        self.assertLessEqual(estimate, upper + 1e-9)

    def test_quantile_of_nothing(self) -> None:
        """
        Where there was nothing there is no estimate; above the last bound it is that.
        """
        self.assertIsNone(of().quantile(0.5))
        self.assertEqual(of(1000.0).quantile(0.5), BOUNDS[-1])
