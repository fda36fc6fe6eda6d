# -*- test-case-name: tests.test_inventory_elements -*-
"""
Reading XML that somebody else wrote, one element at a time.

Pure.  Nothing is built from elements that nobody asks for: no document type, no
entities, no depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.parsers import expat

from attrs import define, field

from mdproxy.model import Malformed

#: Nova's namespaces (nova/virt/libvirt/config.py, C{NOVA_NS}); what they call the
#: elements' prefix is libvirt's affair.
_NOVA = (
    "http://openstack.org/xmlns/libvirt/nova/1.1",
    "http://openstack.org/xmlns/libvirt/nova/1.0",
)
_MAX_DEPTH = 64
_MAX_TAG = 256

#: Takes the path of an element that starts, and its attributes.
Start = Callable[[str, Mapping[str, str]], None]
#: Takes the path of an element, and a piece of the text in it.
Text = Callable[[str, str], None]


def read_elements(data: bytes, start: Start, text: Text) -> None:
    """
    Read all elements of a document.

    A path is the names from the root on, joined by slashes.  Names in Nova's namespaces
    begin with C{nova:}, those in any other with C{?:}.

    @param start: May raise L{Malformed} to end it.
    @param text: The same; the text of an element may come in pieces.

    @raise Malformed: If it is no XML, or XML of a kind that libvirt doesn't write.
    """
    reader = _Reader(start, text)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except Malformed:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        # The last two are about the encoding that the file declares.
        raise Malformed(f"it is no XML: {str(error)[:100]}") from None


def _refuse(*args: object) -> None:
    """
    Refuse a document type, and with it all entities.
    """
    raise Malformed("it declares a document type")


@define
class _Reader:
    """
    What the parser calls.

    @ivar _start: Who hears of elements.
    @ivar _text: Who hears of text.
    @ivar _paths: The paths of the open elements, from the root.
    """

    _start: Start
    _text: Text
    _paths: list[str] = field(factory=list, init=False)

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """
        Take the start of an element.
        """
        if len(self._paths) >= _MAX_DEPTH or len(tag) > _MAX_TAG:
            raise Malformed("it is nested too deeply, or has too long a tag")
        name = _short(tag)
        path = f"{self._paths[-1]}/{name}" if self._paths else name
        self._paths.append(path)
        self._start(path, attributes)

    def end(self, tag: str) -> None:
        """
        Take the end of an element.
        """
        self._paths.pop()

    def text(self, text: str) -> None:
        """
        Take text.
        """
        self._text(self._paths[-1], text)


def _short(tag: str) -> str:
    """
    Write a qualified name short; names in strange namespaces match nothing.
    """
    namespace, _, name = tag.rpartition(" ")
    if not namespace:
        return name
    return f"nova:{name}" if namespace in _NOVA else f"?:{name}"
