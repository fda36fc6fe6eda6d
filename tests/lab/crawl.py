"""
Run cloud-init's own data source code and print what it found, as JSON.

C{crawl.py DIST_PACKAGES}, where Debian's package was unpacked.  Stdin has a line of
JSON, a list of crawls: C{source}, C{OpenStack} or C{Ec2}; C{uuid}, the id in the DMI
data, which the hypervisor gives a guest; C{namespace}, the path of the network
namespace to crawl in, or empty for this one.  The line C{ready} on stdout says that
each of them needs nothing more to begin, which they do at the next line of stdin or at
its end.  A line of JSON has what came of them, in the same order.

Many boot at the same instant without waiting for each other's imports, for each is
forked from one process that has imported all it needs.  Nothing of the machine is read
or written but temporary folders.
"""

import base64
import ctypes
import io
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from typing import Any

sys.path.insert(0, sys.argv[1])

from cloudinit import distros, dmi, helpers
from cloudinit.sources import DataSourceEc2, DataSourceOpenStack

SOURCES = {
    "OpenStack": DataSourceOpenStack.DataSourceOpenStack,
    "Ec2": DataSourceEc2.DataSourceEc2,
}
#: Of Linux: what a descriptor of a namespace must be, and what prctl(2) sets.
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1


def crawl(name: str, uuid: str, folder: str) -> dict[str, Any]:
    """
    Let the data source ask for all it wants.

    @param name: Which data source.
    @param uuid: The instance's id.
    @param folder: Where cloud-init may write.

    @return: What it holds afterwards.
    """
    # A namespace has no firmware of its own; this is what Nova's libvirt driver writes
    # there (nova/virt/libvirt/driver.py, _get_guest_config_sysinfo).
    firmware = {"system-product-name": "OpenStack Nova", "system-uuid": uuid}
    dmi.read_dmi_data = firmware.get
    paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder})
    distro = distros.fetch("debian")("debian", {}, paths)
    settings = {"datasource_list": [name], "datasource": {name: {}}}
    source = SOURCES[name](settings, distro, paths)
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


def enter(namespace: str) -> None:
    """
    Go into a network namespace, and die with the parent.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if namespace:
        with open(namespace) as handle:
            if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {namespace}")


def boot(order: dict[str, str], go: int) -> dict[str, Any]:
    """
    Crawl once it is time to, and say how long that took and what cloud-init logged.

    @param go: A descriptor that comes to its end when it is time.
    """
    enter(order["namespace"])
    log = io.StringIO()
    logging.basicConfig(
        # cloud-init has set up a handler that drops everything.
        force=True,
        stream=log,
        level=logging.DEBUG,
        format="%(relativeCreated)7d %(name)s %(message)s",
    )
    with tempfile.TemporaryDirectory() as folder:
        os.read(go, 1)
        began = time.monotonic()
        try:
            found = crawl(order["source"], order["uuid"], folder)
        except Exception:
            # So would cloud-init itself end: without its data.
            found = {"complete": False}
            traceback.print_exc(file=log)
        seconds = round(time.monotonic() - began, 3)
    return {**found, "began": began, "seconds": seconds, "log": log.getvalue()}


def fork(order: dict[str, str], path: str, gate: tuple[int, int]) -> int:
    """
    Begin a crawl of its own process.

    @param path: Where to write what came of it.
    @param gate: A pipe; the crawl begins when all its writing ends are closed.

    @return: The process.
    """
    child = os.fork()
    if child:
        return child
    try:
        os.close(gate[1])
        found = boot(order, gate[0])
        with open(path, "w") as result:
            json.dump(found, result, default=repr)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    """
    Crawl as stdin says.
    """
    orders = json.loads(sys.stdin.readline())
    gate = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, str(number)) for number in range(len(orders))]
        children = [
            fork(order, path, gate) for order, path in zip(orders, paths, strict=True)
        ]
        print("ready", flush=True)
        sys.stdin.readline()
        os.close(gate[1])
        ends = [os.waitpid(child, 0)[1] for child in children]
        if any(ends):
            sys.exit(f"a crawl failed: {ends}")
        found = []
        for path in paths:
            with open(path) as result:
                found.append(json.load(result))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
