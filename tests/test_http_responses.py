"""
A response is as hostile as a request: every answer of L{tests.responses}, through all
that stands between Nova and an instance.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import count
from pathlib import Path

from attrs import define, evolve, field, frozen
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from tests import running
from tests.corpus.client import Mode
from tests.relaying import (
    CANARY,
    CROWD,
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
        What was asked with, in order.
        """
        return {
            Warmth.COLD: (),
            Warmth.GET: (b"GET", b"GET"),
            Warmth.HEAD: (b"HEAD", b"HEAD"),
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
    Let a head be seen in good answers.
    """
    for method in methods:
        answer, closes = good_answer(head, method)
        chain.nova.does = _once(Nasty([answer], closes))
        guest = chain.ask(_TARGET, method)
        guest.wire.lose(ConnectionLost())
        chain.settle()
    chain.nova.does = Arrived.answer


@define(eq=False)
class Nasty:
    """
    Answers as it is told, whoever asks.

    @ivar _pieces: What it answers, each in a segment of its own.
    @ivar _closes: Whether it closes the connection afterwards...
    @ivar _resets: ...or resets it.
    @ivar lines: On which connections it has answered.
    """

    _pieces: Sequence[bytes]
    _closes: bool = False
    _resets: bool = False
    lines: list[Line] = field(factory=list)

    def __call__(self, arrived: Arrived) -> None:
        """
        Answer.
        """
        self.lines.append(arrived.line)
        arrived.line.say(*self._pieces)
        if self._closes:
            arrived.line.end()
        if self._resets:
            arrived.line.reset()


def nasty_of(case: Case, raw: bytes, mode: Mode) -> Nasty:
    """
    Answer as in a case.
    """
    closes, resets = case.ending is Ending.CLOSED, case.ending is Ending.RESET
    return Nasty(cut(raw, mode), closes, resets)


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
    @ivar chain: All that takes part.
    @ivar number: Which run.
    """

    case: Case
    mode: Mode = Mode.WHOLE
    warmth: Warmth = Warmth.COLD
    again: bool = True
    chain: Chain = field(factory=lambda: Chain(instances=(VICTIM, CANARY)))
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
        nasty = nasty_of(case, raw, self.mode)
        chain.nova.does = (_to_victim if self.again else _once)(nasty)
        body = b"secret" if case.method == b"POST" else None
        guest = chain.ask(_TARGET, case.method, body)
        if not case.relayed:
            chain.wait(5)
        if case.method == b"POST" and len(nasty.lines) != 1:
            yield "sent again"
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
        if kept != wanted:
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
            if (arrived.line in lines) is not reused:
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
            if case.head and mode is not Mode.BYTES
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

    def test_post(self) -> None:
        """
        What may not be asked twice is not, whatever Nova answers.
        """
        self.assert_all(
            Run(evolve(case, method=b"POST"), mode)
            for case, mode in _ways()
            if case.method == b"GET"
        )

    def test_waiting(self) -> None:
        """
        Whoever waits for the connection that an answer comes on, and gets it the moment
        that the answer is through, or another, gets its own answer.
        """
        for case in CASES:
            chain = Chain(connections=1, instances=(VICTIM, *CROWD[:5]))
            chain.nova.does = _once(nasty_of(case, case.raw, Mode.WHOLE))
            chain.connect().ask(_TARGET, case.method)
            guests = [chain.connect(instance) for instance in CROWD[:5]]
            for guest in guests:
                guest.ask()
            chain.settle()
            chain.wait(2)
            for guest in guests:
                truths = [
                    each.truth
                    for each in chain.nova.arrived
                    if each.instance == guest.instance.name
                ]
                self.assertIn(guest.hear().body, truths, case.name)

    def test_late_body(self) -> None:
        """
        A body that comes where none may, and only when somebody else has asked, reaches
        nobody, though it looks like an answer: what is in it may be an instance's own
        choice.
        """
        evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        for case in CASES:
            if case.body or not case.relayed or case.ending is not Ending.KEPT:
                continue
            bodiless = case.method == b"HEAD" or case.status in (204, 304)
            if not bodiless or case.later:
                continue
            chain = Chain(instances=(VICTIM, CANARY))
            nasty = nasty_of(case, case.raw, Mode.WHOLE)
            chain.nova.does = _once(nasty)
            chain.ask(_TARGET, case.method)

            def answer(arrived: Arrived, line: Line = nasty.lines[0]) -> None:
                line.say(evil)
                arrived.answer()

            chain.nova.does = answer
            heard = chain.ask(instance=CANARY).hear()
            self.assertEqual(heard.body, chain.nova.arrived[-1].truth, case.name)

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


_BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"a\r\n" * 9000,
        ]
    ),
)

_LINES = st.sampled_from(
    [
        b"X-A: b",
        b"X-A:",
        b"Set-Cookie: c=d",
        b"Connection: keep-alive",
        b"Connection: X-A",
        b"Connection: close",
        b"Keep-Alive: timeout=9",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Encoding: gzip",
        b'ETag: "\xe9"',
        b"Trailer: X-T",
    ]
)

#: A field that tells runs apart; without it, of two like runs the second would not be
#: cold.
_RUN = b"X-Run: 000000"

#: What makes one message of two, or two of one.
_SPLICES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"\0",
        b"0",
        b"1",
        b"-",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ]
)

#: No status that Nova is asked again for.
_STATUSES = st.sampled_from([200, 200, 200, 204, 206, 301, 304, 400, 404, 409, 501])


def _in_chunks(body: bytes, sizes: list[int]) -> bytes:
    """
    Write a body in chunks.
    """
    written = []
    for size in sizes:
        if body:
            written.append(b"%x\r\n%b\r\n" % (len(body[:size]), body[:size]))
            body = body[size:]
    if body:
        written.append(b"%X;last\r\n%b\r\n" % (len(body), body))
    return b"".join(written) + b"0\r\n\r\n"


@frozen
class Said:
    """
    An answer as it goes on the wire.

    @ivar method: What it answers.
    @ivar raw: Its bytes.
    @ivar closes: Whether Nova closes the connection behind it.
    """

    method: bytes
    raw: bytes
    closes: bool

    def in_run(self, number: int) -> Said:
        """
        Give the answer a head that no other run has.
        """
        return evolve(self, raw=self.raw.replace(_RUN, b"X-Run: %06d" % number))

    def read(self) -> Heard:
        """
        Read it as h11 does.

        @return: What Nova meant; nothing of it, if that can't be told.
        """
        try:
            return read_response(self.raw, self.method, ended=self.closes)[0]
        except Unreadable:
            return Heard()


@st.composite
def _good(draw: st.DrawFn) -> Said:
    """
    Write a valid answer.
    """
    method = draw(st.sampled_from([b"GET", b"GET", b"HEAD"]))
    status, body = draw(_STATUSES), draw(_BODIES)
    lines = [_RUN, *draw(st.lists(_LINES, max_size=4))]
    framing = draw(st.sampled_from(["length", "chunks", "close"]))
    version = b"1.1" if framing == "chunks" else draw(st.sampled_from([b"1.0", b"1.1"]))
    if framing != "close":
        line = b"Content-Length: %d" % len(body)
        line = line if framing == "length" else b"Transfer-Encoding: chunked"
        lines.insert(draw(st.integers(0, len(lines))), line)
    if status in (204, 304) or method == b"HEAD":
        body = b""
    elif framing == "chunks":
        body = _in_chunks(body, draw(st.lists(st.integers(1, 20), max_size=4)))
    interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 103 X\r\nX-A: b\r\n\r\n"]))
    head = b"HTTP/%b %d X\r\n%b\r\n\r\n" % (version, status, b"\r\n".join(lines))
    return Said(method, interim + head + body, framing == "close")


@st.composite
def _bad(draw: st.DrawFn) -> Said:
    """
    Write a valid answer and change it in a few places.
    """
    said = draw(_good())
    raw = said.raw
    for _ in range(draw(st.integers(1, 3))):
        # More often in the head, where more is decided.
        at = draw(st.integers(0, draw(st.sampled_from([len(raw), 120]))))
        behind = at + draw(st.sampled_from([0, 0, 1, 2, len(raw)]))
        splice = draw(st.one_of(_SPLICES, st.binary(max_size=3)))
        raw = raw[:at] + splice + raw[behind:]
    return Said(said.method, raw, draw(st.booleans()))


_some = settings(
    max_examples=int(os.environ.get("MDPROXY_EXAMPLES", "200")),
    derandomize="MDPROXY_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

_places = st.lists(st.integers(0, 300), max_size=6)
_warmths = st.sampled_from(Warmth)


def _pieces(raw: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """
    Cut an answer at some places.
    """
    at = 0
    for place in (*sorted(places), len(raw)):
        if at < place <= len(raw):
            yield raw[at:place]
            at = place


def _for_instance(meant: Heard) -> Heard:
    """
    Leave out what concerns Nova's connection alone (RFC 9110 section 7.6.1).
    """
    names = {b"keep-alive", b"trailer"}
    for name, value in meant.all_fields:
        if name.lower() == b"connection":
            names.update(word.strip().lower() for word in value.split(b","))
    fields = tuple(each for each in meant.fields if each[0].lower() not in names)
    return evolve(meant, all_fields=fields)


class AnyResponseTests(SynchronousTestCase):
    """
    Answers that nobody has thought of.
    """

    def hear(self, said: Said, places: Iterable[int], warmth: Warmth) -> Heard | None:
        """
        Have Nova answer so once, and truthfully when it is asked again; whoever asks
        afterwards gets its own answer.

        @return: What the instance got; C{None}, if it is the better answer or an error
            of the proxy's own.
        """
        chain = Chain(instances=(VICTIM, CANARY))
        head, end, _body = said.raw.partition(b"\r\n\r\n")
        warm(chain, head + end, warmth.methods)
        nasty = Nasty(list(_pieces(said.raw, places)), said.closes)
        chain.nova.does = lambda arrived: (
            arrived.answer(fields=b"X-Better: yes\r\n")
            if nasty.lines
            else nasty(arrived)
        )
        guest = chain.ask(_TARGET, said.method)
        chain.wait(0.2)
        heard = guest.hear()
        if not heard.whole:
            # Nova stopped in the middle.
            chain.wait(31)
            heard = guest.hear()
        chain.nova.does = Arrived.answer
        for instance in (CANARY, VICTIM):
            after = chain.ask(instance=instance)
            chain.wait(1)
            self.assertEqual(after.hear().body, chain.nova.arrived[-1].truth)
        own = heard.fields == _OWN_ERROR or (b"X-Better", b"yes") in heard.fields
        return None if own else heard

    @_some
    @given(_good(), _places, _warmths)
    def test_good(self, said: Said, places: list[int], warmth: Warmth) -> None:
        """
        A valid answer is relayed as h11 reads it, however it is cut.
        """
        said = said.in_run(next(_runs))
        meant = said.read()
        self.assertTrue(meant.whole)
        self.assert_same(self.hear(said, places, warmth), meant)

    @_some
    @given(_bad(), _places, _warmths)
    def test_bad(self, said: Said, places: list[int], warmth: Warmth) -> None:
        """
        What reaches an instance whole is what Nova meant, as h11 reads it; everything
        else is an error, or can be seen to be broken off.
        """
        said = said.in_run(next(_runs))
        meant = said.read()
        heard = self.hear(said, places, warmth)
        event("error" if heard is None else "whole" if heard.whole else "broken off")
        if heard is None:
            return
        if heard.whole:
            self.assertTrue(meant.whole, heard)
            self.assert_same(heard, meant)
        else:
            self.assertTrue(heard.broken_off, heard)

    def assert_same(self, heard: Heard | None, meant: Heard) -> None:
        """
        An instance got what Nova meant, but for what concerns Nova's connection alone.
        """
        assert heard is not None
        wanted = _for_instance(meant)
        self.assertEqual(
            (heard.status, heard.phrase, heard.fields, heard.body),
            (wanted.status, wanted.phrase, wanted.fields, wanted.body),
        )


@define(eq=False)
class NastyOnce:
    """
    Answers the next question about one target so, and everything else truthfully.

    @ivar pieces: What it answers, each in a segment of its own.
    @ivar ending: What it does next.
    @ivar number: On which connection it answered.
    """

    pieces: Sequence[bytes]
    ending: Ending
    number: int | None = None

    def __call__(self, asked: running.Question) -> bool:
        """
        Answer.

        @return: Whether the connection is kept.
        """
        if asked.target != _TARGET or self.number is not None:
            return asked.answer()
        self.number = asked.number
        for piece in self.pieces:
            asked.line.sendall(piece)
        if self.ending is Ending.RESET:
            # Closing with this is a reset.
            asked.line.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        return self.ending is Ending.KEPT


class SocketTests(SynchronousTestCase):
    """
    A selection of them, through the process and real sockets.
    """

    def setUp(self) -> None:
        """
        Start Nova and the proxy before it.
        """
        self.nova = running.ThreadedNova()
        self.addCleanup(self.nova.stop)
        directory = Path(self.mktemp())
        directory.mkdir()
        self.proxy = running.Running.before(directory, self.nova.port)

    def tearDown(self) -> None:
        """
        Stop it; nothing went wrong that nobody thought of.
        """
        self.assertNotIn("Traceback", self.proxy.stop())
        self.assertEqual(self.nova.faults, [])

    def assert_case(self, case: Case, mode: Mode) -> None:
        """
        An answer becomes what it has to, or a better one; then another instance and the
        same one get their own, on another connection where the one is in doubt.
        """
        name = f"{case.name} ({mode.value})"
        nasty = NastyOnce(cut(case.raw, mode), case.ending)
        self.nova.does = nasty
        heard = self.proxy.ask(_TARGET, case.method)
        if case.relayed:
            fields = ((b"X-Run", b"0"), *case.fields)
            self.assertEqual(
                (heard.whole, heard.status, heard.body, heard.fields),
                (True, case.status, case.body, fields),
                name,
            )
        elif heard.whole:
            body = b"" if case.method == b"HEAD" else self.nova.questions[-1].truth
            self.assertEqual((heard.status, heard.body), (200, body), name)
        else:
            self.assertIs(case.outcome, Outcome.CUT, name)
            self.assertTrue(heard.broken_off, name)
        for instance in (running.CANARY, running.VICTIM):
            after = self.proxy.ask(instance=instance)
            question = self.nova.questions[-1]
            self.assertEqual((after.whole, after.body), (True, question.truth), name)
            self.assertEqual(question.instance, instance.name)
            if case.outcome is not Outcome.RELAYED:
                self.assertNotEqual(question.number, nasty.number, name)

    def test_whole(self) -> None:
        """
        In one piece: all that is relayed, and a third of all others.
        """
        others = [case for case in CASES if not case.relayed]
        for case in (*(case for case in CASES if case.relayed), *others[::3]):
            if not case.later:
                self.assert_case(case, Mode.WHOLE)

    def test_bytes(self) -> None:
        """
        Byte by byte: another third of what is not relayed.
        """
        others = [case for case in CASES if not case.relayed]
        for case in others[1::3]:
            self.assert_case(case, Mode.BYTES)
