"""
Tests for L{mdproxy.agent_headers}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.agent_headers import Forwarded, read_forwarded
from mdproxy.headers import Fields
from mdproxy.http.parsing import BadRequest

_ID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
_OTHER = "ffffffff-4e5f-6071-8293-a4b5c6d7e8f9"
_NETWORK = (b"x-neutron-network-id", _ID.encode())
_ROUTER = (b"x-neutron-router-id", _ID.encode())
_OVN = (b"x-ovn-network-id", _ID.encode())
_PEER = (b"x-forwarded-for", b"10.0.0.5")
_HOST = (b"host", b"169.254.169.254")

_names = st.sampled_from(
    [
        b"x-neutron-network-id",
        b"x-neutron-router-id",
        b"x-ovn-network-id",
        b"x-forwarded-for",
        b"x_forwarded_for",
        b"x_ovn_network_id",
        b"x-neutron_network-id",
        b"forwarded",
        b"x-real-ip",
        b"host",
    ]
)
_values = st.sampled_from(
    [_ID.encode(), _OTHER.encode(), b"10.0.0.5", b"10.9.9.9", b"fe80::1", b""]
) | st.binary(max_size=60)


class ReadForwardedTests(SynchronousTestCase):
    """
    What is read from the fields of one request.
    """

    def refused(self, *headers: tuple[bytes, bytes]) -> None:
        """
        The fields say nothing that is believed: 400.
        """
        error = self.assertRaises(BadRequest, read_forwarded, headers)
        self.assertEqual(error.status, 400)

    def test_network(self) -> None:
        """
        Of the DHCP agent's haproxy: the network, which names its namespace.
        """
        self.assertEqual(
            read_forwarded((_HOST, _NETWORK, _PEER)),
            Forwarded(f"qdhcp-{_ID}", _ID, "10.0.0.5"),
        )

    def test_ovn_network(self) -> None:
        """
        Of the OVN agent's haproxy: the network, and its namespace is another.
        """
        self.assertEqual(
            read_forwarded((_PEER, _OVN)), Forwarded(f"ovnmeta-{_ID}", _ID, "10.0.0.5")
        )

    def test_router(self) -> None:
        """
        Of the L3 agent's haproxy: a router, which is no network.
        """
        forwarded = read_forwarded((_ROUTER, _PEER))
        self.assertEqual(forwarded, Forwarded(f"qrouter-{_ID}", None, "10.0.0.5"))
        self.assertEqual(forwarded.place, f"qrouter-{_ID}")

    def test_place_of_a_network(self) -> None:
        """
        A network goes by its own id.
        """
        self.assertEqual(read_forwarded((_NETWORK, _PEER)).place, _ID)

    def test_addresses(self) -> None:
        """
        Addresses become canonical; IPv4 comes IPv4-mapped from a haproxy on C{::}.
        """
        for value, address in (
            (b"::ffff:10.0.0.5", "10.0.0.5"),
            (b"FE80:0::F816:3eff:fe00:5", "fe80::f816:3eff:fe00:5"),
            (b"2001:db8::5", "2001:db8::5"),
        ):
            forwarded = read_forwarded((_NETWORK, (b"x-forwarded-for", value)))
            self.assertEqual(forwarded.address, address)

    def test_no_address(self) -> None:
        """
        What is no single plain address is refused.
        """
        for value in (
            b"",
            b"10.0.0.5, 10.0.0.6",
            b"10.0.0.5,",
            b"10.0.0.5 10.0.0.6",
            b"fe80::1%eth0",
            b"fe80::1%25eth0",
            b"[fe80::1]",
            b"10.0.0.5:80",
            b"010.0.0.5",
            b"10.0.5",
            b"unknown",
            b"10.0.0.5\x00",
            b"10.0.0.5\n",
            "\u06610.0.0.5".encode(),
            b"1" * 4000,
        ):
            self.refused(_NETWORK, (b"x-forwarded-for", value))

    def test_no_id(self) -> None:
        """
        What is no id as Neutron writes it is refused, and never made a path of.
        """
        for value in (
            b"",
            _ID.encode() + b", " + _OTHER.encode(),
            _ID.encode().upper(),
            _ID.encode().replace(b"-", b""),
            b"{" + _ID.encode() + b"}",
            _ID.encode() + b"\n",
            b"../../etc",
            b"red",
        ):
            self.refused((b"x-ovn-network-id", value), _PEER)

    def test_forged_peer(self) -> None:
        """
        With an instance's own X-Forwarded-For before haproxy's there are two.
        """
        for forged in (b"10.9.9.9", b"10.0.0.5", b""):
            self.refused((b"x-forwarded-for", forged), _NETWORK, _PEER)

    def test_forged_network(self) -> None:
        """
        Of whatever kinds two lines are: one of them is the instance's.
        """
        for own in (_NETWORK, _ROUTER, _OVN):
            for name in (_NETWORK[0], _ROUTER[0], _OVN[0]):
                self.refused((name, _OTHER.encode()), own, _PEER)

    def test_missing(self) -> None:
        """
        A line that is missing is not made up for.
        """
        self.refused()
        self.refused(_NETWORK)
        self.refused(_PEER)

    def test_underscores(self) -> None:
        """
        Names with underscores are other fields, as they are to haproxy.
        """
        forged = (
            (b"x_forwarded_for", b"10.9.9.9"),
            (b"x_neutron_router_id", _OTHER.encode()),
            (b"x-neutron_network-id", _OTHER.encode()),
        )
        self.assertEqual(
            read_forwarded((*forged, _NETWORK, _PEER)),
            Forwarded(f"qdhcp-{_ID}", _ID, "10.0.0.5"),
        )
        self.refused(_NETWORK, (b"x_forwarded_for", b"10.0.0.5"))

    @given(
        st.lists(st.tuples(_names, _values), max_size=6).map(tuple),
        st.sampled_from([_NETWORK, _ROUTER, _OVN]),
    )
    def test_never_the_instances_word(
        self, forged: Fields, own: tuple[bytes, bytes]
    ) -> None:
        """
        Whatever an instance writes in front of haproxy's own lines: it is either taken
        for who it is or refused.
        """
        honest = read_forwarded((own, _PEER))
        try:
            read = read_forwarded((*forged, own, _PEER))
        except BadRequest as bad:
            self.assertEqual(bad.status, 400)
        else:
            self.assertEqual(read, honest)
