# -*- test-case-name: tests.test_places -*-
"""
Hosts, addresses, devices, networks and endpoints, as an operator writes them.

Pure: text in; what it means, or what is wrong with it, out.
"""

from __future__ import annotations

import re
import stat
from ipaddress import ip_address
from typing import Any, cast

from attrs import define
from oslo_config import types
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory

from mdproxy.model import canonical_address

#: What a network may be called; C{@} and the comma have a meaning in lease sources.
NETWORK = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._:-]{0,254}\Z")
#: Linux's rule (net/core/dev.c, C{dev_valid_name}), in printable ASCII.
DEVICE = re.compile(r"(?!\.{1,2}\Z)[!-.0-9;-~]{1,15}\Z")
#: A host with a port behind it.
_WITH_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*):[0-9]+\Z")

_NO_HOST = "is neither a host name nor an IP address"
#: What instances ask (openstack/nova, doc/source/user/metadata.rst), in any spelling.
_LINK_LOCAL = {
    ip_address(text)
    for text in ("169.254.169.254", "::ffff:169.254.169.254", "fe80::a9fe:a9fe")
}
#: The address of an endpoint that names none.
_EVERYWHERE = {"tcp": "0.0.0.0", "tcp6": "::"}
_LIKE = "like tcp:8085:interface=127.0.0.1 or unix:/run/mdproxy/status.sock"


def bare(host: str) -> str:
    """
    Take the brackets off an IPv6 address.
    """
    bracketed = host.startswith("[") and host.endswith("]") and ":" in host
    return host[1:-1] if bracketed else host


def problem_of_host(host: str, text: str) -> str | None:
    """
    Say what is wrong with a host of Nova's.
    """
    if "/" in text:
        return "is not a host: write just the name or address, without http:// and path"
    if not text.isprintable():
        # oslo.config's pattern for names lets a newline at the end pass.
        return _NO_HOST
    if "%" in text:
        return "is an address with a zone, which is not supported"
    try:
        types.HostAddress()(host)
    except ValueError:
        if _WITH_PORT.match(text):
            return "is not a host: the port belongs into nova_metadata_port"
        return _NO_HOST
    return None


@define
class _Place:
    """
    Stands in for the reactor, to learn where an endpoint would listen.
    """

    at: tuple[str, int] | None = None
    path: str = ""
    mode: int = 0

    def listenTCP(
        self, port: int, factory: Factory, backlog: int = 50, interface: str = ""
    ) -> None:
        """
        Take note of an address and a port.
        """
        self.at = (interface, port)

    def listenUNIX(
        self, address: str, factory: Factory, mode: int, **more: Any
    ) -> None:
        """
        Take note of a path and its mode.
        """
        self.path = address
        self.mode = mode


def _listen(text: str) -> _Place:
    """
    Learn where an endpoint would listen.

    @raise ValueError: If it is none.
    """
    place = _Place()
    try:
        endpoint = serverFromString(cast(Any, place), text)
        endpoint.listen(Factory())
    except Exception:  # Its parser raises whatever comes up.
        raise ValueError(f"is no endpoint that Twisted understands, {_LIKE}") from None
    return place


def completed(text: str) -> str:
    """
    Let only its owner use a UNIX socket that has no mode; by Twisted's, everybody may.

    @param text: Any endpoint, or what should have been one.

    @return: The endpoint, with a mode where it had none.
    """
    kind, _, rest = text.partition(":")
    if kind != "unix":
        return text
    try:
        place, other = _listen(text), _listen(f"unix:mode=600:{rest}")
    except ValueError:
        return text
    # A mode of its own comes after ours, and counts.
    has_mode = place.mode == other.mode
    return text if has_mode or not place.path else f"{text}:mode=600"


def _check_access(place: _Place) -> None:
    """
    Refuse a UNIX socket that everybody may use: who may write to it may connect.

    @raise ValueError: If it is one.
    """
    if place.path.startswith("\0"):
        raise ValueError(f"is no file, and so everybody may use it; {_LIKE}")
    if place.mode & stat.S_IWOTH:
        raise ValueError(f"lets everybody in; give it a mode, {_LIKE}:mode=600")


def place_of(text: str, remote: bool = False) -> tuple[str, int] | str:
    """
    Find the address and port of an endpoint.

    @param remote: Whether others than this host may reach it.

    @return: Both, or the path of a UNIX socket; the address of an endpoint on every
        address is C{0.0.0.0} or C{::}.

    @raise ValueError: If it is no endpoint, or not for C{remote} and anybody but this
        host can reach it.
    """
    # Other kinds would have Twisted load plugins and read files.
    kind = text.partition(":")[0]
    if kind not in ("tcp", "tcp6", "unix"):
        raise ValueError(f"is no tcp or unix endpoint, {_LIKE}")
    place = _listen(text)
    if place.path:
        _check_access(place)
        return place.path
    if place.at is None:
        raise ValueError(f"names no path, {_LIKE}")
    host, port = place.at
    host = {"localhost": "127.0.0.1", "": _EVERYWHERE[kind]}.get(host, host)
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(f"names no IP address, {_LIKE}") from None
    if not 0 < port < 65536:
        raise ValueError(f"has no port, {_LIKE}")
    if not address.is_loopback and not remote:
        raise ValueError(f"is reachable from outside, {_LIKE}")
    if address in _LINK_LOCAL:
        raise ValueError(f"is what instances ask, {_LIKE}")
    return canonical_address(host), port


def mode_of(text: str) -> int:
    """
    Find the mode of the socket that an endpoint makes.

    @param text: An endpoint that is a UNIX socket.
    """
    return _listen(text).mode


def is_loopback(place: tuple[str, int] | str) -> bool:
    """
    Tell whether a place can be reached from this host alone.

    @param place: An address and a port, or the path of a UNIX socket.
    """
    return isinstance(place, str) or ip_address(place[0]).is_loopback
