# -*- test-case-name: tests.test_bench -*-
"""
Who used how much: CPU and memory, from the kernel's own accounts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

_TICKS = os.sysconf("SC_CLK_TCK")
_SCHEDULER_CLOCK = 2
#: For how many seconds to look how busy others are.
_PROBE = 0.2
#: The most that a system uses which nobody asks anything, in cores.
_AT_REST = 0.03
#: The parent of all threads of the kernel.
_KTHREADD = 2


@frozen
class Process:
    """
    A line of the process table.

    @ivar pid: Its id.
    @ivar parent: The id of its parent.
    @ivar cpu: Seconds of CPU that it used, all threads, and what it waited for: with
        that, a sum over processes does not change when one of them ends.
    """

    pid: int
    parent: int
    cpu: float


def read_stat(text: str) -> tuple[int, float]:
    """
    Read C{/proc/PID/stat} (proc(5)).

    @return: The parent, and the seconds of CPU of the children that it waited for.
    """
    # The command may hold anything, blanks and parentheses too.
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), (int(fields[13]) + int(fields[14])) / _TICKS


def own_cpu(pid: int) -> float:
    """
    Ask how much CPU a process has used, by the scheduler's account.

    This is what C{/proc/PID/schedstat} shows for one thread, for all threads of the
    process, also those that have ended.

    @return: Seconds, to the nanosecond.

    @raise OSError: If there is no such process.
    """
    # MAKE_PROCESS_CPUCLOCK of linux/posix-timers.h, what clock_getcpuclockid(3) does.
    return time.clock_gettime_ns((~pid << 3) | _SCHEDULER_CLOCK) / 1e9


def processes() -> list[Process]:
    """
    Read the process table.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent, waited_for = read_stat((entry / "stat").read_text("latin-1"))
            cpu = own_cpu(int(entry.name)) + waited_for
        except OSError:
            continue  # it has just ended
        found.append(Process(int(entry.name), parent, cpu))
    return found


def family(table: Iterable[Process], roots: Iterable[int]) -> list[Process]:
    """
    Pick processes and all that descend from them.
    """
    children: dict[int, list[Process]] = {}
    by_pid = {}
    for each in table:
        children.setdefault(each.parent, []).append(each)
        by_pid[each.pid] = each
    found: dict[int, Process] = {}
    waiting = [by_pid[pid] for pid in roots if pid in by_pid]
    while waiting:
        each = waiting.pop()
        if each.pid not in found:
            found[each.pid] = each
            waiting += children.get(each.pid, [])
    return list(found.values())


@frozen
class Account:
    """
    How much CPU had been used at one moment.

    @ivar system: By the system under test.
    @ivar ours: By this process and all that it started, the system included.
    @ivar everybody: By all processes of the machine but the kernel's own threads, which
        work for whoever causes it.
    @ivar time: When that was, in seconds.
    """

    system: float
    ours: float
    everybody: float
    time: float

    def foreign_since(self, earlier: Account) -> float:
        """
        Tell how many cores were busy with what is not ours.
        """
        everybody = self.everybody - earlier.everybody
        ours = self.ours - earlier.ours
        return max(everybody - ours, 0.0) / (self.time - earlier.time)


def account(roots: Iterable[int]) -> Account:
    """
    Take the account of this moment.

    @param roots: The processes that the system under test was started as.
    """
    table = processes()
    return Account(
        sum(each.cpu for each in family(table, roots)),
        sum(each.cpu for each in family(table, [os.getpid()])),
        sum(each.cpu for each in table)
        - sum(each.cpu for each in family(table, [_KTHREADD])),
        time.monotonic(),
    )


def await_quiet(most_foreign: float, patience: float) -> None:
    """
    Wait until others use little of the machine.

    @param most_foreign: How many cores they may use.
    @param patience: For how many seconds to wait for that.
    """
    end = time.monotonic() + patience
    before = account([])
    while time.monotonic() < end:
        time.sleep(_PROBE)
        now = account([])
        if now.foreign_since(before) <= most_foreign:
            return
        before = now


def await_rest(roots: Iterable[int], patience: float = 20.0) -> None:
    """
    Wait until a system has nothing left to do.

    One that was asked too much goes on with what nobody waits for any more.

    @param patience: For how many seconds to wait for that.
    """
    end = time.monotonic() + patience
    before = account(roots)
    while time.monotonic() < end:
        time.sleep(_PROBE)
        now = account(roots)
        if (now.system - before.system) / (now.time - before.time) < _AT_REST:
            return
        before = now


def members(roots: Iterable[int]) -> list[int]:
    """
    List the processes that descend from some, these included.
    """
    return [each.pid for each in family(processes(), roots)]


def resident(roots: Iterable[int]) -> int:
    """
    Sum up the memory that processes and their descendants have in use.

    @return: RSS in kB; what several share is counted for each.
    """
    total = 0
    for pid in members(roots):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total
