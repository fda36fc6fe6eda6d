# -*- test-case-name: tests.test_bench -*-
"""
Figures: reading them from what the tools print, and what follows from them.

Everything here is pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import median

from attrs import frozen

#: What C{answers.lua} writes in front of its figures.
MARK = "answers: "
#: A line of C{strace -c}: % time, seconds, usecs/call, calls, [errors], syscall.
_COUNTED = re.compile(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\S+)")


class NoFigures(Exception):
    """
    A tool did not print what it should have.
    """


@frozen
class Answers:
    """
    What the load generator saw in one round.

    @ivar requests: Answers that came, whatever their status.
    @ivar seconds: How long the round was.
    @ivar p50: Half of the answers took no longer, in microseconds.
    @ivar p99: 99 of 100 answers took no longer, in microseconds.
    @ivar bad: Answers with a status of 400 or more.
    @ivar broken: Connections that could not be made, broke, or timed out.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    bad: int
    broken: int

    @property
    def rate(self) -> float:
        """
        Good answers per second.
        """
        return (self.requests - self.bad) / self.seconds


@frozen
class Sample:
    """
    One round of one system.

    @ivar answers: What the load generator saw.
    @ivar cpu: Seconds of CPU that the system used.
    @ivar foreign: Cores that were busy with what is not ours.
    """

    answers: Answers
    cpu: float
    foreign: float

    @property
    def cost(self) -> float:
        """
        CPU per answer, in microseconds.

        Bad ones count like good ones: they have been worked for.
        """
        requests = self.answers.requests
        return self.cpu * 1e6 / requests if requests else inf


#: The rounds of one system, by their number.
Rounds = Mapping[int, Sample]


def read_answers(text: str) -> Answers:
    """
    Read what wrk printed with C{answers.lua}.

    @raise NoFigures: If it did not print them.
    """
    for line in text.splitlines():
        if line.startswith(MARK):
            return Answers(**json.loads(line[len(MARK) :]))
    raise NoFigures(f"wrk said: {text[-500:]}")


def count_calls(summary: str) -> dict[str, int]:
    """
    Read the table that C{strace -c} prints.

    @return: How often each system call was made.

    @raise NoFigures: If there is no such table.
    """
    calls: dict[str, int] = {}
    for line in summary.splitlines():
        found = _COUNTED.fullmatch(line)
        if found and found[2] != "total":
            calls[found[2]] = calls.get(found[2], 0) + int(found[1])
    if not calls:
        raise NoFigures(f"strace said: {summary[-500:]}")
    return calls


def clean(rounds: Rounds, most_foreign: float) -> dict[int, Sample]:
    """
    Throw away the rounds in which others used too much of the machine.

    @param most_foreign: How many cores they may use.
    """
    return {n: each for n, each in rounds.items() if each.foreign <= most_foreign}


def middle(figures: Iterable[float]) -> float | None:
    """
    Take the median.

    @return: C{None} if there is no figure.
    """
    listed = list(figures)
    return median(listed) if listed else None


def paired(ours: Rounds, theirs: Rounds) -> Sequence[tuple[Sample, Sample]]:
    """
    Put together what two systems did in the same rounds.

    Only these can be compared: the machine changes its pace from minute to minute.
    """
    return [(ours[n], theirs[n]) for n in sorted(ours.keys() & theirs.keys())]


def rate_ratio(ours: Rounds, theirs: Rounds) -> float | None:
    """
    Compare good answers per second, round by round; the median of that.
    """
    pairs = paired(ours, theirs)
    return middle(a.answers.rate / b.answers.rate for a, b in pairs if b.answers.rate)


def cost_ratio(ours: Rounds, theirs: Rounds) -> float | None:
    """
    Compare CPU per request, round by round; the median of that.
    """
    return middle(a.cost / b.cost for a, b in paired(ours, theirs) if b.cost)


def p50_ratio(ours: Rounds, theirs: Rounds) -> float | None:
    """
    Compare the usual time of an answer, round by round; the median of that.
    """
    pairs = paired(ours, theirs)
    return middle(a.answers.p50 / b.answers.p50 for a, b in pairs if b.answers.p50)
