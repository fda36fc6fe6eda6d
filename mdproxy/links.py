# -*- test-case-name: tests.test_links -*-
"""
What is open in a namespace, and what may be wrong with it.

A I{link} is a device of a namespace: the host's own end of a network.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort

from mdproxy.broker import IPV4, IPV6, TCP4, TCP6, Identity, Rule, Want
from mdproxy.listeners import Door
from mdproxy.model import Caller

#: Where C{SO_ORIGINAL_DST} and C{IP6T_SO_ORIGINAL_DST} are asked for
#: (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h), and how C{sockaddr_in}
#: and C{sockaddr_in6} begin.
_SO_ORIGINAL_DST: Final = 80
_ORIGINAL4: Final = struct.pack("!H4s", 80, socket.inet_aton(IPV4))
_ORIGINAL6: Final = struct.pack("!H16s", 80, socket.inet_pton(socket.AF_INET6, IPV6))

_TAKEN: Final = (
    "is taken by another process (Neutron's haproxy?): when that ends mdproxy takes its"
    " place, so have Neutron's agent start no proxy for it and end the one that runs"
)
_NONE_LEFT: Final = "no file descriptor is left: raise LimitNOFILE (ulimit -n)"
_FORBIDDEN: Final = (
    "entering namespaces is not allowed: start mdproxy as root, with --uid to run as"
    " another user, or with CAP_SYS_ADMIN and CAP_NET_BIND_SERVICE"
)
#: What to say of some errors.
_SENTENCES: Final = {
    errno.EADDRINUSE: _TAKEN,
    errno.EMFILE: _NONE_LEFT,
    errno.ENFILE: _NONE_LEFT,
    errno.EPERM: _FORBIDDEN,
}
#: The namespace or the device is going: the kernel tells of that in another way.
_PASSING: Final = frozenset({errno.ENOENT, errno.ESTALE, errno.ENODEV, errno.ENXIO})


class RedirectedDoor(Door):
    """
    Where the connections of a router's network come in.

    The L3 agent redirects what goes to the metadata address to a port of the router's
    own (neutron/agent/metadata/driver.py, C{metadata_nat_rules}).  Who goes to that
    port by himself is turned away.

    @ivar strays: How many were.
    """

    strays = 0

    def find_caller(self, transport: Any) -> Caller | None:
        """
        Provide L{Door.find_caller}.
        """
        if not _was_redirected(transport.getHandle()):
            self.strays += 1
            return None
        return super().find_caller(transport)


def _was_redirected(accepted: socket.socket) -> bool:
    """
    Tell whether a connection was opened to the metadata address.
    """
    try:
        if accepted.family != socket.AF_INET6:
            said = accepted.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, 16)
            return said[2:8] == _ORIGINAL4
        said = accepted.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
        return said[2:4] + said[8:24] == _ORIGINAL6
    except OSError:
        # Nothing was redirected, or connections are not tracked here at all.
        return False


@define(eq=False)
class Link:
    """
    A device of a namespace, and what listens on it.

    @ivar name: C{NAMESPACE/DEVICE}.
    @ivar door: Where its connections come in; C{None}: nothing is to listen.
    @ivar ports: What listens, by its kind; C{None}: this kernel does not have that.
    """

    name: str
    device: str
    door: Door | None
    ports: dict[str, IListeningPort | None] = field(factory=dict)

    @property
    def missing(self) -> list[Want]:
        """
        List what is not open yet.
        """
        kinds = () if self.door is None else (TCP4, TCP6)
        return [Want(kind, self.device) for kind in kinds if kind not in self.ports]

    def close(self) -> list[Deferred[Any]]:
        """
        Listen no more.

        @return: What fires when its sockets are closed.
        """
        ports, self.ports = self.listening, {}
        return [maybeDeferred(port.stopListening) for port in ports]

    @property
    def listening(self) -> list[IListeningPort]:
        """
        List what listens.
        """
        return [port for port in self.ports.values() if port is not None]


@define(eq=False)
class Namespace:
    """
    A namespace that is there.

    @ivar name: Its name.
    @ivar rule: The rule by which it is here.
    @ivar identity: Which one it is.
    @ivar cookie: The same for ever, once a socket has told it.
    @ivar devices: Its devices by index.
    @ivar links: Those that are used.
    @ivar problem: What is wrong with it.
    """

    name: str
    rule: Rule
    identity: Identity
    cookie: int | None = None
    devices: Mapping[int, str] = field(factory=dict)
    links: dict[int, Link] = field(factory=dict)
    problem: str | None = None

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator about it.
        """
        doors = [link.door for link in self.links.values() if link.door is not None]
        return {
            "namespace": self.name,
            "listener": self.rule.name,
            "devices": sorted(link.device for link in self.links.values()),
            "listening": sum(len(link.listening) for link in self.links.values()),
            "accepted": sum(door.accepted for door in doors),
            "strays": sum(getattr(door, "strays", 0) for door in doors),
            "problem": self.problem,
        }


def sentence(error: OSError) -> str:
    """
    Say what is wrong; nothing of what passes by itself.
    """
    number = error.errno or 0
    if number in _PASSING:
        return ""
    return _SENTENCES.get(number, error.strerror or str(error))
