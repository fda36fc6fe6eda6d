"""
Tests for L{mdproxy.option_types}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.option_types import Seconds


class SecondsTests(SynchronousTestCase):
    """
    Tests for L{Seconds}.
    """

    def test_lengths_of_time_are_read(self) -> None:
        """
        Numbers above nothing and up to a day are lengths of time.
        """
        for text, seconds in (("1", 1.0), ("0.25", 0.25), ("86400", 86400.0)):
            self.assertEqual(Seconds()(text), seconds)

    def test_nonsense_is_refused(self) -> None:
        """
        What would be no wait, an endless one, or no number, is refused.
        """
        for text in ("0", "-1", "nan", "inf", "86401", "1e9", "ten", ""):
            self.assertRaises(ValueError, Seconds(), text)

    def test_never(self) -> None:
        """
        Where it is said so, 0 is read as well, and nothing else.
        """
        self.assertEqual(Seconds(never=True)("0"), 0.0)
        for text in ("-1", "nan", "inf", "86401", ""):
            self.assertRaises(ValueError, Seconds(never=True), text)
