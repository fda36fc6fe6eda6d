"""
Tests for L{mdproxy.ctl.doctor}.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site

from mdproxy.checks.finding import Finding, Group
from mdproxy.cli import main
from mdproxy.ctl.access import Access
from mdproxy.ctl.doctor import find_service, lines, news
from mdproxy.devnova import DevNova
from tests.answering import Answering
from tests.test_fetch import number_of

SECRET = "deadbeef2eb84d8d"


class LinesTests(SynchronousTestCase):
    """
    Tests for L{lines}.
    """

    def test_in_groups(self) -> None:
        """
        Findings stand under their subject, with what to do under each, and are counted;
        no terminal obeys them.
        """
        groups = [
            Group("One", (Finding("a", "ok", "Fine."),)),
            Group(
                "Two",
                (
                    Finding("b", "wrong", "Bad \x1b[2J " + "word " * 30, "Mend it."),
                    Finding("c", "note", "", ""),
                ),
            ),
        ]
        written = lines(groups)
        self.assertEqual(written[:2], ["One:", "  ok    a: Fine."])
        self.assertTrue(written[4].startswith("  WRONG b: Bad \\u001b[2J"))
        self.assertTrue(written[5].startswith(" " * 8 + "word"))
        self.assertIn("        -> Mend it.", written)
        self.assertIn("  note  c:", written)
        self.assertEqual(written[-1], "In all: 1 wrong, 1 worth a look, 1 ok.")
        for line in written:
            self.assertTrue(line.isprintable())


class NewsTests(SynchronousTestCase):
    """
    Tests for L{news}.
    """

    def test_told_once(self) -> None:
        """
        What the service has found as we have is told once; where both differ, twice.
        """
        ours, theirs = Finding("a", "ok", "Well."), Finding("a", "wrong", "Not well.")
        groups = [Group("One", (ours,))]
        self.assertEqual(news([ours, theirs], groups), (theirs,))


class ServiceTests(SynchronousTestCase):
    """
    Tests for L{find_service}.
    """

    def test_the_running_one(self) -> None:
        """
        The process that listens is the service, and its user is who reads files.
        """
        with Answering().listening_at_a_path() as path:
            service = find_service(Access(path))
        self.assertEqual((service.pid, service.user.uid), (os.getpid(), os.geteuid()))
        self.assertIsNone(find_service(None).pid)


class CommandTests(TestCase):
    """
    Tests for the command.
    """

    def write(self, more: str, secret: str = SECRET) -> Path:
        """
        Write a configuration.
        """
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "secret").touch(0o600)
        (directory / "secret").write_text(secret)
        (directory / "instances.yaml").write_text("ports: []\n")
        config = directory / "mdproxy.conf"
        config.write_text(
            f"[DEFAULT]\nmetadata_proxy_shared_secret_file = {directory}/secret\n{more}"
            f"\n[static]\npath = {directory}/instances.yaml\n"
            "[listener:a]\nkind = address\naddress = 127.0.0.1\nport = 1\n"
            "identify_by = address\n[introspection]\n"
            f"endpoint = unix:{directory}/none.sock\n"
        )
        return config

    async def doctor(self, config: Path) -> tuple[dict[str, Any], int]:
        """
        Run it as a process of its own, for it runs a reactor.

        @return: The findings by their names, and the exit status.
        """
        root = str(Path(__file__).parent.parent)
        command = ["-m", "mdproxy.cli", "doctor", "--json", "--config-file"]
        out, err, status = await getProcessOutputAndValue(
            sys.executable,
            [*command, str(config)],
            env={**os.environ, "PYTHONPATH": root},
        )
        self.assertEqual(err, b"")
        self.assertNotIn(SECRET.encode(), out)
        groups = json.loads(out)["groups"]
        return {f["name"]: f for g in groups for f in g["findings"]}, status

    async def test_the_secret(self) -> None:
        """
        Each endpoint of Nova is asked whether the secret is right; a service that does
        not run is wrong, and told how to look for it.
        """
        site = Site(DevNova([], SECRET.encode()))
        endpoint = serverFromString(global_reactor, "tcp:0:interface=127.0.0.1")
        port = await endpoint.listen(site)
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        number = number_of(port)
        for secret, verdict in ((SECRET, "ok"), ("other", "wrong")):
            config = self.write(f"nova_metadata_port = {number}", secret)
            found, status = await self.doctor(config)
            nova = found[f"Nova at 127.0.0.1:{number}"]
            self.assertEqual(nova["verdict"], verdict)
            self.assertEqual(found["configuration"]["verdict"], "ok")
            self.assertEqual(found["mdproxy"]["verdict"], "wrong")
            self.assertIn("systemctl status mdproxy", found["mdproxy"]["advice"])
            self.assertEqual(status, 1)

    def test_a_broken_configuration(self) -> None:
        """
        Every fault of the configuration is a finding, and the files are looked at all
        the same.
        """
        config = self.write("nova_metadata_port = 0\nnova_metadata_hots = a")
        out = io.StringIO()
        with redirect_stdout(out):
            status = main(["doctor", "--config-file", str(config)])
        said = " ".join(out.getvalue().split())
        self.assertEqual(status, 1)
        for words in (
            "'0' is not a whole number",
            "nova_metadata_hots",
            "What depends on the configuration was not looked at.",
            "the secret:",
        ):
            self.assertIn(words, said)
