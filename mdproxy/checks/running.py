# -*- test-case-name: tests.test_checks_running -*-
"""
What the running service says of itself (C{/api/v1/status}), as findings.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from mdproxy.checks.finding import Finding, Verdict
from mdproxy.ini import printable

#: What to look at where a source is not live, by its kind.
_ADVICE: Final = {
    "static": "See the file, and whether mdproxy's user may read it.",
    "libvirt": "See whether libvirt runs, and whether mdproxy may read its files "
    "(etc/mdproxy.service.d has a drop-in).",
    "ovn": "See [ovn] ovn_sb_connection, its certificates, and whether the southbound "
    "database answers (ovn-sbctl show).",
    "neutron": "See section [neutron], and whether Keystone and Neutron answer.",
    "neighbours": "See the log: without the kernel's neighbour table nobody is "
    "recognised.",
}
_LEASES: Final = (
    "See whether the DHCP server writes that file, and whether mdproxy's user may read "
    "it."
)

_HEALTH: Final[Mapping[str, Verdict]] = {"sound": "ok", "resting": "wrong"}


def judge_version(running: Any, ours: str) -> Finding:
    """
    Tell whether what runs is what is installed.

    @param running: The version that the service says.
    @param ours: This one's.
    """
    text = f"{_said(running)} runs"
    if running == ours:
        return Finding("version", "ok", f"{text}, which is what is installed.")
    advice = "Restart the service: systemctl restart mdproxy."
    return Finding("version", "note", f"{text}, and {ours} is installed.", advice)


def findings_of(told: Mapping[str, Any], ours: str) -> list[Finding]:
    """
    Judge what the service says of itself.

    @param told: As C{/api/v1/status} has it.
    @param ours: The version that is installed.
    """
    findings = [judge_version(told.get("version"), ours)]
    findings += _configuration(told.get("configuration") or {})
    findings += _listeners(told.get("listeners") or ())
    findings += _sources(told.get("sources") or ())
    findings += _endpoints((told.get("upstream") or {}).get("endpoints") or ())
    findings += _checks((told.get("checks") or {}).get("findings") or ())
    ready = told.get("ready") or {}
    if ready.get("ready"):
        findings.append(Finding("readiness", "ok", "It is ready."))
    else:
        why = "; ".join(_said(reason) for reason in ready.get("reasons") or ())
        findings.append(Finding("readiness", "wrong", f"It is not ready: {why}."))
    return findings


def judge_in_use(
    in_use: Mapping[str, Any], on_disk: Mapping[str, float]
) -> list[Finding]:
    """
    Find certificates that were renewed on disk, while the service shows the old ones.

    @param in_use: When those in use end, by their files.
    @param on_disk: When those on disk end, by their files.
    """
    return [
        Finding(
            f"certificate in use of {path}",
            "wrong" if on_disk[path] > ends else "note",
            "The file has another certificate than the service uses.",
            "Have it read again: systemctl reload mdproxy.",
        )
        for path, ends in in_use.items()
        if path in on_disk and isinstance(ends, (int, float)) and on_disk[path] != ends
    ]


def _configuration(said: Mapping[str, Any]) -> Iterable[Finding]:
    """
    Judge the configuration in force.
    """
    waiting = said.get("needs_restart") or ()
    if waiting:
        text = f"It needs a restart to follow: {', '.join(map(_said, waiting))}."
        yield Finding(
            "configuration in force", "note", text, "systemctl restart mdproxy"
        )
    last = said.get("last_reload") or {}
    faults = last.get("faults") or ()
    if faults:
        text = f"The last reload was refused: {_said(faults[0])}"
        yield Finding("last reload", "wrong", text, "mdproxyctl check-config says all.")


def _listeners(listeners: Iterable[Mapping[str, Any]]) -> Iterable[Finding]:
    """
    Judge the listeners.
    """
    for it in listeners:
        name, problem = f"listener {_said(it.get('name'))}", it.get("problem")
        if problem is None:
            yield Finding(name, "ok", "It listens.")
        else:
            advice = "See what is said of its device, address and port above."
            yield Finding(name, "wrong", f"{_said(problem)}.", advice)


def _sources(sources: Iterable[Mapping[str, Any]]) -> Iterable[Finding]:
    """
    Judge the sources.
    """
    for it in sources:
        state, problem = it.get("state"), it.get("problem")
        name, kind = f"source {_said(it.get('name'))}", str(it.get("kind"))
        advice = _ADVICE.get(kind, _LEASES)
        text = f"It is {_said(state)}"
        text += "." if problem is None else f": {_said(problem)}."
        if state == "live":
            verdict: Verdict = "ok" if problem is None else "note"
            yield Finding(name, verdict, text, "" if problem is None else advice)
        elif state == "starting":
            yield Finding(name, "note", text, "Wait a moment, and ask again.")
        else:
            yield Finding(name, "wrong", text, advice)


def _endpoints(endpoints: Iterable[Mapping[str, Any]]) -> Iterable[Finding]:
    """
    Judge how instances' requests fare with the endpoints of Nova.
    """
    for it in endpoints:
        name = f"requests to {_said(it.get('host'))} port {_said(it.get('port'))}"
        health, problem = str(it.get("health")), it.get("problem")
        text = f"It is {_said(health)}"
        text += "." if problem is None else f": {_said(problem)}."
        yield Finding(name, _HEALTH.get(health, "note"), text)


def _checks(findings: Iterable[Mapping[str, Any]]) -> Iterable[Finding]:
    """
    Take over what the service has found itself.
    """
    for it in findings:
        verdict = it.get("verdict")
        if verdict in ("ok", "note", "wrong"):
            words = (str(it.get(k)) for k in ("name", "text", "advice"))
            name, text, advice = (printable(word, 2000) for word in words)
            yield Finding(name, cast(Verdict, verdict), text, advice)


def _said(value: Any) -> str:
    """
    Repeat what the service says, so that no terminal obeys it.
    """
    return printable(str(value).rstrip("."), 1000)
