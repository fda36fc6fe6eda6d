# -*- test-case-name: tests.test_introspection_status -*-
"""
The first page for operators: what every part says of itself, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

#: An endpoint that somebody else has is tried again after so many seconds.
_PAUSE: Final = 5.0

#: Describes a part in plain values.
Describe = Callable[[], Any]


@define
class Status:
    """
    What the parts say of themselves now.

    @ivar _parts: By the word that the operator knows a part by.
    """

    _parts: Mapping[str, Describe]

    def now(self) -> dict[str, Any]:
        """
        Ask every part.

        @return: Plain values, ready for JSON.
        """
        return {name: describe() for name, describe in self._parts.items()}


class Page(Resource):
    """
    What something says of itself, as JSON; reading changes nothing.
    """

    isLeaf = True

    def __init__(self, describe: Describe) -> None:
        """
        Remember whom to ask.
        """
        super().__init__()
        self._describe = describe

    def render_GET(self, request: Request) -> bytes:
        """
        Write what it says.
        """
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        return json.dumps(self._describe(), indent=2).encode() + b"\n"


class IntrospectionSite(Site):
    """
    The site for operators: it logs no accesses and shows no tracebacks.
    """

    displayTracebacks = False
    noisy = False

    def log(self, request: Request) -> None:
        """
        Say nothing of a request: whoever watches the status would fill the log.
        """


def introspection(status: Status, reactor: Any, **pages: Describe) -> IntrospectionSite:
    """
    Make the site of what operators may see.

    @param status: C{/status}.
    @param pages: What other pages say, by their names.
    """
    root = Resource()
    root.putChild(b"status", Page(status.now))
    for name, describe in pages.items():
        root.putChild(name.encode(), Page(describe))
    return IntrospectionSite(root, reactor=reactor)


@define(eq=False)
class IntrospectionService(Service):
    """
    Opens the endpoint for operators, and tries again while somebody else has it: what
    instances get does not depend on what operators see.

    @ivar _endpoint: Where operators ask.
    @ivar _site: What answers them.
    @ivar _clock: When to try again.
    @ivar _port: What listens.
    @ivar _again: Tries again.
    """

    _endpoint: IStreamServerEndpoint
    _site: Site
    _clock: IReactorTime
    _port: IListeningPort | None = field(default=None, init=False)
    _again: IDelayedCall | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def startService(self) -> None:
        """
        Listen.
        """
        super().startService()
        self._listen()

    def stopService(self) -> Deferred[Any]:
        """
        Listen no more.

        @return: Fires when the socket is closed.
        """
        super().stopService()
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        return maybeDeferred(port.stopListening)

    def _listen(self) -> None:
        """
        Try to listen.
        """
        self._again = None
        opening = maybeDeferred(self._endpoint.listen, self._site)
        opening.addCallbacks(self._opened, self._refused)

    def _opened(self, port: IListeningPort) -> None:
        """
        It listens.
        """
        self._port = port
        if self._told:
            self._told = False
            self._log.info("introspection listens")

    def _refused(self, failure: Failure) -> None:
        """
        It does not; say so once.
        """
        self._again = self._clock.callLater(_PAUSE, self._listen)
        if not self._told:
            self._told = True
            self._log.error(
                "introspection does not listen: {problem}",
                problem=failure.getErrorMessage(),
            )
