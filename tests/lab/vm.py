"""
What runs inside a VM: conversations over TCP, as JSON from stdin to stdout.

Standard library only, so that it starts quickly; L{tests.lab.guest} is the side that
the tests see.

Each conversation is C{{"host", "port", "segments": [[seconds to wait before it, base64
of what to send]], "timeout"}}, perhaps with C{"source"}, the address to ask from.  Each
answer is C{{"raw": base64 of all that came, "end": how it ended, "seconds"}}.  The line
C{asked} on stdout says that the first conversation has been sent whole.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def open_connection(talk: dict[str, Any]) -> socket.socket:
    """
    Connect as a conversation says.
    """
    source = (talk["source"], 0) if "source" in talk else None
    connection = socket.create_connection(
        (talk["host"], talk["port"]), talk["timeout"], source
    )
    # Each segment is to leave by itself.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def hold(talk: dict[str, Any], announce: bool) -> dict[str, Any]:
    """
    Hold one conversation and say what came of it.
    """
    began = time.monotonic()
    received = b""
    try:
        with open_connection(talk) as connection:
            for pause, segment in talk["segments"]:
                time.sleep(pause)
                connection.sendall(base64.b64decode(segment))
            if announce:
                print("asked", flush=True)
            while data := connection.recv(65536):
                received += data
        end = "closed"
    except TimeoutError:
        end = "timeout"
    except ConnectionRefusedError:
        end = "refused"
    except (ConnectionResetError, BrokenPipeError):
        end = "reset"
    except OSError as error:
        end = f"error: {error}"
    seconds = time.monotonic() - began
    raw = base64.b64encode(received).decode()
    return {"raw": raw, "end": end, "seconds": round(seconds, 3)}


def main() -> None:
    """
    Hold all conversations, C{parallel} at a time.
    """
    order = json.load(sys.stdin)
    talks = order["talks"]
    with ThreadPoolExecutor(order["parallel"]) as pool:
        first = [index == 0 for index in range(len(talks))]
        answers = list(pool.map(hold, talks, first))
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
