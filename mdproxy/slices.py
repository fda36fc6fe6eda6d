# -*- test-case-name: tests.test_slices -*-
"""
Long work in short slices, so that the reactor is never away for long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: For how many seconds work goes on in one turn of the reactor.
SLICE: Final = 0.002


@define(eq=False)
class Slices:
    """
    Does one piece of work after the other, each an iterator of short steps.

    @ivar _clock: Measures a slice, and calls for the next one.
    @ivar _jobs: What is still to be done; the first one may have begun.
    @ivar _next: Does the next slice.
    """

    _clock: IReactorTime
    _jobs: deque[Iterator[Any]] = field(factory=deque, init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _working_on: Iterator[Any] | None = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def do(self, job: Iterator[Any]) -> None:
        """
        Do something after all that was asked for before; at once, as far as there is
        time in a slice, where that is nothing.

        @param job: Does a step each time that it is asked for one.
        """
        self._jobs.append(job)
        if self._next is None and self._working_on is None:
            self._work()

    def stop(self) -> None:
        """
        Leave undone what was not done.  A generator that has begun is closed, but not
        the one that asks for this.
        """
        if self._next is not None:
            self._next.cancel()
            self._next = None
        while self._jobs:
            job = self._jobs.popleft()
            close = getattr(job, "close", None)
            if close is not None and job is not self._working_on:
                close()

    def _work(self) -> None:
        """
        Do a slice.
        """
        self._next = None
        seconds = self._clock.seconds
        start = seconds()
        # Not below zero: the clock may be set.
        while self._jobs and 0 <= seconds() - start < SLICE:
            self._step()
        if self._jobs:
            self._next = self._clock.callLater(0, self._work)

    def _step(self) -> None:
        """
        Do a step of the first job.  One that fails must not cost the others theirs.
        """
        self._working_on = job = self._jobs[0]
        try:
            next(job)
            return
        except StopIteration:
            pass
        except Exception:
            self._log.failure("work in slices failed")
        finally:
            self._working_on = None
        if self._jobs and self._jobs[0] is job:
            self._jobs.popleft()
