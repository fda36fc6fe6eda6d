"""
The proxy itself, as C{twistd} in the hypervisor's namespace, and whom it relays to.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import define, field

from tests.lab.guest import Answer, Guest, Talk, request
from tests.lab.machines import INSTANCES, Machine
from tests.lab.nova import SECRET
from tests.lab.stage import LabError, Running, Stage, wait_for

NOVA_PORT = 8775
INTROSPECTION_PORT = 8085

Sections = Mapping[str, Mapping[str, object]]


def write_private(path: Path, text: str) -> None:
    """
    Write a file that only its owner can read.
    """
    path.touch(0o600)
    path.write_text(text)


def start_devnova(stage: Stage, port: int = NOVA_PORT) -> Running:
    """
    Start the stand-in for Nova inside the hypervisor.
    """
    secret = stage.directory / "devnova.secret"
    write_private(secret, SECRET)
    running = stage.start_python(
        stage.hypervisor,
        "devnova",
        "-m",
        "mdproxy.devnova",
        str(INSTANCES),
        "--secret-file",
        str(secret),
        "--listen",
        f"tcp:{port}:interface=127.0.0.1",
    )
    wait_for("devnova", lambda: "instances on" in running.said())
    return running


def signed(machine: Machine) -> list[str]:
    """
    Write the identity headers that Nova wants, by Nova's own rule.
    """
    key, instance = SECRET.encode(), machine.instance
    signature = hmac.new(key, instance.encode(), hashlib.sha256).hexdigest()
    return [
        f"X-Instance-ID: {instance}",
        f"X-Tenant-ID: {machine.project}",
        f"X-Instance-ID-Signature: {signature}",
        f"X-Forwarded-For: {machine.ipv4}",
    ]


@define
class Proxy:
    """
    C{twistd mdproxy}, from C{start} to the end of the stage it runs on.

    @ivar known: The VMs whose ports the inventory knows from the start.
    @ivar options: Sections of the configuration on top of the usual.
    @ivar networks: The bridges it listens on.
    @ivar wrapper: A command that starts it, with its arguments.
    @ivar twistd: More options of C{twistd} itself.
    @ivar nova_port: Where Nova is.
    @ivar introspection_port: Where it tells of itself.
    """

    stage: Stage
    known: Iterable[Machine]
    options: Sections = field(factory=dict)
    networks: tuple[str, ...] = ("br-tenant1", "br-tenant2")
    wrapper: tuple[str, ...] = ()
    twistd: tuple[str, ...] = ()
    nova_port: int = NOVA_PORT
    introspection_port: int = INTROSPECTION_PORT
    running: Running = field(init=False)

    @property
    def inventory(self) -> Path:
        """
        The file of ports.
        """
        return self.stage.directory / "ports.yaml"

    @property
    def config(self) -> Path:
        """
        The configuration file.
        """
        return self.stage.directory / "mdproxy.conf"

    def start(self) -> None:
        """
        Write its files, start it, and wait until every listener is there.
        """
        self.know(self.known)
        self.configure()
        twistd = str(Path(sys.executable).with_name("twistd"))
        options = ("-n", "--pidfile=", *self.twistd)
        arguments = (*options, "mdproxy", "--config-file", str(self.config))
        self.running = self.stage.start(
            self.stage.hypervisor, "mdproxy", *self.wrapper, twistd, *arguments
        )
        wait_for(f"proxy ({self.config})", self._is_up, 30)

    def configure(self, secret: str = SECRET) -> None:
        """
        Write its configuration, and what it shares with Nova.
        """
        write_private(self.stage.directory / "secret", f"{secret}\n")
        self.config.write_text(self._configuration())

    def know(self, machines: Iterable[Machine]) -> None:
        """
        Write the inventory anew, whole or not at all.
        """
        draft = self.inventory.with_suffix(".draft")
        draft.write_text(yaml.safe_dump({"ports": [m.port() for m in machines]}))
        os.replace(draft, self.inventory)

    def ask_operator(self, target: str = "/api/v1/status") -> Answer:
        """
        Ask the introspection endpoint, from where the operator is.
        """
        return self._locally(self.introspection_port, request(target, host="localhost"))

    def status(self) -> Any:
        """
        Read what the proxy says of itself.
        """
        answer = self.ask_operator()
        if answer.status != 200:
            raise LabError(f"status: {answer}: {self.running.said()[-2000:]}")
        return answer.json()

    def ask_nova(self, machine: Machine, target: str) -> Answer:
        """
        Ask what the proxy relays to directly, as only the hypervisor can.
        """
        return self._locally(self.nova_port, request(target, *signed(machine)))

    def signal(self, number: signal.Signals) -> None:
        """
        Send it a signal.
        """
        self.running.process.send_signal(number)

    def stop(self) -> int:
        """
        End it as systemd would.

        @return: Its exit code.
        """
        return self.running.stop(40)

    def _locally(self, port: int, question: bytes) -> Answer:
        """
        Ask something on the hypervisor's loopback.
        """
        talk = Talk(((0, question),), host="127.0.0.1", port=port)
        [answer] = Guest(self.stage.hypervisor).talk(talk)
        return answer

    def _is_up(self) -> bool:
        """
        Look whether it answers its operator.
        """
        code = self.running.process.poll()
        if code is not None:
            raise LabError(f"the proxy ended with {code}: {self.running.said()}")
        return self.ask_operator().status == 200

    def _configuration(self) -> str:
        """
        Write the configuration file.
        """
        directory = self.stage.directory
        leases = [
            f"dnsmasq:{self.stage.leases(network)}@{network}"
            for network in self.networks
        ]
        sections: dict[str, dict[str, object]] = {
            "DEFAULT": {
                "nova_metadata_host": "127.0.0.1",
                "nova_metadata_port": self.nova_port,
                "metadata_proxy_shared_secret_file": directory / "secret",
                "inventories": "static",
            },
            "static": {"path": self.inventory},
            "leases": {"sources": ", ".join(leases)},
            "introspection": {
                "endpoint": f"tcp:{self.introspection_port}:interface=127.0.0.1"
            },
            # What is recorded at Nova is what instances asked for.
            "upstream": {"check_interval": 0},
        }
        for network in self.networks:
            sections[f"listener:{network}"] = {"kind": "device", "device": network}
        for section, values in self.options.items():
            sections.setdefault(section, {}).update(values)
        lines = []
        for section, values in sections.items():
            lines.append(f"[{section}]")
            lines += [f"{name} = {value}" for name, value in values.items()]
        return "\n".join([*lines, ""])
