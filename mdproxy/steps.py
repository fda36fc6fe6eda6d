# -*- test-case-name: tests.test_steps -*-
"""
How the requests of one instance go, step by step, while an operator watches it.

Nobody is watched unless the operator says so, and then for a while only.  No body,
header field or signature is in a step.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mdproxy.model import Caller, Identity
from mdproxy.transactions import RequestIds

#: How many steps are remembered, of how many at most may be watched at a time, and for
#: how many seconds at most.
MOST: Final = 1000
MOST_WATCHED: Final = 16
LONGEST: Final = 3600.0


class TooManyWatched(Exception):
    """
    No more can be watched at a time.
    """


class Steps:
    """
    The latest steps of those who are watched.

    @ivar watched: Until when somebody is watched, in monotonic seconds, by the id of an
        instance or by the address, which is known before anybody is recognised.
    """

    def __init__(
        self,
        ids: RequestIds,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        Begin with nobody watched.

        @param ids: The names of requests.
        @param clock: Monotonic seconds.
        @param wall: Seconds since the epoch.
        """
        self.watched: dict[str, float] = {}
        self._ids, self._clock, self._wall = ids, clock, wall
        self._ring: deque[tuple[int, float, Caller, str | None, str, Any]]
        self._ring = deque(maxlen=MOST)

    def watch(self, whom: str, seconds: float) -> None:
        """
        Watch somebody for a while from now on.

        @param whom: An instance's id, or an address.
        @param seconds: For how long, at most L{LONGEST}; 0: no more.

        @raise TooManyWatched: If so many are watched already.
        """
        self._forget()
        if seconds <= 0:
            self.watched.pop(whom, None)
            return
        if whom not in self.watched and len(self.watched) >= MOST_WATCHED:
            raise TooManyWatched
        self.watched[whom] = self._clock() + min(seconds, LONGEST)

    def note(
        self,
        number: int,
        caller: Caller,
        identity: Identity | None,
        what: str,
        **more: Any,
    ) -> None:
        """
        Write a step down if it concerns somebody who is watched.

        @param number: The request's.
        @param identity: Whom the caller was recognised as, if it was.
        @param what: What happened, in words of ours.
        @param more: Plain values that belong to it.
        """
        self._forget()
        instance = None if identity is None else identity.port.instance_id
        if caller.address in self.watched or instance in self.watched:
            self._ring.append((number, self._clock(), caller, instance, what, more))

    def clear(self) -> None:
        """
        Forget the steps that were seen; who is watched is watched on.
        """
        self._ring.clear()

    def describe(self) -> Mapping[str, Any]:
        """
        Tell who is watched, and what was seen.

        @return: Plain values, ready for JSON: for how many more seconds each is
            watched, and the steps, the earliest first.
        """
        self._forget()
        now, wall = self._clock(), self._wall()
        return {
            "watched": {
                whom: round(until - now, 1) for whom, until in self.watched.items()
            },
            "steps": self._in_words(now, wall),
        }

    def _in_words(self, now: float, wall: float) -> Sequence[Mapping[str, Any]]:
        """
        Put the steps into words.
        """
        return [
            {
                "request_id": self._ids.of(number),
                "at": round(wall - (now - at), 6),
                "network": caller.network,
                "address": caller.address,
                "mac": caller.mac,
                "instance": instance,
                "step": what,
                **more,
            }
            for number, at, caller, instance, what, more in self._ring
        ]

    def _forget(self) -> None:
        """
        Watch those no more whose time is over.
        """
        now = self._clock()
        for whom in [whom for whom, until in self.watched.items() if until <= now]:
            del self.watched[whom]
