# -*- test-case-name: tests.test_lookup_watchers -*-
"""
The source of the lease book: lease files, read anew whenever they change.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from glob import glob, has_magic
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from mdproxy.condition import Condition
from mdproxy.files import (
    DirectoryWatch,
    Missing,
    Signature,
    Unreadable,
    read_file,
    signature_of,
)
from mdproxy.interfaces import ISource, SourceState
from mdproxy.lookup.books import LeaseBook
from mdproxy.lookup.leases import QUIET, LeaseTable
from mdproxy.model import Lease

#: The largest lease file that is read: some 700,000 leases.
_MAX_SIZE = 64 << 20


@define
class _LeaseFile:
    """
    One of the files of a L{LeaseWatcher}.

    @ivar table: What it says.
    @ivar signature: What it looked like when it was read.
    @ivar settled: Whether it has come to rest once.
    @ivar problem: What is wrong with it.
    @ivar is_missing: Whether it just does not exist.
    @ivar again: Reads it again, when it may have come to rest.
    """

    table: LeaseTable = field(factory=LeaseTable)
    signature: Signature | None = None
    settled: bool = False
    problem: str | None = None
    is_missing: bool = False
    again: IDelayedCall | None = None


@implementer(ISource)
class LeaseWatcher(Service):
    """
    Keeps the lease book as the lease files of dnsmasq have it, for one network.

    @ivar condition: How the source is.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        book: LeaseBook,
        name: str,
        path: str,
        network: str,
    ) -> None:
        """
        Prepare a source; it reads nothing before it is started.

        @param reactor: Watches directories.
        @param clock: Schedules; usually the reactor too.
        @param book: Where everything is entered.
        @param name: The word for this source.
        @param path: The lease file, or a pattern (C{*}, C{?}, C{[]}) for several.
        @param network: The network of all its leases.
        """
        self.name = name
        self.condition = Condition(name, self.log)
        self._clock = clock
        self._book = book
        self._path = os.path.abspath(path)
        self._network = network
        self._files: dict[str, _LeaseFile] = {}
        self._latest: float | None = None
        self._watch = DirectoryWatch(reactor, clock, self._directories, self._changed)

    @property
    def state(self) -> SourceState:
        """
        Provide L{ISource.state<mdproxy.interfaces.ISource>}.
        """
        return self.condition.state

    def startService(self) -> None:
        """
        Begin to watch and read what is there.
        """
        super().startService()
        self._watch.startService()

    def stopService(self) -> None:
        """
        Let go of the watch and the timers; the book keeps what it has.
        """
        super().stopService()
        self._watch.stopService()
        for file in self._files.values():
            _cancel(file)

    def withdraw(self) -> None:
        """
        Take out of the book all that was entered; for one that is not started again.
        """
        for path in list(self._files):
            self._withdraw(path)

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{ISource.describe<mdproxy.interfaces.ISource.describe>}.
        """
        age = None if self._latest is None else self._clock.seconds() - self._latest
        tables = [file.table for file in self._files.values()]
        return {
            "name": self.name,
            "kind": "dnsmasq",
            "state": self.state.value,
            "problem": self.condition.problem,
            "path": self._path,
            "network": self._network,
            "files": len(self._files),
            "leases": sum(len(table.records) for table in tables),
            "refused_lines": sum(table.refused for table in tables),
            "polling": self._watch.polling,
            "last_read_age": None if age is None else round(age, 3),
        }

    def _directories(self) -> Iterable[str]:
        """
        List the directories that the files are in, and one in which more may come up.
        """
        parent = os.path.dirname(self._path)
        if not has_magic(parent):
            return [parent]
        fixed = parent
        while has_magic(fixed):
            fixed = os.path.dirname(fixed)
        return [fixed, *(path for path in glob(parent) if os.path.isdir(path))]

    def _changed(self, paths: frozenset[str] | None) -> None:
        """
        Read the files that may have changed.
        """
        if paths is None:
            self._find()
            for path, file in self._files.items():
                signature = signature_of(path)
                if signature is None or signature != file.signature or file.problem:
                    self._load(path, file)
        else:
            for path in paths:
                if path in self._files or self._is_ours(path):
                    self._load(path, self._files.setdefault(path, _LeaseFile()))
        self._judge()

    def _is_ours(self, path: str) -> bool:
        """
        Tell whether a file is meant by the path.
        """
        return path == self._path or (
            has_magic(self._path) and fnmatchcase(path, self._path)
        )

    def _find(self) -> None:
        """
        Find out which files there are.

        Of many files some may go for good, with their leases; the only one may not.
        """
        found = set(glob(self._path)) if has_magic(self._path) else {self._path}
        if found:
            for path in set(self._files) - found:
                self._withdraw(path)
        for path in found:
            self._files.setdefault(path, _LeaseFile())

    def _withdraw(self, path: str) -> None:
        """
        Forget a file and all that it said.
        """
        file = self._files.pop(path)
        _cancel(file)
        for address in file.table.records:
            self._book.forget(self._source(path), self._network, address)

    def _load(self, path: str, file: _LeaseFile) -> None:
        """
        Read a file and enter what is new.
        """
        _cancel(file)
        try:
            data, file.signature = read_file(path, _MAX_SIZE)
        except Unreadable as error:
            file.problem = str(error)
            file.is_missing = isinstance(error, Missing)
            file.signature = None
            return
        now = self._latest = self._clock.seconds()
        changes = file.table.load(data, file.signature, now)
        file.problem = f"{path} ends within a line" if changes.torn else None
        file.is_missing = False
        file.settled = file.settled or changes.settled
        for record in changes.learnt:
            self._book.learn(
                self._source(path),
                Lease(
                    self._network,
                    record.address,
                    record.mac,
                    record.expires,
                    record.hostname,
                ),
            )
        for address in changes.forgotten:
            self._book.forget(self._source(path), self._network, address)
        if not changes.settled and not changes.torn:
            file.again = self._clock.callLater(QUIET, self._load_again, path, file)

    def _load_again(self, path: str, file: _LeaseFile) -> None:
        """
        Read a file that may have come to rest.
        """
        file.again = None
        self._load(path, file)
        self._judge()

    def _source(self, path: str) -> str:
        """
        Name a file's part of the book.
        """
        return f"{self.name}:{path}"

    def _judge(self) -> None:
        """
        Say how the source is.
        """
        problems = [file.problem for file in self._files.values() if file.problem]
        if not self._files:
            problems = [f"nothing matches {self._path}"]
        if not problems:
            if self._has_started():
                self.condition.become(SourceState.LIVE)
            return
        state = SourceState.STALE
        if self._latest is None:
            is_expected = all(file.is_missing for file in self._files.values())
            state = SourceState.STARTING if is_expected else SourceState.FAILED
        self.condition.become(state, "; ".join(problems[:3]))

    def _has_started(self) -> bool:
        """
        Tell whether every file has come to rest once.
        """
        return self.state is SourceState.LIVE or all(
            file.settled for file in self._files.values()
        )


def _cancel(file: _LeaseFile) -> None:
    """
    Don't read a file again for now.
    """
    if file.again is not None:
        file.again.cancel()
        file.again = None
