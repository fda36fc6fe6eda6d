"""
Tests for L{mdproxy.checks.ports}.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from hypothesis import given
from hypothesis.strategies import text
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.ports import Listening, Process, judge_port, read_listening

PLACE = ("169.254.169.254", 80)
HELD = Listening("169.254.169.254", 80, 990, 7)
OURS = Process(10, "twistd")
HAPROXY = Process(11, "hap\x1broxy")

#: As a kernel of this machine's byte order writes it (5.10).
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n"
LINE = (
    "{n}: {at} 00000000:0000 {st} 00000000:00000000 00:00000000 00000000  990 0 {i} 1\n"
)


class ReadTests(SynchronousTestCase):
    """
    Tests for L{read_listening}.
    """

    def test_the_kernels_own(self) -> None:
        """
        What the kernel says of a socket of ours is understood, for both families.
        """
        for address, name in (("127.0.0.1", "tcp"), ("::1", "tcp6")):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.create_server((address, 0), family=family) as opened:
                port = opened.getsockname()[1]
                table = Path("/proc/thread-self/net", name).read_text()
            found = [each for each in read_listening(table) if each.port == port]
            self.assertEqual([each.address for each in found], [address])
            self.assertGreater(found[0].inode, 0)

    def test_only_what_listens(self) -> None:
        """
        Connections are passed over, and so is what can't be understood.
        """
        at = "FEA9FEA9:0050" if sys.byteorder == "little" else "A9FEA9FE:0050"
        table = HEAD + "".join(
            LINE.format(n=n, at=where, st=state, i=n)
            for n, (where, state) in enumerate(
                [(at, "0A"), (at, "01"), ("zz:0050", "0A"), ("00:0050", "0A")]
            )
        )
        table += "garbage\n"
        self.assertEqual(list(read_listening(table)), [Listening(*PLACE, 990, 0)])

    @given(text())
    def test_anything(self, table: str) -> None:
        """
        Whatever it says, reading it is no trouble.
        """
        list(read_listening(table))


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
            finding = judge_port("it", PLACE, there, holders, ours)
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, finding.text)
            self.assertEqual(bool(finding.advice), verdict != "ok")
