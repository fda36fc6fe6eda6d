"""
Bytes arrive as they were sent, in both directions.
"""

from __future__ import annotations

import random

from tests.lab import nova
from tests.lab.case import LabTestCase
from tests.lab.guest import Talk, request
from tests.lab.proxy import NOVA_PORT

PASSWORD = "/openstack/latest/password"


def plain(secret: bytes, pause: float) -> Talk:
    """
    Post a password with its length ahead.

    @param pause: Seconds between head and body: it comes in a later segment.
    """
    head = request(PASSWORD, f"Content-Length: {len(secret)}", method="POST")
    return Talk(((0, head), (pause, secret)) if pause else ((0, head + secret),))


def chunked(secret: bytes, pause: float) -> Talk:
    """
    Post a password in chunks, as HTTP clients do with what they read from a pipe.

    @param pause: Seconds between the segments.
    """
    head = request(PASSWORD, "Transfer-Encoding: chunked", method="POST")
    cut = len(secret) // 3
    # An empty chunk would be the last.
    parts = filter(None, (secret[:cut], secret[cut:]))
    pieces = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    segments = [head, *pieces, b"0\r\n\r\n"]
    if not pause:
        return Talk(((0, b"".join(segments)),))
    return Talk(tuple((pause, segment) for segment in segments))


class PasswordTests(LabTestCase):
    """
    A VM posts its administrator's password, encrypted.
    """

    booted = ("red-one", "red-two", "blue-one")

    def test_two_hundred_arrive_whole(self) -> None:
        """
        Of 200 passwords posted, plain and chunked, in one segment and in several, 200
        arrive whole, with a length and without chunks.
        """
        recording, _ = self.start_recording()
        dice = random.Random(2)
        secrets = [dice.randbytes(dice.randint(1, 1020)) for _ in range(200)]
        talks = [
            (plain, chunked)[number % 2](secret, (0.0, 0.03)[number % 4 // 2])
            for number, secret in enumerate(secrets)
        ]
        answers = self.guest("red-one").talk(*talks, parallel=4)
        self.assertEqual([answer.status for answer in answers], [200] * 200)
        arrived = recording.requests()
        self.assertEqual(sorted(r.body for r in arrived), sorted(secrets))
        for each in arrived:
            self.assertEqual(each.values("content-length"), [str(len(each.body))])
            self.assertEqual(each.values("transfer-encoding"), [])

    def test_nova_keeps_them(self) -> None:
        """
        The real Nova stores what VMs post, plain and chunked, each with its own.
        """
        namespace = self.world.hypervisor.name
        process = nova.NovaProcess(
            nova.build(), "127.0.0.1", NOVA_PORT, netns=namespace
        )
        process.start()
        self.addCleanup(process.stop)
        self.start_proxy()
        posts = {"red-one": plain, "red-two": chunked, "blue-one": chunked}
        for hostname, post in posts.items():
            secret = f"the password of {hostname}, encrypted: " + 20 * hostname
            [answer] = self.guest(hostname).talk(post(secret.encode(), 0.05))
            self.assertEqual(answer.status, 200, answer)
            instance = self.machine(hostname).instance
            self.assertEqual(process.password(instance), secret)


class UserDataTests(LabTestCase):
    """
    User-data is anything.
    """

    def test_every_byte(self) -> None:
        """
        User-data arrives byte for byte in every VM, be it text, gzip or every byte
        there is; where there is none, that is said.
        """
        self.start_devnova()
        for hostname, machine in self.machines.items():
            for target in ("/openstack/latest/user_data", "/latest/user-data"):
                answer = self.guest(hostname).ask(target, "Accept-Encoding: gzip")
                if machine.user_data is None:
                    self.assertEqual(answer.status, 404, answer)
                else:
                    self.assertEqual(answer.status, 200, answer)
                    self.assertEqual(answer.body, machine.user_data)
