"""
Tests for L{mdproxy.manhole.shell}.
"""

from __future__ import annotations

import sys

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from mdproxy.manhole.shell import Console, Screen
from tests.secrecy import SecrecyTestCase


class ShellTests(SecrecyTestCase):
    """
    What is typed at a L{Console}, and what its L{Screen} shows.
    """

    def setUp(self) -> None:
        """
        Come in.
        """
        super().setUp()
        self.waiting: Deferred[str] = Deferred()
        self.names = {
            "answer": 42,
            "later": self.waiting,
            "lease": {"hostname": "\x1b[2Jevil", "address": "10.0.0.5"},
        }
        self.console = Console(self.names, "Welcome.", 60)
        self.screen = Screen(self.console)
        self.transport = StringTransport()
        self.screen.makeConnection(self.transport)

    def shown(self) -> str:
        """
        Tell what was shown since the last time.
        """
        shown: str = self.transport.value().decode()
        self.transport.clear()
        return shown

    def type(self, line: str) -> list[str]:
        """
        Type a line.

        @return: The lines that are shown for it.
        """
        self.shown()
        self.screen.dataReceived(line.encode() + b"\r")
        echo, *lines = self.shown().split("\r\n")
        self.assertEqual(echo, line)
        return lines

    def test_welcome(self) -> None:
        """
        It begins with its banner and a prompt; what was on the screen stays there.
        """
        shown = self.shown()
        self.assertTrue(shown.startswith("Welcome.\r\n>>> "), shown)
        self.assertNotIn("\x1bc", shown)
        self.assertNotIn("\x1b[2J", shown)

    def test_names(self) -> None:
        """
        What it was given is there by name, and what is made in a session is not there
        for the next.
        """
        self.assertEqual(self.type("answer"), ["42", ">>> "])
        self.assertEqual(self.type("mine = answer + 1"), [">>> "])
        self.assertEqual(self.type("mine"), ["43", ">>> "])
        self.assertEqual(self.type("_"), ["43", ">>> "])
        self.assertNotIn("mine", self.names)

    def test_plain_values(self) -> None:
        """
        Plain values are shown over several lines as the terminal is wide, in their
        order, and no byte of what an instance has chosen gets to the terminal.
        """
        self.assertEqual(
            self.type("lease"),
            [
                "{'hostname': '\\x1b[2Jevil', 'address': '10.0.0.5'}",
                ">>> ",
            ],
        )
        self.console.terminalSize(41, 24)
        self.assertEqual(
            self.type("lease"),
            [
                "{'hostname': '\\x1b[2Jevil',",
                " 'address': '10.0.0.5'}",
                ">>> ",
            ],
        )
        self.assertEqual(self.type("_['address']"), ["'10.0.0.5'", ">>> "])

    def test_blocks(self) -> None:
        """
        What has several lines is run when it is whole.
        """
        self.assertEqual(self.type("for i in range(2):"), ["... "])
        self.assertEqual(self.type("    print(i)"), ["... "])
        self.assertEqual(self.type(""), ["0", "1", ">>> "])

    def test_faults(self) -> None:
        """
        A fault is shown, and logged nowhere.
        """
        lines = self.type("1 / 0")
        self.assertIn("ZeroDivisionError: division by zero", lines)
        self.assertIn("SyntaxError", "".join(self.type("1 /")))
        self.assertEqual(self.type("answer"), ["42", ">>> "])

    def test_later(self) -> None:
        """
        A result that comes later is shown when it comes.
        """
        self.assertEqual(self.type("later"), ["<Deferred #0>", ">>> "])
        self.waiting.callback("done")
        self.assertIn("Deferred #0 called back: 'done'", self.shown())

    def test_exit(self) -> None:
        """
        However somebody leaves, only the session ends, and the screen is not wiped.
        """
        before = sys.stdin
        for line in ("exit()", "quit()", "raise SystemExit", "import sys; sys.exit(3)"):
            self.transport.disconnecting = False
            shown = self.type(line)
            self.assertTrue(self.transport.disconnecting, line)
            self.assertNotIn("\x1bc", "".join(shown))
        self.transport.disconnecting = False
        self.screen.dataReceived(b"\x04")
        self.assertTrue(self.transport.disconnecting)
        self.assertIs(sys.stdin, before)
        self.assertFalse(before is not None and before.closed)

    def test_leave(self) -> None:
        """
        The terminal is left as it was found: it replaces what is typed over.
        """
        self.assertIn("\x1b[4h", self.shown())
        self.screen.leave()
        shown = self.shown()
        self.assertIn("\x1b[4l", shown)
        self.assertNotIn("\x1bc", shown)

    def test_history(self) -> None:
        """
        Lines can be had again, but not all of them for ever.
        """
        for number in range(1100):
            self.type(str(number))
        self.assertLessEqual(len(self.console.historyLines), 1000)
        self.screen.dataReceived(b"\x1b[A\x1b[A\r")
        self.assertIn("\r\n1098\r\n", self.shown())

    def test_stays_here(self) -> None:
        """
        Nothing that is typed is logged, keys that mean nothing included.
        """
        self.type("answer")
        self.screen.dataReceived(
            "\N{LATIN SMALL LETTER E WITH ACUTE}\x00\x1bx".encode()
        )
        self.assertEqual(self.events, [])
