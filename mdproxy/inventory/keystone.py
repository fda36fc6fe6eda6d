# -*- test-case-name: tests.test_inventory_keystone -*-
"""
Keystone: from who we are to a token, and from its catalogue to Neutron's address.

What is here follows the reference of the Identity API v3 ("Password authentication with
scoped authorization", "Authenticating with an Application Credential").  A token's
value is in no text that is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import field, frozen

from mdproxy.inventory.api import Answer, Garbled, Trouble
from mdproxy.neutron_config import NeutronConfig

#: A token is renewed when so many seconds of its life are left, or a tenth of it.
_MARGIN: Final = 120.0
#: A token is believed for no longer than this, in seconds, whatever it says.
_LONGEST: Final = 7 * 86400.0
_SERVICE: Final = "network"


class NoEndpoint(Trouble):
    """
    Keystone's catalogue has no address of Neutron that we may use.
    """

    kind = "no-endpoint"
    is_away = False


@frozen
class Token:
    """
    What proves to Neutron who we are.

    @ivar value: The token itself.
    @ivar until: When another one should be had, in monotonic seconds.
    @ivar endpoint: Neutron's address, up to and without C{/v2.0}.
    @ivar roles: What Keystone says that we may.
    """

    value: str = field(repr=False)
    until: float
    endpoint: str
    roles: frozenset[str] = frozenset()


def tokens_url(auth_url: str) -> str:
    """
    Tell where tokens are made.

    @param auth_url: Keystone's address, with C{/v3} at its end or without.
    """
    base = auth_url.rstrip("/")
    return f"{base if base.endswith('/v3') else base + '/v3'}/auth/tokens"


def token_request(config: NeutronConfig) -> dict[str, Any]:
    """
    Write the body that asks for a token.

    @return: What goes on the wire as JSON; it holds the secret.
    """
    if config.auth_type == "v3applicationcredential":
        credential: dict[str, Any] = {"secret": config.application_credential_secret}
        if config.application_credential_id:
            credential["id"] = config.application_credential_id
        else:
            credential["name"] = config.application_credential_name
            credential["user"] = _owned(config, "user", config.username)
        # The credential has a project of its own; a scope would be refused.
        name = "application_credential"
        return {"auth": {"identity": {"methods": [name], name: credential}}}
    user = {**_owned(config, "user", config.username), "password": config.password}
    return {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": _owned(config, "project", config.project_name)},
        }
    }


def _owned(config: NeutronConfig, what: str, name: str) -> dict[str, Any]:
    """
    Name a user or project: by its id, or by its name in a domain.
    """
    known_id = getattr(config, f"{what}_id")
    if known_id:
        return {"id": known_id}
    domain_id = getattr(config, f"{what}_domain_id")
    domain_name = getattr(config, f"{what}_domain_name")
    domain = {"id": domain_id} if domain_id else {"name": domain_name}
    return {"name": name, "domain": domain}


def read_token(answer: Answer, config: NeutronConfig, asked: float) -> Token:
    """
    Read what Keystone says.

    Its clock may differ from ours, so a token's life is measured by its own two times.

    @param answer: The whole answer.
    @param config: Which of Neutron's addresses we want.
    @param asked: When Keystone was asked, in monotonic seconds.

    @raise Garbled: If it is no token.
    @raise NoEndpoint: If the catalogue has no address for us.
    """
    value = answer.token
    body = answer.value.get("token") if isinstance(answer.value, dict) else None
    if not isinstance(body, dict) or not value or not _is_printable(value):
        raise Garbled("what Keystone answers is no token")
    life = min(
        _time_in(body, "expires_at") - _time_in(body, "issued_at"),
        _LONGEST,
    )
    if life <= 0:
        raise Garbled("Keystone's token has ended before it began")
    until = asked + life - min(_MARGIN, life / 10)
    roles = {str(role.get("name"))[:64] for role in _mappings(body.get("roles"))}
    return Token(value, until, _endpoint(body, config), frozenset(roles))


def _is_printable(text: str) -> bool:
    """
    Tell whether a text can stand in a header.
    """
    return text.isascii() and text.isprintable() and " " not in text


def _time_in(body: Mapping[str, Any], name: str) -> float:
    """
    Read a time, C{2026-01-02T03:04:05.000000Z}.

    @return: Seconds since the epoch.
    """
    text = body.get(name)
    try:
        # Python 3.10 does not know the Z.
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        raise Garbled(f"Keystone's token has no time in {name!r}") from None


def _endpoint(body: Mapping[str, Any], config: NeutronConfig) -> str:
    """
    Find Neutron's address.
    """
    if config.endpoint_override:
        return _base(config.endpoint_override)
    found = _found_in(body.get("catalog"), config)
    if found is None:
        kinds = " or ".join(config.valid_interfaces)
        where = f" in region {config.region_name}" if config.region_name else ""
        raise NoEndpoint(f"Keystone's catalogue has no {kinds} Neutron{where}")
    if not _is_usable(found):
        raise NoEndpoint("Neutron's address in Keystone's catalogue is none")
    if config.auth_url.startswith("https:") and not found.startswith("https:"):
        # Nobody may talk us out of TLS.
        raise NoEndpoint(
            "Neutron's address in Keystone's catalogue is http where Keystone's is "
            "https: set endpoint_override if that is meant"
        )
    return _base(found)


def _found_in(catalog: object, config: NeutronConfig) -> str | None:
    """
    Look for the first address of the first kind that there is.
    """
    found: dict[str, str] = {}
    for service in _mappings(catalog):
        if service.get("type") != _SERVICE:
            continue
        for endpoint in _mappings(service.get("endpoints")):
            kind, url = endpoint.get("interface"), endpoint.get("url")
            region = endpoint.get("region_id") or endpoint.get("region")
            wanted = config.region_name in ("", region)
            if wanted and isinstance(kind, str) and isinstance(url, str):
                found.setdefault(kind, url)
    kinds = (kind for kind in config.valid_interfaces if kind in found)
    return found.get(next(kinds, ""))


def _mappings(listed: object) -> list[dict[str, Any]]:
    """
    Take what is a mapping out of what should be a list of them.
    """
    if not isinstance(listed, list):
        return []
    return [item for item in listed if isinstance(item, dict)]


def _is_usable(url: str) -> bool:
    """
    Tell whether an address is one that we would write ourselves.
    """
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.username is None
            and parts.port != 0
            and not parts.query
            and not parts.fragment
            and _is_printable(url)
        )
    except ValueError:
        return False


def _base(url: str) -> str:
    """
    Take C{/v2.0} off an address.
    """
    return url.rstrip("/").removesuffix("/v2.0").rstrip("/")
