# -*- test-case-name: tests.test_lookup -*-
"""
Who is asking: the lookup joins the books of facts by the decision table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mdproxy.interfaces import IInventory, ISource, SourceState
from mdproxy.lookup.books import (
    Flip,
    LeaseBook,
    NeighbourBook,
    NetworkBook,
    PortBook,
)
from mdproxy.lookup.decision import Facts, Policy, decide
from mdproxy.lookup.verdicts import (
    Verdicts,
    facts_in_words,
    verdict_in_words,
)
from mdproxy.model import Caller, Identity, Lease, Refusal

#: Waiting callers are judged again so often even if no book changes, for leases run
#: out and sources come to life without a changed fact.
_RECHECK: Final = 0.5

#: While somebody waits who is not known the inventories are asked again so often.
_REFRESH: Final = 1.0

#: Whoever waits for a network that was woken is left asleep for so many times as long
#: as that took (15 ms with a thousand).
_REST: Final = 20.0

#: Of how many callers of a network it is remembered who they are.
_REMEMBERED: Final = 1024

#: For so many seconds what an inventory has confirmed is not doubted again.
_CONFIRMED: Final = 1.0


class Neighbours(Protocol):
    """
    What the lookup asks of a neighbour source beside its book.
    """

    def drain(self) -> None:
        """
        Enter what the kernel has told and nobody has read yet.
        """

    def probe(self, network: str, address: str) -> str | None:
        """
        Ask the kernel for one entry, and enter what it says.
        """

    def bridge_port(self, network: str, mac: str) -> str | None:
        """
        Ask the network's bridge by which device it would send to a MAC.
        """


@frozen
class Books:
    """
    All that is known, by the kind of fact.
    """

    ports: PortBook
    leases: LeaseBook
    neighbours: NeighbourBook
    networks: NetworkBook = field(factory=NetworkBook)


@frozen(eq=False)
class _Waiter:
    """
    Somebody who waits for facts.

    @ivar caller: Who is to be judged.
    @ivar wake: What to call when the verdict may have changed.
    """

    caller: Caller
    wake: Callable[[], None]


@define(eq=False)
class InstanceLookup:
    """
    Joins the books into a verdict, and tells those who wait when to ask again.

    @ivar _books: The facts.
    @ivar _inventories: Who knows ports, in the order of the configuration.
    @ivar _lease_sources: Who knows leases.
    @ivar _neighbours: Who knows neighbours.
    @ivar _policy: What the operator decided.
    @ivar _clock: Monotonic time.
    @ivar _wall: Seconds since the epoch, by which leases end.
    @ivar _waiting: By network, who waits for its facts to change.
    @ivar _refreshed: By network, when its inventories were last asked for those.
    @ivar _rests: By network, until when those who wait for it are left asleep.
    @ivar _confirmed: When the inventories last began to confirm what they say of a
        caller, by its holder.
    @ivar verdicts: What was decided.
    @ivar _recognised: By network, who was recognised since its facts last changed.
    """

    _books: Books
    _inventories: Sequence[IInventory]
    _lease_sources: Sequence[ISource]
    _neighbours: Neighbours
    _policy: Policy
    _clock: IReactorTime
    _wall: Callable[[], float]
    _waiting: dict[str, dict[_Waiter, None]] = field(factory=dict, init=False)
    _refreshed: dict[str, float] = field(factory=dict, init=False)
    _waking: dict[str, IDelayedCall] = field(factory=dict, init=False)
    _rests: dict[str, float] = field(factory=dict, init=False)
    _confirmed: dict[tuple[str, str], float] = field(factory=dict, init=False)
    _recognised: dict[str, dict[Caller, Identity]] = field(factory=dict, init=False)

    verdicts: Verdicts = field(factory=Verdicts, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Hear of every changed fact.
        """
        self._books.ports.observe(self._note_change)
        self._books.leases.observe(self._note_change)
        self._books.neighbours.observe(self._note_change)
        self._books.networks.observe(self._note_change)

    def verdict(self, caller: Caller) -> Identity | Refusal:
        """
        Judge a caller by what is known at this moment.

        Who was recognised is recognised again without a thought, until a fact of the
        network changes, the lease that was seen ends, or any neighbour entry is turned.

        @return: Whom it is, or why nobody can say.
        """
        if caller.identify_by == "mac":
            self._neighbours.drain()
            if not self._books.neighbours.is_calm(caller.network, caller.since):
                return self._judge(caller)
        recognised = self._recognised.get(caller.network)
        identity = None if recognised is None else recognised.get(caller)
        if identity is None:
            return self._judge(caller)
        lease = identity.evidence.lease
        if lease is not None and self._has_ended(lease):
            return self._judge(caller)
        return identity

    def _judge(self, caller: Caller) -> Identity | Refusal:
        """
        Judge a caller by the books, and remember whom they name.
        """
        facts = self.facts(caller)
        verdict = decide(facts, self._policy, self._is_doubtful(facts))
        self.verdicts.note(verdict, self._clock.seconds())
        if isinstance(verdict, Identity) and not self._may_change(facts):
            recognised = self._recognised.setdefault(caller.network, {})
            if len(recognised) >= _REMEMBERED:
                recognised.clear()
            recognised[caller] = verdict
        return verdict

    def _may_change(self, facts: Facts) -> bool:
        """
        Tell whether a verdict may be another one in a moment though no fact changes: a
        turn counts for this connection alone, an ended lease for as long as the wall
        clock is not set back, and no book has what a bridge knows.
        """
        if facts.turned or self._policy.check_bridge_port:
            return True
        network, address = self.name_of(facts.caller), facts.caller.address
        had = self._books.leases.holder(network, address, float("-inf"))
        return had is not facts.lease

    def _has_ended(self, lease: Lease) -> bool:
        """
        Tell whether a lease that was in force is so no longer.
        """
        return lease.expires is not None and lease.expires <= self._wall()

    def renew(
        self,
        inventories: Sequence[IInventory],
        lease_sources: Sequence[ISource],
        policy: Policy,
    ) -> None:
        """
        Judge by other sources and another policy from now on.
        """
        self._inventories = inventories
        self._lease_sources = lease_sources
        self._policy = policy
        self._recognised.clear()
        for network in self._waiting:
            self._schedule(network, 0)

    def facts(self, caller: Caller) -> Facts:
        """
        Collect what the books say of a caller at this moment.
        """
        books, network, address = self._books, self.name_of(caller), caller.address
        lease = books.leases.holder(network, address, self._wall())
        neighbour, mac, turned = None, caller.mac, False
        if caller.identify_by == "mac":
            neighbour, turned = self._neighbour(caller)
        elif caller.identify_by == "lease":
            mac = None if lease is None else lease.mac
        bridge_port = None
        if self._policy.check_bridge_port and caller.mac is not None:
            bridge_port = self._neighbours.bridge_port(caller.network, caller.mac)
        return Facts(
            caller=caller,
            neighbour=neighbour,
            turned=turned,
            lease=lease,
            by_mac=() if mac is None else books.ports.by_mac(network, mac),
            by_address=books.ports.by_address(network, address),
            bridge_port=bridge_port,
        )

    def explain(self, caller: Caller) -> Mapping[str, Any]:
        """
        Tell the operator all that a verdict on a caller would rest on now.

        @return: Plain values, ready for JSON.
        """
        facts = self.facts(caller)
        network = self.name_of(caller)
        verdict = decide(facts, self._policy, self._is_doubtful(facts))
        return {
            **verdict_in_words(verdict),
            "called": network,
            "facts": facts_in_words(facts),
            "inventories": [
                {
                    "name": inventory.name,
                    "state": inventory.state.value,
                    "knows": inventory.knows(network),
                }
                for inventory in self._inventories
            ],
        }

    def suppose(self, caller: Caller) -> Mapping[str, Any]:
        """
        Tell the operator what a verdict would be on somebody who has not been heard of,
        if he asked and his neighbour entry was made by that.

        @param caller: With the MAC that he is supposed to have.

        @return: Plain values, ready for JSON.
        """
        facts = evolve(self.facts(caller), neighbour=caller.mac, turned=False)
        verdict = decide(facts, self._policy, self._is_doubtful(facts))
        return {**verdict_in_words(verdict), "facts": facts_in_words(facts)}

    def describe(self) -> Mapping[str, Any]:
        """
        Tell the operator what was decided, and who waits.

        @return: Plain values, ready for JSON.
        """
        return {
            **self.verdicts.describe(self._clock.seconds()),
            "waiting": {
                network: len(waiting) for network, waiting in self._waiting.items()
            },
            "ports": len(self._books.ports),
            "leases": len(self._books.leases),
            "neighbours": len(self._books.neighbours),
        }

    def still_holds(self, identity: Identity, caller: Caller) -> bool:
        """
        Tell whether the answer may begin to flow to whom it was asked for.

        @param identity: For whom Nova was asked.
        @param caller: Who asked, on a connection of its own.

        @return: Whether the caller would be taken for the same instance now: its
            neighbour entry still points to it and its port is still current.
        """
        now = self.verdict(caller)
        return now is identity or (
            isinstance(now, Identity)
            and now.port.instance_id == identity.port.instance_id
            and now.port.project_id == identity.port.project_id
        )

    def name_of(self, caller: Caller) -> str:
        """
        Tell what inventories and leases call the network that a caller is on.
        """
        return self._books.networks.name_of(caller.network)

    def wait(self, caller: Caller, wake: Callable[[], None]) -> Callable[[], None]:
        """
        Have somebody called each time that the verdict on a caller may have changed.

        The inventories are asked for the caller now, and every second until the end.

        @param wake: Is called until the wait is ended; must not raise.

        @return: Ends the wait.
        """
        network, waiter = caller.network, _Waiter(caller, wake)
        self._waiting.setdefault(network, {})[waiter] = None
        self._schedule(network, _RECHECK)
        self._refreshed.setdefault(network, self._clock.seconds())
        self.refresh(caller)

        def end() -> None:
            waiting = self._waiting.get(network, {})
            waiting.pop(waiter, None)
            if not waiting and network in self._waiting:
                del self._waiting[network], self._refreshed[network]
                self._rests.pop(network, None)
                self._waking.pop(network).cancel()

        return end

    def refresh(self, caller: Caller) -> Deferred[Any]:
        """
        Have the inventories look again for a caller.

        @return: Fires when all have done so; never with a failure.
        """
        network = self.name_of(caller)
        return DeferredList([i.refresh(network, caller.mac) for i in self._inventories])

    def confirm(self, caller: Caller) -> Deferred[Any] | None:
        """
        Have the inventories look again whether a caller is whom they say.

        @return: Fires when all have done so; never with a failure.  C{None} where they
            were asked a moment ago.
        """
        now, holder = self._clock.seconds(), caller.holder
        if now - self._confirmed.get(holder, float("-inf")) < _CONFIRMED:
            return None
        if len(self._confirmed) >= _REMEMBERED:
            self._confirmed.clear()
        self._confirmed[holder] = now
        return self.refresh(caller)

    def _refresh_for(self, network: str) -> None:
        """
        Have the inventories look again for all who wait, if that is due.
        """
        now = self._clock.seconds()
        if now - self._refreshed[network] < _REFRESH:
            return
        self._refreshed[network] = now
        missed = {waiter.caller.mac: waiter.caller for waiter in self._waiting[network]}
        for caller in missed.values():
            self.refresh(caller)

    def _neighbour(self, caller: Caller) -> tuple[str | None, bool]:
        """
        Look up where an answer would go, as of now and not as of the last event.

        @return: The MAC, and whether the handshake may have been another's.
        """
        network, address = caller.network, caller.address
        self._neighbours.drain()
        mac = self._books.neighbours.mac_of(network, address)
        if mac is None:
            mac = self._neighbours.probe(network, address)
        return mac, self._was_turned(caller)

    def _was_turned(self, caller: Caller) -> bool:
        """
        Tell whether the entry changed hands since the caller's handshake began.

        Whoever forges the frame that opens a connection must turn the entry to himself
        to get the SYN-ACK, and back again to look like the other.  He may take his time
        over it, so the connection is never trusted.  One turn is none of his: from a
        port that is gone to the one that has its address now, which often happens just
        before the new instance's first connection.
        """
        ports, flips = self._books.ports, self._flips(caller)
        if len(flips) != 1 or flips[0].origin is None:
            return bool(flips)
        network, address = self.name_of(caller), caller.address
        return not ports.was_held(network, address, flips[0].origin)

    def _flips(self, caller: Caller) -> tuple[Flip, ...]:
        """
        Tell how the caller's entry may have changed since its handshake began.
        """
        neighbours = self._books.neighbours
        return neighbours.flips(caller.network, caller.address, caller.since)

    def _is_doubtful(self, facts: Facts) -> bool:
        """
        Tell whether a refusal would prove nothing.

        It proves something where no news of neighbours were missed that mattered, the
        network has a name, no inventory is in doubt about it, at least one can know it,
        and all that can are live; and where a lease could have helped (rows 4 and 11),
        if its sources are live too.
        """
        caller = facts.caller
        network = self.name_of(caller)
        if facts.turned and any(flip.origin is None for flip in self._flips(caller)):
            # News were missed; perhaps nothing was turned at all.
            return True
        if self._books.networks.is_nameless(caller.network) or any(
            inventory.is_in_doubt(network) for inventory in self._inventories
        ):
            return True
        able = [i for i in self._inventories if i.knows(network)]
        if not able or any(i.state is not SourceState.LIVE for i in able):
            return True
        by_lease = caller.identify_by == "lease"
        if not by_lease and all(p.addresses is not None for p in facts.by_mac):
            return False
        return any(
            source.state is not SourceState.LIVE
            for source in self._lease_sources
            if source.knows(network)
        )

    def _note_change(self, changed: str) -> None:
        """
        Judge the callers of a network anew from now on; wake those who wait for it,
        once for all changes of this turn.

        @param changed: The network, or one link of it.
        """
        for network in (changed, *self._books.networks.links_of(changed)):
            self._recognised.pop(network, None)
            if network in self._waiting:
                self._schedule(network, 0)

    def _schedule(self, network: str, delay: float) -> None:
        """
        Wake those who wait for a network after a delay, or earlier if so scheduled, but
        not while it rests.
        """
        waking, now = self._waking.get(network), self._clock.seconds()
        delay = max(delay, self._rests.get(network, now) - now)
        if waking is None:
            self._waking[network] = self._clock.callLater(delay, self._wake, network)
        elif waking.getTime() > now + delay:
            waking.reset(delay)

    def _wake(self, network: str) -> None:
        """
        Wake those who wait for a network, and let it rest in proportion: a thousand who
        wait where facts change without end must not keep all other networks waiting.
        """
        del self._waking[network]
        start = self._clock.seconds()
        self._schedule(network, _RECHECK)
        for waiter in list(self._waiting.get(network, ())):
            # One that was woken before may have ended this one's wait.
            if waiter in self._waiting.get(network, ()):
                waiter.wake()
        if network in self._waiting:
            self._rest(network, self._clock.seconds() - start)
            self._refresh_for(network)
        elif network in self._waking:
            self._waking.pop(network).cancel()

    def _rest(self, network: str, worked: float) -> None:
        """
        Leave those who wait for a network asleep for a while.

        @param worked: For how many seconds they kept all others waiting.
        """
        pause, waking = min(_REST * worked, _RECHECK), self._waking[network]
        now = self._clock.seconds()
        self._rests[network] = now + pause
        if waking.getTime() < now + pause:
            waking.reset(pause)
