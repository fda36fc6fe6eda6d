# -*- test-case-name: tests.test_proxy -*-
"""
The reverse proxy: a resource that answers instances with what Nova says to them.

The way of one request is in L{mdproxy.exchange}; this module holds what all requests
share, and the one table from causes to statuses.  The L{Channel
<mdproxy.http.server.Channel>} calls L{ReverseProxyResource.answer}; a stock
C{twisted.web.server.Site} calls C{render}, and the same conversation follows.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import IResource
from zope.interface import implementer

from mdproxy.exchange import (
    Exchange,
    InstanceInDoubt,
    NoSuchInstance,
    OurFault,
    RateExceeded,
    SecretRefused,
)
from mdproxy.headers import IdentityFields, identity_fields
from mdproxy.http.client import (
    UpstreamBroken,
    UpstreamTimedOut,
    UpstreamTlsFailed,
    UpstreamUnavailable,
)
from mdproxy.http.front import Reply
from mdproxy.http.parsing import METHODS, BadRequest, RequestBounds
from mdproxy.interfaces import IUpstream
from mdproxy.limits import Rates, Seat, Seldom, Shares, lines_of_network
from mdproxy.lookup import InstanceLookup
from mdproxy.model import Caller, Identity, Port, Refusal, Request
from mdproxy.signing import Signer
from mdproxy.site import SiteReply, from_site
from mdproxy.steps import Steps
from mdproxy.transactions import RequestIds, Transactions

if TYPE_CHECKING:
    from twisted.web.http import Request as SiteRequest

#: What an instance sees of each cause (DESIGN section 8): status, and whether it is
#: told to come back.  The reason is for the operator alone.
STATUSES: Final[Mapping[type[Exception], tuple[int, bytes, bool]]] = {
    NoSuchInstance: (404, b"Not Found", False),
    InstanceInDoubt: (503, b"Service Unavailable", True),
    SecretRefused: (503, b"Service Unavailable", True),
    RateExceeded: (429, b"Too Many Requests", True),
    UpstreamUnavailable: (503, b"Service Unavailable", True),
    UpstreamTlsFailed: (503, b"Service Unavailable", True),
    UpstreamTimedOut: (504, b"Gateway Timeout", True),
    UpstreamBroken: (502, b"Bad Gateway", True),
    OurFault: (500, b"Internal Server Error", False),
}

#: Of how many ports it is remembered that Nova knows them, and of how many instances
#: the signed fields.
_REMEMBERED: Final = 4096

#: So many requests of one instance, and of all, may wait to be asked again at a time.
_PAUSES: Final = 8
_ALL_PAUSES: Final = 1024


@frozen
class Hold:
    """
    For how many seconds a request may wait for what passes by itself.

    @ivar openstack: For targets under /openstack, whose reader waits 10 seconds.
    @ivar other: For all others: cloud-init's EC2 reader gives up after 5 seconds.
    """

    openstack: float = 8.0
    other: float = 4.0

    def of(self, target: bytes) -> float:
        """
        Choose by the target.
        """
        return self.openstack if target.startswith(b"/openstack") else self.other


@implementer(IResource)
@define(eq=False)
class ReverseProxyResource:
    """
    Answers every request by asking Nova, as the instance that the lookup names.

    @ivar lookup: Who is asking.
    @ivar upstream: Where Nova is.
    @ivar signer: The holder of the secret.
    @ivar clock: What time it is.
    @ivar random: Makes pauses uneven.
    @ivar holds: Places for callers that are not identified yet.
    @ivar _questions: Places for requests that Nova is asked.
    @ivar rates: How often each caller may ask.
    @ivar _hold: How long requests may wait for what passes by itself.
    @ivar counts: What happened how often.
    @ivar transactions: What was asked lately.
    @ivar steps: How requests of those went that the operator watches.
    @ivar _identities: The signed fields of those who asked, by all that is in them.
    @ivar _asking: The exchanges that Nova is being asked for.
    @ivar _asking_at: The same by network and address of who asks.
    @ivar _lines: By caller, the exchanges that wait until it has fewer.
    @ivar _awaiting: Exchanges that pause before asking Nova again.
    @ivar _pauses: Places for them.
    @ivar _served: Ports whose instance Nova knew, and when it was last seen to.
    @ivar _find_caller: Finds who opened a Site's connection.
    """

    isLeaf = True

    lookup: InstanceLookup
    upstream: IUpstream
    signer: Signer
    clock: IReactorTime
    random: Random
    holds: Shares
    _questions: Shares
    _hold: Hold
    rates: Rates = field(factory=lambda: Rates(0, 1))
    _bounds: RequestBounds = field(factory=RequestBounds)
    _find_caller: Callable[[Any], Caller | None] = field(default=lambda _: None)
    counts: Counter[str] = field(factory=Counter, init=False)
    transactions: Transactions = field()
    steps: Steps = field(init=False)
    _identities: dict[tuple[str, str, str], IdentityFields] = field(
        factory=dict, init=False
    )
    _asking: set[Exchange] = field(factory=set, init=False)
    _asking_at: dict[Seat, set[Exchange]] = field(factory=dict, init=False)
    _lines: dict[tuple[str, str], dict[Exchange, None]] = field(
        factory=dict, init=False
    )
    _awaiting: set[Exchange] = field(factory=set, init=False)
    _pauses: Shares = field(
        factory=lambda: Shares(_PAUSES, of_all=_ALL_PAUSES), init=False
    )
    _served: OrderedDict[tuple[str, str, str], float] = field(
        factory=OrderedDict, init=False
    )
    _seldom: Seldom = field(factory=Seldom, init=False)
    _told: Rates = field(factory=lines_of_network, init=False)
    _log: Logger = field(factory=Logger, init=False)

    @transactions.default
    def _(self) -> Transactions:
        """
        Begin with none.
        """
        return Transactions(RequestIds.draw(self.random), self.clock.seconds)

    @steps.default
    def _(self) -> Steps:
        """
        Begin with nobody watched.
        """
        return Steps(self.transactions.ids, self.clock.seconds)

    def answer(self, request: Request, caller: Caller, reply: Reply) -> Exchange:
        """
        Provide C{Answerer.answer}.
        """
        number = self.counts["requests"] = self.counts["requests"] + 1
        now = self.clock.seconds()
        until = now + self._hold.of(request.target)
        exchange = Exchange(request, caller, reply, self, number, now, until)
        if self.rates.allows(caller.holder, now):
            exchange.identify()
        else:
            exchange.turn_away()
        return exchange

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator what happened so far.

        @return: Plain values, ready for JSON.
        """
        counts = Counter(self.counts)
        for (_kind, status, _outcome), many in self.transactions.tally.items():
            if status:
                counts[f"status-{status}"] += many
        return {
            "counts": dict(sorted(counts.items())),
            "asking": len(self._asking),
            "in_line": sum(len(line) for line in self._lines.values()),
            "pausing": len(self._awaiting),
            "waiting_for_facts": self.holds.taken,
        }

    def count(self, what: str) -> None:
        """
        Count something that happened.
        """
        self.counts[what] += 1

    def sign_with(self, signer: Signer) -> None:
        """
        Sign what is sent from now on with another secret.
        """
        self.signer = signer
        self._identities.clear()
        for exchange in self._asking:
            # One that still waits for a connection.
            exchange.sign()

    def hold_for(self, hold: Hold) -> None:
        """
        Hold requests that come from now on for other times.
        """
        self._hold = hold

    def fields_of(self, identity: Identity, caller: Caller) -> IdentityFields:
        """
        Make the header fields by which Nova knows an instance, or find them made.

        @param caller: Who asks; its address is in them.
        """
        port = identity.port
        contents = (caller.address, port.instance_id, port.project_id)
        known = self._identities.get(contents)
        if known is None:
            if len(self._identities) >= _REMEMBERED:
                self._identities.clear()
            known = identity_fields(port, caller.address, self.signer)
            self._identities[contents] = known
        return known

    def set_out(self, exchange: Exchange, caller: Caller) -> bool:
        """
        Note that Nova is to be asked for a caller, or have the exchange stand in line.

        One that does not read its answers would else take every connection to Nova.

        @return: Whether Nova may be asked now; if not, the exchange is called in turn.
        """
        if not self._questions.take(caller.holder):
            self._lines.setdefault(caller.holder, {})[exchange] = None
            return False
        self._asking.add(exchange)
        seat = (caller.network, caller.address)
        self._asking_at.setdefault(seat, set()).add(exchange)
        return True

    def arrive(self, exchange: Exchange, caller: Caller) -> None:
        """
        Note that Nova has answered, or will not; the next in line takes its turn.
        """
        self._asking.remove(exchange)
        seat = (caller.network, caller.address)
        self._asking_at[seat].remove(exchange)
        if not self._asking_at[seat]:
            del self._asking_at[seat]
        self._questions.give_back(caller.holder)
        if self._lines:
            self.call_next(caller)

    def call_next(self, caller: Caller) -> None:
        """
        Have the next in a caller's line take its turn, which somebody leaves to it.
        """
        if caller.holder in self._lines:
            following = next(iter(self._lines[caller.holder]))
            self.leave_line(following, caller)
            following.take_turn()

    def leave_line(self, exchange: Exchange, caller: Caller) -> None:
        """
        Take an exchange out of its line.
        """
        line = self._lines[caller.holder]
        del line[exchange]
        if not line:
            del self._lines[caller.holder]

    def path_changed(self, network: str, address: str) -> None:
        """
        Learn that a neighbour entry points to another MAC: break what is under way.

        The entry may be changed back before the answer comes, so that looking at it
        then would not tell.
        """
        for exchange in list(self._asking_at.get((network, address), ())):
            exchange.path_lost()

    def await_recovery(self, exchange: Exchange) -> bool:
        """
        Let an exchange pause before it asks Nova again; if Nova is found good again
        before, wake it.

        @return: Whether there is a place for it.
        """
        if not self._pauses.take(exchange.holder):
            self.count("no-place-to-pause")
            return False
        self._awaiting.add(exchange)
        return True

    def stop_awaiting(self, exchange: Exchange) -> None:
        """
        Do not wake it.
        """
        if exchange in self._awaiting:
            self._awaiting.remove(exchange)
            self._pauses.give_back(exchange.holder)

    def nova_recovered(self) -> None:
        """
        Wake what pauses before asking Nova again.
        """
        for exchange in list(self._awaiting):
            exchange.wake()

    def note_served(self, port: Port) -> None:
        """
        Remember that Nova knows the instance of a port.
        """
        key = (port.network, port.mac, port.instance_id)
        self._served[key] = self.clock.seconds()
        if len(self._served) > _REMEMBERED:
            self._served.popitem(last=False)

    def since_served(self, port: Port) -> float:
        """
        Tell how long ago Nova was last seen to know the instance of a port.

        @return: Seconds; infinite where it never was.
        """
        key = (port.network, port.mac, port.instance_id)
        return self.clock.seconds() - self._served.get(key, -inf)

    def status_of(self, error: Exception) -> int:
        """
        Look up the status that a cause has in the table.
        """
        return STATUSES[type(error)][0]

    def answer_failure(self, error: Exception, reply: Reply) -> None:
        """
        Write the answer that a cause has in the table.
        """
        status, phrase, come_back = STATUSES[type(error)]
        fields = b"Content-Type: text/plain\r\n"
        if come_back:
            fields += b"Retry-After: 1\r\n"
        reply.begin(status, phrase, fields, len(phrase) + 1)
        reply.write(phrase + b"\n")
        reply.finish()

    def tell_refusal(self, refusal: Refusal, number: int) -> None:
        """
        Log why a caller is refused, once in a while for each.

        @param number: The request's.
        """
        evidence = refusal.evidence
        self._warn(
            evidence.caller,
            number,
            evidence.reason.value,
            "refused {address} ({mac}) on {network}: {reason} (row {row}; "
            "neighbour {neighbour}; {request_id}; {quiet} more like it)",
            reason=evidence.reason.value,
            row=evidence.row,
            neighbour=evidence.neighbour,
        )

    def tell_path_lost(self, caller: Caller, number: int) -> None:
        """
        Log that an answer was about to go to somebody else.

        @param number: The request's.
        """
        self._warn(
            caller,
            number,
            "path",
            "broke the connection of {address} ({mac}) on {network}: its neighbour "
            "entry or its port changed while Nova was asked ({request_id}; {quiet} "
            "more like it)",
        )

    def tell_fault(self, number: int) -> None:
        """
        Log the fault of ours that is being handled, once in a while.

        @param number: The request's that met it.
        """
        if self._seldom.passes("fault", self.clock.seconds()) is not None:
            self._log.failure(
                "a request met a fault of mdproxy itself ({request_id})",
                request_id=self.transactions.ids.of(number),
            )

    def _tell_rate(self, caller: Caller, number: int) -> None:
        """
        Log that somebody asks too often, once in a while for each.
        """
        self._warn(
            caller,
            number,
            "rate",
            "{address} ({mac}) on {network} asks more often than it may "
            "([limits] max_request_rate; {request_id}; {quiet} more like it)",
        )

    def _warn(
        self, caller: Caller, number: int, event: str, text: str, **more: Any
    ) -> None:
        """
        Log what a caller has met, once in a while for each caller and event.
        """
        now = self.clock.seconds()
        quiet = self._seldom.passes((*caller.holder, event), now)
        if quiet is not None and self._told.allows((caller.network, event), now):
            self._log.warn(
                text,
                address=caller.address,
                mac=caller.mac,
                network=caller.network,
                request_id=self.transactions.ids.of(number),
                quiet=quiet,
                **more,
            )

    def tell_failure(self, error: Exception, caller: Caller, number: int) -> None:
        """
        Log why there is no answer of Nova, once in a while for each cause.

        @param number: The request's.
        """
        if isinstance(error, NoSuchInstance | InstanceInDoubt | OurFault):
            # Told already, with more than the error knows.
            return
        if isinstance(error, RateExceeded):
            self._tell_rate(caller, number)
            return
        text = str(error)
        quiet = self._seldom.passes((type(error), text), self.clock.seconds())
        if quiet is None:
            return
        if isinstance(error, SecretRefused):
            told = (
                "403 to a signed request: metadata_proxy_shared_secret differs from "
                "Nova's, or something before Nova refuses us; mdproxyctl doctor tells "
                "which ({request_id}; {quiet} more like it)"
            )
        else:
            told = "no answer from Nova: {problem} ({request_id}; {quiet} more like it)"
        request_id = self.transactions.ids.of(number)
        self._log.error(told, problem=text, request_id=request_id, quiet=quiet)

    def render(self, request: SiteRequest) -> int:
        """
        Provide C{IResource.render}, for a stock Site.
        """
        # Who has none need not have its modules in memory.
        from twisted.web.server import NOT_DONE_YET

        site_reply = SiteReply(request)
        transport: Any = request.channel.transport
        caller = self._find_caller(transport)
        if caller is None:
            transport.abortConnection()
            return NOT_DONE_YET
        try:
            ours = from_site(request, self._bounds)
        except BadRequest as bad:
            self.count(f"status-{bad.status}")
            request.setResponseCode(bad.status)
            if bad.status == 405:
                request.setHeader(b"allow", b", ".join(sorted(METHODS)))
            request.finish()
            return NOT_DONE_YET
        finished = request.notifyFinish()
        request.registerProducer(site_reply, True)
        answering = self.answer(ours, caller, site_reply)
        site_reply.come_from(answering)
        finished.addErrback(lambda _: answering.cancel())
        return NOT_DONE_YET

    def getChildWithDefault(self, name: bytes, request: SiteRequest) -> IResource:
        """
        Provide C{IResource.getChildWithDefault}; a leaf has no children.
        """
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        """
        Provide C{IResource.putChild}; a leaf has no children.

        @raise NotImplementedError: Always.
        """
        raise NotImplementedError("a reverse proxy has no children")
