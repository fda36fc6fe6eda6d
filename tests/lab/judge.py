"""
Whether a VM that booted has all its data, and what its boot cost Nova.  Pure.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from attrs import frozen

from mdproxy.devnova_tree import DOMAIN, FLAVOR
from tests.lab.faults import AWAY, Asked, Record
from tests.lab.machines import Machine
from tests.lab.matrix import FLOOR, GOOD, Row


@frozen
class Boot:
    """
    One VM's boot.

    @ivar machine: Which.
    @ivar number: Its place among Nova's instances, from 1.
    @ivar crawl: What cloud-init holds, as L{tests.lab.crawl} says it.
    """

    machine: Machine
    number: int
    crawl: Mapping[str, Any]


def ec2_tree(machine: Machine, number: int) -> dict[str, Any]:
    """
    Say what cloud-init must hold of the EC2 tree.
    """
    name = f"{machine.hostname}.{DOMAIN}"
    return {
        "ami-id": "ami-00000001",
        "ami-launch-index": "0",
        "ami-manifest-path": "FIXME",
        "block-device-mapping": {"ami": "vda", "root": "/dev/vda"},
        "hostname": name,
        "instance-action": "none",
        "instance-id": f"i-{number:08x}",
        "instance-type": FLAVOR,
        "local-hostname": name,
        "local-ipv4": machine.ipv4,
        "placement": {"availability-zone": "nova"},
        "public-hostname": name,
        "public-ipv4": "",
        "public-keys": machine.keys,
        "reservation-id": f"r-{number:08x}",
        "security-groups": "default",
    }


def missing(boot: Boot, source: str) -> list[str]:
    """
    Compare what a VM holds with what it must hold, to the byte.

    @param source: C{OpenStack} or C{Ec2}.

    @return: What is missing or wrong; empty: the boot is complete.
    """
    machine, crawl = boot.machine, boot.crawl
    if not crawl["complete"]:
        return ["everything"]
    tree = ec2_tree(machine, boot.number)
    held = {
        "instance-id": crawl["instance"],
        "hostname": crawl["hostname"],
        "keys": crawl["keys"],
        "user-data": base64.b64decode(crawl["user_data"]),
        "EC2 tree": crawl["ec2"] if source == "OpenStack" else crawl["metadata"],
    }
    wanted: dict[str, Any] = {
        "instance-id": machine.instance
        if source == "OpenStack"
        else tree["instance-id"],
        "hostname": machine.hostname,
        "keys": list(machine.keys.values()),
        "user-data": machine.user_data,
        "EC2 tree": tree,
    }
    if source == "OpenStack":
        links = (crawl["network"] or {}).get("links", [])
        held["network data"] = [link["ethernet_mac_address"] for link in links]
        wanted["network data"] = [machine.mac]
        held["project"] = crawl["metadata"].get("project_id")
        wanted["project"] = machine.project
    return [what for what, value in wanted.items() if held[what] != value]


@frozen
class Verdict:
    """
    How a row ended for one data source.

    @ivar row: The row.
    @ivar source: The data source.
    @ivar complete: How many VMs have all their data.
    @ivar seconds: How long each boot took.
    @ivar upstream: How many requests each VM's boot cost the Novas, in all.
    @ivar lost: How many of them were not answered well.
    @ivar returns: How many requests, and how many new connections, a Nova saw in the
        first second after each time it came back.
    @ivar faults: All that is wrong, in sentences; empty: the row holds.
    """

    row: Row
    source: str
    complete: int
    seconds: tuple[float, ...]
    upstream: tuple[int, ...]
    lost: tuple[int, ...]
    returns: tuple[tuple[int, int], ...]
    faults: tuple[str, ...]


def judge(
    row: Row, source: str, boots: Sequence[Boot], records: Sequence[Record]
) -> Verdict:
    """
    Judge a row.

    @param records: What each Nova saw.
    """
    faults: list[str] = []
    complete = 0
    every = [asked for record in records for asked in record.asked]
    upstream, lost = [], []
    for boot in boots:
        wrong = missing(boot, source)
        complete += not wrong
        if wrong:
            faults.append(f"{boot.machine.hostname} lacks {', '.join(wrong)}")
        of_it = [asked for asked in every if asked.instance == boot.machine.instance]
        upstream.append(len(of_it))
        well = sum(asked.fate == "served" for asked in of_it)
        lost.append(len(of_it) - well)
        # What was under way when a black hole opened looks well answered from there.
        if well > FLOOR[source] + (row.lost if row.swallows else 0):
            faults.append(f"{boot.machine.hostname} was answered {well} times")
        if lost[-1] > row.lost:
            faults.append(f"{boot.machine.hostname} asked {lost[-1]} times in vain")
    return Verdict(
        row=row,
        source=source,
        complete=complete,
        seconds=tuple(boot.crawl["seconds"] for boot in boots),
        upstream=tuple(upstream),
        lost=tuple(lost),
        returns=tuple(_returns(records)),
        faults=(
            *faults,
            *_offences(every),
            *_unlike_reload(row, records),
            *_unlike_script(row, records),
        ),
    )


def _offences(every: Sequence[Asked]) -> list[str]:
    """
    Find what may never happen, whatever is wrong.
    """
    offences = [
        f"Nova refused {asked.target} of {asked.instance or 'nobody'}"
        for asked in every
        if asked.fate == "refused"
    ]
    bodies = Counter(asked.body for asked in every if asked.method == "POST")
    return offences + [
        f"a POST reached Nova {times} times" for times in bodies.values() if times > 1
    ]


def _unlike_reload(row: Row, records: Sequence[Record]) -> list[str]:
    """
    Find that a configuration took effect that must not, or the other way round.
    """
    if not row.reload:
        return []
    if bool(records[1].asked) == (row.reload == GOOD):
        return []
    return [f"after a {row.reload} reload Nova 2 saw {len(records[1].asked)} requests"]


def _unlike_script(row: Row, records: Sequence[Record]) -> list[str]:
    """
    Find that the only Nova was not away as it should have been: then the row proves
    nothing.
    """
    if len(records) != 1:
        return []
    [phases], [record] = row.novas, records
    away = [phase for phase in phases if phase.kind in AWAY and phase.seconds]
    if len(record.returns) != len(away):
        return [f"Nova never came back: {len(record.returns)} of {len(away)} times"]
    early = [
        asked
        for phase, back in zip(away, record.returns, strict=True)
        if not phase.at and not phase.after
        for asked in record.asked
        if asked.fate == "served" and asked.at < back
    ]
    return [f"Nova answered while it was away: {asked.target}" for asked in early]


def _returns(records: Sequence[Record]) -> list[tuple[int, int]]:
    """
    Count what came to each Nova in the first second after each return.
    """
    return [
        (
            sum(back <= asked.at < back + 1 for asked in record.asked),
            sum(back <= at < back + 1 for at in record.opened),
        )
        for record in records
        for back in record.returns
    ]


def merge(verdicts: Sequence[Verdict]) -> Verdict:
    """
    Make one of a row's verdicts with several seeds.
    """
    return Verdict(
        row=verdicts[0].row,
        source=verdicts[0].source,
        complete=sum(each.complete for each in verdicts),
        seconds=tuple(s for each in verdicts for s in each.seconds),
        upstream=tuple(n for each in verdicts for n in each.upstream),
        lost=tuple(n for each in verdicts for n in each.lost),
        returns=tuple(r for each in verdicts for r in each.returns),
        faults=tuple(f for each in verdicts for f in each.faults),
    )


#: The head of the table that L{line} makes lines of.
HEAD = (
    "| row | data source | complete | seconds, median (max)"
    " | upstream requests per VM, median (max) | of these lost, max"
    " | first second after Nova's return: requests, connections |\n"
    "|---|---|---|---|---|---|---|"
)


def line(verdict: Verdict) -> str:
    """
    Write a verdict as a line of the table.
    """
    returns = ", ".join(f"{asked}, {opened}" for asked, opened in verdict.returns)
    cells = (
        verdict.row.name,
        verdict.source,
        f"{verdict.complete}/{len(verdict.seconds)}",
        f"{median(verdict.seconds):.1f} ({max(verdict.seconds):.1f})",
        f"{median(verdict.upstream):g} ({max(verdict.upstream)})",
        str(max(verdict.lost)),
        returns or "-",
    )
    return f"| {' | '.join(cells)} |"
