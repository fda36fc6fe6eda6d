"""
Tests for L{mdproxy.steps}.
"""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.model import Caller, Evidence, Identity, Port, Reason
from mdproxy.steps import LONGEST, MOST, MOST_WATCHED, Steps, TooManyWatched
from mdproxy.transactions import RequestIds

CALLER = Caller("red", "10.0.0.5", "fa:16:3e:00:00:01")
PORT = Port("red", "fa:16:3e:00:00:01", "i-1", "p-1", None)
IDENTITY = Identity(PORT, Evidence(CALLER, None, None, 2, Reason.AGREED))


class StepsTests(SynchronousTestCase):
    """
    Tests for L{Steps}.
    """

    def setUp(self) -> None:
        """
        Watch nobody.
        """
        self.clock = Clock()
        self.steps = Steps(RequestIds("req-0-"), self.clock.seconds, lambda: 1000.0)

    def seen(self) -> list[str]:
        """
        List what was seen.
        """
        return [each["step"] for each in self.steps.describe()["steps"]]

    def test_words(self) -> None:
        """
        A step is told in plain words that JSON can carry.
        """
        self.steps.watch("i-1", 60)
        self.steps.note(7, CALLER, IDENTITY, "Nova said", status=404)
        self.clock.advance(2.5)
        told = json.loads(json.dumps(self.steps.describe()))
        self.assertEqual(told["watched"], {"i-1": 57.5})
        self.assertEqual(
            told["steps"],
            [
                {
                    "request_id": "req-0-000000000007",
                    "at": 997.5,
                    "network": "red",
                    "address": "10.0.0.5",
                    "mac": "fa:16:3e:00:00:01",
                    "instance": "i-1",
                    "step": "Nova said",
                    "status": 404,
                }
            ],
        )

    def test_only_who_is_watched(self) -> None:
        """
        An instance is watched by its id or by its address; nobody else is.
        """
        self.steps.note(1, CALLER, IDENTITY, "nobody is watched")
        self.steps.watch("10.0.0.5", 60)
        self.steps.note(2, CALLER, None, "not known yet")
        self.steps.watch("10.0.0.5", 0)
        self.steps.note(3, CALLER, IDENTITY, "watched no more")
        self.steps.watch("i-1", 60)
        self.steps.note(4, CALLER, IDENTITY, "known")
        self.steps.note(5, CALLER, None, "somebody")
        self.assertEqual(self.seen(), ["not known yet", "known"])

    def test_ends(self) -> None:
        """
        Nobody is watched for longer than an hour, and then requests cost what they cost
        before.
        """
        self.steps.watch("i-1", LONGEST * 9)
        self.clock.advance(LONGEST)
        self.steps.note(1, CALLER, IDENTITY, "too late")
        self.assertEqual(self.seen(), [])
        self.assertEqual(self.steps.watched, {})

    def test_bounds(self) -> None:
        """
        Only so many are watched at a time, and only so many steps remembered.
        """
        for number in range(MOST_WATCHED):
            self.steps.watch(f"i-{number}", 60)
        self.assertRaises(TooManyWatched, self.steps.watch, "one-more", 60)
        self.steps.watch("i-1", 90)
        for number in range(MOST + 5):
            self.steps.note(number, CALLER, IDENTITY, str(number))
        self.assertEqual(self.seen(), [str(n) for n in range(5, MOST + 5)])
        self.steps.clear()
        self.assertEqual(self.seen(), [])
        self.assertEqual(len(self.steps.watched), MOST_WATCHED)
