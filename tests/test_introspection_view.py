"""
Tests for L{mdproxy.introspection.view}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.finding import Finding
from mdproxy.interfaces import SourceState
from mdproxy.model import Malformed
from mdproxy.steps import MOST_WATCHED, TooManyWatched
from tests.operated import ADDRESS, BLUE, EPOCH, RED, A, B, Host, a_port


class StatusTests(SynchronousTestCase):
    """
    What is told of the whole.
    """

    def test_status(self) -> None:
        """
        Every part says what it says, under its own word.
        """
        host = Host()
        host.clock.advance(5)
        status = json.loads(json.dumps(host.view.status()))
        self.assertEqual(
            list(status),
            [
                *("version", "since", "now", "ready", "configuration", "listeners"),
                *("sources", "lookup", "upstream", "proxy", "front", "checks"),
                *("transactions", "operators"),
            ],
        )
        self.assertEqual(status["version"], "1.2.3")
        self.assertEqual((status["since"], status["now"]), (EPOCH, EPOCH + 5))
        self.assertTrue(status["ready"]["ready"])
        self.assertEqual([s["name"] for s in status["sources"]], ["memory"])

    def test_totals(self) -> None:
        """
        It has what all requests add up to.
        """
        host = Host()
        self.assertEqual(
            host.view.status()["transactions"],
            {"tally": [], "refusals": [], "median": None, "p99": None},
        )
        for _ in range(3):
            host.ask(status=404)
        host.transactions.note_refusal("device", "unknown")
        said = host.view.status()["transactions"]
        (ended,) = said["tally"]
        self.assertEqual(
            ended, {"kind": "device", "status": 404, "outcome": "refused", "count": 3}
        )
        (refused,) = said["refusals"]
        self.assertEqual(refused, {"kind": "device", "reason": "unknown", "count": 1})
        self.assertLess(said["median"], said["p99"])

    def test_facts(self) -> None:
        """
        Facts can be seen, all or those of a network by either of its names, so many of
        each kind at most, with how many there are; what was forgotten can't.
        """
        host = Host()
        link = "qdhcp-n/tap1"
        host.books.networks.attach(link, "n")
        host.know(a_port(), a_port("i-b", B), a_port("i-c", network="n"))
        host.see(A)
        host.see(A, network=link)
        host.lease(A, hostname="vm-a")
        host.see(B, "10.0.0.9")
        host.books.neighbours.forget(RED, "10.0.0.9", 1000.0)
        del host.neighbours.kernel[RED, "10.0.0.9"]

        def seen(*args: Any) -> Any:
            said = json.loads(json.dumps(host.view.facts(*args)))
            kinds = ("ports", "leases", "neighbours")
            counts = [said["total"][kind] for kind in kinds]
            return [len(said[kind]) for kind in kinds], counts

        self.assertEqual(seen(), ([3, 1, 2], [3, 1, 2]))
        self.assertEqual(seen(RED), ([2, 1, 1], [2, 1, 1]))
        for name in ("n", link):
            self.assertEqual(seen(name), ([1, 0, 1], [1, 0, 1]))
        self.assertEqual(seen(None, 1), ([1, 1, 1], [3, 1, 2]))
        self.assertEqual(
            host.view.facts("n")["neighbours"],
            [{"network": link, "address": ADDRESS, "mac": A}],
        )

    def test_history(self) -> None:
        """
        The last hour can be seen.
        """
        self.assertEqual(Host().view.history(), {"step": 10.0, "samples": []})


class ReadinessTests(SynchronousTestCase):
    """
    Whether instances are served as they should be.
    """

    def reasons(self, host: Host) -> Any:
        """
        Tell why not.
        """
        said = host.view.readiness()
        self.assertEqual(said["ready"], not said["reasons"])
        return said["reasons"]

    def test_ready(self) -> None:
        """
        Where nothing is wrong it is ready; findings are told beside.
        """
        host = Host()
        host.findings.append(Finding("x", "note", "text", "advice"))
        self.assertEqual(self.reasons(host), [])
        (finding,) = host.view.readiness()["checks"]
        self.assertEqual((finding["name"], finding["text"]), ("x", "text"))

    def test_listener(self) -> None:
        """
        A listener that does not listen as it should is a reason.
        """
        host = Host()
        host.listener.problem = "port 80 is taken"
        self.assertEqual(self.reasons(host), ["listener listener: port 80 is taken"])

    def test_source(self) -> None:
        """
        A source that is not live is a reason, with what is wrong.
        """
        host = Host()
        host.inventory.state = SourceState.STARTING
        self.assertEqual(self.reasons(host), ["source memory is starting"])
        host.inventory.state = SourceState.FAILED
        host.inventory.problem = "no such file"
        self.assertEqual(self.reasons(host), ["source memory is failed: no such file"])

    def test_nova(self) -> None:
        """
        One Nova of several is enough; none is a reason, with what is wrong with each.
        """
        host = Host()
        down = {"host": "n1", "port": 1, "up": False, "problem": "refused"}
        host.upstream.says["endpoints"].append(down)
        self.assertEqual(self.reasons(host), [])
        host.upstream.says["endpoints"] = [
            down,
            {**down, "host": "n2", "problem": None},
        ]
        self.assertEqual(
            self.reasons(host),
            ["no Nova can be reached (n1 port 1: refused; n2 port 1: not reached yet)"],
        )

    def test_secret(self) -> None:
        """
        A secret that does not work is a reason; one that nobody could try is none.
        """
        for secret, words in (
            ("wrong", "refuses our signed questions"),
            ("mangled", "on the way to Nova"),
        ):
            (reason,) = self.reasons(Host(secret=secret))
            self.assertIn(words, reason)
        for secret in ("right", "unknown"):
            self.assertEqual(self.reasons(Host(secret=secret)), [])


class TransactionsTests(SynchronousTestCase):
    """
    What was asked lately.
    """

    def setUp(self) -> None:
        """
        Have two instances ask, and somebody who is refused.
        """
        self.host = Host()
        self.host.books.networks.attach("qdhcp-n/tap1", "n")
        self.host.know(a_port(), a_port("i-b", B, network="n"))
        self.host.see(A)
        self.host.see(B, network="qdhcp-n/tap1")
        self.host.ask()
        self.host.ask(B, network="qdhcp-n/tap1", status=500)
        self.host.ask(B, "10.0.0.9", BLUE, status=404)
        self.host.ask(target=b"/latest")

    def numbers(self, **filters: Any) -> list[int]:
        """
        Tell the numbers of those that are found.
        """
        page = json.loads(json.dumps(self.host.view.transactions(**filters)))
        return [item["number"] for item in page["items"]]

    def test_all(self) -> None:
        """
        The latest comes first.
        """
        self.assertEqual(self.numbers(), [4, 3, 2, 1])

    def test_filters(self) -> None:
        """
        They are found by instance, by either name of the network, by address in any
        spelling, by status, and by all together.
        """
        self.assertEqual(self.numbers(instance="i-a"), [4, 1])
        self.assertEqual(self.numbers(network=RED), [4, 1])
        self.assertEqual(self.numbers(network="n"), [2])
        self.assertEqual(self.numbers(network="qdhcp-n/tap1"), [2])
        self.assertEqual(self.numbers(address=f"::ffff:{ADDRESS}"), [4, 2, 1])
        self.assertEqual(self.numbers(status=404), [3])
        self.assertEqual(self.numbers(status=0), [])
        self.assertEqual(self.numbers(address=ADDRESS, network="n", status=500), [2])
        self.assertEqual(self.numbers(instance="i-a", status=500), [])
        self.assertRaises(Malformed, self.host.view.transactions, address="x")

    def test_pages(self) -> None:
        """
        Page by page each is listed once, though new ones come meanwhile.
        """
        page = self.host.view.transactions(limit=2)
        self.assertEqual(page["next"], 3)
        self.host.ask()
        page = self.host.view.transactions(limit=2, before=page["next"])
        self.assertEqual([item["number"] for item in page["items"]], [2, 1])
        self.assertIsNone(page["next"])

    def test_forgotten(self) -> None:
        """
        After one that was forgotten there is nothing more.
        """
        self.assertEqual(self.numbers(before=99), [])

    def test_clear(self) -> None:
        """
        They can be forgotten, and the counts stay.
        """
        tally = dict(self.host.transactions.tally)
        self.host.view.clear()
        self.assertEqual(self.numbers(), [])
        self.assertEqual(dict(self.host.transactions.tally), tally)


class StepsTests(SynchronousTestCase):
    """
    The steps of those who are watched.
    """

    def test_steps(self) -> None:
        """
        Whoever is watched leaves steps, found by instance or address, until the time is
        over.
        """
        host = Host()
        host.know(a_port())
        host.see(A)
        identity: Any = host.ask()
        host.view.watch("i-a", 60)
        host.view.watch("10.0.0.9", 0.5)
        host.steps.note(7, identity.evidence.caller, identity, "asked", tries=1)
        said = json.loads(json.dumps(host.view.steps("i-a")))
        (step,) = said["steps"]
        self.assertEqual((step["step"], step["tries"]), ("asked", 1))
        self.assertEqual(host.view.steps(ADDRESS)["steps"], [step])
        self.assertEqual(host.view.steps("i-b")["steps"], [])
        self.assertEqual(len(host.view.steps()["steps"]), 1)
        self.assertEqual(host.view.steps()["watched"], {"i-a": 60.0, "10.0.0.9": 0.5})
        host.clock.advance(1)
        self.assertEqual(list(host.view.steps()["watched"]), ["i-a"])
        self.assertEqual(len(host.view.instance("i-a")["steps"]), 1)  # type: ignore[index]

    def test_any_spelling(self) -> None:
        """
        An address to be watched may be spelt in any way, as everywhere.
        """
        host = Host()
        host.know(a_port())
        host.see(A)
        identity: Any = host.ask()
        host.view.watch(f"::ffff:{ADDRESS}", 60)
        host.view.watch("FD00:0::1%eth0", 60)
        self.assertEqual(list(host.view.steps()["watched"]), [ADDRESS, "fd00::1"])
        host.steps.note(7, identity.evidence.caller, identity, "asked")
        self.assertEqual(len(host.view.steps(f"::FFFF:{ADDRESS}")["steps"]), 1)
        host.view.watch("fd00::0:1", 0)
        self.assertEqual(list(host.view.steps()["watched"]), [ADDRESS])

    def test_too_many(self) -> None:
        """
        Only so many are watched at a time.
        """
        host = Host()
        for number in range(MOST_WATCHED):
            host.view.watch(f"i-{number}", 60)
        self.assertRaises(TooManyWatched, host.view.watch, "i-more", 60)
