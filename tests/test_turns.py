"""
Tests for L{mdproxy.turns}.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.turns import Turns
from tests.playbook import Ask, ask


def asked_by(mac: str) -> Ask:
    """
    Make a request of an instance.
    """
    exchange = ask()
    exchange.holder = ("red", mac)
    return exchange


class TurnsTests(SynchronousTestCase):
    """
    The order in which requests have their turn.
    """

    def served(self, turns: Turns) -> list[Ask]:
        """
        Take everything, one by one.
        """
        order: list[Ask] = []
        while turns.count:
            exchange = turns.first()
            assert isinstance(exchange, Ask)
            turns.take(exchange)
            order.append(exchange)
        return order

    def test_alone(self) -> None:
        """
        Requests of one holder are taken in the order in which they came.
        """
        turns = Turns()
        exchanges = [asked_by("a") for _ in range(5)]
        for exchange in exchanges:
            turns.add(exchange, 0)
        self.assertEqual(self.served(turns), exchanges)

    def test_burst(self) -> None:
        """
        Who asks once is next, however many of another's requests wait.
        """
        turns = Turns()
        burst = [asked_by("a") for _ in range(100)]
        for exchange in burst:
            turns.add(exchange, 0)
        single = asked_by("b")
        turns.add(single, 0)
        self.assertEqual(self.served(turns)[:3], [burst[0], single, burst[1]])

    def test_again_and_again(self) -> None:
        """
        Nor can he be passed by one who comes again with each turn.
        """
        turns = Turns()
        turns.add(asked_by("a"), 0)
        turns.add(asked_by("a"), 0)
        single = asked_by("b")
        turns.add(single, 0)
        taken = []
        for _ in range(2):
            taken.append(turns.first())
            turns.take(taken[-1])
            turns.add(asked_by("a"), 0)
        self.assertIn(single, taken)

    def test_same_mac_elsewhere(self) -> None:
        """
        The same MAC address on another network is another holder.
        """
        turns = Turns()
        first, second, elsewhere = asked_by("a"), asked_by("a"), asked_by("a")
        elsewhere.holder = ("blue", "a")
        for exchange in (first, second, elsewhere):
            turns.add(exchange, 0)
        self.assertEqual(self.served(turns), [first, elsewhere, second])

    def test_discard(self) -> None:
        """
        What is discarded has no turn, and nobody else loses his; what does not wait
        can't be discarded.
        """
        turns = Turns()
        exchanges = [asked_by(mac) for mac in "aabab"]
        for exchange in exchanges:
            turns.add(exchange, 0)
        self.assertEqual([turns.discard(exchanges[0]) for _ in "xy"], [True, False])
        self.assertFalse(turns.discard(asked_by("c")))
        self.assertEqual(turns.count, 4)
        order = self.served(turns)
        self.assertEqual(order, [exchanges[i] for i in (1, 2, 3, 4)])

    def test_first(self) -> None:
        """
        What has waited before is next, whoever else waits.
        """
        turns = Turns()
        exchanges = [asked_by(mac) for mac in "abb"]
        for exchange in exchanges:
            turns.add(exchange, 0)
        urgent = asked_by("b")
        turns.add(urgent, 0, first=True)
        self.assertEqual(
            self.served(turns), [urgent, exchanges[0], exchanges[1], exchanges[2]]
        )

    def test_since(self) -> None:
        """
        It tells since when each waits.
        """
        turns = Turns()
        exchanges = [asked_by(mac) for mac in "aba"]
        for second, exchange in enumerate(exchanges):
            turns.add(exchange, second)
        self.assertEqual(
            dict(turns.waiting()), {exchanges[0]: 0, exchanges[1]: 1, exchanges[2]: 2}
        )

    @given(st.lists(st.sampled_from("abcde") | st.integers(0, 30), max_size=60))
    def test_fair(self, steps: list[str | int]) -> None:
        """
        Whatever comes, goes and is taken: nobody has a second turn while another who
        waited at his first has had none; each one's requests keep their order; the
        iteration tells the order in which they are then taken; and none is lost.
        """
        turns = Turns()
        waiting: list[Ask] = []
        since: Counter[tuple[str, str]] = Counter()
        for step in steps:
            if isinstance(step, str):
                waiting.append(asked_by(step))
                turns.add(waiting[-1], 0)
            elif step % 3 and waiting:
                gone = waiting.pop(step % len(waiting))
                self.assertTrue(turns.discard(gone))
            elif waiting:
                taken = turns.first()
                assert isinstance(taken, Ask)
                own = [each for each in waiting if each.holder == taken.holder]
                self.assertIs(taken, own[0])
                turns.take(taken)
                waiting.remove(taken)
                # How often others had their turn since each began to wait.
                present = {each.holder for each in waiting}
                for holder in present - {taken.holder}:
                    since[holder] += 1
                since[taken.holder] = 0
                for holder in list(since):
                    if holder not in present:
                        del since[holder]
                self.assertLess(max(since.values(), default=0), 5)
            self.assertEqual(turns.count, len(waiting))
        told = list(turns)
        self.assertEqual(self.served(turns), told)
        self.assertEqual(set(told), set(waiting))
