"""
Certificates for tests: a CA, what it signed, and what nobody should accept.

Made anew for each run, on a curve that is quick; keys are readable by their owner only.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)
_NAMES = (
    x509.DNSName("localhost"),
    x509.DNSName("nova-md"),
    x509.IPAddress(IPv4Address("127.0.0.1")),
)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@frozen
class KeyPair:
    """
    A certificate and its key.

    @ivar certificate: The PEM file of the certificate.
    @ivar key: The PEM file of the key.
    """

    certificate: Path
    key: Path


@frozen
class Certificates:
    """
    The files that L{make} wrote, by their absolute paths.

    @ivar ca: The CA's certificate, which both sides trust.
    @ivar server: A server's, for C{localhost}, C{nova-md} and 127.0.0.1.
    @ivar client: A client's.
    @ivar expired: A server's for the same names that ended yesterday.
    @ivar wrong_name: A server's for another name only.
    @ivar rogue_ca: The certificate of a CA that nobody trusts.
    @ivar rogue_server: A server's for the right names, by the rogue CA.
    @ivar rogue_client: A client's by the rogue CA.
    """

    ca: Path
    server: KeyPair
    client: KeyPair
    expired: KeyPair
    wrong_name: KeyPair
    rogue_ca: Path
    rogue_server: KeyPair
    rogue_client: KeyPair


@frozen
class _Authority:
    """
    A CA at work.

    @ivar directory: Where its files go.
    @ivar certificate: Its certificate.
    @ivar key: Its key.
    """

    directory: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def path(self) -> Path:
        """
        Name the file of the CA's certificate.
        """
        return self.directory / f"{_common_name(self.certificate.subject)}.crt"

    def issue(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        alternatives: tuple[x509.GeneralName, ...],
        end: timedelta = 365 * _DAY,
    ) -> KeyPair:
        """
        Make a key and sign a certificate for it.

        @param name: The common name, and the name of the files.
        @param usage: What it may be used for.
        @param alternatives: The names that it is for.
        @param end: When it ends, from now.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(name, self.certificate.subject, key, self.key, end)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pair = KeyPair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        pair.certificate.write_bytes(_pem(certificate))
        _write_key(pair.key, key)
        return pair


def make(directory: Path) -> Certificates:
    """
    Make all the certificates.

    @param directory: An existing directory; the files in it are overwritten.
    """
    directory = directory.resolve()
    ca, rogue = _authority(directory, "ca"), _authority(directory, "rogue-ca")
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    elsewhere = (x509.DNSName("elsewhere.example"),)
    proxy = (x509.DNSName("mdproxy"),)
    return Certificates(
        ca=ca.path,
        server=ca.issue("server", server, _NAMES),
        client=ca.issue("client", client, proxy),
        expired=ca.issue("expired", server, _NAMES, -_DAY),
        wrong_name=ca.issue("wrong-name", server, elsewhere),
        rogue_ca=rogue.path,
        rogue_server=rogue.issue("rogue-server", server, _NAMES),
        rogue_client=rogue.issue("rogue-client", client, proxy),
    )


def _authority(directory: Path, name: str) -> _Authority:
    """
    Make a CA and write its certificate; its key lives in memory only.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(name, _name(name), key, key, 365 * _DAY)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = _Authority(directory, certificate, key)
    authority.path.write_bytes(_pem(certificate))
    return authority


def _builder(
    name: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    end: timedelta,
) -> x509.CertificateBuilder:
    """
    Begin a certificate that began some days ago, whatever the clocks of both sides.

    @param signer: The issuer's key, which strict checks want to be named.
    """
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 7 * _DAY)
        .not_valid_after(now + end)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    )


def _name(name: str) -> x509.Name:
    """
    Make a distinguished name of a common name.
    """
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _common_name(name: x509.Name) -> str:
    """
    Take the common name out of a distinguished one.
    """
    return str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _pem(certificate: x509.Certificate) -> bytes:
    """
    Write a certificate as text.
    """
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """
    Write a key that only its owner can read, from the first byte on.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
