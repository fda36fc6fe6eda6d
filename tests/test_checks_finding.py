"""
Tests for L{mdproxy.checks.finding}.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.finding import Finding, worst

OK = Finding("a", "ok", "It is.")
NOTE = Finding("b", "note", "It may be.")
WRONG = Finding("c", "wrong", "It is not.", "Do.")


class FindingTests(SynchronousTestCase):
    """
    Tests for L{Finding} and L{worst}.
    """

    def test_in_words(self) -> None:
        """
        A finding is four plain values.
        """
        self.assertEqual(
            json.loads(json.dumps(WRONG.describe())),
            {"name": "c", "verdict": "wrong", "text": "It is not.", "advice": "Do."},
        )

    def test_the_worst_counts(self) -> None:
        """
        What is wrong counts most, and where nothing was found all is well.
        """
        self.assertEqual(worst([]), "ok")
        self.assertEqual(worst([OK, NOTE, OK]), "note")
        self.assertEqual(worst([NOTE, WRONG, OK]), "wrong")
