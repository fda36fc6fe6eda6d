# -*- test-case-name: tests.test_http_progress -*-
"""
What the kernel knows of how a peer takes what is sent to it.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

from attrs import frozen

#: Where C{tcpi_bytes_acked} and C{tcpi_notsent_bytes} lie in C{struct tcp_info}
#: (linux/tcp.h), and C{tcpi_unacked}, which counts segments, and C{tcpi_last_ack_recv},
#: in milliseconds.
_ACKED: Final = struct.Struct("=Q"), 120
_NOT_SENT: Final = struct.Struct("=I"), 144
_UNACKED: Final = struct.Struct("=I"), 24
_LAST_ACK: Final = struct.Struct("=I"), 56
_SIZE: Final = 256


@frozen
class Progress:
    """
    How far a peer has got.

    @ivar acknowledged: How many bytes it has acknowledged.
    @ivar complete: Whether that is all that the kernel was given for it.
    @ivar silence: How long ago it last acknowledged anything, in seconds.
    """

    acknowledged: int
    complete: bool
    silence: float


def progress_of(transport: Any) -> Progress | None:
    """
    Ask how far the peer of a connection has got.

    A slow reader's acknowledgements are the only sign of it that there is: the
    transport tells no more than that it has bytes left.

    @param transport: The connection's.

    @return: C{None} where the kernel does not tell.
    """
    try:
        info = transport.getHandle().getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE
        )
        acked, not_sent, unacked, last_ack = (
            kind.unpack_from(info, at)[0]
            for kind, at in (_ACKED, _NOT_SENT, _UNACKED, _LAST_ACK)
        )
    except (OSError, struct.error):
        return None
    return Progress(acked, not not_sent and not unacked, last_ack / 1000)
