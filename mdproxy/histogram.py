# -*- test-case-name: tests.test_histogram -*-
"""
How long things took: how many fell between which bounds.

Pure; fixed memory, and cheap enough for every request.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from attrs import define, field

#: The upper ends of the buckets, in seconds; what took longer falls into one more.
#: From what a kept connection takes to the longest wait for a first byte.
BOUNDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)


def _none() -> list[int]:
    """
    Begin with empty buckets.
    """
    return [0] * (len(BOUNDS) + 1)


@define(eq=False)
class Histogram:
    """
    Durations, counted by bucket.

    @ivar counts: How many fell into each bucket (not added up), the last one without an
        upper end.
    @ivar sum: All durations together, in seconds.
    """

    counts: list[int] = field(factory=_none)
    sum: float = 0.0

    def add(self, seconds: float) -> None:
        """
        Count a duration.
        """
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        """
        Tell how many durations there were.
        """
        return sum(self.counts)

    def copy(self) -> Histogram:
        """
        Keep what there is now, to be compared with later.
        """
        return Histogram(list(self.counts), self.sum)

    def since(self, earlier: Histogram) -> Histogram:
        """
        Tell what came after an earlier copy of this.
        """
        pairs = zip(self.counts, earlier.counts, strict=True)
        return Histogram([now - then for now, then in pairs], self.sum - earlier.sum)

    def quantile(self, share: float) -> float | None:
        """
        Estimate below which duration a share of all lie, as Prometheus does: evenly
        spread within a bucket (promql/quantile.go, C{BucketQuantile}).

        @param share: Between 0 and 1.

        @return: Seconds; the last bound where it lies above that; C{None} where there
            was nothing.
        """
        rank = share * self.count
        below, lower = 0, 0.0
        for count, upper in zip(self.counts, BOUNDS, strict=False):
            if count and below + count >= rank:
                return lower + (upper - lower) * (rank - below) / count
            below, lower = below + count, upper
        return lower if self.count else None
