"""
Having more of the machine than others, where it can't be had alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Where the kernel shares the CPU by sessions first (sched(7)), niceness counts within
#: the session only, and this is the session's own.
_SESSION = Path("/proc/self/autogroup")


@contextmanager
def at_niceness(niceness: int) -> Iterator[None]:
    """
    Run the block, and what it starts, at another niceness.
    """
    before = os.nice(0)
    os.nice(niceness - before)
    try:
        _share(niceness)
        yield
    finally:
        _share(before)
        os.nice(before - niceness)


def _share(niceness: int) -> None:
    """
    Set the niceness of the session.
    """
    if _SESSION.exists():
        _SESSION.write_text(str(niceness))
