# -*- test-case-name: tests.test_exchange -*-
"""
One request from its identity to the last byte of its answer.

The way is straight: find out who asks, send, check that the answer still goes to whom
it was asked for, relay.  What may pass by itself is waited for within one budget, the
I{hold} (DESIGN section 4a): cloud-init boots without its data after one early 404 or
503, and does not mind a late answer.
"""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field
from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from mdproxy.headers import for_nova
from mdproxy.http.client import UpstreamError
from mdproxy.http.front import Reply
from mdproxy.interfaces import IExchange
from mdproxy.model import Caller, Identity, Reason, Refusal, Request, ResponseHead
from mdproxy.transactions import TARGET
from mdproxy.upstream import SAFE

if TYPE_CHECKING:
    from collections.abc import Callable

    from mdproxy.proxy import ReverseProxyResource

#: What every instance has: a 404 for it means that Nova's database lags.
_EVERYONE_HAS = re.compile(
    rb"/(?:openstack(?:/?|/[^/?]+/meta_data\.json)"
    rb"|[^/?]+/meta-data(?:/?|/instance-id))\Z"
)

#: Where it is not known, or not certain, where an answer would go.
_PATHLESS: Final = frozenset({Reason.FRAME_MISMATCH, Reason.NO_NEIGHBOUR})

#: Nova's answers that may pass by themselves.
_PASSING: Final = frozenset({500, 502, 503, 504})

#: For so many seconds an instance that Nova knew is not doubted for a 404, and after
#: so many it is noted again that Nova knows it.
_KNOWN: Final = 3.0
_NOTED: Final = 0.5

#: The first and the longest wait before asking again, in seconds.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0

#: The largest body that is kept back until the answer is whole: one that breaks off
#: before is asked for again, and nobody notices.
_KEPT: Final = 65536


class NoSuchInstance(Exception):
    """
    Every source is live and none knows the caller, or the caller is refused.
    """


class InstanceInDoubt(Exception):
    """
    A source that might know the caller can't tell.
    """


class SecretRefused(Exception):
    """
    Nova did not accept our signature.
    """


class RateExceeded(Exception):
    """
    The caller asks more often than it may.
    """


class OurFault(Exception):
    """
    Something is wrong in here.
    """


@define
class _Answer:
    """
    A whole answer of Nova that is not relayed yet.

    @ivar head: Its head.
    @ivar body: Its body.
    """

    head: ResponseHead
    body: bytes = field(repr=False)


@implementer(IExchange)
@define(eq=False)
class Exchange:
    """
    One request and where it has got to.

    @ivar request: What was asked.
    @ivar wire: The signed head, once it is known who asks.
    @ivar caller: Who opened the connection.
    @ivar _reply: Where the answer goes.
    @ivar _proxy: What all exchanges share.
    @ivar number: The number of the request, by which it is named.
    @ivar since: When the request was whole, in the clock's seconds.
    @ivar until: When the hold is used up, in the clock's seconds.
    @ivar _identity: Who asks, once it is known.
    @ivar _refusal: Why nobody can say who asks, where that is so now.
    @ivar _asked_at: When Nova was asked last, in the clock's seconds.
    @ivar _lookup_took: Seconds until Nova was asked for the first time.
    @ivar _nova_took: For how many seconds Nova was asked, all tries together.
    @ivar _end_wait: Ends waiting for facts; C{None} when not waiting.
    @ivar _timer: Ends the hold, or asks again.
    @ivar _sent: Whether Nova has been asked and has not answered in full.
    @ivar _in_line: Whether it waits until its caller asks Nova less.
    @ivar _called: Whether it was called from the line and has not asked yet.
    @ivar _relaying: Whether the answer has begun to flow.
    @ivar _status: What status the caller was told.
    @ivar _over: Whether nothing more happens.
    @ivar _coming: The head of an answer that is kept back until it is whole.
    @ivar _body: As much of its body as has come.
    @ivar _kept: The latest whole answer, if it may not be the last.
    @ivar _has_looked_again: Whether the inventories were asked to confirm who asks.
    @ivar tries: How often Nova was asked.
    """

    request: Request
    caller: Caller
    _reply: Reply = field(repr=False)
    _proxy: ReverseProxyResource = field(repr=False)
    number: int
    since: float
    until: float
    wire: bytes = field(default=b"", init=False, repr=False)
    _identity: Identity | None = field(default=None, init=False)
    _refusal: Refusal | None = field(default=None, init=False)
    _asked_at: float = field(default=0.0, init=False)
    _lookup_took: float = field(default=0.0, init=False)
    _nova_took: float = field(default=0.0, init=False)
    _end_wait: Callable[[], None] | None = field(default=None, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _sent: bool = field(default=False, init=False)
    _in_line: bool = field(default=False, init=False)
    _called: bool = field(default=False, init=False)
    _relaying: bool = field(default=False, init=False)
    _status: int = field(default=0, init=False)
    _over: bool = field(default=False, init=False)
    _coming: ResponseHead | None = field(default=None, init=False)
    _body: bytes | bytearray = field(default=b"", init=False, repr=False)
    _kept: _Answer | None = field(default=None, init=False)
    _has_looked_again: bool = field(default=False, init=False)
    tries: int = field(default=0, init=False)

    @property
    def holder(self) -> tuple[str, str]:
        """
        Provide L{IExchange.holder}.
        """
        return self.caller.holder

    def identify(self) -> None:
        """
        Find out who asks; then ask Nova, or wait for what is not known yet.

        A fault of ours on the way costs this request alone, and is told in full.
        """
        if self._timer is not None:
            self._stop_timer()
        try:
            if self.caller.seek is not None:
                self._seek(self.caller.seek)
            verdict = self._proxy.lookup.verdict(self.caller)
            if isinstance(verdict, Identity):
                self._send(verdict)
            else:
                self._pass_turn()
                self._wait_for_facts(verdict)
        except Exception:
            if self._over:
                raise
            self._proxy.tell_fault(self.number)
            self._fail(OurFault())

    def _seek(self, seek: Callable[[], Caller]) -> None:
        """
        Look whether the caller's MAC is known by now; until it is Nova is not asked.
        """
        found = seek()
        if found != self.caller:
            # Facts of another network are waited for from now on.
            self._stop_waiting()
            self.caller = found

    def turn_away(self) -> None:
        """
        Refuse to ask anything: its caller asks too often, and nobody has looked who it
        is.
        """
        self._reply.mistrust()
        self._fail(RateExceeded())

    def cancel(self) -> None:
        """
        Provide C{Answering.cancel}.
        """
        if not self._over:
            self._proxy.count("client-gone")
            self._leave("client-gone")

    def pause(self) -> None:
        """
        Provide C{Answering.pause}.
        """
        if self._sent:
            self._proxy.upstream.pause(self)

    def resume(self) -> None:
        """
        Provide C{Answering.resume}.
        """
        if self._sent:
            self._proxy.upstream.resume(self)

    def path_lost(self) -> None:
        """
        Learn that answers to this caller would go to somebody else from now on.
        """
        if self._over:
            # Looking at the neighbour entry brought the news that told us already.
            return
        self._proxy.count("path-lost")
        self._proxy.tell_path_lost(self.caller, self.number)
        self._leave("path-lost")
        self._reply.abort()

    def head(self, head: ResponseHead) -> None:
        """
        Provide L{IExchange.head}.
        """
        if self.request.method in SAFE and (head.length or 0) <= _KEPT:
            self._coming, self._body = head, b""
        elif self._still_holds():
            self._begin(head, b"")

    def body(self, data: bytes) -> None:
        """
        Provide L{IExchange.body}.
        """
        if self._coming is None:
            self._reply.write(data)
        elif not self._body and len(data) <= _KEPT:
            self._body = data
        else:
            self._add(data)

    def _add(self, data: bytes) -> None:
        """
        Keep one more piece, unless there is too much or it has taken too long.
        """
        assert self._coming is not None
        if not isinstance(self._body, bytearray):
            self._body = bytearray(self._body)
        self._body += data
        if len(self._body) > _KEPT or self._proxy.clock.seconds() >= self.until:
            head, self._coming = self._coming, None
            if self._still_holds():
                self._begin(head, self._body)

    def done(self) -> None:
        """
        Provide L{IExchange.done}.
        """
        self._arrive()
        head, self._coming = self._coming, None
        if head is None:
            self._end()
        elif not self._still_holds_or_begins_anew():
            pass
        elif head.status == 403:
            self._refused()
        elif head.status >= 400:
            self._step("Nova said", status=head.status)
            self._kept = _Answer(head, bytes(self._body))
            if head.status == 404 and self.request.method in SAFE:
                self._look_again()
            else:
                self._judge_kept()
        else:
            self._relay(head, self._body)
            self._end()

    def _look_again(self) -> None:
        """
        Have the inventories confirm who asks, once for each request: Nova does not know
        the instance, or what it asks for, and another may have its port now.

        Where Nova knew the instance a moment ago it is what was asked for that is not
        there, as with the EC2 versions that cloud-init tries; a port is not taken from
        one instance and given to another that has booted, in that time.  To look again
        takes up to a second where others of the network have it looked for.
        """
        assert self._identity is not None
        done = None
        is_known = self._proxy.since_served(self._identity.port) < _KNOWN
        if not is_known and not self._has_looked_again:
            done = self._proxy.lookup.confirm(self.caller)
        if done is None:
            self._judge_kept()
            return
        self._has_looked_again = True
        self._step("looks again who it is")
        self._proxy.count("looked-again")
        if done.called:
            self._confirmed()
            return
        left = max(0.0, self.until - self._proxy.clock.seconds())
        timer = self._timer = self._proxy.clock.callLater(left, self._confirmed)

        def hurry(_: object) -> None:
            if timer.active():
                timer.reset(0)

        done.addCallback(hurry)

    def _confirmed(self) -> None:
        """
        Go on with Nova's answer if it is still the same instance's; else begin anew.
        """
        self._timer = None
        assert self._identity is not None
        verdict = self._proxy.lookup.verdict(self.caller)
        if isinstance(verdict, Identity) and verdict.port == self._identity.port:
            self._judge_kept()
        else:
            self.identify()

    def _judge_kept(self) -> None:
        """
        Relay Nova's answer that is an error, unless it may be another one in a moment.
        """
        assert self._kept is not None
        if self._may_pass(self._kept.head.status):
            self._ask_again(None)
        else:
            self._relay_kept()

    def _relay_kept(self) -> None:
        """
        Relay the latest whole answer, if it still goes to whom it was asked for.
        """
        assert self._kept is not None
        if self._still_holds_or_begins_anew():
            self._relay(self._kept.head, self._kept.body)
            self._end()

    def failed(self, error: Exception, sent: bool) -> None:
        """
        Provide L{IExchange.failed}.
        """
        assert isinstance(error, UpstreamError)
        self._arrive()
        self._step("Nova failed", problem=f"{type(error).__name__}: {error}")
        # What came of an answer that broke off is none.
        self._coming = None
        if self._relaying:
            self._proxy.count("cut-off")
            self._leave("cut-off")
            self._reply.abort()
        elif sent and self.request.method not in SAFE:
            self._fail(error)
        else:
            self._ask_again(error)

    def _wait_for_facts(self, refusal: Refusal) -> None:
        """
        Wait for a fact that turns a refusal into an identity.
        """
        self._refusal = refusal
        self._step("not recognised", reason=refusal.evidence.reason.value)
        left = self.until - self._proxy.clock.seconds()
        if left <= 0:
            self._refuse(refusal)
        elif self._end_wait is None and not self._begin_wait():
            # Without the wait it proves nothing.
            self._refuse(evolve(refusal, doubtful=True))
        else:
            self._timer = self._proxy.clock.callLater(left, self.identify)

    def _begin_wait(self) -> bool:
        """
        Take a place among those who wait, and have the inventories look again.

        @return: Whether there was a place.
        """
        caller = self.caller
        if not self._proxy.holds.take(caller.holder):
            self._proxy.count("no-place-to-wait")
            return False
        self._proxy.count("held")
        end = self._proxy.lookup.wait(caller, self.identify)

        def leave() -> None:
            end()
            self._proxy.holds.give_back(caller.holder)

        self._end_wait = leave
        return True

    def _stop_waiting(self) -> None:
        """
        Give back the place among those who wait.
        """
        end, self._end_wait = self._end_wait, None
        if end is not None:
            end()

    def _send(self, identity: Identity) -> None:
        """
        Ask Nova, or stand in line behind what the caller is asking already.
        """
        self._called = False
        if self._end_wait is not None:
            self._stop_waiting()
        self._sent = self._proxy.set_out(self, self.caller)
        self._in_line = not self._sent
        if self._in_line:
            return
        if self._identity is not None and self._identity.port != identity.port:
            # What was kept is another's answer.
            self._kept = None
        self._identity, self._refusal = identity, None
        self.tries += 1
        now = self._asked_at = self._proxy.clock.seconds()
        if self.tries == 1:
            self._lookup_took = now - self.since
        if self._proxy.steps.watched:
            self._step("asks Nova", reason=identity.evidence.reason.value)
        self.sign()
        self._proxy.upstream.send(self)

    def sign(self) -> None:
        """
        Write what Nova is asked, signed.
        """
        assert self._identity is not None
        fields = self._proxy.fields_of(self._identity, self.caller)
        name = self._proxy.transactions.ids.field_of(self.number)
        self.wire = for_nova(self.request, fields, name)

    def take_turn(self) -> None:
        """
        Learn that the caller may ask Nova one more question.
        """
        self._in_line = False
        self._called = True
        # Not at once: whoever says so is in the middle of an answer.
        self._timer = self._proxy.clock.callLater(0, self.identify)

    def _pass_turn(self) -> None:
        """
        Leave the turn, if it was one's own, to the next in line: nobody else may come
        to call it.
        """
        if self._called:
            self._called = False
            self._proxy.call_next(self.caller)

    def _arrive(self) -> None:
        """
        Note that Nova is not being asked any more.
        """
        if self._sent:
            self._sent = False
            self._nova_took += self._proxy.clock.seconds() - self._asked_at
            self._proxy.arrive(self, self.caller)

    def _may_pass(self, status: int) -> bool:
        """
        Tell whether an answer of Nova may be another one in a moment.
        """
        assert self._identity is not None
        if self.request.method not in SAFE:
            return False
        if status in _PASSING:
            return True
        return (
            status == 404
            and self._proxy.since_served(self._identity.port) == inf
            and _EVERYONE_HAS.match(self.request.target) is not None
        )

    def _next_pause(self) -> float | None:
        """
        Choose how long to wait before asking again.

        @return: Seconds; C{None} where the hold doesn't last so long.
        """
        pause = min(_FIRST_PAUSE * 2 ** (self.tries - 1), _LONGEST_PAUSE)
        pause *= self._proxy.random.uniform(0.75, 1.0)
        left = self.until - self._proxy.clock.seconds()
        return pause if pause < left else None

    def _refused(self) -> None:
        """
        Tell the operator that Nova refuses our signature, and ask again.

        Nova says 403 of nothing else (handler.py, _validate_shared_secret), so the
        instance did nothing wrong; and we may be told another secret in a moment.
        """
        error = SecretRefused()
        self._kept = None
        self._step("Nova refused our signature")
        self._proxy.count("signature-refused")
        if self._next_pause() is not None:
            self._proxy.tell_failure(error, self.caller, self.number)
        self._ask_again(error)

    def _ask_again(self, error: Exception | None) -> None:
        """
        Ask Nova again after a pause, or make do with what there is.
        """
        pause = self._next_pause()
        if pause is not None and self._proxy.await_recovery(self):
            self._proxy.count("asked-again")
            self._step("will ask again", pause=round(pause, 3))
            self._timer = self._proxy.clock.callLater(pause, self._try_again)
        elif self._kept is not None:
            self._relay_kept()
        else:
            assert error is not None
            self._fail(error)

    def wake(self) -> None:
        """
        Learn that Nova takes connections again.
        """
        if self._timer is not None:
            self._try_again()

    def _try_again(self) -> None:
        """
        Begin anew, with the identity as it is now.
        """
        self._proxy.stop_awaiting(self)
        self.identify()

    def _still_holds(self) -> bool:
        """
        Look whether an answer still goes to whom it was asked for; if not, break off.
        """
        assert self._identity is not None
        if self._proxy.lookup.still_holds(self._identity, self.caller):
            return True
        self.path_lost()
        return False

    def _still_holds_or_begins_anew(self) -> bool:
        """
        Look whether a whole answer still goes to whom it was asked for; if not, throw
        it away.

        Where nobody has the caller's port any more, but nothing says that its address
        is another's, it waits as one that is not known yet: an inventory that is asked
        over a network does not believe anything for long.
        """
        verdict = self._proxy.lookup.verdict(self.caller)
        lapsed = isinstance(verdict, Refusal) and (
            verdict.evidence.reason is Reason.UNKNOWN
        )
        if not lapsed or self.request.method not in SAFE:
            return self._still_holds()
        self._proxy.count("lapsed")
        self._kept = None
        self.identify()
        return False

    def _begin(self, head: ResponseHead, body: bytes | bytearray) -> None:
        """
        Begin to answer with what can't be kept back, unless it is for our eyes only.

        @param body: As much of the body as there is.
        """
        if head.status == 403:
            self._proxy.count("signature-refused")
            self._fail(SecretRefused())
        else:
            self._relay(head, body)

    def _relay(self, head: ResponseHead, body: bytes | bytearray) -> None:
        """
        Begin to answer with what Nova says.

        @param body: As much of the body as there is.
        """
        assert self._identity is not None
        if head.status < 400 and self._proxy.since_served(self._identity.port) > _NOTED:
            self._note_served()
        self._relaying = True
        self._status = head.status
        self._body = b""
        self._reply.begin(head.status, head.phrase, head.fields, head.length)
        if body:
            self._reply.write(bytes(body))

    def _note_served(self) -> None:
        """
        Remember that Nova knows the instance, if the answer shows it: of what not all
        instances have, C{/} for one, Nova may speak without looking for it.
        """
        assert self._identity is not None
        if _EVERYONE_HAS.match(self.request.target) is not None:
            self._proxy.note_served(self._identity.port)

    def _end(self) -> None:
        """
        Nova's answer is relayed in full.
        """
        self._over = True
        self._note_end("relayed")
        self._reply.finish()

    def _refuse(self, refusal: Refusal) -> None:
        """
        The hold is used up and the caller is not identified.
        """
        self._proxy.tell_refusal(refusal, self.number)
        reason = refusal.evidence.reason
        self._proxy.transactions.note_refusal(self.caller.kind, reason.value)
        self._proxy.count(f"refused-{reason.value}")
        if reason in _PATHLESS:
            self._reply.mistrust()
        self._fail(InstanceInDoubt() if refusal.doubtful else NoSuchInstance())

    def _fail(self, error: Exception) -> None:
        """
        Answer ourselves.
        """
        self._proxy.tell_failure(error, self.caller, self.number)
        self._status = self._proxy.status_of(error)
        self._leave(type(error).__name__)
        self._proxy.answer_failure(error, self._reply)

    def _note_end(self, outcome: str) -> None:
        """
        Write down what came of it.
        """
        proxy, request = self._proxy, self.request
        now = proxy.clock.seconds()
        status, took = self._status, now - self.since
        proxy.transactions.note(
            (
                self.number,
                now,
                took,
                self._lookup_took if self.tries else took,
                self._nova_took,
                self.caller,
                self._refusal or self._identity,
                request.method,
                request.target[:TARGET],
                status,
                self.tries,
                outcome,
            )
        )
        if proxy.steps.watched:
            self._step("ends", status=status, outcome=outcome)

    def _step(self, what: str, **more: Any) -> None:
        """
        Write a step down, if the operator watches whom it concerns.
        """
        steps = self._proxy.steps
        if steps.watched:
            steps.note(self.number, self.caller, self._identity, what, **more)

    def _leave(self, outcome: str) -> None:
        """
        Let go of everything that could call back.

        @param outcome: What came of it.
        """
        self._over = True
        self._note_end(outcome)
        if self._sent:
            self._proxy.upstream.cancel(self)
            self._arrive()
        if self._in_line:
            self._in_line = False
            self._proxy.leave_line(self, self.caller)
        self._pass_turn()
        self._stop_waiting()
        self._stop_timer()
        self._proxy.stop_awaiting(self)

    def _stop_timer(self) -> None:
        """
        Stop the timer, if it runs.
        """
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
