# -*- test-case-name: tests.test_inotify -*-
"""
The kernel's news of changes in directories (inotify(7)).

Twisted's own wrapper drops all watches when one watched directory is deleted, and says
nothing when the kernel's queue ran over; this one does neither, and a watch costs a few
hundred bytes, for a host may have a thousand networks with a directory each.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import frozen
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

# linux/inotify.h
IN_MODIFY: Final = 0x0002
IN_ATTRIB: Final = 0x0004
IN_CLOSE_WRITE: Final = 0x0008
IN_MOVED_FROM: Final = 0x0040
IN_MOVED_TO: Final = 0x0080
IN_CREATE: Final = 0x0100
IN_DELETE: Final = 0x0200
IN_MOVE_SELF: Final = 0x0800
IN_UNMOUNT: Final = 0x2000
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ISDIR: Final = 0x40000000
_IN_ONLYDIR: Final = 0x01000000

#: Everything by which a file in a directory may come to read differently.
MASK: Final = (
    IN_CLOSE_WRITE
    | IN_MOVED_TO
    | IN_MOVED_FROM
    | IN_CREATE
    | IN_DELETE
    | IN_MODIFY
    | IN_ATTRIB
    | IN_MOVE_SELF
)

#: struct inotify_event: watch, mask, cookie, length of the name.
_EVENT: Final = struct.Struct("=iIII")
#: Bytes that are read in a turn; the reactor comes again where there is more.
_READ: Final = 16384

_libc = ctypes.CDLL(None, use_errno=True)


@frozen
class Event:
    """
    Something that happened in a watched directory, or to it.

    @ivar directory: The directory, by the path that it is watched by; empty where the
        kernel's queue ran over (C{IN_Q_OVERFLOW}).
    @ivar name: The entry; empty: the directory itself.
    @ivar mask: What happened.
    """

    directory: str
    name: str
    mask: int


@implementer(IReadDescriptor)
class Notifier:
    """
    One inotify descriptor in the reactor.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        happened: Callable[[Sequence[Event]], None],
        lost: Callable[[], None],
    ) -> None:
        """
        Open the descriptor and begin to read.

        @param happened: Called with what happened, all of one turn at once.
        @param lost: Called when the reactor dropped the descriptor.

        @raise OSError: If there is none to be had (EMFILE, or as many instances as
            C{fs.inotify.max_user_instances} allows).
        """
        self._reactor = reactor
        self._happened = happened
        self._lost: Callable[[], None] | None = lost
        # Two paths may lead to one directory, which has one watch.
        self._paths: dict[int, tuple[str, ...]] = {}
        self._watches: dict[str, int] = {}
        self._descriptor = _checked(
            _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1"
        )
        reactor.addReader(self)

    def fileno(self) -> int:
        """
        Provide C{IFileDescriptor.fileno}.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        Provide C{ILoggingContext.logPrefix}.
        """
        return "inotify"

    def watch(self, path: str) -> None:
        """
        Watch a directory, by one more path perhaps.

        @raise OSError: If it is none, or there are as many watches as
            C{fs.inotify.max_user_watches} allows (ENOSPC).
        """
        watch = _checked(
            _libc.inotify_add_watch(
                self._descriptor,
                ctypes.c_char_p(os.fsencode(path)),
                ctypes.c_uint32(MASK | _IN_ONLYDIR),
            ),
            path,
        )
        if self._watches.get(path) == watch:
            return
        self.ignore(path)
        self._watches[path] = watch
        self._paths[watch] = (*self._paths.get(watch, ()), path)

    def ignore(self, path: str) -> None:
        """
        Watch a path no more; one that is not watched is none of anybody's business.
        """
        watch = self._watches.pop(path, None)
        if watch is None:
            return
        paths = tuple(each for each in self._paths[watch] if each != path)
        if paths:
            self._paths[watch] = paths
        else:
            del self._paths[watch]
            _libc.inotify_rm_watch(self._descriptor, watch)

    def doRead(self) -> Any:
        """
        Take what the kernel has to tell.

        @return: What is wrong with the descriptor, so that the reactor drops it.
        """
        try:
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return None
        except OSError as error:
            return error
        events: list[Event] = []
        offset = 0
        while offset < len(data):
            watch, mask, _cookie, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            events += self._events(watch, mask, name)
        if events:
            self._happened(events)
        return None

    def _events(self, watch: int, mask: int, name: str) -> list[Event]:
        """
        Say what happened by the paths that the directory is watched by.
        """
        if mask & IN_Q_OVERFLOW:
            return [Event("", "", mask)]
        paths = self._paths.get(watch, ())
        if mask & IN_IGNORED and paths:
            # The watch has gone with its directory.
            del self._paths[watch]
            for path in paths:
                del self._watches[path]
        return [Event(path, name, mask) for path in paths]

    def connectionLost(self, reason: Failure) -> None:
        """
        Close the descriptor, once.
        """
        self._close()
        lost, self._lost = self._lost, None
        if lost is not None:
            lost()

    def close(self) -> None:
        """
        Let go of the descriptor; C{lost} is not called.
        """
        self._lost = None
        self._close()

    def _close(self) -> None:
        """
        Close the descriptor, if that was not done.
        """
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1


def _checked(result: int, what: str) -> int:
    """
    Take what a call of the C library returned.

    @raise OSError: If it failed.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
