"""
Tests for L{mdproxy.access_log}.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from mdproxy.access_log import MOST, PERIOD, AccessLog, ToJournal, Wording
from mdproxy.logs.journald import Journal
from mdproxy.transactions import BATCH, RequestIds, Transactions
from tests.secrecy import SecrecyTestCase
from tests.test_logs_journald import read_datagram
from tests.test_transactions import CALLER, REFUSED, written

#: 2026-11-22T01:00:00 UTC.
START = 1795309200.0


class AccessLogCase(SecrecyTestCase):
    """
    A case with transactions and a file for them.
    """

    def setUp(self) -> None:
        """
        Begin with none.
        """
        super().setUp()
        self.clock = Clock()
        self.clock.advance(5.0)
        self.transactions = Transactions(
            RequestIds("req-0-"), self.clock.seconds, self.wall
        )
        self.path = Path(self.mktemp()).absolute()

    def wall(self) -> float:
        """
        Tell the time of the day.
        """
        return START + self.clock.seconds()

    def make(self, where: str | None = None) -> AccessLog:
        """
        Make an access log, and start it until the test is over.
        """
        where = str(self.path) if where is None else where
        log = AccessLog(self.transactions, self.clock, self.wall, where)
        log.startService()
        self.addCleanup(lambda: log.running and log.stopService())
        return log

    def note(self, count: int = 1, **changes: Any) -> None:
        """
        Have requests end.
        """
        for _ in range(count):
            self.transactions.note(written(**changes))

    def read(self) -> list[Mapping[str, Any]]:
        """
        Read the file.
        """
        lines = self.path.read_bytes().splitlines(keepends=True)
        self.assertEqual([line for line in lines if not line.endswith(b"\n")], [])
        return [json.loads(line) for line in lines]


class WordingTests(AccessLogCase):
    """
    Tests for L{Wording}.
    """

    def told(self, **changes: Any) -> dict[str, Any]:
        """
        Write a transaction, and read it.
        """
        wording = Wording(self.transactions, self.clock.seconds, self.wall)
        (line,) = wording.lines([written(**changes)])
        self.assertTrue(line.isascii())
        self.assertEqual(line.index("\n"), len(line) - 1)
        told: dict[str, Any] = json.loads(line)
        return told

    def assert_same(self, **changes: Any) -> None:
        """
        A line says what operators see elsewhere, and the time besides.
        """
        told = self.told(**changes)
        self.transactions.clear()
        self.note(**changes)
        (words,) = self.transactions.describe()
        self.assertEqual(told.pop("time")[:10], "2026-11-22")
        self.assertEqual(told, words)

    def test_words(self) -> None:
        """
        The words are those of the operator's pages, whatever came of the request.
        """
        self.assert_same()
        self.assert_same(verdict=REFUSED, status=404, outcome="no-instance")
        self.assert_same(verdict=None, status=0, tries=0, target=b"/\"\\\x00\xff'\n")
        self.assert_same(caller=evolve(CALLER, mac="fa:16:3e:00:00:09", network="n/d"))

    def test_time(self) -> None:
        """
        The time is when the request ended, to the microsecond.
        """
        self.assertEqual(self.told(ended=4.5)["time"], "2026-11-22T01:00:04.500000Z")
        self.assertEqual(self.told(ended=5.0)["time"], "2026-11-22T01:00:05.000000Z")

    def test_callers_are_told_apart(self) -> None:
        """
        What is remembered of one caller or verdict is told of no other.
        """
        wording = Wording(self.transactions, self.clock.seconds, self.wall)
        others = [
            evolve(CALLER, address=f"10.0.{n // 256}.{n % 256}") for n in range(5000)
        ]
        for _ in range(2):
            lines = wording.lines([written(caller=other) for other in others])
            addresses = [json.loads(line)["address"] for line in lines]
            self.assertEqual(addresses, [other.address for other in others])
        verdicts = [written(), written(verdict=None), written(verdict=REFUSED)]
        told = [json.loads(line) for line in wording.lines([*verdicts, *verdicts])]
        self.assertEqual(
            [(each["instance"], each["verdict"]) for each in told],
            [("i-1", "allowed"), (None, None), (None, "refused")] * 2,
        )

    @given(st.binary(), st.binary(max_size=20), st.text())
    def test_anything(self, target: bytes, method: bytes, network: str) -> None:
        """
        Whatever an instance asks for, and however a network is called, it is one line.
        """
        told = self.told(
            target=target, method=method, caller=evolve(CALLER, network=network)
        )
        self.assertEqual(told["target"].encode("latin-1"), target)
        self.assertEqual(told["method"].encode("latin-1"), method)
        self.assertEqual(told["network"], network)


class FileTests(AccessLogCase):
    """
    Tests for L{AccessLog} with a file.
    """

    def test_off(self) -> None:
        """
        Without a place nothing is told, and no timer runs.
        """
        log = self.make("")
        self.assertEqual(log.describe(), {"to": "", "problem": None, "dropped": 0})
        self.note(BATCH)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_together(self) -> None:
        """
        Nothing is opened at first; then requests are written together, after half a
        second.
        """
        self.make()
        self.note(3)
        self.assertFalse(self.path.exists())
        self.clock.advance(PERIOD)
        self.assertEqual(len(self.read()), 3)
        self.note()
        self.assertEqual(len(self.read()), 3)
        self.clock.advance(PERIOD)
        self.assertEqual(len(self.read()), 4)

    def test_many(self) -> None:
        """
        Where there are many they are written before that, and none is lost, however
        few the ring remembers.
        """
        self.make()
        self.note(BATCH * 5)
        self.assertGreater(len(self.path.read_bytes()), 1 << 16)
        self.clock.advance(PERIOD)
        self.assertEqual(len(self.read()), BATCH * 5)

    def test_closed_to_others(self) -> None:
        """
        The file is open to its owner and its group to read, whatever the umask; one
        that is there already keeps its mode.
        """
        self.addCleanup(os.umask, os.umask(0o077))
        log = self.make()
        self.clock.advance(PERIOD)
        self.note()
        self.clock.advance(PERIOD)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)
        self.path.chmod(0o600)
        log.reopen()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_stop(self) -> None:
        """
        When it is stopped all is written, and no timer and no file is left.
        """
        log = self.make()
        self.note(2)
        before = len(os.listdir("/proc/self/fd"))
        log.stopService()
        self.assertEqual(len(self.read()), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.note(BATCH)
        self.assertEqual(len(self.read()), 2)

    def test_reopened(self) -> None:
        """
        What was put away has all that ended before, and what is new goes to a new file.
        """
        log = self.make()
        self.note()
        self.clock.advance(PERIOD)
        old = self.path.with_suffix(".1")
        self.path.rename(old)
        self.note(2)
        log.reopen()
        self.assertEqual(len(old.read_bytes().splitlines()), 3)
        self.note()
        self.clock.advance(PERIOD)
        self.assertEqual(len(self.read()), 1)
        self.assertEqual(self.logged(), [])

    def test_reopened_in_vain(self) -> None:
        """
        Where the new file can't be opened the old one goes on, which is said once; it
        is tried again.
        """
        directory = self.path
        directory.mkdir()
        self.path = directory / "access.log"
        log = self.make()
        self.note()
        self.clock.advance(PERIOD)
        away = directory.with_suffix(".away")
        directory.rename(away)
        log.reopen()
        self.note()
        self.clock.pump([PERIOD] * 3)
        self.assertEqual(len((away / "access.log").read_bytes().splitlines()), 2)
        (line,) = (line for level, line in self.logged() if level == "error")
        self.assertIn(f"{self.path} can't be written: No such file", line)
        directory.mkdir()
        self.clock.advance(PERIOD)
        self.note()
        self.clock.advance(PERIOD)
        self.assertEqual(len(self.read()), 1)
        self.assertIn("is written again (0 lines are missing)", self.logged()[-1][1])

    def test_elsewhere(self) -> None:
        """
        It can be told to go elsewhere, or nowhere, while it runs and before.
        """
        first, self.path = self.path, self.path.with_suffix(".other")
        log = self.make(str(first))
        self.note()
        log.write_to(str(self.path))
        self.note(2)
        log.write_to("")
        self.note(3)
        self.assertEqual(len(first.read_bytes().splitlines()), 1)
        self.assertEqual(len(self.read()), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        later = AccessLog(self.transactions, self.clock, self.wall, "")
        later.write_to(str(self.path))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full_disk(self) -> None:
        """
        A disk that is full is told once, and costs lines beyond a bounded number; when
        there is room again what waited is written, and it is told how many are missing.
        """
        log = self.make("/dev/full")
        self.note(BATCH)
        self.clock.pump([PERIOD] * 4)
        self.assertEqual(len(self.logged()), 1)
        self.assertEqual(
            self.logged()[0],
            (
                "error",
                "the access log /dev/full can't be written: No space left on device",
            ),
        )
        wide = b"/" + b"x" * 255
        while not log.dropped:
            self.note(BATCH, target=wide)
        self.assertEqual(
            log.describe(),
            {
                "to": "/dev/full",
                "problem": "No space left on device",
                "dropped": BATCH,
            },
        )
        self.assertLessEqual(len(log.waiting), MOST)
        kept = log.waiting.count(b"\n")
        cast(Any, log)._sink.path = str(self.path)
        log.reopen()
        self.clock.advance(PERIOD)
        self.assertEqual(len(self.read()), kept)
        self.assertEqual(
            self.logged()[-1],
            (
                "warn",
                f"the access log /dev/full is written again ({BATCH} lines are "
                "missing)",
            ),
        )

    def test_no_file(self) -> None:
        """
        A file that can't be opened is told once, and tried again.
        """
        self.path = self.path / "access.log"
        self.make()
        self.note(3)
        self.clock.pump([PERIOD] * 3)
        self.assertEqual(len(self.logged()), 1)
        self.path.parent.mkdir()
        self.clock.advance(PERIOD)
        self.assertEqual(len(self.read()), 3)

    def test_pipe(self) -> None:
        """
        A pipe that nobody reads makes nobody wait.
        """
        os.mkfifo(self.path)
        self.make()
        self.note()
        self.clock.advance(PERIOD)
        (line,) = (line for _level, line in self.logged())
        self.assertIn("can't be written: No such device or address", line)


class JournalTests(AccessLogCase):
    """
    Tests for L{ToJournal}.
    """

    def test_entries(self) -> None:
        """
        Each line is an entry with fields; one that is not whole waits.
        """
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = str(Path(directory.name, "socket"))
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listening.close)
        listening.bind(path)
        sink = ToJournal(Journal(path))
        self.addCleanup(sink.close)
        wording = Wording(self.transactions, self.clock.seconds, self.wall)
        whole = "".join(wording.lines([written(), written(verdict=REFUSED)])).encode()
        self.assertEqual(sink.write(whole + b'{"meth'), len(whole))
        first, second = (read_datagram(listening.recv(9999)) for _ in range(2))
        self.assertEqual(first["MESSAGE"], "GET /é 200 relayed")
        self.assertEqual(first["SYSLOG_IDENTIFIER"], "mdproxy-access")
        self.assertEqual(first["MDPROXY_REQUEST_ID"], "req-0-000000000007")
        self.assertEqual(first["MDPROXY_INSTANCE"], "i-1")
        self.assertNotIn("MDPROXY_MAC", first)
        self.assertEqual(second["MDPROXY_VERDICT"], "refused")

    def test_away(self) -> None:
        """
        Where there is no journal that is an error.
        """
        sink = ToJournal(Journal("/nowhere/socket"))
        self.addCleanup(sink.close)
        self.assertRaises(FileNotFoundError, sink.write, self.line())

    def line(self) -> bytes:
        """
        Write a line.
        """
        wording = Wording(self.transactions, self.clock.seconds, self.wall)
        return wording.lines([written()])[0].encode()
