"""
Tests for L{mdproxy.agent_callers} and L{mdproxy.http.relayed} together: what a patient
thief gets through a haproxy.
"""

from __future__ import annotations

from random import Random

from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.agent_callers import DOUBT, RelayedCallers
from mdproxy.http.front import ChannelBounds, Front
from mdproxy.http.relayed import RelayedChannel
from mdproxy.limits import Rates, Shares
from mdproxy.model import Caller
from mdproxy.proxy import Hold, ReverseProxyResource
from mdproxy.signing import Signer
from mdproxy.sweep import Sweep
from mdproxy.testing import FakeUpstream
from tests.outside import ADDRESS, MAC, OTHER_MAC, World, port_of
from tests.playbook import Wire
from tests.secrecy import SECRET
from tests.test_agent_callers import LINK, NETWORK

#: Neutron's C{timeout_http_request} and C{timeout_http_keep_alive}.
_REQUEST = 30.0
_KEEP_ALIVE = 30.0
_DATA = b"the victim's data"

_LINES = b"host: a\r\nx-neutron-network-id: %b\r\nx-forwarded-for: %b\r\n" % (
    NETWORK.encode(),
    ADDRESS.encode(),
)
_FORGED = b"x-forwarded-for: 10.9.9.9\r\n"
#: What somebody may ask, by what it is called.
_QUESTIONS = {
    "get": b"GET /openstack HTTP/1.1\r\n%b\r\n" % _LINES,
    "head": b"HEAD /openstack HTTP/1.1\r\n%b\r\n" % _LINES,
    "forged": b"GET / HTTP/1.1\r\n%b%b\r\n" % (_FORGED, _LINES),
    "forged head": b"HEAD / HTTP/1.1\r\n%b%b\r\n" % (_FORGED, _LINES),
    "malformed": b"GET / HTTP/1.1\r\nhost: b\r\n%b\r\n" % _LINES,
}
_kinds = st.sampled_from(sorted(_QUESTIONS))
_waits = st.sampled_from([0.5, 5.0, 15.0, 29.0, 45.0, 59.0, 74.0, 80.0])
_deeds = st.one_of(
    st.tuples(st.just("turn"), st.sampled_from([MAC, OTHER_MAC])),
    st.tuples(st.just("forget"), st.none()),
    st.tuples(st.just("connect"), st.none()),
    st.tuples(st.just("wait"), _waits),
    st.tuples(st.just("ask"), st.tuples(st.integers(0, 3), _kinds)),
)


@define(eq=False)
class Connection:
    """
    A connection with haproxy.

    @ivar holder: Where the entry pointed when it was made: who has it.
    @ivar until: When haproxy closes it, if nothing whole is asked on it.
    """

    holder: str
    until: float


class Host:
    """
    A host with a haproxy, a proxy behind it, and one network.

    @ivar connections: Those that were made.
    """

    def __init__(self, rate: float = 0.2, burst: int = 3) -> None:
        """
        Begin with a victim who is known, and a thief with a port of his own.

        @param rate: How often an instance may ask, in a second.
        @param burst: How often it may at once.
        """
        self.world = world = World()
        world.books.networks.attach(LINK, NETWORK)
        thief = port_of(OTHER_MAC, "thief", NETWORK, frozenset({"10.0.0.66"}))
        world.know(port_of(network=NETWORK), thief)
        self.upstream = FakeUpstream()
        proxy = ReverseProxyResource(
            world.lookup,
            self.upstream,
            Signer(SECRET),
            world.clock,
            Random(1),
            Shares(4, 64, 1000),
            Shares(8),
            Hold(),
            Rates(rate, burst),
        )
        self.callers = RelayedCallers(world.books, world.neighbours, world.clock)
        sweep = Sweep(world.clock)
        self.front = Front(proxy, world.clock, sweep, ChannelBounds(), Shares(99))
        world.books.neighbours.observe_flips(proxy.path_changed)
        world.books.neighbours.observe_flips(self.front.path_changed)
        self.places = Shares(99)
        self.connections: list[Connection] = []
        self.point(MAC)

    @property
    def now(self) -> float:
        """
        The time.
        """
        return self.world.clock.seconds()

    def point(self, mac: str | None) -> None:
        """
        Have the kernel point the victim's address somewhere.
        """
        self.world.point(mac, LINK)
        self.world.neighbours.drain()

    def connect(self) -> Connection:
        """
        Let whoever has the address connect; where nobody has it the victim answers when
        the kernel asks.
        """
        holder = self.world.neighbours.kernel.get((LINK, ADDRESS))
        if holder is None:
            self.point(MAC)
            holder = MAC
        connection = Connection(holder, self.now + _REQUEST)
        self.connections.append(connection)
        return connection

    def ask(self, connection: Connection, kind: str) -> bytes:
        """
        Ask something on a connection, if haproxy still has it.

        @return: What comes back.
        """
        if connection.until < self.now:
            return b""
        channel = RelayedChannel(
            self.front,
            lambda _transport: Caller("socket", "process 1", None),
            self.callers,
            self.places,
        )
        wire = Wire(channel)
        channel.makeConnection(wire)
        channel.dataReceived(_QUESTIONS[kind])
        for _ in range(100):
            wire.settle()
            if wire.seen or wire.closed:
                break
            for exchange in list(self.upstream.in_flight):
                assert exchange
                self.upstream.answer(200, _DATA)
            self.world.clock.advance(0.1)
        heard, breaks_off = wire.seen, self._breaks_off(wire.seen, kind)
        wire.lose(ConnectionError())
        wire.settle()
        until = 0.0 if breaks_off else self.now + _KEEP_ALIVE + _REQUEST
        connection.until = until
        return heard

    def _breaks_off(self, heard: bytes, kind: str) -> bool:
        """
        Tell whether haproxy sees an answer that ends too early.
        """
        head, _, body = heard.partition(b"\r\n\r\n")
        if not head or "head" in kind:
            return False
        lines = head.lower().split(b"\r\n")
        [length] = [line for line in lines if line.startswith(b"content-length:")]
        return len(body) < int(length.partition(b":")[2])


class ThiefTests(SynchronousTestCase):
    """
    Somebody who can point the victim's entry wherever he likes, whenever he likes.
    """

    @settings(max_examples=300, deadline=None)
    @given(st.lists(_deeds, max_size=25))
    def test_gets_nothing(self, deeds: list[tuple[str, object]]) -> None:
        """
        On a connection that was made while the entry pointed to him he is never told
        what is the victim's, whatever he asks, and however long he waits.
        """
        host = Host()
        for deed, what in deeds:
            if deed == "turn":
                assert isinstance(what, str)
                host.point(what)
            elif deed == "forget":
                host.point(None)
            elif deed == "connect":
                host.connect()
            elif deed == "wait":
                assert isinstance(what, float)
                host.world.clock.advance(what)
            elif host.connections:
                assert isinstance(what, tuple)
                index, kind = what
                connection = host.connections[index % len(host.connections)]
                heard = host.ask(connection, kind)
                if connection.holder != MAC:
                    self.assertNotIn(b" 200 ", heard.partition(b"\r\n")[0])
                    self.assertNotIn(_DATA, heard)

    def test_patience(self) -> None:
        """
        In particular where he keeps the connection alive with whatever is refused, and
        asks when the doubt should have ended.
        """
        for kind in sorted(_QUESTIONS):
            host = Host()
            host.point(OTHER_MAC)
            host.world.clock.advance(DOUBT + 1)
            connection = host.connect()
            host.point(MAC)
            for _ in range(8):
                host.ask(connection, kind)
                host.world.clock.advance(DOUBT / 3)
            self.assertNotIn(_DATA, host.ask(connection, "get"), kind)

    def test_longest(self) -> None:
        """
        Nor where he turns the entry back right after an answer, and uses up all the
        time that haproxy gives him for the next question.
        """
        host = Host()
        host.point(OTHER_MAC)
        # Until then every connection is broken.
        host.world.clock.advance(DOUBT + 1)
        connection = host.connect()
        self.assertNotIn(_DATA, host.ask(connection, "get"))
        self.assertEqual(connection.until, host.now + _KEEP_ALIVE + _REQUEST)
        host.point(MAC)
        host.world.clock.advance(connection.until - host.now)
        heard = host.ask(connection, "get")
        self.assertTrue(heard)
        self.assertNotIn(_DATA, heard)

    def test_forgotten(self) -> None:
        """
        Nor where he asks only while the kernel has no entry, so that nobody can see
        that it was turned.
        """
        host = Host()
        host.point(OTHER_MAC)
        host.world.clock.advance(DOUBT + 1)
        connection = host.connect()
        host.point(MAC)
        for _ in range(4):
            host.point(None)
            host.ask(connection, "get")
            host.world.clock.advance(DOUBT / 3)
        host.point(MAC)
        self.assertNotIn(_DATA, host.ask(connection, "get"))

    def test_too_often(self) -> None:
        """
        Nor where he asks so much on other connections that he is refused on this one
        before anybody looks.
        """
        host = Host(0.01, 1)
        host.point(OTHER_MAC)
        host.world.clock.advance(DOUBT + 1)
        connection = host.connect()
        host.ask(connection, "get")
        host.point(MAC)
        host.ask(host.connect(), "get")
        for _ in range(4):
            host.world.clock.advance(DOUBT / 3)
            self.assertNotIn(_DATA, host.ask(connection, "get"))

    def test_victim(self) -> None:
        """
        The victim is answered, before it all and when the doubt has ended.
        """
        host = Host()
        self.assertIn(_DATA, host.ask(host.connect(), "get"))
        host.point(OTHER_MAC)
        host.point(MAC)
        self.assertNotIn(_DATA, host.ask(host.connect(), "get"))
        host.world.clock.advance(DOUBT)
        self.assertIn(_DATA, host.ask(host.connect(), "get"))
