"""
Tests for L{mdproxy.logs.plain}.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.logs.plain import failure_of, fields_of, text_of

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner)
    ),
)


class Colour(Enum):
    """
    A value with a name.
    """

    RED = "red"


class Stubborn:
    """
    An object that shows nothing of itself.
    """

    def __repr__(self) -> str:
        """
        Fail.
        """
        raise ZeroDivisionError

    __str__ = __repr__


class StubbornError(Exception):
    """
    An exception that says nothing.
    """

    def __str__(self) -> str:
        """
        Fail.
        """
        raise ZeroDivisionError


def failure(error: Exception) -> Failure:
    """
    Have something go wrong, beside a secret.
    """
    password = "s3" + "cret"
    try:
        raise error
    except Exception:
        assert password
        return Failure(captureVars=True)


class FieldsTests(SynchronousTestCase):
    """
    Tests for L{fields_of}.
    """

    def one(self, value: Any) -> Any:
        """
        Make a value plain.
        """
        return fields_of({"it": value})["it"]

    def test_what_is_plain(self) -> None:
        """
        What JSON knows stays as it is.
        """
        for value in (None, True, 3, 0.5, "text", ["a", 1], {"a": {"b": None}}):
            self.assertEqual(self.one(value), value)

    def test_what_is_not(self) -> None:
        """
        All else becomes what is like it.
        """
        for value, plain in (
            (b"bytes \xff", "bytes \\xff"),
            (("a", 1), ["a", 1]),
            (frozenset({1}), [1]),
            ({1: 2}, {"1": 2}),
            (Colour.RED, "red"),
            (float("nan"), "nan"),
            (float("inf"), "inf"),
            (1 << 64, "…"),
            (object, "<class 'object'>"),
            (Stubborn(), "<Stubborn that can't be shown>"),
        ):
            self.assertEqual(self.one(value), plain)

    def test_ours_alone(self) -> None:
        """
        What the log itself has put into an event is no field, and an event of the old
        way has none.
        """
        event = {"log_format": "x", "log_time": 1.0, "a": 1}
        self.assertEqual(fields_of(event), {"a": 1})
        self.assertEqual(fields_of({"log_namespace": "log_legacy", "time": 1.0}), {})

    def test_bounded(self) -> None:
        """
        However much there is, what is left of it is small.
        """
        much = "x" * 10_000
        deep: Any = much
        for _ in range(50):
            deep = [deep]
        for event in (
            {"a": much},
            {f"a{number}": much for number in range(1000)},
            {"a": [much] * 1000},
            {"a": {f"{much}{number}": much for number in range(1000)}},
            {"a": deep},
            {"a": much.encode()},
            {much: 1},
        ):
            size = len(json.dumps(fields_of(event), ensure_ascii=False))
            self.assertLess(size, 20_000)

    @given(st.dictionaries(st.text(), ANYTHING, max_size=3))
    def test_anything(self, event: dict[str, Any]) -> None:
        """
        Whatever somebody logs, it can be written as JSON.
        """
        json.dumps(fields_of(event), allow_nan=False)


class TextTests(SynchronousTestCase):
    """
    Tests for L{text_of}.
    """

    def test_text(self) -> None:
        """
        The text has its values in it; without one there is none.
        """
        event = {"log_format": "{a} of {b!r}", "a": 1, "b": "x"}
        self.assertEqual(text_of(event), "1 of 'x'")
        self.assertEqual(text_of({}), "")

    def test_unfit(self) -> None:
        """
        A text that can't be made says so instead of failing.
        """
        for format_ in ("{nobody}", "{", "{0}", "{a.b}"):
            self.assertIn("Unable to format", text_of({"log_format": format_, "a": 1}))
        said = text_of({"log_format": "{a}", "a": Stubborn()})
        self.assertIn("ZeroDivisionError", said)

    def test_bounded(self) -> None:
        """
        A long text is cut.
        """
        text = text_of({"log_format": "{a}", "a": "x" * 100_000})
        self.assertEqual(text, "x" * 8192 + "…")


class FailureTests(SynchronousTestCase):
    """
    Tests for L{failure_of}.
    """

    def test_none(self) -> None:
        """
        Where nothing failed there is no failure.
        """
        self.assertIsNone(failure_of({}))
        self.assertIsNone(failure_of({"log_failure": "no failure"}))

    def test_failure(self) -> None:
        """
        A failure has a type, a text and a traceback without any values.
        """
        found = failure_of({"log_failure": failure(ValueError("wrong"))})
        assert found is not None
        kind, text, traceback = found
        self.assertEqual((kind, text), ("ValueError", "wrong"))
        self.assertIn("test_logs_plain.py", traceback)
        self.assertNotIn("s3cret", traceback)

    def test_type(self) -> None:
        """
        Types that are not Python's own are told with their module.
        """
        found = failure_of({"log_failure": failure(StubbornError())})
        assert found is not None
        self.assertEqual(found[0], "tests.test_logs_plain.StubbornError")
        self.assertEqual(found[1], "<StubbornError that can't be shown>")

    def test_bounded(self) -> None:
        """
        Long texts are cut; of a long traceback the end is kept.
        """
        found = failure_of({"log_failure": failure(ValueError("x" * 100_000 + "end"))})
        assert found is not None
        self.assertLess(len(found[1]), 1100)
        self.assertLess(len(found[2]), 16500)
        self.assertIn("end", found[2])
