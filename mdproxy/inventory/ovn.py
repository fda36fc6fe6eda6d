# -*- test-case-name: tests.test_inventory_ovn -*-
"""
The inventory that OVN keeps of the ports on this chassis, in its southbound database.

While there is no connection what was known last counts, and is called stale.  A new
connection begins with all rows; they take the place of the old ones when they are
complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from mdproxy.condition import Condition
from mdproxy.interfaces import IInventory, SourceState
from mdproxy.inventory.barrier import Barrier
from mdproxy.inventory.ovn_rows import (
    Meaning,
    Rows,
    Sight,
    is_network,
    meaning_of,
    sights_of,
    where_chassis,
)
from mdproxy.inventory.ovn_watch import Watch
from mdproxy.inventory.page import Entries, Routers
from mdproxy.ovsdb import Garbled, Remote
from mdproxy.ovsdb_client import UNANSWERED, Client, Connect, Session

#: A server that has not told all within so many seconds is left, though it answers.
_TELLING: Final = 30.0
#: Of so many rows it is said what is wrong.
_EXAMPLES: Final = 3


@frozen
class OvnPlace:
    """
    Which southbound database, and which part of it.

    @ivar remotes: The servers (Neutron's C{ovn_sb_connection}), in the order in which
        they are tried; at least one.
    @ivar chassis: The name of our chassis; empty: it is found by the host's name.
    @ivar ca: The file of the servers' CA (C{ovn_sb_ca_cert}).
    @ivar certificate: The file of our certificate (C{ovn_sb_certificate}).
    @ivar key: The file of its key (C{ovn_sb_private_key}).
    """

    remotes: tuple[Remote, ...]
    chassis: str = ""
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        """
        Name it.
        """
        return ",".join(map(str, self.remotes))


@implementer(IInventory)
class OvnInventory(Service):
    """
    The ports on this chassis.

    @ivar condition: How the source is.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        book: Entries,
        networks: Routers,
        place: OvnPlace,
        connect: Connect,
        hostname: str,
        random: Callable[[], float],
        name: str = "ovn",
    ) -> None:
        """
        Prepare an inventory; it connects to nothing before it is started.

        @param clock: Schedules.
        @param book: Where the ports are entered.
        @param networks: Where the networks of routers' ports are entered.
        @param place: Which database, and which part of it.
        @param connect: Opens connections (L{mdproxy.ovsdb_client.Connector}).
        @param hostname: This host's name.
        @param random: Between 0 and 1.
        @param name: The word for this inventory.
        """
        self.name = name
        self.condition = Condition(name, self.log)
        self._clock = clock
        self._book = book
        self._networks = networks
        self._place = place
        self._where = where_chassis(place.chassis, hostname)
        self._client = Client(clock, place.remotes, connect, random, self)
        self._watch: Watch | None = None
        #: What each row rests on and means, as it was entered.
        self._known: dict[str, tuple[Sight, Meaning]] = {}
        #: The networks that these rows are on, and those of which one can't be told.
        self._networks_here: frozenset[str] = frozenset()
        self._doubtful: frozenset[str] = frozenset()
        self._is_known = False
        self._told: float | None = None
        self._connections = 0
        self._missing_since: float | None = None
        self._barrier = Barrier(clock, self._ask, self._is_settled)
        self._sweep: LoopingCall | None = None

    @property
    def state(self) -> SourceState:
        """
        Provide L{ISource.state<mdproxy.interfaces.ISource>}.
        """
        return self.condition.state

    def startService(self) -> None:
        """
        Begin to connect.
        """
        super().startService()
        self._sweep = LoopingCall(self._look)
        self._sweep.clock = self._clock
        self._sweep.start(1.0, now=False)
        self._client.begin()

    def stopService(self) -> None:
        """
        Let go of the connection and the timers; the books keep what they have.
        """
        super().stopService()
        if self._sweep is not None:
            self._sweep.stop()
            self._sweep = None
        self._client.end()
        self._watch = None
        self._barrier.stop()

    def knows(self, network: str) -> bool:
        """
        Provide L{IInventory.knows<mdproxy.interfaces.IInventory.knows>}: only networks
        of Neutron's, and none with a port of which something is missing.
        """
        if not self._is_settled() or network in self._doubtful:
            return False
        return is_network(network) or network in self._networks_here

    def is_in_doubt(self, network: str) -> bool:
        """
        Provide L{IInventory.is_in_doubt<mdproxy.interfaces.IInventory.is_in_doubt>}:
        while the server has not told all that it was asked for.  Of a port that can't
        be told at all the next inventory may know more.
        """
        return is_network(network) and not self._is_settled()

    def refresh(self, network: str, mac: str | None) -> Deferred[None]:
        """
        Provide L{IInventory.refresh<mdproxy.interfaces.IInventory.refresh>}: wait until
        the server has told all that it knows.
        """
        return self._barrier.wait()

    def describe(self) -> Mapping[str, Any]:
        """
        Provide L{ISource.describe<mdproxy.interfaces.ISource.describe>}.
        """
        session, now = self._client.session, self._clock.seconds()
        meanings = [meaning for _sight, meaning in self._known.values()]
        return {
            "name": self.name,
            "kind": "ovn",
            "state": self.state.value,
            "problem": self.condition.problem,
            "servers": [str(remote) for remote in self._place.remotes],
            "server": None if session is None else str(session.remote),
            "connections": self._connections,
            "received": 0 if session is None else session.received,
            "heard_age": None if session is None else round(now - session.heard, 3),
            "told_age": None if self._told is None else round(now - self._told, 3),
            "chassis": self._place.chassis or None,
            "rows": len(meanings),
            "ports": sum(meaning.port is not None for meaning in meanings),
            "networks": len(self._networks_here),
            "networks_in_doubt": sorted(self._doubtful),
        }

    def began(self, session: Session) -> None:
        """
        Provide L{Owner.began<mdproxy.ovsdb_client.Owner.began>}.
        """
        self._connections += 1
        self._missing_since = None
        self._watch = Watch(session, self._where, self)
        self._watch.begin()

    def told(self, session: Session, method: str, params: list[Any]) -> None:
        """
        Provide L{Owner.told<mdproxy.ovsdb_client.Owner.told>}.
        """
        if self._watch is None:
            raise Garbled("a notification that nobody asked for")
        self._watch.told(method, params)

    def ended(self, session: Session | None, problem: str) -> None:
        """
        Provide L{Owner.ended<mdproxy.ovsdb_client.Owner.ended>}: what was known counts
        until another connection has told everything.
        """
        self._watch = None
        if self.running:
            self._worsen(problem)
        self._barrier.stop()

    def changed(self, watch: Watch) -> None:
        """
        Provide L{Owner.changed<mdproxy.inventory.ovn_watch.Owner.changed>}.
        """
        rows = watch.rows
        if rows is None or watch is not self._watch:
            return
        self._told = self._clock.seconds()
        self._client.proven()
        self._renew(rows)
        self._is_known |= watch.has_chassis
        self._judge()
        self._barrier.look()

    def _renew(self, rows: Rows) -> None:
        """
        Enter what the rows mean now, where that is not what they meant before.
        """
        sights = sights_of(rows)
        for uuid in self._known.keys() - sights.keys():
            self._enter(uuid, Meaning())
            del self._known[uuid]
        for uuid, sight in sights.items():
            known = self._known.get(uuid)
            if known is None or not sight.is_same(known[0]):
                meaning = meaning_of(sight, self.condition.name)
                self._enter(uuid, meaning)
                self._known[uuid] = sight, meaning
        # They are asked for with each verdict.
        meanings = [meaning for _sight, meaning in self._known.values()]
        self._networks_here = frozenset(n for m in meanings for n in m.networks)
        self._doubtful = frozenset(
            n for m in meanings if m.is_doubtful for n in m.networks
        )

    def _enter(self, uuid: str, meaning: Meaning) -> None:
        """
        Enter what a row means.
        """
        former = self._known[uuid][1] if uuid in self._known else Meaning()
        if meaning.port != former.port:
            ports = () if meaning.port is None else (meaning.port,)
            self._book.enter(self.condition.name, f"{self._place}/{uuid}", ports)
        self._enter_router(former, meaning)

    def _enter_router(self, former: Meaning, meaning: Meaning) -> None:
        """
        Enter the network of a router's port.  They are seen only where one is bound to
        a chassis, which Neutron's distributed routers are not.
        """
        author = self.condition.name
        if former.router is not None and former.router != meaning.router:
            self._networks.enter(author, former.router, None)
        if meaning.router is not None:
            [network] = meaning.networks
            self._networks.enter(author, meaning.router, network)

    def _ask(self) -> Deferred[Any] | None:
        """
        Ask the server for an echo, which comes behind all that it has to tell.
        """
        session = self._client.session
        return None if session is None or self._watch is None else session.echo()

    def _is_settled(self) -> bool:
        """
        Tell whether all is here that was told.
        """
        return self._watch is None or self._watch.is_settled

    def _look(self) -> None:
        """
        See whether the server has told everything, and how the source is.
        """
        session, now = self._client.session, self._clock.seconds()
        if session is None or self._is_settled():
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        elif now - self._missing_since > _TELLING:
            session.abandon(f"{session.remote} does not tell what it was asked for")
        self._judge()

    def _judge(self) -> None:
        """
        Say how the source is.
        """
        watch, session = self._watch, self._client.session
        if watch is None or session is None or watch.rows is None:
            return
        if session.unanswered() >= UNANSWERED:
            self._worsen(f"{session.remote} does not answer")
        elif not watch.has_chassis:
            what = " or ".join(f"{column} {name}" for column, _is, name in self._where)
            number = watch.namesakes or "no"
            self._worsen(f"there is {number} chassis with {what}: see [ovn] chassis")
        else:
            problems = [
                f"port row {uuid}: {meaning.problem}"
                for uuid, (_sight, meaning) in sorted(self._known.items())
                if meaning.problem is not None
            ]
            text = "; ".join(problems[:_EXAMPLES]) or None
            self.condition.become(SourceState.LIVE, text)

    def _worsen(self, problem: str) -> None:
        """
        Say that what is known may be out of date, or that nothing is known.
        """
        state = SourceState.STALE if self._is_known else SourceState.FAILED
        self.condition.become(state, problem)
