"""
The rows of the boot matrix on a host of Neutron's.  A pure table, as
L{tests.lab.matrix}.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from tests.lab.faults import LATE, Phase
from tests.lab.matrix import Row


@frozen
class NeutronRow(Row):
    """
    A row on a host of Neutron's.

    @ivar kind: Where VMs ask: in the namespaces C{qdhcp} or C{ovnmeta} of two networks
        with the same addresses, or in C{qrouter}, where each VM has a network of its
        own behind one router.
    @ivar inventory: Who knows the ports: C{static}, C{neutron} or C{ovn}.
    @ivar has_haproxies: Whether VMs ask Neutron's haproxies and the proxy stands in for
        the agent behind them.
    @ivar restart: After how many seconds OVN's database is away for one; 0: never.
    @ivar reuses: Whether, after a first boot, all VMs are deleted and others, of other
        projects, get their addresses and boot at once.  Then it is those others' ports
        that may be learnt late; until then the deleted ones' are not gone either.
    """

    kind: str = "qdhcp"
    inventory: str = "static"
    has_haproxies: bool = False
    restart: float = 0
    reuses: bool = False


#: So that a boot lasts for a while.
_SLOW: Final = ((Phase(LATE, 0.05),),)

NEUTRON_ROWS: Final = (
    NeutronRow("qdhcp, file"),
    NeutronRow("qdhcp, file, 2 s late", learnt=2),
    NeutronRow("qdhcp, Neutron", inventory="neutron"),
    NeutronRow("qdhcp, Neutron, 2 s late", inventory="neutron", learnt=2),
    NeutronRow("qdhcp, Neutron, 5 s late", inventory="neutron", learnt=5),
    NeutronRow("ovnmeta, OVN", kind="ovnmeta", inventory="ovn"),
    NeutronRow(
        "ovnmeta, OVN restarted, then bound 2 s late",
        kind="ovnmeta",
        inventory="ovn",
        learnt=2,
        restart=0.5,
    ),
    NeutronRow(
        "ovnmeta, OVN, bound 2 s late, restarted in the middle",
        _SLOW,
        kind="ovnmeta",
        inventory="ovn",
        learnt=2,
        restart=2.5,
    ),
    NeutronRow("haproxies, file", has_haproxies=True),
    NeutronRow("haproxies, file, 2 s late", has_haproxies=True, learnt=2),
    NeutronRow(
        "haproxies of OVN, OVN, bound 2 s late",
        kind="ovnmeta",
        inventory="ovn",
        has_haproxies=True,
        learnt=2,
    ),
    NeutronRow("qrouter, Neutron", kind="qrouter", inventory="neutron"),
    NeutronRow(
        "qrouter, Neutron, 2 s late", kind="qrouter", inventory="neutron", learnt=2
    ),
    NeutronRow("addresses reused, file", reuses=True),
    NeutronRow("addresses reused, file, 2 s late", reuses=True, learnt=2),
    NeutronRow("addresses reused, Neutron", inventory="neutron", reuses=True),
    NeutronRow(
        "addresses reused, Neutron, 2 s late",
        inventory="neutron",
        reuses=True,
        learnt=2,
    ),
    NeutronRow("addresses reused, OVN", kind="ovnmeta", inventory="ovn", reuses=True),
    NeutronRow(
        "addresses reused, haproxies, Neutron",
        inventory="neutron",
        has_haproxies=True,
        reuses=True,
    ),
)
