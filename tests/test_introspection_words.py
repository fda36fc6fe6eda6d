"""
Tests for L{mdproxy.introspection.words}.
"""

from __future__ import annotations

from unicodedata import category

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.introspection.words import (
    MOST,
    away,
    duration,
    iso,
    number,
    plain,
    sign,
    tone,
    visible,
)


class VisibleTests(SynchronousTestCase):
    """
    Tests for L{visible}.
    """

    def test_plain(self) -> None:
        """
        Letters, digits, signs and letters of other scripts are shown as they are.
        """
        for text in ("", "vm-1.example", "<b>&\"'", "caf\u00e9", "\u05d0\u4e2d", "1 2"):
            self.assertEqual(visible(text), text)

    def test_hidden(self) -> None:
        """
        What would hide, turn round or overprint something is written as its number.
        """
        for text, shown in (
            ("a\u202eb", "a\\u202eb"),
            ("\u2066x\u2069", "\\u2066x\\u2069"),
            ("a\0\n\tb\x7f", "a\\u0000\\u000a\\u0009b\\u007f"),
            ("\x1b[31m", "\\u001b[31m"),
            ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
            ("e\u0301\u0301", "e\\u0301\\u0301"),
            ("\u2028\u00a0\u3000", "\\u2028\\u00a0\\u3000"),
            ("\ud800", "\\ud800"),
            ("\U000e0041", "\\U000e0041"),
            ("\u3164\u2800", "\\u3164\\u2800"),
            ("\x85\xad", "\\u0085\\u00ad"),
        ):
            self.assertEqual(visible(text), shown)

    def test_long(self) -> None:
        """
        A long text is cut and its length told.
        """
        self.assertEqual(visible("x" * MOST), "x" * MOST)
        self.assertEqual(
            visible("x" * 10_000), "x" * MOST + "\u2026 (10000 characters)"
        )
        self.assertEqual(visible("abc", 2), "ab\u2026 (3 characters)")

    @given(st.text())
    def test_any(self, text: str) -> None:
        """
        Whatever comes, one line of printable characters goes.
        """
        shown = visible(text)
        self.assertTrue(shown.isprintable())
        unseen = [c for c in shown if c != " " and category(c)[0] in "MCZ"]
        self.assertEqual(unseen, [])


class TimeTests(SynchronousTestCase):
    """
    Tests for L{iso}, L{duration} and L{away}.
    """

    def test_iso(self) -> None:
        """
        A time is written as UTC, and what is no time as the number that it is.
        """
        self.assertEqual(iso(0), "1970-01-01T00:00:00Z")
        self.assertEqual(iso(1795334062.9), "2026-11-22T07:54:22Z")
        for odd in (1e300, float("nan"), float("inf"), -1e18):
            self.assertIn("after 1970", iso(odd))

    def test_duration(self) -> None:
        """
        A duration has the unit that it is best read in.
        """
        for seconds, words in (
            (0, "0 s"),
            (0.0000851, "85 \u00b5s"),
            (0.00321, "3.21 ms"),
            (0.25, "250 ms"),
            (1.25, "1.2 s"),
            (12.3, "12 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (86400 * 2.5, "2 d"),
            (-3.0, "\u22123 s"),
        ):
            self.assertEqual(duration(seconds), words)

    def test_away(self) -> None:
        """
        It is told whether a time has been or will be.
        """
        self.assertEqual(away(100, 100.5), "now")
        self.assertEqual(away(88, 100.4), "12 s ago")
        self.assertEqual(away(400, 100), "in 5 min")


class ToneTests(SynchronousTestCase):
    """
    Tests for L{tone} and L{sign}.
    """

    def test_words(self) -> None:
        """
        Words for states, verdicts and findings have a tone; others have none.
        """
        for word, expected in (
            ("live", "good"),
            ("stale", "doubt"),
            ("failed", "bad"),
            ("allowed", "good"),
            ("refused", "bad"),
            ("wrong", "bad"),
            ("note", "doubt"),
            (True, "good"),
            (False, "bad"),
            (None, "plain"),
            ("whatever", "plain"),
        ):
            self.assertEqual(tone(word), expected, word)

    def test_statuses(self) -> None:
        """
        A status tells how a request went, and so does that there was none.
        """
        tones = [tone(status) for status in (200, 304, 404, 429, 503, 0)]
        self.assertEqual(tones, ["good", "good", "doubt", "doubt", "bad", "bad"])

    def test_signs_differ(self) -> None:
        """
        Each tone has a sign of its own.
        """
        self.assertEqual(len({sign(w) for w in ("ok", "note", "wrong", "-")}), 4)


class PlainTests(SynchronousTestCase):
    """
    Tests for L{plain} and L{number}.
    """

    def test_numbers(self) -> None:
        """
        Numbers are grouped, and what nobody knows is a dash.
        """
        self.assertEqual(number(1234567), "1,234,567")
        self.assertEqual(number(0.12345), "0.12")
        self.assertEqual(number(None), "\u2013")

    def test_any_value(self) -> None:
        """
        Any value of JSON can be read in one line.
        """
        for value, words in (
            ("a", "a"),
            (None, "\u2013"),
            ("", "\u2013"),
            (True, "yes"),
            ([], "none"),
            (["a", 1000], "a, 1,000"),
            ({"a": [1, False], "b": {}}, "a: 1, no, b: none"),
        ):
            self.assertEqual(plain(value), words)
