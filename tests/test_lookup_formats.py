"""
Tests for L{mdproxy.lookup.formats}.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.formats import MAX_LINE, Lines, moment, name_or_none
from mdproxy.model import Malformed


class MomentTests(SynchronousTestCase):
    """
    Tests for L{moment}.
    """

    def test_times(self) -> None:
        """
        A number is a time, and 0 is none.
        """
        self.assertEqual(moment("1795292542"), 1795292542.0)
        self.assertIsNone(moment("0"))
        self.assertIsNone(moment("000"))

    def test_no_times(self) -> None:
        """
        Anything else is refused, however large.
        """
        for text in ("", "-1", "1.5", "1e3", "soon", "1\n", "٣", "9" * 400):
            self.assertRaises(Malformed, moment, text)


class NameTests(SynchronousTestCase):
    """
    Tests for L{name_or_none}.
    """

    def test_names(self) -> None:
        """
        A printable name is taken; one that is not, or is endless, is left out (scenario
        D13).
        """
        self.assertEqual(name_or_none("web-1.example"), "web-1.example")
        for text in ("", "a b", "x\r\nX-Tenant-ID: evil", "ä", "\ud800", "x" * 256):
            self.assertIsNone(name_or_none(text))


class LinesTests(SynchronousTestCase):
    """
    Tests for L{Lines}.
    """

    @given(st.lists(st.binary(max_size=9)), st.lists(st.integers(0, 60)))
    def test_cut(self, parts: list[bytes], cuts: list[int]) -> None:
        """
        However the bytes come, the lines are those that are complete.
        """
        data = b"\n".join(parts)
        ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        lines = Lines()
        cut = [line for a, b in pairwise(ends) for line in lines.cut(data[a:b])]
        self.assertEqual(cut, data.split(b"\n")[:-1])
        self.assertEqual(lines.is_whole, data == b"" or data.endswith(b"\n"))

    def test_too_long(self) -> None:
        """
        A line without an end is left out and counted, once.
        """
        lines = Lines()
        self.assertEqual(lines.cut(b"a\n" + b"x" * MAX_LINE), [b"a"])
        self.assertEqual(lines.too_long, 0)
        for _ in range(5):
            self.assertEqual(lines.cut(b"x" * MAX_LINE), [])
        self.assertEqual(lines.too_long, 1)
        self.assertFalse(lines.is_whole)
        self.assertEqual(lines.cut(b"x\nb\n"), [b"b"])
        self.assertTrue(lines.is_whole)
        # It makes no difference how it comes.
        self.assertEqual(
            lines.cut(b"c\n" + b"x" * (MAX_LINE + 1) + b"\nd\n"), [b"c", b"d"]
        )
        self.assertEqual(lines.cut(b"x" * MAX_LINE), [])
        self.assertEqual(lines.cut(b"x\n"), [])
        self.assertEqual(lines.too_long, 3)
