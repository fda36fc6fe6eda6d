"""
Tests for what operators give to Prometheus and Grafana, by Prometheus's own checker.
"""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.promtool import promtool
from tests.lab.stage import CHECKOUT
from tests.test_etc_metrics import DASHBOARD, RULES, expressions
from tests.test_introspection_metrics import ask, busy_host

#: Whether each alert fires, and when it does not.
_CASES = CHECKOUT / "tests" / "data" / "prometheus" / "rules_test.yml"


class PromtoolTests(SynchronousTestCase):
    """
    Tests that C{promtool} makes.
    """

    def good(self, *arguments: str, given: str = "") -> None:
        """
        Have it find something good.
        """
        is_good, said = promtool(*arguments, given=given)
        self.assertTrue(is_good, said)

    def test_it_finds_faults(self) -> None:
        """
        It does not call everything good.
        """
        for arguments, given in (
            (("check", "metrics"), "mdproxy_requests 1\n"),
            (("check", "rules", str(DASHBOARD)), ""),
        ):
            is_good, said = promtool(*arguments, given=given)
            self.assertFalse(is_good, said)

    def test_metrics(self) -> None:
        """
        What we expose is well formed, and named as metrics should be.
        """
        self.good("check", "metrics", given=ask(busy_host())[2])

    def test_configuration(self) -> None:
        """
        The sample of Prometheus's configuration is one, and names the rules, which are
        good.
        """
        self.good("check", "config", str(RULES.parent / "prometheus.yml"))

    def test_alerts(self) -> None:
        """
        Each alert fires when it should, and where all is well none does.
        """
        self.good("test", "rules", str(_CASES))

    def test_dashboard(self) -> None:
        """
        Every question of the dashboard is one that Prometheus understands.
        """
        rules = [
            {"record": f"panel:{number}", "expr": plain(expression)}
            for number, expression in enumerate(expressions(DASHBOARD))
        ]
        path = Path(self.mktemp())
        # What is JSON is YAML, too.
        path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        self.good("check", "rules", "--lint=none", str(path))


def plain(expression: str) -> str:
    """
    Put in what Grafana would for its variables.
    """
    return expression.replace("$__rate_interval", "2m").replace("$instance", ".*")
