# -*- test-case-name: tests.test_entrance -*-
"""
Accepting connections on a socket that listens already, where Twisted would change the
mode of its file.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from attrs import define
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

#: So many connections are accepted in one turn of the reactor's loop.
_AT_ONCE: Final = 64


@implementer(IReadDescriptor)
@define(eq=False)
class Entrance:
    """
    Accepts connections.

    @ivar _listening: The socket.
    @ivar _accepted: Takes each connection.
    @ivar _failed: Is told why one could not be accepted; nothing is accepted then until
        C{open}.
    @ivar _name: What it is called in logs.
    """

    _reactor: Any
    _listening: socket.socket
    _accepted: Callable[[socket.socket], None]
    _failed: Callable[[OSError], None]
    _name: str

    def open(self) -> None:
        """
        Accept from now on.
        """
        self._reactor.addReader(self)

    def close(self) -> None:
        """
        Accept no more.
        """
        self._reactor.removeReader(self)
        self._listening.close()

    def fileno(self) -> int:
        """
        Provide C{IFileDescriptor.fileno}.
        """
        return self._listening.fileno()

    def logPrefix(self) -> str:
        """
        Provide C{ILoggingContext.logPrefix}.
        """
        return self._name

    def doRead(self) -> None:
        """
        Provide C{IReadDescriptor.doRead}.
        """
        for _ in range(_AT_ONCE):
            try:
                accepted, _name = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                # Mostly that no descriptor is left; asking again at once is no use.
                self._reactor.removeReader(self)
                self._failed(error)
                return
            accepted.setblocking(False)
            self._accepted(accepted)

    def connectionLost(self, reason: Failure) -> None:
        """
        Provide C{IReadDescriptor.connectionLost}: the reactor ends.
        """
        self.close()
