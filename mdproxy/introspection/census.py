# -*- test-case-name: tests.test_introspection_census -*-
"""
Who is on this host: networks and instances, found and told in pages.

Every page costs one way through the books, some milliseconds with ten thousand ports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any, TypeVar

from attrs import define

from mdproxy.heard import HeardLink
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.why import Why
from mdproxy.lookup.verdicts import lease_in_words, port_in_words
from mdproxy.model import Neighbour, Port

#: Of how many neighbours of an instance the kernel is asked how sure it is.
_LOOKED_AT = 32

Item = TypeVar("Item")


@define(eq=False)
class Census:
    """
    Lists networks and instances.

    @ivar _parts: What is looked at.
    @ivar _why: Collects the evidence on addresses.
    """

    _parts: Parts
    _why: Why

    def networks(self, search: str, after: str | None, limit: int) -> Mapping[str, Any]:
        """
        List the links that are listened on.

        @param search: What must be in a link, its network's name or its listener's.
        @param after: The C{next} of the page before.
        @param limit: How many at most.

        @return: C{items}, C{total} and C{next}.
        """
        books, needle = self._parts.sources.books, search.lower()
        listening = self._parts.listening
        named = [
            (each, books.networks.name_of(each.link))
            for each in listening.heard(listening.links())
        ]
        found = [
            (each, called)
            for each, called in named
            if needle in f"{each.link} {called} {each.listener}".lower()
        ]
        page = _page(found, lambda pair: _key(pair[0]), after, limit)
        counts = {
            "ports": Counter(port.network for port in books.ports),
            "leases": Counter(lease.network for lease in books.leases),
            "neighbours": books.neighbours.counts(),
        }
        return {
            **page,
            "items": [
                self._network(each, called, counts) for each, called in page["items"]
            ],
        }

    def instances(
        self, search: str, after: str | None, limit: int
    ) -> Mapping[str, Any]:
        """
        List the instances whose ports are known.

        @param search: What must be in an id, a project, MAC, address, network or host
            name.
        @param after: The C{next} of the page before.
        @param limit: How many at most.

        @return: C{items}, C{total} and C{next}.
        """
        ports, needle = self._parts.sources.books.ports, search.lower()
        seats = self._seats_called(needle)
        found = {
            port.instance_id
            for port in ports
            if not needle or _has(port, needle) or (seats and _sits(port, seats))
        }
        page = _page(found, str, after, limit)
        whole: dict[str, list[Port]] = {name: [] for name in page["items"]}
        for port in ports:
            if port.instance_id in whole:
                whole[port.instance_id].append(port)
        return {
            **page,
            "items": [self._instance(name, own) for name, own in whole.items()],
        }

    def facts(self, network: str | None, limit: int) -> Mapping[str, Any]:
        """
        Tell the ports, leases and neighbours that are known.

        @param network: A link, or what inventories call its network; C{None}: all.
        @param limit: How many of each at most.

        @return: C{ports}, C{leases}, C{neighbours}, and C{total}: how many there are of
            each.
        """
        books = self._parts.sources.books
        names = None
        if network is not None:
            names = {network, books.networks.name_of(network)}
            names.update(books.networks.links_of(network))
        facts: Mapping[str, tuple[Iterable[Any], Callable[[Any], Any]]] = {
            "ports": (books.ports, port_in_words),
            "leases": (books.leases, lease_in_words),
            "neighbours": (books.neighbours, _neighbour),
        }
        told: dict[str, Any] = {}
        totals: dict[str, int] = {}
        for kind, (book, in_words) in facts.items():
            found = [x for x in book if names is None or x.network in names]
            told[kind] = [in_words(each) for each in found[:limit]]
            totals[kind] = len(found)
        return {**told, "total": totals}

    def story(self, instance: str) -> Mapping[str, Any] | None:
        """
        Tell what is known of an instance, but for its requests.

        @return: C{instance}, C{project}, C{ports}, C{leases}, C{neighbours} and
            C{candidates}; C{None} where no inventory knows it.
        """
        books = self._parts.sources.books
        ports = [port for port in books.ports if port.instance_id == instance]
        if not ports:
            return None
        leases = {
            lease
            for port in ports
            for address in port.addresses or ()
            if (lease := books.leases.holder(port.network, address, float("-inf")))
        }
        neighbours = self._neighbours(ports)
        seats = {
            (port.network, address)
            for port in ports
            for address in port.addresses or ()
        }
        seats |= {(each["called"], each["address"]) for each in neighbours}
        return {
            "instance": instance,
            "project": ports[0].project_id,
            "ports": [port_in_words(port) for port in ports],
            "leases": [
                lease_in_words(lease)
                for lease in sorted(leases, key=lambda x: (x.network, x.address))
            ],
            "neighbours": neighbours,
            "candidates": self._why.at(sorted(seats)),
        }

    def seats_of(self, instance: str) -> set[tuple[str, str]]:
        """
        Tell the networks and MACs of an instance's ports.
        """
        return {
            (port.network, port.mac)
            for port in self._parts.sources.books.ports
            if port.instance_id == instance
        }

    def _network(
        self,
        heard: HeardLink,
        called: str,
        counts: Mapping[str, Mapping[str, int]],
    ) -> Mapping[str, Any]:
        """
        Put a link into words.

        @param counts: How many facts of each kind there are, by network.
        """
        networks = self._parts.sources.books.networks
        return {
            "network": heard.link,
            "called": called,
            "nameless": networks.is_nameless(heard.link),
            "listener": heard.in_words(),
            "bound": heard.bound,
            "ports": counts["ports"].get(called, 0),
            "leases": counts["leases"].get(called, 0),
            "neighbours": counts["neighbours"].get(heard.link, 0),
        }

    def _instance(self, name: str, ports: Sequence[Port]) -> Mapping[str, Any]:
        """
        Put an instance into words.
        """
        leases = self._parts.sources.books.leases
        seats = [(p.network, address) for p in ports for address in p.addresses or ()]
        held = [leases.holder(*seat, float("-inf")) for seat in seats]
        return {
            "instance": name,
            "project": ports[0].project_id,
            "networks": sorted({port.network for port in ports}),
            "macs": sorted({port.mac for port in ports}),
            "addresses": sorted({address for _network, address in seats}),
            "hostnames": sorted({x.hostname for x in held if x and x.hostname}),
            "inventories": sorted({port.inventory for port in ports}),
        }

    def _seats_called(self, needle: str) -> set[tuple[str, str]]:
        """
        Find the networks and addresses whose lease has a text in its host name.
        """
        if not needle:
            return set()
        return {
            (lease.network, lease.address)
            for lease in self._parts.sources.books.leases
            if lease.hostname is not None and needle in lease.hostname.lower()
        }

    def _neighbours(self, ports: Sequence[Port]) -> list[Mapping[str, Any]]:
        """
        Tell which addresses the kernel would send to an instance.
        """
        sources = self._parts.sources
        found: list[Mapping[str, Any]] = []
        seats = {(port.network, port.mac) for port in ports}
        for each in sources.books.neighbours.held_by({mac for _network, mac in seats}):
            called = sources.books.networks.name_of(each.network)
            if (called, each.mac) not in seats:
                continue
            entry = None
            if len(found) < _LOOKED_AT:
                entry = sources.neighbours.look(each.network, each.address)
            found.append(
                {
                    "network": each.network,
                    "called": called,
                    "address": each.address,
                    "mac": each.mac,
                    "state": None if entry is None else entry.condition,
                }
            )
        return found


def _neighbour(neighbour: Neighbour) -> dict[str, Any]:
    """
    Put a neighbour into words.
    """
    return {
        "network": neighbour.network,
        "address": neighbour.address,
        "mac": neighbour.mac,
    }


def _page(
    items: Iterable[Item], key: Callable[[Item], str], after: str | None, limit: int
) -> dict[str, Any]:
    """
    Cut a page out of a list.

    @param key: Tells by what it is sorted; no two have the same.
    @param after: The key of the last item before.

    @return: C{items}, C{total}, and C{next}: the key to go on with, if there is more.
    """
    listed = list(items)
    rest = [item for item in listed if after is None or key(item) > after]
    page = nsmallest(limit, rest, key=key)
    return {
        "items": page,
        "total": len(listed),
        "next": key(page[-1]) if page and len(rest) > len(page) else None,
    }


def _key(heard: HeardLink) -> str:
    """
    Tell by what links are sorted.
    """
    return f"{heard.link} {heard.listener}"


def _has(port: Port, needle: str) -> bool:
    """
    Tell whether a text is in what is known of a port.

    @param needle: In lower case, as MACs and addresses are.
    """
    return (
        needle in port.mac
        or needle in port.instance_id.lower()
        or needle in port.project_id.lower()
        or needle in port.network.lower()
        or needle in " ".join(port.addresses or ())
        or (bool(port.pairs) and needle in " ".join(port.pairs))
    )


def _sits(port: Port, seats: set[tuple[str, str]]) -> bool:
    """
    Tell whether a port has one of some addresses.

    @param seats: Networks and addresses, one at least.
    """
    return any((port.network, address) in seats for address in port.addresses or ())
