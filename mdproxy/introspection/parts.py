# -*- test-case-name: tests.test_introspection_view -*-
"""
The parts of the running service that operators look at, by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

if TYPE_CHECKING:
    from mdproxy.http.front import Front
    from mdproxy.listening import Listening
    from mdproxy.lookup import InstanceLookup
    from mdproxy.proxy import ReverseProxyResource
    from mdproxy.reload import Reload
    from mdproxy.sources import Sources
    from mdproxy.upstream import Upstream


@frozen(eq=False)
class Parts:
    """
    What makeService made, as far as operators look at it; the manhole has these names.

    @ivar lookup: Finds out who asks.
    @ivar proxy: Answers requests, and remembers what came of them.
    @ivar upstream: The connections to Nova.
    @ivar front: The connections of instances.
    @ivar listening: What accepts them.
    @ivar sources: What keeps the books current, and the books.
    @ivar reload: The configuration in force.
    @ivar checks: Finds what is wrong by itself (C{mdproxy.checks}).
    @ivar history: What happened in the last hour, in samples.
    @ivar clock: Monotonic time.
    @ivar wall: Seconds since the epoch.
    @ivar version: The version that runs.
    @ivar beside: What describes what operators have besides, by its name.
    """

    lookup: InstanceLookup
    proxy: ReverseProxyResource
    upstream: Upstream
    front: Front
    listening: Listening
    sources: Sources
    reload: Reload
    checks: Any
    history: Any
    clock: IReactorTime
    wall: Callable[[], float]
    version: str
    beside: dict[str, Callable[[], Any]] = field(factory=dict)
