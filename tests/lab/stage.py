"""
Where processes of the lab run: namespaces, and a folder that goes with them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field, frozen

#: The root of the checkout; what runs in a namespace is started from here.
CHECKOUT = Path(__file__).resolve().parents[2]

if TYPE_CHECKING:
    from typing_extensions import Self

_serial = count(1)
Found = TypeVar("Found")


class LabError(Exception):
    """
    The lab itself, not what is tested in it, does not work.
    """


def wait_for(
    what: str, probe: Callable[[], Found | None], seconds: float = 15.0
) -> Found:
    """
    Ask again and again until there is an answer.

    @param what: What is waited for, for the error.
    @param probe: Returns something true when it is there.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise LabError(f"after {seconds:g} s there was still no {what}")
        time.sleep(0.05)


@frozen
class Namespace:
    """
    A network namespace that this lab made.

    @ivar name: Its name; empty: no namespace, but where we are.
    """

    name: str

    def command(self, *argv: str) -> list[str]:
        """
        Say how to run a command inside.
        """
        if not self.name:
            return list(argv)
        return ["ip", "netns", "exec", self.name, *argv]

    def run(
        self, *argv: str, stdin: bytes = b"", check: bool = True, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        """
        Run a command inside and wait for it.

        @raise LabError: If it fails and C{check} is set.
        """
        return run(self.command(*argv), stdin, check, timeout)

    def ip(self, *argv: str) -> None:
        """
        Run C{ip} on this namespace.
        """
        if not self.name:
            raise LabError("the network of the machine itself is not ours to change")
        run(["ip", "-n", self.name, *argv])

    def sysctl(self, name: str, value: int) -> None:
        """
        Set a kernel parameter of this namespace.

        @param name: Its path below /proc/sys/net.
        """
        self.run("sh", "-c", f"echo {value} >/proc/sys/net/{name}")


def run(
    argv: list[str], stdin: bytes = b"", check: bool = True, timeout: float = 60.0
) -> subprocess.CompletedProcess[bytes]:
    """
    Run a command from the checkout.
    """
    done = subprocess.run(
        argv, input=stdin, capture_output=True, timeout=timeout, cwd=CHECKOUT
    )
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace")[-2000:]
        raise LabError(f"{' '.join(argv)} ended with {done.returncode}: {said}")
    return done


@define
class Running:
    """
    A process that this lab started, inside a namespace.

    @ivar log: Where its output goes.
    """

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """
        Read all that it has written.
        """
        return self.log.read_text("utf-8", "replace")

    def stop(self, seconds: float = 10.0) -> int:
        """
        End it, first politely.

        @return: Its exit code.
        """
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@define
class Stage:
    """
    A folder and processes that are gone at the end of the C{with} block.

    @ivar directory: The folder.
    @ivar hypervisor: Where the proxy runs.
    """

    directory: Path = field(init=False)
    hypervisor: Namespace = field(default=Namespace(""), init=False)
    _prefix: str = field(init=False)
    _cleanup: ExitStack = field(factory=ExitStack, init=False)

    def __enter__(self) -> Self:
        """
        Make everything.
        """
        self._prefix = f"mdlab-{os.getpid()}-{next(_serial)}-"
        with ExitStack() as cleanup:
            self._cleanup = cleanup
            self.directory = Path(tempfile.mkdtemp(prefix=self._prefix))
            cleanup.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self.furnish()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        Take down all that was made, in reverse order.
        """
        self._cleanup.close()

    def furnish(self) -> None:
        """
        Put onto the stage what is to be there from the start: nothing.
        """

    def leases(self, network: str) -> Path:
        """
        Say where the DHCP server of a network keeps its leases.
        """
        return self.directory / f"{network}.leases"

    def start(
        self, namespace: Namespace, name: str, *argv: str, **environment: str
    ) -> Running:
        """
        Start a process inside a namespace; it ends with the world.

        @param name: What its log file is called.
        @param environment: Variables on top of this process's own.
        """
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                namespace.command(*argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=CHECKOUT,
                env={**os.environ, **environment},
            )
        running = Running(process, log)
        self._cleanup.callback(running.stop)
        return running

    def start_python(self, namespace: Namespace, name: str, *argv: str) -> Running:
        """
        Start this Python inside a namespace.
        """
        return self.start(namespace, name, sys.executable, *argv)
