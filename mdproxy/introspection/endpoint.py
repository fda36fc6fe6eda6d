# -*- test-case-name: tests.test_introspection_endpoint -*-
"""
Where operators ask: an endpoint of its own, in clear for this host alone or by TLS.

What instances reach is another socket (L{mdproxy.listener_config.taker_of} sees to it).
Where others than this host can reach the endpoint, they have to show a certificate that
the operator's CA signed, unless the configuration says otherwise
(L{mdproxy.operator_config}).
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, Final

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python import usage
from twisted.python.failure import Failure
from zope.interface import implementer

from mdproxy.config import Config, ConfigError
from mdproxy.operator_config import IntrospectionConfig
from mdproxy.reload import Change
from mdproxy.tls import TlsMisconfigured, note_refusal, present, trust

#: An endpoint that somebody else has is tried again after so many seconds.
_PAUSE: Final = 5.0


@frozen
class Papers:
    """
    The files of TLS.

    @ivar certificate: Our certificate and its chain.
    @ivar key: Its key.
    @ivar client_ca: Who signs operators' certificates; C{None}: nobody has to show one.
    """

    certificate: str
    key: str
    client_ca: str | None

    def read(self) -> SSL.Context:
        """
        Read the files.

        No session is resumed: each connection shows its certificate anew, so that a
        change of the CA counts at once.

        @raise TlsMisconfigured: If a file can't be read or doesn't fit.
        """
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(
            SSL.OP_NO_COMPRESSION
            | SSL.OP_NO_RENEGOTIATION
            | SSL.OP_NO_TICKET
            | SSL.OP_CIPHER_SERVER_PREFERENCE
        )
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        if self.client_ca is not None:
            trust(context, self.client_ca)
            # Browsers then offer those certificates only that we would take.
            context.load_client_ca(os.fsencode(self.client_ca))
            context.set_verify(
                SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, note_refusal
            )
        present(context, self.certificate, self.key)
        return context


def papers_of(config: IntrospectionConfig) -> Papers | None:
    """
    Find the files of TLS.

    @return: C{None}: there is none.
    """
    if config.certificate is None or config.private_key is None:
        return None
    return Papers(config.certificate, config.private_key, config.client_ca)


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class ServerTls:
    """
    How TLS connections are taken.

    @ivar _papers: The files.
    @ivar _context: What was read from them.
    """

    _papers: Papers
    _context: SSL.Context = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """
        Read the files.

        @raise TlsMisconfigured: If they can't be used.
        """
        self._context = self._papers.read()

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """
        Provide C{IOpenSSLServerConnectionCreator.serverConnectionForTLS}.
        """
        return SSL.Connection(self._context, None)

    def prepare(self, old: Config, new: Config) -> Change:
        """
        Provide L{mdproxy.reload.Prepare}: read the files again, where they always were.

        @raise ConfigError: If they can't be used.
        """
        try:
            before, after = self._context, self._papers.read()
        except TlsMisconfigured as error:
            raise ConfigError([f"[introspection] {error}"]) from None
        return Change(partial(self._use, after), partial(self._use, before))

    def _use(self, context: SSL.Context) -> None:
        """
        Take connections that come from now on with another context.
        """
        self._context = context


@define(eq=False)
class IntrospectionService(Service):
    """
    Opens the endpoint for operators, and tries again while somebody else has it: what
    instances get does not depend on what operators see.

    @ivar _endpoint: Where operators ask.
    @ivar _factory: What answers them.
    @ivar _clock: When to try again.
    @ivar _port: What listens.
    @ivar _again: Tries again.
    """

    _endpoint: IStreamServerEndpoint
    _factory: IProtocolFactory
    _clock: IReactorTime
    _port: IListeningPort | None = field(default=None, init=False)
    _again: IDelayedCall | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def startService(self) -> None:
        """
        Listen.
        """
        super().startService()
        self._listen()

    def stopService(self) -> Deferred[Any]:
        """
        Listen no more.

        @return: Fires when the socket is closed.
        """
        super().stopService()
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        return maybeDeferred(port.stopListening)

    def _listen(self) -> None:
        """
        Try to listen.
        """
        self._again = None
        opening = maybeDeferred(self._endpoint.listen, self._factory)
        opening.addCallbacks(self._opened, self._refused)

    def _opened(self, port: IListeningPort) -> None:
        """
        It listens.
        """
        self._port = port
        if self._told:
            self._told = False
            self._log.info("introspection listens")

    def _refused(self, failure: Failure) -> None:
        """
        It does not; say so once.
        """
        self._again = self._clock.callLater(_PAUSE, self._listen)
        if not self._told:
            self._told = True
            self._log.error(
                "introspection does not listen: {problem}",
                problem=failure.getErrorMessage(),
            )


def make_introspection(
    config: IntrospectionConfig, site: IProtocolFactory, reactor: Any
) -> tuple[IntrospectionService, ServerTls | None]:
    """
    Make the endpoint for operators.

    @param site: What answers them.

    @return: What opens it; and what reads the files of TLS again, if it is by TLS.

    @raise usage.UsageError: If these can't be used.
    """
    papers = papers_of(config)
    endpoint = serverFromString(reactor, config.endpoint)
    if papers is None:
        return IntrospectionService(endpoint, site, reactor), None
    try:
        tls = ServerTls(papers)
    except TlsMisconfigured as error:
        raise usage.UsageError(f"[introspection] {error}") from None
    factory = TLSMemoryBIOFactory(tls, False, site, reactor)
    return IntrospectionService(endpoint, factory, reactor), tls
