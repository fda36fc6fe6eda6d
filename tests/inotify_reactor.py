"""
A reactor in memory whose readers can be made to read what the kernel has for them.
"""

from __future__ import annotations

from twisted.internet.testing import MemoryReactorClock


class WatchingReactor(MemoryReactorClock):
    """
    A clock that stands still, and real descriptors.  Events of inotify are there as
    soon as the call that caused them has returned, so nothing must be waited for.
    """

    def take_events(self) -> None:
        """
        Have every reader read what is there now.
        """
        for reader in self.getReaders():
            reader.doRead()

    def settle(self) -> None:
        """
        Take events, and let as much time go by as they are collected for.
        """
        self.take_events()
        self.advance(0.02)
