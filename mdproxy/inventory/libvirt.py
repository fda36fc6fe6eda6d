# -*- test-case-name: tests.test_inventory_libvirt -*-
"""
The inventory that libvirt keeps of the running domains, in /run/libvirt/qemu.

A port belongs to the network whose listener is on the bridge that it is plugged into;
of all other networks libvirt knows nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
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
from mdproxy.interfaces import IInventory, SourceState
from mdproxy.inventory.domains import Domain, Ports, ports_of, read_domain
from mdproxy.inventory.page import Entries
from mdproxy.inventory.refresh import Refreshes
from mdproxy.model import Malformed

#: Where libvirt keeps the state of running domains.
LIVE = "/run/libvirt/qemu"
_MAX_SIZE = 1 << 20


@define
class _File:
    """
    The file of one domain.

    @ivar domain: What it said when it could last be read.
    @ivar signature: What it looked like when it was read.
    @ivar ports: The ports that it gave.
    @ivar problem: What is wrong with it.
    """

    domain: Domain = field(factory=Domain)
    signature: Signature | None = None
    ports: Ports = field(factory=Ports)
    problem: str | None = None


@implementer(IInventory)
class LibvirtInventory(Service):
    """
    The ports of the running domains that Nova made.

    @ivar condition: How the source is.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        book: Entries,
        networks: Mapping[str, str],
        path: str = LIVE,
        name: str = "libvirt",
    ) -> None:
        """
        Prepare an inventory; it reads nothing before it is started.

        @param reactor: Watches the directory.
        @param clock: Schedules; usually the reactor too.
        @param book: Where the ports are entered.
        @param networks: The networks by the device of their listener; when it changes,
            the next look at the files takes it into account.
        @param path: The directory.
        @param name: The word for this inventory.
        """
        self.name = name
        self.condition = Condition(name, self.log)
        self._clock = clock
        self._book = book
        self._networks = networks
        self._path = os.path.abspath(path)
        self._files: dict[str, _File] = {}
        self._problem: str | None = None
        self._read: float | None = None
        self._refreshes = Refreshes(clock, self._look)
        self._watch = DirectoryWatch(
            reactor, clock, lambda: [self._path], self._changed
        )

    @property
    def state(self) -> SourceState:
        """
        Provide L{ISource.state<mdproxy.interfaces.ISource>}.
        """
        return self.condition.state

    def startService(self) -> None:
        """
        Begin to watch, and read all files before this returns.
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
        Provide L{IInventory.knows<mdproxy.interfaces.IInventory.knows>}: only networks
        whose listener is on a device, which may be a domain's bridge.
        """
        return network in self._networks.values()

    def refresh(self, network: str, mac: str | None) -> Deferred[None]:
        """
        Provide L{IInventory.refresh<mdproxy.interfaces.IInventory.refresh>}.
        """
        return self._refreshes.refresh(network)

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{ISource.describe<mdproxy.interfaces.ISource.describe>}.
        """
        age = None if self._read is None else self._clock.seconds() - self._read
        files = self._files.values()
        return {
            "name": self.name,
            "kind": "libvirt",
            "state": self.state.value,
            "problem": self.condition.problem,
            "path": self._path,
            "domains": len(files),
            "domains_of_nova": sum(file.domain.is_nova for file in files),
            "ports": sum(len(file.ports.ports) for file in files),
            "interfaces_elsewhere": sum(file.ports.strangers for file in files),
            "polling": self._watch.polling,
            "last_read_age": None if age is None else round(age, 3),
        }

    def _changed(self, paths: frozenset[str] | None) -> None:
        """
        Read the files that were touched, or look at all.
        """
        if paths is None:
            self._look()
            return
        for name in map(os.path.basename, paths):
            if _is_domain(name):
                self._alone(self._load, name)
        self._judge()

    def _look(self) -> None:
        """
        Read the files that are not what they were.
        """
        try:
            names = {name for name in os.listdir(self._path) if _is_domain(name)}
        except OSError as error:
            self._problem = f"{self._path} can't be read: {error.strerror}"
            self._judge()
            return
        self._problem = None
        self._read = self._clock.seconds()
        for name in names | self._files.keys():
            self._alone(self._renew, name)
        self._judge()

    def _alone(self, step: Callable[[str], None], name: str) -> None:
        """
        Do something with a file; whatever goes wrong with it is no other file's affair.
        """
        try:
            step(name)
        except Exception as error:
            path = os.path.join(self._path, name)
            file = self._files.setdefault(name, _File())
            # Without a signature the next look takes it up again.
            file.signature = None
            problem = f"{path} can't be understood: {type(error).__name__}"
            if file.problem != problem:
                file.problem = problem
                self.log.failure("{path} can't be understood", path=path)

    def _renew(self, name: str) -> None:
        """
        Read a file if it is not what it was.
        """
        file = self._files.get(name)
        signature = signature_of(os.path.join(self._path, name))
        if file is None or signature is None or signature != file.signature:
            self._load(name)
        else:
            self._enter(name, file)

    def _load(self, name: str) -> None:
        """
        Read a file; if that can't be done, what it said before counts.
        """
        path = os.path.join(self._path, name)
        file = self._files.setdefault(name, _File())
        file.signature = None
        problem = None
        try:
            data, file.signature = read_file(path, _MAX_SIZE)
            file.domain = read_domain(data)
        except Missing:
            self._withdraw(name)
            return
        except Unreadable as error:
            problem = str(error)
        except Malformed as error:
            problem = f"{path}: {error}"
        self._enter(name, file)
        file.problem = problem

    def _withdraw(self, name: str) -> None:
        """
        Forget a domain that has ended, unless its whole directory has gone.
        """
        if os.path.isdir(self._path):
            del self._files[name]
            self._book.enter(self.condition.name, self._record(name), ())

    def _enter(self, name: str, file: _File) -> None:
        """
        Enter what is known of a domain.
        """
        inventory = self.condition.name
        file.ports = ports_of(file.domain, self._networks, inventory)
        self._book.enter(inventory, self._record(name), file.ports.ports)

    def _record(self, name: str) -> str:
        """
        Name a domain's part of the book: another directory has other domains.
        """
        return os.path.join(self._path, name)

    def _judge(self) -> None:
        """
        Say how the source is.
        """
        problems = [self._problem] if self._problem else []
        problems += [file.problem for file in self._files.values() if file.problem]
        if problems:
            is_known = self._read is not None
            state = SourceState.STALE if is_known else SourceState.FAILED
            self.condition.become(state, "; ".join(problems[:3]))
            return
        refused = [
            f"{os.path.join(self._path, name)}: {file.ports.problem}"
            for name, file in sorted(self._files.items())
            if file.ports.problem
        ]
        self.condition.become(SourceState.LIVE, "; ".join(refused[:3]) or None)


def _is_domain(name: str) -> bool:
    """
    Tell the domains' files from what else lies there; C{.xml.new} is half a file.
    """
    return name.endswith(".xml") and not name.startswith(".")
