"""
Tests for L{mdproxy.checks.ports}.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.ports import Process, judge_port
from mdproxy.checks.sockets import Listening

PLACE = ("169.254.169.254", 80)
HELD = Listening("169.254.169.254", 80, 990, 7)
OURS = Process(10, "twistd")
HAPROXY = Process(11, "hap\x1broxy")


class JudgeTests(SynchronousTestCase):
    """
    Tests for L{judge_port}.
    """

    def test_the_table(self) -> None:
        """
        It is told whether we have the port, nobody, or who else, by name where that may
        be known.
        """
        everywhere = Listening("0.0.0.0", 80, 0, 8)
        other = [Listening("127.0.0.1", 80, 0, 9), Listening(PLACE[0], 81, 0, 9)]
        systemd = Process(1, "systemd")
        for there, holders, ours, verdict, words in (
            ([], {}, None, "ok", "mdproxy can have it"),
            ([], {}, 10, "wrong", "Nobody listens"),
            (other, {9: (HAPROXY,)}, 10, "wrong", "Nobody listens"),
            (
                [HELD],
                {7: (OURS,)},
                10,
                "ok",
                "mdproxy listens at 169.254.169.254 port 80",
            ),
            ([HELD, everywhere], {7: (OURS,)}, 10, "ok", "mdproxy listens"),
            # It was opened for us.
            ([HELD], {7: (systemd, OURS)}, 10, "ok", "mdproxy listens"),
            ([HELD], {7: (systemd,)}, 10, "wrong", "systemd (pid 1) holds"),
            ([HELD], {7: (HAPROXY,)}, 10, "wrong", "hap\\x1broxy (pid 11) holds"),
            ([everywhere], {8: (HAPROXY,)}, 10, "wrong", "hap\\x1broxy (pid 11) holds"),
            ([HELD], {}, 10, "wrong", "a process of uid 990 holds"),
            ([HELD], {7: (HAPROXY,)}, None, "note", "(pid 11) listens"),
        ):
            finding = judge_port("it", PLACE, None, there, holders, ours)
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, finding.text)
            self.assertEqual(bool(finding.advice), verdict != "ok")

    def test_devices(self) -> None:
        """
        Who is tied to another device is in nobody's way, be it we or another; who is
        tied to the same or to none is.
        """
        ours, theirs = (OURS,), (HAPROXY,)
        on_2, on_3 = evolve(HELD, device=2), evolve(HELD, device=3, inode=8)
        free = evolve(HELD, device=0, inode=8)
        for there, holders, verdict, words in (
            ([on_2], {7: ours}, "ok", "mdproxy listens"),
            ([on_2, on_3], {7: ours, 8: theirs}, "ok", "mdproxy listens"),
            ([on_2, on_3], {7: theirs, 8: ours}, "wrong", "(pid 11) holds"),
            ([on_3], {8: ours}, "wrong", "Nobody listens"),
            ([free], {8: theirs}, "wrong", "(pid 11) holds"),
        ):
            finding = judge_port("it", PLACE, 2, there, holders, 10)
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, finding.text)
