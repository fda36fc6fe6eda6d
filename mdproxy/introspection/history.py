# -*- test-case-name: tests.test_introspection_history -*-
"""
How it went during the last hour: a sample every ten seconds, for the plots.

Fixed memory (40 kB when it is full), and nothing on a request's path: each sample is
what the counters and histograms say now, less what they said at the sample before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import isnan, nan
from struct import Struct
from typing import Any, Final, Protocol

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from mdproxy.histogram import Histogram
from mdproxy.pulse import PERIOD, Pulse

#: Between two samples, in seconds.
STEP: Final = 10.0

#: So many samples are kept: an hour.
MOST: Final = 360

#: What a sample says, in this order.
FIELDS: Final = (
    "at",
    "requests",
    "refused",
    "failed",
    "median",
    "p99",
    "upstream_median",
    "in_flight",
    "lag",
)

_ROW: Final = Struct(f"{len(FIELDS)}d")

#: The ends of requests whose caller was sent away (L{mdproxy.exchange}).
_REFUSED: Final = frozenset({"NoSuchInstance", "InstanceInDoubt", "RateExceeded"})

#: The ends of requests that broke off though their caller was still there.
_BROKEN: Final = frozenset({"cut-off", "path-lost"})

#: Of what C{describe} of the proxy says, where requests are that have not ended.
_OPEN: Final = ("asking", "in_line", "pausing", "waiting_for_facts")


class Totals(Protocol):
    """
    What is asked of L{Transactions<mdproxy.transactions.Transactions>}.

    @ivar total: How long requests took.
    @ivar upstream: How long Nova was waited for.
    """

    total: Histogram
    upstream: Histogram

    @property
    def tally(self) -> Mapping[tuple[str, int, str], int]:
        """
        How many requests ended, by network kind, status and outcome.
        """


class Proxied(Protocol):
    """
    What is asked of L{ReverseProxyResource<mdproxy.proxy.ReverseProxyResource>}.
    """

    @property
    def transactions(self) -> Totals:
        """
        What was asked so far.
        """

    def describe(self) -> Mapping[str, Any]:
        """
        Tell what is under way.
        """


@frozen
class _Reading:
    """
    What the counters say at a moment.

    @ivar at: When, in the clock's seconds.
    @ivar requests: How many requests ended so far, and of them:
    @ivar refused: those whose caller was sent away,
    @ivar failed: those that came to nothing though the caller was known.
    @ivar total: How long they took.
    @ivar upstream: How long Nova was waited for.
    """

    at: float
    requests: int
    refused: int
    failed: int
    total: Histogram
    upstream: Histogram


def outcome_class(status: int, outcome: str) -> str:
    """
    Tell what the end of a request was to its caller.

    @param status: What it was told; 0: nothing.
    @param outcome: How it ended, as L{mdproxy.transactions} writes it.

    @return: C{refused} where the caller was sent away (unknown, in doubt, or asking too
        often), C{failed} where it was known and got no answer or a server's fault, or
        C{answered}.
    """
    if outcome in _REFUSED:
        return "refused"
    if status >= 500 or outcome in _BROKEN:
        return "failed"
    return "answered"


def in_flight(described: Mapping[str, Any]) -> int:
    """
    Count the requests that have not ended.

    @param described: What the proxy says of itself.
    """
    count: int = sum(described[where] for where in _OPEN)
    return count


@define(eq=False)
class History:
    """
    The samples of the last hour.

    @ivar _proxy: Who counts.
    @ivar pulse: Whose beats the samples are taken at, and who measures lag.
    @ivar _clock: Monotonic time.
    @ivar _wall: Seconds since the epoch.
    @ivar _rows: The samples, the eldest first.
    @ivar _last: What the counters said at the latest.
    @ivar _lag: The worst lag since then, in seconds.
    """

    _proxy: Proxied
    pulse: Pulse
    _clock: IReactorTime
    _wall: Callable[[], float]
    _rows: deque[bytes] = field(factory=lambda: deque(maxlen=MOST), init=False)
    _last: _Reading = field(init=False)
    _lag: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Begin where the counters are, and hear of every beat.
        """
        self._last = self._read()
        self.pulse.observe(self.beat)

    def beat(self, late: float) -> None:
        """
        Take a sample if it is time.

        @param late: How late this beat is, in seconds.
        """
        self._lag = max(self._lag, late)
        # A beat that is nearer to the full step than the next one would be.
        if self._clock.seconds() - self._last.at >= STEP - PERIOD / 2:
            self._take()

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator how it went.

        @return: Plain values, ready for JSON: C{step}, the seconds between two samples,
            and C{samples}, the eldest first.  Of each: C{at}, when it was taken, in
            seconds since the epoch; C{requests}, C{refused} and C{failed}, how many
            requests ended a second since the sample before (L{outcome_class});
            C{median} and C{p99} of how long they took, and
            C{upstream_median} of how long Nova was waited for, in seconds, C{None}
            where there were none; C{in_flight}, how many had not ended when it was
            taken; C{lag}, by how many seconds the reactor was late at worst.
        """
        return {"step": STEP, "samples": [_in_words(row) for row in self._rows]}

    def _read(self) -> _Reading:
        """
        Read the counters.
        """
        totals = self._proxy.transactions
        ends = {"answered": 0, "refused": 0, "failed": 0}
        for (_kind, status, outcome), count in totals.tally.items():
            ends[outcome_class(status, outcome)] += count
        return _Reading(
            self._clock.seconds(),
            sum(ends.values()),
            ends["refused"],
            ends["failed"],
            totals.total.copy(),
            totals.upstream.copy(),
        )

    def _take(self) -> None:
        """
        Take a sample.
        """
        then, now = self._last, self._read()
        seconds = now.at - then.at
        took = now.total.since(then.total)
        self._rows.append(
            _ROW.pack(
                self._wall(),
                (now.requests - then.requests) / seconds,
                (now.refused - then.refused) / seconds,
                (now.failed - then.failed) / seconds,
                _or_nan(took.quantile(0.5)),
                _or_nan(took.quantile(0.99)),
                _or_nan(now.upstream.since(then.upstream).quantile(0.5)),
                in_flight(self._proxy.describe()),
                self._lag,
            )
        )
        self._last, self._lag = now, 0.0


def _or_nan(seconds: float | None) -> float:
    """
    Write a value that may be missing as a number.
    """
    return nan if seconds is None else seconds


def _in_words(row: bytes) -> dict[str, float | None]:
    """
    Put a sample into words.
    """
    values = zip(FIELDS, _ROW.unpack(row), strict=True)
    return {name: None if isnan(value) else value for name, value in values}
