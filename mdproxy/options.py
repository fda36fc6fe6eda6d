# -*- test-case-name: tests.test_config -*-
"""
Every option there is, with its type, its default and its help.

L{mdproxy.settings} reads files by this list, L{mdproxy.config} gives the values their
meaning, and C{etc/mdproxy.conf} is printed from it (C{python -m mdproxy.options}).
Options that Neutron's C{metadata_agent.ini} has too carry the same name and meaning.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg, types

#: What the section of a listener begins with; the rest of it is the listener's name.
LISTENER = "listener:"

#: Seconds in a day: no wait of ours makes sense beyond it.
_DAY = 86400.0


class Seconds(types.Float):
    """
    A length of time: above nothing, at most a day.
    """

    def __init__(self) -> None:
        """
        Set no bounds of oslo.config's own: it takes C{nan} for a number within them.
        """
        super().__init__(type_name="seconds")

    def __call__(self, value: Any) -> float:
        """
        Read a length of time.

        @param value: Its text.

        @return: Seconds.

        @raise ValueError: If it is none that makes sense.
        """
        seconds = float(value)
        if not 0 < seconds <= _DAY:
            raise ValueError(f"{seconds} is out of bounds")
        return seconds


def _text(name: str, default: str, text: str, **more: Any) -> cfg.Opt:
    """
    Declare an option whose value is text.
    """
    return cfg.StrOpt(name, default=default, help=text, **more)


def _path(name: str, default: str, text: str) -> cfg.Opt:
    """
    Declare an option that names a file or directory.
    """
    return cfg.StrOpt(name, default=default, help=text)


def _seconds(name: str, default: float, text: str) -> cfg.Opt:
    """
    Declare an option that is a length of time.
    """
    return cfg.Opt(name, type=Seconds(), default=default, help=text)


def _count(name: str, default: int, text: str, least: int = 1) -> cfg.Opt:
    """
    Declare an option that is a number of things.
    """
    return cfg.IntOpt(name, default=default, min=least, max=1 << 30, help=text)


def _port(name: str, default: int, text: str) -> cfg.Opt:
    """
    Declare an option that is a TCP port.
    """
    return cfg.PortOpt(name, default=default, min=1, help=text)


_NOVA = (
    cfg.ListOpt(
        "nova_metadata_host",
        default=["127.0.0.1"],
        help="Where Nova's metadata API is: a host name or an address. With several, "
        "joined by commas, the next one is used while one does not answer.",
    ),
    _port("nova_metadata_port", 8775, "The TCP port of Nova's metadata API."),
    _text(
        "nova_metadata_protocol",
        "http",
        "How to talk to Nova: http or https.",
        choices=["http", "https"],
    ),
    cfg.BoolOpt(
        "nova_metadata_insecure",
        default=False,
        help="Whether to trust whatever certificate Nova shows. Whoever gets between "
        "can then read and forge all metadata.",
    ),
    _path(
        "nova_client_cert",
        "",
        "The PEM file with our certificate, where Nova asks for one (mutual TLS).",
    ),
    _path(
        "nova_client_priv_key",
        "",
        "The PEM file with that certificate's private key; nobody but its owner may "
        "have access to it.",
    ),
    _path(
        "auth_ca_cert",
        "",
        "The PEM file with the authorities that may sign Nova's certificate. Empty: "
        "those that the system trusts.",
    ),
    _text(
        "metadata_proxy_shared_secret",
        "",
        "The secret shared with Nova: the value of metadata_proxy_shared_secret in "
        "section [neutron] of nova.conf. Write $ as $$.",
        secret=True,
    ),
    _path(
        "metadata_proxy_shared_secret_file",
        "",
        "The file that holds the secret, instead of the option above; nobody but its "
        "owner may have access to it. Newlines at its end do not count, and $ is just "
        "$ there.",
    ),
    cfg.BoolOpt(
        "allow_empty_secret",
        default=False,
        help="Whether to start without a secret. Nova then believes anybody who "
        "reaches it.",
    ),
)

_LOOKUP = (
    cfg.ListOpt(
        "inventories",
        default=["static"],
        help="Who knows the ports of instances, asked in this order: any of static, "
        "libvirt.",
    ),
    _text(
        "lease_conflict",
        "warn",
        "What to do where everything agrees who asks and only a DHCP lease says "
        "otherwise: warn (answer, count and log it) or refuse.",
        choices=["warn", "refuse"],
    ),
    cfg.BoolOpt(
        "allow_unverified_address",
        default=False,
        help="Whether to answer a port whose addresses no inventory and no lease "
        "knows, on the word of its MAC address alone.",
    ),
    _seconds(
        "drain_timeout",
        30.0,
        "How long requests in flight may take to finish after SIGTERM, in seconds.",
    ),
)

_UPSTREAM = (
    _count("max_connections", 64, "The most connections to Nova, over all its hosts."),
    _count(
        "max_queue",
        1024,
        "The most requests that wait for a connection to Nova; beyond it they are "
        "answered with 503.",
    ),
    _seconds("connect_timeout", 3.0, "The longest wait for a connection to Nova."),
    _seconds(
        "first_byte_timeout",
        30.0,
        "The longest wait for Nova's answer, and for each next byte of it.",
    ),
    _seconds("idle_timeout", 30.0, "How long an unused connection to Nova is kept."),
    _seconds(
        "max_age",
        300.0,
        "How long a connection to Nova is used, a fifth more or less, before another "
        "takes its place: so name servers and load balancers are followed.",
    ),
)

_LIMITS = (
    _seconds("head_timeout", 10.0, "The longest time that a request's head may take."),
    _seconds("body_timeout", 10.0, "The longest time that a request's body may take."),
    _seconds("idle_timeout", 75.0, "How long an instance's unused connection is kept."),
    _seconds(
        "write_timeout",
        30.0,
        "How long an instance may go without taking any byte of an answer.",
    ),
    _count("max_head", 16384, "The largest request head, in bytes.", 1024),
    _count("max_body", 65536, "The largest request body, in bytes."),
    _count(
        "max_connections",
        4096,
        "The most connections from all instances; no network gets more than half of "
        "them. Where no place is left a new one takes that of the longest idle: one of "
        "its own instance, or else of an instance or network that has more.",
    ),
    _count(
        "max_connections_per_instance",
        64,
        "The most connections of one MAC address on one network; of one IP address "
        "where instances are not identified by their MAC.",
    ),
    _count(
        "max_requests_per_instance",
        8,
        "The most requests of one instance that Nova is asked at a time; the others "
        "wait for their turn.",
    ),
    _count(
        "max_request_rate",
        0,
        "The most requests of one instance in a second, on average; beyond it they are "
        "answered with 429 and Retry-After. An instance is counted as above. 0: no "
        "limit, as Neutron's default is; 50 lets any boot pass.",
        least=0,
    ),
    _count(
        "request_burst",
        300,
        "How many requests of an instance that was quiet may come at once before that. "
        "A boot takes about 60.",
    ),
    _count(
        "max_pipeline",
        8,
        "The most requests that may wait on one connection behind the one answered.",
    ),
)

_HOLD = (
    _seconds(
        "openstack",
        8.0,
        "How long a request under /openstack may wait for what may pass by itself (a "
        "port not known yet, Nova restarting); cloud-init gives up after 10 s.",
    ),
    _seconds(
        "other",
        4.0,
        "The same for all other requests; cloud-init's EC2 reader gives up after 5 s.",
    ),
    _count(
        "max_unidentified_per_mac",
        4,
        "The most requests of one MAC address that wait to be recognised.",
    ),
    _count(
        "max_unidentified_per_network",
        64,
        "The most requests of one network that wait to be recognised.",
    ),
)

#: The options of each section that stands at most once.
SECTIONS: Mapping[str, tuple[cfg.Opt, ...]] = {
    "DEFAULT": _NOVA + _LOOKUP,
    "static": (
        _path(
            "path",
            "/etc/mdproxy/instances.yaml",
            "The YAML file with the ports of instances; it is read again whenever it "
            "changes.",
        ),
    ),
    "libvirt": (
        _path(
            "path",
            "/run/libvirt/qemu",
            "Where libvirt keeps the XML of the domains that run now.",
        ),
    ),
    "leases": (
        cfg.ListOpt(
            "sources",
            default=[],
            sample_default=["dnsmasq:/var/lib/misc/dnsmasq.leases@br-tenant1"],
            help="Where DHCP servers keep their leases: KIND:PATH@NETWORK, joined by "
            "commas. PATH may be a glob, NETWORK is that of a listener. Kinds: "
            "dnsmasq.",
        ),
    ),
    "upstream": _UPSTREAM,
    "limits": _LIMITS,
    "hold": _HOLD,
    "introspection": (
        _text(
            "endpoint",
            "tcp:8085:interface=127.0.0.1",
            "Where the operator's pages are served: a Twisted endpoint string, tcp on "
            "a loopback address or unix. A UNIX socket is for its owner alone "
            "(:mode=600) unless it has another mode, which must not let everybody in.",
        ),
    ),
    "manhole": (_text("endpoint", "", "Must stay empty in this version."),),
}

#: The options of each C{[listener:NAME]}.
LISTENER_OPTIONS: tuple[cfg.Opt, ...] = (
    _text(
        "kind",
        "device",
        "device: the link-local address on a bridge or other network device. address: "
        "an address of the host, whichever device connections come in from; so "
        "identify_by can't be mac.",
    ),
    _text(
        "device",
        "",
        "For kind = device: the network device. Empty: NAME.",
        sample_default="br-tenant1",
    ),
    _text(
        "address",
        "",
        "For kind = address: the IP address to listen on.",
    ),
    _port("port", 80, "The TCP port."),
    _text(
        "network",
        "",
        "The network whose instances come in here, as inventories and leases call it. "
        "Empty: NAME.",
        sample_default="br-tenant1",
    ),
    _text(
        "identify_by",
        "mac",
        "What identifies an instance. mac: the frame that opened its connection; takes "
        "kind = device. Weaker, for networks behind a router and for kind = address: "
        "lease, the MAC address in the DHCP lease, and address, the bare IP address.",
        choices=["mac", "lease", "address"],
    ),
)

#: Options that the design has and this version does not, by section.
LATER: Mapping[str, tuple[str, ...]] = {
    "leases": ("kea_subnets",),
    LISTENER: ("namespaces", "path"),
}

#: Options that Neutron has renamed, with what they are called now.
RENAMED = {"nova_metadata_ip": "nova_metadata_host"}

_PREFACE = """\
The configuration of mdproxy.  This file is printed by python -m mdproxy.options.
What stands behind # is the default, or an example where there is none.

A comment needs a line of its own: oslo.config takes what follows a value for a part
of the value.  A line that begins with a space continues the one before.  Write $ as
$$: a single one refers to another option.
"""

_TITLES = {
    "DEFAULT": "",
    "static": "For inventories = static.",
    "libvirt": "For inventories = libvirt.",
    "leases": "What DHCP servers know.",
    "upstream": "Connections to Nova.  Times are in seconds.",
    "limits": "What an instance may use.  Times are in seconds.",
    "hold": "The wait for what may pass by itself, in seconds.",
    "introspection": "What the operator can see.",
    "manhole": "A shell inside the running process.",
}

_LISTENER_TITLE = "One section for each network: any number of [listener:NAME]."


def _comment(text: str) -> list[str]:
    """
    Wrap a text into comment lines.
    """
    return [
        f"# {line}".rstrip()
        for part in text.splitlines() or [""]
        for line in textwrap.wrap(part, 84) or [""]
    ]


def shown(value: Any) -> str:
    """
    Write a value as it stands in a file.

    @param value: A value of any option.
    """
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _section(header: str, title: str, options: tuple[cfg.Opt, ...]) -> list[str]:
    """
    Write one section with all its options.
    """
    lines = [*(_comment(title) if title else []), f"[{header}]", ""]
    for option in options:
        example = option.sample_default
        value = shown(option.default if example is None else example)
        lines += [*_comment(option.help or ""), f"#{option.name} = {value}".rstrip()]
        lines.append("")
    return lines


def sample() -> str:
    """
    Print every option into a sample configuration file.

    @return: The text of C{etc/mdproxy.conf}.
    """
    lines = [*_comment(_PREFACE), ""]
    for name, options in SECTIONS.items():
        lines += _section(name, _TITLES[name], options)
        if name == "leases":
            lines += _section("listener:br-tenant1", _LISTENER_TITLE, LISTENER_OPTIONS)
    return "\n".join(lines)


if __name__ == "__main__":
    print(sample(), end="")
