"""
A DHCP server and its clients, in namespaces of their own, and a watcher of its leases.
"""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field

from mdproxy.lookup.books import LeaseBook
from mdproxy.lookup.epoch import Epoch
from mdproxy.lookup.kinds import Naming
from mdproxy.lookup.watchers import LeaseWatcher
from mdproxy.model import Lease
from tests.inotify_reactor import WatchingReactor
from tests.lab.stage import CHECKOUT, LabError, Namespace, Running, Stage, run, wait_for

#: The server's address; clients get others of its network.
SERVER = "10.77.0.1"
DEVICE = "br0"

_BOUND = """#!/bin/sh
case $1 in
bound | renew) ip addr replace "$ip/$mask" dev "$interface" ;;
esac
"""


def mac_of(number: int) -> str:
    """
    Name the MAC address of a client.
    """
    return f"fa:16:3e:77:00:{number:02x}"


@define
class Segment(Stage):
    """
    A network with a bridge, on which a server is to be started, and clients.

    @ivar clients: Where they are.
    """

    clients: dict[int, Namespace] = field(factory=dict, init=False)

    def furnish(self) -> None:
        """
        Make the bridge.
        """
        self.hypervisor = self._namespace("srv")
        ip = self.hypervisor.ip
        self.hypervisor.sysctl("ipv6/conf/default/accept_dad", 0)
        ip("link", "add", DEVICE, "address", "fe:16:3e:77:ff:01", "type", "bridge")
        ip("link", "set", DEVICE, "up")
        ip("addr", "add", f"{SERVER}/24", "dev", DEVICE)
        ip("addr", "add", "fd77::1/64", "dev", DEVICE, "nodad")
        script = self.directory / "bound.sh"
        script.write_text(_BOUND)
        script.chmod(0o755)

    def plug(self, number: int) -> Namespace:
        """
        Make a client's machine.
        """
        machine = self.clients[number] = self._namespace(f"vm{number}")
        machine.sysctl("ipv6/conf/default/accept_dad", 0)
        link = ("type", "veth", "peer", "name", "eth0", "address", mac_of(number))
        tap = f"tap{number}"
        self.hypervisor.ip("link", "add", tap, *link, "netns", machine.name)
        self.hypervisor.ip("link", "set", tap, "master", DEVICE, "up")
        machine.ip("link", "set", "eth0", "up")
        return machine

    def wait_for_carrier(self) -> None:
        """
        Wait until the bridge forwards frames.
        """
        path = f"/sys/class/net/{DEVICE}/operstate"
        read = partial(self.hypervisor.run, "cat", path)
        wait_for("carrier", lambda: read().stdout.strip() == b"up")

    def ask(self, number: int) -> Running:
        """
        Start a client that keeps its lease until it is told to give it back.
        """
        machine = self.clients.get(number) or self.plug(number)
        options = ("-f", "-R", "-t", "20", "-T", "1", "-x", f"hostname:vm{number}")
        script = str(self.directory / "bound.sh")
        client = ("udhcpc", "-i", "eth0", *options, "-s", script)
        return self.start(machine, f"udhcpc-{number}", *client)

    def _namespace(self, name: str) -> Namespace:
        """
        Make a namespace that goes with the stage.
        """
        namespace = Namespace(self._prefix + name)
        run(["ip", "netns", "add", namespace.name])
        self._cleanup.callback(run, ["ip", "netns", "del", namespace.name])
        namespace.ip("link", "set", "lo", "up")
        return namespace

    def ask6(self, number: int) -> Asking:
        """
        Start a client of IPv6.
        """
        machine = self.clients.get(number) or self.plug(number)
        script = str(CHECKOUT / "tests/lab/dhcp6.py")
        command = machine.command(sys.executable, script, "eth0", mac_of(number))
        asking = Asking(command)
        self._cleanup.callback(asking.stop)
        return asking


class Asking:
    """
    A client of IPv6, and its address.
    """

    def __init__(self, command: list[str]) -> None:
        """
        Start it.
        """
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def said(self) -> str:
        """
        Wait for its next line.
        """
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def give_back(self) -> None:
        """
        Have it give its address back.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """
        End it.
        """
        self._process.kill()
        self._process.communicate()


def renew(client: Running) -> None:
    """
    Have a client ask for its lease again.
    """
    client.process.send_signal(signal.SIGUSR1)


class WitnessBook(LeaseBook):
    """
    A book that remembers what was taken out of it.

    @ivar forgotten: The addresses.
    """

    def __init__(self) -> None:
        """
        Begin with nothing.
        """
        super().__init__()
        self.forgotten: list[str] = []

    def forget(self, source: str, network: str, address: str) -> None:
        """
        Take back what a source said of an address.
        """
        self.forgotten.append(address)
        super().forget(source, network, address)


class Watching:
    """
    A watcher of lease files on the machine's own time, and its book.

    @ivar book: What it knows.
    @ivar watcher: The watcher.
    """

    def __init__(self, kind: str, path: Path, naming: Naming) -> None:
        """
        Start it.
        """
        self._reactor = WatchingReactor()
        self._reactor.rightNow = time.monotonic()
        self.book = WitnessBook()
        epoch = Epoch(time.time, time.monotonic)
        self.watcher = LeaseWatcher(
            self._reactor,
            self._reactor,
            self.book,
            kind,
            kind,
            str(path),
            naming,
            epoch,
        )
        self.watcher.startService()

    def stop(self) -> None:
        """
        Stop it.
        """
        self.watcher.stopService()

    def lease(self, address: str, network: str = "red") -> Lease | None:
        """
        Look up who has an address now.
        """
        return self.book.holder(network, address, time.time())

    def until(self, what: str, probe: Callable[[], Any], seconds: float = 8.0) -> Any:
        """
        Watch until something is so.

        @param what: What it is, for the error.

        @return: What the probe returned.
        """
        deadline = time.monotonic() + seconds
        while True:
            select.select(self._reactor.getReaders(), [], [], 0.005)
            self._reactor.take_events()
            self._reactor.advance(max(0.0, time.monotonic() - self._reactor.rightNow))
            if found := probe():
                return found
            if time.monotonic() > deadline:
                said = self.watcher.describe()
                raise LabError(f"after {seconds:g} s there was no {what}: {said}")

    def leased_to(self, number: int) -> str:
        """
        Wait until a client has a lease.

        @return: Its address.
        """
        network = self.book._leases
        address: str = self.until(
            f"lease of {number}",
            lambda: next(
                (
                    where
                    for (_, where), seat in network.items()
                    if any(each.mac == mac_of(number) for each in seat.values())
                ),
                None,
            ),
        )
        return address

    def gone(self, address: str, network: str = "red") -> None:
        """
        Wait until nobody has an address.
        """
        self.until(
            f"end of the lease of {address}",
            lambda: self.lease(address, network) is None,
        )
