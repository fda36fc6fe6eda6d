# -*- test-case-name: tests.test_http_parsing -*-
"""
Rules of HTTP/1.1 that requests and responses share, as far as llhttp leaves them to us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

#: What ends a head, a chunked body, and trailers.
END: Final = b"\r\n\r\n"

#: The most fields of a request; a response may have twice as many.
MAX_FIELDS: Final = 100

#: A field name is a token (RFC 9110 section 5.6.2).
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")

#: A field value: no control bytes but the tab (RFC 9110 section 5.5).
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")

_LENGTH = re.compile(rb"[0-9]{1,15}\Z")


def is_field(name: bytes, value: bytes) -> bool:
    """
    Tell whether a field holds only what it may.
    """
    return _TOKEN.match(name) is not None and _VALUE.match(value) is not None


def is_text(value: bytes) -> bool:
    """
    Tell whether a field's value, or a reason phrase, holds only what it may.
    """
    return _VALUE.match(value) is not None


def is_length(value: bytes) -> bool:
    """
    Tell whether a Content-Length is a number, and one that makes sense.
    """
    return _LENGTH.match(value) is not None


def trim(name: bytes, value: bytes) -> bytes:
    """
    Take off the white space that llhttp leaves behind a value (RFC 9112 section 5.1).

    Behind a coding llhttp itself passes over spaces, but no tab: what it does not see
    must not be seen here.
    """
    coding = name.lower() == b"transfer-encoding"
    return value.rstrip(b" " if coding else b" \t")


def says_close(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """
    Tell whether fields say that the connection ends: llhttp 9.1 overlooks it where a
    tab follows.
    """
    return any(
        word.strip(b" \t").lower() == b"close"
        for name, value in fields
        if name.lower() == b"connection"
        for word in value.split(b",")
    )
