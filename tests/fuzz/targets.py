"""
What a fuzzer calls with an input: the checks, by the name of their target.

The first bytes of an input are what comes off the wire; its last ones say how it is cut
and what came before, so that bytes that a fuzzer puts in stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.fuzz.conversations import check_conversation
from tests.fuzz.facts import check_domain, check_leases, check_netlink
from tests.fuzz.invariants import check_requests, check_response

#: How many bytes each place to cut takes.
_WIDTH: Final = 2


def _places(data: bytes) -> tuple[bytes, list[int]]:
    """
    Take up to three places off the end of an input.
    """
    count = data[-1] % 4 if data else 0
    end = max(len(data) - 1 - count * _WIDTH, 0)
    control = data[end:-1]
    return data[:end], [
        int.from_bytes(control[at : at + _WIDTH], "big")
        for at in range(0, len(control), _WIDTH)
    ]


def _check_requests(data: bytes) -> None:
    """
    Read what instances send; where there is a place, what stands before it came on
    another connection.
    """
    data, places = _places(data)
    split = places.pop() % (len(data) + 1) if len(places) > 1 else 0
    check_requests(data[split:], places, (data[:split],))


def _check_response(data: bytes) -> None:
    """
    Read what Nova answers to a GET and to a HEAD.
    """
    data, places = _places(data)
    for head_request in (False, True):
        check_response(data, places, head_request)


def _check_conversation(data: bytes) -> None:
    """
    Serve what an instance sends over a connection.
    """
    data, places = _places(data)
    check_conversation(data, places)


def _check_fact(check: Callable[[bytes, int], None]) -> Callable[[bytes], None]:
    """
    Make a check of a file: where the first place is, it is torn.
    """

    def check_input(data: bytes) -> None:
        data, places = _places(data)
        check(data, places[0] if places else 0)

    return check_input


#: The checks.
CHECKS: Final[dict[str, Callable[[bytes], None]]] = {
    "requests": _check_requests,
    "channel": _check_conversation,
    "responses": _check_response,
    "leases": _check_fact(check_leases),
    "domains": _check_fact(check_domain),
    "netlink": _check_fact(check_netlink),
}
