# -*- test-case-name: tests.test_introspection_words -*-
"""
Plain values in words, as the operator's pages show them: pure, and no HTML.

Whatever comes from outside (names in leases, targets of requests) is made visible here:
a character that would hide, turn round or overprint others is written as its number.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any, Final
from unicodedata import category

#: So many characters of a text are shown, at most.
MOST: Final = 300

#: The signs that stand beside words, for those who do not see the colour.
_SIGNS: Final = {
    "good": "\u2714",
    "doubt": "\u25b2",
    "bad": "\u2716",
    "plain": "\u2022",
}

#: How things are, by the words that mdproxy has for it.
_GOOD: Final = frozenset({"ok", "live", "up", "ready", "allowed", "relayed", "right"})
_DOUBT: Final = frozenset({"note", "stale", "starting", "unknown", "doubtful"})
_BAD: Final = frozenset(
    {"wrong", "failed", "down", "not ready", "refused", "mangled", "closed"}
)

#: Units of time, the longest first, by how many seconds they have.
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))

#: What has to be looked at before a browser is shown it.
_STRANGE: Final = re.compile(r"[^ -~]")

#: Letters and signs that are blank: Hangul's fillers, Braille's empty cell.
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def visible(text: str, most: int = MOST) -> str:
    """
    Write a text so that all of it can be seen for what it is.

    Control characters, bidirectional overrides, invisible and combining characters,
    lone surrogates and blanks other than the space become C{\\uXXXX}; letters of any
    script stay.  A long text is cut, and told the length of.

    @param most: How many characters are shown.

    @return: One line of at most C{6 * most} characters and a remark.
    """
    length = len(text)
    if length > most:
        text = text[:most]
    if not (text.isascii() and text.isprintable()):
        text = _STRANGE.sub(_spelt, text)
    return text if length <= most else f"{text}\u2026 ({length} characters)"


def _spelt(match: re.Match[str]) -> str:
    """
    Write one character, by its number where it could not be seen.
    """
    character = match.group()
    hidden = character in _BLANK or category(character).startswith("M")
    if character.isprintable() and not hidden:
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def iso(at: float) -> str:
    """
    Write a time as UTC (ISO 8601).

    @param at: Seconds since the epoch.

    @return: The time; what the number is where it is no time of any calendar.
    """
    try:
        moment = datetime.fromtimestamp(at, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return f"{at} s after 1970"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float) -> str:
    """
    Write a duration in the unit that it is best read in.

    @param seconds: From microseconds to years.

    @return: Two or three digits with a unit: C{85 µs}, C{3.2 ms}, C{12 s}, C{5 d}.
    """
    if seconds < 0:
        return f"\u2212{duration(-seconds)}"
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size:,.0f} {unit}"
    if seconds >= 1:
        return f"{round(seconds, 1 if seconds < 10 else None):g} s"
    if seconds >= 0.001:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.0f} \u00b5s" if seconds else "0 s"


def away(at: float, now: float) -> str:
    """
    Tell how far a time is from now.

    @param at: Seconds since the epoch, or any other clock.
    @param now: What that clock says.

    @return: C{12 s ago}, C{in 3 min} or C{now}.
    """
    seconds = now - at
    if abs(seconds) < 1:
        return "now"
    far = duration(float(int(abs(seconds))))
    return f"{far} ago" if seconds > 0 else f"in {far}"


def tone(word: object) -> str:
    """
    Tell whether a word for how something is means good or bad.

    @param word: A state, verdict or status of mdproxy's; a bool: whether all is well.

    @return: C{good}, C{doubt}, C{bad} or C{plain}.
    """
    if isinstance(word, bool):
        return "good" if word else "bad"
    if isinstance(word, int):
        return _tone_of_status(word)
    if word in _GOOD:
        return "good"
    if word in _BAD:
        return "bad"
    return "doubt" if word in _DOUBT else "plain"


def _tone_of_status(status: int) -> str:
    """
    Tell how well a request went by its status; 0: nothing was sent.
    """
    if status == 0 or status >= 500:
        return "bad"
    return "doubt" if status >= 400 else "good"


def sign(word: object) -> str:
    """
    Choose the sign that stands beside such a word.
    """
    return _SIGNS[tone(word)]


def number(value: float | None) -> str:
    """
    Write a number so that its size is seen.

    @param value: C{None}: nobody knows.
    """
    if value is None:
        return "\u2013"
    if isinstance(value, int) or value >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}"


def plain(value: Any) -> str:
    """
    Write any value of JSON in one line of words.

    @param value: A text, number, list or mapping, however deep.

    @return: Its parts, divided by commas; a dash where there is nothing.
    """
    if isinstance(value, dict):
        value = [f"{key}: {plain(each)}" for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value)
    return "\u2013" if value in (None, "") else str(value)
