"""
Run cloud-init's own data source code inside a VM and print what it found, as JSON.

C{crawl.py DIST_PACKAGES OpenStack|Ec2 UUID}: the first argument is where Debian's
package was unpacked, the last the id in the DMI data, which the hypervisor gives a
guest.  Nothing of the machine is read or written but a temporary folder.
"""

import base64
import json
import logging
import sys
import tempfile
from typing import Any

ROOT, SOURCE, UUID = sys.argv[1:4]
sys.path.insert(0, ROOT)

from cloudinit import distros, dmi, helpers
from cloudinit.sources import DataSourceEc2, DataSourceOpenStack

#: What Nova's libvirt driver writes into a guest's firmware tables
#: (nova/virt/libvirt/driver.py, C{_get_guest_config_sysinfo}).
FIRMWARE = {"system-product-name": "OpenStack Nova", "system-uuid": UUID}
SOURCES = {
    "OpenStack": DataSourceOpenStack.DataSourceOpenStack,
    "Ec2": DataSourceEc2.DataSourceEc2,
}


def crawl(folder: str) -> dict[str, Any]:
    """
    Let the data source ask for all it wants.

    @param folder: Where cloud-init may write.

    @return: What it holds afterwards.
    """
    # A namespace has no firmware of its own.
    dmi.read_dmi_data = FIRMWARE.get
    paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder})
    distro = distros.fetch("debian")("debian", {}, paths)
    settings = {"datasource_list": [SOURCE], "datasource": {SOURCE: {}}}
    source = SOURCES[SOURCE](settings, distro, paths)
    if not source._get_data():
        return {"complete": False}
    user_data = source.userdata_raw
    if isinstance(user_data, str):
        user_data = user_data.encode()
    return {
        "complete": True,
        "instance": source.get_instance_id(),
        "hostname": source.get_hostname().hostname,
        "keys": source.get_public_ssh_keys(),
        "user_data": base64.b64encode(user_data or b"").decode(),
        "metadata": source.metadata,
        "ec2": getattr(source, "ec2_metadata", None),
        "network": getattr(source, "network_json", None),
    }


def main() -> None:
    """
    Crawl, with cloud-init's log on stderr.
    """
    logging.basicConfig(
        # cloud-init has set up a handler that drops everything.
        force=True,
        stream=sys.stderr,
        level=logging.DEBUG,
        format="%(relativeCreated)7d %(name)s %(message)s",
    )
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(crawl(folder), default=repr))


if __name__ == "__main__":
    main()
