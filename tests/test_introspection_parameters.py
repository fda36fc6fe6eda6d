"""
Tests for L{mdproxy.introspection.parameters}.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.introspection.parameters import (
    BadParameter,
    Parameter,
    read_json,
    read_query,
)

NAME = Parameter("name", "A name.", least=1, most=10)
COUNT = Parameter("count", "How many.", "integer", least=1, most=100, default=7)
TIME = Parameter("time", "How long.", "number", most=10)
ALL = (NAME, COUNT, TIME)


class ReadQueryTests(SynchronousTestCase):
    """
    Tests for L{read_query}.
    """

    def refused(self, query: bytes, *parameters: Parameter) -> tuple[Any, str]:
        """
        Have a query refused.

        @return: The parameter that is to blame, and the sentence.
        """
        error = self.assertRaises(BadParameter, read_query, query, parameters or ALL)
        return error.name, str(error)

    def test_values(self) -> None:
        """
        Values are read as what they are; what isn't there, or is empty, is as it is by
        default.
        """
        nothing = {"name": None, "count": 7, "time": None}
        for query in (b"", b"&&", b"name=&count=&time", b"count="):
            self.assertEqual(read_query(query, ALL), nothing)
        self.assertEqual(
            read_query(b"time=2.5&name=a+b%2fc&count=100", ALL),
            {"name": "a b/c", "count": 100, "time": 2.5},
        )
        self.assertEqual(read_query(b"n%61me=%C3%A9", ALL)["name"], "\u00e9")

    def test_unknown(self) -> None:
        """
        A parameter that there isn't is refused, and the others are named.
        """
        self.assertEqual(
            self.refused(b"nmae=x"),
            (None, "there is another parameter than these: count, name, time"),
        )

    def test_twice(self) -> None:
        """
        One that comes twice is refused: which one would count?
        """
        self.assertEqual(self.refused(b"name=a&name=b")[0], "name")
        self.assertEqual(self.refused(b"x=a&x=b")[0], None)

    def test_bounds(self) -> None:
        """
        One out of its bounds is refused, and they are told.
        """
        self.assertEqual(
            self.refused(b"name=12345678901"),
            ("name", "name has to be 1 to 10 characters"),
        )
        for value in (b"0", b"101", b"-5", b"9" * 30):
            self.assertEqual(
                self.refused(b"count=" + value), ("count", "count has to be 1 to 100")
            )
        self.assertEqual(self.refused(b"time=10.5")[0], "time")

    def test_no_number(self) -> None:
        """
        What is no plain number is refused.
        """
        for value in (
            *(b"x", b"1e", b"0x1", b"+-1", b"--1", b".5", b"5.", b"1_0", b"inf"),
            *(b"nan", b"%D9%A3", b"1.2.3", b"9" * 33, b"%20", b"1%00"),
        ):
            for name in (b"count", b"time"):
                problem = f"{name.decode()} has to be a number"
                self.assertEqual(
                    self.refused(name + b"=" + value), (name.decode(), problem), value
                )
        for value in (b"1.5", b"1e1", b"1.0"):
            self.assertEqual(
                self.refused(b"count=" + value),
                ("count", "count has to be a whole number"),
            )
        self.assertEqual(read_query(b"time=2.5e-1", ALL)["time"], 0.25)
        self.assertEqual(self.refused(b"time=1e999")[0], "time")

    def test_required(self) -> None:
        """
        One that has to be there is missed.
        """
        needed = Parameter("name", "A name.", required=True)
        for query in (b"", b"name="):
            self.assertEqual(self.refused(query, needed), ("name", "name is missing"))

    def test_encoding(self) -> None:
        """
        What is not UTF-8 is refused.
        """
        self.assertEqual(self.refused(b"name=%FF")[0], "name")
        self.assertEqual(self.refused(b"%FF=name")[0], None)

    def test_many(self) -> None:
        """
        No number of them costs much.
        """
        self.assertEqual(self.refused(b"a=b&" * 10_000)[0], None)

    @given(st.text(min_size=1, max_size=10))
    def test_any_text(self, text: str) -> None:
        """
        Any text comes through as it is.
        """
        query = urlencode({"name": text}, errors="surrogatepass").encode()
        if any("\ud800" <= char <= "\udfff" for char in text):
            self.assertRaises(BadParameter, read_query, query, ALL)
        else:
            self.assertEqual(read_query(query, ALL)["name"], text)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, query: bytes) -> None:
        """
        Any bytes are read or refused, and what is said repeats none of them.
        """
        try:
            read_query(b"name=zqzqz" + query, ALL)
        except BadParameter as error:
            self.assertNotIn("zqzqz", str(error))


class ReadJsonTests(SynchronousTestCase):
    """
    Tests for L{read_json}.
    """

    def test_values(self) -> None:
        """
        Values are what they are in JSON, in the same bounds.
        """
        self.assertEqual(
            read_json(b'{"name": "a", "count": 5, "time": 2.5e-05}', ALL),
            {"name": "a", "count": 5, "time": 2.5e-05},
        )
        nothing = {"name": None, "count": 7, "time": None}
        self.assertEqual(read_json(b"", ALL), nothing)
        self.assertEqual(read_json(b"{}", ALL), nothing)

    def test_refused(self) -> None:
        """
        Anything else is refused by name.
        """
        for body, name in (
            (b'{"name": 5}', "name"),
            (b'{"name": true}', "name"),
            (b'{"name": null}', "name"),
            (b'{"name": ""}', "name"),
            (b'{"count": "5"}', "count"),
            (b'{"count": false}', "count"),
            (b'{"count": 5.0}', "count"),
            (b'{"count": 1e999}', "count"),
            (b'{"count": NaN}', "count"),
            (b'{"count": []}', "count"),
            (b'{"time": 11}', "time"),
            (b'{"more": 1}', None),
            (b"[]", None),
            (b"{", None),
            (b"\xff", None),
            (b"[" * 100_000, None),
        ):
            error = self.assertRaises(BadParameter, read_json, body, ALL)
            self.assertEqual(error.name, name, body)

    def test_ids(self) -> None:
        """
        An id is one as inventories have them.
        """
        whose = Parameter("whose", "Whose.", "id")
        self.assertEqual(read_query(b"whose=i-1.a_b", [whose]), {"whose": "i-1.a_b"})
        for text in (b"-x", b"a%2Fb", b"a%0A", b"%C3%A9", b"x" * 256):
            error = self.assertRaises(
                BadParameter, read_query, b"whose=" + text, [whose]
            )
            self.assertEqual(error.name, "whose")
