"""
Tests for L{mdproxy.checks.sockets}.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from pathlib import Path

from hypothesis import given
from hypothesis.strategies import binary, text
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.checks.sockets import (
    Listening,
    find_listening,
    read_answer,
    read_table,
)

PLACE = ("169.254.169.254", 80)

#: As a kernel of this machine's byte order writes it (5.10).
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n"
LINE = (
    "{n}: {at} 00000000:0000 {st} 00000000:00000000 00:00000000 00000000  990 0 {i} 1\n"
)


class KernelTests(SynchronousTestCase):
    """
    Tests for L{find_listening} and L{read_answer}.
    """

    def test_the_kernels_own(self) -> None:
        """
        What the kernel says of sockets of ours is understood, for both families, with
        the device that each is tied to.
        """
        for address, device in (("127.0.0.1", ""), ("::1", ""), ("127.0.0.1", "lo")):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.create_server((address, 0), family=family) as opened:
                name = device.encode()
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
                port = opened.getsockname()[1]
                inode = os.fstat(opened.fileno()).st_ino
                found = find_listening(Path("/proc"))
            (seen,) = (each for each in found if each.inode == inode)
            self.assertEqual((seen.address, seen.port), (address, port))
            self.assertEqual(seen.uid, os.geteuid())
            index = socket.if_nametoindex(device) if device else 0
            # A kernel without sock_diag does not tell.
            self.assertIn(seen.device, (index, None))

    def test_a_refusal(self) -> None:
        """
        A kernel that does not tell is not taken for one where nobody listens.
        """
        error = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -2)
        for data in (error, bytes(16)):
            with self.assertRaises(OSError):
                read_answer(data, [])
        self.assertTrue(read_answer(struct.pack("=IHHIIi", 20, 3, 0, 1, 0, 0), []))

    @given(binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        """
        Whatever it says, reading it is no trouble.
        """
        with contextlib.suppress(OSError):
            read_answer(data, [])


class TableTests(SynchronousTestCase):
    """
    Tests for L{read_table}.
    """

    def test_the_kernels_own(self) -> None:
        """
        What the kernel says of a socket of ours is understood, for both families.
        """
        for address, name in (("127.0.0.1", "tcp"), ("::1", "tcp6")):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.create_server((address, 0), family=family) as opened:
                port = opened.getsockname()[1]
                table = Path("/proc/thread-self/net", name).read_text()
            found = [each for each in read_table(table) if each.port == port]
            self.assertEqual([each.address for each in found], [address])
            self.assertGreater(found[0].inode, 0)

    def test_only_what_listens(self) -> None:
        """
        Connections are passed over, and so is what can't be understood.
        """
        at = "FEA9FEA9:0050" if sys.byteorder == "little" else "A9FEA9FE:0050"
        table = HEAD + "".join(
            LINE.format(n=n, at=where, st=state, i=n)
            for n, (where, state) in enumerate(
                [(at, "0A"), (at, "01"), ("zz:0050", "0A"), ("00:0050", "0A")]
            )
        )
        table += "garbage\n"
        self.assertEqual(list(read_table(table)), [Listening(*PLACE, 990, 0)])

    @given(text())
    def test_anything(self, table: str) -> None:
        """
        Whatever it says, reading it is no trouble.
        """
        list(read_table(table))
