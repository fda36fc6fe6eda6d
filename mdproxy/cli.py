# -*- test-case-name: tests.test_cli -*-
"""
C{mdproxyctl}: what an operator asks, of the running service or without disturbing it.

Nothing here prints the secret.  C{sign} prints a signature, which opens one instance's
metadata to whoever reaches Nova: it is what was asked for.

Each command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from typing import Any, Final

from mdproxy.model import Malformed, canonical_address, checked_id

DEFAULT_FILE = "/etc/mdproxy/mdproxy.conf"

#: The exit status where the service can't be asked.
UNANSWERED: Final = 3

_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
_DURATION: Final = re.compile(r"([0-9]{1,5})([smh]?)\Z")


def main(argv: Sequence[str] | None = None, default: str = DEFAULT_FILE) -> int:
    """
    Do what the command line asks for.

    @param argv: The command line without the program's name; C{None}: this process's.
    @param default: The configuration file where none is named.

    @return: The exit status: 0 where all is well.
    """
    arguments = parser().parse_args(argv)
    if not arguments.config_file and not arguments.config_dir:
        arguments.config_file = [default]
    run: Callable[[Namespace], int] = arguments.run
    try:
        return run(arguments)
    except BrokenPipeError:
        # Whoever read has seen enough; Python would complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> ArgumentParser:
    """
    Describe the command line, for this process and for the manual.
    """
    files = _files()
    whole = ArgumentParser("mdproxyctl", description="Ask about mdproxy.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, text: str, run: Callable[[Namespace], int], *parents: ArgumentParser
    ) -> ArgumentParser:
        command: ArgumentParser = commands.add_parser(
            name, parents=[files, *parents], help=text, description=text
        )
        command.set_defaults(run=run)
        return command

    text = "tell everything that is wrong with the configuration, or sum it up"
    add("check-config", text, _check_config)
    _add_nova(add)
    _add_service(add)
    return whole


def _files() -> ArgumentParser:
    """
    Describe how the configuration is found.
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
    return files


def _service() -> ArgumentParser:
    """
    Describe how the running service is asked.
    """
    service = ArgumentParser(add_help=False)
    service.add_argument(
        "--endpoint",
        metavar="ENDPOINT",
        help="where the service is asked, such as tcp:8085:interface=127.0.0.1 or "
        "unix:/run/mdproxy/status.sock (without it: [introspection] endpoint of the "
        "configuration)",
    )
    for name, text in (
        ("--ca", "PEM file with who signed the service's certificate"),
        ("--cert", "PEM file with your certificate, where the service asks for one"),
        ("--key", "PEM file with its key (without it: it is in the same file)"),
    ):
        service.add_argument(name, metavar="FILE", help=text)
    service.add_argument("--json", action="store_true", help="print JSON")
    return service


def _add_nova(add: Callable[..., ArgumentParser]) -> None:
    """
    Describe the commands that speak to Nova, or as if they did.
    """
    text = "print the signature that Nova expects beside an instance's id"
    sign = add("sign", text, _sign)
    fetch = add("fetch", "ask Nova directly, as mdproxy would for an instance", _fetch)
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


def _add_service(add: Callable[..., ArgumentParser]) -> None:
    """
    Describe the commands that ask the running service.
    """
    service = _service()
    text = "tell which instance the proxy takes an address for, and why"
    whois = add("whois", text, _asking("whois"), service)
    whois.add_argument(
        "address", type=_address, metavar="ADDRESS", help="the address that asks"
    )
    whois.add_argument(
        "--network", metavar="NETWORK", help="only on this network (default: on all)"
    )
    add("status", "sum up how the running service is", _asking("status"), service)
    _add_trace(add("trace", "tell what was asked lately", _asking("trace"), service))
    text = "look for everything that may be wrong, and tell what to do about it"
    add("doctor", text, _asking("doctor"), service)
    text = "join standard input and output with the manhole's socket, for ssh"
    manhole = add("manhole", text, _manhole)
    manhole.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="the socket (default: [manhole] endpoint of the configuration)",
    )


def _add_trace(trace: ArgumentParser) -> None:
    """
    Describe what is traced.
    """
    for name, kind, metavar, text in (
        ("--instance", _id, "ID", "only what this instance asked"),
        ("--network", str, "NETWORK", "only what was asked on this network"),
        ("--address", _address, "ADDRESS", "only what this address asked"),
        ("--status", _status, "STATUS", "only what was answered so; 0: not at all"),
    ):
        trace.add_argument(name, type=kind, metavar=metavar, help=text)
    trace.add_argument(
        "--limit",
        type=int,
        default=100,
        metavar="N",
        help="so many at most (default: 100)",
    )
    trace.add_argument(
        "--follow", action="store_true", help="go on with what is asked from now on"
    )
    trace.add_argument(
        "--watch",
        type=_whom,
        metavar="INSTANCE",
        help="show every step of this instance's requests from now on (its id, or an "
        "address)",
    )
    trace.add_argument(
        "--for",
        dest="seconds",
        type=_duration,
        default=600,
        metavar="TIME",
        help="for how long to watch, such as 30s or 10m (default: 10m)",
    )


def _id(text: str) -> str:
    """
    Read an id from the command line.
    """
    try:
        return checked_id(text)
    except Malformed as error:
        raise ArgumentTypeError(str(error)) from None


def _address(text: str) -> str:
    """
    Read an address from the command line.
    """
    try:
        return canonical_address(text)
    except Malformed as error:
        raise ArgumentTypeError(str(error)) from None


def _whom(text: str) -> str:
    """
    Read from the command line whom to watch: an address in any spelling, or an id.
    """
    try:
        return canonical_address(text)
    except Malformed:
        return _id(text)


def _status(text: str) -> int:
    """
    Read a status from the command line.
    """
    if not text.isdecimal() or (text != "0" and not 100 <= int(text) <= 599):
        raise ArgumentTypeError(f"{text!r} is no status")
    return int(text)


def _duration(text: str) -> int:
    """
    Read a duration from the command line.

    @return: Seconds.
    """
    found = _DURATION.match(text)
    if found is None or not 0 < int(found[1]) * _UNITS[found[2] or "s"] <= 3600:
        raise ArgumentTypeError(f"{text!r} is no time up to an hour, like 30s or 10m")
    return int(found[1]) * _UNITS[found[2] or "s"]


def _target(text: str) -> bytes:
    """
    Read a request target from the command line.
    """
    if not text.startswith("/"):
        raise ArgumentTypeError(f"{text!r} does not begin with /")
    if not all("!" <= character <= "~" for character in text):
        raise ArgumentTypeError(f"{text!r} holds what must be written as %XX in a path")
    return text.encode("ascii")


def _load(arguments: Namespace) -> Any:
    """
    Read the configuration; what is wrong with it is printed.

    @return: The configuration, or C{None}.
    """
    from mdproxy.config import ConfigError, load
    from mdproxy.ctl.summary import RULES

    try:
        return load(arguments.config_file, arguments.config_dir)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        print(RULES, file=sys.stderr)
        return None


def _check_config(arguments: Namespace) -> int:
    """
    Sum up a configuration that has no faults.
    """
    config = _load(arguments)
    if config is None:
        return 1
    from mdproxy.ctl.summary import summary

    print("\n".join(summary(config)))
    return 0


def _sign(arguments: Namespace) -> int:
    """
    Print a signature and nothing else.
    """
    config = _load(arguments)
    if config is None:
        return 1
    from mdproxy.signing import Signer

    print(Signer(config.secret).sign(arguments.instance))
    return 0


def _fetch(arguments: Namespace) -> int:
    """
    Ask Nova.
    """
    config = _load(arguments)
    if config is None:
        return 1
    from mdproxy.fetch import run

    return run(config, arguments.instance, arguments.project, arguments.path)


def _manhole(arguments: Namespace) -> int:
    """
    Join standard input and output with the manhole.
    """
    path = arguments.path
    if path is None:
        config = _load(arguments)
        place = None if config is None or not config.manhole else config.manhole.place
        if not isinstance(place, str):
            problem = "there is no manhole on a UNIX socket ([manhole] endpoint)"
            print(problem, file=sys.stderr)
            return 1
        path = place
    from importlib import import_module

    relay: Any = import_module("mdproxy.manhole.relay")
    status: int = relay.relay(path)
    return status


def _asking(name: str) -> Callable[[Namespace], int]:
    """
    Make what runs a command that asks the service.

    @param name: The command, and its module in L{mdproxy.ctl}.
    """

    def run(arguments: Namespace) -> int:
        from importlib import import_module

        from mdproxy.ctl.access import Unanswered

        command: Any = import_module(f"mdproxy.ctl.{name}")
        try:
            status: int = command.run(arguments)
        except Unanswered as error:
            print(f"{error.text} {error.advice}".rstrip(), file=sys.stderr)
            return UNANSWERED
        return status

    return run


if __name__ == "__main__":
    sys.exit(main())
