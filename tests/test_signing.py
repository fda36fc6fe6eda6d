"""
Tests for L{mdproxy.signing}.
"""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.signing import Signer
from tests.secrecy import BODY, SECRET, find_secret


class SignerTests(SynchronousTestCase):
    """
    Tests for L{Signer}.
    """

    def test_vector(self) -> None:
        """
        The known instance id has the signature that Nova computes for it.
        """
        self.assertEqual(
            Signer(SECRET).sign("32d0524b-314d-4594-b3a3-607e3f2354f8"),
            "6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605",
        )

    @given(st.binary(max_size=200), st.text(max_size=255))
    def test_is_novas_rule(self, secret: bytes, instance_id: str) -> None:
        """
        Any secret of any bytes signs any id as Nova's own expression does
        (nova/api/metadata/handler.py, C{_validate_shared_secret}).
        """
        self.assertEqual(
            Signer(secret).sign(instance_id),
            hmac.new(secret, instance_id.encode("utf-8"), hashlib.sha256).hexdigest(),
        )

    def test_secret_is_not_shown(self) -> None:
        """
        Neither form of its text holds the secret.
        """
        signer = Signer(SECRET)
        for text in (repr(signer), str(signer), f"{signer}"):
            self.assertEqual(text, "Signer()")


class FindSecretTests(SynchronousTestCase):
    """
    Tests for L{find_secret}, by which other tests judge what is logged and shown.
    """

    def test_finds(self) -> None:
        """
        It finds each kind of secret, and nothing else.
        """
        for secret in (SECRET.decode(), BODY.decode().strip(), "0a" * 32):
            self.assertEqual(find_secret(f"<{secret}>"), secret)
        self.assertIsNone(find_secret("32d0524b-314d-4594-b3a3-607e3f2354f8 deadbeef"))
