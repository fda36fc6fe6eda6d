"""
Tests for L{mdproxy.logs.service}.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import Application, MultiService
from twisted.application.twist._options import TwistOptions
from twisted.internet.task import Clock
from twisted.logger import ILogObserver
from twisted.python.components import Componentized

from mdproxy.logs.service import Logged
from mdproxy.operator_config import LogConfig
from tests.secrecy import SecrecyTestCase
from tests.test_logs_lines import EVENT


class LoggedTests(SecrecyTestCase):
    """
    Tests for L{Logged}.
    """

    def make(self, form: str = "text", **options: Any) -> Logged:
        """
        Make a service.
        """
        config = LogConfig(form, (("mdproxy", "error"),), "")
        self.path = Path(self.mktemp())
        given = {"nodaemon": True, "logfile": str(self.path), **options}
        return Logged(config, given, Clock())

    def test_application(self) -> None:
        """
        An application whose service it is logs as it says, by the levels that count at
        that moment.
        """
        service = self.make()
        application: Any = Application("x")
        service.setServiceParent(application)
        observer = Componentized.getComponent(application, ILogObserver)
        assert observer is not None
        observer(EVENT)
        self.assertEqual(self.path.read_text(), "")
        service.levels.go_by([])
        observer(EVENT)
        self.assertIn("news of all", self.path.read_text())
        self.assertEqual(self.logged(), [])

    def test_elsewhere(self) -> None:
        """
        In another service it has nothing to say about logs.
        """
        service = self.make()
        service.setServiceParent(MultiService())
        self.assertFalse(self.path.exists())

    def test_other_programs(self) -> None:
        """
        C{python -m twisted} logs in its own way: no log file of C{twistd}'s is made.
        """
        self.addCleanup(os.chdir, os.getcwd())
        directory = Path(self.mktemp())
        directory.mkdir()
        os.chdir(directory)
        config = LogConfig("text", (), "")
        service = Logged(config, TwistOptions(), Clock())
        service.setServiceParent(Application("x"))
        self.assertEqual(os.listdir(), [])

    def test_without(self) -> None:
        """
        Where the format does not count, because twistd was told where to log, that is
        said.
        """
        for form, options, words in (
            ("json", {"syslog": True, "prefix": "x"}, "twistd's --syslog"),
            ("json", {"logger": "x.y"}, "twistd's --logger"),
            ("journald", {}, "twistd's --logfile"),
            ("json", {}, None),
            ("text", {"syslog": True, "prefix": "x"}, None),
        ):
            self.events.clear()
            self.make(form, **options).setServiceParent(Application("x"))
            lines = [line for _level, line in self.logged()]
            self.assertEqual(len(lines), words is not None)
            if words is not None:
                self.assertIn(f"format = {form} does not count with {words}", lines[0])
