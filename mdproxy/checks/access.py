# -*- test-case-name: tests.test_checks_access -*-
"""
Whether the user that mdproxy runs as may read its files, and nobody else the secret
ones.

The doctor is commonly run by root, who may read everything; so it is told from modes
and owners.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import Final

from attrs import frozen

from mdproxy.checks.finding import Finding
from mdproxy.credentials import is_private

_READ, _WRITE, _ENTER = 4, 2, 1
#: The bits by which others than the owner may write.
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
#: The right that is looked at when root is asked: none.
_ROOT: Final = 0


@frozen
class User:
    """
    A user of this host.

    @ivar name: What it is called.
    @ivar uid: Its number.
    @ivar gids: The numbers of its groups.
    """

    name: str
    uid: int
    gids: frozenset[int]

    @classmethod
    def of(cls, uid: int) -> User:
        """
        Look a user up by its number.
        """
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(str(uid), uid, frozenset())
        return cls.of_entry(entry)

    @classmethod
    def of_entry(cls, entry: pwd.struct_passwd) -> User:
        """
        Look up the groups of a user.
        """
        gids = {g.gr_gid for g in grp.getgrall() if entry.pw_name in g.gr_mem}
        return cls(entry.pw_name, entry.pw_uid, frozenset(gids | {entry.pw_gid}))

    def may(self, right: int, found: Found) -> bool:
        """
        Tell whether this user has a right to a file or directory (path_resolution(7)).

        @param right: 4: to read, 2: to write, 1: to enter; or the sum of some.
        """
        if self.uid == _ROOT:
            return True
        bits = found.mode
        if self.uid == found.uid:
            bits >>= 6
        elif found.gid in self.gids:
            bits >>= 3
        return bits & right == right


@frozen
class Found:
    """
    A file or directory.

    @ivar path: Where it is.
    @ivar mode: Its permissions.
    @ivar uid: Its owner.
    @ivar gid: Its group.
    @ivar acl: Its access control list, as the kernel stores it; C{None}: none.
    """

    path: str
    mode: int
    uid: int
    gid: int
    acl: bytes | None = None


@frozen
class Way:
    """
    The way to a file.

    @ivar path: The file's path.
    @ivar found: The file; C{None}: it is not there, or we can't see it.
    @ivar problem: Why not.
    @ivar directories: The directories that lead to it.
    """

    path: str
    found: Found | None
    problem: str | None = None
    directories: tuple[Found, ...] = ()


def look_at(path: str) -> Way:
    """
    Look at a file, and at the directories that lead to it.

    @param path: Its path; a symbolic link is judged by what it points to.
    """
    directories: list[Found] = []
    try:
        real = os.path.realpath(path)
        parent = os.path.dirname(real)
        while True:
            directories.append(_found(parent))
            if parent == os.path.dirname(parent):
                break
            parent = os.path.dirname(parent)
        return Way(path, _found(real), None, tuple(reversed(directories)))
    except OSError as error:
        return Way(path, None, error.strerror or type(error).__name__)


def judge_way(name: str, way: Way, user: User, private: bool = False) -> Finding:
    """
    Tell whether a file can be used as it must be.

    @param name: What it is for.
    @param way: The way to it.
    @param user: Who is to read it.
    @param private: Whether nobody but its owner may.
    """
    path, found = way.path, way.found
    if found is None:
        text = f"{path} can't be seen: {way.problem}."
        return Finding(name, "wrong", text, "Put it there, or name another.")
    for directory in way.directories:
        if directory.acl is None and not user.may(_ENTER, directory):
            text = f"{path} can't be reached by {user.name}: {directory.path} is closed"
            advice = f"chmod o+x {directory.path}, or chgrp and chmod g+x it."
            return Finding(
                name, "wrong", f"{text} (mode {directory.mode:04o}).", advice
            )
    if private and not is_private(found.mode, found.acl):
        return Finding(
            name,
            "wrong",
            f"{path} is open to others than its owner (mode {found.mode:04o}).",
            f"chmod 0600 {path}; who could read it may know it: make a new one.",
        )
    if found.acl is not None:
        text = f"{path} has an access control list; whether it lets {user.name} read "
        return Finding(name, "note", f"{text}is not judged here.", f"getfacl {path}")
    if not user.may(_READ, found):
        advice = f"chown {user.name} {path}"
        if not private:
            advice += f", or chgrp it to a group of {user.name}'s and chmod g+r"
        text = f"{path} can't be read by {user.name} (mode {found.mode:04o})."
        return Finding(name, "wrong", text, f"{advice}.")
    return Finding(name, "ok", f"{path} can be read by {user.name}.")


def judge_trust(name: str, way: Way, user: User) -> Finding:
    """
    Tell whether a file can be relied upon: nobody but its owner, who is root or the one
    who reads it, may write it.

    @param name: What it is for.
    @param way: The way to it.
    @param user: Who is to read it.
    """
    finding, found = judge_way(name, way, user), way.found
    if finding.verdict != "ok" or found is None:
        return finding
    if found.mode & _OTHERS_WRITE or found.uid not in (_ROOT, user.uid):
        text = f"{way.path} can be written by others (mode {found.mode:04o})."
        advice = f"chown root {way.path}; chmod go-w {way.path}"
        return Finding(name, "wrong", text, advice)
    return finding


def judge_place(name: str, way: Way, directory: Way, user: User) -> Finding:
    """
    Tell whether a file can be written, or made where there is none yet.

    @param name: What it is for.
    @param way: The way to it.
    @param directory: The way to its directory.
    @param user: Who is to write it.
    """
    path, there = way.path, directory.found
    if way.found is not None:
        if user.may(_WRITE, way.found) or way.found.acl is not None:
            return Finding(name, "ok", f"{path} can be written by {user.name}.")
        text = f"{path} can't be written by {user.name} (mode {way.found.mode:04o})."
        return Finding(name, "wrong", text, f"chown {user.name} {path}")
    if there is None:
        text = f"{directory.path} can't be seen: {directory.problem}."
        advice = (
            "Make it; or is it one that the unit makes when it starts (StateDirectory, "
            "LogsDirectory)?"
        )
        return Finding(name, "wrong", text, advice)
    if user.may(_WRITE | _ENTER, there) or there.acl is not None:
        text = f"{path} is not there yet, and can be made by {user.name}."
        return Finding(name, "ok", text)
    text = f"{user.name} can't make {path}: {there.path} is closed to it."
    return Finding(name, "wrong", text, f"chown {user.name} {there.path}")


def _found(path: str) -> Found:
    """
    Look at a file or directory.

    @raise OSError: If it can't be seen.
    """
    status = os.stat(path)
    try:
        acl = os.getxattr(path, "system.posix_acl_access")
    except OSError:
        acl = None
    mode = stat.S_IMODE(status.st_mode)
    return Found(path, mode, status.st_uid, status.st_gid, acl)
