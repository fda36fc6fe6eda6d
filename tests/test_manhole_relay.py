"""
Tests for L{mdproxy.manhole.relay}.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.manhole.relay import relay


class RelayTests(SynchronousTestCase):
    """
    Tests for L{relay}.
    """

    def setUp(self) -> None:
        """
        Listen at a path that fits into no C{sun_path}, and have pipes.
        """
        directory = Path(self.mktemp()).resolve() / ("d" * 120)
        directory.mkdir(parents=True)
        self.path = directory / "s"
        self.listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listening.close)
        descriptor = os.open(directory, os.O_PATH)
        self.listening.bind(f"/proc/self/fd/{descriptor}/s")
        os.close(descriptor)
        self.source, self.typed = os.pipe()
        self.shown, self.sink = os.pipe()
        self.open = {self.source, self.typed, self.shown, self.sink}
        self.addCleanup(self.close_all)

    def close_all(self) -> None:
        """
        Close what is open.
        """
        for each in set(self.open):
            self.close(each)

    def close(self, descriptor: int) -> None:
        """
        Close one end of a pipe.
        """
        self.open.discard(descriptor)
        os.close(descriptor)

    def relay(self) -> threading.Thread:
        """
        Carry bytes, beside us.
        """
        self.listening.listen()
        arguments = (str(self.path), self.source, self.sink)
        thread = threading.Thread(target=relay, args=arguments, daemon=True)
        thread.start()
        return thread

    def test_both_ways(self) -> None:
        """
        What is typed arrives, and what is answered is shown, any byte and any amount.
        """
        thread = self.relay()
        server, _name = self.listening.accept()
        with server, server.makefile("rb") as heard:
            os.write(self.typed, bytes(range(256)))
            self.assertEqual(heard.read(256), bytes(range(256)))
            self.close(self.typed)
            self.assertEqual(heard.read(), b"")
            much = os.urandom(300_000)
            writer = threading.Thread(target=server.sendall, args=(much,))
            writer.start()
            with open(self.shown, "rb", closefd=False) as shown:
                self.assertEqual(shown.read(len(much)), much)
            writer.join()
        thread.join(60)
        self.assertFalse(thread.is_alive())

    def test_client_is_gone(self) -> None:
        """
        When nobody reads any more it ends.
        """
        thread = self.relay()
        server, _name = self.listening.accept()
        self.close(self.shown)
        with server:
            server.sendall(b"late")
            thread.join(60)
        self.assertFalse(thread.is_alive())

    def test_nobody(self) -> None:
        """
        Where nobody listens it says so.
        """
        said = StringIO()
        self.patch(sys, "stderr", said)
        self.assertEqual(relay(str(self.path), self.source), 3)
        self.path.unlink()
        self.assertEqual(relay(str(self.path), self.source), 3)
        first, second = said.getvalue().splitlines()
        self.assertEqual(first, f"{self.path}: Connection refused")
        self.assertEqual(second, f"{self.path}: No such file or directory")
