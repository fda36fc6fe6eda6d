# -*- test-case-name: tests.test_introspection_pages -*-
"""
The operator's pages: L{View<mdproxy.introspection.view.View>}'s values as HTML.

All of them work without JavaScript.  To import the template library and to compile the
templates takes two tenths of a second: L{mdproxy.introspection.site} has that done in a
thread, when an operator first looks at a page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote

from attrs import frozen
from jinja2 import Environment
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from mdproxy.introspection.markup import make_environment
from mdproxy.introspection.plots import plots_of
from mdproxy.introspection.site import BadForm, form_of
from mdproxy.introspection.view import View
from mdproxy.model import Malformed
from mdproxy.steps import TooManyWatched

#: The first segments of the pages' paths.
NAMES: Final = frozenset(
    {b"", b"networks", b"instances", b"transactions", b"why", b"checks", b"static"}
)

#: So many rows of a list are on a page, and on one that is about something else.
ROWS: Final = 100
FEW: Final = 10

#: So many characters of a value that came in a query are read.
_LONGEST: Final = 300

#: For so many seconds an instance is watched if nobody says.
_WATCHED: Final = 600.0

#: What stands in C{static/}, with its type; nothing else is given away.
_STATIC: Final = {"style.css": "text/css", "live.js": "text/javascript"}

#: What a form or a link asks: the first value of each name, without blanks around it.
Query = Mapping[str, str]


class BadQuery(ValueError):
    """
    A form was not filled in as it has to be; the text says what is wrong.
    """


@frozen
class Shown:
    """
    What a page shows.

    @ivar template: The template's name, without its suffix.
    @ivar values: What it is filled with.
    @ivar status: The status.
    """

    template: str
    values: Mapping[str, Any]
    status: int = 200


#: Answers a question.
Show = Callable[[Query], Shown]


@frozen
class Contents:
    """
    What is on which page.

    @ivar _view: What is known.
    @ivar _wall: Seconds since the epoch.
    """

    _view: View
    _wall: Callable[[], float]

    def overview(self, query: Query) -> Shown:
        """
        Show whether all is well, and how it goes.
        """
        status, history = self._view.status(), self._view.history()
        samples, ended = history["samples"], status["transactions"]
        return Shown(
            "overview",
            {
                "status": status,
                "now": status["now"],
                "latest": samples[-1] if samples else None,
                "plots": plots_of(history),
                "refusals": _most(ended["refusals"], "reason"),
                "answers": _most(ended["tally"], "status", "outcome"),
                "sources": [_source(source) for source in status["sources"]],
                "findings": sorted(status["checks"]["findings"], key=_weight),
            },
        )

    def networks(self, query: Query) -> Shown:
        """
        Show the networks that are listened on, or those that are searched for.
        """
        return self._found("networks", self._view.networks, query)

    def instances(self, query: Query) -> Shown:
        """
        Show the instances that are known, or those that are searched for.
        """
        return self._found("instances", self._view.instances, query)

    def _found(self, template: str, find: Any, query: Query) -> Shown:
        """
        Show a page of what is found.
        """
        search, after = query.get("search", ""), query.get("after")
        found = find(search, after, ROWS)
        return Shown(template, {"found": found, "search": search, "after": after})

    def instance(self, instance: str) -> Shown:
        """
        Show one instance's story.
        """
        story = self._view.instance(instance)
        if story is None:
            return self.missing({})
        steps = [_step(step) for step in reversed(story["steps"])]
        watched = self._view.steps(instance)["watched"].get(instance)
        values = {"story": story, "steps": steps, "watched": watched}
        return Shown("instance", {**values, "now": self._wall()})

    def transactions(self, query: Query) -> Shown:
        """
        Show what was asked lately, or those that are filtered for.
        """
        names = ("instance", "network", "address", "status")
        asked = {name: query.get(name, "") for name in names}
        values = {"asked": asked, "now": self._wall(), "before": query.get("before")}
        try:
            found = self._view.transactions(
                asked["instance"] or None,
                asked["network"] or None,
                asked["address"] or None,
                _number(query, "status"),
                ROWS,
                _number(query, "before"),
            )
        except (Malformed, BadQuery) as error:
            values |= {"found": None, "problem": str(error)}
            return Shown("transactions", values, 400)
        return Shown("transactions", {**values, "found": found, "problem": None})

    def why(self, query: Query) -> Shown:
        """
        Show what the proxy makes of an address, and why; without one, the form.
        """
        address, network = query.get("address", ""), query.get("network", "")
        values = {"address": address, "network": network, "now": self._wall()}
        found, problem = None, None
        if address:
            try:
                found = self._view.why(address, network or None)
            except Malformed as error:
                problem = str(error)
        values |= {"found": found, "problem": problem}
        return Shown("why", values, 400 if problem else 200)

    def checks(self, query: Query) -> Shown:
        """
        Show what mdproxy found out about itself.
        """
        findings = sorted(self._view.checks(), key=_weight)
        values = {"checks": findings, "ready": self._view.readiness()}
        return Shown("checks", values)

    def watch(self, instance: str, seconds: str) -> None:
        """
        Have an instance's requests written down step by step.

        @param seconds: For how long, as a form says it; 0: no more; empty: as usual.

        @raise BadQuery: If that is no number.
        """
        asked = _number({"seconds": seconds}, "seconds")
        self._view.watch(instance, _WATCHED if asked is None else asked)

    def refused(self, error: Exception) -> Shown:
        """
        Show that something can't be done.
        """
        if isinstance(error, TooManyWatched):
            text = "Too many instances are watched; wait until one is watched no more."
            return Shown("refused", {"problem": text}, 409)
        return Shown("refused", {"problem": str(error)}, 400)

    def missing(self, query: Query) -> Shown:
        """
        Show that there is nothing.
        """
        return Shown("missing", {}, 404)


def _source(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """
    Divide what a source says of itself into what is said of all and the rest.
    """
    ages = ("last_read_age", "last_event_age", "heard_age", "told_age")
    age = next((source[each] for each in ages if source.get(each) is not None), None)
    common = ("name", "kind", "state", "problem")
    said = {name: source[name] for name in common}
    rest = {
        name.replace("_", " "): value
        for name, value in source.items()
        if name not in (*common, *ages)
    }
    return {**said, "age": age, "rest": rest}


def _most(
    counted: Sequence[Mapping[str, Any]], *names: str
) -> Sequence[Mapping[str, Any]]:
    """
    Add up what was counted by other things, too, and put what there is most of first.

    @param names: By what it is told apart.
    """
    counts: Counter[tuple[Any, ...]] = Counter()
    for each in counted:
        counts[tuple(each[name] for name in names)] += each["count"]
    return [
        {**dict(zip(names, key, strict=True)), "count": count}
        for key, count in counts.most_common()
    ]


def _weight(finding: Mapping[str, Any]) -> int:
    """
    Tell where in a list a finding stands: what is wrong first.
    """
    return ("wrong", "note", "ok").index(finding["verdict"])


def _step(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """
    Divide a step into what is said of all and the rest.
    """
    names = ("request_id", "at", "network", "address", "mac", "instance", "step")
    common = {name: step[name] for name in names}
    rest = {name: value for name, value in step.items() if name not in common}
    return {**common, "rest": rest}


def _number(query: Query, name: str) -> int | None:
    """
    Read a number.

    @return: C{None} where the field is empty.

    @raise BadQuery: If it is none.
    """
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise BadQuery(f"{name} has to be a number")
    return int(text)


def query_of(request: Request) -> Query:
    """
    Read what a request asks: what is no UTF-8 can't be meant.
    """
    arguments: Mapping[bytes, list[bytes]] = request.args or {}
    return {
        name.decode("utf-8", "replace"): _first(values)
        for name, values in arguments.items()
    }


def _first(values: list[bytes]) -> str:
    """
    Read the first value of a field, as much of it as anybody would mean.
    """
    return values[0].decode("utf-8", "replace").strip()[:_LONGEST]


class Page(Resource):
    """
    A page.
    """

    def __init__(self, site: Pages, current: str, show: Show) -> None:
        """
        Remember what to show.

        @param current: The page's place in the navigation.
        """
        super().__init__()
        self._site, self._current, self._show = site, current, show

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        Have nothing below it.
        """
        return Page(self._site, "", self._site.contents.missing)

    def render_GET(self, request: Request) -> bytes:
        """
        Render it.
        """
        return self._site.write(request, self._show(query_of(request)), self._current)


class Instances(Page):
    """
    The page of all instances, and below it one for each.
    """

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        Find the page of one instance.
        """
        return Instance(self._site, path.decode("utf-8", "replace")[:_LONGEST])


class Instance(Page):
    """
    One instance's page.  POST has its requests written down step by step for a while.
    """

    def __init__(self, site: Pages, instance: str) -> None:
        """
        Remember whose it is.
        """
        super().__init__(site, "instances", lambda _: site.contents.instance(instance))
        self._instance = instance

    def render_POST(self, request: Request) -> bytes:
        """
        Watch the instance, and show its page again (303, RFC 9110 section 15.4.4).
        """
        contents = self._site.contents
        try:
            contents.watch(self._instance, form_of(request).get("seconds", ""))
        except (BadForm, BadQuery, TooManyWatched) as error:
            return self._site.write(request, contents.refused(error), self._current)
        request.setResponseCode(303)
        place = f"/instances/{quote(self._instance, safe='')}#steps"
        request.setHeader(b"location", place.encode())
        return b""


class Static(Resource):
    """
    A file that goes with the pages.
    """

    isLeaf = True

    def __init__(self, name: str, kind: str) -> None:
        """
        Read it.
        """
        super().__init__()
        self._body = (
            files("mdproxy.introspection").joinpath("static", name).read_bytes()
        )
        self._kind = f"{kind}; charset=utf-8".encode()

    def render_GET(self, request: Request) -> bytes:
        """
        Give it.
        """
        request.setHeader(b"content-type", self._kind)
        return self._body


@frozen(eq=False)
class Pages:
    """
    All pages.

    @ivar contents: What is on them.
    @ivar _renderer: What renders them.
    """

    contents: Contents
    _renderer: Environment

    def write(self, request: Request, shown: Shown, current: str) -> bytes:
        """
        Write what is shown as HTML.

        @param current: The page's place in the navigation.
        """
        request.setResponseCode(shown.status)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        template = self._renderer.get_template(f"{shown.template}.html")
        return template.render(shown.values, current=current).encode()

    def resources(self) -> Mapping[bytes, IResource]:
        """
        Make a resource for each, by the first segment of its path.
        """
        contents = self.contents
        made: dict[bytes, IResource] = {
            b"": Page(self, "overview", contents.overview),
            b"networks": Page(self, "networks", contents.networks),
            b"instances": Instances(self, "instances", contents.instances),
            b"transactions": Page(self, "transactions", contents.transactions),
            b"why": Page(self, "why", contents.why),
            b"checks": Page(self, "checks", contents.checks),
        }
        made[b"static"] = static = Page(self, "", contents.missing)
        for name, kind in _STATIC.items():
            static.putChild(name.encode(), Static(name, kind))
        return made


def make_renderer() -> Environment:
    """
    Make what renders the pages.
    """
    return make_environment(few=FEW, rows=ROWS)


def make_pages(view: View, wall: Callable[[], float]) -> Mapping[bytes, IResource]:
    """
    Make the operator's pages.

    @param view: What is known.
    @param wall: Seconds since the epoch.

    @return: Resources by the first segment of their paths: L{NAMES}.
    """
    return Pages(Contents(view, wall), make_renderer()).resources()
