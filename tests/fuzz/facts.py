"""
What holds for any bytes of those that tell us facts: lease files, libvirt's files, the
kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mdproxy.inventory.domains import Surroundings, ports_of, read_domain
from mdproxy.lookup.formats import Reader, Record
from mdproxy.lookup.formats.dhcpd import DhcpdReader
from mdproxy.lookup.formats.dnsmasq import DnsmasqReader
from mdproxy.lookup.formats.kea import KeaReader
from mdproxy.lookup.formats.libvirt import LibvirtReader
from mdproxy.lookup.netlink import Garbled, read_messages
from mdproxy.model import Malformed, canonical_address, canonical_mac

#: The readers of lease files.
_READERS: Final[tuple[Callable[[], Reader], ...]] = (
    DhcpdReader,
    DnsmasqReader,
    KeaReader,
    LibvirtReader,
)
#: The networks by the device of their listener.
_NETWORKS: Final = {"br-red": "red", "brq0": "blue"}


def check_leases(data: bytes, place: int) -> None:
    """
    Hold the readers of lease files to what they promise: what they tell is canonical,
    and neither where the bytes are cut nor what was read before makes a difference; but
    of a file that is none, some may be told before that shows.

    @param data: A file.
    @param place: Where it is cut.
    """
    cut = place % (len(data) + 1)
    for make in _READERS:
        reader = make()
        whole = _read(reader, data)
        in_two = _read(make(), data[:cut], data[cut:])
        assert in_two == whole or (in_two[2] and whole[2]), make
        _read(reader, data[:cut])
        assert _read(reader, data) == whole, make
        for record in whole[0]:
            assert canonical_address(record.address) == record.address, record
            assert record.mac is None or canonical_mac(record.mac) == record.mac
            assert record.expires is None or record.expires < 1e15, record


def _read(reader: Reader, *pieces: bytes) -> tuple[list[Record], int, str | None]:
    """
    Read a file.

    @return: The records, how many could not be read, and what is wrong with its end.
    """
    reader.begin()
    records = [record for piece in pieces for record in reader.feed(piece)]
    return records, reader.refused, reader.problem()


def check_domain(data: bytes, _place: int) -> None:
    """
    Hold the reader of libvirt's files to what it promises: a domain or a refusal, and
    ports on the listeners' networks only.

    @param data: A file.
    """
    with suppress(Malformed):
        domain = read_domain(data)
        found = ports_of(domain, Surroundings(_NETWORKS), "libvirt")
        assert domain.is_live or not found.ports, found
        for port in found.ports:
            assert port.network in _NETWORKS.values(), port
            assert canonical_mac(port.mac) == port.mac, port
            assert port.instance_id == domain.uuid.strip(), port


def check_netlink(data: bytes, _place: int) -> None:
    """
    Hold the reader of the kernel's messages to what it promises.

    @param data: A datagram.
    """
    with suppress(Garbled):
        for message in read_messages(data):
            if message.entry is not None:
                entry = message.entry
                assert canonical_address(entry.address) == entry.address, entry
                assert entry.mac is None or canonical_mac(entry.mac) == entry.mac, entry
