# -*- test-case-name: tests.test_inventory_static -*-
"""
The inventory in a file that the operator writes.

It looks like this::

    ports:
    - network: br-tenant1
      mac: fa:16:3e:00:00:01
      addresses: [10.0.0.5, "2001:db8::5"]
      instance: 32d0524b-314d-4594-b3a3-607e3f2354f8
      project: 28a490a0f8b28800181ce490a74df8d2

Every value is taken as text, as it is written: YAML would read the MAC
C{12:34:56:12:34:56} as a number in base 60, and the project C{1234e567} as another.
The file is best replaced by renaming, for half of it may be good YAML too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from attrs import define, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from mdproxy.condition import Condition
from mdproxy.files import (
    DirectoryWatch,
    Signature,
    Unreadable,
    read_file,
    signature_of,
)
from mdproxy.interfaces import IInventory, SourceState
from mdproxy.inventory.page import Entries
from mdproxy.inventory.refresh import Refreshes
from mdproxy.model import Malformed, Port, canonical_address

_MAX_SIZE = 4 << 20
#: A list of mappings with lists in them is three deep, in a mapping.
_MAX_DEPTH = 8
_REQUIRED = frozenset({"network", "mac", "instance", "project"})
_KEYS = _REQUIRED | {"addresses"}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: What a text may stand for: C{None}, text, a list or a mapping of such.
Value = Any


@define
class _Reader:
    """
    Builds values from YAML's events, and no more of YAML than the file needs.

    Aliases are refused because nested ones grow without bounds; tags because they make
    other things than text.

    @ivar _events: What is still to be read.
    """

    _events: Iterator[yaml.Event]

    def document(self) -> Value:
        """
        Read the only document.

        @return: C{None} for an empty file.
        """
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            raise Malformed("there is more than one document in it")
        return value

    def _value(self, event: yaml.Event, depth: int) -> Value:
        """
        Read a value whose first event was taken.
        """
        _check(event, depth)
        if isinstance(event, yaml.ScalarEvent):
            is_null = event.implicit[0] and event.value in _NULLS
            return None if is_null else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return [
                self._value(item, depth + 1)
                for item in self._until(yaml.SequenceEndEvent)
            ]
        mapping: dict[str, Value] = {}
        for item in self._until(yaml.MappingEndEvent):
            key = self._value(item, depth + 1)
            if not isinstance(key, str) or key in mapping:
                raise Malformed(
                    f"{_line(item)}: the key {key!r} is no text, or not new"
                )
            mapping[key] = self._value(next(self._events), depth + 1)
        return mapping

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        """
        Take events up to the end of a list or mapping.
        """
        for event in self._events:
            if isinstance(event, end):
                return
            yield event


def _check(event: yaml.Event, depth: int) -> None:
    """
    Refuse what no inventory needs.
    """
    if depth > _MAX_DEPTH:
        raise Malformed(f"{_line(event)}: nested too deeply")
    if getattr(event, "anchor", None) is not None:
        raise Malformed(f"{_line(event)}: anchors and aliases are not allowed")
    if getattr(event, "tag", None) is not None:
        raise Malformed(f"{_line(event)}: tags are not allowed")


def _line(event: yaml.Event) -> str:
    """
    Say where an event stands.
    """
    mark = event.start_mark
    return "somewhere" if mark is None else f"line {mark.line + 1}"


@frozen
class Listing:
    """
    What the file says.

    @ivar ports: The ports, in order.
    @ivar problems: What is wrong with the entries that were refused.
    """

    ports: tuple[Port, ...]
    problems: tuple[str, ...]


def read_listing(data: bytes, inventory: str) -> Listing:
    """
    Read the ports in a file.

    @param data: All of the file.
    @param inventory: The name of the inventory, for the ports.

    @raise Malformed: If it is no such file at all.
    """
    try:
        content = _Reader(yaml.parse(data, Loader=_Loader)).document()
    except yaml.YAMLError as error:
        raise Malformed(_first_line(error)) from None
    if not isinstance(content, dict) or "ports" not in content:
        raise Malformed("it has no list 'ports'")
    entries = content["ports"]
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise Malformed("'ports' is no list")
    ports: list[Port] = []
    problems: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            ports.append(_port(entry, inventory))
        except Malformed as error:
            problems.append(f"port {number}: {error}")
    return Listing(tuple(ports), tuple(problems))


def _port(entry: Value, inventory: str) -> Port:
    """
    Read one entry.
    """
    if not isinstance(entry, dict):
        raise Malformed("it is no mapping")
    if strange := sorted(entry.keys() - _KEYS):
        raise Malformed(f"there is no key {strange[0][:64]!r}")
    for key in sorted(_REQUIRED):
        if not isinstance(entry.get(key), str) or entry[key] == "":
            raise Malformed(f"{key!r} is missing or no text")
    return Port(
        entry["network"],
        entry["mac"],
        entry["instance"],
        entry["project"],
        _addresses(entry.get("addresses")),
        inventory=inventory,
    )


def _addresses(listed: Value) -> frozenset[str] | None:
    """
    Read the list of addresses.

    @return: C{None} where there is none: nobody knows the port's addresses.
    """
    if listed is None:
        return None
    if not isinstance(listed, list):
        raise Malformed("'addresses' is no list")
    for address in listed:
        if not isinstance(address, str):
            raise Malformed("an address is no text")
    return frozenset(canonical_address(address) for address in listed)


def _first_line(error: yaml.YAMLError) -> str:
    """
    Shorten what the YAML parser says, which quotes the file.
    """
    mark = getattr(error, "problem_mark", None)
    where = "" if mark is None else f"line {mark.line + 1}: "
    what = getattr(error, "problem", None) or getattr(error, "reason", None)
    return f"{where}{what or 'it is no YAML'}"


@implementer(IInventory)
class StaticInventory(Service):
    """
    The ports in a YAML file, read anew whenever the file changes.

    @ivar condition: How the source is.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        clock: IReactorTime,
        book: Entries,
        path: str,
        name: str = "static",
    ) -> None:
        """
        Prepare an inventory; it reads nothing before it is started.

        @param reactor: Watches the file's directory.
        @param clock: Schedules; usually the reactor too.
        @param book: Where the ports are entered.
        @param path: The file.
        @param name: The word for this inventory.
        """
        self.name = name
        self.condition = Condition(name, self.log)
        self._clock = clock
        self._book = book
        self._path = os.path.abspath(path)
        self._signature: Signature | None = None
        self._read: float | None = None
        self._ports = 0
        self._refused = 0
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
        Begin to watch, and read the file before this returns.
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
        Provide L{IInventory.knows<mdproxy.interfaces.IInventory.knows>}: the file is
        for all networks.
        """
        return True

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
        return {
            "name": self.name,
            "kind": "static",
            "state": self.state.value,
            "problem": self.condition.problem,
            "path": self._path,
            "ports": self._ports,
            "refused_ports": self._refused,
            "polling": self._watch.polling,
            "last_read_age": None if age is None else round(age, 3),
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
        self._read = self._clock.seconds()
        self._ports = len(listing.ports)
        self._refused = len(listing.problems)
        problem = None
        if listing.problems:
            problem = f"{self._path}: {'; '.join(listing.problems[:3])}"
        self.condition.become(SourceState.LIVE, problem)
        self._book.enter(self.condition.name, self._path, listing.ports)

    def _fail(self, problem: str) -> None:
        """
        Say what is wrong.
        """
        is_known = self._read is not None
        state = SourceState.STALE if is_known else SourceState.FAILED
        self.condition.become(state, problem)
