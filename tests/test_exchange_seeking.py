"""
Tests for L{mdproxy.exchange}: callers whose MAC is found later, or not trusted.
"""

from __future__ import annotations

from attrs import evolve

from mdproxy.model import Caller
from tests.asking import ProxyTestCase
from tests.outside import ADDRESS, CALLER, MAC, OTHER_MAC, port_of


class SeekingTests(ProxyTestCase):
    """
    A caller of whom only network and address are known at first.
    """

    def setUp(self) -> None:
        """
        Let it be looked for.
        """
        super().setUp()
        self.found: Caller | None = None
        self.unknown = Caller("a network", ADDRESS, None, probed=True, seek=self.seek)

    def seek(self) -> Caller:
        """
        Look for the caller.
        """
        return self.found or self.unknown

    def test_found_later(self) -> None:
        """
        It is held, and Nova is asked as soon as its MAC is seen.
        """
        exchange, reply = self.ask(caller=self.unknown)
        self.advance(1)
        self.assertEqual(self.upstream.asked, [])
        self.found = CALLER
        self.advance(0.6)
        self.assertEqual(exchange.caller, CALLER)
        self.upstream.answer(200, b"data")
        self.assert_answer(reply, 200, b"data")

    def test_then_waited_for(self) -> None:
        """
        One whose MAC is found, and whose port is not known, waits for that: the
        inventories are asked for its MAC.
        """
        self.world.know()
        _exchange, reply = self.ask(caller=self.unknown)
        self.advance(1)
        self.found = CALLER
        self.advance(0.6)
        self.assertIn(("red", MAC), self.world.inventory.refreshes)
        self.world.know(port_of())
        self.advance(0.1)
        self.upstream.answer(200, b"data")
        self.assert_answer(reply, 200, b"data")

    def test_never_found(self) -> None:
        """
        One that is not found within the hold is told to come back.
        """
        _exchange, reply = self.ask(caller=self.unknown)
        self.advance(8.1, step=0.05)
        self.assert_own_answer(reply, 503)
        self.assertTrue(reply.is_mistrusted)

    def test_gone(self) -> None:
        """
        One that hangs up while it is looked for leaves nothing behind.
        """
        exchange, reply = self.ask(caller=self.unknown)
        exchange.cancel()
        self.assertTrue(reply.silent)

    def test_turned_while_nova_is_asked(self) -> None:
        """
        Once it is found, a turn of its neighbour entry breaks off as ever.
        """
        self.found = CALLER
        _exchange, reply = self.ask(caller=self.unknown)
        self.world.point(OTHER_MAC)
        self.world.neighbours.drain()
        self.assertEqual(reply.over, "aborted")


class MistrustTests(ProxyTestCase):
    """
    A connection that may be another's.
    """

    def test_turned(self) -> None:
        """
        Where frame and neighbour entry differ nobody knows whose connection it is
        (docs/adr/0002).
        """
        _exchange, reply = self.ask(caller=evolve(CALLER, mac=OTHER_MAC))
        self.advance(8.1, step=0.05)
        self.assert_own_answer(reply, 404)
        self.assertTrue(reply.is_mistrusted)

    def test_too_often(self) -> None:
        """
        Nor where it asks too often: nobody has looked who it is.
        """
        self.proxy.rates.resize(1, 1)
        self.ask()
        self.upstream.answer(200, b"data")
        _exchange, reply = self.ask()
        self.assert_own_answer(reply, 429)
        self.assertTrue(reply.is_mistrusted)

    def test_other_refusals(self) -> None:
        """
        After any other refusal it is known: it is nobody's.
        """
        self.world.know()
        _exchange, reply = self.ask()
        self.advance(8.1, step=0.05)
        self.assert_own_answer(reply, 404)
        self.assertFalse(reply.is_mistrusted)
