"""
Tests for L{mdproxy.http.progress}, on the real kernel.
"""

from __future__ import annotations

import socket

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.http.progress import Progress, progress_of


@frozen
class Transport:
    """
    As much of a transport as is asked.
    """

    _socket: socket.socket

    def getHandle(self) -> socket.socket:
        """
        Provide C{ISystemHandle.getHandle}.
        """
        return self._socket


class ProgressTests(SynchronousTestCase):
    """
    Tests for L{progress_of}.
    """

    def test_progress(self) -> None:
        """
        What the peer takes shows as it takes it, until that was all.
        """
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(server.getsockname())
            accepted, _address = server.accept()
            with accepted:
                accepted.setblocking(False)
                before = progress_of(Transport(accepted))
                assert before is not None
                self.assertTrue(before.complete)
                sent = 0
                with self.assertRaises(BlockingIOError):
                    while True:
                        sent += accepted.send(b"x" * 65536)
                stuck = progress_of(Transport(accepted))
                assert stuck is not None
                self.assertFalse(stuck.complete)
                self.assertLess(stuck.acknowledged, before.acknowledged + sent)
                left = sent
                while left:
                    left -= len(peer.recv(min(left, 65536)))
                # Its last acknowledgement is on its way: the answer to a byte brings
                # it, at the latest.
                accepted.setblocking(True)
                peer.send(b"y")
                accepted.recv(1)
                after = progress_of(Transport(accepted))
                assert after is not None
                self.assertEqual(
                    after, Progress(before.acknowledged + sent, True, after.silence)
                )
                # Nobody else counts from when the machine was started.
                self.assertLess(after.silence, 3600)

    def test_unknown(self) -> None:
        """
        Of what is no TCP connection nothing is known.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.assertIsNone(progress_of(Transport(ours)))
