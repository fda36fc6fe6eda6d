"""
A reader of HTML that finds what is wrong with a page before a browser does.
"""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import pairwise

from attrs import define, field

#: Elements that have no end.
_VOID = frozenset({"meta", "link", "input", "path"})

#: Elements that are part of a line of text.
_WITHIN = frozenset({"a", "span", "strong", "code", "time", "button"})

#: All that the operator's pages are made of: whatever else is found was smuggled in.
_KNOWN = frozenset(
    {
        *("html", "head", "meta", "title", "link", "script", "body", "header", "main"),
        *("footer", "nav", "section", "h1", "h2", "h3", "p", "a", "ul", "li", "dl"),
        *("dt", "dd", "div", "span", "strong", "code", "time", "table", "caption"),
        *("thead", "tbody", "tr", "th", "td", "form", "label", "input", "button"),
        *("details", "summary", "figure", "figcaption", "svg", "path", "desc"),
    }
)

#: Attributes that name other elements by their ids.
_REFERENCES = ("for", "aria-labelledby", "aria-describedby")


@define
class Element:
    """
    An element.

    @ivar tag: Its name.
    @ivar attributes: Its attributes.
    @ivar inside: The names of those that it is in, the outermost first.
    @ivar text: All text in it.
    """

    tag: str
    attributes: dict[str, str]
    inside: tuple[str, ...]
    text: str = ""


@define
class Document(HTMLParser):
    """
    A page that was read.

    @ivar elements: All elements, in order.
    @ivar faults: What is wrong with them.
    """

    elements: list[Element] = field(factory=list)
    faults: list[str] = field(factory=list)
    _open: list[Element] = field(factory=list)

    def __attrs_pre_init__(self) -> None:
        """
        Begin to read.
        """
        super().__init__()

    @classmethod
    def of(cls, text: str) -> Document:
        """
        Read a page, and judge it.
        """
        document = cls()
        document.feed(text)
        document.close()
        document.judge()
        return document

    def all(self, tag: str) -> list[Element]:
        """
        Find the elements of a name.
        """
        return [element for element in self.elements if element.tag == tag]

    @property
    def text(self) -> str:
        """
        All that can be read, without blanks at the ends of lines.
        """
        return " ".join(self.elements[0].text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        An element begins.
        """
        inside = tuple(element.tag for element in self._open)
        names = [name for name, _value in attrs]
        if len(set(names)) < len(names):
            self.faults.append(f"{tag} has an attribute twice: {names}")
        element = Element(tag, {n: v or "" for n, v in attrs}, inside)
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        An element of SVG begins and ends.
        """
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        """
        An element ends: the one that began last.
        """
        if not self._open or self._open[-1].tag != tag:
            self.faults.append(f"{tag} ends out of order")
        else:
            self._open.pop()
            if tag not in _WITHIN:
                self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        """
        There is text.
        """
        for element in self._open:
            element.text += data

    def judge(self) -> None:
        """
        Find what is wrong.
        """
        if self._open:
            self.faults.append(f"{self._open[-1].tag} does not end")
        for element in self.elements:
            self._judge(element)
        self._judge_headings()
        self._judge_references()
        self._judge_tables()

    def _judge(self, element: Element) -> None:
        """
        See that an element is one of ours, and needs nothing that the policy forbids.
        """
        if element.tag not in _KNOWN:
            self.faults.append(f"there is a {element.tag}")
        for name in element.attributes:
            if name == "style" or name.startswith("on"):
                self.faults.append(f"{element.tag} has {name}")
        target = element.attributes.get("href", element.attributes.get("src", "/"))
        if not target.startswith(("/", "#main", "data:,")):
            self.faults.append(f"{element.tag} leads to {target}")
        if element.tag == "script" and element.text.strip():
            self.faults.append("there is a script in the page")

    def _judge_headings(self) -> None:
        """
        See that headings are in order: one first, and none left out.
        """
        levels = [int(e.tag[1]) for e in self.elements if e.tag in ("h1", "h2", "h3")]
        if levels.count(1) != 1 or levels[0] != 1:
            self.faults.append(f"headings {levels}")
        for before, after in pairwise(levels):
            if after > before + 1:
                self.faults.append(f"headings {levels}")

    def _judge_references(self) -> None:
        """
        See that ids are there once, and that all inputs have labels.
        """
        ids = [e.attributes["id"] for e in self.elements if "id" in e.attributes]
        if len(set(ids)) < len(ids):
            self.faults.append(f"an id is there twice: {sorted(ids)}")
        for element in self.elements:
            for name in _REFERENCES:
                for each in element.attributes.get(name, "").split():
                    if each not in ids:
                        self.faults.append(f"{element.tag}: no {each} for {name}")
        labelled = {label.attributes.get("for") for label in self.all("label")}
        for asked in self.all("input"):
            if asked.attributes.get("id") not in labelled:
                self.faults.append(f"an input without a label: {asked.attributes}")

    def _judge_tables(self) -> None:
        """
        See that every table has a caption, and every heading of one a scope.
        """
        if len(self.all("caption")) != len(self.all("table")):
            self.faults.append("a table without a caption")
        for element in self.all("th"):
            if element.attributes.get("scope") not in ("row", "col"):
                self.faults.append(f"a heading of a table without a scope: {element}")
