"""
Tests for L{mdproxy.reload}.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, evolve, field, fields
from twisted.internet.task import Clock

from mdproxy.config import Config, ConfigError, ListenerConfig, ManholeConfig
from mdproxy.reload import (
    AT_START,
    Change,
    Prepare,
    Reload,
    exchanged,
    waiting_for_restart,
)
from tests.secrecy import SECRET, SecrecyTestCase, find_secret
from tests.test_config import PLAIN

FIRST = evolve(PLAIN, secret=SECRET)
SECOND = evolve(FIRST, secret=b"other", drain_timeout=7.0)
#: What is done to each part, in order.
STEPS = ("prepare", "apply", "finish")
#: 2026-11-22T01:00:00 UTC.
START = 1795309200


@define
class Part:
    """
    A part that notes what is done to it.

    @ivar word: Its name.
    @ivar told: What was done to all parts, in order.
    @ivar unfit: Raised when it is to get ready.
    @ivar broken: What it can't do.
    """

    word: str
    told: list[str]
    unfit: Exception | None = None
    broken: set[str] = field(factory=set)

    def prepare(self, old: Config, new: Config) -> Change:
        """
        Get ready.
        """
        self.told.append(f"prepare {self.word}")
        if self.unfit is not None:
            raise self.unfit
        return Change(*(partial(self.do, word) for word in ("apply", "undo", "finish")))

    def do(self, word: str) -> None:
        """
        Do one of the steps.
        """
        self.told.append(f"{word} {self.word}")
        if word in self.broken:
            raise ZeroDivisionError(word)


class ReloadTests(SecrecyTestCase):
    """
    Tests for L{Reload}.
    """

    def setUp(self) -> None:
        """
        Have a configuration in force, with two parts.
        """
        super().setUp()
        self.clock = Clock()
        self.clock.advance(START)
        self.told: list[str] = []
        self.parts = {word: Part(word, self.told) for word in ("a", "b")}
        self.says: Config | Exception = SECOND
        self.reload = self.make(*(part.prepare for part in self.parts.values()))

    def make(self, *parts: Prepare) -> Reload:
        """
        Put the first configuration in force.
        """
        return Reload(FIRST, self.load, parts, self.clock.seconds)

    def load(self) -> Config:
        """
        Read the files.
        """
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def renew(self, says: Config | Exception) -> None:
        """
        Have the files say something, and SIGHUP come a minute later.
        """
        self.says = says
        self.clock.advance(60)
        self.told.clear()
        self.events.clear()
        self.reload.renew()

    def assert_refused(self, *faults: str) -> None:
        """
        The first configuration is in force, and the log and the status say why.
        """
        self.assertEqual(self.reload.config, FIRST)
        lines = [line for level, line in self.logged() if level == "error"]
        self.assertEqual(
            lines,
            [
                *faults,
                f"the configuration is refused (faults: {len(faults)}): the one that "
                "is in force since 2026-11-22T01:00:00+00:00 stays",
            ],
        )
        self.assertEqual(
            self.reload.describe(),
            {
                "since": "2026-11-22T01:00:00+00:00",
                "needs_restart": [],
                "last_reload": {
                    "at": "2026-11-22T01:01:00+00:00",
                    "result": "refused",
                    "faults": list(faults),
                },
            },
        )

    def test_also(self) -> None:
        """
        A part that is added later changes over after the others.
        """
        self.reload.also(Part("c", self.told).prepare)
        self.renew(SECOND)
        self.assertEqual(
            self.told,
            [f"{what} {part}" for what in STEPS for part in ("a", "b", "c")],
        )

    def test_before(self) -> None:
        """
        Before the first reload the status tells since when the configuration is in
        force.
        """
        self.assertEqual(
            self.reload.describe(),
            {
                "since": "2026-11-22T01:00:00+00:00",
                "needs_restart": [],
                "last_reload": None,
            },
        )

    def test_taken(self) -> None:
        """
        A good configuration takes effect: all parts are ready before the first changes
        over, and nothing is let go of before the last has.
        """
        self.renew(SECOND)
        self.assertEqual(
            self.told,
            [f"{step} {p}" for step in ("prepare", "apply", "finish") for p in "ab"],
        )
        self.assertEqual(self.reload.config, SECOND)
        self.assertEqual(
            self.logged(),
            [
                ("info", "SIGHUP: reading the configuration again"),
                ("info", "the configuration that was read is in force"),
            ],
        )
        self.assertEqual(
            self.reload.describe(),
            {
                "since": "2026-11-22T01:01:00+00:00",
                "needs_restart": [],
                "last_reload": {
                    "at": "2026-11-22T01:01:00+00:00",
                    "result": "taken",
                    "faults": [],
                },
            },
        )

    def test_refused(self) -> None:
        """
        A configuration with faults touches no part; each fault is a line of its own, as
        an error, once.
        """
        self.renew(ConfigError(["one is wrong", "so is the other"]))
        self.assertEqual(self.told, [])
        self.assert_refused("one is wrong", "so is the other")

    def test_unfit_parts(self) -> None:
        """
        The faults of all parts are told at once, and no part has changed over; one that
        was ready becomes what it was.
        """
        self.parts["a"].unfit = ConfigError(["a can't"])
        self.reload = self.make(
            self.parts["a"].prepare,
            self.parts["b"].prepare,
            Part("c", self.told, ConfigError(["c can't", "nor otherwise"])).prepare,
        )
        self.renew(SECOND)
        self.assertEqual(self.told, ["prepare a", "prepare b", "prepare c", "undo b"])
        self.assert_refused("a can't", "c can't", "nor otherwise")

    def test_faults_of_ours(self) -> None:
        """
        Whatever else goes wrong is told in full, and the configuration before stays in
        force: in every part, if some have changed over.
        """
        cases: tuple[tuple[Callable[[], None], str], ...] = (
            (lambda: setattr(self, "says", ZeroDivisionError("load")), ""),
            (
                lambda: setattr(self.parts["b"], "unfit", ZeroDivisionError("prepare")),
                "prepare a, prepare b, undo a",
            ),
            (
                lambda: self.parts["b"].broken.add("apply"),
                "prepare a, prepare b, apply a, apply b, undo a, undo b",
            ),
        )
        for break_it, told in cases:
            self.setUp()
            self.says = SECOND
            break_it()
            self.renew(self.says)
            self.assertEqual(", ".join(self.told), told)
            [failure] = self.flushLoggedErrors(ZeroDivisionError)
            self.assertIn("Traceback", failure.getTraceback())
            critical = [line for level, line in self.logged() if level == "critical"]
            self.assertEqual(critical, ["the reload met a fault of mdproxy itself"])
            self.assert_refused("a fault of mdproxy itself: ZeroDivisionError")

    def test_broken_steps(self) -> None:
        """
        A step back, or a last step, that goes wrong is told, and keeps no other from
        being done.
        """
        for part in self.parts.values():
            part.broken = {"finish", "undo"}
        self.renew(SECOND)
        self.assertEqual(self.told[-2:], ["finish a", "finish b"])
        self.assertEqual(self.reload.config, SECOND)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.parts["b"].broken = {"apply", "undo"}
        self.renew(FIRST)
        self.assertEqual(self.told[-2:], ["undo a", "undo b"])
        self.assertEqual(self.reload.config, SECOND)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_again(self) -> None:
        """
        After a refusal the next good configuration is taken, as if nothing had been.
        """
        self.renew(ConfigError(["wrong"]))
        self.renew(SECOND)
        self.assertEqual(self.reload.config, SECOND)
        described = self.reload.describe()
        self.assertEqual(described["last_reload"]["faults"], [])
        self.assertEqual(described["since"], "2026-11-22T01:02:00+00:00")

    def test_restart(self) -> None:
        """
        What only a restart can change is named in one warning and in the status, each
        time, until the files say again what is in force; all else takes effect.
        """
        more = ListenerConfig("br1", "device", "br1", None, 80, "br1", "mac")
        wanted = evolve(
            SECOND,
            listeners=(*FIRST.listeners, more),
            introspection=evolve(FIRST.introspection, endpoint="tcp:1", contrail=False),
            log=evolve(FIRST.log, format="json", access_log="/a"),
        )
        names = [
            *("[listener:br1]", "[introspection] endpoint"),
            *("[introspection] contrail", "[log] format"),
        ]
        taken = evolve(SECOND, log=evolve(FIRST.log, access_log="/a"))
        for _ in range(2):
            self.renew(wanted)
            self.assertEqual(
                [line for level, line in self.logged() if level == "warn"],
                [f"needs a restart: {', '.join(names)}"],
            )
            self.assertEqual(self.reload.describe()["needs_restart"], names)
            self.assertEqual(self.reload.config, taken)
        self.renew(FIRST)
        self.assertEqual(self.reload.describe()["needs_restart"], [])
        self.assertEqual({level for level, _line in self.logged()}, {"info"})

    def test_notes(self) -> None:
        """
        What is right but worth a line is logged when it is new.
        """
        for notes, told in (
            (("one",), ["one"]),
            (("one", "two"), ["two"]),
            (("one", "two"), []),
        ):
            self.renew(evolve(SECOND, notes=notes))
            lines = [line for level, line in self.logged() if level == "warn"]
            self.assertEqual(lines, told)

    def test_no_secret(self) -> None:
        """
        The status is JSON and holds no secret.
        """
        self.renew(ConfigError(["wrong"]))
        self.assertIsNone(find_secret(json.dumps(self.reload.describe())))


class ExchangedTests(SecrecyTestCase):
    """
    Tests for L{exchanged}.
    """

    def setUp(self) -> None:
        """
        Have a part that takes a value.
        """
        super().setUp()
        self.put: list[float] = []
        self.prepare = exchanged(lambda config: config.drain_timeout, self.put.append)

    def test_changed(self) -> None:
        """
        The part gets the new value, and the old one again if that is undone.
        """
        change = self.prepare(FIRST, SECOND)
        self.assertEqual(self.put, [])
        change.apply()
        change.finish()
        self.assertEqual(self.put, [7.0])
        change.undo()
        self.assertEqual(self.put, [7.0, 30.0])

    def test_the_same(self) -> None:
        """
        A part whose value is the same is left alone.
        """
        change = self.prepare(FIRST, evolve(SECOND, drain_timeout=30.0))
        change.apply()
        change.undo()
        change.finish()
        self.assertEqual(self.put, [])


class WaitingForRestartTests(SecrecyTestCase):
    """
    Tests for L{waiting_for_restart}.
    """

    def test_listeners(self) -> None:
        """
        A listener that is new, gone or different is named, in any order of theirs.
        """
        one, two, three = (
            ListenerConfig(name, "device", name, None, 80, name, "mac")
            for name in ("one", "two", "three")
        )
        running = evolve(FIRST, listeners=(one, two))
        for listeners, names in (
            ((two, one), []),
            ((one,), ["[listener:two]"]),
            ((one, two, three), ["[listener:three]"]),
            (
                (evolve(one, port=81), three),
                ["[listener:one]", "[listener:two]", "[listener:three]"],
            ),
        ):
            wanted = evolve(running, listeners=listeners)
            self.assertEqual(waiting_for_restart(running, wanted), names)

    def test_nothing_is_passed_over(self) -> None:
        """
        What counts at the start alone is exactly what is named when it differs.
        """
        listener = ListenerConfig("new", "device", "new", None, 80, "new", "mac")
        different: dict[str, Any] = {
            "listeners": (listener,),
            "introspection": evolve(FIRST.introspection, transactions=7),
            "manhole": ManholeConfig("/x", "/k", "/h"),
        }
        self.assertEqual(set(different), set(AT_START))
        for name, value in different.items():
            self.assertNotEqual(
                waiting_for_restart(FIRST, evolve(FIRST, **{name: value})), []
            )
        self.assertLess(set(AT_START), {each.name for each in fields(Config)})
