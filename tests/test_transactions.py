"""
Tests for L{mdproxy.transactions}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.model import Caller, Evidence, Identity, Port, Reason, Refusal
from mdproxy.transactions import (
    BATCH,
    MOST,
    TARGET,
    RequestIds,
    Transaction,
    Transactions,
    Written,
)

CALLER = Caller("red", "10.0.0.5", None, kind="device")
PORT = Port("red", "fa:16:3e:00:00:01", "i-1", "p-1", None)
ALLOWED = Identity(PORT, Evidence(CALLER, None, None, 2, Reason.AGREED))
REFUSED = Refusal(Evidence(CALLER, None, None, 6, Reason.UNKNOWN), False)
ONE = Transaction(
    *(7, 5.0, 0.25, 0.05, 0.2, CALLER, ALLOWED),
    *(b"GET", b"/\xe9", 200, 1, "relayed"),
)


def written(**changes: Any) -> Written:
    """
    Write one down, as the exchange does.
    """
    return ONE._replace(**changes)


class TransactionsTests(SynchronousTestCase):
    """
    Tests for L{Transactions}.
    """

    def setUp(self) -> None:
        """
        Begin with none, three seconds after the one above.
        """
        ids = RequestIds("req-0-")
        self.told = Transactions(ids, lambda: 8.0, lambda: 1000.0)

    def test_words(self) -> None:
        """
        A transaction is told in plain words that JSON can carry.
        """
        self.told.note(written())
        (words,) = json.loads(json.dumps(self.told.describe()))
        self.assertEqual(
            words,
            {
                "request_id": "req-0-000000000007",
                "number": 7,
                "at": 997.0,
                "seconds": 0.25,
                "lookup_seconds": 0.05,
                "upstream_seconds": 0.2,
                "kind": "device",
                "network": "red",
                "address": "10.0.0.5",
                "mac": None,
                "instance": "i-1",
                "project": "p-1",
                "verdict": "allowed",
                "row": 2,
                "reason": "agreed",
                "method": "GET",
                "target": "/\xe9",
                "status": 200,
                "tries": 1,
                "outcome": "relayed",
            },
        )

    def test_verdicts(self) -> None:
        """
        A refusal names no instance, but its reason; what was not judged has neither.
        """
        for verdict, word, row in ((REFUSED, "refused", 6), (None, None, None)):
            self.told.note(written(verdict=verdict))
            words = self.told.describe()[0]
            self.assertEqual((words["verdict"], words["row"]), (word, row))
            self.assertIsNone(words["instance"])

    def test_ring(self) -> None:
        """
        Only the latest are remembered, and they are told first.
        """
        for number in range(MOST + 7):
            self.told.note(written(number=number))
        told = [each["number"] for each in self.told.describe()]
        self.assertEqual(told, list(range(MOST + 6, 6, -1)))
        self.assertEqual(self.told.most, MOST)

    def test_latest_of_some(self) -> None:
        """
        Of those that are wanted only those are told.
        """
        for status in (200, 404, 200):
            self.told.note(written(status=status))
        (words,) = self.told.latest(lambda each: each.status == 404)
        self.assertEqual(words["status"], 404)

    def test_tail(self) -> None:
        """
        Who looks again is told what ended since, the earliest first, and nothing twice;
        who has missed some is told those that are left.
        """
        self.assertEqual(self.told.since(None), ((), None))
        for number in (2, 1):
            self.told.note(written(number=number))
        fresh, last = self.told.since(None)
        self.assertEqual([each["number"] for each in fresh], [2, 1])
        self.assertEqual(self.told.since(last), ((), last))
        self.told.note(written(number=3))
        fresh, last = self.told.since(last)
        self.assertEqual([each["number"] for each in fresh], [3])
        for number in range(MOST + 1):
            self.told.note(written(number=number))
        self.assertEqual(len(self.told.since(last)[0]), MOST)

    def test_hand_over(self) -> None:
        """
        Who wants to be told of every one is told of them in batches, of each once and
        in their order, also of more than are remembered.
        """
        taken: list[list[int]] = []

        def take(batch: Sequence[Written]) -> None:
            taken.append([Transaction(*each).number for each in batch])

        self.told.note(written())
        self.told.hand_to(take)
        for number in range(BATCH + MOST):
            self.told.note(written(number=number))
        self.told.hand_over()
        self.told.hand_over()
        self.assertEqual([n for batch in taken for n in batch], [*range(BATCH + MOST)])
        self.assertEqual(len(taken[0]), BATCH)
        self.told.note(written(number=-1))
        self.told.hand_to(None)
        self.told.note(written())
        self.assertEqual(taken[-1], [-1])

    def test_sums(self) -> None:
        """
        All are counted, also those that nobody remembers; how long Nova took only where
        it was asked.
        """
        for tries in (0, 1, 2):
            self.told.note(written(tries=tries))
        self.told.clear()
        self.told.note_refusal("device", "unknown")
        self.assertEqual(self.told.describe(), [])
        self.assertEqual(self.told.tally, {("device", 200, "relayed"): 3})
        self.assertEqual(self.told.refusals, {("device", "unknown"): 1})
        self.assertEqual(self.told.total.count, 3)
        self.assertEqual(self.told.lookup.count, 2)
        self.assertAlmostEqual(self.told.upstream.sum, 0.4)

    def test_target_is_long_enough_for_any_boot(self) -> None:
        """
        What cloud-init asks for is told in full.
        """
        longest = b"/2021-03-23/meta-data/network/interfaces/macs/fa:16:3e:00:00:01/"
        self.assertGreater(TARGET, len(longest) * 2)


class RequestIdsTests(SynchronousTestCase):
    """
    Tests for L{RequestIds}.
    """

    def test_form(self) -> None:
        """
        OpenStack knows the form (oslo_middleware/request_id.py, C{ID_FORMAT}), and no
        two requests of two processes have the same name.
        """
        form = re.compile(r"req-[a-f0-9]{8}-([a-f0-9]{4}-){3}[a-f0-9]{12}\Z")
        drawn = [RequestIds.draw(Random(seed)) for seed in range(50)]
        names = {ids.of(number) for ids in drawn for number in (1, 2, 2**48 - 1)}
        self.assertEqual(len(names), 150)
        for name in names:
            self.assertTrue(form.match(name), name)

    def test_field(self) -> None:
        """
        The header line has the same name.
        """
        ids = RequestIds.draw(Random(1))
        line = b"X-Openstack-Request-Id: " + ids.of(9).encode("ascii") + b"\r\n"
        self.assertEqual(ids.field_of(9), line)
        self.assertEqual(evolve(ids).field_of(9), line)
