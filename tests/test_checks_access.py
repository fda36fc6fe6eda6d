"""
Tests for L{mdproxy.checks.access}.
"""

from __future__ import annotations

import os
import pwd
import struct
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.access import (
    Found,
    User,
    Way,
    judge_place,
    judge_trust,
    judge_way,
    look_at,
)

MDPROXY = User("mdproxy", 990, frozenset({990, 42}))
ROOT = User("root", 0, frozenset({0}))
#: A list that lets nobody else in than a user by name: version 2, then entries.
ACL = struct.pack("<I", 2) + struct.pack("<HHI", 0x02, 4, 990)


def way(mode: int, uid: int = 0, gid: int = 0, directory: int = 0o755) -> Way:
    """
    Make the way to a file.
    """
    return Way(
        "/e/f", Found("/e/f", mode, uid, gid), None, (Found("/e", directory, 0, 0),)
    )


class UserTests(SynchronousTestCase):
    """
    Tests for L{User}.
    """

    def test_of_this_host(self) -> None:
        """
        A user of this host is found with its groups, and an unknown one by its number.
        """
        entry = pwd.getpwuid(0)
        self.assertEqual(User.of(0).name, entry.pw_name)
        self.assertIn(entry.pw_gid, User.of(0).gids)
        self.assertEqual(User.of(3_999_999), User("3999999", 3_999_999, frozenset()))


class JudgeTests(SynchronousTestCase):
    """
    Tests for L{judge_way}.
    """

    def test_the_table(self) -> None:
        """
        The owner's, the group's or the others' bits count, and never another's; what is
        secret must be closed to all but its owner; root reads everything.
        """
        for found, user, private, verdict, words in (
            (way(0o644), MDPROXY, False, "ok", "can be read by mdproxy"),
            (way(0o600), MDPROXY, False, "wrong", "can't be read by mdproxy"),
            (way(0o600, 990), MDPROXY, True, "ok", "can be read"),
            (way(0o044, 990, 990), MDPROXY, False, "wrong", "can't be read"),
            (way(0o640, 0, 42), MDPROXY, False, "ok", "can be read"),
            (way(0o604, 0, 42), MDPROXY, False, "wrong", "can't be read"),
            (way(0o600), ROOT, True, "ok", "can be read by root"),
            (way(0o640, 990), MDPROXY, True, "wrong", "open to others"),
            (way(0o640), ROOT, True, "wrong", "open to others"),
            (way(0o644, directory=0o700), MDPROXY, False, "wrong", "/e is closed"),
            (way(0o644, directory=0o710), MDPROXY, False, "wrong", "mode 0710"),
            (way(0o644, directory=0o700), ROOT, False, "ok", "can be read"),
            (Way("/x", None, "No such file"), ROOT, False, "wrong", "No such file"),
        ):
            finding = judge_way("it", found, user, private)
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, finding.text)
            self.assertEqual(bool(finding.advice), verdict != "ok")

    def test_access_control_lists(self) -> None:
        """
        What a list lets in is not guessed at; but one that opens a secret is wrong.
        """
        found = Found("/e/f", 0o640, 0, 0, ACL)
        finding = judge_way("it", Way("/e/f", found), MDPROXY, private=True)
        self.assertEqual(finding.verdict, "note")
        open_acl = ACL + struct.pack("<HHI", 0x20, 4, 0xFFFFFFFF)
        found = Found("/e/f", 0o644, 0, 0, open_acl)
        finding = judge_way("it", Way("/e/f", found), MDPROXY, private=True)
        self.assertEqual(finding.verdict, "wrong")


class TrustTests(SynchronousTestCase):
    """
    Tests for L{judge_trust} and L{judge_place}.
    """

    def test_who_may_have_written_it(self) -> None:
        """
        What opens a door must be root's or our own, and closed to others' writing.
        """
        for found, verdict, words in (
            (way(0o644), "ok", "can be read by mdproxy"),
            (way(0o640, 990), "ok", "can be read by mdproxy"),
            (way(0o640, 0, 990), "ok", "can be read by mdproxy"),
            (way(0o664), "wrong", "can be written by others"),
            (way(0o644, 1000), "wrong", "can be written by others"),
            (way(0o600), "wrong", "can't be read by mdproxy"),
            (Way("/x", None, "gone"), "wrong", "gone"),
        ):
            finding = judge_trust("it", found, MDPROXY)
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, finding.text)

    def test_what_is_made(self) -> None:
        """
        A file is to be written where it is, or its directory must let it be made.
        """
        missing, nowhere = Way("/e/f", None, "gone"), Way("/e", None, "gone")
        closed, ours = way(0o755), Way("/e", Found("/e", 0o700, 990, 990))
        for found, directory, user, verdict, words in (
            (way(0o600, 990), ours, MDPROXY, "ok", "can be written by mdproxy"),
            (way(0o644), ours, MDPROXY, "wrong", "can't be written by mdproxy"),
            (missing, ours, MDPROXY, "ok", "can be made by mdproxy"),
            (missing, closed, MDPROXY, "wrong", "is closed to it"),
            (missing, closed, ROOT, "ok", "can be made by root"),
            (missing, nowhere, ROOT, "wrong", "/e can't be seen: gone"),
        ):
            finding = judge_place("it", found, directory, user)
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, finding.text)
            self.assertEqual(bool(finding.advice), verdict != "ok")


class LookTests(SynchronousTestCase):
    """
    Tests for L{look_at}.
    """

    def test_a_real_file(self) -> None:
        """
        A file is looked at with all directories above it, a link by what it points to,
        and one that is not there is told with the reason.
        """
        path = Path(self.mktemp())
        path.write_text("x")
        path.chmod(0o640)
        link = Path(self.mktemp())
        link.symlink_to(path.absolute())
        seen = look_at(str(link))
        assert seen.found is not None
        self.assertEqual((seen.found.mode, seen.found.uid), (0o640, os.geteuid()))
        above = [str(each) for each in reversed(path.resolve().parents)]
        self.assertEqual([each.path for each in seen.directories], above)
        missing = look_at(self.mktemp())
        self.assertIsNone(missing.found)
        self.assertIn("No such file", str(missing.problem))
