"""
Tests for L{mdproxy.introspection.openapi}, L{mdproxy.introspection.shapes} and
C{openapi.json}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from mdproxy.introspection.api import OPERATIONS
from mdproxy.introspection.openapi import document
from mdproxy.introspection.shapes import SHAPES
from mdproxy.model import Identity
from tests.operated import ADDRESS, B, a_port
from tests.test_introspection_api import ApiTestCase

#: What a part says of itself beyond what the schema promises.
_OPEN = frozenset({"configuration", "listeners", "sources", "lookup", "upstream"})


class DocumentTests(ApiTestCase):
    """
    What is described is what there is.
    """

    def setUp(self) -> None:
        """
        Have something of everything.
        """
        super().setUp()
        self.host.lease(B, 60.0, "vm-a")
        self.host.see(B, "10.0.0.9")
        self.host.ask(B, "10.0.0.9", status=404)
        verdict = self.host.ask()
        assert isinstance(verdict, Identity)
        self.host.view.watch("i-a", 60)
        self.host.steps.note(1, verdict.evidence.caller, verdict, "asks Nova")
        self.host.see(B)
        self.host.know(a_port("i-b", "fa:16:3e:00:00:0c"))

    def test_file(self) -> None:
        """
        The file is made of the table, and it is what is served.
        """
        written = files("mdproxy.introspection").joinpath("openapi.json").read_text()
        self.assertEqual(json.loads(written), json.loads(json.dumps(document())))
        self.assertEqual(self.read("/api/v1/openapi.json"), document())

    def test_paths(self) -> None:
        """
        Every path of the table is described with its parameters, and no other but the
        live tail and the description itself.
        """
        paths = document()["paths"]
        others = {"/api/v1/transactions/live", "/api/v1/openapi.json"}
        self.assertEqual(set(paths) - others, {each.path for each in OPERATIONS})
        self.assertLess(others, set(paths))
        for operation in OPERATIONS:
            described = paths[operation.path][operation.method.lower()]
            names = [
                each["name"]
                for each in described["parameters"]
                if each["in"] == "query"
            ]
            if operation.method == "GET":
                self.assertEqual(names, [each.name for each in operation.parameters])

    def test_answers(self) -> None:
        """
        Every answer is as its shape says: all that is promised is there, and nothing
        that is not told of.
        """
        seen = set()
        for target in (
            *("status", f"why?address={ADDRESS}", "why?address=10.0.0.9", "networks"),
            *("instances", "instances/i-a", "transactions", "steps", "history"),
            *("checks", "facts"),
        ):
            path = "/api/v1/" + target.partition("?")[0]
            path = path.replace("i-a", "{instance}")
            said = self.read(f"/api/v1/{target}")
            (shape,) = (each.shape for each in OPERATIONS if each.path == path)
            faults = list(faults_of(said, {"$ref": f"/{shape}"}, target))
            self.assertEqual(faults, [])
            seen.add(shape)
        ready = self.read("/readyz")
        self.assertEqual(list(faults_of(ready, {"$ref": "/Readiness"}, "readyz")), [])
        self.assertGreater(len(seen), 9)

    def test_errors(self) -> None:
        """
        Refusals are as their shape says, too.
        """
        said = self.read("/api/v1/why", 400)
        self.assertEqual(list(faults_of(said, {"$ref": "/Error"}, "error")), [])

    def test_judge(self) -> None:
        """
        What is not as a shape says is found: the test above can fail.
        """
        good = self.host.view.networks()["items"][0]
        shape = {"$ref": "/Network"}
        self.assertEqual(list(faults_of(good, shape, "")), [])
        without = {name: value for name, value in good.items() if name != "ports"}
        for bad in (
            without,
            {**good, "more": 1},
            {**good, "ports": "1"},
            {**good, "ports": -1},
            {**good, "nameless": None},
            {**good, "listener": {**good["listener"], "kind": "other"}},
            [good],
        ):
            self.assertNotEqual(list(faults_of(bad, shape, "")), [])

    def test_words(self) -> None:
        """
        Each operation and each parameter says what it is for.
        """
        for operation in OPERATIONS:
            self.assertTrue(operation.text.endswith("."), operation.path)
            for parameter in operation.parameters:
                self.assertTrue(parameter.text.endswith("."), parameter.name)


def faults_of(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    """
    Compare a value with a schema, as far as ours go; what a schema does not name is a
    fault where it names anything.
    """
    if "$ref" in schema:
        schema = SHAPES[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        every = [list(faults_of(value, each, where)) for each in schema["anyOf"]]
        yield from every[0] if all(every) else ()
    elif "enum" in schema:
        if value not in schema["enum"]:
            yield f"{where}: {value!r} is none of {schema['enum']}"
    elif not _is_a(value, schema["type"]):
        yield f"{where}: {value!r} is no {schema['type']}"
    else:
        yield from _faults_within(value, schema, where)


def _faults_within(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    """
    Compare a value of the right kind with a schema.
    """
    if schema["type"] == "array":
        for number, each in enumerate(value):
            yield from faults_of(each, schema["items"], f"{where}[{number}]")
    elif schema["type"] == "object":
        yield from _faults_of_object(value, schema, where)
    elif "minimum" in schema and value < schema["minimum"]:
        yield f"{where}: {value!r} is too small"


def _is_a(value: Any, kind: str) -> bool:
    """
    Tell whether a value is of a kind.
    """
    kinds: Mapping[str, Any] = {
        "array": list,
        "object": dict,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, kinds[kind])


def _faults_of_object(
    value: Mapping[str, Any], schema: Mapping[str, Any], where: str
) -> Iterator[str]:
    """
    Compare an object with a schema.
    """
    if "additionalProperties" in schema:
        for name, each in value.items():
            yield from faults_of(
                each, schema["additionalProperties"], f"{where}.{name}"
            )
        return
    properties = schema.get("properties", {})
    for name in properties.keys() - value.keys():
        yield f"{where}.{name} is missing"
    is_open = any(f".{name}" in f".{where}" for name in _OPEN) or not properties
    for name, each in value.items():
        if name in properties:
            yield from faults_of(each, properties[name], f"{where}.{name}")
        elif not is_open:
            yield f"{where}.{name} is told of nowhere"
