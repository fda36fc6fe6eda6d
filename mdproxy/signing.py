# -*- test-case-name: tests.test_signing -*-
"""
Sign instance ids the way Nova checks them.

Nova trusts C{X-Instance-ID} only where C{X-Instance-ID-Signature} is the HMAC-SHA256
of it under the secret that both sides hold (nova/api/metadata/handler.py,
C{_validate_shared_secret}).  Nothing here logs: what is never written cannot leak.
"""

from __future__ import annotations

import hashlib
import hmac

from attrs import field, frozen


@frozen
class Signer:
    """
    The holder of the secret shared with Nova.

    @ivar _secret: The secret, as the bytes in Nova's configuration.
    """

    _secret: bytes = field(repr=False)

    def sign(self, instance_id: str) -> str:
        """
        Compute the signature that Nova expects beside an instance id.

        @param instance_id: The id exactly as it goes on the wire.

        @return: The signature in lower-case hexadecimal; Nova refuses upper case.
        """
        return hmac.new(self._secret, instance_id.encode(), hashlib.sha256).hexdigest()
