"""
Tests for L{mdproxy.ini}.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.ini import find, parse, printable, read

NEUTRON = Path(__file__).parent / "data" / "metadata_agent.ini"


def by_oslo(path: str) -> dict[str, dict[str, list[str]]] | None:
    """
    Read a file as oslo.config does.

    @return: Values by section and option; C{None} where it gives up.
    """
    sections: dict[str, dict[str, list[str]]] = {}
    try:
        cfg.ConfigParser(path, sections).parse()
    except cfg.ParseError:
        return None
    return sections


def by_us(text: str) -> dict[str, dict[str, list[str]]] | None:
    """
    Read a text as we do, into the same shape.
    """
    settings, faults = parse("f", text)
    if faults:
        return None
    sections: dict[str, dict[str, list[str]]] = {}
    for setting in settings:
        options = sections.setdefault(setting.section, {})
        if setting.option:
            options.setdefault(setting.option, []).append(setting.value)
    return sections


class ParseTests(SynchronousTestCase):
    """
    Tests for L{parse}.
    """

    def test_it_reads_neutrons_file_as_oslo_does(self) -> None:
        """
        Neutron's own file means to us what it means to Neutron.
        """
        text = NEUTRON.read_text("utf-8").replace("\n#m", "\nm").replace("\n#l", "\nl")
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        theirs = by_oslo(str(path))
        self.assertGreater(len((theirs or {})["DEFAULT"]), 10)
        self.assertEqual(by_us(text), theirs)

    @given(
        st.lists(
            st.one_of(
                st.sampled_from(["[s]", "[ s ]", "[]", "[s", "a = 1", "a=1", "", "#x"]),
                st.sampled_from([" b", "\tb", " ", "b: 'c'", 'b = "', "a = b = c"]),
                st.text("ab =:[]#;\"'\t\x0c", max_size=8),
            ),
            max_size=8,
        )
    )
    def test_it_reads_anything_as_oslo_does(self, lines: list[str]) -> None:
        """
        Whatever the text: both find the same settings, or both find it broken.
        """
        text = "\n".join(lines)
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        self.assertEqual(by_us(text), by_oslo(str(path)))

    def test_places_are_kept(self) -> None:
        """
        Each setting knows the line that its option stands on.
        """
        text = '\n# c\n[s]\na = 1\n\nb: 2\n  more\nc = "3 "\r\n'
        settings, faults = parse("f", text)
        self.assertEqual(faults, [])
        self.assertEqual(
            [(s.line, s.option, s.value) for s in settings],
            [(3, "", ""), (4, "a", "1"), (6, "b", "2\nmore"), (8, "c", "3 ")],
        )
        self.assertEqual(settings[1].place, "f line 4: [s] a")

    def test_every_broken_line_is_found(self) -> None:
        """
        A broken line costs itself, or its section where it is a header, and no more.
        """
        text = (
            "early = 1\n[s]\nnonsense\n = 2\n\n  lost\n"
            "a = 1\n[broken\nb = 2\n[t]\nc = 3\n"
        )
        settings, faults = parse("f", text)
        self.assertEqual(
            [fault.partition(":")[0] for fault in faults],
            ["f line 1", "f line 3", "f line 4", "f line 6", "f line 8"],
        )
        self.assertEqual(
            [(s.section, s.option) for s in settings],
            [("s", ""), ("s", "a"), ("t", ""), ("t", "c")],
        )

    def test_faults_show_no_line(self) -> None:
        """
        A broken line may hold the secret, so no fault repeats one.
        """
        text = "s3cret = 1\n[s]\ns3cret\n= s3cret\n\n s3cret\n[s3cret\n"
        _, faults = parse("f", text)
        self.assertEqual(len(faults), 5)
        self.assertNotIn("s3cret", "".join(faults))


class ReadTests(SynchronousTestCase):
    """
    Tests for L{read} and L{find}.
    """

    def test_what_is_no_file_is_a_fault(self) -> None:
        """
        A missing file, a directory, and an endless one are faults that name them.
        """
        for path, text in (
            (self.mktemp(), "No such file"),
            (os.curdir, "Is a directory"),
            ("/dev/zero", "1 MiB"),
        ):
            settings, faults = read(path)
            self.assertEqual(settings, [])
            self.assertEqual(len(faults), 1)
            self.assertTrue(faults[0].startswith(f"{path}: "), faults)
            self.assertIn(text, faults[0])

    def test_bytes_that_are_not_text_are_a_fault(self) -> None:
        """
        The fault names the line that is not UTF-8.
        """
        path = Path(self.mktemp())
        path.write_bytes(b"[DEFAULT]\n# caf\xc3\xa9\n# caf\xe9\n")
        self.assertEqual(read(str(path)), ([], [f"{path} line 3: is not UTF-8"]))

    def test_a_byte_order_mark_is_no_part_of_the_text(self) -> None:
        """
        An editor's byte order mark spoils nothing.
        """
        path = Path(self.mktemp())
        path.write_bytes(b"\xef\xbb\xbf[s]\na = 1\n")
        settings, faults = read(str(path))
        self.assertEqual(([s.option for s in settings], faults), (["", "a"], []))

    def test_directories_follow_files(self) -> None:
        """
        A directory's C{*.conf} come after all files, in the order of their names.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        for name in ("b.conf", "a.conf", "c.conf.bak"):
            (directory / name).touch()
        files, faults = find(["z"], [str(directory), f"{directory}/none"])
        self.assertEqual(files, ["z", f"{directory}/a.conf", f"{directory}/b.conf"])
        self.assertEqual(
            faults, [f"{directory}/none: cannot be read: No such file or directory"]
        )


class PrintableTests(SynchronousTestCase):
    """
    Tests for L{printable}.
    """

    def test_nothing_reaches_a_terminal_but_text(self) -> None:
        """
        Control characters are spelled out, and long texts cut.
        """
        self.assertEqual(printable("a\x1b[31m\n"), "a\\x1b[31m\\n")
        self.assertEqual(printable("é"), "é")
        self.assertEqual(len(printable("x" * 1000)), 65)
