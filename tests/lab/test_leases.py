"""
L{mdproxy.lookup.watchers} on the files of the real DHCP servers: leases are given,
renewed, given back and run out; servers restart and clean up their files.  At no moment
a lease is forgotten that is in force.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.interfaces import SourceState
from mdproxy.lookup.kinds import Naming
from tests.lab.dhcp import DEVICE, SERVER, Segment, Watching, mac_of, renew
from tests.lab.libvirt import build
from tests.lab.stage import LabError, Running, wait_for
from tests.lab.world import require

NETWORK = "9d83c053-b0a4-4682-ae80-c00df269ce0a"
#: The servers and the Debian packages they are in.
SERVERS = {"dhcpd": "isc-dhcp-server", "kea-dhcp4": "kea-dhcp4-server"}
#: dnsmasq's options that are the same everywhere.
DNSMASQ = (
    "dnsmasq",
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--user=root",
    "--port=0",
    "--log-facility=-",
    "--bind-dynamic",
    f"--interface={DEVICE}",
    "--except-interface=lo",
    "--pid-file=",
    "--no-hosts",
    "--no-resolv",
    "--no-ping",
    "--dhcp-authoritative",
    "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,120s",
)


class ServerTestCase(SynchronousTestCase):
    """
    A test with a DHCP server and its clients.

    @ivar segment: Where they are.
    """

    #: The command that is needed besides what the whole lab needs.
    command: str | None = None

    def setUp(self) -> None:
        """
        Make the network.
        """
        require()
        if self.command is not None and shutil.which(self.command) is None:
            package = SERVERS[self.command]
            reason = f"{self.command} is not installed (Debian package {package})"
            if os.environ.get("CI") == "true":
                raise LabError(reason)
            raise SkipTest(reason)
        self.segment = Segment()
        self.segment.__enter__()
        self.addCleanup(self.segment.__exit__, None, None, None)
        self.directory = self.segment.directory

    def watch(self, kind: str, path: Path, naming: Naming) -> Watching:
        """
        Watch the leases.
        """
        watching = Watching(kind, path, naming)
        self.addCleanup(watching.stop)
        return watching

    def serve(self, *argv: str, **environment: str) -> Running:
        """
        Start the server.
        """
        return self.segment.start(
            self.segment.hypervisor, "server", *argv, **environment
        )

    def check_release(self, watching: Watching, client: Running, address: str) -> None:
        """
        Have a client give its lease back, and wait until that is known.
        """
        wait_for("bound client", lambda: f"lease of {address}" in client.said())
        client.stop()
        watching.until("release", lambda: address in watching.book.forgotten)

    def check_renewal(self, watching: Watching, client: Running, address: str) -> None:
        """
        Have a client renew its lease, and wait until it ends later.
        """
        before = watching.lease(address)
        assert before is not None and before.expires is not None
        ends = before.expires
        # Servers count whole seconds.
        wait_for("bound client", lambda: f"lease of {address}" in client.said())
        due = time.time() + 1
        watching.until("second", lambda: time.time() > due)
        renew(client)

        def is_later() -> bool:
            now = watching.lease(address)
            assert now is not None, "the lease was forgotten"
            return now.expires is not None and now.expires > ends

        watching.until("renewal", is_later)


class DnsmasqTests(ServerTestCase):
    """
    dnsmasq, IPv4 and IPv6, with its file where Neutron has it.
    """

    def test_life(self) -> None:
        """
        What Neutron wrote beforehand counts, and so does all that dnsmasq makes of it;
        the network is gone when its directory is.
        """
        home = self.directory / "dhcp" / NETWORK
        home.mkdir(parents=True)
        leases = home / "leases"
        soon = int(time.time()) + 4
        leases.write_text(
            f"0 {mac_of(9)} 10.77.0.109 * *\n{soon} {mac_of(8)} 10.77.0.108 * *\n"
        )
        watching = self.watch("dnsmasq", home.parent / "*" / "leases", Naming())
        book = watching.book
        self.assertIsNotNone(watching.lease("10.77.0.109", NETWORK))
        command = (
            *DNSMASQ,
            "--dhcp-range=fd77::100,fd77::1ff,64,120s",
            "--enable-ra",
            f"--dhcp-leasefile={leases}",
        )
        server = self.serve(*command)
        client = self.segment.ask(1)
        one = watching.leased_to(1)
        six = self.check_ipv6(watching)
        server.stop()
        server = self.serve(*command)
        wait_for("dnsmasq", lambda: server.said().count("sockets bound") == 2)
        self.check_release(watching, client, one)
        watching.until("what ran out", lambda: "10.77.0.108" in book.forgotten)
        self.assertEqual(sorted(book.forgotten), sorted([six, one, "10.77.0.108"]))
        self.assertGreaterEqual(time.time(), soon)
        self.assertIsNotNone(watching.lease("10.77.0.109", NETWORK))
        self.assertEqual(watching.watcher.state, SourceState.LIVE)
        server.stop()
        shutil.rmtree(home)
        watching.until("end of the network", lambda: not len(book), 0.5)

    def check_ipv6(self, watching: Watching) -> str:
        """
        Have a client get an IPv6 address and give it back.

        @return: The address.
        """
        asking = self.segment.ask6(2)
        address = asking.said()
        lease = watching.until("lease", lambda: watching.lease(address, NETWORK))
        self.assertIsNone(lease.mac)
        asking.give_back()
        watching.gone(address, NETWORK)
        return address

    def test_renewal(self) -> None:
        """
        A renewed lease ends later, and is never forgotten.
        """
        leases = self.directory / "leases"
        leases.touch()
        watching = self.watch("dnsmasq", leases, Naming("red"))
        self.serve(*DNSMASQ, f"--dhcp-leasefile={leases}")
        client = self.segment.ask(1)
        self.check_renewal(watching, client, watching.leased_to(1))
        self.assertEqual(watching.book.forgotten, [])


class DhcpdTests(ServerTestCase):
    """
    ISC dhcpd.
    """

    command = "dhcpd"

    def test_life(self) -> None:
        """
        Leases are given, renewed and given back, are still there when dhcpd has
        restarted with a new file, and run out.
        """
        leases = self.directory / "dhcpd.leases"
        leases.touch()
        (self.directory / "dhcpd.conf").write_text(
            "default-lease-time 4; max-lease-time 4; min-lease-time 1; authoritative;"
            "ddns-update-style none; ping-check false; dhcp-cache-threshold 0;"
            "subnet 10.77.0.0 netmask 255.255.255.0 {"
            " range 10.77.0.100 10.77.0.150; }"
        )
        watching = self.watch("dhcpd", leases, Naming("red"))
        command = ("dhcpd", "-f", "-4", "-q", "--no-pid")
        files = ("-cf", f"{self.directory}/dhcpd.conf", "-lf", str(leases), DEVICE)
        server = self.serve(*command, *files)
        wait_for("dhcpd's new file", lambda: "server-duid" in leases.read_text())
        first, second = self.segment.ask(1), self.segment.ask(2)
        one, two = watching.leased_to(1), watching.leased_to(2)
        self.check_release(watching, second, two)
        self.assertEqual(watching.book.forgotten, [two])
        self.check_renewal(watching, first, one)
        inode = leases.stat().st_ino
        server.stop()
        self.serve(*command, *files)
        watching.until("new file", lambda: leases.stat().st_ino != inode)
        self.assertIsNotNone(watching.lease(one))
        self.assertEqual(watching.book.forgotten, [two])
        # One that is killed gives nothing back.
        first.process.kill()
        watching.until("end", lambda: one in watching.book.forgotten)
        self.assertEqual(watching.watcher.state, SourceState.LIVE)
        self.assertEqual(watching.watcher.describe()["refused_lines"], 0)


class KeaTests(ServerTestCase):
    """
    Kea, which cleans up its file every second.
    """

    command = "kea-dhcp4"

    def test_life(self) -> None:
        """
        Leases are given, renewed, given back and run out, while the files they stand
        in are cleaned up again and again.
        """
        leases = self.directory / "kea.csv"
        database = {"type": "memfile", "name": str(leases), "lfc-interval": 2}
        subnet = {
            "id": 42,
            "subnet": "10.77.0.0/24",
            "pools": [{"pool": "10.77.0.100-10.77.0.150"}],
        }
        expiry = {
            "reclaim-timer-wait-time": 1,
            "flush-reclaimed-timer-wait-time": 1,
            "hold-reclaimed-time": 1,
        }
        config = {
            "interfaces-config": {"interfaces": [f"{DEVICE}/{SERVER}"]},
            "lease-database": database,
            "expired-leases-processing": expiry,
            "valid-lifetime": 7,
            "subnet4": [subnet],
        }
        path = self.directory / "kea.json"
        path.write_text(json.dumps({"Dhcp4": config}))
        watching = self.watch("kea", leases, Naming(None, {42: "red"}))
        command = ("kea-dhcp4", "-c", str(path))
        where = {
            "KEA_PIDFILE_DIR": str(self.directory),
            "KEA_LOCKFILE_DIR": "none",
        }
        for number in (1, 2):
            self.segment.plug(number)
        # Kea opens no socket on a bridge without a carrier, and looks only once.
        self.segment.wait_for_carrier()
        server = self.serve(*command, **where)
        first, second = self.segment.ask(1), self.segment.ask(2)
        one, two = watching.leased_to(1), watching.leased_to(2)
        self.check_release(watching, second, two)
        cleaned = Path(f"{leases}.2")
        inode = watching.until("cleaned file", lambda: _inode_of(cleaned))
        self.check_renewal(watching, first, one)
        self.assertEqual(watching.book.forgotten, [two])
        server.stop()
        self.serve(*command, **where)
        watching.until("another one", lambda: _inode_of(cleaned) not in (None, inode))
        self.assertIsNotNone(watching.lease(one))
        self.assertEqual(watching.book.forgotten, [two])
        first.process.kill()
        watching.until("end", lambda: one in watching.book.forgotten, 16.0)
        watching.until(
            "live source", lambda: watching.watcher.state is SourceState.LIVE
        )
        self.assertEqual(watching.watcher.describe()["refused_lines"], 0)


def _inode_of(path: Path) -> int | None:
    """
    Tell which file is there.
    """
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


class LibvirtTests(ServerTestCase):
    """
    libvirt's own helper, run by dnsmasq as libvirt has it run.
    """

    def helper(self) -> Path:
        """
        Have the helper be called with the libraries that were unpacked with it.
        """
        root = build()
        wrapper = self.directory / "helper.sh"
        wrapper.write_text(
            "#!/bin/sh\n"
            f"export LD_LIBRARY_PATH={root}/usr/lib/x86_64-linux-gnu\n"
            f'exec {root}/usr/lib/libvirt/libvirt_leaseshelper "$@"\n'
        )
        wrapper.chmod(0o755)
        return wrapper

    def test_life(self) -> None:
        """
        Leases are given, renewed, given back and run out; dnsmasq restarts, and reads
        them from the file.
        """
        machine = self.directory / "machine"
        leases = machine / "libvirt" / "dnsmasq" / f"{DEVICE}.status"
        leases.parent.mkdir(parents=True)
        (machine / "run").mkdir()
        soon = int(time.time()) + 4
        old = {"ip-address": "10.77.0.108", "mac-address": mac_of(8)}
        leases.write_text(json.dumps([{**old, "expiry-time": soon}]))
        naming = Naming(bridges={DEVICE: "red"})
        watching = self.watch("libvirt", leases.parent / "*.status", naming)
        # The helper knows one place only; the mounts are in a namespace of their own.
        script = (
            f"mount --bind {machine} /var/lib && mount --bind {machine}/run /run && "
            'exec "$@"'
        )
        options = ("--leasefile-ro", f"--dhcp-script={self.helper()}")
        command = ("sh", "-c", script, "sh", *DNSMASQ, *options)
        server = self.serve(*command, VIR_BRIDGE_NAME=DEVICE)
        first, second = self.segment.ask(1), self.segment.ask(2)
        one, two = watching.leased_to(1), watching.leased_to(2)
        watching.until("what ran out", lambda: watching.book.forgotten)
        self.assertGreaterEqual(time.time(), soon)
        self.check_renewal(watching, first, one)
        self.check_release(watching, second, two)
        ended = ["10.77.0.108", two]
        self.assertEqual(watching.book.forgotten, ended)
        server.stop()
        self.serve(*command, VIR_BRIDGE_NAME=DEVICE)
        self.check_renewal(watching, first, one)
        self.check_release(watching, first, one)
        self.assertEqual(watching.book.forgotten, [*ended, one])
        self.assertEqual(watching.watcher.state, SourceState.LIVE)
