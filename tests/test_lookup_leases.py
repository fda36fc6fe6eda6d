"""
Tests for L{mdproxy.lookup.leases}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.formats import Record
from mdproxy.lookup.leases import QUIET, LeaseTable

MAC1 = "fa:16:3e:77:00:01"
MAC2 = "fa:16:3e:77:00:02"
ONE = Record("10.0.0.1", MAC1, 100.0)
TWO = Record("10.0.0.2", MAC1, 100.0)
THREE = Record("10.0.0.3", MAC1, 100.0)
ENDED = Record("10.0.0.1", None, None, is_held=False)


def view_of(*records: Record) -> dict[str, Record]:
    """
    Make what a file of these records shows.
    """
    return {record.address: record for record in records}


class LeaseTableTests(SynchronousTestCase):
    """
    Tests for L{LeaseTable}.
    """

    def setUp(self) -> None:
        """
        Make a table.
        """
        self.table = LeaseTable()

    def take(self, *records: Record) -> list[tuple[Record | None, Record | None]]:
        """
        Take what records say.

        @return: What changed.
        """
        return [change for change in self.table.take(view_of(*records)) if change]

    def settle(self) -> set[str]:
        """
        Believe absences.

        @return: The addresses that were forgotten.
        """
        changes = [change for change in self.table.settle() if change]
        self.assertTrue(all(record is None for _, record in changes))
        return {former.address for former, _ in changes if former is not None}

    def test_additions_at_once(self) -> None:
        """
        A new record and a changed one count at once, and only they are told.
        """
        self.assertEqual(self.take(ONE, TWO), [(None, ONE), (None, TWO)])
        other = Record("10.0.0.2", MAC2, 200.0)
        same = Record(ONE.address, ONE.mac, ONE.expires)
        self.assertEqual(self.take(THREE, same, other), [(None, THREE), (TWO, other)])
        self.assertEqual(self.table.records, view_of(ONE, other, THREE))

    def test_there_and_back(self) -> None:
        """
        A record that changes and changes back counts each time.
        """
        other = Record("10.0.0.1", MAC2, 200.0)
        self.take(ONE)
        self.assertEqual(self.take(other), [(ONE, other)])
        self.assertEqual(self.take(ONE), [(other, ONE)])

    def test_ends_at_once(self) -> None:
        """
        That nobody has an address is said, too, and counts at once; once.
        """
        self.assertEqual(self.take(ENDED), [])
        self.take(ONE)
        self.assertEqual(self.take(ENDED), [(ONE, None)])
        self.assertEqual(self.take(ENDED), [])
        self.assertEqual(self.take(ONE), [(None, ONE)])

    def test_short_steps(self) -> None:
        """
        Each change is a step, and so are some records that change nothing.
        """
        many = view_of(*(Record(f"10.1.{n}.1", MAC1, None) for n in range(250)))
        for _ in self.table.take(many):
            pass
        more = {**many, **view_of(*(Record(f"10.2.{n}.1", MAC1, None) for n in (1, 2)))}
        self.assertEqual(len(list(self.table.take(more))), 3)
        self.assertEqual(len(list(self.table.take({**more, **view_of(ENDED)}))), 1)
        self.assertGreater(
            len(list(self.table.take({f"{n}": ENDED for n in range(1000)}))), 3
        )

    def test_removal_waits(self) -> None:
        """
        What a reading does not show is forgotten when the table settles, and no sooner.
        """
        self.take(ONE, TWO)
        self.assertEqual(self.take(ONE), [])
        self.table.miss(view_of(ONE))
        self.assertEqual(len(self.table.records), 2)
        self.assertEqual(self.settle(), {"10.0.0.2"})
        self.assertEqual(self.table.records, view_of(ONE))
        self.assertEqual(self.settle(), set())

    def test_missing_comes_back(self) -> None:
        """
        What is said again, or ended, before the table settles is not missing.
        """
        self.take(ONE, TWO, THREE)
        self.table.miss({})
        self.take(TWO)
        self.assertEqual(self.take(ENDED), [(ONE, None)])
        self.assertEqual(self.settle(), {"10.0.0.3"})

    def test_quiet(self) -> None:
        """
        A store is quiet when it has looked the same for a second.
        """
        look = self.table.look
        self.assertFalse(look("a", 5.0))
        self.assertFalse(look("a", 5.0 + QUIET * 0.9))
        self.assertTrue(look("a", 5.0 + QUIET))
        self.assertFalse(look("b", 5.0 + QUIET))
        self.assertFalse(look("a", 5.0 + 2 * QUIET))

    def test_changing_is_never_quiet(self) -> None:
        """
        A store that changes while it is read is not quiet, however often it is.
        """
        for now in range(10):
            self.assertFalse(self.table.look(None, now * 10.0))

    @given(st.lists(st.lists(st.sampled_from([ONE, TWO, THREE, ENDED]), max_size=4)))
    def test_tells_all(self, views: list[list[Record]]) -> None:
        """
        Whoever is told of every change knows what the table knows.
        """
        table, told = LeaseTable(), dict[str, Record]()
        for records in views:
            view = view_of(*records)
            changes = list(table.take(view))
            table.miss(view)
            if len(records) % 2:
                changes += table.settle()
            for change in filter(None, changes):
                former, record = change
                if former is not None:
                    self.assertEqual(told.pop(former.address), former)
                if record is not None:
                    told[record.address] = record
            self.assertEqual(told, table.records)
