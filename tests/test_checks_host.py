"""
Tests for L{mdproxy.checks.host}.
"""

from __future__ import annotations

import os
import resource
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks import host
from mdproxy.inotify import Notifier
from tests.inotify_reactor import WatchingReactor


class OurselvesTests(SynchronousTestCase):
    """
    Tests of what is read of this process and its namespace.
    """

    def test_around(self) -> None:
        """
        Loopback has its addresses, and a socket that listens is seen.
        """
        with socket.create_server(("127.0.0.1", 0)) as opened:
            place = opened.getsockname()
            inode = os.fstat(opened.fileno()).st_ino
            links = host.look_around()
            known = host.holders()
            self.assertEqual(host.peer_of(place), os.getpid())
        self.assertIn("127.0.0.1", links.addresses["lo"])
        (seen,) = (each for each in links.listening if each.inode == inode)
        self.assertEqual((seen.address, seen.port), place)
        self.assertIn(os.getpid(), [process.pid for process in known[inode]])

    def test_who_listens_at_a_path(self) -> None:
        """
        The process behind a UNIX socket is known, and where nobody is there it is not.
        """
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "s")
            self.assertIsNone(host.peer_of(path))
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(path)
                opened.listen()
                self.assertEqual(host.peer_of(path), os.getpid())
        self.assertIsNone(host.peer_of(("127.0.0.1", 1)))

    def test_a_process(self) -> None:
        """
        Limits, open files, watches and status of a process are read.
        """
        limit, used = host.files_of(os.getpid())
        self.assertEqual(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.assertGreater(used or 0, 2)
        notifier = Notifier(WatchingReactor(), lambda _: None, lambda: None)
        self.addCleanup(notifier.close)
        before = host.watches_of(os.getpid()) or 0
        notifier.watch(tempfile.gettempdir())
        self.assertEqual(host.watches_of(os.getpid()), before + 1)
        self.assertEqual(host.status_of(os.getpid())["Pid"], str(os.getpid()))

    def test_the_clock(self) -> None:
        """
        The kernel says whether its clock is kept right, or may not be asked.
        """
        self.assertIn(host.is_synchronised(), (True, False, None))


class ElsewhereTests(SynchronousTestCase):
    """
    Tests of what can't be read, or looks otherwise.
    """

    def test_nothing(self) -> None:
        """
        Where there is nothing to read nothing is known, and nothing fails.
        """
        nowhere = Path(self.mktemp())
        self.assertEqual(host.holders(nowhere), {})
        self.assertEqual(host.files_of(1, nowhere), (None, None))
        self.assertIsNone(host.watches_of(1, nowhere))
        self.assertEqual(host.status_of(1, nowhere), {})
        self.assertIsNone(host.number_in("sys/x", nowhere))
        self.assertEqual(host.namespaces_like(("*",), str(nowhere)), [])
        with self.assertRaises(OSError):
            host.within("none", lambda: None, str(nowhere))

    def test_settings(self) -> None:
        """
        A setting that is a number is read, any other is not.
        """
        proc = Path(self.mktemp())
        proc.mkdir()
        (proc / "a").write_text("17\n")
        (proc / "b").write_text("x\n")
        self.assertEqual(host.number_in("a", proc), 17)
        self.assertIsNone(host.number_in("b", proc))

    def test_namespaces(self) -> None:
        """
        The names of namespaces are found by their patterns.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        for name in ("qdhcp-b", "qdhcp-a", "other"):
            (directory / name).touch()
        names = host.namespaces_like(("qdhcp-*",), str(directory))
        self.assertEqual(names, ["qdhcp-a", "qdhcp-b"])
        with self.assertRaises(OSError):
            # It is no namespace.
            host.within("qdhcp-a", lambda: None, str(directory))

    def test_other_processes(self) -> None:
        """
        A process is called as it calls itself, and a socket may be several's.
        """
        proc = Path(self.mktemp())
        (proc / "12" / "fd").mkdir(parents=True)
        (proc / "12" / "comm").write_text("haproxy\n")
        (proc / "12" / "fd" / "5").symlink_to("socket:[77]")
        (proc / "12" / "fd" / "6").symlink_to("/dev/null")
        (proc / "self").mkdir()
        (proc / "1" / "fd").mkdir(parents=True)
        (proc / "1" / "fd" / "9").symlink_to("socket:[77]")
        holders = host.holders(proc)[77]
        found = {(holder.pid, holder.name) for holder in holders}
        self.assertEqual(found, {(12, "haproxy"), (1, "?")})
