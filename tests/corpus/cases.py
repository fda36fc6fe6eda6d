"""
The cases of the corpus, as values.
"""

from __future__ import annotations

import json
from base64 import b64decode
from enum import Enum
from pathlib import Path
from typing import Any

from attrs import frozen

CORPUS = Path(__file__).with_name("corpus.json")

#: Classes of requests that the former does not have.
MORE = Path(__file__).with_name("more.json")


class Expect(Enum):
    """
    What has to become of a request.
    """

    #: Nova gets it once, and the client an answer.
    FORWARD_ONE = "forward_one"
    #: Nova gets all requests of the case, in order, and the client as many answers.
    FORWARD_N = "forward_n"
    #: Nova gets nothing; the client gets an error or a closed connection.
    REJECT = "reject"
    #: Both are right, as long as it is done safely and the client isn't left waiting.
    EITHER = "either"


@frozen
class Case:
    """
    One connection's worth of bytes and the right outcome.

    @ivar name: What the case is called.
    @ivar category: Which part of HTTP it is about.
    @ivar severity: What an attacker gains where it goes wrong.
    @ivar raw: What the client sends.
    @ivar expect: What has to become of it.
    @ivar count: How many requests Nova has to get, and may get at most.
    @ivar half_close: Whether the client closes its sending side after the bytes.
    @ivar must_close: Whether the proxy has to close the connection, because nobody
        knows where the next request begins...
    @ivar close_always: ...even where it forwarded the request.
    @ivar targets: The request targets that Nova may see, unaltered.
    @ivar body: The body that Nova has to see.
    @ivar absent: Header names that must not reach Nova in any spelling.
    @ivar statuses: The statuses that a rejected client may see; empty is any error.
    """

    name: str
    category: str
    severity: str
    raw: bytes
    expect: Expect
    count: int
    half_close: bool
    must_close: bool
    close_always: bool
    targets: tuple[str, ...]
    body: bytes | None
    absent: tuple[str, ...]
    statuses: tuple[int, ...]

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Case:
        """
        Read a case.

        @param entry: One object of the corpus file.

        @return: The case.
        """
        body = entry.get("body_base64")
        return cls(
            name=entry["name"],
            category=entry["category"],
            severity=entry["severity"],
            raw=b64decode(entry["raw_base64"]),
            expect=Expect(entry["expect"]),
            count=entry.get("n", 1),
            half_close=entry.get("half_close", False),
            must_close=entry.get("must_close", False),
            close_always=entry.get("close_always", False),
            targets=tuple(entry.get("target", ())),
            body=None if body is None else b64decode(body),
            absent=tuple(entry.get("must_absent", ())),
            statuses=tuple(entry.get("status", ())),
        )

    @property
    def is_head(self) -> bool:
        """
        Tell whether the answer has no body, whatever its header says.
        """
        return self.raw.startswith(b"HEAD")


def load(path: Path = CORPUS) -> list[Case]:
    """
    Read a corpus.

    @param path: The file.

    @return: Its cases, in order.
    """
    return [Case.from_json(entry) for entry in json.loads(path.read_bytes())]
