# -*- test-case-name: tests.test_introspection_view -*-
"""
What operators may see, as plain values: the one thing that pages, JSON, Contrail's
pages, the manhole and C{mdproxyctl} ask.

Everything is computed when somebody asks; requests of instances pay nothing for it.
Every answer is bounded in size and in time, whatever there is on the host.  Times are
seconds since the epoch, durations seconds.  No value holds a secret, a signature, a
token or a body.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from mdproxy.interfaces import SourceState
from mdproxy.introspection.parts import Parts
from mdproxy.model import Identity, Malformed, canonical_address
from mdproxy.transactions import Transaction, Transactions

if TYPE_CHECKING:
    from mdproxy.introspection.census import Census
    from mdproxy.introspection.why import Why

#: What a secret that does not work means.
_SECRET: Final = {
    "wrong": "Nova, or what stands before it, refuses our signed questions (403): the "
    "checks say which",
    "mangled": "header fields are changed or lost on the way to Nova (400)",
}

#: How many items a page has if nobody says, and at most.
PAGE = 100
MOST = 1000


@define(eq=False)
class View:
    """
    The operator's view of the running service.

    @ivar _parts: What is looked at.
    @ivar _since: When it was made, which is when the service was.
    @ivar _made: What it asks, as far as it was needed.
    """

    _parts: Parts
    _since: float = field(init=False)
    _made: dict[str, Any] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Begin to be.
        """
        self._since = self._parts.wall()

    @property
    def _why(self) -> Why:
        """
        Make what collects the evidence on addresses, or find it made.
        """
        if "why" not in self._made:
            # Where nobody asks it need not be in memory.
            from mdproxy.introspection.why import Why

            self._made["why"] = Why(self._parts)
        why: Why = self._made["why"]
        return why

    @property
    def _census(self) -> Census:
        """
        Make what lists networks and instances, or find it made.
        """
        if "census" not in self._made:
            # Where nobody asks it need not be in memory.
            from mdproxy.introspection.census import Census

            self._made["census"] = Census(self._parts, self._why)
        census: Census = self._made["census"]
        return census

    def status(self) -> Mapping[str, Any]:
        """
        Tell what every part says of itself.

        @return: C{version}, C{since} (when the service was made),
            C{now}, C{ready} (L{readiness}), and what the parts' C{describe} say under
            C{configuration}, C{listeners}, C{sources}, C{lookup}, C{upstream},
            C{proxy}, C{front} and C{checks}; and C{transactions}: all requests since
            the start, how they ended (C{tally}, C{refusals}) and how long they took
            (C{median}, C{p99}); and under C{operators} what they have besides
            (C{access_log}, C{manhole} where there is one).
        """
        parts = self._parts
        return {
            "version": parts.version,
            "since": self._since,
            "now": parts.wall(),
            "ready": self.readiness(),
            "configuration": parts.reload.describe(),
            "listeners": parts.listening.describe(),
            "sources": [source.describe() for source in parts.sources.all],
            "lookup": parts.lookup.describe(),
            "upstream": parts.upstream.describe(),
            "proxy": parts.proxy.describe(),
            "front": parts.front.describe(),
            "checks": parts.checks.describe(),
            "transactions": _totals(parts.proxy.transactions),
            "operators": {name: tell() for name, tell in parts.beside.items()},
        }

    def readiness(self) -> Mapping[str, Any]:
        """
        Tell whether instances are served as they should be.

        @return: C{ready}, C{reasons} (a sentence for each thing that is in the way) and
            C{checks} (the findings).
        """
        reasons = list(_reasons(self._parts))
        return {"ready": not reasons, "reasons": reasons, "checks": self.checks()}

    def why(self, address: str, network: str | None = None) -> Mapping[str, Any]:
        """
        Tell what the proxy makes of an address, and why.

        @param address: In any spelling, perhaps with a zone.
        @param network: A link or what inventories call its network; C{None}: all.

        @return: C{address}, C{network}, C{total} (on how many links it may be),
            C{candidates} (L{mdproxy.introspection.why}) and C{sentence}.

        @raise Malformed: If it is no address.
        """
        return self._why.of(address, network)

    def networks(
        self, search: str = "", after: str | None = None, limit: int = PAGE
    ) -> Mapping[str, Any]:
        """
        List the networks that are listened on.

        @param search: What must be in a link, its network's name or its listener's.
        @param after: The C{next} of the page before.
        @param limit: How many at most; never more than L{MOST}.

        @return: C{items}, C{total} and C{next} (C{None}: no more).
        """
        return self._census.networks(search, after, min(limit, MOST))

    def instances(
        self, search: str = "", after: str | None = None, limit: int = PAGE
    ) -> Mapping[str, Any]:
        """
        List the instances whose ports are known.

        @param search: What must be in an id, a project, MAC, address, network or host
            name.
        @param after: The C{next} of the page before.
        @param limit: How many at most; never more than L{MOST}.

        @return: C{items} ({instance, project, networks, macs, addresses, hostnames,
            inventories}), C{total} and C{next} (C{None}: no more).
        """
        return self._census.instances(search, after, min(limit, MOST))

    def instance(self, instance: str) -> Mapping[str, Any] | None:
        """
        Tell one instance's story.

        @return: C{instance}, C{project}, C{ports}, C{leases}, C{neighbours},
            C{candidates} (as in L{why}), C{transactions} and C{steps}; C{None} where
            neither an inventory knows it nor it has asked lately.
        """
        seats = self._census.seats_of(instance)
        requests = self._requests(partial(self._is_of, instance, seats), PAGE, None)
        story = self._census.story(instance)
        if story is None and not requests["items"]:
            return None
        empty = ("ports", "leases", "neighbours", "candidates")
        return {
            "instance": instance,
            "project": None,
            **{name: [] for name in empty},
            **(story or {}),
            "transactions": requests["items"],
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
        Tell what was asked lately and what came of it, the latest first.

        @param network: A link, or what inventories call its network.
        @param address: In any spelling.
        @param status: A status; 0: nothing was sent.
        @param limit: How many at most; never more than L{MOST}.
        @param before: Only those with a smaller number: the C{next} of the page before.

        @return: C{items} and C{next} (C{None}: no more).

        @raise Malformed: If the address is none.
        """
        wanted = self.wanted(instance, network, address, status)
        return self._requests(wanted, min(limit, MOST), before)

    def wanted(
        self,
        instance: str | None = None,
        network: str | None = None,
        address: str | None = None,
        status: int | None = None,
    ) -> Callable[[Transaction], bool]:
        """
        Make what tells which requests somebody wants to see.

        @param instance: Whose they are.
        @param network: A link, or what inventories call its network.
        @param address: In any spelling.
        @param status: A status; 0: nothing was sent.

        @raise Malformed: If the address is none.
        """
        whence = None if address is None else canonical_address(address)
        name_of = self._parts.sources.books.networks.name_of

        def wants(it: Transaction) -> bool:
            link, peer = it.caller.network, it.caller.address
            return (
                (instance is None or _instance_of(it) == instance)
                and (status is None or it.status == status)
                and (whence is None or peer == whence)
                and (network is None or network in (link, name_of(link)))
            )

        return wants

    def steps(self, whom: str | None = None) -> Mapping[str, Any]:
        """
        Tell the steps of requests of those who are watched.

        @param whom: An instance's id, or an address in any spelling; C{None}: all.

        @return: C{watched} (for how many more seconds, by whom) and C{steps}, the
            earliest first.
        """
        said = self._parts.proxy.steps.describe()
        name = None if whom is None else _name_of(whom)
        steps = [
            step
            for step in said["steps"]
            if name is None or name in (step["instance"], step["address"])
        ]
        return {**said, "steps": steps}

    def watch(self, whom: str, seconds: float) -> None:
        """
        Have the steps of somebody's requests written down for a while.

        @param whom: An instance's id, or an address in any spelling.
        @param seconds: For how long; 0: no more.

        @raise TooManyWatched: If so many are watched already.
        """
        self._parts.proxy.steps.watch(_name_of(whom), seconds)

    def clear(self) -> None:
        """
        Forget the latest requests and steps; what is counted stays.
        """
        self._parts.proxy.transactions.clear()
        self._parts.proxy.steps.clear()

    def history(self) -> Mapping[str, Any]:
        """
        Tell rates and latencies of the last hour.

        @return: C{step} and C{samples} ({at, requests, refused, failed, median, p99,
            upstream_median, in_flight, lag}), the oldest first.
        """
        history: Mapping[str, Any] = self._parts.history.describe()
        return history

    def checks(self) -> Sequence[Mapping[str, Any]]:
        """
        Tell what mdproxy found out about itself and its surroundings.
        """
        return [finding.describe() for finding in self._parts.checks.findings]

    def facts(self, network: str | None = None, limit: int = PAGE) -> Mapping[str, Any]:
        """
        Tell the ports, leases and neighbours that are known.

        @param network: A link, or what inventories call its network; C{None}: all.
        @param limit: How many of each at most; never more than L{MOST}.

        @return: C{ports}, C{leases} (ended ones too; when they end in seconds since the
            epoch) and C{neighbours}; and C{total}: how many there are of each.
        """
        return self._census.facts(network, min(limit, MOST))

    def _is_of(
        self, instance: str, seats: Collection[tuple[str, str]], it: Transaction
    ) -> bool:
        """
        Tell whether a request is part of an instance's story: it was recognised, or its
        MAC was refused.

        @param seats: The networks and MACs of its ports.
        """
        if it.verdict is not None and _instance_of(it) is not None:
            return _instance_of(it) == instance
        caller = it.caller
        name_of = self._parts.sources.books.networks.name_of
        return (name_of(caller.network), caller.mac) in seats

    def _requests(
        self, keep: Callable[[Transaction], bool], limit: int, before: int | None
    ) -> Mapping[str, Any]:
        """
        Cut a page out of the latest requests.

        @param before: The number of the last one of the page before, after which it
            goes on; nothing, where that one has been forgotten meanwhile.
        """
        begun = before is None

        def keep_after(it: Transaction) -> bool:
            nonlocal begun
            if begun:
                return keep(it)
            begun = it.number == before
            return False

        latest = self._parts.proxy.transactions.latest(keep_after)
        page = list(islice(latest, limit))
        more = len(page) == limit and next(latest, None) is not None
        return {"items": page, "next": page[-1]["number"] if page and more else None}


def _name_of(whom: str) -> str:
    """
    Tell by which name somebody is watched.

    @param whom: An instance's id, or an address in any spelling.
    """
    try:
        return canonical_address(whom)
    except Malformed:
        return whom


def _instance_of(it: Transaction) -> str | None:
    """
    Tell whose a request was.
    """
    return it.verdict.port.instance_id if isinstance(it.verdict, Identity) else None


def _totals(transactions: Transactions) -> Mapping[str, Any]:
    """
    Put into words what all requests add up to.
    """
    return {
        "tally": [
            {"kind": kind, "status": status, "outcome": outcome, "count": count}
            for (kind, status, outcome), count in sorted(transactions.tally.items())
        ],
        "refusals": [
            {"kind": kind, "reason": reason, "count": count}
            for (kind, reason), count in sorted(transactions.refusals.items())
        ],
        "median": transactions.total.quantile(0.5),
        "p99": transactions.total.quantile(0.99),
    }


def _reasons(parts: Parts) -> Iterator[str]:
    """
    Name what is in the way of serving instances, each thing in a sentence.
    """
    for name, problem in parts.listening.problems():
        yield f"listener {name}: {problem}"
    for source in parts.sources.all:
        if source.state is not SourceState.LIVE:
            wrong = source.describe()["problem"]
            why = "" if wrong is None else f": {wrong}"
            yield f"source {source.name} is {source.state.value}{why}"
    endpoints = parts.upstream.describe()["endpoints"]
    if not any(endpoint["up"] for endpoint in endpoints):
        problems = "; ".join(
            f"{endpoint['host']} port {endpoint['port']}: "
            f"{endpoint['problem'] or 'not reached yet'}"
            for endpoint in endpoints
        )
        yield f"no Nova can be reached ({problems})"
    if parts.checks.secret in _SECRET:
        yield _SECRET[parts.checks.secret]
