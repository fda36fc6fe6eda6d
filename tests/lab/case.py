"""
What all tests of the lab share: a world of their own, and ways to start things in it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from attrs import define, frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.lab.guest import Guest
from tests.lab.machines import Machine, load_machines
from tests.lab.proxy import NOVA_PORT, Proxy, start_devnova
from tests.lab.stage import wait_for
from tests.lab.world import World, require


@frozen
class Recorded:
    """
    A request that reached the recording upstream.

    @ivar line: The request line.
    @ivar fields: The header lines, as they stood on the wire.
    @ivar body: The body.
    """

    line: str
    fields: list[str]
    body: bytes

    def values(self, name: str) -> list[str]:
        """
        Collect the values of a header, in any case, with C{_} taken for C{-}.
        """
        pairs = (field.partition(":") for field in self.fields)
        return [
            value.strip()
            for spelt, _, value in pairs
            if spelt.strip().lower().replace("_", "-") == name
        ]


@define
class Recording:
    """
    The recording upstream of a world.

    @ivar world: Where it runs.
    """

    world: World

    def start(self) -> None:
        """
        Start it.
        """
        script = "tests/lab/recorder.py"
        paths = (str(self.world.directory / name) for name in ("record", "gate"))
        running = self.world.start_python(
            self.world.hypervisor, "recorder", script, str(NOVA_PORT), *paths
        )
        wait_for("recorder", lambda: "listening" in running.said())

    def requests(self) -> list[Recorded]:
        """
        Read all that came so far.
        """
        record = self.world.directory / "record"
        lines = record.read_text().splitlines() if record.exists() else []
        entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [
            Recorded(e["line"], e["fields"], base64.b64decode(e["body"]))
            for e in entries
        ]

    def open_gate(self) -> None:
        """
        Let the slow requests be answered.
        """
        (self.world.directory / "gate").touch()


class LabTestCase(SynchronousTestCase):
    """
    A test with a hypervisor and VMs of its own.

    @ivar machines: Every VM there is, by host name.
    @ivar world: The running lab.
    """

    #: The VMs that are started, by host name; empty: all.
    booted: tuple[str, ...] = ()

    def setUp(self) -> None:
        """
        Make the world.
        """
        require()
        self.machines = {m.hostname: m for m in load_machines()}
        names = self.booted or tuple(self.machines)
        self.world = World(tuple(self.machines[name] for name in names))
        self.world.__enter__()
        self.addCleanup(self.world.__exit__, None, None, None)

    def machine(self, hostname: str) -> Machine:
        """
        Look up a VM.
        """
        return self.machines[hostname]

    def guest(self, hostname: str) -> Guest:
        """
        Get to ask from inside a VM.
        """
        return Guest(self.world.vms[hostname])

    def start_proxy(self, **details: Any) -> Proxy:
        """
        Start the proxy; at the end of the test its log must show no accident.

        @param details: Of the L{Proxy}; it knows all VMs that were started unless told
            otherwise.
        """
        details.setdefault("known", self.world.machines)
        proxy = Proxy(self.world, **details)
        proxy.start()
        self.addCleanup(self.check_log, proxy)
        return proxy

    def start_devnova(self, **details: Any) -> Proxy:
        """
        Start the proxy in front of the stand-in for Nova.
        """
        start_devnova(self.world)
        return self.start_proxy(**details)

    def start_recording(self, **details: Any) -> tuple[Recording, Proxy]:
        """
        Start the proxy in front of an upstream that records.
        """
        recording = Recording(self.world)
        recording.start()
        return recording, self.start_proxy(**details)

    def check_log(self, proxy: Proxy) -> None:
        """
        Fail if anything went wrong inside the proxy that it did not expect.
        """
        said = proxy.running.said()
        for accident in ("Traceback", "Unhandled", "Exception ignored"):
            self.assertNotIn(accident, said)
