"""
What is wrong with what became of a case.  Pure: values in, faults out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property

from attrs import define, frozen

from tests.corpus.cases import Case, Expect
from tests.corpus.client import Outcome
from tests.corpus.recorder import Arrived, Event, Incomplete, Malformed

#: What may never come through: with it a caller chooses whom Nova takes it for.
_FORBIDDEN = ("x-metadata-provider", "x-metadata-provider-signature")
_CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")

#: The field that names a request, and the form of a name.
_NAMED = "x-openstack-request-id"
_NAME = re.compile(r"req-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class Verdict(Enum):
    """
    How a case went, best first.
    """

    #: As expected, and safe.
    PASS = "PASS"
    #: Safe, but not what the case asks for: bad input accepted, connection kept...
    LENIENT = "LENIENT"
    #: A good request was refused, altered in its target, or left waiting.
    BROKEN = "BROKEN"
    #: Nova got something malformed or somebody else's identity, too many requests or
    #: an altered body; or the proxy gave a later client a wrong answer.
    UNSAFE = "UNSAFE"


@frozen
class Fault:
    """
    One thing that is wrong.

    @ivar verdict: How bad it is.
    @ivar text: What it is.
    """

    verdict: Verdict
    text: str


@define(slots=False)
class Observation:
    """
    All that was seen of one case.

    @ivar case: The case.
    @ivar identity: The identity headers that Nova must see, names in lower case.
    @ivar outcome: What the client saw.
    @ivar events: What Nova's stand-in saw until then.
    @ivar canary: The target of a good request on the next connection.
    @ivar canary_outcome: What its client saw; C{None} where it couldn't connect.
    @ivar late: What Nova's stand-in saw from then on.
    """

    case: Case
    identity: dict[str, str]
    outcome: Outcome
    events: list[Event]
    canary: str
    canary_outcome: Outcome | None
    late: list[Event]

    @cached_property
    def requests(self) -> list[Arrived]:
        """
        The requests that Nova got.
        """
        return [event for event in self.events if isinstance(event, Arrived)]

    @cached_property
    def late_requests(self) -> list[Arrived]:
        """
        The requests that Nova got afterwards and that are not the canary.
        """
        return [
            event
            for event in self.late
            if isinstance(event, Arrived) and event.target != self.canary
        ]

    @cached_property
    def targets(self) -> list[str]:
        """
        The targets that Nova got.
        """
        return [request.target for request in self.requests]

    @cached_property
    def statuses(self) -> list[int]:
        """
        The statuses that the client got.
        """
        return [answer.status for answer in self.outcome.answers]


def _plain(name: str) -> str:
    """
    Bring a header name into the form that a WSGI server makes of it: C{_} for C{-}
    is the same to it.
    """
    return name.lower().replace("_", "-")


def _identity_faults(request: Arrived, seen: Observation) -> Iterator[Fault]:
    """
    Judge who a request says it comes from.
    """
    plain = [(_plain(name), value) for name, value in request.headers]
    for name, own in seen.identity.items():
        values = [value for known, value in plain if known == name]
        if values != [own]:
            yield Fault(Verdict.UNSAFE, f"identity {name}={values!r:.120}")
    for name, _ in request.headers:
        if "_" in name and _plain(name) in (*seen.identity, _NAMED, *_FORBIDDEN):
            yield Fault(Verdict.UNSAFE, f"underscore twin {name}")
        if _plain(name) in _FORBIDDEN:
            yield Fault(Verdict.UNSAFE, f"forbidden header {name}")


def _is_own_name(request: Arrived, seen: Observation) -> bool:
    """
    Tell whether a request has one name, of our form, that its sender did not choose.
    """
    names = [value for name, value in request.headers if _plain(name) == _NAMED]
    return (
        len(names) == 1
        and _NAME.match(names[0]) is not None
        and names[0].encode("latin-1") not in seen.case.raw
    )


def _field_faults(request: Arrived, seen: Observation) -> Iterator[Fault]:
    """
    Judge what else is in the header of a request.
    """
    if not _is_own_name(request, seen):
        yield Fault(Verdict.UNSAFE, f"{_NAMED} is not one of ours")
    for name, _ in request.headers:
        if name.lower() in seen.case.absent or _plain(name) in seen.case.absent:
            grave = seen.case.severity in ("critical", "high")
            verdict = Verdict.UNSAFE if grave else Verdict.LENIENT
            yield Fault(verdict, f"header {name} forwarded")
    if any(_CONTROL.search(value) for _, value in request.headers):
        yield Fault(Verdict.LENIENT, "control byte in a field value forwarded")
    for line in request.trailers:
        yield Fault(Verdict.UNSAFE, f"trailer forwarded {line[:60]!r}")


def what_nova_got(seen: Observation) -> Iterator[Fault]:
    """
    Every byte that Nova got is well-formed, and every request has our identity.
    """
    for event in (*seen.events, *seen.late):
        if isinstance(event, Malformed):
            yield Fault(Verdict.UNSAFE, f"malformed upstream: {event.why}")
    for request in (*seen.requests, *seen.late_requests):
        yield from _identity_faults(request, seen)
        yield from _field_faults(request, seen)


def what_leaked(seen: Observation) -> Iterator[Fault]:
    """
    The client sees neither our signature nor its own markup.
    """
    signature = seen.identity["x-instance-id-signature"].encode()
    if signature in seen.outcome.received:
        yield Fault(Verdict.UNSAFE, "signature reflected to the client")
    if b"<script>alert" in seen.outcome.received:
        yield Fault(Verdict.UNSAFE, "markup echoed")


def how_many(seen: Observation) -> Iterator[Fault]:
    """
    Nova gets no more requests than the case has, and no straggler.
    """
    if len(seen.requests) > seen.case.count:
        yield Fault(
            Verdict.LENIENT,
            f"{len(seen.requests)} requests upstream, {seen.case.count} at most: "
            f"{seen.targets[:3]}",
        )
    total = len(seen.requests) + len(seen.late_requests)
    if seen.late_requests and (
        total > seen.case.count or seen.case.expect is Expect.REJECT
    ):
        targets = [request.target[:60] for request in seen.late_requests]
        yield Fault(Verdict.LENIENT, f"late request upstream {targets}")


def _hang(seen: Observation) -> Iterator[Fault]:
    """
    Whoever is not served is told so, or hung up on.
    """
    if not (seen.requests or seen.outcome.answers or seen.outcome.closed):
        yield Fault(Verdict.LENIENT, "no answer and no close")


def forwarded(seen: Observation) -> Iterator[Fault]:
    """
    A good request gets to Nova, and its answer back.
    """
    if seen.case.expect not in (Expect.FORWARD_ONE, Expect.FORWARD_N):
        return
    if len(seen.requests) < seen.case.count:
        yield Fault(
            Verdict.BROKEN,
            f"{len(seen.requests)} of {seen.case.count} forwarded, {seen.statuses}",
        )
    elif not seen.outcome.answers:
        yield Fault(Verdict.BROKEN, "no answer to the client")


def rejected(seen: Observation) -> Iterator[Fault]:
    """
    A bad request doesn't get to Nova, not even in part, and is answered with an error
    or a close.
    """
    if seen.case.expect is not Expect.REJECT:
        return
    if seen.requests:
        yield Fault(Verdict.LENIENT, f"forwarded {seen.targets!r:.120}")
        return
    if any(isinstance(event, Incomplete) for event in seen.events):
        yield Fault(Verdict.LENIENT, "part of a request reached upstream")
    yield from _hang(seen)
    if not seen.statuses:
        return
    if seen.statuses[0] < 400:
        yield Fault(Verdict.LENIENT, f"status {seen.statuses[0]}")
    if seen.case.statuses and seen.statuses[0] not in seen.case.statuses:
        yield Fault(
            Verdict.LENIENT, f"status {seen.statuses[0]} not in {seen.case.statuses}"
        )


def either(seen: Observation) -> Iterator[Fault]:
    """
    Where both are right, one of them happens.
    """
    if seen.case.expect is not Expect.EITHER:
        return
    yield from _hang(seen)
    plain = seen.case.category == "baseline" and seen.case.severity == "critical"
    if plain and seen.statuses and seen.statuses[0] >= 500:
        yield Fault(Verdict.BROKEN, f"status {seen.statuses[0]}")


def unaltered(seen: Observation) -> Iterator[Fault]:
    """
    Nova sees target and body as the client sent them.
    """
    if not seen.requests or seen.case.expect is Expect.REJECT:
        return
    good = seen.case.expect is not Expect.EITHER
    for target in seen.targets[: seen.case.count]:
        known = target in seen.case.targets or target.startswith("/evil")
        if seen.case.targets and not known:
            verdict = Verdict.BROKEN if good else Verdict.LENIENT
            yield Fault(verdict, f"target rewritten to {target!r:.120}")
    body = seen.requests[0].body
    if seen.case.body is not None and body != seen.case.body:
        yield Fault(Verdict.UNSAFE, f"body altered: {body[:60]!r}")


def in_order(seen: Observation) -> Iterator[Fault]:
    """
    Requests in one connection get to Nova, and their answers back, in order.
    """
    if seen.case.expect is not Expect.FORWARD_N or not seen.case.targets:
        return
    wanted = list(seen.case.targets)
    if seen.requests and seen.targets != wanted:
        yield Fault(Verdict.UNSAFE, f"order {seen.targets!r:.100}")
    headers = [answer.headers for answer in seen.outcome.answers]
    echoes = [h[b"x-echo-target"].decode() for h in headers if b"x-echo-target" in h]
    if echoes != wanted[: len(echoes)]:
        yield Fault(Verdict.UNSAFE, f"answers out of order {echoes!r:.100}")


def hung_up(seen: Observation) -> Iterator[Fault]:
    """
    Where nobody knows where the next request begins, there is no next request.
    """
    case = seen.case
    if not case.must_close or seen.outcome.closed or not seen.outcome.answers:
        return
    if case.category == "baseline":
        yield Fault(Verdict.BROKEN, "connection not closed")
    elif case.expect is Expect.REJECT or not seen.requests or case.close_always:
        yield Fault(Verdict.LENIENT, "connection kept after a framing fault")


def next_client(seen: Observation) -> Iterator[Fault]:
    """
    The next client on another connection is served, with its own answer.
    """
    if seen.canary_outcome is None:
        yield Fault(Verdict.UNSAFE, "proxy not reachable after the case")
        return
    got = [(answer.status, answer.body) for answer in seen.canary_outcome.answers]
    if got[:1] != [(200, seen.canary.encode())]:
        yield Fault(Verdict.UNSAFE, f"canary got {seen.canary_outcome.received[:80]!r}")


RULES: tuple[Callable[[Observation], Iterator[Fault]], ...] = (
    what_nova_got,
    what_leaked,
    how_many,
    forwarded,
    rejected,
    either,
    unaltered,
    in_order,
    hung_up,
    next_client,
)


def faults_of(seen: Observation) -> list[Fault]:
    """
    Judge a case.

    @param seen: All that was seen of it.

    @return: What is wrong; nothing, where it passes.
    """
    return [fault for rule in RULES for fault in rule(seen)]


def verdict_of(faults: list[Fault]) -> Verdict:
    """
    Sum faults up.

    @param faults: What is wrong.

    @return: The worst of it.
    """
    order = list(Verdict)
    return max(
        (fault.verdict for fault in faults), key=order.index, default=Verdict.PASS
    )
