"""
Asking: the load, and whether the answers are right.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

from bench.accounting import Account, account, members
from bench.backend import BODIES, HEADERS
from bench.cases import NEUTRON, Case
from bench.figures import Answers, Sample, count_calls, read_answers
from bench.places import OTHER_CORE, Place
from bench.system import System
from tests.lab.guest import Guest
from tests.lab.stage import wait_for

_SCRIPT = str(Path(__file__).with_name("answers.lua"))
#: What an instance may try; none of it may reach the backend.
_FORGED: tuple[str, ...] = (
    "X-Instance-ID: forged",
    "X-Instance-ID-Signature: forged",
    "X-Tenant-ID: forged",
)
#: This too; Neutron's agent fails on it (its haproxy appends, the agent wants one).
_FORGED_ADDRESS = "X-Forwarded-For: 192.0.2.1"


class WrongAnswer(Exception):
    """
    A system does not do what is to be measured.
    """


def check(place: Place, system: System, target: str) -> None:
    """
    Ask once, and see that backend and instance are told the right things.

    @raise WrongAnswer: If one is not.
    """
    guest = Guest(place.asking)
    host, port = place.host, system.port
    forged = _FORGED
    if not system.name.startswith(NEUTRON):
        forged = (*forged, _FORGED_ADDRESS)
    told = guest.ask(HEADERS, *forged, host=host, port=port)
    caller = place.caller
    wanted = {
        "instance": caller.instance,
        "signature": caller.signature,
        "address": caller.address,
        "project": caller.project,
    }
    if told.status != 200 or json.loads(told.body) != wanted:
        raise WrongAnswer(f"{system.name} told the backend {told}{system.said()}")
    answer = guest.ask(target, host=host, port=port)
    if answer.status != 200 or answer.body != BODIES[target].encode():
        raise WrongAnswer(f"{system.name} answered {answer}{system.said()}")


def ask(place: Place, system: System, case: Case, seconds: int) -> Answers:
    """
    Make the load, for some seconds.
    """
    command = [
        *("taskset", "-c", OTHER_CORE, "wrk", "-t1", f"-c{case.connections}"),
        *(f"-d{seconds}s", "--timeout", "20s", "-s", _SCRIPT),
        *(("-H", "Connection: close") if case.close else ()),
        f"http://{place.host}:{system.port}{case.target}",
    ]
    return read_answers(
        place.asking.run(*command, timeout=seconds + 60).stdout.decode()
    )


def take(place: Place, system: System, case: Case, seconds: int) -> Sample:
    """
    Make the load and take the accounts before and after.
    """
    before = account(system.roots)
    answers = ask(place, system, case, seconds)
    return _settle(before, account(system.roots), answers)


def _settle(before: Account, after: Account, answers: Answers) -> Sample:
    """
    Put the accounts of a round together.
    """
    return Sample(answers, after.system - before.system, after.foreign_since(before))


def calls_per_request(
    place: Place, system: System, case: Case, seconds: int
) -> dict[str, float]:
    """
    Count system calls while the load is made; the load is not timed.

    @return: Calls per answer, by name.
    """
    summary = place.directory / "strace"
    pids = members(system.roots)
    command = ["strace", "-c", "-f", "-q", "-o", str(summary)]
    command += [f"--attach={pid}" for pid in pids]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    with ExitStack() as cleanup:
        cleanup.callback(tracer.wait)
        cleanup.callback(os.kill, tracer.pid, signal.SIGINT)
        wait_for("strace", lambda: all(map(_traced, pids)))
        answers = ask(place, system, case, seconds)
    counted = count_calls(summary.read_text())
    return {name: n / max(answers.requests, 1) for name, n in counted.items()}


def _traced(pid: int) -> bool:
    """
    Look whether somebody watches a process.
    """
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
