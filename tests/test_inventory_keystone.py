"""
Tests for L{mdproxy.inventory.keystone}.
"""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.api import Answer, Garbled
from mdproxy.inventory.keystone import (
    NoEndpoint,
    Token,
    read_token,
    token_request,
    tokens_url,
)
from tests.neutron_stub import APPLICATION_SECRET, PASSWORD, config_of, token_json

ISSUED = "2026-01-02T03:04:05.000000Z"
EXPIRES = "2026-01-02T04:04:05.000000Z"
VALUE = "gAAAAAB-t0ken"

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "token",
                    "catalog",
                    "endpoints",
                    "type",
                    "issued_at",
                    "expires_at",
                    "url",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
)


def answer_with(endpoint: str = "https://neutron:9696", **changes: Any) -> Answer:
    """
    Make Keystone's answer.
    """
    body = token_json(endpoint, ISSUED, EXPIRES)
    body["token"].update(changes)
    return Answer(body, VALUE)


def token_of(answer: Answer | None = None, **changes: Any) -> Token:
    """
    Read an answer that was asked for at the time 1000.
    """
    return read_token(answer or answer_with(), config_of(**changes), 1000.0)


class RequestTests(SynchronousTestCase):
    """
    Tests for L{tokens_url} and L{token_request}.
    """

    def test_url(self) -> None:
        """
        Tokens are made by version 3 of the API, whether the address says so or not.
        """
        for url in ("http://k:5000", "http://k:5000/", "http://k:5000/v3/"):
            self.assertEqual(tokens_url(url), "http://k:5000/v3/auth/tokens")
        self.assertEqual(
            tokens_url("https://k/identity"), "https://k/identity/v3/auth/tokens"
        )

    def test_password(self) -> None:
        """
        A password is sent with the user's and the project's names and domains.
        """
        config = config_of(user_domain_name="Users", project_domain_id="d1")
        self.assertEqual(
            token_request(config),
            {
                "auth": {
                    "identity": {
                        "methods": ["password"],
                        "password": {
                            "user": {
                                "name": "mdproxy",
                                "domain": {"name": "Users"},
                                "password": PASSWORD,
                            }
                        },
                    },
                    "scope": {"project": {"name": "service", "domain": {"id": "d1"}}},
                }
            },
        )

    def test_ids(self) -> None:
        """
        Ids need no domains.
        """
        auth = token_request(config_of(user_id="u1", project_id="p1"))["auth"]
        user = auth["identity"]["password"]["user"]
        self.assertEqual(user, {"id": "u1", "password": PASSWORD})
        self.assertEqual(auth["scope"], {"project": {"id": "p1"}})

    def test_application_credential(self) -> None:
        """
        An application credential is sent by its id, or by its name with its user; never
        with a scope, which Keystone would refuse.
        """
        by_id = config_of(
            auth_type="v3applicationcredential",
            application_credential_id="a1",
            application_credential_secret=APPLICATION_SECRET,
        )
        expected: dict[str, Any] = {"id": "a1", "secret": APPLICATION_SECRET}
        for config in (by_id, None):
            if config is None:
                config = config_of(
                    auth_type="v3applicationcredential",
                    application_credential_name="proxy",
                    application_credential_secret=APPLICATION_SECRET,
                )
                user = {"name": "mdproxy", "domain": {"name": "Default"}}
                del expected["id"]
                expected |= {"name": "proxy", "user": user}
            self.assertEqual(
                token_request(config),
                {
                    "auth": {
                        "identity": {
                            "methods": ["application_credential"],
                            "application_credential": expected,
                        }
                    }
                },
            )


class TokenTests(SynchronousTestCase):
    """
    Tests for L{read_token}.
    """

    def test_token(self) -> None:
        """
        A token is renewed two minutes before its end, whatever Keystone's clock says;
        its value shows in no text of it.
        """
        token = token_of()
        self.assertEqual(token.value, VALUE)
        self.assertEqual(token.until, 1000 + 3600 - 120)
        self.assertEqual(token.endpoint, "https://neutron:9696")
        self.assertNotIn(VALUE, repr(token))

    def test_roles(self) -> None:
        """
        What we may is known, as far as it can be read.
        """
        self.assertEqual(token_of().roles, {"service"})
        roles: list[Any] = [{"name": "a"}, None, {"id": "b"}]
        self.assertEqual(token_of(answer_with(roles=roles)).roles, {"a", "None"})
        self.assertEqual(token_of(answer_with(roles=7)).roles, frozenset())

    def test_short_life(self) -> None:
        """
        One that lives shortly is renewed when a tenth of its life is left.
        """
        token = token_of(answer_with(expires_at="2026-01-02T03:05:05Z"))
        self.assertEqual(token.until, 1000 + 54)

    def test_immortal(self) -> None:
        """
        None is believed for longer than a week.
        """
        token = token_of(answer_with(expires_at="9026-01-02T03:05:05Z"))
        self.assertEqual(token.until, 1000 + 7 * 86400 - 120)

    def test_no_token(self) -> None:
        """
        What is no token is refused.
        """
        whole = answer_with().value
        for answer in (
            Answer([], VALUE),
            Answer({}, VALUE),
            Answer({"token": []}, VALUE),
            Answer(whole, None),
            Answer(whole, ""),
            Answer(whole, "a\r\nX-Evil: b"),
            Answer(whole, "\N{LATIN SMALL LETTER E WITH ACUTE}"),
            answer_with(expires_at=None),
            answer_with(expires_at="tomorrow"),
            answer_with(issued_at=7),
            answer_with(expires_at=ISSUED),
            answer_with(expires_at="1926-01-02T03:04:05Z"),
        ):
            self.assertRaises(Garbled, token_of, answer)

    def test_interfaces(self) -> None:
        """
        The first kind of address that the catalogue has is taken.
        """
        for kinds, tail in (
            (("internal", "public"), ""),
            (("public", "internal"), "/public"),
            (("nosuch", "admin"), "/admin"),
        ):
            token = token_of(valid_interfaces=kinds)
            self.assertEqual(token.endpoint, f"https://neutron:9696{tail}")

    def test_region(self) -> None:
        """
        Only the configured region counts, where one is.
        """
        token = token_of(region_name="RegionTwo")
        self.assertEqual(token.endpoint, "https://neutron:9696/two")
        error = self.assertRaises(NoEndpoint, token_of, region_name="RegionNine")
        text = "Keystone's catalogue has no internal or public Neutron in region"
        self.assertEqual(str(error), f"{text} RegionNine")

    def test_version_in_address(self) -> None:
        """
        C{/v2.0} at the end of an address is not said twice.
        """
        for override in ("https://n/net/v2.0/", "https://n/net/v2.0", "https://n/net"):
            token = token_of(endpoint_override=override)
            self.assertEqual(token.endpoint, "https://n/net")

    def test_no_way_out_of_tls(self) -> None:
        """
        Where Keystone is asked by TLS its catalogue can't send the token anywhere
        without; the operator can.
        """
        plain = answer_with("http://neutron:9696")
        secure = "https://keystone:5000/v3"
        self.assertRaises(NoEndpoint, token_of, plain, auth_url=secure)
        self.assertEqual(token_of(plain).endpoint, "http://neutron:9696")
        override = "http://127.0.0.1:9696"
        token = token_of(plain, auth_url=secure, endpoint_override=override)
        self.assertEqual(token.endpoint, override)

    def test_hostile_catalogue(self) -> None:
        """
        An address that we would not write ourselves is none.
        """
        for url in (
            "ftp://neutron",
            "file:///etc/passwd",
            "https://",
            "https://user:password@neutron",
            "https://neutron/?a=b",
            "https://neutron/#a",
            "https://neutron:0",
            "https://neutron:99999",
            "https://[neutron",
            "https://neu tron",
            "https://neutron\r\nHost: evil",
        ):
            endpoint = {"interface": "internal", "region": "R", "url": url}
            catalog = [{"type": "network", "endpoints": [endpoint]}]
            answer = answer_with(catalog=catalog)
            error = self.assertRaises(NoEndpoint, token_of, answer)
            self.assertNotIn(url, str(error))
        empty = {"type": "network", "endpoints": [1]}
        strange: list[Any] = [None, {}, [None], [empty]]
        for listed in strange:
            answer = answer_with(catalog=listed)
            self.assertRaises(NoEndpoint, token_of, answer)

    @given(_JSON)
    def test_garbage(self, value: Any) -> None:
        """
        No JSON ends otherwise than in a token or in a named error.
        """
        with contextlib.suppress(Garbled, NoEndpoint):
            token_of(Answer(value, VALUE))
