"""
A proxy between an outside and an upstream in memory, and those who ask it.
"""

from __future__ import annotations

from random import Random

from attrs import define, field

from mdproxy.exchange import Exchange
from mdproxy.headers import Fields
from mdproxy.limits import Rates, Shares
from mdproxy.model import Caller, Request
from mdproxy.proxy import Hold, ReverseProxyResource
from mdproxy.signing import Signer
from mdproxy.testing import FakeUpstream
from tests.outside import CALLER, World, settled
from tests.secrecy import SECRET, SecrecyTestCase


@define
class RecordingReply:
    """
    A reply that remembers what it was told, and insists on the order.

    @ivar status: The status; C{None} before the response has begun.
    @ivar body: What was written.
    @ivar over: C{finished} or C{aborted}, once it is.
    @ivar is_mistrusted: Whether nobody knows who is answered.
    """

    status: int | None = None
    phrase: bytes = b""
    fields: Fields = ()
    length: int | None = None
    body: bytes = b""
    over: str | None = None
    is_mistrusted: bool = False
    _begun: bool = field(default=False, init=False)

    def begin(
        self, status: int, phrase: bytes, fields: bytes, length: int | None
    ) -> None:
        """
        Begin the response; only once.
        """
        assert not fields or fields.endswith(b"\r\n"), "a line without its end"
        assert not self._begun and self.over is None, "begun twice"
        self._begun = True
        self.status, self.phrase = status, phrase
        lines = (line.partition(b": ") for line in fields.split(b"\r\n")[:-1])
        self.fields = tuple((name, value) for name, _, value in lines)
        self.length = length

    def write(self, data: bytes) -> None:
        """
        Send a piece of the body; only between begin and end.
        """
        assert self._begun and self.over is None, "written before or after"
        assert type(data) is bytes and data
        self.body += data

    def finish(self) -> None:
        """
        End the response; only once, and only if it is whole.
        """
        assert self._begun and self.over is None, "finished before or after"
        assert self.length in (None, len(self.body)) or self.status == 304, "cut off"
        self.over = "finished"

    def mistrust(self) -> None:
        """
        Learn that nobody knows who is answered; only before it is.
        """
        assert not self._begun and self.over is None, "too late"
        self.is_mistrusted = True

    def abort(self) -> None:
        """
        Break the connection; only once.
        """
        assert self.over is None, "aborted after its end"
        self.over = "aborted"

    @property
    def silent(self) -> bool:
        """
        Whether nothing at all has been said.
        """
        return not self._begun and self.over is None


class ProxyTestCase(SecrecyTestCase):
    """
    Asks a proxy; when a test is over nothing may be left of what was asked.

    @ivar world: The outside; it knows one instance, C{i-1}.
    @ivar upstream: Nova, by hand.
    @ivar proxy: The proxy.
    """

    def setUp(self) -> None:
        """
        Make a proxy.
        """
        super().setUp()
        self.world = settled()
        self.upstream = FakeUpstream()
        self.proxy = self.make_proxy(self.world)

    def make_proxy(self, world: World) -> ReverseProxyResource:
        """
        Make a proxy on an outside.
        """
        proxy = ReverseProxyResource(
            world.lookup,
            self.upstream,
            Signer(SECRET),
            world.clock,
            Random(1),
            Shares(4, 64, 1000),
            Shares(8),
            Hold(),
            Rates(1000, 1000),
        )
        world.books.neighbours.observe_flips(proxy.path_changed)
        return proxy

    def tearDown(self) -> None:
        """
        See that nothing is left.
        """
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """
        No timer runs, nobody waits, Nova is not being asked.
        """
        self.assertEqual(self.world.clock.getDelayedCalls(), [])
        self.assertEqual(self.upstream.in_flight, [])
        described = dict(self.proxy.describe())
        del described["counts"]
        self.assertEqual(described, dict.fromkeys(described, 0))

    def ask(
        self,
        target: bytes = b"/openstack",
        method: bytes = b"GET",
        body: bytes | None = None,
        caller: Caller = CALLER,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> tuple[Exchange, RecordingReply]:
        """
        Ask.
        """
        reply = RecordingReply()
        request = Request(method, target, headers, body)
        return self.proxy.answer(request, caller, reply), reply

    def advance(self, seconds: float, step: float = 0.01) -> None:
        """
        Let time pass in small steps.
        """
        until = self.world.clock.seconds() + seconds
        while self.world.clock.seconds() < until - step / 2:
            self.world.clock.advance(step)

    def assert_answer(self, reply: RecordingReply, status: int, body: bytes) -> None:
        """
        A reply is whole, with a status and a body.
        """
        self.assertEqual((reply.status, reply.body), (status, body))
        self.assertEqual(reply.over, "finished")

    def assert_own_answer(self, reply: RecordingReply, status: int) -> None:
        """
        A reply is one of our own, and says when to come back where that may help.
        """
        phrase = {
            404: b"Not Found",
            429: b"Too Many Requests",
            500: b"Internal Server Error",
            502: b"Bad Gateway",
            503: b"Service Unavailable",
            504: b"Gateway Timeout",
        }[status]
        self.assert_answer(reply, status, phrase + b"\n")
        self.assertEqual((reply.phrase, reply.length), (phrase, len(phrase) + 1))
        fields = [(b"Content-Type", b"text/plain")]
        if status not in (404, 500):
            fields.append((b"Retry-After", b"1"))
        self.assertEqual(list(reply.fields), fields)
