"""
Parts that say what a test has them say, for what is measured of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

from attrs import define, field, frozen
from twisted.internet.task import Clock

from mdproxy.checks.finding import Finding
from mdproxy.introspection.history import History
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.readings import Sight
from mdproxy.pulse import Pulse
from mdproxy.transactions import RequestIds, Transactions


@frozen
class Saying:
    """
    A part that says something of itself.

    @ivar says: What.
    """

    says: Any

    def describe(self) -> Any:
        """
        Say it.
        """
        return self.says


@define(eq=False)
class MeasuredProxy:
    """
    A proxy that says what it counted.

    @ivar counts: What happened how often.
    @ivar waits: How many requests wait, by what the proxy calls that.
    @ivar transactions: What ended.
    """

    counts: Counter[str] = field(factory=Counter)
    waits: dict[str, int] = field(factory=dict)
    transactions: Transactions = field(
        factory=lambda: Transactions(RequestIds.draw(Random(1)))
    )

    def describe(self) -> Mapping[str, Any]:
        """
        Provide C{Proxied.describe}.
        """
        waits = ("asking", "in_line", "pausing", "waiting_for_facts")
        return {
            "counts": dict(self.counts),
            **{name: self.waits.get(name, 0) for name in waits},
        }


def a_listener(name: str = "br-1", **differs: Any) -> Mapping[str, Any]:
    """
    Say what a listener on a device says.
    """
    return {
        "name": name,
        "kind": "device",
        "device": name,
        "listening": ["169.254.169.254 port 80"],
        "accepted": 5,
        "problem": None,
        **differs,
    }


def listeners_in_namespaces(count: int, **differs: Any) -> Mapping[str, Any]:
    """
    Say what listeners in so many namespaces say.
    """
    return {
        "name": "namespaces",
        "namespaces": count,
        "listening": 2 * count,
        "waiting": [],
        "problem": None,
        **differs,
    }


def a_source(name: str = "static", **differs: Any) -> Mapping[str, Any]:
    """
    Say what a source says.
    """
    return {"name": name, "kind": "static", "state": "live", "problem": None, **differs}


def an_endpoint(host: str = "nova", **differs: Any) -> Mapping[str, Any]:
    """
    Say what the upstream says of an endpoint.
    """
    numbers = dict.fromkeys(("idle", "busy", "connecting"), 0)
    return {"host": host, "port": 8775, "up": True, **numbers, **differs}


@define(eq=False)
class Host:
    """
    All parts of a host that a test has made up, and what they say.

    @ivar is_ready: Whether instances are served as they should be.
    """

    listeners: Sequence[Mapping[str, Any]] = field(factory=lambda: [a_listener()])
    sources: Sequence[Mapping[str, Any]] = field(factory=lambda: [a_source()])
    endpoints: Sequence[Mapping[str, Any]] = field(factory=lambda: [an_endpoint()])
    upstream: Mapping[str, int] = field(factory=dict)
    refused: Mapping[str, int] = field(factory=dict)
    needs_restart: Sequence[str] = ()
    last_reload: Mapping[str, Any] | None = None
    findings: Sequence[Finding] = ()
    secret: str = "right"
    certificates: Mapping[str, float] = field(factory=dict)
    books: Mapping[str, int] = field(factory=dict)
    judgements: Mapping[str, int] = field(factory=dict)
    is_ready: bool = True
    proxy: MeasuredProxy = field(factory=MeasuredProxy)
    clock: Clock = field(factory=Clock)
    pulse: Pulse = field(init=False)

    @pulse.default
    def _(self) -> Pulse:
        """
        Make the pulse.
        """
        return Pulse(self.clock)

    def parts(self) -> Parts:
        """
        Make the parts.
        """
        numbers = {"waiting": 0, "requests": 0, "connections": 0, **self.upstream}
        books = {
            name: range(self.books.get(name, 0))
            for name in ("ports", "leases", "neighbours")
        }
        wall: Callable[[], float] = self.clock.seconds
        parts: dict[str, Any] = {
            "lookup": SimpleNamespace(verdicts=SimpleNamespace(counts=self.judgements)),
            "proxy": self.proxy,
            "upstream": Saying({"endpoints": self.endpoints, **numbers}),
            "front": Saying({"connections": 3, "refused": self.refused}),
            "listening": SimpleNamespace(summaries=lambda: self.listeners),
            "sources": SimpleNamespace(
                all=[Saying(source) for source in self.sources],
                books=SimpleNamespace(**books),
            ),
            "reload": Saying(
                {"needs_restart": self.needs_restart, "last_reload": self.last_reload}
            ),
            "checks": SimpleNamespace(
                findings=self.findings,
                secret=self.secret,
                certificates=self.certificates,
            ),
            "history": History(self.proxy, self.pulse, self.clock, wall),
            "clock": self.clock,
            "wall": wall,
            "version": "1.2.3",
        }
        return Parts(**parts)

    def readiness(self) -> Mapping[str, Any]:
        """
        Provide C{View.readiness}.
        """
        return {"ready": self.is_ready, "reasons": [], "checks": []}

    def sight(self) -> Sight:
        """
        Look at all parts.
        """
        return Sight.of(self.parts(), self.readiness)
