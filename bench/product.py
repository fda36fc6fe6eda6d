"""
The proxy, as an operator starts it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from bench.backend import Backend
from bench.places import OTHER_CORE, SECRET, SYSTEM_CORE, Place
from bench.system import System
from tests.lab.proxy import Sections
from tests.lab.stage import wait_for

#: Its own reactor, and what the proxy is called with it.
REACTOR = "mdproxy-epoll"
#: With everything on that shows what it does.
WATCHED = "mdproxy-watched"
_TWISTD = str(Path(sys.executable).with_name("twistd"))


def has_reactor(source: str) -> bool:
    """
    Tell whether the proxy has its own reactor.

    @param source: As in L{Place}.
    """
    listed = subprocess.run(
        [_TWISTD, "--help-reactors"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    return REACTOR in listed.stdout.split()


def _status_socket(place: Place, name: str) -> str:
    """
    Name the socket of the operator's pages.
    """
    return str(place.directory / f"{name}.socket")


def _sections(place: Place, backend: Backend, name: str, port: int) -> Sections:
    """
    Configure the proxy: all of its defaults, but for what one instance may use.

    All load comes from a single instance, where in life it comes from hundreds.
    """
    directory = place.directory
    many = 4096
    nova: dict[str, object] = {
        "nova_metadata_host": "localhost" if place.tls else "127.0.0.1",
        "nova_metadata_port": backend.port,
        "metadata_proxy_shared_secret_file": directory / "secret",
        "inventories": "static",
    }
    if place.tls:
        nova |= {
            "nova_metadata_protocol": "https",
            "nova_client_cert": place.certificates.client.certificate,
            "nova_client_priv_key": place.certificates.client.key,
            "auth_ca_cert": place.certificates.ca,
        }
    listener: dict[str, object] = {"network": place.caller.network, "port": port}
    if place.device:
        listener |= {"kind": "device", "device": place.device, "identify_by": "mac"}
    else:
        listener |= {"kind": "address", "address": place.host, "identify_by": "address"}
    return {
        "DEFAULT": nova,
        "static": {"path": directory / "ports.yaml"},
        "listener:bench": listener,
        "upstream": {"max_connections": 512},
        "limits": {
            "max_connections": 2 * many,
            "max_connections_per_instance": many,
            "max_requests_per_instance": many,
            "max_request_rate": 10_000_000,
            "request_burst": 10_000_000,
        },
        "introspection": {"endpoint": f"unix:{_status_socket(place, name)}"},
    }


def _start_mdproxy(
    place: Place,
    backend: Backend,
    name: str,
    *reactor: str,
    more: Sections | None = None,
) -> System:
    """
    Start the proxy, as an operator does.

    @param more: More sections of its configuration.
    """
    [port] = place.ports(1)
    caller = place.caller
    known = {
        "network": caller.network,
        "mac": caller.mac,
        "addresses": [caller.address],
        "instance": caller.instance,
        "project": caller.project,
    }
    place.write("ports.yaml", yaml.safe_dump({"ports": [known]}))
    place.write("secret", SECRET)
    lines = []
    sections = {**_sections(place, backend, name, port), **(more or {})}
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{option} = {value}" for option, value in values.items()]
    config = place.write(f"{name}.conf", "\n".join([*lines, ""]))
    arguments = ("-n", *reactor, "--pidfile=", "mdproxy", "--config-file", str(config))
    running = place.launch(
        name, SYSTEM_CORE, _TWISTD, *arguments, PYTHONPATH=place.source
    )
    place.listening(running, port)
    return System(name, port, (running,))


def start_mdproxy(place: Place, backend: Backend) -> System:
    """
    Start the proxy on the stock reactor.
    """
    return _start_mdproxy(place, backend, "mdproxy")


def start_mdproxy_watched(place: Place, backend: Backend) -> System:
    """
    Start the proxy on the stock reactor with all that shows what it does: its log as
    JSON, an access log, and somebody who looks at everything all the time.
    """
    logs: Sections = {
        "log": {"format": "json", "access_log": place.directory / "access.log"},
    }
    system = _start_mdproxy(place, backend, WATCHED, more=logs)
    looker = (sys.executable, "-m", "bench.watcher", _status_socket(place, WATCHED))
    watcher = place.launch("watcher", OTHER_CORE, *looker, place.caller.instance)
    wait_for("the watcher", lambda: "watching" in watcher.said())
    return system


def start_mdproxy_epoll(place: Place, backend: Backend) -> System:
    """
    Start the proxy on its own reactor.
    """
    return _start_mdproxy(place, backend, REACTOR, f"--reactor={REACTOR}")
