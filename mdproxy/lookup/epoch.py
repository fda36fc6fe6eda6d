# -*- test-case-name: tests.test_lookup_epoch -*-
"""
The time by which leases end.

A DHCP server writes when a lease ends by the wall clock.  When somebody sets that clock
a day on, all leases would end at once; a day back, none would for a day.  So leases end
by a clock that is never set: it begins with the wall clock's time and goes on with the
monotonic one, and what a server writes is translated into it by how the wall clock is
set when it is read (scenario D11).  There is no grace: a lease ends when it ends, and
counts again as soon as its renewal is read (D10).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field


@define(eq=False)
class Epoch:
    """
    A wall clock that is never set.

    @ivar _wall: Seconds since the epoch, as the wall clock is set.
    @ivar _monotonic: Seconds since whenever.
    @ivar _offset: What makes this clock of the monotonic one.
    """

    _wall: Callable[[], float]
    _monotonic: Callable[[], float]
    _offset: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Begin with what the wall clock says.
        """
        self._offset = self._wall() - self._monotonic()

    def now(self) -> float:
        """
        Tell the time, in seconds since the epoch.
        """
        return self._monotonic() + self._offset

    def read(self, written: float | None) -> float | None:
        """
        Translate a time that was just written by the wall clock.

        @param written: Seconds since the epoch; C{None}: never.

        @return: The same moment by this clock, to the second.
        """
        if written is None:
            return None
        return written - round(self._wall() - self.now())
