"""
Tests for L{mdproxy.ctl.summary}; what C{check-config} prints is in L{tests.test_cli}.
"""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.config import LogConfig, ManholeConfig, NamespacesConfig
from mdproxy.ctl.summary import notes_of_host, summary
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


class OperatorsTests(SynchronousTestCase):
    """
    Tests for what L{summary} says of the operator's side.
    """

    def test_what_operators_see(self) -> None:
        """
        Where the pages, the manhole and the log are, and who may see them, is summed
        up.
        """
        pages = evolve(PLAIN_CONFIG.introspection, certificate="/c")
        config = evolve(
            PLAIN_CONFIG,
            introspection=pages,
            manhole=ManholeConfig(("127.0.0.1", 22), "/keys", "/host"),
            log=LogConfig("json", (), "journal"),
        )
        lines = summary(config)
        for line in (
            "  by TLS, to anybody without a certificate",
            "Manhole: 127.0.0.1 port 22, for /keys",
            "Log: json, requests to journal",
        ):
            self.assertIn(line, lines)
        config = evolve(
            config,
            introspection=evolve(pages, client_ca="/ca"),
            manhole=ManholeConfig("/run/m", "/keys", "/host"),
        )
        lines = summary(config)
        self.assertIn("  by TLS, to anybody that shows a certificate", lines)
        self.assertIn("Manhole: /run/m, for /keys", lines)
        self.assertIn("Log: text", summary(PLAIN_CONFIG))
