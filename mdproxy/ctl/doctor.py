# -*- test-case-name: tests.test_ctl_doctor -*-
"""
C{mdproxyctl doctor}: looks at everything that may be wrong, and says what to do.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from mdproxy import __version__
from mdproxy.checks.access import User
from mdproxy.checks.finding import Finding, Group, worst
from mdproxy.checks.host import peer_of, status_of
from mdproxy.checks.running import findings_of, judge_in_use
from mdproxy.checks.survey import (
    SUBJECTS,
    Service,
    ends_in,
    survey_certificates,
    survey_files,
)
from mdproxy.config import Config, ConfigError, load
from mdproxy.ctl.access import Access, Unanswered, find_access
from mdproxy.ctl.text import shown, wrapped
from mdproxy.settings import Settings

#: The user of etc/mdproxy.service.
_USER: Final = "mdproxy"

_SIGNS: Final = {"ok": "ok", "note": "note", "wrong": "WRONG"}


def run(arguments: Namespace) -> int:
    """
    Look at everything, and print what was found.

    @param arguments: C{config_file}, C{config_dir}, C{json}, and how the service is
        asked.

    @return: 0 where nothing is wrong, else 1.
    """
    groups = examine(arguments)
    verdict = worst(finding for group in groups for finding in group.findings)
    if arguments.json:
        said = {"verdict": verdict, "groups": [group.describe() for group in groups]}
        print(json.dumps(said, indent=2))
    else:
        print("\n".join(lines(groups)))
    return 1 if verdict == "wrong" else 0


def lines(groups: Sequence[Group]) -> list[str]:
    """
    Write what was found.

    @return: Lines for a terminal.
    """
    written: list[str] = []
    for group in groups:
        written.append(f"{group.title}:")
        for finding in group.findings:
            written += _finding(finding)
        written.append("")
    counts = Counter(f.verdict for group in groups for f in group.findings)
    sums = f"{counts['wrong']} wrong, {counts['note']} worth a look, {counts['ok']} ok"
    return [*written, f"In all: {sums}."]


def _finding(finding: Finding) -> list[str]:
    """
    Write a finding: what to do stands under it.
    """
    sign = f"  {_SIGNS[finding.verdict]:<6}"
    text = wrapped(f"{finding.name}: {finding.text}", " " * 8)
    advice = wrapped(finding.advice, " " * 8 + "-> ") if finding.advice else []
    return [sign + text[0][8:], *text[1:], *advice]


def examine(arguments: Namespace) -> list[Group]:
    """
    Look at everything.

    @return: What was found, by subject.
    """
    told, findings, access = _ask(arguments)
    service = find_service(access)
    settings = Settings.load(arguments.config_file, arguments.config_dir)
    config, judged = _configuration(arguments)
    groups = [
        Group("Configuration", judged),
        Group(
            f"Files, for user {shown(service.user.name)}",
            tuple(survey_files(settings, service)),
        ),
    ]
    certificates = survey_certificates(settings, time.time())
    if told is not None:
        certificates += _in_use(told)
    if certificates:
        groups.append(Group("Certificates", tuple(certificates)))
    if config is not None:
        groups.append(Group("Nova", tuple(_nova(config))))
        groups += [
            Group(title, tuple(survey(config, service))) for title, survey in SUBJECTS
        ]
    return [*groups, Group("The running service", news(findings, groups))]


def news(findings: Sequence[Finding], groups: Sequence[Group]) -> tuple[Finding, ...]:
    """
    Leave out what the service says and we have found just so.

    @param findings: What the service says.
    @param groups: What we have found.
    """
    known = {(f.name, f.text) for group in groups for f in group.findings}
    return tuple(f for f in findings if (f.name, f.text) not in known)


def find_service(access: Access | None) -> Service:
    """
    Find the running process, and the user that it runs as.

    @param access: How the service is asked.
    """
    pid = None if access is None else peer_of(access.place)
    uids = {} if pid is None else status_of(pid)
    if "Uid" in uids:
        # The effective one, by which files are opened.
        return Service(pid, User.of(int(uids["Uid"].split()[1])))
    try:
        return Service(pid, User.of_entry(pwd.getpwnam(_USER)))
    except KeyError:
        return Service(pid, User.of(os.geteuid()))


def _ask(
    arguments: Namespace,
) -> tuple[Mapping[str, Any] | None, tuple[Finding, ...], Access | None]:
    """
    Ask the running service.

    @return: What it says of itself; what was found; how it was asked.
    """
    access = None
    try:
        access = find_access(arguments)
        told: Mapping[str, Any] = access.ask("status")
        return told, tuple(findings_of(told, __version__)), access
    except Unanswered as error:
        finding = Finding("mdproxy", "wrong", error.text, error.advice)
        return None, (finding,), access


def _configuration(
    arguments: Namespace,
) -> tuple[Config | None, tuple[Finding, ...]]:
    """
    Judge the configuration.
    """
    try:
        config = load(arguments.config_file, arguments.config_dir)
    except ConfigError as error:
        faults = [
            Finding("fault", "wrong", f"{fault}.", _advice(fault))
            for fault in error.faults
        ]
        text = "What depends on the configuration was not looked at."
        return None, (*faults, Finding("the rest", "note", text))
    notes = [Finding("worth knowing", "note", f"{note}.") for note in config.notes]
    return config, (Finding("configuration", "ok", "It has no faults."), *notes)


def _advice(fault: str) -> str:
    """
    Say what to do about a fault that may be ours alone.
    """
    if "Permission denied" in fault and os.geteuid() != 0:
        return "Perhaps only this user may not read it: run the doctor as root."
    return ""


def _in_use(told: Mapping[str, Any]) -> list[Finding]:
    """
    Compare the certificates in use with those on disk.
    """
    in_use = (told.get("checks") or {}).get("certificates") or {}
    paths = [path for path in in_use if path.startswith("/")]
    return judge_in_use(in_use, ends_in(paths))


def _nova(config: Config) -> list[Finding]:
    """
    Ask each endpoint of Nova.
    """
    # A reactor is made for this alone.
    from twisted.internet.task import react

    from mdproxy.checks.nova import examine_all

    findings: list[Finding] = []

    async def main(reactor: Any) -> None:
        findings.extend(await examine_all(reactor, config))

    with suppress(SystemExit):
        react(main)
    if not findings:
        print("mdproxyctl: nobody asked Nova", file=sys.stderr)
    return findings
