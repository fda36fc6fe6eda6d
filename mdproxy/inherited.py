# -*- test-case-name: tests.test_inherited -*-
"""
Sockets that systemd opened for us (systemd.socket(5), sd_listen_fds(3)).

They let the service listen at port 80 without any privilege, and let connections wait
while it is started anew.  Each has a name, C{FileDescriptorName=}, which is that of the
listener it is for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import zip_longest
from typing import Any, Final, cast

from attrs import define, field
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger

from mdproxy import broker
from mdproxy.listeners import Place, open_listening

_NAME_LENGTH: Final = 16


@define(eq=False)
class Inherited:
    """
    The sockets that were handed over.

    @ivar _sockets: Those of each listener.
    """

    _sockets: Mapping[str, list[socket.socket]] = field(factory=dict)
    _told: set[tuple[str, Place]] = field(factory=set, init=False)
    _log: Logger = field(factory=Logger, init=False)

    @classmethod
    def of_process(cls) -> Inherited:
        """
        Take what systemd has handed over to this process.
        """
        return cls.of_descriptors(
            _found_by_twisted(), os.environ.get("LISTEN_FDNAMES", "").split(":")
        )

    @classmethod
    def of_descriptors(
        cls, descriptors: Sequence[int], names: Sequence[str]
    ) -> Inherited:
        """
        Take what was handed over.

        @param descriptors: The descriptors; what is no socket is for somebody else.
        @param names: Their names, in the same order; there may be fewer.
        """
        sockets: dict[str, list[socket.socket]] = {}
        for descriptor, name in zip_longest(descriptors, names[: len(descriptors)]):
            try:
                opened = socket.socket(fileno=descriptor)
            except OSError:
                continue
            # It must reach no process that we start.
            opened.set_inheritable(False)
            opened.setblocking(False)
            sockets.setdefault(name or "", []).append(opened)
        return cls(sockets)

    @property
    def names(self) -> list[str]:
        """
        Name the listeners that were handed something.
        """
        return sorted(self._sockets)

    def open_for(self, listener: str) -> Callable[[Place], socket.socket]:
        """
        Make what opens the sockets of a listener: it takes those that were handed over,
        and opens only what is missing.

        @param listener: The listener's name.
        """
        return partial(self._open, listener)

    def unix_for(self, listener: str) -> socket.socket | None:
        """
        Find the UNIX socket of a listener.

        @return: A descriptor of its own; C{None}: there is none.
        """
        for each in self._sockets.get(listener, ()):
            if each.family == socket.AF_UNIX and _listens(each):
                return each.dup()
        return None

    def _open(self, listener: str, place: Place) -> socket.socket:
        """
        Find or open the socket for a place.

        @raise OSError: If there is none and it can't be opened.
        """
        handed = self._sockets.get(listener, [])
        for each in handed:
            if _is_at(each, place):
                # The first stays here: what is closed can be opened again.
                found = each.dup()
                broker.prepare(found)
                return found
        if handed and (listener, place) not in self._told:
            self._told.add((listener, place))
            self._log.warn(
                "none of the {count} sockets that systemd named {listener} listens at "
                "{address} port {port}, device {device}",
                count=len(handed),
                listener=listener,
                address=place.address,
                port=place.port,
                device=place.device,
            )
        return open_listening(place)


def _found_by_twisted() -> list[int]:
    """
    List the descriptors that systemd handed over to this process.

    Twisted looks for them when its endpoints are imported, and takes what it finds out
    of the environment, all but the names (twisted/python/systemd.py,
    C{_parseDescriptors}); so it is asked, as anybody may ask for an endpoint.
    """
    found: list[int] = []
    with suppress(IndexError):
        while True:
            text = f"systemd:domain=INET:index={len(found)}"
            endpoint: Any = serverFromString(cast(Any, None), text)
            found.append(endpoint.fileno)
    return found


def _is_at(opened: socket.socket, place: Place) -> bool:
    """
    Tell whether a socket listens just where it should: a device that was made anew is
    not the one that it was bound to.
    """
    if opened.family != place.family or not _listens(opened):
        return False
    name: Any = opened.getsockname()
    if (name[0].partition("%")[0], name[1]) != (place.address, place.port):
        return False
    try:
        device = opened.getsockopt(
            socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _NAME_LENGTH
        )
    except OSError:
        return False
    return device.rstrip(b"\0") == (place.device or "").encode()


def _listens(opened: socket.socket) -> bool:
    """
    Tell whether connections can come in.
    """
    if opened.type != socket.SOCK_STREAM:
        return False
    return bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
