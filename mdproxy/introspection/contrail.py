# -*- test-case-name: tests.test_introspection_contrail -*-
"""
Pages in the shape of Contrail's (Tungsten Fabric's, OpenSDN's) vRouter agent, so that
tools made for its metadata proxy find in mdproxy what they look for.

Addresses, elements, types, identifiers and the form of a trace line are the agent's
(C{services.sandesh}, C{sandesh_trace.sandesh}, and pysandesh's C{TXMLProtocol} for the
XML).  What differs:

  - C{metadata_requests}: requests that could be understood, as theirs.
  - C{metadata_responses}: answers, one for each request that was answered.  Theirs
    counts every header line and piece of a body, about six for an answer.
  - C{metadata_proxy_sessions}: connections of instances.
  - C{metadata_internal_errors}: answers of mdproxy's own making (404, 429 and 5xx), as
    theirs counts its error pages.
  - The trace has a line for each request and for its end, of the latest L{TRACED}
    requests; that is about the 500 lines that theirs has by default.  Theirs has every
    header and body: passwords and keys are in it.
  - Clearing sets these four to 0 and nothing else; Prometheus' counters go on.  It is
    POST (as all that changes anything); by GET as theirs only where the operator says
    so, and never for another site's page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from itertools import islice
from typing import Any, Final

from attrs import astuple, define, field, frozen
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from mdproxy.exchange import Exchange
from mdproxy.introspection.guard import is_own
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.site import asked_in
from mdproxy.proxy import ReverseProxyResource

#: The one trace buffer that we have.
BUFFER: Final = "Metadata"

#: Of how many requests the trace tells at most.
TRACED: Final = 250

_STYLE: Final = '<?xml-stylesheet type="text/xsl" href="/universal_parse.xsl"?>'

#: What XML 1.0 can't hold in any form (section 2.2, C{Char}).
_NO_CHARACTER: Final = re.compile(
    "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_ESCAPES: Final = str.maketrans({"&": "&amp;", "'": "&apos;", "<": "&lt;", ">": "&gt;"})
#: A number as it may stand in a query.
_NUMBER: Final = re.compile(rb"[0-9]{1,10}\Z")

#: Where instances find the service (facts of EC2's and OpenStack's metadata).
_ADDRESS, _PORT = "169.254.169.254", 80


def text_of(text: str) -> str:
    """
    Write text so that it can stand in an element; what XML can't hold is left out.
    """
    return _NO_CHARACTER.sub("", text).translate(_ESCAPES)


def i32(name: str, identifier: int, value: int) -> str:
    """
    Write a number of 32 bits; a larger one comes out negative, as in the agent.
    """
    wrapped = (value + 2**31) % 2**32 - 2**31
    return f'<{name} type="i32" identifier="{identifier}">{wrapped}</{name}>'


def string(name: str, identifier: int, value: str) -> str:
    """
    Write a text.
    """
    written = text_of(value)
    return f'<{name} type="string" identifier="{identifier}">{written}</{name}>'


def strings(name: str, identifier: int, values: Sequence[str]) -> str:
    """
    Write a list of texts; it says how many they are, also where there are none.
    """
    elements = "".join(f"<element>{text_of(value)}</element>" for value in values)
    inner = f'<list type="string" size="{len(values)}">{elements}</list>'
    return f'<{name} type="list" identifier="{identifier}">{inner}</{name}>'


def structs(
    name: str, identifier: int, kind: str, values: Sequence[Sequence[str]]
) -> str:
    """
    Write a list of structures.

    @param kind: What each is called.
    @param values: The elements of each.
    """
    elements = "".join(f"<{kind}>{''.join(value)}</{kind}>" for value in values)
    inner = f'<list type="struct" size="{len(values)}">{elements}</list>'
    return f'<{name} type="list" identifier="{identifier}">{inner}</{name}>'


def message(name: str, *elements: str) -> bytes:
    """
    Write a whole answer; there is never more than one.

    It is ASCII, for some readers take XML without a declaration for Latin-1 (as
    C{requests} does with C{text/xml}, RFC 2616 section 3.7.1).
    """
    more = '<more type="bool" identifier="0">false</more>'
    text = f'{_STYLE}<{name} type="sandesh">{"".join(elements)}{more}</{name}>'
    return text.encode("ascii", "xmlcharrefreplace")


@frozen
class Counters:
    """
    What happened, in the agent's words.

    @ivar requests: C{metadata_requests}.
    @ivar responses: C{metadata_responses}.
    @ivar sessions: C{metadata_proxy_sessions}.
    @ivar errors: C{metadata_internal_errors}.
    """

    requests: int = 0
    responses: int = 0
    sessions: int = 0
    errors: int = 0

    @classmethod
    def of(cls, parts: Parts) -> Counters:
        """
        Read them from the parts.
        """
        tally = parts.proxy.transactions.tally
        answers = [(what, n) for (_, status, what), n in tally.items() if status]
        return cls(
            requests=parts.proxy.counts["requests"],
            responses=sum(count for _, count in answers),
            sessions=sum(one.get("accepted", 0) for one in parts.listening.describe()),
            errors=sum(count for what, count in answers if what != "relayed"),
        )

    def since(self, before: Counters) -> Counters:
        """
        Subtract; the sessions of a namespace that is gone are gone with it.
        """
        pairs = zip(astuple(self), astuple(before), strict=True)
        return Counters(*(max(0, now - then) for now, then in pairs))


def trace_lines(transactions: Sequence[Mapping[str, Any]]) -> list[str]:
    """
    Write transactions as the agent's trace.

    @param transactions: In words, the latest first
        (L{Transactions<mdproxy.transactions.Transactions>}).

    @return: The lines, the oldest first.
    """
    lines = [line for words in reversed(transactions) for line in _lines_of(words)]
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def _lines_of(words: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """
    Write the lines of a transaction, each with its time in microseconds.
    """
    machine, outcome, status = words["address"], words["outcome"], words["status"]
    if words["verdict"] == "refused":
        text = f"Error: Interface Config not available; ; Request for VM : {machine}"
        yield _line(words["at"], text, _BEGIN)
        return
    method = "Delete" if words["method"] == "DELETE" else words["method"]
    url = words["target"].removeprefix("/")
    asked = f"{method} request for VM : {machine} URL : {url}"
    yield _line(words["at"] - words["seconds"], asked, _BEGIN)
    answered = f"Response : HTTP/1.1 {status} {_phrase(status)}".rstrip()
    if outcome != "relayed":
        answered = f"Error : {outcome}"
    yield _line(words["at"], f"Metadata for VM : {machine} {answered}", _END)


def _line(at: float, text: str, place: str) -> tuple[int, str]:
    """
    Write a line.

    @param at: Seconds since the epoch.
    @param place: The file, and the line in it.
    """
    micros = round(at * 1e6)
    return micros, f"{micros} MetadataTrace: {text} {place}"


def _phrase(status: int) -> str:
    """
    Look up what a status is called.
    """
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _place(function: Callable[..., Any]) -> str:
    """
    Tell where a function stands.
    """
    path = function.__module__.replace(".", "/") + ".py"
    return f"{path} {function.__code__.co_firstlineno}"


#: Where requests begin and end.
_BEGIN: Final = _place(ReverseProxyResource.answer)
_END: Final = _place(Exchange.done)


@define(eq=False)
class Contrail:
    """
    What the agent's pages say.

    @ivar _parts: What they say it of.
    @ivar _cleared: What the counters were when they were cleared.
    """

    _parts: Parts
    _cleared: Counters = field(factory=Counters, init=False)

    def metadata_info(self, _request: Request) -> bytes:
        """
        Tell what was counted.
        """
        now = Counters.of(self._parts).since(self._cleared)
        return message(
            "MetadataResponse",
            i32("metadata_server_port", 1, self._port()),
            i32("metadata_requests", 2, now.requests),
            i32("metadata_responses", 3, now.responses),
            i32("metadata_proxy_sessions", 4, now.sessions),
            i32("metadata_internal_errors", 5, now.errors),
        )

    def trace(self, request: Request) -> bytes:
        """
        Tell what was asked lately: all of it, or the oldest so many lines.

        The first parameter that has no name of theirs is taken for the buffer's name.
        """
        fields = _fields(request.args, ("buf_name", "count"))
        lines: list[str] = []
        if fields.get("buf_name") == BUFFER.encode():
            latest = self._parts.proxy.transactions.latest()
            lines = trace_lines(list(islice(latest, TRACED)))
        count = fields.get("count", b"0")
        if _NUMBER.match(count) and int(count):
            lines = lines[: int(count)]
        return message("SandeshTraceTextResponse", strings("traces", 1, lines))

    def buffers(self, _request: Request) -> bytes:
        """
        Tell what trace buffers there are.
        """
        names = [[string("trace_buf_name", 1, BUFFER)]]
        return message(
            "SandeshTraceBufferListResponse",
            structs("trace_buffer_list", 1, "SandeshTraceBufInfo", names),
        )

    def services(self, _request: Request) -> bytes:
        """
        Tell where Nova is; by name or by addresses, for each port on which it is.
        """
        endpoints = self._parts.reload.config.upstream.endpoints
        places: dict[tuple[str, int], list[str]] = {}
        for endpoint in endpoints:
            name = "" if _is_address(endpoint.host) else endpoint.host
            addresses = places.setdefault((name, endpoint.port), [])
            addresses += [] if name else [endpoint.host]
        return message(
            "LinkLocalServiceResponse",
            structs(
                "service_list",
                1,
                "LinkLocalServiceData",
                [_service(*place, found) for place, found in places.items()],
            ),
        )

    def clear(self, _request: Request) -> bytes:
        """
        Count from 0.
        """
        self._cleared = Counters.of(self._parts)
        return message("PktErrorResp")

    def _port(self) -> int:
        """
        Find the port of the first listener that has one.
        """
        listeners = self._parts.reload.config.listeners
        return next((one.port for one in listeners if hasattr(one, "port")), 0)


def _fields(args: Mapping[bytes, Sequence[bytes]], names: Sequence[str]) -> Any:
    """
    Read a query as the agent does.

    @param names: The names of the request's fields, the first one first.

    @return: The value of each that is there.
    """
    fields: dict[str, bytes] = {}
    for number, (name, values) in enumerate(args.items()):
        known = name.decode("latin-1")
        if known in names:
            fields[known] = values[0]
        elif number == 0:
            fields[names[0]] = values[0]
    return fields


def _service(name: str, port: int, addresses: Sequence[str]) -> list[str]:
    """
    Write where the metadata service leads to.
    """
    return [
        string("linklocal_service_name", 1, "metadata"),
        string("linklocal_service_ip", 2, _ADDRESS),
        i32("linklocal_service_port", 3, _PORT),
        string("ipfabric_dns_name", 4, name),
        strings("ipfabric_ip", 5, addresses),
        i32("ipfabric_port", 6, port),
    ]


def _is_address(host: str) -> bool:
    """
    Tell an address from a name.
    """
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class _Page(Resource):
    """
    A page that only tells something.
    """

    isLeaf = True

    def __init__(self, says: Callable[[Request], bytes]) -> None:
        """
        Remember what it tells.
        """
        super().__init__()
        self._says = says

    def render_GET(self, request: Request) -> bytes:
        """
        Tell it.
        """
        return self._say(request)

    def _say(self, request: Request) -> bytes:
        """
        Write it.
        """
        request.setHeader(b"content-type", b"text/xml")
        return self._says(request)


class _Clear(Resource):
    """
    The page that sets the counters to 0.
    """

    isLeaf = True

    def __init__(self, clear: Callable[[Request], bytes]) -> None:
        """
        Remember how.
        """
        super().__init__()
        self._clear = clear

    def render_POST(self, request: Request) -> bytes:
        """
        Do it.
        """
        request.setHeader(b"content-type", b"text/xml")
        return self._clear(request)


class _ClearByGet(_Clear):
    """
    The same, for tools that do as the agent did.
    """

    def render_GET(self, request: Request) -> bytes:
        """
        Do it, unless another site's page leads here.
        """
        if not is_own(asked_in(request)):
            request.setResponseCode(403)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return b"This was sent from another site's page.\n"
        return self.render_POST(request)

    def render_HEAD(self, request: Request) -> bytes:
        """
        Change nothing.
        """
        request.setHeader(b"content-type", b"text/xml")
        return b""


def make_contrail(parts: Parts, clear_by_get: bool) -> Mapping[bytes, IResource]:
    """
    Make the pages.

    @param parts: What they tell of.
    @param clear_by_get: Whether a GET may clear the counters.

    @return: By their names.
    """
    contrail = Contrail(parts)
    clear = _ClearByGet if clear_by_get else _Clear
    return {
        b"Snh_MetadataInfo": _Page(contrail.metadata_info),
        b"Snh_SandeshTraceRequest": _Page(contrail.trace),
        b"Snh_SandeshTraceBufferListRequest": _Page(contrail.buffers),
        b"Snh_LinkLocalServiceInfo": _Page(contrail.services),
        b"Snh_ClearAllInfo": clear(contrail.clear),
    }
