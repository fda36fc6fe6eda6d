# -*- test-case-name: tests.test_inventory_config -*-
"""
The part of the configuration that is about who knows the ports of instances.
"""

from __future__ import annotations

import socket
from importlib.util import find_spec
from typing import Final

from mdproxy.ini import printable
from mdproxy.model import Malformed, checked_id
from mdproxy.settings import Settings

_INVENTORIES: Final = ("static", "libvirt", "ovn", "neutron")


def read_inventories(settings: Settings) -> tuple[str, ...]:
    """
    Find out who knows the ports.

    @param settings: What is set; told what is wrong with it.
    """
    option = "inventories"
    names: list[str] = settings.value("DEFAULT", option)
    for number, name in enumerate(names):
        settings.exists("DEFAULT", option, name, _INVENTORIES)
        if name in names[:number]:
            settings.fault("DEFAULT", option, f"{printable(name)} stands there twice")
    if not names and not settings.is_faulty("DEFAULT", option):
        text = "is empty, so nobody could be recognised: name at least one"
        settings.fault("DEFAULT", option, text)
    if "neutron" in names and find_spec("treq") is None:
        text = "neutron needs treq, which is not there: pip install mdproxy[neutron]"
        settings.fault("DEFAULT", option, text)
    return tuple(names)


def read_project(settings: Settings) -> str | None:
    """
    Find the project of domains that Nova did not make.

    @param settings: What is set; told what is wrong with it.
    """
    project: str = settings.value("libvirt", "default_project")
    try:
        return checked_id(project) if project else None
    except Malformed:
        text = f"'{printable(project)}' can't be the id of a project"
        settings.fault("libvirt", "default_project", text)
        return None


def host_of(settings: Settings) -> str:
    """
    Find out what Neutron calls this host.

    @param settings: What is set; told what is wrong with it.
    """
    host: str = settings.value("DEFAULT", "host") or socket.gethostname()
    if not host.isprintable() or " " in host or len(host) > 255:
        text = f"'{printable(host)}' can't be the name of a host"
        settings.fault("DEFAULT", "host", text)
    return host
