# -*- test-case-name: tests.test_ini -*-
"""
Configuration files as text: what is set where.

oslo.config's reader of files stops at the first broken line and keeps no line numbers;
so they are read here, by the same grammar (L{parse}).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from attrs import define, field, frozen

#: Far more than any configuration; a bound for what is read by mistake.
_MOST: Final = 1 << 20

#: What to know about a line that is taken for a part of another.
CONTINUED: Final = "a line that begins with a space continues the one before"


@frozen
class Setting:
    """
    One option as one file sets it.

    @ivar file: The file.
    @ivar line: The line that the option stands on.
    @ivar section: The section, as it is written.
    @ivar option: The option; empty for the header of the section.
    @ivar value: The value, without quotes; continued lines are joined by newlines.
    """

    file: str
    line: int
    section: str
    option: str
    value: str = field(repr=False)

    @property
    def place(self) -> str:
        """
        Name the place for the operator.
        """
        name = f"[{printable(self.section)}] {printable(self.option)}".rstrip()
        return f"{self.file} line {self.line}: {name}"


def printable(text: str, most: int = 64) -> str:
    """
    Make a text from a file fit to be shown on a terminal, and not too long.

    @param most: How many characters of it to show.
    """
    short = text if len(text) <= most else f"{text[:most]}…"
    return short if short.isprintable() else ascii(short)[1:-1]


@define
class _Parser:
    """
    The grammar of oslo.config (C{oslo_config.iniparser}), which goes on after faults.
    """

    _file: str
    settings: list[Setting] = field(factory=list, init=False)
    faults: list[str] = field(factory=list, init=False)
    _section: str | None = field(default=None, init=False)
    _skipping: bool = field(default=False, init=False)
    _open: tuple[int, str, list[str]] | None = field(default=None, init=False)

    def line(self, number: int, line: str) -> None:
        """
        Take the next line.
        """
        if line.startswith((" ", "\t")) and line.strip():
            if self._open is None:
                self._fault(number, f"continues nothing: {CONTINUED}")
            else:
                self._open[2].append(line.strip())
            return
        self.flush()
        line = line.rstrip()
        if line.startswith("["):
            self._header(number, line)
        elif line and not line.startswith(("#", ";")):
            self._assignment(number, line)

    def flush(self) -> None:
        """
        Take the option that no line continues any more.
        """
        if self._open is not None and self._section is not None:
            number, option, values = self._open
            value = "\n".join(values)
            self.settings.append(
                Setting(self._file, number, self._section, option, value)
            )
        self._open = None

    def _header(self, number: int, line: str) -> None:
        """
        Begin a section.
        """
        self._section = line[1:-1] if line.endswith("]") else None
        self._skipping = not self._section
        if self._section:
            self.settings.append(Setting(self._file, number, self._section, "", ""))
        else:
            self._section = None
            self._fault(number, "a section's header is written [NAME]")

    def _assignment(self, number: int, line: str) -> None:
        """
        Begin an option.
        """
        cut = min((at for at in map(line.find, ":=") if at >= 0), default=-1)
        option = line[: max(cut, 0)].strip()
        if not option:
            self._fault(number, "an option is written NAME = VALUE")
        elif self._section is None and not self._skipping:
            self._fault(number, "an option stands before any [section]")
        else:
            value = line[cut + 1 :].strip()
            if value and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            self._open = (number, option, [value])

    def _fault(self, number: int, text: str) -> None:
        """
        Note what is wrong with a line, without showing it.
        """
        self.faults.append(f"{self._file} line {number}: {text}")


def parse(file: str, text: str) -> tuple[list[Setting], list[str]]:
    """
    Read the text of a configuration file.

    @param file: The file's name, for what is said about it.
    @param text: What it holds.

    @return: Everything that is set, headers included, and every fault.
    """
    parser = _Parser(file)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        parser.line(number, line)
    parser.flush()
    return parser.settings, parser.faults


def read(file: str) -> tuple[list[Setting], list[str]]:
    """
    Read a configuration file.

    @param file: Its path.

    @return: Everything that is set, and every fault.
    """
    try:
        with open(file, "rb") as stream:
            data = stream.read(_MOST + 1)
    except OSError as error:
        return [], [f"{file}: cannot be read: {error.strerror}"]
    if len(data) > _MOST:
        return [], [f"{file}: is larger than a configuration file can be (1 MiB)"]
    try:
        # A byte order mark is no part of the text.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [f"{file} line {line}: is not UTF-8"]
    return parse(file, text)


def find(files: Sequence[str], dirs: Sequence[str]) -> tuple[list[str], list[str]]:
    """
    Name the files to read, in order: files first, then what the directories hold.

    @param files: Files.
    @param dirs: Directories; their C{*.conf} count, in the order of their names.

    @return: The files, and the faults of directories.
    """
    found, faults = list(files), []
    for directory in dirs:
        try:
            names = sorted(os.listdir(directory))
        except OSError as error:
            faults.append(f"{directory}: cannot be read: {error.strerror}")
            continue
        found += [os.path.join(directory, n) for n in names if n.endswith(".conf")]
    return found, faults
