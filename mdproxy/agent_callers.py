# -*- test-case-name: tests.test_agent_callers -*-
"""
Who asks through one of Neutron's haproxies.

Haproxy runs in the namespace of its network or router and tells nothing of the frame
that a connection began with.  So the MAC is that of the neighbour entry in that
namespace, as it is when the request comes: what haproxy answers goes there.

B{What a turned entry is worth here.}  When the instance's connection to haproxy began
nobody tells us, so nobody can say what the entry was then (docs/adr/0002).  But haproxy
bounds how long ago it was.  Somebody who points the entry at himself for the handshake,
and then back, must ask within C{timeout http-request} after it; or, had he asked before
it was turned back, within our hold, C{timeout http-keep-alive} and C{timeout
http-request} after that (30 seconds each in Neutron's configuration).  So whoever asks
within L{DOUBT} seconds of a turn is refused, and whatever is refused without a look at
the entry, or because of it, is told so in a way that makes haproxy close its connection
with the instance (L{RelayedChannel<mdproxy.http.relayed.RelayedChannel>}): none lives
from before the turn until after the doubt.  Where it can't be made to, which is so with
HEAD, all doubts behind that haproxy begin anew.

What is left: requests that haproxy itself refuses and never passes on (Neutron's rate
limit, which is off by default) keep a connection without our knowing; an entry that is
turned when haproxy has the answer already; and turns before mdproxy started.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Final, Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from mdproxy.agent_headers import Forwarded
from mdproxy.limits import Seat
from mdproxy.lookup import Books
from mdproxy.lookup.decision import is_link_local
from mdproxy.model import Caller

#: For so many seconds after an entry was turned its address is not trusted: our longest
#: hold, Neutron's C{timeout_http_keep_alive} and C{timeout_http_request}
#: (neutron/conf/agent/metadata/config.py), and what clocks and queues may add.
DOUBT: Final = 75.0

#: The kind of the listener (L{Caller.kind}).
KIND: Final = "socket"


class Neighbours(Protocol):
    """
    What is asked of a neighbour source beside its book.
    """

    def drain(self) -> None:
        """
        Enter what the kernel has told and nobody has read yet.
        """

    def probe(self, network: str, address: str) -> str | None:
        """
        Ask the kernel for one entry, and enter what it says.
        """


@define(eq=False)
class RelayedCallers:
    """
    Finds callers by what haproxy wrote.

    @ivar _books: The facts.
    @ivar _neighbours: Who knows neighbours.
    @ivar _clock: Monotonic time.
    @ivar _identify_by: C{mac}, or C{address}: then the network and the address
        identify, as to Neutron's own agent.
    @ivar _unbroken: By haproxy, when a connection that should have been was last not
        broken, the longest ago first; and from when on a turn counts for as long as
        that goes on.
    """

    _books: Books
    _neighbours: Neighbours
    _clock: IReactorTime
    _identify_by: str = "mac"
    _unbroken: OrderedDict[Seat, tuple[float, float]] = field(
        factory=OrderedDict, init=False
    )

    def find(self, forwarded: Forwarded, process: Seat) -> Caller:
        """
        Find who asks.

        @param forwarded: What haproxy wrote.
        @param process: The haproxy.

        @return: The caller.  Where its address has no neighbour entry in the namespace,
            or one on each of several devices, its MAC is not known and it is to be
            looked for again.
        """
        links = self._books.networks.links_in(forwarded.namespace)
        if self._identify_by == "address" and not is_link_local(forwarded.address):
            return self._by_address(forwarded, process, links)
        self._neighbours.drain()
        seen = self._seen(links, forwarded.address)
        if len(seen) != 1:
            again = partial(self.find, forwarded, process)
            place, address = forwarded.place, forwarded.address
            return Caller(place, address, None, probed=True, kind=KIND, seek=again)
        [(link, mac)] = seen
        since = self._trusted_since(process)
        address = forwarded.address
        return Caller(link, address, mac, probed=True, since=since, kind=KIND)

    def note_unbroken(self, process: Seat) -> None:
        """
        Learn that a connection lives on that should have been broken; nobody need know
        whose.

        @param process: The haproxy that has it.
        """
        now = self._clock.seconds()
        while self._unbroken:
            eldest, (latest, _since) = next(iter(self._unbroken.items()))
            if now - latest < DOUBT:
                break
            del self._unbroken[eldest]
        _latest, since = self._unbroken.pop(process, (now, now - DOUBT))
        self._unbroken[process] = now, since

    def _seen(self, links: list[str], address: str) -> list[tuple[str, str]]:
        """
        Find an address among the neighbours of some links.

        @return: Each link that has it, with the MAC.
        """
        for look in (self._books.neighbours.mac_of, self._neighbours.probe):
            seen = [(link, mac) for link in links if (mac := look(link, address))]
            if seen:
                return seen
        return []

    def _trusted_since(self, process: Seat) -> float:
        """
        Tell since when an entry must not have been turned.
        """
        now = self._clock.seconds()
        latest, since = self._unbroken.get(process, (now, now))
        return min(since, now - DOUBT) if now - latest < DOUBT else now - DOUBT

    def _by_address(
        self, forwarded: Forwarded, process: Seat, links: list[str]
    ) -> Caller:
        """
        Find the network where the address alone identifies: of a router's networks, the
        one that has a port with it.
        """
        place, address = forwarded.place, forwarded.address
        if forwarded.network is None:
            books = self._books
            names = {books.networks.name_of(link) for link in links}
            fitting = [name for name in names if books.ports.by_address(name, address)]
            if len(fitting) != 1:
                again = partial(self.find, forwarded, process)
                return Caller(place, address, None, "address", kind=KIND, seek=again)
            [place] = fitting
        return Caller(place, address, None, "address", kind=KIND)
