# -*- test-case-name: tests.test_turns -*-
"""
Whose request is next: everybody in turn, each with the eldest of his own.

Pure: no clock and no I/O.  Whoever asks much at once waits behind himself; who asks
little is next but one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from attrs import define, field

from mdproxy.interfaces import IExchange


@define
class Turns:
    """
    Requests that wait, in the order in which they have their turn.

    @ivar _lines: By holder, in the order of their turns, his requests and since when
        each waits, the eldest first.
    @ivar count: How many wait.
    """

    _lines: OrderedDict[tuple[str, str], OrderedDict[IExchange, float]] = field(
        factory=OrderedDict, init=False
    )
    count: int = field(default=0, init=False)

    def first(self) -> IExchange:
        """
        Tell whose turn it is; somebody must wait.
        """
        return next(iter(next(iter(self._lines.values()))))

    def add(self, exchange: IExchange, now: float, *, first: bool = False) -> None:
        """
        Let a request wait, behind all others of its holder.

        @param now: Seconds, monotonic.
        @param first: Whether it is next instead, for it has waited before.
        """
        line = self._lines.get(exchange.holder)
        if line is None:
            line = self._lines[exchange.holder] = OrderedDict()
        line[exchange] = now
        self.count += 1
        if first:
            line.move_to_end(exchange, last=False)
            self._lines.move_to_end(exchange.holder, last=False)

    def take(self, exchange: IExchange) -> None:
        """
        Let a request have its turn: all other holders come before the next of its own.

        @param exchange: A request that waits.
        """
        if self.discard(exchange) and exchange.holder in self._lines:
            self._lines.move_to_end(exchange.holder)

    def discard(self, exchange: IExchange) -> bool:
        """
        Let a request wait no longer.

        @return: Whether it waited.
        """
        line = self._lines.get(exchange.holder)
        if line is None or line.pop(exchange, None) is None:
            return False
        self.count -= 1
        if not line:
            del self._lines[exchange.holder]
        return True

    def __iter__(self) -> Iterator[IExchange]:
        """
        Go through what waits in the order of the turns, as they would be if each were
        taken; nothing may be added or taken meanwhile.
        """
        for line in self._lines.values():
            yield next(iter(line))
        lines, depth = list(self._lines.values()), 1
        while lines := [line for line in lines if len(line) > depth]:
            for line in lines:
                yield from islice(line, depth, depth + 1)
            depth += 1

    def waiting(self) -> Iterator[tuple[IExchange, float]]:
        """
        Go through what waits, with since when, in no order.
        """
        for line in self._lines.values():
            yield from line.items()
