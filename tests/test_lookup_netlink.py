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
    Link,
    Message,
    bridge_request,
    dump_request,
    entry_request,
    link_request,
    links_request,
    read_messages,
)
from tests.netlink_kernel import (
    STATES,
    link_message,
    neighbour_message,
    packed_message,
)

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
#: A bridge's answer after C{bridge fdb replace fa:16:3e:00:00:0a dev t1 master static}
#: (t1 has index 11, its bridge 7).
REAL_BRIDGE = (
    "4c0000001c00000009000000a14c0000070000000b000000400000000a000200"
    "fa163e00000a0000080009000700000008000f00000000001400030000000000"
    "0e0000000e00000000000000"
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

    def test_bridge_request(self) -> None:
        """
        A bridge is asked as C{bridge fdb get MAC br BRIDGE} does (seen by strace).
        """
        expected = bytes.fromhex(
            "30000000 1e00 0100 08000000 00000000 07000000 00000000 00000000"
            "0a00 0200 fa163e00000a 0000 0800 0900 07000000"
        )
        self.assertEqual(bridge_request(8, 7, MAC), expected)
        expected = b"\x38" + expected[1:] + bytes.fromhex("0600 0500 6400 0000")
        self.assertEqual(bridge_request(8, 7, MAC, 100), expected)

    def test_link_requests(self) -> None:
        """
        Devices are asked for without their counters.
        """
        tail = "00000000 00000000 0800 1d00 08000000"
        expected = "28000000 1200 {} 08000000 00000000 00000000 {}" + tail
        self.assertEqual(
            links_request(8), bytes.fromhex(expected.format("0103", "00000000"))
        )
        self.assertEqual(
            link_request(8, 3), bytes.fromhex(expected.format("0100", "03000000"))
        )


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
            assert message.entry is not None
            self.assertEqual(message.entry.condition, state)

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
        Proxied addresses and unknown messages say nothing.
        """
        news = bytearray(neighbour_message(28, (3, "10.0.0.5"), MAC, "stale"))
        proxied = news[:26] + b"\x08" + news[27:]
        for data in (
            proxied,
            packed_message(99, b"", 0),
            packed_message(1, b""),
        ):
            self.assertEqual(list(read_messages(bytes(data))), [Message(0)])

    def test_bridge(self) -> None:
        """
        A bridge's entry is no neighbour, but tells the port; one that is gone, or that
        is the port's own address, tells none.
        """
        for kind, state, port in (
            (28, "stale", 3),
            (28, "noarp", 3),
            (28, "permanent", None),
            (29, "stale", None),
        ):
            news = neighbour_message(kind, (3, "10.0.0.5"), MAC, state)
            bridge = news[:16] + b"\x07" + news[17:]
            self.assertEqual(list(read_messages(bridge)), [Message(0, port=port)])

    def test_real_bridge(self) -> None:
        """
        A real bridge's answer is read.
        """
        (message,) = read_messages(bytes.fromhex(REAL_BRIDGE))
        self.assertEqual(message, Message(9, port=11))

    def test_links(self) -> None:
        """
        A device's name is read; of one that is gone there is none.
        """
        data = link_message(16, 3, "tap0", 9) + link_message(17, 4, "tap1")
        expected = [Message(9, link=Link(3, "tap0")), Message(0, link=Link(4, None))]
        self.assertEqual(list(read_messages(data)), expected)

    def test_port_leaves_bridge(self) -> None:
        """
        A device that a bridge has no more is not gone.
        """
        data = link_message(17, 3, "tap0", family=7)
        self.assertEqual(list(read_messages(data)), [Message(0)])

    def test_odd_names(self) -> None:
        """
        A device's name may hold any bytes; it becomes text that can be written.
        """
        body = packed_message(16, bytes(16) + b"\x08\0\x03\0\xff\xfea\0", 0)
        (message,) = read_messages(body)
        self.assertEqual(message.link, Link(0, "\\xff\\xfea"))

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
        self.assertEqual(
            list(read_messages(failed)), [Message(9, done=True, error=105)]
        )
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
            "link cut": packed_message(16, bytes(12)),
            "link without a name": packed_message(16, bytes(16)),
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
