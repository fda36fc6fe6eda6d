"""
A real C{twistd mdproxy} between instances, a Nova and operators, all on loopback.

The fault scenarios G1 to G3: an instance can't reach what is for operators; a page in
the operator's browser can't either; and what is for operators holds nothing secret.
"""

from __future__ import annotations

import gc
import hashlib
import hmac
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from pprint import pformat
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mdproxy.introspection.api import OPERATIONS
from mdproxy.introspection.parts import Parts
from mdproxy.introspection.tree import CONTRAIL
from mdproxy.introspection.view import View
from mdproxy.manhole import banner_of, namespace_of
from mdproxy.model import Caller, Identity, Request
from mdproxy.tap import Options, makeService
from tests.asking import RecordingReply
from tests.corpus.test_corpus import free_port
from tests.loopback import wait_until
from tests.relaying import Heard
from tests.running import (
    CANARY,
    SECRET,
    VICTIM,
    Local,
    Question,
    Running,
    ThreadedNova,
    read_from,
)
from tests.secrecy import SECRET as OTHER_SECRET
from tests.secrecy import find_secret
from tests.twistd import write_config
from tests.visiting import Said

#: What Nova says to the instance and what the instance says to Nova.
_USER_DATA = b"#cloud-config password-of-one-instance"
_POSTED = b"encrypted-password-of-one-instance"
#: What an instance, and an operator, send to prove who they are.
_TOKEN = b"token-of-one-instance"
_COOKIE = b"cookie-of-one-operator"

#: A host name that some DHCP client has sent.
_HOST_NAME = "<img/src=x/onerror=alert(1)>"
#: Something that an instance asks for.
_TARGET = b"/latest/\"'<script>alert(2)</script>&"

#: Every page for people.
_HTML = (
    *("/", "/networks", "/instances", "/instances?search=i-", "/transactions"),
    *(f"/instances/{VICTIM.name}", "/checks", "/instances/nobody"),
    *(f"/why?address={VICTIM.address}", "/why", f"/why?address={quote(_HOST_NAME)}"),
    f"/instances?search={quote(_HOST_NAME)}",
    f"/transactions?instance={quote(_HOST_NAME)}",
)

#: What operators ask that is no page for people.
_OTHERS = (
    *("/metrics", "/static/style.css", "/static/live.js", "/nothing"),
    *(f"/{name.decode()}" for name in CONTRAIL),
    "/Snh_SandeshTraceRequest?x=Metadata",
    "/api/v1/openapi.json",
    f"/api/v1/why?address={VICTIM.address}",
    f"/api/v1/instances/{VICTIM.name}",
    *(
        operation.path
        for operation in OPERATIONS
        if operation.method == "GET" and "{" not in operation.path
    ),
)


def signature(secret: bytes, instance: str) -> bytes:
    """
    Sign as the proxy does.
    """
    return hmac.new(secret, instance.encode(), hashlib.sha256).hexdigest().encode()


#: What nobody may see.
_HIDDEN = (
    *(SECRET, _USER_DATA, _POSTED, _TOKEN, _COOKIE),
    *(signature(SECRET, each.name) for each in (VICTIM, CANARY)),
)


class _Operated(SynchronousTestCase):
    """
    A proxy with an operator.
    """

    def setUp(self) -> None:
        """
        Start it.
        """
        self.nova = ThreadedNova(self.answer)
        self.addCleanup(self.nova.stop)
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        leases = self.directory / "leases"
        leases.write_text(
            f"2000000000 02:00:00:00:00:01 {VICTIM.address} {_HOST_NAME} *\n"
        )
        self.pages = free_port()
        endpoint = f"tcp:{self.pages}:interface=127.0.0.1"
        self.proxy = Running.before(
            self.directory,
            self.nova.port,
            {
                "introspection": {"endpoint": endpoint},
                "leases": {"sources": f"dnsmasq:{leases}@loopback"},
                "log": {
                    "format": "json",
                    "access_log": self.directory / "access.log",
                    "levels": "debug",
                },
            },
        )
        self.log: str | None = None
        self.addCleanup(self.stop)
        # If somebody else had the port it is tried again in some seconds.
        wait_until("operators are heard", self.is_up)

    def stop(self) -> str:
        """
        End it, and see that Nova knew whoever asked.

        @return: What it logged.
        """
        if self.log is None:
            self.log = self.proxy.stop()
            self.assertEqual(self.nova.faults, [])
        return self.log

    def is_up(self) -> bool:
        """
        Look whether operators are heard.
        """
        try:
            socket.create_connection(("127.0.0.1", self.pages), 60).close()
        except ConnectionRefusedError:
            return False
        return True

    def answer(self, question: Question) -> bool:
        """
        Be Nova.
        """
        if b"user-data" not in question.target:
            return question.answer()
        question.line.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
            % (len(_USER_DATA), _USER_DATA)
        )
        return True

    def say(self, data: bytes) -> Said:
        """
        Say something as an operator.

        @return: What comes back until the connection is closed.
        """
        with socket.create_connection(("127.0.0.1", self.pages), 60) as line:
            line.sendall(data)
            return Said.read(b"".join(_read_all(line)))

    def read(
        self,
        target: str,
        fields: str = "",
        method: str = "GET",
        host: str = "localhost",
        body: str = "",
    ) -> Said:
        """
        Ask as an operator.
        """
        lines = (
            f"{method} {target} HTTP/1.1",
            f"Host: {host}",
            "Connection: close",
            f"Cookie: a={_COOKIE.decode()}",
            f"Content-Length: {len(body)}",
            f"{fields}\r\n{body}",
        )
        return self.say("\r\n".join(lines).encode("latin-1"))

    def guest(
        self,
        target: bytes,
        host: bytes = b"169.254.169.254",
        instance: Local = VICTIM,
        body: bytes | None = None,
    ) -> Heard:
        """
        Ask as an instance.
        """
        method = b"GET" if body is None else b"POST"
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
        with self.proxy.connect(instance) as line:
            line.sendall(
                b"%b %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: %b\r\n"
                b"X-aws-ec2-metadata-token: %b\r\nAuthorization: Bearer %b\r\n%b\r\n%b"
                % (
                    *(method, target, host, instance.name.encode()),
                    *(_TOKEN, _TOKEN, length, body or b""),
                )
            )
            return read_from(line, method)


def _read_all(line: socket.socket) -> Iterator[bytes]:
    """
    Read to the end.
    """
    while piece := line.recv(65536):
        yield piece


#: What is asked in fuzzing: real pages, and what is none.
_PATHS = st.sampled_from([*_HTML, *_OTHERS]).map(lambda target: target.split("?")[0])
_HOSTILE = st.sampled_from(
    [
        "<zq>",
        "'\"><zq>",
        "\x00<zq>",
        "%",
        "..",
        "-1",
        "9" * 30,
        "\u202e",
        "\ud7ff",
        "a" * 400,
    ]
)
_TEXTS = _HOSTILE | st.text(max_size=30)
_FIELDS = st.sampled_from(
    (
        *("Accept", "Accept-Encoding", "Accept-Language", "Cookie", "Last-Event-ID"),
        *("Range", "If-None-Match", "If-Modified-Since", "Content-Type", "Expect"),
        *("Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "X-Mdproxy", "Authorization"),
    )
)
#: Any bytes that may stand in a field, as latin-1.
_VALUES = st.binary(max_size=20).map(
    lambda value: re.sub(r"[\x00-\x1f\x7f]", "<zq>", value.decode("latin-1"))
)
_NAMES = _TEXTS | st.sampled_from(
    (
        *("address", "network", "search", "after", "before", "limit", "status"),
        *("instance", "seconds", "x", "buf_name", "count", "only", "live"),
    )
)


class ReachTests(_Operated):
    """
    G1: what is for operators is nothing to an instance.  G2: nor to other pages in the
    operator's browser.
    """

    def test_g1_goes_to_nova(self) -> None:
        """
        An instance that asks for the operator's pages, by whatever name, is answered by
        Nova, as for any other path; and has no way to the endpoint's own paths.
        """
        targets = [*_HTML, *_OTHERS, "/admin/stats", "/monitoruri", "/debug"]
        hosts = (b"localhost", b"127.0.0.1:%d" % self.pages, b"169.254.169.254")
        asked, before = [], len(self.nova.questions)
        for number, text in enumerate(targets):
            target = text.encode()
            heard = self.guest(target, hosts[number % len(hosts)])
            self.assertEqual(heard.body, b"data of i-1 at %b" % target)
            asked.append(target)
        came = [each.target for each in self.nova.questions[before:]]
        self.assertEqual(came, asked)

    def test_g2_rebound(self) -> None:
        """
        A name that was made to mean 127.0.0.1 leads to no page and changes nothing.
        """
        for target in (*_HTML, *_OTHERS):
            said = self.read(target, host=f"evil.example:{self.pages}")
            self.assertEqual(said.status, 421, target)
            self.assertNotIn(b"evil", said.body)

    def test_g2_cross_site(self) -> None:
        """
        Another site's page can't change anything, nor can a link to a page of ours.
        """
        self.guest(b"/latest/meta-data")
        counted = self.read("/Snh_MetadataInfo").body
        foreign = (
            "Origin: http://evil.example\r\n",
            "Origin: null\r\n",
            "Sec-Fetch-Site: cross-site\r\nX-Mdproxy: 1\r\n",
            "",
        )
        for path in ("/api/v1/clear", "/api/v1/watch", "/Snh_ClearAllInfo"):
            for fields in foreign:
                said = self.read(path, fields, "POST")
                self.assertEqual(said.status, 403, (path, fields))
            for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
                said = self.read(path, "", method)
                self.assertEqual(said.status, 405, (path, method))
        self.assertEqual(self.read("/Snh_MetadataInfo").body, counted)
        latest = json.loads(self.read("/api/v1/transactions").body)["items"][0]
        self.assertEqual(latest["target"], "/latest/meta-data")

    def test_g2_markup(self) -> None:
        """
        What instances and DHCP clients call things is no markup on any page, and no
        page has anything of its own that a browser would run.
        """
        self.guest(_TARGET)
        shown = b""
        for target in _HTML:
            said = self.read(target)
            kind = said.fields[b"content-type"]
            self.assertTrue(kind.startswith(b"text/html"), (target, said))
            self.assertIn(
                b"default-src 'none'", said.fields[b"content-security-policy"]
            )
            for hostile in (b"<img", b"<script>", b"alert(1)>", b"alert(2)<"):
                self.assertNotIn(hostile, said.body, target)
            for inline in (rb"\son[a-z]+\s*=", rb"\sstyle\s*=", rb"javascript:"):
                self.assertNotRegex(re.sub(rb"&[a-z#0-9]+;", b"", said.body), inline)
            shown += said.body
        self.assertIn(b"alert(1)", shown)
        self.assertIn(b"alert(2)", shown)

    @settings(max_examples=200, deadline=None)
    @given(
        path=_PATHS | st.lists(_TEXTS, max_size=3).map("/".join),
        more=st.lists(_TEXTS, max_size=1),
        query=st.lists(st.tuples(_NAMES, _TEXTS), max_size=3),
        host=st.sampled_from(["localhost"] * 9 + ["<zq>"]),
        fields=st.lists(st.tuples(_FIELDS, _VALUES), max_size=2),
    )
    def test_g2_anything(
        self,
        path: str,
        more: list[str],
        query: list[tuple[str, str]],
        host: str,
        fields: list[tuple[str, str]],
    ) -> None:
        """
        It is never a fault of ours; what came is no markup in it; and it has the fields
        that keep a browser from doing anything with it.
        """
        if path.endswith("/live"):
            # It does not end.
            more = [*more, "x"]
        target = quote("/".join([path, *more])) + "?" + urlencode(query)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        said = self.read("/" + target.lstrip("/"), lines, host=host)
        expected = (200, 400, 403, 404, 405, 414, 421, 503)
        self.assertIn(said.status, expected, (target, fields))
        self.assertEqual(said.fields[b"x-content-type-options"], b"nosniff")
        self.assertIn(b"default-src 'none'", said.fields[b"content-security-policy"])
        if said.fields[b"content-type"] != b"application/json":
            for hostile in (b"<zq", b"<script>", b"<img"):
                self.assertNotIn(hostile, said.body, target)


class SecrecyTests(_Operated):
    """
    G3: what is for operators holds no secret, signature, token or body.
    """

    def follow(self) -> socket.socket:
        """
        Follow what is asked.
        """
        line = socket.create_connection(("127.0.0.1", self.pages), 60)
        line.sendall(
            b"GET /api/v1/transactions/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        self.assertIn(b" 200 ", line.recv(65536))
        return line

    def test_g3_surfaces(self) -> None:
        """
        After requests of all kinds, with one instance watched, nothing of what may not
        be seen is on any page, in any answer of the API, in the live tail, the metrics,
        the traces, the log at its most talkative, or the access log.
        """
        with closing(self.follow()) as live:
            watch = f"instance={VICTIM.name}&seconds=60"
            form = "Content-Type: application/x-www-form-urlencoded\r\nX-Mdproxy: 1\r\n"
            said = self.read("/api/v1/watch", form, "POST", body=watch)
            self.assertEqual(said.status, 200, said.body)
            for instance in (VICTIM, CANARY):
                heard = self.guest(b"/openstack/latest/user-data", instance=instance)
                self.assertEqual(heard.body, _USER_DATA)
                self.guest(b"/openstack/latest/password", b"x", instance, _POSTED)
            stranger = Local(9)
            with self.proxy.connect(stranger) as line:
                line.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n")
                line.sendall(b"\r\n" + _POSTED)
            told = b""
            while told.count(b"\nid:") + told.startswith(b"id:") < 4:
                piece = live.recv(65536)
                self.assertTrue(piece)
                told += piece
        surfaces = {"live": told}
        for target in (*_HTML, *_OTHERS):
            said = self.read(target)
            # 503 says that it is not ready.
            self.assertIn(said.status, (200, 400, 404, 405, 503), target)
            surfaces[target] = repr(said.fields).encode() + said.body
        self.assertIn(VICTIM.name.encode(), surfaces["/api/v1/steps"])
        self.assertIn(b"user-data", surfaces["/transactions"])
        surfaces["log"] = self.stop().encode()
        surfaces["access log"] = (self.directory / "access.log").read_bytes()
        self.assertIn(b"user-data", surfaces["access log"])
        for name, text in surfaces.items():
            for hidden in _HIDDEN:
                self.assertNotIn(hidden, text, name)


class ManholeTests(SynchronousTestCase):
    """
    G3: what the manhole shows by itself.
    """

    def parts(self) -> Parts:
        """
        Make the service, and find the parts that its manhole would have.
        """
        options = Options()
        config = write_config(Path(self.mktemp()))["config"]
        options.parseOptions(["--config-file", str(config)])
        self.service = makeService(options, MemoryReactorClock())
        (parts,) = (
            each
            for each in gc.get_objects()
            if isinstance(each, Parts)
            and getattr(each.reload, "config", None) is options["config"]
        )
        return parts

    def test_g3_names(self) -> None:
        """
        Every name that is there shows itself without anything secret, also when a
        request was just signed; and so does what its functions tell.
        """
        parts = self.parts()
        parts.sources.service.startService()
        self.addCleanup(parts.sources.service.stopService)
        caller = Caller("loop", "127.0.0.1", None, "address")
        verdict = parts.lookup.verdict(caller)
        assert isinstance(verdict, Identity)
        reply = RecordingReply()
        request = Request(
            b"POST",
            b"/openstack",
            ((b"x-aws-ec2-metadata-token", _TOKEN),),
            _POSTED,
        )
        exchange = parts.proxy.answer(request, caller, reply)
        wire = parts.proxy.fields_of(verdict, caller).wire
        self.assertIn(signature(OTHER_SECRET, "i-1"), wire)
        names = namespace_of(parts, View(parts))
        told: list[Any] = [
            banner_of(parts),
            exchange,
            *names.values(),
            *(names[name]() for name in ("status", "sources", "networks", "steps")),
            *(names[name]() for name in ("instances", "transactions")),
            names["why"]("127.0.0.1"),
            names["instance"]("i-1"),
        ]
        for each in told:
            text = f"{each!r}{pformat(each)}"
            self.assertIsNone(find_secret(text), type(each))
            for hidden in (_TOKEN, _POSTED):
                self.assertNotIn(hidden.decode(), text)
        exchange.cancel()
