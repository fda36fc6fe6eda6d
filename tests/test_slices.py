"""
Tests for L{mdproxy.slices}.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.slices import SLICE, Slices


class SlicesTests(SynchronousTestCase):
    """
    Tests for L{Slices}.
    """

    def setUp(self) -> None:
        """
        Make a worker whose clock goes on while it works.
        """
        self.clock = Clock()
        self.slices = Slices(self.clock)
        self.done: list[str] = []

    def job(self, name: str, *costs: float) -> Iterator[None]:
        """
        Do something in steps.

        @param costs: How long each takes.
        """
        try:
            for cost in costs:
                self.clock.rightNow += cost
                self.done.append(name)
                yield None
        finally:
            self.done.append(f"{name}.")

    def test_short_work_is_done_at_once(self) -> None:
        """
        What fits into a slice is done when it is asked for.
        """
        self.slices.do(self.job("a", 0, 0))
        self.assertEqual(self.done, ["a", "a", "a."])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_long_work_is_cut(self) -> None:
        """
        What does not fit goes on in the next turn, after all that is due.
        """
        self.slices.do(self.job("a", *[SLICE] * 2))
        self.assertEqual(self.done, ["a"])
        self.clock.callLater(0, self.done.append, "-")
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a", "-", "a."])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slice(self) -> None:
        """
        Steps are done until a slice is over.
        """
        self.slices.do(self.job("a", *[SLICE / 2] * 3))
        self.assertEqual(self.done, ["a"] * 2)

    def test_one_after_the_other(self) -> None:
        """
        What is asked for meanwhile comes after it, also by the work itself.
        """

        def asking() -> Iterator[None]:
            self.slices.do(self.job("c", 0))
            yield None
            self.done.append("b.")

        self.slices.do(self.job("a", SLICE, 0))
        self.slices.do(asking())
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a", "a.", "b.", "c", "c."])

    def test_failure(self) -> None:
        """
        Work that fails is logged, and costs the others nothing.
        """

        def failing() -> Iterator[None]:
            yield None
            raise ZeroDivisionError

        self.slices.do(self.job("a", SLICE))
        self.slices.do(failing())
        self.slices.do(self.job("b", 0))
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a.", "b", "b."])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """
        What is stopped is not done, and what has begun is ended in order.
        """
        self.slices.do(self.job("a", SLICE, SLICE))
        self.slices.do(self.job("b", SLICE))
        self.slices.stop()
        self.assertEqual(self.done, ["a", "a."])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.slices.do(self.job("c", 0))
        self.assertEqual(self.done, ["a", "a.", "c", "c."])

    def test_stop_by_the_work(self) -> None:
        """
        Work may have everything stopped, itself included.
        """

        def stopping() -> Iterator[None]:
            yield None
            self.slices.stop()

        self.slices.do(self.job("a", SLICE))
        self.slices.do(stopping())
        self.slices.do(self.job("b", 0))
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a."])

    def test_clock_set_back(self) -> None:
        """
        A slice ends when the clock is set back while it lasts.
        """
        self.clock.advance(100)
        self.slices.do(self.job("a", -50, 0))
        self.assertEqual(self.done, ["a"])
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "a", "a."])
