# -*- test-case-name: tests.test_namespaces -*-
"""
Listening in network namespaces, as they come and go.

Neutron gives each network a namespace on the host that serves its DHCP (C{qdhcp-}),
each router one (C{qrouter-}), and with OVN each network that has an instance here one
for metadata (C{ovnmeta-}); the name tells the network, or the router.  In each, and for
each of its devices, there is a listener that hears this device alone: what connects to
it comes from that network and no other, whatever addresses are used there.

An open socket keeps a namespace, and with it the devices of instances, alive after its
name has gone (network_namespaces(7)): so all are closed the moment that the name goes.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections import Counter
from collections.abc import (
    Callable,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from mdproxy.agenda import SLICE, Agenda
from mdproxy.broker import (
    DIRECTORY,
    MOST,
    ROUTE,
    TCP4,
    Identity,
    Rule,
    Want,
    is_router,
    is_served,
    place_of,
)
from mdproxy.files import DirectoryWatch
from mdproxy.http.front import Front
from mdproxy.http.transports import accept_at_once
from mdproxy.limits import Seldom
from mdproxy.links import Link, Namespace, RedirectedDoor, sentence
from mdproxy.listeners import Door, NeighbourDevices
from mdproxy.lookup.books import PREFIX, NetworkBook
from mdproxy.lookup.kernel_table import DevicesChanged
from mdproxy.openers import Opened, Opener, cookie_of, identity_of

if TYPE_CHECKING:
    from mdproxy.heard import HeardLink

#: So many files are spared, or an eighth of all where there may be few.
_SPARED: Final = 16

#: A name that is no namespace yet is looked at again after so many seconds, then after
#: twice as many, and so on; after so many times it is left to the next rescan.
_SOON: Final = 0.005
_TIMES: Final = 9
#: What could not be opened is tried again after so many seconds, and so many more for
#: each namespace that waits for the same: a thousand cost no more than ten.
_PAUSE: Final = 1.0
_PAUSE_EACH: Final = 0.005

_NO_NAMESPACE: Final = (
    "is no namespace, as seen from here: where others see one, mdproxy runs in a mount"
    " namespace that is told of no mounts (MountFlags=slave, bind with rslave)"
)


class NamespaceNeighbours(NeighbourDevices, Protocol):
    """
    What is asked of the neighbour source beside what every listener asks.
    """

    def watch(
        self,
        namespace: str,
        open_socket: Callable[[], socket.socket],
        devices_changed: DevicesChanged,
    ) -> None:
        """
        Begin to follow a namespace, and tell its devices.
        """

    def unwatch(self, namespace: str) -> None:
        """
        Let go of a namespace.
        """


def _most_files() -> int:
    """
    Tell how many files sockets in namespaces may take: where they would take all, the
    operator who wants to know could not be let in, nor what shows it be read.
    """
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - min(_SPARED, soft // 8)


def _listens(rule: Rule) -> bool:
    """
    Tell whether anything is to listen by a rule.
    """
    return bool(rule.port or rule.router_port)


def called(rules: Sequence[Rule]) -> str:
    """
    Name what serves rules after those by which something listens; where there is none,
    after the UNIX sockets whose callers are looked for in namespaces.
    """
    listening = [rule.name for rule in rules if _listens(rule)]
    if listening:
        return ", ".join(listening)
    return f"namespaces of {', '.join(rule.name for rule in rules)}"


class Namespaces(Service):
    """
    All listeners in namespaces, and the neighbours of these.

    @ivar name: What it is called on pages: the names of the listeners that it is.
    @ivar most_files: How many files may be open when one more is.
    """

    _log = Logger()

    def __init__(
        self,
        rules: Sequence[Rule],
        opener: Opener,
        front: Front,
        neighbours: NamespaceNeighbours,
        networks: NetworkBook,
        reactor: Any,
        directory: str = DIRECTORY,
        identify: Callable[[str], Identity | None] = identity_of,
        cookie_of: Callable[[socket.socket], int | None] = cookie_of,
    ) -> None:
        """
        Prepare; nothing is looked at before it is started.

        @param rules: Which namespaces are served, and how; the first that fits and has
            a port counts, else the first that fits, by which nothing listens.
        @param opener: Opens sockets; it is started before this and stopped after it.
        @param front: What the channels share.
        @param neighbours: The neighbour source; it must have been started.
        @param networks: Is told which network each link belongs to.
        @param reactor: The reactor, and the clock.
        @param directory: Where the names of namespaces are.
        @param identify: Tells which namespace a path stands for.
        @param cookie_of: Tells in which namespace a socket is.
        """
        self.name = called(rules)
        self._rules = sorted(rules, key=_listens, reverse=True)
        self._opener = opener
        self._front = front
        self._neighbours = neighbours
        self._networks = networks
        self._reactor = reactor
        self._directory = directory
        self._identify = identify
        self._cookie_of = cookie_of
        self.most_files = _most_files()
        self._held: dict[str, Namespace] = {}
        self._troubled: set[str] = set()
        self._tries: dict[str, int] = {}
        self._problem: str | None = None
        self._patience = SLICE
        self._counts = Counter(opened=0, closed=0)
        self._seldom = Seldom()
        self._agenda = Agenda(reactor, self._look)
        self._watch = DirectoryWatch(
            reactor, reactor, lambda: (directory,), self._changed, prompt=True
        )

    def startService(self) -> None:
        """
        Look at all there is before this returns; devices are told in the next turns.
        """
        super().startService()
        self._patience = float("inf")
        self._watch.startService()
        self._patience = SLICE

    def stopService(self) -> Deferred[Any]:
        """
        Accept no more; connections are closed by whoever drains the front.

        The neighbours are watched on: what is in flight is checked against them.

        @return: Fires when the sockets are closed.
        """
        super().stopService()
        self._watch.stopService()
        self._agenda.clear()
        links = [link for held in self._held.values() for link in held.links.values()]
        return gatherResults([closed for link in links for closed in link.close()])

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator which namespaces are served, and what is wrong.

        @return: Plain values, ready for JSON.
        """
        each = [self._held[name].describe() for name in sorted(self._held)]
        return {
            **self.summary(),
            "accepted": sum(one["accepted"] for one in each),
            "strays": sum(one["strays"] for one in each),
            "each": [{**one, **self._called(one["namespace"])} for one in each],
        }

    def summary(self) -> Mapping[str, Any]:
        """
        Tell the operator the same, but nothing of any one namespace: this takes a tenth
        of the time where there are a thousand.

        @return: Plain values, ready for JSON.
        """
        held = self._held.values()
        links = (link for namespace in held for link in namespace.links.values())
        return {
            "name": self.name,
            "namespaces": len(held),
            "listening": sum(len(link.listening) for link in links),
            "waiting": sorted(self._tries),
            "problem": self.problem,
            **self._counts,
        }

    def links(self) -> Iterator[str]:
        """
        Name every link that is listened on.
        """
        for held in self._held.values():
            for link in held.links.values():
                if link.door is not None:
                    yield link.name

    def heard(self, links: Container[str]) -> Iterator[HeardLink]:
        """
        Tell the operator of links that are listened on.

        @param links: Which.
        """
        # Nobody needs it before an operator asks.
        from mdproxy.heard import HeardLink

        for held in self._held.values():
            for link in held.links.values():
                if link.door is not None and link.name in links:
                    yield HeardLink(
                        link=link.name,
                        listener=held.rule.name,
                        kind="namespaces",
                        identify_by="mac",
                        device=link.device,
                        is_open=bool(link.listening),
                        problem=held.problem,
                    )

    def _called(self, namespace: str) -> Mapping[str, Any]:
        """
        Tell what the networks of a namespace are called.
        """
        links = self._held[namespace].links.values()
        return {"networks": sorted({self._networks.name_of(x.name) for x in links})}

    @property
    def problem(self) -> str | None:
        """
        Sum up what is wrong; C{None}: nothing.
        """
        problems = [each for each in (self._opener.problem, self._problem) if each]
        if self._troubled:
            first = self._held[min(self._troubled)]
            problems.append(
                f"{len(self._troubled)} of {len(self._held)} namespaces are not served "
                f"fully, such as {first.name}: {first.problem}"
            )
        strange = [name for name, tries in self._tries.items() if tries > _TIMES]
        if strange:
            path = os.path.join(self._directory, min(strange))
            problems.append(f"{path} {_NO_NAMESPACE}")
        return "; ".join(problems) or None

    def _changed(self, paths: frozenset[str] | None) -> None:
        """
        Look at what may have come or gone.

        @param paths: Names, as files; C{None}, or the directory itself among them: any.
        """
        if paths is None or self._directory in paths:
            there = self._list()
            if there is None:
                return
            names = there | self._held.keys()
        else:
            names = {os.path.basename(path) for path in paths}
        found = {
            name: self._find(name)
            for name in names
            if name in self._held or self._rule_for(name)
        }
        # First of all what goes: an instance's device may wait for it.
        self._close_all([name for name in found if self._is_gone(name, found[name])])
        for name, identity in found.items():
            if not self._is_settled(name, identity):
                self._tries.pop(name, None)
                self._agenda.put(name)
        self._agenda.work(self._patience)

    def _list(self) -> set[str] | None:
        """
        List the names that there are; C{None}: nobody knows.
        """
        try:
            self._problem, there = None, set(os.listdir(self._directory))
        except FileNotFoundError:
            # The first namespace makes it.
            return set()
        except OSError as error:
            self._problem = f"{self._directory} can't be read: {error.strerror}"
            return None
        return there

    def _rule_for(self, name: str) -> Rule | None:
        """
        Find the rule of a namespace.
        """
        return next((rule for rule in self._rules if rule.fits(name)), None)

    def _is_settled(self, name: str, identity: Identity | None) -> bool:
        """
        Tell whether a namespace is served as it should be.

        @param identity: Which namespace has the name now.
        """
        held = self._held.get(name)
        return (
            held is not None
            and held.identity == identity
            and held.problem is None
            and not any(link.missing for link in held.links.values())
        )

    def _is_gone(self, name: str, identity: Identity | None) -> bool:
        """
        Tell whether a namespace that is held has lost its name, or another has it.

        @param identity: Which namespace has the name now.
        """
        held = self._held.get(name)
        return held is not None and held.identity != identity

    def _find(self, name: str) -> Identity | None:
        """
        Tell which namespace a name stands for now.

        @return: C{None}: none, or none yet.
        """
        try:
            return self._identify(os.path.join(self._directory, name))
        except OSError:
            return None

    def _look(self, name: str) -> None:
        """
        Bring a namespace to where it should be.
        """
        rule, identity = self._rule_for(name), self._find(name)
        if self._is_gone(name, identity):
            self._close_all([name])
        if rule is None or identity is None:
            self._wait_for(name)
            return
        self._tries.pop(name, None)
        held = self._held.get(name)
        if held is None:
            self._hold(Namespace(name, rule, identity))
        else:
            self._serve(held)

    def _wait_for(self, name: str) -> None:
        """
        Look at a name again before long, if it is there: it may become a namespace.
        """
        tries = self._tries.get(name, 0)
        if not os.path.lexists(os.path.join(self._directory, name)):
            self._tries.pop(name, None)
        else:
            self._tries[name] = tries + 1
            if tries < _TIMES:
                self._agenda.put(name, _SOON * 2**tries)

    def _hold(self, held: Namespace) -> None:
        """
        Begin with a namespace; its devices are told in another turn.
        """
        self._held[held.name] = held
        self._counts["opened"] += 1
        self._neighbours.watch(
            held.name, partial(self._open_route, held), partial(self._learn, held)
        )

    def _open_route(self, held: Namespace) -> socket.socket:
        """
        Open a netlink socket in a namespace.

        @raise OSError: If that can't be.
        """
        try:
            (opened,) = self._ask(held, [Want(ROUTE)])
            if isinstance(opened, OSError):
                raise opened
            self._check_cookie(held, opened)
        except OSError as error:
            self._tell(held, sentence(error) or None)
            raise
        return opened

    def _ask(self, held: Namespace, wants: Sequence[Want]) -> Opened:
        """
        Have sockets opened, but for those that would take what is spared.

        @return: For each what was opened, or why it was not.

        @raise OSError: If the namespace can't be entered.
        """
        opened = self._opener.open(held.name, held.identity, wants)
        return [self._spare(each) for each in opened]

    def _spare(self, opened: socket.socket | OSError) -> socket.socket | OSError:
        """
        Give a socket back where few descriptors are left.

        Each has the lowest number that is free (POSIX, section 2.6); and the reactor
        listens with another one than it is given.
        """
        if isinstance(opened, OSError):
            return opened
        try:
            following = os.dup(opened.fileno())
            os.close(following)
            if following < self.most_files:
                return opened
            problem = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        except OSError as error:
            problem = error
        opened.close()
        return problem

    def _check_cookie(self, held: Namespace, opened: socket.socket) -> None:
        """
        See that a socket is in the namespace where those before it are; inodes are
        used again when a namespace is gone, cookies never.

        @raise OSError: If it is in another; it is closed.
        """
        cookie = self._cookie_of(opened)
        if held.cookie is None:
            held.cookie = cookie
        if cookie != held.cookie:
            opened.close()
            raise OSError(errno.ESTALE, "the socket is in another namespace")

    def _learn(self, held: Namespace, devices: Mapping[int, str]) -> None:
        """
        Learn which devices a namespace has now.
        """
        held.devices = devices
        gone = [
            ifindex
            for ifindex, link in held.links.items()
            if held.devices.get(ifindex) != link.device
        ]
        self._unlink(held, gone)
        if self.running:
            self._agenda.put(held.name)

    def _serve(self, held: Namespace) -> None:
        """
        Listen on every device of a namespace.
        """
        for ifindex, device in held.devices.items():
            if ifindex not in held.links and is_served(held.name, device):
                self._link(held, ifindex, device)
        # Before anybody can connect, or a turn of an entry could go unseen.
        self._neighbours.drain()
        problems: dict[str, None] = {}
        missing = [
            (link, want) for link in held.links.values() for want in link.missing
        ]
        for start in range(0, len(missing), MOST):
            for problem in self._open(held, missing[start : start + MOST]):
                problems[problem] = None
        self._tell(held, "; ".join(filter(None, problems)) or None)
        if problems:
            self._agenda.put(held.name, _PAUSE + _PAUSE_EACH * len(self._troubled))

    def _link(self, held: Namespace, ifindex: int, device: str) -> None:
        """
        Begin with a device.
        """
        name = f"{held.name}/{device}"
        door: Door | None = None
        if is_router(held.name):
            self._networks.attach_port(name, device[3 : 3 + PREFIX])
            if held.rule.router_port:
                door = self._door(RedirectedDoor, name)
        else:
            self._networks.attach(name, held.name.partition("-")[2])
            if held.rule.port:
                door = self._door(Door, name)
        held.links[ifindex] = Link(name, device, door)
        self._neighbours.attach(ifindex, name, held.name)

    def _door(self, kind: type[Door], link: str) -> Door:
        """
        Make the door of a link.
        """
        return kind(link, self._front, self._neighbours, self._reactor)

    def _open(
        self, held: Namespace, missing: Sequence[tuple[Link, Want]]
    ) -> Iterable[str]:
        """
        Open what is missing.

        @return: What is wrong; a passing matter is an empty sentence.
        """
        wants = [want for _link, want in missing]
        try:
            opened = self._ask(held, wants)
        except OSError as error:
            return [sentence(error)]
        problems = []
        for (link, want), each in zip(missing, opened, strict=True):
            try:
                self._adopt(held, link, want, each)
            except OSError as error:
                problems.append(self._where(held, want, error))
        return problems

    def _adopt(
        self, held: Namespace, link: Link, want: Want, opened: socket.socket | OSError
    ) -> None:
        """
        Listen with a socket.

        @raise OSError: If there is none, or it can't be used.
        """
        if isinstance(opened, OSError):
            if opened.errno == errno.EAFNOSUPPORT:
                link.ports[want.kind] = None
                return
            raise opened
        # The reactor takes a descriptor of its own.
        with opened:
            self._check_cookie(held, opened)
            family = socket.AF_INET if want.kind == TCP4 else socket.AF_INET6
            assert link.door is not None
            port = self._reactor.adoptStreamPort(opened.fileno(), family, link.door)
        accept_at_once(port)
        link.ports[want.kind] = port

    def _where(self, held: Namespace, want: Want, error: OSError) -> str:
        """
        Say what is wrong, and where.
        """
        what = sentence(error)
        if error.errno != errno.EADDRINUSE:
            return what
        address, port = place_of([held.rule], held.name, want)
        return f"{address} port {port} {what}"

    def _tell(self, held: Namespace, problem: str | None) -> None:
        """
        Log when the problem of a namespace comes, changes or goes; of many that have
        the same, once in a while.
        """
        if problem == held.problem:
            return
        held.problem = problem
        if problem is None:
            self._troubled.discard(held.name)
        else:
            self._troubled.add(held.name)
        quiet = self._seldom.passes(problem, self._reactor.seconds())
        if quiet is None:
            return
        more = f" ({quiet} more like it)" if quiet else ""
        if problem is None:
            text = "{namespace} is served{more}"
            self._log.info(text, namespace=held.name, more=more)
        else:
            self._log.error(
                "{namespace} is not served as it should: {problem}{more}",
                namespace=held.name,
                problem=problem,
                more=more,
            )

    def _close_all(self, names: Sequence[str]) -> None:
        """
        Let go of namespaces at once: of all that keeps them alive.
        """
        for name in names:
            held = self._held.pop(name)
            self._troubled.discard(name)
            self._agenda.drop(name)
            self._counts["closed"] += 1
            self._unlink(held, list(held.links))
            self._neighbours.unwatch(name)

    def _unlink(self, held: Namespace, indexes: Iterable[int]) -> None:
        """
        Let go of devices, and break the connections that came in there.
        """
        for ifindex in indexes:
            link = held.links.pop(ifindex)
            link.close()
            self._front.network_gone(link.name)
            self._neighbours.detach(ifindex, held.name)
            self._networks.detach(link.name)
