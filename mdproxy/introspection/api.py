# -*- test-case-name: tests.test_introspection_api -*-
"""
The operator's API: what L{View<mdproxy.introspection.view.View>} tells, as JSON.

All that there is stands in one table, L{OPERATIONS}; C{openapi.json} beside this file
is made of it (L{mdproxy.introspection.openapi}).  Within a version nothing is taken
away and nothing changes its meaning; what is added has a new name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from attrs import evolve, frozen
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from mdproxy.introspection.answers import refuse, say
from mdproxy.introspection.guard import media_type
from mdproxy.introspection.live import Live, Tail
from mdproxy.introspection.parameters import (
    BadParameter,
    Parameter,
    read_form,
    read_json,
    read_query,
)
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.site import BadForm, GuardedRequest, form_of
from mdproxy.introspection.view import MOST, PAGE, View
from mdproxy.model import Malformed
from mdproxy.steps import LONGEST, TooManyWatched

#: Answers an operation; C{None}: there is no such thing.
Answer = Callable[[View, Mapping[str, Any]], Any]

_INSTANCE: Final = Parameter("instance", "An instance's id.", "id")
_NETWORK: Final = Parameter(
    "network", "A link, or what inventories call its network.", most=300
)
_ADDRESS: Final = Parameter(
    "address",
    "An IPv4 or IPv6 address in any spelling, perhaps with a zone.",
    "address",
    most=64,
)
_STATUS: Final = Parameter(
    "status",
    "The status that the instance was told; 0: nothing was sent.",
    "integer",
    most=599,
)
_SEARCH: Final = Parameter(
    "search", "What must be in an item, in any case.", most=100, default=""
)
_AFTER: Final = Parameter("after", "The `next` of the page before.", most=400)
_LIMIT: Final = Parameter(
    "limit", "How many items at most.", "integer", least=1, most=MOST, default=PAGE
)
_BEFORE: Final = Parameter(
    "before",
    "The `next` of the page before.",
    "integer",
    least=1,
    most=2**53 - 1,
)
#: By which requests are found.
FILTERS: Final = (_INSTANCE, _NETWORK, _ADDRESS, _STATUS)


@frozen
class Operation:
    """
    Something that can be asked.

    @ivar path: Its path; C{{instance}} stands for an id.
    @ivar text: What it does, in a sentence.
    @ivar shape: What its answers look like, by the name that the schema has for it.
    @ivar answer: Answers it.
    @ivar parameters: Those of the query; of a POST, the fields of its body.
    @ivar statuses: The statuses of answers, apart from those to bad requests.
    @ivar method: C{GET}, which goes with HEAD; or C{POST}.
    """

    path: str
    text: str
    shape: str
    answer: Answer
    parameters: Sequence[Parameter] = ()
    statuses: Sequence[int] = (200,)
    method: str = "GET"


class NotNow(Exception):
    """
    The answer has a status of its own.

    @ivar status: Which.
    @ivar said: What is told.
    """

    def __init__(self, status: int, said: Any) -> None:
        """
        Say so.
        """
        super().__init__(status)
        self.status = status
        self.said = said


def _ready(view: View, _given: Mapping[str, Any]) -> Any:
    """
    Tell whether instances are served.
    """
    said = view.readiness()
    if not said["ready"]:
        raise NotNow(503, said)
    return said


def _watch(view: View, given: Mapping[str, Any]) -> Any:
    """
    Begin or end to watch somebody.
    """
    try:
        view.watch(given["instance"], given["seconds"])
    except TooManyWatched:
        problem = "too many are watched: end one with seconds=0"
        raise NotNow(409, {"error": problem, "parameter": None}) from None
    return {"watched": view.steps()["watched"]}


def _clear(view: View, _given: Mapping[str, Any]) -> Any:
    """
    Forget the latest requests and steps.
    """
    view.clear()
    return {"cleared": True}


#: All that there is, apart from the live tail and the description of it all.
OPERATIONS: Final = (
    Operation(
        "/api/v1/status",
        "What every part of mdproxy says of itself.",
        "Status",
        lambda view, _given: view.status(),
    ),
    Operation(
        "/api/v1/why",
        "What mdproxy makes of an address, and why.",
        "Why",
        lambda view, given: view.why(**given),
        (evolve(_ADDRESS, required=True), _NETWORK),
    ),
    Operation(
        "/api/v1/networks",
        "The networks that are listened on, in pages.",
        "Networks",
        lambda view, given: view.networks(**given),
        (_SEARCH, _AFTER, _LIMIT),
    ),
    Operation(
        "/api/v1/instances",
        "The instances whose ports are known, in pages; searched by id, project, MAC, "
        "address, network and host name.",
        "Instances",
        lambda view, given: view.instances(**given),
        (_SEARCH, _AFTER, _LIMIT),
    ),
    Operation(
        "/api/v1/instances/{instance}",
        "One instance's story.",
        "Story",
        lambda view, given: view.instance(**given),
        statuses=(200, 404),
    ),
    Operation(
        "/api/v1/transactions",
        "What was asked lately and what came of it, the latest first.",
        "Transactions",
        lambda view, given: view.transactions(**given),
        (*FILTERS, _LIMIT, _BEFORE),
    ),
    Operation(
        "/api/v1/steps",
        "The steps of the requests of those who are watched.",
        "Steps",
        lambda view, given: view.steps(given["instance"]),
        (Parameter("instance", "An instance's id, or an address."),),
    ),
    Operation(
        "/api/v1/history",
        "Rates and latencies of the last hour.",
        "History",
        lambda view, _given: view.history(),
    ),
    Operation(
        "/api/v1/checks",
        "What mdproxy found out about itself and its surroundings.",
        "Findings",
        lambda view, _given: view.checks(),
    ),
    Operation(
        "/api/v1/facts",
        "The ports, leases and neighbours that are known.",
        "Facts",
        lambda view, given: view.facts(**given),
        (_NETWORK, _LIMIT),
    ),
    Operation(
        "/api/v1/watch",
        "Have the steps of somebody's requests written down for a while.",
        "Watched",
        _watch,
        (
            Parameter(
                "instance", "An instance's id, or an address.", least=1, required=True
            ),
            Parameter(
                "seconds",
                "For how long; 0: no more.",
                "number",
                most=int(LONGEST),
                default=600.0,
            ),
        ),
        (200, 409),
        "POST",
    ),
    Operation(
        "/api/v1/clear",
        "Forget the latest requests and steps; what is counted stays.",
        "Cleared",
        _clear,
        method="POST",
    ),
    Operation(
        "/readyz",
        "Whether instances are served as they should be.",
        "Readiness",
        _ready,
        statuses=(200, 503),
    ),
    Operation(
        "/livez",
        "That mdproxy answers at all.",
        "Liveness",
        lambda _view, _given: {"live": True},
    ),
)


class Nothing(Resource):
    """
    What there is where nothing is.
    """

    def render(self, request: Request) -> bytes:
        """
        Say so.
        """
        return say(request, 404, {"error": "there is no such thing", "parameter": None})

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        Have nothing below, either.
        """
        return self


class _Operated(Resource):
    """
    An operation's place on the site.

    @ivar _fixed: What its path says, by parameter.
    """

    def __init__(
        self,
        operation: Operation,
        view: View,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Remember what it does.
        """
        super().__init__()
        self._operation = operation
        self._view = view
        self._fixed = fixed or {}

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        Have nothing below.
        """
        return Nothing()

    def _read(self, request: Request) -> dict[str, Any]:
        """
        Read what is asked.

        @raise BadParameter: If it can't be.
        """
        query = request.uri.partition(b"?")[2]
        return read_query(query, self._operation.parameters)

    def _answer(self, request: Request) -> bytes:
        """
        Answer.
        """
        try:
            given = {**self._read(request), **self._fixed}
            said = self._operation.answer(self._view, given)
        except BadParameter as error:
            return refuse(request, str(error), error.name)
        except BadForm as error:
            return refuse(request, str(error))
        except Malformed:
            return refuse(request, "address has to be an IP address", "address")
        except NotNow as not_now:
            return say(request, not_now.status, not_now.said)
        if said is None:
            return Nothing().render(request)
        return say(request, 200, said)


class Reading(_Operated):
    """
    An operation that changes nothing.
    """

    def render_GET(self, request: Request) -> bytes:
        """
        Answer.
        """
        return self._answer(request)


class Changing(_Operated):
    """
    An operation that changes something; whether it may be asked at all is the site's.
    """

    def _read(self, request: Request) -> dict[str, Any]:
        """
        Read what is asked; a query counts for nothing here.
        """
        if b"?" in request.uri:
            raise BadParameter(None, "parameters belong into the body")
        assert isinstance(request, GuardedRequest)
        types = request.requestHeaders.getRawHeaders(b"content-type", [])
        if media_type(types) == b"application/json":
            return read_json(request.body, self._operation.parameters)
        return read_form(form_of(request), self._operation.parameters)

    def render_POST(self, request: Request) -> bytes:
        """
        Answer.
        """
        return self._answer(request)


class Instances(Reading):
    """
    The list of instances, and below it each one's story.
    """

    def __init__(self, listing: Operation, story: Operation, view: View) -> None:
        """
        Remember both.
        """
        super().__init__(listing, view)
        self._story = story

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        Find an instance by its id, which is all of the rest of the path.
        """
        try:
            instance = path.decode()
        except UnicodeDecodeError:
            return Nothing()
        return Reading(self._story, self._view, {"instance": instance})


class Description(Resource):
    """
    What there is, for programs to read (OpenAPI 3.1).
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """
        Write it.
        """
        said = files("mdproxy.introspection").joinpath("openapi.json").read_bytes()
        request.setHeader(b"content-type", b"application/json")
        return said


def make_api(parts: Parts, view: View) -> Mapping[bytes, IResource]:
    """
    Make the resources of the API.

    @param parts: Whose requests can be followed.
    @param view: What is told.

    @return: By the first segment of their paths.
    """
    by_path = {each.path: each for each in OPERATIONS}
    version = Nothing()
    for path, operation in by_path.items():
        parent, _, name = path.rpartition("/")
        if parent != "/api/v1":
            continue
        kind = Changing if operation.method == "POST" else Reading
        version.putChild(name.encode(), kind(operation, view))
    listing = by_path["/api/v1/instances"]
    story = by_path["/api/v1/instances/{instance}"]
    version.putChild(b"instances", Instances(listing, story, view))
    transactions = Reading(by_path["/api/v1/transactions"], view)
    tail = Tail(parts.proxy.transactions, parts.clock)
    transactions.putChild(b"live", Live(tail, view.wanted, FILTERS))
    version.putChild(b"transactions", transactions)
    version.putChild(b"openapi.json", Description())
    api = Nothing()
    api.putChild(b"v1", version)
    return {
        b"api": api,
        b"readyz": Reading(by_path["/readyz"], view),
        b"livez": Reading(by_path["/livez"], view),
    }
