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
from collections.abc import Iterable
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
class Crawls:
    """
    Crawls that are about to begin, or have begun.
    """

    _process: subprocess.Popen[bytes]

    def begin(self) -> None:
        """
        Let all of them begin at the same instant.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def finish(self, seconds: float = 300.0) -> list[dict[str, Any]]:
        """
        Wait for the last of them.

        @param seconds: How long to wait.

        @return: What L{tests.lab.crawl} says of each, in the order they were asked for.
        """
        try:
            said, _ = self._process.communicate(timeout=seconds)
        finally:
            # Its children go with it.
            self._process.kill()
            self._process.wait()
        if self._process.returncode != 0:
            raise LabError("cloud-init could not be run in every VM")
        crawled: list[dict[str, Any]] = json.loads(said)
        return crawled


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

        @return: What L{tests.lab.crawl} says of it.
        """
        crawls = self.prepare([(vm, machine)], source)
        crawls.begin()
        [crawled] = crawls.finish()
        return crawled

    def prepare(
        self, booting: Iterable[tuple[Namespace, Machine]], source: str
    ) -> Crawls:
        """
        Get it ready to begin in any number of VMs.

        @param source: C{OpenStack} or C{Ec2}.
        """
        orders = [
            {
                "namespace": f"/run/netns/{vm.name}",
                "source": source,
                "uuid": machine.instance,
            }
            for vm, machine in booting
        ]
        python = str(self.folder / "venv/bin/python")
        process = subprocess.Popen(
            # -I: nothing of the checkout is importable; -B: nothing is written to it.
            [python, "-I", "-B", _CRAWL, str(self.packages)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(orders).encode() + b"\n")
        process.stdin.flush()
        if process.stdout.readline() != b"ready\n":
            raise LabError("cloud-init can't be started")
        return Crawls(process)


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
