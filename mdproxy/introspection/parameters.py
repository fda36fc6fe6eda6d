# -*- test-case-name: tests.test_introspection_parameters -*-
"""
What may be asked of the operator's API: parameters, read strictly and pure.

Whoever misspells a filter must not be shown everything: an unknown parameter, one that
comes twice and one out of its bounds are refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes

from attrs import frozen

#: How many parameters are looked at.
_MOST: Final = 32

#: An instance's id (L{mdproxy.model.checked_id}).
ID: Final = "[0-9A-Za-z][0-9A-Za-z._-]*"

#: Numbers as JSON writes them (RFC 8259 section 6), no longer than so.
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")
_WHOLE: Final = re.compile(r"-?[0-9]+\Z")
_LONGEST: Final = 32


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
    @ivar kind: C{text}, C{id} (of an instance), C{address}, C{integer} or C{number};
        whether an address is one, who uses it finds out.
    @ivar least: The least value; of a text its least length.
    @ivar most: The greatest value; of a text its greatest length.
    @ivar required: Whether it has to be there.
    @ivar default: What it is if it isn't there; an empty one isn't.
    """

    name: str
    text: str
    kind: Literal["text", "id", "address", "integer", "number"] = "text"
    least: int = 0
    most: int = 255
    required: bool = False
    default: Any = None

    def read(self, text: str) -> Any:
        """
        Read a value.

        @raise BadParameter: If it is none, or out of bounds.
        """
        if self.is_text:
            value: Any = text
            size: float = len(text)
        else:
            value = size = self._number(text)
        if not self.least <= size <= self.most:
            what = " characters" if self.is_text else ""
            raise BadParameter(
                self.name,
                f"{self.name} has to be {self.least} to {self.most}{what}",
            )
        if self.kind == "id" and not re.fullmatch(ID, text):
            raise BadParameter(self.name, f"{self.name} is no id")
        return value

    def take(self, value: Any) -> Any:
        """
        Take a value out of JSON.

        @raise BadParameter: If it is of another kind, or out of bounds.
        """
        is_plain = isinstance(value, str) if self.is_text else _is_number(value)
        if not is_plain:
            what = "a string" if self.is_text else "a number"
            raise BadParameter(self.name, f"{self.name} has to be {what}")
        return self.read(value if self.is_text else json.dumps(value))

    @property
    def is_text(self) -> bool:
        """
        Tell whether its values are no numbers.
        """
        return self.kind not in ("integer", "number")

    def _number(self, text: str) -> float:
        """
        Read a number, as JSON writes it.
        """
        if len(text) > _LONGEST or not _NUMBER.match(text):
            raise BadParameter(self.name, f"{self.name} has to be a number")
        if self.kind == "number":
            return float(text)
        if not _WHOLE.match(text):
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
    return read_form(given, parameters)


def read_form(
    given: Mapping[str, str], parameters: Sequence[Parameter]
) -> dict[str, Any]:
    """
    Read the fields of a form.

    @param given: Texts by name.
    @param parameters: What may be given.

    @return: The value of every parameter, by name.

    @raise BadParameter: If something else is given, or something is missing.
    """
    _know(given.keys(), parameters)
    return {
        each.name: each.read(given[each.name])
        if given.get(each.name)
        else _absent(each)
        for each in parameters
    }


def read_json(body: bytes, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """
    Read a JSON object; nothing is as well as an empty one.

    @param body: The JSON.
    @param parameters: What may be given.

    @return: The value of every parameter, by name.

    @raise BadParameter: If something else is given, or something is missing.
    """
    try:
        given = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise BadParameter(None, "the body is no JSON") from None
    if not isinstance(given, dict):
        raise BadParameter(None, "the body has to be an object")
    _know(given.keys(), parameters)
    return {
        each.name: each.take(given[each.name]) if each.name in given else _absent(each)
        for each in parameters
    }


def _know(names: Collection[str], parameters: Sequence[Parameter]) -> None:
    """
    See that only what there is is given.

    @raise BadParameter: If something else is.
    """
    known = {parameter.name for parameter in parameters}
    if not known.issuperset(names):
        listed = ", ".join(sorted(known)) or "none"
        raise BadParameter(None, f"there is another parameter than these: {listed}")


def _absent(parameter: Parameter) -> Any:
    """
    Tell what a parameter is that is not given.

    @raise BadParameter: If it has to be.
    """
    if parameter.required:
        raise BadParameter(parameter.name, f"{parameter.name} is missing")
    return parameter.default


def _is_number(value: Any) -> bool:
    """
    Tell whether a value out of JSON is a number.
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def _decode(piece: bytes, name: str | None) -> str:
    """
    Read what is written as a form writes it (application/x-www-form-urlencoded).
    """
    try:
        return unquote_to_bytes(piece.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise BadParameter(name, "a parameter has to be UTF-8") from None
