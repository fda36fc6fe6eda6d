"""
On what was measured.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from bench.peers import NEUTRON

#: What prints its version, somewhere in the first line.
_TOOLS = (("nginx", "-v"), ("haproxy", "-v"), ("wrk", "-v"), ("strace", "-V"))


def describe(revision: str | None) -> list[str]:
    """
    Tell the machine, the versions, the time and the commit.

    @param revision: What was measured instead of the files as they are.
    """
    now = datetime.now(timezone.utc)
    versions = [f"{tool} {_version(tool, option)}" for tool, option in _TOOLS]
    versions += [f"Twisted {version('twisted')}", f"httptools {version('httptools')}"]
    if NEUTRON.exists():
        code = "from importlib.metadata import version; print(version('neutron'))"
        versions.append(f"neutron {_output(str(NEUTRON), '-c', code).strip()}")
    return [
        f"{now:%Y-%m-%d %H:%M} UTC, commit {_commit(revision)}",
        f"{os.cpu_count()} cores of {_processor()}, Linux {platform.release()},"
        f" Python {platform.python_version()}",
        ", ".join(versions),
    ]


def _output(*command: str) -> str:
    """
    Run a command and take all that it prints.
    """
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout


def _version(tool: str, option: str) -> str:
    """
    Ask a tool for its version.
    """
    found = re.search(r"\d+(\.\d+)+", _output(tool, option))
    return found[0] if found else "of an unknown version"


def unpack(revision: str, directory: Path) -> None:
    """
    Write the proxy, as it was committed, into a directory.
    """
    command = ["git", "archive", revision, "mdproxy", "twisted"]
    archive = subprocess.run(command, capture_output=True, check=True)
    subprocess.run(
        ["tar", "-x", "-C", str(directory)], input=archive.stdout, check=True
    )


def _commit(revision: str | None) -> str:
    """
    Name the commit, and say if what was measured differs from it.
    """
    commit = _output("git", "rev-parse", "--short", revision or "HEAD").strip()
    changed = _output("git", "status", "--porcelain", "--", "mdproxy", "twisted")
    return f"{commit} with changes" if changed.strip() and not revision else commit


def _processor() -> str:
    """
    Name the processor.
    """
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()
