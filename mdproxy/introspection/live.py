# -*- test-case-name: tests.test_introspection_live -*-
"""
Requests as they end, told at once to whoever listens (server-sent events, WHATWG HTML
section 9.2).

One look at the ring of transactions twice a second serves all who listen, and there is
none while nobody does.  An event's id is the request's own, so that who was cut off can
go on where he was.  Memory is bounded: to who does not read nothing more is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from mdproxy.introspection.answers import refuse
from mdproxy.introspection.parameters import BadParameter, Parameter, read_query
from mdproxy.model import Malformed
from mdproxy.transactions import Transaction, Transactions

#: So often the ring is looked at, in seconds.
POLL: Final = 0.5

#: How many may listen at a time.
MOST: Final = 16

#: So many events are told at most at a time: the latest.
BURST: Final = 200

#: After so many looks without an event a comment shows that the connection is alive
#: (15 seconds).
_BEAT: Final = 30

#: Who has not read for so many looks is dropped (10 seconds).
_PATIENCE: Final = 20

#: Tells whether somebody wants a transaction.
Wants = Callable[[Transaction], bool]


@implementer(IPushProducer)
@define(eq=False)
class Listening:
    """
    Somebody who listens.

    @ivar request: What is written to.
    @ivar wants: Which transactions he wants.
    @ivar _end: Ends it.
    @ivar _paused: For how many looks he has not read; C{None}: he reads.
    @ivar _quiet: For how many looks there was nothing to say.
    @ivar _missed: Whether something was left out since the last event.
    """

    request: Request
    wants: Wants
    _end: Callable[[Listening], None]
    _paused: int | None = field(default=None, init=False)
    _quiet: int = field(default=0, init=False)
    _missed: bool = field(default=False, init=False)

    def pauseProducing(self) -> None:
        """
        Provide C{IPushProducer.pauseProducing}.
        """
        self._paused = 0

    def resumeProducing(self) -> None:
        """
        Provide C{IPushProducer.resumeProducing}.
        """
        self._paused = None

    def stopProducing(self) -> None:
        """
        Provide C{IProducer.stopProducing}.
        """
        self._end(self)

    def tell(self, events: Sequence[bytes], is_whole: bool) -> None:
        """
        Tell what came since the last look.

        @param events: As they are written (L{_event}), the earliest first.
        @param is_whole: Whether these are all that there were.
        """
        if self._paused is not None:
            self._missed = self._missed or bool(events) or not is_whole
            self._paused += 1
            if self._paused > _PATIENCE:
                self._end(self)
                channel: Any = self.request.channel
                channel.transport.abortConnection()
            return
        text = b"".join(events)
        if self._missed or not is_whole:
            text = b"event: missed\ndata: {}\n\n" + text
            self._missed = False
        self._quiet = 0 if text else self._quiet + 1
        if self._quiet >= _BEAT:
            self._quiet, text = 0, b": alive\n\n"
        if text:
            self.request.write(text)


def _event(words: Mapping[str, Any]) -> bytes:
    """
    Write an event.

    @param words: A transaction; JSON has no line breaks.
    """
    data = json.dumps(words)
    return f"id: {words['request_id']}\nevent: transaction\ndata: {data}\n\n".encode()


@define(eq=False)
class Tail:
    """
    Looks at the ring for all who listen.

    @ivar _ring: The latest transactions.
    @ivar _clock: When to look.
    @ivar listening: Who listens.
    @ivar _last: The number of the latest one that was seen.
    """

    _ring: Transactions
    _clock: IReactorTime
    listening: list[Listening] = field(factory=list, init=False)
    _last: int | None = field(default=None, init=False)
    _looking: LoopingCall = field(init=False)

    @_looking.default
    def _(self) -> LoopingCall:
        """
        Prepare to look.
        """
        looking = LoopingCall(self._look)
        looking.clock = self._clock
        return looking

    def follow(self, request: Request, wants: Wants, last: str) -> Listening:
        """
        Begin to tell somebody.

        @param wants: Which transactions.
        @param last: The id of the last event that was heard; any other text: begin now.
        """
        if not self.listening:
            self._last = self._latest()
            self._looking.start(POLL, now=False)
        else:
            # Everybody is told up to now, so that all have the same to hear from here.
            self._look()
        listener = Listening(request, wants, self.leave)
        self.listening.append(listener)
        number = self._number_of(last)
        if number is not None:
            found = list(self._since(number, wants))
            is_whole = bool(found) and found[-1]["number"] == number
            events = [words for words in found if words["number"] != number]
            texts = [_event(words) for words in events[:BURST][::-1]]
            listener.tell(texts, is_whole and len(events) <= BURST)
        return listener

    def leave(self, listener: Listening) -> None:
        """
        Tell somebody no more; who has left already is no trouble.
        """
        if listener in self.listening:
            self.listening.remove(listener)
            if not self.listening:
                self._looking.stop()

    def _latest(self) -> int | None:
        """
        Tell the number of the latest transaction.
        """
        latest = next(self._ring.latest(), None)
        return None if latest is None else int(latest["number"])

    def _number_of(self, last: str) -> int | None:
        """
        Read the number out of a request's id, if it is one of this process.
        """
        try:
            number = int(last[-12:], 16)
        except ValueError:
            return None
        return number if self._ring.ids.of(number) == last else None

    def _since(self, number: int | None, wants: Wants) -> Iterator[Mapping[str, Any]]:
        """
        Go back through the transactions that somebody wants, to one that is known.

        @param number: The known one's; it is the last one, unless it was forgotten.

        @return: In words, the latest first; one more than can be told at most.
        """
        latest = self._ring.latest(lambda it: it.number == number or wants(it))
        for count, words in enumerate(latest):
            yield words
            if words["number"] == number or count > BURST:
                return

    def _look(self) -> None:
        """
        Tell everybody what came since the last look.
        """
        # Each is written once, for all who listen.
        fresh: list[tuple[Transaction, bytes]] = []
        seen: Transaction | None = None

        def is_wanted(it: Transaction) -> bool:
            nonlocal seen
            seen = it
            return any(listener.wants(it) for listener in self.listening)

        reached, latest = self._last is None, self._latest()
        for words in self._since(self._last, is_wanted):
            if words["number"] == self._last:
                reached = True
            elif seen is not None:
                fresh.append((seen, _event(words)))
        is_whole = reached and len(fresh) <= BURST
        fresh = fresh[:BURST][::-1]
        self._last = latest
        for listener in list(self.listening):
            events = [text for it, text in fresh if listener.wants(it)]
            listener.tell(events, is_whole)


class Live(Resource):
    """
    The live tail.
    """

    isLeaf = True

    def __init__(
        self,
        tail: Tail,
        wanted: Callable[..., Wants],
        parameters: Sequence[Parameter],
    ) -> None:
        """
        Remember whom to follow.

        @param wanted: Makes what tells which transactions are wanted.
        @param parameters: What C{wanted} takes.
        """
        super().__init__()
        self._tail = tail
        self._wanted = wanted
        self._parameters = parameters

    def render_GET(self, request: Request) -> bytes | int:
        """
        Begin to tell.
        """
        query = request.uri.partition(b"?")[2]
        try:
            wants = self._wanted(**read_query(query, self._parameters))
        except BadParameter as error:
            return refuse(request, str(error), error.name)
        except Malformed:
            return refuse(request, "address has to be an IP address", "address")
        if len(self._tail.listening) >= MOST:
            request.setHeader(b"retry-after", b"10")
            return refuse(request, "too many listen already", None, 503)
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        if request.method == b"HEAD":
            return b""
        self._begin(request, wants)
        return NOT_DONE_YET

    def _begin(self, request: Request, wants: Wants) -> None:
        """
        Follow for somebody until he goes.
        """
        # As bytes, for Twisted makes text of nothing but UTF-8.
        last = (request.getHeader(b"last-event-id") or b"").decode("latin-1")
        # The connection closes with the answer: nothing comes after it.
        request.write(b"retry: 2000\n\n")
        listener = self._tail.follow(request, wants, last)
        request.registerProducer(listener, True)

        def gone(_why: Failure) -> None:
            self._tail.leave(listener)

        request.notifyFinish().addErrback(gone)
