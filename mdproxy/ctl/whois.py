# -*- test-case-name: tests.test_ctl_whois -*-
"""
C{mdproxyctl whois}: what the proxy makes of an address, and why.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any

from mdproxy.ctl.access import find_access
from mdproxy.ctl.text import ago, lasted, pairs, sentence, shown, transaction, wrapped


def run(arguments: Namespace) -> int:
    """
    Ask, and print what is told.

    @param arguments: C{address}, C{network}, C{json}, and how the service is asked.

    @return: 0 where some network would let the address in, else 1.

    @raise Unanswered: If the service can't be asked.
    """
    access = find_access(arguments)
    told = access.ask("why", address=arguments.address, network=arguments.network)
    if arguments.json:
        print(json.dumps(told, indent=2))
    else:
        print("\n".join(lines(told)))
    candidates = told.get("candidates", ())
    return 0 if any(map(_is_let_in, candidates)) else 1


def lines(told: Mapping[str, Any]) -> list[str]:
    """
    Write the evidence on an address.

    @param told: As C{/api/v1/why} has it.

    @return: Lines for a terminal.
    """
    candidates = told.get("candidates", ())
    written: list[str] = []
    if len(candidates) != 1:
        written += wrapped(str(told.get("sentence", "")))
    for candidate in candidates:
        written += [*([""] if written else []), *_candidate(told, candidate)]
    last = told.get("last", ())
    if not candidates and last:
        written += ["", "Its last requests:"]
        written += [f"  {transaction(each)}" for each in last]
    return written


def _candidate(told: Mapping[str, Any], it: Mapping[str, Any]) -> list[str]:
    """
    Write the evidence on an address on one network.
    """
    called = it.get("called")
    name = "" if called in (None, it.get("network")) else f" ({shown(called)})"
    place = f"{shown(told.get('address'))} on {shown(it.get('network'))}{name}"
    head = f"{place}: {_verdict(it)}"
    lately = it.get("lately")
    return [
        head,
        *wrapped(str(it.get("sentence") or ""), "  "),
        *pairs(
            [
                ("lately", None if lately is None else sentence(lately)),
                ("rule", shown(it.get("rule"))),
                ("listener", _listener(it.get("listener") or {})),
                ("told by", shown(it.get("bound"))),
                ("neighbour", _neighbour(it.get("neighbour") or {})),
                ("port", _port(it)),
                ("lease", _lease(it.get("lease"))),
                *_sources("inventory", it.get("inventories") or ()),
                *_sources("leases", it.get("lease_sources") or ()),
            ]
        ),
        *[f"  last        {transaction(each)}" for each in it.get("last") or ()],
    ]


def _verdict(it: Mapping[str, Any]) -> str:
    """
    Write a verdict.

    Of whom nothing was heard lately that is no fault: any request of its own would
    make the neighbour entry that is missing.
    """
    supposed = it.get("supposed")
    if supposed:
        would = shown(supposed.get("verdict")).upper()
        return f"not heard of lately, would be {would}, {_row(supposed)}"
    if it.get("reason") == "no-neighbour" and not it.get("last"):
        return f"not heard of lately, {_row(it)}"
    return f"{shown(it.get('verdict')).upper()}, {_row(it)}"


def _row(it: Mapping[str, Any]) -> str:
    """
    Write the row of the decision table.
    """
    return f"{shown(it.get('reason'))} (row {shown(it.get('row'))})"


def _is_let_in(it: Mapping[str, Any]) -> bool:
    """
    Tell whether a candidate would be let in.
    """
    return "allowed" in (it.get("verdict"), (it.get("supposed") or {}).get("verdict"))


def _listener(it: Mapping[str, Any]) -> str:
    """
    Write where it comes in.
    """
    text = (
        f"{shown(it.get('name'))}: {shown(it.get('kind'))}, identifies by "
        f"{shown(it.get('identify_by'))}"
    )
    if it.get("open") is False:
        text += ", NOT OPEN"
    return text + (f": {shown(it.get('problem'))}" if it.get("problem") else "")


def _neighbour(it: Mapping[str, Any]) -> str:
    """
    Write where answers would go.
    """
    text = f"{shown(it.get('mac'))} {shown(it.get('state'))}"
    for turn in it.get("turns") or ():
        text += f"; {ago(turn.get('age'))} it was {shown(turn.get('from'))}"
    return text


def _port(it: Mapping[str, Any]) -> str:
    """
    Write whose port it is; where it is nobody's, whose are near.
    """
    if it.get("port"):
        return _whose(it["port"])
    facts = it.get("facts") or {}
    near = [*(facts.get("ports_by_mac") or ()), *(facts.get("ports_by_address") or ())]
    if not near:
        return "none has this MAC or this address"
    return "none that fits; " + "; ".join(f"near: {_whose(port)}" for port in near[:4])


def _whose(port: Mapping[str, Any]) -> str:
    """
    Write a port.
    """
    addresses = port.get("addresses")
    have = "addresses unknown" if addresses is None else shown(addresses)
    return (
        f"instance {shown(port.get('instance'))}, project {shown(port.get('project'))},"
        f" {shown(port.get('mac'))}, {have}, said by {shown(port.get('inventory'))}"
    )


def _lease(it: Mapping[str, Any] | None) -> str:
    """
    Write what DHCP knows.
    """
    if it is None:
        return "none is known"
    text = f"{shown(it.get('mac'))}"
    if it.get("hostname"):
        text += f" {shown(it.get('hostname'))}"
    ends = it.get("ends_in")
    if ends is None:
        return f"{text}, never ends"
    if ends <= 0:
        return f"{text}, ENDED {ago(-ends)}"
    return f"{text}, ends in {lasted(ends)}"


def _sources(
    name: str, sources: Iterable[Mapping[str, Any]]
) -> Iterable[tuple[str, str]]:
    """
    Write how fresh sources are, a row for each.
    """
    for it in sources:
        text = f"{shown(it.get('name'))} is {shown(it.get('state'))}"
        if it.get("age") is not None:
            text += f", heard {ago(it.get('age'))}"
        if it.get("knows") is False:
            text += ", can't know this network"
        if it.get("in_doubt"):
            text += ", in doubt about this network"
        if it.get("problem"):
            text += f": {shown(it.get('problem'))}"
        yield name, text
