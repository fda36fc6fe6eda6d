# -*- test-case-name: tests.test_logs_observers -*-
"""
What becomes of events that are worth a line: text, JSON, or the journal's fields.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
)
from zope.interface import implementer

from mdproxy.logs.journald import Journal, event_fields
from mdproxy.logs.levels import Levels
from mdproxy.logs.lines import json_line, text_line
from mdproxy.logs.outlet import Descriptor, LogFileSink, Outlet, Sink

#: How an event becomes lines; C{None}: there is nothing to tell.
Format = Callable[[LogEvent], str | None]

_FORMATS: Final[Mapping[str, Format]] = {"text": text_line, "json": json_line}


@implementer(ILogObserver)
@define(eq=False)
class Lines:
    """
    Writes events as lines.

    @ivar _format: Writes one.
    @ivar _sink: Where they go.
    @ivar _clock: When to try again.
    @ivar _wall: Seconds since the epoch.
    @ivar outlet: The way there.
    """

    _format: Format
    _sink: Sink
    _clock: IReactorTime
    _wall: Callable[[], float]
    outlet: Outlet = field(init=False)

    @outlet.default
    def _(self) -> Outlet:
        """
        Have lines go to the sink, and hear of those that it did not take.
        """
        return Outlet(self._sink, self._clock, self._missed)

    def __call__(self, event: LogEvent) -> None:
        """
        Provide C{ILogObserver.__call__}.
        """
        line = self._format(event)
        if line is not None:
            self.outlet.write(line.encode("utf-8", "backslashreplace"))

    def _missed(self, count: int) -> None:
        """
        Tell of lines that are not there.
        """
        self(missed(count, self._wall()))


def missed(count: int, now: float) -> LogEvent:
    """
    Make the event that tells of others that were not logged.

    @param now: Seconds since the epoch.
    """
    return {
        "log_format": "{count} events were not logged: nobody took them",
        "log_level": LogLevel.warn,
        "log_namespace": __name__,
        "log_time": now,
        "count": count,
    }


@implementer(ILogObserver)
@define(eq=False)
class Journaled:
    """
    Sends events to systemd's journal; where there is none they become lines.

    @ivar _journal: The way to it.
    @ivar _lines: Takes what the journal can't.
    @ivar _wall: Seconds since the epoch.
    @ivar _is_away: Whether the journal was not there when it was last asked.
    @ivar dropped: How many events it was too busy for.
    @ivar _untold: How many of these nobody was told of yet.
    """

    _journal: Journal
    _lines: Callable[[LogEvent], None]
    _wall: Callable[[], float]
    _is_away: bool = field(default=False, init=False)
    dropped: int = field(default=0, init=False)
    _untold: int = field(default=0, init=False)

    def __call__(self, event: LogEvent) -> None:
        """
        Provide C{ILogObserver.__call__}.
        """
        fields = event_fields(event)
        if fields is None:
            return
        try:
            self._journal.send(fields)
        except BlockingIOError:
            self.dropped += 1
            self._untold += 1
            return
        except OSError as error:
            self._turn_away(error)
            self._lines(event)
            return
        self._is_away = False
        if self._untold:
            untold, self._untold = self._untold, 0
            self(missed(untold, self._wall()))

    def _turn_away(self, error: OSError) -> None:
        """
        Say that events go elsewhere, once until the journal is there again.
        """
        if self._is_away:
            return
        self._is_away = True
        self._lines(
            {
                "log_format": "there is no journal ({problem}): the log goes here",
                "log_level": LogLevel.warn,
                "log_namespace": __name__,
                "log_time": self._wall(),
                "problem": error.strerror or type(error).__name__,
            }
        )


def make_observer(
    form: str,
    levels: Levels,
    options: Mapping[str, Any],
    clock: IReactorTime,
    wall: Callable[[], float],
) -> Any:
    """
    Make what C{twistd} logs with, as it and the configuration were told.

    Where the log goes is C{twistd}'s business (C{--logfile}, C{--syslog}), but for the
    journal; C{--logger} does not even ask for this one.

    @param form: C{text}, C{json} or C{journald}.
    @param levels: What is worth a line.
    @param options: The options of C{twistd}.
    @param clock: When to try again.
    @param wall: Seconds since the epoch.

    @return: An C{ILogObserver}.
    """
    observer: Any
    if options.get("syslog"):
        # It opens the way to syslog at once.
        from twisted.python.syslog import SyslogObserver

        syslog = SyslogObserver(options.get("prefix") or "mdproxy")
        observer = LegacyLogObserverWrapper(cast(Any, syslog.emit))
        return FilteringLogObserver(observer, [levels])
    file = _file_of(options)
    sink = standard_output() if file is None else _open(file)
    observer = Lines(_FORMATS.get(form, text_line), sink, clock, wall)
    if form == "journald" and file is None:
        observer = Journaled(Journal(), observer, wall)
    return FilteringLogObserver(observer, [levels])


def _file_of(options: Mapping[str, Any]) -> str | None:
    """
    Tell to which file C{twistd} would log.

    @return: C{None}: to standard output.

    @raise SystemExit: If it would have none.
    """
    file: str = options.get("logfile") or ""
    if options.get("nodaemon"):
        return None if file in ("", "-") else file
    if file == "-":
        sys.exit("Daemons cannot log to stdout, exiting!")
    return file or "twistd.log"


def standard_output(stream: Any = sys.__stdout__) -> Sink:
    """
    Find standard output.

    @param stream: It, as Python found it; C{None}: it was closed, and its number may be
        that of any other file by now.
    """
    if stream is None:
        return Descriptor(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
    return Descriptor(stream.fileno())


def _open(path: str) -> Sink:
    """
    Open a log file as C{twistd} does (twisted/scripts/_twistd_unix.py,
    C{UnixAppLogger}), which SIGUSR1 rotates.
    """
    # Few log to a file of Twisted's.
    from twisted.python.logfile import LogFile

    file = LogFile.fromFullPath(path)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda _number, _frame: _rotate_soon(file))
    return LogFileSink(file)


def _rotate_soon(file: Any) -> None:
    """
    Rotate in the reactor's turn, not between two bytecodes.
    """
    from twisted.internet import reactor

    cast(Any, reactor).callFromThread(file.rotate)
