"""
Tests for L{mdproxy.operators}.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from twisted.logger import LogLevel, PredicateResult

from mdproxy.life import FrontService, Signals
from mdproxy.logs.service import Logged
from mdproxy.manhole import Manhole
from mdproxy.model import Caller, Request
from mdproxy.notify import Notify
from mdproxy.proxy import ReverseProxyResource
from mdproxy.tap import Options, makeService
from tests.asking import RecordingReply
from tests.secrecy import SecrecyTestCase
from tests.test_tap import AdoptingReactor
from tests.twistd import write_config


class OperatorsTests(SecrecyTestCase):
    """
    Tests for what operators have of a whole service.
    """

    def make(self, more: str = "") -> Any:
        """
        Make the service on a reactor in memory, and start it until the test is over.
        """
        self.says = write_config(Path(self.mktemp()), more)
        options = Options()
        options.parseOptions(["--config-file", str(self.says["config"])])
        self.reactor = AdoptingReactor()
        service: Any = makeService(options, self.reactor)
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(lambda: self.successResultOf(service.stopService()))
        return service

    def part(self, service: Any, kind: type[Any]) -> Any:
        """
        Find a part of the service.
        """
        (part,) = (part for part in service if isinstance(part, kind))
        return part

    def reload(self, service: Any, before: str, after: str) -> None:
        """
        Change the configuration file, and have SIGHUP come.
        """
        text = self.says["config"].read_text()
        self.assertIn(before, text)
        self.says["config"].write_text(text.replace(before, after))
        self.part(service, Signals).hang_up()

    def ask(self, service: Any) -> None:
        """
        Have an instance ask, and leave.
        """
        caller = Caller("loop", "127.0.0.1", None, "address")
        request = Request(b"GET", b"/x", ())
        self.proxy_of(service).answer(request, caller, RecordingReply()).cancel()

    def proxy_of(self, service: Any) -> ReverseProxyResource:
        """
        Find the proxy in a service.
        """
        proxy = self.part(service, FrontService)._front.answerer
        assert isinstance(proxy, ReverseProxyResource)
        return proxy

    def beside(self, service: Any) -> Any:
        """
        List what operators are told of beside the parts.
        """
        renew: Any = self.part(service, Signals)._renew
        return {name: tell() for name, tell in renew.__self__.parts.beside.items()}

    def test_notify(self) -> None:
        """
        Systemd is told when all else has been started.
        """
        self.assertIsInstance(list(self.make())[-1], Notify)

    def test_manhole(self) -> None:
        """
        There is a manhole where the configuration has one, and only there.
        """
        place = Path(self.mktemp()).absolute()
        for more, count in (("", 0), (f"[manhole]\nendpoint = unix:{place}\n", 1)):
            service = self.make(more)
            found = [part for part in service if isinstance(part, Manhole)]
            self.assertEqual(len(found), count)
            self.assertEqual("manhole" in self.beside(service), bool(count))

    def test_access_log(self) -> None:
        """
        Requests are written where the configuration says; SIGHUP changes that, and has
        a file opened anew, also where the configuration has faults.
        """
        first, second = (Path(self.mktemp()).absolute() for _ in range(2))
        service = self.make(f"[log]\naccess_log = {first}\n")
        self.ask(service)
        self.reactor.advance(0.5)
        self.assertEqual(self.beside(service)["access_log"]["to"], str(first))
        (line,) = first.read_text().splitlines()
        self.assertEqual(json.loads(line)["outcome"], "client-gone")
        self.reload(service, f"access_log = {first}", f"access_log = {second}")
        self.ask(service)
        self.reactor.advance(0.5)
        self.assertEqual(len(first.read_text().splitlines()), 1)
        self.assertEqual(len(second.read_text().splitlines()), 1)
        away = second.with_suffix(".1")
        second.rename(away)
        self.reload(service, "access_log", "acess_log")
        self.assertEqual(second.read_text(), "")
        self.assertEqual(len(away.read_text().splitlines()), 1)

    def test_levels(self) -> None:
        """
        SIGHUP changes what is worth a line.
        """
        service = self.make("[log]\nlevels = error\n")
        self.assertIsInstance(service, Logged)
        levels = service.levels
        event = {"log_level": LogLevel.warn, "log_namespace": "mdproxy.x"}
        self.assertIs(levels(event), PredicateResult.no)
        self.reload(service, "levels = error", "levels = mdproxy.x=debug, error")
        self.assertIs(levels(event), PredicateResult.maybe)

    def test_transactions(self) -> None:
        """
        As many requests are remembered as the configuration says.
        """
        service = self.make("[introspection]\ntransactions = 16\n")
        for _ in range(20):
            self.ask(service)
        self.assertEqual(len(self.proxy_of(service).transactions.describe()), 16)
