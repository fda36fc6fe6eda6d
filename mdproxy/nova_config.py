# -*- test-case-name: tests.test_nova_config -*-
"""
The part of the configuration that is about the way to Nova.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from mdproxy.credentials import check_file, try_tls
from mdproxy.ini import printable
from mdproxy.places import bare, problem_of_host
from mdproxy.settings import Settings

_CA, _CERTIFICATE, _KEY = "auth_ca_cert", "nova_client_cert", "nova_client_priv_key"
_TLS_FILES = (_CA, _CERTIFICATE, _KEY)


@frozen
class Endpoint:
    """
    Where a metadata API of Nova listens.

    @ivar host: A host name, or an address without brackets.
    @ivar port: The TCP port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """
        Write it as in a URL.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@frozen
class TlsFiles:
    """
    How to be sure of Nova, and Nova of us.

    @ivar ca: Who may sign Nova's certificate; C{None}: whom the system trusts.
    @ivar certificate: Our certificate; C{None}: none.
    @ivar key: Its private key.
    @ivar insecure: Whether any certificate of Nova's will do.
    """

    ca: str | None
    certificate: str | None
    key: str | None
    insecure: bool


@frozen
class UpstreamConfig:
    """
    The way to Nova; times in seconds.

    @ivar endpoints: In the order of preference.
    @ivar tls: C{None} for plain HTTP.
    @ivar max_connections: The most connections, over all endpoints.
    @ivar max_queue: The most requests that wait for a connection.
    @ivar connect_timeout: The longest wait for a connection.
    @ivar first_byte_timeout: The longest wait for an answer, and for each next byte.
    @ivar idle_timeout: How long an unused connection is kept.
    @ivar max_age: About how long any is used.
    @ivar check_interval: How often each endpoint is asked whether it has the same
        secret; 0: never.
    """

    endpoints: tuple[Endpoint, ...]
    tls: TlsFiles | None
    max_connections: int
    max_queue: int
    connect_timeout: float
    first_byte_timeout: float
    idle_timeout: float
    max_age: float
    check_interval: float


def read_upstream(settings: Settings) -> UpstreamConfig:
    """
    Find the way to Nova.

    @param settings: What is set; told what is wrong with it.
    """
    return UpstreamConfig(
        endpoints=_endpoints(settings),
        tls=_tls(settings),
        max_connections=settings.value("upstream", "max_connections"),
        max_queue=settings.value("upstream", "max_queue"),
        connect_timeout=settings.value("upstream", "connect_timeout"),
        first_byte_timeout=settings.value("upstream", "first_byte_timeout"),
        idle_timeout=settings.value("upstream", "idle_timeout"),
        max_age=settings.value("upstream", "max_age"),
        check_interval=settings.value("upstream", "check_interval"),
    )


def _endpoints(settings: Settings) -> tuple[Endpoint, ...]:
    """
    Find the endpoints of Nova.
    """
    option = "nova_metadata_host"
    port: int = settings.value("DEFAULT", "nova_metadata_port")
    endpoints: list[Endpoint] = []
    for text in settings.value("DEFAULT", option):
        endpoint = Endpoint(bare(text), port)
        if endpoint in endpoints:
            settings.fault("DEFAULT", option, f"{printable(text)} stands there twice")
        if problem := problem_of_host(endpoint.host, text):
            settings.fault("DEFAULT", option, f"'{printable(text)}' {problem}")
        endpoints.append(endpoint)
    if not endpoints and not settings.is_faulty("DEFAULT", option):
        settings.fault("DEFAULT", option, "is empty: name a host or an address")
    return tuple(endpoints)


def _tls(settings: Settings) -> TlsFiles | None:
    """
    Find out how to be sure of Nova.
    """
    protocol: str = settings.value("DEFAULT", "nova_metadata_protocol")
    insecure: bool = settings.value("DEFAULT", "nova_metadata_insecure")
    files = {name: settings.value("DEFAULT", name) or None for name in _TLS_FILES}
    if settings.is_faulty("DEFAULT", "nova_metadata_protocol"):
        return None
    if protocol == "http":
        _note_tls(settings, files, insecure)
        return None
    if insecure:
        settings.note(
            "DEFAULT",
            "nova_metadata_insecure",
            "Nova's certificate is not checked: whoever gets between can read and "
            "forge all metadata",
        )
    tls = TlsFiles(files[_CA], files[_CERTIFICATE], files[_KEY], insecure)
    _check_tls(settings, files)
    if not any(settings.is_faulty("DEFAULT", name) for name in _TLS_FILES):
        try_tls(settings, "DEFAULT", _TLS_FILES, "nova_metadata_protocol", insecure)
    return tls


def _check_tls(settings: Settings, files: Mapping[str, str | None]) -> None:
    """
    See whether the files are there, and together.
    """
    for name, path in files.items():
        if path is not None:
            check_file(settings, name, path, private=name == _KEY)
    for one, other in ((_CERTIFICATE, _KEY), (_KEY, _CERTIFICATE)):
        if files[one] is None and files[other] is not None:
            settings.lack("DEFAULT", one, f"is empty, but {other} is set: set both")


def _note_tls(
    settings: Settings, files: Mapping[str, str | None], insecure: bool
) -> None:
    """
    Point out what is for TLS, and is not used.

    It is no fault: deployment tools write these options into every service's file,
    whether it speaks TLS or not, and Neutron takes such a file.
    """
    text = "has no meaning with nova_metadata_protocol = http"
    for name in (_CERTIFICATE, _KEY, _CA):
        if files[name] is not None:
            settings.note("DEFAULT", name, f"{text}: requests go out in clear")
    if insecure:
        settings.note("DEFAULT", "nova_metadata_insecure", text)
