"""
How soon the lookup knows what has changed in an inventory's files or in the kernel.

    .venv/bin/python -m bench.reaction

For each source and size: from just before the change to the entry in its book, in
milliseconds, median and longest; and the longest time that the reactor did nothing
else.  Leases have a bench of their own (C{bench/leases.py}).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define
from twisted.application.service import IService
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.task import deferLater

from bench.pulse import Pulse
from mdproxy.inventory.libvirt import LibvirtInventory
from mdproxy.inventory.static import StaticInventory
from mdproxy.lookup.books import PortBook
from tests.test_inventory_domains import domain_xml, interface_xml

reactor: Any = _reactor

#: How often each thing is changed, and how long it is left alone in between.
_ROUNDS = 20
_REST = 0.2


def _domain(number: int, address: str) -> str:
    """
    Write the file of a running domain as large as Nova's are.
    """
    mac = f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"
    ports = (
        f'<n:ports><n:port uuid="567a4527-b0e4-4d0a-bcc2-{number:012x}">'
        f'<n:ip type="fixed" address="{address}"/></n:port></n:ports>'
    )
    return domain_xml(interface_xml(mac), ports) + f"<!-- {'x' * 11000} -->"


@define
class _Case:
    """
    A source on files, and how to change them.

    @ivar source: The source.
    @ivar prepare: Writes a change beside the file; told its number.
    @ivar commit: Puts it in the file's place.
    """

    source: Any
    prepare: Callable[[int], object]
    commit: Callable[[], object]


def _libvirt(directory: Path, size: int, book: PortBook) -> _Case:
    """
    Make the files of running domains; one of them changes, as libvirt does it.
    """
    for number in range(size):
        (directory / f"i-{number}.xml").write_text(_domain(number, "10.0.0.1"))
    new = directory / "i-0.xml.new"
    path = str(directory)
    return _Case(
        LibvirtInventory(reactor, reactor, book, {"br-red": "red"}, path),
        lambda turn: new.write_text(_domain(0, f"10.0.1.{turn}")),
        lambda: os.rename(new, directory / "i-0.xml"),
    )


def _static(directory: Path, size: int, book: PortBook) -> _Case:
    """
    Make a list of ports; the first changes.
    """
    path, new = directory / "instances.yaml", directory / "new"

    def text(first: str) -> str:
        lines = ["ports:"]
        for number in range(size):
            mac = f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"
            address = first if number == 0 else f"10.1.{number >> 8}.{number & 255}"
            lines.append(
                f"- {{network: red, mac: '{mac}', addresses: ['{address}'], "
                f"instance: i-{number}, project: p}}"
            )
        return "\n".join(lines) + "\n"

    path.write_text(text("10.0.0.1"))
    return _Case(
        StaticInventory(reactor, reactor, book, str(path)),
        lambda turn: new.write_text(text(f"10.0.1.{turn}")),
        lambda: os.rename(new, path),
    )


_CASES: tuple[tuple[str, int, Callable[..., Any]], ...] = (
    ("libvirt", 10, _libvirt),
    ("libvirt", 200, _libvirt),
    ("static", 10, _static),
    ("static", 1000, _static),
)


async def _measure(name: str, size: int, make: Callable[..., _Case]) -> str:
    """
    Measure one case.

    @return: A line of the table.
    """
    with tempfile.TemporaryDirectory() as directory:
        book, pulse, heard = PortBook(), Pulse(), [0.0]
        case = make(Path(directory), size, book)
        IService(case.source).startService()
        book.observe(lambda _network: heard.__setitem__(0, time.monotonic()))
        await deferLater(reactor, _REST)
        took = []
        for turn in range(_ROUNDS):
            case.prepare(turn)
            await deferLater(reactor, _REST)
            pulse.start()
            since = time.monotonic()
            case.commit()
            while heard[0] < since:
                await deferLater(reactor, 0.0005)
            pulse.stop()
            took.append((heard[0] - since) * 1000)
        await maybeDeferred(case.source.stopService)
    blocked = pulse.longest * 1000
    return f"| {name} | {size} | {median(took):.1f} | {max(took):.1f} | {blocked:.1f} |"


async def _measure_all() -> None:
    """
    Print the table.
    """
    print("| source | size | median ms | longest ms | reactor held up, ms |")
    print("|---|---|---|---|---|")
    for case in _CASES:
        print(await _measure(*case), flush=True)


def main() -> None:
    """
    Measure everything.
    """

    def begin() -> None:
        done: Deferred[None] = ensureDeferred(_measure_all())
        done.addErrback(lambda failure: print(failure.getTraceback()))
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main()
