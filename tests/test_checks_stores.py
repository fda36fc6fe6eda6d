"""
Tests for L{mdproxy.checks.stores}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.stores import (
    Content,
    judge_leases,
    judge_libvirt,
    judge_static,
    read,
)
from mdproxy.lookup.kinds import KINDS

LEASE = b"1795000000 fa:16:3e:00:00:01 10.0.0.5 vm *\n"


class StoresTests(SynchronousTestCase):
    """
    Tests for the judgements of files.
    """

    def test_reading(self) -> None:
        """
        What can't be read is told with the reason.
        """
        path = Path(self.mktemp())
        path.write_bytes(b"x")
        self.assertEqual(read(str(path)).data, b"x")
        path.unlink()
        missing = read(str(path))
        self.assertEqual((missing.data, missing.missing), (None, True))
        self.assertIn(str(path), missing.problem)
        self.assertFalse(read("/").missing)

    def test_static(self) -> None:
        """
        The static inventory must be there and understood; an empty one is told.
        """
        port = b"{network: a, mac: '02:00:00:00:00:01', instance: i, project: p}"
        for content, verdict, words in (
            (Content("/s", b"ports: [" + port + b"]"), "ok", "/s has 1 ports"),
            (Content("/s", b"ports: []"), "note", "0 ports"),
            (Content("/s", b"ports: {"), "wrong", "/s: "),
            (Content("/s", None, "it is gone"), "wrong", "it is gone"),
        ):
            finding = judge_static(content)
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, finding.text)

    def test_libvirt(self) -> None:
        """
        libvirt's directory must be readable.
        """
        self.assertEqual(judge_libvirt("/r", 3).verdict, "ok")
        finding = judge_libvirt("/r", None)
        self.assertEqual((finding.verdict, "root" in finding.advice), ("wrong", True))

    def test_leases(self) -> None:
        """
        Each file of leases must be there and whole.
        """
        dnsmasq = KINDS["dnsmasq"]
        for contents, verdict, words in (
            ([Content("/l", LEASE)], "ok", "1 records in 1 file"),
            ([Content("/l", LEASE), Content("/m", b"")], "ok", "in 2 files"),
            ([], "wrong", "No file"),
            ([Content("/l", LEASE[:-5])], "wrong", "/l: "),
            (
                [Content("/l", None, "gone"), Content("/m", None, "x")],
                "wrong",
                "1 more",
            ),
        ):
            finding = judge_leases("s", dnsmasq, contents)
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, finding.text)
