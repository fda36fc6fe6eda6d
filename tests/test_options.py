"""
Tests for L{mdproxy.options}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.config import load
from mdproxy.ini import parse
from mdproxy.inventory.listing import read_listing
from mdproxy.options import LISTENER_OPTIONS, SECTIONS, sample, shown

SAMPLE = Path(__file__).parent.parent / "etc" / "mdproxy.conf"


def uncommented(text: str) -> str:
    """
    Take the comment marks off everything that is an option.
    """
    return "".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines(keepends=True)
    )


class SampleTests(SynchronousTestCase):
    """
    Tests for C{etc/mdproxy.conf}.
    """

    def test_it_is_up_to_date(self) -> None:
        """
        The file is what C{python -m mdproxy.options} prints.
        """
        self.assertEqual(SAMPLE.read_text("utf-8"), sample())

    def test_it_shows_every_option(self) -> None:
        """
        Every option stands in its section, once, with its default where it has one.
        """
        settings, faults = parse("sample", uncommented(sample()))
        self.assertEqual(faults, [])
        shown_there = [(s.section, s.option) for s in settings if s.option]
        declared = [
            (section, option.name)
            for section, options in SECTIONS.items()
            for option in options
        ] + [("listener:br-tenant1", option.name) for option in LISTENER_OPTIONS]
        self.assertEqual(sorted(shown_there), sorted(declared))
        values = {(s.section, s.option): s.value for s in settings}
        for section, options in SECTIONS.items():
            for option in options:
                if option.sample_default is None:
                    self.assertEqual(
                        values[section, option.name], shown(option.default)
                    )

    def test_every_option_has_help(self) -> None:
        """
        No option goes without a word.
        """
        for option in (*LISTENER_OPTIONS, *(o for s in SECTIONS.values() for o in s)):
            self.assertTrue(option.help, option.name)

    def test_it_loads_with_a_secret(self) -> None:
        """
        With the secret filled in it is a whole configuration.
        """
        path = self.mktemp()
        text = sample().replace(
            "#metadata_proxy_shared_secret =", "metadata_proxy_shared_secret = s3cret"
        )
        Path(path).write_text(text, "utf-8")
        config = load([path])
        self.assertEqual(config.secret, b"s3cret")
        self.assertEqual([each.name for each in config.listeners], ["br-tenant1"])

    def test_its_defaults_mean_themselves(self) -> None:
        """
        Taking the marks off every default changes nothing but what is an example.
        """
        text = uncommented(sample()).replace(
            "metadata_proxy_shared_secret =\n", "metadata_proxy_shared_secret = x\n"
        )
        bare = "[DEFAULT]\nmetadata_proxy_shared_secret = x\n[listener:br-tenant1]\n"
        configs = []
        for content in (
            text,
            bare + "[leases]\nsources = dnsmasq:/var/lib/misc/"
            "dnsmasq.leases@br-tenant1\n",
        ):
            path = Path(self.mktemp())
            path.touch(0o600)
            path.write_text(content, "utf-8")
            configs.append(load([str(path)]))
        self.assertEqual(configs[0], configs[1])


class InstancesTests(SynchronousTestCase):
    """
    Tests for C{etc/instances.yaml}.
    """

    def test_it_is_an_inventory(self) -> None:
        """
        The sample is read without problems, and is for the sample's listener.
        """
        listing = read_listing(
            SAMPLE.with_name("instances.yaml").read_bytes(), "static"
        )
        self.assertEqual(listing.problems, ())
        self.assertEqual({port.network for port in listing.ports}, {"br-tenant1"})
