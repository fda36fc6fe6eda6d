"""
Tests for L{mdproxy.entrance}; L{tests.test_agent_socket} has one that is open.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from attrs import define
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.entrance import Entrance


@define(eq=False)
class _Exhausted:
    """
    A listening socket where no connection can be accepted.
    """

    error: int

    def accept(self) -> None:
        """
        Provide C{socket.accept}.
        """
        raise OSError(self.error, os.strerror(self.error))

    def close(self) -> None:
        """
        Provide C{socket.close}.
        """


class EntranceTests(SynchronousTestCase):
    """
    Connections that can't be accepted.
    """

    def refuse(self, error: int) -> tuple[MemoryReactorClock, list[OSError]]:
        """
        Let one be refused.
        """
        reactor, failed = MemoryReactorClock(), list[OSError]()
        listening: Any = _Exhausted(error)
        entrance = Entrance(reactor, listening, self.fail, failed.append, "here")
        entrance.open()
        entrance.doRead()
        return reactor, failed

    def test_no_descriptor_is_left(self) -> None:
        """
        Where no descriptor is left nothing is accepted for a while, rather than trying
        for ever.
        """
        for error in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            reactor, failed = self.refuse(error)
            self.assertEqual([each.errno for each in failed], [error])
            self.assertEqual(reactor.getReaders(), [])

    def test_gone(self) -> None:
        """
        One that is gone before it is accepted is no trouble.
        """
        reactor, failed = self.refuse(errno.ECONNABORTED)
        self.assertEqual(failed, [])
        self.assertEqual(len(reactor.getReaders()), 1)
