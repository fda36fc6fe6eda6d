# -*- test-case-name: tests.test_introspection_view -*-
"""
What operators may see, as plain values: the one thing that pages, JSON, Contrail's
pages, the manhole and C{mdproxyctl} ask.

Everything is computed when somebody asks; requests of instances pay nothing for it.
Every answer is bounded in size and in time, whatever there is on the host.  Times are
seconds since the epoch, durations seconds.  No value holds a secret, a signature, a
token or a body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define

from mdproxy.introspection.parts import Parts

#: How many items a page has if nobody says, and at most.
PAGE = 100
MOST = 1000


@define(eq=False)
class View:
    """
    The operator's view of the running service.

    @ivar _parts: What is looked at.
    """

    _parts: Parts

    def status(self) -> Mapping[str, Any]:
        """
        Tell what every part says of itself.

        @return: C{version}, C{since} (when the configuration in force was taken),
            C{now}, C{ready} (L{readiness}), and what the parts' C{describe} say under
            C{configuration}, C{listeners}, C{sources}, C{lookup}, C{upstream},
            C{proxy}, C{front} and C{checks}.
        """
        raise NotImplementedError

    def readiness(self) -> Mapping[str, Any]:
        """
        Tell whether instances are served as they should be.

        @return: C{ready}, C{reasons} (a sentence for each thing that is in the way) and
            C{checks} (the findings).
        """
        raise NotImplementedError

    def why(self, address: str, network: str | None = None) -> Mapping[str, Any]:
        """
        Tell what the proxy makes of an address, and why.

        @param address: In any spelling, perhaps with a zone.
        @param network: A link or what inventories call its network; C{None}: all.

        @return: C{address}, C{network}, C{total} (on how many links it may be),
            C{candidates} (L{mdproxy.introspection.why}) and C{sentence}.

        @raise Malformed: If it is no address.
        """
        raise NotImplementedError

    def networks(
        self, search: str = "", after: str | None = None, limit: int = PAGE
    ) -> Mapping[str, Any]:
        """
        List the networks that are listened on.

        @param search: What must be in a link, its network's name or its listener's.
        @param after: The C{next} of the page before.
        @param limit: How many at most; never more than L{MOST}.

        @return: C{items}, C{total} and C{next} (C{None}: no more).
        """
        raise NotImplementedError

    def instances(
        self, search: str = "", after: str | None = None, limit: int = PAGE
    ) -> Mapping[str, Any]:
        """
        List the instances whose ports are known.

        @param search: What must be in an id, a project, MAC, address, network or host
            name.
        @param after: The C{next} of the page before.
        @param limit: How many at most; never more than L{MOST}.

        @return: C{items} ({instance, project, networks, macs, addresses, hostnames,
            inventories}), C{total} and C{next} (C{None}: no more).
        """
        raise NotImplementedError

    def instance(self, instance: str) -> Mapping[str, Any] | None:
        """
        Tell one instance's story.

        @return: C{instance}, C{project}, C{ports}, C{leases}, C{neighbours},
            C{candidates} (as in L{why}), C{transactions} and C{steps}; C{None} where
            neither an inventory knows it nor it has asked lately.
        """
        raise NotImplementedError

    def transactions(
        self,
        instance: str | None = None,
        network: str | None = None,
        address: str | None = None,
        status: int | None = None,
        limit: int = PAGE,
        before: int | None = None,
    ) -> Mapping[str, Any]:
        """
        Tell what was asked lately and what came of it, the latest first.

        @param network: A link, or what inventories call its network.
        @param address: In any spelling.
        @param status: A status; 0: nothing was sent.
        @param limit: How many at most; never more than L{MOST}.
        @param before: Only those with a smaller number: the C{next} of the page before.

        @return: C{items} and C{next} (C{None}: no more).

        @raise Malformed: If the address is none.
        """
        raise NotImplementedError

    def steps(self, instance: str | None = None) -> Sequence[Mapping[str, Any]]:
        """
        Tell the steps of watched instances, the latest first.
        """
        raise NotImplementedError

    def watch(self, instance: str, seconds: float) -> None:
        """
        Have the steps of an instance's requests written down for a while.
        """
        proxy: Any = self._parts.proxy
        proxy.watch(instance, seconds)

    def history(self) -> Mapping[str, Any]:
        """
        Tell rates and latencies of the last hour.

        @return: C{step} and C{samples} ({at, requests, refused, failed, median, p99,
            upstream_median, in_flight, lag}), the oldest first.
        """
        history: Mapping[str, Any] = self._parts.history.describe()
        return history

    def checks(self) -> Sequence[Mapping[str, Any]]:
        """
        Tell what mdproxy found out about itself and its surroundings.
        """
        return [finding.describe() for finding in self._parts.checks.findings]

    def facts(self) -> Mapping[str, Any]:
        """
        Tell all ports, leases and neighbours that are known; this may be long.
        """
        return self._parts.lookup.known()
