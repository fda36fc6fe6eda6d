# -*- test-case-name: tests.test_manhole_trust -*-
"""
Files that say who may log in: read only where nobody else can have written them.
"""

from __future__ import annotations

import os
import stat
from typing import Final

#: Far more than any file of keys.
_MOST: Final = 1 << 20
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Untrusted(Exception):
    """
    A file or a directory can't be relied upon; the text says why.
    """


def read_trusted(path: str, private: bool = False) -> bytes:
    """
    Read a file that nobody but root and we can have written.

    It is sshd's rule (C{StrictModes}, openssh misc.c:safe_path), for the file and for
    the directories that it and its name are in.

    @param private: Nobody else may read it, either.

    @raise FileNotFoundError: If there is none.
    @raise Untrusted: If it can't be relied upon, or can't be read.
    """
    for directory in {os.path.dirname(path), os.path.dirname(os.path.realpath(path))}:
        check_directory(directory)
    try:
        # Not to wait for the other end if it is a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Untrusted(f"{path} is no file")
            _check(path, found, _OTHERS if private else _OTHERS_WRITE)
            data = stream.read(_MOST + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Untrusted(f"{path} can't be read: {error.strerror}") from None
    if len(data) > _MOST:
        raise Untrusted(f"{path} is larger than {_MOST} bytes")
    return data


def check_directory(path: str) -> None:
    """
    See that nobody but root and we can put anything into a directory.

    @raise Untrusted: If somebody can, or there is none.
    """
    try:
        found = os.stat(path or ".")
    except OSError as error:
        raise Untrusted(f"{path} can't be looked at: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise Untrusted(f"{path} is no directory")
    _check(path or ".", found, _OTHERS_WRITE)


def _check(path: str, found: os.stat_result, forbidden: int) -> None:
    """
    See whose something is, and what others may do with it.

    Where there is an access control list the group's bits are the most that it gives to
    anybody (acl(5)).

    @param forbidden: What they may not.

    @raise Untrusted: If they may.
    """
    if found.st_uid not in (0, os.geteuid()):
        raise Untrusted(f"{path} belongs to user {found.st_uid}, not to root or us")
    if found.st_mode & forbidden:
        what = "open to" if forbidden == _OTHERS else "writable by"
        mode = stat.S_IMODE(found.st_mode) & ~forbidden
        raise Untrusted(f"{path} is {what} others: chmod {mode:04o}")
