"""
What every opener of sockets in namespaces promises, to be mixed into test cases.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.broker import ROUTE, TCP4, TCP6, Identity, Rule, Want
from mdproxy.openers import Opener, identity_of

if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object

RULES = [Rule("one", ("qdhcp-*", "qrouter-*"), 80, 9697)]
TAP = "tap0a1b2c3d-4e"
EVERYTHING = [Want(ROUTE), Want(TCP4, TAP), Want(TCP6, TAP)]


class OpenerContract(_Case):
    """
    What is promised where no namespace can be entered, nor need be.

    @ivar directory: Where the names of namespaces are.
    """

    directory: str

    def setUp(self) -> None:
        """
        Make a directory without namespaces.
        """
        super().setUp()
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)

    def make_opener(self) -> Opener:
        """
        Make an opener by L{RULES} for the names in the directory.
        """
        raise NotImplementedError

    def start(self) -> Opener:
        """
        Make an opener and start it, until the test is over.
        """
        opener = self.make_opener()
        opener.start()
        self.addCleanup(opener.stop)
        return opener

    def fail_to_open(
        self, opener: Opener, namespace: str, identity: Identity, number: int
    ) -> None:
        """
        Nothing can be opened, for a reason.
        """
        try:
            opened: list[Any] = opener.open(namespace, identity, EVERYTHING)
        except OSError as error:
            opened = [error] * len(EVERYTHING)
        self.assertEqual([each.errno for each in opened], [number] * len(EVERYTHING))

    def test_names(self) -> None:
        """
        A name that is not there, one that is no namespace, one that is another's, and
        one that no rule is about, can't be entered.
        """
        opener = self.start()
        path = os.path.join(self.directory, "qdhcp-plain")
        with open(path, "w"):
            status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        self.fail_to_open(opener, "qdhcp-none", identity, errno.ENOENT)
        self.fail_to_open(opener, "qdhcp-plain", identity, errno.ESTALE)
        self.fail_to_open(opener, "qdhcp-plain", (1, 2), errno.ESTALE)
        self.fail_to_open(opener, "other", identity, errno.EACCES)
        self.fail_to_open(opener, "../qdhcp-plain", identity, errno.EACCES)
        self.assertIsNone(opener.problem)

    def test_stopped(self) -> None:
        """
        Before it is started and after it is stopped it opens nothing; it can be started
        and stopped more than once, and leaves no descriptor.
        """
        before = os.listdir("/proc/self/fd")
        opener = self.make_opener()
        for _ in range(2):
            self.fail_to_open(opener, "qdhcp-none", (1, 2), errno.EPIPE)
            opener.start()
            opener.start()
            self.assertIsNone(opener.problem)
            self.fail_to_open(opener, "qdhcp-none", (1, 2), errno.ENOENT)
            opener.stop()
            opener.stop()
        self.fail_to_open(opener, "qdhcp-none", (1, 2), errno.EPIPE)
        self.assertEqual(os.listdir("/proc/self/fd"), before)


def identity(path: str) -> Identity:
    """
    Tell which namespace a name that is one stands for.
    """
    found = identity_of(path)
    assert found is not None
    return found
