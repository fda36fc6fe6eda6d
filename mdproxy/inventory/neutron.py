# -*- test-case-name: tests.test_inventory_neutron -*-
"""
The inventory that is Neutron's API.

It is asked on demand: for the ports of a network with the MACs of those who wait there
(L{mdproxy.inventory.demand}), and what it says is believed for some seconds
(L{mdproxy.inventory.belief}, which has the argument).  Slowly and with jitter the ports
of this host alone are read too; never all there are.

Its silence about a network means something only while it is asked in time: where a
question has had no answer for a while it I{cannot know}, so that a caller whom nobody
has looked for yet is told 503 and not 404.

The requests and answers are those of the API's reference, and of Keystone 30 and
Neutron 29 from PyPI (C{tests/openstack}), which ran without a database server, agents
or OVN; it has never been tried in a cloud that works.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mdproxy.condition import Condition
from mdproxy.interfaces import IInventory, SourceState
from mdproxy.inventory.api import Garbled, Refused, Trouble, make_api
from mdproxy.inventory.belief import TICK, Beliefs, Seat
from mdproxy.inventory.demand import PAUSE, Demand
from mdproxy.inventory.neutron_ports import is_uuid
from mdproxy.inventory.neutron_questions import NOBODY, Found, NeutronQuestions
from mdproxy.inventory.page import Entries, Routers
from mdproxy.inventory.session import NotAccepted, NoToken, Session
from mdproxy.model import Port
from mdproxy.neutron_config import NeutronConfig

#: After how many seconds without an answer it can't know.
_IN_TIME: Final = 2.0
#: How many known ports of a network are confirmed with each question about others.
_CONFIRMED: Final = 64
#: The first and the longest pause after a failure, in seconds; and where we are not
#: accepted, for Keystone may lock out who tries too often (its option
#: C{lockout_failure_attempts}).
_PAUSES: Final = (1.0, 15.0)
_LOCKED: Final = (30.0, 300.0)
#: After how many seconds without a failure the pauses are short again.
_FORGIVEN: Final = 60.0
#: What servers answer to an address that is longer than they take.
_TOO_LONG: Final = frozenset({400, 414, 431})
#: How many different problems with ports are remembered.
_REMEMBERED: Final = 256
#: How long a bad port is told of that doesn't show again, in refresh intervals.
_TOLD: Final = 2.5
#: Who may see everybody's ports (neutron/conf/policies/port.py, C{get_port}).
_SEEING: Final = frozenset({"admin", "service"})
_BLIND: Final = (
    "our account has neither the role admin nor service: unless Neutron's policy is "
    "another than it brings, it does not see the ports of instances"
)
_ROUTER: Final = re.compile(r"qrouter-(?P<router>[0-9a-f-]{36})/qr-")


def neutron_inventory(
    reactor: Any,
    book: Entries,
    networks: Routers,
    config: NeutronConfig,
    random: Random,
) -> NeutronInventory:
    """
    Make the inventory of a configuration; it asks nothing before it is started.

    @param reactor: Connects, and the clock.
    @param book: Where ports are entered.
    @param networks: Where the networks of routers' ports are entered.
    @param config: Where Neutron is, and who we are.
    @param random: Spreads what many hosts do.

    @raise mdproxy.tls.TlsMisconfigured: If the file of certificates can't be used.
    """
    api = make_api(reactor, config.cafile, config.insecure, config.timeout)
    session = Session(api, reactor, config)
    return NeutronInventory(reactor, book, networks, session, config, random)


@implementer(IInventory)
class NeutronInventory(Service):
    """
    The ports that Neutron knows of those who ask.

    @ivar condition: How the source is.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        book: Entries,
        networks: Routers,
        session: Session,
        config: NeutronConfig,
        random: Random,
        name: str = "neutron",
    ) -> None:
        """
        Prepare an inventory.

        @param clock: Schedules.
        @param book: Where ports are entered.
        @param networks: Where the networks of routers' ports are entered.
        @param session: Asks Neutron.
        @param config: The host, and how long what is believed.
        @param random: Spreads what many hosts do.
        @param name: The word for this inventory.
        """
        self.name = name
        self.condition = Condition(name, self.log)
        self._clock = clock
        self._book = book
        self._networks = networks
        self._session = session
        self._config = config
        self._random = random
        self._beliefs = Beliefs(self._enter, config.max_age)
        self._questions = NeutronQuestions(session, config.host, name)
        self._demand = Demand(clock, self._ask, self._questions.room_for_macs())
        self._asking: set[Deferred[None]] = set()
        self._is_listing = False
        self._is_away = False
        self._failures = 0
        self._failed = float("-inf")
        self._troubles: Counter[str] = Counter()
        self._problems: dict[str, float] = {}
        self._routers: dict[str, frozenset[str]] = {}
        self._success: float | None = None
        self._next_list: IDelayedCall | None = None
        self._next_look: IDelayedCall | None = None

    @property
    def state(self) -> SourceState:
        """
        Provide L{ISource.state<mdproxy.interfaces.ISource>}.
        """
        return self.condition.state

    def startService(self) -> None:
        """
        Begin with the ports of this host; until they are there nothing else is asked.
        """
        super().startService()
        self._demand.pause()
        self._look()
        self._list()

    def stopService(self) -> Deferred[None]:
        """
        Let go of questions, connections and timers; the book keeps what it has.

        @return: Fires when the connections are closed.
        """
        super().stopService()
        for call in (self._next_list, self._next_look):
            if call is not None:
                call.cancel()
        self._next_list = self._next_look = None
        for asking in list(self._asking):
            asking.cancel()
        self._demand.pause()
        self._demand.release()
        return self._session.close()

    def knows(self, network: str) -> bool:
        """
        Provide L{IInventory.knows<mdproxy.interfaces.IInventory.knows>}: it knows all
        networks of Neutron, whose names are ids, if it answers in time.
        """
        return is_uuid(network) and not self.is_in_doubt(network)

    def is_in_doubt(self, network: str) -> bool:
        """
        Provide L{IInventory.is_in_doubt<mdproxy.interfaces.IInventory.is_in_doubt>}:
        while a question has had no answer in time.  A failure drops all questions, so
        for a while after it those who still wait may not have asked again.
        """
        if not is_uuid(network):
            return False
        waited = max(self._demand.waited(s) for s in (network, _here(network)))
        since_failure = self._clock.seconds() - self._failed
        return waited > _IN_TIME or since_failure <= _IN_TIME + PAUSE

    def refresh(self, network: str, mac: str | None) -> Deferred[None]:
        """
        Provide L{IInventory.refresh<mdproxy.interfaces.IInventory.refresh>}.

        Without a MAC the ports on this host are read, of that network alone.
        """
        link = _ROUTER.match(network)
        if not self.running or not (link or is_uuid(network)):
            return succeed(None)
        if link is not None:
            asked = self._demand.want(_router(link["router"]), "")
            return asked.addCallback(lambda _: self._refresh_named(network, mac))
        if mac is None:
            return self._demand.want(_here(network), "")
        self._beliefs.note_wanted((network, mac), self._clock.seconds())
        return self._demand.want(network, mac)

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{ISource.describe<mdproxy.interfaces.ISource.describe>}.
        """
        now = self._clock.seconds()
        age = None if self._success is None else round(now - self._success, 3)
        return {
            "name": self.name,
            "kind": "neutron",
            "state": self.state.value,
            "problem": self.condition.problem,
            "host": self._config.host,
            **self._session.describe(),
            "ports": len(self._beliefs),
            "problems": len(self._problems),
            "wide_pairs": self._questions.wide_pairs,
            "waiting": len(self._demand),
            "failures": dict(self._troubles),
            "last_read_age": age,
        }

    def _refresh_named(self, link: str, mac: str | None) -> Deferred[None]:
        """
        Go on with the network of a router's link, if it has become known.
        """
        network = self._networks.name_of(link)
        return succeed(None) if network == link else self.refresh(network, mac)

    def _enter(self, seat: Seat, ports: tuple[Port, ...]) -> None:
        """
        Take what is believed of a seat.
        """
        self._book.enter(self.condition.name, f"{seat[0]} {seat[1]}", ports)

    def _look(self) -> None:
        """
        Drop what is too old, and ask again for what soon will be.
        """
        self._next_look = self._clock.callLater(self._config.max_age * TICK, self._look)
        now = self._clock.seconds()
        renewed = self._beliefs.lapse(now, self._is_away)
        if self.state is SourceState.LIVE:
            for network, mac in renewed:
                self._demand.want(network, mac)
            self._forget_problems(now)
        elif self.state is SourceState.STALE:
            self.condition.become(self._without(), self.condition.problem)

    def _list(self) -> None:
        """
        Read the ports of this host.
        """
        self._next_list = None
        self._is_listing = True
        self._do(self._read_host(None)).addBoth(self._listed)

    def _listed(self, _: object) -> None:
        """
        Plan the next time, unless a failure has planned it already.
        """
        self._is_listing = False
        if self.running and self._next_list is None:
            pause = self._config.refresh_interval * self._random.uniform(0.8, 1.2)
            self._next_list = self._clock.callLater(pause, self._list)

    def _ask(self, subject: str, items: Sequence[str]) -> Deferred[None]:
        """
        Ask what many want to know of a subject.
        """
        kind, _, name = subject.rpartition(" ")
        if kind == "router":
            return self._do(self._read_router(name))
        if kind == "here":
            return self._do(self._read_host(name))
        return self._do(self._read_seats(name, items))

    def _do(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        """
        Do something that asks Neutron, and take note of how it went.

        @return: Fires afterwards, never with a failure.
        """
        asking = Deferred.fromCoroutine(work)
        self._asking.add(asking)

        def end(result: Failure | None) -> None:
            self._asking.discard(asking)
            if not isinstance(result, Failure):
                self._succeed()
            elif not result.check(CancelledError):
                self._fail(result)

        return asking.addBoth(end)

    async def _read_seats(self, network: str, macs: Sequence[str]) -> None:
        """
        Look for the ports with some MACs, and confirm some that are known.
        """
        asked = self._clock.seconds()
        room = max(0, self._demand.most - len(macs))
        known = self._beliefs.eldest(network, min(room, _CONFIRMED))
        both = list(dict.fromkeys([*macs, *known]))
        try:
            found = await self._questions.ports_with(network, both)
        except Refused as refused:
            if refused.status not in _TOO_LONG or len(both) < 2:
                raise
            # Some servers take less than Neutron's own did.
            half = self._demand.most = len(both) // 2
            for some in (both[:half], both[half:]):
                await self._read_seats(network, some)
            return
        self._note_problems(found.problems)
        for mac in both:
            self._learn((network, mac), found, asked)

    async def _read_host(self, network: str | None) -> None:
        """
        Read the ports of this host, of one network or of all.
        """
        asked = self._clock.seconds()
        found = await self._questions.ports_here(network)
        self._note_problems(found.problems)
        for seat in found.seats:
            self._learn(seat, found, asked)
        self._beliefs.withdraw_here(set(found.seats), asked, network)

    def _learn(self, seat: Seat, found: Found, asked: float) -> None:
        """
        Believe what was found on a seat, be it nothing.
        """
        on_seat = found.seats.get(seat, NOBODY)
        self._beliefs.learn(seat, on_seat.ports, asked, on_seat.is_here)

    async def _read_router(self, router: str) -> None:
        """
        Read which networks a router is on.

        A port never changes its network, so this is believed for as long as the router
        has the port.
        """
        inventory = self.condition.name
        networks = await self._questions.networks_of(router)
        for port_id in self._routers.get(router, frozenset()) - networks.keys():
            self._networks.enter(inventory, port_id, None)
        for port_id, network in networks.items():
            self._networks.enter(inventory, port_id, network)
        self._routers[router] = frozenset(networks)

    def _succeed(self) -> None:
        """
        Take note of an answer.
        """
        self._success = self._clock.seconds()
        if self._success - self._failed > _FORGIVEN:
            self._failures = 0
        self._is_away = False
        self.condition.become(SourceState.LIVE, self._problem())
        self._demand.resume()

    def _fail(self, failure: Failure) -> None:
        """
        Take note that there is no answer: nothing is asked for a while but whether
        there is one again.
        """
        trouble = failure.value
        if not isinstance(trouble, Trouble):
            self.log.failure("Neutron's answer can't be understood", failure)
            trouble = Garbled(f"it can't be understood: {type(trouble).__name__}")
        self._troubles[trouble.kind] += 1
        self._failed = self._clock.seconds()
        was_well = self.state in (SourceState.STARTING, SourceState.LIVE)
        if not isinstance(trouble, NoToken):
            self._is_away = trouble.is_away
        self.condition.become(self._without(), str(trouble))
        self._demand.pause()
        self._demand.release()
        if was_well or self._next_list is None:
            self._failures += 1
            self._plan_again(trouble)

    def _plan_again(self, trouble: Trouble) -> None:
        """
        Try again after a pause that grows.
        """
        first, longest = _LOCKED if isinstance(trouble, NotAccepted) else _PAUSES
        pause = min(first * 2.0 ** min(self._failures - 1, 10), longest)
        pause = max(pause * self._random.uniform(0.5, 1.0), trouble.rest)
        if self._next_list is not None:
            self._next_list.cancel()
        self._next_list = self._clock.callLater(pause, self._try_again)

    def _try_again(self) -> None:
        """
        See whether there are answers again, unless that is under way.
        """
        self._next_list = None
        if not self._is_listing:
            self._list()

    def _without(self) -> SourceState:
        """
        Tell what the state is where there is no answer.
        """
        return SourceState.STALE if len(self._beliefs) else SourceState.FAILED

    def _note_problems(self, problems: Iterable[str]) -> None:
        """
        Remember what is wrong with ports.
        """
        now = self._clock.seconds()
        for problem in problems:
            if problem in self._problems or len(self._problems) < _REMEMBERED:
                self._problems[problem] = now

    def _forget_problems(self, now: float) -> None:
        """
        Forget what was wrong and has not shown again.
        """
        longest = self._config.refresh_interval * _TOLD
        old = [text for text, seen in self._problems.items() if now - seen > longest]
        for text in old:
            del self._problems[text]
        if old:
            self.condition.become(SourceState.LIVE, self._problem())

    def _problem(self) -> str | None:
        """
        Say what is wrong with ports, or with our view of them.
        """
        problems = sorted(self._problems)[:3]
        if self._session.roles.isdisjoint(_SEEING):
            problems.insert(0, _BLIND)
        return "; ".join(problems) or None


def _here(network: str) -> str:
    """
    Name the question for the ports of a network on this host.
    """
    return f"here {network}"


def _router(router: str) -> str:
    """
    Name the question for the ports of a router.
    """
    return f"router {router}"
