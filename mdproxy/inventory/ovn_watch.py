# -*- test-case-name: tests.test_inventory_ovn -*-
"""
What one connection to OVN's southbound database shows of this host.

Only this chassis' rows are asked for (C{monitor_cond}, ovsdb-server(7), section
4.1.12), so the conditions follow what is learnt: the chassis leads to its ports, these
to their datapaths.  While a change of conditions is under way the view is not settled.

Any member of a cluster will do, as for Neutron's own agent (neutron/agent/ovn/metadata/
ovsdb.py, C{leader_only=False}), but for one that says that it has lost the others.
"""

from __future__ import annotations

from typing import Any, Final
from typing import Protocol as Shape

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mdproxy.inventory.ovn_rows import (
    DATABASE,
    REQUIRED,
    WANTED,
    Rows,
    Where,
    chassis_of,
    conditions,
)
from mdproxy.ovsdb import Garbled
from mdproxy.ovsdb_client import Refused, Session, SessionEnded
from mdproxy.ovsdb_replica import Replica, columns_of

#: The server's own database, since Open vSwitch 2.9 (ovsdb-server(5)).
_SERVER: Final = "_Server"
_SERVER_WANTED: Final = {"Database": {"name": None, "connected": None}}


class Owner(Shape):
    """
    Who looks.
    """

    def changed(self, watch: Watch) -> None:
        """
        The rows, or whether they are settled, may have changed.
        """


@define(eq=False)
class Watch:
    """
    The rows of one connection.

    @ivar _session: The connection.
    @ivar _where: Which chassis may be ours.
    @ivar _owner: Who looks.
    @ivar _rows: The rows; C{None}: not told yet.
    @ivar _server: What the server says of itself.
    @ivar _in_force: The conditions in force, by table.
    @ivar _is_changing: Whether the server was told others and has not answered.
    @ivar _is_complete: Whether it was settled at least once.
    @ivar _has_additional: Whether the database knows ports on several chassis.
    """

    _session: Session
    _where: Where
    _owner: Owner
    _rows: Replica | None = field(default=None, init=False)
    _server: Replica | None = field(default=None, init=False)
    _in_force: dict[str, Where] = field(factory=dict, init=False)
    _is_changing: bool = field(default=False, init=False)
    _is_complete: bool = field(default=False, init=False)
    _has_additional: bool = field(default=False, init=False)

    log = Logger()

    @property
    def rows(self) -> Rows | None:
        """
        The rows, once all that we need have been there.
        """
        if self._rows is None or not self._is_complete:
            return None
        return self._rows.rows

    @property
    def is_settled(self) -> bool:
        """
        Tell whether nothing is missing that was asked for.
        """
        return self._rows is not None and not self._is_changing

    @property
    def has_chassis(self) -> bool:
        """
        Tell whether the database knows this host.
        """
        return self._rows is not None and bool(chassis_of(self._rows.rows))

    @property
    def namesakes(self) -> int:
        """
        Count the chassis that may be this host.
        """
        return 0 if self._rows is None else len(self._rows.rows["Chassis"])

    def begin(self) -> None:
        """
        Ask for everything.
        """
        Deferred.fromCoroutine(self._ask()).addErrback(self._fail)

    def told(self, method: str, params: list[Any]) -> None:
        """
        Take an update.

        @raise Garbled: If it is none of ours.
        """
        if method != "update2" or len(params) != 2:
            raise Garbled("a notification that nobody asked for")
        if params[0] == _SERVER and self._server is not None:
            self._server.apply(params[1])
            self._check_server()
        elif params[0] == DATABASE and self._rows is not None:
            self._rows.apply(params[1])
            self._adjust()
            self._owner.changed(self)
        else:
            raise Garbled("an update of a monitor that nobody asked for")

    async def _ask(self) -> None:
        """
        Ask what the database can tell, how the server is, and for the rows.
        """
        schema = await self._session.call("get_schema", DATABASE)
        columns = columns_of(schema, WANTED)
        for table, names in REQUIRED.items():
            if not names <= columns.get(table, {}).keys():
                raise Garbled(f"its {table} lacks what is needed")
        self._has_additional = "additional_chassis" in columns["Port_Binding"]
        await self._ask_server()
        rows = Replica(columns)
        self._in_force = {
            "Chassis": self._where,
            **conditions(rows.rows, self._has_additional),
        }
        requests = {
            table: [{"columns": [*columns[table]], "where": where}]
            for table, where in self._in_force.items()
        }
        told = await self._session.call("monitor_cond", DATABASE, DATABASE, requests)
        rows.apply(told)
        self._rows = rows
        self._adjust()
        self._owner.changed(self)

    async def _ask_server(self) -> None:
        """
        Ask how the server is; old ones don't know.
        """
        request = {
            "Database": [
                {
                    "columns": ["name", "connected"],
                    "where": [["name", "==", DATABASE]],
                }
            ]
        }
        try:
            schema = await self._session.call("get_schema", _SERVER)
            server = Replica(columns_of(schema, _SERVER_WANTED))
            told = await self._session.call("monitor_cond", _SERVER, _SERVER, request)
        except Refused:
            return
        server.apply(told)
        self._server = server
        self._check_server()

    def _check_server(self) -> None:
        """
        Leave a member of a cluster that the others have left behind.
        """
        assert self._server is not None
        for row in self._server.rows["Database"].values():
            if False in row.get("connected", ()):
                self._session.abandon(f"{self._session.remote} has lost its cluster")

    def _adjust(self) -> None:
        """
        Tell the server which rows we need, if it should send others than it does.
        """
        assert self._rows is not None
        if self._is_changing:
            return
        wanted = conditions(self._rows.rows, self._has_additional)
        changes = {
            table: [{"where": where}]
            for table, where in wanted.items()
            if where != self._in_force[table]
        }
        if not changes:
            self._is_complete = True
            return
        self._is_changing = True
        self._in_force.update(wanted)
        self._session.call(
            "monitor_cond_change", DATABASE, DATABASE, changes
        ).addCallback(self._adjusted).addErrback(self._fail)

    def _adjusted(self, _result: Any) -> None:
        """
        All rows of the new conditions have come before this answer (ovsdb-server(7),
        section 4.1.13).
        """
        self._is_changing = False
        self._adjust()
        self._owner.changed(self)

    def _fail(self, reason: Any) -> None:
        """
        Give up a connection on which something that we need went wrong.
        """
        remote = self._session.remote
        if reason.check(SessionEnded) is not None:
            return
        if reason.check(Refused) is not None:
            self._session.abandon(f"{remote} refuses: {reason.value}")
        elif reason.check(Garbled) is not None:
            self._session.abandon(f"{remote} can't be understood: {reason.value}")
        else:
            self.log.failure("{remote}: an accident", reason, remote=str(remote))
            self._session.abandon(f"{remote} can't be understood")
