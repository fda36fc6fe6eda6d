"""
Tests for what operators give to Prometheus and Grafana: C{etc/prometheus},
C{etc/grafana}.

Whether the expressions are right and the alerts fire is for L{tests.lab.test_promtool}
to say.
"""

from __future__ import annotations

import json
import re
from argparse import _SubParsersAction
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.cli import parser
from mdproxy.introspection.metrics import described

_CHECKOUT = Path(__file__).parent.parent
RULES = _CHECKOUT / "etc" / "prometheus" / "mdproxy.rules.yml"
DASHBOARD = _CHECKOUT / "etc" / "grafana" / "mdproxy.json"
_CASES = _CHECKOUT / "tests" / "data" / "prometheus" / "rules_test.yml"

#: What Prometheus adds to every series, and to buckets.
_ADDED = frozenset({"instance", "job", "le"})

_METRIC = re.compile(r"\b(?:mdproxy|process)_[a-z_]+\b")
_MATCHER = re.compile(r'([a-z_]+)(?:=~|!=|!~|=)"')
_GROUPING = re.compile(r"\b(?:by|without|on) \(([^)]*)\)")
_SHOWN = re.compile(r"\{\{ ?(?:\$labels\.)?([a-z_]+) ?\}\}")
_COMMAND = re.compile(r"mdproxyctl ([a-z-]+)")


def expressions(dashboard: Path) -> Iterator[str]:
    """
    Read all that a dashboard asks Prometheus.
    """
    said = json.loads(dashboard.read_text())
    for note in said["annotations"]["list"]:
        yield note["expr"]
    for panel in said["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def alerts() -> list[dict[str, Any]]:
    """
    Read the alerts.
    """
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def exposed() -> dict[str, frozenset[str]]:
    """
    Name everything that can be asked for, and its labels.
    """
    names: dict[str, frozenset[str]] = {}
    for name, kind, labels, _text in described():
        ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        names.update((name + end, _ADDED.union(labels)) for end in ends)
    return names


class ExpressionTestCase(SynchronousTestCase):
    """
    A test case that reads expressions.
    """

    def judge(self, expression: str) -> frozenset[str]:
        """
        See whether everything in an expression exists.

        @return: All labels that its metrics have.
        """
        known = exposed()
        metrics = set(_METRIC.findall(expression))
        self.assertLessEqual(metrics, set(known), expression)
        labels = _ADDED.union(*(known[metric] for metric in metrics))
        grouped = ", ".join(_GROUPING.findall(expression))
        named = {*_MATCHER.findall(expression), *re.findall(r"[a-z_]+", grouped)}
        self.assertLessEqual(named, labels, expression)
        return labels


class RulesTests(ExpressionTestCase):
    """
    Tests for the alerts.
    """

    def test_metrics(self) -> None:
        """
        What alerts look at exists, with the labels that they name and show.
        """
        for alert in alerts():
            labels = self.judge(alert["expr"])
            for text in alert["annotations"].values():
                self.assertLessEqual(set(_SHOWN.findall(text)), labels, text)

    def test_told(self) -> None:
        """
        Each alert has its severity, waits for a while, and says in words what it means
        and what to do.
        """
        for alert in alerts():
            name = alert["alert"]
            self.assertRegex(name, r"\AMdproxy[A-Za-z]+\Z")
            self.assertIn(alert["labels"]["severity"], ("critical", "warning", "info"))
            self.assertRegex(alert["for"], r"\A[1-9][0-9]*[mhd]\Z", name)
            self.assertIn("{{ $labels.instance }}", str(alert["annotations"]), name)
            self.assertRegex(alert["annotations"]["description"], r"\A\S.*\.\Z", name)

    def test_commands(self) -> None:
        """
        Each alert names a command that shows why, and there is such a command.
        """
        (known,) = (
            action.choices
            for action in parser()._actions
            if isinstance(action, _SubParsersAction)
        )
        for alert in alerts():
            named = set(_COMMAND.findall(alert["annotations"]["description"]))
            self.assertTrue(named, alert["alert"])
            self.assertLessEqual(named, set(known), alert["alert"])

    def test_cases(self) -> None:
        """
        For each alert there is a case in which it fires, and one in which it does not.
        """
        fires: dict[str, set[bool]] = {}
        for case in yaml.safe_load(_CASES.read_text())["tests"]:
            for check in case["promql_expr_test"]:
                fires.setdefault(case["name"], set()).add(bool(check["exp_samples"]))
        self.assertEqual(fires.pop("all is well"), {False})
        expected = {alert["alert"]: {False, True} for alert in alerts()}
        self.assertEqual(fires, expected)


class DashboardTests(ExpressionTestCase):
    """
    Tests for the dashboard.
    """

    def setUp(self) -> None:
        """
        Read it.
        """
        self.dashboard: Mapping[str, Any] = json.loads(DASHBOARD.read_text())
        self.panels: list[dict[str, Any]] = self.dashboard["panels"]

    def test_metrics(self) -> None:
        """
        What it asks for exists, with the labels that it names and shows.
        """
        for panel in self.panels:
            for target in panel.get("targets", ()):
                labels = self.judge(target["expr"])
                shown = set(_SHOWN.findall(target["legendFormat"]))
                self.assertLessEqual(shown, labels, panel["title"])

    def test_everything(self) -> None:
        """
        Every metric there is can be seen on it.
        """
        seen = set(_METRIC.findall("\n".join(expressions(DASHBOARD))))
        for name, kind, _labels, _text in described():
            self.assertIn(f"{name}_bucket" if kind == "histogram" else name, seen)

    def test_anybody_can_import_it(self) -> None:
        """
        It has an identity of its own, none of somebody's database, and asks whatever
        Prometheus is chosen.
        """
        self.assertEqual(
            (self.dashboard["uid"], self.dashboard["id"]), ("mdproxy", None)
        )
        variables = {
            each["name"]: each for each in self.dashboard["templating"]["list"]
        }
        self.assertEqual(variables["datasource"]["query"], "prometheus")
        chosen = {"type": "prometheus", "uid": "${datasource}"}
        asking = [*self.panels, *self.dashboard["annotations"]["list"]]
        asking += [
            target for panel in self.panels for target in panel.get("targets", ())
        ]
        for each in asking:
            if each.get("type") != "row":
                self.assertEqual(each["datasource"], chosen)

    def test_rows(self) -> None:
        """
        Its rows begin with what matters most.
        """
        rows = [panel["title"] for panel in self.panels if panel["type"] == "row"]
        self.assertEqual(
            rows,
            [
                "Is it well?",
                "Traffic",
                "Latency",
                "Refusals",
                "Sources and listeners",
                "Upstream",
                "Process",
            ],
        )

    def test_places(self) -> None:
        """
        No panel lies on another or beyond the edge, and no two have one number.
        """
        taken: set[tuple[int, int]] = set()
        for panel in self.panels:
            place = panel["gridPos"]
            cells = {
                (place["x"] + across, place["y"] + down)
                for across in range(place["w"])
                for down in range(place["h"])
            }
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            taken |= cells
        numbers = [panel["id"] for panel in self.panels]
        self.assertEqual(len(numbers), len(set(numbers)))

    def test_explained(self) -> None:
        """
        Every panel says what it shows, and in what unit.
        """
        for panel in self.panels:
            if panel["type"] != "row":
                self.assertTrue(panel["description"].endswith("."), panel["title"])
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
