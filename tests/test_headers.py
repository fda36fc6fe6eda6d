"""
Tests for L{mdproxy.headers}.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.headers import (
    MAX_VALUE,
    PASSED,
    IdentityFields,
    for_instance,
    for_nova,
    host_line,
    identity_fields,
)
from mdproxy.model import (
    Port,
    Request,
)
from mdproxy.signing import Signer
from tests.secrecy import SECRET, find_secret

MAC = "fa:16:3e:00:00:01"
INSTANCE = "32d0524b-314d-4594-b3a3-607e3f2354f8"
SIGNATURE = b"6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605"

#: What Nova, or something before it, may take for a word about who asks.
FORBIDDEN = (
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Instance-ID",
    "X-Instance-ID-Signature",
    "X-Tenant-ID",
    "X-Project-ID",
    "X-Metadata-Provider",
    "X-Metadata-Provider-Signature",
    "X-Neutron-Network-ID",
    "X-Neutron-Router-ID",
    "X-OVN-Network-ID",
    "X-Real-IP",
    "X-Auth-Token",
    "Forwarded",
    "Via",
    "Host",
    "Cookie",
    "Authorization",
    "Connection",
    "Upgrade",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Content-Length",
    "Expect",
    "Proxy",
    "X-aws-ec2-metadata-token",
)


PORT = Port("red", MAC, INSTANCE, "project-1", None)
FIELDS = identity_fields(PORT, "10.0.0.5", Signer(SECRET))


def lines_of(wire: bytes) -> list[tuple[bytes, bytes]]:
    """
    Read the header lines of a request as a lenient server would: fold case, take C{_}
    for C{-}, end a line at every CR, LF or NUL.
    """
    _first, *lines = re.split(rb"\r\n|[\r\n\0]", wire)
    parted = [line.partition(b":") for line in lines if line]
    return [
        (name.strip().lower().replace(b"_", b"-"), value.strip())
        for name, _colon, value in parted
    ]


def request_with(*headers: tuple[bytes, bytes]) -> Request:
    """
    Ask with some header fields.
    """
    return Request(b"GET", b"/openstack", headers)


@st.composite
def spellings(draw: st.DrawFn) -> bytes:
    """
    Spell one of the forbidden names in some way.
    """
    name = draw(st.sampled_from(FORBIDDEN))
    letters = [
        draw(st.sampled_from((c.lower(), c.upper(), "_" if c == "-" else c)))
        for c in name
    ]
    before = draw(st.sampled_from(("", " ", "\t", "\x0b")))
    after = draw(st.sampled_from(("", " ", "\t", "\x0b", "\x00", ":")))
    return (before + "".join(letters) + after).encode()


class ForNovaTests(SynchronousTestCase):
    """
    Tests for L{for_nova} and L{identity_fields}.
    """

    def test_whole(self) -> None:
        """
        A plain request becomes these bytes, and no others.
        """
        asked = request_with(
            (b"host", b"169.254.169.254"),
            (b"user-agent", b"curl/7"),
            (b"accept", b"*/*"),
            (b"x-instance-id", b"other"),
        )
        self.assertEqual(
            for_nova(asked, FIELDS) + host_line(b"nova:8775"),
            b"GET /openstack HTTP/1.1\r\n"
            b"user-agent: curl/7\r\n"
            b"accept: */*\r\n"
            b"X-Forwarded-For: 10.0.0.5\r\n"
            b"X-Instance-ID: " + INSTANCE.encode() + b"\r\n"
            b"X-Tenant-ID: project-1\r\n"
            b"X-Instance-ID-Signature: " + SIGNATURE + b"\r\n"
            b"Host: nova:8775\r\n\r\n",
        )

    @given(
        st.lists(
            st.tuples(
                spellings() | st.sampled_from(sorted(PASSED)) | st.binary(max_size=30),
                st.binary(max_size=60)
                | st.just(b"x\r\nX-Instance-ID: evil")
                | st.just(b"x\nX_Tenant_ID: evil\n"),
            ),
            max_size=12,
        ),
        st.none() | st.binary(max_size=20),
        st.sampled_from((b"GET", b"HEAD", b"POST", b"PUT")),
    )
    def test_nothing_of_the_instance_speaks_of_identity(
        self,
        headers: list[tuple[bytes, bytes]],
        body: bytes | None,
        method: bytes,
    ) -> None:
        """
        Whatever fields an instance sends, even ones that no parser would let through:
        Nova gets exactly one of each identity field, ours, and beside them nothing but
        what the list allows.
        """
        asked = Request(method, b"/", tuple(headers), body)
        lines = lines_of(for_nova(asked, FIELDS))
        ours = [
            (b"x-forwarded-for", b"10.0.0.5"),
            (b"x-instance-id", INSTANCE.encode()),
            (b"x-tenant-id", b"project-1"),
            (b"x-instance-id-signature", SIGNATURE),
        ]
        has_length = body is not None or method in (b"POST", b"PUT")
        if has_length:
            ours.append((b"content-length", b"%d" % len(body or b"")))
        self.assertEqual([line for line in lines if line[0] not in PASSED], ours)
        for name, value in lines:
            self.assertNotRegex(name + value, rb"[\x00-\x1f\x7f-\xff]")

    def test_allowed_fields_pass(self) -> None:
        """
        Each field of the list passes as it is, in order, repeated ones too.
        """
        headers = [(name, b"value of " + name) for name in sorted(PASSED)]
        headers.insert(3, (b"accept", b"again"))
        lines = lines_of(for_nova(request_with(*headers), FIELDS))
        self.assertEqual([line for line in lines if line[0] in PASSED], headers)

    def test_bad_values_stay_behind(self) -> None:
        """
        A value that is very long, or holds anything but printable ASCII, stays behind
        with its name; the rest passes.
        """
        longest = b"x" * MAX_VALUE
        for bad in (
            b"a\r\nX-Tenant-ID: evil",
            b"a\rb",
            b"a\nb",
            b"a\0b",
            b"a\tb",
            b"a\x7f",
            b"caf\xc3\xa9",
            b"trailing\n",
            longest + b"x",
        ):
            wire = for_nova(
                request_with((b"user-agent", bad), (b"accept", longest)), FIELDS
            )
            self.assertNotIn(b"user-agent", wire)
            self.assertIn(b"accept: " + longest + b"\r\n", wire)

    def test_length(self) -> None:
        """
        A length is told for every method that may have a body, also a length of 0, and
        for others only where there was a body; exactly once.
        """
        for method, body, length in (
            (b"POST", b"secret", 6),
            (b"POST", b"", 0),
            (b"POST", None, 0),
            (b"PUT", None, 0),
            (b"PUT", b"x", 1),
            (b"GET", b"body", 4),
            (b"GET", b"", 0),
            (b"GET", None, None),
            (b"HEAD", None, None),
        ):
            asked = Request(method, b"/", ((b"content-length", b"77"),), body)
            lines = lines_of(for_nova(asked, FIELDS))
            told = [value for name, value in lines if name == b"content-length"]
            self.assertEqual(told, [] if length is None else [b"%d" % length])

    def test_one_empty_line(self) -> None:
        """
        The head ends with the one empty line in it, whatever the body holds.
        """
        body = bytes(range(256)) + b"\r\n\r\n"
        asked = Request(b"POST", b"/openstack/2013-10-17/password", (), body)
        head = for_nova(asked, FIELDS) + host_line(b"nova")
        self.assertTrue(head.endswith(b"Host: nova\r\n\r\n"))
        self.assertEqual(head.count(b"\r\n\r\n"), 1)

    def test_target_is_untouched(self) -> None:
        """
        The target is what the instance wrote: nothing decoded, nothing normalised.
        """
        for target in (b"/a/../b//c", b"/%2e%2e/%00", b"/x?a=b&c", b"/;p=1"):
            wire = for_nova(Request(b"GET", target, ()), FIELDS)
            self.assertTrue(wire.startswith(b"GET " + target + b" HTTP/1.1\r\n"))

    def test_forwarded_for(self) -> None:
        """
        X-Forwarded-For is the peer's address alone, for IPv6 too.
        """
        wire = identity_fields(PORT, "fe80::f816:3eff:fe00:1", Signer(SECRET)).wire
        self.assertIn(b"X-Forwarded-For: fe80::f816:3eff:fe00:1\r\n", wire)

    def test_signature_is_not_shown(self) -> None:
        """
        The fields' own text shows neither signature nor secret.
        """
        self.assertIn(SIGNATURE, FIELDS.wire)
        self.assertIsNone(find_secret(f"{FIELDS!r} {FIELDS} {IdentityFields(b'x')!r}"))


class ForInstanceTests(SynchronousTestCase):
    """
    Tests for L{for_instance}.
    """

    def passed(self, *headers: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """
        Say which fields of a response pass.
        """
        lines = for_instance(headers).split(b"\r\n")
        self.assertEqual(lines.pop(), b"", "a line without its end")
        fields = (line.partition(b": ") for line in lines)
        return tuple((name, value) for name, _, value in fields)

    def test_order_and_repeats(self) -> None:
        """
        What passes keeps its order, its spelling and its repeats.
        """
        headers = (
            (b"Content-Type", b"text/plain"),
            (b"Set-Cookie", b"a=1"),
            (b"X-Openstack-Request-Id", b"req-1"),
            (b"SET-cookie", b"b=2"),
            (b"Content-Encoding", b"gzip"),
            (b"Set-Cookie", b"a=1"),
            (b"Server", b""),
        )
        self.assertEqual(self.passed(*headers), headers)

    def test_hop_by_hop(self) -> None:
        """
        Fields of our own connection with Nova stay behind, however they are spelt.
        """
        kept = (b"Content-Type", b"text/plain")
        for name in (
            b"Connection",
            b"KEEP-ALIVE",
            b"proxy-Connection",
            b"Proxy-Authenticate",
            b"TE",
            b"Trailer",
            b"transfer-encoding",
            b"Upgrade",
            b"content-LENGTH",
        ):
            self.assertEqual(self.passed((name, b"x"), kept, (name, b"y")), (kept,))

    def test_nominated(self) -> None:
        """
        So do those that any Connection field names.
        """
        kept = (b"X-Kept", b"x-private")
        self.assertEqual(
            self.passed(
                (b"X-Private", b"1"),
                (b"Connection", b"close, X-PRIVATE ,, x-other"),
                kept,
                (b"connection", b"x-third"),
                (b"x-Other", b"2"),
                (b"X-Third", b"3"),
            ),
            (kept,),
        )
