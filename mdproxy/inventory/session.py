# -*- test-case-name: tests.test_inventory_session -*-
"""
A session with Neutron: questions with a token that is had in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from mdproxy.inventory.api import Api, Garbled, Refused, Trouble
from mdproxy.inventory.keystone import Token, read_token, token_request, tokens_url
from mdproxy.neutron_config import NeutronConfig

#: How many questions are under way at a time.
_TOGETHER: Final = 4
#: How long an address with its query may be: servers take 8192 bytes (eventlet's
#: C{url_length_limit}, and what neutronclient keeps to).
LONGEST: Final = 8000

#: What stands behind the question mark, in order.
Query = Iterable[tuple[str, str]]


class NotAccepted(Trouble):
    """
    Keystone, or Neutron with a fresh token, does not take us for whom we say we are.
    """

    kind = "credentials"
    is_away = False


class NoToken(Trouble):
    """
    Keystone does not work, so that nobody knows whether Neutron does.
    """

    kind = "no-token"
    is_away = False


def query_text(query: Query) -> str:
    """
    Write a query; colons stay as they are, for they would take three bytes each.
    """
    return urlencode(list(query), safe=":")


@define(eq=False)
class Session:
    """
    Asks Neutron.

    @ivar _api: Asks over the network.
    @ivar _clock: When tokens end.
    @ivar _config: Who we are.
    @ivar _token: The token in use.
    @ivar _latest: How many times Keystone has been asked, and what went wrong the last
        time.
    @ivar _renewing: Who asks Keystone; the others wait.
    @ivar _places: Who asks Neutron.
    @ivar queries: How many questions Neutron was asked.
    """

    _api: Api
    _clock: IReactorTime
    _config: NeutronConfig = field(repr=False)
    _token: Token | None = field(default=None, init=False)
    _latest: tuple[int, Trouble | None] = field(default=(0, None), init=False)
    _renewing: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    _places: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(_TOGETHER), init=False, repr=False
    )
    queries: int = field(default=0, init=False)

    @property
    def tokens(self) -> int:
        """
        Count how many tokens were asked for.
        """
        return self._latest[0]

    @property
    def roles(self) -> frozenset[str]:
        """
        Tell what Keystone says that we may.
        """
        return frozenset() if self._token is None else self._token.roles

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator where Keystone and Neutron are and when the token ends.

        @return: Plain values, without the token.
        """
        token = self._token
        left = None if token is None else round(token.until - self._clock.seconds(), 3)
        return {
            "keystone": self._config.auth_url,
            "endpoint": None if token is None else token.endpoint,
            "token_renewed_in": left,
            "roles": sorted(self.roles),
            "tokens": self.tokens,
            "queries": self.queries,
        }

    async def get(self, path: str, query: Query) -> Any:
        """
        Ask Neutron.

        @param path: What for, C{/v2.0/ports}.
        @param query: Which, and what of them.

        @return: The JSON.

        @raise Trouble: If there is no answer.
        """
        await self._places.acquire()
        try:
            token = await self._current()
            try:
                return await self._get(token, path, query)
            except Refused as refused:
                if refused.status != 401:
                    raise
            # It was revoked, or ended early: that may be so once.
            if self._token is token:
                self._token = None
            token = await self._current()
            try:
                return await self._get(token, path, query)
            except Refused as refused:
                if refused.status != 401:
                    raise
                self._token = None
                raise NotAccepted("Neutron does not accept a fresh token") from None
        finally:
            self._places.release()

    def room(self, path: str, query: Query, each: Query) -> int:
        """
        Tell how often something can be repeated in one question.

        @param query: What else is in it.
        @param each: What is repeated.
        """
        # Before there is a token its address isn't known; most are shorter.
        endpoint = "" if self._token is None else self._token.endpoint
        fixed = max(200, len(endpoint)) + len(path) + 2 + len(query_text(query))
        return max(1, (LONGEST - fixed) // (1 + len(query_text(each))))

    def close(self) -> Deferred[None]:
        """
        Let go of the connections that are kept.
        """
        return self._api.close()

    def _get(self, token: Token, path: str, query: Query) -> Deferred[Any]:
        """
        Ask with a token.
        """
        self.queries += 1
        url = f"{token.endpoint}{path}?{query_text(query)}"
        asked = self._api.ask("Neutron", "GET", url, {"X-Auth-Token": token.value})
        return asked.addCallback(lambda answer: answer.value)

    async def _current(self) -> Token:
        """
        Get a token that will do; many who come at once have it asked for once.

        @raise Trouble: If there is none.
        """
        before = self.tokens
        await self._renewing.acquire()
        try:
            if self._token is not None and self._clock.seconds() < self._token.until:
                return self._token
            tries, trouble = self._latest
            if tries != before and trouble is not None:
                # Somebody has just tried in vain.
                raise trouble
            try:
                self._token = await self._renew()
            except Trouble as trouble:
                self._latest = (tries + 1, trouble)
                raise
            self._latest = (tries + 1, None)
            return self._token
        finally:
            self._renewing.release()

    async def _renew(self) -> Token:
        """
        Ask Keystone for a token.

        @raise Trouble: If there is none.
        """
        asked = self._clock.seconds()
        url, body = tokens_url(self._config.auth_url), token_request(self._config)
        try:
            answer = await self._api.ask("Keystone", "POST", url, {}, body)
            return read_token(answer, self._config, asked)
        except Refused as refused:
            if refused.status in (401, 403):
                raise NotAccepted(
                    "Keystone does not accept who we say we are"
                ) from None
            raise _without_token(refused, refused.rest) from None
        except Garbled as garbled:
            raise _without_token(garbled) from None
        except Trouble as trouble:
            raise (_without_token(trouble) if trouble.is_away else trouble) from None


def _without_token(trouble: Trouble, rest: float = 0.0) -> NoToken:
    """
    Say that there is no token, and why.
    """
    lacking = NoToken(str(trouble))
    lacking.rest = rest
    return lacking
