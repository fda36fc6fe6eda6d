"""
C{twistd mdproxy} on loopback, between instances and a Nova made of threads.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from attrs import define, evolve, field, frozen

from tests.corpus.test_corpus import Proxy, free_port, write_ini
from tests.relaying import Heard, read_response

SECRET = b"s3cret"

#: How long anybody waits for anything before a test fails.
_PATIENCE = 60.0

_LENGTH = re.compile(rb"content-length: ([0-9]+)\r\n", re.IGNORECASE)


@frozen
class Local:
    """
    An instance that asks from an address of loopback.

    @ivar number: The address's last part.
    """

    number: int

    @property
    def address(self) -> str:
        """
        Where it asks from.
        """
        return f"127.0.0.{self.number}"

    @property
    def name(self) -> str:
        """
        Its id.
        """
        return f"i-{self.number}"

    @property
    def known(self) -> dict[str, object]:
        """
        How the inventory knows it.
        """
        return {
            "network": "loopback",
            "mac": f"02:00:00:00:00:{self.number:02x}",
            "addresses": [self.address],
            "instance": self.name,
            "project": f"p-{self.number}",
        }

    def signs(self) -> set[tuple[str, str]]:
        """
        Write the fields by which Nova has to know it, and no others like them.
        """
        name = self.name.encode()
        return {
            ("x-forwarded-for", self.address),
            ("x-instance-id", self.name),
            (
                "x-instance-id-signature",
                hmac.new(SECRET, name, hashlib.sha256).hexdigest(),
            ),
            ("x-tenant-id", f"p-{self.number}"),
        }


VICTIM, CANARY = Local(1), Local(2)


@frozen
class Question:
    """
    A request as it came to Nova.

    @ivar line: The connection.
    @ivar number: Which connection that is, in the order in which they came.
    @ivar instance: Who asks.
    @ivar method: The method.
    @ivar target: The target.
    """

    line: socket.socket
    number: int
    instance: str
    method: bytes
    target: bytes

    @property
    def truth(self) -> bytes:
        """
        What Nova would say to this instance, and to no other.
        """
        return b"data of %b at %b" % (self.instance.encode(), self.target)

    def end(self) -> None:
        """
        Close the connection, at once, though somebody else reads from it.
        """
        self.line.shutdown(socket.SHUT_RDWR)

    def answer(self) -> bool:
        """
        Answer as an honest Nova does.

        @return: Whether the connection is kept.
        """
        body = self.truth if self.method != b"HEAD" else b""
        self.line.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.truth), body)
        )
        return True


@define(eq=False)
class ThreadedNova:
    """
    A Nova on loopback with a thread for each connection.

    @ivar does: Answers a question, and tells whether the connection is kept.
    @ivar questions: All that were asked.
    @ivar faults: What was wrong with them.
    """

    does: Callable[[Question], bool] = Question.answer
    questions: list[Question] = field(factory=list)
    faults: list[str] = field(factory=list)
    _listening: socket.socket = field(
        factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=100)
    )
    _lines: list[socket.socket] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        """
        Take connections.
        """
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """
        Where it listens.
        """
        port: int = self._listening.getsockname()[1]
        return port

    def stop(self) -> None:
        """
        Take no more, and break what there is.
        """
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for each in (self._listening, *self._lines):
            each.close()

    def _accept(self) -> None:
        """
        Serve every connection in a thread of its own.
        """
        with suppress(OSError):
            while True:
                line, _peer = self._listening.accept()
                line.settimeout(_PATIENCE)
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._lines.append(line)
                threading.Thread(
                    target=self._serve, args=(line, len(self._lines)), daemon=True
                ).start()

    def _serve(self, line: socket.socket, number: int) -> None:
        """
        Answer what is asked on one connection.
        """
        came = b""
        with suppress(OSError):
            while piece := line.recv(65536):
                came += piece
                head, end, rest = came.partition(b"\r\n\r\n")
                length = _LENGTH.search(head + b"\r\n")
                if not end or len(rest) < (int(length[1]) if length else 0):
                    continue
                came = b""
                if not self.does(self._judge(head, line, number)):
                    break
        line.close()

    def _judge(self, head: bytes, line: socket.socket, number: int) -> Question:
        """
        Note a question, and what is wrong with who asks.
        """
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = [
            (name.lower(), value)
            for name, _, value in (each.partition(": ") for each in lines)
        ]
        (sender,) = (value for name, value in fields if name == "user-agent")
        (instance,) = (each for each in (VICTIM, CANARY) if each.name == sender)
        (name,) = (each for each in fields if each[0] == "x-openstack-request-id")
        fields.remove(name)
        signs = [each for each in fields if each[0].startswith("x-")]
        if len(signs) != 4 or set(signs) != instance.signs():
            self.faults.append(f"{sender} signed as {signs}")
        method, target, _version = first.encode().split(b" ")
        question = Question(line, number, sender, method, target)
        self.questions.append(question)
        return question


@frozen
class Running:
    """
    The proxy, before a Nova on loopback.

    @ivar _process: Its process.
    """

    _process: Proxy

    @classmethod
    def before(
        cls,
        directory: Path,
        nova: int,
        options: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Running:
        """
        Start it.

        @param directory: For its files.
        @param nova: Nova's port.
        @param options: What differs from the defaults, by section.
        """
        port = free_port()
        (directory / "instances.yaml").write_text(
            yaml.safe_dump({"ports": [VICTIM.known, CANARY.known]})
        )
        sections: dict[str, Mapping[str, object]] = {
            "DEFAULT": {
                "nova_metadata_port": nova,
                "metadata_proxy_shared_secret": SECRET.decode(),
            },
            "static": {"path": (directory / "instances.yaml").resolve()},
            "listener:loopback": {
                "kind": "address",
                "address": "127.0.0.1",
                "port": port,
                "identify_by": "address",
            },
            "introspection": {"endpoint": f"tcp:{free_port()}:interface=127.0.0.1"},
            "limits": {"max_request_rate": 1_000_000, "request_burst": 1_000_000},
            **(options or {}),
        }
        # Nova is asked by nobody but instances.
        sections["upstream"] = {"check_interval": 0, **sections.get("upstream", {})}
        write_ini(directory / "mdproxy.conf", sections)
        return cls(Proxy.run(directory, port))

    @property
    def memory(self) -> int:
        """
        How much memory it has, in bytes.
        """
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (kibibytes,) = re.findall(r"VmRSS:\s*([0-9]+) kB", status)
        return int(kibibytes) * 1024

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """
        Have it find all that happens meanwhile at once, when it wakes.
        """
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> str:
        """
        Have it end.

        @return: What it logged.
        """
        self._process.stop()
        return self._process.said()

    def connect(self, instance: Local, receive: int | None = None) -> socket.socket:
        """
        Connect as an instance.

        @param receive: How much the kernel may keep for it, in bytes.
        """
        connection = socket.socket()
        connection.settimeout(_PATIENCE)
        if receive is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        connection.bind((instance.address, 0))
        connection.connect(("127.0.0.1", self._process.port))
        return connection

    def ask(
        self,
        target: bytes = b"/latest/meta-data/instance-id",
        method: bytes = b"GET",
        instance: Local = VICTIM,
    ) -> Heard:
        """
        Ask on a connection of its own, and read what comes.
        """
        with self.connect(instance) as connection:
            connection.sendall(question(target, method, instance))
            return read_from(connection, method)


def question(
    target: bytes, method: bytes, instance: Local, body: bytes | None = None
) -> bytes:
    """
    Write a request.
    """
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    return b"%b %b HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: %b\r\n%b\r\n%b" % (
        method,
        target,
        instance.name.encode(),
        length,
        body or b"",
    )


def read_from(connection: socket.socket, method: bytes = b"GET") -> Heard:
    """
    Read one response from a connection.

    @return: The response, or as much of it as came before the connection's end.
    """
    came, closed = b"", None
    while closed is None:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            closed = "ConnectionAborted"
        else:
            came += piece
            closed = None if piece else "ConnectionDone"
        heard, _rest = read_response(came, method, closed == "ConnectionDone")
        if heard.whole:
            return heard
    return evolve(heard, closed=closed)
