"""
The real cloud-init: Debian's package, unpacked and never installed.

Installed, its service would ask the machine's own metadata address at the next boot.
So the package is only unpacked, gets its dependencies from a virtual environment of
its own, and runs in VM namespaces only.

C{python -m tests.lab.cloudinit build} prepares it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.lab.machines import Machine
from tests.lab.stage import CHECKOUT, LabError, Namespace

CACHE = CHECKOUT / ".cache" / "cloudinit"
#: What cloud-init 22.4.2's data sources import, and what that needs.
REQUIREMENTS = """\
attrs==26.1.0
certifi==2026.10.18
charset-normalizer==3.5.2
configobj==5.0.9
idna==3.20
Jinja2==3.1.6
jsonpatch==1.47
jsonpointer==3.12
jsonschema==4.26.0
jsonschema-specifications==2025.9.1
MarkupSafe==3.0.4
oauthlib==4.0.1
PyYAML==6.0.3
referencing==0.37.0
requests==2.34.2
rpds-py==2026.9.1
typing_extensions==4.16.0
urllib3==2.8.0
"""
_CRAWL = str(Path(__file__).with_name("crawl.py"))


def _run(*argv: str, cwd: Path) -> None:
    """
    Run one step of the build.
    """
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {(done.stderr or done.stdout)[-2000:]}")


@frozen
class CloudInit:
    """
    An unpacked cloud-init that can run.

    @ivar folder: Where it and its virtual environment are.
    """

    folder: Path

    @property
    def packages(self) -> Path:
        """
        The folder that its modules are imported from.
        """
        return self.folder / "root/usr/lib/python3/dist-packages"

    def crawl(self, vm: Namespace, machine: Machine, source: str) -> dict[str, Any]:
        """
        Let it ask for all it wants from inside a VM, as when the VM boots.

        @param source: C{OpenStack} or C{Ec2}.

        @return: What L{tests.lab.crawl} prints.
        """
        python = str(self.folder / "venv/bin/python")
        arguments = (str(self.packages), source, machine.instance)
        # -I: nothing of the checkout is importable; -B: nothing is written to it.
        done = vm.run(python, "-I", "-B", _CRAWL, *arguments, timeout=180)
        crawled: dict[str, Any] = json.loads(done.stdout)
        return {**crawled, "log": done.stderr.decode("utf-8", "replace")}


def _fill(folder: Path) -> None:
    """
    Unpack the package and install its dependencies.
    """
    _run("apt-get", "download", "cloud-init", cwd=folder)
    [package] = folder.glob("cloud-init_*.deb")
    _run("dpkg", "-x", package.name, "root", cwd=folder)
    _run(sys.executable, "-m", "venv", "venv", cwd=folder)
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    pip = ("venv/bin/python", "-m", "pip", "install", "-q", "--no-deps")
    _run(*pip, "-r", "requirements.txt", cwd=folder)


def build(cache: Path = CACHE) -> CloudInit:
    """
    Prepare cloud-init, unless it is there already.

    What an interrupted build left behind is thrown away, and of two builds at a time
    one waits for the other.

    @param cache: Where to keep it.
    """
    cache.mkdir(parents=True, exist_ok=True)
    wanted = f"{REQUIREMENTS}{sys.executable}{sys.version}"
    folder = cache / hashlib.sha256(wanted.encode()).hexdigest()[:12]
    complete = folder / "complete"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _fill(folder)
            complete.touch()
    return CloudInit(folder)


if __name__ == "__main__":
    if sys.argv[1:] != ["build"]:
        sys.exit("usage: python -m tests.lab.cloudinit build")
    print(build().packages)
