"""
A host to look at: the real proxy and a stand-in for Nova as processes on loopback, many
instances, some with host names that mean harm, and requests that they make.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from attrs import define, frozen

from tests.corpus.test_corpus import Proxy, free_port, write_ini

#: The secret shared with Nova, which no page may show.
SECRET = "s3cret-of-the-scene"

#: How many instances there are: more than two pages of them.
MANY = 250

#: What some instances call themselves towards their DHCP server.
HOSTILE = (
    "<script>window.owned=1</script>",
    "<img/src=x/onerror=window.owned=1>",
    '"onmouseover="window.owned=1"x="',
    "'/><svg/onload=window.owned=1>",
    "{{7*7}}{%25raw%25}",
    "x" * 250,
)

#: The number of the last address that belongs to nobody.
STRANGER = 251

#: Nobody waits longer than this for anything, in seconds.
PATIENCE = 30.0


def wait_for(what: str, look: Callable[[], Any]) -> Any:
    """
    Look again and again until there is something.

    @return: What there is.

    @raise AssertionError: If nothing comes.
    """
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come to be: {what}")
        time.sleep(0.02)
    return found


@frozen
class Guest:
    """
    An instance on loopback.

    @ivar number: Which one, from 1.
    """

    number: int

    @property
    def address(self) -> str:
        """
        Where it asks from.
        """
        return f"127.0.1.{self.number}"

    @property
    def mac(self) -> str:
        """
        Its MAC address.
        """
        return f"02:00:00:00:01:{self.number:02x}"

    @property
    def instance(self) -> str:
        """
        Its id.
        """
        return f"00000000-0000-4000-8000-{self.number:012d}"

    @property
    def hostname(self) -> str:
        """
        What it calls itself.
        """
        if self.number <= len(HOSTILE):
            return HOSTILE[self.number - 1]
        return f"vm-{self.number}"

    @property
    def known(self) -> Mapping[str, object]:
        """
        How the inventory and Nova know it.
        """
        return {
            "network": "tenants",
            "mac": self.mac,
            "addresses": [self.address],
            "instance": self.instance,
            "project": f"{self.number % 7:032x}",
            "hostname": f"vm-{self.number}",
        }


@define(eq=False)
class Scene:
    """
    The host.

    @ivar pages: Where the operator looks: C{127.0.0.1:PORT}.
    @ivar _directory: Its files.
    @ivar _nova: Nova's process.
    @ivar _proxy: The proxy's.
    """

    pages: str
    _directory: TemporaryDirectory[str]
    _nova: subprocess.Popen[bytes]
    _proxy: Proxy

    @classmethod
    def begin(cls) -> Scene:
        """
        Start it, and wait until the operator can look.
        """
        directory = TemporaryDirectory(prefix="pages-")
        where, nova, instances, pages = Path(directory.name), *_ports(3)
        guests = [Guest(number) for number in range(1, MANY + 1)]
        _write_files(where, guests)
        _configure(where, nova, instances, pages)
        stand_in = subprocess.Popen(
            [
                *(sys.executable, "-m", "mdproxy.devnova", where / "nova.yaml"),
                *("--secret", SECRET),
                *("--listen", f"tcp:{nova}:interface=127.0.0.1"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        proxy = Proxy.run(where, instances)
        scene = cls(f"127.0.0.1:{pages}", directory, stand_in, proxy)
        wait_for("Nova answers", lambda: scene.ask(Guest(1).address) == 200)
        return scene

    def end(self) -> None:
        """
        End it.
        """
        self._proxy.stop()
        self._nova.terminate()
        self._nova.wait()
        self._directory.cleanup()

    def ask(self, address: str, target: str = "/latest/meta-data/instance-id") -> int:
        """
        Ask as an instance.

        @return: The status.
        """
        line = http.client.HTTPConnection(
            "127.0.0.1", self._proxy.port, PATIENCE, source_address=(address, 0)
        )
        line.putrequest("GET", target, skip_host=True)
        line.putheader("Host", "169.254.169.254")
        line.endheaders()
        response = line.getresponse()
        response.read()
        line.close()
        return response.status

    def tell(self, path: str) -> Any:
        """
        Read the operator's JSON.
        """
        line = http.client.HTTPConnection(self.pages, timeout=PATIENCE)
        line.request("GET", f"/api/v1/{path}")
        told = json.loads(line.getresponse().read())
        line.close()
        return told


def _ports(count: int) -> list[int]:
    """
    Find ports that nobody listens on.
    """
    return [free_port() for _ in range(count)]


def _write_files(directory: Path, guests: list[Guest]) -> None:
    """
    Write what the inventory, Nova and the DHCP server know.
    """
    known = [guest.known for guest in guests]
    ports = [{k: v for k, v in each.items() if k != "hostname"} for each in known]
    (directory / "instances.yaml").write_text(yaml.safe_dump({"ports": ports}))
    (directory / "nova.yaml").write_text(yaml.safe_dump({"instances": known}))
    end = int(time.time()) + 3600
    (directory / "leases").write_text(
        "".join(
            f"{end} {guest.mac} {guest.address} {guest.hostname} *\n"
            for guest in guests
        )
    )


def _configure(directory: Path, nova: int, instances: int, pages: int) -> None:
    """
    Write the configuration.
    """
    listener = {"kind": "address", "address": "127.0.0.1", "identify_by": "address"}
    write_ini(
        directory / "mdproxy.conf",
        {
            "DEFAULT": {
                "nova_metadata_port": nova,
                "metadata_proxy_shared_secret": SECRET,
            },
            "static": {"path": directory / "instances.yaml"},
            "leases": {"sources": f"dnsmasq:{directory / 'leases'}@tenants"},
            "listener:tenants": {**listener, "port": instances},
            "listener:spare": {**listener, "port": free_port()},
            "introspection": {"endpoint": f"tcp:{pages}:interface=127.0.0.1"},
            "hold": {"openstack": 0.2, "other": 0.2},
        },
    )
