"""
A DHCPv6 client in a few lines, for Debian has none that is small.

    python dhcp6.py DEVICE MAC

It asks for an address at once (RFC 8415, section 18.2.1, rapid commit), says which one
it got, waits for a line on its standard input, and gives it back.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from typing import Final

# RFC 8415, sections 7.3 and 21.
_SOLICIT: Final = 1
_REPLY: Final = 7
_RELEASE: Final = 8
_CLIENT_ID: Final = 1
_SERVER_ID: Final = 2
_IA_NA: Final = 3
_IA_ADDRESS: Final = 5
_ELAPSED: Final = 8
_RAPID_COMMIT: Final = 14

_SERVERS: Final = "ff02::1:2"


def option(code: int, data: bytes) -> bytes:
    """
    Write an option.
    """
    return struct.pack("!HH", code, len(data)) + data


def options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """
    Read options.
    """
    while data:
        code, length = struct.unpack_from("!HH", data)
        yield code, data[4 : 4 + length]
        data = data[4 + length :]


def ask(link: socket.socket, device: str, kind: int, body: bytes) -> dict[int, bytes]:
    """
    Send a message until there is a reply.

    @return: The reply's options.
    """
    transaction = b"mdp"
    message = bytes([kind]) + transaction + body + option(_ELAPSED, b"\0\0")
    for _ in range(20):
        try:
            link.sendto(message, (_SERVERS, 547, 0, socket.if_nametoindex(device)))
            answer = link.recv(65536)
        except OSError:
            # No link-local address yet, or no answer.
            continue
        if answer[0] == _REPLY and answer[1:4] == transaction:
            return dict(options(answer[4:]))
    raise SystemExit("no DHCPv6 server answered")


def main(device: str, mac: str) -> None:
    """
    Get an address, and give it back.
    """
    client = option(_CLIENT_ID, b"\0\3\0\1" + bytes.fromhex(mac.replace(":", "")))
    nothing = struct.pack("!III", 1, 0, 0)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as link:
        link.settimeout(0.5)
        link.bind(("::", 546, 0, 0))
        body = client + option(_IA_NA, nothing) + option(_RAPID_COMMIT, b"")
        found = ask(link, device, _SOLICIT, body)
        lease = dict(options(found[_IA_NA][12:]))[_IA_ADDRESS]
        print(socket.inet_ntop(socket.AF_INET6, lease[:16]), flush=True)
        sys.stdin.readline()
        association = option(_IA_NA, nothing + option(_IA_ADDRESS, lease))
        server = option(_SERVER_ID, found[_SERVER_ID])
        ask(link, device, _RELEASE, client + server + association)
        print("released", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
