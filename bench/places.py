"""
Where is measured: the addresses, namespaces and certificates that all systems share.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from attrs import define, field, frozen

from tests.lab import certs
from tests.lab.stage import LabError, Namespace, Running, Stage, run, wait_for

#: What the system under test has to itself, and what load and backend share.
SYSTEM_CORE, OTHER_CORE = "0", "1"
SECRET = "the secret of a benchmark"
LINK_LOCAL = "169.254.169.254"
BRIDGE = "br-bench"
_GATEWAY = "10.0.0.1"
#: Below those that the kernel gives to outgoing connections, of which a round makes
#: thousands.
_PORTS = range(20000, 30000)


def _is_free(port: int) -> bool:
    """
    Look whether a port can be listened on.
    """
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@frozen
class Instance:
    """
    Who asks.

    @ivar address: The address it asks from.
    @ivar mac: Its MAC address.
    @ivar instance: The id that the backend must be told.
    @ivar project: Whose it is.
    @ivar network: What the inventory calls its network.
    """

    address: str
    mac: str = "fa:16:3e:00:01:11"
    instance: str = "32d0524b-314d-4594-b3a3-607e3f2354f8"
    project: str = "28a490a0f8b28800181ce490a74df8d2"
    network: str = BRIDGE

    @property
    def signature(self) -> str:
        """
        What proves the id to Nova.
        """
        key, message = SECRET.encode(), self.instance.encode()
        return hmac.new(key, message, hashlib.sha256).hexdigest()


@define
class Place(Stage):
    """
    Loopback: the instance is C{127.0.0.1}, and an address identifies it.

    @ivar name: What it is called in the output.
    @ivar tls: Whether the backend speaks TLS and wants a certificate.
    @ivar source: The checkout with the proxy to measure; empty: this one.
    @ivar asking: The namespace in which the load is made.
    @ivar host: The address at which systems listen.
    @ivar caller: Who asks.
    @ivar certificates: For both sides of TLS.
    """

    name: str = "loopback"
    tls: bool = False
    source: str = ""
    asking: Namespace = field(default=Namespace(""), init=False)
    host: str = field(default="127.0.0.1", init=False)
    caller: Instance = field(default=Instance("127.0.0.1"), init=False)
    certificates: certs.Certificates = field(init=False)
    _candidates: Iterator[int] = field(factory=lambda: iter(_PORTS), init=False)

    @property
    def device(self) -> str:
        """
        The network device whose instances are served; empty: any.
        """
        return ""

    def furnish(self) -> None:
        """
        Make the certificates.
        """
        self.certificates = certs.make(self.directory)

    def launch(self, name: str, core: str, *argv: str, **environment: str) -> Running:
        """
        Start a process where systems and backend run, on one core.

        @param name: What its log file is called.
        """
        pinned = ("taskset", "-c", core, *argv)
        return self.start(self.hypervisor, name, *pinned, **environment)

    def listening(self, running: Running, port: int, host: str = "") -> None:
        """
        Wait until a port is served.
        """

        def served() -> bool:
            if running.process.poll() is not None:
                raise OSError(f"it has ended: {running.said()[-2000:]}")
            probe = (sys.executable, "-I", "-S", "-c", _KNOCK, host or self.host)
            done = self.hypervisor.run(*probe, str(port), check=False)
            return done.returncode == 0

        try:
            wait_for(f"port {port}", served, 60)
        except LabError as error:
            raise LabError(f"{error}: {running.said()[-2000:]}") from error

    def ports(self, count: int) -> list[int]:
        """
        Find ports that nobody listens on, each for one caller only.
        """
        return list(islice(filter(_is_free, self._candidates), count))

    def write(self, name: str, text: str) -> Path:
        """
        Write a file that only its owner can read.
        """
        path = self.directory / name
        path.touch(0o600)
        path.write_text(text)
        return path


#: Exits with 0 if somebody listens.
_KNOCK = (
    "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
)


@define
class Bridge(Place):
    """
    Two namespaces: an instance, and a host with the bridge it is plugged into.

    Systems listen at the link-local address on the bridge; the backend is on the
    loopback of the host's namespace.
    """

    def furnish(self) -> None:
        """
        Make both, and plug one into the other.
        """
        Place.furnish(self)
        self.host = LINK_LOCAL
        self.caller = Instance("10.0.0.11")
        self.hypervisor = self._namespace("host")
        self.asking = self._namespace("instance")
        ip = self.hypervisor.ip
        ip("link", "add", BRIDGE, "address", "fe:16:3e:00:ff:01", "type", "bridge")
        ip("addr", "add", f"{_GATEWAY}/24", "dev", BRIDGE)
        ip("addr", "add", f"{LINK_LOCAL}/32", "dev", BRIDGE, "scope", "link")
        link = ("type", "veth", "peer", "name", "eth0", "address", self.caller.mac)
        ip("link", "add", "tap0", *link, "netns", self.asking.name)
        ip("link", "set", "tap0", "master", BRIDGE, "up")
        ip("link", "set", BRIDGE, "up")
        inside = self.asking.ip
        inside("addr", "add", f"{self.caller.address}/24", "dev", "eth0")
        inside("link", "set", "eth0", "up")
        inside("route", "add", f"{LINK_LOCAL}/32", "dev", "eth0")

    @property
    def device(self) -> str:
        """
        Provide L{Place.device}.
        """
        return BRIDGE

    def _namespace(self, name: str) -> Namespace:
        """
        Make a namespace that goes with the place.
        """
        namespace = Namespace(self._prefix + name)
        run(["ip", "netns", "add", namespace.name])
        self._cleanup.callback(run, ["ip", "netns", "del", namespace.name])
        namespace.ip("link", "set", "lo", "up")
        return namespace
