# -*- test-case-name: tests.test_upstream -*-
"""
The connections of the pool: opened, counted, grown old, closed.

What they are for is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from mdproxy.endpoints import Endpoint, Reach
from mdproxy.http.client import NovaConnection, Owner, Patience, UpstreamUnavailable
from mdproxy.sweep import Sweep


@frozen
class Extent:
    """
    How large the pool may grow.

    @ivar connections: At most so many connections, over all endpoints.
    @ivar queue: At most so many requests wait for one.
    @ivar age: After about so many seconds a connection is closed, so that the pool
        follows name servers and load balancers.
    """

    connections: int = 64
    queue: int = 1024
    age: float = 300.0


#: Opens a connection: endpoint, factory, seconds.  The Deferred matters only when it
#: fails, for a connection reports itself.
Connector = Callable[[Endpoint, "Factory[NovaConnection]", float], "Deferred[Any]"]


@define(eq=False)
class Fleet:
    """
    All connections.

    @ivar _owner: Who is told of them.
    @ivar _reaches: The endpoints, in order of preference; the pool's own list.
    @ivar _connector: How connections are opened.
    @ivar _clock: What time it is.
    @ivar _sweep: Where deadlines are kept.
    @ivar _random: Makes ages uneven.
    @ivar patience: For connections that are opened from now on.
    @ivar extent: How many there may be, and how old.
    @ivar where: By connection, the endpoint that it leads to.
    @ivar leaving: Connections in use that are closed as soon as they are free.
    @ivar opened: How many were ever opened.
    @ivar _expiry: By connection that is ready, when it is too old.
    """

    _owner: Owner
    _reaches: Sequence[Reach]
    _connector: Connector
    _clock: IReactorTime
    _sweep: Sweep
    _random: Random
    patience: Patience
    extent: Extent
    where: dict[NovaConnection, Reach] = field(factory=dict, init=False)
    leaving: set[NovaConnection] = field(factory=set, init=False)
    opened: int = field(default=0, init=False)
    _expiry: dict[NovaConnection, float] = field(factory=dict, init=False)

    def has_place(self) -> bool:
        """
        Tell whether there may be one more.
        """
        return len(self.where) < self.extent.connections

    def make_place(self) -> bool:
        """
        See that one more may be opened, for a free one that is of no use; one that was
        used already, if there is any.
        """
        if not self.has_place():
            idle = [each for reach in self._reaches for each in reach.idle]
            used = [each for each in idle if each.served]
            self.drop_all((used or idle)[:1])
        return self.has_place()

    def open(self, reach: Reach, now: float) -> None:
        """
        Open one.
        """
        endpoint = reach.endpoint
        connection = NovaConnection(
            self._owner, self._clock, self.patience, endpoint.host_field, endpoint.tls
        )
        self.opened += 1
        self.where[connection] = reach
        reach.connecting[connection] = now
        self._sweep.add(connection)
        factory: Factory[NovaConnection] = Factory.forProtocol(lambda: connection)
        factory.noisy = False
        opening = self._connector(endpoint, factory, self.patience.connect)
        opening.addErrback(self._refused, connection)

    def note_ready(self, connection: NovaConnection) -> None:
        """
        One is there.
        """
        now = self._clock.seconds()
        reach = self.where[connection]
        del reach.connecting[connection]
        reach.idle.append(connection)
        reach.tardy = False
        reach.begin_trial(now)
        age = self.extent.age * self._random.uniform(0.8, 1.2)
        self._expiry[connection] = now + age

    def forget(self, connection: NovaConnection) -> None:
        """
        Know one no more.
        """
        reach = self.where.pop(connection)
        self._sweep.discard(connection)
        self.leaving.discard(connection)
        self._expiry.pop(connection, None)
        if connection in reach.connecting:
            del reach.connecting[connection]
        elif connection in reach.idle:
            reach.idle.remove(connection)
        else:
            reach.busy -= 1

    def drop(self, connection: NovaConnection) -> None:
        """
        Close one that nobody needs, which says nothing of its endpoint.
        """
        self.forget(connection)
        connection.drop()

    def drop_all(self, connections: Sequence[NovaConnection]) -> None:
        """
        Close some that nobody needs.
        """
        for connection in connections:
            self.drop(connection)

    def send_off(self, connection: NovaConnection) -> None:
        """
        Close one as soon as it is free.
        """
        if connection in self.where[connection].idle:
            self.drop(connection)
        else:
            self._expiry.pop(connection, None)
            self.leaving.add(connection)

    def retire_old(self, now: float) -> None:
        """
        Close those that are too old, now or when they are free.
        """
        for connection, expiry in list(self._expiry.items()):
            if expiry <= now:
                self.send_off(connection)

    def shrink(self) -> None:
        """
        Close those that are too many, now or when they are free.
        """
        for connection in list(self.where):
            if len(self.where) - len(self.leaving) <= self.extent.connections:
                break
            self.send_off(connection)

    def _refused(self, failure: Failure, connection: NovaConnection) -> None:
        """
        One could not be opened.
        """
        if connection in self.where:
            problem = f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
            self._owner.lost(connection, None, UpstreamUnavailable(problem))
