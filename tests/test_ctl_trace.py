"""
Tests for L{mdproxy.ctl.trace}.
"""

from __future__ import annotations

import io
import json
from argparse import Namespace
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.cli import main, parser
from mdproxy.ctl.trace import fresh, run, step
from tests.answering import Answering
from tests.operated import Host


def a_step(at: float, what: str, **more: Any) -> dict[str, Any]:
    """
    Make a step.
    """
    return {
        "request_id": "req-0-0-0-0-00000000002a",
        "at": at,
        "network": "red",
        "address": "10.0.0.5",
        "mac": None,
        "instance": "i-a",
        "step": what,
        **more,
    }


class TraceCase(SynchronousTestCase):
    """
    A case that runs the command.
    """

    def setUp(self) -> None:
        """
        Have a service.
        """
        self.host = Host()
        self.service = Answering()

    def trace(self, *argv: str, status: int = 0) -> list[str]:
        """
        Run the command.

        @param status: The exit status that it must have.

        @return: The lines that it prints.
        """
        out = io.StringIO()
        with self.service.listening() as port, redirect_stdout(out):
            ended = main(["trace", "--endpoint", f"tcp:{port}", *argv])
        self.assertEqual(ended, status)
        return out.getvalue().splitlines()


class LatestTests(TraceCase):
    """
    Tests for what was asked lately, and what is asked from now on.
    """

    def setUp(self) -> None:
        """
        Have some asked.
        """
        super().setUp()
        for target in (b"/first", b"/second\x1b[2J"):
            self.host.ask(target=target, status=404)
        told = self.host.view.transactions()
        self.service.answers["/api/v1/transactions"] = told

    def test_in_order(self) -> None:
        """
        The earliest comes first, as in a log, and no terminal obeys.
        """
        first, second = self.trace()
        self.assertIn(" 404 GET /first 10.0.0.5 red ", first)
        self.assertIn("/second\\u001b[2J", second)

    def test_filters(self) -> None:
        """
        What is wanted is asked of the service.
        """
        wanted = {
            "instance": "i-1",
            "network": "red",
            "address": "10.0.0.5",
            "status": "0",
            "limit": "7",
        }
        self.trace(*(part for k, v in wanted.items() for part in (f"--{k}", v)))
        ((_, _, said, _),) = self.service.asked
        self.assertEqual(said, wanted)

    def test_as_json(self) -> None:
        """
        As JSON each request is one line, in ASCII.
        """
        lines = self.trace("--json")
        self.assertEqual(json.loads(lines[1])["target"], "/second\x1b[2J")
        self.assertTrue(all(line.isascii() and line.isprintable() for line in lines))

    def test_following(self) -> None:
        """
        What is asked from then on follows, nothing left out unless that is told, as
        long as the service tells.
        """
        (it, _) = self.host.view.transactions()["items"]
        event = b"data: " + json.dumps({**it, "target": "/third"}).encode() + b"\n\n"
        missed = b"event: missed\ndata: {}\n\n"
        self.service.answers["/api/v1/transactions/live"] = (200, missed + event)
        errors = io.StringIO()
        with redirect_stderr(errors):
            lines = self.trace("--follow", "--instance", "i-1", status=3)
        self.assertEqual(len(lines), 3)
        self.assertIn("/third", lines[2])
        _, _, said, fields = self.service.asked[-1]
        self.assertEqual(said, {"instance": "i-1"})
        self.assertEqual(fields["last-event-id"], it["request_id"])
        for words in ("left out", "has ended this"):
            self.assertIn(words, errors.getvalue())


class WatchTests(TraceCase):
    """
    Tests for the steps of one instance.
    """

    def setUp(self) -> None:
        """
        Have steps that come one by one.
        """
        super().setUp()
        self.now = 0.0
        self.slept: list[float] = []
        self.go_on: Callable[[float], None] = self.sleep
        self.steps = [
            a_step(1.0, "came", target="/\x1b"),
            a_step(1.5, "sent to Nova"),
            a_step(1.6, "another's", instance="i-b", address="10.0.0.9"),
            # At once, and just as before.
            a_step(2.0, "Nova said", status=404),
            a_step(2.0, "Nova said", status=404),
        ]
        self.service.answers["/api/v1/watch"] = {}
        self.service.answers["/api/v1/steps"] = self.told

    def told(self, said: dict[str, str]) -> Any:
        """
        Tell those that were until now; their times are not always quite the same.
        """
        known = [s for s in self.steps if s["at"] <= self.now]
        jitter = 1e-6 * len(self.slept)
        return {"watched": {}, "steps": [{**s, "at": s["at"] + jitter} for s in known]}

    def sleep(self, seconds: float) -> None:
        """
        Let time go by.
        """
        self.slept.append(seconds)
        self.now += seconds

    def watch(self, *argv: str) -> list[str]:
        """
        Watch for five seconds.
        """
        out = io.StringIO()
        with self.service.listening() as port, redirect_stdout(out):
            words = ["trace", "--endpoint", f"tcp:{port}", *argv, "--for", "5s"]
            arguments: Namespace = parser().parse_args(words)
            self.assertEqual(run(arguments, self.go_on, lambda: self.now), 0)
        return out.getvalue().splitlines()

    def test_each_step_once(self) -> None:
        """
        The service is told to watch, and each step is printed once, as it happens, and
        nobody else's.
        """
        lines = self.watch("--watch", "i-a")
        method, path, said, _ = self.service.asked[1]
        self.assertEqual((method, path), ("POST", "/api/v1/watch"))
        self.assertEqual(said, {"instance": "i-a", "seconds": "5"})
        self.assertEqual(len(lines), 4)
        self.assertIn("2a 10.0.0.5 red came target=/\\u001b", lines[0])
        self.assertIn("Nova said status=404", lines[2])
        self.assertEqual(sum(self.slept), 5.0)

    def test_an_address(self) -> None:
        """
        An address can be watched, too, however it is spelt; as JSON each step is one
        line.
        """
        (line,) = self.watch("--watch", "::ffff:10.0.0.9", "--json")
        self.assertEqual(json.loads(line)["step"], "another's")

    def test_only_from_now_on(self) -> None:
        """
        What was seen before, for somebody watched then, is not printed.
        """
        self.now = 1.7
        self.assertEqual(len(self.watch("--watch", "i-a")), 2)

    def test_enough(self) -> None:
        """
        When the operator has seen enough that is a good end.
        """

        def enough(_: float) -> None:
            raise KeyboardInterrupt

        self.go_on = enough
        self.assertEqual(self.watch("--watch", "i-a"), [])

    def test_what_is_fresh(self) -> None:
        """
        Whatever was dropped at the beginning of the list, and however often the same
        happens, what was added is found, and it alone.
        """
        steps = [a_step(at, "said", status=at % 3) for at in range(20)]
        for known, now in (
            (steps[:5], steps[:9]),
            (steps[:9], steps[4:12]),
            (steps[:4], steps[9:]),
            (steps[:5], steps[:5]),
            ([], steps),
            (steps, []),
        ):
            expected = [each for each in now if each not in known]
            self.assertEqual(fresh(known, now), expected)

    def test_odd_steps(self) -> None:
        """
        A step of which little is known can be written.
        """
        self.assertEqual(step({}), "- - - - -")
