"""
What may be wrong with a Nova, and when: pure values, and the words they travel in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from attrs import asdict, frozen

#: Its port is closed, and so is every connection: connecting is refused.
DOWN: Final = "down"
#: It answers everything with the status C{value}.
SAYS: Final = "says"
#: Each answer comes C{value} seconds late.
LATE: Final = "late"
#: Of its answers the share C{value} breaks off by a reset, before or behind the head.
RESETS: Final = "resets"
#: Of its answers the share C{value} breaks off by a reset, in the middle of the body.
BREAKS: Final = "breaks off"
#: It closes each connection behind its first answer, and doesn't say so before.
CLOSES: Final = "closes"
#: It takes connections and requests and never answers; in the end it resets them.
STALLS: Final = "stalls"
#: Nothing that it sends arrives, so that connecting gets no answer at all.
BLACK_HOLE: Final = "black hole"

#: While any of these lasts, no request is answered well.
AWAY: Final = frozenset({DOWN, SAYS, STALLS, BLACK_HOLE})
KINDS: Final = AWAY | {LATE, RESETS, BREAKS, CLOSES}


@frozen
class Phase:
    """
    A time during which something is wrong.

    @ivar kind: What: one of L{KINDS}.
    @ivar value: How much of it, where the kind says so.
    @ivar seconds: How long; C{None}: to the end.
    @ivar at: When it begins, in seconds from the moment the VMs boot.  What begins
        with them is there before them.
    @ivar after: Not at a time but once each VM has asked so many questions, on average.
    """

    kind: str
    value: float = 0
    seconds: float | None = None
    at: float = 0
    after: int = 0


@frozen
class Script:
    """
    All that is to happen to one Nova.

    @ivar phases: What is wrong with it.
    @ivar vms: How many VMs boot.
    @ivar secret: What it shares with the proxy.
    @ivar address: Where it listens.
    @ivar port: Its TCP port.
    @ivar peer: The address of the proxy's host, which no packet may reach during a
        black hole.
    @ivar seed: Decides which answers are reset.
    """

    phases: tuple[Phase, ...]
    vms: int
    secret: str
    address: str
    port: int
    peer: str
    seed: int = 1

    def dump(self) -> str:
        """
        Write it down.
        """
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Script:
        """
        Read what L{dump} wrote.
        """
        content = json.loads(text)
        phases = tuple(Phase(**each) for each in content.pop("phases"))
        return cls(phases=phases, **content)


@frozen
class Asked:
    """
    A request that reached a Nova, and what became of it.

    @ivar at: When it came, in seconds of the machine's monotonic clock.
    @ivar instance: The instance it names.
    @ivar method: Its method.
    @ivar target: Its target.
    @ivar body: A digest of its body; empty: it had none.
    @ivar connection: The number of its connection.
    @ivar fate: C{served}, C{refused} (its signature or identity), C{abandoned} (the
        proxy went away), or what was wrong with Nova.
    """

    at: float
    instance: str
    method: str
    target: str
    body: str
    connection: int
    fate: str


@frozen
class Record:
    """
    What one Nova saw.

    @ivar asked: Every request.
    @ivar returns: When something that was wrong with all of it was over.
    @ivar opened: When each connection was opened.
    """

    asked: tuple[Asked, ...]
    returns: tuple[float, ...]
    opened: tuple[float, ...]

    @classmethod
    def load(cls, lines: Sequence[str]) -> Record:
        """
        Read what the Nova wrote, a line of JSON for each event.
        """
        events = [json.loads(line) for line in lines]
        return cls(
            tuple(Asked(**e["asked"]) for e in events if "asked" in e),
            tuple(e["returned"] for e in events if "returned" in e),
            tuple(e["opened"] for e in events if "opened" in e),
        )
