"""
Connections that do nothing, and what they cost in memory.
"""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack

from attrs import frozen

from bench.accounting import resident
from bench.backend import PLAIN, PLAIN_BODY
from bench.load import WrongAnswer
from bench.places import Place
from bench.system import System
from tests.lab.guest import request

#: Answers before memory counts as at rest: what is made once has been made.
_FIRST = 8
_MOST_FILES = 16384


@frozen
class Memory:
    """
    What a system holds.

    @ivar rest: MB of RSS once it has answered its first requests.
    @ivar full: MB of RSS with the idle connections.
    @ivar connections: How many these were.
    """

    rest: float
    full: float
    connections: int

    @property
    def each(self) -> float:
        """
        What a connection costs, in kB.
        """
        return (self.full - self.rest) * 1024 / self.connections


def allow_many_files() -> None:
    """
    Let this process, and what it starts, have thousands of connections.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def hold(place: Place, system: System, connections: int) -> Memory:
    """
    Open connections, use each once, and see what the system holds then.

    @param system: One that was just started.
    """
    with ExitStack() as cleanup:
        for _ in range(_FIRST):
            _use(cleanup, place.host, system.port)
        rest = resident(system.roots) / 1024
        held = [_use(cleanup, place.host, system.port) for _ in range(connections)]
        full = resident(system.roots) / 1024
        closed = sum(map(_is_closed, held))
        if closed:
            raise WrongAnswer(f"{system.name} closed {closed} of {connections}")
        return Memory(rest, full, connections)


def _is_closed(connection: socket.socket) -> bool:
    """
    Look whether the other side has closed a connection on which nothing is due.
    """
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return False
    return True


def _use(cleanup: ExitStack, host: str, port: int) -> socket.socket:
    """
    Open a connection that stays, and ask once.
    """
    connection = socket.create_connection((host, port), 20)
    cleanup.callback(connection.close)
    connection.sendall(request(PLAIN, close=False, host=host))
    got = b""
    while not got.endswith(PLAIN_BODY.encode()):
        more = connection.recv(65536)
        if not more:
            raise WrongAnswer(f"instead of an answer: {got!r}")
        got += more
    return connection
