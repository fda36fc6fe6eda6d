"""
Tests for L{mdproxy.lookup.books}.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.books import Flip, LeaseBook, NeighbourBook, PortBook
from mdproxy.model import Lease, Neighbour, Port

A = "fa:16:3e:00:00:0a"
B = "fa:16:3e:00:00:0b"
C = "fa:16:3e:00:00:0c"


def _port(
    mac: str = A,
    addresses: tuple[str, ...] | None = ("10.0.0.1",),
    network: str = "red",
    instance: str = "i-1",
) -> Port:
    """
    Make a port.
    """
    fixed = None if addresses is None else frozenset(addresses)
    return Port(network, mac, instance, "p-1", fixed)


class PortBookTests(SynchronousTestCase):
    """
    Tests for L{PortBook}.
    """

    def setUp(self) -> None:
        """
        Make a book, and note what it tells.
        """
        self.book = PortBook()
        self.told: list[str] = []
        self.book.observe(self.told.append)

    def test_found_by_mac_and_address(self) -> None:
        """
        A port is found by its MAC and by each address, on its own network only.
        """
        port = _port(addresses=("10.0.0.1", "fe80::1"))
        self.book.enter("inv", "file", [port])
        self.assertEqual(self.book.by_mac("red", A), (port,))
        self.assertEqual(self.book.by_address("red", "10.0.0.1"), (port,))
        self.assertEqual(self.book.by_address("red", "fe80::1"), (port,))
        self.assertEqual(self.book.by_mac("blue", A), ())
        self.assertEqual(self.book.by_address("blue", "10.0.0.1"), ())
        self.assertEqual(self.book.by_mac("red", B), ())

    def test_same_seat_on_two_networks(self) -> None:
        """
        Networks that use the same addresses and MACs don't meet.
        """
        red, blue = _port(), _port(network="blue", instance="i-2")
        self.book.enter("inv", "file", [red, blue])
        self.assertEqual(self.book.by_mac("red", A), (red,))
        self.assertEqual(self.book.by_address("blue", "10.0.0.1"), (blue,))

    def test_record_is_replaced(self) -> None:
        """
        What a record says now replaces all that it said before, and nothing else.
        """
        self.book.enter("inv", "one", [_port(A), _port(B, ("10.0.0.2",))])
        self.book.enter("inv", "two", [_port(C, ("10.0.0.3",))])
        self.book.enter("inv", "one", [_port(B, ("10.0.0.4",))])
        self.assertEqual(self.book.by_mac("red", A), ())
        self.assertEqual(self.book.by_address("red", "10.0.0.2"), ())
        self.assertEqual(len(self.book.by_address("red", "10.0.0.4")), 1)
        self.assertEqual(len(self.book.by_mac("red", C)), 1)
        self.assertEqual(sorted(self.book.records("inv")), ["one", "two"])
        self.book.enter("inv", "two", [])
        self.assertEqual(self.book.records("inv"), ["one"])
        self.assertEqual(len(self.book), 1)

    def test_duplicates_show(self) -> None:
        """
        A port that is known twice is found twice, from whatever records, and once when
        one of them takes it back.
        """
        port = _port()
        self.book.enter("inv", "one", [port, port])
        self.book.enter("other", "one", [port])
        self.assertEqual(len(self.book.by_mac("red", A)), 3)
        self.book.enter("inv", "one", [port])
        self.assertEqual(len(self.book.by_mac("red", A)), 2)
        self.book.enter("inv", "one", [])
        self.assertEqual(self.book.by_mac("red", A), (port,))
        self.assertEqual(self.book.records("other"), ["one"])

    def test_unknown_addresses(self) -> None:
        """
        A port whose addresses nobody knows is found by its MAC only.
        """
        self.book.enter("inv", "one", [_port(addresses=None)])
        self.assertEqual(len(self.book.by_mac("red", A)), 1)
        self.book.enter("inv", "one", [])
        self.assertEqual(len(self.book), 0)

    def test_changes_are_told(self) -> None:
        """
        Observers are told each network with a changed port once, when the book has
        changed, and nothing where nothing changed.
        """
        seen: list[int] = []
        self.book.observe(lambda network: seen.append(len(self.book)))
        ports = [_port(A), _port(B), _port(C, network="blue")]
        self.book.enter("inv", "one", ports)
        self.assertEqual(sorted(self.told), ["blue", "red"])
        self.assertEqual(seen, [3, 3])
        self.told.clear()
        self.book.enter("inv", "one", ports)
        self.book.enter("inv", "one", ports[::-1])
        self.assertEqual(self.told, [])
        self.book.enter("inv", "one", ports[1:])
        self.assertEqual(self.told, ["red"])
        self.told.clear()
        self.book.enter("inv", "one", [ports[1], *ports[1:]])
        self.assertEqual(self.told, ["red"])

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["one", "two"]),
                st.lists(
                    st.builds(
                        _port,
                        st.sampled_from([A, B]),
                        st.sampled_from([None, ("10.0.0.1",), ("10.0.0.1", "fe80::1")]),
                        st.sampled_from(["red", "blue"]),
                    ),
                    max_size=4,
                ),
            ),
            max_size=8,
        )
    )
    def test_indexes_agree(self, steps: list[tuple[str, list[Port]]]) -> None:
        """
        Whatever was entered in whatever order, the book says what the records say.
        """
        book = PortBook()
        records: dict[str, list[Port]] = {}
        for record, ports in steps:
            book.enter("inv", record, ports)
            records[record] = ports
        everything = [port for ports in records.values() for port in ports]
        for network in ("red", "blue"):
            for mac in (A, B):
                expected = [
                    p for p in everything if (p.network, p.mac) == (network, mac)
                ]
                self.assertCountEqual(book.by_mac(network, mac), expected)
            for address in ("10.0.0.1", "fe80::1"):
                expected = [
                    p
                    for p in everything
                    if p.network == network and address in (p.addresses or ())
                ]
                self.assertCountEqual(book.by_address(network, address), expected)
        self.assertEqual(len(book), len(everything))


class FormerHolderTests(SynchronousTestCase):
    """
    Tests for L{PortBook.was_held}.
    """

    def test_gone(self) -> None:
        """
        An address was held by a port that is gone, on its network, as long as no other
        port has its MAC.
        """
        book = PortBook()
        port = Port("red", A, "i-1", "p-1", frozenset({"10.0.0.1"}))
        self.assertFalse(book.was_held("red", "10.0.0.1", A))
        book.enter("static", "", [port])
        self.assertFalse(book.was_held("red", "10.0.0.1", A))
        book.enter("static", "", [])
        self.assertTrue(book.was_held("red", "10.0.0.1", A))
        for other in (("blue", "10.0.0.1", A), ("red", "10.0.0.2", A)):
            self.assertFalse(book.was_held(*other))
        self.assertFalse(book.was_held("red", "10.0.0.1", B))
        book.enter("libvirt", "x", [evolve(port, addresses=None)])
        self.assertFalse(book.was_held("red", "10.0.0.1", A))

    def test_bounded(self) -> None:
        """
        The latest are remembered, and no more than a book can bear.
        """
        book = PortBook()
        for number in range(PortBook.MEMORY + 1):
            mac = f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"
            port = Port("red", mac, "i-1", "p-1", frozenset({"10.0.0.1"}))
            book.enter("static", "", [port])
        book.enter("static", "", [])
        self.assertFalse(book.was_held("red", "10.0.0.1", "fa:16:3e:00:00:00"))
        self.assertTrue(book.was_held("red", "10.0.0.1", "fa:16:3e:00:00:01"))
        self.assertTrue(book.was_held("red", "10.0.0.1", mac))


class LeaseBookTests(SynchronousTestCase):
    """
    Tests for L{LeaseBook}.
    """

    def setUp(self) -> None:
        """
        Make a book, and note what it tells.
        """
        self.book = LeaseBook()
        self.told: list[str] = []
        self.book.observe(self.told.append)

    def test_expiry(self) -> None:
        """
        A lease holds until its end, and for ever where it has none.
        """
        self.book.learn("dm", Lease("red", "10.0.0.1", A, 100.0))
        self.book.learn("dm", Lease("red", "10.0.0.2", B, None))
        self.assertIsNotNone(self.book.holder("red", "10.0.0.1", 99.9))
        self.assertIsNone(self.book.holder("red", "10.0.0.1", 100.0))
        self.assertIsNotNone(self.book.holder("red", "10.0.0.2", 1e12))
        self.assertIsNone(self.book.holder("blue", "10.0.0.2", 0.0))

    def test_renewal(self) -> None:
        """
        What a source says now replaces what it said before.
        """
        self.book.learn("dm", Lease("red", "10.0.0.1", A, 100.0))
        self.book.learn("dm", Lease("red", "10.0.0.1", B, 50.0))
        lease = self.book.holder("red", "10.0.0.1", 0.0)
        self.assertEqual(lease, Lease("red", "10.0.0.1", B, 50.0))
        self.assertEqual(len(self.book), 1)

    def test_two_sources(self) -> None:
        """
        Of two sources' leases the longer one counts, and each source can take back only
        its own.
        """
        short = Lease("red", "10.0.0.1", A, 50.0)
        longer = Lease("red", "10.0.0.1", B, 100.0)
        self.book.learn("one", longer)
        self.book.learn("two", short)
        self.assertEqual(self.book.holder("red", "10.0.0.1", 0.0), longer)
        self.book.forget("one", "red", "10.0.0.1")
        self.book.forget("one", "red", "10.0.0.1")
        self.assertEqual(self.book.holder("red", "10.0.0.1", 0.0), short)
        self.book.forget("two", "red", "10.0.0.1")
        self.assertIsNone(self.book.holder("red", "10.0.0.1", 0.0))
        self.assertEqual(len(self.book), 0)

    def test_changes_are_told(self) -> None:
        """
        Observers are told the network of each change, and nothing where none was.
        """
        lease = Lease("red", "10.0.0.1", A, 50.0)
        self.book.learn("dm", lease)
        self.book.learn("dm", lease)
        self.assertEqual(self.told, ["red"])
        self.book.forget("dm", "red", "10.0.0.1")
        self.book.forget("dm", "red", "10.0.0.1")
        self.book.forget("dm", "blue", "10.0.0.1")
        self.assertEqual(self.told, ["red", "red"])


class NeighbourBookTests(SynchronousTestCase):
    """
    Tests for L{NeighbourBook}.
    """

    def setUp(self) -> None:
        """
        Make a book, and note what it tells.
        """
        self.book = NeighbourBook()
        self.told: list[str] = []
        self.book.observe(self.told.append)

    def learn(self, mac: str, now: float, address: str = "10.0.0.1") -> None:
        """
        Enter what the kernel says.
        """
        self.book.learn(Neighbour("red", address, mac), now)

    def test_entry(self) -> None:
        """
        An entry tells where answers go, on its own network only, until it is forgotten.
        """
        self.learn(A, 1.0)
        self.assertEqual(self.book.mac_of("red", "10.0.0.1"), A)
        self.assertIsNone(self.book.mac_of("blue", "10.0.0.1"))
        self.assertEqual(self.book.addresses("red"), ["10.0.0.1"])
        self.book.forget("red", "10.0.0.1", 2.0)
        self.assertIsNone(self.book.mac_of("red", "10.0.0.1"))
        self.assertEqual(self.book.addresses("red"), [])
        self.assertEqual(len(self.book), 0)

    def test_held_by(self) -> None:
        """
        The valid entries of a MAC are found on whatever network they are.
        """
        self.learn(A, 1.0)
        self.learn(B, 1.0, "10.0.0.2")
        self.learn(A, 1.0, "10.0.0.3")
        self.book.learn(Neighbour("blue", "10.0.0.1", A), 1.0)
        self.book.forget("red", "10.0.0.3", 2.0)
        self.assertEqual(
            self.book.held_by({A}),
            [Neighbour("red", "10.0.0.1", A), Neighbour("blue", "10.0.0.1", A)],
        )
        self.assertEqual(len(self.book.held_by({A, B})), 3)
        self.assertEqual(self.book.held_by(set()), [])
        self.assertEqual(self.book.counts(), {"red": 2, "blue": 1})

    def flips(self, since: float, address: str = "10.0.0.1") -> tuple[Flip, ...]:
        """
        Tell how an entry has changed since a moment.
        """
        return self.book.flips("red", address, since)

    def test_first_sight_is_no_flip(self) -> None:
        """
        An entry that was always the same never flipped.
        """
        self.learn(A, 1.0)
        self.learn(A, 2.0)
        self.assertEqual(self.flips(0.0), ())
        self.assertEqual(self.flips(0.0, "10.0.0.9"), ())

    def test_flip(self) -> None:
        """
        The last two changes since a moment are known, with what it changed from.
        """
        self.learn(A, 1.0)
        self.learn(B, 2.0)
        self.assertEqual(self.flips(2.0), (Flip(2.0, A),))
        self.assertEqual(self.flips(2.1), ())
        self.learn(A, 3.0)
        self.learn(A, 4.0)
        self.assertEqual(self.flips(2.0), (Flip(2.0, A), Flip(3.0, B)))
        self.learn(B, 5.0)
        self.assertEqual(self.flips(2.0), (Flip(3.0, B), Flip(5.0, A)))
        self.assertEqual(self.flips(4.0), (Flip(5.0, A),))

    def test_missed_news(self) -> None:
        """
        Where news of a network were missed any of its entries, and one that nobody
        knew, may have changed; those of others have not.
        """
        self.learn(A, 1.0)
        self.book.miss("red", 2.0)
        for address in ("10.0.0.1", "10.0.0.9"):
            self.assertEqual(self.flips(2.0, address), (Flip(2.0, None),))
            self.assertEqual(self.flips(2.1, address), ())
        self.assertEqual(self.book.flips("blue", "10.0.0.1", 0.0), ())
        self.book.leave("red")
        self.assertEqual(self.flips(0.0), ())
        self.book.leave("red")

    def test_calm(self) -> None:
        """
        A network is calm since its last turn or missed news, whatever others are; an
        entry that comes, goes or stays as it was disturbs nobody.
        """
        self.assertTrue(self.book.is_calm("red", float("-inf")))
        self.learn(A, 1.0)
        self.learn(A, 2.0)
        self.book.forget("red", "10.0.0.1", 3.0)
        self.assertTrue(self.book.is_calm("red", float("-inf")))
        self.learn(B, 4.0)
        self.assertFalse(self.book.is_calm("red", 4.0))
        self.assertTrue(self.book.is_calm("red", 4.1))
        self.book.miss("red", 5.0)
        self.assertFalse(self.book.is_calm("red", 4.1))
        self.assertTrue(self.book.is_calm("blue", 0.0))
        self.book.leave("red")
        self.assertTrue(self.book.is_calm("red", float("-inf")))

    def test_flip_through_absence(self) -> None:
        """
        An entry that vanishes between two MACs has flipped; one that comes back as it
        was has not.
        """
        self.learn(A, 1.0)
        self.book.forget("red", "10.0.0.1", 2.0)
        self.learn(A, 3.0)
        self.assertEqual(self.flips(0.0), ())
        self.book.forget("red", "10.0.0.1", 4.0)
        self.learn(B, 5.0)
        self.assertEqual(self.flips(0.0), (Flip(5.0, A),))

    def test_flips_are_told(self) -> None:
        """
        Who asked for it is told which entry flipped, when it has, each time.
        """
        flips: list[tuple[str, str, str | None]] = []
        self.book.observe_flips(
            lambda network, address: flips.append(
                (network, address, self.book.mac_of(network, address))
            )
        )
        self.learn(A, 1.0)
        self.learn(B, 2.0)
        self.learn(B, 3.0)
        self.book.forget("red", "10.0.0.1", 4.0)
        self.learn(B, 5.0)
        self.learn(A, 6.0)
        self.assertEqual(flips, [("red", "10.0.0.1", B), ("red", "10.0.0.1", A)])

    def test_memory_ends(self) -> None:
        """
        What was forgotten long ago is no more in memory; what came back is.
        """
        for last in range(200):
            self.learn(A, 1.0, f"10.0.0.{last}")
            self.book.forget("red", f"10.0.0.{last}", 1.0)
        self.learn(A, 2.0, "10.0.0.7")
        self.learn(B, 2.0, "10.0.1.1")
        self.assertEqual(len(self.book), 2)
        self.assertEqual(len(self.book._entries), 201)
        self.book.forget("red", "10.0.1.1", 1.0 + NeighbourBook.MEMORY)
        self.assertEqual(len(self.book._entries), 201)
        self.learn(B, NeighbourBook.MEMORY + 10.0, "10.0.1.2")
        self.book.forget("red", "10.0.1.2", NeighbourBook.MEMORY + 10.0)
        self.assertEqual(
            sorted(self.book._entries),
            [("red", "10.0.0.7"), ("red", "10.0.1.1"), ("red", "10.0.1.2")],
        )
        self.assertEqual(self.book.addresses("red"), ["10.0.0.7"])
        self.learn(B, 41.0, "10.0.0.7")
        self.assertEqual(self.flips(41.0, "10.0.0.7"), (Flip(41.0, A),))

    def test_memory_is_bounded(self) -> None:
        """
        Whoever has the kernel learn and forget addresses without end has what happened
        on its own network forgotten, so that it counts as missed; not that of others.
        """
        for address in ("10.0.0.1", "10.0.0.2"):
            for network in ("red", "blue"):
                self.book.learn(Neighbour(network, address, A), 1.0)
                self.book.forget(network, address, 1.0)
        for at in range(2 * NeighbourBook.MOST):
            self.learn(A, 2.0, f"fe80::{at:x}")
            self.book.forget("red", f"fe80::{at:x}", 2.0)
            self.assertLessEqual(len(self.book._entries), NeighbourBook.MOST + 1)
        self.assertEqual(len(self.book), 0)
        self.assertFalse(self.book.is_calm("red", 2.0))
        self.assertEqual(self.flips(2.0, "10.0.0.1"), (Flip(2.0, None),))
        self.assertTrue(self.book.is_calm("blue", 0.0))
        self.book.learn(Neighbour("blue", "10.0.0.1", B), 3.0)
        self.assertEqual(self.book.flips("blue", "10.0.0.1", 0.0), (Flip(3.0, A),))

    def test_changes_are_told(self) -> None:
        """
        Observers are told the network of each change, and nothing where none was.
        """
        self.learn(A, 1.0)
        self.learn(A, 2.0)
        self.book.forget("red", "10.0.0.9", 2.0)
        self.assertEqual(self.told, ["red"])
        self.learn(B, 3.0)
        self.book.forget("red", "10.0.0.1", 4.0)
        self.book.forget("red", "10.0.0.1", 5.0)
        self.assertEqual(self.told, ["red", "red", "red"])
