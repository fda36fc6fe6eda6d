# -*- test-case-name: tests.test_introspection_waking -*-
"""
The site for operators is made when the first of them comes.

What it is made of (C{twisted.web}, mostly) takes two megabytes, and 0.1 seconds to
import: a host where nobody looks has neither, and no instance waits for it, for that is
done in a thread.  Meanwhile the connections that come are not read from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorThreads
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

#: So many connections wait at most.
_MOST: Final = 64

#: Calls something that takes long, and tells when it is done.
Elsewhere = Callable[[Callable[[], object]], "Deferred[object]"]


def thread_of(reactor: Any) -> Elsewhere:
    """
    Tell how a reactor has something done in a thread; one in memory does it at once.
    """
    if not IReactorThreads.providedBy(reactor):
        return maybeDeferred
    return lambda call: deferToThreadPool(reactor, reactor.getThreadPool(), call)


class Arrival(Protocol):
    """
    A connection that came before there was a site.

    @ivar _where: Where it came from.
    @ivar _waking: Makes the site.
    @ivar _channel: What the site has for it.
    """

    def __init__(self, where: IAddress | None, waking: Waking) -> None:
        """
        Remember what the site is to know.
        """
        self._where = where
        self._waking = waking
        self._channel: Any = None

    def connectionMade(self) -> None:
        """
        Wait.
        """
        transport: Any = self.transport
        transport.pauseProducing()
        self._waking.wait(self)

    def go_on(self, site: Any) -> None:
        """
        Hand the connection to the site.
        """
        transport: Any = self.transport
        self._channel = site.buildProtocol(self._where)
        self._channel.makeConnection(transport)
        transport.resumeProducing()

    def leave(self) -> None:
        """
        End it: there is no site.
        """
        transport: Any = self.transport
        transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Hand on what comes.
        """
        if self._channel is not None:
            self._channel.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        It has ended.
        """
        if self._channel is None:
            self._waking.forget(self)
        else:
            self._channel.connectionLost(reason)


class Waking(ServerFactory):
    """
    Stands where the site will be.

    @ivar _load: Imports what the site is made of.
    @ivar _make: Makes it.
    @ivar _elsewhere: Does so without keeping anybody.
    @ivar _site: The site, when there is one.
    @ivar _arrivals: Connections that wait for it.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        load: Callable[[], object],
        make: Callable[[], IProtocolFactory],
        elsewhere: Elsewhere,
    ) -> None:
        """
        Make nothing yet.
        """
        self._load, self._make, self._elsewhere = load, make, elsewhere
        # Its type does not know of connections without an address.
        self._site: Any = None
        self._arrivals: list[Arrival] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Take a connection.
        """
        if self._site is not None:
            return self._site.buildProtocol(addr)
        return Arrival(addr, self)

    def wait(self, arrival: Arrival) -> None:
        """
        Have a connection handed to the site as soon as there is one.
        """
        if len(self._arrivals) >= _MOST:
            arrival.leave()
            return
        self._arrivals.append(arrival)
        if len(self._arrivals) == 1:
            loaded = self._elsewhere(self._load)
            loaded.addCallback(lambda _: self._wake()).addErrback(self._fail)

    def forget(self, arrival: Arrival) -> None:
        """
        Have no connection handed over that has ended.
        """
        if arrival in self._arrivals:
            self._arrivals.remove(arrival)

    def _wake(self) -> None:
        """
        Make the site, and let in who waits.
        """
        if self._site is None:
            self._site = self._make()
        arrivals, self._arrivals = self._arrivals, []
        for arrival in arrivals:
            arrival.go_on(self._site)

    def _fail(self, reason: Failure) -> None:
        """
        Send those away who wait; the next one has it tried again.
        """
        self._log.failure("the operator's pages can't be made", reason)
        arrivals, self._arrivals = self._arrivals, []
        for arrival in arrivals:
            arrival.leave()
