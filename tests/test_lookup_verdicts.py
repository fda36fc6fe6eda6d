"""
Tests for L{mdproxy.lookup.verdicts}, and for what the lookup tells of them.
"""

from __future__ import annotations

import json
from typing import cast

from attrs import evolve
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.decision import Policy
from mdproxy.lookup.verdicts import MOST, Verdicts
from mdproxy.model import Evidence, Identity, Lease, Reason, Refusal
from tests.outside import (
    ADDRESS,
    CALLER,
    EPOCH,
    MAC,
    OTHER_MAC,
    World,
    port_of,
    settled,
)

CONFLICT = Lease("red", ADDRESS, OTHER_MAC, EPOCH + 60, "vm")


def refusal_of(address: str) -> Refusal:
    """
    Refuse an address.
    """
    caller = evolve(CALLER, address=address)
    return Refusal(Evidence(caller, MAC, None, 7, Reason.UNKNOWN), doubtful=False)


class VerdictsTests(SynchronousTestCase):
    """
    Tests for L{Verdicts}.
    """

    def setUp(self) -> None:
        """
        Begin without verdicts, and hear the log.
        """
        self.verdicts = Verdicts()
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def allow(self, reason: Reason, lease: Lease | None = None) -> None:
        """
        Note that somebody is allowed.
        """
        evidence = Evidence(CALLER, MAC, lease, 1, reason)
        self.verdicts.note(Identity(port_of(), evidence), 5.0)

    def test_counted(self) -> None:
        """
        Every judgement is counted by its reason.
        """
        self.allow(Reason.AGREED)
        self.allow(Reason.AGREED)
        self.allow(Reason.LEASE_MISSING)
        self.verdicts.note(refusal_of(ADDRESS), 5.0)
        self.assertEqual(
            self.verdicts.describe(5.0)["judgements"],
            {"allowed-agreed": 2, "allowed-lease-missing": 1, "refused-unknown": 1},
        )

    def test_nothing_remarkable(self) -> None:
        """
        Who is allowed without a remark is not listed, nor told of in the log.
        """
        for reason in (Reason.AGREED, Reason.LEASE_MISSING, Reason.LINK_LOCAL):
            self.allow(reason)
        self.assertEqual(self.verdicts.describe(5.0)["latest"], [])
        self.assertEqual(self.events, [])

    def test_allowed_against_evidence(self) -> None:
        """
        Who is allowed in spite of a lease is listed with it, and told of once in a
        while.
        """
        for _ in range(3):
            self.allow(Reason.LEASE_CONFLICT, CONFLICT)
        (listed,) = self.verdicts.describe(7.5)["latest"]
        self.assertEqual(
            (listed["verdict"], listed["reason"], listed["age"]),
            ("allowed", "lease-conflict", 2.5),
        )
        self.assertEqual(listed["lease"]["mac"], OTHER_MAC)
        self.assertEqual(listed["port"]["instance"], "i-1")
        self.assertEqual(len(self.events), 1)

    def test_latest_of_each(self) -> None:
        """
        The latest refusal of each caller is listed, the latest of all first, and no
        more than can be remembered.
        """
        for number in range(MOST + 10):
            self.verdicts.note(refusal_of(f"10.0.{number // 256}.{number % 256}"), 1.0)
        self.verdicts.note(refusal_of("10.0.0.200"), 2.0)
        latest = self.verdicts.describe(2.0)["latest"]
        self.assertEqual(len(latest), MOST)
        self.assertEqual(latest[0]["address"], "10.0.0.200")
        self.assertEqual(len({listed["address"] for listed in latest}), MOST)


class LookupTests(SynchronousTestCase):
    """
    What the lookup tells the operator.
    """

    def test_explained(self) -> None:
        """
        The explanation of a caller is all that its verdict rests on, in plain values.
        """
        world = settled()
        words = json.loads(json.dumps(world.lookup.explain(CALLER)))
        self.assertEqual((words["verdict"], words["row"]), ("allowed", 2))
        self.assertEqual(words["facts"]["neighbour"], MAC)
        (port,) = words["facts"]["ports_by_mac"]
        self.assertEqual((port["instance"], port["inventory"]), ("i-1", "memory"))
        self.assertEqual(
            words["inventories"], [{"name": "memory", "state": "live", "knows": True}]
        )

    def test_explaining_changes_nothing(self) -> None:
        """
        Whoever looks is no caller: nothing is counted.
        """
        world = settled()
        world.lookup.explain(CALLER)
        self.assertEqual(world.lookup.describe()["judgements"], {})

    def test_why_refused(self) -> None:
        """
        A refused caller is listed with the evidence that spoke against it.
        """
        world = World(Policy(refuse_lease_conflict=True))
        world.know(port_of())
        world.point(MAC)
        world.books.leases.learn("leases", CONFLICT)
        world.lookup.verdict(CALLER)
        (listed,) = json.loads(json.dumps(world.lookup.describe()))["latest"]
        self.assertEqual((listed["row"], listed["reason"]), (3, "lease-conflict"))
        self.assertEqual(listed["lease"]["mac"], OTHER_MAC)

    def test_suppose(self) -> None:
        """
        What would be if somebody asked of whom nothing was heard can be told, and
        counts as no judgement.
        """
        world = World()
        world.know(port_of())
        self.assertEqual(world.lookup.explain(CALLER)["reason"], "no-neighbour")
        supposed = json.loads(json.dumps(world.lookup.suppose(CALLER)))
        self.assertEqual(
            (supposed["verdict"], supposed["reason"]), ("allowed", "lease-missing")
        )
        self.assertEqual(world.lookup.describe()["judgements"], {})

    def test_who_waits(self) -> None:
        """
        Those who wait are counted by network.
        """
        world = World()
        ends = [world.lookup.wait(CALLER, lambda: None) for _ in range(2)]
        self.assertEqual(world.lookup.describe()["waiting"], {"red": 2})
        for end in ends:
            end()
        self.assertEqual(world.lookup.describe()["waiting"], {})
