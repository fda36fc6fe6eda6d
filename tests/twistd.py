"""
C{twistd mdproxy} as a process of its own on loopback, and a configuration for it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from tests.secrecy import SECRET

CONFIG = """
[DEFAULT]
nova_metadata_host = 127.0.0.1
nova_metadata_port = {nova}
metadata_proxy_shared_secret_file = {directory}/secret
inventories = static
[static]
path = {directory}/ports.yaml
[leases]
sources = dnsmasq:{directory}/leases@loop
[upstream]
check_interval = 0
[listener:loop]
kind = address
address = 127.0.0.1
port = {port}
identify_by = address
[introspection]
endpoint = tcp:{introspection}:interface=127.0.0.1
"""
PORTS = """
ports:
- {network: loop, mac: "fa:16:3e:00:00:01", addresses: [127.0.0.1],
   instance: i-1, project: p-1}
"""


def free_ports(count: int) -> list[int]:
    """
    Find ports that nobody listens at.
    """
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [each.getsockname()[1] for each in found]
    for each in found:
        each.close()
    return numbers


def write_config(directory: Path, more: str = "", nova: int = 8775) -> dict[str, Any]:
    """
    Write a working configuration and all that it names.

    @param more: Further lines, in the last section or a new one.

    @return: What it says, with its own path as C{config}.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, introspection = free_ports(2)
    says: dict[str, Any] = {
        "directory": directory.absolute(),
        "nova": nova,
        "port": port,
        "introspection": introspection,
        "config": directory.absolute() / "mdproxy.conf",
    }
    secret = directory / "secret"
    secret.touch(0o600)
    secret.write_bytes(SECRET + b"\n")
    (directory / "ports.yaml").write_text(PORTS)
    (directory / "leases").write_text("")
    says["config"].write_text(CONFIG.format(**says) + more)
    return says


class Twistd(ProcessProtocol):
    """
    A running C{twistd mdproxy}.

    @ivar said: What it logged.
    """

    def __init__(self) -> None:
        """
        Begin.
        """
        self.said = ""
        self.ended: Deferred[int | None] = Deferred()
        self._waiting: list[tuple[str, int, Deferred[None]]] = []

    def spawn(self, config: Path, *options: str, output: int | None = None) -> Any:
        """
        Start it.

        @param config: Its configuration file.
        @param options: More of C{twistd}'s.
        @param output: The descriptor that it writes to; C{None}: we read it.

        @return: Its process transport.
        """
        return self.execute(self.argv(config, *options), output)

    def argv(self, config: Path, *options: str) -> list[str]:
        """
        Write the command that starts it.

        @param config: Its configuration file.
        @param options: More of C{twistd}'s.
        """
        program = "from twisted.scripts.twistd import run; run()"
        arguments = ("mdproxy", "--config-file", str(config))
        return [
            *(sys.executable, "-c", program, "-n", "--pidfile="),
            *(*options, *arguments),
        ]

    def activate(self, config: Path, name: str, opened: int) -> Any:
        """
        Start it as systemd does that has opened a socket for it.

        @param config: Its configuration file.
        @param name: The socket's name.
        @param opened: The socket's descriptor.

        @return: Its process transport.
        """
        program = "from twisted.scripts.twistd import run; run()"
        argv = [sys.executable, "-c", program, "-n", "--pidfile=", "mdproxy"]
        shell = f'exec env LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} "$@"'
        wrapped = ["/bin/sh", "-c", shell, "sh", *argv, "--config-file", str(config)]
        return self.execute(wrapped, files={3: opened})

    def execute(
        self,
        argv: list[str],
        output: int | None = None,
        files: Mapping[int, Any] | None = None,
    ) -> Any:
        """
        Start it in another way.

        @param argv: The command.
        @param output: The descriptor that it writes to; C{None}: we read it.
        @param files: More descriptors that it has.

        @return: Its process transport.
        """
        written: Any = "r" if output is None else output
        files = {0: "w", 1: written, 2: written, **(files or {})}
        cast(Any, reactor).spawnProcess(
            self, argv[0], argv, env=os.environ, childFDs=files
        )
        return self.transport

    async def kill(self) -> None:
        """
        End it if it runs.
        """
        process: Any = self.transport
        if process.pid is not None:
            process.signalProcess("KILL")
            await self.ended

    def childDataReceived(self, child: int, data: bytes) -> None:
        """
        Read its log.
        """
        self.said += data.decode()
        for text, start, waiting in list(self._waiting):
            if text in self.said[start:]:
                self._waiting.remove((text, start, waiting))
                waiting.callback(None)

    def says(self, text: str, start: int = 0) -> Deferred[None]:
        """
        Wait until it has logged something.

        @param start: How much of what it said does not count.

        @return: Fails if it ends before that.
        """
        waiting: Deferred[None] = Deferred()
        self._waiting.append((text, start, waiting))
        self.childDataReceived(0, b"")
        return waiting

    def processEnded(self, reason: Failure) -> None:
        """
        It has ended, with a status or by a signal.
        """
        waiting, self._waiting = self._waiting, []
        for text, _start, each in waiting:
            each.errback(AssertionError(f"never said {text!r}: {self.said}"))
        self.ended.callback(cast(Any, reason.value).exitCode)
