"""
Tests for L{mdproxy.exchange}: what Nova's 404 for a known instance makes it do.
"""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred

from tests.asking import ProxyTestCase
from tests.outside import ADDRESS, MAC, port_of

#: What only some instances have, so that a 404 for it is nothing unusual.
ABSENT = b"/latest/user-data"
#: What all have, so that Nova has looked for the instance if it answers well.
PRESENT = b"/latest/meta-data/instance-id"


class NotFoundTests(ProxyTestCase):
    """
    Nova answers 404 to a caller that an inventory knows.
    """

    def test_confirmed(self) -> None:
        """
        The inventories look again, and name the same instance: the 404 is relayed.
        """
        _exchange, reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        self.assertEqual(self.world.inventory.refreshes, [("red", MAC)])
        self.assert_answer(reply, 404, b"none")

    def test_another_has_the_port(self) -> None:
        """
        They name another instance: Nova is asked for that one, and the first one's 404
        is forgotten.
        """
        self.world.inventory.ports = [port_of(instance_id="i-2")]
        _exchange, reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        self.assertTrue(reply.silent)
        ((_, first), (_, second)) = self.upstream.asked
        self.assertIn(b"X-Instance-ID: i-1\r\n", first)
        self.assertIn(b"X-Instance-ID: i-2\r\n", second)
        self.upstream.answer(200, b"data")
        self.assert_answer(reply, 200, b"data")

    def test_nobody_has_the_port(self) -> None:
        """
        They know the caller no more: it waits, and is known in a moment.
        """
        self.world.inventory.ports = []
        _exchange, reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        self.assertTrue(reply.silent)
        self.world.inventory.ports = [port_of(instance_id="i-2")]
        self.advance(1.1)
        self.upstream.answer(200, b"data")
        self.assert_answer(reply, 200, b"data")

    def test_nobody_has_it_for_good(self) -> None:
        """
        They never know it again: it is told so when the hold is used up, in our words.
        """
        self.world.inventory.ports = []
        _exchange, reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        self.advance(4.1)
        self.assert_own_answer(reply, 404)

    def test_once(self) -> None:
        """
        A request has them look once; if Nova says 404 of the second instance too, that
        is relayed.
        """
        self.world.inventory.ports = [port_of(instance_id="i-2")]
        _exchange, reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        self.upstream.answer(404, b"neither")
        self.assert_answer(reply, 404, b"neither")
        self.assertEqual(self.world.inventory.refreshes, [("red", MAC)])

    def test_once_a_second(self) -> None:
        """
        What they confirmed a moment ago is not doubted again; a second later it is.
        """
        for waited, looks in ((0, 1), (0.5, 1), (0.6, 2)):
            self.advance(waited)
            _exchange, reply = self.ask(ABSENT)
            self.upstream.answer(404, b"none")
            self.assert_answer(reply, 404, b"none")
            self.assertEqual(len(self.world.inventory.refreshes), looks)

    def test_known_to_nova(self) -> None:
        """
        An instance that Nova knew a moment ago is not doubted: it is what is asked for
        that is not there, as with the EC2 versions that cloud-init tries.  To look
        again takes as long as others of the network have it looked for.
        """
        for waited, looks in ((0, 0), (2.5, 0), (0.6, 1)):
            if not waited:
                _exchange, reply = self.ask(PRESENT)
                self.upstream.answer(200, b"i-00000001")
            self.advance(waited)
            _exchange, reply = self.ask(ABSENT)
            self.upstream.answer(404, b"none")
            self.assert_answer(reply, 404, b"none")
            self.assertEqual(len(self.world.inventory.refreshes), looks)

    def test_known_to_nova_again(self) -> None:
        """
        It counts when Nova knew the instance last, not first; what Nova says to
        everybody does not.
        """
        for target, looks in ((PRESENT, 0), (PRESENT, 0), (b"/", 1)):
            self.advance(2)
            _exchange, reply = self.ask(target)
            self.upstream.answer(200, b"latest")
            self.advance(2)
            _exchange, reply = self.ask(ABSENT)
            self.upstream.answer(404, b"none")
            self.assert_answer(reply, 404, b"none")
            self.assertEqual(len(self.world.inventory.refreshes), looks, target)

    def test_another_instance_known_to_nova(self) -> None:
        """
        That Nova knew who had the port before says nothing of who has it now.
        """
        _exchange, _reply = self.ask(PRESENT)
        self.upstream.answer(200, b"i-00000001")
        self.world.know(evolve(port_of(), instance_id="i-2"))
        _exchange, _reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        self.assertEqual(self.world.inventory.refreshes, [("red", MAC)])

    def test_other_answers(self) -> None:
        """
        Nothing but a 404 makes them look.
        """
        for status in (200, 400, 409):
            _exchange, reply = self.ask(ABSENT)
            self.upstream.answer(status, b"data")
            self.assert_answer(reply, status, b"data")
        self.assertEqual(self.world.inventory.refreshes, [])

    def test_post(self) -> None:
        """
        What was posted can't be asked again, so nobody looks.
        """
        self.world.inventory.ports = [port_of(instance_id="i-2")]
        _exchange, reply = self.ask(ABSENT, b"POST", b"password")
        self.upstream.answer(404, b"none")
        self.assert_answer(reply, 404, b"none")
        self.assertEqual(self.world.inventory.refreshes, [])


class SlowInventoryTests(ProxyTestCase):
    """
    An inventory that must ask over a network.
    """

    def setUp(self) -> None:
        """
        Have the inventory wait for an answer.
        """
        super().setUp()
        self.done: Deferred[None] = Deferred()

        def refresh(network: str, mac: str | None) -> Deferred[None]:
            return self.done

        self.patch(self.world.inventory, "refresh", refresh)

    def test_waits(self) -> None:
        """
        The answer waits until it has looked.
        """
        _exchange, reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        self.advance(0.3)
        self.assertTrue(reply.silent)
        self.world.know(evolve(port_of(), instance_id="i-2"))
        self.done.callback(None)
        self.world.clock.advance(0)
        self.upstream.answer(200, b"data")
        self.assert_answer(reply, 200, b"data")

    def test_not_for_ever(self) -> None:
        """
        It waits no longer than the hold lasts.
        """
        _exchange, reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        self.advance(4.1)
        self.assert_answer(reply, 404, b"none")
        self.done.callback(None)

    def test_gone(self) -> None:
        """
        A client that goes meanwhile is not answered.
        """
        exchange, reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        exchange.cancel()
        self.done.callback(None)
        self.assertTrue(reply.silent)

    def test_turned_meanwhile(self) -> None:
        """
        An answer whose way was turned meanwhile is not relayed.
        """
        _exchange, reply = self.ask(ABSENT)
        self.upstream.answer(404, b"none")
        self.world.point(None, "red", ADDRESS)
        self.done.callback(None)
        self.advance(4.1)
        self.assert_own_answer(reply, 503)
