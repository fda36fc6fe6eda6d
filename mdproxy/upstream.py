# -*- test-case-name: tests.test_upstream -*-
"""
The pool of connections to Nova.

What happens next is decided in one synchronous method, L{Upstream._assign}; all else
only reports to it.  Endpoints are a list for failover: the first that is not down is
used.  An endpoint that refuses is left alone for a moment that doubles to a second, and
then asked by one connection only, so that a Nova that comes back meets no storm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mdproxy.http.client import (
    NovaConnection,
    Patience,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from mdproxy.interfaces import IExchange, IUpstream
from mdproxy.sweep import NEVER, Sweep
from mdproxy.tls import ClientTls

_FIRST_REST: Final = 0.1
_LONGEST_REST: Final = 1.0

#: Methods that may be sent on a connection that Nova may be closing at this moment,
#: because sending them again does no harm (RFC 9110 section 9.2.2).
SAFE: Final = frozenset({b"GET", b"HEAD"})


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


@frozen
class Extent:
    """
    How large the pool may grow.

    @ivar connections: At most so many connections, over all endpoints.
    @ivar queue: At most so many requests wait for one.
    """

    connections: int = 64
    queue: int = 1024


#: Opens a connection: endpoint, factory, seconds.  The Deferred matters only when it
#: fails, for a connection reports itself.
Connector = Callable[[Endpoint, "Factory[NovaConnection]", float], "Deferred[Any]"]


@define(eq=False)
class _Reach:
    """
    What is known of reaching one endpoint.

    @ivar endpoint: Which.
    @ivar idle: Free connections, the latest used last.
    @ivar busy: Connections with a request in flight.
    @ivar connecting: Connections that are not ready.
    @ivar failures: Failed connects since the last success.
    @ivar rests_until: Not to be asked before, in the clock's seconds.
    @ivar problem: Why the last connect failed.
    @ivar retired: Whether it is configured no more: what is in flight is its last.
    """

    endpoint: Endpoint
    idle: list[NovaConnection] = field(factory=list)
    busy: set[NovaConnection] = field(factory=set)
    connecting: set[NovaConnection] = field(factory=set)
    failures: int = 0
    rests_until: float = 0.0
    problem: UpstreamError | None = None
    retired: bool = False

    def may_connect(self, now: float) -> bool:
        """
        Tell whether to open a connection: one at a time while it is in doubt.
        """
        if self.failures:
            return now >= self.rests_until and not self.connecting
        return True


@implementer(IUpstream)
@define(eq=False)
class Upstream:
    """
    The pool.

    @ivar _endpoints: In order of preference.
    @ivar _connector: How connections are opened.
    @ivar _clock: What time it is.
    @ivar _sweep: Where deadlines are kept.
    @ivar _random: Makes rests uneven.
    @ivar _queue: Requests that wait for a connection, and since when.
    """

    _endpoints: Sequence[Endpoint]
    _connector: Connector
    _clock: IReactorTime
    _sweep: Sweep
    _random: Random
    _patience: Patience
    _extent: Extent
    deadline: float = field(default=NEVER, init=False)
    _reaches: list[_Reach] = field(init=False)
    _queue: deque[tuple[IExchange, float]] = field(factory=deque, init=False)
    _flights: dict[IExchange, NovaConnection] = field(factory=dict, init=False)
    _where: dict[NovaConnection, _Reach] = field(factory=dict, init=False)
    _observers: list[Callable[[], None]] = field(factory=list, init=False)
    _deciding: bool = field(default=False, init=False)
    _again: bool = field(default=False, init=False)
    _sent: int = field(default=0, init=False)
    _opened: int = field(default=0, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Know the endpoints.
        """
        self._reaches = [_Reach(endpoint) for endpoint in self._endpoints]
        self._sweep.add(self)

    def observe_recovery(self, observer: Callable[[], None]) -> None:
        """
        Have an observer called when an endpoint that was down takes connections.
        """
        self._observers.append(observer)

    def send(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.send}.
        """
        if len(self._queue) >= self._extent.queue:
            exchange.failed(UpstreamUnavailable("too many requests wait"), False)
            return
        self._queue.append((exchange, self._clock.seconds()))
        if self.deadline == NEVER:
            self.deadline = self._clock.seconds() + self._patience.first_byte
        self._assign()

    def cancel(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.cancel}.
        """
        connection = self._flights.pop(exchange, None)
        if connection is not None:
            connection.drop()
        else:
            self._queue = deque(
                waiting for waiting in self._queue if waiting[0] is not exchange
            )

    def pause(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.pause}.
        """
        if exchange in self._flights:
            self._flights[exchange].pause()

    def resume(self, exchange: IExchange) -> None:
        """
        Provide L{IUpstream.resume}.
        """
        if exchange in self._flights:
            self._flights[exchange].resume()

    def renew(
        self, endpoints: Sequence[Endpoint], patience: Patience, extent: Extent
    ) -> None:
        """
        Follow a new configuration; what is in flight ends where it is.

        An endpoint that is equal to a former one keeps its connections and what is
        known of it.  Of those that are gone the free connections are closed at once,
        and the others as soon as they are free.

        @param endpoints: In order of preference.
        @param patience: For connections that are opened from now on.
        @param extent: How large the pool may be from now on.
        """
        self._patience, self._extent = patience, extent
        former = {reach.endpoint: reach for reach in self._reaches}
        self._reaches = [former.pop(e) if e in former else _Reach(e) for e in endpoints]
        for reach in former.values():
            reach.retired = True
            for connection in [*reach.idle, *reach.connecting]:
                self._drop(connection)
        for reach in self._reaches:
            for connection in list(reach.idle):
                if len(self._where) > extent.connections:
                    self._drop(connection)
        self._assign()

    def _drop(self, connection: NovaConnection) -> None:
        """
        Close a connection that nobody needs; what was being opened did not fail.
        """
        self._where[connection].connecting.discard(connection)
        connection.drop()

    def close(self) -> None:
        """
        Drop every connection; nothing may be in flight that anybody waits for.
        """
        for connection in list(self._where):
            self._drop(connection)
        self._sweep.discard(self)

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{IUpstream.describe}.
        """
        return {
            "endpoints": [
                {
                    "host": reach.endpoint.host,
                    "port": reach.endpoint.port,
                    "tls": reach.endpoint.tls is not None,
                    "up": reach.failures == 0,
                    "problem": None if reach.problem is None else str(reach.problem),
                    "idle": len(reach.idle),
                    "busy": len(reach.busy),
                    "connecting": len(reach.connecting),
                }
                for reach in self._reaches
            ],
            "waiting": len(self._queue),
            "requests": self._sent,
            "connections": self._opened,
        }

    def ready(self, connection: NovaConnection) -> None:
        """
        Provide C{Owner.ready}.
        """
        reach = self._where[connection]
        reach.connecting.discard(connection)
        reach.idle.append(connection)
        recovered, reach.failures, reach.problem = reach.failures, 0, None
        if recovered:
            self._log.info(
                "Nova at {host}:{port} takes connections again",
                host=reach.endpoint.host,
                port=reach.endpoint.port,
            )
        self._assign()
        if recovered:
            for observer in self._observers:
                observer()

    def released(self, connection: NovaConnection, exchange: IExchange) -> None:
        """
        Provide C{Owner.released}.
        """
        reach = self._where[connection]
        self._flights.pop(exchange, None)
        reach.busy.discard(connection)
        if reach.retired or len(self._where) > self._extent.connections:
            connection.drop()
            return
        reach.idle.append(connection)
        self._assign()

    def lost(
        self,
        connection: NovaConnection,
        exchange: IExchange | None,
        error: UpstreamError,
    ) -> None:
        """
        Provide C{Owner.lost}.
        """
        reach = self._where.pop(connection)
        self._sweep.discard(connection)
        if exchange is not None:
            self._flights.pop(exchange, None)
        if connection in reach.connecting:
            reach.connecting.discard(connection)
            self._rest(reach, error)
        elif connection in reach.idle:
            reach.idle.remove(connection)
            if self._queue and not connection.served:
                # Opened for somebody and lost before it carried anything (TLS 1.3
                # refuses a client's certificate after the handshake): not reached.
                self._rest(reach, error)
        reach.busy.discard(connection)
        self._assign()

    def timed_out(self) -> None:
        """
        Give up requests that nobody took for as long as an answer may take.
        """
        now = self._clock.seconds()
        while self._queue and self._queue[0][1] + self._patience.first_byte <= now:
            exchange, _since = self._queue.popleft()
            exchange.failed(UpstreamTimedOut("no free connection in time"), False)
        if self._queue:
            self.deadline = self._queue[0][1] + self._patience.first_byte

    def _assign(self) -> None:
        """
        Decide what happens next: reuse, open, wait or give up.

        In order: give waiting requests to free connections; open a connection for each
        that still waits, as far as the pool may grow and an endpoint may be asked;
        where no endpoint may be asked and none is being asked, give all of them up.
        """
        if self._deciding:
            # Something called back while we decide: decide again afterwards.
            self._again = True
            return
        self._deciding = True
        try:
            while True:
                self._again = False
                self._serve()
                self._grow()
                self._surrender()
                if not self._again:
                    break
        finally:
            self._deciding = False

    def _serve(self) -> None:
        """
        Give waiting requests to free connections, in the order they came.

        One that needs a fresh connection, or another endpoint than before, is passed
        over; for a fresh connection a place is kept, which the others could take for
        ever.
        """
        passed: deque[tuple[IExchange, float]] = deque()
        connecting = sum(len(reach.connecting) for reach in self._reaches)
        while self._queue:
            exchange, since = self._queue.popleft()
            connection = self._free(exchange)
            if connection is None:
                passed.append((exchange, since))
                if exchange.tries > 1:
                    continue
                if exchange.request.method in SAFE:
                    break
                if len(passed) > connecting:
                    self._make_room()
                continue
            reach = self._where[connection]
            reach.idle.remove(connection)
            reach.busy.add(connection)
            self._flights[exchange] = connection
            self._sent += 1
            connection.start(exchange)
        self._queue.extendleft(reversed(passed))

    def _choices(self, exchange: IExchange) -> list[_Reach]:
        """
        List the endpoints that a request may go to, the best first.

        A request that is asked again goes to the next endpoint that is not in doubt:
        one that answers badly, or breaks off, would do so again.  It goes to no other,
        so that it is not the former one's free connection that it gets.
        """
        if exchange.tries > 1:
            sound = [reach for reach in self._reaches if not reach.failures]
            if len(sound) > 1:
                return [sound[(exchange.tries - 1) % len(sound)]]
        return self._reaches

    def _free(self, exchange: IExchange) -> NovaConnection | None:
        """
        Find a free connection, the latest used first.

        What can't be repeated takes only a connection that was never used: Nova may be
        closing a used one just now, and a request lost in that moment could not be sent
        again.
        """
        safe = exchange.request.method in SAFE
        for reach in self._choices(exchange):
            for connection in reversed(reach.idle):
                if safe or not connection.served:
                    return connection
        return None

    def _grow(self) -> None:
        """
        Open connections for what still waits.
        """
        now = self._clock.seconds()
        connecting = sum(len(reach.connecting) for reach in self._reaches)
        most = connecting + self._extent.connections
        for exchange, _since in list(islice(self._queue, connecting, most)):
            choices = self._choices(exchange)
            reach = next((r for r in choices if r.may_connect(now)), None)
            if reach is None or not self._make_room():
                return
            self._open(reach)

    def _make_room(self) -> bool:
        """
        See that one more connection may be opened, for a used one that waits in vain.
        """
        if len(self._where) < self._extent.connections:
            return True
        for reach in self._reaches:
            for connection in reach.idle:
                if connection.served:
                    connection.drop()
                    return True
        return False

    def _surrender(self) -> None:
        """
        Give up what waits for endpoints that are all down.
        """
        now = self._clock.seconds()
        if any(r.connecting or r.may_connect(now) for r in self._reaches):
            return
        problem = self._reaches[0].problem or UpstreamUnavailable("no endpoint")
        # One by one, for one may cancel another; those that it sends have their turn
        # afterwards.
        for _ in range(len(self._queue)):
            if self._queue:
                exchange, _since = self._queue.popleft()
                exchange.failed(problem, False)

    def _open(self, reach: _Reach) -> None:
        """
        Open a connection.
        """
        endpoint = reach.endpoint
        connection = NovaConnection(
            self, self._clock, self._patience, endpoint.host_field, endpoint.tls
        )
        self._opened += 1
        self._where[connection] = reach
        reach.connecting.add(connection)
        self._sweep.add(connection)
        factory: Factory[NovaConnection] = Factory.forProtocol(lambda: connection)
        factory.noisy = False
        opening = self._connector(endpoint, factory, self._patience.connect)
        opening.addErrback(self._refused, connection)

    def _refused(self, failure: Failure, connection: NovaConnection) -> None:
        """
        A connection could not be opened.
        """
        if connection in self._where:
            problem = f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
            self.lost(connection, None, UpstreamUnavailable(problem))

    def _rest(self, reach: _Reach, error: UpstreamError) -> None:
        """
        Leave an endpoint alone for a moment.
        """
        if not reach.failures:
            self._log.error(
                "Nova at {host}:{port} takes no connections: {problem}",
                host=reach.endpoint.host,
                port=reach.endpoint.port,
                problem=str(error),
            )
        now = self._clock.seconds()
        reach.problem = error
        if reach.failures and now < reach.rests_until:
            # It was opened together with the one that has failed already.
            return
        rest = min(_FIRST_REST * 2 ** min(reach.failures, 8), _LONGEST_REST)
        reach.failures += 1
        reach.rests_until = now + rest * self._random.uniform(0.8, 1)
