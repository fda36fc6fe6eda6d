"""
Tests for L{mdproxy.logs.observers}.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from attrs import define, field
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.logs.levels import Levels
from mdproxy.logs.lines import text_line
from mdproxy.logs.observers import Journaled, Lines, make_observer, standard_output
from tests.test_logs_lines import EVENT
from tests.test_logs_outlet import Reader


@define
class FakeJournal:
    """
    A journal that is there, is busy, or is not there.

    @ivar trouble: What is wrong with it.
    @ivar took: The messages that it has taken.
    """

    trouble: OSError | None = None
    took: list[str] = field(factory=list)

    def send(self, fields: Mapping[str, str]) -> None:
        """
        Provide C{Journal.send}.
        """
        if self.trouble is not None:
            raise self.trouble
        self.took.append(fields["MESSAGE"])


class LinesTests(SynchronousTestCase):
    """
    Tests for L{Lines}.
    """

    def test_lines(self) -> None:
        """
        An event is a line; one that says nothing is none.
        """
        reader, clock = Reader(), Clock()
        lines = Lines(text_line, reader, clock, clock.seconds)
        self.assertTrue(verifyObject(ILogObserver, lines))
        lines(EVENT)
        lines({"a": 1})
        lines({**EVENT, "what": "\ud800"})
        said = reader.took.decode().splitlines()
        self.assertTrue(said[0].endswith("[mdproxy.x.Y#warn] news of all"))
        self.assertTrue(said[1].endswith("[mdproxy.x.Y#warn] \\ud800 of all"))
        self.assertEqual(len(said), 2)

    def test_missed(self) -> None:
        """
        When the reader comes back it is told how many lines are missing.
        """
        reader, clock = Reader(room=0), Clock()
        lines = Lines(text_line, reader, clock, clock.seconds)
        while not lines.outlet.dropped:
            lines({**EVENT, "what": "x" * 8000})
        reader.room = 1 << 30
        clock.advance(1)
        last = reader.took.decode().splitlines()[-1]
        self.assertIn("#warn] 1 events were not logged: nobody took them", last)


class JournaledTests(SynchronousTestCase):
    """
    Tests for L{Journaled}.
    """

    def setUp(self) -> None:
        """
        Have a journal, and something beside it.
        """
        self.beside: list[LogEvent] = []
        self.journal: Any = FakeJournal()
        self.observer = Journaled(
            cast(Any, self.journal), self.beside.append, lambda: 5.0
        )

    def log(self, *words: str) -> None:
        """
        Log events.
        """
        for word in words:
            self.observer({"log_format": "{word}", "word": word})

    def test_journal(self) -> None:
        """
        Events go to the journal alone; one that says nothing goes nowhere.
        """
        self.assertTrue(verifyObject(ILogObserver, self.observer))
        self.log("a", "b")
        self.observer({"x": 1})
        self.assertEqual(self.journal.took, ["a", "b"])
        self.assertEqual(self.beside, [])

    def test_away(self) -> None:
        """
        Where there is none they become lines, which is said once each time; as soon as
        it is there it has them again.
        """
        for _ in range(2):
            self.beside.clear()
            self.journal.trouble = FileNotFoundError(2, "No such file or directory")
            self.log("a", "b")
            (first, *others) = self.beside
            self.assertIn("there is no journal", str(first["log_format"]))
            self.assertEqual(first["problem"], "No such file or directory")
            self.assertEqual([event["word"] for event in others], ["a", "b"])
            self.journal.trouble = None
            self.log("c")
            self.assertEqual(self.journal.took[-1], "c")

    def test_busy(self) -> None:
        """
        What it is too busy for is dropped, counted, and told when it takes events
        again.
        """
        self.journal.trouble = BlockingIOError()
        self.log("a", "b")
        self.assertEqual(self.observer.dropped, 2)
        self.journal.trouble = None
        self.log("c", "d")
        missed = "2 events were not logged: nobody took them"
        self.assertEqual(self.journal.took, ["c", missed, "d"])
        self.assertEqual(self.beside, [])


class MakeObserverTests(SynchronousTestCase):
    """
    Tests for L{make_observer}.
    """

    def make(self, form: str, options: Mapping[str, Any]) -> Callable[[LogEvent], None]:
        """
        Make an observer whose levels begin with warnings.
        """
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        levels, clock = Levels(), Clock()
        levels.go_by([("", "warn")])
        made = make_observer(form, levels, options, clock, clock.seconds)
        observer: Callable[[LogEvent], None] = made
        return observer

    def said_to(self, form: str, **options: Any) -> str:
        """
        Log a warning, and what is less, to a file.

        @return: What it holds.
        """
        path = Path(self.mktemp())
        log = self.make(form, {"logfile": str(path), **options})
        log(EVENT)
        log({**EVENT, "log_level": LogLevel.info})
        return path.read_text()

    def test_file(self) -> None:
        """
        A log file has text or JSON, of the levels that are worth it; for the journal's
        format it has text.
        """
        for options in ({}, {"nodaemon": True}):
            for form in ("text", "journald"):
                (line,) = self.said_to(form, **options).splitlines()
                self.assertTrue(line.endswith("[mdproxy.x.Y#warn] news of all"), line)
            (line,) = self.said_to("json", **options).splitlines()
            self.assertEqual(json.loads(line)["text"], "news of all")

    def test_rotated(self) -> None:
        """
        SIGUSR1 is for the log file, as it is with C{twistd}'s own.
        """
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.said_to("text")
        self.assertTrue(callable(signal.getsignal(signal.SIGUSR1)))

    def test_daemon(self) -> None:
        """
        A daemon without a log file has C{twistd.log}, and none on standard output.
        """
        self.addCleanup(os.chdir, os.getcwd())
        directory = Path(self.mktemp())
        directory.mkdir()
        os.chdir(directory)
        self.make("text", {"nodaemon": False, "logfile": ""})(EVENT)
        self.assertIn("news of all", Path("twistd.log").read_text())
        with self.assertRaises(SystemExit):
            self.make("text", {"nodaemon": False, "logfile": "-"})

    def test_standard_output(self) -> None:
        """
        Lines go to standard output as it was at the start; where it was closed they go
        nowhere, and not to what has its number by now.
        """
        path = Path(self.mktemp())
        with path.open("w") as stream:
            standard_output(stream).write(b"a\n")
            nowhere = standard_output(None)
            self.assertEqual(nowhere.write(b"b\n"), 2)
        self.assertEqual(path.read_text(), "a\n")

    def test_syslog(self) -> None:
        """
        Syslog is C{twistd}'s business, whatever the format.
        """
        for form in ("text", "json", "journald"):
            observer = self.make(form, {"syslog": True, "prefix": "mdproxy-test"})
            self.assertTrue(verifyObject(ILogObserver, observer))
