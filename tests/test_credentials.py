"""
Tests for L{mdproxy.credentials}.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.credentials import check_file, find_secret, is_private
from mdproxy.settings import Settings

#: Stands in every secret here, so that its loss shows.
MARK = "s3cret"


class _FilesCase(SynchronousTestCase):
    """
    A case that writes files with permissions.
    """

    def file(self, content: bytes, mode: int = 0o600) -> str:
        """
        Write a file.
        """
        path = Path(self.mktemp())
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def settings(self, *lines: str, mode: int = 0o600) -> Settings:
        """
        Load a configuration of one file and one section.
        """
        text = "\n".join(["[DEFAULT]", *lines])
        return Settings.load([self.file(text.encode(), mode)], [])


def acl(*entries: tuple[int, int]) -> bytes:
    """
    Write an access control list as the kernel stores it.

    @param entries: Tag and rights of each entry.
    """
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, rights, 1000) for tag, rights in entries
    )


class PrivateTests(SynchronousTestCase):
    """
    Tests for L{is_private}.
    """

    def test_modes(self) -> None:
        """
        Without a list the mode decides: neither group nor others have access.
        """
        for mode in (0o600, 0o400, 0o700, 0o611):
            self.assertTrue(is_private(mode, None), oct(mode))
        for mode in (0o640, 0o620, 0o604, 0o602):
            self.assertFalse(is_private(mode, None), oct(mode))

    def test_lists(self) -> None:
        """
        A list may let a user read whom it names; groups and others stay out.
        """
        owner, user, group, named_group, mask, others = 1, 2, 4, 8, 16, 32
        credential = ((owner, 4), (user, 4), (group, 0), (mask, 4), (others, 0))
        self.assertTrue(is_private(0o440, acl(*credential)))
        for entry in ((user, 6), (group, 4), (named_group, 4), (others, 4), (group, 2)):
            self.assertFalse(is_private(0o440, acl(*credential, entry)), entry)


class CheckFileTests(_FilesCase):
    """
    Tests for L{check_file}.
    """

    def faults_of(self, path: str, private: bool = False) -> tuple[bytes, list[str]]:
        """
        Check a file.
        """
        settings = Settings([])
        data = check_file(settings, "auth_ca_cert", path, private)
        return data, settings.faults

    def test_a_file_is_read(self) -> None:
        """
        A file that may be used has no faults.
        """
        for mode, private in ((0o600, True), (0o400, True), (0o644, False)):
            path = self.file(b"x\n", mode)
            self.assertEqual(self.faults_of(path, private), (b"x\n", []))

    def test_private_means_private(self) -> None:
        """
        A file that others may read or write is refused where it must be private.
        """
        for mode in (0o640, 0o604, 0o620, 0o602, 0o666):
            path = self.file(b"x\n", mode)
            _, [fault] = self.faults_of(path, private=True)
            self.assertIn(f"{path} is open to others", fault)
            self.assertIn(f"mode {mode:04o}", fault)
            self.assertIn("chmod 0600", fault)

    def test_links_are_judged_by_their_target(self) -> None:
        """
        A symbolic link is as private as what it points to.
        """
        for mode, faults in ((0o600, 0), (0o644, 1)):
            link = self.mktemp()
            os.symlink(os.path.abspath(self.file(b"x", mode)), link)
            self.assertEqual(len(self.faults_of(link, private=True)[1]), faults)

    def test_what_can_not_be_used_is_refused(self) -> None:
        """
        A missing file, an empty one, and what is no file have a fault with the reason.
        """
        pipe = self.mktemp()
        os.mkfifo(pipe)
        for path, words in (
            (self.mktemp(), "No such file"),
            (os.curdir, "Is a directory"),
            (pipe, "is not a file"),
            ("/dev/zero", "is not a file"),
            ("a\0b", "is not a file"),
            (self.file(b""), "is empty"),
            (self.file(b" \n\n"), "is empty"),
            (self.file(b"x" * (1 << 20) + b"x"), "larger than 1 MiB"),
        ):
            data, [fault] = self.faults_of(path)
            self.assertEqual(data, b"")
            self.assertIn("[DEFAULT] auth_ca_cert", fault)
            self.assertIn(words, fault)


class FindSecretTests(_FilesCase):
    """
    Tests for L{find_secret}.
    """

    def find(self, *lines: str, mode: int = 0o600) -> tuple[bytes, Settings]:
        """
        Find the secret of a configuration; whatever is said of it must not show it.
        """
        settings = self.settings(*lines, mode=mode)
        secret = find_secret(settings)
        said = [*settings.faults, *settings.notes, repr(settings)]
        self.assertNotIn(MARK, "".join(said))
        return secret, settings

    def test_it_may_stand_in_the_option(self) -> None:
        """
        The option's value is the secret; its bytes are UTF-8, as in Neutron.
        """
        for text, secret in (
            (MARK, MARK.encode()),
            (f"{MARK}$$1", f"{MARK}$1".encode()),
            (f"{MARK}é", f"{MARK}é".encode()),
            (f'" {MARK}"', f" {MARK}".encode()),
            (f"{MARK}\x07", f"{MARK}\x07".encode()),
        ):
            found, settings = self.find(f"metadata_proxy_shared_secret = {text}")
            self.assertEqual(found, secret)
            self.assertEqual((settings.faults, settings.notes), ([], []))

    def test_it_may_stand_in_a_file(self) -> None:
        """
        The file's text is the secret, without newlines at its end.
        """
        for content, secret in (
            (f"{MARK}", MARK),
            (f"{MARK}\n", MARK),
            (f"{MARK}\r\n\n", MARK),
            (f"$$ {MARK} # x", f"$$ {MARK} # x"),
        ):
            path = self.file(content.encode())
            found, settings = self.find(f"metadata_proxy_shared_secret_file = {path}")
            self.assertEqual(found, secret.encode())
            self.assertEqual((settings.faults, settings.notes), ([], []))

    def test_space_around_it_is_noted(self) -> None:
        """
        A space at the end of the file counts, and is pointed out.
        """
        path = self.file(f"{MARK} \n".encode())
        found, settings = self.find(f"metadata_proxy_shared_secret_file = {path}")
        self.assertEqual(found, f"{MARK} ".encode())
        [note] = settings.notes
        self.assertIn("begins or ends with a space", note)

    def test_one_place_is_enough(self) -> None:
        """
        The secret in both places is a fault that names both.
        """
        path = self.file(MARK.encode())
        _, settings = self.find(
            f"metadata_proxy_shared_secret = {MARK}",
            f"metadata_proxy_shared_secret_file = {path}",
        )
        [fault] = settings.faults
        self.assertIn("line 3: [DEFAULT] metadata_proxy_shared_secret_file", fault)
        self.assertIn("line 2: [DEFAULT] metadata_proxy_shared_secret as well", fault)

    def test_unfit_files_are_refused(self) -> None:
        """
        A file that is not one private line of text is refused.
        """
        for content, mode, words in (
            (MARK.encode(), 0o644, "is open to others"),
            (b"\n", 0o600, "is empty"),
            (b" \t \n", 0o600, "is empty"),
            ("\u3000\u00a0\n".encode(), 0o600, "nothing but white space"),
            (f"{MARK}\xe9".encode("latin-1"), 0o600, "is not UTF-8"),
            (f"{MARK}\n{MARK}\n".encode(), 0o600, "must be one line"),
            (f"{MARK}\0".encode(), 0o600, "without a NUL"),
        ):
            path = self.file(content, mode)
            _, settings = self.find(
                f"metadata_proxy_shared_secret_file = {path}",
                "allow_empty_secret = true",
            )
            [fault] = settings.faults
            self.assertIn("line 2: [DEFAULT] metadata_proxy_shared_secret_file", fault)
            self.assertIn(words, fault)

    def test_unfit_options_are_refused(self) -> None:
        """
        A secret of several lines, with a NUL, or with a lone dollar is refused.
        """
        for text in (f"{MARK}\n {MARK}", f"{MARK}\0", f"x${MARK}", f"${{{MARK}}}"):
            _, settings = self.find(f"metadata_proxy_shared_secret = {text}")
            [fault] = settings.faults
            self.assertIn("line 2: [DEFAULT] metadata_proxy_shared_secret: ", fault)

    def test_white_space_is_no_secret(self) -> None:
        """
        A secret of nothing but white space is refused, even where none would do.
        """
        for text in (" ", " \t ", "\u3000"):
            _, settings = self.find(
                f'metadata_proxy_shared_secret = "{text}"', "allow_empty_secret = true"
            )
            [fault] = settings.faults
            self.assertIn("line 2: [DEFAULT] metadata_proxy_shared_secret: ", fault)
            self.assertIn("nothing but white space, which is as good as none", fault)

    def test_what_looks_like_a_comment_is_noted(self) -> None:
        """
        The secret may hold a comment, as Neutron would have it, but we say so.
        """
        found, settings = self.find(f"metadata_proxy_shared_secret = {MARK} # x")
        self.assertEqual(found, f"{MARK} # x".encode())
        [note] = settings.notes
        self.assertIn("a comment needs a line of its own", note)

    def test_an_open_configuration_file_is_noted(self) -> None:
        """
        The secret in a configuration file that others may read is pointed out.
        """
        found, settings = self.find(
            f"metadata_proxy_shared_secret = {MARK}", mode=0o640
        )
        self.assertEqual((found, settings.faults), (MARK.encode(), []))
        [note] = settings.notes
        self.assertIn("mode 0640", note)

    def test_no_secret_is_refused(self) -> None:
        """
        Without a secret there is a fault, unless the operator wants none.
        """
        for lines in (
            (),
            ("metadata_proxy_shared_secret =",),
            ('metadata_proxy_shared_secret = ""',),
        ):
            _, settings = self.find(*lines)
            [fault] = settings.faults
            self.assertIn("is empty: put Nova's secret here", fault)
            found, settings = self.find(*lines, "allow_empty_secret = true")
            self.assertEqual((found, settings.faults), (b"", []))
            [note] = settings.notes
            self.assertIn("there is no secret", note)
