"""
The libvirt inventory, with the real libvirtd and domains that really run.
"""

from __future__ import annotations

from attrs import evolve

from tests.lab.case import LabTestCase
from tests.lab.libvirt import Libvirt, Plug, build, metadata
from tests.lab.stage import wait_for

TARGET = "/openstack/latest/meta_data.json"
FIRST = "567a4527-b0e4-4d0a-bcc2-71fda37897f7"
SECOND = "99999999-b0e4-4d0a-bcc2-71fda37897f7"


class LibvirtTests(LabTestCase):
    """
    The proxy knows what libvirt runs, and nothing else.
    """

    booted = ("red-one", "red-two")

    def setUp(self) -> None:
        """
        Start libvirtd, and the proxy.
        """
        super().setUp()
        self.libvirt = Libvirt(self.world, build())
        self.libvirt.start()
        self.one, self.two = self.machine("red-one"), self.machine("red-two")
        self.proxy = self.start_devnova(
            known=[],
            networks=("br-tenant1",),
            options={
                "DEFAULT": {"inventories": "static, libvirt"},
                "libvirt": {"path": self.libvirt.live},
                "hold": {"openstack": "0.3"},
            },
        )

    def asked(self, hostname: str) -> str | None:
        """
        Ask from a VM.

        @return: The instance whose data it got, or another status than 200; C{None}: it
            was told of none.
        """
        answer = self.guest(hostname).ask(TARGET)
        if answer.status != 200:
            return None if answer.status == 404 else str(answer.status)
        uuid: str = answer.json()["uuid"]
        return uuid

    def wait_until(self, hostname: str, instance: str | None) -> None:
        """
        Wait until a VM is who it should be.
        """
        wait_for(f"change of {hostname}", lambda: self.asked(hostname) == instance, 5.0)

    def test_life_of_an_instance(self) -> None:
        """
        An instance is known from when it runs, each of its interfaces from when it is
        plugged in and Nova has written down its address, until it is unplugged; when
        the instance is ended nothing is known of it.  After it comes one that Nova did
        not make.
        """
        one, two = self.one, evolve(self.two, instance=self.one.instance)
        first, second = Plug(one, FIRST), Plug(two, SECOND)
        self.assertIsNone(self.asked("red-one"))
        self.libvirt.create(one, [first], metadata(one, [first]))
        self.wait_until("red-one", one.instance)
        self.assertIsNone(self.asked("red-two"))
        self.libvirt.plug(one, second)
        self.assertIsNone(self.asked("red-two"))
        self.libvirt.describe(one, metadata(one, [first, second]))
        self.wait_until("red-two", one.instance)
        self.libvirt.unplug(one, 1)
        self.wait_until("red-two", None)
        self.assertEqual(self.asked("red-one"), one.instance)
        self.libvirt.destroy(one)
        self.wait_until("red-one", None)
        self.check_plain_domain()

    def check_plain_domain(self) -> None:
        """
        A domain that Nova did not make is an instance once the operator has said whose
        it is; its lease tells its address.
        """
        one = self.one
        self.libvirt.create(one, [Plug(one, FIRST)])
        self.assertIsNone(self.asked("red-one"))
        draft = self.proxy.inventory.with_suffix(".draft")
        draft.write_text(f"projects: {{{one.instance}: {one.project}}}")
        draft.rename(self.proxy.inventory)
        self.wait_until("red-one", one.instance)
