# -*- test-case-name: tests.test_lookup_formats_libvirt -*-
"""
The status file of libvirt's networks: C{/var/lib/libvirt/dnsmasq/BRIDGE.status}.

A list in JSON, an object for each lease; before the first lease the file is empty.
libvirt's helper puts a new file in its place at each change (libvirt,
src/network/leaseshelper.c), so one that is no whole list says nothing.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from mdproxy.lookup.formats import Record, moment, name_or_none
from mdproxy.model import Malformed, canonical_address, canonical_mac

#: The longest object that is read.
_MAX_OBJECT: Final = 65536
_SPACE = re.compile(r"[ \t\r\n]*")
#: Numbers are taken as they are written: a long one must not cost the others.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
#: What stands before, behind and between the objects.
_START, _FIRST, _NEXT, _END = "start", "first", "next", "end"


class LibvirtReader:
    """
    Reads libvirt's file.

    @ivar refused: How many objects could not be read since the beginning of the file.
    """

    def __init__(self) -> None:
        """
        Begin a file.
        """
        self.begin()

    def begin(self) -> None:
        """
        Provide C{Reader.begin}.
        """
        self.refused = 0
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._place = _START
        self._problem: str | None = None

    def feed(self, data: bytes) -> list[Record]:
        """
        Provide C{Reader.feed}.
        """
        if self._problem is not None:
            return []
        try:
            self._text += self._decoder.decode(data)
        except UnicodeDecodeError:
            self._problem = "is not UTF-8"
            return []
        said: list[Record] = []
        while (found := self._take()) is not None:
            try:
                said.append(_record(found))
            except Malformed:
                self.refused += 1
        if len(self._text) > _MAX_OBJECT:
            self._problem = "is no list of leases in JSON"
        return said

    def problem(self) -> str | None:
        """
        Provide C{Reader.problem}.
        """
        if self._problem is not None:
            return self._problem
        if self._place in (_START, _END) and not self._text:
            return None
        return "is no whole list of leases in JSON"

    def _take(self) -> Any:
        """
        Take the next object, and the signs before it.

        @return: C{None} where it is not there as a whole.
        """
        while True:
            self._text = self._text[_SPACE.match(self._text).end() :]  # type: ignore[union-attr]
            sign = self._text[:1]
            after = _AFTER.get((self._place, sign))
            if after is None:
                break
            self._place, self._text = after, self._text[1:]
        if sign == "" or self._place not in (_FIRST, "object"):
            if sign:
                self._problem = "is no list of leases in JSON"
            return None
        try:
            found, end = _DECODER.raw_decode(self._text)
        except (ValueError, RecursionError):
            # Perhaps the rest of it is still to come.
            return None
        self._place, self._text = _NEXT, self._text[end:]
        return found if found is not None else ()


#: Where a sign leads to.
_AFTER: Final[Mapping[tuple[str, str], str]] = {
    (_START, "["): _FIRST,
    (_FIRST, "]"): _END,
    (_NEXT, ","): "object",
    (_NEXT, "]"): _END,
}


def _record(found: Any) -> Record:
    """
    Read an object.
    """
    if not isinstance(found, dict):
        raise Malformed("it is no object")
    address = canonical_address(_text(found, "ip-address"))
    mac = found.get("mac-address")
    name = found.get("hostname")
    return Record(
        address,
        None if mac is None else canonical_mac(_text(found, "mac-address")),
        moment(_text(found, "expiry-time")),
        name_or_none(name) if isinstance(name, str) else None,
    )


def _text(found: Mapping[str, Any], key: str) -> str:
    """
    Take a value that must be text, or a number as it was written.
    """
    value = found.get(key)
    if not isinstance(value, str):
        raise Malformed(f"it has no {key}")
    return value
