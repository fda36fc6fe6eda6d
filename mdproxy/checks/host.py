# -*- test-case-name: tests.test_checks_host -*-
"""
What this host and its processes look like from outside: a thin shell that reads and
judges nothing.  What can't be read is C{None}, or not there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, TypeVar

from attrs import frozen

from mdproxy.broker import DIRECTORY, in_namespace, open_home
from mdproxy.checks.ports import Process
from mdproxy.checks.sockets import Listening, find_listening

_Done = TypeVar("_Done")

# linux/rtnetlink.h, linux/if_addr.h
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_DUMP_REQUEST: Final = 0x301
_DONE, _ERROR = 3, 2
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
#: The result of adjtimex(2) where nobody keeps the clock right.
_TIME_ERROR: Final = 5
#: Far more than struct timex has.
_TIMEX: Final = 512
_SO_PEERCRED: Final = struct.Struct("3i")


@frozen
class Links:
    """
    The devices of a network namespace, and who listens there.

    @ivar addresses: The addresses of each device, by its name.
    @ivar indexes: The index of each device, by its name.
    @ivar listening: The sockets that listen.
    """

    addresses: Mapping[str, frozenset[str]]
    indexes: Mapping[str, int]
    listening: tuple[Listening, ...]


def look_around(proc: Path = Path("/proc")) -> Links:
    """
    Look at the network namespace that this thread is in.

    @param proc: Where the kernel's files are.

    @raise OSError: If the kernel can't be asked.
    """
    indexes = {name: index for index, name in socket.if_nameindex()}
    found: dict[str, set[str]] = {name: set() for name in indexes}
    for index, address in _addresses():
        with suppress(OSError):
            found.setdefault(socket.if_indextoname(index), set()).add(address)
    addresses = {name: frozenset(a) for name, a in found.items()}
    return Links(addresses, indexes, find_listening(proc))


def namespaces_like(globs: tuple[str, ...], directory: str = DIRECTORY) -> list[str]:
    """
    List the named network namespaces that fit one of some patterns.
    """
    with suppress(OSError):
        return sorted(
            name
            for name in os.listdir(directory)
            if any(fnmatchcase(name, glob) for glob in globs)
        )
    return []


def within(
    namespace: str, work: Callable[[], _Done], directory: str = DIRECTORY
) -> _Done:
    """
    Do something in a named network namespace.

    @raise OSError: If we may not, or it is gone.
    """
    path = os.path.join(directory, namespace)
    status, home = os.stat(path), open_home()
    try:
        return in_namespace(path, (status.st_dev, status.st_ino), home, work)
    finally:
        os.close(home)


def number_in(path: str, proc: Path = Path("/proc")) -> int | None:
    """
    Read a setting of the kernel that is a number.

    @param path: Its path under C{/proc}.
    """
    try:
        return int((proc / path).read_text())
    except (OSError, ValueError):
        return None


def holders(proc: Path = Path("/proc")) -> Mapping[int, Sequence[Process]]:
    """
    Find out whose sockets are whose, as far as we may look.

    @return: The processes that have each socket, by its inode.
    """
    found: dict[int, dict[Process, None]] = {}
    for pid in _pids(proc):
        process = Process(pid, _name_of(pid, proc))
        for target in _open_files(pid, proc):
            if target.startswith("socket:["):
                found.setdefault(int(target[8:-1]), {})[process] = None
    return {inode: tuple(processes) for inode, processes in found.items()}


def files_of(pid: int, proc: Path = Path("/proc")) -> tuple[int | None, int | None]:
    """
    Tell how many files a process may have open, and how many it has.
    """
    limit = None
    with suppress(OSError, ValueError, IndexError):
        for line in (proc / str(pid) / "limits").read_text().splitlines():
            if line.startswith("Max open files"):
                limit = int(line.split()[3])
    used = len(list(_open_files(pid, proc)))
    return limit, used or None


def watches_of(pid: int, proc: Path = Path("/proc")) -> int | None:
    """
    Count the inotify watches of a process (proc(5), fdinfo).
    """
    count = None
    for name in _names(proc / str(pid) / "fdinfo"):
        with suppress(OSError):
            text = (proc / str(pid) / "fdinfo" / name).read_text()
            count = (count or 0) + text.count("inotify wd:")
    return count


def status_of(pid: int, proc: Path = Path("/proc")) -> Mapping[str, str]:
    """
    Read what the kernel says of a process.
    """
    with suppress(OSError):
        lines = (proc / str(pid) / "status").read_text().splitlines()
        return {n: v.strip() for n, _, v in (line.partition(":") for line in lines)}
    return {}


def peer_of(place: tuple[str, int] | str) -> int | None:
    """
    Tell which process listens at the operator's endpoint.

    @param place: An address and a port, or the path of a UNIX socket.

    @return: Its number; C{None} where nobody may know.
    """
    if isinstance(place, str):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(1)
            asking.connect(place)
            said = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            pid: int = _SO_PEERCRED.unpack(said)[0]
            return pid or None
        return None
    known = holders()
    with suppress(OSError):
        for each in look_around().listening:
            is_it = each.address in (place[0], "0.0.0.0", "::")
            if each.port == place[1] and is_it and each.inode in known:
                return known[each.inode][0].pid
    return None


def is_synchronised() -> bool | None:
    """
    Ask the kernel whether its clock is kept right (adjtimex(2)).
    """
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX))
    except (AttributeError, OSError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)


def _addresses() -> Iterator[tuple[int, str]]:
    """
    Ask the kernel for the addresses of this namespace's devices (rtnetlink(7)).

    @return: Each with the index of its device.
    """
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with closing(asking):
        asking.settimeout(5)
        body = bytes(8)
        head = struct.pack("=IHHII", 16 + len(body), _RTM_GETADDR, _DUMP_REQUEST, 1, 0)
        asking.send(head + body)
        found: dict[tuple[int, str], None] = {}
        while not _read_addresses(asking.recv(1 << 18), found):
            pass
    return iter(found)


def _read_addresses(data: bytes, found: dict[tuple[int, str], None]) -> bool:
    """
    Read a piece of the kernel's answer.

    @param found: Takes what is in it.

    @return: Whether it was the last one.
    """
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if kind in (_DONE, _ERROR) or length < 16:
            return True
        if kind == _RTM_NEWADDR:
            _read_address(data[offset + 16 : offset + length], found)
        offset += length + 3 & ~3
    return False


def _read_address(body: bytes, found: dict[tuple[int, str], None]) -> None:
    """
    Read one address: C{struct ifaddrmsg} and its attributes.
    """
    family, _, _, _, index = struct.unpack_from("=BBBBI", body)
    values: dict[int, bytes] = {}
    offset = 8
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            break
        values[kind] = body[offset + 4 : offset + length]
        offset += length + 3 & ~3
    value = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS))
    if value is not None and family in (socket.AF_INET, socket.AF_INET6):
        with suppress(ValueError):
            found[index, socket.inet_ntop(family, value)] = None


def _pids(proc: Path) -> Iterator[int]:
    """
    List all processes.
    """
    return (int(name) for name in _names(proc) if name.isdecimal())


def _open_files(pid: int, proc: Path) -> Iterator[str]:
    """
    List what a process has open, as far as we may look.
    """
    directory = proc / str(pid) / "fd"
    for name in _names(directory):
        with suppress(OSError):
            yield os.readlink(directory / name)


def _names(directory: Path) -> list[str]:
    """
    List a directory, if we may.
    """
    with suppress(OSError):
        return os.listdir(directory)
    return []


def _name_of(pid: int, proc: Path) -> str:
    """
    Tell what a process calls itself.
    """
    with suppress(OSError):
        return (proc / str(pid) / "comm").read_text(errors="replace").strip()
    return "?"
