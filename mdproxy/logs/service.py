# -*- test-case-name: tests.test_logs_service -*-
"""
The service as a whole, which brings its way of logging to C{twistd}.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from mdproxy.life import InOrder
from mdproxy.logs.levels import Levels
from mdproxy.operator_config import LogConfig


class Logged(InOrder):
    """
    Services that are stopped in order, and log as the configuration says.

    C{twistd} logs with what the application has for C{ILogObserver}, unless it was told
    otherwise (twisted/application/app.py, C{AppLogger}); other programs that run
    services, such as C{python -m twisted}, log in their own way.

    @ivar levels: What is worth a line.
    """

    _log = Logger()

    def __init__(
        self, config: LogConfig, options: Mapping[str, Any], clock: IReactorTime
    ) -> None:
        """
        Begin without services.

        @param options: Those of C{twistd}.
        @param clock: When to offer again what nobody took.
        """
        super().__init__()
        self.levels = Levels()
        self.levels.go_by(config.levels)
        self._config = config
        self._options = options
        self._clock = clock

    def setServiceParent(self, parent: Any) -> None:
        """
        Provide C{IService.setServiceParent}.
        """
        super().setServiceParent(parent)
        # Of all programs that run services only twistd has this option.
        if not isinstance(parent, Componentized) or "nodaemon" not in self._options:
            return
        # Whoever runs services in another way has no use for it.
        from mdproxy.logs.observers import make_observer

        if (without := self._without()) is not None:
            self._log.warn(
                "[log] format = {form} does not count with twistd's {option}",
                form=self._config.format,
                option=without,
            )
        observer = make_observer(
            self._config.format, self.levels, self._options, self._clock, time.time
        )
        parent.setComponent(ILogObserver, observer)

    def _without(self) -> str | None:
        """
        Name what C{twistd} was told so that our format can't count.
        """
        form, file = self._config.format, self._options.get("logfile")
        if form == "text":
            return None
        for option in ("logger", "syslog"):
            if self._options.get(option):
                return f"--{option}"
        return "--logfile" if form == "journald" and file not in (None, "-") else None
