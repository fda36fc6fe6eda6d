# -*- test-case-name: tests.test_options -*-
"""
The options of what only operators see: pages, log, and the shell in the process.
"""

from __future__ import annotations

from collections.abc import Mapping

from oslo_config import cfg

from mdproxy.option_types import count, path, text, words, yes_or_no

_INTROSPECTION = (
    text(
        "endpoint",
        "tcp:8085:interface=127.0.0.1",
        "Where the operator's pages are served: a Twisted endpoint string, tcp or "
        "unix. An address that is not loopback needs certificate, private_key and "
        "client_ca, or allow_remote. A UNIX socket is for its owner alone (:mode=600) "
        "unless it has another mode, which must not let everybody in.",
    ),
    yes_or_no(
        "allow_remote",
        False,
        "Whether the pages may be at an address that is not loopback without anybody "
        "having to show a certificate. Whoever reaches them, instances included, can "
        "then read which instances there are and what they ask for.",
    ),
    words(
        "allowed_hosts",
        (),
        "By which other names, with or without a port, browsers may ask for the pages, "
        "joined by commas: a proxy in front of them may have one. Always allowed are "
        "the endpoint's own address and, on loopback, localhost. All others are "
        "refused, so that no page from elsewhere can read these.",
    ),
    path(
        "certificate",
        "",
        "The PEM file with the certificate of the pages, and its chain: they are then "
        "served by HTTPS alone. Not for a UNIX socket.",
    ),
    path(
        "private_key",
        "",
        "The PEM file with that certificate's private key; nobody but its owner may "
        "have access to it.",
    ),
    path(
        "client_ca",
        "",
        "The PEM file with the authorities that sign the certificates of operators: "
        "whoever has none is not let in. Empty: nobody has to show one.",
    ),
    yes_or_no(
        "contrail",
        True,
        "Whether tools made for Contrail's vRouter agent find its pages here: "
        "/Snh_MetadataInfo and others.",
    ),
    yes_or_no(
        "contrail_clear_by_get",
        False,
        "Whether /Snh_ClearAllInfo also takes effect by GET, as Contrail's does, and "
        "not by POST alone. Any page that an operator's browser shows can then have "
        "these counters cleared.",
    ),
    count(
        "transactions",
        1000,
        "How many of the latest requests are remembered, about half a kilobyte each.",
        least=16,
        most=10_000,
    ),
)

_LOG = (
    text(
        "format",
        "text",
        "text: lines as Twisted writes them. json: one JSON object on each line. "
        "journald: events with fields (MDPROXY_*) for systemd's journal; text where "
        "there is none. Text and JSON go where twistd has its log (--logfile); with "
        "its --syslog or --logger this option does not count.",
        choices=["text", "json", "journald"],
    ),
    words(
        "levels",
        ("twisted=warn",),
        "The least level that is logged, by the beginning of what logs it: NAME=LEVEL, "
        "joined by commas, such as mdproxy.lookup=debug. Levels: debug, info, warn, "
        "error, critical. The longest NAME counts; a LEVEL without one is for all "
        "else, and info where there is none.",
    ),
    path(
        "access_log",
        "",
        "The file to which each finished request is written, one JSON object on each "
        "line; it is opened again on SIGHUP. journal: systemd's. Empty: none.",
    ),
)

_MANHOLE = (
    text(
        "endpoint",
        "",
        "Where the shell is, for SSH: a Twisted endpoint string, unix or tcp on a "
        "loopback address, such as unix:/run/mdproxy/manhole.sock. Whoever may log in "
        "can do whatever mdproxy can, and read the secret. Empty: there is none.",
    ),
    path(
        "authorized_keys",
        "/etc/mdproxy/manhole_authorized_keys",
        "The file with the public keys of those who may log in, as OpenSSH's; nobody "
        "but its owner may write to it.",
    ),
    path(
        "host_key",
        "/var/lib/mdproxy/manhole_ed25519",
        "The file with the shell's own private key (ed25519), in OpenSSH's format; "
        "nobody but its owner may have access to it. It is made where there is none.",
    ),
)

#: The options of each of these sections.
OPERATOR_SECTIONS: Mapping[str, tuple[cfg.Opt, ...]] = {
    "introspection": _INTROSPECTION,
    "log": _LOG,
    "manhole": _MANHOLE,
}
