# -*- test-case-name: tests.test_introspection_parameters -*-
"""
What may be asked of the operator's API: parameters, read strictly and pure.

Whoever misspells a filter must not be shown everything: an unknown parameter, one that
comes twice and one out of its bounds are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes

from attrs import frozen

#: How many parameters are looked at.
_MOST: Final = 32


class BadParameter(ValueError):
    """
    A parameter can't be used.

    @ivar name: Which one, as the API calls it; C{None}: one that it does not have.
    """

    def __init__(self, name: str | None, problem: str) -> None:
        """
        Say what is wrong.

        @param problem: A sentence that repeats nothing of what was asked.
        """
        super().__init__(problem)
        self.name = name


@frozen
class Parameter:
    """
    One parameter.

    @ivar name: Its name.
    @ivar text: What it is for.
    @ivar kind: C{text}, C{integer} or C{number}.
    @ivar least: The least value; of a text its least length.
    @ivar most: The greatest value; of a text its greatest length.
    @ivar required: Whether it has to be there.
    @ivar default: What it is if it isn't there; an empty one isn't.
    """

    name: str
    text: str
    kind: Literal["text", "integer", "number"] = "text"
    least: int = 0
    most: int = 255
    required: bool = False
    default: Any = None

    def read(self, text: str) -> Any:
        """
        Read a value.

        @raise BadParameter: If it is none, or out of bounds.
        """
        if self.kind == "text":
            value: Any = text
            size: float = len(text)
        else:
            value = size = self._number(text)
        if not self.least <= size <= self.most:
            what = " characters" if self.kind == "text" else ""
            raise BadParameter(
                self.name,
                f"{self.name} has to be {self.least} to {self.most}{what}",
            )
        return value

    def _number(self, text: str) -> float:
        """
        Read a number, as plain decimals.
        """
        whole, dot, part = text.removeprefix("-").partition(".")
        digits = whole + part
        is_plain = digits.isascii() and digits.isdigit() and len(text) <= 32
        if not is_plain or not whole or (dot and not part):
            raise BadParameter(self.name, f"{self.name} has to be a number")
        if self.kind == "number":
            return float(text)
        if dot:
            raise BadParameter(self.name, f"{self.name} has to be a whole number")
        return int(text)


def read_query(query: bytes, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """
    Read the query of a request's target.

    @param query: What follows the question mark, as it stood on the wire.
    @param parameters: What may be in it.

    @return: The value of every parameter, by name.

    @raise BadParameter: If it is anything else.
    """
    pieces = [piece for piece in query.split(b"&") if piece]
    if len(pieces) > _MOST:
        raise BadParameter(None, f"no more than {_MOST} parameters can be given")
    given: dict[str, str] = {}
    for piece in pieces:
        name, _equals, value = piece.partition(b"=")
        key = _decode(name, None)
        if key in given:
            raise BadParameter(
                key if key in {p.name for p in parameters} else None,
                "a parameter can be given once",
            )
        given[key] = _decode(value, key)
    return check(given, parameters)


def check(given: Mapping[str, str], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """
    Check what was given.

    @param given: Texts by name.
    @param parameters: What may be given.

    @return: The value of every parameter, by name.

    @raise BadParameter: If something else is given, or something is missing.
    """
    known = {parameter.name for parameter in parameters}
    if not given.keys() <= known:
        names = ", ".join(sorted(known)) or "none"
        raise BadParameter(None, f"there is another parameter than these: {names}")
    values = {}
    for parameter in parameters:
        text = given.get(parameter.name, "")
        if text:
            values[parameter.name] = parameter.read(text)
        elif parameter.required:
            raise BadParameter(parameter.name, f"{parameter.name} is missing")
        else:
            values[parameter.name] = parameter.default
    return values


def _decode(piece: bytes, name: str | None) -> str:
    """
    Read what is written as a form writes it (application/x-www-form-urlencoded).
    """
    try:
        return unquote_to_bytes(piece.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise BadParameter(name, "a parameter has to be UTF-8") from None
