"""
Tests for L{mdproxy.checks.kernel}.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks import kernel
from mdproxy.checks.finding import Finding

FOUR, SIX = kernel.IPV4, kernel.IPV6


class TableTests(SynchronousTestCase):
    """
    Tests for each judgement, row by row.
    """

    def check(self, rows: Iterable[tuple[Finding, str, str]]) -> None:
        """
        See that findings are as they must be.

        @param rows: Each with the verdict, and words of text and advice together.
        """
        for finding, verdict, words in rows:
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, f"{finding.text} {finding.advice}")
            if verdict == "ok":
                self.assertEqual(finding.advice, "")
            if verdict == "wrong":
                self.assertNotEqual(finding.advice, "")

    def test_reverse_path(self) -> None:
        """
        The larger of both settings counts, and only 1 is strict.
        """
        judge = kernel.judge_reverse_path
        self.check(
            [
                (judge("br0", 0, 0), "ok", "It is 0"),
                (judge("br0", 0, 1), "wrong", "conf.br0.rp_filter=2"),
                (judge("br0", 1, 0), "wrong", "It is 1 (strict)"),
                (judge("br0", 1, 2), "ok", "It is 2"),
                (judge("br0", None, 0), "note", "can't be read"),
            ]
        )

    def test_addresses(self) -> None:
        """
        The address may be on the device or elsewhere on the host, for Linux answers for
        all; without it nobody does.
        """
        judge = kernel.judge_addresses
        self.check(
            [
                (judge("br0", None), "wrong", "no device br0"),
                (judge("br0", {FOUR, SIX}), "ok", "is there."),
                (judge("br0", {FOUR}), "ok", "which only IPv6 needs"),
                (judge("br0", {"10.0.0.1"}, {FOUR}), "ok", "another device"),
                (judge("br0", {SIX}), "wrong", "instances with IPv4 get nothing"),
                (
                    judge("br0", {"10.0.0.1"}),
                    "wrong",
                    "ip address add 169.254.169.254/32 dev br0 scope link",
                ),
            ]
        )

    def test_namespaces(self) -> None:
        """
        It is Neutron that puts the address into namespaces, and only root sees.
        """
        judge = kernel.judge_namespaces
        self.check(
            [
                (judge("all", [], 0, 0), "note", "No namespace"),
                (judge("all", [], 0, 7), "note", "as root"),
                (judge("all", [], 7, 7), "ok", "is in 7 namespaces."),
                (judge("all", [], 7, 9), "ok", "7 namespaces of 9 looked at"),
                (judge("all", ["a", "b"], 7, 7), "note", "missing in 2 of 7"),
                (judge("all", list("abcdefg"), 7, 7), "note", "e and others"),
            ]
        )

    def test_watches(self) -> None:
        """
        There must be room for as many watches again as there are.
        """
        judge = kernel.judge_watches
        self.check(
            [
                (judge(8192, 128, None, 3), "ok", "8192 watches and 128 instances"),
                (judge(8192, 128, 4000, 3), "ok", "mdproxy has 4000"),
                (judge(8192, 128, 5000, 3), "wrong", "max_user_watches"),
                (judge(4, 128, None, 3), "wrong", "max_user_watches"),
                (judge(8192, 8, None, 3), "note", "max_user_instances"),
                (judge(None, 128, None, 3), "note", "can't be read"),
            ]
        )

    def test_files(self) -> None:
        """
        All connections and what is open besides must fit, with some room.
        """
        judge = kernel.judge_files
        self.check(
            [
                (
                    judge("x", 65536, 100, 4096),
                    "ok",
                    "65536 files may be open",
                ),
                (judge("x", 1024, None, 4096), "wrong", "LimitNOFILE"),
                (judge("x", 4400, 4390, 4096), "wrong", "LimitNOFILE"),
                (judge("x", None, None, 4096), "note", "root"),
            ]
        )

    def test_neighbours(self) -> None:
        """
        A small table matters where there may be many networks.
        """
        judge = kernel.judge_neighbours
        self.check(
            [
                (judge("ipv4", 1024, False), "ok", "1024"),
                (judge("ipv4", 1024, True), "note", "sysctl.d"),
                (judge("ipv6", 16384, True), "ok", "16384"),
            ]
        )

    def test_capabilities(self) -> None:
        """
        What the running process lacks is named.
        """
        judge, wants = kernel.judge_capabilities, {"CAP_NET_BIND_SERVICE"}
        self.check(
            [
                (judge(1 << 10, wants), "ok", "has all"),
                (judge(0, wants), "note", "lacks CAP_NET_BIND_SERVICE"),
                (judge(0, set()), "ok", "has all"),
                (judge(None, wants), "note", "can't be looked at"),
            ]
        )

    def test_clock(self) -> None:
        """
        A clock of the past, or that nobody keeps right, is told.
        """
        judge, now = kernel.judge_clock, 1_795_000_000.0
        self.check(
            [
                (judge(now, True), "ok", "looks right"),
                (judge(now, None), "ok", "looks right"),
                (judge(now, False), "note", "NTP"),
                (judge(100.0, True), "wrong", "NTP"),
                (judge(9e9, True), "wrong", "NTP"),
            ]
        )

    def test_names(self) -> None:
        """
        A name must lead somewhere, and soon.
        """
        judge: Any = kernel.judge_name
        self.check(
            [
                (judge("n", ["10.0.0.1", "::1"], 0.1, None), "ok", "10.0.0.1, ::1"),
                (judge("n", ["10.0.0.1"], 2.0, None), "note", "took 2.00 s"),
                (judge("n", [], 0, "no such name"), "wrong", "no such name"),
            ]
        )
