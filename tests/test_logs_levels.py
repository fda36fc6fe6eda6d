"""
Tests for L{mdproxy.logs.levels}.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import ILogFilterPredicate, LogLevel, PredicateResult
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.logs.levels import Levels


class LevelsTests(SynchronousTestCase):
    """
    Tests for L{Levels}.
    """

    def setUp(self) -> None:
        """
        Have the default.
        """
        self.levels = Levels()

    def told(self, namespace: str) -> list[str]:
        """
        List the levels at which a namespace is logged.
        """
        return [
            level.name
            for level in LogLevel.iterconstants()
            if self.passes({"log_namespace": namespace, "log_level": level})
        ]

    def passes(self, event: dict[str, Any]) -> bool:
        """
        Tell whether an event is logged.
        """
        return self.levels(event) is not PredicateResult.no

    def test_interface(self) -> None:
        """
        They provide what Twisted filters by.
        """
        self.assertTrue(verifyObject(ILogFilterPredicate, self.levels))

    def test_default(self) -> None:
        """
        Without any, everything from info on is logged.
        """
        self.levels.go_by(())
        self.assertEqual(self.told("a.b"), ["info", "warn", "error", "critical"])

    def test_longest(self) -> None:
        """
        The longest beginning of a name counts, up to a dot; the empty one is for all
        else.
        """
        self.levels.go_by([("a", "error"), ("a.b", "debug"), ("", "warn")])
        for namespace, least in (
            ("a", "error"),
            ("a.c", "error"),
            ("a.b", "debug"),
            ("a.b.c", "debug"),
            ("ab", "warn"),
            ("a.bc", "error"),
            ("x", "warn"),
        ):
            self.assertEqual(self.told(namespace)[0], least, namespace)

    def test_changed(self) -> None:
        """
        Other levels take the place of all that there were.
        """
        self.levels.go_by([("a", "debug")])
        self.levels.go_by([("b", "error")])
        self.assertEqual(self.told("a")[0], "info")
        self.assertEqual(self.told("b")[0], "error")

    def test_old_way(self) -> None:
        """
        What Twisted logs in its old way goes by its own level, unless it has one.
        """
        self.levels.go_by([("twisted", "critical")])
        self.assertEqual(self.told("log_legacy"), ["critical"])
        self.levels.go_by([("twisted", "critical"), ("log_legacy", "warn")])
        self.assertEqual(self.told("log_legacy")[0], "warn")

    def test_without_level(self) -> None:
        """
        What has no level is logged.
        """
        self.levels.go_by([("", "critical")])
        self.assertTrue(self.passes({"log_namespace": "a"}))

    def test_without_namespace(self) -> None:
        """
        What has no namespace goes by the level for all else.
        """
        self.levels.go_by([("", "warn")])
        self.assertTrue(self.passes({"log_level": LogLevel.warn}))
        self.assertFalse(self.passes({"log_level": LogLevel.info}))
