"""
The whole grammar of requests, and every way to break it, against h11.

How many examples each test tries is the profile's to say: C{MDPROXY_EXAMPLES} makes it
more (script/test-long); a usual run tries the same ones every time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from hypothesis import HealthCheck, event, example, given, settings
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz import grammar
from tests.fuzz.conversations import check_conversation
from tests.fuzz.invariants import bytewise, check_requests, check_response, judge
from tests.fuzz.seeds import TARGETS, load
from tests.fuzz.targets import CHECKS

_EXAMPLES = int(os.environ.get("MDPROXY_EXAMPLES", "400"))

#: Without a database, and derandomized unless more is asked for, so that the usual run
#: is the same everywhere.
_some = settings(
    max_examples=_EXAMPLES,
    derandomize="MDPROXY_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

_GET = b"GET /latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"


class GrammarTests(SynchronousTestCase):
    """
    Tests for what becomes of any bytes of an instance.
    """

    @_some
    @given(grammar.conversations, grammar.places)
    def test_good(self, data: bytes, places: Sequence[int]) -> None:
        """
        What the grammar allows is served as h11 reads it or refused, the same however
        it is cut, and Nova is told what the allow-list lets through.
        """
        event(f"{len(check_requests(data, places).requests)} served")

    @_some
    @given(grammar.hostile, grammar.places)
    @example(_GET + b"\r\n\r\n" + _GET, [])
    @example(_GET + b"\n" + _GET, [])
    def test_broken(self, data: bytes, places: Sequence[int]) -> None:
        """
        So is what is broken at any place.
        """
        event(f"{len(check_requests(data, places).requests)} served")

    @_some
    @given(grammar.hostile, grammar.hostile, grammar.hostile)
    def test_after_others(self, data: bytes, other: bytes, third: bytes) -> None:
        """
        Whatever was asked before, of the same fields or others, changes nothing.
        """
        head = data.partition(b"\r\n")[2]
        line = b"GET /other HTTP/1.1\r\n"
        check_requests(data, (), (other, line + head, data + third, third))
        check_requests(line + head, (), (data,))

    @_some
    @given(grammar.hostile, grammar.places)
    @example(_GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + _GET, [])
    def test_channel(self, data: bytes, places: Sequence[int]) -> None:
        """
        The channel serves just that, whenever it comes and whenever it is answered.
        """
        check_conversation(data, places)

    @_some
    @given(grammar.responses, grammar.places)
    def test_responses(self, data: bytes, places: Sequence[int]) -> None:
        """
        What Nova answers is relayed as h11 reads it or not at all, the same however it
        is cut.
        """
        for head_request in (False, True):
            relayed = check_response(data, places, head_request)
            event(f"end: {relayed.end}")


class BoundsTests(SynchronousTestCase):
    """
    Tests for how much a request may be.
    """

    def assert_bound(self, status: int, largest: bytes, larger: bytes) -> None:
        """
        Assert that a request is served and a larger one is refused, however they come.

        @param status: How it is refused.
        @param largest: What is served.
        @param larger: What is not.
        """
        for pieces in ([largest], bytewise(largest)):
            verdict = judge(pieces)
            self.assertEqual((len(verdict.requests), verdict.status), (1, None))
        for pieces in ([larger], bytewise(larger)):
            verdict = judge(pieces)
            self.assertEqual((len(verdict.requests), verdict.status), (0, status))

    def test_target(self) -> None:
        """
        A target may have 8192 bytes.
        """
        request = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
        self.assert_bound(414, request % (b"x" * 8191), request % (b"x" * 8192))

    def test_head(self) -> None:
        """
        A head may have 16 KiB, whatever it is of: a value, a name, names.
        """
        for part in (
            b"A: %b\r\n",
            b"%b: a\r\n",
            b"A: a %b a\r\n",
        ):
            head = b"GET / HTTP/1.1\r\nHost: a\r\n" + part + b"\r\n"
            room = 16384 - len(head % b"")
            self.assert_bound(431, head % (b"x" * room), head % (b"x" * (room + 64)))

    def test_fields(self) -> None:
        """
        A head may have 100 fields.
        """
        head = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n"
        self.assert_bound(431, head % (b"A: b\r\n" * 99), head % (b"A: b\r\n" * 100))

    def test_body(self) -> None:
        """
        A body may have 64 KiB, told by its length or in chunks.
        """
        post = b"POST / HTTP/1.1\r\nHost: a\r\n"
        length = post + b"Content-Length: %d\r\n\r\n%b"
        most = b"x" * 65536
        self.assert_bound(413, length % (65536, most), length % (65537, most + b"x"))
        chunked = post + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        self.assert_bound(413, chunked % (65536, most), chunked % (65537, most + b"x"))

    def test_chunks(self) -> None:
        """
        A body may have 4096 chunks: each costs as much as a small request.
        """
        post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk, last = b"1\r\nx\r\n", b"0\r\n\r\n"
        most = post + chunk * 4096
        self.assert_bound(413, most + last, most + chunk + last)


class SeedTests(SynchronousTestCase):
    """
    Tests with what fuzzing found.
    """

    def test_replay(self) -> None:
        """
        Every input that once reached some code no other did keeps all promises.
        """
        for target in TARGETS:
            seeds = load(target)
            self.assertGreater(len(seeds), 20, target)
            for seed in seeds:
                CHECKS[target](seed)
