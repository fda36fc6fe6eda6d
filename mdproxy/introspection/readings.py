# -*- test-case-name: tests.test_introspection_readings -*-
"""
How metrics are read from the parts: each function here reads one family.

No label takes its values from instances: none is an instance, address, MAC, network
or namespace.  They come from the code, from the configuration (listeners, sources,
endpoints, files), or from HTTP's statuses, so there are as many series on a host of a
thousand networks as on any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from platform import python_version
from typing import Any, Final

from attrs import frozen

from mdproxy.interfaces import SourceState
from mdproxy.introspection.parts import Parts

#: The values of a family's labels, and the value that they have.
Sample = tuple[tuple[str, ...], float]

#: Statuses that have a series of their own; others are counted by their hundred.
_STATUSES: Final = frozenset(status.value for status in HTTPStatus)

#: What the check of the secret can say (L{mdproxy.checks.service}).
_SECRETS: Final = ("right", "wrong", "mangled", "unknown")

#: What a check can be worth (L{mdproxy.checks.finding}).
_VERDICTS: Final = ("ok", "note", "wrong")

#: What happens to requests (L{mdproxy.exchange}), and to connections (L{mdproxy.http}):
#: who counts from zero misses none, for the first of a series is no increase.
EVENTS: Final = (
    *("asked-again", "client-gone", "cut-off", "held", "lapsed", "looked-again"),
    *("no-place-to-pause", "no-place-to-wait", "path-lost", "signature-refused"),
)
UNWANTED: Final = (
    *("idle-made-room", "no-caller", "too-many-connections", "too-many-requests"),
)

#: Of what the proxy counts, what other families have.
_ELSEWHERE: Final = ("status-", "refused-")

#: What requests wait for: the label, and where C{describe} of the proxy has it.
_WAITS: Final = (
    ("nova", "asking"),
    ("turn", "in_line"),
    ("retry", "pausing"),
    ("facts", "waiting_for_facts"),
)

#: By what a source says how many facts it knows, and how long ago it heard anything.
ENTRIES: Final = ("ports", "leases", "entries")
AGES: Final = ("last_read_age", "heard_age")

#: What a source counts from its start on.
_OF_SOURCES: Final = (
    *("resyncs", "overruns", "probes", "failed_probes"),
    *("overflows", "connections", "queries", "tokens"),
)


@frozen
class Sight:
    """
    All parts at one moment, each asked once.

    @ivar parts: The parts themselves.
    @ivar listeners: What the listeners say.
    @ivar sources: What the sources say.
    @ivar upstream: What the upstream says.
    @ivar proxy: What the proxy says.
    @ivar front: What the front says.
    @ivar reload: What the configuration says.
    @ivar is_ready: Whether instances are served as they should be.
    """

    parts: Parts
    listeners: Sequence[Mapping[str, Any]]
    sources: Sequence[Mapping[str, Any]]
    upstream: Mapping[str, Any]
    proxy: Mapping[str, Any]
    front: Mapping[str, Any]
    reload: Mapping[str, Any]
    is_ready: bool

    @classmethod
    def of(cls, parts: Parts, readiness: Callable[[], Mapping[str, Any]]) -> Sight:
        """
        Ask all parts.

        @param readiness: Tells C{ready}.
        """
        return cls(
            parts,
            parts.listening.summaries(),
            [source.describe() for source in parts.sources.all],
            parts.upstream.describe(),
            parts.proxy.describe(),
            parts.front.describe(),
            parts.reload.describe(),
            bool(readiness()["ready"]),
        )


def build(sight: Sight) -> Iterator[Sample]:
    """
    Tell what runs.
    """
    yield (sight.parts.version, python_version()), 1


def one(read: Callable[[Sight], float]) -> Callable[[Sight], Iterator[Sample]]:
    """
    Read a family of one series.
    """

    def samples(sight: Sight) -> Iterator[Sample]:
        yield (), read(sight)

    return samples


def findings(sight: Sight) -> Iterator[Sample]:
    """
    Count what the checks found, by what it is worth.
    """
    for verdict in _VERDICTS:
        found = (finding.verdict == verdict for finding in sight.parts.checks.findings)
        yield (verdict,), sum(found)


def secret_states(sight: Sight) -> Iterator[Sample]:
    """
    Tell what Nova makes of the secret.
    """
    for state in _SECRETS:
        yield (state,), state == sight.parts.checks.secret


def certificates(sight: Sight) -> Iterator[Sample]:
    """
    Tell when certificates end.
    """
    for path, ends in sight.parts.checks.certificates.items():
        yield (path,), ends


def reload_success(sight: Sight) -> float:
    """
    Tell whether the configuration in force is what the files said last.
    """
    last = sight.reload["last_reload"]
    return last is None or last["result"] == "taken"


def reload_time(sight: Sight) -> Iterator[Sample]:
    """
    Tell when the files were last read again.
    """
    last = sight.reload["last_reload"]
    if last is not None:
        yield (), datetime.fromisoformat(last["at"]).timestamp()


def requests(sight: Sight) -> Iterator[Sample]:
    """
    Count the requests that ended.
    """
    tally = sight.parts.proxy.transactions.tally
    for (kind, status, outcome), count in tally.items():
        yield (kind, _status_word(status), outcome), count


def _status_word(status: int) -> str:
    """
    Name a status, or its hundred where HTTP does not know it (RFC 9110 section 15).
    """
    if status == 0 or status in _STATUSES:
        return str(status)
    return f"{status // 100}xx"


def refusals(sight: Sight) -> Iterator[Sample]:
    """
    Count the callers that were refused.
    """
    yield from sight.parts.proxy.transactions.refusals.items()


def events(sight: Sight) -> Iterator[Sample]:
    """
    Count what else happened to requests.
    """
    counts = {**dict.fromkeys(EVENTS, 0), **sight.proxy["counts"]}
    for event, count in counts.items():
        if event != "requests" and not event.startswith(_ELSEWHERE):
            yield (event,), count


def waiting(sight: Sight) -> Iterator[Sample]:
    """
    Count the requests that have not ended, by what they wait for.
    """
    for word, name in _WAITS:
        yield (word,), sight.proxy[name]


def connections_refused(sight: Sight) -> Iterator[Sample]:
    """
    Count the connections that were not wanted.
    """
    refused = {**dict.fromkeys(UNWANTED, 0), **sight.front["refused"]}
    for what, count in refused.items():
        if not what.isdigit():
            yield (what,), count


def bad_requests(sight: Sight) -> Iterator[Sample]:
    """
    Count what was no request.
    """
    for what, count in sight.front["refused"].items():
        if what.isdigit():
            yield (what,), count


def listeners_up(sight: Sight) -> Iterator[Sample]:
    """
    Tell which listeners are open as they should be.
    """
    for each in sight.listeners:
        listens = "namespaces" in each or bool(each["listening"])
        yield (each["name"], _kind(each)), listens and not each["problem"]


def _kind(listener: Mapping[str, Any]) -> str:
    """
    Name a listener's kind.
    """
    return str(listener.get("kind", "namespaces"))


def namespaces(name: str) -> Callable[[Sight], Iterator[Sample]]:
    """
    Read something of the listeners in namespaces, where there are any.

    @param name: What they call it.
    """

    def samples(sight: Sight) -> Iterator[Sample]:
        for each in sight.listeners:
            if "namespaces" in each:
                value = each[name]
                yield (), value if isinstance(value, int) else len(value)

    return samples


def _named(source: Mapping[str, Any]) -> tuple[str, str]:
    """
    Name a source.
    """
    return source["name"], source["kind"]


def source_states(sight: Sight) -> Iterator[Sample]:
    """
    Tell which state each source is in.
    """
    for source in sight.sources:
        for state in SourceState:
            yield (*_named(source), state.value), source["state"] == state.value


def of_sources(*names: str) -> Callable[[Sight], Iterator[Sample]]:
    """
    Read the first of several things that each source has, of those that have one.
    """

    def samples(sight: Sight) -> Iterator[Sample]:
        for source in sight.sources:
            value = next((source[n] for n in names if source.get(n) is not None), None)
            if value is not None:
                yield _named(source), value

    return samples


def source_problems(sight: Sight) -> Iterator[Sample]:
    """
    Tell of which sources something is wrong.
    """
    for source in sight.sources:
        yield _named(source), source["problem"] is not None


def source_events(sight: Sight) -> Iterator[Sample]:
    """
    Count what happened to each source.
    """
    for source in sight.sources:
        for event in _OF_SOURCES:
            if event in source:
                yield (*_named(source), event), source[event]
        for failure, count in source.get("failures", {}).items():
            yield (*_named(source), f"failure-{failure}"), count


def facts(sight: Sight) -> Iterator[Sample]:
    """
    Count what is known.
    """
    books = sight.parts.sources.books
    yield ("ports",), len(books.ports)
    yield ("leases",), len(books.leases)
    yield ("neighbours",), len(books.neighbours)


def judgements(sight: Sight) -> Iterator[Sample]:
    """
    Count judgements.
    """
    for word, count in sight.parts.lookup.verdicts.counts.items():
        verdict, _, reason = word.partition("-")
        yield (verdict, reason), count


def _endpoint(each: Mapping[str, Any]) -> str:
    """
    Name an endpoint of Nova.
    """
    host = f"[{each['host']}]" if ":" in each["host"] else each["host"]
    return f"{host}:{each['port']}"


def endpoints_up(sight: Sight) -> Iterator[Sample]:
    """
    Tell which endpoints may be asked.
    """
    for each in sight.upstream["endpoints"]:
        yield (_endpoint(each),), each["up"]


def nova_connections(sight: Sight) -> Iterator[Sample]:
    """
    Count the connections to Nova.
    """
    for each in sight.upstream["endpoints"]:
        for state in ("idle", "busy", "connecting"):
            yield (_endpoint(each), state), each[state]
