"""
Visiting the operators' site without a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, frozen
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mdproxy.introspection.site import OperatorsSite


@frozen
class Said:
    """
    What the site said.

    @ivar status: The status.
    @ivar fields: The header fields, by lower-case name.
    @ivar body: The body.
    """

    status: int
    fields: Mapping[bytes, bytes]
    body: bytes

    @classmethod
    def read(cls, data: bytes) -> Said:
        """
        Read a response.
        """
        head, _empty, body = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields = (line.partition(b": ") for line in lines)
        return cls(
            int(first.split()[1]),
            {name.lower(): value for name, _colon, value in fields},
            body,
        )


@define(eq=False)
class Line:
    """
    A connection with the site.

    @ivar transport: What the site writes to.
    @ivar protocol: The site's end.
    """

    transport: StringTransport
    protocol: Any

    @classmethod
    def to(
        cls,
        site: OperatorsSite,
        address: str | None = "127.0.0.1",
        peer: str | None = "127.0.0.1",
    ) -> Line:
        """
        Connect.

        @param address: Where to; C{None}: by a UNIX socket.
        @param peer: Where from.
        """
        line = cls(
            StringTransport(hostAddress=_place(address, 8085)),
            site.buildProtocol(_place(peer, 40000)),
        )
        line.protocol.makeConnection(line.transport)
        return line

    @property
    def is_open(self) -> bool:
        """
        Tell whether the site has kept the connection.
        """
        transport = self.transport
        return not (transport.disconnecting or transport.disconnected)

    def say(self, data: bytes) -> bytes:
        """
        Send something.

        @return: What comes back at once.
        """
        self.transport.clear()
        self.protocol.dataReceived(data)
        said: bytes = self.transport.value()
        return said

    def lose(self) -> None:
        """
        Go away.
        """
        self.protocol.connectionLost(Failure(ConnectionError("gone")))


def _place(address: str | None, port: int) -> IPv4Address | IPv6Address | UNIXAddress:
    """
    Make an end of a connection.
    """
    if address is None:
        return UNIXAddress("/run/mdproxy/status.sock")
    kind = IPv6Address if ":" in address else IPv4Address
    return kind("TCP", address, port)
