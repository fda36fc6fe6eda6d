# -*- test-case-name: tests.test_ctl_status -*-
"""
C{mdproxyctl status}: how the running service is, on one screen.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mdproxy.ctl.access import Access, find_access
from mdproxy.ctl.text import columns, lasted, shown, wrapped
from mdproxy.introspection.words import iso

#: So many listeners and sources are shown of which nothing is wrong.
_MOST: Final = 20


def run(arguments: Namespace) -> int:
    """
    Ask, and print what is told.

    @param arguments: C{json}, and how the service is asked.

    @return: 0 where it is ready, else 1.

    @raise Unanswered: If the service can't be asked.
    """
    access = find_access(arguments)
    told = access.ask("status")
    if arguments.json:
        print(json.dumps(told, indent=2))
    else:
        print("\n".join(lines(told, access)))
    return 0 if told.get("ready", {}).get("ready") else 1


def lines(told: Mapping[str, Any], access: Access | None = None) -> list[str]:
    """
    Write how it is.

    @param told: As C{/api/v1/status} has it.
    @param access: Where it was asked.

    @return: Lines for a terminal.
    """
    ready = told.get("ready") or {}
    word = "ready" if ready.get("ready") else "NOT READY"
    at = "" if access is None else f" at {access}"
    return [
        f"mdproxy {shown(told.get('version'))}{at}: {word}",
        *_reasons(ready.get("reasons") or ()),
        *_configuration(told),
        *_table("Listeners", _listeners(told.get("listeners") or ())),
        *_table("Sources", _sources(told.get("sources") or ())),
        *_table("Nova", _nova(told)),
        *_requests(told),
        *_checks(told.get("checks") or {}),
    ]


def _reasons(reasons: Iterable[str]) -> list[str]:
    """
    Write what is in the way.
    """
    return [line for reason in reasons for line in wrapped(str(reason), "  ! ")]


def _configuration(told: Mapping[str, Any]) -> list[str]:
    """
    Write since when the configuration is in force.
    """
    config = told.get("configuration") or {}
    written = [f"Configuration in force since {shown(config.get('since'))}"]
    for option in config.get("needs_restart") or ():
        written += wrapped(f"needs a restart: {option}", "  ! ")
    last = config.get("last_reload") or {}
    for fault in last.get("faults") or ():
        written += wrapped(f"the last reload was refused: {fault}", "  ! ")
    return written


def _table(title: str, rows: Sequence[tuple[bool, Sequence[str]]]) -> list[str]:
    """
    Write rows under a title; where there are many, those first and all with which
    something is wrong.

    @param rows: Each with whether something is wrong.
    """
    wrong = [row for is_wrong, row in rows if is_wrong]
    fine = [row for is_wrong, row in rows if not is_wrong]
    cells = [*wrong[: 5 * _MOST], *fine[:_MOST]]
    left = len(rows) - len(cells)
    more = [f"  and {left} more"] if left else []
    return [f"{title}:", *(columns(cells) if cells else ["  none"]), *more]


def _listeners(listeners: Iterable[Mapping[str, Any]]) -> list[Any]:
    """
    Write a row for each listener.
    """
    rows = []
    for it in listeners:
        problem = it.get("problem")
        listening = it.get("listening")
        where = shown(listening if listening is not None else it.get("path"))
        if isinstance(it.get("namespaces"), int):
            where = f"{where} sockets in {shown(it['namespaces'])} namespaces"
        rows.append(
            (
                problem is not None,
                (
                    shown(it.get("name")),
                    shown(it.get("device") or it.get("kind")),
                    f"{shown(it.get('accepted', 0))} accepted",
                    where if problem is None else f"! {shown(problem)}",
                ),
            )
        )
    return rows


def _sources(sources: Iterable[Mapping[str, Any]]) -> list[Any]:
    """
    Write a row for each source.
    """
    rows = []
    for it in sources:
        state, problem = it.get("state"), it.get("problem")
        known = [
            f"{it[what]} {what}"
            for what in ("ports", "leases", "neighbours")
            if isinstance(it.get(what), int)
        ]
        text = shown(known) if problem is None else f"! {shown(problem)}"
        rows.append((state != "live", (shown(it.get("name")), shown(state), text)))
    return rows


def _nova(told: Mapping[str, Any]) -> list[Any]:
    """
    Write a row for each endpoint of Nova.
    """
    checks = told.get("checks") or {}
    secrets = {
        it.get("endpoint"): it.get("secret") for it in checks.get("endpoints") or ()
    }
    rows = []
    for it in (told.get("upstream") or {}).get("endpoints") or ():
        host = str(it.get("host"))
        place = (
            f"[{host}]:{it.get('port')}" if ":" in host else f"{host}:{it.get('port')}"
        )
        secret, problem = secrets.get(place, "unknown"), it.get("problem")
        text = f"{shown(it.get('busy'))} busy, {shown(it.get('idle'))} idle"
        rows.append(
            (
                it.get("health") != "sound" or secret in ("wrong", "mangled"),
                (
                    shown(place),
                    "TLS" if it.get("tls") else "plain",
                    shown(it.get("health")),
                    f"secret {shown(secret)}",
                    text if problem is None else f"! {shown(problem)}",
                ),
            )
        )
    return rows


def _requests(told: Mapping[str, Any]) -> list[str]:
    """
    Write what was asked so far.
    """
    counts = (told.get("proxy") or {}).get("counts") or {}
    statuses = {k[7:]: v for k, v in counts.items() if k.startswith("status-")}
    answered = ", ".join(f"{n} with {status}" for status, n in sorted(statuses.items()))
    text = f"{counts.get('requests', 0)} requests; answered: {answered or 'none'}"
    written = wrapped(text, "")
    times = told.get("transactions") or {}
    if times.get("median") is not None:
        median, p99 = lasted(times.get("median")), lasted(times.get("p99"))
        written += [f"  half of them within {median}, 99 of 100 within {p99}"]
    for it in times.get("refusals") or ():
        reason, count = shown(it.get("reason")), shown(it.get("count"))
        written += [f"  refused: {reason} ({shown(it.get('kind'))}) {count}"]
    return written


def _checks(checks: Mapping[str, Any]) -> list[str]:
    """
    Write what the checks found that is not well.
    """
    written: list[str] = []
    for it in checks.get("findings") or ():
        if it.get("verdict") != "ok":
            text = f"{it.get('name')}: {it.get('text')} {it.get('advice')}"
            written += wrapped(text, "  ! " if it.get("verdict") == "wrong" else "  ")
    certificates = checks.get("certificates") or {}
    for name, ends in certificates.items():
        written += [f"  {shown(name)}: good until {iso(ends)}"]
    return ["Checks:", *written] if written else []
