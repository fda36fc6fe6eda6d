"""
Tests for L{mdproxy.agenda}.
"""

from __future__ import annotations

from twisted.internet.task import Clock

from mdproxy.agenda import Agenda
from tests.secrecy import SecrecyTestCase


class AgendaTests(SecrecyTestCase):
    """
    Tests for L{Agenda}.
    """

    def setUp(self) -> None:
        """
        Begin with nothing planned.
        """
        super().setUp()
        self.clock = Clock()
        self.done: list[str] = []
        self.agenda = Agenda(self.clock, self.do)

    def do(self, name: str) -> None:
        """
        Do something; what is called broken fails, what is slow takes its time.
        """
        self.done.append(name)
        if name.startswith("broken"):
            raise ValueError("a fault of ours")
        if name.startswith("slow"):
            self.clock.rightNow += 0.004

    def test_in_time(self) -> None:
        """
        Each thing is done once, at its moment, the earliest first.
        """
        for name, delay in (("later", 2.0), ("now", 0.0), ("soon", 1.0)):
            self.agenda.put(name, delay)
        self.assertEqual(self.done, [])
        self.clock.advance(0)
        self.assertEqual(self.done, ["now"])
        self.clock.advance(1)
        self.assertEqual(self.done, ["now", "soon"])
        self.clock.advance(5)
        self.assertEqual(self.done, ["now", "soon", "later"])
        self.assertEqual(len(self.agenda), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_timer(self) -> None:
        """
        However much is planned there is one timer.
        """
        for number in range(100):
            self.agenda.put(str(number), 5 - number % 7 / 2)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(5)
        self.assertEqual(len(self.done), 100)

    def test_planned_anew(self) -> None:
        """
        A later plan for the same thing counts in place of the former one.
        """
        self.agenda.put("a", 1)
        self.agenda.put("a", 3)
        self.clock.advance(2)
        self.assertEqual(self.done, [])
        self.agenda.put("a", 0)
        self.clock.advance(0)
        self.clock.advance(5)
        self.assertEqual(self.done, ["a"])

    def test_dropped(self) -> None:
        """
        What is dropped is not done; dropping what is not planned is no trouble.
        """
        self.agenda.put("a")
        self.agenda.put("b")
        self.agenda.drop("a")
        self.agenda.drop("c")
        self.clock.advance(0)
        self.assertEqual(self.done, ["b"])

    def test_cleared(self) -> None:
        """
        When it is cleared nothing is planned, and there is no timer.
        """
        self.agenda.put("a")
        self.agenda.clear()
        self.agenda.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.agenda), 0)

    def test_at_once(self) -> None:
        """
        What is due can be done without waiting for the timer, which is set again for
        the rest.
        """
        self.agenda.put("a")
        self.agenda.put("b", 1)
        self.agenda.work()
        self.assertEqual(self.done, ["a"])
        self.clock.advance(1)
        self.assertEqual(self.done, ["a", "b"])

    def test_slices(self) -> None:
        """
        What takes long is done in several turns, unless there is patience for all.
        """
        for number in range(9):
            self.agenda.put(f"slow {number}")
        self.agenda.work()
        self.assertEqual(len(self.done), 3)
        self.agenda.work()
        self.assertEqual(len(self.done), 6)
        self.agenda.put("slow 9")
        self.agenda.work(float("inf"))
        self.assertEqual(len(self.done), 10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_plans_while_it_works(self) -> None:
        """
        What is done may plan, even itself, and drop what was to be done next.
        """

        def do(name: str) -> None:
            self.done.append(name)
            if name == "a":
                agenda.drop("b")
                agenda.put("a", 1)
                agenda.put("c")

        agenda = Agenda(self.clock, do)
        agenda.put("a")
        agenda.put("b")
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "c"])
        self.clock.advance(1)
        self.assertEqual(self.done, ["a", "c", "a", "c"])

    def test_fault(self) -> None:
        """
        A fault is logged, costs nothing else its turn, and what failed is done again
        some seconds later.
        """
        self.agenda.put("broken")
        self.agenda.put("whole")
        self.clock.advance(0)
        self.assertEqual(self.done, ["broken", "whole"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.advance(10)
        self.assertEqual(self.done, ["broken", "whole", "broken"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
