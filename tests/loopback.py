"""
The real proxy as a process on loopback, instances with addresses of their own there,
and a stand-in for Nova that does as the target says.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import yaml
from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.corpus.test_corpus import free_port, write_ini
from tests.guests import Guest, identity_in
from tests.secrecy import SECRET

#: Nobody waits longer than this for anything.
PATIENCE = 60.0
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: What the kernel keeps for Nova's stand-in of what nobody reads.
_SMALL = 65536

#: Sections of the configuration with their options.
Sections = Mapping[str, Mapping[str, object]]


def guest_at(number: int) -> Guest:
    """
    Make an instance whose address is 127.0.x.y.
    """
    return Guest(number, "loopback", "127.0")


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    """
    Look again and again.

    @raise AssertionError: If it doesn't come true.
    """
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come true that {what}")
        time.sleep(0.02)


def wait_until_still(what: Callable[[], object]) -> None:
    """
    Look again and again until what is seen doesn't change any more.
    """
    seen: list[object] = [object()]

    def is_still() -> bool:
        before = seen[0]
        time.sleep(0.3)
        seen[0] = what()
        return seen[0] == before

    wait_until("it was still", is_still)


def content(name: str, size: int) -> bytes:
    """
    Make a body that shows whose it is at every place.
    """
    piece = f"{name};".encode()
    return (piece * (size // len(piece) + 1))[:size]


class _Conversation(BaseRequestHandler):
    """
    One connection of the proxy.
    """

    server: ScriptedNova
    request: socket.socket

    def handle(self) -> None:
        """
        Answer until the proxy leaves.
        """
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    data += self._more()
                head, _, data = data.partition(b"\r\n\r\n")
                length = _LENGTH.search(head)
                size = int(length[1]) if length else 0
                while len(data) < size:
                    data += self._more()
                data = data[size:]
                self._answer(head)
        except OSError:
            pass

    def _more(self) -> bytes:
        """
        Read more.
        """
        data = self.request.recv(65536)
        if not data:
            raise ConnectionResetError
        return data

    def _answer(self, head: bytes) -> None:
        """
        Note a request, and do as its target says: C{/latest/NAME/WHAT/SIZE}.
        """
        target = head.split(b" ", 2)[1].decode("latin-1")
        self.server.asked.append((target, identity_in(head)))
        _, _, name, what, *rest = target.split("/")
        if what == "held":
            # Only the proxy's leaving makes it readable.
            select.select([self.request], [], [], PATIENCE)
            self.server.broken[target] += 1
            raise ConnectionResetError
        size = int(rest[0]) if what == "big" else len(name) + 1
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        body = content(name, size)
        for at in range(0, size, 16384):
            try:
                self.request.sendall(body[at : at + 16384])
            except OSError:
                self.server.broken[target] += 1
                raise
            self.server.sent[target] += len(body[at : at + 16384])


class ScriptedNova(ThreadingTCPServer):
    """
    Nova's stand-in.

    @ivar asked: Each request's target, and who it says that asks; in order.
    @ivar sent: How many bytes of bodies it could send, by target.
    @ivar broken: How many answers the proxy has given up, by target.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self) -> None:
        """
        Listen on loopback.
        """
        self.asked: list[tuple[str, list[tuple[str, str]]]] = []
        self.sent: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL)
        # Both are inherited by what is accepted.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@define
class Process:
    """
    C{twistd mdproxy}.

    @ivar port: Where instances ask.
    @ivar _pages: Where the operator asks.
    @ivar _process: The process.
    @ivar _log: Where it writes.
    """

    port: int
    _pages: int
    _process: subprocess.Popen[bytes]
    _log: Path

    @property
    def fds(self) -> int:
        """
        Count its descriptors.
        """
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def used_fds(self) -> int:
        """
        Count them but for the connections to Nova that wait for use.
        """
        endpoints = self.status()["upstream"]["endpoints"]
        spare = sum(int(one["idle"]) + int(one["connecting"]) for one in endpoints)
        return self.fds - spare

    @property
    def resident(self) -> int:
        """
        Tell how much memory of its own it has, in bytes.
        """
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def page(self, target: str) -> bytes:
        """
        Read what it tells its operator.
        """
        question = f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self._pages), PATIENCE) as page:
            page.sendall(question.encode())
            heard = b""
            while piece := page.recv(65536):
                heard += piece
        return heard.partition(b"\r\n\r\n")[2]

    def status(self) -> Any:
        """
        Read how it is.
        """
        return json.loads(self.page("/api/v1/status"))

    def said(self) -> str:
        """
        Read its log.
        """
        return self._log.read_text("utf-8", "replace")

    def is_up(self) -> bool:
        """
        Look whether it listens.
        """
        if self._process.poll() is not None:
            raise AssertionError(f"it ended: {self.said()}")
        try:
            return bool(self.status()["listeners"][0]["listening"])
        except OSError:
            return False

    def stop(self) -> int:
        """
        Ask it to end.

        @return: Its exit status.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def start(
    directory: Path, nova: int, guests: Iterable[Guest], sections: Sections
) -> Process:
    """
    Start the proxy, and wait until it listens.

    @param directory: For its files.
    @param nova: Nova's port.
    @param guests: The instances that it knows.
    @param sections: Its configuration beyond what it takes to run.
    """
    ports = [
        {
            "network": guest.network,
            "mac": guest.mac,
            "addresses": [guest.address],
            "instance": guest.name,
            "project": f"p-{guest.network}",
        }
        for guest in guests
    ]
    (directory / "instances.yaml").write_text(yaml.safe_dump({"ports": ports}))
    port, pages = free_port(), free_port()
    needed: dict[str, Mapping[str, object]] = {
        "DEFAULT": {
            "nova_metadata_port": nova,
            "metadata_proxy_shared_secret": SECRET.decode(),
            # What Nova's stand-in never answers is not waited for at the end.
            "drain_timeout": 1,
        },
        "static": {"path": (directory / "instances.yaml").resolve()},
        "introspection": {"endpoint": f"tcp:{pages}:interface=127.0.0.1"},
        # Nova is asked by nobody but instances.
        "upstream": {"check_interval": 0},
        "listener:loopback": {
            "kind": "address",
            "address": "127.0.0.1",
            "port": port,
            "identify_by": "address",
        },
    }
    write_ini(directory / "mdproxy.conf", {**needed, **sections})
    log = directory / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("twistd"),
                *("--nodaemon", "--pidfile=", "mdproxy"),
                *("--config-file", "mdproxy.conf"),
            ],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    running = Process(port, pages, process, log)
    wait_until("it listens", running.is_up)
    return running


@define
class Client:
    """
    A connection of an instance.

    @ivar guest: Whose it is.
    @ivar socket: Its socket.
    """

    guest: Guest
    socket: socket.socket = field()
    _data: bytes = field(default=b"", init=False)

    def send(self, data: bytes) -> None:
        """
        Send.
        """
        self.socket.sendall(data)

    def read(self) -> tuple[int, bytes, bytes]:
        """
        Read one answer that tells its length.

        @return: Status, head and body.
        """
        while b"\r\n\r\n" not in self._data:
            self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None, head
        while len(self._data) < int(length[1]):
            self._more()
        size = int(length[1])
        body, self._data = self._data[:size], self._data[size:]
        return int(head[9:12]), head, body

    def read_to_break(self) -> int:
        """
        Read until the connection breaks.

        @return: How much there was.

        @raise AssertionError: If it ends as if all were well.
        """
        size = 0
        with suppress(ConnectionResetError):
            while piece := self.socket.recv(1 << 18):
                size += len(piece)
            raise AssertionError("it ended without an error")
        return size

    def is_broken(self) -> bool:
        """
        Look whether the proxy has broken the connection, without reading.
        """
        poll = select.poll()
        poll.register(self.socket, 0)
        return bool(poll.poll(0))

    def reset(self) -> None:
        """
        Break the connection.
        """
        linger = (1).to_bytes(4, sys.byteorder) + (0).to_bytes(4, sys.byteorder)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def _more(self) -> None:
        """
        Read more.
        """
        data = self.socket.recv(1 << 18)
        assert data, f"the connection ended behind {self._data[:200]!r}"
        self._data += data


class LoopbackTestCase(SynchronousTestCase):
    """
    A test with a real proxy: whatever happened, Nova was told of every request whose
    it is, and the proxy's log shows no accident and nothing secret.

    @ivar nova: Nova.
    @ivar proxy: The proxy.
    """

    def start(self, guests: Iterable[Guest], **limits: object) -> None:
        """
        Start Nova and the proxy.

        @param guests: The instances there are.
        @param limits: Options of section C{limits}.
        """
        self.guests = {guest.name: guest for guest in guests}
        self.nova = ScriptedNova()
        self.addCleanup(self.nova.server_close)
        threading.Thread(target=self.nova.serve_forever, daemon=True).start()
        self.addCleanup(self.nova.shutdown)
        directory = Path(self.mktemp())
        directory.mkdir()
        nova: int = self.nova.server_address[1]
        self.proxy = start(directory, nova, self.guests.values(), {"limits": limits})
        self.addCleanup(self.check_proxy)

    def check_proxy(self) -> None:
        """
        See that all was well.
        """
        status = self.proxy.stop()
        said = self.proxy.said()
        for target, identity in self.nova.asked:
            owner = self.guests[target.split("/")[2]]
            self.assertEqual(identity, owner.identity(), target)
        self.assertEqual(status, 0, said)
        signatures = [
            dict(guest.identity())["x-instance-id-signature"]
            for guest in self.guests.values()
        ]
        for accident in ("Traceback", "Unhandled", SECRET.decode(), *signatures):
            self.assertNotIn(accident, said)

    def connect(self, guest: Guest, buffer: int | None = None) -> Client:
        """
        Let an instance connect.

        @param buffer: How many bytes the kernel takes for it that it doesn't read.
        """
        client = socket.socket()
        self.addCleanup(client.close)
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(PATIENCE)
        client.bind((guest.address, 0))
        client.connect(("127.0.0.1", self.proxy.port))
        return Client(guest, client)

    def sing(self, canary: Guest) -> None:
        """
        Let an instance ask that has nothing to do with it all: it gets its own answer.
        """
        client = self.connect(canary)
        client.send(canary.get())
        status, _head, body = client.read()
        self.assertEqual((status, body), (200, content(canary.name, len(body))))
        client.socket.close()

    def wait_until_left(self) -> None:
        """
        Wait until the proxy has let go of every connection and request of instances.
        """

        def is_left() -> bool:
            status = self.proxy.status()
            described = dict(status["proxy"])
            del described["counts"]
            return (
                status["front"]["connections"] == 0
                and not any(described.values())
                and not any(one["busy"] for one in status["upstream"]["endpoints"])
            )

        wait_until("the proxy has let go of everybody", is_left)
