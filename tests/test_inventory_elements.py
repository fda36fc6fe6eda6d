"""
Tests for L{mdproxy.inventory.elements}.
"""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.elements import read_elements
from mdproxy.model import Malformed


def heard(data: bytes) -> list[object]:
    """
    Read a document.

    @return: All that was heard, in order; text is joined.
    """
    told: list[object] = []
    texts: dict[str, str] = {}

    def start(path: str, attributes: Mapping[str, str]) -> None:
        told.append((path, dict(attributes)))

    def text(path: str, piece: str) -> None:
        texts[path] = texts.get(path, "") + piece

    read_elements(data, start, text)
    return [*told, texts]


class ReadElementsTests(SynchronousTestCase):
    """
    Tests for L{read_elements}.
    """

    def test_paths(self) -> None:
        """
        Each element is told by its path, with its attributes, and text by that of the
        element it is in.
        """
        self.assertEqual(
            heard(b"<a x='1'><b>one<c/>two</b><b y='&lt;'/></a>"),
            [
                ("a", {"x": "1"}),
                ("a/b", {}),
                ("a/b/c", {}),
                ("a/b", {"y": "<"}),
                {"a/b": "onetwo"},
            ],
        )

    def test_namespaces(self) -> None:
        """
        A name counts by its namespace, whatever the prefix is.
        """
        nova = "http://openstack.org/xmlns/libvirt/nova/1."
        for namespace, prefix in (
            (nova + "1", "nova"),
            (nova + "0", "nova"),
            (nova + "2", "?"),
            ("urn:x", "?"),
        ):
            told = heard(f"<a><n:b xmlns:n='{namespace}'/></a>".encode())
            self.assertEqual(told[1], (f"a/{prefix}:b", {}), namespace)
        told = heard(f"<a><b xmlns='{nova}1'/></a>".encode())
        self.assertEqual(told[1], ("a/nova:b", {}))

    def test_listener_may_end_it(self) -> None:
        """
        Whoever hears of the elements may refuse the document.
        """

        def refuse(path: str, attributes: Mapping[str, str]) -> None:
            raise Malformed(f"no {path} here")

        with self.assertRaises(Malformed) as caught:
            read_elements(b"<a/>", refuse, lambda path, text: None)
        self.assertEqual(str(caught.exception), "no a here")

    def test_bounds(self) -> None:
        """
        Depth and the length of names have bounds, and what is within them is read.
        """
        self.assertEqual(len(heard(b"<a>" * 64 + b"</a>" * 64)), 65)
        self.assertEqual(len(heard(b"<%b/>" % (b"a" * 256))), 2)
        for data in (b"<a>" * 65 + b"</a>" * 65, b"<%b/>" % (b"a" * 257)):
            with self.assertRaises(Malformed):
                heard(data)

    @given(st.binary(max_size=60) | st.text("<>/a='!&;[]x ", max_size=40))
    def test_any_bytes(self, data: bytes | str) -> None:
        """
        Any bytes are read or refused; nothing else happens.
        """
        try:
            told = heard(data if isinstance(data, bytes) else data.encode())
        except Malformed:
            return
        self.assertGreater(len(told), 1)
