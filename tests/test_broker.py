"""
Tests for L{mdproxy.broker}: what may be opened.

That it is opened in the right namespace is tested where there are some, in
L{tests.lab.test_openers}.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy import broker
from mdproxy.broker import (
    MOST,
    ROUTE,
    TCP4,
    TCP6,
    Rule,
    Want,
    answer,
    check_name,
    encode_question,
    in_namespace,
    is_served,
    listen,
    open_home,
    open_wanted,
    place_of,
)

RULES = [
    Rule("neighbours", ("qdhcp-*", "other-*")),
    Rule("one", ("qdhcp-*", "qrouter-*"), 80, 9697),
    Rule("two", ("ovnmeta-*",), 8080),
]
#: Routers whose rule is about networks only.
NO_ROUTERS = [Rule("all", ("q*-*",), 80)]
TAP = "tap0a1b2c3d-4e"
QR = "qr-0a1b2c3d-4e"

#: The namespace, what is wanted there, and where it may listen.
PLACES = {
    "network": ("qdhcp-a", Want(TCP4, TAP), ("169.254.169.254", 80)),
    "network, IPv6": ("qdhcp-a", Want(TCP6, TAP), ("fe80::a9fe:a9fe", 80)),
    "router": ("qrouter-a", Want(TCP4, QR), ("0.0.0.0", 9697)),
    "router, IPv6": ("qrouter-a", Want(TCP6, QR), ("::", 9697)),
    "other port": ("ovnmeta-a", Want(TCP4, TAP), ("169.254.169.254", 8080)),
}
#: What nobody may have: the rules, the namespace, what is wanted.
REFUSED = {
    "loopback": (RULES, "qdhcp-a", Want(TCP4, "lo")),
    "any device": (RULES, "qdhcp-a", Want(TCP4, "")),
    "template of a tunnel": (RULES, "qdhcp-a", Want(TCP4, "gretap0")),
    "template of one without Ethernet": (RULES, "qdhcp-a", Want(TCP6, "sit0")),
    "outside of a router": (RULES, "qrouter-a", Want(TCP4, "qg-0a1b2c3d-4e")),
    "between routers": (RULES, "qrouter-a", Want(TCP6, "ha-0a1b2c3d-4e")),
    "neighbours only": (RULES, "other-a", Want(TCP4, TAP)),
    "no such rule": (RULES, "prod-a", Want(TCP4, TAP)),
    "no rule at all": ([], "qdhcp-a", Want(TCP4, TAP)),
    "router without a port": (NO_ROUTERS, "qrouter-a", Want(TCP4, QR)),
    "router without port, IPv6": (NO_ROUTERS, "qrouter-a", Want(TCP6, QR)),
    "network without a port": ([RULES[0]], "qdhcp-a", Want(TCP4, TAP)),
    "other kind": (RULES, "qdhcp-a", Want("udp4", TAP)),
}


class PlaceTests(SynchronousTestCase):
    """
    Tests for L{place_of} and L{check_name}.
    """

    def test_places(self) -> None:
        """
        Where a socket listens is root's decision: the metadata addresses at the port of
        the rule, or any address of a router's device at the router's port.
        """
        for case, (namespace, want, place) in PLACES.items():
            self.assertEqual(place_of(RULES, namespace, want), place, case)

    def test_refused(self) -> None:
        """
        Whatever else is wanted is refused.
        """
        for case, (rules, namespace, want) in REFUSED.items():
            with self.assertRaises(PermissionError, msg=case):
                place_of(rules, namespace, want)
            with self.assertRaises(PermissionError, msg=case):
                open_wanted(rules, namespace, want)

    def test_names(self) -> None:
        """
        A name is one that some rule is about, in the directory and nowhere else.
        """
        for good in ("qdhcp-a", "qrouter-", "other-a.b", "ovnmeta-*"):
            check_name(RULES, good)
        for bad in ("", ".", "..", "qdhcp-/../init", "qdhcp-a/b", "qdhcp-\0", "eth0"):
            with self.assertRaises(PermissionError, msg=bad):
                check_name(RULES, bad)
        for bad in ("", ".", "..", "a/b"):
            with self.assertRaises(PermissionError, msg=bad):
                check_name([Rule("any", ("*",), 80)], bad)

    def test_served(self) -> None:
        """
        In a router's namespace its devices towards instances are served, in others all
        but those that Linux itself puts there.
        """
        self.assertTrue(is_served("qrouter-a", QR))
        self.assertFalse(is_served("qrouter-a", TAP))
        self.assertTrue(is_served("qdhcp-a", TAP))
        self.assertTrue(is_served("ovnmeta-a", "tapb1d0e4b9-71"))
        self.assertFalse(is_served("ovnmeta-a", "lo"))

    def test_route(self) -> None:
        """
        A netlink socket does not block, is not inherited, and belongs to no group.
        """
        with open_wanted(RULES, "qdhcp-a", Want(ROUTE)) as opened:
            self.assertFalse(opened.getblocking())
            self.assertFalse(opened.get_inheritable())
            self.assertEqual(opened.getsockname()[1], 0)

    def test_listen_is_bound(self) -> None:
        """
        A socket is bound to the device that was named, even where the name is odd.
        """
        for device in ("no-such-device", "x" * 40, ""):
            error = self.assertRaises(OSError, listen, "127.0.0.1", 0, device)
            self.assertIn(error.errno, (errno.ENODEV, errno.EINVAL), device)


class AnswerTests(SynchronousTestCase):
    """
    Tests for L{answer}: what whoever asks, be it the taken-over service, can have.
    """

    def setUp(self) -> None:
        """
        Have a directory with one name in it that is no namespace.
        """
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.home = open_home()
        self.addCleanup(os.close, self.home)
        path = os.path.join(self.directory, "qdhcp-a")
        with open(path, "w"):
            status = os.stat(path)
        self.identity = (status.st_dev, status.st_ino)

    def ask(self, data: bytes) -> list[int]:
        """
        Ask; no socket may come of it.

        @return: The error numbers.
        """
        said, opened = answer(data, RULES, self.directory, self.home)
        self.assertEqual(opened, [])
        number, numbers = json.loads(said)
        self.assertIs(type(number), int)
        self.assertNotIn(0, numbers)
        return list(numbers)

    def test_no_namespace(self) -> None:
        """
        What is no namespace is not entered, though it is the file that was meant; nor
        is another one than was meant, or one that is not there.
        """
        wants = [Want(ROUTE), Want(TCP4, TAP)]
        for name, identity, number in (
            ("qdhcp-a", self.identity, errno.ESTALE),
            ("qdhcp-a", (0, 0), errno.ESTALE),
            ("qdhcp-b", self.identity, errno.ENOENT),
            ("qdhcp-\udc80", self.identity, errno.ENOENT),
            ("qdhcp-\ud800", self.identity, errno.EINVAL),
        ):
            question = encode_question(1, name, identity, wants)
            self.assertEqual(self.ask(question), [number] * 2, name)

    def test_outside(self) -> None:
        """
        Nothing outside of the directory is looked at.
        """
        for name in ("../qdhcp-a", "/etc/passwd", "..", "qdhcp-/../qdhcp-a"):
            question = encode_question(1, name, self.identity, [Want(ROUTE)])
            self.assertEqual(self.ask(question), [errno.EACCES], name)

    def test_too_many(self) -> None:
        """
        So many sockets at once are no question.
        """
        wants = [Want(ROUTE)] * (MOST + 1)
        question = encode_question(1, "qdhcp-a", self.identity, wants)
        self.assertEqual(self.ask(question), [])

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_bytes(self, data: bytes) -> None:
        """
        Bytes that are no question are answered, and nothing comes of them.
        """
        self.ask(data)

    @settings(deadline=None)
    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=20)
            | st.sampled_from([ROUTE, TCP4, TAP, "qdhcp-a"]),
            lambda inner: (
                st.lists(inner, max_size=5)
                | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
            max_leaves=12,
        )
    )
    def test_values(self, value: object) -> None:
        """
        Nor does anything come of other values.
        """
        self.ask(json.dumps(value).encode())

    def test_deep(self) -> None:
        """
        Brackets without end are no question.
        """
        self.assertEqual(self.ask(b"[" * 4096), [])


class InNamespaceTests(SynchronousTestCase):
    """
    Tests for L{in_namespace}, as far as nobody's namespace is entered.
    """

    def test_not_entered(self) -> None:
        """
        Where the namespace is not the right one nothing is done, and no descriptor is
        left open.
        """
        home = open_home()
        self.addCleanup(os.close, home)
        before = os.listdir("/proc/self/fd")
        for path, number in (
            ("/proc/self/ns/net", errno.ESTALE),
            (__file__, errno.ESTALE),
            ("/nowhere/at/all", errno.ENOENT),
        ):
            error = self.assertRaises(
                OSError, in_namespace, path, (0, 0), home, self.fail
            )
            self.assertEqual(error.errno, number)
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_no_way_home(self) -> None:
        """
        Whoever can't come back ends at once: nothing goes on in another namespace.
        """
        text = (
            "import os; from mdproxy import broker;"
            "broker._go_home(os.open(os.devnull, os.O_RDONLY)); print('goes on')"
        )
        ended = subprocess.run(
            [sys.executable, "-c", text],
            cwd=Path(broker.__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stdout), (os.EX_SOFTWARE, ""))
        self.assertIn("can't leave a network namespace", ended.stderr)

    def test_home(self) -> None:
        """
        Home is this namespace, and its descriptor is not inherited.
        """
        home = open_home()
        self.addCleanup(os.close, home)
        self.assertEqual(os.fstat(home).st_ino, os.stat("/proc/self/ns/net").st_ino)
        self.assertFalse(os.get_inheritable(home))
