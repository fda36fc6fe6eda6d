"""
What is not there yet when a VM asks: its port, its bridge, the metadata address.
"""

from __future__ import annotations

import time

from tests.lab.case import LabTestCase
from tests.lab.guest import Talk, request
from tests.lab.stage import wait_for
from tests.lab.world import METADATA_ADDRESS

OPENSTACK = "/openstack/latest/meta_data.json"
EC2 = "/latest/meta-data/hostname"
#: How long cloud-init waits for an answer under /openstack, and below /latest.
OPENSTACK_PATIENCE, EC2_PATIENCE = 10.0, 5.0


class LatePortTests(LabTestCase):
    """
    The inventory learns a port after its VM has asked.
    """

    booted = ("red-one", "blue-one")

    def test_openstack_request_is_held(self) -> None:
        """
        A request under /openstack is answered with the VM's data though its port is
        learnt five seconds later, on the same connection and before cloud-init gives
        up.
        """
        proxy = self.start_devnova(known=[self.machine("blue-one")])
        ask = Talk(((0, request(OPENSTACK)),), timeout=OPENSTACK_PATIENCE)
        pending = self.guest("red-one").begin(ask)
        pending.wait_until_asked()
        time.sleep(5)
        proxy.know(self.world.machines)
        [answer] = pending.answers()
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json()["uuid"], self.machine("red-one").instance)

    def test_ec2_request_is_refused_in_time(self) -> None:
        """
        An EC2 request gets its refusal before cloud-init gives up on it, and the
        client's own retry, once the port is known, gets the data.
        """
        proxy = self.start_devnova(known=[self.machine("blue-one")])
        guest = self.guest("red-one")
        first = guest.ask(EC2, timeout=EC2_PATIENCE)
        self.assertEqual(first.status, 404, first)
        proxy.know(self.world.machines)
        again = guest.ask(EC2, timeout=EC2_PATIENCE)
        self.assertEqual(again.status, 200, again)
        self.assertEqual(again.body.decode().partition(".")[0], "red-one")

    def test_ec2_request_is_held(self) -> None:
        """
        An EC2 request is answered with the VM's data if its port is learnt a moment
        later.
        """
        proxy = self.start_devnova(known=[self.machine("blue-one")])
        pending = self.guest("red-one").begin(
            Talk(((0, request(EC2)),), timeout=EC2_PATIENCE)
        )
        pending.wait_until_asked()
        time.sleep(2)
        proxy.know(self.world.machines)
        [answer] = pending.answers()
        self.assertEqual(answer.status, 200, answer)

    def test_stranger_on_the_other_network(self) -> None:
        """
        A port on one network says nothing about the other: the VM with the same address
        there stays a stranger.
        """
        self.start_devnova(known=[self.machine("blue-one")])
        pending = [
            self.guest(hostname).begin(Talk(((0, request(EC2)),)))
            for hostname in self.booted
        ]
        [[red], [blue]] = [each.answers() for each in pending]
        self.assertEqual(red.status, 404, red)
        self.assertEqual(blue.status, 200, blue)


class LateDeviceTests(LabTestCase):
    """
    The proxy is there before what it listens on.
    """

    booted = ("red-one",)

    def test_bridge_comes_later(self) -> None:
        """
        A network whose bridge appears while the proxy runs is served.
        """
        blue = self.machine("blue-one")
        self.start_devnova(known=self.machines.values())
        self.world.machines += (blue,)
        self.world.add_network(blue.network)
        self.world.boot([blue])
        guest = self.guest("blue-one")
        wait_for("answer", lambda: guest.ask(EC2).status == 200)
        self.assertEqual(guest.ask(OPENSTACK).json()["uuid"], blue.instance)

    def test_bridge_comes_back(self) -> None:
        """
        A network whose bridge is deleted and made again is served again.
        """
        mac = self.world.mac_of("br-tenant1")
        self.start_devnova()
        red = self.machine("red-one")
        tap = self.world.tap(red)
        self.assertEqual(self.guest("red-one").ask(EC2).status, 200)
        ip = self.world.hypervisor.ip
        ip("link", "del", red.network)
        ip("link", "add", red.network, "address", mac, "type", "bridge")
        ip("link", "set", red.network, "up")
        ip("link", "set", tap, "master", red.network)
        ip("addr", "add", "10.0.0.1/24", "dev", red.network)
        self.world.add_metadata_address(red.network)
        guest = self.guest("red-one")
        wait_for("answer", lambda: guest.ask(EC2, timeout=2).status == 200, 30)

    def test_address_comes_later(self) -> None:
        """
        The metadata address may be given to the bridge after the proxy has started,
        taken away and given again.
        """
        ip = self.world.hypervisor.ip
        here = (f"{METADATA_ADDRESS}/32", "dev", "br-tenant1")
        ip("addr", "del", *here)
        self.start_devnova()
        guest = self.guest("red-one")
        for _ in range(2):
            self.assertNotEqual(guest.ask(EC2, timeout=1).status, 200)
            ip("addr", "add", *here, "scope", "link")
            wait_for("answer", lambda: guest.ask(EC2, timeout=2).status == 200)
            ip("addr", "del", *here)
