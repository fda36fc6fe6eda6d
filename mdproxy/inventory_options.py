# -*- test-case-name: tests.test_options -*-
"""
The options of the inventories and of the sources of leases, by section.

Those of C{[ovn]} are called as in Neutron's C{ml2_conf.ini}, those of C{[neutron]} as
keystoneauth calls them in the files of every OpenStack service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from oslo_config import cfg

from mdproxy.option_types import path, seconds, text, words, yes_or_no

_OVN = (
    words(
        "ovn_sb_connection",
        ("tcp:127.0.0.1:6642",),
        "Where OVN's southbound database is: tcp:HOST:PORT, ssl:HOST:PORT or "
        "unix:FILE. With several, joined by commas, the next one is used while one "
        "does not answer.",
    ),
    path(
        "ovn_sb_private_key",
        "",
        "For ssl: the PEM file with our private key; nobody but its owner may have "
        "access to it.",
    ),
    path("ovn_sb_certificate", "", "For ssl: the PEM file with our certificate."),
    path(
        "ovn_sb_ca_cert",
        "",
        "For ssl: the PEM file with the authority that signs the database's "
        "certificate. There is no ssl without these three.",
    ),
    text(
        "chassis",
        "",
        "What OVN calls this host: the system-id of its Open vSwitch. Empty: the "
        "chassis whose hostname is that of [DEFAULT] host.",
    ),
)

#: The options of C{[neutron]} that say who we are, in clouds.yaml below C{auth}.
_AUTH = (
    text("auth_url", "", "Keystone's address, such as https://keystone:5000/v3."),
    text("username", "", "For password: the name of our user."),
    text("user_id", "", "The id of our user, instead of its name and domain."),
    text("user_domain_name", "", "The domain of our user, by its name."),
    text("user_domain_id", "", "The domain of our user, by its id."),
    text("password", "", "The user's password. Write $ as $$.", secret=True),
    text("project_name", "", "For password: the project of our user's role."),
    text("project_id", "", "The id of that project, instead of its name and domain."),
    text("project_domain_name", "", "The domain of the project, by its name."),
    text("project_domain_id", "", "The domain of the project, by its id."),
    text(
        "application_credential_id",
        "",
        "For v3applicationcredential: the credential's id.",
    ),
    text(
        "application_credential_name",
        "",
        "The credential's name instead of its id, together with its user.",
    ),
    text(
        "application_credential_secret",
        "",
        "For v3applicationcredential: its secret. Write $ as $$.",
        secret=True,
    ),
)

#: Their names.
AUTH: Final = tuple(option.name for option in _AUTH)

_NEUTRON = (
    text(
        "auth_type",
        "password",
        "How to prove to Keystone who we are: password or v3applicationcredential. The "
        "user must see all ports: the role that Neutron's policy calls admin, or a "
        "reader of the whole system.",
        choices=["password", "v3password", "v3applicationcredential"],
    ),
    *_AUTH,
    text(
        "os_cloud",
        "",
        "The name of a cloud in clouds_file; what it says counts where an option here "
        "is not set.",
    ),
    path(
        "clouds_file",
        "/etc/openstack/clouds.yaml",
        "For os_cloud: the file with clouds; nobody but its owner may have access to "
        "it.",
    ),
    text(
        "region_name",
        "",
        "The region whose Neutron is asked. Empty: the only one, or the first.",
    ),
    words(
        "valid_interfaces",
        ("internal", "public"),
        "Which of Neutron's addresses in Keystone's catalogue is used: internal, "
        "public or admin; the first that is there.",
    ),
    text(
        "endpoint_override",
        "",
        "Neutron's address, such as https://neutron:9696, instead of the catalogue's.",
    ),
    path(
        "cafile",
        "",
        "The PEM file with the authorities that may sign the certificates of Keystone "
        "and Neutron. Empty: those that the system trusts.",
    ),
    yes_or_no(
        "insecure",
        False,
        "Whether to trust whatever certificate they show. Whoever gets between can "
        "then read the password and make up ports.",
    ),
    seconds("timeout", 5.0, "The longest wait for an answer of Keystone or Neutron."),
    seconds(
        "refresh_interval",
        300.0,
        "How often all ports of this host are read again, about.",
    ),
    seconds(
        "max_age",
        10.0,
        "How long a port is believed without Neutron being asked for it again; while "
        "Neutron does not answer, what is known counts.",
    ),
)

#: The options of each of these sections.
INVENTORY_SECTIONS: Mapping[str, tuple[cfg.Opt, ...]] = {
    "static": (
        path(
            "path",
            "/etc/mdproxy/instances.yaml",
            "The YAML file with the ports of instances; it is read again whenever it "
            "changes.",
        ),
    ),
    "libvirt": (
        path(
            "path",
            "/run/libvirt/qemu",
            "Where libvirt keeps the XML of the domains that run now.",
        ),
        text(
            "default_project",
            "",
            "The project of domains that Nova did not make. Empty: those without an "
            "entry in the static file have no project and so no metadata.",
        ),
    ),
    "ovn": _OVN,
    "neutron": _NEUTRON,
    "leases": (
        words(
            "sources",
            (),
            "Where DHCP servers keep their leases: KIND:PATH@NETWORK, joined by "
            "commas. PATH may be a glob. Kinds: dnsmasq, dhcpd (ISC), kea (its CSV "
            "file) and libvirt (BRIDGE.status). NETWORK is that of a listener; it can "
            "be left out where a network's directory names it "
            "(dnsmasq:/var/lib/neutron/dhcp/*/leases), for libvirt, where the bridge "
            "in the file's name tells the listener, and for kea with kea_subnets.",
            ("dnsmasq:/var/lib/misc/dnsmasq.leases@br-tenant1",),
        ),
        words(
            "kea_subnets",
            (),
            "The networks of Kea's subnets by their ids, as 1:NETWORK, 2:NETWORK; for "
            "kea in sources without @NETWORK.",
        ),
    ),
}
