"""
A test case that reads everything that is logged, and finds nothing secret in it.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

SECRET = b"deadbeef2eb84d8d"
#: What tests write into the bodies of requests and responses.
BODY = b"#cloud-config of one instance alone\n"

#: An HMAC-SHA256 in hexadecimal, and a bit of each secret text.
_SECRET = re.compile(
    r"[0-9a-fA-F]{64}|%s|%s" % (SECRET.decode(), BODY.decode().strip())  # noqa: UP031
)


def find_secret(text: str) -> str | None:
    """
    Find a secret, a signature or a body in a text.

    @return: What was found; C{None}: nothing.
    """
    found = _SECRET.search(text)
    return None if found is None else found.group()


class SecrecyTestCase(SynchronousTestCase):
    """
    Every event that is logged during a test holds nothing secret, in no field.

    @ivar events: What was logged so far.
    """

    events: list[Any]
    _hear: Any

    def setUp(self) -> None:
        """
        Listen to all logs.
        """
        self.events = []
        self._hear = self.events.append
        globalLogPublisher.addObserver(self._hear)
        self.addCleanup(self._judge)

    def logged(self) -> list[tuple[str, str]]:
        """
        List what was logged: level and line.
        """
        return [
            (event["log_level"].name, formatEvent(event))
            for event in self.events
            if event.get("log_namespace", "").startswith("mdproxy")
        ]

    def _judge(self) -> None:
        """
        Read all that was logged, the fields that are not in the line included.
        """
        globalLogPublisher.removeObserver(self._hear)
        for event in self.events:
            text = f"{formatEvent(event)} {event!r}"
            if "log_failure" in event:
                text += event["log_failure"].getTraceback()
            self.assertIsNone(find_secret(text), text)
