"""
Tests for L{mdproxy.http.room}; what it means for instances is in
L{tests.test_scenarios_clients}, A6.
"""

from __future__ import annotations

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.http.room import Room
from mdproxy.limits import Seat, Shares

_NEW = ("net", "new")


@define(eq=False)
class Connection:
    """
    A connection that counts how often it is looked at.
    """

    since: float | None
    looks: int = 0

    @property
    def idle_since(self) -> float | None:
        """
        Provide C{MayBeIdle.idle_since}.
        """
        self.looks += 1
        return self.since


class RoomTests(SynchronousTestCase):
    """
    Tests for L{Room}.
    """

    def setUp(self) -> None:
        """
        Have all places taken, each by another.
        """
        self.shares = Shares(9, 1000, 1000)
        self.room: Room[Connection] = Room(self.shares)
        self.held: list[tuple[Connection, Seat]] = []
        for number in range(1000):
            self.add(Connection(float(number)), ("net", str(number)))

    def add(self, connection: Connection, holder: Seat) -> None:
        """
        Let somebody take a place.
        """
        self.assertTrue(self.shares.take(holder))
        self.room.add(connection, holder)
        self.held.append((connection, holder))

    def leave(self, connection: Connection, holder: Seat) -> None:
        """
        Let somebody go.
        """
        self.shares.give_back(holder)
        self.room.discard(connection, holder)

    @property
    def looks(self) -> int:
        """
        Count the looks at connections.
        """
        return sum(connection.looks for connection, _ in self.held)

    def test_one_look_for_many(self) -> None:
        """
        What one look found is used up, the longest idle first, before all are looked at
        again.
        """
        for number in range(500):
            found = self.room.find(_NEW, 2000)
            self.assertEqual(found, self.held[number])
            self.leave(*self.held[number])
            self.add(Connection(2000), ("net", f"new-{number}"))
        self.assertLess(self.looks, 5 * len(self.held))

    def test_nobody(self) -> None:
        """
        Where nobody is idle newcomers cost no more than a look once in a while.
        """
        for connection, _ in self.held:
            connection.since = None
        for _ in range(100):
            self.assertIsNone(self.room.find(_NEW, 2000))
        self.assertEqual(self.looks, 1000)
        self.held[7][0].since = 2000
        self.assertEqual(self.room.find(_NEW, 2000.2), self.held[7])

    def test_busy_since(self) -> None:
        """
        One that was used since the look, or is idle again, is passed over.
        """
        self.assertEqual(self.room.find(_NEW, 2000), self.held[0])
        self.held[0][0].since = None
        self.held[1][0].since = 2001
        self.assertEqual(self.room.find(_NEW, 2002), self.held[2])

    def test_forgets(self) -> None:
        """
        When the rush is over nothing is kept of those that have left.
        """
        self.assertIsNotNone(self.room.find(_NEW, 2000))
        for connection, holder in self.held:
            self.leave(connection, holder)
        self.assertEqual((self.room._idle, self.room._held), ({}, {}))
