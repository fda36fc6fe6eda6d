# -*- test-case-name: tests.test_manhole_shell -*-
"""
The shell that who has logged in types at: Python, inside the running service.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pprint import pformat
from typing import Any, Final

from twisted.conch.insults.insults import ServerProtocol, modes
from twisted.conch.manhole import Manhole, ManholeInterpreter
from twisted.logger import Logger

#: So many lines that were typed can be had again.
_HISTORY: Final = 1000


class _Silent(Logger):
    """
    Writes nothing: what somebody types is nobody else's business.
    """

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        """
        Drop an event.
        """


class Interpreter(ManholeInterpreter):
    """
    Runs what was typed, and shows plain values so that they can be read.
    """

    def runcode(self, *args: Any, **kwargs: Any) -> None:
        """
        Run what was typed; C{SystemExit} ends the session, and not the service.
        """
        try:
            super().runcode(*args, **kwargs)
        except SystemExit:
            self.handler.handle_QUIT()

    def displayhook(self, obj: Any) -> None:
        """
        Show a value; what instances have chosen is in there escaped.
        """
        if not isinstance(obj, (Mapping, list, tuple, Set)):
            super().displayhook(obj)
            return
        self.locals["_"] = obj
        width = max(int(self.handler.width) - 1, 40)
        self.write(pformat(obj, width=width, sort_dicts=False))


class Console(Manhole):
    """
    Lets somebody edit lines, and has them run.

    The screen is left as it was found: neither is it wiped at the beginning, as conch
    would, nor are its modes changed for good.
    """

    _log = _Silent()

    def __init__(self, namespace: Mapping[str, Any], banner: str, width: int) -> None:
        """
        Prepare a session.

        @param namespace: What is there by name; the session has a copy of its own.
        @param banner: What is said at the beginning.
        @param width: How many characters a line of the terminal has.
        """
        leave = {"exit": self.handle_QUIT, "quit": self.handle_QUIT}
        super().__init__({**namespace, **leave})
        self.width = width
        self._banner = banner

    def connectionMade(self) -> None:
        """
        Begin.
        """
        super().connectionMade()
        self.interpreter = Interpreter(self, self.namespace)

    def initializeScreen(self) -> None:
        """
        Say what is there, and ask.
        """
        self.terminal.write(f"{self._banner}\n".encode() + self.ps[self.pn])
        self.setInsertMode()

    def terminalSize(self, width: int, height: int) -> None:
        """
        Take note of a size; what is on the screen stays there.
        """
        self.width, self.height = width, height

    def handle_RETURN(self) -> None:
        """
        Have a line run.
        """
        del self.historyLines[: -_HISTORY + 1]
        super().handle_RETURN()

    def handle_QUIT(self) -> None:
        """
        Leave.
        """
        self.terminal.loseConnection()


class Screen(ServerProtocol):
    """
    A terminal at the other end.

    @ivar console: What is seen on it.
    """

    transport: Any

    def __init__(self, console: Console) -> None:
        """
        Prepare a terminal.
        """
        super().__init__(lambda: console)
        self.console = console

    def loseConnection(self) -> None:
        """
        End the session; conch would wipe the screen.
        """
        self.transport.loseConnection()

    def leave(self) -> None:
        """
        Leave the screen as it was.
        """
        self.resetModes([modes.IRM])
        self.nextLine()
