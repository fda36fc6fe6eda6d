# -*- test-case-name: tests.test_options -*-
"""
The options of each C{[listener:NAME]}, and which kind of listener has which.
"""

from __future__ import annotations

from collections.abc import Mapping

from oslo_config import cfg

from mdproxy.option_types import port, text, words

#: What the section of a listener begins with; the rest of it is the listener's name.
LISTENER = "listener:"

#: The options of each C{[listener:NAME]}.
LISTENER_OPTIONS: tuple[cfg.Opt, ...] = (
    text(
        "kind",
        "device",
        "device: the link-local address on a bridge or other network device. "
        "namespaces: the same in each of Neutron's network namespaces, as they come "
        "and go. address: an address of the host, whichever device connections come in "
        "from; so identify_by can't be mac. socket: a UNIX socket in the place of "
        "Neutron's metadata agent, behind the haproxies that Neutron starts.",
    ),
    text(
        "device",
        "",
        "For kind = device: the network device. Empty: NAME.",
        sample_default="br-tenant1",
    ),
    text("address", "", "For kind = address: the IP address to listen on."),
    words(
        "namespaces",
        ("qdhcp-*", "qrouter-*", "ovnmeta-*"),
        "For kind = namespaces: which network namespaces of /run/netns are served. For "
        "kind = socket: in which of them an instance's MAC address is looked for. "
        "Patterns, joined by commas; each begins with what stands before the id and "
        "its hyphen. The id is that of the network; behind qrouter- it is a router's, "
        "and an inventory must know the networks of its ports: ovn or neutron. The "
        "kernel has one table of neighbours for all namespaces: hundreds of them need "
        "a larger one, see etc/sysctl.d/mdproxy.conf.",
    ),
    port(
        "port",
        80,
        "The TCP port. For kind = namespaces: that of namespaces of networks.",
    ),
    port(
        "router_port",
        9697,
        "For kind = namespaces: the TCP port in namespaces of routers, to which "
        "Neutron's L3 agent redirects 169.254.169.254:80 (its metadata_port). "
        "Connections that were not redirected are refused.",
    ),
    text(
        "path",
        "",
        "For kind = socket: the UNIX socket. Neutron's haproxies ask at "
        "metadata_proxy_socket of its agent, which is $state_path/metadata_proxy: "
        "commonly /var/lib/neutron/metadata_proxy.",
    ),
    text(
        "mode",
        "deduce",
        "For kind = socket: who can open it, as in Neutron's "
        "metadata_proxy_socket_mode. user: its owner (0644). group: its group too "
        "(0664). all: everybody on the host (0666); allowed_uids alone keeps them out "
        "then. deduce: the first of these that lets allowed_uids in.",
        choices=["deduce", "user", "group", "all"],
    ),
    words(
        "allowed_uids",
        (),
        "For kind = socket: the users whose processes may ask, by number or name: "
        "whoever may can name any instance of these networks. Connections of others "
        "are closed. Empty: root and the user that mdproxy runs as.",
    ),
    text(
        "network",
        "",
        "For kind = device and address: the network whose instances come in here, as "
        "inventories and leases call it. Empty: NAME.",
        sample_default="br-tenant1",
    ),
    text(
        "identify_by",
        "mac",
        "What identifies an instance. mac: the frame that opened its connection; for "
        "kind = socket, what the neighbour table of its network's namespace says; not "
        "for kind = address. Weaker, for networks behind a router and for kind = "
        "address: lease, the MAC address in the DHCP lease, and address, the bare IP "
        "address. For kind = socket address is what Neutron's agent does.",
        choices=["mac", "lease", "address"],
    ),
)

#: Which of them each kind of listener has, beside C{kind} and C{identify_by}.
OPTIONS_OF: Mapping[str, frozenset[str]] = {
    "device": frozenset({"device", "port", "network"}),
    "namespaces": frozenset({"namespaces", "port", "router_port"}),
    "address": frozenset({"address", "port", "network"}),
    "socket": frozenset({"namespaces", "path", "mode", "allowed_uids"}),
}
