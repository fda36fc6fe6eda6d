# -*- test-case-name: tests.test_inventory_neutron_questions -*-
"""
What Neutron is asked, and which instances' ports its answers are.

Never for all ports: for those with some MACs on a network, or those of this host; and
for subports, the trunks of their projects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from attrs import define, field, frozen

from mdproxy.inventory.api import Garbled
from mdproxy.inventory.belief import Seat
from mdproxy.inventory.neutron_ports import (
    FIELDS,
    ROUTER_FIELDS,
    TRUNK_FIELDS,
    NeutronPort,
    ports_of,
    read_marker,
    read_ports,
    read_router_ports,
    read_trunks,
)
from mdproxy.inventory.session import Query, Session
from mdproxy.model import Port

_PORTS: Final = "/v2.0/ports"
_TRUNKS: Final = "/v2.0/trunks"
#: How many ports of this host are asked for at once, and how many pages there may be.
_PAGE: Final = 250
_PAGES: Final = 40
_UNSEEN: Final = (
    "our account may not see where ports are plugged in (binding:host_id); it needs "
    "the role admin or service"
)

_Read = TypeVar("_Read")


@frozen
class OnSeat:
    """
    What is on a seat: a network and a MAC.

    @ivar ports: The ports of instances.
    @ivar is_here: Whether all of them are plugged in on this host.
    """

    ports: tuple[Port, ...] = ()
    is_here: bool = False


#: What is on a seat where nobody is.
NOBODY: Final = OnSeat()


@frozen
class Found:
    """
    What Neutron answered.

    @ivar seats: The seats that have an instance's port.
    @ivar problems: What is wrong with ports that were left out.
    """

    seats: Mapping[Seat, OnSeat]
    problems: Sequence[str]


@define(eq=False)
class NeutronQuestions:
    """
    Asks Neutron for ports.

    @ivar _session: Asks.
    @ivar _host: What Neutron calls this host.
    @ivar _inventory: The name of the inventory, for the ports.
    @ivar wide_pairs: How many address pairs of the latest answer are whole networks.
    """

    _session: Session
    _host: str
    _inventory: str
    wide_pairs: int = field(default=0, init=False)

    def room_for_macs(self) -> int:
        """
        Tell how many MACs fit into one question.
        """
        fixed = [("network_id", "-" * 36), *_fields(FIELDS)]
        each = [("mac_address", "00:00:00:00:00:00")]
        return self._session.room(_PORTS, fixed, each)

    async def ports_with(self, network: str, macs: Sequence[str]) -> Found:
        """
        Look for the ports with some MACs on a network.

        @raise mdproxy.inventory.api.Trouble: If there is no answer.
        """
        listed = [("mac_address", mac) for mac in macs]
        found = await self._ports([("network_id", network), *listed])
        # Nobody else was asked for, whatever the answer says.
        asked = {(network, mac) for mac in macs}
        return await self._found(found, lambda port: (port.network, port.mac) in asked)

    async def ports_here(self, network: str | None) -> Found:
        """
        Read the ports of this host.

        @param network: Those of this network alone; C{None}: all.

        @raise mdproxy.inventory.api.Trouble: If there is no answer.
        """
        query = [("binding:host_id", self._host)]
        if network is not None:
            query.append(("network_id", network))
        order = [("sort_key", "id"), ("sort_dir", "asc"), ("limit", str(_PAGE))]
        found = await self._ports([*query, *order])
        return await self._found(found, lambda port: network in (None, port.network))

    async def networks_of(self, router: str) -> dict[str, str]:
        """
        Read which networks a router is on.

        @return: The ids of networks, by those of the router's ports.

        @raise mdproxy.inventory.api.Trouble: If there is no answer.
        """
        query = [("device_id", router), *_fields(ROUTER_FIELDS)]
        pages = await self._all(_PORTS, "ports", query, read_router_ports)
        return {port_id: net for page in pages for port_id, net in page.items()}

    async def _ports(self, filters: Query) -> tuple[list[NeutronPort], list[str]]:
        """
        Read all ports that pass some filters, and what is wrong with others.
        """
        ports: list[NeutronPort] = []
        problems: list[str] = []
        query = [*filters, *_fields(FIELDS)]
        for found, wrong in await self._all(_PORTS, "ports", query, read_ports):
            ports += found
            problems += wrong
        if any(port.is_instance and port.host is None for port in ports):
            problems.append(_UNSEEN)
        return ports, problems

    async def _found(
        self,
        answer: tuple[list[NeutronPort], list[str]],
        is_meant: Callable[[NeutronPort], bool],
    ) -> Found:
        """
        Tell which instances' ports are where.
        """
        ports, problems = answer
        meant = [port for port in ports if is_meant(port)]
        self.wide_pairs = sum(port.wide_pairs for port in meant)
        parents = await self._parents([port for port in meant if port.is_subport])
        made, wrong = ports_of(meant, parents, self._host, self._inventory)
        hosts = {port.port_id: port.host for port in meant}
        hosts |= {port_id: parent.host for port_id, parent in parents.items()}
        seats: dict[Seat, OnSeat] = {}
        for port in made:
            seat = (port.network, port.mac)
            before = seats.get(seat, OnSeat(is_here=True))
            is_here = before.is_here and hosts[port.port_id or ""] == self._host
            seats[seat] = OnSeat((*before.ports, port), is_here)
        return Found(seats, [*problems, *wrong])

    async def _parents(self, subports: Sequence[NeutronPort]) -> dict[str, NeutronPort]:
        """
        Find the ports that carry the trunks of some subports.

        Trunks can't be looked for by their subports, so those of the subports' projects
        are read (row 14).

        @return: The parents, by the ids of their subports.
        """
        projects = sorted({port.project_id for port in subports} - {""})
        parent_ids: dict[str, str] = {}
        for some in self._chunks(_TRUNKS, TRUNK_FIELDS, "project_id", projects):
            for page in await self._all(_TRUNKS, "trunks", some, read_trunks):
                parent_ids |= page
        wanted = {port.port_id: parent_ids.get(port.port_id) for port in subports}
        ids = sorted({parent_id for parent_id in wanted.values() if parent_id})
        parents: dict[str, NeutronPort] = {}
        for some in self._chunks(_PORTS, FIELDS, "id", ids):
            for found, _problems in await self._all(_PORTS, "ports", some, read_ports):
                parents |= {port.port_id: port for port in found}
        return {
            subport: parents[parent_id]
            for subport, parent_id in wanted.items()
            if parent_id in parents
        }

    def _chunks(
        self, path: str, names: Iterable[str], name: str, values: Sequence[str]
    ) -> Iterable[Query]:
        """
        Ask for many values of an attribute in as few questions as they fit into.
        """
        fields = _fields(names)
        longest = max(values, key=len, default="")
        size = self._session.room(path, fields, [(name, longest)])
        for start in range(0, len(values), size):
            yield [*((name, value) for value in values[start : start + size]), *fields]

    async def _all(
        self, path: str, name: str, query: Query, read: Callable[[Any], _Read]
    ) -> list[_Read]:
        """
        Read all pages of an answer.

        @raise mdproxy.inventory.api.Trouble: If one of them can't be had, or there is
            no end of them.
        """
        pages: list[_Read] = []
        marker: str | None = None
        for _ in range(_PAGES):
            behind = [] if marker is None else [("marker", marker)]
            value = await self._session.get(path, [*query, *behind])
            pages.append(read(value))
            before, marker = marker, read_marker(value, name)
            if marker is None:
                return pages
            if marker == before:
                break
        raise Garbled(f"Neutron's list of {name} has no end")


def _fields(names: Iterable[str]) -> list[tuple[str, str]]:
    """
    Ask for some attributes alone.
    """
    return [("fields", name) for name in names]
