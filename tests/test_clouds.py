"""
Tests for L{mdproxy.clouds}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.clouds import read_cloud
from mdproxy.model import Malformed

CLOUDS = b"""\
clouds:
  plain:
    auth:
      auth_url: https://keystone/v3
      username: u
      password: s3cret
      project_id: 1234e567
      system_scope: all
    region_name: north
    regions: [a, b]
  full:
    auth_type: v3applicationcredential
    auth: {application_credential_id: i, application_credential_secret: s3cret}
    interface: [internal, public]
    cacert: /ca
    verify: false
    network_endpoint_override: https://neutron
  bare: {}
  vendor: {profile: x}
  wrong: {auth: {username: [a]}}
  text: s3cret
"""


class ReadCloudTests(SynchronousTestCase):
    """
    Tests for L{read_cloud}.
    """

    def test_plain(self) -> None:
        """
        What a cloud says is found as text, as it is written; what we have no use for
        is passed over.
        """
        self.assertEqual(
            read_cloud(CLOUDS, "plain"),
            {
                "auth_url": "https://keystone/v3",
                "username": "u",
                "password": "s3cret",
                "project_id": "1234e567",
                "region_name": "north",
            },
        )

    def test_full(self) -> None:
        """
        What is called otherwise there is found by our names.
        """
        self.assertEqual(
            read_cloud(CLOUDS, "full"),
            {
                "auth_type": "v3applicationcredential",
                "application_credential_id": "i",
                "application_credential_secret": "s3cret",
                "valid_interfaces": "internal,public",
                "cafile": "/ca",
                "insecure": "true",
                "endpoint_override": "https://neutron",
            },
        )

    def test_bare(self) -> None:
        """
        A cloud may say nothing.
        """
        self.assertEqual(read_cloud(CLOUDS, "bare"), {})

    def test_wrong(self) -> None:
        """
        What is no file of clouds, or has not the one, says so without a word from it.
        """
        for data, name, words in (
            (CLOUDS, "other", "has no such cloud"),
            (CLOUDS, "vendor", "from a profile, which is not supported"),
            (CLOUDS, "wrong", "has something else than a text for username"),
            (CLOUDS, "text", "has no 'cloud' with names in it"),
            (b"s3cret", "x", "has no 'clouds' with names in it"),
            (b"clouds: [s3cret]", "x", "has no 'clouds'"),
            (b"clouds: {x: {auth: s3cret}}", "x", "has no 'auth'"),
            (b"a:\n  b: *s3cret\n", "x", "is not YAML in line"),
            (b"a: 'x\\s3cret\n", "x", "is not YAML in line"),
            (b"\xff\xfe\xff", "x", "is not YAML"),
            (b"[" * 5000, "x", "is not YAML"),
        ):
            error = self.assertRaises(Malformed, read_cloud, data, name)
            self.assertIn(words, str(error))
            self.assertNotIn("s3cret", str(error))

    @given(st.binary(), st.text())
    def test_anything(self, data: bytes, name: str) -> None:
        """
        Whatever a file holds: it is read or refused.
        """
        try:
            found = read_cloud(data, name)
        except Malformed:
            return
        self.assertIsInstance(found, dict)
