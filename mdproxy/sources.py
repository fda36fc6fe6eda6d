# -*- test-case-name: tests.test_sources -*-
"""
Everything that keeps a book current, and how it is replaced in use.

What a reload of the configuration adds is started, and has read every file that it
reads, before what it removes is withdrawn: a port that both know is known at every
moment.  An inventory that has to connect first knows nothing until then; who asks
meanwhile waits, for it is starting.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.application.service import IService, MultiService

from mdproxy.config import Config, ConfigError, LeaseSourceConfig, ListenerConfig
from mdproxy.interfaces import IInventory, ISource, SourceState
from mdproxy.inventories import Inventory, Key, Maker, key_of
from mdproxy.lookup import Books, InstanceLookup
from mdproxy.lookup.books import LeaseBook, NeighbourBook, PortBook
from mdproxy.lookup.epoch import Epoch
from mdproxy.lookup.neighbours import NeighbourSource
from mdproxy.measures import policy_of
from mdproxy.reload import Change

if TYPE_CHECKING:
    from mdproxy.lookup.watchers import LeaseWatcher


@frozen
class _Choice:
    """
    The sources of one configuration.

    @ivar inventories: Who knows ports, in the order of the configuration.
    @ivar leases: Who knows leases.
    @ivar project: Whose an instance is that Nova did not make, if nobody else says so.
    """

    inventories: Mapping[Key, Inventory] = field(factory=dict)
    leases: Mapping[LeaseSourceConfig, LeaseWatcher] = field(factory=dict)
    project: str | None = None

    def besides(self, others: _Choice) -> list[Any]:
        """
        List those that are not among others.
        """
        return [
            *(
                each.source
                for key, each in self.inventories.items()
                if key not in others.inventories
            ),
            *(
                watcher
                for source, watcher in self.leases.items()
                if source not in others.leases
            ),
        ]

    def show(self, others: _Choice) -> None:
        """
        Have these in the book of ports, and of others only those that are these.
        """
        # First hidden, then shown: two may say the same by the same names.
        for key, inventory in others.inventories.items():
            if key not in self.inventories:
                inventory.hide()
        for inventory in self.inventories.values():
            inventory.show()


@define(eq=False)
class Sources:
    """
    Everything that keeps a book current.

    @ivar service: Starts and stops them.
    @ivar books: What they enter facts into.
    @ivar neighbours: The kernel's neighbour table.
    @ivar epoch: The time by which leases end.
    @ivar _networks: The networks by the device of their listener.
    @ivar _reactor: Watches files, and the clock.
    @ivar _chosen: Those of the configuration in force.
    """

    books: Books
    neighbours: NeighbourSource
    _networks: Mapping[str, str]
    _reactor: Any
    service: MultiService = field(factory=MultiService, init=False)
    epoch: Epoch = field(init=False)
    _chosen: _Choice = field(factory=_Choice, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Begin to tell the time by which leases end.
        """
        self.epoch = Epoch(time.time, time.monotonic)

    @property
    def inventories(self) -> Sequence[IInventory]:
        """
        Who knows ports, in the order of the configuration.
        """
        return [each.source for each in self._chosen.inventories.values()]

    @property
    def leases(self) -> Sequence[LeaseWatcher]:
        """
        Who knows leases.
        """
        return list(self._chosen.leases.values())

    @property
    def all(self) -> Sequence[ISource]:
        """
        All sources.
        """
        return [
            self.neighbours,
            *self.inventories,
            *self.leases,
        ]

    def choose(self, config: Config) -> None:
        """
        Take the sources of the first configuration; they start with the service.
        """
        IService(self.neighbours).setServiceParent(self.service)
        self._chosen = self._choice_of(config)
        self._adopt(self._chosen, _Choice())
        self._chosen.show(_Choice())

    def prepare(self, lookup: InstanceLookup, old: Config, new: Config) -> Change:
        """
        Start what a configuration adds; nobody is told of it yet.

        @param lookup: Who asks the sources.
        @param old: The configuration in force.
        @param new: The one that may be.

        @raise ConfigError: If an added source can't read what it is to read.
        """
        before, after = self._chosen, self._choice_of(new)

        def undo() -> None:
            self._take(before, after, lookup, old)
            _disown(after, before)

        def finish() -> None:
            _disown(before, after)
            # Those that were kept may have missed something, and whose an instance of
            # libvirt's is may be another's word now.
            for inventory in after.inventories.values():
                inventory.source.refresh("", None)

        try:
            self._adopt(after, before)
            _check(after, before)
        except Exception:
            _disown(after, before)
            raise
        return Change(partial(self._take, after, before, lookup, new), undo, finish)

    def _take(
        self, choice: _Choice, former: _Choice, lookup: InstanceLookup, config: Config
    ) -> None:
        """
        Have the lookup ask other sources.
        """
        choice.show(former)
        self._chosen = choice
        lookup.renew(self.inventories, self.leases, policy_of(config))

    def _adopt(self, choice: _Choice, former: _Choice) -> None:
        """
        Start what is not among the former; at the start of the service, with it.
        """
        for source in choice.besides(former):
            # In a service of its own, for two in one can't have the same name.
            alone = MultiService()
            source.setServiceParent(alone)
            alone.setServiceParent(self.service)

    def _choice_of(self, config: Config) -> _Choice:
        """
        Name the sources of a configuration: those that there are, and new ones.

        @raise ConfigError: If one can't be made.
        """
        maker = Maker(
            self.books,
            self._networks,
            self._reactor,
            self._project_of,
            self._ask_libvirt,
        )
        keys = [(name, key_of(name, config)) for name in config.inventories]
        return _Choice(
            {
                key: self._chosen.inventories.get(key) or maker.make(name, config)
                for name, key in keys
            },
            {
                source: self._chosen.leases.get(source) or self._lease_watcher(source)
                for source in config.lease_sources
            },
            config.libvirt_project,
        )

    def _project_of(self, instance_id: str) -> str | None:
        """
        Tell whose an instance is that Nova did not make.
        """
        static: Any = self._find("static")
        project: str | None = None
        if static is not None:
            project = static.project_of(instance_id)
        return self._chosen.project if project is None else project

    def _ask_libvirt(self) -> None:
        """
        Have libvirt's inventory look again whose its instances are.
        """
        libvirt = self._find("libvirt")
        if libvirt is not None:
            libvirt.refresh("", None)

    def _find(self, name: str) -> IInventory | None:
        """
        Find an inventory in use.
        """
        for (used, _differing), each in self._chosen.inventories.items():
            if used == name:
                return each.source
        return None

    def _lease_watcher(self, source: LeaseSourceConfig) -> LeaseWatcher:
        """
        Make a source of leases.
        """
        # Who reads none need not have it in memory.
        from mdproxy.lookup.kinds import Naming
        from mdproxy.lookup.watchers import LeaseWatcher

        return LeaseWatcher(
            self._reactor,
            self._reactor,
            self.books.leases,
            source.name,
            source.kind,
            source.path,
            Naming(source.network, dict(source.subnets), self._networks),
            self.epoch,
        )


def make_sources(config: Config, reactor: Any) -> Sources:
    """
    Make the books and whatever fills them.
    """
    books = Books(PortBook(), LeaseBook(), NeighbourBook())
    networks = {
        listener.device: listener.network
        for listener in config.listeners
        if isinstance(listener, ListenerConfig) and listener.device is not None
    }
    neighbours = NeighbourSource(reactor, reactor, books.neighbours)
    sources = Sources(books, neighbours, networks, reactor)
    sources.choose(config)
    return sources


def _check(choice: _Choice, former: _Choice) -> None:
    """
    See whether every added source could read what it is to read.

    @raise ConfigError: If one knows nothing: whom it should know would be refused.
    """
    faults = [
        f"{source.name}: {source.describe()['problem']}"
        for source in choice.besides(former)
        if source.state is SourceState.FAILED
    ]
    faults += [
        f"{source.name}: knows no port: {source.describe()['problem']}"
        for key, inventory in choice.inventories.items()
        if key not in former.inventories
        and (source := inventory.source).state in (SourceState.LIVE, SourceState.STALE)
        and source.describe()["problem"] is not None
        and not source.describe()["ports"]
    ]
    if faults:
        raise ConfigError(faults)


def _disown(choice: _Choice, others: _Choice) -> None:
    """
    Stop what is not among others, and forget what it said.
    """
    for source in choice.besides(others):
        if source.parent is not None:
            source.parent.disownServiceParent()
    for config, watcher in choice.leases.items():
        if config not in others.leases:
            watcher.withdraw()
