"""
Somebody who looks at all that the proxy shows, all the time: C{python -m bench.watcher
SOCKET INSTANCE}.

It watches the instance step by step, reads every transaction as it ends, and has the
metrics scraped three times as often as Prometheus does.  It ends with the proxy.
"""

from __future__ import annotations

import socket
import sys
import time
from threading import Thread

#: Seconds between two scrapes.
_PAUSE = 5.0

_HEAD = (
    "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n"
)


def _ask(path: str, target: str, method: str = "GET", more: str = "") -> int:
    """
    Ask, and read the answer for as long as it comes.

    @param more: More header lines, and the body behind an empty one.

    @return: How many bytes came.
    """
    count = 0
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        head = _HEAD.format(method=method, target=target, more=more)
        client.sendall(head.encode("ascii"))
        while data := client.recv(65536):
            if not count and not data.startswith(b"HTTP/1.1 20"):
                raise OSError(f"{target}: {data[:200]!r}")
            count += len(data)
    return count


def main(path: str, instance: str) -> None:
    """
    Look until the proxy ends.
    """
    body = f"instance={instance}&seconds=3600"
    kind = "Content-Type: application/x-www-form-urlencoded\r\nX-Mdproxy: 1\r\n"
    more = f"{kind}Content-Length: {len(body)}\r\n\r\n{body}"
    _ask(path, "/api/v1/watch", "POST", more)
    tail = Thread(target=_ask, args=(path, "/api/v1/transactions/live"), daemon=True)
    tail.start()
    print("watching", flush=True)
    while tail.is_alive():
        _ask(path, "/metrics")
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
