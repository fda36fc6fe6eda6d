"""
Tests for L{mdproxy.namespaces}: with names in a folder, namespaces in memory.

Real ones are in L{tests.lab.test_namespaces}.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, cast

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from mdproxy.broker import ROUTE, TCP4, TCP6, Identity, Rule, Want
from mdproxy.files import SETTLE
from mdproxy.http.front import Front
from mdproxy.listeners import Door
from mdproxy.lookup.books import NeighbourBook, NetworkBook
from mdproxy.model import Caller
from mdproxy.namespaces import Namespaces, called
from mdproxy.testing import FakeNeighbours, FakeOpener
from tests.secrecy import SecrecyTestCase
from tests.test_listeners import PortsReactor, make_front

RULES = [
    Rule("agent", ("qdhcp-*", "extra-*")),
    Rule("one", ("qdhcp-*", "qrouter-*"), 80, 9697),
]
RED = "qdhcp-red"
ROUTER = "qrouter-r"
TAP = "tap0a1b2c3d-4e"
QR = "qr-5f6a7b8c-9d"
TAKEN = "169.254.169.254 port 80 is taken by another process"


@define(eq=False)
class Connection:
    """
    A connection that came in.
    """

    aborted: bool = False
    deadline: float = float("inf")
    idle_since: float | None = None

    def abort(self) -> None:
        """
        Break it.
        """
        self.aborted = True

    def path_lost(self, seat: tuple[str, str]) -> None:
        """
        Break it, for there is no way back to who asked.
        """
        self.abort()

    def timed_out(self) -> None:
        """
        Nothing is timed here.
        """

    def close_when_idle(self) -> None:
        """
        Nothing is served here.
        """


@define
class Host:
    """
    A host whose namespaces are files in a folder; what a file says is its inode.

    @ivar directory: The folder.
    @ivar opener: Knows the same namespaces.
    """

    directory: Path
    opener: FakeOpener = field(factory=lambda: FakeOpener(RULES))
    _inode: int = 100

    def add(self, name: str) -> None:
        """
        Make a namespace, as C{ip netns add} does.
        """
        self.touch(name)
        self.mount(name)

    def touch(self, name: str) -> None:
        """
        Do the first half of that.
        """
        self.directory.mkdir(exist_ok=True)
        (self.directory / name).touch()

    def mount(self, name: str) -> None:
        """
        Do the other half.
        """
        self._inode += 1
        self.opener.there[name] = (4, self._inode)

    def remove(self, name: str) -> None:
        """
        Remove a namespace.
        """
        (self.directory / name).unlink()
        self.opener.there.pop(name, None)

    def identify(self, path: str) -> Identity | None:
        """
        Tell which namespace a path stands for.
        """
        os.stat(path)
        return self.opener.there.get(os.path.basename(path))


class NamespacesTestCase(SecrecyTestCase):
    """
    The service on a host in memory.
    """

    def setUp(self) -> None:
        """
        Make a host without namespaces, where the folder does not even exist.
        """
        super().setUp()
        self.prepare()

    def prepare(self) -> None:
        """
        Make the host.
        """
        self.host = Host(Path(os.path.abspath(self.mktemp())))
        self.opener = self.host.opener
        self.opener.start()
        self.reactor = PortsReactor()
        self.front: Front = make_front(self.reactor)[0]
        self.neighbours = FakeNeighbours(NeighbourBook(), self.reactor)
        self.networks = NetworkBook()
        self.cookies: dict[int, int] = {}
        self.namespaces = Namespaces(
            RULES,
            self.opener,
            self.front,
            self.neighbours,
            self.networks,
            self.reactor,
            str(self.host.directory),
            self.host.identify,
            lambda opened: self.cookies.get(opened.fileno(), 7),
        )

    def start(self, *names: str) -> None:
        """
        Start it on a host with namespaces.
        """
        self.host.directory.mkdir()
        for name in names:
            self.host.add(name)
        self.namespaces.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """
        Stop it if it runs.
        """
        if self.namespaces.running:
            self.successResultOf(self.namespaces.stopService())

    def happen(self) -> None:
        """
        Have the reactor tell what the kernel says of the folder.
        """
        for reader in self.reactor.getReaders():
            cast(Any, reader).doRead()
        self.reactor.advance(0)

    def devices(self, name: str, *devices: str, first: int = 2) -> None:
        """
        Have the kernel tell of the devices of a namespace.
        """
        _open, tell = self.neighbours.watched[name]
        tell({1: "lo", **dict(enumerate(devices, first))})
        self.reactor.advance(0)

    def serve(self, name: str, *devices: str) -> None:
        """
        Start it on a host with one namespace, and have its devices told.
        """
        self.start(name)
        self.devices(name, *(devices or (TAP,)))

    def connect(self, link: str) -> Connection:
        """
        Have a connection come in by a link.
        """
        connection = Connection()
        caller = Caller(link, "10.0.0.5", "fa:16:3e:00:00:01")
        self.assertTrue(self.front.admit(connection, caller))
        return connection

    def listening(self) -> int:
        """
        Count what listens, by its own word, which must be true.
        """
        described = int(self.namespaces.describe()["listening"])
        open_ports = [port for port in self.reactor.ports if port.listening]
        self.assertEqual(len(open_ports), described)
        return described

    def problem(self) -> str:
        """
        Say what is wrong, by its own word.
        """
        return str(self.namespaces.describe()["problem"])


class ServingTests(NamespacesTestCase):
    """
    What is served, and how.
    """

    def test_network(self) -> None:
        """
        In the namespace of a network IPv4 and IPv6 listen on each of its devices, which
        are known by its name and the network's.
        """
        self.serve(RED, TAP, "tap2")
        self.assertEqual(self.listening(), 4)
        wanted = [Want(kind, dev) for dev in (TAP, "tap2") for kind in (TCP4, TCP6)]
        self.assertEqual(self.opener.opened, [(RED, want) for want in wanted])
        links = {2: f"{RED}/{TAP}", 3: f"{RED}/tap2"}
        self.assertEqual(self.neighbours.attached_in, {RED: links})
        for link in links.values():
            self.assertEqual(self.networks.name_of(link), "red")
        self.assertEqual(self.problem(), "None")
        self.assertEqual(self.logged(), [])

    def test_router(self) -> None:
        """
        In the namespace of a router its devices towards instances are served, and known
        by the port that they are.
        """
        self.serve(ROUTER, QR, "qg-5f6a7b8c-9d", "rfp-5f6a7b8c-9")
        self.assertEqual(self.listening(), 2)
        link = f"{ROUTER}/{QR}"
        self.assertEqual(self.neighbours.attached_in, {ROUTER: {2: link}})
        self.assertEqual(self.networks.name_of(link), link)
        self.networks.enter("neutron", "5f6a7b8c-9dff-4000-8000-000000000000", "blue")
        self.assertEqual(self.networks.name_of(link), "blue")

    def test_neighbours_are_known_first(self) -> None:
        """
        What the kernel has of neighbours is read before anything listens, so that each
        turn of an entry since then is seen.
        """
        link, mac = f"{RED}/{TAP}", "fa:16:3e:00:00:01"
        known: list[str | None] = []
        self.neighbours.kernel[link, "10.0.0.5"] = mac
        open_sockets = FakeOpener.open

        def note(opener: FakeOpener, *asked: Any) -> Any:
            known.append(self.neighbours.book.mac_of(link, "10.0.0.5"))
            return open_sockets(opener, *asked)

        self.patch(FakeOpener, "open", note)
        self.serve(RED)
        self.assertEqual(known, [mac])
        self.assertEqual(self.listening(), 2)

    def test_neighbours_only(self) -> None:
        """
        Where only neighbours are wanted nothing listens, but they are watched; where
        some listener wants more, it listens.
        """
        self.start("extra-a", RED)
        self.devices("extra-a", TAP)
        self.devices(RED, TAP)
        self.assertEqual({name for name, _want in self.opener.opened}, {RED})
        self.assertEqual(set(self.neighbours.attached_in), {"extra-a", RED})
        self.assertEqual(self.networks.name_of(f"extra-a/{TAP}"), "a")
        listeners = {
            each["namespace"]: each["listener"]
            for each in self.namespaces.describe()["each"]
        }
        self.assertEqual(listeners, {"extra-a": "agent", RED: "one"})

    def test_others(self) -> None:
        """
        Namespaces that no rule is about are left alone.
        """
        self.start("snat-a", "mine")
        self.assertEqual(self.neighbours.watched, {})

    def test_opens_netlink(self) -> None:
        """
        The neighbour source gets its sockets from the namespace itself, and is told why
        where it gets none; so is the operator.
        """
        self.start(RED)
        open_route, _tell = self.neighbours.watched[RED]
        cast(Any, open_route()).close()
        self.assertEqual(self.opener.opened, [(RED, Want(ROUTE))])
        self.opener.error = errno.EPERM
        error = self.assertRaises(OSError, open_route)
        self.assertEqual(error.errno, errno.EPERM)
        self.assertIn("entering namespaces is not allowed", self.problem())
        self.opener.error = None
        self.opener.taken[RED, ROUTE] = errno.EMFILE
        self.assertRaises(OSError, open_route)
        self.assertIn("raise LimitNOFILE", self.problem())
        self.assertEqual([level for level, _line in self.logged()], ["error"] * 2)

    def test_keeps_no_descriptor(self) -> None:
        """
        The reactor has descriptors of its own: those that were opened are closed.
        """
        self.serve(RED)
        self.assertEqual([s.fileno() for s in self.opener.sockets], [-1, -1])

    def test_no_ipv6(self) -> None:
        """
        Where the kernel has no IPv6 IPv4 is served, and that is no problem.
        """
        self.opener.taken[RED, TCP6] = errno.EAFNOSUPPORT
        self.serve(RED)
        self.assertEqual((self.listening(), self.problem()), (1, "None"))
        self.reactor.pump([1.0] * 5)
        self.assertEqual(len(self.opener.opened), 1)

    def test_other_namespace(self) -> None:
        """
        A socket that turns out to be in another namespace than those before it is
        closed and not used.
        """
        self.start(RED)
        open_route, _tell = self.neighbours.watched[RED]
        with cast(Any, open_route()) as opened:
            # The descriptors of the next two.
            for number in range(opened.fileno() + 1, opened.fileno() + 10):
                self.cookies[number] = 8
            self.devices(RED, TAP)
            self.assertEqual(len(self.opener.sockets), 3)
            self.assertEqual(self.listening(), 0)
            self.assertEqual([s.fileno() for s in self.opener.sockets[1:]], [-1, -1])

    def test_many_devices(self) -> None:
        """
        A router may have more devices than are asked for at once.
        """
        self.serve(ROUTER, *(f"qr-{number:08x}-00" for number in range(20)))
        self.assertEqual((self.listening(), self.problem()), (40, "None"))

    def test_heard(self) -> None:
        """
        Each link that is listened on can be seen with its listener.
        """
        self.start(RED, ROUTER)
        self.devices(RED, TAP, "tap2")
        self.devices(ROUTER, QR, "qg-5f6a7b8c-9d")
        links = set(self.namespaces.links())
        heard = list(self.namespaces.heard(links))
        self.assertEqual(
            [(x.link, x.listener, x.kind, x.device) for x in heard],
            [
                (f"{RED}/{TAP}", "one", "namespaces", TAP),
                (f"{RED}/tap2", "one", "namespaces", "tap2"),
                (f"{ROUTER}/{QR}", "one", "namespaces", QR),
            ],
        )
        self.assertEqual({x.link for x in heard}, links)
        self.assertTrue(all(x.is_open for x in heard))
        self.assertEqual(list(self.namespaces.heard({heard[1].link})), [heard[1]])

    def test_name(self) -> None:
        """
        It has the names of the listeners that it is; where nothing is to listen, that
        of the socket whose callers are looked for.
        """
        listening = (Rule("one", ("a-*",), 80), Rule("two", ("b-*",), None, 9697))
        asking = Rule("agent", ("c-*",))
        for rules, name in (
            ((*listening, asking), "one, two"),
            ((asking,), "namespaces of agent"),
        ):
            self.assertEqual(called(rules), name)

    def test_describe(self) -> None:
        """
        It tells the operator of each namespace and of all, in plain values.
        """
        self.serve(RED)
        described = json.loads(json.dumps(self.namespaces.describe()))
        self.assertEqual(
            described,
            {
                "name": "one",
                "namespaces": 1,
                "listening": 2,
                "accepted": 0,
                "strays": 0,
                "waiting": [],
                "problem": None,
                "opened": 1,
                "closed": 0,
                "each": [
                    {
                        "namespace": RED,
                        "listener": "one",
                        "devices": [TAP],
                        "networks": ["red"],
                        "listening": 2,
                        "accepted": 0,
                        "strays": 0,
                        "problem": None,
                    }
                ],
            },
        )

    def test_summary(self) -> None:
        """
        Without what each namespace says it tells the operator the same.
        """
        self.start(RED, ROUTER)
        self.devices(RED, TAP)
        described = dict(self.namespaces.describe())
        for name in ("accepted", "strays", "each"):
            del described[name]
        self.assertEqual(self.namespaces.summary(), described)
        self.assertEqual(described["namespaces"], 2)
        self.assertEqual(described["listening"], 2)


class ComingAndGoingTests(NamespacesTestCase):
    """
    Namespaces and devices that come and go.
    """

    def test_comes(self) -> None:
        """
        A namespace that comes is served as soon as its name is there.
        """
        self.start()
        self.host.add(RED)
        self.happen()
        self.devices(RED, TAP)
        self.assertEqual(self.listening(), 2)

    def test_not_mounted_yet(self) -> None:
        """
        A name that is no namespace yet is looked at again before long, less and less
        often, and then left to the next rescan; meanwhile the operator is told.
        """
        self.start()
        self.host.touch(RED)
        self.happen()
        self.assertEqual(self.namespaces.describe()["waiting"], [RED])
        self.assertEqual(self.neighbours.watched, {})
        self.host.mount(RED)
        self.reactor.advance(0.005)
        self.assertEqual(list(self.neighbours.watched), [RED])
        self.assertEqual(self.namespaces.describe()["waiting"], [])

    def test_never_mounted(self) -> None:
        """
        A name that stays a plain file costs nothing more, and is a problem; it is
        looked at again at each rescan.
        """
        self.start()
        self.host.touch(RED)
        self.happen()
        self.reactor.pump([0.5] * 30)
        self.assertIn("/qdhcp-red is no namespace, as seen from here", self.problem())
        # Those of the folder's watch alone.
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.host.mount(RED)
        self.reactor.pump([1.0] * 31)
        self.assertEqual(list(self.neighbours.watched), [RED])
        self.assertEqual(self.problem(), "None")

    def test_never_mounted_and_gone(self) -> None:
        """
        When such a name goes it is forgotten.
        """
        self.start()
        self.host.touch(RED)
        self.happen()
        self.host.remove(RED)
        self.reactor.pump([1.0] * 20)
        self.assertEqual(self.namespaces.describe()["waiting"], [])
        self.assertEqual(self.problem(), "None")

    def test_goes(self) -> None:
        """
        When the name goes everything that keeps the namespace alive is closed in the
        same turn: listeners, connections and netlink.
        """
        self.serve(RED)
        connection = self.connect(f"{RED}/{TAP}")
        self.host.remove(RED)
        self.happen()
        self.assertEqual(self.listening(), 0)
        self.assertTrue(connection.aborted)
        self.assertEqual(self.neighbours.watched, {})
        self.assertEqual(self.neighbours.attached_in, {})
        self.assertEqual(self.networks.name_of(f"{RED}/{TAP}"), f"{RED}/{TAP}")
        self.assertEqual(self.namespaces.describe()["closed"], 1)

    def test_others_stay(self) -> None:
        """
        What goes takes nothing of the others with it.
        """
        self.start(RED, "qdhcp-blue")
        self.devices(RED, TAP)
        self.devices("qdhcp-blue", TAP)
        connection = self.connect(f"qdhcp-blue/{TAP}")
        self.host.remove(RED)
        self.happen()
        self.assertEqual(self.listening(), 2)
        self.assertFalse(connection.aborted)

    def test_made_anew(self) -> None:
        """
        A namespace that was made anew under the same name is another one: nothing of
        the former stays, even where the two events came together.
        """
        self.serve(RED)
        connection = self.connect(f"{RED}/{TAP}")
        former = list(self.reactor.ports)
        self.host.remove(RED)
        self.host.add(RED)
        self.happen()
        self.assertTrue(connection.aborted)
        self.assertEqual([port.listening for port in former], [False, False])
        self.assertEqual(self.listening(), 0)
        self.devices(RED, TAP)
        self.assertEqual(self.listening(), 2)

    def test_made_anew_unseen(self) -> None:
        """
        Where no event came the next rescan finds out.
        """
        self.serve(RED)
        self.host.mount(RED)
        self.reactor.pump([1.0] * 31)
        self.assertEqual(self.namespaces.describe()["closed"], 1)
        self.devices(RED, TAP)
        self.assertEqual(self.listening(), 2)

    def test_unmounted(self) -> None:
        """
        A name that stays but is no namespace any more is as good as gone.
        """
        self.serve(RED)
        self.opener.there.clear()
        self.reactor.pump([1.0] * 31)
        self.assertEqual(self.listening(), 0)
        self.assertEqual(self.neighbours.watched, {})

    def test_folder_comes_later(self) -> None:
        """
        A host where no namespace was ever made has no folder for them: it is waited
        for.
        """
        self.namespaces.startService()
        self.addCleanup(self.stop)
        self.assertEqual(self.problem(), "None")
        self.host.add(RED)
        self.reactor.advance(1)
        self.reactor.advance(0)
        self.devices(RED, TAP)
        self.assertEqual(self.listening(), 2)

    def test_device_comes(self) -> None:
        """
        A device that is plugged in later is served, those before it stay as they were.
        """
        self.serve(RED)
        connection = self.connect(f"{RED}/{TAP}")
        self.devices(RED, TAP, "tap2")
        self.assertEqual(self.listening(), 4)
        self.assertFalse(connection.aborted)
        self.assertEqual(len(self.opener.opened), 4)

    def test_device_goes(self) -> None:
        """
        A device that goes takes its listeners and connections with it, at once.
        """
        self.serve(RED, TAP, "tap2")
        connections = [self.connect(f"{RED}/{each}") for each in (TAP, "tap2")]
        self.devices(RED, TAP)
        self.assertEqual(self.listening(), 2)
        self.assertEqual([each.aborted for each in connections], [False, True])
        self.assertEqual(self.neighbours.attached_in, {RED: {2: f"{RED}/{TAP}"}})
        self.assertEqual(self.networks.name_of(f"{RED}/tap2"), f"{RED}/tap2")

    def test_device_made_anew(self) -> None:
        """
        A device that was made anew, or got another name, is another one.
        """
        self.serve(RED)
        first = self.connect(f"{RED}/{TAP}")
        self.devices(RED, TAP, first=5)
        self.assertTrue(first.aborted)
        self.assertEqual(self.neighbours.attached_in, {RED: {5: f"{RED}/{TAP}"}})
        second = self.connect(f"{RED}/{TAP}")
        self.devices(RED, "tapother", first=5)
        self.assertTrue(second.aborted)
        self.assertEqual(self.neighbours.attached_in, {RED: {5: f"{RED}/tapother"}})
        self.assertEqual(self.listening(), 2)

    def test_stops(self) -> None:
        """
        When it is stopped nothing listens, is looked for or runs; neighbours are still
        watched, for what is in flight.  It can start again.
        """
        self.serve(RED)
        for _ in range(2):
            self.successResultOf(self.namespaces.stopService())
            self.assertEqual(self.listening(), 0)
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.assertEqual(self.reactor.getReaders(), [])
            self.assertEqual(self.neighbours.attached_in, {RED: {2: f"{RED}/{TAP}"}})
            self.devices(RED, TAP)
            self.assertEqual(self.listening(), 0)
            self.namespaces.startService()
            self.assertEqual(self.listening(), 2)


class TroubleTests(NamespacesTestCase):
    """
    What can't be opened.
    """

    def test_taken(self) -> None:
        """
        While another process has the port that is a problem, which says what to do; it
        is tried again every second or so, and the port taken over when that one ends.
        """
        self.opener.taken[RED, TCP4] = errno.EADDRINUSE
        self.serve(RED)
        self.assertEqual(self.listening(), 1)
        self.assertIn(
            f"1 of 1 namespaces are not served fully, such as {RED}: {TAKEN}",
            self.problem(),
        )
        self.reactor.pump([1.1] * 5)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 2)
        self.opener.taken.clear()
        self.reactor.advance(1.1)
        self.assertEqual((self.listening(), self.problem()), (2, "None"))
        self.assertEqual(
            [(level, line.split(":")[0]) for level, line in self.logged()],
            [
                ("error", f"{RED} is not served as it should"),
                ("info", f"{RED} is served"),
            ],
        )

    def test_taken_by_many(self) -> None:
        """
        Of many namespaces that have the same problem the log tells once, and they are
        tried again the less often the more they are.
        """
        names = [f"qdhcp-{number:03}" for number in range(200)]
        for name in names:
            self.opener.taken[name, TCP4] = errno.EADDRINUSE
        self.start(*names)
        for name in names:
            self.devices(name, TAP)
        self.assertIn("200 of 200 namespaces", self.problem())
        self.assertEqual(len(self.logged()), 1)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 2)
        self.opener.taken.clear()
        self.reactor.pump([0.1] * 25)
        self.assertEqual((self.listening(), self.problem()), (400, "None"))

    def test_routers_port_taken(self) -> None:
        """
        In a router's namespace it is the port to which the L3 agent redirects.
        """
        self.opener.taken[ROUTER, TCP6] = errno.EADDRINUSE
        self.serve(ROUTER, QR)
        self.assertIn(":: port 9697 is taken", self.problem())

    def test_no_descriptor_left(self) -> None:
        """
        Where no descriptor is left, here or at whoever opens, nothing else suffers, and
        all is served when there are some again.
        """
        self.start(RED)
        self.reactor.full = True
        self.devices(RED, TAP)
        self.assertEqual(self.listening(), 0)
        self.assertIn("no file descriptor is left", self.problem())
        self.assertEqual({s.fileno() for s in self.opener.sockets}, {-1})
        self.reactor.full = False
        self.opener.error = errno.EMFILE
        self.reactor.advance(1.1)
        self.assertEqual(self.listening(), 0)
        self.opener.error = None
        self.reactor.advance(1.1)
        self.assertEqual((self.listening(), self.problem()), (2, "None"))

    def test_some_descriptors_are_spared(self) -> None:
        """
        The last descriptors are not taken: an operator who wants to know what is wrong
        takes some, too.
        """
        self.start(RED)
        self.namespaces.most_files = 3
        self.devices(RED, TAP)
        self.assertEqual(self.listening(), 0)
        self.assertIn("no file descriptor is left", self.problem())
        self.assertEqual({s.fileno() for s in self.opener.sockets[1:]}, {-1})
        self.namespaces.most_files = 1 << 20
        self.reactor.advance(1.1)
        self.assertEqual((self.listening(), self.problem()), (2, "None"))

    def test_going_is_no_problem(self) -> None:
        """
        What can't be opened because it is just going is no problem.
        """
        for number in (errno.ENODEV, errno.ESTALE):
            self.opener.taken[RED, TCP4] = self.opener.taken[RED, TCP6] = number
            if not self.namespaces.running:
                self.serve(RED)
            self.reactor.pump([1.1] * 2)
            self.assertEqual((self.listening(), self.problem()), (0, "None"))
        self.opener.taken.clear()
        self.reactor.advance(1.1)
        self.assertEqual(self.listening(), 2)
        self.assertEqual(self.logged(), [])

    def test_openers_problem(self) -> None:
        """
        A problem of whoever opens is a problem of all; what is open stays open.
        """
        self.serve(RED)
        self.opener.problem = "the broker has ended"
        self.opener.error = errno.EPIPE
        self.reactor.pump([1.1] * 40)
        self.assertEqual(self.listening(), 2)
        self.assertEqual(self.problem(), "the broker has ended")

    def test_folder_unreadable(self) -> None:
        """
        Where the folder can't be read what is served goes on.
        """
        self.serve(RED)
        self.host.directory.rename(f"{self.host.directory}-former")
        self.host.directory.touch()
        self.addCleanup(os.unlink, self.host.directory)
        self.happen()
        self.reactor.pump([1.0] * 31)
        self.assertIn("can't be read: Not a directory", self.problem())


#: What may happen to a namespace.
HAPPENINGS = ("touch", "mount", "remove", "plug", "unplug", "take", "free", "full")


class HistoryTests(NamespacesTestCase):
    """
    Whatever happens, in whatever order.
    """

    def do(self, what: str, name: str) -> None:
        """
        Have something happen, if it can.
        """
        exists = (self.host.directory / name).exists()
        if what == "touch" and not exists:
            self.host.touch(name)
        elif what == "mount" and exists:
            # Over a namespace that there is, too: another one has its name then.
            self.host.mount(name)
        elif what == "remove" and exists:
            self.host.remove(name)
        elif what in ("plug", "unplug") and name in self.neighbours.watched:
            # The socket that tells it is in the namespace that is held.
            held = self.namespaces._held[name].identity
            self.plugged[name] = held if what == "plug" else None
            self.devices(name, *([TAP] if what == "plug" else []))
        elif what == "take":
            self.opener.taken[name, TCP4] = errno.EADDRINUSE
        elif what == "free":
            self.opener.taken.pop((name, TCP4), None)
        elif what == "full":
            self.reactor.full = not self.reactor.full

    def check_none_pinned(self) -> None:
        """
        Nothing is open in a namespace that has lost its name.
        """
        open_in = {each["namespace"] for each in self.namespaces.describe()["each"]}
        self.assertEqual(open_in, set(self.neighbours.watched))
        for name in open_in:
            self.assertTrue((self.host.directory / name).exists(), name)
        self.listening()

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(HAPPENINGS),
                st.sampled_from([RED, "qdhcp-blue"]),
                st.booleans(),
            ),
            max_size=25,
        )
    )
    def test_any(self, history: list[tuple[str, str, bool]]) -> None:
        """
        At every moment nothing is open in what has gone; and when all is quiet every
        device of every namespace is listened on, and nothing else.
        """
        self.prepare()
        self.plugged: dict[str, Identity | None] = {}
        self.host.directory.mkdir()
        self.namespaces.startService()
        try:
            for what, name, is_seen in history:
                self.do(what, name)
                if is_seen:
                    self.happen()
                    # Of events that follow each other closely the later ones wait.
                    self.reactor.advance(SETTLE)
                    self.check_none_pinned()
            self.opener.taken.clear()
            self.reactor.full = False
            self.reactor.pump([1.0] * 40)
            self.check_none_pinned()
            self.assertEqual(set(self.neighbours.watched), set(self.opener.there))
            served = [
                name
                for name, which in self.opener.there.items()
                if self.plugged.get(name) == which
            ]
            self.assertEqual(self.listening(), 2 * len(served))
            names = {path.name for path in self.host.directory.iterdir()}
            plain = names - self.opener.there.keys()
            self.assertEqual("is no namespace" in self.problem(), bool(plain))
            self.assertNotIn("not served fully", self.problem())
        finally:
            self.stop()


class DoorTests(NamespacesTestCase):
    """
    Who comes in where.
    """

    def test_doors(self) -> None:
        """
        Each link has a door of its own, a router's one that turns strays away; both
        sockets of a link are counted together.
        """
        self.start(RED, ROUTER)
        doors: list[Door] = []
        adopt = self.reactor.adoptStreamPort

        def note(descriptor: int, family: int, door: Any) -> Any:
            doors.append(door)
            return adopt(descriptor, family, door)

        self.patch(self.reactor, "adoptStreamPort", note)
        self.devices(RED, TAP)
        self.devices(ROUTER, QR)
        names = [f"{RED}/{TAP}"] * 2 + [f"{ROUTER}/{QR}"] * 2
        self.assertEqual([door.network for door in doors], names)
        self.assertEqual(
            [hasattr(door, "strays") for door in doors], [False] * 2 + [True] * 2
        )
        doors[0].accepted += 3
        self.assertEqual(self.namespaces.describe()["accepted"], 3)
