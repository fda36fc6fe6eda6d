"""
The operator's API as programs see it: schemathesis tries all that C{openapi.json}
describes on the running service.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.pages.scene import PATIENCE, STRANGER, Guest, Scene

#: Every request that it makes is made again with the same seed.
_SEED = "1"

#: How many requests are made up of each operation, beside those at all bounds.
_EXAMPLES = "8"

#: The site refuses methods that no page has before it looks for the page, so that it
#: can't say which the page has.
_NOT_CHECKED = "allow_header_conformance"

_LIVE = "/api/v1/transactions/live"


class ApiTests(SynchronousTestCase):
    """
    What programs get.
    """

    def setUp(self) -> None:
        """
        Have a host, an instance that has asked, and a stranger.
        """
        self.scene = Scene.begin()
        self.addCleanup(self.scene.end)
        self.scene.ask(Guest(20).address)
        self.scene.ask(f"127.0.1.{STRANGER}")

    def test_as_described(self) -> None:
        """
        Whatever is asked, well or badly, is answered as the description says: statuses,
        content types, shapes; no answer is a fault of ours.
        """
        tried = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "run"),
                f"http://{self.scene.pages}/api/v1/openapi.json",
                *("--url", f"http://{self.scene.pages}"),
                *("--checks", "all", "--exclude-checks", _NOT_CHECKED),
                # It does not end; and the description itself is left out by itself.
                *("--exclude-path", _LIVE),
                *("--header", "X-Mdproxy: 1", "--request-timeout", "10"),
                *("--seed", _SEED, "--max-examples", _EXAMPLES),
                *("--generation-database", "none"),
            ],
            cwd=self.mktemp_directory(),
            env={**os.environ, "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        self.assertEqual(tried.returncode, 0, tried.stdout)
        self.assertIn("14 selected / 15 total", tried.stdout)

    def mktemp_directory(self) -> str:
        """
        Make a directory for what it leaves behind.
        """
        path = Path(self.mktemp())
        path.mkdir()
        return str(path)

    def test_live(self) -> None:
        """
        Who listens is told of a request as it ends, and, having been cut off, of what
        he missed.
        """
        last = None
        for number in (21, 22):
            line = http.client.HTTPConnection(self.scene.pages, timeout=PATIENCE)
            headers: dict[str, str] = {}
            if last is not None:
                headers["Last-Event-ID"] = last
            line.request("GET", f"{_LIVE}?status=200", headers=headers)
            response = line.getresponse()
            self.assertEqual(response.getheader("content-type"), "text/event-stream")
            if last is None:
                self.scene.ask(Guest(number).address)
            fields: dict[str, str] = {}
            while "data" not in fields:
                name, _colon, value = response.readline().decode().partition(": ")
                fields[name] = value.rstrip("\n")
            self.assertEqual(fields["event"], "transaction")
            told = json.loads(fields["data"])
            self.assertEqual(told["instance"], Guest(number).instance)
            last = fields["id"]
            line.close()
            self.scene.ask(Guest(number + 1).address)
