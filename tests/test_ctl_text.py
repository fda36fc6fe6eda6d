"""
Tests for L{mdproxy.ctl.text}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis.strategies import (
    dictionaries,
    integers,
    lists,
    none,
    sampled_from,
    text,
)
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.ctl.text import (
    WIDTH,
    ago,
    clock,
    columns,
    lasted,
    pairs,
    sentence,
    shown,
    transaction,
    wrapped,
)
from tests.operated import Host

_KEYS = ["target", "method", "instance", "address", "network", "outcome", "reason"]


class TextTests(SynchronousTestCase):
    """
    Tests for what lines are made of.
    """

    def test_values(self) -> None:
        """
        A value is written as an operator reads it, and a missing one as a dash.
        """
        for value, written in (
            (None, "-"),
            ("", "-"),
            ([], "-"),
            (True, "yes"),
            (7, "7"),
            (["a", None], "a, -"),
            ("\x1b[31mred\n", "\\u001b[31mred\\u000a"),
        ):
            self.assertEqual(shown(value), written)

    def test_sentences(self) -> None:
        """
        A sentence of the service's is written whole, and obeyed by no terminal.
        """
        self.assertEqual(sentence("word " * 200), "word " * 200)
        self.assertEqual(sentence("\x1b[31m"), "\\u001b[31m")
        self.assertEqual(sentence(None), "-")

    @given(text())
    def test_no_terminal_obeys(self, value: str) -> None:
        """
        Whatever somebody else wrote, only what can be seen is printed.
        """
        lines = [shown(value), *wrapped(value), *pairs([("x", shown(value))])]
        for line in lines:
            self.assertTrue(line.isprintable())

    def test_long_sentences(self) -> None:
        """
        A sentence is wrapped, and what stands beside a name is under its beginning.
        """
        long = "word " * 40
        for lines in (wrapped(long, "  "), pairs([("name", long), ("none", None)])):
            self.assertGreater(len(lines), 2)
            self.assertTrue(all(len(line) <= WIDTH for line in lines))
            self.assertTrue(all(line.startswith("  ") for line in lines))
        self.assertEqual(lines[1].index("word"), lines[0].index("word"))

    def test_columns(self) -> None:
        """
        Columns are as wide as their widest cell, but for the last.
        """
        lines = columns([("a", "bb", "c"), ("aaa", "b", "a long one")])
        self.assertEqual(lines, ["  a    bb  c", "  aaa  b   a long one"])

    def test_times(self) -> None:
        """
        Times are UTC to the millisecond, durations in the unit that they are best read
        in; what is none is a dash.
        """
        self.assertEqual(clock(1_700_000_000.0625), "2023-11-14 22:13:20.062")
        self.assertEqual(clock(None), "-")
        self.assertIn("1e+300", clock(1e300))
        self.assertEqual((lasted(0.25), lasted(None)), ("250 ms", "-"))
        self.assertEqual((ago(90), ago(None)), ("90 s ago", ""))


class TransactionTests(SynchronousTestCase):
    """
    Tests for L{transaction}.
    """

    def test_one(self) -> None:
        """
        A request is one line with all that an operator looks for.
        """
        host = Host()
        host.ask(status=404)
        (it,) = host.view.transactions()["items"]
        line = transaction(it)
        for words in ("404 GET /openstack 10.0.0.5 red", "250 ms", "refused: ", "req-"):
            self.assertIn(words, line)

    @given(
        dictionaries(
            sampled_from([*_KEYS, "verdict", "row", "seconds", "request_id"]),
            none() | integers() | text(max_size=20) | lists(text(max_size=5)),
        )
    )
    def test_anything(self, it: dict[str, Any]) -> None:
        """
        Whatever is in it, it is one line that no terminal obeys.
        """
        self.assertTrue(transaction(it).isprintable())
