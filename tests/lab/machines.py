"""
The VMs of the lab, as C{instances.yaml} describes them.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

#: The one truth about all VMs: Nova, the proxy's inventory and the tests read it.
INSTANCES = Path(__file__).with_name("instances.yaml")


@frozen
class Machine:
    """
    A VM.

    @ivar instance: Its id.
    @ivar project: Whose it is.
    @ivar hostname: Its name; in the lab also its namespace's.
    @ivar network: The bridge it is plugged into.
    @ivar mac: Its MAC address.
    @ivar addresses: Its fixed addresses.
    @ivar keys: Its public keys, by their names.
    @ivar user_data: Its user-data; C{None}: none.
    """

    instance: str
    project: str
    hostname: str
    network: str
    mac: str
    addresses: tuple[str, ...]
    keys: dict[str, str]
    user_data: bytes | None

    @property
    def ipv4(self) -> str:
        """
        The address that DHCP gives it.
        """
        return next(a for a in self.addresses if "." in a)

    @property
    def secrets(self) -> list[bytes]:
        """
        Bytes that nobody but this VM may ever be sent.
        """
        own = [self.instance.encode(), self.hostname.encode()]
        own += [key.encode() for key in self.keys.values()]
        return own if self.user_data is None else [*own, self.user_data]

    def port(self) -> dict[str, Any]:
        """
        Describe its port as the static inventory's file does.
        """
        return {
            "network": self.network,
            "mac": self.mac,
            "addresses": list(self.addresses),
            "instance": self.instance,
            "project": self.project,
        }


def _machine(entry: dict[str, Any]) -> Machine:
    """
    Read one VM.
    """
    user_data: bytes | None = None
    if "user_data" in entry:
        user_data = entry["user_data"].encode()
    elif "user_data_base64" in entry:
        user_data = base64.b64decode(entry["user_data_base64"])
    return Machine(
        instance=entry["instance"],
        project=entry["project"],
        hostname=entry["hostname"],
        network=entry["network"],
        mac=entry["mac"],
        addresses=tuple(entry["addresses"]),
        keys=dict(entry.get("keys", {})),
        user_data=user_data,
    )


def load_machines(path: Path = INSTANCES) -> tuple[Machine, ...]:
    """
    Read all VMs of the lab.
    """
    content = yaml.safe_load(path.read_text("utf-8"))
    return tuple(_machine(entry) for entry in content["instances"])
