# -*- test-case-name: tests.test_checks_ports -*-
"""
Who has a port that mdproxy is to have, such as Neutron's haproxy.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from mdproxy.checks.finding import Finding
from mdproxy.checks.sockets import Listening
from mdproxy.ini import printable

_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})


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


def judge_port(
    name: str,
    place: tuple[str, int],
    device: int | None,
    listening: Iterable[Listening],
    holders: Mapping[int, Sequence[Process]],
    ours: int | None,
) -> Finding:
    """
    Tell whether somebody else has a port that mdproxy is to have.

    Sockets that are tied to different devices are in nobody's way
    (net/ipv4/inet_connection_sock.c, C{inet_csk_bind_conflict}).

    @param name: Whose port it is.
    @param place: The address and port that are wanted.
    @param device: The index of the device that is wanted; C{None}: all.
    @param listening: What listens there.
    @param holders: Whose sockets are whose, by their inodes.
    @param ours: The running service's process; C{None}: it does not run, or nobody
        knows which it is.
    """
    mine, others = False, []
    for each in listening:
        if not _is_in_the_way(each, place, device):
            continue
        # One that systemd or our broker has opened for us is theirs, too.
        if ours in [process.pid for process in holders.get(each.inode, ())]:
            mine = True
        else:
            others.append(each)
    where = f"{place[0]} port {place[1]}"
    if mine and all(other.device is None for other in others):
        # Where the devices of the others are not known they are others than ours.
        return Finding(name, "ok", f"mdproxy listens at {where}.")
    if others:
        who = [_holder(other, holders.get(other.inode, ())) for other in others]
        return _judge_held(name, where, ", ".join(dict.fromkeys(who)), ours)
    text = f"Nobody listens at {where}."
    if ours is None:
        return Finding(name, "ok", f"{text} mdproxy can have it.")
    advice = "See what the running service says of this listener."
    return Finding(name, "wrong", text, advice)


def _is_in_the_way(each: Listening, place: tuple[str, int], device: int | None) -> bool:
    """
    Tell whether a socket and one that is wanted can't both be.
    """
    address, port = place
    is_there = each.port == port and each.address in (address, *_EVERYWHERE)
    return is_there and (device is None or each.device in (None, 0, device))


def _judge_held(name: str, where: str, who: str, ours: int | None) -> Finding:
    """
    Tell of a port that somebody has who may not be mdproxy.
    """
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
