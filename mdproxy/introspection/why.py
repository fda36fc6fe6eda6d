# -*- test-case-name: tests.test_introspection_why -*-
"""
Why somebody got what it got: the evidence on an address, as the proxy itself sees it.

The same address may be used on any number of networks, so it is looked for on every
link that is listened on.  What the verdict would be now is the lookup's own (L{
InstanceLookup.explain}); what it was lately stands in the record of the requests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from attrs import define, frozen

from mdproxy.heard import HeardLink
from mdproxy.introspection.evidence import Freshness, Records
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.sentences import (
    account_of,
    meaning_of,
    outcome_of,
    rule_of,
    unheard_of,
)
from mdproxy.lookup.verdicts import (
    facts_in_words,
    lease_in_words,
    verdict_in_words,
)
from mdproxy.model import Reason, canonical_address
from mdproxy.transactions import Transaction

#: So many links are looked at closely; each costs some 200 microseconds.
MOST: Final = 8

#: Of so many links or fewer all are shown, though nothing speaks for them.
_FEW: Final = 8

#: What is told of a verdict that is supposed.
_SUPPOSED: Final = ("verdict", "row", "reason", "mac")


@frozen
class Place:
    """
    A link on which an address may be, by one of its listeners.

    @ivar heard: The link.
    @ivar called: What inventories call its network.
    """

    heard: HeardLink
    called: str


@define(eq=False)
class Why:
    """
    Collects the evidence on addresses.

    @ivar _parts: What is looked at.
    """

    _parts: Parts

    def of(self, address: str, network: str | None = None) -> Mapping[str, Any]:
        """
        Tell what the proxy makes of an address, and why.

        @param address: In any spelling, perhaps with a zone.
        @param network: A link or what inventories call its network; C{None}: all.

        @return: C{address}, C{network}, C{total} (on how many links it may be),
            C{sentence}, C{candidates} (at most L{MOST}, those first for which most
            speaks) and C{last} (its latest requests, wherever they came in).

        @raise Malformed: If it is no address.
        """
        address = canonical_address(address)
        ring = self._parts.proxy.transactions
        records = Records.of(ring, address)
        links = self._links(network)
        likely = self._weighed(address, links, records, network is not None)
        places = self._places(likely[:MOST])
        last = self._last(records, network)
        asked = (records.on(p.heard.names(p.called)) for p in places)
        records = records.said(ring, chain(last, *asked))
        fresh = Freshness.of(self._parts.sources)
        shown = [self._candidate(address, each, records, fresh) for each in places]
        return {
            "address": address,
            "network": network,
            "total": len(likely),
            "sentence": _sum_up(address, network, len(links), len(likely), shown),
            "candidates": shown,
            "last": records.in_words(last),
        }

    def at(self, seats: Sequence[tuple[str, str]]) -> list[Mapping[str, Any]]:
        """
        Tell what the proxy makes of some addresses on networks.

        @param seats: Each the name that inventories have for a network, and an address
            in canonical form.

        @return: The candidates, at most L{MOST}, without their latest requests.
        """
        every, sources = self._parts.listening.links(), self._parts.sources
        networks = sources.books.networks
        wanted = [
            (address, (link, networks.name_of(link)))
            for network, address in seats[:MOST]
            for link in sorted(every & {network, *networks.links_of(network)})
        ]
        places: dict[str, list[Place]] = {}
        for place in self._places(list({pair for _address, pair in wanted})):
            places.setdefault(place.heard.link, []).append(place)
        fresh, nothing = Freshness.of(sources), Records({})
        return [
            self._candidate(address, place, nothing, fresh)
            for address, (link, _called) in wanted
            for place in places[link]
        ]

    def _last(self, records: Records, network: str | None) -> list[Transaction]:
        """
        Pick the latest requests of an address, wherever they came in.
        """
        name_of = self._parts.sources.books.networks.name_of
        networks = [
            name
            for name in records.networks
            if network is None or network in (name, name_of(name))
        ]
        return records.on(networks)

    def _links(self, network: str | None) -> list[tuple[str, str]]:
        """
        List the links that are listened on, with what inventories call them.

        @param network: One of them, or what it is called; C{None}: all.
        """
        networks, links = (
            self._parts.sources.books.networks,
            self._parts.listening.links(),
        )
        if network is not None:
            links &= {network, *networks.links_of(network)}
        return [(link, networks.name_of(link)) for link in sorted(links)]

    def _places(self, links: Sequence[tuple[str, str]]) -> list[Place]:
        """
        Find the listeners of links, in the same order.
        """
        heard: dict[str, list[HeardLink]] = {link: [] for link, _called in links}
        for each in self._parts.listening.heard(heard):
            heard[each.link].append(each)
        return [Place(each, called) for link, called in links for each in heard[link]]

    def _weighed(
        self,
        address: str,
        links: Sequence[tuple[str, str]],
        records: Records,
        is_told: bool,
    ) -> Sequence[tuple[str, str]]:
        """
        Find the links on which an address may be, those first for which most speaks.

        @param links: Those that there are.
        @param is_told: Whether the operator named the network.
        """
        asked = records.networks
        weighed = [
            (self._weigh(address, link, called, asked), (link, called))
            for link, called in links
        ]
        if not is_told and (len(links) > _FEW or any(each[0] for each in weighed)):
            weighed = [each for each in weighed if each[0]]
        return [pair for _, pair in sorted(weighed, key=lambda each: -each[0])]

    def _weigh(
        self, address: str, link: str, called: str, asked: Collection[str]
    ) -> int:
        """
        Tell how much speaks for an address being on a link.

        @param asked: Where requests from it came in.
        """
        books = self._parts.sources.books
        # Haproxy's callers may be recorded by another name of the link.
        has_asked = link in asked or called in asked or link.partition("/")[0] in asked
        weight = 4 * has_asked
        if books.ports.by_address(called, address):
            weight += 2
        if books.neighbours.mac_of(link, address) is not None:
            weight += 1
        if weight:
            return weight
        lease = books.leases.holder(called, address, float("-inf"))
        return 0 if lease is None else 1

    def _candidate(
        self,
        address: str,
        place: Place,
        records: Records,
        freshness: Freshness,
    ) -> Mapping[str, Any]:
        """
        Collect the evidence on an address on one link.
        """
        heard, called, parts = place.heard, place.called, self._parts
        now = parts.clock.seconds()
        neighbour = self._neighbour(heard.link, address, now)
        caller = heard.caller(called, address, neighbour["mac"], now)
        words = {
            **parts.lookup.explain(caller),
            "inventories": freshness.inventories(called),
            "lease_sources": freshness.leases(called),
            "nameless": parts.sources.books.networks.is_nameless(heard.link),
        }
        own = records.on(heard.names(called))
        supposed = self._suppose(place, words, own, now)
        sentence = account_of(words, called)
        if supposed is not None:
            sentence = unheard_of(supposed, called)
        return {
            "address": address,
            "network": heard.link,
            "called": called,
            "listener": heard.in_words(),
            "bound": heard.bound,
            "verdict": words["verdict"],
            "row": words["row"],
            "rule": rule_of(words["row"]),
            "reason": words["reason"],
            "doubtful": words.get("doubtful", False),
            "sentence": sentence,
            "supposed": supposed and {name: supposed[name] for name in _SUPPOSED},
            "mac": caller.mac,
            "mac_from": None if caller.mac is None else "neighbour",
            "port": words.get("port"),
            "neighbour": neighbour,
            "lease": self._lease(called, address),
            "facts": words["facts"],
            "inventories": words["inventories"],
            "lease_sources": words["lease_sources"],
            "lately": self._lately(own, neighbour["mac"], called, sentence),
            "last": records.in_words(own),
        }

    def _suppose(
        self,
        place: Place,
        words: Mapping[str, Any],
        requests: Sequence[Transaction],
        now: float,
    ) -> Mapping[str, Any] | None:
        """
        Find out what the verdict would be on the one whose address it is, where the
        only thing wrong is that nothing was heard of him lately.

        @param words: The verdict as it would be now.
        @param requests: The latest requests.

        @return: That verdict in words; C{None} where something else is wrong.
        """
        macs = {port["mac"] for port in words["facts"]["ports_by_address"]}
        none = Reason.NO_NEIGHBOUR
        if words["reason"] != none.value or len(macs) != 1:
            return None
        latest = requests[0].verdict if requests else None
        if latest is not None and latest.evidence.reason is none:
            return None
        heard, called = place.heard, place.called
        caller = heard.caller(called, words["address"], macs.pop(), now)
        return self._parts.lookup.suppose(caller)

    def _neighbour(self, link: str, address: str, now: float) -> dict[str, Any]:
        """
        Tell where answers would go, as the kernel and as our book of it have it.
        """
        sources = self._parts.sources
        entry = sources.neighbours.look(link, address)
        book = sources.books.neighbours
        mac = book.mac_of(link, address) if entry is None else entry.mac
        return {
            "mac": mac,
            "state": None if entry is None else entry.condition,
            "turns": [
                {"age": round(now - flip.at, 3), "from": flip.origin}
                for flip in book.flips(link, address, float("-inf"))
            ],
        }

    def _lease(self, called: str, address: str) -> Mapping[str, Any] | None:
        """
        Tell the lease of an address, one that has ended too.
        """
        sources = self._parts.sources
        lease = sources.books.leases.holder(called, address, float("-inf"))
        if lease is None:
            return None
        ends_in = None
        if lease.expires is not None:
            ends_in = round(lease.expires - sources.epoch.now(), 3)
        return {
            **lease_in_words(lease),
            "ends_in": ends_in,
            "in_force": ends_in is None or ends_in > 0,
        }

    def _lately(
        self,
        requests: Sequence[Transaction],
        mac: str | None,
        called: str,
        sentence: str,
    ) -> str | None:
        """
        Say what came of the latest request, where there was one.

        @param requests: The requests, the latest first.
        @param mac: The MAC in the neighbour entry now.
        @param sentence: What is said of the verdict as it would be now.
        """
        if not requests:
            return None
        it, now = requests[0], self._parts.clock.seconds()
        told = f"answered {it.status}" if it.status else "not answered"
        verdict = None if it.verdict is None else verdict_in_words(it.verdict)
        judged = verdict and f"; it was {verdict['verdict']}, {verdict['reason']}"
        said = [
            f"The latest request, {now - it.ended:.1f} s ago, was {told} after "
            f"{it.total:.3f} s ({it.outcome}){judged or ''}."
        ]
        if verdict is not None and verdict["verdict"] == "refused":
            facts = facts_in_words(self._parts.lookup.facts(it.caller))
            meaning = meaning_of({**verdict, "facts": facts}, called)
            said.append("" if sentence.startswith(meaning) else meaning)
        said.append(self._outcome(it))
        asked = it.caller.mac
        if asked is not None and mac is not None and asked != mac:
            said.append(f"It came from the MAC {asked}, not from {mac}.")
        return " ".join(filter(None, said))

    def _outcome(self, it: Transaction) -> str:
        """
        Say what came between a request and its answer.
        """
        name = self._parts.proxy.transactions.ids.of(it.number)
        return outcome_of(
            {"outcome": it.outcome, "status": it.status, "request_id": name}
        )


def _sum_up(
    address: str,
    network: str | None,
    heard: int,
    total: int,
    shown: Sequence[Mapping[str, Any]],
) -> str:
    """
    Say in a sentence what was found.

    @param heard: How many links could be looked at.
    @param total: On how many it may be.
    @param shown: The candidates that are shown.
    """
    if not heard:
        return (
            "Nobody listens to any network."
            if network is None
            else f"No listener has a network {network}."
        )
    if not total:
        return (
            f"Nothing is known of {address} on any of {heard} networks: no port, no "
            "lease, no neighbour entry and no request. Is the instance on this host?"
        )
    if total == 1:
        return str(shown[0]["sentence"])
    more = "" if total == len(shown) else f", of which {len(shown)} are shown"
    return f"{address} may be on {total} networks{more}: name one to see it alone."
