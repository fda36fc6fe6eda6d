"""
What is left of a row of the boot matrix that was run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from tests.lab.faults import Record
from tests.lab.judge import Boot, Verdict, judge
from tests.lab.matrix import Row

#: What a proxy's log must not have.
_ACCIDENTS = ("Traceback", "Unhandled", "Exception ignored")


@frozen
class Outcome:
    """
    A row that was run, and what is left of it.

    @ivar verdict: How it ended.
    @ivar logs: What the proxy, each VM's cloud-init, and the Novas wrote, by name.
    """

    verdict: Verdict
    logs: dict[str, str]

    def keep(self, seed: int, folder: Path) -> None:
        """
        Write the logs to files.
        """
        verdict = self.verdict
        name = f"{verdict.row.name} {verdict.source} {seed}"
        place = folder / name.replace(" ", "-").replace("/", "-")
        place.mkdir(parents=True, exist_ok=True)
        for name, text in self.logs.items():
            (place / f"{name}.log").write_text(text)


def conclude(
    row: Row,
    source: str,
    boots: Sequence[Boot],
    records: Sequence[Record],
    said: str,
    faults: Sequence[str] = (),
) -> Outcome:
    """
    Judge a row that was run.

    @param records: What each Nova saw.
    @param said: The proxy's log.
    @param faults: What else is wrong.
    """
    verdict = judge(row, source, boots, records)
    accidents = [f"the proxy says {word}" for word in _ACCIDENTS if word in said]
    verdict = evolve(verdict, faults=(*verdict.faults, *accidents, *faults))
    logs = {boot.machine.hostname: str(boot.crawl["log"]) for boot in boots}
    for number, record in enumerate(records):
        logs[f"nova-{number}"] = _tell(record, began([boot.crawl for boot in boots]))
    return Outcome(verdict, {**logs, "mdproxy": said})


def began(crawled: Sequence[Mapping[str, Any]]) -> float:
    """
    Look up when the first VM began to boot.
    """
    return min(float(each["began"]) for each in crawled)


def _tell(record: Record, began: float) -> str:
    """
    Write down what a Nova saw, for people: seconds from the first VM's boot.
    """
    events = [
        (each.at, f"{each.instance[:8]} {each.method} {each.target}: {each.fate}")
        for each in record.asked
    ]
    events += [(at, "back again") for at in record.returns]
    events += [(at, "connection") for at in record.opened]
    return "".join(f"{at - began:8.3f} {what}\n" for at, what in sorted(events))
