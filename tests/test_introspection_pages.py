"""
Tests for L{mdproxy.introspection.pages}.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

from jinja2 import Environment
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.introspection.guard import Guard
from mdproxy.introspection.markup import PROSE
from mdproxy.introspection.pages import (
    NAMES,
    Contents,
    Pages,
    make_pages,
    make_renderer,
)
from mdproxy.introspection.site import make_site
from mdproxy.introspection.view import View
from mdproxy.model import Caller
from tests.markup_reading import Document
from tests.operated import ADDRESS, BLUE, RED, A, B, Host, a_port
from tests.telling import NOW, TellingView

#: Every page, and how it begins where all is well.
PAGES = {
    "/": "Overview",
    "/networks": "Networks",
    "/networks?search=x&after=y": "Networks",
    "/instances": "Instances",
    "/instances/i-1": "Instance i-1",
    "/transactions": "Transactions",
    "/transactions?before=7&status=404": "Transactions",
    "/why": "Why did it get nothing?",
    "/why?address=10.0.0.5": "Why 10.0.0.5?",
    "/checks": "Checks",
}

#: Names that somebody may give to something to do harm.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "</title></table></details>",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066\0\x1b[2J",
    "&lt;b&gt;&#0;",
)


@lru_cache
def renderer() -> Environment:
    """
    Have what renders pages, once for all tests: compiling templates takes its time.
    """
    return make_renderer()


class PagesTestCase(SynchronousTestCase):
    """
    Asks the operator's site for pages.
    """

    def setUp(self) -> None:
        """
        Have nothing rendered yet.
        """
        self.view = TellingView()
        self.show(self.view)

    def show(self, view: View) -> None:
        """
        Make the site that shows a view.
        """
        pages = Pages(Contents(view, lambda: NOW), renderer())
        self.site = make_site({NAMES: pages.resources}, Guard(), Clock())

    def connect(self, line: str, *fields: str, body: str = "") -> StringTransport:
        """
        Ask, and see what comes.
        """
        transport = StringTransport()
        self.protocol: Any = self.site.buildProtocol(cast(Any, None))
        self.protocol.makeConnection(transport)
        head = [
            *(f"{line} HTTP/1.1", "Host: localhost", "Connection: close"),
            *(f"Content-Length: {len(body)}", *fields),
        ]
        self.protocol.dataReceived(("\r\n".join(head) + "\r\n\r\n" + body).encode())
        return transport

    def ask(
        self, line: str, *fields: str, body: str = ""
    ) -> tuple[int, dict[str, str], str]:
        """
        Ask.

        @return: Status, header fields by lower-case name, and body.
        """
        return read(self.connect(line, *fields, body=body))

    def page(self, target: str) -> Document:
        """
        Ask for a page, which must be without a fault.
        """
        _status, fields, body = self.ask(f"GET {target}")
        self.assertEqual(fields["content-type"], "text/html; charset=utf-8")
        document = Document.of(body)
        self.assertEqual(document.faults, [], target)
        return document


def read(transport: StringTransport) -> tuple[int, dict[str, str], str]:
    """
    Read an answer.
    """
    head, _empty, body = transport.value().partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = (line.partition(": ") for line in lines)
    return (
        int(first.split()[1]),
        {name.lower(): value for name, _colon, value in fields},
        body.decode(),
    )


class EveryPageTests(PagesTestCase):
    """
    What holds for each page.
    """

    def test_shown(self) -> None:
        """
        Each page has its own heading and title, and its place in the navigation.
        """
        titles = set()
        for target, heading in PAGES.items():
            document = self.page(target)
            (h1,) = document.all("h1")
            self.assertEqual(h1.text, heading)
            titles.add(document.all("title")[0].text)
            current = [e for e in document.all("a") if "aria-current" in e.attributes]
            self.assertEqual(len(current), 1, target)
        self.assertEqual(len(titles), len({*PAGES.values()}))

    def test_many(self) -> None:
        """
        However much there is, a page is not longer than anybody would read.
        """
        self.show(TellingView(many=5000))
        for target in PAGES:
            self.assertLess(len(self.page(target).all("tr")), 700, target)

    def test_hostile(self) -> None:
        """
        No name makes an element, an attribute, or a character that can't be seen.
        """
        for target in PAGES:
            self.show(TellingView("x", many=3))
            plain = self.page(target)
            for name in HOSTILE:
                self.show(TellingView(name, many=3))
                document = self.page(target)
                self.assertEqual(
                    [(e.tag, list(e.attributes)) for e in document.elements],
                    [(e.tag, list(e.attributes)) for e in plain.elements],
                    (target, name),
                )
                unseen = [c for c in document.text if not c.isprintable()]
                self.assertEqual(unseen, [])

    def test_hostile_questions(self) -> None:
        """
        What stands in a link makes nothing of the page either.
        """
        for name in ("search", "after", "address", "network", "instance", "before"):
            value = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E%00%ff%E2%80%AE"
            for target in ("/networks", "/instances", "/transactions", "/why"):
                document = self.page(f"{target}?{name}={value}")
                written = [e.attributes.get("src") for e in document.all("script")]
                self.assertIn(written, ([], ["/static/live.js"]))

    def test_long_names(self) -> None:
        """
        A name of ten kilobytes is cut.
        """
        for target in PAGES:
            self.show(TellingView("x" * 10_000))
            text = self.page(target).text
            self.assertNotIn("x" * (PROSE + 1), text, target)

    def test_head(self) -> None:
        """
        HEAD is GET without the body.
        """
        status, fields, body = self.ask("HEAD /checks")
        self.assertEqual((status, body), (200, ""))
        self.assertGreater(int(fields["content-length"]), 500)

    def test_nothing_else(self) -> None:
        """
        There is nothing below a page that is not one, and it says so as a page.
        """
        for target in ("/networks/x", "/why/", "/static/", "/static/page.html",
                       "/instances/nobody", "/instances/i/j"):  # fmt: skip
            status, _fields, body = self.ask(f"GET {target}")
            self.assertEqual(status, 404, target)
            self.assertEqual(Document.of(body).faults, [])

    def test_made(self) -> None:
        """
        All that is announced is made.
        """
        self.assertEqual(set(make_pages(self.view, lambda: NOW)), NAMES)

    def test_static(self) -> None:
        """
        The pages' own style and script are given as what they are.
        """
        for name, kind in (("style.css", "text/css"), ("live.js", "text/javascript")):
            status, fields, body = self.ask(f"GET /static/{name}")
            self.assertEqual(status, 200)
            self.assertEqual(fields["content-type"], f"{kind}; charset=utf-8")
            self.assertGreater(len(body), 1000)


class RealViewTests(PagesTestCase):
    """
    The pages of what the real view tells.
    """

    def test_shown(self) -> None:
        """
        All that it tells of whoever asked, was refused or watched can be shown.
        """
        host = Host()
        host.know(a_port(), a_port("i-b", B, addresses=None, parent="trunk"))
        host.lease(A, -60, "<b>vm</b>")
        host.see(A)
        host.see(B, "10.0.0.9")
        host.view.watch("i-a", 60)
        host.steps.note(1, Caller(RED, ADDRESS, A), None, "asks Nova", reason="agreed")
        host.ask()
        host.ask(B, "10.0.0.9", status=404)
        host.ask(None, "10.0.0.77", BLUE, status=0)
        self.show(host.view)
        host.know(a_port("i-c", "fa:16:3e:00:00:0c", addresses=frozenset({"10.0.0.8"})))
        for target in (
            *("/networks", "/instances", "/instances/i-a", "/instances/i-b"),
            *("/transactions", "/why?address=10.0.0.5", "/why?address=10.0.0.9"),
            *("/why?address=10.0.0.77", "/why?address=10.0.0.78", "/checks"),
        ):
            self.page(target)
        quiet = self.page("/why?address=10.0.0.8&network=red").text
        self.assertIn("not heard of lately, would be allowed", quiet)


class OverviewTests(PagesTestCase):
    """
    What the overview says.
    """

    def test_ready(self) -> None:
        """
        Whether all is well comes first, in words.
        """
        document = self.page("/")
        self.assertEqual(document.all("h2")[0].text.split(), ["\u2714", "Ready"])
        self.view.ready = False
        document = self.page("/")
        self.assertEqual(document.all("h2")[0].text.split(), ["\u2716", "Not", "ready"])
        self.assertIn("source vm-1 is failed", document.text)
        self.assertIn("Not ready", document.all("title")[0].text)

    def test_counted(self) -> None:
        """
        Refusals are told by reason, answers by status and outcome, whatever the kind of
        their networks; the most frequent first.
        """
        text = self.page("/").text
        self.assertIn("unknown 5 foreign-address 2", text)
        self.assertIn("200 relayed 12 \u2716 nothing sent vm-1 3", text)

    def test_findings(self) -> None:
        """
        What was found wrong is there, the worst first; on the page of all checks also
        what is well.
        """
        self.assertIn("access log off manhole 127.0.0.1:2222", self.page("/").text)
        findings = [e.text for e in self.page("/").all("li") if "vm-1 vm-1" in e.text]
        self.assertEqual([each.split()[2] for each in findings], ["secret:", "expiry:"])
        checks = [e.text for e in self.page("/checks").all("th")][4:]
        self.assertEqual(checks, ["secret", "expiry", "files"])

    def test_plots(self) -> None:
        """
        Rate and latency are drawn, and what is drawn is said in words.
        """
        said = [element.text for element in self.page("/").all("desc")]
        self.assertEqual(len(said), 2)
        self.assertIn("All requests: 0.59/s at the end", said[0])


class ListTests(PagesTestCase):
    """
    Networks, instances and transactions in pages.
    """

    def test_search(self) -> None:
        """
        What is searched for is handed on, and stays in the form.
        """
        for page in ("networks", "instances"):
            document = self.page(f"/{page}?search=10.0.&after=z")
            self.assertEqual(self.view.asked[-1], (page, "10.0.", "z", 100))
            (field,) = document.all("input")
            self.assertEqual(field.attributes["value"], "10.0.")

    def test_paged(self) -> None:
        """
        A list that is too long leads on to its next page, with the same search, and
        tells how long it is.
        """
        self.show(TellingView(many=2500))
        for page in ("networks", "instances"):
            document = self.page(f"/{page}?search=a+b")
            self.assertIn("2,500", document.text)
            (on,) = [e for e in document.all("a") if e.attributes.get("rel") == "next"]
            self.assertEqual(
                on.attributes["href"], f"/{page}?search=a+b&after=more+%26+more"
            )

    def test_filters(self) -> None:
        """
        Transactions are filtered by whatever the form says.
        """
        self.page("/transactions?instance=i&network=n&address=10.0.0.5&status=0")
        self.assertEqual(
            self.view.asked[-1], ("transactions", "i", "n", "10.0.0.5", 0, None)
        )

    def test_live(self) -> None:
        """
        The latest transactions name where news of them are told, with the same
        filters; earlier ones do not change.
        """
        live = "/api/v1/transactions/live"
        for target, expected in (
            ("/transactions", [live]),
            ("/transactions?instance=i&status=404", [f"{live}?instance=i&status=404"]),
            ("/transactions?before=7", []),
        ):
            tables = self.page(target).all("table")
            said = [table.attributes.get("data-live") for table in tables]
            self.assertEqual([each for each in said if each], expected)

    def test_bad_filters(self) -> None:
        """
        What can't be looked for is said to be so.
        """
        for query, words in (
            ("status=many", "status has to be a number"),
            ("before=-1", "before has to be a number"),
            ("address=x", "'x' is no IP address"),
        ):
            status, _fields, body = self.ask(f"GET /transactions?{query}")
            self.assertEqual(status, 400)
            self.assertIn(words, Document.of(body).text)


class WhyTests(PagesTestCase):
    """
    What is said of an address.
    """

    def test_account_first(self) -> None:
        """
        Of each network a readable account comes first, then the evidence.
        """
        self.view = TellingView(many=2)
        self.show(self.view)
        document = self.page("/why?address=10.0.0.5&network=n")
        self.assertEqual(self.view.asked, [("why", "10.0.0.5", "n")])
        text = document.text
        places = [
            text.index(words)
            for words in ("may be on 2", "is another's", "The evidence on", "Row 5")
        ]
        self.assertEqual(places, sorted(places))

    def test_long_account(self) -> None:
        """
        An account is not cut as a name is.
        """
        self.assertIn("Do something. " * 50, self.page("/why?address=10.0.0.5").text)

    def test_no_address(self) -> None:
        """
        What is no address is said to be so beside the form, which keeps it.
        """
        status, _fields, body = self.ask("GET /why?address=vm%3C1")
        document = Document.of(body)
        self.assertEqual((status, document.faults), (400, []))
        self.assertIn("is no IP address", document.text)
        self.assertEqual(document.all("input")[0].attributes["value"], "vm<1")


class InstanceTests(PagesTestCase):
    """
    One instance's story.
    """

    def test_story(self) -> None:
        """
        Its ports, leases, verdicts, requests and steps are there.
        """
        document = self.page("/instances/i-1")
        captions = [element.text for element in document.all("caption")]
        self.assertEqual(
            captions,
            [
                "Its ports",
                "Leases of its addresses",
                "The evidence on 10.0.0.5, as it is now",
                "The latest requests of 10.0.0.5 on vm-1",
                "What it asked lately, the latest first",
                "Steps of its requests while it was watched",
            ],
        )

    def test_watch(self) -> None:
        """
        It is watched by the form on its page, for as long as that says.
        """
        for body, seconds in (("seconds=60", 60), ("seconds=", 600), ("seconds=0", 0)):
            status, fields, _body = self.ask(
                "POST /instances/i-1",
                "Origin: http://localhost",
                "Content-Type: application/x-www-form-urlencoded",
                body=body,
            )
            self.assertEqual(status, 303)
            self.assertEqual(fields["location"], "/instances/i-1#steps")
            self.assertEqual(self.view.asked[-1], ("watch", "i-1", seconds))
        self.assertIn("12 s more", self.page("/instances/watched").text)

    def test_not_watched(self) -> None:
        """
        What can't be done is said, and nothing is done.
        """
        for body, is_full, expected in (("seconds=x", False, 400), ("", True, 409)):
            self.view.is_full = is_full
            status, _fields, text = self.ask(
                "POST /instances/i-1",
                "X-Mdproxy: 1",
                "Content-Type: application/x-www-form-urlencoded",
                body=body,
            )
            self.assertEqual(status, expected)
            self.assertIn("Nothing was changed", Document.of(text).text)
        self.assertEqual(self.view.asked, [])
