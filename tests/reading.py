"""
The promises of all readers of lease formats, to be mixed into test cases.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.lookup.formats import Reader, Record

if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object

#: What tears files, and what strangers might put into them.
_CRUMBS = (
    b"\n",
    b"\r\n",
    b"\n}",
    b"lease 10.0.0.9 {",
    b"{",
    b'"',
    b"\\",
    b";",
    b",",
    b"[",
    b"]",
    b"0",
    b" ",
    b"\0",
    b"\xff\xfe",
    b"9" * 400,
    b"-1",
    b"fa:16:3e:00:00:09",
    b"10.0.0.9",
    b"::1",
    b"ends never;",
    b"binding state active;",
    b"address,hwaddr,valid_lifetime,expire",
)


def garbage() -> st.SearchStrategy[bytes]:
    """
    Make up bytes that look like something.
    """
    crumb = st.one_of(st.sampled_from(_CRUMBS), st.binary(max_size=12))
    return st.lists(crumb, max_size=30).map(b"".join)


def read_all(reader: Reader, *pieces: bytes) -> dict[str, Record]:
    """
    Read a whole file.

    @return: By address, what its last record says.
    """
    reader.begin()
    said = [record for piece in pieces for record in reader.feed(piece)]
    return {record.address: record for record in said}


def held(records: dict[str, Record]) -> dict[str, str | None]:
    """
    Tell who has which address.
    """
    return {a: record.mac for a, record in records.items() if record.is_held}


class ReaderContract(_Case):
    """
    What every L{Reader} promises.

    @ivar whole: A file with some leases.
    """

    whole: bytes

    def make_reader(self) -> Reader:
        """
        Make a reader.
        """
        raise NotImplementedError

    def test_cut_anywhere(self) -> None:
        """
        However a file is cut into pieces, the same is read.
        """

        @given(st.lists(st.integers(0, len(self.whole)), max_size=6))
        def check(cuts: list[int]) -> None:
            ends = [0, *sorted(cuts), len(self.whole)]
            reader = self.make_reader()
            pieces = [self.whole[a:b] for a, b in pairwise(ends)]
            self.assertEqual(read_all(reader, *pieces), read_all(reader, self.whole))
            self.assertIsNone(reader.problem())
            self.assertEqual(reader.refused, 0)

        check()

    def test_torn_anywhere(self) -> None:
        """
        Of a file that ends anywhere no record says what the whole file does not say.
        """
        whole = self.make_reader()
        whole.begin()
        records = whole.feed(self.whole)

        @given(st.integers(0, len(self.whole)))
        def check(end: int) -> None:
            torn = self.make_reader()
            torn.begin()
            said = torn.feed(self.whole[:end])
            self.assertEqual(said, records[: len(said)])

        check()

    def test_garbage(self) -> None:
        """
        Any bytes say something or are refused; nothing else happens, and another file
        is read well afterwards.
        """
        expected = read_all(self.make_reader(), self.whole)

        @given(st.lists(garbage(), max_size=4))
        def check(pieces: list[bytes]) -> None:
            reader = self.make_reader()
            for record in read_all(reader, *pieces).values():
                self.assertIsInstance(record, Record)
            reader.problem()
            self.assertEqual(read_all(reader, self.whole), expected)
            self.assertEqual(reader.refused, 0)

        check()

    def test_endless(self) -> None:
        """
        A megabyte without an end is not kept.
        """
        for sign in (b"x", b" ", b'"', b"{", b"[", b"\0", b"\n", b"9"):
            reader = self.make_reader()
            read_all(reader, *[sign * 8192] * 128)
            reader.problem()
            kept = [v for v in vars(reader).values() if isinstance(v, bytes | str)]
            self.assertLess(sum(map(len, kept)), 100_000, sign)
            self.assertEqual(
                read_all(reader, self.whole), read_all(self.make_reader(), self.whole)
            )


class ResilientContract(ReaderContract):
    """
    What readers promise besides, where a record can be bad alone.
    """

    def files(self, bad: bytes) -> tuple[bytes, bytes]:
        """
        Make a file with something bad between good records; and one without.
        """
        raise NotImplementedError

    def test_bad_records(self) -> None:
        """
        Whatever stands between good records, they are read.
        """

        @given(garbage())
        def check(bad: bytes) -> None:
            bad = bad.replace(b"\n}", b"").replace(b"\nlease", b"")
            spoilt, good = self.files(bad)
            said = read_all(self.make_reader(), spoilt)
            for address, record in read_all(self.make_reader(), good).items():
                self.assertEqual(said.get(address), record)

        check()
