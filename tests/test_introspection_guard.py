"""
Tests for L{mdproxy.introspection.guard}.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.introspection.guard import (
    MOST_BODY,
    Asked,
    Guard,
    is_own,
    media_type,
)

#: One who allows no names.
GUARD = Guard()
#: A request that is answered.
READS = Asked(hosts=[b"127.0.0.1:8085"], local="127.0.0.1")
#: One that changes something, from a page of ours.
CHANGES = evolve(READS, method=b"POST", origins=[b"http://127.0.0.1:8085"])


def status_of(asked: Asked, guard: Guard = GUARD) -> int | None:
    """
    Judge a request.

    @return: The status of the refusal; C{None}: it may be answered.
    """
    refused = guard.refuse(asked)
    return None if refused is None else refused.status


class HostTests(SynchronousTestCase):
    """
    Tests for what has to be in the Host field.
    """

    def hosts(
        self, *hosts: bytes, guard: Guard = GUARD, local: str | None = "127.0.0.1"
    ) -> int | None:
        """
        Judge a request by its Host fields.
        """
        return status_of(evolve(READS, hosts=hosts, local=local), guard)

    def test_ours(self) -> None:
        """
        C{localhost} and every address of loopback are ours, with any port: the operator
        may come through a tunnel.
        """
        for host in (
            b"localhost",
            b"LocalHost:8085",
            b"localhost:9000",
            b"127.0.0.1",
            b"127.0.0.1:8085",
            b"127.3.2.1",
            b"[::1]",
            b"[::1]:8085",
            b"[0:0:0:0:0:0:0:1]:80",
        ):
            self.assertIsNone(self.hosts(host), host)

    def test_rebound(self) -> None:
        """
        A name that anybody could make mean 127.0.0.1 is refused (G2), and so is
        whatever looks like a name of ours.
        """
        for host in (
            b"evil.example",
            b"evil.example:8085",
            b"localhost.evil.example",
            b"127.0.0.1.evil.example",
            b"127.0.0.1.",
            b"127.1",
            b"2130706433",
            b"0x7f.1",
            b"0177.0.0.1",
            b"localhost:",
            b"localhost:123456",
            b"localhost:80:80",
            b"localhost@evil.example",
            b"localhost ",
            b"localhost,evil.example",
            b"evil.example#localhost",
            b"[::1",
            b"[::1]evil.example",
            b"[fe80::1%25lo]",
            b"0.0.0.0",
            b"169.254.169.254",
            b"10.0.0.5:8085",
            b"",
            b"\xff",
            b"localhost\x00",
            b"localhost\n",
        ):
            self.assertEqual(self.hosts(host), 421, host)

    def test_one(self) -> None:
        """
        There is one Host field: none is not enough, and of two each could be meant.
        """
        self.assertEqual(self.hosts(), 400)
        self.assertEqual(self.hosts(b"localhost", b"localhost"), 400)
        self.assertEqual(self.hosts(b"evil.example", b"localhost"), 400)

    def test_own_address(self) -> None:
        """
        The address that was asked is ours, in any spelling; another one is not.
        """
        self.assertIsNone(self.hosts(b"192.0.2.7:8085", local="192.0.2.7"))
        self.assertIsNone(self.hosts(b"[2001:DB8:0::7]", local="2001:db8::7"))
        self.assertEqual(self.hosts(b"192.0.2.8", local="192.0.2.7"), 421)

    def test_allowed(self) -> None:
        """
        The operator allows a name for any port, or for one.
        """
        guard = Guard(frozenset({"node7.example", "node8.example:8085"}))
        for host, status in {
            b"node7.example": None,
            b"Node7.Example:1": None,
            b"node8.example:8085": None,
            b"node8.example": 421,
            b"node8.example:8086": 421,
            b"node9.example": 421,
            b"localhost": None,
        }.items():
            self.assertEqual(self.hosts(host, guard=guard), status, host)

    def test_unix_socket(self) -> None:
        """
        On a UNIX socket, where no browser asks, the field may be empty or missing; if
        it names somebody it has to be us.
        """
        for hosts in ((), (b"",), (b"localhost",)):
            self.assertIsNone(self.hosts(*hosts, local=None), hosts)
        self.assertEqual(self.hosts(b"evil.example", local=None), 421)

    @given(host=st.binary(max_size=80))
    def test_any_bytes(self, host: bytes) -> None:
        """
        Whatever is in the field, it is judged; and what is taken is one of ours.
        """
        if self.hosts(host) is None:
            name = host.lower().rpartition(b":")[0] or host.lower()
            ours = (
                name.startswith((b"localhost", b"127.", b"[")) or host == b"localhost"
            )
            self.assertTrue(ours, host)


class MethodTests(SynchronousTestCase):
    """
    Tests for methods, targets and bodies.
    """

    def test_reads(self) -> None:
        """
        GET and HEAD may be answered, also to what is no browser.
        """
        for method in (b"GET", b"HEAD"):
            self.assertIsNone(status_of(evolve(READS, method=method)))

    def test_others(self) -> None:
        """
        There are no other methods than these and POST.
        """
        for method in (b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"get"):
            self.assertEqual(status_of(evolve(READS, method=method)), 405, method)

    def test_paths(self) -> None:
        """
        A target is a path: what names another place itself is refused.
        """
        for target in (b"http://evil.example/", b"*", b"evil.example:443", b""):
            self.assertEqual(status_of(evolve(READS, target=target)), 400, target)

    def test_too_long(self) -> None:
        """
        A body is bounded, whatever the method.
        """
        for asked in (READS, CHANGES):
            long = evolve(asked, length=MOST_BODY + 1, types=[b"application/json"])
            self.assertEqual(status_of(long), 413)
            fits = evolve(long, length=MOST_BODY)
            self.assertIsNone(status_of(fits))

    def test_types(self) -> None:
        """
        A body that changes something is a form or JSON, and says so once.
        """
        for types, status in (
            ([b"application/json"], None),
            ([b"Application/JSON; charset=utf-8"], None),
            ([b"application/x-www-form-urlencoded"], None),
            ([b"text/plain"], 415),
            ([b"multipart/form-data; boundary=a"], 415),
            ([], 415),
            ([b"application/json", b"application/json"], 415),
        ):
            asked = evolve(CHANGES, types=types, length=2)
            self.assertEqual(status_of(asked), status, types)
        self.assertEqual(media_type([b" a/B ;c"]), b"a/b")


class SameOriginTests(SynchronousTestCase):
    """
    Tests for requests that a page of somebody else's makes the browser send (G2).
    """

    def test_own_page(self) -> None:
        """
        A page of ours may change something, as far as its browser says whose it is.
        """
        for origins, sites in (
            ([b"http://127.0.0.1:8085"], []),
            ([b"http://127.0.0.1:8085"], [b"same-origin"]),
            ([], [b"same-origin"]),
        ):
            asked = evolve(CHANGES, origins=origins, sites=sites)
            self.assertIsNone(status_of(asked), (origins, sites))

    def test_foreign_page(self) -> None:
        """
        Anybody else's may not, and no field that he can send changes that.
        """
        for origins, sites in (
            ([b"http://evil.example"], []),
            ([b"http://127.0.0.1"], []),
            ([b"http://127.0.0.1:80850"], []),
            ([b"https://127.0.0.1:8085"], []),
            ([b"null"], []),
            ([b""], []),
            ([b"http://127.0.0.1:8085", b"http://evil.example"], []),
            ([], [b"cross-site"]),
            ([], [b"same-site"]),
            ([], [b"none"]),
            ([b"http://127.0.0.1:8085"], [b"cross-site"]),
            ([b"http://evil.example"], [b"same-origin"]),
            ([], [b"same-origin", b"cross-site"]),
        ):
            asked = evolve(CHANGES, origins=origins, sites=sites, marks=[b"1"])
            self.assertEqual(status_of(asked), 403, (origins, sites))

    def test_secure(self) -> None:
        """
        By TLS our pages are those of https.
        """
        asked = evolve(CHANGES, secure=True)
        self.assertEqual(status_of(asked), 403)
        asked = evolve(asked, origins=[b"https://127.0.0.1:8085"])
        self.assertIsNone(status_of(asked))

    def test_no_browser(self) -> None:
        """
        What is no browser sends the field that no page can send to another site.
        """
        bare = evolve(CHANGES, origins=[])
        self.assertEqual(status_of(bare), 403)
        self.assertIsNone(status_of(evolve(bare, marks=[b"1"])))
        self.assertEqual(status_of(evolve(bare, marks=[b"0"])), 403)
        self.assertEqual(status_of(evolve(bare, marks=[b"1", b"1"])), 403)

    def test_embedded(self) -> None:
        """
        Another site's page can't have ours as a picture or a script, but may link to
        it.
        """
        foreign = evolve(READS, sites=[b"cross-site"], modes=[b"no-cors"])
        self.assertEqual(status_of(foreign), 403)
        self.assertEqual(status_of(evolve(foreign, modes=[b"cors"])), 403)
        self.assertIsNone(status_of(evolve(foreign, modes=[b"navigate"])))
        for own in (b"same-origin", b"none"):
            self.assertIsNone(status_of(evolve(foreign, sites=[own])))

    def test_is_own(self) -> None:
        """
        A link on another site's page is not our own, though it may be followed.
        """
        self.assertTrue(is_own(READS))
        self.assertTrue(is_own(evolve(READS, sites=[b"none"])))
        self.assertFalse(is_own(evolve(READS, sites=[b"cross-site"])))
