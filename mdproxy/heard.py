# -*- test-case-name: tests.test_heard -*-
"""
Where instances may come in, for the operator to see: each link with its listener.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from mdproxy.model import Caller

#: How a caller is told apart from others with the same address, by the listener's kind.
_BOUND = {
    "device": "only what comes in by device {device}",
    "namespaces": "only what comes in by device {device} of namespace {namespace}",
    "socket": "what haproxy in namespace {namespace} says, and whom the neighbour "
    "tables there know",
    "address": "nothing: whoever reaches {device} from this address",
}


@frozen
class HeardLink:
    """
    A link, and a listener that serves it.

    @ivar link: What it is called in callers (L{Caller.network}).
    @ivar listener: The listener's name in the configuration.
    @ivar kind: C{device}, C{namespaces}, C{address} or C{socket}.
    @ivar identify_by: C{mac}, C{lease} or C{address}.
    @ivar device: The device's name; of kind C{address} the address and port.
    @ivar is_open: Whether it can be asked there now.
    @ivar problem: What is wrong with it.
    @ivar lookback: For how many seconds before a request its neighbour entry must not
        have changed hands.
    """

    link: str
    listener: str
    kind: str
    identify_by: str
    device: str
    is_open: bool
    problem: str | None = None
    lookback: float = 0.0

    def caller(self, called: str, address: str, mac: str | None, now: float) -> Caller:
        """
        Say who it would be that asked from an address at this moment.

        @param called: What inventories call the link's network.
        @param mac: The source of the frame that the connection would begin with.
        @param now: Seconds, monotonic.
        """
        is_relayed = self.kind == "socket"
        if self.identify_by != "mac":
            # Haproxy's callers are on the network that the inventories know.
            network = called if is_relayed else self.link
            return Caller(network, address, None, self.identify_by, kind=self.kind)
        return Caller(
            self.link,
            address,
            mac,
            probed=is_relayed,
            since=now - self.lookback,
            kind=self.kind,
        )

    def names(self, called: str) -> tuple[str, ...]:
        """
        Tell by which networks its callers are recorded: behind haproxy, as long as
        nobody knows the link, by the network's own name or the router's namespace.

        @param called: What inventories call the link's network.
        """
        if self.kind != "socket":
            return (self.link,)
        return self.link, called, self.link.partition("/")[0]

    @property
    def bound(self) -> str:
        """
        Tell how its callers are told apart from others with the same address.
        """
        namespace = self.link.partition("/")[0]
        return _BOUND[self.kind].format(device=self.device, namespace=namespace)

    def in_words(self) -> Mapping[str, Any]:
        """
        Put the listener into words.

        @return: Plain values, ready for JSON.
        """
        return {
            "name": self.listener,
            "kind": self.kind,
            "identify_by": self.identify_by,
            "open": self.is_open,
            "problem": self.problem,
        }
