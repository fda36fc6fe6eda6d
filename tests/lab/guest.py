"""
Asking from inside a VM, and reading what it got.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.lab.stage import LabError, Namespace
from tests.lab.world import METADATA_ADDRESS

_SCRIPT = str(Path(__file__).with_name("vm.py"))


@frozen
class Talk:
    """
    What to send on one connection.

    @ivar segments: Pieces, each with the seconds to wait before it is sent.
    @ivar timeout: After how many seconds of silence the client gives up.
    @ivar source: The address to ask from, if not the usual one.
    """

    segments: tuple[tuple[float, bytes], ...]
    host: str = METADATA_ADDRESS
    port: int = 80
    timeout: float = 15.0
    source: str | None = None

    def order(self) -> dict[str, Any]:
        """
        Say it as L{tests.lab.vm} reads it.
        """
        segments = [
            (pause, base64.b64encode(data).decode()) for pause, data in self.segments
        ]
        order: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "segments": segments,
            "timeout": self.timeout,
        }
        if self.source is not None:
            order["source"] = self.source
        return order


def request(
    target: str,
    *fields: str,
    method: str = "GET",
    body: bytes = b"",
    close: bool = True,
    host: str = METADATA_ADDRESS,
) -> bytes:
    """
    Write a request.

    @param fields: Header lines beside Host and Connection.
    @param body: Follows the head as it is; the fields must announce it.
    @param close: Whether to ask for the connection to be closed afterwards.
    """
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    if close:
        head.append("Connection: close")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


class _Canned:
    """
    As much of a socket as L{HTTPResponse} reads from.
    """

    def __init__(self, data: bytes) -> None:
        """
        Stand for a socket from which all data has come.
        """
        self._data = data

    def makefile(self, *_: object, **__: object) -> io.BytesIO:
        """
        Provide C{socket.makefile}.
        """
        return io.BytesIO(self._data)


@define
class Answer:
    """
    What came back on one connection.

    @ivar raw: All bytes.
    @ivar end: C{closed}, C{reset}, C{refused}, C{timeout} or C{error: ...}.
    @ivar seconds: How long it took, for people to read.
    @ivar status: The response's status; 0: there was no whole response.
    @ivar fields: Its header fields, names in lower case.
    @ivar body: Its body, without any chunk framing.
    """

    raw: bytes = field(repr=lambda raw: repr(raw[:200]))
    end: str
    seconds: float
    status: int = field(default=0, init=False)
    fields: dict[str, str] = field(factory=dict, init=False)
    body: bytes = field(default=b"", init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """
        Read the response.
        """
        if not self.raw:
            return
        response = HTTPResponse(_Canned(self.raw))  # type: ignore[arg-type]
        try:
            response.begin()
            self.body = response.read()
        except (HTTPException, OSError):
            return
        self.status = response.status
        self.fields = {name.lower(): value for name, value in response.getheaders()}

    def json(self) -> Any:
        """
        Read the body as JSON.
        """
        return json.loads(self.body)


@frozen
class Pending:
    """
    Conversations that are being held.
    """

    _process: subprocess.Popen[bytes]

    def answers(self) -> list[Answer]:
        """
        Wait for all answers, in the order of the conversations.
        """
        assert self._process.stdout is not None
        with self._process:
            said = self._process.stdout.read().splitlines()
        if self._process.returncode != 0 or not said:
            raise LabError("the client in the VM failed")
        return [
            Answer(base64.b64decode(a["raw"]), a["end"], a["seconds"])
            for a in json.loads(said[-1])
        ]

    def wait_until_asked(self) -> None:
        """
        Wait until the first conversation has been sent.
        """
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"asked\n":
            raise LabError("the client in the VM could not ask")


@frozen
class Guest:
    """
    Somebody who asks from inside a namespace.
    """

    namespace: Namespace

    def begin(self, *talks: Talk, parallel: int = 1) -> Pending:
        """
        Start conversations.

        @param parallel: How many of them at a time.
        """
        process = subprocess.Popen(
            self.namespace.command(sys.executable, "-I", "-S", _SCRIPT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        order = {"talks": [talk.order() for talk in talks], "parallel": parallel}
        assert process.stdin is not None
        with process.stdin as stdin:
            stdin.write(json.dumps(order).encode())
        return Pending(process)

    def talk(self, *talks: Talk, parallel: int = 1) -> list[Answer]:
        """
        Hold conversations to their end.
        """
        return self.begin(*talks, parallel=parallel).answers()

    def ask(self, target: str, *fields: str, **details: Any) -> Answer:
        """
        Ask for one thing.

        @param details: Of the L{Talk}.
        """
        [answer] = self.talk(Talk(((0, request(target, *fields)),), **details))
        return answer
