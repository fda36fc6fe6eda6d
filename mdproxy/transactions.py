# -*- test-case-name: tests.test_transactions -*-
"""
What was asked lately and what came of it, for the operator to see.

Fixed memory: a ring of plain tuples.  They are put into words only when somebody looks,
for every request writes one.  No body, field or signature is in them.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from random import Random
from typing import Any, Final, NamedTuple

from attrs import field, frozen

from mdproxy.histogram import Histogram
from mdproxy.model import Caller, Identity, Refusal

#: How many transactions are remembered.
MOST: Final = 1000

#: So many at most are handed over at a time.
BATCH: Final = 512

#: How much of a target is kept, in bytes.
TARGET: Final = 256

#: What every request writes down: a plain tuple, for speed, of what L{Transaction}
#: names.
Written = tuple[
    int,
    float,
    float,
    float,
    float,
    Caller,
    Identity | Refusal | None,
    bytes,
    bytes,
    int,
    int,
    str,
]


class Transaction(NamedTuple):
    """
    A request and what came of it, as it is read.

    @ivar number: The number of the request.
    @ivar ended: When it ended, in monotonic seconds.
    @ivar total: How many seconds after its request was whole.
    @ivar lookup: How many of these until Nova was asked for the first time.
    @ivar upstream: For how many seconds Nova was being asked, all tries together.
    @ivar caller: Who asked.
    @ivar verdict: The last verdict on it, if there was one.
    @ivar method: The method.
    @ivar target: What was asked for, cut after L{TARGET} bytes.
    @ivar status: What the instance was told; 0: nothing.
    @ivar tries: How often Nova was asked.
    @ivar outcome: C{relayed}, or the name of what came between.
    """

    number: int
    ended: float
    total: float
    lookup: float
    upstream: float
    caller: Caller
    verdict: Identity | Refusal | None
    method: bytes
    target: bytes
    status: int
    tries: int
    outcome: str


@frozen
class RequestIds:
    """
    The names of requests, by which our logs and those before Nova can be joined.

    They are made here and taken from nobody, in the form that OpenStack knows
    (oslo_middleware/request_id.py): C{req-} and a UUID, of which all but the end is the
    process's own.

    @ivar prefix: What all have in common.
    """

    prefix: str
    _wire: bytes = field(init=False)

    @_wire.default
    def _(self) -> bytes:
        """
        Write it for the wire.
        """
        return self.prefix.encode("ascii")

    @classmethod
    def draw(cls, random: Random) -> RequestIds:
        """
        Begin the names of a process.
        """
        words = random.getrandbits(32), random.getrandbits(16), random.getrandbits(12)
        return cls("req-{:08x}-{:04x}-4{:03x}-8000-".format(*words))

    def of(self, number: int) -> str:
        """
        Name a request.

        @param number: Its number, from 1 in every process.
        """
        return f"{self.prefix}{number:012x}"

    def field_of(self, number: int) -> bytes:
        """
        Write the header line that names a request to whoever stands before Nova, and to
        Nova where its pipeline has oslo's C{request_id}.

        @param number: The request's.
        """
        return b"X-Openstack-Request-Id: %b%012x\r\n" % (self._wire, number)


class Transactions:
    """
    The latest transactions, and what all that there ever were add up to.

    @ivar tally: How many there were, by the kind of the listener, the status that the
        instance was told, and what came of it.
    @ivar refusals: How many callers were refused in the end, by the kind of the
        listener and the reason.
    @ivar total: How long they took, from the whole request to the whole answer.
    @ivar lookup: How long it took until Nova was asked, where it was asked.
    @ivar upstream: For how long Nova was asked, where it was.
    @ivar ids: The names of requests.
    """

    def __init__(
        self,
        ids: RequestIds,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        most: int = MOST,
    ) -> None:
        """
        Begin with none.

        @param clock: Monotonic seconds.
        @param wall: Seconds since the epoch.
        @param most: How many are remembered.
        """
        self.ids = ids
        self.tally: Counter[tuple[str, int, str]] = Counter()
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.total, self.lookup, self.upstream = Histogram(), Histogram(), Histogram()
        self._clock, self._wall = clock, wall
        self._ring: deque[Written] = deque(maxlen=most)
        self._fresh: list[Written] | None = None
        self._take: Callable[[Sequence[Written]], None] | None = None

    @property
    def most(self) -> int:
        """
        Tell how many are remembered.
        """
        assert self._ring.maxlen is not None
        return self._ring.maxlen

    def note(self, transaction: Written) -> None:
        """
        Write one down.
        """
        self._ring.append(transaction)
        if self._fresh is not None:
            self._fresh.append(transaction)
            if len(self._fresh) >= BATCH:
                self.hand_over()
        _, _, total, lookup, upstream, caller, _, _, _, status, tries, what = (
            transaction
        )
        self.tally[caller.kind, status, what] += 1
        self.total.add(total)
        if tries:
            self.lookup.add(lookup)
            self.upstream.add(upstream)

    def hand_to(self, take: Callable[[Sequence[Written]], None] | None) -> None:
        """
        Have somebody told of every transaction, in batches.

        @param take: Is called with at most L{BATCH} of them, the earliest first, when
            there are so many or L{hand_over} is called; must not raise.  C{None}:
            nobody is told any more.
        """
        self.hand_over()
        self._take = take
        self._fresh = None if take is None else []

    def hand_over(self) -> None:
        """
        Tell of those that nobody was told of yet.
        """
        fresh, take = self._fresh, self._take
        if fresh and take is not None:
            self._fresh = []
            take(fresh)

    def note_refusal(self, kind: str, reason: str) -> None:
        """
        Count one that is refused.

        @param kind: The kind of its listener.
        """
        self.refusals[kind, reason] += 1

    def describe(self) -> Sequence[Mapping[str, Any]]:
        """
        Put them into words.

        @return: Plain values, ready for JSON; the latest first.
        """
        return list(self.latest())

    def latest(
        self, keep: Callable[[Transaction], bool] = lambda _: True
    ) -> Iterator[Mapping[str, Any]]:
        """
        Put them into words one by one, the latest first, as far as somebody reads.

        @param keep: Tells which are wanted.

        @return: Plain values, ready for JSON; to be read in one go.
        """
        now, wall = self._clock(), self._wall()
        for written in reversed(self._ring):
            if keep(Transaction(*written)):
                yield self.in_words(written, now, wall)

    def clear(self) -> None:
        """
        Forget the latest ones; what all add up to stays.
        """
        self._ring.clear()

    def since(self, last: object) -> tuple[Sequence[Mapping[str, Any]], object]:
        """
        Put those into words that ended after another.

        Requests end in another order than that of their numbers.

        @param last: What this returned before; C{None}: the beginning.

        @return: Plain values, the earliest first; and what to ask with the next time.
        """
        fresh = list(takewhile(lambda each: each is not last, reversed(self._ring)))
        if not fresh:
            return (), last
        now, wall = self._clock(), self._wall()
        return [self.in_words(e, now, wall) for e in reversed(fresh)], fresh[0]

    def in_words(self, written: Written, now: float, wall: float) -> Mapping[str, Any]:
        """
        Put a transaction into words.

        @param now: What the clock says.
        @param wall: What the wall clock says at the same time.
        """
        it = Transaction(*written)
        return {
            "request_id": self.ids.of(it.number),
            "number": it.number,
            "at": round(wall - (now - it.ended), 6),
            "seconds": it.total,
            "lookup_seconds": it.lookup,
            "upstream_seconds": it.upstream,
            "kind": it.caller.kind,
            "network": it.caller.network,
            "address": it.caller.address,
            "mac": it.caller.mac,
            **_verdict_in_words(it.verdict),
            "method": it.method.decode("latin-1"),
            "target": it.target.decode("latin-1"),
            "status": it.status,
            "tries": it.tries,
            "outcome": it.outcome,
        }


def _verdict_in_words(verdict: Identity | Refusal | None) -> dict[str, Any]:
    """
    Put into words who it was, or why nobody could say.
    """
    if verdict is None:
        none = ("instance", "project", "verdict", "row", "reason")
        return dict.fromkeys(none)
    port = verdict.port if isinstance(verdict, Identity) else None
    return {
        "instance": None if port is None else port.instance_id,
        "project": None if port is None else port.project_id,
        "verdict": "refused" if port is None else "allowed",
        "row": verdict.evidence.row,
        "reason": verdict.evidence.reason.value,
    }
