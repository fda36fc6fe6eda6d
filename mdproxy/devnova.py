# -*- test-case-name: tests.test_devnova -*-
"""
A stand-in for Nova's metadata API, for the demo, for development and for tests.

It answers as Nova 34 does: the same checks in the same order, the same statuses and
texts, the same trees (nova/api/metadata/handler.py); C{tests/lab/test_nova_contract.py}
holds it to the real one.  It knows the instances of one file and nothing else: it is
not for production, and says so when it starts.

C{python -m mdproxy.devnova instances.yaml --secret-file FILE}
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import posixpath
import re
import sys
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import unquote_to_bytes, urlsplit

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import react
from twisted.web.http import RESPONSES
from twisted.web.http import Request as WebRequest
from twisted.web.resource import Resource
from twisted.web.server import Site

from mdproxy.devnova_tree import (
    EC2_VERSIONS,
    JSON,
    PLAIN,
    BadInstances,
    Instance,
    NovaCrash,
    look_up,
    read_instances,
)

HTML = "text/html; charset=UTF-8"
#: What Nova keeps of a password (nova/api/metadata/password.py, C{MAX_SIZE}).
MAX_PASSWORD = 1020
#: How many of the latest requests are remembered.
MEMORY = 10_000

_TOKEN = r"[!#$%&'*+.^_`|~\w-]+"
#: A part of an C{Accept} header; one with parameters fits none of our pages.
_MEDIA_RANGE = re.compile(
    rf"(?P<name>{_TOKEN}/{_TOKEN})"
    rf"(?P<parameters>(\s*;\s*(?!q=){_TOKEN}=[^;]+)*)"
    r"(\s*;\s*q=(?P<quality>[01](\.[0-9]{0,3})?))?",
    re.ASCII | re.IGNORECASE,
)
_NOT_FOUND = "The resource could not be found."
_CONFLICT = "There was a conflict when trying to complete your request."


@frozen
class Asked:
    """
    A request as it came from a proxy.

    @ivar method: The method.
    @ivar target: The target as it stood on the wire.
    @ivar headers: The header fields by their names in lower case; repeated ones are
        joined by commas, as WSGI servers do.
    @ivar body: The body without chunk framing.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """
        Decode the target's path.

        @raise NovaCrash: It is not UTF-8.
        """
        path = self.target.partition("?")[0].partition("#")[0]
        if not path.startswith("/"):
            path = urlsplit(path).path
        try:
            return unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            raise NovaCrash("path") from None


@frozen
class Answer:
    """
    A whole response.

    @ivar status: The status code.
    @ivar content_type: The Content-Type.
    @ivar body: The body, which HEAD is not sent.
    @ivar crashed: Whether the server speaks and not Nova; it closes afterwards.
    """

    status: int
    content_type: str
    body: bytes
    crashed: bool = False


class _Refused(Exception):
    """
    Nova refuses the request: a status and an explanation.
    """


#: What the WSGI server says when Nova lets an exception pass.
_CRASH = Answer(
    500,
    "text/html",
    b"<html>\n  <head>\n    <title>Internal Server Error</title>\n  </head>\n"
    b"  <body>\n    <h1><p>Internal Server Error</p></h1>\n    \n  </body>\n</html>\n",
    crashed=True,
)


class DevNova(Resource):
    """
    The metadata API of a few instances.

    @ivar asked: The latest requests, for tests to read.
    @ivar passwords: What instances posted, by instance id.
    """

    isLeaf = True

    def __init__(self, instances: Iterable[Instance], secret: bytes) -> None:
        """
        Know the instances.

        @param secret: The secret shared with the proxy.
        """
        super().__init__()
        self._instances = {each.instance: each for each in instances}
        self._secret = secret
        self.asked: deque[Asked] = deque(maxlen=MEMORY)
        self.passwords: dict[str, bytes] = {}

    def render(self, request: WebRequest) -> bytes:
        """
        Provide C{IResource.render} for every method there is.
        """
        asked = Asked(
            request.method.decode("latin-1"),
            request.uri.decode("latin-1"),
            {
                name.decode("latin-1").lower(): b",".join(values).decode("latin-1")
                for name, values in request.requestHeaders.getAllRawHeaders()
            },
            cast("IO[bytes]", request.content).read(),
        )
        answer = self.answer(asked)
        request.setResponseCode(answer.status)
        request.setHeader(b"server", b"devnova")
        request.setHeader(b"content-type", answer.content_type.encode())
        # Twisted leaves out a length of nothing when it answers HEAD.
        request.setHeader(b"content-length", b"%d" % len(answer.body))
        if answer.crashed:
            request.setHeader(b"connection", b"close")
            request.channel.persistent = False
        return answer.body

    def answer(self, asked: Asked) -> Answer:
        """
        Answer a request, and remember it.
        """
        self.asked.append(asked)
        try:
            return self._answer(asked)
        except _Refused as refusal:
            status, explanation = refusal.args
            return _error_page(asked, status, explanation)
        except NovaCrash:
            return _CRASH

    def _answer(self, asked: Asked) -> Answer:
        """
        Answer a request as C{MetadataRequestHandler.__call__} does.
        """
        if posixpath.normpath(asked.path) == "/":
            # The one page for which nobody has to say who they are.
            return Answer(200, PLAIN, "\n".join([*EC2_VERSIONS, "latest"]).encode())
        instance = self._who(asked)
        try:
            found = look_up(instance, asked.path)
        except KeyError:
            raise _Refused(404, _NOT_FOUND) from None
        return self._password(asked, instance) if found is None else Answer(200, *found)

    def _who(self, asked: Asked) -> Instance:
        """
        Check the identity headers, in Nova's order.
        """
        headers = asked.headers
        if headers.get("x-metadata-provider"):
            self._check_provider(headers)
        for name in ("X-Instance-ID", "X-Instance-ID-Signature", "X-Tenant-ID"):
            if name.lower() not in headers:
                raise _Refused(400, f"{name} header is missing from request.")
        self._check(headers["x-instance-id"], headers["x-instance-id-signature"])
        instance = self._instances.get(headers["x-instance-id"])
        if instance is None or instance.project != headers["x-tenant-id"]:
            raise _Refused(404, _NOT_FOUND)
        return instance

    def _check_provider(self, headers: Mapping[str, str]) -> None:
        """
        Refuse a request that comes by way of a metadata provider (NSX): there is none.
        """
        if "x-forwarded-for" not in headers:
            raise _Refused(400, "X-Forwarded-For is missing from request.")
        provider = headers["x-metadata-provider"]
        self._check(provider, headers.get("x-metadata-provider-signature", ""))
        raise _Refused(400, f"Could not find any subnets for provider {provider}")

    def _check(self, identifier: str, signature: str) -> None:
        """
        Check a signature (C{_validate_shared_secret}).
        """
        expected = hmac.new(self._secret, identifier.encode(), hashlib.sha256)
        try:
            right = hmac.compare_digest(expected.hexdigest(), signature)
        except TypeError:
            # Nova compares text, and Python refuses to unless it is ASCII.
            raise NovaCrash("signature") from None
        if not right:
            raise _Refused(403, "Invalid proxy request signature.")

    def _password(self, asked: Asked, instance: Instance) -> Answer:
        """
        Give or take the password (C{handle_password}).
        """
        if asked.method == "POST":
            self._take_password(asked, instance)
            return Answer(200, HTML, b"")
        if asked.method != "GET":
            raise _Refused(400, "GET and POST only are supported.")
        return Answer(200, HTML, self.passwords.get(instance.instance, b""))

    def _take_password(self, asked: Asked, instance: Instance) -> None:
        """
        Remember a password; the first one stays.
        """
        if self.passwords.get(instance.instance):
            raise _Refused(409, _CONFLICT)
        if "transfer-encoding" in asked.headers:
            # Nova compares the Content-Length, which is None, with a number.
            raise NovaCrash("chunked")
        if len(asked.body) > MAX_PASSWORD:
            raise _Refused(400, "Request is too large.")
        try:
            asked.body.decode()
        except UnicodeDecodeError:
            raise NovaCrash("password") from None
        self.passwords[instance.instance] = asked.body


def _error_page(asked: Asked, status: int, explanation: str) -> Answer:
    """
    Write an error the way the instance likes it (C{webob.exc}).
    """
    if asked.method == "HEAD":
        # WebOb does not even work out how long the page would be.
        return Answer(status, HTML, b"")
    phrase = RESPONSES[status].decode()
    line = f"{status} {phrase}"
    content_type = _negotiate(asked.headers.get("accept", ""))
    # Each blank line is a field of WebOb's template that is empty here.
    if content_type == PLAIN:
        body = f"{line}\n\n{re.sub('<.*?>', '', explanation)}\n\n   "
    elif content_type == JSON:
        message = f"{explanation}<br /><br />\n\n\n"
        body = json.dumps({"message": message, "code": line, "title": phrase})
    else:
        body = (
            f"<html>\n <head>\n  <title>{line}</title>\n </head>\n <body>\n"
            f"  <h1>{line}</h1>\n  {html.escape(explanation)}<br /><br />\n\n\n\n"
            " </body>\n</html>"
        )
    return Answer(status, content_type, body.encode())


def _negotiate(accept: str) -> str:
    """
    Choose the type of an error page.

    @param accept: The request's C{Accept}; empty where there was none.
    """
    ranges = {}
    for part in filter(None, map(str.strip, accept.split(","))):
        match = _MEDIA_RANGE.fullmatch(part)
        if match is None:
            # WebOb then takes the first it can offer.
            return HTML
        if not match["parameters"]:
            ranges[match["name"].lower()] = float(match["quality"] or 1)
    best, chosen = 0.0, PLAIN
    for offer, content_type in (("text/html", HTML), ("application/json", JSON)):
        wider = (offer, f"{offer.split('/')[0]}/*", "*/*")
        liked = next((ranges[each] for each in wider if each in ranges), 0.0)
        if liked > best:
            best, chosen = liked, content_type
    return chosen


def _arguments(argv: Sequence[str]) -> Namespace:
    """
    Read the command line and the files that it names; leave if they are no good.
    """
    parser = ArgumentParser(
        "python -m mdproxy.devnova",
        description="A stand-in for Nova's metadata API; not for production.",
    )
    parser.add_argument("instances", help="file that describes the instances")
    parser.add_argument(
        "--listen",
        default="tcp:8775:interface=127.0.0.1",
        metavar="ENDPOINT",
        help="Twisted endpoint to listen on (default: %(default)s)",
    )
    secret = parser.add_mutually_exclusive_group(required=True)
    secret.add_argument(
        "--secret-file", help="file with the secret shared with the proxy"
    )
    secret.add_argument("--secret", help="the secret itself: visible to other users")
    arguments = parser.parse_args(argv)
    try:
        if arguments.secret_file:
            arguments.secret = Path(arguments.secret_file).read_text("utf-8").strip()
        arguments.instances = read_instances(Path(arguments.instances))
    except (OSError, ValueError, BadInstances) as error:
        parser.error(str(error))
    return arguments


def main(reactor: Any, *argv: str) -> Deferred[None]:
    """
    Listen until a signal ends the process.

    @param argv: The command line, without the program's name.
    """
    arguments = _arguments(argv)
    site = Site(DevNova(arguments.instances, arguments.secret.encode()))
    endpoint = serverFromString(reactor, arguments.listen)

    def listening(port: IListeningPort) -> Deferred[None]:
        """
        Say what this is and where; then stay.
        """
        print(
            f"devnova: a stand-in for Nova's metadata API, NOT FOR PRODUCTION:"
            f" {len(arguments.instances)} instances on {port.getHost()}",
            flush=True,
        )
        return Deferred()

    done: Deferred[None] = endpoint.listen(site).addCallback(listening)
    return done


if __name__ == "__main__":
    react(main, sys.argv[1:])
