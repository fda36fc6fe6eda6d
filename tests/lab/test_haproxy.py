"""
The real proxy in the place of Neutron's metadata agent, behind the haproxies that
Neutron's agents start: a real haproxy, configured as they write it.
"""

from __future__ import annotations

import base64
import gzip
import pwd
import stat
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.decision import eui64
from tests.lab.guest import Answer, Guest, Talk, request
from tests.lab.haproxies import STRANGER, USER, Haproxy, HaproxyHost
from tests.lab.machines import Machine
from tests.lab.mirror import BYTES, LARGE
from tests.lab.neutron_host import ROUTER_PORT, require_neutron
from tests.lab.proxy import Proxy
from tests.lab.world import METADATA_ADDRESS6

TARGET = "/openstack/latest/meta_data.json"
#: It is held for the shorter time.
SHORT = "/latest/meta-data/instance-id"
ON_LINK = f"{METADATA_ADDRESS6}%eth0"


class HaproxyTests(SynchronousTestCase):
    """
    VMs that ask through a haproxy.
    """

    def setUp(self) -> None:
        """
        Make a host without networks.
        """
        require_neutron()
        self.host = HaproxyHost()
        self.host.__enter__()
        self.addCleanup(self.host.__exit__, None, None, None)

    def start(
        self, *haproxies: Haproxy, twistd: tuple[str, ...] = (), **listener: Any
    ) -> None:
        """
        Start Nova's mirror, the proxy and haproxies.

        @param twistd: Options of C{twistd}.
        @param listener: Options of the listener, other than usual.
        """
        self.host.start_mirror()
        self.proxy = Proxy(
            self.host,
            known=self.host.machines.values(),
            networks=(),
            options={
                "listener:agent": {**self.host.listener, **listener},
                "hold": {"other": "1"},
            },
            twistd=twistd,
        )
        self.proxy.start()
        self.addCleanup(self.check_log)
        for haproxy in haproxies:
            self.host.start_haproxy(haproxy)

    def check_log(self) -> None:
        """
        Fail if anything went wrong inside the proxy that it did not expect.
        """
        said = self.proxy.running.said()
        for accident in ("Traceback", "Unhandled", "Exception ignored"):
            self.assertNotIn(accident, said)

    def talk(self, hostname: str, *questions: bytes, **details: Any) -> list[Answer]:
        """
        Ask things from inside a VM, at the same time.
        """
        talks = [Talk(((0, question),), **details) for question in questions]
        guest = Guest(self.host.vms[hostname])
        return guest.talk(*talks, parallel=len(talks))

    def ask(self, hostname: str, target: str = TARGET, **details: Any) -> Answer:
        """
        Ask one thing from inside a VM.
        """
        [answer] = self.talk(hostname, request(target), **details)
        return answer

    def assert_is(self, answer: Answer, hostname: str) -> None:
        """
        Nova was asked, once and in one way, for this VM and nobody else.
        """
        self.assertEqual(answer.status, 200, answer)
        machine = self.host.machines[hostname]
        pairs = [
            (name.lower().replace("_", "-"), value)
            for name, value in answer.json()["fields"]
        ]
        said = sorted(pair for pair in pairs if pair[0].startswith("x-"))
        self.assertEqual(
            [value for name, value in said if name == "x-instance-id"],
            [machine.instance],
        )
        self.assertEqual(
            [name for name, _ in said],
            [
                "x-forwarded-for",
                "x-instance-id",
                "x-instance-id-signature",
                "x-openstack-request-id",
                "x-tenant-id",
            ],
        )
        self.assertIn(("x-tenant-id", machine.project), said)

    def assert_addressed(self, answer: Answer, address: str) -> None:
        """
        Nova was told this address.
        """
        said = dict(answer.json()["fields"])
        self.assertEqual(said["X-Forwarded-For"], address)

    def assert_cut_short(self, answer: Answer, status: int) -> None:
        """
        Haproxy passes on an answer that breaks off, and closes the VM's connection.
        """
        self.assertTrue(answer.raw.startswith(b"HTTP/1.1 %d " % status), answer)
        self.assertEqual((answer.status, answer.end), (0, "closed"), answer)

    def agent(self) -> Any:
        """
        Read what the listener says of itself.
        """
        [agent] = [
            each for each in self.proxy.status()["listeners"] if each.get("path")
        ]
        return agent

    def test_networks(self) -> None:
        """
        Who asks is known for each request, on two networks with the same addresses and
        by both families; what an instance writes of itself counts for nothing.
        """
        ovn = self.host.add_segment("ovnmeta", "ann", "bob")
        dhcp = self.host.add_segment("qdhcp", "cat")
        self.start(
            Haproxy(ovn, device="tap0"),
            Haproxy(dhcp, device="tap0"),
            Haproxy(ovn, port=81, is_shared=True),
            Haproxy(ovn, port=82, user=STRANGER),
        )
        for hostname, address in (
            ("ann", "10.0.0.5"),
            ("bob", "10.0.0.6"),
            ("cat", "10.0.0.5"),
        ):
            answer = self.ask(hostname)
            self.assert_is(answer, hostname)
            self.assert_addressed(answer, address)
            self.assert_is(self.ask(hostname, host=ON_LINK), hostname)
        self.check_shared_connection()
        self.check_forgeries()
        self.check_stranger()
        self.check_turned(ovn.name)

    def check_shared_connection(self) -> None:
        """
        Two instances take turns on one connection of a haproxy's.
        """
        before = self.agent()["accepted"]
        for _ in range(5):
            for hostname in ("ann", "bob"):
                self.assert_is(self.ask(hostname, port=81), hostname)
        self.assertLess(self.agent()["accepted"] - before, 5)

    def check_forgeries(self) -> None:
        """
        What an instance writes itself is refused, or ignored.
        """
        other = self.host.machines["cat"].network
        own = self.host.machines["ann"].network
        for forged in (
            "X-Forwarded-For: 10.0.0.6",
            "x-forwarded-for: 10.0.0.5",
            "X-Forwarded-For:",
            f"X-OVN-Network-ID: {own}",
            f"X-Neutron-Network-ID: {other}",
            f"x-neutron-router-id: {other}",
        ):
            # The end of the connection shows that it was broken.
            [answer] = self.talk("ann", request(TARGET, forged, close=False))
            self.assert_cut_short(answer, 400)
        for ignored in (
            "X_Forwarded_For: 10.0.0.6",
            f"X_OVN_Network_ID: {other}",
            "X-Instance-ID: evil",
            "Connection: X-Forwarded-For, X-OVN-Network-ID",
            "Forwarded: for=10.0.0.6",
        ):
            [answer] = self.talk("ann", request(TARGET, ignored))
            self.assert_is(answer, "ann")
        [answer] = self.talk("cat", request(TARGET, f"X-Neutron-Router-ID: {own}"))
        self.assert_is(answer, "cat")

    def check_stranger(self) -> None:
        """
        A haproxy of another user is not heard.
        """
        self.assertIn(self.ask("ann", port=82).status, (502, 503))
        self.assertIn("does not hear user 1 ", self.proxy.running.said())
        self.assertGreater(self.agent()["strangers"], 0)

    def check_turned(self, namespace: str) -> None:
        """
        After a turn of its neighbour entry an address is nobody's for a while, and
        haproxy is made to close its connection; so is a link-local address that its MAC
        does not make.
        """
        ann, bob = (self.host.machines[name] for name in ("ann", "bob"))
        for mac in (bob.mac, ann.mac):
            entry = (ann.ipv4, "lladdr", mac, "dev", "tap0", "nud", "reachable")
            self.host.hypervisor.__class__(namespace).ip("neigh", "replace", *entry)
        vm = self.host.vms["bob"]
        vm.ip("addr", "del", f"{eui64(bob.mac)}/64", "dev", "eth0")
        vm.ip("addr", "add", "fe80::1234/64", "dev", "eth0", "nodad")
        pending = Guest(vm).begin(Talk(((0, request(SHORT)),), host=ON_LINK))
        question = request(SHORT, close=False)
        [answer] = self.talk("ann", question)
        self.assert_cut_short(answer, 404)
        self.assertNotIn(ann.instance.encode(), answer.raw)
        [foreigner] = pending.answers()
        self.assertEqual(foreigner.status, 404, foreigner)
        self.check_why(ann)

    def check_why(self, machine: Machine) -> None:
        """
        The operator is told of the turned entry that the refusal rested on, as it is
        now and as it was.
        """
        answer = self.proxy.ask_operator(
            f"/api/v1/why?address={machine.ipv4}&network={machine.network}"
        )
        (found,) = answer.json()["candidates"]
        self.assertEqual(found["listener"]["kind"], "socket")
        self.assertEqual(found["reason"], "frame-mismatch")
        self.assertEqual(found["last"][0]["reason"], "frame-mismatch")
        self.assertEqual(len(found["neighbour"]["turns"]), 2)
        self.assert_is(self.ask("bob"), "bob")

    def test_router(self) -> None:
        """
        Of a router haproxy tells only which: the instance is known by the device that
        has its address.  The proxy is not root by then, and its socket is haproxy's.
        """
        router = self.host.add_router("dan", "eve")
        unprivileged = ("--uid", STRANGER, "--gid", STRANGER)
        haproxy = Haproxy(router, host="::", port=ROUTER_PORT)
        self.start(haproxy, twistd=unprivileged, mode="deduce")
        made = self.host.socket.stat()
        self.assertEqual(pwd.getpwuid(made.st_uid).pw_name, USER)
        self.assertEqual(stat.S_IMODE(made.st_mode), 0o644)
        for number, hostname in enumerate(("dan", "eve"), 1):
            answer = self.ask(hostname)
            self.assert_is(answer, hostname)
            self.assert_addressed(answer, f"10.1.{number}.5")
        self.check_statuses("dan")
        self.check_bodies("eve")

    def check_statuses(self, hostname: str) -> None:
        """
        Whatever Nova says reaches the instance, also what Neutron's agent makes a 502
        of; and no redirection is followed.
        """
        statuses = (200, 201, 302, 400, 401, 404, 405, 409, 410, 413, 429)
        questions = [request(f"/say/{status}") for status in statuses]
        answers = self.talk(hostname, *questions)
        self.assertEqual([answer.status for answer in answers], list(statuses))
        self.assertIn("elsewhere", answers[2].fields["location"])
        # What is posted is not asked for again.
        passing = (500, 502, 503, 504)
        length = "Content-Length: 0"
        questions = [
            request(f"/say/{status}", length, method="POST") for status in passing
        ]
        answers = self.talk(hostname, *questions)
        self.assertEqual([answer.status for answer in answers], list(passing))

    def check_bodies(self, hostname: str) -> None:
        """
        Bodies pass both ways as they are, and so do large heads: Neutron's agent reads
        no more than the first 4096 bytes that come, at once.
        """
        password = base64.b64encode(bytes(range(256)))
        length = f"Content-Length: {len(password)}"
        path = "/openstack/2013-04-04/password"
        post = {"method": "POST", "body": password}
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(password), password)
        huge = 1 << 20
        whole, expecting, chunked, large, too_large = self.talk(
            hostname,
            request(path, length, method="POST", body=password),
            request(path, length, "Expect: 100-continue", method="POST", body=password),
            request(path, "Transfer-Encoding: chunked", method="POST", body=chunks),
            request(TARGET, "Cookie: " + "a" * 12000),
            request(path, f"Content-Length: {huge}", method="POST", body=bytes(huge)),
        )
        for answer in (whole, expecting, chunked):
            self.assertEqual(base64.b64decode(answer.json()["body"]), password)
            self.assertEqual(answer.json()["method"], post["method"])
        head, _, rest = request(path, length, **post).partition(b"\r\n\r\n")  # type: ignore
        talk = Talk(((0, head + b"\r\n\r\n"), (0.2, rest)))
        [apart] = Guest(self.host.vms[hostname]).talk(talk)
        self.assertEqual(base64.b64decode(apart.json()["body"]), password)
        self.assert_is(large, hostname)
        # It may still be sending when haproxy closes.
        self.assertEqual(too_large.status, 0)
        self.assertIn(too_large.end, ("closed", "reset"))
        self.assertEqual(self.ask(hostname, "/bytes").body, BYTES)
        self.assertEqual(self.ask(hostname, "/large").body, LARGE)
        zipped = self.ask(hostname, "/gzip")
        self.assertEqual(zipped.fields["content-encoding"], "gzip")
        self.assertEqual(gzip.decompress(zipped.body), b"user data")
