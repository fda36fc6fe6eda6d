"""
Tests for L{mdproxy.ovsdb}.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.model import Malformed
from mdproxy.ovsdb import (
    MAX_DEPTH,
    MAX_SIZE,
    Call,
    Framing,
    Garbled,
    Remote,
    Reply,
    read_message,
    read_remote,
    write_call,
    write_reply,
)

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | _texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4)
    ),
    max_leaves=12,
)


class RemoteTests(SynchronousTestCase):
    """
    Tests for L{read_remote}.
    """

    def test_forms(self) -> None:
        """
        All forms that Open vSwitch has are read, and written as they were.
        """
        for text, remote in (
            ("tcp:10.0.0.1:6642", Remote("tcp", "10.0.0.1", 6642)),
            ("ssl:sb.example:6642", Remote("ssl", "sb.example", 6642)),
            ("ssl:[fd00::1]:6642", Remote("ssl", "fd00::1", 6642)),
            ("unix:/run/ovn/ovnsb_db.sock", Remote("unix", "/run/ovn/ovnsb_db.sock")),
        ):
            self.assertEqual(read_remote(text), remote)
            self.assertEqual(str(remote), text)

    def test_faults(self) -> None:
        """
        Whatever else it is is refused.
        """
        for text in (
            "",
            "tcp:",
            "tcp:10.0.0.1",
            "tcp:10.0.0.1:",
            "tcp:10.0.0.1:0",
            "tcp:10.0.0.1:65536",
            "tcp::6642",
            "tcp:fd00::1:6642",
            "ssl:host:6642 ",
            "ssl:a/b:6642",
            "unix:relative",
            "unix:",
            "ptcp:6642",
            "http://10.0.0.1:6642",
        ):
            self.assertRaises(Malformed, read_remote, text)


class FramingTests(SynchronousTestCase):
    """
    Tests for L{Framing}.
    """

    @given(st.lists(st.tuples(_texts, st.lists(_json, max_size=3))), st.data())
    def test_cut_anywhere(self, said: list[Any], data: st.DataObject) -> None:
        """
        Messages are the same wherever the stream was cut, and whatever white space is
        between them.
        """
        calls = [
            Call(method, params, number) for number, (method, params) in enumerate(said)
        ]
        spaces = st.sampled_from(["", " ", "\n", "\r\n\t "])
        stream = b"".join(
            (
                data.draw(spaces) + json.dumps(_written(call), ensure_ascii=False)
            ).encode()
            for call in calls
        )
        framing, heard, at = Framing(), [], 0
        while at < len(stream):
            size = data.draw(st.integers(1, len(stream) - at))
            heard += framing.feed(stream[at : at + size])
            at += size
        self.assertEqual(heard, calls)

    def test_byte_by_byte(self) -> None:
        """
        Brackets, quotes and backslashes in strings are text.
        """
        params = ["}{][", '\\"}', "\\\\", "é\u2028", '"']
        stream = write_call(1, "m", params) + write_call(2, "m", [])
        framing, heard = Framing(), []
        for at in range(len(stream)):
            heard += framing.feed(stream[at : at + 1])
        self.assertEqual(heard, [Call("m", params, 1), Call("m", [], 2)])

    @given(st.binary(max_size=200), st.booleans())
    def test_any_bytes(self, data: bytes, is_object: bool) -> None:
        """
        Of any bytes it either makes messages, or waits, or says that they are garbled.
        """
        with contextlib.suppress(Garbled):
            Framing().feed(b'{"method":"' + data if is_object else data)

    def test_garbled(self) -> None:
        """
        What is no message is said to be none.
        """
        for data in (
            b"x",
            b"[]",
            b'"x"',
            b"\0",
            b"{]",
            b"{}}",
            b'{"method":"m","params":[1,]}',
            b'{"method":"m","params":[NaN]}',
            b'{"method":"m","params":[-Infinity]}',
            b'{"method":"\xff","params":[]}',
            b'{"method":"\n","params":[]}',
            b'{"method":"m","params":[' + b"1" * 5000 + b"]}",
            b'{"method":"m","params":[1.' + b"1" * 5000 + b"]}",
        ):
            self.assertRaises(Garbled, Framing().feed, data)

    def test_too_deep(self) -> None:
        """
        Depth is bounded before anything is built.
        """
        deepest = MAX_DEPTH - 2
        stream = b'{"method":"m","params":[' + b"[" * deepest + b"]" * deepest + b"]}"
        self.assertEqual(len(Framing().feed(stream)), 1)
        self.assertRaises(Garbled, Framing().feed, b'{"a":' + b"[" * MAX_DEPTH)

    def test_too_large(self) -> None:
        """
        A message has a largest size, complete or not.
        """
        framing = Framing()
        piece = b"x" * 65536
        self.assertEqual(framing.feed(b'{"method":"'), [])
        for _ in range(MAX_SIZE // len(piece) - 1):
            self.assertEqual(framing.feed(piece), [])
        with self.assertRaises(Garbled):
            framing.feed(piece)

    def test_says_nothing_of_what_it_heard(self) -> None:
        """
        What the server said is not repeated.
        """
        for data in (b"secret", b'{"secret":', b'{"method":"secret"}', b'{"secret" 1}'):
            try:
                Framing().feed(data)
            except Garbled as error:
                self.assertNotIn("secret", str(error))


class MessageTests(SynchronousTestCase):
    """
    Tests for L{read_message} and what writes.
    """

    def test_kinds(self) -> None:
        """
        Requests, notifications and replies are told apart; where no error is there is
        none, as Open vSwitch leaves out what is not.
        """
        for value, message in (
            ({"method": "echo", "params": [], "id": "x"}, Call("echo", [], "x")),
            ({"method": "update2", "params": [1], "id": None}, Call("update2", [1])),
            ({"id": 3, "result": {}, "error": None}, Reply(3, {})),
            ({"id": 3, "error": {"error": "e"}}, Reply(3, None, {"error": "e"})),
        ):
            self.assertEqual(read_message(value), message)

    def test_garbled(self) -> None:
        """
        What is neither is refused.
        """
        values: list[Any] = [
            None,
            [],
            {},
            {"id": "1", "result": 1},
            {"id": True, "result": 1},
            {"id": 1.0, "result": 1},
            {"method": 1, "params": []},
            {"method": "m"},
            {"method": "m", "params": {}},
        ]
        for value in values:
            self.assertRaises(Garbled, read_message, value)

    def test_written(self) -> None:
        """
        What is written has all members of RFC 7047 section 4.
        """
        self.assertEqual(
            json.loads(write_call(1, "echo", [])),
            {"method": "echo", "params": [], "id": 1},
        )
        self.assertEqual(
            json.loads(write_reply("x", [1])),
            {"id": "x", "result": [1], "error": None},
        )


def _written(call: Call) -> dict[str, Any]:
    """
    Write a call as JSON.
    """
    return {"method": call.method, "params": call.params, "id": call.id}
