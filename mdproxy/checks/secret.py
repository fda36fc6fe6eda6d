# -*- test-case-name: tests.test_checks_secret -*-
"""
Whether Nova and we hold the same secret: found out by asking for an instance that
nobody has, signed as if we knew it.

Nova looks at the signature first (nova/api/metadata/handler.py,
C{_handle_instance_id_request}): 403 where the secrets differ, 404 where they don't and
only the instance is missing, 400 where a header did not arrive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from secrets import token_hex
from typing import Final, Literal

from attrs import frozen

from mdproxy.checks.finding import Finding
from mdproxy.fetch import Fetch, explain, explain_failure, is_about_tls, is_of_nova
from mdproxy.http.client import UpstreamError, UpstreamTlsFailed
from mdproxy.signing import Signer

#: What an endpoint says to our signature; C{unknown}: it did not come to that.
Secret = Literal["right", "wrong", "mangled", "unknown"]

#: Where in an explanation the advice begins.
_ADVICE: Final = re.compile(r"(?<=\.) (?=See |Is it )")

#: What to do where a certificate was refused, by words of why (L{mdproxy.tls}).
_OF_CERTIFICATES: Final = (
    (
        "alert",
        "Nova's side ends it, most likely for our certificate: see nova_client_cert "
        "and nova_client_priv_key, whether it has expired, and who signed it.",
    ),
    (
        "expired",
        "Renew the certificate of Nova, or of what ends TLS before it (a load "
        "balancer, Apache); nothing is to be done here.",
    ),
    (
        "not valid yet",
        "See whether the clocks of this host and of Nova's are right.",
    ),
    (
        "certificate is not for",
        "nova_metadata_host must be a name, or an address, that is in Nova's "
        "certificate (subjectAltName).",
    ),
    *(
        (
            words,
            "auth_ca_cert must hold who signed Nova's certificate, and Nova's side "
            "must show the certificates between.",
        )
        for words in ("issuer", "self-signed")
    ),
)

#: What the ids of instances that nobody has begin with.
NOBODY: Final = "00000000-0000-4000-8000-"

_TARGET: Final = b"/openstack/latest/meta_data.json"


@frozen
class Told:
    """
    What one endpoint said.

    @ivar secret: What that says of the secret.
    @ivar text: What happened, as a sentence.
    @ivar advice: What to do; empty where nothing is to be done.
    @ivar reached: Whether anybody answered there at all.
    """

    secret: Secret
    text: str
    advice: str = ""
    reached: bool = True

    def finding(self, name: str) -> Finding:
        """
        Make a finding of it.

        @param name: The endpoint's.
        """
        verdict: Literal["ok", "wrong"] = "ok" if self.secret == "right" else "wrong"
        return Finding(name, verdict, self.text, self.advice)


def bogus(signer: Signer, agent: bytes = b"mdproxyctl") -> Fetch:
    """
    Make the question: an instance that nobody has, of a random project, signed.

    Nova writes a warning and an error for each (C{Failed to get metadata for instance
    id}): by the beginning of its id who reads Nova's log can tell it from an instance.

    @param signer: The holder of the secret.
    @param agent: What we call ourselves.
    """
    instance = f"{NOBODY}{token_hex(6)}"
    return Fetch(instance, token_hex(16), _TARGET, signer, None, agent)


def judge_answer(fetch: Fetch) -> Told:
    """
    Tell what an answer says of the secret.

    @param fetch: The question, with its answer complete.
    """
    status = fetch.status
    if status == 404:
        return Told("right", "Nova accepts our signature: the secrets are the same.")
    if status == 403:
        text = "403 to a signed question: Nova refuses our signature"
        if not is_of_nova(fetch.beginning):
            text = "403, but not in Nova's words: something before Nova refuses us"
        text += ", so every instance gets 503."
        return Told("wrong", text, _advice(fetch))
    if status == 400 and not is_about_tls(fetch.beginning):
        text = (
            "400 to a good question: something between us and Nova mangles headers, so "
            "no instance gets anything."
        )
        return Told("mangled", text, _advice(fetch))
    if 200 <= status < 300:
        return Told(
            "unknown",
            f"{status} for an instance that does not exist: this is not Nova's "
            "metadata API, or one that answers anybody.",
            "See nova_metadata_host and nova_metadata_port, and what listens there.",
        )
    text = f"{status} to a signed question, which tells nothing of the secret."
    return Told("unknown", text, _advice(fetch))


def _advice(fetch: Fetch) -> str:
    """
    Explain an answer, whose status was told already.
    """
    return explain(fetch).removeprefix(f"{fetch.status}: ")


def judge_failure(error: UpstreamError) -> Told:
    """
    Tell what it means that there is no answer.

    @param error: Why there is none.
    """
    text, *advice = _ADVICE.split(explain_failure(error), maxsplit=1)
    said = str(error)
    for words, better in _OF_CERTIFICATES:
        if isinstance(error, UpstreamTlsFailed) and words in said:
            return Told("unknown", text, better, reached=False)
    return Told("unknown", text, " ".join(advice), reached=False)


def summed_up(secrets: Iterable[Secret]) -> Secret:
    """
    Sum up what several endpoints said: one that refuses us is enough to be wrong.
    """
    heard = frozenset(secrets)
    order: tuple[Secret, ...] = ("wrong", "mangled", "right")
    for secret in order:
        if secret in heard:
            return secret
    return "unknown"
