"""
Tests for L{mdproxy.logs.lines}.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, formatEventAsClassicLogText
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.logs.lines import json_line, text_line
from tests.test_logs_plain import failure

#: 2026-11-22T01:00:00 UTC.
EVENT: dict[str, Any] = {
    "log_format": "{what} of {who}",
    "log_time": 1795309200.25,
    "log_level": LogLevel.warn,
    "log_namespace": "mdproxy.x.Y",
    "what": "news",
    "who": "all",
}


class TextTests(SynchronousTestCase):
    """
    Tests for L{text_line}.
    """

    def test_like_twisted(self) -> None:
        """
        What has nothing odd in it is written as Twisted writes it.
        """
        for event in (
            EVENT,
            {**EVENT, "what": "two\nlines"},
            {**EVENT, "log_system": "system"},
            {"log_format": "bare"},
            {**EVENT, "log_failure": failure(ValueError("x"))},
        ):
            self.assertEqual(text_line(event), formatEventAsClassicLogText(event))

    def test_failure_alone(self) -> None:
        """
        A failure without a word is told by its traceback.
        """
        line = text_line({"log_failure": failure(ValueError("x"))})
        assert line is not None
        self.assertTrue(line.startswith("- [-#-] Traceback"), line)

    def test_nothing(self) -> None:
        """
        An event that says nothing is no line.
        """
        self.assertIsNone(text_line({"log_time": 1.0}))

    def test_odd(self) -> None:
        """
        What a terminal would obey, and what turns writing round, is shown instead.
        """
        for odd, shown in (
            ("\x1b[31m", "\\x1b[31m"),
            ("a\rb", "a\\x0db"),
            ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
            ("\u202egnp.exe", "\\u202egnp.exe"),
            ("a\u2028b\u0085c", "a\\u2028b\\x85c"),
            ("é\tü", "é\tü"),
        ):
            line = text_line({**EVENT, "what": odd})
            assert line is not None
            self.assertTrue(line.endswith(f"] {shown} of all\n"), line)

    @given(st.text(), st.text())
    def test_no_line_is_forged(self, what: str, system: str) -> None:
        """
        Whatever is logged, each further line begins with a tab.
        """
        line = text_line({**EVENT, "what": what, "log_system": system})
        assert line is not None
        first, *more, last = line.split("\n")
        self.assertTrue(first.startswith("2026-") or first.startswith("20"), first)
        self.assertEqual([each for each in more if not each.startswith("\t")], [])
        self.assertEqual(last, "")
        self.assertEqual(len(line.splitlines()), 1 + len(more))


class JsonTests(SynchronousTestCase):
    """
    Tests for L{json_line}.
    """

    def parsed(self, event: dict[str, Any]) -> Any:
        """
        Write an event, and read it again.
        """
        line = json_line(event)
        assert line is not None
        self.assertTrue(line.endswith("}\n"))
        self.assertEqual(line.count("\n"), 1)
        return json.loads(line)

    def test_event(self) -> None:
        """
        An event tells when, how much it matters, who says it, what, and of what.
        """
        self.assertEqual(
            self.parsed(EVENT),
            {
                "time": "2026-11-22T01:00:00.250000Z",
                "epoch": 1795309200.25,
                "level": "warn",
                "namespace": "mdproxy.x.Y",
                "text": "news of all",
                "fields": {"what": "news", "who": "all"},
            },
        )

    def test_bare(self) -> None:
        """
        What an event does not have has a value all the same.
        """
        self.assertEqual(
            self.parsed({"log_format": "x"}),
            {
                "time": "1970-01-01T00:00:00.000000Z",
                "epoch": 0.0,
                "level": "info",
                "namespace": "-",
                "text": "x",
            },
        )

    def test_failure(self) -> None:
        """
        What went wrong has a type, a text and a traceback.
        """
        told = self.parsed({**EVENT, "log_failure": failure(ValueError("x"))})
        self.assertEqual(told["failure"]["type"], "ValueError")
        self.assertEqual(told["failure"]["text"], "x")
        self.assertIn("Traceback", told["failure"]["traceback"])
        self.assertNotIn("fields", self.parsed({"log_failure": failure(KeyError())}))

    def test_nothing(self) -> None:
        """
        An event that says nothing is no line.
        """
        self.assertIsNone(json_line({"log_time": 1.0, "a": 1}))

    @given(st.text())
    def test_any_text(self, what: str) -> None:
        """
        Whatever is logged is one line of ASCII, from which it can be read again.
        """
        event = {**EVENT, "what": what}
        line = json_line(event)
        assert line is not None
        self.assertTrue(line.isascii())
        self.assertEqual(len(line.splitlines()), 1)
        self.assertEqual(json.loads(line)["fields"]["what"], what)
