# -*- test-case-name: tests.test_option_types -*-
"""
How options are declared: the kinds of values that they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oslo_config import cfg, types

#: Seconds in a day: no wait of ours makes sense beyond it.
_DAY = 86400.0


class Seconds(types.Float):
    """
    A length of time: above nothing, at most a day.

    @ivar never: Whether it may be 0, for what is never to happen.
    """

    def __init__(self, never: bool = False) -> None:
        """
        Set no bounds of oslo.config's own: it takes C{nan} for a number within them.
        """
        super().__init__(type_name="seconds")
        self.never = never

    def __call__(self, value: Any) -> float:
        """
        Read a length of time.

        @param value: Its text.

        @return: Seconds.

        @raise ValueError: If it is none that makes sense.
        """
        seconds = float(value)
        if not (0 < seconds <= _DAY or (self.never and seconds == 0)):
            raise ValueError(f"{seconds} is out of bounds")
        return seconds


def text(name: str, default: str, about: str, **more: Any) -> cfg.Opt:
    """
    Declare an option whose value is text.

    @param about: What it is, for the operator.
    """
    return cfg.StrOpt(name, default=default, help=about, **more)


def words(
    name: str, default: Sequence[str], about: str, example: Sequence[str] | None = None
) -> cfg.Opt:
    """
    Declare an option that is a list, joined by commas.

    @param about: What it is, for the operator.
    @param example: What the sample file shows instead of the default.
    """
    shown = None if example is None else list(example)
    return cfg.ListOpt(name, default=list(default), sample_default=shown, help=about)


def yes_or_no(name: str, default: bool, about: str) -> cfg.Opt:
    """
    Declare an option that is true or false.

    @param about: What it is, for the operator.
    """
    return cfg.BoolOpt(name, default=default, help=about)


def path(name: str, default: str, about: str) -> cfg.Opt:
    """
    Declare an option that names a file or directory.

    @param about: What it is, for the operator.
    """
    return cfg.StrOpt(name, default=default, help=about)


def seconds(name: str, default: float, about: str, never: bool = False) -> cfg.Opt:
    """
    Declare an option that is a length of time.

    @param about: What it is, for the operator.
    @param never: Whether it may be 0, for what is never to happen.
    """
    return cfg.Opt(name, type=Seconds(never), default=default, help=about)


def count(
    name: str, default: int, about: str, least: int = 1, most: int = 1 << 30
) -> cfg.Opt:
    """
    Declare an option that is a number of things.

    @param about: What it is, for the operator.
    """
    return cfg.IntOpt(name, default=default, min=least, max=most, help=about)


def port(name: str, default: int, about: str) -> cfg.Opt:
    """
    Declare an option that is a TCP port.

    @param about: What it is, for the operator.
    """
    return cfg.PortOpt(name, default=default, min=1, help=about)
