"""
Boots while Nova is not well: the hold and the pool together, in memory.

Each instance asks one thing after another, as cloud-init does, and gives up when an
answer takes longer than its reader waits.  What the endpoints do is told in words.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from random import Random

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.relaying import CROWD, Arrived, Chain, Guest, Instance

#: What is asked in a boot, and for how long its reader waits.
_READS = (
    (b"/openstack", 10.0),
    (b"/openstack/latest/meta_data.json", 10.0),
    (b"/openstack/latest/user_data", 10.0),
    (b"/openstack/latest/vendor_data.json", 10.0),
    (b"/openstack/latest/network_data.json", 10.0),
    (b"/latest/meta-data/instance-id", 5.0),
    (b"/latest/meta-data/hostname", 5.0),
    (b"/latest/meta-data/public-keys/", 5.0),
    (b"/latest/user-data", 5.0),
    (b"/latest/meta-data/", 5.0),
)


@define(eq=False)
class _Boot:
    """
    An instance that boots.

    @ivar chain: What it asks.
    @ivar instance: Who it is.
    @ivar left: What it has not got yet.
    @ivar guest: The connection with the request that is not answered.
    @ivar gives_up: When it gives up.
    @ivar lost: What it did without.
    """

    chain: Chain
    instance: Instance
    left: list[tuple[bytes, float]] = field(factory=lambda: list(_READS))
    guest: Guest | None = None
    gives_up: float = 0.0
    lost: list[object] = field(factory=list)

    def go_on(self) -> None:
        """
        Hear what has come, and ask the next.
        """
        now = self.chain.clock.seconds()
        if self.guest is not None:
            heard = self.guest.hear()
            if not heard.whole and not heard.closed and now < self.gives_up:
                return
            target, _patience = self.left.pop(0)
            truth = b"data of %b at %b" % (self.instance.name, target)
            if (heard.whole, heard.status, heard.body) != (True, 200, truth):
                self.lost.append((target, heard))
            self.guest.wire.lose(ConnectionError())
            self.guest = None
        if self.left:
            target, patience = self.left[0]
            self.gives_up = now + patience
            self.guest = self.chain.connect(self.instance)
            self.guest.ask(target)


class _Endpoints:
    """
    What each endpoint does, by its host.

    @ivar chain: Who asks them.
    @ivar habits: By host, in a word.
    @ivar asked: How often each was asked.
    @ivar unheard: What was sent to one that is deaf: TCP sends it again.
    """

    def __init__(self, chain: Chain, **habits: str) -> None:
        """
        Behave from now on.
        """
        self.chain = chain
        self.habits: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.random = Random(1)
        self.unheard: list[Arrived] = []
        chain.nova.does = self.do
        for host, habit in habits.items():
            self.turn(host, habit)

    def turn(self, host: str, habit: str) -> None:
        """
        Behave in another way from now on.
        """
        self.habits[host] = habit
        for habits, hosts in (
            ("down", self.chain.nova.refusing),
            ("deaf", self.chain.nova.deaf),
        ):
            (hosts.add if habit == habits else hosts.discard)(host)
        if habit == "down":
            for line in self.chain.nova.lines:
                if line.host == host and not line.closed:
                    line.reset()
        self.chain.nova.accept()
        unheard, self.unheard = self.unheard, []
        for arrived in unheard:
            if not arrived.line.closed:
                self.do(arrived)

    def do(self, arrived: Arrived) -> None:
        """
        Do what this endpoint does with a request.
        """
        habit = self.habits[arrived.line.host]
        if habit == "deaf":
            self.unheard.append(arrived)
            return
        self.asked[arrived.line.host] += 1
        if habit == "flaky":
            # Of ten requests one is reset before the head and one behind it.
            habit = {0: "resets", 1: "half"}.get(self.random.randrange(10), "good")
        if habit == "good":
            arrived.answer()
        elif habit == "slow":
            self.chain.clock.callLater(1.5, arrived.answer)
        elif habit in ("503", "404"):
            arrived.answer(b"%b X" % habit.encode(), body=b"not now")
        elif habit == "resets":
            arrived.line.reset()
        elif habit == "half":
            arrived.line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhalf")
            arrived.line.end()
        # Else it is silent.


class BootTestCase(SynchronousTestCase):
    """
    Boots instances.
    """

    def boot(
        self,
        endpoints: dict[str, str],
        instances: int = 4,
        then: tuple[float, str] | None = None,
        connections: int = 16,
    ) -> tuple[_Endpoints, float]:
        """
        Boot some instances at once, and see that each gets everything.

        @param endpoints: What they do, by host.
        @param then: When all change what they do, and to what.

        @return: The endpoints, and how many seconds it took.
        """
        chain = Chain(tuple(endpoints), connections, CROWD)
        chain.pool.keep_ready()
        chain.wait(0.5)
        nova = _Endpoints(chain, **endpoints)
        boots = [_Boot(chain, instance) for instance in CROWD[:instances]]
        begin = chain.clock.seconds()
        while any(boot.left for boot in boots):
            for boot in boots:
                boot.go_on()
            chain.settle()
            chain.wait(0.05)
            if then is not None and chain.clock.seconds() - begin >= then[0]:
                for host in endpoints:
                    nova.turn(host, then[1])
                then = None
        for boot in boots:
            self.assertEqual(boot.lost, [], f"{endpoints} {boot.instance.name!r}")
        return nova, chain.clock.seconds() - begin


class MixtureTests(BootTestCase):
    """
    Two endpoints that are not both well.
    """

    def test_one_is_not_well(self) -> None:
        """
        As long as one of two endpoints answers, fast, slowly or not always, whatever
        the other does, every boot is complete, and asks little more than it needs.
        """
        for bad, good, order in product(
            ("down", "deaf", "silent", "503", "resets", "half"),
            ("good", "slow", "flaky"),
            ("ab", "ba"),
        ):
            nova, seconds = self.boot(
                {host: bad if host == "a" else good for host in order}
            )
            asked = sum(nova.asked.values())
            self.assertLessEqual(asked, 4 * len(_READS) * 1.5 + 12, (bad, good, order))
            self.assertLess(seconds, 22 if good == "slow" else 9, (bad, good, order))

    def test_one_is_slow(self) -> None:
        """
        A slow endpoint delays no boot for long where another is fast.
        """
        for order in ("ab", "ba"):
            _nova, seconds = self.boot(
                {host: "slow" if host == "a" else "good" for host in order}
            )
            self.assertLess(seconds, 4)

    def test_it_becomes_ill(self) -> None:
        """
        So it is when it happens in the midst, to connections that are kept.
        """
        for bad in ("down", "deaf", "silent", "503", "resets", "half"):
            chain = Chain(("a", "b"), 16, CROWD)
            chain.pool.keep_ready()
            nova = _Endpoints(chain, a="slow", b="good")
            boots = [_Boot(chain, instance) for instance in CROWD[:8]]
            while any(boot.left for boot in boots):
                for boot in boots:
                    boot.go_on()
                chain.settle()
                chain.wait(0.05)
                if chain.clock.seconds() > 2.5:
                    nova.turn("a", bad)
            for boot in boots:
                self.assertEqual(boot.lost, [], bad)


class OutageTests(BootTestCase):
    """
    All endpoints away, for a while.
    """

    def test_away_for_a_while(self) -> None:
        """
        A Nova that is away for some seconds costs no boot anything but that time,
        whatever that looks like, with one endpoint and with two.
        """
        for bad, seconds, hosts in product(
            ("down", "deaf", "503", "resets", "half", "404"), (3.0, 6.0), ("a", "ab")
        ):
            _nova, took = self.boot(dict.fromkeys(hosts, bad), 8, (seconds, "good"))
            self.assertLess(took, seconds + 3, (bad, hosts))

    def test_no_storm(self) -> None:
        """
        While Nova is away for 6 seconds 24 instances that boot do not beat on it: it is
        asked for little more than they need in the end.
        """
        for bad, most in (("down", 4), ("deaf", 4), ("503", 32), ("resets", 32)):
            nova, _seconds = self.boot({"a": bad}, 24, (6.0, "good"))
            self.assertLessEqual(nova.asked["a"] - 24 * len(_READS), most, bad)
