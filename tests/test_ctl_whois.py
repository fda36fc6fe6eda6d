"""
Tests for L{mdproxy.ctl.whois}.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.cli import main
from mdproxy.ctl.whois import lines
from tests.answering import Answering
from tests.operated import ADDRESS, BLUE, A, B, Host, a_port


class LinesTests(SynchronousTestCase):
    """
    Tests for L{lines}, with what the real view says.
    """

    def setUp(self) -> None:
        """
        Have a host.
        """
        self.host = Host()

    def told(self, network: str | None = None) -> str:
        """
        Ask, and see that no terminal would obey.
        """
        written = lines(json.loads(json.dumps(self.host.view.why(ADDRESS, network))))
        for line in written:
            self.assertTrue(line.isprintable())
        return " ".join(" ".join(written).split())

    def test_an_instance(self) -> None:
        """
        Of an instance all evidence is there: verdict, row, listener, neighbour, port,
        who said so, lease and the last requests.
        """
        self.host.know(a_port())
        self.host.see(A)
        self.host.lease(A, 3600, "vm-1")
        self.host.ask()
        told = self.told("red")
        for words in (
            "10.0.0.5 on red: ALLOWED, agreed (row 1)",
            "It is instance i-a",
            "listener l-red: device, identifies by mac",
            f"neighbour {A}",
            "port instance i-a, project p-1",
            "said by memory",
            f"lease {A} vm-1, ends in 60 min",
            "inventory memory is live",
            "200 GET /openstack 10.0.0.5 red i-a",
        ):
            self.assertIn(words, told)

    def test_a_quiet_one(self) -> None:
        """
        An instance that the kernel has not heard of lately is not shown as refused; one
        that asked just now is.
        """
        self.host.know(a_port())
        told = self.told("red")
        self.assertIn("on red: not heard of lately, would be ALLOWED, ", told)
        told = self.told("blue")
        self.assertIn("on blue: not heard of lately, no-neighbour (row 10)", told)
        self.host.ask(status=503)
        self.assertIn("on red: REFUSED, no-neighbour", self.told("red"))

    def test_a_thief(self) -> None:
        """
        Of one who took another's address it is told whose it is, and who took it.
        """
        self.host.know(a_port())
        self.host.see(B)
        self.host.ask(B, status=404)
        told = self.told("red")
        self.assertIn("REFUSED, mac-mismatch (row 6)", told)
        self.assertIn(f"belongs to instance i-a, whose port has the MAC {A}", told)
        self.assertIn(f"find {B} on the bridge", told)
        self.assertIn("none that fits; near: instance i-a", told)

    def test_a_lease_that_ended(self) -> None:
        """
        A lease that has ended is told with when.
        """
        self.host.know(a_port())
        self.host.see(A)
        self.host.lease(A, 10)
        self.host.clock.advance(70)
        self.assertIn("ENDED 60 s ago", self.told("red"))

    def test_hostile_names(self) -> None:
        """
        A host name in a lease can't make a terminal do anything.
        """
        self.host.know(a_port())
        self.host.lease(A, 10, "\x1b]0;owned\x07\x9b2J\u202e")
        self.host.ask(target=b"/\x1b[2J")
        self.assertIn("\\u001b]0;owned\\u0007", self.told("red"))

    def test_nobody(self) -> None:
        """
        Of an address that nobody knows it is told that, and how many networks were
        looked at; of one on several networks each.
        """
        self.assertIn("not heard of lately", self.told())
        self.host.know(a_port(), a_port("i-b", B, network=BLUE))
        told = self.told()
        self.assertIn("may be on 2 networks", told)
        self.assertIn("on blue: ", told)
        self.assertIn("No listener has a network green", self.told("green"))


class CommandTests(SynchronousTestCase):
    """
    Tests for C{mdproxyctl whois}.
    """

    def run_command(self, *argv: str, quiet: bool = False) -> tuple[int, str]:
        """
        Ask a service that has one host.

        @param quiet: Whether nothing was heard of the instance.
        """
        host = Host()
        host.know(a_port())
        if not quiet:
            host.see(A)

        def why(said: dict[str, str]) -> object:
            return host.view.why(said["address"], said.get("network"))

        service, out = Answering({"/api/v1/why": why}), io.StringIO()
        with service.listening() as port, redirect_stdout(out):
            status = main(["whois", "--endpoint", f"tcp:{port}", *argv])
        return status, out.getvalue()

    def test_who_it_is(self) -> None:
        """
        The status tells whether some network would let the address in.
        """
        status, out = self.run_command("10.0.0.5")
        self.assertEqual(status, 0)
        self.assertIn("ALLOWED", out)
        status, out = self.run_command("10.0.0.5", "--network", "red", quiet=True)
        self.assertEqual(status, 0)
        self.assertIn("would be ALLOWED", out)
        status, out = self.run_command("10.0.0.5", "--network", "blue")
        self.assertEqual(status, 1)
        self.assertIn("not heard of lately", out)

    def test_as_json(self) -> None:
        """
        With C{--json} it is what the service says.
        """
        status, out = self.run_command("::ffff:10.0.0.5", "--json")
        self.assertEqual(status, 0)
        self.assertEqual(json.loads(out)["candidates"][0]["port"]["instance"], "i-a")
