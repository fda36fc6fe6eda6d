# -*- test-case-name: tests.test_inventory_libvirt -*-
"""
What inventories have in common that read files whenever those change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from mdproxy.condition import Condition
from mdproxy.files import DirectoryWatch
from mdproxy.interfaces import IInventory, SourceState
from mdproxy.inventory.page import Entries
from mdproxy.inventory.refresh import Refreshes


@implementer(IInventory)
class WatchedInventory(Service):
    """
    An inventory of ports in files.

    @cvar kind: The kind of inventory.
    @ivar condition: How the source is.
    @ivar _book: Where the ports are entered.
    @ivar _read_at: When everything was last read.
    """

    kind: str
    log = Logger()

    def __init__(
        self, reactor: IReactorFDSet, clock: IReactorTime, book: Entries, name: str
    ) -> None:
        """
        Prepare an inventory; it reads nothing before it is started.

        @param reactor: Watches the directories.
        @param clock: Schedules; usually the reactor too.
        @param book: Where the ports are entered.
        @param name: The word for this inventory.
        """
        self.name = name
        self.condition = Condition(name, self.log)
        self._book = book
        self._read_at: float | None = None
        self._clock = clock
        self._refreshes = Refreshes(clock, self._look)
        self._watch = DirectoryWatch(reactor, clock, self._directories, self._changed)

    @property
    def state(self) -> SourceState:
        """
        Provide L{ISource.state<mdproxy.interfaces.ISource>}.
        """
        return self.condition.state

    def startService(self) -> None:
        """
        Begin to watch, and read everything before this returns.
        """
        super().startService()
        self._watch.startService()

    def stopService(self) -> None:
        """
        Let go of the watch and the timers; the book keeps what it has.
        """
        super().stopService()
        self._watch.stopService()
        self._refreshes.stop()

    def knows(self, network: str) -> bool:
        """
        Provide L{IInventory.knows<mdproxy.interfaces.IInventory.knows>}.
        """
        raise NotImplementedError

    def is_in_doubt(self, network: str) -> bool:
        """
        Provide L{IInventory.is_in_doubt<mdproxy.interfaces.IInventory.is_in_doubt>}:
        files say all that they ever will.
        """
        return False

    def refresh(self, network: str, mac: str | None) -> Deferred[None]:
        """
        Provide L{IInventory.refresh<mdproxy.interfaces.IInventory.refresh>}.
        """
        return self._refreshes.refresh(network)

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{ISource.describe<mdproxy.interfaces.ISource.describe>}.
        """
        read_at = self._read_at
        age = None if read_at is None else round(self._clock.seconds() - read_at, 3)
        return {
            "name": self.name,
            "kind": self.kind,
            "state": self.state.value,
            "problem": self.condition.problem,
            **self._figures(),
            "polling": self._watch.polling,
            "last_read_age": age,
        }

    def _fail(self, problem: str) -> None:
        """
        Say what is wrong; what was known counts on.
        """
        known = self._read_at is not None
        self.condition.become(
            SourceState.STALE if known else SourceState.FAILED, problem
        )

    def _figures(self) -> Mapping[str, Any]:
        """
        Tell what is known, for the operator.
        """
        raise NotImplementedError

    def _directories(self) -> Iterable[str]:
        """
        Name the directories to be watched.
        """
        raise NotImplementedError

    def _changed(self, paths: frozenset[str] | None) -> None:
        """
        Read the files that were touched; C{None}: look at all.
        """
        raise NotImplementedError

    def _look(self) -> None:
        """
        Read whatever is not what it was; must not raise.
        """
        raise NotImplementedError
