# -*- test-case-name: tests.test_tls -*-
"""
From files to the client side of a TLS connection with Nova.

OpenSSL checks the chain during the handshake; the name is checked by service-identity
right after it, before L{mdproxy.http.client} writes a byte: a signature never leaves
before Nova's certificate is verified.  TLS 1.2 is the least.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from ipaddress import ip_address
from weakref import WeakKeyDictionary

from attrs import define, field
from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

#: What X509_verify_cert says by number (OpenSSL, x509_vfy.h), for the log.
_VERIFY_ERRORS = {
    2: "its issuer's certificate is missing",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "its chain ends in a self-signed certificate that we don't trust",
    20: "its issuer is not one that we trust",
    21: "its issuer is not one that we trust",
    23: "it was revoked",
    26: "it is not meant for this purpose",
}

#: Why a certificate was refused, by connection.  A connection's app data is not free
#: for this: Twisted (26.10, protocols/_tls_legacy.py) puts its own protocol there.
_refusals: WeakKeyDictionary[SSL.Connection, str] = WeakKeyDictionary()


class TlsMisconfigured(Exception):
    """
    The TLS files can't be used; the text says which and why.
    """


class CertificateRefused(Exception):
    """
    Nova's certificate does not prove that it is Nova; the text says why.
    """


@implementer(IOpenSSLClientConnectionCreator)
@define(eq=False)
class ClientTls:
    """
    How to open TLS connections to one host.

    @ivar _context: The OpenSSL context, with the files read.
    @ivar _host: The name or IP address that Nova's certificate must hold.
    @ivar _insecure: Whether the operator said that anybody may be Nova.
    @ivar made_from: A digest of all that it was made from; C{None} where nobody can
        tell whether that has changed.
    """

    _context: SSL.Context = field(repr=False)
    _host: str
    _insecure: bool
    made_from: bytes | None = field(default=None, repr=False)

    def clientConnectionForTLS(self, tls_protocol: object) -> SSL.Connection:
        """
        Provide C{IOpenSSLClientConnectionCreator.clientConnectionForTLS}.
        """
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._host):
            connection.set_tlsext_host_name(self._host.encode("idna"))
        return connection

    def verify(self, connection: SSL.Connection) -> None:
        """
        Check the name in a certificate whose chain OpenSSL has verified.

        @param connection: After its handshake.

        @raise CertificateRefused: If the certificate is not for our host.
        """
        if self._insecure:
            return
        check = verify_ip_address if _is_address(self._host) else verify_hostname
        try:
            check(connection, self._host)
        except (VerificationError, ValueError):
            raise CertificateRefused(
                f"the certificate is not for {self._host}"
            ) from None


def client_tls(
    host: str,
    ca: str | None,
    certificate: str | None,
    key: str | None,
    insecure: bool,
    known: Iterable[ClientTls] = (),
) -> ClientTls:
    """
    Read the files and make the context.

    @param host: The name or IP address that Nova's certificate must hold.
    @param ca: A file of trusted certificates; C{None}: the system's.
    @param certificate: The file of our certificate and its chain; C{None}: none.
    @param key: The file of its key.
    @param insecure: Whether not to verify Nova at all.
    @param known: What was made before: one from the same contents is taken as it is.

    @raise TlsMisconfigured: If a file can't be read or doesn't fit, or changes while it
        is read.
    """
    made_from = _sum(host, ca, certificate, key, insecure)
    for tls in known:
        if made_from is not None and tls.made_from == made_from:
            return tls
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    if insecure:
        context.set_verify(SSL.VERIFY_NONE, None)
    else:
        context.set_verify(SSL.VERIFY_PEER, note_refusal)
        trust(context, ca)
    if certificate is not None:
        present(context, certificate, key or certificate)
    if _sum(host, ca, certificate, key, insecure) != made_from:
        # Somebody is replacing them: what was loaded may be half old and half new.
        files = ", ".join(path for path in (ca, certificate, key) if path is not None)
        raise TlsMisconfigured(f"{files}: changed while they were read")
    return ClientTls(context, host, insecure, made_from)


def describe_failure(
    error: BaseException | None, connection: SSL.Connection | None, peer: str = "Nova"
) -> str:
    """
    Say in words why a TLS connection failed.

    @param error: What it was lost with.
    @param connection: The connection, which knows why a certificate was refused.
    @param peer: With whom.
    """
    refusal = None if connection is None else _refusals.get(connection)
    if refusal is not None:
        return f"{peer}'s certificate was refused: {refusal}"
    if isinstance(error, CertificateRefused):
        return f"{peer}'s certificate was refused: {error}"
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return "TLS failed: " + "; ".join(str(entry[-1]) for entry in error.args[0])
    return f"TLS failed: {type(error).__name__}"


def _sum(
    host: str,
    ca: str | None,
    certificate: str | None,
    key: str | None,
    insecure: bool,
) -> bytes | None:
    """
    Sum up what a context is made from.

    @return: C{None} where it is not in files of the operator's alone: what the system
        trusts may change without a trace.
    """
    if ca is None and not insecure:
        return None
    contents = [_content(path) for path in (ca, certificate, key)]
    # Every piece is a digest, so that no two lists look alike.
    pieces = [repr((host, insecure)).encode(), *contents]
    return sha256(b"".join(sha256(piece).digest() for piece in pieces)).digest()


def _content(path: str | None) -> bytes:
    """
    Read a file; what is wrong with it OpenSSL says better.
    """
    if path is None:
        return b""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def note_refusal(
    connection: SSL.Connection, _certificate: object, error: int, _depth: int, ok: int
) -> bool:
    """
    Keep why OpenSSL refuses a certificate, for its own error doesn't say; this is what
    C{set_verify} takes.

    @param connection: Whose other end has the certificate.
    @param error: What X509_verify_cert says, by number.
    @param ok: Whether OpenSSL takes it.

    @return: The same.
    """
    if not ok:
        _refusals[connection] = _VERIFY_ERRORS.get(error, f"verification error {error}")
    return bool(ok)


def trust(context: SSL.Context, ca: str | None) -> None:
    """
    Load what we trust.

    @param ca: A file of trusted certificates; C{None}: the system's.

    @raise TlsMisconfigured: If it can't be used.
    """
    if ca is None:
        context.set_default_verify_paths()
        return
    try:
        context.load_verify_locations(ca)
    except SSL.Error:
        raise TlsMisconfigured(f"{ca}: no readable PEM certificates") from None


def present(context: SSL.Context, certificate: str, key: str) -> None:
    """
    Load what we show to the other side.

    @param certificate: The file of our certificate and its chain.
    @param key: The file of its key.

    @raise TlsMisconfigured: If they can't be used.
    """
    # Without this OpenSSL would ask for a passphrase on the terminal.
    context.set_passwd_cb(lambda *_: b"")
    try:
        context.use_certificate_chain_file(certificate)
    except SSL.Error:
        raise TlsMisconfigured(f"{certificate}: no readable PEM certificate") from None
    try:
        context.use_privatekey_file(key)
    except SSL.Error as error:
        if "mismatch" in str(error):
            # OpenSSL compares it with the certificate before it takes it.
            raise TlsMisconfigured(f"{key} is not the key of {certificate}") from None
        raise TlsMisconfigured(
            f"{key}: no readable PEM key without a passphrase"
        ) from None
    try:
        context.check_privatekey()
    except SSL.Error:
        raise TlsMisconfigured(f"{key} is not the key of {certificate}") from None


def _is_address(host: str) -> bool:
    """
    Tell an IP address from a name.
    """
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
