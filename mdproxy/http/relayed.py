# -*- test-case-name: tests.test_http_relayed -*-
"""
One connection of another proxy, which brings the requests of many instances.

Who asks is found for each request anew, and each counts as its own caller's: places,
rates, and what is broken when a neighbour entry is turned.  The connection itself
belongs to the proxy's process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Protocol

from attrs import evolve

from mdproxy.agent_headers import Forwarded, read_forwarded
from mdproxy.http.front import Front
from mdproxy.http.parsing import BadRequest
from mdproxy.http.server import FIELDS, NO_MORE, PHRASES, Channel
from mdproxy.limits import Seat, Shares
from mdproxy.model import Caller, Request

#: An answer that is cut short: haproxy closes the instance's connection where an answer
#: ends before its length (tried with 2.6); where there is no answer at all it makes one
#: of its own, and keeps the connection.
_CUT_SHORT: Final = (
    b"HTTP/1.1 %d %b\r\nContent-Type: text/plain\r\n%bContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b"
)


class Callers(Protocol):
    """
    Who knows callers by what another proxy says of them.
    """

    def find(self, forwarded: Forwarded, process: Seat) -> Caller:
        """
        Find who asks.

        @param process: The other proxy.
        """

    def note_unbroken(self, process: Seat) -> None:
        """
        Learn that a connection of another proxy lives on that should have been broken.
        """


class RelayedChannel(Channel):
    """
    The server side of one connection of another proxy.

    @ivar _caller: Stands for the proxy's process.
    @ivar _asking: Who asks what is being answered; C{None} between requests.
    @ivar _holder: Who gave a place for it; C{None}: nobody.
    @ivar _seats: Whose answers may wait in the transport.
    @ivar _cuts: Whether the answer is to break off before its end.
    @ivar _spoke: Whether anything of the answer was written.
    """

    _asking: Caller | None = None
    _holder: Seat | None = None
    _cuts = False
    _spoke = False

    def __init__(
        self,
        front: Front,
        process: Callable[[Any], Caller | None],
        callers: Callers,
        connections: Shares,
    ) -> None:
        """
        Be a channel that is not connected.

        @param process: Finds out from a transport which process opened it; C{None}: not
            one that may.
        @param callers: Finds who asks.
        @param connections: The places for connections of other proxies.
        """
        super().__init__(front, process)
        self._callers = callers
        self._connections = connections
        self._seats: set[Seat] = set()

    def _arrive(self, caller: Caller) -> bool:
        """
        Provide C{Channel._arrive}; the caller is the process.
        """
        if self._connections.take(caller.holder):
            self._front.welcome(self)
            return True
        self._front.refused["too-many-connections"] += 1
        return False

    def _depart(self, caller: Caller) -> None:
        """
        Provide C{Channel._depart}.
        """
        self._forget_asking()
        self._hide(list(self._seats))
        self._connections.give_back(caller.holder)
        self._front.part_from(self)

    def path_lost(self, seat: Seat) -> None:
        """
        Provide C{Connection.path_lost}: break the connection where anything for the
        seat is to be answered, or still waits to be sent.
        """
        asking = self._asking
        if asking is not None and (asking.network, asking.address) == seat:
            self.abort()
        elif self._is_sent:
            self._hide([seat])
        else:
            self.abort()

    def begin(
        self, status: int, phrase: bytes, fields: bytes, length: int | None
    ) -> None:
        """
        Provide C{Reply.begin}.
        """
        if self._cuts and length is not None:
            length += 1
        super().begin(status, phrase, fields, length)

    def write(self, data: bytes) -> None:
        """
        Provide C{Reply.write}.
        """
        self._spoke = True
        super().write(data)

    def finish(self) -> None:
        """
        Provide C{Reply.finish}.
        """
        self._forget_asking()
        if self._cuts and not self._bodiless:
            self._request = self._answering = None
            self._end()
            return
        if self._cuts:
            self._note_unbroken()
        super().finish()

    def mistrust(self) -> None:
        """
        Provide C{Reply.mistrust}: the instance's connection with the other proxy, of
        which nothing is known, is not to go on.
        """
        self._closing = self._cuts = True

    def abort(self) -> None:
        """
        Provide C{Reply.abort}: break the instance's connection with the other proxy,
        too, if nothing is on its way.
        """
        asking, request = self._asking, self._request
        if asking is None or request is None or self._spoke or not self._is_sent:
            super().abort()
        elif request.method == b"HEAD":
            # Its answers have no length that could be missed.
            self._note_unbroken()
            super().abort()
        else:
            answering, self._answering = self._answering, None
            self._request = None
            if answering is not None:
                answering.cancel()
            self._forget_asking()
            self._cut_short(503)

    def _refuse(self, bad: BadRequest) -> None:
        """
        Provide C{Channel._refuse}.
        """
        if bad is NO_MORE:
            super()._refuse(bad)
            return
        self._front.refused[str(bad.status)] += 1
        # Its method may have been HEAD.
        self._note_unbroken()
        self._cut_short(bad.status)

    def _cut_short(self, status: int) -> None:
        """
        Break off an answer, and with it the instance's connection.
        """
        self._closing = True
        self._waiting.clear()
        phrase, more = PHRASES[status], FIELDS.get(status, b"")
        self.transport.write(
            _CUT_SHORT % (status, phrase, more, len(phrase) + 1, phrase)
        )
        self._end()

    def _answer(self, request: Request) -> None:
        """
        Find who asks, and have that one answered.
        """
        try:
            forwarded = read_forwarded(request.headers)
        except BadRequest as bad:
            self._refuse(bad)
            return
        caller = self._find(forwarded)
        if not self._front.admit_request(caller):
            self._refuse(BadRequest(503, "too many requests of one instance"))
            return
        self._holder, self._spoke = caller.holder, False
        if self._is_sent:
            self._hide(list(self._seats))
        self._attend(caller)
        self._ask(request, caller)

    def _find(self, forwarded: Forwarded) -> Caller:
        """
        Find who asks; whoever looks again has us attend to whom it found.
        """
        assert self._caller is not None
        caller = self._callers.find(forwarded, self._caller.holder)
        if caller.seek is None:
            return caller
        return evolve(caller, seek=partial(self._seek, forwarded))

    def _note_unbroken(self) -> None:
        """
        Tell that a connection behind this one lives on.
        """
        assert self._caller is not None
        self._callers.note_unbroken(self._caller.holder)

    def _seek(self, forwarded: Forwarded) -> Caller:
        """
        Find who asks, again.
        """
        caller = self._find(forwarded)
        self._attend(caller)
        return caller

    def _attend(self, caller: Caller) -> None:
        """
        Hear from now on when the path of who asks changes.
        """
        self._asking = caller
        seat = (caller.network, caller.address)
        if seat not in self._seats:
            self._seats.add(seat)
            self._front.expose(self, seat)

    def _hide(self, seats: Iterable[Seat]) -> None:
        """
        Hear no more of some paths.
        """
        for seat in seats:
            self._seats.discard(seat)
            self._front.conceal(self, seat)

    def _forget_asking(self) -> None:
        """
        Give back the place of what was asked; its answer may yet wait to be sent.
        """
        self._asking = None
        holder, self._holder = self._holder, None
        if holder is not None:
            self._front.give_back(holder)

    @property
    def _is_sent(self) -> bool:
        """
        Whether all that was written is the other proxy's, as far as anybody can tell.
        """
        return bool(getattr(self.transport, "is_sent", False))
