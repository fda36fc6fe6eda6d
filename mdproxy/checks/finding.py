# -*- test-case-name: tests.test_checks_finding -*-
"""
What a check has found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from attrs import frozen

#: All is well; worth knowing; instances get nothing, or will not before long.
Verdict = Literal["ok", "note", "wrong"]

#: From the least to the worst.
_WEIGHTS: Final[tuple[Verdict, ...]] = ("ok", "note", "wrong")


@frozen
class Finding:
    """
    What a check has found.

    @ivar name: What was looked at, in a few words.
    @ivar verdict: What that is worth.
    @ivar text: What was found, as a sentence; never anything secret.
    @ivar advice: What to do; empty where nothing is to be done.
    """

    name: str
    verdict: Verdict
    text: str
    advice: str = ""

    def describe(self) -> dict[str, str]:
        """
        Put it into plain values, ready for JSON.
        """
        return {
            "name": self.name,
            "verdict": self.verdict,
            "text": self.text,
            "advice": self.advice,
        }


@frozen
class Group:
    """
    Findings about one subject.

    @ivar title: The subject.
    @ivar findings: What was found.
    """

    title: str
    findings: tuple[Finding, ...]

    def describe(self) -> dict[str, object]:
        """
        Put it into plain values, ready for JSON.
        """
        findings = [finding.describe() for finding in self.findings]
        return {"title": self.title, "findings": findings}


def worst(findings: Iterable[Finding]) -> Verdict:
    """
    Sum up what was found.

    @return: The worst verdict; C{ok} where nothing was found.
    """
    weights = [_WEIGHTS.index(finding.verdict) for finding in findings]
    return _WEIGHTS[max(weights, default=0)]
