# -*- test-case-name: tests.test_operators -*-
"""
The operator's side of the service: what shows the parts, and how it is made as the
configuration says.  Instances notice nothing of it.

What not everybody uses is imported where it is made, or when it is asked for first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

from attrs import frozen
from twisted.application.service import IService
from twisted.internet.interfaces import IProtocolFactory

from mdproxy.access_log import AccessLog
from mdproxy.config import Config
from mdproxy.introspection.endpoint import make_introspection
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.view import View
from mdproxy.introspection.waking import Waking, thread_of
from mdproxy.measures import access_log_of
from mdproxy.notify import Notify, make_notify, sentence_of
from mdproxy.reload import exchanged


@frozen
class Operators:
    """
    What operators have.

    @ivar parts: What they look at.
    @ivar services: What has to run for it, in the order of starting; it is stopped when
        nothing is asked any more.
    @ivar access_log: One of these.
    @ivar notify: Tells systemd; the last to be started, when all listeners are.
    """

    parts: Parts
    services: Sequence[IService]
    access_log: AccessLog
    notify: Notify

    def renew(self) -> None:
        """
        Have the configuration read again, on SIGHUP, and files that were put away
        opened anew, whatever is wrong with the configuration.
        """
        self.notify.around(self.parts.reload.renew)
        self.access_log.reopen()


def make_operators(config: Config, parts: Parts, reactor: Any) -> Operators:
    """
    Make the operator's side.

    @param config: The configuration in force.
    @param parts: What is shown.
    """
    view = View(parts)
    access_log = AccessLog(
        parts.proxy.transactions, reactor, parts.wall, access_log_of(config)
    )
    parts.reload.also(exchanged(access_log_of, access_log.write_to))
    parts.beside["access_log"] = access_log.describe
    return Operators(
        parts,
        [
            parts.history.pulse,
            parts.checks,
            access_log,
            _introspection(config, parts, view, reactor),
            *_manhole(config, parts, view, reactor),
        ],
        access_log,
        make_notify(os.environ, reactor, sentence_of(view)),
    )


def _introspection(config: Config, parts: Parts, view: View, reactor: Any) -> IService:
    """
    Make the operator's pages, as soon as somebody looks.
    """
    pages = config.introspection

    def make() -> IProtocolFactory:
        """
        Make the site.
        """
        from mdproxy.introspection.guard import Guard
        from mdproxy.introspection.site import make_site
        from mdproxy.introspection.tree import pages_of

        guard = Guard(frozenset(pages.allowed_hosts))
        return make_site(pages_of(parts, view, pages), guard, reactor)

    load = partial(import_module, "mdproxy.introspection.tree")
    site = Waking(load, make, thread_of(reactor))
    service, tls = make_introspection(pages, site, reactor)
    if tls is not None:
        parts.reload.also(tls.prepare)
    return service


def _manhole(
    config: Config, parts: Parts, view: View, reactor: Any
) -> Sequence[IService]:
    """
    Make the shell in the process, if there is to be one.
    """
    if config.manhole is None:
        return []
    # Hardly anybody has one, and it takes memory.
    from mdproxy.manhole import make_manhole

    manhole = make_manhole(config.manhole, parts, view, reactor)
    parts.beside["manhole"] = manhole.describe
    return [manhole]
