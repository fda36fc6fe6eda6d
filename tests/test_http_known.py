"""
Tests for L{mdproxy.http.known}.
"""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from mdproxy.http.known import LONGEST, known_request, known_response
from mdproxy.http.parsing import (
    RequestReader,
)
from mdproxy.http.responses import (
    End,
    ResponseReader,
)
from mdproxy.model import Request, ResponseHead

_FIELDS = b"Host: 169.254.169.254\r\nUser-Agent: curl/7\r\nAccept: */*\r\n\r\n"
_GET = b"GET /openstack HTTP/1.1\r\n" + _FIELDS

#: Requests that are not whole, not alone, or not right.
_NOT_KNOWN = {
    "nothing": b"",
    "three bytes": b"GET",
    "no end": _GET[:-1],
    "no fields": b"GET / HTTP/1.1\r\n\r\n",
    "two": _GET + _GET,
    "more": _GET + b"G",
    "empty line before": b"\r\n" + _GET,
    "empty line behind": _GET + b"\r\n",
    "method": b"POST" + _GET[3:],
    "lower case": b"get" + _GET[3:],
    "version": _GET.replace(b"1.1", b"1.0"),
    "fragment": _GET.replace(b"/openstack", b"/#"),
    "absolute": _GET.replace(b"/openstack", b"http://x/"),
    "space": _GET.replace(b"/openstack", b"/a b"),
    "8 bits": _GET.replace(b"/openstack", b"/\xe9"),
    "bare LF": _GET.replace(b"\r\nUser", b"\nUser"),
    "fold": _GET.replace(b"\r\nUser", b"\r\n User"),
    "NUL": _GET.replace(b"curl", b"\0"),
    "two hosts": _GET.replace(b"User-Agent", b"Host"),
    "no host": _GET.replace(b"Host", b"Hosts"),
    "length": _GET.replace(b"Accept: */*", b"Content-Length: 0"),
    "chunks": _GET.replace(b"Accept: */*", b"Transfer-Encoding: chunked"),
    "expectation": _GET.replace(b"Accept: */*", b"Expect: x"),
    "long": _GET.replace(b"/openstack", b"/" + b"a" * LONGEST),
}

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-a: b\r\n\r\n"

#: Responses that are not whole, not alone, or not right.
_STRANGE = {
    "nothing": b"",
    "no end": _OK[:-1],
    "no body": _OK,
    "half a body": _OK + b"o",
    "excess": _OK + b"ok!",
    "another": _OK + b"ok" + _OK,
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"ok",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "until close": b"HTTP/1.1 200 OK\r\n\r\nok",
    "two lengths": _OK.replace(b"X-a: b", b"Content-Length: 2") + b"ok",
    "204": _OK.replace(b"200 OK", b"204 OK") + b"ok",
    "304": _OK.replace(b"200 OK", b"304 OK") + b"ok",
    "101": _OK.replace(b"200 OK", b"101 OK") + b"ok",
    "bare LF": _OK.replace(b"\r\nX", b"\nX") + b"ok",
    "NUL": _OK.replace(b"X-a", b"X\0") + b"ok",
    "long": _OK.replace(b"X-a: b", b"X-a: " + b"b" * LONGEST) + b"ok",
    "HTTP/2": _OK.replace(b"1.1", b"2.0") + b"ok",
}


class RequestTests(SynchronousTestCase):
    """
    Tests for L{known_request}.
    """

    def read(self, data: bytes) -> Request | None:
        """
        Look for a request.
        """
        return known_request(data, 16384)

    def test_as_the_strict_reader(self) -> None:
        """
        What is found is what the strict reader reads, the first time and later.
        """
        for method, target, close in product(
            (b"GET", b"HEAD"),
            (b"/", b"/openstack", b"//a/../b;c=%00?d=e&f", b"/~a_b-c.d!$'()*+,:=@"),
            (b"close", b"keep-alive", b"upgrade, close"),
        ):
            fields = _FIELDS.replace(b"\r\n\r\n", b"\r\nConnection: %b\r\n\r\n" % close)
            data = b"%b %b HTTP/1.1\r\n%b" % (method, target, fields)
            for _ in range(2):
                self.assertEqual([self.read(data)], RequestReader().feed(data))

    def test_left_to_the_strict_reader(self) -> None:
        """
        What is not whole, not alone or not simple is not found, nor what is wrong,
        whatever was found before.
        """
        for _ in range(2):
            self.assertIsNotNone(self.read(_GET))
            for name, data in _NOT_KNOWN.items():
                self.assertIsNone(self.read(data), name)

    def test_bound(self) -> None:
        """
        A head that is larger than the operator allows is not found.
        """
        self.assertIsNotNone(known_request(_GET, len(_GET)))
        self.assertIsNone(known_request(_GET, len(_GET) - 1))


class ResponseTests(SynchronousTestCase):
    """
    Tests for L{known_response}.
    """

    def test_as_the_strict_reader(self) -> None:
        """
        What is found is what the strict reader reads, the first time and later.
        """
        for status, length, connection in product(
            (b"200 OK", b"404 Not Found", b"500", b"503 "),
            (0, 1, 2000),
            (b"close", b"keep-alive, x-hop"),
        ):
            head = (
                b"HTTP/1.1 %b\r\nX-Hop: 1\r\nX-a: b\r\nConnection: %b\r\n"
                b"content-length: %d\r\n\r\n" % (status, connection, length)
            )
            data = head + b"x" * length
            for _ in range(2):
                known = known_response(data)
                assert known is not None
                body = [data[known.size :]] if length else []
                self.assertEqual(
                    [known.head, *body, End(known.reusable)],
                    ResponseReader().feed(data),
                )

    def test_versions(self) -> None:
        """
        HTTP/1.0 ends with the connection unless it says otherwise.
        """
        data = _OK.replace(b"1.1", b"1.0") + b"ok"
        known = known_response(data)
        assert known is not None
        self.assertFalse(known.reusable)

    def test_left_to_the_strict_reader(self) -> None:
        """
        What is not whole, not alone or not simple is not found, nor what is wrong,
        whatever was found before.
        """
        for _ in range(2):
            known = known_response(_OK + b"ok")
            assert known is not None
            self.assertEqual(known.head, ResponseHead(200, b"OK", b"X-a: b\r\n", 2))
            for name, data in _STRANGE.items():
                self.assertIsNone(known_response(data), name)
