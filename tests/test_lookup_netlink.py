"""
Tests for L{mdproxy.lookup.netlink}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.netlink import (
    Entry,
    Garbled,
    Message,
    dump_request,
    entry_request,
    read_messages,
)
from tests.netlink_kernel import STATES, neighbour_message, packed_message

MAC = "fa:16:3e:00:00:0a"

#: Read from a real kernel (Linux 6.18, x86-64) in a namespace of its own after C{ip
#: neigh replace 10.0.0.5 lladdr fa:16:3e:00:00:0a dev d0 nud stale}: the news of it...
REAL_NEWS = (
    "4c0000001c00000000000000cc24000002000000020000000400000108000100"
    "0a0000050a000200fa163e00000a000008000400000000001400030070170000"
    "000000000000000001000000"
)
#: ... and the two pieces of the whole table, with two multicast entries.
REAL_DUMP = (
    "4c0000001c00020007000000a22400000200000002000000400000050800010"
    "0e00000160a00020001005e00001600000800040000000000140003007c1700"
    "000c0000000c000000000000004c0000001c00020007000000a224000002000"
    "0000200000004000001080001000a0000050a000200fa163e00000a00000800"
    "0400000000001400030070170000000000000000000000000000580000001c0"
    "0020007000000a22400000a000000020000004000000514000100ff02000000"
    "00000000000000000000160a000200333300000016000008000400000000001"
    "40003007c1700000c0000000c00000000000000140000000300020007000000"
    "a224000000000000"
)


class RequestTests(SynchronousTestCase):
    """
    Tests for the requests; expected bytes are written out for a little-endian host.
    """

    def test_dump_request(self) -> None:
        """
        The table is asked for with a family of 0, which means all.
        """
        expected = bytes.fromhex(
            "1c000000 1e00 0103 07000000 00000000 00000000 00000000 00000000"
        )
        self.assertEqual(dump_request(7), expected)

    def test_entry_request_ipv4(self) -> None:
        """
        An entry is asked for by family, device and address.
        """
        expected = bytes.fromhex(
            "24000000 1e00 0100 08000000 00000000 02000000 03000000 00000000"
            "0800 0100 0a000005"
        )
        self.assertEqual(entry_request(8, 3, "10.0.0.5"), expected)

    def test_entry_request_ipv6(self) -> None:
        """
        The same for IPv6.
        """
        expected = bytes.fromhex(
            "30000000 1e00 0100 08000000 00000000 0a000000 03000000 00000000"
            "1400 0100 fe80000000000000 0000000000000005"
        )
        self.assertEqual(entry_request(8, 3, "fe80::5"), expected)


class ReadMessagesTests(SynchronousTestCase):
    """
    Tests for L{read_messages}.
    """

    def test_real_news(self) -> None:
        """
        News from a real kernel are read.
        """
        self.assertEqual(
            list(read_messages(bytes.fromhex(REAL_NEWS))),
            [Message(0, Entry(2, "10.0.0.5", MAC))],
        )

    def test_real_dump(self) -> None:
        """
        A real kernel's table is read; the multicast entries (C{NOARP}) are not valid.
        """
        self.assertEqual(
            list(read_messages(bytes.fromhex(REAL_DUMP))),
            [
                Message(7, Entry(2, "224.0.0.22", None)),
                Message(7, Entry(2, "10.0.0.5", MAC)),
                Message(7, Entry(2, "ff02::16", None)),
                Message(7, done=True),
            ],
        )

    def test_states(self) -> None:
        """
        Only an entry that the kernel would send to has a MAC.
        """
        valid = {"reachable", "stale", "delay", "probe", "permanent"}
        for state in STATES:
            (message,) = read_messages(
                neighbour_message(28, (3, "fe80::5"), MAC, state)
            )
            expected = Entry(3, "fe80::5", MAC if state in valid else None)
            self.assertEqual(message.entry, expected, state)

    def test_deleted(self) -> None:
        """
        A deleted entry has no MAC, whatever its last state.
        """
        (message,) = read_messages(neighbour_message(29, (3, "10.0.0.5"), MAC, "stale"))
        self.assertEqual(message.entry, Entry(3, "10.0.0.5", None))

    def test_other_hardware(self) -> None:
        """
        A link-layer address that is no MAC is none to us.
        """
        for mac in (None, "0a:00:00:01", "00:" * 19 + "00"):
            (message,) = read_messages(neighbour_message(28, (3, "::5"), mac, "stale"))
            self.assertEqual(message.entry, Entry(3, "::5", None))

    def test_mapped_address(self) -> None:
        """
        An IPv4-mapped neighbour does not pass for an IPv4 one.
        """
        row = (3, "::ffff:10.0.0.5")
        (message,) = read_messages(neighbour_message(28, row, MAC, "stale"))
        self.assertIsNone(message.entry)

    def test_other_kinds(self) -> None:
        """
        Bridge forwarding entries, proxied addresses and unknown messages say nothing.
        """
        news = bytearray(neighbour_message(28, (3, "10.0.0.5"), MAC, "stale"))
        bridge = news[:16] + b"\x07" + news[17:]
        proxied = news[:26] + b"\x08" + news[27:]
        for data in (
            bridge,
            proxied,
            packed_message(99, b"", 0),
            packed_message(1, b""),
        ):
            self.assertEqual(list(read_messages(bytes(data))), [Message(0)])

    def test_many_messages(self) -> None:
        """
        All messages of a datagram are read, in order, with sequence and flags.
        """
        data = (
            neighbour_message(28, (3, "10.0.0.5"), MAC, "stale", 9, 2)
            + neighbour_message(28, (3, "10.0.0.6"), None, "failed", 9, 0x12)
            + packed_message(3, bytes(4), 9, 0x12)
        )
        self.assertEqual(
            list(read_messages(data)),
            [
                Message(9, Entry(3, "10.0.0.5", MAC)),
                Message(9, Entry(3, "10.0.0.6", None), interrupted=True),
                Message(9, done=True, interrupted=True),
            ],
        )

    def test_ends(self) -> None:
        """
        A dump's end may carry an error or nothing at all.
        """
        failed = packed_message(3, (-105).to_bytes(4, "little", signed=True), 9)
        self.assertEqual(list(read_messages(failed)), [Message(9, None, True, 105)])
        bare = packed_message(3, b"", 9)
        self.assertEqual(list(read_messages(bare)), [Message(9, done=True)])

    def test_error(self) -> None:
        """
        A refused request tells its errno.
        """
        data = packed_message(2, (-2).to_bytes(4, "little", signed=True) + bytes(16), 5)
        self.assertEqual(list(read_messages(data)), [Message(5, error=2)])

    def test_garbled(self) -> None:
        """
        Lengths that can't be are refused, each where it stands.
        """
        good = neighbour_message(28, (3, "10.0.0.5"), MAC, "stale")
        cases = {
            "header cut": good[:15],
            "message cut": good[:-1],
            "length too short": b"\x0f" + good[1:],
            "length too long": b"\xff" + good[1:],
            "neighbour cut": packed_message(28, bytes(8)),
            "attribute too short": good[:28] + b"\x03" + good[29:],
            "attribute too long": good[:28] + b"\xff" + good[29:],
            "address too short": good[:28] + b"\x07" + good[29:],
            "no address": good[:30] + b"\x09" + good[31:],
            "error cut": packed_message(2, b"\0"),
        }
        for name, data in cases.items():
            with self.assertRaises(Garbled, msg=name):
                list(read_messages(data))

    def test_good_before_garbled(self) -> None:
        """
        What stands before the garbled part is not lost.
        """
        good = neighbour_message(28, (3, "10.0.0.5"), MAC, "stale")
        messages = read_messages(good + b"abc")
        self.assertEqual(next(messages).entry, Entry(3, "10.0.0.5", MAC))
        with self.assertRaises(Garbled):
            next(messages)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """
        Any bytes give messages or are garbled; nothing else happens.
        """
        try:
            messages = list(read_messages(data))
        except Garbled:
            return
        self.assertLessEqual(len(messages) * 16, len(data) + 3)

    @given(st.integers(0, 67), st.integers(0, 255))
    def test_any_flipped_byte(self, at: int, value: int) -> None:
        """
        A wrong byte in a good message gives an entry with a proper address, nothing, or
        is garbled.
        """
        data = bytearray(neighbour_message(28, (3, "fe80::5"), MAC, "stale"))
        data[at % len(data)] = value
        try:
            messages = list(read_messages(bytes(data)))
        except Garbled:
            return
        for message in messages:
            if message.entry is not None and message.entry.mac is not None:
                self.assertEqual(len(message.entry.mac), 17)
