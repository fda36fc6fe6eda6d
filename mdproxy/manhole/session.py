# -*- test-case-name: tests.test_manhole_session -*-
"""
What follows the login: one session, with a terminal, and a shell on it.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from twisted.conch.ssh import connection
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.session import (
    parseRequest_pty_req,
    parseRequest_window_change,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger, LogLevel

from mdproxy.ini import printable
from mdproxy.manhole.shell import Screen

#: What is worth a line when somebody asks for it; the rest is clients' small talk.
_REFUSED: Final = (
    *(b"exec", b"subsystem", b"auth-agent-req@openssh.com", b"x11-req"),
    *(b"tcpip-forward", b"streamlocal-forward@openssh.com"),
)

_log = Logger()


class Failures(Logger):
    """
    Writes only of faults: conch tells of every step, and quotes what strangers send.
    """

    def emit(self, level: Any, format: str | None = None, **kwargs: Any) -> None:
        """
        Write an event if it is a fault.
        """
        if level == LogLevel.critical:
            super().emit(level, format, **kwargs)


def shown(text: bytes) -> str:
    """
    Make something that a stranger has sent fit for a log.
    """
    return printable(text.decode("utf-8", "backslashreplace"))


class Session(SSHChannel):
    """
    The one channel of a connection: a terminal, and then a shell on it.
    """

    _log = Failures()
    name = b"session"
    conn: Any
    _screen: Screen | None = None
    _width: int | None = None

    def requestReceived(self, kind: bytes, data: bytes) -> bool:
        """
        Take a request (RFC 4254, section 6).

        @return: Whether it was granted.
        """
        granted = {
            b"pty-req": self._take_terminal,
            b"window-change": self._take_size,
            b"shell": self._open_shell,
        }.get(kind)
        if granted is None:
            if kind in _REFUSED:
                self.conn.transport.refuse(f"may not have {shown(kind)}")
            return False
        try:
            return granted(data)
        except Exception:
            # Conch would just say no.
            _log.failure("manhole: {kind} broke", kind=shown(kind))
            return False

    def dataReceived(self, data: bytes) -> None:
        """
        Take what was typed.
        """
        self.conn.transport.typed()
        if self._screen is not None:
            self._screen.dataReceived(data)

    def extReceived(self, kind: int, data: bytes) -> None:
        """
        Drop what nobody types.
        """

    def eofReceived(self) -> None:
        """
        Nothing more will be typed.
        """
        self.loseConnection()

    def loseConnection(self) -> None:
        """
        End the session well, when all that was written has been sent.
        """
        if not self.closing and not self.localClosed:
            if self._screen is not None:
                self._screen.leave()
            status = struct.pack(">L", 0)
            self.conn.sendRequest(self, b"exit-status", status)
        super().loseConnection()

    def closed(self) -> None:
        """
        It has ended.
        """
        screen, self._screen = self._screen, None
        if screen is not None:
            screen.connectionLost(connectionDone)
        self.conn.transport.linger()

    def _take_terminal(self, data: bytes) -> bool:
        """
        Learn what terminal there is.
        """
        _term, (_rows, columns, _x, _y), _modes = parseRequest_pty_req(data)
        self._width = columns
        return True

    def _take_size(self, data: bytes) -> bool:
        """
        Learn its new size.
        """
        rows, columns, _x, _y = parseRequest_window_change(data)
        if self._screen is not None:
            self._screen.console.terminalSize(columns, rows)
        return True

    def _open_shell(self, _data: bytes) -> bool:
        """
        Begin the shell, once; it needs a terminal.
        """
        if self._width is None or self._screen is not None:
            return False
        self._screen = Screen(self.conn.transport.factory.make_console(self._width))
        self._screen.makeConnection(self)
        return True


class Connection(SSHConnection):
    """
    What follows the login: one session, and no other channel in either direction.
    """

    _log = Failures()
    transport: Any

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        """
        Open a session, and nothing else (RFC 4254, section 5.1).
        """
        kind, rest = getNS(packet)
        if kind == b"session" and not self.channels:
            super().ssh_CHANNEL_OPEN(packet)
            return
        self.transport.refuse(f"may not open a channel of type {shown(kind)}")
        self.transport.sendPacket(
            connection.MSG_CHANNEL_OPEN_FAILURE,
            rest[:4]
            + struct.pack(">L", connection.OPEN_ADMINISTRATIVELY_PROHIBITED)
            + NS(b"there is nothing but a shell here")
            + NS(b""),
        )

    def getChannel(self, _kind: bytes, window: int, most: int, data: bytes) -> Session:
        """
        Make the session.
        """
        return Session(remoteWindow=window, remoteMaxPacket=most, conn=self)

    def gotGlobalRequest(self, kind: bytes, data: bytes) -> int:
        """
        Grant nothing.
        """
        if kind in _REFUSED:
            self.transport.refuse(f"may not have {shown(kind)}")
        return 0
