"""
Run a row of the boot matrix on a host of Neutron's; L{tests.lab.matrix_run} calls it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from tests.lab.cloud import Nova
from tests.lab.cloudinit import CloudInit, build
from tests.lab.faults import Record
from tests.lab.judge import Boot
from tests.lab.machines import Machine
from tests.lab.neutron_cloud import NeutronCloud
from tests.lab.neutron_inventories import File, Inventory, Neutron, Ovn
from tests.lab.neutron_matrix import NeutronRow
from tests.lab.outcome import Outcome, began, conclude
from tests.lab.proxy import Proxy
from tests.lab.stage import wait_for

#: Nobody is another user on every Debian.
_NOBODY = ("--uid", "nobody", "--gid", "nogroup")

Crawl = dict[str, Any]


def run(row: NeutronRow, source: str) -> list[Outcome]:
    """
    Run a row for one data source, once with each of its seeds, each time on a host of
    its own.
    """
    outcomes = []
    for seed in row.seeds:
        with NeutronCloud() as cloud:
            outcomes.append(_Run(row, source, cloud).run(seed))
    return outcomes


@define
class _Run:
    """
    One run of a row.

    @ivar row: The row.
    @ivar source: The data source.
    @ivar cloud: The host.
    @ivar tool: The real cloud-init.
    @ivar proxy: The proxy.
    @ivar inventory: Who knows the ports.
    @ivar nova: Nova.
    """

    row: NeutronRow
    source: str
    cloud: NeutronCloud
    tool: CloudInit = field(factory=build)
    proxy: Proxy = field(init=False)
    inventory: Inventory = field(init=False)
    nova: Nova = field(init=False)

    def run(self, seed: int) -> Outcome:
        """
        Run it.
        """
        row, cloud = self.row, self.cloud
        first = cloud.add_vms(row.kind, row.vms)
        second = [cloud.add_successor(m) for m in first] if row.reuses else []
        self.nova = cloud.start_scripted_nova(row.novas[0], row.vms, seed)
        self._start_proxy(first)
        late = 0 if second else row.learnt
        crawled = self._boot(first, late)
        faults: list[str] = []
        changed = time.monotonic()
        if second:
            crawled += self._boot(second, row.learnt, first)
        faults += self._unlike_row(crawled)
        self.proxy.stop()
        record = self.nova.stop()
        faults += self._early(record, second or first, crawled)
        faults += self._of_the_dead(record, first if second else [], changed)
        numbers = {name: n for n, name in enumerate(cloud.machines, 1)}
        boots = [
            Boot(machine, numbers[machine.hostname], crawl)
            for machine, crawl in zip([*first, *second], crawled, strict=True)
        ]
        said = self.proxy.running.said()
        return conclude(row, self.source, boots, [record], said, faults)

    def _start_proxy(self, machines: Sequence[Machine]) -> None:
        """
        Start the proxy and whom it asks.
        """
        row, cloud = self.row, self.cloud
        listener = {"kind": "namespaces", "namespaces": cloud.patterns}
        if row.has_haproxies:
            listener = cloud.listener
        options = {"listener:neutron": listener}
        self.proxy = Proxy(cloud, (), options, networks=(), twistd=_NOBODY)
        self.inventory = self._make_inventory(machines)
        self.proxy.options = {**options, **self.inventory.options}
        self.inventory.start()
        self.proxy.start()
        if row.has_haproxies:
            cloud.start_haproxies()
        wait_for(f"readiness: {self.proxy.running.log}", self._is_ready)

    def _make_inventory(self, machines: Sequence[Machine]) -> Inventory:
        """
        Find who knows the ports.
        """
        if self.row.inventory == "neutron":
            return Neutron(self.cloud, self.cloud.router_ports)
        if self.row.inventory == "ovn":
            return Ovn(self.cloud, machines)
        return File(self.proxy)

    def _is_ready(self) -> bool:
        """
        Tell whether the proxy knows its inventory and listens on every link.
        """
        if self._described()["state"] != "live":
            return False
        if self.row.has_haproxies:
            return True
        [listener] = self.proxy.status()["listeners"]
        # By IPv4 and IPv6 on each link.
        links = self.row.vms if self.row.kind == "qrouter" else len(self.cloud.ends)
        return bool(listener["listening"] == 2 * links)

    def _described(self) -> Any:
        """
        Read what the proxy says of its inventory.
        """
        sources = self.proxy.status()["sources"]
        [described] = [s for s in sources if s.get("name") == self.row.inventory]
        return described

    def _boot(
        self, machines: Sequence[Machine], late: float, old: Sequence[Machine] = ()
    ) -> list[Crawl]:
        """
        Let VMs boot while things happen.

        @param late: After how many seconds their ports are learnt.
        @param old: VMs whose addresses they get.

        @return: What L{tests.lab.crawl} says of each VM.
        """
        booting = [(self.cloud.vms[each.hostname], each) for each in machines]
        crawls = self.tool.prepare(booting, self.source)
        if old:
            self.cloud.replace(old, machines)
        events: list[tuple[float, Callable[[], None]]] = []
        if late:
            events.append((late, lambda: self.inventory.tell(machines)))
        else:
            self.inventory.tell(machines)
        if self.row.restart:
            assert isinstance(self.inventory, Ovn)
            events.append((self.row.restart, self.inventory.restart))
        self.nova.boot()
        crawls.begin()
        began = time.monotonic()
        for at, happen in sorted(events, key=lambda event: event[0]):
            time.sleep(max(0, began + at - time.monotonic()))
            happen()
        return crawls.finish()

    def _unlike_row(self, crawled: Sequence[Crawl]) -> list[str]:
        """
        Find that what the row is about did not happen: then it proves nothing.
        """
        if not self.row.restart:
            return []
        wait_for("OVN's database", lambda: self._described()["connections"] > 1)
        if all(crawl["seconds"] > self.row.restart for crawl in crawled):
            return []
        return ["OVN's database was restarted when nobody booted any more"]

    def _early(
        self, record: Record, machines: Sequence[Machine], crawled: Sequence[Crawl]
    ) -> list[str]:
        """
        Find that Nova was asked for a VM before anybody could know its port.
        """
        learnt = began(crawled[-len(machines) :]) + self.row.learnt
        instances = {machine.instance for machine in machines}
        return [
            f"Nova was asked for {asked.instance} too early"
            for asked in record.asked
            if self.row.learnt and asked.instance in instances and asked.at < learnt
        ]

    @staticmethod
    def _of_the_dead(
        record: Record, old: Sequence[Machine], changed: float
    ) -> list[str]:
        """
        Find that Nova was asked for a VM that had been deleted.
        """
        instances = {machine.instance for machine in old}
        return [
            f"Nova was asked for {asked.instance}, which is no more"
            for asked in record.asked
            if asked.instance in instances and asked.at > changed
        ]
