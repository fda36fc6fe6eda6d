# -*- test-case-name: tests.test_lookup_verdicts -*-
"""
Verdicts in words, and which ones were given lately, for the operator to see.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field
from twisted.logger import Logger

from mdproxy.limits import Seldom
from mdproxy.lookup.decision import Facts
from mdproxy.model import Evidence, Identity, Lease, Port, Reason, Refusal

#: Of how many callers the latest remarkable verdict is remembered.
MOST: Final = 256

#: Reasons to allow that an operator need not look at.
_PLAIN: Final = frozenset(
    {
        Reason.AGREED,
        Reason.LEASE_MISSING,
        Reason.LINK_LOCAL,
        Reason.ADDRESS_ONLY,
        Reason.TRUNK_PARENT,
    }
)


@define
class Verdicts:
    """
    How often each verdict was given, and the latest ones that somebody should look at:
    refusals, and what was allowed against some evidence.

    A caller who waits is judged again with every changed fact, and one who was
    recognised is not judged again until one changes: what is counted here is judgements
    and not requests.

    @ivar counts: Judgements by C{allowed} or C{refused} and their reason.
    @ivar _latest: The latest remarkable verdict by network and address, with when it
        was given.
    """

    counts: Counter[str] = field(factory=Counter, init=False)
    _latest: OrderedDict[tuple[str, str], tuple[float, Identity | Refusal]] = field(
        factory=OrderedDict, init=False
    )
    _seldom: Seldom = field(factory=Seldom, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def note(self, verdict: Identity | Refusal, now: float) -> None:
        """
        Write a verdict down.

        @param now: Seconds, monotonic.
        """
        evidence = verdict.evidence
        is_allowed = isinstance(verdict, Identity)
        word = "allowed" if is_allowed else "refused"
        self.counts[f"{word}-{evidence.reason.value}"] += 1
        if is_allowed and evidence.reason in _PLAIN:
            return
        key = (evidence.caller.network, evidence.caller.address)
        self._latest[key] = (now, verdict)
        self._latest.move_to_end(key)
        if len(self._latest) > MOST:
            self._latest.popitem(last=False)
        if is_allowed:
            self._tell(evidence, now)

    def describe(self, now: float) -> Mapping[str, Any]:
        """
        Tell the operator.

        @param now: Seconds, monotonic.

        @return: Plain values, ready for JSON; of the verdicts the latest first.
        """
        return {
            "judgements": dict(sorted(self.counts.items())),
            "latest": [
                {"age": round(now - at, 3), **verdict_in_words(verdict)}
                for at, verdict in reversed(self._latest.values())
            ],
        }

    def _tell(self, evidence: Evidence, now: float) -> None:
        """
        Log that somebody was allowed against some evidence, once in a while for each.
        """
        caller = evidence.caller
        quiet = self._seldom.passes((*caller.holder, evidence.reason), now)
        if quiet is not None:
            self._log.warn(
                "allowed {address} ({mac}) on {network} in spite of {reason}: its "
                "lease is {lease}'s ({quiet} more like it)",
                address=caller.address,
                mac=caller.mac,
                network=caller.network,
                reason=evidence.reason.value,
                lease=None if evidence.lease is None else evidence.lease.mac,
                quiet=quiet,
            )


def verdict_in_words(verdict: Identity | Refusal) -> dict[str, Any]:
    """
    Put a verdict into words.

    @return: Plain values, ready for JSON.
    """
    evidence = verdict.evidence
    words: dict[str, Any] = {
        "network": evidence.caller.network,
        "address": evidence.caller.address,
        "mac": evidence.caller.mac,
        "identify_by": evidence.caller.identify_by,
        "probed": evidence.caller.probed,
        "neighbour": evidence.neighbour,
        "lease": None if evidence.lease is None else lease_in_words(evidence.lease),
        "row": evidence.row,
        "reason": evidence.reason.value,
    }
    if isinstance(verdict, Identity):
        return {"verdict": "allowed", **words, "port": port_in_words(verdict.port)}
    return {"verdict": "refused", **words, "doubtful": verdict.doubtful}


def facts_in_words(facts: Facts) -> dict[str, Any]:
    """
    Put what the books say of a caller into words.

    @return: Plain values, ready for JSON.
    """
    return {
        "neighbour": facts.neighbour,
        "turned": facts.turned,
        "lease": None if facts.lease is None else lease_in_words(facts.lease),
        "ports_by_mac": [port_in_words(port) for port in facts.by_mac],
        "ports_by_address": [port_in_words(port) for port in facts.by_address],
        "bridge_port": facts.bridge_port,
    }


def port_in_words(port: Port) -> dict[str, Any]:
    """
    Put a port into words.

    @return: Plain values, ready for JSON.
    """
    return {
        "network": port.network,
        "mac": port.mac,
        "instance": port.instance_id,
        "project": port.project_id,
        "addresses": None if port.addresses is None else sorted(port.addresses),
        "pairs": sorted(port.pairs),
        "inventory": port.inventory,
        "port": port.port_id,
        "device": port.device,
        "parent": port.parent,
    }


def lease_in_words(lease: Lease) -> dict[str, Any]:
    """
    Put a lease into words.

    @return: Plain values, ready for JSON; when it ends in seconds since the epoch.
    """
    return {
        "network": lease.network,
        "address": lease.address,
        "mac": lease.mac,
        "expires": lease.expires,
        "hostname": lease.hostname,
    }
