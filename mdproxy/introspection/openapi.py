# -*- test-case-name: tests.test_introspection_openapi -*-
"""
The description of the operator's API (OpenAPI 3.1), made of its table.

It is no part of the running service, which serves the file C{openapi.json} beside it.
After a change of the table make that file anew::

    python -m mdproxy.introspection.openapi > mdproxy/introspection/openapi.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mdproxy.introspection.api import FILTERS, OPERATIONS, Operation
from mdproxy.introspection.parameters import ID, Parameter
from mdproxy.introspection.shapes import SHAPES

_VERSION: Final = "1"

_ABOUT: Final = (
    "What mdproxy tells its operator. Everything is computed when it is asked for, and "
    "bounded in size. Times are seconds since the epoch, durations seconds. Names in "
    "leases and targets of requests come from outside: show them as text. Within "
    "version 1 nothing is taken away and nothing changes its meaning; what is added "
    "has a new name. A POST needs the field `X-Mdproxy: 1`, unless it comes from "
    "mdproxy's own pages."
)

_LIVE: Final = (
    "Requests as they end, as server-sent events: `transaction` (its id is the "
    "request's, its data a Transaction), and `missed` where some were left out. With "
    "`Last-Event-ID` it goes on after that request. A comment every 15 seconds shows "
    "that the connection is alive."
)

#: What is to be said of the texts of a kind.
_KINDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "text": {},
    "id": {"pattern": f"^({ID})?$"},
    "address": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
}

#: What the site itself says to what it does not want: plain text.
_SITE: Final = {
    "403": "Sent from another site's page.",
    "405": "Another method.",
    "421": "Sent to a name that is not this site's.",
}

_STATUSES: Final = {
    200: "Well.",
    404: "There is no such thing.",
    409: "Not at this moment.",
    503: "Not ready; or too many ask already.",
}


def document() -> dict[str, Any]:
    """
    Make the description.
    """
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths[operation.path] = {operation.method.lower(): _operation(operation)}
    paths["/api/v1/transactions/live"] = {"get": _live()}
    paths["/api/v1/openapi.json"] = {
        "get": _described(
            "openapi", "This description.", {"200": _json(200, {"type": "object"})}
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mdproxy",
            "version": _VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": dict(SHAPES)},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    """
    Describe an operation.
    """
    name = operation.path.rpartition("v1/")[2].strip("/").replace("/{instance}", "_of")
    shape = {"$ref": f"#/components/schemas/{operation.shape}"}
    responses = {
        str(status): _json(status, _shape_of(status, shape))
        for status in operation.statuses
    }
    described = _described(name, operation.text, responses)
    if operation.method == "POST":
        described["requestBody"] = _body(operation)
        described["parameters"] = [
            {
                "name": "X-Mdproxy",
                "in": "header",
                "required": True,
                "description": "Shows that no other site's page sends it.",
                "schema": {"const": "1"},
            }
        ]
        responses["413"] = _text("The body is too long.")
        responses["415"] = _text("A body has to be a form or JSON.")
    else:
        described["parameters"] = [_parameter(each) for each in operation.parameters]
    if "{instance}" in operation.path:
        described["parameters"].append(
            {
                "name": "instance",
                "in": "path",
                "required": True,
                "description": "The instance's id.",
                "schema": {"type": "string", "pattern": f"^{ID}$", "maxLength": 255},
            }
        )
    return described


def _live() -> dict[str, Any]:
    """
    Describe the live tail.
    """
    described = _described(
        "live",
        _LIVE,
        {
            "200": {
                "description": _STATUSES[200],
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            "503": _json(503, {"$ref": "#/components/schemas/Error"}),
        },
    )
    described["parameters"] = [_parameter(each) for each in FILTERS]
    described["parameters"].append(
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The id of the last event that was heard.",
            "schema": {"type": "string"},
        }
    )
    return described


def _described(name: str, text: str, responses: dict[str, Any]) -> dict[str, Any]:
    """
    Describe what every operation has.

    @param responses: What is added to: the answers that all have.
    """
    error = {"$ref": "#/components/schemas/Error"}
    responses["400"] = _json_or_text("It can't be asked so.", error)
    responses.update({status: _text(text) for status, text in _SITE.items()})
    return {"operationId": name, "summary": text, "responses": responses}


def _shape_of(status: int, shape: Mapping[str, Any]) -> Mapping[str, Any]:
    """
    Tell what an answer with a status looks like.
    """
    if status in (200, 503):
        return shape
    return {"$ref": "#/components/schemas/Error"}


def _json(status: int, schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    Describe an answer in JSON.
    """
    content = {"application/json": {"schema": schema}}
    return {"description": _STATUSES[status], "content": content}


def _text(text: str) -> dict[str, Any]:
    """
    Describe an answer in plain text.
    """
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"description": text, "content": content}


def _json_or_text(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """
    Describe an answer of the API's or of the site's.
    """
    said = _text(text)
    said["content"]["application/json"] = {"schema": schema}
    return said


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """
    Describe a parameter of a query.
    """
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.text,
        "schema": _schema(parameter),
    }


def _schema(parameter: Parameter) -> dict[str, Any]:
    """
    Describe a parameter's values.
    """
    if parameter.is_text:
        schema: dict[str, Any] = {"type": "string", "maxLength": parameter.most}
        if parameter.least or parameter.required:
            schema["minLength"] = max(1, parameter.least)
        schema.update(_KINDS[parameter.kind])
        if parameter.kind == "address" and not parameter.required:
            # An empty one is none.
            schema["anyOf"] = [*schema["anyOf"], {"maxLength": 0}]
    else:
        schema = {
            "type": parameter.kind,
            "minimum": parameter.least,
            "maximum": parameter.most,
        }
    if parameter.default not in (None, ""):
        schema["default"] = parameter.default
    return schema


def _body(operation: Operation) -> dict[str, Any]:
    """
    Describe the body of a POST.
    """
    required = [each.name for each in operation.parameters if each.required]
    schema = {
        "type": "object",
        "properties": {
            each.name: {"description": each.text, **_schema(each)}
            for each in operation.parameters
        },
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    types = ("application/x-www-form-urlencoded", "application/json")
    return {
        "required": bool(required),
        "content": {each: {"schema": schema} for each in types},
    }


if __name__ == "__main__":
    print(json.dumps(document(), indent=1))
