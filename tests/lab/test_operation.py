"""
The proxy as a service: its signals, and what only its operator may see.
"""

from __future__ import annotations

import signal
from typing import Any

from tests.lab.case import LabTestCase
from tests.lab.guest import Talk, request
from tests.lab.nova import SECRET
from tests.lab.proxy import INTROSPECTION_PORT, NOVA_PORT, Proxy, signed
from tests.lab.stage import wait_for
from tests.lab.world import GATEWAY, METADATA_ADDRESS, METADATA_ADDRESS6


class SignalTests(LabTestCase):
    """
    What signals do.
    """

    booted = ("red-one", "blue-one")

    def test_sigterm_finishes_what_is_in_flight(self) -> None:
        """
        SIGTERM lets Nova's answer to a request in flight reach its VM whole; then the
        process ends with 0.
        """
        recording, proxy = self.start_recording()
        pending = self.guest("red-one").begin(Talk(((0, request("/latest/slow")),)))
        wait_for("request at Nova", recording.requests)
        proxy.signal(signal.SIGTERM)
        wait_for("closed listener", self.is_deaf)
        self.assertIsNone(proxy.running.process.poll())
        recording.open_gate()
        [answer] = pending.answers()
        self.assertEqual((answer.status, answer.body), (200, b"{}"), answer)
        self.assertEqual(proxy.running.process.wait(20), 0)

    def is_deaf(self) -> bool:
        """
        Tell whether the proxy takes no new connections.
        """
        # The network with the first route: where two overlap and no socket knows the
        # device, that is where the kernel sends its refusal.
        return self.guest("red-one").ask("/latest/", timeout=2).end == "refused"

    def test_sigterm_at_rest(self) -> None:
        """
        SIGTERM ends an idle proxy with 0.
        """
        proxy = self.start_devnova()
        self.assertEqual(self.guest("red-one").ask("/latest/").status, 200)
        self.assertEqual(proxy.stop(), 0)

    def test_sighup_does_not_kill(self) -> None:
        """
        After SIGHUP VMs are served as before.
        """
        proxy = self.start_devnova()
        for _ in range(3):
            proxy.signal(signal.SIGHUP)
            for hostname in self.booted:
                answer = self.guest(hostname).ask("/latest/meta-data/hostname")
                self.assertEqual(answer.status, 200, answer)
        self.assertIsNone(proxy.running.process.poll())


class OperatorTests(LabTestCase):
    """
    What only the operator may see.
    """

    booted = ("red-one", "blue-one")

    def test_status_tells_of_every_part(self) -> None:
        """
        The status is JSON about listeners, sources and upstream; it knows of what was
        asked, and holds neither the secret nor a signature.
        """
        proxy = self.start_devnova()
        for hostname in self.booted:
            self.guest(hostname).ask("/latest/meta-data/hostname")
        status = wait_for("live sources", lambda: self.live_status(proxy))
        networks = {listener["network"] for listener in status["listeners"]}
        self.assertEqual(networks, {"br-tenant1", "br-tenant2"})
        kinds = {source["kind"] for source in status["sources"]}
        self.assertEqual(kinds, {"neighbours", "static", "dnsmasq"})
        self.assertEqual(status["proxy"]["counts"]["status-200"], 2)
        page = proxy.ask_operator().body.decode()
        for hostname in self.booted:
            signature = signed(self.machine(hostname))[2].partition(": ")[2]
            for place in (page, proxy.running.said()):
                self.assertNotIn(signature, place)
        for place in (page, proxy.running.said()):
            self.assertNotIn(SECRET, place)

    def live_status(self, proxy: Proxy) -> Any:
        """
        Read the status, if every source has read all there is.
        """
        status = proxy.status()
        states = {source["state"] for source in status["sources"]}
        return status if states == {"live"} else None

    def test_vms_reach_neither_it_nor_nova(self) -> None:
        """
        A VM reaches the metadata port and nothing else: not the operator's pages, not
        Nova, by no address of the hypervisor, and not by asking the metadata port.
        """
        proxy = self.start_devnova()
        guest = self.guest("red-one")
        # 127.0.0.1 of the hypervisor, for those who route loopback.
        self.world.vms["red-one"].ip("addr", "del", "127.0.0.1/8", "dev", "lo")
        self.world.vms["red-one"].ip("route", "add", "127.0.0.1/32", "via", GATEWAY)
        hosts = (METADATA_ADDRESS, GATEWAY, "127.0.0.1", f"{METADATA_ADDRESS6}%eth0")
        talks = [
            Talk(((0, request("/livez")),), host=host, port=port, timeout=1)
            for host in hosts
            for port in (INTROSPECTION_PORT, NOVA_PORT)
        ]
        for answer in guest.talk(*talks, parallel=len(talks)):
            self.assertEqual(answer.raw, b"", answer)
        for target in ("/why", "/metrics", "/api/v1/status"):
            answer = guest.ask(target)
            self.assertNotIn(b"listeners", answer.raw)
            self.assertEqual(answer.status, 404, answer)
        self.assertEqual(proxy.ask_operator().status, 200)
