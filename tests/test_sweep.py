"""
Tests for L{mdproxy.sweep}.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.sweep import NEVER, PERIOD, Sweep


def _nothing() -> None:
    """
    Do nothing.
    """


@define(eq=False)
class _Member:
    """
    Something with a deadline, that notes when it timed out.

    @ivar deadline: Its deadline.
    @ivar clock: What time it is.
    @ivar then: What else it does.
    @ivar seen: When it timed out, and with what deadline left.
    """

    deadline: float
    clock: Clock
    then: Callable[[], object] = _nothing
    seen: list[tuple[float, float]] = field(factory=list)

    def timed_out(self) -> None:
        """
        Provide C{Timed.timed_out}.
        """
        self.seen.append((self.clock.seconds(), self.deadline))
        self.then()


class SweepTests(SynchronousTestCase):
    """
    Tests for L{Sweep}.
    """

    def setUp(self) -> None:
        """
        Make a sweep whose service runs.
        """
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.service = self.sweep.service()
        self.service.startService()
        self.addCleanup(lambda: self.service.running and self.service.stopService())

    def member(self, deadline: float, then: Callable[[], object] = _nothing) -> _Member:
        """
        Add a member.
        """
        member = _Member(deadline, self.clock, then)
        self.sweep.add(member)
        return member

    def wait(self, seconds: float) -> None:
        """
        Let time go by.
        """
        self.clock.pump([PERIOD] * int(seconds / PERIOD))

    def test_told_in_time(self) -> None:
        """
        A member is told once, not before its deadline and at most a period after it.
        """
        member = self.member(1.1)
        self.wait(1)
        self.assertEqual(member.seen, [])
        self.wait(5)
        self.assertEqual(member.seen, [(1.25, NEVER)])

    def test_never(self) -> None:
        """
        A member that waits for nothing is never told.
        """
        member = self.member(NEVER)
        self.wait(1000)
        self.assertEqual(member.seen, [])

    def test_moved(self) -> None:
        """
        A deadline that moved is kept where it is now.
        """
        member = self.member(1)
        self.wait(0.75)
        member.deadline = 2
        self.wait(1)
        self.assertEqual(member.seen, [])
        self.wait(1)
        self.assertEqual(len(member.seen), 1)

    def test_set_again(self) -> None:
        """
        A member that sets a new deadline is told again.
        """

        def again() -> None:
            member.deadline = self.clock.seconds() + 1

        member = self.member(1, again)
        self.wait(3)
        self.assertEqual([at for at, _left in member.seen], [1, 2, 3])

    def test_discarded(self) -> None:
        """
        A member that was taken out is not told, and may be taken out twice.
        """
        member = self.member(1)
        self.sweep.discard(member)
        self.sweep.discard(member)
        self.wait(2)
        self.assertEqual(member.seen, [])

    def test_discarded_by_another(self) -> None:
        """
        Nor is one that another takes out, or gives more time, at the same moment.
        """
        members: list[_Member] = []

        def end_all() -> None:
            for member in members:
                self.sweep.discard(member)

        def put_off() -> None:
            for member in members:
                member.deadline = NEVER

        for then in (end_all, put_off):
            members[:] = [self.member(self.clock.seconds(), then) for _ in range(5)]
            self.wait(1)
            self.assertEqual(sum(len(member.seen) for member in members), 1)

    def test_added_by_another(self) -> None:
        """
        Members may be added at any time.
        """
        added: list[_Member] = []
        self.member(1, lambda: added.append(self.member(1)))
        self.wait(2)
        self.assertEqual([len(member.seen) for member in added], [1])

    def test_fault_of_one(self) -> None:
        """
        A member that fails is logged, and costs no other its deadline, now or later.
        """

        def fail() -> None:
            raise ZeroDivisionError

        bad = [self.member(1, fail) for _ in range(2)]
        good = [self.member(1), self.member(2)]
        self.wait(3)
        self.assertEqual([len(member.seen) for member in bad + good], [1] * 4)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_stopped(self) -> None:
        """
        When the service is stopped nothing is left to run.
        """
        member = self.member(1)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.wait(2)
        self.assertEqual(member.seen, [])


class NowTests(SynchronousTestCase):
    """
    Tests for L{Sweep.now}.
    """

    def test_lately(self) -> None:
        """
        It is what time it was at the last tick, or at the beginning.
        """
        clock = Clock()
        clock.advance(7)
        sweep = Sweep(clock)
        clock.advance(1)
        self.assertEqual(sweep.now, 7)
        sweep.tick()
        self.assertEqual(sweep.now, 8)
