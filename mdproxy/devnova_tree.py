# -*- test-case-name: tests.test_devnova -*-
"""
What Nova's metadata API says of an instance: the data behind L{mdproxy.devnova}.

Pure: a description of instances in, the EC2 and OpenStack trees out, as
nova/api/metadata/base.py of Nova 34 builds them.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

import yaml
from attrs import field, frozen

EC2_VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
)
OPENSTACK_VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
)
PLAIN = "text/plain; charset=UTF-8"
JSON = "application/json"
FLAVOR = "m1.tiny"
DOMAIN = "novalocal"


class BadInstances(Exception):
    """
    The description of the instances can't be used; the text says why.
    """


class NovaCrash(Exception):
    """
    Nova itself fails on this request, with an exception that nobody catches.
    """


@frozen
class Instance:
    """
    An instance, as the metadata API knows it.

    @ivar number: Its place in the description, from 1: what EC2 ids are made of.
    @ivar instance: Its id.
    @ivar project: Its project's id.
    @ivar hostname: Its name, without a domain.
    @ivar network: The network of its port.
    @ivar mac: The MAC of its port.
    @ivar addresses: The port's fixed addresses.
    @ivar availability_zone: Where it runs.
    @ivar keys: Its public keys by name; Nova shows the first only.
    @ivar user_data: Its user-data, C{None} where it has none.
    """

    number: int
    instance: str
    project: str
    hostname: str
    network: str
    mac: str
    addresses: tuple[str, ...]
    availability_zone: str
    keys: Mapping[str, str]
    user_data: bytes | None = field(repr=False)

    @property
    def vif(self) -> UUID:
        """
        Make up the id of its port.
        """
        return uuid5(NAMESPACE_DNS, self.mac)

    @property
    def tap(self) -> str:
        """
        Make up the name of its port's device, as Neutron does.
        """
        return f"tap{str(self.vif)[:11]}"

    @property
    def network_id(self) -> UUID:
        """
        Make up the id of its network.
        """
        return uuid5(NAMESPACE_DNS, self.network)

    def on_subnet(self, host: int) -> str:
        """
        Name an address on the /24 of its first address.

        @param host: The last of the four numbers.
        """
        return f"{self.addresses[0].rsplit('.', 1)[0]}.{host}"


def read_instances(path: Path) -> tuple[Instance, ...]:
    """
    Read a file that describes instances; C{tests/lab/instances.yaml} shows the form.

    @raise BadInstances: The file is not of that form.
    """
    try:
        entries = yaml.safe_load(path.read_text("utf-8"))["instances"]
        return tuple(_instance(n, entry) for n, entry in enumerate(entries, 1))
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise BadInstances(f"{path}: {type(error).__name__}: {error}") from error


def _instance(number: int, entry: Mapping[str, Any]) -> Instance:
    """
    Read one instance.
    """
    if not entry["addresses"]:
        raise ValueError(f"{entry['instance']} has no address")
    return Instance(
        number=number,
        instance=str(UUID(entry["instance"])),
        project=str(entry["project"]),
        hostname=str(entry["hostname"]),
        network=str(entry["network"]),
        mac=str(entry["mac"]).lower(),
        addresses=tuple(str(address) for address in entry["addresses"]),
        availability_zone=str(entry.get("availability_zone", "nova")),
        keys=dict(entry.get("keys", {})),
        user_data=_user_data(entry),
    )


def _user_data(entry: Mapping[str, Any]) -> bytes | None:
    """
    Read user-data in either of its forms.
    """
    if "user_data_base64" in entry:
        return base64.b64decode(
            "".join(entry["user_data_base64"].split()), validate=True
        )
    return str(entry["user_data"]).encode() if "user_data" in entry else None


def look_up(instance: Instance, path: str) -> tuple[str, bytes] | None:
    """
    Find what Nova says at a path (C{InstanceMetadata.lookup}).

    @param path: The decoded path, without a query.

    @return: The content type and the body; C{None} for the password, which is not
        plain data.

    @raise KeyError: There is nothing at that path.
    @raise NovaCrash: Nova fails there.
    """
    tokens = posixpath.normpath("/" + path.lstrip("/")).split("/")[1:]
    if tokens[0] == "openstack":
        return _openstack(instance, tokens[1:])
    if tokens[0] in ("ec2", ""):
        tokens = tokens[1:]
    return PLAIN, _print(_ec2(instance, tokens))


def _ec2(instance: Instance, tokens: list[str]) -> Any:
    """
    Walk the EC2 tree (C{find_path_in_tree}).
    """
    if not tokens:
        return [*EC2_VERSIONS, "latest"]
    version = EC2_VERSIONS[-1] if tokens[0] == "latest" else tokens[0]
    if version not in EC2_VERSIONS:
        raise KeyError(version)
    node: Any = {"meta-data": _ec2_metadata(instance, version)}
    if instance.user_data is not None:
        node["user-data"] = instance.user_data
    for number, token in enumerate(tokens[1:], 2):
        if isinstance(node, dict):
            node = node[token]
        elif number == len(tokens):
            # Nova indexes the value itself, be it text or a number.
            raise NovaCrash(f"{token} is below a value")
        else:
            raise KeyError(token)
    return node


def _ec2_metadata(instance: Instance, version: str) -> dict[str, Any]:
    """
    Build the EC2 metadata of one version (C{get_ec2_metadata}).
    """
    hostname = f"{instance.hostname}.{DOMAIN}"
    since: list[tuple[str, dict[str, Any]]] = [
        ("1.0", _ec2_oldest(instance, hostname)),
        (
            "2007-01-19",
            {
                "local-hostname": hostname,
                "public-hostname": hostname,
                "public-ipv4": "",
            },
        ),
        ("2007-08-29", {"instance-type": FLAVOR}),
        ("2007-12-15", {"block-device-mapping": {"ami": "vda", "root": "/dev/vda"}}),
        (
            "2008-02-01",
            {"placement": {"availability-zone": instance.availability_zone}},
        ),
        ("2008-09-01", {"instance-action": "none"}),
    ]
    # Versions are dates, but the first: as text they sort the right way.
    return {
        k: v for first, items in since if version >= first for k, v in items.items()
    }


def _ec2_oldest(instance: Instance, hostname: str) -> dict[str, Any]:
    """
    Build what every version of the EC2 metadata has.
    """
    metadata: dict[str, Any] = {
        "ami-id": "ami-00000001",
        "ami-launch-index": 0,
        "ami-manifest-path": "FIXME",
        "instance-id": f"i-{instance.number:08x}",
        "hostname": hostname,
        "local-ipv4": instance.addresses[0],
        "reservation-id": f"r-{instance.number:08x}",
        "security-groups": ["default"],
    }
    for name, key in list(instance.keys.items())[:1]:
        # Listed as "0=name", found under "0".
        metadata["public-keys"] = {"0": {"_name": f"0={name}", "openssh-key": key}}
    return metadata


def _print(node: Any) -> bytes:
    """
    Write a node of the EC2 tree as Nova does (C{ec2_md_print}).
    """
    if isinstance(node, bytes):
        return node
    if isinstance(node, dict):
        node = [_listed(key, node[key]) for key in sorted(node) if key != "_name"]
    return ("\n".join(node) if isinstance(node, list) else str(node)).encode()


def _listed(key: str, value: Any) -> str:
    """
    Name an entry of a listing.
    """
    return str(value.get("_name", f"{key}/")) if isinstance(value, dict) else key


def _openstack(instance: Instance, tokens: list[str]) -> tuple[str, bytes] | None:
    """
    Walk the OpenStack tree (C{RouteConfiguration.handle_path}).
    """
    if not tokens:
        return PLAIN, "\n".join([*OPENSTACK_VERSIONS, "latest"]).encode()
    version = OPENSTACK_VERSIONS[-1] if tokens[0] == "latest" else tokens[0]
    if version not in OPENSTACK_VERSIONS:
        raise KeyError(version)
    name = "/".join(tokens[1:]) or "version"
    first, content_type, build = _OPENSTACK[name]
    if version < first:
        raise KeyError(name)
    return None if build is None else (content_type, build(instance, version))


def _listing(instance: Instance, version: str) -> bytes:
    """
    List a version's files; Nova lists the network's later than it serves them.
    """
    since = {"user_data": "2012-08-10", "network_data.json": "2015-10-15"}
    names = [
        name
        for name, (first, _, _) in _OPENSTACK.items()
        if name != "version" and version >= since.get(name, first)
    ]
    if instance.user_data is None:
        names.remove("user_data")
    return "\n".join(names).encode()


def _meta_data(instance: Instance, version: str) -> bytes:
    """
    Build C{meta_data.json} (C{_metadata_as_json}).
    """
    data: dict[str, Any] = {"uuid": instance.instance}
    for name, key in list(instance.keys.items())[:1]:
        data["public_keys"] = {name: key}
        data["keys"] = [{"name": name, "type": "ssh", "data": key}]
    data |= {
        "hostname": f"{instance.hostname}.{DOMAIN}",
        "name": instance.hostname,
        "launch_index": 0,
        "availability_zone": instance.availability_zone,
    }
    if version >= "2013-04-04":
        # Fresh bytes for each request, as in Nova.
        data["random_seed"] = base64.b64encode(os.urandom(512)).decode()
    if version >= "2015-10-15":
        data["project_id"] = instance.project
    if version >= "2016-06-30":
        data["devices"] = []
    if version >= "2020-10-14":
        data["dedicated_cpus"] = []
    return json.dumps(data).encode()


def _user_data_file(instance: Instance, version: str) -> bytes:
    """
    Give the user-data, byte for byte.
    """
    if instance.user_data is None:
        raise KeyError("user_data")
    return instance.user_data


def _network_data(instance: Instance, version: str) -> bytes:
    """
    Build C{network_data.json} (nova/virt/netutils.py).
    """
    link = {
        "id": instance.tap,
        "vif_id": str(instance.vif),
        "type": "bridge",
        "mtu": None,
        "ethernet_mac_address": instance.mac,
    }
    network = {
        "id": "network0",
        "type": "ipv4_dhcp",
        "link": instance.tap,
        "network_id": str(instance.network_id),
    }
    services = [{"type": "dns", "address": instance.on_subnet(2)}]
    return json.dumps(
        {"links": [link], "networks": [network], "services": services}
    ).encode()


_Build = Callable[[Instance, str], bytes]
#: Name, first version, content type, builder; in the order of Nova's listing.
_OPENSTACK: dict[str, tuple[str, str, _Build | None]] = {
    "version": ("2012-08-10", PLAIN, _listing),
    "meta_data.json": ("2012-08-10", JSON, _meta_data),
    "user_data": ("2012-08-10", PLAIN, _user_data_file),
    "password": ("2013-04-04", PLAIN, None),
    "vendor_data.json": ("2013-10-17", JSON, lambda instance, version: b"{}"),
    "network_data.json": ("2012-08-10", PLAIN, _network_data),
    "vendor_data2.json": (
        "2016-10-06",
        JSON,
        lambda instance, version: b'{"static": {}}',
    ),
}
