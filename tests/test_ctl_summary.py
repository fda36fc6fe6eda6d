"""
Tests for L{mdproxy.ctl.summary}; what C{check-config} prints is in L{tests.test_cli}.
"""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.config import NamespacesConfig
from mdproxy.ctl.summary import notes_of_host
from tests.test_config import PLAIN as PLAIN_CONFIG


class HostTests(SynchronousTestCase):
    """
    Tests for L{notes_of_host}.
    """

    def test_small_tables(self) -> None:
        """
        A table of neighbours that is too small for many namespaces is told of, for each
        family, where namespaces matter; one that can't be read is not.
        """
        directory = Path(self.mktemp())
        for family, most in (("ipv4", 1024), ("ipv6", 8192)):
            place = directory / family / "neigh" / "default"
            place.mkdir(parents=True)
            (place / "gc_thresh3").write_text(f"{most}\n")
        everywhere = NamespacesConfig("a", ("qdhcp-*",), 80, 9697)
        config = evolve(PLAIN_CONFIG, listeners=(everywhere,))
        [note] = notes_of_host(config, str(directory))
        self.assertIn("net.ipv4.neigh.default.gc_thresh3 is 1024: no more", note)
        self.assertEqual(notes_of_host(PLAIN_CONFIG, str(directory)), [])
        self.assertEqual(notes_of_host(config, self.mktemp()), [])
