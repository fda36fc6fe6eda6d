# -*- test-case-name: tests.test_judge -*-
"""
What is known of each endpoint of Nova, and how far it is trusted.

Pure: time comes in as an argument.  An endpoint that takes no connections, or answers
badly several times in a row, I{rests}: nothing is asked of it for a moment that
doubles.  Then it is I{tried}: few requests at a time, more with every good answer, so
that a Nova that comes back meets no storm.
"""

from __future__ import annotations

from random import Random
from sys import maxsize
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from mdproxy.tls import ClientTls

if TYPE_CHECKING:
    from mdproxy.http.client import NovaConnection, UpstreamError

#: Answers that say that Nova is away, whoever asks; a 500 may be one instance's own.
AWAY: Final = frozenset({502, 503, 504})

#: The first rest, the longest where there is no other endpoint, and where there is.
_FIRST_REST: Final = 0.1
_LONGEST_REST: Final = 1.0
_LONGEST_REST_BESIDE_OTHERS: Final = 5.0

#: So many bad answers in a row make an endpoint rest.
STRIKES: Final = 3

#: At most so many TLS handshakes with one endpoint are under way at a time.
_HANDSHAKES: Final = 4

#: Where a connection takes long to open another is tried after so many seconds: TCP
#: itself repeats a handshake that was lost ever more seldom.
_INSISTENCE: Final = 1.0

#: A connection that is this old and still open was meant: TLS 1.3 refuses a client's
#: certificate only after the handshake.
_MEANT: Final = 0.5

#: Of requests that it is silent on no more than one in so many seconds is raced with
#: another endpoint.
_BETWEEN_RACES: Final = 3.0

#: For so many seconds at first, and at most, there is no race after one that it won: it
#: is slow, and being asked twice makes nobody faster.
_FIRST_TRUCE: Final = 10.0
_LONGEST_TRUCE: Final = 60.0

#: One that was slow comes behind the others for so many seconds.
_SLOW: Final = 30.0

#: The first and the longest pause in opening connections for later, where they are
#: closed before they are used.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 64.0

#: So many of those who met bad answers are remembered.
_REMEMBERED: Final = 4096

#: After so many seconds of silence one that is tried is asked for more.
_SILENCE: Final = 1.0

#: How much is asked of an endpoint that is trusted.
_ANYTHING: Final = maxsize


@frozen
class Endpoint:
    """
    A Nova metadata API.

    @ivar host: Its name or IP address.
    @ivar port: Its port.
    @ivar tls: How to open TLS to it; C{None}: plain HTTP.
    """

    host: str
    port: int
    tls: ClientTls | None = None

    @property
    def host_field(self) -> bytes:
        """
        The value of the Host field (RFC 9110 section 7.2).
        """
        host = self.host.encode("ascii" if self.host.isascii() else "idna")
        if b":" in host:
            host = b"[%b]" % host
        standard = 80 if self.tls is None else 443
        return host if self.port == standard else b"%b:%d" % (host, self.port)


@define(eq=False)
class Reach:
    """
    One endpoint: its connections, and how far it is trusted.

    @ivar endpoint: Which.
    @ivar idle: Free connections, the latest used last.
    @ivar busy: How many connections have a request in flight.
    @ivar connecting: Connections that are not ready, and since when.
    @ivar up: Whether it may be asked; if not, it rests.
    @ivar window: How many requests it may be asked at a time.
    @ivar failures: How often it was found bad since it was last found good.
    @ivar strikes: Bad answers in a row.
    @ivar faults: Faults of Nova in a row, each met by another than the one before.
    @ivar problem: What was wrong at last.
    @ivar tardy: Whether a connection takes long to open, so that one to another
        endpoint is opened too.
    @ivar cold: Whether connections are to be opened for later though nobody asks now.
    @ivar retired: Whether it is configured no more: what is in flight is its last.
    @ivar slow_until: Until when it comes behind those that were not slow.
    @ivar rests_until: When its rest is over, in the clock's seconds.
    @ivar _unreachable: Whether it was found bad for want of a connection.
    @ivar _failed_at: When it was last found bad.
    @ivar _widened_at: When its window was last made wider.
    @ivar _truce: How long there is no race after the next one that it wins.
    @ivar _races_after: Until when there is none.
    @ivar _accusers: Whose requests met bad answers since the last good one.
    @ivar _faulted: Whose request last met a fault of Nova.
    @ivar _pause: How long none is opened for later, when one was closed unused.
    @ivar _pauses_until: When that is over.
    """

    endpoint: Endpoint
    idle: list[NovaConnection] = field(factory=list)
    busy: int = 0
    connecting: dict[NovaConnection, float] = field(factory=dict)
    up: bool = True
    window: int = _ANYTHING
    failures: int = 0
    strikes: int = 0
    faults: int = 0
    problem: UpstreamError | None = None
    tardy: bool = False
    cold: bool = True
    retired: bool = False
    slow_until: float = 0.0
    rests_until: float = 0.0
    _unreachable: bool = field(default=False, init=False)
    _failed_at: float = field(default=0.0, init=False)
    _widened_at: float = field(default=0.0, init=False)
    _truce: float = field(default=_FIRST_TRUCE, init=False)
    _races_after: float = field(default=0.0, init=False)
    _accusers: set[tuple[str, str]] = field(factory=set, init=False)
    _faulted: tuple[str, str] | None = field(default=None, init=False)
    _pause: float = field(default=_FIRST_PAUSE, init=False)
    _pauses_until: float = field(default=0.0, init=False)

    @property
    def sound(self) -> bool:
        """
        Tell whether nothing speaks against it, though it may not be asked much yet.
        """
        return self.up and not self.failures

    @property
    def trusted(self) -> bool:
        """
        Tell whether anything may be asked of it, and nothing speaks against it.
        """
        return self.window == _ANYTHING and not (
            self.failures or self.strikes or self.faults
        )

    def health(self, now: float) -> str:
        """
        Say in a word how far it is trusted.
        """
        if not self.up:
            return "resting"
        if self.window != _ANYTHING:
            return "tried"
        return "slow" if now < self.slow_until else "sound"

    def may_race(self, now: float) -> bool:
        """
        Tell whether a request that it is silent on may be raced with another endpoint.

        Where nothing speaks against it one race at a time shows whether that pays; if
        it loses, the others follow.
        """
        return not self.sound or now >= self._races_after

    def begin_race(self, now: float) -> None:
        """
        Note that one of its requests is raced.
        """
        self._races_after = now + _BETWEEN_RACES

    def win_race(self, now: float) -> None:
        """
        Note that it was only slow.
        """
        self._races_after = now + self._truce
        self._truce = min(self._truce * 2, _LONGEST_TRUCE)

    def be_slow(self, now: float) -> None:
        """
        Note that it takes long to answer: that is not bad, but others come first.
        """
        self.slow_until = now + _SLOW

    def has_room(self) -> bool:
        """
        Tell whether one more request may be asked.
        """
        return self.up and self.busy < self.window

    def may_connect(self, now: float) -> bool:
        """
        Tell whether to open a connection.

        No more than one a second to one that has rested, or that takes long.
        """
        if self.endpoint.tls is not None and len(self.connecting) >= _HANDSHAKES:
            return False
        if (self.tardy or not self.up) and self.connecting:
            latest = next(reversed(self.connecting.values()))
            return now - latest >= _INSISTENCE
        if self.up:
            return self.busy + len(self.connecting) < self.window
        return now >= self.rests_until

    def take(self, fresh: bool) -> NovaConnection | None:
        """
        Take a free connection, the latest used first.

        @param fresh: Whether it must never have been used.
        """
        for connection in reversed(self.idle):
            if not fresh or not connection.served:
                self.idle.remove(connection)
                return connection
        return None

    def fail(
        self,
        error: UpstreamError,
        now: float,
        random: Random,
        *,
        alone: bool,
        unreachable: bool,
    ) -> bool:
        """
        Let it rest, for it was found bad.

        @param random: Makes rests uneven.
        @param alone: Whether there is no other that could be asked.
        @param unreachable: Whether that was for want of a connection.

        @return: Whether that is news.
        """
        is_news = not self.failures
        longest = _LONGEST_REST if alone else _LONGEST_REST_BESIDE_OTHERS
        rest = min(_FIRST_REST * 2 ** min(self.failures, 8), longest)
        self.failures += 1
        self.problem = error
        self.up, self.window, self.strikes = False, 1, 0
        self._unreachable, self._failed_at = unreachable, now
        self.rests_until = now + rest * random.uniform(0.8, 1)
        self.slow_until = now
        self._truce = _FIRST_TRUCE
        return is_news

    def failed_since(self, begin: float) -> bool:
        """
        Tell whether it was found bad after something began: then the failure of that
        is no news.
        """
        return self.failures > 0 and begin <= self._failed_at

    def hasten(self, now: float) -> None:
        """
        Shorten its rest, for it is now the only one.
        """
        self.rests_until = min(self.rests_until, now + _LONGEST_REST)

    def begin_trial(self, now: float) -> None:
        """
        Ask it again, one request at a time; one bad answer is enough to end that.
        """
        if not self.up:
            self.up, self.window, self.strikes = True, 1, STRIKES - 1
            self._widened_at = now

    @property
    def is_proven_bad(self) -> bool:
        """
        Tell whether bad answers are the endpoint's own fault: more than one instance
        met them, or it was found bad before and is being tried.

        An instance may know a question that Nova, or what stands before it, dies of.
        """
        return self.failures > 0 or len(self._accusers) > 1

    def answer_badly(self, accuser: tuple[str, str]) -> bool:
        """
        Note a bad answer.

        @param accuser: Whose request met it.

        @return: Whether it was one too many.
        """
        if not self.up:
            return False
        if len(self._accusers) < _REMEMBERED:
            self._accusers.add(accuser)
        self.strikes += 1
        return self.strikes >= STRIKES

    def is_accused_by(self, holder: tuple[str, str]) -> bool:
        """
        Tell whether an instance's requests met bad answers since the last good one.
        """
        return holder in self._accusers

    def end_rest_for(self, holder: tuple[str, str], now: float) -> None:
        """
        End a rest early where somebody asks who met no bad answer: it may be what the
        others ask that is bad.
        """
        if not self.up and not self._unreachable and holder not in self._accusers:
            self.rests_until = min(self.rests_until, now)

    def answer_faultily(self, accuser: tuple[str, str]) -> bool:
        """
        Note a fault of Nova, which anybody can cause by asking for nonsense.

        @param accuser: Whose request met it.

        @return: Whether there were many, from several.
        """
        self.faults += accuser != self._faulted
        self._faulted = accuser
        return self.faults >= STRIKES

    def answer_well(self, now: float, most: int) -> bool:
        """
        Note a good answer, which widens the window.

        @param most: The most connections there can be.

        @return: Whether it had been found bad before, and so is back.
        """
        if not self.up:
            # What was asked before it was found bad says nothing of now.
            return False
        is_back = self.failures > 0
        self.cold = self.cold or is_back
        self.failures = self.strikes = self.faults = 0
        self.problem = self._faulted = None
        self._accusers.clear()
        self._widen(self.window + 1, now, most)
        return is_back

    def is_meant(self, now: float) -> bool:
        """
        Tell whether one that took no connections has taken one, and meant it.
        """
        return (
            self.up
            and self._unreachable
            and self.failures > 0
            and bool(self.idle)
            and now - self._widened_at >= _MEANT
        )

    def close_unused(self, now: float) -> None:
        """
        Note that it closes connections that were opened for later.
        """
        self._pauses_until = now + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def lacks(self, ready: int, now: float) -> int:
        """
        Count how many connections to open for later.

        @param ready: How many there should be.
        """
        if not self.sound or now < self._pauses_until:
            return 0
        return max(0, ready - len(self.idle) - len(self.connecting))

    def widen(self, now: float, most: int) -> None:
        """
        Widen the window as time goes by: one that is slow is not bad.

        @param most: The most connections there can be.
        """
        if self.up and (self.sound or now - self._widened_at >= _SILENCE):
            self._widen(self.window * 2, now, most)

    def _widen(self, window: int, now: float, most: int) -> None:
        """
        Let more be asked at a time.
        """
        if self.window != _ANYTHING:
            self.window = window if window < most else _ANYTHING
            self._widened_at = now
