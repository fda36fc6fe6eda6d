"""
Tests for L{mdproxy.logs.journald}.
"""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.logs.journald import Journal, datagram, event_fields, named
from tests.test_logs_lines import EVENT
from tests.test_logs_plain import failure


def read_datagram(data: bytes) -> dict[str, str]:
    """
    Read fields as the journal does (systemd, docs/JOURNAL_NATIVE_PROTOCOL.md).
    """
    fields: dict[str, str] = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, end, rest = rest[8 : 8 + size], rest[8 + size], rest[9 + size :]
            assert end == ord("\n")
        fields[name.decode("ascii")] = value.decode("utf-8")
        data = rest
    return fields


class DatagramTests(SynchronousTestCase):
    """
    Tests for L{datagram}.
    """

    def test_lines(self) -> None:
        """
        A value of one line stands behind its name; one of several has its length.
        """
        self.assertEqual(
            datagram({"A": "x=y", "B": "1\n2"}),
            b"A=x=y\nB\n\x03\0\0\0\0\0\0\x001\n2\n",
        )

    @given(st.dictionaries(st.from_regex(r"\A[A-Z]{1,9}\Z"), st.text()))
    def test_anything(self, fields: dict[str, str]) -> None:
        """
        Whatever a value holds, the journal reads the same fields.
        """
        clean = {
            name: value.encode("utf-8", "backslashreplace").decode()
            for name, value in fields.items()
        }
        self.assertEqual(read_datagram(datagram(fields)), clean)

    def test_names(self) -> None:
        """
        Names have only what names in the journal have, and are not too long.
        """
        self.assertEqual(named("request_id"), "MDPROXY_REQUEST_ID")
        self.assertEqual(named("a b=c\nä"), "MDPROXY_A_B_C__")
        self.assertEqual(len(named("x" * 100)), 64)


class EventTests(SynchronousTestCase):
    """
    Tests for L{event_fields}.
    """

    def test_event(self) -> None:
        """
        An event is a message with a priority, and what it is about is in fields.
        """
        self.assertEqual(
            event_fields({**EVENT, "count": 3, "list": ["a"]}),
            {
                "MESSAGE": "news of all",
                "PRIORITY": "4",
                "SYSLOG_IDENTIFIER": "mdproxy",
                "MDPROXY_LOGGER": "mdproxy.x.Y",
                "MDPROXY_WHAT": "news",
                "MDPROXY_WHO": "all",
                "MDPROXY_COUNT": "3",
                "MDPROXY_LIST": '["a"]',
            },
        )

    def test_priorities(self) -> None:
        """
        Levels are those of syslog.
        """
        for level, priority in (
            ("debug", "7"),
            ("info", "6"),
            ("warn", "4"),
            ("error", "3"),
            ("critical", "2"),
        ):
            event = {**EVENT, "log_level": LogLevel.levelWithName(level)}
            fields = event_fields(event)
            assert fields is not None
            self.assertEqual(fields["PRIORITY"], priority)

    def test_failure(self) -> None:
        """
        What went wrong is a part of the message, and a field.
        """
        fields = event_fields({**EVENT, "log_failure": failure(ValueError("x"))})
        assert fields is not None
        self.assertTrue(fields["MESSAGE"].startswith("news of all\nTraceback"))
        self.assertEqual(fields["MDPROXY_FAILURE"], "ValueError: x")

    def test_nothing(self) -> None:
        """
        An event that says nothing is nothing.
        """
        self.assertIsNone(event_fields({"a": 1}))

    def test_nothing_is_taken_over(self) -> None:
        """
        A field of an event can't take the place of one that is ours.
        """
        fields = event_fields({**EVENT, "logger": "false", "message": "false"})
        assert fields is not None
        self.assertEqual(fields["MDPROXY_LOGGER"], "mdproxy.x.Y")
        self.assertEqual(fields["MESSAGE"], "news of all")


class JournalTests(SynchronousTestCase):
    """
    Tests for L{Journal}.
    """

    def setUp(self) -> None:
        """
        Have a place for it, with a short path.
        """
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = str(Path(directory.name, "socket"))
        self.journal = Journal(self.path)
        self.addCleanup(self.journal.close)

    def listen(self) -> socket.socket:
        """
        Begin to be the journal.
        """
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listening.close)
        listening.bind(self.path)
        return listening

    def test_sends(self) -> None:
        """
        Fields arrive as one datagram, also when the journal was started anew.
        """
        for _ in range(2):
            listening = self.listen()
            self.journal.send({"MESSAGE": "a"})
            self.assertEqual(listening.recv(99), b"MESSAGE=a\n")
            listening.close()
            Path(self.path).unlink()

    def test_away(self) -> None:
        """
        Where there is no journal that is an error.
        """
        self.assertRaises(FileNotFoundError, self.journal.send, {"MESSAGE": "a"})
        self.listen().close()
        self.assertRaises(ConnectionRefusedError, self.journal.send, {"MESSAGE": "a"})

    def test_busy(self) -> None:
        """
        A journal that does not read makes nobody wait.
        """
        self.listen()

        def send_all() -> None:
            for _ in range(100_000):
                self.journal.send({"MESSAGE": "a" * 1000})

        self.assertRaises(BlockingIOError, send_all)
