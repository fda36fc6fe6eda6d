# -*- test-case-name: tests.test_ctl_trace -*-
"""
C{mdproxyctl trace}: what was asked lately, what is asked now, and how the requests of
one instance go, step by step.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from mdproxy.ctl.access import Access, Unanswered, find_access
from mdproxy.ctl.text import clock, shown, transaction

#: So many seconds are between two looks at the steps.
_BETWEEN: Final = 0.5

#: The time of a step differs by less, in seconds, each time that it is told.
_SAME: Final = 0.01

#: What is not repeated behind a step.
_PLAIN: Final = frozenset(
    {"request_id", "at", "network", "address", "mac", "instance", "step"}
)


def run(
    arguments: Namespace,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> int:
    """
    Print what is asked for, until that is over or the operator has seen enough.

    @param arguments: C{instance}, C{network}, C{address}, C{status}, C{limit},
        C{follow}, C{watch}, C{seconds}, C{json}, and how the service is asked.
    @param sleep: Lets time go by.
    @param now: Monotonic seconds.

    @return: 0.

    @raise Unanswered: If the service can't be asked.
    """
    access = find_access(arguments)
    write = _as_json if arguments.json else transaction
    try:
        if arguments.watch is not None:
            write = _as_json if arguments.json else step
            for each in _watched(access, arguments, sleep, now):
                print(write(each), flush=True)
            return 0
        last = None
        for each in _latest(access, arguments):
            print(write(each))
            last = each.get("request_id")
        if arguments.follow:
            _follow(access, arguments, last, write)
    except KeyboardInterrupt:
        # That is how following ends.
        pass
    return 0


def _follow(
    access: Access,
    arguments: Namespace,
    last: str | None,
    write: Callable[[Mapping[str, Any]], str],
) -> None:
    """
    Print what is asked from now on.

    @param last: The last request that was printed.

    @raise Unanswered: When the service ends it.
    """
    live = "transactions/live"
    sys.stdout.flush()
    for each in access.follow(live, last, **_filters(arguments)):
        # An event without anything in it says that there were too many.
        if each:
            print(write(each), flush=True)
        else:
            print("mdproxyctl: some are left out here", file=sys.stderr, flush=True)
    advice = "If it was restarted, ask again; see journalctl -u mdproxy."
    raise Unanswered("mdproxy has ended this.", advice)


def step(it: Mapping[str, Any]) -> str:
    """
    Write a step of a request in one line.

    @param it: As C{/api/v1/steps} has it.
    """
    more = [f"{k}={shown(v)}" for k, v in it.items() if k not in _PLAIN]
    return " ".join(
        [
            clock(it.get("at")),
            shown(it.get("request_id"))[-12:].lstrip("0"),
            shown(it.get("address")),
            shown(it.get("network")),
            shown(it.get("step")),
            *map(shown, more),
        ]
    )


def _as_json(it: Mapping[str, Any]) -> str:
    """
    Write it as one line of JSON, in ASCII, so that no terminal obeys it.
    """
    return json.dumps(it)


def _filters(arguments: Namespace) -> dict[str, str | int | None]:
    """
    Tell which requests are wanted.
    """
    return {
        "instance": arguments.instance,
        "network": arguments.network,
        "address": arguments.address,
        "status": arguments.status,
    }


def _latest(access: Access, arguments: Namespace) -> list[Mapping[str, Any]]:
    """
    Get what was asked lately, the earliest first.
    """
    told = access.ask("transactions", limit=arguments.limit, **_filters(arguments))
    return list(reversed(told["items"]))


def _watched(
    access: Access,
    arguments: Namespace,
    sleep: Callable[[float], None],
    now: Callable[[], float],
) -> Iterator[Mapping[str, Any]]:
    """
    Watch an instance, and get its steps as they happen.
    """
    whom, end = arguments.watch, now() + arguments.seconds
    known = _steps_of(access.ask("steps"))
    access.tell("watch", instance=whom, seconds=arguments.seconds)
    while True:
        is_over = now() >= end
        steps = _steps_of(access.ask("steps"))
        for each in fresh(known, steps):
            if whom in (each.get("instance"), each.get("address")):
                yield each
        known = steps
        if is_over:
            return
        sleep(_BETWEEN)


def fresh(
    known: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """
    Find what was added to a list of steps, of which the earliest may be gone.

    @param known: The list as it was.
    @param steps: The list as it is.
    """
    for gone in range(len(known)):
        rest = known[gone:]
        if len(rest) <= len(steps) and all(map(_is_same, rest, steps)):
            return steps[len(rest) :]
    return steps


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """
    Tell whether a step is the one that was told before.
    """
    is_near = abs(_at(one) - _at(other)) < _SAME
    return is_near and {**one, "at": 0} == {**other, "at": 0}


def _steps_of(told: Any) -> list[Mapping[str, Any]]:
    """
    Find the steps in an answer.
    """
    steps = told.get("steps", told.get("items")) if isinstance(told, dict) else told
    return list(steps or ())


def _at(it: Mapping[str, Any]) -> float:
    """
    Tell when a step was.
    """
    return float(it.get("at") or 0)
