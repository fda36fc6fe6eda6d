"""
Tests for L{mdproxy.logs.outlet}.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.task import Clock
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.logs.outlet import MOST, Descriptor, LogFileSink, Outlet


@define
class Reader:
    """
    A sink whose reader stops now and then.

    @ivar room: How many bytes it takes.
    @ivar took: What it has taken.
    @ivar error: What it raises when it takes nothing.
    """

    room: int = 1 << 30
    took: bytes = b""
    error: type[OSError] = BlockingIOError

    def write(self, data: bytes) -> int:
        """
        Provide C{Sink.write}.
        """
        if not self.room:
            raise self.error
        taken = data[: self.room]
        self.room -= len(taken)
        self.took += taken
        return len(taken)


class OutletTests(SynchronousTestCase):
    """
    Tests for L{Outlet}.
    """

    def setUp(self) -> None:
        """
        Have a reader.
        """
        self.clock = Clock()
        self.reader = Reader()
        self.missed: list[int] = []
        self.outlet = Outlet(self.reader, self.clock, self.missed.append)

    def test_at_once(self) -> None:
        """
        Lines go out at once, and nothing is left to be done.
        """
        self.outlet.write(b"a\n")
        self.outlet.write(b"b\n")
        self.assertEqual(self.reader.took, b"a\nb\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits(self) -> None:
        """
        What the reader does not take is kept, and offered again later, whole and in
        order.
        """
        self.reader.room = 3
        for line in (b"one\n", b"two\n"):
            self.outlet.write(line)
        self.assertEqual(self.reader.took, b"one")
        self.reader.room = 99
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(self.reader.took, b"one\ntwo\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.outlet.dropped, self.missed), (0, []))

    def test_dropped(self) -> None:
        """
        A reader that never comes costs lines and bounded memory; when it comes it gets
        what was kept, and is told how many are missing, once.
        """
        self.reader.room = 0
        line = b"x" * 1023 + b"\n"
        for _ in range(MOST // 1024 + 7):
            self.outlet.write(line)
        self.assertEqual((self.outlet.dropped, self.missed), (7, []))
        self.reader.room = 1 << 30
        self.clock.advance(1)
        self.assertEqual(len(self.reader.took), MOST)
        self.assertEqual(self.missed, [7])
        self.outlet.write(b"y\n")
        self.assertEqual(self.missed, [7])

    def test_full_disk(self) -> None:
        """
        A disk on which nothing can be written raises nothing here.
        """
        self.reader.room, self.reader.error = 0, OSError
        self.outlet.write(b"a\n")
        self.reader.room = 99
        self.outlet.write(b"b\n")
        self.assertEqual(self.reader.took, b"a\nb\n")

    def test_no_storm(self) -> None:
        """
        However often a line can't be written, it is offered again once a second.
        """
        self.reader.room = 0
        for _ in range(100):
            self.outlet.write(b"a\n")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class DescriptorTests(SynchronousTestCase):
    """
    Tests for L{Descriptor}.
    """

    def fill(self, number: int) -> int:
        """
        Write until nothing more is taken.

        @return: How many bytes were taken.
        """
        sink, taken = Descriptor(number), 0
        with self.assertRaises(BlockingIOError):
            while True:
                taken += sink.write(b"x" * 10_000)
        return taken

    def test_pipe(self) -> None:
        """
        A pipe whose reader has stopped makes nobody wait, and is written to again when
        it reads.
        """
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        taken = self.fill(writing)
        self.assertTrue(os.get_blocking(writing))
        self.assertEqual(len(os.read(reading, 1 << 20)), taken)
        self.assertEqual(Descriptor(writing).write(b"y"), 1)

    def test_socket(self) -> None:
        """
        So does a socket.
        """
        reading, writing = socket.socketpair()
        self.addCleanup(reading.close)
        self.addCleanup(writing.close)
        self.assertGreater(self.fill(writing.fileno()), 0)
        self.assertTrue(writing.getblocking())
        reading.close()
        sink = Descriptor(writing.fileno())
        self.assertRaises(OSError, sink.write, b"y")

    def test_file(self) -> None:
        """
        A file takes what it is given, and a device that is full says so.
        """
        path = Path(self.mktemp())
        with path.open("wb") as file:
            self.assertEqual(Descriptor(file.fileno()).write(b"abc"), 3)
        self.assertEqual(path.read_bytes(), b"abc")
        with open("/dev/full", "wb", buffering=0) as full:
            self.assertRaises(OSError, Descriptor(full.fileno()).write, b"abc")


class LogFileTests(SynchronousTestCase):
    """
    Tests for L{LogFileSink}.
    """

    def test_writes(self) -> None:
        """
        Lines go to the file, also when it was rotated.
        """
        path = Path(self.mktemp())
        file: Any = LogFile.fromFullPath(str(path))
        self.addCleanup(file.close)
        sink = LogFileSink(file)
        self.assertEqual(sink.write(b"a\n"), 2)
        file.rotate()
        sink.write(b"b\n")
        self.assertEqual(path.read_bytes(), b"b\n")
        self.assertEqual(path.with_name(path.name + ".1").read_bytes(), b"a\n")
