# -*- test-case-name: tests.test_bench -*-
"""
What was measured, as Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from bench.cases import NEUTRON, OURS, PEER, Mark
from bench.figures import (
    Rounds,
    clean,
    cost_ratio,
    middle,
    p50_ratio,
    rate_ratio,
)
from bench.measure import Outcome, Plan

_NONE = "-"
#: Calls per request that are not worth a word.
_RARE = 0.02


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """
    Write a table that is readable as text too: the first column is flush left.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        "| " + " | ".join(_flush(row, widths)) + " |" for row in (head, rule, *rows)
    ]


def _flush(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """
    Make cells as wide as their columns.
    """
    cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
    return [row[0].ljust(widths[0]), *cells[1:]]


def number(figure: float | None, digits: int = 2, unit: str = "") -> str:
    """
    Write a figure that may be missing.
    """
    return _NONE if figure is None else f"{figure:.{digits}f}{unit}"


@frozen
class CaseReport:
    """
    One case, told.
    """

    outcome: Outcome
    plan: Plan

    def lines(self) -> list[str]:
        """
        Write its section.
        """
        case = self.outcome.case
        figures = self._memory() if case.idle else self._speed()
        remarks = [f"- {each}" for each in (*self._remarks(), *self._calls())]
        verdicts = [f"- {verdict}" for verdict in self._verdicts()]
        blocks = [[f"### {case.name}: {case.title}"], figures, remarks, verdicts]
        return [line for block in blocks if block for line in (*block, "")]

    def _good(self, name: str) -> Rounds:
        """
        Pick the rounds of a system that count: none, if they are too few.
        """
        rounds = clean(self.outcome.rounds.get(name, {}), self.plan.most_foreign)
        return rounds if len(rounds) >= self.plan.least_rounds else {}

    def _speed(self) -> list[str]:
        """
        Tell of speed.
        """
        head = (
            *("system", "req/s", "p50 ms", "p99 ms", "core", "CPU us/req", "calls/req"),
            *("req/s vs nginx", "CPU vs nginx", "Neutron's CPU vs its"),
        )
        return table(head, [self._row(name) for name in self.outcome.rounds])

    def _row(self, name: str) -> list[str]:
        """
        Tell how fast a system was.
        """
        good = self._good(name)
        samples = good.values()
        return [
            f"{name} (!)" if self._failures(name) else name,
            number(middle(s.answers.rate for s in samples), 0),
            number(middle(s.answers.p50 / 1000 for s in samples)),
            number(middle(s.answers.p99 / 1000 for s in samples)),
            number(middle(s.cpu / s.answers.seconds for s in samples)),
            number(middle(s.cost for s in samples), 1),
            number(self._figure(name, "calls")),
            number(self._figure(name, "rate")),
            number(self._figure(name, "cost")),
            number(self._figure(name, "neutron"), 1),
        ]

    def _failures(self, name: str) -> int:
        """
        Count the answers and connections of a system that went wrong, in any round.
        """
        answers = [s.answers for s in self.outcome.rounds.get(name, {}).values()]
        return sum(each.bad + each.broken for each in answers)

    def _memory(self) -> list[str]:
        """
        Tell of memory.
        """
        head = ("system", "RSS MB at rest", "RSS MB with them", "kB/connection")
        rows = [
            [name, number(m.rest, 1), number(m.full, 1), number(m.each)]
            for name, m in self.outcome.memory.items()
        ]
        return table(head, rows)

    def _figure(self, name: str, metric: str) -> float | None:
        """
        Work out what a mark is about.
        """
        if metric in ("rest", "idle"):
            memory = self.outcome.memory.get(name)
            if memory is None:
                return None
            return memory.rest if metric == "rest" else memory.each
        if metric == "calls":
            calls = self.outcome.calls.get(name)
            return None if calls is None else sum(calls.values())
        good, peer = self._good(name), self._good(PEER)
        if metric == "neutron":
            return cost_ratio(self._good(NEUTRON), good)
        ratio = {"cost": cost_ratio, "rate": rate_ratio, "p50": p50_ratio}[metric]
        return ratio(good, peer)

    def _remarks(self) -> list[str]:
        """
        Tell what went wrong: rounds thrown away, and errors.
        """
        said = []
        for name, rounds in self.outcome.rounds.items():
            good = clean(rounds, self.plan.most_foreign)
            dirty = len(rounds) - len(good)
            if dirty:
                said.append(
                    f"{name}: {dirty} of {len(rounds)} rounds thrown away, others used"
                    f" more than {self.plan.most_foreign:g} cores"
                    + ("" if self._good(name) else "; too few are left for a figure")
                )
            if self._failures(name):
                bad = sum(s.answers.bad for s in rounds.values())
                broken = sum(s.answers.broken for s in rounds.values())
                total = sum(s.answers.requests for s in rounds.values())
                said.append(
                    f"(!) {name}: {bad} of {total} answers were errors (the rate"
                    f" leaves them out), {broken} connections failed"
                )
        return said

    def _calls(self) -> list[str]:
        """
        Tell which system calls were made.
        """
        return [
            f"{name}'s calls: {', '.join(_frequent(calls))}"
            for name, calls in self.outcome.calls.items()
            if name in (PEER, *OURS)
        ]

    def _verdicts(self) -> list[str]:
        """
        Compare with the marks.
        """
        measured = {*self.outcome.rounds, *self.outcome.memory}
        return [
            verdict(
                mark,
                self._figure(mark.system, mark.metric),
                self._failures(mark.system),
            )
            for mark in self.outcome.case.marks
            if mark.system in measured
        ]


def _frequent(calls: Mapping[str, float]) -> list[str]:
    """
    List the system calls that count, the most frequent first.
    """
    ordered = sorted(calls.items(), key=lambda item: -item[1])
    return [f"{name} {count:.2f}" for name, count in ordered if count >= _RARE]


def verdict(mark: Mark, figure: float | None, failures: int) -> str:
    """
    Tell whether a mark was met.

    @param failures: Answers and connections that went wrong: nothing is met with such.
    """
    if figure is None:
        return f"{mark}: not measured"
    if failures:
        return f"{mark}: {figure:.2f}, but not with {failures} failures: NOT MET"
    return f"{mark}: {figure:.2f}, {'met' if mark.met(figure) else 'NOT MET'}"
