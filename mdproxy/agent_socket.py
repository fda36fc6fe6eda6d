# -*- test-case-name: tests.test_agent_socket -*-
"""
The listener that stands in for Neutron's metadata agent, behind its haproxies.

They connect to C{metadata_proxy_socket}, each from the namespace of its network or
router, and say for each request which that is and who asks (L{mdproxy.agent_headers}).
They are believed because of the user that they run as, so nobody else is heard.

What this can't know of an instance, and a listener of our own in the namespace can, is
in L{mdproxy.agent_callers}.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from errno import EADDRINUSE
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from mdproxy.agent_callers import DOUBT, KIND
from mdproxy.entrance import Entrance
from mdproxy.http.front import Front
from mdproxy.http.relayed import Callers, RelayedChannel
from mdproxy.http.transports import serve_at_once
from mdproxy.limits import Seldom, Shares
from mdproxy.listener_config import SocketConfig
from mdproxy.model import Caller
from mdproxy.unix_sockets import (
    Made,
    Peer,
    is_at,
    listen_at,
    peer_of,
    permissions_for,
    remove,
)

if TYPE_CHECKING:
    from mdproxy.heard import HeardLink

#: As many connections as a haproxy of Neutron's ever has, and as all may have.
_OF_PROCESS: Final = 1024
_OF_ALL: Final = 16384

#: So often it is looked whether the socket is still there, or can be made.
_LOOK: Final = 1.0


@define(eq=False)
class AgentSocket(Service):
    """
    One listener on a UNIX socket.

    @ivar name: Its name in the configuration.
    @ivar _config: Where, and for whom.
    @ivar _front: What its channels share with all others.
    @ivar _callers: Finds who asks.
    @ivar _opened: A socket that listens already, made by systemd: its file is not ours.
    @ivar _links: Lists the links of all namespaces that are looked into.
    @ivar _connections: The places for connections of haproxies.
    @ivar _made: The socket that we made; C{None} where there is none.
    @ivar _entrance: Where connections come in; C{None}: nowhere.
    @ivar _problem: Why it does not listen as it should.
    """

    _config: SocketConfig
    _front: Front
    _callers: Callers
    _reactor: Any
    _opened: socket.socket | None = None
    _links: Callable[[], Iterable[str]] = tuple
    name: str = field(init=False)
    _connections: Shares = field(
        factory=lambda: Shares(_OF_PROCESS, of_all=_OF_ALL), init=False
    )
    _made: Made | None = field(default=None, init=False)
    _entrance: Entrance | None = field(default=None, init=False)
    _problem: str | None = field(default=None, init=False)
    _counts: Counter[str] = field(factory=Counter, init=False)
    _looking: IDelayedCall | None = field(default=None, init=False)
    _seldom: Seldom = field(factory=Seldom, init=False)
    _log: Logger = field(factory=Logger, init=False)

    @name.default
    def _(self) -> str:
        """
        Find the name.
        """
        return self._config.name

    def privilegedStartService(self) -> None:
        """
        Make the socket if that can be done now, while we may.
        """
        self._look()

    def startService(self) -> None:
        """
        See to it from now on that the socket is there.
        """
        super().startService()
        self._look_again()

    def stopService(self) -> None:
        """
        Accept no more; connections are closed by whoever drains the front.
        """
        super().stopService()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        made = self._close()
        if made is not None:
            try:
                remove(self._config.path, made)
            except OSError as error:
                self._log.info(
                    "listener {name} leaves {path}: {problem}",
                    name=self.name,
                    path=self._config.path,
                    problem=error.strerror,
                )

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator where it listens and for whom.

        @return: Plain values, ready for JSON.
        """
        config = self._config
        return {
            "name": config.name,
            "kind": "socket",
            "path": config.path,
            "allowed_uids": sorted(self._allowed),
            "identify_by": config.identify_by,
            "listening": [] if self._entrance is None else [config.path],
            "connections": self._connections.taken,
            "accepted": self._counts["accepted"],
            "strangers": self._counts["strangers"],
            "problem": self._problem,
        }

    @property
    def problem(self) -> str | None:
        """
        Tell why it does not listen as it should; C{None}: it does.
        """
        return self._problem

    def links(self) -> Iterator[str]:
        """
        Name every link that haproxies may speak for: those in the namespaces that
        instances are looked for in.
        """
        globs = self._config.namespaces
        for link in self._links():
            namespace = link.partition("/")[0]
            if any(fnmatchcase(namespace, glob) for glob in globs):
                yield link

    def heard(self, links: Container[str]) -> Iterator[HeardLink]:
        """
        Tell the operator of links that haproxies may speak for.

        @param links: Which.
        """
        # Nobody needs it before an operator asks.
        from mdproxy.heard import HeardLink

        for link in self.links():
            if link in links:
                yield HeardLink(
                    link=link,
                    listener=self._config.name,
                    kind=KIND,
                    identify_by=self._config.identify_by,
                    device=link.partition("/")[2],
                    is_open=self._entrance is not None,
                    problem=self._problem,
                    lookback=DOUBT,
                )

    def find_process(self, transport: Any) -> Caller | None:
        """
        Say which process opened a connection.

        @param transport: An accepted connection's.

        @return: Stands for the process; C{None} where it may not ask.
        """
        peer = peer_of(transport.getHandle())
        if peer is None or peer.uid not in self._allowed:
            self._counts["strangers"] += 1
            self._tell_stranger(peer)
            return None
        self._counts["accepted"] += 1
        process = f"process {peer.pid} of user {peer.uid}"
        return Caller(self.name, process, None, kind=KIND)

    @property
    def _allowed(self) -> frozenset[int]:
        """
        The users who may ask.
        """
        return frozenset(self._config.allowed_uids or (0, os.geteuid()))

    def _tell_stranger(self, peer: Peer | None) -> None:
        """
        Log that somebody may not ask, once in a while for each.
        """
        uid = None if peer is None else peer.uid
        quiet = self._seldom.passes(uid, self._reactor.seconds())
        if quiet is not None:
            self._log.warn(
                "listener {name} does not hear user {uid} (process {pid}): it is not "
                "among allowed_uids ({quiet} more like it)",
                name=self.name,
                uid=uid,
                pid=None if peer is None else peer.pid,
                quiet=quiet,
            )

    def _look_again(self) -> None:
        """
        Look now and from now on.
        """
        self._look()
        self._looking = self._reactor.callLater(_LOOK, self._look_again)

    def _look(self) -> None:
        """
        Make the socket where there is none; somebody may have removed it, as Neutron's
        agent does when it starts.
        """
        if self._made is not None and not is_at(self._config.path, self._made):
            self._close()
        if self._entrance is None:
            self._open()
        else:
            self._tell(None)
            self._entrance.open()

    def _open(self) -> None:
        """
        Take the socket that there is, or make one.
        """
        if self._opened is not None:
            self._accept_at(self._opened)
            return
        config = self._config
        permissions = permissions_for(
            config.mode, self._allowed, os.geteuid(), os.getegid()
        )
        try:
            made = listen_at(config.path, permissions)
        except OSError as error:
            self._tell(f"{config.path}: {_sentence(error)}")
            return
        self._made = made
        self._accept_at(made.opened)

    def _accept_at(self, listening: socket.socket) -> None:
        """
        Accept what connects to a socket.
        """
        listening.setblocking(False)
        self._entrance = Entrance(
            self._reactor, listening, self._serve, self._stop_for_now, "agent socket"
        )
        self._entrance.open()
        self._tell(None)

    def _close(self) -> Made | None:
        """
        Accept no more.

        @return: The socket that was closed.
        """
        if self._entrance is not None:
            self._entrance.close()
            self._entrance = None
        made, self._made = self._made, None
        return made

    def _serve(self, accepted: socket.socket) -> None:
        """
        Serve a connection.
        """
        channel = RelayedChannel(
            self._front, self.find_process, self._callers, self._connections
        )
        serve_at_once(accepted, channel, self._reactor)

    def _stop_for_now(self, error: OSError) -> None:
        """
        Accept nothing until the next look.
        """
        self._tell(f"can't accept connections: {_sentence(error)}")

    def _tell(self, problem: str | None) -> None:
        """
        Log when a problem comes, changes or goes.
        """
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            self._log.info("listener {name} listens", name=self.name)
        else:
            self._log.error(
                "listener {name} does not listen as it should: {problem}",
                name=self.name,
                problem=problem,
            )


def _sentence(error: OSError) -> str:
    """
    Say in words what is wrong, and what can be done.
    """
    text = error.strerror or str(error)
    if error.errno == EADDRINUSE:
        text += " (Neutron's own agent?): when that ends mdproxy takes its place"
    return text
