# -*- test-case-name: tests.test_neutron_config -*-
"""
The part of the configuration that is about Neutron's API and Keystone's.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from attrs import field, fields_dict, frozen

from mdproxy.clouds import read_cloud
from mdproxy.credentials import check_file, check_text, note_readable, try_tls
from mdproxy.ini import printable
from mdproxy.inventory_config import host_of
from mdproxy.inventory_options import INVENTORY_SECTIONS
from mdproxy.model import Malformed
from mdproxy.places import problem_of_host
from mdproxy.settings import Settings

_SECRETS: Final = ("password", "application_credential_secret")


@frozen
class NeutronConfig:
    """
    Neutron's API, and how to prove to Keystone who we are; times in seconds.

    Texts that are not set are empty.

    @ivar auth_url: Keystone's address.
    @ivar auth_type: C{password} or C{v3applicationcredential}.
    @ivar username: The user, with its domain; or
    @ivar user_id: the user's id.
    @ivar password: The user's password.
    @ivar project_name: The project, with its domain; or
    @ivar project_id: the project's id.
    @ivar application_credential_id: The application credential; or
    @ivar application_credential_name: its name, with its user.
    @ivar application_credential_secret: Its secret.
    @ivar region_name: The region of Neutron; empty: any.
    @ivar valid_interfaces: Kinds of Neutron's addresses, the first that there is.
    @ivar endpoint_override: Neutron's address; empty: Keystone's catalogue has it.
    @ivar cafile: Who may sign their certificates; empty: whom the system trusts.
    @ivar insecure: Whether any certificate will do.
    @ivar timeout: The longest wait for an answer.
    @ivar refresh_interval: How often all ports of this host are read, about.
    @ivar max_age: How long a port is believed without being asked for again.
    @ivar host: What Neutron calls this host.
    """

    auth_url: str
    auth_type: str
    username: str
    user_id: str
    user_domain_name: str
    user_domain_id: str
    password: str = field(repr=False)
    project_name: str
    project_id: str
    project_domain_name: str
    project_domain_id: str
    application_credential_id: str
    application_credential_name: str
    application_credential_secret: str = field(repr=False)
    region_name: str
    valid_interfaces: tuple[str, ...]
    endpoint_override: str
    cafile: str
    insecure: bool
    timeout: float
    refresh_interval: float
    max_age: float
    host: str


def read_neutron(settings: Settings) -> NeutronConfig:
    """
    Find Neutron's API.

    @param settings: What is set; told what is wrong with it.
    """
    said = {
        option.name: settings.value("neutron", option.name)
        for option in INVENTORY_SECTIONS["neutron"]
    }
    said |= _said_by_cloud(settings, said)
    said["auth_type"] = {"v3password": "password"}.get(
        said["auth_type"], said["auth_type"]
    )
    said["valid_interfaces"] = tuple(said["valid_interfaces"])
    said["host"] = host_of(settings)
    config = NeutronConfig(**{name: said[name] for name in fields_dict(NeutronConfig)})
    _check_interfaces(settings, config)
    _check_auth(settings, config)
    for option in ("auth_url", "endpoint_override"):
        _check_url(settings, option, said[option])
    _check_secrets(settings)
    _check_neutrons_tls(settings, config)
    return config


def _said_by_cloud(settings: Settings, said: dict[str, Any]) -> dict[str, Any]:
    """
    Find what clouds.yaml says and the configuration does not.
    """
    name, path = said["os_cloud"], said["clouds_file"]
    if not name:
        return {}
    option = "clouds_file"
    data = check_file(settings, option, path, private=True, section="neutron")
    if not data:
        return {}
    try:
        found: dict[str, Any] = dict(read_cloud(data, name))
    except Malformed as error:
        text = f"{printable(path, 1024)}, cloud '{printable(name)}': {error}"
        settings.fault("neutron", option, text)
        return {}
    auth_type = found.get("auth_type", "password")
    known = ("password", "v3password", "v3applicationcredential")
    if auth_type not in known:
        text = f"{printable(path, 1024)}: auth_type is none of {', '.join(known)}"
        settings.fault("neutron", option, text)
        del found["auth_type"]
    if "valid_interfaces" in found:
        found["valid_interfaces"] = found["valid_interfaces"].split(",")
    if "insecure" in found:
        found["insecure"] = True
    return {
        key: value
        for key, value in found.items()
        if settings.file_of("neutron", key) is None
    }


def _check_interfaces(settings: Settings, config: NeutronConfig) -> None:
    """
    See that Neutron's addresses are of kinds that there are.
    """
    option = "valid_interfaces"
    for name in config.valid_interfaces:
        settings.exists("neutron", option, name, ("internal", "public", "admin"))
    if not config.valid_interfaces and not settings.is_faulty("neutron", option):
        settings.fault("neutron", option, "is empty: write internal, public or admin")


def _check_auth(settings: Settings, config: NeutronConfig) -> None:
    """
    See that Keystone is told all that it needs.
    """
    by_password = config.auth_type == "password"
    _need(settings, config, "auth_url", "Keystone's address")
    if by_password:
        _need(settings, config, "password", "our password in Keystone")
        _need_owned(settings, config, "project", "project_name")
    else:
        what = "that of the application credential"
        _need(settings, config, "application_credential_secret", what)
    is_named = bool(config.application_credential_name)
    if by_password or (is_named and not config.application_credential_id):
        _need_owned(settings, config, "user", "username")
    elif not config.application_credential_id:
        what = "that of the application credential, or its name"
        _need(settings, config, "application_credential_id", what)


def _need_owned(
    settings: Settings, config: NeutronConfig, what: str, name: str
) -> None:
    """
    See that a user or project is named by its id, or by its name in a domain.
    """
    if getattr(config, f"{what}_id"):
        return
    _need(settings, config, name, f"the {what}, or set {what}_id")
    if not getattr(config, f"{what}_domain_id"):
        domain = f"{what}_domain_name"
        _need(settings, config, domain, f"the domain of {name}, often Default")


def _need(settings: Settings, config: NeutronConfig, option: str, what: str) -> None:
    """
    See that an option is set.
    """
    is_told = settings.is_faulty("neutron", "clouds_file")
    is_told = is_told or settings.is_faulty("neutron", option)
    if not getattr(config, option) and not is_told:
        settings.lack("neutron", option, f"is empty: name {what}")


def _check_url(settings: Settings, option: str, text: str) -> None:
    """
    See that an address is one, and whether what goes there can be read on the way.
    """
    if not text:
        return
    try:
        url = urlsplit(text)
        is_good = (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and problem_of_host(url.hostname or "", url.hostname or "") is None
            and (url.port is None or url.port > 0)
            and not url.query
            and not url.fragment
            and url.username is None
            and text.isascii()
            and text.isprintable()
            and " " not in text
        )
    except ValueError:
        is_good = False
    if not is_good:
        # Somebody may have written a password into it.
        problem = "is no address like https://keystone:5000/v3"
        settings.fault("neutron", option, problem)
    elif url.scheme == "http":
        problem = "is http: whoever is on the way can read passwords and tokens"
        settings.note("neutron", option, problem)


def _check_secrets(settings: Settings) -> None:
    """
    See that nobody can read the secrets where they are written.
    """
    for option in _SECRETS:
        text: str = settings.value("neutron", option)
        if text:
            check_text(settings, option, text, section="neutron")
            note_readable(settings, option, section="neutron")


def _check_neutrons_tls(settings: Settings, config: NeutronConfig) -> None:
    """
    See whether certificates can be verified.
    """
    if config.cafile:
        check_file(settings, "cafile", config.cafile, private=False, section="neutron")
        if not settings.is_faulty("neutron", "cafile"):
            try_tls(settings, "neutron", ("cafile",), "cafile")
    if config.insecure:
        settings.note(
            "neutron",
            "insecure",
            "certificates of Keystone and Neutron are not checked: whoever gets "
            "between can read our password and make up ports",
        )
