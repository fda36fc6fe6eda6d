# -*- test-case-name: tests.test_listener_config -*-
"""
The part of the configuration that is about where instances come in.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias

from attrs import define, field, frozen

from mdproxy.ini import printable
from mdproxy.listener_options import LISTENER, LISTENER_OPTIONS, OPTIONS_OF
from mdproxy.model import Malformed, canonical_address
from mdproxy.places import DEVICE, NETWORK, bare
from mdproxy.settings import Settings

_DEFAULTS: Final = {option.name: option.default for option in LISTENER_OPTIONS}

_WEAKER: Final = {
    "lease": "an instance that takes another's address on its network passes for it",
    "address": "whoever can send from an instance's address passes for it",
}

#: What a namespace of Neutron's is called, as a pattern: a word and a hyphen before
#: the id (neutron/agent/linux/dhcp.py, C{NS_PREFIX}, and those of its other agents).
_NAMESPACES = re.compile(r"[0-9A-Za-z._]+-[0-9A-Za-z._*?\[\]!-]{1,200}\Z")
_MAGIC = re.compile(r"[*?\[]")
#: Every address of the host.
_ANY: Final = ("0.0.0.0", "::")
#: C{sun_path} of unix(7), without its last byte.
_LONGEST_PATH: Final = 107
#: The largest user id; the one above it means "none" (chown(2)).
_MAX_UID: Final = (1 << 32) - 2


@frozen
class ListenerConfig:
    """
    A socket that accepts instances of one network.

    @ivar name: The listener's name.
    @ivar kind: C{device} or C{address}.
    @ivar device: The network device; C{None} for the other kind.
    @ivar address: The address; C{None} for the other kind.
    @ivar port: The TCP port.
    @ivar network: The network.
    @ivar identify_by: C{mac}, C{lease} or C{address}.
    """

    name: str
    kind: str
    device: str | None
    address: str | None
    port: int
    network: str
    identify_by: str


@frozen
class NamespacesConfig:
    """
    Sockets that accept instances in every network namespace of some names; they are
    identified by MAC.

    @ivar name: The listener's name.
    @ivar namespaces: Patterns of their names (C{fnmatch}); what stands before the first
        hyphen, which no pattern has a special character in, tells the kind: C{qrouter}
        is a router's, all others are a network's.  The rest of a name is the id.
    @ivar port: The TCP port in namespaces of networks.
    @ivar router_port: The TCP port in namespaces of routers.
    """

    name: str
    namespaces: tuple[str, ...]
    port: int
    router_port: int


@frozen
class SocketConfig:
    """
    A UNIX socket that takes what Neutron's haproxies send to Neutron's agent.

    @ivar name: The listener's name.
    @ivar path: The socket's path, absolute.
    @ivar mode: Who may open it: C{user}, C{group}, C{all} or C{deduce}.
    @ivar allowed_uids: The users who may ask; none: root and whoever we run as.
    @ivar namespaces: Patterns of the names of the namespaces that instances are looked
        for in, as in L{NamespacesConfig.namespaces}.
    @ivar identify_by: C{mac} or C{address}.
    """

    name: str
    path: str
    mode: str
    allowed_uids: tuple[int, ...]
    namespaces: tuple[str, ...]
    identify_by: str


#: Any listener.
AnyListener: TypeAlias = ListenerConfig | NamespacesConfig | SocketConfig


def read_listeners(settings: Settings) -> tuple[AnyListener, ...]:
    """
    Find the listeners, and see that they don't get into each other's way.

    @param settings: What is set; told what is wrong with it.
    """
    listeners: list[AnyListener] = []
    places = _Places()
    for name in settings.listeners:
        section = LISTENER + name
        listener = _listener(settings, section, name)
        if listener is None or settings.is_faulty(section):
            continue
        for problem in places.clashes(listener):
            settings.fault(section, "", problem)
        listeners.append(listener)
    if not settings.listeners and settings.is_whole:
        settings.faults.append(
            f"{settings.where}: there is no [{LISTENER}NAME]: nobody could ask; add "
            "one for each network"
        )
    return tuple(listeners)


def _listener(settings: Settings, section: str, name: str) -> AnyListener | None:
    """
    Read the section of one listener.
    """
    kind: str = settings.value(section, "kind")
    if not settings.exists(section, "kind", kind, OPTIONS_OF):
        return None
    _refuse_others(settings, section, kind)
    listener = _LISTENERS[kind](settings, section, name)
    _judge_identification(settings, section, kind)
    return listener


def _in_namespaces(settings: Settings, section: str, name: str) -> NamespacesConfig:
    """
    Read the section of a listener in namespaces.
    """
    return NamespacesConfig(
        name,
        _namespaces(settings, section),
        settings.value(section, "port"),
        settings.value(section, "router_port"),
    )


def _on_socket(settings: Settings, section: str, name: str) -> SocketConfig:
    """
    Read the section of a listener on a UNIX socket.
    """
    return SocketConfig(
        name,
        _path(settings, section),
        _mode(settings, section),
        _uids(settings, section),
        _namespaces(settings, section),
        settings.value(section, "identify_by"),
    )


def _on_link(settings: Settings, section: str, name: str) -> ListenerConfig:
    """
    Read the section of a listener on a device or an address.
    """
    kind: str = settings.value(section, "kind")
    is_device = kind == "device"
    return ListenerConfig(
        name,
        kind,
        _device(settings, section, name) if is_device else None,
        None if is_device else _address(settings, section),
        settings.value(section, "port"),
        _network(settings, section, name),
        settings.value(section, "identify_by"),
    )


#: Reads the section of each kind of listener.
_LISTENERS: Final[Mapping[str, Callable[[Settings, str, str], AnyListener]]] = {
    "device": _on_link,
    "namespaces": _in_namespaces,
    "address": _on_link,
    "socket": _on_socket,
}


def _refuse_others(settings: Settings, section: str, kind: str) -> None:
    """
    Refuse an option that is for other kinds of listeners.
    """
    for option in frozenset().union(*OPTIONS_OF.values()) - OPTIONS_OF[kind]:
        if settings.value(section, option) != _DEFAULTS[option]:
            others = [name for name, has in OPTIONS_OF.items() if option in has]
            settings.fault(
                section,
                option,
                f"is for kind = {' and '.join(others)}, and this listener's is {kind}",
            )


def _judge_identification(settings: Settings, section: str, kind: str) -> None:
    """
    Refuse what would identify wrongly, and note what identifies less surely.
    """
    option = "identify_by"
    how: str = settings.value(section, option)
    if kind == "namespaces" and how != "mac":
        settings.fault(section, option, f"is mac for kind = namespaces, not {how}")
    elif kind == "socket" and how == "lease":
        settings.fault(section, option, "is mac or address for kind = socket")
    elif how != "mac":
        text = f"{how} is weaker than mac: {_WEAKER[how]}"
        settings.note(section, option, text)
    elif kind == "address" and not settings.is_faulty(section, option):
        settings.fault(
            section,
            option,
            "mac can't identify on an address, where connections come in from every "
            "device, so nothing ties a frame's MAC to the network: set identify_by = "
            "lease or address, or kind = device",
        )


def _network(settings: Settings, section: str, name: str) -> str:
    """
    Find the network of a listener that has one.
    """
    network: str = settings.value(section, "network") or name
    if NETWORK.match(network) is None:
        settings.fault(
            section,
            "network",
            f"'{printable(network)}' can't name a network: up to 255 letters, digits "
            "and . _ : - can",
        )
    return network


def _device(settings: Settings, section: str, name: str) -> str:
    """
    Find the network device of a listener; it need not exist yet.
    """
    device: str = settings.value(section, "device") or name
    if DEVICE.match(device) is None:
        settings.fault(
            section,
            "device",
            f"'{printable(device)}' can't name a network device: up to 15 characters "
            "without space, / and : can",
        )
    return device


def _address(settings: Settings, section: str) -> str:
    """
    Find the address of a listener.
    """
    text: str = settings.value(section, "address")
    try:
        address = canonical_address(bare(text))
    except Malformed:
        problem = f"'{printable(text)}' is no IP address" if text else "is empty"
        settings.fault(
            section, "address", f"{problem}: kind = address needs one to listen on"
        )
        return text
    if "%" in text or ip_address(address).is_multicast:
        text = f"{printable(text)} is no plain address of the host"
        settings.fault(section, "address", text)
    return address


def _namespaces(settings: Settings, section: str) -> tuple[str, ...]:
    """
    Find the patterns of the namespaces of a listener.
    """
    option = "namespaces"
    patterns: list[str] = settings.value(section, option)
    for pattern in patterns:
        if _NAMESPACES.match(pattern) is None:
            settings.fault(
                section,
                option,
                f"'{printable(pattern)}' is no pattern for namespaces: it begins with "
                "what stands before the id and its hyphen, like qdhcp-*",
            )
    if not patterns and not settings.is_faulty(section, option):
        settings.fault(section, option, "is empty: name at least one, like qdhcp-*")
    return tuple(dict.fromkeys(patterns))


def _path(settings: Settings, section: str) -> str:
    """
    Find the path of a UNIX socket.
    """
    path: str = settings.value(section, "path")
    problem = None
    if not path:
        problem = (
            "is empty: name the socket that Neutron's haproxies ask at, commonly "
            "/var/lib/neutron/metadata_proxy"
        )
    elif not path.startswith("/") or "\0" in path:
        problem = f"'{printable(path)}' is no absolute path"
    elif len(path.encode()) > _LONGEST_PATH:
        problem = f"'{printable(path)}' is longer than {_LONGEST_PATH} bytes"
    if problem is not None and not settings.is_faulty(section, "path"):
        settings.fault(section, "path", problem)
    return path


def _mode(settings: Settings, section: str) -> str:
    """
    Find out who may open a UNIX socket.
    """
    mode: str = settings.value(section, "mode")
    if mode == "all":
        settings.note(
            section,
            "mode",
            "all is weaker than group: every user of the host can open the socket, and "
            "nothing but allowed_uids keeps others from asking in an instance's name",
        )
    return mode


def _uids(settings: Settings, section: str) -> tuple[int, ...]:
    """
    Find out whose processes may ask at a UNIX socket.
    """
    uids: list[int] = []
    names: list[str] = settings.value(section, "allowed_uids")
    if not names:
        text = (
            "is empty: nobody but root and the user that mdproxy runs as may ask; "
            "Neutron's haproxies commonly run as neutron"
        )
        settings.note(section, "allowed_uids", text)
    for text in names:
        try:
            uid = int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid
        except (KeyError, ValueError):
            uid = _MAX_UID + 1
        if uid > _MAX_UID:
            problem = f"'{printable(text)}' is no user of this host"
            settings.fault(section, "allowed_uids", problem)
        uids.append(uid)
    return tuple(dict.fromkeys(uids))


@define
class _Places:
    """
    Where listeners are, by what no two of them can share.

    @ivar _taken: Each place, and the name of the listener that has it.
    @ivar _devices: Each network that is tied to a device: the device, and the name of
        the listener.
    """

    _taken: dict[tuple[str | int | None, ...], str] = field(factory=dict, init=False)
    _devices: dict[str, tuple[str, str]] = field(factory=dict, init=False)

    def clashes(self, listener: AnyListener) -> Iterator[str]:
        """
        Take a listener in.

        @return: Why it can't be beside those that were taken in before.
        """
        if isinstance(listener, ListenerConfig):
            yield from self._clashes_of_ports(listener)
        elif isinstance(listener, SocketConfig):
            other = self._taken.setdefault(("path", listener.path), listener.name)
            if other != listener.name:
                yield f"has the path of [{LISTENER}{other}]"
        else:
            yield from self._clashes_of_namespaces(listener)

    def _clashes_of_ports(self, listener: ListenerConfig) -> Iterator[str]:
        """
        Take in a listener on a device or an address: one problem is enough.
        """
        name, port = listener.name, listener.port
        where = listener.device or listener.address
        same = self._taken.setdefault((port, listener.kind, where), name)
        first = self._taken.setdefault((port,), name)
        is_anywhere = listener.address in _ANY
        anywhere = self._taken.get((port, "anywhere"))
        if is_anywhere:
            self._taken.setdefault((port, "anywhere"), name)
        device, owner = self._devices.get(listener.network, (listener.device, name))
        if listener.device is not None:
            self._devices.setdefault(listener.network, (listener.device, name))
        if same != name:
            yield f"listens on {where} port {port}, as [{LISTENER}{same}] does"
        elif anywhere is not None or (is_anywhere and first != name):
            yield (
                f"can't have port {port} beside [{LISTENER}{anywhere or first}]: one "
                "of them takes it on every address"
            )
        elif listener.device not in (None, device):
            yield (
                f"serves network {listener.network} on device {listener.device}, and "
                f"[{LISTENER}{owner}] on {device}: a network is one device"
            )

    def _clashes_of_namespaces(self, listener: NamespacesConfig) -> Iterator[str]:
        """
        Take in a listener in namespaces: a namespace has one listener, whatever its
        port.

        Two patterns may match the same name where what precedes the special characters
        of one begins with that of the other; whether they really do does not matter.
        """
        for pattern in listener.namespaces:
            head = _MAGIC.split(pattern)[0]
            others = {
                self._taken.get(("head", head[:length]))
                for length in range(len(head) + 1)
            }
            others.add(self._taken.get(("begins", head)))
            for other in sorted(others - {None, listener.name}, key=str):
                yield (
                    f"has namespaces like {pattern}, as [{LISTENER}{other}] may: make "
                    "the patterns differ in what precedes their * ? ["
                )
            self._taken.setdefault(("head", head), listener.name)
            for length in range(len(head) + 1):
                self._taken.setdefault(("begins", head[:length]), listener.name)


def taker_of(
    listeners: Sequence[AnyListener], place: tuple[str, int] | str
) -> str | None:
    """
    Find the listener that takes what comes to a place on the host.

    @param place: An address and a port, or the path of a UNIX socket.

    @return: Its name; C{None}: none does.
    """
    for listener in listeners:
        if isinstance(listener, SocketConfig):
            is_there = listener.path == place
        elif isinstance(listener, ListenerConfig):
            # A socket on every address gets whatever no other one is there for.
            is_there = not isinstance(place, str) and (
                listener.port == place[1]
                and (place[0] in _ANY or listener.address in (place[0], *_ANY))
            )
        else:
            is_there = False
        if is_there:
            return listener.name
    return None
