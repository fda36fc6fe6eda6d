"""
What is measured, and the marks that must be met.
"""

from __future__ import annotations

from attrs import frozen

from bench.backend import BIG, PLAIN, SLOW, UNIQUE
from bench.product import REACTOR, WATCHED

#: Whom everybody is compared with.
PEER = "nginx"
#: What is ours.
OURS = ("mdproxy", REACTOR)
#: Whose cost is compared with the proxy's.
NEUTRON = "neutron"

#: What a mark is about, in words.
METRICS = {
    "cost": "CPU per request, times that of nginx + njs",
    "rate": "requests per second, times those of nginx + njs",
    "p50": "median time, times that of nginx + njs",
    "calls": "system calls per request",
    "neutron": "Neutron's CPU per request, times ours",
    "rest": "MB of memory at rest",
    "idle": "kB of memory per idle connection",
}


@frozen
class Mark:
    """
    What must be reached.

    @ivar system: By whom.
    @ivar metric: One of L{METRICS}.
    @ivar least: The least that will do; C{None}: there is no least.
    @ivar most: The most that will do; C{None}: there is no most.
    """

    system: str
    metric: str
    least: float | None = None
    most: float | None = None

    def met(self, figure: float) -> bool:
        """
        Tell whether a figure will do.
        """
        if self.least is not None and figure < self.least:
            return False
        return self.most is None or figure <= self.most

    def __str__(self) -> str:
        """
        Say what must be reached.
        """
        bounds = [
            f"{sign} {bound:g}"
            for sign, bound in (("at least", self.least), ("at most", self.most))
            if bound is not None
        ]
        return f"{self.system}: {METRICS[self.metric]}: {' and '.join(bounds)}"


def _cost(stock: float, own: float) -> tuple[Mark, ...]:
    """
    Say what a request may cost on either reactor.
    """
    return (
        Mark("mdproxy", "cost", most=stock),
        Mark(REACTOR, "cost", most=own),
    )


def _both(
    metric: str, least: float | None = None, most: float | None = None
) -> tuple[Mark, ...]:
    """
    Say what must be reached on either reactor.
    """
    return tuple(Mark(name, metric, least, most) for name in OURS)


@frozen
class Case:
    """
    One kind of load.

    @ivar place: Where: one of L{bench.places.PLACES}.
    @ivar systems: Who is measured.
    @ivar marks: What must be reached.
    @ivar connections: How many ask at the same time.
    @ivar target: What they ask for.
    @ivar close: Whether each request has a connection of its own.
    @ivar idle: Whether the connections, once used, do nothing: memory is measured.
    """

    name: str
    title: str
    place: str
    systems: tuple[str, ...]
    marks: tuple[Mark, ...] = ()
    connections: int = 32
    target: str = PLAIN
    close: bool = False
    idle: bool = False


_FEW = (PEER, *OURS)
_MOST = (PEER, "haproxy", *OURS, NEUTRON)
_ALL = (*_MOST, "neutron-shipped")
_LOOKED_AT = (*_ALL, WATCHED)
_KEPT = _cost(1.5, 1.1)
_NEW = _cost(2.2, 2.2)

CASES = (
    Case(
        "kept-1",
        "one kept connection",
        "loopback",
        _MOST,
        (*_KEPT, *_both("p50", most=1.2), *_both(NEUTRON, least=40)),
        connections=1,
    ),
    Case(
        "kept-32",
        "32 kept connections",
        "loopback",
        _LOOKED_AT,
        (*_KEPT, *_both("calls", most=4.2), *_both(NEUTRON, least=40)),
    ),
    Case(
        "kept-256",
        "256 kept connections",
        "loopback",
        _ALL,
        (*_KEPT, *_both(NEUTRON, least=40)),
        connections=256,
    ),
    Case(
        "new-32",
        "a new connection for each request, 32 at a time",
        "loopback",
        _LOOKED_AT,
        (*_NEW, *_both(NEUTRON, least=25)),
        close=True,
    ),
    Case("big-32", "16 KiB, 32 kept connections", "loopback", _MOST, target=BIG),
    Case(
        "slow-256",
        "a backend that takes 20 ms, 256 kept connections",
        "loopback",
        _MOST,
        _both("rate", least=0.8),
        connections=256,
        target=SLOW,
    ),
    Case(
        "unique-32",
        "a header field that differs in every answer, 32 kept connections",
        "loopback",
        _FEW,
        target=UNIQUE,
    ),
    Case(
        "tls-32",
        "TLS with a client certificate to the backend, 32 kept connections",
        "tls",
        _FEW,
        _both("rate", least=0.55),
    ),
    Case(
        "idle-1000",
        "1,000 idle connections: memory",
        "loopback",
        (PEER, "haproxy", *OURS, NEUTRON),
        (*_both("rest", most=60), *_both("idle", most=3)),
        connections=1000,
        idle=True,
    ),
    Case(
        "bridge-kept",
        "between two namespaces, 32 kept connections, full identification",
        "bridge",
        _FEW,
        _KEPT,
    ),
    Case(
        "bridge-new",
        "between two namespaces, a new connection for each request, 32 at a time,"
        " full identification",
        "bridge",
        _FEW,
        _NEW,
        close=True,
    ),
)
