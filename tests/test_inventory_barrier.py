"""
Tests for L{mdproxy.inventory.barrier}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.barrier import PATIENCE, PAUSE, Barrier


class BarrierTests(SynchronousTestCase):
    """
    Tests for L{Barrier}.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        self.clock = Clock()
        self.asked: list[Deferred[Any]] = []
        self.is_there = True
        self.is_done = True
        self.barrier = Barrier(self.clock, self._ask, lambda: self.is_done)

    def _ask(self) -> Deferred[Any] | None:
        """
        Ask the server, if there is one.
        """
        if not self.is_there:
            return None
        self.asked.append(Deferred())
        return self.asked[-1]

    def test_answer(self) -> None:
        """
        Who waits goes when the server has answered, and no timer is left.
        """
        done = self.barrier.wait()
        self.assertNoResult(done)
        self.asked[0].callback(None)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late_comers(self) -> None:
        """
        Who comes after the question shares the next one, which is not asked at once.
        """
        first = self.barrier.wait()
        later = [self.barrier.wait() for _ in range(500)]
        self.asked[0].callback(None)
        self.successResultOf(first)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(PAUSE)
        self.assertEqual(len(self.asked), 2)
        self.assertNoResult(later[0])
        self.asked[1].callback(None)
        for done in later:
            self.successResultOf(done)

    def test_not_too_often(self) -> None:
        """
        However often somebody wants to know, the server is asked at its pace.
        """
        for _ in range(100):
            self.barrier.wait()
            for answer in self.asked:
                if not answer.called:
                    answer.callback(None)
            self.clock.advance(PAUSE / 10)
        self.assertLessEqual(len(self.asked), 11)
        self.assertGreaterEqual(len(self.asked), 9)

    def test_more_to_come(self) -> None:
        """
        Where the answer is not all, who waits goes when all has come.
        """
        self.is_done = False
        done = self.barrier.wait()
        self.barrier.look()
        self.asked[0].callback(None)
        self.barrier.look()
        self.assertNoResult(done)
        self.is_done = True
        self.barrier.look()
        self.successResultOf(done)

    def test_look_before_the_answer(self) -> None:
        """
        That nothing is missing says nothing before the answer.
        """
        done = self.barrier.wait()
        self.barrier.look()
        self.assertNoResult(done)
        self.barrier.stop()

    def test_no_server(self) -> None:
        """
        Where nobody is there to be asked nobody waits, but for the next question.
        """
        self.is_there = False
        self.successResultOf(self.barrier.wait())
        done = self.barrier.wait()
        self.clock.advance(PAUSE)
        self.successResultOf(done)

    def test_silence(self) -> None:
        """
        Nobody waits for ever, and an answer that comes too late is not taken for that
        to the next question.
        """
        done = self.barrier.wait()
        self.clock.advance(PATIENCE)
        self.successResultOf(done)
        after = self.barrier.wait()
        self.asked[0].callback(None)
        self.assertNoResult(after)
        self.asked[1].callback(None)
        self.successResultOf(after)

    def test_lost(self) -> None:
        """
        An answer that never comes, because the connection is lost, releases nobody by
        itself; the end does.
        """
        done, later = self.barrier.wait(), self.barrier.wait()
        self.asked[0].errback(RuntimeError())
        self.assertNoResult(done)
        self.barrier.stop()
        self.successResultOf(done)
        self.successResultOf(later)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(PAUSE)
        again = self.barrier.wait()
        self.asked[1].callback(None)
        self.successResultOf(again)
