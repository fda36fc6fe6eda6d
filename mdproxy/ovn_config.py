# -*- test-case-name: tests.test_ovn_config -*-
"""
The part of the configuration that is about OVN's southbound database.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from mdproxy.credentials import check_file, try_tls
from mdproxy.ini import printable
from mdproxy.inventory_config import host_of
from mdproxy.model import Malformed
from mdproxy.ovsdb import Remote, read_remote
from mdproxy.places import problem_of_host
from mdproxy.settings import Settings

_CONNECTION: Final = "write tcp:HOST:PORT, ssl:HOST:PORT or unix:FILE"


@frozen
class OvnConfig:
    """
    OVN's southbound database.

    @ivar endpoints: In the order of preference.
    @ivar ca: Who signs its certificate; C{None} where no endpoint is C{ssl}.
    @ivar certificate: Our certificate; C{None}: none.
    @ivar key: Its private key.
    @ivar chassis: What OVN calls this host; empty: it is found by C{host}.
    @ivar host: This host's name.
    """

    endpoints: tuple[Remote, ...]
    ca: str | None
    certificate: str | None
    key: str | None
    chassis: str
    host: str


def read_ovn(settings: Settings) -> OvnConfig:
    """
    Find OVN's southbound database.

    @param settings: What is set; told what is wrong with it.
    """
    option = "ovn_sb_connection"
    endpoints: list[Remote] = []
    for text in settings.value("ovn", option):
        try:
            endpoint = read_remote(text)
        except Malformed as error:
            settings.fault("ovn", option, str(error))
            continue
        if endpoint in endpoints:
            settings.fault("ovn", option, f"{printable(text)} stands there twice")
        if problem := endpoint.kind != "unix" and problem_of_host(
            endpoint.host, endpoint.host
        ):
            settings.fault("ovn", option, f"'{printable(text)}' {problem}")
        endpoints.append(endpoint)
    if not endpoints and not settings.is_faulty("ovn", option):
        settings.fault("ovn", option, f"is empty: {_CONNECTION}")
    files = {}
    if any(endpoint.kind == "ssl" for endpoint in endpoints):
        files = _ovn_files(settings)
    return OvnConfig(
        tuple(endpoints),
        files.get("ovn_sb_ca_cert"),
        files.get("ovn_sb_certificate"),
        files.get("ovn_sb_private_key"),
        settings.value("ovn", "chassis"),
        host_of(settings),
    )


def _ovn_files(settings: Settings) -> dict[str, str | None]:
    """
    Find the files of TLS, and see whether they are good.
    """
    ca, certificate, key = "ovn_sb_ca_cert", "ovn_sb_certificate", "ovn_sb_private_key"
    files = {
        name: settings.value("ovn", name) or None for name in (ca, certificate, key)
    }
    for name, path in files.items():
        if path is not None:
            check_file(settings, name, path, private=name == key, section="ovn")
        elif not settings.is_faulty("ovn", name):
            settings.lack("ovn", name, "is empty: ssl needs a CA, a certificate, a key")
    if not any(settings.is_faulty("ovn", name) for name in files):
        try_tls(settings, "ovn", (ca, certificate, key), ca)
    return files
