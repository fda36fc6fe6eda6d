"""
Tests for L{mdproxy.introspection.contrail}.

C{tests/data/contrail} has what the agent says, made with the agent's own writer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.introspection.contrail import (
    TRACED,
    Contrail,
    Counters,
    i32,
    make_contrail,
    message,
    string,
    strings,
    structs,
    text_of,
    trace_lines,
)
from mdproxy.introspection.guard import Guard
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.site import make_site
from mdproxy.listener_config import ListenerConfig, SocketConfig
from mdproxy.model import Caller, Evidence, Identity, Port, Reason, Refusal
from mdproxy.nova_config import Endpoint
from mdproxy.transactions import RequestIds, Transactions
from tests.measured import Host, MeasuredProxy, Saying, a_listener
from tests.visiting import Line, Said

_SAMPLES = Path(__file__).parent / "data" / "contrail"
_CALLER = Caller("br-1", "10.1.1.3", "02:00:00:00:00:03")
_EVIDENCE = Evidence(_CALLER, _CALLER.mac, None, 1, Reason.AGREED)
_PORT = Port("br-1", "02:00:00:00:00:03", "i-3", "p-3", frozenset({"10.1.1.3"}))
_KNOWN = Identity(_PORT, _EVIDENCE)
_UNKNOWN = Refusal(evolve(_EVIDENCE, reason=Reason.UNKNOWN, row=8), False)

#: When transactions of these tests end, in seconds since the epoch.
_NOW = 1469200248.365277


def sample(name: str) -> bytes:
    """
    Read what the agent says.
    """
    return (_SAMPLES / f"example_{name}.xml").read_bytes()


def some_parts(
    listeners: Sequence[Any] = (), endpoints: Sequence[Endpoint] = ()
) -> tuple[Parts, MeasuredProxy]:
    """
    Make parts of which nothing was asked yet.
    """
    transactions = Transactions(RequestIds.draw(Random(1)), lambda: 100.0, lambda: _NOW)
    proxy = MeasuredProxy(transactions=transactions)
    host = Host(proxy=proxy)
    listening: Any = Saying([a_listener(accepted=0)])
    config = SimpleNamespace(
        listeners=listeners, upstream=SimpleNamespace(endpoints=endpoints)
    )
    reload: Any = SimpleNamespace(config=config)
    return evolve(host.parts(), reload=reload, listening=listening), proxy


def note(
    proxy: MeasuredProxy,
    target: bytes = b"/openstack",
    method: bytes = b"GET",
    status: int = 200,
    outcome: str = "relayed",
    verdict: Identity | Refusal | None = _KNOWN,
    ended: float = 100.0,
) -> None:
    """
    Have something asked, and answered a quarter of a second later.
    """
    proxy.counts["requests"] += 1
    number = proxy.counts["requests"]
    times = (ended, 0.25, 0.0, 0.25)
    proxy.transactions.note(
        (number, *times, _CALLER, verdict, method, target, status, 1, outcome)
    )


class ShapeTests(SynchronousTestCase):
    """
    The XML is the agent's, byte for byte.
    """

    def test_metadata_info(self) -> None:
        """
        Counters are as in the sample.
        """
        self.assertEqual(
            message(
                "MetadataResponse",
                i32("metadata_server_port", 1, 8097),
                i32("metadata_requests", 2, 2),
                i32("metadata_responses", 3, 12),
                i32("metadata_proxy_sessions", 4, 1),
                i32("metadata_internal_errors", 5, 0),
            ),
            sample("MetadataInfo"),
        )

    def test_trace(self) -> None:
        """
        A trace is as in the sample, with what it escapes.
        """
        written = re.findall("<element>(.*?)</element>", sample("Trace").decode(), re.S)
        lines = [unescape(line) for line in written]
        self.assertEqual(len(lines), 3)
        self.assertEqual(
            message("SandeshTraceTextResponse", strings("traces", 1, lines)),
            sample("Trace"),
        )

    def test_services(self) -> None:
        """
        The link-local services are as in the sample.
        """
        service = [
            string("linklocal_service_name", 1, "metadata"),
            string("linklocal_service_ip", 2, "169.254.169.254"),
            i32("linklocal_service_port", 3, 80),
            string("ipfabric_dns_name", 4, ""),
            strings("ipfabric_ip", 5, ["192.0.2.10", "192.0.2.11"]),
            i32("ipfabric_port", 6, 8775),
        ]
        self.assertEqual(
            message(
                "LinkLocalServiceResponse",
                structs("service_list", 1, "LinkLocalServiceData", [service]),
            ),
            sample("LinkLocalServiceInfo"),
        )

    def test_wraps(self) -> None:
        """
        A number of more than 31 bits wraps as the agent's do.
        """
        for value, written in (
            (2**31 - 1, 2**31 - 1),
            (2**31, -(2**31)),
            (2**32 - 1, -1),
            (2**32 + 7, 7),
        ):
            self.assertIn(f">{written}<", i32("a", 1, value))

    @given(text=st.text())
    def test_any_text(self, text: str) -> None:
        """
        Whatever is in a text, the XML can be read, and holds it as far as XML can.
        """
        xml = message("A", string("b", 1, text))
        self.assertTrue(xml.isascii())
        # Readers make one newline of each carriage return, or pair (section 2.11).
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        kept = "".join(
            character
            for character in text
            if character in "\t\n"
            or (character >= " " and character not in "\ufffe\uffff")
        )
        found = ElementTree.fromstring(xml).find("b")
        assert found is not None
        self.assertEqual(found.text or "", kept)
        self.assertNotIn("<", text_of(text))


class CounterTests(SynchronousTestCase):
    """
    Tests for L{Counters}.
    """

    def test_counts(self) -> None:
        """
        Requests, answers and answers of our own are counted; what nobody was told is no
        answer.
        """
        parts, proxy = some_parts()
        note(proxy)
        note(proxy, status=404)
        note(proxy, status=404, outcome="NoSuchInstance", verdict=_UNKNOWN)
        note(proxy, status=503, outcome="UpstreamUnavailable")
        note(proxy, status=0, outcome="client-gone")
        self.assertEqual(
            Counters.of(parts), Counters(requests=5, responses=4, sessions=0, errors=2)
        )

    def test_sessions(self) -> None:
        """
        The connections of all listeners are counted together.
        """
        listeners = [a_listener(accepted=3), a_listener(accepted=4), {"name": "x"}]
        listening: Any = Saying(listeners)
        parts = evolve(Host().parts(), listening=listening)
        self.assertEqual(Counters.of(parts).sessions, 7)

    def test_never_negative(self) -> None:
        """
        What is gone does not count against what comes.
        """
        less = Counters(sessions=3, requests=9).since(Counters(sessions=5, requests=2))
        self.assertEqual(less, Counters(requests=7))


class TraceTests(SynchronousTestCase):
    """
    Tests for L{trace_lines}.
    """

    def lines(self, *given: dict[str, Any]) -> list[str]:
        """
        Trace some transactions.

        @return: The lines without the place in our files.
        """
        _parts, proxy = some_parts()
        for one in given:
            note(proxy, **one)
        traced = trace_lines(proxy.transactions.describe())
        for line in traced:
            self.assertRegex(line, r" mdproxy/(proxy|exchange)\.py [1-9][0-9]*\Z")
        return [line.rsplit(" ", 2)[0] for line in traced]

    def test_request(self) -> None:
        """
        A request has a line for its beginning and one for its end, with their times in
        microseconds.
        """
        self.assertEqual(
            self.lines({"target": b"/openstack/latest?a=b"}),
            [
                "1469200248115277 MetadataTrace: GET request for VM : 10.1.1.3 URL : "
                "openstack/latest?a=b",
                "1469200248365277 MetadataTrace: Metadata for VM : 10.1.1.3 Response : "
                "HTTP/1.1 200 OK",
            ],
        )

    def test_methods(self) -> None:
        """
        Every method is in the line as the agent writes it.
        """
        for method, written in (
            (b"HEAD", "HEAD"),
            (b"POST", "POST"),
            (b"PUT", "PUT"),
            (b"DELETE", "Delete"),
        ):
            line, _end = self.lines({"method": method})
            self.assertIn(f": {written} request for VM : 10.1.1.3 URL : ", line)

    def test_error(self) -> None:
        """
        Where there was no answer of Nova's the cause is told.
        """
        _begin, end = self.lines({"status": 503, "outcome": "UpstreamUnavailable"})
        self.assertTrue(
            end.endswith("Metadata for VM : 10.1.1.3 Error : UpstreamUnavailable")
        )

    def test_unknown(self) -> None:
        """
        Who was not recognised is the agent's unknown interface.
        """
        refused = {"status": 404, "outcome": "NoSuchInstance", "verdict": _UNKNOWN}
        (line,) = self.lines(refused)
        self.assertEqual(
            line,
            "1469200248365277 MetadataTrace: Error: Interface Config not available; ; "
            "Request for VM : 10.1.1.3",
        )

    def test_unnamed_status(self) -> None:
        """
        A status without a name is a number.
        """
        _begin, end = self.lines({"status": 299})
        self.assertTrue(end.endswith("Response : HTTP/1.1 299"))

    def test_order(self) -> None:
        """
        Lines are in the order of their times, the oldest first.
        """
        lines = self.lines({"ended": 99.0}, {"ended": 98.9}, {"ended": 99.1})
        times = [int(line.split()[0]) for line in lines]
        self.assertEqual(times, sorted(times))
        self.assertEqual(len(times), 6)


class PageTests(SynchronousTestCase):
    """
    The pages, asked as the agent's command line tools do
    (contrail-introspect-cli, C{ist.py}).
    """

    def setUp(self) -> None:
        """
        Make the site.
        """
        self.parts, self.proxy = some_parts(
            [
                SocketConfig("old", "/run/x", "user", (), (), "mac"),
                ListenerConfig("br-1", "device", "br-1", None, 8097, "n", "mac"),
            ],
            [Endpoint("192.0.2.10", 8775), Endpoint("192.0.2.11", 8775)],
        )

    def ask(
        self, target: str, line: str = "GET", fields: str = "", by_get: bool = False
    ) -> Said:
        """
        Ask.
        """
        if not hasattr(self, "site") or by_get:
            pages = make_contrail(self.parts, by_get)
            self.site = make_site({frozenset(pages): lambda: pages}, Guard(), Clock())
        head = f"{line} {target} HTTP/1.1\r\nHost: localhost:8085\r\n{fields}\r\n"
        return Said.read(Line.to(self.site).say(head.encode()))

    def read(self, target: str) -> ElementTree.Element:
        """
        Ask, and read what comes as XML.
        """
        said = self.ask(target)
        self.assertEqual(
            (said.status, said.fields[b"content-type"]), (200, b"text/xml")
        )
        root = ElementTree.fromstring(said.body)
        # ist.py asks for //NAME, which may be the outermost element.
        outer = ElementTree.Element("document")
        outer.append(root)
        return outer

    def counters(self) -> dict[str, int]:
        """
        Read the counters as C{ist vr service Metadata} does.
        """
        (found,) = self.read("/Snh_MetadataInfo?").findall(".//MetadataResponse")
        self.assertEqual(found.attrib["type"], "sandesh")
        return {
            element.tag: int(str(element.text))
            for element in found
            if element.tag != "more"
        }

    def trace(self, query: str) -> list[str]:
        """
        Read a trace as C{ist vr trace Metadata} does.
        """
        root = self.read(f"/Snh_SandeshTraceRequest?{query}")
        lines = [str(element.text) for element in root.findall(".//element")]
        (inner,) = root.findall(".//list")
        self.assertEqual(inner.attrib["size"], str(len(lines)))
        return lines

    def test_metadata_info(self) -> None:
        """
        It tells the port and the counters; as sample and as fact the same bytes.
        """
        note(self.proxy)
        note(self.proxy)
        self.assertEqual(
            self.counters(),
            {
                "metadata_server_port": 8097,
                "metadata_requests": 2,
                "metadata_responses": 2,
                "metadata_proxy_sessions": 0,
                "metadata_internal_errors": 0,
            },
        )
        theirs = sample("MetadataInfo")
        theirs = theirs.replace(b">12<", b">2<").replace(b'"4">1<', b'"4">0<')
        self.assertEqual(self.ask("/Snh_MetadataInfo").body, theirs)

    def test_no_port(self) -> None:
        """
        Where no listener has a port it is 0.
        """
        parts, _proxy = some_parts()
        said = Contrail(parts).metadata_info(cast(Any, None))
        self.assertIn(b'metadata_server_port type="i32" identifier="1">0<', said)

    def test_trace(self) -> None:
        """
        The trace is had by its name in either way; count is of the oldest lines, and
        0 or nothing that can be understood means all.
        """
        for target in (b"/1", b"/2", b"/3"):
            note(self.proxy, target)
        lines = self.trace("x=Metadata")
        self.assertEqual(len(lines), 6)
        self.assertRegex(lines[0], r"^[0-9]{16} MetadataTrace: GET request for VM : ")
        for query, wanted in (
            ("buf_name=Metadata", lines),
            ("buf_name=Metadata&count=2", lines[:2]),
            ("x=Metadata&count=5", lines[:5]),
            ("count=1&buf_name=Metadata", lines[:1]),
            ("x=Metadata&count=0", lines),
            ("x=Metadata&count=", lines),
            ("x=Metadata&count=-1", lines),
            ("x=Metadata&count=x", lines),
            ("x=Metadata&count=99999999999999999999", lines),
            ("x=Metadata&count=100", lines),
        ):
            self.assertEqual(self.trace(query), wanted, query)

    def test_bounded(self) -> None:
        """
        However many requests are remembered, the trace is of the latest so many.
        """
        for number in range(TRACED + 3):
            note(self.proxy, b"/%d" % number)
        lines = self.trace("x=Metadata")
        self.assertEqual(len(lines), 2 * TRACED)
        self.assertIn(" URL : 3 ", lines[0])

    def test_unknown_buffer(self) -> None:
        """
        A buffer that is not there is empty, as in the agent.
        """
        note(self.proxy)
        for query in ("x=Other", "", "count=3", "buf_name=metadata", "a=b&x=Metadata"):
            self.assertEqual(self.trace(query), [], query)
        said = self.ask("/Snh_SandeshTraceRequest?x=Other").body
        self.assertEqual(said, sample("TraceUnknownBuffer"))

    def test_hostile_target(self) -> None:
        """
        What an instance asks for can't become an element, nor make the trace
        unreadable.
        """
        note(self.proxy, b"/</element><element>&\x01\xff\"'")
        begin, _end = self.trace("x=Metadata")
        self.assertIn("URL : </element><element>&\xff\"' mdproxy/", begin)

    def test_buffers(self) -> None:
        """
        The one buffer is listed.
        """
        root = self.read("/Snh_SandeshTraceBufferListRequest?")
        names = [e.text for e in root.findall(".//trace_buf_name")]
        self.assertEqual(names, ["Metadata"])

    def test_services(self) -> None:
        """
        It tells where Nova is: as in the sample.
        """
        self.assertEqual(
            self.ask("/Snh_LinkLocalServiceInfo?").body, sample("LinkLocalServiceInfo")
        )

    def test_services_by_name(self) -> None:
        """
        A Nova that is known by name, or on another port, is a service of its own.
        """
        self.parts, _proxy = some_parts(
            (), [Endpoint("nova", 8775), Endpoint("::1", 80), Endpoint("192.0.2.1", 80)]
        )
        root = self.read("/Snh_LinkLocalServiceInfo")
        self.assertEqual(
            [
                (
                    str(service.findtext("ipfabric_dns_name")),
                    [element.text for element in service.iter("element")],
                    service.findtext("ipfabric_port"),
                )
                for service in root.iter("LinkLocalServiceData")
            ],
            [("nova", [], "8775"), ("", ["::1", "192.0.2.1"], "80")],
        )

    def test_clear(self) -> None:
        """
        Clearing by POST makes the counters begin again at 0, and changes nothing else.
        """
        note(self.proxy)
        self.counters()
        said = self.ask("/Snh_ClearAllInfo?", "POST", "X-Mdproxy: 1\r\n")
        self.assertEqual(said.status, 200)
        ElementTree.fromstring(said.body)
        self.assertEqual(sum(self.counters().values()), 8097)
        note(self.proxy, status=503, outcome="UpstreamBroken")
        counters = self.counters()
        self.assertEqual(counters["metadata_responses"], 1)
        self.assertEqual(counters["metadata_internal_errors"], 1)
        self.assertEqual(self.proxy.counts["requests"], 2)
        self.assertEqual(len(self.trace("x=Metadata")), 4)

    def test_clear_by_get(self) -> None:
        """
        By GET it changes nothing, unless the operator says so; even then not for
        another site, and not by HEAD.
        """
        note(self.proxy)
        self.assertEqual(self.ask("/Snh_ClearAllInfo").status, 405)
        self.assertEqual(self.counters()["metadata_requests"], 1)
        foreign = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"
        said = self.ask("/Snh_ClearAllInfo", "GET", foreign, by_get=True)
        self.assertEqual(said.status, 403)
        self.assertEqual(self.ask("/Snh_ClearAllInfo", "HEAD").status, 200)
        self.assertEqual(self.counters()["metadata_requests"], 1)
        self.assertEqual(self.ask("/Snh_ClearAllInfo?").status, 200)
        self.assertEqual(self.counters()["metadata_requests"], 0)
