"""
What holds for any bytes of those that tell us facts: lease files, libvirt's files, the
kernel.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from mdproxy.inventory.domains import Surroundings, ports_of, read_domain
from mdproxy.lookup.leases import QUIET, LeaseTable, read_dnsmasq_line
from mdproxy.lookup.netlink import Garbled, read_messages
from mdproxy.model import Malformed, canonical_address, canonical_mac

#: The networks by the device of their listener.
_NETWORKS: Final = {"br-red": "red", "brq0": "blue"}


def check_leases(data: bytes, place: int) -> None:
    """
    Hold the reader of dnsmasq's file to what it promises: a bad line costs itself, and
    what a torn file does not show has not gone.

    @param data: A file.
    @param place: Where it is torn.
    """
    for line in data.split(b"\n"):
        with suppress(Malformed):
            record = read_dnsmasq_line(line)
            if record is not None:
                assert canonical_address(record.address) == record.address, record
                assert record.mac is None or canonical_mac(record.mac) == record.mac
                assert record.expires is None or 0 < record.expires < 1e15, record
    table = LeaseTable()
    table.load(data, "whole", 0.0)
    known = set(table.records)
    torn = table.load(data[: place % (len(data) + 1)], "torn", 0.1)
    assert torn.forgotten == () and known <= set(table.records), torn
    table.load(data, "again", 0.2)
    settled = table.load(data, "again", 0.2 + QUIET)
    # Whatever counted before counts again, unless the file itself is torn.
    assert settled.torn or set(table.records) == known, settled


def check_domain(data: bytes, _place: int) -> None:
    """
    Hold the reader of libvirt's files to what it promises: a domain or a refusal, and
    ports on the listeners' networks only.

    @param data: A file.
    """
    with suppress(Malformed):
        domain = read_domain(data)
        found = ports_of(domain, Surroundings(_NETWORKS), "libvirt")
        assert domain.is_nova or not found.ports, found
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
