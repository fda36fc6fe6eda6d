# -*- test-case-name: tests.test_transactions -*-
"""
What was asked lately and what came of it, for the operator to see.

Fixed memory: a ring of plain tuples.  They are put into words only when somebody looks,
for every request writes one.  No body, field or signature is in them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

#: How many transactions are remembered.
MOST: Final = 1000

#: How much of a target is kept, in bytes.
_TARGET: Final = 256

#: The words for a transaction, in order.
_NAMES: Final = (
    "ended",
    "seconds",
    "network",
    "address",
    "mac",
    "instance",
    "method",
    "target",
    "status",
    "tries",
    "outcome",
)


class Transactions:
    """
    The ring of the latest transactions.
    """

    def __init__(self) -> None:
        """
        Begin with none.
        """
        self._ring: deque[tuple[Any, ...]] = deque(maxlen=MOST)

    def note(
        self,
        ended: float,
        seconds: float,
        network: str,
        address: str,
        mac: str | None,
        instance: str | None,
        method: bytes,
        target: bytes,
        status: int,
        tries: int,
        outcome: str,
    ) -> None:
        """
        Write down a transaction.

        @param ended: When, in monotonic seconds.
        @param seconds: How long after its request was whole.
        @param instance: Whose it was; C{None}: nobody's that is known.
        @param status: What the instance was told; 0: nothing.
        @param tries: How often Nova was asked.
        @param outcome: C{relayed}, or the name of what came between.
        """
        self._ring.append(
            (
                ended,
                seconds,
                network,
                address,
                mac,
                instance,
                method,
                target[:_TARGET],
                status,
                tries,
                outcome,
            )
        )

    def describe(self) -> Sequence[Mapping[str, Any]]:
        """
        Put them into words.

        @return: Plain values, ready for JSON; the latest first.
        """
        return [
            {
                name: value.decode("latin-1") if isinstance(value, bytes) else value
                for name, value in zip(_NAMES, record, strict=True)
            }
            for record in reversed(self._ring)
        ]
