"""
Tests for L{mdproxy.inventory.page}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.page import Page
from mdproxy.lookup.books import PortBook
from mdproxy.model import Port

MAC = "fa:16:3e:00:00:01"
ONE = Port("red", MAC, "i-1", "p-1", frozenset({"10.0.0.1"}))
OTHER = Port("red", MAC, "i-2", "p-1", frozenset({"10.0.0.1"}))


class PageTests(SynchronousTestCase):
    """
    Tests for L{Page}.
    """

    def setUp(self) -> None:
        """
        Have a page of a book, and note what the book tells.
        """
        self.book = PortBook()
        self.told: list[str] = []
        self.book.observe(self.told.append)
        self.page = Page(self.book)

    def known(self) -> tuple[Port, ...]:
        """
        List what the book knows of the MAC.
        """
        return self.book.by_mac("red", MAC)

    def test_hidden_at_first(self) -> None:
        """
        What is entered before it is shown is in no book, and nobody hears of it.
        """
        self.page.enter("inv", "file", [ONE])
        self.assertEqual((self.known(), self.told), ((), []))

    def test_shown(self) -> None:
        """
        From the moment it is shown the book has all that was entered last, and what
        comes after.
        """
        self.page.enter("inv", "file", [ONE])
        self.page.enter("inv", "gone", [ONE])
        self.page.enter("inv", "gone", ())
        self.page.show()
        self.assertEqual(self.known(), (ONE,))
        self.page.enter("inv", "file", [OTHER])
        self.assertEqual(self.known(), (OTHER,))
        self.page.enter("inv", "file", ())
        self.assertEqual(self.known(), ())

    def test_hidden_again(self) -> None:
        """
        When it is hidden the book keeps nothing of it; shown again it has what is true
        then.
        """
        self.page.show()
        self.page.enter("inv", "file", [ONE])
        self.page.hide()
        self.assertEqual((self.known(), len(self.book)), ((), 0))
        self.page.enter("inv", "file", [OTHER])
        self.assertEqual(self.known(), ())
        self.page.show()
        self.assertEqual(self.known(), (OTHER,))

    def test_shown_twice(self) -> None:
        """
        Showing what is shown changes nothing, and nobody hears of it.
        """
        self.page.enter("inv", "file", [ONE])
        self.page.show()
        self.told.clear()
        self.page.show()
        self.assertEqual((self.known(), self.told), ((ONE,), []))
