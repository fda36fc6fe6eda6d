"""
Those of the fault scenarios A1 to A16 whose promise is about sockets, descriptors and
memory: the real proxy as a process on loopback.  The others, and what these have in
memory, are in L{tests.test_scenarios_clients}.
"""

from __future__ import annotations

import contextlib
import select
import socket
from itertools import cycle

from tests.loopback import (
    Client,
    LoopbackTestCase,
    content,
    guest_at,
    wait_until,
    wait_until_still,
)

_GREEDY, _CANARY = guest_at(2), guest_at(3)
_BIG = 8 << 20


class ConnectTests(LoopbackTestCase):
    """
    A5: many connections.
    """

    def test_a5_connect_only(self) -> None:
        """
        A5: of two thousand connections of one instance 64 stay and the others are
        broken at once; the proxy's descriptors show no more; others are served.
        """
        self.start([_GREEDY, _CANARY])
        before = self.proxy.fds
        held: list[Client] = []
        for _ in range(10):
            for _ in range(200):
                # It may be broken before it is even reported to be there.
                with contextlib.suppress(ConnectionResetError):
                    held.append(self.connect(_GREEDY))
            held = self.unbroken(held)
            self.sing(_CANARY)
        self.assertEqual(len(held), 64)
        self.assertLessEqual(self.proxy.fds, before + 64 + 2)
        for client in held:
            client.send(_GREEDY.get())
            self.assertEqual(client.read()[0], 200)

    def test_a6_flood(self) -> None:
        """
        A6: where idle connections take every place the longest idle are ended, and
        whoever comes is served.
        """
        flood = [guest_at(number) for number in range(10, 40)]
        self.start([*flood, _CANARY], max_connections=40)
        before = self.proxy.fds
        clients = []
        for guest in flood:
            client = self.connect(guest)
            client.send(guest.get())
            self.assertEqual(client.read()[0], 200)
            clients.append(client)
        self.sing(_CANARY)
        ended, kept = clients[:10], clients[10:]
        for client in ended:
            self.assertEqual(client.socket.recv(1), b"")
        for client in kept[1:]:
            client.send(client.guest.get())
            self.assertEqual(client.read()[0], 200)
        self.assertLessEqual(self.proxy.fds, before + 20 + 32)

    def unbroken(self, clients: list[Client]) -> list[Client]:
        """
        Wait until no more connections are there than may be.

        @return: Those that are not broken.
        """

        def are_few() -> bool:
            return sum(not client.is_broken() for client in clients) <= 64

        wait_until("the rest is broken", are_few)
        for client in clients:
            if client.is_broken():
                client.socket.close()
        return [client for client in clients if client.socket.fileno() >= 0]


class ReaderTests(LoopbackTestCase):
    """
    A7 and A8: answers that are not read.
    """

    def test_a7_slow_readers(self) -> None:
        """
        A7: of 24 answers of 8 MiB that nobody reads next to nothing is in the proxy's
        memory, and most of it stays with Nova; one that is read then comes whole; the
        others are given up after their time, here and at Nova.
        """
        greedy = [guest_at(number) for number in range(10, 14)]
        self.start([*greedy, _CANARY], write_timeout=2)
        for guest in (*greedy, _CANARY):
            self.sing(guest)
        before = self.proxy.resident
        clients = []
        for guest, number in zip(cycle(greedy), range(24), strict=False):
            client = self.connect(guest, 16384)
            client.send(guest.get(f"big/{_BIG}/{number}"))
            clients.append(client)
        wait_until("they are all asked", lambda: len(self.nova.asked) == 24 + 5)
        wait_until_still(lambda: sum(self.nova.sent.values()))
        self.sing(_CANARY)
        self.assertLess(max(self.nova.sent.values()), _BIG // 2)
        # Twice the 64 KiB for each, and what an allocator needs beside.
        self.assertLess(self.proxy.resident - before, 24 * 131072 + (2 << 20))
        reader = clients.pop()
        status, _head, body = reader.read()
        self.assertEqual((status, len(body)), (200, _BIG))
        self.assertTrue(body == content(reader.guest.name, _BIG))
        reader.socket.close()
        self.wait_until_left()
        wait_until("Nova is left", lambda: self.nova.broken.total() == 23)
        for client in clients:
            self.assertLess(client.read_to_break(), _BIG)
        self.sing(_CANARY)

    def test_a8_pipeline_unread(self) -> None:
        """
        A8: of five hundred pipelined requests no more than eight reach Nova while
        nobody reads; read late they are all answered, whole and in order.
        """
        self.start([_GREEDY, _CANARY], max_request_rate=100000)
        self.sing(_CANARY)
        before = self.proxy.resident
        client = self.connect(_GREEDY, 16384)
        paths = [f"big/65536/{number}" for number in range(500)]
        # The kernel takes them all: there is room for more than is read of them.
        client.send(b"".join(_GREEDY.get(path) for path in paths))
        wait_until("Nova is asked", lambda: len(self.asked()) > 0)
        wait_until_still(self.asked)
        self.assertLessEqual(len(self.asked()), 8)
        self.assertLess(self.proxy.resident - before, 2 << 20)
        self.sing(_CANARY)
        body = content(_GREEDY.name, 65536)
        for _ in paths:
            status, _head, heard = client.read()
            self.assertTrue((status, heard) == (200, body))
        self.assertEqual(self.asked(), [_GREEDY.target(path) for path in paths])

    def test_a8_small_requests(self) -> None:
        """
        A8: thousands of small requests that wait behind one that Nova doesn't answer
        take no more of the proxy's memory than their own size.
        """
        self.start([_GREEDY, _CANARY])
        self.sing(_CANARY)
        before = self.proxy.resident
        small = f"GET {_GREEDY.target()} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        for _ in range(64):
            client = self.connect(_GREEDY)
            client.socket.setblocking(False)
            client.socket.send(_GREEDY.get("held") + small * 4000)
        wait_until_still(lambda: self.proxy.resident)
        self.assertLess(self.proxy.resident - before, 64 * 131072 + (2 << 20))
        self.sing(_CANARY)

    def asked(self) -> list[str]:
        """
        List what the greedy one has asked Nova.
        """
        return [target for target, _who in self.nova.asked if _GREEDY.name in target]

    def test_a8_never_read(self) -> None:
        """
        A8: where they are never read the connection is broken after its time.
        """
        self.start([_GREEDY, _CANARY], write_timeout=1)
        client = self.connect(_GREEDY, 16384)
        client.send(_GREEDY.get("big/65536") * 100)
        wait_until("Nova is asked", lambda: len(self.asked()) > 0)
        self.wait_until_left()
        self.assertLessEqual(len(self.asked()), 8)
        self.assertLess(client.read_to_break(), 8 * 65536)
        self.sing(_CANARY)

    def test_slow_but_steady(self) -> None:
        """
        A7: an instance that reads little by little gets its last answer whole, though
        that takes longer than it may pause.
        """
        self.start([_GREEDY, _CANARY], write_timeout=1)
        client = self.connect(_GREEDY, 16384)
        size = 400_000
        client.send(_GREEDY.get(f"big/{size}", "Connection: close"))
        heard = b""
        poll = select.poll()
        while piece := client.socket.recv(8192):
            heard += piece
            # Somebody slow: about five seconds for all.
            poll.poll(100)
        self.assertTrue(heard.endswith(content(_GREEDY.name, size)))


class PoliteTests(LoopbackTestCase):
    """
    A9 and A14: those who may expect to be served.
    """

    def test_a9_half_close(self) -> None:
        """
        A9: who says that nothing more comes gets the whole answer, and then the end.
        """
        self.start([_GREEDY])
        client = self.connect(_GREEDY, 16384)
        client.send(_GREEDY.get("big/1000000"))
        client.socket.shutdown(socket.SHUT_WR)
        status, _head, body = client.read()
        self.assertTrue((status, body) == (200, content(_GREEDY.name, 1000000)))
        self.assertEqual(client.socket.recv(1), b"")

    def test_a14_continue(self) -> None:
        """
        A14: who waits for leave to send a body gets it, and one answer.
        """
        self.start([_GREEDY])
        client = self.connect(_GREEDY)
        head = _GREEDY.get("password", "Expect: 100-continue", "Content-Length: 6")
        client.send(head.replace(b"GET", b"POST", 1))
        leave = b"HTTP/1.1 100 Continue\r\n\r\n"
        self.assertEqual(client.socket.recv(65536), leave)
        self.assertEqual(self.nova.asked, [])
        client.send(b"secret")
        self.assertEqual(client.read()[0], 200)
        client.send(_GREEDY.get())
        self.assertEqual(client.read()[0], 200)
        self.assertEqual(len(self.nova.asked), 2)


class ResetTests(LoopbackTestCase):
    """
    A10: instances that break off.
    """

    def test_a10_resets(self) -> None:
        """
        A10: a thousand connections that are reset within their request, while Nova is
        asked, and within the answer leave nothing behind: no descriptor, no request,
        no connection to Nova, no line in the log.
        """
        guests = [guest_at(number) for number in range(10, 20)]
        self.start([*guests, _CANARY], max_request_rate=100000)
        for guest in guests:
            self.sing(guest)
        self.wait_until_left()
        before, said = self.proxy.used_fds(), self.proxy.said()
        known = len(self.nova.asked)
        for number, guest in zip(range(1000), cycle(guests), strict=False):
            client = self.connect(guest)
            what = ("cut", "held", f"big/{_BIG}")[number % 3]
            request = guest.get(what)
            client.send(request[: len(request) // 2] if what == "cut" else request)
            if what.startswith("big"):
                client.socket.recv(1000)
            elif what == "held":
                known += 1
                wait_until("Nova is asked", lambda: len(self.nova.asked) >= known)  # noqa: B023
            known = len(self.nova.asked)
            client.reset()
            if not number % 100:
                self.sing(_CANARY)
        self.wait_until_left()
        wait_until("no fd is left", lambda: self.proxy.used_fds() <= before)
        self.assertEqual(self.proxy.said(), said)
        for guest in guests:
            self.sing(guest)


class RateTests(LoopbackTestCase):
    """
    A12: the defaults.
    """

    def test_a12_rate(self) -> None:
        """
        A12: with a rate of fifty a boot's sixty requests pass, each on its own
        connection; who goes on without a pause is told to come back later, and others
        are not.
        """
        self.start([_GREEDY, _CANARY], max_request_rate=50)
        for _ in range(60):
            self.sing(_GREEDY)
        client = self.connect(_GREEDY)
        # At fifty a second it would take half a minute to be told of none.
        for _ in range(2000 // 8):
            client.send(_GREEDY.get() * 8)
            status, head, body = [client.read() for _ in range(8)][-1]
            if status != 200:
                break
        self.assertEqual((status, body), (429, b"Too Many Requests\n"))
        self.assertIn(b"\r\nRetry-After: 1", head)
        for _ in range(60):
            self.sing(_CANARY)


class BigHeadTests(LoopbackTestCase):
    """
    A15: all that is allowed, of many at once.
    """

    def test_a15_big_heads(self) -> None:
        """
        A15: sixty-four instances whose heads have 15 KiB each are all served, and the
        memory that they took together is of their size.
        """
        guests = [guest_at(number) for number in range(10, 74)]
        self.start([*guests, _CANARY])
        self.sing(_CANARY)
        before = self.proxy.resident
        padding = [f"X-Pad-{n}: {'p' * 1000}" for n in range(15)]
        clients = [self.connect(guest) for guest in guests]
        for client in clients:
            client.send(client.guest.get("meta-data", *padding)[:-2])
        self.sing(_CANARY)
        self.assertEqual(len(self.nova.asked), 2)
        for client in clients:
            client.send(b"\r\n")
        for client in clients:
            status, _head, body = client.read()
            self.assertEqual(status, 200)
            self.assertEqual(body, content(client.guest.name, len(body)))
        self.assertLess(self.proxy.resident - before, 64 * 2 * 16384 + (2 << 20))


class LogTests(LoopbackTestCase):
    """
    A16: what the log shows of requests.
    """

    def test_a16_log_injection(self) -> None:
        """
        A16: whatever a request holds, and whether it is answered, refused or unknown,
        the log has nothing of it: no control byte, no line of its making, nothing long.
        """
        stranger = guest_at(9)
        self.start([_GREEDY, _CANARY])
        evil = "EVIL\x1b[2J%0aEVIL\x7fEVIL"
        clients = []
        agent = f"User-Agent: {'EVIL' * 2048}"
        for guest in (_GREEDY, stranger):
            for request in (
                guest.get("x%0a%0dPATH%1b", agent),
                guest.get("x", f"User-Agent: {evil}"),
                guest.get("x", "User-Agent: EVIL\rEVIL"),
                guest.get("x", "X-aws-ec2-metadata-token: EVIL"),
                guest.get(evil),
                b"EVIL\x1b[2J\r\n\r\n",
                b"\x00EVIL",
            ):
                client = self.connect(guest)
                client.send(request)
                clients.append(client)
        for client in clients:
            self.assertTrue(client.socket.recv(65536).startswith(b"HTTP/1.1 "))
        said = self.proxy.said()
        self.assertNotIn("PATH", said)
        self.assertIn(stranger.address, said)
        # The operator may look up what was asked for, but nothing else of it.
        page = self.proxy.page("/api/v1/transactions").decode("ascii")
        self.assertIn("x%0a%0dPATH%1b", page)
        for text in (said, page):
            self.assertNotIn("EVIL", text)
            for line in text.splitlines():
                self.assertTrue(line.isprintable(), line)
        self.assertLess(max(map(len, said.splitlines())), 500)
