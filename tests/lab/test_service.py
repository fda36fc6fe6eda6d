"""
The systemd unit leaves the service what it needs, and no more than that.
"""

from __future__ import annotations

import os
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from tests.lab.case import LabTestCase
from tests.lab.proxy import Proxy
from tests.lab.test_namespaces import NOBODY, NeutronCase

TESTS = Path(__file__).parent.parent
DATA, ETC = TESTS / "data", TESTS.parent / "etc"
#: The numbers of the capabilities that a unit of ours may name (capability.h).
NUMBERS = {"CAP_DAC_READ_SEARCH": 2, "CAP_NET_BIND_SERVICE": 10}


def capabilities(*units: str, option: str = "AmbientCapabilities") -> list[str]:
    """
    Read which capabilities the service has.

    @param units: The unit file and its drop-ins, by their paths in C{etc}.
    @param option: The option that names them.

    @return: Their names.
    """
    names = []
    for unit in units:
        parser = ConfigParser(strict=False, interpolation=None)
        parser.read_string((ETC / unit).read_text())
        names += parser["Service"][option].split()
    return names


def short(names: list[str]) -> str:
    """
    Write capabilities as setpriv takes them.
    """
    return ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in names)


class ServiceTests(LabTestCase):
    """
    The proxy serves a VM with the capabilities of its unit.
    """

    booted = ("red-one",)

    def start_confined(self, names: list[str], **details: Any) -> Proxy:
        """
        Start the proxy in front of the stand-in for Nova with few capabilities.

        @param names: Those that it keeps.
        @param details: Of the proxy.

        @return: The running proxy.
        """
        bounds = ("--bounding-set", f"-all,{short(names)}", "--no-new-privs")
        proxy = self.start_devnova(
            networks=("br-tenant1",), wrapper=("setpriv", *bounds), **details
        )
        status = Path(f"/proc/{proxy.running.process.pid}/status").read_text()
        [held] = [line for line in status.splitlines() if line.startswith("CapEff:")]
        mask = sum(1 << NUMBERS[name] for name in names)
        self.assertEqual(int(held.split()[1], 16), mask)
        return proxy

    def test_the_unit_is_enough(self) -> None:
        """
        Port 80 on a bridge, opening frames and the neighbour table need no more than
        the unit gives.
        """
        self.start_confined(capabilities("mdproxy.service"))
        self.check_served()

    def test_the_drop_in_is_enough(self) -> None:
        """
        With the drop-in the service reads what libvirt lets nobody else read.
        """
        domains = self.world.directory / "qemu"
        domains.mkdir()
        self.write_domain(domains / "instance-0000002a.xml")
        self.start_confined(
            capabilities("mdproxy.service", "mdproxy.service.d/libvirt.conf"),
            known=(),
            options={
                "DEFAULT": {"inventories": "libvirt"},
                "libvirt": {"path": domains},
            },
        )
        self.check_served()

    def write_domain(self, path: Path) -> None:
        """
        Write the VM's state as libvirt does, for its own user only.  The lab's proxy
        runs as root, so another user stands in for libvirt's.

        @param path: Where to.
        """
        machine = self.machine("red-one")
        xml = (DATA / "libvirt" / f"run-libvirt-qemu--{path.name}").read_text()
        for theirs, ours in (
            ("fa:16:3e:99:00:01", machine.mac),
            ("192.168.122.50", machine.ipv4),
            ("virbr0", machine.network),
        ):
            self.assertIn(theirs, xml)
            xml = xml.replace(theirs, ours)
        path.write_text(xml)
        path.chmod(0o600)
        os.chown(path, 65534, 65534)

    def check_served(self) -> None:
        """
        Check that the VM gets its own data.
        """
        answer = self.guest("red-one").ask("/openstack/latest/meta_data.json")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json()["uuid"], self.machine("red-one").instance)


class NamespacesServiceTests(NeutronCase):
    """
    With either drop-in for namespaces the proxy serves a VM in one.
    """

    def serve(self, *wrapper: str, **details: Any) -> None:
        """
        Serve a VM with little power, from files that are another user's.

        @param wrapper: What takes the power away.
        @param details: Of the proxy.
        """
        self.host.add_network("red")
        chown = f"chown -R nobody {self.host.directory}"
        own = ("sh", "-c", f'{chown}; exec "$@"', "sh")
        self.start(wrapper=(*own, "setpriv", "--no-new-privs", *wrapper), **details)
        self.wait_listening(2)
        self.assert_served("red")
        self.assertNotIn("0", self.status_of(self.pid(), "Uid"))

    def test_it_begins_as_root(self) -> None:
        """
        What the unit leaves to root is enough to read the files, to start the broker,
        and to become somebody else.
        """
        names = capabilities(
            "mdproxy.service.d/namespaces.conf", option="CapabilityBoundingSet"
        )
        self.serve("--bounding-set", f"-all,{short(names)}", twistd=NOBODY)
        self.assertEqual(len(self.children()), 1)
        self.assertEqual(self.status_of(self.pid(), "CapPrm"), ["0" * 16])

    def test_it_never_is_root(self) -> None:
        """
        So are the capabilities of a service that is never root.
        """
        kept = short(
            capabilities("mdproxy.service", "mdproxy.service.d/namespaces-ambient.conf")
        )
        user = ("--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
        self.serve(*user, "--inh-caps", kept, "--ambient-caps", kept)
        self.assertEqual(self.children(), [])
