# -*- test-case-name: tests.test_introspection_openapi -*-
"""
What the answers of the operator's API look like (JSON Schema 2020-12); no part of the
running service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]


def _maybe(schema: Schema) -> Schema:
    """
    Allow nothing, too.
    """
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: Schema, text: str | None = None) -> Schema:
    """
    Describe a list.
    """
    return _about({"type": "array", "items": schema}, text)


def _about(schema: Schema, text: str | None) -> Schema:
    """
    Say what something is.
    """
    return schema if text is None else {**schema, "description": text}


def _map(schema: Schema, text: str | None = None) -> Schema:
    """
    Describe values by names that are not known beforehand.
    """
    return _about({"type": "object", "additionalProperties": schema}, text)


def _object(**properties: Schema) -> Schema:
    """
    Describe an object that has all of some properties, and perhaps more.
    """
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _ref(name: str) -> Schema:
    """
    Refer to a shape by its name.
    """
    return {"$ref": f"#/components/schemas/{name}"}


def _one_of(*values: Any) -> Schema:
    """
    Describe one of some values.
    """
    return {"enum": list(values)}


_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_NUMBER: Final[Schema] = {"type": "number"}
_BOOLEAN: Final[Schema] = {"type": "boolean"}
_ANYTHING: Final[Schema] = {"type": "object"}
_TEXTS: Final = _list(_TEXT)
_KIND: Final = _one_of("device", "namespaces", "address", "socket")
_STATE: Final = _one_of("starting", "live", "stale", "failed")
_VERDICT: Final = _one_of("allowed", "refused")
_SECONDS: Final = {**_NUMBER, "description": "Seconds."}
_TIME: Final = {**_NUMBER, "description": "Seconds since the epoch."}
_MAC: Final = _maybe({"type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$"})


def _page(item: str) -> Schema:
    """
    Describe a page of a list that tells its length.
    """
    return _object(
        items=_list(_ref(item)),
        total=_about(_COUNT, "How many there are on all pages."),
        next=_about(_maybe(_TEXT), "What to ask `after` for more; null: no more."),
    )


_SOURCE: Final = {
    "name": _TEXT,
    "kind": _TEXT,
    "state": _STATE,
    "problem": _maybe(_TEXT),
    "age": _about(_maybe(_NUMBER), "How many seconds ago it last heard something."),
}

#: By name.
SHAPES: Final[Mapping[str, Schema]] = {
    "Error": _object(
        error=_about(_TEXT, "A sentence."),
        parameter=_about(_maybe(_TEXT), "The parameter that is to blame."),
    ),
    "Liveness": _object(live=_one_of(True)),
    "Readiness": _object(
        ready=_BOOLEAN,
        reasons=_list(_TEXT, "A sentence for each thing that is in the way."),
        checks=_ref("Findings"),
    ),
    "Finding": _object(
        name=_TEXT,
        verdict=_one_of("ok", "note", "wrong"),
        text=_TEXT,
        advice=_about(_TEXT, "What to do; empty: nothing."),
    ),
    "Findings": _list(_ref("Finding")),
    "Status": _object(
        version=_TEXT,
        since=_TIME,
        now=_TIME,
        ready=_ref("Readiness"),
        configuration=_ANYTHING,
        listeners=_list(_object(name=_TEXT, problem=_maybe(_TEXT))),
        sources=_list(
            _object(name=_TEXT, kind=_TEXT, state=_STATE, problem=_maybe(_TEXT))
        ),
        lookup=_ANYTHING,
        upstream=_object(
            endpoints=_list(_object(host=_TEXT, port=_COUNT, up=_BOOLEAN))
        ),
        proxy=_object(counts=_map(_COUNT)),
        front=_object(connections=_COUNT, refused=_map(_COUNT)),
        checks=_object(secret=_one_of("right", "wrong", "mangled", "unknown")),
        transactions=_object(
            tally=_list(
                _object(kind=_KIND, status=_COUNT, outcome=_TEXT, count=_COUNT)
            ),
            refusals=_list(_object(kind=_KIND, reason=_TEXT, count=_COUNT)),
            median=_maybe(_NUMBER),
            p99=_maybe(_NUMBER),
        ),
        operators=_map(_ANYTHING),
    ),
    "Listener": _object(
        name=_about(_TEXT, "Its name in the configuration."),
        kind=_KIND,
        identify_by=_one_of("mac", "lease", "address"),
        open=_about(_BOOLEAN, "Whether it can be asked now."),
        problem=_maybe(_TEXT),
    ),
    "Port": _object(
        network=_TEXT,
        mac=_MAC,
        instance=_TEXT,
        project=_TEXT,
        addresses=_about(_maybe(_TEXTS), "Null: the inventory does not know."),
        pairs=_TEXTS,
        inventory=_TEXT,
        port=_maybe(_TEXT),
        device=_maybe(_TEXT),
        parent=_maybe(_TEXT),
    ),
    "Lease": _object(
        network=_TEXT,
        address=_TEXT,
        mac=_MAC,
        expires=_about(_maybe(_NUMBER), "Seconds since the epoch; null: never."),
        hostname=_about(_maybe(_TEXT), "What the client calls itself."),
    ),
    "SeenLease": _object(
        network=_TEXT,
        address=_TEXT,
        mac=_MAC,
        expires=_maybe(_NUMBER),
        hostname=_maybe(_TEXT),
        ends_in=_about(_maybe(_NUMBER), "Seconds; below 0: it has ended."),
        in_force=_BOOLEAN,
    ),
    "Neighbour": _object(network=_TEXT, address=_TEXT, mac=_MAC),
    "SeenNeighbour": _object(
        mac=_MAC,
        state=_about(_maybe(_TEXT), "As `ip neighbour` says; null: no entry."),
        turns=_list(
            _object(age=_SECONDS, **{"from": _MAC}),
            "When it changed from one MAC to another, and from which.",
        ),
    ),
    "Source": _object(
        **_SOURCE,
        knows=_about(_BOOLEAN, "Whether it can know this network at all."),
        in_doubt=_about(_BOOLEAN, "Whether it may not know all of it now."),
    ),
    "Candidate": _object(
        address=_TEXT,
        network=_about(_TEXT, "The link."),
        called=_about(_TEXT, "What inventories call its network."),
        listener=_ref("Listener"),
        bound=_about(_TEXT, "What tells its callers from others with the address."),
        verdict=_VERDICT,
        row=_about(_COUNT, "The row of the decision table."),
        rule=_about(_TEXT, "That row, in a sentence."),
        reason=_TEXT,
        doubtful=_about(_BOOLEAN, "Whether the refusal proves nothing (503)."),
        sentence=_about(_TEXT, "What it means and what to do."),
        supposed=_about(
            _maybe(_object(verdict=_VERDICT, row=_COUNT, reason=_TEXT, mac=_MAC)),
            "What the verdict would be if the one asked whose address it is, where "
            "nothing was heard of him lately; null: something was, or it is nobody's.",
        ),
        mac=_MAC,
        mac_from=_one_of("neighbour", None),
        port=_maybe(_ref("Port")),
        neighbour=_ref("SeenNeighbour"),
        lease=_maybe(_ref("SeenLease")),
        facts=_object(
            neighbour=_MAC,
            turned=_BOOLEAN,
            lease=_maybe(_ref("Lease")),
            ports_by_mac=_list(_ref("Port")),
            ports_by_address=_list(_ref("Port")),
            bridge_port=_maybe(_TEXT),
        ),
        inventories=_list(_ref("Source")),
        lease_sources=_list(_ref("Source")),
        lately=_about(_maybe(_TEXT), "What came of its latest request."),
        last=_list(_ref("Transaction")),
    ),
    "Why": _object(
        address=_TEXT,
        network=_maybe(_TEXT),
        total=_about(_COUNT, "On how many links it may be."),
        sentence=_TEXT,
        candidates=_list(
            _ref("Candidate"), "Some of these links, the likeliest first."
        ),
        last=_list(_ref("Transaction"), "Its latest requests, wherever they came in."),
    ),
    "Network": _object(
        network=_about(_TEXT, "The link."),
        called=_about(_TEXT, "What inventories call it."),
        nameless=_about(_BOOLEAN, "Whether nobody has told yet what it is called."),
        listener=_ref("Listener"),
        bound=_TEXT,
        ports=_COUNT,
        leases=_COUNT,
        neighbours=_COUNT,
    ),
    "Networks": _page("Network"),
    "Instance": _object(
        instance=_TEXT,
        project=_TEXT,
        networks=_TEXTS,
        macs=_TEXTS,
        addresses=_TEXTS,
        hostnames=_TEXTS,
        inventories=_TEXTS,
    ),
    "Instances": _page("Instance"),
    "Story": _object(
        instance=_TEXT,
        project=_maybe(_TEXT),
        ports=_list(_ref("Port")),
        leases=_list(_ref("Lease")),
        neighbours=_list(
            _object(
                network=_TEXT,
                called=_TEXT,
                address=_TEXT,
                mac=_MAC,
                state=_maybe(_TEXT),
            )
        ),
        candidates=_list(_ref("Candidate")),
        transactions=_list(_ref("Transaction")),
        steps=_list(_ref("Step")),
    ),
    "Transaction": _object(
        request_id=_about(_TEXT, "As Nova's side sees it in X-Openstack-Request-Id."),
        number=_COUNT,
        at=_TIME,
        seconds=_SECONDS,
        lookup_seconds=_SECONDS,
        upstream_seconds=_SECONDS,
        kind=_KIND,
        network=_TEXT,
        address=_TEXT,
        mac=_MAC,
        instance=_maybe(_TEXT),
        project=_maybe(_TEXT),
        verdict=_maybe(_VERDICT),
        row=_maybe(_COUNT),
        reason=_maybe(_TEXT),
        method=_TEXT,
        target=_TEXT,
        status=_about(_COUNT, "0: nothing was sent."),
        tries=_COUNT,
        outcome=_about(_TEXT, "`relayed`, or what came between."),
    ),
    "Transactions": _object(
        items=_list(_ref("Transaction")),
        next=_about(_maybe(_COUNT), "What to ask `before` for more; null: no more."),
    ),
    "Step": _object(
        request_id=_TEXT,
        at=_TIME,
        network=_TEXT,
        address=_TEXT,
        mac=_MAC,
        instance=_maybe(_TEXT),
        step=_TEXT,
    ),
    "Watched": _object(watched=_map(_NUMBER, "For how many more seconds, by whom.")),
    "Steps": _object(watched=_map(_NUMBER), steps=_list(_ref("Step"))),
    "Cleared": _object(cleared=_one_of(True)),
    "Sample": _object(
        at=_TIME,
        requests=_about(_NUMBER, "How many a second."),
        refused=_about(_NUMBER, "How many a second."),
        failed=_about(_NUMBER, "How many a second."),
        median=_maybe(_NUMBER),
        p99=_maybe(_NUMBER),
        upstream_median=_maybe(_NUMBER),
        in_flight=_NUMBER,
        lag=_maybe(_NUMBER),
    ),
    "History": _object(step=_SECONDS, samples=_list(_ref("Sample"))),
    "Facts": _object(
        ports=_list(_ref("Port")),
        leases=_list(_ref("Lease")),
        neighbours=_list(_ref("Neighbour")),
        total=_object(ports=_COUNT, leases=_COUNT, neighbours=_COUNT),
    ),
}
