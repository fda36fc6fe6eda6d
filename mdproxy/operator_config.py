# -*- test-case-name: tests.test_operator_config -*-
"""
The part of the configuration that is about what only operators see.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from mdproxy.credentials import check_file
from mdproxy.ini import printable
from mdproxy.listener_config import AnyListener, taker_of
from mdproxy.listener_options import LISTENER
from mdproxy.places import (
    bare,
    completed,
    is_loopback,
    mode_of,
    place_of,
    problem_of_host,
)
from mdproxy.settings import Settings
from mdproxy.tls import TlsMisconfigured

#: The levels of a log, the least first, as Twisted calls them.
LEVELS: Final = ("debug", "info", "warn", "error", "critical")
#: What a level is for: a module, or what stands before the dots in its name.
_NAMESPACE: Final = re.compile(r"[0-9A-Za-z_]{1,64}(?:\.[0-9A-Za-z_]{1,64}){0,15}\Z")
#: A host with or without a port, as browsers write it.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?\Z")

#: The mode of a socket that is its owner's alone.
_OWNERS: Final = 0o600

_PAGES, _MANHOLE, _LOG = "introspection", "manhole", "log"


@frozen
class IntrospectionConfig:
    """
    The operator's pages.

    @ivar endpoint: Where they are, as Twisted writes it.
    @ivar allow_remote: Whether others than this host may ask without a certificate.
    @ivar allowed_hosts: By which other names they may be asked for, in lower case.
    @ivar certificate: Their certificate; C{None}: they are served in clear.
    @ivar private_key: Its private key.
    @ivar client_ca: Who signs the certificates of those who ask; C{None}: nobody has
        to show one.
    @ivar contrail: Whether Contrail's pages are among them.
    @ivar contrail_clear_by_get: Whether a GET clears these pages' counters.
    @ivar transactions: How many requests are remembered.
    """

    endpoint: str
    allow_remote: bool
    allowed_hosts: tuple[str, ...]
    certificate: str | None
    private_key: str | None
    client_ca: str | None
    contrail: bool
    contrail_clear_by_get: bool
    transactions: int


@frozen
class LogConfig:
    """
    What is written down.

    @ivar format: C{text}, C{json} or C{journald}.
    @ivar levels: The least level by the beginning of a namespace; by the empty one
        that of all else.
    @ivar access_log: The file that requests are written to, C{journal}, or nothing.
    """

    format: str
    levels: tuple[tuple[str, str], ...]
    access_log: str


@frozen
class ManholeConfig:
    """
    The shell in the process.

    @ivar place: A loopback address and a port, or the path of a UNIX socket that is
        its owner's alone.
    @ivar authorized_keys: The file that says who may log in.
    @ivar host_key: The file of its own private key.
    """

    place: tuple[str, int] | str
    authorized_keys: str
    host_key: str


def read_introspection(
    settings: Settings, listeners: Sequence[AnyListener]
) -> IntrospectionConfig:
    """
    Find where the operator's pages go, and see that no instance can reach them.

    @param settings: What is set; told what is wrong with it.
    @param listeners: Where instances come in.
    """
    config = IntrospectionConfig(
        endpoint=completed(settings.value(_PAGES, "endpoint")),
        allow_remote=settings.value(_PAGES, "allow_remote"),
        allowed_hosts=_hosts(settings),
        certificate=settings.value(_PAGES, "certificate") or None,
        private_key=settings.value(_PAGES, "private_key") or None,
        client_ca=settings.value(_PAGES, "client_ca") or None,
        contrail=settings.value(_PAGES, "contrail"),
        contrail_clear_by_get=settings.value(_PAGES, "contrail_clear_by_get"),
        transactions=settings.value(_PAGES, "transactions"),
    )
    _check_files(settings, config)
    place = _place(settings, _PAGES, config.endpoint, listeners, remote=True)
    if isinstance(place, str) and config.certificate is not None:
        text = "has no meaning for a UNIX socket: leave it empty"
        settings.fault(_PAGES, "certificate", text)
    if place is not None and not is_loopback(place):
        _check_remote(settings, config)
    return config


def _place(
    settings: Settings,
    section: str,
    endpoint: str,
    listeners: Sequence[AnyListener],
    remote: bool = False,
) -> tuple[str, int] | str | None:
    """
    Find the place of an endpoint, which must be where no instance can reach it.

    @return: An address and a port, or a path; C{None} where something is wrong.
    """
    if settings.is_faulty(section, "endpoint"):
        return None
    try:
        place = place_of(endpoint, remote)
    except ValueError as error:
        text = f"'{printable(endpoint)}' {error}"
        settings.fault(section, "endpoint", text)
        return None
    taken = taker_of(listeners, place)
    if taken is not None:
        text = f"is where [{LISTENER}{taken}] listens"
        settings.fault(section, "endpoint", text)
        return None
    return place


def _check_files(settings: Settings, config: IntrospectionConfig) -> None:
    """
    See whether the files of TLS are there, and together.
    """
    files = {
        "certificate": config.certificate,
        "private_key": config.private_key,
        "client_ca": config.client_ca,
    }
    for name, path in files.items():
        if path is not None:
            private = name == "private_key"
            check_file(settings, name, path, private=private, section=_PAGES)
    for one, other in (
        ("certificate", "private_key"),
        ("private_key", "certificate"),
        ("certificate", "client_ca"),
    ):
        if files[one] is None and files[other] is not None:
            settings.lack(_PAGES, one, f"is empty, but {other} is set: set both")
    if not any(settings.is_faulty(_PAGES, name) for name in files):
        _try_tls(settings, config)


def _try_tls(settings: Settings, config: IntrospectionConfig) -> None:
    """
    See whether OpenSSL takes the files of TLS.
    """
    if config.certificate is None:
        return
    # Who serves the pages in clear need not have it in memory.
    from mdproxy.introspection.endpoint import papers_of

    papers = papers_of(config)
    assert papers is not None
    try:
        papers.read()
    except TlsMisconfigured as error:
        text, wrong = str(error), "certificate"
        for name in ("client_ca", "private_key"):
            path = settings.value(_PAGES, name)
            if path and text.startswith((f"{path}: ", f"{path} ")):
                wrong = name
        settings.fault(_PAGES, wrong, text)


def _check_remote(settings: Settings, config: IntrospectionConfig) -> None:
    """
    Refuse pages that others can reach and that ask for no certificate, unless told.
    """
    if config.client_ca is not None:
        return
    if not config.allow_remote:
        text = (
            f"'{printable(config.endpoint)}' is reachable from outside: set "
            "certificate, private_key and client_ca, so that operators have to show "
            "who they are, or allow_remote = true"
        )
        settings.fault(_PAGES, "endpoint", text)
        return
    how = "" if config.certificate is not None else " in clear"
    text = (
        f"whoever reaches '{printable(config.endpoint)}' can read all pages{how}; so "
        "can instances, if it is an address to which they find a way"
    )
    settings.note(_PAGES, "allow_remote", text)


def _hosts(settings: Settings) -> tuple[str, ...]:
    """
    Find the names by which the pages may be asked for.
    """
    option, hosts = "allowed_hosts", []
    for text in settings.value(_PAGES, option):
        found = _HOST.match(text)
        host = text if found is None else found[1]
        problem = problem_of_host(bare(host), host)
        if found is None or problem or int(found[2] or 1) not in range(1, 65536):
            text = f"'{printable(text)}' is no name with or without a port"
            settings.fault(_PAGES, option, text)
        hosts.append(text.lower())
    return tuple(dict.fromkeys(hosts))


def read_log(settings: Settings) -> LogConfig:
    """
    Find what is written down, and where.

    @param settings: What is set; told what is wrong with it.
    """
    access_log: str = settings.value(_LOG, "access_log")
    if access_log not in ("", "journal") and not access_log.startswith("/"):
        text = f"'{printable(access_log)}' is neither journal nor a path from /"
        settings.fault(_LOG, "access_log", text)
    return LogConfig(settings.value(_LOG, "format"), _levels(settings), access_log)


def _levels(settings: Settings) -> tuple[tuple[str, str], ...]:
    """
    Find the least levels.
    """
    levels: dict[str, str] = {}
    for text in settings.value(_LOG, "levels"):
        name, equals, level = (part.strip() for part in text.rpartition("="))
        if equals and not _NAMESPACE.match(name):
            problem = f"'{printable(text)}' is not written NAME=LEVEL"
            settings.fault(_LOG, "levels", problem)
        elif name in levels:
            word = printable(name) if name else "a level for all else"
            settings.fault(_LOG, "levels", f"{word} stands there twice")
        elif settings.exists(_LOG, "levels", level, LEVELS):
            levels[name] = level
    return tuple(levels.items())


def read_manhole(
    settings: Settings, listeners: Sequence[AnyListener], pages: str
) -> ManholeConfig | None:
    """
    Find the shell in the process, if there is to be one.

    @param settings: What is set; told what is wrong with it.
    @param listeners: Where instances come in.
    @param pages: The endpoint of the operator's pages.

    @return: Where it is; C{None} where there is to be none, or something is wrong.
    """
    endpoint = completed(settings.value(_MANHOLE, "endpoint"))
    if not endpoint:
        return None
    place = _place(settings, _MANHOLE, endpoint, listeners)
    if isinstance(place, str) and mode_of(endpoint) != _OWNERS:
        text = f"'{printable(endpoint)}' lets in others than its owner: mode=600"
        settings.fault(_MANHOLE, "endpoint", text)
    if place is not None and not settings.is_faulty(_PAGES, "endpoint"):
        host = place_of(pages, remote=True)
        if host == place or (isinstance(host, tuple) and _covers(host, place)):
            text = f"is where [{_PAGES}] endpoint is"
            settings.fault(_MANHOLE, "endpoint", text)
    for option in ("authorized_keys", "host_key"):
        if not settings.value(_MANHOLE, option):
            settings.fault(_MANHOLE, option, "is empty: name a file")
    if place is None:
        return None
    return ManholeConfig(
        place,
        settings.value(_MANHOLE, "authorized_keys"),
        settings.value(_MANHOLE, "host_key"),
    )


def _covers(everywhere: tuple[str, int], place: tuple[str, int] | str) -> bool:
    """
    Tell whether a socket on every address is in the way of another.
    """
    return everywhere[0] in ("0.0.0.0", "::") and place[1] == everywhere[1]
