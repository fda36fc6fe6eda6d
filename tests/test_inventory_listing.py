"""
Tests for L{mdproxy.inventory.listing}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.inventory.listing import Listing, read_listing
from mdproxy.model import Malformed, Port

MAC = "fa:16:3e:00:00:01"


def entry_yaml(**changes: str | None) -> str:
    """
    Write one entry of the file.

    @param changes: Keys to change, add, or (C{None}) leave out.
    """
    entry: dict[str, str | None] = {
        "network": "red",
        "mac": MAC,
        "addresses": "[10.0.0.1]",
        "instance": "i-1",
        "project": "p-1",
        **changes,
    }
    pairs = [f"{key}: {value}" for key, value in entry.items() if value is not None]
    return "- " + "\n  ".join(pairs) + "\n"


def _read(*entries: str) -> Listing:
    """
    Read a file of some entries.
    """
    return read_listing(("ports:\n" + "".join(entries)).encode(), "static")


class ReadListingTests(SynchronousTestCase):
    """
    Tests for L{read_listing}.
    """

    def test_port(self) -> None:
        """
        An entry is a port, its MAC and addresses in canonical form.
        """
        listing = _read(
            entry_yaml(mac="FA-16-3E-00-00-01", addresses='[10.0.0.1, "FE80::0:1"]')
        )
        port = Port(
            "red",
            MAC,
            "i-1",
            "p-1",
            frozenset({"10.0.0.1", "fe80::1"}),
            inventory="static",
        )
        self.assertEqual(listing, Listing((port,), ()))

    def test_addresses(self) -> None:
        """
        No addresses, or none known: that is not the same.
        """
        for text, addresses in (
            (None, None),
            ("", None),
            ("~", None),
            ("[]", frozenset[str]()),
            ("['10.0.0.1', 10.0.0.1]", frozenset({"10.0.0.1"})),
        ):
            (port,) = _read(entry_yaml(addresses=text)).ports
            self.assertEqual(port.addresses, addresses, text)

    def test_text_as_written(self) -> None:
        """
        What YAML would take for numbers, dates or truths is text.
        """
        for text in ("1234e567", "0x10", "2026-11-21", "yes", "0123", "12_34"):
            (port,) = _read(entry_yaml(project=text, instance=text)).ports
            self.assertEqual((port.project_id, port.instance_id), (text, text))
        (port,) = _read(entry_yaml(mac="12:34:56:12:34:56")).ports
        self.assertEqual(port.mac, "12:34:56:12:34:56")

    def test_nothing_listed(self) -> None:
        """
        An empty list is a good file.
        """
        for text in (b"ports:", b"ports: []", b"# x\nports: ~\n", b'{"ports": []}'):
            self.assertEqual(read_listing(text, "static"), Listing((), ()))

    def test_bad_entries(self) -> None:
        """
        A bad entry is refused with its number and the reason; the others count.
        """
        cases = {
            "no MAC": entry_yaml(mac="fa:16"),
            "no IP address": entry_yaml(addresses="[10.0.0.1, 10.0.0.300]"),
            "no id": entry_yaml(instance='"a b"'),
            "no id ": entry_yaml(project='"a\\nX-Evil: 1"'),
            "'addresses' is no list": entry_yaml(addresses="10.0.0.1"),
            "an address is no text": entry_yaml(addresses="[[]]"),
            "'network' is missing": entry_yaml(network=None),
            "'mac' is missing": entry_yaml(mac="~"),
            "'instance' is missing": entry_yaml(instance="{}"),
            "'project' is missing": entry_yaml(project='""'),
            "no key 'adresses'": entry_yaml(adresses="[10.0.0.1]"),
            "no mapping": "- x\n",
            "is no mapping": "- [x]\n",
        }
        for reason, entry in cases.items():
            listing = _read(entry_yaml(), entry, entry_yaml(mac="fa:16:3e:00:00:02"))
            self.assertEqual(len(listing.ports), 2, reason)
            (problem,) = listing.problems
            self.assertTrue(problem.startswith("port 2: "), problem)
            self.assertIn(reason.strip(), problem)

    def test_projects(self) -> None:
        """
        The second part tells whose instances are, as it is written; each part may be
        missing.
        """
        listing = read_listing(b"projects:\n  0123e456: 0777\n  i-2: p-2", "static")
        projects = {"0123e456": "0777", "i-2": "p-2"}
        self.assertEqual(listing, Listing((), (), projects))
        for text in (b"projects:", b"projects: {}", b"ports: []\nprojects: ~"):
            self.assertEqual(read_listing(text, "static"), Listing((), ()))

    def test_bad_projects(self) -> None:
        """
        A bad entry of the second part is refused with the reason; the others count.
        """
        cases = {
            "project of 'a b': 'a b' is no id": "{'a b': p-1, i-2: p-2}",
            "project of 'i-1': 'a\\nb' is no id": '{i-1: "a\\nb", i-2: p-2}',
            "project of 'i-1': it is no text": "{i-1: [p-1], i-2: p-2}",
            "project of 'i-1': it is no text ": "{i-1: ~, i-2: p-2}",
        }
        for reason, text in cases.items():
            listing = read_listing(f"projects: {text}".encode(), "static")
            self.assertEqual(listing.projects, {"i-2": "p-2"}, text)
            self.assertEqual(listing.problems, (reason.strip(),))

    def test_bad_files(self) -> None:
        """
        What is no such file at all is refused as a whole, saying where.
        """
        bomb = "a: &a [x, x]\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(9))
        cases = {
            "no list 'ports'": "",
            "has no list 'ports'": "port: []",
            "it has no list": "- ports",
            "'ports' is no list": "ports: {a: b}",
            "'projects' is no mapping": "projects: [a]",
            "line 1: anchors and aliases": bomb,
            "line 2: anchors and aliases": "ports:\n- *a",
            "line 1: tags": "ports: !!python/object/apply:os.system [id]",
            "nested too deeply": "ports: " + "[" * 1000,
            "line 3": "ports:\n- mac: x\n  mac: y",
            "line 1: the key None": "~: x",
            "line 1: the key []": "[]: x",
            "more than one document": "ports: []\n---\nports: []",
            "line 2": "ports:\n\t- x",
            "line ": "ports: [",
            "control characters": "ports: \0",
        }
        for reason, text in cases.items():
            with self.assertRaises(Malformed, msg=reason) as caught:
                read_listing(text.encode(), "static")
            self.assertIn(reason, str(caught.exception))
        with self.assertRaises(Malformed):
            read_listing(b"ports: \xff\xfe", "static")

    def test_file_is_not_quoted(self) -> None:
        """
        The reason of a refusal does not hold a long piece of the file.
        """
        with self.assertRaises(Malformed) as caught:
            read_listing(b"ports: [" + b"x" * 10000 + b"\n}", "static")
        self.assertLess(len(str(caught.exception)), 200)

    @given(
        st.one_of(
            st.binary(max_size=60), st.text("pors:-[]{}&*!?|>'\"\n a", max_size=40)
        )
    )
    def test_any_bytes(self, data: bytes | str) -> None:
        """
        Any file is a listing or refused; nothing else happens.
        """
        content = data if isinstance(data, bytes) else b"ports:\n" + data.encode()
        try:
            listing = read_listing(content, "static")
        except Malformed:
            return
        self.assertEqual(listing.ports, ())
