"""
What holds for any bytes that come over a connection: the channel serves what the reader
reads, whenever they come and whenever they are answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from mdproxy.http.front import ChannelBounds
from tests.fuzz.invariants import Verdict, bytewise, cut, forget, judge
from tests.fuzz.oracle import hear
from tests.playbook import Playbook

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ")


def converse(pieces: Iterable[bytes], at_once: bool) -> tuple[Verdict, int]:
    """
    Send pieces over a connection, and have them answered.

    @param pieces: The pieces.
    @param at_once: Whether each request is answered as it is asked; otherwise as late
        as the channel bears it.

    @return: What was served, with the status of a refusal; and how many answers came.
    """
    book = Playbook(ChannelBounds())
    book.script.at_once = b"ok" if at_once else None
    wire = book.connect()
    answered = 0
    for piece in pieces:
        while not wire.reading and answered < len(book.script.asked):
            book.script.asked[answered].answer()
            wire.settle()
            answered += 1
        if wire.closed:
            break
        book.say(wire, piece)
    while not at_once and answered < len(book.script.asked):
        book.script.asked[answered].answer()
        wire.settle()
        answered += 1
    statuses = [int(status) for status in _STATUS.findall(book.hear(wire))]
    refused = statuses.pop() if statuses and statuses[-1] >= 400 else None
    asked = tuple(asked.request for asked in book.script.asked)
    return Verdict(asked, refused), len(statuses)


def check_conversation(data: bytes, places: Sequence[int]) -> None:
    """
    Hold a channel to the strict reader.

    @param data: What an instance sends.
    @param places: Where to cut it.
    """
    strict = judge(bytewise(data))
    forget()
    one_by_one = cut(data, hear(data).ends)
    for pieces in ([data], cut(data, places), one_by_one, bytewise(data), one_by_one):
        for at_once in (True, False):
            verdict, answers = converse(pieces, at_once)
            assert verdict == strict, (pieces, at_once, verdict, strict)
            assert answers == len(verdict.requests), (pieces, at_once, answers)
