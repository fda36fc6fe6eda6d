"""
Tests for L{mdproxy.files}.
"""

from __future__ import annotations

import os
import shutil
import socket
from errno import ENOSPC
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.files import (
    POLL,
    RESCAN,
    SETTLE,
    DirectoryWatch,
    Missing,
    Unreadable,
    read_file,
    signature_of,
)
from mdproxy.inotify import Notifier
from tests.inotify_reactor import WatchingReactor


class ReadFileTests(SynchronousTestCase):
    """
    Tests for L{read_file} and L{signature_of}.
    """

    def setUp(self) -> None:
        """
        Name a file.
        """
        self.path = self.mktemp()

    def test_whole(self) -> None:
        """
        A file up to the limit is read whole, with its signature.
        """
        Path(self.path).write_bytes(b"12345")
        self.assertEqual(read_file(self.path, 5), (b"12345", signature_of(self.path)))

    def test_signature_differs(self) -> None:
        """
        A file with other contents, or put in its place, has another signature.
        """
        Path(self.path).write_bytes(b"1")
        first = signature_of(self.path)
        Path(self.path).write_bytes(b"12")
        second = signature_of(self.path)
        Path(self.path + "x").write_bytes(b"12")
        os.utime(self.path + "x", ns=(0, os.stat(self.path).st_mtime_ns))
        os.rename(self.path + "x", self.path)
        third = signature_of(self.path)
        self.assertEqual(len({first, second, third}), 3)
        before = os.stat(self.path)
        Path(self.path).write_bytes(b"34")
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        # Somebody copied another one there with its times, as of the same second.
        self.assertNotEqual(signature_of(self.path), third)

    def test_too_large(self) -> None:
        """
        A larger one is refused.
        """
        Path(self.path).write_bytes(b"123456")
        with self.assertRaisesRegex(Unreadable, "larger than 5 bytes"):
            read_file(self.path, 5)

    def test_missing(self) -> None:
        """
        A file that isn't there is told apart.
        """
        with self.assertRaisesRegex(Missing, "does not exist"):
            read_file(self.path, 5)
        self.assertIsNone(signature_of(self.path))

    def test_no_file(self) -> None:
        """
        What is no file is refused, without waiting for it to say something.
        """
        os.mkdir(self.path)
        os.mkfifo(self.path + "pipe")
        before = os.listdir("/proc/self/fd")
        # The path of a socket must be short.
        with TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{short}/socket")
            for path in (self.path, self.path + "pipe", f"{short}/socket"):
                with self.assertRaises(Unreadable):
                    read_file(path, 5)
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_kernel_says_no(self) -> None:
        """
        The kernel's own reason is told.
        """
        Path(self.path).write_bytes(b"")
        with self.assertRaisesRegex(Unreadable, "Not a directory"):
            read_file(self.path + "/child", 5)


class DirectoryWatchTests(SynchronousTestCase):
    """
    Tests for L{DirectoryWatch}, with the kernel's own events.
    """

    def setUp(self) -> None:
        """
        Watch two directories.
        """
        self.one = os.path.abspath(self.mktemp())
        self.two = os.path.abspath(self.mktemp())
        os.mkdir(self.one)
        os.mkdir(self.two)
        self.directories = [self.one, self.two]
        self.reactor = WatchingReactor()
        self.told: list[frozenset[str] | None] = []
        self.watch = DirectoryWatch(
            self.reactor, self.reactor, lambda: self.directories, self.told.append
        )

    def start(self) -> None:
        """
        Start the watch, and forget what it told then.
        """
        self.watch.startService()
        self.addCleanup(self.watch.stopService)
        self.assertEqual(self.told, [None])
        self.told.clear()

    def write(self, directory: str, name: str = "file") -> str:
        """
        Write a file.
        """
        path = os.path.join(directory, name)
        Path(path).write_bytes(b"x")
        return path

    def test_burst_is_told_once(self) -> None:
        """
        Many changes in a short time are told once, each path in it.
        """
        self.start()
        first = self.write(self.one)
        self.write(self.one)
        second = self.write(self.two, "other")
        self.reactor.take_events()
        self.assertEqual(self.told, [])
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [frozenset({first, second})])
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(len(self.told), 1)

    def test_each_kind_of_change(self) -> None:
        """
        Writing in place, renaming over, renaming away, deleting and a change of mode
        are all told.
        """
        path = self.write(self.one)
        other = os.path.join(self.two, "other")
        self.start()

        def rename_over() -> None:
            os.rename(self.write(self.two, "new"), path)

        changes = {
            "append": lambda: Path(path).open("ab").close(),
            "in place": lambda: os.truncate(path, 0),
            "over": rename_over,
            "mode": lambda: os.chmod(path, 0o600),
            "away": lambda: os.rename(path, other),
            "delete": lambda: os.unlink(self.write(self.one)),
        }
        for name, change in changes.items():
            change()
            self.reactor.take_events()
            self.reactor.advance(SETTLE)
            told = self.told.pop()
            self.assertIsNotNone(told)
            self.assertIn(path, told or (), name)

    def test_slow_rescan(self) -> None:
        """
        Every now and then everything is to be looked at, events or not.
        """
        self.start()
        self.assertFalse(self.watch.polling)
        self.reactor.advance(RESCAN - 1)
        self.assertEqual(self.told, [])
        self.reactor.advance(1)
        self.assertEqual(self.told, [None])
        self.reactor.advance(RESCAN)
        self.assertEqual(self.told, [None, None])

    def test_deleted_directory(self) -> None:
        """
        A deleted directory does not silence the others, and is watched again when it
        comes back.
        """
        self.start()
        shutil.rmtree(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertTrue(self.watch.polling)
        self.told.clear()
        path = self.write(self.two)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [frozenset({path})])
        os.mkdir(self.one)
        self.reactor.advance(POLL)
        self.assertFalse(self.watch.polling)
        self.assertEqual(self.told[1:], [None])
        path = self.write(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told[2:], [frozenset({path})])

    def test_moved_directory(self) -> None:
        """
        A directory that was moved away is missed at once, and what is in its place then
        is watched.
        """
        self.start()
        os.rename(self.one, self.one + "away")
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertTrue(self.watch.polling)
        self.assertEqual(self.told, [None, frozenset({self.one})])
        os.mkdir(self.one)
        self.reactor.advance(POLL)
        self.assertFalse(self.watch.polling)
        self.told.clear()
        self.write(self.one + "away")
        path = self.write(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [frozenset({path})])

    def test_replaced_directory(self) -> None:
        """
        Another directory that a link leads to now is found by the rescan.
        """
        link = os.path.abspath(self.mktemp())
        os.symlink(self.two, link)
        self.directories[:] = [link]
        self.start()
        os.remove(link)
        os.symlink(self.one, link)
        self.reactor.advance(RESCAN)
        self.told.clear()
        path = self.write(link)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [frozenset({path})])

    def test_not_yet_there(self) -> None:
        """
        A directory that comes later is watched from then on; until then everything is
        looked at often.
        """
        later = os.path.join(self.one, "later")
        self.directories = [later]
        self.start()
        self.assertTrue(self.watch.polling)
        self.reactor.advance(POLL)
        self.assertEqual(self.told, [None])
        os.mkdir(later)
        self.reactor.advance(POLL)
        self.assertFalse(self.watch.polling)

    def test_not_watchable(self) -> None:
        """
        What can't be watched is looked at often, at no cost for the others.
        """
        self.directories = [self.one, self.write(self.two)]
        os.symlink("loop", os.path.join(self.one, "loop"))
        self.directories.append(os.path.join(self.one, "loop"))
        self.start()
        self.assertTrue(self.watch.polling)
        path = self.write(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [frozenset({path})])

    def test_other_directories(self) -> None:
        """
        Which directories matter may change.
        """
        self.start()
        self.directories = [self.two]
        self.reactor.advance(RESCAN)
        self.told.clear()
        self.write(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [])

    def test_new_subdirectory(self) -> None:
        """
        A new directory that does not matter is not told of.
        """
        self.start()
        for name in "abc":
            os.mkdir(os.path.join(self.one, name))
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [])

    def test_directory_comes(self) -> None:
        """
        A new directory that matters is told with what was in it before it was watched,
        and then what happens in it is; the other directories are not looked at.
        """
        three = os.path.join(self.one, "three")
        self.start()
        self.directories += [three]
        os.mkdir(three)
        path = self.write(three)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [frozenset({three, path})])
        other = self.write(three, "other")
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told[1:], [frozenset({other})])

    def test_directory_goes(self) -> None:
        """
        A directory that went for good is told, and the other directories are not looked
        at.
        """
        self.start()
        shutil.rmtree(self.one)
        self.directories.remove(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [frozenset({self.one})])
        self.assertFalse(self.watch.polling)

    def test_directory_made_anew(self) -> None:
        """
        Of a directory that was deleted and is there again everything is looked at.
        """
        self.start()
        shutil.rmtree(self.one)
        os.mkdir(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertIn(None, self.told)
        self.assertFalse(self.watch.polling)
        path = self.write(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told[-1], frozenset({path}))

    def test_two_paths_to_one_directory(self) -> None:
        """
        What happens in a directory is told by every path that leads to it.
        """
        link = os.path.abspath(self.mktemp())
        os.symlink(self.one, link)
        self.directories.append(link)
        self.start()
        path = self.write(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [frozenset({path, os.path.join(link, "file")})])
        self.directories.remove(link)
        self.reactor.advance(RESCAN)
        self.told.clear()
        self.write(self.one)
        self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [frozenset({path})])

    def test_prompt(self) -> None:
        """
        A prompt watch tells of the first event at once, and of those that follow
        together; then again.
        """
        self.watch = DirectoryWatch(
            self.reactor,
            self.reactor,
            lambda: self.directories,
            self.told.append,
            prompt=True,
        )
        self.start()
        first, second = self.write(self.one), os.path.join(self.two, "second")
        self.reactor.take_events()
        self.assertEqual(self.told, [frozenset({first})])
        for _ in range(3):
            self.write(self.one)
            self.write(self.two, "second")
            self.reactor.take_events()
        self.assertEqual(len(self.told), 1)
        self.reactor.advance(0.001)
        self.assertEqual(self.told[1:], [frozenset({first, second})])
        self.reactor.advance(SETTLE)
        self.write(self.one)
        self.reactor.take_events()
        self.assertEqual(self.told[2:], [frozenset({first})])

    def test_prompt_but_not_always(self) -> None:
        """
        While more and more happens a prompt watch tells of it less and less often.
        """
        self.watch = DirectoryWatch(
            self.reactor,
            self.reactor,
            lambda: self.directories,
            self.told.append,
            prompt=True,
        )
        self.start()
        for _ in range(1000):
            self.write(self.one)
            self.reactor.take_events()
            self.reactor.advance(0.0005)
        self.assertGreater(len(self.told), 500 / 15)
        self.assertLess(len(self.told), 500 / 15 + 6)

    def test_overflow(self) -> None:
        """
        Where the kernel's queue ran over everything is looked at, and it is counted
        (scenario D9).
        """
        self.start()
        size = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        path = os.path.join(self.one, "file")
        other = os.path.join(self.one, "other")
        with open(path, "wb") as one, open(other, "wb") as two:
            # The kernel keeps one of the same events in a row.
            for _ in range(size // 2 + 10):
                os.ftruncate(one.fileno(), 0)
                os.ftruncate(two.fileno(), 0)
        while not self.watch.overflows:
            self.reactor.take_events()
        self.reactor.advance(SETTLE)
        self.assertIn(None, self.told)
        self.assertEqual(self.watch.overflows, 1)

    def test_lost_descriptor(self) -> None:
        """
        A descriptor that the reactor drops is replaced, and everything looked at.
        """
        self.start()
        (notifier,) = self.reactor.getReaders()
        notifier.connectionLost(Failure(ConnectionLost()))
        notifier.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.reactor.getReaders(), [])
        self.reactor.advance(SETTLE)
        self.assertEqual(self.told, [None])
        self.assertFalse(self.watch.polling)
        self.assertEqual(len(self.reactor.getReaders()), 1)

    def test_stop(self) -> None:
        """
        A stopped watch holds no descriptor and no timer, and tells nothing more.
        """
        before = os.listdir("/proc/self/fd")
        self.watch.startService()
        self.told.clear()
        self.write(self.one)
        self.reactor.take_events()
        self.watch.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(os.listdir("/proc/self/fd"), before)
        self.reactor.advance(RESCAN)
        self.assertEqual(self.told, [])

    def test_stop_after_deletion(self) -> None:
        """
        The same after a watched directory was deleted.
        """
        self.watch.startService()
        shutil.rmtree(self.one)
        self.reactor.take_events()
        self.watch.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])


class NoInotifyTests(SynchronousTestCase):
    """
    Tests for L{DirectoryWatch} where there is no inotify.
    """

    def test_no_more_watches(self) -> None:
        """
        Where there are as many watches as the kernel allows, what is not watched is
        looked at often, and what is watched is not deaf (scenario D9).
        """
        told: list[frozenset[str] | None] = []
        reactor = WatchingReactor()
        paths = [os.path.abspath(self.mktemp()) for _ in range(3)]
        for path in paths:
            os.mkdir(path)
        watch = DirectoryWatch(
            reactor, reactor, lambda: paths, told.append, notifier=_Poor
        )
        watch.startService()
        self.addCleanup(watch.stopService)
        self.assertTrue(watch.polling)
        reactor.pump([POLL] * 3)
        self.assertEqual(told, [None] * 4)
        name = os.path.join(sorted(paths)[0], "file")
        Path(name).touch()
        reactor.take_events()
        reactor.advance(SETTLE)
        self.assertEqual(told[4:], [frozenset({name})])

    def test_polls(self) -> None:
        """
        Where no descriptor is to be had everything is looked at often.
        """
        told: list[frozenset[str] | None] = []
        reactor = MemoryReactorClock()
        path = os.path.abspath(self.mktemp())
        os.mkdir(path)
        watch = DirectoryWatch(
            reactor, reactor, lambda: [path], told.append, notifier=_refuse
        )
        watch.startService()
        self.addCleanup(watch.stopService)
        self.assertTrue(watch.polling)
        reactor.pump([POLL] * 3)
        self.assertEqual(told, [None] * 4)


class _Poor(Notifier):
    """
    An inotify descriptor with one watch at the most.
    """

    _has_one = False

    def watch(self, path: str) -> None:
        """
        Watch the first directory.
        """
        if self._has_one:
            raise OSError(ENOSPC, "No space left on device")
        self._has_one = True
        super().watch(path)


def _refuse(*args: object) -> NoReturn:
    """
    Have no more descriptors.
    """
    raise OSError(24, "Too many open files")
