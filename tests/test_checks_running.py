"""
Tests for L{mdproxy.checks.running}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.finding import Finding, worst
from mdproxy.checks.running import findings_of, judge_in_use, judge_version
from tests.operated import Host

NOVA: dict[str, Any] = {"host": "nova", "port": 8775}
HEALTH = (("sound", "ok"), ("resting", "wrong"), ("slow", "note"))


def source(state: str, kind: str = "ovn", problem: str | None = None) -> dict[str, Any]:
    """
    Make what a source says.
    """
    return {"name": "it", "kind": kind, "state": state, "problem": problem}


class RunningTests(SynchronousTestCase):
    """
    Tests for L{findings_of}.
    """

    def judged(self, name: str, **told: Any) -> Finding:
        """
        Judge a service that says something.

        @param name: The finding that is looked for.
        """
        found = findings_of({"version": "1", "ready": {"ready": True}, **told}, "1")
        (finding,) = (each for each in found if each.name == name)
        return finding

    def test_sources(self) -> None:
        """
        A source that is not live is wrong, with what to look at for its kind.
        """
        for said, verdict, words in (
            (source("live"), "ok", "It is live."),
            (source("live", problem="1 bad"), "note", "It is live: 1 bad."),
            (source("starting"), "note", "ask again"),
            (source("stale", problem="gone"), "wrong", "ovn_sb_connection"),
            (source("failed", "static"), "wrong", "the file"),
            (source("failed", "dnsmasq"), "wrong", "DHCP server writes"),
        ):
            finding = self.judged("source it", sources=[said])
            self.assertEqual(finding.verdict, verdict, finding)
            self.assertIn(words, f"{finding.text} {finding.advice}")

    def test_listeners_and_endpoints(self) -> None:
        """
        A listener with a problem is wrong, and so is an endpoint that rests.
        """
        for problem, verdict in ((None, "ok"), ("taken\x1b", "wrong")):
            listener = {"name": "l", "problem": problem}
            finding = self.judged("listener l", listeners=[listener])
            self.assertEqual(finding.verdict, verdict)
            self.assertNotIn("\x1b", finding.text)
        for health, verdict in (
            ("sound", "ok"),
            ("resting", "wrong"),
            ("slow", "note"),
        ):
            said = [{**NOVA, "health": health, "problem": "x"}]
            name = "requests to nova port 8775"
            finding = self.judged(name, upstream={"endpoints": said})
            self.assertEqual(finding.verdict, verdict)

    def test_configuration(self) -> None:
        """
        A reload that was refused is wrong, and what waits for a restart is told.
        """
        said = {"needs_restart": ["listener x"], "last_reload": {"faults": ["f 1"]}}
        finding = self.judged("last reload", configuration=said)
        self.assertEqual((finding.verdict, "f 1" in finding.text), ("wrong", True))
        finding = self.judged("configuration in force", configuration=said)
        self.assertEqual(
            (finding.verdict, "listener x" in finding.text), ("note", True)
        )

    def test_its_own_findings(self) -> None:
        """
        What the service found itself is taken over, nonsense is not; that it is not
        ready is wrong.
        """
        wrong = Finding("Nova at a", "wrong", "403.", "See.")
        said = {"findings": [wrong.describe(), {"verdict": "none"}]}
        self.assertEqual(self.judged("Nova at a", checks=said), wrong)
        ready = {"ready": False, "reasons": ["a", "b"]}
        finding = self.judged("readiness", ready=ready)
        self.assertEqual(finding.verdict, "wrong")
        self.assertIn("a; b", finding.text)

    def test_versions(self) -> None:
        """
        An older version that still runs is told.
        """
        self.assertEqual(judge_version("1", "1").verdict, "ok")
        finding = judge_version("1", "2")
        self.assertEqual((finding.verdict, "Restart" in finding.advice), ("note", True))

    def test_the_real_view(self) -> None:
        """
        What the real view says can be judged, and all is well there.
        """
        told = json.loads(json.dumps(Host().view.status()))
        for endpoint in told["upstream"]["endpoints"]:
            endpoint["health"] = "sound"
        found = findings_of(told, "1.2.3")
        self.assertEqual(worst(found), "ok", found)

    def test_certificates_in_use(self) -> None:
        """
        Where the file was renewed and the service was not told that is wrong.
        """
        in_use = {"/a": 10.0, "/b": 10.0, "/c": 10.0, "nova x:1": 10.0}
        found = judge_in_use(in_use, {"/a": 10.0, "/b": 20.0, "/c": 5.0})
        self.assertEqual([f.verdict for f in found], ["wrong", "note"])
        self.assertIn("systemctl reload mdproxy", found[0].advice)
