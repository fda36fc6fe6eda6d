"""
Tests for L{mdproxy.introspection.sentences}.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.exchange import InstanceInDoubt, NoSuchInstance
from mdproxy.introspection.sentences import (
    OUTCOMES,
    RULES,
    account_of,
    outcome_of,
    rule_of,
)
from mdproxy.lookup.decision import Facts, Policy, decide
from mdproxy.lookup.verdicts import facts_in_words, verdict_in_words
from mdproxy.model import Caller, Lease, Port, Reason
from mdproxy.proxy import STATUSES

A, B = "fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b"
ADDRESS, OTHER, LOCAL = "10.0.0.5", "10.0.0.6", "fe80::1"


def a_port(mac: str = A, instance: str = "i-a", **differs: Any) -> Port:
    """
    Make a port.
    """
    differs.setdefault("addresses", frozenset({ADDRESS}))
    differs.setdefault("inventory", "one")
    return Port("red", mac, instance, "p-1", **differs)


CALLERS = [
    Caller("red", ADDRESS, A),
    Caller("red", LOCAL, A),
    Caller("red", LOCAL, A, probed=True),
    Caller("red", ADDRESS, None),
    Caller("red", ADDRESS, None, "lease"),
    Caller("red", ADDRESS, None, "address"),
]
NEIGHBOURS = [None, A, B]
LEASES = [
    None,
    Lease("red", ADDRESS, A, None),
    Lease("red", ADDRESS, B, None),
    Lease("red", ADDRESS, None, None),
]
PORTS = [
    (),
    (a_port(),),
    (a_port(addresses=frozenset({OTHER})),),
    (a_port(addresses=frozenset({OTHER}), pairs=frozenset({ADDRESS})),),
    (a_port(addresses=None),),
    (a_port(parent="trunk"),),
    (a_port(device="tap1"),),
    (a_port(), a_port(instance="i-b")),
    (a_port(), a_port(instance="i-b", inventory="two")),
]
OWNERS = [(), (a_port(B, "i-b"),)]
POLICIES = [Policy(), Policy(True, True, True)]


class SentencesTests(SynchronousTestCase):
    """
    Tests for L{account_of} and L{rule_of}.
    """

    def test_all(self) -> None:
        """
        Whatever the evidence, the verdict has a rule, and a sentence without holes that
        ends; all reasons come up.
        """
        seen = set()
        for caller, near, lease, ports, owners, policy, doubtful in product(
            CALLERS, NEIGHBOURS, LEASES, PORTS, OWNERS, POLICIES, (False, True)
        ):
            facts = Facts(caller, near, False, lease, ports, owners, "tap2")
            verdict = decide(facts, policy, doubtful)
            words = {**verdict_in_words(verdict), "facts": facts_in_words(facts)}
            text = account_of(words, "red")
            self.assertNotIn("None", text)
            self.assertNotIn("{", text)
            self.assertTrue(text.endswith("."), text)
            self.assertTrue(rule_of(words["row"]).endswith("."))
            # What a record of a request has is enough for a sentence, too.
            self.assertTrue(account_of(verdict_in_words(verdict), "red"))
            seen.add(verdict.evidence.reason)
        self.assertEqual(seen, set(Reason))

    def test_outcomes(self) -> None:
        """
        Whatever came between an instance and its answer has a sentence; what a refusal
        explains, and what went well, has none.
        """
        refusals = {NoSuchInstance, InstanceInDoubt}
        causes = {cause.__name__ for cause in STATUSES.keys() - refusals}
        self.assertEqual(
            OUTCOMES.keys(), causes | {"client-gone", "path-lost", "cut-off"}
        )
        words = {"status": 503, "request_id": "req-7"}
        for outcome in OUTCOMES:
            text = outcome_of({**words, "outcome": outcome})
            self.assertTrue(text.endswith("."), text)
            self.assertNotIn("{", text)
        for status, word in ((404, "cells"), (500, "req-7"), (503, "req-7"), (400, "")):
            text = outcome_of({**words, "outcome": "relayed", "status": status})
            self.assertIn("Nova's own answer", text)
            self.assertIn(word, text)
        for outcome, status in (
            ("relayed", 200),
            ("relayed", 304),
            ("NoSuchInstance", 404),
        ):
            self.assertEqual(
                outcome_of({**words, "outcome": outcome, "status": status}), ""
            )

    def test_rules(self) -> None:
        """
        Every row of the table has a sentence.
        """
        self.assertEqual(sorted(RULES), list(range(1, 15)))

    def words(self, **differs: Any) -> dict[str, Any]:
        """
        Make the words of a doubtful refusal.
        """
        facts = Facts(CALLERS[0], A, False, None, (), ())
        verdict = decide(facts, Policy(), True)
        return {**verdict_in_words(verdict), "facts": facts_in_words(facts), **differs}

    def test_causes(self) -> None:
        """
        Of a refusal that proves nothing it is said who would have to know.
        """

        def source(name: str, state: str, **more: Any) -> dict[str, Any]:
            return {"name": name, "state": state, "in_doubt": False, **more}

        live = source("static", "live", knows=True)
        lost = source("ovn", "stale", knows=True)
        other = source("libvirt", "failed", knows=False)
        for more, cause in (
            ({"inventories": [live, lost, other]}, "because ovn is stale:"),
            (
                {"inventories": [{**live, "in_doubt": True}, lost]},
                "because static is in doubt and ovn is stale:",
            ),
            ({"inventories": [other]}, "because no inventory can know the network red"),
            (
                {"inventories": [live], "lease_sources": [source("kea", "starting")]},
                "because kea is starting:",
            ),
            ({"nameless": True}, "has told yet which network red is on"),
            ({}, "because a source that would know is not live or in doubt:"),
        ):
            self.assertIn(cause, account_of(self.words(**more), "red"))

    def test_braces(self) -> None:
        """
        What comes from outside is text and nothing else.
        """
        words = self.words(network="{mac.__class__}", address="{0}")
        self.assertIn("{0}", account_of(words, "{called}"))
