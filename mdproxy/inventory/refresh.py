# -*- test-case-name: tests.test_inventory_refresh -*-
"""
Reading an inventory again on demand, but not as often as strangers would like.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: For how many seconds after a refresh for a network the next one waits.
PAUSE = 1.0
#: For how many seconds after any: all networks are read together, and there may be any
#: number of them.
TOGETHER = 0.05


@define
class Refreshes:
    """
    The refreshes of an inventory that reads without waiting.

    @ivar _clock: Schedules.
    @ivar _read: Reads everything; it must not raise.
    @ivar _latest: When each network's latest refresh was.
    @ivar _last: When the latest of all was.
    @ivar _waiting: Who waits for each network's next one.
    @ivar _calls: Do the next ones.
    """

    _clock: IReactorTime
    _read: Callable[[], None]
    _latest: dict[str, float] = field(factory=dict, init=False)
    _last: float = field(default=float("-inf"), init=False)
    _waiting: dict[str, list[Deferred[None]]] = field(factory=dict, init=False)
    _calls: dict[str, IDelayedCall] = field(factory=dict, init=False)

    def refresh(self, network: str) -> Deferred[None]:
        """
        Read now, or as soon as that is not too often, together with all who wait.

        @return: Fires after the reading, or when this is stopped.
        """
        latest = self._latest.get(network, float("-inf"))
        due = max(latest + PAUSE, self._last + TOGETHER)
        now = self._clock.seconds()
        if due <= now:
            self._latest[network] = self._last = now
            self._read()
            return succeed(None)
        waiting = self._waiting.setdefault(network, [])
        if not waiting:
            self._calls[network] = self._clock.callLater(due - now, self._do, network)
        done: Deferred[None] = Deferred()
        waiting.append(done)
        return done

    def stop(self) -> None:
        """
        Let everybody go who waits.
        """
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()
        for network in list(self._waiting):
            self._release(network)

    def _do(self, network: str) -> None:
        """
        Read for those who wait, on all networks whose turn it is.
        """
        del self._calls[network]
        now = self._last = self._clock.seconds()
        due = [each for each, call in self._calls.items() if call.getTime() <= now]
        for each in due:
            self._calls.pop(each).cancel()
        networks = [network, *due]
        self._latest.update(dict.fromkeys(networks, now))
        self._read()
        for each in networks:
            self._release(each)

    def _release(self, network: str) -> None:
        """
        Let those go who wait for a network.
        """
        for done in self._waiting.pop(network, []):
            done.callback(None)
