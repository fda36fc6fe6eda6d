# -*- test-case-name: tests.test_unix_sockets -*-
"""
Listening UNIX sockets: made with their mode, taken over from the dead; who connects.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from errno import EADDRINUSE, EPROTOTYPE
from typing import Final

from attrs import frozen

#: As C{metadata_backlog} of Neutron's agent.
BACKLOG: Final = 4096

#: By C{metadata_proxy_socket_mode} (neutron/agent/metadata/proxy_base.py, C{MODE_MAP}).
#: To connect one must be allowed to write.
_MODES: Final = {"user": 0o644, "group": 0o664, "all": 0o666}

#: C{struct ucred} (unix(7)).
_UCRED: Final = struct.Struct("=iII")


@frozen
class Peer:
    """
    The process at the other end, as it was when it connected.

    @ivar pid: Its id; 0 where it can't be seen from here.
    @ivar uid: Its user.
    """

    pid: int
    uid: int


@frozen
class Permissions:
    """
    Who may open a socket.

    @ivar mode: The mode of its file.
    @ivar owner: Whose it is to be; C{None}: whoever makes it.
    """

    mode: int
    owner: int | None = None


@frozen
class Made:
    """
    A listening socket, and its file.

    @ivar opened: The socket.
    @ivar file: Device and inode of its file, by which it is known again.
    """

    opened: socket.socket
    file: tuple[int, int]


def groups_of(uid: int) -> Collection[int]:
    """
    List the groups that a user is in; none, where there is no such user.
    """
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return ()
    return os.getgrouplist(user.pw_name, user.pw_gid)


def permissions_for(
    mode: str,
    allowed: Collection[int],
    euid: int,
    egid: int,
    groups: Callable[[int], Collection[int]] = groups_of,
) -> Permissions:
    """
    Choose who may open a socket, as Neutron's agent does.

    Neutron deduces it from the user and group that its haproxies run as
    (neutron/agent/metadata/proxy_base.py, C{_get_socket_mode}); these are in C{allowed}
    here.  Root needs no permission.  A root of ours can give the file to the one user
    who needs it, which opens it to nobody else.

    @param mode: C{user}, C{group}, C{all} or C{deduce}.
    @param allowed: The users who may ask.
    @param euid: Whom we run as.
    @param egid: Our group.
    @param groups: Lists the groups of a user.
    """
    if mode != "deduce":
        return Permissions(_MODES[mode])
    others = {uid for uid in allowed if uid not in (0, euid)}
    if not others:
        return Permissions(_MODES["user"])
    if euid == 0 and len(others) == 1:
        return Permissions(_MODES["user"], others.pop())
    if all(egid in groups(uid) for uid in others):
        return Permissions(_MODES["group"])
    return Permissions(_MODES["all"])


def listen_at(path: str, permissions: Permissions) -> Made:
    """
    Make a listening socket; nobody can open it before it has its mode.

    It is made in a directory of our own beside its place and moved there, which also
    takes the place of what a dead process has left, with no moment without a socket.

    @param path: Its place.

    @raise OSError: If that can't be; C{EADDRINUSE} where somebody listens there, or
        what is there is no socket.
    """
    _check_free(path)
    workshop = tempfile.mkdtemp(prefix=".mdproxy-", dir=os.path.dirname(path))
    opened = socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    )
    try:
        draft = os.path.join(workshop, "s")
        with _short(draft) as address:
            opened.bind(address)
        os.chmod(draft, permissions.mode)
        if permissions.owner is not None:
            os.chown(draft, permissions.owner, -1)
        opened.listen(BACKLOG)
        made = os.stat(draft)
        os.rename(draft, path)
    except BaseException:
        opened.close()
        raise
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return Made(opened, (made.st_dev, made.st_ino))


def remove(path: str, made: Made) -> None:
    """
    Remove the file of a socket of ours, unless it is another's by now.

    @raise OSError: If we may not.
    """
    if is_at(path, made):
        os.unlink(path)


def is_at(path: str, made: Made) -> bool:
    """
    Tell whether a path still leads to a socket of ours.

    @return: Also where nobody can tell: who has shed root may not look there any more.
    """
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return (found.st_dev, found.st_ino) == made.file


def peer_of(connected: socket.socket) -> Peer | None:
    """
    Tell who opened a connection (C{SO_PEERCRED}, unix(7)).

    @return: C{None} where the kernel does not tell.
    """
    try:
        said = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, _gid = _UCRED.unpack(said)
    except (OSError, struct.error):
        return None
    return Peer(pid, uid)


@contextmanager
def _short(path: str) -> Iterator[str]:
    """
    Name a path in a way that fits into C{sun_path}, 108 bytes (unix(7)).
    """
    directory, name = os.path.split(path)
    descriptor = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def _check_free(path: str) -> None:
    """
    See that a place can be taken.

    A datagram socket is refused by a dead socket for that, and by one that lives for
    its kind (net/unix/af_unix.c, C{unix_find_bsd}); whoever listens does not notice.

    @raise OSError: C{EADDRINUSE} if not.
    """
    try:
        kind = os.stat(path, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(EADDRINUSE, "what is there is no socket")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker,
        _short(path) as address,
    ):
        try:
            asker.connect(address)
        except ConnectionRefusedError:
            return
        except OSError as error:
            if error.errno != EPROTOTYPE:
                raise
    raise OSError(EADDRINUSE, "another process listens there")
