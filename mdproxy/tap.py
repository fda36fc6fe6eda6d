# -*- test-case-name: tests.test_tap -*-
"""
C{twistd mdproxy}: the parts list, and the only module that knows all parts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from random import Random, SystemRandom
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage

from mdproxy import __version__
from mdproxy.checks.service import make_checks
from mdproxy.config import Config, ConfigError, load
from mdproxy.http.front import Front
from mdproxy.http.transports import look_before_sending
from mdproxy.inherited import Inherited
from mdproxy.introspection.history import History
from mdproxy.introspection.parts import Parts
from mdproxy.life import (
    FrontService,
    Signals,
    go_by_steady_time,
    raise_file_limit,
    settle_memory,
)
from mdproxy.limits import Rates, Shares
from mdproxy.listening import Maker, make_listening
from mdproxy.logs.service import Logged
from mdproxy.lookup import InstanceLookup
from mdproxy.measures import (
    channel_bounds_of,
    connections_of,
    drain_timeout_of,
    hold_of,
    levels_of,
    policy_of,
    questions_of,
    rates_of,
    signer_of,
    unidentified_of,
)
from mdproxy.operators import make_operators
from mdproxy.pool import make_upstream, prepare_upstream
from mdproxy.proxy import ReverseProxyResource
from mdproxy.pulse import Pulse
from mdproxy.reload import Reload, exchanged
from mdproxy.sources import make_sources
from mdproxy.sweep import Sweep
from mdproxy.transactions import RequestIds, Transactions

_log = Logger()


class Options(usage.Options):
    """
    The command line of C{twistd mdproxy}.
    """

    synopsis = "[--config-file FILE ...] [--config-dir DIR ...]"

    def __init__(self) -> None:
        """
        Begin without files.
        """
        super().__init__()
        self["config-files"] = []
        self["config-dirs"] = []

    def opt_config_file(self, path: str) -> None:
        """
        A configuration file; the last wins. Default: /etc/mdproxy/mdproxy.conf
        """
        self["config-files"].append(path)

    def opt_config_dir(self, path: str) -> None:
        """
        A directory whose *.conf files are read after them; may be given again
        """
        self["config-dirs"].append(path)

    def postOptions(self) -> None:
        """
        Read the configuration, so that a fault ends C{twistd} with a clear line.

        @raise usage.UsageError: If the configuration can't be used.
        """
        files = self["config-files"]
        if not files and not self["config-dirs"]:
            files = ["/etc/mdproxy/mdproxy.conf"]
        # They are read again on SIGHUP, when twistd has changed the directory.
        files, dirs = map(_absolute, (files, self["config-dirs"]))
        self["load"] = partial(load, files, dirs)
        try:
            self["config"] = self["load"]()
        except ConfigError as error:
            raise usage.UsageError("\n".join(error.faults)) from None


def _absolute(paths: Sequence[str]) -> list[str]:
    """
    Name files so that they are found from any directory.
    """
    return [os.path.abspath(path) for path in paths]


def makeService(options: Options, reactor: Any = None) -> IService:
    """
    Wire the service from its parts.

    @param options: What the operator asked for.
    @param reactor: The reactor; the global one unless a test gives another.

    @return: The service, not yet started.
    """
    if reactor is None:
        reactor = _take_reactor()
    config: Config = options["config"]
    for note in config.notes:
        _log.warn("{note}", note=note)

    sweep, random = Sweep(reactor), SystemRandom()
    upstream = make_upstream(config.upstream, reactor, sweep, random)
    sources = make_sources(config, reactor)
    lookup = InstanceLookup(
        sources.books,
        sources.inventories,
        sources.leases,
        sources.neighbours,
        policy_of(config),
        reactor,
        sources.epoch.now,
    )
    holds, questions = Shares(*unidentified_of(config)), Shares(*questions_of(config))
    rates, connections = Rates(*rates_of(config)), Shares(*connections_of(config))
    proxy = ReverseProxyResource(
        lookup,
        upstream,
        signer_of(config),
        reactor,
        random,
        holds,
        questions,
        hold_of(config),
        rates,
        transactions=_transactions(config, reactor, random),
    )
    sources.books.neighbours.observe_flips(proxy.path_changed)
    upstream.observe_recovery(proxy.nova_recovered)
    upstream.keep_ready()
    front = Front(proxy, reactor, sweep, channel_bounds_of(config), connections)
    sources.books.neighbours.observe_flips(front.path_changed)
    look_before_sending(reactor, sources.neighbours.drain)
    maker = Maker(front, sources, reactor, _sheds_root(options))
    listening = make_listening(config.listeners, maker, Inherited.of_process())
    front_service = FrontService(front, upstream, reactor, config.drain_timeout)
    history = History(proxy, Pulse(reactor), reactor, time.time)
    checks = make_checks(config, proxy, upstream, reactor, sweep, random)
    reload = Reload(
        config,
        options["load"],
        [
            partial(prepare_upstream, upstream),
            exchanged(signer_of, proxy.sign_with),
            exchanged(hold_of, proxy.hold_for),
            exchanged(unidentified_of, lambda most: holds.resize(*most)),
            exchanged(questions_of, lambda most: questions.resize(*most)),
            exchanged(rates_of, lambda most: rates.resize(*most)),
            exchanged(connections_of, lambda most: connections.resize(*most)),
            exchanged(channel_bounds_of, partial(setattr, front, "bounds")),
            exchanged(drain_timeout_of, partial(setattr, front_service, "patience")),
            partial(sources.prepare, lookup),
            checks.prepare,
        ],
        time.time,
    )
    parts = Parts(
        lookup,
        proxy,
        upstream,
        front,
        listening,
        sources,
        reload,
        checks,
        history,
        reactor,
        time.time,
        __version__,
    )
    operators = make_operators(config, parts, reactor)
    service = Logged(config.log, options.parent or {}, reactor)
    reload.also(exchanged(levels_of, service.levels.go_by))
    for part in (
        Signals(reactor, front_service.hurry, operators.renew),
        sweep.service(),
        *operators.services,
        listening.opening,
        sources.service,
        front_service,
        listening.accepting,
        operators.notify,
    ):
        part.setServiceParent(service)
    reactor.callWhenRunning(settle_memory)
    return service


def _transactions(config: Config, reactor: Any, random: Random) -> Transactions:
    """
    Make the memory of the latest requests.
    """
    ids, most = RequestIds.draw(random), config.introspection.transactions
    return Transactions(ids, reactor.seconds, time.time, most)


def _take_reactor() -> Any:
    """
    Find the reactor of this process, and make both fit for the service.
    """
    from twisted.internet import reactor

    go_by_steady_time(reactor)
    raise_file_limit()
    return reactor


def _sheds_root(options: Options) -> bool:
    """
    Tell whether C{twistd --uid} makes another user of root when all has started.
    """
    uid = None if options.parent is None else options.parent.get("uid")
    return os.geteuid() == 0 and uid not in (None, 0)
