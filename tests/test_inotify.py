"""
Tests for L{mdproxy.inotify}.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_ISDIR,
    IN_MODIFY,
    Event,
    Notifier,
)


class NotifierTests(SynchronousTestCase):
    """
    Tests for L{Notifier}, with the kernel's own events.
    """

    def setUp(self) -> None:
        """
        Watch a directory.
        """
        self.reactor = MemoryReactorClock()
        self.events: list[Event] = []
        self.calls = 0
        self.lost: list[bool] = []
        self.notifier = Notifier(
            self.reactor, self.happened, lambda: self.lost.append(True)
        )
        self.addCleanup(self.notifier.close)
        self.path = os.path.abspath(self.mktemp())
        os.mkdir(self.path)
        self.notifier.watch(self.path)

    def happened(self, events: Sequence[Event]) -> None:
        """
        Take events.
        """
        self.calls += 1
        self.events += events

    def test_is_a_reader(self) -> None:
        """
        It is what a reactor reads from.
        """
        self.assertTrue(verifyObject(IReadDescriptor, self.notifier))
        self.assertEqual(self.reactor.getReaders(), [self.notifier])
        self.assertIsInstance(self.notifier.logPrefix(), str)

    def test_events(self) -> None:
        """
        All that happened is told at once, in order, with any name that a file can have.
        """
        for name in (b"plain", b"\xff\xfe", b"x" * 255):
            os.mkdir(os.path.join(os.fsencode(self.path), name))
        self.notifier.doRead()
        self.assertEqual(self.calls, 1)
        self.assertEqual(
            self.events,
            [
                Event(self.path, name, IN_CREATE | IN_ISDIR)
                for name in ("plain", "\udcff\udcfe", "x" * 255)
            ],
        )

    def test_nothing(self) -> None:
        """
        Where there is nothing to read nothing is told.
        """
        self.assertIsNone(self.notifier.doRead())
        self.assertEqual(self.calls, 0)

    def test_reading_is_no_event(self) -> None:
        """
        Whoever reads a file does not wake himself.
        """
        with open(os.path.join(self.path, "file"), "wb"):
            pass
        self.notifier.doRead()
        self.events.clear()
        with open(os.path.join(self.path, "file"), "rb") as file:
            file.read()
        os.listdir(self.path)
        self.notifier.doRead()
        self.assertEqual(self.events, [])

    def test_many(self) -> None:
        """
        What does not fit into one reading comes in the next.
        """
        for number in range(600):
            os.mkdir(os.path.join(self.path, f"{number}"))
        self.notifier.doRead()
        self.assertLess(len(self.events), 600)
        self.notifier.doRead()
        self.notifier.doRead()
        self.assertEqual([e.name for e in self.events], [f"{n}" for n in range(600)])

    def test_deleted_directory(self) -> None:
        """
        The end of a directory is told once, and the others go on.
        """
        other = os.path.abspath(self.mktemp())
        os.mkdir(other)
        self.notifier.watch(other)
        os.rmdir(self.path)
        os.mkdir(os.path.join(other, "x"))
        self.notifier.doRead()
        self.assertEqual(
            self.events,
            [Event(self.path, "", IN_IGNORED), Event(other, "x", IN_CREATE | IN_ISDIR)],
        )
        self.notifier.ignore(self.path)

    def test_ignored(self) -> None:
        """
        A directory that is watched no more is silent, even about that.
        """
        self.notifier.ignore(self.path)
        self.notifier.ignore(self.path)
        os.mkdir(os.path.join(self.path, "x"))
        self.notifier.doRead()
        self.assertEqual(self.events, [])

    def test_another_directory_by_the_same_path(self) -> None:
        """
        A path may come to lead to another directory.
        """
        os.rename(self.path, self.path + "old")
        os.mkdir(self.path)
        self.notifier.watch(self.path)
        self.notifier.watch(self.path)
        self.notifier.doRead()
        self.events.clear()
        os.mkdir(os.path.join(self.path + "old", "x"))
        os.mkdir(os.path.join(self.path, "y"))
        self.notifier.doRead()
        self.assertEqual([event.name for event in self.events], ["y"])

    def test_no_directory(self) -> None:
        """
        What is no directory, or not there, can't be watched.
        """
        path = os.path.join(self.path, "file")
        self.assertRaises(FileNotFoundError, self.notifier.watch, path)
        with open(path, "wb"):
            self.assertRaises(NotADirectoryError, self.notifier.watch, path)

    def test_lost(self) -> None:
        """
        When the reactor drops it, that is told once and the descriptor is closed.
        """
        before = os.listdir("/proc/self/fd")
        self.notifier.connectionLost(Failure(ConnectionLost()))
        self.notifier.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.lost, [True])
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before) - 1)

    def test_close(self) -> None:
        """
        Whoever closes it needs not to be told.
        """
        self.notifier.close()
        self.notifier.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.lost, [])
        self.assertEqual(self.reactor.getReaders(), [])

    def test_trouble(self) -> None:
        """
        A descriptor that can't be read is given back to the reactor to drop.
        """
        descriptor = os.open("/dev/null", os.O_WRONLY)
        os.dup2(descriptor, self.notifier.fileno())
        os.close(descriptor)
        self.assertIsInstance(self.notifier.doRead(), OSError)

    def test_write_is_told(self) -> None:
        """
        A write without a close is told, for dnsmasq never closes its file; so is an
        unlink.
        """
        path = os.path.join(self.path, "file")
        with open(path, "wb", buffering=0) as file:
            self.notifier.doRead()
            self.events.clear()
            file.write(b"x")
            self.notifier.doRead()
            self.assertEqual(self.events, [Event(self.path, "file", IN_MODIFY)])
        os.unlink(path)
        self.notifier.doRead()
        self.assertEqual(self.events[-1], Event(self.path, "file", IN_DELETE))
