# -*- test-case-name: tests.test_introspection_status -*-
"""
The first page for operators: what every part says of itself, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

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
