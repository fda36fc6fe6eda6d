"""
Tests for L{mdproxy.introspection.history}.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.histogram import Histogram
from mdproxy.introspection.history import (
    FIELDS,
    MOST,
    STEP,
    History,
    in_flight,
    outcome_class,
)
from mdproxy.pulse import PERIOD, Pulse

#: When the wall clock begins, in seconds since the epoch.
_EPOCH = 1_700_000_000.0


@define(eq=False)
class _Proxy:
    """
    A proxy that counts what a test says; and its transactions.

    @ivar under_way: What has not ended.
    """

    tally: Counter[tuple[str, int, str]] = field(factory=Counter)
    total: Histogram = field(factory=Histogram)
    upstream: Histogram = field(factory=Histogram)
    under_way: int = 0

    @property
    def transactions(self) -> _Proxy:
        """
        Provide C{Proxied.transactions}.
        """
        return self

    def describe(self) -> Mapping[str, Any]:
        """
        Provide C{Proxied.describe}.
        """
        return {
            "counts": {},
            "asking": self.under_way,
            "in_line": 0,
            "pausing": 0,
            "waiting_for_facts": 0,
        }

    def end(
        self,
        seconds: float = 0.01,
        status: int = 200,
        outcome: str = "relayed",
        times: int = 1,
    ) -> None:
        """
        Have requests end.
        """
        for _ in range(times):
            self.tally["device", status, outcome] += 1
            self.total.add(seconds)
            if outcome == "relayed":
                self.upstream.add(seconds / 2)


class OutcomeTests(SynchronousTestCase):
    """
    Tests for L{outcome_class} and L{in_flight}.
    """

    def test_classes(self) -> None:
        """
        Who is sent away is refused; who is known and gets nothing, or a server's fault,
        has failed; Nova's own refusals, and a client that went away, are no fault.
        """
        for status, outcome, expected in (
            (200, "relayed", "answered"),
            (404, "relayed", "answered"),
            (500, "relayed", "failed"),
            (0, "client-gone", "answered"),
            (200, "cut-off", "failed"),
            (0, "path-lost", "failed"),
            (404, "NoSuchInstance", "refused"),
            (503, "InstanceInDoubt", "refused"),
            (429, "RateExceeded", "refused"),
            (503, "SecretRefused", "failed"),
            (504, "UpstreamTimedOut", "failed"),
        ):
            self.assertEqual(outcome_class(status, outcome), expected, outcome)

    def test_in_flight(self) -> None:
        """
        Whatever a request waits for, it has not ended.
        """
        said = {"asking": 1, "in_line": 10, "pausing": 100, "waiting_for_facts": 1000}
        self.assertEqual(in_flight({"counts": {"requests": 5}, **said}), 1111)


class HistoryTests(SynchronousTestCase):
    """
    Tests for L{History}.
    """

    def setUp(self) -> None:
        """
        Make a history whose pulse beats.
        """
        self.begin()

    def begin(self) -> None:
        """
        Begin anew.
        """
        self.clock, self.proxy = Clock(), _Proxy()
        self.pulse = Pulse(self.clock)
        self.history = History(
            self.proxy, self.pulse, self.clock, lambda: _EPOCH + self.clock.seconds()
        )
        self.pulse.startService()
        self.clock.advance(0)

    def run_for(self, seconds: float) -> None:
        """
        Have time pass as it does where nothing is late.
        """
        self.clock.pump([PERIOD] * round(seconds / PERIOD))

    def samples(self) -> list[dict[str, float | None]]:
        """
        Tell the samples.
        """
        samples: list[dict[str, float | None]] = self.history.describe()["samples"]
        return samples

    def test_step(self) -> None:
        """
        There is a sample each ten seconds, with the time it was taken, and none before.
        """
        self.run_for(STEP - PERIOD)
        self.assertEqual(self.history.describe(), {"step": STEP, "samples": []})
        self.run_for(2 * STEP)
        times = [sample["at"] for sample in self.samples()]
        self.assertEqual(times, [_EPOCH + STEP, _EPOCH + 2 * STEP])

    def test_quiet(self) -> None:
        """
        Where nothing was asked there are no times, rather than times of nothing.
        """
        self.run_for(STEP)
        self.assertEqual(
            self.samples(),
            [
                {
                    "at": _EPOCH + STEP,
                    "requests": 0,
                    "refused": 0,
                    "failed": 0,
                    "median": None,
                    "p99": None,
                    "upstream_median": None,
                    "in_flight": 0,
                    "lag": 0,
                }
            ],
        )

    def test_rates(self) -> None:
        """
        What ended is told by the second, of this step alone, by what it was.
        """
        self.proxy.end(times=1000)
        self.run_for(STEP)
        self.proxy.end(times=10)
        self.proxy.end(status=404, outcome="NoSuchInstance", times=20)
        self.proxy.end(status=503, outcome="UpstreamUnavailable", times=30)
        self.run_for(STEP)
        _first, second = self.samples()
        rates = [second[name] for name in ("requests", "refused", "failed")]
        self.assertEqual(rates, [6, 2, 3])

    def test_durations(self) -> None:
        """
        Quantiles are those of the step, in seconds; Nova's are its own.
        """
        self.proxy.end(seconds=9.0, times=1000)
        self.run_for(STEP)
        self.proxy.end(seconds=0.02, times=100)
        self.run_for(STEP)
        second = self.samples()[1]
        for name, low, high in (
            ("median", 0.01, 0.025),
            ("p99", 0.01, 0.025),
            ("upstream_median", 0.005, 0.01),
        ):
            value = second[name]
            assert value is not None
            self.assertTrue(low < value <= high, (name, value))

    def test_in_flight(self) -> None:
        """
        What has not ended is counted when the sample is taken.
        """
        self.proxy.under_way = 7
        self.run_for(STEP)
        self.proxy.under_way = 0
        self.assertEqual(self.samples()[0]["in_flight"], 7)

    def test_lag(self) -> None:
        """
        The worst lag of a step is told, and is not the next one's.
        """
        self.clock.advance(PERIOD + 3)
        self.run_for(2 * STEP - 3 - PERIOD)
        self.assertEqual([sample["lag"] for sample in self.samples()], [3, 0])

    def test_stall(self) -> None:
        """
        Of a reactor that was away for long there is one sample, with rates by the
        seconds that really passed.
        """
        self.proxy.end(times=60)
        self.clock.advance(60)
        (sample,) = self.samples()
        self.assertEqual((sample["requests"], sample["lag"]), (1, 60 - PERIOD))

    def test_bounded(self) -> None:
        """
        An hour is kept and no more.
        """
        self.run_for((MOST + 5) * STEP)
        times = [sample["at"] for sample in self.samples()]
        self.assertEqual(len(times), MOST)
        self.assertEqual(times[0], _EPOCH + 6 * STEP)
        self.assertEqual(times[-1], _EPOCH + (MOST + 5) * STEP)

    @given(
        st.lists(
            st.tuples(
                st.floats(0, 100),
                st.sampled_from([0, 200, 404, 503]),
                st.sampled_from(["relayed", "cut-off", "NoSuchInstance", "x"]),
                st.integers(0, 30),
            ),
            max_size=10,
        )
    )
    def test_adds_up(self, ends: list[tuple[float, int, str, int]]) -> None:
        """
        Whatever happens, all samples together count each end once, and are JSON.
        """
        self.begin()
        for seconds, status, outcome, times in ends:
            self.proxy.end(seconds, status, outcome, times)
            self.run_for(STEP)
        samples = self.samples()
        rates = [sample["requests"] or 0 for sample in samples]
        self.assertEqual(round(sum(rates) * STEP), sum(end[3] for end in ends))
        said = json.loads(json.dumps(self.history.describe(), allow_nan=False))
        self.assertEqual(said["samples"], samples)
        for sample in samples:
            self.assertEqual(tuple(sample), FIELDS)
