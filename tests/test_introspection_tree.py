"""
Tests for L{mdproxy.introspection.tree}.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.introspection.guard import Guard
from mdproxy.introspection.site import make_site
from mdproxy.introspection.tree import CONTRAIL, pages_of
from mdproxy.introspection.view import View
from mdproxy.operator_config import IntrospectionConfig
from tests.measured import Host, Saying
from tests.visiting import Line, Said

#: As it is if nobody says anything.
CONFIG = IntrospectionConfig(
    endpoint="tcp:8085:interface=127.0.0.1",
    allow_remote=False,
    allowed_hosts=(),
    certificate=None,
    private_key=None,
    client_ca=None,
    contrail=True,
    contrail_clear_by_get=False,
    transactions=1000,
)


class TreeTests(SynchronousTestCase):
    """
    Tests for L{pages_of}.
    """

    def ask(self, config: IntrospectionConfig, method: str, target: str) -> int:
        """
        Ask a site that is made by a configuration.

        @return: The status.
        """
        listening: Any = Saying([])
        parts = evolve(Host().parts(), listening=listening)
        site = make_site(pages_of(parts, View(parts), config), Guard(), Clock())
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        return Said.read(Line.to(site).say(head.encode())).status

    def test_names(self) -> None:
        """
        Each group has the pages that it is asked for by, and no others.
        """
        parts = Host().parts()
        for names, make in pages_of(parts, View(parts), CONFIG).items():
            self.assertEqual(frozenset(make()), names)

    def test_contrail(self) -> None:
        """
        Contrail's pages are there unless the operator wants none of them.
        """
        without = evolve(CONFIG, contrail=False)
        for name in CONTRAIL:
            path = f"/{name.decode()}"
            self.assertNotEqual(self.ask(CONFIG, "PUT", path), 404, path)
            self.assertEqual(self.ask(without, "GET", path), 404, path)
        self.assertEqual(self.ask(CONFIG, "GET", "/Snh_Other"), 404)

    def test_clear_by_get(self) -> None:
        """
        The counters are cleared by GET only where the operator wants that.
        """
        by_get = evolve(CONFIG, contrail_clear_by_get=True)
        self.assertEqual(self.ask(CONFIG, "GET", "/Snh_ClearAllInfo"), 405)
        self.assertEqual(self.ask(by_get, "GET", "/Snh_ClearAllInfo"), 200)
