# -*- test-case-name: tests.test_http_server -*-
"""
One instance's connection: bytes to requests, answers to bytes, one at a time in order.

The channel knows nothing of identity or Nova: it hands each request to an
L{Answerer<mdproxy.http.front.Answerer>} and writes what it is told.  Its own answers
are those to bytes that are no request.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mdproxy.http.front import Answering, Front
from mdproxy.http.known import known_request
from mdproxy.http.parsing import BadRequest, RequestReader
from mdproxy.http.progress import progress_of
from mdproxy.limits import Seat
from mdproxy.model import Caller, Request
from mdproxy.sweep import NEVER

#: How long a refused client is listened to, so that it reads why, and how much of what
#: it still sends is thrown away (RFC 9112 section 9.6).
_LINGER: Final = 2.0
_LINGER_BYTES: Final = 1 << 20

#: How much is read in one go: as many of the smallest requests as do no harm.
_PIECE: Final = 2048

#: What some refusals say beside their status.
FIELDS: Final = {
    405: b"Allow: GET, HEAD, POST, PUT\r\n",
    503: b"Retry-After: 1\r\n",
}

PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


@implementer(IHalfCloseableProtocol, IPushProducer)
class Channel(Protocol):
    """
    The server side of one connection.

    @ivar deadline: When it times out, for the sweep.
    @ivar _caller: Who opened it, as far as the host saw it.
    @ivar _reader: Reads requests; C{None} between two of them, until bytes come that
        are not read at once.
    @ivar _waiting: Requests behind the one being answered, and perhaps an error after
        them.
    @ivar _answering: The answer in progress; C{None} when there is none.
    @ivar _request: The request it answers.
    @ivar _closing: Whether nothing after the answer in progress is served.
    @ivar _deaf: Whether what the client sends is thrown away.
    @ivar _thrown_away: How many bytes were.
    @ivar _ended: Whether the client sends no more.
    @ivar _leaving: Whether all has been written that will be.
    @ivar _taking: Whether answers are being given in a loop.
    @ivar _reading: What is being read, and so has a deadline.
    @ivar _head: The response's head, as long as it waits to go out with the body.
    @ivar _chunked: Whether the response goes out in chunks.
    @ivar _bodiless: Whether the response has no body, whatever the answerer writes.
    @ivar _paused: Whether nothing is read, because too many requests wait.
    @ivar _unread: What has come and is not read for that.
    @ivar _blocked: Whether the client has yet to read what was written.
    @ivar _taken: How much the client had taken of it all when that was last looked at.
    @ivar _idle_since: Since when it waits for a request, once it was looked at.
    """

    transport: Any

    deadline = NEVER
    _caller: Caller | None = None
    _reader: RequestReader | None = None
    _answering: Answering | None = None
    _request: Request | None = None
    _closing = False
    _deaf = False
    _thrown_away = 0
    _ended = False
    _leaving = False
    _taking = False
    _reading: str | None = None
    _head: bytes | None = None
    _chunked = False
    _bodiless = False
    _paused = False
    _unread = b""
    _blocked = False
    _taken = 0
    _idle_since = 0.0

    def __init__(self, front: Front, caller: Callable[[Any], Caller | None]) -> None:
        """
        Be a channel that is not connected.

        @param caller: Finds out from a transport who opened it; C{None}: not one that
            may be served.
        """
        self._front = front
        self._find_caller = caller
        self._waiting: list[Request | BadRequest] = []

    def connectionMade(self) -> None:
        """
        Find out who it is, and whether there is room for one more.
        """
        caller = self._find_caller(self.transport)
        if caller is None:
            self._front.refused["no-caller"] += 1
            self.transport.abortConnection()
        elif not self._arrive(caller):
            self.transport.abortConnection()
        else:
            self._caller = caller
            self.transport.registerProducer(self, True)
            self._bound_reading()

    def _arrive(self, caller: Caller) -> bool:
        """
        Take a place.

        @return: Whether there was one.
        """
        return self._front.admit(self, caller)

    def _depart(self, caller: Caller) -> None:
        """
        Give it back.
        """
        self._front.let_go(self, caller)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        if self._caller is None:
            return
        self.deadline = NEVER
        self._closing = True
        self._waiting.clear()
        answering, self._answering = self._answering, None
        self._request = None
        if answering is not None:
            answering.cancel()
        self._depart(self._caller)

    def readConnectionLost(self) -> None:
        """
        The client sends no more, but may still read: answer what it has asked.
        """
        self._ended = True
        if self._leaving:
            self._lose()
        elif not self._closing:
            if self._mid_request and not self._deaf:
                self._waiting.append(BadRequest(400, "request cut off"))
            self._waiting.append(NO_MORE)
            self._take_turn()

    def writeConnectionLost(self) -> None:
        """
        All is written: the client has a moment to read it.
        """
        self.deadline = self._front.clock.seconds() + _LINGER

    def dataReceived(self, data: bytes) -> None:
        """
        Read requests, and answer the first if none is being answered.
        """
        if self._deaf or self._closing or self._caller is None:
            self._throw_away(len(data))
            return
        if self._reader is None:
            bounds = self._front.bounds.request
            if self._request is None and not self._waiting and not self._blocked:
                request = known_request(data, bounds.max_head)
                if request is not None:
                    # Whoever asks to close asks nothing after it (RFC 9112, 9.6).
                    self._deaf = not request.keep_alive
                    self._answer(request)
                    return
        self._read(data)

    def _read(self, data: bytes) -> None:
        """
        Read what is not a single request with fields that are known.

        When too many requests wait the rest stays unread: as bytes it takes a tenth of
        the memory.
        """
        bounds = self._front.bounds
        while data and not (self._deaf or self._closing):
            if len(self._waiting) > bounds.pipeline:
                self._unread = data
                self._paused = True
                self.transport.pauseProducing()
                return
            if self._reader is None:
                self._reader = RequestReader(bounds.request)
            self._waiting += self._reader.feed(data[:_PIECE])
            data = data[_PIECE:]
            if self._waiting and isinstance(self._waiting[-1], BadRequest):
                self._deaf = True
            self._take_turn()
        if len(self._waiting) > bounds.pipeline:
            self._paused = True
            self.transport.pauseProducing()
        if self._request is None and not self._closing:
            self._bound_reading()

    def timed_out(self) -> None:
        """
        Provide C{Timed.timed_out}.
        """
        if self._leaving or self._blocked or self._request is not None:
            patience = self._patience()
            if patience > 0:
                self.deadline = self._front.clock.seconds() + patience
            else:
                self.abort()
        elif self._mid_request:
            self._refuse(BadRequest(408, "request not complete in time"))
        else:
            self._idle_on()

    def pauseProducing(self) -> None:
        """
        The client reads slowly (the transport calls this).
        """
        self._blocked = True
        # From here on it counts what is read.
        self._patience()
        self.deadline = self._front.clock.seconds() + self._front.bounds.write
        if self._answering is not None:
            self._answering.pause()

    def resumeProducing(self) -> None:
        """
        The client has read what we sent (the transport calls this).
        """
        self._blocked = False
        self.deadline = NEVER
        if self._answering is not None:
            self._answering.resume()
        elif self._request is None and not self._closing:
            self._reading = None
            self._take_turn()
            if self._request is None and not self._closing:
                self._bound_reading()

    def stopProducing(self) -> None:
        """
        The transport wants no more; C{connectionLost} follows.
        """

    def begin(
        self, status: int, phrase: bytes, fields: bytes, length: int | None
    ) -> None:
        """
        Provide C{Reply.begin}.
        """
        request = self._request
        assert request is not None
        if not request.keep_alive:
            self._closing = True
        bodiless = request.method == b"HEAD" or status in (204, 304)
        self._bodiless = bodiless
        self._chunked = length is None and not bodiless and not request.http_1_0
        framing = connection = b""
        if length is not None and status != 204:
            framing = b"Content-Length: %d\r\n" % length
        elif self._chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif not bodiless:
            self._closing = True
        if self._closing:
            connection = b"Connection: close\r\n"
        elif request.http_1_0:
            connection = b"Connection: keep-alive\r\n"
        self._head = b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (
            status,
            phrase,
            fields,
            framing,
            connection,
        )

    def write(self, data: bytes) -> None:
        """
        Provide C{Reply.write}.
        """
        if self._bodiless:
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        head, self._head = self._head, None
        self.transport.write(data if head is None else head + data)

    def finish(self) -> None:
        """
        Provide C{Reply.finish}.
        """
        head, self._head = self._head or b"", None
        tail = b"0\r\n\r\n" if self._chunked else b""
        if head or tail:
            self.transport.write(head + tail)
        self._request = self._answering = None
        if self._closing:
            self._end()
        elif self._waiting:
            self._take_turn()
        else:
            self._bound_reading()

    def abort(self) -> None:
        """
        Provide C{Reply.abort}.
        """
        self._closing = True
        self.transport.abortConnection()

    def mistrust(self) -> None:
        """
        Provide C{Reply.mistrust}: who opened the connection is known, and whether to
        believe it is asked anew for each request.
        """

    def path_lost(self, seat: Seat) -> None:
        """
        Provide C{Connection.path_lost}.
        """
        self.abort()

    def close_when_idle(self) -> None:
        """
        Serve what is being answered and nothing after it.
        """
        self._waiting.clear()
        self._closing = True
        if self._request is None and not self._leaving:
            self._lose()

    def _take_turn(self) -> None:
        """
        Answer what waits, as long as answers come at once.
        """
        if self._taking:
            # An answer that came at once: the loop below goes on by itself.
            return
        self._taking = True
        while self._may_take_turn():
            waiting = self._waiting.pop(0)
            if isinstance(waiting, BadRequest):
                self._refuse(waiting)
            else:
                self._answer(waiting)
        self._taking = False
        if len(self._waiting) <= self._front.bounds.pipeline // 2:
            self._read_on()

    def _may_take_turn(self) -> bool:
        """
        Tell whether to answer what waits first.

        A client that doesn't read its answers gets no more of them: each would wait in
        memory.
        """
        return (
            bool(self._waiting)
            and self._request is None
            and not self._closing
            and not self._blocked
        )

    def _answer(self, request: Request) -> None:
        """
        Have a request answered.
        """
        assert self._caller is not None
        self._ask(request, self._caller)

    def _ask(self, request: Request, caller: Caller) -> None:
        """
        Have a request answered that a caller asks.
        """
        self._request = request
        self._reading = None
        self.deadline = NEVER
        answering = self._front.answerer.answer(request, caller, self)
        # It may have been answered, and the next one begun, before it returned.
        if self._request is request:
            self._answering = answering

    def _refuse(self, bad: BadRequest) -> None:
        """
        Answer bytes that are no request, and close.
        """
        self._closing = True
        self._waiting.clear()
        if bad is NO_MORE:
            self._lose()
            return
        self._front.refused[str(bad.status)] += 1
        phrase = PHRASES[bad.status]
        more = FIELDS.get(bad.status, b"")
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: text/plain\r\n%bContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n%b\n"
            % (bad.status, phrase, more, len(phrase) + 1, phrase)
        )
        self._end()

    def _bound_reading(self) -> None:
        """
        Bound what is being read; further bytes of it do not move the deadline.

        While the client has to read first, that is what is bounded.
        """
        if self._blocked:
            return
        bounds, reader = self._front.bounds, self._reader
        if reader is None:
            self._reading = "nothing"
            self.deadline = self._front.sweep.now + bounds.look
            return
        if not reader.mid_request:
            reading, seconds = "nothing", bounds.look
            if reader.at_boundary:
                self._reader = None
        elif reader.mid_body:
            reading, seconds = "body", bounds.body
        else:
            reading, seconds = "head", bounds.head
        if reading != self._reading and (reading, self._reading) != _STILL:
            self._reading = reading
            self.deadline = self._front.clock.seconds() + seconds
        if reader.take_expectation():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    @property
    def idle_since(self) -> float | None:
        """
        Provide C{Connection.idle_since}.
        """
        if (
            self._request is not None
            or self._reading not in ("nothing", "still nothing")
            or self._closing
            or self._waiting
            or self._blocked
        ):
            return None
        if self._reading == "nothing":
            return self.deadline - self._front.bounds.look
        return self._idle_since

    @property
    def _mid_request(self) -> bool:
        """
        Whether a request has begun and is not complete.
        """
        return self._reader is not None and self._reader.mid_request

    def _end(self) -> None:
        """
        Close after an answer; slowly, so that a client that still sends can read it.
        """
        if self._ended:
            self._lose()
            return
        self._leaving = True
        self.deadline = self._front.clock.seconds() + self._front.bounds.write
        self._read_on()
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()

    def _patience(self) -> float:
        """
        Look whether the client has taken any of what waits for it since the last look.

        @return: For how many seconds it may go on so; none where it took nothing, or
            has taken all.
        """
        progress = progress_of(self.transport)
        if progress is None or progress.complete:
            return 0.0
        before, self._taken = self._taken, progress.acknowledged
        if self._taken <= before:
            return 0.0
        return self._front.bounds.write - progress.silence

    def _idle_on(self) -> None:
        """
        Wait on for the next request, as long as an idle client may.

        One that is gone without a word shows only by this, that nothing of its answer
        is acknowledged: to the transport all is written.
        """
        front, bounds = self._front, self._front.bounds
        now = front.clock.seconds()
        if self._reading == "nothing":
            self._reading, self._idle_since = "still nothing", now - bounds.look
        left = self._idle_since + bounds.idle - now
        progress = progress_of(self.transport)
        if progress is not None and not progress.complete:
            if progress.silence >= bounds.write:
                self.abort()
                return
            left = min(left, bounds.write - progress.silence)
        if left > 0:
            self.deadline = now + left
        else:
            self._lose()

    def _read_on(self) -> None:
        """
        Read again, if too many requests were waiting.
        """
        if not self._paused:
            return
        self._paused = False
        unread, self._unread = self._unread, b""
        if unread and not self._closing:
            self._read(unread)
        if not self._paused:
            self.transport.resumeProducing()

    def _throw_away(self, size: int) -> None:
        """
        Bound what a client goes on to send that is not listened to.
        """
        self._thrown_away += size
        if self._thrown_away > _LINGER_BYTES:
            self.transport.abortConnection()

    def _lose(self) -> None:
        """
        Close as soon as everything is written.
        """
        self._closing = self._leaving = True
        self.deadline = self._front.clock.seconds() + self._front.bounds.write
        self.transport.unregisterProducer()
        self.transport.loseConnection()


#: An empty line is no request.
_STILL: Final = ("nothing", "still nothing")

#: Stands behind the last request of a client that sends no more.
NO_MORE: Final = BadRequest(400, "no more requests")
