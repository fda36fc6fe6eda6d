"""
Tests for L{mdproxy.introspection.markup}.
"""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup
from twisted.trial.unittest import SynchronousTestCase

import mdproxy.introspection
from mdproxy.introspection.markup import (
    link,
    make_environment,
    moment,
    prose,
    state,
)

_TEMPLATES = Path(mdproxy.introspection.__file__).with_name("templates")


class EnvironmentTests(SynchronousTestCase):
    """
    Tests for L{make_environment}.
    """

    def setUp(self) -> None:
        """
        Make one.
        """
        self.environment = make_environment(few=3)

    def render(self, template: str, **values: object) -> str:
        """
        Render a template.
        """
        return self.environment.from_string(template).render(values)

    def test_escaped(self) -> None:
        """
        Whatever is written is escaped, in text and in attributes.
        """
        self.assertEqual(
            self.render('<p title="{{ x }}">{{ x }}</p>', x="<b>&\"'"),
            '<p title="&lt;b&gt;&amp;&#34;&#39;">&lt;b&gt;&amp;&#34;&#39;</p>',
        )

    def test_visible(self) -> None:
        """
        Whatever is written is visible and not too long, without a filter that could be
        forgotten.
        """
        self.assertEqual(self.render("{{ x }}", x="a\u202eb"), "a\\u202eb")
        self.assertLess(len(self.render("{{ x }}", x="x" * 10_000)), 400)

    def test_joined(self) -> None:
        """
        What is put together in a template is escaped no less.
        """
        self.assertEqual(self.render("{{ 'on ' ~ x }}", x="<\0>"), "on &lt;\\u0000&gt;")

    def test_nothing(self) -> None:
        """
        What nobody knows is a dash; what is not there is a fault of ours.
        """
        self.assertEqual(self.render("{{ x }} {{ few }}", x=None), "\u2013 3")
        with self.assertRaises(UndefinedError):
            self.render("{{ x }}")

    def test_nothing_is_safe(self) -> None:
        """
        The only thing that templates write as it is are plots, which are ours.
        """
        found = []
        for path in sorted(_TEMPLATES.glob("*.html")):
            text = path.read_text("utf-8")
            found += re.findall(r"\S*\|\s*safe|autoescape", text)
        self.assertEqual(found, ["it.svg|safe"])

    def test_quoted(self) -> None:
        """
        Every attribute that something is written into is in quotes.
        """
        for path in sorted(_TEMPLATES.glob("*.html")):
            unquoted = re.findall(r"=\s*\{\{", path.read_text("utf-8"))
            self.assertEqual(unquoted, [], path)


class LinkTests(SynchronousTestCase):
    """
    Tests for L{link}.
    """

    def test_path(self) -> None:
        """
        A segment is a segment, whatever is in it.
        """
        self.assertEqual(link("instances", "a/b?c#d e"), "/instances/a%2Fb%3Fc%23d%20e")
        self.assertEqual(link(""), "/")

    def test_query(self) -> None:
        """
        A question is asked of what is there only, and is fit to stand in an attribute.
        """
        asked = link("why", address="fe80::1", network="a&b=<c>", x=None, y="", z=0)
        self.assertIsInstance(asked, Markup)
        self.assertEqual(
            asked, "/why?address=fe80%3A%3A1&amp;network=a%26b%3D%3Cc%3E&amp;z=0"
        )

    @given(st.text(), st.text())
    def test_any(self, segment: str, value: str) -> None:
        """
        Whatever is asked for, no character of it stands for anything else, and the link
        leads nowhere else.
        """
        made = link("instances", segment, search=value)
        self.assertRegex(made, r"\A/instances/[\w.%~-]*(\?search=[\w.%~+*-]*)?\Z")


class WritingTests(SynchronousTestCase):
    """
    Tests for L{moment}, L{state} and L{prose}.
    """

    def test_moment(self) -> None:
        """
        A time can be read by people and by machines.
        """
        self.assertEqual(
            moment(57, 60),
            '<time datetime="1970-01-01T00:00:57Z">1970-01-01T00:00:57Z</time> '
            '<span class="away">(3 s ago)</span>',
        )
        self.assertEqual(moment(None, 60), "\u2013")

    def test_state(self) -> None:
        """
        A state has a sign and a word beside its colour, and nothing that is not
        escaped.
        """
        for made, tone, sign, word in (
            (state("live"), "good", "\u2714", "live"),
            (state(0, "<b>\0"), "bad", "\u2716", "&lt;b&gt;\\u0000"),
            (state("<i>"), "plain", "\u2022", "&lt;i&gt;"),
        ):
            self.assertEqual(
                made,
                f'<span class="state {tone}"><span class="sign" aria-hidden="true">'
                f"{sign}</span> {word}</span>",
            )

    def test_prose(self) -> None:
        """
        Sentences may be longer than names, but no less visible and escaped.
        """
        self.assertEqual(prose("ab<\u202e" * 200), "ab&lt;\\u202e" * 200)
        self.assertLess(len(prose("x" * 10_000)), 3100)
