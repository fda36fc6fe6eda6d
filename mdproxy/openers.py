# -*- test-case-name: tests.test_openers -*-
"""
Who opens sockets in network namespaces: we ourselves, or the broker that we ask.

Both open the same by the same rules (L{mdproxy.broker}) and never take long: a broker
that hangs is waited for once, and not asked again before it has answered.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from struct import Struct, unpack
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mdproxy import broker
from mdproxy.broker import Identity, Rule, Want

#: C{SO_NETNS_COOKIE} of C{asm-generic/socket.h} (Linux 5.14).
_SO_NETNS_COOKIE: Final = 71
#: For how many seconds an answer, and the broker's start, are waited for.
_PATIENCE: Final = 0.5
_START: Final = 10.0

#: A descriptor.
_INT: Final = Struct("=i")

#: What was wanted, each open or why not.
Opened = list[socket.socket | OSError]


class Opener(Protocol):
    """
    Opens sockets in namespaces that it finds by name.

    @ivar problem: Why it can open nothing; C{None}: it can.
    """

    problem: str | None

    def start(self) -> None:
        """
        Get ready, while we are privileged; trouble shows in C{problem}.
        """

    def stop(self) -> None:
        """
        Let go of everything but what was opened.
        """

    def open(
        self, namespace: str, identity: Identity, wanted: Sequence[Want]
    ) -> Opened:
        """
        Open sockets, now.

        @param namespace: The namespace's name.
        @param identity: Which namespace it must be (L{identity_of}).
        @param wanted: What to open; L{mdproxy.broker.place_of} decides where.

        @return: For each, a socket that does not block, or why there is none.

        @raise OSError: If none could be opened: C{ENOENT}: the name is gone;
            C{ESTALE}: it is another's; C{EPERM}: we may not enter; C{EMFILE}: no
            descriptor is left; C{ETIMEDOUT}, C{EPIPE}: nobody is there to do it.
        """


@define(eq=False)
class Opening(Service):
    """
    An opener as a part of the service: it starts while we are privileged, and stops
    after all that asks it.
    """

    opener: Opener

    def privilegedStartService(self) -> None:
        """
        Get ready while we may.
        """
        self.opener.start()

    def startService(self) -> None:
        """
        Be ready.
        """
        super().startService()
        self.opener.start()

    def stopService(self) -> None:
        """
        Let go.
        """
        super().stopService()
        self.opener.stop()


def identity_of(path: str) -> Identity | None:
    """
    Tell which namespace a name stands for.

    @param path: The name, as a file.

    @return: C{None} where it is none (yet): C{ip netns add} makes a plain file, and
        mounts the namespace on it a moment later.

    @raise OSError: If there is no such file, or it can't be looked at.
    """
    status = os.stat(path)
    return (status.st_dev, status.st_ino) if status.st_dev == _nsfs() else None


@cache
def _nsfs() -> int:
    """
    Tell which file system it is whose files are namespaces: there is one.
    """
    return os.stat("/proc/self/ns/net").st_dev


def cookie_of(opened: socket.socket) -> int | None:
    """
    Tell in which namespace a socket is, by a number that is never used again.

    @return: C{None} where the kernel does not tell.
    """
    try:
        said = opened.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError:
        return None
    (cookie,) = unpack("=Q", said)
    return int(cookie)


@define(eq=False)
class InPlaceOpener:
    """
    Opens them itself: this thread enters the namespace for some 20 microseconds.

    It needs C{CAP_SYS_ADMIN}, and C{CAP_NET_BIND_SERVICE} for port 80, for as long as
    namespaces come.

    @ivar _rules: What may be opened.
    @ivar _directory: Where the names of the namespaces are.
    """

    _rules: Sequence[Rule]
    _directory: str = broker.DIRECTORY
    problem: str | None = field(default=None, init=False)
    _home: int | None = field(default=None, init=False)

    def start(self) -> None:
        """
        Provide L{Opener.start}.
        """
        if self._home is None:
            self._home = broker.open_home()

    def stop(self) -> None:
        """
        Provide L{Opener.stop}.
        """
        home, self._home = self._home, None
        if home is not None:
            os.close(home)

    def open(
        self, namespace: str, identity: Identity, wanted: Sequence[Want]
    ) -> Opened:
        """
        Provide L{Opener.open}.
        """
        if self._home is None:
            raise OSError(errno.EPIPE, "the opener was not started")
        return broker.open_all(
            self._rules, self._directory, namespace, identity, self._home, wanted
        )


def broker_command(descriptor: int, directory: str, rules: Sequence[Rule]) -> list[str]:
    """
    Write the command that starts the broker: isolated from the environment, the
    working directory, and every package that is installed.

    @param descriptor: The socket that it is asked by.
    """
    said = json.dumps(rules)
    options = ("-I", "-S", "-B")
    return [
        sys.executable,
        *options,
        broker.__file__,
        str(descriptor),
        directory,
        said,
    ]


@implementer(IReadDescriptor)
@define(eq=False)
class BrokerOpener:
    """
    Has the broker open them, which is started before privileges are shed.

    @ivar _rules: What the broker may open.
    @ivar _reactor: Tells when the broker ends, or answers too late.
    @ivar _directory: Where the names of the namespaces are.
    @ivar _patience: For how many seconds an answer is waited for.
    @ivar _channel: Where it is asked.
    @ivar _number: Of the latest question.
    @ivar _owed: Whether it has not answered that one.
    """

    _rules: Sequence[Rule]
    _reactor: IReactorFDSet
    _directory: str = broker.DIRECTORY
    _patience: float = _PATIENCE
    problem: str | None = field(default=None, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _channel: socket.socket | None = field(default=None, init=False)
    _number: int = field(default=0, init=False)
    _owed: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def start(self) -> None:
        """
        Provide L{Opener.start}.
        """
        if self._channel is not None:
            return
        try:
            self._channel = channel = self._launch()
            channel.settimeout(_START)
            has_started = channel.recv(broker.LONGEST) == b"ready"
        except OSError as error:
            self._lose(f"the broker can't be started ({error.strerror or error})")
            return
        if not has_started:
            self._lose("the broker ended as it started")
            return
        self.problem = None
        self._reactor.addReader(self)

    def _launch(self) -> socket.socket:
        """
        Start the process.

        @return: Where it is asked.

        @raise OSError: If it can't be.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    broker_command(theirs.fileno(), self._directory, self._rules),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # What a terminal sends to us is not for it.
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        return ours

    def stop(self) -> None:
        """
        Provide L{Opener.stop}; the broker ends when it is not listened to.
        """
        self._close()

    def open(
        self, namespace: str, identity: Identity, wanted: Sequence[Want]
    ) -> Opened:
        """
        Provide L{Opener.open}.
        """
        channel = self._channel
        if channel is None:
            raise OSError(errno.EPIPE, self.problem or "the broker was not started")
        if self._owed:
            raise OSError(errno.ETIMEDOUT, "the broker does not answer")
        self._number += 1
        try:
            return self._ask(channel, namespace, identity, wanted)
        except TimeoutError:
            self._owed = True
            self._fail(f"the broker did not answer within {self._patience:g} s")
            raise OSError(errno.ETIMEDOUT, "the broker did not answer") from None
        except (BrokenPipeError, ConnectionError, EOFError):
            self._lose("the broker has ended")
            raise OSError(errno.EPIPE, "the broker has ended") from None

    def _ask(
        self,
        channel: socket.socket,
        namespace: str,
        identity: Identity,
        wanted: Sequence[Want],
    ) -> Opened:
        """
        Put a question and wait for the answer.

        @raise TimeoutError: If it does not come.
        @raise EOFError: If the broker has ended.
        """
        channel.settimeout(self._patience)
        channel.send(broker.encode_question(self._number, namespace, identity, wanted))
        while True:
            number, numbers, sockets = _receive(channel)
            if number == self._number and len(numbers) == len(wanted):
                return _matched(numbers, sockets)
            for each in sockets:
                each.close()

    def fileno(self) -> int:
        """
        Tell the reactor which descriptor to watch.

        @return: -1 where there is none.
        """
        return -1 if self._channel is None else self._channel.fileno()

    def doRead(self) -> None:
        """
        Take an answer that comes too late, or the broker's end.
        """
        channel = self._channel
        if channel is None:
            return
        channel.settimeout(0)
        try:
            number, _numbers, sockets = _receive(channel)
        except BlockingIOError:
            return
        except (OSError, EOFError):
            self._lose("the broker has ended")
            return
        for each in sockets:
            each.close()
        if self._owed and number == self._number:
            self._owed, self.problem = False, None
            self._log.info("the broker answers again")

    def logPrefix(self) -> str:
        """
        Name this in Twisted's log.
        """
        return "broker"

    def connectionLost(self, reason: Failure) -> None:
        """
        Take the loss from the reactor, which also ends every reader when it stops.
        """
        self._close()

    def _fail(self, problem: str) -> None:
        """
        Say what is wrong.
        """
        self.problem = problem
        self._log.error("{problem}", problem=problem)

    def _lose(self, problem: str) -> None:
        """
        Give the broker up: without our privileges of then there can be no other.
        """
        self._close()
        self._fail(
            f"{problem}: what listens goes on, but no new namespace or device is "
            "served before mdproxy is started again"
        )

    def _close(self) -> None:
        """
        Let go of the broker.
        """
        channel, self._channel = self._channel, None
        self._owed = False
        if channel is not None:
            self._reactor.removeReader(self)
            channel.close()
        process, self._process = self._process, None
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(self._patience)


def _receive(channel: socket.socket) -> tuple[int, list[int], list[socket.socket]]:
    """
    Take an answer of the broker's.

    @return: The number of the question, for each socket C{errno} or 0, and the sockets
        that came.

    @raise EOFError: If the broker has ended.
    """
    # C{socket.recv_fds} would take no notice of the flag (Python 3.11).
    data, ancillary, _flags, _address = channel.recvmsg(
        broker.LONGEST,
        socket.CMSG_LEN(broker.MOST * _INT.size),
        socket.MSG_CMSG_CLOEXEC,
    )
    sockets = [
        socket.socket(fileno=descriptor)
        for _level, _kind, held in ancillary
        for (descriptor,) in _INT.iter_unpack(
            held[: len(held) // _INT.size * _INT.size]
        )
    ]
    if not data:
        raise EOFError
    answer: Any = json.loads(data)
    return answer[0], answer[1], sockets


def _matched(numbers: Sequence[int], sockets: Sequence[socket.socket]) -> Opened:
    """
    Put sockets beside what was wanted.

    Where we have no descriptor left the kernel drops what it can't give us, from the
    end (net/core/scm.c, C{scm_detach_fds}).
    """
    coming = iter(sockets)
    none_left = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return [
        OSError(number, os.strerror(number)) if number else next(coming, none_left)
        for number in numbers
    ]
