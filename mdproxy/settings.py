# -*- test-case-name: tests.test_settings -*-
"""
Configuration files to settings: what stands where, under names that exist.

oslo.config gives types, defaults and C{$} references.  It passes over unknown names in
silence, so what files say (L{mdproxy.ini}) is looked at here, and then handed to it.

No text of ours repeats a line or a value of an option that is secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from attrs import define, field
from oslo_config import cfg, types

from mdproxy.ini import CONTINUED, Setting, find, printable, read
from mdproxy.neutron_options import NEUTRON_OPTIONS, NEUTRON_SECTIONS, OVN_OPTIONS
from mdproxy.option_types import Seconds
from mdproxy.options import LISTENER, LISTENER_OPTIONS, RENAMED, SECTIONS

#: The options whose value is shown nowhere.
_SECRETS = sorted(
    option.name for options in SECTIONS.values() for option in options if option.secret
)
_SECRET = re.compile(rf"\$\{{?(?:[\w.-]*\.)?({'|'.join(_SECRETS)})(?!\w)")
_LIKE_A_COMMENT = re.compile(r"\s[#;]")
_COMMENT = (
    "end in a comment, but oslo.config takes that for a part of the value: a comment "
    "needs a line of its own"
)


def closest(word: str, known: Iterable[str]) -> str:
    """
    Guess what was meant by a word that does not exist.

    @param word: The word.
    @param known: The words that exist.

    @return: The rest of a sentence: the closest word, or all of them.
    """
    words = list(known)
    lower = {known_word.lower(): known_word for known_word in reversed(words)}
    close = get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    if close:
        return f"did you mean {lower[close[0]]}?"
    return f"there is {', '.join(words)}"


def _canonical(section: str) -> str:
    """
    Spell a section as we do: oslo.config takes no notice of case in sections.

    The name of a listener keeps its case, for so does that of a network device.
    """
    lower = section.lower()
    if lower.startswith(LISTENER):
        return LISTENER + section[len(LISTENER) :]
    return "DEFAULT" if lower == "default" else lower


def _options(section: str) -> Mapping[str, cfg.Opt]:
    """
    Find the options of a section, by name; none for a section that does not exist.
    """
    is_listener = section.startswith(LISTENER)
    options = LISTENER_OPTIONS if is_listener else SECTIONS.get(section, ())
    return {option.name: option for option in options}


#: Types of which an empty value is none.
_NUMBERS: Final = (Seconds, types.Boolean, types.Integer)

#: So many faults of a file are told; what comes after them is not looked at.
_MOST_FAULTS: Final = 100


def _right(kind: Any) -> str:
    """
    Say what values a type has.
    """
    if isinstance(kind, Seconds):
        bound = "from 0, which is never," if kind.never else "above 0,"
        return f"a number of seconds {bound} at most 86400"
    if isinstance(kind, types.Boolean):
        return "true or false"
    if isinstance(kind, types.Integer):
        return f"a whole number from {kind.min} to {kind.max}"
    return f"one of {', '.join(getattr(kind, 'choices', None) or ())}"


@define
class Settings:
    """
    All settings of all files, and all that was found wrong or strange with them.

    @ivar files: The files, in the order of reading; what a later one says counts.
    @ivar faults: One sentence for everything that is wrong.
    @ivar notes: One sentence for everything that is right, but worth knowing.
    @ivar listeners: The names of the listeners, in order.
    @ivar is_whole: Whether all files could be read; what is missing may stand in one
        that could not.
    @ivar _set: Each option's last setting, by section and option.
    @ivar _faulty: Sections and options that were found wrong.
    """

    files: list[str]
    faults: list[str] = field(factory=list)
    notes: list[str] = field(factory=list)
    listeners: list[str] = field(factory=list, init=False)
    is_whole: bool = field(default=True, init=False)
    _set: dict[tuple[str, str], Setting] = field(factory=dict, init=False, repr=False)
    _faulty: set[tuple[str, str]] = field(factory=set, init=False)
    _conf: cfg.ConfigOpts = field(factory=cfg.ConfigOpts, init=False, repr=False)

    @classmethod
    def load(cls, files: Sequence[str], dirs: Sequence[str]) -> Settings:
        """
        Read files.

        @param files: Files.
        @param dirs: Directories whose C{*.conf} are read after them.
        """
        found, faults = find(files, dirs)
        settings = cls(found, faults)
        settings.is_whole = not faults
        for section, options in SECTIONS.items():
            settings._register(section, options)
        for file in found:
            content, faults = read(file)
            settings.faults += faults
            if faults and not content:
                settings.is_whole = False
            settings._take(file, content)
        # No command line, no environment: nothing but what we hand over.
        settings._conf(
            [], default_config_files=[], default_config_dirs=[], use_env=False
        )
        for (section, option), setting in settings._set.items():
            if option:
                settings._hand_over(section, option, setting)
        return settings

    def value(self, section: str, option: str) -> Any:
        """
        Look up an option.

        @param section: Its section.
        @param option: Its name.

        @return: Its value, or its default where it is not set or was found wrong.
        """
        declared = _options(section)[option]
        try:
            group = self._conf if section == "DEFAULT" else self._conf[section]
            return group[option]
        except (cfg.Error, RecursionError):
            self.fault(section, option, _unresolved(declared))
            return declared.default

    def fault(self, section: str, option: str, text: str) -> None:
        """
        Note that an option is wrong.

        @param section: Its section.
        @param option: Its name; empty for the section as a whole.
        @param text: What is wrong, and what would be right.
        """
        self._faulty.add((section, option))
        sentence = f"{self.place(section, option)}: {text}"
        if sentence not in self.faults:
            self.faults.append(sentence)

    def lack(self, section: str, option: str, text: str) -> None:
        """
        Note that an option is wrong because something is set nowhere.

        It is not told where a file could not be read: it would lead away from that.

        @param section: Its section.
        @param option: Its name.
        @param text: What is missing, and what would be right.
        """
        if self.is_whole:
            self.fault(section, option, text)
        else:
            self._faulty.add((section, option))

    def note(self, section: str, option: str, text: str) -> None:
        """
        Note that an option is right, but worth knowing.

        @param section: Its section.
        @param option: Its name.
        @param text: What is worth knowing.
        """
        self.notes.append(f"{self.place(section, option)}: {text}")

    def exists(
        self, section: str, option: str, word: str, known: Iterable[str]
    ) -> bool:
        """
        Tell whether a word names something that there is; if not, that is a fault.

        @param section: The section of the option that holds the word.
        @param option: The option.
        @param word: The word.
        @param known: What there is.
        """
        names = list(known)
        if word not in names:
            guess = closest(word, names)
            self.fault(section, option, f"there is no '{printable(word)}': {guess}")
        return word in names

    def place(self, section: str, option: str) -> str:
        """
        Name the place of an option for the operator.

        @param section: Its section.
        @param option: Its name.

        @return: File, line, section and option; the line of the section's header where
            the option is not set.
        """
        setting = self._set.get((section, option))
        if setting is not None:
            return setting.place
        header = self._set.get((section, ""))
        if header is not None:
            return f"{header.place} {option}".rstrip()
        return f"{self.where}: [{section}] {option}".rstrip()

    @property
    def where(self) -> str:
        """
        Name all the files.
        """
        return ", ".join(self.files) or "the configuration"

    def file_of(self, section: str, option: str) -> str | None:
        """
        Name the file that sets an option.

        @param section: Its section.
        @param option: Its name.

        @return: The file; C{None} where none does.
        """
        setting = self._set.get((section, option))
        return None if setting is None else setting.file

    def is_faulty(self, section: str, option: str | None = None) -> bool:
        """
        Tell whether anything was found wrong so far.

        @param section: A section.
        @param option: An option of it; C{None} asks for any of the section.
        """
        if option is not None:
            return (section, option) in self._faulty
        return any(where == section for where, _ in self._faulty)

    def _register(self, section: str, options: Sequence[cfg.Opt]) -> None:
        """
        Make a section's options known to oslo.config.
        """
        group = None if section == "DEFAULT" else section
        self._conf.register_opts(options, group=group)

    def _take(self, file: str, content: Sequence[Setting]) -> None:
        """
        Take what one file says.
        """
        passed: dict[str, list[str]] = {}
        seen: set[tuple[str, str]] = set()
        most = len(self.faults) + _MOST_FAULTS
        for setting in content:
            if len(self.faults) >= most:
                self.faults.append(
                    f"{setting.place}: too many faults: the rest of the "
                    "file was not looked at"
                )
                break
            section = _canonical(setting.section)
            key = (section, setting.option)
            if _is_neutrons(section, setting.option):
                passed.setdefault(setting.section, []).append(printable(setting.option))
            elif setting.option:
                self._take_option(section, setting)
                if key in seen:
                    self.note(*key, "stands more than once here; the last one counts")
                seen.add(key)
            else:
                self._take_header(section, setting)
        for name, options in passed.items():
            if names := ", ".join(dict.fromkeys(filter(None, options))):
                where = f"{file}: [{printable(name)}]"
                self.notes.append(f"{where} Neutron's, without a meaning here: {names}")

    def _take_header(self, section: str, setting: Setting) -> None:
        """
        Take the header of a section.
        """
        if section == LISTENER:
            self.faults.append(f"{setting.place}: is written [{LISTENER}NAME]")
        elif section.startswith(LISTENER):
            name = section[len(LISTENER) :]
            if name not in self.listeners:
                self.listeners.append(name)
                self._register(section, LISTENER_OPTIONS)
        elif section not in SECTIONS:
            guess = closest(section, [*SECTIONS, f"{LISTENER}NAME"])
            self.faults.append(f"{setting.place}: no such section; {guess}")
        self._set.setdefault((section, ""), setting)

    def _take_option(self, section: str, setting: Setting) -> None:
        """
        Take an option of a section that exists.
        """
        options = _options(section)
        if section != LISTENER and setting.option in options:
            self._set[section, setting.option] = setting
        elif options and section != LISTENER:
            self.faults.append(f"{setting.place}: {_unknown(section, setting.option)}")

    def _hand_over(self, section: str, option: str, setting: Setting) -> None:
        """
        Give a setting to oslo.config, which knows its type.
        """
        declared = _options(section)[option]
        self._check(section, declared, setting.value)
        if self.is_faulty(section, option):
            return
        group = None if section == "DEFAULT" else section
        try:
            self._conf.set_override(option, setting.value, group)
        except ValueError:
            text = f"'{printable(setting.value)}' is not {_right(declared.type)}"
            self.fault(section, option, text)

    def _check(self, section: str, declared: cfg.Opt, value: str) -> None:
        """
        Find values that hold more than was meant, or more than may be shown.
        """
        quoted = "the value" if declared.secret else f"'{printable(value)}'"
        if not declared.secret and (secret := _SECRET.search(value)):
            text = f"must not refer to {secret[1]}, which is shown nowhere"
            self.fault(section, declared.name, text)
        elif not value.strip() and isinstance(declared.type, _NUMBERS):
            # oslo.config would take it for "no number".
            self.fault(section, declared.name, f"is empty: {_right(declared.type)}")
        elif "\n" in value and not isinstance(declared.type, types.List):
            text = f"{quoted} runs over several lines: {CONTINUED}"
            self.fault(section, declared.name, text)
        elif _LIKE_A_COMMENT.search(value):
            # A secret may hold anything; Neutron would take it whole, too.
            speak = self.note if declared.secret else self.fault
            speak(section, declared.name, f"{quoted} seems to {_COMMENT}")


def _is_neutrons(section: str, option: str) -> bool:
    """
    Tell whether a setting is Neutron's business alone.
    """
    if section == "DEFAULT":
        return option in NEUTRON_OPTIONS
    if section == "ovn":
        return option in OVN_OPTIONS
    return section in NEUTRON_SECTIONS or section.startswith("oslo_")


def _unknown(section: str, option: str) -> str:
    """
    Say what to do about an option that does not exist.
    """
    if RENAMED.get(option) in _options(section):
        return f"is called {RENAMED[option]} now"
    for other in (*SECTIONS, LISTENER):
        if option in _options(other):
            name = f"{LISTENER}NAME" if other == LISTENER else other
            return f"no such option here; it belongs into [{name}]"
    return f"no such option; {closest(option, _options(section))}"


def _unresolved(declared: cfg.Opt) -> str:
    """
    Say what to do about a reference to an option that does not exist.
    """
    what = "the value" if declared.secret else "it"
    return (
        f"{what} holds a $ and a name that is no option: oslo.config takes $NAME for "
        "the value of another option, and a plain $ is written $$"
    )
