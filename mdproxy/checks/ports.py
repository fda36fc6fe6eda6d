# -*- test-case-name: tests.test_checks_ports -*-
"""
Who listens where: what holds a port that mdproxy is to have, such as Neutron's haproxy.

Pure: what C{/proc/net/tcp} says comes in (Linux, Documentation/networking/proc_net_tcp
.rst), findings come out.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from mdproxy.checks.finding import Finding
from mdproxy.ini import printable

_LISTEN: Final = "0A"
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})


@frozen
class Listening:
    """
    A socket that listens.

    @ivar address: Where; C{0.0.0.0} or C{::} for everywhere.
    @ivar port: Its port.
    @ivar uid: Whose it is.
    @ivar inode: What it is known by.
    """

    address: str
    port: int
    uid: int
    inode: int


@frozen
class Process:
    """
    A process.

    @ivar pid: Its number.
    @ivar name: What it calls itself.
    """

    pid: int
    name: str

    def __str__(self) -> str:
        """
        Name it.
        """
        return f"{printable(self.name)} (pid {self.pid})"


def read_listening(table: str) -> Iterator[Listening]:
    """
    Read which sockets listen.

    @param table: What C{/proc/net/tcp} or C{tcp6} says; a line that is none is none.
    """
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) < 10 or columns[3] != _LISTEN:
            continue
        try:
            address, port = columns[1].split(":")
            uid, inode = int(columns[7]), int(columns[9])
            yield Listening(_address(address), int(port, 16), uid, inode)
        except (ValueError, struct.error):
            continue


def judge_port(
    name: str,
    place: tuple[str, int],
    listening: Iterable[Listening],
    holders: Mapping[int, Sequence[Process]],
    ours: int | None,
) -> Finding:
    """
    Tell whether somebody else has a port that mdproxy is to have.

    A socket that is tied to another device is taken for one that is in the way, too:
    the table does not tell.

    @param name: Whose port it is.
    @param place: The address and port that are wanted.
    @param listening: What listens there.
    @param holders: Whose sockets are whose, by their inodes.
    @param ours: The running service's process; C{None}: it does not run, or nobody
        knows which it is.
    """
    address, port = place
    others: list[str] = []
    mine = False
    for each in listening:
        if each.port != port or each.address not in (address, *_EVERYWHERE):
            continue
        known = holders.get(each.inode, ())
        # One that systemd or our broker has opened for us is theirs, too.
        if ours is not None and ours in [process.pid for process in known]:
            mine = True
        else:
            others.append(_holder(each, known))
    where = f"{address} port {port}"
    if mine:
        return Finding(name, "ok", f"mdproxy listens at {where}.")
    if not others:
        text = f"Nobody listens at {where}."
        if ours is None:
            return Finding(name, "ok", f"{text} mdproxy can have it.")
        advice = "See what the running service says of this listener."
        return Finding(name, "wrong", text, advice)
    who = ", ".join(dict.fromkeys(others))
    if ours is None:
        text = f"{who} listens at {where}."
        advice = "If that is not mdproxy, end it: nobody else can have this port."
        return Finding(name, "note", text, advice)
    return Finding(
        name,
        "wrong",
        f"{who} holds {where}, so mdproxy can't listen there.",
        "If it is haproxy of Neutron's: let its agents start one that does nothing in "
        "its place (docs/install/neutron.md), leave their metadata options on, which "
        "give instances the route, and end this one. If it is another, end it.",
    )


def _holder(each: Listening, known: Sequence[Process]) -> str:
    """
    Name who has a socket.
    """
    return " with ".join(map(str, known)) or f"a process of uid {each.uid}"


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
