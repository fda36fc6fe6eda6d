# -*- test-case-name: tests.test_inventory_libvirt -*-
"""
The inventory that libvirt keeps of the running domains, in /run/libvirt/qemu.

A port belongs to the network whose listener is on the bridge that it is plugged into;
of all other networks libvirt knows nothing.  Only the files of running domains count:
those in /etc/libvirt/qemu are not told of interfaces that are plugged in later.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IReactorFDSet, IReactorTime

from mdproxy.files import Missing, Signature, Unreadable, read_file, signature_of
from mdproxy.interfaces import SourceState
from mdproxy.inventory.domains import (
    Domain,
    Ports,
    Surroundings,
    ports_of,
    read_bridge,
    read_domain,
)
from mdproxy.inventory.page import Entries
from mdproxy.inventory.watched import WatchedInventory
from mdproxy.model import Malformed
from mdproxy.slices import Slices

#: Where libvirt keeps the state of running domains.
LIVE = "/run/libvirt/qemu"
#: Where it keeps that of its networks, from there.
_NETWORKS = "../network"
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


class LibvirtInventory(WatchedInventory):
    """
    The ports of the running domains.

    Nova's metadata tell the project of an instance, and its addresses.  A domain that
    has none is an instance too, by its own id, if anybody says whose it is; nobody
    knows its addresses, so that a lease must.
    """

    kind = "libvirt"

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        book: Entries,
        networks: Mapping[str, str],
        path: str = LIVE,
        name: str = "libvirt",
        project_of: Callable[[str], str | None] = lambda _instance: None,
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
        @param project_of: Tells whose an instance is that Nova did not make; when it
            says something else, the same.
        """
        super().__init__(reactor, clock, book, name)
        self._networks = networks
        self._around = Surroundings(networks, self._bridge_of, project_of)
        self._path = os.path.abspath(path)
        self._files: dict[str, _File] = {}
        self._problem: str | None = None
        self._slices = Slices(clock)

    def stopService(self) -> None:
        """
        Let go of the watch and the timers; the book keeps what it has.
        """
        super().stopService()
        self._slices.stop()

    def knows(self, network: str) -> bool:
        """
        Provide L{IInventory.knows<mdproxy.interfaces.IInventory.knows>}: only networks
        whose listener is on a device, which may be a domain's bridge; and none while an
        interface may be anywhere.
        """
        if any(file.ports.lost for file in self._files.values()):
            return False
        return network in self._networks.values()

    def _figures(self) -> Mapping[str, Any]:
        """
        Provide L{WatchedInventory._figures}.
        """
        files = self._files.values()
        return {
            "path": self._path,
            "domains": len(files),
            "domains_of_nova": sum(file.domain.is_nova for file in files),
            "ports": sum(len(file.ports.ports) for file in files),
            "interfaces_elsewhere": sum(file.ports.strangers for file in files),
            "interfaces_anywhere": sum(file.ports.lost for file in files),
            "interfaces_without_project": sum(file.ports.unowned for file in files),
        }

    def _directories(self) -> Iterable[str]:
        """
        Name the domains' directory.
        """
        return [self._path]

    def _changed(self, paths: frozenset[str] | None) -> None:
        """
        Read the files that were touched, or look at all.
        """
        if paths is None:
            self._look()
        else:
            # When libvirtd starts again it writes the files of all domains anew.
            self._slices.do(self._load_each(paths))

    def _load_each(self, paths: Iterable[str]) -> Iterator[None]:
        """
        Read files, one at each step.
        """
        for name in map(os.path.basename, paths):
            if _is_domain(name):
                self._alone(self._load, name)
                yield
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
        self._read_at = self._clock.seconds()
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
        file.ports = ports_of(file.domain, self._around, inventory)
        self._book.enter(inventory, self._record(name), file.ports.ports)

    def _bridge_of(self, network: str) -> str | None:
        """
        Tell the bridge of one of libvirt's networks.

        Asked only for an interface whose file names no bridge; libvirt's own do (seen
        with version 9.0), so it is not worth watching another directory.

        @param network: Its name.
        """
        if "/" in network:
            return None
        path = os.path.join(self._path, _NETWORKS, f"{network}.xml")
        try:
            data, _signature = read_file(path, _MAX_SIZE)
            return read_bridge(data)
        except (Unreadable, Malformed):
            return None

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
            self._fail("; ".join(problems[:3]))
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
