"""
Tests for L{mdproxy.lookup.decision}: the decision table, row by row.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.books import PortBook
from mdproxy.lookup.decision import Facts, Policy, decide, eui64, is_link_local
from mdproxy.model import Caller, Identity, Lease, Port, Reason, Refusal

MAC = "fa:16:3e:00:00:01"
OTHER_MAC = "fa:16:3e:00:00:02"
ADDRESS = "10.0.0.5"
OTHER_ADDRESS = "10.0.0.6"
PORT = Port("red", MAC, "i-1", "p-1", frozenset({ADDRESS}), inventory="static")
OTHER_PORT = Port("red", OTHER_MAC, "i-2", "p-1", frozenset({OTHER_ADDRESS}))
#: The fully known case: row 1.
FACTS = Facts(
    caller=Caller("red", ADDRESS, MAC),
    neighbour=MAC,
    turned=False,
    lease=Lease("red", ADDRESS, MAC, None),
    by_mac=(PORT,),
    by_address=(PORT,),
)


def lease_of(mac: str | None) -> Lease:
    """
    Lease the caller's address to a MAC.
    """
    return Lease("red", ADDRESS, mac, None)


class DecisionTestCase(SynchronousTestCase):
    """
    Asserts on verdicts.
    """

    def assert_allowed(
        self,
        facts: Facts,
        row: int,
        reason: Reason,
        port: Port = PORT,
        policy: Policy | None = None,
    ) -> None:
        """
        Facts identify a port, by a row and for a reason, and show the evidence.
        """
        for doubtful in (False, True):
            verdict = decide(facts, policy or Policy(), doubtful)
            assert isinstance(verdict, Identity), verdict
            self.assertEqual(verdict.port, port)
            evidence = verdict.evidence
            self.assertEqual((evidence.row, evidence.reason), (row, reason))
            self.assertEqual(evidence.caller, facts.caller)
            self.assertEqual(evidence.neighbour, facts.neighbour)
            self.assertEqual(evidence.lease, facts.lease)

    def assert_refused(
        self,
        facts: Facts,
        row: int,
        reason: Reason,
        policy: Policy | None = None,
        always_doubtful: bool = False,
    ) -> None:
        """
        Facts identify nobody, by a row and for a reason, and show the evidence.
        """
        for doubtful in (False, True):
            verdict = decide(facts, policy or Policy(), doubtful)
            assert isinstance(verdict, Refusal), verdict
            evidence = verdict.evidence
            self.assertEqual((evidence.row, evidence.reason), (row, reason))
            self.assertEqual(evidence.caller, facts.caller)
            self.assertEqual(evidence.neighbour, facts.neighbour)
            self.assertEqual(evidence.lease, facts.lease)
            self.assertEqual(verdict.doubtful, doubtful or always_doubtful)


class RowTests(DecisionTestCase):
    """
    One test for each row of the table in L{mdproxy.lookup.decision}.
    """

    def test_row_1_all_agree(self) -> None:
        """
        Frame, neighbour, port and lease agree: allowed.
        """
        self.assert_allowed(FACTS, 1, Reason.AGREED)

    def test_row_1_allowed_address_pair(self) -> None:
        """
        An address that an allowed address pair adds to the caller's own port: allowed,
        and counted as such; a pair of another port gives nothing.
        """
        paired = evolve(PORT, pairs=frozenset({"10.0.0.100"}))
        caller = Caller("red", "10.0.0.100", MAC)
        facts = evolve(FACTS, caller=caller, lease=None, by_mac=(paired,))
        self.assert_allowed(facts, 1, Reason.AAP, paired)
        facts = evolve(facts, by_mac=(PORT,), by_address=())
        self.assert_refused(facts, 5, Reason.FOREIGN_ADDRESS)

    def test_row_2_lease_missing(self) -> None:
        """
        No lease, or one that tells no MAC: allowed, with the remark.
        """
        for lease in (None, lease_of(None)):
            facts = evolve(FACTS, lease=lease)
            self.assert_allowed(facts, 2, Reason.LEASE_MISSING)

    def test_row_3_lease_conflict(self) -> None:
        """
        A lease that names another MAC: allowed with the remark, for a stale lease file
        must not cost an instance its boot; refused where the operator says so.
        """
        facts = evolve(FACTS, lease=lease_of(OTHER_MAC))
        self.assert_allowed(facts, 3, Reason.LEASE_CONFLICT)
        strict = Policy(refuse_lease_conflict=True)
        self.assert_refused(facts, 3, Reason.LEASE_CONFLICT, strict)

    def test_row_3_option_touches_no_other_row(self) -> None:
        """
        Where no lease conflicts the strict operator's instances are allowed as ever.
        """
        strict = Policy(refuse_lease_conflict=True)
        self.assert_allowed(FACTS, 1, Reason.AGREED, policy=strict)
        missing = evolve(FACTS, lease=None)
        self.assert_allowed(missing, 2, Reason.LEASE_MISSING, policy=strict)

    def test_row_4_addresses_unknown(self) -> None:
        """
        The inventory does not know the port's addresses: a lease to its MAC allows; a
        lease to another refuses; without one only the operator's word allows.
        """
        port = evolve(PORT, addresses=None)
        facts = evolve(FACTS, by_mac=(port,), by_address=())
        lenient = Policy(allow_unverified_address=True)
        for policy in (Policy(), lenient):
            self.assert_allowed(facts, 4, Reason.AGREED, port, policy)
            conflict = evolve(facts, lease=lease_of(OTHER_MAC))
            self.assert_refused(conflict, 4, Reason.LEASE_CONFLICT, policy)
        for lease in (None, lease_of(None)):
            bare = evolve(facts, lease=lease)
            self.assert_refused(bare, 4, Reason.ADDRESS_UNVERIFIED)
            self.assert_allowed(bare, 4, Reason.ADDRESS_UNVERIFIED, port, lenient)

    def test_row_4_no_addresses_are_not_unknown_addresses(self) -> None:
        """
        A port that is known to have no address may use none.
        """
        port = evolve(PORT, addresses=frozenset())
        facts = evolve(FACTS, by_mac=(port,), by_address=())
        lenient = Policy(allow_unverified_address=True)
        self.assert_refused(facts, 5, Reason.FOREIGN_ADDRESS, lenient)

    def test_row_5_foreign_address(self) -> None:
        """
        The caller's port does not have the address, whether another has it or none, and
        whatever the lease says.
        """
        for by_address in ((), (OTHER_PORT,)):
            for mac in (MAC, OTHER_MAC):
                facts = evolve(
                    FACTS,
                    caller=Caller("red", OTHER_ADDRESS, MAC),
                    lease=Lease("red", OTHER_ADDRESS, mac, None),
                    by_address=by_address,
                )
                lenient = Policy(allow_unverified_address=True)
                self.assert_refused(facts, 5, Reason.FOREIGN_ADDRESS, lenient)

    def test_row_6_mac_mismatch(self) -> None:
        """
        The address belongs to a port and the caller's MAC to none, lease or not.
        """
        for lease in (None, lease_of(OTHER_MAC)):
            facts = evolve(
                FACTS,
                caller=Caller("red", ADDRESS, OTHER_MAC),
                neighbour=OTHER_MAC,
                lease=lease,
                by_mac=(),
            )
            self.assert_refused(facts, 6, Reason.MAC_MISMATCH)

    def test_row_7_unknown(self) -> None:
        """
        Neither MAC nor address belong to a port, lease or not.
        """
        for lease in (None, lease_of(MAC)):
            facts = evolve(FACTS, by_mac=(), by_address=(), lease=lease)
            self.assert_refused(facts, 7, Reason.UNKNOWN)

    def test_row_8_two_ports_of_one_inventory(self) -> None:
        """
        One inventory has two ports with the MAC, even ones that say the same.
        """
        for second in (evolve(PORT, instance_id="i-2"), PORT):
            facts = evolve(FACTS, by_mac=(PORT, second))
            self.assert_refused(facts, 8, Reason.AMBIGUOUS)

    def test_row_8_inventories_disagree(self) -> None:
        """
        Two inventories name different instances or projects for the MAC: refused, in
        whatever order they are asked, whoever they are and whatever else agrees.
        """
        twin = evolve(PORT, inventory="libvirt")
        for inventory in ("libvirt", "ovn", "neutron"):
            for second in (
                evolve(twin, instance_id="i-2", inventory=inventory),
                evolve(twin, project_id="p-2", inventory=inventory),
                evolve(twin, instance_id="i-2", addresses=None, inventory=inventory),
            ):
                for by_mac in ((PORT, second), (second, PORT)):
                    facts = evolve(FACTS, by_mac=by_mac)
                    self.assert_refused(facts, 8, Reason.DISAGREEMENT)
        third = evolve(PORT, instance_id="i-2", inventory="ovn")
        facts = evolve(FACTS, by_mac=(PORT, twin, third))
        self.assert_refused(facts, 8, Reason.DISAGREEMENT)

    def test_row_8_two_of_one_count_first(self) -> None:
        """
        Two ports of one inventory are ambiguous, whatever another one says.
        """
        by_mac = (PORT, PORT, evolve(PORT, instance_id="i-2", inventory="ovn"))
        for order in (by_mac, by_mac[::-1]):
            facts = evolve(FACTS, by_mac=order)
            self.assert_refused(facts, 8, Reason.AMBIGUOUS)

    def test_inventories_that_agree(self) -> None:
        """
        Two inventories that name the same instance are no ambiguity; the first that
        knows addresses says which.
        """
        bare = evolve(PORT, addresses=None, inventory="libvirt")
        for by_mac in ((PORT, bare), (bare, PORT)):
            facts = evolve(FACTS, by_mac=by_mac)
            self.assert_allowed(facts, 1, Reason.AGREED)
        other = evolve(PORT, addresses=frozenset({OTHER_ADDRESS}), inventory="libvirt")
        self.assert_allowed(evolve(FACTS, by_mac=(PORT, other)), 1, Reason.AGREED)
        facts = evolve(FACTS, by_mac=(other, PORT))
        self.assert_refused(facts, 5, Reason.FOREIGN_ADDRESS)

    def test_addresses_of_an_authority(self) -> None:
        """
        Where inventories agree on the instance but not on its addresses, Neutron's word
        counts, or OVN's, wherever it stands in the order; but not its silence.
        """
        elsewhere = frozenset({OTHER_ADDRESS})
        for name in ("ovn", "neutron"):
            authority = evolve(PORT, inventory=name)
            other = evolve(PORT, addresses=elsewhere)
            for by_mac in ((authority, other), (other, authority)):
                facts = evolve(FACTS, by_mac=by_mac)
                self.assert_allowed(facts, 1, Reason.AGREED, authority)
            authority = evolve(authority, addresses=elsewhere)
            for by_mac in ((authority, PORT), (PORT, authority)):
                facts = evolve(FACTS, by_mac=by_mac)
                self.assert_refused(facts, 5, Reason.FOREIGN_ADDRESS)
            silent = evolve(authority, addresses=None)
            for by_mac in ((silent, PORT), (PORT, silent)):
                facts = evolve(FACTS, by_mac=by_mac)
                self.assert_allowed(facts, 1, Reason.AGREED)

    def test_row_9_link_local(self) -> None:
        """
        From a link-local address the frame's MAC alone identifies, whatever the address
        looks like.
        """
        for address in (eui64(MAC), "fe80::1234", eui64(OTHER_MAC)):
            facts = evolve(FACTS, caller=Caller("red", address, MAC), lease=None)
            self.assert_allowed(facts, 9, Reason.LINK_LOCAL)

    def test_row_9_probed(self) -> None:
        """
        Where the MAC was asked of the kernel's table, a link-local address must be the
        one made of that MAC, or one of the port's own.
        """
        port = evolve(PORT, addresses=frozenset({ADDRESS, "fe80::77"}))
        for address in (eui64(MAC), "fe80::77"):
            caller = Caller("red", address, MAC, probed=True)
            facts = evolve(FACTS, caller=caller, lease=None, by_mac=(port,))
            self.assert_allowed(facts, 9, Reason.LINK_LOCAL, port)
        for address in (eui64(OTHER_MAC), "fe80::78"):
            caller = Caller("red", address, MAC, probed=True)
            facts = evolve(FACTS, caller=caller, lease=None, by_mac=(port,))
            self.assert_refused(facts, 5, Reason.FOREIGN_ADDRESS)
        caller = Caller("red", eui64(OTHER_MAC), MAC, probed=True)
        bare = evolve(PORT, addresses=None)
        facts = evolve(FACTS, caller=caller, lease=None, by_mac=(bare,))
        self.assert_refused(facts, 5, Reason.FOREIGN_ADDRESS)

    def test_row_10_no_neighbour(self) -> None:
        """
        Without a neighbour entry, or a MAC, it is refused whatever else is known, and
        always as something that may pass (scenario D6).
        """
        for facts in (
            evolve(FACTS, neighbour=None),
            evolve(FACTS, neighbour=None, turned=True),
            evolve(FACTS, caller=Caller("red", ADDRESS, None)),
            evolve(FACTS, caller=Caller("red", ADDRESS, None), neighbour=None),
        ):
            self.assert_refused(facts, 10, Reason.NO_NEIGHBOUR, always_doubtful=True)

    def test_row_11_by_lease(self) -> None:
        """
        On a routed listener that identifies by lease, the lease supplies the MAC.
        """
        caller = Caller("red", ADDRESS, None, "lease")
        facts = evolve(FACTS, caller=caller, neighbour=None)
        self.assert_allowed(facts, 11, Reason.AGREED)
        bare = evolve(PORT, addresses=None)
        bare_facts = evolve(facts, by_mac=(bare,), by_address=())
        self.assert_allowed(bare_facts, 11, Reason.AGREED, bare)
        for missing in (None, lease_of(None)):
            without = evolve(facts, lease=missing)
            self.assert_refused(without, 11, Reason.NO_LEASE)
        self.assert_refused(evolve(facts, by_mac=()), 11, Reason.UNKNOWN)
        two = evolve(facts, by_mac=(PORT, evolve(PORT, instance_id="i-2")))
        self.assert_refused(two, 11, Reason.AMBIGUOUS)
        foreign = evolve(PORT, addresses=frozenset({OTHER_ADDRESS}))
        facts = evolve(facts, by_mac=(foreign,))
        self.assert_refused(facts, 11, Reason.FOREIGN_ADDRESS)

    def test_row_11_by_address(self) -> None:
        """
        On a routed listener that identifies by address, the address alone does.
        """
        caller = Caller("red", ADDRESS, None, "address")
        facts = evolve(FACTS, caller=caller, neighbour=None, lease=None, by_mac=())
        self.assert_allowed(facts, 11, Reason.ADDRESS_ONLY)
        self.assert_refused(evolve(facts, by_address=()), 11, Reason.UNKNOWN)
        two = evolve(facts, by_address=(PORT, evolve(OTHER_PORT, inventory="static")))
        self.assert_refused(two, 11, Reason.AMBIGUOUS)
        differing = evolve(facts, by_address=(PORT, OTHER_PORT))
        self.assert_refused(differing, 11, Reason.DISAGREEMENT)

    def test_row_12_port_mismatch(self) -> None:
        """
        Where the operator wants it looked at, and the bridge has the caller's MAC on
        another device than its port's, by name or made of the port's id: refused,
        whichever row would have allowed it.
        """
        strict = Policy(check_bridge_port=True)
        named = evolve(PORT, device="vnet3")
        numbered = evolve(PORT, port_id="567a4527-b0e4-4d0a-bcc2-71fda37897f7")
        by_lease = evolve(named, addresses=None)
        link_local = Caller("red", eui64(MAC), MAC)
        for port, own, more in (
            (named, "vnet3", {}),
            (numbered, "tap567a4527-b0", {}),
            (evolve(numbered, device="vnet3"), "vnet3", {}),
            (named, "vnet3", {"lease": None}),
            (by_lease, "vnet3", {}),
            (named, "vnet3", {"caller": link_local}),
            (evolve(named, parent="trunk"), "vnet3", {}),
        ):
            facts = evolve(FACTS, by_mac=(port,), **more)
            self.assertEqual(
                decide(facts, strict, False),
                decide(evolve(facts, bridge_port=own), strict, False),
            )
            strange = evolve(facts, bridge_port="tap567a4527-b1")
            self.assert_refused(strange, 12, Reason.PORT_MISMATCH, strict)
            self.assertIsInstance(decide(strange, Policy(), False), Identity)

    def test_row_12_nothing_to_compare(self) -> None:
        """
        Where the bridge has not learnt the MAC, or no inventory knows the port's
        device, nothing is refused for it.
        """
        strict = Policy(check_bridge_port=True)
        named = evolve(PORT, device="vnet3")
        facts = evolve(FACTS, by_mac=(named,))
        self.assert_allowed(facts, 1, Reason.AGREED, named, strict)
        facts = evolve(FACTS, bridge_port="vnet4")
        self.assert_allowed(facts, 1, Reason.AGREED, policy=strict)

    def test_row_12_device_of_any_inventory(self) -> None:
        """
        One inventory may know the device and another the addresses.
        """
        strict = Policy(check_bridge_port=True)
        libvirt = evolve(PORT, addresses=None, inventory="libvirt", device="vnet3")
        neutron = evolve(PORT, inventory="neutron", port_id="567a4527-b0e4")
        joined = evolve(neutron, device="vnet3")
        for by_mac in ((libvirt, neutron), (neutron, libvirt)):
            facts = evolve(FACTS, by_mac=by_mac, bridge_port="vnet3")
            self.assert_allowed(facts, 1, Reason.AGREED, joined, strict)
            facts = evolve(facts, bridge_port="tap567a4527-b0")
            self.assert_refused(facts, 12, Reason.PORT_MISMATCH, strict)

    def test_row_12_refuses_no_refusal_anew(self) -> None:
        """
        What an earlier row refuses is refused for that row's reason.
        """
        strict = Policy(check_bridge_port=True)
        port = evolve(PORT, device="vnet3", addresses=frozenset())
        facts = evolve(FACTS, by_mac=(port,), bridge_port="vnet4")
        self.assert_refused(facts, 5, Reason.FOREIGN_ADDRESS, strict)
        facts = evolve(facts, turned=True)
        self.assert_refused(facts, 13, Reason.FRAME_MISMATCH, strict)

    def test_row_14_trunk_parent(self) -> None:
        """
        A port that has its instance from its trunk's parent port is allowed where any
        of rows 1 to 9 would, with the remark, and refused where they would not.
        """
        sub = evolve(PORT, parent="567a4527-b0e4-4d0a-bcc2-71fda37897f7")
        link_local = Caller("red", eui64(MAC), MAC)
        for more in ({}, {"lease": None}, {"caller": link_local}):
            facts = evolve(FACTS, by_mac=(sub,), **more)
            self.assert_allowed(facts, 14, Reason.TRUNK_PARENT, sub)
        facts = evolve(FACTS, by_mac=(sub,), caller=Caller("red", OTHER_ADDRESS, MAC))
        self.assert_refused(facts, 5, Reason.FOREIGN_ADDRESS)
        facts = evolve(FACTS, by_mac=(sub,), turned=True)
        self.assert_refused(facts, 13, Reason.FRAME_MISMATCH)
        facts = evolve(FACTS, by_mac=(sub, evolve(sub, instance_id="i-2")))
        self.assert_refused(facts, 8, Reason.AMBIGUOUS)

    def test_row_13_frame_mismatch(self) -> None:
        """
        The neighbour entry names another MAC than the frame, or was turned since the
        handshake began: refused, however well the rest agrees.
        """
        for facts in (
            evolve(FACTS, neighbour=OTHER_MAC),
            evolve(FACTS, turned=True),
            evolve(FACTS, neighbour=OTHER_MAC, by_mac=(), by_address=()),
            evolve(FACTS, caller=Caller("red", eui64(MAC), MAC), turned=True),
        ):
            for policy in (Policy(), Policy(True, False)):
                self.assert_refused(facts, 13, Reason.FRAME_MISMATCH, policy)


macs = st.sampled_from((MAC, OTHER_MAC))
networks = st.sampled_from(("red", "blue"))
addresses = st.sampled_from((ADDRESS, OTHER_ADDRESS, eui64(MAC), eui64(OTHER_MAC)))
devices = st.sampled_from(("vnet3", "tap567a4527-b0"))
ports = st.builds(
    Port,
    network=networks,
    mac=macs,
    instance_id=st.sampled_from(("i-1", "i-2")),
    project_id=st.sampled_from(("p-1", "p-2")),
    addresses=st.none() | st.frozensets(addresses, max_size=3),
    pairs=st.frozensets(addresses, max_size=2),
    inventory=st.sampled_from(("static", "libvirt", "ovn")),
    port_id=st.none() | st.just("567a4527-b0e4"),
    device=st.none() | devices,
    parent=st.none() | st.just("99999999-b0e4"),
)
policies = st.builds(Policy, st.booleans(), st.booleans(), st.booleans())


@st.composite
def any_facts(draw: st.DrawFn, identify_by: str) -> Facts:
    """
    Collect facts of any caller from a book of any ports.
    """
    book = PortBook()
    for number, port in enumerate(draw(st.lists(ports, max_size=5))):
        book.enter(port.inventory, str(number), [port])
    network, address = draw(networks), draw(addresses)
    lease = draw(
        st.none()
        | st.builds(
            Lease, st.just(network), st.just(address), st.none() | macs, st.none()
        )
    )
    mac = draw(st.none() | macs) if identify_by == "mac" else None
    known_by = lease.mac if identify_by == "lease" and lease is not None else mac
    return Facts(
        caller=Caller(network, address, mac, identify_by, draw(st.booleans())),
        neighbour=draw(st.none() | macs) if identify_by == "mac" else None,
        turned=draw(st.booleans()) if identify_by == "mac" else False,
        lease=lease,
        by_mac=() if known_by is None else book.by_mac(network, known_by),
        by_address=book.by_address(network, address),
        bridge_port=draw(st.none() | devices),
    )


class DecideTests(SynchronousTestCase):
    """
    What holds whatever the facts are.
    """

    @given(any_facts("mac"), policies, st.booleans())
    def test_never_another(self, facts: Facts, policy: Policy, doubtful: bool) -> None:
        """
        Nobody is identified but by the frame's MAC, on the caller's own network, with
        a neighbour entry that agrees and was not turned.
        """
        verdict = decide(facts, policy, doubtful)
        if isinstance(verdict, Refusal):
            return
        self.assertEqual(verdict.port.mac, facts.caller.mac)
        self.assertEqual(verdict.port.network, facts.caller.network)
        self.assertEqual(facts.neighbour, facts.caller.mac)
        self.assertFalse(facts.turned)
        self.assertEqual(
            {(p.instance_id, p.project_id) for p in facts.by_mac},
            {(verdict.port.instance_id, verdict.port.project_id)},
        )

    @given(any_facts("mac"), policies)
    def test_never_two(self, facts: Facts, policy: Policy) -> None:
        """
        Nobody is identified where one inventory has two ports with the MAC; whoever is
        has the row of its reason, and stays who it is with the bridge looked at or not.
        """
        verdict = decide(facts, policy, False)
        if isinstance(verdict, Refusal):
            return
        names = [port.inventory for port in facts.by_mac]
        self.assertEqual(len(names), len(set(names)))
        is_sub = verdict.port.parent is not None
        self.assertEqual(verdict.evidence.row == 14, is_sub)
        lax = decide(facts, evolve(policy, check_bridge_port=False), False)
        self.assertEqual(verdict, lax)
        known = {p.device for p in facts.by_mac} | {"tap567a4527-b0"}
        if policy.check_bridge_port and None not in known:
            self.assertIn(facts.bridge_port, {*known, None})

    @given(any_facts("mac"), policies)
    def test_never_an_address_of_another(self, facts: Facts, policy: Policy) -> None:
        """
        A caller with an address that is not link-local is identified only where its
        port has the address, by itself or by a pair, or where no inventory knows and a
        lease or the operator says so.
        """
        verdict = decide(facts, policy, False)
        if isinstance(verdict, Refusal) or is_link_local(facts.caller.address):
            return
        port, address = verdict.port, facts.caller.address
        if port.addresses is None:
            leased = facts.lease is not None and facts.lease.mac == port.mac
            self.assertTrue(leased or policy.allow_unverified_address)
        else:
            self.assertIn(address, port.addresses | port.pairs)

    @given(any_facts("lease") | any_facts("address"), policies)
    def test_routed_stays_on_its_network(self, facts: Facts, policy: Policy) -> None:
        """
        A routed caller is identified only by a port of its own network, and by lease
        only with the lease's MAC.
        """
        verdict = decide(facts, policy, False)
        if isinstance(verdict, Refusal):
            return
        self.assertEqual(verdict.port.network, facts.caller.network)
        if facts.caller.identify_by == "lease":
            assert facts.lease is not None
            self.assertEqual(verdict.port.mac, facts.lease.mac)
        else:
            self.assertIn(facts.caller.address, verdict.port.addresses or ())

    @given(any_facts("mac") | any_facts("lease") | any_facts("address"), policies)
    def test_doubt_never_identifies(self, facts: Facts, policy: Policy) -> None:
        """
        Doubt about the sources changes no verdict but how a refusal is meant.
        """
        sure, unsure = decide(facts, policy, False), decide(facts, policy, True)
        if isinstance(sure, Identity):
            self.assertEqual(sure, unsure)
        else:
            self.assertEqual(unsure, Refusal(sure.evidence, True))


class AddressTests(SynchronousTestCase):
    """
    Tests for L{eui64} and L{is_link_local}.
    """

    def test_eui64(self) -> None:
        """
        The link-local address of a MAC is the one that kernels make.
        """
        self.assertEqual(eui64("fa:16:3e:77:00:01"), "fe80::f816:3eff:fe77:1")
        self.assertEqual(eui64("00:00:00:00:00:00"), "fe80::200:ff:fe00:0")
        self.assertEqual(eui64("52:54:00:ab:cd:ef"), "fe80::5054:ff:feab:cdef")

    def test_link_local(self) -> None:
        """
        Link-local is fe80::/10 and nothing of IPv4.
        """
        for address in ("fe80::1", "febf::1", "fe80::a9fe:a9fe"):
            self.assertTrue(is_link_local(address), address)
        for address in ("169.254.1.1", "10.0.0.1", "fec0::1", "2001:db8::1", "::1"):
            self.assertFalse(is_link_local(address), address)
