# -*- test-case-name: tests.test_inventory_static -*-
"""
The inventory in a file that the operator writes (L{mdproxy.inventory.listing}).

The file is best replaced by renaming, for half of it may be good YAML too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReactorTime

from mdproxy.files import Signature, Unreadable, read_file, signature_of
from mdproxy.interfaces import SourceState
from mdproxy.inventory.listing import Listing, read_listing
from mdproxy.inventory.page import Entries
from mdproxy.inventory.watched import WatchedInventory
from mdproxy.model import Malformed

_MAX_SIZE = 4 << 20


class StaticInventory(WatchedInventory):
    """
    The ports in a YAML file, read anew whenever the file changes.
    """

    kind = "static"

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        book: Entries,
        path: str,
        name: str = "static",
        projects_changed: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Prepare an inventory; it reads nothing before it is started.

        @param reactor: Watches the file's directory.
        @param clock: Schedules; usually the reactor too.
        @param book: Where the ports are entered.
        @param path: The file.
        @param name: The word for this inventory.
        @param projects_changed: Called when L{project_of} may say something else.
        """
        super().__init__(reactor, clock, book, name)
        self._path = os.path.abspath(path)
        self._signature: Signature | None = None
        self._listing = Listing((), ())
        self._projects_changed = projects_changed

    def knows(self, network: str) -> bool:
        """
        Provide L{IInventory.knows<mdproxy.interfaces.IInventory.knows>}: the file is
        for all networks.
        """
        return True

    def project_of(self, instance_id: str) -> str | None:
        """
        Tell whose an instance is that is not Nova's, if the operator said so.

        @param instance_id: The id of libvirt's domain.
        """
        return self._listing.projects.get(instance_id)

    def _figures(self) -> Mapping[str, Any]:
        """
        Provide L{WatchedInventory._figures}.
        """
        return {
            "path": self._path,
            "ports": len(self._listing.ports),
            "projects": len(self._listing.projects),
            "refused_ports": len(self._listing.problems),
        }

    def _directories(self) -> Iterable[str]:
        """
        Name the file's directory.
        """
        return [os.path.dirname(self._path)]

    def _changed(self, paths: frozenset[str] | None) -> None:
        """
        Read the file if it was touched; another one may be what a link to it points
        through.
        """
        if paths is not None and self._path in paths:
            self._load()
        else:
            self._look()

    def _look(self) -> None:
        """
        Read the file if it isn't what it was.
        """
        signature = signature_of(self._path)
        if signature is None or signature != self._signature:
            self._load()

    def _load(self) -> None:
        """
        Read the file; if that can't be done, what it said before counts.
        """
        self._signature = None
        try:
            data, self._signature = read_file(self._path, _MAX_SIZE)
            listing = read_listing(data, self.condition.name)
        except Unreadable as error:
            self._fail(str(error))
            return
        except Malformed as error:
            self._fail(f"{self._path}: {error}")
            return
        self._read_at = self._clock.seconds()
        former, self._listing = self._listing, listing
        problem = None
        if listing.problems:
            problem = f"{self._path}: {'; '.join(listing.problems[:3])}"
        self.condition.become(SourceState.LIVE, problem)
        self._book.enter(self.condition.name, self._path, listing.ports)
        if listing.projects != former.projects:
            self._projects_changed()
