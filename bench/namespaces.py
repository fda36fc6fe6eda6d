"""
What a thousand networks cost: C{bench/namespaces}.

The proxy on a host with many of Neutron's namespaces, by memory and by the time until
all of them are listened in, with both ways to open sockets; and a few of the haproxies
that Neutron runs for the same, one for each network.  Needs root.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.machine import describe
from tests.lab.neutron_host import (
    NeutronHost,
    ask_all,
    haproxy_config,
    require_neutron,
)
from tests.lab.proxy import Proxy
from tests.lab.stage import LabError, Namespace, Running, wait_for

#: How the sockets are opened, and the options of C{twistd} that make it so.
WAYS: Mapping[str, tuple[str, ...]] = {
    "in place": (),
    "broker": ("--uid", "nobody", "--gid", "nogroup"),
}
#: The marks: seconds until all is open, and MB of RSS.
MOST_SECONDS, MOST_MEMORY = 2.0, 70.0
_LOOK = 0.005
#: So many descriptors, at most, are connections to Nova and of whoever asks how it is.
_OTHERS = 6


def memory(pid: int) -> tuple[float, float]:
    """
    Read what a process holds.

    @return: RSS and PSS in MB.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    held = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return held["Rss"] / 1024, held["Pss"] / 1024


def files(pid: int) -> int:
    """
    Count a process's descriptors.
    """
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return 0


def seconds_until(done: Callable[[], bool]) -> float:
    """
    Measure how long something takes, without disturbing it.
    """
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > 60:
            raise LabError("it takes more than a minute")
        time.sleep(_LOOK)
    return time.monotonic() - began


def children(pid: int) -> list[int]:
    """
    List the processes that a process started.
    """
    said = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in said.split()]


def start(host: NeutronHost, options: tuple[str, ...]) -> Proxy:
    """
    Start the proxy.
    """
    patterns = {"kind": "namespaces", "namespaces": host.patterns}
    known = host.machines.values()
    sections = {"listener:neutron": patterns}
    proxy = Proxy(host, known, sections, networks=(), twistd=options)
    proxy.start()
    return proxy


def measure(count: int, way: str) -> list[str]:
    """
    Measure one way to open sockets.

    @param count: How many namespaces there are.

    @return: What came of it, as rows of a table.
    """
    with NeutronHost() as host:
        vms = host.add_many(count)
        names = [f"qdhcp-{each.network}" for each in host.machines.values()]
        host.start_nova()
        # At rest first, then they come all at once by a new directory of names.
        proxy = start(host, WAYS[way])
        pid = proxy.running.process.pid
        wait_for("all namespaces", lambda: files(pid) >= 3 * count)
        time.sleep(1)
        full = files(pid)
        rss, pss = memory(pid)
        broker = [memory(child)[0] for child in children(pid)]
        began = time.monotonic()
        answers = ask_all(vms, host.machines)
        asked = time.monotonic() - began
        expected = [each.instance for each in host.machines.values()]
        wrong = sum(got != want for got, want in zip(answers, expected, strict=True))
        after, _pss = memory(pid)
        opened = restarted(host, proxy, WAYS[way], full)
        pid = proxy.running.process.pid
        time.sleep(1)
        wrong += sum(
            got != want
            for got, want in zip(ask_all(vms, host.machines), expected, strict=True)
        )
        unseen, _pss = memory(pid)
        # With the connections to Nova.
        full = files(pid)
        host.remove(Namespace(names[0]))
        closed = 1e3 * seconds_until(lambda: files(pid) <= full - 3)
    return [
        f"| {way} | {opened:.2f} s | {rss:.1f} MB | {pss:.1f} MB | {after:.1f} MB |"
        f" {unseen:.1f} MB |"
        f" {sum(broker):.1f} MB | {asked:.2f} s, {wrong} wrong | {closed:.0f} ms |"
        f" {'met' if opened < MOST_SECONDS and unseen <= MOST_MEMORY else 'MISSED'} |"
    ]


def restarted(
    host: NeutronHost, proxy: Proxy, options: tuple[str, ...], full: int
) -> float:
    """
    Measure how long it takes from the first descriptor in a namespace to the last.

    @param full: How many descriptors it has then.
    """
    proxy.stop()
    proxy.running = launch(host, proxy, options)
    pid = proxy.running.process.pid
    # Before the first namespace it has some twenty.
    seconds_until(lambda: files(pid) > 32)
    return seconds_until(lambda: files(pid) >= full - _OTHERS)


def launch(host: NeutronHost, proxy: Proxy, options: tuple[str, ...]) -> Running:
    """
    Start the proxy again, and do not wait for it.
    """
    twistd = str(Path(sys.executable).with_name("twistd"))
    arguments = ("-n", "--pidfile=", *options, "mdproxy")
    config = ("--config-file", str(proxy.config))
    return host.start(host.hypervisor, "again", twistd, *arguments, *config)


def at_rest() -> float:
    """
    Measure the proxy where there is no namespace.

    @return: RSS in MB.
    """
    with NeutronHost() as host:
        host.start_nova()
        proxy = start(host, WAYS["broker"])
        time.sleep(1)
        return memory(proxy.running.process.pid)[0]


def haproxies(count: int) -> tuple[float, float]:
    """
    Measure what Neutron runs for the same.

    @param count: How many.

    @return: PSS of each in MB, and the seconds that it took to start.
    """
    with NeutronHost() as host:
        host.add_many(count)
        running = []
        began = time.monotonic()
        for number, machine in enumerate(host.machines.values()):
            config = host.directory / f"haproxy-{number}.conf"
            config.write_text(haproxy_config(Path("/nowhere"), machine.network))
            namespace = Namespace(f"qdhcp-{machine.network}")
            command = ("haproxy", "-db", "-f", str(config))
            started = host.start(namespace, f"haproxy-{number}", *command)
            seconds_until(lambda: files(started.process.pid) >= 8)  # noqa: B023
            running.append(started)
        took = time.monotonic() - began
        time.sleep(1)
        held = [memory(each.process.pid)[1] for each in running]
        return sum(held) / count, took / count


def main() -> None:
    """
    Measure, and print it.
    """
    parser = ArgumentParser("bench/namespaces", description=__doc__)
    parser.add_argument("--namespaces", type=int, default=1000, metavar="N")
    parser.add_argument("--haproxies", type=int, default=50, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    arguments = parser.parse_args()
    require_neutron()
    for line in describe(None):
        print(f"- {line}")
    print(f"- at rest, without namespaces: {at_rest():.1f} MB RSS")
    print(f"\n{arguments.namespaces} namespaces, IPv4, IPv6 and netlink in each:\n")
    print(
        "| sockets | opened in | RSS | PSS | RSS, all asked | RSS, all asked, no "
        "operator has looked | broker's RSS | "
        "one question each | one removed, closed in | marks |"
    )
    print("| --- " * 10 + "|")
    for _ in range(arguments.rounds):
        for way in WAYS:
            for row in measure(arguments.namespaces, way):
                print(row, flush=True)
    each, took = haproxies(arguments.haproxies)
    print(
        f"\nhaproxy, one for each network, of {arguments.haproxies}: {each:.2f} MB PSS"
        f" and {1e3 * took:.0f} ms to start each"
    )


if __name__ == "__main__":
    main()
