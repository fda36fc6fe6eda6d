"""
Prometheus's own checker, which never listens and asks nobody.

The package with it starts a daemon where it is installed, so the checker alone is
unpacked.

C{python -m tests.lab.promtool build} prepares it.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from tests.lab.stage import CHECKOUT

CACHE = CHECKOUT / ".cache" / "promtool"
_PACKAGE = "prometheus"
_BINARY = "usr/bin/promtool"


def promtool(*arguments: str, given: str = "") -> tuple[bool, str]:
    """
    Have something checked.

    @param given: What it reads.

    @return: Whether it finds it good, and what it says.
    """
    done = subprocess.run(
        [str(build()), *arguments],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    return done.returncode == 0, done.stdout


def build() -> Path:
    """
    Unpack the checker, unless it is there already.

    What an interrupted build left behind is thrown away, and of two builds at a time
    one waits for the other.

    @return: The program.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    binary, complete = CACHE / _BINARY, CACHE / "complete"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            _fill()
            complete.touch()
    return binary


def _fill() -> None:
    """
    Fetch the package and unpack the checker alone: the rest is 50 MB.
    """
    for package in CACHE.glob("*.deb"):
        package.unlink()
    subprocess.run(
        ["apt-get", "download", "-qq", _PACKAGE],
        cwd=CACHE,
        check=True,
        stdout=sys.stderr,
    )
    [package] = CACHE.glob(f"{_PACKAGE}_*.deb")
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
    ) as archive:
        unpack = ["tar", "--extract", "--file", "-", f"./{_BINARY}"]
        subprocess.run(unpack, cwd=CACHE, stdin=archive.stdout, check=True)
    package.unlink()


if __name__ == "__main__":
    if sys.argv[1:] != ["build"]:
        sys.exit("usage: python -m tests.lab.promtool build")
    print(build())
