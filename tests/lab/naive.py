"""
Servers that trust too much, to prove that the attackers of the lab can succeed.

C{naive.py MODE DEVICE PORT ADDRESS MAC FILE}: gives the file to whoever asks from
C{ADDRESS}, IPv4 or IPv6.  C{address} trusts the source address; C{accept} wants the
opening frame and the neighbour entry to carry C{MAC} when the connection is accepted;
C{always} looks at the neighbour entry again before it answers.  Standard library only.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

TCP_SAVE_SYN, TCP_SAVED_SYN = 27, 28


def neighbour(device: str, address: str) -> str | None:
    """
    Look up where the kernel would send an answer.
    """
    if ":" in address:
        show = ("ip", "-6", "neigh", "show", address, "dev", device)
        words = subprocess.run(show, capture_output=True, text=True).stdout.split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else None
    for line in Path("/proc/net/arp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[0] == address and fields[5] == device:
            return fields[3]
    return None


def trusted(connection: socket.socket, peer: str) -> bool:
    """
    Decide at accept.
    """
    mode, device, _, address, mac = sys.argv[1:6]
    if peer != address or mode == "address":
        return peer == address
    frame = connection.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, 256)
    # With SYN cookies there is none.
    seen = frame[6:12].hex(":") or mac
    return seen == mac == neighbour(device, address)


def serve(connection: socket.socket, peer: str, body: bytes) -> None:
    """
    Answer one request.
    """
    mode, device, _, address, mac = sys.argv[1:6]
    with connection:
        allowed = trusted(connection, peer)
        connection.settimeout(5)
        try:
            connection.recv(65536)
            # As long as Nova would take.
            time.sleep(0.002)
            if mode == "always":
                allowed = allowed and neighbour(device, address) == mac
            status = b"200 OK" if allowed else b"404 Not Found"
            length = len(body) if allowed else 0
            head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, length)
            connection.sendall(head + body[:length])
        except OSError:
            return


def main() -> None:
    """
    Serve until killed.
    """
    device, port = sys.argv[2], int(sys.argv[3])
    body = Path(sys.argv[6]).read_bytes()
    family = socket.AF_INET6 if ":" in sys.argv[4] else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        listener.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 2)
        if family is socket.AF_INET:
            listener.bind(("169.254.169.254", port))
        else:
            scope = socket.if_nametoindex(device)
            listener.bind(("fe80::a9fe:a9fe", port, 0, scope))
        listener.listen(64)
        print("listening", flush=True)
        while True:
            connection, (host, *_) = listener.accept()
            peer = host.partition("%")[0]
            threading.Thread(target=serve, args=(connection, peer, body)).start()


if __name__ == "__main__":
    main()
