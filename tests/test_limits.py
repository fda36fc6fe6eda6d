"""
Tests for L{mdproxy.limits}.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.limits import Rates, Seat, Seldom, Shares

_A, _B, _C = ("net", "a"), ("net", "b"), ("net", "c")
_ELSEWHERE = ("other", "a")


class SharesTests(SynchronousTestCase):
    """
    Tests for L{Shares}.
    """

    def test_share_of_a_seat(self) -> None:
        """
        No seat gets more than its share, and none pays for another.
        """
        shares = Shares(2, 9, 9)
        self.assertEqual(
            [shares.take(seat) for seat in (_A, _A, _A, _B, _ELSEWHERE)],
            [True, True, False, True, True],
        )

    def test_share_of_a_network(self) -> None:
        """
        No network gets more than its share, however many seats it has.
        """
        shares = Shares(2, 3, 9)
        self.assertEqual(
            [shares.take(seat) for seat in (_A, _A, _B, _B, _C, _ELSEWHERE)],
            [True, True, True, False, False, True],
        )

    def test_all(self) -> None:
        """
        All together get no more than there is.
        """
        shares = Shares(2, 2, 3)
        self.assertEqual(
            [shares.take(seat) for seat in (_A, _A, _ELSEWHERE, _ELSEWHERE)],
            [True, True, True, False],
        )
        self.assertEqual(shares.taken, 3)

    def test_resized(self) -> None:
        """
        With other bounds what is held stays so, and the next to ask is judged by them.
        """
        shares = Shares(2, 3, 4)
        self.assertTrue(shares.take(("red", "a")))
        self.assertTrue(shares.take(("red", "a")))
        shares.resize(1, 2, 3)
        self.assertEqual(shares.taken, 2)
        self.assertFalse(shares.take(("red", "b")))
        self.assertTrue(shares.take(("blue", "a")))
        self.assertFalse(shares.take(("green", "a")))
        shares.resize(3)
        self.assertTrue(shares.take(("red", "a")))
        self.assertFalse(shares.take(("red", "a")))
        self.assertTrue(shares.take(("green", "a")))

    def test_given_back(self) -> None:
        """
        What is given back can be taken again, and a refusal took nothing.
        """
        shares = Shares(1, 1, 1)
        self.assertTrue(shares.take(_A))
        self.assertFalse(shares.take(_B))
        self.assertFalse(shares.take(_B))
        shares.give_back(_A)
        self.assertEqual(shares.taken, 0)
        self.assertTrue(shares.take(_B))

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.booleans(),
                st.tuples(st.sampled_from("mn"), st.sampled_from("abc")),
            ),
            max_size=60,
        )
    )
    def test_any_order(self, steps: list[tuple[bool, Seat]]) -> None:
        """
        In any order of taking and giving back the bounds hold, a place is refused only
        where one of them is reached, and nothing is kept of seats that hold none.
        """
        shares = Shares(2, 3, 5)
        held: Counter[Seat] = Counter()
        for take, seat in steps:
            network = sum(n for (name, _), n in held.items() if name == seat[0])
            if take:
                free = held[seat] < 2 and network < 3 and held.total() < 5
                self.assertEqual(shares.take(seat), free)
                held[seat] += free
            elif held[seat]:
                shares.give_back(seat)
                held[seat] -= 1
            self.assertEqual(shares.taken, held.total())
        for seat in list(held.elements()):
            shares.give_back(seat)
        self.assertEqual(shares, Shares(2, 3, 5))


class RatesTests(SynchronousTestCase):
    """
    Tests for L{Rates}.
    """

    def test_burst(self) -> None:
        """
        A seat that was quiet may ask as often as its bucket is large, not once more.
        """
        rates = Rates(10, 3)
        self.assertEqual(
            [rates.allows(_A, 100.0) for _ in range(5)],
            [True, True, True, False, False],
        )

    def test_no_limit(self) -> None:
        """
        Without a rate there is no limit, and nobody is remembered; one may come later.
        """
        rates = Rates(0, 1)
        self.assertTrue(all(rates.allows(_A, 100.0) for _ in range(1000)))
        self.assertEqual(rates.kept, 0)
        rates.resize(1, 1)
        self.assertEqual([rates.allows(_A, 100.0) for _ in range(2)], [True, False])

    def test_refill(self) -> None:
        """
        A bucket gains a token in each interval, whatever was refused, up to its size.
        """
        rates = Rates(10, 2)
        asked = [(now, rates.allows(_A, now)) for now in (0, 0, 0, 0.05, 0.11, 0.12)]
        self.assertEqual(
            asked,
            [
                (0, True),
                (0, True),
                (0, False),
                (0.05, False),
                (0.11, True),
                (0.12, False),
            ],
        )
        self.assertEqual([rates.allows(_A, 9) for _ in range(3)], [True, True, False])

    def test_apart(self) -> None:
        """
        No seat pays for another.
        """
        rates = Rates(1, 1)
        self.assertEqual(
            [rates.allows(seat, 5) for seat in (_A, _A, _B, _ELSEWHERE, _B)],
            [True, False, True, True, False],
        )

    def test_resized(self) -> None:
        """
        Other bounds hold from the next question on; what was used stays used.
        """
        rates = Rates(1, 2)
        self.assertEqual([rates.allows(_A, 5) for _ in range(3)], [True, True, False])
        rates.resize(1, 4)
        self.assertEqual([rates.allows(_A, 5) for _ in range(3)], [True, True, False])
        rates.resize(1, 1)
        self.assertEqual(
            [rates.allows(_A, now) for now in (8.9, 9, 9.5)], [False, True, False]
        )

    @settings(deadline=None)
    @given(
        st.integers(1, 50),
        st.integers(1, 9),
        st.lists(
            st.tuples(st.sampled_from((_A, _B, _C)), st.integers(0, 40)), max_size=200
        ),
    )
    def test_bucket(self, rate: int, burst: int, steps: list[tuple[Seat, int]]) -> None:
        """
        At any pace each seat is allowed just what its bucket holds.
        """
        rates = Rates(rate, burst)
        ticks = 0
        # In units of a hundredth of a token.
        tokens = dict.fromkeys((_A, _B, _C), burst * 100)
        last = dict.fromkeys((_A, _B, _C), 0)
        for seat, pause in steps:
            ticks += pause
            gained = (ticks - last[seat]) * rate
            tokens[seat] = min(burst * 100, tokens[seat] + gained)
            last[seat] = ticks
            free = tokens[seat] >= 100
            self.assertEqual(rates.allows(seat, ticks / 100), free)
            tokens[seat] -= 100 * free

    def test_forgets_what_is_full(self) -> None:
        """
        Of seats that have long been quiet nothing is kept.
        """
        rates = Rates(10, 5)
        for number in range(1000):
            self.assertTrue(rates.allows(("net", str(number)), number * 0.1))
        self.assertLess(rates.kept, 20)

    def test_bounded(self) -> None:
        """
        However many seats there are count is kept of so many; the latest are among
        them.
        """
        rates = Rates(1, 1, most=10)
        for number in range(1000):
            self.assertTrue(rates.allows(("net", str(number)), 5))
        self.assertLessEqual(rates.kept, 20)
        for number in range(990, 1000):
            self.assertFalse(rates.allows(("net", str(number)), 5))


class SeldomTests(SynchronousTestCase):
    """
    Tests for L{Seldom}.
    """

    def test_first_and_then_seldom(self) -> None:
        """
        An event passes, then is counted for a period, then passes with the count.
        """
        seldom = Seldom(60)
        self.assertEqual(
            [seldom.passes("e", now) for now in (5, 6, 64.9, 65, 66, 125, 300)],
            [0, None, None, 2, None, 1, 0],
        )

    def test_first_at_the_beginning_of_time(self) -> None:
        """
        Also when the clock begins at nought.
        """
        seldom = Seldom(60)
        self.assertEqual([seldom.passes("e", 0), seldom.passes("e", 1)], [0, None])

    def test_events_apart(self) -> None:
        """
        Events don't keep each other quiet.
        """
        seldom = Seldom(60)
        self.assertEqual(
            [seldom.passes(event, 1) for event in "abab"], [0, 0, None, None]
        )

    def test_bounded(self) -> None:
        """
        Of however many events there are, only some are kept count of: the latest.
        """
        seldom = Seldom(60, most=3)
        for number in range(1000):
            self.assertEqual(seldom.passes(number, 1), 0)
        self.assertEqual([seldom.passes(n, 2) for n in (999, 998, 997)], [None] * 3)
        self.assertEqual(seldom.passes(996, 2), 0)
