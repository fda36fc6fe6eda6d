"""
A view for the pages to show, of a host where everything has the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mdproxy.introspection.view import PAGE, View
from mdproxy.model import canonical_address
from mdproxy.steps import TooManyWatched

#: The time, in seconds since the epoch.
NOW = 1_795_334_062.0


class TellingView(View):
    """
    A view of what a test says.

    @ivar name: What everything that comes from outside is called.
    @ivar many: How many there are of everything.
    @ivar asked: What was asked.
    @ivar is_full: Whether no more can be watched.
    """

    def __init__(self, name: str = "vm-1", many: int = 1) -> None:
        """
        Remember what to tell.
        """
        self.name, self.many = name, many
        self.asked: list[tuple[object, ...]] = []
        self.is_full = False
        self.ready = True

    def status(self) -> Mapping[str, Any]:
        """
        Tell of a host.
        """
        name = self.name
        return {
            "version": "1",
            "since": NOW - 3600,
            "now": NOW,
            "ready": self.readiness(),
            "transactions": {
                "tally": [
                    self._ended("device", 0, name, 3),
                    self._ended("device", 200, "relayed", 2),
                    self._ended("namespaces", 200, "relayed", 10),
                ],
                "refusals": [
                    {"kind": "device", "reason": "foreign-address", "count": 2},
                    {"kind": "device", "reason": "unknown", "count": 1},
                    {"kind": "namespaces", "reason": "unknown", "count": 4},
                ],
            },
            "operators": {
                "access_log": {"to": "", "problem": None, "dropped": 0},
                "manhole": {"place": ["127.0.0.1", 2222], "problem": name},
            },
            "configuration": {
                "since": "2026-11-22T07:54:22Z",
                "needs_restart": [name],
                "last_reload": {
                    "at": "2026-11-22T07:54:22Z",
                    "result": "refused",
                    "faults": [name],
                },
            },
            "listeners": [
                *({**self._listener(i)} for i in range(self.many)),
                self._namespaces(),
            ],
            "sources": [self._source(i) for i in range(self.many)],
            "lookup": {
                "latest": [self._remarkable() for _ in range(self.many)],
                "ports": 1,
                "leases": 2,
                "neighbours": 3,
                "judgements": {},
                "waiting": {},
            },
            "upstream": {"endpoints": [self._endpoint()], "waiting": 1},
            "proxy": {
                "counts": {},
                **dict.fromkeys(("asking", "in_line", "pausing"), 1),
                "waiting_for_facts": 1,
            },
            "front": {"connections": 4, "refused": {}},
            "checks": {
                "secret": "wrong",
                "endpoints": [{"endpoint": name, "secret": "wrong"}],
                "findings": self.checks(),
            },
        }

    def readiness(self) -> Mapping[str, Any]:
        """
        Tell whether all is well.
        """
        reasons = [] if self.ready else [f"source {self.name} is failed"]
        return {"ready": self.ready, "reasons": reasons, "checks": self.checks()}

    def why(self, address: str, network: str | None = None) -> Mapping[str, Any]:
        """
        Tell of an address that is refused on one network and allowed on others.
        """
        self.asked.append(("why", address, network))
        address = canonical_address(address)
        return {
            "address": address,
            "network": network,
            "total": self.many,
            "sentence": f"{address} may be on {self.many} networks: {self.name}",
            "candidates": [
                self._candidate(address, i == 0) for i in range(min(self.many, 32))
            ],
            "last": [self._transaction(1)],
        }

    def networks(
        self, search: str = "", after: str | None = None, limit: int = PAGE
    ) -> Mapping[str, Any]:
        """
        Tell of networks.
        """
        self.asked.append(("networks", search, after, limit))
        item = {
            **{"network": self.name, "called": self.name, "bound": self.name},
            **{"listener": self._heard(), "nameless": False},
            **{"ports": 1, "leases": 2, "neighbours": 3},
        }
        return self._page(item, limit)

    def instances(
        self, search: str = "", after: str | None = None, limit: int = PAGE
    ) -> Mapping[str, Any]:
        """
        Tell of instances.
        """
        self.asked.append(("instances", search, after, limit))
        name = self.name
        item = {
            **{"instance": name, "project": name, "networks": [name], "macs": [name]},
            **{"addresses": [name], "hostnames": [name], "inventories": [name]},
        }
        return self._page(item, limit)

    def instance(self, instance: str) -> Mapping[str, Any] | None:
        """
        Tell an instance's story, unless nobody knows it.
        """
        self.asked.append(("instance", instance))
        if instance == "nobody":
            return None
        return {
            "instance": instance,
            "project": None,
            "ports": [self._port()] * self.many,
            "leases": [self._lease()] * self.many,
            "neighbours": [],
            "candidates": [self._candidate("10.0.0.5", True)],
            "transactions": [self._transaction(1)] * self.many,
            "steps": self.steps(instance)["steps"],
        }

    def transactions(
        self,
        instance: str | None = None,
        network: str | None = None,
        address: str | None = None,
        status: int | None = None,
        limit: int = PAGE,
        before: int | None = None,
    ) -> Mapping[str, Any]:
        """
        Tell of transactions.
        """
        self.asked.append(("transactions", instance, network, address, status, before))
        if address is not None:
            canonical_address(address)
        items = [self._transaction(i) for i in range(self.many, 0, -1)][:limit]
        return {"items": items, "next": 1 if self.many > limit else None}

    def steps(self, whom: str | None = None) -> Mapping[str, Any]:
        """
        Tell of steps.
        """
        step = {
            **{"request_id": "req-1", "at": NOW - 3, "network": self.name},
            **{"address": "10.0.0.5", "mac": self.name, "instance": self.name},
            **{"step": "asked", "endpoint": self.name, "tries": 2},
        }
        return {"watched": {"watched": 12.5}, "steps": [step]}

    def watch(self, whom: str, seconds: float) -> None:
        """
        Take note of who is watched.
        """
        if self.is_full:
            raise TooManyWatched
        self.asked.append(("watch", whom, seconds))

    def history(self) -> Mapping[str, Any]:
        """
        Tell how it went.
        """
        names = ("requests", "refused", "failed", "median", "p99", "upstream_median")
        samples = [
            {"at": NOW - 10.0 * (60 - i), **dict.fromkeys(names, i / 100), "lag": 0.1}
            for i in range(60)
        ]
        return {"step": 10.0, "samples": samples}

    def checks(self) -> Sequence[Mapping[str, Any]]:
        """
        Tell what was found.
        """
        name = self.name
        return [
            {"name": "files", "verdict": "ok", "text": name, "advice": ""},
            {"name": "expiry", "verdict": "note", "text": name, "advice": name},
            {"name": "secret", "verdict": "wrong", "text": name, "advice": name},
        ]

    def _page(self, item: Mapping[str, Any], limit: int) -> Mapping[str, Any]:
        """
        Make a page of many of one.
        """
        more = self.many > limit
        return {
            "items": [item] * min(limit, self.many),
            "total": self.many,
            "next": "more & more" if more else None,
        }

    def _ended(
        self, kind: str, status: int, outcome: str, count: int
    ) -> Mapping[str, Any]:
        """
        Count requests.
        """
        return {"kind": kind, "status": status, "outcome": outcome, "count": count}

    def _listener(self, number: int) -> Mapping[str, Any]:
        """
        Describe a listener, as it does itself.
        """
        return {
            **{"name": self.name, "kind": "device", "network": self.name},
            **{"device": self.name, "identify_by": "mac", "accepted": 1},
            "listening": [self.name] if number % 2 else [],
            "problem": self.name,
        }

    def _namespaces(self) -> Mapping[str, Any]:
        """
        Describe what listens in namespaces, as it does itself.
        """
        return {
            **{"name": self.name, "namespaces": 1000, "listening": 2000},
            **{"accepted": 1, "strays": 0, "waiting": [], "problem": None, "each": []},
        }

    def _heard(self) -> Mapping[str, Any]:
        """
        Describe the listener of a link.
        """
        return {
            **{"name": self.name, "kind": "device", "identify_by": "mac"},
            **{"open": False, "problem": self.name},
        }

    def _source(self, number: int) -> Mapping[str, Any]:
        """
        Describe a source, as it does itself.
        """
        states = ("live", "stale", "starting", "failed")
        return {
            **{"name": self.name, "kind": "dnsmasq", "state": states[number % 4]},
            **{"problem": self.name, "last_read_age": 1.5, "path": self.name},
            **{"stores": [{"path": self.name, "leases": 3}]},
        }

    def _remarkable(self) -> Mapping[str, Any]:
        """
        Describe a remarkable verdict.
        """
        return {
            **{"age": 3.0, "network": self.name, "address": "10.0.0.5"},
            **{"mac": self.name, "verdict": "refused", "reason": "unknown"},
        }

    def _endpoint(self) -> Mapping[str, Any]:
        """
        Describe an endpoint of Nova's.
        """
        return {
            **{"host": self.name, "port": 8775, "tls": True, "up": False},
            **{"health": self.name, "problem": self.name},
            **{"idle": 1, "busy": 2, "connecting": 3},
        }

    def _port(self) -> Mapping[str, Any]:
        """
        Describe a port.
        """
        name = self.name
        return {
            **{"network": name, "mac": name, "instance": name, "project": name},
            **{"addresses": ["10.0.0.5"], "pairs": [name], "inventory": name},
            **{"port": name, "device": name, "parent": name},
        }

    def _lease(self) -> Mapping[str, Any]:
        """
        Describe a lease.
        """
        return {
            **{"network": self.name, "address": "10.0.0.5", "mac": None},
            **{"expires": NOW - 60, "hostname": self.name},
            **{"ends_in": -60.0, "in_force": False},
        }

    def _candidate(self, address: str, is_refused: bool) -> Mapping[str, Any]:
        """
        Describe what is made of an address on a network.
        """
        name = self.name
        source = {
            **{"name": name, "state": "stale", "kind": "ovn", "problem": name},
            **{"age": 3.5, "in_doubt": True},
        }
        return {
            "address": address,
            "network": name,
            "called": name,
            "listener": self._heard(),
            "bound": name,
            "verdict": "refused" if is_refused else "allowed",
            "row": 5,
            "rule": "The MAC has one port, but the address is not the port's: refused.",
            "reason": "foreign-address",
            "doubtful": is_refused,
            "supposed": None,
            "sentence": f"The MAC {name} is another's. " + "Do something. " * 100,
            "mac": name,
            "mac_from": "neighbour",
            "port": None if is_refused else self._port(),
            "neighbour": {
                "mac": name,
                "state": "REACHABLE",
                "turns": [{"age": 2.0, "from": name}],
            },
            "lease": self._lease(),
            "facts": {
                "ports_by_mac": [self._port()],
                "ports_by_address": [],
                "bridge_port": name,
            },
            "inventories": [{**source, "knows": False}],
            "lease_sources": [source],
            "lately": f"The latest request was answered 404 ({name}).",
            "last": [self._transaction(1)] if is_refused else [],
        }

    def _transaction(self, number: int) -> Mapping[str, Any]:
        """
        Describe a transaction.
        """
        name = self.name
        is_refused = number % 2 == 0
        return {
            **{"request_id": f"req-{number}", "number": number, "at": NOW - 5},
            **{"seconds": 4.2, "lookup_seconds": 4.0, "upstream_seconds": 0.012},
            **{"kind": "device", "network": name, "address": "10.0.0.5", "mac": name},
            "instance": None if is_refused else name,
            "project": None if is_refused else name,
            "verdict": "refused" if is_refused else "allowed",
            **{"row": 5, "reason": "foreign-address", "method": "GET", "target": name},
            "status": 404 if is_refused else 200,
            **{"tries": 2, "outcome": "relayed"},
        }
