"""
Tests for L{mdproxy.ovsdb_replica}.
"""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.ovsdb import Garbled
from mdproxy.ovsdb_replica import (
    Column,
    Replica,
    Value,
    columns_of,
    combine,
    read_value,
)
from tests.southbound import SCHEMA, difference, uuid_of

SET = Column(frozenset(), True)
OPTIONAL = Column(frozenset(), False)
MAP = Column({}, True)
TEXT = Column(frozenset({""}), False)
COLUMNS = {"T": {"set": SET, "map": MAP, "one": TEXT, "perhaps": OPTIONAL}}

_atoms = st.text("abc", max_size=2)
_sets = st.frozensets(_atoms, max_size=5)
_maps = st.dictionaries(_atoms, _atoms, max_size=5)


def _wire(value: Value) -> Any:
    """
    Write a value.
    """
    if isinstance(value, frozenset):
        elements = sorted(value, key=str)
        return elements[0] if len(elements) == 1 else ["set", elements]
    return ["map", [[key, each] for key, each in value.items()]]


class CombineTests(SynchronousTestCase):
    """
    Tests for L{combine}: the differences of ovsdb-server(7), section 4.1.14.
    """

    @given(_sets, _sets)
    def test_sets(self, old: Any, new: Any) -> None:
        """
        The difference of two sets leads from one to the other.
        """
        self.assertEqual(combine(old, difference(old, new, SET), SET), new)

    @given(_maps, _maps)
    def test_maps(self, old: Any, new: Any) -> None:
        """
        The difference of two maps leads from one to the other.
        """
        self.assertEqual(combine(old, difference(old, new, MAP), MAP), new)

    @given(_maps, _maps)
    def test_kept_keys(self, old: Any, new: Any) -> None:
        """
        It does so for the kept keys, too, if the others are left out from the start.
        """
        kept = Column({}, True, frozenset({"a", "ab"}))
        told = read_value(_wire(difference(old, new, MAP)), kept)
        expected = {key: value for key, value in new.items() if key in ("a", "ab")}
        before = read_value(_wire(old), kept)
        self.assertEqual(combine(before, told, kept), expected)

    def test_single_values(self) -> None:
        """
        What has one value, or one at most, is replaced.
        """
        for column in (TEXT, OPTIONAL):
            old: Value = frozenset({"a"})
            for new in (frozenset({"b"}), frozenset({"a"}), frozenset[str]()):
                self.assertEqual(combine(old, new, column), new)

    def test_given_differences(self) -> None:
        """
        Differences that a real server sent (Open vSwitch 3.1) are understood.
        """
        mac = frozenset({"00:00:5e:00:01:01", "fa:16:3e:00:00:01 10.0.0.5"})
        told = read_value(
            ["set", [*sorted(mac), "fa:16:3e:00:00:01 10.0.0.6"]],
            SET,
        )
        self.assertEqual(
            combine(mac, told, SET), frozenset({"fa:16:3e:00:00:01 10.0.0.6"})
        )
        ids: Value = {"k": "v", "k2": "v2"}
        told = read_value(["map", [["k", "v9"], ["k2", "v2"], ["k3", "v3"]]], MAP)
        self.assertEqual(combine(ids, told, MAP), {"k": "v9", "k3": "v3"})


class ValueTests(SynchronousTestCase):
    """
    Tests for L{read_value}.
    """

    def test_forms(self) -> None:
        """
        Atoms, sets, maps and UUIDs are read (RFC 7047 section 5.1).
        """
        one = ["uuid", uuid_of(1)]
        for wire, column, value in (
            ("x", SET, {"x"}),
            (["set", []], SET, set()),
            (["set", ["x", "y"]], SET, {"x", "y"}),
            (one, SET, {uuid_of(1)}),
            (["set", [one, one]], SET, {uuid_of(1)}),
            (7, TEXT, {7}),
            (True, TEXT, {True}),
            (["map", []], MAP, {}),
            (["map", [["a", "b"], ["c", one]]], MAP, {"a": "b", "c": uuid_of(1)}),
        ):
            self.assertEqual(read_value(wire, column), value)

    def test_garbled(self) -> None:
        """
        Whatever else it is is refused.
        """
        for wire, column in (
            (None, SET),
            ({}, SET),
            ([], SET),
            (["set"], SET),
            (["set", "x"], SET),
            (["set", [None]], SET),
            (["set", [["set", []]]], SET),
            (["uuid", ["x"]], SET),
            (["uuid", None], SET),
            (["map", []], SET),
            ("x", MAP),
            (["set", []], MAP),
            (["map", {}], MAP),
            (["map", ["ab"]], MAP),
            (["map", [["a"]]], MAP),
            (["map", [["a", "b", "c"]]], MAP),
            (["map", [["a", None]]], MAP),
            (["map", [[["map", []], "b"]]], MAP),
        ):
            self.assertRaises(Garbled, read_value, wire, column)


class ColumnsTests(SynchronousTestCase):
    """
    Tests for L{columns_of}.
    """

    def test_types(self) -> None:
        """
        Which columns hold one value, at most one, many, or a map is read.
        """
        wanted = {
            "Port_Binding": dict.fromkeys(
                ("logical_port", "datapath", "chassis", "mac", "external_ids", "new")
            ),
            "New_Table": {"x": None},
        }
        nobody = "00000000-0000-0000-0000-000000000000"
        self.assertEqual(
            columns_of(SCHEMA, wanted),
            {
                "Port_Binding": {
                    "logical_port": Column(frozenset({""}), False),
                    "datapath": Column(frozenset({nobody}), False),
                    "chassis": Column(frozenset(), False),
                    "mac": Column(frozenset(), True),
                    "external_ids": Column({}, True),
                }
            },
        )

    def test_garbled(self) -> None:
        """
        What is no schema is refused.
        """
        schemas: list[Any] = [
            None,
            {},
            {"tables": []},
            {"tables": {"T": []}},
            {"tables": {"T": {}}},
            {"tables": {"T": {"columns": {"c": []}}}},
            {"tables": {"T": {"columns": {"c": {"type": []}}}}},
            {"tables": {"T": {"columns": {"c": {"type": "odd"}}}}},
            {"tables": {"T": {"columns": {"c": {"type": {}}}}}},
            {"tables": {"T": {"columns": {"c": {"type": {"key": {"type": []}}}}}}},
        ]
        for schema in schemas:
            self.assertRaises(Garbled, columns_of, schema, {"T": {"c": None}})


class ReplicaTests(SynchronousTestCase):
    """
    Tests for L{Replica}.
    """

    def setUp(self) -> None:
        """
        Have one row.
        """
        self.replica = Replica(COLUMNS)
        self.replica.apply({"T": {"r": {"initial": {"one": "a", "set": "x"}}}})

    def test_rows(self) -> None:
        """
        Rows come with what is by default, change, are replaced and go.
        """
        rows = self.replica.rows["T"]
        row = {
            "one": frozenset({"a"}),
            "set": frozenset({"x"}),
            "map": {},
            "perhaps": frozenset(),
        }
        self.assertEqual(rows, {"r": row})
        changes = {"set": ["set", ["x", "y"]], "perhaps": "z", "other": 1}
        self.replica.apply({"T": {"r": {"modify": changes}}})
        self.assertEqual(
            rows["r"],
            {**row, "set": frozenset({"y"}), "perhaps": frozenset({"z"})},
        )
        self.replica.apply({"T": {"r": {"insert": {}}, "s": {"insert": {}}}})
        self.assertEqual(rows["r"]["one"], frozenset({""}))
        self.replica.apply({"T": {"r": {"delete": None}, "t": {"delete": None}}})
        self.assertEqual(list(rows), ["s"])

    def test_a_row_is_replaced(self) -> None:
        """
        A row that was looked at stays as it was, so that a new one can be told from it.
        """
        rows = self.replica.rows["T"]
        before, copy = rows["r"], dict(rows["r"])
        self.replica.apply({"T": {"r": {"modify": {"one": "b"}}}})
        self.assertEqual(before, copy)
        self.assertIsNot(rows["r"], before)

    def test_garbled(self) -> None:
        """
        Updates of unknown tables and rows, and such as are none, are refused.
        """
        garbage: list[Any] = [
            None,
            [],
            {"Other": {}},
            {"T": None},
            {"T": {"r": None}},
            {"T": {"r": {}}},
            {"T": {"r": {"modify": {}, "insert": {}}}},
            {"T": {"r": {"odd": {}}}},
            {"T": {"r": {"modify": None}}},
            {"T": {"r": {"insert": None}}},
            {"T": {"s": {"modify": {}}}},
            {"T": {"r": {"modify": {"map": "x"}}}},
        ]
        for updates in garbage:
            self.assertRaises(Garbled, self.replica.apply, updates)

    def test_too_many_rows(self) -> None:
        """
        A server that sends all there is, whatever was asked for, is stopped.
        """
        replica = Replica(COLUMNS, 3)
        replica.apply({"T": {str(number): {"insert": {}} for number in range(3)}})
        with self.assertRaises(Garbled):
            replica.apply({"T": {"more": {"insert": {}}}})

    @given(
        st.lists(
            st.tuples(st.sampled_from("rst"), st.none() | st.tuples(_sets, _maps)),
            max_size=12,
        )
    )
    def test_any_history(self, history: list[Any]) -> None:
        """
        After any history of a table the replica has the rows that the table has.
        """
        replica, truth = Replica(COLUMNS), dict[str, Any]()
        for uuid, row in history:
            if row is None:
                change: Any = {"delete": None}
                truth.pop(uuid, None)
            else:
                many, pairs = row
                old = truth.get(uuid)
                if old is None:
                    told = {"set": many, "map": pairs}
                    change = {"insert": {k: _wire(v) for k, v in told.items()}}
                else:
                    told = {
                        "set": difference(old[0], many, SET),
                        "map": difference(old[1], pairs, MAP),
                    }
                    change = {"modify": {k: _wire(v) for k, v in told.items()}}
                truth[uuid] = row
            replica.apply({"T": {uuid: change}})
        found = {
            uuid: (row["set"], row["map"]) for uuid, row in replica.rows["T"].items()
        }
        self.assertEqual(found, truth)

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | _atoms
            | st.sampled_from(["set", "map", "uuid"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["T", "r", "modify", "insert", "set", "map"]),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=10,
        )
    )
    def test_any_update(self, updates: Any) -> None:
        """
        Any JSON is either an update or garbled, and nothing else goes wrong.
        """
        with contextlib.suppress(Garbled):
            self.replica.apply(updates)
