# -*- test-case-name: tests.test_transactions -*-
"""
What was asked lately and what came of it, for the operator to see.

Fixed memory: a ring of plain tuples.  They are put into words only when somebody looks,
for every request writes one.  No body, field or signature is in them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mdproxy.model import Caller

#: How many transactions are remembered.
MOST: Final = 1000

#: How much of a target is kept, in bytes.
TARGET: Final = 256

#: A transaction: when it ended, in monotonic seconds; how many seconds after its
#: request was whole; the caller; whose it was, if that is known; method and target;
#: what the instance was told, 0 for nothing; how often Nova was asked; C{relayed}, or
#: the name of what came between.
Transaction = tuple[float, float, Caller, str | None, bytes, bytes, int, int, str]


class Transactions:
    """
    The ring of the latest transactions.

    @ivar note: Writes down a L{Transaction}; the ring's own method, for speed.
    """

    def __init__(self) -> None:
        """
        Begin with none.
        """
        self._ring: deque[Transaction] = deque(maxlen=MOST)
        self.note: Callable[[Transaction], None] = self._ring.append

    def describe(self) -> Sequence[Mapping[str, Any]]:
        """
        Put them into words.

        @return: Plain values, ready for JSON; the latest first.
        """
        return [_in_words(*transaction) for transaction in reversed(self._ring)]


def _in_words(
    ended: float,
    seconds: float,
    caller: Caller,
    instance: str | None,
    method: bytes,
    target: bytes,
    status: int,
    tries: int,
    outcome: str,
) -> Mapping[str, Any]:
    """
    Put a transaction into words.
    """
    return {
        "ended": ended,
        "seconds": seconds,
        "network": caller.network,
        "address": caller.address,
        "mac": caller.mac,
        "instance": instance,
        "method": method.decode("latin-1"),
        "target": target.decode("latin-1"),
        "status": status,
        "tries": tries,
        "outcome": outcome,
    }
