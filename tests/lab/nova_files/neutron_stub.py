"""
The two questions that Nova's metadata API asks Neutron, answered; and one that it
asks only for a metadata provider, answered with nothing.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

_GROUP = "5ec00000-0000-4000-8000-000000000001"


class _Question(BaseHTTPRequestHandler):
    """
    One request; C{ports} is set by L{start}.
    """

    protocol_version = "HTTP/1.1"
    ports: dict[str, dict[str, Any]]

    def do_GET(self) -> None:
        """
        Answer from what the seed knows.
        """
        url = urlsplit(self.path)
        asked = parse_qs(url.query).get("device_id", [])
        answers = {
            "/v2.0/ports": {"ports": [self.ports[i] for i in asked if i in self.ports]},
            "/v2.0/security-groups": {
                "security_groups": [{"id": _GROUP, "name": "default"}]
            },
            "/v2.0/subnets": {"subnets": []},
        }
        if url.path not in answers:
            self.send_error(404)
            return
        body = json.dumps(answers[url.path]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """
        Say nothing.
        """


def start(seed: list[dict[str, Any]]) -> str:
    """
    Answer on a port of the loopback interface, in a thread, for as long as we live.

    @param seed: The instances.

    @return: The URL for Nova's configuration.
    """
    _Question.ports = {
        each["instance"]: {
            "device_id": each["instance"],
            "tenant_id": each["project"],
            "mac_address": each["mac"],
            "security_groups": [_GROUP],
            "fixed_ips": [{"ip_address": address} for address in each["addresses"]],
        }
        for each in seed
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Question)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
