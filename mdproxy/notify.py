# -*- test-case-name: tests.test_notify -*-
"""
What systemd is told of the service (sd_notify(3)): when it is ready, what it does, and
that it lives, so that a loop that has stalled ends in a restart.

Where nothing listens (C{NOTIFY_SOCKET} is not set) nothing is told.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from mdproxy.ini import printable

if TYPE_CHECKING:
    from mdproxy.introspection.view import View

_log = Logger()

#: At least so often systemd is told how things are, in seconds, where that has changed.
_PAUSE: Final = 5.0
#: As much of a sentence as C{systemctl status} has room for.
_LONG: Final = 200


@frozen
class Asked:
    """
    What systemd wants to be told.

    @ivar address: The socket that hears it, for C{sendto}; C{None}: nobody does.
    @ivar beat: So often we are to say that we live, in seconds; C{None}: never.
    """

    address: str | None
    beat: float | None


def asked_by(environ: Mapping[str, str], pid: int) -> Asked:
    """
    Read what systemd wants to be told (sd_notify(3), sd_watchdog_enabled(3)).

    @param environ: The environment.
    @param pid: Ours; the watchdog of another process, whose environment we have, is not
        for us.
    """
    place = environ.get("NOTIFY_SOCKET", "")
    if place[:1] not in ("/", "@"):
        if place:
            _log.warn("systemd is told nothing: NOTIFY_SOCKET is no UNIX socket")
        return Asked(None, None)
    # An abstract socket's name begins with a zero byte (unix(7)).
    address = "\0" + place[1:] if place[0] == "@" else place
    return Asked(address, _beat_of(environ, pid))


def _beat_of(environ: Mapping[str, str], pid: int) -> float | None:
    """
    Find how often to say that we live: twice in the time after which we would be taken
    for dead.
    """
    after = environ.get("WATCHDOG_USEC")
    if after is None or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    if not after.isascii() or not after.isdigit() or int(after) == 0:
        _log.warn("there is no watchdog: WATCHDOG_USEC is no number of microseconds")
        return None
    return int(after) / 2e6


def sentence_of(view: View) -> Callable[[], str]:
    """
    Make what says in a sentence whether instances are served as they should be.
    """

    def sentence() -> str:
        readiness = view.readiness()
        if readiness["ready"]:
            return "instances are served"
        reasons = list(readiness["reasons"]) or ["not ready"]
        others = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return f"{reasons[0]}{others}"

    return sentence


@define(eq=False)
class Notify(Service):
    """
    Tells systemd how the service is.

    It is the last part to start and the first to stop: by then the listeners have been
    opened, and are still open.

    @ivar _asked: What is wanted.
    @ivar _reactor: When to tell.
    @ivar _sentence: Says how things are.
    """

    _asked: Asked
    _reactor: Any
    _sentence: Callable[[], str]
    _socket: socket.socket | None = field(default=None, init=False)
    _again: IDelayedCall | None = field(default=None, init=False)
    _ready: bool = field(default=False, init=False)
    _said: str | None = field(default=None, init=False)
    _unheard: bool = field(default=False, init=False)
    _speechless: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def startService(self) -> None:
        """
        Say that we are ready, as soon as the reactor runs.
        """
        super().startService()
        if self._asked.address is None:
            return
        # Opened once: when no descriptor is left for a moment we still live.
        self._socket = socket.socket(
            socket.AF_UNIX,
            socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
        )
        self._reactor.callWhenRunning(self._start)

    def stopService(self) -> None:
        """
        Say that we stop.
        """
        super().stopService()
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        self._tell("STOPPING=1", "STATUS=finishing what is in flight")
        self._ready = False
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    def around(self, renew: Callable[[], None]) -> None:
        """
        Have the configuration read again, and say so before and after.

        @param renew: Reads it.
        """
        if not self._ready:
            renew()
            return
        self._tell("RELOADING=1")
        try:
            renew()
        finally:
            self._ready = self._tell("READY=1")

    def _start(self) -> None:
        """
        Say that we are ready, unless we were stopped meanwhile.
        """
        if self._socket is not None and self._again is None:
            self._beat()

    def _beat(self) -> None:
        """
        Say that we live, and how things are where that has changed.

        What did not arrive is said again the next time.
        """
        beat = self._asked.beat
        self._again = self._reactor.callLater(min(beat or _PAUSE, _PAUSE), self._beat)
        lines = [] if self._ready else ["READY=1"]
        if beat is not None:
            lines.append("WATCHDOG=1")
        said = self._status()
        if said != self._said:
            lines.append(f"STATUS={said}")
        if lines and self._tell(*lines):
            self._ready = True
            self._said = said

    def _status(self) -> str | None:
        """
        Say how things are; that this can't be said must not look like a stalled loop.
        """
        try:
            return printable(self._sentence(), _LONG)
        except Exception:
            if not self._speechless:
                self._speechless = True
                self._log.failure("systemd can't be told how things are")
            return self._said

    def _tell(self, *lines: str) -> bool:
        """
        Tell systemd something.

        @param lines: Assignments.

        @return: Whether it was heard.
        """
        if self._socket is None or self._asked.address is None:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(), self._asked.address)
        except OSError as error:
            if not self._unheard:
                self._unheard = True
                problem = error.strerror
                self._log.warn("systemd does not hear us: {problem}", problem=problem)
            return False
        self._unheard = False
        return True


def make_notify(
    environ: Mapping[str, str], reactor: Any, sentence: Callable[[], str]
) -> Notify:
    """
    Make what tells systemd of us.

    @param environ: The environment that systemd gave us.
    @param sentence: Says how things are, in a sentence.
    """
    return Notify(asked_by(environ, os.getpid()), reactor, sentence)
