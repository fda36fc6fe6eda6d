"""
The boot matrix: what may be wrong while VMs boot.  A pure table.

Every row is run for both data sources, and every crawl of every row ends complete.
The seconds are those for which operators' clouds are away: a Nova that restarts, an
agent that learns a port late, a load balancer with a dead backend.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from tests.lab.faults import (
    BLACK_HOLE,
    BREAKS,
    CLOSES,
    DOWN,
    LATE,
    RESETS,
    SAYS,
    STALLS,
    Phase,
)

#: How many requests an undisturbed boot takes (the real cloud-init 22.4.2).
FLOOR: Final = {"OpenStack": 28, "Ec2": 26}
SOURCES: Final = tuple(FLOOR)

#: The requests of a boot after which a row strikes: among the OpenStack files (or the
#: Ec2 source's user-data), and in the EC2 tree.
EARLY: Final = 4
MIDDLE: Final = 14

#: A configuration with another secret and another Nova; and one with a fault besides.
GOOD: Final = "good"
BAD: Final = "bad"


@frozen
class Row:
    """
    A row of the matrix.

    @ivar name: What it is called.
    @ivar novas: What is wrong with each Nova, in the order the proxy knows them.
    @ivar vms: How many VMs boot at the same instant.
    @ivar learnt: After how many seconds the inventory learns their ports; 0: they are
        known before.
    @ivar reload: Which configuration is loaded again while the VMs boot: L{GOOD}, where
        the proxy knows the first Nova alone until then, and then the second alone, or
        L{BAD}, which would do the same; empty: none.
    @ivar at: After how many seconds.
    @ivar lost: The most requests of one VM that may reach a Nova which does not answer
        them well: as many as the hold takes to outlast the fault.
    @ivar seeds: It is run once with each.
    """

    name: str
    novas: tuple[tuple[Phase, ...], ...] = ((),)
    vms: int = 8
    learnt: float = 0
    reload: str = ""
    at: float = 0
    lost: int = 0
    seeds: tuple[int, ...] = (1,)

    @property
    def swallows(self) -> bool:
        """
        Tell whether answers may get lost on their way.
        """
        return any(each.kind == BLACK_HOLE for nova in self.novas for each in nova)


def _sole(name: str, *phases: Phase, **details: int) -> Row:
    """
    Describe a row with one Nova.
    """
    return Row(name, (phases,), **details)  # type: ignore[arg-type]


#: Nova's own answers are asked again after 50 ms, doubling to 1 s: seven times in 3 s,
#: and one or two more where the VM's own patience ends and it begins anew.
_THREE_SECONDS: Final = 9
#: Of 28 requests one in ten; nobody has seen more than nine of one VM in these seeds.
_TENTH: Final = 10
_SEEDS: Final = (1, 2, 3)

#: So that a boot lasts for a while.
_SLOW: Final = (Phase(LATE, 0.05),)

ROWS: Final = (
    Row("none"),
    _sole("Nova down 3 s", Phase(DOWN, seconds=3)),
    _sole("Nova down 6 s", Phase(DOWN, seconds=6)),
    _sole("Nova restart 2 s, early", Phase(DOWN, seconds=2, after=EARLY), lost=1),
    _sole("Nova restart 2 s, middle", Phase(DOWN, seconds=2, after=MIDDLE), lost=1),
    _sole("503 for 3 s", Phase(SAYS, 503, seconds=3), lost=_THREE_SECONDS),
    _sole("500 for 3 s", Phase(SAYS, 500, seconds=3), lost=_THREE_SECONDS),
    _sole("404 for 3 s", Phase(SAYS, 404, seconds=3), lost=_THREE_SECONDS),
    Row("2 % reset", ((Phase(RESETS, 0.02),),), lost=_TENTH, seeds=_SEEDS),
    Row("10 % reset", ((Phase(RESETS, 0.1),),), lost=_TENTH, seeds=_SEEDS),
    _sole(
        "every answer breaks off, 3 s", Phase(BREAKS, 1, seconds=3), lost=_THREE_SECONDS
    ),
    Row("port learnt 2 s late", learnt=2),
    Row("port learnt 5 s late", learnt=5),
    Row("24 at once, Nova takes 50 ms", ((Phase(LATE, 0.05),),), vms=24),
    _sole("stalls 3 s, then resets", Phase(STALLS, seconds=3), lost=4),
    _sole("stalls 3 s in the middle", Phase(STALLS, seconds=3, after=MIDDLE), lost=4),
    _sole("black hole 3 s", Phase(BLACK_HOLE, seconds=3)),
    _sole("black hole 6 s", Phase(BLACK_HOLE, seconds=6)),
    _sole("black hole 3 s, middle", Phase(BLACK_HOLE, seconds=3, after=MIDDLE), lost=4),
    _sole("black hole 6 s, middle", Phase(BLACK_HOLE, seconds=6, after=MIDDLE), lost=4),
    _sole("every answer 1 s late", Phase(LATE, 1)),
    _sole(
        "Nova flaps: down three times for 1 s",
        Phase(DOWN, seconds=1),
        Phase(DOWN, seconds=1, at=1.5),
        Phase(DOWN, seconds=1, at=3),
        lost=2,
    ),
    _sole(
        "503, 404, down, stalls: 1 s each",
        Phase(SAYS, 503, seconds=1),
        Phase(SAYS, 404, seconds=1, at=1),
        Phase(DOWN, seconds=1, at=2),
        Phase(STALLS, seconds=1, at=3),
        lost=_THREE_SECONDS,
    ),
    _sole("closes every connection", Phase(CLOSES)),
    Row("24 at once, Nova down 3 s", ((Phase(DOWN, seconds=3),),), vms=24),
    Row("24 at once, ports learnt 2 s late", (_SLOW,), vms=24, learnt=2),
    Row("two Novas, first down", ((Phase(DOWN),), ())),
    Row("two Novas, first black-holed", ((Phase(BLACK_HOLE),), ())),
    Row("two Novas, first says 503", ((Phase(SAYS, 503),), ()), lost=3),
    Row("two Novas, first 2 s late", ((Phase(LATE, 2),), ())),
    # Whoever is silent for 3 s is raced now and then, not each time.
    Row(
        "two Novas, both 3.5 s late", ((Phase(LATE, 3.5),), (Phase(LATE, 3.5),)), lost=8
    ),
    Row("two Novas, first stalls", ((Phase(STALLS),), ()), lost=3),
    Row(
        "two Novas, first black-holed in the middle",
        ((Phase(BLACK_HOLE, after=MIDDLE),), ()),
        lost=2,
    ),
    Row(
        "two Novas, down 3 s and 5 s",
        ((Phase(DOWN, seconds=5),), (Phase(DOWN, seconds=3),)),
    ),
    Row(
        "two Novas, restarted one after the other",
        (
            (Phase(DOWN, seconds=1, after=EARLY), *_SLOW),
            (Phase(DOWN, seconds=1, after=EARLY), *_SLOW),
        ),
        lost=2,
    ),
    _sole(
        "10 % reset and Nova restart 2 s",
        Phase(RESETS, 0.1),
        Phase(DOWN, seconds=2, after=EARLY),
        lost=_TENTH,
    ),
    Row(
        "port learnt 2 s late, then 503 for 2 s",
        ((Phase(SAYS, 503, seconds=4),),),
        learnt=2,
        lost=_THREE_SECONDS,
    ),
    Row(
        "10 % reset, every answer 0.3 s late",
        ((Phase(RESETS, 0.1), Phase(LATE, 0.3)),),
        lost=_TENTH,
    ),
    Row("good reload", (_SLOW, _SLOW), reload=GOOD, at=0.6),
    Row("bad reload", (_SLOW, _SLOW), reload=BAD, at=0.6),
    Row(
        "Nova moves, good reload 2 s later",
        ((Phase(DOWN, after=EARLY),), ()),
        reload=GOOD,
        at=2,
        lost=1,
    ),
    Row(
        "503 for 3 s, good reload in between",
        ((Phase(SAYS, 503, seconds=3),), (Phase(SAYS, 503, seconds=3),)),
        reload=GOOD,
        at=1.5,
        lost=_THREE_SECONDS,
    ),
)
