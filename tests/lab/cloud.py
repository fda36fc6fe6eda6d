"""
A world for the boot matrix: many VMs alike, and Novas on hosts of their own.
"""

from __future__ import annotations

import base64
import signal
from collections.abc import Sequence
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

import yaml
from attrs import define, field

from tests.lab.faults import Phase, Record, Script
from tests.lab.machines import Machine
from tests.lab.nova import SECRET
from tests.lab.proxy import NOVA_PORT
from tests.lab.stage import Namespace, Running, wait_for
from tests.lab.world import World

#: How many Novas there are.
NOVAS = 2


def make_machines(count: int) -> tuple[Machine, ...]:
    """
    Make up VMs, on two networks in turn that use the same addresses.
    """
    return tuple(_machine(number) for number in range(1, count + 1))


def _machine(number: int) -> Machine:
    """
    Make up one VM.
    """
    hostname = f"vm-{number:02d}"
    network = number % 2 + 1
    return Machine(
        instance=str(uuid5(NAMESPACE_DNS, hostname)),
        project=f"{network:032x}",
        hostname=hostname,
        network=f"br-tenant{network}",
        mac=f"fa:16:3e:01:{network:02x}:{number:02x}",
        addresses=(f"10.0.0.{10 + (number + 1) // 2}",),
        keys=keys_of(hostname),
        user_data=user_data_of(hostname),
    )


def keys_of(hostname: str) -> dict[str, str]:
    """
    Make up a VM's public keys.
    """
    key = base64.b64encode(hostname.encode() * 8).decode()
    return {f"{hostname}-key": f"ssh-ed25519 {key} {hostname}"}


def user_data_of(hostname: str) -> bytes:
    """
    Make up a VM's user-data: every byte there is, behind a line that differs from VM to
    VM.
    """
    return f"#cloud-config\n# {hostname}\n".encode() + bytes(range(256))


def nova_address(number: int) -> str:
    """
    Name the address of a Nova, from 0.
    """
    return f"192.0.2.{4 * number + 2}"


def host_address(number: int) -> str:
    """
    Name the address of the proxy's host on the way to a Nova.
    """
    return f"192.0.2.{4 * number + 1}"


@define
class Nova:
    """
    A scripted Nova that runs.

    @ivar running: Its process.
    @ivar file: Where it writes what it sees.
    """

    running: Running
    file: Path

    def boot(self) -> None:
        """
        Tell it that the VMs boot now.
        """
        self.running.process.send_signal(signal.SIGUSR1)

    def stop(self) -> Record:
        """
        End it.

        @return: What it saw.
        """
        self.running.stop()
        return Record.load(self.file.read_text().splitlines())


@define
class Cloud(World):
    """
    The world of L{World}, and hosts for Novas behind links of their own.
    """

    _novas: list[Namespace] = field(factory=list, init=False)

    def furnish(self) -> None:
        """
        Provide C{Stage.furnish}.
        """
        super().furnish()
        self._instances.write_text(yaml.safe_dump({"instances": self._described()}))
        for number in range(NOVAS):
            self._add_nova(number)

    def start_nova(
        self,
        number: int,
        phases: Sequence[Phase] = (),
        vms: int = 1,
        seed: int = 1,
        secret: str = SECRET,
    ) -> Nova:
        """
        Start a Nova.

        @param number: On which host, from 0.
        @param phases: What will be wrong with it.
        @param vms: How many VMs boot.
        @param seed: Decides which answers are reset.
        @param secret: What it shares with the proxy.
        """
        script = Script(
            tuple(phases),
            vms,
            secret,
            nova_address(number),
            NOVA_PORT,
            host_address(number),
            seed,
        )
        # What a black hole without an end left behind.
        flush = ("neigh", "flush", "dev", "eth0", "nud", "permanent")
        self._novas[number].ip(*flush)
        file = self.directory / f"nova-{number}.record"
        name = f"nova-{number}"
        (self.directory / f"{name}.log").unlink(missing_ok=True)
        program = ("-m", "tests.lab.scripted_nova", str(self._instances))
        arguments = (*program, script.dump(), str(file))
        running = self.start_python(self._novas[number], name, *arguments)
        wait_for(f"{name}: {running.log}", lambda: "running" in running.said(), 30)
        return Nova(running, file)

    @property
    def _instances(self) -> Path:
        """
        Name the file that tells the Novas of the VMs.
        """
        return self.directory / "cloud.yaml"

    def _described(self) -> list[dict[str, object]]:
        """
        Describe the VMs as devnova reads them.
        """
        return [
            {
                **each.port(),
                "hostname": each.hostname,
                "keys": each.keys,
                "user_data_base64": base64.b64encode(each.user_data or b"").decode(),
            }
            for each in self.machines
        ]

    def _add_nova(self, number: int) -> None:
        """
        Make a host for a Nova.
        """
        host = self._namespace(f"nova-{number}")
        self._novas.append(host)
        device = f"nova{number}"
        link = ("type", "veth", "peer", "name", "eth0", "netns", host.name)
        self.hypervisor.ip("link", "add", device, *link)
        address = ("addr", "add", f"{host_address(number)}/30", "dev", device)
        self.hypervisor.ip(*address)
        self.hypervisor.ip("link", "set", device, "up")
        host.ip("addr", "add", f"{nova_address(number)}/30", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
