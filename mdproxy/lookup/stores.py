# -*- test-case-name: tests.test_lookup_stores -*-
"""
Reading a lease store, in short steps, while its server writes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Final

from attrs import define, field

from mdproxy.files import Missing, Signature, Unreadable, signature_in, signature_of
from mdproxy.lookup.formats import Reader, Record
from mdproxy.lookup.kinds import Kind
from mdproxy.lookup.leases import Change, LeaseTable

#: The largest file that is read: some 700,000 leases of dnsmasq's.
MAX_SIZE: Final = 64 << 20
#: How much is read at once: a file that changes meanwhile is read anew.
_PIECE: Final = 256 << 10
#: How much is understood in a step.
_STEP: Final = 8192
#: How often a file or a set of files is looked at anew that changes while it is.
_TRIES: Final = 3
#: So much of what was read last must still be where it was, in a file that grows.
_TAIL: Final = 256
#: A file system may tell times to the second or two (NFS), so that a file changes and
#: looks as before; for so long each look reads it.
_RACY: Final = 3.0

#: A file's path, and what it looks like.
_Look = tuple[str, Signature]


@define
class _Part:
    """
    A file of a store that only grows.

    @ivar look: What it looked like.
    @ivar reader: Has read it.
    @ivar offset: How far.
    @ivar tail: What stands before that.
    """

    look: _Look
    reader: Reader
    offset: int = 0
    tail: bytes = b""

    def is_same(self, look: _Look) -> bool:
        """
        Tell whether it is the same file, whatever is in it now.
        """
        return self.look[0] == look[0] and self.look[1][:2] == look[1][:2]


@define(eq=False)
class LeaseStore:
    """
    The leases of one server, in a file or a set of files.

    @ivar path: Where it is.
    @ivar kind: How it is written.
    @ivar source: What its part of the lease book is called.
    @ivar network: The network of all its leases; C{None}: each one's subnet tells.
    @ivar table: What it says.
    @ivar problem: What is wrong with it.
    @ivar missing_since: Since when it just does not exist, in monotonic seconds.
    @ivar has_settled: Whether it was quiet and whole once.
    @ivar is_settled: Whether it is; else, and without a problem, it should be read
        again when L{QUIET} has passed.
    @ivar read_at: When it was read last, in monotonic seconds.
    @ivar refused: How many records could not be read.
    @ivar rests_until: Until when it is left alone, in monotonic seconds.
    @ivar elsewhere: How many of its leases are of no network that is known.
    """

    path: str
    kind: Kind
    source: str = ""
    network: str | None = None
    table: LeaseTable = field(factory=LeaseTable, init=False)
    problem: str | None = field(default=None, init=False)
    missing_since: float | None = field(default=None, init=False)
    has_settled: bool = field(default=False, init=False)
    is_settled: bool = field(default=False, init=False)
    read_at: float | None = field(default=None, init=False)
    refused: int = field(default=0, init=False)
    rests_until: float = field(default=float("-inf"), init=False)
    elsewhere: int = field(default=0, init=False)
    _looks: tuple[_Look, ...] | None = field(default=None, init=False)
    _seen_at: float = field(default=0.0, init=False)
    _reader: Reader | None = field(default=None, init=False)
    _parts: list[_Part] = field(factory=list, init=False)
    _suspect: _Part | None = field(default=None, init=False)

    def may_differ(self, now: float) -> bool:
        """
        Tell whether it may say anything else than when it was read.

        @param now: Seconds, monotonic.
        """
        return (
            self._looks is None
            or now - self._seen_at < _RACY
            or self._looks != self._looks_now()
        )

    def load(self, now: float) -> Iterator[Change | None]:
        """
        Read it, or what is new in it.

        @param now: Seconds, monotonic.

        @return: A short step each; what it changed in the table.
        """
        try:
            with ExitStack() as files:
                opened = self._open(files)
                if self.kind.grows:
                    yield from self._load_grown(opened, now)
                else:
                    yield from self._load_rewritten(opened[0], now)
        except Unreadable as error:
            self.problem = str(error)
            if not isinstance(error, Missing):
                self.missing_since = None
            elif self.missing_since is None:
                self.missing_since = now
            self.is_settled = False
            self._looks = None
            self._parts = []

    def _load_rewritten(
        self, opened: tuple[_Look, int], now: float
    ) -> Iterator[Change | None]:
        """
        Read a file that may be written anew in place.
        """
        (path, _), descriptor = opened
        if self._reader is None:
            self._reader = self.kind.reader()
        reader = self._reader
        view: dict[str, Record] = {}
        signature = yield from self._read_steadily(descriptor, reader, view)
        self.refused = reader.refused
        problem = reader.problem()
        looks = None if signature is None else ((path, signature),)
        is_quiet = self._saw(looks, now)
        is_whole = looks is not None and problem is None
        if is_whole or not self.kind.is_indivisible:
            yield from self.table.take(view)
        if is_whole:
            self.table.miss(view)
        yield from self._conclude(is_quiet, problem)

    def _read_steadily(
        self, descriptor: int, reader: Reader, view: dict[str, Record]
    ) -> Generator[None, None, Signature | None]:
        """
        Read a file up to where it ends, or changes: halves of an old line and a new one
        would make a line that nobody wrote.

        @return: What it looks like; C{None} where it changed.
        """
        reader.begin()
        signature = signature_in(os.fstat(descriptor))
        offset, tries = 0, _TRIES
        while offset <= MAX_SIZE:
            data = _read(self.path, descriptor, _PIECE, offset)
            after = signature_in(os.fstat(descriptor))
            if after != signature:
                tries -= 1
                if offset or not tries:
                    return None
                signature = after
                continue
            if not data:
                return signature
            offset += len(data)
            yield from _feed(reader, data, view)
        raise Unreadable(f"{self.path} is larger than {MAX_SIZE} bytes")

    def _load_grown(
        self, opened: list[tuple[_Look, int]], now: float
    ) -> Iterator[Change | None]:
        """
        Read files that are only added to: what was added, where they are those that
        were read before.
        """
        looks = tuple(look for look, _ in opened)
        view: dict[str, Record] = {}
        # Whoever is stopped in the middle begins anew.
        parts, self._parts = self._parts, []
        goes_on = self._goes_on(parts, opened)
        is_quiet = self._saw(looks, now)
        if self._suspect is not None and not is_quiet:
            yield from self._conclude(is_quiet, None)
            return
        if not goes_on:
            parts = [_Part(look, self.kind.reader()) for look in looks]
        for part, (look, descriptor) in zip(parts, opened, strict=True):
            part.look = look
            yield from self._read_on(part, descriptor, view)
        self.refused = sum(part.reader.refused for part in parts)
        self._suspect = None
        self._parts = parts
        yield from self.table.take(view)
        if not goes_on:
            self.table.miss(view)
        problems = (part.reader.problem() for part in parts)
        yield from self._conclude(is_quiet, next(filter(None, problems), None))

    def _goes_on(self, parts: list[_Part], opened: list[tuple[_Look, int]]) -> bool:
        """
        Tell whether files are those that were read, with more in the last one at most.

        No server writes such a file anew in place; what somebody else does to it counts
        when he has come to an end, as L{LeaseTable.settle}.
        """
        looks = [look for look, _ in opened]
        if self._suspect is not None and not self._suspect.is_same(looks[-1]):
            self._suspect = None
        if len(parts) != len(looks) or not all(map(_Part.is_same, parts, looks)):
            return False
        for part, (look, descriptor) in zip(parts, opened, strict=True):
            tail = _read(
                part.look[0], descriptor, len(part.tail), part.offset - len(part.tail)
            )
            if look[1][-1] < part.offset or tail != part.tail:
                self._suspect = part
                return False
        return self._suspect is None

    def _read_on(
        self, part: _Part, descriptor: int, view: dict[str, Record]
    ) -> Iterator[None]:
        """
        Read what a file has more than was read.
        """
        size = part.look[1][-1]
        while part.offset < size:
            length = min(_PIECE, size - part.offset)
            data = _read(part.look[0], descriptor, length, part.offset)
            if not data:
                return
            part.offset += len(data)
            part.tail = (part.tail + data[-_TAIL:])[-_TAIL:]
            yield from _feed(part.reader, data, view)

    def _conclude(self, is_quiet: bool, problem: str | None) -> Iterator[Change | None]:
        """
        Say how it is, now that it was read; believe absences if that is due.
        """
        self.missing_since = None
        self.is_settled = is_quiet and problem is None
        self.problem = None
        if is_quiet and problem is not None:
            self.problem = f"{self.path} {problem}"
        if self.is_settled:
            self.has_settled = True
            yield from self.table.settle()

    def _saw(self, looks: tuple[_Look, ...] | None, now: float) -> bool:
        """
        See what the files look like that were read.

        @return: Whether they have looked like that for L{QUIET}.
        """
        if looks is None or looks != self._looks:
            self._seen_at = now
        self._looks = looks
        self.read_at = now
        return self.table.look(looks, now)

    def _looks_now(self) -> tuple[_Look, ...]:
        """
        Tell what the files look like.
        """
        looks: list[_Look] = []
        for group in self.kind.parts:
            for suffix in group:
                signature = signature_of(self.path + suffix)
                if signature is not None:
                    looks.append((self.path + suffix, signature))
                    break
        return tuple(looks)

    def _open(self, files: ExitStack) -> list[tuple[_Look, int]]:
        """
        Open the files as they belong together.

        @raise Missing: If there is none.
        @raise Unreadable: If one can't be read, or they never belong together.
        """
        for _ in range(_TRIES):
            with ExitStack() as attempt:
                opened = self._open_parts(attempt)
                names = [(path, signature[:2]) for (path, signature), _ in opened]
                if len(self.kind.parts) == 1 or names == [
                    (path, signature[:2]) for path, signature in self._looks_now()
                ]:
                    files.push(attempt.pop_all())
                    return opened
        raise Unreadable(f"{self.path} is being replaced all the time")

    def _open_parts(self, files: ExitStack) -> list[tuple[_Look, int]]:
        """
        Open the files that are there.
        """
        opened: list[tuple[_Look, int]] = []
        for group in self.kind.parts:
            for suffix in group:
                try:
                    opened.append(_open(self.path + suffix, files))
                    break
                except Missing:
                    continue
        if not opened:
            raise Missing(f"{self.path} does not exist")
        return opened


def _open(path: str, files: ExitStack) -> tuple[_Look, int]:
    """
    Open a file.

    @raise Missing: If there is no such file.
    @raise Unreadable: If it can't be read, is too large, or is no file but a pipe or
        the like, which might never end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Missing(f"{path} does not exist") from None
    except OSError as error:
        raise Unreadable(f"{path} can't be read: {error.strerror}") from None
    files.callback(os.close, descriptor)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{path} is no plain file")
    if status.st_size > MAX_SIZE:
        raise Unreadable(f"{path} is larger than {MAX_SIZE} bytes")
    return (path, signature_in(status)), descriptor


def _read(path: str, descriptor: int, length: int, offset: int) -> bytes:
    """
    Read a piece of a file.

    @raise Unreadable: If that can't be done.
    """
    try:
        return os.pread(descriptor, length, offset)
    except OSError as error:
        raise Unreadable(f"{path} can't be read: {error.strerror}") from None


def _feed(reader: Reader, data: bytes, view: dict[str, Record]) -> Iterator[None]:
    """
    Have a reader take a piece, in steps.

    @param view: By address, what the last record about it says.
    """
    for start in range(0, len(data), _STEP):
        for record in reader.feed(data[start : start + _STEP]):
            view[record.address] = record
        yield None
