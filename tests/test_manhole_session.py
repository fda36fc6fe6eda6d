"""
Tests for L{mdproxy.manhole.session}.
"""

from __future__ import annotations

import struct
from typing import Any

from twisted.conch.ssh.common import NS

from mdproxy.manhole.ssh import IDLE
from tests.ssh_client import (
    CLOSE,
    DATA,
    GLOBAL_FAILURE,
    GRANTED,
    NOT_OPENED,
    OPENED,
    REFUSED,
    Conversation,
)
from tests.test_manhole_ssh import ManholeCase


class SessionTests(ManholeCase):
    """
    What who is in can do.
    """

    def session(self) -> Conversation:
        """
        Be inside, with a channel.
        """
        conversation = self.inside()
        self.assertEqual(conversation.open(), [OPENED])
        return conversation

    def test_shell(self) -> None:
        """
        With a terminal there is a shell, once.
        """
        conversation = self.session()
        self.assertEqual(conversation.ask_for_terminal(), [GRANTED])
        heard = conversation.request(b"shell")
        self.assertEqual((heard[-1], set(heard)), (GRANTED, {DATA, GRANTED}))
        self.assertIn("42\r\n>>> ", conversation.type(b"answer\r"))
        self.assertEqual(conversation.request(b"shell"), [REFUSED])

    def test_size(self) -> None:
        """
        The terminal's size is known, also when it changes.
        """
        conversation = self.session()
        conversation.ask_for_terminal(width=60)
        conversation.request(b"shell")
        self.assertIn("[0,\r\n 1,", conversation.type(b"list(range(20))\r"))
        size = struct.pack(">4L", 200, 24, 0, 0)
        self.assertEqual(conversation.request(b"window-change", size), [GRANTED])
        self.assertIn("[0, 1, 2,", conversation.type(b"list(range(20))\r"))

    def test_no_terminal(self) -> None:
        """
        Without one there is none.
        """
        self.assertEqual(self.session().request(b"shell"), [REFUSED])

    def test_nothing_else(self) -> None:
        """
        No command, no subsystem, no agent, no display and no environment is to be had;
        what somebody wanted is logged, but not what he would have run.
        """
        conversation = self.session()
        for kind in (b"exec", b"subsystem", b"auth-agent-req@openssh.com", b"x11-req"):
            self.assertEqual(conversation.request(kind, NS(b"sftp")), [REFUSED])
            self.assertIn(f"may not have {kind.decode()}", self.said("warn")[-1])
        for kind in (b"env", b"signal", b"break", b"\xff", b"requestReceived"):
            self.assertEqual(conversation.request(kind, NS(b"LANG")), [REFUSED])
        self.assertEqual(len(self.said("warn")), 4)
        self.assertNotIn("sftp", str(self.events))

    def test_no_forwarding(self) -> None:
        """
        Nothing is forwarded in either direction, and that somebody tried is logged.
        """
        conversation = self.session()
        for kind in (b"direct-tcpip", b"direct-streamlocal@openssh.com", b"x11"):
            self.assertEqual(conversation.open(kind, 1), [NOT_OPENED])
            self.assertIn(kind.decode(), self.said("warn")[-1])
        for kind in (b"tcpip-forward", b"streamlocal-forward@openssh.com"):
            heard = conversation.numbers(80, NS(kind), b"\1", NS(b"127.0.0.1"))
            self.assertEqual(heard, [GLOBAL_FAILURE])
            self.assertIn(kind.decode(), self.said("warn")[-1])

    def test_alive(self) -> None:
        """
        What a client asks only to see whether we live it is told, and not logged.
        """
        heard = self.session().numbers(80, NS(b"keepalive@openssh.com"), b"\1")
        self.assertEqual(heard, [GLOBAL_FAILURE])
        self.assertEqual(self.said("warn"), [])

    def test_one_channel(self) -> None:
        """
        There is one channel at a time.
        """
        self.assertEqual(self.session().open(number=1), [NOT_OPENED])

    def test_leave(self) -> None:
        """
        When the session is over the client may close the connection; if it does not
        we do.
        """
        conversation = self.session()
        conversation.ask_for_terminal()
        conversation.request(b"shell")
        heard = conversation.say(DATA, bytes(4), NS(b"exit()\r"))
        self.assertEqual(heard[-1][0], CLOSE)
        self.assertIn(b"exit-status", heard[-2][1])
        conversation.say(CLOSE, bytes(4))
        self.assertFalse(conversation.far.disconnecting)
        self.clock.advance(5)
        self.assertTrue(conversation.far.broken)

    def test_end_of_input(self) -> None:
        """
        A client that has no more to say has left.
        """
        conversation = self.session()
        conversation.ask_for_terminal()
        conversation.request(b"shell")
        self.assertEqual(conversation.numbers(96, bytes(4))[-1], CLOSE)

    def test_idle(self) -> None:
        """
        Whoever types nothing for long is put out, whatever his client says meanwhile.
        """
        conversation = self.session()
        conversation.ask_for_terminal()
        conversation.request(b"shell")
        self.clock.advance(IDLE - 1)
        conversation.type(b"a")
        self.clock.advance(IDLE - 1)
        conversation.numbers(80, NS(b"keepalive@openssh.com"), b"\1")
        self.assertFalse(conversation.far.broken)
        self.clock.advance(1)
        self.assertTrue(conversation.far.broken)

    def test_fault(self) -> None:
        """
        A fault of ours is logged once, and ends nothing but this session.
        """

        def breaks(_width: int) -> Any:
            """
            Break.
            """
            raise RuntimeError("oops")

        conversation = self.session()
        conversation.ask_for_terminal()
        self.factory.make_console = breaks
        self.assertEqual(conversation.request(b"shell"), [REFUSED])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_nonsense(self) -> None:
        """
        Who is in and sends what can't be understood is put out; that is a fault worth
        a look.
        """
        conversation = self.session()
        conversation.say(90, b"\0")
        self.assertTrue(conversation.far.broken)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_nothing_kept(self) -> None:
        """
        What has ended is counted no more, and no timer is left.
        """
        for conversation in (self.connect(), self.ready(), self.session()):
            conversation.close()
        self.assertEqual((self.factory._trying, self.factory._in), ({}, set()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
