"""
Tests for L{mdproxy.introspection.api} and L{mdproxy.introspection.answers}.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from mdproxy.introspection.api import OPERATIONS, make_api
from mdproxy.introspection.guard import Guard
from mdproxy.introspection.site import make_site
from mdproxy.steps import MOST_WATCHED
from tests.operated import ADDRESS, RED, A, B, Host, a_link, a_port
from tests.secrecy import SecrecyTestCase
from tests.visiting import Line, Said

_MARK = "X-Mdproxy: 1\r\n"
_FORM = _MARK + "Content-Type: application/x-www-form-urlencoded\r\n"
_JSON = _MARK + "Content-Type: application/json\r\n"


class ApiTestCase(SecrecyTestCase):
    """
    A site with the API of a host.
    """

    def setUp(self) -> None:
        """
        Have an instance, which has asked.
        """
        super().setUp()
        self.host = Host()
        self.host.know(a_port())
        self.host.see(A)
        self.host.ask()
        self.site = make_site(
            {
                frozenset({b"api", b"livez", b"readyz"}): lambda: make_api(
                    self.host.parts, self.host.view
                )
            },
            Guard(),
            self.host.clock,
        )

    def ask(
        self, target: str, method: str = "GET", fields: str = "", body: str = ""
    ) -> Said:
        """
        Ask.
        """
        if body:
            fields += f"Content-Length: {len(body.encode())}\r\n"
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}"
        return Said.read(Line.to(self.site).say(head.encode()))

    def read(self, target: str, status: int = 200, **how: str) -> Any:
        """
        Ask for something.

        @return: The JSON that it is.
        """
        said = self.ask(target, **how)
        self.assertEqual(said.status, status, said.body)
        self.assertEqual(said.fields[b"content-type"], b"application/json")
        self.assertEqual(said.fields[b"cache-control"], b"no-store")
        self.assertEqual(said.fields[b"x-content-type-options"], b"nosniff")
        return json.loads(said.body)

    def refused(self, target: str, **how: str) -> Any:
        """
        Have something refused.

        @return: The parameter that is to blame.
        """
        said = self.read(target, 400, **how)
        self.assertEqual(list(said), ["error", "parameter"])
        return said["parameter"]


class ReadingTests(ApiTestCase):
    """
    What can be read.
    """

    def test_views(self) -> None:
        """
        Each is what the view tells, with the parameters handed on.
        """
        view = self.host.view
        for target, said in (
            ("status", view.status()),
            ("why?address=10.0.0.5", view.why(ADDRESS)),
            (f"why?address={ADDRESS}&network={RED}", view.why(ADDRESS, RED)),
            ("networks", view.networks()),
            ("networks?search=bl&limit=1", view.networks("bl", None, 1)),
            ("networks?limit=1&after=blue+l-blue", view.networks("", "blue l-blue", 1)),
            ("instances", view.instances()),
            ("instances?search=nobody", view.instances("nobody")),
            ("instances/i-a", view.instance("i-a")),
            ("transactions", view.transactions()),
            ("transactions?status=404", view.transactions(status=404)),
            ("transactions?before=1", view.transactions(before=1)),
            (f"transactions?address={ADDRESS}&instance=i-a&network=red", None),
            ("steps", view.steps()),
            ("history", view.history()),
            ("checks", view.checks()),
            ("facts?network=red&limit=5", view.facts("red", 5)),
        ):
            read = self.read(f"/api/v1/{target}")
            if said is not None:
                self.assertEqual(read, json.loads(json.dumps(said)), target)
            else:
                self.assertEqual(len(read["items"]), 1)

    def test_all(self) -> None:
        """
        Everything that there is can be asked for where the table says, and nowhere is
        anything else.
        """
        for operation in OPERATIONS:
            path = operation.path.replace("{instance}", "i-a")
            if operation.method == "GET":
                query = "?address=::1" if path.endswith("why") else ""
                self.assertEqual(self.ask(path + query).status, 200, path)
                self.assertEqual(self.ask(path, "HEAD").body, b"")
                self.assertEqual(self.ask(path, "POST", _MARK).status, 405, path)
            else:
                self.assertEqual(self.ask(path).status, 405, path)
        for path in (
            *("/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/status", "/api/v1/x"),
            *("/api/v1/status/", "/api/v1/status/x", "/api/v1/instances/i-a/x"),
            *("/readyz/x", "/api/v1/transactions/x", "/api/v1/%ff", "/api/v1/Status"),
        ):
            self.assertEqual(
                self.read(path, 404)["error"], "there is no such thing", path
            )

    def test_head(self) -> None:
        """
        HEAD is GET without the body.
        """
        said, head = self.ask("/api/v1/checks"), self.ask("/api/v1/checks", "HEAD")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.fields[b"content-length"], b"%d" % len(said.body))
        self.assertEqual(head.fields[b"content-type"], b"application/json")

    def test_instance(self) -> None:
        """
        An instance is found by its id however that is written; nobody is 404.
        """
        self.assertEqual(self.read("/api/v1/instances/i%2Da")["instance"], "i-a")
        for name in ("nobody", "i-a%00", "%ff", "..", quote("<script>"), "i-a?x=1"):
            status = 400 if "?" in name else 404
            self.read(f"/api/v1/instances/{name}", status)

    def test_refused(self) -> None:
        """
        What can't be asked is refused by the parameter's name, and never answered with
        everything; nothing that was asked is repeated.
        """
        for query, name in (
            ("why", "address"),
            ("why?address=", "address"),
            ("why?address=zqzq", "address"),
            ("why?address=10.0.0.5/24", "address"),
            ("why?address=" + "1" * 65, "address"),
            ("why?address=::1&network=" + "x" * 600, "network"),
            ("transactions?status=all", "status"),
            ("transactions?status=600", "status"),
            ("transactions?limit=0", "limit"),
            ("transactions?limit=1001", "limit"),
            ("transactions?before=0", "before"),
            ("transactions?before=1&before=2", "before"),
            ("transactions?address=zqzq", "address"),
            ("transactions?instnace=zqzq", None),
            ("status?zqzq", None),
            ("networks?search=%ff", "search"),
            ("facts?limit=zqzq", "limit"),
        ):
            said = self.ask(f"/api/v1/{query}")
            self.assertEqual(said.status, 400, query)
            self.assertEqual(json.loads(said.body)["parameter"], name, query)
            self.assertNotIn(b"zqzq", said.body)

    def test_bounded(self) -> None:
        """
        No answer is longer than so many items.
        """
        self.host.links[:] = [a_link(f"n{n}") for n in range(1200)]
        self.assertEqual(len(self.read("/api/v1/networks?limit=1000")["items"]), 1000)
        self.assertEqual(len(self.read("/api/v1/networks")["items"]), 100)

    def test_hostile(self) -> None:
        """
        Whatever stands in a host name or a target is JSON text and nothing else.
        """
        name = '</script><script>alert(1)</script>\u202e\x1b[2J"\\'
        self.host.lease(A, hostname=name)
        self.host.ask(target=b'/\xff\x00"<b>')
        story = self.ask("/api/v1/instances/i-a")
        self.assertTrue(story.body.isascii())
        self.assertNotIn(b"\x1b", story.body)
        self.assertEqual(json.loads(story.body)["leases"][0]["hostname"], name)


class HealthTests(ApiTestCase):
    """
    What is for monitoring.
    """

    def test_live(self) -> None:
        """
        Whoever answers is alive.
        """
        self.assertEqual(self.read("/livez"), {"live": True})

    def test_ready(self) -> None:
        """
        Readiness is told by the status, and in sentences.
        """
        self.assertEqual(
            self.read("/readyz"), {"ready": True, "reasons": [], "checks": []}
        )
        self.host.listener.problem = "port 80 is taken"
        said = self.read("/readyz", 503)
        self.assertEqual(said["reasons"], ["listener listener: port 80 is taken"])


class ChangingTests(ApiTestCase):
    """
    What changes something.
    """

    def test_watch(self) -> None:
        """
        Somebody is watched by a form or by JSON, for a while or no more.
        """
        self.read("/api/v1/watch", method="POST", fields=_FORM, body="instance=i-a")
        said = self.read(
            "/api/v1/watch",
            method="POST",
            fields=_JSON,
            body='{"instance": "10.0.0.9", "seconds": 1.5}',
        )
        self.assertEqual(said, {"watched": {"i-a": 600.0, "10.0.0.9": 1.5}})
        self.read(
            "/api/v1/watch", method="POST", fields=_FORM, body="instance=i-a&seconds=0"
        )
        self.assertEqual(list(self.read("/api/v1/steps")["watched"]), ["10.0.0.9"])

    def test_watch_refused(self) -> None:
        """
        What can't be watched is refused by the parameter's name.
        """
        for body, name in (
            ("seconds=5", "instance"),
            ("instance=i-a&seconds=5000", "seconds"),
            ("instance=i-a&seconds=inf", "seconds"),
            ("instance=" + "x" * 300, "instance"),
            ("instance=i-a&secs=5", None),
        ):
            how = {"method": "POST", "fields": _FORM, "body": body}
            self.assertEqual(self.refused("/api/v1/watch", **how), name, body)
        for body, name in (
            *(("[]", None), ("{", None), ("null", None)),
            *(('{"instance": {}}', "instance"), ('{"instance": false}', "instance")),
            *(('{"seconds": 5}', "instance"), ("{}", "instance")),
            ('{"instance": "i-a", "seconds": "5"}', "seconds"),
        ):
            how = {"method": "POST", "fields": _JSON, "body": body}
            self.assertEqual(self.refused("/api/v1/watch", **how), name, body)
        how = {"method": "POST", "fields": _FORM, "body": "instance=i-b"}
        self.assertIsNone(self.refused("/api/v1/watch?instance=i-a", **how))
        self.assertEqual(self.read("/api/v1/steps")["watched"], {})

    def test_too_many(self) -> None:
        """
        Where too many are watched already that is said.
        """
        for number in range(MOST_WATCHED):
            self.host.view.watch(f"i-{number}", 60)
        how = {"method": "POST", "fields": _FORM, "body": "instance=i-more"}
        said = self.read("/api/v1/watch", 409, **how)
        self.assertIn("too many", said["error"])

    def test_clear(self) -> None:
        """
        The latest requests can be forgotten.
        """
        self.host.ask(B)
        said = self.read("/api/v1/clear", method="POST", fields=_MARK)
        self.assertEqual(said, {"cleared": True})
        self.assertEqual(self.read("/api/v1/transactions")["items"], [])

    def test_only_ours(self) -> None:
        """
        Another site's page changes nothing.
        """
        for fields in ("", "Origin: http://evil.example\r\n"):
            for path in ("/api/v1/clear", "/api/v1/watch"):
                self.assertEqual(self.ask(path, "POST", fields).status, 403)
        self.assertEqual(len(self.read("/api/v1/transactions")["items"]), 1)
