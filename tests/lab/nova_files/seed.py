"""
Enter the lab's instances into Nova's databases, through Nova's own objects.

C{python seed.py NOVA_CONF SEED_JSON}; the databases must have their tables.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# Before anything else of Nova: it chooses how Nova waits.
from nova import monkey_patch

monkey_patch.patch(backend="threading")

from nova import config, context, objects  # noqa: E402
from nova.network import model  # noqa: E402

_IMAGE = "c2d5a1f0-0000-4000-8000-0000000000aa"
_USER = "u0000000000000000000000000000001"


def network_info(each: dict[str, Any]) -> model.NetworkInfo:
    """
    Build what Nova remembers of an instance's port.
    """
    subnet = model.Subnet(
        cidr=each["cidr"],
        gateway=model.IP(address=each["gateway"], type="gateway", version=4),
        dns=[model.IP(address=each["dns"], type="dns", version=4)],
        ips=[
            model.FixedIP(address=address, version=4) for address in each["addresses"]
        ],
        routes=[],
        dhcp_server=each["dns"],
    )
    network = model.Network(
        id=each["network_id"],
        bridge=each["network"],
        label=each["network"],
        subnets=[subnet],
        injected=False,
        mtu=1450,
        tenant_id=each["project"],
    )
    vif = model.VIF(
        id=each["vif"],
        address=each["mac"],
        network=network,
        type=model.VIF_TYPE_BRIDGE,
        devname=each["tap"],
        active=True,
    )
    return model.NetworkInfo([vif])


def make_flavor(admin: context.RequestContext) -> objects.Flavor:
    """
    Enter the flavour of all instances.
    """
    flavor = objects.Flavor(
        admin,
        flavorid="1",
        name="m1.tiny",
        memory_mb=512,
        vcpus=1,
        root_gb=1,
        ephemeral_gb=0,
        swap=0,
        rxtx_factor=1.0,
        vcpu_weight=0,
        disabled=False,
        is_public=True,
        extra_specs={},
        projects=[],
    )
    flavor.create()
    return flavor


def make_keys(admin: context.RequestContext, each: dict[str, Any]) -> list[Any]:
    """
    Enter an instance's keys.
    """
    keys = [
        objects.KeyPair(
            admin,
            user_id=_USER,
            name=name,
            type="ssh",
            fingerprint="aa:bb",
            public_key=public,
        )
        for name, public in each["keys"].items()
    ]
    for key in keys:
        key.create()
    return keys


def make_instance(
    admin: context.RequestContext,
    cell: objects.CellMapping,
    flavor: objects.Flavor,
    each: dict[str, Any],
) -> None:
    """
    Enter an instance.
    """
    keys = make_keys(admin, each)
    with context.target_cell(admin, cell) as inside:
        objects.Instance(
            inside,
            uuid=each["instance"],
            project_id=each["project"],
            user_id=_USER,
            hostname=each["hostname"],
            display_name=each["hostname"],
            image_ref=_IMAGE,
            launch_index=0,
            reservation_id=f"r-{each['number']:08x}",
            availability_zone=each["availability_zone"],
            vm_state="active",
            power_state=1,
            host="compute1",
            launched_on="compute1",
            root_device_name="/dev/vda",
            instance_type_id=flavor.id,
            memory_mb=512,
            vcpus=1,
            root_gb=1,
            ephemeral_gb=0,
            flavor=flavor,
            key_name=keys[0].name if keys else None,
            key_data=keys[0].public_key if keys else None,
            keypairs=objects.KeyPairList(objects=keys),
            user_data=each["user_data"],
            metadata={},
            system_metadata={},
            info_cache=objects.InstanceInfoCache(
                inside, instance_uuid=each["instance"], network_info=network_info(each)
            ),
        ).create()
    objects.InstanceMapping(
        admin,
        instance_uuid=each["instance"],
        project_id=each["project"],
        user_id=_USER,
        cell_mapping=cell,
        queued_for_delete=False,
    ).create()


def main(conf: str, seed: str) -> None:
    """
    Enter all instances, in their order: Nova numbers them.
    """
    config.parse_args(["seed", "--config-file", conf], default_config_files=[conf])
    objects.register_all()
    admin = context.get_admin_context()
    cells = objects.CellMappingList.get_all(admin)
    (cell,) = [each for each in cells if not each.is_cell0()]
    flavor = make_flavor(admin)
    for each in json.loads(Path(seed).read_text("utf-8")):
        make_instance(admin, cell, flavor, each)


if __name__ == "__main__":
    main(*sys.argv[1:])
