# -*- test-case-name: tests.test_manhole_relay -*-
"""
Standard input and output, joined with a UNIX socket: what C{ssh} needs as its
C{ProxyCommand} (ssh_config(5)) to come in by one.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys

#: So many bytes are carried at a time.
_PIECE = 65536


def relay(path: str, source: int = 0, sink: int = 1) -> int:
    """
    Carry bytes both ways until the other side ends.

    @param path: The socket.
    @param source: The descriptor that is read.
    @param sink: The descriptor that is written to.

    @return: An exit status: 0, or 3 where nobody can be reached there; standard error
        then says why.
    """
    try:
        with socket.socket(socket.AF_UNIX) as line:
            _connect(line, path)
            _carry(line, source, sink)
    except BrokenPipeError:
        # That is how ssh leaves.
        return 0
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return 3
    return 0


def _connect(line: socket.socket, path: str) -> None:
    """
    Connect to a path of any length (C{sun_path} has 108 bytes, unix(7)).
    """
    directory, name = os.path.split(os.path.abspath(path))
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        line.connect(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


def _carry(line: socket.socket, source: int, sink: int) -> None:
    """
    Carry bytes both ways.
    """
    with selectors.SelectSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        selector.register(line, selectors.EVENT_READ)
        while True:
            for key, _events in selector.select():
                if key.fd == source:
                    data = os.read(source, _PIECE)
                    line.sendall(data)
                    if not data:
                        selector.unregister(source)
                        line.shutdown(socket.SHUT_WR)
                    continue
                data = line.recv(_PIECE)
                if not data:
                    return
                while data:
                    data = data[os.write(sink, data) :]
