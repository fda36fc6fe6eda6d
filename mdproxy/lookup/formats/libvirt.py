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

from mdproxy.lookup.formats import Memory, Record, moment, name_or_none
from mdproxy.model import Malformed, canonical_address, canonical_mac

#: The longest object that is read.
_MAX_OBJECT: Final = 65536
_SPACE = re.compile(r"[ \t\r\n]*")
#: Numbers are taken as they are written: a long one must not cost the others.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
#: What stands before, behind and between the objects.
_START, _FIRST, _OBJECT, _NEXT, _END = "start", "first", "object", "next", "end"
#: An object with no other in it.
_FLAT = re.compile(r'\{[^{}"]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^{}"]*)*\}')


class LibvirtReader:
    """
    Reads libvirt's file.

    @ivar refused: How many objects could not be read since the beginning of the file.
    """

    def __init__(self) -> None:
        """
        Know no objects.
        """
        self._memory: Memory[str] = Memory()
        self._place = _START
        self.begin()

    def begin(self) -> None:
        """
        Provide C{Reader.begin}.
        """
        self._memory.turn(self._place == _END)
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
        start = self._sign(0)
        while (taken := self._object(start)) is not None:
            end, record = taken
            if isinstance(record, Record):
                said.append(record)
            else:
                self.refused += 1
            start = self._sign(end)
        self._text = self._text[start:]
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

    def _sign(self, start: int) -> int:
        """
        Pass over what stands before an object.

        @return: Where that ends.
        """
        while True:
            start = _SPACE.match(self._text, start).end()  # type: ignore[union-attr]
            after = _AFTER.get((self._place, self._text[start : start + 1]))
            if after is None:
                return start
            self._place = after
            start += 1

    def _object(self, start: int) -> tuple[int, Record | Malformed | None] | None:
        """
        Take the next object.

        @return: Where it ends and what it says; C{None} where it is not there as a
            whole.
        """
        if start == len(self._text):
            return None
        if self._place not in (_FIRST, _OBJECT):
            self._problem = "is no list of leases in JSON"
            return None
        flat = _FLAT.match(self._text, start)
        try:
            if flat is not None:
                record = self._memory.recall(flat[0])
                self._place = _NEXT
                return flat.end(), record
        except KeyError:
            pass
        try:
            found, end = _DECODER.raw_decode(self._text, start)
        except (ValueError, RecursionError):
            # Perhaps the rest of it is still to come.
            return None
        record = self._memory.seen[self._text[start:end]] = _read(found)
        self._place = _NEXT
        return end, record


#: Where a sign leads to.
_AFTER: Final[Mapping[tuple[str, str], str]] = {
    (_START, "["): _FIRST,
    (_FIRST, "]"): _END,
    (_NEXT, ","): _OBJECT,
    (_NEXT, "]"): _END,
}


def _read(found: Any) -> Record | Malformed:
    """
    Read an object.

    @return: What it says, or what is wrong with it.
    """
    try:
        return _record(found)
    except Malformed as error:
        return error.with_traceback(None)


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
