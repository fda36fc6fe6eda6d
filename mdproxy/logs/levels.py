# -*- test-case-name: tests.test_logs_levels -*-
"""
Which events are worth a line, by who logs them and how much they matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import define, field
from twisted.logger import (
    ILogFilterPredicate,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
)
from zope.interface import implementer

#: Where what Twisted logs in its old way seems to come from
#: (twisted/logger/_legacy.py, C{publishToNewObserver}).
_LEGACY: Final = "log_legacy"
#: Where it really does.
_TWISTED: Final = "twisted"


@implementer(ILogFilterPredicate)
@define(eq=False)
class Levels:
    """
    The least levels, which can be changed while they are in use.

    What Twisted logs in its old way (two lines for each socket, among others) goes by
    the level of C{twisted}.

    @ivar _levels: The least level by the beginning of a namespace.
    """

    _levels: LogLevelFilterPredicate = field(
        factory=LogLevelFilterPredicate, init=False
    )

    def go_by(self, levels: Iterable[tuple[str, str]]) -> None:
        """
        Set other levels in the place of all that there were.

        @param levels: The beginning of a namespace, up to a dot, and the name of the
            least level that it logs; the empty one is for all else.
        """
        fresh = LogLevelFilterPredicate()
        for namespace, level in levels:
            fresh.setLogLevelForNamespace(namespace, LogLevel.levelWithName(level))
        if _LEGACY not in dict(levels):
            legacy = fresh.logLevelForNamespace(_TWISTED)
            fresh.setLogLevelForNamespace(_LEGACY, legacy)
        self._levels = fresh

    def __call__(self, event: LogEvent) -> object:
        """
        Provide C{ILogFilterPredicate.__call__}.
        """
        level = event.get("log_level")
        if level is None:
            # Whoever gives none is not to be silenced for it.
            return PredicateResult.maybe
        namespace = event.get("log_namespace") or ""
        if level < self._levels.logLevelForNamespace(namespace):
            return PredicateResult.no
        return PredicateResult.maybe
