# -*- test-case-name: tests.test_checks_certificates -*-
"""
How long certificates are good for.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from attrs import frozen
from OpenSSL import crypto

from mdproxy.checks.finding import Finding

_DAY: Final = 86400.0

#: One with less than so many seconds left is worth a note, and will soon be wrong,
#: unless that is more than this part of its whole life: some live for a day.
_SOON: Final = 30 * _DAY, 1 / 3
_VERY_SOON: Final = 7 * _DAY, 1 / 10

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


class NoCertificate(ValueError):
    """
    A text holds no certificate that can be read.
    """


@frozen
class Validity:
    """
    When a certificate is good.

    @ivar begins: From when on, in seconds since the epoch.
    @ivar ends: Until when.
    """

    begins: float
    ends: float


def validity_of(certificate: crypto.X509) -> Validity:
    """
    Tell when a certificate is good.

    @raise NoCertificate: If it doesn't say so in the form of RFC 5280 section 4.1.2.5.
    """
    try:
        begins, ends = map(
            _seconds, (certificate.get_notBefore(), certificate.get_notAfter())
        )
    except ValueError:
        raise NoCertificate("it does not say when it is good") from None
    return Validity(begins, ends)


def read_chain(data: bytes) -> list[crypto.X509]:
    """
    Read the certificates of a file, in their order.

    @param data: What is in it: PEM, perhaps with a key and remarks between.

    @return: At least one certificate.

    @raise NoCertificate: If there is none, or one that can't be read.
    """
    chain = []
    for piece in data.split(_BEGIN)[1:]:
        text, end, _ = piece.partition(_END)
        try:
            chain.append(
                crypto.load_certificate(crypto.FILETYPE_PEM, _BEGIN + text + end)
            )
        except crypto.Error:
            raise NoCertificate("a certificate in it can't be read") from None
    if not chain:
        raise NoCertificate("there is no certificate in it")
    return chain


def judge_chain(name: str, chain: Sequence[crypto.X509]) -> list[Finding]:
    """
    Tell whether the certificates of a file are a chain: each one signed by the next, as
    TLS wants them shown (RFC 8446 section 4.4.2).

    @param name: Whose they are.
    @param chain: The certificates, in the order of the file.

    @return: What is wrong with that, if anything is.
    """
    for one, following in pairwise(chain):
        if one.get_issuer() != following.get_subject():
            return [
                Finding(
                    name,
                    "note",
                    "Its certificates are no chain: one is not signed by the next.",
                    "Put ours first, then who signed it, then who signed that one.",
                )
            ]
    return []


def judge_validity(name: str, validity: Validity, now: float) -> Finding:
    """
    Tell whether a certificate is good, and for long enough.

    @param name: Whose certificate it is.
    @param validity: When it is good.
    @param now: Seconds since the epoch.
    """
    left, life = validity.ends - now, validity.ends - validity.begins
    until = f"until {_date(validity.ends)}"
    if now < validity.begins:
        return Finding(
            name,
            "wrong",
            f"It is good only from {_date(validity.begins)} on.",
            "See whether this host's clock is right; or put in another certificate.",
        )
    if left <= 0:
        return Finding(
            name,
            "wrong",
            f"It has expired: it was good {until}.",
            "Renew it, then: systemctl reload mdproxy.",
        )
    text = f"It is good {until}, {_span(left)} more."
    if left < _VERY_SOON[0] and left < life * _VERY_SOON[1]:
        return Finding(name, "wrong", text, "Renew it now.")
    if left < _SOON[0] and left < life * _SOON[1]:
        return Finding(name, "note", text, "See that it is renewed in time.")
    return Finding(name, "ok", text)


def _seconds(text: bytes | None) -> float:
    """
    Read a GeneralizedTime of a certificate (RFC 5280 section 4.1.2.5.2).

    @raise ValueError: If it is none.
    """
    if text is None:
        raise ValueError("no time")
    parts = time.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ")
    return float(calendar.timegm(parts))


def _date(at: float) -> str:
    """
    Write a time as operators read it.
    """
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def _span(seconds: float) -> str:
    """
    Write how long something lasts.
    """
    days, hours = int(seconds // _DAY), int(seconds % _DAY // 3600)
    return f"{days} days" if days > 1 else f"{days * 24 + hours} hours"
