"""
Tests for L{bench}: how figures are read, and what follows from them.
"""

from __future__ import annotations

import os
import time
from math import inf

from twisted.trial.unittest import SynchronousTestCase

from bench import accounting, figures, profiling, report
from bench.accounting import Account, Process
from bench.cases import CASES, Case, Mark
from bench.figures import Answers, NoFigures, Sample
from bench.idle import Memory
from bench.measure import PLACES, Outcome, Plan
from bench.systems import STARTERS

WRK = """\
Running 1s test @ http://127.0.0.1:34567/
  1 threads and 32 connections
  47321 requests in 1.00s, 17.41MB read
Requests/sec:  47290.12
answers: {"requests": 47321, "seconds": 1.000647, "p50": 651, "p99": 1040, "bad": 21, \
"broken": 3}
"""

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.01    0.401510          11     36500           sendto
 30.55    0.201030           5     36510        10 recvfrom
  8.44    0.055560          18      3010           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.658100           8     76020        10 total
"""


def sample(
    rate: int = 1000, cpu: float = 0.5, p50: float = 900.0, foreign: float = 0.0
) -> Sample:
    """
    Make a round of one second without errors.
    """
    return Sample(Answers(rate, 1.0, p50, 5000.0, 0, 0), cpu, foreign)


def failing(bad: int = 0, broken: int = 0) -> Sample:
    """
    Make a round with errors.
    """
    return Sample(Answers(1000, 1.0, 900.0, 5000.0, bad, broken), 0.5, 0.0)


def plan(rounds: int = 3) -> Plan:
    """
    Make a plan that prints nothing.
    """
    return Plan(rounds, 1, 0.25, 0.0, ("nginx", "mdproxy"), "", True, lambda _: None)


def told(outcome: Outcome, rounds: int = 3) -> str:
    """
    Write the report of a case.
    """
    return "\n".join(report.CaseReport(outcome, plan(rounds)).lines())


class ReadingTests(SynchronousTestCase):
    """
    Tests for what reads the output of tools.
    """

    def test_wrk(self) -> None:
        """
        What wrk's script printed is read from among wrk's own lines.
        """
        answers = figures.read_answers(WRK)
        self.assertEqual(answers, Answers(47321, 1.000647, 651, 1040, 21, 3))

    def test_bad_answers_are_no_rate(self) -> None:
        """
        An error does not count as an answer per second.
        """
        self.assertEqual(Answers(1000, 2.0, 1, 1, 200, 0).rate, 400)

    def test_wrk_without_figures(self) -> None:
        """
        Where wrk printed no figures its own words are told.
        """
        error = self.assertRaises(NoFigures, figures.read_answers, "unable to connect")
        self.assertIn("unable to connect", str(error))

    def test_strace(self) -> None:
        """
        Calls are read by name, with and without errors, and the total is not one.
        """
        calls = figures.count_calls(STRACE)
        self.assertEqual(
            calls, {"sendto": 36500, "recvfrom": 36510, "epoll_wait": 3010}
        )

    def test_several_tables_of_strace(self) -> None:
        """
        Calls of several tables are added up.
        """
        self.assertEqual(figures.count_calls(STRACE * 2)["sendto"], 73000)

    def test_strace_without_figures(self) -> None:
        """
        No table is an error, not a system without calls.
        """
        self.assertRaises(NoFigures, figures.count_calls, "strace: attach: EPERM\n")

    def test_stacks(self) -> None:
        """
        A function's own samples are those in which it is the innermost; its whole, all
        it is in, each once.
        """
        own, whole, total = profiling.shares("main;a;a 3\nmain;a;b c 5\nmain 2\n")
        self.assertEqual(own, {"a": 3, "b c": 5, "main": 2})
        self.assertEqual(whole, {"main": 10, "a": 8, "b c": 5})
        self.assertEqual(total, 10)


class AccountingTests(SynchronousTestCase):
    """
    Tests for L{bench.accounting}.
    """

    def test_stat(self) -> None:
        """
        A command with blanks and parentheses does not shift the fields after it.
        """
        tick = 1 / os.sysconf("SC_CLK_TCK")
        fields = "S 42 1 1 0 -1 0 0 0 0 0 7 8 30 12 20 0 1 0 99"
        parent, waited_for = accounting.read_stat(f"17 (a) b (c) {fields}\n")
        self.assertEqual(parent, 42)
        self.assertEqual(waited_for, 42 * tick)

    def test_own_cpu(self) -> None:
        """
        The account of a process is what the process itself sees of it.
        """
        before = time.process_time()
        seen = accounting.own_cpu(os.getpid())
        self.assertTrue(before <= seen <= time.process_time())

    def test_own_cpu_of_nobody(self) -> None:
        """
        A process that does not exist has no account.
        """
        self.assertRaises(OSError, accounting.own_cpu, 2**22 + 1)

    def test_this_process_is_in_the_table(self) -> None:
        """
        The process table has this process, with its parent.
        """
        by_pid = {each.pid: each for each in accounting.processes()}
        self.assertEqual(by_pid[os.getpid()].parent, os.getppid())

    def test_family(self) -> None:
        """
        A process's family is it and all who descend from it, each once.
        """
        table = [
            Process(n, parent, 1.0) for n, parent in ((2, 1), (3, 2), (4, 3), (5, 1))
        ]
        found = accounting.family(table, [2, 3, 99])
        self.assertEqual(sorted(each.pid for each in found), [2, 3, 4])

    def test_foreign(self) -> None:
        """
        Foreign is what everybody used but we did not.
        """
        before = Account(system=1, ours=2, everybody=10, time=100)
        after = Account(system=2, ours=4, everybody=13, time=102)
        self.assertEqual(after.foreign_since(before), 0.5)

    def test_memory(self) -> None:
        """
        This process holds memory.
        """
        self.assertGreater(accounting.resident([os.getpid()]), 1000)


class FiguresTests(SynchronousTestCase):
    """
    Tests for medians and ratios.
    """

    def test_cost(self) -> None:
        """
        CPU per request is in microseconds.
        """
        self.assertEqual(sample(rate=1000, cpu=0.5).cost, 500)

    def test_cost_of_nothing(self) -> None:
        """
        Who used CPU and answered nothing is not cheap.
        """
        self.assertEqual(sample(rate=0).cost, inf)

    def test_busy_rounds_are_thrown_away(self) -> None:
        """
        A round in which others used more than allowed does not count; the limit does.
        """
        rounds = {0: sample(foreign=0.25), 1: sample(foreign=0.26)}
        self.assertEqual(list(figures.clean(rounds, 0.25)), [0])

    def test_ratio_within_rounds(self) -> None:
        """
        Only figures of one round are compared: here the machine halved its pace between
        two, and both systems alike.
        """
        ours = {0: sample(rate=600), 1: sample(rate=300), 2: sample(rate=1)}
        theirs = {0: sample(rate=1200), 1: sample(rate=600), 3: sample(rate=1)}
        self.assertEqual(figures.rate_ratio(ours, theirs), 0.5)

    def test_ratio_is_the_median(self) -> None:
        """
        One odd round does not change a ratio.
        """
        ours = {n: sample(cpu=cpu) for n, cpu in enumerate((0.2, 0.2, 0.9))}
        theirs = {n: sample(cpu=0.1) for n in range(3)}
        self.assertEqual(figures.cost_ratio(ours, theirs), 2.0)

    def test_ratio_of_times(self) -> None:
        """
        Median times are compared.
        """
        ratio = figures.p50_ratio({0: sample(p50=120)}, {0: sample(p50=100)})
        self.assertEqual(ratio, 1.2)

    def test_no_ratio(self) -> None:
        """
        Without a common round there is no ratio.
        """
        self.assertIsNone(figures.rate_ratio({0: sample()}, {1: sample()}))


class MarkTests(SynchronousTestCase):
    """
    Tests for marks and verdicts.
    """

    def test_most(self) -> None:
        """
        The mark itself is still met.
        """
        mark = Mark("mdproxy", "cost", most=1.5)
        self.assertTrue(mark.met(1.5))
        self.assertFalse(mark.met(1.51))

    def test_least(self) -> None:
        """
        Less than the least is not met.
        """
        mark = Mark("mdproxy", "rate", least=0.8)
        self.assertTrue(mark.met(0.8))
        self.assertFalse(mark.met(0.79))

    def test_verdicts(self) -> None:
        """
        A verdict has the mark, the figure and whether it will do.
        """
        mark = Mark("mdproxy", "calls", most=4.2)
        words = "mdproxy: system calls per request: at most 4.2"
        self.assertEqual(report.verdict(mark, 4.1, 0), f"{words}: 4.10, met")
        self.assertEqual(report.verdict(mark, 4.3, 0), f"{words}: 4.30, NOT MET")
        self.assertEqual(report.verdict(mark, None, 0), f"{words}: not measured")

    def test_nothing_is_met_with_failures(self) -> None:
        """
        Who answers with errors is quick at that, and has met nothing.
        """
        said = report.verdict(Mark("mdproxy", "calls", most=4.2), 2.1, 7)
        self.assertIn("7 failures", said)
        self.assertIn("NOT MET", said)


class CaseTests(SynchronousTestCase):
    """
    Tests for the list of cases.
    """

    def test_can_be_run(self) -> None:
        """
        Every case has a name of its own, a place, and systems that can be started.
        """
        self.assertEqual(len({case.name for case in CASES}), len(CASES))
        for case in CASES:
            self.assertIn(case.place, PLACES)
            self.assertLessEqual({*case.systems}, {*STARTERS})

    def test_marks_are_about_who_is_measured(self) -> None:
        """
        Each mark is one that the case's own systems can meet.
        """
        for case in CASES:
            for mark in case.marks:
                self.assertIn(mark.system, case.systems)
                if mark.metric == "neutron":
                    self.assertIn("neutron", case.systems)


class ReportTests(SynchronousTestCase):
    """
    Tests for L{bench.report}.
    """

    case = Case(
        "kept",
        "kept connections",
        "loopback",
        ("nginx", "mdproxy"),
        (Mark("mdproxy", "cost", most=1.5),),
    )

    def test_case(self) -> None:
        """
        A case's section has medians of both sides, ratios, calls and verdicts.
        """
        outcome = Outcome(self.case)
        outcome.rounds["nginx"] = {n: sample(rate=2000) for n in range(3)}
        outcome.rounds["mdproxy"] = {n: sample(rate=1000) for n in range(3)}
        outcome.calls["mdproxy"] = {"recvfrom": 2.0, "sendto": 2.1, "futex": 0.001}
        text = told(outcome)
        self.assertIn("### kept: kept connections", text)
        self.assertRegex(
            text, r"\| nginx +\| +2000 \| +0\.90 \| +5\.00 \| +0\.50 \| +250\.0 \|"
        )
        self.assertRegex(text, r"\| mdproxy \| +1000 .* 4\.10 \| +0\.50 \| +2\.00 \|")
        self.assertIn("mdproxy's calls: sendto 2.10, recvfrom 2.00\n", text)
        self.assertIn("at most 1.5: 2.00, NOT MET", text)

    def test_thrown_away(self) -> None:
        """
        How many rounds were thrown away is told.
        """
        outcome = Outcome(self.case)
        rounds = {n: sample() for n in range(3)}
        outcome.rounds["nginx"] = {**rounds, 3: sample(foreign=1.0)}
        self.assertIn("nginx: 1 of 4 rounds thrown away", told(outcome))

    def test_too_few_are_left(self) -> None:
        """
        From too few rounds no figure is made, and that is told.
        """
        outcome = Outcome(self.case)
        outcome.rounds["nginx"] = {n: sample() for n in range(3)}
        busy = {n: sample(foreign=1.0) for n in (1, 2)}
        outcome.rounds["mdproxy"] = {0: sample(), **busy}
        text = told(outcome)
        self.assertIn("too few are left for a figure", text)
        self.assertRegex(text, r"\| mdproxy \| +- \| +- \| +- \| +- \|")
        self.assertIn("at most 1.5: not measured", text)

    def test_errors_are_told(self) -> None:
        """
        Errors of any round are told, mark the row, and no mark is met.
        """
        outcome = Outcome(self.case)
        outcome.rounds["nginx"] = {0: sample()}
        outcome.rounds["mdproxy"] = {0: failing(bad=4, broken=2)}
        text = told(outcome, rounds=1)
        self.assertIn("| mdproxy (!) |", text)
        self.assertIn("4 of 1000 answers were errors", text)
        self.assertIn("2 connections failed", text)
        self.assertIn("1.00, but not with 6 failures: NOT MET", text)

    def test_memory(self) -> None:
        """
        Memory is told at rest, with the connections, and for each of them.
        """
        marks = (Mark("mdproxy", "rest", most=60), Mark("mdproxy", "idle", most=3))
        case = Case("idle", "memory", "loopback", ("mdproxy",), marks, idle=True)
        outcome = Outcome(case)
        outcome.memory["mdproxy"] = Memory(50.0, 52.0, 1024)
        text = told(outcome)
        self.assertRegex(text, r"\| mdproxy \| +50\.0 \| +52\.0 \| +2\.00 \|")
        self.assertIn("at most 60: 50.00, met", text)
        self.assertIn("at most 3: 2.00, met", text)
