# -*- test-case-name: tests.test_lookup_watchers -*-
"""
The source of the lease book: lease stores, read anew whenever they change.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from glob import glob, has_magic
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from mdproxy.condition import Condition
from mdproxy.files import DirectoryWatch
from mdproxy.interfaces import ISource, SourceState
from mdproxy.lookup.books import LeaseBook
from mdproxy.lookup.epoch import Epoch
from mdproxy.lookup.formats import Record
from mdproxy.lookup.kinds import KINDS, Naming
from mdproxy.lookup.leases import QUIET, Change
from mdproxy.lookup.stores import LeaseStore
from mdproxy.model import Lease
from mdproxy.slices import Slices

#: After a store was read it is left alone for so many times as long as that took, so
#: that a large one that changes all the time does not take all the time.
_REST: Final = 2.0
#: The longest time that it is left alone.
_LONGEST_REST: Final = 0.1
#: How many stores are described one by one.
_DESCRIBED: Final = 100


@implementer(ISource)
class LeaseWatcher(Service):
    """
    Keeps the lease book as the lease stores of DHCP servers have it.

    Where the path is a pattern a store that goes takes its leases with it: at once
    where its directory has gone (Neutron removes that of a network whole), after
    L{QUIET} where only the file has, for it may be being replaced.  What a path that is
    no pattern, or the only one that fits, has said is kept, out of date.

    @ivar condition: How the source is.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        book: LeaseBook,
        name: str,
        kind: str,
        path: str,
        naming: Naming,
        epoch: Epoch,
    ) -> None:
        """
        Prepare a source; it reads nothing before it is started.

        @param reactor: Watches directories.
        @param clock: Schedules; usually the reactor too.
        @param book: Where everything is entered.
        @param name: The word for this source.
        @param kind: The kind of store, one of L{KINDS}.
        @param path: The store, or a pattern (C{*}, C{?}, C{[]}) for several.
        @param naming: Finds the networks of leases.
        @param epoch: The time by which leases end.
        """
        self.name = name
        self.condition = Condition(name, self.log)
        self._clock = clock
        self._book = book
        self._kind = KINDS[kind]
        self._path = os.path.abspath(path)
        self._directory, self._basename = os.path.split(self._path)
        self._target = self._path
        self._naming = naming
        self._epoch = epoch
        self._stores: dict[str, LeaseStore] = {}
        self._networks: Counter[str] = Counter()
        self._has_looked = False
        self._latest: float | None = None
        # Those that wait for their turn to be read, and for a time to be.
        self._queued: set[LeaseStore] = set()
        self._due: dict[LeaseStore, float] = {}
        self._alarm: IDelayedCall | None = None
        self._slices = Slices(clock)
        self._watch = DirectoryWatch(
            reactor, clock, self._directories, self._changed, prompt=True
        )

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
        self._slices.stop()
        self._queued.clear()
        self._due.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def withdraw(self) -> None:
        """
        Take out of the book all that was entered; for one that is not started again.
        """
        for store in list(self._stores.values()):
            for _ in self._withdraw(store):
                pass

    def knows(self, network: str) -> bool:
        """
        Provide L{ISource.knows<mdproxy.interfaces.ISource.knows>}.

        @return: Where paths tell networks, whether there is a store of this one; any
            might have one until that was looked for.
        """
        naming = self._naming
        if naming.network is not None:
            return network == naming.network
        if not has_magic(self._path):
            return network in naming.networks(self._kind, self._path)
        return not self._has_looked or network in self._networks

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{ISource.describe<mdproxy.interfaces.ISource.describe>}.
        """
        stores = list(self._stores.values())
        listed = sorted(stores, key=lambda store: (store.problem is None, store.path))
        return {
            "name": self.name,
            "kind": self._kind.name,
            "state": self.state.value,
            "problem": self.condition.problem,
            "path": self._path,
            "network": self._naming.network,
            "networks": len(self._networks),
            "files": len(stores),
            "leases": sum(len(store.table.records) for store in stores),
            "leases_elsewhere": sum(store.elsewhere for store in stores),
            "refused_lines": sum(store.refused for store in stores),
            "polling": self._watch.polling,
            "overflows": self._watch.overflows,
            "last_read_age": self._age(self._latest),
            "stores": [self._described(store) for store in listed[:_DESCRIBED]],
        }

    def _described(self, store: LeaseStore) -> Mapping[str, Any]:
        """
        Tell about one store.
        """
        return {
            "path": store.path,
            "networks": sorted(self._naming.networks(self._kind, store.path)),
            "problem": store.problem,
            "leases": len(store.table.records),
            "leases_elsewhere": store.elsewhere,
            "refused_lines": store.refused,
            "settled": store.is_settled,
            "last_read_age": self._age(store.read_at),
        }

    def _age(self, moment: float | None) -> float | None:
        """
        Tell how long ago something was.
        """
        return None if moment is None else round(self._clock.seconds() - moment, 3)

    def _directories(self) -> Iterable[str]:
        """
        List the directories that the stores are in, and one in which more may come up;
        that one first where the directories are a pattern.
        """
        if not has_magic(self._directory):
            # The file may be a link to one elsewhere.
            self._target = os.path.realpath(self._path)
            return {self._directory, os.path.dirname(self._target)}
        parent, pattern = os.path.split(self._directory)
        if has_magic(parent):
            while has_magic(parent):
                parent = os.path.dirname(parent)
            return [parent, *filter(os.path.isdir, glob(self._directory))]
        return [parent, *_subdirectories(parent, pattern)]

    def _candidates(self) -> Iterator[str]:
        """
        List the paths of the stores that there may be.
        """
        if not has_magic(self._path):
            yield self._path
            return
        directories = self._directories()
        if has_magic(self._directory):
            _, *directories = directories
        if not has_magic(self._basename):
            for directory in directories:
                yield os.path.join(directory, self._basename)
            return
        for directory in directories:
            for path in glob(os.path.join(directory, self._basename)):
                yield self._kind.store_of(path)

    def _changed(self, paths: frozenset[str] | None) -> None:
        """
        Read the stores that may have changed.
        """
        if paths is None:
            self._slices.do(self._look())
            return
        for path in paths:
            store = self._kind.store_of(path)
            if store == self._target:
                store = self._path
            if store in self._stores or self._is_ours(store):
                self._want(self._store(store))
            for below in self._below(path):
                self._want(self._store(below))

    def _below(self, directory: str) -> list[str]:
        """
        List the known stores of a directory that has come or gone.
        """
        path = os.path.join(directory, self._basename)
        if path in self._stores:
            return [path]
        if has_magic(self._basename) and fnmatchcase(directory, self._directory):
            return [p for p in self._stores if os.path.dirname(p) == directory]
        return []

    def _is_ours(self, path: str) -> bool:
        """
        Tell whether a store is meant by the path.
        """
        return path == self._path or (
            has_magic(self._path) and fnmatchcase(path, self._path)
        )

    def _look(self) -> Iterator[None]:
        """
        Read the stores that are not what they were.
        """
        now = self._clock.seconds()
        found = set(self._candidates())
        for path in found:
            self._store(path)
        yield None
        for path, store in list(self._stores.items()):
            if path not in found or store.problem or store.may_differ(now):
                self._want(store)
            yield None
        self._has_looked = True
        self._judge()

    def _store(self, path: str) -> LeaseStore:
        """
        Find a store, or make it.
        """
        store = self._stores.get(path)
        if store is None:
            network = self._naming.network_of(self._kind, path)
            store = self._stores[path] = LeaseStore(
                path, self._kind, f"{self.name}:{path}", network
            )
            self._networks.update(self._naming.networks(self._kind, path))
        return store

    def _withdraw(self, store: LeaseStore) -> Iterator[None]:
        """
        Forget a store and all that it said.
        """
        del self._stores[store.path]
        self._due.pop(store, None)
        self._networks -= Counter(self._naming.networks(self._kind, store.path))
        for record in store.table.records.values():
            self._enter(store, (record, None))
            yield None

    def _want(self, store: LeaseStore) -> None:
        """
        Have a store read as soon as that is its turn.
        """
        if store not in self._queued:
            self._due.pop(store, None)
            self._queued.add(store)
            self._slices.do(self._load(store))

    def _schedule(self, store: LeaseStore, due: float) -> None:
        """
        Have a store read at a time, or when it is due already if that is earlier.
        """
        self._due[store] = due = min(due, self._due.get(store, due))
        delay = max(0.0, due - self._clock.seconds())
        if self._alarm is None:
            self._alarm = self._clock.callLater(delay, self._ring)
        elif due < self._alarm.getTime():
            self._alarm.reset(delay)

    def _ring(self) -> None:
        """
        Read the stores that are due.
        """
        self._alarm = None
        now = self._clock.seconds()
        for store in [store for store, due in self._due.items() if due <= now]:
            del self._due[store]
            self._want(store)
        if self._due and self._alarm is None:
            due = min(self._due.values())
            self._alarm = self._clock.callLater(max(0.0, due - now), self._ring)

    def _load(self, store: LeaseStore) -> Iterator[None]:
        """
        Read a store and enter what is new.
        """
        self._queued.discard(store)
        start = self._clock.seconds()
        if self._stores.get(store.path) is not store:
            return
        # Not much later: the clock may be set.
        if start < store.rests_until <= start + _LONGEST_REST:
            self._schedule(store, store.rests_until)
            return
        for change in store.load(start):
            if change is not None:
                self._enter(store, change)
            yield None
        yield from self._conclude(store, start)
        if not self._queued:
            self._judge()

    def _conclude(self, store: LeaseStore, start: float) -> Iterator[None]:
        """
        See what is to come after a store was read.

        @param start: When that began.
        """
        now = self._clock.seconds()
        if store.read_at == start:
            self._latest = start
        store.rests_until = now + min(_LONGEST_REST, _REST * (now - start))
        if store.missing_since is not None:
            yield from self._miss(store, now - store.missing_since)
        elif not store.is_settled and store.problem is None:
            self._schedule(store, now + QUIET)

    def _miss(self, store: LeaseStore, seconds: float) -> Iterator[None]:
        """
        See what it means that a store is not there.

        @param seconds: For how long it has not been.
        """
        if has_magic(self._directory):
            may_go = self._is_parent_there()
        else:
            may_go = has_magic(self._basename) and len(self._stores) > 1
        if not may_go:
            return
        is_there = os.path.isdir(os.path.dirname(store.path))
        if is_there and seconds < QUIET and store.read_at is not None:
            # Perhaps it is being replaced.
            store.problem = None
            self._schedule(store, self._clock.seconds() + QUIET - seconds)
        else:
            yield from self._withdraw(store)

    def _is_parent_there(self) -> bool:
        """
        Tell whether the directory is there in which stores have directories.
        """
        return os.path.isdir(next(iter(self._directories())))

    def _enter(self, store: LeaseStore, change: Change) -> None:
        """
        Have the book say what a store says.
        """
        former, record = change
        if former is not None:
            network = self._network_of(store, former)
            if network is None:
                store.elsewhere -= 1
            elif record is None or record.subnet != former.subnet:
                self._book.forget(store.source, network, former.address)
        if record is None:
            return
        network = self._network_of(store, record)
        if network is None:
            store.elsewhere += 1
            return
        ends = self._epoch.read(record.expires)
        self._book.learn(
            store.source,
            Lease(network, record.address, record.mac, ends, record.hostname),
        )

    def _network_of(self, store: LeaseStore, record: Record) -> str | None:
        """
        Find the network of a lease.

        @return: C{None} where nobody knows it.
        """
        if store.network is not None:
            return store.network
        return self._naming.subnets.get(record.subnet or "")

    def _judge(self) -> None:
        """
        Say how the source is.
        """
        stores = self._stores.values()
        problems = [store.problem for store in stores if store.problem]
        # Where each has a directory of its own there may be none.
        if not stores and not (has_magic(self._directory) and self._is_parent_there()):
            problems = [f"nothing matches {self._path}"]
        if not problems:
            if self.state is SourceState.LIVE or self._has_settled():
                self.condition.become(SourceState.LIVE)
            return
        state = SourceState.STALE
        if self._latest is None:
            is_expected = all(store.missing_since is not None for store in stores)
            state = SourceState.STARTING if is_expected else SourceState.FAILED
        self.condition.become(state, "; ".join(problems[:3]))

    def _has_settled(self) -> bool:
        """
        Tell whether every store has come to rest once.
        """
        return self._has_looked and all(
            store.has_settled for store in self._stores.values()
        )


def _subdirectories(parent: str, pattern: str) -> list[str]:
    """
    List the directories in a directory whose names match a pattern.
    """
    try:
        with os.scandir(parent) as entries:
            return [
                entry.path
                for entry in entries
                if fnmatchcase(entry.name, pattern)
                and not entry.name.startswith(".")
                and entry.is_dir()
            ]
    except OSError:
        return []
