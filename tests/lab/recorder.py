"""
A stand-in upstream that writes down every byte it is sent.

C{recorder.py PORT RECORD GATE}: answers every request with an empty JSON object and
appends a line of JSON to C{RECORD}: request line, header lines as they stood on the
wire, and the body in base64.  Requests whose target holds C{/slow} are answered once
the file C{GATE} exists.  Standard library only.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

_writing = threading.Lock()


class Recorder(StreamRequestHandler):
    """
    One connection of the proxy.
    """

    def handle(self) -> None:
        """
        Record and answer until the proxy closes.
        """
        while self._one():
            pass

    def _one(self) -> bool:
        """
        Record and answer one request.

        @return: Whether there was one.
        """
        lines = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            lines.append(line.rstrip(b"\r\n").decode("latin-1"))
        if not lines or line == b"":
            return False
        lengths = [
            int(field.partition(":")[2])
            for field in lines[1:]
            if field.lower().startswith("content-length:")
        ]
        body = self.rfile.read(lengths[0]) if lengths else b""
        self._write(lines, body)
        if "/slow" in lines[0]:
            self._wait()
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\n\r\n{}"
        )
        return True

    def _write(self, lines: list[str], body: bytes) -> None:
        """
        Append a request to the record.
        """
        entry = {
            "line": lines[0],
            "fields": lines[1:],
            "body": base64.b64encode(body).decode(),
        }
        with _writing, open(sys.argv[2], "a") as record:
            record.write(json.dumps(entry) + "\n")

    def _wait(self) -> None:
        """
        Wait for the gate.
        """
        while not Path(sys.argv[3]).exists():
            time.sleep(0.02)


class Server(ThreadingTCPServer):
    """
    A thread for each connection.
    """

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1])), Recorder) as server:
        print("listening", flush=True)
        server.serve_forever()
