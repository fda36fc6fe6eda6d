"""
The promises of the interfaces with several providers, to be mixed into test cases.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mdproxy.interfaces import IInventory, ISource, SourceState
from mdproxy.lookup.books import PortBook

if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object


class SourceContract(_Case):
    """
    What every L{ISource} promises.
    """

    def make_source(self, reactor: MemoryReactorClock) -> Any:
        """
        Make a source that has something to read, and has not been started.
        """
        raise NotImplementedError

    def settle(self, reactor: MemoryReactorClock) -> None:
        """
        Give a source as much time as it may take to read everything.
        """
        reactor.pump([1.0] * 3)

    def test_provides_source(self) -> None:
        """
        It has all that a source and a service have.
        """
        source = self.make_source(MemoryReactorClock())
        self.assertTrue(verifyObject(ISource, source))
        self.assertTrue(IService.providedBy(source))

    def test_states(self) -> None:
        """
        It is starting until it is started, and live once it has read everything.
        """
        reactor = MemoryReactorClock()
        source = self.make_source(reactor)
        self.assertEqual(source.state, SourceState.STARTING)
        source.startService()
        self.addCleanup(source.stopService)
        self.settle(reactor)
        self.assertEqual(source.state, SourceState.LIVE)

    def test_describes_itself(self) -> None:
        """
        Its description is plain, and says at least what the interface promises, whether
        it has been started or not.
        """
        reactor = MemoryReactorClock()
        source = self.make_source(reactor)
        for state in ("starting", "live"):
            described = json.loads(json.dumps(source.describe()))
            self.assertEqual(described["name"], source.name)
            self.assertIsInstance(described["kind"], str)
            self.assertEqual(described["state"], state)
            self.assertIsNone(described["problem"])
            if state == "starting":
                source.startService()
                self.addCleanup(source.stopService)
                self.settle(reactor)

    def test_stop_releases_everything(self) -> None:
        """
        When it is stopped it has no timer and no descriptor, and it can start again.
        """
        reactor = MemoryReactorClock()
        source = self.make_source(reactor)
        for _ in range(2):
            source.startService()
            self.settle(reactor)
            self.assertEqual(source.state, SourceState.LIVE)
            source.stopService()
            self.assertEqual(reactor.getDelayedCalls(), [])
            self.assertEqual(reactor.getReaders(), [])


class InventoryContract(SourceContract):
    """
    What every L{IInventory} promises.  The outside has one network here.

    @ivar network: What the inventory calls it.
    """

    network = "red"

    def make_inventory(self, reactor: MemoryReactorClock, book: PortBook) -> Any:
        """
        Make an inventory that has not been started.
        """
        raise NotImplementedError

    def put(self, mac: str, address: str) -> None:
        """
        Have the outside know a port.
        """
        raise NotImplementedError

    def remove(self, mac: str) -> None:
        """
        Have the outside know a port no more.
        """
        raise NotImplementedError

    def spoil(self) -> None:
        """
        Have the outside say nothing that can be understood.
        """
        raise NotImplementedError

    def make_source(self, reactor: MemoryReactorClock) -> Any:
        """
        Make an inventory as a source.
        """
        self.put("fa:16:3e:00:00:01", "10.0.0.1")
        return self.make_inventory(reactor, PortBook())

    def start(self) -> None:
        """
        Start an inventory that knows one port.
        """
        self.reactor = MemoryReactorClock()
        self.book = PortBook()
        self.inventory = self.make_inventory(self.reactor, self.book)
        self.put("fa:16:3e:00:00:01", "10.0.0.1")
        self.inventory.startService()
        self.addCleanup(self.inventory.stopService)

    def refresh(self) -> None:
        """
        Refresh at a time when that is not too often.
        """
        self.reactor.advance(10)
        done = self.inventory.refresh(self.network, None)
        self.reactor.advance(10)
        self.assertIsNone(self.successResultOf(done))

    def test_provides_inventory(self) -> None:
        """
        It has all that an inventory has.
        """
        inventory = self.make_inventory(MemoryReactorClock(), PortBook())
        self.assertTrue(verifyObject(IInventory, inventory))

    def test_knows_its_network(self) -> None:
        """
        It can know the ports of its network.
        """
        self.start()
        self.assertTrue(self.inventory.knows(self.network))
        self.assertFalse(self.inventory.is_in_doubt(self.network))

    def test_enters_ports(self) -> None:
        """
        What the outside knows when it is started is in the book, under its name.
        """
        self.start()
        (port,) = self.book.by_mac(self.network, "fa:16:3e:00:00:01")
        self.assertEqual(port.inventory, self.inventory.name)
        self.assertEqual(port.addresses, frozenset({"10.0.0.1"}))
        self.assertEqual(self.book.by_address(self.network, "10.0.0.1"), (port,))
        self.assertEqual(len(self.book), 1)

    def test_refresh_finds_new_ports(self) -> None:
        """
        A refresh enters what the outside has learnt and withdraws what it has not.
        """
        self.start()
        self.put("fa:16:3e:00:00:02", "10.0.0.2")
        self.remove("fa:16:3e:00:00:01")
        self.refresh()
        self.assertEqual(len(self.book.by_mac(self.network, "fa:16:3e:00:00:02")), 1)
        self.assertEqual(self.book.by_mac(self.network, "fa:16:3e:00:00:01"), ())
        self.assertEqual(self.inventory.state, SourceState.LIVE)

    def test_refreshes_share(self) -> None:
        """
        Many refreshes at a time all fire.
        """
        self.start()
        self.put("fa:16:3e:00:00:02", "10.0.0.2")
        waiting = [self.inventory.refresh(self.network, None) for _ in range(5)]
        self.reactor.advance(10)
        for done in waiting:
            self.assertIsNone(self.successResultOf(done))
        self.assertEqual(len(self.book.by_mac(self.network, "fa:16:3e:00:00:02")), 1)

    def test_trouble_shows_in_state(self) -> None:
        """
        Where the outside can't be understood a refresh does not fail, what was known is
        kept, and the state and the problem say it; afterwards all is well again.
        """
        self.start()
        self.spoil()
        self.refresh()
        self.assertEqual(len(self.book.by_mac(self.network, "fa:16:3e:00:00:01")), 1)
        self.assertNotEqual(self.inventory.state, SourceState.LIVE)
        self.assertIsInstance(self.inventory.describe()["problem"], str)
        self.put("fa:16:3e:00:00:01", "10.0.0.1")
        self.refresh()
        self.assertEqual(self.inventory.state, SourceState.LIVE)
        self.assertIsNone(self.inventory.describe()["problem"])

    def test_stopped_while_waiting(self) -> None:
        """
        A refresh that waits when the inventory is stopped still fires.
        """
        self.start()
        waiting = [self.inventory.refresh(self.network, None) for _ in range(3)]
        self.inventory.stopService()
        for done in waiting:
            self.assertIsNone(self.successResultOf(done))
        self.inventory.startService()
