"""
Tests for L{mdproxy.http.transports}: whatever happens to a connection, in any order.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.reactor import PlainReadsReactor
from tests.test_http_transports import TransportCase
from tests.turning import HalfCloseable, Noting, read_now, reset, settle, turning

#: One small piece, one that is sent at once, one that the kernel does not take whole.
_SIZES = (1, 300, 20_000, 400_000)

_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(_SIZES)),
        st.sampled_from(
            [
                ("turn", 1),
                ("turn", 5),
                ("end", 0),
                ("lose", 0),
                ("abort", 0),
                ("produce", 0),
                ("stop producing", 0),
                ("pause", 0),
                ("resume", 0),
                ("peer sends", 0),
                ("peer reads", 0),
                ("peer ends", 0),
                ("peer resets", 0),
            ]
        ),
    ),
    max_size=14,
)


class Course:
    """
    What happens to one connection.

    @ivar written: What was written, as long as it had to arrive.
    @ivar seen: What the peer has read.
    @ivar sent: What the peer has sent.
    """

    def __init__(self, case: TransportCase, protocol: Noting) -> None:
        """
        Connect.
        """
        self._case = case
        self._protocol = protocol
        self._transport: Any = case.connect(protocol)
        # Nobody is to wait for the other's delayed acknowledgement.
        for end in (case.peer, self._transport.getHandle()):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.written = bytearray()
        self.seen = bytearray()
        self.sent = bytearray()
        self.over = self.broken = self.left = False
        self._producing = False

    def go(self, step: str, amount: int) -> None:
        """
        Take a step.
        """
        does: Callable[[int], None] = getattr(self, "_" + step.replace(" ", "_"))
        does(amount)

    def end_of_it(self) -> None:
        """
        Let both sides do what there is left to do.
        """
        before = -1
        while before < len(self.seen):
            before = len(self.seen)
            for _ in range(3):
                self._peer_reads(0)
                settle(self._case.reactor)

    @property
    def _is_lost(self) -> bool:
        return any(each.startswith("Connection") for each in self._protocol.told)

    def _write(self, amount: int) -> None:
        if not self.over:
            piece = bytes([len(self.written) % 251]) * amount
            self._transport.write(piece)
            self.written += piece

    def _turn(self, amount: int) -> None:
        for _ in range(amount):
            self._case.reactor.iterate(0)

    def _end(self, _: int) -> None:
        # Twisted's own fails on a connection that is lost.
        if not self.over and not self._is_lost:
            self._transport.loseWriteConnection()
            self.over = True

    def _lose(self, _: int) -> None:
        self._stop_producing(0)
        self._transport.loseConnection()
        self.over = True

    def _abort(self, _: int) -> None:
        self._transport.abortConnection()
        self.over = self.broken = True

    def _produce(self, _: int) -> None:
        if not self.over and not self._producing and not self._is_lost:
            self._transport.registerProducer(self._protocol, True)
            self._producing = True

    def _stop_producing(self, _: int) -> None:
        if self._producing:
            self._transport.unregisterProducer()
            self._producing = False

    def _pause(self, _: int) -> None:
        if not self._is_lost:
            self._transport.pauseProducing()

    def _resume(self, _: int) -> None:
        self._transport.resumeProducing()

    def _peer_sends(self, _: int) -> None:
        with contextlib.suppress(OSError):
            self.sent += b"peer"[: self._case.peer.send(b"peer")]

    def _peer_reads(self, _: int) -> None:
        with contextlib.suppress(OSError):
            while piece := read_now(self._case.peer):
                self.seen += piece

    def _peer_ends(self, _: int) -> None:
        with contextlib.suppress(OSError):
            self._case.peer.shutdown(socket.SHUT_WR)
        self.left = True

    def _peer_resets(self, _: int) -> None:
        if self._case.peer.fileno() >= 0:
            reset(self._case.peer)
        self.broken = True


class MixedTests(SynchronousTestCase):
    """
    Tests for courses of events, on each reactor and each kind of transport.
    """

    def go_through(
        self,
        kind: Callable[[], EPollReactor],
        at_once: bool,
        half: bool,
        steps: list[tuple[str, int]],
    ) -> None:
        """
        Take a connection through a course, and see that all promises were kept.
        """
        # It is never run: it only connects.
        case = TransportCase("setUp")
        case.at_once = at_once
        with turning(kind) as reactor:
            case.reactor = reactor
            protocol = HalfCloseable() if half else Noting()
            course = Course(case, protocol)
            for step in steps:
                course.go(*step)
            course.end_of_it()
            self.judge(course, protocol)
            protocol.transport.abortConnection()
            settle(reactor)
            case.peer.close()
            ends = [each for each in protocol.told if each.startswith("Connection")]
            self.assertEqual(len(ends), 1, protocol.told)
            self.assertEqual(protocol.told[-1], ends[0])

    def judge(self, course: Course, protocol: Noting) -> None:
        """
        See that what is promised of bytes is kept.
        """
        self.assertTrue(course.written.startswith(course.seen), "wrong bytes")
        self.assertTrue(course.sent.startswith(protocol.received), "wrong bytes")
        # Bytes that were not read when the connection was closed reset it.
        unread = len(protocol.received) < len(course.sent)
        if course.broken or unread:
            return
        self.assertNotIn("ConnectionLost", protocol.told)
        # One that knows no half closed connections closes its own with the peer's.
        if isinstance(protocol, HalfCloseable) or not course.left:
            self.assertEqual(len(course.seen), len(course.written))

    @settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from([EPollReactor, PlainReadsReactor]),
        st.booleans(),
        st.booleans(),
        _STEPS,
    )
    def test_any_course(
        self,
        kind: Callable[[], EPollReactor],
        at_once: bool,
        half: bool,
        steps: list[tuple[str, int]],
    ) -> None:
        """
        Whatever happens in whatever order: bytes arrive in order, none is lost unless
        somebody broke the connection, and its end is told once, and last.
        """
        self.go_through(kind, at_once, half, steps)
