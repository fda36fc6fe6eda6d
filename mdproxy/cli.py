# -*- test-case-name: tests.test_cli -*-
"""
C{mdproxyctl}: what an operator asks without disturbing the service.

Nothing here prints the secret.  C{sign} prints a signature, which opens one instance's
metadata to whoever reaches Nova: it is what was asked for.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from mdproxy.config import (
    AnyListener,
    Config,
    ConfigError,
    LeaseSourceConfig,
    ListenerConfig,
    NamespacesConfig,
    SocketConfig,
    load,
)
from mdproxy.model import Malformed, checked_id
from mdproxy.signing import Signer

DEFAULT_FILE = "/etc/mdproxy/mdproxy.conf"

#: As many neighbours, in all namespaces, make some hundred networks comfortable.
_NEIGHBOURS = 4096

_RULES = """\
Mind in all these files: a comment needs a line of its own, what follows a value is a
part of it; and $ is written $$, a single one refers to another option.\
"""


def main(argv: Sequence[str] | None = None, default: str = DEFAULT_FILE) -> int:
    """
    Do what the command line asks for.

    @param argv: The command line without the program's name; C{None}: this process's.
    @param default: The configuration file where none is named.

    @return: The exit status: 0 where all is well.
    """
    arguments = _parser().parse_args(argv)
    files = arguments.config_file
    if not files and not arguments.config_dir:
        files = [default]
    try:
        config = load(files, arguments.config_dir)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        print(_RULES, file=sys.stderr)
        return 1
    run = {"check-config": _check_config, "sign": _sign, "fetch": _fetch}
    return run[arguments.command](config, arguments)


def _parser() -> ArgumentParser:
    """
    Describe the command line.
    """
    files = ArgumentParser(add_help=False)
    files.add_argument(
        "--config-file",
        action="append",
        default=[],
        metavar="FILE",
        help="configuration file; may be given again, later ones win (without any: "
        f"{DEFAULT_FILE})",
    )
    files.add_argument(
        "--config-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="directory whose *.conf are read after the files; may be given again",
    )
    parser = ArgumentParser("mdproxyctl", description="Ask about mdproxy.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    text = "tell everything that is wrong with the configuration, or sum it up"
    commands.add_parser("check-config", parents=[files], help=text, description=text)
    text = "print the signature that Nova expects beside an instance's id"
    sign = commands.add_parser("sign", parents=[files], help=text, description=text)
    text = "ask Nova directly, as mdproxy would for an instance"
    fetch = commands.add_parser("fetch", parents=[files], help=text, description=text)
    for command in (sign, fetch):
        command.add_argument(
            "instance",
            type=_id,
            metavar="INSTANCE_ID",
            help="the instance's id in Nova",
        )
    fetch.add_argument(
        "path",
        type=_target,
        metavar="PATH",
        help="such as /openstack/latest/meta_data.json",
    )
    fetch.add_argument(
        "--project",
        type=_id,
        metavar="ID",
        help="the project that owns the instance (default: what the static inventory "
        "says)",
    )
    return parser


def _id(text: str) -> str:
    """
    Read an id from the command line.
    """
    try:
        return checked_id(text)
    except Malformed as error:
        raise ArgumentTypeError(str(error)) from None


def _target(text: str) -> bytes:
    """
    Read a request target from the command line.
    """
    if not text.startswith("/"):
        raise ArgumentTypeError(f"{text!r} does not begin with /")
    if not all("!" <= character <= "~" for character in text):
        raise ArgumentTypeError(f"{text!r} holds what must be written as %XX in a path")
    return text.encode("ascii")


def _sign(config: Config, arguments: Namespace) -> int:
    """
    Print a signature and nothing else.
    """
    print(Signer(config.secret).sign(arguments.instance))
    return 0


def _fetch(config: Config, arguments: Namespace) -> int:
    """
    Ask Nova.
    """
    # Only this command needs all of the service's parts.
    from mdproxy.fetch import run

    return run(config, arguments.instance, arguments.project, arguments.path)


def _check_config(config: Config, arguments: Namespace) -> int:
    """
    Sum up a configuration that has no faults.
    """
    print("\n".join(summary(config)))
    return 0


def summary(config: Config) -> list[str]:
    """
    Sum up a configuration.

    @param config: The configuration.

    @return: Lines for the operator, without anything secret.
    """
    upstream = config.upstream
    endpoints = ", then ".join(str(endpoint) for endpoint in upstream.endpoints)
    lines = ["The configuration has no faults.", "", "Listeners:"]
    lines += [f"  {_listener(listener)}" for listener in config.listeners]
    lines += ["Inventories, asked in this order:"]
    lines += [f"  {name}: {_inventory(config, name)}" for name in config.inventories]
    lines += ["Leases:"] if config.lease_sources else ["Leases: none are read"]
    lines += [f"  {_leases(source)}" for source in config.lease_sources]
    lines += [f"Nova: {endpoints}", f"  {_tls(config)}"]
    lines += [
        "  the secret is known"
        if config.secret
        else "  NO SECRET: Nova believes anybody"
    ]
    lines += [f"Operator's pages: {config.introspection.endpoint}"]
    if notes := [*config.notes, *notes_of_host(config)]:
        lines += ["", "Worth knowing:", *(f"  {note}" for note in notes)]
    return [*lines, "", *_RULES.splitlines()]


def notes_of_host(config: Config, directory: str = "/proc/sys/net") -> list[str]:
    """
    Tell where the host is not made for what is wanted of it.

    @param directory: Where the kernel's settings are.

    @return: One sentence for each.
    """
    kinds = (NamespacesConfig, SocketConfig)
    if not any(isinstance(listener, kinds) for listener in config.listeners):
        return []
    notes: list[str] = []
    for family in ("ipv4", "ipv6"):
        name = f"{family}/neigh/default/gc_thresh3"
        try:
            most = int(Path(directory, name).read_text())
        except (OSError, ValueError):
            continue
        if most < _NEIGHBOURS:
            notes.append(
                f"net.{name.replace('/', '.')} is {most}: no more neighbours than that "
                "are known in all namespaces together, and whoever is not known waits; "
                "etc/sysctl.d/mdproxy.conf has more"
            )
    return notes


def _listener(listener: AnyListener) -> str:
    """
    Describe a listener.
    """
    if isinstance(listener, NamespacesConfig):
        return (
            f"{listener.name}: namespaces {', '.join(listener.namespaces)} port "
            f"{listener.port}, of routers {listener.router_port}, identifies by mac"
        )
    how = listener.identify_by
    by = f"identifies by {how}" + ("" if how == "mac" else ": WEAKER than mac")
    if isinstance(listener, ListenerConfig):
        where = listener.device or listener.address
        return (
            f"{listener.name}: {listener.kind} {where} port {listener.port}, network "
            f"{listener.network}, {by}"
        )
    users = ", ".join(map(str, listener.allowed_uids)) or "root and its own user"
    return (
        f"{listener.name}: socket {listener.path} (mode {listener.mode}) for {users}, "
        f"namespaces {', '.join(listener.namespaces)}, {by}"
    )


def _inventory(config: Config, name: str) -> str:
    """
    Tell where an inventory's knowledge is from.
    """
    if name == "ovn" and config.ovn is not None:
        return ", then ".join(str(endpoint) for endpoint in config.ovn.endpoints)
    if name == "neutron" and config.neutron is not None:
        neutron = config.neutron
        where = neutron.endpoint_override or f"what {neutron.auth_url} names"
        return f"{where} ({neutron.auth_type}); never tried with a Neutron in use"
    return config.static_path if name == "static" else config.libvirt_path


def _leases(source: LeaseSourceConfig) -> str:
    """
    Describe a source of leases.
    """
    networks = [f"{network} (subnet {number})" for number, network in source.subnets]
    if source.network is not None:
        networks = [source.network]
    told = ", ".join(networks) or "told by the path"
    return f"{source.kind} on network {told}: {source.path}"


def _tls(config: Config) -> str:
    """
    Describe how sure we are of Nova, and Nova of us.
    """
    tls = config.upstream.tls
    if tls is None:
        return "plain HTTP: whoever is on the way can read all metadata"
    trust = tls.ca or "the system's authorities"
    nova = "NOT VERIFIED" if tls.insecure else f"verified by {trust}"
    ours = (
        f"our certificate is {tls.certificate}" if tls.certificate else "we show none"
    )
    return f"TLS: Nova's certificate is {nova}; {ours}"


if __name__ == "__main__":
    sys.exit(main())
