# -*- test-case-name: tests.test_lookup_leases -*-
"""
What may be believed of a lease store that its server is writing: the two-speed rule.

Pure.  dnsmasq keeps its file open and writes it anew in place at each change: the file
is first empty, then grows by 4,096 bytes at a time, for 100 ms with 10,000 leases
(measured).  Whoever reads at such a moment and believes what isn't there removes
thousands of leases.  So what a complete record says counts at once, that nobody has the
address included, and a record's absence counts only when the files have not changed for
a while and end as whole files do.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Final

from attrs import define, field

from mdproxy.lookup.formats import Record

#: For how many seconds the files must not change before absences count.
QUIET: Final = 1.0

#: So many records that change nothing are a step.
_STEP: Final = 256

#: What was said of an address, and what is said now; C{None}: nothing.
Change = tuple[Record | None, Record | None]


@define
class LeaseTable:
    """
    What one lease store says, as far as it may be believed.

    @ivar records: What counts now, by address.
    @ivar missing: The addresses that the last whole reading does not show.
    @ivar _signature: What the store looked like when it was last seen.
    @ivar _since: Since when it has looked like that.
    """

    records: dict[str, Record] = field(factory=dict, init=False)
    missing: set[str] = field(factory=set, init=False)
    _signature: Hashable = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)

    def look(self, signature: Hashable, now: float) -> bool:
        """
        See what the store looks like.

        @param signature: What differs whenever its files do; C{None} where they changed
            while they were read.
        @param now: Seconds, monotonic.

        @return: Whether it has looked like this for L{QUIET}.
        """
        if signature is None or signature != self._signature:
            self._signature = signature
            self._since = now
        return now - self._since >= QUIET

    def take(self, view: Mapping[str, Record]) -> Iterator[Change | None]:
        """
        Take what complete records say.

        @param view: By address, what the last record about it says.

        @return: Short steps, so that others may work in between: what was changed;
            C{None}: nothing was.
        """
        records, missing = self.records, self.missing
        missing.difference_update(view)
        for number, (address, record) in enumerate(view.items()):
            # Most say what they said before, and by the same value.
            if number % _STEP == 0:
                yield None
            former = records.get(address)
            if record is former or record == former:
                continue
            if record.is_held:
                records[address] = record
                yield former, record
            elif former is not None:
                del records[address]
                yield former, None

    def miss(self, view: Mapping[str, Record]) -> None:
        """
        Remember what a reading of all there is does not show.
        """
        self.missing = self.records.keys() - view.keys()

    def settle(self) -> Iterator[Change | None]:
        """
        Believe that what is missing does not exist: the store is quiet and whole.

        @return: Short steps, as L{take}.
        """
        while self.missing:
            yield self.records.pop(self.missing.pop()), None
