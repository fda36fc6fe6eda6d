"""
Tests for L{mdproxy.inventory.page}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.page import Page, RouterPage
from mdproxy.lookup.books import NetworkBook, PortBook
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


PORT_ID = "0123456789a-bcd-efgh"


class RouterPageTests(SynchronousTestCase):
    """
    Tests for L{RouterPage}.
    """

    def setUp(self) -> None:
        """
        Have a page that is not shown, of a book with a router's link.
        """
        self.book = NetworkBook()
        self.book.attach_port("qrouter-r/qr-x", PORT_ID[:11])
        self.page = RouterPage(self.book)

    def name(self) -> str:
        """
        Tell what the link's network is called: by the book, and so by the page.
        """
        name = self.book.name_of("qrouter-r/qr-x")
        self.assertEqual(self.page.name_of("qrouter-r/qr-x"), name)
        return name

    def test_shown_and_hidden(self) -> None:
        """
        The book has what was entered from the moment that the page is shown until it
        is hidden, and what was entered meanwhile when it is shown again.
        """
        self.page.enter("inv", PORT_ID, "red")
        self.assertEqual(self.name(), "qrouter-r/qr-x")
        self.page.show()
        self.assertEqual(self.name(), "red")
        self.page.enter("inv", PORT_ID, "blue")
        self.assertEqual(self.name(), "blue")
        self.page.hide()
        self.assertEqual(self.name(), "qrouter-r/qr-x")
        self.page.enter("inv", PORT_ID, "red")
        self.page.show()
        self.assertEqual(self.name(), "red")

    def test_gone(self) -> None:
        """
        A port that is gone is gone, shown or not.
        """
        self.page.enter("inv", PORT_ID, "red")
        self.page.enter("inv", PORT_ID, None)
        self.page.show()
        self.assertEqual(self.name(), "qrouter-r/qr-x")
        self.page.enter("inv", PORT_ID, "red")
        self.page.enter("inv", PORT_ID, None)
        self.assertEqual(self.name(), "qrouter-r/qr-x")
