"""
Reactors of epoll that a test turns by hand, and connections on them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

#: How long a turn waits for something to happen, and how often it is tried.
_WAIT = 0.01
_TURNS = 1000


@contextmanager
def turning(kind: Callable[[], EPollReactor]) -> Iterator[EPollReactor]:
    """
    Have a reactor that never runs, and close all that it has in the end.
    """
    reactor = kind()
    try:
        yield reactor
    finally:
        for selectable in {*reactor.getReaders(), *reactor.getWriters()}:
            with suppress(AttributeError):
                selectable.socket.close()
        reactor.waker.connectionLost(None)
        reactor._poller.close()


def turn_until(reactor: EPollReactor, happened: Callable[[], object]) -> None:
    """
    Turn a reactor until something has happened.

    @raise AssertionError: If it does not happen.
    """
    for _ in range(_TURNS):
        if happened():
            return
        reactor.iterate(_WAIT)
    raise AssertionError("it does not happen")


def settle(reactor: EPollReactor) -> None:
    """
    Turn a reactor until all is done that there is to do at this moment.
    """
    for _ in range(5):
        reactor.iterate(0)


@implementer(IPushProducer)
class Noting(Protocol):
    """
    A protocol that notes what it is told.

    @ivar told: What it was told, in order: C{made}, C{read-lost}, C{write-lost} and the
        name of the error that it was lost with; as a producer C{pause}, C{resume} and
        C{stop}.
    @ivar received: What it received.
    """

    transport: Any

    def __init__(self) -> None:
        """
        Begin with nothing.
        """
        self.told: list[str] = []
        self.received = b""

    def connectionMade(self) -> None:
        """
        The connection is there.
        """
        self.told.append("made")

    def dataReceived(self, data: bytes) -> None:
        """
        Keep what is received.
        """
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        self.told.append(type(reason.value).__name__)

    def pauseProducing(self) -> None:
        """
        The transport has enough.
        """
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """
        The transport takes more.
        """
        self.told.append("resume")

    def stopProducing(self) -> None:
        """
        The transport takes no more.
        """
        self.told.append("stop")


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Noting):
    """
    One that is told of each direction's end.
    """

    def readConnectionLost(self) -> None:
        """
        The peer sends no more.
        """
        self.told.append("read-lost")

    def writeConnectionLost(self) -> None:
        """
        We send no more.
        """
        self.told.append("write-lost")


def reset(peer: socket.socket) -> None:
    """
    Break a connection from its other side.
    """
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def read_now(peer: socket.socket) -> bytes | None:
    """
    Read what has come.

    @return: The bytes, empty at the end of the stream; C{None} where nothing has come.
    """
    before = peer.gettimeout()
    peer.setblocking(False)
    try:
        return peer.recv(1 << 20)
    except BlockingIOError:
        return None
    finally:
        peer.settimeout(before)
