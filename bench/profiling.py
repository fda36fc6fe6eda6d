# -*- test-case-name: tests.test_bench -*-
"""
The command C{bench/profile}: where the proxy's time goes under one case's load.
"""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections import Counter

from bench.backend import start_backend
from bench.cases import CASES, OURS
from bench.load import ask, check
from bench.measure import PLACES
from bench.places import OTHER_CORE
from bench.report import table
from bench.systems import STARTERS

_PY_SPY = ".cache/bench/py-spy/bin/py-spy"
#: Samples per second: as many as do not disturb.
_RATE = "400"


def shares(stacks: str) -> tuple[Counter[str], Counter[str], int]:
    """
    Read collapsed stacks: frames from the outermost on, joined by C{;}, and a count.

    @return: In how many samples each function was running itself, in how many it or
        what it called was, and the number of all samples.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        count = int(samples)
        frames = stack.split(";")
        own[frames[-1]] += count
        # A function that calls itself counts once.
        whole.update(dict.fromkeys(frames, count))
        total += count
    return own, whole, total


def show(title: str, counted: Counter[str], total: int, most: int) -> str:
    """
    Write the largest shares as a table.
    """
    rows = [[name, f"{count / total:.1%}"] for name, count in counted.most_common(most)]
    return "\n".join(table((title, "share"), rows))


def main() -> None:
    """
    Make the load, take samples, and print the shares.
    """
    by_name = {case.name: case for case in CASES if not case.idle}
    parser = ArgumentParser("bench/profile", description=f"Cases: {', '.join(by_name)}")
    parser.add_argument("case", nargs="?", default="kept-32", choices=by_name)
    parser.add_argument("--system", default="mdproxy", choices=OURS)
    parser.add_argument("--seconds", type=int, default=5, help="how long (5)")
    parser.add_argument("--top", type=int, default=25, help="how many lines (25)")
    arguments = parser.parse_args()
    case = by_name[arguments.case]
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    with PLACES[case.place]("") as place:
        system = STARTERS[arguments.system](place, start_backend(place))
        check(place, system, case.target)
        stacks = place.directory / "stacks"
        command = ["taskset", "-c", OTHER_CORE, _PY_SPY, "record", "--format", "raw"]
        command += ["--function", "--rate", _RATE, "--output", str(stacks)]
        command += ["--duration", str(arguments.seconds), "--pid", str(system.roots[0])]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as sampler:
            ask(place, system, case, arguments.seconds + 1)
            _, said = sampler.communicate()
        if sampler.returncode != 0:
            sys.exit(f"bench: py-spy failed: {said.decode()}")
        own, whole, total = shares(stacks.read_text())
    print(f"{system.name}, {case.name}, {total} samples\n")
    print(show("itself", own, total, arguments.top), end="\n\n")
    print(show("with what it calls", whole, total, arguments.top))


if __name__ == "__main__":
    main()
