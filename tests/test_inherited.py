"""
Tests for L{mdproxy.inherited}.
"""

from __future__ import annotations

import errno
import os
import socket
from tempfile import TemporaryDirectory

from mdproxy.inherited import Inherited
from mdproxy.listeners import Place
from tests.secrecy import SecrecyTestCase


def listening(
    address: str = "127.0.0.1", device: str | None = None, port: int = 0
) -> socket.socket:
    """
    Listen as systemd does: blocking, and inheritable.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family)
    if device is not None:
        name = device.encode()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
    opened.bind((address, port))
    opened.listen(5)
    return opened


class InheritedTests(SecrecyTestCase):
    """
    Tests for L{Inherited}.

    @ivar first: Where the descriptors that are handed over begin.
    """

    first = 200

    def hand_over(self, *sockets: socket.socket | int, names: str) -> Inherited:
        """
        Hand sockets over to this process, as descriptors in a row.

        @param sockets: Those, or descriptors of something else.
        @param names: Their names, as systemd writes them.
        """
        first = self.first = self.first + 10
        for number, each in enumerate(sockets, first):
            descriptor = each if isinstance(each, int) else each.fileno()
            os.dup2(descriptor, number, inheritable=True)
            if isinstance(each, socket.socket):
                each.close()
        descriptors = range(first, first + len(sockets))
        inherited = Inherited.of_descriptors(descriptors, names.split(":"))
        for handed in inherited._sockets.values():
            for opened in handed:
                self.addCleanup(opened.close)
        return inherited

    def open(self, inherited: Inherited, listener: str, place: Place) -> socket.socket:
        """
        Open a place for a listener, until the test is over.
        """
        opened = inherited.open_for(listener)(place)
        self.addCleanup(opened.close)
        return opened

    def test_taken(self) -> None:
        """
        What was handed over for a listener is used where it listens just there, with
        all that listeners need; it does not block and is not inherited further.
        """
        for address in ("127.0.0.1", "::1"):
            for device in (None, "lo"):
                handed = listening(address, device)
                port = handed.getsockname()[1]
                inherited = self.hand_over(handed, names="one")
                place = Place(address, port, device)
                opened = self.open(inherited, "one", place)
                self.assertEqual(opened.getsockname()[1], port)
                self.assertFalse(opened.getblocking())
                self.assertFalse(os.get_inheritable(opened.fileno()))
                self.assertEqual(opened.getsockopt(socket.IPPROTO_TCP, 27), 2)
        self.assertEqual(self.logged(), [])

    def test_again(self) -> None:
        """
        What was closed can be taken again, and nobody was refused meanwhile.
        """
        handed = listening()
        where = handed.getsockname()
        inherited = self.hand_over(handed, names="one")
        place = Place(*where)
        inherited.open_for("one")(place).close()
        with socket.create_connection(where) as client:
            accepted, peer = self.open(inherited, "one", place).accept()
            with accepted:
                self.assertEqual(peer, client.getsockname())

    def test_several(self) -> None:
        """
        A listener may have several sockets of its name; others' are not its own.
        """
        sockets = [listening(), listening("::1"), listening()]
        ports = [each.getsockname()[1] for each in sockets]
        inherited = self.hand_over(*sockets, names="one:one:two")
        self.assertEqual(inherited.names, ["one", "two"])
        self.open(inherited, "one", Place("127.0.0.1", ports[0]))
        self.open(inherited, "one", Place("::1", ports[1]))
        self.open(inherited, "two", Place("127.0.0.1", ports[2]))
        self.assertEqual(self.logged(), [])
        with self.assertRaises(OSError) as caught:
            self.open(inherited, "one", Place("127.0.0.1", ports[2]))
        self.assertEqual(caught.exception.errno, errno.EADDRINUSE)

    def test_elsewhere(self) -> None:
        """
        One that listens elsewhere, or by another device, is not used; the operator is
        told once, and the listener opens its own.
        """
        inherited = self.hand_over(listening(), listening(), names="one:one")
        for place in (Place("127.0.0.1", 0), Place("127.0.0.1", 0, "lo")):
            for _ in range(2):
                self.open(inherited, "one", place)
        self.assertEqual([level for level, _line in self.logged()], ["warn"] * 2)
        handed = listening()
        port = handed.getsockname()[1]
        inherited = self.hand_over(handed, names="one")
        with self.assertRaises(OSError):
            self.open(inherited, "one", Place("127.0.0.1", port, "lo"))

    def test_others(self) -> None:
        """
        Listeners that nothing was handed over for open their own, without a word.
        """
        inherited = self.hand_over(listening(), names="one")
        self.open(inherited, "two", Place("127.0.0.1", 0))
        self.assertEqual(self.logged(), [])

    def test_no_listening_socket(self) -> None:
        """
        Files, sockets that don't listen, and datagram sockets are of no use.
        """
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagram.bind(("127.0.0.1", 0))
        port = datagram.getsockname()[1]
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        place = Place(*bound.getsockname())
        file = os.open("/dev/null", os.O_RDONLY)
        self.addCleanup(os.close, file)
        inherited = self.hand_over(datagram, bound, file, names="one:one:one")
        self.addCleanup(os.close, self.first + 2)
        self.open(inherited, "one", Place("127.0.0.1", port))
        with self.assertRaises(OSError):
            self.open(inherited, "one", place)

    def test_unix(self) -> None:
        """
        A listener's UNIX socket is found among its sockets.
        """
        with TemporaryDirectory() as short:
            unix = socket.socket(socket.AF_UNIX)
            unix.bind(f"{short}/socket")
            unix.listen(5)
            inherited = self.hand_over(listening(), unix, names="one:one")
            found = inherited.unix_for("one")
            assert found is not None
            with found:
                self.assertEqual(found.getsockname(), f"{short}/socket")
            self.assertIsNone(inherited.unix_for("two"))

    def test_nothing(self) -> None:
        """
        Names without descriptors are nothing, and this process was handed nothing; how
        one is that was, L{tests.test_tap} tells.
        """
        self.assertEqual(Inherited.of_descriptors([], ["one"]).names, [])
        self.assertEqual(Inherited.of_process().names, [])

    def test_without_names(self) -> None:
        """
        Sockets without a name are nobody's.
        """
        handed = listening()
        inherited = self.hand_over(handed, names="")
        self.assertEqual(inherited.names, [""])
        self.open(inherited, "one", Place("127.0.0.1", 0))
        self.assertEqual(self.logged(), [])
