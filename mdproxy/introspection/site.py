# -*- test-case-name: tests.test_introspection_site -*-
"""
The site for operators: one place for what holds for every page of it.

Every request is judged by L{mdproxy.introspection.guard} before anything looks for an
answer; every answer has the same security fields; no answer tells of our inner workings
or repeats what was asked; no access is logged.  Pages are made when somebody first asks
for one, so that what they need is not in memory on hosts where nobody looks.

Limits: L{MOST} connections, L{MOST_REMOTE} of them from one other host, of which the
one that is idle the longest makes room for another; L{PATIENCE} seconds from the
connection, or from the end of the last answer, to the end of a request; L{HEAD} bytes
for a request's head and L{MOST_BODY} for its body.  An answer may take as long as it
wants (live pages do); requests are answered one after the other, and work on them is no
more than half of all.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qs, unquote_to_bytes

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.server import Request as SiteRequest

from mdproxy.introspection.guard import (
    FIELDS,
    MOST_BODY,
    OF_INSTANCES,
    Asked,
    Guard,
    Refused,
    media_type,
    other_method,
)
from mdproxy.introspection.waking import Elsewhere, thread_of
from mdproxy.limits import Rates, Seldom, lines_of_network
from mdproxy.model import canonical_address
from mdproxy.tls import describe_failure

#: So many connections are served at a time.
MOST: Final = 64

#: So many of them for each address of another host.
MOST_REMOTE: Final = 16

#: So many connections of each such address are taken in a second, and so many at once:
#: a handshake of TLS takes a millisecond, also for who has no certificate.
ARRIVALS: Final = (10.0, 40)

#: For so many seconds a request may be on its way, and a connection idle.
PATIENCE: Final = 30.0

#: After an answer that took long the next one waits for as long, in seconds at most.
LONGEST_REST: Final = 1.0

#: How long the head of a request may be, in bytes.
HEAD: Final = 8192

#: Makes pages: by the first segment of their paths.
Pages = Callable[[], Mapping[bytes, IResource]]

_NOT_FOUND: Final = Refused(404, "There is no such page.")
_FAULT: Final = Refused(500, "mdproxy has met a fault of its own; its log tells.")


class BadForm(Exception):
    """
    The body of a POST can't be understood; the text says why, and repeats none of it.
    """


def form_of(request: SiteRequest) -> dict[str, str]:
    """
    Read the body of a POST: a form, or a JSON object of plain values.

    @param request: A L{GuardedRequest}.

    @return: The values as text; of a name that comes twice the last one counts.

    @raise BadForm: If it is neither.
    """
    assert isinstance(request, GuardedRequest)
    types = request.requestHeaders.getRawHeaders(b"content-type", [])
    try:
        if media_type(types) == b"application/json":
            return _from_json(json.loads(request.body or b"{}"))
        text = request.body.decode()
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=100)
    except (ValueError, RecursionError):
        raise BadForm("the body is neither a form nor JSON") from None
    return {name: values[-1] for name, values in fields.items()}


def _from_json(value: Any) -> dict[str, str]:
    """
    Read a JSON object as a form.

    @raise ValueError: If it is none.
    """
    if not isinstance(value, dict):
        raise ValueError("no object")
    if not all(isinstance(each, (str, int, float)) for each in value.values()):
        raise ValueError("not plain")
    return {name: str(each) for name, each in value.items()}


class Plain(Resource):
    """
    A page of one sentence.
    """

    isLeaf = True

    def __init__(self, refused: Refused) -> None:
        """
        Remember what it says.
        """
        super().__init__()
        self._refused = refused

    def render(self, request: SiteRequest) -> bytes:
        """
        Say it, whatever the method.
        """
        request.setResponseCode(self._refused.status)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        if self._refused.allow:
            request.setHeader(b"allow", self._refused.allow)
        return self._refused.text.encode() + b"\n"


class Lazily(Resource):
    """
    A resource whose children are made when one is first asked for, without keeping
    anybody else: what they need takes long to import.
    """

    def __init__(self, elsewhere: Elsewhere) -> None:
        """
        Begin without any.

        @param elsewhere: Calls what takes long.
        """
        super().__init__()
        self._elsewhere = elsewhere
        self._makers: dict[bytes, Pages] = {}
        self._waiting: dict[Pages, list[Deferred[None]]] = {}

    def hang(self, names: frozenset[bytes], make: Pages) -> None:
        """
        Have children.

        @param names: What they are called.
        @param make: Makes them all; called once, and perhaps in a thread: it imports
            and makes, and touches nothing else.
        """
        self._makers.update(dict.fromkeys(names, make))

    def getChild(self, path: bytes, request: SiteRequest) -> IResource:
        """
        Find what will be a child, if there is to be one.
        """
        make = self._makers.get(path)
        return Plain(_NOT_FOUND) if make is None else _ToCome(self, make)

    def have(self, make: Pages) -> Deferred[None]:
        """
        Make children, unless that is under way.

        @return: Fires when they are there, or can't be made.
        """
        there: Deferred[None] = Deferred()
        waiting = self._waiting.setdefault(make, [])
        waiting.append(there)
        if len(waiting) == 1:
            self._elsewhere(make).addBoth(self._take, make)
        return there

    def _take(self, made: Any, make: Pages) -> None:
        """
        Take children, or learn that they can't be made; the next request tries again.
        """
        waiting = self._waiting.pop(make)
        if not isinstance(made, Failure):
            for name, child in made.items():
                self._makers.pop(name, None)
                self.putChild(name, child)
        for there in waiting:
            there.callback(made if isinstance(made, Failure) else None)

    def render(self, request: SiteRequest) -> bytes:
        """
        Say that there is no page here.
        """
        return Plain(_NOT_FOUND).render(request)


class _ToCome(Resource):
    """
    In the place of a page that has to be made first.
    """

    isLeaf = True

    def __init__(self, parent: Lazily, make: Pages) -> None:
        """
        Remember how.
        """
        super().__init__()
        self._parent = parent
        self._make = make

    def render(self, request: SiteRequest) -> int:
        """
        Make it, and have the request looked at anew.
        """
        assert isinstance(request, GuardedRequest)
        there = self._parent.have(self._make)
        there.addCallbacks(lambda _: request.process(), request.processingFailed)
        # It was told of.
        there.addErrback(lambda _: None)
        return NOT_DONE_YET


class GuardedRequest(SiteRequest):
    """
    A request that is judged before it is answered.

    @ivar body: Its body, as far as it came.
    @ivar announced: How long it is to be, in bytes.
    """

    body = b""
    announced = 0
    site: OperatorsSite

    def gotLength(self, length: int | None) -> None:
        """
        Have nothing for Twisted to read forms from, which it would do by itself and
        with a file for a long one.
        """
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """
        Keep a piece of the body.
        """
        self.body += data

    def process(self) -> None:
        """
        Answer in its turn, now that the request is whole.
        """
        channel: Any = self.channel
        if channel is not None:
            channel.idle_since = None
            self.site = channel.site
            self.site.take_turn(self._answer)

    def finish(self) -> None:
        """
        End the answer; the connection is idle, unless the next request is there.
        """
        channel: Any = self.channel
        if channel is not None:
            channel.idle_since = self.site.reactor.seconds()
        super().finish()

    def _answer(self) -> None:
        """
        Answer, unless the client has gone meanwhile.
        """
        if self.channel is None:
            return
        for name, value in FIELDS.items():
            self.setHeader(name, value)
        self.setHeader(b"date", datetimeToString())
        refused = self.site.guard.refuse(asked_in(self))
        self.prepath: list[bytes] = []
        self.postpath = [unquote_to_bytes(part) for part in self.path[1:].split(b"/")]
        try:
            page = self.site.getResourceFor(self) if refused is None else Plain(refused)
            self.render(page)
        except Exception:
            self.processingFailed(Failure())

    def render(self, resrc: IResource) -> None:
        """
        Answer with a page.
        """
        methods = _methods_of(resrc)
        if methods and self.method not in methods:
            resrc = Plain(other_method(methods))
        body: Any = resrc.render(self)
        if body is NOT_DONE_YET:
            return
        if not isinstance(body, bytes):
            raise TypeError(f"{type(resrc).__name__} makes no bytes")
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body if self.method != b"HEAD" else b"")
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """
        Say no more than that it is our fault; log it, once in a while.
        """
        self.site.tell_fault(reason)
        channel: Any = self.channel
        if channel is None:
            return reason
        if self.startedWriting:
            # Whoever reads must not take it for whole.
            channel.transport.abortConnection()
        else:
            self.render(Plain(_FAULT))
        return reason


def _methods_of(page: IResource) -> list[bytes]:
    """
    List the methods that a page has; none where it renders them all in one place.
    """
    reads = [b"GET", b"HEAD"] if hasattr(page, "render_GET") else []
    return [*reads, b"POST"] if hasattr(page, "render_POST") else reads


def asked_in(request: SiteRequest) -> Asked:
    """
    Take from a request what it is judged by.
    """

    def every(name: bytes) -> list[bytes]:
        return list(request.requestHeaders.getRawHeaders(name, []))

    return Asked(
        method=request.method,
        target=request.uri,
        hosts=every(b"host"),
        local=_address_of(request.getHost()),
        secure=request.isSecure(),
        origins=every(b"origin"),
        sites=every(b"sec-fetch-site"),
        modes=every(b"sec-fetch-mode"),
        marks=every(b"x-mdproxy"),
        types=every(b"content-type"),
        length=getattr(request, "announced", 0),
    )


def _address_of(place: object) -> str | None:
    """
    Find the address of an end of a connection.

    @return: C{None}: it is a UNIX socket's.
    """
    host = getattr(place, "host", None)
    return None if host is None else canonical_address(host)


def _is_remote(peer: str | None) -> bool:
    """
    Tell whether somebody is on another host.
    """
    return peer is not None and not ip_address(peer).is_loopback


class OperatorsChannel(HTTPChannel):
    """
    A connection of an operator's.

    @ivar peer: The address that it comes from; C{None}: by a UNIX socket.
    @ivar idle_since: Since when it has no whole request, in monotonic seconds; C{None}:
        it has one.
    """

    peer: str | None = None
    idle_since: float | None = None

    MAX_LENGTH = HEAD
    totalHeadersSize = HEAD
    maxHeaders = 64
    site: OperatorsSite

    def connectionMade(self) -> None:
        """
        Begin; but not where instances ask, which is what others on every address of
        the host would hear as well.
        """
        transport: Any = self.transport
        if _address_of(transport.getHost()) in OF_INSTANCES:
            self.site.tell_trouble("it came to an address that instances ask")
            transport.abortConnection()
        else:
            super().connectionMade()

    def allHeadersReceived(self) -> None:
        """
        Prepare for the body, but for none that is too long or does not say how long it
        is: a connection's buffers full of chunks of a byte each would take seconds, in
        which no instance is served.
        """
        request: Any = self.requests[-1]
        length: int | None = self.length
        request.announced = MOST_BODY + 1 if length is None else length
        if request.announced <= MOST_BODY:
            super().allHeadersReceived()
            return
        # What follows is not read, so nothing of it is to be sent any more.
        self.length = 0
        request.requestHeaders.removeHeader(b"expect")
        super().allHeadersReceived()
        self.persistent = False
        request.setHeader(b"connection", b"close")

    def resetTimeout(self) -> None:
        """
        Give no more time for each byte: the whole request has to be there in time.
        """

    def timeoutConnection(self) -> None:
        """
        End it, without a word in the log.
        """
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Make room for another.
        """
        self.site.connections.discard(self)
        if isinstance(reason.value, SSL.Error):
            transport: Any = self.transport
            tls = transport.getHandle()
            self.site.tell_trouble(describe_failure(reason.value, tls, "its client"))
        super().connectionLost(reason)


class _Full(Protocol):
    """
    A connection for which there is no room.
    """

    def connectionMade(self) -> None:
        """
        End it.
        """
        transport: Any = self.transport
        transport.abortConnection()


class OperatorsSite(Site):
    """
    The site: it logs no accesses and shows no tracebacks.

    @ivar guard: Judges every request.
    @ivar connections: Those that are open.
    """

    protocol = OperatorsChannel  # type: ignore[assignment]
    requestFactory = GuardedRequest
    displayTracebacks = False
    noisy = False
    _log = Logger()

    def __init__(self, root: IResource, guard: Guard, clock: IReactorTime) -> None:
        """
        Serve what is under a root.
        """
        super().__init__(root, timeout=PATIENCE, reactor=clock)
        self.guard = guard
        self.connections: set[OperatorsChannel] = set()
        self._seldom = Seldom()
        self._arrivals, self._told = Rates(*ARRIVALS), lines_of_network()
        self._turns: deque[Callable[[], None]] = deque()
        self._rested = clock.seconds()

    def startFactory(self) -> None:
        """
        Need no clock for an access log.
        """

    def stopFactory(self) -> None:
        """
        Have none to stop.
        """

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Take a connection, if there is room.
        """
        peer = _address_of(addr)
        if _is_remote(peer) and not self._may_come(str(peer)):
            self.tell_trouble(f"{peer} comes too often")
            return _Full()
        if not self._has_room(peer):
            self.tell_trouble(f"{peer or 'a local process'} has too many connections")
            return _Full()
        channel: Any = super().buildProtocol(addr)
        channel.peer, channel.idle_since = peer, self.reactor.seconds()
        self.connections.add(channel)
        return channel

    def take_turn(self, answer: Callable[[], None]) -> None:
        """
        Answer a request, now or when this thread has worked for instances for as long
        as it took to answer the one before.

        However much operators ask, what instances get takes twice as long at most.

        @param answer: Answers it.
        """
        self._turns.append(answer)
        if len(self._turns) == 1:
            self._go_on()

    def _go_on(self) -> None:
        """
        Answer those that wait, the first that came first.
        """
        while self._turns:
            began = self.reactor.seconds()
            if began < self._rested:
                self.reactor.callLater(self._rested - began, self._go_on)
                return
            try:
                self._turns[0]()
            except Exception:
                self.tell_fault(Failure())
            ended = self.reactor.seconds()
            self._rested = ended + min(ended - began, LONGEST_REST)
            self._turns.popleft()

    def _may_come(self, peer: str) -> bool:
        """
        Tell whether another host does not come too often.
        """
        return self._arrivals.allows(("", peer), self.reactor.seconds())

    def _has_room(self, peer: str | None) -> bool:
        """
        Tell whether there is room for one more connection, or make some: whoever holds
        connections and asks nothing keeps nobody out.
        """
        same = [channel for channel in self.connections if channel.peer == peer]
        if _is_remote(peer) and len(same) >= MOST_REMOTE:
            return self._end_idle(same)
        return len(self.connections) < MOST or self._end_idle(self.connections)

    def _end_idle(self, channels: Iterable[OperatorsChannel]) -> bool:
        """
        End the connection that is idle for the longest time.

        @return: Whether one of them was idle.
        """
        idle = [(c.idle_since, c) for c in channels if c.idle_since is not None]
        if not idle:
            return False
        _since, longest = min(idle, key=lambda pair: pair[0])
        self.connections.discard(longest)
        longest.timeoutConnection()
        return True

    def log(self, request: HttpRequest) -> None:
        """
        Say nothing of a request: whoever watches the status would fill the log.
        """

    def tell_fault(self, reason: Failure) -> None:
        """
        Log a fault of ours, once in a while for each kind.
        """
        if self._seldom.passes(str(reason.type), self.reactor.seconds()) is not None:
            self._log.failure("a page for operators met a fault of ours", reason)

    def tell_trouble(self, problem: str) -> None:
        """
        Log why an operator got no answer, once in a while for each cause, and not often
        however many there are: whoever asks may have any number of addresses.
        """
        now = self.reactor.seconds()
        quiet = self._seldom.passes(problem, now)
        if quiet is not None and self._told.allows(("", "operators"), now):
            self._log.warn(
                "an operator got no answer: {problem} ({quiet} more like it)",
                problem=problem,
                quiet=quiet,
            )


def make_site(
    pages: Mapping[frozenset[bytes], Pages],
    guard: Guard,
    clock: IReactorTime,
    elsewhere: Elsewhere | None = None,
) -> OperatorsSite:
    """
    Make the site for operators.

    @param pages: What makes its pages, by the first segments of their paths.
    @param guard: Judges every request.
    @param clock: The reactor.
    @param elsewhere: Calls what takes long; C{None}: a thread of the reactor's.
    """
    root = Lazily(elsewhere or thread_of(clock))
    for names, make in pages.items():
        root.hang(names, make)
    return OperatorsSite(root, guard, clock)
