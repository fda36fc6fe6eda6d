"""
Tests for L{mdproxy.links}.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, cast

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.broker import TCP4, TCP6, Rule, Want
from mdproxy.links import Link, Namespace, RedirectedDoor, sentence
from mdproxy.listeners import Door
from mdproxy.lookup.books import NeighbourBook
from mdproxy.model import Caller
from mdproxy.testing import FakeNeighbours

MAC = "fa:16:3e:00:00:01"
_FRAME4 = bytes.fromhex("fa163e0000fffa163e0000010800") + bytes(40)
_FRAME6 = bytes.fromhex("fa163e0000fffa163e00000186dd") + bytes(60)
#: What C{SO_ORIGINAL_DST} says of 169.254.169.254 port 80, and C{IP6T_SO_ORIGINAL_DST}
#: of fe80::a9fe:a9fe by the third device.
ORIGINAL4 = bytes.fromhex("02000050a9fea9fe0000000000000000")
ORIGINAL6 = bytes.fromhex("0a00005000000000fe8000000000000000000000a9fea9fe03000000")


@define
class Accepted:
    """
    An accepted connection, which is its own socket.

    @ivar original: Where it was opened to, or why the kernel does not tell.
    """

    family: socket.AddressFamily
    original: bytes | OSError
    asked: list[tuple[int, int]] = field(factory=list)

    def getPeer(self) -> Any:
        """
        Provide C{ITransport.getPeer}, with a zone as Twisted writes it.
        """
        if self.family == socket.AF_INET6:
            return IPv6Address("TCP", "fe80::f816:3eff:fe00:1%eth7", 4711)
        return IPv4Address("TCP", "10.0.0.5", 4711)

    def getHandle(self) -> Accepted:
        """
        Provide C{ISystemHandle.getHandle}.
        """
        return self

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """
        Provide C{socket.getsockopt}.
        """
        if option == 80:
            self.asked.append((level, size))
            if isinstance(self.original, OSError):
                raise self.original
            return self.original[:size]
        if option == 28:
            return _FRAME4 if self.family == socket.AF_INET else _FRAME6
        return bytes(104)


class RedirectedDoorTests(SynchronousTestCase):
    """
    Tests for L{RedirectedDoor}.
    """

    def setUp(self) -> None:
        """
        Make a door.
        """
        clock = Clock()
        neighbours = FakeNeighbours(NeighbourBook(), clock)
        self.door = RedirectedDoor("qrouter-a/qr-b", cast(Any, None), neighbours, clock)

    def find(
        self, original: bytes | OSError, family: socket.AddressFamily = socket.AF_INET
    ) -> Caller | None:
        """
        Find who opened a connection to somewhere.
        """
        return self.door.find_caller(Accepted(family, original))

    def test_redirected(self) -> None:
        """
        Who asked at the metadata address is known as at any door.
        """
        self.assertEqual(
            self.find(ORIGINAL4), Caller("qrouter-a/qr-b", "10.0.0.5", MAC)
        )
        self.assertEqual(
            self.find(ORIGINAL6, socket.AF_INET6),
            Caller("qrouter-a/qr-b", "fe80::f816:3eff:fe00:1", MAC),
        )
        self.assertEqual((self.door.accepted, self.door.strays), (2, 0))

    def test_strays(self) -> None:
        """
        Who asked anywhere else, at another port, or where the kernel does not tell, is
        turned away, and counted.
        """
        none = OSError(errno.ENOENT, "No such file or directory")
        other = bytes.fromhex("02002625a9fea9fe") + bytes(8)
        host = bytes.fromhex("020000500a000001") + bytes(8)
        host6 = ORIGINAL6.replace(b"\xa9\xfe\xa9\xfe", b"\xa9\xfe\xa9\xfd")
        six = socket.AF_INET6
        for original, family in (
            (none, socket.AF_INET),
            (none, six),
            (other, socket.AF_INET),
            (host, socket.AF_INET),
            (b"", socket.AF_INET),
            (host6, six),
            (b"\n\0" + b"\x26\x25" + ORIGINAL6[4:], six),
            (ORIGINAL4, six),
            (b"", six),
        ):
            self.assertIsNone(self.find(original, family), original)
        self.assertEqual(self.door.strays, 9)

    def test_asks_the_right_table(self) -> None:
        """
        What was redirected by IPv6 is asked for by IPv6's own option.
        """
        for family, asked in (
            (socket.AF_INET, (socket.IPPROTO_IP, 16)),
            (socket.AF_INET6, (socket.IPPROTO_IPV6, 28)),
        ):
            accepted = Accepted(family, b"")
            self.door.find_caller(accepted)
            self.assertEqual(accepted.asked, [asked])


@define
class Port:
    """
    Something that listens.
    """

    closed: int = 0

    def stopListening(self) -> None:
        """
        Provide C{IListeningPort.stopListening}.
        """
        self.closed += 1


class LinkTests(SynchronousTestCase):
    """
    Tests for L{Link} and L{Namespace}.
    """

    def make_link(self, has_door: bool = True) -> Link:
        """
        Make a link.
        """
        door = cast(Any, Door)("qdhcp-a/tap", None, None, None) if has_door else None
        return Link("qdhcp-a/tap", "tap", door)

    def test_missing(self) -> None:
        """
        IPv4 and IPv6 are missing until each listens, or can't be had.
        """
        link = self.make_link()
        both = [Want(TCP4, "tap"), Want(TCP6, "tap")]
        self.assertEqual((link.missing, link.listening), (both, []))
        link.ports[TCP6] = None
        self.assertEqual((link.missing, link.listening), (both[:1], []))
        link.ports[TCP4] = port = cast(Any, Port())
        self.assertEqual((link.missing, link.listening), ([], [port]))

    def test_neighbours_only(self) -> None:
        """
        Where nothing is to listen nothing is missing.
        """
        self.assertEqual(self.make_link(has_door=False).missing, [])

    def test_close(self) -> None:
        """
        Closing closes everything once; then everything is missing again.
        """
        link = self.make_link()
        port = Port()
        link.ports = {TCP4: cast(Any, port), TCP6: None}
        for _ in range(2):
            for closed in link.close():
                self.successResultOf(closed)
        self.assertEqual(port.closed, 1)
        self.assertEqual(len(link.missing), 2)

    def test_describe(self) -> None:
        """
        A namespace tells whose it is, what it uses, and what is wrong.
        """
        link = self.make_link()
        link.ports[TCP4] = cast(Any, Port())
        held = Namespace("qdhcp-a", Rule("one", ("qdhcp-*",), 80), (1, 2))
        held.links = {3: link, 4: self.make_link(has_door=False)}
        assert link.door is not None
        link.door.accepted = 5
        held.problem = "a sentence"
        self.assertEqual(
            held.describe(),
            {
                "namespace": "qdhcp-a",
                "listener": "one",
                "devices": ["tap", "tap"],
                "listening": 1,
                "accepted": 5,
                "strays": 0,
                "problem": "a sentence",
            },
        )


class SentenceTests(SynchronousTestCase):
    """
    Tests for L{sentence}.
    """

    def test_what_to_do(self) -> None:
        """
        What an operator can cure says how; what passes by itself says nothing.
        """
        for number, text in (
            (errno.EADDRINUSE, "mdproxy takes its place"),
            (errno.EMFILE, "raise LimitNOFILE"),
            (errno.EPERM, "CAP_SYS_ADMIN"),
        ):
            self.assertIn(text, sentence(OSError(number, "said the kernel")))
        for number in (errno.ESTALE, errno.ENOENT, errno.ENODEV):
            self.assertEqual(sentence(OSError(number, "said the kernel")), "")

    def test_others(self) -> None:
        """
        Other errors speak for themselves.
        """
        self.assertEqual(
            sentence(OSError(errno.EIO, "said the kernel")), "said the kernel"
        )
        self.assertEqual(sentence(OSError("no number")), "no number")
