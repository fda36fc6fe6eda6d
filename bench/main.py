"""
The command: C{bench/run}.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import idle, machine
from bench.cases import CASES
from bench.figures import NoFigures
from bench.load import WrongAnswer
from bench.measure import Outcome, Plan, run
from bench.priority import at_niceness
from bench.report import CaseReport
from bench.systems import STARTERS
from tests.lab.stage import LabError

#: What whoever reads the figures must know.
CONDITIONS = (
    "interleaved rounds; medians, and of ratios the median of each round's",
    "the system under test has one core, load (wrk) and backend (nginx) the other",
    "CPU: the scheduler's account of all processes and threads of the system; core: how"
    " much of its core it used (well below 1 something else was the limit: compare CPU"
    " then, not req/s); calls: system calls, counted in rounds of their own",
    "on loopback and with TLS, mdproxy identifies by address (kind = address,"
    " identify_by = address); between namespaces by frame, neighbour and inventory",
    "mdproxy: all defaults, counters, limits and deadlines on; all load comes from one"
    " instance, so what one may use was raised, and upstream.max_connections to 512",
    "mdproxy-watched: the log as JSON, an access log, the instance watched step by"
    " step, every transaction read as it ends, the metrics scraped every 5 s",
    "nginx: 1 worker, HMAC in njs for every request, upstream keepalive 512, no access"
    " log; haproxy: 1 thread, hmac converter, http-reuse always",
    "neutron: haproxy as its template has it and the agent with its default of workers,"
    " only the port lookup stubbed; the agent's backlog, 5 as shipped, is repaired"
    " (metadata_backlog takes effect); neutron-shipped: it is not",
)
RESULTS = Path(__file__).with_name("RESULTS.md")


def _parser() -> ArgumentParser:
    """
    Describe the command line.
    """
    names = [case.name for case in CASES]
    parser = ArgumentParser("bench/run", description=f"Cases: {', '.join(names)}.")
    add = parser.add_argument
    add("cases", nargs="*", metavar="CASE", help="default: all")
    add("--rounds", type=int, default=6, help="good rounds of each system (6)")
    add("--seconds", type=int, default=2, help="length of a round (2)")
    add("--quick", action="store_true", help="2 rounds of 1 s, no system calls")
    add("--systems", help=f"some of {','.join(STARTERS)}; default: all")
    add(
        "--foreign",
        type=float,
        default=0.25,
        help="a round in which others used more cores is thrown away (0.25)",
    )
    add(
        "--patience",
        type=float,
        default=5,
        help="longest wait for others to be quiet before a round, in seconds (5)",
    )
    add(
        "--nice",
        type=int,
        default=0,
        help="run all of it at this niceness, where the machine can't be had alone (0)",
    )
    add("--commit", help="measure this commit, not the files as they are")
    add("--write", action="store_true", help="add the results to bench/RESULTS.md")
    return parser


def _say(text: str) -> None:
    """
    Tell how it goes.
    """
    print(text, file=sys.stderr, flush=True)


def _plan(arguments: Namespace, source: str) -> Plan:
    """
    Read how much is to be measured.

    @param source: The checkout with the proxy; empty: this one.
    """
    systems = arguments.systems.split(",") if arguments.systems else STARTERS
    unknown = set(systems) - set(STARTERS)
    if unknown:
        sys.exit(f"bench: no such system: {', '.join(unknown)}")
    return Plan(
        rounds=2 if arguments.quick else arguments.rounds,
        seconds=1 if arguments.quick else arguments.seconds,
        most_foreign=arguments.foreign,
        patience=arguments.patience,
        systems=tuple(systems),
        source=source,
        trace=not arguments.quick,
        say=_say,
    )


def main() -> None:
    """
    Measure, and print it.
    """
    arguments = _parser().parse_args()
    by_name = {case.name: case for case in CASES}
    unknown = set(arguments.cases) - set(by_name)
    if unknown:
        sys.exit(f"bench: no such case: {', '.join(unknown)}")
    if os.geteuid() != 0:
        sys.exit("bench: strace and network namespaces need root")
    cases = [by_name[name] for name in arguments.cases] or list(CASES)
    idle.allow_many_files()
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    with TemporaryDirectory() as directory, at_niceness(arguments.nice):
        if arguments.commit:
            machine.unpack(arguments.commit, Path(directory))
        plan = _plan(arguments, directory if arguments.commit else "")
        outcomes = run(cases, plan)
    described = machine.describe(arguments.commit)
    if arguments.nice:
        described.append(f"all of it at niceness {arguments.nice}")
    text = "\n".join(_told(outcomes, plan, described))
    print(text)
    if arguments.write:
        with RESULTS.open("a") as results:
            results.write(f"\n{text}")


def _told(outcomes: list[Outcome], plan: Plan, described: list[str]) -> list[str]:
    """
    Write the whole report.

    @param described: On what it was measured, the date first.
    """
    lines = [f"## {described[0]}", "", *(f"- {line}" for line in described[1:])]
    lines += [
        f"- {plan.rounds} good rounds of {plan.seconds} s: those in which others used"
        f" at most {plan.most_foreign:g} cores",
        *(f"- {remark}" for remark in CONDITIONS),
        "",
    ]
    for outcome in outcomes:
        lines += CaseReport(outcome, plan).lines()
    return lines


if __name__ == "__main__":
    # What was started and made is taken down again on every way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (LabError, NoFigures, OSError, WrongAnswer) as error:
        sys.exit(f"bench: {error}")
