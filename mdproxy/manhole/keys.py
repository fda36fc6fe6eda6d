# -*- test-case-name: tests.test_manhole_keys -*-
"""
The keys of the manhole: its own, and those that open it.
"""

from __future__ import annotations

import binascii
import os
import struct
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Final

from attrs import define, field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.keys import BadKeyError, EncryptedKeyError, Key
from twisted.logger import Logger

from mdproxy.manhole.trust import Untrusted, read_trusted

#: By which algorithms a key of each type may sign (RFC 8709, RFC 5656, RFC 8332): none
#: with SHA-1, none that somebody has to touch, for who checks that is not conch.
ALGORITHMS: Final[Mapping[bytes, Collection[bytes]]] = {
    b"ssh-ed25519": (b"ssh-ed25519",),
    b"ecdsa-sha2-nistp256": (b"ecdsa-sha2-nistp256",),
    b"ecdsa-sha2-nistp384": (b"ecdsa-sha2-nistp384",),
    b"ecdsa-sha2-nistp521": (b"ecdsa-sha2-nistp521",),
    b"ssh-rsa": (b"rsa-sha2-512", b"rsa-sha2-256"),
}
#: A shorter RSA key opens nothing.
_BITS: Final = 2048
#: What a broken key brings up in conch and cryptography.
_BROKEN: Final = (
    *(BadKeyError, UnsupportedAlgorithm, ValueError, TypeError),
    *(struct.error, LookupError),
)


def fingerprint(blob: bytes) -> str:
    """
    Name a key as C{ssh-keygen -l} does.

    @param blob: The public key as it goes on the wire (RFC 4253, section 6.6).
    """
    return f"SHA256:{b64encode(sha256(blob).digest()).rstrip(b'=').decode()}"


@frozen
class Parsed:
    """
    What is in an C{authorized_keys} file (sshd(8)).

    @ivar keys: The keys, by how they go on the wire.
    @ivar problems: Why other lines open nothing.
    """

    keys: Mapping[bytes, Key]
    problems: tuple[str, ...]


def parse_authorized(data: bytes) -> Parsed:
    """
    Read an C{authorized_keys} file.

    A line with options (C{command=}, C{from=}, C{restrict}, ...) opens nothing: none of
    them can be kept here, and whoever wrote one wanted less than a shell.
    """
    keys: dict[bytes, Key] = {}
    problems = []
    for number, line in enumerate(data.splitlines(), start=1):
        words = line.split(None, 2)
        if not words or words[0].startswith(b"#"):
            continue
        try:
            key = _key_of(words)
        except Untrusted as error:
            problems.append(f"line {number} {error}")
        else:
            keys[key.blob()] = key
    return Parsed(keys, tuple(problems))


def _key_of(words: list[bytes]) -> Key:
    """
    Read a key.

    @param words: Its type, itself in base64, and perhaps a comment.

    @raise Untrusted: If it may open nothing.
    """
    kind = words[0]
    if kind not in ALGORITHMS:
        if kind.startswith((b"ssh-", b"sk-", b"ecdsa-")):
            raise Untrusted("has a key of a type that is not taken here")
        raise Untrusted("begins with options, which can't be kept here, or has no key")
    try:
        blob = b64decode(b"".join(words[1:2]), validate=True)
        if getNS(blob)[0] != kind:
            raise Untrusted("has a key of another type than it says")
        key: Key = Key.fromString(blob, type="BLOB")
    except (binascii.Error, *_BROKEN):
        raise Untrusted("has a broken key") from None
    if key.blob() != blob:
        raise Untrusted("has a broken key")
    if key.type() == "RSA" and key.size() < _BITS:
        raise Untrusted(f"has an RSA key of less than {_BITS} bits")
    return key


@define(eq=False)
class AuthorizedKeys:
    """
    The keys that open the manhole, read again for every login.

    @ivar _path: The file.
    @ivar _told: What was wrong with it when that was last said.
    """

    _path: str
    _told: tuple[str, ...] = field(default=(), init=False)
    _log: Logger = field(factory=Logger, init=False)

    def find(self, blob: bytes) -> Key | None:
        """
        Find a key.

        @param blob: The public key as it goes on the wire.

        @return: C{None}: it opens nothing.
        """
        try:
            parsed = parse_authorized(read_trusted(self._path))
        except FileNotFoundError:
            parsed = Parsed({}, (f"{self._path} does not exist",))
        except Untrusted as error:
            parsed = Parsed({}, (str(error),))
        self._tell(parsed.problems)
        return parsed.keys.get(blob)

    def _tell(self, problems: tuple[str, ...]) -> None:
        """
        Log what is wrong with the file, when that has changed.
        """
        if problems == self._told:
            return
        self._told = problems
        for problem in problems:
            self._log.warn(
                "manhole: authorized_keys: {problem}; that opens nothing",
                problem=problem,
            )


def verifies(key: Key, algorithm: bytes, signature: bytes, data: bytes) -> bool:
    """
    Tell whether a key has signed something.

    @param algorithm: By which algorithm it says that it has (RFC 8332, section 3.2).
    @param signature: As it goes on the wire.
    """
    if algorithm not in ALGORITHMS[key.sshType()]:
        return False
    try:
        if getNS(signature)[0] != algorithm:
            return False
        return bool(key.verify(signature, data))
    except _BROKEN:
        return False


def host_key(path: str) -> Key:
    """
    Read the manhole's own key; where there is none one is made.

    @param path: The file, in a directory that exists.

    @return: An Ed25519 key.

    @raise Untrusted: If it is none, or can't be relied upon, or can't be made.
    """
    try:
        data = read_trusted(path, private=True)
    except FileNotFoundError:
        data = _make_host_key(path)
    try:
        key: Key = Key.fromString(data, type="PRIVATE_OPENSSH")
    except EncryptedKeyError:
        raise Untrusted(f"{path} is encrypted, and nobody is here to type") from None
    except _BROKEN:
        raise Untrusted(f"{path} is no private key of OpenSSH's") from None
    if key.isPublic() or key.type() != "Ed25519":
        raise Untrusted(f"{path} is no ed25519 key: ssh-keygen -t ed25519 makes one")
    return key


def _make_host_key(path: str) -> bytes:
    """
    Make a key; its file is never there without all that is in it, or open to others.

    @return: What is in the file: our key, or that of a process which was faster.

    @raise Untrusted: If that can't be.
    """
    made: bytes = Key(Ed25519PrivateKey.generate()).toString("OPENSSH", subtype="v1")
    try:
        # Nobody else can put anything there: read_trusted has looked.
        directory = os.path.dirname(path)
        descriptor, draft = tempfile.mkstemp(prefix=".mdproxy-", dir=directory)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(made)
                stream.flush()
                os.fsync(descriptor)
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            os.unlink(draft)
        return read_trusted(path, private=True)
    except OSError as error:
        raise Untrusted(f"{path} can't be made: {error.strerror}") from None
