"""
Tests for L{mdproxy.manhole.trust}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.manhole.trust import Untrusted, check_directory, read_trusted


class TrustCase(SynchronousTestCase):
    """
    A directory of ours, with a file in it.
    """

    def setUp(self) -> None:
        """
        Make them, closed to others whatever the umask.
        """
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.directory.chmod(0o755)
        self.path = self.directory / "keys"
        self.path.write_bytes(b"ours")
        self.path.chmod(0o644)

    def refusal(self, path: Path, private: bool = False) -> str:
        """
        See that a file is not read.

        @return: Why not.
        """
        error = self.assertRaises(Untrusted, read_trusted, str(path), private)
        return str(error)


class FileTests(TrustCase):
    """
    Tests for L{read_trusted}.
    """

    def test_read(self) -> None:
        """
        What others may only read is read.
        """
        self.assertEqual(read_trusted(str(self.path)), b"ours")

    def test_missing(self) -> None:
        """
        That there is no file is told apart from all else.
        """
        path = str(self.directory / "none")
        self.assertRaises(FileNotFoundError, read_trusted, path)

    def test_writable(self) -> None:
        """
        What others could have written counts for nothing; the text says what to do.
        """
        for mode in (0o664, 0o646, 0o777):
            self.path.chmod(mode)
            self.assertIn("is writable by others: chmod", self.refusal(self.path))
        self.path.chmod(0o666)
        self.assertIn("chmod 0644", self.refusal(self.path))

    def test_private(self) -> None:
        """
        What is private others may not even read.
        """
        for mode in (0o640, 0o604, 0o601):
            self.path.chmod(mode)
            self.assertIn("chmod 0600", self.refusal(self.path, private=True))
        self.path.chmod(0o600)
        self.assertEqual(read_trusted(str(self.path), private=True), b"ours")

    def test_directory(self) -> None:
        """
        Nor does a file count in whose place others could put another.
        """
        self.directory.chmod(0o1777)
        self.assertIn(f"{self.directory} is writable", self.refusal(self.path))

    def test_directory_of_a_link(self) -> None:
        """
        The same at the end of a symbolic link.
        """
        open_to_all = self.directory / "open"
        open_to_all.mkdir()
        open_to_all.chmod(0o777)
        (open_to_all / "keys").write_bytes(b"theirs")
        (open_to_all / "keys").chmod(0o600)
        link = self.directory / "link"
        link.symlink_to(open_to_all / "keys")
        self.assertIn("is writable by others", self.refusal(link))

    def test_link_in_a_directory(self) -> None:
        """
        The same where others could put another link.
        """
        open_to_all = self.directory / "open"
        open_to_all.mkdir()
        open_to_all.chmod(0o777)
        link = open_to_all / "link"
        link.symlink_to(self.path)
        self.assertIn("is writable by others", self.refusal(link))

    def test_no_file(self) -> None:
        """
        A pipe is not waited for, and a directory is no file.
        """
        pipe, directory = self.directory / "pipe", self.directory / "directory"
        os.mkfifo(pipe, 0o600)
        directory.mkdir(0o700)
        self.assertIn("is no file", self.refusal(pipe))
        self.assertIn("Is a directory", self.refusal(directory))

    def test_too_large(self) -> None:
        """
        Not everything is read.
        """
        os.truncate(self.path, (1 << 20) + 1)
        self.assertIn("is larger than", self.refusal(self.path))

    def test_strangers(self) -> None:
        """
        Only root's files and ours count.
        """
        if os.geteuid() != 0:
            # Then root's are what is not ours.
            self.assertIn("root", read_trusted("/etc/passwd").decode())
            return
        os.chown(self.path, 65534, -1)
        self.assertIn("belongs to user 65534", self.refusal(self.path))


class DirectoryTests(TrustCase):
    """
    Tests for L{check_directory}.
    """

    def test_ours(self) -> None:
        """
        A directory that only we can write to will do.
        """
        check_directory(str(self.directory))
        self.directory.chmod(0o770)
        error = self.assertRaises(Untrusted, check_directory, str(self.directory))
        self.assertIn("chmod 0750", str(error))

    def test_none(self) -> None:
        """
        What is not there, or no directory, will not.
        """
        for path, why in (
            (self.directory / "none", "can't be looked at: No such file"),
            (self.path, "is no directory"),
        ):
            error = self.assertRaises(Untrusted, check_directory, str(path))
            self.assertIn(why, str(error))
