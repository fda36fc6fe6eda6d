"""
The real Keystone and the real Neutron API from PyPI, in an environment of their own, on
SQLite and loopback, with nothing that would plug a port in.

Neutron's mechanism driver finds no agent, so that it marks the ports of hosts as
C{binding_failed}; whom they belong to it tells all the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import define, field

from tests.lab.nova import CannotInstall, free_port, made_once

CACHE = Path(__file__).parent.parent.parent / ".cache" / "openstack"
PASSWORD = "p4ssw0rd-of-mdproxy"
_FILES = Path(__file__).parent / "files"
_CONSTRAINTS = _FILES / "constraints.txt"
#: How long a server may take until it answers.
_PATIENCE = 60.0

_KEYSTONE = """\
[DEFAULT]
log_file = {run}/keystone.log
use_stderr = false
[database]
connection = sqlite:///{run}/keystone.sqlite
[fernet_tokens]
key_repository = {run}/keys
[fernet_receipts]
key_repository = {run}/keys
[credential]
key_repository = {run}/keys
[cache]
enabled = false
"""

_NEUTRON = """\
[DEFAULT]
core_plugin = ml2
service_plugins = router,trunk
auth_strategy = keystone
transport_url = fake://
state_path = {run}
api_paste_config = {venv}/etc/neutron/api-paste.ini
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
log_file = {run}/neutron.log
use_stderr = false
[database]
connection = sqlite:///{run}/neutron.sqlite
[oslo_concurrency]
lock_path = {run}
[oslo_messaging_notifications]
driver = noop
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers = openvswitch
[quotas]
quota_port = -1
[keystone_authtoken]
auth_url = {keystone}
www_authenticate_uri = {keystone}
auth_type = password
username = mdproxy
password = {password}
user_domain_id = default
project_name = service
project_domain_id = default
interface = internal
token_cache_time = -1
"""


def build() -> Path:
    """
    Install Keystone and Neutron, unless that was done before with the same versions.

    @return: Their environment.

    @raise CannotInstall: If they can't be had here.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    venv = CACHE.resolve() / "venv"
    with made_once(venv, _CONSTRAINTS.read_text()) as missing:
        if missing:
            pip = [str(venv / "bin" / "pip"), "install", "-q", "--no-compile"]
            pip += ["--disable-pip-version-check", "-c", str(_CONSTRAINTS)]
            for step in (
                ["python3", "-m", "venv", str(venv)],
                [*pip, "keystone", "neutron", "gunicorn"],
            ):
                if _run(step, CACHE / "install.log", {}) != 0:
                    raise CannotInstall(f"see {CACHE / 'install.log'}")
    return venv


@define(eq=False)
class Cloud:
    """
    Keystone and Neutron at work.

    @ivar keystone: Keystone's address.
    @ivar neutron: Neutron's address.
    @ivar token: A token of an administrator's.
    """

    _venv: Path
    _run: Path = field(factory=lambda: Path(tempfile.mkdtemp(prefix="mdproxy-cloud-")))
    _servers: list[subprocess.Popen[bytes]] = field(factory=list)
    keystone: str = field(init=False)
    neutron: str = field(init=False)
    token: str = field(default="", init=False, repr=False)

    @classmethod
    def start(cls) -> Cloud:
        """
        Make the databases, and serve.
        """
        cloud = cls(build())
        try:
            cloud._serve()
        except BaseException:
            cloud.stop()
            raise
        return cloud

    def stop(self) -> None:
        """
        End the servers, and forget what they know.
        """
        for server in self._servers:
            server.terminate()
            server.wait(30)
        self._servers.clear()
        shutil.rmtree(self._run, ignore_errors=True)

    def call(self, method: str, url: str, body: object = None) -> Any:
        """
        Ask as the administrator.

        @param url: The whole address, or a path of Neutron's.

        @return: The JSON.
        """
        return self.say(method, url, body)[0]

    def revoke(self, token: str) -> None:
        """
        Have a token be good no more.
        """
        url = f"{self.keystone}/auth/tokens"
        self.say("DELETE", url, None, {"X-Subject-Token": token})

    def say(
        self,
        method: str,
        url: str,
        body: object = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[Any, str]:
        """
        Ask as the administrator.

        @param more: Fields beside the usual ones.

        @return: The JSON, and the token that was made.
        """
        if url.startswith("/"):
            url = self.neutron + url
        data = None if body is None else json.dumps(body).encode()
        usual = {"Content-Type": "application/json", "X-Auth-Token": self.token}
        fields = {**usual, **more}
        request = urllib.request.Request(url, data, fields, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                value = json.loads(answer.read() or b"null")
                return value, answer.headers.get("X-Subject-Token", "")
        except urllib.error.HTTPError as error:
            text = error.read()[:500]
            raise AssertionError(f"{method} {url}: {error.code} {text!r}") from None

    def log_in(self, user: str, password: str, project: str = "service") -> str:
        """
        Have a token made.
        """
        domain = {"id": "default"}
        person = {"name": user, "domain": domain, "password": password}
        identity = {"methods": ["password"], "password": {"user": person}}
        scope = {"project": {"name": project, "domain": domain}}
        body = {"auth": {"identity": identity, "scope": scope}}
        return self.say("POST", f"{self.keystone}/auth/tokens", body)[1]

    def make(self, kind: str, **attributes: Any) -> Any:
        """
        Have Neutron make something.

        @param kind: C{port}, say.
        @param attributes: What it is like; C{binding__host_id} for C{binding:host_id}.
        """
        said = {name.replace("__", ":"): value for name, value in attributes.items()}
        return self.call("POST", f"/v2.0/{kind}s", {kind: said})[kind]

    def _serve(self) -> None:
        """
        Start Keystone, make the catalogue, and start Neutron.
        """
        run, keystone_port, neutron_port = self._run, free_port(), free_port()
        self.keystone = f"http://127.0.0.1:{keystone_port}/v3"
        self.neutron = f"http://127.0.0.1:{neutron_port}"
        (run / "keys").mkdir(mode=0o700)
        conf = run / "keystone.conf"
        conf.write_text(_KEYSTONE.format(run=run))
        self._manage(conf)
        environment = {"OS_KEYSTONE_CONFIG_FILES": str(conf)}
        self._gunicorn("keystone_wsgi", keystone_port, environment)
        self._await(self.keystone)
        self.token = self.log_in("mdproxy", PASSWORD)
        self._make_catalogue()
        conf = run / "neutron.conf"
        values = {"keystone": self.keystone, "password": PASSWORD}
        conf.write_text(_NEUTRON.format(run=run, venv=self._venv, **values))
        self._gunicorn("neutron_wsgi", neutron_port, {"NEUTRON_CONF": str(conf)})
        self._await(self.neutron)

    def _manage(self, conf: Path) -> None:
        """
        Make Keystone's tables, keys and administrator.
        """
        keystone = [str(self._venv / "bin" / "keystone-manage")]
        keystone += ["--config-file", str(conf)]
        names = {
            "username": "mdproxy",
            "password": PASSWORD,
            "project-name": "service",
            "role-name": "admin",
            "region-id": "RegionOne",
            "internal-url": self.keystone,
        }
        first = [f"--bootstrap-{name}={value}" for name, value in names.items()]
        who = ["--keystone-user", str(os.getuid()), "--keystone-group"]
        for step in (
            ["db_sync"],
            ["fernet_setup", *who, str(os.getgid())],
            ["bootstrap", *first],
        ):
            log = self._run / "manage.log"
            if _run([*keystone, *step], log, {}) != 0:
                raise AssertionError(f"keystone-manage {step[0]}: {log.read_text()}")

    def _make_catalogue(self) -> None:
        """
        Tell Keystone where Neutron is.
        """
        service = {"type": "network", "name": "neutron"}
        answer = self.call("POST", f"{self.keystone}/services", {"service": service})
        endpoint = {
            "service_id": answer["service"]["id"],
            "interface": "internal",
            "region_id": "RegionOne",
            "url": self.neutron,
        }
        self.call("POST", f"{self.keystone}/endpoints", {"endpoint": endpoint})

    def _gunicorn(self, module: str, port: int, environment: dict[str, str]) -> None:
        """
        Serve an application.
        """
        command = [str(self._venv / "bin" / "python"), "-m", "gunicorn"]
        # Of a thread each, for SQLite; connections are kept, as most servers do.
        command += ["--worker-class=gthread", "--threads=4", "--keep-alive=60"]
        command += ["--limit-request-line=8190", f"--bind=127.0.0.1:{port}"]
        log = (self._run / f"{module}.log").open("wb")
        with log:
            server = subprocess.Popen(
                [*command, f"--pythonpath={_FILES}", module],
                stdout=log,
                stderr=log,
                cwd=self._run,
                env=_environment(environment),
            )
        self._servers.append(server)

    def _await(self, url: str) -> None:
        """
        Wait until a server answers.
        """
        deadline = time.monotonic() + _PATIENCE
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                opener.open(url, timeout=60).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                dead = [s.args for s in self._servers if s.poll() is not None]
                if dead or time.monotonic() > deadline:
                    raise AssertionError(f"{url}: {self._said()}") from None
                time.sleep(0.1)

    def _said(self) -> str:
        """
        Quote the end of what the servers said.
        """
        logs = sorted(self._run.glob("*.log"))
        return "\n".join(log.read_text("utf-8", "replace")[-2000:] for log in logs)


def _run(command: Sequence[str], log: Path, environment: dict[str, str]) -> int:
    """
    Run a command, with all that it says in a file.
    """
    with log.open("ab") as out:
        return subprocess.run(
            command, stdout=out, stderr=out, env=_environment(environment), check=False
        ).returncode


def _environment(more: dict[str, str]) -> dict[str, str]:
    """
    Make an environment without what belongs to our own interpreter.
    """
    ours = ("PYTHON", "VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return {**kept, "PYTHONWARNINGS": "ignore", **more}


if __name__ == "__main__":
    build()
