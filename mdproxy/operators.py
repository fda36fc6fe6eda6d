# -*- test-case-name: tests.test_operators -*-
"""
The operator's side of the service: what shows the parts, and how it is made as the
configuration says.  Instances notice nothing of it.

What not everybody uses is imported where it is made, or when it is asked for first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString

from mdproxy.config import Config
from mdproxy.introspection.endpoint import IntrospectionService
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.status import Status, introspection
from mdproxy.introspection.view import View


@frozen
class Operators:
    """
    What operators have.

    @ivar view: What they may see.
    @ivar services: What has to run for it, in the order of starting; it is stopped when
        nothing is asked any more.
    """

    view: View
    services: Sequence[IService]


def make_operators(config: Config, parts: Parts, reactor: Any) -> Operators:
    """
    Make the operator's side.

    @param config: The configuration in force.
    @param parts: What is shown.
    """
    view = View(parts)
    status = Status(
        {
            "configuration": parts.reload.describe,
            "listeners": parts.listening.describe,
            "sources": lambda: [source.describe() for source in parts.sources.all],
            "lookup": parts.lookup.describe,
            "upstream": parts.upstream.describe,
            "proxy": parts.proxy.describe,
            "front": parts.front.describe,
        }
    )
    pages = introspection(
        status,
        reactor,
        transactions=parts.proxy.transactions.describe,
        facts=parts.lookup.known,
    )
    endpoint = serverFromString(reactor, config.introspection.endpoint)
    return Operators(
        view,
        [
            IntrospectionService(endpoint, pages, reactor),
            parts.history.pulse,
            parts.checks,
        ],
    )
