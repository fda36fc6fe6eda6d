# -*- test-case-name: tests.test_checks_nova -*-
"""
What the doctor asks of each endpoint of Nova, from outside of the service: where its
name leads, whether it answers, and whether the secret is right.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError

from mdproxy.checks.asking import Asking
from mdproxy.checks.certificates import judge_validity
from mdproxy.checks.finding import Finding
from mdproxy.checks.kernel import judge_name
from mdproxy.checks.secret import bogus, judge_answer, judge_failure
from mdproxy.checks.service import place_of
from mdproxy.config import Config
from mdproxy.endpoints import Endpoint
from mdproxy.fetch import Fetch
from mdproxy.http.client import Patience, UpstreamError
from mdproxy.measures import signer_of
from mdproxy.model import Malformed, canonical_address
from mdproxy.pool import make_connector, make_endpoints
from mdproxy.signing import Signer
from mdproxy.sweep import Sweep

#: So many seconds a name server is waited for.
_NAMES: Final = 5.0
#: How patient the doctor is: more than the service is, to be able to say what happens.
_PATIENCE: Final = Patience(connect=5.0, first_byte=15.0)

#: Puts a question.
Ask = Callable[[Fetch], Asking]


async def examine_all(reactor: Any, config: Config) -> list[Finding]:
    """
    Examine all endpoints.

    @param reactor: Opens connections.
    @param config: The configuration.

    @raise TlsMisconfigured: If the files of TLS can't be used.
    """
    sweep, connector = Sweep(reactor), make_connector(reactor)
    ticking = sweep.service()

    def ask(question: Fetch) -> Asking:
        return Asking(question, connector, reactor, sweep, _PATIENCE)

    endpoints = make_endpoints(config.upstream)
    findings = [await examine_name(reactor, host) for host in names_of(endpoints)]
    ticking.startService()
    try:
        for endpoint in endpoints:
            findings += await examine(endpoint, signer_of(config), ask, time.time())
    finally:
        await ticking.stopService()
    return findings


async def examine(
    endpoint: Endpoint, signer: Signer, ask: Ask, now: float
) -> list[Finding]:
    """
    Examine one endpoint: does it answer, is the secret right, and does it look at the
    signature at all?

    @param endpoint: Which.
    @param signer: The holder of the secret.
    @param ask: Puts a question.
    @param now: Seconds since the epoch.
    """
    place = place_of(endpoint)
    name, question = f"Nova at {place}", bogus(signer)
    asking = ask(question)
    try:
        await asking.begin(endpoint)
    except UpstreamError as error:
        return [judge_failure(error).finding(name)]
    told = judge_answer(question)
    findings = [told.finding(name)]
    if told.secret == "right":
        findings += await _examine_control(endpoint, ask)
    if asking.validity is not None:
        of = f"the certificate of Nova at {place}"
        findings.append(judge_validity(of, asking.validity, now))
    return findings


async def _examine_control(endpoint: Endpoint, ask: Ask) -> list[Finding]:
    """
    Ask once more with a signature that can't be right: whoever takes that takes any.
    """
    question = bogus(Signer(secrets.token_bytes(32)))
    try:
        await ask(question).begin(endpoint)
    except UpstreamError:
        return []
    return [judge_control(f"signatures at {place_of(endpoint)}", question)]


def judge_control(name: str, question: Fetch) -> Finding:
    """
    Judge the answer to a question whose signature is wrong.

    @param name: Of the endpoint.
    @param question: The question, with its answer complete.
    """
    if question.status == 403:
        return Finding(name, "ok", "A wrong signature is refused, as it must be.")
    if question.status == 404:
        return Finding(
            name,
            "wrong",
            "A wrong signature is taken as well as ours: either Nova does not look at "
            "signatures, so whoever reaches it gets any instance's data, or this is "
            "not Nova's metadata API.",
            "Set service_metadata_proxy = true in section [neutron] of nova.conf; see "
            "nova_metadata_host and nova_metadata_port.",
        )
    text = f"A wrong signature is answered with {question.status}."
    return Finding(name, "note", text, "Nova itself says 403.")


def names_of(endpoints: Sequence[Endpoint]) -> list[str]:
    """
    List the hosts of endpoints that are names.
    """
    return [endpoint.host for endpoint in endpoints if not _is_address(endpoint.host)]


async def examine_name(
    reactor: Any,
    host: str,
    look_up: Callable[[str, int], Sequence[Any]] = socket.getaddrinfo,
    patience: float = _NAMES,
) -> Finding:
    """
    See where a name leads, in a bounded time.

    @param reactor: Knows the time.
    @param host: The name.
    @param look_up: Asks for it; may take long.
    @param patience: How long it may take, in seconds.
    """
    began, asking = reactor.seconds(), _asked(reactor, look_up, host)
    try:
        found = await asking.addTimeout(patience, reactor)
    except TimeoutError:
        return judge_name(host, (), 0, f"no answer in {patience:g} s")
    except OSError as error:
        return judge_name(host, (), 0, error.strerror or type(error).__name__)
    except UnicodeError:
        return judge_name(host, (), 0, "it is no name")
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    return judge_name(host, list(addresses), reactor.seconds() - began, None)


def _asked(
    reactor: Any, look_up: Callable[[str, int], Sequence[Any]], host: str
) -> Deferred[Sequence[Any]]:
    """
    Ask for a name in a thread of its own, which nobody waits for at the end.
    """
    told: Deferred[Sequence[Any]] = Deferred()

    def work() -> None:
        try:
            found = look_up(host, 0)
        except Exception as error:
            reactor.callFromThread(told.errback, error)
        else:
            reactor.callFromThread(told.callback, found)

    Thread(target=work, daemon=True).start()
    return told


def _is_address(host: str) -> bool:
    """
    Tell an address from a name.
    """
    try:
        canonical_address(host)
    except Malformed:
        return False
    return True
