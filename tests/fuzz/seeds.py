"""
What is fuzzed, and the inputs that a fuzzer begins with.

C{seeds.json} holds inputs that, together, reach all code that any input is known to
reach: some were made by L{tests.fuzz.grammar} or come from the corpus of
L{tests.corpus}, the others were found.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Final

from attrs import frozen

_SEEDS: Final = Path(__file__).with_name("seeds.json")


@frozen
class Target:
    """
    A parser of bytes from outside.

    @ivar share: Its part of the time, among all targets.
    @ivar words: What inputs are likely to be made of.
    """

    share: int
    words: tuple[bytes, ...]


_HTTP_WORDS: Final = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\0", b"\t", b": ", b" :", b";"),
    *(b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"HTTP/1.1", b"HTTP/1.0", b"HEAD"),
    *(b"Host: a\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n"),
    *(
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"0\r\n\r\n",
    ),
    *(b"Expect: 100-continue\r\n", b"X-Instance-ID: e\r\n", b"X_Tenant_ID: e\r\n"),
    *(b"5\r\nhello\r\n", b';a="b"', b"Content_Length: 5\r\n", b"\x85", b"\xff", b"+1"),
    *(
        b"RTSP/1.0",
        b"HTTP/2.0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"close",
        b"CONNECT",
    ),
)
_STATUS_WORDS: Final = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 N\r\n"),
    *(b"HTTP/1.1 304 N\r\n", b"HTTP/1.1 101 S\r\n", b"Keep-Alive: 1\r\n"),
)

#: The targets.
TARGETS: Final = {
    "requests": Target(7, _HTTP_WORDS),
    "responses": Target(3, _HTTP_WORDS + _STATUS_WORDS),
}


def load(target: str) -> list[bytes]:
    """
    Read the seeds of a target.

    @param target: One of L{TARGETS}.

    @return: Inputs.
    """
    if not _SEEDS.exists():
        return []
    return [b64decode(seed) for seed in json.loads(_SEEDS.read_bytes()).get(target, ())]


def save(target: str, seeds: list[bytes]) -> None:
    """
    Write the seeds of a target.

    @param target: One of L{TARGETS}.
    @param seeds: Inputs.
    """
    all_seeds = json.loads(_SEEDS.read_bytes()) if _SEEDS.exists() else {}
    all_seeds[target] = [b64encode(seed).decode() for seed in seeds]
    _SEEDS.write_text(json.dumps(all_seeds, indent=0, sort_keys=True) + "\n")
