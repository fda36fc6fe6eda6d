"""
Tests for L{mdproxy.manhole.keys}.
"""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.manhole.keys import (
    ALGORITHMS,
    AuthorizedKeys,
    fingerprint,
    host_key,
    parse_authorized,
    verifies,
)
from mdproxy.manhole.trust import Untrusted
from tests.secrecy import SecrecyTestCase

#: A key that everybody knows (it is GitHub's), and what C{ssh-keygen -l} says of it.
LINE = (
    b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
)
PRINT = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


def make(kind: str = "ed25519", bits: int = 2048) -> Key:
    """
    Make a key.
    """
    if kind == "rsa":
        return Key(rsa.generate_private_key(65537, bits))
    if kind == "ecdsa":
        return Key(ec.generate_private_key(ec.SECP256R1()))
    return Key(ed25519.Ed25519PrivateKey.generate())


def line_of(key: Key, comment: bytes = b"me@here") -> bytes:
    """
    Write a line of C{authorized_keys}.
    """
    line: bytes = key.public().toString("OPENSSH", comment=comment)
    return line


class ParseTests(SynchronousTestCase):
    """
    Tests for L{parse_authorized}.
    """

    def test_types(self) -> None:
        """
        Ed25519, ECDSA and RSA keys open, with comments and without, whatever else is
        in the file.
        """
        keys = [make(), make("ecdsa"), make("rsa")]
        lines = [b"# mine", b"", *map(line_of, keys), b"  " + LINE + b"\r"]
        parsed = parse_authorized(b"\n".join(lines))
        blobs = [key.public().blob() for key in keys]
        self.assertEqual(list(parsed.keys)[:3], blobs)
        self.assertEqual([fingerprint(b) for b in parsed.keys][3:], [PRINT])
        self.assertEqual(parsed.problems, ())

    def assert_refused(self, line: bytes, why: str) -> None:
        """
        A line opens nothing, and the next one does.
        """
        parsed = parse_authorized(line + b"\n" + LINE)
        self.assertEqual([fingerprint(blob) for blob in parsed.keys], [PRINT], line)
        (problem,) = parsed.problems
        self.assertTrue(problem.startswith("line 1 "), problem)
        self.assertIn(why, problem)

    def test_options(self) -> None:
        """
        A line with options opens nothing: what they ask for can't be kept.
        """
        key = line_of(make())
        for options in (
            b'command="/bin/true" ',
            b'from="10.0.0.1" ',
            b"no-pty ",
            b"restrict ",
            b"cert-authority ",
            b'environment="ssh-ed25519 AAAA" ',
        ):
            self.assert_refused(options + key, "options")

    def test_other_types(self) -> None:
        """
        Nor does a key of another type: those that want a touch could not be asked for
        it.
        """
        for kind in (
            b"ssh-dss",
            b"sk-ssh-ed25519@openssh.com",
            b"ssh-ed25519-cert-v01@openssh.com",
        ):
            blob = b64encode(NS(kind) + NS(b"\0" * 32))
            self.assert_refused(kind + b" " + blob, "type that is not taken")

    def test_small(self) -> None:
        """
        Nor does a short RSA key.
        """
        self.assert_refused(line_of(make("rsa", 1024)), "less than 2048 bits")

    def test_broken(self) -> None:
        """
        Nor does a line that is broken.
        """
        kind, data = LINE.split()
        blob = b64encode(NS(b"ssh-ed25519") + NS(b"\0" * 32) + b"more")
        for line in (kind, kind + b" ?", kind + b" " + data[:-8], kind + b" " + blob):
            self.assert_refused(line, "broken key")
        self.assert_refused(b"ssh-rsa " + data, "another type than it says")

    @settings(deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=80),
                st.builds(
                    lambda kind, more: kind + b" " + b64encode(NS(kind) + more),
                    st.sampled_from(sorted(ALGORITHMS)),
                    st.one_of(
                        st.binary(max_size=80),
                        st.lists(st.binary(max_size=40)).map(
                            lambda parts: b"".join(map(NS, parts))
                        ),
                    ),
                ),
            )
        )
    )
    def test_anything(self, lines: list[bytes]) -> None:
        """
        Whatever is in the file, nothing is raised, and a good key is found.
        """
        parsed = parse_authorized(b"\n".join([*lines, LINE]))
        self.assertIn(PRINT, map(fingerprint, parsed.keys))


class AuthorizedTests(SecrecyTestCase):
    """
    Tests for L{AuthorizedKeys}.
    """

    def setUp(self) -> None:
        """
        Have a file with one key.
        """
        super().setUp()
        directory = Path(self.mktemp())
        directory.mkdir()
        directory.chmod(0o755)
        self.key = make()
        self.path = directory / "authorized"
        self.write(line_of(self.key))
        self.authorized = AuthorizedKeys(str(self.path))

    def write(self, data: bytes, mode: int = 0o600) -> None:
        """
        Write the file.
        """
        self.path.write_bytes(data)
        self.path.chmod(mode)

    def opens(self, key: Key) -> bool:
        """
        Ask whether a key opens.
        """
        return self.authorized.find(key.public().blob()) is not None

    def test_read_each_time(self) -> None:
        """
        A change counts at the next login.
        """
        other = make()
        self.assertEqual((self.opens(self.key), self.opens(other)), (True, False))
        self.write(line_of(other))
        self.assertEqual((self.opens(self.key), self.opens(other)), (False, True))
        self.assertEqual(self.events, [])

    def test_untrusted(self) -> None:
        """
        A file that others could have written opens nothing; that is said once.
        """
        self.path.chmod(0o622)
        self.assertFalse(self.opens(self.key))
        self.assertFalse(self.opens(self.key))
        ((level, line),) = self.logged()
        self.assertEqual(level, "warn")
        self.assertIn("chmod 0600", line)
        self.path.chmod(0o600)
        self.assertTrue(self.opens(self.key))
        self.path.chmod(0o622)
        self.assertFalse(self.opens(self.key))
        self.assertEqual(len(self.logged()), 2)

    def test_missing(self) -> None:
        """
        Nor does one that is not there.
        """
        self.path.unlink()
        self.assertFalse(self.opens(self.key))
        self.assertIn("does not exist", self.logged()[0][1])

    def test_bad_line(self) -> None:
        """
        A line that opens nothing is named, and takes nothing from the others.
        """
        self.write(b"restrict " + line_of(make()) + b"\n" + line_of(self.key))
        self.assertTrue(self.opens(self.key))
        ((_level, line),) = self.logged()
        self.assertIn("line 1 begins with options", line)


class SignatureTests(SynchronousTestCase):
    """
    Tests for L{verifies}.
    """

    def test_good(self) -> None:
        """
        A key's own signature is known, by each algorithm that is sound.
        """
        for kind in ("ed25519", "ecdsa", "rsa"):
            key = make(kind)
            for algorithm in ALGORITHMS[key.sshType()]:
                signature = key.sign(b"data", signatureType=algorithm)
                public = key.public()
                self.assertTrue(verifies(public, algorithm, signature, b"data"))
                self.assertFalse(verifies(public, algorithm, signature, b"date"))
                other = make(kind).public()
                self.assertFalse(verifies(other, algorithm, signature, b"data"))

    def test_sha1(self) -> None:
        """
        A signature with SHA-1 is none, also under the name of a better one.
        """
        key = make("rsa")
        signature = key.sign(b"data", signatureType=b"ssh-rsa")
        for algorithm in (b"ssh-rsa", b"rsa-sha2-256"):
            self.assertFalse(verifies(key.public(), algorithm, signature, b"data"))

    def test_other_name(self) -> None:
        """
        Nor is one that says another algorithm than the login.
        """
        key = make("rsa")
        signature = key.sign(b"data", signatureType=b"rsa-sha2-512")
        self.assertFalse(verifies(key.public(), b"rsa-sha2-256", signature, b"data"))

    @settings(deadline=None)
    @given(
        st.sampled_from([make(), make("ecdsa"), make("rsa")]),
        st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(NS)),
        st.booleans(),
    )
    def test_anything(self, key: Any, data: bytes, named: bool) -> None:
        """
        Whatever is sent in its place is none, and raises nothing.
        """
        algorithm = next(iter(ALGORITHMS[key.sshType()]))
        signature = NS(algorithm) + data if named else data
        self.assertFalse(verifies(key.public(), algorithm, signature, b"data"))


class HostKeyTests(SynchronousTestCase):
    """
    Tests for L{host_key}.
    """

    def setUp(self) -> None:
        """
        Have a directory.
        """
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.directory.chmod(0o700)
        self.path = self.directory / "key"

    def refusal(self) -> str:
        """
        See that there is no key.

        @return: Why.
        """
        return str(self.assertRaises(Untrusted, host_key, str(self.path)))

    def write(self, data: bytes, mode: int = 0o600) -> None:
        """
        Write the file.
        """
        self.path.write_bytes(data)
        self.path.chmod(mode)

    def test_made(self) -> None:
        """
        Where there is none one is made that nobody else can read, and it is the same
        from then on; nothing else stays in the directory.
        """
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        key = host_key(str(self.path))
        self.assertEqual(key.sshType(), b"ssh-ed25519")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(host_key(str(self.path)).blob(), key.blob())
        self.assertEqual(os.listdir(self.directory), ["key"])

    def test_not_made(self) -> None:
        """
        No key is made where others could put theirs, or where there is no directory.
        """
        self.directory.chmod(0o777)
        self.assertIn("is writable by others", self.refusal())
        self.assertEqual(os.listdir(self.directory), [])
        self.path = self.directory / "none" / "key"
        self.assertIn("No such file", self.refusal())

    def test_open(self) -> None:
        """
        A key that others can read is none.
        """
        host_key(str(self.path))
        self.path.chmod(0o640)
        self.assertIn("chmod 0600", self.refusal())

    def test_no_key(self) -> None:
        """
        Nor is anything but an ed25519 key of OpenSSH's in clear; what is there stays.
        """
        private = make().toString("OPENSSH", subtype="v1", passphrase=b"secret")
        for data, why in (
            (b"", "no private key"),
            (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "no private key"),
            (line_of(make()), "no private key"),
            (private, "encrypted"),
            (make("ecdsa").toString("OPENSSH", subtype="v1"), "no ed25519 key"),
            (make("rsa").toString("OPENSSH", subtype="PEM"), "no ed25519 key"),
        ):
            self.write(data)
            self.assertIn(why, self.refusal())
            self.assertEqual(self.path.read_bytes(), data)
