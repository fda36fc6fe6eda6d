"""
Tests for L{mdproxy.limits}.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.limits import Seat, Seldom, Shares

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
