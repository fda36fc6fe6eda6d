"""
Tests for L{mdproxy.inventory.demand}.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.demand import PAUSE, WINDOW, Demand


class DemandTests(SynchronousTestCase):
    """
    Tests for L{Demand}, three items to a question.
    """

    def setUp(self) -> None:
        """
        Take note of questions.
        """
        self.clock = Clock()
        self.asked: list[tuple[float, str, list[str]]] = []
        self.answers: list[Deferred[None]] = []
        self.demand = Demand(self.clock, self.ask, 3)

    def ask(self, subject: str, items: Sequence[str]) -> Deferred[None]:
        """
        Take note of a question, which is answered by hand.
        """
        self.asked.append((self.clock.seconds(), subject, list(items)))
        self.answers.append(Deferred())
        return self.answers[-1]

    def answer(self) -> None:
        """
        Answer the eldest question.
        """
        self.answers.pop(0).callback(None)

    def test_together(self) -> None:
        """
        Those who come within a moment share one question, and the same item is in it
        once.
        """
        waiting = [self.demand.want("red", item) for item in "aba"]
        self.assertEqual(self.asked, [])
        self.clock.advance(WINDOW)
        self.assertEqual(self.asked, [(WINDOW, "red", ["a", "b"])])
        for done in waiting:
            self.assertNoResult(done)
        self.answer()
        for done in waiting:
            self.successResultOf(done)

    def test_next_question(self) -> None:
        """
        Who comes while a question is under way waits for the next one, a second after
        that began; it may be answered by what was true before.
        """
        self.demand.want("red", "a")
        self.clock.advance(WINDOW)
        done = self.demand.want("red", "a")
        self.answer()
        self.assertNoResult(done)
        self.clock.advance(PAUSE - WINDOW)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(WINDOW)
        self.assertEqual(self.asked[1], (PAUSE + WINDOW, "red", ["a"]))
        self.answer()
        self.successResultOf(done)

    def test_slow_answer(self) -> None:
        """
        There is one question about a subject at a time, however long it takes.
        """
        self.demand.want("red", "a")
        self.clock.advance(WINDOW)
        self.demand.want("red", "b")
        self.clock.advance(10)
        self.assertEqual(len(self.asked), 1)
        self.answer()
        self.clock.advance(WINDOW)
        self.assertEqual(len(self.asked), 2)

    def test_many(self) -> None:
        """
        What does not fit into one question is asked with the next ones, the eldest
        first; nothing is dropped.
        """
        waiting = [self.demand.want("red", item) for item in "abcdefg"]
        for _ in range(3):
            self.clock.advance(PAUSE)
            self.answer()
        self.assertEqual(
            [items for _, _, items in self.asked],
            [["a", "b", "c"], ["d", "e", "f"], ["g"]],
        )
        for done in waiting:
            self.successResultOf(done)

    def test_subjects_do_not_wait_for_each_other(self) -> None:
        """
        Each subject has its own pace.
        """
        self.demand.want("red", "a")
        self.clock.advance(WINDOW)
        self.demand.want("blue", "a")
        self.clock.advance(WINDOW)
        self.assertEqual([subject for _, subject, _ in self.asked], ["red", "blue"])

    def test_waited(self) -> None:
        """
        It is known for how long the eldest question has had no answer.
        """
        self.assertEqual(self.demand.waited("red"), 0)
        self.demand.want("red", "a")
        self.clock.advance(1)
        self.demand.want("red", "b")
        self.clock.advance(1)
        self.assertEqual(self.demand.waited("red"), 2)
        self.answer()
        self.assertEqual(self.demand.waited("red"), 1)
        self.assertEqual(self.demand.waited("blue"), 0)

    def test_pause(self) -> None:
        """
        Nothing is asked in a pause; afterwards, what was wanted in it.
        """
        self.demand.want("red", "a")
        self.demand.pause()
        done = self.demand.want("red", "b")
        self.clock.advance(10)
        self.assertEqual(self.asked, [])
        self.demand.resume()
        self.clock.advance(WINDOW)
        self.assertEqual([items for _, _, items in self.asked], [["a", "b"]])
        self.answer()
        self.successResultOf(done)

    def test_release(self) -> None:
        """
        Those who wait for a question that is not asked are let go; those who wait for
        an answer are not.
        """
        asking = self.demand.want("red", "a")
        self.clock.advance(WINDOW)
        waiting = [self.demand.want("red", "b"), self.demand.want("blue", "c")]
        self.assertEqual(len(self.demand), 3)
        self.demand.pause()
        self.demand.release()
        for done in waiting:
            self.successResultOf(done)
        self.assertNoResult(asking)
        self.assertEqual(len(self.demand), 1)
        self.answer()
        self.successResultOf(asking)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_left(self) -> None:
        """
        A subject that nobody asks about any more is forgotten.
        """
        self.demand.want("red", "a")
        self.clock.advance(WINDOW)
        self.answer()
        self.clock.advance(PAUSE)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.demand._lines, {})

    def test_window_after_an_answer(self) -> None:
        """
        Others may join a question that is asked when the subject was about to be
        forgotten.
        """
        self.demand.want("red", "a")
        self.clock.advance(WINDOW)
        self.clock.advance(PAUSE)
        self.answer()
        self.demand.want("red", "a")
        self.clock.advance(WINDOW / 2)
        self.demand.want("red", "b")
        self.clock.advance(WINDOW)
        self.assertEqual(self.asked[1][2], ["a", "b"])

    def test_asks_from_an_answer(self) -> None:
        """
        Who is answered may ask again at once, and waits for the next question.
        """
        again: list[Deferred[None]] = []
        done = self.demand.want("red", "a")
        done.addCallback(lambda _: again.append(self.demand.want("red", "a")))
        self.clock.advance(WINDOW)
        self.answer()
        self.clock.advance(PAUSE)
        self.answer()
        self.successResultOf(again[0])

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["red", "blue"]),
                st.sampled_from("abcdefgh"),
                st.sampled_from([0.0, 0.005, 0.3, 1.1]),
                st.booleans(),
            ),
            max_size=40,
        )
    )
    def test_any_history(self, steps: list[tuple[str, str, float, bool]]) -> None:
        """
        Whatever is wanted and whenever it is answered, each wish is answered by a
        question that began after it, and a subject's questions are a second apart.
        """
        self.setUp()
        wanted: list[tuple[float, str, str, Deferred[None]]] = []
        for subject, item, delay, is_answered in steps:
            done = self.demand.want(subject, item)
            wanted.append((self.clock.seconds(), subject, item, done))
            self.clock.advance(delay)
            if is_answered and self.answers:
                self.answer()
        for _ in range(40):
            self.clock.advance(PAUSE + WINDOW)
            while self.answers:
                self.answer()
        for since, subject, item, done in wanted:
            self.successResultOf(done)
            self.assertTrue(
                any(
                    at > since and subject == about and item in items
                    for at, about, items in self.asked
                )
            )
        for subject in ("red", "blue"):
            times = [at for at, about, _ in self.asked if about == subject]
            gaps = [b - a for a, b in pairwise(times)]
            self.assertGreaterEqual(min(gaps, default=PAUSE), PAUSE - 1e-9)
