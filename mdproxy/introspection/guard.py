# -*- test-case-name: tests.test_introspection_guard -*-
"""
Who may ask the operator's site for what: pure.

The operator's browser also shows other people's pages, and these can send requests
to loopback.  What keeps them out:

  - B{DNS rebinding} (a name of theirs that suddenly means 127.0.0.1): the Host field
    has to name this site, by C{localhost}, by an address, or by a name that the
    operator allowed.  An address can't be rebound.  The port does not matter, for it
    differs where the operator comes through a tunnel (C{ssh -L}).
  - B{Requests across sites}: what changes anything is POST.  A browser says who made it
    (C{Origin}, RFC 6454 section 7; C{Sec-Fetch-Site}, W3C Fetch Metadata), and that has
    to be this very site.  Whatever says neither is no browser; it has to send
    C{X-Mdproxy: 1}, which no page can send elsewhere without being allowed to.
  - B{Embedding}: reading from another site's page is refused too, unless somebody
    followed a link.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from attrs import frozen

from mdproxy.model import Malformed, canonical_address

#: Goes with every answer, whatever it is.
FIELDS: Final[Mapping[bytes, bytes]] = {
    b"content-security-policy": (
        b"default-src 'none'; style-src 'self'; script-src 'self'; "
        b"connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
        b"form-action 'self'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    # With "no-referrer" a browser hides the origin of our own forms from us, too
    # (Fetch, "append a request Origin header"); to others this one tells no more.
    b"referrer-policy": b"same-origin",
    b"cache-control": b"no-store",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}

#: What instances ask.  An endpoint on every address of the host is at these, too.
OF_INSTANCES: Final = frozenset({"169.254.169.254", "fe80::a9fe:a9fe"})

#: How long a body may be, in bytes.
MOST_BODY: Final = 16 * 1024

#: What a body may be.
_TYPES: Final = (b"application/json", b"application/x-www-form-urlencoded")

#: A Host field (RFC 9110 section 7.2): a name or an address, perhaps with a port.
_HOST: Final = re.compile(
    rb"(?P<name>\[[0-9a-f:.]{2,45}\]|[0-9a-z._-]{1,253})(?P<port>:[0-9]{1,5})?\Z"
)


@frozen
class Asked:
    """
    What is known of a request before anything looks for an answer.

    @ivar method: The method.
    @ivar target: The request target.
    @ivar hosts: Every Host field.
    @ivar local: The address that it came to; C{None}: a UNIX socket.
    @ivar secure: Whether it came by TLS.
    @ivar origins: Every Origin field.
    @ivar sites: Every Sec-Fetch-Site field.
    @ivar modes: Every Sec-Fetch-Mode field.
    @ivar marks: Every X-Mdproxy field.
    @ivar types: Every Content-Type field.
    @ivar length: The length of its body, in bytes; more than L{MOST_BODY} where it
        does not say how long it is.
    """

    method: bytes = b"GET"
    target: bytes = b"/"
    hosts: Sequence[bytes] = ()
    local: str | None = None
    secure: bool = False
    origins: Sequence[bytes] = ()
    sites: Sequence[bytes] = ()
    modes: Sequence[bytes] = ()
    marks: Sequence[bytes] = ()
    types: Sequence[bytes] = ()
    length: int = 0


@frozen
class Refused:
    """
    Why a request gets no answer; nothing that came with the request is in it.

    @ivar status: The status.
    @ivar text: A sentence for who asked.
    @ivar allow: The Allow field, if there has to be one.
    """

    status: int
    text: str
    allow: bytes = b""


def other_method(allowed: Sequence[bytes]) -> Refused:
    """
    Refuse a method, and name those that are not refused (RFC 9110 section 15.5.6).
    """
    methods = b", ".join(allowed)
    return Refused(405, f"This page has {methods.decode()} only.", methods)


_BAD_TARGET = Refused(400, "The request target has to be a path.")
_BAD_HOST = Refused(400, "The request has to have one Host field.")
_OTHER_HOST = Refused(
    421,
    "This is not a name of this site: ask localhost or an address, or allow the name "
    "([introspection] allowed_hosts).",
)
_OTHER_METHOD = other_method([b"GET", b"HEAD", b"POST"])
_OTHER_SITE = Refused(403, "This was sent from another site's page.")
_NOT_MARKED = Refused(
    403,
    "What changes something has to come from this site's own pages, or with the field "
    "X-Mdproxy: 1.",
)
_OTHER_TYPE = Refused(415, "A body has to be a form or JSON.")
_TOO_LONG = Refused(413, "The body is too long, or does not say how long it is.")


@frozen
class Guard:
    """
    Decides which requests are answered at all.

    @ivar names: What the operator allows as Host beside C{localhost} and addresses, in
        lower case: a name for any port, or C{NAME:PORT}.
    """

    names: frozenset[str] = frozenset()

    def refuse(self, asked: Asked) -> Refused | None:
        """
        Judge a request.

        @return: Why it is refused; C{None}: it may be answered.
        """
        if not asked.target.startswith(b"/"):
            return _BAD_TARGET
        refused = self._refuse_host(asked)
        if refused is not None:
            return refused
        if asked.length > MOST_BODY:
            return _TOO_LONG
        if asked.method in (b"GET", b"HEAD"):
            return None if may_read(asked) else _OTHER_SITE
        return _refuse_post(asked) if asked.method == b"POST" else _OTHER_METHOD

    def _refuse_host(self, asked: Asked) -> Refused | None:
        """
        See that the request was meant for this site.
        """
        if asked.local is None and not any(asked.hosts):
            # No browser can ask on a UNIX socket.
            return None
        if len(asked.hosts) != 1:
            return _BAD_HOST
        host = _HOST.match(asked.hosts[0].lower())
        if host is None:
            return _OTHER_HOST
        name, port = host["name"].decode(), (host["port"] or b"").decode()
        if name == "localhost" or name in self.names or name + port in self.names:
            return None
        return None if _is_address_of_ours(name, asked.local) else _OTHER_HOST


def _is_address_of_ours(name: str, local: str | None) -> bool:
    """
    Tell whether a host is an address of loopback, or the one that was asked.
    """
    try:
        address = canonical_address(name.strip("[]"))
    except Malformed:
        return False
    return ip_address(address).is_loopback or address == local


def is_own(asked: Asked) -> bool:
    """
    Tell whether a browser says that the user or this site's own page asks; what is no
    browser says nothing.
    """
    return all(site in (b"same-origin", b"none") for site in asked.sites)


def may_read(asked: Asked) -> bool:
    """
    Tell whether a request may read: from another site only by following a link.
    """
    return is_own(asked) or list(asked.modes) == [b"navigate"]


def _refuse_post(asked: Asked) -> Refused | None:
    """
    See that nobody else's page makes the operator's browser change anything.
    """
    if any(site != b"same-origin" for site in asked.sites):
        return _OTHER_SITE
    if any(origin.lower() != _origin(asked) for origin in asked.origins):
        return _OTHER_SITE
    if not asked.sites and not asked.origins and list(asked.marks) != [b"1"]:
        return _NOT_MARKED
    if asked.length and media_type(asked.types) not in _TYPES:
        return _OTHER_TYPE
    return None


def _origin(asked: Asked) -> bytes:
    """
    Write the origin of this site's own pages as the request names it.
    """
    scheme = b"https" if asked.secure else b"http"
    return scheme + b"://" + b"".join(asked.hosts).lower()


def media_type(types: Sequence[bytes]) -> bytes:
    """
    Read the one Content-Type field, without its parameters.

    @return: In lower case; empty where there is none, or more than one.
    """
    if len(types) != 1:
        return b""
    return types[0].partition(b";")[0].strip().lower()
