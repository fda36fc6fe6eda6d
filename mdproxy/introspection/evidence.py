# -*- test-case-name: tests.test_introspection_evidence -*-
"""
What is known at one moment about addresses beside the books: how fresh the sources are,
and what was asked lately.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, field, frozen

from mdproxy.interfaces import IInventory, ISource
from mdproxy.transactions import Transaction, Transactions

if TYPE_CHECKING:
    from mdproxy.sources import Sources

#: So many requests are told of an address on a network, and of an address.
LAST: Final = 5

#: What sources call the time since they last heard something, the best first.
_AGES: Final = ("last_read_age", "heard_age", "last_event_age")


@frozen
class Freshness:
    """
    How fresh the sources are at one moment.

    @ivar _inventories: Who knows ports, each with what it says of itself.
    @ivar _leases: Who knows leases, each with what it says of itself.
    """

    _inventories: Sequence[tuple[IInventory, Mapping[str, Any]]]
    _leases: Sequence[tuple[ISource, Mapping[str, Any]]]

    @classmethod
    def of(cls, sources: Sources) -> Freshness:
        """
        Ask the sources.
        """
        return cls(
            [(each, each.describe()) for each in sources.inventories],
            [(each, each.describe()) for each in sources.leases],
        )

    def inventories(self, called: str) -> list[Mapping[str, Any]]:
        """
        Tell how fresh the inventories are, and what each can know of a network.
        """
        return [
            {
                **_source(said),
                "knows": each.knows(called),
                "in_doubt": each.is_in_doubt(called),
            }
            for each, said in self._inventories
        ]

    def leases(self, called: str) -> list[Mapping[str, Any]]:
        """
        Tell how fresh those are that know a network's leases.
        """
        return [
            {**_source(said), "knows": True, "in_doubt": False}
            for each, said in self._leases
            if each.knows(called)
        ]


@frozen
class Records:
    """
    The latest requests from an address, L{LAST} at most by each network.

    @ivar _by_network: As they were written down, the latest first, by network as
        callers have it.
    @ivar _words: The same in words, by their numbers.
    """

    _by_network: Mapping[str, Sequence[Transaction]]
    _words: Mapping[int, Mapping[str, Any]] = field(factory=dict)

    @classmethod
    def of(cls, ring: Transactions, address: str) -> Records:
        """
        Find them.
        """
        found: dict[str, list[Transaction]] = {}

        def keep(it: Transaction) -> bool:
            if it.caller.address == address:
                own = found.setdefault(it.caller.network, [])
                if len(own) < LAST:
                    own.append(it)
            return False

        # Only few of them are worth putting into words.
        for _nothing in ring.latest(keep):
            pass
        return cls(found)

    @property
    def networks(self) -> Collection[str]:
        """
        Tell on which networks there were any.
        """
        return self._by_network.keys()

    def on(self, networks: Iterable[str]) -> list[Transaction]:
        """
        Pick the latest on some networks, by their names in callers.
        """
        picked = [it for name in networks for it in self._by_network.get(name, ())]
        return sorted(picked, key=lambda it: -it.ended)[:LAST]

    def said(self, ring: Transactions, chosen: Iterable[Transaction]) -> Records:
        """
        Put some of them into words.
        """
        numbers = {it.number for it in chosen}
        words = ring.latest(lambda it: it.number in numbers) if numbers else ()
        return evolve(self, words={each["number"]: each for each in words})

    def in_words(self, chosen: Iterable[Transaction]) -> list[Mapping[str, Any]]:
        """
        Tell those that were put into words.
        """
        return [self._words[it.number] for it in chosen if it.number in self._words]


def _source(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """
    Pick what matters here from what a source says of itself.

    @return: With C{age}: how many seconds ago it last heard something, if it knows.
    """
    ages = (said.get(name) for name in _AGES)
    return {
        "name": said["name"],
        "kind": said["kind"],
        "state": said["state"],
        "problem": said["problem"],
        "age": next((age for age in ages if age is not None), None),
    }
