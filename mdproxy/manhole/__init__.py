# -*- test-case-name: tests.test_manhole -*-
"""
The manhole: a shell inside the running service, for who has a key.

It is Python with the service's own objects.  Whoever is let in can do what the service
can do, and can read all that it knows, the secret included; and while something runs
that was typed nobody else is served.  It is off unless the configuration names a place.

Conch is imported when it is started, and by nobody else.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from mdproxy.entrance import Entrance
from mdproxy.manhole.trust import Untrusted, check_directory
from mdproxy.unix_sockets import Made, Permissions, is_at, listen_at, remove

if TYPE_CHECKING:
    from mdproxy.introspection.parts import Parts
    from mdproxy.introspection.view import View
    from mdproxy.manhole.ssh import ManholeFactory
    from mdproxy.operator_config import ManholeConfig

#: So often it is looked whether it listens.
_LOOK: Final = 5.0
#: Only the user that the service runs as, and root, can connect.
_OWNER: Final = Permissions(0o600)

_BANNER: Final = """\
This is mdproxy {version}, from the inside. While something runs here nobody is served.

  why("10.0.0.5")        what becomes of an address, and why; also network="..."
  sources()  status()    what is known, and how the parts are
  networks()  instances("...")  instance("...")  transactions(status=404)  steps()
  {names}
                         the parts themselves; parts.sources is one, too
  exit()                 or Ctrl-D: leave"""


def namespace_of(parts: Parts, view: View) -> dict[str, Any]:
    """
    Name what is there: the parts that makeService made, and what shows them.

    Where a part is called like what shows it, it is found as C{parts.NAME}.
    """

    def sources() -> Any:
        """
        Tell what is known of the networks, and how fresh that is.
        """
        return view.status()["sources"]

    return {
        **attrs.asdict(parts, recurse=False),
        "parts": parts,
        "view": view,
        "why": view.why,
        "sources": sources,
        "status": view.status,
        "networks": view.networks,
        "instances": view.instances,
        "instance": view.instance,
        "transactions": view.transactions,
        "steps": view.steps,
    }


def banner_of(parts: Parts) -> str:
    """
    Write what is said to who comes in.
    """
    names = [each.name for each in attrs.fields(type(parts)) if each.name != "sources"]
    return _BANNER.format(version=parts.version, names="  ".join(names))


def make_manhole(
    config: ManholeConfig, parts: Parts, view: View, reactor: Any
) -> Manhole:
    """
    Make the manhole.

    @param config: Where it is, and who is let in.
    @param parts: What can be reached in it.
    @param view: What shows the parts.
    """

    def make() -> ManholeFactory:
        """
        Make what talks SSH.

        @raise Untrusted: If its own key can't be had.
        """
        from mdproxy.manhole.keys import AuthorizedKeys, host_key
        from mdproxy.manhole.shell import Console
        from mdproxy.manhole.ssh import ManholeFactory

        return ManholeFactory(
            host_key(config.host_key),
            AuthorizedKeys(config.authorized_keys),
            reactor,
            partial(Console, namespace_of(parts, view), banner_of(parts)),
        )

    return Manhole(config.place, make, reactor)


@define(eq=False)
class Manhole(Service):
    """
    Sees to it that the manhole can be come in by; where that can't be, instances don't
    notice.

    @ivar _place: A loopback address and a port, or the path of a UNIX socket.
    @ivar _make: Makes what talks to who connects.
    @ivar _factory: That; C{None} before it could be made.
    @ivar _close: Stops listening; C{None} where nothing listens.
    @ivar _problem: Why nothing does.
    """

    _place: tuple[str, int] | str
    _make: Callable[[], ManholeFactory]
    _reactor: Any
    _factory: ManholeFactory | None = field(default=None, init=False)
    _close: Callable[[], Any] | None = field(default=None, init=False)
    _entrance: Entrance | None = field(default=None, init=False)
    _made: Made | None = field(default=None, init=False)
    _problem: str | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)
    _looking: IDelayedCall | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def startService(self) -> None:
        """
        Listen.
        """
        super().startService()
        self._look()

    def stopService(self) -> Deferred[Any]:
        """
        Listen no more, and put out who is in.

        @return: Fires when the socket is closed.
        """
        super().stopService()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
        if self._factory is not None:
            self._factory.close()
        close, self._close = self._close, None
        return succeed(None) if close is None else maybeDeferred(close)

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator where it is.

        @return: Plain values, ready for JSON.
        """
        place = self._place
        return {
            "place": place if isinstance(place, str) else list(place),
            "problem": self._problem,
        }

    def _look(self) -> None:
        """
        Listen, unless that is so already.
        """
        self._looking = self._reactor.callLater(_LOOK, self._look)
        try:
            self._open()
        except (Untrusted, CannotListenError) as error:
            self._tell(str(error))
        except OSError as error:
            self._tell(error.strerror or str(error))
        except ImportError as error:
            self._tell(f"pip install mdproxy[manhole] is needed ({error})")
        else:
            self._tell(None)

    def _open(self) -> None:
        """
        Listen.

        @raise Untrusted: If its key or the socket's directory can't be relied upon.
        @raise CannotListenError: If the port can't be had.
        @raise OSError: If the socket can't be made.
        @raise ImportError: If conch is not there.
        """
        if self._factory is None:
            self._factory = self._make()
        if isinstance(self._place, str):
            self._open_path(self._place, self._factory)
        elif self._close is None:
            host, port = self._place
            listening = self._reactor.listenTCP(port, self._factory, interface=host)
            self._close = listening.stopListening

    def _open_path(self, path: str, factory: ManholeFactory) -> None:
        """
        Listen on a UNIX socket, where nothing is left of the one that was made.
        """
        if self._made is not None and is_at(path, self._made):
            assert self._entrance is not None
            self._entrance.open()
            return
        self._close_path(path)
        check_directory(path.rpartition("/")[0])
        self._made = made = listen_at(path, _OWNER)
        self._entrance = Entrance(
            self._reactor,
            made.opened,
            partial(self._accepted, factory),
            self._not_accepted,
            "manhole",
        )
        self._entrance.open()
        self._close = partial(self._close_path, path)

    def _close_path(self, path: str) -> None:
        """
        Listen no more on a UNIX socket.
        """
        entrance, self._entrance = self._entrance, None
        if entrance is not None:
            entrance.close()
        made, self._made = self._made, None
        if made is not None:
            try:
                remove(path, made)
            except OSError as error:
                problem = error.strerror
                self._log.info(
                    "manhole leaves {path}: {problem}", path=path, problem=problem
                )

    def _accepted(self, factory: ManholeFactory, accepted: socket.socket) -> None:
        """
        Talk to who has connected.
        """
        with accepted:
            self._reactor.adoptStreamConnection(
                accepted.fileno(), socket.AF_UNIX, factory
            )

    def _not_accepted(self, error: OSError) -> None:
        """
        Nobody can connect until the next look.
        """
        self._tell(f"can't accept connections: {error.strerror}")

    def _tell(self, problem: str | None) -> None:
        """
        Log when a problem comes, changes or goes.
        """
        if problem == self._problem and self._told:
            return
        self._problem, self._told = problem, True
        if problem is None:
            self._log.info("manhole: listens at {place}", place=self._shown)
        else:
            self._log.error(
                "manhole: does not listen at {place}: {problem}",
                place=self._shown,
                problem=problem,
            )

    @property
    def _shown(self) -> str:
        """
        Write where it is.
        """
        place = self._place
        return place if isinstance(place, str) else f"{place[0]} port {place[1]}"
