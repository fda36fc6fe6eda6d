"""
The systemd unit leaves the service what it needs, and no more than that.
"""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from tests.lab.case import LabTestCase
from tests.lab.proxy import Proxy

ETC = Path(__file__).parent.parent.parent / "etc"
#: The numbers of the capabilities that a unit of ours may name (capability.h).
NUMBERS = {"CAP_DAC_READ_SEARCH": 2, "CAP_NET_BIND_SERVICE": 10}


def capabilities(*units: str) -> list[str]:
    """
    Read which capabilities the service has.

    @param units: The unit file and its drop-ins, by their paths in C{etc}.

    @return: Their names.
    """
    names = []
    for unit in units:
        parser = ConfigParser(strict=False, interpolation=None)
        parser.read_string((ETC / unit).read_text())
        names += parser["Service"]["AmbientCapabilities"].split()
    return names


class ServiceTests(LabTestCase):
    """
    The proxy serves a VM with the capabilities of its unit.
    """

    booted = ("red-one",)

    def start_confined(self, names: list[str]) -> Proxy:
        """
        Start the proxy in front of the stand-in for Nova with few capabilities.

        @param names: Those that it keeps.

        @return: The running proxy.
        """
        kept = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in names)
        bounds = ("--bounding-set", f"-all,{kept}", "--no-new-privs")
        proxy = self.start_devnova(
            networks=("br-tenant1",), wrapper=("setpriv", *bounds)
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
        machine = self.machine("red-one")
        answer = self.guest("red-one").ask("/openstack/latest/meta_data.json")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json()["uuid"], machine.instance)
