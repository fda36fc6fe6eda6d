"""
A service that answers as a test says, for what asks it from the outside.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from attrs import define, field

#: What is answered: a status, and the body.
Answer = tuple[int, bytes]


@define(eq=False)
class Answering:
    """
    What is asked, and what is answered.

    @ivar answers: By path, what is answered: values, or a status and a body.
    @ivar asked: What was asked: the method, the path, what was said with it, and the
        fields in lower case.
    """

    answers: dict[str, Any] = field(factory=dict)
    asked: list[tuple[str, str, dict[str, str], dict[str, str]]] = field(factory=list)

    def answer(
        self, method: str, target: str, body: bytes, fields: Mapping[str, str]
    ) -> Answer:
        """
        Answer a question.
        """
        split = urlsplit(target)
        said = dict(parse_qsl(split.query or body.decode()))
        names = {name.lower(): value for name, value in fields.items()}
        self.asked.append((method, split.path, said, names))
        answer = self.answers.get(split.path, (404, b"{}"))
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(said)
        if isinstance(answer, tuple):
            return cast(Answer, answer)
        return 200, json.dumps(answer).encode()

    @contextmanager
    def listening(self, tls: ssl.SSLContext | None = None) -> Iterator[int]:
        """
        Answer on loopback for a while.

        @return: The port.
        """
        opened = socket.create_server(("127.0.0.1", 0))
        with opened, self._serving(opened, tls):
            yield opened.getsockname()[1]

    @contextmanager
    def listening_at_a_path(self, directory: str = ".") -> Iterator[str]:
        """
        Answer on a UNIX socket for a while.

        @param directory: In which directory of a temporary one.

        @return: The path.
        """
        with tempfile.TemporaryDirectory() as temporary:
            draft = os.path.join(temporary, "s")
            path = os.path.join(temporary, directory, "s")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(draft)
                opened.listen()
                os.rename(draft, path)
                with self._serving(opened, None):
                    yield path

    @contextmanager
    def _serving(
        self, opened: socket.socket, tls: ssl.SSLContext | None
    ) -> Iterator[None]:
        """
        Answer what comes in by a socket.
        """
        server = _Server(opened, self, tls)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingMixIn, UnixStreamServer):
    """
    Takes connections on a socket that is open already.
    """

    daemon_threads = True
    block_on_close = True

    def __init__(
        self, opened: socket.socket, answering: Answering, tls: ssl.SSLContext | None
    ) -> None:
        """
        Take a socket.
        """
        super().__init__("", _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = opened
        self.answering = answering
        self._tls = tls

    def get_request(self) -> Any:
        """
        Take a connection.
        """
        connection, _ = self.socket.accept()
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        return connection, ("somebody", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """
        Who asks may go at any time.
        """


class _Handler(BaseHTTPRequestHandler):
    """
    Answers one connection.
    """

    def log_message(self, format: str, *args: Any) -> None:
        """
        Log nothing.
        """

    def do_GET(self) -> None:
        """
        Answer.
        """
        answering = cast(_Server, self.server).answering
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        status, said = answering.answer(
            self.command, self.path, body, dict(self.headers)
        )
        with suppress(OSError):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said)

    do_POST = do_GET  # noqa: N815 (http.server calls it)
