# -*- test-case-name: tests.test_files -*-
"""
Files that others change: noticing it, and reading them safely.

Directories are watched rather than files, since most writers put a new file in the old
one's place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime

from mdproxy.inotify import (
    IN_CREATE,
    IN_IGNORED,
    IN_ISDIR,
    IN_MOVE_SELF,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
    IN_UNMOUNT,
    Event,
    Notifier,
)

#: A file's identity and version: device, inode, times of the last change of what it
#: holds and of anything about it, size.
Signature = tuple[int, int, int, int, int]

#: For how many seconds events are collected; a writer causes several.
SETTLE = 0.015
#: The same after the first event that a prompt watch told of; then twice as long each
#: time.  dnsmasq's first one is that it has emptied its file, and its lines follow.
_SOON = 0.001
#: After how many seconds everything is looked at anyway.
RESCAN = 30.0
#: The same where events can't be had.
POLL = 1.0

#: The watch itself has ended, or is of a directory that lies elsewhere now.
_ENDED = IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT
#: There may be one more directory.
_APPEARED = IN_CREATE | IN_MOVED_TO


class Unreadable(Exception):
    """
    A file can't be read; the text says why.
    """


class Missing(Unreadable):
    """
    A file does not exist.
    """


def signature_of(path: str) -> Signature | None:
    """
    Tell what a file looks like without reading it.

    @return: C{None} where that can't be seen.
    """
    try:
        return signature_in(os.stat(path))
    except OSError:
        return None


def read_file(path: str, limit: int) -> tuple[bytes, Signature | None]:
    """
    Read a whole file that somebody else may be writing.

    @param path: Where it is.
    @param limit: How many bytes are not too many.

    @return: What it holds, and its signature; C{None} for that where it changed while
        it was read.

    @raise Missing: If there is no such file.
    @raise Unreadable: If it can't be read, is too large, or is no file but a pipe or
        the like, which might never end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise Unreadable(f"{path} is no plain file")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(limit + 1)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise Missing(f"{path} does not exist") from None
    except OSError as error:
        raise Unreadable(f"{path} can't be read: {error.strerror}") from None
    if len(data) > limit:
        raise Unreadable(f"{path} is larger than {limit} bytes")
    is_same = signature_in(before) == signature_in(after)
    return data, signature_in(after) if is_same else None


def signature_in(status: os.stat_result) -> Signature:
    """
    Put together what differs whenever a file does.
    """
    return (
        status.st_dev,
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
    )


class DirectoryWatch(Service):
    """
    Tells of changed files in some directories, by inotify, or else by looking often.

    A directory that doesn't exist yet, or can't be watched, makes no trouble: it is
    looked for once a second.

    @ivar polling: Whether some directory is not watched now.
    @ivar overflows: How often the kernel had more to tell than its queue holds.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        directories: Callable[[], Iterable[str]],
        changed: Callable[[frozenset[str] | None], None],
        prompt: bool = False,
        notifier: Callable[
            [IReactorFDSet, Callable[[Sequence[Event]], None], Callable[[], None]],
            Notifier,
        ] = Notifier,
    ) -> None:
        """
        Prepare a watch; nothing is watched before it is started.

        @param reactor: Watches the inotify descriptor.
        @param clock: Schedules; usually the reactor too.
        @param directories: Tells which directories matter now.
        @param changed: Called with the paths that may have changed (a directory's own
            path where it has come or gone); or with C{None} where any may have: at the
            start and every now and then.
        @param prompt: Tell of the first event at once and collect only what follows,
            for longer and longer while it does, for files of which every moment may be
            read.
        @param notifier: Opens an inotify descriptor.
        """
        self.polling = True
        self.overflows = 0
        self._reactor = reactor
        self._clock = clock
        self._directories = directories
        self._changed = changed
        self._prompt = prompt
        self._open_notifier = notifier
        self._notifier: Notifier | None = None
        # The watched directories, and which directory it is that has the watch.
        self._watched: dict[str, tuple[int, int]] = {}
        self._touched: set[str] = set()
        self._look: IDelayedCall | None = None
        self._tell: IDelayedCall | None = None
        self._pause = _SOON

    def startService(self) -> None:
        """
        Watch, and have everything looked at before this returns.
        """
        super().startService()
        self._look_now()

    def stopService(self) -> None:
        """
        Let go of the descriptor and the timers.
        """
        super().stopService()
        for call in (self._look, self._tell):
            if call is not None:
                call.cancel()
        self._look = self._tell = None
        self._touched.clear()
        self._drop()

    def _look_now(self) -> None:
        """
        See to the watches, and have everything looked at.
        """
        self._look = None
        self._watch()
        self._look = self._clock.callLater(
            POLL if self.polling else RESCAN, self._look_now
        )
        self._changed(None)

    def _look_soon(self) -> None:
        """
        See to the watches before long, for something happened to them.
        """
        soon = self._clock.seconds() + SETTLE
        if self._look is not None and self._look.getTime() > soon:
            self._look.reset(SETTLE)

    def _watch(self) -> None:
        """
        Watch the directories that can be watched.
        """
        wanted = set(self._directories())
        for path in set(self._watched) - wanted:
            self._unwatch(path)
        missing = [path for path in sorted(wanted) if not self._is_watched(path)]
        self.polling = bool(missing)

    def _is_watched(self, path: str) -> bool:
        """
        Watch a directory, unless that very directory is watched already.
        """
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if self._watched.get(path) == identity:
                return True
            self._unwatch(path)
            if self._notifier is None:
                self._notifier = self._open_notifier(
                    self._reactor, self._happened, self._lost
                )
            self._notifier.watch(path)
        except OSError:
            self._unwatch(path)
            return False
        self._watched[path] = identity
        return True

    def _unwatch(self, path: str) -> None:
        """
        Watch a directory no more.
        """
        if self._watched.pop(path, None) is not None and self._notifier is not None:
            self._notifier.ignore(path)

    def _happened(self, events: Sequence[Event]) -> None:
        """
        Take events.
        """
        notable = [event for event in events if self._note(event)]
        if notable:
            self._follow()
        if self._touched and self._tell is None:
            if self._prompt:
                self._tell_now()
            else:
                self._tell = self._clock.callLater(SETTLE, self._tell_now)

    def _note(self, event: Event) -> bool:
        """
        Take an event.

        @return: Whether a directory may have come or gone.
        """
        if event.mask & IN_Q_OVERFLOW:
            self.overflows += 1
            self._look_soon()
            return False
        if event.mask & _ENDED:
            self._unwatch(event.directory)
            self._touched.add(event.directory)
            return True
        if event.mask & IN_ISDIR:
            return bool(event.mask & _APPEARED)
        if event.name:
            self._touched.add(os.path.join(event.directory, event.name))
        return False

    def _follow(self) -> None:
        """
        Watch the directories that have come, and no more those that have gone.
        """
        wanted, watched = set(self._directories()), set(self._watched)
        for path in watched - wanted:
            self._unwatch(path)
        for path in wanted - watched:
            # What was in one that is made anew may have gone.
            if path in self._touched or not self._is_watched(path):
                self._look_soon()
            else:
                self._touched.update(_entries(path))
        self._touched |= watched ^ wanted

    def _tell_now(self) -> None:
        """
        Tell what was touched, and then collect for a while.
        """
        self._tell = None
        if not self._touched:
            self._pause = _SOON
            return
        if self._prompt:
            self._tell = self._clock.callLater(self._pause, self._tell_now)
            self._pause = min(2 * self._pause, SETTLE)
        touched = frozenset(self._touched)
        self._touched.clear()
        self._changed(touched)

    def _lost(self) -> None:
        """
        Make up for a lost descriptor.
        """
        self._notifier = None
        self._watched.clear()
        self.polling = True
        self._look_soon()

    def _drop(self) -> None:
        """
        Let go of the descriptor.
        """
        self._watched.clear()
        self.polling = True
        if self._notifier is not None:
            self._notifier.close()
            self._notifier = None


def _entries(directory: str) -> list[str]:
    """
    List the paths of what is in a directory; it may be gone by now.
    """
    try:
        return [os.path.join(directory, name) for name in os.listdir(directory)]
    except OSError:
        return []
