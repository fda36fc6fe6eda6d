"""
A stand-in for Nova that answers with what it was asked: C{mirror.py PORT}.

The body of an answer is JSON: C{method}, C{target}, C{fields} (a list of pairs) and
C{body} (in base64).  Of C{/say/STATUS} the answer has that status; C{/bytes} is every
byte that there is, without a type; C{/large} is much of them; C{/gzip} is compressed.
Standard library only.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BYTES = bytes(range(256)) * 16
LARGE = BYTES * 1000


class Mirror(BaseHTTPRequestHandler):
    """
    One connection of the proxy.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """
        Answer GET.
        """
        self._answer()

    def do_POST(self) -> None:
        """
        Answer POST.
        """
        self._answer()

    def log_message(self, *_: object) -> None:
        """
        Say nothing.
        """

    def _answer(self) -> None:
        """
        Answer.
        """
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        status, fields = 200, {"Content-Type": "application/json"}
        said = {
            "method": self.command,
            "target": self.path,
            "fields": self.headers.items(),
            "body": base64.b64encode(body).decode(),
        }
        answer = json.dumps(said).encode()
        if self.path.startswith("/say/"):
            status = int(self.path.rpartition("/")[2])
            fields["Location"] = "http://127.0.0.1:1/elsewhere"
        elif self.path == "/bytes":
            answer, fields = BYTES, {}
        elif self.path == "/large":
            answer = LARGE
        elif self.path == "/gzip":
            answer, fields = gzip.compress(b"user data"), {"Content-Encoding": "gzip"}
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Mirror) as server:
        print("listening", flush=True)
        server.serve_forever()
