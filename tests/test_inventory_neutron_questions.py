"""
Tests for L{mdproxy.inventory.neutron_questions}.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.api import Garbled
from mdproxy.inventory.neutron_questions import Found, NeutronQuestions
from tests.neutron_stub import (
    HOST,
    NETWORK,
    OTHER_NETWORK,
    PROJECT,
    Stub,
    mac_of,
    only_neutron,
    port_json,
    session_with,
    with_body,
)

ROUTER = "7d83c053-b0a4-4682-ae80-c00df269ce0a"


class NeutronQuestionsTests(SynchronousTestCase):
    """
    Tests for L{NeutronQuestions}.
    """

    def setUp(self) -> None:
        """
        Have a Neutron.
        """
        clock = Clock()
        self.stub = Stub(clock)
        session = session_with(self.stub, clock)
        self.questions = NeutronQuestions(session, HOST, "neutron")

    def answer(self, asked: Coroutine[Any, Any, Any]) -> Any:
        """
        Take the answer to a question.
        """
        return self.successResultOf(Deferred.fromCoroutine(asked))

    def with_macs(self, *numbers: int) -> Found:
        """
        Ask for the ports with some numbers.
        """
        macs = [mac_of(number) for number in numbers]
        found: Found = self.answer(self.questions.ports_with(NETWORK, macs))
        return found

    def here(self, network: str | None = None) -> Found:
        """
        Ask for the ports of the host.
        """
        found: Found = self.answer(self.questions.ports_here(network))
        return found

    def test_by_mac(self) -> None:
        """
        One question finds the ports with some MACs on a network, on whatever host they
        are; it asks for what is needed and no more.
        """
        self.stub.put(
            port_json(1),
            port_json(2, binding__host_id="compute-2"),
            port_json(3),
            port_json(4, network_id=OTHER_NETWORK),
        )
        found = self.with_macs(1, 2, 4)
        self.assertEqual(
            {mac: on.is_here for (_, mac), on in found.seats.items()},
            {mac_of(1): True, mac_of(2): False},
        )
        [args] = self.stub.questions()
        self.assertEqual(args["network_id"], [NETWORK])
        self.assertEqual(args["mac_address"], [mac_of(n) for n in (1, 2, 4)])
        self.assertNotIn("status", args["fields"])

    def test_answer_to_another_question(self) -> None:
        """
        A port that nobody asked for is nobody's, whatever the answer says.
        """
        entries = [
            port_json(1),
            port_json(2),
            port_json(3, network_id=OTHER_NETWORK, mac_address=mac_of(1)),
        ]
        page = json.dumps({"ports": entries}).encode()
        self.stub.fault = only_neutron(with_body(page))
        found = self.with_macs(1)
        self.assertEqual(list(found.seats), [(NETWORK, mac_of(1))])
        self.assertEqual(len(found.seats[NETWORK, mac_of(1)].ports), 1)

    def test_two_ports_on_a_seat(self) -> None:
        """
        Two ports with one MAC on one network are both there: the decision refuses.
        """
        self.stub.put(port_json(1), port_json(2, mac_address=mac_of(1)))
        found = self.with_macs(1)
        self.assertEqual(len(found.seats[NETWORK, mac_of(1)].ports), 2)

    def test_here(self) -> None:
        """
        The ports of the host are asked for by the host's name, of one network if that
        is wanted.
        """
        self.stub.put(
            port_json(1),
            port_json(2, binding__host_id="compute-2"),
            port_json(3, network_id=OTHER_NETWORK),
            port_json(4, device_owner="network:dhcp"),
        )
        self.assertEqual(
            set(self.here().seats), {(NETWORK, mac_of(1)), (OTHER_NETWORK, mac_of(3))}
        )
        self.assertEqual(set(self.here(NETWORK).seats), {(NETWORK, mac_of(1))})
        for args in self.stub.questions():
            self.assertEqual(args["binding:host_id"], [HOST])

    def test_pages(self) -> None:
        """
        All pages are read, each from behind the last port of the one before; the
        answer's links lead nowhere.
        """
        self.stub.most = 2
        self.stub.put(*(port_json(n) for n in range(1, 6)))
        self.assertEqual(len(self.here().seats), 5)
        markers = [args.get("marker") for args in self.stub.questions()]
        ids = [port_json(n)["id"] for n in (2, 4)]
        self.assertEqual(markers, [None, [ids[0]], [ids[1]]])
        self.assertEqual(len(self.with_macs(1, 2, 3, 4).seats), 4)

    def test_endless_pages(self) -> None:
        """
        A list without an end is none.
        """
        links = [{"rel": "next", "href": "http://neutron:9696/v2.0/ports"}]
        page = {"ports": [port_json(1)], "ports_links": links}
        body = with_body(json.dumps(page).encode())
        seen: list[Any] = []

        def fault(request: Any) -> Any:
            seen.append(request.uri)
            return body(request)

        self.stub.fault = only_neutron(fault)
        asked = Deferred.fromCoroutine(self.questions.ports_here(None))
        self.failureResultOf(asked, Garbled)
        self.assertEqual(len(self.stub.logins), 1)
        self.assertEqual(len(seen), 2)

    def test_subport(self) -> None:
        """
        A subport is its parent's instance's, found by the trunks of its project; it is
        here if its parent is (row 14).
        """
        child = port_json(
            2, device_owner="trunk:subport", device_id="", binding__host_id=""
        )
        lone = port_json(3, device_owner="trunk:subport", device_id="")
        parent = port_json(9, network_id=OTHER_NETWORK)
        self.stub.put(child, lone, parent)
        sub_ports = [{"port_id": child["id"], "segmentation_id": 5}]
        self.stub.trunks = [
            {"id": "t", "project_id": PROJECT, "port_id": parent["id"]}
            | {"sub_ports": sub_ports},
            {"id": "u", "project_id": "other", "port_id": "x"}
            | {"sub_ports": [{"port_id": lone["id"]}]},
        ]
        found = self.with_macs(2, 3)
        [(seat, on_seat)] = found.seats.items()
        self.assertEqual(seat, (NETWORK, mac_of(2)))
        [port] = on_seat.ports
        self.assertEqual(port.instance_id, parent["device_id"])
        self.assertEqual(port.parent, parent["id"])
        self.assertTrue(on_seat.is_here)
        trunks = [args for path, args in self.stub.asked if "/trunks" in path]
        self.assertEqual([args["project_id"] for args in trunks], [[PROJECT]])

    def test_no_subports(self) -> None:
        """
        Trunks are asked for only where there is a subport.
        """
        self.stub.put(port_json(1))
        self.with_macs(1)
        self.assertEqual(len(self.stub.asked), 1)

    def test_networks_of_router(self) -> None:
        """
        A router's ports tell its networks.
        """
        owner = "network:router_interface"
        self.stub.put(
            port_json(1, device_owner=owner, device_id=ROUTER),
            port_json(2, device_owner=owner, device_id="another"),
        )
        found = self.answer(self.questions.networks_of(ROUTER))
        self.assertEqual(found, {port_json(1)["id"]: NETWORK})

    def test_problems(self) -> None:
        """
        A bad port costs itself, and is told of.
        """
        self.stub.put(port_json(1), port_json(2, device_id="x\r\ny"))
        found = self.with_macs(1, 2)
        self.assertEqual(list(found.seats), [(NETWORK, mac_of(1))])
        port_id = port_json(2)["id"]
        self.assertEqual(found.problems, [f"port {port_id}: 'x\\r\\ny' is no id"])

    def test_account_that_sees_little(self) -> None:
        """
        An account that may not see where ports are is told of.
        """
        self.stub.put(port_json(1))
        self.stub.hidden = ("binding:host_id",)
        found = self.with_macs(1)
        self.assertFalse(found.seats[NETWORK, mac_of(1)].is_here)
        self.assertIn("it needs the role admin or service", found.problems[0])

    def test_wide_pairs(self) -> None:
        """
        Address pairs that are networks are counted.
        """
        pair = {"ip_address": "10.0.0.0/8", "mac_address": mac_of(1)}
        self.stub.put(port_json(1, allowed_address_pairs=[pair]))
        self.with_macs(1)
        self.assertEqual(self.questions.wide_pairs, 1)
