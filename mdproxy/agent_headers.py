# -*- test-case-name: tests.test_agent_headers -*-
"""
What Neutron's haproxies say of a request that they pass on to Neutron's agent.

Each haproxy serves one network or router.  It writes that one's id and, by C{option
forwardfor}, the address of whoever asks (neutron/agent/metadata/driver_base.py and
driver.py, neutron/agent/ovn/metadata/driver.py, neutron/common/metadata.py).  An
instance may write the same fields itself.  Haproxy takes away the field of the other
kind and replaces its own; where it adds a line (C{X-Forwarded-For}, and
C{X-OVN-Network-ID}) the instance's stays in front of it, and what it does not know it
passes on (tried with haproxy 2.6).  So one line of each kind is haproxy's own, and two
are a forgery.  Names with underscores are other fields.

Pure.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from mdproxy.headers import Fields
from mdproxy.http.parsing import BadRequest
from mdproxy.model import Malformed, canonical_address

#: The fields that tell a network or router, and how the namespace of one is called
#: (neutron/agent/linux/dhcp.py, C{NS_PREFIX}; neutron/agent/l3/namespaces.py;
#: neutron/agent/ovn/metadata/agent.py): haproxy runs in it.
_NAMESPACES: Final = {
    b"x-neutron-network-id": "qdhcp-",
    b"x-neutron-router-id": "qrouter-",
    b"x-ovn-network-id": "ovnmeta-",
}
_ROUTER: Final = b"x-neutron-router-id"
_FORWARDED_FOR: Final = b"x-forwarded-for"

#: As Neutron writes its ids (RFC 9562 section 4).
_UUID: Final = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

#: What an address is written with; the zone of one means nothing here.
_ADDRESS: Final = re.compile(rb"[0-9a-fA-F:.]{2,45}\Z")


@frozen
class Forwarded:
    """
    Where a request came from, by what haproxy wrote.

    @ivar namespace: The network namespace in which haproxy took it.
    @ivar network: The network's id; C{None} where haproxy serves a router.
    @ivar address: The address that it came from, in canonical form.
    """

    namespace: str
    network: str | None
    address: str

    @property
    def place(self) -> str:
        """
        What the network is called as long as nobody knows more: a router's namespace is
        the name of no network.
        """
        return self.network or self.namespace


def read_forwarded(headers: Fields) -> Forwarded:
    """
    Read what haproxy wrote.

    @param headers: The fields of a request, names in lower case.

    @return: Where it came from.

    @raise BadRequest: If it does not say so once and in one way (400).
    """
    places = [(name, value) for name, value in headers if name in _NAMESPACES]
    peers = [value for name, value in headers if name == _FORWARDED_FOR]
    if len(places) != 1:
        raise BadRequest(400, "not exactly one line for the network or router")
    if len(peers) != 1:
        raise BadRequest(400, "not exactly one line X-Forwarded-For")
    [(name, value)] = places
    if _UUID.match(value) is None:
        raise BadRequest(400, "the network or router is no UUID")
    told = value.decode("ascii")
    return Forwarded(
        _NAMESPACES[name] + told, None if name == _ROUTER else told, _address(peers[0])
    )


def _address(value: bytes) -> str:
    """
    Read an address; haproxy writes IPv4 as IPv4-mapped where it listens on C{::}.
    """
    if _ADDRESS.match(value) is not None:
        try:
            return canonical_address(value.decode("ascii"))
        except Malformed:
            pass
    raise BadRequest(400, "X-Forwarded-For is no address")
