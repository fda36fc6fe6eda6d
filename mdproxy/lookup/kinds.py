# -*- test-case-name: tests.test_lookup_kinds -*-
"""
The kinds of lease stores: which files one is made of, how its server writes them, and
which networks its leases are of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

from attrs import field, frozen

from mdproxy.lookup.formats import Reader


@frozen
class Kind:
    """
    How a kind of DHCP server keeps its leases.

    @ivar name: The word for it in the configuration.
    @ivar reader: Makes a reader of one file.
    @ivar parts: The files that a store is made of, in the order in which they are to be
        read, by what is put behind its path; of each group the first that is there.
    @ivar grows: Whether its files are only added to, or replaced as a whole; the others
        are written anew in place.
    @ivar is_indivisible: Whether a file that is not whole says nothing at all.
    """

    name: str
    reader: Callable[[], Reader]
    parts: tuple[tuple[str, ...], ...] = (("",),)
    grows: bool = False
    is_indivisible: bool = False

    def store_of(self, path: str) -> str:
        """
        Tell of which store a file would be a part.

        @return: The store's path.
        """
        for group in self.parts:
            for suffix in group:
                if suffix and path.endswith(suffix):
                    return path.removesuffix(suffix)
        return path


# A host has one kind of server, and the others' readers need not be in memory.


def _dnsmasq() -> Reader:
    """
    Make a reader of dnsmasq's files.
    """
    from mdproxy.lookup.formats.dnsmasq import DnsmasqReader

    return DnsmasqReader()


def _dhcpd() -> Reader:
    """
    Make a reader of dhcpd's files.
    """
    from mdproxy.lookup.formats.dhcpd import DhcpdReader

    return DhcpdReader()


def _kea() -> Reader:
    """
    Make a reader of Kea's files.
    """
    from mdproxy.lookup.formats.kea import KeaReader

    return KeaReader()


def _libvirt() -> Reader:
    """
    Make a reader of libvirt's files.
    """
    from mdproxy.lookup.formats.libvirt import LibvirtReader

    return LibvirtReader()


#: While Kea cleans up (LFC) what it had is in C{.1} and C{.2}, and afterwards all of it
#: in C{.2}, for a moment called C{.completed} (Kea,
#: src/lib/dhcpsrv/memfile_lease_mgr.cc, C{loadLeasesFromFiles}).
_KEA: Final = ((".completed", ".2"), (".1",), ("",))

#: Every kind, by its name.
KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("dnsmasq", _dnsmasq),
        Kind("dhcpd", _dhcpd, grows=True),
        Kind("kea", _kea, _KEA, grows=True),
        Kind("libvirt", _libvirt, is_indivisible=True),
    )
}


def _by_text(subnets: Mapping[int, str]) -> Mapping[str, str]:
    """
    Have subnets by their ids as they are written.
    """
    return {str(number): network for number, network in subnets.items()}


@frozen
class Naming:
    """
    How the networks of a source's leases are found.

    @ivar network: All leases are of this one; C{None}: the file's path tells.
    @ivar subnets: The networks of the server's subnets, by their ids; leases of others
        are of no network (Kea).
    @ivar bridges: The networks of bridges; another bridge's is called like the bridge
        (libvirt, whose files are called after bridges).
    """

    network: str | None = None
    subnets: Mapping[str, str] = field(factory=dict, converter=_by_text)
    bridges: Mapping[str, str] = field(factory=dict)

    def network_of(self, kind: Kind, path: str) -> str | None:
        """
        Find the network of all leases of a store.

        Neutron keeps a directory for each network, called by its id
        (neutron/agent/linux/dhcp.py, C{DhcpLocalProcess.get_conf_file_name}).

        @param path: The path of the store.

        @return: C{None} where each lease's subnet tells.
        """
        if self.network is not None:
            return self.network
        if kind.name == "kea":
            return None
        if kind.name == "libvirt":
            bridge = os.path.basename(path).removesuffix(".status")
            return self.bridges.get(bridge, bridge)
        return os.path.basename(os.path.dirname(path))

    def networks(self, kind: Kind, path: str) -> frozenset[str]:
        """
        List the networks that a store's leases may be of.
        """
        network = self.network_of(kind, path)
        return frozenset(self.subnets.values() if network is None else {network})
