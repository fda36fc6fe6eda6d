"""
Tests for L{mdproxy.heard}.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.heard import HeardLink
from mdproxy.model import Caller

MAC = "fa:16:3e:00:00:01"
BRIDGE = HeardLink("red", "one", "device", "mac", "br-red", True)
RELAYED = HeardLink("qdhcp-1/tap1", "two", "socket", "mac", "tap1", True, lookback=75.0)


class HeardLinkTests(SynchronousTestCase):
    """
    Tests for L{HeardLink}.
    """

    def test_caller(self) -> None:
        """
        Who would ask now began to do so now, with a frame from the MAC.
        """
        caller = BRIDGE.caller("called", "10.0.0.5", MAC, 100.0)
        self.assertEqual(caller, Caller("red", "10.0.0.5", MAC))
        self.assertEqual((caller.kind, caller.since), ("device", 100.0))

    def test_weaker(self) -> None:
        """
        Where the listener does not go by MAC the caller has none.
        """
        for identify_by in ("lease", "address"):
            heard = evolve(BRIDGE, identify_by=identify_by)
            self.assertEqual(
                heard.caller("called", "10.0.0.5", MAC, 1.0),
                Caller("red", "10.0.0.5", None, identify_by),
            )

    def test_relayed(self) -> None:
        """
        Behind haproxy the MAC is the neighbour table's, whose past counts too; and
        where addresses identify, the network is what the inventories call it.
        """
        caller = RELAYED.caller("called", "10.0.0.5", MAC, 100.0)
        self.assertEqual(caller, Caller("qdhcp-1/tap1", "10.0.0.5", MAC, probed=True))
        self.assertEqual((caller.kind, caller.since), ("socket", 25.0))
        self.assertEqual(RELAYED.names("n"), ("qdhcp-1/tap1", "n", "qdhcp-1"))
        self.assertEqual(BRIDGE.names("n"), ("red",))
        by_address = evolve(RELAYED, identify_by="address")
        self.assertEqual(
            by_address.caller("called", "10.0.0.5", MAC, 100.0),
            Caller("called", "10.0.0.5", None, "address"),
        )

    def test_bound(self) -> None:
        """
        Each kind says what tells its callers from others with the same address.
        """
        self.assertIn("device br-red", BRIDGE.bound)
        self.assertIn("namespace qdhcp-1", RELAYED.bound)
        inside = evolve(RELAYED, kind="namespaces")
        self.assertIn("device tap1 of namespace qdhcp-1", inside.bound)
        plain = evolve(BRIDGE, kind="address", device="127.0.0.1 port 80")
        self.assertIn("nothing: whoever reaches 127.0.0.1 port 80", plain.bound)
