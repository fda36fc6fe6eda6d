"""
Tests for L{mdproxy.introspection.readings}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mdproxy
from mdproxy.checks.finding import Finding
from mdproxy.introspection.families import FAMILIES
from mdproxy.introspection.readings import EVENTS, UNWANTED
from tests.measured import (
    Host,
    a_listener,
    a_source,
    an_endpoint,
    listeners_in_namespaces,
)

_FAMILIES = {family.name: family for family in FAMILIES}


def read(host: Host, name: str) -> Mapping[tuple[str, ...], float]:
    """
    Read a family's series.

    @param name: Its name without C{mdproxy_}.
    """
    return _FAMILIES[f"mdproxy_{name}"].samples(host.sight())


class ServiceTests(SynchronousTestCase):
    """
    Tests for what is read of the service as a whole.
    """

    def test_ready(self) -> None:
        """
        It is ready or not, as others are told.
        """
        for is_ready in (True, False):
            self.assertEqual(read(Host(is_ready=is_ready), "ready"), {(): is_ready})

    def test_build(self) -> None:
        """
        The version is a label, as it is in others' metrics.
        """
        ((version, python),) = read(Host(), "build_info")
        self.assertEqual(version, "1.2.3")
        self.assertRegex(python, r"\A3\.\d+\.\d+")

    def test_findings(self) -> None:
        """
        Findings are counted by what they are worth, also where there are none.
        """
        host = Host(findings=[Finding("a", "wrong", "x"), Finding("b", "wrong", "y")])
        expected = {("ok",): 0, ("note",): 0, ("wrong",): 2}
        self.assertEqual(read(host, "findings"), expected)

    def test_secret(self) -> None:
        """
        Of the states that the secret can be in, one is 1.
        """
        states = ("right", "wrong", "mangled", "unknown")
        for secret in states:
            expected = {(state,): float(state == secret) for state in states}
            self.assertEqual(read(Host(secret=secret), "secret_state"), expected)

    def test_certificates(self) -> None:
        """
        Each certificate has the time of its end.
        """
        host = Host(certificates={"/etc/mdproxy/client.pem": 1.8e9})
        self.assertEqual(
            read(host, "certificate_expiry_timestamp_seconds"),
            {("/etc/mdproxy/client.pem",): 1.8e9},
        )

    def test_never_reloaded(self) -> None:
        """
        A configuration that was read at the start alone is what the files say, and was
        never read again.
        """
        host = Host()
        self.assertEqual(read(host, "config_last_reload_success"), {(): 1})
        self.assertEqual(read(host, "config_last_reload_timestamp_seconds"), {})
        self.assertEqual(read(host, "config_pending_restart"), {(): 0})

    def test_reloaded(self) -> None:
        """
        It is told when the files were read again, whether they were taken, and what of
        them waits for a restart.
        """
        for result, success in (("taken", 1), ("refused", 0)):
            last = {"at": "2026-11-22T08:00:00+00:00", "result": result, "faults": []}
            host = Host(last_reload=last, needs_restart=["[manhole] endpoint"])
            self.assertEqual(read(host, "config_last_reload_success"), {(): success})
            self.assertEqual(
                read(host, "config_last_reload_timestamp_seconds"), {(): 1795334400}
            )
            self.assertEqual(read(host, "config_pending_restart"), {(): 1})


class RequestTests(SynchronousTestCase):
    """
    Tests for what is read of requests.
    """

    def test_requests(self) -> None:
        """
        Requests are counted by kind, status and outcome; statuses that HTTP does not
        know are counted together, so that nobody can make series.
        """
        host = Host()
        host.proxy.transactions.tally.update(
            {
                ("device", 200, "relayed"): 5,
                ("device", 0, "client-gone"): 2,
                ("namespaces", 503, "InstanceInDoubt"): 3,
                ("device", 299, "relayed"): 7,
                ("device", 250, "relayed"): 1,
            }
        )
        expected = {
            ("device", "200", "relayed"): 5,
            ("device", "0", "client-gone"): 2,
            ("namespaces", "503", "InstanceInDoubt"): 3,
            ("device", "2xx", "relayed"): 8,
        }
        self.assertEqual(read(host, "requests_total"), expected)

    def test_refusals(self) -> None:
        """
        Refusals are counted by kind and reason.
        """
        host = Host()
        host.proxy.transactions.note_refusal("device", "foreign-address")
        expected = {("device", "foreign-address"): 1}
        self.assertEqual(read(host, "refusals_total"), expected)

    def test_events(self) -> None:
        """
        What else happened is counted, from nothing on; what has a family of its own is
        not counted again.
        """
        host = Host()
        counts = {"requests": 9, "status-200": 8, "refused-unknown": 7, "held": 6}
        host.proxy.counts.update(counts)
        events = dict(read(host, "events_total"))
        self.assertEqual(events.pop(("held",)), 6)
        self.assertEqual(set(events.values()), {0})
        self.assertEqual({event for (event,) in events}, set(EVENTS) - {"held"})

    def test_all_events(self) -> None:
        """
        Whatever is counted anywhere is among what is counted from nothing on.
        """
        here = Path(mdproxy.__file__).parent
        counted = re.compile(r'\bcount\(\s*"([a-z-]+)"')
        unwanted = re.compile(r'\brefused\["([a-z-]+)"\]')
        found: tuple[set[str], set[str]] = (set(), set())
        for path in (*here.glob("*.py"), *here.glob("http/*.py")):
            text = path.read_text()
            found[1].update(unwanted.findall(text))
            if path.name in ("exchange.py", "proxy.py"):
                found[0].update(counted.findall(text))
        self.assertEqual(found, (set(EVENTS), set(UNWANTED)))

    def test_waiting(self) -> None:
        """
        What requests wait for adds up to all that have not ended.
        """
        host = Host()
        host.proxy.waits = {
            "asking": 1,
            "in_line": 10,
            "pausing": 100,
            "waiting_for_facts": 1000,
        }
        expected = {("nova",): 1, ("turn",): 10, ("retry",): 100, ("facts",): 1000}
        self.assertEqual(read(host, "waiting"), expected)
        self.assertEqual(read(host, "in_flight"), {(): 1111})

    def test_connections(self) -> None:
        """
        Connections that were not wanted, and what was no request on others, are told
        apart.
        """
        host = Host(refused={"400": 3, "too-many-connections": 2, "431": 1})
        self.assertEqual(read(host, "connections"), {(): 3})
        unwanted = dict.fromkeys(((what,) for what in UNWANTED), 0)
        self.assertEqual(
            read(host, "connections_refused_total"),
            {**unwanted, ("too-many-connections",): 2},
        )
        expected = {("400",): 3, ("431",): 1}
        self.assertEqual(read(host, "bad_requests_total"), expected)


class ListenerTests(SynchronousTestCase):
    """
    Tests for what is read of listeners.
    """

    def test_up(self) -> None:
        """
        A listener is up where it listens and nothing is wrong with it.
        """
        host = Host(
            [
                a_listener("one"),
                a_listener("two", listening=[]),
                a_listener("three", problem="the device is gone"),
                a_listener("four", kind="socket"),
            ]
        )
        expected = {
            ("one", "device"): 1,
            ("two", "device"): 0,
            ("three", "device"): 0,
            ("four", "socket"): 1,
        }
        self.assertEqual(read(host, "listener_up"), expected)

    def test_namespaces(self) -> None:
        """
        A host without any namespace yet is as it should be; one whose namespaces can't
        be entered is not.
        """
        for count, problem, up in ((0, None, 1), (5, "3 are not served fully", 0)):
            said = listeners_in_namespaces(count, problem=problem, waiting=["a", "b"])
            host = Host([said])
            self.assertEqual(
                read(host, "listener_up"), {("namespaces", "namespaces"): up}
            )
            self.assertEqual(read(host, "namespaces"), {(): count})
            self.assertEqual(read(host, "namespace_sockets"), {(): 2 * count})
            self.assertEqual(read(host, "namespaces_waiting"), {(): 2})

    def test_no_namespaces(self) -> None:
        """
        A host that does not serve namespaces has nothing to say of them.
        """
        self.assertEqual(read(Host([a_listener()]), "namespaces"), {})


class SourceTests(SynchronousTestCase):
    """
    Tests for what is read of sources.
    """

    def test_states(self) -> None:
        """
        Of the states of each source one is 1.
        """
        states = read(Host(sources=[a_source(state="stale")]), "source_state")
        self.assertEqual(
            states,
            {
                ("static", "static", "starting"): 0,
                ("static", "static", "live"): 0,
                ("static", "static", "stale"): 1,
                ("static", "static", "failed"): 0,
            },
        )

    def test_figures(self) -> None:
        """
        Each source tells its age and its entries under its own words, or nothing.
        """
        host = Host(
            sources=[
                a_source("static", ports=4, last_read_age=2.5, problem="x"),
                a_source("ovn", kind="ovn", ports=2, heard_age=None),
                a_source("dnsmasq:/x", kind="dnsmasq", leases=0, last_read_age=1.0),
                a_source("neighbours", kind="neighbours", entries=8, last_event_age=9),
            ]
        )
        self.assertEqual(
            read(host, "source_age_seconds"),
            {("static", "static"): 2.5, ("dnsmasq:/x", "dnsmasq"): 1.0},
        )
        self.assertEqual(
            read(host, "source_entries"),
            {
                ("static", "static"): 4,
                ("ovn", "ovn"): 2,
                ("dnsmasq:/x", "dnsmasq"): 0,
                ("neighbours", "neighbours"): 8,
            },
        )
        problems = read(host, "source_problem")
        self.assertEqual([*problems.values()], [1, 0, 0, 0])

    def test_events(self) -> None:
        """
        What a source counts is counted, failures by their kind.
        """
        neutron = a_source(
            "neutron", kind="neutron", queries=5, tokens=1, failures={"silent": 2}
        )
        self.assertEqual(
            read(Host(sources=[neutron]), "source_events_total"),
            {
                ("neutron", "neutron", "queries"): 5,
                ("neutron", "neutron", "tokens"): 1,
                ("neutron", "neutron", "failure-silent"): 2,
            },
        )

    def test_namesakes(self) -> None:
        """
        Two sources of one name and kind are one series: Prometheus takes no two.
        """
        twice = [a_source(ports=1, queries=2), a_source(ports=3, queries=4)]
        host = Host(sources=twice)
        self.assertEqual(read(host, "source_entries"), {("static", "static"): 3})
        self.assertEqual(
            read(host, "source_events_total"), {("static", "static", "queries"): 6}
        )

    def test_books(self) -> None:
        """
        The books are counted, and judgements by what they were.
        """
        host = Host(
            books={"ports": 10, "leases": 5},
            judgements={"allowed-agreed": 3, "refused-foreign-address": 1},
        )
        expected = {("ports",): 10, ("leases",): 5, ("neighbours",): 0}
        self.assertEqual(read(host, "facts"), expected)
        self.assertEqual(
            read(host, "judgements_total"),
            {("allowed", "agreed"): 3, ("refused", "foreign-address"): 1},
        )


class UpstreamTests(SynchronousTestCase):
    """
    Tests for what is read of Nova's side.
    """

    def test_endpoints(self) -> None:
        """
        Each endpoint is named as in a URL, with whether it may be asked and what its
        connections do.
        """
        host = Host(
            endpoints=[an_endpoint("fd00::1", busy=2), an_endpoint("nova", up=False)]
        )
        self.assertEqual(
            read(host, "upstream_up"), {("[fd00::1]:8775",): 1, ("nova:8775",): 0}
        )
        connections = read(host, "upstream_connections")
        self.assertEqual(len(connections), 6)
        self.assertEqual(connections["[fd00::1]:8775", "busy"], 2)

    def test_totals(self) -> None:
        """
        What was asked, what waits, and what was opened are told for all endpoints.
        """
        numbers = {"waiting": 1, "requests": 2, "connections": 3}
        host = Host(upstream=numbers)
        self.assertEqual(read(host, "upstream_waiting"), {(): 1})
        self.assertEqual(read(host, "upstream_requests_total"), {(): 2})
        self.assertEqual(read(host, "upstream_connections_opened_total"), {(): 3})
