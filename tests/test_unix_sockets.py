"""
Tests for L{mdproxy.unix_sockets}.
"""

from __future__ import annotations

import os
import socket
import stat
from errno import EADDRINUSE
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.unix_sockets import (
    Made,
    Peer,
    Permissions,
    groups_of,
    is_at,
    listen_at,
    peer_of,
    permissions_for,
    remove,
)

_USER = Permissions(0o644)


class PermissionsTests(SynchronousTestCase):
    """
    Who may open a socket.
    """

    def test_named(self) -> None:
        """
        The words mean what they mean to Neutron's agent.
        """
        for mode, number in (("user", 0o644), ("group", 0o664), ("all", 0o666)):
            chosen = permissions_for(mode, (1000,), 0, 0)
            self.assertEqual(chosen, Permissions(number))

    def test_deduced(self) -> None:
        """
        No more is opened than those need who may ask.
        """
        groups = {1000: (50, 60), 1001: (60,)}
        for allowed, euid, egid, chosen in (
            ((), 500, 60, _USER),
            ((0, 500), 500, 60, _USER),
            ((1000,), 0, 0, Permissions(0o644, 1000)),
            ((0, 1000), 0, 0, Permissions(0o644, 1000)),
            ((1000, 1001), 500, 60, Permissions(0o664)),
            ((1000, 1001), 500, 50, Permissions(0o666)),
            ((1000, 1001), 0, 60, Permissions(0o664)),
        ):
            deduced = permissions_for("deduce", allowed, euid, egid, groups.__getitem__)
            self.assertEqual(deduced, chosen, (allowed, euid, egid))

    def test_groups(self) -> None:
        """
        A user's groups are those of the host; nobody has none.
        """
        self.assertIn(0, groups_of(0))
        self.assertEqual(groups_of(4_000_000_000), ())


class ListenTests(SynchronousTestCase):
    """
    Sockets in a directory.
    """

    def setUp(self) -> None:
        """
        Make the directory.
        """
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = str(self.directory / "metadata_proxy")

    def listen(self, permissions: Permissions = _USER) -> Made:
        """
        Listen until the end of the test.
        """
        made = listen_at(self.path, permissions)
        self.addCleanup(made.opened.close)
        return made

    def connect(self) -> socket.socket:
        """
        Connect by the path, however long it is.
        """
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        descriptor = os.open(self.directory, os.O_PATH)
        self.addCleanup(os.close, descriptor)
        client.connect(f"/proc/self/fd/{descriptor}/metadata_proxy")
        return client

    def assert_taken(self) -> None:
        """
        There is no room for a socket.
        """
        error = self.assertRaises(OSError, listen_at, self.path, _USER)
        self.assertEqual(error.errno, EADDRINUSE)

    def test_mode(self) -> None:
        """
        A socket has its mode, whatever the umask; and nothing else is left behind.
        """
        for mode in (0o644, 0o664, 0o666):
            self.listen(Permissions(mode)).opened.close()
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), mode)
        self.assertEqual(os.listdir(self.directory), ["metadata_proxy"])

    def test_connect(self) -> None:
        """
        Who connects is heard, and known by his user and process.
        """
        made = self.listen()
        client = self.connect()
        accepted, _ = made.opened.accept()
        self.addCleanup(accepted.close)
        self.assertEqual(peer_of(accepted), Peer(os.getpid(), os.geteuid()))
        client.sendall(b"hello")
        self.assertEqual(accepted.recv(9), b"hello")

    def test_no_peer(self) -> None:
        """
        What is no connection of a process has no peer.
        """
        with socket.socket() as unconnected:
            self.assertNotEqual(peer_of(unconnected), Peer(os.getpid(), os.geteuid()))
        self.assertIsNone(peer_of(unconnected))

    def test_dead(self) -> None:
        """
        What a dead process has left is replaced.
        """
        with socket.socket(socket.AF_UNIX) as dead:
            descriptor = os.open(self.directory, os.O_PATH)
            self.addCleanup(os.close, descriptor)
            dead.bind(f"/proc/self/fd/{descriptor}/metadata_proxy")
        self.listen()
        self.connect()

    def test_alive(self) -> None:
        """
        One that lives is left alone, and does not notice.
        """
        made = self.listen()
        self.assert_taken()
        self.assertRaises(BlockingIOError, made.opened.accept)
        self.assertTrue(is_at(self.path, made))
        self.assertEqual(os.listdir(self.directory), ["metadata_proxy"])

    def test_long_path(self) -> None:
        """
        A path may be longer than the kernel's addresses (C{sun_path}, unix(7)).
        """
        self.directory /= "d" * 120
        self.directory.mkdir()
        self.path = str(self.directory / "metadata_proxy")
        self.listen().opened.close()
        self.listen()
        self.assert_taken()
        self.connect()

    def test_no_socket(self) -> None:
        """
        A file is nobody's to replace; nor is what a link leads to.
        """
        Path(self.path).write_text("precious")
        self.assert_taken()
        self.assertEqual(Path(self.path).read_text(), "precious")
        Path(self.path).unlink()
        Path(self.path).symlink_to(self.directory / "elsewhere")
        self.assert_taken()

    def test_no_directory(self) -> None:
        """
        Where there is no directory none is made.
        """
        self.directory.rmdir()
        self.assertRaises(FileNotFoundError, listen_at, self.path, _USER)

    def test_out_of_sight(self) -> None:
        """
        A socket is not taken for gone where nobody can look.
        """
        made = self.listen()
        loop = self.directory / "loop"
        loop.symlink_to(loop)
        self.assertTrue(is_at(f"{loop}/metadata_proxy", made))
        os.unlink(self.path)
        self.assertFalse(is_at(self.path, made))

    def test_remove(self) -> None:
        """
        The file of a socket is removed, unless it is another's.
        """
        made = self.listen()
        made.opened.close()
        other = self.listen()
        remove(self.path, made)
        self.assertTrue(is_at(self.path, other))
        remove(self.path, other)
        self.assertFalse(os.path.lexists(self.path))
        remove(self.path, other)
