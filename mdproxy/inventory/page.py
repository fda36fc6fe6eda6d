# -*- test-case-name: tests.test_inventory_page -*-
"""
What an inventory writes, before the lookup may read it and afterwards.

At a reload of the configuration a new inventory reads everything while the one whose
place it takes is still asked; then the two change places at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol as Shape

from attrs import define, field

from mdproxy.lookup.books import NetworkBook, PortBook
from mdproxy.model import Port


class Entries(Shape):
    """
    Where an inventory enters ports: a page, or the book itself.
    """

    def enter(self, inventory: str, record: str, ports: Iterable[Port]) -> None:
        """
        Take what one record of an inventory says now.

        @param inventory: The inventory's name.
        @param record: Which of its records; unlike that of any other inventory that
            has, or had, this name.
        @param ports: All ports that this record knows; none forgets the record.
        """


class Routers(Shape):
    """
    Where an inventory enters the networks of routers' ports: a page, or the book.
    """

    def enter(self, inventory: str, port_id: str, network: str | None) -> None:
        """
        Take what an inventory says of a router's port.

        @param network: Its network; C{None}: there is no such port any more.
        """

    def name_of(self, link: str) -> str:
        """
        Tell what inventories call the network of a link; its own name where nobody
        knows.
        """


@define(eq=False)
class RouterPage:
    """
    All that one inventory says of routers' ports, which is in the book or is not.

    @ivar _book: The book.
    @ivar _records: The network of each port, by the inventory's name and the port's id.
    @ivar _shown: Whether it is in the book.
    """

    _book: NetworkBook
    _records: dict[tuple[str, str], str] = field(factory=dict, init=False)
    _shown: bool = field(default=False, init=False)

    def enter(self, inventory: str, port_id: str, network: str | None) -> None:
        """
        Provide L{Routers.enter}.
        """
        if network is None:
            self._records.pop((inventory, port_id), None)
        else:
            self._records[inventory, port_id] = network
        if self._shown:
            self._book.enter(inventory, port_id, network)

    def name_of(self, link: str) -> str:
        """
        Provide L{Routers.name_of}.
        """
        return self._book.name_of(link)

    def show(self) -> None:
        """
        Have everything in the book, now and from now on.
        """
        self._shown = True
        for (inventory, port_id), network in self._records.items():
            self._book.enter(inventory, port_id, network)

    def hide(self) -> None:
        """
        Take everything out of the book, until it is shown again.
        """
        self._shown = False
        for inventory, port_id in self._records:
            self._book.enter(inventory, port_id, None)


@define(eq=False)
class Page:
    """
    All that one inventory says, which is in the book or is not.

    @ivar _book: The book.
    @ivar _records: What each record says now, by the inventory's name and the record's.
    @ivar _shown: Whether it is in the book.
    """

    _book: PortBook
    _records: dict[tuple[str, str], tuple[Port, ...]] = field(factory=dict, init=False)
    _shown: bool = field(default=False, init=False)

    def enter(self, inventory: str, record: str, ports: Iterable[Port]) -> None:
        """
        Provide L{Entries.enter}.
        """
        listed = tuple(ports)
        if listed:
            self._records[inventory, record] = listed
        else:
            self._records.pop((inventory, record), None)
        if self._shown:
            self._book.enter(inventory, record, listed)

    def show(self) -> None:
        """
        Have everything in the book, now and from now on.
        """
        self._shown = True
        for (inventory, record), ports in self._records.items():
            self._book.enter(inventory, record, ports)

    def hide(self) -> None:
        """
        Take everything out of the book, until it is shown again.
        """
        self._shown = False
        for inventory, record in self._records:
            self._book.enter(inventory, record, ())
