# -*- test-case-name: tests.test_introspection_markup -*-
"""
HTML for the operator's pages.

Whatever a template writes goes through L{written}: it is escaped, and what could not be
seen for what it is is made visible, so that no template can forget it.  This imports
the template library: only L{mdproxy.introspection.pages} needs it.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mdproxy import __version__
from mdproxy.introspection.words import (
    away,
    duration,
    iso,
    number,
    plain,
    sign,
    tone,
    visible,
)

#: So many characters of our own sentences are shown; names may stand in them.
PROSE: Final = 3000


def written(value: Any) -> Any:
    """
    Make what a template writes fit to be seen; it is escaped afterwards.

    @param value: A value of the view's, or HTML of our own.
    """
    if value is None:
        return "\u2013"
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def link(*path: str, **query: object) -> Markup:
    """
    Write a link within the site.

    @param path: The segments of the path, as they are.
    @param query: What it asks; what is C{None} or empty is left out.
    """
    segments = "/".join(quote(each, safe="", errors="replace") for each in path)
    asked = {k: str(v) for k, v in query.items() if v is not None and v != ""}
    question = f"?{urlencode(asked, errors='replace')}" if asked else ""
    return escape(f"/{segments}{question}")


def moment(at: float | None, now: float) -> Markup:
    """
    Write a time, and how far away it is.

    @param at: Seconds since the epoch; C{None}: nobody knows, or never.
    @param now: The same of this moment.
    """
    if at is None:
        return Markup("\u2013")
    # Neither has a character that would have to be escaped.
    when, far = iso(at), away(at, now)
    return Markup(
        f'<time datetime="{when}">{when}</time> <span class="away">({far})</span>'
    )


def state(word: object, text: object = None) -> Markup:
    """
    Write how something is: a sign and a word, and a colour beside.

    @param word: What L{tone} knows.
    @param text: What is written, if that is another word.
    """
    said = escape(visible(str(word if text is None else text)))
    return Markup(
        f'<span class="state {tone(word)}"><span class="sign" aria-hidden="true">'
        f"{sign(word)}</span> {said}</span>"
    )


def prose(text: str) -> Markup:
    """
    Write a sentence or several, which may be longer than any name.
    """
    return escape(visible(text, PROSE))


def make_environment(**constants: object) -> Environment:
    """
    Make what renders the templates: everything is escaped, and a value that is not
    there is a fault.

    All are compiled now, for this is called in a thread.

    @param constants: What all templates know.
    """
    environment = Environment(
        loader=PackageLoader("mdproxy.introspection"),
        autoescape=True,
        auto_reload=False,
        finalize=written,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(link=link, moment=moment, state=state)
    environment.globals.update(version=__version__, **constants)
    environment.filters.update(
        duration=duration, iso=iso, number=number, plain=plain, prose=prose
    )
    for name in environment.list_templates():
        environment.get_template(name)
    return environment
