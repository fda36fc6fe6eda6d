# -*- test-case-name: tests.test_checks_sockets -*-
"""
Who listens where, as the kernel tells it: by sock_diag(7), which knows the device that
a socket is tied to; where that is not to be had by C{/proc/net/tcp} (Linux,
Documentation/networking/proc_net_tcp.rst), which does not.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from attrs import frozen

# linux/netlink.h, linux/sock_diag.h, net/tcp_states.h
_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_DUMP_REQUEST: Final = 0x301
_ERROR, _DONE = 2, 3
_LISTEN: Final = 10
#: What begins each message.
_HEAD: Final = struct.Struct("=IHHII")
#: C{struct inet_diag_msg}: family and state; port and address; device; uid and inode.
_FAMILY: Final = struct.Struct("=BB2x")
_PORT: Final = struct.Struct(">H2x")
_DEVICE_AT, _OWNER_AT, _SIZE = 40, 64, 72
_OWNER: Final = struct.Struct("=II")
_UINT: Final = struct.Struct("=I")


@frozen
class Listening:
    """
    A socket that listens.

    @ivar address: Where; C{0.0.0.0} or C{::} for everywhere.
    @ivar port: Its port.
    @ivar uid: Whose it is.
    @ivar inode: What it is known by.
    @ivar device: The index of the device that it is tied to; 0: none; C{None}: nobody
        knows.
    """

    address: str
    port: int
    uid: int
    inode: int
    device: int | None = None


def find_listening(proc: Path) -> tuple[Listening, ...]:
    """
    Find what listens in the network namespace that this thread is in.

    @param proc: Where the kernel's files are.
    """
    with suppress(OSError):
        return tuple(
            each
            for family in (socket.AF_INET, socket.AF_INET6)
            for each in _ask(family)
        )
    found: list[Listening] = []
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            found += read_table((proc / "thread-self/net" / name).read_text())
    return tuple(found)


def _ask(family: int) -> Iterator[Listening]:
    """
    Ask the kernel for the sockets of a family that listen.

    @raise OSError: If it does not tell.
    """
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
    with closing(asking):
        asking.settimeout(5)
        states = _UINT.pack(1 << _LISTEN)
        body = bytes((family, socket.IPPROTO_TCP, 0, 0)) + states + bytes(48)
        head = _HEAD.pack(_HEAD.size + len(body), _BY_FAMILY, _DUMP_REQUEST, 1, 0)
        asking.send(head + body)
        found: list[Listening] = []
        while not read_answer(asking.recv(1 << 18), found):
            pass
    return iter(found)


def read_answer(data: bytes, found: list[Listening]) -> bool:
    """
    Read a piece of the kernel's answer.

    @param found: Takes what is in it.

    @return: Whether it was the last one.

    @raise OSError: If it says that it does not tell, or what is no answer.
    """
    offset = 0
    while offset + _HEAD.size <= len(data):
        length, kind, _, _, _ = _HEAD.unpack_from(data, offset)
        if kind == _DONE:
            return True
        if kind == _ERROR or length < _HEAD.size:
            raise OSError("the kernel does not tell who listens")
        body = data[offset + _HEAD.size : offset + length]
        if kind == _BY_FAMILY and len(body) >= _SIZE:
            found.append(_socket_of(body))
        offset += length + 3 & ~3
    return False


def _socket_of(body: bytes) -> Listening:
    """
    Read C{struct inet_diag_msg}.
    """
    family, _ = _FAMILY.unpack_from(body)
    (port,) = _PORT.unpack_from(body, 4)
    size = 4 if family == socket.AF_INET else 16
    kind = socket.AF_INET if size == 4 else socket.AF_INET6
    address = socket.inet_ntop(kind, body[8 : 8 + size])
    (device,) = _UINT.unpack_from(body, _DEVICE_AT)
    uid, inode = _OWNER.unpack_from(body, _OWNER_AT)
    return Listening(address, port, uid, inode, device)


def read_table(table: str) -> Iterator[Listening]:
    """
    Read which sockets listen.

    @param table: What C{/proc/net/tcp} or C{tcp6} says; a line that is none is none.
    """
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) < 10 or columns[3] != f"{_LISTEN:02X}":
            continue
        try:
            address, port = columns[1].split(":")
            uid, inode = int(columns[7]), int(columns[9])
            yield Listening(_address(address), int(port, 16), uid, inode)
        except (ValueError, struct.error):
            continue


def _address(text: str) -> str:
    """
    Read an address: words of 32 bits, each as this machine stores it.

    @raise ValueError: If it is none.
    """
    data = bytes.fromhex(text)
    if len(data) not in (4, 16):
        raise ValueError("no address")
    words = struct.unpack(f"={len(data) // 4}I", data)
    packed = struct.pack(f">{len(words)}I", *words)
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    return socket.inet_ntop(socket.AF_INET6, packed)
