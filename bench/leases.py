"""
How soon the lookup knows of leases, and whether it ever forgets one that is there.

    .venv/bin/python -m bench.leases [--cycles N] [--real]

For each kind of store and number of leases: from just before the server begins to write
to the entry in the book (for an end: to its withdrawal), in milliseconds, median and
longest; for how long the reactor did nothing else, on the clock and on the CPU,
the start included; and how many leases were forgotten that were in force.  A cycle
is a lease given, something that the server does now and then (a renewal, a restart, a
cleaning up, another network), and the lease ended.  The writers are ours
(C{bench/lease_writers.py}), in a process of their own; C{--real} adds the real dnsmasq
with a real client, as root.  As in the service what was there at the start is out of
the garbage collector's sight.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from attrs import define, field
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from bench.lease_writers import WRITERS, address_of
from bench.pulse import Pulse
from mdproxy.interfaces import SourceState
from mdproxy.lookup.books import LeaseBook
from mdproxy.lookup.epoch import Epoch
from mdproxy.lookup.kinds import Naming
from mdproxy.lookup.watchers import LeaseWatcher
from tests.lab.dhcp import DEVICE, Segment
from tests.lab.test_leases import DNSMASQ

reactor: Any = _reactor

#: A lease that is given and ended in each cycle; it is none of those at the beginning.
_NEW: Final = 70_000
_SIZES: Final = (10, 10_000)
#: How long a store is left alone before each change, so that each begins at rest.
_REST: Final = 1.3


class _Book(LeaseBook):
    """
    A book that knows when something was entered or withdrawn.

    @ivar learnt: When each address was, last.
    @ivar forgotten: When each address was.
    @ivar false: How many were that should not have been.
    @ivar ending: The addresses that may be.
    """

    def __init__(self) -> None:
        """
        Begin with nothing.
        """
        super().__init__()
        self.learnt: dict[str, float] = {}
        self.forgotten: dict[str, float] = {}
        self.false = 0
        self.ending: set[str] = set()

    def learn(self, source: str, lease: Any) -> None:
        """
        Take what a source says.
        """
        super().learn(source, lease)
        self.learnt[lease.address] = time.monotonic()

    def forget(self, source: str, network: str, address: str) -> None:
        """
        Take back what a source said.
        """
        super().forget(source, network, address)
        self.forgotten[address] = time.monotonic()
        if address not in self.ending:
            self.false += 1


class _Writing(ProcessProtocol):
    """
    The process that writes.
    """

    def __init__(self) -> None:
        """
        Have nothing from it.
        """
        self._rest = b""
        self._waiting: Deferred[bytes] | None = None

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        """
        Take an answer.
        """
        self._rest += data
        if self._rest.endswith(b"\n") and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            line, self._rest = self._rest, b""
            waiting.callback(line)

    def processEnded(self, reason: Failure) -> None:
        """
        Whoever waits for an answer will not get one.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(reason)

    def answer(self) -> Deferred[bytes]:
        """
        Wait for the next answer.
        """
        self._waiting = Deferred()
        return self._waiting

    def end(self) -> None:
        """
        Have it end.
        """
        transport: Any = self.transport
        transport.loseConnection()

    async def do(self, what: str, number: int) -> float:
        """
        Have something written.

        @return: When that began.
        """
        transport: Any = self.transport
        transport.write(f"{what} {number}\n".encode())
        return float(await self.answer())


@define
class _Result:
    """
    The figures of one case.
    """

    given: list[float] = field(factory=list)
    ended: list[float] = field(factory=list)

    def row(self, name: str, size: int, pulse: Pulse, book: _Book) -> str:
        """
        Write a line of the table.
        """
        times = [
            f"{function(values) * 1000:.1f}"
            for values in (self.given, self.ended)
            for function in (median, max)
        ]
        held = f"{pulse.longest * 1000:.1f} | {pulse.cpu * 1000:.1f}"
        return f"| {name} | {size} | {' | '.join(times)} | {held} | {book.false} |"


async def _until(probe: Callable[[], Any]) -> None:
    """
    Wait until something is so.
    """
    deadline = time.monotonic() + 30
    while not probe():
        if time.monotonic() > deadline:
            raise TimeoutError
        await deferLater(reactor, 0.001)


def _watcher(kind: str, path: Path, book: LeaseBook) -> LeaseWatcher:
    """
    Make a watcher of a kind's store.
    """
    naming = Naming("red")
    if kind == "neutron":
        kind, path, naming = "dnsmasq", path.parent / "dhcp" / "*" / "leases", Naming()
    epoch = Epoch(time.time, time.monotonic)
    return LeaseWatcher(reactor, reactor, book, kind, kind, str(path), naming, epoch)


async def _start(kind: str, directory: Path, size: int) -> _Writing:
    """
    Start a process that writes, or watches.
    """
    writing = _Writing()
    command = (sys.executable, "-m", "bench.lease_writers", kind, str(directory))
    reactor.spawnProcess(writing, sys.executable, [*command, str(size)], env=None)
    await writing.answer()
    return writing


async def _measure(kind: str, size: int, cycles: int) -> str:
    """
    Measure one kind with so many leases.

    @return: A line of the table.
    """
    with tempfile.TemporaryDirectory() as directory:
        writing = await _start(kind, Path(directory), size)
        book, pulse, result = _Book(), Pulse(), _Result()
        watcher = _watcher(kind, Path(directory) / "br0.status", book)
        pulse.start()
        watcher.startService()
        await _until(lambda: watcher.state is SourceState.LIVE)
        address = address_of(_NEW)
        book.ending.add(address)
        for cycle in range(cycles):
            await deferLater(reactor, _REST)
            began = await writing.do("add", _NEW)
            await _until(lambda: book.learnt.get(address, 0) > began)  # noqa: B023
            result.given.append(book.learnt[address] - began)
            await writing.do("turn", cycle)
            await deferLater(reactor, _REST)
            began = await writing.do("remove", _NEW)
            await _until(lambda: book.forgotten.get(address, 0) > began)  # noqa: B023
            result.ended.append(book.forgotten[address] - began)
        watcher.stopService()
        pulse.stop()
        writing.end()
        return result.row(kind, size, pulse, book)


async def _measure_real(size: int, cycles: int) -> str:
    """
    Measure with the real dnsmasq and a real client; another process says when dnsmasq
    began to write.

    @return: A line of the table.
    """
    with Segment() as segment:
        leases = segment.directory / "leases" / "dnsmasq"
        leases.parent.mkdir()
        lines = (
            f"{4_000_000_000} fa:16:3e:{n >> 8:02x}:{n & 255:02x}:00 10.77.{n >> 8}."
            f"{n & 255} host-{n} *\n"
            for n in range(256, 256 + size)
        )
        leases.write_text("".join(lines))
        segment.hypervisor.ip("addr", "add", "10.77.0.1/16", "dev", DEVICE)
        segment.plug(1)
        command = [word for word in DNSMASQ if "dhcp-range" not in word]
        segment.start(
            segment.hypervisor,
            "server",
            *command,
            "--dhcp-range=10.77.0.100,10.77.0.250,255.255.0.0,1h",
            "--dhcp-lease-max=20000",
            f"--dhcp-leasefile={leases}",
        )
        watch = await _start("watch", leases.parent, 0)
        book, pulse, result = _Book(), Pulse(), _Result()
        watcher = _watcher("dnsmasq", leases, book)
        pulse.start()
        watcher.startService()
        await _until(lambda: watcher.state is SourceState.LIVE)
        for _ in range(cycles):
            await _real_cycle(segment, watch, book, result)
        watcher.stopService()
        pulse.stop()
        watch.end()
        return result.row("dnsmasq, the real one", size, pulse, book)


async def _real_cycle(
    segment: Segment, watch: _Writing, book: _Book, result: _Result
) -> None:
    """
    Have a client get a lease and give it back.
    """
    await deferLater(reactor, _REST)
    await watch.do("turn", 0)
    book.learnt.clear()
    client = segment.ask(1)
    await _until(lambda: any(map(_is_new, book.learnt)))
    address = next(filter(_is_new, book.learnt))
    result.given.append(book.learnt[address] - await _began(watch))
    await _until(lambda: "obtained" in client.said())
    await deferLater(reactor, _REST)
    await watch.do("turn", 0)
    book.ending.add(address)
    book.forgotten.clear()
    client.process.terminate()
    await _until(lambda: address in book.forgotten)
    result.ended.append(book.forgotten[address] - await _began(watch))
    client.process.wait()


async def _began(watch: _Writing) -> float:
    """
    Ask when something was written; we may have been told before the other process was,
    so that the difference is less than nothing.
    """
    while not (began := await watch.do("add", 0)):
        await deferLater(reactor, 0.001)
    return began


def _is_new(address: str) -> bool:
    """
    Tell the client's address from those that were there from the beginning.
    """
    return address.startswith("10.77.0.")


async def _measure_all(cycles: int, kinds: list[str], with_real: bool) -> None:
    """
    Print the table.
    """
    print(
        "| store | leases | given: median ms | longest | ended: median ms | longest |"
        " reactor held up: ms | of CPU | forgotten in error |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for kind in kinds:
        for size in _SIZES:
            _settle()
            print(await _measure(kind, size, cycles), flush=True)
    for size in _SIZES if with_real else ():
        _settle()
        print(await _measure_real(size, cycles), flush=True)


def _settle() -> None:
    """
    Have what the last case left taken away, and what is there kept out of the garbage
    collector's sight, as the service has it.
    """
    gc.collect()
    gc.freeze()


def main() -> None:
    """
    Measure everything.
    """
    parser = ArgumentParser("bench.leases")
    kinds = [kind for kind in WRITERS if kind != "watch"]
    parser.add_argument("kinds", nargs="*", help=f"some of {', '.join(kinds)}")
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--real", action="store_true", help="the real dnsmasq, too")
    told = parser.parse_args()

    def begin() -> None:
        measuring = _measure_all(told.cycles, told.kinds or kinds, told.real)
        done: Deferred[None] = ensureDeferred(measuring)
        done.addErrback(lambda failure: print(failure.getTraceback()))
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main()
