# -*- test-case-name: tests.test_ovsdb_replica -*-
"""
A replica of some rows of an OVSDB database, kept by what C{monitor_cond} tells.

Pure.  The server sends rows whole once and differences from then on (ovsdb-server(7),
section 4.1.14).  Which kind of difference a column has depends on its type, so the
types come from the server's own schema (RFC 7047 section 3.2).

A set has no order: the server sorts it, so there is no "first" element with a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field, frozen

from mdproxy.ovsdb import Garbled

#: A string, number or truth value; a UUID is a string here.
Atom = str | int | float | bool
#: What stands in a column: a set, also where it is always one atom, or a map.
Value = frozenset[Atom] | Mapping[Atom, Atom]
#: What is known of a row, by column; never changed, but replaced.
Row = Mapping[str, Value]
#: Which columns are wanted of which table, and of a map which keys; C{None}: all.
Wanted = Mapping[str, Mapping[str, frozenset[str] | None]]

#: More rows than any host has; who sends more ignores our conditions.
MAX_ROWS: Final = 20_000

#: What a row that does not name a column has there (RFC 7047 section 5.2.1).
_DEFAULTS: Final[Mapping[str, Atom]] = {
    "string": "",
    "integer": 0,
    "real": 0.0,
    "boolean": False,
    "uuid": "00000000-0000-0000-0000-000000000000",
}


@frozen
class Column:
    """
    What of a column's type matters for reading it.

    @ivar default: What stands there where nothing was said.
    @ivar is_composite: Whether it can hold more than one element, so that a difference
        is one, and no replacement (Open vSwitch, lib/ovsdb-data.c,
        C{ovsdb_datum_diff}; lib/ovsdb-types.h, C{ovsdb_type_is_composite}).
    @ivar keys: Of a map, the keys that are kept; C{None}: all.
    """

    default: Value
    is_composite: bool
    keys: frozenset[str] | None = None


Columns = Mapping[str, Mapping[str, Column]]


def columns_of(schema: Any, wanted: Wanted) -> Columns:
    """
    Find the types of columns.

    @param schema: What C{get_schema} says (RFC 7047 section 3.2).

    @return: Of what is wanted that which the database has, which may be an old one.

    @raise Garbled: If it is no schema.
    """
    tables = _member(schema, "tables")
    found: dict[str, dict[str, Column]] = {}
    for table, names in wanted.items():
        if table in tables:
            columns = _member(tables[table], "columns")
            found[table] = {
                name: _column(_member(columns[name], "type", str), keys)
                for name, keys in names.items()
                if name in columns
            }
    return found


def _member(value: Any, name: str, *others: type) -> Any:
    """
    Take a member of an object that must be an object itself, or of another type.
    """
    member = value.get(name) if isinstance(value, dict) else None
    if not isinstance(member, (dict, *others)):
        raise Garbled(f"a schema without {name}")
    return member


def _column(kind: Any, keys: frozenset[str] | None) -> Column:
    """
    Read a type: the name of an atomic one, or an object.
    """
    if isinstance(kind, str):
        return Column(frozenset({_default(kind)}), False)
    is_composite = kind.get("max", 1) != 1
    if "value" in kind:
        return Column({}, is_composite, keys)
    if kind.get("min", 1) == 0:
        return Column(frozenset(), is_composite)
    key = kind.get("key")
    atomic = key.get("type") if isinstance(key, dict) else key
    return Column(frozenset({_default(atomic)}), is_composite)


def _default(atomic: Any) -> Atom:
    """
    Find the default of an atomic type.
    """
    if not isinstance(atomic, str) or atomic not in _DEFAULTS:
        raise Garbled("a schema with an unknown type")
    return _DEFAULTS[atomic]


def read_value(wire: Any, column: Column) -> Value:
    """
    Read a <value> (RFC 7047 section 5.1); a set of one element is that element.

    @raise Garbled: If it is none of the column's kind.
    """
    if isinstance(column.default, frozenset):
        elements = _tagged(wire, "set")
        return frozenset(map(_atom, [wire] if elements is None else elements))
    pairs = _tagged(wire, "map")
    if pairs is None:
        raise Garbled("something else where a map belongs")
    return {
        key: value
        for key, value in map(_pair, pairs)
        if column.keys is None or key in column.keys
    }


def _tagged(wire: Any, tag: str) -> list[Any] | None:
    """
    Take the elements of a set or map.

    @return: C{None} where it is something else.
    """
    if isinstance(wire, list) and len(wire) == 2 and wire[0] == tag:
        if isinstance(wire[1], list):
            return wire[1]
        raise Garbled(f"a {tag} that is none")
    return None


def _pair(wire: Any) -> tuple[Atom, Atom]:
    """
    Read a key and its value.
    """
    if not isinstance(wire, list) or len(wire) != 2:
        raise Garbled("a map that is none")
    return _atom(wire[0]), _atom(wire[1])


def _atom(wire: Any) -> Atom:
    """
    Read an atom.
    """
    if isinstance(wire, list) and len(wire) == 2 and wire[0] == "uuid":
        wire = wire[1]
    if not isinstance(wire, (str, int, float)):
        raise Garbled("a value that is none")
    return wire


def combine(old: Value, difference: Value, column: Column) -> Value:
    """
    Apply a difference (ovsdb-server(7), section 4.1.14).

    Of sets it holds the elements that only one of them has.  Of maps it holds the pairs
    whose key only one of them has, and the new pairs of keys whose value differs.

    @return: The new value.
    """
    if not column.is_composite:
        return difference
    if isinstance(old, frozenset) and isinstance(difference, frozenset):
        return old ^ difference
    assert isinstance(old, Mapping) and isinstance(difference, Mapping)
    result = dict(old)
    for key, value in difference.items():
        # A pair that is there is told because it is gone: a changed one has another
        # value.
        if key in result and result[key] == value:
            del result[key]
        else:
            result[key] = value
    return result


@define
class Replica:
    """
    The rows that a server has told of.

    @ivar _columns: What is read of which table.
    @ivar _limit: How many rows there may be.
    @ivar rows: The rows by table and UUID.
    """

    _columns: Columns
    _limit: int = MAX_ROWS
    rows: dict[str, dict[str, Row]] = field(init=False)

    @rows.default
    def _(self) -> dict[str, dict[str, Row]]:
        """
        Begin without rows.
        """
        return {table: {} for table in self._columns}

    def apply(self, updates: Any) -> None:
        """
        Take what the server tells.

        @param updates: <table-updates2> (ovsdb-server(7), section 4.1.14).

        @raise Garbled: If it is none, or does not fit what was told before; the replica
            is worth nothing then.
        """
        if not isinstance(updates, dict):
            raise Garbled("an update that is none")
        for table, changes in updates.items():
            if table not in self._columns or not isinstance(changes, dict):
                raise Garbled("an update of a table that nobody asked for")
            for uuid, change in changes.items():
                self._change(table, uuid, change)
        if sum(map(len, self.rows.values())) > self._limit:
            raise Garbled(f"more than {self._limit} rows")

    def _change(self, table: str, uuid: str, change: Any) -> None:
        """
        Take a <row-update2>.
        """
        if not isinstance(change, dict) or len(change) != 1:
            raise Garbled("an update of a row that is none")
        [(kind, wire)] = change.items()
        rows = self.rows[table]
        if kind == "delete":
            rows.pop(uuid, None)
        elif kind in ("initial", "insert") and isinstance(wire, dict):
            told = self._read(table, wire)
            defaults = {
                name: column.default for name, column in self._columns[table].items()
            }
            rows[uuid] = {**defaults, **told}
        elif kind == "modify" and isinstance(wire, dict) and uuid in rows:
            self._modify(table, uuid, self._read(table, wire))
        else:
            raise Garbled("an update of a row that is none, or of an unknown row")

    def _modify(self, table: str, uuid: str, differences: Row) -> None:
        """
        Take the differences between a row as it was and as it is.
        """
        row, columns = self.rows[table][uuid], self._columns[table]
        changed = {
            name: combine(row[name], difference, columns[name])
            for name, difference in differences.items()
        }
        self.rows[table][uuid] = {**row, **changed}

    def _read(self, table: str, wire: dict[str, Any]) -> Row:
        """
        Read the columns of a <row>.
        """
        columns = self._columns[table]
        return {
            name: read_value(value, columns[name])
            for name, value in wire.items()
            if name in columns
        }
