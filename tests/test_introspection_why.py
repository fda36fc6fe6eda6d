"""
Tests for L{mdproxy.introspection.why}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.introspection.why import MOST
from mdproxy.lookup.decision import Policy
from mdproxy.model import Identity, Malformed
from tests.operated import ADDRESS, BLUE, RED, A, B, Host, a_link, a_port


class WhyTestCase(SynchronousTestCase):
    """
    Something that asks why.
    """

    def setUp(self) -> None:
        """
        Make a host.
        """
        self.host = Host()

    def ask(self, address: str = ADDRESS, network: str | None = None) -> Any:
        """
        Ask why; what is said is ready for JSON.
        """
        return json.loads(json.dumps(self.host.view.why(address, network)))

    def only(self, address: str = ADDRESS, network: str | None = None) -> Any:
        """
        Ask why where there is one candidate.
        """
        (candidate,) = self.ask(address, network)["candidates"]
        return candidate


class EvidenceTests(WhyTestCase):
    """
    What is told of an address on one network.
    """

    def test_allowed(self) -> None:
        """
        Of an instance that is served the whole chain is told: listener, neighbour with
        the kernel's word, lease with the time left, port, inventory, row and verdict.
        """
        self.host.know(a_port())
        self.host.see(A)
        self.host.lease(A, 90.0, "vm-a")
        self.assertIsInstance(self.host.ask(), Identity)
        why = self.ask()
        (found,) = why["candidates"]
        self.assertEqual((why["address"], why["total"]), (ADDRESS, 1))
        self.assertEqual(why["sentence"], found["sentence"])
        self.assertIn("It is instance i-a", found["sentence"])
        wanted = {
            "network": RED,
            "called": RED,
            "verdict": "allowed",
            "row": 1,
            "reason": "agreed",
            "doubtful": False,
            "mac": A,
            "mac_from": "neighbour",
            "neighbour": {"mac": A, "state": "reachable", "turns": []},
        }
        self.assertEqual({name: found[name] for name in wanted}, wanted)
        self.assertEqual(found["listener"]["name"], "l-red")
        self.assertEqual(found["port"]["instance"], "i-a")
        lease = found["lease"]
        self.assertEqual(
            (lease["mac"], lease["hostname"], lease["ends_in"], lease["in_force"]),
            (A, "vm-a", 90.0, True),
        )
        (inventory,) = found["inventories"]
        self.assertEqual(
            (inventory["name"], inventory["state"], inventory["knows"]),
            ("memory", "live", True),
        )
        (last,) = found["last"]
        self.assertEqual((last["status"], last["seconds"]), (200, 0.25))
        self.assertIn("was answered 200", found["lately"])

    def test_spelling(self) -> None:
        """
        An address is found however it is spelt; what is none is refused.
        """
        self.host.see(A, "fe80::f816:3eff:fe00:a")
        found = self.only("FE80:0:0:0:F816:3EFF:FE00:000A%eth0")
        self.assertEqual(found["neighbour"]["mac"], A)
        self.host.see(A)
        self.assertEqual(self.ask(f"::ffff:{ADDRESS}")["address"], ADDRESS)
        for text in ("", "10.0.0", "10.0.0.5/24", "vm-a", "1" * 100_000, "10.0.0.5\n"):
            self.assertRaises(Malformed, self.host.view.why, text)

    @given(st.text(max_size=60) | st.ip_addresses().map(str))
    def test_any_text(self, text: str) -> None:
        """
        Whatever is asked for is no address, or is told of.
        """
        try:
            said = self.host.view.why(text)
        except Malformed:
            return
        self.assertEqual(said["total"], 2)
        json.dumps(said)

    def test_ended_lease(self) -> None:
        """
        A lease that has ended is shown as such, and decides nothing.
        """
        self.host.know(a_port())
        self.host.see(A)
        self.host.lease(B, 5.0)
        self.host.clock.advance(8)
        found = self.only()
        self.assertEqual((found["row"], found["reason"]), (2, "lease-missing"))
        self.assertEqual(
            (found["lease"]["ends_in"], found["lease"]["in_force"]), (-3.0, False)
        )

    def test_endless_lease(self) -> None:
        """
        A lease without end is in force.
        """
        self.host.lease(A)
        lease = self.only()["lease"]
        self.assertEqual((lease["ends_in"], lease["in_force"]), (None, True))

    def test_turned(self) -> None:
        """
        It shows that the neighbour entry changed hands, and the requests from before.
        """
        self.host.know(a_port())
        self.host.see(A)
        self.host.ask()
        self.host.clock.advance(10)
        self.host.see(B)
        self.host.clock.advance(2)
        found = self.only()
        self.assertEqual(found["neighbour"]["turns"], [{"age": 2.0, "from": A}])
        self.assertEqual((found["mac"], found["reason"]), (B, "mac-mismatch"))
        self.assertEqual(found["last"][0]["mac"], A)
        self.assertIn(f"came from the MAC {A}, not from {B}", found["lately"])

    def test_failed_neighbour(self) -> None:
        """
        A neighbour that the kernel gave up is shown as that.
        """
        self.host.neighbours.kernel[RED, ADDRESS] = None
        self.host.know(a_port())
        found = self.only()
        self.assertEqual(found["neighbour"]["state"], "failed")
        self.assertEqual((found["row"], found["mac_from"]), (10, None))

    def test_nothing_is_changed(self) -> None:
        """
        Asking counts as no judgement, and leaves no trace.
        """
        self.host.know(a_port())
        self.host.see(A)
        before = json.dumps(self.host.lookup.describe())
        self.only()
        self.assertEqual(json.dumps(self.host.lookup.describe()), before)
        self.assertEqual(list(self.host.transactions.latest()), [])


class AgreementTests(WhyTestCase):
    """
    What is told is what the proxy used.
    """

    def agree(self, reason: str, mac: str | None = A) -> Mapping[str, Any]:
        """
        Have somebody ask; the record of it and what is told agree.

        @return: What is told.
        """
        verdict = self.host.ask(mac, status=404)
        found: Mapping[str, Any] = self.only()
        self.assertEqual(verdict.evidence.reason.value, reason)
        self.assertEqual(found["reason"], reason)
        self.assertEqual(found["row"], verdict.evidence.row)
        self.assertEqual(found["last"][0]["reason"], reason)
        self.assertEqual(found["last"][0]["row"], verdict.evidence.row)
        self.assertIn(reason, found["lately"])
        return found

    def test_foreign_address(self) -> None:
        """
        An address that is not the port's: both are named.
        """
        self.host.know(a_port(addresses=frozenset({"10.0.0.9"})))
        self.host.see(A)
        text = self.agree("foreign-address")["sentence"]
        self.assertIn("instance i-a's, whose port has 10.0.0.9, not 10.0.0.5", text)
        self.assertIn("answered 404 at last", text)

    def test_stolen_address(self) -> None:
        """
        An address that belongs to another's port: the owner and the thief are named.
        """
        self.host.know(a_port())
        self.host.see(B)
        text = self.agree("mac-mismatch", B)["sentence"]
        self.assertIn(f"belongs to instance i-a, whose port has the MAC {A}", text)
        self.assertIn(f"but {B} asks with it", text)

    def test_unknown(self) -> None:
        """
        Somebody whom nobody knows.
        """
        self.host.see(A)
        text = self.agree("unknown")["sentence"]
        self.assertIn(f"No inventory knows a port with the MAC {A}", text)
        self.assertIn("404", text)

    def test_doubtful(self) -> None:
        """
        Where an inventory is not live the refusal proves nothing, and it is named.
        """
        self.host.inventory.state = SourceState.STALE
        self.host.see(A)
        found = self.agree("unknown")
        self.assertTrue(found["doubtful"])
        self.assertIn("because memory is stale", found["sentence"])
        self.assertIn("503", found["sentence"])

    def test_in_doubt(self) -> None:
        """
        Where an inventory is in doubt about the network, too.
        """
        self.host.inventory.in_doubt = frozenset({RED})
        self.host.see(A)
        self.assertIn("because memory is in doubt", self.agree("unknown")["sentence"])

    def test_nobody_can_know(self) -> None:
        """
        Where no inventory can know the network, that is said.
        """
        self.host.links.append(a_link("green"))
        self.host.see(A, network="green")
        found = self.only(network="green")
        self.assertIn("no inventory can know the network green", found["sentence"])

    def test_no_neighbour(self) -> None:
        """
        Where the kernel has no entry, it may come.
        """
        self.host.know(a_port())
        found = self.agree("no-neighbour", None)
        self.assertTrue(found["doubtful"])
        self.assertIn("the entry may come in a moment", found["sentence"])

    def test_unheard_of(self) -> None:
        """
        An instance that was quiet for long enough to have no neighbour entry is no
        fault: it is told what would be if it asked.
        """
        self.host.know(a_port())
        found = self.only()
        self.assertEqual(
            (found["verdict"], found["reason"]), ("refused", "no-neighbour")
        )
        self.assertEqual(
            found["supposed"],
            {"verdict": "allowed", "row": 2, "reason": "lease-missing", "mac": A},
        )
        self.assertIn("Nothing was heard of 10.0.0.5 on red", found["sentence"])
        self.assertIn(f"instance i-a, whose port has the MAC {A}", found["sentence"])
        self.assertIn("it is allowed (lease-missing).", found["sentence"])
        self.assertIsNone(self.only("10.0.0.6", RED)["supposed"])

    def test_unheard_of_and_wrong(self) -> None:
        """
        If it would be refused that is told, and why.
        """
        self.host.know(a_port(), a_port("i-b"))
        found = self.only()
        self.assertEqual(found["supposed"]["reason"], "ambiguous")
        self.assertIn("it is refused (ambiguous). One inventory", found["sentence"])

    def test_lease_conflict(self) -> None:
        """
        A lease that names another is told, whether it refuses or not.
        """
        self.host.know(a_port())
        self.host.see(A)
        self.host.lease(B)
        text = self.agree("lease-conflict")["sentence"]
        self.assertIn(f"the lease of {ADDRESS} belongs to {B}", text)
        self.host.lookup.renew(
            [self.host.inventory], [], Policy(refuse_lease_conflict=True)
        )
        found = self.agree("lease-conflict")
        self.assertEqual(found["verdict"], "refused")
        self.assertIn("See whether the lease file is out of date", found["sentence"])

    def test_frame_mismatch(self) -> None:
        """
        A frame from another than the neighbour: what came of it stands beside what
        would be now.
        """
        self.host.know(a_port())
        self.host.see(A)
        self.host.ask(B, status=404)
        found = self.only()
        self.assertEqual(
            (found["verdict"], found["reason"]), ("allowed", "lease-missing")
        )
        self.assertEqual(found["last"][0]["reason"], "frame-mismatch")
        self.assertIn(f"opened by {B}, but the neighbour", found["lately"])
        self.assertIn(f"points to {A}", found["lately"])

    def test_lately(self) -> None:
        """
        What came of the latest request is explained where that would be another matter
        now, with names; and not twice where it is the same.
        """
        self.host.know(a_port(addresses=frozenset({"10.0.0.9"})))
        self.host.see(A)
        self.host.ask(status=404)
        self.assertTrue(self.only()["lately"].endswith("refused, foreign-address."))
        self.host.clock.advance(10)
        self.host.see(B)
        text = self.only()["lately"]
        self.assertIn("instance i-a's, whose port has 10.0.0.9, not 10.0.0.5.", text)
        self.assertNotIn("answered 404 at last", text)

    def test_outcome(self) -> None:
        """
        Where the instance was recognised and still got nothing, what came between is
        told, and what to do.
        """
        self.host.know(a_port())
        self.host.see(A)
        self.host.ask(status=503, outcome="SecretRefused")
        text = self.only()["lately"]
        self.assertIn("(SecretRefused); it was allowed, lease-missing. Nova", text)
        self.assertIn("'mdproxyctl doctor' asks each Nova", text)
        self.host.ask(status=500, outcome="relayed")
        found = self.only()
        self.assertIn(f"near {found['last'][0]['request_id']} where", found["lately"])

    def test_sentences(self) -> None:
        """
        What is said of the latest request is whole sentences.
        """
        self.host.know(a_port())
        self.host.see(B)
        self.host.ask(B, status=404)
        self.host.clock.advance(10)
        self.host.see(A)
        text = self.only()["lately"]
        self.assertIn(f"It came from the MAC {B}, not from {A}.", text)
        self.assertNotIn("..", text)


class CandidatesTests(WhyTestCase):
    """
    On which links an address is looked for.
    """

    def test_several(self) -> None:
        """
        The same address on two networks makes two candidates, each with its own
        evidence, requests and way of being told apart; those first that asked.
        """
        self.host.know(a_port(), a_port("i-b", B, network=BLUE))
        self.host.see(A)
        self.host.see(B, network=BLUE)
        self.host.ask(B, network=BLUE)
        why = self.ask()
        first, second = why["candidates"]
        self.assertEqual((first["network"], second["network"]), (BLUE, RED))
        self.assertEqual(first["port"]["instance"], "i-b")
        self.assertEqual(second["port"]["instance"], "i-a")
        self.assertEqual((len(first["last"]), len(second["last"])), (1, 0))
        self.assertIn("device blue", first["bound"])
        self.assertIsNone(second["lately"])
        self.assertIn("on 2 networks", why["sentence"])

    def test_network(self) -> None:
        """
        A network's link or what inventories call it leaves the others out; one that is
        not listened on has no candidate.
        """
        link = "qdhcp-n/tap1"
        self.host.books.networks.attach(link, "n")
        self.host.links.append(a_link(link))
        self.host.see(A)
        self.host.see(B, network=link)
        for name in ("n", link):
            self.assertEqual(self.only(network=name)["network"], link)
        self.assertEqual(self.only(network=RED)["network"], RED)
        none = self.ask(network="elsewhere")
        self.assertEqual((none["total"], none["candidates"]), (0, []))
        self.assertEqual(none["sentence"], "No listener has a network elsewhere.")

    def test_nothing_known(self) -> None:
        """
        Where nothing is known of an address a few networks are all looked at, of many
        none, unless one is named.
        """
        self.assertEqual(self.ask()["total"], 2)
        self.host.links[:] = [a_link(f"n{n}") for n in range(20)]
        why = self.ask()
        self.assertEqual((why["total"], why["candidates"]), (0, []))
        self.assertIn(f"Nothing is known of {ADDRESS} on any of 20", why["sentence"])
        self.assertEqual(self.only(network="n7")["reason"], "no-neighbour")

    def test_no_listeners(self) -> None:
        """
        Where nobody listens, that is said.
        """
        self.host.links.clear()
        self.assertIn("Nobody listens", self.ask()["sentence"])

    def test_many(self) -> None:
        """
        With the address on a thousand networks so many are shown, and it is said how
        many there are; those that have asked come first.
        """
        self.host.links[:] = [a_link(f"n{n}") for n in range(1000)]
        for link in self.host.links:
            self.host.see(A, network=link.link)
        self.host.ask(network="n999", status=404)
        why = self.ask()
        self.assertEqual((why["total"], len(why["candidates"])), (1000, MOST))
        self.assertEqual(why["candidates"][0]["network"], "n999")
        self.assertIn(f"of which {MOST} are shown", why["sentence"])

    def test_relayed(self) -> None:
        """
        Behind haproxy the caller is the neighbour table's, with its past; and requests
        that were recorded under the network's own name are found.
        """
        link = "qdhcp-n/tap1"
        self.host.books.networks.attach(link, "n")
        self.host.links[:] = [a_link(link, kind="socket", lookback=75.0)]
        self.host.see(A, network=link)
        self.host.clock.advance(100)
        self.host.see(B, network=link)
        self.host.clock.advance(30)
        self.host.ask(None, network="n", status=503)
        found = self.only()
        self.assertEqual(found["reason"], "frame-mismatch")
        self.assertEqual(found["last"][0]["status"], 503)

    def test_requests_elsewhere(self) -> None:
        """
        Requests that came in where nobody listens any more are still shown.
        """
        self.host.ask(network="gone", status=503)
        why = self.ask()
        self.assertEqual([last["network"] for last in why["last"]], ["gone"])
