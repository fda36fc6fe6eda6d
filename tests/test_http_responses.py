"""
A response is as hostile as a request: every answer of L{tests.responses}, through all
that stands between Nova and an instance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import count

from attrs import define, field, frozen
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from tests.corpus.client import Mode
from tests.relaying import (
    CANARY,
    VICTIM,
    Arrived,
    Chain,
    Guest,
    Heard,
    Line,
    Unreadable,
    read_response,
)
from tests.responses import CASES, Case, Ending, Outcome

#: What the victim asks for.
_TARGET = b"/latest/user-data"

#: The most bytes that a transport hands over at once.
_SEGMENT = 65536

#: The fields of an error of the proxy's own.
_OWN_ERROR = ((b"Content-Type", b"text/plain"), (b"Retry-After", b"1"))

_runs = count(1)


def _ways() -> Iterator[tuple[Case, Mode]]:
    """
    List all cases, each in all ways of cutting it that differ.
    """
    for case in CASES:
        seen = []
        for mode in Mode:
            pieces = cut(case.raw, mode)
            if pieces not in seen:
                seen.append(pieces)
                yield case, mode


class Warmth(Enum):
    """
    What was seen before of a head that is going to come with a hostile answer.
    """

    #: Nothing at all.
    COLD = "cold"
    #: Good answers to GET.
    GET = "warmed by GET"
    #: Good answers to HEAD.
    HEAD = "warmed by HEAD"
    #: Both.
    BOTH = "warmed by both"

    @property
    def methods(self) -> tuple[bytes, ...]:
        """
        What was asked with.
        """
        return {
            Warmth.COLD: (),
            Warmth.GET: (b"GET",),
            Warmth.HEAD: (b"HEAD",),
            Warmth.BOTH: (b"GET", b"HEAD", b"GET"),
        }[self]


def cut(raw: bytes, mode: Mode) -> list[bytes]:
    """
    Cut an answer into segments.
    """
    return [
        piece[at : at + _SEGMENT]
        for piece in mode.cut(raw)
        for at in range(0, len(piece), _SEGMENT)
    ]


def good_answer(head: bytes, method: bytes) -> tuple[bytes, bool]:
    """
    Complete a head to an answer that nothing is wrong with, as far as it can be.

    @return: The answer, and whether the connection's end has to complete it.
    """
    if method == b"HEAD":
        return head, False
    try:
        heard, _rest = read_response(head)
    except Unreadable:
        return head, False
    if heard.status is None:
        return head + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False
    if heard.status in (204, 304):
        return head, False
    if heard.length is not None:
        return head + bytes(min(int(heard.length), 1 << 20)), False
    if b"chunked" in head.lower():
        return head + b"0\r\n\r\n", False
    return head, True


def warm(chain: Chain, head: bytes, methods: Iterable[bytes]) -> None:
    """
    Let a head be seen in good answers, three times with each method.
    """
    for method in methods:
        for _ in range(3):
            answer, closes = good_answer(head, method)
            chain.nova.does = _once(Nasty(answer, Mode.WHOLE, closes))
            guest = chain.ask(_TARGET, method)
            guest.wire.lose(ConnectionLost())
            chain.settle()
    chain.nova.does = Arrived.answer


@define(eq=False)
class Nasty:
    """
    Answers as it is told, whoever asks.

    @ivar _raw: What it answers.
    @ivar _mode: How the answer is cut.
    @ivar _closes: Whether it closes the connection afterwards...
    @ivar _resets: ...or resets it.
    @ivar lines: On which connections it has answered.
    """

    _raw: bytes
    _mode: Mode
    _closes: bool = False
    _resets: bool = False
    lines: list[Line] = field(factory=list)

    def __call__(self, arrived: Arrived) -> None:
        """
        Answer.
        """
        self.lines.append(arrived.line)
        arrived.line.say(*cut(self._raw, self._mode))
        if self._closes:
            arrived.line.end()
        if self._resets:
            arrived.line.reset()


def _once(nasty: Nasty) -> Callable[[Arrived], None]:
    """
    Answer one request so, and all others truthfully.
    """
    return lambda arrived: arrived.answer() if nasty.lines else nasty(arrived)


def _to_victim(nasty: Nasty) -> Callable[[Arrived], None]:
    """
    Answer the victim's first question so, and again as often as it is asked, and all
    others truthfully.
    """
    return lambda arrived: (
        nasty(arrived) if arrived.target == _TARGET else arrived.answer()
    )


@frozen
class Run:
    """
    One case in one way.

    @ivar case: The case.
    @ivar mode: How the answer is cut.
    @ivar warmth: What was seen of its head.
    @ivar again: Whether Nova answers so however often it is asked.
    @ivar version: The version of HTTP that the instance speaks.
    @ivar method: What it asks with.
    @ivar chain: All that takes part.
    @ivar number: Which run.
    """

    case: Case
    mode: Mode = Mode.WHOLE
    warmth: Warmth = Warmth.COLD
    again: bool = True
    version: bytes = b"1.1"
    chain: Chain = field(factory=Chain)
    number: int = field(factory=lambda: next(_runs))

    def faults(self) -> Iterator[str]:
        """
        Run it.

        @return: What is wrong with what became of it.
        """
        case, chain = self.case, self.chain
        raw = case.in_run(self.number)
        head, end, _body = raw.partition(b"\r\n\r\n")
        if end:
            warm(chain, head + end, self.warmth.methods)
        nasty = Nasty(
            raw,
            self.mode,
            case.ending is Ending.CLOSED,
            case.ending is Ending.RESET,
        )
        chain.nova.does = (_to_victim if self.again else _once)(nasty)
        guest = chain.ask(_TARGET, case.method, version=self.version)
        if not case.relayed:
            chain.wait(5)
        yield from self._judge(guest.hear(), chain.nova.arrived[-1].truth)
        if case.later:
            nasty.lines[-1].say(case.later)
            chain.settle()
        yield from self._judge_lines(nasty.lines)
        yield from self._judge_next(guest, nasty.lines)
        yield from self._judge_rest()

    def _judge(self, heard: Heard, truth: bytes) -> Iterator[str]:
        """
        Judge what the instance got.
        """
        case = self.case
        if case.relayed:
            fields = ((b"X-Run", b"%d" % self.number), *case.fields)
            wanted = (True, case.status, case.body, fields)
            if (heard.whole, heard.status, heard.body, heard.fields) != wanted:
                yield f"not relayed: {heard}"
        elif not heard.whole:
            if case.outcome is Outcome.REFUSED or not self._breaks_off(heard):
                yield f"neither refused nor cut off: {heard}"
        elif self.again:
            if heard.status != case.status or heard.fields != _OWN_ERROR:
                yield f"not refused with {case.status}: {heard}"
        else:
            wanted_body = b"" if case.method == b"HEAD" else truth
            if (heard.status, heard.fields, heard.body) != (200, (), wanted_body):
                yield f"not the better answer: {heard}"

    def _breaks_off(self, heard: Heard) -> bool:
        """
        Tell whether an answer begins as Nova meant it and visibly does not end.
        """
        try:
            meant, _rest = read_response(self.case.raw)
        except Unreadable as unreadable:
            meant = unreadable.args[1]
        size = min(len(meant.body), len(heard.body))
        return (
            heard.broken_off
            and heard.status in (None, meant.status)
            and meant.body[:size] == heard.body[:size]
        )

    def _judge_lines(self, lines: list[Line]) -> Iterator[str]:
        """
        Judge what became of the connections that the answer came on.
        """
        kept = [line for line in lines if not line.closed]
        wanted = lines if self.case.outcome is Outcome.RELAYED else []
        if kept != wanted and self.case.outcome is not Outcome.EITHER:
            yield f"{len(kept)} of {len(lines)} connections are kept"

    def _judge_next(self, guest: Guest, lines: list[Line]) -> Iterator[str]:
        """
        Have another instance ask, and the same one again: each gets its own answer.
        """
        chain = self.chain
        chain.nova.does = Arrived.answer
        reused = self.case.outcome is Outcome.RELAYED
        for instance in (CANARY, VICTIM):
            asked = len(chain.nova.arrived)
            after = chain.ask(instance=instance)
            chain.settle()
            heard = after.hear()
            if len(chain.nova.arrived) != asked + 1:
                yield f"{instance.name!r} asked {len(chain.nova.arrived) - asked} times"
            arrived = chain.nova.arrived[-1]
            if (heard.whole, heard.body) != (True, arrived.truth):
                yield f"{instance.name!r} got {heard}"
            if (
                self.case.outcome is not Outcome.EITHER
                and (arrived.line in lines) is not reused
            ):
                yield "the connection is used again, or is not"
        if guest.wire.closed is None and not guest.wire.peer_ended:
            guest.ask()
            chain.settle()
            if guest.hear().body != chain.nova.arrived[-1].truth:
                yield "the victim's own connection is out of step"

    def _judge_rest(self) -> Iterator[str]:
        """
        Judge what is left: nothing but free connections.
        """
        (endpoint,) = self.chain.pool.describe()["endpoints"]
        if endpoint["busy"] or endpoint["connecting"] or self.chain.clock.calls:
            yield "something is left"


class ResponseTests(SynchronousTestCase):
    """
    Every answer, in every way that it can come.
    """

    def assert_all(self, runs: Iterable[Run]) -> None:
        """
        Assert that nothing is wrong with any of the runs.
        """
        faults = [
            f"{run.case.name} ({run.mode.value}, {run.warmth.value}): {fault}"
            for run in runs
            for fault in run.faults()
        ]
        self.assertEqual(faults, [], "\n".join(faults))

    def test_cold(self) -> None:
        """
        However an answer is cut, what has to become of it does.
        """
        self.assert_all(Run(case, mode) for case, mode in _ways())

    def test_warm(self) -> None:
        """
        Having seen its head in good answers changes nothing.
        """
        self.assert_all(
            Run(case, mode, warmth, again=False)
            for case, mode in _ways()
            if case.head
            for warmth in Warmth
            if warmth is not Warmth.COLD
        )

    def test_once(self) -> None:
        """
        Where Nova answers badly once and well when it is asked again, the instance gets
        the good answer, or can tell that the bad one was broken off.
        """
        self.assert_all(
            Run(case, mode, again=False) for case, mode in _ways() if not case.relayed
        )

    def test_oracle(self) -> None:
        """
        What h11 makes nothing of is not relayed as a whole answer; what is relayed is
        what h11 reads.
        """
        for case in CASES:
            try:
                meant, _rest = read_response(
                    case.raw, case.method, ended=case.ending is Ending.CLOSED
                )
            except Unreadable:
                meant = Heard()
            if case.relayed:
                self.assertTrue(meant.whole, case.name)
                self.assertEqual(
                    (meant.status, meant.body), (case.status, case.body), case.name
                )

    def test_oracle_is_not_blind(self) -> None:
        """
        Most of what is not relayed is nothing to h11 either.
        """
        unreadable = 0
        others = [case for case in CASES if not case.relayed]
        for case in others:
            try:
                whole = read_response(case.raw, ended=True)[0].whole
            except Unreadable:
                whole = False
            unreadable += not whole
        self.assertGreater(unreadable / len(others), 0.7)
