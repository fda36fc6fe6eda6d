"""
The fault scenarios that take namespaces; each test carries the id of its scenario.
"""

from __future__ import annotations

from tests.lab.case import LabTestCase
from tests.lab.guest import Talk, request
from tests.lab.proxy import Proxy
from tests.lab.stage import wait_for


class GoneTests(LabTestCase):
    """
    A11: VMs that are gone without a word.
    """

    booted = ("red-one", "blue-one")

    def test_a11_gone_while_nova_is_asked(self) -> None:
        """
        A11: the connection of a VM that is unplugged while Nova is asked is let go of
        when nothing of its answer has been acknowledged for write_timeout, though every
        byte was written; other VMs are served meanwhile.
        """
        recording, proxy = self.start_recording(
            options={"limits": {"write_timeout": 3, "idle_timeout": 600}}
        )
        gone, other = self.machine("red-one"), self.machine("blue-one")
        # A connection that would be kept.
        asked = request("/latest/slow", close=False)
        pending = self.guest("red-one").begin(Talk(((0, asked),), timeout=1))
        wait_for("request at Nova", recording.requests)
        # From now on it drops what comes; of a link that goes down the kernel tells.
        address = f"{gone.ipv4}/24"
        self.world.vms["red-one"].ip("addr", "del", address, "dev", "eth0")
        pending.answers()
        self.assertEqual(self.connections(proxy), 1)
        recording.open_gate()
        wait_for("answer", lambda: self.answered(proxy))

        def is_left() -> bool:
            self.assertEqual(self.guest("blue-one").ask("/latest/").status, 200)
            return not self.connections(proxy)

        wait_for("end of the connection", is_left, 30)
        instances = [one.values("x-instance-id") for one in recording.requests()]
        self.assertEqual(instances[0], [gone.instance])
        self.assertEqual({i for [i] in instances[1:]}, {other.instance})

    def test_a11_unplugged(self) -> None:
        """
        A11: that of a VM whose device is unplugged is broken as soon as Nova answers,
        for nobody is there to whom the answer could go.
        """
        recording, proxy = self.start_recording(
            options={"limits": {"write_timeout": 300, "idle_timeout": 600}}
        )
        gone = self.machine("red-one")
        asked = request("/latest/slow", close=False)
        pending = self.guest("red-one").begin(Talk(((0, asked),), timeout=1))
        wait_for("request at Nova", recording.requests)
        self.world.hypervisor.ip("link", "del", self.world.tap(gone))
        pending.answers()
        recording.open_gate()
        wait_for("end of the connection", lambda: not self.connections(proxy))
        self.assertEqual(self.guest("blue-one").ask("/latest/").status, 200)

    def connections(self, proxy: Proxy) -> int:
        """
        Count the connections of VMs.
        """
        connections: int = proxy.status()["front"]["connections"]
        return connections

    def answered(self, proxy: Proxy) -> bool:
        """
        Tell whether Nova's answer was relayed.
        """
        return bool(proxy.status()["proxy"]["counts"].get("status-200"))


class ForeignSourceTests(LabTestCase):
    """
    D5: a source address to which no way leads back.
    """

    booted = ("red-one", "red-rogue")

    def test_d5_no_handshake(self) -> None:
        """
        D5: whoever sends from an address that nobody has, or from a neighbour's without
        turning its entry, completes no handshake: no connection, and no request.
        """
        recording, proxy = self.start_recording()
        self.assertEqual(self.guest("red-one").ask("/latest/").status, 200)
        served = len(recording.requests())
        rogue, vm = self.guest("red-rogue"), self.world.vms["red-rogue"]
        # Its kernel is not to say that it has these addresses, which lie on lo.
        vm.sysctl("ipv4/conf/all/arp_ignore", 1)
        vm.sysctl("ipv4/conf/all/arp_announce", 2)
        for source in ("10.0.0.99", self.machine("red-one").ipv4):
            vm.ip("addr", "add", f"{source}/32", "dev", "lo")
            segments = ((0, request("/latest/")),)
            [answer] = rogue.talk(Talk(segments, timeout=1.5, source=source))
            self.assertEqual((answer.end, answer.raw), ("timeout", b""))
            # The kernel got the SYN, and looked for whom to answer.
            sought = self.world.hypervisor.run("ip", "neigh", "show", "to", source)
            self.assertIn(b" dev br-tenant1 ", sought.stdout)
        self.assertEqual(len(recording.requests()), served)
        self.assertEqual(proxy.status()["front"]["connections"], 0)
