"""
For how long the reactor is away.
"""

from __future__ import annotations

import time

from attrs import define, field
from twisted.internet.task import LoopingCall


@define
class Pulse:
    """
    Feels for how long the reactor does nothing else.

    @ivar longest: The longest time, in seconds.
    @ivar cpu: The most CPU time, in seconds, in such a time.
    """

    longest: float = 0.0
    cpu: float = 0.0
    _last: float = field(factory=time.monotonic, init=False)
    _burnt: float = field(factory=time.thread_time, init=False)
    _beat: LoopingCall = field(init=False)

    def start(self) -> None:
        """
        Begin to feel.
        """
        self._last, self._burnt = time.monotonic(), time.thread_time()
        self._beat = LoopingCall(self._feel)
        self._beat.start(0.001)

    def stop(self) -> None:
        """
        Feel no more.
        """
        self._beat.stop()

    def _feel(self) -> None:
        """
        Take note of the time since the last beat.
        """
        now, burnt = time.monotonic(), time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self.cpu = max(self.cpu, burnt - self._burnt)
        self._last, self._burnt = now, burnt
