# -*- test-case-name: tests.test_introspection_metrics -*-
"""
C{/metrics}: what Prometheus asks for.

Everything is read from the parts at the moment it is asked for; requests of instances
know nothing of it.  C{prometheus_client} writes the text, in its own or in
OpenMetrics' form, and adds what it has of the process.

C{python -m mdproxy.introspection.metrics} prints the list of all metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen
from twisted.web.http import Request
from twisted.web.resource import Resource

from mdproxy.histogram import BOUNDS, Histogram
from mdproxy.introspection.families import FAMILIES, Family
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.readings import Sight

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import CollectorRegistry

#: The content type of Prometheus's own text.
_PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"

#: Tells C{ready} (L{View.readiness<mdproxy.introspection.view.View.readiness>}).
Readiness = Callable[[], Mapping[str, Any]]

#: What C{prometheus_client} adds (its C{ProcessCollector}), in the words of this list.
_OF_PROCESS: Final = (
    ("process_cpu_seconds_total", "counter", "CPU time, user and system."),
    ("process_resident_memory_bytes", "gauge", "Memory in use."),
    ("process_virtual_memory_bytes", "gauge", "Address space in use."),
    ("process_start_time_seconds", "gauge", "When it started, since the epoch."),
    ("process_open_fds", "gauge", "Open file descriptors."),
    ("process_max_fds", "gauge", "The most that it may have open."),
)


def described() -> list[tuple[str, str, tuple[str, ...], str]]:
    """
    List all metrics; no service need run.

    @return: Of each its name as it is exposed (a histogram has C{_bucket}, C{_sum} and
        C{_count} after it), its type, its labels, and what it says.
    """
    ours = [
        (family.name, family.kind, family.labels, family.text) for family in FAMILIES
    ]
    return ours + [(name, kind, (), text) for name, kind, text in _OF_PROCESS]


def make_metrics(parts: Parts, readiness: Readiness) -> Resource:
    """
    Make the resource that Prometheus asks.

    @param parts: What is read.
    @param readiness: Tells C{ready}.
    """
    # It takes memory that only who asks for metrics should pay for.
    from prometheus_client.process_collector import ProcessCollector
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(_Collector(parts, readiness))
    ProcessCollector(registry=registry)
    return Metrics(registry)


class Metrics(Resource):
    """
    All metrics, in the form that is asked for.
    """

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        """
        Remember what collects them.
        """
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Request) -> bytes:
        """
        Write them all.
        """
        write, content_type = _form(request.getHeader(b"accept") or b"")
        request.setHeader("content-type", content_type)
        return write(self._registry)


def _form(accept: bytes) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """
    Choose in which form metrics are written: OpenMetrics for whoever knows it, the text
    that everybody knows for all others.

    The library's own C{choose_encoder} fails where somebody asks for a version that is
    no number, and repeats the version in its answer.

    @param accept: The value of the Accept field.

    @return: What writes them, and the content type of that.
    """
    from prometheus_client import exposition
    from prometheus_client.openmetrics import exposition as openmetrics

    kinds = {offer.partition(b";")[0].strip() for offer in accept.lower().split(b",")}
    if b"application/openmetrics-text" in kinds:
        return openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest, _PLAIN


@frozen(eq=False)
class _Collector:
    """
    Reads the families for C{prometheus_client}.

    @ivar _parts: What is read.
    @ivar _readiness: Tells C{ready}.
    """

    _parts: Parts
    _readiness: Readiness

    def describe(self) -> Sequence[Metric]:
        """
        Provide C{Collector.describe}: the registry need not know names before.
        """
        return ()

    def collect(self) -> Iterator[Metric]:
        """
        Provide C{Collector.collect}: all families, as they are now.
        """
        sight = Sight.of(self._parts, self._readiness)
        for family in FAMILIES:
            yield _metric(family, sight)


def _metric(family: Family, sight: Sight) -> Metric:
    """
    Write a family as C{prometheus_client} has it.
    """
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    if family.kind == "histogram":
        histogram = family.histogram(sight)
        buckets = _buckets(histogram)
        return HistogramMetricFamily(
            family.name, family.text, buckets=buckets, sum_value=histogram.sum
        )
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = make(family.name, family.text, labels=family.labels)
    for labels, value in family.samples(sight).items():
        metric.add_metric(labels, float(value))
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """
    Add the buckets up, as Prometheus has them.

    @return: Upper ends, the last infinite, and how many lie below each.
    """
    ends = [*map(str, map(float, BOUNDS)), "+Inf"]
    return list(zip(ends, map(float, accumulate(histogram.counts)), strict=True))


def table() -> str:
    """
    Write the list of all metrics as a table in Markdown, for the documentation.
    """
    lines = ["| metric | type | labels | what it says |", "|---|---|---|---|"]
    for name, kind, labels, text in described():
        words = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {kind} | {words} | {text} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
