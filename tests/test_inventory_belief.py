"""
Tests for L{mdproxy.inventory.belief}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.belief import FOLLOWED, Beliefs, Seat
from mdproxy.model import Port

NETWORK = "red"
MAC = "fa:16:3e:00:00:01"
SEAT = (NETWORK, MAC)


def port_of(instance_id: str, seat: Seat = SEAT) -> Port:
    """
    Make a port.
    """
    return Port(*seat, instance_id, "p", frozenset({"10.0.0.5"}))


class BeliefsTests(SynchronousTestCase):
    """
    Tests for L{Beliefs}, which last for 10 seconds.
    """

    def setUp(self) -> None:
        """
        Have a book.
        """
        self.book: dict[Seat, tuple[Port, ...]] = {}
        self.entries = 0
        self.beliefs = Beliefs(self.enter, 10.0)

    def enter(self, seat: Seat, ports: tuple[Port, ...]) -> None:
        """
        Write into the book.
        """
        self.entries += 1
        self.book[seat] = ports

    def learn(self, instance_id: str, asked: float, is_here: bool = True) -> None:
        """
        Learn that an instance has the seat; C{""}: nobody has it.
        """
        ports = [port_of(instance_id)] if instance_id else []
        self.beliefs.learn(SEAT, ports, asked, is_here)

    def instance(self, seat: Seat = SEAT) -> str | None:
        """
        Read who has a seat.
        """
        ports = self.book.get(seat, ())
        return ports[0].instance_id if ports else None

    def test_learns(self) -> None:
        """
        What is learnt is in the book, and written once.
        """
        self.learn("a", 0)
        self.learn("a", 5)
        self.assertEqual(self.instance(), "a")
        self.assertEqual(self.entries, 1)
        self.assertEqual(len(self.beliefs), 1)

    def test_moved_port(self) -> None:
        """
        A port that another instance has now is that one's, by the next answer.
        """
        self.learn("a", 0)
        self.learn("b", 1)
        self.assertEqual(self.instance(), "b")
        self.learn("", 2)
        self.assertIsNone(self.instance())

    def test_lapses(self) -> None:
        """
        No answer is believed for longer than its time, counted from the question (D1).
        """
        self.learn("a", 0)
        self.beliefs.lapse(8.9, False)
        self.assertEqual(self.instance(), "a")
        self.beliefs.lapse(9.1, False)
        self.assertIsNone(self.instance())
        self.assertEqual(len(self.beliefs), 0)

    def test_confirmed(self) -> None:
        """
        A later answer that says the same is believed for as long again.
        """
        self.learn("a", 0)
        self.learn("a", 8)
        self.beliefs.lapse(16, False)
        self.assertEqual(self.instance(), "a")
        self.beliefs.lapse(18, False)
        self.assertIsNone(self.instance())

    def test_late_answer(self) -> None:
        """
        The answer to an earlier question does not replace that to a later one.
        """
        self.learn("b", 5)
        self.learn("a", 4)
        self.assertEqual(self.instance(), "b")

    def test_renewed(self) -> None:
        """
        What was asked for lately is to be asked for again before it lapses; what
        nobody asks for is not.
        """
        other = (NETWORK, "fa:16:3e:00:00:02")
        self.beliefs.note_wanted(SEAT, 0)
        self.learn("a", 0)
        self.beliefs.learn(other, [port_of("b", other)], 0, True)
        self.assertEqual(self.beliefs.lapse(5, False), [])
        self.assertEqual(self.beliefs.lapse(7, False), [SEAT])
        self.learn("a", FOLLOWED)
        self.assertEqual(self.beliefs.lapse(FOLLOWED + 7, False), [])

    def test_eldest(self) -> None:
        """
        What was confirmed the longest ago is named first, of one network alone.
        """
        seats: list[Seat] = [(NETWORK, f"fa:16:3e:00:00:{n:02x}") for n in range(3)]
        for asked, seat in zip((5, 3, 4), seats, strict=True):
            self.beliefs.learn(seat, [port_of("a", seat)], asked, True)
        blue = ("blue", MAC)
        self.beliefs.learn(blue, [port_of("a", blue)], 0, True)
        self.assertEqual(self.beliefs.eldest(NETWORK, 2), [seats[1][1], seats[2][1]])

    def test_away(self) -> None:
        """
        While the API is away what is on this host stays and nothing else, and when it
        is back what is too old lapses at once.
        """
        other = (NETWORK, "fa:16:3e:00:00:02")
        self.learn("a", 0)
        self.beliefs.learn(other, [port_of("b", other)], 0, False)
        self.beliefs.lapse(100, True)
        self.assertEqual(self.instance(), "a")
        self.assertIsNone(self.instance(other))
        self.beliefs.lapse(101, False)
        self.assertIsNone(self.instance())

    def test_withdraw_here(self) -> None:
        """
        A port of this host that the host's list does not have is gone; one of another
        host, another network, or learnt later is not.
        """
        seats: list[Seat] = [(NETWORK, f"fa:16:3e:00:00:{n:02x}") for n in range(4)]
        seats.append(("blue", MAC))
        for number, seat in enumerate(seats):
            asked, is_here = (9 if number == 3 else 0), number != 2
            self.beliefs.learn(seat, [port_of(f"i{number}", seat)], asked, is_here)
        self.beliefs.withdraw_here({seats[1]}, 5, NETWORK)
        self.assertEqual(
            [self.instance(seat) for seat in seats], [None, "i1", "i2", "i3", "i4"]
        )
        self.beliefs.withdraw_here(set(), 10, None)
        self.assertEqual(
            [self.instance(seat) for seat in seats], [None, None, "i2", None, None]
        )

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["", "a", "b", "look", "away"]),
                st.sampled_from([0.0, 0.5, 1.0, 4.0, 30.0]),
                st.sampled_from([0.0, 0.4, 3.0]),
            ),
            max_size=30,
        )
    )
    def test_any_history(self, steps: list[tuple[str, float, float]]) -> None:
        """
        Whatever is learnt and whenever, looked at once a second, nobody is believed
        whom no answer of the last ten seconds named while the API was there.
        """
        self.setUp()
        now, named = 0.0, {"a": -99.0, "b": -99.0}
        for what, delay, lag in steps:
            for _ in range(int(delay)):
                now += 1.0
                self.beliefs.lapse(now, what == "away")
            now += delay % 1.0
            if what in ("", "a", "b"):
                self.learn(what, now - lag, is_here=True)
                if what:
                    named[what] = max(named[what], now - lag)
            elif what == "look":
                self.beliefs.lapse(now, False)
            believed = self.instance()
            if believed is not None and what != "away":
                self.beliefs.lapse(now, False)
                believed = self.instance()
                self.assertTrue(believed is None or now - named[believed] <= 10)
