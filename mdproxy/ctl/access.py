# -*- test-case-name: tests.test_ctl_access -*-
"""
Asking the running service, at the endpoint of the operator's pages.

Blocking, and with the standard library alone: a command asks a question or two.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
from argparse import Namespace
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final
from urllib.parse import urlencode

from attrs import field, frozen

from mdproxy.ini import printable

#: For so many seconds the service is waited for.
_PATIENCE: Final = 20.0
#: The largest answer.
_MOST: Final = 256 << 20
#: The longest line of a stream of events.
_LONGEST_LINE: Final = 1 << 20

#: Every address of the host, and the one by which it is asked there.
_EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}

#: The parts of an endpoint, as Twisted divides them: a backslash escapes.
_PART: Final = re.compile(r"(?:\\.|[^\\:])*")


class Unanswered(Exception):
    """
    There is no answer.

    @ivar text: Why not, as a sentence.
    @ivar advice: What to do.
    """

    def __init__(self, text: str, advice: str = "") -> None:
        """
        Keep both.
        """
        super().__init__(f"{text} {advice}".rstrip())
        self.text, self.advice = text, advice


@frozen
class Access:
    """
    How the service is asked.

    @ivar place: An address and a port, or the path of a UNIX socket.
    @ivar tls: How to open TLS to it; C{None}: in clear.
    """

    place: tuple[str, int] | str
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """
        Write where that is.
        """
        if isinstance(self.place, str):
            return printable(self.place, 200)
        host, port = self.place
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def ask(self, path: str, **query: str | int | None) -> Any:
        """
        Ask for something.

        @param path: What stands behind C{/api/v1/}.
        @param query: What to say with it; C{None} is not said.

        @return: The values of the answer.

        @raise Unanswered: If there is none.
        """
        said = urlencode({k: v for k, v in query.items() if v is not None})
        target = f"/api/v1/{path}" + (f"?{said}" if said else "")
        return self._values("GET", target, None)

    def tell(self, path: str, **form: str | int | float) -> Any:
        """
        Have something done.

        @param path: What stands behind C{/api/v1/}.
        @param form: What to say with it.

        @return: The values of the answer.

        @raise Unanswered: If there is none.
        """
        return self._values("POST", f"/api/v1/{path}", urlencode(form).encode())

    def follow(
        self, path: str, after: str | None, **query: str | int | None
    ) -> Iterator[Any]:
        """
        Follow what goes on.

        @param path: What stands behind C{/api/v1/}.
        @param after: The id of the last event that is known; C{None}: from now on.
        @param query: What to say with it; C{None} is not said.

        @return: The values of each event; it ends when the service does.

        @raise Unanswered: If there is no answer.
        """
        said = urlencode({k: v for k, v in query.items() if v is not None})
        target = f"/api/v1/{path}" + (f"?{said}" if said else "")
        fields = {} if after is None else {"Last-Event-ID": after}
        connection, response = self._send("GET", target, None, fields)
        if connection.sock is not None:
            # Nothing may happen for as long as nobody asks.
            connection.sock.settimeout(None)
        try:
            while line := response.readline(_LONGEST_LINE):
                if line.startswith(b"data:"):
                    yield _read(self, line[5:])
        except (OSError, HTTPException) as error:
            raise self._blame(error) from None
        finally:
            connection.close()

    def _values(self, method: str, target: str, body: bytes | None) -> Any:
        """
        Ask, and read the values of the answer.
        """
        connection, response = self._send(method, target, body)
        try:
            return _read(self, response.read(_MOST))
        except (OSError, HTTPException) as error:
            raise self._blame(error) from None
        finally:
            connection.close()

    def _send(
        self,
        method: str,
        target: str,
        body: bytes | None,
        more: Mapping[str, str] | None = None,
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """
        Send a request and read the head of the answer.

        @param more: Further fields.
        """
        connection = _Connection(self)
        # It is no browser's page that asks: the service's answer to those is no.
        fields = {"Accept": "application/json, text/event-stream", "X-Mdproxy": "1"}
        fields.update(more or {})
        if body is not None:
            fields["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, target, body, fields)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            connection.close()
            raise self._blame(error) from None
        if response.status >= 300:
            problem = _problem_of(response)
            connection.close()
            raise Unanswered(*problem)
        return connection, response

    def _blame(self, error: Exception) -> Unanswered:
        """
        Say why the service can't be asked.
        """
        is_socket = isinstance(self.place, str)
        if isinstance(error, PermissionError):
            return Unanswered(
                f"{self} may not be used by this user.",
                "It is for mdproxy's own user and root: ask as one of them (sudo), or "
                "give the socket another mode ([introspection] endpoint).",
            )
        if isinstance(error, ssl.SSLError):
            reason = error.reason
            if isinstance(error, ssl.SSLCertVerificationError):
                reason = error.verify_message
            reason = printable(reason or type(error).__name__, 300).rstrip(".")
            return Unanswered(
                f"No TLS connection with {self}: {reason}.",
                "See --ca (who signed its certificate), --cert and --key (what it "
                "wants from you), and [introspection] certificate.",
            )
        if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
            return Unanswered(
                f"mdproxy does not listen at {self}: "
                f"{'there is no such socket' if is_socket else error.strerror}.",
                "See whether it runs (systemctl status mdproxy) and what it says "
                "(journalctl -u mdproxy); where it listens is [introspection] endpoint "
                "of its configuration (--config-file, --endpoint).",
            )
        if isinstance(error, TimeoutError):
            return Unanswered(
                f"mdproxy at {self} took the question and is silent.",
                "It may hang: see its log (journalctl -u mdproxy) and what it does "
                "(py-spy dump, strace).",
            )
        what = error.strerror if isinstance(error, OSError) else None
        return Unanswered(
            f"No answer from {self}: {what or type(error).__name__}.",
            "See whether it is mdproxy that listens there, and whether in clear or "
            "with TLS.",
        )


class _Connection(HTTPConnection):
    """
    A connection with the service, whatever its endpoint is.
    """

    def __init__(self, access: Access) -> None:
        """
        Be not connected yet.
        """
        place = access.place
        host, port = ("localhost", 80) if isinstance(place, str) else place
        super().__init__(host, port, timeout=_PATIENCE)
        self._access = access

    def connect(self) -> None:
        """
        Connect.
        """
        place, tls = self._access.place, self._access.tls
        if isinstance(place, str):
            self.sock = _connected(place)
            return
        self.sock = socket.create_connection(place, _PATIENCE)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=place[0])


def _connected(path: str) -> socket.socket:
    """
    Connect with a UNIX socket, however long its path is (unix(7): 108 bytes).
    """
    directory, name = os.path.split(path)
    opened = socket.socket(socket.AF_UNIX)
    try:
        opened.settimeout(_PATIENCE)
        way = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            opened.connect(f"/proc/self/fd/{way}/{name}")
        finally:
            os.close(way)
    except OSError:
        opened.close()
        raise
    return opened


def _read(access: Access, text: bytes) -> Any:
    """
    Read values; every answer of mdproxy's is an object.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, Mapping):
        raise Unanswered(
            f"What {access} says is no JSON of mdproxy's.",
            "See whether that is mdproxy.",
        )
    return said


def _problem_of(response: HTTPResponse) -> tuple[str, str]:
    """
    Say what a refusal means.
    """
    status = response.status
    try:
        said = json.loads(response.read(65536))
    except (ValueError, OSError, HTTPException):
        said = None
    told = said.get("error") if isinstance(said, Mapping) else None
    if isinstance(told, str):
        return f"mdproxy says: {printable(told, 1000)}", ""
    if status == 404:
        return (
            "404: there is no such page.",
            "See whether the mdproxy that runs is as old as this mdproxyctl is new.",
        )
    if status == 421:
        return (
            "421: it does not go by the name that it was asked by.",
            "Ask at an address of loopback, or see [introspection] allowed_hosts.",
        )
    if status == 500:
        return (
            "500: mdproxy met a fault of its own.",
            "Its log says which (journalctl -u mdproxy): please report it.",
        )
    return f"The answer is {status}.", "See whether it is mdproxy that listens there."


def place_of(text: str) -> tuple[str, int] | str:
    """
    Find where an endpoint is to be asked.

    Twisted's own reading of it costs more than all else that a command does.

    @param text: C{tcp:PORT:interface=ADDRESS}, C{tcp6:...} or C{unix:PATH:mode=...}.

    @return: An address and a port, or the path of a UNIX socket.

    @raise Unanswered: If it is neither.
    """
    kind, *parts = _parts(text)
    named = {name: value for name, equals, value in parts if equals}
    plain = [name for name, equals, _ in parts if not equals]
    try:
        if kind[0] == "unix":
            return named.get("address") or plain[0]
        if kind[0] in ("tcp", "tcp6"):
            port = int(named.get("port") or plain[0])
            host = named.get("interface", "")
            host = {"localhost": "127.0.0.1"}.get(host, _EVERYWHERE.get(host, host))
            return ("::1" if kind[0] == "tcp6" and not named else host), port
    except (IndexError, ValueError):
        pass
    raise Unanswered(
        f"'{printable(text, 200)}' is no endpoint.",
        "Write tcp:PORT:interface=ADDRESS or unix:PATH.",
    )


def _parts(text: str) -> list[tuple[str, str, str]]:
    """
    Divide an endpoint at its colons.

    @return: Of each part what stands before C{=}, that sign if there is one, and what
        follows it.
    """
    found, at = [], 0
    while at <= len(text):
        match = _PART.match(text, at)
        piece = match.group() if match is not None else ""
        found.append(piece)
        at += len(piece) + 1
    return [
        tuple(re.sub(r"\\(.)", r"\1", part) for part in piece.partition("="))  # type: ignore[misc]
        for piece in found
    ]


def find_access(arguments: Namespace) -> Access:
    """
    Find out how the service is asked.

    Of the configuration only what is about the operator's pages is read: who asks need
    not be able to read the secret, and a fault elsewhere is no obstacle.

    @param arguments: C{endpoint}, C{ca}, C{cert} and C{key}, and the configuration's
        C{config_file} and C{config_dir}.

    @raise Unanswered: If nobody can tell.
    """
    if arguments.endpoint is not None:
        certificate = None
        endpoint = arguments.endpoint
    else:
        endpoint, certificate = _configured(arguments)
    place = place_of(endpoint)
    wants_tls = any((certificate, arguments.ca, arguments.cert))
    if isinstance(place, str) or not wants_tls:
        return Access(place)
    return Access(place, _tls(certificate, arguments))


def _configured(arguments: Namespace) -> tuple[str, str | None]:
    """
    Look up where the operator's pages are.

    @return: The endpoint, and its certificate.
    """
    from mdproxy.settings import Settings

    settings = Settings.load(arguments.config_file, arguments.config_dir)
    if not settings.is_whole:
        raise Unanswered(
            settings.faults[0] + ".", "Or say where mdproxy listens: --endpoint."
        )
    endpoint: str = settings.value("introspection", "endpoint")
    return endpoint, settings.value("introspection", "certificate") or None


def _tls(certificate: str | None, arguments: Namespace) -> ssl.SSLContext:
    """
    Make our side of TLS.

    @param certificate: The service's, which needs no other to be trusted.
    """
    trusted = arguments.ca or certificate
    try:
        context = ssl.create_default_context(cafile=trusted)
        if not arguments.ca and certificate is not None:
            # It is this certificate that is trusted, whatever names are in it.
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if arguments.cert is not None:
            context.load_cert_chain(arguments.cert, arguments.key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or type(error).__name__
        files = ", ".join(filter(None, (trusted, arguments.cert, arguments.key)))
        raise Unanswered(
            f"The files of TLS can't be used ({printable(files, 300)}): {reason}.",
            "See --ca, --cert and --key.",
        ) from None
    return context
