"""
A Nova to which things happen: devnova's answers, with the faults of a script.

C{python -m tests.lab.scripted_nova INSTANCES SCRIPT RECORD}: the instances as devnova
reads them, a L{Script}, and a file that gets a line of JSON for each event.  SIGUSR1
says that the VMs boot now.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import IO, Any

from attrs import asdict, define, field
from twisted.internet import reactor as _reactor
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES

from mdproxy.devnova import Answer, DevNova
from mdproxy.devnova import Asked as Question
from mdproxy.devnova_tree import read_instances
from tests.lab.faults import (
    AWAY,
    BLACK_HOLE,
    BREAKS,
    CLOSES,
    DOWN,
    LATE,
    RESETS,
    SAYS,
    STALLS,
    Asked,
    Phase,
    Script,
)

# Twisted's reactor is a module that turns into an object at run time.
reactor: Any = _reactor

#: How long the head of an answer is under way before its connection is reset, in
#: seconds: time enough to arrive.
_HEAD_START = 0.02
#: A MAC address that nobody has.
_NOWHERE = "02:00:00:00:00:01"


@define(eq=False)
class Visit:
    """
    One request on its way to its fate.

    @ivar connection: Where it came from.
    @ivar question: The request.
    @ivar at: When it came.
    @ivar fate: What became of it; empty: nothing yet.
    """

    connection: Connection
    question: Question
    at: float
    fate: str = ""


class Connection(Protocol):
    """
    A connection of the proxy.

    @ivar number: Which.
    @ivar visit: The request that is not answered yet.
    """

    transport: Any

    def __init__(self, nova: ScriptedNova, number: int) -> None:
        """
        Belong to a Nova.
        """
        self.number = number
        self.visit: Visit | None = None
        self._nova = nova
        self._received = b""

    def connectionMade(self) -> None:
        """
        Provide C{Protocol.connectionMade}.
        """
        self.transport.setTcpNoDelay(True)
        self._nova.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Provide C{Protocol.connectionLost}.
        """
        self._nova.closed(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Read a request, which always has its length ahead; none comes before the answer
        to the one before it.
        """
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        line, *fields = head.decode("latin-1").split("\r\n")
        pairs = [each.partition(":") for each in fields]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._received = rest[length:]
        method, target, _ = line.split(" ")
        question = Question(method, target, headers, rest[:length])
        self.visit = Visit(self, question, time.monotonic())
        self._nova.asked(self.visit)

    def send(self, visit: Visit, answer: Answer) -> None:
        """
        Answer a request.
        """
        self.visit = None
        self.transport.write(self.head(answer))
        if visit.question.method != "HEAD":
            self.transport.write(answer.body)
        if answer.crashed:
            self.transport.loseConnection()

    @staticmethod
    def head(answer: Answer) -> bytes:
        """
        Write the head of an answer.
        """
        lines = [
            f"HTTP/1.1 {answer.status} {RESPONSES[answer.status].decode()}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode()


@define(eq=False)
class ScriptedNova(Factory):
    """
    The Nova.

    @ivar _script: What is to happen to it.
    @ivar _nova: What it answers when nothing is wrong.
    @ivar _record: Where it writes what it sees.
    @ivar _random: Decides which answers are reset.
    @ivar _waiting: Phases that begin after a number of requests.
    @ivar _now: Phases that last.
    """

    noisy = False

    _script: Script
    _nova: DevNova
    _record: IO[str]
    _random: Random = field(init=False)
    _waiting: list[Phase] = field(init=False)
    _now: list[Phase] = field(factory=list, init=False)
    _port: IListeningPort | None = field(default=None, init=False)
    _connections: set[Connection] = field(factory=set, init=False)
    _opened: int = field(default=0, init=False)
    _asked: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Look at the script.
        """
        self._random = Random(self._script.seed)
        self._waiting = [phase for phase in self._script.phases if phase.after]

    def start(self) -> None:
        """
        Do as before the VMs boot: listen, unless the script begins otherwise.
        """
        for phase in self._script.phases:
            if not phase.at and not phase.after:
                self._begin(phase)
        self._listen()

    def boot(self) -> None:
        """
        Learn that the VMs boot now.
        """
        for phase in list(self._now):
            self._limit(phase)
        for phase in self._script.phases:
            if phase.at:
                reactor.callLater(phase.at, self._begin_and_limit, phase)

    def buildProtocol(self, addr: object) -> Connection:
        """
        Provide C{Factory.buildProtocol}.
        """
        self._opened += 1
        return Connection(self, self._opened)

    def opened(self, connection: Connection) -> None:
        """
        Learn of a connection.
        """
        self._connections.add(connection)
        self._write("opened", time.monotonic())

    def closed(self, connection: Connection) -> None:
        """
        Learn of a connection's end.
        """
        self._connections.discard(connection)
        if connection.visit is not None:
            self._settle(connection.visit, "abandoned")

    def asked(self, visit: Visit) -> None:
        """
        Do with a request as the script says.
        """
        if visit.question.method == "GET":
            self._asked += 1
        for phase in list(self._waiting):
            if self._asked >= phase.after * self._script.vms:
                self._waiting.remove(phase)
                self._begin_and_limit(phase)
        if self._has(STALLS) or self._has(DOWN):
            return
        late = sum(phase.value for phase in self._now if phase.kind == LATE)
        if late:
            reactor.callLater(late, self._answer, visit)
        else:
            self._answer(visit)

    def _answer(self, visit: Visit) -> None:
        """
        Answer a request, well or badly.
        """
        if visit.fate:
            return
        connection = visit.connection
        says = next((p.value for p in self._now if p.kind == SAYS), 0)
        if says:
            self._settle(visit, f"{says:g}")
            connection.send(visit, Answer(int(says), "text/plain", b"not now"))
            return
        # Whether the signature is right is Nova's to judge at any time.
        answer = self._nova.answer(visit.question)
        if self._has(BLACK_HOLE):
            # It goes out, and does not arrive.
            self._settle(visit, BLACK_HOLE)
            connection.send(visit, answer)
        elif self._happens(RESETS):
            self._reset(visit, answer, self._random.random() < 0.5)
        elif self._happens(BREAKS):
            self._reset(visit, answer, False)
        else:
            refused = answer.status in (400, 403)
            self._settle(visit, "refused" if refused else "served")
            connection.send(visit, answer)
            if self._has(CLOSES):
                connection.transport.loseConnection()

    def _happens(self, kind: str) -> bool:
        """
        Tell whether what is wrong with a share of the answers is with this one.
        """
        chance = sum(phase.value for phase in self._now if phase.kind == kind)
        return self._random.random() < chance

    def _reset(self, visit: Visit, answer: Answer, first: bool) -> None:
        """
        Break off an answer.

        @param first: Whether before its head, not behind it.
        """
        transport = visit.connection.transport
        if first or not answer.body:
            self._settle(visit, "reset before the head")
            transport.abortConnection()
            return
        self._settle(visit, "reset behind the head")
        transport.write(Connection.head(answer) + answer.body[: len(answer.body) // 2])
        reactor.callLater(_HEAD_START, transport.abortConnection)

    def _settle(self, visit: Visit, fate: str) -> None:
        """
        Write down what becomes of a request.
        """
        visit.fate = fate
        visit.connection.visit = None
        question = visit.question
        body = hashlib.sha256(question.body).hexdigest() if question.body else ""
        asked = Asked(
            at=visit.at,
            instance=question.headers.get("x-instance-id", ""),
            method=question.method,
            target=question.target,
            body=body,
            connection=visit.connection.number,
            fate=fate,
        )
        self._write("asked", asdict(asked))

    def _has(self, kind: str) -> bool:
        """
        Tell whether something is wrong now.
        """
        return any(phase.kind == kind for phase in self._now)

    def _begin_and_limit(self, phase: Phase) -> None:
        """
        Begin a phase that ends a while from now.
        """
        self._begin(phase)
        self._limit(phase)

    def _limit(self, phase: Phase) -> None:
        """
        Let a phase end its time from now.
        """
        if phase.seconds is not None:
            reactor.callLater(phase.seconds, self._end, phase)

    def _begin(self, phase: Phase) -> None:
        """
        Let something be wrong.
        """
        self._now.append(phase)
        if phase.kind == DOWN:
            self._close(phase, lambda connection: connection.transport.loseConnection())
        elif phase.kind == BLACK_HOLE:
            self._route("replace", "lladdr", _NOWHERE, "nud", "permanent")

    def _end(self, phase: Phase) -> None:
        """
        Let it be over.
        """
        self._now.remove(phase)
        if phase.kind == STALLS:
            self._drop(phase, lambda connection: connection.transport.abortConnection())
        elif phase.kind == BLACK_HOLE:
            self._route("del")
        self._listen()
        if phase.kind in AWAY:
            self._write("returned", time.monotonic())

    def _listen(self) -> None:
        """
        Open the port, if it is to be open.
        """
        if self._port is None and not self._has(DOWN):
            script = self._script
            self._port = reactor.listenTCP(
                script.port, self, backlog=1024, interface=script.address
            )

    def _close(self, phase: Phase, end: Callable[[Connection], None]) -> None:
        """
        Close the port and all connections.
        """
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()
        self._drop(phase, end)

    def _drop(self, phase: Phase, end: Callable[[Connection], None]) -> None:
        """
        End all connections; what was asked on them is lost.
        """
        for connection in list(self._connections):
            if connection.visit is not None:
                self._settle(connection.visit, phase.kind)
            end(connection)

    def _route(self, change: str, *how: str) -> None:
        """
        Change where frames for the proxy's host go.
        """
        entry = (self._script.peer, "dev", "eth0", *how)
        subprocess.run(["ip", "neigh", change, *entry], check=True)

    def _write(self, event: str, what: object) -> None:
        """
        Write down what happened.
        """
        self._record.write(json.dumps({event: what}) + "\n")
        self._record.flush()


def main(instances: str, script: str, record: str) -> None:
    """
    Be a Nova until a signal ends the process.
    """
    told = Script.load(script)
    devnova = DevNova(read_instances(Path(instances)), told.secret.encode())
    with open(record, "w") as file:
        nova = ScriptedNova(told, devnova, file)
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(nova.boot))
        nova.start()
        reactor.callWhenRunning(print, "scripted nova: running", flush=True)
        reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
