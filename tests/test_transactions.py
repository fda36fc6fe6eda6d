"""
Tests for L{mdproxy.transactions}.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.model import Caller
from mdproxy.transactions import MOST, TARGET, Transactions

CALLER = Caller("red", "10.0.0.5", None)


def note(transactions: Transactions, target: bytes = b"/", status: int = 200) -> None:
    """
    Write one down.
    """
    transactions.note(
        (5.0, 0.25, CALLER, "i-1", b"GET", target[:TARGET], status, 1, "relayed")
    )


class TransactionsTests(SynchronousTestCase):
    """
    Tests for L{Transactions}.
    """

    def test_words(self) -> None:
        """
        A transaction is told in plain words that JSON can carry.
        """
        transactions = Transactions()
        note(transactions, b"/\xe9")
        (told,) = json.loads(json.dumps(transactions.describe()))
        self.assertEqual(
            told,
            {
                "ended": 5.0,
                "seconds": 0.25,
                "network": "red",
                "address": "10.0.0.5",
                "mac": None,
                "instance": "i-1",
                "method": "GET",
                "target": "/\xe9",
                "status": 200,
                "tries": 1,
                "outcome": "relayed",
            },
        )

    def test_ring(self) -> None:
        """
        Only the latest are remembered, and they are told first.
        """
        transactions = Transactions()
        for number in range(MOST + 7):
            note(transactions, b"/", number)
        told = transactions.describe()
        self.assertEqual(
            [each["status"] for each in told], list(range(MOST + 6, 6, -1))
        )
