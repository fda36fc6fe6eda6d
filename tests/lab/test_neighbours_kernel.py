"""
L{mdproxy.lookup.neighbours} on the real kernel, in a network namespace of its own.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_PACKET, SOCK_RAW, socket

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mdproxy.lookup.kernel_table import NetlinkSocket, open_netlink
from tests.test_lookup_neighbours import A, B, KernelContract

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _set_namespace(descriptor: int) -> None:
    """
    Move this thread into a network namespace.
    """
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def _inside(path: str) -> Iterator[None]:
    """
    Be in a network namespace for a moment.
    """
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(path, os.O_RDONLY)
        try:
            _set_namespace(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _set_namespace(here)
    finally:
        os.close(here)


def _ip(namespace: str, *commands: str) -> None:
    """
    Run commands of C{ip} in a namespace.
    """
    subprocess.run(
        ["ip", "-n", namespace, "-batch", "-"],
        input="\n".join(commands).encode(),
        check=True,
    )


class RealKernelTests(KernelContract, SynchronousTestCase):
    """
    The same promises on the kernel itself.
    """

    def setUp(self) -> None:
        """
        Make a namespace with two bridges, and one for the far ends of their ports.
        """
        if os.geteuid() != 0:
            raise SkipTest("needs root, to make a network namespace")
        self.namespace = f"mdproxy-neigh-{os.getpid()}"
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        self.addCleanup(
            subprocess.run, ["ip", "netns", "del", self.namespace], check=True
        )
        self.far = f"{self.namespace}-far"
        subprocess.run(["ip", "netns", "add", self.far], check=True)
        self.addCleanup(subprocess.run, ["ip", "netns", "del", self.far], check=True)
        self.ports: dict[int, str] = {}
        self.ip(
            "link add br7 index 7 type bridge",
            "link add br8 index 8 type bridge",
            "link set br7 up",
            "link set br8 up",
            "addr add 10.0.0.1/24 dev br7",
            "addr add 10.0.0.1/24 dev br8",
        )
        super().setUp()

    def ip(self, *commands: str) -> None:
        """
        Run commands of C{ip} in the namespace.
        """
        _ip(self.namespace, *commands)

    def open_socket(self) -> NetlinkSocket:
        """
        Open a socket inside the namespace.
        """
        with _inside(f"/run/netns/{self.namespace}"):
            return open_netlink()

    def replace(
        self, ifindex: int, address: str, mac: str | None, state: str = "stale"
    ) -> None:
        """
        Make or change an entry.
        """
        hardware = "" if mac is None else f"lladdr {mac}"
        self.ip(f"neigh replace {address} {hardware} dev br{ifindex} nud {state}")

    def delete(self, ifindex: int, address: str) -> None:
        """
        Delete an entry.
        """
        self.ip(f"neigh del {address} dev br{ifindex}")

    def add_port(self, ifindex: int, name: str) -> None:
        """
        Make a device, or give it another name and have it leave the bridge; plug it
        into the first bridge.
        """
        former = self.ports.get(ifindex)
        self.ports[ifindex] = name
        if former is None:
            end = f"type veth peer name end{ifindex} netns {self.far}"
            self.ip(f"link add {name} index {ifindex} {end}")
            _ip(self.far, f"link set end{ifindex} up")
        else:
            self.ip(f"link set {former} nomaster", f"link set {former} name {name}")
        self.ip(f"link set {name} master br{self.first} up")

    def delete_port(self, ifindex: int) -> None:
        """
        Delete a device.
        """
        self.ip(f"link del {self.ports.pop(ifindex)}")

    def put_behind(self, ifindex: int, mac: str, is_own: bool = False) -> None:
        """
        Send a frame from a MAC into a port, or give it to the port itself.
        """
        if is_own:
            entry = ("bridge", "fdb", "replace", mac, "dev", self.ports[ifindex])
            inside = ("ip", "netns", "exec", self.namespace)
            subprocess.run([*inside, *entry, "master", "permanent"], check=True)
            return
        with _inside(f"/run/netns/{self.far}"), socket(AF_PACKET, SOCK_RAW) as cable:
            cable.bind((f"end{ifindex}", 0))
            # An EtherType for experiments (IEEE 802).
            frame = b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) + b"\x88\xb5"
            cable.send(frame + bytes(46))

    def overrun(self, address: str) -> None:
        """
        Change an entry 8,000 times, which is more than the buffer holds, and delete it.
        """
        changes = [
            f"neigh replace {address} lladdr {mac} dev br{self.first} nud permanent"
            for mac in (A, B) * 4000
        ]
        self.ip(*changes, f"neigh del {address} dev br{self.first}")
