"""
Tests for L{mdproxy.ctl.status}.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.cli import main
from mdproxy.ctl.status import lines
from tests.answering import Answering
from tests.operated import Host

TOLD: dict[str, Any] = {
    "version": "1.2.3",
    "ready": {"ready": False, "reasons": ["Nova a:8775 refuses our signature"]},
    "configuration": {
        "since": "2026-01-01",
        "needs_restart": ["[introspection] endpoint"],
        "last_reload": {"at": "x", "faults": ["x.conf line 1: \x1bbad"]},
    },
    "listeners": [
        {"name": "l", "device": "br0", "listening": ["::1 port 80"], "accepted": 3},
        {"name": "m", "kind": "socket", "problem": "no \x1b[2J way"},
        {"name": "namespaces", "namespaces": 3, "listening": 6, "problem": None},
    ],
    "sources": [
        {"name": "static", "state": "live", "ports": 7, "problem": None},
        {"name": "ovn", "state": "stale", "problem": "connection lost"},
    ],
    "upstream": {
        "endpoints": [
            {"host": "a", "port": 8775, "tls": True, "health": "sound", "busy": 1},
            {"host": "::1", "port": 80, "health": "resting", "problem": "refused"},
        ]
    },
    "proxy": {"counts": {"requests": 9, "status-200": 7, "status-404": 2}},
    "transactions": {
        "median": 0.005,
        "p99": 0.25,
        "refusals": [{"kind": "device", "reason": "unknown", "count": 2}],
    },
    "checks": {
        "endpoints": [{"endpoint": "a:8775", "secret": "wrong"}],
        "certificates": {"/c": 1_700_000_000.0},
        "findings": [
            {"name": "Nova at a", "verdict": "wrong", "text": "403.", "advice": "See."},
            {"name": "well", "verdict": "ok", "text": "Fine.", "advice": ""},
        ],
    },
}


class LinesTests(SynchronousTestCase):
    """
    Tests for L{lines}.
    """

    def told(self, told: Any) -> str:
        """
        Write it, and see that no terminal would obey.
        """
        written = lines(told)
        for line in written:
            self.assertTrue(line.isprintable())
        return " ".join(" ".join(written).split())

    def test_all_that_is_wrong(self) -> None:
        """
        Whether it is ready, and what is wrong with which part, is there to be seen.
        """
        told = self.told(TOLD)
        for words in (
            "mdproxy 1.2.3: NOT READY ! Nova a:8775 refuses our signature",
            "! needs a restart: [introspection] endpoint",
            "! the last reload was refused: x.conf line 1: \\u001bbad",
            "l br0 3 accepted ::1 port 80",
            "! no \\u001b[2J way",
            "6 sockets in 3 namespaces",
            "static live 7 ports",
            "ovn stale ! connection lost",
            "a:8775 TLS sound secret wrong 1 busy",
            "[::1]:80 plain resting secret unknown ! refused",
            "9 requests; answered: 7 with 200, 2 with 404",
            "within 5 ms, 99 of 100 within 250 ms",
            "refused: unknown (device) 2",
            "! Nova at a: 403. See.",
            "/c: good until 2023-11-14T22:13:20Z",
        ):
            self.assertIn(words, told)
        self.assertNotIn("Fine.", told)

    def test_many(self) -> None:
        """
        Of a thousand listeners those are shown with which something is wrong, and some.
        """
        listeners = [{"name": f"n{i}", "listening": []} for i in range(1000)]
        listeners[700]["problem"] = "device is gone"
        written = lines({"listeners": listeners})
        self.assertLess(len(written), 40)
        self.assertIn("device is gone", "".join(written))
        self.assertIn("  and 979 more", written)

    def test_the_real_view(self) -> None:
        """
        What the real view says can be written.
        """
        told = self.told(json.loads(json.dumps(Host().view.status())))
        self.assertIn("mdproxy 1.2.3", told)
        self.assertIn("nova:8775", told)


class CommandTests(SynchronousTestCase):
    """
    Tests for C{mdproxyctl status}.
    """

    def run_command(self, *argv: str) -> tuple[int, str]:
        """
        Ask a service.
        """
        service, out = Answering({"/api/v1/status": TOLD}), io.StringIO()
        with service.listening_at_a_path() as path, redirect_stdout(out):
            status = main(["status", "--endpoint", f"unix:{path}", *argv])
        return status, out.getvalue()

    def test_the_status(self) -> None:
        """
        The exit status tells whether it is ready; as JSON it is what the service says.
        """
        status, out = self.run_command()
        self.assertEqual(status, 1)
        self.assertIn("NOT READY", out)
        status, out = self.run_command("--json")
        self.assertEqual((status, json.loads(out)), (1, TOLD))
