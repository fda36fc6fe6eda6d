# -*- test-case-name: tests.test_clouds -*-
"""
One cloud of a C{clouds.yaml}, as the options of C{[neutron]}.

The file is that of openstacksdk (openstack/config/loader.py), of which profiles of
vendors, C{secure.yaml} and environment variables are left out.  No text of ours
repeats what stands in it: most of it is there to get in.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from mdproxy.inventory_options import AUTH
from mdproxy.model import Malformed

#: What is called otherwise there.
_RENAMED: Final = {
    "cacert": "cafile",
    "interface": "valid_interfaces",
    "network_endpoint_override": "endpoint_override",
}
_TOP: Final = ("auth_type", "region_name", "valid_interfaces", "endpoint_override")
_NO: Final = frozenset({"false", "no", "off", "n", "0"})
# Every value is text, as it is written: a project may look like a number.
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read_cloud(data: bytes, name: str) -> dict[str, str]:
    """
    Find what a cloud says.

    @param data: All of the file.
    @param name: The cloud.

    @return: Options of C{[neutron]} that are set there; a list is joined by commas.

    @raise Malformed: If it is no such file, or has no such cloud.
    """
    try:
        content = yaml.load(data, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise Malformed(f"is not YAML{where}") from None
    clouds = _mapping(content, "clouds")
    if name not in clouds:
        raise Malformed("has no such cloud")
    cloud = _mapping(clouds, name)
    if "profile" in cloud:
        raise Malformed("gets the cloud from a profile, which is not supported")
    auth = _mapping(cloud, "auth") if "auth" in cloud else {}
    said = {option: auth[option] for option in AUTH if option in auth}
    for key, value in cloud.items():
        option = _RENAMED.get(key, key)
        if option in (*_TOP, "cafile"):
            said[option] = value
    if str(cloud.get("verify", "")).lower() in _NO:
        said["insecure"] = "true"
    return {option: _text(option, value) for option, value in said.items()}


def _mapping(parent: Any, key: str) -> dict[Any, Any]:
    """
    Look up a mapping in another.
    """
    found = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(found, dict):
        known = {"clouds", "auth"}
        raise Malformed(f"has no '{key if key in known else 'cloud'}' with names in it")
    return found


def _text(option: str, value: Any) -> str:
    """
    Read a text, or a list of texts where one is allowed.
    """
    values = value if isinstance(value, list) else [value]
    is_list = isinstance(value, list) and option != "valid_interfaces"
    if is_list or not all(isinstance(each, str) for each in values):
        raise Malformed(f"has something else than a text for {option}")
    return ",".join(values)
