# -*- test-case-name: tests.test_inventories -*-
"""
The inventories of a configuration: what tells one from another, and how each is made.

What only some hosts use is imported when it is made, so that others don't have it in
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from hashlib import sha256
from random import SystemRandom
from typing import Any

from attrs import field, frozen

from mdproxy.config import Config, ConfigError
from mdproxy.interfaces import IInventory
from mdproxy.inventory.page import Page, RouterPage
from mdproxy.lookup import Books
from mdproxy.tls import TlsMisconfigured

#: An inventory's name, and all that another one of this name would differ in.
Key = tuple[str, Hashable]


@frozen(eq=False)
class Inventory:
    """
    An inventory, and what it has written.

    @ivar source: The inventory.
    @ivar page: Its ports.
    @ivar routers: What it says of routers' ports.
    """

    source: IInventory
    page: Page
    routers: RouterPage

    def show(self) -> None:
        """
        Have in the books what it says.
        """
        self.page.show()
        self.routers.show()

    def hide(self) -> None:
        """
        Take out of the books what it says.
        """
        self.page.hide()
        self.routers.hide()


def key_of(name: str, config: Config) -> Key:
    """
    Tell one inventory from another: what has the same key need not be made anew.

    @param name: Its name.
    @param config: The configuration that has it.
    """
    if name == "ovn":
        return name, config.ovn
    if name == "neutron":
        cafile = "" if config.neutron is None else config.neutron.cafile
        return name, (config.neutron, _digest(cafile))
    return name, config.static_path if name == "static" else config.libvirt_path


def _digest(path: str) -> bytes | None:
    """
    Tell one content of a file from another.
    """
    try:
        with open(path, "rb") as stream:
            return sha256(stream.read()).digest()
    except OSError:
        return None


@frozen(eq=False)
class Maker:
    """
    Makes inventories.

    @ivar _books: Where they enter what they know.
    @ivar _networks: The networks by the device of their listener.
    @ivar _reactor: Watches files, connects, and the clock.
    @ivar _project_of: Tells whose an instance is that Nova did not make.
    @ivar _projects_changed: Called when that may say something else.
    """

    _books: Books
    _networks: Mapping[str, str]
    _reactor: Any
    _project_of: Callable[[str], str | None]
    _projects_changed: Callable[[], object]
    _kinds: Mapping[str, Callable[[Config, Page, RouterPage], IInventory]] = field(
        init=False
    )

    @_kinds.default
    def _(self) -> Mapping[str, Callable[[Config, Page, RouterPage], IInventory]]:
        """
        Name what there is.
        """
        return {
            "static": self._static,
            "libvirt": self._libvirt,
            "ovn": self._ovn,
            "neutron": self._neutron,
        }

    def make(self, name: str, config: Config) -> Inventory:
        """
        Make an inventory; it does nothing before it is started.

        @param name: Its name.
        @param config: Tells all about it.

        @raise ConfigError: If it can't be made.
        """
        page, routers = Page(self._books.ports), RouterPage(self._books.networks)
        try:
            source = self._kinds[name](config, page, routers)
        except TlsMisconfigured as error:
            raise ConfigError([f"{name}: {error}"]) from None
        return Inventory(source, page, routers)

    def _static(self, config: Config, page: Page, routers: RouterPage) -> IInventory:
        """
        Make the one in a file of the operator's.
        """
        from mdproxy.inventory.static import StaticInventory

        changed = self._projects_changed
        return StaticInventory(
            self._reactor,
            self._reactor,
            page,
            config.static_path,
            projects_changed=changed,
        )

    def _libvirt(self, config: Config, page: Page, routers: RouterPage) -> IInventory:
        """
        Make the one of libvirt's domains.
        """
        from mdproxy.inventory.libvirt import LibvirtInventory

        return LibvirtInventory(
            self._reactor,
            self._reactor,
            page,
            self._networks,
            config.libvirt_path,
            project_of=self._project_of,
        )

    def _ovn(self, config: Config, page: Page, routers: RouterPage) -> IInventory:
        """
        Make the one in OVN's database.
        """
        from mdproxy.inventory.ovn import OvnInventory, OvnPlace
        from mdproxy.ovsdb_client import Connector

        ovn = config.ovn
        assert ovn is not None
        place = OvnPlace(ovn.endpoints, ovn.chassis, ovn.ca, ovn.certificate, ovn.key)
        connector = Connector(self._reactor, ovn.ca, ovn.certificate, ovn.key)
        return OvnInventory(
            self._reactor,
            page,
            routers,
            place,
            connector.connect,
            ovn.host,
            SystemRandom().random,
        )

    def _neutron(self, config: Config, page: Page, routers: RouterPage) -> IInventory:
        """
        Make the one that is Neutron's API.
        """
        from mdproxy.inventory.neutron import neutron_inventory

        neutron = config.neutron
        assert neutron is not None
        return neutron_inventory(self._reactor, page, routers, neutron, SystemRandom())
