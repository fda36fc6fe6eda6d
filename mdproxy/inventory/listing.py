# -*- test-case-name: tests.test_inventory_listing -*-
"""
The YAML of the static inventory, to values.

It looks like this::

    ports:
    - network: br-tenant1
      mac: fa:16:3e:00:00:01
      addresses: [10.0.0.5, "2001:db8::5"]
      instance: 32d0524b-314d-4594-b3a3-607e3f2354f8
      project: 28a490a0f8b28800181ce490a74df8d2
    projects:
      7b1c7a2e-5d0f-4a3e-9a57-3f6f0c1f9d11: 28a490a0f8b28800181ce490a74df8d2

The second part is for instances that libvirt knows and Nova did not make: whose they
are, by the id of the domain.  Either part may be missing.

Every value is taken as text, as it is written: YAML would read the MAC
C{12:34:56:12:34:56} as a number in base 60, and the project C{1234e567} as another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from attrs import define, field, frozen

from mdproxy.model import Malformed, Port, canonical_address, checked_id

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
    @ivar projects: The projects of instances that Nova did not make, by their id.
    """

    ports: tuple[Port, ...]
    problems: tuple[str, ...]
    projects: Mapping[str, str] = field(factory=dict)


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
    if not isinstance(content, dict) or not content.keys() & {"ports", "projects"}:
        raise Malformed("it has no list 'ports'")
    ports: list[Port] = []
    projects: dict[str, str] = {}
    problems: list[str] = []
    for number, entry in enumerate(_part(content, "ports", list), 1):
        try:
            ports.append(_port(entry, inventory))
        except Malformed as error:
            problems.append(f"port {number}: {error}")
    for instance, project in _part(content, "projects", dict).items():
        try:
            projects[checked_id(instance)] = _project(project)
        except Malformed as error:
            problems.append(f"project of {instance[:64]!r}: {error}")
    return Listing(tuple(ports), tuple(problems), projects)


def _part(content: Mapping[str, Value], name: str, kind: type) -> Any:
    """
    Find a part of the file, which may be missing or empty.
    """
    part = content.get(name)
    if part is None:
        return kind()
    if not isinstance(part, kind):
        raise Malformed(f"{name!r} is no {'list' if kind is list else 'mapping'}")
    return part


def _project(value: Value) -> str:
    """
    Read the id of a project.
    """
    if not isinstance(value, str):
        raise Malformed("it is no text")
    return checked_id(value)


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
