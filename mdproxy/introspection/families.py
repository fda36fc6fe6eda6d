# -*- test-case-name: tests.test_introspection_metrics -*-
"""
What can be measured: the families of metrics, by their names.

Names follow Prometheus's conventions (base units, C{_total} for counters).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from attrs import frozen

from mdproxy.histogram import Histogram
from mdproxy.introspection import readings
from mdproxy.introspection.history import in_flight
from mdproxy.introspection.readings import AGES, ENTRIES, Sample, Sight, one


@frozen
class Family:
    """
    Series of one name.

    @ivar name: As it is exposed.
    @ivar kind: What kind of metric it is.
    @ivar labels: The names of the labels.
    @ivar text: What it says, in a sentence.
    @ivar read: Reads the series; a histogram has only one, without labels.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str
    read: Callable[[Sight], Iterable[Sample]] | Callable[[Sight], Histogram]

    def samples(self, sight: Sight) -> Mapping[tuple[str, ...], float]:
        """
        Read the series of a counter or gauge, each once: of what the configuration has
        twice counters are added, and of gauges the greatest counts.
        """
        found: dict[tuple[str, ...], float] = {}
        samples: Any = self.read(sight)
        for labels, value in samples:
            if labels in found:
                before = found[labels]
                is_sum = self.kind == "counter"
                value = before + value if is_sum else max(before, value)
            found[labels] = value
        return found

    def histogram(self, sight: Sight) -> Histogram:
        """
        Read a histogram.
        """
        histogram: Any = self.read(sight)
        assert isinstance(histogram, Histogram)
        return histogram


#: All that there is, in the order in which it is exposed.
FAMILIES: Final[Sequence[Family]] = (
    Family(
        "mdproxy_build_info",
        "gauge",
        ("version", "python"),
        "Which version runs; always 1.",
        readings.build,
    ),
    Family(
        "mdproxy_ready",
        "gauge",
        (),
        "Whether instances are served as they should be (as /readyz): 1 or 0.",
        one(lambda sight: sight.is_ready),
    ),
    Family(
        "mdproxy_findings",
        "gauge",
        ("verdict",),
        "Findings of the checks, by what they are worth (as /checks).",
        readings.findings,
    ),
    Family(
        "mdproxy_secret_state",
        "gauge",
        ("state",),
        "What Nova makes of the shared secret: 1 for the state it is in.",
        readings.secret_states,
    ),
    Family(
        "mdproxy_certificate_expiry_timestamp_seconds",
        "gauge",
        ("file",),
        "When a certificate ends, in seconds since the epoch: ours by their files, and"
        " those that Nova shows by nova HOST:PORT.",
        readings.certificates,
    ),
    Family(
        "mdproxy_config_last_reload_success",
        "gauge",
        (),
        "Whether the configuration files were taken when last read: 1 or 0.",
        one(readings.reload_success),
    ),
    Family(
        "mdproxy_config_last_reload_timestamp_seconds",
        "gauge",
        (),
        "When they were last read again, in seconds since the epoch.",
        readings.reload_time,
    ),
    Family(
        "mdproxy_config_pending_restart",
        "gauge",
        (),
        "Options that were changed in the files and count after a restart only.",
        one(lambda sight: len(sight.reload["needs_restart"])),
    ),
    Family(
        "mdproxy_requests_total",
        "counter",
        ("kind", "status", "outcome"),
        "Requests that ended, by kind of listener, status (0: none was sent) and"
        " outcome (relayed, or what came between).",
        readings.requests,
    ),
    Family(
        "mdproxy_refusals_total",
        "counter",
        ("kind", "reason"),
        "Requests whose caller was not identified, by kind of listener and reason.",
        readings.refusals,
    ),
    Family(
        "mdproxy_events_total",
        "counter",
        ("event",),
        "What else happened to requests.",
        readings.events,
    ),
    Family(
        "mdproxy_in_flight",
        "gauge",
        (),
        "Requests that have not ended.",
        one(lambda sight: in_flight(sight.proxy)),
    ),
    Family(
        "mdproxy_waiting",
        "gauge",
        ("for",),
        "Requests that have not ended, by what they wait for: nova, their turn (turn),"
        " to be asked again (retry), or to be identified (facts).",
        readings.waiting,
    ),
    Family(
        "mdproxy_request_seconds",
        "histogram",
        (),
        "From a whole request to the end of its answer.",
        lambda sight: sight.parts.proxy.transactions.total,
    ),
    Family(
        "mdproxy_lookup_seconds",
        "histogram",
        (),
        "From a whole request to the first question to Nova.",
        lambda sight: sight.parts.proxy.transactions.lookup,
    ),
    Family(
        "mdproxy_upstream_seconds",
        "histogram",
        (),
        "For how long Nova was being asked, all tries of a request together.",
        lambda sight: sight.parts.proxy.transactions.upstream,
    ),
    Family(
        "mdproxy_connections",
        "gauge",
        (),
        "Open connections of instances.",
        one(lambda sight: sight.front["connections"]),
    ),
    Family(
        "mdproxy_connections_refused_total",
        "counter",
        ("reason",),
        "Connections that were refused or closed to make room, by reason.",
        readings.connections_refused,
    ),
    Family(
        "mdproxy_bad_requests_total",
        "counter",
        ("status",),
        "What came on connections and was no acceptable request, by the status it was"
        " answered with; these are in no other family.",
        readings.bad_requests,
    ),
    Family(
        "mdproxy_listener_up",
        "gauge",
        ("listener", "kind"),
        "Whether a listener is open as it should be: 1 or 0.",
        readings.listeners_up,
    ),
    Family(
        "mdproxy_namespaces",
        "gauge",
        (),
        "Network namespaces that are served.",
        readings.namespaces("namespaces"),
    ),
    Family(
        "mdproxy_namespaces_waiting",
        "gauge",
        (),
        "Names of namespaces that could not be entered yet.",
        readings.namespaces("waiting"),
    ),
    Family(
        "mdproxy_namespace_sockets",
        "gauge",
        (),
        "Sockets that listen in namespaces.",
        readings.namespaces("listening"),
    ),
    Family(
        "mdproxy_source_state",
        "gauge",
        ("source", "kind", "state"),
        "How fresh a source of facts is: 1 for the state it is in.",
        readings.source_states,
    ),
    Family(
        "mdproxy_source_age_seconds",
        "gauge",
        ("source", "kind"),
        "Since a source last read or heard anything. Files are read when they change:"
        " of these a great age is no fault.",
        readings.of_sources(*AGES),
    ),
    Family(
        "mdproxy_source_problem",
        "gauge",
        ("source", "kind"),
        "Whether something is wrong with a source, or with part of what it reads.",
        readings.source_problems,
    ),
    Family(
        "mdproxy_source_entries",
        "gauge",
        ("source", "kind"),
        "Ports, leases or neighbours that a source knows.",
        readings.of_sources(*ENTRIES),
    ),
    Family(
        "mdproxy_source_events_total",
        "counter",
        ("source", "kind", "event"),
        "What happened to a source: connections, queries, probes, failures by kind.",
        readings.source_events,
    ),
    Family(
        "mdproxy_facts",
        "gauge",
        ("book",),
        "Facts that are known, from all sources together.",
        readings.facts,
    ),
    Family(
        "mdproxy_judgements_total",
        "counter",
        ("verdict", "reason"),
        "How often callers were judged anew; one judgement serves many requests, and"
        " one that waits is judged many times.",
        readings.judgements,
    ),
    Family(
        "mdproxy_upstream_up",
        "gauge",
        ("endpoint",),
        "Whether an endpoint of Nova may be asked: 1 or 0.",
        readings.endpoints_up,
    ),
    Family(
        "mdproxy_upstream_connections",
        "gauge",
        ("endpoint", "state"),
        "Connections to Nova: idle, busy or connecting.",
        readings.nova_connections,
    ),
    Family(
        "mdproxy_upstream_connections_opened_total",
        "counter",
        (),
        "Connections to Nova that were opened.",
        one(lambda sight: sight.upstream["connections"]),
    ),
    Family(
        "mdproxy_upstream_requests_total",
        "counter",
        (),
        "Questions to Nova, repeated ones included.",
        one(lambda sight: sight.upstream["requests"]),
    ),
    Family(
        "mdproxy_upstream_waiting",
        "gauge",
        (),
        "Requests that wait for a connection to Nova.",
        one(lambda sight: sight.upstream["waiting"]),
    ),
    Family(
        "mdproxy_loop_lag_seconds",
        "histogram",
        (),
        "How late the reactor came to a timer that goes off each half second.",
        lambda sight: sight.parts.history.pulse.lag,
    ),
)
