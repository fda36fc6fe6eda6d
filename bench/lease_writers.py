"""
DHCP servers' ways of writing their files, without the servers: C{bench/leases.py}
starts this.

    python -m bench.lease_writers KIND DIRECTORY SIZE

A command a line: C{add N}, C{remove N}, C{turn N} (whatever the server does with its
files from time to time; it changes no lease).  The answer is when it began, in
monotonic seconds.  KIND C{watch} writes nothing but says when somebody else began to:
C{turn 0} has it look, C{add 0} tells.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from select import select
from threading import Thread
from typing import Any, BinaryIO, Final

from twisted.internet.testing import MemoryReactorClock

from mdproxy.inotify import Notifier

#: dnsmasq's output buffer, and how long it takes to fill it and write it out: 10,000
#: leases took it 80 to 118 ms for 177 buffers, on a machine like those of the bench.
_BUFFER: Final = 4096
_FILLING: Final = 0.0005
#: Far from now.
_ENDS: Final = 4_000_000_000


class _Began:
    """
    When the last change began.
    """

    at = 0.0

    @classmethod
    def now(cls) -> None:
        """
        It begins.
        """
        cls.at = time.monotonic()


def mac_of(number: int) -> str:
    """
    Name a MAC address.
    """
    return f"fa:16:3e:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def address_of(number: int) -> str:
    """
    Name an address.
    """
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


class Dnsmasq:
    """
    Writes its file anew in place, all of it, newest first.
    """

    def __init__(self, path: Path, size: int) -> None:
        """
        Begin with some leases.
        """
        self._leases = dict.fromkeys(range(size), _ENDS)
        path.write_bytes(self._text())
        self._file = path.open("r+b", buffering=0)

    def _text(self) -> bytes:
        """
        Write all leases.
        """
        return "".join(
            f"{ends} {mac_of(n)} {address_of(n)} host-{n} 01:{mac_of(n)}\n"
            for n, ends in reversed(self._leases.items())
        ).encode()

    def _write(self) -> None:
        """
        Write the file as dnsmasq does.
        """
        text = self._text()
        _Began.now()
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        os.ftruncate(self._file.fileno(), 0)
        for start in range(0, len(text), _BUFFER):
            self._file.write(text[start : start + _BUFFER])
            until = time.monotonic() + _FILLING
            while len(text) > _BUFFER and time.monotonic() < until:
                pass
        os.fsync(self._file.fileno())

    def add(self, number: int) -> None:
        """
        Give a lease.
        """
        self._leases[number] = _ENDS
        self._write()

    def remove(self, number: int) -> None:
        """
        End a lease.
        """
        del self._leases[number]
        self._write()

    def turn(self, number: int) -> None:
        """
        Renew a lease.
        """
        self._leases[number % 7] = _ENDS + number
        self._write()


class Neutron:
    """
    A network's file among those of a thousand, which come and go.
    """

    def __init__(self, path: Path, size: int) -> None:
        """
        Begin with networks of ten leases each.
        """
        self._parent = path.parent / "dhcp"
        for number in range(size // 10):
            self._make(f"other-{number}")
        self._one = self._make("red")

    def _make(self, network: str) -> Dnsmasq:
        """
        Make a network.
        """
        (self._parent / network).mkdir(parents=True)
        return Dnsmasq(self._parent / network / "leases", 10)

    def add(self, number: int) -> None:
        """
        Give a lease.
        """
        self._one.add(number)

    def remove(self, number: int) -> None:
        """
        End a lease.
        """
        self._one.remove(number)

    def turn(self, number: int) -> None:
        """
        Make another network.
        """
        self._make(f"new-{number}")


class Grown:
    """
    Adds to its file.
    """

    _head = ""

    def __init__(self, path: Path, size: int) -> None:
        """
        Begin with some leases.
        """
        self._path = path
        self._leases = set(range(size))
        self._file = self._fresh(path)

    def _record(self, number: int, is_held: bool) -> str:
        """
        Write a record.
        """
        raise NotImplementedError

    def _fresh(self, path: Path) -> BinaryIO:
        """
        Write a file that has all leases.
        """
        new = path.with_name("new")
        records = (self._record(number, True) for number in self._leases)
        new.write_text(self._head + "".join(records))
        new.rename(path)
        return path.open("ab", buffering=0)

    def _append(self, text: str) -> None:
        """
        Add to the file.
        """
        _Began.now()
        self._file.write(text.encode())
        os.fsync(self._file.fileno())

    def add(self, number: int) -> None:
        """
        Give a lease.
        """
        self._leases.add(number)
        self._append(self._record(number, True))

    def remove(self, number: int) -> None:
        """
        End a lease.
        """
        self._leases.discard(number)
        self._append(self._record(number, False))


class Dhcpd(Grown):
    """
    Writes ISC dhcpd's file.
    """

    def _record(self, number: int, is_held: bool) -> str:
        """
        Write a lease.
        """
        return (
            f"lease {address_of(number)} {{\n  starts 6 2026/11/21 20:26:17;\n"
            "  ends 6 2096/11/21 20:26:47;\n  cltt 6 2026/11/21 20:26:17;\n"
            f"  binding state {'active' if is_held else 'free'};\n"
            "  next binding state free;\n  rewind binding state free;\n"
            f"  hardware ethernet {mac_of(number)};\n"
            f'  uid "\\001\\372\\026>w{number}";\n'
            f'  client-hostname "host-{number}";\n}}\n'
        )

    def turn(self, number: int) -> None:
        """
        Restart: a new file takes the old one's place.
        """
        self._file = self._fresh(self._path)


class Kea(Grown):
    """
    Writes Kea's files.
    """

    _head = (
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,"
        "hostname,state,user_context\n"
    )

    def _record(self, number: int, is_held: bool) -> str:
        """
        Write a row.
        """
        mac, lifetime = mac_of(number), 3600 if is_held else 0
        return (
            f"{address_of(number)},{mac},01:{mac},{lifetime},{_ENDS},42,0,0,"
            f"host-{number},0,\n"
        )

    def turn(self, number: int) -> None:
        """
        Clean up (LFC).
        """
        names = (".1", ".2", ".output", ".completed")
        one, two, output, done = (Path(f"{self._path}{suffix}") for suffix in names)
        self._path.rename(one)
        self._path.write_text(self._head)
        self._file = self._path.open("ab", buffering=0)
        records = (self._record(number, True) for number in self._leases)
        output.write_text(self._head + "".join(records))
        output.rename(done)
        two.unlink(missing_ok=True)
        done.rename(two)
        one.unlink()


class Libvirt:
    """
    Puts a new file in the old one's place.
    """

    def __init__(self, path: Path, size: int) -> None:
        """
        Begin with some leases.
        """
        self._path = path
        self._leases = set(range(size))
        self._write()

    def _write(self) -> None:
        """
        Write the file.
        """
        objects = (
            f'  {{\n    "ip-address": "{address_of(number)}",\n'
            f'    "mac-address": "{mac_of(number)}",\n'
            f'    "hostname": "host-{number}",\n'
            f'    "client-id": "01:{mac_of(number)}",\n'
            f'    "expiry-time": {_ENDS}\n  }}'
            for number in sorted(self._leases)
        )
        new = Path(f"{self._path}.new")
        text = "[\n" + ",\n".join(objects) + "\n]\n"
        _Began.now()
        new.write_text(text)
        new.rename(self._path)

    def add(self, number: int) -> None:
        """
        Give a lease.
        """
        self._leases.add(number)
        self._write()

    def remove(self, number: int) -> None:
        """
        End a lease.
        """
        self._leases.discard(number)
        self._write()

    def turn(self, number: int) -> None:
        """
        Write it again, as at a renewal.
        """
        self._write()


class Watch:
    """
    Looks at what another one writes.
    """

    def __init__(self, path: Path, size: int) -> None:
        """
        Watch a directory.
        """
        self._began = 0.0
        reactor = MemoryReactorClock()
        self._notifier = Notifier(reactor, self._happened, lambda: None)
        self._notifier.watch(str(path.parent))
        Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """
        Take what happens.
        """
        while True:
            select([self._notifier], [], [])
            self._notifier.doRead()

    def _happened(self, events: object) -> None:
        """
        Take note of the first event.
        """
        self._began = self._began or time.monotonic()

    def turn(self, number: int) -> float:
        """
        Begin to look.
        """
        self._began = 0.0
        return 0.0

    def add(self, number: int) -> float:
        """
        Tell when it began.
        """
        return self._began


#: The ways, by their names.
WRITERS: Final[dict[str, Callable[[Path, int], Any]]] = {
    "watch": Watch,
    "dnsmasq": Dnsmasq,
    "neutron": Neutron,
    "dhcpd": Dhcpd,
    "kea": Kea,
    "libvirt": Libvirt,
}


def main(kind: str, directory: str, size: str) -> None:
    """
    Do what is said.
    """
    writer = WRITERS[kind](Path(directory) / "br0.status", int(size))
    print("ready", flush=True)
    for line in sys.stdin:
        what, number = line.split()
        told = getattr(writer, what)(int(number))
        print(_Began.at if told is None else told, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
