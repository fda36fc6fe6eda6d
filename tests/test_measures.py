"""
Tests for L{mdproxy.measures}: nothing in the configuration is without an effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve, fields_dict
from twisted.trial.unittest import SynchronousTestCase

from mdproxy import measures
from mdproxy.config import Config
from mdproxy.reload import AT_START
from tests.test_config import PLAIN

#: What is read from L{Config} elsewhere than in L{measures}: by L{mdproxy.sources}, by
#: the making of endpoints, by L{mdproxy.reload}, and by what logs.
_ELSEWHERE = {
    *("inventories", "static_path", "libvirt_path", "libvirt_project"),
    *("ovn", "neutron", "lease_sources"),
    *("upstream", "notes", "log"),
}
#: What of L{UpstreamConfig} its pool does not go by in numbers.
_NO_NUMBERS = {"endpoints", "tls", "check_interval"}
_OTHER: dict[str, Any] = {
    "secret": b"other",
    "lease_conflict": "refuse",
    "allow_unverified_address": True,
    "check_bridge_port": True,
    "drain_timeout": 7.0,
}


def _all_of(config: Any, takes: str) -> list[Any]:
    """
    Take every measure of a configuration.

    @param takes: The name of the type of the configuration.
    """
    taken: list[Callable[[Any], Any]] = [
        measure
        for name, measure in sorted(vars(measures).items())
        if name.endswith("_of") and measure.__annotations__["config"] == takes
    ]
    return [measure(config) for measure in taken]


class MeasuresTests(SynchronousTestCase):
    """
    Each option that can change in use changes what some part goes by.
    """

    def assert_counts(self, config: Config) -> None:
        """
        A configuration differs from the plain one in some measure.
        """
        self.assertNotEqual(_all_of(config, "Config"), _all_of(PLAIN, "Config"))

    def test_same(self) -> None:
        """
        The same configuration gives the same measures.
        """
        self.assertEqual(_all_of(PLAIN, "Config"), _all_of(evolve(PLAIN), "Config"))

    def test_every_field(self) -> None:
        """
        Every field of the configuration is a measure, is read elsewhere, or counts at
        the start alone.
        """
        groups = {"bounds", "hold"}
        known = {*_OTHER, *_ELSEWHERE, *AT_START, *groups}
        self.assertEqual(set(fields_dict(Config)), known)
        for name, value in _OTHER.items():
            self.assert_counts(evolve(PLAIN, **{name: value}))

    def test_every_bound(self) -> None:
        """
        So does every bound, and every number of the hold.
        """
        for group in ("bounds", "hold"):
            plain = getattr(PLAIN, group)
            for name in fields_dict(type(plain)):
                other = evolve(plain, **{name: getattr(plain, name) * 3 + 1})
                self.assert_counts(evolve(PLAIN, **{group: other}))

    def test_every_number_of_the_upstream(self) -> None:
        """
        So does every number of the way to Nova; what is left is where Nova is, and how
        often it is checked.
        """
        plain = PLAIN.upstream
        for name in set(fields_dict(type(plain))) - _NO_NUMBERS:
            other = evolve(plain, **{name: getattr(plain, name) * 3 + 1})
            self.assertNotEqual(
                _all_of(other, "UpstreamConfig"), _all_of(plain, "UpstreamConfig")
            )
