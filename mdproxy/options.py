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

from oslo_config import cfg

from mdproxy.inventory_options import INVENTORY_SECTIONS
from mdproxy.listener_options import LISTENER, LISTENER_OPTIONS
from mdproxy.operator_options import OPERATOR_SECTIONS
from mdproxy.option_types import count, path, port, seconds, text, words, yes_or_no

__all__ = [
    "LISTENER",
    "LISTENER_OPTIONS",
    "LISTENER_TITLE",
    "RENAMED",
    "SECTIONS",
    "TITLES",
    "sample",
    "shown",
]

_NOVA = (
    words(
        "nova_metadata_host",
        ("127.0.0.1",),
        "Where Nova's metadata API is: a host name or an address. With several, "
        "joined by commas, the next one is used while one does not answer.",
    ),
    port("nova_metadata_port", 8775, "The TCP port of Nova's metadata API."),
    text(
        "nova_metadata_protocol",
        "http",
        "How to talk to Nova: http or https.",
        choices=["http", "https"],
    ),
    yes_or_no(
        "nova_metadata_insecure",
        False,
        "Whether to trust whatever certificate Nova shows. Whoever gets between "
        "can then read and forge all metadata.",
    ),
    path(
        "nova_client_cert",
        "",
        "The PEM file with our certificate, where Nova asks for one (mutual TLS).",
    ),
    path(
        "nova_client_priv_key",
        "",
        "The PEM file with that certificate's private key; nobody but its owner may "
        "have access to it.",
    ),
    path(
        "auth_ca_cert",
        "",
        "The PEM file with the authorities that may sign Nova's certificate. Empty: "
        "those that the system trusts.",
    ),
    text(
        "metadata_proxy_shared_secret",
        "",
        "The secret shared with Nova: the value of metadata_proxy_shared_secret in "
        "section [neutron] of nova.conf. Write $ as $$.",
        secret=True,
    ),
    path(
        "metadata_proxy_shared_secret_file",
        "",
        "The file that holds the secret, instead of the option above; nobody but its "
        "owner may have access to it. Newlines at its end do not count, and $ is just "
        "$ there.",
    ),
    yes_or_no(
        "allow_empty_secret",
        False,
        "Whether to start without a secret. Nova then believes anybody who reaches it.",
    ),
)

_LOOKUP = (
    words(
        "inventories",
        ("static",),
        "Who knows the ports of instances, asked in this order: any of static, "
        "libvirt, ovn, neutron. Where several know a port they must agree on its "
        "instance and project.",
    ),
    text(
        "host",
        "",
        "What Neutron calls this host (binding:host_id of its ports): the value of "
        "host in neutron.conf. Empty: the host's own name.",
    ),
    text(
        "lease_conflict",
        "warn",
        "What to do where everything agrees who asks and only a DHCP lease says "
        "otherwise: warn (answer, count and log it) or refuse.",
        choices=["warn", "refuse"],
    ),
    yes_or_no(
        "allow_unverified_address",
        False,
        "Whether to answer a port whose addresses no inventory and no lease "
        "knows, on the word of its MAC address alone.",
    ),
    yes_or_no(
        "check_bridge_port",
        False,
        "Whether an instance's frames must come in by its own port of the bridge: what "
        "the bridge has learnt of its MAC address must agree with the inventory, where "
        "both tell. For hosts with Linux bridges.",
    ),
    seconds(
        "drain_timeout",
        30.0,
        "How long requests in flight may take to finish after SIGTERM, in seconds.",
    ),
)

_UPSTREAM = (
    count("max_connections", 64, "The most connections to Nova, over all its hosts."),
    count(
        "max_queue",
        1024,
        "The most requests that wait for a connection to Nova; beyond it they are "
        "answered with 503.",
    ),
    seconds("connect_timeout", 3.0, "The longest wait for a connection to Nova."),
    seconds(
        "first_byte_timeout",
        30.0,
        "The longest wait for Nova's answer, and for each next byte of it.",
    ),
    seconds("idle_timeout", 30.0, "How long an unused connection to Nova is kept."),
    seconds(
        "max_age",
        300.0,
        "How long a connection to Nova is used, a fifth more or less, before another "
        "takes its place: so name servers and load balancers are followed.",
    ),
    seconds(
        "check_interval",
        600.0,
        "How often Nova is asked for an instance that does not exist, to see whether "
        "it has the same secret; also at the start, and when it has refused an "
        "instance's signature. Nova logs each as an instance that it can't find. 0: "
        "never.",
        never=True,
    ),
)

_LIMITS = (
    seconds("head_timeout", 10.0, "The longest time that a request's head may take."),
    seconds("body_timeout", 10.0, "The longest time that a request's body may take."),
    seconds("idle_timeout", 75.0, "How long an instance's unused connection is kept."),
    seconds(
        "write_timeout",
        30.0,
        "How long an instance may go without taking any byte of an answer.",
    ),
    count("max_head", 16384, "The largest request head, in bytes.", 1024),
    count("max_body", 65536, "The largest request body, in bytes."),
    count(
        "max_connections",
        4096,
        "The most connections from all instances; no network gets more than half of "
        "them. Where no place is left a new one takes that of the longest idle: one of "
        "its own instance, or else of an instance or network that has more.",
    ),
    count(
        "max_connections_per_instance",
        64,
        "The most connections of one MAC address on one network; of one IP address "
        "where instances are not identified by their MAC.",
    ),
    count(
        "max_requests_per_instance",
        8,
        "The most requests of one instance that Nova is asked at a time; the others "
        "wait for their turn.",
    ),
    count(
        "max_request_rate",
        0,
        "The most requests of one instance in a second, on average; beyond it they are "
        "answered with 429 and Retry-After. An instance is counted as above. 0: no "
        "limit, as Neutron's default is; 50 lets any boot pass.",
        least=0,
    ),
    count(
        "request_burst",
        300,
        "How many requests of an instance that was quiet may come at once before that. "
        "A boot takes about 60.",
    ),
    count(
        "max_pipeline",
        8,
        "The most requests that may wait on one connection behind the one answered.",
    ),
)

_HOLD = (
    seconds(
        "openstack",
        8.0,
        "How long a request under /openstack may wait for what may pass by itself (a "
        "port not known yet, Nova restarting); cloud-init gives up after 10 s.",
    ),
    seconds(
        "other",
        4.0,
        "The same for all other requests; cloud-init's EC2 reader gives up after 5 s.",
    ),
    count(
        "max_unidentified_per_mac",
        4,
        "The most requests of one MAC address that wait to be recognised.",
    ),
    count(
        "max_unidentified_per_network",
        1024,
        "The most requests of one network that wait to be recognised: so many "
        "instances can boot at once before any inventory has heard of them, and all "
        "are served. They cost memory alone: an inventory is asked for all of them "
        "together, once a second at most.",
    ),
)

#: The options of each section that stands at most once.
SECTIONS: Mapping[str, tuple[cfg.Opt, ...]] = {
    "DEFAULT": _NOVA + _LOOKUP,
    **INVENTORY_SECTIONS,
    "upstream": _UPSTREAM,
    "limits": _LIMITS,
    "hold": _HOLD,
    **OPERATOR_SECTIONS,
}

#: Options that Neutron or keystoneauth has renamed, with what they are called now.
RENAMED = {
    "nova_metadata_ip": "nova_metadata_host",
    "endpoint_type": "valid_interfaces",
    "interface": "valid_interfaces",
    "tenant_name": "project_name",
    "tenant_id": "project_id",
    "cacert": "cafile",
}

_PREFACE = """\
The configuration of mdproxy.  This file is printed by python -m mdproxy.options.
What stands behind # is the default, or an example where there is none.

A comment needs a line of its own: oslo.config takes what follows a value for a part
of the value.  A line that begins with a space continues the one before.  Write $ as
$$: a single one refers to another option.
"""

#: What each section is for.
TITLES = {
    "DEFAULT": "",
    "static": "For inventories = static.",
    "libvirt": "For inventories = libvirt.",
    "ovn": "For inventories = ovn: OVN's southbound database.",
    "neutron": "For inventories = neutron: Neutron's API.  Times are in seconds.  This "
    "inventory was never tried with a Neutron in use.",
    "leases": "What DHCP servers know.",
    "upstream": "Connections to Nova.  Times are in seconds.",
    "limits": "What an instance may use.  Times are in seconds.",
    "hold": "The wait for what may pass by itself, in seconds.",
    "introspection": "What the operator can see.",
    "log": "What is written down.",
    "manhole": "A shell inside the running process.",
}

#: What the section of a listener is for.
LISTENER_TITLE = "One section for each network: any number of [listener:NAME]."


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
        lines += _section(name, TITLES[name], options)
        if name == "leases":
            lines += _section("listener:br-tenant1", LISTENER_TITLE, LISTENER_OPTIONS)
    return "\n".join(lines)


if __name__ == "__main__":
    print(sample(), end="")
