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
from functools import lru_cache
from typing import Final

from attrs import field, frozen

from mdproxy.model import Port, Request
from mdproxy.signing import Signer

#: Header fields in order, each a name and a value.
Fields = tuple[tuple[bytes, bytes], ...]

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

#: Of how many sets of request fields it is remembered what passes: whoever asks asks
#: with the same fields each time.
_REMEMBERED: Final = 128


@frozen
class IdentityFields:
    """
    The fields by which Nova knows the instance, ready for the wire.

    They are made once for an identity and dropped with it.

    @ivar wire: Four header lines.
    """

    wire: bytes = field(repr=False)


def identity_fields(port: Port, address: str, signer: Signer) -> IdentityFields:
    """
    Make the fields that Nova trusts.

    @param port: The port that the lookup recognised.
    @param address: The peer's address.
    @param signer: The holder of the secret.

    @return: X-Instance-ID, X-Tenant-ID, X-Instance-ID-Signature, and as
        X-Forwarded-For exactly the peer's address.
    """
    return IdentityFields(
        (
            f"X-Forwarded-For: {address}\r\n"
            f"X-Instance-ID: {port.instance_id}\r\n"
            f"X-Tenant-ID: {port.project_id}\r\n"
            f"X-Instance-ID-Signature: {signer.sign(port.instance_id)}\r\n"
        ).encode("ascii")
    )


def for_nova(request: Request, fields: IdentityFields, name: bytes = b"") -> bytes:
    """
    Write the request that goes to Nova, all but its Host.

    @param request: What the instance asked.
    @param fields: Who it is.
    @param name: The header line that names the request
        (L{RequestIds.field_of<mdproxy.transactions.RequestIds.field_of>}).

    @return: The request line and header lines, each with its end, without the empty
        line, for the endpoint adds its own Host (L{host_line}).
    """
    head = b"%b %b HTTP/1.1\r\n%b%b%b" % (
        request.method,
        request.target,
        _passed(request.headers),
        fields.wire,
        name,
    )
    if request.body is None and request.method not in _WITH_BODY:
        return head
    return b"%bContent-Length: %d\r\n" % (head, len(request.body or b""))


@lru_cache(_REMEMBERED)
def _passed(headers: Fields) -> bytes:
    """
    Write the lines of those fields that pass.
    """
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, value in headers
        if name in PASSED
        and len(value) <= MAX_VALUE
        and _PRINTABLE.match(value) is not None
    )


def host_line(host: bytes) -> bytes:
    """
    Write what ends the head of every request to an endpoint.

    @param host: The endpoint's host, and port where it isn't the scheme's own.

    @return: The Host field and the empty line, to follow what L{for_nova} wrote.
    """
    return b"Host: %b\r\n\r\n" % host


def for_instance(headers: Fields) -> bytes:
    """
    Choose the response fields that reach the instance.

    @param headers: What Nova answered, names as they stood on the wire.

    @return: The header lines in Nova's order, without those of its connection with us
        (and those that its Connection field names) and without framing: whoever
        writes the response frames it.
    """
    named = [(name.lower(), name, value) for name, value in headers]
    dropped = _HOP_BY_HOP
    for lower, _name, value in named:
        if lower == b"connection":
            dropped = dropped | {word.strip().lower() for word in value.split(b",")}
    return b"".join(
        [
            b"%b: %b\r\n" % (name, value)
            for lower, name, value in named
            if lower not in dropped
        ]
    )
