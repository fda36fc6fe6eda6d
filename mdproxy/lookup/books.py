# -*- test-case-name: tests.test_lookup_books -*-
"""
The books: what is known of ports, leases and neighbours, each by its network, and what
the networks are called.

Pure memory: no clock (C{now} is an argument), no I/O.  Sources enter facts; the
lookup reads them, and is told the network of everything that changed.  A book never
says more than its sources do: what a record says now replaces what it said before.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator

from attrs import define, field, frozen

from mdproxy.model import Lease, Neighbour, Port

#: Told the network of a changed fact, after the book has changed.
Observer = Callable[[str], None]


@define
class _Observed:
    """
    Something that tells observers about changed networks.
    """

    _observers: list[Observer] = field(factory=list, init=False)

    def observe(self, observer: Observer) -> None:
        """
        Have an observer called with the network of every change from now on.

        @param observer: Must not raise.
        """
        self._observers.append(observer)

    def _changed(self, networks: Iterable[str]) -> None:
        """
        Tell the observers.
        """
        for network in networks:
            for observer in self._observers:
                observer(network)


#: So much of a port's id is in the name of its device (nova/network/model.py,
#: C{NIC_NAME_LEN}, without the three letters of the kind).
PREFIX = 11


@define
class NetworkBook(_Observed):
    """
    What inventories and leases call the networks of listeners.

    A listener that is configured for one device names its network itself.  One in a
    namespace is called C{NAMESPACE/DEVICE} here: two of them may well be ends of one
    network, with a neighbour table each.  The namespace's name tells the network's; in
    a router's namespace the device's name tells the port that it belongs to.

    All is found by an index, for it is looked up at each change of any fact.

    @ivar _named: The networks of attached links, where they are known.
    @ivar _links: The same links by their network.
    @ivar _ports: The beginning of the port's id, for each attached link of a router.
    @ivar _of_ports: The same links by that beginning.
    @ivar _within: All attached links by their namespace.
    @ivar _records: The networks of routers' ports: by the beginning of the id, what
        each inventory says of each id.
    """

    _named: dict[str, str] = field(factory=dict, init=False)
    _links: dict[str, set[str]] = field(factory=dict, init=False)
    _ports: dict[str, str] = field(factory=dict, init=False)
    _of_ports: dict[str, set[str]] = field(factory=dict, init=False)
    _within: dict[str, set[str]] = field(factory=dict, init=False)
    _records: dict[str, dict[tuple[str, str], str]] = field(factory=dict, init=False)

    def attach(self, link: str, network: str) -> None:
        """
        Learn of a link whose namespace is named after its network.

        @param link: C{NAMESPACE/DEVICE}.
        """
        self.detach(link)
        self._name(link, network)
        self._within.setdefault(_namespace_of(link), set()).add(link)
        self._changed((link,))

    def attach_port(self, link: str, prefix: str) -> None:
        """
        Learn of a link that belongs to a router's port.

        @param link: C{NAMESPACE/DEVICE}.
        @param prefix: The first L{PREFIX} characters of the port's id.
        """
        self.detach(link)
        self._ports[link] = prefix
        self._of_ports.setdefault(prefix, set()).add(link)
        self._name(link, self._network_of(prefix))
        self._within.setdefault(_namespace_of(link), set()).add(link)
        self._changed((link,))

    def detach(self, link: str) -> None:
        """
        Forget a link; one that isn't attached is no trouble.
        """
        if link not in self._within.get(_namespace_of(link), ()):
            return
        _discard(self._within, _namespace_of(link), link)
        self._name(link, None)
        prefix = self._ports.pop(link, None)
        if prefix is not None:
            _discard(self._of_ports, prefix, link)
        self._changed((link,))

    def enter(self, inventory: str, port_id: str, network: str | None) -> None:
        """
        Take what an inventory says of a router's port.

        @param network: Its network; C{None}: there is no such port any more.
        """
        prefix, key = port_id[:PREFIX], (inventory, port_id)
        said = self._records.get(prefix, {})
        if said.get(key) == network:
            return
        if network is not None:
            self._records.setdefault(prefix, {})[key] = network
        else:
            del said[key]
            if not said:
                del self._records[prefix]
        links = list(self._of_ports.get(prefix, ()))
        for link in links:
            self._name(link, self._network_of(prefix))
        self._changed(links)

    def name_of(self, link: str) -> str:
        """
        Tell what a listener's network is called by inventories and leases.

        @return: The name; the link's own where it is not known, or where inventories
            disagree: no port has that one.
        """
        return self._named.get(link, link)

    def is_nameless(self, link: str) -> bool:
        """
        Tell whether a link is a router's whose network nobody has told yet.
        """
        return link in self._ports and link not in self._named

    def links_of(self, network: str) -> list[str]:
        """
        List the attached links of a network.
        """
        return list(self._links.get(network, ()))

    def links(self) -> Iterator[str]:
        """
        Go through all attached links; none may be attached meanwhile.
        """
        for links in self._within.values():
            yield from links

    def links_in(self, namespace: str) -> list[str]:
        """
        List the attached links of a namespace.

        @param namespace: Its name.
        """
        return sorted(self._within.get(namespace, ()))

    def _network_of(self, prefix: str) -> str | None:
        """
        Tell the network of a router's port, if all say the same.

        @param prefix: The beginning of the port's id.
        """
        networks = set(self._records.get(prefix, {}).values())
        return networks.pop() if len(networks) == 1 else None

    def _name(self, link: str, network: str | None) -> None:
        """
        Note the network of a link; C{None}: it is not known.
        """
        former = self._named.pop(link, None)
        if former is not None:
            _discard(self._links, former, link)
        if network is not None:
            self._named[link] = network
            self._links.setdefault(network, set()).add(link)


def _namespace_of(link: str) -> str:
    """
    Tell the namespace of a link.
    """
    return link.partition("/")[0]


def _discard(index: dict[str, set[str]], key: str, link: str) -> None:
    """
    Take a link out of an index.
    """
    index[key].discard(link)
    if not index[key]:
        del index[key]


@define
class PortBook(_Observed):
    """
    All ports that any inventory knows.

    @ivar _records: What each record (a file, a row) of each inventory says now.
    @ivar _by_mac: The same ports by network and MAC.
    @ivar _by_address: The same ports by network and each fixed address.
    @ivar _former: The addresses of the latest ports that are gone, by network and MAC.
    """

    #: Of how many ports that are gone the addresses are remembered.
    MEMORY = 4096

    _records: dict[tuple[str, str], tuple[Port, ...]] = field(factory=dict, init=False)
    _by_mac: dict[tuple[str, str], tuple[Port, ...]] = field(factory=dict, init=False)
    _by_address: dict[tuple[str, str], tuple[Port, ...]] = field(
        factory=dict, init=False
    )

    _former: OrderedDict[tuple[str, str], frozenset[str]] = field(
        factory=OrderedDict, init=False
    )

    def enter(self, inventory: str, record: str, ports: Iterable[Port]) -> None:
        """
        Take what one record of an inventory says now.

        @param inventory: The inventory's name.
        @param record: Which of its records: a file, a row; it is the inventory's own.
        @param ports: All ports that this record knows; none forgets the record.
        """
        new = tuple(ports)
        old = self._records.pop((inventory, record), ())
        if new:
            self._records[inventory, record] = new
        if new == old:
            return
        for port in old:
            self._unlist(port)
        for port in new:
            self._list(port)
        # Counted, because a port that is listed twice is not like one listed once.
        before, after = Counter(old), Counter(new)
        differing = {*(before - after), *(after - before)}
        self._changed({port.network for port in differing})

    def records(self, inventory: str) -> list[str]:
        """
        Name the records that an inventory has entered and not withdrawn.

        @param inventory: The inventory's name.
        """
        return [record for owner, record in self._records if owner == inventory]

    def by_mac(self, network: str, mac: str) -> tuple[Port, ...]:
        """
        Find the ports with a MAC on a network; more than one means trouble.
        """
        return self._by_mac.get((network, mac), ())

    def by_address(self, network: str, address: str) -> tuple[Port, ...]:
        """
        Find the ports that have an address among their fixed ones.
        """
        return self._by_address.get((network, address), ())

    def was_held(self, network: str, address: str, mac: str) -> bool:
        """
        Tell whether an address belonged to a port that is gone.

        @return: Whether a port with this MAC and address was known, and no port has
            this MAC now.
        """
        key = (network, mac)
        return key not in self._by_mac and address in self._former.get(key, ())

    def __iter__(self) -> Iterator[Port]:
        """
        Go through all ports; nothing may be entered meanwhile.
        """
        for ports in self._records.values():
            yield from ports

    def __len__(self) -> int:
        """
        Count the ports.
        """
        return sum(len(ports) for ports in self._records.values())

    def _list(self, port: Port) -> None:
        """
        Enter a port into both indexes.
        """
        key = (port.network, port.mac)
        self._by_mac[key] = (*self._by_mac.get(key, ()), port)
        for address in port.addresses or ():
            seat = (port.network, address)
            self._by_address[seat] = (*self._by_address.get(seat, ()), port)

    def _unlist(self, port: Port) -> None:
        """
        Take one listing of a port out of both indexes.
        """
        key = (port.network, port.mac)
        _remove(self._by_mac, key, port)
        self._former[key] = port.addresses or frozenset()
        self._former.move_to_end(key)
        if len(self._former) > self.MEMORY:
            self._former.popitem(last=False)
        for address in port.addresses or ():
            _remove(self._by_address, (port.network, address), port)


def _remove(
    index: dict[tuple[str, str], tuple[Port, ...]], key: tuple[str, str], port: Port
) -> None:
    """
    Take one listing of a port out of an index.
    """
    left = list(index[key])
    left.remove(port)
    if left:
        index[key] = tuple(left)
    else:
        del index[key]


@define
class LeaseBook(_Observed):
    """
    All leases that any lease store holds, expired ones included until they vanish.

    @ivar _leases: By network and address, then by source.
    """

    _leases: dict[tuple[str, str], dict[str, Lease]] = field(factory=dict, init=False)

    def learn(self, source: str, lease: Lease) -> None:
        """
        Take what a source says of an address now.

        @param source: The source's name.
        @param lease: Replaces what this source said of the address before.
        """
        seat = self._leases.setdefault((lease.network, lease.address), {})
        if seat.get(source) != lease:
            seat[source] = lease
            self._changed((lease.network,))

    def forget(self, source: str, network: str, address: str) -> None:
        """
        Take back what a source said of an address.
        """
        seat = self._leases.get((network, address), {})
        if seat.pop(source, None) is not None:
            if not seat:
                del self._leases[network, address]
            self._changed((network,))

    def holder(self, network: str, address: str, now: float) -> Lease | None:
        """
        Find the lease of an address that is in force.

        @param now: Seconds since the epoch.  Expiry is judged here and not by the
            store, which may lag.

        @return: Of several sources' leases the one that lasts longest.
        """
        seat = self._leases.get((network, address))
        if seat is None:
            return None
        lasting = [
            (float("inf") if lease.expires is None else lease.expires, lease)
            for lease in seat.values()
        ]
        expires, lease = max(lasting, key=lambda pair: pair[0])
        return lease if expires > now else None

    def __iter__(self) -> Iterator[Lease]:
        """
        Go through all leases of all sources, ended ones too; nothing may be entered
        meanwhile.
        """
        for seat in self._leases.values():
            yield from seat.values()

    def __len__(self) -> int:
        """
        Count the addresses that have a lease.
        """
        return len(self._leases)


@frozen
class Flip:
    """
    A change of a neighbour entry from one MAC to another.

    @ivar at: When we read of it, in monotonic seconds; it was not later.
    @ivar origin: The MAC that it changed from; C{None} where nobody knows.
    """

    at: float
    origin: str | None


@define
class _Entry:
    """
    What is remembered of an address on a network.

    @ivar mac: Where answers would go now; C{None} where the kernel forgot it.
    @ivar last: The latest MAC that it had.
    @ivar flips: The latest changes from one MAC to another, two at most.
    """

    mac: str | None
    last: str
    flips: tuple[Flip, ...] = ()


def key_of(neighbour: Neighbour) -> tuple[str, str]:
    """
    Name the seat that a neighbour entry is about: network and address.
    """
    return neighbour.network, neighbour.address


@define
class NeighbourBook(_Observed):
    """
    The kernel's neighbour entries, and when they changed hands.

    Somebody who steals an address for the length of a handshake must turn the entry to
    himself and back again; the times of the turns tell.  So entries that were forgotten
    are remembered for L{MEMORY} seconds.

    @ivar _entries: What is known, by network and address.
    @ivar _gone: Which of them the kernel forgot and when, the longest ago first.
    @ivar _gone_of: How many those are, by network.
    @ivar _missed: By network, when news were last missed, so that any of its entries
        may have changed.
    @ivar _turned: By network, when any of its entries last changed hands, or news were
        missed.
    """

    #: For how many seconds a forgotten entry's MAC is remembered: for longer than a
    #: handshake can take.
    MEMORY = 150.0
    #: How many forgotten entries are remembered at most, of all networks (13 MB): an
    #: instance can have the kernel learn and forget any number of addresses.
    MOST = 32768

    _entries: dict[tuple[str, str], _Entry] = field(factory=dict, init=False)
    _gone: dict[tuple[str, str], float] = field(factory=dict, init=False)
    _gone_of: Counter[str] = field(factory=Counter, init=False)
    _missed: dict[str, float] = field(factory=dict, init=False)
    _turned: dict[str, float] = field(factory=dict, init=False)
    _flip_observers: list[Callable[[str, str], None]] = field(factory=list, init=False)

    def observe_flips(self, observer: Callable[[str, str], None]) -> None:
        """
        Have an observer called when an entry changes from one MAC to another.

        @param observer: Takes network and address; must not raise.
        """
        self._flip_observers.append(observer)

    def learn(self, neighbour: Neighbour, now: float) -> None:
        """
        Take what the kernel says of an address now.

        @param neighbour: An entry that is valid: the kernel would send to it.
        @param now: Seconds, monotonic.
        """
        key = key_of(neighbour)
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = _Entry(neighbour.mac, neighbour.mac)
        elif entry.mac == neighbour.mac:
            return
        else:
            self._replace(entry, neighbour, now)
        self._changed((neighbour.network,))

    def _replace(self, entry: _Entry, neighbour: Neighbour, now: float) -> None:
        """
        Enter another MAC, or one for an entry that was forgotten.
        """
        if entry.mac is None:
            self._remember(key_of(neighbour))
        origin, entry.mac, entry.last = entry.last, neighbour.mac, neighbour.mac
        if origin != neighbour.mac:
            entry.flips = (*entry.flips[-1:], Flip(now, origin))
            self._turned[neighbour.network] = now
            for observer in self._flip_observers:
                observer(*key_of(neighbour))

    def forget(self, network: str, address: str, now: float) -> None:
        """
        Learn that the kernel has no valid entry for an address any more.

        @param now: Seconds, monotonic.
        """
        key = (network, address)
        entry = self._entries.get(key)
        if entry is None or entry.mac is None:
            return
        entry.mac = None
        self._gone[key] = now
        self._gone_of[network] += 1
        self._prune(now)
        self._changed((network,))

    def mac_of(self, network: str, address: str) -> str | None:
        """
        Tell where the kernel would send an answer.

        @return: The MAC, or C{None} where there is no valid entry.
        """
        entry = self._entries.get((network, address))
        return None if entry is None else entry.mac

    def miss(self, network: str, now: float) -> None:
        """
        Learn that news of a network were missed: any of its entries may have been
        turned and turned back.

        @param now: Seconds, monotonic.
        """
        self._missed[network] = self._turned[network] = now

    def leave(self, network: str) -> None:
        """
        Forget when a network's entries were turned, for its connections are closed.
        """
        self._missed.pop(network, None)
        self._turned.pop(network, None)

    def is_calm(self, network: str, since: float) -> bool:
        """
        Tell whether none of a network's entries can have changed hands since a moment.

        @param since: Seconds, monotonic.
        """
        turned = self._turned.get(network)
        return turned is None or turned < since

    def flips(self, network: str, address: str, since: float) -> tuple[Flip, ...]:
        """
        Tell how an entry changed from one MAC to another since a moment.

        @param since: Seconds, monotonic.

        @return: The latest changes, the oldest first; two at most stand for any number.
        """
        entry = self._entries.get((network, address))
        known = () if entry is None else entry.flips
        missed = self._missed.get(network)
        if missed is not None:
            known = (*known, Flip(missed, None))
        return tuple(flip for flip in known if flip.at >= since)

    def counts(self) -> Counter[str]:
        """
        Count the valid entries of each network.
        """
        return Counter(
            network
            for (network, _address), entry in self._entries.items()
            if entry.mac is not None
        )

    def held_by(self, macs: Collection[str]) -> list[Neighbour]:
        """
        List the valid entries that point to any of some MACs.
        """
        return [
            Neighbour(network, address, entry.mac)
            for (network, address), entry in self._entries.items()
            if entry.mac is not None and entry.mac in macs
        ]

    def addresses(self, network: str) -> list[str]:
        """
        List the addresses with a valid entry on a network.
        """
        return [
            address
            for (where, address), entry in self._entries.items()
            if where == network and entry.mac is not None
        ]

    def __iter__(self) -> Iterator[Neighbour]:
        """
        Go through all valid entries; nothing may be entered meanwhile.
        """
        for (network, address), entry in self._entries.items():
            if entry.mac is not None:
                yield Neighbour(network, address, entry.mac)

    def __len__(self) -> int:
        """
        Count the valid entries.
        """
        return len(self._entries) - len(self._gone)

    def _prune(self, now: float) -> None:
        """
        Drop what was forgotten long ago; it ends at the latest at what has just gone.
        And where there is too much, the elder half of the network that has most of it:
        what happened there has been missed then.
        """
        while True:
            key = next(iter(self._gone))
            if now - self._gone[key] <= self.MEMORY:
                break
            self._drop(key)
        if len(self._gone) > self.MOST:
            ((network, count),) = self._gone_of.most_common(1)
            those = [key for key in self._gone if key[0] == network]
            for key in those[: count // 2 + 1]:
                self._drop(key)
            self.miss(network, now)

    def _drop(self, key: tuple[str, str]) -> None:
        """
        Forget a forgotten entry for good.
        """
        self._remember(key)
        del self._entries[key]

    def _remember(self, key: tuple[str, str]) -> None:
        """
        Count an entry as forgotten no more.
        """
        del self._gone[key]
        self._gone_of[key[0]] -= 1
        if not self._gone_of[key[0]]:
            del self._gone_of[key[0]]
