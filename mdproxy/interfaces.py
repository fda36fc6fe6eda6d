"""
The seams of L{mdproxy}.  Read this file first.

An instance opens a connection to a I{listener}; the listener's I{network} and the
connection's opening frame say who it may be.  I{Sources} turn what the outside knows
into facts and enter them into the three I{books} of L{mdproxy.lookup}; the lookup
joins the books into an I{identity}; L{mdproxy.proxy} relays to the I{upstream}.

All outside knowledge enters as facts; sources know nothing of the proxy.  Each
interface has at least two providers, and the same contract tests run on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from mdproxy.model import Request, ResponseHead


class SourceState(Enum):
    """
    How much silence of a source is worth.
    """

    #: It has not yet read everything once.
    STARTING = "starting"
    #: What it does not know does not exist.
    LIVE = "live"
    #: It knows things, but they may be out of date.
    STALE = "stale"
    #: It knows nothing.
    FAILED = "failed"


class ISource(Interface):
    """
    Something that keeps one of the books current.

    Every provider is a Twisted service too: it begins to read when it is started and
    lets go of every descriptor and timer when it is stopped.
    """

    name: str = Attribute("The word for this source in logs, pages and metrics.")
    state: SourceState = Attribute("How much its silence is worth now.")

    def knows(network: str) -> bool:
        """
        Tell whether this source can know anything of a network at all.

        @param network: The network's name; of a neighbour source a listener's network.

        @return: C{False} where silence proves nothing, however live the source is.
        """

    def describe() -> Mapping[str, Any]:
        """
        Tell the operator what this source knows and how fresh it is.

        @return: Plain values, ready for JSON, without any secret; always with
            C{name}, C{kind}, C{state}, and C{problem} (a sentence, or C{None}).
        """


class IInventory(ISource):
    """
    A source of ports.

    It enters ports into the L{PortBook<mdproxy.lookup.books.PortBook>} it was made
    with.  Its state decides what an absent port means: C{LIVE} means surely none.
    """

    def is_in_doubt(network: str) -> bool:
        """
        Tell whether it would know a network, but not at this moment or not wholly.

        @param network: The network's name.

        @return: C{True} where somebody may be there whom it can't tell now, so that no
            other inventory's silence proves anything either.
        """

    def refresh(network: str, mac: str | None) -> Deferred[None]:
        """
        Read again what is known about a network, because somebody was missed.

        Whoever comes while one is under way, or too soon after it, shares the next
        one's result: the inventory itself bounds how often it asks the outside.

        @param network: The network on which a caller was not found, by the name that
            L{NetworkBook<mdproxy.lookup.books.NetworkBook>} has for it.
        @param mac: The caller's MAC; C{None} where it is not known.

        @return: Fires when the book is as current as this inventory can make it; it
            never fails (trouble shows in C{state}).
        """


class IExchange(Interface):
    """
    One request on its way to Nova: what an upstream calls back.

    Calls come in this order: C{head}, any number of C{body}, then C{done}; or
    C{failed} at any point, after which nothing comes.
    """

    request: Request = Attribute("What the instance asked.")
    holder: tuple[str, str] = Attribute("Whose it is (L{Caller.holder}).")
    wire: bytes = Attribute("The signed head, all but Host (L{mdproxy.headers}).")
    until: float = Attribute("When waiting for Nova is no use, in monotonic seconds.")
    tries: int = Attribute("How often it was given to an upstream, this time included.")

    def head(head: ResponseHead) -> None:
        """
        Take the response's head.

        @param head: The final response's head (interim ones never show).
        """

    def body(data: bytes) -> None:
        """
        Take a piece of the body, without any chunk framing.

        @param data: At least one byte.
        """

    def done() -> None:
        """
        Learn that the response is complete.
        """

    def failed(error: Exception, sent: bool) -> None:
        """
        Learn that there will be no complete response.

        @param error: One of the exceptions of L{mdproxy.http.client}.
        @param sent: Whether any byte of the request may have reached Nova.
        """


class IUpstream(Interface):
    """
    Where signed requests go.
    """

    def send(exchange: IExchange) -> None:
        """
        Send a request and call the exchange back, perhaps before this returns.

        @param exchange: Whose request it is.
        """

    def cancel(exchange: IExchange) -> None:
        """
        Forget a request: nothing is called back after this; a connection that it was
        sent on is closed, for its answer belongs to nobody.

        @param exchange: A request given to C{send} that has not ended.
        """

    def pause(exchange: IExchange) -> None:
        """
        Stop reading the response, because the instance reads slower than Nova.

        @param exchange: A request whose head has come.
        """

    def resume(exchange: IExchange) -> None:
        """
        Go on reading the response.

        @param exchange: A request that was paused.
        """

    def describe() -> Mapping[str, Any]:
        """
        Tell the operator about endpoints, connections and errors.

        @return: Plain values, ready for JSON, without any secret.
        """
