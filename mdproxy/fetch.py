# -*- test-case-name: tests.test_fetch -*-
"""
C{mdproxyctl fetch}: the signed request, straight to Nova, and what its answer means.

It goes the way of the service's own requests (the same pool, TLS and signature), so
what works here works there; only the lookup is left out.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from random import SystemRandom
from typing import Any, BinaryIO, TextIO

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from zope.interface import implementer

from mdproxy.config import Config
from mdproxy.files import Unreadable, read_file
from mdproxy.headers import IdentityFields, for_nova
from mdproxy.http.client import (
    UpstreamBroken,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamTlsFailed,
)
from mdproxy.ini import printable
from mdproxy.interfaces import IExchange, IUpstream
from mdproxy.model import Malformed, Request, ResponseHead
from mdproxy.pool import make_upstream
from mdproxy.signing import Signer
from mdproxy.sweep import Sweep

#: The largest inventory that is read.
MAX_SIZE = 4 << 20
#: How much of a refusal is looked at to find out what it means.
_READ = 4096
#: So much of an answer is read, in bytes, where it is written out nowhere.
_ENOUGH = 16384
#: Nova's words (nova/api/metadata/handler.py), as text or as a page.
_MISSING = re.compile(rb"(X-[A-Za-z-]{1,64}) (?:header )?is missing from request")
_SIGNATURE = b"Invalid proxy request signature"
#: What servers say in clear to a client that forgot TLS (nginx, Apache, cheroot).
_WANTS_TLS = re.compile(rb"(?i)plain HTTP|HTTPS (?:port|server)|speaking plain")
#: What nginx says, after a handshake that went well, to a client that it does not know.
_WANTS_CERTIFICATE = re.compile(rb"(?i)No required SSL certificate|SSL certificate err")


@implementer(IExchange)
@define(eq=False)
class Fetch:
    """
    One request in the name of an instance, whose answer is written out as it comes.

    @ivar instance: The instance's id.
    @ivar project: The id of the project that owns it.
    @ivar target: What to ask for.
    @ivar request: The request.
    @ivar wire: Its signed head.
    @ivar holder: Nobody: no instance asks.
    @ivar until: In the past: it waits for nothing.
    @ivar tries: How often it is sent.
    @ivar finished: Fires when the answer is complete, or fails.
    @ivar status: The answer's status; 0 before there is one.
    @ivar beginning: The first part of the answer's body.
    @ivar location: Where a redirect points to.
    @ivar is_good: Whether the answer is complete and no refusal.
    @ivar _signer: The holder of the secret.
    @ivar _out: Where the answer goes; C{None}: nowhere.
    @ivar _agent: What we call ourselves.
    @ivar _received: How much of the answer's body has come, in bytes.
    """

    instance: str
    project: str
    target: bytes
    _signer: Signer
    _out: BinaryIO | None = None
    _agent: bytes = b"mdproxyctl"
    request: Request = field(init=False)
    holder: tuple[str, str] = field(default=("", ""), init=False)
    wire: bytes = field(init=False, repr=False)
    until: float = field(default=0.0, init=False)
    tries: int = field(default=1, init=False)
    finished: Deferred[None] = field(factory=Deferred, init=False)
    status: int = field(default=0, init=False)
    beginning: bytes = field(default=b"", init=False, repr=False)
    location: str = field(default="", init=False)
    is_good: bool = field(default=False, init=False)
    _received: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Write the request.

        The seed of all this needs no X-Forwarded-For, and Nova neither: it would be the
        instance's address, which nobody knows here.
        """
        fields = (
            f"X-Instance-ID: {self.instance}\r\n"
            f"X-Tenant-ID: {self.project}\r\n"
            f"X-Instance-ID-Signature: {self._signer.sign(self.instance)}\r\n"
        )
        headers = ((b"user-agent", self._agent), (b"accept", b"*/*"))
        self.request = Request(b"GET", self.target, headers)
        self.wire = for_nova(self.request, IdentityFields(fields.encode("ascii")))

    def head(self, head: ResponseHead) -> None:
        """
        Provide L{IExchange.head}.
        """
        self.status = head.status
        for line in head.fields.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name.lower() == b"location":
                self.location = printable(value.decode("latin-1"), 256)
        self._write(b"%d %s\n" % (head.status, head.phrase))

    def body(self, data: bytes) -> None:
        """
        Provide L{IExchange.body}.

        Where nobody reads the answer its status and its beginning say all; whoever
        sends more, and perhaps without an end, is not listened to.
        """
        self.beginning = (self.beginning + data[:_READ])[:_READ]
        self._write(data)
        self._received += len(data)
        if self._out is None and self._received > _ENOUGH:
            self.done()

    def done(self) -> None:
        """
        Provide L{IExchange.done}.
        """
        self._write(b"")
        if not self.finished.called:
            self.is_good = 200 <= self.status < 300
            self.finished.callback(None)

    def failed(self, error: Exception, sent: bool) -> None:
        """
        Provide L{IExchange.failed}.
        """
        self._write(b"")
        if not self.finished.called:
            self.finished.errback(error)

    def _write(self, data: bytes) -> None:
        """
        Write out a piece of the answer, if there still is somebody who reads it.
        """
        if self._out is None or self.finished.called:
            return
        try:
            self._out.write(data)
            self._out.flush()
        except OSError as error:
            self.finished.errback(error)


async def ask(upstream: IUpstream, fetch: Fetch, err: TextIO) -> None:
    """
    Send a request and say what its answer means.

    @param upstream: The way to Nova.
    @param fetch: The request.
    @param err: Where to say it.
    """
    upstream.send(fetch)
    try:
        await fetch.finished
    except UpstreamError as error:
        print(explain_failure(error), file=err)
    except OSError as error:
        upstream.cancel(fetch)
        print(f"the answer can't be written: {error.strerror}", file=err)
    else:
        if not fetch.is_good:
            print(explain(fetch), file=err)


def explain_failure(error: UpstreamError) -> str:
    """
    Say what it means that there is no complete answer.

    @param error: Why there is none.
    """
    problem = str(error).rstrip(".")
    if isinstance(error, UpstreamTlsFailed):
        return (
            f"No TLS connection with Nova: {problem}. See auth_ca_cert (who may sign "
            "Nova's certificate), nova_metadata_host (the name it must be for), "
            "nova_client_cert and nova_client_priv_key (what Nova may want from us), "
            "and whether this port speaks TLS at all."
        )
    if isinstance(error, UpstreamTimedOut):
        return (
            f"Nova took the request and is silent: {problem}. See Nova's log, and "
            "whether its port speaks TLS."
        )
    if isinstance(error, UpstreamBroken):
        return (
            f"What answers there breaks off or does not speak HTTP: {problem}. Is it "
            "Nova's metadata API, and does it speak TLS (nova_metadata_protocol = "
            "https)?"
        )
    return (
        f"No connection to Nova: {problem}. See nova_metadata_host, "
        "nova_metadata_port, nova_metadata_protocol and whether Nova's metadata API "
        "runs."
    )


def explain(fetch: Fetch) -> str:
    """
    Say what a refusal means, and what to look at.

    @param fetch: A request whose answer is complete.
    """
    status = fetch.status
    if status == 400:
        return f"400: {_malformed(fetch.beginning)}"
    if status == 403:
        return f"403: {_forbidden(fetch)}"
    if status == 404:
        return f"404: {_unknown(fetch)}"
    if 300 <= status < 400:
        where = fetch.location or "nowhere"
        return (
            f"{status}: a redirect to {where}, which Nova never sends and mdproxy "
            "never follows. Is this Nova's metadata API?"
        )
    if status in (502, 503, 504):
        return (
            f"{status}: what stands before Nova (a load balancer?) can't reach it, or "
            "Nova is overloaded. mdproxy would ask again for some seconds."
        )
    if status >= 500:
        return (
            f"{status}: Nova has taken the request and has trouble of its own (its "
            "database, cells, Neutron): see the log of Nova's metadata API."
        )
    return f"{status}: Nova does not answer this way. What stands before it?"


def _malformed(page: bytes) -> str:
    """
    Say what a 400 means.
    """
    if _WANTS_TLS.search(page):
        return "this port speaks TLS: set nova_metadata_protocol = https."
    if _WANTS_CERTIFICATE.search(page):
        return (
            "what stands before Nova wants a certificate of ours, and had none or one "
            "that it does not trust: see nova_client_cert and nova_client_priv_key, "
            "and whom it trusts."
        )
    missing = _MISSING.search(page)
    if missing is None:
        return (
            "Nova, or what stands before it, finds the request malformed; its words "
            "are above. Something on the way may have mangled it."
        )
    name = missing.group(1).decode("ascii")
    if name.lower() == "x-forwarded-for":
        return (
            "Nova misses X-Forwarded-For, which it wants only beside "
            "X-Metadata-Provider: something on the way adds that."
        )
    return (
        f"Nova misses the header {name}. It was sent, so something on the way takes it "
        "out or renames it."
    )


def is_about_tls(page: bytes) -> bool:
    """
    Tell whether a 400 is about the connection, and says nothing of the request on it.

    @param page: The first part of its body.
    """
    return any(words.search(page) for words in (_WANTS_TLS, _WANTS_CERTIFICATE))


def is_of_nova(page: bytes) -> bool:
    """
    Tell whether a 403 is Nova's own, which is about the signature and nothing else.

    @param page: The first part of its body.
    """
    return _SIGNATURE in page


def _forbidden(fetch: Fetch) -> str:
    """
    Say what a 403 means.
    """
    if not is_of_nova(fetch.beginning):
        return (
            "something before Nova refuses the request; Nova's own refusal speaks of "
            "the signature."
        )
    return (
        "Nova refuses the signature, so the secrets differ. Ours is "
        "metadata_proxy_shared_secret (or its _file), Nova's is "
        "metadata_proxy_shared_secret in section [neutron] of nova.conf; there, too, $ "
        "is written $$ and a comment behind the value would be a part of it. To "
        f"compare them without showing them: mdproxyctl sign {fetch.instance} here, "
        "and on Nova's host, typing its secret in: python3 -c 'import getpass, hmac; "
        f'print(hmac.new(getpass.getpass().encode(), b"{fetch.instance}", '
        '"sha256").hexdigest())\''
    )


def _unknown(fetch: Fetch) -> str:
    """
    Say what a 404 means.
    """
    return (
        "Nova does not tell which of these it is. It has no instance "
        f"{fetch.instance}; or the instance belongs to another project than "
        f"{fetch.project} (openstack server show {fetch.instance} -c project_id; it "
        "must be the same to the letter); or there is no "
        f"{fetch.target.decode('ascii')} for it (/openstack is always there). The "
        "signature is right, unless Nova did not look at it: section [neutron] of "
        "nova.conf needs service_metadata_proxy = true."
    )


async def _run(reactor: Any, config: Config, fetch: Fetch) -> None:
    """
    Make the way to Nova, use it once, and take it down.
    """
    sweep = Sweep(reactor)
    ticking = sweep.service()
    upstream = make_upstream(config.upstream, reactor, sweep, SystemRandom())
    ticking.startService()
    try:
        await ask(upstream, fetch, sys.stderr)
    finally:
        upstream.close()
        await ticking.stopService()


class ProjectUnknown(Exception):
    """
    Nobody says which project owns the instance; the text says why.
    """


def project_of(config: Config, instance: str) -> str:
    """
    Find the project of an instance in the static inventory.

    @param config: The configuration.
    @param instance: The instance's id.

    @raise ProjectUnknown: If it is not there, or not only once.
    """
    if "static" not in config.inventories:
        raise ProjectUnknown("there is no static inventory to look it up in")
    # YAML is for who has such an inventory; the service asks Nova by Fetch, too.
    from mdproxy.inventory.listing import read_listing

    path = config.static_path
    try:
        data, _ = read_file(path, MAX_SIZE)
        listing = read_listing(data, "static")
    except (Unreadable, Malformed) as error:
        raise ProjectUnknown(f"the static inventory is of no use: {error}") from None
    projects = {p.project_id for p in listing.ports if p.instance_id == instance}
    if not projects:
        raise ProjectUnknown(f"{path} does not name the instance")
    if len(projects) > 1:
        raise ProjectUnknown(f"{path} names several projects for the instance")
    return projects.pop()


def run(config: Config, instance: str, project: str | None, target: bytes) -> int:
    """
    Ask Nova, print its answer, and say what a refusal means.

    @param config: The configuration.
    @param instance: The instance's id.
    @param project: The id of the project that owns it; C{None}: look it up.
    @param target: What to ask for.

    @return: The exit status: 0 only for a complete answer that is no refusal.
    """
    try:
        owner = project or project_of(config, instance)
    except ProjectUnknown as error:
        print(
            f"--project is needed, because Nova wants to be told it, and {error}: "
            f"openstack server show {instance} -c project_id",
            file=sys.stderr,
        )
        return 1
    fetch = Fetch(instance, owner, target, Signer(config.secret), sys.stdout.buffer)
    # Its status is 0 even where a signal ended the reactor before there was an answer.
    with suppress(SystemExit):
        react(_run, (config, fetch))
    return 0 if fetch.is_good else 1
