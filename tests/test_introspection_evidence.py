"""
Tests for L{mdproxy.introspection.evidence}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.introspection.evidence import LAST, Freshness, Records
from mdproxy.testing import MemoryInventory
from tests.operated import ADDRESS, BLUE, RED, B, Host


class FreshnessTests(SynchronousTestCase):
    """
    Tests for L{Freshness}.
    """

    def test_inventories(self) -> None:
        """
        Each inventory is told of, with what it can know of the network.
        """
        host = Host()
        host.inventory.in_doubt = frozenset({BLUE})
        host.inventory.state = SourceState.STALE
        host.inventory.problem = "no such file"
        fresh = Freshness.of(host.parts.sources)
        (said,) = fresh.inventories(BLUE)
        self.assertEqual(
            said,
            {
                "name": "memory",
                "kind": "memory",
                "state": "stale",
                "problem": "no such file",
                "age": None,
                "knows": True,
                "in_doubt": True,
            },
        )
        (said,) = fresh.inventories("green")
        self.assertEqual((said["knows"], said["in_doubt"]), (False, False))

    def test_leases(self) -> None:
        """
        Of the sources of leases those are told of that know the network.
        """
        host = Host()
        source: Any = MemoryInventory(host.books.ports, (RED,), "leases")
        cast(Any, host.parts.sources).leases = [source]
        fresh = Freshness.of(host.parts.sources)
        self.assertEqual([said["name"] for said in fresh.leases(RED)], ["leases"])
        self.assertEqual(fresh.leases(BLUE), [])

    def test_ages(self) -> None:
        """
        However a source calls it, its age is when it last heard something.
        """
        for name in ("last_read_age", "heard_age", "last_event_age"):
            host = Host()
            said = {**host.inventory.describe(), name: 2.5}
            fresh = Freshness([(host.inventory, said)], [])
            self.assertEqual(fresh.inventories(RED)[0]["age"], 2.5)


class RecordsTests(SynchronousTestCase):
    """
    Tests for L{Records}.
    """

    def test_latest(self) -> None:
        """
        Of each network the latest requests from the address are found, so many at most,
        and put into words if they are chosen.
        """
        host = Host()
        for _ in range(LAST + 2):
            host.ask()
            host.ask(network=BLUE)
            host.ask(B, "10.0.0.9")
            host.clock.advance(1)
        records = Records.of(host.transactions, ADDRESS)
        self.assertEqual(set(records.networks), {RED, BLUE})
        red, both = records.on([RED, "green"]), records.on([RED, BLUE])
        self.assertEqual([it.number for it in red], [19, 16, 13, 10, 7])
        self.assertEqual([it.number for it in both], [19, 20, 16, 17, 13])
        self.assertEqual(records.in_words(red), [])
        said = records.said(host.transactions, red)
        self.assertEqual(
            [words["number"] for words in said.in_words(both)], [19, 16, 13]
        )
