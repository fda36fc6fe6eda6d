"""
Run rows of the boot matrix: the real cloud-init in many VMs, the proxy as C{twistd},
and Novas to which things happen.

C{python -m tests.lab.matrix_run [--vms N] [--source SOURCE] [--logs FOLDER] [ROW...]}
prints the table; without a row it runs all.  The exit status tells whether every crawl
ended complete.
"""

from __future__ import annotations

import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from attrs import define, evolve, field

from tests.lab import neutron_matrix_run
from tests.lab.cloud import Cloud, Nova, make_machines, nova_address
from tests.lab.cloudinit import CloudInit, build
from tests.lab.guest import Guest, Pending, Talk, request
from tests.lab.judge import HEAD, Boot, line, merge
from tests.lab.machines import Machine
from tests.lab.matrix import BAD, ROWS, SOURCES, Row
from tests.lab.neutron_matrix import NEUTRON_ROWS, NeutronRow
from tests.lab.nova import SECRET
from tests.lab.outcome import Outcome, conclude
from tests.lab.proxy import Proxy
from tests.lab.world import missing

#: When one more VM posts something, in seconds from the moment the others boot.
_POSTS = (0.0, 0.3, 0.6, 1.0, 1.5, 2.1, 2.8, 3.6)
_PASSWORD = "/openstack/latest/password"
#: What the second Nova shares with the proxy after a reload.
OTHER_SECRET = "the second Nova's own"
ALL_ROWS = (*ROWS, *NEUTRON_ROWS)


@define
class Matrix:
    """
    A cloud in which rows are run, one after the other.

    @ivar cloud: The cloud.  Its last VM boots nothing: it posts.
    @ivar tool: The real cloud-init.
    @ivar _row: How many rows were run.
    """

    cloud: Cloud
    tool: CloudInit = field(factory=build)
    _row: int = field(default=0, init=False)

    def run(self, row: Row, source: str) -> list[Outcome]:
        """
        Run a row for one data source, once with each of its seeds.
        """
        return [self._run(row, source, seed) for seed in row.seeds]

    def _run(self, row: Row, source: str, seed: int) -> Outcome:
        """
        Run a row once.
        """
        self._row += 1
        secrets = (SECRET, OTHER_SECRET if row.reload else SECRET)
        novas = [
            self.cloud.start_nova(
                number,
                phases,
                row.vms,
                seed,
                secrets[number],
            )
            for number, phases in enumerate(row.novas)
        ]
        proxy = self._start_proxy(row)
        machines = self.cloud.machines[: row.vms]
        try:
            crawled = self._boot(row, source, proxy, novas, machines)
        finally:
            proxy.stop()
            records = [nova.stop() for nova in novas]
        boots = [
            Boot(machine, number, crawl)
            for number, (machine, crawl) in enumerate(
                zip(machines, crawled, strict=True), 1
            )
        ]
        return conclude(row, source, boots, records, proxy.running.said())

    def _start_proxy(self, row: Row) -> Proxy:
        """
        Start a proxy that knows the row's Novas and, perhaps, the VMs.
        """
        known_novas = 1 if row.reload else len(row.novas)
        hosts = ", ".join(nova_address(number) for number in range(known_novas))
        (self.cloud.directory / "mdproxy.log").unlink(missing_ok=True)
        known = () if row.learnt else self.cloud.machines
        options = {"DEFAULT": {"nova_metadata_host": hosts}}
        proxy = Proxy(self.cloud, known, options)
        proxy.start()
        return proxy

    def _boot(
        self,
        row: Row,
        source: str,
        proxy: Proxy,
        novas: Sequence[Nova],
        machines: Sequence[Machine],
    ) -> list[dict[str, object]]:
        """
        Let the VMs boot while things happen.

        @return: What L{tests.lab.crawl} says of each VM.
        """
        booting = [(self.cloud.vms[each.hostname], each) for each in machines]
        crawls = self.tool.prepare(booting, source)
        for nova in novas:
            nova.boot()
        crawls.begin()
        began = time.monotonic()
        posts = self._post()
        if row.learnt:
            time.sleep(began + row.learnt - time.monotonic())
            proxy.know(self.cloud.machines)
        if row.reload:
            time.sleep(began + row.at - time.monotonic())
            self._reload(row, proxy)
        crawled = crawls.finish()
        posts.answers()
        return crawled

    @staticmethod
    def _reload(row: Row, proxy: Proxy) -> None:
        """
        Have the proxy read another configuration.
        """
        defaults = {"nova_metadata_host": nova_address(1)}
        if row.reload == BAD:
            defaults["drain_timeout"] = "for ever"
        proxy.options = {"DEFAULT": defaults}
        proxy.configure(OTHER_SECRET)
        proxy.signal(signal.SIGHUP)

    def _post(self) -> Pending:
        """
        Have the last VM post, each time something else.
        """
        talks = []
        for number, pause in enumerate(_POSTS):
            body = f"{self._row}.{number}".encode()
            length = f"Content-Length: {len(body)}"
            post = request(_PASSWORD, length, method="POST", body=body)
            talks.append(Talk(((pause, post),)))
        poster = self.cloud.machines[-1]
        guest = Guest(self.cloud.vms[poster.hostname])
        return guest.begin(*talks, parallel=len(talks))


def _arguments(argv: Sequence[str]) -> Namespace:
    """
    Read the command line.
    """
    parser = ArgumentParser("python -m tests.lab.matrix_run", description=__doc__)
    parser.add_argument("--vms", type=int, help="boot at most so many VMs")
    parser.add_argument("--source", choices=SOURCES, help="only this data source")
    parser.add_argument("--logs", type=Path, help="where to keep the logs")
    names = [row.name for row in ALL_ROWS]
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(names))
    arguments = parser.parse_args(argv)
    unknown = set(arguments.rows).difference(names)
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    return arguments


def _run_all(rows: Sequence[Row], sources: Sequence[str]) -> Iterator[list[Outcome]]:
    """
    Run rows for each data source, the rows of a cloud all in the same one.
    """
    plain = [row for row in rows if not isinstance(row, NeutronRow)]
    if plain:
        with Cloud(make_machines(max(row.vms for row in plain) + 1)) as cloud:
            matrix = Matrix(cloud)
            for row, source in product(plain, sources):
                yield matrix.run(row, source)
    others = [row for row in rows if isinstance(row, NeutronRow)]
    for other, source in product(others, sources):
        yield neutron_matrix_run.run(other, source)


def main(argv: Sequence[str]) -> int:
    """
    Run rows and print the table.

    @return: The exit status.
    """
    arguments = _arguments(argv)
    reasons = missing()
    if reasons:
        print(*reasons, sep="\n", file=sys.stderr)
        return 1
    rows = [row for row in ALL_ROWS if not arguments.rows or row.name in arguments.rows]
    if arguments.vms:
        rows = [evolve(row, vms=min(row.vms, arguments.vms)) for row in rows]
    sources = [arguments.source] if arguments.source else SOURCES
    # So that the cloud is taken down then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    faults = 0
    print(HEAD, flush=True)
    for outcomes in _run_all(rows, sources):
        verdict = merge([outcome.verdict for outcome in outcomes])
        print(line(verdict), flush=True)
        name = f"{verdict.row.name}, {verdict.source}"
        for fault in verdict.faults:
            print(f"{name}: {fault}", file=sys.stderr, flush=True)
        faults += len(verdict.faults)
        for seed, outcome in zip(verdict.row.seeds, outcomes, strict=True):
            if arguments.logs:
                outcome.keep(seed, arguments.logs)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
