"""
Tests for L{mdproxy.introspection.metrics} and L{mdproxy.introspection.families}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from mdproxy.histogram import BOUNDS
from mdproxy.introspection.endpoint import IntrospectionService
from mdproxy.introspection.families import FAMILIES
from mdproxy.introspection.metrics import described, make_metrics, table
from mdproxy.introspection.site import OperatorsSite
from mdproxy.tap import Options, makeService
from tests.measured import (
    Host,
    a_listener,
    a_source,
    an_endpoint,
    listeners_in_namespaces,
)
from tests.twistd import write_config
from tests.visiting import Line, Said

#: What Prometheus asks for (scrape/scrape.go, C{acceptHeader}).
_PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,"
    "application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)

#: Whatever may stand in an Accept field, and what comes near to what has a meaning.
_WISHES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255)),
    st.lists(
        st.sampled_from(
            [
                *("application/openmetrics-text", "text/plain", "*/*", ",", ";", " "),
                *(";version=", "1.0.0", "0.0.1", "x", ";q=", "-1", "="),
                *(";escaping=", "allow-utf-8", "underscores", "values"),
            ]
        )
    ).map("".join),
)

#: More series than any host has with one listener, source and endpoint: a new family
#: should make somebody think about how many it has.
_MOST = 300

#: A sample: its name, its labels, and its value.
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def ask(
    host: Host, accept: str | None = None, method: str = "GET"
) -> tuple[int, Mapping[str, str], str]:
    """
    Ask for the metrics of a host.

    @return: Status, header fields by lower-case name, and the body.
    """
    site = Site(make_metrics(host.parts(), host.readiness), reactor=host.clock)
    channel = site.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    field = "" if accept is None else f"Accept: {accept}\r\n"
    head = f"{method} /metrics HTTP/1.0\r\nHost: localhost\r\n{field}\r\n"
    channel.dataReceived(head.encode("latin-1"))
    said, _, body = transport.value().decode().partition("\r\n\r\n")
    first, *lines = said.split("\r\n")
    fields = (line.partition(": ") for line in lines)
    return (
        int(first.split()[1]),
        {name.lower(): value for name, _colon, value in fields},
        body,
    )


def series(host: Host) -> Series:
    """
    Read all series of a host, as Prometheus's own reader does.
    """
    return series_of(ask(host)[2])


def series_of(body: str) -> Series:
    """
    Read all series of an exposition.
    """
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(body)
        for sample in family.samples
    }


def busy_host(networks: int = 1) -> Host:
    """
    Make a host on which there is something of everything.

    @param networks: How many networks there are, each with ten instances.
    """
    host = Host(
        [a_listener(), listeners_in_namespaces(networks)],
        [a_source(ports=10 * networks, last_read_age=1.0, failures={"silent": 1})],
        [an_endpoint()],
        refused={"400": 1},
        last_reload={"at": "2026-11-22T08:00:00+00:00", "result": "taken"},
        certificates={"/etc/mdproxy/client.pem": 1.8e9},
        books={"ports": 10 * networks, "neighbours": 10 * networks},
        judgements={"allowed-agreed": networks},
    )
    transactions = host.proxy.transactions
    transactions.tally["namespaces", 200, "relayed"] = 280 * networks
    transactions.note_refusal("namespaces", "unknown")
    for seconds in (0.0001, 0.003, 40.0):
        transactions.total.add(seconds)
    return host


class ExpositionTests(SynchronousTestCase):
    """
    Tests for L{Metrics}.
    """

    def test_all_families(self) -> None:
        """
        Every family is exposed, with the type and labels that its list says, and
        nothing else is.
        """
        _status, _fields, body = ask(busy_host())
        exposed: dict[str, tuple[str, set[str]]] = {}
        for family in parser.text_string_to_metric_families(body):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels}
            exposed[name] = (family.type, labels - {"le"})
        expected = {
            name: (kind, set(labels)) for name, kind, labels, _text in described()
        }
        self.assertEqual(exposed, expected)

    def test_openmetrics(self) -> None:
        """
        Prometheus, which asks for OpenMetrics, gets that, and the strict reader of it
        takes it; it says the same.
        """
        host = busy_host()
        status, fields, body = ask(host, _PROMETHEUS)
        self.assertEqual(status, 200)
        self.assertTrue(
            fields["content-type"].startswith("application/openmetrics-text")
        )
        found = {
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in openmetrics.text_string_to_metric_families(body)
            for sample in family.samples
        }
        self.assertEqual(found, set(series(host)))

    def test_text(self) -> None:
        """
        Whoever says nothing of what is wanted gets Prometheus's own text.
        """
        status, fields, _body = ask(busy_host())
        self.assertEqual(status, 200)
        self.assertTrue(fields["content-type"].startswith("text/plain"))
        self.assertIn("charset=utf-8", fields["content-type"])

    @given(_WISHES)
    def test_strange_wishes(self, accept: str) -> None:
        """
        Whatever is wished for, the answer is in one of the two forms.
        """
        status, fields, _body = ask(Host(), accept)
        self.assertEqual(status, 200)
        kind = fields["content-type"].partition(";")[0]
        self.assertIn(kind, ("text/plain", "application/openmetrics-text"))

    def test_head(self) -> None:
        """
        HEAD is GET without the body.
        """
        status, fields, body = ask(busy_host(), method="HEAD")
        self.assertEqual((status, body), (200, ""))
        self.assertIn("content-type", fields)

    def test_histograms(self) -> None:
        """
        Buckets hold all that lies below their ends, and the last holds all.
        """
        found = series(busy_host())
        counts = {
            float(dict(labels)["le"]): value
            for (name, labels), value in found.items()
            if name == "mdproxy_request_seconds_bucket"
        }
        self.assertEqual([*counts], [*BOUNDS, float("inf")])
        below = [sum(each <= end for each in (0.0001, 0.003, 40.0)) for end in counts]
        self.assertEqual([*counts.values()], below)
        self.assertEqual(found["mdproxy_request_seconds_count", ()], 3)
        self.assertEqual(found["mdproxy_request_seconds_sum", ()], 40.0031)

    def test_reading_changes_nothing(self) -> None:
        """
        Two scrapes of a host on which nothing happens say the same of it.
        """
        host = busy_host()
        first, second = (
            {
                key: value
                for key, value in series(host).items()
                if "process_" not in key[0]
            }
            for _ in range(2)
        )
        self.assertEqual(first, second)

    def test_process(self) -> None:
        """
        The process is measured by the names that it has everywhere.
        """
        found = series(Host())
        self.assertGreater(found["process_resident_memory_bytes", ()], 1 << 20)
        self.assertGreater(found["process_open_fds", ()], 2)


class WholeServiceTests(SynchronousTestCase):
    """
    Tests for what is read of real parts.
    """

    def read(self, more: str) -> Series:
        """
        Read the metrics of a service that was made and not started, as its operator
        does.

        @param more: What its configuration has beside the usual.
        """
        options = Options()
        says = write_config(Path(self.mktemp()), more)
        options.parseOptions(["--config-file", str(says["config"])])
        service: Any = makeService(options, MemoryReactorClock())
        (pages,) = (each for each in service if isinstance(each, IntrospectionService))
        site = cast(OperatorsSite, pages._factory)
        answer = Line.to(site).say(
            b"GET /metrics HTTP/1.1\r\nHost: localhost:8085\r\n\r\n"
        )
        said = Said.read(answer)
        self.assertEqual(said.status, 200, said.body)
        return series_of(said.body.decode())

    def test_families(self) -> None:
        """
        Everything that a service can tell from its start on is told, by whatever kinds
        of listeners and sources.
        """
        found = self.read(
            "[listener:all]\nkind = namespaces\n"
            "[listener:agent]\nkind = socket\npath = /nonexistent/agent\n"
        )
        told = {name for name, _labels in found}
        later = {
            "mdproxy_certificate_expiry_timestamp_seconds",
            "mdproxy_config_last_reload_timestamp_seconds",
            "mdproxy_requests_total",
            "mdproxy_refusals_total",
            "mdproxy_bad_requests_total",
            "mdproxy_judgements_total",
            "mdproxy_source_age_seconds",
        }
        for family in FAMILIES:
            if family.name not in later:
                end = "_sum" if family.kind == "histogram" else ""
                self.assertIn(family.name + end, told)
        self.assertFalse(told & later)

    def test_listeners_and_sources(self) -> None:
        """
        Each is told by its name and kind.
        """
        found = self.read(
            "[listener:all]\nkind = namespaces\n"
            "[listener:agent]\nkind = socket\npath = /nonexistent/agent\n"
        )
        listeners = {
            dict(labels)["kind"]
            for name, labels in found
            if name == "mdproxy_listener_up"
        }
        self.assertEqual(listeners, {"address", "namespaces", "socket"})
        sources = {
            dict(labels)["kind"]
            for name, labels in found
            if name == "mdproxy_source_entries"
        }
        self.assertEqual(sources, {"static", "dnsmasq", "neighbours"})


class LabelTests(SynchronousTestCase):
    """
    Tests for labels.
    """

    def test_bounded(self) -> None:
        """
        A thousand networks with ten thousand instances have as many series as one
        network has.
        """
        one, many = series(busy_host(1)), series(busy_host(1000))
        self.assertEqual(set(one), set(many))
        self.assertLess(len(one), _MOST)

    @given(st.text(max_size=20))
    def test_hostile_names(self, name: str) -> None:
        """
        Whatever the configuration calls things by, it comes out as it went in and
        makes no series of its own.
        """
        host = Host([a_listener(name)], [a_source(name)])
        plain = Host([a_listener("x")], [a_source("x")])
        found, expected = series(host), series(plain)
        self.assertEqual(len(found), len(expected))
        labels = (("kind", "device"), ("listener", name))
        self.assertEqual(found["mdproxy_listener_up", labels], 1)

    def test_no_identities(self) -> None:
        """
        No label is called after what there may be any number of.
        """
        for family in FAMILIES:
            unbounded = {
                "instance",
                "project",
                "address",
                "mac",
                "network",
                "namespace",
            }
            self.assertFalse(unbounded & set(family.labels), family.name)


class ConventionTests(SynchronousTestCase):
    """
    Tests for the list of all metrics.
    """

    def test_names(self) -> None:
        """
        Names are those of Prometheus's conventions: ours begin with our name, counters
        end with C{_total} and nothing else does, histograms are of seconds.
        """
        for name, kind, labels, _text in described():
            self.assertRegex(name, r"\A(mdproxy|process)_[a-z_]+\Z")
            self.assertEqual(kind == "counter", name.endswith("_total"), name)
            if kind == "histogram":
                self.assertTrue(name.endswith("_seconds"), name)
            for label in labels:
                self.assertRegex(label, r"\A[a-z]+\Z")

    def test_once(self) -> None:
        """
        No metric is listed twice.
        """
        names = [name for name, *_rest in described()]
        self.assertEqual(len(names), len(set(names)))

    def test_sentences(self) -> None:
        """
        Each says what it is, in a sentence.
        """
        for name, _kind, _labels, text in described():
            self.assertRegex(text, r"\A[A-Z].*\.\Z", name)
            self.assertNotIn("\n", text)

    def test_table(self) -> None:
        """
        All of them are in the table that is made for the documentation.
        """
        lines = table().splitlines()
        self.assertEqual(len(lines), 2 + len(described()))
        for line in lines:
            cells = re.findall(r"\|([^|]*)(?=\|)", line)
            self.assertEqual(len(cells), 4, line)
