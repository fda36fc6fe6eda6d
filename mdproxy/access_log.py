# -*- test-case-name: tests.test_access_log -*-
"""
The access log: a line for every request that has ended, if the operator wants them.

Requests pay for it when they are many, and then in batches: lines are made and written
together, by one call of the kernel for each 64 KiB or each half second.  A disk that is
full, or a file that can't be opened, costs lines, which are counted; nobody waits.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mdproxy.model import Caller, Identity, Refusal
from mdproxy.transactions import Transactions, Written

if TYPE_CHECKING:
    from mdproxy.logs.journald import Journal

#: After so many seconds what there is is written.
PERIOD: Final = 0.5
#: So many bytes are written at once.
_ENOUGH: Final = 1 << 16
#: So many wait, at most, for a disk that is full; lines beyond it are dropped.
MOST: Final = 1 << 22
#: Of so many callers, and verdicts, what stands in their lines is remembered.
_KNOWN: Final = 4096
#: Who may read a log of ours, unless it is there already.
_MODE: Final = 0o640

_quoted = json.JSONEncoder().encode


class Wording:
    """
    Writes transactions as lines of JSON, with the words of L{Transactions.describe} and
    the time as people read it (C{time}, UTC).

    It is written out by hand, for it is all that a busy access log costs.
    """

    def __init__(
        self,
        transactions: Transactions,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """
        Remember nothing yet.

        @param transactions: Knows the names of requests.
        @param clock: Monotonic seconds.
        @param wall: Seconds since the epoch.
        """
        self._id_of = transactions.ids.of
        self._clock, self._wall = clock, wall
        self._callers: dict[tuple[str, str, str, str | None], str] = {}
        self._verdicts: dict[Any, str] = {}
        self._second, self._day = 0, ""

    def lines(self, batch: Sequence[Written]) -> list[str]:
        """
        Write lines.

        @param batch: Transactions, the earliest first.

        @return: A line for each, with its end; ASCII.
        """
        offset = self._wall() - self._clock()
        return [self._line(offset, *each) for each in batch]

    def _line(
        self,
        offset: float,
        number: int,
        ended: float,
        total: float,
        lookup: float,
        upstream: float,
        caller: Caller,
        verdict: Identity | Refusal | None,
        method: bytes,
        target: bytes,
        status: int,
        tries: int,
        outcome: str,
    ) -> str:
        """
        Write one line.

        @param offset: What the wall clock is ahead of the monotonic one.
        """
        at = ended + offset
        second = int(at)
        if second != self._second:
            self._second = second
            self._day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return (
            f'{{"time": "{self._day}.{int((at - second) * 1e6):06d}Z", '
            f'"request_id": "{self._id_of(number)}", "number": {number}, '
            f'"at": {at:.6f}, "seconds": {total:.6f}, '
            f'"lookup_seconds": {lookup:.6f}, "upstream_seconds": {upstream:.6f}, '
            f"{self._caller(caller)}, {self._verdict(verdict)}, "
            f'"method": {_quoted(method.decode("latin-1"))}, '
            f'"target": {_quoted(target.decode("latin-1"))}, "status": {status}, '
            f'"tries": {tries}, "outcome": {_quoted(outcome)}}}\n'
        )

    def _caller(self, caller: Caller) -> str:
        """
        Write who asked.
        """
        key = caller.kind, caller.network, caller.address, caller.mac
        words = self._callers.get(key)
        if words is None:
            if len(self._callers) >= _KNOWN:
                self._callers.clear()
            told = dict(zip(("kind", "network", "address", "mac"), key, strict=True))
            words = self._callers[key] = json.dumps(told)[1:-1]
        return words

    def _verdict(self, verdict: Identity | Refusal | None) -> str:
        """
        Write who that was found to be.
        """
        key: Any = None
        if verdict is not None:
            evidence, port = verdict.evidence, getattr(verdict, "port", None)
            key = (
                None if port is None else port.instance_id,
                None if port is None else port.project_id,
                "refused" if port is None else "allowed",
                evidence.row,
                evidence.reason.value,
            )
        words = self._verdicts.get(key)
        if words is None:
            if len(self._verdicts) >= _KNOWN:
                self._verdicts.clear()
            names = ("instance", "project", "verdict", "row", "reason")
            told = zip(names, key or (None,) * 5, strict=True)
            words = self._verdicts[key] = json.dumps(dict(told))[1:-1]
        return words


@define(eq=False)
class _File:
    """
    The file that lines go to.

    @ivar path: Where it is.
    @ivar _descriptor: It, when it is open.
    """

    path: str
    _descriptor: int | None = field(default=None, init=False)

    def write(self, data: bytes) -> int:
        """
        Write as much as there is room for.

        @return: How many bytes.

        @raise OSError: If there is none, or it can't be opened.
        """
        if self._descriptor is None:
            self._descriptor = self._open()
        return os.write(self._descriptor, data)

    def reopen(self) -> None:
        """
        Go on in the file that is at its path now.

        @raise OSError: If that can't be opened; the one before stays in use.
        """
        fresh = self._open()
        self.close()
        self._descriptor = fresh

    def close(self) -> None:
        """
        Let go of it.
        """
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> int:
        """
        Open it; one that is made is closed to all but its owner and group.
        """
        # Not to wait for the other end if it is a pipe.
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
        with suppress(FileExistsError):
            made = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, _MODE)
            # Whatever the umask is: who reads logs is commonly in the group.
            os.fchmod(made, _MODE)
            return made
        return os.open(self.path, flags)


@define(eq=False)
class ToJournal:
    """
    The way to systemd's journal; each line is an entry of its own.

    @ivar _journal: Sends.
    """

    _journal: Journal

    def write(self, data: bytes) -> int:
        """
        Send whole lines.

        @param data: Lines, the last one perhaps not whole.

        @return: How many bytes were sent.

        @raise OSError: If none is taken.
        """
        sent = 0
        for line in data.splitlines(keepends=True):
            try:
                if line.endswith(b"\n"):
                    self._send(json.loads(line))
                    sent += len(line)
            except OSError:
                if not sent:
                    raise
                break
        return sent

    def _send(self, told: Mapping[str, Any]) -> None:
        """
        Send one entry.
        """
        fields = {
            "MESSAGE": "{method} {target} {status} {outcome}".format(**told),
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "mdproxy-access",
        }
        for name, value in told.items():
            if value is not None:
                fields[f"MDPROXY_{name.upper()}"] = str(value)
        self._journal.send(fields)

    def reopen(self) -> None:
        """
        Do nothing: each entry finds its way anew.
        """

    def close(self) -> None:
        """
        Send no more.
        """
        self._journal.close()


@define(eq=False)
class AccessLog(Service):
    """
    Writes the access log while it is started and somewhere to go.

    @ivar _transactions: Tells of what has ended.
    @ivar _clock: When to write.
    @ivar _wording: Writes lines.
    @ivar _where: The file's path, C{journal}, or nothing.
    @ivar _sink: Takes lines.
    @ivar waiting: Those that were not taken yet.
    @ivar dropped: How many were dropped in all.
    @ivar _untold: How many of these nobody was told of yet.
    @ivar problem: Why lines are not taken; C{None}: they are.
    @ivar _is_old: Whether the file in use was put away.
    @ivar _next: Writes what there is.
    """

    _transactions: Transactions
    _clock: IReactorTime
    _wall: Callable[[], float]
    _where: str
    _wording: Wording = field(init=False)
    _sink: _File | ToJournal | None = field(default=None, init=False)
    waiting: bytearray = field(factory=bytearray, init=False)
    dropped: int = field(default=0, init=False)
    _untold: int = field(default=0, init=False)
    problem: str | None = field(default=None, init=False)
    _is_old: bool = field(default=False, init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)

    @_wording.default
    def _(self) -> Wording:
        """
        Have the lines' wording.
        """
        return Wording(self._transactions, self._clock.seconds, self._wall)

    def startService(self) -> None:
        """
        Begin to write, if there is somewhere to go.
        """
        super().startService()
        self._begin()

    def stopService(self) -> Deferred[None] | None:
        """
        Write what there is, and no more.
        """
        super().stopService()
        self._end()
        return None

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator where it goes.

        @return: Plain values, ready for JSON.
        """
        return {"to": self._where, "problem": self.problem, "dropped": self.dropped}

    def write_to(self, where: str) -> None:
        """
        Go on elsewhere.

        @param where: A file's path, C{journal}, or nothing.
        """
        if self.running:
            self._end()
        self._where = where
        if self.running:
            self._begin()

    def reopen(self) -> None:
        """
        Go on in the file that is at its path now: the other one was put away.
        """
        self._flush_all()
        self._is_old = True
        self._turn_over()

    def _turn_over(self) -> None:
        """
        Open the file anew if it was put away; until that can be done the other is used.
        """
        if self._sink is None or not self._is_old:
            return
        try:
            self._sink.reopen()
        except OSError as error:
            self._fail(error)
        else:
            self._is_old = False

    def _begin(self) -> None:
        """
        Have transactions told, and written every now and then.
        """
        if not self._where:
            return
        self._sink = self._made()
        self._transactions.hand_to(self._take)
        self._next = self._clock.callLater(PERIOD, self._write)

    def _made(self) -> _File | ToJournal:
        """
        Make what takes lines; nothing is opened yet.
        """
        if self._where != "journal":
            return _File(self._where)
        # Few have it.
        from mdproxy.logs.journald import Journal

        return ToJournal(Journal())

    def _end(self) -> None:
        """
        Write what there is, and let go of everything.
        """
        following, self._next = self._next, None
        if following is not None:
            following.cancel()
        self._flush_all()
        self._transactions.hand_to(None)
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()
        self.waiting.clear()
        self._is_old, self.problem = False, None

    def _write(self) -> None:
        """
        Write what there is.
        """
        self._next = self._clock.callLater(PERIOD, self._write)
        self._turn_over()
        self._flush_all()

    def _take(self, batch: Sequence[Written]) -> None:
        """
        Take transactions; as many lines as there is room for wait to be written.
        """
        lines = self._wording.lines(batch)
        fresh = "".join(lines).encode("ascii")
        if len(self.waiting) + len(fresh) > MOST:
            self.dropped += len(lines)
            self._untold += len(lines)
            return
        self.waiting += fresh
        if len(self.waiting) >= _ENOUGH and self.problem is None:
            self._flush()

    def _flush_all(self) -> None:
        """
        Have everything told and written.
        """
        self._transactions.hand_over()
        if self._sink is not None:
            self._flush()

    def _flush(self) -> None:
        """
        Write what waits, as far as it is taken.
        """
        try:
            while self.waiting and self._sink is not None:
                taken = self._sink.write(bytes(self.waiting[:_ENOUGH]))
                del self.waiting[:taken]
        except OSError as error:
            self._fail(error)
        else:
            self._recover()

    def _fail(self, error: OSError) -> None:
        """
        Say that lines are not taken, once until they are.
        """
        problem = error.strerror or type(error).__name__
        if problem != self.problem:
            self.problem = problem
            self._log.error(
                "the access log {where} can't be written: {problem}",
                where=self._where,
                problem=problem,
            )

    def _recover(self) -> None:
        """
        Say that lines are taken again, and how many are missing.
        """
        if self.problem is None or self._is_old:
            return
        self.problem = None
        untold, self._untold = self._untold, 0
        self._log.warn(
            "the access log {where} is written again ({count} lines are missing)",
            where=self._where,
            count=untold,
        )
