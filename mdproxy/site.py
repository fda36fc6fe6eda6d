# -*- test-case-name: tests.test_proxy -*-
"""
A stock C{twisted.web.server.Site} as the front: its requests and answers in our terms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from mdproxy.http.front import Answering
from mdproxy.http.parsing import RequestBounds, check_request
from mdproxy.model import Request

if TYPE_CHECKING:
    # Who serves no such Site need not have it in memory.
    from twisted.web.http import Request as SiteRequest


@implementer(IPushProducer)
@define(eq=False)
class SiteReply:
    """
    Writes an answer to a request of C{twisted.web}.

    @ivar _request: The request.
    @ivar _answering: Whose answer it is; C{None} before that is known.
    """

    _request: SiteRequest
    _answering: Answering | None = field(default=None, init=False)

    def come_from(self, answering: Answering) -> None:
        """
        Learn whom to pause when the instance reads slowly.
        """
        self._answering = answering

    def pauseProducing(self) -> None:
        """
        Provide C{IPushProducer.pauseProducing}.
        """
        if self._answering is not None:
            self._answering.pause()

    def resumeProducing(self) -> None:
        """
        Provide C{IPushProducer.resumeProducing}.
        """
        if self._answering is not None:
            self._answering.resume()

    def stopProducing(self) -> None:
        """
        Provide C{IProducer.stopProducing}; the request tells of its end itself.
        """

    def begin(
        self, status: int, phrase: bytes, fields: bytes, length: int | None
    ) -> None:
        """
        Provide C{Reply.begin}.
        """
        self._request.setResponseCode(status, phrase)
        headers = self._request.responseHeaders
        lines = [line.partition(b": ") for line in fields.split(b"\r\n")[:-1]]
        # What the Site would say by itself, unless the fields say it.
        for name in {b"content-type", *(name.lower() for name, _, _ in lines)}:
            headers.removeHeader(name)
        for name, _, value in lines:
            headers.addRawHeader(name, value)
        if length is not None:
            headers.setRawHeaders(b"content-length", [b"%d" % length])

    def write(self, data: bytes) -> None:
        """
        Provide C{Reply.write}.
        """
        self._request.write(data)

    def finish(self) -> None:
        """
        Provide C{Reply.finish}.
        """
        self._request.unregisterProducer()
        self._request.finish()

    def mistrust(self) -> None:
        """
        Provide C{Reply.mistrust}: every request is judged anew.
        """

    def abort(self) -> None:
        """
        Provide C{Reply.abort}.
        """
        transport: Any = self._request.channel.transport
        transport.abortConnection()


def from_site(request: SiteRequest, bounds: RequestBounds) -> Request:
    """
    Take what a Site has read, under the same rules as our own front.

    @raise BadRequest: If our own front would have refused it.
    """
    headers = tuple(
        (name.lower(), value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    )
    framed = any(n in (b"content-length", b"transfer-encoding") for n, _ in headers)
    content = request.content
    body = content.read(bounds.max_body + 1) if framed and content else None
    ours = Request(request.method, request.uri, headers, body)
    check_request(ours, bounds)
    return ours
