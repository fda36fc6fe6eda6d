"""
A VM boots: the real cloud-init asks the real Nova through the proxy.
"""

from __future__ import annotations

import base64
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.lab import cloudinit, nova
from tests.lab.case import LabTestCase
from tests.lab.certs import Certificates, make
from tests.lab.machines import Machine
from tests.lab.proxy import NOVA_PORT
from tests.lab.stage import wait_for

SOURCES = ("OpenStack", "Ec2")


class BootTests(LabTestCase):
    """
    Cloud-init holds exactly the data of the instance that it runs in.
    """

    def start_nova(self, tls: Certificates | None = None) -> None:
        """
        Start the real Nova inside the hypervisor.
        """
        namespace = self.world.hypervisor.name
        tree = nova.build()
        process = nova.NovaProcess(tree, "127.0.0.1", NOVA_PORT, tls, netns=namespace)
        process.start()
        self.addCleanup(process.stop)

    def boot_all(self) -> None:
        """
        Let cloud-init crawl in every VM, a few at a time, and check what it holds.
        """
        tool = cloudinit.build()

        def boot(machine: Machine) -> list[dict[str, Any]]:
            vm = self.world.vms[machine.hostname]
            return [tool.crawl(vm, machine, source) for source in SOURCES]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            crawled = list(pool.map(boot, self.world.machines))
        for machine, (openstack, ec2) in zip(self.world.machines, crawled, strict=True):
            self.check_openstack(machine, openstack)
            self.check_ec2(machine, ec2)
        ids = {ec2["instance"] for _, ec2 in crawled}
        self.assertEqual(len(ids), len(self.world.machines))

    def has_connection(self) -> bool:
        """
        Tell whether any VM is connected to the proxy now.
        """
        connected = ("-Htn", "state", "established", "sport = :80")
        return bool(self.world.hypervisor.run("ss", *connected).stdout)

    def check_common(self, machine: Machine, crawl: dict[str, Any]) -> None:
        """
        Check what both data sources must hold.
        """
        self.assertTrue(crawl["complete"], crawl["log"])
        self.assertEqual(crawl["hostname"], machine.hostname)
        self.assertEqual(crawl["keys"], list(machine.keys.values()))
        user_data = base64.b64decode(crawl["user_data"])
        self.assertEqual(user_data, machine.user_data or b"")

    def check_openstack(self, machine: Machine, crawl: dict[str, Any]) -> None:
        """
        Check what the OpenStack data source holds: its own tree and the EC2 one.
        """
        self.check_common(machine, crawl)
        self.assertEqual(crawl["instance"], machine.instance)
        self.assertEqual(crawl["metadata"]["project_id"], machine.project)
        [link] = crawl["network"]["links"]
        self.assertEqual(link["ethernet_mac_address"], machine.mac)
        self.assertEqual(crawl["ec2"]["local-ipv4"], machine.ipv4)
        self.assertEqual(crawl["ec2"]["hostname"].partition(".")[0], machine.hostname)

    def check_ec2(self, machine: Machine, crawl: dict[str, Any]) -> None:
        """
        Check what the Ec2 data source holds.
        """
        self.check_common(machine, crawl)
        self.assertEqual(crawl["metadata"]["local-ipv4"], machine.ipv4)
        self.assertEqual(crawl["metadata"]["instance-id"], crawl["instance"])

    def test_boots_from_nova_over_http(self) -> None:
        """
        Every VM gets its own data from the real Nova.
        """
        self.start_nova()
        self.start_proxy()
        self.boot_all()

    def test_boots_from_nova_over_mutual_tls(self) -> None:
        """
        Every VM gets its own data from a Nova that shows and wants a certificate.
        """
        folder = self.world.directory / "certificates"
        folder.mkdir()
        tls = make(folder)
        self.start_nova(tls)
        self.start_proxy(
            options={
                "DEFAULT": {
                    "nova_metadata_protocol": "https",
                    "auth_ca_cert": tls.ca,
                    "nova_client_cert": tls.client.certificate,
                    "nova_client_priv_key": tls.client.key,
                }
            }
        )
        self.boot_all()

    def test_boots_while_its_port_is_still_unknown(self) -> None:
        """
        A VM whose port the inventory learns five seconds after cloud-init's first
        question still boots with all its data, from either source.
        """
        self.start_nova()
        proxy = self.start_proxy(known=())
        tool = cloudinit.build()
        late = self.machine("red-one"), self.machine("blue-two")

        def boot(machine: Machine, source: str) -> dict[str, Any]:
            return tool.crawl(self.world.vms[machine.hostname], machine, source)

        with ThreadPoolExecutor(2) as pool:
            crawls = list(map(pool.submit, (boot, boot), late, SOURCES))
            wait_for("connection", self.has_connection)
            time.sleep(5)
            proxy.know(late)
            openstack, ec2 = (crawl.result() for crawl in crawls)
        self.check_openstack(late[0], openstack)
        self.check_ec2(late[1], ec2)
