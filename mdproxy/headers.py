# -*- test-case-name: tests.test_headers -*-
"""
Which header fields pass, in both directions.

Towards Nova this is an allow-list: a field that is not named here stays behind, so no
spelling of an identity field can pass (facts: uwsgi and cheroot fold C{X_Instance_ID}
into C{X-Instance-ID}).  Towards the instance the fields that concern only our own
connection with Nova are taken out (RFC 9110 section 7.6.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import field, frozen

from mdproxy.model import Identity, Request, ResponseHead
from mdproxy.signing import Signer

Fields = Iterable[tuple[bytes, bytes]]

#: Request fields that reach Nova, by lower-case name.
PASSED = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"user-agent",
        b"content-type",
        b"range",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"if-range",
    }
)

#: The longest value that is passed on; a longer one stays behind.
MAX_VALUE = 1024

#: Printable ASCII and the space: what a passed value may hold.
_PRINTABLE = re.compile(rb"[\x20-\x7e]*\Z")

#: Methods whose requests may carry a body (RFC 9110 section 9.3), so that Nova is
#: always told a length: it answers 500 without one.
_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})

#: Response fields that concern one connection only.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
    }
)


@frozen
class IdentityFields:
    """
    The fields by which Nova knows the instance, ready for the wire.

    They are made once for an identity and dropped with it.

    @ivar wire: Four header lines.
    """

    wire: bytes = field(repr=False)


def identity_fields(identity: Identity, signer: Signer) -> IdentityFields:
    """
    Make the fields that Nova trusts.

    @param identity: Whom the lookup recognised.
    @param signer: The holder of the secret.

    @return: X-Instance-ID, X-Tenant-ID, X-Instance-ID-Signature, and as
        X-Forwarded-For exactly the peer's address.
    """
    port = identity.port
    return IdentityFields(
        (
            f"X-Forwarded-For: {identity.evidence.caller.address}\r\n"
            f"X-Instance-ID: {port.instance_id}\r\n"
            f"X-Tenant-ID: {port.project_id}\r\n"
            f"X-Instance-ID-Signature: {signer.sign(port.instance_id)}\r\n"
        ).encode("ascii")
    )


def for_nova(request: Request, fields: IdentityFields) -> bytes:
    """
    Write the request that goes to Nova, all but its Host.

    @param request: What the instance asked.
    @param fields: Who it is.

    @return: The request line and header lines, each with its end, without the empty
        line, for the endpoint adds its own Host (L{finish}).
    """
    lines = [request.method, b" ", request.target, b" HTTP/1.1\r\n"]
    for name, value in request.headers:
        if (
            name in PASSED
            and len(value) <= MAX_VALUE
            and _PRINTABLE.match(value) is not None
        ):
            lines += (name, b": ", value, b"\r\n")
    lines.append(fields.wire)
    if request.body is not None or request.method in _WITH_BODY:
        lines.append(b"Content-Length: %d\r\n" % len(request.body or b""))
    return b"".join(lines)


def finish(head: bytes, host: bytes, body: bytes | None) -> bytes:
    """
    Address a written request to an endpoint.

    @param head: What L{for_nova} wrote.
    @param host: The endpoint's host, and port where it isn't the scheme's own.
    @param body: The request's body.

    @return: The whole request.
    """
    return b"".join((head, b"Host: ", host, b"\r\n\r\n", body or b""))


def for_instance(head: ResponseHead) -> tuple[tuple[bytes, bytes], ...]:
    """
    Choose the response fields that reach the instance.

    @param head: What Nova answered.

    @return: The fields in Nova's order, without those of its connection with us
        (and those that its Connection field names) and without framing: whoever
        writes the response frames it.
    """
    nominated = {
        word.strip().lower()
        for name, value in head.headers
        if name.lower() == b"connection"
        for word in value.split(b",")
    }
    return tuple(
        (name, value)
        for name, value in head.headers
        if name.lower() not in _HOP_BY_HOP and name.lower() not in nominated
    )
